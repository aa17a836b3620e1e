"""The feed of objectives whose rows are examples: each drawn anew in every epoch, and always alike when measured."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxlm.data.example_rows import ExampleEvaluation, ExampleRows, Examples
from jaxlm.data.sentences import document_offsets, prepare_sentence_stream
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.task import DocumentStream


@dataclass(frozen=True)
class ExampleFeed(DocumentStream):
    """Rows made of a stream of documents; a subclass has `examples`.

    Attributes:
      config: whether each epoch draws anew, and what the objective needs.
    """

    config: TaskConfig

    def examples(self, stream: TokenStream) -> Examples:
        """Cuts a stream into the examples of this objective."""
        raise NotImplementedError

    def training_rows(self, stream: TokenStream, seed: int) -> ExampleRows:
        """Rows for endless epochs."""
        return ExampleRows(self.examples(stream), seed, self.config.dynamic)

    def evaluation_rows(self, stream: TokenStream, stride: int | None = None) -> ExampleEvaluation:
        """Every example of the split in one row, drawn alike in every evaluation.

        Raises:
          UsageError: a stride, which is for objectives that read from left to right.
        """
        if stride not in (None, self.data.length):
            raise UsageError(
                f"the evaluation stride is {stride}; task.kind {self.config.kind!r} has no windows to move: none"
            )
        return ExampleEvaluation(self.examples(stream))


@dataclass(frozen=True)
class SentenceFeed(ExampleFeed):
    """The same, of documents that are divided into sentences."""

    def stream(self, documents: Iterable[str], identity: str) -> TokenStream:
        """The sentences of a split."""
        return prepare_sentence_stream(
            documents, identity, self.tokenizer, self.config.sentence_language, self.data.cache_dir
        )

    def document_offsets(self, stream: TokenStream) -> np.ndarray:
        """See `Feed`."""
        return document_offsets(stream)
