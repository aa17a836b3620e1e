"""XLNet against PyTorch transformers: both streams, types, padding, memory, every head, and back."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.xlnet import FAMILY
from jaxlm.models.permutation import init_memory

from .parity import (
    TOLERANCE,
    Imported,
    assert_same_export,
    assert_same_gradients,
    assert_same_outputs,
    imported,
    random_tokens,
    randomise,
    run_ours,
    run_theirs,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

BATCH, TIME = 2, 10
TOKENS = random_tokens(23, (BATCH, TIME))
TYPES = np.array([[0] * 4 + [1] * 5 + [2], [0] * 6 + [1] * 3 + [2]], np.int32)


def tiny(name: str = "XLNetLMHeadModel", **changes):
    sizes = {"vocab_size": 23, "d_model": 16, "n_layer": 2, "n_head": 4, "d_inner": 24}
    return randomise(getattr(transformers, name)(transformers.XLNetConfig(**{**sizes, "dropout": 0.0, **changes})))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> Imported:
    return imported(tiny(), tmp_path_factory.mktemp("xlnet"))


def permuted() -> tuple[dict, dict]:
    """Inputs of both that predict three tokens of each row in a random order, after seeing the others."""
    random = np.random.default_rng(2)
    visible = np.ones((BATCH, TIME, TIME), bool)
    target_mapping = np.zeros((BATCH, 3, TIME), np.float32)
    for row in range(BATCH):
        order = random.permutation(TIME)[:3]
        for rank, position in enumerate(order):
            target_mapping[row, rank, position] = 1
            # Those who are predicted are seen by those who come later in the order only.
            visible[row, :, position] = False
            visible[row, order[rank + 1 :], position] = True
    theirs = {"perm_mask": 1 - visible.astype(np.float32), "target_mapping": target_mapping}
    return theirs, {"permutation_mask": visible, "target_mapping": target_mapping}


def test_hidden_states_and_logits_are_the_same(language_model):
    assert_same_outputs(language_model, {"input_ids": TOKENS}, {"tokens": TOKENS})
    theirs, ours = {"input_ids": TOKENS, "token_type_ids": TYPES}, {"tokens": TOKENS, "token_types": TYPES}
    assert_same_outputs(language_model, theirs, ours)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_seen_by_nobody(language_model, side):
    real = np.ones((BATCH, TIME), bool)
    real[0, slice(3) if side == "left" else slice(TIME - 3, TIME)] = False
    mask = real.astype(np.int32)
    theirs = {"input_ids": TOKENS, "token_type_ids": TYPES, "attention_mask": mask.astype(np.float32)}
    assert_same_outputs(language_model, theirs, {"tokens": TOKENS, "token_types": TYPES, "segment_ids": mask}, real)


def test_both_streams_are_the_same(language_model):
    theirs, ours = permuted()
    with torch.no_grad():
        expected = run_theirs(language_model.theirs, {"input_ids": TOKENS, "token_type_ids": TYPES, **theirs})
    output, states = run_ours(language_model, {"tokens": TOKENS, "token_types": TYPES, **ours})
    assert output.logits.shape == (BATCH, 3, 23)
    np.testing.assert_allclose(output.logits, expected.logits, atol=TOLERANCE, rtol=0)
    # Theirs lie content, query, content, query, ... from the embeddings on.
    for layer in range(2):
        for i, name in enumerate(("hidden_states", "query_hidden_states")):
            state = states[f"layers/{layer}/{name}/0"]
            np.testing.assert_allclose(state, expected.hidden_states[2 + 2 * layer + i], atol=TOLERANCE, rtol=0)


@pytest.mark.slow
def test_gradients_are_the_same(language_model):
    theirs, ours = permuted()
    # With both streams, every parameter matters.
    assert_same_gradients(
        language_model,
        {"input_ids": TOKENS, "token_type_ids": TYPES, **theirs},
        {"tokens": TOKENS, "token_types": TYPES, **ours},
    )


def test_memory_of_the_text_before_is_the_same(language_model):
    before, now = TOKENS[:, :6], TOKENS[:, 6:]
    with torch.no_grad():
        first = language_model.theirs(input_ids=torch.tensor(before).long(), use_mems=True)
        second = language_model.theirs(input_ids=torch.tensor(now).long(), mems=first.mems, use_mems=True)
    memory = init_memory(language_model.config, BATCH)
    ours, _ = run_ours(language_model, {"tokens": before, "memory": memory})
    np.testing.assert_allclose(ours.logits, first.logits, atol=TOLERANCE, rtol=0)
    ours, _ = run_ours(language_model, {"tokens": now, "memory": ours.memory})
    np.testing.assert_allclose(ours.logits, second.logits, atol=TOLERANCE, rtol=0)
    mems = np.stack([mem.numpy().swapaxes(0, 1) for mem in second.mems])
    np.testing.assert_allclose(ours.memory.layers, mems, atol=TOLERANCE, rtol=0)
    assert ours.memory.last(3).layers.shape == (2, BATCH, 3, 16)


@pytest.mark.parametrize(
    "name",
    [
        "XLNetModel",
        "XLNetForSequenceClassification",
        "XLNetForTokenClassification",
        "XLNetForQuestionAnsweringSimple",
    ],
)
def test_every_head_is_the_same_both_ways(tmp_path, name):
    labels = {} if name in ("XLNetModel", "XLNetForQuestionAnsweringSimple") else {"num_labels": 3}
    case = imported(tiny(name, **labels), tmp_path / "theirs")
    real = np.ones((BATCH, TIME), bool)
    real[0, :3] = False
    mask = real.astype(np.int32)
    theirs = {"input_ids": TOKENS, "token_type_ids": TYPES, "attention_mask": mask.astype(np.float32)}
    ours = {"tokens": TOKENS, "token_types": TYPES, "segment_ids": mask}
    assert_same_outputs(case, theirs, ours, real)
    loaded = assert_same_export(case, tmp_path / "ours")
    assert_same_outputs(replace(case, theirs=loaded), theirs, ours, real)


def test_the_language_model_goes_back(language_model, tmp_path):
    loaded = assert_same_export(language_model, tmp_path / "ours")
    assert_same_outputs(replace(language_model, theirs=loaded), {"input_ids": TOKENS}, {"tokens": TOKENS})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attn_type", "uni"),
        ("bi_data", True),
        ("clamp_len", 8),
        ("same_length", True),
        ("untie_r", False),
        ("ff_activation", "tanh"),
        ("d_head", 5),
        ("summary_activation", "relu"),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    fields = {"d_model": 16, "n_head": 4, "architectures": ["XLNetForSequenceClassification"], field: value}
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader(fields, "config.json"))
