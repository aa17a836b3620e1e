"""Without a size, a vocabulary is as large as its text is worth and fills."""

from itertools import product

import pytest

from jaxlm.errors import UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.text.vocabulary_size import LEAST, MOST, VocabularySizeError, with_vocabulary_size

FEW = ["a film to remember", "a dull plot", "remember the plot"] * 5


@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece", "bpe"])
def test_little_text_gives_as_many_ids_as_it_fills(kind):
    special = ("[CLS]", "[SEP]")
    tokenizer = train_tokenizer(TokenizerConfig(kind, special_tokens=special), iter(FEW))
    assert 20 < tokenizer.vocab_size < LEAST
    with pytest.raises(UsageError, match="is more than this training text can fill"):
        train_tokenizer(TokenizerConfig(kind, vocab_size=LEAST, special_tokens=special), FEW)


def test_many_characters_get_the_ids_that_they_need():
    letters = "".join(chr(0x4E00 + number) for number in range(900))
    tokenizer = train_tokenizer(TokenizerConfig("wordpiece", character_coverage=1.0), [letters[:450], letters[450:]])
    assert tokenizer.vocab_size > 900


def test_the_size_follows_the_length_of_the_text():
    seen = []

    def train(config, documents):
        seen.append((config.vocab_size, sum(map(len, documents))))

    for length, repeats in product((100, 10_000), (1, 150, 1000)):
        with_vocabulary_size(
            TokenizerConfig("bpe", special_tokens=("x",)), ("a" * length for _ in range(repeats)), train
        )
    assert [size for size, _ in seen] == [LEAST + 1, LEAST + 1, LEAST + 1, LEAST + 1, 3001, MOST + 1]
    assert [length for _, length in seen] == [100, 15_000, 100_000, 10_000, 1_500_000, 10_000_000], "all of it is read"


def test_an_impossible_size_is_tried_once_more_and_no_further():
    def train(config, documents):
        raise VocabularySizeError("no", 7)

    with pytest.raises(VocabularySizeError):
        with_vocabulary_size(TokenizerConfig("bpe"), FEW, train)
