"""Files to examples: every record becomes an example or a problem that has a name and a place."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.choices import Choices, choice_columns, choices_of, decide
from jaxlm.data.examples.columns import find_columns
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.delimited import table_records
from jaxlm.data.examples.example import CHOICE_LABELS, Example, ExampleSet, Problem, columns_line, first_problem
from jaxlm.data.examples.fields import example_of, label_text, present
from jaxlm.data.examples.json_files import array_records, line_records, squad_records
from jaxlm.data.examples.parallel import parallel_records
from jaxlm.data.examples.records import Record, Records
from jaxlm.data.examples.tagged import tagged_records
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError, UsageError

Split = Literal["train", "validation", "test"]
MOST_BAD = 0.1  # share of a file's records that may be bad, unless the settings say otherwise
_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".conllu": "conllu",
    ".txt": "tsv",
}
# What files in these formats hold, whatever their columns are called.
_KINDS = {
    "parallel": ("sequence_to_sequence", {"text": "source", "label": "target"}),
    "squad": ("question_answering", {"text": "question", "pair": "context", "label": "answers"}),
    "conll": ("tagging", {"text": "words", "label": "tags"}),
    "conllu": ("tagging", {"text": "words", "label": "tags"}),
}


@dataclass(frozen=True)
class Form:
    """How the records of a file are read.

    Attributes:
      columns: the column of each role.
      choices: of multiple_choice.
      unused: columns that nothing is taken from.
    """

    columns: dict[str, str]
    choices: Choices | None
    unused: tuple[str, ...]

    @property
    def described(self) -> dict[str, str]:
        """The columns, and how labels name choices."""
        return self.columns | ({} if self.choices is None else {CHOICE_LABELS: self.choices.meaning})


def read_examples(config: ExamplesConfig, kind: str, split: Split, labels: Sequence[str] | None = None) -> ExampleSet:
    """Returns the examples of a split.

    Args:
      config: the files.
      kind: what the examples are for; see `jaxlm.data.examples.example.Example`.
      split: where there are no validation files, 'train' and 'validation' are parts of the training files.
      labels: those that were learned: an example with another one is a problem; None takes all.

    Raises:
      UsageError: no such files or columns.
      DataError: a file that cannot be read or is empty; more bad records than config.bad allows.
    """
    config.validate()
    carved = split != "test" and not config.validation
    patterns = config.train if carved else getattr(config, split)
    if not patterns:
        raise UsageError(f"there are no {split} files: name them with --{split}")
    problems: list[Problem] = []
    examples: list[Example] = []
    columns: dict[str, str] = {}
    notes: list[str] = []
    too_many = False
    for paths in _groups(config, patterns):
        records = read_records(paths, config)
        own, problems_here, form = examples_of(records, config, kind, str(paths[0]), labels)
        if columns and form.described and form.described != columns:
            notes.append(f"{paths[0]} has other columns: {columns_line(form.described)}")
        columns = columns or form.described
        notes += records.notes
        if form.unused:
            notes.append(f"{paths[0]}: columns not taken: {', '.join(form.unused)[:300]}")
        too_many = _too_many(problems_here, len(records.items), config, str(paths[0])) or too_many
        examples += own
        problems += problems_here
    if not examples and not problems:
        raise DataError(f"{', '.join(patterns)}: empty, there is no example")
    if carved:
        held_out = split == "validation"
        examples = [one for one in examples if _is_held_out(one, config.validation_fraction) == held_out]
        problems = problems if split == "train" else []
        notes = notes if split == "train" else []
    if problems and config.bad == "refuse":
        raise DataError(f"{problems[0].place}: {problems[0].problem} ({len(problems):,} bad records in all)")
    digest = hashlib.sha256()
    for one in examples:
        digest.update(json.dumps(one.fields, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass"))
    files = tuple(map(str, patterns))
    return ExampleSet(examples, problems, columns, files, digest.hexdigest(), tuple(notes), too_many)


def format_of(path: Path, config: ExamplesConfig) -> str:
    """Returns the format of a file.

    Raises:
      UsageError: its name does not tell.
    """
    if config.format != "auto":
        return config.format
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix.lower() not in _FORMATS:
        raise UsageError(f"the name of {path} does not tell its format: say which with --format")
    return _FORMATS[suffix.lower()]


def read_records(paths: tuple[Path, ...], config: ExamplesConfig) -> Records:
    """Returns the records of a file, or of two that are aligned, as they stand there.

    Raises:
      UsageError: the name of the file does not tell its format.
      DataError: it cannot be read.
    """
    path = paths[0]
    form = format_of(path, config)
    if form == "parallel":
        found = parallel_records(paths[0], paths[1], config)
    elif form in ("conll", "conllu"):
        found = tagged_records(path, config, form == "conllu")
    elif form in ("csv", "tsv"):
        found = table_records(path, config, {"csv": ",", "tsv": "\t"}[form])
    else:
        found = {"squad": squad_records, "jsonl": line_records, "json": array_records}[form](path, config)
    found.form = form
    return found


def examples_of(
    records: Records, config: ExamplesConfig, kind: str, where: str, labels: Sequence[str] | None = None
) -> tuple[list[Example], list[Problem], Form]:
    """Returns the examples of records, what is wrong with the others, and how they were read.

    Args:
      records: of a file or a table.
      config: names of columns.
      kind: of the task.
      where: the file or table, for messages.
      labels: those that were learned; None takes all.

    Raises:
      UsageError: columns that are not there, or a format for other tasks.
      DataError: there is no record; columns or labels that cannot be told.
    """
    form = form_of(records, config, kind, where)
    known = None if labels is None else set(labels)
    examples: list[Example] = []
    problems: list[Problem] = []
    for item in records.items:
        if isinstance(item, Problem):
            problems.append(item)
            continue
        found, repaired = example_of(item, config, kind, form.columns, form.choices)
        if isinstance(found, Problem):
            problems.append(found)
            continue
        unseen = set() if known is None else _labels(found, kind) - known
        if unseen:
            names = ", ".join(sorted(unseen))
            problems.append(Problem(item.place, "unseen_label", f"label {names} is not among those of training"))
            continue
        problems += repaired
        examples.append(found)
    return examples, problems, form


def unlabelled_examples(records: Records, config: ExamplesConfig, kind: str, where: str) -> list[Example]:
    """Returns an example of each record, to be predicted: none needs a label.

    Args:
      records: of a file or a table.
      config: that of the run, whose columns are looked for first.
      kind: of the task.
      where: the file or table, for messages.

    Raises:
      UsageError: a column that the run read is missing.
      DataError: columns that cannot be told; a record that nothing can be predicted for.
    """
    form = form_of(records, config, kind, where, labelled=False)
    learned = config.known_columns().get("pair", "")
    if learned and form.columns and "pair" not in form.columns and kind != "chat":
        raise UsageError(f"{where} has no column {learned!r}, the second text of the run's examples; it has "
                         f"{', '.join(records.names)[:300]}: name it with --pair-column")  # fmt: skip
    found: list[Example] = []
    bad: list[Problem] = []
    for item in records.items:
        own = (
            item if isinstance(item, Problem) else example_of(item, config, kind, form.columns, form.choices, False)[0]
        )
        if isinstance(own, Problem):
            bad.append(own)
        else:
            found.append(own)
    if bad:
        raise DataError(f"{where}: nothing can be predicted for {len(bad):,} of its records; {first_problem(bad)}")
    return found


def form_of(records: Records, config: ExamplesConfig, kind: str, where: str, labelled: bool = True) -> Form:
    """Returns how records are read: see `examples_of`; those that are not `labelled` need no label."""
    if records.form in _KINDS:
        only, columns = _KINDS[records.form]
        if kind != only:
            raise UsageError(f"format {records.form!r} holds examples for {only}, not for {kind}")
        return Form(dict(columns), None, ())
    good = records.good
    if not good:
        if not records.items:
            raise DataError(f"{where} is empty: it holds no example")
        return Form({}, None, ())
    rows = [record.fields for record in good]
    columns = find_columns(config, kind, rows, records.names, where, labelled)
    choices = None
    if kind == "multiple_choice":
        choices = _choices(good, config, columns, records.names, where, labelled)
    taken = {*columns.values(), *(choices.columns if choices else ()), "id", "negative", "hard_negative"}
    return Form(columns, choices, tuple(name for name in records.names if name not in taken))


def _choices(
    good: Sequence[Record],
    config: ExamplesConfig,
    columns: dict[str, str],
    names: Sequence[str],
    where: str,
    labelled: bool,
) -> Choices:
    own = choice_columns(names, tuple(columns.values()), where)
    if not labelled:
        return Choices(own, "")
    found = []
    for record in good:
        label, choices = present(record.fields.get(columns["label"])), choices_of(record.fields, own)
        if not isinstance(choices, str) and not isinstance(label, list | dict | None):
            found.append((label_text(label), choices))
    return Choices(own, decide(found, config.choice_labels, config.known_columns().get(CHOICE_LABELS, ""), where))


def _too_many(problems: Sequence[Problem], records: int, config: ExamplesConfig, where: str) -> bool:
    """Whether more than `MOST_BAD` of the records are bad; raises DataError where the settings allow few."""
    bad = [problem for problem in problems if not problem.repaired]
    too_many = len(bad) > MOST_BAD * records
    if too_many and config.bad == "few":
        encoding = any(problem.reason == "wrong_encoding" for problem in bad)
        raise DataError(
            f"{where}: {len(bad):,} of {records:,} records are bad, more than a tenth; {first_problem(bad)}. "
            f"{'Name their encoding by --encoding, or leave' if encoding else 'Leave'} them out by --bad skip"
        )
    return too_many


def _groups(config: ExamplesConfig, patterns: tuple[str, ...]) -> list[tuple[Path, ...]]:
    if config.format == "parallel":
        if len(patterns) != 2:
            raise UsageError(f"format 'parallel' takes two files, of sources and targets, not {len(patterns)}")
        first, second = (source_files(DataConfig(source="text", files=(one,)))[0] for one in patterns)
        return [(first, second)]
    return [(path,) for path in source_files(DataConfig(source="text", files=patterns))]


def _labels(example: Example, kind: str) -> set[str]:
    fields = example.fields
    if kind == "classification":
        return {fields["label"]}
    return set(fields["labels" if kind == "multi_label" else "tags"]) if kind in ("multi_label", "tagging") else set()


def _is_held_out(example: Example, fraction: float) -> bool:
    fields = example.fields
    text = fields.get("text") or fields.get("source") or fields.get("context") or " ".join(fields.get("words", ()))
    text = text or "\n".join(one["content"] for one in fields.get("messages", ())[:2])
    number = int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")
    return number < fraction * 2**64
