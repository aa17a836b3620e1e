"""jaxlm: language models on JAX.

    import jaxlm

    result = jaxlm.train(jaxlm.Experiment(steps=200), "runs/first")  # .history, .plot()
    model = result.model  # or jaxlm.load("runs/first")
    model.generate("To be", max_new_tokens=100)
    model.evaluate()
    jaxlm.finetune(experiment, "runs/tuned")  # on labelled examples: docs/finetuning.md

Names are loaded when they are used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxlm.experiment import Experiment
    from jaxlm.finetuning import finetune
    from jaxlm.language_model import LanguageModel, load
    from jaxlm.sweeps import sweep
    from jaxlm.trained_run import train

_HOME = {
    "Experiment": "jaxlm.experiment",
    "LanguageModel": "jaxlm.language_model",
    "finetune": "jaxlm.finetuning",
    "load": "jaxlm.language_model",
    "sweep": "jaxlm.sweeps",
    "train": "jaxlm.trained_run",
}
__all__ = ["Experiment", "LanguageModel", "finetune", "load", "sweep", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'jaxlm' has no attribute {name!r}")
