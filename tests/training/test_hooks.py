"""What a caller adds to training: hooks, trackers, a loss of its own, and the profiler's steps."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import unbox

import jaxlm
from jaxlm.cli.main import main
from jaxlm.errors import UsageError
from jaxlm.evaluation.score import Score
from jaxlm.experiment import DEFAULT_MODEL
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_params
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.cross_entropy import token_losses
from jaxlm.tasks.own_loss import SEVERAL, is_same, own_loss
from jaxlm.tasks.prefix_lm import PrefixLM
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.early_stopping import out_of_patience
from jaxlm.training.hooks import Hook
from jaxlm.training.metrics_log import MetricsLog, comparable

from ..models.small_models import MAKES, random_params, random_tokens
from ..quick_compilation import quick_jit
from ..small_runs import small_experiment

SHORT = {"steps": 6, "log_every": 3, "sample_every": 0, "evaluation__every": 4, "checkpoints__every": 4}


def records(folder, *kinds):
    return [record for record in MetricsLog(folder / "metrics.jsonl").read() if record["kind"] in kinds]


class Everything:
    """A tracker that keeps what it is given."""

    def __init__(self):
        self.seen = []
        self.closed = 0

    def log(self, step, kind, values):
        assert not self.closed
        self.seen.append((step, kind, dict(values)))

    def close(self):
        self.closed += 1


def plain_loss(forward, batch):
    losses = token_losses(forward(batch).logits, batch["targets"])
    weights = batch["loss_weights"]
    return {"loss": jnp.sum(losses * weights), "weight": jnp.sum(weights)}


def test_hooks_are_called_when_due_with_the_run_as_it_is_then(tmp_path, capsys):
    seen, texts = [], []

    def every_second(moment):
        seen.append(("second", moment.step, moment.last))
        return {"norm": jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(moment.params)))}

    def every_fifth(moment):
        seen.append(("fifth", moment.step, moment.last))
        model = jaxlm.LanguageModel.at(moment)
        assert model.step == moment.step
        texts.append(model.generate("The", max_new_tokens=3, temperature=0.0))
        moment.record({"text": texts[-1], "number": 7})

    tracker = Everything()
    experiment = small_experiment(tmp_path, **SHORT)
    found = jaxlm.train(experiment, tmp_path / "run", hooks=[(2, every_second), (5, every_fifth)], trackers=[tracker])
    expected = [
        ("second", 2, False),
        ("second", 4, False),
        ("fifth", 5, False),
        ("second", 6, True),
        ("fifth", 6, True),
    ]
    assert seen == expected
    hooked = records(tmp_path / "run", "hook")
    assert [(record["step"], set(record) - {"step", "kind"}) for record in hooked] == [
        (2, {"norm"}),
        (4, {"norm"}),
        (5, {"text", "number"}),
        (6, {"norm"}),
        (6, {"text", "number"}),
    ]
    # The last one saw the very parameters that the run ends with.
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(found.model.params)))
    assert hooked[3]["norm"] == pytest.approx(float(norm), rel=1e-6)
    assert found.model.generate("The", max_new_tokens=3, temperature=0.0) == texts[-1]
    assert "step 2: norm " in capsys.readouterr().out
    # A tracker has all that metrics.jsonl has, in its order.
    assert [(step, kind) for step, kind, _ in tracker.seen] == [
        (record["step"], record["kind"]) for record in MetricsLog(tmp_path / "run" / "metrics.jsonl").read()
    ]
    assert tracker.closed == 1
    # At a step with all of them: what is measured of a step comes before its checkpoint.
    assert [kind for step, kind, _ in tracker.seen if step == 6] == ["train", "ledger", "validation", "hook", "hook"]
    assert {record["kind"] for record in found.history} == {"train", "validation", "hook"}
    assert len(found.plot("norm").axes[0].lines) == 1
    assert '"title":"Norm"' in found.report.read_text()


def test_a_hook_that_stops_a_run_has_it_saved(tmp_path):
    experiment = small_experiment(tmp_path, **SHORT)
    after = []

    def stop(moment):
        if moment.step == 3:
            moment.stop("that is enough")

    hooks = [
        (100, lambda moment: after.append(moment.step)),
        (1, stop),
        (100, lambda moment: after.append(moment.step)),
    ]
    found = jaxlm.train(experiment, tmp_path / "run", hooks=hooks)
    assert (found.step, after) == (3, [3, 3]), "those before it and those after it"
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest_step() == 3
    kinds = [record["kind"] for record in MetricsLog(tmp_path / "run" / "metrics.jsonl").read() if record["step"] == 3]
    assert sorted(kinds) == ["ledger", "train", "validation"], "as if it had been the last step"
    assert found.validation.loss == records(tmp_path / "run", "validation")[-1]["loss"]
    # Called without the hook it goes on, and counts on.
    jaxlm.train(experiment, tmp_path / "run")
    jaxlm.train(experiment, tmp_path / "whole")
    ends = [records(tmp_path / name, "ledger")[-1] for name in ("run", "whole")]
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_a_run_goes_on_with_the_same_records_of_hooks(tmp_path):
    experiment = small_experiment(tmp_path, **SHORT)

    def measure(moment):
        return {"sum": float(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(moment.params)))}

    class OutOfPowerError(Exception):
        pass

    def break_off(moment):
        if moment.step == 5:
            raise OutOfPowerError

    jaxlm.train(experiment, tmp_path / "whole", hooks=[(1, measure)])
    with pytest.raises(OutOfPowerError):
        jaxlm.train(experiment, tmp_path / "broken", hooks=[(1, measure), (1, break_off)])
    tracker = Everything()
    jaxlm.train(experiment, tmp_path / "broken", hooks=[(1, measure)], trackers=[tracker])
    whole, broken = (comparable(MetricsLog(tmp_path / name / "metrics.jsonl").read()) for name in ("whole", "broken"))
    assert whole == broken
    assert [step for step, kind, _ in tracker.seen if kind == "hook"] == [5, 6]  # those after the checkpoint


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ([print], "is no hook: give pairs"),
        ([(0, print)], "is no hook"),
        ([(2.5, print)], "is no hook"),
        ([(True, print)], "is no hook"),
        ([(2, "print")], "is no hook"),
        ([(1, lambda moment: 3)], "a hook returned 3: return a mapping"),
        ([(1, lambda moment: {"a": [1, 2]})], "a hook recorded .* metric 'a' must be a number, text"),
        ([(1, lambda moment: {"step": 1})], "a hook recorded what cannot be: a metric cannot be called 'step'"),
    ],
)
def test_what_is_no_hook_is_refused(tmp_path, hooks, message):
    with pytest.raises(UsageError, match=message):
        jaxlm.train(small_experiment(tmp_path, **SHORT), tmp_path / "run", hooks=hooks)


@pytest.mark.parametrize("tracker", [print, Everything, object()])
def test_what_is_no_tracker_is_refused_before_anything_is_done(tmp_path, tracker):
    with pytest.raises(UsageError, match=r"is no tracker: it needs log\(step, kind, values\) and close\(\)"):
        jaxlm.train(small_experiment(tmp_path, **SHORT), tmp_path / "run", trackers=[tracker])
    assert not (tmp_path / "run").exists()


def test_trackers_are_closed_also_where_nothing_is_trained(tmp_path, trained_run):
    trackers = Everything(), Everything()
    jaxlm.train(RunFolder(trained_run).read_experiment(), trained_run, trackers=trackers[:1])
    with pytest.raises(UsageError, match="steps is 0"):
        jaxlm.train(small_experiment(tmp_path, steps=0), tmp_path / "run", trackers=trackers[1:])
    assert [(tracker.closed, tracker.seen) for tracker in trackers] == [(1, []), (1, [])]


@pytest.mark.slow
def test_a_model_that_a_hook_saves_in_a_run_of_adapters_can_be_loaded(tmp_path, trained_run):
    def save(moment):
        jaxlm.LanguageModel.at(moment).save(tmp_path / "saved")

    base = small_experiment(tmp_path, **SHORT)
    adapted = {"start_from": str(trained_run), "model": DEFAULT_MODEL, "tokenizer": TokenizerConfig()}
    experiment = replace(base, **adapted, adapter=AdapterConfig("lora", rank=2))
    found = jaxlm.train(experiment, tmp_path / "run", hooks=[(100, save)])
    prompt = {"max_new_tokens": 6, "temperature": 0.0}
    assert jaxlm.load(tmp_path / "saved").generate("The", **prompt) == found.model.generate("The", **prompt)


def test_a_stop_that_nobody_planned_calls_only_what_saves():
    class Moment:
        step, last, stopping = 5, False, True

    assert not Hook(2, print).is_due(Moment())
    assert Hook(2, print, at_stop=True).is_due(Moment())
    assert not Hook(2, print, at_stop=True).is_planned(Moment())
    assert Hook((2, 5), print).is_planned(Moment())


@pytest.mark.parametrize(
    ("losses", "patience", "out"),
    [
        *(([3, 2, 1], 1, False), ([1, 2], 1, True), ([1, 1], 1, True), ([1, 2, 3], 2, True)),
        *(([2, 3, 1], 2, False), ([1], 1, False), ([1, 2, 3, 4], 0, False)),
    ],
)
def test_patience_ends_with_as_many_validations_without_a_better_one(losses, patience, out):
    assert out_of_patience([Score("loss", loss, False) for loss in losses], patience) is out
    assert out_of_patience([Score("accuracy", -loss, True) for loss in losses], patience) is out


def test_a_loss_of_ones_own_that_is_the_tasks_trains_the_same(tmp_path):
    experiment = small_experiment(tmp_path, batch_size=16, accumulation=2, **SHORT)
    jaxlm.train(experiment, tmp_path / "task")
    jaxlm.train(experiment, tmp_path / "own", objective=plain_loss)
    for kind in ("train", "validation"):
        losses = [[record["loss"] for record in records(tmp_path / run, kind)] for run in ("task", "own")]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.slow
def test_a_loss_of_ones_own_is_what_is_minimised_and_its_other_means_are_logged(tmp_path):
    def uniform(forward, batch):
        """Every token as likely as any other."""
        log_probabilities = jax.nn.log_softmax(forward(batch).logits)
        own = plain_loss(forward, batch)
        entropy = -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, -1)
        weights = batch["loss_weights"]
        loss = jnp.sum(-log_probabilities.mean(-1) * weights)
        return {
            "loss": loss,
            "weight": own["weight"],
            "entropy": jnp.sum(entropy * weights),
            "entropy_weight": own["weight"],
        }

    experiment = small_experiment(tmp_path, steps=20, log_every=20, sample_every=0)
    jaxlm.train(experiment, tmp_path / "run", objective=uniform)
    (last,) = records(tmp_path / "run", "train")
    size = RunFolder(tmp_path / "run").read_experiment().model.vocab_size
    assert last["entropy"] == pytest.approx(np.log(size), abs=0.02)
    # Validation is the task's: the text is no likelier than by chance.
    assert records(tmp_path / "run", "validation")[-1]["loss"] == pytest.approx(np.log(size), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["experts", "prefix"])
def test_a_loss_of_ones_own_balances_experts_and_sees_prefixes_as_the_task_does(tmp_path, kind):
    changes = {
        "experts": {
            **{"model__num_experts": 3, "model__router_loss_weight": 0.5, "model__feed_forward": "swiglu"},
            **{"model__mlp_bias": False, "model__num_layers": 2},
        },
        "prefix": {
            **{"model__prefix": "bidirectional", "task__kind": "prefix_lm", "data__batching": "blocks"},
            **{"model__num_layers": 2, "model__init_std": 0.3, "self_checks": False},
        },
    }[kind]
    experiment = small_experiment(tmp_path, **SHORT, **changes)
    experiment = replace(experiment, model=replace(experiment.model, dropout_rate=0.0))
    jaxlm.train(experiment, tmp_path / "task")
    jaxlm.train(experiment, tmp_path / "own", objective=plain_loss)
    losses = [[record["loss"] for record in records(tmp_path / run, "train")] for run in ("task", "own")]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_run_does_not_go_on_with_another_objective(tmp_path):
    experiment = small_experiment(tmp_path, **SHORT)
    jaxlm.train(experiment, tmp_path / "run", objective=plain_loss)
    name = f"{__name__}.plain_loss"
    assert json.loads((tmp_path / "run" / "experiment.json").read_text())["objective"] == name
    with pytest.raises(
        UsageError, match=f"was begun with another objective .{name}, now that of task.kind 'causal_lm'"
    ):
        jaxlm.train(experiment, tmp_path / "run")
    assert jaxlm.train(experiment, tmp_path / "run", objective=partial(plain_loss)).step == 6
    assert is_same("__main__.f".removeprefix("__main__."), "train.f"), "run as a program, and imported"
    assert not is_same("train.f", "train.g")
    assert not is_same(None, "train.g")


def no_mapping(forward, batch):
    return jnp.float32(1)


def no_weight(forward, batch):
    return {"loss": jnp.float32(1)}


def of_rows(forward, batch):
    return {"loss": jnp.ones(2), "weight": jnp.ones(2)}


def lone(forward, batch):
    return plain_loss(forward, batch) | {"other": jnp.float32(1)}


def reserved(forward, batch):
    return plain_loss(forward, batch) | {"gradient_norm": jnp.float32(1), "gradient_norm_weight": jnp.float32(1)}


def of_labels(forward, batch):
    return {"loss": batch["label"].sum(), "weight": jnp.float32(1)}


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (no_mapping, "must return a mapping with 'loss' and 'weight'"),
        (no_weight, "must return a mapping with 'loss' and 'weight', .* not .'loss'."),
        (of_rows, r"must return sums over the whole batch: loss has the shape \(2,\)"),
        (lone, "returns 'other' without 'other_weight'"),
        (reserved, "returns 'gradient_norm', which the step logs itself"),
        (of_labels, "asks for 'label', which is not there; a batch has .*targets"),
        (lambda forward, batch: {}, "give a function with a name"),
        ("focal", "give a function with a name"),
    ],
    ids=["no mapping", "no weight", "of rows", "lone", "reserved", "of labels", "without a name", "text"],
)
def test_an_objective_that_gives_no_sums_is_refused_and_leaves_no_folder(tmp_path, objective, message):
    with pytest.raises(UsageError, match=message):
        jaxlm.train(small_experiment(tmp_path, **SHORT), tmp_path / "run", objective=objective)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", SEVERAL)
def test_a_task_of_several_passes_takes_no_objective(kind):
    with pytest.raises(UsageError, match=f"task.kind '{kind}' has a loss that a function of one forward pass cannot"):
        own_loss(plain_loss, kind, ModelConfig())


@pytest.mark.parametrize("make", ["mixtral", "prefix"])
def test_the_tasks_loss_written_as_ones_own_is_the_tasks(make):
    if make == "mixtral":
        model = replace(MAKES["mixtral"], router_loss_weight=0.5)
        task = CausalLM(model, segmented=True)
    else:
        model = replace(MAKES["gpt2"], prefix="bidirectional")
        task = PrefixLM(model, segmented=True)
    tokens = random_tokens(model, (2, 6))
    batch = {
        "tokens": tokens,
        "targets": (tokens + 1) % model.vocab_size,
        "positions": np.broadcast_to(np.arange(6, dtype=np.int32), tokens.shape),
        "segment_ids": np.ones((2, 6), np.int32),
        "loss_weights": np.asarray([[0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]], np.float32),
        "prefix": np.asarray([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]], np.int32),
    }
    params = random_params(model)
    expected = quick_jit(task.loss)(params, batch)
    found = quick_jit(own_loss(plain_loss, "causal_lm", model))(params, batch)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)
    assert float(found["weight"]) == float(expected["weight"])


def test_each_call_of_forward_drops_something_else_and_only_in_training():

    model = ModelConfig(num_layers=1, embed_dim=8, num_heads=2, vocab_size=11, max_length=4, dropout_rate=0.5)
    params = unbox(init_params(model, jax.random.key(0)))
    batch = {"tokens": jnp.ones((2, 4), jnp.int32)}

    def difference(forward, batch):
        first, second = forward(batch).logits, forward(batch).logits
        return {"loss": jnp.abs(first - second).sum(), "weight": jnp.float32(1)}

    loss = own_loss(difference, "causal_lm", model)
    assert float(loss(params, batch, jax.random.key(1))["loss"]) > 0.01
    assert float(loss(params, batch, None)["loss"]) == 0


@pytest.mark.slow
def test_the_profiler_records_the_steps_that_were_asked_for(tmp_path, capsys):
    text = small_experiment(tmp_path).data.files[0]
    words = ["--steps", "12", "--profile-steps", "3", "--model.num-layers", "1", "--model.embed-dim", "16"]
    assert (
        main(["train", text, "--dir", str(tmp_path / "run"), *words, "--data.length", "16", "--batch-size", "8"]) == 0
    )
    assert f"step 8: profile of 3 steps: {tmp_path / 'run' / 'profile'}" in capsys.readouterr().out
    short = ["--steps", "4", "--profile-steps", "3", *words[4:]]
    assert (
        main(["train", text, "--dir", str(tmp_path / "short"), *short, "--data.length", "16", "--batch-size", "8"]) == 0
    )
    assert "step 4: profile of 3 steps" in capsys.readouterr().out, "of a short run those that there are"
    assert [path.name.split(".", 1)[1] for path in (tmp_path / "run" / "profile").rglob("*.xplane.pb")]
