"""The description of a model: data only, so that reading or validating one needs no JAX."""

from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class ModelConfig:
    """Size and make of a Transformer. The defaults are nanoGPT's CPU model, a small GPT-2."""

    vocab_size: int | None = None
    """Rows of the token embedding; none takes the tokenizer's."""
    max_length: int | None = None
    """Longest sequence in tokens; none takes the length of a training row."""
    num_layers: int = 4
    """Transformer blocks."""
    embed_dim: int = 128
    """Width of the residual stream."""
    num_heads: int = 4
    """Query heads."""
    num_kv_heads: int | None = None
    """Key and value heads, shared by groups of query heads; none means one for each query head."""
    head_dim: int | None = None
    """Width of a head; none means embed_dim / num_heads."""
    mlp_dim: int | None = None
    """Width of the feed-forward layer; none means 4 * embed_dim."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned"
    """How the model knows where a token stands."""
    rotary_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    """Kind of normalisation."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalise the input of each sublayer (pre) or the sum after it (post, the original Transformer)."""
    norm_epsilon: float = 1e-5
    """Added to the variance in a normalisation."""
    feed_forward: Literal["gelu", "gelu_tanh", "relu", "swiglu", "geglu"] = "gelu_tanh"
    """Activation of the feed-forward layer; swiglu and geglu are gated (Shazeer 2020)."""
    use_bias: bool = True
    """Whether linear maps and layer normalisations have biases."""
    head: Literal["tied", "untied"] = "tied"
    """Whether the output head is the token embedding or a matrix of its own."""
    dropout_rate: float = 0.0
    """Dropout of embeddings and of each sublayer's output, in training."""
    attention_dropout_rate: float = 0.0
    """Dropout of attention weights, in training; the reference attention only."""
    init_std: float = 0.02
    """Standard deviation of initial weights; maps into the residual stream take it / sqrt(2 * num_layers)."""
    attention: Literal["reference", "xla", "cudnn"] = "reference"
    """Attention kernel: this project's own einsum form, or jax.nn.dot_product_attention by XLA or cuDNN."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters, softmax, norm statistics, logits and loss are float32 always."""
    layers: Literal["scanned", "unrolled"] = "scanned"
    """Scanned layers are stacked parameters and one compiled block (fast to compile, needed for deep models);
    unrolled layers are separate parameters and code (faster to run, which decoding and small CPU models use)."""
    remat: Literal["none", "dots", "block"] = "none"
    """What the backward pass computes again to save memory: nothing, all but matrix products, or whole blocks."""

    @property
    def resolved_kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.num_kv_heads or self.num_heads

    @property
    def resolved_head_dim(self) -> int:
        """Width of a head."""
        return self.head_dim or self.embed_dim // self.num_heads

    @property
    def resolved_mlp_dim(self) -> int:
        """Width of the feed-forward layer."""
        return self.mlp_dim or 4 * self.embed_dim

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward layer multiplies by a gate."""
        return self.feed_forward in ("swiglu", "geglu")

    def validate(self) -> None:
        """Raises UsageError for the first impossible combination, naming the fields."""
        for name in ("vocab_size", "max_length", "num_kv_heads", "head_dim", "mlp_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"model.{name} is {value}; it must be at least 1")
        for name in ("num_layers", "embed_dim", "num_heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("dropout_rate", "attention_dropout_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be in [0, 1)")
        if self.norm_epsilon <= 0 or self.init_std <= 0 or self.rotary_theta <= 0:
            raise UsageError("model.norm_epsilon, model.init_std and model.rotary_theta must be positive")
        if self.head_dim is None and self.embed_dim % self.num_heads:
            raise UsageError(
                f"model.embed_dim {self.embed_dim} is not divisible by model.num_heads {self.num_heads}; "
                "change one, or set model.head_dim"
            )
        if self.num_heads % self.resolved_kv_heads:
            raise UsageError(
                f"model.num_heads {self.num_heads} is not a multiple of model.num_kv_heads {self.num_kv_heads}"
            )
        if self.positions == "rotary" and self.resolved_head_dim % 2:
            raise UsageError(f"rotary positions need an even head width, not {self.resolved_head_dim}")
        if self.positions == "sinusoidal" and self.embed_dim % 2:
            raise UsageError(f"sinusoidal positions need an even model.embed_dim, not {self.embed_dim}")
        if self.attention != "reference" and self.attention_dropout_rate:
            raise UsageError(
                f"model.attention {self.attention!r} has no dropout of attention weights; "
                "use model.attention 'reference' or model.attention_dropout_rate 0"
            )
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise UsageError("model.attention 'cudnn' computes in bfloat16 only; set model.dtype 'bfloat16'")
