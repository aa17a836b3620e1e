"""The program that renders chat templates, in a process that can do nothing else; see `jaxlm.text.chat_process`.

A chat template is a program in Jinja, by strangers. jinja2's sandbox keeps it from Python; the system keeps what it
might do all the same within bounds: no file can be opened and no process started, and memory and CPU time are limited.
So nothing here has to foresee how a template could use up the machine.

It reads requests from its standard input and writes answers to its standard output, each after its length. A request is
a JSON object of a template and its variables; an answer is a letter, one of those below, and a text.
"""

import json
import math
import os
import resource
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

RENDERED, REFUSED, LAST_RENDERED, LAST_REFUSED = b"t", b"e", b"T", b"E"  # after the last two it ends
LENGTH_BYTES = 8  # of the number before a message, the most significant first
CPU_SECONDS = 1.0
MEMORY_BYTES = 256 << 20  # of all that the process maps, 25 MiB of which it begins with
KEPT_BYTES = 96 << 20  # a process that has more than this mapped after an answer is not used again
MAX_CHARACTERS = 16_000_000
MAX_ERROR_CHARACTERS = 500
COMPILED_TEMPLATES = 8

# Uses what jinja2 and Python load when it is first needed: later no file can be opened.
_EVERYTHING = (
    """{{ 'a\\n'|wordwrap(1)|striptags|pprint }}{{ lipsum(1, min=1, max=2) }}{{ strftime_now('%c') }}{{ x.y.z }}"""
)


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as transformers gives it to chat templates: the same tags, filters and functions, and blocks trimmed."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters["tojson"] = _to_json
        self.globals |= {
            "dict": _Dict(),
            "namespace": _PlainNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }


class Renderer:
    """Renders; it keeps the templates that it compiled last."""

    def __init__(self) -> None:
        """Has compiled none."""
        self._environment = ChatEnvironment()
        self._compiled: OrderedDict[str, Template] = OrderedDict()

    def answer(self, request: bytes) -> tuple[bytes, bytes]:
        """Returns the letter and the text that answer a request; whatever a template does is a refusal."""
        try:
            wanted = json.loads(request)
            return RENDERED, self._render(wanted["template"], wanted["variables"]).encode(errors="surrogatepass")
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            found = f"refuses{f' (line {line})' if line else ''}: {error}"
        except MemoryError:
            found = f"needs more than {MEMORY_BYTES >> 20} MiB of memory"
        except RecursionError:
            found = "refuses: it calls itself without an end, or is nested too deeply"
        except SyntaxError as error:  # of the Python that jinja2 makes of it
            found = f"is not valid: {error.msg}"
        except OSError:
            found = "refuses: it uses something that would open a file"
        except Exception as error:
            # What Python says about an expression of the template, such as a message's text that is a list.
            found = f"cannot be applied to these messages: {type(error).__name__}: {error}"
        try:
            return REFUSED, " ".join(found[: 10 * MAX_ERROR_CHARACTERS].split())[:MAX_ERROR_CHARACTERS].encode(
                errors="replace"
            )
        except MemoryError:
            return REFUSED, b"needs too much memory"

    def _render(self, source: str, variables: dict[str, Any]) -> str:
        template = self._compiled.pop(source, None) or self._environment.from_string(source)
        self._compiled[source] = template
        if len(self._compiled) > COMPILED_TEMPLATES:
            self._compiled.popitem(last=False)
        pieces: list[str] = []
        size = 0
        for piece in template.generate(variables):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise TemplateError(f"it writes more than {MAX_CHARACTERS} characters")
        return "".join(pieces)


class _Generation(Extension):
    """Accepts `{% generation %}`, which marks the assistant's part for training; its content is shown as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_shown"), [], [], body).set_lineno(line)

    def _shown(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """`dict`, to be called, without the attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _PlainNamespace(Namespace):
    """A namespace without names that begin with an underscore, which would be Python's."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # the signature of jinja2's own, which allows `self=...`
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _require_plain(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _require_plain(name)
        super().__setitem__(name, value)


def _require_plain(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"it stores {name!r} in a namespace, where names cannot begin with an underscore")


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Returns JSON as it is, where jinja2's own filter would escape what is special to HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def confine() -> int:
    """Gives up what is not needed once all is loaded; returns an open file that tells how much memory is mapped."""
    mapped = os.open("/proc/self/statm", os.O_RDONLY)
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(limit, (value, value))
    for number in (signal.SIGPROF, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)  # which ends the process, even within a call that Python cannot leave
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGPROF, signal.SIGXCPU))
    return mapped


def allow(seconds: float) -> None:
    """Lets the process compute for so long from now on; then the system ends it. 0 takes the limit away."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    # The limit in whole seconds holds where the timer does not: a template cannot stop it by stopping that.
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds) if seconds else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def main() -> None:
    """Answers requests until there are no more."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    renderer = Renderer()
    renderer.answer(json.dumps({"template": _EVERYTHING, "variables": {}}).encode())
    mapped = confine()

    def send(letter: bytes, text: bytes) -> None:
        answers.write((1 + len(text)).to_bytes(LENGTH_BYTES, "big") + letter)
        answers.write(text)
        answers.flush()

    send(RENDERED, b"")
    while header := requests.read(LENGTH_BYTES):
        request = requests.read(int.from_bytes(header, "big"))
        allow(CPU_SECONDS)
        letter, text = renderer.answer(request)
        allow(0)
        pages = int(os.pread(mapped, 100, 0).split()[0])
        last = pages * resource.getpagesize() > KEPT_BYTES
        send(letter.upper() if last else letter, text)
        if last:
            return


if __name__ == "__main__":
    main()
