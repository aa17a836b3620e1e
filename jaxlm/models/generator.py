"""ELECTRA's generator: a small masked language model that shares the embeddings of the discriminator beside it.

Its own parameters are a subtree of the discriminator's, so that optimizer, shardings, counts and checkpoints need to
know of one tree only. Clark et al. 2020, section 3.2; which parts are shared is as in their published code: the tables
of tokens, positions and token types with their normalisation, and so the scores of tokens, which are tied to the first.
"""

from dataclasses import replace
from typing import Any

from jaxlm.models.config import ModelConfig

GENERATOR = "generator"
SHARED = ("token_embedding", "position_embedding", "token_type_embedding", "embedding_norm")


def generator_config(config: ModelConfig) -> ModelConfig:
    """Describes the generator beside a discriminator: as deep, with config.generator_heads of config.num_heads heads.

    Widths are in that proportion; those of a head and of the embeddings stay.
    """

    def share(width: int) -> int:
        return width * config.generator_heads // config.num_heads

    return replace(
        config,
        family=None,
        generator_heads=0,
        embed_dim=share(config.embed_dim),
        embedding_dim=config.resolved_embedding_dim,
        num_heads=config.generator_heads,
        num_kv_heads=None if config.num_kv_heads is None else share(config.num_kv_heads),
        head_dim=config.resolved_head_dim,
        mlp_dim=share(config.resolved_mlp_dim),
        task_head="language_model",
        pooler="none",
        head="tied",
        head_bias=True,
        head_transform=True,
        scale_head=False,
        final_soft_cap=None,
    )


def own_params(params: Any) -> dict:
    """What a whole generator does not share with its discriminator."""
    return {name: value for name, value in params.items() if name not in SHARED}


def generator_params(params: Any) -> dict:
    """The whole generator, of the parameters of both."""
    return {name: params[name] for name in SHARED if name in params} | params[GENERATOR]


def without_generator(params: Any) -> dict:
    """The discriminator alone, of the parameters of both."""
    return {name: value for name, value in params.items() if name != GENERATOR}
