"""Text to text by corruption: spans of the source are replaced by sentinels and predicted (T5, UL2, prefix LM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row, span_origins, spans, spans_account
from jaxlm.data.origins import Origin
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.example_feed import ExampleFeed
from jaxlm.tasks.sequence_to_sequence import SequenceToSequence
from jaxlm.tasks.task import Task
from jaxlm.text.tokenizer import Tokenizer

# UL2's mixture (Tay et al. 2022, table 1 and section 3.1.2): the mode's token, mean span and density of the noise;
# no span means a prefix and its continuation. All are as likely as another.
R, S, X = "[R]", "[S]", "[X]"
UL2 = ((R, 3.0, 0.15), (R, 8.0, 0.15), (X, 3.0, 0.5), (X, 8.0, 0.5), (X, 64.0, 0.15), (X, 64.0, 0.5), (S, None, 0.25))


@dataclass(frozen=True)
class Denoiser:
    """One way to corrupt.

    Attributes:
      mode: id that the source begins with, or None.
      mean_span: mean length of the spans that are replaced; None for a prefix and its continuation.
      density: share of the tokens that are to be predicted (for a prefix, on average).
    """

    mode: int | None
    mean_span: float | None
    density: float


def span_corruption(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer, kind: str) -> Task:
    """The tasks of Raffel et al. 2020, section 3.1.4 (span_corruption), Tay et al. 2022 (ul2), and prefix_lm.

    prefix_lm is an encoder-decoder that reads the beginning of a text and writes the rest; `jaxlm.tasks.prefix_lm` has
    that of a decoder.

    Raises:
      UsageError: the model is no encoder-decoder or knows no start, or the tokenizer lacks sentinels or modes.
    """
    if model.decoder_start_id is None:
        raise UsageError(f"task.kind {config.kind!r} needs model.decoder_start_id, such as the padding id 0")
    if data.batching != "blocks":
        raise UsageError(f"task.kind {config.kind!r} cuts the stream of all texts: set data.batching 'blocks'")
    if kind == "ul2":
        denoisers = tuple(Denoiser(_mode_id(tokenizer, mode), span, density) for mode, span, density in UL2)
    elif kind == "prefix_lm":
        denoisers = (Denoiser(None, None, 0.5),)
    else:
        denoisers = (Denoiser(None, config.mean_noise_span, config.noise_density),)
    feed = CorruptionFeed(data, tokenizer, config, denoisers, model.decoder_start_id)
    return Task(SequenceToSequence(model, segmented=True), feed, shifted=True)


def _mode_id(tokenizer: Tokenizer, name: str) -> int:
    number = tokenizer.token_id(name)
    if number is None:
        raise UsageError(f"UL2 needs the mode {name!r}: put '[R]', '[S]' and '[X]' in tokenizer.special_tokens")
    return number


def sentinel_ids(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Returns the ids of <extra_id_0>, <extra_id_1>, ..., as many as `count`.

    Raises:
      UsageError: the tokenizer has fewer.
    """
    numbers = [tokenizer.token_id(f"<extra_id_{index}>") for index in range(count)]
    missing = next((index for index, number in enumerate(numbers) if number is None), None)
    if missing is not None:
        raise UsageError(
            f"rows of this length need {count} sentinels and the tokenizer has {missing}: put '<extra_id_0>' to "
            f"'<extra_id_{count - 1}>' in tokenizer.special_tokens, or lower data.length"
        )
    return np.array(numbers, np.int64)


def noise_counts(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Returns how many of `length` >= 2 tokens are noise, and in how many spans (T5's random_spans_noise_mask)."""
    noise = min(max(round(length * density), 1), length - 1)
    return noise, min(max(round(noise / mean_span), 1), length - noise)


def random_spans_noise_mask(length: int, density: float, mean_span: float, random: np.random.Generator) -> np.ndarray:
    """Returns which tokens are noise, bool [length]: alternating random spans, of which the first is no noise.

    As in T5's published code: noise and the rest are each cut into as many pieces at random, at least one long.
    """
    if length < 2:
        return np.zeros(length, bool)
    noise, count = noise_counts(length, density, mean_span)
    pieces = np.empty(2 * count, np.int64)
    pieces[0::2] = _random_pieces(length - noise, count, random)
    pieces[1::2] = _random_pieces(noise, count, random)
    return np.repeat(np.arange(2 * count) % 2 == 1, pieces)


def _random_pieces(total: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` positive numbers that add up to `total`, every way equally likely."""
    cuts = np.sort(np.argsort(random.random(total - 1), kind="stable")[: count - 1]) + 1
    return np.diff(cuts, prepend=0, append=total)


def corrupt(tokens: np.ndarray, noise: np.ndarray, sentinels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns source and target: tokens with a sentinel for each span of noise, and sentinels each before its span."""
    return _with_sentinels(tokens, noise, sentinels), _with_sentinels(tokens, ~noise, sentinels)


def _with_sentinels(tokens: np.ndarray, hidden: np.ndarray, sentinels: np.ndarray) -> np.ndarray:
    """Tokens with the n-th hidden span replaced by the n-th sentinel."""
    starts = hidden & ~np.concatenate([[False], hidden[:-1]])
    replaced = np.where(starts, sentinels[np.maximum(np.cumsum(starts) - 1, 0)], tokens)
    return replaced[~hidden | starts]


def lengths_for(length: int, density: float, mean_span: float) -> tuple[int, int]:
    """Returns how many tokens fill a source of `length` columns, and the columns of their target.

    As T5's random_spans_helper: source and target have one end each.

    Raises:
      UsageError: not even two tokens fit.
    """

    def columns(tokens: int) -> tuple[int, int]:
        noise, count = noise_counts(tokens, density, mean_span)
        return tokens - noise + count + 1, noise + count + 1

    if columns(2)[0] > length:
        raise UsageError(f"data.length {length} is too short to corrupt spans in: use at least {columns(2)[0]}")
    tokens = 2
    while columns(tokens + 1)[0] <= length:
        tokens += 1
    return tokens, columns(tokens)[1]


@dataclass(frozen=True)
class CorruptionFeed(ExampleFeed):
    """Rows of a corrupted source and the target that restores it.

    Attributes:
      denoisers: the ways to corrupt, all as likely.
      start_id: what the decoder reads first.
    """

    denoisers: Sequence[Denoiser]
    start_id: int

    def examples(self, stream: TokenStream) -> "CorruptedExamples":
        """See `ExampleFeed`."""
        return CorruptedExamples(stream, self.data.length, self.tokenizer, self.denoisers, self.start_id)


class CorruptedExamples:
    """Pieces of a stream, each of which becomes a source and a target.

    Attributes:
      length: columns of a source.
      target_length: columns of a target.
      num_tokens: tokens of a piece.
    """

    def __init__(
        self, stream: TokenStream, length: int, tokenizer: Tokenizer, denoisers: Sequence[Denoiser], start_id: int
    ):
        """Cuts the stream.

        Raises:
          UsageError: the rows are too short, or need more sentinels than there are.
        """
        self.length = length
        self._stream = stream
        self._denoisers = tuple(denoisers)
        self._start_id = start_id
        self._end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
        (first, *others) = self._denoisers
        if not others and first.mean_span is not None:
            self.num_tokens, self.target_length = lengths_for(length, first.density, first.mean_span)
        else:
            # A corrupted source is never longer than its text, mode and end.
            self.num_tokens = length - 2
            if self.num_tokens < 2:
                raise UsageError(f"data.length {length} is too short to corrupt: use at least 4")
            self.target_length = max(self._target_columns(denoiser) for denoiser in self._denoisers)
        counts = [
            noise_counts(self.num_tokens, denoiser.density, denoiser.mean_span)[1]
            for denoiser in self._denoisers
            if denoiser.mean_span is not None
        ]
        self._sentinels = sentinel_ids(tokenizer, max(counts, default=0))
        self._table = spans(stream, self.num_tokens, 0, across_documents=True)

    def __len__(self) -> int:
        return self._table.num_rows

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, targets and loss_weights [target_length], and those of the encoder.

        encoder_tokens, encoder_positions and encoder_segment_ids are [length].
        """
        (start,), (size,) = (getattr(self._table.rows(np.array([number])), name) for name in ("start", "length"))
        tokens = self._stream.tokens[start : start + size].astype(np.int64)
        denoiser = self._denoisers[int(random.random() * len(self._denoisers))]
        if denoiser.mean_span is None:
            # Uniform over the ways to cut, so that on average `density` of the tokens are to be predicted.
            most = max(int(2 * denoiser.density * len(tokens)), 1)
            cut = len(tokens) - min(1 + int(random.random() * most), len(tokens))
            source, target = tokens[:cut], tokens[cut:]
        else:
            noise = random_spans_noise_mask(len(tokens), denoiser.density, denoiser.mean_span, random)
            source, target = corrupt(tokens, noise, self._sentinels)
        mode = [] if denoiser.mode is None else [denoiser.mode]
        source, target = np.array([*mode, *source, *self._end]), np.array([*target, *self._end])
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
        """See `jaxlm.data.example_rows.Examples`: nothing of it is drawn."""
        return span_origins(self._table, number, 0)

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        return spans_account(self._stream, self._table, 0, None)

    def empty(self) -> Row:
        """Returns a row of padding."""
        pad = self._stream.pad_id

        def filled(length: int, value: int) -> np.ndarray:
            return np.full(length, value, np.int32)

        target, source = partial(filled, self.target_length), partial(filled, self.length)
        return {
            **{"tokens": target(pad), "positions": target(0), "segment_ids": target(0), "targets": target(pad)},
            "loss_weights": np.zeros(self.target_length, np.float32),
            **{"encoder_tokens": source(pad), "encoder_positions": source(0), "encoder_segment_ids": source(0)},
        }

    def _target_columns(self, denoiser: Denoiser) -> int:
        if denoiser.mean_span is None:
            return max(int(2 * denoiser.density * self.num_tokens), 1) + 1
        return sum(noise_counts(self.num_tokens, denoiser.density, denoiser.mean_span)) + 1
