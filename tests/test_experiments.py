"""The files of experiments/: each gives an experiment that could start, and says how to start it."""

import ast
from pathlib import Path

import pytest

from jaxlm.cli.train import load_experiment
from jaxlm.experiment import Experiment

FOLDER = Path(__file__).parents[1] / "experiments"


def defines_experiment(path):
    """Whether a file has a function of this name, told without running it."""
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body)


FILES = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if defines_experiment(path)}


def test_experiments_are_found():
    assert {"shakespeare_gpt", "bert_mini_wikitext2"} <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_an_experiment_validates_and_comes_back_from_its_description(name):
    experiment = load_experiment(str(FILES[name]))
    experiment.validate()
    assert Experiment.from_dict(experiment.to_dict()) == experiment
    assert experiment.resolve(experiment.tokenizer.vocab_size or 65).model.max_length == experiment.data.length


@pytest.mark.parametrize("name", FILES)
def test_a_docstring_names_its_command(name):
    docstring = ast.get_docstring(ast.parse(FILES[name].read_text("utf-8")))
    assert f"jaxlm train experiments/{name}.py --dir runs/" in docstring


def test_no_two_experiments_have_a_name_in_common():
    names = [load_experiment(str(path)).name for path in FILES.values()]
    assert len(set(names)) == len(names)
