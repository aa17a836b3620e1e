import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.layouts import SAME, TRANSPOSED, Split, Zeros
from jaxlm.hub.mapping import Entry, planned_tensors, read_params, written_tensors

from .parity import ArraySource, flat

RANDOM = np.random.default_rng(0)
TABLE = [
    Entry(("embedding",), ("base.wte",), aliases=("head",)),
    *(
        Entry((f"tower/layers/{i}/query", f"tower/layers/{i}/key"), (f"base.h.{i}.qk",), Split((2, 1), 0, True))
        for i in range(3)
    ),
    *(Entry((f"tower/layers/{i}/out",), (f"base.h.{i}.out",), TRANSPOSED) for i in range(3)),
    Entry((), ("zero_bias",), Zeros((4,))),
]


def array(*shape, dtype=np.float32):
    return RANDOM.normal(size=shape).astype(dtype)


def tensors(dtype=np.float32):
    layers = {f"base.h.{i}.qk": array(3, 4, dtype=dtype) for i in range(3)}
    layers |= {f"base.h.{i}.out": array(4, 2, dtype=dtype) for i in range(3)}
    return {"base.wte": array(5, 4, dtype=dtype), **layers, "zero_bias": np.zeros(4, np.float32)}


def abstract(scanned):
    shapes = {"query": (4, 2), "key": (4, 1), "out": (2, 4)}
    layer = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}
    stacked = {name: jax.ShapeDtypeStruct((3, *shape), "float32") for name, shape in shapes.items()}
    layers = {"stacked": stacked} if scanned else {str(i): layer for i in range(3)}
    return {"embedding": jax.ShapeDtypeStruct((5, 4), "float32"), "tower": {"layers": layers}}


def read(arrays, scanned=False, **options):
    placed = []

    def place(path, value):
        placed.append(path)
        return jnp.asarray(value)

    params = read_params(ArraySource(arrays), TABLE, abstract(scanned), place, **options)
    assert sorted(placed) == sorted(flat(params))
    return params


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_the_table_serves_both_directions_with_the_same_bits(scanned, dtype):
    arrays = tensors(dtype)
    params = read(arrays, scanned)
    layer = params["tower"]["layers"]
    out = layer["stacked"]["out"][1] if scanned else layer["1"]["out"]
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, arrays["base.h.1.out"].T)
    plan = planned_tensors(TABLE, params)
    written = dict(written_tensors(TABLE, params))
    assert list(plan) == list(written)
    assert written.keys() == arrays.keys()
    for name, value in written.items():
        assert (plan[name].dtype, plan[name].shape) == (value.dtype, value.shape)
        assert value.tobytes() == arrays[name].tobytes(), name


def test_scanned_arrays_are_finished_one_after_the_other():
    order = []
    read_params(ArraySource(tensors()), TABLE, abstract(True), lambda path, _: order.append(path))
    assert order == [
        "embedding",
        *(f"tower/layers/stacked/{name}" for name in ("query", "key", "out")),
    ]


def test_all_that_does_not_fit_is_listed_in_one_error():
    arrays = tensors()
    del arrays["base.h.1.qk"]
    arrays["base.h.2.out"] = array(2, 4)
    arrays["base.wte"] = np.zeros((5, 4), np.int64)
    arrays["surprise"] = array(7)
    arrays["base.h.0.mask"] = array(1)
    with pytest.raises(DataError) as caught:
        read(arrays, ignorable=(r"\.mask$",))
    message = str(caught.value)
    assert "(1 missing, 2 wrong, 1 unexpected)" in message
    assert "base.h.1.qk [3, 4] is missing" in message
    assert "base.h.2.out is [2, 4] instead of [4, 2]" in message
    assert "base.wte is of type int64" in message
    assert "surprise [7] is unexpected" in message
    assert "mask" not in message


def test_a_long_list_is_cut_with_a_count():
    arrays = tensors() | {f"more.{i}": array(1) for i in range(50)}
    with pytest.raises(DataError, match=r"more\.19 \[1\] is unexpected; and 30 more$"):
        read(arrays)


def test_a_bare_model_lacks_the_prefix():
    arrays = {name.removeprefix("base."): value for name, value in tensors().items()}
    params = read(arrays, base_prefix="base.")
    np.testing.assert_array_equal(params["embedding"], arrays["wte"])
    with pytest.raises(DataError, match=r"7 missing.* 7 unexpected"):
        read(arrays)


def test_old_names_are_renamed():
    arrays = {name.replace(".out", ".OUT"): value for name, value in tensors().items()}
    params = read(arrays, renames=((r"\.OUT$", ".out"),))
    np.testing.assert_array_equal(params["tower"]["layers"]["0"]["out"], arrays["base.h.0.OUT"].T)
    with pytest.raises(DataError, match="two names of the same tensor"):
        read({**arrays, "base.h.0.out": array(4, 2)}, renames=((r"\.OUT$", ".out"),))


def test_a_tied_tensor_may_be_there_twice_or_under_its_other_name_but_not_differ():
    arrays = tensors()
    expected = arrays["base.wte"]
    np.testing.assert_array_equal(read({**arrays, "head": expected.copy()})["embedding"], expected)
    with pytest.raises(DataError, match=r"head differs from base\.wte"):
        read({**arrays, "head": expected + 1})
    arrays["head"] = arrays.pop("base.wte")
    np.testing.assert_array_equal(read(arrays)["embedding"], expected)


def test_a_value_that_a_layout_refuses_is_named():
    with pytest.raises(DataError, match="zero_bias is supported as zeros only"):
        read({**tensors(), "zero_bias": np.ones(4, np.float32)})


def test_a_wish_for_a_dtype_converts_everything():
    params = read({**tensors(), "base.wte": array(5, 4, dtype=np.float64)}, dtype=np.dtype(ml_dtypes.bfloat16))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {"bfloat16"}


def test_layers_of_several_dtypes_cannot_be_scanned():
    arrays = tensors()
    arrays["base.h.1.out"] = arrays["base.h.1.out"].astype(np.float16)
    assert read(arrays)["tower"]["layers"]["1"]["out"].dtype == np.float16
    with pytest.raises(DataError, match="scanned layers need one dtype"):
        read(arrays, scanned=True)


def test_what_cannot_be_written_is_refused():
    params = read(tensors())
    params["tower"]["layers"]["0"]["query"] = params["tower"]["layers"]["0"]["query"].astype(jnp.bfloat16)
    with pytest.raises(UsageError, match="several dtypes"):
        planned_tensors(TABLE, params)
    params["tower"]["layers"]["0"]["query"] = jnp.zeros((4, 2), "int8")
    params["tower"]["layers"]["0"]["key"] = jnp.zeros((4, 1), "int8")
    with pytest.raises(UsageError, match="int8"):
        planned_tensors(TABLE, params)


def test_a_table_that_is_not_the_models_is_a_bug():
    for table in (TABLE[1:], [*TABLE, TABLE[0]], [*TABLE, Entry(("other",), ("x",), SAME)]):
        with pytest.raises(AssertionError):
            read_params(ArraySource(tensors()), table, abstract(False), lambda _, value: value)
