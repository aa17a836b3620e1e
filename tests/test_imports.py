"""The house has floors: imports only go down, data needs no JAX, and the numerical core needs little else."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxlm"
# From the top; rooms of one floor do not import each other.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"jaxlm"},  # jaxlm/__init__.py
    {"sweeps"},
    {"finetuning"},
    {"adapters", "averaging", "harness", "trained_run"},
    {"language_model"},
    {"training"},
    {"run_folder", "run_lock", "defaults"},
    {"experiment"},
    {"hub"},
    {"evaluation", "generation", "prediction"},
    {"tasks"},
    {"data"},
    {"parallel"},
    {"models"},
    {"text"},
    {"nn"},
    {"progress"},
    {"local_paths", "regular_files"},
    {"errors"},
    {"interrupts"},
]
FLOOR = {room: len(FLOORS) - level for level, rooms in enumerate(FLOORS) for room in rooms}
# Descriptions of a run: no arrays, so that reading or checking one imports no JAX.
DATA_ONLY = ("config.py", "errors.py", "experiment.py", "run_folder.py", "defaults.py")
CORE = (
    *("nn/", "models/", "tasks/", "generation/decoding.py", "generation/sampling.py"),
    *(f"training/{name}.py" for name in ("step", "state", "optimizers", "schedules")),
)
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "numpy", "grain", "tensorflow_datasets"}
CORE_IMPORTS = {"jax", "flax", "optax", "numpy", "jaxlm"}


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports_of(name: str, at_once: bool = False) -> frozenset[str]:
    """Full names of all modules that a file imports, `at_once` or also inside functions and for type checkers."""
    modules = set()
    tree = ast.parse(FILES[name].read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import hides which floor it reaches"
            # `from jaxlm import load` and `from jaxlm.nn import block` import from a package or a module in it.
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(modules)


def room_of(module: str) -> str:
    """'jaxlm.nn.block.Block' is in 'nn', 'jaxlm' and 'jaxlm.load' in 'jaxlm' (the package's own file)."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else "jaxlm"


def own_imports(name: str) -> list[str]:
    return sorted(module for module in imports_of(name) if module.split(".")[0] == "jaxlm")


def is_config(module: str) -> bool:
    """'jaxlm.models.config.ModelConfig' is the data of a room, which whoever describes a run may name."""
    return "config" in module.split(".")[2:4]


def test_every_file_has_its_floor():
    rooms = {name.split("/")[0].removesuffix(".py") for name in FILES} - {"__init__"}
    assert rooms == FLOOR.keys() - {"jaxlm"}


@pytest.mark.parametrize("name", FILES)
def test_imports_only_go_down(name):
    own_room = name.split("/")[0].removesuffix(".py").replace("__init__", "jaxlm")
    for module in own_imports(name):
        room = room_of(module)
        if room == own_room or (own_room == "experiment" and is_config(module)):
            continue
        assert FLOOR[room] < FLOOR[own_room], f"jaxlm/{name} imports {module}, which is not below it"


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("config.py")])
def test_a_config_imports_errors_and_nothing_else_of_the_package(name):
    assert {room_of(module) for module in own_imports(name)} <= {"errors"}


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(DATA_ONLY)])
def test_descriptions_import_no_arrays(name):
    assert {module.split(".")[0] for module in imports_of(name)}.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("cli/")])
def test_the_command_line_imports_no_arrays_until_it_must(name):
    assert {module.split(".")[0] for module in imports_of(name, at_once=True)}.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(CORE)])
def test_the_numerical_core_runs_on_jax_flax_optax_and_numpy_alone(name):
    roots = {module.split(".")[0] for module in imports_of(name)}
    assert roots <= CORE_IMPORTS | sys.stdlib_module_names


def modules_after(code: str) -> set[str]:
    """Top-level packages in a fresh process once `code` has run."""
    report = "import sys; print('MODULES', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


HELP = (
    "from jaxlm.cli.main import main\ntry:\n    main({words!r})\nexcept SystemExit as stop:\n    assert not stop.code"
)


@pytest.mark.parametrize(
    "code",
    [
        "import jaxlm",
        "import jaxlm; jaxlm.Experiment().validate()",
        *(HELP.format(words=words) for words in (["--help"], ["train", "--help"], ["generate", "--help"])),
        *(HELP.format(words=[verb, "--help"]) for verb in ("evaluate", "import", "export")),
        HELP.format(words=["data", "show", "--help"]),
        "from jaxlm.cli.main import main; assert main(['train', '--model.num_layers', 'many']) == 2",
    ],
    ids=[
        "import",
        "Experiment",
        "--help",
        "train --help",
        "generate --help",
        "evaluate --help",
        "import --help",
        "export --help",
        "data show --help",
        "a wrong option",
    ],
)
def test_what_computes_nothing_imports_no_jax(code):
    modules = modules_after(code)
    assert "jaxlm" in modules
    assert modules.isdisjoint({"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets"})


def test_the_core_imports_nothing_else_when_it_is_run():
    # Of what these bring, flax and optax have their own needs; what jaxlm brings beyond is listed by exclusion.
    modules = modules_after("import jaxlm.generation.decoding, jaxlm.tasks.causal_lm, jaxlm.training.step")
    assert modules.isdisjoint({"tyro", "grain", "tensorflow_datasets", "sentencepiece", "orbax", "torch"})
