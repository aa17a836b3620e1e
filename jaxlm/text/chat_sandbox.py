"""A Jinja that runs templates of strangers: no way to Python, and bounds on what they can make it do.

jinja2's immutable sandbox keeps a template from attributes and calls that reach the interpreter. It does not keep one
from using up the machine: a loop in a loop, a text doubled forty times, a list that holds itself twice over, forty
levels deep. So here every turn of a loop and every call of a macro counts; what operators, calls, lists and blocks make
is measured; and what they would multiply is computed before they do. Only filters and methods of text whose results
are no larger than what goes in are there, and a few with a check of their own.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from functools import wraps
from time import monotonic
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_TURNS = 200_000
MAX_CHARACTERS = 16_000_000  # of one value, written out
MAX_PARTS = 200_000  # of one value, those that it holds twice counted twice
MAX_DEPTH = 100
MAX_WORK = 500_000_000  # characters and parts, of all values together
MAX_SECONDS = 10  # what the counts do not see, such as sorting and comparing within a loop
MAX_EXPONENT = 64
MAX_INDENT = 8

_FILTERS = (
    *("abs", "attr", "bool", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
    *("groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject"),
    *("rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "title"),
    *("tojson", "trim", "truncate", "unique", "upper", "wordcount"),
)
_TEXT_METHODS = (
    *("capitalize", "casefold", "count", "endswith", "find", "index", "join", "lower", "lstrip", "partition"),
    *("removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split"),
    *("splitlines", "startswith", "strip", "swapcase", "title", "upper"),
)


class ChatSandbox(ImmutableSandboxedEnvironment):
    """The environment of one rendering; it counts the template's work and raises SecurityError when that is too much.

    Blocks are trimmed and the tags, filters and functions are those that transformers gives to chat templates.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        """Starts with no work done."""
        self._turns = 0
        self._work = 0
        self._deadline = monotonic() + MAX_SECONDS
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=self.measured,
        )
        self.filters = {name: self.filters[name] for name in _FILTERS if name in self.filters}
        self.filters |= {
            "indent": self._checked_indent(self.filters["indent"]),
            "join": self._checked_join(self.filters["join"]),
            "replace": self._checked_replace(self.filters["replace"]),
            "tojson": self._to_json,
        }
        del self.globals["lipsum"]  # writes any number of paragraphs
        self.globals |= {
            "namespace": _PlainNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def turn(self, literal_characters: int) -> str:
        """Counts one turn of a loop, or one call of a macro, that writes so many characters as they stand there."""
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise SecurityError(f"it takes more than {MAX_TURNS} turns of loops and calls of macros")
        self._count(literal_characters)
        return ""

    def measured(self, value: Any) -> Any:
        """Returns `value` if it is not too large when it is written out."""
        if isinstance(value, str):
            self._check_characters(len(value))
            self._count(len(value))
            return value
        if isinstance(value, int) and value.bit_length() > 10_000:
            raise SecurityError("it makes too large a number")
        characters = parts = 0
        pending = [(value, 0)]
        while pending:
            item, depth = pending.pop()
            parts += 1
            inside: Iterable[Any] = ()
            if isinstance(item, str):
                characters += len(item)
            elif isinstance(item, dict):
                inside = [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple | set | frozenset):
                inside = item
            pending += [(part, depth + 1) for part in inside]
            if depth > MAX_DEPTH or parts + len(pending) > MAX_PARTS:
                raise SecurityError(f"it makes a value of more than {MAX_PARTS} parts or {MAX_DEPTH} levels")
        self._check_characters(characters)
        self._count(characters + parts)
        return value

    def joined(self, *parts: Any) -> str:
        """Returns the parts as one text: what `~` between them means."""
        texts = [str(self.measured(part)) for part in parts]
        self._check_characters(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Returns the result of an operator, after a check of how large it would be."""
        if operator == "**" and any(
            not isinstance(x, int | float) or abs(x) > limit
            for x, limit in (
                (left, MAX_CHARACTERS),
                (right, MAX_EXPONENT),
            )
        ):
            raise SecurityError("it raises to too large a power")
        if operator == "*":
            for times, value in ((left, right), (right, left)):
                if isinstance(value, str | list | tuple) and isinstance(times, int):
                    self._check_characters(times * len(value))
        if operator == "%" and isinstance(left, str):
            raise SecurityError("it formats text with %, which a chat template cannot do here")
        return self.measured(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Returns what a call returns; methods of text are those that cannot make it much longer."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) or name in ("format", "format_map"):
            if name not in _TEXT_METHODS and not name.startswith("is"):
                raise SecurityError(f"it calls the method {name} of a text, which a chat template cannot do here")
            if name == "replace" and len(args) >= 2:
                __self._check_replacement(owner, args[0], args[1])
            if name == "join" and args:
                args = (__self._joinable(owner, args[0]),)
        return __self.measured(super().call(__context, __obj, *args, **kwargs))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Puts calls of `turn`, `measured` and `joined` into the template, where no name in it can hide them."""
        tree = super()._parse(source, name, filename)
        for parent in [tree, *tree.find_all(nodes.Node)]:
            for field, value in parent.iter_fields():
                if isinstance(value, nodes.Node):
                    setattr(parent, field, _watched(value))
                elif isinstance(value, list):
                    value[:] = [_watched(item) if isinstance(item, nodes.Node) else item for item in value]
        loops: list[Any] = [*tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))]
        for node in loops:
            literal = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
            turn = _call("turn", [nodes.Const(literal)])
            node.body.insert(0, nodes.Output([turn]).set_lineno(node.lineno))
        tree.set_environment(self)
        return tree

    def _count(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise SecurityError(f"it handles more than {MAX_WORK} characters")
        if monotonic() > self._deadline:
            raise SecurityError(f"it takes more than {MAX_SECONDS} seconds")

    def _check_characters(self, characters: int) -> None:
        if characters > MAX_CHARACTERS:
            raise SecurityError(f"it makes a text of more than {MAX_CHARACTERS} characters")

    def _check_replacement(self, text: Any, old: Any, new: Any) -> None:
        text, old, new = str(self.measured(text)), str(self.measured(old)), str(self.measured(new))
        found = text.count(old) if old else len(text) + 1
        self._check_characters(len(text) + found * len(new))

    def _joinable(self, separator: Any, parts: Any) -> list[Any]:
        parts = self.measured(list(parts))
        self._check_characters(len(parts) * len(str(self.measured(separator))))
        return parts

    def _checked_indent(self, original: Any) -> Any:
        @wraps(original)
        def indent(text: Any, width: Any = 4, *args: Any, **kwargs: Any) -> Any:
            text = str(self.measured(text))
            size = width if isinstance(width, int) else len(str(width))
            self._check_characters(len(text) + (text.count("\n") + 1) * size)
            return original(text, width, *args, **kwargs)

        return indent

    def _checked_join(self, original: Any) -> Any:
        @wraps(original)  # keeps the mark by which jinja2 knows that the first argument is its own
        def join(context: Any, value: Any, d: Any = "", *args: Any, **kwargs: Any) -> Any:
            return self.measured(original(context, self._joinable(d, value), d, *args, **kwargs))

        return join

    def _checked_replace(self, original: Any) -> Any:
        @wraps(original)
        def replace(context: Any, text: Any, old: Any, new: Any, *args: Any, **kwargs: Any) -> Any:
            self._check_replacement(text, old, new)
            return original(context, text, old, new, *args, **kwargs)

        return replace

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """Returns JSON as it is, where jinja2's own filter would escape what is special to HTML."""
        if indent is not None and (indent if isinstance(indent, int) else len(indent)) > MAX_INDENT:
            raise SecurityError(f"it indents JSON by more than {MAX_INDENT}")
        return json.dumps(
            self.measured(value), ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )


class _Generation(Extension):
    """Accepts `{% generation %}`, which marks the assistant's part for training; its content is shown as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


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


def _watched(node: nodes.Node) -> nodes.Node:
    """Returns the call that measures what `node` makes, or `node` itself where it makes nothing new."""
    if isinstance(node, nodes.Concat):
        return _call("joined", node.nodes).set_lineno(node.lineno)
    if isinstance(node, nodes.List | nodes.Dict) or (isinstance(node, nodes.Tuple) and node.ctx == "load"):
        return _call("measured", [node]).set_lineno(node.lineno)
    return node


def _call(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
