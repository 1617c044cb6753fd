"""The scalars that are minimised: closed forms, exact gradients, expectations by quadrature."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.config import AdversarialConfig, GeneratorConfig
from seqgan_jax.core import estimators, losses, networks, rollout
from seqgan_jax.core.networks import Frame

NO_ANCHOR = AdversarialConfig(anchor=0.0)


def unit_policy(features=1):
    """x_t = e_t with e ~ N(0, 1): the frame is the identity, the head zero."""
    zero, one = jnp.zeros(features), jnp.eye(features)
    frame = Frame(zero, one, jnp.zeros((features, features)), zero, one)
    return networks.policy(
        jax.random.key(0), GeneratorConfig(hidden_dim=3, policy="gaussian"), frame
    )


def gauss_hermite(n=40):
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return jnp.asarray(nodes, jnp.float32), weights / weights.sum()


def test_reinforce_at_one_step_is_exactly_minus_one():
    """T = 1, reward = x: d/dmu of -E[x] is -1; the reference's own samples gave 0."""
    definition, params = unit_policy()
    nodes, weights = gauss_hermite()

    def loss(p, detach):
        policy = networks.bind(definition, p)
        x = policy.first_step(len(nodes))[1].sample(nodes[:, None])[0]
        x = jax.lax.stop_gradient(x) if detach else x
        log_prob = policy.log_prob(x[:, None])
        each = jax.vmap(lambda a, b: losses.policy_gradient(a[None], b[None]))(log_prob, x)
        return jnp.sum(jnp.asarray(weights, jnp.float32) * each)

    gradient = jax.grad(loss)(params, detach=True)["first"][0]
    assert float(gradient) == pytest.approx(-1.0, abs=1e-4)
    assert float(jax.grad(loss)(params, detach=False)["first"][0]) == pytest.approx(0.0, abs=1e-4)


def test_reinforce_detaches_its_samples():
    """The same through `estimators.reinforce`, with samples that depend on the parameters."""
    definition, params = unit_policy()
    noise = jax.random.normal(jax.random.key(0), (1, 4000, 1))

    def loss(p):
        x = rollout.sample_from_noise(networks.bind(definition, p), noise)
        return estimators.reinforce(definition, x, x[:, :, 0], x, NO_ANCHOR)(p)[0]

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
    advantage = np.asarray(rollout.advantages(jnp.asarray(q, jnp.float32)), np.float64)
    returns = np.tile(q[:, -1:], (1, 3))

    def gradients(weights):
        """d/d(a, b) of the surrogate for each sequence, by jax."""

        def surrogate(theta, x, w):
            previous, value = x[:-1], x[1:]
            log_prob = -0.5 * (value - theta[0] * previous - theta[1]) ** 2
            return -losses.policy_gradient(log_prob[None], w[None])

        each = jax.vmap(jax.grad(surrogate), in_axes=(None, 0, 0))
        theta = jnp.array([a, b], jnp.float32)
        return np.asarray(
            each(theta, jnp.asarray(x, jnp.float32), jnp.asarray(weights, jnp.float32)), np.float64
        )

    by_advantage, by_return = gradients(advantage), gradients(returns)
    for each in (by_advantage, by_return):
        error = np.abs(each.mean(0) - wanted)
        assert np.all(error < 4 * each.std(0) / np.sqrt(n))
    assert np.all(by_advantage.std(0) < 0.7 * by_return.std(0))


def test_constant_reward_gives_no_gradient():
    q = jnp.full((8, 5), 0.7)
    advantage = losses.normalised(rollout.advantages(q))
    assert np.all(np.asarray(advantage) == 0)
    definition, params = helpers.policy(1, length=5)
    x = jnp.asarray(helpers.series(8, 5, 1), jnp.float32)
    loss = estimators.reinforce(definition, x, advantage, x, NO_ANCHOR)
    gradient = jax.jit(jax.grad(lambda p: loss(p)[0]))(params)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


def test_a_constant_added_to_every_reward_changes_nothing():
    q = jax.random.normal(jax.random.key(0), (8, 5))
    assert np.allclose(rollout.advantages(q), rollout.advantages(q + 3.0), atol=1e-5)


def test_anchor_and_entropy_bonus_enter_the_loss_with_their_weights():
    definition, params = helpers.policy(2, length=5)
    x = jnp.asarray(helpers.series(8, 5, 2), jnp.float32)
    real = jnp.asarray(helpers.series(8, 5, 2, seed=1), jnp.float32)
    advantage = jax.random.normal(jax.random.key(0), (8, 5))
    policy = networks.bind(definition, params)
    log_prob, entropy = policy.log_prob_and_entropy(x)
    nll = -policy.log_prob(real).mean()
    expected = -(advantage * log_prob).sum(1).mean() / 5 + 0.7 * nll - 0.2 * entropy.mean()
    config = AdversarialConfig(anchor=0.7, entropy_bonus=0.2)
    value, metrics = estimators.reinforce(definition, x, advantage, real, config)(params)
    assert float(value) == pytest.approx(float(expected), rel=1e-4)
    assert float(metrics["train_nll"]) == pytest.approx(float(nll), rel=1e-4)
    assert float(metrics["entropy"]) == pytest.approx(float(entropy.mean()), rel=1e-4)


def test_the_pathwise_gradient_of_a_linear_reward_is_exact():
    """Reward = sum_t x_t of a VAR(1) with matrix a: d/db of its mean is known in a closed form."""
    zero, one, a = jnp.zeros(1), jnp.eye(1), jnp.array([[0.5]])
    frame = Frame(zero, one, a, zero, one)
    definition, params = networks.policy(
        jax.random.key(0), GeneratorConfig(hidden_dim=3, policy="gaussian"), frame
    )
    noise = jax.random.normal(jax.random.key(1), (3, 7, 1))
    real = jnp.zeros((7, 3, 1))
    loss = estimators.pathwise(definition, lambda x: x.sum((1, 2)), noise, real, NO_ANCHOR)
    gradient = jax.grad(lambda p: loss(p)[0])(params)
    # A shift of every step's mean by b: b + (a b + b) + (a^2 b + a b + b) in all, over T = 3.
    assert float(gradient["head_bias"][0]) == pytest.approx(-(1 + 1.5 + 1.75) / 3, rel=1e-5)


def test_normalised_has_unit_size_and_keeps_signs():
    a = jax.random.normal(jax.random.key(0), (8, 5)) + 2.0
    scaled = np.asarray(losses.normalised(a))
    assert np.sqrt((scaled**2).mean()) == pytest.approx(1.0, rel=1e-5)
    assert np.array_equal(np.sign(scaled), np.sign(np.asarray(a)))


def test_discriminator_loss_is_ln2_when_blind_and_the_formula_otherwise():
    assert float(losses.discriminator(jnp.zeros(4), jnp.array([1.0, 0.0, 1.0, 0.0]))) == (
        pytest.approx(np.log(2))
    )
    logits, real = np.array([2.0, -1.0]), np.array([1.0, 1.0])
    expected = -np.log(1 / (1 + np.exp(-logits))).mean()
    actual = losses.discriminator(jnp.asarray(logits, jnp.float32), jnp.asarray(real, jnp.float32))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", ["small", "reference"])
def test_l2_is_on_the_output_layer_only(size):
    _, params = networks.discriminator(jax.random.key(0), size, 6, 1, 1.0, (1.0,))
    gradient = jax.grad(losses.output_l2)(params)
    for name, part in gradient.items():
        for got, weight in zip(jax.tree.leaves(part), jax.tree.leaves(params[name]), strict=True):
            expected = np.asarray(weight) if name == "output" else np.zeros_like(weight)
            assert np.array_equal(got, expected)


def test_r1_of_a_quadratic_logit_is_its_closed_form():
    """logit = w . x^2: the gradient is 2 w x."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(4, 2)), rng.normal(size=(6, 4, 2))

    def logit(x_BTD):
        return jnp.sum(jnp.asarray(w, jnp.float32)[None] * x_BTD**2, axis=(1, 2))

    expected = 0.5 * np.sum((2 * w * x) ** 2) / 6
    actual = losses.r1(logit, jnp.asarray(x, jnp.float32))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_rewards():
    logits = jnp.array([0.0, 100.0, -100.0])
    assert np.allclose(losses.reward(logits, "probability"), [0.5, 1.0, 0.0])
    assert np.array_equal(losses.reward(logits, "logit"), logits)
