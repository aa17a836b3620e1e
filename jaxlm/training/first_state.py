"""The state that a run begins with: drawn, or taken from the model that it begins from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from jaxlm.experiment import Experiment
from jaxlm.models.adapters import measure_magnitudes, path_of, shared_arrays
from jaxlm.run_folder import RunFolder
from jaxlm.training.averaging import begin_average
from jaxlm.training.layout import Layout
from jaxlm.training.partial import frozen_parts, joined, parts_of, split
from jaxlm.training.starting import keeps_labels, with_weights
from jaxlm.training.state import TrainState, init_frozen, init_state
from jaxlm.training.stored import StoredModel, refer_to_base, write_base


def first_state(
    experiment: Experiment,
    folder: RunFolder,
    layout: Layout,
    optimizer: optax.GradientTransformation,
    start: StoredModel | None,
    say: Callable[[str], None],
) -> tuple[TrainState, dict]:
    """Draws the initial state, and takes what the model that is begun from has for it.

    Args:
      experiment: the resolved experiment.
      folder: the run's, which keeps what does not learn.
      layout: where everything lies.
      optimizer: whose state begins here.
      start: the model that is begun from, if any.
      say: prints.

    Returns:
      The state, and the parameters that do not learn: beside the state, so that no step copies or differentiates them.
    """
    adapter, kept = experiment.adapter, experiment.optimizer.frozen_dtype
    given = None if experiment.start_with == "shape" else start
    state = init_state(experiment.model, optimizer, layout.state, experiment.seed, adapter)
    whole = joined(layout.abstract.params, layout.abstract_frozen)
    labels = given is not None and keeps_labels(given.experiment, given.labels, experiment)
    found = shared_arrays(whole, given.params, labels) if given is not None else {}

    def is_given(tree: dict) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path_of(path) in found, tree)

    # Of what does not learn, only what the other model lacks is drawn.
    missing, _ = split(layout.frozen, is_given)
    frozen = init_frozen(experiment.model, missing, experiment.seed, adapter)
    if kept == "bfloat16":
        frozen = jax.tree.map(lambda leaf: leaf.astype(kept), frozen)
    if given is not None:
        _, others = split(layout.abstract_frozen, is_given)
        types = {
            path_of(path): found[path_of(path)].dtype if kept == "stored" else kept
            for path, _ in jax.tree_util.tree_leaves_with_path(others)
        }
        params = joined(state.params, joined(frozen, others))
        shardings = joined(layout.state.params, layout.frozen)
        params, transfer = with_weights(params, shardings, given.params, labels, types)
        say(transfer.summary(f"{experiment.start_from} (step {given.step:,})"))
        learned, frozen = split(params, frozen_parts(experiment.optimizer.freeze, adapter))
        if adapter.kind == "dora":
            # Lengths of columns are those of the weights that were drawn.
            measure = jax.jit(
                lambda own, base: parts_of(measure_magnitudes(joined(own, base)), own),
                out_shardings=layout.state.params,
            )
            learned = measure(learned, frozen)
        state = dataclasses.replace(state, params=learned)
    if frozen:
        _keep_base(experiment, folder, frozen, found, say)
    return begin_average(state), frozen


def _keep_base(
    experiment: Experiment,
    folder: RunFolder,
    frozen: dict,
    found: Mapping[str, jax.Array],
    say: Callable[[str], None],
) -> None:
    """Keeps what does not learn, for runs that go on and for what is loaded: by reference, or else once.

    Args:
      experiment, folder, frozen, say: see `first_state`.
      found: what was taken from another model.
    """
    names = {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(frozen)}
    if names <= found.keys() and not RunFolder(experiment.start_from).exists():
        weights = {name: found[name] for name in names}
        refer_to_base(folder, experiment.start_from, weights, experiment.optimizer.frozen_dtype)
        say(f"base: {experiment.start_from}, by a hash of its weights; nothing of it is copied")
    else:
        write_base(folder, frozen)
