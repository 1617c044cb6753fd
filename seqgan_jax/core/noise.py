"""Random arrays that compile fast: the same bits as `jax.random`, drawn flat.

XLA's CPU compiler takes seconds over a generator whose counter has three or four axes (3.9 s at
[20, 64, 10, 1], 0.3 s flat) and makes slower code of it.
"""

import math

import jax
import jax.numpy as jnp


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers; those of `jax.random.normal(key, shape)`."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def bernoulli(key: jax.Array, probability: float, shape: tuple[int, ...]) -> jax.Array:
    """bool; those of `jax.random.bernoulli(key, probability, shape)`."""
    return jax.random.bernoulli(key, probability, (math.prod(shape),)).reshape(shape)


def permutation(key: jax.Array, size: int) -> jax.Array:
    """A random order of 0 .. size - 1, by one sort of 32-bit numbers.

    `jax.random.permutation` sorts twice, against ties: of n numbers about n^2 / 2^33 pairs tie, and
    keep their order here.
    """
    return jnp.argsort(jax.random.bits(key, (size,)))
