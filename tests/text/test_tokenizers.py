"""What holds for every tokenizer."""

import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer

# What tokenizers are known to lose or to take for something else.
HARD_TEXTS = [
    "",
    " ",
    "\n",
    "  two leading, two  inside, two trailing  ",
    "tab\tand\r\nCRLF, \n\n\n three newlines, then space \n ",
    "caf\u00e9 cafe\u0301 \ufb01 \uff21 \u212b",
    "👩‍👩‍👧 🇨🇳 🤷🏽‍♀️",
    " 床 前 明 月 光 \n 床前  明月光 ",
    "<s></s><pad><unk><0x0A><0xE2> [CLS] <|endoftext|>",
    "mark of a space \u2581, \u2581\u2581 twice, reserved \u2585, unknown \u2047, replacement \ufffd",
    "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "\ufeffBOM \u200b\u200d\u2028\u2029\u00a0\u3000 \uffff \U0010ffff",
]

# Plain characters drawn next to the troublesome ones, which random text alone would hardly ever hold.
UNICODE = st.text(
    st.one_of(
        st.sampled_from(" \n\t\r\0ae\u0301\u00e9\u2581\u2585\u2047\ufffd\ufeff\u200d明月😀<s>/0x"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
)


def test_training_text_survives(tokenizer, poems, tokenizers, sonnet):
    for text in (sonnet, poems) if tokenizer is not tokenizers["chinese"] else (poems,):
        ids = tokenizer.encode(text)
        assert type(ids) is list
        assert all(type(token) is int and 0 <= token < tokenizer.vocab_size for token in ids)
        assert tokenizer.decode(ids) == text


def test_hard_texts_survive(lossless_tokenizer):
    for text in HARD_TEXTS:
        ids = lossless_tokenizer.encode(text)
        assert lossless_tokenizer.decode(ids) == text
        specials = {getattr(lossless_tokenizer, f"{name}_id") for name in ("bos", "eos", "pad", "unk")}
        assert not specials & set(ids)


@given(text=UNICODE)
@settings(max_examples=500)
def test_any_text_survives(tokenizers, text):
    for name, tokenizer in tokenizers.items():
        if name != "character":
            assert tokenizer.decode(tokenizer.encode(text)) == text, name


def test_decode_takes_any_iterable(tokenizer, poems):
    ids = tokenizer.encode(poems)
    assert tokenizer.decode(np.array(ids, np.int32)) == tokenizer.decode(iter(ids)) == tokenizer.decode(tuple(ids))
    assert tokenizer.decode([]) == tokenizer.decode(np.zeros(0, np.int32)) == ""


def test_special_ids_add_no_text(lossless_tokenizer, poems):
    specials = [lossless_tokenizer.bos_id, lossless_tokenizer.eos_id, lossless_tokenizer.pad_id]
    assert len(set(specials)) == 3
    assert lossless_tokenizer.decode([*specials, *lossless_tokenizer.encode(poems), *specials]) == poems


@pytest.mark.parametrize("beyond", [0, 7, 2**40])
def test_decode_refuses_ids_outside(tokenizer, beyond):
    size = tokenizer.vocab_size
    message = rf"token id {size + beyond} at position 1 is outside the vocabulary of {size} ids \(0 to {size - 1}\)"
    with pytest.raises(DataError, match=message):
        tokenizer.decode([0, size + beyond, 0])
    with pytest.raises(DataError, match="token id -1 at position 0 is outside"):
        tokenizer.decode([-1])
    with pytest.raises(DataError, match="token id -1 is outside the vocabulary"):
        tokenizer.token_bytes(-1)


def test_malformed_bytes_are_shown_as_such(lossless_tokenizer):
    ids = lossless_tokenizer.encode("\u0634")
    assert len(ids) == 2
    assert lossless_tokenizer.decode(ids[:1]) == "\ufffd"


def test_lone_surrogates_are_refused(lossless_tokenizer):
    with pytest.raises(DataError, match=r"text has the lone surrogate U\+D800 at position 2, which is no character"):
        lossless_tokenizer.encode("ab\ud800")


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path, poems):
    tokenizer.save(tmp_path / "deep" / "tokenizer")
    loaded = load_tokenizer(tmp_path / "deep" / "tokenizer")
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert loaded.vocab_size == tokenizer.vocab_size
    assert loaded.encode(poems) == tokenizer.encode(poems)
    assert [loaded.token_bytes(i) for i in range(loaded.vocab_size)] == [
        tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)
    ]
    # Saving again over it changes nothing and leaves nothing behind.
    before = {path.name: path.read_bytes() for path in (tmp_path / "deep" / "tokenizer").iterdir()}
    loaded.save(str(tmp_path / "deep" / "tokenizer"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "deep" / "tokenizer").iterdir()} == before
    assert hashlib.sha256(before["jaxlm_tokenizer.json"]).hexdigest() == tokenizer.fingerprint()
    assert "tokenizer.json" not in before


def test_pickled_is_the_same(tokenizer, poems):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint() == tokenizer.fingerprint()
    assert copy.encode(poems) == tokenizer.encode(poems)


def test_fingerprints_differ(tokenizers):
    assert len({tokenizer.fingerprint() for tokenizer in tokenizers.values()}) == len(tokenizers)


def test_training_is_a_function_of_the_documents(sonnet, poems, tmp_path):
    code = """
import sys
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
documents = sys.stdin.buffer.read().decode().split("|")
for config in (
    TokenizerConfig(),
    TokenizerConfig("sentencepiece", 400),
    TokenizerConfig("sentencepiece", 400, "bpe"),
):
    for _ in range(2):
        tokenizer = train_tokenizer(config, documents)
        print(tokenizer.fingerprint())
"""
    outputs = []
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            input="|".join([sonnet, poems]).encode(),
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            check=True,
        )
        outputs.append(run.stdout.split())
    assert outputs[0] == outputs[1]
    assert outputs[0][::2] == outputs[0][1::2]
    assert len(set(outputs[0])) == 3


TRAINED = [TokenizerConfig(), TokenizerConfig("sentencepiece", 400), TokenizerConfig("sentencepiece", 400, "bpe")]


@pytest.mark.parametrize("config", TRAINED)
def test_training_refuses(config):
    for nothing in ([], [""], iter(["", ""])):
        with pytest.raises(DataError, match="the training text is empty"):
            train_tokenizer(config, nothing)
    with pytest.raises(UsageError, match="the documents to train on are a single string; put it in a list"):
        train_tokenizer(config, "text")
    with pytest.raises(DataError, match="training document 1 is bytes, not str; decode it as UTF-8"):
        train_tokenizer(config, ["text", b"bytes"])
    with pytest.raises(DataError, match=r"training document 0 has the lone surrogate U\+DFFF at position 1"):
        train_tokenizer(config, ["a\udfff"])


@pytest.mark.parametrize("config", TRAINED)
def test_training_lets_an_error_in_reading_through(config):
    def documents():
        yield "text"
        raise KeyError("broken source")

    with pytest.raises(KeyError, match="broken source"):
        train_tokenizer(config, documents())


def test_training_validates_the_configuration():
    with pytest.raises(UsageError, match="unknown tokenizer kind 'char'"):
        train_tokenizer(TokenizerConfig(kind="char"), ["text"])
