"""Checkpoints: complete or absent, verified, and readable on another mesh."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxlm.errors import CheckpointError
from jaxlm.evaluation.score import Score
from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import make_mesh
from jaxlm.training.checkpoints import LARGEST_MANIFEST, MANIFEST, Checkpoints
from jaxlm.training.config import OptimizerConfig
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.schedules import learning_rate_schedule
from jaxlm.training.state import init_state, state_shardings

from ..slow_cases import slow_after

MODEL = ModelConfig(vocab_size=16, max_length=8, num_layers=2, embed_dim=16, num_heads=2)


def make_state(name="adamw", mesh_config=None, devices=1, model=MODEL):
    optimizer = OptimizerConfig(name=name, learning_rate=1e-3)
    transform = make_optimizer(optimizer, learning_rate_schedule(optimizer, 10))
    mesh = make_mesh(mesh_config or MeshConfig(), jax.devices()[:devices])
    abstract, shardings, _ = state_shardings(model, transform, mesh)
    return abstract, shardings, init_state(model, transform, shardings, seed=3)


def assert_equal(left, right):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(left), jax.device_get(right))


@pytest.fixture
def saved(tmp_path):
    """Checkpoints 1, 2 and 3; the second has the lowest loss."""
    abstract, shardings, state = make_state()
    checkpoints = Checkpoints(tmp_path, keep_latest=3)
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        checkpoints.save(state, step, Score("loss", loss, False))
    checkpoints.wait()
    return checkpoints, abstract, shardings, state


@pytest.mark.parametrize("name", slow_after(1, ["adamw", "lion", "adafactor", "muon"]))
def test_what_is_loaded_is_what_was_saved(tmp_path, name):
    abstract, shardings, state = make_state(name)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, 7)
    checkpoints.wait()
    assert_equal(checkpoints.load_state(abstract, shardings, 7), state)
    assert_equal(checkpoints.load_params(abstract.params, shardings.params, 7), state.params)


@pytest.mark.slow
def test_a_checkpoint_moves_between_meshes(tmp_path):
    _, _, state = make_state(mesh_config=MeshConfig(data=1, fsdp=8), devices=8)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state, 1)
    checkpoints.wait()
    for mesh, devices in ((MeshConfig(2, 2, 2), 8), (MeshConfig(), 1)):
        abstract, shardings, _ = make_state(mesh_config=mesh, devices=devices)
        loaded = checkpoints.load_state(abstract, shardings, 1)
        assert_equal(loaded, state)
        kernel = loaded.params["layers"]["stacked"]["mlp"]["up"]["kernel"]
        assert len(kernel.sharding.device_set) == devices


def test_latest_and_best_are_kept(tmp_path):
    _, _, state = make_state()
    checkpoints = Checkpoints(tmp_path, keep_latest=2, keep_best=1)
    for step, loss in enumerate([4.0, 1.0, 3.0, None, 2.0, 5.0], start=1):
        checkpoints.save(state, step, None if loss is None else Score("loss", loss, False))
    checkpoints.wait()
    assert [info.step for info in checkpoints.all()] == [2, 5, 6]
    assert checkpoints.best_step() == 2
    assert checkpoints.latest_step() == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "5", "6"]


def test_a_checkpoint_that_is_half_deleted_is_none(tmp_path, monkeypatch):
    """Deleting one that is no longer kept ends early."""
    _, _, state = make_state()
    checkpoints = Checkpoints(tmp_path, keep_latest=1, keep_best=0)
    checkpoints.save(state, 1, None)
    checkpoints.wait()

    def broken(folder):
        raise OSError("Input/output error")

    def save_another():
        checkpoints.save(state, 2, None)
        checkpoints.wait()

    with monkeypatch.context() as patch:
        patch.setattr("jaxlm.training.checkpoints.shutil.rmtree", broken)
        with pytest.raises(CheckpointError):
            save_another()
    assert (tmp_path / "1").is_dir()
    assert [info.step for info in Checkpoints(tmp_path).all()] == [2]


def write_manifest(folder, step, **facts):
    """A checkpoint, as far as one sees without reading its arrays."""
    (folder / str(step)).mkdir()
    manifest = {"step": step, "score": None, "experiment": None, "metrics": None, "files": {}}
    (folder / str(step) / MANIFEST).write_text(json.dumps({**manifest, **facts}))


def test_the_best_is_the_best_whichever_way_the_score_goes(tmp_path):
    for name, higher, best in (("accuracy", True, 2), ("perplexity", False, 3)):
        folder = tmp_path / name
        folder.mkdir()
        for step, value in ((1, 5.0), (2, 7.0), (3, 4.0)):
            write_manifest(folder, step, score={"name": name, "value": value, "higher_is_better": higher})
        assert Checkpoints(folder).best_step() == best
    # Of a run that has gone on with another best_by, what was measured by the first is not compared with the second.
    write_manifest(tmp_path / "accuracy", 4, score={"name": "ece", "value": 0.1, "higher_is_better": False})
    assert Checkpoints(tmp_path / "accuracy").best_step() == 4


def test_a_manifest_says_what_the_checkpoint_holds(tmp_path):
    _, _, state = make_state()
    checkpoints = Checkpoints(tmp_path, identity=lambda step: f"experiment at {step}")
    checkpoints.save(state, 3, Score("f1", 0.5, True), metrics="ab")
    checkpoints.wait()
    manifest = json.loads((tmp_path / "3" / MANIFEST).read_text())
    assert set(manifest.pop("files")) == {
        path.relative_to(tmp_path / "3").as_posix() for path in (tmp_path / "3" / "state").rglob("*") if path.is_file()
    }
    assert manifest == {
        "step": 3,
        "score": {"name": "f1", "value": 0.5, "higher_is_better": True},
        "experiment": "experiment at 3",
        "metrics": "ab",
    }
    assert checkpoints.metrics_of(3) == "ab"


def test_a_checkpoint_of_another_experiment_is_refused_with_the_way_out(saved, tmp_path):
    checkpoints, abstract, shardings, _ = saved
    checkpoints.identity = lambda step: "own"
    with pytest.raises(
        CheckpointError, match=r"experiment\.json is not what checkpoint \S+/3 was written under: one of "
    ):
        checkpoints.load_params(abstract.params, shardings.params, 3)
    manifest = checkpoints.folder / "2" / MANIFEST
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "experiment": "own"}))
    with pytest.raises(CheckpointError, match="as the others are: delete it, and step 2 is there to go on from"):
        checkpoints.load_params(abstract.params, shardings.params, 3)


def test_without_a_measured_loss_the_newest_is_the_best(tmp_path):
    _, _, state = make_state()
    checkpoints = Checkpoints(tmp_path, keep_latest=2)
    assert checkpoints.best_step() is None
    assert checkpoints.latest_step() is None
    checkpoints.save(state, 4)
    checkpoints.save(state, 9)
    checkpoints.wait()
    assert checkpoints.best_step() == 9


def test_saving_a_step_again_changes_nothing(saved):
    checkpoints, _, _, state = saved
    before = (checkpoints.folder / "3" / MANIFEST).stat().st_mtime_ns
    checkpoints.save(state, 3)
    checkpoints.wait()
    assert (checkpoints.folder / "3" / MANIFEST).stat().st_mtime_ns == before


def test_without_its_manifest_a_checkpoint_does_not_exist_and_is_written_anew(saved):
    checkpoints, abstract, shardings, state = saved
    (checkpoints.folder / "3" / MANIFEST).unlink()
    assert checkpoints.latest_step() == 2
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3.*there: 1, 2"):
        checkpoints.load_state(abstract, shardings, 3)
    checkpoints.save(state, 3)
    checkpoints.wait()
    assert_equal(checkpoints.load_state(abstract, shardings, 3), state)


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_one_flipped_bit_is_named_with_the_last_good_checkpoint(saved):
    checkpoints, abstract, shardings, _ = saved
    flip(largest_file(checkpoints.folder / "3" / "state"))
    with pytest.raises(CheckpointError, match=r"step 2.*delete .*3 to go on from it") as caught:
        checkpoints.load_state(abstract, shardings, 3)
    assert "does not match its checksum" in str(caught.value)
    assert caught.value.exit_code == 1


def test_every_kind_of_damage_is_found(saved):
    checkpoints, abstract, shardings, _ = saved
    folder = checkpoints.folder / "3"
    copy = checkpoints.folder / "copy"
    shutil.copytree(folder, copy)

    def restore():
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)

    def expect(text):
        with pytest.raises(CheckpointError, match=text):
            checkpoints.load_state(abstract, shardings, 3)
        restore()

    file = largest_file(folder / "state")
    file.write_bytes(file.read_bytes()[:-5])
    expect("bytes instead of")
    largest_file(folder / "state").unlink()
    expect("is missing")
    (folder / "state" / "extra").write_text("x")
    expect("is not in the manifest")
    (folder / MANIFEST).write_text("{")
    expect("is not a manifest")
    manifest = json.loads((folder / MANIFEST).read_text())

    def rewrite(**changes):
        (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))

    for text in ('{"files": {}}', "[" * 100_000, "3", '{"step": ' + "9" * 5000, " " * LARGEST_MANIFEST + "{}"):
        (folder / MANIFEST).write_text(text)
        expect("is not a manifest: .*; the last good checkpoint is step 2")
    for wrong in (
        {"step": "3"},
        {"experiment": 3},
        {"metrics": []},
        {"score": 2.5},
        {"score": {"name": "loss", "value": "2.5", "higher_is_better": False}},
        {"files": []},
        {"files": {"state/a": {"size": "1", "sha256": ""}}},
    ):
        rewrite(**wrong)
        expect(f"is not a manifest: {next(iter(wrong))} (is|are) no")
    rewrite(step=2)
    expect(r"manifest\.json is of step 2, and its folder's name says 3: rename it, or delete it")


def test_when_nothing_is_sound_the_message_says_so(saved):
    checkpoints, abstract, shardings, _ = saved
    for step in (1, 2, 3):
        flip(largest_file(checkpoints.folder / str(step) / "state"))
    with pytest.raises(CheckpointError, match="no other checkpoint is sound"):
        checkpoints.load_state(abstract, shardings, 2)


@pytest.mark.slow
def test_a_checkpoint_of_another_model_is_refused(saved):
    checkpoints, *_ = saved
    other = ModelConfig(vocab_size=16, max_length=8, num_layers=2, embed_dim=32, num_heads=2)
    abstract, shardings, _ = make_state(model=other)
    with pytest.raises(
        CheckpointError, match=r"does not fit this model.*: params/\S+ is float32\[\S+ .*instead of float32"
    ):
        checkpoints.load_params(abstract.params, shardings.params, 3)
    # Parameters alone fit whatever trained them; the state of another optimizer does not.
    abstract, shardings, _ = make_state("lion")
    checkpoints.load_params(abstract.params, shardings.params, 3)
    abstract, shardings, _ = make_state("adafactor")
    with pytest.raises(CheckpointError, match=r": optimizer/opt_state/\S+ is .* instead of "):
        checkpoints.load_state(abstract, shardings, 3)


def test_an_unwritable_folder_surfaces_as_an_error(tmp_path):
    _, _, state = make_state()
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    checkpoints = Checkpoints(blocked)
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoints.save(state, 1)
