"""Words, for comparing and judging texts: in scripts without spaces between them, each character is one."""

import re

# Chinese characters, kana, and their punctuation and full-width forms, which belong to no word.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_ALONE}]|[^\\W_{_ALONE}]+")


def plain_words(text: str) -> list[str]:
    """Returns the words of `text` in lower case and without punctuation."""
    return _WORD.findall(text.lower())
