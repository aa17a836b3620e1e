"""Reading config.json: every field is used, known to change nothing, or an error.

A field that changes the maths and is not supported must not be passed over: the model would be wrong by a little. So
a family takes the fields it knows from a ConfigReader, and `finish` refuses the rest but for a list of fields that say
nothing about the maths (names, versions, old defaults of generation).
"""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.files import read_json

CONFIG = "config.json"
# What generation_config.json holds today, and config.json held before there was one.
GENERATION_FIELDS = (
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups"),
    *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences"),
    *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty"),
    *("suppress_tokens", "begin_suppress_tokens"),
)
# Fields of any model (transformers' PreTrainedConfig) that do not change what it computes.
HARMLESS = frozenset(
    {
        *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "model_type", "architectures"),
        *("dtype", "torch_dtype", "use_bfloat16", "_attn_implementation", "_attn_implementation_autoset"),
        *("use_cache", "output_attentions", "output_hidden_states", "output_scores", "return_dict"),
        *("return_dict_in_generate", "torchscript", "tf_legacy_loss", "chunk_size_feed_forward", "problem_type"),
        *("sbert_ce_default_activation_function", "sentence_transformers"),
        *("id2label", "label2id", "num_labels", "finetuning_task", "task_specific_params", "tokenizer_class", "prefix"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id"),
        *("gradient_checkpointing", "pretraining_tp", "special_dtypes", "gradient_checkpointing_kwargs"),
        # Of the oldest files: what a call gives back, and what id2label and eos_token_id say.
        *("output_past", "_num_labels", "eos_token_ids"),
        # Of files of others: who wrote them, and how they are run elsewhere.
        *("attn_implementation", "is_llama_config", "transformers.js_config", "custom_pipelines"),
        # The context in another's words, which no class reads beside its own field for it.
        "max_sequence_length",
        *GENERATION_FIELDS,
    }
)
# Fields of any model that change the maths, with the values that do not; a family may take them itself.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({},),
    "rope_interleaved": (False,),
}
# Fields that name Python code of the directory. Beside a class that is known, that code is not needed.
CODE = ("auto_map", "trust_remote_code")
# Far beyond any model that there is.
MOST_LABELS = 100_000
MOST_LAYERS = 4096
LARGEST_NUMBER = 2**31 - 1
_REQUIRED: Any = object()
_KINDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "an object",
}


class ConfigReader:
    """The fields of one config.json (or of an object inside it).

    Attributes:
      where: what errors call it.
    """

    def __init__(self, values: Mapping[str, Any], where: str):
        """Takes the fields."""
        self.where = where
        self._values = dict(values)
        self._used: set[str] = set()

    def refuse_code(self) -> None:
        """Refuses what is defined by code that comes with it; `finish` does too, unless CODE is ignored.

        Raises:
          UsageError: a field names such code.
        """
        for name in CODE:
            if self._values.get(name):
                raise UsageError(
                    f"{self.where} has {name}: the model is defined by Python code that comes with it, which jaxlm "
                    "does not run; use a directory of one of the known families"
                )

    def refuse_giants(self) -> None:
        """Bounds all whole numbers: what is built of layers and experts must not fill the memory by a number.

        Raises:
          UsageError: naming the first that no model has.
        """
        for name, value in self._values.items():
            largest = MOST_LAYERS if "layer" in name or "expert" in name else LARGEST_NUMBER
            if type(value) is int and abs(value) > largest:
                # Not the number itself: writing a long one out takes long, or is refused.
                raise UsageError(f"{self.where}: {ascii(name)[:100]} is over the {largest:,} that is read at most")

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._values.get(name) is not None

    def raw(self, name: str) -> Any:
        """A field as the file has it, for who hands it on unread; None if it is absent."""
        return self._values.get(name)

    def get(self, name: str, kind: type, default: Any = _REQUIRED, null: Any = _REQUIRED) -> Any:
        """Takes a field.

        Args:
          name: its name.
          kind: int, float, bool, str, list or dict; a whole number is a float too.
          default: the value if it is absent; without one it must be there.
          null: the value if it is there and null, where that differs from being absent.

        Raises:
          DataError: it is missing or of another type.
        """
        self._used.add(name)
        value = self._values.get(name)
        if name in self._values and value is None and null is not _REQUIRED:
            return null
        if value is None:
            if default is _REQUIRED:
                raise DataError(f"{self.where} lacks the field {name!r}")
            return default
        if kind is float and type(value) is int and abs(value) < 2**53:
            return float(value)
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            raise DataError(f"{self.where}: {name} is {_short(value)}; it must be {_KINDS[kind]}")
        return value

    def expect(self, name: str, *allowed: Any) -> Any:
        """Takes a field of which some values are supported; absent or null, it is the first of them.

        Raises:
          UsageError: it has another value.
        """
        self._used.add(name)
        value = self._values.get(name)
        if value is None:
            return allowed[0] if allowed else None
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in allowed):
            supported = " or ".join(_short(each) for each in allowed) or "its absence"
            raise UsageError(f"{self.where}: {name} is {_short(value)}, which is not supported; only {supported} is")
        return value

    def choose(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """Takes a field whose text stands for something: returns what `choices` says it is.

        Raises:
          UsageError: its value is not among them.
        """
        value = self.get(name, str, default)
        if value not in choices:
            raise UsageError(f"{self.where}: {name} {_short(value)} is not supported; known: {', '.join(choices)}")
        return choices[value]

    def token_id(self, name: str) -> Any:
        """Takes the id of a special token: a whole number, a list of such, or None.

        Raises:
          DataError: it is something else.
        """
        self._used.add(name)
        value = self._values.get(name)
        ids = value if isinstance(value, list) else [] if value is None else [value]
        # Some files have -1 for "none".
        if not all(type(item) is int and -1 <= item < 2**31 for item in ids):
            raise DataError(f"{self.where}: {name} is {_short(value)}; it must be a token id or a list of them")
        return value

    def labels(self) -> tuple[str, ...]:
        """Takes the names of a classifier's labels; without any there are two.

        Raises:
          DataError: `id2label` does not name the labels 0, 1, 2, ...
        """
        names = self.get("id2label", dict, None)
        if names is None:
            count = self.get("num_labels", int, 2)
            if not 1 <= count <= MOST_LABELS:
                raise DataError(f"{self.where}: num_labels is {count}; it must be from 1 to {MOST_LABELS:,}")
            names = {str(label): f"LABEL_{label}" for label in range(count)}
        expected = [str(label) for label in range(len(names))]
        if sorted(names) != sorted(expected) or not all(isinstance(name, str) for name in names.values()):
            raise DataError(f"{self.where}: id2label must name the labels 0 to {len(names) - 1}, each by a text")
        return tuple(names[label] for label in expected)

    def ignore(self, *names: str) -> None:
        """Marks fields as known not to change what the model computes."""
        self._used.update(names)

    def part(self, names: Iterable[str]) -> dict[str, Any]:
        """Some of the fields as they are, those that are there and not null."""
        return {name: self._values[name] for name in names if self.has(name)}

    def left(self) -> dict[str, Any]:
        """The fields that nobody took and that are not null."""
        return {name: value for name, value in self._values.items() if name not in self._used and value is not None}

    def finish(self) -> None:
        """Refuses the fields that nobody took.

        Raises:
          UsageError: naming all of them.
        """
        if not self._used.issuperset(CODE):
            self.refuse_code()
        for name in NEUTRAL.keys() - self._used:
            self.expect(name, *NEUTRAL[name])
        left = [
            name
            for name, value in self.left().items()
            if name not in HARMLESS and name not in CODE and not _is_bookkeeping(name, value)
        ]
        if left:
            listed = ", ".join(f"{ascii(name)[1:-1]} = {_short(self._values[name])}" for name in left[:20])
            raise UsageError(
                f"{self.where} has fields that are not supported and may change what the model computes: {listed}; "
                "delete those of which you know that they do not"
            )


def read_config_file(folder: str | os.PathLike) -> ConfigReader:
    """Opens the config.json of a directory.

    Raises:
      UsageError: there is none.
      DataError: it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    if not (folder / CONFIG).exists():
        raise UsageError(f"{folder} is not a Hugging Face model directory: it has no {CONFIG}")
    return ConfigReader(read_json(folder, CONFIG), str(folder / CONFIG))


def _is_bookkeeping(name: str, value: Any) -> bool:
    """Whether a field is of a kind that no class computes with: a private note, a tool's, or a special token's id."""
    if name.startswith("unsloth_"):
        return True
    if name.startswith("_"):
        return isinstance(value, str | bool)
    return name.endswith("_token_id") and type(value) is int


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
