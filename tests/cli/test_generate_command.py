"""`jaxlm generate`: text as it comes, the same for the same seed."""

import io
import itertools
import os
import re
import subprocess
import sys

import pytest

from jaxlm.cli.main import main
from jaxlm.training.metrics_log import MetricsLog

from ..quick_compilation import PROCESS
from ..slow_cases import slow_after

LENGTH = ("--max-new-tokens", "40")


@pytest.fixture
def generate(jaxlm, trained_run):
    def run(*words):
        seed = () if "--seed" in words else ("--seed", 0)
        code, output, errors = jaxlm("generate", trained_run, *LENGTH, *seed, *words)
        assert (code, errors) == (0, "")
        return output

    return run


def test_the_prompt_goes_on_and_the_same_seed_gives_the_same_text(generate):
    text = generate("--prompt", "The old")
    assert text.startswith("The old")
    assert len(text) == len("The old") + 40 + len("\n")
    assert generate("--prompt", "The old") == text
    assert generate("--prompt", "The old", "--seed", 1) != text


def test_without_a_seed_each_call_draws_another_and_says_which(jaxlm, generate, trained_run):
    texts = []
    for _ in range(2):
        code, output, errors = jaxlm("generate", trained_run, *LENGTH, "--prompt", "The old")
        seed = re.fullmatch(r"seed: (\d+) \(--seed \1 gives this again\)\n", errors)
        assert code == 0
        assert seed is not None
        assert generate("--prompt", "The old", "--seed", seed[1]) == output
        texts.append(output)
    assert texts[0] != texts[1]
    assert jaxlm("generate", trained_run, *LENGTH, "--temperature", 0)[2] == "", "nothing is drawn"


def test_a_sample_of_training_is_drawn_again(generate, trained_run):
    samples = [record for record in MetricsLog(trained_run / "metrics.jsonl").read() if record["kind"] == "sample"]
    assert [record["step"] for record in samples] == [20, 40]
    again = generate("--prompt", "The", "--step", 40, "--max-new-tokens", 8, "--temperature", 0.5)
    assert again == samples[-1]["text"][0] + "\n"


def test_a_dash_reads_the_prompt_from_standard_input(generate, monkeypatch):
    expected = generate("--prompt", "The old man\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("The old man\n"))
    assert generate("--prompt", "-") == expected


def test_standard_input_that_is_no_text_is_refused(refused, trained_run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), "utf-8"))
    assert "standard input is not utf-8 text" in refused("generate", trained_run, "--prompt", "-")


def test_samples_differ_and_the_first_is_the_only_one(generate):
    alone = generate("--prompt", "The old")
    parts = generate("--prompt", "The old", "--samples", 3).split("--- ")[1:]
    assert [part[0] for part in parts] == ["1", "2", "3"]
    texts = [part[2:] for part in parts]
    assert texts[0] == alone
    assert len(set(texts)) == 3


def test_a_stop_text_ends_it_and_is_left_out(generate):
    text = generate("--prompt", "The old", "--max-new-tokens", 100)
    stop = text[len("The old") + 20 :][:2]
    cut = text.index(stop, len("The old"))
    assert generate("--prompt", "The old", "--max-new-tokens", 100, "--stop", "not there", stop) == text[:cut] + "\n"


def test_pieces_are_written_as_they_come_also_to_a_file(trained_run, monkeypatch):
    written = []

    class Recorder(io.StringIO):
        def flush(self):
            written.append(self.getvalue())

    recorder = Recorder()
    monkeypatch.setattr(sys, "stdout", recorder)
    assert main(["generate", str(trained_run), "--prompt", "The old", *LENGTH]) == 0
    lengths = [len(text) for text in written]
    assert len(set(lengths)) > 4
    assert lengths == sorted(lengths)
    assert max(b - a for a, b in itertools.pairwise(lengths)) < 20


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--prompt", "a" * 17], 2, "the prompt has 17 tokens, more than the model's context of 16"),
        (["--prompt", ""], 2, "the prompt is empty"),
        (["--prompt", "The öld"], 1, "'ö' (U+00F6 LATIN SMALL LETTER O WITH DIAERESIS) at position 4"),
        (["--step", "25"], 1, "no checkpoint of step 25"),
        (["--overflow", "error", "--max-new-tokens", "30"], 2, "exceed the model's context of 16"),
    ],
)
def test_what_cannot_be_generated_is_named_and_nothing_is_printed(refused, jaxlm, trained_run, words, code, message):
    assert message in refused("generate", trained_run, *words, code=code)
    assert jaxlm("generate", trained_run, *words)[1] == ""


@pytest.mark.parametrize("words", slow_after(1, [["--max-new-tokens", "400"], ["--samples", "2"]]))
def test_a_reader_that_leaves_early_gets_no_traceback(trained_run, words):
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxlm.cli.main", "generate", str(trained_run), "--prompt", "The old", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "XLA_FLAGS": PROCESS},
    )
    os.close(write)
    os.close(read)  # as `| head -c 0`, before anything is written
    _, errors = process.communicate(timeout=120)
    assert errors == ""
    assert process.returncode == 1
