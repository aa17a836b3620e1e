"""Every mistake is one line on standard error with the way out; help names every option."""

import dataclasses
import importlib
import re
import subprocess
import sys
from importlib import metadata

import pytest

from jaxlm.cli.evaluate import EvaluateOptions
from jaxlm.cli.generate import GenerateOptions
from jaxlm.cli.main import VERBS, main, step_of
from jaxlm.cli.options import option_names
from jaxlm.cli.train import TrainOptions
from jaxlm.errors import UsageError
from jaxlm.training.progress import COLUMNS

from ..small_runs import Process


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No test writes to the checkout, should a command not be refused."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_verbs(jaxlm, words):
    code, output, errors = jaxlm(*words)
    assert (code, errors) == (0, "")
    for verb, text in VERBS.items():
        assert re.search(rf"^  {verb} +{text}$", output, re.MULTILINE)


def test_the_version_is_that_of_the_package(jaxlm):
    assert jaxlm("--version") == (0, f"jaxlm {metadata.version('jaxlm')}\n", "")


def test_help_explains_each_column_of_the_progress(capsys):
    def help_of(verb):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        return " ".join(capsys.readouterr().out.split())

    explained = re.search(r"Each line of progress shows: (.*?)\.", help_of("train"))[1]
    titles = [part.split(",")[0].strip() for part in explained.split(";")]
    assert titles == [title for title, _ in COLUMNS]
    assert "`jaxlm train --help` explains the lines of progress." in help_of("finetune")


@pytest.mark.parametrize(
    ("verb", "options", "without_prefix"),
    [
        ("train", TrainOptions(), "experiment"),
        ("evaluate", EvaluateOptions(model=""), ""),
        ("generate", GenerateOptions(model=""), "generation"),
    ],
)
def test_help_of_a_verb_explains_each_option(verb, options, without_prefix, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # more of them, and options stand side by side
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help-all"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.replace("│", " ").splitlines()
    assert type(options).__doc__.split("\n")[0] in "\n".join(lines)
    for name in option_names(options, without_prefix):
        if name == "--model" and verb != "train":
            continue  # positional
        (index,) = (i for i, line in enumerate(lines) if re.match(rf" *{name}(,| |$)", line))
        explained = re.sub(rf" *{name}(, --no-\S+)?( \S+| \[STR.*\]\])? {{2,}}", "", lines[index]).strip()
        assert len(explained) > 10 or len(lines[index + 1].strip()) > 10, name


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_help_shows_the_options_that_people_use_and_how_to_see_all(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = {}
    for option in ("-h", "--help", "--help-all"):
        with pytest.raises(SystemExit) as stop:
            main([verb, *(["--dir", "anywhere"] if verb == "train" else []), option])
        assert stop.value.code == 0
        shown[option] = capsys.readouterr().out
    short, whole = shown["--help"], shown["--help-all"]
    assert shown["-h"] == short
    everyday = importlib.import_module(f"jaxlm.cli.{verb}").EVERYDAY
    named = re.findall(r"^  (--[a-z][\w.-]*|\[MODEL\])", short, re.MULTILINE)
    assert named == list(everyday)
    assert 18 <= len(everyday) <= 25
    every = re.findall(r"^(?:│ |  )(--[a-z][\w.-]*|\[MODEL\])", whole, re.MULTILINE)
    assert set(everyday) <= set(every)
    assert short.endswith(f"\n{len(every) - len(everyday)} further options: jaxlm {verb} --help-all\n")
    assert len(short.splitlines()) < len(whole.splitlines()) / 2
    # What the verb does comes first, and each option is explained.
    assert short.startswith(whole[:200])
    assert all(line.strip() for line in short.splitlines()[-3:-2])


def test_every_verb_is_a_file_of_its_own():
    for verb in VERBS:
        assert callable(__import__(f"jaxlm.cli.{verb}", fromlist=["run"]).run)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tain"], "unknown verb 'tain' (did you mean 'train'?); known: adapter, average, compare, "),
        (["--verbose"], "unknown verb '--verbose'; known: "),
        (["train", "--stepz", "5"], "unknown option --stepz (did you mean '--steps'?)"),
        (["train", "--stepz=5"], "unknown option --stepz (did you mean '--steps'?)"),
        (["train", "--optimizer.learning_rat", "1"], "unknown option --optimizer.learning_rat (did you mean '--opti"),
        (["train", "--model.num_layer", "1"], "unknown option --model.num_layer (did you mean '--model.num-layers'?)"),
        (["train", "--xyzzy"], "unknown option --xyzzy (see jaxlm train [EXPERIMENT.py | TEXT ...] --help)"),
        (["generate", "run", "--promt", "x"], "unknown option --promt (did you mean '--prompt'?)"),
        (["generate", "run", "--max_new_token", "x"], "unknown option --max_new_token (did you mean '--max-new-token"),
        (["evaluate", "run", "--strid", "3"], "unknown option --strid (did you mean '--stride'?)"),
        (["train", "--steps", "5", "extra"], "unexpected argument 'extra'"),
        (["evaluate", "run", "run2"], "unexpected argument 'run2'"),
        (["train", "--steps"], "Missing value for argument '--steps'"),
        (["train", "--steps", "five"], "Error parsing --steps: invalid literal for int()"),
        (["train", "--optimizer.learning-rate", "fast"], "Error parsing --optimizer.learning-rate: "),
        (["train", "--optimizer.learning_rate", "nan"], "optimizer.learning_rate is nan; it must be a finite number"),
        (["train", "--model.positions", "rotray"], "invalid choice 'rotray' for argument '--model.positions'"),
        (["train", "--model.use-bias", "maybe"], "invalid choice 'maybe' for argument '--model.use-bias'"),
        (["train", "--batch-size", "0"], "batch_size is 0; it must be at least 1"),
        (["train", "--data.source", "text", "--data.files", "none.txt"], "'none.txt' does not exist"),
        (["train", "--data.source", "text"], "data.source is 'text' but data.files is empty"),
        (["train", "none.py"], "there is no experiment file none.py"),
        (["evaluate"], "Missing from jaxlm evaluate: MODEL Run folder or"),
        (["generate"], "Missing from jaxlm generate: MODEL Run folder, Hugging Face"),
        (["evaluate", "none"], "there is no folder "),
        (["generate", "none"], "there is no folder "),
        (["evaluate", "."], " holds no model: neither the experiment.json of a run nor"),
        (["evaluate", "none", "--step", "last"], "--step is 'last'; it must be best, latest or a number of steps"),
        (["generate", "none", "--step", "-1"], "--step is '-1'; it must be"),
        (["evaluate", "none", "--batch-size", "0"], "--batch-size is 0"),
        (["evaluate", "none", "--split", "tests"], "invalid choice 'tests' for argument '--split'"),
        (["generate", "none", "--samples", "0"], "--samples is 0"),
        (["generate", "none", "--temperature", "-1"], "temperature is -1.0"),
        (["generate", "none", "--top-p", "0"], "top_p is 0.0"),
        (["generate", "none", "--stop", ""], "an empty stop text"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_misuse_is_one_line_with_exit_code_2(refused, words, message):
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import nothing_of_this_name", "fails with ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def experiment(:", "fails with SyntaxError"),
        ("def experiment():\n    return 1 / 0", "fails with ZeroDivisionError: division by zero"),
        ("def experiment():\n    from jaxlm.experiment import Experiment\n    return Experiment(stepz=5)", "'stepz'"),
        (
            "def experiment():\n    from jaxlm.experiment import Experiment\n    return Experiment(steps='5')",
            "steps is",
        ),
        ("steps = 5", "has no function `experiment()`"),
        ("def experiment():\n    return 5", "gives int, not an Experiment"),
        ("raise ValueError('two\\nlines')", "fails with ValueError: two lines"),
    ],
)
def test_an_experiment_file_that_is_none_is_named(refused, tmp_path, content, message):
    file = tmp_path / "broken.py"
    file.write_text(content)
    assert message in refused("train", file)


def test_a_damaged_run_folder_is_named_and_exits_1(refused, tmp_path):
    (tmp_path / "experiment.json").write_text("{")
    for words in (["evaluate", tmp_path], ["generate", tmp_path], ["train", "--dir", tmp_path]):
        assert f"{tmp_path / 'experiment.json'} is damaged" in refused(*words, code=1)


def test_a_folder_that_cannot_be_made_is_named(refused, tmp_path):
    (tmp_path / "file").write_text("")
    message = refused("train", "--dir", tmp_path / "file" / "run", "--batch-size", 8)
    assert message == f"{tmp_path / 'file' / 'run'} cannot be a run folder: Not a directory"


def test_options_of_a_file_are_changed_and_underscores_are_dashes(tmp_path):
    from jaxlm.cli.train import parse

    file = tmp_path / "mine.py"
    file.write_text(
        "from jaxlm.experiment import Experiment\ndef experiment():\n    return Experiment(name='mine', steps=7)\n"
    )
    options = parse([str(file), "--optimizer.learning_rate", "0.5", "--model.use-bias", "False", "--batch-size=3"])
    assert (options.dir, options.experiment.steps) == ("runs/mine", 7)
    assert (options.experiment.optimizer.learning_rate, options.experiment.batch_size) == (0.5, 3)
    assert options.experiment.model.use_bias is False
    changed = dataclasses.replace(options.experiment, steps=8)
    assert parse([str(file), "--optimizer.learning_rate", "0.5", "--model.use-bias", "False", "--batch-size=3",
                  "--steps", "8"]).experiment == changed  # fmt: skip


@pytest.mark.parametrize("spelling", [["--dir", "{}"], ["--dir={}"]])
def test_without_a_file_the_folder_names_the_experiment(trained_run, spelling):
    from jaxlm.cli.train import parse

    options = parse([*(word.format(trained_run) for word in spelling), "--checkpoints.every", "3"])
    assert options.experiment.name == "small"
    assert options.experiment.checkpoints.every == 3


@pytest.mark.parametrize(("text", "step"), [("best", "best"), ("latest", "latest"), ("0", 0), ("1500", 1500)])
def test_steps_are_read(text, step):
    assert step_of(text) == step


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "Best"])
def test_steps_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="it must be best, latest or a number"):
        step_of(text)


def test_a_process_says_one_line_too():
    for words, code, message in (
        (["tain"], 2, "unknown verb 'tain'"),
        (["train", "--mesh.data", "3", "--mesh.fsdp", "5"], 2, "mesh data=3 fsdp=5 tensor=1 does not fit 2 devices"),
    ):
        process = Process(*words, JAX_NUM_CPU_DEVICES="2")
        assert process.end() == code
        assert process.errors.startswith(f"jaxlm: error: {message}")
        assert process.errors.count("\n") == 1


def test_the_command_line_needs_no_jax_to_refuse():
    code = (
        "import sys; from jaxlm.cli.main import main; main(['train', '--stepz', '1']); sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
