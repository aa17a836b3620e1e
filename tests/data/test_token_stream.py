"""Tokens on disk: what is in them, that they are verified, and that a tokenizer's mistakes do not pass."""

import itertools
import logging
import tracemalloc

import numpy as np
import pytest

from jaxlm.data.token_stream import prepare_token_stream
from jaxlm.errors import DataError

from .data_helpers import ByteTokenizer

TEXTS = ["abc", "", "é", "de"]


def prepare(texts=TEXTS, tokenizer=None, identity="corpus/train"):
    return prepare_token_stream(texts, identity, tokenizer or ByteTokenizer())


def documents_of(stream):
    return [stream.tokens[start:end].tolist() for start, end in itertools.pairwise(stream.offsets)]


@pytest.mark.parametrize(("bos", "eos"), [(None, None), (256, None), (None, 257), (256, 257)])
def test_documents_one_after_another(bos, eos):
    stream = prepare(tokenizer=ByteTokenizer(bos, eos))
    before, after = [] if bos is None else [bos], [] if eos is None else [eos]
    assert documents_of(stream) == [before + list(text.encode()) + after for text in TEXTS]
    assert stream.text_bytes == 7
    assert stream.starts_with_bos == (bos is not None)
    assert stream.tokens.dtype == np.uint16
    assert stream.offsets.dtype == np.int64


def test_one_id_for_begin_and_end_stands_once_between_documents():
    stream = prepare(tokenizer=ByteTokenizer(256, 256))
    assert documents_of(stream) == [[*text.encode(), 256] for text in TEXTS]
    assert not stream.starts_with_bos


def test_large_vocabularies_take_four_bytes():
    assert prepare(tokenizer=ByteTokenizer(vocab_size=65535)).tokens.dtype == np.uint16
    stream = prepare(tokenizer=ByteTokenizer(bos_id=70_000, vocab_size=70_001))
    assert stream.tokens.dtype == np.uint32
    assert stream.tokens[0] == 70_000


def test_tokens_are_read_back_and_not_made_again(caplog):
    caplog.set_level(logging.INFO, "jaxlm.data")
    first = prepare()
    again = prepare(texts=None)  # which would fail if it were iterated
    assert documents_of(again) == documents_of(first)
    assert ["built" in record.message for record in caplog.records] == [True, False]
    assert not again.tokens.flags.writeable


def test_another_tokenizer_or_corpus_is_another_stream():
    assert len(prepare().tokens) == 7
    assert len(prepare(tokenizer=ByteTokenizer(bos_id=256)).tokens) == 11
    assert len(prepare(texts=["x"], identity="corpus/validation").tokens) == 1


@pytest.mark.parametrize("name", ["tokens.npy", "offsets.npy"])
def test_one_flipped_bit_is_found_and_repaired(own_cache, caplog, name):
    prepare()
    (path,) = own_cache.rglob(name)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    assert documents_of(prepare()) == [list(text.encode()) for text in TEXTS]
    assert any(record.levelno == logging.WARNING and "is damaged" in record.message for record in caplog.records)


def test_an_id_outside_the_vocabulary_is_an_error():
    with pytest.raises(DataError, match="ids from 97 to 99 for document 0, outside its vocabulary of 99"):
        prepare(tokenizer=ByteTokenizer(vocab_size=99))


def test_no_tokens_at_all_is_an_error():
    with pytest.raises(DataError, match="the documents hold no tokens"):
        prepare(texts=["", ""])


def test_memory_does_not_grow_with_the_corpus():
    tracemalloc.start()
    prepare(texts=("x" * 1000 for _ in range(300)), identity="short")
    _, short = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    stream = prepare(texts=("x" * 1000 for _ in range(3000)), identity="long")
    _, long = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(stream.tokens) == 3_000_000
    assert long < short + 200_000  # the tokens alone would be 6 MB
