"""generation_config.json, and our GenerationConfig.

What the file asks for and we do not have is reported, since it would change what is generated; it does not stop a
model from being used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.hub.config_file import CODE, CONFIG, ConfigReader
from jaxlm.hub.files import read_json

GENERATION = "generation_config.json"
UNSAID_LENGTH = 20  # max_length in files that do not mean it: the default
MOST_ENTRIES = 1 << 16  # of a list, such as one of banned words
DEFAULT_TOP_K = 50  # of transformers, where sampling is on and nothing else is said
# What changes nothing in what is generated, or what we take from elsewhere.
SILENT = (
    *("transformers_version", "_from_model_config", "use_cache", "cache_implementation", "max_cache_len"),
    *("return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("bos_token_id", "pad_token_id", "disable_compile", "remove_invalid_values"),
)
# What matters to beam search only.
OF_BEAMS = ("early_stopping", "diversity_penalty")
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


@dataclass(frozen=True)
class FoundGeneration:
    """How a directory's model generates.

    Attributes:
      config: our settings; None if the directory says nothing.
      notes: what it asks for that we do not do, a sentence each.
      kept: these fields as they are, for an export.
      start_id: the token that every output of a decoder beside an encoder starts from, if the file says.
    """

    config: GenerationConfig | None
    notes: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict)
    start_id: int | None = None


def read_generation_config(
    folder: Path, token_ids: Mapping[str, Any], older: Mapping[str, Any] | None = None, encoder: bool = False
) -> FoundGeneration:
    """Reads how a directory's model generates.

    Args:
      folder: the directory.
      token_ids: special tokens of its config.json, whose `eos_token_id` counts where there is no other.
      older: what config.json says of generating, which counts where there is no generation_config.json.
      encoder: whether an encoder is beside the decoder, whose outputs alone max_length then counts.

    Raises:
      DataError: the file is damaged.
      UsageError: it names Python code.
    """
    there = (folder / GENERATION).exists()
    values = read_json(folder, GENERATION) if there else dict(older or {})
    place = str(folder / (GENERATION if there else CONFIG))
    for name in values:
        if there and (found := _entries(values[name])) > MOST_ENTRIES:
            raise DataError(f"{place}: {name[:100]} has {found:,} entries; it may have at most {MOST_ENTRIES:,}")
    reader = ConfigReader(values, place)
    reader.refuse_code()
    reader.ignore(*CODE)
    ends = reader.token_id("eos_token_id") if reader.has("eos_token_id") else token_ids.get("eos_token_id")
    end_ids = tuple(end for end in (ends if isinstance(ends, list) else [ends]) if end is not None and end >= 0)
    sampling = reader.get("do_sample", bool, False)
    temperature = reader.get("temperature", float, 1.0)
    top_k = reader.get("top_k", int, DEFAULT_TOP_K)
    top_p = reader.get("top_p", float, 1.0)
    beams, penalty = reader.get("num_beams", int, 1), reader.get("length_penalty", float, 1.0)
    start_id = reader.get("decoder_start_token_id", int, None)
    notes: list[str] = []
    kept: dict[str, Any] = {}
    settings: dict[str, Any] = {"temperature": 0.0, "num_beams": beams, "length_penalty": penalty}
    if sampling:
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        if beams != 1:
            notes.append(f"num_beams = {beams} together with do_sample is not done here")
            kept |= reader.part(("num_beams", "length_penalty"))
    if reader.has("max_new_tokens"):
        settings["max_new_tokens"] = reader.get("max_new_tokens", int)
    elif reader.has("max_length"):
        longest = reader.get("max_length", int)
        # 20 is the default that older versions wrote. The token that an output starts from counts.
        if encoder and longest != UNSAID_LENGTH:
            settings["max_new_tokens"] = longest - 1
        elif longest != UNSAID_LENGTH:
            notes.append("max_length counts the prompt, which max_new_tokens here does not: give max_new_tokens")
            kept["max_length"] = longest
    if beams == 1:
        kept |= reader.part(OF_BEAMS)
        reader.ignore(*OF_BEAMS)
    reader.ignore(*SILENT, "max_length")
    for name, value in reader.left().items():
        if name not in NEUTRAL or value != NEUTRAL[name]:
            notes.append(f"{name} = {value!r} is not done here"[:200])
            kept[name] = value
    config = GenerationConfig(**settings, end_ids=end_ids)
    try:
        config.validate()
    except UsageError as error:
        raise DataError(f"{reader.where}: {error}") from error
    where = f"{reader.where}: "
    return FoundGeneration(config if values or end_ids else None, tuple(where + note for note in notes), kept, start_id)


def generation_values(
    config: GenerationConfig, token_ids: Mapping[str, Any], kept: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of generation_config.json.

    Args:
      config: our settings.
      token_ids: special tokens.
      kept: fields of the file that a model was imported with, which our settings cannot say.
    """
    values: dict[str, Any] = dict(kept or {})
    values |= {name: value for name, value in token_ids.items() if value is not None}
    eos = values.get("eos_token_id", [])
    ends = list(dict.fromkeys([*(eos if isinstance(eos, list) else [eos]), *config.end_ids]))
    if ends:
        values["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if config.max_new_tokens != GenerationConfig().max_new_tokens:
        values["max_new_tokens"] = config.max_new_tokens
    values["do_sample"] = config.temperature > 0
    if config.num_beams > 1:
        values["num_beams"] = config.num_beams
    if config.num_beams > 1 or config.length_penalty != 1:
        values["length_penalty"] = config.length_penalty
    if config.temperature > 0:
        values |= {"temperature": config.temperature, "top_k": config.top_k, "top_p": config.top_p}
    return values


def _entries(value: Any) -> int:
    """The number of entries in a list or object, those inside it included; 0 for anything else."""
    total, stack = 0, [value]
    while stack:
        own = stack.pop()
        inner = list(own.values()) if isinstance(own, dict) else own if isinstance(own, list) else []
        total += len(inner)
        stack += inner
    return total
