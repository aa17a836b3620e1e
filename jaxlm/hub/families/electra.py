"""ELECTRA (Clark et al. 2020): BERT's layers over narrower embeddings, as generator and as discriminator."""

from typing import Any

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


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    if task_head == "language_model":
        reader.expect("hidden_act", "gelu")  # the generator's own activation, whatever that of the layers
    # Of a head for multiple choice that no class here has.
    reader.ignore(*(f"summary_{name}" for name in ("type", "use_proj", "activation", "last_dropout")))
    return ModelConfig(
        **read_encoder(reader, task_head, embed_dim=256, num_heads=4, mlp_dim=1024),
        embedding_dim=reader.get("embedding_size", int, 128),
        pooler="gelu" if task_head == "sequence_classification" else "none",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return write_encoder(config) | {"embedding_size": config.resolved_embedding_dim}


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    table = encoder_entries(config, "electra.", "generator_lm_head.weight")
    if config.resolved_embedding_dim != config.embed_dim:
        table += linear("embedding_projection", "electra.embeddings_project", bias=True)
    if config.task_head == "language_model":
        table += linear("head/dense", "generator_predictions.dense", bias=True)
        table += norm("head/norm", "generator_predictions.LayerNorm", bias=True)
        table.append(Entry(("head/bias",), ("generator_lm_head.bias",)))
    if config.task_head == "replaced_token":
        table += linear("head/dense", "discriminator_predictions.dense", bias=True)
        table += linear("head/score", "discriminator_predictions.dense_prediction", bias=True)
    if config.task_head == "sequence_classification":
        table += linear("pooler/dense", "classifier.dense", bias=True)
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="electra",
    model_types=("electra",),
    architectures={
        "ElectraForPreTraining": "replaced_token",
        "ElectraForMaskedLM": "language_model",
        "ElectraForSequenceClassification": "sequence_classification",
        "ElectraForTokenClassification": "token_classification",
        "ElectraForQuestionAnswering": "question_answering",
        "ElectraModel": "none",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="electra.",
    renames=RENAMES,
    ignorable=BUFFERS,
)
