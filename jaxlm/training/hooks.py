"""What happens between the steps of a run: pairs of an interval and a function, ours and those of a notebook.

def longest_word(moment):
    text = jaxlm.LanguageModel.at(moment).generate("The", max_new_tokens=50)
    return {"longest_word": max(map(len, text.split()))}

jaxlm.train(experiment, "runs/first", hooks=[(100, longest_word)])
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment
from jaxlm.models.adapters import merged
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.training.averaging import measured
from jaxlm.training.metrics_log import plain_value
from jaxlm.training.partial import joined
from jaxlm.training.progress import TrainingProgress
from jaxlm.training.state import TrainState
from jaxlm.training.trackers import Trackers


class Moment:
    """A run after one of its steps, as hooks see it.

    Its arrays are those of the run: the next step overwrites them, so that what is to outlive the call must be copied.

    Attributes:
      experiment: the resolved experiment.
      tokenizer: the run's.
      step: updates made.
      last: whether the run ends here, for whatever reason; every hook is called then.
      stopping: whether the run was asked to stop (SIGTERM, Ctrl-C) and will be gone on with later.
      state: the training state.
      frozen: the parameters that do not learn, which are no part of the state.
      trackers: where measurements go.
      progress: the screen.
    """

    def __init__(
        self,
        experiment: Experiment,
        tokenizer: Tokenizer,
        step: int,
        stopping: bool,
        state: TrainState,
        frozen: dict,
        trackers: Trackers,
        progress: TrainingProgress,
    ):
        self.experiment = experiment
        self.tokenizer = tokenizer
        self.step = step
        self.last = step == experiment.steps
        self.stopping = stopping
        self.state = state
        self.frozen = frozen
        self.trackers = trackers
        self.progress = progress

    @cached_property
    def params(self) -> dict:
        """The parameters that are measured and used: all of them, averaged and with adapters merged where there are."""
        return merged(self.experiment.adapter, joined(measured(self.state), self.frozen))

    def record(self, values: Mapping[str, Any]) -> None:
        """Writes numbers or texts, by name, to metrics.jsonl, the trackers and the screen; what a hook returns, too.

        Raises:
          UsageError: a value that is neither, or no mapping.
        """
        if not isinstance(values, Mapping):
            raise UsageError(f"a hook returned {values!r:.60}: return a mapping from names to numbers, or None")
        try:
            plain = {str(name): plain_value(name, value) for name, value in values.items()}
            self.trackers.log(self.step, "hook", plain)
        except ValueError as error:
            raise UsageError(f"a hook recorded what cannot be: {error}") from error
        self.progress.log(self.step, "hook", plain)

    def say(self, text: str) -> None:
        """Prints a line above the progress."""
        self.progress.message(f"step {self.step:,}: {text}")

    def stop(self, reason: str) -> None:
        """Ends the run here, as if this had been its last step: it is measured, saved and reported.

        The same call of `jaxlm.train` goes on with it, until it is stopped again. With several processes all must stop
        at the same step.
        """
        self.say(reason)
        self.last = True


HookFunction = Callable[[Moment], Mapping[str, Any] | None]


class Hook(NamedTuple):
    """Something that happens every so many steps, and at the end.

    Attributes:
      every: steps between calls, or several such numbers.
      call: what happens; what it returns is recorded.
      at_stop: whether it happens also where a run is asked to stop.
    """

    every: int | tuple[int, ...]
    call: HookFunction
    at_stop: bool = False

    def is_due(self, moment: Moment) -> bool:
        """Whether it is to be called at a moment."""
        return self.is_planned(moment) or (self.at_stop and moment.stopping)

    def is_planned(self, moment: Moment) -> bool:
        """Whether it would be called there had nobody asked for a stop."""
        intervals = self.every if isinstance(self.every, tuple) else (self.every,)
        return moment.last or any(moment.step % every == 0 for every in intervals)


def own_hooks(given: Iterable[tuple[int, HookFunction]]) -> list[Hook]:
    """Returns the hooks that a caller gave.

    Raises:
      UsageError: one that is no pair of a positive number of steps and a function.
    """
    found = []
    for pair in given:
        every, call = pair if isinstance(pair, tuple) and len(pair) == 2 else (0, None)
        if not callable(call) or not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise UsageError(
                f"{pair!r:.80} is no hook: give pairs of how many steps lie between two calls and a function of the "
                "moment, such as (100, measure)"
            )
        found.append(Hook(every, call))
    return found


def call_hooks(hooks: Sequence[Hook], moment: Moment) -> None:
    """Calls those that are due, in their order; where one ends the run, first those before it that were not."""
    passed: list[Hook] = []
    for hook in hooks:
        if hook.is_due(moment):
            ended = moment.last
            _call(hook, moment)
            if moment.last and not ended:
                for other in passed:
                    _call(other, moment)
        else:
            passed.append(hook)


def _call(hook: Hook, moment: Moment) -> None:
    values = hook.call(moment)
    if values is not None:
        moment.record(values)
    vars(moment).pop("params", None)  # with adapters a merged copy, which need not outlive the hook
