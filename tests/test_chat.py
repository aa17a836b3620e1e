"""Instruction tuning and preference tuning from end to end, one on the other."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.cli.main import main
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.finetuning import finetune
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig
from jaxlm.training.loop import train

from .test_finetuning import begun_from

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    asked = [(f"colour of {thing}?", colour) for thing, colour in COLOURS.items()]
    (folder / "chat.jsonl").write_text(
        "".join(json.dumps({"instruction": question, "output": answer}) + "\n" for question, answer in asked * 6)
    )
    (folder / "pairs.jsonl").write_text(
        "".join(
            json.dumps({"prompt": question, "chosen": "who knows", "rejected": answer}) + "\n"
            for question, answer in asked * 4
        )
    )
    return folder


def experiment(files, kind, name, **changes):
    path = (str(files / name),)
    made = Experiment(
        steps=80,
        batch_size=8,
        sample_every=0,
        model=ModelConfig(num_layers=1, embed_dim=48, num_heads=2, positions="rotary", layers="unrolled"),
        tokenizer=TokenizerConfig("sentencepiece", vocab_size=282),
        data=DataConfig(source="examples", length=56),
        examples=ExamplesConfig(path, path),
        task=TaskConfig(kind, text_score="translation"),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=5, weight_decay=0.0),
        evaluation=EvaluationConfig(every=40, batch_size=8),
        checkpoints=CheckpointConfig(every=40),
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def assistant(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "assistant"
    return folder, finetune(experiment(files, "chat", "chat.jsonl"), folder)


def test_an_assistant_learns_to_answer(assistant, capsys):
    folder, result = assistant
    assert result.splits["validation"].scores["bleu"] > 90 or result.splits["validation"].scores["chrf"] > 90
    model = jaxlm.load(folder)
    questions = [f"colour of {thing}?" for thing in COLOURS]
    assert [one.text for one in model.predict(questions)] == list(COLOURS.values())
    talk = [{"role": "user", "content": "colour of sky?"}]
    assert model.predict([talk])[0].text == "blue"
    assert main(["predict", str(folder), "--text", "colour of snow?"]) == 0
    assert "white" in capsys.readouterr().out
    with pytest.raises(UsageError, match="input 0: there are no messages"):
        model.predict([[]])


@pytest.mark.slow
def test_preferences_change_what_is_answered_and_resume_exactly(assistant, files, tmp_path):
    base, _ = assistant
    changes = {
        **begun_from(base),
        "optimizer": OptimizerConfig(learning_rate=2e-3, warmup_steps=0, weight_decay=0.0),
        "task": TaskConfig("preference", beta=0.5),
        "checkpoints": CheckpointConfig(every=40, keep_latest=2),
    }
    tuned = experiment(files, "preference", "pairs.jsonl", **changes)
    result = finetune(tuned, tmp_path / "tuned")
    split = result.splits["validation"]
    assert split.main == "accuracy"
    assert split.scores["accuracy"] == 1
    assert split.scores["margin"] > 1
    model = jaxlm.load(tmp_path / "tuned")
    first, second = model.predict([("colour of sky?", "who knows", "blue"), ("colour of sky?", "blue", "who knows")])
    assert first.probability > 0.5 > second.probability
    assert first.value == pytest.approx(-second.value, abs=1e-4)
    with pytest.raises(UsageError, match="a prompt and two answers"):
        model.predict(["colour of sky?"])
    last = jaxlm.load(tmp_path / "tuned", "latest")

    folder = tmp_path / "tuned"
    (folder / "checkpoints" / "80" / "manifest.json").unlink()
    train(tuned, folder)  # from step 40: the numbers of the model that was begun from are in the folder
    again = jaxlm.load(folder, "latest")
    for own, expected in zip(jax.tree.leaves(again.params), jax.tree.leaves(last.params), strict=True):
        np.testing.assert_array_equal(own, expected)
    (folder / "checkpoints" / "80" / "manifest.json").unlink()
    (folder / "reference.safetensors").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"reference\.safetensors is missing"):
        train(tuned, folder)


def test_preferences_need_a_model_to_begin_from(files, tmp_path):
    with pytest.raises(UsageError, match="'preference' needs a model to begin from"):
        train(experiment(files, "preference", "pairs.jsonl"), tmp_path / "run")
