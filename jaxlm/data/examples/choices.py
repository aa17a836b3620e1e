"""Questions with several answers to choose from, as data sets write them down."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

# One column for all, or columns that are numbered or lettered: ending0, choice_1, option_a, A, B, ...
_LISTS = ("choices", "options", "endings", "answers", "candidates")
_COLUMN = re.compile(r"(?:(?:ending|choice|option|answer|sol|opt)_?)?([0-9]+|[a-f])", re.IGNORECASE)


def choices_of(fields: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]] | str:
    """Returns the choices of a record and what each is called there; or what is wrong.

    Args:
      fields: with a list, such as "choices": [...], {"text": [...], "label": [...]} or [{"text", "label"}, ...]; or
        with a column for each choice.
    """
    lower = {name.lower(): value for name, value in fields.items()}
    for name in _LISTS:
        given = lower.get(name)
        if isinstance(given, Mapping):
            given = [dict(zip(("text", "label"), both, strict=False)) for both in zip(
                given.get("text", ()), given.get("label", given.get("text", ())), strict=False
            )]  # fmt: skip
        if isinstance(given, Sequence) and not isinstance(given, str):
            texts = [str(one.get("text", "")) if isinstance(one, Mapping) else str(one) for one in given]
            named = [str(one.get("label", at)) if isinstance(one, Mapping) else str(at) for at, one in enumerate(given)]
            return _checked(texts, named)
    found = [(match[1].lower(), str(value)) for name, value in fields.items() if (match := _COLUMN.fullmatch(name))]
    found = [(name, text) for name, text in sorted(found, key=_order) if text.strip()]
    return _checked([text for _, text in found], [name for name, _ in found])


def _order(found: tuple[str, str]) -> tuple[int, str]:
    return (int(found[0]) if found[0].isdigit() else 0, found[0])


def _checked(texts: list[str], named: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | str:
    if len(texts) < 2:
        return f"there are {len(texts)} choices, and at least two are needed"
    if not all(text.strip() for text in texts):
        return "a choice is empty"
    return tuple(texts), tuple(named)


def right_choice(label: Any, texts: Sequence[str], named: Sequence[str]) -> int | str:
    """Returns which choice a label means: by its name, its letter, its number from 0, or its text; or what is wrong."""
    label = str(label).strip()
    if label.lower() in [name.lower() for name in named]:
        return [name.lower() for name in named].index(label.lower())
    if label.isdigit() and int(label) < len(texts):
        return int(label)
    if re.fullmatch(r"[A-Za-z]", label) and ord(label.lower()) - ord("a") < len(texts):
        return ord(label.lower()) - ord("a")
    if label in texts:
        return list(texts).index(label)
    return f"the label {label[:40]!r} is none of the {len(texts)} choices"
