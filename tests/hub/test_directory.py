"""Whole directories: round trips of a model of ours, and every bad directory one clear error."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.directory import SCANNED_FROM, read_directory, read_model, write_directory, write_model
from jaxlm.hub.files import whole_folder
from jaxlm.hub.imported import Imported
from jaxlm.hub.safetensors import SafetensorsFile
from jaxlm.hub.weights import INDEX, SINGLE
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.nn.stack import stack_layers
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import make_mesh
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.tokenizer import has_tokenizer

GPT = ModelConfig(vocab_size=300, max_length=16, num_layers=2, embed_dim=16, num_heads=2, layers="unrolled")


def random_params(config, dtype="float32"):
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), dtype), abstract_params(config))


def same(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), one, other))


@pytest.fixture
def folder(tmp_path):
    write_directory(tmp_path / "model", GPT, random_params(GPT))
    return tmp_path / "model"


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("dtype", "computes"), [("float32", "float32"), ("float16", "float32"), ("bfloat16", "bfloat16")]
)
def test_types_are_kept_to_the_bit_and_decide_what_is_computed_in(tmp_path, dtype, computes):
    params = random_params(GPT, dtype)
    write_model(tmp_path / "first", GPT, params)
    model = read_model(tmp_path / "first")
    assert model.config == replace(GPT, family="gpt2", dtype=computes, mlp_dim=model.config.mlp_dim, pooling="last")
    assert same(model.params, params)
    write_model(tmp_path / "second", model.config, model.params)
    assert (tmp_path / "first" / SINGLE).read_bytes() == (tmp_path / "second" / SINGLE).read_bytes()
    assert json.loads((tmp_path / "first" / "config.json").read_text())["dtype"] == dtype


def test_a_wish_for_types_is_followed(folder):
    model = read_model(folder, dtype="bfloat16")
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(model.params)} == {"bfloat16"}
    assert model.config.dtype == "bfloat16"
    assert read_model(folder, dtype="bfloat16", compute_dtype="float32").config.dtype == "float32"
    with pytest.raises(UsageError, match="'int8'"):
        read_model(folder, dtype="int8")


def test_scanned_layers_are_the_unrolled_ones_stacked(folder, tmp_path):
    unrolled, scanned = read_model(folder), read_model(folder, layers="scanned")
    assert scanned.config.layers == "scanned"
    assert same(scanned.params, {**unrolled.params, "layers": stack_layers(unrolled.params["layers"])})
    write_model(tmp_path / "again", scanned.config, scanned.params)
    assert (tmp_path / "again" / SINGLE).read_bytes() == (folder / SINGLE).read_bytes()


def test_many_layers_of_one_type_are_stacked_so_that_one_is_compiled(tmp_path):
    config = replace(GPT, num_layers=SCANNED_FROM)
    params = random_params(config)
    write_directory(tmp_path / "many", config, params)
    assert read_model(tmp_path / "many").config.layers == "scanned"
    assert read_model(tmp_path / "many", layers="unrolled").config.layers == "unrolled"
    params["layers"]["3"]["mlp"]["up"]["kernel"] = params["layers"]["3"]["mlp"]["up"]["kernel"].astype("bfloat16")
    write_directory(tmp_path / "mixed", config, params)
    assert read_model(tmp_path / "mixed").config.layers == "unrolled"
    assert read_model(tmp_path / "mixed", dtype="float32").config.layers == "scanned"


@pytest.mark.parametrize("layers", ["scanned", "unrolled"])
def test_weights_go_straight_into_their_shards(folder, layers):
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    model, whole = read_model(folder, mesh=mesh, layers=layers), read_model(folder, layers=layers)
    assert same(model.params, whole.params)
    path = ("stacked",) if layers == "scanned" else ("0",)
    kernel = model.params["layers"][path[0]]["mlp"]["up"]["kernel"]
    assert len({str(shard.index) for shard in kernel.addressable_shards}) == 8
    assert kernel.addressable_shards[0].data.size == kernel.size // 8


def test_several_files_are_read_like_one(folder, tmp_path):
    model = read_model(folder)
    write_model(tmp_path / "parts", model.config, model.params, max_shard_bytes=10_000)
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 3
    assert same(read_model(tmp_path / "parts").params, model.params)


def test_tokenizer_generation_and_ids_come_back(tmp_path):
    tokenizer = ByteTokenizer()
    generation = GenerationConfig(temperature=0.5, max_new_tokens=7, end_ids=(280,))
    ids = {"bos_token_id": 299, "eos_token_id": [298, 297], "pad_token_id": None}
    write_directory(tmp_path / "model", GPT, random_params(GPT), tokenizer, generation, Imported(ids), family="gpt2")
    directory = read_directory(tmp_path / "model")
    assert has_tokenizer(tmp_path / "model")
    assert directory.tokenizer.encode("The lake") == tokenizer.encode("The lake")
    assert directory.generation == replace(generation, end_ids=(298, 297, 280))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (299, [298, 297])


def test_what_the_directory_wants_and_we_do_not_do_is_said(folder, caplog):
    (folder / "generation_config.json").write_text(json.dumps({"num_beam_groups": 4}))
    directory = read_directory(folder)
    assert directory.tokenizer is None
    assert "num_beam_groups = 4 is not done here" in caplog.text


def test_labels_are_kept(tmp_path):
    config = replace(GPT, task_head="sequence_classification", num_labels=2, classifier_bias=False, pooling="last")
    write_model(tmp_path / "first", config, random_params(config), labels=("bad", "good"))
    assert read_model(tmp_path / "first").labels == ("bad", "good")


def test_a_folder_that_holds_something_is_not_written_to(folder, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        write_directory(folder, GPT, random_params(GPT))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="exists already"):
        write_directory(tmp_path / "file", GPT, random_params(GPT))
    (tmp_path / "empty").mkdir()
    write_directory(tmp_path / "empty", GPT, random_params(GPT))


def test_a_model_that_cannot_be_expressed_leaves_nothing(tmp_path):
    with pytest.raises(UsageError, match="no model family"):
        write_directory(tmp_path / "model", replace(GPT, positions="sinusoidal", norm_position="post"), {})
    assert not (tmp_path / "model").exists()


def truncate(folder):
    path = folder / SINGLE
    path.write_bytes(path.read_bytes()[:-100])


def huge_header(folder):
    path = folder / SINGLE
    path.write_bytes((1 << 40).to_bytes(8, "little") + path.read_bytes()[8:])


def lose_a_shard(folder):
    model = read_model(folder)
    (folder / SINGLE).unlink()
    write_model(folder, model.config, model.params, max_shard_bytes=10_000)
    sorted(folder.glob("model-00002-of-*"))[0].unlink()


def escape(folder):
    lose_a_shard(folder)
    index = json.loads((folder / INDEX).read_text())
    first = next(iter(index["weight_map"]))
    index["weight_map"][first] = "../outside.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def link(folder):
    (folder / SINGLE).rename(folder.parent / "outside.safetensors")
    (folder / SINGLE).symlink_to("../outside.safetensors")


def only_pickles(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


BAD = {
    "truncated": (truncate, DataError, "a download cut short"),
    "huge header": (huge_header, DataError, "a header of 1,099,511,627,776 bytes"),
    "wrong shapes": (lambda f: change(f, n_embd=32), DataError, r"wte\.weight is \[300, 16\] instead of \[300, 32\]"),
    "fewer layers": (lambda f: change(f, n_layer=1), DataError, r"12 unexpected\): transformer\.h\.1"),
    "more layers": (lambda f: change(f, n_layer=3), DataError, r"12 missing.*transformer\.h\.2\.ln_1\.weight"),
    "a missing shard": (lose_a_shard, DataError, "1 of them are missing: model-00002-of-"),
    "a path that escapes": (escape, DataError, r"'\.\./outside\.safetensors', which is not a plain file name"),
    "a link that escapes": (link, DataError, "link out of its folder"),
    "auto_map": (
        lambda f: change(f, auto_map={"AutoModel": "evil.Model"}, architectures=["Evil"]),
        UsageError,
        "which jaxlm does not run",
    ),
    "pickle only": (only_pickles, UsageError, "pytorch_model.bin only.*save_pretrained"),
    "unknown family": (lambda f: change(f, model_type="gpt5"), UsageError, r"model_type 'gpt5' \(did you mean"),
    "unknown class": (lambda f: change(f, architectures=["GPT2Evil"]), UsageError, "these are: GPT2LMHeadModel"),
    "unsupported value": (lambda f: change(f, scale_attn_weights=False), UsageError, "scale_attn_weights is False"),
    "unknown field": (lambda f: change(f, attention_twist=0.5), UsageError, "attention_twist = 0.5"),
    "unknown activation": (lambda f: change(f, activation_function="sine"), UsageError, "'sine' is not supported"),
    "impossible": (lambda f: change(f, n_head=3), UsageError, "cannot be: model.embed_dim 16 is not divisible"),
    "a billion layers": (lambda f: change(f, n_layer=10**9), UsageError, "'n_layer' is over the 4,096"),
    "too wide": (lambda f: change(f, n_embd=2 * 10**12), UsageError, "'n_embd' is over the 2,147,483,647"),
    "wrong type": (lambda f: change(f, n_layer="2"), DataError, "n_layer is '2'; it must be a whole number"),
    "no config": (lambda f: (f / "config.json").unlink(), UsageError, r"has no config\.json"),
    "no weights": (lambda f: (f / SINGLE).unlink(), UsageError, "has no weights"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_directory_is_one_clear_error_and_nothing_is_executed(folder, kind):
    spoil, error, message = BAD[kind]
    (folder / "evil.py").write_text(f"open({str(folder / 'executed')!r}, 'w')")
    spoil(folder)
    with pytest.raises(error, match=message) as caught:
        read_model(folder)
    assert str(folder) in str(caught.value) or "config.json" in str(caught.value)
    assert not (folder / "executed").exists()


def test_a_number_of_another_kind_is_no_weight(folder):
    path = folder / SINGLE
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"dtype":"F32"', b'"dtype":"I32"', 1))
    name = next(iter(SafetensorsFile(path).tensors))
    with pytest.raises(DataError, match=f"{name} is of type int32"):
        read_model(folder)


def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path):
    params = random_params(GPT)
    kernel = params["layers"]["1"]["mlp"]["up"]["kernel"]
    params["layers"]["1"]["mlp"]["up"]["kernel"] = kernel.at[0, 2].set(jnp.nan)
    write_directory(tmp_path / "model", GPT, params)
    with pytest.raises(DataError, match=r"tensor transformer\.h\.1\.mlp\.c_fc\.weight holds NaN \(1 of 1,024 values\)"):
        read_model(tmp_path / "model")
    assert jnp.isnan(read_model(tmp_path / "model", allow_nan=True).params["layers"]["1"]["mlp"]["up"]["kernel"]).any()


def test_layers_that_the_weights_do_not_have_are_found_before_any_is_made(folder):
    change(folder, n_layer=4000)
    with pytest.raises(DataError, match="describes 4,000 layers, and its weights are 28 tensors"):
        read_model(folder)
    change(folder, n_layer=10**6)
    with pytest.raises(UsageError, match="'n_layer' is over the 4,096"):
        read_model(folder)


@pytest.mark.parametrize("name", ["config.json", SINGLE])
def test_what_is_no_regular_file_does_not_block(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match=f"{name} is no regular file"):
        read_model(folder)


def test_a_directory_is_there_whole_or_not_at_all(tmp_path):
    """What a killed process leaves is beside the folder, and goes with the next try."""
    program = """
import os, sys
from jaxlm.hub.files import whole_folder
with whole_folder(sys.argv[1]) as folder:
    (folder / "config.json").write_text("{}")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], check=False).returncode == -9
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    write_directory(tmp_path / "out", GPT, random_params(GPT))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert read_model(tmp_path / "out").config.num_layers == 2
