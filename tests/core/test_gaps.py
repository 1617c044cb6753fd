"""Missing values: probabilities sum to one, what is predicted of gaps, and the exact marginal law.

For a linear Gaussian law the exact likelihood of the values that are there is a Kalman filter's.
"""

import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import policy, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import regressions, support
from seqgan_jax.core.discriminator import Encoder
from seqgan_jax.data.kind import GAP, Kind

WORDS = Kind("categorical", levels=(0.0, 1.0), words=True, missing=True)
TABLE = Kind("grid", levels=(0.0, 1.0, 2.0), weights=(2.0, 1.0, 1.0), held=True, missing=True)
PLAIN = Kind("continuous", missing=True)
STATIC = Kind("grid", levels=(1.0, 2.0), weights=(1.0, 1.0), static=True, missing=True)
A = np.array([[0.7, 0.2], [-0.3, 0.8]])
Q = np.array([[0.3, 0.15], [0.15, 0.2]])


def same(_, x):
    return np.asarray(x, float)


def policy_of(kinds, length=3, seed=0, spread=0.5):
    """A bound policy with perturbed weights, and its columns; scaled units are the data's."""
    columns = support.of(kinds, lambda d, x: kinds[d].position(np.asarray(x, float)), same)
    x = helpers.series(200, length, len(kinds), seed)
    linear, _ = regressions.fit_linear(columns, x, x)
    config = GeneratorConfig(hidden_dim=4, components=2)
    definition, params, constants = policy.init(jax.random.key(seed), config, linear, columns)
    params = helpers.random_params(params, seed, spread)
    return policy.bind(definition, params, constants), columns


def log_prob(bound, x):
    return np.asarray(jax.jit(lambda x: bound.log_prob(Batch.complete(x)))(jnp.asarray(x)), float)


@pytest.mark.parametrize(
    ("kinds", "length"), [((WORDS,), 3), ((TABLE,), 3), ((WORDS, TABLE), 2), ((STATIC, TABLE), 2)]
)
def test_values_and_gaps_sum_to_one_and_so_do_values_alone(kinds, length):
    """Over all sequences: of the joint law, and given that nothing is missing."""
    bound, _ = policy_of(kinds, length)
    values = [
        [*(kind.cells[0] if kind.name == "grid" else np.array(kind.levels)), GAP] for kind in kinds
    ]
    steps = list(itertools.product(*values))
    x = np.array(list(itertools.product(steps, repeat=length)), np.float32)
    joint = log_prob(bound, x).sum(axis=(1, 2))
    assert np.exp(joint).sum() == pytest.approx(1, abs=1e-5)
    complete = bound.complete()
    there = ~np.any(x == GAP, axis=(1, 2))
    assert np.exp(log_prob(complete, x[there])).prod(axis=(1, 2)).sum() == pytest.approx(
        1, abs=1e-5
    )
    free = np.asarray(jax.jit(lambda k: sampling.sample(bound, k, 4000, length))(jax.random.key(1)))
    assert abs((free == GAP).mean() - np.exp(joint) @ (x == GAP).mean(axis=(1, 2))) < 0.02
    whole = jax.jit(lambda k: sampling.sample(complete, k, 1000, length))(jax.random.key(1))
    assert not np.any(np.asarray(whole) == GAP)


def test_the_values_given_where_they_are_by_enumeration():
    """log p of a value there is that of the joint law less the log-probability to be there; by
    step, with all else the same; and 0 where it is missing."""
    bound, _ = policy_of((WORDS, TABLE), 3)
    rng = np.random.default_rng(0)
    words = rng.choice([0.0, 1.0, GAP], (40, 3))
    grid = rng.choice([*TABLE.cells[0], GAP], (40, 3))
    x = np.stack([words, grid], axis=2).astype(np.float32)
    joint, given = log_prob(bound, x), log_prob(bound.complete(), x)
    for t, d in itertools.product(range(3), range(2)):
        missing = x.copy()
        missing[:, t, d] = GAP
        there = np.log(-np.expm1(log_prob(bound, missing)[:, t, d]))
        expected = np.where(x[:, t, d] == GAP, 0.0, joint[:, t, d] - there)
        np.testing.assert_allclose(given[:, t, d], expected, atol=2e-5)


def test_steps_one_by_one_are_the_teacher_forced_pass():
    """What is carried past gaps in sampling is what one pass over the sequence computes."""
    bound, _ = policy_of((PLAIN, TABLE, WORDS), 6)
    draw = jax.jit(lambda key: sampling.sample(bound, key, 300, 6))
    x = draw(jax.random.key(0))
    assert 0.05 < np.mean(np.asarray(x) == GAP) < 0.9

    @jax.jit
    def both(x):
        given, first, later = bound.teacher_forced(x)
        state, step = bound.begin(len(x))
        logs = [step.log_prob(x[:, 0])]
        read = step.context.read(x[:, 0])
        inputs = bound.first_inputs(x[:, 0], read)
        for t in range(1, 6):
            state, step = bound.step(state, inputs)
            logs.append(step.log_prob(x[:, t]))
            inputs = bound.next_inputs(inputs, x[:, t], step.context.read(x[:, t]))
        whole = jnp.concatenate(
            [first.log_prob(x[:, 0])[None], later.log_prob(x.swapaxes(0, 1)[1:])]
        )
        return jnp.stack(logs), whole, inputs, given.inputs[-1]

    one, all_, carried, given = both(x)
    np.testing.assert_allclose(one, all_, atol=2e-4)
    np.testing.assert_allclose(carried, given, atol=2e-4)


def test_what_is_filled_in_moves_as_the_mean_given_all_others_does():
    """Its derivative against -P_gg^-1 P_gk, by the matrix; and it is no number nowhere."""
    bound, _ = policy_of((PLAIN,) * 4, 2, seed=1)
    _, step = bound.begin(1)
    precision = np.asarray(step.context.inverse, float).T @ np.asarray(step.context.inverse, float)
    values = np.random.default_rng(1).normal(size=4)
    for gap in itertools.product([False, True], repeat=4):
        x = jnp.asarray(np.where(gap, GAP, values), jnp.float32)[None]
        found = np.asarray(jax.jit(jax.jacrev(lambda x: step.context.filled(x)[0]))(x))[:, 0]
        g, k = np.flatnonzero(gap), np.flatnonzero(np.logical_not(gap))
        expected = np.zeros((4, 4))
        expected[k, k] = 1
        expected[np.ix_(g, k)] = -np.linalg.solve(precision[np.ix_(g, g)], precision[np.ix_(g, k)])
        np.testing.assert_allclose(found[:, k], expected[:, k], atol=2e-4)
        np.testing.assert_allclose(found[:, g], 0, atol=2e-4)


def test_what_a_discriminator_sees_of_a_gap():
    """The last value that was there, 0 where none was, and that it is missing."""
    columns = support.of((PLAIN,), same, same)
    x = np.array([[[GAP], [1.5], [GAP], [GAP], [-2.0]]], np.float32)
    size, (shown,) = jax.jit(Encoder(columns))(jnp.asarray(x))
    assert size[0, :, 0].tolist() == [0, 1.5, 1.5, 1.5, -2]
    assert shown[0, :, 0].tolist() == [1, 0, 1, 1, 0]


# ------------------------------------------------------------------ the exact marginal law


def var1(number, length, matrix, noise, seed):
    """A stationary VAR(1) and its covariance."""
    rng, features = np.random.default_rng(seed), len(matrix)
    covariance = solve_discrete_lyapunov(matrix, noise)
    x = np.empty((number, length, features))
    x[:, 0] = rng.multivariate_normal(np.zeros(features), covariance, number)
    factor = np.linalg.cholesky(noise)
    for t in range(1, length):
        x[:, t] = x[:, t - 1] @ matrix.T + rng.normal(size=(number, features)) @ factor.T
    return x, covariance


def kalman(x_NTD, matrix, noise, covariance):
    """Exact log-likelihood of what is there, [N] nats, and the predicted means [N, T, D]."""
    total, means = np.zeros(len(x_NTD)), np.zeros(x_NTD.shape)
    for n, x_TD in enumerate(x_NTD):
        mean, spread = np.zeros(x_TD.shape[1]), covariance
        for t, x in enumerate(x_TD):
            means[n, t] = mean
            there = ~np.isnan(x)
            if there.any():
                left, own = x[there] - mean[there], spread[np.ix_(there, there)]
                inverse = np.linalg.inv(own)
                constant = np.linalg.slogdet(own)[1] + there.sum() * np.log(2 * np.pi)
                total[n] -= 0.5 * (left @ inverse @ left + constant)
                gain = spread[:, there] @ inverse
                mean, spread = mean + gain @ left, spread - gain @ spread[there]
            mean, spread = matrix @ mean, matrix @ spread @ matrix.T + noise
    return total, means


def holes(x_NTD, share, blocks, seed):
    """NaN at random, or in blocks of 5 steps on average."""
    rng = np.random.default_rng(seed)
    if not blocks:
        return np.where(rng.random(x_NTD.shape) < share, np.nan, x_NTD)
    gap = rng.random(x_NTD.shape) < share
    for t in range(1, x_NTD.shape[1]):
        chance = np.where(gap[:, t - 1], 0.8, share * 0.2 / (1 - share))
        gap[:, t] = rng.random(gap[:, t].shape) < chance
    return np.where(gap, np.nan, x_NTD)


def untrained(z_NTD, unseen_NTD):
    """A policy that is the baseline fitted on data with gaps."""
    columns = support.of((PLAIN,) * z_NTD.shape[2], same, same)
    linear, _ = regressions.fit_linear(columns, z_NTD, unseen_NTD)
    columns = regressions.fit(columns, linear, z_NTD, unseen_NTD)
    config = GeneratorConfig(hidden_dim=4, policy="gaussian")
    return policy.bind(*policy.init(jax.random.key(0), config, linear, columns)), linear


@pytest.mark.parametrize(
    ("matrix", "noise", "share", "blocks", "most"),
    [
        (np.array([[0.9]]), np.array([[0.19]]), 0.2, False, (0.01, 0.01)),
        (np.array([[0.9]]), np.array([[0.19]]), 0.5, True, (0.01, 0.01)),
        (A, Q, 0.05, False, (0.02, 0.01)),
        (A, Q, 0.2, False, (0.03, 0.02)),
        pytest.param(A, Q, 0.2, True, (0.03, 0.02), marks=pytest.mark.slow),
        pytest.param(A, Q, 0.5, False, (0.04, 0.05), marks=pytest.mark.slow),
        pytest.param(A, Q, 0.5, True, (0.04, 0.03), marks=pytest.mark.slow),
    ],
)
def test_the_baseline_learns_a_var_around_gaps(matrix, noise, share, blocks, most):
    """Gap to the exact law, nats a step: of what is there to the Kalman filter, and of complete
    sequences. The matrix is the law's, not one that is shrunk by what is missing."""
    x, covariance = var1(2400, 16, matrix, noise, 0)
    y = holes(x, share, blocks, 1)
    z = np.where(np.isnan(y), GAP, y)
    bound, linear = untrained(z[:1600], z[1600:2000])

    @jax.jit
    def score(x):
        return policy.log_prob_of_sequences(bound, Batch.complete(x))

    for data, limit in ((y[2000:], most[0]), (x[2000:], most[1])):
        exact = kalman(data, matrix, noise, covariance)[0]
        ours = np.asarray(score(jnp.asarray(np.where(np.isnan(data), GAP, data), jnp.float32)))
        assert -0.002 < (exact - ours).mean() / x.shape[1] < limit
    if share < 0.5:
        assert np.abs(np.asarray(linear.matrix) - matrix).max() < 0.06


def test_of_one_column_a_gap_is_predicted_by_the_kalman_filter():
    """Sizes of missing values are the filter's means: here of a random walk, the last value."""
    columns = support.of((PLAIN,), same, same)
    x, _ = var1(500, 12, np.array([[0.9]]), np.array([[0.19]]), 0)
    y = holes(x, 0.3, True, 1)
    z = np.where(np.isnan(y), GAP, y)
    linear, sizes = regressions.fit_linear(columns, z, z, kind="increments")
    expected = np.where(np.isnan(y[:, 0]), float(linear.first_offset[0]), y[:, 0])
    step = float(linear.offset[0])
    found = regressions.filled(columns, linear, z, None)
    for t in range(12):
        if t:
            expected = np.where(np.isnan(y[:, t]), expected + step, y[:, t])
        np.testing.assert_allclose(found[:, t], expected, atol=1e-4)
    assert sizes.shape == z.shape
