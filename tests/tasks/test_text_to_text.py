"""Text from text, by two towers and by a decoder: what is read, what counts, and what a trained model writes."""

from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.finetuning import finetune
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_params
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.sequence_to_sequence import SequenceToSequence
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig

from ..quick_compilation import quick_jit

TOKENIZER = ByteTokenizer()
TWO_TOWERS = ModelConfig(
    architecture="encoder_decoder",
    vocab_size=TOKENIZER.vocab_size,
    max_length=32,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    decoder_start_id=TOKENIZER.pad_id,
    layers="unrolled",
)
DECODER = replace(TWO_TOWERS, architecture="decoder", decoder_start_id=None)
EXAMPLES = [
    Example("1", {"source": "abc", "targets": ("xy",)}),
    Example("2", {"source": "abcdefgh", "targets": ("z", "other")}),
]


def batch_of(task, length=32):
    rows = task.encode(TOKENIZER, length, EXAMPLES)
    (part,) = by_width(rows, padding_of(TOKENIZER), 32)
    return {name: np.stack([part.row(i, None)[name] for i in range(2)]) for name in part.row(0, None)}


def test_two_towers_read_the_source_and_the_target_so_far():
    batch = batch_of(make_labelled_task(TaskConfig("sequence_to_sequence", source_prefix=">"), TWO_TOWERS))
    real = batch["encoder_segment_ids"][0] > 0
    assert TOKENIZER.decode(batch["encoder_tokens"][0][real]) == ">abc"
    assert TOKENIZER.decode(batch["targets"][0][:2]) == "xy"
    assert batch["targets"][0][2] == TOKENIZER.eos_id
    assert batch["tokens"][0][:3].tolist() == [TOKENIZER.pad_id, *batch["targets"][0][:2]]
    assert batch["loss_weights"].sum(1).tolist() == [3, 2], "the end counts, padding does not"


@pytest.mark.slow
def test_the_loss_is_that_of_sequence_to_sequence_whatever_the_padding():
    task = make_labelled_task(TaskConfig("sequence_to_sequence"), TWO_TOWERS)
    params = nn.unbox(init_params(TWO_TOWERS, jax.random.key(0)))
    batch = batch_of(task)
    row_sums = quick_jit(task.objective.row_sums)
    found = row_sums(params, batch)
    assert {name for name in found if f"{name}_weight" in found} == set(task.objective.higher_is_better)
    expected = quick_jit(SequenceToSequence(TWO_TOWERS, segmented=True).row_sums)(params, batch)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)
    alone = {name: values[:1] for name, values in batch.items()}
    for name in ("tokens", "targets", "positions", "segment_ids", "loss_weights"):
        alone[name] = alone[name][:, :3]
    for name in ("encoder_tokens", "encoder_positions", "encoder_segment_ids"):
        alone[name] = alone[name][:, : int((batch["encoder_segment_ids"][0] > 0).sum())]
    np.testing.assert_allclose(row_sums(params, alone)["loss"], found["loss"][:1], rtol=1e-5)


def test_a_decoder_reads_on_and_only_the_target_counts():
    task = make_labelled_task(TaskConfig("sequence_to_sequence", source_suffix="="), DECODER)
    batch = batch_of(task)
    text = [*TOKENIZER.encode_prompt("abc="), *TOKENIZER.encode("xy"), TOKENIZER.eos_id]
    assert batch["tokens"][0][: len(text) - 1].tolist() == text[:-1]
    assert batch["targets"][0][: len(text) - 1].tolist() == text[1:]
    counted = batch["targets"][0][batch["loss_weights"][0] > 0]
    assert counted.tolist() == text[-3:]


def test_what_is_too_long_is_cut_and_counted():
    rows = make_labelled_task(TaskConfig("sequence_to_sequence"), DECODER).encode(TOKENIZER, 8, EXAMPLES)
    assert all(len(row.columns["tokens"]) <= 8 for row in rows)
    assert rows[1].truncated > 0
    rows = make_labelled_task(TaskConfig("sequence_to_sequence"), TWO_TOWERS).encode(TOKENIZER, 4, EXAMPLES)
    assert all(len(row.columns["encoder_tokens"]) <= 4 for row in rows)


def test_models_that_write_nothing_are_refused():
    with pytest.raises(UsageError, match="needs a model that generates text"):
        make_labelled_task(TaskConfig("sequence_to_sequence"), replace(DECODER, architecture="encoder"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["encoder_decoder", "decoder"])
def test_a_small_model_learns_to_translate(tmp_path, architecture):
    """Letters to capitals: sources and outputs of one length, all combinations seen."""
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcd"), random.integers(1, 4))) for _ in range(400)]
    (tmp_path / "train.tsv").write_text("".join(f"{word}\t{word.upper()}\n" for word in words))
    (tmp_path / "dev.tsv").write_text("".join(f"{word}\t{word.upper()}\n" for word in dict.fromkeys(words[:60])))
    experiment = Experiment(
        steps=300,
        batch_size=32,
        model=ModelConfig(architecture=architecture, num_layers=2, embed_dim=32, num_heads=2, layers="unrolled"),
        tokenizer=TokenizerConfig("byte"),
        data=DataConfig(source="examples", length=16),
        examples=ExamplesConfig((str(tmp_path / "train.tsv"),), (str(tmp_path / "dev.tsv"),), header="no"),
        task=TaskConfig("sequence_to_sequence", source_suffix="=", bleu_tokenizer="char"),
        optimizer=OptimizerConfig(learning_rate=5e-3, warmup_steps=20),
        evaluation=EvaluationConfig(every=100),
        checkpoints=CheckpointConfig(every=100),
    )
    result = finetune(experiment, tmp_path / "run").splits["validation"]
    assert result.main == "bleu"
    assert result.scores["chrf"] > 80
    found = jaxlm.load(tmp_path / "run").predict(["ab", "d"])
    assert [one.text for one in found] == ["AB", "D"]
