"""What holds for a decoder of any make: cache, padding, packing, causality, layouts, recomputation, precision."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.config import ModelConfig, RotaryScaling
from jaxlm.models.decoder import Decoder
from jaxlm.models.model import apply_model
from jaxlm.models.tower import init_cache
from jaxlm.tasks.cross_entropy import token_losses

from ..quick_compilation import quick_jit
from ..slow_cases import slow_after
from .small_models import BASE, MAKES, flat, forward, in_layout, random_params, random_tokens

TIME = 12
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=slow_after(4, MAKES))
def model(request) -> tuple[ModelConfig, dict]:
    config = MAKES[request.param]
    config.validate()
    return config, random_params(config)


def plain_logits(model: tuple[ModelConfig, dict], tokens: np.ndarray) -> np.ndarray:
    """Logits of whole rows at once, without cache or segments."""
    logits = np.asarray(forward(*model, tokens)[0])
    assert logits.shape == (*tokens.shape, BASE.vocab_size)
    assert logits.std() > 0.3  # so that an error of 1e-5 is a small one
    return logits


def segmented_logits(model: tuple[ModelConfig, dict], tokens, positions, segment_ids) -> np.ndarray:
    return np.asarray(forward(*model, tokens, np.asarray(positions, np.int32), np.asarray(segment_ids, np.int32))[0])


def test_cached_logits_equal_uncached_ones(model):
    config, params = model
    tokens = random_tokens(config, (2, TIME))
    expected = plain_logits(model, tokens)

    half = TIME // 2
    prompt, cache = forward(config, params, tokens[:, :half], cache=init_cache(config, 2, 16))
    chunk, _ = forward(config, params, tokens[:, half:], cache=cache)
    np.testing.assert_allclose(np.concatenate([prompt, chunk], 1), expected, atol=TOLERANCE)

    for t in range(half, TIME):
        step, cache = forward(config, params, tokens[:, t : t + 1], cache=cache)
        np.testing.assert_allclose(step[:, 0], expected[:, t], atol=TOLERANCE)
    assert int(cache.index) == TIME
    np.testing.assert_array_equal(cache.segment_ids, [[1] * TIME + [0] * (16 - TIME)] * 2)


def test_padded_rows_have_the_logits_of_unpadded_ones(model):
    config, _ = model
    length = 7
    text = random_tokens(config, (length,))
    expected = plain_logits(model, np.stack([np.pad(text, (0, TIME - length))] * 2))[0, :length]
    right, left = (slice(0, length), slice(TIME - length, TIME))
    # Padding holds tokens and positions of its own: they must not matter.
    tokens, positions, segment_ids = random_tokens(config, (2, TIME), 1), np.full((2, TIME), 5), np.zeros((2, TIME))
    for row, place in enumerate((right, left)):
        tokens[row, place], positions[row, place], segment_ids[row, place] = text, np.arange(length), 1
    logits = segmented_logits(model, tokens, positions, segment_ids)
    np.testing.assert_allclose(logits[0, right], expected, atol=TOLERANCE)
    np.testing.assert_allclose(logits[1, left], expected, atol=TOLERANCE)
    assert np.isfinite(logits).all()


PACKED_POSITIONS = [[*range(5), *range(4), *range(3)]] * 2
PACKED_SEGMENTS = [[1] * 5 + [2] * 4 + [0] * 3] * 2
FIRST, SECOND = slice(0, 5), slice(5, 9)


def test_packed_documents_have_the_logits_of_separate_ones(model):
    config, _ = model
    tokens = random_tokens(config, (2, TIME))
    packed = segmented_logits(model, tokens, PACKED_POSITIONS, PACKED_SEGMENTS)
    # Alone at the start of a row; what follows cannot matter to a causal model, as another test shows.
    first = plain_logits(model, tokens)[:, :5]
    second = plain_logits(model, np.roll(tokens, -5, axis=1))[:, :4]
    np.testing.assert_allclose(packed[:, FIRST], first, atol=TOLERANCE)
    np.testing.assert_allclose(packed[:, SECOND], second, atol=TOLERANCE)


def test_nothing_leaks_from_a_packed_document_into_another(model):
    config, _ = model
    tokens = random_tokens(config, (2, TIME))
    before = segmented_logits(model, tokens, PACKED_POSITIONS, PACKED_SEGMENTS)
    for place, others in ((FIRST, SECOND), (SECOND, FIRST), (slice(9, TIME), slice(0, 9))):
        changed = tokens.copy()
        changed[:, place] = (changed[:, place] + 1) % config.vocab_size
        after = segmented_logits(model, changed, PACKED_POSITIONS, PACKED_SEGMENTS)
        np.testing.assert_array_equal(after[:, others], before[:, others])
        assert (np.abs(after[:, place] - before[:, place]).max(-1) > 1e-3).all()


def test_a_token_changes_no_logits_before_it(model):
    config, _ = model
    tokens = random_tokens(config, (2, TIME))
    before = plain_logits(model, tokens)
    for t in (1, 6, TIME - 1):
        changed = tokens.copy()
        changed[:, t] = (changed[:, t] + 1) % config.vocab_size
        after = plain_logits(model, changed)
        np.testing.assert_array_equal(after[:, :t], before[:, :t])
        # Each local layer carries what a token says one window further.
        all_local = set(config.layer_pattern) == {"local"}
        end = t + config.num_layers * (config.window - 1) + 1 if all_local else TIME
        assert (np.abs(after[:, t:end] - before[:, t:end]).max(-1) > 1e-4).all()
        np.testing.assert_array_equal(after[:, end:], before[:, end:])


@pytest.mark.parametrize("name", ["gpt2", "llama", "no positions", "smollm"])
def test_scanned_layers_equal_unrolled_ones(name):
    original = (MAKES[name], random_params(MAKES[name]))
    other = in_layout(*original, "unrolled" if MAKES[name].layers == "scanned" else "scanned")
    assert jax.tree.structure(other[1]) == jax.tree.structure(random_params(other[0]))
    tokens = random_tokens(MAKES[name], (2, TIME))
    np.testing.assert_allclose(plain_logits(other, tokens), plain_logits(original, tokens), atol=TOLERANCE)
    for original_leaf, leaf in zip(
        jax.tree.leaves(original[1]), jax.tree.leaves(in_layout(*other, MAKES[name].layers)[1]), strict=True
    ):
        np.testing.assert_array_equal(original_leaf, leaf)


FOUR_KINDS = replace(
    MAKES["smollm"],
    num_layers=4,
    layer_pattern=("global", "local"),
    rotary_pattern=("rotary", "rotary", "none", "none"),
    rotary_scaling=RotaryScaling("yarn", factor=4.0, original_max_length=8),
    local_rotary_theta=100.0,
)


def test_local_layers_and_those_without_positions_may_be_combined_as_one_likes():
    original = (FOUR_KINDS, random_params(FOUR_KINDS))
    unrolled = in_layout(*original, "unrolled")
    tokens = random_tokens(FOUR_KINDS, (2, TIME))
    expected = plain_logits(original, tokens)
    np.testing.assert_allclose(plain_logits(unrolled, tokens), expected, atol=TOLERANCE)
    for layer in range(4):
        # Each layer's kind is that of its place, and matters.
        turned = tuple("rotary" if (i == layer) != FOUR_KINDS.is_rotary(i) else "none" for i in range(4))
        other = replace(FOUR_KINDS, rotary_pattern=turned)
        assert np.abs(plain_logits((other, original[1]), tokens) - expected).max() > 1e-2
    for config, params in (original, unrolled):
        prompt, cache = forward(config, params, tokens[:, :5], cache=init_cache(config, 2, TIME))
        rest, _ = forward(config, params, tokens[:, 5:], cache=cache)
        np.testing.assert_allclose(np.concatenate([prompt, rest], 1), expected, atol=TOLERANCE)


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_layers_that_all_lack_positions_are_a_model_without_any(layers):
    config, params = in_layout(MAKES["llama"], random_params(MAKES["llama"]), layers)
    tokens = random_tokens(config, (2, TIME))
    without = plain_logits((replace(config, rotary_pattern=("none",)), params), tokens)
    np.testing.assert_array_equal(without, plain_logits((replace(config, positions="none"), params), tokens))


@pytest.mark.parametrize("name", ["llama", "gpt2"])  # scanned and unrolled
def test_recomputation_changes_memory_and_nothing_else(name):
    config = replace(MAKES[name], num_layers=1)
    params = random_params(config)
    tokens = random_tokens(config, (2, 5))

    def loss_of(remat):
        def loss(params):
            logits = Decoder(replace(config, remat=remat)).apply({"params": params}, tokens[:, :-1]).logits
            return token_losses(logits, tokens[:, 1:]).mean()

        return loss

    def products(remat):
        return str(jax.make_jaxpr(jax.grad(loss_of(remat)))(params)).count("dot_general")

    expected_loss, expected_gradients = quick_jit(jax.value_and_grad(loss_of("none")))(params)
    for remat in ("dots", "block"):
        loss, gradients = quick_jit(jax.value_and_grad(loss_of(remat)))(params)
        assert float(loss) == pytest.approx(float(expected_loss), abs=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradients, expected_gradients)
    # Blocks compute all products again, dots only those of attention.
    assert products("none") < products("dots") < products("block")


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"dtype": "bfloat16"}, {"matmul_precision": "bfloat16"}])
def test_recomputation_keeps_products_of_bfloat16_too(change):
    """These stand in a branch for each platform, into which no policy of JAX's looks."""
    config = replace(MAKES["llama"], num_layers=1, **change)
    params = random_params(config)
    tokens = random_tokens(config, (2, 17))

    def products(remat):
        def loss(params):
            logits = apply_model(replace(config, remat=remat), params, tokens[:, :-1]).logits
            return token_losses(logits, tokens[:, 1:]).mean()

        # After compilation, which removes what is computed again in vain.
        return jax.jit(jax.grad(loss)).lower(params).compile().as_text().count(" dot(")

    assert products("none") <= products("dots") < products("block")


@pytest.mark.parametrize("name", ["gpt2", "llama", "xla"])
def test_bfloat16_is_close_to_float32_and_gives_float32_logits(name):
    config, params = MAKES[name], random_params(MAKES[name])
    tokens = random_tokens(config, (2, TIME))
    exact = plain_logits((config, params), tokens)
    rounded, _ = forward(replace(config, dtype="bfloat16"), params, tokens)
    assert rounded.dtype == jnp.float32
    error = np.abs(np.asarray(rounded) - exact)
    assert error.mean() < 0.02 * exact.std()
    assert error.mean() > 1e-4 * exact.std()  # it was bfloat16 indeed


def test_the_logits_of_the_last_positions_can_be_had_alone():
    config = MAKES["gpt2"]
    params, tokens = random_params(config), random_tokens(config, (2, TIME))
    last = quick_jit(partial(Decoder(config).apply, num_logits=3))({"params": params}, tokens).logits
    np.testing.assert_allclose(last, plain_logits((config, params), tokens)[:, -3:], atol=TOLERANCE)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
def test_only_a_model_with_positions_knows_the_order_of_earlier_tokens(positions):
    config = replace(BASE, positions=positions, num_layers=1)
    tokens = random_tokens(config, (1, 4))
    swapped = tokens[:, [1, 0, 2, 3]]
    params = random_params(config)
    difference = np.abs(forward(config, params, tokens)[0] - forward(config, params, swapped)[0])[0, -1].max()
    # One causal layer alone cannot tell: it sees a set.
    assert difference < 1e-5 if positions == "none" else difference > 1e-3


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_taps_are_given_to_who_asks_for_them(layers):
    config, params = in_layout(MAKES["gpt2"], random_params(MAKES["gpt2"]), layers)
    tokens = random_tokens(config, (2, TIME))
    output, taken = quick_jit(partial(Decoder(config).apply, mutable=["taps"]))({"params": params}, tokens)
    taps = flat(taken["taps"]["layers"])
    where = {"scanned": ["stacked"], "unrolled": ["0", "1"]}[layers]
    names = ("attention/attention_weights", "attention/heads", "attention_output", "mlp/neurons", "mlp_output")
    names = (*names, "hidden_states")
    assert taps.keys() == {f"{layer}/{name}/0" for layer in where for name in names}
    for layer in where:
        weights = taps[f"{layer}/attention/attention_weights/0"]
        assert weights.shape[-4:] == (2, config.num_heads, TIME, TIME)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    # The last of the residual stream, normalised and scored against the token table, is the logits.
    x = taps[f"{where[-1]}/hidden_states/0"]
    x = np.asarray(x[-1] if layers == "scanned" else x, np.float64)
    norm = params["final_norm"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(x @ np.asarray(params["token_embedding"]["embedding"]).T, output.logits, atol=TOLERANCE)


def test_initial_parameters_are_gpt2s():
    config = replace(BASE, vocab_size=500, embed_dim=64, mlp_dim=256, num_layers=3, layers="scanned", init_std=0.05)
    boxed = quick_jit(Decoder(config).init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    params = flat(jax.tree.map(lambda box: box.value, boxed, is_leaf=lambda x: hasattr(x, "names")))
    back_to_the_stream = ("output/kernel", "down/kernel")
    for name, value in params.items():
        assert value.dtype == jnp.float32
        if name.endswith("scale"):
            np.testing.assert_array_equal(value, 1)
        elif name.endswith("bias"):
            np.testing.assert_array_equal(value, 0)
        else:
            expected = 0.05 / np.sqrt(2 * 3) if name.endswith(back_to_the_stream) else 0.05
            assert float(value.std()) == pytest.approx(expected, rel=0.05), name
            assert abs(float(value.mean())) < 0.05 * expected * 3, name
    kernel = params["layers/stacked/mlp/up/kernel"]
    assert np.abs(np.corrcoef(np.asarray(kernel).reshape(3, -1)) - np.eye(3)).max() < 0.05  # no layer like another


def test_the_original_transformer_equals_itself_written_out_in_float64():
    # Vaswani et al. 2017: scaled tokens and sinusoids, the sum normalised after each sublayer.
    config, params = in_layout(MAKES["original"], random_params(MAKES["original"]), "unrolled")
    tokens = random_tokens(config, (TIME,))
    width, heads, head_dim = config.embed_dim, config.num_heads, config.resolved_head_dim

    def linear(part, x):
        return x @ np.asarray(part["kernel"], np.float64) + part.get("bias", 0)

    def norm(part, x):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * part["scale"] + part["bias"]

    def attend(part, x):
        query, key, value = (linear(part[name], x).reshape(TIME, heads, head_dim) for name in ("query", "key", "value"))
        scores = np.einsum("thd,shd->hts", query, key) / np.sqrt(head_dim)
        weights = np.exp(np.where(np.tri(TIME, dtype=bool), scores, -np.inf))
        weights /= weights.sum(-1, keepdims=True)
        return linear(part["output"], np.einsum("hts,shd->thd", weights, value).reshape(TIME, -1))

    angles = np.arange(TIME)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    sinusoids = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(TIME, width)
    x = np.asarray(params["token_embedding"]["embedding"], np.float64)[tokens] * np.sqrt(width) + sinusoids
    for layer in params["layers"].values():
        x = norm(layer["attention_norm"], x + attend(layer["attention"], x))
        hidden = np.maximum(linear(layer["mlp"]["up"], x), 0)
        x = norm(layer["mlp_norm"], x + linear(layer["mlp"]["down"], hidden))
    logits = plain_logits((config, params), np.stack([tokens, tokens]))
    np.testing.assert_allclose(logits[0], linear(params["head"], x), atol=TOLERANCE)


GPT2_BLOCK = [
    *(f"attention/{part}/{kind}" for part in ("key", "output", "query", "value") for kind in ("bias", "kernel")),
    *(f"{norm}/{kind}" for norm in ("attention_norm", "mlp_norm") for kind in ("bias", "scale")),
    *(f"mlp/{part}/{kind}" for part in ("down", "up") for kind in ("bias", "kernel")),
]
LLAMA_BLOCK = [
    *(f"attention/{part}/kernel" for part in ("key", "output", "query", "value")),
    *(f"{norm}/scale" for norm in ("attention_norm", "mlp_norm")),
    *(f"mlp/{part}/kernel" for part in ("down", "gate", "up")),
]
PARAMETER_NAMES = {
    "gpt2": [
        *(f"final_norm/{kind}" for kind in ("bias", "scale")),
        *(f"layers/{layer}/{name}" for layer in (0, 1) for name in GPT2_BLOCK),
        "position_embedding/embedding",
        "token_embedding/embedding",
    ],
    "original": [
        "head/kernel",
        *(f"layers/stacked/{name}" for name in GPT2_BLOCK),
        "token_embedding/embedding",
    ],
    "llama": [
        "final_norm/scale",
        "head/kernel",
        *(f"layers/stacked/{name}" for name in LLAMA_BLOCK),
        "token_embedding/embedding",
    ],
}


@pytest.mark.parametrize("name", PARAMETER_NAMES)
def test_parameter_names_stay_what_checkpoints_hold(name):
    assert sorted(flat(random_params(MAKES[name]))) == sorted(PARAMETER_NAMES[name])
