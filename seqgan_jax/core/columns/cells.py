"""Probability of a cell under a logistic distribution, and which cell of a table a value is in."""

import jax
import jax.numpy as jnp

FAR = 1e5  # stands for infinity where cells are open: its square and its gradients are finite
UNIT = 0.5513288954217921  # sqrt(3) / pi: the scale of a logistic distribution of variance 1


def log_mass(lower: jax.Array, upper: jax.Array) -> jax.Array:
    """log(F(upper) - F(lower)) `[...]`, F the logistic distribution function of variance 1.

    F = sigmoid(z / UNIT), and sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)):
    exact from narrow cells to far tails, where differences of a normal distribution's need cases
    (discretised logistic mixtures: Salimans et al. 2017, section 2.1).

    >>> float(log_mass(jnp.array(-1.0), jnp.array(1.0)))  # doctest: +ELLIPSIS
    -0.3290...
    """
    a, b = lower / UNIT, upper / UNIT
    between = jnp.log(-jnp.expm1(-jnp.maximum(b - a, 1e-7)))
    return jax.nn.log_sigmoid(b) + jax.nn.log_sigmoid(-a) + between


def logistic(value: jax.Array) -> jax.Array:
    """A logistic number of variance 1 from a standard normal one: F^-1(Phi(value))."""
    half = value * 0.5**0.5
    return UNIT * (jnp.log(jax.lax.erfc(-half)) - jnp.log(jax.lax.erfc(half)))


def cell_of(edges_DM: jax.Array, x: jax.Array) -> jax.Array:
    """How many of a column's inner edges are at or below each value, `[..., D]` int32.

    M is a power of two less one; edges ascend and are filled up with what no value reaches. A
    binary search written as gathers: all columns at once, each in its own table.
    """
    features, size = edges_DM.shape
    flat = edges_DM.reshape(-1)
    start = jnp.arange(features, dtype=jnp.int32) * size
    start = start[(None,) * (x.ndim - 1)]
    found = jnp.zeros(x.shape, jnp.int32)
    bit = (size + 1) // 2
    while bit:
        # The edge numbered found + bit - 1 is below x: so many more are.
        edge = flat[start + (found + bit - 1)]
        found = jnp.where(edge <= x, found + bit, found)
        bit //= 2
    return found
