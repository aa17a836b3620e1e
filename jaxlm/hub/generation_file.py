"""generation_config.json, and our GenerationConfig.

What the file asks for and we do not have is reported, since it would change what is generated; it does not stop a
model from being used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.files import read_json

GENERATION = "generation_config.json"
DEFAULT_TOP_K = 50  # of transformers, where sampling is on and nothing else is said
# What changes nothing in what is generated, or what we take from elsewhere.
SILENT = (
    *("transformers_version", "_from_model_config", "use_cache", "cache_implementation", "max_cache_len"),
    *("return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("bos_token_id", "pad_token_id", "decoder_start_token_id", "disable_compile", "remove_invalid_values"),
)
# Values that change nothing.
NEUTRAL: Mapping[str, Any] = {
    "early_stopping": False,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "num_return_sequences": 1,
    "min_length": 0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "guidance_scale": 1.0,
    "renormalize_logits": False,
    "token_healing": False,
    "is_assistant": False,
}


def read_generation_config(folder: Path, token_ids: Mapping[str, Any]) -> tuple[GenerationConfig | None, list[str]]:
    """Reads how a directory's model generates.

    Args:
      folder: the directory.
      token_ids: special tokens of its config.json, whose `eos_token_id` counts where there is no other.

    Returns:
      The settings, or None if the directory says nothing; and a note on each thing that we do not do.

    Raises:
      DataError: the file is damaged.
    """
    values = read_json(folder, GENERATION) if (folder / GENERATION).exists() else {}
    reader = ConfigReader(values, str(folder / GENERATION))
    ends = reader.token_id("eos_token_id") if reader.has("eos_token_id") else token_ids.get("eos_token_id")
    end_ids = tuple(end for end in (ends if isinstance(ends, list) else [ends]) if end is not None and end >= 0)
    sampling = reader.get("do_sample", bool, False)
    temperature = reader.get("temperature", float, 1.0)
    top_k = reader.get("top_k", int, DEFAULT_TOP_K)
    top_p = reader.get("top_p", float, 1.0)
    settings: dict[str, Any] = {"temperature": 0.0}
    notes: list[str] = []
    beams, penalty = reader.get("num_beams", int, 1), reader.get("length_penalty", float, 1.0)
    if not sampling:
        settings |= {"num_beams": beams, "length_penalty": penalty}
    elif beams != 1:
        notes.append(f"num_beams = {beams} together with do_sample is not done here")
    if sampling:
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if reader.has("max_new_tokens"):
        settings["max_new_tokens"] = reader.get("max_new_tokens", int)
    reader.ignore(*SILENT)
    if reader.has("max_length"):
        # 20 is the default that older versions wrote.
        if not reader.has("max_new_tokens") and reader.get("max_length", int) != 20:
            notes.append("max_length counts the prompt, which max_new_tokens here does not: give max_new_tokens")
        reader.ignore("max_length")
    for name, value in reader.left().items():
        if name not in NEUTRAL or value != NEUTRAL[name]:
            notes.append(f"{name} = {value!r} is not done here"[:200])
    config = GenerationConfig(**settings, end_ids=end_ids)
    try:
        config.validate()
    except UsageError as error:
        raise DataError(f"{reader.where}: {error}") from error
    where = f"{reader.where}: "
    return (config if values or end_ids else None), [where + note for note in notes]


def generation_values(config: GenerationConfig, token_ids: Mapping[str, Any]) -> dict[str, Any]:
    """The content of generation_config.json.

    Args:
      config: our settings.
      token_ids: special tokens.
    """
    values: dict[str, Any] = {name: value for name, value in token_ids.items() if value is not None}
    eos = values.get("eos_token_id", [])
    ends = list(dict.fromkeys([*(eos if isinstance(eos, list) else [eos]), *config.end_ids]))
    if ends:
        values["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if config.max_new_tokens != GenerationConfig().max_new_tokens:
        values["max_new_tokens"] = config.max_new_tokens
    values["do_sample"] = config.temperature > 0
    if config.num_beams > 1:
        values |= {"num_beams": config.num_beams, "length_penalty": config.length_penalty}
    if config.temperature > 0:
        values |= {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
    return values
