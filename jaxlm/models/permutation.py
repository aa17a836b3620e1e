"""The model of permuted orders (XLNet): bidirectional, and yet able to predict tokens one from another."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.blocks import norm_of, normal_init
from jaxlm.models.config import ModelConfig
from jaxlm.models.heads import apply_task_head
from jaxlm.models.output import ModelOutput
from jaxlm.models.tower import token_embedding
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.parameter import parameter, spread
from jaxlm.nn.relative_attention import (
    RelativeAttention,
    RelativeInputs,
    SegmentMemory,
    TwoStreamBlock,
    distance_encodings,
)
from jaxlm.nn.stack import REMAT_POLICIES
from jaxlm.nn.taps import EDITS, TAPS


class Permutation(nn.Module):
    """Two-stream attention over relative positions (Yang et al. 2019).

    Attributes:
      config: its size and make; vocab_size must be set. Blocks are post-norm.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        token_types: jax.Array | None = None,
        permutation_mask: jax.Array | None = None,
        target_mapping: jax.Array | None = None,
        memory: SegmentMemory | None = None,
        deterministic: bool = True,
    ) -> ModelOutput:
        """Computes hidden states and what the task head makes of them.

        Args:
          tokens: [batch, time] int32, as many as one likes.
          positions: not used, since attention sees distances in the row; taken for the sake of the common call.
          segment_ids: [batch, time] int32, 0 = padding, on any side; attention stays inside a segment. None means that
            each row is one segment (segment 1, where there is a memory).
          token_types: [batch, time] int32, which sentence of a pair a token belongs to; attention sees whether two are
            equal. None means 0, which is also the type of all memory.
          permutation_mask: [batch, time, time] bool, whether token i may see token j: in a permuted order, those before
            it (the opposite of what Hugging Face calls perm_mask). None means every token. A token always sees itself,
            but a query does not see the token on its position unless this says so, and one that may see nothing
            gathers zeros (there it would gather the mean of everything, the hidden tokens included).
          target_mapping: [batch, predict, time], 1 at the position of each token to predict, elsewhere 0. With it,
            results are those of the query stream, which begins from one learned vector; None means no such stream.
          memory: content of the text before, which attention sees too.
          deterministic: no dropout.

        Returns:
          Hidden states [batch, predict or time, embed_dim], logits as the task head gives them, and the memory that has
          this text too (None without one).
        """
        config = self.config
        dtype = jnp.dtype(config.dtype)
        time = tokens.shape[1]
        memory_time = 0 if memory is None else memory.segment_ids.shape[1]
        dropout = Dropout(config.dropout_rate, deterministic=deterministic)

        table = token_embedding(config)
        content = nn.with_logical_constraint(dropout(table(tokens)), ("batch", "time", "activation_embed"))
        query_start = parameter(self, "query_start", normal_init(config), (config.embed_dim,), ("embed",))
        query = None
        if target_mapping is not None:
            shape = (*target_mapping.shape[:2], config.embed_dim)
            query = dropout(spread(query_start, shape, dtype))

        seen_segments = segment_ids
        if memory is not None:
            segment_ids = jnp.ones_like(tokens) if segment_ids is None else segment_ids
            seen_segments = jnp.concatenate([memory.segment_ids, segment_ids], axis=1)
        content_mask, query_mask = _masks(segment_ids, seen_segments, permutation_mask, memory_time)
        other_type = None
        if token_types is not None:
            seen_types = jnp.pad(token_types, ((0, 0), (memory_time, 0)))
            other_type = (token_types[:, :, None] != seen_types[:, None, :])[:, None]
        inputs = RelativeInputs(
            distances=dropout(distance_encodings(time, memory_time + time, config.embed_dim)),
            content_mask=content_mask,
            query_mask=query_mask,
            other_type=other_type,
            target_mapping=target_mapping,
        )
        (content, query), layers = _Stack(config, deterministic, name="layers")(
            (content, query), inputs, None if memory is None else memory.layers
        )
        if memory is not None:
            assert seen_segments is not None
            layers = jnp.concatenate([memory.layers, jax.lax.stop_gradient(layers)], axis=2)
            memory = SegmentMemory(layers, seen_segments)
        # What stands for a sequence is a token of it: its padding says nothing of the second stream's rows.
        results, result_segments = (content, segment_ids) if query is None else (query, None)
        output = apply_task_head(config, table, dropout(results), result_segments, deterministic)
        return replace(output, memory=memory)


def _masks(
    segment_ids: jax.Array | None,
    seen_segments: jax.Array | None,
    permutation_mask: jax.Array | None,
    memory_time: int,
) -> tuple[jax.Array | None, jax.Array | None]:
    """Masks [batch, 1, time, memory_time + time] of the content and of the queries."""
    mask = None
    if segment_ids is not None and seen_segments is not None:
        of_segments = AttentionMask(query_segments=segment_ids, key_segments=seen_segments)
        mask = of_segments.visible(0, segment_ids.shape[1], 0, seen_segments.shape[1])
    if permutation_mask is not None:
        order = jnp.pad(permutation_mask, ((0, 0), (0, 0), (memory_time, 0)), constant_values=True)[:, None]
        mask = order if mask is None else mask & order
    if mask is None:
        return None, None
    itself = jnp.eye(mask.shape[2], mask.shape[3], memory_time, dtype=bool)
    return mask | itself, mask


class _Stack(nn.Module):
    """The blocks, one after another; see `jaxlm.nn.stack.Stack` for the layouts.

    Attributes:
      config: of the model.
      deterministic: no dropout.
    """

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(
        self, streams: tuple[jax.Array, jax.Array | None], inputs: RelativeInputs, memory: jax.Array | None
    ) -> tuple[tuple[jax.Array, jax.Array | None], jax.Array]:
        """Maps the streams through all blocks; memory in and contents out are stacked, [num_layers, batch, ...]."""
        config = self.config
        make: Any = TwoStreamBlock
        if config.remat != "none":
            make = nn.remat(make, policy=REMAT_POLICIES[config.remat], prevent_cse=config.layers == "unrolled")
        fields = _block(config, self.deterministic).keywords
        if config.layers == "unrolled":
            contents = []
            for layer in range(config.num_layers):
                layer_memory = None if memory is None else memory[layer]
                streams, content = make(**fields, name=str(layer))(streams, inputs, layer_memory)
                contents.append(content)
            return streams, jnp.stack(contents)
        scanned = nn.scan(
            make,
            variable_axes={"params": 0, TAPS: 0, EDITS: 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0),
            length=config.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned(**fields, name="stacked")(streams, inputs, memory)


def _block(config: ModelConfig, deterministic: bool) -> partial[TwoStreamBlock]:
    dtype = jnp.dtype(config.dtype)
    # As in `block_of`: maps into the residual stream shrink with the number of its summands.
    back = nn.initializers.normal(config.init_std / math.sqrt(2 * config.num_layers))
    return partial(
        TwoStreamBlock,
        attention=partial(
            RelativeAttention,
            num_heads=config.num_heads,
            head_dim=config.resolved_head_dim,
            typed=config.token_types > 0,
            dropout_rate=config.attention_dropout_rate,
            deterministic=deterministic,
            dtype=dtype,
            kernel_init=normal_init(config),
            output_init=back,
        ),
        feed_forward=partial(
            FeedForward,
            kind=config.feed_forward,
            mlp_dim=config.resolved_mlp_dim,
            use_bias=config.bias_of("mlp"),
            dtype=dtype,
            kernel_init=normal_init(config),
            output_init=back,
        ),
        norm=norm_of(config),
        dropout_rate=config.dropout_rate,
        deterministic=deterministic,
    )


def init_memory(config: ModelConfig, batch: int) -> SegmentMemory:
    """The memory of `batch` rows before their first piece of text: no slots."""
    layers = jnp.zeros((config.num_layers, batch, 0, config.embed_dim), jnp.dtype(config.dtype))
    return SegmentMemory(layers, jnp.zeros((batch, 0), jnp.int32))
