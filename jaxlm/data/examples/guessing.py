"""What labelled examples are for, told from their files: the format, the names of the columns, the labels."""

import re
from collections.abc import Sequence
from typing import Any

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.columns import find_columns
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import read_records
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError, UsageError

# Fewer numbers than this are names of classes, such as stars from 1 to 5.
FEW_NUMBERS = 12
_BY_FORMAT = {
    "squad": "question_answering",
    "conll": "tagging",
    "conllu": "tagging",
    "parallel": "sequence_to_sequence",
}
# Columns of which each needs one, in the order of how sure they make.
_BY_COLUMNS: Sequence[tuple[str, Sequence[tuple[str, ...]]]] = (
    ("preference", (("chosen",), ("rejected",))),
    ("chat", (("messages", "conversations", "conversation", "dialog"),)),
    ("chat", (("instruction", "prompt"), ("output", "response", "completion"))),
    ("question_answering", (("question",), ("context", "passage", "paragraph"), ("answers", "answer"))),
    ("tagging", (("words", "tokens"), ("tags", "ner_tags", "pos_tags", "upos", "labels"))),
    ("sequence_to_sequence", (("source", "src", "article", "document"), ("target", "tgt", "summary", "highlights"))),
    ("sentence_embedding", (("anchor", "query"), ("positive",))),
)
_CHOICES = {"choices", "options", "endings", "candidates"}
_CHOICE = re.compile(r"(ending|choice|option|answer|sol|opt)_?([0-9]+|[a-f])")


def guess_kind(config: ExamplesConfig) -> tuple[str, str]:
    """Returns the task that the training files are examples of, and in words what tells so.

    Raises:
      UsageError: nothing tells, or there are no files.
      DataError: the first file holds nothing that can be read.
    """
    if not config.train:
        raise UsageError("there are no train files: name them with --train")
    if config.format == "parallel":
        return _BY_FORMAT["parallel"], "two aligned files"
    path = source_files(DataConfig(source="text", files=config.train))[0]
    records = read_records((path,), config)
    if records.form in _BY_FORMAT:
        return _BY_FORMAT[records.form], f"{path.name} is {records.form}"
    rows = [record.fields for record in records.good]
    if not rows:
        raise DataError(f"{path} holds no example")
    names = {name.lower() for name in records.names}
    for kind, columns in _BY_COLUMNS:
        found = [next((name for name in group if name in names), "") for group in columns]
        if all(found):
            return kind, f"{path.name} has {' and '.join(found)}"
    if names & _CHOICES or sum(_CHOICE.fullmatch(name) is not None for name in names) > 1:
        return "multiple_choice", f"{path.name} has choices"
    try:
        label = find_columns(config, "classification", rows, records.names, str(path))["label"]
    except DataError as error:
        raise UsageError(f"{error}; or say with --task what the examples are for") from error
    return _by_labels([row.get(label) for row in rows], label)


def _by_labels(labels: Sequence[Any], column: str) -> tuple[str, str]:
    if any(isinstance(label, list) for label in labels):
        return "multi_label", f"{column} holds lists"
    texts = [str(label).strip() for label in labels if label not in (None, "")]
    different = set(texts)
    if len(different) > FEW_NUMBERS and all(_is_number(text) for text in different):
        return "regression", f"{column} holds numbers"
    return "classification", f"{column} holds {len(different):,} labels"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
