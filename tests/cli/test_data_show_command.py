"""`jaxlm data show`: the documents of a batch, and one line where there is none."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from jaxlm.cli.data_show import _line
from jaxlm.data.corpus import prepare_corpus
from jaxlm.data.rows import batch_at
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.claiming import claim_folder
from jaxlm.training.inputs import prepare_inputs

from ..small_runs import small_experiment


def started(folder, experiment):
    """A run folder as it is when training begins, without the training."""
    run = RunFolder(folder)
    inputs = prepare_inputs(experiment, run)
    rows = inputs.training_rows()
    claim_folder(inputs, run, rows, inputs.evaluation_rows())
    return rows.parts[0]


@pytest.fixture
def packed(tmp_path):
    """A run on packed paragraphs, its rows and the documents."""
    experiment = small_experiment(
        tmp_path, tokenizer__kind="byte", data__batching="packed", data__document="paragraph", data__length=150
    )
    experiment = replace(experiment, data=replace(experiment.data, split="document"))
    return tmp_path / "run", started(tmp_path / "run", experiment), list(prepare_corpus(experiment.data).train)


def test_each_piece_is_the_text_of_its_document(jaxlm, packed):
    folder, rows, documents = packed
    code, output, errors = jaxlm("data", "show", folder, "--step", 3, "--json")
    assert (code, errors) == (0, "")
    shown = json.loads(output)
    assert (shown["step"], shown["batch_size"], shown["task"], shown["known"]) == (3, 8, "causal_lm", True)
    assert [row["row"] for row in shown["rows"]] == list(range(8))
    batch = batch_at(rows, 3, 8)
    for row, found in zip(shown["rows"], batch["tokens"], strict=True):
        assert len(row["pieces"]) > 1
        for piece in row["pieces"]:
            document = documents[piece["document"]]
            assert (piece["start"], piece["stop"], piece["size"]) == (0, len(document) + 2, len(document) + 2)
            assert document in piece["text"]
        text = bytes(found[found < 256].astype(np.uint8)).decode()
        assert text == "".join(documents[piece["document"]] for piece in row["pieces"])


def test_lines_fit_the_terminal_and_say_what_is_whole(jaxlm, packed, monkeypatch):
    folder, _, documents = packed
    monkeypatch.setenv("COLUMNS", "40")
    code, output, _ = jaxlm("data", "show", folder, "--step", 0, "--rows", 2)
    lines = output.splitlines()
    assert code == 0
    assert [line for line in lines if not line.startswith(" ")][1:] == ["row 0", "row 1"]
    assert all(len(line) <= 48 for line in lines[1:])
    assert lines[0] == "step 0: 8 rows, of which 2 here; task causal_lm"
    number = int(lines[2].split()[2].rstrip(","))
    assert lines[2] == f"  text document {number}, whole, {len(documents[number]) + 2} tokens"
    assert lines[3].startswith("    ")
    assert lines[3].endswith("...")
    assert len(lines[3]) == 40


def test_blocks_are_parts_of_documents(jaxlm, trained_run):
    code, output, _ = jaxlm("data", "show", trained_run, "--step", 39, "--rows", 1, "--json")
    ((piece,),) = (row["pieces"] for row in json.loads(output)["rows"])
    assert (code, piece["document"], piece["stop"] - piece["start"], len(piece["text"])) == (0, 0, 17, 17)
    assert (
        next(iter(prepare_corpus(RunFolder(trained_run).read_experiment().data).train))[piece["start"] : piece["stop"]]
        == (piece["text"])
    )
    code, output, _ = jaxlm("data", "show", trained_run, "--step", 39, "--rows", 1)
    assert f"tokens {piece['start']:,} to {piece['stop'] - 1:,} of {piece['size']:,}" in output


def test_what_the_model_reads_is_shown_where_the_objective_changes_it(jaxlm, tmp_path):
    experiment = replace(
        small_experiment(tmp_path, data__length=40),
        task=TaskConfig("masked_lm"),
        tokenizer=TokenizerConfig("byte", special_tokens=("[CLS]", "[SEP]", "[MASK]")),
        model=ModelConfig(architecture="encoder", num_layers=1, embed_dim=16, num_heads=2),
    )
    started(tmp_path / "run", experiment)
    code, output, _ = jaxlm("data", "show", tmp_path / "run", "--step", 1, "--rows", 1)
    assert code == 0
    _, _, _, text, reads, predicts = output.splitlines()
    assert reads.startswith("  reads: [CLS]")
    assert "[MASK]" in reads
    assert predicts.startswith("  predicts: ")
    assert 2 < len(predicts.removeprefix("  predicts: ")) < len(text)


def test_nothing_in_a_text_is_obeyed(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert _line("> ", "a\x1b[31m\n\u202e\u00e9b", 80) == "> a\\x1b[31m\\n\\u202e\\xe9b"
    assert _line("> ", "x" * 100, 20) == "> " + "x" * 15 + "..."


def test_misuse_is_one_line(refused, trained_run, tmp_path):
    assert "is not a run folder" in refused("data", "show", tmp_path, "--step", 1)
    assert "there is no folder" in refused("data", "show", tmp_path / "none", "--step", 1)
    for step in (40, -1):
        assert refused("data", "show", trained_run, "--step", step).startswith(f"step {step} is not one of ")
    assert refused("data", "show", trained_run, "--step", 40).endswith("its steps are 0 to 39")
    assert "0 rows cannot be shown" in refused("data", "show", trained_run, "--step", 1, "--rows", 0)
    assert "--step" in refused("data", "show", trained_run)


def test_text_that_changed_or_is_gone_is_refused_and_an_unknown_one_is_shown_with_a_warning(
    jaxlm, refused, packed, tmp_path
):
    folder, _, _ = packed
    description = folder / "experiment.json"
    values = json.loads(description.read_text())
    del values["corpus"]
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    (old / "experiment.json").write_text(json.dumps(values))
    text = tmp_path / "text.txt"
    text.write_text(text.read_text() + "\n\nOnce more")
    assert "is not what it was when the run began" in refused("data", "show", folder, "--step", 1)
    code, output, errors = jaxlm("data", "show", old, "--step", 1)
    assert (code, output.splitlines()[0]) == (0, "step 1: 8 rows; task causal_lm")
    assert (
        errors == f"jaxlm: {old} does not say which text it began with, as older runs: this is what the text is now\n"
    )
    text.unlink()
    assert "does not exist" in refused("data", "show", folder, "--step", 1)


def test_an_imported_model_has_no_rows(refused, tmp_path):
    run = RunFolder(tmp_path / "run")
    experiment = small_experiment(tmp_path)
    data = replace(experiment.data, source="none", files=())
    run.write_experiment(replace(experiment, data=data).resolve(65), {})
    assert "holds an imported model" in refused("data", "show", tmp_path / "run", "--step", 0)
