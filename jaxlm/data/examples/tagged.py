"""Sentences of tagged words: CoNLL, a word a line, and CoNLL-U."""

from collections import Counter
from pathlib import Path

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.lines import Line, read_lines
from jaxlm.data.examples.records import Record, Records
from jaxlm.errors import UsageError, did_you_mean

_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
_UNSPECIFIED = ("UPOS", "XPOS", "DEPREL")  # of which CoNLL-U's _ says that there is none
_DOCUMENT = "-DOCSTART-"  # begins a document in the sets of the CoNLL shared tasks


def tagged_records(path: Path, config: ExamplesConfig, universal: bool) -> Records:
    """Returns sentences of CoNLL or, `universal`, CoNLL-U: words and tags, one line each, a blank line between them.

    Of CoNLL the first column is the word and the last the tag; of CoNLL-U FORM and UPOS, words of several tokens and
    empty nodes being left out (universaldependencies.org/format.html). text_column and label_column say otherwise.
    Of CoNLL a line that begins with # is a comment at the beginning of a sentence, unless it has all columns of a word;
    a line -DOCSTART- is no word.

    Raises:
      UsageError: such a column does not exist.
      DataError: the file cannot be read.
    """
    notes: list[str] = []
    lines = read_lines(path, config.encoding, notes)
    word_at = _column(config.text_column, universal, 1 if universal else 0, "text")
    tag_at = _column(config.label_column, universal, 3 if universal else -1, "label")
    width, tags_of_words = (0, set()) if universal else _usual(lines, tag_at)
    unspecified = universal and tag_at < len(_CONLLU) and _CONLLU[tag_at] in _UNSPECIFIED
    items: list[Record | Problem] = []
    words: list[str] = []
    tags: list[str] = []
    start = 0
    bad: tuple[str, str] | None = None  # the reason and the first problem of the sentence
    for line in [*lines, Line(len(lines) + 1, "")]:
        fields = _split(line.text)
        if not fields or (not universal and fields[0] == _DOCUMENT):
            if bad:
                items.append(Problem(f"{path}:{start}", *bad))
            elif words:
                items.append(Record(f"{path}:{start}", {"words": tuple(words), "tags": tuple(tags)}))
            words, tags, bad = [], [], None
            continue
        if universal and line.text.startswith("#"):
            continue
        if line.text.startswith("#") and not words and not bad:
            full = len(fields) == width and -width <= tag_at < width and fields[tag_at] in tags_of_words
            if not full:
                continue
        if universal and not fields[0].isdecimal():
            continue
        start = start if words or bad else line.number
        if line.wrong:
            bad = bad or ("wrong_encoding", line.wrong)
        elif len(fields) < 2 or len(fields) <= max(word_at, tag_at) or not fields[word_at] or not fields[tag_at]:
            bad = bad or ("no_tag", f"line {line.number} has no word and tag: {line.text[:60]!r}")
        elif unspecified and fields[tag_at] == "_":
            bad = bad or ("no_tag", f"line {line.number} has no {_CONLLU[tag_at]}, but _")
        else:
            words.append(fields[word_at])
            tags.append(fields[tag_at])
    return Records(items, ("words", "tags"), notes)


def _split(text: str) -> list[str]:
    if not text.strip():
        return []
    return text.split("\t") if "\t" in text else text.split()


def _usual(lines: list[Line], tag_at: int) -> tuple[int, set[str]]:
    """How many columns most lines have, and the tags of those that begin with no #."""
    fields = [found for line in lines if not line.text.startswith("#") and (found := _split(line.text))]
    width = Counter(map(len, fields)).most_common(1)[0][0] if fields else 0
    tags = {own[tag_at] for own in fields if len(own) == width and -width <= tag_at < width and own[0] != _DOCUMENT}
    return width, tags


def _column(given: str, universal: bool, usual: int, role: str) -> int:
    """Returns the place of a column that is named, or by number from 1, or the usual one."""
    if not given:
        return usual
    if given.isdecimal() and int(given) > 0:
        return int(given) - 1
    if universal and given.upper() in _CONLLU:
        return _CONLLU.index(given.upper())
    if universal:
        hint = did_you_mean(given.upper(), _CONLLU)
        raise UsageError(f"--{role}-column is {given!r}, no column of CoNLL-U{hint}: {', '.join(_CONLLU)}")
    raise UsageError(f"--{role}-column is {given!r}; the columns of CoNLL have no names: give a number from 1")
