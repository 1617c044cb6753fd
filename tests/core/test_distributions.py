"""The policy's laws against scipy, finite differences and sample moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.core.distributions import (
    DiagonalGaussian,
    Framed,
    FullGaussian,
    GaussianFamily,
    by_name,
)


def raw_params(seed, kind, features, *leading):
    rng = np.random.default_rng(seed)
    return jnp.asarray(0.5 * rng.normal(size=(*leading, kind.num_params(features))), jnp.float32)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.3, 2.0))
def test_full_log_prob_and_entropy_are_scipys(seed, features, temperature):
    law = FullGaussian.from_params(raw_params(seed, FullGaussian, features), temperature)
    factor = np.asarray(law.factor, np.float64)
    assert np.array_equal(factor, np.tril(factor))
    independent = scipy.stats.multivariate_normal(
        np.asarray(law.mean, np.float64), factor @ factor.T, allow_singular=False
    )
    x = np.random.default_rng(seed + 1).normal(size=features)
    expected = independent.logpdf(x)
    assert float(law.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(
        expected, rel=2e-4, abs=2e-3
    )
    assert float(law.entropy()) == pytest.approx(independent.entropy(), rel=1e-5, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.3, 2.0))
def test_diagonal_log_prob_and_entropy_are_scipys(seed, features, temperature):
    law = DiagonalGaussian.from_params(raw_params(seed, DiagonalGaussian, features), temperature)
    independent = scipy.stats.norm(
        np.asarray(law.mean, np.float64), np.asarray(law.scale, np.float64)
    )
    x = np.random.default_rng(seed + 1).normal(size=features)
    assert float(law.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(
        independent.logpdf(x).sum(), rel=1e-4, abs=1e-3
    )
    assert float(law.entropy()) == pytest.approx(independent.entropy().sum(), rel=1e-5, abs=1e-4)


def test_lower_triangle_is_filled_row_by_row():
    raw = jnp.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3])
    expected = [[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.2, 0.3, 1.0]]
    assert np.allclose(FullGaussian.from_params(raw).factor, expected)


@pytest.mark.parametrize("kind", [DiagonalGaussian, FullGaussian])
def test_temperature_multiplies_the_standard_deviation(kind):
    raw = raw_params(3, kind, 3)
    cold, warm = kind.from_params(raw, 1.0), kind.from_params(raw, 1.7)
    noise = jnp.array([0.3, -1.0, 0.5])
    assert np.allclose(
        warm.sample(noise) - warm.mean, 1.7 * (cold.sample(noise) - cold.mean), atol=1e-6
    )
    assert float(warm.entropy() - cold.entropy()) == pytest.approx(3 * np.log(1.7), rel=1e-5)


@pytest.mark.parametrize("kind", [DiagonalGaussian, FullGaussian])
def test_sample_moments_are_within_standard_errors(kind):
    features, n = 3, 40_000
    law = kind.from_params(raw_params(5, kind, features), 1.0)
    noise = jax.random.normal(jax.random.key(0), (n, features))
    draw = jax.vmap(law.sample)(noise)
    samples = np.asarray(draw, np.float64)
    if kind is FullGaussian:
        covariance = np.asarray(law.factor @ law.factor.T)
    else:
        covariance = np.diag(np.asarray(law.scale) ** 2)
    std = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(samples.mean(0) - np.asarray(law.mean)) < 4 * std / np.sqrt(n))
    variances = np.outer(std**2, std**2) + covariance**2
    errors = np.abs(np.cov(samples.T) - covariance)
    assert np.all(errors < 4 * np.sqrt(variances / n))


def test_log_prob_survives_extreme_log_variances():
    for value in (-1e9, 1e9):
        law = DiagonalGaussian.from_params(jnp.array([0.0, value]))
        gradient = jax.grad(lambda m, law=law: law._replace(mean=m).log_prob(jnp.array([0.1])))(
            law.mean
        )
        assert np.isfinite(law.log_prob(jnp.array([0.1])))
        assert np.all(np.isfinite(gradient))


def test_a_frame_changes_the_density_by_its_determinant():
    rng = np.random.default_rng(0)
    factor = np.tril(rng.normal(size=(3, 3)), -1) + np.diag([0.5, 2.0, 0.1])
    inner = FullGaussian.from_params(raw_params(1, FullGaussian, 3))
    offset = rng.normal(size=3)
    framed = Framed(
        jnp.asarray(offset, jnp.float32),
        jnp.asarray(factor, jnp.float32),
        jnp.asarray(np.linalg.inv(factor), jnp.float32),
        inner,
    )
    total = factor @ np.asarray(inner.factor, np.float64)
    mean = offset + factor @ np.asarray(inner.mean, np.float64)
    independent = scipy.stats.multivariate_normal(mean, total @ total.T)
    x, e = framed.sample(jnp.array([0.2, -0.7, 1.1]))
    assert np.allclose(framed.innovation(x), e, atol=1e-4)
    assert float(framed.log_prob(x)) == pytest.approx(independent.logpdf(np.asarray(x)), abs=1e-3)
    assert float(framed.entropy()) == pytest.approx(independent.entropy(), abs=1e-3)


def law_of(policy, features, seed, temperature=1.0, components=3, spread=0.4):
    """A law with weights that are not zero, and how much noise one sample of it takes."""
    rng = np.random.default_rng(seed)
    family = by_name(policy, "full", components, features)
    noisy = family.start() + spread * rng.normal(size=family.num_params)
    weights = {
        name: value + jnp.asarray(0.3 * spread * rng.normal(size=value.shape), jnp.float32)
        for name, value in family.weights(jax.random.key(seed)).items()
    }
    law = family.law(jnp.asarray(noisy, jnp.float32), weights, temperature)
    return law, family.num_noise


def by_loops(law, x):
    """log density of a mixture at one point, feature by feature, by scipy."""
    raw, weights = np.asarray(law.raw_PD, np.float64), law.weights
    total, context = 0.0, np.asarray(law.context, np.float64)
    for d in range(len(x)):
        outputs = raw[d]
        if weights:
            a, w = (np.asarray(weights[name], np.float64) for name in "AW")
            outputs = outputs + np.tanh(context + sum(x[j] * a[j] for j in range(d))) @ w[d]
        logit, mean, log_scale = np.split(outputs, 3)
        share = scipy.special.softmax(logit)
        mean = share @ mean + law.temperature * (mean - share @ mean)
        scale = law.temperature * np.exp(log_scale)
        total += np.log(sum(share * scipy.stats.norm(mean, scale).pdf(x[d])))
    return total


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.5, 1.5))
def test_a_mixtures_log_prob_is_a_plain_loop_with_scipy(seed, features, temperature):
    law, _ = law_of("mixture", features, seed, temperature)
    x = np.random.default_rng(seed + 1).normal(size=features)
    assert float(law.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(
        by_loops(law, x), rel=1e-4, abs=1e-3
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0.5, 1.5))
def test_students_log_prob_is_scipys(seed, features, temperature):
    law, _ = law_of("student", features, seed, temperature)
    x = np.random.default_rng(seed + 1).normal(size=features)
    factor = np.asarray(law.gaussian.factor, np.float64)
    z = np.linalg.solve(factor, x - np.asarray(law.gaussian.mean, np.float64))
    expected = scipy.stats.t(np.asarray(law.dof, np.float64)).logpdf(z).sum()
    expected -= np.log(np.diag(factor)).sum()
    assert float(law.log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(
        expected, rel=1e-4, abs=2e-3
    )


@pytest.mark.parametrize("policy", ["mixture", "student"])
def test_samples_follow_the_density(policy):
    """Kolmogorov-Smirnov against the numerical integral of the density, one feature."""
    law, size = law_of(policy, 1, 4)
    grid = np.linspace(-40, 40, 80_001)
    density = np.exp(np.asarray(jax.vmap(law.log_prob)(jnp.asarray(grid[:, None], jnp.float32))))
    below = scipy.integrate.cumulative_trapezoid(density, grid, initial=0.0)
    assert below[-1] == pytest.approx(1.0, abs=1e-3)
    noise = jax.random.normal(jax.random.key(2), (20_000, size))
    samples = np.asarray(jax.jit(jax.vmap(law.sample))(noise))[:, 0]
    found = scipy.stats.kstest(samples, lambda x: np.interp(x, grid, below))
    assert found.pvalue > 1e-3
    shifted = scipy.stats.kstest(samples + 0.05, lambda x: np.interp(x, grid, below))
    assert shifted.pvalue < 1e-6  # the test can fail


def test_a_mixture_of_two_features_integrates_to_one_and_is_sampled_as_such():
    law, size = law_of("mixture", 2, 7, spread=0.5)
    grid = np.linspace(-14, 14, 701)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(np.asarray(jax.vmap(law.log_prob)(jnp.asarray(x, jnp.float32))))
    cell = (grid[1] - grid[0]) ** 2
    assert density.sum() * cell == pytest.approx(1.0, abs=2e-3)
    noise = jax.random.normal(jax.random.key(3), (40_000, size))
    samples = np.asarray(jax.jit(jax.vmap(law.sample))(noise), np.float64)
    for power in ((1, 0), (0, 1), (1, 1), (2, 1)):
        values = samples[:, 0] ** power[0] * samples[:, 1] ** power[1]
        exact = np.sum(x[:, 0] ** power[0] * x[:, 1] ** power[1] * density) * cell
        assert abs(values.mean() - exact) < 4.5 * values.std() / 200


def test_the_first_features_of_a_mixture_do_not_see_later_ones():
    law, size = law_of("mixture", 3, 1)
    noise = jax.random.normal(jax.random.key(0), (size,))
    x = np.asarray(law.sample(noise))
    for d in range(3):  # noise of feature d: which component, which value
        moved = np.asarray(law.sample(noise.at[jnp.array([d, 3 + d])].add(0.7)))
        assert np.array_equal(moved[:d], x[:d])
        assert np.all(moved[d:] != x[d:])
    by_value = np.asarray(jax.jacobian(law._hidden)(jnp.array([0.3, -0.2, 0.5])))
    for d in range(3):  # what feature d is made of depends on x_j for j < d only
        assert np.all(by_value[d, :, d:] == 0)
        assert d == 0 or np.any(by_value[d, :, :d] != 0)


@pytest.mark.parametrize("policy", ["mixture", "student"])
def test_gradients_through_samples_are_those_of_the_expectation(policy):
    """d/dtheta E[tanh(2 x)], against central differences of a numerical integral."""
    family = by_name(policy, "full", 3, 1)
    rng = np.random.default_rng(5)
    raw = family.start() + 0.3 * rng.normal(size=family.num_params)
    grid = jnp.linspace(-30.0, 30.0, 60_001)

    @jax.jit
    def expectation(raw):
        density = jnp.exp(jax.vmap(lambda x: family.law(raw, {}, 1.0).log_prob(x[None]))(grid))
        return jnp.sum(density * jnp.tanh(2 * grid)) * (grid[1] - grid[0])

    noise = jax.random.normal(jax.random.key(1), (100_000, family.num_noise))

    @jax.jit
    def each(raw):
        one = jax.grad(lambda r, n: jnp.tanh(2 * family.law(r, {}, 1.0).sample(n)[0]))
        return jax.vmap(one, in_axes=(None, 0))(raw, noise)

    gradients = np.asarray(each(jnp.asarray(raw, jnp.float32)), np.float64)
    error = gradients.std(0) / np.sqrt(len(gradients))
    for i in range(len(raw)):
        step = 0.05 * np.eye(len(raw))[i]
        high, low = (expectation(jnp.asarray(raw + s, jnp.float32)) for s in (step, -step))
        exact = float(high - low) / 0.1
        assert abs(gradients[:, i].mean() - exact) < 4.5 * error[i] + 2e-3


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("policy", ["gaussian", "student", "mixture"])
def test_an_untrained_law_is_nearly_standard_normal(policy, features):
    law, size = law_of(policy, features, 0, components=5, spread=0.0)
    noise = jax.random.normal(jax.random.key(0), (20_000, size))
    samples = np.asarray(jax.vmap(law.sample)(noise))
    assert np.all(np.abs(samples.mean(0)) < 0.05)
    assert np.all(np.abs(samples.std(0) - 1) < 0.15)
    assert np.all(np.abs(np.corrcoef(samples.T).reshape(features, -1) - np.eye(features)) < 0.05)


def test_one_feature_is_diagonal_whatever_is_asked_for():
    assert by_name("gaussian", "full", 5, 1) == GaussianFamily(False, 1)
    assert by_name("gaussian", "full", 5, 2) == GaussianFamily(True, 2)
    assert by_name("gaussian", "diagonal", 5, 2) == GaussianFamily(False, 2)
