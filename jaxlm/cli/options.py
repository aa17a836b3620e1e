"""Typed options by tyro, with errors on one line."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import tyro

from jaxlm.cli.short_help import ALL, short_help
from jaxlm.errors import UsageError, did_you_mean

T = TypeVar("T")


def parse_options(
    kind: type[T],
    default: T | None,
    arguments: Sequence[str],
    program: str,
    without_prefix: str = "",
    everyday: Sequence[str] = (),
) -> T:
    """Parses `--field value` and `--section.field value` into a dataclass.

    Args:
      kind: the dataclass; help texts are the docstrings of its fields.
      default: values of options that are not given; none takes those of the class.
      arguments: the words after the verb.
      program: what help calls the command.
      without_prefix: the field, if any, whose own fields are options without its name before them.
      everyday: the options that --help shows, while --help-all shows all; none shows all by both.

    Raises:
      UsageError: for an unknown option (with a suggestion), a missing or a malformed value.
      SystemExit: after printing help.
    """
    messages, printed = io.StringIO(), io.StringIO()
    asked = {"-h", "--help", ALL} & set(arguments)
    cut = asked and everyday and ALL not in asked
    arguments = ["--help"] if asked else arguments
    settings: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(messages), contextlib.ExitStack() as stack:
            if cut:
                stack.enter_context(contextlib.redirect_stdout(printed))
            parsed, unknown = tyro.cli(
                kind,
                prog=program,
                args=list(arguments),
                return_unknown_args=True,
                **settings,
            )
    except SystemExit as stop:
        if not stop.code:
            if cut:
                print(short_help(printed.getvalue(), everyday, program), end="")
            raise
        raise UsageError(f"{_with_suggestion(_first_paragraph(messages.getvalue()))} (see {program} --help)") from None
    if unknown:
        name = unknown[0].split("=")[0]
        if not name.startswith("-"):
            raise UsageError(f"unexpected argument {unknown[0]!r} (see {program} --help)")
        suggestion = did_you_mean(name.replace("_", "-"), option_names(parsed, without_prefix))
        raise UsageError(f"unknown option {name}{suggestion or f' (see {program} --help)'}")
    return parsed


def _with_suggestion(message: str) -> str:
    """Adds to tyro's message on a value that is no choice which one may be meant."""
    found = re.fullmatch(r"(invalid choice '(.*?)' for argument '\S+')(\. Expected one of \((.*)\)\.)", message)
    if found is None:
        return message
    choices = re.findall("'(.*?)'", found[4])
    return f"{found[1]}{did_you_mean(found[2], choices)}{found[3]}"


def option_names(options: Any, without_prefix: str = "") -> list[str]:
    """The options that a parsed dataclass takes, as they are typed."""
    names = [name.removeprefix(f"{without_prefix}.") for name in _field_names(options, "")]
    return ["--" + name.replace("_", "-") for name in names]


def _field_names(options: Any, prefix: str) -> Iterator[str]:
    """Dotted names of all fields; parts in a list are numbered, and where there is none the list is no option."""
    hints = typing.get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, name = getattr(options, field.name), prefix + field.name
        if isinstance(value, Mapping):
            continue  # no option: what belongs in it has options elsewhere
        several = any(dataclasses.is_dataclass(part) for part in typing.get_args(hints[field.name]))
        if dataclasses.is_dataclass(value):
            yield from _field_names(value, f"{name}.")
        elif several:
            for number, part in enumerate(value):
                yield from _field_names(part, f"{name}.{number}.")
        else:
            yield name


def _first_paragraph(box: str) -> str:
    """The message in tyro's framed output: the lines up to the first rule, as one."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│╭╮╰╯─ \n")
        if not text and lines:
            break
        lines.append(text)
    return re.sub(r"\s+", " ", " ".join(lines)).strip() or "the options cannot be understood"
