"""The policy's laws against scipy, finite differences and sample moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.distributions import DiagonalGaussian, Framed, FullGaussian, by_name


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


def test_one_feature_is_diagonal_whatever_is_asked_for():
    assert by_name("full", 1) is DiagonalGaussian
    assert by_name("full", 2) is FullGaussian
    assert by_name("diagonal", 2) is DiagonalGaussian
