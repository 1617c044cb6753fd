"""What is missing, as likely as it can be: a least squares problem by conjugate gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

MOST_TIMES = 8  # steps of conjugate gradients; they are exact after as many as columns


def _slope(apart: jax.Array, gap: jax.Array, unit: jax.Array, precision: jax.Array) -> jax.Array:
    """Of half of ||F^-1 (apart)||^2, in what is missing and its units, [..., D]."""
    return jnp.where(gap, unit * (apart @ precision), 0.0)


@jax.custom_jvp
def least(gap: jax.Array, unit: jax.Array, precision: jax.Array, apart: jax.Array) -> jax.Array:
    """What is added, in units, so that the slope of `apart` is 0 where values are missing.

    By conjugate gradients. The derivative is that of the minimum: through the iterations it would
    be 0/0 where they have converged.
    """
    left = -_slope(apart, gap, unit, precision)
    return _solved(lambda way: _slope(unit * way, gap, unit, precision), left)


@least.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    gap, unit, precision, _apart = primals
    move = least(*primals)

    def left(unit: jax.Array, precision: jax.Array, apart: jax.Array) -> jax.Array:
        return -_slope(apart + unit * move, gap, unit, precision)

    def solve(bend: Callable[[jax.Array], jax.Array], wanted: jax.Array) -> jax.Array:
        return _solved(bend, jnp.where(gap, wanted, 0.0))

    changed = jax.jvp(left, primals[1:], tangents[1:])[1]
    moved = lax.custom_linear_solve(
        lambda way: _slope(unit * way, gap, unit, precision), changed, solve, symmetric=True
    )
    return move, moved


def _solved(bend: Callable[[jax.Array], jax.Array], wanted: jax.Array) -> jax.Array:
    """x of bend(x) = wanted, bend linear and symmetric in the last axis."""

    def once(_: int, carry: Any) -> Any:
        move, left, way, square = carry
        bent = bend(way)
        step = square / jnp.maximum(jnp.sum(way * bent, axis=-1, keepdims=True), 1e-20)
        move, left = move + step * way, left - step * bent
        after = jnp.sum(left * left, axis=-1, keepdims=True)
        return move, left, left + after / jnp.maximum(square, 1e-20) * way, after

    square = jnp.sum(wanted * wanted, axis=-1, keepdims=True)
    carry = jnp.zeros_like(wanted), wanted, wanted, square
    return lax.fori_loop(0, min(wanted.shape[-1], MOST_TIMES), once, carry)[0]
