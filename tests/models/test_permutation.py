"""XLNet: as PyTorch transformers computed it once (record_xlnet.py), and what must hold of any permuted order."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.hub.families.xlnet import FAMILY
from jaxlm.hub.mapping import read_params
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.permutation import Permutation, init_memory
from jaxlm.nn.relative_attention import by_key, distance_encodings
from jaxlm.tasks.cross_entropy import token_losses

from ..quick_compilation import quick_jit
from .record_xlnet import FIXTURE, SIZES
from .small_models import flat, in_layout

CONFIG = ModelConfig(
    architecture="permutation",
    vocab_size=SIZES["vocab_size"],
    num_layers=SIZES["n_layer"],
    embed_dim=SIZES["d_model"],
    num_heads=SIZES["n_head"],
    mlp_dim=SIZES["d_inner"],
    token_types=4,
    positions="transformer_xl",
    norm_position="post",
    norm_epsilon=1e-12,
    feed_forward="gelu",
    qkv_bias=False,
    attention_output_bias=False,
    head_bias=True,
    layers="unrolled",
)
STREAMS = ("tokens", "token_types", "segment_ids", "permutation_mask", "target_mapping")


class Arrays:
    """Arrays by name, for `read_params`."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.folder = Path("arrays")
        self.arrays = arrays
        self.tensors = {name: TensorInfo(array.dtype, array.shape) for name, array in arrays.items()}

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def equal(self, one: str, other: str) -> bool:
        return bool(np.array_equal(self.arrays[one], self.arrays[other]))


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(FIXTURE, allow_pickle=False) as file:
        return dict(file)


def params_of(recorded: dict, kind: str = "parameters") -> dict:
    """Parameters, or gradients, in our names."""
    arrays = {name.removeprefix(f"{kind}/"): value for name, value in recorded.items() if name.startswith(kind)}
    entries = FAMILY.entries(CONFIG)
    return read_params(Arrays(arrays), entries, abstract_params(CONFIG), lambda path, array: jnp.asarray(array))


def apply(params: Any, config: ModelConfig = CONFIG, **inputs: Any) -> Any:
    return Permutation(config).apply({"params": params}, **inputs)


forward = partial(quick_jit, static_argnames="config")(apply)


def test_it_equals_the_recorded_one_in_logits_and_gradients(recorded):
    params = params_of(recorded)
    plain = forward(params, **{name: recorded[name] for name in STREAMS[:3]})
    real = recorded["segment_ids"] != 0
    assert recorded["plain_logits"].std() > 0.3
    np.testing.assert_allclose(plain.logits[real], recorded["plain_logits"][real], atol=1e-5)

    def loss(params):
        logits = apply(params, **{name: recorded[name] for name in STREAMS}).logits
        return token_losses(logits, recorded["targets"]).mean(), logits

    (value, logits), gradients = quick_jit(jax.value_and_grad(loss, has_aux=True))(params)
    np.testing.assert_allclose(logits, recorded["logits"], atol=1e-5)
    np.testing.assert_allclose(value, recorded["loss"], atol=1e-5)
    expected = flat(params_of(recorded, "gradients"))
    for name, gradient in flat(gradients).items():
        assert np.abs(expected[name]).max() > 1e-4, name
        np.testing.assert_allclose(gradient, expected[name], atol=1e-5, err_msg=name)


def test_scores_by_distance_become_scores_by_key():
    time, key_time = 3, 5
    distances = np.arange(key_time, -time, -1, dtype=np.float32)
    assert distance_encodings(time, key_time, 4).shape == (1, len(distances), 4)
    scores = np.broadcast_to(distances, (1, 2, time, len(distances)))
    # Queries are the last of the keys.
    expected = (np.arange(time)[:, None] + key_time - time) - np.arange(key_time)
    assert np.array_equal(by_key(jnp.asarray(scores), key_time)[0, 1], expected)


def test_what_comes_later_in_the_order_is_hidden_from_what_is_predicted(recorded):
    params = params_of(recorded)
    order = np.array([3, 0, 4, 1, 5, 2, 6])
    rank = np.argsort(order)
    visible = (rank[None, :] < rank[:, None])[None]
    inputs = {"permutation_mask": visible, "target_mapping": np.eye(7, dtype=np.float32)[order][None]}

    def logits(embedding, tokens):
        changed = {**params, "token_embedding": {"embedding": embedding}, "head": head}
        return apply(changed, untied, tokens=tokens, **inputs).logits[0]

    # All tokens differ and the head is another matrix, so that a row of the embedding has the gradient of one token.
    untied = replace(CONFIG, head="untied")
    embedding = params["token_embedding"]["embedding"]
    head = {**params["head"], "kernel": embedding.T}
    tokens = np.arange(7, dtype=np.int32)[None]
    gradients = quick_jit(jax.jacrev(lambda embedding: logits(embedding, tokens).std(axis=-1)))(embedding)
    touched = np.abs(gradients[:, :7]).max(axis=-1) > 1e-7
    for step in range(7):
        assert set(touched[step].nonzero()[0]) == set(order[:step]), step


def test_packed_documents_are_read_as_if_alone_and_left_padding_changes_nothing(recorded):
    params, tokens = params_of(recorded), recorded["tokens"]
    segment_ids = np.array([[1, 1, 1, 0, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1]], np.int32)
    packed = forward(params, tokens=tokens, segment_ids=segment_ids).logits
    for row, start, end in ((0, 0, 3), (0, 4, 7), (1, 4, 7)):
        alone = forward(params, tokens=tokens[row : row + 1, start:end]).logits
        np.testing.assert_allclose(packed[row, start:end], alone[0], atol=1e-5)
    assert np.abs(packed - forward(params, tokens=tokens).logits)[0].max() > 0.1


def test_scanned_and_unrolled_layers_and_recomputation_are_the_same_model(recorded):
    inputs = {name: recorded[name] for name in STREAMS}
    unrolled = forward(params_of(recorded), **inputs, memory=init_memory(CONFIG, 2))
    config, params = in_layout(CONFIG, params_of(recorded), "scanned")
    scanned = forward(params, replace(config, remat="block"), **inputs, memory=init_memory(CONFIG, 2))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), scanned, unrolled)


@pytest.mark.slow
def test_memory_is_of_the_same_segment_without_padding_and_has_no_gradient(recorded):
    params, tokens = params_of(recorded), recorded["tokens"]
    before, now = tokens[:, :4], tokens[:, 4:]
    padded = np.array([[0, 0, 1, 1], [1, 1, 1, 1]], np.int32)
    memory = forward(params, tokens=before, segment_ids=padded, memory=init_memory(CONFIG, 2)).memory
    with_padding = forward(params, tokens=now, memory=memory).logits
    cut = forward(params, tokens=before[:, 2:], memory=init_memory(CONFIG, 2)).memory
    without = forward(params, tokens=now, memory=cut).logits
    np.testing.assert_allclose(with_padding[0], without[0], atol=1e-5)
    assert np.abs(with_padding[1] - without[1]).max() > 1e-3
    assert jax.tree.leaves(memory.last(1))[0].shape == (2, 2, 1, 8)

    def through_memory(scale):
        first = {**params, "token_embedding": {"embedding": scale * params["token_embedding"]["embedding"]}}
        kept = apply(first, tokens=before, memory=init_memory(CONFIG, 2)).memory
        return apply(params, tokens=now, memory=kept).logits.std()

    through = quick_jit(jax.value_and_grad(through_memory))
    (one, gradient), (other, _) = through(1.0), through(2.0)
    assert gradient == 0
    assert one != other


def test_dropout_is_drawn_in_training(recorded):
    params = params_of(recorded)
    config = replace(CONFIG, dropout_rate=0.3, attention_dropout_rate=0.3)

    @quick_jit
    def drawn(seed):
        model = Permutation(config)
        inputs = {name: recorded[name] for name in STREAMS}
        return model.apply({"params": params}, **inputs, deterministic=False, rngs={"dropout": jax.random.key(seed)})

    first, second = (drawn(seed).logits for seed in range(2))
    assert np.abs(first - second).max() > 0.1
    assert np.abs(first - recorded["logits"]).max() > 0.1
