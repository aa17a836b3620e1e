"""Activations by name: the same in both layouts, changed as an edit says, and free where nobody asks."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.inspection import activation_shapes, inspect
from jaxlm.models.model import apply_model
from jaxlm.nn.stack import with_layout
from jaxlm.nn.taps import Edit

from ..quick_compilation import quick_jit
from ..slow_cases import slow_after
from .small_models import BASE, DISENTANGLED, MAKES, random_params, random_tokens

TIME = 6
ENCODER = replace(BASE, architecture="encoder")
TOWERS = replace(BASE, architecture="encoder_decoder", decoder_start_id=0, positions="relative_buckets")
RECURRENT = ModelConfig(
    architecture="lstm", vocab_size=29, max_length=32, num_layers=2, embed_dim=16, positions="none", layers="unrolled"
)
ALL = {
    **{name: MAKES[name] for name in ("gpt2", "llama", "gemma")},
    **{"encoder": ENCODER, "two towers": TOWERS, "disentangled": DISENTANGLED},
}


def laid_out(config, layers):
    return replace(config, layers=layers), with_layout(random_params(config), layers)


def inputs_of(config):
    tokens = random_tokens(config, (2, TIME))
    more = {"encoder_tokens": random_tokens(config, (2, 4))} if config.architecture == "encoder_decoder" else {}
    return tokens, more


def run(config, params, tokens, see="*", edits=None, **more):
    return quick_jit(partial(inspect, config, see=(see,)))(params, tokens, edits=edits, **more)


@pytest.mark.parametrize("name", ALL)
def test_activations_are_the_same_in_both_layouts_and_leave_the_output_as_it_is(name):
    found = {}
    for layers in ("scanned", "unrolled"):
        config, params = laid_out(ALL[name], layers)
        tokens, more = inputs_of(config)
        output, seen = run(config, params, tokens, **more)
        plain = quick_jit(partial(apply_model, config))(params, tokens, **more)
        np.testing.assert_allclose(output.logits, plain.logits, atol=1e-5)
        assert {name: x.shape for name, x in seen.items()} == activation_shapes(config, params, tokens, **more)
        found[layers] = seen
    assert found["scanned"].keys() == found["unrolled"].keys()
    prefix = "decoder/" if name == "two towers" else ""
    assert {
        f"{prefix}embedding_output",
        f"{prefix}layers/1/attention/heads",
        f"{prefix}layers/0/mlp/neurons",
    } <= seen.keys()
    for place, x in found["scanned"].items():
        np.testing.assert_allclose(x, found["unrolled"][place], atol=1e-5, err_msg=place)


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
@pytest.mark.parametrize("name", slow_after(4, ALL))
def test_an_activation_put_in_from_another_run_gives_that_runs_output(name, layers):
    """What comes after the last hidden states depends on nothing else; what comes before is not changed."""
    config, params = laid_out(ALL[name], layers)
    tokens, more = inputs_of(config)
    last = "decoder/layers/1/hidden_states" if name == "two towers" else "layers/1/hidden_states"
    places = activation_shapes(config, params, tokens, **more)

    @quick_jit  # once, for changes of all places
    def changed(tokens, keep, add):
        edits = {place: Edit(keep=keep[place]) for place in places} | {last: Edit(keep=keep[last], add=add)}
        return inspect(config, params, tokens, edits=edits, **more)

    ones, nothing = dict.fromkeys(places, 1.0), jnp.zeros(places[last])
    own, ours = changed(tokens, ones, nothing)
    other, theirs = changed((tokens + 7) % config.vocab_size, ones, nothing)
    found, seen = changed(tokens, ones | {last: 0.0}, theirs[last])
    np.testing.assert_allclose(found.logits, other.logits, atol=1e-5)
    assert np.abs(found.logits - own.logits).max() > 1e-2
    for place in seen:
        expected = theirs[place] if place == last else ours[place]
        np.testing.assert_allclose(seen[place], expected, atol=1e-5, err_msg=place)
    # Every other place changes the output as well.
    for place in places:
        zero, _ = changed(tokens, ones | {place: 0.0}, nothing)
        assert np.abs(zero.logits - own.logits).max() > 1e-4, place


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_a_head_without_its_output_is_one_whose_rows_of_the_map_back_are_zero(layers):
    config, params = laid_out(MAKES["gpt2"], layers)
    tokens, _ = inputs_of(config)
    head, layer = 2, 1
    keep = jnp.ones((config.num_heads, 1)).at[head].set(0)
    ablated, _ = run(config, params, tokens, edits={f"layers/{layer}/attention/heads": Edit(keep=keep)})
    unrolled, own = laid_out(MAKES["gpt2"], "unrolled")
    width = config.resolved_head_dim
    kernel = own["layers"][str(layer)]["attention"]["output"]["kernel"]
    own["layers"][str(layer)]["attention"]["output"]["kernel"] = kernel.at[head * width : (head + 1) * width].set(0)
    expected = quick_jit(partial(apply_model, unrolled))(own, tokens)
    np.testing.assert_allclose(ablated.logits, expected.logits, atol=1e-5)


def test_attention_weights_that_are_changed_are_what_values_are_summed_by():
    config = replace(MAKES["gpt2"], num_layers=1)
    params = random_params(config)
    tokens, _ = inputs_of(config)
    uniform = jnp.tril(jnp.ones((TIME, TIME)))
    uniform = uniform / uniform.sum(-1, keepdims=True)
    place = "layers/0/attention/attention_weights"
    _, seen = run(config, params, tokens, edits={place: Edit(keep=0.0, add=uniform)})
    _, plain = run(config, params, tokens)
    # The mean of the values so far, by hand: with one-hot weights the values themselves.
    identity = {place: Edit(keep=0.0, add=jnp.eye(TIME))}
    _, values = run(config, params, tokens, edits=identity)
    expected = jnp.einsum("qk,bkhd->bqhd", uniform, values["layers/0/attention/heads"])
    np.testing.assert_allclose(seen["layers/0/attention/heads"], expected, atol=1e-5)
    assert np.abs(seen["layers/0/attention/heads"] - plain["layers/0/attention/heads"]).max() > 1e-3


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_the_gradient_at_an_activation_is_that_of_what_is_added_there(layers):
    config, params = laid_out(MAKES["llama"], layers)
    tokens, _ = inputs_of(config)
    place = "layers/0/hidden_states"

    def score(add):
        return inspect(config, params, tokens, ("embedding_output",), {place: Edit(add=add)})[0].logits[0, -1, 3]

    zeros = jnp.zeros((2, TIME, config.embed_dim))
    gradient = quick_jit(jax.grad(score))(zeros)
    step = 1e-2 * jax.random.normal(jax.random.key(1), zeros.shape)
    difference = (score(step) - score(-step)) / 2
    assert float(difference) == pytest.approx(float((gradient * step).sum()), rel=1e-2)
    assert np.abs(gradient[1]).max() == 0  # another row


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_directions_are_removed_and_layers_are_edited_each_by_its_own(layers):
    config, params = laid_out(MAKES["gpt2"], layers)
    tokens, _ = inputs_of(config)
    directions = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (config.embed_dim, 3)))[0].T
    edits = {
        "layers/0/hidden_states": Edit(remove=directions),
        "layers/1/hidden_states": Edit(add=directions[0], remove=3.0 * directions[0]),  # of any length
        "embedding_output": Edit(keep=2.0),
    }
    _, seen = run(config, params, tokens, edits=edits)
    _, plain = run(config, params, tokens)
    np.testing.assert_allclose(seen["layers/0/hidden_states"] @ directions.T, 0, atol=1e-5)
    np.testing.assert_allclose(seen["layers/1/hidden_states"] @ directions[0], 1, atol=1e-5)
    np.testing.assert_allclose(seen["embedding_output"], 2 * plain["embedding_output"], atol=1e-6)


TAPPED = ("block", "feed_forward", "multi_head_attention", "lstm", "relative_attention")


@pytest.mark.parametrize("name", [*ALL, "lstm"])
def test_without_edits_and_taps_the_program_is_the_same(name, monkeypatch):
    config = {**ALL, "lstm": RECURRENT}[name]
    params = random_params(config)
    tokens, more = inputs_of(config)

    def text(function):
        return jax.jit(lambda params, tokens: function(params, tokens)).lower(params, tokens).as_text()

    tapped = text(lambda params, tokens: apply_model(config, params, tokens, **more).logits)
    if name != "lstm":
        place = "decoder/embedding_output" if name == "two towers" else "embedding_output"
        edits = {place: Edit(keep=2.0)}
        assert text(lambda p, t: inspect(config, p, t, (place,), edits, **more)[0].logits) != tapped
    # As if the model had no taps.
    places = [
        *(f"jaxlm.nn.{module}.tap" for module in TAPPED),
        "jaxlm.models.tower.tap",
        "jaxlm.models.encoder_decoder.tap",
    ]
    for place in places:
        monkeypatch.setattr(place, lambda module, name, x: x)
    monkeypatch.setattr("jaxlm.nn.multi_head_attention.is_tapped", lambda module, name: False)
    assert text(lambda params, tokens: apply_model(config, params, tokens, **more).logits) == tapped


@pytest.mark.parametrize("position", ["pre", "sandwich", "output"])
@pytest.mark.parametrize("residual", ["sequential", "parallel"])
def test_outputs_are_what_is_added_to_the_residual_stream(position, residual):
    if residual == "parallel" and position != "pre":
        return  # refused
    config = replace(MAKES["llama"], norm_position=position, residual=residual)
    tokens, _ = inputs_of(config)
    _, seen = run(config, random_params(config), tokens)
    x = seen["embedding_output"]
    for layer in range(config.num_layers):
        x = x + seen[f"layers/{layer}/attention_output"] + seen[f"layers/{layer}/mlp_output"]
        np.testing.assert_allclose(x, seen[f"layers/{layer}/hidden_states"], atol=1e-5)


def test_arguments_that_are_no_arrays_are_passed_on():
    config, params = MAKES["gpt2"], random_params(MAKES["gpt2"])
    tokens, _ = inputs_of(config)
    output, _ = inspect(config, params, tokens, num_logits=1, deterministic=True)
    assert output.logits.shape[1] == 1


def test_what_there_is_no_activation_for_is_named():
    config, params = MAKES["gpt2"], random_params(MAKES["gpt2"])
    tokens, _ = inputs_of(config)
    with pytest.raises(
        UsageError, match=r"no activation is called 'layers/2/hidden_states' \(did you mean .*layers/N/mlp"
    ):
        inspect(config, params, tokens, edits={"layers/2/hidden_states": Edit()})
    with pytest.raises(UsageError, match="no activation is called 'layer/"):
        inspect(config, params, tokens, ("layer/*",))
    with pytest.raises(UsageError, match=r"the edit of embedding_output is 0\.0, not a jaxlm\.nn\.taps\.Edit"):
        inspect(config, params, tokens, edits={"embedding_output": 0.0})
    with pytest.raises(
        UsageError, match=r"removes directions \(3,\) of an activation \(2, 6, 16\): give .directions, 16"
    ):
        inspect(config, params, tokens, edits={"embedding_output": Edit(remove=jnp.ones(3))})
    with pytest.raises(UsageError, match="leave target_mapping out"):
        inspect(config, params, tokens, target_mapping=jnp.zeros((2, 1, 6)))
    with pytest.raises(ValueError, match="give one"):
        apply_model(config, params, tokens, embeddings=jnp.zeros((2, 6, 16)))
    with pytest.raises(ValueError, match=r"an edit of an activation \(2, 6, 16\) has the shape \(5, 2, 6, 16\)"):
        inspect(config, params, tokens, edits={"embedding_output": Edit(add=jnp.zeros((5, 1, 6, 16)))})


@pytest.mark.parametrize("name", ["gpt2", "gemma", "encoder", "two towers"])
def test_embeddings_of_the_tokens_in_their_place_give_the_same(name):
    config = ALL[name]
    params = random_params(config)
    tokens, more = inputs_of(config)
    table = params["token_embedding"]["embedding"]
    scale = np.sqrt(config.resolved_embedding_dim) if config.scales_embedding else 1.0
    given = {"embeddings": table[tokens] * scale}
    if more:
        given["encoder_embeddings"] = table[more["encoder_tokens"]] * scale
    expected = apply_model(config, params, tokens, **more).logits
    np.testing.assert_allclose(apply_model(config, params, None, **given).logits, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"give tokens, or embeddings \[batch, time, 16\]; they are"):
        apply_model(config, params, None, **{**given, "embeddings": jnp.zeros((2, TIME, 5))})
    with pytest.raises(ValueError, match="give tokens, or embeddings"):
        apply_model(config, params, None, **more)


def test_a_cache_is_filled_by_embeddings_as_by_tokens():
    from jaxlm.models.model import init_cache

    config = MAKES["llama"]
    params = random_params(config)
    tokens, _ = inputs_of(config)
    expected = apply_model(config, params, tokens).logits
    first = apply_model(
        config,
        params,
        None,
        embeddings=params["token_embedding"]["embedding"][tokens[:, :4]],
        cache=init_cache(config, 2, TIME),
    )
    second = apply_model(config, params, tokens[:, 4:], cache=first.cache)
    found = jnp.concatenate([first.logits, second.logits], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
