"""Adam, the exponential moving average, and chunks of many units in one call: what phases share."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax

from seqgan_jax.core.batch import Params

MAX_CHUNK = 64  # units in one call at most: the size of the metrics buffers
GRADIENT_CLIP = 5.0  # global norm, as in the PyTorch project

Metrics = dict[str, jax.Array]
Carry = TypeVar("Carry")


def adam(learning_rate: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) on gradients clipped by their global norm."""
    # On one flat vector: each leaf's own operations cost compile time and time in scans.
    inner = optax.flatten(
        optax.chain(optax.clip_by_global_norm(GRADIENT_CLIP), optax.adam(learning_rate))
    )

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax is not written for strict dtypes
            return inner.update(grads, state, params)

    return optax.GradientTransformation(inner.init, update)


def apply(
    optimiser: optax.GradientTransformation, grads: Params, opt: Any, params: Params
) -> tuple[Params, Any]:
    """Parameters and optimiser state after one update."""
    changes, opt = optimiser.update(grads, opt, params)
    return optax.apply_updates(params, changes), opt


def ema(old: Params, new: Params, decay: float | jax.Array) -> Params:
    """decay * old + (1 - decay) * new, each weight."""
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, old, new)


def copy(params: Carry) -> Carry:
    """Buffers of their own: a state is donated, and no buffer may be donated twice."""
    return jax.tree.map(jnp.copy, params)


def units(
    body: Callable[[Carry], tuple[Carry, Metrics]],
    state: Carry,
    count: jax.Array,
    names: tuple[str, ...],
    go_on: Callable[[Carry], Any] = lambda _: True,
) -> tuple[Carry, Metrics]:
    """`state, metrics = body(state)` `count` times while `go_on(state)`; metrics [MAX_CHUNK].

    `count` is a number on the device: one compilation serves chunks of any size.
    """
    buffers = {name: jnp.full(MAX_CHUNK, jnp.nan) for name in names}

    def step(carry: Any) -> Any:
        i, state, buffers = carry
        state, metrics = body(state)
        return i + 1, state, {name: buffers[name].at[i].set(metrics[name]) for name in names}

    def more(carry: Any) -> jax.Array:
        return (carry[0] < count) & go_on(carry[1])

    _, state, buffers = lax.while_loop(more, step, (jnp.array(0), state, buffers))
    return state, buffers


def over_seeds(function: Callable[..., Any], seeds: int, *axes: int | None) -> Callable[..., Any]:
    """The same for S independent runs; `axes` says which arguments have the leading axis S."""
    return function if seeds == 1 else jax.vmap(function, in_axes=axes)
