"""The typed description of a run's data: which text, how it is split, and what one row of a batch holds."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name


@dataclass(frozen=True)
class DataConfig:
    """Which text a language model reads and how that becomes rows of tokens.

    Nothing heavy is imported here: the command line shows these fields without loading NumPy or JAX.
    """

    source: Literal["tiny_shakespeare", "text", "jsonl", "tfds", "prepared", "none"] = "tiny_shakespeare"
    """Where documents come from: the corpus inside the package, text files, JSON Lines, a TFDS dataset, a folder that
    `jaxlm data prepare` wrote, or nowhere (of a model that was imported)."""

    files: tuple[str, ...] = ()
    """Paths and globs of the 'text' or 'jsonl' files; .gz is read as it is. Read in sorted order, each file once."""

    text_field: str = "text"
    """The field that holds a document's text, in 'jsonl' and 'tfds' records."""

    builder: str = ""
    """The TFDS dataset, such as 'my_ds/config:1.0.0'; empty if builder_dir is itself the prepared version's folder."""

    builder_dir: str = ""
    """Where the TFDS dataset is prepared (TFDS calls it data_dir); empty means TFDS's own default."""

    train_split: str = "train"
    """The split of the TFDS dataset to train on; TFDS slices such as 'train[:10%]' are understood."""

    validation_split: str = ""
    """The split of the TFDS dataset to validate on; empty carves validation_fraction from the end of train_split."""

    prepared_dir: str = ""
    """The folder that `jaxlm data prepare` wrote; train with tokenizer.kind 'folder' and its tokenizer/."""

    prepared_validation_dir: str = ""
    """Another such folder to validate on; empty carves validation_fraction from the end of prepared_dir."""

    document: Literal["file", "paragraph", "line"] = "file"
    """How a text file is cut into documents; paragraphs are separated by blank lines."""

    split: Literal["tail", "document"] = "tail"
    """How validation is carved: the last characters of the corpus, or documents chosen by a hash of their text."""

    validation_fraction: float = 0.1
    """The part held out, between 0 and 1: of the characters for 'tail', of the documents for 'document'."""

    batching: Literal["blocks", "packed"] = "blocks"
    """A row is a block of the stream of all tokens, or documents packed side by side that never see each other."""

    length: int = 64
    """Tokens in a row: the model's context."""

    packing_window: int = 16384
    """Documents that are packed together at a time; more of them fill rows better and mix further."""

    reader_threads: int = 1
    """Threads that prepare training batches ahead of the step; 0 prepares each batch when it is asked for."""

    prefetch_batches: int = 8
    """Training batches kept ready ahead of the step."""

    cache_dir: str = ""
    """Where prepared corpora and token streams are kept; empty means $JAXLM_CACHE, or else ~/.cache/jaxlm."""

    def validate(self) -> None:
        """Checks that the fields fit each other, before anything is read.

        Raises:
          UsageError: an impossible value or combination; the message names the field and the way out.
        """
        for field in fields(self):
            choices = get_args(field.type) if isinstance(field.default, str) else ()
            if choices and getattr(self, field.name) not in choices:
                raise unknown_name(f"data.{field.name}", getattr(self, field.name), choices)
        self._validate_source()
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(
                f"data.validation_fraction is {self.validation_fraction}; it must lie between 0 and 1, such as 0.1"
            )
        for name, least in (("length", 1), ("packing_window", 1), ("reader_threads", 0), ("prefetch_batches", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"data.{name} is {getattr(self, name)}; it must be at least {least}")

    def _validate_source(self) -> None:
        from_files = self.source in ("text", "jsonl")
        if from_files and not self.files:
            raise UsageError(f"data.source is {self.source!r} but data.files is empty; name the files or globs to read")
        if self.files and not from_files:
            raise UsageError(f"data.files belongs to data.source 'text' or 'jsonl', not {self.source!r}")
        if self.source in ("jsonl", "tfds") and not self.text_field:
            raise UsageError("data.text_field is empty; name the field that holds the text")
        if self.source != "text" and self.document != "file":
            raise UsageError(
                f"data.document {self.document!r} cuts text files; data.source {self.source!r} has its own documents: "
                "leave data.document at 'file'"
            )
        if self.source == "tiny_shakespeare" and self.split == "document":
            raise UsageError("data.split 'document' needs several documents and tiny_shakespeare is one; use 'tail'")
        self._validate_prepared()
        if self.source == "tfds":
            self._validate_tfds()
        elif self.builder or self.builder_dir or self.validation_split or self.train_split != "train":
            raise UsageError(
                f"data.builder, builder_dir and the split names belong to data.source 'tfds', not {self.source!r}"
            )

    def _validate_prepared(self) -> None:
        if self.source == "prepared":
            if not self.prepared_dir:
                raise UsageError(
                    "data.source is 'prepared' but data.prepared_dir is empty; name a folder of jaxlm data prepare"
                )
            if self.split == "document" and not self.prepared_validation_dir:
                raise UsageError(
                    "data.split 'document' cannot cut a prepared folder without reading all of it; use 'tail' (its "
                    "last documents) or name data.prepared_validation_dir"
                )
        elif self.prepared_dir or self.prepared_validation_dir:
            raise UsageError(f"data.prepared_dir belongs to data.source 'prepared', not {self.source!r}")

    def _validate_tfds(self) -> None:
        if not self.builder and not self.builder_dir:
            raise UsageError("data.source is 'tfds' but data.builder is empty; name the dataset, such as my_ds:1.0.0")
        if not self.train_split:
            raise UsageError("data.train_split is empty; name the split to train on, such as 'train'")
        if not self.validation_split and self.split == "document":
            raise UsageError(
                "data.split 'document' cannot cut a TFDS dataset without reading all of it; use 'tail' (its last "
                "examples) or name data.validation_split"
            )
