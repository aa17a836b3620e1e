"""Regular expressions of tokenizer files: those that a search could spend forever on are refused.

The Rust library `tokenizers` searches with Oniguruma, which backtracks. Where at most one unbounded repetition stands
before something that may fail, as in `\\s*[\\r\\n]+`, it tries as many ways as the text is long from each place; with
two or more (`(a+)+$`, `a*a*b`) it is the square of that, or exponential.
"""

from dataclasses import dataclass

from jaxlm.errors import DataError

MAX_PATTERN_CHARACTERS = 4096
MAX_DEPTH = 32
MAX_REPEATS = 1000
MAX_SIZE = 20_000
# Repetitions of fewer times than this are as good as fixed.
_FEW = 16


@dataclass
class _Part:
    """What a part of a pattern can do.

    Attributes:
      fails: whether it may fail where it stands (what is optional never does).
      varies: whether it holds a repetition or a choice.
      open: unbounded repetitions in it that a failure after it tries again; a nested one counts as two.
      degree: the most of them that stand before something that may fail.
      size: its atoms, as often as they are repeated: what the compiled pattern may hold.
    """

    fails: bool = True
    varies: bool = False
    open: int = 0
    degree: int = 0
    size: int = 1


def require_bounded_pattern(pattern: str, place: str) -> None:
    """Raises DataError, naming `place`, for a pattern that is too long, too deep or may backtrack without bound."""
    shown = ascii(pattern[:60])
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise DataError(
            f"{place}: the pattern {shown}... has {len(pattern):,} characters; at most {MAX_PATTERN_CHARACTERS:,}"
        )
    try:
        found = _Parser(pattern).whole()
    except _RefusedError as reason:
        raise DataError(f"{place}: the pattern {shown} {reason}") from None
    if found.degree > 1:
        raise DataError(
            f"{place}: the pattern {shown} has several unbounded repetitions before something that may fail, "
            "which can search forever; at most 1 in an alternative, none nested"
        )


class _RefusedError(Exception):
    """Why a pattern is not taken."""


class _Parser:
    """Reads a pattern in Oniguruma's syntax as far as its repetitions go."""

    def __init__(self, pattern: str):
        self._text, self._at, self._depth = pattern, 0, 0

    def whole(self) -> _Part:
        found = self._choice()
        if self._at < len(self._text):
            raise _RefusedError("has a parenthesis too many")
        return found

    def _choice(self) -> _Part:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        return _Part(
            fails=all(part.fails for part in parts),
            varies=True,
            open=max(part.open for part in parts),
            degree=max(part.degree for part in parts),
            size=sum(part.size for part in parts),
        )

    def _sequence(self) -> _Part:
        whole = _Part(fails=False)
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            part = self._repeated(self._atom())
            whole.degree = max(whole.degree, part.degree + (whole.open if part.fails else 0))
            whole.open += part.open
            whole.fails |= part.fails
            whole.varies |= part.varies
            whole.size += part.size
        return whole

    def _repeated(self, part: _Part) -> _Part:
        while True:
            braces = self._text.startswith("{", self._at)
            count = self._count()
            if count is None:
                return part
            least, most = count
            if max(least, most or 0) > MAX_REPEATS:
                raise _RefusedError(f"repeats something more than {MAX_REPEATS:,} times")
            many = most is None or most > _FEW
            opened = (part.open + 2 if part.varies else 1) if many else part.open * (most or 1)
            fixed = least == most and not part.varies
            size = part.size * max(least, most or 1)
            if size > MAX_SIZE:
                raise _RefusedError(f"repeats more than {MAX_SIZE:,} characters")
            part = _Part(part.fails and least > 0, not fixed, 0 if fixed else opened, part.degree, size)
            if braces:
                # A plus after {n,m} is a repetition of its own, and the loop takes it.
                self._take("?")
            elif self._take("+"):
                part.open = 0  # possessive: nothing in it is tried again
            else:
                self._take("?")

    def _count(self) -> tuple[int, int | None] | None:
        """Takes a repetition and returns the least and most times; None where there is none."""
        for sign, count in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return count
        end = self._text.find("}", self._at)
        if not self._text.startswith("{", self._at) or end < 0:
            return None
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if not all(not part or (part.isascii() and part.isdigit() and len(part) < 10) for part in (least, most)):
            if any(part.isdigit() for part in (least, most)):
                raise _RefusedError(f"repeats something more than {MAX_REPEATS:,} times")
            return None
        if not least and not most:
            return None
        self._at = end + 1
        low = int(least or 0)
        return (low, int(most) if most else None) if comma else (low, low)

    def _atom(self) -> _Part:
        letter = self._text[self._at]
        self._at += 1
        if letter == "\\":
            self._escape()
        elif letter == "[":
            self._set()
        elif letter == "(":
            return self._group()
        return _Part()

    def _escape(self) -> None:
        letter = self._text[self._at : self._at + 1]
        self._at += 1
        if letter and letter in "123456789gkXR":
            raise _RefusedError(f"uses \\{letter}, which is not done here (no back-references, calls or clusters)")
        if letter and letter in "pPx" and self._text.startswith("{", self._at):
            self._at = (self._text.find("}", self._at) + 1) or len(self._text)

    def _set(self) -> None:
        depth, start = 1, True
        while depth:
            if self._at >= len(self._text):
                raise _RefusedError("has a [ without its ]")
            letter = self._text[self._at]
            self._at += 1
            if letter == "\\":
                self._at += 1
            elif letter == "[":
                depth += 1
                start = True
                continue
            elif letter == "^" and start:
                continue
            elif letter == "]" and not start:
                depth -= 1
            start = False

    def _group(self) -> _Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(f"has parentheses nested more than {MAX_DEPTH} deep")
        atomic = False
        if self._take("?"):
            kind = next((own for own in ("<=", "<!", "=", "!", ">", ":", "<") if self._take(own)), None)
            atomic = kind in ("<=", "<!", "=", "!", ">")
            if kind == "<":
                self._at = (self._text.find(">", self._at) + 1) or len(self._text)
            elif kind is None:
                start = self._at
                while self._at < len(self._text) and self._text[self._at] in "im-":
                    self._at += 1
                if self._at == start or not self._text.startswith((":", ")"), self._at):
                    raise _RefusedError("uses a kind of group that is not done here")
                if self._text[self._at] == ")":  # a flag for what follows
                    self._at += 1
                    self._depth -= 1
                    return _Part(fails=False)
                self._at += 1
        found = self._choice()
        if not self._take(")"):
            raise _RefusedError("has a ( without its )")
        self._depth -= 1
        return _Part(True, found.varies, 0, found.degree, found.size) if atomic else found

    def _take(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._at)
        self._at += len(sign) if found else 0
        return found
