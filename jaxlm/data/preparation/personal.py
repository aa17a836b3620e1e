"""What names or reaches a person, found by pattern and replaced by the name of its kind.

Emails, addresses of the internet, card numbers and telephone numbers, by the expressions below; no library, since those
that do more bring models of several hundred megabytes. Names, places and dates are not found.
"""

import ipaddress
import re
from collections.abc import Callable

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])", re.ASCII
)
_IP = re.compile(
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?=[0-9A-Fa-f]{0,4}:)(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w:]|\.\d)",
    re.ASCII,
)
_CARD = re.compile(r"(?<![\d.+-])\d(?:[ -]?\d){12,18}(?![\d]|[.-]\d)", re.ASCII)
# International with "+"; North American with an area code; Chinese mobile numbers.
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}"
    r"|1[3-9]\d-?\d{4}-?\d{4})(?![\w-]|\.\d)",
    re.ASCII,
)


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """Returns `text` with "<EMAIL>", "<IP>", "<CARD>" and "<PHONE>" in place of what looks so, and how many of each.

    Card numbers have 13 to 19 digits and the right check digit (ISO/IEC 7812-1, annex B). An address of the internet
    must be one, and not that of no host or of the own machine. Telephone numbers have 7 to 15 digits (ITU-T E.164).
    """
    counts: dict[str, int] = {}
    for kind, pattern, check in _KINDS:

        def replaced(match: re.Match[str], kind: str = kind, check: Callable[[str], bool] = check) -> str:
            if not check(match[0]):
                return match[0]
            counts[kind] = counts.get(kind, 0) + 1
            return f"<{kind.upper()}>"

        text = pattern.sub(replaced, text)
    return text, counts


def _is_address(found: str) -> bool:
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return False
    if not any(map(str.isdigit, found)):
        return False  # std::abc
    return not address.is_loopback and not address.is_unspecified


def _is_card(found: str) -> bool:
    digits = [int(character) for character in found if character.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(found: str) -> bool:
    return 7 <= sum(map(str.isdigit, found)) <= 15


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, lambda found: True),
    ("ip", _IP, _is_address),
    ("card", _CARD, _is_card),
    ("phone", _PHONE, _is_phone),
)
