"""What the steps gave: their losses made sure of, added up, logged, and shown."""

import time
from collections.abc import Mapping
from typing import Any

import jax
import optax

from jaxlm.parallel.hardware import peak_flops
from jaxlm.training.checkpoints import Checkpoints, require_finite
from jaxlm.training.hooks import Moment
from jaxlm.training.ledger import Ledger
from jaxlm.training.progress import TrainingProgress


class Recorder:
    """The measurements of the steps since the last record.

    They stay on the devices until `settle` fetches them, so that steps need not wait for each other.

    Attributes:
      ledger: what all steps so far were made of.
    """

    def __init__(self, ledger: Ledger, schedule: optax.Schedule, checkpoints: Checkpoints):
        """Has seen nothing yet.

        Args:
          ledger: that of the steps before.
          schedule: from the number of an update, from 0, to its learning rate.
          checkpoints: those of the run, to be named where it has to give up.
        """
        self.ledger = ledger
        self._schedule = schedule
        self._checkpoints = checkpoints
        self._pending: list[dict[str, Any]] = []
        self._latest: dict[str, Any] = {}
        self.begin_interval()

    def begin_interval(self) -> None:
        """Begins to count time, and what is done in it, anew."""
        self._seconds, self._resumed = 0.0, time.perf_counter()
        self._input_wait = 0.0
        self._columns, self._flops = 0, 0.0

    def pause(self) -> None:
        """Stops the clock: what hooks take is not the time of steps."""
        self._seconds += time.perf_counter() - self._resumed

    def go_on(self) -> None:
        """Lets the clock run again."""
        self._resumed = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Adds what was waited for a batch."""
        self._input_wait += seconds

    def add(self, metrics: dict[str, Any], columns: int, flops: int) -> None:
        """Takes what a step gave.

        Args:
          metrics: see `jaxlm.training.step.make_train_step`.
          columns: places for tokens in its batch.
          flops: its operations.
        """
        self._pending.append(metrics)
        self._columns += columns
        self._flops += flops

    def settle(self, step: int) -> None:
        """Fetches what was added, the last of it that of `step`, and makes sure of it.

        Raises:
          NonFiniteLossError: a loss or a gradient is no number.
        """
        fetched = jax.device_get(self._pending)
        self._pending = []
        for index, metrics in enumerate(fetched):
            self.ledger = self.ledger.plus(metrics.pop("ledger"))
            for name in ("loss", "gradient_norm"):
                require_finite(float(metrics[name]), name, step - len(fetched) + 1 + index, self._checkpoints)
        self._latest = fetched[-1]

    def log(self, moment: Moment) -> None:
        """Logs and shows the last step, and begins another interval: a hook, called while the clock stands."""
        values = self._measures(moment.step, self._seconds)
        moment.trackers.log(moment.step, "train", values)
        moment.progress.update(moment.step, values)
        self.begin_interval()

    def show_slow(self, step: int, progress: TrainingProgress) -> None:
        """Shows the first step and slow ones at once, for the eyes alone: what is recorded does not know the clock."""
        if progress.is_due():
            if self._pending:
                self._latest = jax.device_get({name: x for name, x in self._pending[-1].items() if name != "ledger"})
            progress.update(step, self._measures(step, self._seconds + time.perf_counter() - self._resumed))

    def _measures(self, step: int, seconds: float) -> Mapping[str, Any]:
        """What the last step gave, and how fast the steps since the last record were, in so many seconds."""
        flops = self._flops / seconds
        values: dict[str, Any] = {
            "loss": float(self._latest["loss"]),
            "learning_rate": float(self._schedule(step - 1)),
            "gradient_norm": float(self._latest["gradient_norm"]),
            **{
                name: float(self._latest[name])
                for name in self._latest
                if name not in ("loss", "gradient_norm", "weight")
            },
            "tokens": sum(self.ledger.tokens),
            "seconds": seconds,
            "tokens_per_second": self._columns / seconds,
            "tflops_per_second": flops / 1e12,
            "input_wait": self._input_wait / seconds,
        }
        peak = peak_flops(jax.devices()[0])
        if peak is not None:
            values["mfu"] = flops / (peak * jax.device_count())
        return values
