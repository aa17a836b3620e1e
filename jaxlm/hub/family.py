"""A model family of Hugging Face: its config.json and its names of tensors, in terms of ours.

To add a family, write `jaxlm/hub/families/NAME.py` after the example of `gpt2.py` or `llama.py`:
1. `read_config(reader, task_head) -> ModelConfig` takes each field of config.json that it knows: `reader.get` for a
   value, `reader.expect` for a field of which some values are supported, `reader.ignore` for what changes nothing in
   the maths. Mind the defaults: an absent field has the value of the transformers class. What it does not take is
   refused by the caller, so never add a field to `ignore` that could change a logit. Values that it passes on wrongly
   are found by `ModelConfig.validate` and by the tests.
2. `write_config(config) -> dict` gives those fields back (without `model_type`, `architectures` and labels, which are
   added here). It need not check much: what it gives is read again by `read_config`, and if that describes another
   function (`jaxlm.hub.equivalence`), the export is refused with the fields that differ.
3. `entries(config) -> list[Entry]` is the table of tensors (`jaxlm.hub.mapping`), for the head that
   `config.task_head` names. Paths name layers one at a time ("layers/3/...", "encoder/layers/3/...").
4. `FAMILY = Family(...)`, and its module in the list of `jaxlm/hub/registry.py`.
5. A test `tests/hub/test_NAME.py` with `tests/hub/parity.py`, which compares a tiny model of transformers whose every
   tensor matters with ours, both ways.

Models saved without a head, old names of tensors, copies of tied tensors and buffers are declared, not coded: see the
docstring of `jaxlm.hub.mapping`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import CODE, ConfigReader
from jaxlm.hub.equivalence import LABELLED, differences
from jaxlm.hub.mapping import Entry, TensorSource
from jaxlm.hub.rope import with_original_context, with_scaled_context
from jaxlm.models.config import ModelConfig


@dataclass(frozen=True)
class Family:
    """How the models of one family are described and named.

    Attributes:
      name: what we call it.
      model_types: the `model_type`s of config.json that are this family; the first is written.
      architectures: the classes of transformers, each with the `task_head` of its models; the first is that of a
        config.json that names none.
      read_config: maps the fields of config.json and the task head to ModelConfig.
      write_config: the inverse.
      entries: the table of tensors.
      base_prefix: what the names of the bare model's tensors begin with in a model with a head.
      renames: (pattern, replacement) pairs that make the names of older files today's.
      ignorable: patterns of names that are no parameters.
      own_head: tensor of a head that is not scaled, whose presence says that the head is not the token embedding, since
        config.json does not.
      surplus: patterns of names of parts that published files hold and the class they name does not have; reading says
        that they are left out.
      whole_context: whether max_position_embeddings is what the rotary scaling reaches, whatever its type.
      language: of a model of several towers, the fields of its language model, which alone is read.
      other_towers: what stands beside the language model, by what it is called: patterns of its tensors' names. They
        are left unread, and reading says so.
      unpacked: gives the tensors of a directory of which some are packed into fewer bits than parameters have; packed
        weights are not written.
      written_as: name of the family that a model read by this one is exported as, where this one is read only.
    """

    name: str
    model_types: tuple[str, ...]
    architectures: Mapping[str, str]
    read_config: Callable[[ConfigReader, str], ModelConfig]
    write_config: Callable[[ModelConfig], dict[str, Any]]
    entries: Callable[[ModelConfig], list[Entry]]
    base_prefix: str = ""
    renames: Sequence[tuple[str, str]] = ()
    ignorable: Sequence[str] = ()
    surplus: Sequence[str] = ()
    own_head: str = ""
    whole_context: bool = False
    language: Callable[[ConfigReader], ConfigReader] | None = None
    other_towers: Mapping[str, str] = field(default_factory=dict)
    unpacked: Callable[[TensorSource], TensorSource] | None = None
    written_as: str = ""

    def read(self, reader: ConfigReader, bare: bool = False) -> ModelConfig:
        """Turns a config.json of this family into a model's description.

        Args:
          reader: its fields.
          bare: whether it is the model without a head, whatever class is named.

        Raises:
          UsageError: a class or a field that is not supported, or values that do not go together.
          DataError: a field that is missing or of another type.
        """
        if self.language is not None:
            reader = self.language(reader)
        reader.refuse_giants()
        named = reader.get("architectures", list, []) or [next(iter(self.architectures))]
        known = len(named) == 1 and isinstance(named[0], str) and named[0] in self.architectures
        # The code that an auto_map names is not run; a class that is known here does without, if it is named.
        if not (known and reader.get("architectures", list, [])):
            reader.refuse_code()
        reader.ignore(*CODE)
        if not known:
            raise UsageError(
                f"{reader.where}: the architectures {ascii(named)[:200]} are not supported; of the family {self.name} "
                f"these are: {', '.join(self.architectures)}"
            )
        task_head = "none" if bare else self.architectures[named[0]]
        config = replace(self.read_config(reader, task_head), family=self.written_as or self.name)
        if not self.whole_context:
            config = with_scaled_context(config)
        if task_head in LABELLED:
            config = replace(config, num_labels=len(reader.labels()))
        reader.finish()
        try:
            config.validate()
        except UsageError as error:
            raise UsageError(f"{reader.where} describes a model that cannot be: {error}") from error
        return config

    def write(self, config: ModelConfig, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Turns a model's description into the content of config.json.

        Args:
          config: the description.
          labels: names of a classifier's labels; none means LABEL_0, LABEL_1, ...

        Raises:
          UsageError: the family has no such model, with the reasons.
        """
        if self.written_as:
            raise UsageError(f"it is read only, and a model of it written as {self.written_as}")
        classes = [name for name, task_head in self.architectures.items() if task_head == config.task_head]
        if not classes:
            raise UsageError(f"no class has the model.task_head {config.task_head!r}")
        values = {
            "model_type": self.model_types[0],
            **self.write_config(config if self.whole_context else with_original_context(config)),
        }
        if config.task_head in LABELLED:
            texts = list(labels) or [f"LABEL_{label}" for label in range(config.num_labels)]
            values["id2label"] = {str(label): text for label, text in enumerate(texts)}
            values["label2id"] = {text: label for label, text in enumerate(texts)}
        # Of several classes with this head (T5Model, T5EncoderModel), the first that is the model.
        refusals = []
        for name in classes:
            described = {**values, "architectures": [name]}
            different = differences(config, self.read(ConfigReader(described, "config.json")))
            if not different:
                return described
            refusals.append("; ".join(different))
        raise UsageError(refusals[0])
