"""Parameter and FLOP counts against published numbers, sums by hand and XLA's own count."""

from dataclasses import replace

import jax
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import (
    ForwardPass,
    abstract_params,
    count_params,
    forward_flops,
    param_axes,
    training_flops,
)
from jaxlm.models.decoder import Decoder

from .small_models import BASE, flat

NANOGPT_CPU = ModelConfig(vocab_size=65, max_length=64)
GPT2_124M = ModelConfig(vocab_size=50257, max_length=1024, num_layers=12, embed_dim=768, num_heads=12)
LLAMA = ModelConfig(
    vocab_size=32000,
    max_length=4096,
    num_layers=3,
    embed_dim=512,
    num_heads=8,
    num_kv_heads=2,
    mlp_dim=1376,
    positions="rotary",
    norm="rms_norm",
    feed_forward="swiglu",
    use_bias=False,
    head="untied",
)
LLAMA_PARAMS = 2 * 32000 * 512 + 3 * (2 * 512 * 512 + 2 * 512 * 128 + 3 * 512 * 1376 + 2 * 512) + 512


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
@pytest.mark.parametrize(
    ("config", "expected"),
    [(NANOGPT_CPU, 809_856), (GPT2_124M, 124_439_808), (LLAMA, LLAMA_PARAMS)],
    ids=["nanoGPT on CPU", "GPT-2 124M", "Llama"],
)
def test_parameter_counts_are_the_published_ones(config, expected, layers):
    assert count_params(replace(config, layers=layers)) == expected


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(
            vocab_size=64, max_length=256, num_layers=2, embed_dim=64, num_heads=2, attention="xla", layers="unrolled"
        ),
        ModelConfig(
            vocab_size=256,
            max_length=256,
            num_layers=2,
            embed_dim=64,
            num_heads=4,
            num_kv_heads=1,
            head_dim=32,
            mlp_dim=96,
            positions="rotary",
            norm="rms_norm",
            feed_forward="swiglu",
            use_bias=False,
            head="untied",
            attention="xla",  # which computes what the causal mask hides as well, as the formula counts
            layers="unrolled",
        ),
    ],
    ids=["gpt2", "llama"],
)
def test_flops_are_those_that_xla_counts(config):
    tokens = jax.ShapeDtypeStruct((1, 256), "int32")
    lowered = jax.jit(lambda params, tokens: Decoder(config).apply({"params": params}, tokens).logits).lower(
        abstract_params(config), tokens
    )
    counted, expected = lowered.cost_analysis()["flops"], forward_flops(ForwardPass(config, 1, 256))
    # XLA also counts softmax, norms and activations.
    assert counted == pytest.approx(expected, rel=0.07)
    assert counted >= expected


def test_a_training_step_takes_three_forward_passes():
    batch = ForwardPass(GPT2_124M, 8, 1024)
    assert training_flops([batch]) == 3 * forward_flops(batch)
    # The usual rule: 6 for each parameter in a product, and 12 * layers * width * length for attention.
    expected = 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024
    assert training_flops([batch]) == pytest.approx(8 * 1024 * expected, rel=0.001)


def per_token(config):
    return forward_flops(ForwardPass(config, 3, 64, source_length=64)) / (3 * 64)


def test_flops_count_what_a_token_meets():
    length = 64
    base = replace(BASE, use_bias=False)
    plain = per_token(base)
    # A window sees less, experts work as far as they are taken, a router is added.
    windowed = replace(base, window=8, layer_pattern=("local", "global"))
    assert plain - per_token(windowed) == 4 * 16 * (length - 8)
    gated = replace(base, feed_forward="swiglu")
    experts = replace(gated, num_experts=8, experts_per_token=2)
    mlp, router = 2 * 3 * 16 * 24, 2 * 16 * 8
    assert per_token(experts) - per_token(gated) == 2 * (mlp + router)
    # Two towers: the encoder's blocks, and cross-attention in the decoder's.
    towers = replace(base, architecture="encoder_decoder", num_encoder_layers=1)
    attention = 2 * 4 * 16 * 16 + 4 * 16 * length
    block = attention + 2 * 2 * 16 * 24
    assert per_token(towers) - plain == block + 2 * attention
    # One label for a whole sequence costs what it is read from and, once a sequence, pooler and classifier.
    labels = replace(base, task_head="sequence_classification", pooler="tanh", num_labels=3)
    of_sequence = 2 * 16 * 16 + 2 * 16 * 3
    assert per_token(labels) == pytest.approx(plain - 2 * 16 * base.vocab_size + of_sequence / length)


def test_a_generator_beside_the_model_is_counted_with_it():
    sizes = {"vocab_size": 100, "max_length": 32, "num_layers": 2, "embed_dim": 32, "num_heads": 4}
    alone = ModelConfig("encoder", task_head="replaced_token", layers="unrolled", **sizes)
    both = replace(alone, generator_heads=1)
    # Of 32 to 8 wide: a projection of the embeddings, per layer four maps and two norms, and 4 times the width; at last
    # a norm, and the head but for its table: dense, norm and bias.
    block = 4 * (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8) + 2 * 2 * 8
    own = (32 * 8 + 8) + 2 * block + 2 * 8 + (8 * 32 + 32) + 2 * 32 + 100
    assert count_params(both) - count_params(alone) == own
    # Its passes are counted on their own.
    assert forward_flops(ForwardPass(both, 2, 16)) == forward_flops(ForwardPass(alone, 2, 16))


def test_every_parameter_has_a_name_for_each_of_its_axes():
    for layers in ("scanned", "unrolled"):
        config = replace(BASE, layers=layers)
        shapes, axes = flat(abstract_params(config)), flat(param_axes(config))
        assert shapes.keys() == axes.keys()
        for name, shape in shapes.items():
            assert len(axes[name]) == len(shape.shape), name
            assert all(axes[name]), name
            assert (axes[name][0] == "layers") == (layers == "scanned" and name.startswith("layers/")), name
