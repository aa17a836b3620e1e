"""Multiple choice and sentence embeddings from end to end."""

import json
from dataclasses import replace

import numpy as np
import pytest

import jaxlm
from jaxlm.cli.main import main
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.finetuning import finetune
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig

PAIRS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "gold": "yellow"}


def experiment(folder, kind, records, **changes):
    path = folder / f"{kind}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    made = Experiment(
        steps=60,
        batch_size=16,
        sample_every=0,
        model=ModelConfig(
            architecture="encoder", num_layers=2, embed_dim=48, num_heads=2, pooling="mean", layers="unrolled"
        ),
        tokenizer=TokenizerConfig("wordpiece", vocab_size=80, special_tokens=("[CLS]", "[SEP]")),
        data=DataConfig(source="examples", length=16),
        examples=ExamplesConfig((str(path),), (str(path),)),
        task=TaskConfig(kind),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=5, weight_decay=0.0),
        evaluation=EvaluationConfig(every=30, batch_size=8),
        checkpoints=CheckpointConfig(every=30),
    )
    return replace(made, **changes)


@pytest.mark.slow
def test_choices_are_learned_and_predicted(tmp_path, capsys):
    random = np.random.default_rng(0)
    records = []
    for _ in range(10):
        for thing, colour in PAIRS.items():
            wrong = random.choice([one for one in PAIRS.values() if one != colour], int(random.integers(1, 4)), False)
            choices = random.permutation([colour, *wrong]).tolist()
            records.append({"question": f"colour of {thing}", "choices": choices, "answer": choices.index(colour)})
    gentle = OptimizerConfig(learning_rate=4e-3, warmup_steps=10, weight_decay=0.0)
    result = finetune(experiment(tmp_path, "multiple_choice", records, steps=300, optimizer=gentle), tmp_path / "run")
    split = result.splits["validation"]
    assert (split.main, split.examples) == ("accuracy", 60)
    assert split.scores["accuracy"] > 0.9
    model = jaxlm.load(tmp_path / "run")
    (one,) = model.predict([("colour of sky", ["red", "blue", "white"])])
    assert one.label == "blue"
    assert sum(one.probabilities.values()) == pytest.approx(1)
    with pytest.raises(UsageError, match="input 0 has no list of at least two choices"):
        model.predict([("colour of sky", "blue")])
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), "--text", "colour of snow\twhite\tblack"]) == 0
    assert capsys.readouterr().out.startswith("white\t")


@pytest.mark.slow
def test_embeddings_find_what_belongs_together(tmp_path, capsys):
    records = [
        {"anchor": f"{before} {thing}", "positive": f"it is {colour}"}
        for before in ("a", "the", "some")
        for thing, colour in PAIRS.items()
    ]
    made = experiment(tmp_path, "sentence_embedding", records, batch_size=8)
    result = finetune(made, tmp_path / "run")
    split = result.splits["validation"]
    assert split.main == "mrr"
    assert split.scores["mrr"] > 0.9
    model = jaxlm.load(tmp_path / "run")
    near, far = model.predict([("a sky", "it is blue"), ("a sky", "it is red")])
    assert near.value > far.value
    first, second = model.encode_text(["a sky", "it is blue"])
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert near.value == pytest.approx(cosine, abs=1e-4)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), "--text", "a sky\tit is blue"]) == 0
    assert float(capsys.readouterr().out.split("\t")[0]) == pytest.approx(near.value, abs=1e-3)
