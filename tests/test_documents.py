"""What README and docs/ tell to type can be typed: commands parse, Python runs, notebooks run at a small size."""

import importlib
import json
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import jaxlm
from jaxlm.cli import main
from jaxlm.hub.registry import FAMILIES
from jaxlm.models.presets import PRESETS

from .slow_cases import slow_after
from .small_exports import export_small
from .small_runs import TEXT

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
PLACEHOLDERS = {"TASK": "classification", "K": "1"}


class StopHereError(Exception):
    """The options were understood."""


def blocks(text, python):
    """Fenced blocks of Python or of anything else; indented lines are commands too."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = [body for language, body in fenced if (language == "python") == python]
    if not python:
        unfenced = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        found += re.findall(r"^    (.*)$", unfenced, re.MULTILINE)
    return found


def commands(path):
    """Every `jaxlm VERB ...` of a document, as words; optional parts in brackets are taken, comments are not."""
    for block in blocks(path.read_text("utf-8"), python=False):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\| |=\S+ )jaxlm (.*)", line.strip())
            if found and (words := shlex.split(re.sub(r"[\[\]]|\.\.\.", " ", found[1]), comments=True)):
                yield [PLACEHOLDERS.get(word, word) for word in words]


COMMANDS = [(path.name, words) for path in DOCUMENTS for words in commands(path)]


def test_commands_are_found():
    assert len(COMMANDS) > 30
    assert {words[0] for _, words in COMMANDS} <= main.VERBS.keys()


@pytest.mark.parametrize(("document", "words"), COMMANDS, ids=[f"{name}: {' '.join(w)}" for name, w in COMMANDS])
def test_a_command_of_the_documents_is_understood(document, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / "book.txt").write_text(TEXT)  # which the documents train on
    for file in sorted((ROOT / "jaxlm" / "cli").glob("*.py")):
        module = importlib.import_module(f"jaxlm.cli.{file.stem}")
        if file.stem == "options" or not hasattr(module, "parse_options"):
            continue

        def parse(*given, whole=module.parse_options, **named):
            whole(*given, **named)
            raise StopHereError

        monkeypatch.setattr(module, "parse_options", parse)
    with pytest.raises(StopHereError):
        importlib.import_module(f"jaxlm.cli.{words[0]}").run(words[1:])


def test_the_numbers_of_families_and_presets_are_those_that_there_are():
    readme, families = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/families.md"))
    found = [
        re.findall(pattern, readme) for pattern in (r"\[(\d+) families\]", r"(\d+) (?:\[presets\]|published sizes)")
    ]
    assert found == [[str(len(FAMILIES))], [str(len(PRESETS))] * 2]
    assert re.findall(r"and (\d+) more are the published", families) == [str(len(PRESETS) - 1)]
    kinds = {kind for family in FAMILIES for kind in family.model_types}
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| [^|]+ \|$", families, re.MULTILINE)
    assert kinds == {kind for row in rows[1:] for kind in re.findall("`([^`]+)`", row)}


def test_what_the_architecture_points_at_is_there():
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    places = re.findall(r"`([\w/]+\.py)`: `(\w+)`", page)
    assert len(places) >= 15
    for file, name in places:
        text = (ROOT / "jaxlm" / file).read_text("utf-8")
        assert re.search(rf"^ *(def|class) {name}\b|^ *{name}\b.*=", text, re.MULTILINE), (file, name)
    for file in re.findall(r"[`(]([a-z_]+(?:/[a-z_]+)+\.py)\b", page):
        assert (ROOT / "jaxlm" / file).is_file() or (ROOT / file).is_file(), file


SMALL = """
import jaxlm
from jaxlm.data.config import *
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.training.config import OptimizerConfig
model = dict(num_layers=1, embed_dim=16, num_heads=2)
text = DataConfig(source="text", files=("text.txt",))
"""


def run_python(source, names):
    """Runs a block, with the sizes in it made small; what it prints is not looked at."""
    exec(compile(source, "<document>", "exec"), names)
    return names


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return run_python(SMALL, {})


def test_the_python_of_the_readme_runs(names, tmp_path):
    (source,) = blocks((ROOT / "README.md").read_text("utf-8"), python=True)
    (tmp_path / "text.txt").write_text(f"{TEXT}\nROMEO: JULIET:\n" * 2)
    small = "batch_size=8, sample_every=0, model=ModelConfig(**model), data=text"
    for old, new in (("steps=500", f"steps=4, {small}"), ("max_new_tokens=200", "max_new_tokens=4")):
        assert old in source
        source = source.replace(old, new)
    names = run_python(source, names)
    assert (tmp_path / "shakespeare_gpt2" / "config.json").is_file()
    assert isinstance(names["model"], jaxlm.LanguageModel)


def test_the_python_on_families_runs(names, tmp_path):
    (source,) = blocks((ROOT / "docs" / "families.md").read_text("utf-8"), python=True)
    export_small("masked_lm", tmp_path / "models" / "bert-base-uncased")
    export_small("causal_lm", tmp_path / "models" / "Llama-3.2-1B")
    names |= {"ids": np.asarray([[4, 5, 6]]), "segment_ids": np.asarray([[1, 1, 0]])}
    assert "max_new_tokens=50" in source
    run_python(source.replace("max_new_tokens=50", "max_new_tokens=4"), names)


def test_the_python_on_inspection_runs(names, trained_run):
    names = names | {"model": jaxlm.load(trained_run)}
    for source in blocks((ROOT / "docs" / "inspection.md").read_text("utf-8"), python=True):
        run_python(source, names)
    assert names["weights"].shape[:2] == (1, names["heads"])
    assert float(abs(names["gradient"]).max()) > 0


class StandInRun:
    """What `wandb.init` gives, as far as the document uses it: the package is no part of the suite."""

    def __init__(self, **options):
        self.options, self.logged, self.finished = options, [], False

    def log(self, numbers, step):
        assert all(isinstance(value, int | float) for value in numbers.values())
        self.logged.append((step, numbers))

    def finish(self):
        self.finished = True


def test_the_python_on_training_runs(names, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    wandb = types.ModuleType("wandb")
    wandb.init = StandInRun
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    small = "batch_size=8, steps=4, log_every=2, sample_every=0, model=ModelConfig(**model), data=text"
    run_python(f"experiment = Experiment({small})", names)
    for source in blocks((ROOT / "docs" / "training.md").read_text("utf-8"), python=True):
        sizes = {"max_new_tokens=200": "max_new_tokens=4", "(100, longest": "(2, longest", ">= 400": ">= 3"}
        for old, new in sizes.items():
            source = source.replace(old, new)
        run_python(source.replace("(50, enough)", "(3, enough)"), names)
    kinds = {record["kind"] for record in jaxlm.train(names["experiment"], "runs/hooked").history}
    assert kinds == {"train", "validation", "hook"}


def test_all_python_of_the_documents_runs():
    """Blocks that no test above runs would rot: each is settings, or is run whole."""
    for path in DOCUMENTS[1:]:
        for source in blocks(path.read_text("utf-8"), python=True):
            assert path.stem in ("families", "training", "inspection") or source.startswith(("Experiment(", "data = "))


@pytest.mark.parametrize("path", DOCUMENTS[1:], ids=lambda path: path.stem)
def test_settings_in_the_documents_are_valid(path, names):
    for source in blocks(path.read_text("utf-8"), python=True):
        if source.startswith(("Experiment(", "data = ")):
            value = run_python(source if "=" in source.split("(")[0] else f"data = {source}", names)["data"]
            value.validate()


@pytest.mark.parametrize("path", slow_after(1, NOTEBOOKS), ids=lambda path: path.stem)
def test_a_notebook_runs_at_a_small_size(path, tmp_path, monkeypatch):
    """The cell tagged `parameters` gives the sizes; the metadata `small` of the notebook has small ones."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(path.read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum("parameters" in cell["metadata"].get("tags", ()) for cell in cells) == 1
    names: dict = {}
    for cell in cells:
        assert cell["outputs"] == []  # kept out of the history
        run_python("".join(cell["source"]), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            assert notebook["metadata"]["small"].keys() <= names.keys()
            names |= notebook["metadata"]["small"]
