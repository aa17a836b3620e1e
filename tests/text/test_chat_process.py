"""What a hostile chat template may try: a way out, and more work than a machine has. Each ends as one error, soon."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jaxlm.errors import UsageError
from jaxlm.text import chat_process
from jaxlm.text.chat import render_chat

CHAT = [{"role": "user", "content": "Hello"}]
# Two seconds of work and the start of the next process, on a machine that has other things to do as well.
SOON = 20.0

# Ways to Python, its files and its processes: each is refused.
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'].mro() }}",
    "{{ (''|attr('__class__')).mro() }}",
    "{{ messages|map(attribute='__class__')|list|first.__mro__ }}",
    "{{ messages|map('attr', '__class__')|list|first.__mro__ }}",
    "{{ messages|groupby('__class__')|first|first.mro() }}",
    "{{ messages|sum(attribute='__class__.x') }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__.__globals__.os }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ lipsum.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ raise_exception.__globals__['os'].environ }}",
    "{{ strftime_now.__globals__.sys.exit(1) }}",
    "{{ raise_exception.__code__.co_code }}",
    "{{ raise_exception.__closure__[0] }}",
    "{{ dict.__call__.__globals__.os }}",
    "{{ dict.mro() }}",
    "{{ range.__class__.__base__.__subclasses__() }}",
    "{{ namespace(__class__=1) }}",
    "{{ namespace({'__init__': 1}) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{% set ns = namespace() %}{% set ns._Namespace__attrs = 1 %}",
    "{{ messages.append(1) }}",
    "{{ messages.clear() }}",
    "{{ messages.__setitem__(0, 1) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].setdefault('x', 1) }}",
    "{{ [].append(1) }}",
    "{% do messages.append(1) %}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{{ self._TemplateReference__context.environment.loader }}",
    "{{ self.__init__.__globals__.os }}",
    "{% macro f() %}{% endmacro %}{{ f._func.__globals__.os }}",
    "{% macro f() %}{% endmacro %}{{ f.__class__.mro() }}",
    "{% for x in [1] %}{{ loop.__class__.mro() }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterator.__reduce__() }}{% endfor %}",
    "{{ (messages|map('upper')).gi_frame.f_globals.os }}",
    "{{ (messages|select).gi_code.co_consts[0] }}",
    "{{ '{0.__class__.mro}'.format(1)[0] }}",
    "{{ '{0.__init__.__globals__[os]}'.format(cycler).x[0] }}",
    "{{ '{a.__class__}'.format_map({'a': 1}).x[0] }}",
    "{{ ('{0.__class__}'|safe).format(1).x[0] }}",
    "{{ ['{0.__class__}']|map('format', 1)|list|first|int('x') }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os').system('id') }}",
    "{{ eval('1') }}",
    "{{ messages|tojson(cls=1) }}",
    "{{ get_flashed_messages.__globals__.os }}",
    "{{ config.items().x }}",
    "{{ environment.globals.x }}",
    "{{ caller.__globals__.x }}",
    "{% set __class__ = 1 %}{{ ''.__class__.mro() }}",
    "{{ 'x'.__format__.__self__.__class__.mro() }}",
    "{{ (1).__add__.__objclass__.x }}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
    "{{ 'b3M='.encode().decode('base64') }}",
]
GROW = "{{% set ns = namespace(s='aaaa', l=[1], d={{}}) %}}{{% for i in range(99) %}}{}{{% endfor %}}"
DEEP = 5000
# Work that is refused by itself, by what Python and jinja2 can do, or for the memory or the text that it would make.
BOMBS = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(99999)|map('range')|sum(start=[]) %}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ g() }}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}{{ caller() }}{% endcall %}",
    "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{{ 'a' * 10**10 }}",
    "{{ 'a' * 10**30 }}",
    "{{ 10**9 * [1] }}",
    "{{ (1, 2) * 10**9 }}",
    "{{ ['a'] * 10**8 }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.rjust(10**9) }}",
    "{{ '1'.zfill(10**9) }}",
    "{{ ('\t' * 1000).expandtabs(10**8) }}",
    "{{ 'a'|indent(10**9, true) }}",
    "{{ range(99999)|list|tojson(separators=('x' * 99999, ':')) }}",
    "{{ [1]|tojson(separators=5) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%.1000000000f' % 1.5 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:.1000000000f}'.format(1.5) }}",
    "{{ '{0:{1}}'.format(1, 10**9) }}",
    "{{ (2**62)|round(-5000, 'ceil') }}",
    "{{ 10**5000 }}",
    "{{ 2**99999 }}",
    "{{ int('f' * 5000, 16) }}",
    "{{ ('f' * 5000)|int(base=16) }}",
    "{{ '9' * 5000 + 1 }}",
    "{{ (2**99999)|tojson }}",
    "{{ (2**9999)|float }}{{ 10.0 ** 400 }}",
    "{{ (1)|batch(10**9, 'x')|list }}",
    "{{ [1]|batch(10**9, 'x')|list }}",
    "{{ ('a' * 9999)|replace('a', 'a' * 99999) }}",
    "{{ ('a' * 9999).replace('a', 'a' * 99999) }}",
    "{{ ('a' * 9999).replace('', 'a' * 99999) }}",
    "{{ ('\U0001f600' * 10**8) }}",
    "{% for i in range(99999) %}" + "x" * 9000 + "{% endfor %}",
    "{% set x %}{% for i in range(99999) %}" + "x" * 9000 + "{% endfor %}{% endset %}",
    GROW.format("{% set ns.s = ns.s.replace('a', ns.s) %}"),
    "{{ " + "+".join(["1"] * 300) + " }}{{ 1/0 }}",
    "{{ " + "(" * DEEP + ")" * DEEP + " }}",
    "{{ " + "[" * DEEP + "]" * DEEP + " }}",
    "{{ " + "not " * DEEP + "1 }}",
    "{{ " + "-" * DEEP + "1 }}",
    "{{ 1" + "|abs" * DEEP + " }}",
    "{{ x" + ".y" * DEEP + " }}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300 + "{{ 1/0 }}",
    "{% for i in [1] %}" * 60 + "{% endfor %}" * 60,
    "{% if 0 %}" + "{% elif 0 %}" * 3000 + "{% endif %}{{ 1/0 }}",
    "{% break %}",
    "{% continue %}",
    "{% if 1 %}{% break %}{% endif %}",
    "{% for x in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{% macro f(a, a) %}{% endmacro %}{{ f(1) }}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns.x|tojson }}",
    "{{ strftime_now(5) }}",
    "{{ lipsum('x') }}",
    "{{ 1/0 }}",
    "{{ 'a'.encode('punycode').decode('idna').x.y }}",
    "{{ ('a' * 10**6).encode('utf-16').hex()|int(base=2) + 'a' }}",
    GROW.format("{% set ns.s = ns.s ~ ns.s %}"),
]
# Work that only ends because the time does, a second of it each.
BURNS = [
    "{{ 9 ** (9 ** 9) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
]
# The same, and what fills the memory first, which takes as long.
MORE_BURNS = [
    "{{ ('a\n' * 100000)|indent(100000) }}",
    "{{ ('a b ' * 100000)|wordwrap(1, wrapstring='x' * 10000) }}",
    "{{ [1]|tojson(indent=10**9) }}",
    "{{ '%s%s' % ('a' * 10**8, 'b' * 10**8) }}",
    "{{ '%1000000000s'|format('a') }}",
    "{{ (7)|round(1000000000, 'floor') }}",
    "{{ messages|slice(10**9)|list }}",
    "{{ range(99999)|map('string')|join('x' * 9999) }}",
    "{{ ('x' * 9999).join(['a'] * 99999) }}",
    "{{ ('a' * 9999).translate({97: 'a' * 99999}) }}",
    "{{ ('a ' * 10**7).split() }}",
    "{{ ('a' * 10**7)|list }}",
    "{{ ('a' * 17000000) }}",
    GROW.format("{% set ns.s = ns.s + ns.s %}"),
    GROW.format("{% set ns.s = ns.s * 9 %}"),
    GROW.format("{% set ns.s = [ns.s, ns.s]|join(ns.s) %}"),
    GROW.format("{% set ns.s = ns.s|tojson|tojson %}"),
    GROW.format("{% set ns.l = ns.l + ns.l %}"),
    GROW.format("{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"),
    GROW.format("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l|tojson }}",
    GROW.format("{% set ns.l = (ns.l, ns.l) %}") + "{{ ns.l|string }}",
    GROW.format("{% set ns.d = {'a': ns.d, 'b': ns.d} %}") + "{{ ns.d }}",
    "{{ strftime_now('%1000000000d' * 1000000)[0] }}{{ 1/0 }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in [1] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "{% set s = 'a' * 16000000 %}{% for i in range(9999) %}{{ s.rfind('ab') }}{% endfor %}",
    "{% set s = 'a' * 16000000 %}{% for i in range(9999) %}{{ s.count('aab') }}{% endfor %}",
    "{% set l = range(99999)|list %}{% for i in range(99999) %}{{ l|sort|first }}{% endfor %}",
    "{% set l = range(99999)|list %}{% for i in range(99999) %}{{ (l == l|list)|int }}{% endfor %}",
    "{% for i in range(99999) %}{{ range(99999)|sum }}{% endfor %}",
    "{% set ns = namespace(d={}) %}{% for i in range(30000) %}{% set ns.d = dict(ns.d, **{i|string: i}) %}{% endfor %}",
    "{% for i in range(9999) %}{{ (range(9999)|map('string')|join)|length }}{% endfor %}",
    "{% for i in range(99999) %}{{ (('<a> ' * 99999) ~ i)|striptags|length }}{% endfor %}",
    "{{ (2 ** 4000000) // 3 ** 2000000 % 7 }}{{ 3 ** 40000000 % 7 }}",
    "{{ (7)|round(-1000000000) }}",
    "{{ (('f' * 999999)|int(base=16)) ** 99 % 7 }}",
    "{% set keys = range(0, 2305843009213693951 * 90000, 2305843009213693951)|list %}{{ keys|unique|list|length }}"
    "{% for i in range(99999) %}{{ keys|unique|list|length }}{% endfor %}",
    "{{ lipsum(n=10**9) }}",
    "{% for i in range(99999) %}{{ range(99999)|max }}{% endfor %}",
    "{% for i in range(99999) %}{{ strftime_now('%c' * 9999)|length }}{% endfor %}",
]


@pytest.fixture(autouse=True, scope="module")
def _ended():
    yield
    chat_process.close_process()


def refused(template):
    begun = time.monotonic()
    with pytest.raises(UsageError) as caught:
        render_chat(template, CHAT)
    assert time.monotonic() - begun < SOON
    message = str(caught.value)
    assert message.startswith("the chat template ")
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize("template", ESCAPES)
def test_there_is_no_way_out(template):
    refused(template)


@pytest.mark.parametrize(
    "expression",
    ["messages.__class__", "messages|attr('__class__')", "raise_exception.__globals__", "'{0.__class__}'.format(1)"],
)
def test_what_is_hidden_is_not_there(expression):
    assert render_chat(f"[{{{{ {expression} }}}}]", CHAT) == "[]"


@pytest.mark.parametrize("template", BOMBS)
def test_work_is_bounded(template):
    refused(template)


@pytest.mark.parametrize("template", BURNS)
def test_time_is_bounded(template):
    assert "the chat template takes more than " in refused(template)
    assert render_chat("{{ messages[0].content }}", CHAT) == "Hello", "the next one is not concerned"


@pytest.mark.slow
@pytest.mark.parametrize("template", MORE_BURNS)
def test_time_of_other_work_is_bounded(template):
    refused(template)


def test_memory_is_bounded():
    assert "needs more than 256 MiB of memory" in refused("{{ 'a' * 10**9 }}")


def of_the_process(name):
    return Path(f"/proc/{chat_process._process.pid}/{name}").read_text()


def test_the_process_has_nothing_but_time_and_memory(monkeypatch):
    chat_process.close_process()
    monkeypatch.setenv("JAXLM_TEST_TOKEN", "secret")
    render_chat("{{ 1 }}", CHAT)
    assert "secret" not in of_the_process("environ")
    assert "jax" not in of_the_process("maps")
    limits = {line[:26].strip(): line[26:].split()[:2] for line in of_the_process("limits").splitlines()[1:]}
    assert limits["Max address space"] == [str(256 << 20)] * 2
    for name in ("open files", "processes", "file size", "core file size"):
        assert limits[f"Max {name}"] == ["0", "0"]


def test_one_process_serves_until_it_ends():
    chat_process.close_process()
    render_chat("{{ 1 }}", CHAT)
    first = chat_process._process.pid
    for number in range(20):
        assert render_chat(f"{{{{ messages[0].content }}}}{number}", CHAT) == f"Hello{number}"
    assert chat_process._process.pid == first
    os.kill(first, signal.SIGKILL)
    with pytest.raises(UsageError, match="ended the process that rendered it"):  # it may have been the template
        render_chat("{{ 1 }}", CHAT)
    assert render_chat("{{ 2 }}", CHAT) == "2"
    assert chat_process._process.pid != first
    chat_process.close_process()
    assert chat_process._process is None
    chat_process.close_process()


def test_a_process_that_has_grown_is_not_kept():
    chat_process.close_process()
    assert len(render_chat("{{ 'a' * 15000000 }}", CHAT)) == 15_000_000
    assert render_chat("{{ 1 }}", CHAT) == "1"
    assert int(of_the_process("statm").split()[0]) * os.sysconf("SC_PAGE_SIZE") < 96 << 20


def test_threads_take_turns():
    found = {}

    def work(number):
        found[number] = [render_chat("{{ messages[0].content }}", [{"content": f"{number}.{i}"}]) for i in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number}.{i}" for i in range(20)] for number in range(4)}


FORKS = """
import os
from jaxlm.text import chat_process
from jaxlm.text.chat import render_chat

def pid():
    assert render_chat("{{ messages[0].content }}", [{"content": "x"}]) == "x"
    return chat_process._process.pid

own = pid()
child = os.fork()
if not child:
    os._exit(0 if pid() != own and pid() != own else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert pid() == own
print(own)
"""


def test_a_forked_process_has_its_own_and_none_outlives_its_owner():
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKS], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise SystemExit(3)", r"did not start \(exit code 3\)"),
        ("{ready}; {read}; raise SystemExit(4)", r"ended the process that rendered it \(exit code 4\)"),
        ("{ready}; {read}; out.write(b'\\xff' * 8); out.flush(); {read}", "ended the process that rendered it"),
        (
            "{ready}; {read}; out.write(bytes(7) + b'\\x02t\\xff'); out.flush(); {read}",
            "ended the process that rendered",
        ),
        ("{ready}; import time; time.sleep(60)", r"takes more than 0\.2 seconds"),
    ],
)
def test_a_process_that_misbehaves_is_ended(program, message, tmp_path, monkeypatch):
    chat_process.close_process()
    script = tmp_path / "program.py"
    ready = "import sys; out = sys.stdout.buffer; out.write(bytes(7) + b'\\x01t'); out.flush()"
    script.write_text(program.format(ready=ready, read="sys.stdin.buffer.read(9)"))
    monkeypatch.setattr(chat_process, "_PROGRAM", script)
    monkeypatch.setattr(chat_process, "WALL_SECONDS", 0.2)
    large = [{"role": "user", "content": "x" * 1_000_000}]  # more than a pipe holds
    with pytest.raises(UsageError, match=message):
        render_chat("{{ 1 }}", large if "sleep" in program else CHAT)
    monkeypatch.undo()
    assert render_chat("{{ 1 }}", CHAT) == "1"


def test_an_interruption_ends_the_process(monkeypatch):
    render_chat("{{ 1 }}", CHAT)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(chat_process._Process, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            render_chat("{{ 'not this' }}", CHAT)
    assert chat_process._process is None
    assert render_chat("{{ 'this' }}", CHAT) == "this"


def test_what_python_loads_when_it_is_first_needed_is_there():
    template = (
        "{{ '<b>a</b> &amp; b'|striptags|wordwrap(3)|pprint }}{{ 'a.com'|urlize|length }}{{ lipsum(1)|length > 1 }}"
    )
    assert render_chat(template, CHAT) == "'a &\\nb'5True"


def test_any_text_comes_back_as_it_is():
    texts = ["", "\x00\r\n\u2028", "Caf\u00e9 \u660e\u6708 \U0001f600", "\ud800 alone", "\udc80"]
    for text in texts:
        assert render_chat("{{ messages[0].content }}", [{"role": "user", "content": text}]) == text
    assert json.loads(render_chat("{{ messages[0].content|tojson }}", [{"content": texts}])) == texts


def test_a_conversation_beyond_what_a_template_is_given():
    with pytest.raises(UsageError, match=r"the conversation has 33 MB as JSON; a chat template is given 32"):
        render_chat("{{ 1 }}", [{"role": "user", "content": "x" * (33 << 20)}])
