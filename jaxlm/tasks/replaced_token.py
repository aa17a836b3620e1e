"""ELECTRA's pretraining: tell which tokens a small masked language model, learning beside, has put in place."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.generator import GENERATOR, generator_config, generator_params, without_generator
from jaxlm.models.model import apply_model, score_tokens
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import losses_and_hits
from jaxlm.tasks.masked_lm import MaskedExamples, MaskedFeed, masked_sums
from jaxlm.tasks.masking import Masker
from jaxlm.tasks.task import Batch, Shapes, SumOfRows, Sums, Task, pass_over, weighted
from jaxlm.text.tokenizer import Tokenizer

GROUP = 128  # tokens that are drawn from together


def replaced_token(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Clark et al. 2020, sections 2 and 3.2: the generator's mean loss and, weighted, the discriminator's.

    The paper hides 15 % of the tokens (25 % for its large model) behind masks. Its published code leaves 15 % of these
    as they are and makes none random: task.keep_rate 0.15 and task.random_rate 0, where the defaults are BERT's.

    Raises:
      UsageError: the model is no discriminator with a generator, or the tokenizer has no mask.
    """
    return Task(
        ReplacedToken(model, config.discriminator_weight),
        ReplacedTokenFeed(data, tokenizer, config, Masker(config, tokenizer)),
        guesses={"discriminator_loss": math.log(2)},
    )


@dataclass(frozen=True)
class ReplacedToken(SumOfRows):
    """Masked language modelling by a generator, and the detection of what it puts in place by a discriminator.

    Each hidden token becomes one that the generator's distribution gives, the discriminator sees the result, and every
    token that is not padding, special ones included (as in the published code), is to be told original or replaced. A
    sampled token that happens to be the original one counts as original. No gradient passes the sampling; the shared
    embeddings get gradients from both losses.

    Attributes:
      model: the discriminator's configuration, with its generator.
      weight: of the discriminator's mean loss (lambda of the paper).
    """

    model: ModelConfig
    weight: float = 50.0

    def __post_init__(self) -> None:
        """Raises UsageError where the model scores no replaced tokens, or has no generator."""
        model = self.model
        if model.architecture != "encoder" or model.task_head != "replaced_token" or not model.generator_heads:
            raise UsageError(
                "task.kind 'replaced_token' needs model.architecture 'encoder', model.task_head 'replaced_token' and "
                "model.generator_heads (a quarter to a half of model.num_heads), not "
                f"{model.architecture!r}, {model.task_head!r} and {model.generator_heads}"
            )

    @property
    def parts(self) -> Mapping[str, float]:
        """The discriminator's mean loss is smaller than the generator's, and made up for."""
        return {"discriminator_loss": self.weight}

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """See `Objective`; how many tokens are replaced is neither good nor bad."""
        losses = ("generator_loss", "discriminator_loss")
        right = ("masked_accuracy", *(f"discriminator_{name}" for name in ("accuracy", "precision", "recall")))
        return {**dict.fromkeys(losses, False), **dict.fromkeys(right, True)}

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row; losses in nats.

        `loss` and `generator_loss` are the generator's, of hidden tokens, and masked_accuracy how many it predicts
        right. Of all tokens are discriminator_loss, discriminator_accuracy (told apart, replaced or not, by the more
        likely of both), and replaced (how many are). Of the tokens that are called replaced, discriminator_precision
        is how many are; of those that are replaced, discriminator_recall is how many are called so.

        Args:
          params: those of discriminator and generator.
          batch: the rows of `ReplacedTokenExamples`.
          dropout_rng: key for dropout; none turns it off. What is sampled depends on the batch's seeds instead.
        """
        keys = None if dropout_rng is None else jax.random.split(dropout_rng)
        places = {name: batch[name] for name in ("positions", "segment_ids")}
        slots = batch["hidden_slots"]
        scores = score_tokens(
            generator_config(self.model),
            generator_params(params),
            batch["tokens"],
            **places,
            logit_slots=slots,
            dropout_key=None if keys is None else keys[0],
        ).scores
        originals = batch["targets"]
        hidden = {name: at(batch[name], slots) for name in ("targets", "loss_weights")}
        noise = sampling_noise(batch["sampling_seeds"], slots.shape[1], self.model.vocab_size or 0)
        (losses, predicted), sampled = scores.each(losses_and_sample, hidden["targets"], noise)
        generated = masked_sums(losses, predicted, hidden["loss_weights"])
        seen = put(originals, slots, sampled)
        log_odds = apply_model(
            self.model,
            without_generator(params),
            seen,
            **places,
            dropout_key=None if keys is None else keys[1],
        ).logits
        assert log_odds is not None

        weights = batch["token_weights"]
        replaced = seen != originals
        called = log_odds > 0
        right = (called == replaced).astype(jnp.float32)
        means = {
            "discriminator_loss": (binary_losses(log_odds, replaced), weights),
            "discriminator_accuracy": (right, weights),
            "replaced": (replaced.astype(jnp.float32), weights),
            "discriminator_precision": (right, weights * called),
            "discriminator_recall": (right, weights * replaced),
        }
        sums = {name: weighted(values, counted) for name, (values, counted) in means.items()}
        sums |= {f"{name}_weight": counted.sum(-1) for name, (_, counted) in means.items()}
        return generated | sums | {"generator_loss": generated["loss"], "generator_loss_weight": generated["weight"]}

    def loss(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums over the batch, of which loss / weight is the sum of both means, the second by its factor.

        Args:
          params, dropout_rng: as `row_sums`.
          batch: as `balance` gives it.
        """
        rows = self.row_sums(params, batch, dropout_rng)
        sums = {name: jnp.sum(value) for name, value in rows.items()}
        scaled = self.weight * jnp.sum(rows["discriminator_loss"] * batch["hidden_per_token"])
        return sums | {"loss": sums["loss"] + scaled}

    def balance(self, batch: Batch) -> Batch:
        """Adds how many hidden tokens there are for each token, so that both means come from one division."""
        ratio = batch["loss_weights"].sum() / jnp.maximum(batch["token_weights"].sum(), 1)
        return batch | {"hidden_per_token": jnp.full(batch["tokens"].shape[:1], ratio, jnp.float32)}

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """The generator's, which scores the hidden tokens, and the discriminator's."""
        generator = pass_over(generator_config(self.model), batch)
        return [
            replace(generator, scored=batch["hidden_slots"].shape[1], part=GENERATOR),
            pass_over(self.model, batch),
        ]


def sampling_noise(seeds: jax.Array, slots: int, vocab_size: int) -> jax.Array:
    """Noise for `sample`, [batch, slots, groups + GROUP] float32, of the seeds [batch] uint32 of the rows.

    Each row's is a function of its own seed, so that the draw depends neither on the rest of a batch nor on how a batch
    is divided.
    """
    shape = (slots, math.ceil(vocab_size / GROUP) + GROUP)
    return jax.vmap(lambda seed: jax.random.gumbel(jax.random.key(seed), shape, jnp.float32))(seeds)


def losses_and_sample(
    logits: jax.Array, targets: jax.Array, noise: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """What `losses_and_hits` gives of logits and targets, and what `sample` draws."""
    return losses_and_hits(logits, targets), sample(logits, noise)


def sample(logits: jax.Array, noise: jax.Array) -> jax.Array:
    """Draws a token from the softmax of each place's logits: by the Gumbel-max trick a group of tokens, then one of it.

    The largest of perturbed logits is rarely changed by rounding, unlike the place of a uniform number in their
    cumulated softmax. Groups spare most of the noise, which took a fifth of a step on CPU.

    Args:
      logits: [batch, slots, vocab_size] float32; no gradient passes.
      noise: see `sampling_noise`.

    Returns:
      [batch, slots] int32.
    """
    logits = jax.lax.stop_gradient(logits)
    missing = -logits.shape[-1] % GROUP
    grouped = jnp.pad(logits, ((0, 0), (0, 0), (0, missing)), constant_values=-jnp.inf)
    grouped = grouped.reshape(*logits.shape[:-1], -1, GROUP)
    groups = grouped.shape[2]
    group = jnp.argmax(jax.nn.logsumexp(grouped, -1) + noise[..., :groups], -1)
    inside = jnp.take_along_axis(grouped, group[..., None, None], axis=2)[..., 0, :]
    return (group * GROUP + jnp.argmax(inside + noise[..., groups:], -1)).astype(jnp.int32)


def binary_losses(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Negative log likelihood in nats of bool labels [...] whose log odds are `scores` [...] float32."""
    return jax.nn.softplus(jnp.where(labels, -scores, scores))


def at(values: jax.Array, slots: jax.Array) -> jax.Array:
    """What is at the slots [batch, n] of rows [batch, time]; 0 where a slot is outside."""
    return jnp.take_along_axis(values, slots, axis=1, mode="fill", fill_value=0)


def put(values: jax.Array, slots: jax.Array, new: jax.Array) -> jax.Array:
    """Rows [batch, time] with `new` [batch, n] at their slots [batch, n]; a slot outside puts nothing."""
    return jax.vmap(lambda row, where, what: row.at[where].set(what, mode="drop"))(values, slots, new)


@dataclass(frozen=True)
class ReplacedTokenFeed(MaskedFeed):
    """The rows of a `MaskedFeed`, with what the sampling needs."""

    def examples(self, stream: TokenStream) -> "ReplacedTokenExamples":
        """See `ExampleFeed`."""
        return ReplacedTokenExamples(stream, self.masker, **self.cut())


class ReplacedTokenExamples(MaskedExamples):
    """Rows with hidden tokens, the slots of these, and a seed for what takes their place.

    The generator scores the vocabulary at the slots only, which are about mask_rate of a row's columns.

    Attributes:
      num_slots: the most tokens that any row can hide, and at least 1.
    """

    def __init__(self, stream: TokenStream, masker: Masker, **cut: Any):
        """See `MaskedExamples`."""
        super().__init__(stream, masker, **cut)
        self.num_slots = max(self.most_hidden(), 1)

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns the row of `MaskedExamples`, and more.

        These are hidden_slots [num_slots] int32, where the hidden tokens are, then `length`; token_weights [length]
        float32, 1 for all that is no padding; and sampling_seeds, a uint32.
        """
        row = super().row(number, random)
        hidden = np.flatnonzero(row["loss_weights"])
        row["hidden_slots"][: len(hidden)] = hidden
        row["token_weights"][...] = row["segment_ids"] > 0
        row["sampling_seeds"][...] = int(random.random() * 2**32)
        return row

    def empty(self) -> Row:
        """Returns a row of padding."""
        return {
            **super().empty(),
            "hidden_slots": np.full(self.num_slots, self.length, np.int32),
            "token_weights": np.zeros(self.length, np.float32),
            "sampling_seeds": np.zeros((), np.uint32),
        }
