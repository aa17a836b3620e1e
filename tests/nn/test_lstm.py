"""The LSTM layer against torch.nn.LSTM, and its written gradient against the one that JAX derives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.lstm import LSTMState, SegmentChanges, _run, recurrence, segment_changes

from ..quick_compilation import quick_jit

BATCH, TIME, WIDTH = 3, 7, 5


def random_arguments(seed: int = 0) -> tuple[jax.Array, jax.Array, LSTMState]:
    """Kernel, projected inputs and a state, all of order one."""
    keys = jax.random.split(jax.random.key(seed), 4)
    kernel = jax.random.normal(keys[0], (WIDTH, 4 * WIDTH)) / WIDTH**0.5
    state = LSTMState(jnp.tanh(jax.random.normal(keys[1], (BATCH, WIDTH))), jax.random.normal(keys[2], (BATCH, WIDTH)))
    return kernel, jax.random.normal(keys[3], (BATCH, TIME, 4 * WIDTH)), state


def test_segments_restart_at_their_first_token_and_padding_does_not_end_one():
    segment_ids = jnp.array([[0, 0, 1, 1, 2, 0, 2], [1, 2, 2, 2, 0, 0, 0], [3, 3, 0, 0, 4, 5, 0]])
    changes, last = segment_changes(segment_ids, jnp.array([0, 1, 3]))
    assert changes.restart.astype(int).tolist() == [[0, 0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0]]
    assert changes.padding.tolist() == (segment_ids == 0).tolist()
    assert last.tolist() == [2, 2, 5]


def test_the_written_gradient_is_the_derived_one():
    kernel, projected, state = random_arguments()
    restart, padding = np.zeros((2, BATCH, TIME), bool)
    restart[0, 0] = restart[1, 4] = padding[1, :2] = padding[2, 5:] = True
    changes = SegmentChanges(jnp.asarray(restart), jnp.asarray(padding))
    targets = jax.random.normal(jax.random.key(1), (BATCH, TIME, WIDTH))

    def loss(run, kernel, projected, state):
        hidden, last = run(jnp.dtype("float32"), kernel, projected, changes, state)
        return (hidden * targets).sum() + (last.hidden * targets[:, 0]).sum() + (last.cell * targets[:, 1]).sum()

    written, derived = (
        quick_jit(jax.value_and_grad(partial(loss, run), argnums=(0, 1, 2)))(kernel, projected, state)
        for run in (recurrence, _run)
    )
    for ours, expected in zip(jax.tree.leaves(written), jax.tree.leaves(derived), strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_one_layer_equals_torch_in_values_state_and_gradients():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)
    x = torch.randn(BATCH, TIME, WIDTH, requires_grad=True)
    start = (torch.tanh(torch.randn(1, BATCH, WIDTH)), torch.randn(1, BATCH, WIDTH))
    expected, (hidden, cell) = theirs(x, start)
    (expected.square().sum() + cell.sum()).backward()

    weights = {name: jnp.asarray(value.detach().numpy()) for name, value in theirs.named_parameters()}
    state = LSTMState(jnp.asarray(start[0][0].numpy()), jnp.asarray(start[1][0].numpy()))

    def ours(x, weights):
        projected = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        return recurrence(jnp.dtype("float32"), weights["weight_hh_l0"].T, projected, None, state)

    def loss(x, weights):
        out, last = ours(x, weights)
        return jnp.square(out).sum() + last.cell.sum()

    ids = jnp.asarray(x.detach().numpy())
    out, last = quick_jit(ours)(ids, weights)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(last.hidden, hidden[0].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(last.cell, cell[0].detach().numpy(), atol=1e-6)
    x_gradient, gradients = quick_jit(jax.grad(loss, argnums=(0, 1)))(ids, weights)
    np.testing.assert_allclose(x_gradient, x.grad.numpy(), atol=1e-5)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), atol=1e-5, err_msg=name)
