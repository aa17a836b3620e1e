"""RoBERTa (Liu et al. 2019): BERT without its second task, and other heads.

XLM-RoBERTa (Conneau et al. 2020) and CamemBERT (Martin et al. 2020) are the same under names of classes of their own.
"""

from dataclasses import replace
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.bert import BUFFERS, RENAMES, encoder_entries, read_encoder, write_encoder
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

LABEL_HEADS = {
    "sequence_classification": "classifier.out_proj",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}
# What the pooler is called, of the bare model behind its prefix; the other heads have none.
POOLERS = {"none": "pooler.dense", "sequence_classification": "classifier.dense"}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family. Positions are counted from behind the id of the padding token."""
    if task_head == "language_model":
        reader.expect("hidden_act", "gelu")  # the head's own activation, whatever that of the layers
    reader.get("vocab_size", int)  # no default, since the two have different ones
    fields = read_encoder(reader, task_head)
    offset = reader.get("pad_token_id", int, 1) + 1
    if not 1 <= offset < fields["max_length"]:
        raise UsageError(
            f"{reader.where}: pad_token_id is {offset - 1}; positions are counted from behind it, so it must be at "
            f"least 0 and less than max_position_embeddings, {fields['max_length']}"
        )
    return ModelConfig(
        **fields | {"max_length": fields["max_length"] - offset},
        position_offset=offset,
        pooler="tanh" if task_head in POOLERS else "none",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return write_encoder(config) | {
        "max_position_embeddings": (config.max_length or 0) + config.position_offset,
        "pad_token_id": config.position_offset - 1,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    table = encoder_entries(config, "roberta.", "lm_head.decoder.weight")
    return table + head_entries(config, "roberta.")


def head_entries(config: ModelConfig, prefix: str) -> list[Entry]:
    """Returns the tensors of the heads, which MPNet has too.

    Args:
      config: of the model.
      prefix: what the names of the encoder's tensors begin with.
    """
    table: list[Entry] = []
    if config.task_head in POOLERS:
        own = prefix if config.task_head == "none" else ""
        table += linear("pooler/dense", f"{own}{POOLERS[config.task_head]}", bias=True)
    if config.task_head == "language_model":
        table += linear("head/dense", "lm_head.dense", bias=True)
        table += norm("head/norm", "lm_head.layer_norm", bias=True)
        table.append(Entry(("head/bias",), ("lm_head.bias",), aliases=("lm_head.decoder.bias",)))
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="roberta",
    model_types=("roberta",),
    architectures={
        "RobertaForMaskedLM": "language_model",
        "RobertaForSequenceClassification": "sequence_classification",
        "RobertaForTokenClassification": "token_classification",
        "RobertaForQuestionAnswering": "question_answering",
        "RobertaModel": "none",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="roberta.",
    renames=RENAMES,
    ignorable=BUFFERS,
    surplus=(r"^roberta\.pooler\.dense\.",),  # untrained, in roberta-base, which is a RobertaForMaskedLM
)
XLM_FAMILY = replace(
    FAMILY,
    name="xlm_roberta",
    model_types=("xlm-roberta",),
    architectures={f"XLM{name}": task_head for name, task_head in FAMILY.architectures.items()},
)
CAMEMBERT_FAMILY = replace(
    FAMILY,
    name="camembert",
    model_types=("camembert",),
    architectures={name.replace("Roberta", "Camembert"): task_head for name, task_head in FAMILY.architectures.items()},
)
