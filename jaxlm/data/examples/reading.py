"""Files to examples: every record becomes an example or a problem that has a name and a place."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.choices import choices_of, right_choice
from jaxlm.data.examples.columns import find_columns
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.conversations import conversation_of, preference_of
from jaxlm.data.examples.example import Example, ExampleSet, Problem
from jaxlm.data.examples.records import (
    Record,
    json_records,
    parallel_records,
    squad_records,
    table_records,
    tagged_records,
)
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError, UsageError

Split = Literal["train", "validation", "test"]
_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "squad",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".conllu": "conllu",
    ".txt": "tsv",
}


def read_examples(config: ExamplesConfig, kind: str, split: Split, labels: Sequence[str] | None = None) -> ExampleSet:
    """Returns the examples of a split.

    Args:
      config: the files.
      kind: what the examples are for; see `jaxlm.data.examples.example.Example`.
      split: where there are no validation files, 'train' and 'validation' are parts of the training files.
      labels: those that were learned: an example with another one is a problem; None takes all.

    Raises:
      UsageError: no such files or columns.
      DataError: a file that cannot be read or is empty; any bad record, if config.bad says so.
    """
    config.validate()
    carved = split != "test" and not config.validation
    patterns = config.train if carved else getattr(config, split)
    if not patterns:
        raise UsageError(f"there are no {split} files: name them with --{split}")
    problems: list[Problem] = []
    examples: list[Example] = []
    columns: dict[str, str] = {}
    known = None if labels is None else set(labels)
    for paths in _groups(config, patterns):
        records, own = _records(paths, config, kind, problems)
        columns |= own
        for record in records:
            example = _example(record, config, kind, own, problems)
            if example is None:
                continue
            unseen = set() if known is None else _labels(example, kind) - known
            if unseen:
                names = ", ".join(sorted(unseen))
                problems.append(Problem(record.place, "unseen_label", f"label {names} is not among those of training"))
            else:
                examples.append(example)
    if not examples and not problems:
        raise DataError(f"{', '.join(patterns)}: empty, there is no example")
    if carved:
        held_out = split == "validation"
        examples = [one for one in examples if _is_held_out(one, config.validation_fraction) == held_out]
        problems = problems if split == "train" else []
    if problems and config.bad == "refuse":
        raise DataError(f"{problems[0].place}: {problems[0].problem} ({len(problems):,} bad records in all)")
    digest = hashlib.sha256()
    for one in examples:
        digest.update(json.dumps(one.fields, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"))
    return ExampleSet(examples, problems, columns, tuple(map(str, patterns)), digest.hexdigest())


def format_of(path: Path, config: ExamplesConfig) -> str:
    """Returns the format of a file.

    Raises:
      UsageError: its name does not tell.
    """
    if config.format != "auto":
        return config.format
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in _FORMATS:
        raise UsageError(f"the name of {path} does not tell its format: say which with --format")
    return _FORMATS[suffix]


def _groups(config: ExamplesConfig, patterns: tuple[str, ...]) -> list[tuple[Path, ...]]:
    if config.format == "parallel":
        if len(patterns) != 2:
            raise UsageError(f"format 'parallel' takes two files, of sources and targets, not {len(patterns)}")
        return [(Path(patterns[0]), Path(patterns[1]))]
    return [(path,) for path in source_files(DataConfig(source="text", files=patterns))]


def _records(
    paths: tuple[Path, ...], config: ExamplesConfig, kind: str, problems: list[Problem]
) -> tuple[Iterator[Record] | list[Record], dict[str, str]]:
    """Returns the records of a file, or of two aligned ones, and which column is what."""
    path = paths[0]
    form = format_of(path, config)
    if form == "parallel":
        _need(kind, form, ("sequence_to_sequence",))
        return parallel_records((paths[0], paths[1]), config, problems), {"text": "source", "label": "target"}
    if form == "squad":
        _need(kind, form, ("question_answering",))
        return squad_records(path, config, problems), {"text": "question", "pair": "context", "label": "answers"}
    if form in ("conll", "conllu"):
        _need(kind, form, ("tagging",))
        return tagged_records(path, config, form == "conllu", problems), {"text": "words", "label": "tags"}
    separator = {"csv": ",", "tsv": "\t"}.get(form)
    rows = (
        json_records(path, config, problems) if separator is None else table_records(path, config, separator, problems)
    )
    found = list(rows)
    if not found:
        if not problems:
            raise DataError(f"{path} is empty: it holds no example")
        return [], {}
    return found, find_columns(config, kind, [record.fields for record in found], str(path))


def _need(kind: str, form: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise UsageError(f"format {form!r} holds examples for {', '.join(kinds)}, not for {kind}")


def _example(
    record: Record, config: ExamplesConfig, kind: str, columns: Mapping[str, str], problems: list[Problem]
) -> Example | None:
    """Makes the example of a record, or notes why it is none."""

    def refuse(reason: str, problem: str) -> Any:
        problems.append(Problem(record.place, reason, problem))
        return None

    values = {role: record.fields.get(column) for role, column in columns.items()}
    if kind in ("chat", "preference"):
        found = (conversation_of if kind == "chat" else preference_of)(values)
        return refuse("no_conversation", found) if isinstance(found, str) else Example(record.place, found)
    for role in ("text", "pair") if kind == "sentence_embedding" else ("text", "label"):
        if values.get(role) is None or values[role] == "":
            return refuse(f"no_{role}", f"{columns[role]} is empty")
    if kind == "tagging":
        words, tags = _words(values["text"]), _words(values["label"])
        if not words or len(words) != len(tags):
            return refuse("tags", f"{len(words)} words and {len(tags)} tags")
        return Example(record.place, {"words": words, "tags": tags})
    if kind == "question_answering":
        return _question(record, values, problems)
    if kind == "sequence_to_sequence":
        source, targets = _joined(values["text"]), _texts(values["label"])
        if not source.strip():
            return refuse("no_text", "the source is empty")
        if not targets:
            return refuse("no_label", "the target is empty")
        return Example(record.place, {"source": source, "targets": targets})
    text = _joined(values["text"])
    if not text.strip():
        return refuse("no_text", "the text is empty")
    pair = values.get("pair")
    fields: dict[str, Any] = {"text": text, "pair": None if pair in (None, "") else str(pair)}
    if kind == "sentence_embedding":
        lower = {name.lower(): value for name, value in record.fields.items()}
        negative = next((lower[name] for name in ("negative", "hard_negative") if lower.get(name)), None)
        return Example(record.place, fields if negative is None else {**fields, "negative": str(negative)})
    label = values["label"]
    if kind == "multiple_choice":
        choices = choices_of(record.fields)
        if isinstance(choices, str):
            return refuse("choices", choices)
        right = right_choice(label, *choices)
        if isinstance(right, str):
            return refuse("no_label", right)
        return Example(record.place, {**fields, "choices": choices[0], "label": right})
    if kind == "regression":
        try:
            value = float(str(label))
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            return refuse("no_number", f"the label {str(label)[:40]!r} is no number")
        return Example(record.place, {**fields, "value": value})
    if kind == "multi_label":
        own = label if isinstance(label, list) else [part.strip() for part in str(label).split(config.label_separator)]
        return Example(record.place, {**fields, "labels": tuple(sorted({str(part) for part in own if str(part)}))})
    return Example(record.place, {**fields, "label": str(label).strip()})


def _question(record: Record, values: Mapping[str, Any], problems: list[Problem]) -> Example | None:
    """Makes the example of a question; an answer that is not where it is said to be is looked for."""
    context, name = str(values.get("pair") or ""), str(record.fields.get("id", record.place))
    if not context.strip():
        problems.append(Problem(record.place, "no_text", "the text that holds the answer is empty"))
        return None
    answers = []
    given = values["label"]
    pairs = _squad_answers(given)
    for text, start in pairs:
        if start is not None and context[start : start + len(text)] == text and start >= 0 and text:
            answers.append((text, start))
            continue
        place = context.find(text) if text else -1
        if place >= 0 and context.find(text, place + 1) < 0:
            if start is not None:
                problem = f"answer {text[:40]!r} does not stand at character {start} but at {place}"
                problems.append(Problem(record.place, "answer_offset", problem, repaired=True))
            answers.append((text, place))
        else:
            where = "nowhere in the text" if place < 0 else "more than once, and not where it is said to be"
            problems.append(Problem(record.place, "answer_offset", f"answer {text[:40]!r} stands {where}"))
    if pairs and not answers:
        return None
    fields = {"id": name, "question": str(values["text"]), "context": context, "answers": tuple(answers)}
    return Example(record.place, fields)


def _squad_answers(given: Any) -> list[tuple[str, int | None]]:
    """Answers in any of their forms: pairs, a text, {"text": [...], "answer_start": [...]}, a list of objects."""
    if isinstance(given, str):
        return [(given, None)]
    if isinstance(given, Mapping):
        starts = given.get("answer_start") or [None] * len(given.get("text", ()))
        return [(str(text), start) for text, start in zip(given.get("text", ()), starts, strict=False)]
    return [
        (str(one.get("text", "")), one.get("answer_start")) if isinstance(one, Mapping) else (str(one[0]), one[1])
        for one in given
    ]


def _labels(example: Example, kind: str) -> set[str]:
    fields = example.fields
    if kind == "classification":
        return {fields["label"]}
    return set(fields["labels" if kind == "multi_label" else "tags"]) if kind in ("multi_label", "tagging") else set()


def _words(value: Any) -> tuple[str, ...]:
    return tuple(value.split()) if isinstance(value, str) else tuple(map(str, value))


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _texts(value: Any) -> tuple[str, ...]:
    texts = map(str, value) if isinstance(value, list) else [str(value)]
    return tuple(text for text in texts if text.strip())


def _is_held_out(example: Example, fraction: float) -> bool:
    fields = example.fields
    text = fields.get("text") or fields.get("source") or fields.get("context") or " ".join(fields.get("words", ()))
    text = text or "\n".join(one["content"] for one in fields.get("messages", ())[:2])
    number = int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")
    return number < fraction * 2**64
