"""Which characters each id stands for: of every tokenizer, on whole texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.llama2c import llama2c_files
from jaxlm.text.sentence_piece import SPACE_MARK
from jaxlm.text.special_tokens import ExtendedTokenizer
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer

from .conftest import POEMS, SONNET
from .small_directories import TEXTS, WRITERS

SETTINGS: dict[str, dict] = {"xlnet": {"do_lower_case": True}, "t5": {}, "llama": {"legacy": True}}


def directories(folder):
    return {name: load_tokenizer(write(folder / name, **SETTINGS.get(name, {}))) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def every(tokenizers, tmp_path_factory):
    own = {name: one for name, one in tokenizers.items() if name != "character"}
    no_bytes = TokenizerConfig("sentencepiece", vocab_size=150, algorithm="bpe", byte_fallback=False)
    own["no bytes"] = train_tokenizer(no_bytes, [SONNET, POEMS])
    own["extended"] = ExtendedTokenizer(own["bpe"], ["[MASK]"])
    return own | directories(tmp_path_factory.mktemp("directories"))


def checked(tokenizer, text):
    """The ids and their characters, which are in the text, in its order, and cover every word of it."""
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == tokenizer.encode(text)
    assert len(spans) == len(ids)
    covered = set()
    reached = 0
    for start, end in spans:
        assert reached <= start <= end <= len(text)
        reached = start
        covered |= set(range(start, end))
    return ids, spans, covered


WORDS = "Shall I \u524d compare thee\n to  a sum\u00e9mer's <s> 1,000 \U0001f469\u200d\U0001f467 day?"
# Whose normalizers leave something out, so that not each character has an id.
LOSSY = ("bert", "mpnet", "t5", "xlnet", "xlm_roberta", "marian")


@settings(max_examples=25)
@given(st.one_of(st.text(max_size=20), st.lists(st.sampled_from(WORDS), max_size=20).map("".join)))
def test_ids_and_characters_of_any_text(every, text):
    for name, tokenizer in every.items():
        _, _, covered = checked(tokenizer, text)
        if name not in LOSSY:
            assert covered == set(range(len(text))), name


def test_characters_of_texts_that_tokenizers_change(every):
    for tokenizer in every.values():
        for text in TEXTS:
            checked(tokenizer, text)


def test_the_text_of_each_id(every, tokenizers):
    for name, tokenizer in [*every.items(), ("character", tokenizers["character"])]:
        text = "Shall I compare thee to a summer's day?"
        ids, spans = tokenizer.encode_with_offsets(text)
        lower = name in ("bert", "mpnet", "xlnet")
        for token, (start, end) in zip(ids, spans, strict=True):
            if token not in (tokenizer.unk_id, *range(3)):
                shown = tokenizer.decode([token])
                plain = text[start:end].lower() if lower else text[start:end]
                if name == "marian":
                    plain = plain.strip()
                assert shown.strip() == plain.strip(), name


def test_what_is_changed_before_it_is_encoded(tmp_path):
    """XLNet makes one quote of two, leaves accents out, and cuts a comma from a number."""
    tokenizer = load_tokenizer(WRITERS["xlnet"](tmp_path, do_lower_case=True))
    text = "  ``caf\u00e9''  \ufb01ne 3,14"
    _, spans, covered = checked(tokenizer, text)
    assert covered >= {at for at, character in enumerate(text) if not character.isspace()}
    assert (2, 4) in spans
    assert all(start <= 11 or end - start for start, end in spans)
    at = text.index(",")
    assert (at, at + 1) in spans


def test_spaces_belong_to_the_word_after_them(every):
    """Also where the settings trim them from what is shown, as RoBERTa's do."""
    for name in ("gpt2", "roberta", "llama", "t5"):
        _, spans = every[name].encode_with_offsets("thee to")
        assert any(start <= 4 < end for start, end in spans), name


def test_a_token_of_a_character_has_all_of_it(tmp_path, every):
    character = "\U00013000"
    for name in ("byte", "bpe", "llama", "gpt2"):
        ids, spans = every[name].encode_with_offsets(f"a{character}b")
        assert spans.count((1, 2)) == 4, name
    files = llama2c(tmp_path)
    ids, spans = files.encode_with_offsets(f"a {character}")
    assert spans[-4:] == [(2, 3)] * 4
    assert ids == files.encode(f"a {character}")


def llama2c(folder):
    import struct

    tokens = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{value:02X}>" for value in range(256)), " ", "a", " a"]
    content = struct.pack("<i", 8)
    for token in tokens:
        content += struct.pack("<fi", 0.0, len(token.encode())) + token.encode()
    for name, one in llama2c_files(content).items():
        (folder / name).write_bytes(one)
    return load_tokenizer(folder)


def test_what_cannot_be_encoded_has_no_characters(every, tokenizers):
    for tokenizer in every.values():
        with pytest.raises(DataError, match="surrogate"):
            tokenizer.encode_with_offsets("a\ud800")
    with pytest.raises(DataError, match="outside the character vocabulary"):
        tokenizers["character"].encode_with_offsets(f"a{SPACE_MARK}")
