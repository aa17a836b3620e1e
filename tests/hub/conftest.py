"""The library to compare with, and the table of docs/families.md.

The table is written where the variable JAXLM_FAMILY_TABLE names a file for it:

    JAXLM_FAMILY_TABLE=table.md python -m pytest tests/hub
"""

import os
from pathlib import Path

import pytest

from .parity import MEASURED

COLUMNS = ("hidden states", "logits", "gradients")


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


def pytest_sessionfinish() -> None:
    """One row for each class: the largest absolute differences to PyTorch over all its tests."""
    target = os.environ.get("JAXLM_FAMILY_TABLE")
    if not target:
        return
    lines = ["| family | class of transformers | hidden states | logits | gradients |", "|---|---|---|---|---|"]
    for family, name in sorted({key[:2] for key in MEASURED}):
        cells = [MEASURED.get((family, name, what)) for what in COLUMNS]
        figures = " | ".join("" if cell is None else f"{cell:.1e}" for cell in cells)
        lines.append(f"| {family} | {name} | {figures} |")
    Path(target).write_text("\n".join(lines) + "\n", "utf-8")
