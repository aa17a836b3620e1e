"""From hidden states to scores: of tokens, of labels, of the two ends of an answer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.blocks import norm_of, normal_init
from jaxlm.models.config import ModelConfig
from jaxlm.models.output import ModelOutput
from jaxlm.models.token_scores import COLLECTION, TokenScores
from jaxlm.nn.activations import ACTIVATIONS
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embedding import Embedding
from jaxlm.nn.linear import Linear
from jaxlm.nn.parameter import parameter


class TokenHead(nn.Module):
    """Scores every token of the vocabulary.

    What the logits are made of is sown as `token_scores`, for `jaxlm.models.model.score_tokens`.

    Attributes:
      config: whether the head is tied, transforms, has a bias, scales and caps.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array, table: Embedding) -> jax.Array:
        """Logits [batch, time, vocab_size] float32 of [batch, time, embed_dim]; `table` is the token embedding."""
        config = self.config
        assert config.vocab_size is not None
        dtype = jnp.dtype(config.dtype)
        if config.head_transform:
            x = transform(config, x, config.resolved_embedding_dim)
        if config.scale_head:
            x = x * jnp.asarray(1 / math.sqrt(config.embed_dim), dtype)
        kernel, bias = table.embedding, None
        if config.head != "tied":
            kernel = parameter(
                self, "kernel", normal_init(config), (x.shape[-1], config.vocab_size), ("embed", "vocab")
            )
        if config.head_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (config.vocab_size,), ("vocab",))
        scores = TokenScores(x, kernel, bias, config)
        self.sow(COLLECTION, COLLECTION, scores, reduce_fn=lambda _, last: last, init_fn=lambda: None)
        return scores.logits()


def transform(config: ModelConfig, x: jax.Array, features: int) -> jax.Array:
    """Dense layer, the feed-forward's activation and normalisation (Devlin et al. 2019's published code).

    Called inside a module, which gets the parameters `dense` and `norm`.
    """
    dense = Linear(
        features, ("embed", "labels"), config.use_bias, jnp.dtype(config.dtype), normal_init(config), name="dense"
    )
    return norm_of(config)(name="norm")(ACTIVATIONS[config.feed_forward](dense(x)))


class Pooler(nn.Module):
    """What stands for a sequence, possibly by way of a dense layer.

    Attributes:
      config: pooling and pooler.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array, segment_ids: jax.Array | None) -> jax.Array:
        """[batch, embed_dim] of [batch, time, embed_dim]; padding (segment 0) does not count."""
        config = self.config
        x = pooled_states(x, segment_ids, config.pooling)
        if config.pooler == "none":
            return x
        if config.pooler == "gelu_norm":
            return transform(config, x, config.embed_dim)
        dense = Linear(
            config.embed_dim, ("embed", "features"), True, jnp.dtype(config.dtype), normal_init(config), name="dense"
        )
        return {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": ACTIVATIONS["gelu"]}[config.pooler](dense(x))


def pooled_states(x: jax.Array, segment_ids: jax.Array | None, pooling: str) -> jax.Array:
    """What stands for a sequence: its 'first' or 'last' token, or the 'mean' of all; padding does not count.

    Args:
      x: [batch, time, embed_dim].
      segment_ids: [batch, time] int32, 0 = padding; None for no padding.
      pooling: one of these.

    Returns:
      [batch, embed_dim].
    """
    real = jnp.ones(x.shape[:2], bool) if segment_ids is None else segment_ids != 0
    if pooling == "mean":
        weights = real.astype(jnp.float32)
        total = jnp.einsum("btd,bt->bd", x.astype(jnp.float32), weights)
        return (total / jnp.maximum(weights.sum(1, keepdims=True), 1)).astype(x.dtype)
    slots = jnp.arange(x.shape[1])
    chosen = jnp.where(real, slots, x.shape[1] - 1).min(1) if pooling == "first" else jnp.where(real, slots, 0).max(1)
    return jnp.take_along_axis(x, chosen[:, None, None], axis=1)[:, 0]


def classify(config: ModelConfig, x: jax.Array, labels: int, name: str, deterministic: bool) -> jax.Array:
    """Scores [..., labels] float32 of [..., embed_dim] by a linear map called `name` in the calling module."""
    rate = config.resolved_classifier_dropout_rate
    x = Dropout(rate, deterministic=deterministic, name=f"{name}_dropout")(x)
    return Linear(
        labels, ("embed", "labels"), config.classifier_bias, jnp.dtype(config.dtype), normal_init(config), name=name
    )(x).astype(jnp.float32)


class ReplacedTokenHead(nn.Module):
    """Scores whether each token was replaced (Clark et al. 2020, section 2): dense, activation, one number.

    Attributes:
      config: width, activation.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, time] float32 of [batch, time, embed_dim]."""
        config = self.config
        dtype = jnp.dtype(config.dtype)
        dense = Linear(config.embed_dim, ("embed", "features"), True, dtype, normal_init(config), name="dense")
        score = Linear(1, ("embed", "labels"), True, dtype, normal_init(config), name="score")
        return score(ACTIVATIONS[config.feed_forward](dense(x)))[..., 0].astype(jnp.float32)


def apply_task_head(
    config: ModelConfig,
    table: Embedding,
    hidden_states: jax.Array,
    segment_ids: jax.Array | None,
    deterministic: bool,
    num_logits: int | None = None,
    logit_slots: jax.Array | None = None,
) -> ModelOutput:
    """Computes what config.task_head asks for; called inside a module, which gets its parameters.

    Args:
      config: of the model.
      table: the token embedding.
      hidden_states: [batch, time, embed_dim].
      segment_ids: [batch, time] int32, 0 = padding, or None.
      deterministic: no dropout.
      num_logits: for tokens' logits, of the last so many positions only; none means all.
      logit_slots: [batch, n] int32, for tokens' logits, of these positions only, giving [batch, n, vocab_size]; those
        outside the row give anything. None means all.
    """
    head = config.task_head
    x = hidden_states
    if head == "replaced_token":
        return ModelOutput(x, ReplacedTokenHead(config, name="head")(x))
    if head in ("token_classification", "question_answering"):
        labels = config.num_labels if head == "token_classification" else 2
        features = TokenFeatures(config, name="head")(x) if config.head_transform else x
        return ModelOutput(x, classify(config, features, labels, "classifier", deterministic))
    if head == "language_model":
        return ModelOutput(x, _token_logits(config, table, x, num_logits, logit_slots))
    if head == "none" and config.pooler == "none":
        return ModelOutput(x)

    pooled = Pooler(config, name="pooler")(x, segment_ids)
    if head == "none":
        return ModelOutput(x, pooled=pooled)
    if head == "sequence_classification":
        logits = classify(config, pooled, config.num_labels, "classifier", deterministic)
        return ModelOutput(x, logits, pooled=pooled)
    next_sentence = classify(config, pooled, 2, "next_sentence", deterministic=True)
    if head == "next_sentence":
        return ModelOutput(x, next_sentence, pooled=pooled)
    return ModelOutput(x, _token_logits(config, table, x, num_logits, logit_slots), next_sentence, pooled)


def _token_logits(
    config: ModelConfig, table: Embedding, x: jax.Array, num_logits: int | None, logit_slots: jax.Array | None
) -> jax.Array:
    if num_logits is not None:
        x = x[:, -num_logits:]
    if logit_slots is not None:
        x = jnp.take_along_axis(x, logit_slots[..., None], axis=1, mode="clip")
    return TokenHead(config, name="head")(x, table)


class TokenFeatures(nn.Module):
    """The transform of the language-model head, before labels of tokens (ModernBERT).

    Attributes:
      config: width, activation and normalisation.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, time, embed_dim] to the same shape."""
        return transform(self.config, x, self.config.embed_dim)
