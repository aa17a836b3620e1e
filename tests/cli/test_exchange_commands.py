"""`jaxlm import` and `jaxlm export`: a run to a directory to a run, with the same text."""

import json
import random
import signal
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxlm as package
from jaxlm.errors import UsageError
from jaxlm.hub.weights import SINGLE

from ..hub.parity import no_log_warnings
from ..small_runs import Process


def test_a_run_goes_out_and_comes_back_and_says_the_same(jaxlm, trained_run, tmp_path):
    code, output, errors = jaxlm("export", trained_run, tmp_path / "hf")
    assert (code, errors) == (0, "")
    assert "holds a model of the family gpt2 now: transformers.GPT2LMHeadModel" in output
    code, output, errors = jaxlm("import", tmp_path / "hf", tmp_path / "run")
    assert (code, errors) == (0, "")
    assert "gpt2, " in output
    assert "computes in float32" in output
    words = ("--prompt", "The old", "--max-new-tokens", "30", "--temperature", "0")
    texts = [jaxlm("generate", path, *words) for path in (trained_run, tmp_path / "run")]
    assert texts[0][0] == 0
    assert texts[0] == texts[1]
    jaxlm("export", tmp_path / "run", tmp_path / "again")
    for name in (SINGLE, "config.json", "generation_config.json"):
        assert (tmp_path / "hf" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_generation_is_the_directorys_unless_options_say_otherwise(jaxlm, trained_run, tmp_path):
    jaxlm("export", trained_run, tmp_path / "hf")
    path = tmp_path / "hf" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": False, "max_new_tokens": 12}))
    _, text, _ = jaxlm("generate", tmp_path / "hf", "--prompt", "The old")
    _, expected, _ = jaxlm("generate", trained_run, "--prompt", "The old", "--temperature", 0, "--max-new-tokens", 12)
    assert text == expected
    _, longer, _ = jaxlm("generate", tmp_path / "hf", "--prompt", "The old", "--max-new-tokens=20")
    assert longer.startswith(text[:-1])
    assert len(longer) == len(text) + 8


def test_an_existing_folder_is_refused(refused, trained_run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "exists already" in refused("export", trained_run, tmp_path)
    assert "is a run folder already" in refused("import", trained_run, trained_run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "RUN", "OUT", "--family", "lama"), "unknown model family 'lama' (did you mean 'llama'?)"),
        (("export", "RUN", "OUT", "--family", "llama"), "the family llama cannot express this model: "),
        (("export", "RUN", "OUT", "--max-shard-bytes", "0"), "max_shard_bytes is 0"),
        (("import", "RUN", "OUT", "--dtype", "int4"), "invalid choice 'int4'"),
        (("import", "none", "OUT"), "there is no folder"),
    ],
)
def test_misuse_is_one_line(refused, trained_run, tmp_path, words, message):
    places = {"RUN": trained_run, "OUT": tmp_path / "out"}
    assert message in refused(*(places.get(word, word) for word in words))
    assert not (tmp_path / "out").exists()


def test_a_run_is_the_same_model_in_transformers(trained_run, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = package.load(trained_run)
    assert model.export(tmp_path / "hf") == "gpt2"
    with no_log_warnings():
        peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    ids = np.asarray([model.tokenizer.encode("The old man saw")])
    assert tokenizer("The old man saw").input_ids == ids[0].tolist()
    with torch.no_grad():
        expected = peer(input_ids=torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(model.apply(ids).logits, expected, atol=1e-5)


def test_an_imported_model_says_what_it_lacks(trained_run, tmp_path):
    model = package.load(trained_run)
    model.export(tmp_path / "hf")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "hf" / name).unlink()
    imported = package.load(tmp_path / "hf")
    with pytest.raises(UsageError, match="came without a tokenizer"):
        imported.generate("The")
    imported.save(tmp_path / "run")
    again = package.load(tmp_path / "run")
    assert again.experiment == imported.experiment
    assert again.token_ids == imported.token_ids
    with pytest.raises(UsageError, match="was imported and the text it was trained with is not here"):
        package.LanguageModel(imported.experiment, model.params, model.tokenizer, 0).evaluate()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export", "import"])
def test_a_kill_at_any_instant_leaves_the_whole_or_nothing(command, jaxlm, trained_run, tmp_path):
    source = trained_run
    if command == "import":
        source = tmp_path / "hf"
        assert jaxlm("export", trained_run, source)[0] == 0
    whole = tmp_path / "whole"
    started = time.monotonic()
    assert Process(command, source, whole).end() == 0
    seconds = time.monotonic() - started
    expected = package.load(whole)
    draw = random.Random(0)
    for number in range(12):
        target = tmp_path / f"out {number}" / "it"
        target.parent.mkdir()
        process = Process(command, source, target)
        if number % 3:  # while it writes, which does not take long
            while process.running() and not any(target.parent.iterdir()):
                pass
            time.sleep(draw.random() * 0.05)
        else:
            time.sleep(draw.random() * seconds)
        process.signal(signal.SIGKILL)
        process.end()
        if not target.exists():
            assert jaxlm(command, source, target)[0] == 0
        found = package.load(target)
        assert found.experiment == replace(expected.experiment, name=found.experiment.name)
        jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
        assert [path.name for path in target.parent.iterdir()] == [target.name]
