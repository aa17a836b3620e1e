"""WordPiece and byte-level BPE, learned: the same bytes each time, what was asked for, and Chinese like the rest."""

import os
import subprocess
import sys

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.measures import measure_tokenizer
from jaxlm.text.tokenizer import load_tokenizer, train_tokenizer

from .conftest import POEMS, SONNET

DOCUMENTS = [*SONNET.splitlines(), *POEMS.splitlines()] * 2
WORDPIECE = TokenizerConfig("wordpiece", 270, character_coverage=1, special_tokens=("<extra_id_0>", "[MASK]"))
BPE = TokenizerConfig("bpe", 330, special_tokens=("[MASK]", "<extra_id_0>"))

LEARN = """
import sys
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.text.config import TokenizerConfig
documents = sys.stdin.read().split("\\n")
for config in (TokenizerConfig("wordpiece", 270, character_coverage=1), TokenizerConfig("bpe", 330)):
    print(train_tokenizer(config, documents).fingerprint())
"""


def test_the_same_on_any_number_of_threads():
    text = "\n".join(DOCUMENTS)
    outputs = {
        subprocess.run(
            [sys.executable, "-c", LEARN],
            input=text,
            env={**os.environ, "RAYON_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("config", [WORDPIECE, BPE], ids=lambda config: config.kind)
def test_the_size_and_the_special_ids_are_those_asked_for(config, tmp_path):
    tokenizer = train_tokenizer(config, DOCUMENTS)
    assert tokenizer.vocab_size == config.vocab_size
    assert tokenizer.token_id("<extra_id_0>") == config.vocab_size - 1
    assert tokenizer.mask_id == tokenizer.token_id("[MASK]") is not None
    assert tokenizer.encode("summer<extra_id_0>")[-1] == config.vocab_size - 1
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint()
    for document in DOCUMENTS:
        assert again.encode(document) == tokenizer.encode(document)
        assert tokenizer.unk_id not in tokenizer.encode(document)


def test_byte_pairs_lose_nothing():
    tokenizer = train_tokenizer(BPE, DOCUMENTS)
    for text in ("床前明月光\n  two  spaces\t", "naïve 🐟", "never seen \u0400\ufffd", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.bos_id == tokenizer.eos_id == tokenizer.token_id("<|endoftext|>") == 328 - 1


def test_word_pieces_begin_as_those_of_bert():
    tokenizer = train_tokenizer(WORDPIECE, DOCUMENTS)
    names = [tokenizer.token_name(token) for token in range(5)]
    assert names == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (
        0,
        1,
        2,
        3,
        4,
    )
    assert tokenizer.encode("SUMMER") == tokenizer.encode("summer")
    cased = train_tokenizer(TokenizerConfig("wordpiece", 270, lowercase=False, character_coverage=1), DOCUMENTS)
    assert cased.encode("Shall") != cased.encode("shall")
    poem = POEMS.split()[0]
    assert len(tokenizer.encode(poem)) == len(poem)  # a token for each character


def test_rare_characters_are_left_out():
    documents = ["aaaa bbbb " * 500, "q"]
    tokenizer = train_tokenizer(TokenizerConfig("wordpiece", 13, character_coverage=0.99), documents)
    assert tokenizer.encode("q") == [tokenizer.unk_id]
    assert tokenizer.unk_id not in tokenizer.encode("ab")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TokenizerConfig("wordpiece", 20), r"vocab_size 20 is too small; .* need \d+: .* lower character_coverage"),
        (TokenizerConfig("bpe", 200), "vocab_size 200 is too small; .* need 257: choose that or more$"),
        (TokenizerConfig("wordpiece", 50_000), r"more than this training text can fill; the largest .* is \d+: choose"),
        (TokenizerConfig("bpe", 50_000), r"more than this training text can fill; the largest .* is \d+: choose"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(config, message):
    with pytest.raises(UsageError, match=message):
        train_tokenizer(config, DOCUMENTS)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_what_is_no_text_is_refused(kind):
    with pytest.raises(DataError, match="training document 1 is int, not str"):
        train_tokenizer(TokenizerConfig(kind, 300), ["text", 5])
    with pytest.raises(DataError, match="training document 0"):
        train_tokenizer(TokenizerConfig(kind, 300), ["\ud800"])


def test_no_text_gives_no_vocabulary():
    with pytest.raises(DataError, match="the training text is empty"):
        train_tokenizer(TokenizerConfig("wordpiece", 300), ["  "])


def test_measures_count_what_they_say():
    tokenizer = train_tokenizer(WORDPIECE, DOCUMENTS)
    text = "summer \u0416 床前"
    measures = measure_tokenizer(tokenizer, [text, text])
    ids = tokenizer.encode(text)
    assert (measures.documents, measures.words, measures.characters) == (2, 8, 2 * len(text))
    assert (measures.bytes, measures.tokens) == (2 * len(text.encode()), 2 * len(ids))
    assert (measures.unknown, measures.used) == (2, len(set(ids)))
    assert measures.covered == measures.single == pytest.approx(8 / 9)
    assert measures.rates["tokens_per_word"] == pytest.approx(len(ids) / 4)
    assert measures.rates["unknown_rate"] == pytest.approx(1 / len(ids))
    assert measures.rates["bytes_per_token"] == pytest.approx(len(text.encode()) / len(ids))
    byte_pairs = measure_tokenizer(train_tokenizer(BPE, DOCUMENTS), ["\u4dff"])
    assert (byte_pairs.covered, byte_pairs.single, byte_pairs.tokens) == (1, 0, 3)


def test_exported_files_are_the_tokenizer():
    files = train_tokenizer(WORDPIECE, DOCUMENTS).export_files()
    assert set(files) == {"vocab.txt", "tokenizer_config.json"}
    assert files["vocab.txt"].decode().splitlines()[-1] == "<extra_id_0>"
