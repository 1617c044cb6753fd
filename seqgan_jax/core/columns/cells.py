"""Probability of a cell under a normal distribution, and which cell of a table a value is in."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

FAR = 1e5  # stands for infinity where cells are open: its square and its gradients are finite
NARROW = 0.2  # below it a cell is a density times its width, with corrections
DEEP = 8.0  # above it a tail is its asymptotic series
LOG_ROOT_2PI = 0.9189385332046727


@jax.custom_jvp
def log_mass(lower: jax.Array, upper: jax.Array) -> jax.Array:
    """log(Phi(upper) - Phi(lower)) `[...]` for lower < upper, in float32 from end to end.

    Narrow cells as phi(m) w sinh(mw/2)/(mw/2) (1 - E[t^2]/2), m the middle and w the width; wide
    ones by erfc of the end nearer to 0; deep in a tail by Mills' ratio (Abramowitz & Stegun 26.2).

    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> found = log_mass(jnp.array([-1.0, 3.0, 20.0]), jnp.array([1.0, 3.001, 21.0]))
    >>> a, b = np.array([-1.0, 3.0, 20.0]), np.array([1.0, 3.001, 21.0])
    >>> bool(np.allclose(found, np.log(norm.sf(a) - norm.sf(b)), rtol=1e-4))
    True
    """
    flip = lower + upper < 0
    near, far = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
    width = far - near
    is_narrow, is_deep = width < NARROW, near > DEEP
    return jnp.where(
        is_narrow,
        _narrow(0.5 * (near + far), jnp.where(is_narrow, width, NARROW)),
        jnp.where(is_deep, _deep(jnp.where(is_deep, near, DEEP), far), _wide(near, far)),
    )


def _narrow(middle: jax.Array, width: jax.Array) -> jax.Array:
    half = 0.5 * middle * width  # at least 0
    small = half < 0.5
    u, v = jnp.where(small, half, 0.5), jnp.where(small, 0.5, half)
    log_sinhc = jnp.where(
        small, u * u / 6 - u**4 / 180, v + jnp.log1p(-jnp.exp(-2 * v)) - jnp.log(2 * v)
    )
    second = jnp.where(small, 1 / 3 + 2 * u * u / 45, 1 + 2 / v**2 - 2 / (v * jnp.tanh(v)))
    correction = jnp.log1p(-second * width**2 / 8)
    return (
        -0.5 * middle**2
        - LOG_ROOT_2PI
        + jnp.log(jnp.maximum(width, 1e-30))
        + log_sinhc
        + correction
    )


def _wide(near: jax.Array, far: jax.Array) -> jax.Array:
    mass = 0.5 * (lax.erfc(near * 0.5**0.5) - lax.erfc(far * 0.5**0.5))
    return jnp.log(jnp.maximum(mass, 1e-37))


def _deep(near: jax.Array, far: jax.Array) -> jax.Array:
    inverse = 1.0 / near**2
    log_tail = -0.5 * near**2 - LOG_ROOT_2PI - jnp.log(near)
    log_tail = log_tail + jnp.log1p(-inverse + 3 * inverse**2)
    rest = jnp.exp(-0.5 * (far - near) * (far + near)) * near / far
    return log_tail + jnp.log1p(-jnp.minimum(rest, 0.999))


@log_mass.defjvp
def _log_mass_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> Any:
    lower, upper = primals
    d_lower, d_upper = tangents
    value = log_mass(lower, upper)

    def share(end: jax.Array) -> jax.Array:
        # At most some dozens: a tail's is the distance from 0, a cell's one over its width.
        log_share = -0.5 * end**2 - LOG_ROOT_2PI - value
        return jnp.exp(jnp.minimum(log_share, 20.0))

    # A narrow cell's two shares nearly cancel: their sum and difference apart.
    low, high = share(lower), share(upper)
    width = upper - lower
    is_narrow = width < NARROW
    safe = jnp.where(is_narrow, width, 1.0)
    middle = 0.5 * (lower + upper)
    mean = jnp.where(is_narrow, 0.5 * (low + high), 0.0)
    # d log mass / d shift = -m (to the order of the mass itself), / d width = about 1 / w.
    shifted = -jnp.sign(middle) * _slope(jnp.abs(middle), safe)
    narrow = shifted * 0.5 * (d_lower + d_upper) + mean * (d_upper - d_lower)
    return value, jnp.where(is_narrow, narrow, high * d_upper - low * d_lower)


def _slope(middle: jax.Array, width: jax.Array) -> jax.Array:
    """-(phi(b) - phi(a)) / mass of a narrow cell with a middle of at least 0."""
    half = 0.5 * middle * width
    small = half < 0.5
    u, v = jnp.where(small, half, 0.5), jnp.where(small, 0.5, half)
    second = jnp.where(small, 1 / 3 + 2 * u * u / 45, 1 + 2 / v**2 - 2 / (v * jnp.tanh(v)))
    # (phi(a) - phi(b)) / phi(m) = 2 exp(-w^2 / 8) sinh(m w / 2); mass / phi(m) = w sinhc (..).
    return middle * jnp.exp(-(width**2) / 8) / (1 - second * width**2 / 8)


def cell_of(edges_DM: jax.Array, x: jax.Array) -> jax.Array:
    """How many of a column's inner edges are at or below each value, `[..., D]` int32.

    M is a power of two less one; edges ascend and are filled up with what no value reaches. A binary search
    written as gathers: all columns at once, each in its own table.
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
