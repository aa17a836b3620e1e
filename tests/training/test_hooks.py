"""What a caller adds to training: hooks, trackers, a loss of its own, and the profiler's steps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.cli.main import main
from jaxlm.errors import UsageError
from jaxlm.evaluation.score import Score
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.cross_entropy import token_losses
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.early_stopping import out_of_patience
from jaxlm.training.hooks import Hook
from jaxlm.training.metrics_log import MetricsLog, comparable

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

    hooks = [(1, stop), (100, lambda moment: after.append(moment.step))]
    found = jaxlm.train(experiment, tmp_path / "run", hooks=hooks)
    assert (found.step, after) == (3, [3])
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest_step() == 3


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
        ([(1, lambda moment: {"a": [1, 2]})], "metric 'a' must be a number, text"),
    ],
)
def test_what_is_no_hook_is_refused(tmp_path, hooks, message):
    with pytest.raises(UsageError, match=message):
        jaxlm.train(small_experiment(tmp_path, **SHORT), tmp_path / "run", hooks=hooks)


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


def test_a_run_does_not_go_on_with_another_objective(tmp_path):
    experiment = small_experiment(tmp_path, **SHORT)
    jaxlm.train(experiment, tmp_path / "run", objective=plain_loss)
    name = f"{__name__}.plain_loss"
    assert json.loads((tmp_path / "run" / "experiment.json").read_text())["objective"] == name
    with pytest.raises(
        UsageError, match=f"was begun with another objective .{name}, now that of task.kind 'causal_lm'"
    ):
        jaxlm.train(experiment, tmp_path / "run")
    assert jaxlm.train(experiment, tmp_path / "run", objective=plain_loss).step == 6


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda forward, batch: jnp.float32(1), "must return a mapping with 'loss' and 'weight'"),
        (
            lambda forward, batch: {"loss": jnp.float32(1)},
            "must return a mapping with 'loss' and 'weight', .* not .'loss'.",
        ),
        (
            lambda forward, batch: {"loss": jnp.ones(2), "weight": jnp.ones(2)},
            r"must return sums over the whole batch: loss has the shape \(2,\)",
        ),
    ],
)
def test_an_objective_that_gives_no_sums_is_refused(tmp_path, objective, message):
    with pytest.raises(UsageError, match=message):
        jaxlm.train(small_experiment(tmp_path, **SHORT), tmp_path / "run", objective=objective)


def test_each_call_of_forward_drops_something_else_and_only_in_training():
    from flax.linen import unbox

    from jaxlm.models.config import ModelConfig
    from jaxlm.models.model import init_params
    from jaxlm.tasks.own_loss import own_loss

    model = ModelConfig(num_layers=1, embed_dim=8, num_heads=2, vocab_size=11, max_length=4, dropout_rate=0.5)
    params = unbox(init_params(model, jax.random.key(0)))
    batch = {"tokens": jnp.ones((2, 4), jnp.int32)}

    def difference(forward, batch):
        first, second = forward(batch).logits, forward(batch).logits
        return {"loss": jnp.abs(first - second).sum(), "weight": jnp.float32(1)}

    loss = own_loss(difference, model)
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
    assert [path.name.split(".", 1)[1] for path in (tmp_path / "run" / "profile").rglob("*.xplane.pb")]
