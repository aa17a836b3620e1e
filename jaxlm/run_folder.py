"""The run folder: all that training leaves and all that every later verb needs."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxlm.data.cache import digest
from jaxlm.errors import DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.hub.imported import IMPORTED_FACTS, Imported
from jaxlm.local_paths import refuse_address

LARGEST_DESCRIPTION = 1 << 24  # bytes; a real one has a few thousand, and many labels some million
VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunFolder:
    """The paths of a run and the description of its experiment.

    Attributes:
      path: the folder, absolute.
    """

    def __init__(self, path: str | os.PathLike):
        """Takes the folder, which need not exist.

        Raises:
          UsageError: the path is an address, such as gs://bucket/run.
        """
        refuse_address(path)
        self.path = Path(path).absolute()

    @property
    def description(self) -> Path:
        """The JSON file that describes the experiment."""
        return self.path / "experiment.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.path / "tokenizer"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints' folder."""
        return self.path / "checkpoints"

    @property
    def base(self) -> Path:
        """The folder of the parameters that do not learn, kept once beside the checkpoints of those that do."""
        return self.path / "base"

    def exists(self) -> bool:
        """Whether a run has been started here."""
        return self.description.is_file()

    def refuse_other_models(self) -> None:
        """Makes sure that a run may be started or gone on with here.

        Raises:
          UsageError: the folder holds a model of another kind, which a run beside it would hide; or one that was
            imported, of whose training there is nothing to go on with.
        """
        if self.exists():
            if self.read_experiment().data.source == "none":
                raise UsageError(
                    f"{self.path} holds an imported model, which can be used, evaluated and exported but has no "
                    "training to go on with: name another --dir"
                )
        elif self.path.is_dir() and any((*self.path.glob("config.json"), *self.path.glob("*.safetensors"))):
            raise UsageError(f"{self.path} holds a model already, and it is no run of jaxlm: name another --dir")
        elif self.checkpoints.is_dir() and any(re.fullmatch(r"\d+", each.name) for each in self.checkpoints.iterdir()):
            raise UsageError(
                f"{self.path} has checkpoints and no experiment.json, which says what they are: put it back, or name "
                "another --dir"
            )

    def read_experiment(self) -> Experiment:
        """The resolved experiment of this run.

        Raises:
          UsageError: if this is no run folder.
          DataError: if its description is damaged.
        """
        if not self.path.is_dir():
            raise UsageError(f"there is no folder {self.path}")
        if not self.exists():
            raise UsageError(f"{self.path} is not a run folder: it has no experiment.json")
        if self.description.stat().st_size > LARGEST_DESCRIPTION:
            raise DataError(f"{self.description} has more than {LARGEST_DESCRIPTION:,} bytes; it is not an experiment")
        try:
            values = json.loads(self.description.read_text("utf-8"))
            experiment = Experiment.from_dict(values["experiment"])
            experiment.validate()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{self.description} is damaged: {error}") from error
        except (DataError, UsageError) as error:
            raise DataError(f"{self.description}: {error}") from error
        if experiment.model.vocab_size is None or experiment.model.max_length is None:
            raise DataError(f"{self.description}: model.vocab_size and model.max_length must be there")
        return experiment

    def read_imported(self) -> Imported:
        """What `LanguageModel.save` adds to the description of an imported model; nothing of one that was trained.

        `read_experiment` comes first: it bounds and checks the file.

        Raises:
          DataError: if it is damaged.
        """
        return Imported.from_facts(json.loads(self.description.read_text("utf-8")), str(self.description))

    def corpus_fingerprint(self) -> str | None:
        """The fingerprint of the text that training began with; None where that is not recorded, as in older runs.

        `read_experiment` comes first: it bounds and checks the file.

        Raises:
          DataError: if it is damaged.
        """
        corpus = json.loads(self.description.read_text("utf-8")).get("corpus", {})
        fingerprint = corpus.get("fingerprint") if isinstance(corpus, dict) else 0
        if fingerprint is not None and not isinstance(fingerprint, str):
            raise DataError(f"{self.description} is damaged: corpus must be an object with a fingerprint")
        return fingerprint

    def objective(self) -> str | None:
        """The name of the function that the run minimises in place of its task's loss; None of any other run.

        `read_experiment` comes first: it bounds and checks the file.

        Raises:
          DataError: if it is damaged.
        """
        found = json.loads(self.description.read_text("utf-8")).get("objective")
        if found is not None and not isinstance(found, str):
            raise DataError(f"{self.description} is damaged: objective must be a name")
        return found

    def identity(self, step: int) -> str:
        """See `identity`, of this folder's description.

        Raises:
          UsageError, DataError: as `read_experiment`.
        """
        self.read_experiment()
        return identity(json.loads(self.description.read_text("utf-8")), step)

    def write_experiment(self, experiment: Experiment, facts: dict[str, Any]) -> None:
        """Writes the description: the experiment, `facts` about the run, date, command, versions, machine, revision."""
        self.path.mkdir(parents=True, exist_ok=True)
        description = {
            "name": experiment.name,
            "experiment": experiment.to_dict(),
            **facts,
            "versions": {"jaxlm": metadata.version("jaxlm"), **{name: metadata.version(name) for name in VERSIONS}},
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}",
            "git_revision": _git_revision(),
            "started": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "command": _command(),
        }
        self._write(description)

    def has_length(self, experiment: Experiment, step: int) -> bool:
        """Whether the first `step` updates would have been the same with the steps of `experiment`."""
        return identity(self._of_length(experiment), step) == self.identity(step)

    def set_length(self, experiment: Experiment) -> None:
        """Writes down that the run is to have as many steps as `experiment`, and leaves the rest as it is."""
        self._write(self._of_length(experiment))

    def _of_length(self, experiment: Experiment) -> dict[str, Any]:
        description = json.loads(self.description.read_text("utf-8"))
        description["experiment"] |= {"steps": experiment.steps, "epochs": experiment.epochs}
        return dict(description)

    def _write(self, description: dict[str, Any]) -> None:
        temporary = self.description.with_suffix(".tmp")
        temporary.write_text(json.dumps(description, indent=1) + "\n", "utf-8")
        os.replace(temporary, self.description)


def identity(description: Mapping[str, Any], step: int) -> str:
    """Returns a hash of all that made a model what it is after `step` updates, as its description has it.

    The length of the run counts where the learning rates up to `step` depend on it, and not before: so a run may become
    longer as long as that makes no difference, and what was written before stays what it was.

    Args:
      description: what experiment.json holds; or will hold: `experiment`, and what an import adds.
      step: updates made.
    """
    raw = dict(description["experiment"])
    experiment = Experiment.from_dict(raw)
    if not experiment.optimizer.depends_on_length(experiment.steps, step):
        del raw["steps"], raw["epochs"]
        raw["warmup"] = experiment.optimizer.warmup(experiment.steps)
    return digest({"experiment": raw, **{name: description.get(name) for name in IMPORTED_FACTS}})


def _command() -> str | None:
    """What was typed to start this process; None where it was a function call, as in a notebook."""
    program = Path(sys.argv[0]).name
    return shlex.join(["jaxlm", *sys.argv[1:]]) if program in ("jaxlm", "main.py") else None


def _git_revision() -> str | None:
    """Commit of the code that runs, with '+changes' if files differ from it; None outside a git checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        revision = git("rev-parse", "HEAD")
        return revision + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
