"""The training loop: when it records, evaluates, samples, saves and gives up."""

import json
import math
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest

import jaxlm
from jaxlm.errors import NonFiniteLossError, UsageError
from jaxlm.evaluation.score import Score
from jaxlm.models.counts import ForwardPass, training_flops
from jaxlm.run_folder import RunFolder
from jaxlm.training import progress, validation
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import MetricsLog
from jaxlm.training.preemption import PreemptionWatch
from jaxlm.training.schedules import learning_rate_schedule

from ..slow_cases import slow_after
from ..small_runs import small_experiment


def records(folder, kind=None):
    return [record for record in MetricsLog(folder / "metrics.jsonl").read() if kind in (None, record["kind"])]


def test_a_run_folder_holds_all_that_later_verbs_need(trained_run):
    assert sorted(path.name for path in trained_run.iterdir()) == [
        "checkpoints",
        "experiment.json",
        "metrics.jsonl",
        "report.html",
        "tensorboard",
        "tokenizer",
    ]
    experiment = RunFolder(trained_run).read_experiment()
    assert experiment.model.vocab_size == jaxlm.load(trained_run).tokenizer.vocab_size
    assert experiment.model.max_length == experiment.data.length == 16


@pytest.mark.parametrize(("silence", "shown"), slow_after(1, [(0.0, list(range(1, 12))), (math.inf, [1, 3, 6, 9, 11])]))
def test_each_thing_happens_when_it_is_due_and_at_the_end(tmp_path, monkeypatch, capsys, silence, shown):
    """On the screen, the first step and slow ones come at once; what is recorded does not depend on the clock."""
    monkeypatch.setattr(progress, "LONGEST_SILENCE", silence)
    experiment = small_experiment(
        tmp_path,
        steps=11,
        log_every=3,
        sample_every=7,
        evaluation__every=4,
        checkpoints__every=5,
        checkpoints__keep_latest=9,
        checkpoints__best_by="perplexity",
    )
    result = train(experiment, tmp_path / "run")
    folder = tmp_path / "run"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(words[0]) for words in lines if len(words) > 1 and words[1].endswith("%")] == shown
    assert [record["step"] for record in records(folder, "train")] == [3, 6, 9, 11]
    assert [record["step"] for record in records(folder, "validation")] == [4, 8, 11]
    assert [record["step"] for record in records(folder, "sample")] == [7, 11]
    assert [info.step for info in Checkpoints(folder / "checkpoints").all()] == [5, 10, 11]
    assert (result.folder.path, result.step) == (folder, 11)
    assert result.validation.loss == records(folder, "validation")[-1]["loss"]
    # A checkpoint that was written at an evaluation knows its score, and which way that goes.
    scores = {info.step: info.score for info in Checkpoints(folder / "checkpoints").all()}
    assert scores == {5: None, 10: None, 11: Score("perplexity", result.validation.perplexity, False)}
    description = json.loads((folder / "experiment.json").read_text())
    assert description["chosen_by"] == {"score": "perplexity", "higher_is_better": False}


def test_best_by_what_does_not_exist_is_refused_before_anything_is_done(tmp_path):
    expected = (
        r"best_by is 'perplexty', which this task does not measure \(did you mean 'perplexity'\?\); it has loss, "
    )
    with pytest.raises(UsageError, match=expected):
        train(small_experiment(tmp_path, checkpoints__best_by="perplexty"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_record_says_what_was_trained_and_how_fast(trained_run):
    record = records(trained_run, "train")[3]
    assert record["step"] == 20
    assert record["tokens"] == 20 * 8 * 16
    optimizer = RunFolder(trained_run).read_experiment().optimizer
    # The update that made step 20 is number 19 from 0 on.
    assert record["learning_rate"] == pytest.approx(float(learning_rate_schedule(optimizer, 40)(19)), rel=1e-6)
    assert record["gradient_norm"] > 0
    assert record["tokens_per_second"] == pytest.approx(5 * 8 * 16 / record["seconds"])
    step = training_flops([ForwardPass(jaxlm.load(trained_run).config, rows=8, length=16)])
    assert record["tflops_per_second"] * 1e12 == pytest.approx(5 * step / record["seconds"])
    assert 0 <= record["input_wait"] < 1


def test_training_learns_the_text(trained_run):
    losses = [record["loss"] for record in records(trained_run, "validation")]
    assert losses[-1] < losses[0] < math.log(40)
    assert losses[-1] < 2.6


def test_a_sample_begins_with_its_prompt_and_ends_after_its_tokens(trained_run):
    (text,) = records(trained_run, "sample")[-1]["text"]
    assert text.startswith("The")
    assert len(text) == len("The") + 8


def test_a_second_call_has_nothing_left_to_do(trained_run, tmp_path):
    result = train(RunFolder(trained_run).read_experiment(), trained_run)
    assert (result.step, result.validation) == (40, None)


@pytest.mark.slow
def test_a_validation_loss_that_is_no_number_stops_before_it_is_saved(tmp_path, monkeypatch):
    experiment = small_experiment(tmp_path, steps=8, evaluation__every=2, checkpoints__every=2)
    measure = validation.measure
    measured = []

    def broken_at_the_third(*arguments):
        measured.append(measure(*arguments))
        return replace(measured[-1], loss=math.nan) if len(measured) == 3 else measured[-1]

    monkeypatch.setattr(validation, "measure", broken_at_the_third)
    with pytest.raises(NonFiniteLossError, match="validation loss is nan at step 6; the checkpoint of step 4 is kept"):
        train(experiment, tmp_path / "run")
    assert [info.step for info in Checkpoints(tmp_path / "run" / "checkpoints").all()] == [2, 4]
    assert [record["step"] for record in records(tmp_path / "run", "validation")] == [2, 4]


def test_a_loss_that_is_no_number_is_named_by_its_step_although_steps_are_looked_at_in_groups(tmp_path):
    experiment = small_experiment(
        tmp_path,
        steps=20,
        log_every=10,
        optimizer__learning_rate=1e30,
        optimizer__warmup_steps=0,
        optimizer__clip_norm=0.0,
        evaluation__every=100,
        checkpoints__every=100,
    )
    with pytest.raises(NonFiniteLossError, match="at step 2; no checkpoint was written before"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_impossible_experiment_leaves_no_folder(tmp_path):
    for changes in ({"steps": 0}, {"data__files": (str(tmp_path / "none.txt"),)}):
        with pytest.raises(UsageError):
            train(small_experiment(tmp_path, **changes), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_watch_notes_sigterm_while_it_is_entered_and_gives_the_handler_back():
    noted = []
    before = signal.signal(signal.SIGTERM, lambda *_: noted.append("outside"))
    try:
        with PreemptionWatch() as watch:
            assert not watch.stop_after(1)
            signal.raise_signal(signal.SIGTERM)
            assert watch.stop_after(2)
        signal.raise_signal(signal.SIGTERM)
        assert noted == ["outside"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_watch_in_another_thread_watches_nothing():
    answers = []

    def watch():
        with PreemptionWatch() as entered:
            answers.append(entered.stop_after(1))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert answers == [False]


@pytest.mark.slow
def test_the_batch_on_eight_devices_is_the_batch(trained_run, tmp_path):
    # All of them together: the loss that was logged is that of one device, by the other tests of meshes; here that the
    # text and the seed decide it, and not the folder.
    train(small_experiment(tmp_path, sample_every=20), tmp_path / "run")
    for ours, theirs in zip(records(tmp_path / "run", "train"), records(trained_run, "train"), strict=True):
        np.testing.assert_array_equal(ours["loss"], theirs["loss"])
