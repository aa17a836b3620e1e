import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.opt import FAMILY
from jaxlm.models.presets import preset

from .decoder_parity import assert_same_greedy_tokens, check_head, check_options, other_heads
from .parity import check_decoder, flat, imported, random_tokens, randomise, run_ours

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
FILE = "model.safetensors"


def tiny(**changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    others = {"word_embed_proj_dim": 16, "max_position_embeddings": 80, "pad_token_id": 0}
    return transformers.OPTConfig(**{**sizes, **others, **changes})


def test_opt_is_the_same_both_ways(tmp_path):
    model = randomise(transformers.OPTForCausalLM(tiny()), seed=2)
    model.model.decoder.embed_positions.weight.data.mul_(3)  # or the tied head says the same token again and again
    case = check_decoder(model, tmp_path)
    assert case.family is FAMILY
    assert (case.config.max_length, case.config.position_offset, case.config.norm_position) == (80, 2, "pre")
    assert_same_greedy_tokens(case)


def test_positions_follow_the_mask(tmp_path):
    """Given a mask alone, transformers counts its tokens; so do positions of ours that follow the segments."""
    case = imported(randomise(transformers.OPTModel(tiny())), tmp_path)
    tokens = random_tokens(31, (1, 8))
    real = torch.arange(8)[None] >= 3
    with torch.no_grad():
        expected = case.theirs(input_ids=torch.tensor(tokens).long(), attention_mask=real.int()).last_hidden_state
    alone, _ = run_ours(case, {"tokens": tokens[:, 3:]})
    torch.testing.assert_close(torch.tensor(alone.hidden_states.tolist()), expected[:, 3:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3 if "Sequence" in name else 2)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"do_layer_norm_before": False, "activation_function": "gelu"},
        {"enable_bias": False, "tie_word_embeddings": False},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    case = check_options(transformers.OPTForCausalLM(tiny(**changes)), tmp_path)
    assert ("final_norm" in case.params) == changes.get("do_layer_norm_before", True)


def test_files_without_the_prefix_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    case = imported(randomise(transformers.OPTForCausalLM(tiny())), tmp_path)
    tensors = {name.removeprefix("model."): value for name, value in load_file(tmp_path / FILE).items()}
    copy = tensors["decoder.embed_tokens.weight"].clone()
    save_file({**tensors, "lm_head.weight": copy}, tmp_path / FILE)
    again = flat(read_model(tmp_path).params)
    assert all((value == again[path]).all() for path, value in flat(case.params).items())


# The config.json of facebook/opt-125m.
PUBLISHED = {
    "_name_or_path": "facebook/opt-125m",
    "_remove_final_layer_norm": False,
    "activation_dropout": 0.0,
    "activation_function": "relu",
    "architectures": ["OPTForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "do_layer_norm_before": True,
    "dropout": 0.1,
    "eos_token_id": 2,
    "ffn_dim": 3072,
    "hidden_size": 768,
    "init_std": 0.02,
    "layerdrop": 0.0,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "prefix": "</s>",
    "torch_dtype": "float16",
    "transformers_version": "4.21.0.dev0",
    "use_cache": True,
    "vocab_size": 50272,
    "word_embed_proj_dim": 768,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    assert differences(preset("opt-125m"), read()) == []
    larger = {"hidden_size": 2048, "word_embed_proj_dim": 2048, "ffn_dim": 8192, "num_attention_heads": 32}
    assert differences(preset("opt-1.3b"), read(**larger, num_hidden_layers=24)) == []
    relative = {"enable_bias": True, "layer_norm_elementwise_affine": True, "activation_function": "gelu"}
    assert read(**relative, learned_embeddings=True, scale_embeddings=False).feed_forward == "gelu"
    # Without norms before the sublayers there is none to remove.
    assert read(do_layer_norm_before=False, _remove_final_layer_norm=True).norm_position == "post"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"word_embed_proj_dim": 512}, "word_embed_proj_dim is 512 and hidden_size is 768"),
        ({"_remove_final_layer_norm": True}, "_remove_final_layer_norm is True"),
        ({"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine is False"),
        ({"learned_embeddings": False}, "learned_embeddings is False"),
        ({"scale_embeddings": True}, "scale_embeddings is True"),
        ({"activation_function": "quick_gelu"}, "activation_function 'quick_gelu'"),
        ({"rotary_pct": 0.5}, r"rotary_pct = 0\.5"),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
