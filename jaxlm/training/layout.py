"""Where the arrays of a run lie: what there is, of which shape, and how it is split over the devices."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from jaxlm.errors import UsageError
from jaxlm.evaluation.perplexity import Split
from jaxlm.evaluation.sizes import batch_tokens
from jaxlm.experiment import Experiment
from jaxlm.parallel.mesh import batch_sharding, replicated
from jaxlm.training.state import TrainState, frozen_shardings, state_shardings

HostBatch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """The arrays of a run and their shardings, before any of them is there.

    Attributes:
      mesh: the devices.
      abstract: shapes of the state.
      state: its shardings, in the same structure.
      abstract_frozen: shapes of the parameters that do not learn; empty where all do.
      frozen: their shardings.
      batch: the sharding of a batch's arrays.
      notes: dimensions that are not split although the mesh has an axis for them, in words.
    """

    mesh: Mesh
    abstract: TrainState
    state: TrainState
    abstract_frozen: dict
    frozen: dict
    batch: NamedSharding
    notes: list[str]

    @property
    def shards(self) -> int:
        """Parts that the rows of a batch are split in."""
        return self.mesh.shape["data"] * self.mesh.shape["fsdp"]

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what every device has."""
        return replicated(self.mesh)

    def put(self, batch: HostBatch) -> dict[str, jax.Array]:
        """Lays this process's rows of a batch on its devices."""
        return {name: jax.make_array_from_process_local_data(self.batch, x) for name, x in batch.items()}

    def evaluation_batches(self, rows: Split, experiment: Experiment) -> Iterator[HostBatch]:
        """Returns this process's part of the batches of a held-out split."""
        return rows.batches(
            experiment.evaluation.batch_size,
            divisor=self.shards,
            most_tokens=batch_tokens(experiment.model) * self.shards,  # alike on all hosts
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )


def make_layout(experiment: Experiment, optimizer: optax.GradientTransformation, mesh: Mesh) -> Layout:
    """Plans where everything lies.

    Raises:
      UsageError: the mesh splits products over processes, or a batch does not divide over its devices.
    """
    if jax.local_device_count() % mesh.shape["tensor"]:
        raise UsageError(
            f"mesh.tensor {mesh.shape['tensor']} would split products over processes of {jax.local_device_count()} "
            "devices: it must divide that number"
        )
    model, adapter, freeze = experiment.model, experiment.adapter, experiment.optimizer.freeze
    averaging = experiment.optimizer.average_decay > 0
    abstract, shardings, notes = state_shardings(model, optimizer, mesh, adapter, averaging, freeze)
    abstract_frozen, frozen = frozen_shardings(model, mesh, adapter, freeze)
    layout = Layout(mesh, abstract, shardings, abstract_frozen, frozen, batch_sharding(mesh), notes)
    if experiment.batch_size % (experiment.accumulation * layout.shards):
        raise UsageError(
            f"batch_size {experiment.batch_size} does not divide into {experiment.accumulation} microbatches over "
            f"{layout.shards} devices (mesh data x fsdp): use a multiple of {experiment.accumulation * layout.shards}"
        )
    return layout
