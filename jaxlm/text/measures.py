"""How well a tokenizer suits a text: what it costs, and what it cannot say."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from jaxlm.text.base import Tokenizer

# What has no spaces between words counts as a word for each character: Chinese, Japanese, and their punctuation.
_ALONE = r"\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_WORDS = re.compile(f"[{_ALONE}]|[^\\s{_ALONE}]+")


@dataclass(frozen=True)
class TokenizerMeasures:
    """What a tokenizer makes of a text.

    Attributes:
      documents, words, characters, bytes, tokens: how many there are; words are what stands between spaces, and single
        characters of scripts without them.
      unknown: tokens that are the unknown id.
      covered: characters that alone have an encoding without the unknown id; spaces do not count.
      single: those of them that are one token.
      used: different ids that occur.
      vocab_size: ids that there are.
    """

    documents: int
    words: int
    characters: int
    bytes: int
    tokens: int
    unknown: int
    covered: float
    single: float
    used: int
    vocab_size: int

    @property
    def rates(self) -> dict[str, float]:
        """The quotients that are usually told, by name."""
        tokens = max(self.tokens, 1)
        return {
            "tokens_per_word": self.tokens / max(self.words, 1),
            "tokens_per_character": self.tokens / max(self.characters, 1),
            "bytes_per_token": self.bytes / tokens,
            "unknown_rate": self.unknown / tokens,
            "character_coverage": self.covered,
            "single_token_characters": self.single,
            "vocabulary_used": self.used / self.vocab_size,
        }

    def to_json(self) -> dict[str, float]:
        """Returns the counts and the rates as a plain dict."""
        return {**asdict(self), **self.rates}


def measure_tokenizer(tokenizer: Tokenizer, documents: Iterable[str]) -> TokenizerMeasures:
    """Encodes `documents` and returns what came out; memory grows with the number of different characters and ids.

    Raises:
      DataError: a document holds something that the tokenizer cannot represent at all.
    """
    characters = Counter[str]()
    ids = Counter[int]()
    count = words = size = 0
    for document in documents:
        count += 1
        words += sum(1 for _ in _WORDS.finditer(document))
        size += len(document.encode())
        characters.update(document)
        ids.update(tokenizer.encode(document))
    covered = single = visible = 0
    for character, times in characters.items():
        if character.isspace():
            continue
        visible += times
        alone = tokenizer.encode(character)
        if alone and tokenizer.unk_id not in alone:
            covered += times
            single += times * (len(alone) == 1)
    return TokenizerMeasures(
        documents=count,
        words=words,
        characters=characters.total(),
        bytes=size,
        tokens=ids.total(),
        unknown=0 if tokenizer.unk_id is None else ids[tokenizer.unk_id],
        covered=covered / max(visible, 1),
        single=single / max(visible, 1),
        used=len(ids),
        vocab_size=tokenizer.vocab_size,
    )
