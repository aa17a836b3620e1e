"""Widths of rows: every row fits, and no other choice of as many widths pads less."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data import widths
from jaxlm.data.widths import choose_widths, rounded_width


def columns_of(chosen: list[int], lengths: np.ndarray) -> int:
    return int(np.array(chosen)[np.searchsorted(chosen, lengths)].sum())


@settings(max_examples=100)
@given(st.lists(st.integers(1, 61), min_size=1, max_size=60), st.integers(1, 500))
def test_widths_are_the_best_of_as_many_and_each_is_worth_it(lengths: list[int], worthwhile: int):
    own = np.array(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(widths, "WORTHWHILE_COLUMNS", worthwhile)
        chosen = choose_widths(own, 61)
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == rounded_width(own.max(), 61)
    possible = sorted({rounded_width(length, 61) for length in lengths})
    fewest = {
        count: min(columns_of([*some, possible[-1]], own) for some in combinations(possible[:-1], count - 1))
        for count in range(1, min(widths.MOST, len(possible)) + 1)
    }
    assert columns_of(chosen, own) == fewest[len(chosen)]

    def worth(count: int) -> bool:
        saved = fewest[count - 1] - fewest[count]
        return saved >= max(worthwhile, widths.WORTHWHILE_SHARE * fewest[count - 1])

    assert all(worth(count) for count in range(2, len(chosen) + 1))
    assert len(chosen) + 1 not in fewest or not worth(len(chosen) + 1)


def test_few_rows_are_not_worth_a_second_program():
    assert choose_widths(np.array([3, 60]), 64) == [64]
    assert choose_widths(np.repeat([3, 60], 200), 64) == [8, 64]


def test_the_limit_need_not_be_a_multiple():
    assert choose_widths(np.array([49]), 50) == [50]
