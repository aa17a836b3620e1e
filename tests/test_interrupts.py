"""Ctrl-C: one line, exit code 130, at once; or noted once, where there is something to save."""

import signal
import subprocess
import sys
import threading

import pytest

from jaxlm.interrupts import EXIT_INTERRUPTED, noting

from .small_runs import Process

BEGIN = (
    "import signal, sys, threading, time\nfrom jaxlm.interrupts import end_on_interrupt, noting\nend_on_interrupt()\n"
)


def start(code):
    """A process that has printed 'ready'; a line that has no end is not written out yet."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def patient():
    """Bounds how long a process that hangs is waited for."""
    alarms = []

    def watch(process):
        alarms.append(threading.Timer(60, process.kill))
        alarms[-1].start()
        # Not `communicate`, which passes over what came after a line that was read from the same pipe.
        with process:
            output, errors = process.stdout.read(), process.stderr.read()
        return process.returncode, output, errors

    yield watch
    for alarm in alarms:
        alarm.cancel()


def test_whatever_the_main_thread_does_the_process_ends_with_one_line(patient):
    for busy in ("time.sleep(1000)", "lock = threading.Lock(); lock.acquire(); lock.acquire()", "while True: pass"):
        process = start(f"print('ready', flush=True); print('written', end='')\nprint('go', file=sys.stderr)\n{busy}")
        assert process.stderr.readline() == "go\n"
        process.send_signal(signal.SIGINT)
        code, output, errors = patient(process)
        assert (code, errors) == (EXIT_INTERRUPTED, "jaxlm: interrupted\n")
        assert output == "written"


def test_a_reader_that_reads_no_more_does_not_keep_the_process(patient):
    process = start("print('ready', flush=True)\nwhile True: print('x' * 10_000)")
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert process.returncode == EXIT_INTERRUPTED
    patient(process)


def test_a_first_signal_is_noted_and_a_second_one_ends_at_once(patient):
    process = start(
        "with noting(lambda: print('noted', flush=True)):\n    print('ready', flush=True)\n    time.sleep(1000)"
    )
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "noted\n"
    process.send_signal(signal.SIGINT)
    assert patient(process) == (EXIT_INTERRUPTED, "", "jaxlm: interrupted\n")


def test_a_command_is_interrupted_while_it_starts(tmp_path):
    process = Process("train", "--dir", tmp_path / "run")
    process.wait_until_it_listens()
    process.signal(signal.SIGINT)
    assert process.end() == EXIT_INTERRUPTED, process.errors
    assert process.errors == "jaxlm: interrupted\n"


def test_a_background_job_that_ignores_interrupts_goes_on_ignoring_them():
    code = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from jaxlm.interrupts import end_on_interrupt\nend_on_interrupt()\nos.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_a_command_line_the_first_is_noted_and_the_second_is_pythons():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    noted = []
    try:
        with noting(lambda: noted.append(1)):
            signal.raise_signal(signal.SIGINT)
            assert noted == [1]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert noted == [1]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
