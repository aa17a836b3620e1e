"""Preferences: margins and losses as the formula has them, whatever the padding."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.model import apply_model
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.preference import reference_log_probabilities, with_reference
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.conversation import encode_conversation
from jaxlm.text.tokenizer import train_tokenizer

from ..models.small_models import BASE, random_params
from ..quick_compilation import quick_jit

TOKENIZER = train_tokenizer(TokenizerConfig("sentencepiece", vocab_size=277), ["user: why?\nassistant: so be it\n"] * 9)
MODEL = replace(BASE, vocab_size=TOKENIZER.vocab_size, max_length=64)
CONFIG = TaskConfig("preference", beta=0.3)
EXAMPLES = [
    Example("a", {"messages": ({"role": "user", "content": "why?"},), "chosen": "so", "rejected": "it be what it is"}),
    Example("b", {"messages": ({"role": "user", "content": "be?"},), "chosen": "it is so", "rejected": "no"}),
    Example("c", {"messages": ({"role": "user", "content": "is it?"},), "chosen": "yes", "rejected": "be it"}),
]
PARAMS, OTHER = random_params(MODEL, seed=1), random_params(MODEL, seed=2)


@quick_jit
def all_logits(params, row):
    return apply_model(MODEL, params, row).logits[0]


def log_probability(params, example, answer):
    messages = example.fields["messages"]
    prompt, _ = encode_conversation(TOKENIZER, messages, reply=True)
    whole = (*messages, {"role": "assistant", "content": example.fields[answer]})
    ids, _ = encode_conversation(TOKENIZER, whole)
    row = np.zeros((1, 48), np.int32)
    row[0, : len(ids)] = ids
    log_probabilities = np.asarray(jax.nn.log_softmax(all_logits(params, row)))
    return sum(log_probabilities[at - 1, ids[at]] for at in range(len(prompt), len(ids)))


def margin(example):
    chosen, rejected = (
        log_probability(PARAMS, example, answer) - log_probability(OTHER, example, answer)
        for answer in ("chosen", "rejected")
    )
    return CONFIG.beta * (chosen - rejected)


def rows():
    task = make_labelled_task(CONFIG, MODEL)
    encoded = task.encode(TOKENIZER, 40, EXAMPLES)
    reference = reference_log_probabilities(task.objective, OTHER, encoded, padding_of(TOKENIZER), 40)
    for example, (chosen, rejected) in zip(EXAMPLES, reference, strict=True):
        assert chosen == pytest.approx(log_probability(OTHER, example, "chosen"), abs=1e-3)
        assert rejected == pytest.approx(log_probability(OTHER, example, "rejected"), abs=1e-3)
    return task, with_reference(encoded, reference)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_margins_and_losses_are_those_of_the_formula(smoothing):
    task, encoded = rows()
    task = make_labelled_task(replace(CONFIG, label_smoothing=smoothing), MODEL)
    decode = task.decoder(EXAMPLES, encoded)
    found, losses, measure = {}, {}, quick_jit(task.objective.measured)
    for part in by_width(encoded, padding_of(TOKENIZER), 40):
        for batch in ExampleEvaluation(part).batches(2):
            sums, predictions = jax.device_get(measure(PARAMS, batch))
            found |= dict(decode(predictions))
            losses |= {
                int(number): (float(loss), float(weight))
                for number, loss, weight in zip(batch["example"], sums["loss"], sums["weight"], strict=True)
            }
    for number, example in enumerate(EXAMPLES):
        expected = margin(example)
        assert found[number] == pytest.approx(expected, abs=1e-3)
        loss = (1 - smoothing) * np.log1p(np.exp(-expected)) + smoothing * np.log1p(np.exp(expected))
        assert losses[number] == (pytest.approx(loss, abs=1e-3), 1.0)


def test_models_that_do_not_read_from_left_to_right_are_refused():
    with pytest.raises(UsageError, match="'preference' needs a model that reads from left to right"):
        make_labelled_task(CONFIG, replace(MODEL, architecture="encoder"))
    with pytest.raises(UsageError, match="'chat' needs a model that generates text"):
        make_labelled_task(TaskConfig("chat"), replace(MODEL, architecture="encoder"))
    with pytest.raises(UsageError, match=r"task\.beta is 0"):
        replace(CONFIG, beta=0.0).validate()
