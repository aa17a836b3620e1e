"""Encoder-decoders: cached equals whole, padding and packing change nothing, and the original is PyTorch's."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.encoder_decoder import EncoderDecoder
from jaxlm.models.tower import init_cache
from jaxlm.nn.stack import with_layout

from ..quick_compilation import quick_jit
from .small_models import flat, random_params, random_tokens

TOLERANCE = 1e-5
BASE = ModelConfig(
    architecture="encoder_decoder",
    vocab_size=29,
    max_length=24,
    num_layers=2,
    num_encoder_layers=1,
    embed_dim=16,
    num_heads=4,
    mlp_dim=24,
    decoder_start_id=0,
    layers="unrolled",
)
ORIGINAL = replace(BASE, positions="sinusoidal", norm_position="post", feed_forward="relu")
T5 = replace(
    BASE,
    positions="relative_buckets",
    relative_buckets=8,
    relative_max_distance=12,
    attention_scale=1.0,
    norm="rms_norm",
    feed_forward="relu",
    use_bias=False,
    scale_head=True,
    head_dim=6,
    layers="scanned",
)
MAKES = {
    "t5": T5,
    "bart": replace(
        BASE,
        position_offset=2,
        embedding_norm=True,
        norm_position="post",
        feed_forward="gelu",
        head_bias=True,
        layers="scanned",
    ),
    "marian": replace(
        ORIGINAL, positions="sinusoidal_halves", feed_forward="silu", head_bias=True, num_encoder_layers=3
    ),
}
SOURCE, TARGET = 12, 10
SHORT_SOURCE, SHORT_TARGET = 5, 4


@partial(quick_jit, static_argnums=0)
def run(config: ModelConfig, params: dict, inputs: dict):
    return EncoderDecoder(config).apply({"params": params}, **inputs)


@pytest.fixture(scope="module", params=MAKES)
def model(request) -> tuple[ModelConfig, dict]:
    config = MAKES[request.param]
    return config, random_params(config)


def texts(batch: int = 2) -> dict[str, np.ndarray]:
    return {
        "tokens": random_tokens(BASE, (batch, TARGET)),
        "encoder_tokens": random_tokens(BASE, (batch, SOURCE), seed=1),
    }


def placed(time: int, *places: slice) -> tuple[np.ndarray, np.ndarray]:
    """Segment ids and positions of a row with a segment at each place, and padding elsewhere."""
    segments, positions = np.zeros(time, np.int32), np.full(time, 3, np.int32)
    for i, place in enumerate(places):
        segments[place] = i + 1
        positions[place] = np.arange(place.stop - place.start)
    return segments, positions


def rows(*places) -> dict[str, np.ndarray]:
    """Segment ids and positions of both sides, for rows with pairs of (target, source) at these places."""
    fields: dict[str, list] = {"segment_ids": [], "positions": [], "encoder_segment_ids": [], "encoder_positions": []}
    for pairs in places:
        values = *placed(TARGET, *(pair[0] for pair in pairs)), *placed(SOURCE, *(pair[1] for pair in pairs))
        for name, value in zip(fields, values, strict=True):
            fields[name].append(value)
    return {name: np.stack(values) for name, values in fields.items()}


def of_target(inputs: dict, place: slice) -> dict:
    """The inputs of a decoder for a part of its target."""
    return {name: inputs[name][:, place] for name in ("tokens", "segment_ids", "positions")}


def in_pieces(config: ModelConfig, params: dict, inputs: dict) -> np.ndarray:
    """Logits by a cache: the first call reads the source and four tokens, the others a token each."""
    source = {name: value for name, value in inputs.items() if name.startswith("encoder_")}
    cache = init_cache(config, 2, TARGET + 3)
    output = run(config, params, {**of_target(inputs, slice(0, 4)), **source, "cache": cache})
    pieces = [output.logits]
    for t in range(4, TARGET):
        output = run(config, params, {**of_target(inputs, slice(t, t + 1)), "cache": output.cache})
        pieces.append(output.logits)
    return np.concatenate(pieces, axis=1)


def test_every_target_is_read_after_the_whole_source_and_those_before_it(model):
    config, params = model
    given = texts()
    before = run(config, params, given).logits
    changed = {**given, "tokens": given["tokens"].copy()}
    changed["tokens"][:, 4] = (changed["tokens"][:, 4] + 1) % 29
    after = run(config, params, changed).logits
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (np.abs(after[:, 4:] - before[:, 4:]).max(-1) > 1e-4).all()
    for place in (0, SOURCE - 1):
        changed = {**given, "encoder_tokens": given["encoder_tokens"].copy()}
        changed["encoder_tokens"][:, place] = (changed["encoder_tokens"][:, place] + 1) % 29
        assert (np.abs(run(config, params, changed).logits - before).max(-1) > 1e-4).all()


WHOLE = (slice(0, TARGET), slice(0, SOURCE))
LEFT = (slice(TARGET - SHORT_TARGET, TARGET), slice(SOURCE - SHORT_SOURCE, SOURCE))
RIGHT = (slice(0, SHORT_TARGET), slice(0, SHORT_SOURCE))


@pytest.mark.slow
def test_padded_sources_and_targets_give_what_unpadded_ones_give(model):
    config, params = model
    given = texts()
    short = {"tokens": given["tokens"][:, :SHORT_TARGET], "encoder_tokens": given["encoder_tokens"][:, :SHORT_SOURCE]}
    expected = run(config, params, short).logits
    # The padding holds tokens of its own, which nobody may see.
    for row, (target, source) in enumerate((LEFT, RIGHT)):
        given["tokens"][row, target] = short["tokens"][row]
        given["encoder_tokens"][row, source] = short["encoder_tokens"][row]
    output = run(config, params, {**given, **rows([LEFT], [RIGHT])})
    for row, (target, _) in enumerate((LEFT, RIGHT)):
        np.testing.assert_allclose(output.logits[row, target], expected[row], atol=TOLERANCE)
    assert np.isfinite(output.logits).all()


# Two pairs in a row, and padding behind them.
PAIRS = (RIGHT, (slice(4, 8), slice(5, 10)))
PACKED = rows(PAIRS, PAIRS)


def test_packed_pairs_give_what_separate_ones_give(model):
    config, params = model
    given = texts()
    packed = run(config, params, {**given, **PACKED}).logits
    for target, source in PAIRS:
        alone = {"tokens": given["tokens"][:, target], "encoder_tokens": given["encoder_tokens"][:, source]}
        np.testing.assert_allclose(packed[:, target], run(config, params, alone).logits, atol=TOLERANCE)


def test_nothing_leaks_from_a_pair_into_another(model):
    config, params = model
    given = texts()
    before = np.asarray(run(config, params, {**given, **PACKED}).logits)
    for pair, (target, source) in enumerate(PAIRS):
        changed = {name: value.copy() for name, value in given.items()}
        changed["tokens"][:, target] = (changed["tokens"][:, target] + 1) % 29
        changed["encoder_tokens"][:, source] = (changed["encoder_tokens"][:, source] + 1) % 29
        after = np.asarray(run(config, params, {**changed, **PACKED}).logits)
        other, own = PACKED["segment_ids"] == 2 - pair, PACKED["segment_ids"] == 1 + pair
        np.testing.assert_array_equal(after[other], before[other])
        assert (np.abs(after[own] - before[own]).max(-1) > 1e-3).all()
    # Nor from padding.
    changed = {name: value.copy() for name, value in given.items()}
    changed["tokens"][:, 8:] = changed["encoder_tokens"][:, 10:] = 5
    after = np.asarray(run(config, params, {**changed, **PACKED}).logits)
    np.testing.assert_array_equal(after[:, :8], before[:, :8])


@pytest.mark.parametrize(
    "places",
    [
        rows([WHOLE], [WHOLE]),
        rows([LEFT], [WHOLE]),
        rows([(WHOLE[0], RIGHT[1])], [WHOLE]),
        PACKED,
    ],
    ids=["whole", "left-padded", "right-padded sources", "packed"],
)
def test_cached_logits_equal_those_of_the_whole(model, places):
    config, params = model
    inputs = {**texts(), **places}
    cached, whole = in_pieces(config, params, inputs), run(config, params, inputs).logits
    real = inputs["segment_ids"] != 0
    np.testing.assert_allclose(cached[real], whole[real], atol=TOLERANCE)
    assert np.isfinite(cached).all()


def test_a_step_without_segment_ids_sees_the_one_text_of_its_row():
    params = random_params(T5)
    inputs = {**texts(), **rows([(WHOLE[0], RIGHT[1])], [WHOLE])}
    whole = run(T5, params, inputs).logits
    first = {**inputs, **of_target(inputs, slice(0, TARGET - 1)), "cache": init_cache(T5, 2, TARGET)}
    cache = run(T5, params, first).cache
    step = {"tokens": inputs["tokens"][:, -1:], "positions": inputs["positions"][:, -1:], "cache": cache}
    np.testing.assert_allclose(run(T5, params, step).logits, whole[:, -1:], atol=TOLERANCE)


def test_scanned_layers_equal_unrolled_ones_and_both_towers_share_the_embedding():
    params = random_params(T5)
    config, unrolled = replace(T5, layers="unrolled"), with_layout(params, "unrolled")
    assert jax.tree.structure(unrolled) == jax.tree.structure(random_params(config))
    given = texts()
    np.testing.assert_allclose(run(config, unrolled, given).logits, run(T5, params, given).logits, atol=TOLERANCE)
    vocabulary = [path for path, leaf in flat(params).items() if 29 in leaf.shape]
    assert vocabulary == ["token_embedding/embedding"]


def test_a_source_is_needed_once():
    params = random_params(T5)
    target = {"tokens": texts()["tokens"]}
    with pytest.raises(ValueError, match="no source: give encoder_tokens, or a cache that has read them"):
        run(T5, params, target)
    with pytest.raises(ValueError, match="no source"):
        run(T5, params, {**target, "cache": init_cache(T5, 2, TARGET)})


def torch_transformer(config: ModelConfig):
    """torch.nn.Transformer without its final norms, which the paper does not have, and one shared embedding."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    sizes = {"d_model": 16, "nhead": 4, "dim_feedforward": 24, "dropout": 0.0, "batch_first": True}
    model = nn.ModuleDict(
        {
            "encoder": nn.TransformerEncoder(
                nn.TransformerEncoderLayer(**sizes), config.resolved_encoder_layers, enable_nested_tensor=False
            ),
            "decoder": nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), config.num_layers),
            "embedding": nn.Embedding(config.vocab_size, 16),
        }
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(normal + ("norm" in name and name.endswith("weight")))
    return torch, model


def from_torch(model, value) -> dict:
    """The parameters of a torch model, or their gradients, as ours; `value` takes the array from a parameter."""

    def linear(layer, name):
        weight, bias = value(getattr(layer, f"{name}weight")), value(getattr(layer, f"{name}bias"))
        return {"kernel": weight.T, "bias": bias}

    def attention(layer):
        fused = linear(layer, "in_proj_")
        parts = {
            part: {"kernel": fused["kernel"][:, 16 * i : 16 * i + 16], "bias": fused["bias"][16 * i : 16 * i + 16]}
            for i, part in enumerate(("query", "key", "value"))
        }
        return {**parts, "output": linear(layer.out_proj, "")}

    def norm(layer):
        return {"scale": value(layer.weight), "bias": value(layer.bias)}

    def block(layer, cross):
        ours = {
            "attention": attention(layer.self_attn),
            "attention_norm": norm(layer.norm1),
            "mlp": {"up": linear(layer.linear1, ""), "down": linear(layer.linear2, "")},
            "mlp_norm": norm(layer.norm3 if cross else layer.norm2),
        }
        if cross:
            ours |= {"cross_attention": attention(layer.multihead_attn), "cross_attention_norm": norm(layer.norm2)}
        return ours

    towers = {
        tower: {"layers": {str(i): block(layer, tower == "decoder") for i, layer in enumerate(model[tower].layers)}}
        for tower in ("encoder", "decoder")
    }
    return {**towers, "token_embedding": {"embedding": value(model["embedding"].weight)}}


def test_the_original_transformer_is_pytorchs_in_values_and_gradients():
    """Vaswani et al. 2017, sections 3 and 5.4: the embedding is input of both towers and output, labels are smooth."""
    torch, model = torch_transformer(ORIGINAL)
    given = texts()
    targets = random_tokens(BASE, (2, TARGET), seed=2)
    real = np.arange(SOURCE) < np.array([[SOURCE], [8]])
    table = np.zeros((SOURCE, 16))
    for i in range(8):
        angle = np.arange(SOURCE) / 10000 ** (2 * i / 16)
        table[:, 2 * i], table[:, 2 * i + 1] = np.sin(angle), np.cos(angle)
    table = torch.tensor(table, dtype=torch.float32)

    def embedded(tokens):
        return model["embedding"](torch.tensor(tokens).long()) * 4 + table[: tokens.shape[1]]

    padding = torch.tensor(~real)
    encoded = model["encoder"](embedded(given["encoder_tokens"]), src_key_padding_mask=padding)
    hidden = model["decoder"](
        embedded(given["tokens"]),
        encoded,
        tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(TARGET),
        tgt_is_causal=True,
        memory_key_padding_mask=padding,
    )
    logits = hidden @ model["embedding"].weight.T
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(targets).long().flatten(), label_smoothing=0.1
    )
    loss.backward()

    params = jax.tree.map(jnp.asarray, from_torch(model, lambda parameter: parameter.detach().numpy()))
    expected = from_torch(model, lambda parameter: parameter.grad.numpy())
    inputs = {**given, "encoder_segment_ids": real.astype(np.int32)}
    output = run(ORIGINAL, params, inputs)
    np.testing.assert_allclose(output.hidden_states, hidden.detach().numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(output.logits, logits.detach().numpy(), atol=TOLERANCE)

    def our_loss(params):
        log_likelihoods = jax.nn.log_softmax(EncoderDecoder(ORIGINAL).apply({"params": params}, **inputs).logits)
        of_targets = jnp.take_along_axis(log_likelihoods, targets[..., None], axis=-1)[..., 0]
        return -(0.9 * of_targets + 0.1 * log_likelihoods.mean(-1)).mean()

    value, gradients = quick_jit(jax.value_and_grad(our_loss))(params)
    np.testing.assert_allclose(value, loss.item(), atol=TOLERANCE)
    assert flat(gradients).keys() == flat(expected).keys()
    for path, gradient in flat(expected).items():
        assert np.abs(gradient).max() > 1e-5 or path.endswith("key/bias")
        np.testing.assert_allclose(flat(gradients)[path], gradient, atol=1e-4, err_msg=path)
