"""Disentangled attention: the paper's sums pair by pair, packing, dropout, FLOPs and a generator beside."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.counts import ForwardPass, abstract_params, forward_flops, training_flops
from jaxlm.models.inspection import inspect
from jaxlm.models.model import make_model
from jaxlm.nn.disentangled import DistanceScores, distance_rows

from .small_models import DISENTANGLED, applied, flat, random_params, random_tokens

BOTH = DISENTANGLED.disentangled_terms
WEIGHTS = "layers/0/attention/attention_weights"


def test_near_distances_have_a_row_each_and_far_ones_share():
    # 8 rows, 4 on a side: exact up to 2, then logarithmic up to 12.
    row = distance_rows(np.array([-40, -12, -11, -4, -3, -2, -1, 0, 1, 2, 3, 4, 11, 12, 40]), 8, 12)
    np.testing.assert_array_equal(row, [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7])
    np.testing.assert_array_equal(distance_rows(np.arange(-5, 6), 6, 3), [0, 0, 0, 1, 2, 3, 4, 5, 5, 5, 5])


@pytest.mark.parametrize(("rows", "farthest"), [(7, 12), (2, 12), (26, 12)])
def test_rows_that_do_not_divide_the_distances_are_an_error(rows, farthest):
    with pytest.raises(ValueError, match=f"{rows} rows do not divide distances up to {farthest}"):
        distance_rows(np.arange(3), rows, farthest)


@pytest.mark.parametrize("maps", ["shared", "own"])
@pytest.mark.parametrize("terms", [BOTH, BOTH[:1], BOTH[1:]], ids=str)
def test_weights_are_the_papers_sums(terms, maps):
    """He et al. 2021, eq. 4, one pair at a time, in float64."""
    config = replace(DISENTANGLED, disentangled_terms=terms, disentangled_maps=maps)
    params = random_params(config)
    tokens = random_tokens(config, (1, 7))
    _, seen = inspect(config, params, tokens, see=("embedding_output", WEIGHTS))
    of = {name: np.asarray(value, np.float64) for name, value in flat(params).items()}
    x = np.asarray(seen["embedding_output"][0], np.float64)
    heads, width = config.num_heads, config.resolved_head_dim

    def mapped(name, y):
        y = y @ of[f"layers/0/attention/{name}/kernel"] + of[f"layers/0/attention/{name}/bias"]
        return y.reshape(-1, heads, width)

    table = of["distance_embedding/embedding"]
    table = (table - table.mean(1, keepdims=True)) / np.sqrt(table.var(1, keepdims=True) + config.norm_epsilon)
    table = table * of["distance_norm/scale"] + of["distance_norm/bias"]
    before = "distance/" if maps == "own" else ""
    query, key = mapped("query", x), mapped("key", x)
    scores = np.einsum("ihd,jhd->hij", query, key)
    for i in range(7):
        for j in range(7):
            row = distance_rows(np.array([i - j]), 8, 12)
            if "content_to_position" in terms:
                scores[:, i, j] += (query[i] * mapped(f"{before}key", table[row])[0]).sum(-1)
            if "position_to_content" in terms:
                scores[:, i, j] += (key[j] * mapped(f"{before}query", table[row])[0]).sum(-1)
    weights = np.exp(scores / np.sqrt(width * (1 + len(terms))))
    np.testing.assert_allclose(seen[WEIGHTS][0], weights / weights.sum(-1, keepdims=True), atol=1e-5)


def test_packed_texts_are_those_alone():
    params = random_params(DISENTANGLED)
    tokens = random_tokens(DISENTANGLED, (1, 12))
    segments = np.array([[0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0]], np.int32)
    packed = applied(DISENTANGLED, params, tokens, segment_ids=segments).logits
    for part in (slice(1, 5), slice(5, 11)):
        alone = applied(DISENTANGLED, params, tokens[:, part]).logits
        np.testing.assert_allclose(packed[:, part], alone, atol=1e-5)


def test_a_window_hides_what_is_far():
    config = replace(DISENTANGLED, num_layers=1, window=4, layer_pattern=("local",))
    _, seen = inspect(config, random_params(config), random_tokens(config, (1, 9)), see=(WEIGHTS,))
    far = np.abs(np.arange(9)[:, None] - np.arange(9)) > 2
    assert not np.asarray(seen[WEIGHTS])[0][:, far].any()


@pytest.mark.parametrize("rates", [{"dropout_rate": 0.4}, {"attention_dropout_rate": 0.4}], ids=str)
@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_dropout_is_drawn_by_key_in_both_layouts(rates, layers):
    config = replace(DISENTANGLED, layers=layers, **rates)
    params = random_params(config)
    model, tokens = make_model(config), random_tokens(config, (2, 8))

    def run(key):
        return model.apply({"params": params}, tokens, deterministic=False, rngs={"dropout": key}).logits

    keys = jax.random.split(jax.random.key(0), 3)
    drawn = jax.jit(jax.vmap(run))(keys)
    plain = model.apply({"params": params}, tokens).logits
    assert np.isfinite(drawn).all()
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    assert np.abs(drawn[0] - plain).max() > 1e-3
    np.testing.assert_array_equal(run(keys[1]), run(keys[1]))


def test_the_vectors_of_distances_are_dropped_and_keep_the_mean():
    scores = DistanceScores(BOTH, False, True, 12, 0.5, False, jnp.dtype("float32"), jax.nn.initializers.normal())
    random = np.random.default_rng(0)
    query, key = (jnp.asarray(random.normal(size=(1, 2, 5, 4)), jnp.float32) for _ in range(2))
    vectors = jnp.asarray(random.normal(size=(8, 8)), jnp.float32)

    def run(key_of_draw, module=scores):
        rngs = {} if key_of_draw is None else {"dropout": key_of_draw}
        return module.apply({}, query, key, vectors, lambda x: x, lambda x: x, rngs=rngs)

    expected = run(None, scores.clone(deterministic=True))
    draws = jnp.stack([run(each) for each in jax.random.split(jax.random.key(1), 400)])
    assert draws.shape == (400, 1, 2, 5, 5)
    assert np.abs(draws[0] - expected).max() > 0.1
    np.testing.assert_allclose(draws.mean(0), expected, atol=1.0)


def test_products_with_distances_are_counted():
    rows, length, width = 3, 20, 16
    plain = replace(DISENTANGLED, positions="none")
    added = forward_flops(ForwardPass(DISENTANGLED, rows, length)) - forward_flops(ForwardPass(plain, rows, length))
    # In each of two layers, of both terms: the map of 2 * length vectors, and as many products for each position.
    assert added == 2 * 2 * (2 * (2 * length) * width * width + 2 * rows * length * (2 * length) * width)
    own = replace(DISENTANGLED, disentangled_maps="own")
    assert forward_flops(ForwardPass(own, rows, length)) - added == forward_flops(ForwardPass(plain, rows, length))
    one = replace(DISENTANGLED, disentangled_terms=BOTH[:1])
    assert forward_flops(ForwardPass(one, rows, length)) - added / 2 == forward_flops(ForwardPass(plain, rows, length))
    passes = [ForwardPass(own, rows, length)]
    assert training_flops(passes) == 3 * forward_flops(passes[0])


def test_a_generator_beside_has_vectors_of_its_own_width():
    config = replace(DISENTANGLED, task_head="replaced_token", generator_heads=1)
    shapes = {name: leaf.shape for name, leaf in flat(abstract_params(config)).items()}
    assert shapes["distance_embedding/embedding"] == (8, 16)
    assert shapes["generator/distance_embedding/embedding"] == (8, 4)
