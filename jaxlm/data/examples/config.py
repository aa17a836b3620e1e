"""Which files hold labelled examples, and how they are read: data only."""

from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import UsageError

Format = Literal["auto", "csv", "tsv", "jsonl", "json", "conll", "conllu", "squad", "parallel"]


@dataclass(frozen=True)
class ExamplesConfig:
    """Files of labelled examples."""

    train: tuple[str, ...] = ()
    """Files or globs to learn from: CSV, TSV, JSON Lines, a JSON array of records, CoNLL, CoNLL-U, SQuAD's JSON, or two
    aligned text files (format 'parallel'); .gz is read as it is."""
    validation: tuple[str, ...] = ()
    """Files to choose the checkpoint by; none holds out validation_fraction of the training examples."""
    test: tuple[str, ...] = ()
    """Files that the chosen checkpoint is measured on besides."""
    format: Format = "auto"
    """Format of the files; auto goes by their names (and of .json by the content)."""
    encoding: str = "utf-8"
    """How characters are encoded, such as latin-1 or utf-16; a byte order mark decides by itself."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first row of CSV and TSV names the columns; auto looks for names that are known."""
    quotes: Literal["auto", "yes", "no"] = "auto"
    """Whether quotes in CSV and TSV enclose fields (yes) or are characters like others (no); auto takes those of CSV as
    enclosing, and decides of TSV by all lines of a file."""
    text_column: str = ""
    """Column of the text (or source, question, word), by its name, or by its number from 1 where there is no header;
    none is guessed from names and content, and printed."""
    pair_column: str = ""
    """Column of a second text (or of the text that holds the answer)."""
    label_column: str = ""
    """Column of the label (or target, answers, tag)."""
    label_separator: str = "|"
    """multi_label: what stands between the labels of an example."""
    choice_labels: Literal["auto", "text", "name", "letter", "from_0", "from_1"] = "auto"
    """multiple_choice: what a label is of the right choice: its text, the name of its column or that beside it, its
    letter, or its number from 0 or 1; auto decides by all labels of a file."""
    columns: tuple[str, ...] = ()
    """Filled in by a run: the columns that its training examples had, such as text=review; other files of the run are
    read by the same where they have them."""
    validation_fraction: float = 0.1
    """Part that is held out where there are no validation files: chosen by a hash of the text, so that equal texts are
    on one side."""
    bad: Literal["few", "skip", "refuse"] = "few"
    """What becomes of a bad record: left out, counted and named, up to a tenth of a file (few) or however many (skip);
    or an error (refuse)."""

    def named_columns(self) -> tuple[str, ...]:
        """The columns that are named, by the settings or the run."""
        given = (self.text_column, self.pair_column, self.label_column, *self.known_columns().values())
        return tuple(name for name in given if name)

    def known_columns(self) -> dict[str, str]:
        """`columns`, by role."""
        return {role: name for role, _, name in (one.partition("=") for one in self.columns)}

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"examples.validation_fraction is {self.validation_fraction}; it must lie between 0 and 1, such as 0.1"
            )
        if not self.label_separator:
            raise UsageError("examples.label_separator is empty; give what stands between labels, such as |")
        if not all("=" in one for one in self.columns):
            raise UsageError("examples.columns must be roles and columns, such as text=review")
        try:
            "\n".encode(self.encoding)
        except (LookupError, UnicodeError):
            raise UsageError(f"examples.encoding is {self.encoding!r}, which is no encoding; such as utf-8") from None
