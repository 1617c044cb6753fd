"""Flat draws are jax.random's own bits; a permutation is one, and uniform."""

import jax
import numpy as np
import scipy.stats

from seqgan_jax.core import noise


def test_the_same_bits_as_jax_random():
    def key():
        return jax.random.key(3)

    shape = (3, 4, 5, 2)
    assert np.array_equal(noise.normal(key(), shape), jax.random.normal(key(), shape))
    ours = noise.bernoulli(key(), 0.3, shape)
    assert np.array_equal(ours, jax.random.bernoulli(key(), 0.3, shape))


def test_permutations_are_uniform():
    keys = jax.random.split(jax.random.key(0), 6000)
    orders = np.asarray(jax.vmap(lambda key: noise.permutation(key, 3))(keys))
    assert np.all(np.sort(orders, axis=1) == np.arange(3))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
