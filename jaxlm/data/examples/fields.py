"""Records to examples: the fields that each kind of task reads, or what is wrong with a record."""

import math
import re
from collections.abc import Mapping
from typing import Any

from jaxlm.data.examples.choices import Choices, choices_of
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.conversations import conversation_of, preference_of
from jaxlm.data.examples.example import Example, Problem
from jaxlm.data.examples.records import Record

_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_GOLD = "-"  # in a column gold_label: annotators did not agree (Bowman et al. 2015, SNLI)


class _RecordError(Exception):
    """A record is no example.

    Attributes:
      reason, problem: see `Problem`.
    """

    def __init__(self, reason: str, problem: str):
        super().__init__(problem)
        self.reason, self.problem = reason, problem


def example_of(
    record: Record,
    config: ExamplesConfig,
    kind: str,
    columns: Mapping[str, str],
    choices: Choices | None = None,
    labelled: bool = True,
) -> tuple[Example | Problem, list[Problem]]:
    """Returns the example of a record, or why it is none; and what was repaired.

    Args:
      record: of a file or a table.
      config: what divides several labels.
      kind: of the task; see `Example`.
      columns: the column of each role.
      choices: of multiple_choice, where the choices are and how labels name them.
      labelled: whether the label is needed; what is to be predicted has none.
    """
    repaired: list[Problem] = []
    try:
        return Example(record.place, _fields(record, config, kind, columns, choices, labelled, repaired)), repaired
    except _RecordError as bad:
        return Problem(record.place, bad.reason, bad.problem), []


def _fields(
    record: Record,
    config: ExamplesConfig,
    kind: str,
    columns: Mapping[str, str],
    choices: Choices | None,
    labelled: bool,
    repaired: list[Problem],
) -> dict[str, Any]:
    values = {role: present(record.fields.get(column)) for role, column in columns.items()}
    if kind in ("chat", "preference"):
        return _talk(kind, values, record.fields, columns, labelled)
    for role in ("text", "pair") if kind == "sentence_embedding" else ("text", "label") if labelled else ("text",):
        if values.get(role) is None or values[role] == "":
            raise _RecordError(f"no_{role}", f"{columns[role]} is empty")
    if kind == "tagging":
        return _tagged(values, labelled)
    if kind == "question_answering":
        return _question(record, values, columns, labelled, repaired)
    if kind == "sequence_to_sequence":
        source = " ".join(_texts(values["text"], columns["text"]))
        if not source.strip():
            raise _RecordError("no_text", "the source is empty")
        if not labelled:
            return {"source": source, "targets": ("",)}
        targets = tuple(text for text in _texts(values["label"], columns["label"]) if text.strip())
        if not targets:
            raise _RecordError("no_label", "the target is empty")
        return {"source": source, "targets": targets}
    text = _text(values["text"], columns["text"])
    if not text.strip():
        raise _RecordError("no_text", "the text is empty")
    pair = values.get("pair")
    fields: dict[str, Any] = {"text": text, "pair": None if pair in (None, "") else _text(pair, columns["pair"])}
    if kind == "sentence_embedding":
        lower = {name.lower(): name for name in record.fields}
        for name in ("negative", "hard_negative"):
            if name in lower and (given := present(record.fields[lower[name]])) not in (None, ""):
                return {**fields, "negative": _text(given, lower[name])}
        return fields
    if kind == "multiple_choice":
        assert choices is not None
        return {**fields, **_choice(record, values.get("label"), choices, labelled)}
    return {**fields, **_label(kind, values["label"], columns["label"], config)} if labelled else fields


def present(value: Any) -> Any:
    """Returns a value, or None for what stands for a missing one: null and NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def label_text(value: Any) -> str:
    """Returns a label as text: whole numbers without a fraction, since a gap in a column makes it one of fractions."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _text(value: Any, column: str) -> str:
    """Returns a value as text: of lists and objects there is none."""
    if isinstance(value, list | tuple | dict):
        what = "an object" if isinstance(value, dict) else "a list"
        raise _RecordError("not_text", f"{column} holds {what} instead of a text")
    text = str(value)
    _refuse_half_characters(text, column)
    return text


def _refuse_half_characters(value: Any, place: str) -> None:
    """Raises for a lone surrogate, which JSON can spell and no tokenizer encode, in a text or whatever holds texts."""
    left = [value]
    while left:
        own = left.pop()
        if isinstance(own, str) and _SURROGATE.search(own):
            raise _RecordError("not_text", f"{place} holds half a character (a lone surrogate)")
        if isinstance(own, Mapping):
            left += [*own.keys(), *own.values()]
        elif isinstance(own, list | tuple):
            left += own


def _texts(value: Any, column: str) -> list[str]:
    """Returns the texts of a text or a list of texts."""
    return [_text(one, column) for one in (value if isinstance(value, list | tuple) else [value]) if one is not None]


def _talk(
    kind: str, values: dict[str, Any], fields: Mapping[str, Any], columns: Mapping[str, str], labelled: bool
) -> dict[str, Any]:
    if kind == "chat":
        for role in ("pair", "label"):
            if values.get(role) is not None:
                values[role] = _text(values[role], columns[role])
        if not labelled:
            values["label"] = "?"  # an answer is what is predicted
    found = (conversation_of if kind == "chat" else preference_of)(values, fields)
    if isinstance(found, str):
        raise _RecordError("no_conversation", found)
    _refuse_half_characters(found, "the conversation")
    if labelled or kind != "chat":
        return found
    messages = found["messages"]
    while messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if not messages:
        raise _RecordError("no_conversation", "there is nothing to answer")
    return {**found, "messages": messages}


def _tagged(values: Mapping[str, Any], labelled: bool) -> dict[str, Any]:
    words = _words(values["text"], "words")
    if not words or not all(word.strip() for word in words):
        raise _RecordError("no_text", "there are no words, or empty ones")
    if not labelled:
        return {"words": words}
    tags = _words(values["label"], "tags")
    if len(words) != len(tags):
        raise _RecordError("tags", f"{len(words)} words and {len(tags)} tags")
    return {"words": words, "tags": tags}


def _words(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(_text(value, name).split())
    if not isinstance(value, list | tuple):
        raise _RecordError("not_text", f"{name} are neither a list nor a text with spaces")
    return tuple(label_text(one) if isinstance(one, float) else _text(one, name) for one in value)


def _label(kind: str, label: Any, column: str, config: ExamplesConfig) -> dict[str, Any]:
    if kind == "multi_label":
        own = label if isinstance(label, list | tuple) else _text(label, column).split(config.label_separator)
        return {"labels": tuple(sorted({_text(part, column).strip() for part in own} - {""}))}
    text = label_text(_text(label, column) if not isinstance(label, float) else label)
    if kind == "regression":
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if isinstance(label, bool) or not math.isfinite(value):
            raise _RecordError("no_number", f"the label {text[:40]!r} is no number")
        return {"value": value}
    if not text:
        raise _RecordError("no_label", f"{column} is empty")
    if text == _NO_GOLD and column.lower() == "gold_label":
        raise _RecordError("no_label", f"{column} is {_NO_GOLD}: annotators did not agree on a label")
    return {"label": text}


def _choice(record: Record, label: Any, choices: Choices, labelled: bool) -> dict[str, Any]:
    found = choices_of(record.fields, choices.columns)
    if isinstance(found, str):
        raise _RecordError("choices", found)
    texts = tuple(_text(text, "a choice") for text in found.texts)
    if not labelled:
        return {"choices": texts}
    right = found.meanings(_text(label, "the label") if not isinstance(label, float) else label_text(label))
    if choices.meaning not in right:
        problem = f"the label {label_text(label)[:40]!r} is none of the {len(texts)} choices ({choices.meaning})"
        raise _RecordError("no_label", problem)
    return {"choices": texts, "label": right[choices.meaning]}


def _question(
    record: Record, values: Mapping[str, Any], columns: Mapping[str, str], labelled: bool, repaired: list[Problem]
) -> dict[str, Any]:
    """Returns the fields of a question; an answer that is not where it is said to be is looked for."""
    context = "" if values.get("pair") is None else _text(values["pair"], columns["pair"])
    question, name = _text(values["text"], columns["text"]), str(record.fields.get("id", record.place))
    _refuse_half_characters(name, "id")
    if not context.strip():
        raise _RecordError("no_text", "the text that holds the answer is empty")
    answers = []
    problem = ""
    given = _answers(values["label"], columns["label"]) if labelled else []
    for text, start in given:
        if start is not None and start >= 0 and text and context[start : start + len(text)] == text:
            answers.append((text, start))
            continue
        place = context.find(text) if text else -1
        if place >= 0 and context.find(text, place + 1) < 0:
            said = "has no start" if start is None else f"does not stand at character {start}"
            found = f"answer {text[:40]!r} {said}; it was found at {place}"
            repaired.append(Problem(record.place, "answer_offset", found, repaired=True))
            answers.append((text, place))
        else:
            where = "nowhere in the text" if place < 0 else "more than once, and not where it is said to be"
            problem = f"answer {text[:40]!r} stands {where}"
            repaired.append(Problem(record.place, "answer_offset", f"{problem}: left out", repaired=True))
    if given and not answers:
        raise _RecordError("answer_offset", problem)
    return {"id": name, "question": question, "context": context, "answers": tuple(answers)}


def _answers(given: Any, column: str) -> list[tuple[str, int | None]]:
    """Answers in any form: a text, {"text": [...], "answer_start": [...]}, a list of texts, pairs or objects."""
    if isinstance(given, dict):
        texts, starts = given.get("text", []), given.get("answer_start")
        texts = texts if isinstance(texts, list | tuple) else [texts]
        starts = starts if isinstance(starts, list | tuple) else [starts] * len(texts)
        if starts and len(starts) != len(texts):
            raise _RecordError("answers", f"there are {len(texts)} answers and {len(starts)} starts")
        pairs = list(zip(texts, starts or [None] * len(texts), strict=True))
    elif isinstance(given, list | tuple):
        pairs = []
        for one in given:
            if isinstance(one, dict):
                pairs.append((one.get("text"), one.get("answer_start")))
            elif isinstance(one, list | tuple):
                if len(one) != 2:
                    raise _RecordError("answers", f"{column} holds a list of {len(one)}, not a text and its start")
                pairs.append((one[0], one[1]))
            else:
                pairs.append((one, None))
    else:
        pairs = [(given, None)]
    found: list[tuple[str, int | None]] = []
    for text, start in pairs:
        if text is None:
            raise _RecordError("answers", "an answer has no text")
        start = int(start) if isinstance(start, float) and start.is_integer() else start
        if isinstance(start, bool) or not isinstance(start, int | None):
            raise _RecordError("answers", f"the start of an answer is {str(start)[:40]!r}, no whole number")
        found.append((_text(text, "an answer"), start))
    return found
