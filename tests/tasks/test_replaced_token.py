"""Replaced-token detection: what is sampled, told and learnt, whatever the batch; and a run from start to export."""

import json
import math
import shutil
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import optax
import pytest

import jaxlm
from jaxlm.data.config import DataConfig
from jaxlm.errors import DataError, UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.models.generator import GENERATOR, SHARED, generator_config, generator_params, without_generator
from jaxlm.models.model import init_params
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, param_shardings
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.tasks.masked_lm import MaskedLM
from jaxlm.tasks.replaced_token import ReplacedToken, sample, sampling_noise
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.training.loop import train
from jaxlm.training.self_checks import check_before_training
from jaxlm.training.state import TrainState
from jaxlm.training.step import make_train_step

from ..data.data_helpers import distinct_documents, make_stream
from ..models.small_models import applied, flat, random_params
from ..quick_compilation import quick_jit
from ..small_runs import small_experiment

SPECIAL = ("[CLS]", "[SEP]", "[MASK]")
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=SPECIAL), [])
# As ELECTRA's family in transformers has it, so that runs can be exported.
ELECTRA = ModelConfig(
    architecture="encoder",
    num_layers=1,
    embed_dim=16,
    embedding_dim=12,
    num_heads=4,
    token_types=2,
    embedding_norm=True,
    norm_position="post",
    feed_forward="gelu",
    task_head="replaced_token",
    generator_heads=2,
    layers="unrolled",
)
MODEL = replace(ELECTRA, vocab_size=262, max_length=32)
STREAM = make_stream(distinct_documents([5, 40, 3, 17, 1, 60, 2, 33]))
PARAMS = random_params(MODEL)
ROWS = 9  # one more than the split has


def task(model=MODEL, batching="packed", length=24, **fields):
    config = TaskConfig("replaced_token", **fields)
    return make_task(config, model, DataConfig(batching=batching, length=length), TOKENIZER)


def whole_split():
    (batch,) = task().feed.evaluation_rows(STREAM).batches(ROWS)
    return batch


@cache
def jitted(objective):
    """Compiled once for each shape, whichever test asks."""
    return quick_jit(objective.row_sums)


def row_sums_of(objective=None):
    row_sums = jitted(objective or ReplacedToken(MODEL))
    return lambda params, batch: {name: np.asarray(value) for name, value in row_sums(params, batch).items()}


def outputs(batch, params=PARAMS):
    """Logits of the generator at all places and scores of the discriminator, by the models themselves."""
    places = {name: batch[name] for name in ("positions", "segment_ids")}
    generator = generator_config(MODEL)
    logits = applied(generator, generator_params(params), batch["tokens"], **places).logits
    logits = np.asarray(logits, np.float64)
    seen = batch["targets"].copy()
    groups = [range(first, min(first + 128, 262)) for first in range(0, 262, 128)]
    for row, slots in enumerate(batch["hidden_slots"]):
        noise = np.asarray(jax.random.gumbel(jax.random.key(seeds(batch)[row]), (len(slots), len(groups) + 128)))
        for slot, column in enumerate(slots):
            if column < seen.shape[1]:
                likelihoods = np.exp(logits[row, column])
                group = groups[np.argmax([math.log(likelihoods[each].sum()) for each in groups] + noise[slot][:3])]
                inside = logits[row, column][group] + noise[slot][3:][: len(group)]
                seen[row, column] = group[int(np.argmax(inside))]
    scores = applied(MODEL, params, seen, **places).logits
    return logits, seen, np.asarray(scores, np.float64)


def seeds(batch):
    return batch["sampling_seeds"]


@pytest.mark.parametrize("batching", ["blocks", "packed"])
@pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
def test_rows_are_those_of_masked_lm_with_slots_and_seeds(batching, masking):
    found = task(batching=batching, masking=masking)
    rows = found.feed.training_rows(STREAM, seed=3)
    numbers = np.arange(12 * len(rows))
    batch = rows.batch(numbers)
    other = make_task(
        TaskConfig("masked_lm", masking), generator_config(MODEL), DataConfig(batching=batching, length=24), TOKENIZER
    )
    for name, value in other.feed.training_rows(STREAM, seed=3).batch(numbers).items():
        np.testing.assert_array_equal(batch[name], value)
    for row in range(len(numbers)):
        slots = batch["hidden_slots"][row]
        assert slots[slots < 24].tolist() == np.flatnonzero(batch["loss_weights"][row]).tolist()
        assert (slots[(slots < 24).sum() :] == 24).all()
    np.testing.assert_array_equal(batch["token_weights"], batch["segment_ids"] > 0)
    assert seeds(batch).dtype == np.uint32
    assert len(set(seeds(batch).tolist())) == len(numbers)  # of each row and epoch one
    if batching == "blocks":
        assert batch["hidden_slots"].shape[1] <= math.floor(0.15 * 22) + 1


def test_sums_are_those_of_a_plain_computation():
    found, batch = task(), whole_split()
    sums = row_sums_of()(PARAMS, batch)
    logits, seen, scores = outputs(batch)
    losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, batch["targets"][..., None], -1)[..., 0]
    hidden, real = batch["loss_weights"], batch["segment_ids"] > 0
    replaced, called = seen != batch["targets"], scores > 0
    probability = 1 / (1 + np.exp(-scores))
    binary = -np.log(np.where(replaced, probability, 1 - probability))
    for name, values, weights in (
        ("generator_loss", losses, hidden),
        ("masked_accuracy", logits.argmax(-1) == batch["targets"], hidden),
        ("discriminator_loss", binary, real),
        ("discriminator_accuracy", called == replaced, real),
        ("replaced", replaced, real),
        ("discriminator_precision", replaced, real & called),
        ("discriminator_recall", called, real & replaced),
    ):
        np.testing.assert_allclose(sums[name], (values * weights).sum(-1), rtol=2e-5, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(sums[f"{name}_weight"], weights.sum(-1), err_msg=name)
    np.testing.assert_array_equal(sums["loss"], sums["generator_loss"])
    total = quick_jit(lambda batch: found.objective.loss(PARAMS, found.objective.balance(batch)))(batch)
    mean = (losses * hidden).sum() / hidden.sum() + 50 * (binary * real).sum() / real.sum()
    assert total["loss"] / total["weight"] == pytest.approx(mean, rel=1e-5)


def test_only_hidden_tokens_are_replaced_and_most_of_them():
    batch = whole_split()
    sums = row_sums_of()(PARAMS, batch)
    assert (sums["replaced"] <= sums["weight"]).all()
    # An untrained generator guesses one of 262.
    assert sums["replaced"].sum() > 0.9 * sums["weight"].sum()
    assert sums["replaced_weight"].sum() == (batch["segment_ids"] > 0).sum()  # special tokens too


def certain(params, token):
    """A generator that gives one token."""
    bias = np.full(262, -100.0, np.float32)
    bias[token] = 100.0
    generator = params[GENERATOR]
    return {**params, GENERATOR: {**generator, "head": {**generator["head"], "bias": jax.numpy.asarray(bias)}}}


def test_a_sampled_token_that_is_the_original_counts_as_original():
    stream = make_stream([[65] * 30, [65] * 9])
    (batch,) = task().feed.evaluation_rows(stream).batches(3)
    row_sums = row_sums_of()
    right, wrong = (row_sums(certain(PARAMS, token), batch) for token in (65, 66))
    assert right["replaced"].sum() == right["discriminator_recall_weight"].sum() == 0
    assert wrong["replaced"].sum() == wrong["weight"].sum() == batch["loss_weights"].sum() > 0
    # It sees the original text then, and its loss is that of calling all of it original.
    scores = applied(
        MODEL, PARAMS, batch["targets"], positions=batch["positions"], segment_ids=batch["segment_ids"]
    ).logits
    expected = (np.logaddexp(0, scores) * batch["token_weights"]).sum()
    assert right["discriminator_loss"].sum() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [4, 128, 300])
def test_samples_have_the_shares_of_the_softmax(size):
    logits = 2 * np.random.default_rng(size).normal(size=size).astype(np.float32)
    noise = sampling_noise(np.arange(50, dtype=np.uint32), 400, size)
    drawn = sample(np.broadcast_to(logits, (50, 400, size)), noise)
    shares = np.bincount(np.ravel(drawn), minlength=size) / drawn.size
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_array_less(np.abs(shares - expected), 5 * np.sqrt(expected / drawn.size))


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_others():
    batch = whole_split()
    row_sums = row_sums_of()
    whole = row_sums(PARAMS, batch)
    means = {name for name in whole if f"{name}_weight" in whole}
    assert means == {*ReplacedToken(MODEL).higher_is_better, "replaced"}, "each with its direction, if it has one"
    count = len(batch["tokens"])
    order = np.random.default_rng(0).permutation(count)
    for rows in (order, order[:3], order[3:], order[:1]):
        part = row_sums(PARAMS, {name: value[rows] for name, value in batch.items()})
        for name, sums in whole.items():
            np.testing.assert_allclose(part[name], sums[rows], rtol=1e-5, atol=1e-5, err_msg=name)


def test_an_evaluation_does_not_depend_on_the_batch_size_and_padding_counts_nothing():
    found, row_sums = task(), row_sums_of()
    totals = []
    for size in (3, 5):
        parts = [row_sums(PARAMS, batch) for batch in found.feed.evaluation_rows(STREAM).batches(size)]
        totals.append({name: np.concatenate([part[name] for part in parts]).sum() for name in parts[0]})
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)
    empty = {name: value[None] for name, value in found.feed.examples(STREAM).empty().items()}
    assert all(value[0] == 0 for value in row_sums(PARAMS, empty).values())


def test_gradients_reach_what_each_loss_depends_on():
    batch = whole_split()
    objective = task().objective

    def gradient(name):
        return flat(quick_jit(jax.grad(lambda params: objective.row_sums(params, batch)[name].sum()))(PARAMS))

    generator, discriminator = gradient("generator_loss"), gradient("discriminator_loss")
    # The bias of keys adds the same to all scores of a query.
    reached = {
        part: {name for name, value in gradients.items() if np.abs(value).max() > 1e-5 and "key/bias" not in name}
        for part, gradients in (("generator", generator), ("discriminator", discriminator))
    }
    names = {name for name in generator if "key/bias" not in name}
    shared = {name for name in names if name.startswith(SHARED)}
    own = {name for name in names if name.startswith(GENERATOR)}
    assert len(shared) == 5
    assert reached["generator"] == shared | own
    assert reached["discriminator"] == names - own
    assert all(np.abs(discriminator[name]).max() == 0 for name in generator if name.startswith(GENERATOR))


def test_accumulation_equals_the_large_batch():
    found = task()
    batch = found.feed.training_rows(STREAM, seed=1).batch(np.arange(8))
    transform = optax.sgd(0.02)
    steps = {}
    for parts in (1, 4):
        step = make_train_step(found.objective.loss, transform, 0, parts, balance=found.objective.balance)
        steps[parts] = quick_jit(step)(TrainState(np.int32(0), PARAMS, transform.init(PARAMS)), batch)
    (one, metrics), (four, others) = steps[1], steps[4]
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(
        {name: float(value) for name, value in others.items()}, rel=1e-5
    )
    sums = row_sums_of()(PARAMS, batch)
    both = [sums[name].sum() / sums[f"{name}_weight"].sum() for name in ("generator_loss", "discriminator_loss")]
    assert metrics["loss"] == pytest.approx(both[0] + 50 * both[1], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one.params, four.params)


@pytest.mark.slow
def test_a_mesh_gives_what_one_device_gives():
    batch = {name: value[:8] for name, value in whole_split().items()}
    objective = ReplacedToken(MODEL)

    def loss(params, batch):
        sums = objective.loss(params, objective.balance(batch))
        return sums["loss"], sums

    (_, sums), gradients = quick_jit(jax.value_and_grad(loss, has_aux=True))(PARAMS, batch)
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    shardings, _ = param_shardings(mesh, abstract_params(MODEL), param_axes(MODEL))
    with on_mesh(mesh):
        places = jax.device_put(PARAMS, shardings), jax.device_put(batch, batch_sharding(mesh))
        (_, divided), others = quick_jit(jax.value_and_grad(loss, has_aux=True))(*places)
    for name, value in sums.items():
        np.testing.assert_allclose(divided[name], value, rtol=1e-5, err_msg=name)
    scale = max(np.abs(value).max() for value in jax.tree.leaves(gradients))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6 * scale), others, gradients)


@pytest.mark.slow
def test_dropout_changes_what_is_sampled_from_but_not_the_noise():
    model = replace(MODEL, dropout_rate=0.3)
    row_sums = quick_jit(task(model).objective.row_sums)
    batch = whole_split()
    plain, *dropped = (row_sums(PARAMS, batch, key) for key in (None, jax.random.key(0), jax.random.key(0)))
    np.testing.assert_array_equal(dropped[0]["discriminator_loss"], dropped[1]["discriminator_loss"])
    assert np.abs(plain["generator_loss"] - dropped[0]["generator_loss"]).max() > 0.01


def check(model=MODEL, objective=None, **fields):
    found = task(model, **fields)
    found = replace(found, objective=objective or found.objective)
    (batch,) = found.feed.evaluation_rows(STREAM).batches(ROWS)
    params = jax.tree.map(
        lambda box: np.asarray(box.value), init_params(model, jax.random.key(0)), is_leaf=lambda x: hasattr(x, "value")
    )
    score = row_sums_of(found.objective)
    check_before_training(found, model, TOKENIZER, batch, lambda batch: score(params, batch))


class Knowing(ReplacedToken):
    """A discriminator that was told."""

    def row_sums(self, params, batch, dropout_rng=None):
        sums = super().row_sums(params, batch, dropout_rng)
        return {**sums, "discriminator_loss": sums["discriminator_loss"] / 3}


class Leaking(ReplacedToken):
    """A discriminator that sees all documents of a row, beside a generator that does not."""

    def row_sums(self, params, batch, dropout_rng=None):
        own = super().row_sums(params, batch, dropout_rng)
        together = {**batch, "segment_ids": (batch["segment_ids"] > 0).astype(np.int32)}
        whole = super().row_sums(params, together, dropout_rng)
        return {**own, "discriminator_loss": whole["discriminator_loss"]}


@pytest.mark.slow
def test_the_self_checks_pass_what_is_right_and_look_at_both_models():
    check()
    with pytest.raises(DataError, match=r"the discriminator loss is 0\.2.* and that of guessing is 0\.693"):
        check(objective=Knowing(MODEL))
    with pytest.raises(DataError, match="depend on another document of its row"):
        check(objective=Leaking(MODEL))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: task(replace(MODEL, generator_heads=0)),
            r"'replaced_token' needs model\.architecture 'encoder', model\.task_head 'replaced_token' and "
            r"model\.generator_heads .*, not 'encoder', 'replaced_token' and 0",
        ),
        (lambda: task(replace(MODEL, task_head="language_model")), "not 'encoder', 'language_model' and 2"),
        (lambda: MaskedLM(MODEL), "needs model.architecture 'encoder' and model.task_head 'language_model'"),
        (lambda: task(length=2).feed.training_rows(STREAM, 0), "data.length 2 leaves no token"),
        (lambda: task().feed.evaluation_rows(STREAM, stride=3), "task.kind 'replaced_token' has no windows to move"),
        (
            lambda: TaskConfig("replaced_token", discriminator_weight=0.0).validate(),
            r"task\.discriminator_weight is 0\.0; it must be positive",
        ),
        (lambda: replace(MODEL, generator_heads=-1).validate(), "model.generator_heads is -1; it must not be negative"),
        (lambda: replace(MODEL, generator_heads=5).validate(), "generator_heads 5 is more than model.num_heads 4"),
        (
            lambda: replace(MODEL, mlp_dim=30, generator_heads=1).validate(),
            "model.generator_heads 1 of 4 is no whole share of model.mlp_dim 30",
        ),
        (
            lambda: replace(MODEL, task_head="language_model").validate(),
            "a generator stands beside model.task_head 'replaced_token' only, not 'language_model'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.slow
def test_a_run_learns_goes_on_is_measured_and_exported(tmp_path):
    experiment = small_experiment(
        tmp_path,
        model=ELECTRA,
        task=TaskConfig("replaced_token", keep_rate=0.15, random_rate=0.0),
        tokenizer=TokenizerConfig("byte", special_tokens=SPECIAL),
        steps=30,
        data__length=32,
        evaluation__every=15,
        checkpoints__every=15,
    )
    whole = train(experiment, tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = (record for record in records if record["kind"] == "train")
    for name, guess in (("generator_loss", math.log(262)), ("discriminator_loss", math.log(2))):
        assert whole.validation.metrics[name] < 0.9 * guess
        assert last[name] < first[name]
    assert whole.validation.loss == pytest.approx(
        whole.validation.metrics["generator_loss"] + 50 * whole.validation.metrics["discriminator_loss"]
    )
    # As after a kill between two checkpoints: only the one of step 15 is left.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "30")
    assert train(experiment, tmp_path / "run").validation == whole.validation
    model = jaxlm.load(tmp_path / "run", "latest")
    assert model.evaluate(batch_size=7).loss == pytest.approx(whole.validation.loss, rel=1e-5)

    assert model.export(tmp_path / "directory") == "electra"
    again = jaxlm.load(tmp_path / "directory")
    assert (again.config.task_head, again.config.generator_heads) == ("replaced_token", 0)
    tokens = np.random.default_rng(0).integers(0, 256, (3, 20))
    np.testing.assert_allclose(again.apply(tokens).logits, model.apply(tokens).logits, rtol=1e-6, atol=1e-6)
    assert flat(again.params).keys() == flat(without_generator(model.params)).keys()
