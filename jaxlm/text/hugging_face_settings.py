"""What tokenizer_config.json and the small files beside it say: special tokens, lengths and chat templates.

`transformers` has spread the same facts over several files in the course of time; this reads them all and gives one
answer. A token that is named in two files with two contents takes that of tokenizer_config.json, as there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.text.hugging_face_files import (
    ADDED_TOKENS_FILE,
    CHAT_TEMPLATE_FILE,
    SETTINGS_FILE,
    SPECIAL_TOKENS_FILE,
    json_object,
    token_ids,
)

# In the order in which the reference adds those that the vocabulary lacks.
SPECIAL_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

MAX_ADDED_TOKENS = 100_000
MAX_TOKEN_CHARACTERS = 10_000
MAX_ADDED_CHARACTERS = 2_000_000  # together
# Where a length is not known, `transformers` writes 1e30 as a whole number.
_UNKNOWN_LENGTH = 1_000_000_000


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text before anything else is done to it.

    Attributes:
      content: what it looks like.
      special: whether decoding leaves it out.
      lstrip, rstrip: whether it takes the spaces before and after it along.
      single_word: whether it is found only where no letter or digit touches it.
      normalized: whether it is sought in the normalised text.
    """

    content: str
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


@dataclass(frozen=True)
class Settings:
    """The settings of a tokenizer.

    Attributes:
      values: tokenizer_config.json as it is, for what only one sort of tokenizer asks.
      special: by name ("bos", ... "mask"), the tokens that are named.
      numbered: tokens that are added under known ids.
      extra: further special tokens.
      chat_templates: by name; the usual one is "default".
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    special: Mapping[str, AddedToken] = field(default_factory=dict)
    numbered: Mapping[int, AddedToken] = field(default_factory=dict)
    extra: tuple[AddedToken, ...] = ()
    chat_templates: Mapping[str, str] = field(default_factory=dict)

    def flag(self, name: str, default: bool | None) -> bool | None:
        """Returns the setting `name`, true, false or not said; raises DataError for anything else."""
        value = self.values.get(name, default)
        if value is None or isinstance(value, bool):
            return value
        raise DataError(f"{SETTINGS_FILE}: {name} is {ascii(value)[:100]}, not true or false")

    def count(self, name: str, default: int, limit: int) -> int:
        """Returns the setting `name`, a number from 0 to `limit`; raises DataError for anything else."""
        value = self.values.get(name, default)
        if type(value) is not int or not 0 <= value <= limit:
            raise DataError(f"{SETTINGS_FILE}: {name} is {ascii(value)[:100]}, not a whole number from 0 to {limit}")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Returns the setting `name`, one of `choices`; raises DataError for anything else."""
        value = self.values.get(name, default)
        if value not in choices:
            raise DataError(f"{SETTINGS_FILE}: {name} is {ascii(value)[:100]}, not one of {', '.join(choices)}")
        return value

    @property
    def max_length(self) -> int | None:
        """The most ids that the model takes; None where that is not said."""
        value = self.values.get("model_max_length")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 1:
            raise DataError(f"{SETTINGS_FILE}: model_max_length is {ascii(value)[:100]}, not a length")
        return int(value) if value < _UNKNOWN_LENGTH else None


def read_settings(files: Mapping[str, bytes]) -> Settings:
    """Returns the settings that `files`, by name, hold; those of no file are empty.

    Raises:
      DataError: a file is not valid, or a value is of a wrong type.
      UsageError: the tokenizer is a Python program of its own, which is not executed.
    """
    values = json_object(files[SETTINGS_FILE], SETTINGS_FILE) if SETTINGS_FILE in files else {}
    if values.get("auto_map"):
        raise UsageError(
            f"{SETTINGS_FILE} has an auto_map: this tokenizer is Python code that comes with it, which jaxlm does not "
            f"run; where its tokenizer.json says the same, remove auto_map and tokenizer_class from a copy"
        )
    older = json_object(files[SPECIAL_TOKENS_FILE], SPECIAL_TOKENS_FILE) if SPECIAL_TOKENS_FILE in files else {}
    numbered = _numbered(values.get("added_tokens_decoder") or {})
    by_content = {token.content: token for token in numbered.values()}
    special = {}
    for name in SPECIAL_NAMES:
        place, value = SETTINGS_FILE, values.get(f"{name}_token")
        if value is None:
            place, value = SPECIAL_TOKENS_FILE, older.get(f"{name}_token")
        if value is not None and value is not False:
            token = _token(value, f"{place}: {name}_token")
            special[name] = by_content.get(token.content, token)
    if ADDED_TOKENS_FILE in files:
        named = {token.content for token in special.values()}
        added = token_ids(files[ADDED_TOKENS_FILE], ADDED_TOKENS_FILE)
        if len(added) > MAX_ADDED_TOKENS:
            raise DataError(f"{ADDED_TOKENS_FILE} has {len(added):,} tokens; at most {MAX_ADDED_TOKENS:,}")
        for content, number in added.items():
            # Those of this older file are ordinary words but for the named ones, and found in the normalised text.
            plain = _token(content, ADDED_TOKENS_FILE, special=content in named, normalized=content not in named)
            numbered.setdefault(number, by_content.get(content, plain))
    extra = _extra(values, older)
    characters = sum(len(token.content) for token in (*numbered.values(), *extra))
    if characters > MAX_ADDED_CHARACTERS:
        raise DataError(f"the added tokens have {characters:,} characters together; at most {MAX_ADDED_CHARACTERS:,}")
    return Settings(
        values=values,
        special=special,
        numbered=dict(sorted(numbered.items())),
        extra=tuple(extra),
        chat_templates=_chat_templates(values.get("chat_template"), files),
    )


def _numbered(entries: Any) -> dict[int, AddedToken]:
    place = f"{SETTINGS_FILE}: added_tokens_decoder"
    if not isinstance(entries, dict) or len(entries) > MAX_ADDED_TOKENS:
        raise DataError(f"{place} is not an object of at most {MAX_ADDED_TOKENS:,} tokens")
    numbered = {}
    for number, value in entries.items():
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise DataError(f"{place} has {ascii(number)[:100]} where a token id should be")
        numbered[int(number)] = _token(value, f"{place}, id {number}", special=False)
    return numbered


def _extra(values: Mapping[str, Any], older: Mapping[str, Any]) -> list[AddedToken]:
    extra: list[AddedToken] = []
    for name in ("additional_special_tokens", "extra_special_tokens"):
        place, entries = SETTINGS_FILE, values.get(name)
        if entries is None:
            place, entries = SPECIAL_TOKENS_FILE, older.get(name)
        if entries is None:
            continue
        if isinstance(entries, dict):  # a name of the user's own for each
            entries = list(entries.values())
        if not isinstance(entries, list) or len(entries) > MAX_ADDED_TOKENS:
            raise DataError(f"{place}: {name} is not a list of at most {MAX_ADDED_TOKENS:,} tokens")
        extra += [_token(entry, f"{place}: {name}") for entry in entries]
    return extra


def _token(value: Any, place: str, special: bool = True, normalized: bool = False) -> AddedToken:
    """Returns the token that `value` is or describes; what it does not say is as in the arguments."""
    fields = {"content": value} if isinstance(value, str) else value
    content = fields.get("content") if isinstance(fields, dict) else None
    if not isinstance(content, str) or not 0 < len(content) <= MAX_TOKEN_CHARACTERS:
        raise DataError(f"{place} is {ascii(value)[:100]}, not a token")
    options: dict[str, Any] = {
        "special": special,
        "lstrip": False,
        "rstrip": False,
        "single_word": False,
        "normalized": normalized,
    }
    for name in options:
        options[name] = fields.get(name, options[name])
        if not isinstance(options[name], bool):
            raise DataError(f"{place}: {name} is {ascii(options[name])[:100]}, not true or false")
    return AddedToken(content, **options)


def _chat_templates(value: Any, files: Mapping[str, bytes]) -> dict[str, str]:
    templates: dict[str, str] = {}
    if isinstance(value, str):
        templates["default"] = value
    elif isinstance(value, list):
        for entry in value:
            name, text = (entry.get("name"), entry.get("template")) if isinstance(entry, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(text, str):
                raise DataError(f"{SETTINGS_FILE}: chat_template has {ascii(entry)[:100]}, not a name and a template")
            templates[name] = text
    elif value is not None:
        raise DataError(f"{SETTINGS_FILE}: chat_template is {ascii(value)[:100]}, not a text")
    if CHAT_TEMPLATE_FILE in files:
        try:
            templates["default"] = files[CHAT_TEMPLATE_FILE].decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{CHAT_TEMPLATE_FILE} is not UTF-8: {error.reason} at byte {error.start}") from None
    return templates
