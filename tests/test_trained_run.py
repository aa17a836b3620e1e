"""What training gives a notebook: figures, curves and the model."""

import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.evaluation.perplexity import Perplexity
from jaxlm.evaluation.results import SplitResult
from jaxlm.trained_run import TrainedRun, train

MEASURED = Perplexity(1.5, 0.1, 4.4817, float("nan"), 100, {"accuracy": 0.25})


@pytest.fixture
def run(trained_run):
    return TrainedRun(trained_run, 40, MEASURED)


def test_a_repr_tells_what_was_found(run):
    assert repr(run) == f"TrainedRun({str(run.folder)!r}, step 40, loss 1.5000, perplexity 4.4817, accuracy 0.2500)"
    page = run._repr_html_()
    assert "<td>perplexity</td><td>4.4817</td>" in page
    assert "bits_per_byte" not in page  # not a number here
    assert run.report.is_file()


def test_the_history_has_a_record_for_each_measurement(run):
    train_steps = [record["step"] for record in run.history if record["kind"] == "train"]
    assert train_steps == list(range(5, 41, 5))
    validation = [record for record in run.history if record["kind"] == "validation"]
    assert [record["step"] for record in validation] == [10, 20, 30, 40]
    assert {record["kind"] for record in run.history} == {"train", "validation"}


def test_a_plot_has_the_recorded_points_and_named_axes(run):
    figure = run.plot("loss", "learning_rate")
    loss, rate = figure.axes
    assert (loss.get_xlabel(), loss.get_ylabel(), rate.get_ylabel()) == ("step", "loss", "learning rate")
    train_line, validation_line = loss.lines
    recorded = [record["loss"] for record in run.history if record["kind"] == "validation"]
    np.testing.assert_array_equal(validation_line.get_ydata(), recorded)
    assert train_line.get_label() == "train"
    assert len(rate.lines) == 1  # not measured at validation


def test_a_plot_of_what_was_not_recorded_names_what_was(run):
    with pytest.raises(UsageError, match=r"no .acuracy. was recorded; there is .*gradient_norm.*loss"):
        run.plot("acuracy")


def test_the_model_is_loaded_and_says_what_it_is(run):
    assert run.model is run.model
    assert "decoder, 1 layers, 16 wide" in repr(run.model)
    assert repr(run.model).startswith("LanguageModel('small': ")


def test_a_finished_run_is_returned_without_a_measurement(trained_run):
    from jaxlm.run_folder import RunFolder

    found = train(RunFolder(trained_run).read_experiment(), trained_run)
    assert repr(found) == f"TrainedRun({str(trained_run)!r}, step 40)"


def test_scores_are_shown_with_their_intervals_and_without_their_details():
    found = SplitResult(10, 0.5, "f1", {"f1": 0.75, "<b>": 1.0}, {"f1": (0.5, 1.0)}, {"errors": ["x" * 1000]})
    assert len(repr(found)) < 300
    page = found._repr_html_()
    assert "<td>f1</td><td>0.7500</td><td>0.5000 to 1.0000</td>" in page
    assert "&lt;b&gt;" in page
