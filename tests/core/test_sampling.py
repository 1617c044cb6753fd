"""Sampling and Monte Carlo rollouts against nested Python loops on the same noise."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import networks, rollout


@partial(jax.jit, static_argnums=(0, 5))
def _folded(definition, params, x, noise, temperature, every):
    policy = networks.bind(definition, params)
    return rollout.rollouts(policy, rollout.prefixes(policy, x), noise, temperature, every)


def folded(policy, x, noise, temperature=1.0, every=1):
    return _folded(*networks.split(policy), x, noise, temperature, every)


def nested_loops(policy, x_BTD, noise_TBKD):
    """One sequence, one prefix and one step at a time."""
    length, batch, _, _ = noise_TBKD.shape
    steps, lanes = rollout.folded_schedule(length)
    out = np.zeros((batch, length - 1, *x_BTD.shape[1:]))
    first_step, step = jax.jit(policy.first_step, static_argnums=0), jax.jit(policy.step)
    draw = jax.jit(lambda law, noise: law.sample(noise)[0])
    read = jax.jit(lambda law, x: jnp.concatenate([x, law.innovation(x)], axis=-1))
    for b in range(batch):
        for p in range(1, length):
            state, law = first_step(1)
            x = []
            for t in range(length):
                if t < p:
                    value = x_BTD[b : b + 1, t]
                else:
                    noise = noise_TBKD[steps[p - 1, t], b, lanes[p - 1]]
                    value = draw(law, noise[None])
                x.append(value[0])
                state, law = step(state, read(law, value))
            out[b, p - 1] = np.stack(x)
    return out


@pytest.mark.parametrize(
    ("length", "law"),
    [(2, "gaussian"), (3, "gaussian"), (4, "gaussian"), (5, "gaussian"), (5, "mixture")],
)
def test_rollouts_are_nested_loops_on_the_same_noise(length, law):
    definition, params = helpers.policy(2, length=length, policy=law)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(2, length, 2), jnp.float32)
    shape = (length, 2, rollout.num_lanes(length), policy.noise_size)
    noise = jax.random.normal(jax.random.key(0), shape)
    expected = nested_loops(policy, x, noise)
    assert np.allclose(folded(policy, x, noise), expected, atol=1e-4)


CASES = [(2, 1), (3, 1), (8, 1), (9, 1), (8, 2), (9, 2), (9, 4), (8, 3), (10, 4), (7, 6), (4, 3)]


@pytest.mark.parametrize(("length", "every"), CASES)
def test_the_folded_schedule_is_the_masked_one(length, every):
    definition, params = helpers.policy(3, length=length)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(4, length, 3), jnp.float32)
    shape = (length, 4, rollout.num_lanes(length, every), 3)
    noise = jax.random.normal(jax.random.key(1), shape)
    given = rollout.prefixes(policy, x)
    masked = jax.jit(partial(rollout.masked_rollouts, policy, every=every))(given, noise, 1.3)
    assert masked.shape == (4, len(rollout.prefix_lengths(length, every)), length, 3)
    assert np.allclose(folded(policy, x, noise, 1.3, every), masked, atol=1e-4)


@pytest.mark.parametrize(("length", "every"), [*CASES, (24, 1), (25, 1), (24, 5), (1000, 37)])
def test_the_schedule_uses_every_place_at_most_once_and_in_order(length, every):
    steps, lanes = rollout.folded_schedule(length, every)
    prefixes = rollout.prefix_lengths(length, every)
    places = [(steps[j, t], lanes[j]) for j, p in enumerate(prefixes) for t in range(p, length)]
    assert len(set(places)) == len(places) == sum(length - p for p in prefixes)
    assert max(s for s, _ in places) < length
    assert max(k for _, k in places) < rollout.num_lanes(length, every)
    for j, p in enumerate(prefixes):  # one step after the other
        assert np.all(np.diff(steps[j, p:]) == 1)
    if every == 1:
        assert length * rollout.num_lanes(length) <= len(places) * (1 + 1 / (length - 1)) + 1e-9


def test_rollouts_keep_their_prefix_and_are_stochastic():
    definition, params = helpers.policy(1, length=6)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(3, 6, 1), jnp.float32)
    noise = jax.random.normal(jax.random.key(2), (4, 6, 3, 3, 1))  # rollout, T, B, lanes, D
    out = np.stack([folded(policy, x, each) for each in noise])
    for p in range(1, 6):
        assert np.array_equal(out[:, :, p - 1, :p], np.tile(np.asarray(x)[:, :p], (4, 1, 1, 1)))
        assert out[:, :, p - 1, p:].std(axis=0).min() > 1e-3


def test_rollouts_have_the_policys_conditional_law():
    """Continuations of one prefix against the closed form: an untrained policy is a VAR(1)."""
    x = helpers.series(500, 4, 1)
    frame = networks.fit_frame(x, "full")
    policy = networks.bind(
        *networks.policy(jax.random.key(0), GeneratorConfig(hidden_dim=4, policy="gaussian"), frame)
    )
    n = 20_000
    start = jnp.full((n, 4, 1), 0.8)
    noise = jax.random.normal(jax.random.key(3), (4, n, 2, 1))
    last = np.asarray(folded(policy, start, noise))[:, 1, 3, 0]  # prefix of 2
    a, b = float(frame.matrix[0, 0]), float(frame.offset[0])
    s = float(frame.factor[0, 0])
    mean, variance = a * (a * 0.8 + b) + b, s**2 * (1 + a**2)
    assert abs(last.mean() - mean) < 4 * np.sqrt(variance / n)
    assert abs(last.var() - variance) < 4 * variance * np.sqrt(2 / n)


def test_free_running_samples_have_the_var1s_moments():
    x = helpers.series(2000, 5, 2)
    frame = networks.fit_frame(x, "full")
    policy = networks.bind(
        *networks.policy(jax.random.key(0), GeneratorConfig(hidden_dim=4, policy="gaussian"), frame)
    )
    n = 20_000
    samples = np.asarray(
        jax.jit(lambda key: rollout.sample(policy, key, n, 5))(jax.random.key(5)), np.float64
    )
    matrix, offset, factor = (np.asarray(a, np.float64) for a in frame[2:])
    mean = np.asarray(frame.first_offset, np.float64)
    first = np.asarray(frame.first_factor, np.float64)
    covariance = first @ first.T
    for t in range(5):
        errors = np.abs(samples[:, t].mean(0) - mean)
        assert np.all(errors < 4.5 * np.sqrt(np.diag(covariance) / n))
        spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
        assert np.all(np.abs(np.cov(samples[:, t].T) - covariance) < 4.5 * spread)
        mean = matrix @ mean + offset
        covariance = matrix @ covariance @ matrix.T + factor @ factor.T


def test_samples_are_what_the_log_prob_says():
    """E log pi(x) = -entropy: sampling and density are of one law, at any temperature."""
    definition, params = helpers.policy(2, length=5)
    policy = networks.bind(definition, random_small(params))
    for temperature in (1.0, 0.6):
        x = rollout.sample(policy, jax.random.key(7), 20_000, 5, temperature)
        _, _, (first, later) = policy.teacher_forced(x, temperature)
        entropy = np.asarray(first.entropy() + later.entropy().sum(0), np.float64)
        log_prob = np.asarray(policy.log_prob(x, temperature).sum(1), np.float64)
        gap = log_prob + entropy
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
        wrong = np.asarray(policy.log_prob(x, 1.5 * temperature).sum(1), np.float64) + entropy
        assert abs(wrong.mean()) > 10 * gap.std() / np.sqrt(len(gap))


def random_small(params):
    return jax.tree.map(lambda a: a, params) | {"head": 0.3 * params["head"]}


def test_q_values_average_the_rollouts_and_end_with_the_reward_itself():
    definition, params = helpers.policy(1, length=4)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(3, 4, 1), jnp.float32)

    def reward(x_BTD):
        return jnp.sum(x_BTD, axis=(1, 2)) ** 2

    def q_values(asked):
        return rollout.q_values(policy, reward, x, jax.random.key(5), 6, asked)

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
    assert rollout.at_once(4, 6, batch=3, length=4) == 3
    assert rollout.at_once(0, 16, batch=64, length=20) == 8
    assert rollout.at_once(0, 16, batch=64, length=40) == 4
    assert rollout.at_once(0, 16, batch=64, length=1000) == 1
    assert rollout.at_once(100, 7, batch=64, length=1000) == 7


def test_advantages_are_differences_of_q_with_the_other_sequences_first():
    q = jnp.array([[1.0, 2.0, 4.0], [3.0, 3.0, 1.0], [8.0, 0.0, 0.0]])
    expected = [[1 - 5.5, 1, 2], [3 - 4.5, 0, -2], [8 - 2, -8, 0]]
    assert np.allclose(rollout.advantages(q), expected)


def test_q_values_of_every_kth_prefix_are_those_of_all_prefixes():
    """With a reward that ignores the noise, Q is a known function of the prefix alone."""
    definition, params = helpers.policy(1, length=7)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(3, 7, 1), jnp.float32)

    def q(reward, every):
        return rollout.q_values(policy, reward, x, jax.random.key(1), 2, 1, every)

    values = np.asarray(q(lambda x_BTD: x_BTD[:, 2, 0], 3))  # known from t = 3 on
    assert values.shape == (3, 3)
    assert np.allclose(values, np.asarray(x)[:, 2])
    alone = np.asarray(q(lambda x_BTD: x_BTD[:, 2, 0], 7))
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
        a = np.asarray(rollout.over_steps(rollout.advantages(q), 2, every))
        terms = a * (x - mu)  # A_t d log pi / d mu_t
        error = terms.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(terms.mean(axis=0) - [mu[1], mu[0] + 1]) < 4.5 * error)


def test_scoring_in_pieces_changes_nothing(monkeypatch):
    x = jnp.asarray(helpers.series(6 * 4, 5, 2), jnp.float32).reshape(6, 4, 5, 2)

    def reward(x_BTD):
        return jnp.sum(x_BTD**2, axis=(1, 2))

    whole = reward(x.reshape(-1, *x.shape[2:])).reshape(x.shape[:2])
    assert whole.shape == (6, 4)
    for most in (1, 45, 1000):
        monkeypatch.setattr(rollout, "SCORED_AT_ONCE", most)
        assert np.allclose(rollout._scored(reward, x, in_pieces=True), whole, rtol=1e-6)
    assert np.allclose(rollout._scored(reward, x, in_pieces=False), whole, rtol=1e-6)
