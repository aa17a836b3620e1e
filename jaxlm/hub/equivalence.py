"""Whether two configurations describe the same function of the same parameters."""

import dataclasses
from typing import Any

from jaxlm.models.config import ModelConfig, RotaryScaling

# What trains the model, or how it is computed and on what; not what it computes.
FREE = (
    *("family", "dropout_rate", "attention_dropout_rate", "classifier_dropout_rate", "init_std", "router_loss_weight"),
    "generator_heads",
    *("attention", "dtype", "matmul_precision", "layers", "remat"),
)
TOKEN_HEADS = ("language_model", "pretraining")
POOLED = ("pretraining", "next_sentence", "sequence_classification")
LABELLED = ("sequence_classification", "token_classification")


def canonical(config: ModelConfig) -> dict[str, Any]:
    """The fields that decide the function, defaults filled in and those without effect left out.

    Two configurations whose dicts are equal are the same model.
    """
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in FREE}

    def without_effect(*names: str) -> None:
        for name in names:
            del fields[name]

    fields |= {
        "num_kv_heads": config.resolved_kv_heads,
        "head_dim": config.resolved_head_dim,
        "mlp_dim": config.resolved_mlp_dim,
        "embedding_dim": config.resolved_embedding_dim,
        "scale_embedding": config.scales_embedding,
        "qkv_bias": config.bias_of("qkv"),
        "attention_output_bias": config.bias_of("attention_output"),
        "mlp_bias": config.bias_of("mlp"),
        "norm_bias": config.norm == "layer_norm" and config.bias_of("norm"),
        # x ** -0.5 and 1 / sqrt(x) differ in the last bit of float64.
        "attention_scale": f"{config.resolved_attention_scale:.12g}",
    }
    # Else each part says for itself.
    if not (config.head_transform or config.pooler == "gelu_norm"):
        without_effect("use_bias")
    layers = config.num_layers
    if config.architecture == "encoder_decoder":
        fields["num_encoder_layers"] = config.resolved_encoder_layers
        layers = max(layers, config.resolved_encoder_layers)
    else:
        without_effect("num_encoder_layers", "decoder_start_id")
    fields["layer_pattern"] = tuple(config.is_local(layer) for layer in range(layers))
    has_local = any(fields["layer_pattern"])
    if not has_local:
        without_effect("window")
    if config.positions == "rotary":
        scaling = config.rotary_scaling
        # A base of local layers is never scaled: where the others are, naming the same base says something.
        local_theta = config.local_rotary_theta if has_local else None
        same = scaling.kind == "none" and local_theta == config.rotary_theta
        fields["local_rotary_theta"] = None if same else local_theta
        fields["rotary_fraction"] = config.rotary_dim
        fields["rotary_pattern"] = tuple(config.is_rotary(layer) for layer in range(layers))
        if scaling.kind == "none":
            fields["rotary_scaling"] = RotaryScaling()
        else:
            original: int | None = scaling.original_max_length or config.max_length
            if scaling.kind == "linear":  # which does not ask
                original = None
            fields["rotary_scaling"] = dataclasses.replace(scaling, original_max_length=original)
    else:
        without_effect("rotary_theta", "rotary_fraction", "rotary_scaling", "rotary_pattern", "local_rotary_theta")
    disentangled = config.positions == "disentangled"
    if disentangled:
        fields["disentangled_terms"] = tuple(sorted(config.disentangled_terms))
    else:
        without_effect("disentangled_terms", "disentangled_maps", "disentangled_norm")
    if not (config.has_relative_bias or disentangled):
        without_effect("relative_buckets", "relative_max_distance")
    if config.positions != "learned":
        without_effect("position_offset")
    if config.architecture == "permutation":
        # Attention sees distances without end, and of types whether two are equal.
        without_effect("max_length")
        fields["token_types"] = config.token_types > 0
    if not config.num_experts:
        without_effect("experts_per_token", "renormalize_experts", "router_bias")
    if not config.qk_norm:
        without_effect("qk_norm_over")
    if config.task_head not in TOKEN_HEADS:
        without_effect("head", "head_bias", "scale_head", "final_soft_cap")
    if config.task_head not in LABELLED:
        without_effect("num_labels")
    if config.task_head in ("language_model", "replaced_token", "none"):
        without_effect("classifier_bias")
    if config.task_head not in POOLED and not (config.task_head == "none" and config.pooler != "none"):
        without_effect("pooling", "pooler")
    return fields


def differences(own: ModelConfig, other: ModelConfig) -> list[str]:
    """The fields in which two configurations describe different functions, as `model.field own, not other`."""
    ours, theirs = canonical(own), canonical(other)
    return [
        f"model.{name} is {ours.get(name)!r}, not {theirs.get(name)!r}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
