"""Published models by name: their sizes, makes and heads, ready to train from scratch or to be changed with `replace`.

    from jaxlm.models.presets import preset
    config = dataclasses.replace(preset("bert-base-uncased"), num_layers=6)

A preset has the head that its model was pretrained with. Names are those that the models are known by on the Hugging
Face hub, without the organisation.
"""

import math
from typing import Any

from jaxlm.errors import unknown_name
from jaxlm.models.config import ModelConfig, RotaryScaling

DROPOUT: dict[str, Any] = {"dropout_rate": 0.1, "attention_dropout_rate": 0.1}


def preset(name: str) -> ModelConfig:
    """The configuration of a published model.

    Raises:
      UsageError: for an unknown name, with those that are known.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def bert(num_layers: int, embed_dim: int, num_heads: int, vocab_size: int = 30522, **changes: Any) -> ModelConfig:
    """BERT (Devlin et al. 2019; the small sizes: Turc et al. 2019), with both pretraining heads."""
    fields: dict[str, Any] = {
        "architecture": "encoder",
        "family": "bert",
        "vocab_size": vocab_size,
        "max_length": 512,
        "num_layers": num_layers,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "mlp_dim": 4 * embed_dim,
        "token_types": 2,
        "embedding_norm": True,
        "norm_position": "post",
        "norm_epsilon": 1e-12,
        "feed_forward": "gelu",
        "head_bias": True,
        "head_transform": True,
        "task_head": "pretraining",
        "pooler": "tanh",
        **DROPOUT,
    }
    return ModelConfig(**fields | changes)


def roberta(
    num_layers: int, embed_dim: int, num_heads: int, vocab_size: int = 50265, family: str = "roberta"
) -> ModelConfig:
    """RoBERTa (Liu et al. 2019), and XLM-RoBERTa and CamemBERT, which have its form and vocabularies of their own."""
    changes: dict[str, Any] = {"token_types": 1, "position_offset": 2, "norm_epsilon": 1e-5, "family": family}
    return bert(num_layers, embed_dim, num_heads, vocab_size, task_head="language_model", pooler="none", **changes)


def mpnet(num_layers: int, embed_dim: int, num_heads: int) -> ModelConfig:
    """MPNet (Song et al. 2020), which all-mpnet-base-v2 and its like are fine-tuned from."""
    changes: dict[str, Any] = {"token_types": 0, "position_offset": 2, "relative_bias": True, "norm_epsilon": 1e-5}
    changes |= {"task_head": "language_model", "pooler": "none"}
    return bert(num_layers, embed_dim, num_heads, 30527, family="mpnet", **changes)


def deberta_v3(num_layers: int, embed_dim: int, num_heads: int, vocab_size: int = 128100) -> ModelConfig:
    """DeBERTaV3 (He et al. 2023), with the head of a masked language model.

    It was pretrained as a discriminator, and published without its head, of which transformers has no class.
    """
    changes: dict[str, Any] = {"token_types": 0, "norm_epsilon": 1e-7, "task_head": "language_model", "pooler": "none"}
    changes |= {"positions": "disentangled", "relative_buckets": 512, "relative_max_distance": 512}
    return bert(num_layers, embed_dim, num_heads, vocab_size, family="deberta_v2", **changes)


def distilbert(vocab_size: int) -> ModelConfig:
    """DistilBERT (Sanh et al. 2019): half the layers of BERT, no token types, no pooler."""
    changes: dict[str, Any] = {"token_types": 0, "task_head": "language_model", "pooler": "none"}
    return bert(6, 768, 12, vocab_size, family="distilbert", **changes)


def electra(num_layers: int, embed_dim: int, num_heads: int, embedding_dim: int, generator: bool) -> ModelConfig:
    """ELECTRA (Clark et al. 2020): the generator, a masked language model, or the discriminator."""
    changes: dict[str, Any] = {"family": "electra", "embedding_dim": embedding_dim, "pooler": "none"}
    if generator:
        return bert(num_layers, embed_dim, num_heads, task_head="language_model", **changes)
    changes |= {"head_bias": False, "head_transform": False}
    return bert(num_layers, embed_dim, num_heads, task_head="replaced_token", **changes)


def modernbert(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int) -> ModelConfig:
    """ModernBERT (Warner et al. 2024)."""
    return ModelConfig(
        architecture="encoder",
        family="modernbert",
        vocab_size=50368,
        max_length=8192,
        num_layers=num_layers,
        embed_dim=embed_dim,
        num_heads=num_heads,
        mlp_dim=mlp_dim,
        embedding_norm=True,
        positions="rotary",
        rotary_theta=160000.0,
        local_rotary_theta=10000.0,
        window=128,
        layer_pattern=("global", "local", "local"),
        skip_first_norm=True,
        layers="unrolled",
        feed_forward="geglu_erf",
        use_bias=False,
        head_bias=True,
        head_transform=True,
    )


def gpt2(num_layers: int, embed_dim: int, num_heads: int) -> ModelConfig:
    """GPT-2 (Radford et al. 2019)."""
    return ModelConfig(
        family="gpt2",
        vocab_size=50257,
        max_length=1024,
        num_layers=num_layers,
        embed_dim=embed_dim,
        num_heads=num_heads,
        **DROPOUT,
    )


def opt(num_layers: int, embed_dim: int, num_heads: int) -> ModelConfig:
    """OPT (Zhang et al. 2022)."""
    return ModelConfig(
        family="opt",
        vocab_size=50272,
        max_length=2048,
        num_layers=num_layers,
        embed_dim=embed_dim,
        num_heads=num_heads,
        position_offset=2,
        feed_forward="relu",
        dropout_rate=0.1,
    )


def pythia(num_layers: int, embed_dim: int, num_heads: int, vocab_size: int = 50304) -> ModelConfig:
    """Pythia (Biderman et al. 2023), of the make of GPT-NeoX (Black et al. 2022)."""
    return ModelConfig(
        family="gpt_neox",
        vocab_size=vocab_size,
        max_length=2048,
        num_layers=num_layers,
        embed_dim=embed_dim,
        num_heads=num_heads,
        positions="rotary",
        rotary_fraction=0.25,
        residual="parallel",
        feed_forward="gelu",
        head="untied",
    )


def llama(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Llama 2 (Touvron et al. 2023); later models, of other families too, are changes to it."""
    fields: dict[str, Any] = {
        "family": "llama",
        "vocab_size": 32000,
        "max_length": 4096,
        "num_layers": num_layers,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "mlp_dim": mlp_dim,
        "positions": "rotary",
        "norm": "rms_norm",
        "feed_forward": "swiglu",
        "use_bias": False,
        "head": "untied",
    }
    return ModelConfig(**fields | changes)


def llama3(
    num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, factor: float | None = None, **changes: Any
) -> ModelConfig:
    """Llama 3 (Grattafiori et al. 2024); 3.1 and 3.2 reach `factor` times as far as they were pretrained."""
    fields: dict[str, Any] = {"vocab_size": 128256, "max_length": 8192, "num_kv_heads": 8, "rotary_theta": 500000.0}
    if factor is not None:
        fields["max_length"] = 131072
        fields["rotary_scaling"] = RotaryScaling("llama3", factor, 8192)
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def phi3(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Phi-3 (Abdin et al. 2024)."""
    fields: dict[str, Any] = {"family": "phi3", "vocab_size": 32064, "window": 2047, "layer_pattern": ("local",)}
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def qwen2(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Qwen 2 (Yang et al. 2024)."""
    fields: dict[str, Any] = {"vocab_size": 151936, "max_length": 131072, "rotary_theta": 1e6, "norm_epsilon": 1e-6}
    fields |= {"family": "qwen2", "qkv_bias": True, "head": "tied"}
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def qwen3(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Qwen 3 (Yang et al. 2025): no biases, and norms of queries and keys."""
    fields: dict[str, Any] = {"vocab_size": 151936, "max_length": 40960, "rotary_theta": 1e6, "norm_epsilon": 1e-6}
    fields |= {"family": "qwen3", "num_kv_heads": 8, "head_dim": 128, "qk_norm": True, "head": "tied"}
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def qwen3_moe(
    num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, num_kv_heads: int, num_experts: int
) -> ModelConfig:
    """Qwen 3 with experts (Yang et al. 2025), of which a token takes eight, each `mlp_dim` wide."""
    changes: dict[str, Any] = {"num_experts": num_experts, "experts_per_token": 8, "router_loss_weight": 0.001}
    changes |= {"family": "qwen3_moe", "head": "untied", "num_kv_heads": num_kv_heads}
    return qwen3(num_layers, embed_dim, num_heads, mlp_dim, **changes)


def olmo2(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """OLMo 2 (OLMo et al. 2024): norms of each sublayer's output, and of whole queries and keys."""
    fields: dict[str, Any] = {"vocab_size": 100352, "rotary_theta": 500000.0, "norm_epsilon": 1e-6}
    fields |= {"family": "olmo2", "norm_position": "output", "qk_norm": True, "qk_norm_over": "projection"}
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def gemma(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Gemma (Gemma Team 2024)."""
    fields: dict[str, Any] = {
        "family": "gemma",
        "vocab_size": 256000,
        "max_length": 8192,
        "head_dim": 256,
        "scale_embedding": True,
        "norm": "rms_norm_plus_one",
        "norm_epsilon": 1e-6,
        "feed_forward": "geglu",
        "head": "tied",
    }
    return llama(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def gemma2(
    num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, scaled_by: int, **changes: Any
) -> ModelConfig:
    """Gemma 2 (Gemma Team 2024); scores are divided by the root of `scaled_by`."""
    fields: dict[str, Any] = {
        "family": "gemma2",
        "window": 4096,
        "layer_pattern": ("local", "global"),
        "attention_scale": scaled_by**-0.5,
        "attention_soft_cap": 50.0,
        "final_soft_cap": 30.0,
        "norm_position": "sandwich",
    }
    return gemma(num_layers, embed_dim, num_heads, mlp_dim, **fields | changes)


def gemma3(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """Gemma 3 (Gemma Team 2025), text only: norms of queries and keys instead of caps, one global layer in six."""
    fields: dict[str, Any] = {
        "family": "gemma3_text",
        "vocab_size": 262144,
        "max_length": 32768,
        "rotary_theta": 1e6,
        "local_rotary_theta": 10000.0,
        "window": 512,
        "layer_pattern": ("local",) * 5 + ("global",),
        "qk_norm": True,
        "attention_soft_cap": None,
        "final_soft_cap": None,
    }
    return gemma2(num_layers, embed_dim, num_heads, mlp_dim, 256, **fields | changes)


def gpt_oss(num_layers: int, num_experts: int) -> ModelConfig:
    """gpt-oss (Agarwal et al. 2025): attention sinks, every other layer local, experts with biases, bounded gates."""
    return llama(
        num_layers,
        2880,
        64,
        2880,
        family="gpt_oss",
        vocab_size=201088,
        max_length=131072,
        num_kv_heads=8,
        head_dim=64,
        qkv_bias=True,
        attention_output_bias=True,
        attention_sinks=True,
        window=128,
        layer_pattern=("local", "global"),
        rotary_theta=150000.0,
        rotary_scaling=RotaryScaling("yarn", factor=32.0, original_max_length=4096, truncate=False),
        feed_forward="quick_geglu_plus_one",
        feed_forward_limit=7.0,
        mlp_bias=True,
        num_experts=num_experts,
        experts_per_token=4,
        router_bias=True,
        router_loss_weight=0.9,
    )


def transformer(embed_dim: int, num_heads: int, dropout_rate: float) -> ModelConfig:
    """The original Transformer (Vaswani et al. 2017, table 3), for a shared vocabulary of English and German."""
    return ModelConfig(
        architecture="encoder_decoder",
        vocab_size=37000,
        max_length=1024,
        num_layers=6,
        embed_dim=embed_dim,
        num_heads=num_heads,
        positions="sinusoidal",
        norm_position="post",
        norm_epsilon=1e-6,
        feed_forward="relu",
        qkv_bias=False,  # equation 1 and section 3.2.2 have none, equation 2 has
        attention_output_bias=False,
        dropout_rate=dropout_rate,
    )


def t5(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int, **changes: Any) -> ModelConfig:
    """T5 (Raffel et al. 2020)."""
    fields: dict[str, Any] = {
        "architecture": "encoder_decoder",
        "family": "t5",
        "vocab_size": 32128,
        "max_length": 512,
        "num_layers": num_layers,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "head_dim": 64,
        "mlp_dim": mlp_dim,
        "positions": "relative_buckets",
        "attention_scale": 1.0,
        "norm": "rms_norm",
        "norm_epsilon": 1e-6,
        "feed_forward": "relu",
        "use_bias": False,
        "scale_head": True,
        "decoder_start_id": 0,
        **DROPOUT,
    }
    return ModelConfig(**fields | changes)


def t5_v1_1(num_layers: int, embed_dim: int, num_heads: int, mlp_dim: int) -> ModelConfig:
    """T5 version 1.1 (Shazeer 2020), which Flan-T5 is made of: gated, with a head of its own."""
    changes: dict[str, Any] = {"feed_forward": "geglu", "head": "untied", "scale_head": False}
    return t5(num_layers, embed_dim, num_heads, mlp_dim, **changes)


def bart(num_layers: int, embed_dim: int, num_heads: int, **changes: Any) -> ModelConfig:
    """BART (Lewis et al. 2020)."""
    fields: dict[str, Any] = {
        "architecture": "encoder_decoder",
        "family": "bart",
        "vocab_size": 50265,
        "max_length": 1024,
        "num_layers": num_layers,
        "embed_dim": embed_dim,
        "num_heads": num_heads,
        "position_offset": 2,
        "embedding_norm": True,
        "norm_position": "post",
        "feed_forward": "gelu",
        "head_bias": True,  # a buffer of zeros in the published files, which could be trained
        "decoder_start_id": 2,
        **DROPOUT,
    }
    return ModelConfig(**fields | changes)


def marian(vocab_size: int) -> ModelConfig:
    """Marian (Junczys-Dowmunt et al. 2018) as OPUS-MT trains it; its target starts from padding, the last id."""
    changes: dict[str, Any] = {"positions": "sinusoidal_halves", "position_offset": 0, "embedding_norm": False}
    changes |= {
        "family": "marian",
        "max_length": 512,
        "feed_forward": "silu",
        "attention_dropout_rate": 0.0,
    }
    return bart(6, 512, 8, vocab_size=vocab_size, mlp_dim=2048, decoder_start_id=vocab_size - 1, **changes)


def xlnet(num_layers: int, embed_dim: int, num_heads: int) -> ModelConfig:
    """XLNet (Yang et al. 2019)."""
    return ModelConfig(
        architecture="permutation",
        family="xlnet",
        vocab_size=32000,
        max_length=512,
        num_layers=num_layers,
        embed_dim=embed_dim,
        num_heads=num_heads,
        token_types=4,
        positions="transformer_xl",
        norm_position="post",
        norm_epsilon=1e-12,
        feed_forward="gelu",
        qkv_bias=False,
        attention_output_bias=False,
        head_bias=True,
        **DROPOUT,
    )


def lstm(embed_dim: int, dropout_rate: float, init_bound: float) -> ModelConfig:
    """The regularised LSTMs of Zaremba et al. (2014, section 4.1), for the 10,000 words of the Penn Treebank.

    Their weights begin uniform in [-init_bound, init_bound]; ours are normal with the same standard deviation.
    """
    return ModelConfig(
        architecture="lstm",
        vocab_size=10000,
        max_length=35,  # steps that they were unrolled for in training; the model itself has no end
        num_layers=2,
        embed_dim=embed_dim,
        positions="none",
        head="untied",
        head_bias=True,
        dropout_rate=dropout_rate,
        init_std=init_bound / math.sqrt(3),
    )


_GEMMA3_LARGE: dict[str, Any] = {
    **{"vocab_size": 262208, "max_length": 131072, "window": 1024},
    "rotary_scaling": RotaryScaling("linear", factor=8.0),
}
_MISTRAL: dict[str, Any] = {"num_kv_heads": 8, "max_length": 32768}

# LongRoPE's factors of Phi-3 mini as of July 2024, in the fewest digits that are the published ones in float32.
_PHI3_MINI_128K = RotaryScaling(
    "longrope",
    factor=32.0,
    original_max_length=4096,
    short_factors=(
        *(1.1, 1.1, 1.1, 1.3, 1.35, 1.35, 1.4, 1.55, *(2.0,) * 17, *(2.05,) * 6, 2.1, 2.1, 2.15, *(2.25,) * 5),
        *(2.4, 2.45, 2.5, 2.7, 2.7, 2.75, 2.8, 2.9, 3.05),
    ),
    long_factors=(
        *(1.07, 1.12, 1.15, 1.42, 1.5699999, 1.8, 2.1299999, 2.1299999, 3.01, 5.9100003, 6.9500003, 9.070001, 9.93),
        *(10.71, 11.13, 14.61, 15.409999, 19.81, 37.28, 38.28, 38.6, 40.120003, 46.200005, 50.940006, 53.660007),
        *(54.93739, 56.89739, 57.287388, 59.987385, 60.867386, 60.887386, 61.717392, 62.917393, 62.957394, 63.417393),
        *(63.817394, 63.837395, 63.897396, 63.937397, 64.0674, 64.11435, 64.12435, 64.15435, 64.19435, 64.244354),
        *(64.574356, 64.69, 64.76),
    ),
)

PRESETS: dict[str, ModelConfig] = {
    "bert-tiny": bert(2, 128, 2),
    "bert-mini": bert(4, 256, 4),
    "bert-small": bert(4, 512, 8),
    "bert-medium": bert(8, 512, 8),
    "bert-base-uncased": bert(12, 768, 12),
    "bert-base-cased": bert(12, 768, 12, 28996),
    "bert-base-chinese": bert(12, 768, 12, 21128),
    "bert-large-uncased": bert(24, 1024, 16),
    "bert-large-cased": bert(24, 1024, 16, 28996),
    "roberta-base": roberta(12, 768, 12),
    "roberta-large": roberta(24, 1024, 16),
    "xlm-roberta-base": roberta(12, 768, 12, 250002, family="xlm_roberta"),
    "camembert-base": roberta(12, 768, 12, 32005, family="camembert"),
    "mpnet-base": mpnet(12, 768, 12),
    "deberta-v3-xsmall": deberta_v3(12, 384, 6),
    "deberta-v3-small": deberta_v3(6, 768, 12),
    "deberta-v3-base": deberta_v3(12, 768, 12),
    "deberta-v3-large": deberta_v3(24, 1024, 16),
    "mdeberta-v3-base": deberta_v3(12, 768, 12, 251000),
    "distilbert-base-uncased": distilbert(30522),
    "distilbert-base-cased": distilbert(28996),
    "electra-small-discriminator": electra(12, 256, 4, 128, generator=False),
    "electra-base-discriminator": electra(12, 768, 12, 768, generator=False),
    "electra-large-discriminator": electra(24, 1024, 16, 1024, generator=False),
    # As published, the small generator is as large as its discriminator; the paper's has a quarter of the width.
    "electra-small-generator": electra(12, 256, 4, 128, generator=True),
    "electra-base-generator": electra(12, 256, 4, 768, generator=True),
    "electra-large-generator": electra(24, 256, 4, 1024, generator=True),
    "modernbert-base": modernbert(22, 768, 12, 1152),
    "modernbert-large": modernbert(28, 1024, 16, 2624),
    "gpt2": gpt2(12, 768, 12),
    "gpt2-medium": gpt2(24, 1024, 16),
    "gpt2-large": gpt2(36, 1280, 20),
    "gpt2-xl": gpt2(48, 1600, 25),
    "opt-125m": opt(12, 768, 12),
    "opt-1.3b": opt(24, 2048, 32),
    "pythia-70m": pythia(6, 512, 8),
    "pythia-160m": pythia(12, 768, 12),
    "pythia-410m": pythia(24, 1024, 16),
    "pythia-1b": pythia(16, 2048, 8),
    "pythia-1.4b": pythia(24, 2048, 16),
    "pythia-2.8b": pythia(32, 2560, 32),
    "pythia-6.9b": pythia(32, 4096, 32, 50432),
    "pythia-12b": pythia(36, 5120, 40, 50688),
    "llama-2-7b": llama(32, 4096, 32, 11008),
    "llama-2-13b": llama(40, 5120, 40, 13824),
    "llama-2-70b": llama(80, 8192, 64, 28672, num_kv_heads=8),
    "llama-3-8b": llama3(32, 4096, 32, 14336),
    "llama-3-70b": llama3(80, 8192, 64, 28672),
    "llama-3.1-8b": llama3(32, 4096, 32, 14336, factor=8.0),
    "llama-3.1-70b": llama3(80, 8192, 64, 28672, factor=8.0),
    "llama-3.2-1b": llama3(16, 2048, 32, 8192, factor=32.0, head="tied"),
    "llama-3.2-3b": llama3(28, 3072, 24, 8192, factor=32.0, head="tied"),
    # Jiang et al. 2023 and 2024.
    "mistral-7b-v0.1": llama(32, 4096, 32, 14336, **_MISTRAL, family="mistral", window=4096, layer_pattern=("local",)),
    "mixtral-8x7b-v0.1": llama(
        32, 4096, 32, 14336, **_MISTRAL, family="mixtral", rotary_theta=1e6, num_experts=8, router_loss_weight=0.02
    ),
    "phi-3-mini-4k-instruct": phi3(32, 3072, 32, 8192),
    "phi-3-mini-128k-instruct": phi3(
        32, 3072, 32, 8192, max_length=131072, window=262144, rotary_scaling=_PHI3_MINI_128K
    ),
    "qwen2-0.5b": qwen2(24, 896, 14, 4864, num_kv_heads=2),
    "qwen2-1.5b": qwen2(28, 1536, 12, 8960, num_kv_heads=2),
    "qwen2-7b": qwen2(28, 3584, 28, 18944, num_kv_heads=4, vocab_size=152064, head="untied"),
    "qwen3-0.6b": qwen3(28, 1024, 16, 3072),
    "qwen3-1.7b": qwen3(28, 2048, 16, 6144),
    "qwen3-4b": qwen3(36, 2560, 32, 9728),
    "qwen3-8b": qwen3(36, 4096, 32, 12288, head="untied"),
    "qwen3-30b-a3b": qwen3_moe(48, 2048, 32, 768, num_kv_heads=4, num_experts=128),
    "qwen3-235b-a22b": qwen3_moe(94, 4096, 64, 1536, num_kv_heads=4, num_experts=128),
    "olmo-2-1b": olmo2(16, 2048, 16, 8192),
    "olmo-2-7b": olmo2(32, 4096, 32, 11008),
    "olmo-2-13b": olmo2(40, 5120, 40, 13824),
    "olmo-2-32b": olmo2(64, 5120, 40, 27648, num_kv_heads=8),
    # Bakouch et al. 2025 (Hugging Face): one layer in four has no positions.
    "smollm3-3b": llama(
        36,
        2048,
        16,
        11008,
        family="smollm3",
        vocab_size=128256,
        max_length=65536,
        num_kv_heads=4,
        rotary_theta=5e6,
        rotary_pattern=("rotary",) * 3 + ("none",),
        norm_epsilon=1e-6,
        head="tied",
    ),
    "gemma-2b": gemma(18, 2048, 8, 16384, num_kv_heads=1),
    "gemma-7b": gemma(28, 3072, 16, 24576),
    "gemma-2-2b": gemma2(26, 2304, 8, 9216, 256, num_kv_heads=4),
    "gemma-2-9b": gemma2(42, 3584, 16, 14336, 256, num_kv_heads=8),
    "gemma-2-27b": gemma2(46, 4608, 32, 36864, 144, num_kv_heads=16, head_dim=128),
    "gemma-3-1b": gemma3(26, 1152, 4, 6912, num_kv_heads=1),
    # The larger sizes see; these are their language models.
    "gemma-3-4b": gemma3(34, 2560, 8, 10240, num_kv_heads=4, **_GEMMA3_LARGE),
    "gemma-3-12b": gemma3(48, 3840, 16, 15360, num_kv_heads=8, **_GEMMA3_LARGE),
    "gemma-3-27b": gemma3(
        62, 5376, 32, 21504, num_kv_heads=16, head_dim=128, **{**_GEMMA3_LARGE, "attention_scale": 168**-0.5}
    ),
    "gpt-oss-20b": gpt_oss(24, 32),
    "gpt-oss-120b": gpt_oss(36, 128),
    "transformer-base": transformer(512, 8, 0.1),
    "transformer-big": transformer(1024, 16, 0.3),
    "t5-small": t5(6, 512, 8, 2048),
    "t5-base": t5(12, 768, 12, 3072),
    "t5-large": t5(24, 1024, 16, 4096),
    "t5-3b": t5(24, 1024, 32, 16384, head_dim=128),
    "t5-11b": t5(24, 1024, 128, 65536, head_dim=128),
    "t5-v1.1-small": t5_v1_1(8, 512, 6, 1024),
    "t5-v1.1-base": t5_v1_1(12, 768, 12, 2048),
    "t5-v1.1-large": t5_v1_1(24, 1024, 16, 2816),
    "t5-v1.1-xl": t5_v1_1(24, 2048, 32, 5120),
    "t5-v1.1-xxl": t5_v1_1(24, 4096, 64, 10240),
    "flan-t5-small": t5_v1_1(8, 512, 6, 1024),
    "flan-t5-base": t5_v1_1(12, 768, 12, 2048),
    "flan-t5-large": t5_v1_1(24, 1024, 16, 2816),
    "flan-t5-xl": t5_v1_1(24, 2048, 32, 5120),
    "flan-t5-xxl": t5_v1_1(24, 4096, 64, 10240),
    "ul2": t5(32, 4096, 16, 16384, head_dim=256, feed_forward="swiglu"),  # Tay et al. 2022
    "bart-base": bart(6, 768, 12),
    "bart-large": bart(12, 1024, 16),
    "opus-mt-en-de": marian(58101),
    "opus-mt-en-fr": marian(59514),
    "opus-mt-zh-en": marian(65001),
    "xlnet-base-cased": xlnet(12, 768, 12),
    "xlnet-large-cased": xlnet(24, 1024, 16),
    "lstm-medium": lstm(650, 0.5, 0.05),
    "lstm-large": lstm(1500, 0.65, 0.04),
}
