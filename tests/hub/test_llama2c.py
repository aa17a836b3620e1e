import math
import os
from pathlib import Path

import numpy as np
import pytest

import jaxlm
from jaxlm.errors import DataError, UsageError
from jaxlm.hub.directory import read_directory, read_model
from jaxlm.hub.llama2c import find_llama2c
from jaxlm.models.model import apply_model

from ..quick_compilation import quick_jit
from .parity import random_tokens

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, LENGTH = SIZES = (16, 24, 2, 4, 2, 23, 32)
HEAD = DIM // HEADS
SHAPES = {
    "embedding": (VOCAB, DIM),
    "rms_att": (LAYERS, DIM),
    "wq": (LAYERS, HEADS * HEAD, DIM),
    "wk": (LAYERS, KV_HEADS * HEAD, DIM),
    "wv": (LAYERS, KV_HEADS * HEAD, DIM),
    "wo": (LAYERS, DIM, HEADS * HEAD),
    "rms_ffn": (LAYERS, DIM),
    "w1": (LAYERS, HIDDEN, DIM),
    "w2": (LAYERS, DIM, HIDDEN),
    "w3": (LAYERS, HIDDEN, DIM),
    "rms_final": (DIM,),
    "tables": (2, LENGTH, HEAD // 2),
}


def random_weights(tied):
    random = np.random.default_rng(0)
    shapes = SHAPES if tied else {**SHAPES, "wcls": (VOCAB, DIM)}
    return {name: (0.3 * random.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def write(path, weights, tied):
    header = np.array([*SIZES[:5], VOCAB if tied else -VOCAB, LENGTH], "<i4")
    path.write_bytes(header.tobytes() + b"".join(array.tobytes() for array in weights.values()))
    return path


def forward(weights, tokens):
    """A transcription of llama2.c's run.c, position by position; logits [time, vocab]."""

    def rms(x, scale):
        return scale * x / np.sqrt((x * x).mean() + 1e-5)

    def rotate(x, position):
        for i in range(0, len(x), 2):
            angle = position * 10000.0 ** (-(i % HEAD) / HEAD)
            a, b = x[i], x[i + 1]
            x[i], x[i + 1] = a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)
        return x

    keys, values = [[[] for _ in range(LAYERS)] for _ in range(2)]
    logits = []
    for position, token in enumerate(tokens):
        x = weights["embedding"][token].astype(np.float64)
        for layer in range(LAYERS):
            y = rms(x, weights["rms_att"][layer])
            query = rotate(weights["wq"][layer] @ y, position)
            keys[layer].append(rotate(weights["wk"][layer] @ y, position))
            values[layer].append(weights["wv"][layer] @ y)
            mixed = np.zeros(HEADS * HEAD)
            for head in range(HEADS):
                own, shared = slice(head * HEAD, (head + 1) * HEAD), head * KV_HEADS // HEADS
                its = slice(shared * HEAD, (shared + 1) * HEAD)
                scores = np.array([query[own] @ key[its] for key in keys[layer]]) / math.sqrt(HEAD)
                weight = np.exp(scores - scores.max())
                mixed[own] = (weight / weight.sum()) @ np.array([value[its] for value in values[layer]])
            x = x + weights["wo"][layer] @ mixed
            y = rms(x, weights["rms_ffn"][layer])
            gate = weights["w1"][layer] @ y
            x = x + weights["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (weights["w3"][layer] @ y))
        logits.append(weights.get("wcls", weights["embedding"]) @ rms(x, weights["rms_final"]))
    return np.array(logits)


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_computes_what_run_c_does(tmp_path, tied):
    weights = random_weights(tied)
    model = read_model(write(tmp_path / "model.bin", weights, tied))
    assert model.config.head == ("tied" if tied else "untied")
    tokens = random_tokens(VOCAB, (1, 12))
    logits = quick_jit(lambda params: apply_model(model.config, params, tokens).logits)(model.params)
    np.testing.assert_allclose(logits[0], forward(weights, tokens[0]), atol=1e-5)


def test_the_only_checkpoint_of_a_folder_is_found(tmp_path, caplog):
    (tmp_path / "tok99.bin").write_bytes(b"no checkpoint")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(100))
    assert find_llama2c(tmp_path) is None
    path = write(tmp_path / "model.bin", random_weights(True), True)
    assert find_llama2c(tmp_path).folder == path
    directory = read_directory(tmp_path)
    assert directory.tokenizer is None
    assert directory.generation.end_ids == (1, 2)
    assert "no tokenizer beside it (tok23.bin)" in caplog.text
    write(tmp_path / "other.bin", random_weights(True), True)
    assert find_llama2c(tmp_path) is None


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = write(tmp_path / "model.bin", random_weights(True), True)
    whole = path.read_bytes()
    heads_wrong = np.frombuffer(whole[:28], "<i4").copy()
    heads_wrong[3] = 5
    for content, message in (
        (whole[:20], "too short"),
        (whole[:-4], "bytes and a llama2.c checkpoint with its header"),
        (b"ak42" + whole[4:], "header makes no model"),
        (heads_wrong.tobytes() + whole[28:], "header makes no model"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            jaxlm.load(path)
    with pytest.raises(UsageError, match="there is no folder"):
        jaxlm.load(tmp_path / "none.bin")


DATA = os.environ.get("JAXLM_DATA")
STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


@pytest.mark.skipif(not DATA, reason="JAXLM_DATA does not name the folder of data")
def test_the_published_checkpoint_tells_its_story_here_and_in_transformers(tmp_path):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = jaxlm.load(Path(DATA) / "stories260k" / "stories260K.bin")
    text = model.generate("Once upon a time", temperature=0.0, max_new_tokens=150)
    assert ("Once upon a time" + text).startswith(STORY)
    model.export(tmp_path / "export")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    inputs = tokenizer("Once upon a time", return_tensors="pt")
    ids = peer.generate(**inputs, do_sample=False, max_new_tokens=150)[0]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Once upon a time" + text
