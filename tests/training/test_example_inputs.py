"""What a run on labelled examples settles before it begins."""

import json
from dataclasses import replace

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import DataError
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.example_inputs import prepare_example_inputs


def experiment(path, kind, **examples):
    model = ModelConfig(architecture="encoder", num_layers=1, embed_dim=16, num_heads=2, head_dim=8, mlp_dim=16)
    return Experiment(
        model=model,
        data=DataConfig(source="examples", length=128),
        tokenizer=TokenizerConfig("bpe", vocab_size=280),
        examples=ExamplesConfig((str(path),), (str(path),), **examples),
        task=TaskConfig(kind),
    )


def test_one_class_is_refused(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("text,label\n" + "".join(f"film {n},good\n" for n in range(30)))
    with pytest.raises(
        DataError, match=r"all 30 examples of the train split \(text from text, label from label\) have one"
    ):
        prepare_example_inputs(experiment(path, "classification"), RunFolder(tmp_path / "run"), None)
    path.write_text("text,label\n" + "".join(f"film {n},{n % 2}\n" for n in range(30)))
    other = tmp_path / "same.csv"
    other.write_text("text,label\n" + "film,1\n" * 30)
    config = experiment(path, "classification")
    examples = replace(config.examples, validation=(str(other),))
    with pytest.raises(DataError, match="all 30 examples of the validation split"):
        prepare_example_inputs(replace(config, examples=examples), RunFolder(tmp_path / "run"), None)


def test_a_run_remembers_its_columns_and_that_questions_may_have_no_answer(tmp_path):
    path = tmp_path / "qa.jsonl"
    lines = [{"query": "who?", "text": "a cat", "found": answers} for answers in (["a cat"], [])]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    named = {"text_column": "query", "pair_column": "text", "label_column": "found"}
    inputs = prepare_example_inputs(experiment(path, "question_answering", **named), RunFolder(tmp_path / "run"), None)
    assert inputs.experiment.task.no_answer
    assert inputs.experiment.examples.columns == ("text=query", "pair=text", "label=found")
    said = "\n".join(inputs.summary())
    assert "train: 2 examples (text from query, pair from text, label from found)" in said
    assert "questions without an answer in their text: 1; no-answer is on" in said
    assert "repaired, answer offset: 1 (" in said
    assert "the first: " in said


@pytest.mark.parametrize(
    ("target", "task", "tokenizer", "said"),
    [
        ("今天天气很好", {}, "zh", "scores: BLEU of words as sacrebleu's zh has them, and chrF"),
        ("今日はとてもいい天気です", {}, "char", "scores: BLEU of words as sacrebleu's char"),
        ("วันนี้อากาศดี", {}, "char", "scores: BLEU of words as sacrebleu's char"),
        ("Es ist schön heute", {}, "13a", "scores: BLEU of words as sacrebleu's 13a"),
        ("今天天气很好", {"bleu_tokenizer": "char"}, "char", "scores: BLEU of words as sacrebleu's char"),
        (
            "आज मौसम",
            {"text_score": "summarisation"},
            "13a",
            "scores: ROUGE of words of any script, without stemming, for 2",
        ),
        ("fine", {"text_score": "summarisation"}, "13a", "scores: ROUGE of words as rouge-score has them"),
    ],
)
def test_how_words_are_told_apart_goes_by_the_targets_script_and_is_said(tmp_path, target, task, tokenizer, said):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"source": f"day {n}", "target": target}) + "\n" for n in range(2)))
    config = experiment(path, "sequence_to_sequence")
    config = replace(
        config,
        model=replace(config.model, architecture="decoder"),
        tokenizer=TokenizerConfig("byte"),
        task=replace(config.task, source_suffix="=", **task),
    )
    inputs = prepare_example_inputs(config, RunFolder(tmp_path / "run"), None)
    assert inputs.experiment.task.bleu_tokenizer == tokenizer
    assert inputs.task.config.bleu_tokenizer == tokenizer
    assert said in "\n".join(inputs.summary())


@pytest.mark.parametrize(
    ("epochs", "steps", "every"),
    [(10, 31, 4), (2, 6, 3), (1, 3, 3), (0.5, 2, 4), (2.5, 8, 4), (0.01, 1, 100), (None, 31, 4)],
)
def test_the_last_epoch_is_measured_with_the_end_of_the_run(tmp_path, epochs, steps, every):
    """Ten epochs of 25 examples in batches of 8 are 31.25 steps."""
    path = tmp_path / "films.csv"
    path.write_text("text,label\n" + "".join(f"film {n},{n % 2}\n" for n in range(25)))
    tokenizer = TokenizerConfig("bpe", vocab_size=258)
    config = replace(experiment(path, "classification"), epochs=epochs, batch_size=8, tokenizer=tokenizer)
    found = prepare_example_inputs(config, RunFolder(tmp_path / "run"), None).experiment
    assert (found.steps, found.evaluation.every, found.checkpoints.every) == (steps, every, every)
