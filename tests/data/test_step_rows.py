"""Mixtures, curricula and buckets: any step by itself, nothing lost, the same on any number of processes."""

import numpy as np
import pytest

from jaxlm.data.buckets import bucket_streams
from jaxlm.data.config import CurriculumStage, DataConfig, MixtureSource
from jaxlm.data.mixed_rows import MixedRows, mixture_weights
from jaxlm.data.rows import training_rows
from jaxlm.data.step_rows import Buckets, Constant, Curriculum, StepRows, step_batch, step_origins
from jaxlm.errors import UsageError
from jaxlm.tasks.causal_lm import CausalFeed
from jaxlm.tasks.feeding import step_rows

from .data_helpers import ByteTokenizer, assert_same_batch, distinct_documents, make_stream, pairs_of

SIZES = [5, 40, 3, 17, 60, 2, 9, 30] * 12
STREAM = make_stream(distinct_documents(SIZES))
OTHER = make_stream([[token + 9000 for token in document] for document in distinct_documents([11, 4, 25] * 9)])
MIXTURE = (MixtureSource(name="one", weight=3.0), MixtureSource(name="two", weight=1.0))


def rows_of(data: DataConfig, seed: int = 3) -> StepRows:
    streams = [STREAM, OTHER] if data.mixture else [STREAM]
    return step_rows(CausalFeed(data, ByteTokenizer()), streams, seed)


KINDS = {
    "constant": DataConfig(length=16),
    "mixture": DataConfig(length=16, batching="packed", packing_window=10, mixture=MIXTURE),
    "curriculum": DataConfig(length=16, curriculum=(CurriculumStage(5, 4), CurriculumStage(7, 8))),
    "buckets": DataConfig(length=64, batching="bucketed", bucket_lengths=(8, 32)),
    "curriculum of a mixture": DataConfig(length=16, mixture=MIXTURE, curriculum=(CurriculumStage(4, 8),)),
}


@pytest.fixture(params=KINDS)
def data(request) -> DataConfig:
    return KINDS[request.param]


def test_a_batch_is_a_function_of_the_seed_and_the_step(data):
    rows = rows_of(data)
    for step in (0, 6, 13, 700):
        batch = step_batch(rows, step, 8)
        assert_same_batch(batch, step_batch(rows_of(data), step, 8))
        for processes in (2, 4):
            parts = [step_batch(rows, step, 8, process_index=i, process_count=processes) for i in range(processes)]
            assert_same_batch(batch, {name: np.concatenate([part[name] for part in parts]) for name in batch})
    other = [step_batch(rows_of(data, seed=4), step, 8)["tokens"] for step in range(3)]
    assert any(not np.array_equal(step_batch(rows, step, 8)["tokens"], other[step]) for step in range(3))


def test_steps_are_counted_as_they_come(data):
    rows = rows_of(data)
    for stop in (0, 5, 9, 40):
        located = [rows.locate(step) for step in range(stop)]
        assert rows.counts(stop) == [sum(which == part for which, _ in located) for part in range(len(rows.parts))]
        for part in range(len(rows.parts)):
            assert [turn for which, turn in located if which == part] == list(range(rows.counts(stop)[part]))


def test_a_curriculum_has_its_lengths_in_order():
    rows = rows_of(KINDS["curriculum"])
    lengths = [step_batch(rows, step, 2)["tokens"].shape[1] for step in range(14)]
    assert lengths == [4] * 5 + [8] * 7 + [16] * 2


def test_a_mixture_reads_each_corpus_in_epochs_of_its_own():
    rows = rows_of(KINDS["mixture"]).parts[0]
    assert isinstance(rows, MixedRows)
    batch = rows.batch(np.arange(10_000))
    assert np.bincount(batch["source"]).tolist() == [7500, 2500]
    assert ((batch["tokens"] >= 9000).any(1) == (batch["source"] == 1)).all()
    for number, part in enumerate(rows.parts):
        own = {name: array[batch["source"] == number] for name, array in batch.items() if name != "source"}
        assert_same_batch(own, part.batch(np.arange(len(own["tokens"]))))


def test_weights_follow_the_size_where_none_are_given():
    parts = [training_rows(DataConfig(length=16), stream, 0) for stream in (STREAM, OTHER)]
    assert mixture_weights(parts, [None, None], [1.0, 2.0]) == [len(parts[0]), 2 * len(parts[1])]
    assert mixture_weights(parts, [0.5, 0.25], [1.0, 2.0]) == [0.5, 0.25]
    rows = MixedRows(parts, mixture_weights(parts, [None, None], [1.0, 1.0]), 0)
    assert rows.shares == pytest.approx([len(part) / sum(map(len, parts)) for part in parts], abs=1e-4)
    assert sum(map(len, parts)) <= len(rows) <= sum(map(len, parts)) + 2


def test_buckets_hold_every_document_once_and_cut_none_that_fits():
    lengths = (8, 32, 64)
    buckets = bucket_streams(STREAM, lengths)
    assert sorted(np.concatenate([stream.chosen for _, stream in buckets]).tolist()) == list(range(len(SIZES)))
    for (length, stream), shorter in zip(buckets, (0, 8, 32), strict=True):
        sizes = np.array(SIZES)[stream.chosen]
        assert (sizes <= length - 2).all() or length == lengths[-1]
        assert (sizes > shorter - 2).all()
    rows = rows_of(KINDS["buckets"])
    assert [part.length for part in rows.parts] == [8, 32, 64]
    pairs = sorted(pair for part in rows.parts for pair in pairs_of(part.batch(np.arange(len(part)))))
    tokens = STREAM.tokens.tolist()
    inside = [
        (tokens[place], tokens[place + 1])
        for start, end in zip(STREAM.offsets[:-1].tolist(), STREAM.offsets[1:].tolist(), strict=True)
        for place in range(start, end - 1)
    ]
    assert pairs == sorted(inside)


def test_buckets_without_documents_are_left_out():
    assert [length for length, _ in bucket_streams(make_stream(distinct_documents([40, 50])), (8, 16, 64))] == [64]


def test_short_rows_save_padding():
    def columns(rows: StepRows) -> float:
        return sum(len(part) * part.length for part in rows.parts)

    bucketed = rows_of(KINDS["buckets"])
    assert isinstance(bucketed, Buckets)
    assert isinstance(rows_of(KINDS["curriculum"]), Curriculum)
    single = rows_of(DataConfig(length=64, batching="packed"))
    assert isinstance(single, Constant)
    assert columns(bucketed) < 1.2 * columns(single)


def test_rows_know_where_they_are_from(data):
    rows = rows_of(data)
    streams = [STREAM, OTHER]
    for step in (0, 3, 11, 500):
        batch = step_batch(rows, step, 6)
        for row, origins in enumerate(step_origins(rows, step, 6)):
            expected = sorted(
                pair
                for origin in origins
                for pair in zip(
                    streams[origin.source].tokens[origin.start : origin.stop - 1].tolist(),
                    streams[origin.source].tokens[origin.start + 1 : origin.stop].tolist(),
                    strict=True,
                )
            )
            assert pairs_of({name: array[row : row + 1] for name, array in batch.items()}) == expected


def test_epochs_are_rows_over_the_rows_of_an_epoch(data):
    rows = rows_of(data)
    accounts = rows.accounts()
    assert len(accounts) == max(len(data.mixture), 1)
    assert accounts[0].documents == len(SIZES)
    assert accounts[0].tokens == sum(SIZES)
    for stop in (0, 3, 40, 2000):
        of_source = [0.0] * len(accounts)
        for which, steps in enumerate(rows.counts(stop)):
            part = rows.parts[which]
            for source, own in enumerate(part.accounts()):
                share = part.shares[source] if isinstance(part, MixedRows) else 1.0
                epochs = 8 * steps * share / own.rows
                # Of buckets, an epoch is one of each.
                of_source[source] += epochs * (own.rows / accounts[0].rows if isinstance(rows, Buckets) else 1)
        sizes = rows.epoch_rows(stop)
        assert all(size > 0 for size in sizes)
        for source, size in enumerate(sizes):
            share = rows.parts[-1].shares[source] if isinstance(rows.parts[-1], MixedRows) else 1.0
            assert 8 * stop * share / size == pytest.approx(of_source[source])


def test_the_account_of_buckets_is_that_of_all_documents():
    (account,) = rows_of(KINDS["buckets"]).accounts()
    (single,) = rows_of(DataConfig(length=64, batching="packed")).accounts()
    assert (account.documents, account.tokens, account.cut) == (single.documents, single.tokens, single.cut)
    assert (account.skipped, account.left_out) == (single.skipped, single.left_out)
    parts = rows_of(KINDS["buckets"]).parts
    used = sum((part.batch(np.arange(len(part)))["segment_ids"] > 0).sum() for part in parts)
    assert account.fill_rate == pytest.approx(used / sum(len(part) * part.length for part in parts))


def test_rows_of_different_shapes_do_not_mix():
    parts = [training_rows(DataConfig(length=length), STREAM, 0) for length in (8, 16)]
    with pytest.raises(UsageError, match=r"differ in 'tokens': pack them by data\.batching 'blocks'"):
        MixedRows(parts, [1.0, 1.0], 0)
