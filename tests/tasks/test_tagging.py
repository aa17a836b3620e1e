"""Words and their tags through rows and back, whatever the length of rows and the order of batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.examples.example import Example
from jaxlm.errors import DataError, UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.tagging import surroundings
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.tokenizer import load_tokenizer

from ..text.small_directories import WRITERS, train_pieces

TOKENIZER = ByteTokenizer()
TAGS = ("A", "B", "C")
TASK = make_labelled_task(
    TaskConfig("tagging", labels=TAGS), ModelConfig(architecture="encoder", task_head="token_classification")
)
words = st.text(st.characters(codec="utf-8", exclude_characters=" \n\t"), min_size=1, max_size=12)
sentences = st.lists(st.tuples(words, st.sampled_from(TAGS)), min_size=1, max_size=15)


@settings(max_examples=100)
@given(st.lists(sentences, min_size=1, max_size=4), st.integers(4, 40), st.randoms(use_true_random=False))
def test_every_word_gets_its_own_tag(found, length, random):
    examples = [
        Example("here", {"words": tuple(word for word, _ in own), "tags": tuple(tag for _, tag in own)})
        for own in found
    ]
    rows = TASK.encode(TOKENIZER, length, examples)
    assert all(len(row.columns["tokens"]) <= length for row in rows)
    decode = TASK.decoder(examples, rows)
    shuffled = list(rows)
    random.shuffle(shuffled)
    decoded = {}
    for row in shuffled:  # a batch of one row, in which the model predicts the targets
        columns = {"tags": row.columns["targets"], "words": row.columns["words"]}
        batch = {name: values[None] for name, values in columns.items()}
        decoded |= dict(decode({**batch, "example": np.array([row.example]), "part": row.values["part"][None]}))
    assert decoded == {number: list(example.fields["tags"]) for number, example in enumerate(examples)}


def test_words_stand_after_spaces_between_what_the_model_expects():
    example = Example("here", {"words": ("ab", "c"), "tags": ("A", "B")})
    (row,) = TASK.encode(TOKENIZER, 20, [example])
    assert tuple(row.columns["tokens"].tolist()) == TOKENIZER.encode_for_model("ab c").ids
    before, _ = surroundings(TOKENIZER)
    assert np.flatnonzero(row.columns["loss_weights"]).tolist() == [len(before), len(before) + 3]


def test_a_word_longer_than_a_row_is_cut_and_counted():
    example = Example("here", {"words": ("a" * 50, "b"), "tags": ("A", "B")})
    rows = TASK.encode(TOKENIZER, 12, [example])
    assert [row.columns["words"].sum() for row in rows] == [1, 1]
    assert rows[0].truncated == 50 - (12 - sum(map(len, surroundings(TOKENIZER))))
    with pytest.raises(UsageError, match=r"data\.length 2 has no room for words"):
        TASK.encode(TOKENIZER, 2, [example])


def load(folder, model):
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    return load_tokenizer(folder)


LINES = ["John lives in New York .", "(a Manx), born", "Mara sings in the hall ."] * 20


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    model = train_pieces(
        LINES, model_type="bpe", vocab_size=360, byte_fallback=True, normalization_rule_name="identity"
    )
    return load(tmp_path_factory.mktemp("pieces"), model)


def test_a_sentence_has_the_tokens_of_the_whole_text(pieces):
    """Words that are encoded one by one, after a space each, would have it twice with sentencepiece."""
    words = ("John", "lives", "in", "New", "York", ".")
    (row,) = TASK.encode(pieces, 40, [Example("here", {"words": words, "tags": tuple("ABCABC")})])
    ids = row.columns["tokens"].tolist()
    assert ids == list(pieces.encode_for_model("John lives in New York .").ids)
    first = [pieces.token_name(ids[at]) for at in np.flatnonzero(row.columns["words"])]
    assert first == ["\u2581John", "\u2581lives", "\u2581in", "\u2581New", "\u2581York", "\u2581."]
    assert row.columns["targets"][row.columns["words"] > 0].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("length", [9, 40])
def test_rows_are_pieces_of_the_whole_text(tmp_path, name, length):
    """Of every sort of tokenizer; each word's first piece is the first token that has a character of it."""
    tokenizer = load_tokenizer(WRITERS[name](tmp_path))
    words = ("Shall", "I", "compare", "thee,", "(to)", "a", "summer's", "day", "?")
    example = Example("here", {"words": words, "tags": tuple("ABCABCABC")})
    rows = TASK.encode(tokenizer, length, [example])
    before, after = surroundings(tokenizer)
    text = " ".join(words)
    inner = [
        token for row in rows for token in row.columns["tokens"][len(before) : len(row.columns["tokens"]) - len(after)]
    ]
    ids, spans = tokenizer.encode_with_offsets(text)
    if length == 40:
        assert inner == ids == tokenizer.encode(text)
        first = np.flatnonzero(rows[0].columns["words"]) - len(before)
        shown = [text[slice(*spans[at])].strip() for at in first]
        assert all(word.startswith(piece) for word, piece in zip(words, shown, strict=True))
        assert "" not in shown
    decoded = {}
    decode = TASK.decoder([example], rows)
    for row in rows:
        batch = {"tags": row.columns["targets"][None], "words": row.columns["words"][None]}
        decoded |= dict(decode({**batch, "example": np.array([0]), "part": row.values["part"][None]}))
    assert decoded == {0: list("ABCABCABC")}


def test_words_that_share_a_token_share_its_tag(tmp_path):
    """An unknown token may swallow words where the vocabulary has no space."""
    model = train_pieces(["\u6c34\u706b"] * 20, vocab_size=8, add_dummy_prefix=False)
    tokenizer = load(tmp_path, model)
    example = Example("here", {"words": ("ab", "c", "\u6c34"), "tags": ("A", "B", "C")})
    (row,) = TASK.encode(tokenizer, 20, [example])
    assert row.columns["words"].tolist()[-2:] == [2, 1]
    decode = TASK.decoder([example], [row])
    batch = {"tags": row.columns["targets"][None], "words": row.columns["words"][None]}
    assert dict(decode({**batch, "example": np.array([0]), "part": np.array([0])})) == {0: ["A", "A", "C"]}


def test_a_word_of_nothing_is_an_unknown_token(tmp_path):
    tokenizer = load_tokenizer(WRITERS["bert"](tmp_path))
    example = Example("here", {"words": ("day", "\u0301", "of"), "tags": ("A", "B", "C")})
    (row,) = TASK.encode(tokenizer, 20, [example])
    places = np.flatnonzero(row.columns["words"])
    assert row.columns["tokens"][places[1]] == tokenizer.unk_id
    assert row.columns["targets"][places].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="makes nothing of the word ''"):
        TASK.encode(TOKENIZER, 20, [Example("here", {"words": ("a", ""), "tags": ("A", "B")})])
