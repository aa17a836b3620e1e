"""Running `jaxlm` in this process, as the command line would."""

import pytest

from jaxlm.cli.main import main


@pytest.fixture
def jaxlm(capfd):
    """A function from words to the exit code, standard output and standard error."""

    def run(*words):
        capfd.readouterr()
        code = main([str(word) for word in words])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def refused(jaxlm):
    """A function from words to the message of the error, of which everything but the message is checked."""

    def run(*words, code=2):
        actual, _, errors = jaxlm(*words)
        assert errors.startswith("jaxlm: error: "), errors
        assert errors.count("\n") == 1
        assert errors.endswith("\n")
        assert len(errors) < 1000
        assert actual == code
        return errors.removeprefix("jaxlm: error: ").strip()

    return run
