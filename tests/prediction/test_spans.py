"""Entities in tags are those that seqeval finds, in every scheme of tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.evaluation.metrics.tagging import entities_of
from jaxlm.prediction.prediction import spans_of

TAGS = st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIESLU" for kind in ("PER", "LOC"))])


@given(st.lists(TAGS, min_size=1, max_size=8))
def test_any_tags_have_seqevals_entities(tags):
    pytest.importorskip("seqeval")
    words = [f"w{number}" for number in range(len(tags))]
    found = spans_of(tags, words)
    assert {(span.label, span.start, span.stop - 1) for span in found} == entities_of(tags)
    assert [span.text for span in found] == [" ".join(words[span.start : span.stop]) for span in found]


@pytest.mark.parametrize("last", ["E", "L"])
def test_one_word_and_several(last):
    tags = ["S-PER" if last == "E" else "U-PER", "O", "B-LOC", f"{last}-LOC"]
    found = spans_of(tags, ["Ada", "in", "New", "York"])
    assert [(span.label, span.text) for span in found] == [("PER", "Ada"), ("LOC", "New York")]
