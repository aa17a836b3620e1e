"""What holds for every test of the data room."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("JAXLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
