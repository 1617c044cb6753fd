"""Samples given static columns follow the ratio of the joint probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from test_mixed import CODES, HELD, SHIFT, STATIC, every_sequence, policy_of

from seqgan_jax.core import sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.data.kind import Kind

CLASS = Kind("categorical", levels=(0.0, 1.0, 2.0), words=True, static=True)
NUMBER = 20_000


def rows_of(x):
    return [tuple(np.round(row.ravel(), 4).tolist()) for row in np.asarray(x, np.float64)]


def follows(drawn, x, probability):
    """The p-value of chi-square: draws against the probabilities of all sequences."""
    places = {row: i for i, row in enumerate(rows_of(x))}
    counts = np.bincount([places[row] for row in rows_of(drawn)], minlength=len(x))
    often = probability * len(drawn) > 5
    observed = np.array([*counts[often], counts[~often].sum()])
    expected = np.array([*probability[often], probability[~often].sum() + 1e-9]) * len(drawn)
    return scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.fixture(scope="module")
def case():
    """A policy of three columns of which the first two are static, and all its sequences."""
    kinds = (CLASS, STATIC, CODES)
    bound, _, shift, scale = policy_of(kinds, 2, seed=1, spread=0.8)
    x = every_sequence(kinds, shift, scale, 2)
    p = np.exp(np.asarray(bound.log_prob(Batch.complete(x)).sum(axis=(1, 2)), np.float64))
    return bound, x, p


@pytest.mark.parametrize("number", [1, 2])
def test_the_rest_is_drawn_from_the_joint_s_ratio(case, number):
    bound, x, p = case
    values = np.array([2.0, (2.0 - SHIFT) / 2.0, 0.0], np.float32)
    given = Given(jnp.tile(values, (NUMBER, 1)), jnp.arange(3) < number)
    drawn = np.asarray(sampling.sample(bound, jax.random.key(0), NUMBER, 2, given=given))
    assert (drawn[:, :, :number] == values[:number]).all()
    meets = np.all(np.isclose(np.asarray(x)[:, 0, :number], values[:number]), axis=1)
    ratio = np.where(meets, p, 0.0) / p[meets].sum()
    assert follows(drawn, x, ratio) > 1e-3
    # A control: it is not what it would be without.
    assert 0.02 < p[meets].sum() < 0.8
    other = np.asarray(sampling.sample(bound, jax.random.key(0), NUMBER, 2))
    assert follows(other, x, ratio + 1e-9) < 1e-6


def test_each_sequence_may_be_given_its_own_values(case):
    bound, _, _ = case
    values = np.zeros((300, 3), np.float32)
    values[:, 0] = np.arange(300) % 3
    given = Given(jnp.asarray(values), jnp.array([True, False, False]))
    drawn = np.asarray(sampling.sample(bound, jax.random.key(0), 300, 4, given=given))
    assert (drawn[:, :, 0] == values[:, :1]).all()
    alone = Given(jnp.asarray(np.full_like(values, values[7])), given.is_given)
    same = np.asarray(sampling.sample(bound, jax.random.key(0), 300, 4, given=alone))
    assert np.array_equal(same[7], drawn[7])


def test_the_weights_of_a_later_column_are_its_likelihood(case):
    """Given the second column: weighted first steps have the first column's posterior."""
    bound, x, p = case
    value = np.float32((1.0 - SHIFT) / 2.0)
    given = Given(jnp.full((NUMBER, 3), value), jnp.array([False, True, False]))
    drawn, log_w = sampling.first_steps(bound, jax.random.key(1), given)
    w = np.exp(np.asarray(log_w, np.float64))
    first = np.asarray(x)[:, 0]
    meets = np.isclose(first[:, 1], value)
    for code in range(3):
        posterior = p[meets & (first[:, 0] == code)].sum() / p[meets].sum()
        is_code = np.asarray(drawn)[:, 0] == code
        found = w[is_code].sum() / w.sum()
        error = np.sqrt(np.sum(w**2 * (is_code - found) ** 2)) / w.sum()
        assert abs(found - posterior) < 4 * error + 1e-4, code
        assert np.allclose(w[is_code], w[is_code][0], rtol=1e-4)
    assert len(np.unique(w.round(6))) == 3  # a control: it depends on the first column


def test_given_values_are_read_as_drawn_ones():
    """Without the given columns in front, too: what a step reads of x is the same."""
    bound, _, _, _ = policy_of((STATIC, HELD, CODES), 3)
    noise = jax.random.normal(jax.random.key(0), (3, 50, bound.num_noise))
    x = sampling.sample_from_noise(bound, noise)
    given = Given(x[:, 0], jnp.array([True, True, False]))
    again = sampling.sample_from_noise(bound, noise, given=given)
    assert np.array_equal(x, again)
