"""Which column of a table is the text, which the label: as named, else guessed from names, else from content."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import DataError, UsageError, did_you_mean

# Names that columns have in the wild, the likeliest first.
_TEXT = ("text", "sentence", "sentence1", "premise", "question1", "review", "content", "document", "tweet", "utterance")
_PAIR = ("sentence2", "hypothesis", "question2", "pair", "text_b", "text2")
_LABEL = (
    "label",
    "labels",
    "class",
    "category",
    "sentiment",
    "intent",
    "gold_label",
    "target",
    "score",
    "rating",
    "value",
)
_SOURCE = ("source", "src", "input", "document", "article", "en", "text", "instruction")
_TARGET = ("target", "tgt", "output", "summary", "targets", "de", "fr", "zh", "response", "translation")
_QUESTION, _CONTEXT, _ANSWERS = ("question",), ("context", "passage", "paragraph"), ("answers", "answer")
_MESSAGES = ("messages", "conversations", "conversation", "dialog")
_PROMPT = ("prompt", "instruction", "question")
_ANSWER = ("output", "response", "completion", "answer", "target")
ROLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    **{
        kind: {"text": _TEXT, "pair": _PAIR, "label": _LABEL}
        for kind in ("classification", "multi_label", "regression")
    },
    "tagging": {"text": ("words", "tokens"), "label": ("tags", "ner_tags", "pos_tags", "upos", "labels")},
    "question_answering": {"text": _QUESTION, "pair": _CONTEXT, "label": _ANSWERS},
    "sequence_to_sequence": {"text": _SOURCE, "label": _TARGET},
    "chat": {"text": (*_MESSAGES, *_PROMPT), "pair": ("input", "context"), "label": _ANSWER},
    "multiple_choice": {
        "text": (*_CONTEXT, "article", "sent1", "startphrase", "text", "premise", "goal", "question", "prompt"),
        "pair": ("question", "sent2"),
        "label": ("label", "answer", "answerkey", "correct", "gold"),
    },
    "sentence_embedding": {
        "text": ("anchor", "query", "question", *_TEXT),
        "pair": ("positive", "answer", "passage", *_PAIR),
    },
    "preference": {"text": (*_PROMPT, *_MESSAGES), "pair": ("rejected",), "label": ("chosen",)},
}
KNOWN_NAMES = frozenset(name for roles in ROLES.values() for names in roles.values() for name in names) | {"id", "idx"}
_LOOKED_AT = 1000


def find_columns(config: ExamplesConfig, kind: str, rows: Sequence[Mapping[str, Any]], where: str) -> dict[str, str]:
    """Returns the column of each role: text, label and, where there is one, pair.

    Args:
      config: names that were given.
      kind: of the task.
      rows: records, at least one.
      where: the file, for messages.

    Raises:
      UsageError: a column that was named is not there.
      DataError: a column cannot be guessed.
    """
    names = list(rows[0])
    lower = {name.lower(): name for name in reversed(names)}
    found: dict[str, str] = {}
    for role, known in ROLES[kind].items():
        given = getattr(config, f"{role}_column")
        if given and given not in names:
            raise UsageError(
                f"{where} has no column {given!r}{did_you_mean(given, names)}; it has {', '.join(names)[:300]}"
            )
        guess = given or next(
            (lower[name] for name in known if name in lower and lower[name] not in found.values()), ""
        )
        if guess:
            found[role] = guess
    needed = ["label", "text"]
    if kind == "chat" and isinstance(rows[0].get(found.get("text", "")), list):
        needed = ["text"]  # messages hold their answers
    elif kind == "sentence_embedding":
        needed = ["pair", "text"]
    elif kind == "preference":
        needed = ["label", "pair"]  # answers that are messages hold what they answer
    missing = [role for role in needed if role not in found]
    if missing and all(name.isdigit() for name in names):
        found = _by_content(kind, rows[:_LOOKED_AT], found)
        missing = [role for role in missing if role not in found]
    if missing:
        raise DataError(
            f"{where}: which column is the {missing[0]}? It has {', '.join(names)[:300]}: name it with "
            f"--{missing[0]}-column"
        )
    return found


def _by_content(kind: str, rows: Sequence[Mapping[str, Any]], found: dict[str, str]) -> dict[str, str]:
    """Guesses the roles of columns without names: the label has the fewest values, the text is the longest."""
    free = [name for name in rows[0] if name not in found.values()]
    if kind in ("question_answering", "sequence_to_sequence", "tagging"):
        order = [role for role in ROLES[kind] if role not in found]
        return found | dict(zip(order, free, strict=False))
    if "label" not in found and free:
        counts = {name: len({str(row[name]) for row in rows}) for name in free}
        lengths = {name: sum(len(str(row[name])) for row in rows) for name in free}
        label = min(free, key=lambda name: (counts[name], lengths[name]))
        found = {**found, "label": label}
        free.remove(label)
    if "text" not in found and free:
        found = {**found, "text": max(free, key=lambda name: sum(len(str(row[name])) for row in rows))}
    return found
