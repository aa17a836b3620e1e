"""The description of a model: data only, so that reading or validating one needs no JAX."""

import math
from dataclasses import dataclass, field
from typing import Literal

from jaxlm.errors import UsageError

# What two architectures have no choice in: their modules do not read these fields.
_PLAIN = {
    **{"embedding_dim": None, "embedding_norm": False, "scale_embedding": None, "num_experts": 0, "window": None},
    **{"residual": "sequential", "qk_norm": False, "attention_scale": None, "attention_soft_cap": None},
    **{"num_kv_heads": None, "attention": "reference", "decoder_start_id": None, "attention_sinks": False},
}
_FIXED = {
    "permutation": _PLAIN | {"norm_position": "post", "qkv_bias": False, "attention_output_bias": False},
    "lstm": _PLAIN | {"positions": "none", "token_types": 0},
}


@dataclass(frozen=True)
class RotaryScaling:
    """How rotary positions reach beyond the lengths of pretraining; see `jaxlm.nn.rotary` for the formulas."""

    kind: Literal["none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope"] = "none"
    """Scheme; 'ntk' changes the base once, 'dynamic' with the length of the sequence, and 'longrope' has factors of
    each wavelength, some for sequences within the context of pretraining and others for longer ones."""
    factor: float = 1.0
    """How many times longer than in pretraining."""
    original_max_length: int | None = None
    """Context of pretraining; none means model.max_length (longrope must name it)."""
    low_frequency_factor: float = 1.0
    """llama3: wavelengths longer than original_max_length / this are divided by `factor`."""
    high_frequency_factor: float = 4.0
    """llama3: wavelengths shorter than original_max_length / this stay as they are."""
    beta_fast: float = 32.0
    """yarn: features with more rotations than this over the context stay as they are."""
    beta_slow: float = 1.0
    """yarn: features with fewer rotations than this are divided by `factor`."""
    attention_factor: float | None = None
    """yarn, longrope: multiplies cosines and sines; none means 0.1 ln(factor) + 1 (yarn, or what mscale says), or
    sqrt(1 + ln(factor) / ln(original_max_length)) (longrope)."""
    mscale: float | None = None
    """yarn: with mscale_all_dim, replaces the coefficient 0.1 by 0.1 * mscale (DeepSeek's form)."""
    mscale_all_dim: float | None = None
    """yarn: see mscale."""
    truncate: bool = True
    """yarn: round the bounds of the ramp to whole features."""
    short_factors: tuple[float, ...] = ()
    """longrope: what each wavelength is multiplied by in sequences of at most original_max_length tokens, one number
    for each pair of rotated features."""
    long_factors: tuple[float, ...] = ()
    """longrope: the same in longer sequences."""

    def validate(self) -> None:
        """Raises UsageError for a value out of range."""
        if self.factor < 1:
            raise UsageError(f"model.rotary_scaling.factor is {self.factor}; it must be at least 1")
        if self.original_max_length is not None and self.original_max_length < 1:
            raise UsageError(
                f"model.rotary_scaling.original_max_length is {self.original_max_length}; it must be at least 1"
            )
        for name in ("short_factors", "long_factors"):
            values = getattr(self, name)
            if bool(values) != (self.kind == "longrope"):
                raise UsageError(
                    f"model.rotary_scaling.{name} and model.rotary_scaling.kind 'longrope' go together; the kind is "
                    f"{self.kind!r}, with {len(values)} factors"
                )
            if not all(0 < value < math.inf for value in values):
                raise UsageError(f"model.rotary_scaling.{name} must all be positive and finite")
        if self.kind == "longrope" and (self.original_max_length or 1) < 2:
            raise UsageError("model.rotary_scaling.kind 'longrope' needs an original_max_length of at least 2")


@dataclass(frozen=True)
class ModelConfig:
    """Size and make of a language model. The defaults are nanoGPT's CPU model, a small GPT-2."""

    architecture: Literal["decoder", "encoder", "encoder_decoder", "permutation", "lstm"] = "decoder"
    """Sees what is before (decoder: GPT, Llama), everything (encoder: BERT), both in two towers (encoder_decoder: T5),
    everything in any order (permutation: XLNet), or is recurrent (lstm)."""
    family: str | None = None
    """Hugging Face family it was imported from and is exported as; none takes the first that can express it."""
    vocab_size: int | None = None
    """Rows of the token embedding; none takes the tokenizer's."""
    max_length: int | None = None
    """Longest sequence in tokens; none takes the length of a training row."""
    num_layers: int = 4
    """Transformer blocks (of each tower, where there are two)."""
    num_encoder_layers: int | None = None
    """encoder_decoder: blocks of the encoder; none means num_layers."""
    embed_dim: int = 128
    """Width of the residual stream."""
    embedding_dim: int | None = None
    """Width of the embeddings, mapped to embed_dim where it differs (ELECTRA); none means embed_dim."""
    token_types: int = 0
    """Kinds of tokens (sentence A and B of BERT) with an embedding each; 0 for none."""
    embedding_norm: bool = False
    """Whether the sum of the embeddings is normalised."""
    scale_embedding: bool | None = None
    """Whether token embeddings are multiplied by sqrt(embedding_dim); none means with sinusoidal positions only."""
    num_heads: int = 4
    """Query heads."""
    num_kv_heads: int | None = None
    """Key and value heads, shared by groups of query heads; none means one for each query head."""
    head_dim: int | None = None
    """Width of a head; none means embed_dim / num_heads."""
    mlp_dim: int | None = None
    """Width of the feed-forward layer; none means 4 * embed_dim."""
    num_experts: int = 0
    """Feed-forward layers a block, of which each token takes experts_per_token; 0 for the one dense layer."""
    experts_per_token: int = 2
    """Experts that a token is sent to."""
    renormalize_experts: bool = True
    """Whether the router's probabilities of the experts that a token takes are divided by their sum (Jiang et al. 2024,
    section 2.1), or weight their results as they are, together less than one (Fedus et al. 2022, eq. 2)."""
    router_bias: bool = False
    """Whether the scores that the router gives the experts have a bias."""
    router_loss_weight: float = 0.0
    """Weight of the load-balance loss of the experts in training."""
    positions: Literal[
        "learned",
        "sinusoidal",
        "sinusoidal_halves",
        "rotary",
        "relative_buckets",
        "disentangled",
        "alibi",
        "transformer_xl",
        "none",
    ] = "learned"
    """How the model knows where a token stands."""
    position_offset: int = 0
    """learned: rows of the table before that of position 0 (RoBERTa and BART: 2)."""
    rotary_theta: float = 10000.0
    """Base of the rotary wavelengths."""
    rotary_fraction: float = 1.0
    """Part of each head's features that is rotated."""
    rotary_pattern: tuple[Literal["rotary", "none"], ...] = ("rotary",)
    """rotary: which layers rotate queries and keys, and which take them as they are, without positions (NoPE; Yang et
    al. 2025, "Rope to Nope and back again", section 3), repeated over the layers."""
    rotary_scaling: RotaryScaling = field(default_factory=RotaryScaling)
    """Reaching beyond the context of pretraining."""
    relative_bias: bool = False
    """learned: whether attention scores have the bias of 'relative_buckets' besides (MPNet; Song et al. 2020). The
    score of key j for query i is attention_scale * q_i k_j + b[bucket(j - i)], with one table b of a column for each
    head in all layers (Raffel et al. 2020, section 2.1), and i and j the places in the row."""
    relative_buckets: int = 32
    """relative_buckets, relative_bias, disentangled: number of learned distances (disentangled: on both sides together;
    twice relative_max_distance for one each, or fewer for logarithmic buckets)."""
    relative_max_distance: int = 128
    """relative_buckets, relative_bias, disentangled: distances from this on share a bucket."""
    disentangled_terms: tuple[Literal["content_to_position", "position_to_content"], ...] = (
        "content_to_position",
        "position_to_content",
    )
    """disentangled: what the score attention_scale * (q_i k_j + q_i K(r) + k_j Q(r)) of key j for query i has besides
    its first term. r is the learned vector of the distance i - j, of one table for all layers, and K and Q map it to a
    key and a query (He et al. 2021, "DeBERTa", eq. 4, with the distance of the published code in the last term)."""
    disentangled_maps: Literal["shared", "own"] = "shared"
    """disentangled: whether K and Q are the maps of the content in each layer (DeBERTa v2 and v3), or others (v1)."""
    disentangled_norm: bool = True
    """disentangled: whether the vectors of distances are normalised (DeBERTa v2 and v3)."""
    window: int | None = None
    """Tokens that a local layer sees: itself and those before it, or window // 2 to either side in an encoder."""
    layer_pattern: tuple[Literal["global", "local"], ...] = ("global",)
    """Which layers see everything and which the window only, repeated over the layers."""
    local_rotary_theta: float | None = None
    """Base of the rotary wavelengths of local layers, never scaled; none means those of the others."""
    qk_norm: bool = False
    """Whether queries and keys are normalised (Henry et al. 2020)."""
    qk_norm_over: Literal["head", "projection"] = "head"
    """Features that qk_norm normalises together: those of each head, with one learned scale for all heads (Qwen 3), or
    those of all heads, the whole projection, with a scale for each feature (OLMo et al. 2024, section 2.1)."""
    attention_scale: float | None = None
    """Factor of the attention scores; none means 1 / sqrt(head_dim), or 1 / sqrt(head_dim * (1 + the number of
    disentangled_terms)) (He et al. 2021, eq. 4)."""
    attention_soft_cap: float | None = None
    """Bounds the attention scores to +- this by tanh (Gemma 2)."""
    attention_sinks: bool = False
    """Whether each head h has a learned score b_h beside those of the keys, whose weight is for nothing: the weight of
    key j is exp(s_j) / (exp(b_h) + sum_k exp(s_k)) (Agarwal et al. 2025, section 2.2, after Xiao et al. 2023)."""
    norm: Literal["layer_norm", "rms_norm", "rms_norm_plus_one"] = "layer_norm"
    """Kind of normalisation; the last multiplies by 1 + scale (Gemma)."""
    norm_position: Literal["pre", "post", "sandwich", "output"] = "pre"
    """Normalise the input of each sublayer (pre: x + f(norm(x))), the sum after it (post: norm(x + f(x)), the original
    Transformer), its input and its output (sandwich), or its output alone (output: x + norm(f(x)); Liu et al. 2021,
    section 3.2, and OLMo et al. 2024, section 2.1)."""
    skip_first_norm: bool = False
    """Whether the first layer's attention takes its input as it is (ModernBERT); unrolled layers only."""
    residual: Literal["sequential", "parallel"] = "sequential"
    """Whether the feed-forward layer sees what attention added, or both see the same (GPT-NeoX)."""
    norm_epsilon: float = 1e-5
    """Added to the variance in a normalisation."""
    feed_forward: Literal[
        "gelu", "gelu_tanh", "relu", "silu", "swiglu", "geglu", "geglu_erf", "quick_geglu_plus_one"
    ] = "gelu_tanh"
    """Activation of the feed-forward layer; those with -glu are gated (Shazeer 2020), geglu by GELU's tanh form, and
    the last by x sigmoid(1.702 x), with one added to what the gate multiplies (Agarwal et al. 2025, section 2.2)."""
    feed_forward_limit: float | None = None
    """Gated: what the gate is at most before its activation, and what it multiplies lies within to either side (the
    same); none means no bound."""
    use_bias: bool = True
    """Whether linear maps and layer normalisations have biases, but for those named below."""
    qkv_bias: bool | None = None
    """Whether the maps to queries, keys and values have; none means use_bias."""
    attention_output_bias: bool | None = None
    """Whether the map out of attention has; none means use_bias."""
    mlp_bias: bool | None = None
    """Whether the feed-forward layer has; none means use_bias."""
    norm_bias: bool | None = None
    """Whether layer normalisations have; none means use_bias."""
    head: Literal["tied", "untied"] = "tied"
    """Whether the language-model head is the token embedding or a matrix of its own."""
    head_bias: bool = False
    """Whether the logits have a bias."""
    head_transform: bool = False
    """Whether a dense layer, activation and normalisation come before the logits (BERT)."""
    scale_head: bool = False
    """Whether hidden states are divided by sqrt(embed_dim) before the logits (T5 with a tied head)."""
    final_soft_cap: float | None = None
    """Bounds the logits to +- this by tanh (Gemma 2)."""
    task_head: Literal[
        "language_model",
        "pretraining",
        "next_sentence",
        "replaced_token",
        "sequence_classification",
        "token_classification",
        "question_answering",
        "none",
    ] = "language_model"
    """What is computed from the hidden states: the logits of tokens, those with the next-sentence scores (pretraining)
    or those alone, whether each token was replaced, labels of a sequence or of each token, the start and end of an
    answer, or nothing more."""
    generator_heads: int = 0
    """ELECTRA: query heads of the generator that is trained beside a discriminator, each as wide as its own; the other
    widths are in the same proportion, and the embeddings shared. 0 for none."""
    num_labels: int = 2
    """Labels of a classification."""
    pooling: Literal["first", "last", "mean"] = "first"
    """What stands for a sequence: its first or last token, or their mean."""
    pooler: Literal["none", "tanh", "relu", "gelu", "gelu_norm"] = "none"
    """Dense layer over what stands for a sequence, by its activation (and normalisation)."""
    classifier_bias: bool = True
    """Whether the scores of labels have a bias."""
    prefix: Literal["causal", "bidirectional"] = "causal"
    """decoder: whether tokens of a prefix see only those before them, or all of it (prefix LM; Raffel et al. 2020,
    section 3.2.1). When text is generated, the prompt is the prefix."""
    decoder_start_id: int | None = None
    """encoder_decoder: the token that every output starts from."""
    dropout_rate: float = 0.0
    """Dropout of embeddings and of each sublayer's output, in training."""
    attention_dropout_rate: float = 0.0
    """Dropout of attention weights, in training; the reference attention only."""
    classifier_dropout_rate: float | None = None
    """Dropout of what labels are scored from, in training; none means dropout_rate."""
    init_std: float = 0.02
    """Standard deviation of initial weights; maps into the residual stream take it / sqrt(2 * num_layers)."""
    attention: Literal["reference", "xla", "cudnn"] = "reference"
    """Attention kernel: this project's own einsum form, or jax.nn.dot_product_attention by XLA or cuDNN."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters, softmax, norm statistics, logits and loss are float32 always."""
    matmul_precision: Literal["dtype", "bfloat16"] = "dtype"
    """Type that the factors of matrix products are rounded to: dtype, or bfloat16 also where dtype is float32, with
    sums in float32 (as TPUs do by default). On CPU this concerns the products with weights, experts' excepted, and the
    reference attention; with matrix units (AMX) it doubles the speed of training."""
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
    def resolved_encoder_layers(self) -> int:
        """Blocks of the encoder beside a decoder."""
        return self.num_encoder_layers or self.num_layers

    @property
    def resolved_embedding_dim(self) -> int:
        """Width of the embeddings."""
        return self.embedding_dim or self.embed_dim

    @property
    def scales_embedding(self) -> bool:
        """Whether token embeddings are multiplied by sqrt(embedding_dim)."""
        if self.scale_embedding is None:
            return self.positions.startswith("sinusoidal")
        return self.scale_embedding

    @property
    def resolved_attention_scale(self) -> float:
        """Factor of the attention scores."""
        if self.attention_scale is not None:
            return self.attention_scale
        summands = 1 + (len(self.disentangled_terms) if self.positions == "disentangled" else 0)
        return (self.resolved_head_dim * summands) ** -0.5

    @property
    def has_relative_bias(self) -> bool:
        """Whether attention scores have a learned bias by bucket of distance."""
        return self.relative_bias or self.positions == "relative_buckets"

    @property
    def rotary_dim(self) -> int:
        """Features of a head that are rotated."""
        return int(self.resolved_head_dim * self.rotary_fraction)

    @property
    def is_gated(self) -> bool:
        """Whether the feed-forward layer multiplies by a gate."""
        return self.feed_forward in ("swiglu", "geglu", "geglu_erf", "quick_geglu_plus_one")

    @property
    def resolved_classifier_dropout_rate(self) -> float:
        """Dropout of what labels are scored from."""
        return self.dropout_rate if self.classifier_dropout_rate is None else self.classifier_dropout_rate

    @property
    def drops(self) -> bool:
        """Whether there is dropout in training."""
        return any((self.dropout_rate, self.attention_dropout_rate, self.resolved_classifier_dropout_rate))

    def bias_of(self, part: Literal["qkv", "attention_output", "mlp", "norm"]) -> bool:
        """Whether a part has biases: its own field, or use_bias."""
        own = {
            "qkv": self.qkv_bias,
            "attention_output": self.attention_output_bias,
            "mlp": self.mlp_bias,
            "norm": self.norm_bias,
        }[part]
        return self.use_bias if own is None else own

    def is_local(self, layer: int) -> bool:
        """Whether a layer sees the window only."""
        return self.layer_pattern[layer % len(self.layer_pattern)] == "local"

    def is_rotary(self, layer: int) -> bool:
        """Whether a layer rotates its queries and keys."""
        return self.positions == "rotary" and self.rotary_pattern[layer % len(self.rotary_pattern)] == "rotary"

    def validate(self) -> None:
        """Raises UsageError for the first impossible combination, naming the fields."""
        optional = ("vocab_size", "max_length", "num_kv_heads", "head_dim", "mlp_dim", "num_encoder_layers")
        for name in (*optional, "embedding_dim", "window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"model.{name} is {value}; it must be at least 1")
        for name in ("num_layers", "embed_dim", "num_heads", "num_labels", "experts_per_token", "relative_buckets"):
            if getattr(self, name) < 1:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("token_types", "num_experts", "position_offset", "generator_heads"):
            if getattr(self, name) < 0:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must not be negative")
        for name in ("dropout_rate", "attention_dropout_rate", "classifier_dropout_rate"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value < 1.0:
                raise UsageError(f"model.{name} is {value}; it must be in [0, 1)")
        if self.norm_epsilon <= 0 or self.init_std <= 0 or self.rotary_theta <= 0:
            raise UsageError("model.norm_epsilon, model.init_std and model.rotary_theta must be positive")
        if self.architecture != "lstm" and self.head_dim is None and self.embed_dim % self.num_heads:
            raise UsageError(
                f"model.embed_dim {self.embed_dim} is not divisible by model.num_heads {self.num_heads}; "
                "change one, or set model.head_dim"
            )
        if self.num_heads % self.resolved_kv_heads:
            raise UsageError(
                f"model.num_heads {self.num_heads} is not a multiple of model.num_kv_heads {self.num_kv_heads}"
            )
        if not 0 < self.rotary_fraction <= 1:
            raise UsageError(f"model.rotary_fraction is {self.rotary_fraction}; it must be in (0, 1]")
        if self.positions == "rotary" and (self.rotary_dim % 2 or self.rotary_dim == 0):
            raise UsageError(f"rotary positions need an even number of rotated features, not {self.rotary_dim}")
        if self.positions.startswith(("sinusoidal", "transformer_xl")) and self.embed_dim % 2:
            raise UsageError(f"sinusoidal positions need an even model.embed_dim, not {self.embed_dim}")
        if self.relative_bias and self.positions != "learned":
            raise UsageError(
                f"model.relative_bias goes with model.positions 'learned', not {self.positions!r}; "
                "'relative_buckets' is that bias alone"
            )
        self.rotary_scaling.validate()
        if self.positions == "rotary" and self.rotary_scaling.kind == "longrope":
            for name in ("short_factors", "long_factors"):
                count = len(getattr(self.rotary_scaling, name))
                if count != self.rotary_dim // 2:
                    raise UsageError(
                        f"model.rotary_scaling.{name} has {count} factors; the {self.rotary_dim} rotated features of a "
                        f"head need {self.rotary_dim // 2}"
                    )
        if self.positions == "disentangled":
            self._validate_disentangled()
        self._validate_layers()
        self._validate_architecture()
        if self.attention != "reference" and self.attention_dropout_rate:
            raise UsageError(
                f"model.attention {self.attention!r} has no dropout of attention weights; "
                "use model.attention 'reference' or model.attention_dropout_rate 0"
            )
        if self.attention == "cudnn" and self.dtype != "bfloat16":
            raise UsageError("model.attention 'cudnn' computes in bfloat16 only; set model.dtype 'bfloat16'")

    def _validate_disentangled(self) -> None:
        # The scores by distance are computed for all pairs at once, of maps without norms and of as many heads.
        needed = {"architecture": "encoder", "attention": "reference", "qk_norm": False, "attention_soft_cap": None}
        for name, only in needed.items():
            if getattr(self, name) != only:
                raise UsageError(
                    f"model.{name} is {getattr(self, name)!r}; model.positions 'disentangled' needs {only!r}"
                )
        if self.resolved_kv_heads != self.num_heads:
            raise UsageError(
                f"model.num_kv_heads is {self.num_kv_heads}; model.positions 'disentangled' needs as many as "
                f"model.num_heads, {self.num_heads}"
            )
        if not self.disentangled_terms or len(set(self.disentangled_terms)) < len(self.disentangled_terms):
            raise UsageError(
                f"model.disentangled_terms is {self.disentangled_terms}; name one or two of them, each once "
                "(without any, model.positions is 'none')"
            )
        side = self.relative_buckets // 2
        if self.relative_buckets % 2 or not 2 <= side <= self.relative_max_distance:
            raise UsageError(
                f"model.relative_buckets is {self.relative_buckets}; model.positions 'disentangled' needs an even "
                f"number from 4 to twice model.relative_max_distance, {2 * self.relative_max_distance}"
            )

    def _validate_layers(self) -> None:
        positive = ("attention_scale", "attention_soft_cap", "final_soft_cap", "local_rotary_theta")
        for name in (*positive, "feed_forward_limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"model.{name} is {value}; it must be positive")
        if not self.layer_pattern:
            raise UsageError("model.layer_pattern is empty; name at least one kind of layer")
        if "local" in self.layer_pattern and self.window is None:
            raise UsageError("model.layer_pattern has local layers, which need model.window")
        if not self.rotary_pattern:
            raise UsageError("model.rotary_pattern is empty; name at least one kind of layer")
        if "none" in self.rotary_pattern and self.positions != "rotary":
            raise UsageError(
                "model.rotary_pattern names layers without positions, which are for model.positions 'rotary', not "
                f"{self.positions!r}"
            )
        if self.qk_norm_over != "head" and not self.qk_norm:
            raise UsageError(f"model.qk_norm_over {self.qk_norm_over!r} is for a model with model.qk_norm")
        if self.residual == "parallel" and self.norm_position != "pre":
            raise UsageError(f"model.residual 'parallel' needs model.norm_position 'pre', not {self.norm_position!r}")
        if self.skip_first_norm and (self.norm_position != "pre" or self.layers != "unrolled"):
            raise UsageError("model.skip_first_norm needs model.norm_position 'pre' and model.layers 'unrolled'")
        if self.num_experts:
            if self.experts_per_token > self.num_experts:
                raise UsageError(
                    f"model.experts_per_token {self.experts_per_token} is more than the {self.num_experts} of "
                    "model.num_experts"
                )
            if not self.is_gated:
                raise UsageError("model.num_experts needs a gated model.feed_forward")
        elif not self.renormalize_experts:
            raise UsageError("model.renormalize_experts false is for a model with model.num_experts")
        elif self.router_bias:
            raise UsageError("model.router_bias is for a model with model.num_experts")
        if self.feed_forward_limit is not None and not self.is_gated:
            raise UsageError(f"model.feed_forward_limit needs a gated model.feed_forward, not {self.feed_forward!r}")
        if self.attention != "reference" and (
            self.attention_soft_cap is not None
            or self.attention_sinks
            or self.has_relative_bias
            or self.positions in ("alibi", "transformer_xl")
        ):
            raise UsageError(
                f"model.attention {self.attention!r} knows neither soft caps nor sinks nor position biases; use "
                "'reference'"
            )

    def _validate_architecture(self) -> None:
        encoder_heads = ("pretraining", "next_sentence", "replaced_token")
        if self.task_head in encoder_heads and self.architecture != "encoder":
            raise UsageError(f"model.task_head {self.task_head!r} needs model.architecture 'encoder'")
        if self.task_head in ("pretraining", "next_sentence") and self.pooler == "none":
            raise UsageError(f"model.task_head {self.task_head!r} needs a model.pooler")
        if (self.positions == "transformer_xl") != (self.architecture == "permutation"):
            raise UsageError("model.positions 'transformer_xl' and model.architecture 'permutation' go together")
        for name, only in _FIXED.get(self.architecture, {}).items():
            if getattr(self, name) != only:
                raise UsageError(
                    f"model.{name} is {getattr(self, name)!r}; model.architecture {self.architecture!r} needs {only!r}"
                )
        if self.architecture != "encoder_decoder" and self.num_encoder_layers is not None:
            raise UsageError("model.num_encoder_layers is for model.architecture 'encoder_decoder'")
        if self.architecture == "encoder_decoder" and self.attention_sinks:
            raise UsageError("model.attention_sinks is for one tower, not for model.architecture 'encoder_decoder'")
        if self.architecture == "encoder_decoder" and self.token_types:
            raise UsageError("model.token_types is for one tower, not for model.architecture 'encoder_decoder'")
        if self.prefix == "bidirectional" and (self.architecture != "decoder" or self.attention != "reference"):
            raise UsageError(
                "model.prefix 'bidirectional' is for model.architecture 'decoder' with model.attention 'reference', "
                f"not {self.architecture!r} with {self.attention!r}"
            )
        if self.generator_heads:
            self._validate_generator()

    def _validate_generator(self) -> None:
        if self.task_head != "replaced_token":
            raise UsageError(
                f"model.generator_heads is {self.generator_heads}; a generator stands beside model.task_head "
                f"'replaced_token' only, not {self.task_head!r}: set it to 0"
            )
        if self.generator_heads > self.num_heads:
            raise UsageError(
                f"model.generator_heads {self.generator_heads} is more than model.num_heads {self.num_heads}: a "
                "generator is at most as wide as its discriminator"
            )
        for name in ("embed_dim", "mlp_dim", "num_kv_heads"):
            width = getattr(self, name)
            if width is not None and width * self.generator_heads % self.num_heads:
                raise UsageError(
                    f"model.generator_heads {self.generator_heads} of {self.num_heads} is no whole share of "
                    f"model.{name} {width}: choose another number of heads"
                )
