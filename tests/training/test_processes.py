"""Several processes train one model as one does, and stop together."""

import json
import signal
import socket

import numpy as np
import pytest

from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.metrics_log import MetricsLog

from ..small_runs import Process, small_experiment, write_experiment_file


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_two(*words):
    address = f"127.0.0.1:{free_port()}"
    return [
        Process(
            *words,
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(index),
            TF_CPP_MIN_LOG_LEVEL="2",
        )
        for index in range(2)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_and_sigterm_stops_both_after_the_same_step(tmp_path):
    experiment = small_experiment(
        tmp_path, steps=200, log_every=1, evaluation__every=50, checkpoints__every=1000, mesh__fsdp=-1, mesh__data=1
    )
    file = write_experiment_file(experiment, tmp_path / "experiment.py")
    folder = tmp_path / "two"

    both = start_two("train", file, "--dir", folder)
    both[0].wait_for_lines(10)
    for process in both:
        process.signal(signal.SIGTERM)
    assert [process.end() for process in both] == [75, 75], both[0].errors + both[1].errors
    step = Checkpoints(folder / "checkpoints").latest_step()
    assert 10 <= step < 200
    for process in both:
        assert f"stopped on SIGTERM after step {step}, which is saved" in process.errors
    # One process speaks for all; the library that connects them has a line of its own.
    assert [line for line in both[1].output.splitlines() if not line.startswith("[Gloo]")] == []

    both = start_two("train", file, "--dir", folder)
    one = Process("train", file, "--dir", tmp_path / "one")
    assert [process.end() for process in both] == [0, 0], both[0].errors + both[1].errors
    assert one.end() == 0, one.errors
    assert f"resuming from step {step}" in both[0].output

    two_records, one_records = (
        [record for record in MetricsLog(path / "metrics.jsonl").read() if record["kind"] in ("train", "validation")]
        for path in (folder, tmp_path / "one")
    )
    assert [(record["kind"], record["step"]) for record in two_records] == [
        (record["kind"], record["step"]) for record in one_records
    ]
    np.testing.assert_allclose(
        [record["loss"] for record in two_records[:60]], [record["loss"] for record in one_records[:60]], atol=1e-5
    )

    two_ledger, one_ledger = (
        [record for record in MetricsLog(path / "metrics.jsonl").read() if record["kind"] == "ledger"]
        for path in (folder, tmp_path / "one")
    )
    assert two_ledger == one_ledger
    assert two_ledger[-1]["rows"] == 200 * 8

    evaluation = Process("evaluate", folder, "--json")
    assert evaluation.end() == 0, evaluation.errors
    validation = [record for record in two_records if record["kind"] == "validation"]
    assert json.loads(evaluation.output)["loss"] == pytest.approx(validation[-1]["loss"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_fine_tune_as_one_from_a_run(tmp_path):
    experiment = small_experiment(tmp_path, steps=2, model__dropout_rate=0.0, self_checks=False)
    assert (
        Process("train", write_experiment_file(experiment, tmp_path / "e.py"), "--dir", tmp_path / "begun").end() == 0
    )
    for name, count in (("train", 32), ("dev", 8)):
        rows = (
            f"{index % 7} boats on a {color} lake\t{color}\n" for index in range(count) for color in ("blue", "dark")
        )
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows))
    words = ["finetune", tmp_path / "begun", "--task", "classification", "--epochs", "1", "--batch-size", "8"]
    words += ["--train", tmp_path / "train.tsv", "--validation", tmp_path / "dev.tsv", "--dropout", "0"]
    words += ["--max-length", "16"]

    both = start_two(*words, "--dir", tmp_path / "two", "--mesh.data", "-1")
    assert [process.end() for process in both] == [0, 0], both[0].errors + both[1].errors
    assert [line for line in both[1].output.splitlines() if not line.startswith("[Gloo]")] == []
    assert "validation, 16 examples: accuracy" in both[0].output
    one = Process(*words, "--dir", tmp_path / "one")
    assert one.end() == 0, one.errors
    found, expected = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("two", "one"))
    assert found["step"] == expected["step"]
    assert found["validation"]["loss"] == pytest.approx(expected["validation"]["loss"], abs=1e-4)
    assert (tmp_path / "two" / "predictions_validation.jsonl").is_file()


def test_half_a_coordinator_is_refused(tmp_path):
    process = Process(
        "train",
        "--dir",
        tmp_path / "run",
        JAX_COORDINATOR_ADDRESS="127.0.0.1:1",
        JAX_NUM_PROCESSES="two",
        JAX_PROCESS_ID="0",
    )
    assert process.end() == 2
    assert process.errors.startswith("jaxlm: error: JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES")
    assert process.errors.count("\n") == 1
