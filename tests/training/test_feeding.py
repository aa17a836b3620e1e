"""Runs on mixtures, curricula and buckets: they learn, say what they read, and go on to the same bits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.data.config import CurriculumStage, DataConfig, MixtureSource
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.preemption import Preempted, PreemptionWatch
from jaxlm.training.provenance import show_batch

from ..small_runs import TEXT, small_experiment

LETTERS = "\n\n".join(f"{'abcdefg'[i % 7] * (i % 5 + 2)} {'xyz'[i % 3] * 3}" for i in range(200))


def mixture(folder: Path) -> dict[str, Any]:
    (folder / "boats.txt").write_text(TEXT)
    (folder / "letters.txt").write_text(LETTERS)
    return {
        "data": DataConfig(
            length=16,
            mixture=(
                MixtureSource(name="boats", weight=3.0, source="text", files=(str(folder / "boats.txt"),)),
                MixtureSource(name="letters", weight=1.0, source="text", files=(str(folder / "letters.txt"),)),
            ),
        )
    }


def curriculum(folder: Path) -> dict[str, Any]:
    return {"data__curriculum": (CurriculumStage(9, 8),)}


def buckets(folder: Path) -> dict[str, Any]:
    # Sentences of about 30 characters, and their halves.
    (folder / "halves.txt").write_text(
        "\n".join(TEXT.split("\n\n")[::2] + TEXT.replace(" boats", "\n\n").split("\n\n"))
    )
    source = {"source": "text", "files": (str(folder / "halves.txt"),), "document": "line", "split": "document"}
    return {"data": DataConfig(length=64, batching="bucketed", bucket_lengths=(32,), **source)}


FEEDS = {"mixture": mixture, "curriculum": curriculum, "buckets": buckets}


def encoder(experiment: Experiment) -> Experiment:
    return replace(
        experiment,
        model=ModelConfig(architecture="encoder", num_layers=1, embed_dim=16, num_heads=2, layers="unrolled"),
        task=TaskConfig("masked_lm"),
        tokenizer=TokenizerConfig("character", special_tokens=("[CLS]", "[SEP]", "[MASK]")),
    )


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("seconds", "tokens_per_second", "tflops_per_second", "input_wait", "time", "mfu")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines if line["kind"] == kind]


@pytest.mark.parametrize(
    ("feed", "task"),
    [
        pytest.param("mixture", "causal_lm", marks=pytest.mark.slow),
        pytest.param("curriculum", "masked_lm", marks=pytest.mark.slow),
        pytest.param("buckets", "causal_lm", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_ends_with_the_same_bits(feed, task, tmp_path, monkeypatch):
    experiment = small_experiment(tmp_path, steps=24, **FEEDS[feed](tmp_path))
    if task == "masked_lm":
        experiment = encoder(experiment)
    whole = jaxlm.train(experiment, tmp_path / "whole")
    assert whole.validation is not None
    monkeypatch.setattr(PreemptionWatch, "stop_after", lambda self, step: step == 13)
    with pytest.raises(Preempted):
        jaxlm.train(experiment, tmp_path / "parts")
    monkeypatch.undo()
    jaxlm.train(experiment, tmp_path / "parts")
    for kind in ("train", "validation", "ledger"):
        assert records(tmp_path / "parts", kind) == records(tmp_path / "whole", kind)
    first, second = (jaxlm.load(tmp_path / name, "latest") for name in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    losses = [record["loss"] for record in records(tmp_path / "whole", "train")]
    assert losses[-1] < losses[0]
    measured = jaxlm.load(tmp_path / "whole", "latest").evaluate()
    assert measured.loss == pytest.approx(whole.validation.loss, rel=1e-6)
    assert measured.metrics == pytest.approx(whole.validation.metrics, rel=1e-6)


def test_a_mixture_is_measured_as_a_whole_and_by_source(tmp_path):
    experiment = small_experiment(tmp_path, steps=10, **mixture(tmp_path))
    result = jaxlm.train(experiment, tmp_path / "run")
    (record,) = records(tmp_path / "run", "validation")
    assert {"loss_boats", "loss_letters"} <= record.keys()
    assert min(record["loss_boats"], record["loss_letters"]) < record["loss"]
    assert record["loss"] < max(record["loss_boats"], record["loss_letters"])
    model = jaxlm.load(tmp_path / "run")
    alone = {}
    for source in experiment.data.mixture:
        data = DataConfig(length=16, source="text", files=source.files)
        model.experiment = replace(model.experiment, data=data)
        alone[source.name] = model.evaluate()
        assert alone[source.name].loss == pytest.approx(record[f"loss_{source.name}"], rel=1e-6)
    assert result.validation is not None
    shown = show_batch(tmp_path / "run", 3)
    assert {piece.source for row in shown.rows for piece in row.pieces} == {"boats", "letters"}
    targets = sum(each.targets for each in alone.values())
    assert result.validation.targets == targets
    assert record["loss"] == pytest.approx(sum(each.loss * each.targets for each in alone.values()) / targets, rel=1e-6)


@pytest.mark.slow
def test_the_tokens_of_a_curriculum_are_counted_as_they_are(tmp_path):
    jaxlm.train(small_experiment(tmp_path, steps=20, log_every=1, **curriculum(tmp_path)), tmp_path / "run")
    lengths = [8] * 9 + [16] * 11
    assert [record["tokens"] for record in records(tmp_path / "run", "train")] == np.cumsum(
        [8 * n for n in lengths]
    ).tolist()
