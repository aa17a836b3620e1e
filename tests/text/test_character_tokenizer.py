import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import DataError
from jaxlm.text.character import CharacterTokenizer


def test_vocabulary_is_the_sorted_characters():
    tokenizer = CharacterTokenizer.train(["hello", "", "wörld 😀"])
    assert tokenizer.vocab_size == len(" dehlorwö😀")
    assert tokenizer.encode(" dehlorwö😀") == list(range(10))
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, tokenizer.unk_id) == (None,) * 4


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_its_own_text_survives(text):
    tokenizer = CharacterTokenizer.train([text])
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode("") == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("abXab", r"'X' \(U\+0058 LATIN CAPITAL LETTER X\) at position 2"),
        ("ab\u00e9", r"'é' \(U\+00E9 LATIN SMALL LETTER E WITH ACUTE\) at position 2"),
        ("\n", r"'\\n' \(U\+000A\) at position 0"),  # below the vocabulary
        ("a😀", r"'😀' \(U\+1F600 GRINNING FACE\) at position 1"),  # above it
        ("\ud800", r"'\\ud800' \(U\+D800\) at position 0"),
        ("\0", r"'\\x00' \(U\+0000\) at position 0"),
    ],
)
def test_a_character_outside_is_named(text, named):
    with pytest.raises(DataError) as raised:
        CharacterTokenizer("bac").encode(text)
    message = str(raised.value)
    assert message.startswith("text outside the character vocabulary: ")
    assert "\n" not in message
    raised.match(named + " is none of the 3 characters of the training text; leave it out, or train with")


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "a character vocabulary needs at least one character"),
        ("abca", r"the character vocabulary holds 'a' \(U\+0061 LATIN SMALL LETTER A\) more than once"),
        ("a\udc00", r"the character vocabulary has the lone surrogate U\+DC00 at position 1"),
    ],
)
def test_impossible_vocabularies(characters, message):
    with pytest.raises(DataError, match=message):
        CharacterTokenizer(characters)


def test_a_megabyte_takes_less_than_a_tenth_of_a_second():
    tokenizer = CharacterTokenizer.train(["".join(map(chr, range(32, 97))), "明"])
    text = "".join(random.Random(0).choices("".join(map(chr, range(32, 97))), k=1_000_000))

    def seconds():
        start = time.perf_counter()
        tokenizer.encode(text)
        return time.perf_counter() - start

    # The least of several: what else the machine does only ever adds.
    assert min(seconds() for _ in range(8)) < 0.1
