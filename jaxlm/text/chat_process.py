"""The process that renders chat templates: one, started when it is first needed, and used again.

What a template may take is bounded by the system, not by counting what it does: `jaxlm.text.chat_renderer` says how
much memory and CPU time the process has, and here it is waited for no longer than `WALL_SECONDS`. A process that went
too far is ended, and the next rendering has a new one. Starting takes about 0.2 s, and a rendering 0.3 ms more than it
would within this process. Processes that this one forks start their own.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import UsageError

WALL_SECONDS = 1.8  # so that all is over within 2
START_SECONDS = 60.0  # reading Python from a slow disk
MAX_REQUEST_BYTES = 32 << 20
MAX_ANSWER_BYTES = 80 << 20
# As `jaxlm.text.chat_renderer` has them, which is not imported here since that would import jinja2.
LENGTH_BYTES = 8
CPU_SECONDS = 1.0

_PROGRAM = Path(__file__).with_name("chat_renderer.py")
_START = "import runpy, sys; sys.path += sys.argv[2:]; runpy.run_path(sys.argv[1], run_name='__main__')"


class _TooSlowError(Exception):
    """The process has not answered in time."""


class _Process:
    """A process that renders, from its start to its end."""

    def __init__(self) -> None:
        """Starts it.

        Raises:
          UsageError: it cannot be started.
        """
        folders = []
        for package in ("jinja2", "markupsafe"):
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                raise UsageError(f"chat templates need {package}: pip install jinja2")
            folders.append(str(Path(spec.origin).parents[1]))
        try:
            # Nothing of this process's environment is any business of a template, but for what its clock shows.
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, str(_PROGRAM), *dict.fromkeys(folders)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in ("TZ",) if name in os.environ},
                start_new_session=True,  # so that Ctrl-C does not reach it
            )
        except OSError as error:
            raise UsageError(f"the process that renders chat templates cannot be started: {error}") from None
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._input, self._output = self._popen.stdin.fileno(), self._popen.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        try:
            self._receive(time.monotonic() + START_SECONDS)
        except (OSError, EOFError, _TooSlowError):
            code = self.end()
            raise UsageError(f"the process that renders chat templates did not start (exit code {code})") from None
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def ask(self, request: bytes) -> bytes:
        """Returns the answer to a request.

        Raises:
          EOFError, OSError: the process has ended.
          _TooSlowError: it has not answered in time.
        """
        deadline = time.monotonic() + WALL_SECONDS
        rest = memoryview(len(request).to_bytes(LENGTH_BYTES, "big") + request)
        while rest:
            self._wait(self._input, select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self._input, rest) :]
        return self._receive(deadline)

    def end(self) -> int:
        """Ends it, whatever it does; returns its exit code, or minus the signal that had ended it before."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self._popen.stdout.close()
        try:
            # One that has closed its output is about to end by itself, and its code tells why.
            return self._popen.wait(0.1 if self._ended else 0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def forget(self) -> None:
        """Lets go of it in a forked process, which it does not belong to."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self._popen.stdout.close()
        self._popen.returncode = 0  # it is nobody's to wait for here

    _ended = False

    def _receive(self, deadline: float) -> bytes:
        size = int.from_bytes(self._read(LENGTH_BYTES, deadline), "big")
        if not 0 < size <= MAX_ANSWER_BYTES:
            raise EOFError
        return self._read(size, deadline)

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._wait(self._output, select.POLLIN, deadline)
            try:
                part = os.read(self._output, min(size, 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                self._ended = True
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    @staticmethod
    def _wait(file: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(file, event)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise _TooSlowError


_lock = threading.Lock()
_process: _Process | None = None


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Returns what a template makes of variables, which are plain JSON values.

    Raises:
      UsageError: the template is not valid, refuses the variables, or takes more time or memory than it has.
    """
    global _process
    request = json.dumps({"template": template, "variables": variables}).encode()
    if len(request) > MAX_REQUEST_BYTES:
        raise UsageError(
            f"the conversation has {len(request) >> 20} MB as JSON; a chat template is given {MAX_REQUEST_BYTES >> 20}"
        )
    with _lock:
        if _process is None:
            _process = _Process()
        try:
            answer = _process.ask(request)
            letter, text = answer[:1], answer[1:].decode(errors="surrogatepass")
        except _TooSlowError:
            close_process()
            raise UsageError(f"the chat template takes more than {WALL_SECONDS:g} seconds") from None
        except (OSError, EOFError, ValueError):
            code = close_process()
            if code in (-signal.SIGPROF, -signal.SIGXCPU):
                raise UsageError(f"the chat template takes more than {CPU_SECONDS:g} s of CPU time") from None
            raise UsageError(
                f"the chat template ended the process that rendered it "
                f"({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
            ) from None
        except BaseException:
            close_process()  # an answer may still be on its way
            raise
        if letter.isupper():
            close_process()
    if letter.lower() != b"t":
        raise UsageError(f"the chat template {' '.join(text[:1000].split())}")
    return text


def close_process() -> int:
    """Ends the process, if there is one; the next rendering starts another. Returns its exit code."""
    global _process
    process, _process = _process, None
    return 0 if process is None else process.end()


def _forget() -> None:
    """In a forked process: starts afresh, with a lock that nobody holds."""
    global _lock, _process
    _lock = threading.Lock()
    if _process is not None:
        _process.forget()
        _process = None


os.register_at_fork(after_in_child=_forget)
atexit.register(close_process)
