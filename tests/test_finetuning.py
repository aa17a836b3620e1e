"""Fine-tuning from end to end on examples of our own: from a run and from nothing, by functions and commands."""

import json
from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import yaml

import jaxlm
from jaxlm.cli.main import main
from jaxlm.data import widths
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import read_examples
from jaxlm.errors import UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.evaluation.predictions_file import read_predictions
from jaxlm.experiment import DEFAULT_MODEL, Experiment
from jaxlm.finetuning import finetune
from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.config import CheckpointConfig, OptimizerConfig
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import METRICS_FILE
from jaxlm.training.model_card import write_model_card

GOOD, BAD = ("good", "fine", "great"), ("bad", "dull", "poor")


def sentences(count, seed):
    random = np.random.default_rng(seed)
    for _ in range(count):
        kind = int(random.integers(2))
        words = random.choice(["the", "film", "was", "a", "plot"], random.integers(1, 12)).tolist()
        words.insert(int(random.integers(len(words) + 1)), str(random.choice(BAD if kind == 0 else GOOD)))
        yield words, ("bad", "good")[kind]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, count, seed in (("train", 200, 0), ("dev", 45, 1)):
        rows = list(sentences(count, seed))
        table = "".join(f"{' '.join(words)}\t{label}\n" for words, label in rows)
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + table)
        tagged = "\n".join(
            "".join(f"{word}\t{'B-OPINION' if word in GOOD + BAD else 'O'}\n" for word in words) for words, _ in rows
        )
        (folder / f"{name}.conll").write_text(tagged)
    return folder


def experiment(files, kind="classification", **changes):
    suffix = "conll" if kind == "tagging" else "tsv"
    made = Experiment(
        steps=40,
        batch_size=16,
        log_every=10,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder", num_layers=1, embed_dim=32, num_heads=2, pooling="mean", layers="unrolled"
        ),
        tokenizer=TokenizerConfig("wordpiece", vocab_size=60, special_tokens=("[CLS]", "[SEP]")),
        data=DataConfig(source="examples", length=24),
        examples=ExamplesConfig((str(files / f"train.{suffix}"),), (str(files / f"dev.{suffix}"),)),
        task=TaskConfig(kind),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=4),
        evaluation=EvaluationConfig(every=10, batch_size=16),
        checkpoints=CheckpointConfig(every=10),
    )
    return replace(made, **changes)


def begun_from(folder):
    """Changes of an experiment that let it begin from another model, which brings its own tokenizer."""
    return {"start_from": str(folder), "model": DEFAULT_MODEL, "tokenizer": TokenizerConfig()}


@pytest.fixture
def several_widths(monkeypatch):
    """Lets rows have several widths, few as they are."""
    monkeypatch.setattr(widths, "WORTHWHILE_COLUMNS", 1)


def records(folder):
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


@pytest.fixture(scope="module")
def classifier(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    return folder, finetune(experiment(files), folder)


def test_what_is_learned_is_measured_and_written_down(classifier, files):
    folder, result = classifier
    split = result.splits["validation"]
    assert split.examples == 45
    assert split.main == "accuracy"
    assert split.scores["accuracy"] > 0.9
    low, high = split.intervals["accuracy"]
    assert low <= split.scores["accuracy"] <= high
    kept = read_predictions(folder / "predictions_validation.jsonl")
    assert len(kept.predictions) == 45
    metric = kept.metric()
    again = metric.scores(kept.statistics(metric).sum(0))
    assert again["accuracy"] == split.scores["accuracy"]
    values = json.loads((folder / "results.json").read_text())
    assert values["best_by"] == "accuracy"
    assert values["step"] == Checkpoints(folder / "checkpoints").best_step() == result.step
    report = (folder / "report.html").read_text()
    for part in ("Results", "each label", "confusions", "95 % interval"):
        assert part in report
    card = (folder / "README.md").read_text()
    assert "| validation | 45 | accuracy |" in card
    assert "| validation | dev.tsv | 45 | 0 |" in card
    assert "| good | " in card
    assert "model.predict(" in card
    assert f"jax {metadata.version('jax')}" in card
    learned, labels = (
        [line.split("\t")[1] for line in (files / name).read_text().splitlines()[1:]]
        for name in ("train.tsv", "dev.tsv")
    )
    commonest = max(learned, key=learned.count)
    share = labels.count(commonest) / len(labels)
    assert (split.baseline.scores["accuracy"], split.remark) == (pytest.approx(share), "")
    assert f"Baseline: always {commonest!r}." in card.replace("&#x27;", "'")
    assert f"<dt>Baseline</dt><dd>{share:.5g}" in report


def test_one_class_that_is_predicted_or_tested_is_said(files, tmp_path):
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv"
    train.write_text("text\tlabel\n" + "the film was a plot\tgood\n" * 76 + "the film\tbad\n" * 4)
    test.write_text("text\tlabel\n" + "the film was great\tgood\n" * 5)
    run = experiment(files, steps=10, tokenizer=TokenizerConfig("byte", special_tokens=("[CLS]", "[SEP]")))
    run = replace(run, examples=replace(run.examples, train=(str(train),), test=(str(test),)))
    found = finetune(run, tmp_path / "run").splits
    assert "every validation example is predicted to be 'good'" in found["validation"].remark
    assert found["test"].remark.startswith("every test example has the label 'good'")


def test_the_header_of_the_card_is_what_hubs_read(classifier):
    folder, result = classifier
    header = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert header["pipeline_tag"] == "text-classification"
    (measured,) = header["model-index"][0]["results"]
    assert measured["dataset"] == {"name": "dev.tsv", "type": "dev.tsv", "split": "validation"}
    scores = {metric["type"]: metric["value"] for metric in measured["metrics"]}
    assert scores["accuracy"] == pytest.approx(result.splits["validation"].scores["accuracy"], rel=1e-5)


def test_a_card_that_somebody_wrote_is_left_alone(classifier):
    folder, _ = classifier
    card, run = folder / "README.md", RunFolder(folder)
    written, results = card.read_text(), json.loads((folder / "results.json").read_text())
    card.write_text("# My model\n")
    write_model_card(run, run.read_experiment(), results)
    assert card.read_text() == "# My model\n"
    card.unlink()
    write_model_card(run, run.read_experiment(), results)
    assert card.read_text() == written


def test_the_headline_of_the_report_is_the_score_that_chose_the_checkpoint(classifier):
    folder, result = classifier
    report = (folder / "report.html").read_text()
    accuracy = result.splits["validation"].scores["accuracy"]
    assert f"<dt>Validation accuracy</dt><dd>{accuracy:.5g}<small>of 45 examples, 95 % interval " in report
    assert "Best validation loss" not in report
    assert "jaxlm predict " in report


def test_predictions_are_those_of_the_evaluation_whatever_the_batch(classifier, files, several_widths):
    folder, result = classifier
    model = jaxlm.load(folder)
    assert model.labels == ("bad", "good")
    lines = [line.split("\t") for line in (files / "dev.tsv").read_text().splitlines()[1:]]
    one, other = (model.predict([text for text, _ in lines], batch_size) for batch_size in (7, 64))
    assert [each.label for each in one] == [each.label for each in other]
    np.testing.assert_allclose([each.probability for each in one], [each.probability for each in other], rtol=1e-5)
    right = np.mean([found.label == label for found, (_, label) in zip(one, lines, strict=True)])
    assert right == pytest.approx(result.splits["validation"].scores["accuracy"])
    assert sum(one[0].probabilities.values()) == pytest.approx(1)
    assert model.predict([]) == []
    alone = model.predict(lines[0][0])  # a text is no list of letters
    assert (alone.label, alone.probability) == (one[0].label, pytest.approx(one[0].probability, rel=1e-5))


def test_a_finished_run_is_measured_again_and_another_experiment_refused(classifier, files):
    folder, result = classifier
    assert finetune(experiment(files), folder).splits["validation"] == result.splits["validation"]
    with pytest.raises(UsageError, match="batch_size: 16 -> 8"):
        finetune(experiment(files, batch_size=8), folder)


@pytest.mark.parametrize("kind", ["classification", pytest.param("tagging", marks=pytest.mark.slow)])
def test_every_example_counts_once_on_one_device_and_on_eight(files, tmp_path, several_widths, kind):
    """45 examples divide neither by the batch nor by the devices; training measures on eight, a loaded model on one."""
    run = experiment(files, kind, steps=6, batch_size=8, mesh=MeshConfig(data=8))
    run = replace(run, evaluation=EvaluationConfig(every=6, batch_size=16), checkpoints=CheckpointConfig(every=6))
    measured = train(run, tmp_path / "run").validation
    model = jaxlm.load(tmp_path / "run")
    examples = read_examples(run.examples, kind, "validation").examples
    assert len(examples) == 45
    for batch_size in (7, 64):
        found = model.evaluate_examples(examples, batch_size, replicates=0)
        assert found.examples == 45
        assert found.loss == pytest.approx(measured.loss, abs=1e-6)
        for name in found.scores:
            assert found.scores[name] == pytest.approx(measured.metrics[name], abs=1e-6), name


@pytest.mark.slow
def test_tags_of_long_sentences_are_all_there(files, tmp_path):
    run = experiment(files, "tagging", data=DataConfig(source="examples", length=8))
    result = finetune(run, tmp_path / "tags")
    assert result.splits["validation"].main == "f1"
    assert result.splits["validation"].scores["f1"] > 0.9
    model = jaxlm.load(tmp_path / "tags")
    words = ["the", "film"] * 10 + ["good"]
    (found,) = model.predict([words])
    assert len(found.tags) == 21
    assert found.tags[-1] == "B-OPINION"
    assert [(span.label, span.start, span.stop, span.text) for span in found.spans][-1] == ("OPINION", 20, 21, "good")


@pytest.mark.slow
def test_another_model_is_begun_from(classifier, files, tmp_path, capsys):
    folder, _ = classifier
    run = experiment(files, **begun_from(folder), steps=10)
    train(run, tmp_path / "again")
    said = capsys.readouterr().out
    assert f"arrays from {folder} (step" in said
    assert "drawn anew" not in said
    first = records(tmp_path / "again")[0]
    assert first["loss"] < 0.4, "it knows already"
    train(replace(run, start_with="shape"), tmp_path / "shape")
    first = records(tmp_path / "shape")[0]
    assert first["loss"] > 0.5
    assert jaxlm.load(tmp_path / "shape").config == jaxlm.load(tmp_path / "again").config
    capsys.readouterr()
    train(replace(run, model_changes={"layers": "scanned", "dropout_rate": 0.0}), tmp_path / "scanned")
    assert jaxlm.load(tmp_path / "scanned").config.layers == "scanned"
    assert "drawn anew" not in capsys.readouterr().out, "the layout of layers is no part of what they are"
    assert records(tmp_path / "scanned")[0]["loss"] < 0.4


@pytest.mark.slow
def test_a_new_head_is_announced(classifier, files, tmp_path, capsys):
    folder, _ = classifier
    run = experiment(files, "tagging", **begun_from(folder), steps=2)
    train(run, tmp_path / "tags")
    said = capsys.readouterr().out
    assert "drawn anew: classifier/bias, classifier/kernel" in said, "two labels as well, but others"
    assert str(folder) in said


@pytest.mark.slow
def test_training_stops_once_nothing_gets_better(files, tmp_path):
    patient = EvaluationConfig(every=5, batch_size=16, patience=2)
    run = experiment(files, steps=200, evaluation=patient, checkpoints=CheckpointConfig(every=50))
    result = train(run, tmp_path / "run")
    assert result.step < 200
    accuracies = [record["accuracy"] for record in records(tmp_path / "run") if record["kind"] == "validation"]
    assert max(accuracies[:-2]) >= max(accuracies[-2:])
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest_step() == result.step
    assert train(run, tmp_path / "run").step == result.step, "started again, it is done"


@pytest.mark.slow
def test_best_by_what_is_not_measured_is_refused(files, tmp_path):
    run = experiment(files, checkpoints=CheckpointConfig(every=10, best_by="bleu"))
    with pytest.raises(UsageError, match="best_by is 'bleu', which this task does not measure; it has loss, "):
        train(run, tmp_path / "run")


def test_a_model_predicts_and_is_compared_by_commands(classifier, tmp_path, capsys):
    folder, _ = classifier
    assert main(["predict", str(folder), "--text", "a good film", "a dull plot"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["good", "bad"]
    assert main(["predict", str(folder), "--text", "a good film", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == "good"
    table = tmp_path / "new.csv"
    table.write_text('id,text,note\n1,a good film,"x, y"\n2,a dull plot,\n')
    assert main(["predict", str(folder), "--file", str(table)]) == 0
    header, one, two = capsys.readouterr().out.splitlines()
    assert header == "id,text,note,prediction,probability"
    assert one.startswith('1,a good film,"x, y",good,')
    assert two.startswith("2,a dull plot,,bad,")
    assert main(["predict", str(folder), "--file", str(table), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["note"] == ""
    rows = [{"id": 1, "text": "a good film"}, {"id": 2, "text": "a dull plot"}]
    assert [own.label for own in jaxlm.load(folder).predict(rows)] == ["good", "bad"]
    table.write_text("text,prediction\na,b\n")
    assert main(["predict", str(folder), "--file", str(table)]) == 2
    assert "has a column 'prediction' already" in capsys.readouterr().err
    assert main(["compare", str(folder), str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["p_value"] == 1.0


@pytest.mark.slow
def test_a_sweep_by_command(classifier, files, tmp_path, capsys):
    folder, _ = classifier
    train_file, dev_file = (str(files / f"{name}.tsv") for name in ("train", "dev"))
    words = ["finetune", str(folder), "--task", "classification", "--train", train_file, "--validation", dev_file]
    options = [
        "--epochs",
        "1",
        "--max-length",
        "24",
        "--seeds",
        "2",
        "--dir",
        str(tmp_path / "sweep"),
        "--dropout",
        "0",
    ]
    assert main([*words, *options]) == 0
    said = capsys.readouterr().out
    assert "validation, 45 examples, 2 seeds: accuracy 0." in said or "2 seeds: accuracy 1." in said
    assert "+-" in said
    for seed in (0, 1):
        assert (tmp_path / "sweep" / f"seed-{seed}" / "results.json").is_file()
    assert main(["compare", str(folder), str(tmp_path / "sweep" / "seed-0")]) == 0
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "{run}"], "give either --text or --file"),
        (["predict", "{run}", "--file", "none.txt"], "none.txt cannot be read"),
        (["compare", "{run}", "{files}"], "has no predictions_validation.jsonl"),
        (["finetune", "{run}", "--task", "classification"], "examples.train is empty"),
        (["finetune", "{run}", "--task", "classification", "--train", "none.tsv"], "'none.tsv' does not exist"),
        (["finetune", "{run}", "--task", "tagging", "--train", "{files}/train.tsv"], "which column is the"),
        (["finetune", "{run}", "--task", "classification", "--seeds", "0"], "--seeds is 0"),
    ],
)
def test_misuse_is_one_line(classifier, files, capsys, words, message):
    filled = [word.format(run=classifier[0], files=files) for word in words]
    assert main(filled) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_fine_tuned_model_is_measured_again_by_command(classifier, files, capsys):
    folder, result = classifier
    expected = result.splits["validation"]
    assert main(["evaluate", str(folder)]) == 0
    assert f"45 examples: accuracy {expected.scores['accuracy']:.4f} [" in capsys.readouterr().out
    assert main(["evaluate", str(folder), "--files", str(files / "dev.tsv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["scores"] == pytest.approx(expected.scores)
    model = jaxlm.load(folder)
    assert model.evaluate().scores == pytest.approx(expected.scores)
    lines = [line.split("\t") for line in (files / "dev.tsv").read_text().splitlines()[1:]]
    table = [{"text": text, "label": label} for text, label in lines]
    assert model.evaluate(table).scores == pytest.approx(expected.scores)
    assert model.evaluate(str(files / "dev.tsv")).scores == pytest.approx(expected.scores)
    with pytest.raises(UsageError, match="measure it by evaluate_files"):
        model.evaluate_text()
