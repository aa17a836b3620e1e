"""Where rows come from and what they leave out, compared with the tokens themselves and with a naive count."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.account import Account, cut_and_missing
from jaxlm.data.block_rows import BlockRows
from jaxlm.data.evaluation_rows import EvaluationRows
from jaxlm.data.origins import Origin, Part, document_parts
from jaxlm.data.packed_rows import PackedRows
from jaxlm.data.rows import batch_at, origins_at
from jaxlm.data.sentences import document_offsets

from .data_helpers import distinct_documents, make_stream

sizes = st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(lambda found: sum(found) > 12 and max(found) > 1)


def rows_of(kind, stream, length=8):
    return BlockRows(stream, length, 3) if kind == "blocks" else PackedRows(stream, length, 3, 4)


@pytest.mark.parametrize("kind", ["blocks", "packed"])
@given(sizes=sizes, step=st.integers(0, 50))
def test_the_origins_of_a_row_are_its_inputs_and_targets_in_order(kind, sizes, step):
    stream = make_stream(distinct_documents(sizes))
    rows = rows_of(kind, stream)
    batch = batch_at(rows, step, 5)
    for row, origins in enumerate(origins_at(rows, step, 5)):
        inputs = [stream.tokens[origin.start : origin.stop - 1] for origin in origins]
        targets = [stream.tokens[origin.start + 1 : origin.stop] for origin in origins]
        used = batch["segment_ids"][row] > 0
        np.testing.assert_array_equal(np.concatenate(inputs), batch["tokens"][row][used])
        np.testing.assert_array_equal(np.concatenate(targets), batch["targets"][row][used])
        assert {origin.source for origin in origins} == {0}


@given(sizes=sizes, ends=st.tuples(st.integers(0, 12), st.integers(1, 60)))
def test_parts_of_documents_are_the_tokens_of_an_origin(sizes, ends):
    documents = distinct_documents(sizes)
    stream = make_stream(documents)
    start, stop = ends[0], min(ends[0] + ends[1], len(stream.tokens))
    parts = document_parts(Origin(start, stop), stream.offsets)
    found = [token for part in parts for token in documents[part.document][part.start : part.stop]]
    assert found == list(range(start, stop))
    assert all(part.size == len(documents[part.document]) > 0 for part in parts)
    assert [part.whole for part in parts] == [len(documents[p.document]) == p.stop - p.start for p in parts]


def test_a_part_that_is_all_of_its_document_is_whole():
    assert Part(0, 0, 5, 5).whole
    assert not Part(0, 1, 5, 5).whole


@given(sizes=sizes, start=st.lists(st.integers(0, 300), min_size=1, max_size=12), length=st.integers(1, 40))
def test_documents_that_are_cut_or_missing_are_counted_as_one_by_one(sizes, start, length):
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    start = np.array(start)
    cut = missing = 0
    for first, end in pairwise(offsets):
        whole = any(s <= first and end <= s + length for s in start)
        touched = any(s < end and first < s + length for s in start)
        cut += first < end and touched and not whole
        missing += first < end and not touched
    assert cut_and_missing(offsets[:-1], offsets[1:], start, start + length) == (cut, missing)


@given(sizes=sizes)
def test_what_an_epoch_of_blocks_leaves_out_is_what_its_rows_do_not_hold(sizes):
    documents = distinct_documents(sizes)
    stream = make_stream(documents)
    rows = rows_of("blocks", stream)
    (account,) = rows.accounts()
    assert (account.documents, account.tokens, account.rows) == (len(sizes), sum(sizes), len(rows))
    held = [set(range(o.start, o.stop)) for (o,) in rows.origins(np.arange(len(rows)))]
    seen = set().union(*held)
    assert sum(account.left_out.values()) == sum(sizes) - len(seen)
    skipped = [document for document in documents if not seen & set(document)]
    assert sum(account.skipped.values()) == len(skipped)
    whole = [document for document in documents if document and any(set(document) <= tokens for tokens in held)]
    assert account.cut == len(sizes) - len(skipped) - len(whole)


def test_accounts_name_what_packing_cuts_and_skips():
    stream = make_stream(distinct_documents([5, 1, 30, 0, 9, 1]))
    (account,) = rows_of("packed", stream).accounts()
    assert account.to_json() == {
        "documents": 6,
        "tokens": 46,
        "rows": 6,
        "cut": 1,
        "skipped": {"shorter than two tokens": 3},
        "left_out": {"documents shorter than two tokens": 2},
        "fill_rate": pytest.approx(41 / 48),
        "source": "",
    }


@pytest.mark.parametrize(("across", "cut", "skipped"), [(True, 2, {"empty": 1}), (False, 1, None)])
def test_accounts_of_an_evaluation(across, cut, skipped):
    stream = make_stream(distinct_documents([5, 1, 30, 0, 9, 2]))
    account = EvaluationRows(stream, 8, across_documents=across).account()
    assert account.cut == cut
    assert account.to_json()["skipped"] == (skipped or {"shorter than two tokens": 2})
    assert 0.8 < account.fill_rate <= 1


def test_documents_of_a_sentence_stream_end_where_an_empty_entry_stands():
    stream = make_stream([[1, 2], [3], [], [], [4, 5, 6], []])
    assert document_offsets(stream).tolist() == [0, 3, 3, 6]
    assert document_parts(Origin(1, 5), document_offsets(stream)) == [Part(0, 1, 3, 3), Part(2, 0, 2, 3)]


def test_an_account_says_in_words_what_is_lost():
    account = Account(1200, 90_000, 1500, 7, {"empty": 3, "short": 0}, {"ends of the stream": 12}, 0.9876)
    assert account.summary() == (
        "1,500 rows (fill 98.76 %), 7 of 1,200 documents cut, 3 documents skipped: empty, 12 tokens left out: ends of "
        "the stream"
    )
    assert Account(1, 2, 1, 0, {}, {}, None).summary() == "1 rows, 0 of 1 documents cut"
