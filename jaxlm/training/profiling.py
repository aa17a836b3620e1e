"""A look at what the devices do in a few steps, by JAX's profiler."""

import jax

from jaxlm.run_folder import RunFolder
from jaxlm.training.hooks import Moment

FOLDER = "profile"  # in a run folder
SKIPPED = 5  # the first steps of a call, in which memory and caches settle


class Profiler:
    """Records some steps of this call, told of each; it is no hook, since hooks wait for the steps before them.

    The folder `profile` of the run is for `tensorboard --logdir`, and its trace.json.gz for Perfetto.
    """

    def __init__(self, folder: RunFolder, first: int, steps: int, last: int):
        """Has recorded nothing yet.

        Args:
          folder: the run's.
          first: the step that this call begins after.
          steps: how many are recorded; of a short call those that are left behind its first step.
          last: the step that it ends with.
        """
        self._path = folder.path / FOLDER
        self._begin = first + max(1, min(SKIPPED, last - first - steps))
        self._end = self._begin + steps
        self._running = False

    def __call__(self, moment: Moment) -> None:
        """Begins or ends the recording where it is due."""
        if self._running and (moment.step >= self._end or moment.last or moment.stopping):
            jax.block_until_ready(moment.state.params)
            self.close()
            moment.say(f"profile of {moment.step - self._begin} steps: {self._path}")
        elif moment.step == self._begin and not moment.last:
            jax.block_until_ready(moment.state.params)
            jax.profiler.start_trace(self._path)
            self._running = True

    def close(self) -> None:
        """Ends a recording that is still running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
