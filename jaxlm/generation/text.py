"""Text in, text out: prompts, streaming and stop texts around the decoding of token ids."""

from collections.abc import Iterator, Sequence

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.text.stream import StreamDecoder
from jaxlm.text.tokenizer import Tokenizer


class StopFilter:
    """Passes text on until a stop text appears, however it is cut into pieces.

    Attributes:
      stopped: whether a stop text has appeared; nothing is passed on afterwards.
    """

    def __init__(self, stop: Sequence[str]):
        self.stopped = False
        self._stop = tuple(stop)
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next piece and returns what is certain not to belong to a stop text."""
        if self.stopped:
            return ""
        self._held += text
        # The stop text that is complete first counts, so that how the text is cut does not matter.
        found = [(start + len(stop), start) for stop in self._stop if (start := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._release(min(found)[1])
        # The end may be the beginning of a stop text: keep the longest such end back.
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        for size in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-size:]) for stop in self._stop):
                return self._release(len(self._held) - size)
        return self._release(len(self._held))

    def finish(self) -> str:
        """Returns what was kept back, once no more text comes."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, size: int) -> str:
        text, self._held = self._held[:size], self._held[size:]
        return text


def encode_prompt(tokenizer: Tokenizer, text: str, cut: int | None = None) -> list[int]:
    """Ids of a prompt, after what the model expects before a text: the begin id, if the tokenizer has one.

    Those beyond `cut` are left out.

    Raises:
      UsageError: if that is no id at all.
      DataError: for text that the tokenizer cannot represent.
    """
    ids = tokenizer.encode_prompt(text)[:cut]
    if not ids:
        raise UsageError("the prompt is empty, and this tokenizer has no begin token: give at least one character")
    return ids


def encode_source(tokenizer: Tokenizer, text: str, cut: int | None = None) -> list[int]:
    """Ids of what an encoder reads: the whole text, with the special ids that its model expects around it.

    The text is cut so that there are at most `cut` ids.

    Raises:
      UsageError: if that is no id at all.
      DataError: for text that the tokenizer cannot represent.
    """
    ids = list(tokenizer.encode_for_model(text, max_length=cut).ids)
    if not ids:
        raise UsageError("the text is empty, and this tokenizer puts nothing around it: give at least one character")
    return ids


def stream_text(
    generator: TokenGenerator,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: GenerationConfig,
    chunk: int = 8,
    cut: int | None = None,
) -> Iterator[list[str]]:
    """Yields the continuation of each prompt piece by piece; the pieces of one prompt add up to its continuation.

    An encoder-decoder gives what it makes of each prompt (its translation, its summary) instead.

    Args:
      generator: the model.
      tokenizer: its tokenizer.
      prompts: at least one.
      options: how to sample, how much, and what ends it.
      chunk: tokens between pieces.
      cut: tokens that a longer prompt is cut to, at its end; none refuses one that is longer than the context.

    Raises:
      UsageError: an empty prompt, or one longer than the context.
      DataError: a prompt that the tokenizer cannot represent.
    """
    encode = encode_source if generator.config.architecture == "encoder_decoder" else encode_prompt
    ids = [encode(tokenizer, prompt, cut) for prompt in prompts]
    return stream_from_ids(generator, tokenizer, ids, options, chunk)


def stream_from_ids(
    generator: TokenGenerator, tokenizer: Tokenizer, ids: Sequence[Sequence[int]], options: GenerationConfig, chunk: int
) -> Iterator[list[str]]:
    """As `stream_text`, for prompts that are ids already."""
    if options.num_beams > 1:  # what is best is known at the end
        tokens = iter([[found[0].tokens for found in generator.search(ids, options, tokenizer.eos_id)]])
    else:
        tokens = generator.stream(ids, options, tokenizer.eos_id, chunk)
    return _decoded(tokens, tokenizer, len(ids), options.stop)


def _decoded(
    tokens: Iterator[list[list[int]]], tokenizer: Tokenizer, count: int, stop: tuple[str, ...]
) -> Iterator[list[str]]:
    decoders = [StreamDecoder(tokenizer) for _ in range(count)]
    filters = [StopFilter(stop) for _ in range(count)]
    for new in tokens:
        yield [
            stop_filter.feed(decoder.feed(ids))
            for ids, decoder, stop_filter in zip(new, decoders, filters, strict=True)
        ]
        if all(stop_filter.stopped for stop_filter in filters):
            return
    yield [
        stop_filter.feed(decoder.finish()) + stop_filter.finish()
        for decoder, stop_filter in zip(decoders, filters, strict=True)
    ]


def generate_text(
    generator: TokenGenerator,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    options: GenerationConfig,
    cut: int | None = None,
) -> list[str]:
    """The continuation of each prompt, without the prompt; arguments and errors as for `stream_text`.

    Without stop texts everything up to the end of the context is one call on the device.
    """
    chunk = 32 if options.stop else options.max_new_tokens
    pieces = list(stream_text(generator, tokenizer, prompts, options, chunk, cut))
    return ["".join(parts) for parts in zip(*pieces, strict=True)]
