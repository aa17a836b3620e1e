"""Documents that hold a piece of an evaluation set (Brown et al. 2020, GPT-3, appendix C).

As there, texts are compared in lower case and without punctuation, and a run of 13 words in common is a collision; of a
shorter example, all of it, if it has 8 words at least. There, 200 characters around a collision were cut out; here the
document is dropped, which leaves no torn text. A word of Chinese or Japanese is a character.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxlm.data.config import DataConfig
from jaxlm.data.preparation.lines import DamagedFileError, lines
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError
from jaxlm.text.segmentation import plain_words

NGRAM = 13
LEAST_WORDS = 8
_LONGEST_LINE = 64 << 20


class ContaminationFilter:
    """Drops documents that share a run of words with an evaluation set; memory grows with that set."""

    def __init__(self, examples: Iterable[tuple[str, str]]):
        """Takes (place, text) of each example."""
        self._places: dict[str, str] = {}
        self._sizes: set[int] = set()
        self._first: set[str] = set()
        for place, text in examples:
            words = plain_words(text)
            size = min(NGRAM, len(words))
            if size < LEAST_WORDS:
                continue
            self._sizes.add(size)
            for start in range(len(words) - size + 1):
                self._places.setdefault(" ".join(words[start : start + size]), place)
                self._first.add(words[start])

    def __call__(self, text: str) -> tuple[str, str] | None:
        """Returns that `text` is contaminated, and from where; None if it is not."""
        words = plain_words(text)
        for start, word in enumerate(words):
            if word in self._first:
                for size in self._sizes:
                    place = self._places.get(" ".join(words[start : start + size]))
                    if place is not None:
                        return "contaminated", place
        return None


def evaluation_files(names: tuple[str, ...]) -> list[Path]:
    """Returns the files of evaluation sets; raises UsageError for one that is not there."""
    return source_files(DataConfig(source="text", files=names)) if names else []


def evaluation_examples(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yields place and text of each example: every text in a record of .jsonl, every line of another file.

    Raises:
      DataError: a file cannot be read; an evaluation set is not guessed at.
    """
    for path in paths:
        try:
            for line in lines(path, _LONGEST_LINE):
                place, text = f"{path}:{line.number}", line.content.decode()
                if not path.name.removesuffix(".gz").removesuffix(".zst").endswith(".jsonl"):
                    yield place, text
                elif text.strip():
                    yield from ((place, value) for value in _texts(json.loads(text)))
        except (DamagedFileError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: no evaluation set that can be read: {error}") from error


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
