"""Where the words of a text are, whatever its script.

By Unicode's rules (UAX #29, Unicode Text Segmentation): signs that are written on a letter (vowel signs, accents,
tone marks, joiners) belong to it, and an emoji is one with what is joined to it. Words of scripts without spaces
between them need a dictionary there; here each character, with its signs, is one. An apostrophe, a point or a comma
between letters or digits is a word of its own, so that "Levi" and "24" are words of "Levi's" and "24-10".
"""

import re
import unicodedata
from functools import cache

# Chinese characters and kana, and the scripts of South-East Asia that Unicode's line breaking calls complex: Thai, Lao,
# Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Tai Viet.
UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"
)
_ZERO_WIDTH_SPACE = 0x200B  # a format character that divides words
_JOINER = "\u200d"
_FLAGS = "\U0001f1e6-\U0001f1ff"  # two of them make a flag
_SKIN_TONES = "\U0001f3fb-\U0001f3ff"

_ASCII_WORD = re.compile("[a-z0-9]+")  # the same, and quicker, where nothing else occurs


def word_spans(text: str) -> list[tuple[int, int]]:
    """Returns the characters [start, end) of each word of `text`, and of each sign that is no part of one."""
    return [match.span() for match in _patterns()[0].finditer(text)]


def plain_words(text: str) -> list[str]:
    """Returns the words of `text` in lower case and without punctuation, for comparing and judging texts."""
    return (_ASCII_WORD if text.isascii() else _patterns()[1]).findall(text.lower())


def extends(character: str) -> bool:
    """Whether `character` belongs to the one before it: a sign that is written on a letter, or an invisible one."""
    return bool(_patterns()[2].fullmatch(character))


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """The patterns of a word or sign, of a word, and of a character that belongs to the one before."""
    extend = _extending()
    run = f"(?:[{extend}][^\\W{{}}]*)*"
    alone = f"[{UNSPACED}][{extend}]*"
    sign = f"[^\\w\\s][{extend}]*(?:(?<={_JOINER})[^\\w\\s][{extend}]*)*"
    return (
        re.compile(f"[^\\W{UNSPACED}]+{run.format(UNSPACED)}|{alone}|[{_FLAGS}]{{2}}|{sign}"),
        re.compile(f"[^\\W_{UNSPACED}]+{run.format(f'_{UNSPACED}')}|(?=\\w){alone}"),
        re.compile(f"[{extend}]"),
    )


def _extending() -> str:
    """The characters of Unicode's categories of marks and of formats, and skin tones, as ranges of a pattern."""
    ranges: list[list[int]] = []
    for point in (*range(0x300, 0x20000), *range(0xE0000, 0xE0200)):
        if unicodedata.category(chr(point)) in ("Mn", "Mc", "Me", "Cf") and point != _ZERO_WIDTH_SPACE:
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return "\u00ad" + _SKIN_TONES + "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)
