"""Fifty steps of fine-tuning a tiny BERT: the losses of `transformers` in PyTorch on the same batches."""

import json

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.step_rows import step_batch
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig
from jaxlm.training.example_inputs import prepare_example_inputs
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import METRICS_FILE
from jaxlm.training.stored import read_stored

STEPS = 50
WORDS = ["good", "bad", "film", "plot", "actor", "very", "not", "dull", "fine", "the", "a", "is", "was", "and"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text(
        "".join(f"{word}\n" for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS))
    )
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def examples(folder, count, seed):
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        words = random.choice(WORDS[: 2 + len(WORDS) // 2], random.integers(2, 20))
        lines.append(f"{' '.join(words)}\t{int(words[0] in WORDS[:4])}\n")
    path = folder / f"examples-{seed}.tsv"
    path.write_text("".join(lines))
    return str(path)


@pytest.mark.slow
def test_losses_are_those_of_transformers(directory, tmp_path):
    import torch
    import transformers

    experiment = Experiment(
        steps=STEPS,
        batch_size=16,
        log_every=1,
        start_from=str(directory),
        data=DataConfig(source="examples", length=24),
        examples=ExamplesConfig((examples(tmp_path, 300, 0),), (examples(tmp_path, 40, 1),)),
        task=TaskConfig("classification"),
        optimizer=OptimizerConfig(
            learning_rate=3e-3, schedule="linear", warmup_steps=4, final_fraction=0.0, weight_decay=0.01, beta2=0.999
        ),
        evaluation=EvaluationConfig(every=STEPS),
        checkpoints=CheckpointConfig(every=STEPS),
    )
    train(experiment, tmp_path / "run")
    records = map(json.loads, (tmp_path / "run" / METRICS_FILE).read_text().splitlines())
    logged = [record for record in records if record["kind"] == "train"]

    model = transformers.BertForSequenceClassification.from_pretrained(directory).train()
    named = dict(model.named_parameters())
    groups = [
        {"params": [value for value in named.values() if value.ndim >= 2], "weight_decay": 0.01},
        {"params": [value for value in named.values() if value.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.999), eps=1e-8)
    inputs = prepare_example_inputs(experiment, RunFolder(tmp_path / "new"), read_stored(directory))
    rows = inputs.training_rows()
    losses = []
    for step in range(STEPS):
        batch = {name: torch.tensor(value) for name, value in step_batch(rows, step, 16).items()}
        optimizer.zero_grad()
        output = model(
            batch["tokens"].long(),
            attention_mask=batch["segment_ids"].long(),
            token_type_ids=batch["token_types"].long(),
            labels=batch["label"].long(),
        )
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = logged[step]["learning_rate"]
        optimizer.step()
        losses.append(output.loss.item())
    np.testing.assert_allclose([record["loss"] for record in logged], losses, atol=1e-4)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]), "something was learnt"
