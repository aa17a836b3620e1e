"""Cached decoding of token ids: one compiled call for the prompts, one for a run of new tokens."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import UsageError
from jaxlm.generation.beam import Hypothesis, hypotheses, search
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.prefill import DecodingState, prefill, run_decoder
from jaxlm.generation.sampling import sample
from jaxlm.models.config import ModelConfig
from jaxlm.models.rotary import longest_before_switch
from jaxlm.nn.stack import with_layout
from jaxlm.nn.weights import DecodingKernel

SMALLEST_BUCKET = 16


@partial(jax.jit, static_argnums=(0, 3, 4, 5), donate_argnums=2)
def decode(
    config: ModelConfig,
    params: dict,
    state: DecodingState,
    sampling: tuple[float, int, float],
    buffer: int,
    end_ids: tuple[int, ...],
    limit: jax.Array,
    seed: jax.Array,
) -> tuple[jax.Array, DecodingState]:
    """Draws up to `limit` tokens for each row in one loop on the device, fewer once every row has ended.

    Args:
      config: of a model with unrolled layers.
      params: its parameters.
      state: from `prefill` or an earlier call; donated.
      sampling: temperature, top_k and top_p of `sample`.
      buffer: size of the result, at least `limit`; static, so that one program serves many limits.
      end_ids: the tokens that end a row.
      limit: int32 scalar; the cache must have room for it.
      seed: uint32 scalar.

    Returns:
      Tokens [batch, buffer] int32, -1 after a row's end and beyond `limit`, and the new state. The token that ends a
      row is among them.
    """
    batch = state.logits.shape[0]
    rows = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(batch))

    def unfinished(carry: tuple[jax.Array, jax.Array, DecodingState]) -> jax.Array:
        count, _, state = carry
        return (count < limit) & ~jnp.all(state.done)

    def draw(carry: tuple[jax.Array, jax.Array, DecodingState]) -> tuple[jax.Array, jax.Array, DecodingState]:
        count, out, state = carry
        keys = jax.vmap(lambda key: jax.random.fold_in(key, state.drawn))(rows)
        token = sample(state.logits, keys, *sampling)
        out = jax.lax.dynamic_update_slice(out, jnp.where(state.done, -1, token)[:, None], (0, count))
        done = jnp.any(jnp.stack([state.done, *(token == end for end in end_ids)]), axis=0)
        logits, cache = run_decoder(config, params, token[:, None], state.positions[:, None], None, state.cache)
        return count + 1, out, DecodingState(cache, logits[:, 0], state.positions + 1, done, state.drawn + 1)

    out = jnp.full((batch, buffer), -1, jnp.int32)
    _, out, state = jax.lax.while_loop(unfinished, draw, (jnp.int32(0), out, state))
    return out, state


def decoding_layout(config: ModelConfig, params: dict) -> tuple[ModelConfig, dict]:
    """Prepares a model for decoding.

    Layers are unrolled (slicing stacked weights would copy them at each token) and in the compute dtype. On a CPU,
    matrices become `DecodingKernel`s, the tied head one of its own.

    Args:
      config: of any model that generates.
      params: its parameters.

    Returns:
      The configuration and the parameters of a model that computes the same.
    """
    params = with_layout(params, "unrolled")
    # Dropout and recomputation concern training only.
    config = dataclasses.replace(config, layers="unrolled", remat="none", attention="reference")
    products = config.dtype if config.matmul_precision == "dtype" else config.matmul_precision
    params = jax.tree_util.tree_map_with_path(partial(_in_compute_dtype, config.dtype), params)
    devices = jax.tree.leaves(params)[0].devices()
    if len(devices) > 1 or next(iter(devices)).platform != "cpu":
        return config, params
    if config.head == "tied":
        config = dataclasses.replace(config, head="untied")
        kernel = params["token_embedding"]["embedding"].T
        params = {**params, "head": {**params.get("head", {}), "kernel": kernel}}
    parts = 2 * (os.cpu_count() or 1)

    def lay_out(path: tuple, leaf: jax.Array) -> Any:
        if path[-1].key != "kernel" or leaf.ndim != 2 or any(key.key in WIDE for key in path):
            return leaf
        return DecodingKernel.from_array(leaf.astype(products), parts)

    return config, jax.jit(partial(jax.tree_util.tree_map_with_path, lay_out))(params)


# What the model computes with in float32 whatever its compute dtype.
WIDE = ("router", "relative_bias")


def _in_compute_dtype(dtype: str, path: tuple, leaf: jax.Array) -> jax.Array:
    """Matrices and tables as the model casts them at each use; vectors are small and stay."""
    wide = any(key.key in WIDE for key in path)
    return leaf if wide or leaf.ndim < 2 else leaf.astype(dtype)


class TokenGenerator:
    """Generates token ids with one set of parameters, laid out for decoding.

    Attributes:
      config: the model's, with unrolled layers.
      params: a copy of the parameters, see `decoding_layout`.
    """

    def __init__(self, config: ModelConfig, params: dict):
        """Lays the parameters out.

        Raises:
          UsageError: for a model that does not generate text from left to right.
        """
        if config.architecture in ("encoder", "permutation") or config.task_head != "language_model":
            raise UsageError(
                f"a model of the architecture {config.architecture!r} with the head {config.task_head!r} does not "
                "generate text from left to right: that takes a decoder, an encoder_decoder or an lstm with the head "
                "'language_model'"
            )
        assert config.max_length is not None
        self.max_length = config.max_length
        self._switch = longest_before_switch(config)
        self.config, self.params = decoding_layout(config, params)

    def stream(
        self, prompts: Sequence[Sequence[int]], options: GenerationConfig, eos_id: int | None, chunk: int
    ) -> Iterator[list[list[int]]]:
        """Yields the new tokens of each prompt, up to `chunk` at a time.

        Of a model with rotary scaling of the kind 'longrope', all rows have the long factors from where the longest
        passes the original context, and what was read with the short ones is read again.

        Args:
          prompts: token ids, at least one for each prompt; they may differ in length. An encoder reads them as the
            sources of what is generated.
          options: how to sample and how much.
          eos_id: token that ends a prompt's generation beside options.end_ids, or None.
          chunk: tokens computed in one call on the device.

        Raises:
          UsageError: if a prompt is empty or longer than the context, or, with overflow 'error', if the result may
            outgrow it.
        """
        texts, sources = self._checked(prompts, options)
        return self._stream(texts, sources, options, _ends(options, eos_id), chunk)

    def search(
        self, prompts: Sequence[Sequence[int]], options: GenerationConfig, eos_id: int | None
    ) -> list[list[Hypothesis]]:
        """Finds the most likely texts for each prompt by beam search; see `jaxlm.generation.beam`.

        Args:
          prompts, eos_id: see `stream`.
          options: num_beams, length_penalty, max_new_tokens; a text also ends where the context does.

        Returns:
          Up to num_beams texts for each prompt, the best first.

        Raises:
          UsageError: as `stream`; a prompt that fills the context; or texts that may outgrow the original context of a
            model whose rotary frequencies change there ('longrope').
        """
        texts, sources = self._checked(prompts, options)
        lengths = np.array([len(text) for text in texts])
        # The token after a full context is still drawn from it.
        limits = np.minimum(options.max_new_tokens, self.max_length - lengths + 1)
        longest = int(lengths.max())
        if self._switch is not None and longest <= self._switch < longest + int(limits.max()) - 1:
            raise UsageError(
                f"a beam search of {longest} prompt tokens and {limits.max()} new ones would pass the {self._switch} "
                "of model.rotary_scaling.original_max_length, where the model changes its rotary factors: ask for "
                "fewer, or sample with num_beams 1"
            )
        tokens, segment_ids = _padded(texts, "left")
        capacity = min(_capacity(tokens.shape[1] + int(limits.max())), tokens.shape[1] + self.max_length)
        state = prefill(self.config, self.params, (tokens, segment_ids), capacity, jnp.int32(0), sources)
        ends = _ends(options, eos_id)
        tokens, scores = search(
            self.config,
            self.params,
            state,
            options.num_beams,
            _bucket(int(limits.max())),
            ends,
            jnp.asarray(limits, jnp.int32),
            jnp.float32(options.length_penalty),
        )
        return hypotheses(tokens, scores, ends)

    def _checked(
        self, prompts: Sequence[Sequence[int]], options: GenerationConfig
    ) -> tuple[list[list[int]], tuple[jax.Array, jax.Array] | None]:
        """The texts to go on from and, of two towers, what the encoder reads; see `stream`."""
        options.validate()
        longest = max((len(prompt) for prompt in prompts), default=0)
        if not prompts or any(len(prompt) == 0 for prompt in prompts):
            raise UsageError("a prompt is empty: give at least one token to go on from")
        if longest > self.max_length:
            raise UsageError(f"the prompt has {longest} tokens, more than the model's context of {self.max_length}")
        two_towers = self.config.architecture == "encoder_decoder"
        before = 1 if two_towers else longest
        if options.overflow == "error" and before + options.max_new_tokens > self.max_length:
            raise UsageError(
                f"{before} prompt tokens and {options.max_new_tokens} new ones exceed the model's context of "
                f"{self.max_length}: ask for fewer, or use overflow 'slide'"
            )
        texts = [list(prompt) for prompt in prompts]
        sources = None
        if two_towers:
            start = self.config.decoder_start_id
            if start is None:
                raise UsageError("the model has no model.decoder_start_id, which every output starts from")
            texts, sources = [[start]] * len(texts), _padded(texts, "right", self.max_length)
        return texts, sources

    def _stream(
        self,
        texts: list[list[int]],
        sources: tuple[jax.Array, jax.Array] | None,
        options: GenerationConfig,
        end_ids: tuple[int, ...],
        chunk: int,
    ) -> Iterator[list[list[int]]]:
        sampling = (options.temperature, options.top_k, options.top_p)
        seed = jnp.uint32(options.seed or 0)
        ended = [False] * len(texts)
        remaining = options.max_new_tokens
        drawn = 0
        while remaining:
            # A row that has outgrown the context goes on from the newer half of it, so that what follows has both.
            # Each row by its own length: a batch gives what its prompts give alone.
            keep = max(self.max_length // 2, 1)
            texts = [text if len(text) <= self.max_length else text[-keep:] for text in texts]
            tokens, segment_ids = _padded(texts, "left")
            # The token after a full context is still drawn from it; it need not be attended to.
            longest = max(len(text) for text, over in zip(texts, ended, strict=True) if not over)
            span = min(remaining, self.max_length - longest + 1)
            # What was read with other rotary frequencies is read again with those of a longer text.
            longest = max(map(len, texts))
            if self._switch is not None and longest <= self._switch:
                span = min(span, self._switch - longest + 1)
            capacity = min(_capacity(tokens.shape[1] + span), tokens.shape[1] + self.max_length)
            state = prefill(self.config, self.params, (tokens, segment_ids), capacity, jnp.int32(drawn), sources)
            state = state.replace(done=jnp.asarray(ended))
            while span:
                count = min(chunk, span)
                out, state = decode(
                    self.config, self.params, state, sampling, _bucket(chunk), end_ids, jnp.int32(count), seed
                )
                new = [[int(token) for token in row[:count] if token >= 0] for row in np.asarray(out)]
                texts = [text + tail for text, tail in zip(texts, new, strict=True)]
                ended = np.asarray(state.done).tolist()
                span -= count
                remaining -= count
                drawn += count
                yield new
                if all(ended):
                    return


def _ends(options: GenerationConfig, eos_id: int | None) -> tuple[int, ...]:
    return options.end_ids if eos_id is None else (*options.end_ids, eos_id)


def _bucket(length: int) -> int:
    """The next power of two: prompts of similar lengths share one compiled program."""
    return max(SMALLEST_BUCKET, 1 << (length - 1).bit_length())


def _capacity(length: int) -> int:
    """Slots of a cache: up to a quarter more than needed. Each token reads all of them, so powers of two cost more."""
    step = max(SMALLEST_BUCKET, (1 << (length.bit_length() - 1)) // 4)
    return -(-length // step) * step


def _padded(
    texts: list[list[int]], side: Literal["left", "right"], limit: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """Tokens and segment ids [batch, bucket], each row filled up at its left or right; no bucket passes `limit`."""
    length = min(_bucket(max(map(len, texts))), limit or 1 << 30)
    tokens = np.zeros((len(texts), length), np.int32)
    segment_ids = np.zeros_like(tokens)
    for row, text in enumerate(texts):
        place = slice(length - len(text), None) if side == "left" else slice(len(text))
        tokens[row, place] = text
        segment_ids[row, place] = 1
    return jnp.asarray(tokens), jnp.asarray(segment_ids)
