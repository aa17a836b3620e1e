"""The task that a configuration names: the one place that knows them all."""

from collections.abc import Callable
from functools import partial

from jaxlm.data.config import DataConfig
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.bert import bert
from jaxlm.tasks.causal_lm import causal_lm
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.denoising import denoising
from jaxlm.tasks.fill_in_the_middle import fill_in_the_middle
from jaxlm.tasks.masked_lm import masked_lm
from jaxlm.tasks.permutation_lm import permutation_lm
from jaxlm.tasks.prefix_lm import prefix_lm
from jaxlm.tasks.replaced_token import replaced_token
from jaxlm.tasks.span_corruption import span_corruption
from jaxlm.tasks.task import Task
from jaxlm.text.tokenizer import Tokenizer

_TASKS: dict[str, Callable[[TaskConfig, ModelConfig, DataConfig, Tokenizer], Task]] = {
    "causal_lm": causal_lm,
    "masked_lm": masked_lm,
    "bert": bert,
    "replaced_token": replaced_token,
    "denoising": denoising,
    "permutation_lm": permutation_lm,
    "fill_in_the_middle": fill_in_the_middle,
    "prefix_lm": prefix_lm,
    **{kind: partial(span_corruption, kind=kind) for kind in ("span_corruption", "ul2")},
}


def make_task(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """Returns the task of config.kind for a model, whose vocabulary and context are set.

    Raises:
      UsageError: model, data or tokenizer are not what the task needs; the message says what is.
    """
    return _TASKS[config.kind](config, model, data, tokenizer)
