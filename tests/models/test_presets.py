"""Presets against published parameter counts, and against transformers' models of the same settings."""

import warnings
from dataclasses import replace
from typing import Any

import pytest

from jaxlm.errors import UsageError
from jaxlm.models.counts import count_params
from jaxlm.models.presets import PRESETS, preset

from ..slow_cases import slow_after

# Parameters of the published weights, which share tied matrices. Model cards and repositories give most of them to the
# last digit (Pythia, Qwen, Gemma, Mistral, Llama); papers round: BERT 110M and 340M, its small sizes 4.4M, 11.3M, 29.1M
# and 41.7M, RoBERTa 125M and 355M, DistilBERT 66M, ELECTRA 14M, 110M and 335M, ModernBERT 149M and 395M, GPT-2 124M to
# 1.5B, Mixtral 46.7B, T5 60M to 11B, UL2 20B, BART 140M and 406M, XLNet 110M and 340M, LSTMs 20M and 66M. The cards of
# DeBERTaV3 give layers and table apart, in millions: 22 + 48, 44 + 98, 86 + 98, 304 + 131, and 86 + 190 (multilingual).
COUNTS = {
    "bert-tiny": 4_433_468,
    "bert-mini": 11_267_900,
    "bert-small": 29_058_876,
    "bert-medium": 41_668_412,
    "bert-base-uncased": 110_106_428,
    "bert-base-cased": 108_932_934,
    "bert-base-chinese": 102_882_442,
    "bert-large-uncased": 336_226_108,
    "bert-large-cased": 334_661_958,
    "roberta-base": 124_697_433,
    "roberta-large": 355_412_057,
    "xlm-roberta-base": 278_295_186,
    "camembert-base": 110_655_493,
    "mpnet-base": 109_518_527,
    "deberta-v3-xsmall": 70_958_820,
    "deberta-v3-small": 142_024_548,
    "deberta-v3-base": 184_551_780,
    "deberta-v3-large": 435_191_908,
    "mdeberta-v3-base": 279_061_880,
    "distilbert-base-uncased": 66_985_530,
    "distilbert-base-cased": 65_812_036,
    "electra-small-discriminator": 13_549_057,
    "electra-base-discriminator": 109_483_009,
    "electra-large-discriminator": 335_142_913,
    "electra-small-generator": 13_546_682,
    "electra-base-generator": 33_740_602,
    "electra-large-generator": 51_295_290,
    "modernbert-base": 149_655_232,
    "modernbert-large": 395_881_664,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "opt-125m": 125_239_296,
    "opt-1.3b": 1_315_758_080,
    "pythia-70m": 70_426_624,
    "pythia-160m": 162_322_944,
    "pythia-410m": 405_334_016,
    "pythia-1b": 1_011_781_632,
    "pythia-1.4b": 1_414_647_808,
    "pythia-2.8b": 2_775_208_960,
    "pythia-6.9b": 6_857_302_016,
    "pythia-12b": 11_846_072_320,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "mistral-7b-v0.1": 7_241_732_096,
    "mixtral-8x7b-v0.1": 46_702_792_704,
    "phi-3-mini-4k-instruct": 3_821_079_552,
    "phi-3-mini-128k-instruct": 3_821_079_552,
    "qwen2-0.5b": 494_032_768,
    "qwen2-1.5b": 1_543_714_304,
    "qwen2-7b": 7_615_616_512,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "olmo-2-1b": 1_484_916_736,
    "olmo-2-7b": 7_298_617_344,
    "olmo-2-13b": 13_716_198_400,
    "olmo-2-32b": 32_234_279_936,
    "smollm3-3b": 3_075_098_624,
    "gemma-2b": 2_506_172_416,
    "gemma-7b": 8_537_680_896,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "gemma-3-1b": 999_885_952,
    # Less the vision tower and the projector of images: 419,816,304 of 4,300,079,472; 421,290,864 of 12,187,325,040;
    # and 423,060,336 of 27,432,406,640.
    "gemma-3-4b": 3_880_263_168,
    "gemma-3-12b": 11_766_034_176,
    "gemma-3-27b": 27_009_346_304,
    "gpt-oss-20b": 20_914_757_184,
    "gpt-oss-120b": 116_829_156_672,
    "transformer-base": 63_045_632,
    "transformer-big": 214_171_648,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "t5-v1.1-small": 76_961_152,
    "t5-v1.1-base": 247_577_856,
    "t5-v1.1-large": 783_150_080,
    "t5-v1.1-xl": 2_849_757_184,
    "t5-v1.1-xxl": 11_135_332_352,
    "flan-t5-small": 76_961_152,
    "flan-t5-base": 247_577_856,
    "flan-t5-large": 783_150_080,
    "flan-t5-xl": 2_849_757_184,
    "flan-t5-xxl": 11_135_332_352,
    "ul2": 19_459_613_696,
    "bart-base": 139_420_416 + 50_265,
    "bart-large": 406_291_456 + 50_265,
    "opus-mt-en-de": 73_944_309,
    "opus-mt-en-fr": 74_669_178,
    "opus-mt-zh-en": 77_484_009,
    "xlnet-base-cased": 116_750_336,
    "xlnet-large-cased": 360_300_800,
    "lstm-medium": 19_775_200,
    "lstm-large": 66_022_000,
}
ROUNDED = {
    "bert-base-uncased": 110e6,
    "bert-large-uncased": 340e6,
    "roberta-large": 355e6,
    "distilbert-base-uncased": 66e6,
    "transformer-base": 65e6,
    "transformer-big": 213e6,
    "t5-11b": 11e9,
    "ul2": 20e9,
    "bart-large": 406e6,
    "lstm-medium": 20e6,
    "lstm-large": 66e6,
}


@pytest.mark.parametrize("names", slow_after(1, [sorted(PRESETS)[::6], sorted(PRESETS)]), ids=["some", "all"])
def test_every_preset_has_its_published_size(names):
    assert PRESETS.keys() == COUNTS.keys()
    # The parameters are as many in one stack, of which one layer is traced.
    stacked = {
        name: config if config.skip_first_norm else replace(config, layers="scanned")
        for name, config in PRESETS.items()
        if name in names
    }
    assert {name: count_params(config) for name, config in stacked.items()} == {name: COUNTS[name] for name in names}


def test_sizes_round_to_those_of_the_papers():
    for name, published in ROUNDED.items():
        assert COUNTS[name] == pytest.approx(published, rel=0.035), name


def test_every_preset_is_a_possible_model():
    for config in PRESETS.values():
        config.validate()


def test_an_unknown_name_is_answered_with_the_closest_one():
    assert preset("gpt2") is PRESETS["gpt2"]
    with pytest.raises(UsageError, match=r"unknown preset 'bert-base-uncase' \(did you mean 'bert-base-uncased'\?\)"):
        preset("bert-base-uncase")


MISTRAL = {
    **{"num_hidden_layers": 32, "hidden_size": 4096, "intermediate_size": 14336, "vocab_size": 32000},
    **{"num_attention_heads": 32, "num_key_value_heads": 8},
}
# Preset -> class of transformers and its settings: one of each family.
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base-uncased": ("BertForPreTraining", {}),
    "roberta-base": (
        "RobertaForMaskedLM",
        {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "camembert-base": (
        "CamembertForMaskedLM",
        {"vocab_size": 32005, "max_position_embeddings": 514, "type_vocab_size": 1},
    ),
    "mpnet-base": ("MPNetForMaskedLM", {"max_position_embeddings": 514}),
    "deberta-v3-small": (
        "DebertaV2ForMaskedLM",
        {
            **{"num_hidden_layers": 6, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            **{"relative_attention": True, "position_buckets": 256, "position_biased_input": False},
            **{"share_att_key": True, "norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"]},
        },
    ),
    "distilbert-base-uncased": ("DistilBertForMaskedLM", {}),
    "electra-small-discriminator": ("ElectraForPreTraining", {}),
    "electra-base-generator": ("ElectraForMaskedLM", {"embedding_size": 768}),
    "modernbert-base": ("ModernBertForMaskedLM", {}),
    "gpt2": ("GPT2LMHeadModel", {}),
    "opt-125m": ("OPTForCausalLM", {}),
    "pythia-70m": (
        "GPTNeoXForCausalLM",
        {
            **{"num_hidden_layers": 6, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048},
            "vocab_size": 50304,
        },
    ),
    "llama-3.2-1b": (
        "LlamaForCausalLM",
        {
            **{"num_hidden_layers": 16, "hidden_size": 2048, "intermediate_size": 8192, "vocab_size": 128256},
            **{"num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": True},
        },
    ),
    "mistral-7b-v0.1": ("MistralForCausalLM", MISTRAL),
    "mixtral-8x7b-v0.1": ("MixtralForCausalLM", MISTRAL),
    "phi-3-mini-4k-instruct": ("Phi3ForCausalLM", {}),
    "qwen2-0.5b": (
        "Qwen2ForCausalLM",
        {
            **{"num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864, "vocab_size": 151936},
            **{"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
        },
    ),
    "qwen3-0.6b": (
        "Qwen3ForCausalLM",
        {
            **{"num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072, "vocab_size": 151936},
            **{"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
        },
    ),
    "qwen3-30b-a3b": ("Qwen3MoeForCausalLM", {"num_hidden_layers": 48, "head_dim": 128}),
    "olmo-2-7b": ("Olmo2ForCausalLM", {"vocab_size": 100352}),
    "smollm3-3b": ("SmolLM3ForCausalLM", {}),
    "gemma-7b": ("GemmaForCausalLM", {}),
    "gemma-2-2b": ("Gemma2ForCausalLM", {}),
    "gemma-3-1b": (
        "Gemma3ForCausalLM",
        {
            **{"num_hidden_layers": 26, "hidden_size": 1152, "intermediate_size": 6912, "vocab_size": 262144},
            **{"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256},
        },
    ),
    "gemma-3-4b": (
        "Gemma3ForCausalLM",
        {"num_hidden_layers": 34, "hidden_size": 2560, "intermediate_size": 10240},
    ),
    "gpt-oss-120b": ("GptOssForCausalLM", {}),
    "t5-small": ("T5ForConditionalGeneration", {}),
    "t5-v1.1-small": (
        "T5ForConditionalGeneration",
        {
            **{"d_ff": 1024, "num_layers": 8, "num_heads": 6},
            **{"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        },
    ),
    "bart-base": (
        "BartForConditionalGeneration",
        {
            **{"encoder_layers": 6, "encoder_ffn_dim": 3072, "encoder_attention_heads": 12, "d_model": 768},
            **{"decoder_layers": 6, "decoder_ffn_dim": 3072, "decoder_attention_heads": 12},
        },
    ),
    "opus-mt-en-de": (
        "MarianMTModel",
        {
            **{"encoder_layers": 6, "encoder_ffn_dim": 2048, "encoder_attention_heads": 8, "d_model": 512},
            **{"decoder_layers": 6, "decoder_ffn_dim": 2048, "decoder_attention_heads": 8},
            "max_position_embeddings": 512,
        },
    ),
    "xlnet-base-cased": ("XLNetLMHeadModel", {"n_layer": 12, "d_model": 768, "n_head": 12, "d_inner": 3072}),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_preset_has_the_size_of_its_peer(name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    class_name, settings = PEERS[name]
    peer = getattr(transformers, class_name)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # initialisers have nothing to do
        model = peer(peer.config_class(**settings))
    count = sum(parameter.numel() for parameter in model.parameters())
    if class_name in ("BartForConditionalGeneration", "MarianMTModel"):
        count += model.config.vocab_size  # a bias of the logits, which is no parameter there
    if class_name == "MarianMTModel":
        count -= 2 * 512 * 512  # two tables of sines, which are no parameters here
    if name == "t5-v1.1-small":
        # transformers 5 ties the head of every T5 it makes; that of the published weights is a matrix of its own.
        count += model.config.vocab_size * model.config.d_model
    assert count_params(PRESETS[name]) == count
