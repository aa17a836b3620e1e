"""The help of a verb with many options, cut down to those that people use."""

import re
from collections.abc import Sequence

ALL = "--help-all"


def short_help(whole: str, everyday: Sequence[str], program: str) -> str:
    """Returns the options of `everyday` out of the help of all, and how to see the others.

    Args:
      whole: as tyro prints it without a terminal: what the verb does, then groups of options under titles and rules.
      everyday: options as they are typed, in the order to be shown.
      program: the command.
    """
    head = re.split(r"^ .*\n -{9,} *$", whole, maxsplit=1, flags=re.MULTILINE)[0]
    entries: dict[str, list[str]] = {}
    name = ""
    for line in whole[len(head) :].splitlines():
        found = re.match(r"  (?:-h, )?(--[a-z][\w.-]*|\[[A-Z]+\])", line)
        if found:
            name = found[1]
        elif not line.startswith("  ") or not line.strip():
            name = ""
        if name:
            entries.setdefault(name, []).append(line.rstrip())
    shown = [line for name in everyday for line in entries[name]]
    others = len(entries.keys() - {*everyday, "--help"})
    verb = " ".join(program.split()[:2])
    return "\n".join([head.rstrip(), "", *shown, "", f"{others} further options: {verb} {ALL}"]) + "\n"
