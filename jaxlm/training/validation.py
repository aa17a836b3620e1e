"""The validation of a run: its held-out rows measured whole, and the score that checkpoints are chosen by."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from jaxlm.evaluation.perplexity import Perplexity, Split, measure
from jaxlm.evaluation.score import Score
from jaxlm.evaluation.scoring import measure_examples
from jaxlm.experiment import Experiment
from jaxlm.parallel.runtime import release_freed_memory
from jaxlm.progress import working
from jaxlm.tasks.labelled import LabelledSplit
from jaxlm.tasks.task import WholeSplit
from jaxlm.training.averaging import measured
from jaxlm.training.checkpoints import Checkpoints, require_finite
from jaxlm.training.claiming import chosen_by
from jaxlm.training.hooks import Moment
from jaxlm.training.layout import HostBatch, Layout
from jaxlm.training.programs import Programs


class Validation:
    """Measures, and remembers what it measured; a hook.

    Attributes:
      scores: by which checkpoints are chosen, of the validations so far.
      latest: the last validation of this call, or None.
      step: its step.
    """

    def __init__(
        self,
        experiment: Experiment,
        held_out: Mapping[str, WholeSplit],
        parts: Mapping[str, float],
        directions: Mapping[str, bool],
        layout: Layout,
        programs: Programs,
        checkpoints: Checkpoints,
    ):
        """Has measured nothing yet.

        Args:
          experiment: the resolved experiment.
          held_out: rows, by the name of the corpus.
          parts: see `jaxlm.tasks.task.Objective.parts`.
          directions: whether a higher value is better, by the name of the score.
          layout, programs, checkpoints: of the run.
        """
        self.scores: list[Score] = []
        self.latest: Perplexity | None = None
        self.step = -1
        self._experiment = experiment
        self._held_out = held_out
        self._parts = parts
        self._directions = directions
        self._layout = layout
        self._programs = programs
        self._checkpoints = checkpoints

    def remember(self, records: Iterable[Mapping[str, Any]], step: int) -> None:
        """Takes the scores up to a step from the metrics of a run that goes on."""
        every = self._experiment.evaluation.every or self._experiment.steps
        for record in records:
            # What was measured at the end of a run that was shorter then is no evaluation of this one.
            planned = record["step"] % every == 0 or record["step"] == self._experiment.steps
            if record["kind"] == "validation" and record["step"] <= step and planned:
                self.scores.append(self._score_of(record))

    def __call__(self, moment: Moment) -> None:
        """Measures the whole of what is held out.

        Raises:
          NonFiniteLossError: its loss is no number.
        """
        release_freed_memory()
        begun = time.perf_counter()
        found = self._measure(moment)
        require_finite(found.loss, "validation loss", moment.step, self._checkpoints)
        values = {
            "loss": found.loss,
            "standard_error": found.standard_error,
            **({} if math.isnan(found.perplexity) else {"perplexity": found.perplexity}),
            **({} if math.isnan(found.bits_per_byte) else {"bits_per_byte": found.bits_per_byte}),
            **found.metrics,
        }
        moment.trackers.log(moment.step, "validation", {**values, "seconds": time.perf_counter() - begun})
        moment.progress.validation(moment.step, values)
        self.latest, self.step = found, moment.step
        self.scores.append(self._score_of(values))

    def _measure(self, moment: Moment) -> Perplexity:
        params = measured(moment.state)
        total = sum(rows.num_rows for rows in self._held_out.values())
        label, say = f"step {moment.step:,}: validation", moment.progress.message
        with working(label, total, "rows", say=say) as shown:

            def scored(rows: Split) -> Iterator[Any]:
                left = rows.num_rows
                for batch in self._layout.evaluation_batches(rows, self._experiment):
                    yield self._score(params, moment.frozen, batch)
                    done = min(len(next(iter(batch.values()))) * jax.process_count(), left)
                    left -= done
                    shown.advance(done)

            (first, *_) = self._held_out.values()
            if isinstance(first, LabelledSplit):
                return measure_examples(first, scored(first), self._parts)
            return measure(self._held_out, scored, self._parts)

    def _score(self, params: dict, frozen: dict, batch: HostBatch) -> Any:
        return jax.device_get(self._programs.score(params, frozen, self._layout.put(batch)))

    def _score_of(self, values: Mapping[str, Any]) -> Score:
        """What checkpoints.best_by says of the values of a validation."""
        name = chosen_by(self._experiment, self._directions, values)
        return Score(name, float(values[name]), self._directions[name])
