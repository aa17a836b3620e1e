"""`jaxlm train`: what a run folder accepts and refuses, and how a run ends."""

import json
import shutil

import pytest

from jaxlm.training.checkpoints import Checkpoints

from ..small_runs import small_experiment, write_experiment_file


@pytest.fixture
def run(trained_run, tmp_path):
    """A finished run of one's own."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    return folder


@pytest.fixture
def unfinished(run):
    """The same, cut back to step 30, and the words that go on with it."""
    shutil.rmtree(run / "checkpoints" / "40")
    return run


def damage(run, step):
    (file, *_) = sorted(
        (path for path in (run / "checkpoints" / str(step) / "state").rglob("*") if path.is_file()),
        key=lambda path: -path.stat().st_size,
    )
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def snapshot(folder):
    """All files but the report, which names the folder that it was written in."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "report.html"}


def test_a_finished_run_says_so_and_changes_nothing(jaxlm, run):
    before = snapshot(run)
    code, output, errors = jaxlm("train", "--dir", run)
    assert (code, errors) == (0, "")
    assert f"{run}: all 40 steps are done" in output
    assert output.splitlines()[-1] == f"run folder: {run}   report: {run / 'report.html'}"
    assert snapshot(run) == before


def test_another_experiment_is_refused_with_the_differences(refused, run):
    message = refused(
        "train", "--dir", run, "--steps", 50, "--model.dropout-rate", 0.2, "--checkpoints.every", 7, "--log-every", 5
    )
    assert message == (
        f"{run} holds another experiment (steps: 40 -> 50; model.dropout_rate: 0.1 -> 0.2): use another --dir, or "
        "these values"
    )


def test_more_steps_are_refused_where_the_learning_rates_would_have_been_others(refused, run):
    message = refused("train", "--dir", run, "--steps", 80)
    assert message == (
        f"{run} was begun for 40 steps, on which its learning rates up to step 40 depend (optimizer.schedule 'cosine' "
        f"and the warmup), so that it cannot have 80: begin another run from it by --start-from {run}, and runs that "
        "shall be made longer with optimizer.schedule constant or wsd and optimizer.warmup_steps"
    )
    assert refused("train", "--dir", run, "--steps", 30).startswith(f"{run} has made 40 steps already, and steps is 30")


def test_an_address_is_refused_wherever_a_path_is_named(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (
        ("train", "--dir", "gs://bucket/run"),
        ("train", "gs://bucket/experiment.py"),
        ("train", "--dir", "run", "--data.source", "text", "--data.files", "s3://bucket/text.txt"),
        ("evaluate", "s3://bucket/run"),
        ("average", "run", "--out", "gs://bucket/mean"),
        ("data", "tokenizer", "gs://bucket/words"),
        ("train", "--data.source", "prepared", "--data.prepared-dir", "gs://bucket/corpus", "--dir", "run"),
        ("data", "check", "--train", "s3://bucket/train.tsv", "--task", "classification"),
        ("predict", "run", "--file", "s3://bucket/texts.txt"),
        ("harness", "run", "--tasks", "piqa", "--output", "gs://bucket/found.json"),
        ("harness", "run", "--tasks", "piqa", "--include-path", "gs://bucket/tasks"),
        ("compare", "gs://bucket/a", "gs://bucket/b"),
    ):
        assert " is no path of this machine, and jaxlm reads and writes nothing else: " in refused(*words), words
    assert list(tmp_path.iterdir()) == []


def test_mesh_sampling_checkpoints_and_cache_may_change(jaxlm, run, tmp_path):
    code, output, _ = jaxlm(
        *("train", "--dir", run, "--mesh.data", 4, "--mesh.fsdp", 2, "--checkpoints.every", 3),
        *("--sample-every", 7, "--sample-prompt", "old", "--sampling.temperature", 0.1, "--log-every", 3),
        *("--checkpoints.keep-latest", 9, "--data.cache_dir", tmp_path / "other", "--data.reader-threads", 0),
    )
    assert code == 0
    assert "all 40 steps are done" in output
    assert (tmp_path / "other").is_dir()


@pytest.mark.slow
def test_a_corrupt_newest_checkpoint_is_named_with_the_last_good_one(refused, jaxlm, unfinished):
    damage(unfinished, 30)
    bad = unfinished / "checkpoints" / "30"
    message = refused("train", "--dir", unfinished, code=1)
    assert message.startswith(f"checkpoint {bad} is corrupt: state/")
    assert message.endswith(f"the last good checkpoint is step 20: delete {bad} to go on from it")
    # The way out that it names is one.
    shutil.rmtree(bad)
    code, output, _ = jaxlm("train", "--dir", unfinished)
    assert code == 0
    assert "resuming from step 20" in output
    assert "validation loss " in output.splitlines()[-2]


def test_checkpoints_without_an_experiment_are_refused_and_left_alone(refused, run, tmp_path):
    (run / "experiment.json").unlink()
    before = snapshot(run)
    file = write_experiment_file(small_experiment(tmp_path), tmp_path / "experiment.py")
    message = refused("train", file, "--dir", run)
    assert message == (
        f"{run} has checkpoints and no experiment.json, which says what they are: put it back, or name another --dir"
    )
    assert snapshot(run) == before


def test_an_edited_experiment_is_said_and_not_obeyed(refused, unfinished):
    description = unfinished / "experiment.json"
    values = json.loads(description.read_text())
    values["experiment"]["seed"] += 1
    description.write_text(json.dumps(values))
    newest = unfinished / "checkpoints" / "30"
    expected = (
        f"{description} is not what checkpoint {newest} was written under: one of them was changed, or comes from "
        "another run; put the right one back"
    )
    assert refused("train", "--dir", unfinished, code=1) == expected
    assert refused("evaluate", unfinished, "--step", 30, code=1) == expected


def test_metrics_with_missing_or_edited_records_are_said_and_not_obeyed(refused, unfinished):
    metrics = unfinished / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    for damaged in (
        [line for line in lines if '"step": 10,' not in line],
        [line.replace('"loss": 2', '"loss": 1') for line in lines],
    ):
        assert damaged != lines
        metrics.write_text("".join(damaged))
        message = refused("train", "--dir", unfinished, code=1)
        assert message.startswith(
            f"{metrics} is not what it was when step 30 was saved: records up to there are missing"
        )
        assert metrics.read_text() == "".join(damaged)


def test_a_batch_that_does_not_divide_is_refused(refused, tmp_path):
    file = write_experiment_file(small_experiment(tmp_path, batch_size=12), tmp_path / "experiment.py")
    message = refused("train", file, "--dir", tmp_path / "run")
    assert message == (
        "batch_size 12 does not divide into 1 microbatches over 8 devices (mesh data x fsdp): use a multiple of 8"
    )


@pytest.mark.slow
def test_exploded_parameters_stop_the_run_and_are_not_saved(refused, tmp_path):
    experiment = small_experiment(
        tmp_path,
        steps=30,
        log_every=1,
        optimizer__learning_rate=1e30,
        optimizer__warmup_steps=0,
        optimizer__schedule="wsd",
        optimizer__clip_norm=0.0,
        evaluation__every=100,
        checkpoints__keep_best=0,
        checkpoints__every=1,
        checkpoints__keep_latest=100,
    )
    file = write_experiment_file(experiment, tmp_path / "experiment.py")
    message = refused("train", file, "--dir", tmp_path / "run", code=1)
    # The loss of step 1 was that of the initial parameters, and finite; what it made of them is not.
    assert message.startswith("norm of the parameters is inf at step 1; no checkpoint was written before. A lower ")
    assert Checkpoints(tmp_path / "run" / "checkpoints").all() == []
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {record["step"] for record in records} == {1}
