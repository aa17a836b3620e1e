"""Rules of published corpora for what is not worth training on. They were made for English text of the web."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

Verdict = tuple[str, str]  # a reason, and what was found

_STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_BULLETS = ("•", "-", "*", "‣", "●", "▪", "◦")
_ELLIPSES = ("...", "…", "。。。")
# A full stop or the like before a space, perhaps with a quotation mark between; the Chinese ones anywhere.
_SENTENCE_END = re.compile("[.!?][\"'\u201d\u2019)]*(?=\\s|$)|[\u3002\uff01\uff1f]")
# Gopher's table A1: of n-grams, the most frequent one's and all repeated ones' share of the characters.
_TOP_NGRAM = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED_NGRAM = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def gopher_quality(text: str) -> Verdict | None:
    """Returns the first of Gopher's quality rules that `text` breaks (Rae et al. 2021, appendix A1.1); None if none.

    From 50 to 100,000 words, 3 to 10 letters long in the mean; "#" and ellipses at most 0.1 of the words; at most 90 %
    of lines begin with a bullet and 30 % end with an ellipsis; 80 % of words have a letter; two stop words at least.
    """
    words = text.split()
    if not 50 <= len(words) <= 100_000:
        return "gopher_length", f"{len(words)} words"
    mean = sum(map(len, words)) / len(words)
    if not 3 <= mean <= 10:
        return "gopher_word_length", f"{mean:.2f} characters a word"
    for name, count in (("hash", text.count("#")), ("ellipsis", text.count("...") + text.count("…"))):
        if count / len(words) > 0.1:
            return f"gopher_{name}", f"{count / len(words):.2f} a word"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    bullets = sum(line.startswith(_BULLETS) for line in lines) / len(lines)
    if bullets > 0.9:
        return "gopher_bullets", f"{bullets:.0%} of lines"
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / len(lines)
    if ellipses > 0.3:
        return "gopher_ellipsis_lines", f"{ellipses:.0%} of lines"
    letters = sum(any(map(str.isalpha, word)) for word in words) / len(words)
    if letters < 0.8:
        return "gopher_letters", f"{letters:.0%} of words have one"
    found = _STOP_WORDS.intersection(word.strip(".,;:!?\"'()").lower() for word in words)
    if len(found) < 2:
        return "gopher_stop_words", f"{len(found)} of {len(_STOP_WORDS)}"
    return None


def gopher_repetition(text: str) -> Verdict | None:
    """Returns the first of Gopher's rules against repetition that `text` breaks (Rae et al. 2021, table A1)."""
    for name, parts in (("lines", text.split("\n")), ("paragraphs", re.split(r"\n\s*\n", text))):
        parts = [part.strip() for part in parts if part.strip()]
        if not parts:
            continue
        repeated = _later_copies(parts)
        if len(repeated) / len(parts) > 0.30:
            return f"gopher_repeated_{name}", f"{len(repeated) / len(parts):.0%}"
        share = sum(map(len, repeated)) / sum(map(len, parts))
        if share > 0.20:
            return f"gopher_repeated_{name}", f"{share:.0%} of characters"
    words = text.split()
    characters = sum(map(len, words))
    for size, most in _TOP_NGRAM.items():
        counts = Counter(_ngrams(words, size))
        if counts:
            ngram, count = max(counts.items(), key=lambda entry: (entry[1] * len("".join(entry[0])), entry[0]))
            share = count * len("".join(ngram)) / characters
            if count > 1 and share > most:
                return f"gopher_top_{size}gram", f"{share:.0%} of characters"
    for size, most in _REPEATED_NGRAM.items():
        share = _repeated_characters(words, size) / max(characters, 1)
        if share > most:
            return f"gopher_repeated_{size}gram", f"{share:.0%} of characters"
    return None


def c4(text: str) -> Verdict | None:
    """Returns the first of C4's rules for pages that `text` breaks (Raffel et al. 2020, section 2.2).

    No "lorem ipsum", no curly bracket, five sentences at least. C4's rules for single lines, which change the text, and
    its list of bad words are not applied.
    """
    if "lorem ipsum" in text.lower():
        return "c4_lorem_ipsum", ""
    if "{" in text:
        return "c4_curly_bracket", ""
    sentences = len(_SENTENCE_END.findall(text))
    return None if sentences >= 5 else ("c4_sentences", f"{sentences}")


def _later_copies(parts: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    copies: list[str] = []
    for part in parts:
        (copies.append if part in seen else seen.add)(part)
    return copies


def _ngrams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(size)), strict=False)


def _repeated_characters(words: Sequence[str], size: int) -> int:
    """Returns how many characters lie in n-grams that occurred before, each character counted once."""
    seen: set[tuple[str, ...]] = set()
    counted_to = total = 0
    for start, ngram in enumerate(_ngrams(words, size)):
        if ngram in seen:
            total += sum(len(word) for word in words[max(start, counted_to) : start + size])
            counted_to = start + size
        seen.add(ngram)
    return total
