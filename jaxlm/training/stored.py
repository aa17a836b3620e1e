"""A model as it lies on disk, in a run folder or imported: read in one way by all who need one."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxlm.data.config import DataConfig
from jaxlm.errors import CheckpointError, DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.directory import ComputeDtype, is_model_directory, read_directory
from jaxlm.hub.files import read_json
from jaxlm.hub.imported import Imported
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import abstract_adapted, merged, path_of, shared_arrays
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.nn.stack import with_layout
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.tokenizer import Tokenizer, has_tokenizer, load_tokenizer
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.metrics_log import write_atomically
from jaxlm.training.partial import frozen_parts, joined, split
from jaxlm.training.state import TrainState

# Bytes of parameters that saving a model holds beside them.
COPIED_AT_ONCE = 1 << 26
REFERENCE = "reference.json"  # in the base's folder: where it lies instead
# Rows of an imported model without a limit of its own.
UNLIMITED_LENGTH = 1024


@dataclass(frozen=True)
class StoredModel:
    """Parameters with what is needed to use them.

    Attributes:
      experiment: the resolved experiment that trained them; of an imported model, its description and data.source
        'none'.
      params: nested dict of arrays: float32, or the types that they were imported in.
      tokenizer: of the model; None where the directory that it was imported from has none.
      step: the checkpoint's number of updates; 0 for an imported model.
      imported: what the model keeps of the directory that it was imported from.
    """

    experiment: Experiment
    params: dict
    tokenizer: Tokenizer | None
    step: int
    imported: Imported

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of a classifier's labels, if it has any."""
        return self.imported.labels or self.experiment.task.labels

    def with_layers(self, layers: Literal["scanned", "unrolled"]) -> "StoredModel":
        """Returns the same model with its layers stacked, or each by itself; see `jaxlm.nn.stack`."""
        model = replace(self.experiment.model, layers=layers)
        experiment = replace(self.experiment, model=model)
        return replace(self, experiment=experiment, params=with_layout(self.params, layers))


def read_stored(
    path: str | os.PathLike,
    step: int | Literal["best", "latest"] = "best",
    *,
    dtype: str | None = None,
    compute_dtype: ComputeDtype | None = None,
    apart: bool = False,
    allow_nan: bool = False,
) -> StoredModel:
    """Reads a model onto the first device of this process; see `jaxlm.language_model.load` for arguments and errors.

    Args:
      path, step, dtype, compute_dtype, allow_nan: see there.
      apart: whether adapters are left beside their bases, and not merged into them; see `jaxlm.models.adapters`.
    """
    run = RunFolder(path)
    if not run.exists() and is_model_directory(path):
        return _read_directory(path, dtype, compute_dtype, allow_nan)
    if run.path.is_dir() and not run.exists():
        raise UsageError(
            f"{path} holds no model: neither the experiment.json of a run nor the config.json of a Hugging Face "
            "directory" + (" (take the folder in its snapshots/)" if (run.path / "snapshots").is_dir() else "")
        )
    if not run.path.exists():
        raise UsageError(f"there is no folder {path}; jaxlm downloads nothing: fetch the model first")
    if dtype is not None:
        raise UsageError("dtype is for directories that are imported; a run keeps the types it was saved in")
    experiment = run.read_experiment()
    if compute_dtype is not None:
        experiment = replace(experiment, model=replace(experiment.model, dtype=compute_dtype))
    imported = experiment.data.source == "none"
    tokenizer = None if imported and not has_tokenizer(run.tokenizer) else load_tokenizer(run.tokenizer)
    _check_vocabulary(tokenizer, experiment.model, run.tokenizer)
    checkpoints = Checkpoints(run.checkpoints, identity=run.identity)
    if step == "best":
        chosen = checkpoints.best_step()
    elif step == "latest":
        chosen = checkpoints.latest_step()
    else:
        chosen = step
    if chosen is None:
        raise CheckpointError(f"{run.path} has no checkpoint yet: train until the first one is written")
    abstract = abstract_params(experiment.model)
    adapter = experiment.adapter
    if adapter.kind != "none":
        abstract = abstract_adapted(adapter, abstract)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    # What was frozen in training is beside the checkpoints; a model that was saved whole has all in one.
    frozen = frozen_parts(experiment.optimizer.freeze, adapter)
    learned, base = split(abstract, frozen if run.base.is_dir() else None)
    try:
        params = checkpoints.load_params(learned, jax.tree.map(lambda _: device, learned), chosen)
    except CheckpointError as error:
        if frozen is None or base:
            raise
        raise CheckpointError(f"{_missing_base(run)} ({error})") from error
    if base:
        params = joined(params, read_base(run, experiment, base, jax.tree.map(lambda _: device, base)))
    if adapter.kind != "none" and not apart:
        params = merged(adapter, params)
        experiment = replace(experiment, adapter=AdapterConfig())
    return StoredModel(experiment, params, tokenizer, chosen, run.read_imported())


def read_base(run: RunFolder, experiment: Experiment, abstract: dict, shardings: dict) -> dict:
    """Reads the parameters of a run that do not learn, verified by their checksums.

    Args:
      run: its folder.
      experiment: the run's, resolved.
      abstract: their shapes; the types are those that they were kept in.
      shardings: where each goes.

    Raises:
      CheckpointError: they are not there, corrupt or of another model.
    """
    if not run.base.is_dir():
        raise CheckpointError(_missing_base(run))
    if (run.base / REFERENCE).is_file():
        return _read_referred(run, experiment, abstract, shardings)
    return Checkpoints(run.base, identity=run.identity).load_params(abstract, shardings, 0)


def _missing_base(run: RunFolder) -> str:
    return f"{run.base} is missing: it holds the weights that this run froze; put it back"


def refer_to_base(run: RunFolder, directory: str | os.PathLike, weights: Mapping[str, jax.Array], kept: str) -> None:
    """Notes for `read_base` that the parameters that do not learn are those of a Hugging Face directory, by their hash.

    Such a directory is not written to again, so that many runs can share it; those of a run are copied instead.

    Args:
      run: its folder.
      directory: where they lie.
      weights: all of them, by their path in the model.
      kept: optimizer.frozen_dtype.
    """
    if jax.process_index() == 0:
        shutil.rmtree(run.base, ignore_errors=True)
        run.base.mkdir(parents=True)
        noted = {"directory": str(Path(directory).absolute()), "sha256": _hash(weights, kept)}
        write_atomically(run.base / REFERENCE, json.dumps(noted, indent=1).encode())


def _read_referred(run: RunFolder, experiment: Experiment, abstract: dict, shardings: dict) -> dict:
    try:
        noted = read_json(run.base, REFERENCE)
        told, expected = str(noted["directory"]), str(noted["sha256"])
    except (DataError, KeyError) as error:
        raise CheckpointError(f"{run.base / REFERENCE} is damaged ({error})") from error
    moved = run.base / "model"
    directory = moved if moved.exists() else Path(told)
    way_out = f"put it back, or make {moved} a link to where it is"
    if not is_model_directory(directory):
        raise CheckpointError(f"{directory} is missing: it holds the weights that {run.path} adapts; {way_out}")
    weights = with_layout(read_directory(directory).model.params, experiment.model.layers)
    found = shared_arrays(abstract, weights)
    names = {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(abstract)}
    kept = experiment.optimizer.frozen_dtype
    if found.keys() != names or _hash(found, kept) != expected:
        raise CheckpointError(f"{directory} has other weights than those that {run.path} adapts; {way_out}")
    return jax.tree_util.tree_map_with_path(
        lambda path, _, sharding: jax.device_put(_as_kept(found[path_of(path)], kept), sharding, may_alias=False),
        abstract,
        shardings,
    )


def _as_kept(weight: jax.Array, kept: str) -> np.ndarray:
    """Returns a parameter that does not learn in the type that it is kept in; see optimizer.frozen_dtype."""
    return np.asarray(weight, weight.dtype if kept == "stored" else kept)


def _hash(weights: Mapping[str, jax.Array], kept: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        weight = _as_kept(weights[name], kept)
        digest.update(f"{name} {weight.dtype} {weight.shape}\n".encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()


def write_base(run: RunFolder, frozen: dict) -> None:
    """Writes the parameters of a run that do not learn, once, for `read_base`; replaces those of a lost start.

    Raises:
      CheckpointError: they cannot be written.
    """
    if jax.process_index() == 0 and run.base.is_dir():
        shutil.rmtree(run.base)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("base")
    checkpoints = Checkpoints(run.base, identity=run.identity)
    checkpoints.save(TrainState(jax.numpy.int32(0), frozen, ()), 0, copied_at_once=COPIED_AT_ONCE)
    checkpoints.wait()


def _read_directory(
    path: str | os.PathLike, dtype: str | None, compute_dtype: ComputeDtype | None, allow_nan: bool
) -> StoredModel:
    directory = read_directory(path, dtype=dtype, compute_dtype=compute_dtype, allow_nan=allow_nan)
    model = directory.model
    _check_vocabulary(directory.tokenizer, model.config, path)
    experiment = Experiment(
        name=Path(path).absolute().stem,
        model=model.config,
        data=DataConfig(source="none", length=model.config.max_length or UNLIMITED_LENGTH),
        sampling=directory.generation or GenerationConfig(),
        task=model.task or TaskConfig(),
    )
    experiment.validate()
    return StoredModel(experiment, model.params, directory.tokenizer, 0, model.imported)


def _check_vocabulary(tokenizer: Tokenizer | None, config: ModelConfig, where: str | os.PathLike) -> None:
    if tokenizer is not None and tokenizer.vocab_size > (config.vocab_size or 0):
        raise DataError(
            f"the tokenizer in {where} has {tokenizer.vocab_size} tokens and the model {config.vocab_size}: it is not "
            "the one that the model was trained with; put that one there, or none to work with ids"
        )
