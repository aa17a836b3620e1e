"""For every objective: the tokens of a row are those of its origins, as far as they are text."""

from collections import Counter

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.rows import batch_at, origins_at
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..data.data_helpers import make_stream

NAMES = (
    *("[CLS]", "[SEP]", "[MASK]", "[R]", "[S]", "[X]", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    *(f"<extra_id_{number}>" for number in range(20)),
)
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=NAMES), [])
SIZE = {"vocab_size": TOKENIZER.vocab_size, "max_length": 40}
DECODER = ModelConfig(**SIZE)
ENCODER = ModelConfig(architecture="encoder", **SIZE)
PAIRS = ModelConfig(architecture="encoder", token_types=2, task_head="pretraining", pooler="tanh", **SIZE)
BOTH = ModelConfig(architecture="encoder_decoder", decoder_start_id=258, **SIZE)
PERMUTATION = ModelConfig(architecture="permutation", **SIZE)
RANDOM = np.random.default_rng(5)
DOCUMENTS = [RANDOM.integers(0, 250, size).tolist() for size in (5, 70, 0, 33, 1, 120, 40, 2, 64)]
STREAM = make_stream(DOCUMENTS)
# The same cut into sentences, with an empty entry behind each document.
SENTENCES = [[[d[i : i + 9] for i in range(0, len(d), 9)], [[]]] for d in DOCUMENTS]
SENTENCE_STREAM = make_stream([entry for sentences, end in SENTENCES for entry in (*sentences, *end)])

CASES = [
    ("causal_lm", DECODER, "blocks"),
    ("causal_lm", DECODER, "packed"),
    ("masked_lm", ENCODER, "blocks"),
    ("masked_lm", ENCODER, "packed"),
    ("fill_in_the_middle", DECODER, "blocks"),
    ("fill_in_the_middle", DECODER, "packed"),
    ("permutation_lm", PERMUTATION, "blocks"),
    ("span_corruption", BOTH, "blocks"),
    ("ul2", BOTH, "blocks"),
    ("prefix_lm", BOTH, "blocks"),
    ("denoising", BOTH, "blocks"),
    ("bert", PAIRS, "blocks"),
    ("order", PAIRS, "blocks"),
]


def feed_and_stream(kind, model, batching):
    config = TaskConfig("bert", sentence_pairs="order") if kind == "order" else TaskConfig(kind)
    feed = make_task(config, model, DataConfig(batching=batching, length=40, packing_window=4), TOKENIZER).feed
    return feed, SENTENCE_STREAM if kind in ("bert", "order", "denoising") else STREAM


def text_of(row, kind):
    """The text that a row holds, in order where the objective leaves it in order."""
    used = row["segment_ids"] > 0
    plain = lambda ids: ids[ids < 256].tolist()  # noqa: E731
    if kind == "permutation_lm":
        return plain(row["tokens"][used])
    if kind in ("masked_lm", "bert", "order", "denoising"):
        return plain(row["targets"][used])
    if "encoder_tokens" in row:
        return plain(row["encoder_tokens"][row["encoder_segment_ids"] > 0]) + plain(row["targets"][used])
    last = np.flatnonzero(used & (np.append(row["segment_ids"][1:], 0) != row["segment_ids"]))
    pieces = []
    for end in last.tolist():
        here = np.flatnonzero(row["segment_ids"] == row["segment_ids"][end])
        pieces += plain(np.append(row["tokens"][here], row["targets"][end]))
    return pieces


@pytest.mark.parametrize(("kind", "model", "batching"), CASES)
def test_the_text_of_a_row_is_that_of_its_origins(kind, model, batching):
    feed, stream = feed_and_stream(kind, model, batching)
    rows = feed.training_rows(stream, 3)
    ordered = kind in ("causal_lm", "masked_lm", "bert", "order", "denoising", "permutation_lm")
    for step in range(6):
        batch = batch_at(rows, step, 6)
        for row, origins in enumerate(origins_at(rows, step, 6)):
            expected = np.concatenate([stream.tokens[origin.start : origin.stop] for origin in origins]).tolist()
            found = text_of({name: values[row] for name, values in batch.items()}, kind)
            if ordered:
                assert found == expected
                continue
            assert not Counter(found) - Counter(expected)
            # A text of one token that stays as it is has nothing to predict.
            single = [int(stream.tokens[origin.start]) for origin in origins if origin.stop - origin.start == 1]
            missing = Counter(expected) - Counter(found)
            assert not missing if kind != "fill_in_the_middle" else missing <= Counter(single)


@pytest.mark.parametrize(("kind", "model", "batching"), CASES)
def test_an_account_adds_up(kind, model, batching):
    feed, stream = feed_and_stream(kind, model, batching)
    rows = feed.training_rows(stream, 3)
    (account,) = rows.accounts()
    assert (account.documents, account.tokens, account.rows) == (len(DOCUMENTS), len(stream.tokens), len(rows))
    assert account.documents == len(feed.document_offsets(stream)) - 1
    assert 0 < account.cut <= account.documents - sum(account.skipped.values())
    used = batch_at(rows, 0, len(rows))["segment_ids"] > 0
    if account.fill_rate is not None:
        assert account.fill_rate == pytest.approx(used.mean())
    if kind not in ("bert", "order"):
        held = [set(range(o.start, o.stop)) for row in rows.origins(np.arange(len(rows))) for o in row]
        assert sum(account.left_out.values()) == len(stream.tokens) - len(set().union(*held))
    evaluated = feed.evaluation_rows(stream).account()
    assert (evaluated.documents, evaluated.tokens) == (account.documents, account.tokens)


def test_a_pair_from_elsewhere_names_the_other_document():
    feed, stream = feed_and_stream("bert", PAIRS, "blocks")
    rows = feed.training_rows(stream, 3)
    offsets = feed.document_offsets(stream)
    batch, origins = batch_at(rows, 0, 40), origins_at(rows, 0, 40)
    documents = [[int(np.searchsorted(offsets, origin.start, "right")) for origin in pair] for pair in origins]
    apart = [len(set(pair)) == 2 for pair in documents]
    assert apart == batch["next_sentence"].astype(bool).tolist()
    assert 5 < sum(apart) < 35
