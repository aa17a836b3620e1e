"""Windows of a text lose no word, and the best spans are those of a search over all of them."""

import itertools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_params
from jaxlm.tasks.classification import classifier_scores
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.question_answering import NO_ANSWER, TokenizedText, answer_tokens, windows
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.segmentation import word_spans
from jaxlm.text.tokenizer import load_tokenizer

from ..text.small_directories import WRITERS, train_pieces

TOKENIZER = ByteTokenizer()
CONTEXT = "The Broncos beat the Panthers, 24-10, at Levi's Stadium in Santa Clara."
MODEL = ModelConfig(
    architecture="encoder",
    vocab_size=TOKENIZER.vocab_size,
    max_length=64,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    task_head="question_answering",
    token_types=2,
    init_std=0.3,
    layers="unrolled",
)
CONFIG = TaskConfig("question_answering", window_stride=16, max_answer=6, n_best=4)


def example(context=CONTEXT, answer="Levi's Stadium"):
    answers = ((answer, context.index(answer)),) if answer else ()
    return Example("here", {"id": "q", "question": "Where?", "context": context, "answers": answers})


@settings(max_examples=200)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(9, 30), st.integers(1, 8))
def test_windows_cover_all_words_in_order(sizes, room, stride):
    found = list(windows(sizes, room, stride))
    assert found[0][0] == 0
    assert found[-1][1] == len(sizes)
    for start, stop in found:
        assert start < stop
        assert sum(sizes[start:stop]) <= room or stop == start + 1
    for (start, stop), (following, end) in itertools.pairwise(found):
        assert start < following
        assert following <= stop, "no word is left out"
        assert end > stop


def test_a_text_without_words_has_one_window():
    assert list(windows([], 9, 3)) == [(0, 0)]
    assert list(windows([0, 0], 9, 3)) == [(0, 2)]


def load(folder, model):
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    return load_tokenizer(folder)


MANX = "The cat (a Manx), born in York, sleeps."


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    model = train_pieces([MANX] * 20, model_type="bpe", vocab_size=330, byte_fallback=True)
    return load(tmp_path_factory.mktemp("pieces"), model)


def test_a_text_has_the_tokens_of_the_whole(pieces):
    """Words that are encoded one by one would each have a space of sentencepiece's, and none would go on with one."""
    task = make_labelled_task(CONFIG, replace(MODEL, vocab_size=pieces.vocab_size))
    one = example(MANX, "a Manx")
    (row,) = task.encode(pieces, 60, [one])
    assert row.columns["tokens"].tolist() == list(pieces.encode_for_model("Where?", MANX).ids)
    start, stop = row.values["answer"]
    names = [pieces.token_name(token) for token in row.columns["tokens"].tolist()]
    assert "".join(names[start : stop + 1]).strip("\u2581") == "a\u2581Manx"
    # That token's words are signs: an answer begins with the first and ends with the last.
    at = names.index("),")
    bounds = word_spans(MANX)
    begin, end = row.columns["begins"][at], row.columns["ends"][at]
    assert [MANX[slice(*bounds[word - 1])] for word in (begin, end)] == [")", ","]


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_windows_are_pieces_of_the_whole_text(tmp_path, name):
    tokenizer = load_tokenizer(WRITERS[name](tmp_path))
    context = "Shall I compare thee (to) a summer's day? Thou art more lovely."
    one = example(context, "a summer's day")
    whole, spans = tokenizer.encode_with_offsets(context)
    text = TokenizedText.of(tokenizer, context)
    assert list(text.ids) == whole == tokenizer.encode(context)
    assert sum(text.sizes()) == len(whole)
    first, last = answer_tokens(one, text)
    shown = context[spans[first][0] : spans[last][1]].strip()
    assert shown == "a summer's day"
    bounds = word_spans(context)
    assert context[bounds[text.begins[first] - 1][0] : bounds[text.ends[last] - 1][1]] == "a summer's day"
    rows = make_labelled_task(CONFIG, MODEL).encode(tokenizer, 40, [one])
    found = [
        tuple(row.columns["tokens"][slice(row.values["answer"][0], row.values["answer"][1] + 1)].tolist())
        for row in rows
        if row.values["answer"].any()
    ]
    assert set(found) == {tuple(whole[first : last + 1])}


def test_signs_on_letters_belong_to_their_words():
    hindi = "\u0930\u093e\u092e \u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u0939\u0948\u0964"
    answer = "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902"
    first, last = answer_tokens(example(hindi, answer), TokenizedText.of(TOKENIZER, hindi))
    assert TOKENIZER.decode(TOKENIZER.encode(hindi)[first : last + 1]) == answer
    assert len(word_spans(answer)) == 2


def test_targets_are_the_answer_where_a_window_has_all_of_it():
    task = make_labelled_task(CONFIG, MODEL)
    rows = task.encode(TOKENIZER, 48, [example()])
    assert len(rows) > 1
    found = []
    for row in rows:
        assert len(row.columns["tokens"]) <= 48
        start, stop = row.values["answer"].tolist()
        if (start, stop) != (NO_ANSWER, NO_ANSWER):
            found.append(TOKENIZER.decode(row.columns["tokens"][start : stop + 1]).strip())
    assert found
    assert set(found) == {"Levi's Stadium"}


@pytest.mark.slow
def test_the_best_spans_are_those_of_a_search_over_all():
    task = make_labelled_task(replace(CONFIG, no_answer=True), MODEL)
    params = nn.unbox(init_params(MODEL, jax.random.key(0)))
    examples = [example(), example("A short one.", "")]
    rows = task.encode(TOKENIZER, 48, examples)
    decode = task.decoder(examples, rows)
    found = {}
    searched: dict[int, dict] = {0: {}, 1: {}}
    none = {0: [], 1: []}
    for part in by_width(rows, padding_of(TOKENIZER), 48):
        batch = {name: np.stack([part.row(i, None)[name] for i in range(len(part))]) for name in part.row(0, None)}
        found |= dict(decode(jax.device_get(task.objective.predictions(params, jax.tree.map(jnp.asarray, batch)))))
        scores = np.asarray(classifier_scores(MODEL, params, batch))
        for row, words in enumerate(batch["words"]):
            number = int(batch["example"][row])
            none[number].append(scores[row, NO_ANSWER].sum())
            bounds = word_spans(examples[number].fields["context"])
            for first, last in itertools.product(range(1, words.max() + 1), repeat=2):
                if first <= last < first + CONFIG.max_answer and first in words and last in words:
                    start = np.flatnonzero(words == first)[0]
                    stop = np.flatnonzero(words == last)[-1]
                    key = (bounds[first - 1][0], bounds[last - 1][1])
                    score = scores[row, start, 0] + scores[row, stop, 1]
                    searched[number][key] = max(score, searched[number].get(key, -np.inf))
    for number in (0, 1):
        answers = [one for one in found[number] if one.text]
        best = sorted(searched[number].items(), key=lambda item: -item[1])[: CONFIG.n_best]
        assert [(one.start, one.stop) for one in answers] == [key for key, _ in best]
        np.testing.assert_allclose([one.score for one in answers], [score for _, score in best], rtol=1e-5)
        (nothing,) = (one for one in found[number] if not one.text)
        assert nothing.score == pytest.approx(min(none[number]), rel=1e-5)
        context = examples[number].fields["context"]
        assert all(context[one.start : one.stop] == one.text for one in answers)


def test_rows_that_leave_no_room_are_refused():
    task = make_labelled_task(CONFIG, MODEL)
    with pytest.raises(UsageError, match=r"data\.length 24 leaves \d+ tokens for a window"):
        task.encode(TOKENIZER, 24, [example()])
    with pytest.raises(UsageError, match=r"needs model\.task_head 'question_answering'"):
        make_labelled_task(CONFIG, replace(MODEL, task_head="none"))
