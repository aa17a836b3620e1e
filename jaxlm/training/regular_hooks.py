"""What every run does between its steps, besides logging and validating: ledger, samples, checkpoints, report."""

import jax

from jaxlm.data.step_rows import StepRows
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import generate_text
from jaxlm.parallel.runtime import release_freed_memory
from jaxlm.run_folder import RunFolder
from jaxlm.training.checkpoints import Checkpoints, require_finite
from jaxlm.training.hooks import Hook, HookFunction, Moment
from jaxlm.training.programs import Programs
from jaxlm.training.recorder import Recorder
from jaxlm.training.report import write_report
from jaxlm.training.validation import Validation


def ledger_hook(every: tuple[int, ...], recorder: Recorder, rows: StepRows) -> Hook:
    """Returns the hook that writes what the updates were made of, so that a run that goes on counts on from there.

    Args:
      every: steps between validations, and between checkpoints.
      recorder: has the ledger.
      rows: those of the steps.
    """

    def write_ledger(moment: Moment) -> None:
        # A stop comes when nothing was planned, and an undisturbed run has no such record: it is an event.
        kind, values = ("ledger", {}) if hook.is_planned(moment) else ("event", {"name": "stopped"})
        counts = recorder.ledger.record(rows.epoch_rows(moment.step))
        moment.trackers.log(moment.step, kind, {**values, **counts})

    hook = Hook(every, write_ledger, at_stop=True)
    return hook


def sample(moment: Moment) -> None:
    """Generates from the prompt of the experiment: a hook."""
    if jax.process_count() > 1:
        return  # parameters may lie on several machines; `jaxlm generate` samples from a checkpoint
    release_freed_memory()
    experiment = moment.experiment
    prompt = experiment.sample_prompt
    assert prompt is not None, "the inputs have settled it"
    generator = TokenGenerator(experiment.model, moment.params)
    (text,) = generate_text(generator, moment.tokenizer, [prompt], experiment.sampling)
    moment.trackers.log(moment.step, "sample", {"text": [prompt + text]})
    moment.say(f"sample: {prompt}{text}")


def saving(checkpoints: Checkpoints, validation: Validation, programs: Programs) -> HookFunction:
    """Returns the hook that writes a checkpoint, with its score if it was measured.

    It raises NonFiniteLossError for parameters that are no numbers, and CheckpointError if it cannot write.
    """

    def save(moment: Moment) -> None:
        # The loss of a step is that of the parameters before it, so it says nothing of what is saved here.
        norm = float(programs.params_norm(moment.state.params))
        require_finite(norm, "norm of the parameters", moment.step, checkpoints)
        release_freed_memory()
        metrics = moment.trackers.sync()
        score = validation.scores[-1] if validation.step == moment.step else None
        checkpoints.save(moment.state, moment.step, score, metrics=metrics)
        if jax.default_backend() == "cpu":
            # Here the writer would compete with the next step for cores and memory.
            checkpoints.wait()

    return save


def report(folder: RunFolder) -> HookFunction:
    """Returns the hook that writes the run's page."""

    def write(moment: Moment) -> None:
        if jax.process_index() == 0:
            write_report(folder.path)
        release_freed_memory()

    return write
