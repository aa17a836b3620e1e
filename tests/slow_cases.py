"""Which cases of a parametrised test are in the quick suite, and which in `make test-all` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_after(count: int, cases: Iterable[Any]) -> list[Any]:
    """The cases, of which all but the first `count` are marked slow; a case is a value, or a tuple of several."""
    return [
        case
        if number < count
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]
