"""The ledger counts what batches hold, whatever the mesh, and goes on after a kill as if there had been none."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm.data.rows import batch_at
from jaxlm.errors import UsageError
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import batch_sharding, make_mesh, replicated
from jaxlm.run_folder import RunFolder
from jaxlm.training.inputs import prepare_inputs
from jaxlm.training.ledger import COUNTS, Ledger
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import MetricsLog, comparable
from jaxlm.training.preemption import Preempted, PreemptionWatch
from jaxlm.training.state import TrainState
from jaxlm.training.step import batch_counts, make_train_step

from ..small_runs import small_experiment


def a_batch(rows=8, length=6, towers=1):
    random = np.random.default_rng(3)
    batch = {
        "segment_ids": random.integers(0, 3, (rows, length)).astype(np.int32),
        "loss_weights": random.integers(0, 2, (rows, length - 2)).astype(np.float32) / 2,
        "source": random.integers(0, 3, rows).astype(np.int32),
    }
    if towers == 2:
        batch["encoder_segment_ids"] = random.integers(0, 2, (rows, length + 3)).astype(np.int32)
    for name in batch:
        if name != "source":
            batch[name][5] = 0  # a row of padding
    return batch


def naive(batch, num_sources):
    found = {name: [0] * num_sources for name in COUNTS}
    for row, source in enumerate(batch.get("source", np.zeros(len(batch["segment_ids"]), int))):
        ids = np.concatenate([batch[name][row] for name in batch if name.endswith("segment_ids")])
        found["rows"][source] += bool((ids > 0).any())
        found["tokens"][source] += int((ids > 0).sum())
        found["predicted"][source] += int((batch["loss_weights"][row] > 0).sum())
        found["padding"][source] += int((ids == 0).sum())
    return found


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("num_sources", [1, 3])
@pytest.mark.parametrize("mesh", [MeshConfig(), MeshConfig(data=2, fsdp=4)], ids=["one", "eight"])
def test_a_batch_is_counted_as_row_by_row_on_any_mesh(towers, num_sources, mesh):
    batch = a_batch(towers=towers)
    if num_sources == 1:
        del batch["source"]
    devices = make_mesh(mesh, jax.devices()[: 8 if mesh.fsdp == 4 else 1])
    found = jax.jit(
        lambda batch: batch_counts(batch, num_sources),
        in_shardings=(batch_sharding(devices),),
        out_shardings=replicated(devices),
    )(batch)
    assert {name: values.tolist() for name, values in found.items()} == naive(batch, num_sources)
    assert {values.dtype.name for values in found.values()} == {"int32"}


def test_a_step_counts_its_whole_batch_also_in_parts():
    def loss(params, batch, key):
        return {"loss": params["a"] * batch["loss_weights"].sum(), "weight": batch["loss_weights"].sum()}

    params = {"a": jnp.float32(2.0)}
    optimizer = optax.sgd(0.1)
    state = TrainState(jnp.int32(4), params, optimizer.init(params))
    for accumulation in (1, 2):
        step = make_train_step(loss, optimizer, 0, accumulation, num_sources=3)
        new, metrics = step(state, {name: jnp.asarray(own) for name, own in a_batch().items()})
        assert (int(new.step), float(metrics["loss"])) == (5, 2.0)
        assert {name: values.tolist() for name, values in metrics["ledger"].items()} == naive(a_batch(), 3)
    assert "ledger" not in make_train_step(loss, optimizer, 0)(state, a_batch())[1]


@pytest.mark.parametrize(("num_sources", "since"), [(1, 0), (3, 0), (3, 70)])
def test_a_ledger_is_read_back_as_it_was_written(tmp_path, num_sources, since):
    ledger = Ledger.empty(num_sources, since)
    for _ in range(3):
        ledger = ledger.plus({name: np.full(num_sources, 2**31 - 1) + np.arange(num_sources) for name in COUNTS})
    assert ledger.tokens[0] == 3 * (2**31 - 1)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.log(4, "ledger", Ledger.empty(num_sources).record([7] * num_sources))
    log.log(5, "ledger", ledger.record([7] * num_sources))
    assert Ledger.read(log.read(), 5, num_sources) == ledger
    # No record, as of a run that older code began: counting begins there, and that is said.
    assert Ledger.read(log.read(), 6, num_sources) == Ledger.empty(num_sources, since=6)
    log.close()


def test_a_summary_names_all_that_was_read():
    one = Ledger((24_000,), (1_536_000,), (1_536_000,), (0,))
    assert one.summary(["text"], [15_684]) == (
        "data: 24,000 rows, 1,536,000 tokens read, 1,536,000 predicted, 0 padding (fill 100 %), 1.53 epochs"
    )
    two = Ledger((30, 10), (300, 50), (30, 5), (0, 50), since=5)
    assert two.summary(["web", "books"], [60, 5]).splitlines() == [
        "data: 40 rows, 350 tokens read, 35 predicted, 50 padding (fill 87.5 %), counted since step 5",
        "  web: 30 rows, 300 tokens read, 30 predicted, 0.50 epochs",
        "  books: 10 rows, 50 tokens read, 5 predicted, 2.00 epochs",
    ]
    assert two.record([60, 5]) == {
        **{"rows": 40, "tokens": 350, "predicted": 35, "padding": 50, "since": 5},
        **{"rows_0": 30, "tokens_0": 300, "predicted_0": 30, "padding_0": 0, "epochs_0": 0.5},
        **{"rows_1": 10, "tokens_1": 50, "predicted_1": 5, "padding_1": 50, "epochs_1": 2.0},
    }


PACKED = {
    **{"steps": 12, "log_every": 3, "tokenizer__kind": "byte", "data__batching": "packed"},
    **{"data__document": "paragraph", "data__split": "document", "data__length": 40, "data__packing_window": 16},
    **{"evaluation__every": 6, "checkpoints__every": 4},
}


def records(folder, *kinds):
    return [record for record in MetricsLog(folder / "metrics.jsonl").read() if record["kind"] in kinds]


@pytest.fixture(scope="module")
def packed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    train(small_experiment(folder, **PACKED), folder / "run")
    return folder / "run"


def test_the_ledger_of_a_run_is_the_sum_of_its_batches(packed_run):
    run = RunFolder(packed_run)
    inputs = prepare_inputs(run.read_experiment(), run)
    (rows,) = inputs.training_rows().parts
    totals = dict.fromkeys(COUNTS, 0)
    sums = []
    for step in range(12):
        found = naive(batch_at(rows, step, 8), 1)
        totals = {name: totals[name] + found[name][0] for name in COUNTS}
        sums.append(totals | {"epochs": totals["rows"] / len(rows)})
    assert totals["padding"] > 0
    # At each evaluation and each checkpoint.
    ledgers = records(packed_run, "ledger")
    assert [record["step"] for record in ledgers] == [4, 6, 8, 12]
    for record in ledgers:
        assert {name: record[name] for name in record if name not in ("step", "kind")} == sums[record["step"] - 1]
    for record in records(packed_run, "train"):
        assert record["tokens"] == sums[record["step"] - 1]["tokens"]


class StopAfter(PreemptionWatch):
    """Asks for a stop after some steps."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def stop_after(self, step):
        return step == self.step


@pytest.mark.slow
def test_a_run_that_was_stopped_where_nothing_was_due_ends_with_the_same_ledger(packed_run, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    experiment = RunFolder(packed_run).read_experiment()
    monkeypatch.setattr("jaxlm.training.loop.PreemptionWatch", lambda: StopAfter(5))
    with pytest.raises(Preempted):
        train(experiment, folder)
    stopped = [record for record in records(folder, "event") if record["name"] == "stopped"]
    assert [record["step"] for record in stopped] == [5]
    assert [record["step"] for record in records(folder, "ledger")] == [4]
    monkeypatch.undo()
    train(experiment, folder)
    assert comparable(records(folder, "ledger", "train", "validation")) == comparable(
        records(packed_run, "ledger", "train", "validation")
    )


def test_a_run_folder_says_what_its_text_was_and_what_rows_make_of_it(packed_run):
    corpus = json.loads((packed_run / "experiment.json").read_text())["corpus"]
    (train_account,), (validation,) = corpus["train"], corpus["validation"]
    assert corpus["fingerprint"] == RunFolder(packed_run).corpus_fingerprint()
    assert train_account["documents"] + validation["documents"] == 240
    assert train_account["source"] == validation["source"] == "text"
    # Every sentence is longer than a row.
    assert train_account["cut"] == train_account["documents"]
    assert train_account["skipped"] == train_account["left_out"] == {}
    assert 0.5 < train_account["fill_rate"] < 1
    assert math.isclose(
        records(packed_run, "ledger")[-1]["tokens"] / 12 / 8 / 40, train_account["fill_rate"], rel_tol=0.1
    )


def test_a_run_does_not_go_on_with_other_text(packed_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(packed_run, folder)
    text = packed_run.parent / "text.txt"
    before = text.read_text()
    text.write_text(before + "\n\nOnce more")
    try:
        with pytest.raises(UsageError, match=r"the text of .*run is not what it was when the run began \(its fing"):
            train(RunFolder(folder).read_experiment(), folder)
    finally:
        text.write_text(before)
