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


def log_normal_mass(lower: jax.Array, upper: jax.Array) -> jax.Array:
    """log(Phi(upper) - Phi(lower)) `[...]`, at least log 1e-30; both ends in the smaller tail.

    >>> float(log_normal_mass(jnp.array(9.0), jnp.array(FAR)))  # doctest: +ELLIPSIS
    -43.6281...
    """
    return jnp.log(jnp.maximum(normal_mass(lower, upper), 1e-30))


def normal_mass(lower: jax.Array, upper: jax.Array) -> jax.Array:
    """Phi(upper) - Phi(lower) `[...]`, both ends in the smaller tail."""
    turned = lower + upper > 0
    a, b = jnp.where(turned, -upper, lower), jnp.where(turned, -lower, upper)
    return _normal_tail(b) - _normal_tail(a)


def normal_between(value: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
    """A standard normal number between two ends from one of all: F^-1 of F cut off at both."""
    turned = lower + upper > 0
    a, b = jnp.where(turned, -upper, lower), jnp.where(turned, -lower, upper)
    share = _normal_tail(jnp.where(turned, -value, value))
    below = _normal_tail(a)
    share = below + share * (_normal_tail(b) - below)
    drawn = 2.0**0.5 * jax.lax.erf_inv(jnp.clip(2.0 * share - 1.0, -1 + 1e-7, 1 - 1e-7))
    return jnp.clip(jnp.where(turned, -drawn, drawn), lower, upper)


def _normal_tail(x: jax.Array) -> jax.Array:
    """Phi(x), to all digits below 0."""
    return 0.5 * jax.lax.erfc(-x * 0.5**0.5)


def logistic(value: jax.Array) -> jax.Array:
    """A logistic number of variance 1 from a standard normal one: F^-1(Phi(value))."""
    half = value * 0.5**0.5
    return UNIT * (jnp.log(jax.lax.erfc(-half)) - jnp.log(jax.lax.erfc(half)))


def parts_of(lower: jax.Array, upper: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """F(lower), F(upper) - F(lower) and 1 - F(upper) `[...]`, F logistic of variance 1.

    The second by the smaller tail.
    """
    a, b = lower / UNIT, upper / UNIT
    below, above = jax.nn.sigmoid(a), jax.nn.sigmoid(-b)
    by_left, by_right = jax.nn.sigmoid(b) - below, jax.nn.sigmoid(-a) - above
    return below, jnp.where(a + b > 0, by_right, by_left), above


def logistic_between(
    value: jax.Array, below: jax.Array, left: jax.Array, above: jax.Array
) -> jax.Array:
    """A logistic number from a standard normal one, cut off at both ends: see `parts_of`."""
    share, rest = below + left * _normal_tail(value), above + left * _normal_tail(-value)
    return UNIT * (jnp.log(jnp.maximum(share, 1e-37)) - jnp.log(jnp.maximum(rest, 1e-37)))


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
