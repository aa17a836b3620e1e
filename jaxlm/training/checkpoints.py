"""Checkpoints: written in the background by Orbax, sealed by a manifest of checksums, verified when they are read.

A checkpoint `STEP/` holds what Orbax wrote (`state/`) and, written last, `manifest.json`: the step, the score that the
checkpoint is chosen by, hashes of the experiment and of the metrics that it belongs to, and the size and sha256 of
every file. Without its manifest it does not exist: so a process killed at any instant leaves the previous checkpoint
or the new one, and older ones are deleted only after that.
"""

import hashlib
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxlm.errors import CheckpointError, NonFiniteLossError
from jaxlm.evaluation.score import Score
from jaxlm.training.processes import all_agree
from jaxlm.training.state import TrainState

MANIFEST = "manifest.json"
STATE = "state"
CHUNK = 4 << 20  # bytes of an array that are encoded at once where memory is bounded
LARGEST_MANIFEST = 16 << 20  # bytes; a real one has some hundred for each file
STEP = re.compile(r"0|[1-9][0-9]{0,17}")  # what the folder of a checkpoint is called


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of a complete checkpoint without reading its arrays.

    Attributes:
      step: updates made.
      score: what it is chosen by, or None if nothing was measured when it was written.
    """

    step: int
    score: Score | None


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
      folder: where they are, one folder a step.
      keep_latest: how many of the newest are kept.
      keep_best: how many of those with the best score are kept besides.
      identity: from a step to the hash of the experiment that a checkpoint of that step belongs to; see
        `jaxlm.run_folder.identity`. None writes no hash and compares none.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        keep_latest: int = 1,
        keep_best: int = 0,
        identity: Callable[[int], str] | None = None,
    ):
        self.folder = Path(folder).absolute()
        self.keep_latest = keep_latest
        self.keep_best = keep_best
        self.identity = identity
        self._writer: threading.Thread | None = None
        self._writer_error: BaseException | None = None

    def all(self) -> list[CheckpointInfo]:
        """The complete checkpoints, by step.

        Raises:
          CheckpointError: the manifest of one is damaged.
        """
        return [CheckpointInfo(step, _score(self._manifest(step)["score"])) for step in self.steps()]

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, in order."""
        names = (entry.name for entry in (self.folder.iterdir() if self.folder.is_dir() else ()))
        return sorted(int(name) for name in names if STEP.fullmatch(name) and (self.folder / name / MANIFEST).is_file())

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        infos = self.all()
        return infos[-1].step if infos else None

    def best_step(self) -> int | None:
        """Step of the checkpoint with the best score (the newest one if none was measured), or None."""
        infos = self.all()
        measured = _by_rank(infos)
        if measured:
            return measured[0].step
        return infos[-1].step if infos else None

    def metrics_of(self, step: int) -> str | None:
        """The hash of the metrics up to a checkpoint's step, as `save` was told it; None if it was not.

        Raises:
          CheckpointError: the manifest is damaged.
        """
        return self._manifest(step)["metrics"]

    def save(
        self,
        state: TrainState,
        step: int,
        score: Score | None = None,
        copied_at_once: int | None = None,
        metrics: str | None = None,
    ) -> None:
        """Starts to write a checkpoint and returns once the arrays are copied; the rest happens in the background.

        Args:
          state: what to save; its buffers may be donated afterwards.
          step: its number of updates.
          score: what was measured of it, by which the best checkpoints are kept.
          copied_at_once: bytes of arrays that are copied before they are on disk (or the largest array's, if that is
            more); none copies all of them, which takes their memory a second time and lets training go on at once.
          metrics: a hash of the metrics up to this step.

        Raises:
          CheckpointError: if the previous checkpoint could not be written, or this one not begun.
        """
        from orbax.checkpoint import v1 as ocp

        self.wait()
        target = self.folder / str(step)
        if (target / MANIFEST).is_file():
            return
        if jax.process_index() == 0:
            try:
                self._remove_incomplete()
                target.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CheckpointError(f"a checkpoint in {self.folder} could not be written: {error}") from error
        if copied_at_once is not None:
            # Orbax refuses an array that is not smaller than the bound.
            copied_at_once = max(copied_at_once, *(leaf.nbytes + 1 for leaf in jax.tree.leaves(state)))
        identity = None if self.identity is None else self.identity(step)
        context = ocp.Context()
        context.memory.transfer_concurrent_bytes = copied_at_once
        context.memory.write_concurrent_bytes = copied_at_once
        if copied_at_once is not None:
            # Else a whole array is encoded at once, beside the copy of it.
            context.array.saving.storage_options.chunk_byte_size = CHUNK
        with context:
            response = ocp.save_checkpointables_async(
                target / STATE,
                _parts(state),
            )

        def finish() -> None:
            try:
                response.result()
                if jax.process_index() == 0:
                    self._seal(target, {"score": _plain(score), "experiment": identity, "metrics": metrics})
                    self._prune()
            except BaseException as error:  # surfaces in the next call of `wait`
                self._writer_error = error

        self._writer = threading.Thread(target=finish, name=f"checkpoint-{step}")
        self._writer.start()

    def wait(self) -> None:
        """Returns once everything that was saved is complete on disk, in every process of the run; all must wait.

        Raises:
          CheckpointError: in each of them, if it could not be written (disk full, folder gone).
        """
        if self._writer is None:
            return
        self._writer.join()
        error, self._writer, self._writer_error = self._writer_error, None, None
        # The first process seals, and the others may read only after that; nobody goes on if one could not write.
        if not all_agree(error is None):
            reason = error or "another process of the run says why"
            raise CheckpointError(f"a checkpoint in {self.folder} could not be written: {reason}") from error

    def verify(self, step: int) -> None:
        """Compares every file of a checkpoint with its manifest.

        Raises:
          CheckpointError: naming the first file that differs and the newest checkpoint that is sound.
        """
        problem = self._problem(step)
        if problem:
            raise CheckpointError(f"checkpoint {self.folder / str(step)} is corrupt: {problem}; {self._way_out(step)}")

    def load_state(self, abstract: TrainState, shardings: TrainState, step: int) -> TrainState:
        """Reads a whole training state onto the devices, whatever mesh it was written from.

        Args:
          abstract: shapes and dtypes.
          shardings: where each array goes.
          step: which checkpoint.

        Raises:
          CheckpointError: if it is missing, corrupt or of another model.
        """
        loaded = self._load(step, _parts(_with_shardings(abstract, shardings)))
        optimizer = loaded["optimizer"]
        if abstract.average is None:
            return TrainState(optimizer["step"], loaded["params"], optimizer["opt_state"])
        return TrainState(optimizer["step"], optimizer["learned"], optimizer["opt_state"], loaded["params"])

    def load_params(self, abstract: Any, shardings: Any, step: int) -> Any:
        """Reads the model's parameters alone, in the floating-point types that they were saved in.

        Arguments and errors as for `load_state`. An imported model keeps the types of its files, so those of
        `abstract` are not asked for.
        """
        return self._load(step, {"params": _with_shardings(abstract, shardings)}, stored_floats=True)["params"]

    def _load(self, step: int, wanted: dict[str, Any], stored_floats: bool = False) -> dict[str, Any]:
        from orbax.checkpoint import v1 as ocp

        if not (self.folder / str(step) / MANIFEST).is_file():
            known = ", ".join(map(str, self.steps())) or "none"
            raise CheckpointError(f"no checkpoint of step {step} in {self.folder}; there: {known}")
        self._refuse_other_experiment(step)
        self.verify(step)
        path = self.folder / str(step)
        try:
            # Compared before anything is read: Orbax abandons its other reads when one of them fails.
            stored = _arrays(ocp.checkpointables_metadata(path / STATE).metadata, wanted)
            if stored_floats:
                wanted = _with_stored_floats(wanted, stored)
            for name, array in _arrays(wanted, wanted).items():
                if stored.get(name) != array:
                    raise ValueError(f"{name} is {stored.get(name, 'not there')} instead of {array}")
            return ocp.load_checkpointables(path / STATE, wanted)
        except Exception as error:
            # Orbax raises many unrelated types here; the checksums hold, so the contents do not fit the request.
            raise CheckpointError(f"checkpoint {path} does not fit this model and optimizer: {error}") from error

    def _refuse_other_experiment(self, step: int) -> None:
        """Makes sure that a checkpoint was written under the experiment of its run."""
        if self._is_own(step):
            return
        description, path = self.folder.parent / "experiment.json", self.folder / str(step)
        own = [other for other in self.steps() if other != step and self._is_own(other)]
        if own:
            raise CheckpointError(
                f"checkpoint {path} is not of the run that {description} describes, as the others are: delete it, and "
                f"step {own[-1]} is there to go on from"
            )
        raise CheckpointError(
            f"{description} is not what checkpoint {path} was written under: one of them was changed, or comes from "
            "another run; put the right one back"
        )

    def _is_own(self, step: int) -> bool:
        return self.identity is None or self._manifest(step)["experiment"] == self.identity(step)

    def _manifest(self, step: int) -> dict[str, Any]:
        path = self.folder / str(step) / MANIFEST
        try:
            with open(path, "rb") as file:
                content = file.read(LARGEST_MANIFEST + 1)
            if len(content) > LARGEST_MANIFEST:
                raise ValueError(f"it has more than {LARGEST_MANIFEST:,} bytes")
            manifest = json.loads(content)
            _check_manifest(manifest)
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is not a manifest: {error}; {self._way_out(step)}") from error
        if manifest["step"] != step:
            raise CheckpointError(
                f"{path} is of step {manifest['step']}, and its folder's name says {step}: rename it, or delete it"
            )
        return manifest

    def _problem(self, step: int) -> str | None:
        """What is wrong with a checkpoint, or None."""
        folder = self.folder / str(step)
        expected = self._manifest(step)["files"]
        present = _files(folder)
        for name in sorted(set(expected) | set(present)):
            if name not in present:
                return f"{name} is missing"
            if name not in expected:
                return f"{name} is not in the manifest"
            if present[name].stat().st_size != expected[name]["size"]:
                return f"{name} has {present[name].stat().st_size} bytes instead of {expected[name]['size']}"
            if _sha256(present[name]) != expected[name]["sha256"]:
                return f"{name} does not match its checksum"
        return None

    def _way_out(self, bad_step: int) -> str:
        for step in sorted(self.steps(), reverse=True):
            try:
                sound = step != bad_step and self._is_own(step) and self._problem(step) is None
            except CheckpointError:
                sound = False
            if sound:
                return f"the last good checkpoint is step {step}: delete {self.folder / str(bad_step)} to go on from it"
        return f"no other checkpoint is sound: delete {self.folder} to start again"

    def _seal(self, target: Path, facts: dict[str, Any]) -> None:
        files = {
            name: {"size": path.stat().st_size, "sha256": _sha256(path)}
            for name, path in sorted(_files(target).items())
        }
        manifest = {"step": int(target.name), **facts, "files": files}
        temporary = target / (MANIFEST + ".tmp")
        with open(temporary, "w") as file:
            json.dump(manifest, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target / MANIFEST)

    def _prune(self) -> None:
        infos = self.all()
        keep = {info.step for info in infos[-self.keep_latest :]}
        keep |= {info.step for info in _by_rank(infos)[: self.keep_best]}
        for info in infos:
            if info.step not in keep:
                # Manifest first: a half-deleted checkpoint must not look complete.
                (self.folder / str(info.step) / MANIFEST).unlink()
                shutil.rmtree(self.folder / str(info.step))

    def _remove_incomplete(self) -> None:
        for entry in self.folder.glob("*") if self.folder.is_dir() else ():
            if STEP.fullmatch(entry.name) and not (entry / MANIFEST).is_file():
                shutil.rmtree(entry)


def require_finite(value: float, name: str, step: int, checkpoints: Checkpoints) -> None:
    """Gives up where training has brought what is no number, with the last checkpoint kept.

    Args:
      value: what was measured.
      name: what it is.
      step: where.
      checkpoints: the run's.

    Raises:
      NonFiniteLossError: it is infinite or no number.
    """
    if math.isfinite(value):
        return
    checkpoints.wait()
    good = checkpoints.latest_step()
    kept = "no checkpoint was written before" if good is None else f"the checkpoint of step {good:,} is kept"
    raise NonFiniteLossError(
        f"{name.replace('_', ' ')} is {float(value)} at step {step:,}; {kept}. A lower optimizer.learning_rate, more "
        "optimizer.warmup_steps or a smaller optimizer.clip_norm often helps"
    )


def _by_rank(infos: Iterable[CheckpointInfo]) -> list[CheckpointInfo]:
    """Those that were measured, the best first.

    checkpoints.best_by may be another one since a run went on: what counts is the score of the newest.
    """
    measured = [info for info in infos if info.score is not None]
    scores = {info.step: info.score for info in measured if info.score is not None}
    name = scores[max(scores)].name if scores else None
    return sorted(
        (info for info in measured if scores[info.step].name == name),
        key=lambda info: (scores[info.step].rank, info.step),
    )


def _plain(score: Score | None) -> dict[str, Any] | None:
    """A score as JSON has it, which knows no infinity and nothing that is no number."""
    if score is None or not math.isfinite(score.value):
        return None
    return {"name": score.name, "value": score.value, "higher_is_better": score.higher_is_better}


def _score(plain: dict[str, Any] | None) -> Score | None:
    return None if plain is None else Score(plain["name"], plain["value"], plain["higher_is_better"])


def _check_manifest(manifest: Any) -> None:
    """Raises ValueError for the first thing that is not as `_seal` writes it."""
    if not isinstance(manifest, dict):
        raise ValueError("it is no object")
    for name in ("step", "score", "experiment", "metrics", "files"):
        if name not in manifest:
            raise ValueError(f"{name} is missing")
    if type(manifest["step"]) is not int:
        raise ValueError("step is no whole number")
    for name in ("experiment", "metrics"):
        if not isinstance(manifest[name], str | None):
            raise ValueError(f"{name} is no hash")
    score = manifest["score"]
    if score is not None and not (
        isinstance(score, dict)
        and isinstance(score.get("name"), str)
        and type(score.get("value")) in (int, float)
        and isinstance(score.get("higher_is_better"), bool)
    ):
        raise ValueError("score is not a name, a value and whether higher is better")
    files = manifest["files"]
    if not isinstance(files, dict) or not all(
        isinstance(one, dict) and type(one.get("size")) is int and isinstance(one.get("sha256"), str)
        for one in files.values()
    ):
        raise ValueError("files are not sizes and checksums by name")


def _parts(state: TrainState) -> dict[str, Any]:
    """What a checkpoint consists of: the parameters that are used, an average if one is kept, and the optimizer's."""
    optimizer = {"step": state.step, "opt_state": state.opt_state}
    if state.average is None:
        return {"params": state.params, "optimizer": optimizer}
    return {"params": state.average, "optimizer": {**optimizer, "learned": state.params}}


def _files(folder: Path) -> dict[str, Path]:
    """The files of a checkpoint but its manifest, by their path in it."""
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in names.items() if name not in (MANIFEST, MANIFEST + ".tmp")}


def _arrays(tree: dict[str, Any], parts: Iterable[str]) -> dict[str, str]:
    """Type and shape of each array of some parts of a state, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(
        {part: tree.get(part) for part in parts}, is_leaf=lambda leaf: hasattr(leaf, "shape")
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _with_stored_floats(wanted: dict[str, Any], stored: dict[str, str]) -> dict[str, Any]:
    """The wanted arrays in the types of the stored ones (from `_arrays`), where those are floating-point types too."""

    def as_stored(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        dtype = stored.get(jax.tree_util.keystr(path, simple=True, separator="/"), "").partition("[")[0]
        return leaf.update(dtype=dtype) if dtype in ("float32", "float16", "bfloat16") else leaf

    return jax.tree_util.tree_map_with_path(as_stored, wanted)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_shardings(abstract: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings)
