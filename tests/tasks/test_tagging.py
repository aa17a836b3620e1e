"""Words and their tags through rows and back, whatever the length of rows and the order of batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.tagging import surroundings
from jaxlm.text.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()
TAGS = ("A", "B", "C")
TASK = make_labelled_task(
    TaskConfig("tagging", labels=TAGS), ModelConfig(architecture="encoder", task_head="token_classification")
)
words = st.text(st.characters(codec="utf-8", exclude_characters=" \n\t"), min_size=1, max_size=12)
sentences = st.lists(st.tuples(words, st.sampled_from(TAGS)), min_size=1, max_size=15)


@settings(max_examples=100, deadline=None)
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
    assert np.flatnonzero(row.columns["loss_weights"]).tolist() == [len(before), len(before) + 2]


def test_a_word_longer_than_a_row_is_cut_and_counted():
    example = Example("here", {"words": ("a" * 50, "b"), "tags": ("A", "B")})
    rows = TASK.encode(TOKENIZER, 12, [example])
    assert [row.columns["words"].sum() for row in rows] == [1, 1]
    assert rows[0].truncated == 50 - (12 - sum(map(len, surroundings(TOKENIZER))))
    with pytest.raises(UsageError, match=r"data\.length 2 has no room for words"):
        TASK.encode(TOKENIZER, 2, [example])
