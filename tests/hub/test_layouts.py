import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.hub.layouts import SAME, TRANSPOSED, HeadInterleaved, Interleaved, Layout, Split, Stacked, Zeros

sizes = st.integers(1, 4)


@st.composite
def cases(draw) -> tuple[Layout, list[tuple[int, ...]]]:
    """A layout and shapes of ours that it can have."""
    rows, columns, count = draw(sizes), draw(sizes), draw(sizes)
    parts = draw(st.lists(sizes, min_size=1, max_size=4))
    heads = draw(sizes)
    return draw(
        st.sampled_from(
            [
                (SAME, [(rows, columns)] * count),
                (TRANSPOSED, [(rows, columns)] * count),
                (TRANSPOSED, [(rows,)]),
                (Split(tuple(parts)), [(rows, part) for part in parts]),
                (Split(tuple(parts)), [(part,) for part in parts]),
                (Split(tuple(parts), axis=0), [(part, columns) for part in parts]),
                (Split(tuple(parts), axis=0, transpose=True), [(rows, part) for part in parts]),
                (Split(tuple(parts), axis=0, transpose=True), [(part,) for part in parts]),
                (HeadInterleaved(heads, count), [(rows, heads * columns)] * count),
                (HeadInterleaved(heads, count), [(heads * columns,)] * count),
                (Interleaved(count), [(heads, rows, columns)] * count),
                (Interleaved(count), [(columns,)] * count),
                (Stacked(), [(count, rows, columns)]),
                (Stacked(transpose=True), [(count, rows, columns)]),
            ]
        )
    )


@settings(max_examples=200)
@given(cases())
def test_a_layout_is_invertible_and_knows_the_shapes(case):
    layout, shapes = case
    ours = [np.arange(100 * i, 100 * i + np.prod(shape)).reshape(shape) for i, shape in enumerate(shapes)]
    theirs = layout.to_theirs(ours)
    assert [array.shape for array in theirs] == layout.their_shapes(shapes)
    assert sorted(x for array in theirs for x in array.flat) == sorted(x for array in ours for x in array.flat)
    back = layout.to_ours(theirs)
    assert all(np.array_equal(one, other) for one, other in zip(back, ours, strict=True))
    again = layout.to_theirs(back)
    assert all(np.array_equal(one, other) for one, other in zip(again, theirs, strict=True))


def test_split_is_gpt2s_and_a_fused_linears():
    fused = np.arange(12).reshape(2, 6)
    query, key, value = Split((2, 2, 2)).to_ours([fused])
    np.testing.assert_array_equal(query, fused[:, :2])
    np.testing.assert_array_equal(value, fused[:, 4:])
    first, second = Split((1, 5), axis=0, transpose=True).to_ours([fused.T])
    np.testing.assert_array_equal(first, fused[:, :1])
    np.testing.assert_array_equal(second, fused[:, 1:])
    assert key.shape == (2, 2)


def test_interleaved_takes_turns():
    gate, up = Interleaved().to_ours([np.arange(12).reshape(2, 6)])
    np.testing.assert_array_equal(gate, [[0, 2, 4], [6, 8, 10]])
    np.testing.assert_array_equal(up, [[1, 3, 5], [7, 9, 11]])


def test_head_interleaved_is_gpt_neoxs():
    # Rows of theirs: for each head its query, its key, its value.
    heads, width, inputs = 3, 2, 5
    rows = np.arange(heads * 3 * width * inputs).reshape(heads, 3, width, inputs)
    query, key, value = HeadInterleaved(heads).to_ours([rows.reshape(-1, inputs)])
    np.testing.assert_array_equal(query, rows[:, 0].reshape(-1, inputs).T)
    np.testing.assert_array_equal(key, rows[:, 1].reshape(-1, inputs).T)
    np.testing.assert_array_equal(value, rows[:, 2].reshape(-1, inputs).T)


def test_zeros_must_be_zeros():
    layout = Zeros((1, 3))
    assert layout.their_shapes([]) == [(1, 3)]
    assert layout.to_ours(layout.to_theirs([])) == []
    with pytest.raises(ValueError, match="zeros only"):
        layout.to_ours([np.ones((1, 3))])
