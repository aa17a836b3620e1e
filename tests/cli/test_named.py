"""What a command names wins, also where its value is a default."""

import pytest

from jaxlm.cli import finetune
from jaxlm.cli.train import parse
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import UsageError
from jaxlm.experiment import DEFAULT_MODEL, Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
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


def new(file, *words):
    options = finetune.parse(["--train", str(file), *words])
    (found,) = finetune.experiments(options).values()
    found.validate()
    return found


def test_finetune_without_a_model_trains_a_new_one(tmp_path, capsys, monkeypatch):
    file = tmp_path / "reviews.csv"
    file.write_text("review,sentiment\ngood,pos\nbad,neg\n")
    found = new(file)
    assert capsys.readouterr().out == ("task: classification, since sentiment holds 2 labels (--task names another)\n")
    assert (found.name, found.start_from, found.task.kind, found.epochs) == (
        "new-classification",
        "",
        "classification",
        None,
    )
    monkeypatch.setenv("JAX_PROCESS_ID", "1")
    assert new(file) == found
    assert capsys.readouterr().out == "", "one process says it"
    assert (found.model.architecture, found.tokenizer.kind) == ("encoder", "wordpiece")
    tiny = new(file, "--preset", "bert-tiny", "--dropout", "0", "--tokenizer.vocab-size", "700", "--epochs", "2")
    assert (tiny.name, tiny.model.family, tiny.model.embed_dim) == ("bert-tiny-classification", "bert", 128)
    assert (tiny.model.dropout_rate, tiny.model.attention_dropout_rate) == (0.0, 0.1)
    assert (tiny.tokenizer.kind, tiny.tokenizer.vocab_size, tiny.epochs) == ("wordpiece", 700, 2)
    pieces = new(file, "--tokenizer.kind", "sentencepiece").tokenizer
    assert (pieces.kind, pieces.special_tokens) == ("sentencepiece", ("[CLS]", "[SEP]", "[MASK]"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "bert-tiny"], "model brings its own shape and tokenizer: --preset and --tokenizer are for new"),
        (["--tokenizer.vocab-size", "8192"], "model brings its own shape and tokenizer"),
        (["--learning-rate", "1", "--optimizer.learning-rate", "2"], "--learning-rate and --optimizer.learning-rate"),
        (["--settings.kind", "tagging"], "--task and --settings.kind name the same: give one"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        made(*words)


def test_the_start_of_no_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--start is about the weights of MODEL, and none is named"):
        finetune.parse(["--train", "a.csv", "--task", "classification", "--start", "shape"])


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--lr", "1"], "--optimizer.learning-rate"),
        (["train", "--block-size", "1"], "--data.length"),
        (["train", "--task.kind", "mlm"], "masked_lm"),
        (["train", "--model.positions", "rope"], "rotary"),
        (["finetune", "a", "--task", "ner"], "tagging"),
        (["finetune", "a", "--lr", "1"], "--learning-rate"),
        (["finetune", "a", "--bs", "1"], "--batch-size"),
        (["finetune", "a", "--max_len", "1"], "--max-length"),
        (["generate", "a", "--max-tokens", "1"], "--max-new-tokens"),
        (["generate", "a", "--do-sample"], "--temperature"),
    ],
)
def test_what_the_field_calls_otherwise_is_understood(refused, words, meant):
    assert f"(did you mean {meant!r}?)" in refused(*words)


def test_an_unknown_task_is_answered_with_those_there_are(refused):
    message = refused("finetune", "a", "--task", "xyzzy")
    assert "invalid choice 'xyzzy' for argument '--task'" in message
    assert "'sentence_embedding'" in message


def test_values_in_files_are_understood_as_well():
    with pytest.raises(UsageError, match=r"task\.kind is 'masked'; it must be one of .*did you mean 'masked_lm'"):
        Experiment(task=TaskConfig("masked")).validate()


def test_intervals_and_steps_that_are_named_win_over_epochs(tmp_path):
    by_epochs = Experiment(epochs=2, data=DataConfig(source="examples"), examples=ExamplesConfig(("a.csv",)))
    file = write_experiment_file(by_epochs, tmp_path / "experiment.py")
    with pytest.raises(UsageError, match=r"epochs is 2, which decides the steps: change that, or add --epochs 0 to"):
        parse([str(file), "--steps", "9"])
    assert parse([str(file), "--steps", "9", "--epochs", "0"]).experiment.steps == 9
    named = parse([str(file), "--evaluation.every", "250", "--checkpoints.every", "7"]).experiment
    settled = named.resolve(65).with_intervals(40, 40)
    assert (settled.evaluation.every, settled.checkpoints.every) == (250, 7)
    settled = by_epochs.resolve(65).with_intervals(40, 40)
    assert (settled.evaluation.every, settled.checkpoints.every) == (40, 40)
    settled = Experiment().resolve(65)
    assert (settled.evaluation.every, settled.checkpoints.every) == (250, 500)
