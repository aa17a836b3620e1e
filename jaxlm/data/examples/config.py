"""Which files hold labelled examples, and how they are read: data only."""

from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class ExamplesConfig:
    """Files of labelled examples."""

    train: tuple[str, ...] = ()
    """Files or globs to learn from: CSV, TSV, JSON Lines, CoNLL, CoNLL-U, SQuAD's JSON, or two aligned text files
    (format 'parallel'); .gz is read as it is."""
    validation: tuple[str, ...] = ()
    """Files to choose the checkpoint by; none holds out validation_fraction of the training examples."""
    test: tuple[str, ...] = ()
    """Files that the chosen checkpoint is measured on besides."""
    format: Literal["auto", "csv", "tsv", "jsonl", "conll", "conllu", "squad", "parallel"] = "auto"
    """Format of the files; auto goes by their names."""
    encoding: str = "utf-8"
    """How characters are encoded."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first row of CSV and TSV names the columns; auto looks for names that are known."""
    text_column: str = ""
    """Column of the text (or source, question, word), by its name, or by its number from 1 where there is no header;
    none is guessed from names and content, and printed."""
    pair_column: str = ""
    """Column of a second text (or of the text that holds the answer)."""
    label_column: str = ""
    """Column of the label (or target, answers, tag)."""
    label_separator: str = "|"
    """multi_label: what stands between the labels of an example."""
    validation_fraction: float = 0.1
    """Part that is held out where there are no validation files: chosen by a hash of the text, so that equal texts are
    on one side."""
    bad: Literal["skip", "refuse"] = "skip"
    """What becomes of a bad record: left out, counted and named, or an error."""

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"examples.validation_fraction is {self.validation_fraction}; it must lie between 0 and 1, such as 0.1"
            )
        if not self.label_separator:
            raise UsageError("examples.label_separator is empty; give what stands between labels, such as |")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise UsageError(f"examples.encoding is {self.encoding!r}, which is no encoding; such as utf-8") from None
