"""The scalars that are minimised: closed forms, exact gradients, expectations by quadrature."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from seqgan_jax.config import AdversarialConfig
from seqgan_jax.core import gradients, sampling
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.policy import bind

NO_ANCHOR = AdversarialConfig(anchor=0.0)


def scalar_policy(matrix):
    """x_t = matrix x_{t-1} + e_t with e ~ N(0, 1): its binding and its parameters."""
    zero, one = jnp.zeros(1), jnp.eye(1)
    fitted = Baseline(zero, one, jnp.array([[matrix]]), zero, one)
    definition, params, constants = helpers.policy_of(fitted, hidden=3)
    return partial(bind, definition, constants=constants), params


def gauss_hermite(n=40):
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return jnp.asarray(nodes, jnp.float32), weights / weights.sum()


def test_reinforce_at_one_step_is_exactly_minus_one():
    """T = 1, reward = x: d/dmu of -E[x] is -1; the reference's own samples gave 0."""
    bind, params = scalar_policy(0.0)
    nodes, weights = gauss_hermite()

    def loss(p, detach):
        policy = bind(p)
        x = policy.begin(len(nodes))[1].sample(nodes[:, None])[0]
        x = jax.lax.stop_gradient(x) if detach else x
        log_prob = policy.log_prob(Batch.complete(x[:, None]))[:, :, 0]
        each = jax.vmap(lambda a, b: gradients.policy_gradient(a[None], b[None]))(log_prob, x)
        return jnp.sum(jnp.asarray(weights, jnp.float32) * each)

    gradient = jax.grad(loss)(params, detach=True)["first"][0]
    assert float(gradient) == pytest.approx(-1.0, abs=1e-4)
    assert float(jax.grad(loss)(params, detach=False)["first"][0]) == pytest.approx(0.0, abs=1e-4)


def test_reinforce_detaches_its_samples():
    """Samples of `reinforce_batch` are held fixed: through them the gradient would be 0."""
    bind, params = scalar_policy(0.0)

    def loss(p):
        def reward(batch):
            return batch.x[:, 0, 0]

        config = AdversarialConfig(anchor=0.0, rollout_num=1)
        key, number = jax.random.key(0), 4000
        found = gradients.reinforce_batch(bind(p), bind(p), reward, key, 1, number, config)
        samples, advantage_BT, _ = found
        assert advantage_BT.shape == (number, 1)
        return gradients.reinforce(bind, samples, advantage_BT, samples, config)(p)[0]

    gradient = float(jax.grad(loss)(params)["first"][0])
    standard_error = np.sqrt(2 / 4000)  # x^2 has variance 2
    assert abs(gradient + 1.0) < 4 * standard_error


def test_policy_gradient_of_a_linear_quadratic_case_of_three_steps():
    """x_t = a x_{t-1} + b + e_t, return -sum x_t^2: exact gradients in a closed form.

    With Q_t from exact continuations and A_t = Q_t - Q_{t-1}, the estimate must agree with the
    exact gradient within its standard error, and beat the one from returns alone in variance.
    """
    a, b, n = 0.6, 0.4, 40_000
    rng = np.random.default_rng(0)

    def exact(a, b):
        mean, variance, total = 0.0, 0.0, 0.0
        for _ in range(3):
            mean, variance = a * mean + b, a**2 * variance + 1
            total -= mean**2 + variance
        return total

    wanted = np.array(
        [
            (exact(a + 1e-5, b) - exact(a - 1e-5, b)) / 2e-5,
            (exact(a, b + 1e-5) - exact(a, b - 1e-5)) / 2e-5,
        ]
    )
    noise = rng.normal(size=(n, 3))
    x = np.zeros((n, 4))
    for t in range(3):
        x[:, t + 1] = a * x[:, t] + b + noise[:, t]
    q = np.zeros((n, 3))
    for t in range(1, 4):
        past = -(x[:, 1 : t + 1] ** 2).sum(1)
        mean, variance = x[:, t].copy(), np.zeros(n)
        for _ in range(3 - t):
            mean, variance = a * mean + b, a**2 * variance + 1
            past = past - mean**2 - variance
        q[:, t - 1] = past
    advantage = np.asarray(sampling.advantages(jnp.asarray(q, jnp.float32)), np.float64)
    returns = np.tile(q[:, -1:], (1, 3))

    def of_each(weights):
        """d/d(a, b) of the surrogate for each sequence, by jax."""

        def surrogate(theta, x, w):
            previous, value = x[:-1], x[1:]
            log_prob = -0.5 * (value - theta[0] * previous - theta[1]) ** 2
            return -gradients.policy_gradient(log_prob[None], w[None])

        each = jax.vmap(jax.grad(surrogate), in_axes=(None, 0, 0))
        theta = jnp.array([a, b], jnp.float32)
        return np.asarray(
            each(theta, jnp.asarray(x, jnp.float32), jnp.asarray(weights, jnp.float32)), np.float64
        )

    by_advantage, by_return = of_each(advantage), of_each(returns)
    for each in (by_advantage, by_return):
        error = np.abs(each.mean(0) - wanted)
        assert np.all(error < 4 * each.std(0) / np.sqrt(n))
    assert np.all(by_advantage.std(0) < 0.7 * by_return.std(0))


def test_constant_reward_gives_no_gradient():
    advantage = sampling.advantages(jnp.full((8, 5), 0.7))
    assert np.all(np.asarray(advantage) == 0)
    definition, params, constants = helpers.small_policy(1, length=5)
    x = helpers.batch(helpers.series(8, 5, 1))
    bound = partial(bind, definition, constants=constants)
    loss = gradients.reinforce(bound, x, advantage, x, NO_ANCHOR)
    gradient = jax.jit(jax.grad(lambda p: loss(p)[0]))(params)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


def test_a_constant_added_to_every_reward_changes_nothing():
    q = jax.random.normal(jax.random.key(0), (8, 5))
    assert np.allclose(sampling.advantages(q), sampling.advantages(q + 3.0), atol=1e-5)


def test_anchor_and_entropy_bonus_enter_the_loss_with_their_weights():
    definition, params, constants = helpers.small_policy(2, length=5)
    x, real = (helpers.batch(helpers.series(8, 5, 2, seed)) for seed in (0, 1))
    advantage = jax.random.normal(jax.random.key(0), (8, 5))
    bound = partial(bind, definition, constants=constants)
    log_prob, entropy = bound(params).log_prob_and_entropy(x)
    entropy = entropy.sum(axis=2).mean()
    nll = -bound(params).log_prob(real).sum(axis=2).mean()
    expected = -(advantage * log_prob.sum(axis=2)).sum(1).mean() / 5 + 0.7 * nll - 0.2 * entropy
    config = AdversarialConfig(anchor=0.7, entropy_bonus=0.2)
    value, metrics = gradients.reinforce(bound, x, advantage, real, config)(params)
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    assert float(metrics["train_nll"]) == pytest.approx(float(nll), rel=1e-4)
    assert float(metrics["entropy"]) == pytest.approx(float(entropy), rel=1e-4)


def test_the_pathwise_gradient_of_a_linear_reward_is_exact():
    """Reward = sum_t x_t of a VAR(1) with matrix a: d/db of its mean is known in a closed form."""
    bind, params = scalar_policy(0.5)
    noise = jax.random.normal(jax.random.key(1), (3, 7, 1))
    real = Batch.complete(jnp.zeros((7, 3, 1)))
    loss = gradients.pathwise(bind, lambda batch: batch.x.sum((1, 2)), noise, real, NO_ANCHOR)
    gradient = jax.grad(lambda p: loss(p)[0])(params)
    # A shift of every step's mean by b: b + (a b + b) + (a^2 b + a b + b) in all, over T = 3.
    assert float(gradient["head_bias"][0]) == pytest.approx(-(1 + 1.5 + 1.75) / 3, rel=1e-5)


# ------------------------------------------------------------------ both estimators

LENGTH, BATCH, KEYS = 3, 64, 300


@pytest.fixture(scope="module")
def estimates():
    """Gradients `[KEYS, weights]` of a policy of 3 units by name: estimator, reward's factor."""
    definition, params, constants = helpers.small_policy(1, hidden=3, length=LENGTH)
    params |= {"head": 0.3 * params["head"]}
    bound = partial(bind, definition, constants=constants)
    real = helpers.batch(helpers.series(16, LENGTH, 1))

    def of(estimator, factor, anchor):
        config = AdversarialConfig(anchor=anchor, rollout_num=2)

        def reward(batch):
            return -factor * jnp.sum((batch.x - 1.0) ** 2, axis=(1, 2))

        def one(key):
            if estimator == "reinforce":
                policy = bound(params)
                samples, advantage_BT, _ = gradients.reinforce_batch(
                    policy, policy, reward, key, LENGTH, BATCH, config
                )
                loss = gradients.reinforce(bound, samples, advantage_BT, real, config)
            else:
                noise_TBP = jax.random.normal(key, (LENGTH, BATCH, 1))
                loss = gradients.pathwise(bound, reward, noise_TBP, real, config)
            return ravel_pytree(jax.grad(lambda p: loss(p)[0])(params))[0]

        keys = jax.random.split(jax.random.key(7), KEYS)
        return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), np.float64)

    return of


def errors_apart(a, b):
    """Largest difference of two mean gradients, in standard errors of it."""
    error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / KEYS)
    return np.max(np.abs(a.mean(axis=0) - b.mean(axis=0)) / (error + 1e-6))


def test_both_estimators_have_one_mean_gradient_with_one_anchor(estimates):
    by_score, by_path = estimates("reinforce", 1.0, 0.7), estimates("pathwise", 1.0, 0.7)
    assert by_score.shape == by_path.shape
    assert by_score.shape[1] > 50
    assert errors_apart(by_score, by_path) < 4.5
    # The controls: another weight of the reward or of the anchor is seen.
    assert errors_apart(1.2 * by_score, by_path) > 6
    assert errors_apart(by_score, estimates("pathwise", 1.0, 0.3)) > 6


@pytest.mark.parametrize("estimator", ["reinforce", "pathwise"])
def test_ten_times_the_reward_is_ten_times_its_gradient(estimates, estimator):
    """REINFORCE divided it out before, so that the anchor's weight meant another thing."""
    once, tenfold = (estimates(estimator, factor, 0.0) for factor in (1.0, 10.0))
    size = np.abs(once).max(axis=1, keepdims=True)
    assert np.all(np.abs(tenfold - 10 * once) < 1e-4 * size * 10)
    anchored = estimates(estimator, 10.0, 0.7) - tenfold
    assert np.allclose(anchored, estimates(estimator, 1.0, 0.7) - once, atol=1e-3 * size.max() * 10)


def test_rewards():
    logits = jnp.array([0.0, 100.0, -100.0])
    assert np.allclose(gradients.reward_of(logits, "probability"), [0.5, 1.0, 0.0])
    assert np.array_equal(gradients.reward_of(logits, "logit"), logits)
