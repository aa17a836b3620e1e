"""Small training texts, long out of copyright, and one tokenizer of each sort, trained once."""

import pytest

from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import Tokenizer, train_tokenizer

# Shakespeare, sonnet 18.
SONNET = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
  So long as men can breathe or eyes can see,
  So long lives this, and this gives life to thee.
"""

# Li Bai, "Quiet Night Thought"; Wang Zhihuan, "On the Stork Tower". No space anywhere.
POEMS = """床前明月光，疑是地上霜。
舉頭望明月，低頭思故鄉。

白日依山盡，黃河入海流。
欲窮千里目，更上一層樓。
"""  # noqa: RUF001

# What each sort of tokenizer is trained from; every one but "character" encodes any text without loss.
CONFIGS = {
    "character": TokenizerConfig(),
    "byte": TokenizerConfig(kind="byte"),
    "unigram": TokenizerConfig(kind="sentencepiece", vocab_size=400),
    "bpe": TokenizerConfig(kind="sentencepiece", vocab_size=400, algorithm="bpe"),
    # Nothing but Chinese: no piece with a space is learned.
    "chinese": TokenizerConfig(kind="sentencepiece", vocab_size=340, algorithm="bpe"),
}


@pytest.fixture(scope="session")
def sonnet() -> str:
    return SONNET


@pytest.fixture(scope="session")
def poems() -> str:
    return POEMS


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    return {
        name: train_tokenizer(config, [POEMS] if name == "chinese" else [SONNET, POEMS])
        for name, config in CONFIGS.items()
    }


@pytest.fixture(scope="session", params=sorted(CONFIGS))
def tokenizer(request, tokenizers) -> Tokenizer:
    """Each sort of tokenizer in turn."""
    return tokenizers[request.param]


@pytest.fixture(scope="session", params=sorted(CONFIGS.keys() - {"character"}))
def lossless_tokenizer(request, tokenizers) -> Tokenizer:
    """Each sort of tokenizer that encodes any text, in turn."""
    return tokenizers[request.param]
