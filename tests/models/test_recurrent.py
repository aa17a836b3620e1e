"""The LSTM language model: against PyTorch, and against itself in pieces, packed and padded."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.recurrent import Recurrent, init_cache

from ..quick_compilation import quick_jit
from .small_models import flat, in_layout

TIED = ModelConfig(
    architecture="lstm",
    vocab_size=23,
    max_length=32,
    num_layers=2,
    embed_dim=8,
    num_heads=1,
    positions="none",
    layers="unrolled",
    head_bias=True,
)
UNTIED = replace(TIED, head="untied", head_bias=False, layers="scanned")
MAKES = {"tied, unrolled": TIED, "untied, scanned": UNTIED}


def random_params(config: ModelConfig) -> dict:
    """Parameters that all matter."""
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * random.normal(size=leaf.shape), jnp.float32), abstract_params(config)
    )


def apply(config: ModelConfig, params: Any, tokens: Any, segment_ids: Any = None, cache: Any = None, **rest) -> Any:
    return Recurrent(config).apply({"params": params}, tokens, None, segment_ids, cache, **rest)


forward = partial(quick_jit, static_argnums=0)(apply)


def random_tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 23, shape, dtype=np.int32)


@pytest.mark.parametrize("config", MAKES.values(), ids=MAKES)
def test_read_in_pieces_it_says_what_it_says_in_one(config):
    params, tokens = random_params(config), random_tokens(2, 9)
    whole = forward(config, params, tokens)
    assert whole.cache is None
    cache = init_cache(config, batch=2)
    pieces = []
    for start, end in ((0, 4), (4, 5), (5, 9)):
        output = forward(config, params, tokens[:, start:end], None, cache)
        cache = output.cache
        pieces.append(output.logits)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole.logits, atol=1e-5)
    assert np.std(whole.logits) > 0.3


@pytest.mark.parametrize("config", MAKES.values(), ids=MAKES)
def test_packed_documents_are_read_as_if_alone(config):
    params, tokens = random_params(config), random_tokens(2, 9)
    segment_ids = np.array([[1, 1, 1, 2, 2, 2, 2, 0, 0], [1, 2, 2, 2, 2, 3, 3, 3, 3]], np.int32)
    packed = forward(config, params, tokens, segment_ids).logits
    for row, start, end in ((0, 0, 3), (0, 3, 7), (1, 0, 1), (1, 1, 5), (1, 5, 9)):
        alone = forward(config, params, tokens[row : row + 1, start:end]).logits
        np.testing.assert_allclose(packed[row, start:end], alone[0], atol=1e-5)
    # What is compared depends on the boundary.
    assert np.abs(packed - forward(config, params, tokens).logits)[0, 3:7].max() > 0.1


def test_no_gradient_leaks_between_documents_or_from_padding():
    params = random_params(TIED)
    embedded = params["token_embedding"]["embedding"]
    tokens = jnp.array([[1, 2, 3, 4, 5, 0]])
    segment_ids = jnp.array([[1, 1, 2, 2, 2, 0]])
    config = replace(TIED, head="untied", head_bias=False)
    params = {**params, "head": {"kernel": embedded.T}}

    def loss(embedding):
        changed = {**params, "token_embedding": {"embedding": embedding}}
        return apply(config, changed, tokens, segment_ids).logits[0, 2:5].sum()

    gradient = quick_jit(jax.grad(loss))(embedded)
    touched = np.abs(gradient).max(axis=1) > 1e-6
    assert touched.nonzero()[0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("config", MAKES.values(), ids=MAKES)
def test_left_padding_changes_nothing_for_the_prompt_nor_for_what_follows(config):
    params, prompt, more = random_params(config), random_tokens(1, 5), random_tokens(1, 3)
    padded = np.concatenate([np.full((1, 4), 7, np.int32), prompt], axis=1)
    segment_ids = np.array([[0] * 4 + [1] * 5], np.int32)
    alone = forward(config, params, np.concatenate([prompt, more], axis=1)).logits
    output = forward(config, params, padded, segment_ids, init_cache(config, batch=1))
    np.testing.assert_allclose(output.logits[:, 4:], alone[:, :5], atol=1e-5)
    # As decoding goes on: without segment ids.
    after = forward(config, params, more, None, output.cache).logits
    np.testing.assert_allclose(after, alone[:, 5:], atol=1e-5)


def test_scanned_and_unrolled_layers_are_the_same_model():
    params, tokens = random_params(UNTIED), random_tokens(2, 6)
    scanned = forward(UNTIED, params, tokens)
    unrolled = forward(*in_layout(UNTIED, params, "unrolled"), tokens)
    np.testing.assert_allclose(scanned.logits, unrolled.logits, atol=1e-6)
    np.testing.assert_allclose(scanned.hidden_states, unrolled.hidden_states, atol=1e-6)


def test_it_computes_the_logits_that_are_asked_for():
    params, tokens = random_params(TIED), random_tokens(2, 6)
    every = forward(TIED, params, tokens)
    last = quick_jit(partial(apply, TIED, num_logits=1))(params, tokens)
    assert last.logits.shape == (2, 1, 23)
    np.testing.assert_allclose(last.logits, every.logits[:, -1:], atol=1e-6)
    bare = forward(replace(TIED, task_head="none"), params, tokens)
    assert bare.logits is None
    np.testing.assert_allclose(bare.hidden_states, every.hidden_states, atol=1e-6)


def test_dropout_is_of_what_is_passed_on_and_not_of_the_state():
    config = replace(TIED, dropout_rate=0.5)
    params, tokens = random_params(config), random_tokens(2, 6)

    def states(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return apply(config, params, tokens, None, init_cache(config, batch=2), deterministic=False, rngs=rngs)

    first, second = map(quick_jit(states), range(2))
    assert np.abs(first.logits - second.logits).max() > 0.1
    dropped = np.asarray(first.hidden_states) == 0
    assert 0.3 < dropped.mean() < 0.7
    assert not (np.asarray(first.cache.layers[-1].hidden) == 0).any()


def test_recomputing_in_the_backward_pass_changes_no_gradient():
    params, tokens = random_params(UNTIED), random_tokens(2, 6)
    segment_ids = np.array([[1, 1, 2, 2, 2, 0]] * 2, np.int32)

    def gradient(config):
        return quick_jit(jax.grad(lambda params: apply(config, params, tokens, segment_ids).logits.std()))(params)

    kept, recomputed = gradient(UNTIED), gradient(replace(UNTIED, remat="block"))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), recomputed, kept)


def test_it_equals_torch_in_logits_and_gradients():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(23, 8)
    lstm = torch.nn.LSTM(8, 8, num_layers=2, batch_first=True)
    head = torch.nn.Linear(8, 23)
    for parameter in lstm.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens, targets = random_tokens(2, 9), random_tokens(3, 6).reshape(2, 9)
    logits = head(lstm(embedding(torch.tensor(tokens, dtype=torch.long)))[0])
    flat_targets = torch.tensor(targets, dtype=torch.long).flatten()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), flat_targets).backward()

    def named(value) -> dict:
        """Parameters or gradients in our names; `value` reads either."""
        layers = {
            str(i): {
                "input": {
                    "kernel": value(getattr(lstm, f"weight_ih_l{i}")).T,
                    # One bias for two: each of theirs has the gradient of ours.
                    "bias": value(getattr(lstm, f"bias_ih_l{i}")),
                },
                "recurrent": {"kernel": value(getattr(lstm, f"weight_hh_l{i}")).T},
            }
            for i in range(2)
        }
        return {
            "token_embedding": {"embedding": value(embedding.weight)},
            "layers": layers,
            "head": {"kernel": value(head.weight).T, "bias": value(head.bias)},
        }

    params = named(lambda parameter: parameter.detach().numpy())
    for i in range(2):
        params["layers"][str(i)]["input"]["bias"] = (
            (getattr(lstm, f"bias_ih_l{i}") + getattr(lstm, f"bias_hh_l{i}")).detach().numpy()
        )
    params = jax.tree.map(jnp.asarray, params)
    config = replace(TIED, head="untied")

    def loss(params):
        ours = apply(config, params, tokens).logits
        return optax.softmax_cross_entropy_with_integer_labels(ours, targets).mean(), ours

    (_, ours), gradients = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(ours, logits.detach().numpy(), atol=1e-5)
    expected = flat(named(lambda parameter: parameter.grad.numpy()))
    gradients = flat(gradients)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert np.abs(expected[name]).max() > 1e-3, name
        np.testing.assert_allclose(gradient, expected[name], atol=1e-5, err_msg=name)
