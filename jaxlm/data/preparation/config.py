"""What a preparation reads, what it leaves out, and what it writes."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name

QUALITY_RULES = ("gopher", "gopher_repetition", "c4")


@dataclass(frozen=True)
class CorpusConfig:
    """Which text is read."""

    source: Literal["text", "jsonl", "parquet", "datasets", "tfds"] = "text"
    """Text files, JSON Lines, Parquet files, a folder that Hugging Face `datasets` saved, or a TFDS dataset."""

    files: tuple[str, ...] = ()
    """Paths and globs of the files, read in sorted order, each once; of text and JSON Lines, .gz and .zst too. For
    'datasets' the folder."""

    text_field: str = "text"
    """The field that holds a document's text (all sources but 'text')."""

    document: Literal["file", "paragraph", "line"] = "file"
    """How a text file is cut into documents; paragraphs are separated by blank lines."""

    builder: str = ""
    """The TFDS dataset, such as 'my_ds/config:1.0.0'; empty if builder_dir is itself the prepared version's folder."""

    builder_dir: str = ""
    """Where the TFDS dataset is prepared (TFDS calls it data_dir); empty means TFDS's own default."""

    split: str = "train"
    """The split of a TFDS dataset, or of a folder of several splits that `datasets` saved."""

    shard_bytes: int = 16 << 20
    """Bytes of input for a shard of the output, about: the unit of work that is spread over processes and redone
    after a kill. A compressed file is never cut."""

    max_document_bytes: int = 64 << 20
    """A longer document (or line) is quarantined; this bounds the memory."""

    on_corrupt: Literal["quarantine", "error"] = "quarantine"
    """Put what cannot be read into quarantine.jsonl and go on, or stop at the first."""

    def validate(self) -> None:
        """Checks that the fields fit each other, before anything is read.

        Raises:
          UsageError: an impossible value or combination; the message names the field and the way out.
        """
        for field in fields(self):
            choices = get_args(field.type) if isinstance(field.default, str) else ()
            if choices and getattr(self, field.name) not in choices:
                raise unknown_name(field.name, str(getattr(self, field.name)), choices)
        if self.source == "tfds":
            if not self.builder and not self.builder_dir:
                raise UsageError("source is 'tfds' but builder is empty; name the dataset, such as my_ds:1.0.0")
            if self.files:
                raise UsageError("files belong to the other sources, not to 'tfds'")
        elif not self.files:
            raise UsageError(f"source is {self.source!r} but files is empty; name the files or globs to read")
        elif self.builder or self.builder_dir:
            raise UsageError(f"builder and builder_dir belong to source 'tfds', not {self.source!r}")
        if self.source == "datasets" and len(self.files) != 1:
            raise UsageError(f"source 'datasets' takes one folder, not {len(self.files)}")
        if self.source != "text" and self.document != "file":
            raise UsageError(f"document {self.document!r} cuts text files; {self.source!r} has its own documents")
        if self.source != "text" and not self.text_field:
            raise UsageError("text_field is empty; name the field that holds the text")
        for name, most in (("shard_bytes", 1 << 40), ("max_document_bytes", 1 << 30)):
            if not 1 <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 1 to {most}")


@dataclass(frozen=True)
class PreparationConfig(CorpusConfig):
    """Which text is tokenised, and into what."""

    tokenizer: str = ""
    """Folder of the tokenizer: what `jaxlm data tokenizer` wrote, a run's tokenizer/, a Hugging Face directory."""

    keep_text: bool = True
    """Keep each document's text beside its tokens, for objectives that need it; records are longer for that."""

    deduplicate: Literal["none", "exact", "near"] = "none"
    """Drop documents that were there before: the same text, or also those that share most of their words (extra
    'filters'). Reads the corpus twice."""

    near_threshold: float = 0.8
    """The share of runs of five words that near duplicates have in common (Jaccard index), between 0 and 1."""

    quality: tuple[Literal["gopher", "gopher_repetition", "c4"], ...] = ()
    """Rules of published corpora that each document must obey; made for English pages of the web."""

    languages: tuple[str, ...] = ()
    """Keep only documents in one of these languages, such as en or zh (extra 'filters'); empty keeps all."""

    language_confidence: float = 0.5
    """The least probability of the language that is found."""

    decontaminate: tuple[str, ...] = ()
    """Evaluation sets, .jsonl or a text a line: documents that share 13 words in a row with one are dropped."""

    scrub_personal: bool = False
    """Replace emails, telephone and card numbers and addresses of the internet by <EMAIL>, <PHONE>, <CARD>, <IP>."""

    def validate(self) -> None:
        """Checks that the fields fit each other, before anything is read.

        Raises:
          UsageError: an impossible value or combination; the message names the field and the way out.
        """
        super().validate()
        for rule in self.quality:
            if rule not in QUALITY_RULES:
                raise unknown_name("rule in quality", str(rule), QUALITY_RULES)
        for name in ("near_threshold", "language_confidence"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0 and at most 1")
        if not self.tokenizer:
            raise UsageError("tokenizer is empty; name the folder of one, such as jaxlm data tokenizer writes")
