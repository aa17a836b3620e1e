"""Embeddings: the loss of the formula, ranks over the whole split whatever the batches."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import make_labelled_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..models.small_models import BASE, random_params
from ..quick_compilation import quick_jit

WORDS = ["a", "red", "sky", "over", "the", "blue", "sea", "and", "some", "green", "hills", "far", "away"]
TOKENIZER = train_tokenizer(
    TokenizerConfig("wordpiece", vocab_size=41, special_tokens=("[CLS]", "[SEP]")), [" ".join(WORDS)]
)
MODEL = replace(
    BASE, architecture="encoder", vocab_size=TOKENIZER.vocab_size, task_head="none", pooling="mean", token_types=2
)
TASK = make_labelled_task(TaskConfig("sentence_embedding", temperature=0.1), MODEL)
PREDICT = quick_jit(TASK.objective.predictions)
RANDOM = np.random.default_rng(0)
EXAMPLES = [
    Example(str(number), {name: " ".join(RANDOM.choice(WORDS, size)) for name, size in (("text", 3), ("pair", 5))})
    for number in range(7)
]


def batches(examples, size):
    rows = TASK.encode(TOKENIZER, 20, examples)
    for part in by_width(rows, padding_of(TOKENIZER), 20):
        yield from ExampleEvaluation(part).batches(size)


def vectors(params):
    found = {}
    for batch in batches(EXAMPLES, 3):
        output = jax.device_get(PREDICT(params, batch))
        found |= dict(zip(output["example"].tolist(), zip(output["text"], output["pair"], strict=True), strict=True))
    return [np.stack([found[number][side] for number in range(len(EXAMPLES))]) for side in (0, 1)]


def test_vectors_have_unit_length_and_ranks_are_those_among_all():
    params = random_params(MODEL)
    texts, pairs = vectors(params)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    cosines = texts @ pairs.T
    expected = {
        number: (int((cosines[number] > cosines[number, number]).sum()) + 1, cosines[number, number])
        for number in range(len(EXAMPLES))
    }
    for size in (1, 3, 7):
        decode = TASK.decoder(EXAMPLES, [])
        found = {}
        for batch in batches(EXAMPLES, size):
            found |= dict(decode(jax.device_get(PREDICT(params, batch))))
        assert {number: rank for number, (rank, _) in found.items()} == {
            number: rank for number, (rank, _) in expected.items()
        }
        for number, (_, cosine) in found.items():
            assert cosine == pytest.approx(expected[number][1], abs=1e-5)


@pytest.mark.parametrize("negatives", [False, True])
def test_the_loss_of_a_batch_is_that_of_the_formula(negatives):
    params = random_params(MODEL)
    examples = [
        replace(one, fields={**one.fields, "negative": "far away hills"} if negatives else one.fields)
        for one in EXAMPLES[:4]
    ]
    rows = TASK.encode(TOKENIZER, 20, examples)
    (part,) = by_width(rows[:1], padding_of(TOKENIZER), 20)
    (part,) = [replace(part, rows=rows, widths=dict.fromkeys(part.widths, 20))]
    (batch,) = ExampleEvaluation(part).batches(4)
    sums = quick_jit(TASK.objective.loss)(params, batch)
    texts, pairs, *others = (np.asarray(own) for own in quick_jit(TASK.objective.outputs)(params, batch))
    scores = texts @ np.concatenate([pairs, *others]).T / 0.1
    expected = [np.log(np.exp(scores[row]).sum()) - scores[row, row] for row in range(4)]
    assert scores.shape == (4, 8 if negatives else 4)
    assert float(sums["loss"]) == pytest.approx(sum(expected), rel=1e-4)
    assert float(sums["weight"]) == 4
    assert float(sums["found"]) == sum(scores[row].argmax() == row for row in range(4))


@pytest.mark.slow
def test_equal_texts_are_no_negatives_of_each_other():
    same = {"text": "the sea", "pair": "a blue sea", "negative": "far away hills"}
    examples = [
        Example("0", same),
        Example("1", {**same, "text": "the sky"}),
        Example("2", {**same, "pair": "the red sky", "negative": "a blue sea"}),
    ]
    rows = TASK.encode(TOKENIZER, 20, examples)
    (part,) = by_width(rows[:1], padding_of(TOKENIZER), 20)
    part = replace(part, rows=rows, widths={name: 20 + ("negative" in name) for name in part.widths})
    (batch,) = ExampleEvaluation(part).batches(3)
    params = random_params(MODEL)
    texts, pairs, others = (np.asarray(own) for own in quick_jit(TASK.objective.outputs)(params, batch))
    scores = texts @ np.concatenate([pairs, others]).T / 0.1
    # By row: its partner, then the negatives that remain.
    counted = [[0, 3, 4], [1, 2, 3, 4], [2, 1, 3, 4, 5]]
    expected = sum(np.log(np.exp(scores[row, own]).sum()) - scores[row, own[0]] for row, own in enumerate(counted))
    found = quick_jit(TASK.objective.loss)(params, batch)
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-4)
    decode = TASK.decoder(examples, [])
    vectors = np.eye(3, dtype=np.float32)
    vectors[2] = [1, 0.9, 0]
    predictions = {"example": np.arange(3), "text": vectors[[2, 1, 2]], "pair": np.eye(3, dtype=np.float32)[[0, 0, 1]]}
    # The nearest of all to text 2 is the partner of a text that equals it, which does not count.
    assert {number: rank for number, (rank, _) in decode(predictions)} == {0: 1, 1: 2, 2: 1}


def test_parts_of_a_batch_and_other_heads_are_refused():
    made = Experiment(
        task=TaskConfig("sentence_embedding"),
        accumulation=2,
        batch_size=4,
        data=DataConfig(source="examples", length=8),
        examples=ExamplesConfig(("pairs.tsv",)),
    )
    with pytest.raises(UsageError, match="each other's negatives"):
        made.validate()
    with pytest.raises(UsageError, match=r"needs model\.task_head 'none'"):
        make_labelled_task(TASK.config, replace(MODEL, task_head="sequence_classification"))
    with pytest.raises(UsageError, match=r"task\.temperature is 0"):
        replace(TASK.config, temperature=0.0).validate()
