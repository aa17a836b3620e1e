"""Choices: the loss of transformers and PyTorch, whatever the padding and the number of choices."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import make_labelled_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..models.small_models import BASE, random_params
from ..quick_compilation import quick_jit

TOKENIZER = train_tokenizer(
    TokenizerConfig("wordpiece", vocab_size=33, special_tokens=("[CLS]", "[SEP]")),
    ["the sky is blue or red, what is it"],
)
MODEL = replace(
    BASE,
    architecture="encoder",
    vocab_size=TOKENIZER.vocab_size,
    token_types=2,
    task_head="sequence_classification",
    num_labels=1,
    pooler="tanh",
)
EXAMPLES = [
    Example("a", {"text": "the sky", "pair": None, "choices": ("is blue", "is red", "what"), "label": 2}),
    Example("b", {"text": "what is it", "pair": "the sky", "choices": ("blue", "red"), "label": 0}),
    Example("c", {"text": "the", "pair": None, "choices": ("sky is blue or red", "is"), "label": 1}),
]
TASK = make_labelled_task(TaskConfig("multiple_choice"), MODEL)
MEASURE = quick_jit(TASK.objective.measured)


def measured(params, examples, batch_size):
    rows = TASK.encode(TOKENIZER, 24, examples)
    decode, found, losses = TASK.decoder(examples, rows), {}, {}
    for part in by_width(rows, padding_of(TOKENIZER), 24):
        for batch in ExampleEvaluation(part).batches(batch_size):
            sums, predictions = jax.device_get(MEASURE(params, batch))
            found |= dict(decode(predictions))
            losses |= dict(zip(batch["example"].tolist(), sums["loss"].tolist(), strict=True))
    return found, losses


def test_neither_batches_nor_other_examples_change_a_prediction():
    params = random_params(MODEL)
    together, losses = measured(params, EXAMPLES, 2)
    for number, example in enumerate(EXAMPLES):
        alone, loss = measured(params, [example], 1)
        np.testing.assert_allclose(together[number], alone[0], atol=1e-5)
        assert losses[number] == pytest.approx(loss[0], abs=1e-5)
        assert len(together[number]) == len(example.fields["choices"])
        assert together[number].sum() == pytest.approx(1, abs=1e-5)
        assert losses[number] == pytest.approx(-np.log(together[number][example.fields["label"]]), abs=1e-4)


def test_loss_and_scores_are_those_of_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from ..hub.parity import imported, randomise

    config = transformers.BertConfig(
        vocab_size=TOKENIZER.vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        num_labels=1,
    )
    theirs = randomise(transformers.BertForMultipleChoice(config))
    other = transformers.BertForSequenceClassification(config)
    other.load_state_dict(theirs.state_dict())
    case = imported(other, tmp_path)
    task = make_labelled_task(TaskConfig("multiple_choice"), case.config)
    (row,) = task.encode(TOKENIZER, 24, EXAMPLES[:1])
    batch = {**{name: own[None] for name, own in row.columns.items()}, "label": np.array([2]), "example": np.array([0])}
    batch["loss_weights"] = np.ones((1, 1), np.float32)
    sums, _ = task.objective.measured(case.params, batch)
    with torch.no_grad():
        expected = theirs(
            torch.tensor(batch["tokens"]).long(),
            attention_mask=torch.tensor(batch["segment_ids"]).long(),
            token_type_ids=torch.tensor(batch["token_types"]).long(),
            labels=torch.tensor([2]),
        )
    assert float(sums["loss"][0]) == pytest.approx(float(expected.loss), abs=1e-5)
    np.testing.assert_allclose(task.objective.outputs(case.params, batch), expected.logits.numpy(), atol=1e-5)


def test_a_model_with_other_scores_is_refused():
    with pytest.raises(UsageError, match="with num_labels 1, not 'sequence_classification' with 3"):
        make_labelled_task(TaskConfig("multiple_choice"), replace(MODEL, num_labels=3))
