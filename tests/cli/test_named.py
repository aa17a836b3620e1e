"""What a command names wins, also where its value is a default."""

import pytest

from jaxlm.cli import finetune
from jaxlm.cli.train import parse
from jaxlm.errors import UsageError
from jaxlm.experiment import DEFAULT_MODEL, Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder
from jaxlm.training.config import OptimizerConfig

from ..small_runs import write_experiment_file


def test_options_of_the_model_are_laid_over_the_one_that_is_begun_from():
    found = parse(["--start-from", "a", "--model.dropout-rate", "0", "--model.rotary_scaling.factor=2"]).experiment
    assert found.model_changes == {"dropout_rate": 0.0, "rotary_scaling": {"factor": 2.0}}
    assert found.model is DEFAULT_MODEL
    found.validate()
    assert parse(["--model.dropout-rate", "0.2"]).experiment.model == ModelConfig(dropout_rate=0.2)


def test_options_are_laid_over_the_changes_of_a_file(tmp_path):
    made = Experiment(start_from="a", model_changes={"dropout_rate": 0.3, "pooling": "mean"})
    file = write_experiment_file(made, tmp_path / "experiment.py")
    found = parse([str(file), "--model.dropout-rate", "0"]).experiment
    assert found.model_changes == {"dropout_rate": 0.0, "pooling": "mean"}


def test_a_run_that_has_begun_is_told_of_changes_only(tmp_path):
    model = ModelConfig(vocab_size=9, max_length=64, dropout_rate=0.1)
    RunFolder(tmp_path).write_experiment(Experiment(start_from="a", model=model), {})
    words = ["--dir", str(tmp_path), "--model.dropout-rate"]
    assert parse([*words, "0.1"]).experiment == RunFolder(tmp_path).read_experiment()
    assert parse([*words, "0"]).experiment.model_changes == {"dropout_rate": 0.0}


def test_a_file_that_names_a_default_beside_a_start_is_refused(tmp_path):
    file = tmp_path / "experiment.py"
    file.write_text(
        "from jaxlm.experiment import Experiment\nfrom jaxlm.models.config import ModelConfig\n"
        "def experiment():\n    return Experiment(start_from='a', model=ModelConfig(dropout_rate=0.0))\n"
    )
    with pytest.raises(UsageError, match="name only what is to differ from that, in model_changes"):
        parse([str(file)])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--optimizer.warmup-fraction", "0.2"], (None, 0.2)),
        (["--optimizer.warmup-steps", "9"], (9, None)),
        ([], (5, None)),
    ],
)
def test_the_warmup_that_is_named_wins(tmp_path, words, expected):
    file = write_experiment_file(Experiment(optimizer=OptimizerConfig(warmup_steps=5)), tmp_path / "experiment.py")
    found = parse([str(file), *words]).experiment.optimizer
    assert (found.warmup_steps, found.warmup_fraction) == expected


def made(*words):
    options = finetune.parse(["model", "--task", "classification", "--train", "a.csv", *words])
    (found,) = finetune.experiments(options).values()
    return found


def test_finetune_changes_what_is_named_and_nothing_else():
    found = made()
    assert found.model_changes == {}
    assert found.optimizer.learning_rate is None
    found = made("--dropout", "0", "--attention-dropout", "0", "--pooling", "mean")
    assert found.model_changes == {
        "dropout_rate": 0.0,
        "classifier_dropout_rate": None,
        "attention_dropout_rate": 0.0,
        "pooling": "mean",
    }
    assert made("--optimizer.learning-rate", "3e-4").optimizer.learning_rate == 3e-4
    assert made("--optimizer.warmup-steps", "9").optimizer.warmup(1000) == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning-rate", "1", "--optimizer.learning-rate", "2"], "--learning-rate and --optimizer.learning-rate"),
        (["--settings.kind", "tagging"], "--task and --settings.kind name the same: give one"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        made(*words)
