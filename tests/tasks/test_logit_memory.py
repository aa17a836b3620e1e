"""No objective holds the logits of all tokens: in training and in measuring, pieces of them are all there is."""

from functools import partial
from typing import Any

import jax
import pytest

from jaxlm.models import token_scores
from jaxlm.models.counts import abstract_params

from ..slow_cases import slow_after
from .test_passes import BASE, OBJECTIVES, ROWS, loss_of, needed_equations

FIRST = ["decoder", "masked tokens", "ELECTRA", "preferences"]
VOCABULARY = BASE.vocab_size
SCORING = [
    name
    for name, (objective, _) in OBJECTIVES.items()
    if objective.model.task_head in ("language_model", "pretraining") or objective.model.generator_heads
]


def most_logits(jaxpr: Any) -> int:
    """Elements of the largest array of [..., time, vocabulary] that the results need."""
    most = 0
    for equation in needed_equations(jaxpr):
        found = [own.aval for own in equation.outvars if len(own.aval.shape) > 2]
        # The head's own kernel has the width for an axis.
        sizes = (own.size for own in found if own.shape[-1] == VOCABULARY and BASE.embed_dim not in own.shape)
        most = max([most, *sizes])
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda own: hasattr(own, "eqns") or hasattr(own, "jaxpr")
        ):
            if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                most = max(most, most_logits(inner))
    return most


@pytest.mark.parametrize("name", slow_after(4, FIRST + sorted({*SCORING} - {*FIRST})))
def test_logits_exist_a_piece_at_a_time(name, monkeypatch):
    objective, batch = OBJECTIVES[name]
    params = abstract_params(objective.model)
    position = VOCABULARY * ROWS * (2 if name == "preferences" else 1)  # of both answers

    def measured() -> list[int]:
        loss = partial(loss_of, objective)  # new ones, since what was traced is kept
        functions = (loss, jax.grad(loss), partial(objective.row_sums))
        return [most_logits(jax.make_jaxpr(function)(params, batch).jaxpr) for function in functions]

    assert min(measured()) > position, "few tokens are scored at once"
    monkeypatch.setattr(token_scores, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(token_scores, "PIECE", 4 * position)
    assert measured() == [position] * 3
