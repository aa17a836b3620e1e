"""Pairs of sentences: half of them true, all of them reconstructible; and both losses jointly."""

from math import sqrt

import jax
import numpy as np
import optax
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import choices
from jaxlm.data.sentences import document_sentences, split_sentences
from jaxlm.errors import DataError, UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.tasks.masking import Masker
from jaxlm.tasks.sentence_pairs import PairExamples
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.training.state import TrainState
from jaxlm.training.step import make_train_step

from ..data.data_helpers import make_stream
from ..models.small_models import random_params
from ..quick_compilation import quick_jit

TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=("[CLS]", "[SEP]", "[MASK]")), [])
MODEL = ModelConfig(
    architecture="encoder",
    vocab_size=262,
    max_length=40,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    token_types=2,
    task_head="pretraining",
    pooler="tanh",
    layers="unrolled",
)
LENGTH = 40
RANDOM = np.random.default_rng(0)
# Documents of 1 to 12 sentences; each token of a sentence says which document it is of, so that a pair tells.
SIZES = [[int(n) for n in RANDOM.integers(2, 25, RANDOM.integers(1, 13))] for _ in range(120)]
STREAM = make_stream([[number] * size for number, sizes in enumerate(SIZES) for size in [*sizes, 0]])


def task(**fields):
    return make_task(TaskConfig("bert", **fields), MODEL, DataConfig(length=LENGTH), TOKENIZER)


def parts(row):
    """A and B of a row, without special tokens."""
    ids, types = row["targets"], row["token_types"]
    used = row["segment_ids"] == 1
    plain = used & (ids < 256)
    assert ids[0] == TOKENIZER.cls_id
    assert (ids[used & ~plain] == [TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.sep_id]).all()
    assert ids[used][-1] == TOKENIZER.sep_id
    return ids[plain & (types == 0)], ids[plain & (types == 1)]


def test_half_of_the_pairs_are_true_and_the_others_are_from_two_documents():
    rows = task().feed.training_rows(STREAM, seed=1)
    labels = []
    for epoch in range(8):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        for number in range(len(rows)):
            left, right = parts({name: values[number] for name, values in batch.items()})
            assert len(left)
            assert len(right)
            assert len(set(left)) == len(set(right)) == 1
            assert batch["next_sentence"][number] == (left[0] != right[0])
        labels += batch["next_sentence"].tolist()
        masked = batch["loss_weights"].sum() / ((batch["segment_ids"] == 1) & (batch["targets"] < 256)).sum()
        assert masked == pytest.approx(0.15, abs=0.01)
    assert abs(np.mean(labels) - 0.5) < 4 * sqrt(0.25 / len(labels))
    assert len(labels) > 1500


@pytest.mark.slow
def test_the_length_of_a_pair_says_little_of_its_label():
    rows = task().feed.training_rows(STREAM, seed=1)
    batch = rows.batch(np.arange(20 * len(rows)))
    sizes, apart = batch["segment_ids"].sum(1), batch["next_sentence"] == 1
    assert abs(sizes[apart].mean() - sizes[~apart].mean()) < 0.15 * sizes.std() + 1


def test_short_pairs_are_as_many_as_asked_for_and_chunks_cover_all_sentences():
    examples = task(short_rate=0.0).feed.training_rows(STREAM, seed=1)._examples
    covered = [sentence for _, first, end in examples._chunks for sentence in range(first, end)]
    alone = sum(len(sizes) == 1 for sizes in SIZES)
    assert examples.num_left_out == alone > 0
    assert len(covered) == len(set(covered)) == sum(map(len, SIZES)) - alone
    assert min(end - first for _, first, end in examples._chunks) >= 2
    sizes = [STREAM.offsets[end] - STREAM.offsets[first] for _, first, end in examples._chunks]
    assert np.mean(np.array(sizes) >= LENGTH - 3) > 0.6  # the rest end with their document


def test_sentence_order_swaps_half_of_the_pairs():
    # Tokens that count up tell which part came first.
    stream = make_stream([list(range(start, start + 6)) for start in range(0, 240, 6)] + [[]])
    masker = Masker(TaskConfig("bert"), TOKENIZER)
    examples = PairExamples(stream, LENGTH, 259, 260, TaskConfig("bert", sentence_pairs="order"), masker)
    labels = []
    for number in range(len(examples)):
        for seed in range(60):
            row = examples.row(number, choices(seed))
            left, right = parts(row)
            assert row["next_sentence"] == (left[0] > right[0])
            labels.append(int(row["next_sentence"]))
    assert abs(np.mean(labels) - 0.5) < 4 * sqrt(0.25 / len(labels))


def test_a_true_pair_is_a_stretch_of_its_document():
    stream = make_stream([list(range(start, start + 6)) for start in range(0, 240, 6)] + [[]])
    masker = Masker(TaskConfig("bert"), TOKENIZER)
    examples = PairExamples(stream, LENGTH, 259, 260, TaskConfig("bert", sentence_pairs="order"), masker)
    row = next(row for seed in range(9) if not (row := examples.row(1, choices(seed)))["next_sentence"])
    left, right = parts(row)
    assert (np.diff(left) == 1).all()
    assert (np.diff(right) == 1).all()
    assert right[0] - left[-1] in range(1, 12)  # what was cut is at the ends of a part


@pytest.mark.slow
def test_the_loss_is_the_sum_of_both_means_in_several_parts():
    found = task()
    batch = found.feed.training_rows(STREAM, seed=1).batch(np.arange(4))
    params = random_params(MODEL)
    transform = optax.sgd(0.1)
    objective = found.objective
    step = make_train_step(objective.loss, transform, 0, 2, balance=objective.balance)
    state, metrics = quick_jit(step)(TrainState(np.int32(0), params, transform.init(params)), batch)
    sums = {name: np.asarray(value).sum() for name, value in quick_jit(objective.row_sums)(params, batch).items()}
    expected = sums["loss"] / sums["weight"] + sums["next_sentence_loss"] / 4
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["next_sentence_loss"] == pytest.approx(sums["next_sentence_loss"] / 4, rel=1e-5)

    def mean(params):
        rows = objective.row_sums(params, batch)
        return rows["loss"].sum() / rows["weight"].sum() + rows["next_sentence_loss"].mean()

    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, quick_jit(jax.grad(mean))(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, expected)


def test_a_row_of_padding_counts_nothing():
    found = task()
    rows = found.feed.evaluation_rows(STREAM)
    *_, last = rows.batches(rows.num_rows + 1, divisor=rows.num_rows + 1)
    sums = found.objective.row_sums(random_params(MODEL), {name: value[-2:] for name, value in last.items()})
    assert {name for name in sums if f"{name}_weight" in sums} == set(found.objective.higher_is_better)
    assert sums["next_sentence_loss_weight"].tolist() == [1, 0]
    assert sums["next_sentence_loss"][1] == sums["loss"][1] == 0


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", 'Mr. Smith left. "Stop!" he said.', ["Mr. Smith left.", '"Stop!" he said.']),
        ("zh", "疑是地上霜。低头思故乡。", ["疑是地上霜。", "低头思故乡。"]),
    ],
)
def test_sentences(language, text, sentences):
    pytest.importorskip("sentencex")
    assert split_sentences(text, language) == sentences


def test_the_stream_of_a_text_keeps_documents_apart(tmp_path):
    pytest.importorskip("sentencex")
    data = DataConfig(length=LENGTH, cache_dir=str(tmp_path))
    feed = make_task(TaskConfig("bert"), MODEL, data, TOKENIZER).feed
    stream = feed.stream(["One is. Two is.", "", "Three is."], "texts")
    first, second = document_sentences(stream)
    texts = [TOKENIZER.decode(stream.tokens[slice(*stream.offsets[i : i + 2])]) for i in (*first, *second)]
    assert texts == ["One is.", "Two is.", "Three is."]


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([[3, 4, 5]], DataError, "one only: set data.document"),
        ([[3], [4]], DataError, "no document of the split has two sentences"),
        ([], DataError, "no sentence"),
    ],
)
def test_a_text_that_gives_no_pairs_is_an_error(sizes, error, message):
    stream = make_stream([[1] * size for document in sizes for size in [*document, 0]] or [[1]])
    with pytest.raises(error, match=message):
        task().feed.training_rows(stream, seed=0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match=r"needs model\.task_head 'pretraining' and model\.token_types 2"):
        make_task(TaskConfig("bert"), ModelConfig(architecture="encoder"), DataConfig(), TOKENIZER)
    only_mask = train_tokenizer(TokenizerConfig("byte", special_tokens=("[MASK]",)), [])
    with pytest.raises(UsageError, match=r"need '\[CLS\]' and '\[SEP\]'"):
        make_task(TaskConfig("bert"), MODEL, DataConfig(), only_mask)
    with pytest.raises(UsageError, match=r"set data\.batching 'blocks'"):
        make_task(TaskConfig("bert"), MODEL, DataConfig(batching="packed"), TOKENIZER)
