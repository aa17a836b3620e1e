"""Questions with several answers to choose from, as data sets write them down."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxlm.errors import DataError

# One column for all, or columns that are numbered or lettered: ending0, choice_1, option_a, A, B, ...
_LISTS = ("choices", "options", "endings", "answers", "candidates")
_COLUMN = re.compile(r"((?:ending|choice|option|answer|ans|sol|opt)?)_?([0-9]{1,2}|[a-f])", re.IGNORECASE)
# How a label may name the right choice. The first that explains as much as any other is taken only if it is a text, or
# the same as the others; see `decide`.
TEXT, NAME, LETTER, FROM_0, FROM_1 = MEANINGS = ("text", "name", "letter", "from_0", "from_1")
SAID: Mapping[str, str] = {
    TEXT: "its text",
    NAME: "the name of its column, or that beside it",
    LETTER: "its letter",
    FROM_0: "its number from 0",
    FROM_1: "its number from 1",
}


@dataclass(frozen=True)
class Choices:
    """Where the choices of a file are, and how its labels name them.

    Attributes:
      columns: one with a list, or one for each choice.
      meaning: one of `MEANINGS`.
    """

    columns: tuple[str, ...]
    meaning: str


@dataclass(frozen=True)
class Found:
    """The choices of a record.

    Attributes:
      texts: of each.
      names: what each is called: by its column, or beside it; nothing where a list has no names.
      own: whether the names stand beside the texts.
    """

    texts: tuple[Any, ...]
    names: tuple[str, ...]
    own: bool = False

    def meanings(self, label: str) -> dict[str, int]:
        """Returns which choice a label would be by each way of naming it that fits."""
        found, label = {}, label.strip()
        texts = [str(text).strip().lower() for text in self.texts]
        if texts.count(label.lower()) == 1:
            found[TEXT] = texts.index(label.lower())
        if label.lower() in self.names:
            found[NAME] = self.names.index(label.lower())
        if re.fullmatch(r"[A-Za-z]", label) and ord(label.lower()) - ord("a") < len(texts):
            found[LETTER] = ord(label.lower()) - ord("a")
        if re.fullmatch(r"[0-9]{1,4}", label):
            if int(label) < len(texts):
                found[FROM_0] = int(label)
            if 0 < int(label) <= len(texts):
                found[FROM_1] = int(label) - 1
        return found


def choice_columns(names: Sequence[str], taken: Sequence[str], where: str) -> tuple[str, ...]:
    """Returns the columns that hold the choices: one with a list, or one for each choice.

    Args:
      names: of all columns.
      taken: those that hold something else.
      where: the file, for messages.

    Raises:
      DataError: there are none, or two sets of them.
    """
    lower = {name.lower(): name for name in reversed(names) if name not in taken}
    for name in _LISTS:
        if name in lower:
            return (lower[name],)
    sets: dict[tuple[str, bool], list[tuple[int, str, str]]] = {}
    for name in names:
        if name not in taken and (match := _COLUMN.fullmatch(name)):
            mark = match[2].lower()
            order = int(mark) if mark.isdigit() else ord(mark)
            sets.setdefault((match[1].lower(), mark.isdigit()), []).append((order, mark, name))
    several = [own for own in sets.values() if len(own) > 1]
    if not several:
        raise DataError(
            f"{where}: which columns are the choices? It has {', '.join(names)[:300]}: call one choices (a list), or "
            "one for each choice0, choice1, ..."
        )
    if len(several) > 1:
        both = " or ".join(", ".join(name for _, _, name in own) for own in several[:2])
        raise DataError(f"{where}: which columns are the choices, {both}? Rename those that are not")
    return tuple(name for _, _, name in sorted(several[0]))


def choices_of(fields: Mapping[str, Any], columns: Sequence[str]) -> Found | str:
    """Returns the choices of a record; or what is wrong.

    Args:
      fields: of the record.
      columns: one, with a list such as [...], {"text": [...], "label": [...]} or [{"text", "label"}, ...]; or one for
        each choice, of which the last may be empty.
    """
    if len(columns) > 1:
        marks = [match[2].lower() for name in columns if (match := _COLUMN.fullmatch(name))]
        texts = [fields.get(name) for name in columns]
        while texts and _empty(texts[-1]):
            texts.pop()
        return _checked(texts, marks[: len(texts)], False)
    given = fields.get(columns[0])
    if isinstance(given, dict):
        several, labels = given.get("text"), given.get("label")
        if not isinstance(several, list) or (labels is not None and not isinstance(labels, list)):
            return f"{columns[0]} has no list of texts"
        if labels is not None and len(labels) != len(several):
            return f"there are {len(several)} choices and {len(labels)} names of them"
        return _checked(several, labels or (), labels is not None)
    if not isinstance(given, list | tuple):
        return f"{columns[0]} holds no list"
    if given and all(isinstance(one, dict) for one in given):
        own = all("label" in one for one in given)
        texts = [one.get("text") for one in given]
        return _checked(texts, [one["label"] for one in given] if own else (), own)
    return _checked(list(given), (), False)


def _empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _checked(texts: Sequence[Any], names: Sequence[Any], own: bool) -> Found | str:
    if len(texts) < 2:
        return f"there are {len(texts)} choices, and at least two are needed"
    if any(_empty(text) for text in texts):
        return "a choice is empty"
    if any(isinstance(text, dict | list | tuple) for text in texts):
        return "a choice is no text"
    return Found(tuple(texts), tuple(str(name).strip().lower() for name in names), own)


def decide(found: Sequence[tuple[str, Found]], given: str, learned: str, where: str) -> str:
    """Returns how the labels of a file name the right choice: one of `MEANINGS`.

    That which explains the most labels; of several such that do not agree, the text if it is one of them, since a label
    that is a choice's text means it; then a name that stands beside the choice.

    Args:
      found: the label and the choices of each record.
      given: by the settings; "auto" decides by the labels.
      learned: what the run's training examples have, which a file that it explains as well as any other has too; or "".
      where: the file, for messages.

    Raises:
      DataError: two ways explain the labels as well, and disagree.
    """
    if given != "auto":
        return given
    meanings = [choices.meanings(label) for label, choices in found]
    counts = {way: sum(way in own for own in meanings) for way in MEANINGS}
    most = max(counts.values())
    best = [way for way in MEANINGS if counts[way] == most]
    if learned in best:
        return learned
    by_answers = {tuple(own.get(way, -1) for own in meanings): way for way in reversed(best)}
    best = [way for way in MEANINGS if way in by_answers.values()]
    if len(best) == 1 or TEXT in best:
        return best[0]
    if NAME in best and all(choices.own for _, choices in found):
        return NAME
    differs = next(at for at, own in enumerate(meanings) if len({own.get(way) for way in best}) > 1)
    label, choices = found[differs]
    ways = " or ".join(f"{SAID[way]} ({str(choices.texts[meanings[differs][way]])[:40]!r})" for way in best
                       if way in meanings[differs])  # fmt: skip
    raise DataError(
        f"{where}: it is not clear which choice the labels name; {label!r} is {ways}: say --choice-labels "
        f"{' or '.join(best)}"
    )
