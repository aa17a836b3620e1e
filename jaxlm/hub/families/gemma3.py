"""Gemma 3 with its eyes (Kamath et al. 2025), of which the language model alone is read: a Gemma 3 of text.

config.json has the language model's fields in `text_config`, beside those of the vision tower. Published files name its
tensors `language_model.model.*`; some versions of transformers wrote `model.language_model.*`.
"""

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families import gemma3_text
from jaxlm.hub.family import Family

# Of images: what they are mapped to, which tokens they stand in place of, and which begin and end them.
IMAGES = (
    *("vision_config", "mm_tokens_per_image", "image_token_index", "boi_token_index", "eoi_token_index"),
    "vision_soft_tokens_per_image",
)


def language(reader: ConfigReader) -> ConfigReader:
    """The fields of the language model: those of `text_config`, and of the others those that are not of images.

    Raises:
      DataError: there is no text_config.
      UsageError: it is of another model, or does not go together with the others.
    """
    reader.ignore(*IMAGES)
    text = dict(reader.get("text_config", dict))
    where = f"{reader.where} (text_config)"
    inner = ConfigReader(text, where)
    inner.expect("model_type", *gemma3_text.FAMILY.model_types)
    # The whole model's class does not cap its logits, whatever the language model's fields say.
    inner.expect("final_logit_softcapping")
    tied = reader.get("tie_word_embeddings", bool, True)
    if inner.get("tie_word_embeddings", bool, tied) != tied:
        raise UsageError(f"{where}: tie_word_embeddings is {not tied}, and that of the whole model {tied}")
    # Which class it is, and special tokens, are the whole model's to say; the rest is the language model's.
    whole = {name: value for name, value in reader.left().items() if name not in ("text_config", "initializer_range")}
    return ConfigReader({**whole, **text, **_said_by_the_whole(whole), "tie_word_embeddings": tied}, reader.where)


def _said_by_the_whole(whole: dict) -> dict:
    """The fields that count as the whole model has them; a class of the language model alone would be another."""
    named = {name: value for name, value in whole.items() if name.endswith("_token_id")}
    return {**named, "architectures": whole.get("architectures")}


FAMILY = Family(
    name="gemma3",
    model_types=("gemma3",),
    architectures={"Gemma3ForConditionalGeneration": "language_model", "Gemma3Model": "none"},
    read_config=gemma3_text.read_config,
    write_config=gemma3_text.write_config,
    entries=gemma3_text.FAMILY.entries,
    base_prefix="model.",
    renames=(
        (r"^(model\.)?language_model\.lm_head\.", "lm_head."),
        (r"^(model\.)?language_model\.(model\.)?", "model."),
    ),
    ignorable=gemma3_text.FAMILY.ignorable,
    whole_context=True,
    language=language,
    other_towers={
        "the vision tower": r"^(model\.)?vision_tower\.",
        "the projector of images": r"^(model\.)?multi_modal_projector\.",
    },
    written_as="gemma3_text",
)
