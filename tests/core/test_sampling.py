"""Sampling and Monte Carlo rollouts against nested Python loops on the same noise."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import schedules

from seqgan_jax.core import sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.policy import bind, split


@partial(jax.jit, static_argnums=(0, 6))
def _folded(definition, params, constants, x, noise, temperature, every):
    policy = bind(definition, params, constants)
    return sampling.rollouts(policy, sampling.prefixes(policy, x), noise, temperature, every)


def folded(policy, x, noise, temperature=1.0, every=1):
    return _folded(*split(policy), x, noise, temperature, every)


def nested_loops(policy, x_BTD, noise_TBLP):
    """One sequence, one prefix and one step at a time."""
    length, batch, _, _ = noise_TBLP.shape
    steps, lanes = schedules.folded_schedule(length)
    out = np.zeros((batch, length - 1, *x_BTD.shape[1:]))
    begin, advance = jax.jit(policy.begin, static_argnums=0), jax.jit(policy.step)
    draw = jax.jit(lambda step, noise: step.sample(noise)[0])
    read = jax.jit(lambda step, x: step.context.read(x))
    for b in range(batch):
        for p in range(1, length):
            state, step = begin(1)
            x = []
            for t in range(length):
                if t < p:
                    value = x_BTD[b : b + 1, t]
                else:
                    noise = noise_TBLP[steps[p - 1, t], b, lanes[p - 1]]
                    value = draw(step, noise[None])
                x.append(value[0])
                state, step = advance(state, read(step, value))
            out[b, p - 1] = np.stack(x)
    return out


@pytest.mark.parametrize(
    ("length", "kind"),
    [(2, "gaussian"), (3, "gaussian"), (4, "gaussian"), (5, "gaussian"), (5, "mixture")],
)
def test_rollouts_are_nested_loops_on_the_same_noise(length, kind):
    policy = bind(*helpers.small_policy(2, length=length, policy=kind))
    x = jnp.asarray(helpers.series(2, length, 2), jnp.float32)
    shape = (length, 2, sampling.num_lanes(length), policy.num_noise)
    noise = jax.random.normal(jax.random.key(0), shape)
    expected = nested_loops(policy, x, noise)
    assert np.allclose(folded(policy, x, noise), expected, atol=1e-4)


CASES = [(2, 1), (3, 1), (8, 1), (9, 1), (8, 2), (9, 2), (9, 4), (8, 3), (10, 4), (7, 6), (4, 3)]


@pytest.mark.parametrize(("length", "every"), CASES)
def test_the_folded_schedule_is_the_masked_one(length, every):
    policy = bind(*helpers.small_policy(3, length=length))
    x = jnp.asarray(helpers.series(4, length, 3), jnp.float32)
    shape = (length, 4, sampling.num_lanes(length, every), 3)
    noise = jax.random.normal(jax.random.key(1), shape)
    given = sampling.prefixes(policy, x)
    masked = jax.jit(partial(schedules.masked_rollouts, policy, every=every))(given, noise, 1.3)
    assert masked.shape == (4, len(sampling.prefix_lengths(length, every)), length, 3)
    assert np.allclose(folded(policy, x, noise, 1.3, every), masked, atol=1e-4)


@pytest.mark.parametrize(("length", "every"), [*CASES, (24, 1), (25, 1), (24, 5), (1000, 37)])
def test_the_schedule_uses_every_place_at_most_once_and_in_order(length, every):
    steps, lanes = schedules.folded_schedule(length, every)
    prefixes = sampling.prefix_lengths(length, every)
    places = [(steps[j, t], lanes[j]) for j, p in enumerate(prefixes) for t in range(p, length)]
    assert len(set(places)) == len(places) == sum(length - p for p in prefixes)
    assert max(s for s, _ in places) < length
    assert max(k for _, k in places) < sampling.num_lanes(length, every)
    for j, p in enumerate(prefixes):  # one step after the other
        assert np.all(np.diff(steps[j, p:]) == 1)
    if every == 1:
        assert length * sampling.num_lanes(length) <= len(places) * (1 + 1 / (length - 1)) + 1e-9


def test_rollouts_keep_their_prefix_and_are_stochastic():
    policy = bind(*helpers.small_policy(1, length=6))
    x = jnp.asarray(helpers.series(3, 6, 1), jnp.float32)
    noise = jax.random.normal(jax.random.key(2), (4, 6, 3, 3, 1))  # rollout, T, B, lanes, D
    out = np.stack([folded(policy, x, each) for each in noise])
    for p in range(1, 6):
        assert np.array_equal(out[:, :, p - 1, :p], np.tile(np.asarray(x)[:, :p], (4, 1, 1, 1)))
        assert out[:, :, p - 1, p:].std(axis=0).min() > 1e-3


def test_rollouts_have_the_policys_conditional_distribution():
    """Continuations of one prefix against the closed form: an untrained policy is a VAR(1)."""
    x = helpers.series(500, 4, 1)
    fitted = helpers.linear(x)
    policy = bind(*helpers.policy_of(fitted))
    n = 20_000
    start = jnp.full((n, 4, 1), 0.8)
    noise = jax.random.normal(jax.random.key(3), (4, n, 2, 1))
    last = np.asarray(folded(policy, start, noise))[:, 1, 3, 0]  # prefix of 2
    a, b = float(fitted.matrix[0, 0]), float(fitted.offset[0])
    s = float(fitted.factor[0, 0])
    mean, variance = a * (a * 0.8 + b) + b, s**2 * (1 + a**2)
    assert abs(last.mean() - mean) < 4 * np.sqrt(variance / n)
    assert abs(last.var() - variance) < 4 * variance * np.sqrt(2 / n)


def test_free_running_samples_have_the_var1s_moments():
    x = helpers.series(2000, 5, 2)
    fitted = helpers.linear(x)
    policy = bind(*helpers.policy_of(fitted))
    n = 20_000
    samples = np.asarray(
        jax.jit(lambda key: sampling.sample(policy, key, n, 5))(jax.random.key(5)), np.float64
    )
    mean, first, matrix, offset, factor = (
        np.asarray(a, np.float64) for a in fitted.constants().values()
    )
    covariance = first @ first.T
    for t in range(5):
        errors = np.abs(samples[:, t].mean(0) - mean)
        assert np.all(errors < 4.5 * np.sqrt(np.diag(covariance) / n))
        spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
        assert np.all(np.abs(np.cov(samples[:, t].T) - covariance) < 4.5 * spread)
        mean = matrix @ mean + offset
        covariance = matrix @ covariance @ matrix.T + factor @ factor.T


def test_samples_are_what_the_log_prob_says():
    """E log pi(x) = -entropy: samples and density are of one distribution, at any temperature."""
    definition, params, constants = helpers.small_policy(2, length=5)
    policy = bind(definition, params | {"head": 0.3 * params["head"]}, constants)
    for temperature in (1.0, 0.6):
        x = sampling.sample(policy, jax.random.key(7), 20_000, 5, temperature)
        _, first, later = policy.teacher_forced(x, temperature)
        entropy = np.asarray(first.entropy() + later.entropy().sum(0), np.float64).sum(axis=1)

        def gap(warm, x=x, entropy=entropy):
            log_prob = policy.log_prob(Batch.complete(x), warm)
            return np.asarray(log_prob.sum(axis=(1, 2)), np.float64) + entropy

        right, wrong = gap(temperature), gap(1.5 * temperature)
        error = right.std() / np.sqrt(len(right))
        assert abs(right.mean()) < 4 * error
        assert abs(wrong.mean()) > 10 * error


def test_q_values_average_the_rollouts_and_end_with_the_reward_itself():
    policy = bind(*helpers.small_policy(1, length=4))
    x = jnp.asarray(helpers.series(3, 4, 1), jnp.float32)

    def reward(batch):
        return jnp.sum(batch.x, axis=(1, 2)) ** 2

    def q_values(asked):
        return sampling.q_values(policy, reward, x, jax.random.key(5), 6, asked)

    q = np.asarray(jax.jit(q_values, static_argnums=0)(6))
    expected = np.zeros((3, 4))
    for key in jax.random.split(jax.random.key(5), 6):
        continued = np.asarray(folded(policy, x, jax.random.normal(key, (4, 3, 2, 1))))
        expected[:, :3] += continued.sum(axis=(2, 3)) ** 2 / 6
    expected[:, 3] = np.asarray(x).sum(axis=(1, 2)) ** 2
    assert np.allclose(q, expected, rtol=1e-3)
    for asked in (1, 4, 100):
        assert np.allclose(jax.jit(q_values, static_argnums=0)(asked), q, rtol=1e-4)


def test_how_many_rollouts_are_made_in_one_go_divides_their_number():
    assert sampling.at_once(4, 6, batch=3, length=4) == 3
    assert sampling.at_once(0, 16, batch=64, length=20) == 8
    assert sampling.at_once(0, 16, batch=64, length=40) == 4
    assert sampling.at_once(0, 16, batch=64, length=1000) == 1
    assert sampling.at_once(100, 7, batch=64, length=1000) == 7


def test_advantages_are_differences_of_q_with_the_other_sequences_first():
    q = jnp.array([[1.0, 2.0, 4.0], [3.0, 3.0, 1.0], [8.0, 0.0, 0.0]])
    expected = [[1 - 5.5, 1, 2], [3 - 4.5, 0, -2], [8 - 2, -8, 0]]
    assert np.allclose(sampling.advantages(q), expected)


def test_q_values_of_every_kth_prefix_are_those_of_all_prefixes():
    """With a reward that ignores the noise, Q is a known function of the prefix alone."""
    policy = bind(*helpers.small_policy(1, length=7))
    x = jnp.asarray(helpers.series(3, 7, 1), jnp.float32)

    def q(reward, every):
        return sampling.q_values(policy, reward, x, jax.random.key(1), 2, 1, every)

    values = np.asarray(q(lambda batch: batch.x[:, 2, 0], 3))  # known from t = 3 on
    assert values.shape == (3, 3)
    assert np.allclose(values, np.asarray(x)[:, 2])
    alone = np.asarray(q(lambda batch: batch.x[:, 2, 0], 7))
    assert np.allclose(alone, np.asarray(x)[:, 2])


def test_blocks_share_an_advantage_that_leaves_the_gradient_unbiased():
    """Two steps, reward x_1 x_2 + x_2: the exact gradient to both means, by every = 1 and 2.

    x_t = mu_t + e_t with e standard normal: d E[R] / d mu_1 = mu_2, d E[R] / d mu_2 = mu_1 + 1.
    """
    rng = np.random.default_rng(0)
    n, mu = 400_000, np.array([0.4, -0.7])
    x = mu + rng.normal(size=(n, 2))
    rewards = jnp.asarray(x[:, 0] * x[:, 1] + x[:, 1])
    fresh = mu[1] + rng.normal(size=n)
    continued = jnp.asarray(x[:, 0] * fresh + fresh)  # a rollout from x_1
    for every, q in ((1, jnp.stack([continued, rewards], 1)), (2, rewards[:, None])):
        a = np.asarray(sampling.over_steps(sampling.advantages(q), 2, every))
        terms = a * (x - mu)  # A_t d log pi / d mu_t
        error = terms.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(terms.mean(axis=0) - [mu[1], mu[0] + 1]) < 4.5 * error)


def test_scoring_in_pieces_changes_nothing(monkeypatch):
    x = jnp.asarray(helpers.series(6 * 4, 5, 2), jnp.float32).reshape(6, 4, 5, 2)

    def reward(batch):
        return jnp.sum(batch.x**2, axis=(1, 2))

    whole = jnp.sum(x**2, axis=(2, 3))
    assert whole.shape == (6, 4)
    for most in (1, 45, 1000):
        monkeypatch.setattr(sampling, "SCORED_AT_ONCE", most)
        assert np.allclose(sampling._scored(reward, x, in_pieces=True), whole, rtol=1e-6)
    assert np.allclose(sampling._scored(reward, x, in_pieces=False), whole, rtol=1e-6)


def test_by_default_no_more_than_24_prefixes_are_continued():
    for length in range(3, 3000):
        every = sampling.spacing(0, length)
        number = len(sampling.prefix_lengths(length, every))
        assert number < 24
        assert every == 2 if length <= 48 else number >= 16
    assert sampling.spacing(1, 3000) == 1
