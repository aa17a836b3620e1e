"""A loaded model: which checkpoint it is, what it generates, and what it measures."""

import json
import shutil
from dataclasses import fields

import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.errors import CheckpointError, DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.run_folder import RunFolder
from jaxlm.training.metrics_log import MetricsLog

from .small_runs import TEXT


@pytest.fixture(scope="module")
def model(trained_run):
    return jaxlm.load(trained_run)


def test_the_package_offers_these_names():
    assert set(jaxlm.__all__) == {"Experiment", "LanguageModel", "finetune", "load", "sweep", "train"}
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = jaxlm.lode


def test_best_latest_and_a_number_name_checkpoints(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    manifest = run / "checkpoints" / "30" / "manifest.json"
    score = {"name": "loss", "value": 0.5, "higher_is_better": False}
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "score": score}))
    assert jaxlm.load(run).step == 30
    assert jaxlm.load(run, "latest").step == 40
    assert jaxlm.load(str(run), 20).step == 20
    first, last = jaxlm.load(run, 20).params, jaxlm.load(run, "latest").params
    assert not np.array_equal(first["token_embedding"]["embedding"], last["token_embedding"]["embedding"])
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 25 in .*; there: 20, 30, 40"):
        jaxlm.load(run, 25)


def test_a_corrupt_checkpoint_is_refused(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    manifest = run / "checkpoints" / "40" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0', 1))
    with pytest.raises(CheckpointError, match="the last good checkpoint is step 30"):
        jaxlm.load(run, "latest")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        jaxlm.load(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no model"):
        jaxlm.load(tmp_path)


def test_a_damaged_or_foreign_tokenizer_is_refused(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    description = run / "tokenizer" / "jaxlm_tokenizer.json"
    saved = json.loads(description.read_text())
    description.write_text(json.dumps({**saved, "characters": saved["characters"] + "äö"}))
    with pytest.raises(DataError, match="it is not the one that the model was trained with"):
        jaxlm.load(run)
    description.write_text("{")
    with pytest.raises(DataError, match="jaxlm_tokenizer"):
        jaxlm.load(run)


def test_the_parts_are_there(model, trained_run):
    assert model.experiment == RunFolder(trained_run).read_experiment()
    assert model.config == model.experiment.model
    assert model.tokenizer.decode(model.tokenizer.encode("The old")) == "The old"


def test_logits_have_a_row_for_each_token(model):
    tokens = jnp.asarray([model.tokenizer.encode("The old man"), model.tokenizer.encode("the old man")])
    logits = model.apply(tokens).logits
    assert logits.shape == (2, 11, model.config.vocab_size)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    # Nothing looks ahead: other tokens after the fifth change nothing before it.
    changed = model.apply(tokens.at[:, 5:].set(0)).logits
    np.testing.assert_allclose(changed[:, :5], logits[:, :5], atol=1e-5)
    assert np.abs(np.asarray(changed[:, 5:] - logits[:, 5:])).max() > 1e-3


def test_greedy_text_is_the_most_likely_token_by_token(model):
    ids = model.tokenizer.encode("The old")
    for _ in range(8):
        padded = jnp.asarray([ids + [0] * (16 - len(ids))])  # to one length, for one compilation
        ids.append(int(model.apply(padded).logits[0, len(ids) - 1].argmax()))
    assert "The old" + model.generate("The old", temperature=0.0, max_new_tokens=8) == model.tokenizer.decode(ids)


def test_one_prompt_gives_text_and_several_a_list(model):
    text = model.generate("The old", max_new_tokens=12, seed=0)
    assert isinstance(text, str)
    assert len(text) == 12
    texts = model.generate(["The old", "a", "The young woman"], max_new_tokens=12, seed=0)
    assert [len(one) for one in texts] == [12, 12, 12]
    assert texts[0] == text
    assert model.generate("The old", GenerationConfig(max_new_tokens=12, seed=0)) == text
    assert model.generate("The old", max_new_tokens=12, seed=5) != text


def test_the_pieces_of_a_stream_add_up(model):
    pieces = list(model.stream("The old", max_new_tokens=40, temperature=0.7, seed=0))
    assert len(pieces) > 3
    assert "".join(pieces) == model.generate("The old", max_new_tokens=40, temperature=0.7, seed=0)


def test_what_cannot_be_generated_is_refused_before_the_first_piece(model):
    with pytest.raises(UsageError, match="the prompt is empty"):
        model.stream("")
    with pytest.raises(UsageError, match="17 tokens, more than the model's context of 16"):
        model.stream("a" * 17)
    with pytest.raises(DataError, match="outside the character vocabulary"):
        model.generate(["The", "Thé"])
    with pytest.raises(UsageError, match="a prompt is empty"):
        model.generate([])
    with pytest.raises(UsageError, match="top_p"):
        model.generate("The", top_p=0.0)
    with pytest.raises(UsageError, match=r"unknown setting of generate 'temprature' \(did you mean 'temperature'\?\)"):
        model.generate("The", temprature=1.0)


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("do_sample", True, "temperature 0 takes the most likely token, and any other samples"),
        ("max_length", 30, "max_new_tokens counts the tokens after the prompt"),
        ("num_return_sequences", 3, "give the prompt so many times, in a list"),
    ],
)
def test_users_of_other_names_are_told_ours(model, name, value, way_out):
    for call in (model.generate, model.stream):
        with pytest.raises(UsageError, match=f"generate has no {name}: {way_out}"):
            call("The", **{name: value})


def test_each_call_without_a_seed_draws_another_which_is_kept(model):
    texts, seeds = [], []
    for _ in range(2):
        texts.append(model.generate("The old", max_new_tokens=12))
        seeds.append(model.last_seed)
    assert texts[0] != texts[1]
    assert seeds[0] != seeds[1]
    assert model.generate("The old", max_new_tokens=12, seed=seeds[0]) == texts[0]
    assert "".join(model.stream("The old", max_new_tokens=12, seed=seeds[1])) == texts[1]
    model.generate("The old", max_new_tokens=4, temperature=0)
    assert model.last_seed is None
    text = model.generate("The old", max_new_tokens=12, seed=3)
    assert model.generate("The old", max_new_tokens=12, seed=3, stop=text[6:8]) == text[: text.index(text[6:8])]


def test_evaluation_gives_the_numbers_of_training(model, trained_run, tmp_path):
    (record,) = (
        record
        for record in MetricsLog(trained_run / "metrics.jsonl").read()
        if record["kind"] == "validation" and record["step"] == model.step
    )
    measured = model.evaluate()
    for field in fields(measured):
        if field.name not in ("targets", "metrics", "window"):
            assert getattr(measured, field.name) == pytest.approx(record[field.name], rel=1e-6)
    (tmp_path / "tail.txt").write_text(TEXT[round(len(TEXT) * 0.9) :])
    assert measured.metrics == {}  # a causal language model has its loss alone
    own = model.evaluate(files=tmp_path / "tail.txt", batch_size=3)
    assert own.targets == measured.targets
    assert own.loss == pytest.approx(measured.loss, abs=1e-6)


@pytest.mark.slow
def test_evaluation_by_hand_gives_the_same_loss(model, tmp_path):
    text = TEXT[:40]
    (tmp_path / "text.txt").write_text(text)
    ids = np.asarray(model.tokenizer.encode(text))
    losses = []
    for start in range(0, len(ids) - 1, 16):
        window = ids[start : start + 17]
        logits = np.asarray(model.apply(jnp.asarray(window[None, :-1])).logits[0], np.float64)
        peak = logits.max(-1)
        normalizer = peak + np.log(np.exp(logits - peak[:, None]).sum(-1))
        losses.extend(normalizer - logits[np.arange(len(window) - 1), window[1:]])
    measured = model.evaluate(files=[str(tmp_path / "text.txt")])
    assert measured.targets == len(losses) == 39
    assert measured.loss == pytest.approx(np.mean(losses), abs=1e-5)


def test_what_cannot_be_measured_is_refused(model, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        model.evaluate(files=["none.txt"])
    with pytest.raises(UsageError, match="the evaluation stride is 17"):
        model.evaluate(stride=17)
    (tmp_path / "one.txt").write_text("T")
    with pytest.raises(DataError, match="nothing to evaluate"):
        model.evaluate(files=[str(tmp_path / "one.txt")])
