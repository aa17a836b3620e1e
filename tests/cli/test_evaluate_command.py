"""`jaxlm evaluate`: the numbers of the run itself, whatever the batch."""

import json
import shutil

import pytest

from jaxlm.training.metrics_log import MetricsLog

from ..small_runs import TEXT


@pytest.fixture
def evaluate(jaxlm, trained_run):
    def run(*words):
        code, output, errors = jaxlm("evaluate", trained_run, "--json", *words)
        assert (code, errors) == (0, "")
        assert output.count("\n") == 1
        return json.loads(output)

    return run


def measured_while_training(run, step):
    (record,) = (
        record
        for record in MetricsLog(run / "metrics.jsonl").read()
        if record["kind"] == "validation" and record["step"] == step
    )
    return record


def test_windows_are_those_that_are_asked_for_and_the_first_line_says_so(jaxlm, refused, trained_run):
    _, whole, _ = jaxlm("evaluate", trained_run)
    assert "tokens in windows of 16 in" in whole.splitlines()[0]
    _, shorter, _ = jaxlm("evaluate", trained_run, "--length", 8)
    assert "tokens in windows of 8 (the context is 16) in" in shorter.splitlines()[0]
    assert float(shorter.split("loss")[1].split()[0]) > float(whole.split("loss")[1].split()[0])
    assert "17 tokens were asked for; the model takes from 1 to 16" in refused("evaluate", trained_run, "--length", 17)


@pytest.mark.parametrize("step", [20, 40])
def test_the_result_is_that_of_training(evaluate, trained_run, step):
    result = evaluate("--step", step)
    assert result["step"] == step
    for name in ("loss", "standard_error", "perplexity", "bits_per_byte"):
        assert result[name] == pytest.approx(measured_while_training(trained_run, step)[name], rel=1e-6)


def test_the_batch_size_changes_no_digit_that_counts(evaluate):
    whole = evaluate()
    for size in (1, 7, 1000):
        result = evaluate("--batch-size", size)
        assert result["loss"] == pytest.approx(whole["loss"], abs=1e-6)
        assert result["targets"] == whole["targets"]


def test_a_smaller_stride_measures_the_same_tokens_with_more_context(evaluate):
    whole, close = evaluate(), evaluate("--stride", 4)
    assert close["targets"] == whole["targets"] == len(TEXT) - round(len(TEXT) * 0.9) - 1
    assert close["loss"] < whole["loss"] + 0.01
    assert close["loss"] != whole["loss"]


def test_files_are_measured_instead_of_a_split(evaluate, tmp_path):
    (tmp_path / "one.txt").write_text(TEXT[:500])
    (tmp_path / "two.txt").write_text(TEXT[500:900])
    one = evaluate("--files", tmp_path / "one.txt")
    assert one["targets"] == 499
    both = evaluate("--files", tmp_path / "*.txt")
    assert both["targets"] == 899
    assert evaluate("--files", tmp_path / "two.txt", tmp_path / "one.txt") == both
    train = evaluate("--split", "train")
    assert train["targets"] > 5 * evaluate()["targets"]
    assert 0 < train["loss"] < 3


def test_people_get_four_lines(jaxlm, trained_run):
    code, output, _ = jaxlm("evaluate", trained_run)
    assert code == 0
    first, *rest = output.splitlines()
    assert first.startswith(f"{trained_run} at step ")
    assert " on the validation split: " in first
    assert [line[:15].strip() for line in rest] == ["loss", "perplexity", "bits per byte"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--stride", 17], 2, "the evaluation stride is 17; it must be from 1 to the length of a row, 16"),
        (["--stride", 0], 2, "the evaluation stride is 0"),
        (["--step", 25], 1, "no checkpoint of step 25 in "),
        (["--files", "none.txt"], 2, "'none.txt' does not exist"),
        (["--files", "none*.txt"], 2, "'none*.txt' matches no file"),
        (["--files", __file__], 1, "text outside the character vocabulary: "),
    ],
)
def test_what_cannot_be_measured_is_named(refused, trained_run, words, code, message):
    assert message in refused("evaluate", trained_run, *words, code=code)


def test_a_missing_checkpoint_names_those_that_are_there(refused, trained_run):
    assert refused("evaluate", trained_run, "--step", 25, code=1).endswith("there: 20, 30, 40")


def test_a_run_without_checkpoints_or_with_another_tokenizer_is_named(refused, trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (tmp_path / "moved").mkdir()
    shutil.move(run / "checkpoints", tmp_path / "moved")
    assert "has no checkpoint yet: train until the first one is written" in refused("evaluate", run, code=1)
    shutil.move(tmp_path / "moved" / "checkpoints", run)
    description = run / "tokenizer" / "jaxlm_tokenizer.json"
    fields = json.loads(description.read_text())
    fields["characters"] += "äöü"
    description.write_text(json.dumps(fields))
    assert "tokenizer" in refused("evaluate", run, code=1)
