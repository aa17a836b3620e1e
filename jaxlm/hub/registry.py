"""The known families, and which of them a directory or a model of ours belongs to."""

import re
from collections.abc import Sequence
from typing import Any

from jaxlm.errors import UsageError, unknown_name
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families import (
    bart,
    bert,
    bloom,
    deberta_v2,
    distilbert,
    electra,
    gemma,
    gemma2,
    gemma3,
    gemma3_text,
    gpt2,
    gpt_neox,
    gpt_oss,
    llama,
    marian,
    mistral,
    mixtral,
    modernbert,
    mpnet,
    olmo2,
    opt,
    phi3,
    qwen2,
    qwen3,
    qwen3_moe,
    roberta,
    smollm3,
    t5,
    xlnet,
)
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

# For a model without a family, the first that can express it is taken.
FAMILIES: tuple[Family, ...] = (
    gpt2.FAMILY,
    llama.FAMILY,
    mistral.FAMILY,
    mixtral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    qwen3_moe.FAMILY,
    olmo2.FAMILY,
    smollm3.FAMILY,
    phi3.FAMILY,
    gemma.FAMILY,
    gemma2.FAMILY,
    gemma3_text.FAMILY,
    gemma3.FAMILY,
    gpt_oss.FAMILY,
    opt.FAMILY,
    gpt_neox.FAMILY,
    bloom.FAMILY,
    xlnet.FAMILY,
    bert.FAMILY,
    roberta.FAMILY,
    roberta.XLM_FAMILY,
    roberta.CAMEMBERT_FAMILY,
    distilbert.FAMILY,
    electra.FAMILY,
    modernbert.FAMILY,
    mpnet.FAMILY,
    deberta_v2.FAMILY,
    t5.FAMILY,
    t5.MT5_FAMILY,
    bart.FAMILY,
    bart.MBART_FAMILY,
    marian.FAMILY,
)


def family_named(name: str) -> Family:
    """Returns a family by our name.

    Raises:
      UsageError: there is none of that name.
    """
    families = {family.name: family for family in FAMILIES}
    if name not in families:
        raise unknown_name("model family", name, families)
    return families[name]


def family_of(reader: ConfigReader) -> Family:
    """Returns the family that a config.json names.

    Raises:
      UsageError: it is not known, or is defined by code that comes with it.
      DataError: it names none.
    """
    model_type = reader.get("model_type", str)
    families = {name: family for family in FAMILIES for name in family.model_types}
    if model_type not in families:
        reader.refuse_code()
        error = unknown_name("model_type", model_type[:100], families)
        raise UsageError(f"{reader.where}: {error}")
    return families[model_type]


def export_notice(config: ModelConfig, labels: Sequence[str] = ()) -> str | None:
    """Returns in a line that no family can hold a model, which one is nearest and what differs; None if one can."""
    try:
        family_for(config, None, labels)
    except UsageError:
        if config.architecture == "lstm":
            return "export: transformers has no recurrent language model; jaxlm alone uses this run"
    else:
        return None
    reasons: dict[str, list[str]] = {}
    for family in FAMILIES:
        # The classes of another task are no nearer for having the same fields.
        if config.task_head in family.architectures.values() and not family.written_as:
            try:
                family.write(config, labels)
            except UsageError as error:
                different = str(error).split("; ")
                # A family that cannot even write the model has stopped at the first of many.
                if all(re.match(r"model\.\w+ is .*, not ", each) for each in different):
                    reasons[family.name] = different
    if not reasons:
        return "export: no model of transformers is like this one, so jaxlm alone uses this run"
    nearest = min(reasons, key=lambda name: len(reasons[name]))
    return (
        "export: no model of transformers is like this one, so jaxlm alone uses this run; the nearest is "
        f"{nearest}, but {'; '.join(reasons[nearest])}"
    )


def family_for(
    config: ModelConfig, name: str | None = None, labels: Sequence[str] = ()
) -> tuple[Family, dict[str, Any]]:
    """Returns the family that a model can be exported as, and its config.json.

    Args:
      config: the model.
      name: which family it must be; none takes the one it was imported from, else the first that can express it.
      labels: names of a classifier's labels.

    Raises:
      UsageError: none can, with each one's reason.
    """
    if config.architecture == "lstm":
        raise UsageError(
            "transformers has no recurrent language model, so an lstm cannot be exported: keep it as a run folder, "
            "which jaxlm.load and every command take"
        )
    name = name or config.family
    candidates = [family_named(name)] if name else [family for family in FAMILIES if not family.written_as]
    reasons = []
    for family in candidates:
        try:
            return family, family.write(config, labels)
        except UsageError as error:
            reasons.append(f"{family.name}: {error}")
    if name:
        raise UsageError(f"the family {reasons[0].replace(':', ' cannot express this model:', 1)}")
    raise UsageError(f"no model family of transformers can express this model ({'. '.join(reasons)})")
