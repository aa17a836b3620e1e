"""Pairs of text segments, half of them as they stand in a document: for next-sentence and sentence-order prediction."""

from dataclasses import dataclass

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import empty_batch
from jaxlm.data.example_rows import Row, choices
from jaxlm.data.origins import Origin
from jaxlm.data.sentences import document_offsets, document_sentences
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import DataError, UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.example_feed import SentenceFeed
from jaxlm.tasks.masking import Masker

CHUNKS = 14  # what random numbers are for: keeps their keys apart
PLACES = 6  # elsewhere, of which the one with the most suitable length is taken


@dataclass(frozen=True)
class PairFeed(SentenceFeed):
    """Rows of [CLS] A [SEP] B [SEP], with some of the tokens hidden.

    Attributes:
      masker: what hides tokens.
    """

    masker: Masker

    def __post_init__(self) -> None:
        """Raises UsageError where pairs cannot be written or would be packed."""
        if self.tokenizer.cls_id is None or self.tokenizer.sep_id is None:
            raise UsageError("sentence pairs need '[CLS]' and '[SEP]' in tokenizer.special_tokens")
        if self.data.batching != "blocks":
            raise UsageError("sentence pairs fill a row each: set data.batching 'blocks'")

    def examples(self, stream: TokenStream) -> "PairExamples":
        """See `ExampleFeed`."""
        assert self.tokenizer.cls_id is not None
        assert self.tokenizer.sep_id is not None
        return PairExamples(
            stream, self.data.length, self.tokenizer.cls_id, self.tokenizer.sep_id, self.config, self.masker
        )


class PairExamples:
    """Chunks of at least two consecutive sentences of a document, each of which becomes one pair.

    A chunk has sentences until it fills a row, or, in a share `short_rate` of all chunks, a random part of it. A is its
    beginning, up to a random sentence. B is the rest, or with probability 1/2: 'next', a piece of another document,
    from a random sentence on (Devlin et al. 2019, appendix A.2); 'order', A and B change places (Lan et al. 2020,
    section 3.1). What is too long is cut at random ends of the longer part, as in BERT's published code. Unlike there,
    chunks are fixed once, so that every epoch has the same ones; none is a single sentence, so that half of the pairs
    are true; and a piece from elsewhere is about as long as what it replaces instead of filling the row, since the
    length would give away the label where documents are shorter than rows.

    Attributes:
      length: columns in a row.
      num_left_out: sentences without another beside them in their document: they only serve as B from elsewhere.
    """

    def __init__(self, stream: TokenStream, length: int, cls_id: int, sep_id: int, config: TaskConfig, masker: Masker):
        """Makes the chunks.

        Raises:
          UsageError: rows too short for a pair.
          DataError: fewer than two documents where B comes from another one, or no two sentences in any.
        """
        if length < 5:
            raise UsageError(f"data.length {length} is too short for a pair and its 3 special tokens: use at least 5")
        self.length = length
        self._stream = stream
        self._cls, self._sep = cls_id, sep_id
        self._config = config
        self._masker = masker
        self._documents = document_sentences(stream)
        if config.sentence_pairs == "next" and len(self._documents) < 2:
            raise DataError(
                "next-sentence prediction takes sentences from another document and the split has one only: set "
                "data.document to 'paragraph' or 'line', or task.sentence_pairs to 'order'"
            )
        self._chunks: list[tuple[int, int, int]] = []  # document, first sentence, end
        self.num_left_out = 0
        random = choices(CHUNKS)
        for number, sentences in enumerate(self._documents):
            self._cut(number, sentences, random)
        if not self._chunks:
            raise DataError("no document of the split has two sentences: set data.document 'file', or use other text")

    def __len__(self) -> int:
        return len(self._chunks)

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, token_types, targets, loss_weights [length], and two scalars.

        These are next_sentence, 0 where B follows A and 1 where not, and sentence_weights, 1.
        """
        places, apart = self._pair(number, random)
        left, right = (self._stream.tokens[place.start : place.stop].astype(np.int64) for place in places)
        tokens = np.concatenate([[self._cls], left, [self._sep], right, [self._sep]])
        masked = self._masker(tokens, random)
        row = self.empty()
        row["tokens"][: len(tokens)] = masked.inputs
        row["positions"][: len(tokens)] = np.arange(len(tokens))
        row["segment_ids"][: len(tokens)] = 1
        row["token_types"][len(left) + 2 : len(tokens)] = 1
        row["targets"][: len(tokens)] = tokens
        row["loss_weights"][: len(tokens)] = masked.chosen
        row["next_sentence"][...] = apart
        row["sentence_weights"][...] = 1
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: A and B."""
        places, _ = self._pair(number, random)
        return [Origin(place.start, place.stop) for place in places if place]

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`.

        It is that of pairs as they stand: documents of a single sentence count as skipped, though a B from elsewhere
        may be one, and what such a B replaces does not count as left out.
        """
        offsets, sizes = document_offsets(self._stream), np.diff(self._stream.offsets)
        chunks = np.bincount([document for document, _, _ in self._chunks], minlength=len(self._documents))
        alone = sum(int(sizes[sentences.start]) for sentences in self._documents if len(sentences) == 1)
        full = self.length - 3
        too_long = sum(max(len(self._tokens(range(first, end))) - full, 0) for _, first, end in self._chunks)
        return Account(
            documents=len(offsets) - 1,
            tokens=len(self._stream.tokens),
            rows=len(self),
            cut=int((chunks > 1).sum()),
            skipped={
                "without a sentence": int((np.diff(offsets) == 0).sum()),
                "with one sentence, which is no pair": self.num_left_out,
            },
            left_out={
                "documents with one sentence, which is no pair": alone,
                "cut off pairs that are longer than a row": too_long,
            },
            fill_rate=None,
        )

    def empty(self) -> Row:
        """Returns a row of padding."""
        row = {name: value[0] for name, value in empty_batch(1, self.length, self._stream.pad_id).items()}
        row["token_types"] = np.zeros(self.length, np.int32)
        row["next_sentence"] = np.zeros((), np.int32)
        row["sentence_weights"] = np.zeros((), np.float32)
        return row

    def _pair(self, number: int, random: np.random.Generator) -> tuple[tuple[range, range], bool]:
        """Draws where in the stream A and B are, and whether B does not follow A."""
        document, first, end = self._chunks[number]
        middle = first + 1 + int(random.random() * (end - first - 1))
        left, right = self._tokens(range(first, middle)), self._tokens(range(middle, end))
        apart = random.random() < 0.5
        if apart and self._config.sentence_pairs == "order":
            left, right = right, left
        elif apart:
            right = self._elsewhere(document, len(right), random)
        return _fit(left, right, self.length - 3, random), apart

    def _cut(self, document: int, sentences: range, random: np.random.Generator) -> None:
        """Appends the chunks of a document; a last sentence that is left alone joins the chunk before it."""
        if len(sentences) < 2:
            self.num_left_out += 1
            return
        full = self.length - 3
        first, size, target = sentences.start, 0, self._target(full, random)
        for sentence in sentences:
            size += int(self._stream.offsets[sentence + 1] - self._stream.offsets[sentence])
            left = sentences.stop - sentence - 1
            if (size >= target and sentence > first and left != 1) or left == 0:
                self._chunks.append((document, first, sentence + 1))
                first, size, target = sentence + 1, 0, self._target(full, random)

    def _target(self, full: int, random: np.random.Generator) -> int:
        if random.random() < self._config.short_rate:
            return 2 + int(random.random() * (full - 1))
        return full

    def _tokens(self, sentences: range) -> range:
        """Where in the stream sentences are."""
        return range(int(self._stream.offsets[sentences.start]), int(self._stream.offsets[sentences.stop]))

    def _elsewhere(self, document: int, size: int, random: np.random.Generator) -> range:
        """Of sentences of other documents, each from a random one on, those closest to `size` tokens together."""
        best, closest = range(0), -1
        for _ in range(PLACES):
            other = int(random.random() * (len(self._documents) - 1))
            sentences = self._documents[other + (other >= document)]
            start = sentences.start + int(random.random() * len(sentences))
            ends = self._stream.offsets[start + 1 : sentences.stop + 1] - self._stream.offsets[start]
            off = np.abs(ends - size)
            count = int(off.argmin())
            if closest < 0 or off[count] < closest:
                best, closest = range(start, start + count + 1), int(off[count])
        return self._tokens(best)


def _fit(left: range, right: range, size: int, random: np.random.Generator) -> tuple[range, range]:
    """Cuts tokens off the longer part, each from its front or its back, until both fit `size` together."""
    over = len(left) + len(right) - size
    if over <= 0:
        return left, right
    # The longer one gives until both are equally long, then they take turns.
    keep_right = min(len(right), max(size - len(left), size // 2))
    keep_left = size - keep_right
    parts = []
    for part, keep in ((left, keep_left), (right, keep_right)):
        cut = len(part) - keep
        front = int((random.random(max(cut, 0)) < 0.5).sum())
        parts.append(part[front : front + keep])
    return parts[0], parts[1]
