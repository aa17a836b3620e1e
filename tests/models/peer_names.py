"""The names of PyTorch transformers' parameters in ours; the same map serves their gradients."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from jaxlm.models.config import ModelConfig
from jaxlm.models.decoder import Decoder
from jaxlm.tasks.causal_lm import CausalLM

from ..quick_compilation import quick_jit
from .small_models import flat


def from_gpt2(theirs: Mapping[str, np.ndarray], num_layers: int) -> dict:
    """GPT-2: [in, out] matrices; query, key and value in one."""

    def linear(name: str) -> dict:
        return {"kernel": theirs[f"{name}.weight"], "bias": theirs[f"{name}.bias"]}

    def norm(name: str) -> dict:
        return {"scale": theirs[f"{name}.weight"], "bias": theirs[f"{name}.bias"]}

    def layer(name: str) -> dict:
        query_key_value = linear(f"{name}.attn.c_attn")
        attention = {
            part: {kind: np.split(value, 3, axis=-1)[i] for kind, value in query_key_value.items()}
            for i, part in enumerate(("query", "key", "value"))
        }
        return {
            "attention_norm": norm(f"{name}.ln_1"),
            "attention": {**attention, "output": linear(f"{name}.attn.c_proj")},
            "mlp_norm": norm(f"{name}.ln_2"),
            "mlp": {"up": linear(f"{name}.mlp.c_fc"), "down": linear(f"{name}.mlp.c_proj")},
        }

    return {
        "token_embedding": {"embedding": theirs["transformer.wte.weight"]},
        "position_embedding": {"embedding": theirs["transformer.wpe.weight"]},
        "layers": {str(i): layer(f"transformer.h.{i}") for i in range(num_layers)},
        "final_norm": norm("transformer.ln_f"),
    }


def from_llama(theirs: Mapping[str, np.ndarray], num_layers: int) -> dict:
    """Llama: [out, in] matrices, no biases."""

    def linear(name: str) -> dict:
        return {"kernel": theirs[f"{name}.weight"].T}

    def norm(name: str) -> dict:
        return {"scale": theirs[f"{name}.weight"]}

    def layer(name: str) -> dict:
        parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
        return {
            "attention_norm": norm(f"{name}.input_layernorm"),
            "attention": {ours: linear(f"{name}.self_attn.{part}") for ours, part in parts.items()},
            "mlp_norm": norm(f"{name}.post_attention_layernorm"),
            "mlp": {part: linear(f"{name}.mlp.{part}_proj") for part in ("gate", "up", "down")},
        }

    return {
        "token_embedding": {"embedding": theirs["model.embed_tokens.weight"]},
        "layers": {str(i): layer(f"model.layers.{i}") for i in range(num_layers)},
        "final_norm": norm("model.norm"),
        "head": linear("lm_head"),
    }


def assert_same_model(config: ModelConfig, params: dict, gradients: dict, theirs: Mapping[str, np.ndarray]) -> None:
    """Our logits within 1e-5, our loss and its gradients within 1e-4 of what `record_gpt2.run` gave."""
    config = replace(config, layers="unrolled")
    logits = quick_jit(Decoder(config).apply)({"params": params}, theirs["tokens"]).logits
    assert theirs["logits"].std() > 0.3
    np.testing.assert_allclose(logits, theirs["logits"], atol=1e-5)

    batch = {"tokens": theirs["tokens"], "targets": theirs["targets"]}
    batch["loss_weights"] = np.ones(theirs["targets"].shape, np.float32)
    loss = partial(CausalLM(config, segmented=False).loss, batch=batch)
    mean, ours = quick_jit(jax.value_and_grad(lambda params: (sums := loss(params))["loss"] / sums["weight"]))(params)
    np.testing.assert_allclose(mean, theirs["loss"], atol=1e-5)
    ours, expected = flat(ours), flat(gradients)
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        # A key bias adds the same to all scores of a query: its gradient is zero.
        assert np.abs(expected[name]).max() > 1e-3 or name.endswith("key/bias"), name
        np.testing.assert_allclose(gradient, expected[name], atol=1e-4, err_msg=name)
