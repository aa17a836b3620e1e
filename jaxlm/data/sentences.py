"""Sentences of documents, for objectives on pairs of them: segmented, tokenised once, and kept apart."""

from collections.abc import Iterable, Iterator

import numpy as np

from jaxlm.data.token_stream import Tokenizer, TokenStream, prepare_token_stream
from jaxlm.errors import DataError, UsageError


def split_sentences(text: str, language: str) -> list[str]:
    """Returns the sentences of a text, without the white space around them.

    Args:
      text: a document.
      language: its ISO 639-1 code, such as 'en' or 'zh': which abbreviations and signs there are.

    Raises:
      UsageError: the library sentencex is not installed.
    """
    try:
        import sentencex
    except ImportError:
        raise UsageError("sentences need the library sentencex: pip install 'jaxlm[sentences]'") from None
    return [stripped for sentence in sentencex.segment(language, text) if (stripped := sentence.strip())]


def prepare_sentence_stream(
    documents: Iterable[str], identity: str, tokenizer: Tokenizer, language: str, cache_dir: str = ""
) -> TokenStream:
    """Returns a stream whose "documents" are sentences, with an empty one behind the last sentence of each document.

    So it is cached and memory-mapped as any other stream is; `document_sentences` finds the documents again.

    Args:
      documents: texts.
      identity: stands for their content.
      tokenizer: how text becomes ids; none are put around sentences.
      language: as `split_sentences`.
      cache_dir: as DataConfig.cache_dir.

    Raises:
      UsageError: as `split_sentences`.
      DataError: there are no tokens.
    """

    def sentences() -> Iterator[str]:
        for document in documents:
            yield from split_sentences(document, language)
            yield ""

    return prepare_token_stream(sentences(), f"{identity}/sentences/{language}", _Plain(tokenizer), cache_dir)


def document_sentences(stream: TokenStream) -> list[range]:
    """Returns for each document of a sentence stream which of the stream's entries are its sentences.

    Raises:
      DataError: no document has a sentence.
    """
    ends = np.flatnonzero(np.diff(stream.offsets) == 0).tolist()
    found, first = [], 0
    for end in ends:
        if end > first:
            found.append(range(first, end))
        first = end + 1
    if not found:
        raise DataError("the split has no sentence: use more text")
    return found


def document_offsets(stream: TokenStream) -> np.ndarray:
    """Returns where in a sentence stream the tokens of each document begin, and the last end: [documents + 1] int64.

    A document without a sentence has none.
    """
    ends = np.flatnonzero(np.diff(stream.offsets) == 0)
    return np.concatenate([np.zeros(1, np.int64), np.asarray(stream.offsets)[ends]])


class _Plain:
    """A tokenizer that puts nothing around a text."""

    bos_id: int | None = None
    eos_id: int | None = None

    def __init__(self, tokenizer: Tokenizer):
        self.vocab_size = tokenizer.vocab_size
        self.pad_id = tokenizer.pad_id
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def fingerprint(self) -> str:
        return f"{self._tokenizer.fingerprint()} without begin and end"
