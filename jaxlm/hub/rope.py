"""Rotary settings in config.json, of today and of before transformers 5, and ours.

Today there is `rope_parameters`, an object with `rope_type`, `rope_theta` and what the type needs, or one such object
for each type of layer. Before, `rope_theta` stood beside `rope_scaling`, an object (or null) with the rest, whose type
was called `type` in the oldest files.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import LARGEST_NUMBER, ConfigReader
from jaxlm.models.config import ModelConfig, RotaryScaling

DEFAULT_THETA = 10000.0
# Names of ours and theirs of what each type of scaling has.
_FACTOR = {"factor": "factor"}
_ORIGINAL = {"original_max_length": "original_max_position_embeddings"}
_LLAMA3 = {"low_frequency_factor": "low_freq_factor", "high_frequency_factor": "high_freq_factor"}
_YARN = {name: name for name in ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate")}
_LONGROPE = {"short_factors": "short_factor", "long_factors": "long_factor"}
SCALINGS: Mapping[str, Mapping[str, str]] = {
    "linear": _FACTOR,
    "dynamic": _FACTOR,
    "yarn": _FACTOR | _ORIGINAL | _YARN,
    "llama3": _FACTOR | _ORIGINAL | _LLAMA3,
    "longrope": _FACTOR | _ORIGINAL | {"attention_factor": "attention_factor"} | _LONGROPE,
}
# Those whose max_position_embeddings is always the context of pretraining.
SCALED_ALWAYS = ("linear", "dynamic")
_REQUIRED = _FACTOR | _ORIGINAL | _LLAMA3
_DEFAULTS = RotaryScaling()
KINDS = {"truncate": bool, "original_max_length": int, "short_factors": list, "long_factors": list}
MOST_FACTORS = 4096  # of a longrope: far more than heads have pairs of features


def read_rope(reader: ConfigReader, default_theta: float = DEFAULT_THETA) -> dict[str, Any]:
    """Takes the rotary settings from a config in today's form, whichever form it has.

    Args:
      reader: the config.
      default_theta: `rope_theta` where the config has none.

    Returns:
      {"rope_type": ..., "rope_theta": ..., ...}; or, where layers differ, one such dict for each type of layer, as
      {"full_attention": {...}, "sliding_attention": {...}}.

    Raises:
      DataError: they are not objects.
    """
    theta = reader.get("rope_theta", float, default_theta)
    fraction = reader.get("partial_rotary_factor", float, None)
    old = reader.get("rope_scaling", dict, None) or {}
    rope = reader.get("rope_parameters", dict, None) or old

    def complete(settings: Any) -> dict[str, Any]:
        if not isinstance(settings, dict):
            raise DataError(f"{reader.where}: the rotary settings of a type of layer are not an object")
        found = {name: value for name, value in settings.items() if name != "type" and value is not None}
        found.setdefault("rope_type", settings.get("type") or "default")
        found.setdefault("rope_theta", theta)
        if fraction is not None:
            found.setdefault("partial_rotary_factor", fraction)
        return found

    # None of the settings of one type of layer is an object.
    if any(isinstance(value, dict) for value in rope.values()):
        return {layer: complete(settings) for layer, settings in rope.items() if settings is not None}
    return complete(rope)


def rotary_fields(rope: Mapping[str, Any], where: str, max_length: int) -> dict[str, Any]:
    """The ModelConfig fields rotary_theta, rotary_fraction and rotary_scaling that settings of one kind stand for.

    Args:
      rope: from `read_rope`, of one type of layer.
      where: what errors call the config.
      max_length: the model's context, which is that of pretraining where the settings do not name it.

    Raises:
      UsageError: a type of scaling or a setting of it that is not supported.
      DataError: a value of another type.
    """
    reader = ConfigReader(rope, f"{where} (rope_parameters)")
    kind = reader.get("rope_type", str)
    fields: dict[str, Any] = {
        "rotary_theta": reader.get("rope_theta", float),
        "rotary_fraction": reader.get("partial_rotary_factor", float, 1.0),
    }
    if kind != "default":
        if kind not in SCALINGS:
            raise UsageError(f"{where}: rope_type {kind!r} is not supported; known: default, {', '.join(SCALINGS)}")
        scaling: dict[str, Any] = {"kind": kind}
        for ours, theirs in SCALINGS[kind].items():
            value = reader.get(theirs, KINDS.get(ours, float), None)
            if value is not None:
                scaling[ours] = _factors(value, theirs, reader.where) if ours in _LONGROPE else value
        if kind == "longrope":
            if not scaling.keys() >= _LONGROPE.keys():
                raise DataError(f"{where}: the rotary scaling 'longrope' lacks short_factor or long_factor")
            # Without a factor the reference takes the ratio of both contexts; one below 1 is like none.
            scaling.setdefault("factor", max(1.0, max_length / max(1, scaling.get("original_max_length", max_length))))
        if "factor" not in scaling:
            raise DataError(f"{where}: the rotary scaling {kind!r} lacks its factor")
        if kind == "llama3" and not {"low_frequency_factor", "high_frequency_factor"} <= scaling.keys():
            raise DataError(f"{where}: the rotary scaling 'llama3' lacks low_freq_factor or high_freq_factor")
        if "original_max_length" in SCALINGS[kind]:
            scaling.setdefault("original_max_length", max_length)
        # dynamic: the reference takes max_position_embeddings and reads no other length, which some files name.
        reader.ignore("original_max_position_embeddings")
        fields["rotary_scaling"] = RotaryScaling(**scaling)
    reader.finish()
    return fields


def _factors(values: list, name: str, where: str) -> tuple[float, ...]:
    """A list of positive numbers as a tuple."""
    if len(values) > MOST_FACTORS:
        raise DataError(f"{where}: {name} has {len(values):,} entries; {MOST_FACTORS:,} are read at most")
    if not all(type(value) in (int, float) and 0 < value <= LARGEST_NUMBER for value in values):
        raise DataError(f"{where}: {name} must be a list of positive numbers")
    return tuple(map(float, values))


def with_scaled_context(config: ModelConfig) -> ModelConfig:
    """The model with the context that its scaling reaches.

    `max_position_embeddings` is the context of pretraining where the scaling is linear or dynamic, which reach `factor`
    times as far, and also in the files with yarn whose original_max_position_embeddings is not less. With llama3 and
    longrope, and where yarn's original is less, it is the whole context already. transformers itself has no limit;
    these are the rules of the servers that have one (vLLM).
    """
    scaling, length = config.rotary_scaling, config.max_length
    if config.positions != "rotary" or length is None:
        return config
    if scaling.kind in SCALED_ALWAYS:
        original = length
    elif scaling.kind == "yarn" and length <= (scaling.original_max_length or length):
        original = scaling.original_max_length or length
    else:
        return config
    reached = int(min(min(original, LARGEST_NUMBER) * scaling.factor, LARGEST_NUMBER))
    return replace(config, max_length=reached, rotary_scaling=replace(scaling, original_max_length=original))


def with_original_context(config: ModelConfig) -> ModelConfig:
    """The inverse, of what has to be written as the context of pretraining; yarn's has a field of its own."""
    scaling, length = config.rotary_scaling, config.max_length
    if config.positions != "rotary" or length is None or scaling.kind not in SCALED_ALWAYS:
        return config
    return replace(config, max_length=scaling.original_max_length or math.ceil(length / scaling.factor))


def rope_parameters(config: ModelConfig) -> dict[str, Any]:
    """The `rope_parameters` object of a model whose layers all rotate in the same way.

    Raises:
      UsageError: a scaling that the form does not have.
    """
    scaling = config.rotary_scaling
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rotary_theta}
    if config.rotary_fraction != 1:
        rope["partial_rotary_factor"] = config.rotary_fraction
    if scaling.kind != "none":
        if scaling.kind not in SCALINGS:
            raise UsageError(f"model.rotary_scaling.kind {scaling.kind!r} does not exist in transformers")
        rope["rope_type"] = scaling.kind
        for ours, theirs in SCALINGS[scaling.kind].items():
            value = getattr(scaling, ours)
            if ours == "original_max_length":
                value = value or config.max_length
            if ours in _LONGROPE:
                value = list(value)
            if ours in _REQUIRED or value != getattr(_DEFAULTS, ours):
                rope[theirs] = value
    return rope
