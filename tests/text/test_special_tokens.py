import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.special_tokens import ExtendedTokenizer
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer
from jaxlm.text.words import WordStarts, special_ids

TEXT = "the old sailor saw boats, and the young ones didn't\n床前明月光 abc"
NAMES = ("[CLS]", "[SEP]", "[MASK]", "<extra_id_0>")


@pytest.fixture(scope="module", params=["character", "byte", "sentencepiece"])
def tokenizer(request):
    size = {"vocab_size": 292} if request.param == "sentencepiece" else {}
    return train_tokenizer(TokenizerConfig(request.param, **size, special_tokens=NAMES), [TEXT])


def test_special_ids_come_last_and_text_is_encoded_as_without_them(tokenizer):
    assert tokenizer.vocab_size == tokenizer.inner.vocab_size + 4
    assert tokenizer.encode("the boats") == tokenizer.inner.encode("the boats")
    first = tokenizer.inner.vocab_size
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (first, first + 1, first + 2)
    assert tokenizer.token_id("<extra_id_0>") == first + 3
    assert tokenizer.token_name(first + 3) == "<extra_id_0>"
    assert tokenizer.token_id("boats") is tokenizer.token_name(0) is None
    assert tokenizer.decode([first, *tokenizer.encode(TEXT), first + 2]) == TEXT
    assert set(np.flatnonzero(special_ids(tokenizer))) >= {first, first + 1, first + 2, first + 3}
    assert not special_ids(tokenizer)[tokenizer.encode(TEXT)].any()


def test_the_size_of_sentencepiece_counts_them():
    config = TokenizerConfig("sentencepiece", vocab_size=292, special_tokens=NAMES)
    assert train_tokenizer(config, [TEXT]).vocab_size == 292


def test_they_are_saved_and_pickled(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for again in (load_tokenizer(tmp_path), pickle.loads(pickle.dumps(tokenizer))):
        assert again.fingerprint() == tokenizer.fingerprint() != tokenizer.inner.fingerprint()
        assert again.special_tokens == NAMES
        assert again.encode(TEXT) == tokenizer.encode(TEXT)


@pytest.mark.parametrize(
    ("find", "put", "message"),
    [
        ('"[SEP]"', '"[CLS]"', "each name must be there once"),
        ('"[SEP]"', "3", "something that is no text"),
        ('"kind": "byte"', '"kind": "extended"', "inner tokenizer kind 'extended' is none of byte, character"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, find, put, message):
    ExtendedTokenizer(ByteTokenizer(), NAMES).save(tmp_path)
    file = tmp_path / "jaxlm_tokenizer.json"
    file.write_text(file.read_text().replace(find, put, 1))
    with pytest.raises(DataError, match=message) as failure:
        load_tokenizer(tmp_path)
    assert str(file) in str(failure.value)


def test_a_text_for_the_model_has_its_masks_and_what_stands_around(tokenizer):
    cls, sep, mask = tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id
    old, boats = tokenizer.encode("old "), tokenizer.encode(" boats")
    assert tokenizer.encode_for_model("old [MASK] boats").ids == (cls, *old, mask, *boats, sep)
    pair = tokenizer.encode_for_model("old ", " boats", max_length=len(old) + len(boats) + 2)
    assert pair.truncated == 1
    assert pair.ids[0] == cls
    assert pair.token_type_ids[-1] == 1
    # As text of a corpus it is plain.
    assert mask not in ExtendedTokenizer(ByteTokenizer(), NAMES).encode("[MASK]")


def test_the_exported_tokenizer_gives_the_same_ids(tokenizer, tmp_path):
    for name, content in tokenizer.export_files().items():
        (tmp_path / name).write_bytes(content)
    exported = load_tokenizer(tmp_path)
    assert exported.mask_id == tokenizer.mask_id
    assert exported.token_id("<extra_id_0>") == tokenizer.token_id("<extra_id_0>")
    for text in ("the [MASK] boats", "old sailor"):
        assert exported.encode_for_model(text).ids == tokenizer.encode_for_model(text).ids


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("[CLS]", "[CLS]"), r"has '\[CLS\]' twice"),
        (("",), "has '' at 0; each must be a name"),
        (tuple(map(str, range(10_001))), "are 10001; at most 10000"),
    ],
)
def test_impossible_names(names, message):
    with pytest.raises(UsageError, match=message):
        TokenizerConfig(special_tokens=names).validate()


def test_a_vocabulary_of_special_tokens_alone_is_refused():
    with pytest.raises(UsageError, match="vocab_size 4 is no more than its 4 special tokens"):
        TokenizerConfig("sentencepiece", vocab_size=4, special_tokens=NAMES).validate()


def test_words_of_characters():
    tokenizer = train_tokenizer(TokenizerConfig(special_tokens=NAMES), [TEXT])
    text = "saw boats, didn't\n明月a"
    starts = WordStarts(tokenizer)(np.array([*tokenizer.encode(text), tokenizer.mask_id]))
    words = "".join(f"|{character}" if start else character for character, start in zip(text, starts[:-1], strict=True))
    assert words == "|saw| |boats|,| |didn't|\n|明|月|a"
    assert starts[-1]


def test_words_of_pieces_and_bytes():
    text = "the old sailor saw 床 boats, and 明"
    for kind, size in (("sentencepiece", {"vocab_size": 288}), ("byte", {})):
        tokenizer = train_tokenizer(TokenizerConfig(kind, **size), [TEXT])
        ids = np.array(tokenizer.encode(text))
        bounds = [*np.flatnonzero(WordStarts(tokenizer)(ids)), len(ids)]
        words = [tokenizer.decode(ids[a:b]).strip() for a, b in itertools.pairwise(bounds)]
        assert [word for word in words if word] == ["the", "old", "sailor", "saw", "床", "boats", ",", "and", "明"]


@given(st.lists(st.sampled_from(["un", "##aff", "##able", "dog", ",", "[SEP]"]), min_size=1))
def test_words_of_word_pieces(names):
    tokenizer = word_pieces()
    starts = WordStarts(tokenizer)(np.array([tokenizer.token_id(name) for name in names]))
    assert starts[1:].tolist() == [not name.startswith("##") for name in names[1:]]


def word_pieces():
    from jaxlm.text.hugging_face_directory import load_hugging_face_tokenizer

    if not hasattr(word_pieces, "made"):
        import tempfile
        from pathlib import Path

        folder = Path(tempfile.mkdtemp())
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "dog", ","]
        (folder / "vocab.txt").write_text("\n".join(names) + "\n")
        (folder / "config.json").write_text('{"model_type": "bert"}')
        word_pieces.made = load_hugging_face_tokenizer(folder)
    return word_pieces.made
