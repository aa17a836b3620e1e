"""Our own tokenizers in Hugging Face's format: a tokenizer.json that gives the same ids, and its settings.

Two things differ there, and neither can be said in that format: a character that the vocabulary lacks is left out or
unknown instead of an error, and a tokenizer.json that is read without its tokenizer_config.json takes "<eos>" written
in a text for the id (the settings' `split_special_tokens` keeps it plain text).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxlm.text.hugging_face_files import SETTINGS_FILE, TOKENIZER_JSON


def exported(
    model: Mapping[str, Any],
    special: Mapping[str, tuple[str, int]],
    decoder: Mapping[str, Any],
    pre_tokenizer: Mapping[str, Any] | None = None,
    normalizer: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
    suffix: Sequence[str] = (),
    plain_names: bool = True,
) -> dict[str, bytes]:
    """Returns tokenizer.json and tokenizer_config.json.

    Args:
      model: the part of the file that cuts words into tokens.
      special: by name ("bos", ...), the special tokens and their ids.
      decoder: the part of the file that makes text of tokens.
      pre_tokenizer: the part that cuts a text into words; None leaves it whole.
      normalizer: the part that changes the text before that.
      prefix: names of the special tokens that stand before a text.
      suffix: names of those after it.
      plain_names: whether special tokens that are written in a text are plain text.
    """
    added = [
        {
            "id": number,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for content, number in sorted(special.values(), key=lambda entry: entry[1])
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": template(special, prefix, suffix),
        "decoder": decoder,
        "model": model,
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": content for name, (content, _) in special.items()},
    }
    if plain_names:
        settings["split_special_tokens"] = True
    return {
        TOKENIZER_JSON: as_json(document),
        SETTINGS_FILE: as_json(settings, sort_keys=True),
    }


def with_special_tokens(
    files: Mapping[str, bytes], numbers: Mapping[str, int], roles: Mapping[str, str], around: bool
) -> dict[str, bytes]:
    """Returns the files of `exported` with further special tokens, which are special in a text too.

    Args:
      files: tokenizer.json and tokenizer_config.json.
      numbers: id of each further token, by its name.
      roles: what a token of some name is to the settings, as in {"[MASK]": "mask"}.
      around: whether [CLS] stands before a text and [SEP] after each.
    """
    document = json.loads(files[TOKENIZER_JSON])
    settings = json.loads(files[SETTINGS_FILE])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"] += [{"id": number, "content": name, **flags} for name, number in numbers.items()]
    settings |= {f"{roles[name]}_token": name for name in numbers if name in roles}
    settings["additional_special_tokens"] = [name for name in numbers if name not in roles]
    settings.pop("split_special_tokens", None)
    if around:
        special = {role: (name, numbers[name]) for name, role in roles.items() if name in numbers}
        document["post_processor"] = template(special, ["cls"], ["sep"])
    return {
        TOKENIZER_JSON: as_json(document),
        SETTINGS_FILE: as_json(settings, sort_keys=True),
    }


def merges_from_scores(scores: Mapping[str, float], learned: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the merges of a BPE vocabulary that says how good tokens are, and not what they were merged from.

    Such a vocabulary joins, again and again, the two neighbours whose union scores best. So each way to cut a token in
    two is a merge, and those of a better token come first.

    Args:
      scores: by token; what a merge may join.
      learned: the tokens that merges make, without special ones and bytes.
    """
    merges: list[tuple[float, int, str, str]] = []
    for token in learned:
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in scores and right in scores:
                merges.append((-scores[token], len(merges), left, right))
    return [(left, right) for _, _, left, right in sorted(merges)]


def as_json(value: Any, sort_keys: bool = False) -> bytes:
    """Returns a file of `value`, its fields sorted or as they are."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=sort_keys).encode() + b"\n"


def template(special: Mapping[str, tuple[str, int]], prefix: Sequence[str], suffix: Sequence[str]) -> dict[str, Any]:
    """Returns the part that puts special tokens around a text: before the first text, and after each."""

    def token(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": special[name][0], "type_id": kind}}

    def text(letter: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": letter, "type_id": kind}}

    single = [*(token(name, 0) for name in prefix), text("A", 0), *(token(name, 0) for name in suffix)]
    pair = [*single, text("B", 1), *(token(name, 1) for name in suffix)]
    used = {special[name] for name in (*prefix, *suffix)}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {
            content: {"id": content, "ids": [number], "tokens": [content]} for content, number in sorted(used)
        },
    }
