"""Eight virtual CPU devices for all tests, so that meshes of several shapes can be made in one process."""

import jax
import pytest

from .small_runs import small_experiment

jax.config.update("jax_num_cpu_devices", 8)


def pytest_collection_modifyitems(items):
    """Whole runs first: their files take longest, and no core shall wait for one that another began last."""
    items.sort(key=lambda item: item.path.parent.name not in ("tests", "training"))


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_of_one_file():
    """Compiled programs take memory: those of a file go with it."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache, nor does a process that one starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A run folder with the checkpoints of steps 20, 30 and 40 and samples; not to be changed: copy it."""
    from jaxlm.training.loop import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    result = train(small_experiment(folder.parent, sample_every=20), folder)
    assert result.step == 40
    return folder
