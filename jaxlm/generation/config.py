"""How text is generated: data only."""

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from jaxlm.errors import UsageError, unknown_name

# What other libraries call things, and how they are had here.
_THEIRS = {
    "do_sample": "temperature 0 takes the most likely token, and any other samples",
    "max_length": "max_new_tokens counts the tokens after the prompt",
    "max_tokens": "max_new_tokens counts the tokens after the prompt",
    "min_new_tokens": "there is no least length",
    "num_return_sequences": "give the prompt so many times, in a list",
    "n": "give the prompt so many times, in a list",
    "stop_strings": "the texts that end it are called stop",
    "eos_token_id": "ids that end it are called end_ids",
    "random_state": "it is called seed",
    "repetition_penalty": "repetitions are not penalised; top_p and temperature vary what is drawn",
    "streamer": "`stream` yields the text piece by piece",
}

# Far beyond what is useful, and within what memory holds: a larger value is a mistake, or a hostile file's.
MOST_NEW_TOKENS = 1 << 20
MOST_TOP_K = 1 << 20
MOST_BEAMS = 1024
MOST_ENDS = 1024
LONGEST_STOP = 1 << 14
# Logits divided by less, or made less different than this, are no numbers to sample by in float32.
TEMPERATURES = (1e-10, 1e6)


@dataclass(frozen=True)
class GenerationConfig:
    """Length, randomness and end of what is generated."""

    max_new_tokens: int = 200
    """Tokens generated at most, for each prompt."""
    temperature: float = 1.0
    """Divides the logits before sampling; 0 takes the most likely token (greedy)."""
    top_k: int = 0
    """Sample among the k most likely tokens only; 0 means all."""
    top_p: float = 1.0
    """Sample among the most likely tokens that together have this probability (nucleus, Holtzman et al. 2020)."""
    seed: int | None = None
    """Randomness of prompt i is a function of (seed, i). None draws another one for each call, and says which; samples
    of training then take 0."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation; they are not part of the result."""
    end_ids: tuple[int, ...] = ()
    """Token ids that end the generation, beside the tokenizer's own end id."""
    overflow: Literal["slide", "error"] = "slide"
    """When prompt and result outgrow the model's context: go on from the newest half of it, or refuse."""
    num_beams: int = 1
    """Texts that beam search follows at once, to find a likelier one than greedy decoding does; 1 for none. It needs
    temperature 0, and a text ends where the context does."""
    length_penalty: float = 1.0
    """num_beams: power of the length that a text's log probability is divided by; more favours longer texts."""

    def changed(self, fields: Mapping[str, Any]) -> "GenerationConfig":
        """Returns this with other values of some fields.

        Raises:
          UsageError: a name that is no field, with ours for those of `transformers`.
        """
        known = {field.name for field in dataclasses.fields(self)}
        for name in fields:
            if name in _THEIRS:
                raise UsageError(f"generate has no {name}: {_THEIRS[name]}")
            if name not in known:
                raise unknown_name("setting of generate", name, known)
        stop = fields.get("stop", self.stop)
        return replace(self, **{**fields, "stop": (stop,) if isinstance(stop, str) else tuple(stop)})

    def seeded(self) -> "GenerationConfig":
        """Returns this with a seed: the own one, or where something is drawn, a random one."""
        if self.seed is not None or not self.temperature:
            return self
        return replace(self, seed=secrets.randbits(32))

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        for name, least, most in (
            ("max_new_tokens", 1, MOST_NEW_TOKENS),
            ("top_k", 0, MOST_TOP_K),
            ("num_beams", 1, MOST_BEAMS),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} is {_short(value)}; it must be from {least} to {most:,}")
        least_heat, most_heat = TEMPERATURES
        if self.temperature != 0 and not least_heat <= self.temperature <= most_heat:
            raise UsageError(
                f"temperature is {_short(self.temperature)}; it must be 0 (greedy) or from {least_heat:g} to "
                f"{most_heat:g}"
            )
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {_short(self.top_p)}; it must be in (0, 1]")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {_short(self.seed)}; it must be in [0, 2^32)")
        if self.num_beams > 1 and self.temperature:
            raise UsageError(
                f"num_beams is {self.num_beams} and temperature {self.temperature}: beam search draws nothing: set "
                "temperature to 0, or num_beams to 1"
            )
        if not -10 <= self.length_penalty <= 10:
            raise UsageError(f"length_penalty is {_short(self.length_penalty)}; it must be from -10 to 10")
        for name, values in (("end_ids", self.end_ids), ("stop", self.stop)):
            if len(values) > MOST_ENDS:
                raise UsageError(f"{name} has {len(values):,} entries; it may have at most {MOST_ENDS:,}")
        for token in self.end_ids:
            if not 0 <= token < 2**31:
                raise UsageError(f"end_ids has {_short(token)}; ids are from 0 to {2**31 - 1:,}")
        for text in self.stop:
            if not text:
                raise UsageError("an empty stop text would end every generation at once")
            if len(text) > LONGEST_STOP:
                raise UsageError(f"stop has a text of {len(text):,} characters; each may have {LONGEST_STOP:,}")


def _short(value: float) -> str:
    """Returns a number as a message can carry it; one of a million digits is not written out."""
    if isinstance(value, int) and not -(10**20) < value < 10**20:
        return f"a number of {value.bit_length():,} bits"
    return str(value)
