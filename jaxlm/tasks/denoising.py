"""Denoising: write a text again whose sentences were shuffled and whose spans became single masks (BART)."""

import math
from dataclasses import dataclass

import numpy as np

from jaxlm.data.account import Account, cut_and_missing
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row
from jaxlm.data.origins import Origin
from jaxlm.data.sentences import document_offsets, document_sentences
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.example_feed import SentenceFeed
from jaxlm.tasks.sequence_to_sequence import SequenceToSequence
from jaxlm.tasks.task import Task
from jaxlm.text.tokenizer import Tokenizer


def denoising(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Lewis et al. 2020, section 2.2: text infilling and sentence permutation together.

    Raises:
      UsageError: the model is no encoder-decoder or knows no start, or the tokenizer has no mask.
    """
    if model.decoder_start_id is None:
        raise UsageError("task.kind 'denoising' needs model.decoder_start_id, such as the id of the end")
    if tokenizer.mask_id is None:
        raise UsageError("task.kind 'denoising' needs '[MASK]' in tokenizer.special_tokens")
    if data.batching != "blocks":
        raise UsageError("task.kind 'denoising' gives each text a row: set data.batching 'blocks'")
    feed = DenoisingFeed(data, tokenizer, config, tokenizer.mask_id, model.decoder_start_id)
    return Task(SequenceToSequence(model, segmented=True), feed, shifted=True)


@dataclass(frozen=True)
class DenoisingFeed(SentenceFeed):
    """Rows of a noisy text and the text.

    Attributes:
      mask_id: what stands for a span.
      start_id: what the decoder reads first.
    """

    mask_id: int
    start_id: int

    def examples(self, stream: TokenStream) -> "NoisyExamples":
        """See `ExampleFeed`."""
        eos = [] if self.tokenizer.eos_id is None else [self.tokenizer.eos_id]
        return NoisyExamples(stream, self.data.length, self.mask_id, self.start_id, eos, self.config)


class NoisyExamples:
    """Stretches of consecutive sentences of a document, as many as a row has room for.

    A sentence that is longer than a row is cut into pieces. Each token of the stream is in one stretch.

    Attributes:
      length: columns of the source and of the target.
    """

    def __init__(
        self, stream: TokenStream, length: int, mask_id: int, start_id: int, end: list[int], config: TaskConfig
    ):
        """Cuts the stream.

        Raises:
          UsageError: no text fits a row.
          DataError: the split has no sentence.
        """
        # Spans of no token insert a mask; there is room for as many as are likely.
        self._insertions = math.ceil(length * config.infill_rate / 10)
        self._text = length - len(end) - self._insertions
        if self._text < 1:
            raise UsageError(f"data.length {length} is too short for a noisy text: use at least {len(end) + 2}")
        self.length = length
        self._stream = stream
        self._mask_id, self._start_id, self._end = mask_id, start_id, end
        self._config = config
        self._stretches: list[list[tuple[int, int]]] = []  # of each, its sentences' first token and end
        for sentences in document_sentences(stream):
            self._cut([(int(stream.offsets[i]), int(stream.offsets[i + 1])) for i in sentences])

    def __len__(self) -> int:
        return len(self._stretches)

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, targets and loss_weights [length], and those of the encoder."""
        sentences = [self._stream.tokens[start:end].astype(np.int64) for start, end in self._stretches[number]]
        order = np.argsort(random.random(len(sentences)), kind="stable")
        shuffled = np.concatenate([sentences[place] for place in order])
        config = self._config
        noisy = infill(shuffled, self._mask_id, config.infill_rate, config.infill_span, self._insertions, random)
        source = np.array([*noisy, *self._end])
        target = np.array([*np.concatenate(sentences), *self._end])
        row = self.empty()
        row["encoder_tokens"][: len(source)] = source
        row["encoder_positions"][: len(source)] = np.arange(len(source))
        row["encoder_segment_ids"][: len(source)] = 1
        row["tokens"][: len(target)] = [self._start_id, *target[:-1]]
        row["positions"][: len(target)] = np.arange(len(target))
        row["segment_ids"][: len(target)] = 1
        row["targets"][: len(target)] = target
        row["loss_weights"][: len(target)] = 1
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: the stretch, whose sentences follow each other in the stream."""
        return [Origin(self._stretches[number][0][0], self._stretches[number][-1][1])]

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        offsets = document_offsets(self._stream)
        start = np.array([stretch[0][0] for stretch in self._stretches])
        stop = np.array([stretch[-1][1] for stretch in self._stretches])
        cut, _ = cut_and_missing(offsets[:-1], offsets[1:], start, stop)
        none = {"without a sentence": int((np.diff(offsets) == 0).sum())}
        return Account(len(offsets) - 1, len(self._stream.tokens), len(self), cut, none, {}, None)

    def empty(self) -> Row:
        """Returns a row of padding."""
        padding = np.full(self.length, self._stream.pad_id, np.int32)
        zeros = np.zeros(self.length, np.int32)
        row = {name: padding.copy() for name in ("tokens", "targets", "encoder_tokens")}
        row |= {name: zeros.copy() for name in ("positions", "segment_ids")}
        row |= {name: zeros.copy() for name in ("encoder_positions", "encoder_segment_ids")}
        return row | {"loss_weights": np.zeros(self.length, np.float32)}

    def _cut(self, sentences: list[tuple[int, int]]) -> None:
        stretch: list[tuple[int, int]] = []
        size = 0
        for first, stop in sentences:
            for start in range(first, stop, self._text):
                end = min(start + self._text, stop)
                if size + end - start > self._text:
                    self._stretches.append(stretch)
                    stretch, size = [], 0
                stretch.append((start, end))
                size += end - start
        self._stretches.append(stretch)


def infill(
    tokens: np.ndarray, mask_id: int, rate: float, mean_span: float, insertions: int, random: np.random.Generator
) -> np.ndarray:
    """Returns tokens with spans of Poisson(mean_span) lengths, a share `rate` in all, each replaced by one mask.

    A span of no token inserts a mask, `insertions` times at most; further ones take one token. Spans are placed evenly,
    and may begin within a word.
    """
    budget = math.floor(rate * len(tokens) + random.random())
    lengths: list[int] = []
    while budget > 0:
        length = min(poisson(mean_span, random), budget)
        lengths.append(length if length or lengths.count(0) < insertions else 1)
        budget -= lengths[-1]
    if not lengths:
        return tokens
    # Where each span begins among the tokens that stay.
    stays = len(tokens) - sum(lengths)
    places = np.sort((random.random(len(lengths)) * (stays + 1)).astype(np.int64))
    pieces: list[int] = []
    taken = at = 0
    for place, length in zip(places.tolist(), lengths, strict=True):
        pieces += [*tokens[taken : taken + place - at].tolist(), mask_id]
        taken += place - at + length
        at = place
    return np.array([*pieces, *tokens[taken:].tolist()])


def poisson(mean: float, random: np.random.Generator) -> int:
    """Draws from a Poisson distribution by its cumulative sums, up to what practically never happens."""
    number, term, drawn = 0, math.exp(-mean), random.random()
    while drawn >= term and number < 20 * (mean + 1):
        drawn -= term
        number += 1
        term *= mean / number
    return number
