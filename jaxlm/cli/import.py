"""`jaxlm import HF_DIR OUT`."""  # noqa: N999 (the file of a verb has its name)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder


@dataclass(frozen=True)
class ImportOptions:
    """Makes a run folder of a Hugging Face directory or a llama2.c checkpoint."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="HF_DIR")]
    """Directory with config.json and safetensors, or a llama2.c checkpoint (model.bin)."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The run folder; new or empty."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Convert the weights to this; none keeps them as they are."""
    allow_nan: bool = False
    """Take weights that are no numbers as they are; else they are refused."""
    compute_dtype: Literal["float32", "bfloat16"] | None = None
    """What is computed in; none takes bfloat16 for bfloat16 weights, else float32."""


def run(arguments: Sequence[str]) -> int:
    """Imports and says what it was."""
    options = parse_options(ImportOptions, None, arguments, "jaxlm import")

    # Nothing is computed, so memory that is freed shall go back (`prepare_cpu` would keep it for the next step).
    import jaxlm
    from jaxlm.hub.directory import require_empty
    from jaxlm.models.counts import count_params

    if RunFolder(options.source).exists():
        raise UsageError(f"{options.source} is a run folder already, which every other verb takes as it is")
    require_empty(options.out)
    model = jaxlm.load(
        options.source, dtype=options.dtype, compute_dtype=options.compute_dtype, allow_nan=options.allow_nan
    )
    model.save(options.out)
    config = model.config
    print(
        f"{options.source}: {config.family}, {count_params(config):,} parameters, computes in {config.dtype}\n"
        f"{options.out} is a run folder now: {_use_of(config, options.out)}"
    )
    return 0


def _use_of(config: ModelConfig, folder: str) -> str:
    """A first thing to do with a model."""
    if config.task_head == "language_model" and config.architecture in ("decoder", "encoder_decoder"):
        return f"jaxlm generate {folder} --prompt TEXT"
    method = (
        "fill_mask(TEXT)" if (config.architecture, config.task_head) == ("encoder", "language_model") else "apply(IDS)"
    )
    return f"jaxlm.load({folder!r}).{method}"
