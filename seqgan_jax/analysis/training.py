"""Many small networks at once: trained in scanned chunks, applied in blocks of one size.

All experiments of a score (its repeats, and those of its floor) are one vmap: one program.

Shapes: E experiments (the first axis of all parameters), N sequences, T time, D features.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Any]
Progress = Callable[[float], None]
Loss = Callable[[Params, jax.Array, jax.Array, jax.Array, Any], jax.Array]


def no_progress(_share: float) -> None:
    """What `progress` is by default."""


@functools.partial(jax.jit, static_argnames=("loss", "optimizer", "steps", "averaged"))
def _train_chunk(
    state_E: Any,
    x_NTD: jax.Array,
    data_E: Any,
    start: jax.Array,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    steps: int,
    averaged: bool,
) -> Any:
    """`steps` steps of every experiment; the key of a step is folded in from its number."""

    def one(state: Any, data: Any) -> Any:
        *learned, key = state

        def step(state: Any, number: jax.Array) -> Any:
            params, average, opt = state
            step_key = jax.random.fold_in(key, number)
            gradient = jax.grad(loss)(params, step_key, number, x_NTD, data)
            with jax.numpy_dtype_promotion("standard"):  # optax is not written for strict dtypes
                updates, opt = optimizer.update(gradient, opt, params)
            params = optax.apply_updates(params, updates)
            share = 1.0 / (number + 1).astype(jnp.float32)
            if averaged:
                average = jax.tree.map(lambda a, p: a + (p - a) * share, average, params)
            return (params, average if averaged else params, opt), None

        numbers = start + jnp.arange(steps, dtype=jnp.int32)
        return (*jax.lax.scan(step, tuple(learned), numbers)[0], key)

    return jax.vmap(one)(state_E, data_E)


def train(
    init: Callable[[jax.Array], Params],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    x_NTD: Array,
    data_E: Any,
    *,
    seed: int,
    steps: int,
    chunk: int,
    averaged: bool = False,
    progress: Progress = no_progress,
) -> Params:
    """Parameters of E networks after training.

    Args:
        init: key -> parameters; consumes the key.
        loss: (params, key, number of the step, x_NTD, an experiment's part of data_E) -> scalar.
        optimizer: one object for all calls, since it is part of what is compiled.
        x_NTD: sequences that all experiments share.
        data_E: what differs between experiments: a pytree of arrays, each with E in front.
        seed: experiment e has the key fold_in(seed, e).
        steps, chunk: of training, and how many between two calls of `progress`.
        averaged: return the mean of the parameters over all steps (stochastic weight averaging).
        progress: called with the share done.
    """
    root, count = jax.random.key(seed), len(jax.tree.leaves(data_E)[0])
    experiments = jnp.arange(count, dtype=jnp.int32)
    keys = jax.vmap(lambda e: jax.random.split(jax.random.fold_in(root, e)))(experiments)
    params = jax.jit(jax.vmap(init))(keys[:, 0])
    state = (params, params, jax.jit(jax.vmap(optimizer.init))(params), keys[:, 1])
    shared = jnp.asarray(x_NTD, jnp.float32)
    for done in range(0, steps, chunk):
        size, start = min(chunk, steps - done), jnp.asarray(done, jnp.int32)
        state = _train_chunk(state, shared, data_E, start, loss, optimizer, size, averaged)
        jax.block_until_ready(state)
        progress((done + size) / steps)
    return state[1]


def in_blocks(
    function: Callable[[Params, jax.Array], jax.Array], params_E: Params, x_NTD: Array, block: int
) -> Array:
    """function(params_E, x) of all sequences, `block` at a time -> [E, N, ...]; padded with 0."""
    size = min(block, len(x_NTD))
    parts = []
    for start in range(0, len(x_NTD), size):
        part = np.asarray(x_NTD[start : start + size], np.float32)
        padded = np.pad(part, ((0, size - len(part)), (0, 0), (0, 0)))
        parts.append(np.asarray(function(params_E, jnp.asarray(padded)))[:, : len(part)])
    return np.concatenate(parts, axis=1)
