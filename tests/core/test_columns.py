"""The distribution of a step against scipy, plain loops, numerical integrals, sample moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.core.columns.chain import Chain, Context, by_name
from seqgan_jax.core.columns.continuous import LOG_SCALE_BOUNDS, Gaussian, Mixture, StudentT


def step_of(
    policy,
    features,
    seed,
    temperature=1.0,
    covariance="full",
    components=3,
    spread=0.4,
    offset=None,
    factor=None,
):
    """A step with numbers and weights that are not zero; by default without a linear part."""
    rng = np.random.default_rng(seed)
    chain = by_name(policy, covariance, components, features)
    raw = chain.start() + spread * rng.normal(size=chain.num_params)
    weights = {
        name: value + jnp.asarray(0.3 * spread * rng.normal(size=value.shape), jnp.float32)
        for name, value in chain.weights(jax.random.key(seed)).items()
    }
    offset = np.zeros(features) if offset is None else offset
    factor = np.eye(features) if factor is None else factor
    arrays = (jnp.asarray(a, jnp.float32) for a in (offset, factor, np.linalg.inv(factor)))
    return chain.step(jnp.asarray(raw, jnp.float32), weights, temperature, Context(*arrays))


def linear_part(seed, features):
    """An offset and a lower triangular factor."""
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.normal(size=(features, features)), -1)
    return rng.normal(size=features), factor + np.diag(rng.uniform(0.3, 2.0, features))


def moments(step):
    """Mean, F diag(scale) U or F diag(scale) [I, L] of a location-scale step, by plain loops."""
    raw, coupling = np.asarray(step.raw, np.float64), np.asarray(step.coupling, np.float64)
    factor, features = np.asarray(step.context.factor, np.float64), len(raw)
    lower, k = np.eye(features), 0
    for row in range(features):
        for column in range(row if step.chain.coupling == "linear" else 0):
            lower[row, column] = coupling[k]
            k += 1
    if step.chain.coupling == "factors":
        lower = np.concatenate([lower, coupling.reshape(features, -1)], axis=1)
    scale = step.temperature * np.exp(0.5 * raw[:, 1])
    mean = np.asarray(step.context.offset, np.float64) + factor @ raw[:, 0]
    return mean, factor @ np.diag(scale) @ lower


def point(seed, features):
    return np.random.default_rng(seed + 1).normal(size=features)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 10_000),
    st.integers(1, 5),
    st.floats(0.3, 2.0),
    st.sampled_from(["full", "factors", "diagonal"]),
)
def test_a_gaussian_steps_columns_sum_to_scipys_joint_density(seed, features, warm, covariance):
    part = dict(zip(("offset", "factor"), linear_part(seed, features), strict=True))
    step = step_of("gaussian", features, seed, warm, covariance, **part)
    mean, total = moments(step)
    joint = scipy.stats.multivariate_normal(mean, total @ total.T)
    x = point(seed, features)
    log_p = np.asarray(step.log_prob(jnp.asarray(x, jnp.float32)), np.float64)
    assert log_p.shape == (features,)
    assert log_p.sum() == pytest.approx(joint.logpdf(x), rel=5e-4, abs=5e-3)
    assert float(step.entropy().sum()) == pytest.approx(joint.entropy(), rel=1e-5, abs=1e-3)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(2, 5), st.sampled_from(["full", "factors"]))
def test_each_column_is_the_conditional_normal_given_the_earlier_ones(seed, features, covariance):
    part = dict(zip(("offset", "factor"), linear_part(seed, features), strict=True))
    step = step_of("gaussian", features, seed, covariance=covariance, **part)
    mean, total = moments(step)
    covariance, x = total @ total.T, point(seed, features)
    log_p, entropy = step.log_prob(jnp.asarray(x, jnp.float32)), step.entropy()
    for d in range(features):
        slope = np.linalg.solve(covariance[:d, :d], covariance[:d, d])
        given_mean = mean[d] + slope @ (x[:d] - mean[:d])
        normal = scipy.stats.norm(given_mean, np.sqrt(covariance[d, d] - slope @ covariance[:d, d]))
        assert float(log_p[d]) == pytest.approx(normal.logpdf(x[d]), rel=1e-3, abs=5e-3)
        assert float(entropy[d]) == pytest.approx(normal.entropy(), rel=1e-4, abs=1e-3)


def test_common_factors_of_an_untrained_policy_can_be_learned_and_hardly_move_it():
    """At L = 0 the slope of the likelihood is 0 whatever the data; the columns' sizes stay."""
    chain = by_name("gaussian", "factors", 1, 24)
    step = chain.step(jnp.asarray(chain.start()), {}, 1.0, Context.of(jnp.zeros(24), jnp.eye(24)))
    loadings = step.coupling.reshape(24, -1)
    assert np.linalg.matrix_rank(loadings) == loadings.shape[1]
    own = np.linalg.slogdet(np.eye(24) + loadings @ loadings.T)[1]
    assert 0 < own < 0.5
    x = jnp.ones(24)  # all columns at once: more than independent ones would be

    def loss(coupling):
        raw = jnp.concatenate([jnp.zeros(48), coupling])
        return -chain.step(raw, {}, 1.0, step.context).log_prob(x).sum()

    assert np.abs(jax.grad(loss)(jnp.zeros(24 * loadings.shape[1]))).max() == 0
    assert np.abs(jax.grad(loss)(step.coupling)).max() > 1e-3


def test_the_couplings_numbers_fill_the_lower_triangle_row_by_row():
    raw, linear = jnp.zeros(9).at[6:].set(jnp.array([0.1, 0.2, 0.3])), jnp.eye(3)
    step = by_name("gaussian", "full", 1, 3).step(
        raw, {}, 1.0, Context(jnp.zeros(3), linear, linear)
    )
    expected = [[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.2, 0.3, 1.0]]
    by_noise = jax.jacobian(lambda noise: step.sample(noise)[0])(jnp.zeros(3))
    assert np.allclose(by_noise, expected)


@pytest.mark.parametrize("covariance", ["diagonal", "full", "factors"])
def test_temperature_multiplies_the_standard_deviation(covariance):
    cold, warm = (step_of("gaussian", 3, 3, t, covariance) for t in (1.0, 1.7))
    noise, mean = jnp.linspace(-1.0, 1.3, cold.chain.num_noise), cold.raw[:, 0]
    moved = [np.asarray(step.sample(noise)[0] - mean) for step in (cold, warm)]
    assert np.allclose(moved[1], 1.7 * moved[0], atol=1e-6)
    assert np.allclose(warm.entropy() - cold.entropy(), np.log(1.7), atol=1e-5)


@pytest.mark.parametrize("covariance", ["diagonal", "full", "factors"])
def test_sample_moments_are_within_standard_errors(covariance):
    features, n = 3, 40_000
    part = dict(zip(("offset", "factor"), linear_part(2, features), strict=True))
    step = step_of("gaussian", features, 5, covariance=covariance, **part)
    noise = jax.random.normal(jax.random.key(0), (n, step.chain.num_noise))
    x, read = jax.vmap(step.sample)(noise)
    e = read[..., x.shape[-1] :]
    assert np.allclose(jax.vmap(step.context.innovation)(x), e, atol=1e-4)
    samples = np.asarray(x, np.float64)
    mean, total = moments(step)
    covariances = total @ total.T
    std = np.sqrt(np.diag(covariances))
    assert np.all(np.abs(samples.mean(0) - mean) < 4 * std / np.sqrt(n))
    variances = np.outer(std**2, std**2) + covariances**2
    errors = np.abs(np.cov(samples.T) - covariances)
    assert np.all(errors < 4 * np.sqrt(variances / n))


def test_log_prob_survives_extreme_log_variances():
    one, chain = jnp.eye(1), by_name("gaussian", "full", 1, 1)

    def log_p(mean, log_variance):
        raw = jnp.stack([mean, log_variance])
        step = chain.step(raw, {}, 1.0, Context(jnp.zeros(1), one, one))
        return step.log_prob(jnp.array([0.1]))[0]

    for value in (-1e9, 1e9):
        found, gradient = jax.value_and_grad(log_p)(jnp.array(0.0), jnp.array(value))
        assert np.isfinite(found)
        assert np.isfinite(gradient)


def by_loops(step, x):
    """log density of each column of a mixture at one point, by scipy."""
    raw, weights = np.asarray(step.raw, np.float64), step.weights
    found, context = [], np.asarray(step.coupling, np.float64)
    for d in range(len(x)):
        outputs = raw[d]
        if weights:
            a, w = (np.asarray(weights[name], np.float64) for name in "AW")
            outputs = outputs + np.tanh(context + sum(x[j] * a[j] for j in range(d))) @ w[d]
        logit, mean, log_scale = np.split(outputs, 3)
        share = scipy.special.softmax(logit)
        mean = share @ mean + step.temperature * (mean - share @ mean)
        scale = step.temperature * np.exp(log_scale)
        found.append(np.log(sum(share * scipy.stats.norm(mean, scale).pdf(x[d]))))
    return found


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.5, 1.5))
def test_a_mixtures_log_prob_is_a_plain_loop_with_scipy(seed, features, temperature):
    step = step_of("mixture", features, seed, temperature)
    x = point(seed, features)
    found = step.log_prob(jnp.asarray(x, jnp.float32))
    assert np.allclose(found, by_loops(step, x), rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.5, 1.5))
def test_students_log_prob_is_scipys(seed, features, temperature):
    step = step_of("student", features, seed, temperature)
    x = point(seed, features)
    mean, factor = moments(step)
    dof = 2.1 + np.log1p(np.exp(np.asarray(step.raw, np.float64)[:, 2] + 8.0))
    z = np.linalg.solve(factor, x - mean)
    expected = scipy.stats.t(dof).logpdf(z) - np.log(np.diag(factor))
    found = step.log_prob(jnp.asarray(x, jnp.float32))
    assert np.allclose(found, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("policy", ["mixture", "student"])
def test_samples_follow_the_density(policy):
    """Kolmogorov-Smirnov against the numerical integral of the density, one column."""
    step = step_of(policy, 1, 4)
    grid = np.linspace(-40, 40, 80_001)
    log_p = jax.vmap(step.log_prob)(jnp.asarray(grid[:, None], jnp.float32))
    density = np.exp(np.asarray(log_p))[:, 0]
    below = scipy.integrate.cumulative_trapezoid(density, grid, initial=0.0)
    assert below[-1] == pytest.approx(1.0, abs=1e-3)
    noise = jax.random.normal(jax.random.key(2), (20_000, step.chain.num_noise))
    samples = np.asarray(jax.jit(jax.vmap(step.sample))(noise)[0])[:, 0]
    found = scipy.stats.kstest(samples, lambda x: np.interp(x, grid, below))
    assert found.pvalue > 1e-3
    shifted = scipy.stats.kstest(samples + 0.05, lambda x: np.interp(x, grid, below))
    assert shifted.pvalue < 1e-6  # the test can fail


def test_a_mixture_of_two_columns_integrates_to_one_and_is_sampled_as_such():
    step = step_of("mixture", 2, 7, spread=0.5)
    grid = np.linspace(-14, 14, 701)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    by_column = np.asarray(jax.vmap(step.log_prob)(jnp.asarray(x, jnp.float32)), np.float64)
    density, width = np.exp(by_column.sum(axis=1)), grid[1] - grid[0]
    assert density.sum() * width**2 == pytest.approx(1.0, abs=2e-3)
    # The first column's term is its marginal density: the joint one, summed over the second.
    marginal = density.reshape(701, 701).sum(axis=1) * width
    assert np.allclose(np.exp(by_column[:, 0]).reshape(701, 701)[:, 0], marginal, atol=1e-3)
    noise = jax.random.normal(jax.random.key(3), (40_000, step.chain.num_noise))
    samples = np.asarray(jax.jit(jax.vmap(step.sample))(noise)[0], np.float64)
    for power in ((1, 0), (0, 1), (1, 1), (2, 1)):
        values = samples[:, 0] ** power[0] * samples[:, 1] ** power[1]
        exact = np.sum(x[:, 0] ** power[0] * x[:, 1] ** power[1] * density) * width**2
        assert abs(values.mean() - exact) < 4.5 * values.std() / 200


def test_the_first_columns_of_a_mixture_do_not_see_later_ones():
    step = step_of("mixture", 3, 1)
    noise = jax.random.normal(jax.random.key(0), (step.chain.num_noise,))
    x = np.asarray(step.sample(noise)[0])
    for d in range(3):  # noise of column d: which component, which value
        moved = np.asarray(step.sample(noise.at[jnp.array([d, 3 + d])].add(0.7))[0])
        assert np.array_equal(moved[:d], x[:d])
        assert np.all(moved[d:] != x[d:])
    by_value = np.asarray(jax.jacobian(step._coupled)(jnp.array([0.3, -0.2, 0.5])))
    for d in range(3):  # what column d is made of depends on x_j for j < d only
        assert np.all(by_value[d, :, d:] == 0)
        assert d == 0 or np.any(by_value[d, :, :d] != 0)


@pytest.mark.parametrize("policy", ["mixture", "student"])
def test_gradients_through_samples_are_those_of_the_expectation(policy):
    """d/dtheta E[tanh(2 x)], against central differences of a numerical integral."""
    chain, one = by_name(policy, "full", 3, 1), jnp.eye(1)
    rng = np.random.default_rng(5)
    start = chain.start() + 0.3 * rng.normal(size=chain.num_params)
    grid = jnp.linspace(-30.0, 30.0, 60_001)

    def step(raw):
        return chain.step(raw, {}, 1.0, Context(jnp.zeros(1), one, one))

    @jax.jit
    def expectation(raw):
        density = jnp.exp(jax.vmap(lambda x: step(raw).log_prob(x[None])[0])(grid))
        return jnp.sum(density * jnp.tanh(2 * grid)) * (grid[1] - grid[0])

    noise = jax.random.normal(jax.random.key(1), (100_000, chain.num_noise))

    @jax.jit
    def each(raw):
        one = jax.grad(lambda r, n: jnp.tanh(2 * step(r).sample(n)[0][0]))
        return jax.vmap(one, in_axes=(None, 0))(raw, noise)

    gradients = np.asarray(each(jnp.asarray(start, jnp.float32)), np.float64)
    error = gradients.std(0) / np.sqrt(len(gradients))
    for i in range(len(start)):
        change = 0.05 * np.eye(len(start))[i]
        high, low = (expectation(jnp.asarray(start + s, jnp.float32)) for s in (change, -change))
        exact = float(high - low) / 0.1
        assert abs(gradients[:, i].mean() - exact) < 4.5 * error[i] + 2e-3


# ------------------------------------------------------------------ a rare, wide component

RARE = 0.02  # its weight; the other one is N(0, 1)
NUMBER = 200_000  # samples of each component


def rare(scale, direction, power):
    """Estimate and standard error of d E[x^power] through samples, and the samples' x, by
    component: both are drawn as often, and weighed."""
    raw = jnp.log(jnp.array([1 - RARE, RARE, 1.0, 1.0, 1.0, scale]))
    value = np.random.default_rng(0).normal(size=(2, NUMBER))
    which = np.repeat([[-6.0], [6.0]], NUMBER, axis=1)

    def sample(raw):
        shape = (2, NUMBER, 6)
        noise = tuple(jnp.asarray(each, jnp.float32) for each in (which, value))
        return Mixture(2).sample(jnp.broadcast_to(raw, shape), noise, 1.0)

    tangent = jnp.asarray(np.eye(6)[direction], jnp.float32)
    x, dx = (np.asarray(a, np.float64) for a in jax.jvp(sample, (raw,), (tangent,)))
    return *weighed(power * x ** (power - 1) * dx), x


def weighed(terms):
    """Mean and standard error of values `[2, NUMBER]` by component."""
    share = np.array([1 - RARE, RARE])
    return share @ terms.mean(axis=1), np.sqrt(share**2 @ (terms.var(axis=1) / NUMBER))


SCALES = (3.0, 5.0, 10.0, 20.0)  # a component's largest is exp(LOG_SCALE_BOUNDS[1]), 20.1


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_a_rare_wide_component_has_its_whole_gradient(scale):
    """d E[x^2] / d log s = 2 w s^2; of a density that is held above 1e-3 a seventh at s = 20."""
    assert np.log(scale) < LOG_SCALE_BOUNDS[1]
    exact = 2 * RARE * scale**2
    found, error, x = rare(scale, 5, 2)
    assert error < 0.01 * exact
    assert abs(found - exact) < 4 * error
    # The control: dx = - dF / max(p, 1e-3), as it was.
    wide = scipy.stats.norm(0, scale)
    density = (1 - RARE) * scipy.stats.norm.pdf(x) + RARE * wide.pdf(x)
    held, held_error = weighed(2 * x * RARE * wide.pdf(x) * x / np.maximum(density, 1e-3))
    assert held < exact - 20 * held_error


@pytest.mark.parametrize("scale", SCALES)
def test_the_weight_of_a_rare_wide_component_has_its_whole_gradient(scale):
    """d E[x^2] / d logit_2 = w_2 (s_2^2 - sum_k w_k s_k^2), d E[x] / d mean_2 = w_2."""
    found, error, _ = rare(scale, 1, 2)
    exact = RARE * (1 - RARE) * (scale**2 - 1)
    assert error < 0.05 * exact
    assert abs(found - exact) < 4 * error
    found, error, _ = rare(scale, 3, 1)
    assert error < 0.01 * RARE
    assert abs(found - RARE) < 4 * error


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("policy", ["gaussian", "student", "mixture"])
def test_an_untrained_step_is_nearly_standard_normal(policy, features):
    step = step_of(policy, features, 0, components=5, spread=0.0)
    noise = jax.random.normal(jax.random.key(0), (20_000, step.chain.num_noise))
    samples = np.asarray(jax.vmap(step.sample)(noise)[0])
    assert np.all(np.abs(samples.mean(0)) < 0.05)
    assert np.all(np.abs(samples.std(0) - 1) < 0.15)
    assert np.all(np.abs(np.corrcoef(samples.T).reshape(features, -1) - np.eye(features)) < 0.05)


def test_one_column_has_no_coupling_whatever_is_asked_for():
    assert by_name("gaussian", "full", 5, 1) == Chain((Gaussian(),), "none")
    assert by_name("gaussian", "factors", 5, 1) == Chain((Gaussian(),), "none")
    assert by_name("gaussian", "auto", 5, 16) == by_name("gaussian", "full", 5, 16)
    assert by_name("gaussian", "auto", 5, 17) == Chain((Gaussian(),) * 17, "factors")
    assert by_name("student", "auto", 5, 17) == Chain((StudentT(),) * 17, "linear")
    assert by_name("gaussian", "full", 5, 2) == Chain((Gaussian(),) * 2, "linear")
    assert by_name("gaussian", "diagonal", 5, 2) == Chain((Gaussian(),) * 2, "none")
    assert by_name("student", "diagonal", 5, 2) == Chain((StudentT(),) * 2, "linear")
    assert by_name("mixture", "full", 5, 1) == Chain((Mixture(5),), "none")


@pytest.mark.parametrize("policy", ["student", "mixture"])
def test_an_entropy_without_a_closed_form_is_refused(policy):
    step = step_of(policy, 2, 0)
    assert not step.chain.closed_entropy
    with pytest.raises(TypeError, match="no closed form"):
        step.entropy()


@pytest.mark.parametrize("features", [33, 48])
def test_many_columns_are_summed_in_blocks_to_what_a_plain_loop_gives(features):
    chain = by_name("mixture", "full", 3, features)
    rng = np.random.default_rng(features)
    steps, batch = 2, 3
    raw = jnp.asarray(rng.normal(size=(steps, batch, chain.num_params)), jnp.float32)
    weights = {
        name: value + jnp.asarray(0.2 * rng.normal(size=value.shape), jnp.float32)
        for name, value in chain.weights(jax.random.key(0)).items()
    }
    plain = Context(jnp.zeros((1, 1, features)), jnp.eye(features), jnp.eye(features))
    x = jnp.asarray(rng.normal(size=(steps, batch, features)), jnp.float32)

    def in_blocks(weights):
        return chain.step(raw, weights, 1.0, plain).log_prob(x)

    def one_by_one(weights):
        own = raw[..., : -chain.num_coupling].reshape(steps, batch, features, -1)
        seen, found = raw[..., -chain.num_coupling :], []
        for d in range(features):
            numbers = own[..., d, :] + jnp.tanh(seen) @ weights["W"][d]
            found.append(chain.kind.log_prob(numbers, x[..., d], 1.0))
            seen = seen + x[..., d, None] * weights["A"][d][None, None]
        return jnp.stack(found, axis=-1)

    def both(weights):
        found = in_blocks(weights), one_by_one(weights)
        slopes = (jax.grad(lambda w, f=f: f(w).mean())(weights) for f in (in_blocks, one_by_one))
        return found, tuple(slopes)

    (found, expected), slopes = jax.jit(both)(weights)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    for name in weights:
        np.testing.assert_allclose(*(each[name] for each in slopes), atol=1e-5)
        assert np.abs(slopes[0][name]).max() > 1e-4
