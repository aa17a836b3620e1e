"""What the tokenizers of Hugging Face directories have in common: their files, special tokens and chat template.

The ids are those of the reference: the Rust library `tokenizers` (`jaxlm.text.rust`) where a directory has a
tokenizer.json, a vocab.txt or a merges.txt, and sentencepiece itself (`jaxlm.text.pieces`) where it has a model of that
library. `jaxlm.text.hugging_face_directory` loads them.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.text.base import Tokenizer
from jaxlm.text.chat import render_chat
from jaxlm.text.hugging_face_families import TokenizerFamily
from jaxlm.text.hugging_face_settings import AddedToken, Settings

# Ids that no token has, beyond as many as have one.
MAX_HOLES = 100_000


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer from the files of a Hugging Face directory, which it keeps, byte for byte.

    Attributes:
      family: the sort of tokenizer.
      files: the files, by name.
      special_tokens: by name ("bos", ... "mask"), what the special tokens look like.
      chat_templates: by name; the usual one is "default".
    """

    kind = "hugging_face"

    def __init__(self, family: TokenizerFamily, files: Mapping[str, bytes], settings: Settings):
        """Takes the content; a subclass then calls `_set_vocab_size` and `_name_specials`."""
        self.family = family
        self.files = dict(files)
        self.special_tokens: dict[str, str] = {}
        self.chat_templates = dict(settings.chat_templates)
        self.max_length = settings.max_length
        self.padding_side = settings.choice("padding_side", family.padding_side, ("left", "right"))
        self.truncation_side = settings.choice("truncation_side", "right", ("left", "right"))
        self._settings = settings

    @abstractmethod
    def token_id(self, name: str) -> int | None:
        """Returns the id of the token that is written `name` in the vocabulary; None if there is none."""

    @abstractmethod
    def token_name(self, token: int) -> str | None:
        """Returns how the id `token` is written in the vocabulary; None if no token has that id."""

    def encode_prompt(self, text: str) -> list[int]:
        """Returns the ids of a text that is to be continued.

        They begin with what the model expects before a text: the begin id of Llama, nothing for GPT-2. A chat template
        writes that itself; then it is not put there twice. No text at all is the begin id alone.

        Raises:
          DataError: the text holds something that this tokenizer cannot represent.
        """
        return self.with_begin(self.encode(text))

    def with_begin(self, ids: list[int]) -> list[int]:
        """Returns `ids` after what the model expects before a text, unless they begin with it; see `encode_prompt`."""
        prefix = self._prefix()
        if ids[: len(prefix)] != prefix:
            ids = prefix + ids
        return ids if ids or self.bos_id is None else [self.bos_id]

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """Returns the conversation as the text that the model was trained on; see `jaxlm.text.chat.render_chat`.

        Args:
          messages: each an object with "role" and "content", and what else the template asks for.
          add_generation_prompt: whether the answer's beginning follows.
          **variables: further ones of the template, such as `tools`; `template` names one of several, or is one.

        Raises:
          UsageError: this tokenizer has no chat template, or it refuses the messages.
        """
        chosen = variables.pop("template", None)
        if chosen is None:
            chosen = "tool_use" if variables.get("tools") and "tool_use" in self.chat_templates else "default"
        source = self.chat_templates.get(chosen, chosen if "{" in chosen else None)
        if source is None and not self.chat_templates:
            return super().apply_chat_template(messages)
        if source is None:
            raise UsageError(f"no chat template {chosen!r} here; known: {', '.join(sorted(self.chat_templates))}")
        specials = {f"{name}_token": content for name, content in self.special_tokens.items()}
        return render_chat(source, messages, add_generation_prompt, **{**specials, **variables})

    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns the files as they were read, or what serves another model than that of their directory."""
        return dict(self.files) if prompts is None else self._files_for(prompts)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Pickles the files, for data workers in other processes."""
        return type(self), (self.family, self.files, self._settings)

    def _ends_texts(self) -> bool:
        """Whether something stands after each text."""
        return self.encode_for_model("a").ids != tuple(self.encode_prompt("a"))

    def _files_for(self, prompts: bool) -> dict[str, bytes]:
        """Returns `export_files` for a model of any family.

        Raises:
          UsageError: the format cannot express it.
        """
        if not prompts or not self._ends_texts():
            return dict(self.files)
        after = self.encode_for_model("a").ids[len(self.encode_prompt("a")) :]
        names = " ".join(str(self.token_name(token)) for token in after)
        raise UsageError(
            f"a tokenizer of the family {self.family.name} puts {names} after every text in transformers, so that no "
            f"prompt could be continued there; train the model with a tokenizer of another kind, or with this one as "
            f"a tokenizer.json (AutoTokenizer.from_pretrained(FOLDER).save_pretrained(ANOTHER))"
        )

    @abstractmethod
    def _prefix(self) -> list[int]:
        """Returns the special ids that the model expects before a text."""

    def _named_tokens(self) -> dict[str, AddedToken]:
        """Returns the special tokens by name: those that the settings name, else those of the family."""
        return {**self.family.special, **self._settings.special}

    def _set_vocab_size(self, numbers: Collection[int]) -> None:
        """Takes the ids that there are; raises DataError if they are none, or far fewer than they reach up to."""
        self.vocab_size = max(numbers, default=-1) + 1
        if not self.vocab_size:
            raise DataError("the tokenizer's vocabulary is empty")
        if self.vocab_size > 2 * len(numbers) + MAX_HOLES:
            raise DataError(f"the vocabulary has {len(numbers)} tokens and ids up to {self.vocab_size - 1}: damaged")

    def _name_specials(self) -> None:
        """Sets the special ids; a family's token that the vocabulary lacks is not there."""
        for name, token in self._named_tokens().items():
            number = self.token_id(token.content)
            if number is not None:
                self.special_tokens[name] = token.content
                setattr(self, f"{name}_id", number)

    def _fields(self) -> dict[str, Any]:
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}
        return {"family": self.family.name, "files": hashes}

    def _files(self) -> dict[str, bytes]:
        return self.files
