"""Flat draws are jax.random's own bits; a permutation is one, and uniform; keys differ."""

import itertools

import jax
import numpy as np
import scipy.stats

from seqgan_jax.core import keys


def test_the_same_bits_as_jax_random():
    def key():
        return jax.random.key(3)

    shape = (3, 4, 5, 2)
    assert np.array_equal(keys.normal(key(), shape), jax.random.normal(key(), shape))
    ours = keys.bernoulli(key(), 0.3, shape)
    assert np.array_equal(ours, jax.random.bernoulli(key(), 0.3, shape))


def test_permutations_are_uniform():
    many = jax.random.split(jax.random.key(0), 6000)
    orders = np.asarray(jax.vmap(lambda key: keys.permutation(key, 3))(many))
    assert np.all(np.sort(orders, axis=1) == np.arange(3))
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def data(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_each_purpose_and_unit_of_each_seed_has_a_key_of_its_own():
    purposes = (keys.LIKELIHOOD, keys.DISCRIMINATOR, keys.POLICY, keys.SAMPLE, keys.EVALUATE)
    purposes += (keys.INIT, keys.SELECTION, keys.ADVERSARY)
    found = {
        data(keys.unit_key(jax.random.key(seed), purpose, jax.numpy.array(unit)))
        for seed, purpose, unit in itertools.product(range(3), purposes, range(20))
    }
    assert len(found) == 3 * 8 * 20


def test_runs_have_the_keys_of_the_seeds_that_follow_and_wrap_around():
    assert data(keys.seed_keys(7, 1)) == data(jax.random.key(7))
    found = [data(key) for key in keys.seed_keys(2**32 - 1, 3)]
    assert found == [data(jax.random.key(seed)) for seed in (2**32 - 1, 0, 1)]
