import json

import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.safetensors import TensorInfo, write_safetensors
from jaxlm.hub.weights import INDEX, open_weights, write_weights

ARRAYS = {name: np.full((4,), i, np.float32) for i, name in enumerate("abcde")}


def infos(arrays):
    return {name: TensorInfo(x.dtype, x.shape) for name, x in arrays.items()}


def sharded(folder, max_shard_bytes=32):
    write_weights(folder, infos(ARRAYS), iter(ARRAYS.items()), max_shard_bytes)
    return folder


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (80, 1), (79, 2), (32, 3), (1, 5)])
def test_weights_come_back_from_one_file_or_several(tmp_path, limit, files):
    weights = open_weights(sharded(tmp_path, limit))
    assert len(list(tmp_path.glob("*.safetensors"))) == files
    assert (tmp_path / INDEX).exists() == (files > 1)
    assert weights.tensors == infos(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(weights.read(name), array)
    assert weights.equal("a", "a")
    assert not weights.equal("a", "b")


def test_transformers_reads_the_index(tmp_path):
    pytest.importorskip("torch")
    loading = pytest.importorskip("transformers.modeling_utils")
    files, metadata = pytest.importorskip("transformers.utils.hub").get_checkpoint_shard_files(
        str(sharded(tmp_path)), str(tmp_path / INDEX)
    )
    assert metadata["total_size"] == 80
    read = {}
    for file in files:
        read |= loading.load_state_dict(file)
    assert {name: x.tolist() for name, x in read.items()} == {name: x.tolist() for name, x in ARRAYS.items()}


def test_a_missing_shard_is_named(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(DataError, match=r"1 of them are missing: model-00002-of-00003\.safetensors"):
        open_weights(tmp_path)


def change_index(folder, change):
    path = folder / INDEX
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index["weight_map"].update(z="model-00001-of-00003.safetensors"), "z is not in model-00001"),
        (lambda index: index["weight_map"].pop("a"), "a of model-00001-of-00003.safetensors is not in the index"),
        (lambda index: index["weight_map"].update(a="model-00002-of-00003.safetensors"), "a is not in model-00002"),
        (lambda index: index["weight_map"].update(a="../x.safetensors"), "not a plain file name"),
        (lambda index: index["weight_map"].update(a="/etc/passwd"), "not a plain file name"),
        (lambda index: index["weight_map"].update(a="config.json"), "no safetensors file"),
        (lambda index: index["weight_map"].update(a=3), "file names"),
        (lambda index: index.pop("weight_map"), "file names"),
    ],
)
def test_an_index_that_does_not_fit_is_one_error(tmp_path, change, message):
    change_index(sharded(tmp_path), change)
    with pytest.raises(DataError, match=message):
        open_weights(tmp_path)


def test_links_out_of_the_folder_are_refused_but_for_the_caches_own(tmp_path):
    outside = tmp_path / "outside.safetensors"
    write_safetensors(outside, infos(ARRAYS), ARRAYS.items())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(outside)
    with pytest.raises(DataError, match="link out of its folder"):
        open_weights(folder)

    snapshot = tmp_path / "models--x" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    blobs = tmp_path / "models--x" / "blobs"
    blobs.mkdir()
    (blobs / "0f").write_bytes(outside.read_bytes())
    (snapshot / "model.safetensors").symlink_to("../../blobs/0f")
    assert open_weights(snapshot).tensors == infos(ARRAYS)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5", "flax_model.msgpack"])
def test_other_formats_are_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"cposix\nsystem\n(S'touch executed'\ntR.")
    with pytest.raises(UsageError, match="save_pretrained"):
        open_weights(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_weights_at_all(tmp_path):
    with pytest.raises(UsageError, match="has no weights"):
        open_weights(tmp_path)


def test_a_shard_needs_room(tmp_path):
    with pytest.raises(UsageError, match="at least 1"):
        write_weights(tmp_path, {}, [], 0)
