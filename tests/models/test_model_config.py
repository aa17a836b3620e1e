"""ModelConfig: what it derives and what it refuses."""

import math
from dataclasses import replace
from functools import partial

import pytest

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig, RotaryScaling

LONGROPE = partial(replace, RotaryScaling("longrope", 2.0, 8, short_factors=(1.0, 1.5), long_factors=(2.0, 3.0)))
XLNET = {
    **{"architecture": "permutation", "positions": "transformer_xl", "norm_position": "post"},
    **{"qkv_bias": False, "attention_output_bias": False},
}
DEBERTA = {"architecture": "encoder", "positions": "disentangled"}


def test_widths_follow_from_the_others_unless_given():
    config = ModelConfig(embed_dim=48, num_heads=6)
    assert (config.resolved_head_dim, config.resolved_kv_heads, config.resolved_mlp_dim) == (8, 6, 192)
    config = replace(config, head_dim=16, num_kv_heads=2, mlp_dim=100)
    assert (config.resolved_head_dim, config.resolved_kv_heads, config.resolved_mlp_dim) == (16, 2, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({name: 0}, f"model.{name} is 0") for name in ("vocab_size", "max_length", "num_kv_heads", "head_dim")),
        *(({name: 0}, f"model.{name} is 0") for name in ("num_layers", "embed_dim", "num_heads", "mlp_dim")),
        ({"dropout_rate": 1.0}, "model.dropout_rate is 1.0"),
        ({"attention_dropout_rate": -0.1}, "model.attention_dropout_rate is -0.1"),
        *(({name: 0.0}, f"model.{name}") for name in ("norm_epsilon", "init_std", "rotary_theta")),
        ({"embed_dim": 130}, "model.embed_dim 130 is not divisible by model.num_heads 4"),
        ({"num_kv_heads": 3}, "model.num_heads 4 is not a multiple of model.num_kv_heads 3"),
        ({"rotary_scaling": RotaryScaling("longrope", 2.0, 8)}, "short_factors and .*'longrope' go together"),
        (
            {"rotary_scaling": RotaryScaling("yarn", 2.0, 8, long_factors=(1.0,))},
            "long_factors and .*the kind is 'yarn'",
        ),
        ({"rotary_scaling": LONGROPE(short_factors=(1.0, -2.0))}, "short_factors must all be positive and finite"),
        ({"rotary_scaling": LONGROPE(long_factors=(math.inf,))}, "long_factors must all be positive and finite"),
        ({"rotary_scaling": LONGROPE(original_max_length=None)}, "needs an original_max_length of at least 2"),
        (
            {"positions": "rotary", "head_dim": 8, "rotary_scaling": LONGROPE(long_factors=(1.0,) * 3)},
            "short_factors has 2 factors; the 8 rotated features of a head need 4",
        ),
        ({"positions": "rotary", "head_dim": 7}, "even number of rotated features, not 7"),
        ({"positions": "sinusoidal", "embed_dim": 129, "head_dim": 8}, "even model.embed_dim, not 129"),
        ({"attention": "xla", "attention_dropout_rate": 0.1}, "'xla' has no dropout"),
        ({"attention": "cudnn"}, "bfloat16 only"),
        ({"qk_norm_over": "projection"}, "model.qk_norm_over 'projection' is for a model with model.qk_norm"),
        ({"residual": "parallel", "norm_position": "output"}, "'parallel' needs model.norm_position 'pre'"),
        ({"skip_first_norm": True, "norm_position": "output"}, "model.skip_first_norm needs model.norm_position 'pre'"),
        ({**XLNET, "norm_position": "output"}, "model.norm_position is 'output'; .*'permutation' needs 'post'"),
        ({"rotary_pattern": ("rotary", "none")}, "are for model.positions 'rotary', not 'learned'"),
        ({"rotary_pattern": ()}, "model.rotary_pattern is empty"),
        ({"renormalize_experts": False}, "model.renormalize_experts false is for a model with model.num_experts"),
        ({"router_bias": True}, "model.router_bias is for a model with model.num_experts"),
        ({"num_experts": 2}, "model.num_experts needs a gated model.feed_forward"),
        ({"feed_forward_limit": 7.0}, "model.feed_forward_limit needs a gated model.feed_forward, not 'gelu_tanh'"),
        ({"feed_forward_limit": 0.0, "feed_forward": "swiglu"}, "model.feed_forward_limit is 0.0; it must be positive"),
        ({"attention_sinks": True, "attention": "xla"}, "'xla' knows neither soft caps nor sinks"),
        ({"attention_sinks": True, "architecture": "encoder_decoder"}, "model.attention_sinks is for one tower"),
        ({**XLNET, "attention_sinks": True}, "model.attention_sinks is True; .*'permutation' needs False"),
        ({"architecture": "permutation"}, "model.positions 'transformer_xl'"),
        ({**XLNET, "norm_position": "pre"}, "model.norm_position is 'pre'; .*'permutation' needs 'post'"),
        ({**XLNET, "qkv_bias": None}, "model.qkv_bias is None; .* needs False"),
        ({**XLNET, "embed_dim": 129, "head_dim": 8}, "even model.embed_dim, not 129"),
        *(
            ({"relative_bias": True, "positions": name}, f"model.relative_bias goes with .* not '{name}'")
            for name in ("rotary", "relative_buckets", "none")
        ),
        ({"relative_bias": True, "attention": "xla"}, "knows neither soft caps nor sinks nor position biases"),
        ({"positions": "disentangled"}, "model.architecture is 'decoder'; .*'disentangled' needs 'encoder'"),
        ({**DEBERTA, "attention": "xla"}, "model.attention is 'xla'; .*'disentangled' needs 'reference'"),
        ({**DEBERTA, "qk_norm": True}, "model.qk_norm is True; .*'disentangled' needs False"),
        ({**DEBERTA, "attention_soft_cap": 3.0}, "model.attention_soft_cap is 3.0; .*'disentangled' needs None"),
        ({**DEBERTA, "num_kv_heads": 2}, "model.num_kv_heads is 2; .*'disentangled' needs as many as .*, 4"),
        ({**DEBERTA, "disentangled_terms": ()}, r"model.disentangled_terms is \(\); name one or two"),
        ({**DEBERTA, "disentangled_terms": ("content_to_position",) * 2}, "model.disentangled_terms .* each once"),
        *(({**DEBERTA, "relative_buckets": n}, f"model.relative_buckets is {n}; .* 4 to .*, 256") for n in (2, 9, 258)),
        ({"architecture": "lstm"}, "model.positions is 'learned'; .*'lstm' needs 'none'"),
        ({"architecture": "lstm", "positions": "none", "token_types": 2}, "model.token_types is 2; .* needs 0"),
    ],
    ids=str,
)
def test_impossible_models_are_refused_by_the_name_of_the_field(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(ModelConfig(), **changes).validate()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"embed_dim": 130, "head_dim": 32},
        {"positions": "rotary", "head_dim": 8, "rotary_fraction": 0.5, "rotary_scaling": LONGROPE()},
        {"num_kv_heads": 1},
        {"attention": "cudnn", "dtype": "bfloat16"},
        {"attention": "xla", "dropout_rate": 0.1},
        {"relative_bias": True, "relative_buckets": 8},
        {"attention_sinks": True, "feed_forward": "swiglu", "feed_forward_limit": 7.0},
        {"num_experts": 2, "feed_forward": "quick_geglu_plus_one", "router_bias": True},
        XLNET,
        DEBERTA,
        {**DEBERTA, "relative_buckets": 256, "window": 4, "layer_pattern": ("local",)},
        {"architecture": "lstm", "positions": "none", "embed_dim": 650},
    ],
    ids=str,
)
def test_possible_models_are_accepted(changes):
    replace(ModelConfig(), **changes).validate()
