"""Random numbers: a key for each unit of work, and arrays drawn flat, which compile fast.

Every key is folded from the seed, the phase and the number of the unit (epoch, round), so that the
size of a chunk, a resume, or the number of samples asked for change no result.

XLA's CPU compiler takes seconds over a generator whose counter has three or four axes (3.9 s at
[20, 64, 10, 1], 0.3 s flat) and makes slower code of it.
"""

import math

import jax
import jax.numpy as jnp

# What the numbers are for.
LIKELIHOOD, DISCRIMINATOR, POLICY, SAMPLE, EVALUATE, INIT, SELECTION, ADVERSARY = range(8)
FUTURE = 8  # of given sequences, and sequences longer than training
REFINING = 9
DROPOUT = 10  # of the policy


def unit_key(key: jax.Array, purpose: int | jax.Array, unit: jax.Array) -> jax.Array:
    """The key of one unit of work."""
    return jax.random.fold_in(jax.random.fold_in(key, purpose), unit)


def seed_keys(seed: int, seeds: int) -> jax.Array:
    """The key of one run, or those `[S]` of runs with the seeds seed, seed + 1, ..."""
    if seeds == 1:
        return jax.random.key(seed)
    return jnp.stack([jax.random.key((seed + i) % 2**32) for i in range(seeds)])


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal numbers; those of `jax.random.normal(key, shape)`. Consumes `key`."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def bernoulli(key: jax.Array, probability: float | jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """bool; those of `jax.random.bernoulli(key, probability, shape)`. Consumes `key`."""
    return jax.random.bernoulli(key, probability, (math.prod(shape),)).reshape(shape)


def permutation(key: jax.Array, size: int) -> jax.Array:
    """A random order of 0 .. size - 1, by one sort of 32-bit numbers. Consumes `key`.

    `jax.random.permutation` sorts twice, against ties: of n numbers about n^2 / 2^33 pairs tie, and
    keep their order here.
    """
    return jnp.argsort(jax.random.bits(key, (size,)))
