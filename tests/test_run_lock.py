"""A run folder has one owner at a time, and a dead one is none."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.finetuning import finetune
from jaxlm.run_lock import LOCK, locked
from jaxlm.training.loop import train

HOLD = """
import sys
from jaxlm.run_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path):
    """A process that holds the folder until it ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_second_process_is_told_who_the_first_is(owner, tmp_path):
    message = (
        f"{tmp_path / 'run'} is in use by process {owner.pid} on {socket.gethostname()}: wait for it to end, or name "
        "another folder"
    )
    with pytest.raises(UsageError, match=re.escape(message)), locked(tmp_path / "run"):
        pass
    owner.communicate("")
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / LOCK).read_text() == f"{os.getpid()} {socket.gethostname()}\n"


@pytest.mark.parametrize("run", [train, finetune])
def test_training_takes_the_lock_first(owner, tmp_path, run):
    with pytest.raises(UsageError, match=f"is in use by process {owner.pid}"):
        run(Experiment(), tmp_path / "run")


def test_a_dead_owners_lock_is_taken_over(owner, tmp_path):
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert (tmp_path / "run" / LOCK).exists()
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / LOCK).exists()


def test_the_owner_may_take_it_again_but_no_other_thread(tmp_path):
    told = []

    def other():
        try:
            with locked(tmp_path / "run"):
                told.append("held")
        except UsageError as error:
            told.append(str(error))

    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert told[0].startswith(f"{tmp_path / 'run'} is in use by process {os.getpid()} on ")


def test_a_folder_that_nothing_was_put_into_goes_again(tmp_path):
    with locked(tmp_path / "runs" / "one"):
        assert (tmp_path / "runs" / "one" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "runs" / "one"):
        (tmp_path / "runs" / "one" / "experiment.json").write_text("{}")
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["experiment.json"]


def test_where_no_folder_can_be_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="file/run cannot be a run folder: Not a directory"),
        locked(tmp_path / "file" / "run"),
    ):
        pass
