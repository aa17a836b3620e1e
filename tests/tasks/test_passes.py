"""Counts of floating-point operations against the products of what the objectives compute, traced and not run."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import pytest
from jax.extend.core import Var

from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import abstract_adapted, as_kernels
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, forward_flops, training_flops
from jaxlm.tasks.bert import Bert
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.classification import SequenceClassification
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.masked_lm import MaskedLM
from jaxlm.tasks.multiple_choice import MultipleChoice
from jaxlm.tasks.permutation_lm import PermutationLM
from jaxlm.tasks.preference import Preference
from jaxlm.tasks.question_answering import SpanPrediction
from jaxlm.tasks.replaced_token import ReplacedToken
from jaxlm.tasks.sentence_embedding import SentenceEmbedding
from jaxlm.tasks.sequence_to_sequence import SequenceToSequence
from jaxlm.tasks.tagging import TokenClassification
from jaxlm.tasks.text_to_text import TextToText
from jaxlm.training.partial import frozen_parts, joined, split

ROWS, LENGTH, SOURCE, HIDDEN = 6, 40, 56, 7
BASE = ModelConfig(vocab_size=211, max_length=64, num_layers=2, embed_dim=48, num_heads=4, mlp_dim=160)
LLAMA = replace(
    BASE,
    positions="rotary",
    norm="rms_norm",
    feed_forward="swiglu",
    use_bias=False,
    head="untied",
    num_kv_heads=2,
    head_dim=16,
    layers="unrolled",
)
ENCODER = replace(BASE, architecture="encoder", token_types=2, head_transform=True, layers="unrolled")
BERT = replace(ENCODER, task_head="pretraining", pooler="tanh")
ELECTRA = replace(ENCODER, task_head="replaced_token", embedding_dim=32, generator_heads=1)
LABELS = replace(ENCODER, task_head="sequence_classification", pooler="tanh", num_labels=3)
T5 = replace(
    BASE,
    architecture="encoder_decoder",
    num_encoder_layers=3,
    positions="relative_buckets",
    relative_buckets=8,
    relative_max_distance=20,
    use_bias=False,
)
XLNET = replace(
    BASE,
    architecture="permutation",
    positions="transformer_xl",
    token_types=2,
    norm_position="post",
    feed_forward="gelu",
    task_head="language_model",
)
LSTM = replace(BASE, architecture="lstm", positions="none")
EXPERTS = replace(LLAMA, num_experts=4, experts_per_token=2)
FLOATS = ("loss_weights", "rejected_loss_weights", "sentence_weights", "token_weights", "reference", "row_weight")


def shapes(**sizes: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of ROWS rows with columns of these shapes."""

    def dtype(name: str) -> str:
        return "float32" if name in FLOATS else "uint32" if name == "sampling_seeds" else "int32"

    return {name: jax.ShapeDtypeStruct((ROWS, *shape), dtype(name)) for name, shape in sizes.items()}


def columns(length: int, *names: str, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{name}": (length,) for name in ("tokens", "segment_ids", *names)}


TEXT = columns(LENGTH, "positions", "targets", "loss_weights")
TARGET_AND_SOURCE = TEXT | columns(SOURCE, "positions", prefix="encoder_")
TYPED = columns(LENGTH, "token_types")
OBJECTIVES = {
    "decoder": (CausalLM(BASE, segmented=False), shapes(**TEXT)),
    "decoder of packed rows": (CausalLM(LLAMA, segmented=True), shapes(**TEXT)),
    "LSTM": (CausalLM(LSTM, segmented=True), shapes(**TEXT)),
    "masked tokens": (MaskedLM(ENCODER, HIDDEN), shapes(**TEXT)),
    "masked tokens of packed rows": (MaskedLM(ENCODER), shapes(**TEXT)),
    "rows shorter than what may be masked": (MaskedLM(ENCODER, 2 * LENGTH), shapes(**TEXT)),
    "BERT": (Bert(BERT, HIDDEN), shapes(**TEXT, token_types=(LENGTH,), next_sentence=(), sentence_weights=())),
    "ELECTRA": (
        ReplacedToken(ELECTRA),
        shapes(**TEXT, hidden_slots=(HIDDEN,), token_weights=(LENGTH,), sampling_seeds=()),
    ),
    "span corruption": (SequenceToSequence(T5, segmented=True), shapes(**TARGET_AND_SOURCE)),
    "two towers, labelled": (
        TextToText(T5, TaskConfig("sequence_to_sequence")),
        shapes(**TARGET_AND_SOURCE),
    ),
    "decoder, labelled": (TextToText(LLAMA, TaskConfig("sequence_to_sequence")), shapes(**TEXT)),
    "XLNet": (
        PermutationLM(XLNET),
        shapes(
            **columns(LENGTH, "turns"),
            slots=(HIDDEN,),
            targets=(HIDDEN,),
            loss_weights=(HIDDEN,),
        ),
    ),
    "labels by XLNet": (
        SequenceClassification(
            replace(XLNET, task_head="sequence_classification", pooler="tanh", pooling="last", num_labels=3),
            TaskConfig("classification", labels=("a", "b", "c")),
        ),
        shapes(**TYPED, label=(), loss_weights=(1,)),
    ),
    "labels": (
        SequenceClassification(LABELS, TaskConfig("classification", labels=("a", "b", "c"))),
        shapes(**TYPED, label=(), loss_weights=(1,)),
    ),
    "labels, R-Drop": (
        SequenceClassification(
            replace(LABELS, dropout_rate=0.1), TaskConfig("classification", labels=("a", "b", "c"), r_drop=1.0)
        ),
        shapes(**TYPED, label=(), loss_weights=(1,)),
    ),
    "tags": (
        TokenClassification(replace(ENCODER, task_head="token_classification", num_labels=5), TaskConfig("tagging")),
        shapes(**TYPED, targets=(LENGTH,), loss_weights=(LENGTH,)),
    ),
    "answers": (
        SpanPrediction(replace(ENCODER, task_head="question_answering"), TaskConfig("question_answering")),
        shapes(**TYPED, words=(LENGTH,), answer=(2,), loss_weights=(1,)),
    ),
    "choices": (
        MultipleChoice(replace(LABELS, num_labels=1), TaskConfig("multiple_choice")),
        shapes(**dict.fromkeys(TYPED, (3, LENGTH)), label=(), loss_weights=(1,)),
    ),
    "preferences": (
        Preference(LLAMA, TaskConfig("preference")),
        shapes(
            **TEXT,
            **columns(SOURCE, "positions", "targets", "loss_weights", prefix="rejected_"),
            reference=(2,),
            row_weight=(),
        ),
    ),
    "vectors": (
        SentenceEmbedding(replace(ENCODER, task_head="none", pooler="none"), TaskConfig("sentence_embedding")),
        shapes(
            **columns(LENGTH), **columns(SOURCE, prefix="pair_"), **columns(16, prefix="negative_"), loss_weights=(1,)
        ),
    ),
}


def traced_flops(function: Any, *arguments: Any) -> int:
    """Operations of the matrix products that a function's results need, 2 for a product and its sum."""
    return _products(jax.make_jaxpr(function)(*arguments).jaxpr)


def needed_equations(jaxpr: Any) -> Iterator[Any]:
    """The equations, last first, that the results of a traced function need; not those inside of others."""
    needed = {out for out in jaxpr.outvars if isinstance(out, Var)}
    for eqn in reversed(jaxpr.eqns):
        if not needed.isdisjoint(eqn.outvars):
            needed.update(own for own in eqn.invars if isinstance(own, Var))
            yield eqn


def _products(jaxpr: Any) -> int:
    total = 0
    for eqn in needed_equations(jaxpr):
        name, params = eqn.primitive.name, eqn.params
        if name in ("dot_general", "ragged_dot_general"):
            numbers = params["dimension_numbers" if name == "dot_general" else "ragged_dot_dimension_numbers"]
            contracted = (numbers if name == "dot_general" else numbers.dot_dimension_numbers)[0][0]
            left, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
        elif name == "scan":
            total += params["length"] * _products(params["jaxpr"].jaxpr)
        elif name == "cond":  # what depends on the platform: the branch of all others
            total += _products(params["branches"][-1].jaxpr)
        else:
            inner = [value for value in params.values() if hasattr(value, "eqns") or hasattr(value, "jaxpr")]
            own = sum(_products(getattr(value, "jaxpr", value)) for value in inner)
            assert name != "while" or not own, "products in a loop of unknown length"
            total += own
    return total


def loss_of(objective: Any, params: Any, batch: Any) -> jax.Array:
    key = jax.random.key(0) if objective.model.drops else None
    return objective.loss(params, objective.balance(batch), key)["loss"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_count_of_a_pass_is_that_of_the_products_of_the_loss(name):
    objective, batch = OBJECTIVES[name]
    counted = sum(map(forward_flops, objective.passes(batch)))
    traced = traced_flops(partial(loss_of, objective), abstract_params(objective.model), batch)
    # Means over tokens, and similarities of vectors, are products that do not count.
    assert counted == pytest.approx(traced, rel=0.005)


def test_experts_count_as_many_as_a_token_takes():
    # Experts are filled up to blocks, of which there are few where there are many tokens.
    batch = {name: jax.ShapeDtypeStruct((400, LENGTH), own.dtype) for name, own in shapes(**TEXT).items()}
    objective = CausalLM(EXPERTS, segmented=True)
    counted = sum(map(forward_flops, objective.passes(batch)))
    traced = traced_flops(partial(loss_of, objective), abstract_params(EXPERTS), batch)
    assert counted == pytest.approx(traced, rel=0.02)


@pytest.mark.parametrize("name", ["decoder", "BERT"])
def test_a_training_step_takes_three_forward_passes(name):
    objective, batch = OBJECTIVES[name]
    traced = traced_flops(jax.grad(partial(loss_of, objective)), abstract_params(objective.model), batch)
    assert training_flops(objective.passes(batch)) == pytest.approx(traced, rel=0.005)


def test_what_does_not_learn_takes_no_gradient_of_its_own():
    objective, batch = OBJECTIVES["decoder"]
    adapter = AdapterConfig("dora", rank=4)
    params = abstract_adapted(adapter, abstract_params(objective.model))
    learned, frozen = split(params, frozen_parts((), adapter))

    def loss(learned: Any, frozen: Any, batch: Any) -> jax.Array:
        return loss_of(objective, as_kernels(adapter, joined(learned, frozen)), batch)

    traced = traced_flops(jax.grad(loss), learned, frozen, batch)
    assert training_flops(objective.passes(batch), adapter=adapter) == pytest.approx(traced, rel=0.005)
    whole = training_flops(objective.passes(batch))
    of_head = 2 * ROWS * LENGTH * BASE.embed_dim * BASE.vocab_size
    assert whole - training_flops(objective.passes(batch), freeze=("token_embedding/*",)) == of_head


def test_patterns_tell_a_generator_from_its_discriminator():
    objective, batch = OBJECTIVES["ELECTRA"]
    whole = training_flops(objective.passes(batch))
    both, own, other = (
        whole - training_flops(objective.passes(batch), freeze=(pattern,))
        for pattern in ("*layers/*", "generator/layers/*", "layers/*")
    )
    assert 0 < own < other
    assert own + other == both
