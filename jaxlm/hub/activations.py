"""The names that config.json has for our activations."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader

# The first name of a kind is the one that is written.
PLAIN = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
GATED = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu_pytorch_tanh": "geglu",
    "gelu_new": "geglu",
    "gelu_fast": "geglu",
    "gelu": "geglu_erf",
}


def read_activation(reader: ConfigReader, name: str, default: str, gated: bool = False) -> Any:
    """Takes the field `name` and returns the `feed_forward` that it stands for, in a gated layer or a plain one.

    Raises:
      UsageError: an activation that is not supported.
    """
    return reader.choose(name, GATED if gated else PLAIN, default)


def activation_name(feed_forward: str, gated: bool = False) -> str:
    """What config.json calls the activation of a `feed_forward`.

    Raises:
      UsageError: the layer is gated and must not be, or the other way round.
    """
    for name, kind in (GATED if gated else PLAIN).items():
        if kind == feed_forward:
            return name
    raise UsageError(f"model.feed_forward {feed_forward!r} is {'not ' * gated}gated")
