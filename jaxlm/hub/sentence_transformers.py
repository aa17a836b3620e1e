"""The files of sentence-transformers: how the states of a text's tokens become its vector.

`modules.json` lists what a text goes through: the model (Transformer), what is taken of its states (Pooling), and
maybe vectors of length 1 (Normalize). Each has a folder with its settings; those of the model, the longest text and
whether it is put into lower case, are in `sentence_bert_config.json` beside config.json. A module that is not one of
the three, or in another order, is refused: without it the vectors would be other ones.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.files import json_bytes, json_value, read_json
from jaxlm.prediction.config import Pooling, VectorConfig

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
# The settings of the model are named after its class in older directories.
MODEL_SETTINGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
MOST_MODULES = 16
# What a vector is made of, in the order in which several are put together; theirs today and in the older form.
POOLINGS: Mapping[Pooling, tuple[str, str]] = {
    "first": ("cls", "pooling_mode_cls_token"),
    "max": ("max", "pooling_mode_max_tokens"),
    "mean": ("mean", "pooling_mode_mean_tokens"),
    "mean_sqrt": ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
    "weighted_mean": ("weightedmean", "pooling_mode_weightedmean_tokens"),
    "last": ("lasttoken", "pooling_mode_lasttoken"),
}


def read_vectors(folder: Path) -> VectorConfig | None:
    """Reads how a directory's texts become vectors; None where it has no modules.json.

    Raises:
      UsageError: modules or settings that are not supported.
      DataError: a damaged file.
    """
    if not (folder / MODULES).exists():
        return None
    where = str(folder / MODULES)
    entries = json_value(folder, MODULES)
    if not isinstance(entries, list) or len(entries) > MOST_MODULES:
        raise DataError(f"{where} must hold a list of at most {MOST_MODULES} modules")
    modules = [_module(entry, where) for entry in entries]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UsageError(
            f"{where}: the modules {', '.join(kinds)[:200] or '(none)'} are not supported; Transformer, Pooling and "
            "maybe Normalize are, in this order: without the others the vectors would be other ones"
        )
    if modules[0][1]:
        raise UsageError(f"{where}: the model is in {modules[0][1]!r}; only a model beside {MODULES} is read")
    pooling = _pooling(ConfigReader(read_json(folder, "config.json", modules[1][1]), f"{folder / modules[1][1]}"))
    return VectorConfig(**_reading(folder), pooling=pooling, normalize="Normalize" in kinds, strip=True)


def _module(entry: Any, where: str) -> tuple[str, str]:
    """The kind of a module and its folder."""
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise DataError(f"{where}: a module is {ascii(entry)[:100]}, not an object with type and path")
    if not re.fullmatch(r"[\w-]*", path):
        raise DataError(f"{where}: the module's folder {ascii(path)[:100]} is not a plain name")
    package, _, name = kind.rpartition(".")
    return (name if package.startswith("sentence_transformers.") else kind), path


def _pooling(reader: ConfigReader) -> tuple[Pooling, ...]:
    reader.ignore("word_embedding_dimension", "embedding_dimension")
    # A prompt that is left out of the mean matters where there is one; `_reading` refuses it.
    reader.expect("include_prompt", True, False)
    modes = reader.raw("pooling_mode")
    reader.ignore("pooling_mode")
    names = {name: flag for name, flag in POOLINGS.items() if reader.get(flag[1], bool, False)}
    if modes is not None:
        known = {theirs: ours for ours, (theirs, _) in POOLINGS.items()}
        listed = [modes] if isinstance(modes, str) else modes
        if not isinstance(listed, list) or not all(isinstance(mode, str) and mode in known for mode in listed):
            raise UsageError(
                f"{reader.where}: pooling_mode {ascii(modes)[:100]} is not supported; known: {', '.join(known)}"
            )
        names = {known[mode]: POOLINGS[known[mode]] for mode in listed}
    reader.finish()
    if not names:
        raise UsageError(f"{reader.where}: its config.json takes nothing of the states: no pooling_mode is on")
    return tuple(name for name in POOLINGS if name in names)


def _reading(folder: Path) -> dict[str, Any]:
    """How texts are read: max_length, lower_case and prefix."""
    file = next((name for name in MODEL_SETTINGS if (folder / name).exists()), None)
    settings = ConfigReader(read_json(folder, file) if file else {}, str(folder / (file or MODEL_SETTINGS[0])))
    length = settings.get("max_seq_length", int, None)
    if length is not None and length < 1:
        raise DataError(f"{settings.where}: max_seq_length is {length}; it must be at least 1")
    lower = settings.get("do_lower_case", bool, False)
    if settings.get("transformer_task", str, "feature-extraction") != "feature-extraction":
        raise UsageError(f"{settings.where}: only the transformer_task 'feature-extraction' is supported")
    # How the files of the model are loaded, and what today's version says of a model that reads text.
    settings.ignore("modality_config", "module_output_name", "architecture", "config_args", "processing_kwargs")
    for name in ("model_args", "tokenizer_args", "model_kwargs", "processor_kwargs", "config_kwargs"):
        settings.expect(name, {})
    settings.finish()

    whole = ConfigReader(read_json(folder, SETTINGS) if (folder / SETTINGS).exists() else {}, str(folder / SETTINGS))
    whole.ignore("__version__", "similarity_fn_name", "model_type")
    whole.expect("truncate_dim")
    prompts, default = whole.get("prompts", dict, {}), whole.get("default_prompt_name", str, None)
    whole.finish()
    prefix = ""
    if default is not None:
        prefix = prompts.get(default)
        if not isinstance(prefix, str):
            raise DataError(f"{whole.where}: default_prompt_name {default!r} names no text among its prompts")
    return {"max_length": length, "lower_case": lower, "prefix": prefix}


def vector_files(vectors: VectorConfig, dimensions: int) -> dict[str, bytes]:
    """The files by which sentence-transformers makes the same vectors, by their paths.

    Args:
      vectors: how they are made.
      dimensions: of the model's states.

    Raises:
      UsageError: it has no such way to make them.
    """
    unknown = [name for name in vectors.pooling if name not in POOLINGS and name != "cls"]
    if unknown:
        raise UsageError(f"sentence-transformers has no pooling {unknown[0]!r}")
    taken = {"first" if name == "cls" else name for name in vectors.pooling}
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] * vectors.normalize)]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    flags = {flag: name in taken for name, (_, flag) in POOLINGS.items()}
    prompt = {"prompts": {"default": vectors.prefix}, "default_prompt_name": "default"} if vectors.prefix else {}
    return {
        MODEL_SETTINGS[0]: json_bytes({"max_seq_length": vectors.max_length, "do_lower_case": vectors.lower_case}),
        "1_Pooling/config.json": json_bytes({"word_embedding_dimension": dimensions, **flags}),
        SETTINGS: json_bytes({"similarity_fn_name": "cosine", **prompt}),
        # Last: without it the directory is one of transformers alone.
        MODULES: json_bytes(modules),
    }
