"""Eight virtual CPU devices for all tests, so that meshes of several shapes can be made in one process."""

import collections
import gc
import itertools

import hypothesis
import jax
import pytest

from .small_runs import small_experiment

jax.config.update("jax_num_cpu_devices", 8)
# No test depends on how fast the machine is.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """Whole runs first: their files take longest, and no core shall wait for one that another began last."""
    items.sort(key=lambda item: item.path.parent.name not in ("tests", "training"))


def pytest_collection_finish():
    """What has been imported stays: looking through it for garbage took a seventh of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def pytest_terminal_summary(terminalreporter):
    """The seconds of each file, so that what makes the suite slow is seen: a file is to take no more than BUDGET."""
    seconds = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    shown = {file: own for file, own in seconds.items() if own >= SHOWN}
    terminalreporter.section("seconds of each file")
    for file, own in sorted(shown.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{own:7.1f}  {file}" + (f"  (over {BUDGET})" if own > BUDGET else ""))
    others = sum(seconds.values()) - sum(shown.values())
    terminalreporter.write_line(f"{others:7.1f}  the other {len(seconds) - len(shown)}")


FILES = itertools.count(1)
BUDGET, SHOWN = 25, 3  # seconds, on one core


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_of_some_files():
    """Compiled programs take memory, about 100 MB a file: those of four go together."""
    yield
    if next(FILES) % 4 == 0:
        jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache, nor does a process that one starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("JAXLM_COMPILATION_CACHE", "off")
        patch.setenv("JAXLM_PROGRESS", "off")  # it speaks by the clock
        yield


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory):
    """A run folder with the checkpoints of steps 20, 30 and 40 and samples; not to be changed: copy it."""
    from jaxlm.training.loop import train

    folder = tmp_path_factory.mktemp("trained") / "run"
    result = train(small_experiment(folder.parent, sample_every=20), folder)
    assert result.step == 40
    return folder
