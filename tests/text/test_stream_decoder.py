import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError
from jaxlm.text.stream import StreamDecoder


@given(data=st.data())
@settings(max_examples=200)
def test_pieces_joined_are_the_whole(tokenizers, data):
    """Holds for any ids, so also for what an untrained model makes up: special ids, malformed bytes."""
    for name, tokenizer in tokenizers.items():
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20), label=name)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=5)))
        decoder = StreamDecoder(tokenizer)
        one_by_one = [decoder.feed([token]) for token in ids]
        assert "".join([*one_by_one, decoder.finish()]) == tokenizer.decode(ids)
        # The same decoder again, now fed in lots.
        lots = [decoder.feed(ids[a:b]) for a, b in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
        assert "".join([*lots, decoder.finish()]) == tokenizer.decode(ids)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=100)
def test_text_never_shows_a_broken_character(tokenizers, text):
    text = text.replace("\ufffd", "")
    for name in ("byte", "unigram", "bpe", "chinese"):
        decoder = StreamDecoder(tokenizers[name])
        pieces = [decoder.feed([token]) for token in tokenizers[name].encode(text)]
        assert "\ufffd" not in "".join(pieces)
        assert "".join(pieces) == text
        assert decoder.finish() == ""


def test_a_character_comes_with_its_last_byte(tokenizers):
    decoder = StreamDecoder(tokenizers["byte"])
    assert [decoder.feed([token]) for token in "a月😀 ".encode()] == ["a", "", "", "月", "", "", "", "😀", " "]


def test_spaces_come_at_once(tokenizers):
    for name in ("unigram", "bpe", "chinese"):
        decoder = StreamDecoder(tokenizers[name])
        text = "  summer  "
        assert "".join(decoder.feed([token]) for token in tokenizers[name].encode(text)) == text


def test_finish_shows_what_was_cut_off_once(tokenizers):
    decoder = StreamDecoder(tokenizers["byte"])
    assert decoder.feed("月".encode()[:2]) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""
    assert decoder.feed(b"ok") == "ok"


def test_an_id_outside_leaves_the_stream_as_it_was(tokenizers):
    decoder = StreamDecoder(tokenizers["byte"])
    decoder.feed([0xE6])
    with pytest.raises(DataError, match="token id 259 is outside the vocabulary of 259 ids"):
        decoder.feed([0x41, 259])
    assert decoder.feed([0x9C, 0x88]) == "月"
