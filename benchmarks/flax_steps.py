"""The cells of cells.py in flax, in a process of their own, so that XLA can be limited to one core.

cells.py starts it and sends messages through a pipe: the arguments of `prepare`, or a number of training steps to run.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import nn

# The updates of cells.py, with jax in place of torch.


def elman(input_gates, hidden_gates, state):
    return (jnp.tanh(input_gates + hidden_gates),)


def lstm(input_gates, hidden_gates, state):
    i, f, g, o = jnp.split(input_gates + hidden_gates, 4, -1)
    cell = nn.sigmoid(f) * state[1] + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(cell), cell


def gru(input_gates, hidden_gates, state):
    input_reset, input_update, input_new = jnp.split(input_gates, 3, -1)
    hidden_reset, hidden_update, hidden_new = jnp.split(hidden_gates, 3, -1)
    reset, update = nn.sigmoid(input_reset + hidden_reset), nn.sigmoid(input_update + hidden_update)
    new = jnp.tanh(input_new + reset * hidden_new)
    return ((1 - update) * new + update * state[0],)


def mgu(input_gates, hidden_gates, state):
    input_forget, input_new = jnp.split(input_gates, 2, -1)
    hidden_forget, hidden_new = jnp.split(hidden_gates, 2, -1)
    forget = nn.sigmoid(input_forget + hidden_forget)
    new = jnp.tanh(input_new + forget * hidden_new)
    return ((1 - forget) * state[0] + forget * new,)


CELLS = {"Elman": (elman, 1), "LSTM": (lstm, 2), "GRU": (gru, 1), "MGU": (mgu, 1)}  # and the number of states


class Cell(nnx.RNNCellBase):
    """A cell in the form of flax's own: two dense layers and an update."""

    num_feature_axes = 1

    def __init__(self, name: str, weights: dict[str, np.ndarray]) -> None:
        self.update, self.num_states = CELLS[name]
        rows, self.hidden_size = weights["weight_hh"].shape
        rngs = nnx.Rngs(0)
        self.dense_i = nnx.Linear(weights["weight_ih"].shape[1], rows, rngs=rngs)
        self.dense_h = nnx.Linear(self.hidden_size, rows, rngs=rngs)
        for dense, kind in ((self.dense_i, "ih"), (self.dense_h, "hh")):
            dense.kernel[...] = jnp.asarray(weights[f"weight_{kind}"].T)
            dense.bias[...] = jnp.asarray(weights[f"bias_{kind}"])

    def __call__(self, carry, inputs):
        """Return the next state, and its first part as the output."""
        carry = self.update(self.dense_i(inputs), self.dense_h(carry[0]), carry)
        return carry, carry[0]

    def initialize_carry(self, input_shape, rngs=None, carry_init=None):
        """Return zeros."""
        return (jnp.zeros((*input_shape[:-1], self.hidden_size)),) * self.num_states


def prepare(
    name: str, weights: dict[str, np.ndarray], data: tuple[np.ndarray | None, ...], learning_rate: float
) -> Callable[[], jax.Array]:
    """Make a function that runs a training step and returns its loss; `data` is (inputs, targets, lengths or None)."""
    graph, state = nnx.split(nnx.RNN(Cell(name, weights), rngs=False))
    # Compiled code takes a plain list of parameters faster than a State.
    parameters, structure = jax.tree.flatten(state)
    optimizer = optax.adam(learning_rate)
    moments = optimizer.init(parameters)
    data = jax.device_put(data)  # passed as arguments, because XLA computes with constants only once

    def loss(parameters, inputs, targets, lengths):
        model = nnx.merge(graph, jax.tree.unflatten(structure, parameters))
        if lengths is None:
            last = model(inputs)[:, -1]
        else:
            (last, *_), _ = model(inputs, seq_lengths=lengths, return_carry=True)
        return jnp.square(last - targets).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def train(parameters, moments, *data):
        value, gradients = jax.value_and_grad(loss)(parameters, *data)
        updates, moments = optimizer.update(gradients, moments)
        return optax.apply_updates(parameters, updates), moments, value

    def step() -> jax.Array:
        nonlocal parameters, moments
        parameters, moments, value = train(parameters, moments, *data)
        return value.block_until_ready()

    return step


def main() -> None:
    one_core = sys.argv[1] == "1"
    if one_core:
        # Before XLA's first computation, when it counts the cores. XLA_FLAGS can't limit it to one.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    step = None
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if isinstance(message, tuple):
            step, answer = prepare(*message), None
        else:
            on_processor, on_clock = time.process_time(), time.perf_counter()
            for _ in range(message):
                loss = step()
            on_processor, on_clock = time.process_time() - on_processor, time.perf_counter() - on_clock
            if one_core and on_processor > 1.1 * on_clock + 0.01:
                raise RuntimeError(f"XLA used more than one core: {on_processor} s of processor time in {on_clock} s")
            answer = (on_processor if one_core else on_clock, float(loss))
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
