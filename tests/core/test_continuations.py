"""Futures of a prefix: closed forms of AR(1) and VAR(1), enumeration, one long series."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from test_mixed import CODES, HELD, RAIN, TABLE, every_sequence, policy_of

from seqgan_jax.core import baseline, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.policy import bind, split


@partial(jax.jit, static_argnums=(0, 6))
def _futures(definition, params, constants, x, lengths, keys_BM, length, temperature):
    policy = bind(definition, params, constants)
    return sampling.continuations(policy, x, lengths, keys_BM, length, temperature)


def futures(policy, x_BTD, number, length, lengths=None, seed=0, temperature=1.0):
    """[B, M, length, D] float64."""
    x = jnp.asarray(x_BTD, jnp.float32)
    lengths = jnp.full(len(x), x.shape[1]) if lengths is None else jnp.asarray(lengths)
    keys_BM = jax.random.split(jax.random.key(seed), (len(x), number))
    found = _futures(*split(policy), x, lengths, keys_BM, length, temperature)
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("features", [1, 2])
def test_ten_steps_after_a_prefix_have_the_closed_form_s_mean_and_covariance(features):
    """Of all 10 steps together; an untrained Gaussian policy is the VAR(1) of its constants."""
    fitted = helpers.linear(helpers.series(500, 5, features))
    policy = bind(*helpers.policy_of(fitted))
    _, _, matrix, offset, factor = (np.asarray(a, float) for a in fitted.constants().values())
    x, n, steps = helpers.series(1, 7, features, seed=3), 100_000, 10
    drawn = futures(policy, x, n, steps)[0].reshape(n, -1)
    mean, means, noise = x[0, -1], [], factor @ factor.T
    own = np.zeros((features, features))
    covariance = np.zeros((steps, features, steps, features))
    for t in range(steps):
        mean = matrix @ mean + offset
        own = matrix @ own @ matrix.T + noise
        means.append(mean)
        for later in range(t, steps):
            block = np.linalg.matrix_power(matrix, later - t) @ own
            covariance[later, :, t], covariance[t, :, later] = block, block.T
    covariance = covariance.reshape(steps * features, -1)
    variance = np.diag(covariance)
    assert np.all(np.abs(drawn.mean(0) - np.concatenate(means)) < 4.5 * np.sqrt(variance / n))
    errors = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert np.all(np.abs(np.cov(drawn.T) - covariance) < 4.5 * errors)


@pytest.mark.parametrize("kinds", [(CODES, TABLE), (HELD, CODES)])
def test_futures_follow_the_enumerated_conditional_probabilities(kinds):
    """Of a policy with random weights; p(x_2, x_3 | x_1) by the masses of all sequences."""
    length, after, number = 3, 2, 30_000
    bound, _, shift, scale = policy_of(kinds, length)
    x = np.asarray(every_sequence(kinds, shift, scale, length))
    log_p = np.asarray(bound.log_prob(Batch.complete(jnp.asarray(x))).sum(axis=(1, 2)), float)
    for prefix in (x[3, :1], x[len(x) // 2, :1]):
        of_prefix = (x[:, :1] == prefix).all(axis=(1, 2))
        expected = np.exp(log_p[of_prefix])
        expected /= expected.sum()
        drawn = futures(bound, prefix[None], number, after)[0]
        rows = {tuple(np.float64(r).ravel()): i for i, r in enumerate(x[of_prefix][:, 1:])}
        counts = np.bincount([rows[tuple(row.ravel())] for row in drawn], minlength=len(rows))
        often = expected * number > 5
        observed = np.array([*counts[often], counts[~often].sum()])
        wanted = np.array([*expected[often], expected[~often].sum() + 1e-9])
        wanted *= observed.sum() / wanted.sum()
        assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-3
        # A control: they are not the futures of another prefix.
        other = np.exp(log_p[(x[:, :1] == x[-1:, :1]).all(axis=(1, 2))])
        other = other[often] / other.sum()
        assert np.abs(counts[often] / number - other).sum() > 0.05


def test_futures_of_mixed_columns_are_the_ends_of_whole_sequences():
    """A density beside atoms: whole samples that begin with the atom, against its futures."""
    bound, _, shift, scale = policy_of((RAIN, CODES), 4, seed=1, spread=0.3)
    whole = np.asarray(sampling.sample(bound, jax.random.key(5), 60_000, 4), np.float64)
    dry = np.float32((0.0 - shift[0]) / scale[0])
    same = (np.abs(whole[:, 0, 0] - dry) < 1e-6) & (whole[:, 0, 1] == 1.0)
    expected = whole[same][:, 1:]
    assert len(expected) > 2000
    prefix = whole[same][:1, :1]
    drawn = futures(bound, prefix, 20_000, 3)[0]
    for t in range(3):
        assert scipy.stats.ks_2samp(drawn[:, t, 0], expected[:, t, 0]).pvalue > 1e-3
        counts = [np.bincount(x[:, t, 1].astype(int), minlength=3) for x in (drawn, expected)]
        assert scipy.stats.chi2_contingency(np.array(counts) + 1).pvalue > 1e-3


def test_what_stands_beside_or_after_a_prefix_changes_nothing():
    policy = bind(*helpers.small_policy(2, length=6, policy="mixture"))
    x = helpers.series(3, 9, 2)
    lengths = np.array([1, 4, 9])
    together = futures(policy, x, 5, 3, lengths)
    keys_BM = jax.random.split(jax.random.key(0), (3, 5))
    for b, end in enumerate(lengths):
        alone = _futures(
            *split(policy),
            jnp.asarray(x[b : b + 1, :end], jnp.float32),
            jnp.array([end]),
            keys_BM[b : b + 1, :2],
            3,
            1.0,
        )
        assert np.allclose(alone[0], together[b, :2], atol=1e-5)
    other = x.copy()
    other[1, 4:] = 77.0
    assert np.array_equal(futures(policy, other, 5, 3, lengths), together)
    other[1, 3] += 1.0  # the control: its last step
    assert not np.allclose(futures(policy, other, 5, 3, lengths)[1], together[1], atol=1e-3)


def test_one_long_series_of_an_ar1_has_its_marginal_and_autocorrelations():
    """10,000 steps of a policy that was made for 5; errors by Bartlett's formula."""
    n, a, level, sigma = 10_000, 0.8, 0.5, 0.6
    fitted = baseline.Baseline(
        *(jnp.asarray(v, jnp.float32) for v in ([2.5], [[1.0]], [[a]], [level], [[sigma]]))
    )
    policy = bind(*helpers.policy_of(fitted))
    keys_B = jax.random.split(jax.random.key(2), 1)
    draw = jax.jit(lambda keys: sampling.sample_apart(policy, keys, n))
    x = np.asarray(draw(keys_B), np.float64)[0, :, 0]
    mean, variance = level / (1 - a), sigma**2 / (1 - a**2)
    error = np.sqrt(variance * (1 + a) / (1 - a) / n)
    assert abs(x.mean() - mean) < 4 * error
    assert abs(x.var() / variance - 1) < 4 * np.sqrt(2 / n * (1 + a**2) / (1 - a**2))
    z = x - x.mean()
    for lag in (1, 2, 5, 10, 20):
        found = np.mean(z[lag:] * z[:-lag]) / np.mean(z * z)
        b = a ** (2 * lag)
        bartlett = ((1 + a**2) * (1 - b) / (1 - a**2) - 2 * lag * b) / n
        assert abs(found - a**lag) < 4 * np.sqrt(bartlett)
    thinned = x[::40]
    assert scipy.stats.kstest(thinned, "norm", (mean, np.sqrt(variance))).pvalue > 1e-3


@pytest.mark.parametrize("rates", [baseline.SLOW, (*baseline.SLOW, 1 / 8)])
@pytest.mark.parametrize("season", [(0, 1.0), (3, 1.0), (3, 0.3), (3, 0.0)])
@pytest.mark.parametrize("scale", [0.7, 1.2])
def test_growth_is_that_of_the_baseline_s_own_steps(scale, season, rates):
    """Against the recursion of 400 steps, of which the last 300 show the factor.

    Of rate 0 what is read near the end of the first season is 0 ever after.
    """
    rng = np.random.default_rng(4)
    matrix = scale * np.array([[0.8, 0.1], [0.05, 0.7]])
    steps, rate = season
    blocks = 1 + len(rates) + baseline.blocks_of_season(*season)
    second = 0.1 * np.abs(rng.normal(size=(2, 2 * blocks)))
    x = [np.ones(2)] * (steps + 2)
    q = list(x)
    means = [np.ones(2) for _ in rates]
    for _ in range(400):
        again = [q[-steps] - q[-steps - 1], q[-steps] - x[-1]] if steps else []
        again = again if rate else [0 * x[-1]] * 2
        past = np.concatenate([x[-2], *means, *again])[: 2 * blocks]
        x.append(matrix @ x[-1] + second @ past)
        q.append((1 - rate) * q[-steps] + rate * x[-1] if steps else x[-1])
        means = [m + r * (x[-1] - m) for m, r in zip(means, rates, strict=True)]
    factor = (np.linalg.norm(x[-1]) / np.linalg.norm(x[-301])) ** (1 / 300)
    found = baseline.growth(matrix, second, rates, season)
    assert found == pytest.approx(factor, rel=1e-6)
    assert (factor > 1) == (found > 1)
