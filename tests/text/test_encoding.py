"""What is put around a text, and what is cut from it."""

import pytest

from jaxlm.errors import UsageError
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.character import CharacterTokenizer
from jaxlm.text.encoding import Encoding, kept_lengths

BYTES = ByteTokenizer()
BOS, EOS = BYTES.bos_id, BYTES.eos_id


def test_our_own_put_begin_and_end_around_texts():
    encoding = BYTES.encode_for_model("ab")
    assert encoding == Encoding((BOS, 97, 98, EOS), (0, 0, 0, 0))
    pair = BYTES.encode_for_model("ab", "c")
    assert pair.ids == (BOS, 97, 98, EOS, 99, EOS)
    assert pair.token_type_ids == (0, 0, 0, 0, 1, 1)
    characters = CharacterTokenizer.train(["abc"])
    assert characters.encode_for_model("ab", "c") == Encoding((0, 1, 2), (0, 0, 1))
    assert characters.encode_prompt("ab") == [0, 1]
    assert BYTES.encode_prompt("a") == [BOS, 97]


def test_what_is_cut_is_counted():
    whole = BYTES.encode_for_model("abcdef", max_length=8)
    assert (whole.ids[1:-1], whole.truncated) == (tuple(b"abcdef"), 0)
    cut = BYTES.encode_for_model("abcdef", max_length=5)
    assert cut.ids == (BOS, 97, 98, 99, EOS)
    assert cut.truncated == 3
    pair = BYTES.encode_for_model("abcdef", "gh", max_length=8)
    assert pair.ids == (BOS, 97, 98, 99, EOS, 103, 104, EOS)
    assert pair.truncated == 3
    assert whole.whole() is whole
    with pytest.raises(UsageError, match=r"^question 7 is too long: 3 of its tokens do not fit into 5; shorten it"):
        cut.whole("question 7")


def test_no_room_for_special_tokens():
    assert BYTES.encode_for_model("abc", max_length=2).ids == (BOS, EOS)
    for length in (1, 0, -1):
        with pytest.raises(UsageError, match=f"max_length {length} has no room .* special tokens alone are 2"):
            BYTES.encode_for_model("abc", max_length=length)
    with pytest.raises(UsageError, match="max_length 0 has no room"):
        CharacterTokenizer.train(["abc"]).encode_for_model("a", max_length=0)


def test_pairs_are_cut_as_the_rust_library_does():
    from tokenizers import Tokenizer, models, pre_tokenizers

    reference = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    reference.pre_tokenizer = pre_tokenizers.Whitespace()
    for room in range(1, 10):
        reference.enable_truncation(room)
        for first in range(11):
            for second in range(11):
                ids = reference.encode("a " * first, "b " * second).ids
                assert (ids.count(0), ids.count(1)) == kept_lengths(first, second, room + 3, 3), (room, first, second)
