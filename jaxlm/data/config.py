"""The typed description of a run's data: which text, how it is split, and what one row of a batch holds."""

import itertools
import math
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name

MOST_LENGTHS = 8  # for each of which the step is compiled


@dataclass(frozen=True)
class SourceConfig:
    """Which text is read, and which part of it is held out."""

    source: Literal["tiny_shakespeare", "text", "jsonl", "tfds", "prepared", "examples", "none"] = "tiny_shakespeare"
    """Where documents come from: the corpus inside the package, text files, JSON Lines, a TFDS dataset, a folder that
    `jaxlm data prepare` wrote, labelled examples (see `examples`), or nowhere (of a model that was imported)."""

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

    cache_dir: str = ""
    """Where prepared corpora and token streams are kept; empty means $JAXLM_CACHE, or else ~/.cache/jaxlm."""

    def validate(self) -> None:
        """Checks that the fields fit each other, before anything is read.

        Raises:
          UsageError: an impossible value or combination; the message names the field and the way out.
        """
        _check_names(self)
        self._validate_source()
        if not 0.0 < self.validation_fraction < 1.0:
            raise UsageError(
                f"data.validation_fraction is {self.validation_fraction}; it must lie between 0 and 1, such as 0.1"
            )

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


@dataclass(frozen=True)
class MixtureSource(SourceConfig):
    """One corpus of several. Its rows come in a fixed share; each corpus goes through epochs of its own."""

    name: str = ""
    """What it is called in reports."""

    weight: float | None = None
    """Share of the rows, relative to the weights of the other corpora; none gives each its rows of an epoch times
    `epochs`. All have a weight, or none has."""

    epochs: float = 1.0
    """Where no weights are given: passes over this corpus while one with 1 is read once."""

    def validate(self) -> None:
        """Raises UsageError for the first field out of range."""
        if self.weight is not None and not 0 < self.weight < math.inf:
            raise UsageError(f"weight is {self.weight}; it must be positive")
        if not 0 < self.epochs < math.inf:
            raise UsageError(f"epochs is {self.epochs}; it must be positive")
        super().validate()


@dataclass(frozen=True)
class CurriculumStage:
    """Steps whose rows are shorter (Li et al. 2022, "The stability-efficiency dilemma"); the rows of a step stay as
    many."""

    steps: int = 0
    """How many steps the stage has."""

    length: int = 0
    """Tokens in a row."""


@dataclass(frozen=True)
class DataConfig(SourceConfig):
    """Which text a language model reads and how that becomes rows of tokens.

    Nothing heavy is imported here: the command line shows these fields without loading NumPy or JAX.
    """

    mixture: tuple[MixtureSource, ...] = ()
    """Several corpora instead of one; source, files and what else names a corpus then stand in each of them."""

    batching: Literal["blocks", "packed", "bucketed"] = "blocks"
    """A row is a block of the stream of all tokens, or documents packed side by side that never see each other; in
    'bucketed' the rows of a step have one of several lengths, and short documents are packed in short rows."""

    length: int = 64
    """Tokens in a row: the model's context."""

    packing: Literal["first_fit", "best_fit"] = "first_fit"
    """Which row with room a document is packed in, the longest document first: the first, or the fullest."""

    packing_window: int = 16384
    """Documents that are packed together at a time; more of them fill rows better and mix further."""

    bucket_lengths: tuple[int, ...] = ()
    """batching 'bucketed': lengths of rows below data.length, rising, such as 32 64 128; each compiles a step."""

    curriculum: tuple[CurriculumStage, ...] = ()
    """Stages of shorter rows that training begins with; after them rows have data.length."""

    reader_threads: int = 1
    """Threads that prepare training batches ahead of the step; 0 prepares each batch when it is asked for."""

    prefetch_batches: int = 8
    """Training batches kept ready ahead of the step."""

    def validate(self) -> None:
        """Checks that the fields fit each other, before anything is read.

        Raises:
          UsageError: an impossible value or combination; the message names the field and the way out.
        """
        super().validate()
        for name, least in (("length", 1), ("packing_window", 1), ("reader_threads", 0), ("prefetch_batches", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"data.{name} is {getattr(self, name)}; it must be at least {least}")
        self._validate_lengths()
        self._validate_mixture()

    def corpora(self) -> "dict[str, SourceConfig]":
        """The corpora by name: those of the mixture, or the one that this is itself, which has no name."""
        cache = self.cache_dir
        return {each.name: replace(each, cache_dir=each.cache_dir or cache) for each in self.mixture} or {"": self}

    def row_lengths(self) -> tuple[int, ...]:
        """All lengths that rows of training have, rising."""
        return tuple(sorted({*self.bucket_lengths, *(stage.length for stage in self.curriculum), self.length}))

    def _validate_lengths(self) -> None:
        if (self.batching == "bucketed") != bool(self.bucket_lengths):
            raise UsageError("data.bucket_lengths belongs to data.batching 'bucketed': give both or neither")
        below = (*self.bucket_lengths, self.length)
        if below[0] < 1 or any(longer <= shorter for shorter, longer in itertools.pairwise(below)):
            raise UsageError(
                f"data.bucket_lengths {' '.join(map(str, self.bucket_lengths))} must rise and stay below data.length "
                f"{self.length}"
            )
        if len(below) > MOST_LENGTHS:
            raise UsageError(
                f"data.bucket_lengths has {len(below) - 1} lengths; at most {MOST_LENGTHS - 1} are compiled"
            )
        for stage in self.curriculum:
            if stage.steps < 1 or not 1 <= stage.length < self.length:
                raise UsageError(
                    f"data.curriculum has a stage of {stage.steps} steps with rows of {stage.length}: it needs at "
                    f"least 1 step, and rows of 1 to {self.length - 1} tokens"
                )
        if len({stage.length for stage in self.curriculum}) >= MOST_LENGTHS:
            raise UsageError(f"data.curriculum has more than {MOST_LENGTHS - 1} lengths, each of which is compiled")
        if self.curriculum and self.bucket_lengths:
            raise UsageError(
                "data.curriculum and data.bucket_lengths both decide the length of a step's rows: give one"
            )

    def _validate_mixture(self) -> None:
        if not self.mixture:
            return
        default = SourceConfig()
        for field in fields(SourceConfig):
            if field.name != "cache_dir" and getattr(self, field.name) != getattr(default, field.name):
                raise UsageError(f"data.{field.name} belongs in each source of data.mixture, not beside it")
        if len(self.mixture) < 2:
            raise UsageError(
                "data.mixture has one source; name it by data.source and what belongs to it, or add another"
            )
        if self.batching == "bucketed":
            raise UsageError("data.batching 'bucketed' takes one corpus; use 'packed' with data.mixture")
        names = [source.name for source in self.mixture]
        if "" in names or len(set(names)) < len(names):
            raise UsageError(f"the sources of data.mixture need names of their own, not {', '.join(map(repr, names))}")
        if len({source.weight is None for source in self.mixture}) > 1:
            raise UsageError("some sources of data.mixture have a weight and some have none: give all or none")
        for source in self.mixture:
            try:
                source.validate()
            except UsageError as error:
                raise UsageError(f"data.mixture, source {source.name!r}: {error}") from error


def _check_names(config: SourceConfig) -> None:
    for field in fields(config):
        choices = get_args(field.type) if isinstance(field.default, str) else ()
        if choices and getattr(config, field.name) not in choices:
            raise unknown_name(f"data.{field.name}", getattr(config, field.name), choices)
