import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError
from jaxlm.hub.safetensors import DTYPES, SafetensorsFile, TensorInfo, write_safetensors


def arrays_of_all_kinds():
    random = np.random.default_rng(0)
    arrays = {code: random.integers(0, 2, (2, 3)).astype(dtype) for code, dtype in DTYPES.items()}
    arrays["BF16"] = random.normal(size=(4, 5)).astype(ml_dtypes.bfloat16)
    return {**arrays, "scalar": np.float32(2.5).reshape(()), "empty": np.zeros((0, 7), np.float16)}


def write(path, arrays):
    write_safetensors(path, {name: TensorInfo(x.dtype, x.shape) for name, x in arrays.items()}, arrays.items())


def test_what_is_written_is_read_with_the_same_bits(tmp_path):
    arrays = arrays_of_all_kinds()
    write(tmp_path / "x", arrays)
    file = SafetensorsFile(tmp_path / "x")
    assert list(file.tensors) == list(arrays)
    assert file.metadata == {"format": "pt"}
    for name, array in arrays.items():
        read = file.read(name)
        assert (read.dtype, read.shape, read.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert file.read_bytes(name, 1, 3) == array.tobytes()[1:4]


def test_the_reference_reads_what_we_write_and_the_other_way_round(tmp_path):
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("safetensors.torch")
    arrays = {name: x for name, x in arrays_of_all_kinds().items() if name not in ("U16", "U32", "U64")}
    write(tmp_path / "ours", arrays)
    tensors = reference.load_file(tmp_path / "ours")
    assert tensors.keys() == arrays.keys()
    reference.save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    file = SafetensorsFile(tmp_path / "theirs")
    for name, array in arrays.items():
        assert tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes() == array.tobytes()
        assert file.read(name).tobytes() == array.tobytes()
        assert file.tensors[name] == TensorInfo(array.dtype, array.shape)


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


BAD = {
    "empty": (b"", "no safetensors file"),
    "cut in the header": (file_of({"a": tensor()})[:30], "truncated"),
    "cut in the data": (file_of({"a": tensor()}, b"1234567"), "cut short"),
    "a huge header": (file_of({}, length=2**62), "header of 4,611,686,018,427,387,904 bytes"),
    "no JSON": (file_of(b"{a"), "not valid JSON"),
    "not UTF-8": (file_of(b'{"\xff":0}'), "not valid JSON"),
    "deep JSON": (file_of(b"[" * 100_000), "not valid JSON"),
    "a list": (file_of([]), "not a JSON object"),
    "metadata": (file_of({"__metadata__": {"a": 1}}), "metadata"),
    "a name twice": (file_of(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'), "appears twice"),
    "more fields": (file_of({"a": {**tensor(), "code": "x"}}, bytes(8)), "other fields"),
    "dtype": (file_of({"a": tensor("F8_E4M3")}, bytes(8)), "F8_E4M3"),
    "dtype list": (file_of({"a": tensor(["F32"])}, bytes(8)), "dtype"),
    "negative": (file_of({"a": tensor(shape=(-2,))}, bytes(8)), "shape"),
    "too many axes": (file_of({"a": tensor(shape=(1,) * 99, offsets=(0, 4))}, bytes(4)), "shape"),
    "a bool": (file_of({"a": tensor(shape=(True,), offsets=(0, 4))}, bytes(4)), "shape"),
    "size": (file_of({"a": tensor(shape=(3,))}, bytes(8)), "needs 12"),
    "enormous": (file_of({"a": tensor(shape=(2**40, 2**40))}, bytes(8)), "needs"),
    "a gap": (file_of({"a": tensor(offsets=(4, 12))}, bytes(12)), "begins at byte 4"),
    "overlap": (file_of({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)), "begins at byte 4"),
    "backwards": (file_of({"a": tensor(shape=(0,), offsets=(8, 0))}, bytes(8)), "has -8 bytes"),
    "bytes left over": (file_of({"a": tensor()}, bytes(9)), "take 8 bytes and 9"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_damaged_file_is_refused(tmp_path, kind):
    content, message = BAD[kind]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        SafetensorsFile(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_shrinks_or_goes_is_an_error(tmp_path):
    path = tmp_path / "x"
    write(path, {"a": np.arange(100)})
    file = SafetensorsFile(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="ends inside the tensor 'a'"):
        file.read("a")
    with pytest.raises(DataError, match="cannot be read"):
        SafetensorsFile(tmp_path / "gone")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x"
    write(path, {"a": np.ones(2)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="announced"):
        write_safetensors(path, {"a": TensorInfo(np.dtype("f4"), (2,))}, [("a", np.ones(3, np.float32))])
    with pytest.raises(ValueError, match="shorter"):
        write_safetensors(path, {"a": TensorInfo(np.dtype("f4"), (2,))}, [])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=300)
@given(
    cut=st.integers(0, 400),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4),
    longer=st.binary(max_size=3),
)
def test_whatever_the_bytes_are_it_is_read_or_one_error(tmp_path_factory, cut, changes, longer):
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    write(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.int8)})
    content = bytearray(path.read_bytes()[: cut or None] + longer)
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        file = SafetensorsFile(path)
    except DataError:
        return
    for name, info in file.tensors.items():
        assert file.read(name).nbytes == info.bytes <= len(content)
