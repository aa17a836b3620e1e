"""Which column of a table is the text, which the label: as named, else guessed from names, else from content."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import CHOICE_LABELS
from jaxlm.errors import DataError, UsageError, did_you_mean

# Names that columns have in the wild, the likeliest first.
_TEXT = (
    *("text", "sentence", "sentence1", "premise", "question1", "review", "content", "document", "tweet", "utterance"),
    *("query", "question", "claim", "comment", "message", "description", "review_text", "reviewtext", "body"),
)
_PAIR = ("sentence2", "hypothesis", "question2", "pair", "text_b", "text2")
# Names that belong together: where a file has both, they are the text and its pair.
_PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence")),
    *(("question", "passage"), ("question", "context"), ("query", "passage"), ("query", "document"), ("text", "pair")),
    *(("text_a", "text_b"), ("text1", "text2"), ("sentence_a", "sentence_b"), ("sent1", "sent2"), ("s1", "s2")),
    *(("claim", "evidence"), ("string1", "string2"), ("query", "text"), ("question", "answer")),
)
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
_SOURCE = (
    *("source", "src", "input", "document", "article", "en", "text", "instruction", "prompt", "question", "context"),
)
_TARGET = (
    *("target", "tgt", "output", "summary", "targets", "de", "fr", "zh", "response", "translation", "completion"),
    *("answer", "continuation"),
)
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
        "text": (
            *(*_CONTEXT, "article", "sent1", "startphrase", "text", "premise", "goal", "question", "prompt", "query"),
            *("stem", "question_stem", "sentence"),
        ),
        "pair": ("question", "sent2"),
        "label": ("label", "answer", "answerkey", "correct", "gold"),
    },
    "sentence_embedding": {
        "text": ("anchor", "query", "question", *_TEXT),
        "pair": ("positive", "answer", "passage", *_PAIR),
    },
    "preference": {"text": (*_PROMPT, *_MESSAGES), "pair": ("rejected",), "label": ("chosen",)},
}
KNOWN_NAMES = frozenset(name for roles in ROLES.values() for names in roles.values() for name in names) | {
    *(name for pair in _PAIRS for name in pair),
    *("id", "idx"),
}
_PAIRED = ("classification", "multi_label", "regression")
_MOST_VALUES = 10_000  # that are counted of a column


def find_columns(
    config: ExamplesConfig,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    where: str,
    labelled: bool = True,
) -> dict[str, str]:
    """Returns the column of each role: text, label and, where there is one, pair.

    Args:
      config: names that were given, and those that the run had.
      kind: of the task.
      rows: all records.
      names: columns of the whole file.
      where: the file, for messages.
      labelled: whether a label is needed.

    Raises:
      UsageError: a column that was named is not there.
      DataError: a column cannot be guessed.
    """
    found: dict[str, str] = {}
    for role in ROLES[kind]:
        given = getattr(config, f"{role}_column")
        if given and given not in names and (labelled or role != "label" or kind == "preference"):
            raise UsageError(
                f"{where} has no column {given!r}{did_you_mean(given, names)}; it has {', '.join(names)[:300]}"
            )
        if given in names:
            found[role] = given
    needed = _needed(kind, rows, names, found, labelled)
    known = {role: name for role, name in config.known_columns().items() if role != CHOICE_LABELS}
    if known and all(name in names for role, name in known.items() if role in needed or role == "pair"):
        found = {role: name for role, name in known.items() if name in names} | found
    else:
        lower = {name.lower(): name for name in reversed(names)}
        if kind in _PAIRED and not found:
            both = next((pair for pair in _PAIRS if all(name in lower for name in pair)), ())
            found = dict(zip(("text", "pair"), (lower[name] for name in both), strict=False))
        for role, guesses in ROLES[kind].items():
            guess = next((lower[name] for name in guesses if lower.get(name, "") not in ("", *found.values())), "")
            if guess and role not in found:
                found[role] = guess
    needed = _needed(kind, rows, names, found, labelled)
    missing = [role for role in needed if role not in found]
    if missing and all(name.isdigit() for name in names):
        found = _by_content(kind, rows, names, found, where)
        missing = [role for role in missing if role not in found]
    if missing:
        raise DataError(
            f"{where}: which column is the {missing[0]}? It has {', '.join(names)[:300]}: name it with "
            f"--{missing[0]}-column"
        )
    return {role: found[role] for role in ROLES[kind] if role in found}


def _needed(
    kind: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], found: Mapping[str, str], labelled: bool
) -> list[str]:
    """The roles without which there is no example."""
    if kind == "chat":
        # Messages hold their answers.
        talks = any(isinstance(row.get(found.get("text", "")), list) for row in rows)
        return ["text"] if talks or not labelled else ["label", "text"]
    if kind == "sentence_embedding":
        return ["pair", "text"]
    if kind == "preference":
        return ["label", "pair"]  # answers that are messages hold what they answer
    if kind == "question_answering" and not labelled:
        return ["pair", "text"]
    return ["label", "text"] if labelled else ["text"]


def _by_content(
    kind: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], found: dict[str, str], where: str
) -> dict[str, str]:
    """Guesses the roles of columns without names: the text has the most letters, the label the fewest values.

    A date has many characters, but few letters. A label has two values or more, and none of its cells is empty.
    """
    free = [name for name in names if name not in found.values()]
    if kind in ("question_answering", "sequence_to_sequence", "tagging"):
        order = [role for role in ROLES[kind] if role not in found]
        return found | dict(zip(order, free, strict=False))
    counts = {name: _distinct(rows, name) for name in free}
    letters = {name: sum(map(str.isalpha, "".join(str(row.get(name, "")) for row in rows))) for name in free}
    varied = [name for name in free if counts[name] > 1]
    # With a single other column there is no choice: one class alone is said, and refused, where it is learned.
    varied = varied if len(varied) > 1 or (varied and "text" in found) else free
    found = dict(found)
    if "text" not in found and varied:
        # Of two columns the label is that with the fewer values, though it were the longer.
        texts = varied if len(varied) > 2 else sorted(varied, key=lambda name: -counts[name])[:1]
        if len(varied) == 2 and counts[varied[0]] == counts[varied[1]]:
            texts = varied
        found["text"] = max(texts, key=lambda name: letters[name])
        varied = [name for name in varied if name != found["text"]]
    if "label" not in found and varied:
        filled = [name for name in varied if all(str(row.get(name, "")).strip() for row in rows)] or varied
        fewest = min(counts[name] for name in filled)
        best = [name for name in filled if counts[name] == fewest]
        if len(best) > 1:
            raise DataError(
                f"{where}: columns {' and '.join(best)} could both be the label: name it with --label-column, and the "
                "text with --text-column"
            )
        found["label"] = best[0]
    return found


def _distinct(rows: Sequence[Mapping[str, Any]], name: str) -> int:
    values: set[str] = set()
    for row in rows:
        values.add(str(row.get(name, "")))
        if len(values) >= _MOST_VALUES:
            break
    return len(values)
