"""Records what transformers computes for a tiny model of each family, for test_recorded.py to compare without PyTorch.

PYTHONPATH=. python tests/hub/record_families.py [FAMILY ...]    (with torch and transformers; rewrites the fixtures)

A fixture `fixtures/FAMILY.npz` holds `config` (the text of config.json), `names` (JSON: the shape of each tensor of the
directory by its name), `tensors` (their values one after another, in units of 1 / UNITS, so that a byte each is exact),
`input/NAME` (inputs of our model) and `output/NAME` (logits and hidden_states of theirs). To add a family, add it to
MODELS.
"""

import inspect
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"
UNITS = 32
VOCAB_SIZE = 31
PAD = 1
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
SCALED = {"rope_type": "llama3", "rope_theta": 100.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "truncate": False}
LONGROPE = {"rope_type": "longrope", "rope_theta": 100.0, "factor": 10.0}


def decoder_inputs() -> dict[str, np.ndarray]:
    """A whole row, and a left-padded one."""
    real = np.arange(10) >= np.array([[0], [3]])
    tokens = np.random.default_rng(1).integers(3, VOCAB_SIZE, real.shape)
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0)
    return {"tokens": tokens, "segment_ids": real * 1, "positions": positions}


BERT_SIZES = {**SIZES, "pad_token_id": PAD}


def encoder_inputs() -> dict[str, np.ndarray]:
    """A whole row, and a right-padded one."""
    real = np.arange(10) < np.array([[10], [7]])
    tokens = np.random.default_rng(2).integers(4, VOCAB_SIZE, real.shape)
    return {"tokens": np.where(real, tokens, PAD), "segment_ids": real * 1}


def pair_inputs() -> dict[str, np.ndarray]:
    """The same with two types of tokens."""
    return {**encoder_inputs(), "token_types": (np.arange(10) >= np.array([[4], [5]])) * 1}


def two_tower_inputs() -> dict[str, np.ndarray]:
    """A whole pair, and one whose source is right-padded and whose target is left-padded; positions are slots."""
    random = np.random.default_rng(1)
    real = np.arange(10) >= np.array([[0], [3]])
    real_source = np.arange(7) < np.array([[7], [5]])
    return {
        "tokens": random.integers(3, VOCAB_SIZE, real.shape),
        "segment_ids": real * 1,
        "encoder_tokens": random.integers(3, VOCAB_SIZE, real_source.shape),
        "encoder_segment_ids": real_source * 1,
    }


T5_SIZES: dict[str, Any] = {
    **{"vocab_size": VOCAB_SIZE, "n_positions": 32, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1},
    **{"num_decoder_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8},
    **{"relative_attention_max_distance": 7, "decoder_start_token_id": 0},
}
BART_SIZES: dict[str, Any] = {
    **{"vocab_size": VOCAB_SIZE, "max_position_embeddings": 32, "d_model": 16, "encoder_layers": 1},
    **{"decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24},
    **{"decoder_ffn_dim": 24, "decoder_start_token_id": 2},
}


def untied(model: Any) -> Any:
    """The T5 with a head of its own, as the published models of version 1.1 and mT5 have."""
    import torch

    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    del model.all_tied_weights_keys["lm_head.weight"]
    return model


# Makes each family's model, given transformers, with the inputs to record.
Model = tuple[Callable[[Any], Any], Callable[[], dict[str, np.ndarray]]]
MODELS: dict[str, Model] = {
    "gpt2": (
        lambda t: t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=VOCAB_SIZE, n_positions=16, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
            )
        ),
        decoder_inputs,
    ),
    "opt": (
        lambda t: t.OPTForCausalLM(
            t.OPTConfig(
                **{name: value for name, value in SIZES.items() if name != "intermediate_size"},
                ffn_dim=24,
                word_embed_proj_dim=16,
                pad_token_id=PAD,
            )
        ),
        decoder_inputs,
    ),
    "gpt_neox": (lambda t: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SIZES, rotary_pct=0.5)), decoder_inputs),
    "bloom": (
        lambda t: t.BloomForCausalLM(t.BloomConfig(vocab_size=VOCAB_SIZE, hidden_size=16, n_layer=2, n_head=4)),
        decoder_inputs,
    ),
    "llama": (
        lambda t: t.LlamaForCausalLM(
            t.LlamaConfig(**GROUPED, rope_parameters={**SCALED, "original_max_position_embeddings": 16})
        ),
        decoder_inputs,
    ),
    "mistral": (lambda t: t.MistralForCausalLM(t.MistralConfig(**GROUPED, sliding_window=4)), decoder_inputs),
    "mixtral": (
        lambda t: t.MixtralForCausalLM(t.MixtralConfig(**GROUPED, num_local_experts=3)),
        decoder_inputs,
    ),
    "phi3": (
        lambda t: t.Phi3ForCausalLM(
            t.Phi3Config(
                **GROUPED,
                **{"sliding_window": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
                original_max_position_embeddings=3,
                rope_parameters={**LONGROPE, "short_factor": [1.0, 1.5], "long_factor": [2.0, 5.0]},
            )
        ),
        decoder_inputs,
    ),
    "qwen2": (
        lambda t: t.Qwen2ForCausalLM(
            t.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1)
        ),
        decoder_inputs,
    ),
    "qwen3": (
        lambda t: t.Qwen3ForCausalLM(t.Qwen3Config(**GROUPED, head_dim=6, tie_word_embeddings=True)),
        decoder_inputs,
    ),
    "qwen3_moe": (
        lambda t: t.Qwen3MoeForCausalLM(
            t.Qwen3MoeConfig(**GROUPED, head_dim=6, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=12)
        ),
        decoder_inputs,
    ),
    "gpt_oss": (
        lambda t: t.GptOssForCausalLM(
            t.GptOssConfig(
                **GROUPED,
                **{"head_dim": 6, "num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": 4},
                **{"swiglu_limit": 1.5, "rope_parameters": {**YARN, "original_max_position_embeddings": 8}},
                **{"pad_token_id": PAD, "eos_token_id": 2, "attn_implementation": "eager"},
            )
        ),
        decoder_inputs,
    ),
    "olmo2": (lambda t: t.Olmo2ForCausalLM(t.Olmo2Config(**GROUPED)), decoder_inputs),
    "smollm3": (
        lambda t: t.SmolLM3ForCausalLM(
            t.SmolLM3Config(
                **GROUPED, no_rope_layers=[1, 0], use_sliding_window=True, sliding_window=4, pad_token_id=PAD
            )
        ),
        decoder_inputs,
    ),
    "gemma": (
        lambda t: t.GemmaForCausalLM(t.GemmaConfig(**{**GROUPED, "num_key_value_heads": 1}, head_dim=6)),
        decoder_inputs,
    ),
    "gemma2": (
        lambda t: t.Gemma2ForCausalLM(
            t.Gemma2Config(
                **GROUPED,
                head_dim=8,
                query_pre_attn_scalar=5,
                sliding_window=4,
                attn_logit_softcapping=2.0,
                final_logit_softcapping=3.0,
            )
        ),
        decoder_inputs,
    ),
    "gemma3_text": (
        lambda t: t.Gemma3ForCausalLM(
            t.Gemma3TextConfig(
                **GROUPED, head_dim=8, query_pre_attn_scalar=5, sliding_window=4, sliding_window_pattern=2
            )
        ),
        decoder_inputs,
    ),
}
MODELS |= {
    "bert": (lambda t: t.BertForMaskedLM(t.BertConfig(**BERT_SIZES)), pair_inputs),
    "roberta": (lambda t: t.RobertaForMaskedLM(t.RobertaConfig(**BERT_SIZES)), encoder_inputs),
    "xlm_roberta": (lambda t: t.XLMRobertaForTokenClassification(t.XLMRobertaConfig(**BERT_SIZES)), encoder_inputs),
    "camembert": (
        lambda t: t.CamembertForSequenceClassification(t.CamembertConfig(**BERT_SIZES, num_labels=3)),
        encoder_inputs,
    ),
    "mpnet": (lambda t: t.MPNetForMaskedLM(t.MPNetConfig(**BERT_SIZES)), encoder_inputs),
    "deberta_v2": (
        lambda t: t.DebertaV2ForMaskedLM(
            t.DebertaV2Config(
                **BERT_SIZES,
                **{"relative_attention": True, "position_buckets": 4, "position_biased_input": False},
                **{"share_att_key": True, "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"]},
            )
        ),
        encoder_inputs,
    ),
    "distilbert": (
        lambda t: t.DistilBertForMaskedLM(
            t.DistilBertConfig(
                vocab_size=VOCAB_SIZE,
                dim=16,
                hidden_dim=24,
                n_layers=2,
                n_heads=4,
                max_position_embeddings=32,
                pad_token_id=PAD,
            )
        ),
        encoder_inputs,
    ),
    "electra": (lambda t: t.ElectraForPreTraining(t.ElectraConfig(**BERT_SIZES, embedding_size=12)), pair_inputs),
    "modernbert": (
        lambda t: t.ModernBertForMaskedLM(
            t.ModernBertConfig(
                **BERT_SIZES, local_attention=4, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3
            )
        ),
        encoder_inputs,
    ),
    "t5": (lambda t: t.T5ForConditionalGeneration(t.T5Config(**T5_SIZES)), two_tower_inputs),
    "mt5": (lambda t: untied(t.MT5ForConditionalGeneration(t.MT5Config(**T5_SIZES))), two_tower_inputs),
    "bart": (lambda t: t.BartForConditionalGeneration(t.BartConfig(**BART_SIZES)), two_tower_inputs),
    "mbart": (
        lambda t: t.MBartForConditionalGeneration(t.MBartConfig(**BART_SIZES, scale_embedding=True)),
        two_tower_inputs,
    ),
    "marian": (
        lambda t: t.MarianMTModel(
            t.MarianConfig(**BART_SIZES, scale_embedding=True, activation_function="swish", pad_token_id=2)
        ),
        two_tower_inputs,
    ),
}
# Names of inputs, ours and theirs.
THEIR_NAMES = {
    "tokens": "input_ids",
    "segment_ids": "attention_mask",
    "positions": "position_ids",
    "token_types": "token_type_ids",
}
# With two towers, theirs names what the encoder reads as others name their only input.
THEIR_NAMES_OF_TWO = {
    "tokens": "decoder_input_ids",
    "segment_ids": "decoder_attention_mask",
    "encoder_tokens": "input_ids",
    "encoder_segment_ids": "attention_mask",
}


def units(model: Any) -> None:
    """Gives every parameter of a model random multiples of 1 / UNITS, all of which matter."""
    import torch

    generator = torch.Generator().manual_seed(0)
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # A parameter that is called a buffer.
    parameters |= {name: buffer for name, buffer in model.named_buffers() if name == "final_logits_bias"}
    with torch.no_grad():
        for name, parameter in parameters.items():
            normal = torch.randn(parameter.shape, generator=generator)
            centre, scale = (0, 0.3) if parameter.ndim > 1 or not name.endswith("weight") else (1, 0.3)
            parameter.copy_((torch.round(UNITS * (centre + scale * normal))) / UNITS)


def record(family: str) -> None:
    """Writes the fixture of a family."""
    import torch
    import transformers
    from safetensors.numpy import load_file

    make, inputs = MODELS[family]
    model = make(transformers).eval()
    units(model)
    given = {name: value.astype(np.int32) for name, value in inputs().items()}
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    names = THEIR_NAMES_OF_TWO if model.config.is_encoder_decoder else THEIR_NAMES
    theirs = {
        names[name]: torch.tensor(value).long()
        for name, value in given.items()
        if name != "positions" or takes_positions
    }
    with torch.no_grad():
        output = model(**theirs, output_hidden_states=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tensors = load_file(Path(folder) / "model.safetensors")
        config = (Path(folder) / "config.json").read_text()
    values = UNITS * np.concatenate([tensor.ravel() for tensor in tensors.values()])
    assert np.array_equal(values, values.astype(np.int8))
    arrays: dict[str, np.ndarray] = {
        "config": np.array(config),
        "names": np.array(json.dumps({name: tensor.shape for name, tensor in tensors.items()})),
        "tensors": values.astype(np.int8),
        **{f"input/{name}": value.astype(np.int8) for name, value in given.items()},
    }
    arrays["output/logits"] = output.logits.numpy()
    states = output.decoder_hidden_states if model.config.is_encoder_decoder else output.hidden_states
    arrays["output/hidden_states"] = states[-1].numpy()
    FIXTURES.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURES / f"{family}.npz", **arrays)


if __name__ == "__main__":
    for each in sys.argv[1:] or MODELS:
        record(each)
