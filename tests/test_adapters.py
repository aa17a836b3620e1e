"""Adapters from end to end: trained beside a base that stays, saved alone, merged, taken back."""

import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.adapters import WEIGHTS, save_adapter, with_adapter, without_adapter
from jaxlm.cli.main import main
from jaxlm.errors import CheckpointError, UsageError
from jaxlm.finetuning import finetune
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.training.config import CheckpointConfig
from jaxlm.training.loop import train
from jaxlm.training.stored import read_stored

from .slow_cases import slow_after
from .small_exports import export_small
from .small_runs import small_experiment
from .test_finetuning import begun_from, experiment, files  # noqa: F401  (a fixture)


@pytest.fixture(scope="module")
def base(files, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("base") / "run"
    train(experiment(files, steps=2), folder)
    return folder


def adapted(files, base, kind="lora", **changes):  # noqa: F811
    return experiment(
        files,
        **begun_from(base),
        adapter=AdapterConfig(kind, rank=4, alpha=8.0),
        **changes,
    )


@pytest.fixture(scope="module", params=["lora", pytest.param("dora", marks=pytest.mark.slow)])
def run(request, files, base, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("adapted") / "run"
    return folder, finetune(adapted(files, base, request.param), folder)


def leaves(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def test_it_learns_while_the_base_stays_bit_by_bit(run, base, capsys):
    folder, result = run
    assert result.splits["validation"].scores["accuracy"] > 0.8
    before = leaves(read_stored(base).params)
    after = leaves(read_stored(folder, "latest", apart=True).params)
    state = folder / "checkpoints" / str(result.step) / "state" / "params" / "_METADATA"
    kept = 0
    assert "lora" in state.read_text() or "down" in state.read_text()
    assert "token_embedding" not in state.read_text(), "the base is kept once, beside the checkpoints"
    for name, leaf in after.items():
        plain = name.removesuffix("['base']")
        if plain in before and "classifier" not in name and "pooler" not in name:
            np.testing.assert_array_equal(leaf, before[plain])
            kept += 1
    assert kept > 10


def test_an_adapter_alone_goes_onto_its_base_and_off_again(run, base, tmp_path):
    folder, _ = run
    size = save_adapter(folder, tmp_path / "adapter")
    assert size == (tmp_path / "adapter" / WEIGHTS).stat().st_size
    whole, bare = jaxlm.load(folder), jaxlm.load(base)
    again = with_adapter(bare, tmp_path / "adapter")
    expected = leaves(whole.params)
    for name, leaf in leaves(again.params).items():
        np.testing.assert_allclose(leaf, expected[name], atol=1e-6)
    texts = ["the film was great", "a dull plot"]
    assert [one.label for one in again.predict(texts)] == [one.label for one in whole.predict(texts)]
    plain = leaves(bare.params)
    for name, leaf in leaves(without_adapter(again, tmp_path / "adapter")).items():
        if "classifier" not in name and "pooler" not in name:
            np.testing.assert_allclose(leaf, plain[name], atol=1e-6)


@pytest.mark.slow
def test_optimizer_state_is_that_of_what_learns(files, base, tmp_path, capsys):  # noqa: F811
    train(adapted(files, base, steps=2), tmp_path / "run")
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("learned: ")]
    learned, all_of_them = (int(word.replace(",", "")) for word in line.split() if word[0].isdigit())
    assert learned < all_of_them / 2
    assert jaxlm.load(tmp_path / "run").experiment.adapter.kind == "none"


def with_base_in(experiment, dtype):
    return replace(experiment, optimizer=replace(experiment.optimizer, frozen_dtype=dtype))


def test_a_base_in_bfloat16_takes_half(files, base, tmp_path):  # noqa: F811
    train(with_base_in(adapted(files, base, steps=2), "bfloat16"), tmp_path / "run")
    found = leaves(read_stored(tmp_path / "run", apart=True).params)
    frozen = {name: leaf for name, leaf in found.items() if leaf.dtype == jnp.bfloat16}
    before = leaves(read_stored(base).params)
    matrices = [name for name in frozen if name.endswith("['base']")]
    assert matrices
    for name in matrices:
        np.testing.assert_array_equal(frozen[name], before[name.removesuffix("['base']")].astype(jnp.bfloat16))
    learned = {name: leaf for name, leaf in found.items() if name not in frozen}
    assert all("lora" in name or "classifier" in name or "pooler" in name for name in learned), learned.keys()
    assert {leaf.dtype for leaf in learned.values()} == {np.dtype("float32")}


def on_a_directory(folder, dtype, **changes):
    """Adapters on a Hugging Face directory, which is written to `folder`."""
    export_small("causal_lm", folder / "hf")
    lora = AdapterConfig("lora", rank=2)
    made = small_experiment(folder, **begun_from(folder / "hf"), adapter=lora, evaluation__every=2, **changes)
    return with_base_in(made, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "stored"])
def test_a_run_on_a_directory_goes_on_with_the_same_bits(tmp_path, dtype):
    experiment = on_a_directory(tmp_path, dtype, steps=4, checkpoints=CheckpointConfig(every=2))
    run = tmp_path / "run"
    train(experiment, run)
    before = leaves(read_stored(run, "latest", apart=True).params)
    (run / "checkpoints" / "4" / "manifest.json").unlink()
    train(experiment, run)
    for name, leaf in leaves(read_stored(run, "latest", apart=True).params).items():
        np.testing.assert_array_equal(leaf, before[name])


@pytest.mark.parametrize("dtype", slow_after(1, ["float32", "bfloat16", "stored"]))
def test_a_directory_is_a_base_by_its_hash(tmp_path, dtype, capsys):
    run = tmp_path / "run"
    train(on_a_directory(tmp_path, dtype, steps=2), run)
    assert f"base: {tmp_path / 'hf'}, by a hash of its weights" in capsys.readouterr().out
    assert [path.name for path in (run / "base").iterdir()] == ["reference.json"]
    kept = jnp.bfloat16 if dtype == "bfloat16" else jnp.float32
    before, after = leaves(read_stored(tmp_path / "hf").params), leaves(read_stored(run, apart=True).params)
    for name, leaf in before.items():
        own = after[name] if name in after else after[name + "['base']"]
        np.testing.assert_array_equal(own, leaf.astype(kept))

    (tmp_path / "hf").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"hf is missing: it holds the weights that .*run adapts; put it back"):
        jaxlm.load(run)
    (run / "base" / "model").symlink_to(tmp_path / "elsewhere")
    jaxlm.load(run)
    weights = tmp_path / "elsewhere" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"has other weights than those that .*run adapts; put it back, or"):
        jaxlm.load(run)
    (run / "base" / "reference.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"reference\.json is damaged"):
        jaxlm.load(run)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_run_ends_with_the_same_bits(files, base, tmp_path, dtype):  # noqa: F811
    whole = with_base_in(adapted(files, base, steps=4, checkpoints=CheckpointConfig(every=2)), dtype)
    train(whole, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "checkpoints" / "4" / "manifest.json").unlink()
    train(whole, tmp_path / "parts")
    first, second = (leaves(read_stored(tmp_path / name, "latest", apart=True).params) for name in ("whole", "parts"))
    for name, leaf in first.items():
        np.testing.assert_array_equal(leaf, second[name])


@pytest.mark.slow
def test_meshes_learn_alike(files, base, tmp_path):  # noqa: F811
    for name, mesh in (("data", MeshConfig()), ("all", MeshConfig(data=2, fsdp=2, tensor=2))):
        train(adapted(files, base, steps=3, mesh=mesh), tmp_path / name)
    first, second = (leaves(read_stored(tmp_path / name, "latest").params) for name in ("data", "all"))
    for name, leaf in first.items():
        np.testing.assert_allclose(leaf, second[name], atol=1e-5)


def test_wrong_uses_are_named(run, files, base, tmp_path, capsys):  # noqa: F811
    folder, _ = run
    with pytest.raises(UsageError, match=r"adapter\.kind is 'lora', and there are no weights to adapt"):
        replace(adapted(files, base), start_from="").validate()
    with pytest.raises(UsageError, match="has no adapter: all its weights were learned"):
        save_adapter(base, tmp_path / "none")
    with pytest.raises(UsageError, match="holds no adapter"):
        with_adapter(jaxlm.load(base), base)
    other = jaxlm.load(base)
    other.params = jax.tree.map(lambda leaf: leaf * 1.5, other.params)
    assert main(["adapter", "save", str(folder), str(tmp_path / "own")]) == 0
    with pytest.raises(UsageError, match="was trained on other weights than this model's"):
        with_adapter(other, tmp_path / "own")
    assert main(["adapter", "merge", str(base), str(tmp_path / "own"), str(tmp_path / "merged")]) == 0
    assert jaxlm.load(tmp_path / "merged").predict(["great"])[0].label == "good"
    assert main(["adapter", "mrege"]) == 2
    assert "did you mean 'merge'" in capsys.readouterr().err
