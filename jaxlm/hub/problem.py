"""What the scores of a directory's classifier mean, and the task of ours that they are.

transformers has it in `problem_type`: labels of which one holds, any number hold (a sigmoid each), or a number. The
cross-encoders of sentence-transformers give one number, and name what it goes through in a field of their own; a model
with one label that says nothing gives the number as it is.
"""

from typing import Any, Literal

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig

SINGLE, MULTI, NUMBER = "single_label_classification", "multi_label_classification", "regression"
# Fields of config.json that say what its scores are for: an export of an imported model has them as they were.
KEPT = (
    *("problem_type", "sbert_ce_default_activation_function", "sentence_transformers"),
    *("task_specific_params", "finetuning_task", "prefix"),
)
LABEL_NAMES = ("id2label", "label2id")
SIGMOID, IDENTITY = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"
# By the last part of the name of a module of PyTorch.
_ACTIVATIONS: dict[str, Literal["none", "sigmoid"]] = {"Identity": "none", "Sigmoid": "sigmoid"}


def read_task(reader: ConfigReader, config: ModelConfig, labels: tuple[str, ...]) -> TaskConfig | None:
    """The task that a directory's head does; None for one that predicts nothing of labelled examples.

    Args:
      reader: its config.json.
      config: of the model.
      labels: the names of its labels.

    Raises:
      UsageError: scores that are used in another way than one of ours.
    """
    if config.task_head == "token_classification":
        return TaskConfig("tagging", labels=labels)
    if config.task_head == "question_answering":
        return TaskConfig("question_answering")
    if config.task_head != "sequence_classification":
        return None
    kind = reader.expect("problem_type", None, SINGLE, MULTI, NUMBER)
    if kind == MULTI:
        return TaskConfig("multi_label", labels=labels)
    if config.num_labels > 1:
        if kind == NUMBER:
            raise UsageError(
                f"{reader.where}: problem_type {NUMBER} with {config.num_labels} numbers is not supported; only one "
                "number is"
            )
        return TaskConfig("classification", labels=labels)
    return TaskConfig("regression", score_activation=_activation(reader))


def _activation(reader: ConfigReader) -> Literal["none", "sigmoid"]:
    """What the one number of a cross-encoder goes through; the newer field counts before the older."""
    own = ConfigReader(reader.get("sentence_transformers", dict, {}), f"{reader.where} (sentence_transformers)")
    own.ignore("version", "model_type")
    name = own.get("activation_fn", str, None) or reader.get("sbert_ce_default_activation_function", str, None)
    own.finish()
    if name is None:
        return "none"
    if name.rpartition(".")[2] not in _ACTIVATIONS:
        raise UsageError(
            f"{reader.where}: the activation {ascii(name)[:100]} of its number is not supported; known: "
            f"{IDENTITY}, {SIGMOID}"
        )
    return _ACTIVATIONS[name.rpartition(".")[2]]


def kept_fields(reader: ConfigReader, task: TaskConfig | None) -> dict[str, Any]:
    """The fields of an imported model's config.json that an export has as they were."""
    # The label of a number is no label of ours.
    names = (*KEPT, *LABEL_NAMES) if task is not None and task.kind == "regression" else KEPT
    return reader.part(names)


def problem_fields(task: TaskConfig, config: ModelConfig) -> dict[str, Any]:
    """The fields of config.json that say what the scores of a model that was trained here mean."""
    if config.task_head != "sequence_classification":
        return {}
    if task.kind == "multi_label":
        return {"problem_type": MULTI}
    if task.kind == "regression":
        # Without a name, a CrossEncoder takes a sigmoid of one number.
        name = SIGMOID if task.score_activation == "sigmoid" else IDENTITY
        return {"problem_type": NUMBER, "sentence_transformers": {"activation_fn": name}}
    return {}
