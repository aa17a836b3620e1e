"""The errors that a user can cause: each names the thing, the place and the way out.

The command line prints `str(error)` on one line and exits with `error.exit_code`; any other exception is a bug and
keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class JaxlmError(Exception):
    """A failure with a cause that the user can act on."""

    exit_code = 1


class UsageError(JaxlmError):
    """The request itself is wrong: an unknown option, a missing file, an impossible combination of settings."""

    exit_code = 2


class DataError(JaxlmError):
    """Text, tokens or records that cannot be used as they are."""


class CheckpointError(JaxlmError):
    """A checkpoint that is missing, incomplete or not what its manifest says."""


class NonFiniteLossError(JaxlmError):
    """Training reached a loss or gradient that is not a number; the last good checkpoint is kept."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the closest known name, else an empty string.

    Args:
      name: what the user wrote.
      known: the names that exist.
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Builds the error for a `kind` called `name` that is not one of `known`."""
    known = sorted(known)
    return UsageError(f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
