"""Resume is exact: a run that was killed at any instant ends with the bits of one that never was."""

import errno
import random
import re
import shutil
import signal
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.interrupts import EXIT_INTERRUPTED
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import make_mesh
from jaxlm.run_folder import RunFolder
from jaxlm.training.checkpoints import MANIFEST, Checkpoints
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog, comparable
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.preemption import EXIT_PREEMPTED
from jaxlm.training.schedules import learning_rate_schedule
from jaxlm.training.state import state_shardings

from ..small_runs import PATIENCE, Process, small_experiment, write_experiment_file

STEPS = 60


@pytest.fixture(scope="module")
def experiment_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    experiment = small_experiment(folder, steps=STEPS, log_every=1, checkpoints__every=5, checkpoints__keep_latest=1)
    return write_experiment_file(experiment, folder / "experiment.py")


@pytest.fixture(scope="module")
def undisturbed(experiment_file, tmp_path_factory):
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    process = Process("train", experiment_file, "--dir", folder)
    assert process.end() == 0, process.errors
    return folder


@pytest.fixture(scope="module")
def stopped(experiment_file, tmp_path_factory):
    """A run that was asked to stop in the middle, and its process."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    process = Process("train", experiment_file, "--dir", folder)
    process.wait_for_lines(7)
    process.signal(signal.SIGTERM)
    process.end()
    return folder, process


def final_state(folder):
    """All that the last checkpoint holds, and its step."""
    experiment: Experiment = RunFolder(folder).read_experiment()
    transform = make_optimizer(experiment.optimizer, learning_rate_schedule(experiment.optimizer, experiment.steps))
    abstract, shardings, _ = state_shardings(experiment.model, transform, make_mesh(MeshConfig(), jax.devices()[:1]))
    checkpoints = Checkpoints(folder / "checkpoints")
    step = checkpoints.latest_step()
    return jax.device_get(checkpoints.load_state(abstract, shardings, step)), step


def records(folder):
    return MetricsLog(folder / METRICS_FILE).read()


def assert_same_run(left, right):
    """Every bit of parameters, optimizer state and metrics, and which checkpoints are there."""
    (left_state, left_step), (right_state, right_step) = final_state(left), final_state(right)
    assert left_step == right_step
    assert len(jax.tree.leaves(left_state)) > 20
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.view("uint32"), b.view("uint32")), left_state, right_state
    )
    assert comparable(records(left)) == comparable(records(right))
    ledger = [record for record in records(left) if record["kind"] == "ledger"][-1]
    assert (ledger["step"], ledger["rows"]) == (left_step, left_step * 8)
    assert Checkpoints(left / "checkpoints").all() == Checkpoints(right / "checkpoints").all()


def incomplete_checkpoint(folder):
    """A STEP folder without manifest, or None."""
    folders = (folder / "checkpoints").glob("[0-9]*")
    return next((step for step in folders if not (step / MANIFEST).exists()), None)


def kill(process):
    process.signal(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL, "it ended before it was killed"


def kill_inside_a_save(start, folder, attempts=5):
    """Starts the run until a kill falls between the beginning and the end of a checkpoint that is not its first."""
    for _ in range(attempts):
        process = start()
        process.wait_for_lines(1)  # what an earlier kill left is not this process's save
        deadline = time.monotonic() + PATIENCE
        caught = None
        while process.running() and not caught and time.monotonic() < deadline:
            time.sleep(0.001)
            if any((folder / "checkpoints").glob(f"*/{MANIFEST}")):
                caught = incomplete_checkpoint(folder)
        process.signal(signal.SIGKILL)
        process.end()
        if caught and caught.is_dir() and not (caught / MANIFEST).exists():
            return caught
    raise AssertionError(f"no kill in {attempts} fell inside a save")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(undisturbed, experiment_file, tmp_path):
    folder = tmp_path / "run"
    checkpoints = Checkpoints(folder / "checkpoints")
    moments = random.Random(2024)

    def start():
        return Process("train", experiment_file, "--dir", folder)

    process = start()
    process.wait_for_lines(moments.randint(1, 4))  # before the first checkpoint is due
    kill(process)

    caught = kill_inside_a_save(start, folder)
    assert checkpoints.latest_step() is not None
    assert checkpoints.latest_step() != int(caught.name)

    process = start()
    process.wait_for_lines(moments.randint(2, 12))
    kill(process)

    process = start()
    assert process.end() == 0, process.errors
    assert "resuming from step" in process.output
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_sigterm_saves_says_so_and_the_run_goes_on_with_the_same_bits(stopped, undisturbed, tmp_path):
    original, process = stopped
    assert process.end() == EXIT_PREEMPTED == 75
    step = Checkpoints(original / "checkpoints").latest_step()
    assert process.errors == (
        f"jaxlm: stopped on SIGTERM after step {step:,}, which is saved: the same command goes on from it\n"
    )
    assert 7 <= step < STEPS
    assert incomplete_checkpoint(original) is None
    folder = tmp_path / "run"
    shutil.copytree(original, folder)
    # The experiment is known from the folder.
    process = Process("train", "--dir", folder)
    assert process.end() == 0, process.errors
    assert f"resuming from step {step}" in process.output
    assert_same_run(folder, undisturbed)


def test_a_run_goes_on_over_other_devices_with_equal_losses(stopped, undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped[0], folder)
    experiment = RunFolder(folder).read_experiment()
    result = train(Experiment.from_dict({**experiment.to_dict(), "mesh": {"data": 2, "fsdp": 4}}), folder)
    assert result.step == STEPS
    alone = [record for record in records(undisturbed) if record["kind"] in ("train", "validation")]
    spread = [record for record in records(folder) if record["kind"] in ("train", "validation")]
    assert [(record["step"], record["kind"]) for record in spread] == [
        (record["step"], record["kind"]) for record in alone
    ]
    np.testing.assert_allclose(
        [record["loss"] for record in spread], [record["loss"] for record in alone], atol=1e-5, rtol=0
    )


@pytest.mark.slow
def test_ctrl_c_at_any_moment_ends_with_130_and_loses_nothing(experiment_file, undisturbed, tmp_path):
    folder = tmp_path / "run"
    moments = random.Random(7)
    for attempt in range(20):
        process = Process("train", experiment_file, "--dir", folder)
        if attempt % 2:
            process.wait_for_lines(moments.randint(1, 3))
        else:
            process.wait_until_it_listens()
            time.sleep(moments.uniform(0, 8))
        process.signal(signal.SIGINT)
        code = process.end()
        if code == 0:
            break  # it was done before
        assert code == EXIT_INTERRUPTED == 130
        assert re.fullmatch(r"jaxlm: interrupted( after step \d+, which is saved: the same .*)?\n", process.errors)
    process = Process("train", experiment_file, "--dir", folder)
    assert process.end() == 0, process.errors
    assert_same_run(folder, undisturbed)


@pytest.mark.slow
def test_of_two_processes_in_one_folder_one_works_and_one_says_so(tmp_path):
    experiment = small_experiment(tmp_path, steps=2, evaluation__every=2, checkpoints__every=2)
    file = write_experiment_file(experiment, tmp_path / "experiment.py")
    refusals = 0
    for attempt in range(20):
        folder = tmp_path / f"run-{attempt}"
        both = [Process("train", file, "--dir", folder) for _ in range(2)]
        codes = [process.end() for process in both]
        assert sorted(codes) in ([0, 2], [0, 0]), both[0].errors + both[1].errors
        refused = [process for process, code in zip(both, codes, strict=True) if code]
        refusals += len(refused)
        for process in refused:
            assert re.fullmatch(rf"jaxlm: error: {folder} is in use by process \d+ on .*\n", process.errors)
        assert Checkpoints(folder / "checkpoints").steps() == [2]
    assert refusals, "they never met"


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_a_run_that_is_made_longer_ends_with_the_bits_of_one_that_was_planned_so(tmp_path, schedule):
    experiment = small_experiment(tmp_path, steps=30, optimizer__schedule=schedule, optimizer__decay_fraction=0.5)
    train(replace(experiment, steps=20), tmp_path / "longer")
    if schedule == "wsd":  # which has decayed from step 10 on
        with pytest.raises(UsageError, match=r"its learning rates up to step 20 depend"):
            train(experiment, tmp_path / "longer")
        shutil.rmtree(tmp_path / "longer" / "checkpoints" / "20")
    train(experiment, tmp_path / "longer")
    train(experiment, tmp_path / "planned")
    (longer, _), (planned, _) = final_state(tmp_path / "longer"), final_state(tmp_path / "planned")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.view("uint32"), b.view("uint32")), longer, planned)
    assert RunFolder(tmp_path / "longer").read_experiment() == RunFolder(tmp_path / "planned").read_experiment()


@pytest.mark.slow
def test_packed_documents_resume_exactly_too_and_from_the_checkpoint_before_an_unsealed_one(tmp_path):
    experiment = small_experiment(
        tmp_path,
        steps=24,
        log_every=2,
        accumulation=2,
        tokenizer__kind="byte",
        data__batching="packed",
        data__document="paragraph",
        data__split="document",
        data__packing_window=16,
        checkpoints__every=4,
    )
    file = write_experiment_file(experiment, tmp_path / "experiment.py")
    # Both at a time, to use both cores.
    whole = Process("train", file, "--dir", tmp_path / "whole")
    broken = Process("train", file, "--dir", tmp_path / "broken")
    broken.wait_for_lines(6 + random.Random(5).randint(0, 2))
    kill(broken)
    # As after a kill between the last array on the disk and the manifest.
    checkpoints = Checkpoints(tmp_path / "broken" / "checkpoints")
    unsealed, before = checkpoints.latest_step(), checkpoints.all()[-2].step
    (checkpoints.folder / str(unsealed) / MANIFEST).unlink()
    assert whole.end() == 0, whole.errors
    broken = Process("train", file, "--dir", tmp_path / "broken")
    assert broken.end() == 0, broken.errors
    assert f"resuming from step {before}" in broken.output
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
def test_a_full_disk_is_one_error_with_the_folder_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    experiment = small_experiment(tmp_path, steps=4, log_every=1, evaluation__every=2, checkpoints__every=2)
    append = MetricsLog.append

    def full_at_three(self, step, values, kind="train"):
        if step == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, step, values, kind)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", full_at_three)
        with pytest.raises(OSError, match=r"No space left on device: '.*run'$"):
            train(experiment, tmp_path / "run")
    Checkpoints(tmp_path / "run" / "checkpoints").verify(2)
    assert train(experiment, tmp_path / "run").step == 4
