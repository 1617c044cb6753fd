"""Each simulator's density against something independent of it, its sampler against its density."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jax
import numpy as np
import pytest
import scipy.stats
from scipy.special import expit

from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.processes import simulators
from seqgan_jax.processes.counts import SeasonalCounts
from seqgan_jax.processes.held import HeldSensor
from seqgan_jax.processes.linear import AR1, VAR1, SeasonalAR2
from seqgan_jax.processes.lstm import LSTMOracle
from seqgan_jax.processes.markov import MarkovStates
from seqgan_jax.processes.prices import Prices
from seqgan_jax.processes.rain import Rain
from seqgan_jax.processes.regime import RegimeAR
from seqgan_jax.processes.simulators import NAMES

LINEAR = {
    "ar1": AR1(length=6),
    "ar1, negative": AR1(phi=-0.5, sigma=2.0, mean=-1.0, length=2),
    "var1": VAR1(length=5),
    "var1, D = 2": VAR1(((0.9, -0.5), (0.4, 0.3)), ((1.0, 0.5), (0.5, 2.0)), (5.0, 0.0), 4),
    "seasonal": SeasonalAR2(length=7),
    "seasonal, no phi_1": SeasonalAR2(phi=(0.0, 0.6), period=4.0, length=2),
}


@pytest.fixture(autouse=True)
def _no_key_twice() -> Iterator[None]:
    with jax.debug_key_reuse(True):
        yield


def sample64(simulator: simulators.Simulator, seed: int, n: int) -> np.ndarray:
    return np.asarray(simulator.sample(jax.random.key(seed), n), np.float64)


def full_normal(simulator: AR1 | VAR1 | SeasonalAR2) -> tuple[np.ndarray, np.ndarray]:
    """Mean [TD] and covariance [TD, TD] of the whole sequence, from other formulas."""
    length = simulator.length
    lags = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    if isinstance(simulator, AR1):
        rho = np.power(simulator.phi, np.arange(length))
        variance = simulator.sigma**2 / (1 - simulator.phi**2)
        return np.full(length, simulator.mean), variance * rho[lags]
    if isinstance(simulator, SeasonalAR2):  # the Yule-Walker equations
        (f, g), s = simulator.phi, simulator.sigma
        variance = (1 - g) * s**2 / ((1 + g) * ((1 - g) ** 2 - f**2))
        rho = np.array([1.0, f / (1 - g), *[0.0] * (length - 2)])
        for k in range(2, length):
            rho[k] = f * rho[k - 1] + g * rho[k - 2]
        t = np.arange(length)
        mean = simulator.level + simulator.amplitude * np.sin(2 * np.pi * t / simulator.period)
        return mean, variance * rho[lags]
    a, q = np.array(simulator.coefficients), np.array(simulator.noise_covariance)
    # P as the sum over the moving-average form, 400 terms.
    powers = [np.linalg.matrix_power(a, k) for k in range(400)]
    p = sum(m @ q @ m.T for m in powers)
    blocks = [
        [powers[t - u] @ p if t >= u else (powers[u - t] @ p).T for u in range(length)]
        for t in range(length)
    ]
    return np.tile(simulator.mean, length), np.block(blocks)


# The linear Gaussian processes.


@pytest.mark.parametrize("simulator", LINEAR.values(), ids=LINEAR.keys())
def test_linear_log_prob_is_the_full_normal_density(simulator: AR1 | VAR1 | SeasonalAR2) -> None:
    mean, covariance = full_normal(simulator)
    shape = (50, simulator.length, simulator.num_features)
    x = mean.reshape(shape[1:]) + np.random.default_rng(0).normal(size=shape)
    expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(x.reshape(50, -1))
    np.testing.assert_allclose(simulator.log_prob(x), expected, rtol=1e-9)


@pytest.mark.parametrize("simulator", LINEAR.values(), ids=LINEAR.keys())
def test_linear_entropy_is_that_of_the_full_normal(simulator: AR1 | VAR1 | SeasonalAR2) -> None:
    estimate = simulator.entropy()
    expected = scipy.stats.multivariate_normal(*full_normal(simulator)).entropy()
    assert estimate.value == pytest.approx(expected, abs=1e-9)
    assert estimate.standard_error == 0.0


@pytest.mark.parametrize("simulator", LINEAR.values(), ids=LINEAR.keys())
def test_linear_samples_have_the_moments(simulator: AR1 | VAR1 | SeasonalAR2) -> None:
    n = 40_000
    mean, covariance = full_normal(simulator)
    x = sample64(simulator, 1, n).reshape(n, -1)
    variance = np.diag(covariance)
    assert np.abs((x.mean(0) - mean) / np.sqrt(variance / n)).max() < 4.5
    # Var of a sample covariance of normal values: (c_ii c_jj + c_ij^2) / n.
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert np.abs((np.cov(x.T) - covariance) / error).max() < 4.5


def test_covariance_at_lags() -> None:
    var1 = VAR1(length=4)
    for simulator in (var1, SeasonalAR2(length=4)):
        d = simulator.num_features
        blocks = full_normal(simulator)[1].reshape(4, d, 4, d)
        for lag in range(4):
            np.testing.assert_allclose(simulator.covariance(lag), blocks[lag, :, 0], atol=1e-12)
            np.testing.assert_allclose(simulator.covariance(-lag), blocks[0, :, lag], atol=1e-12)
    assert np.abs(var1.covariance(1) - var1.covariance(-1)).max() > 0.01
    np.testing.assert_allclose(AR1().covariance(2), [[0.25 * 0.64]])
    np.testing.assert_allclose(AR1().covariance(-2), [[0.25 * 0.64]])
    assert var1.covariance().shape == (3, 3)


# The regime-switching process.


def normal_pdf(x: float, mean: float, std: float) -> float:
    return math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))


def naive_regime_density(simulator: RegimeAR, x_T: np.ndarray) -> float:
    """p(x) as a sum over every path of the regimes."""
    a, b = simulator.stay
    stationary = ((1 - b) / (2 - a - b), (1 - a) / (2 - a - b))
    total = 0.0
    for path in itertools.product((0, 1), repeat=len(x_T)):
        k = path[0]
        std = simulator.sigma[k] / math.sqrt(1 - simulator.phi[k] ** 2)
        p = stationary[k] * normal_pdf(x_T[0], simulator.mean[k], std)
        for t in range(1, len(x_T)):
            last, k = k, path[t]
            p *= simulator.stay[last] if k == last else 1 - simulator.stay[last]
            mean = simulator.mean[k] + simulator.phi[k] * (x_T[t - 1] - simulator.mean[k])
            p *= normal_pdf(x_T[t], mean, simulator.sigma[k])
        total += p
    return total


def regime_pit(simulator: RegimeAR, x_NT: np.ndarray) -> np.ndarray:
    """P(x_t <= its value | the steps before it) [N, T], by filtering in plain probabilities."""
    a, b = simulator.stay
    move = np.array([[a, 1 - a], [1 - b, b]])
    mean, phi, sigma = (np.array(getattr(simulator, f)) for f in ("mean", "phi", "sigma"))
    weight_NK = np.tile(np.array([1 - b, 1 - a]) / (2 - a - b), (len(x_NT), 1))
    pit = np.empty_like(x_NT)
    for t in range(x_NT.shape[1]):
        step = scipy.stats.norm(
            mean + (phi * (x_NT[:, t - 1, None] - mean) if t else 0.0),
            sigma if t else sigma / np.sqrt(1 - phi**2),
        )
        pit[:, t] = (weight_NK * step.cdf(x_NT[:, t, None])).sum(1)
        posterior = weight_NK * step.pdf(x_NT[:, t, None])
        weight_NK = posterior / posterior.sum(1, keepdims=True) @ move
    return pit


@pytest.mark.parametrize(
    "simulator",
    [
        RegimeAR(length=6),
        RegimeAR((-0.4, 0.9), (0.0, 2.0), (1.0, 0.5), (0.3, 0.95), length=6),
    ],
)
def test_forward_algorithm_sums_over_every_path(simulator: RegimeAR) -> None:
    rng = np.random.default_rng(0)
    # Likely sequences, and others whose density is near 1e-100.
    x = np.concatenate([sample64(simulator, 2, 10)[..., 0], rng.normal(size=(10, 6)) * 1.5])
    expected = [math.log(naive_regime_density(simulator, row)) for row in x]
    np.testing.assert_allclose(simulator.log_prob(x), expected, rtol=1e-10)


def test_forward_algorithm_does_not_underflow() -> None:
    far = RegimeAR(length=50).log_prob(np.full((1, 50), 40.0))
    assert np.all(np.isfinite(far))
    assert far[0] < -1000  # exp of it is 0 in float64


def test_regime_density_integrates_at_two_steps() -> None:
    simulator = RegimeAR(length=2)
    grid = np.linspace(-4.0, 4.0, 801)  # the trapezoid rule is exact to rounding here
    pairs = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = simulator.log_prob(pairs).reshape(801, 801)
    p, step = np.exp(log_p), grid[1] - grid[0]
    assert p.sum() * step**2 == pytest.approx(1.0, abs=1e-9)

    stationary, start_std = (0.25 / 0.40, 0.15 / 0.40), (0.15 / 0.51**0.5, 0.25 / 0.91**0.5)
    first = sum(
        w * scipy.stats.norm.pdf(grid, m, s)
        for w, m, s in zip(stationary, (-1.0, 1.0), start_std, strict=True)
    )
    np.testing.assert_allclose(p.sum(1) * step, first, atol=1e-9)

    value, error = simulator.entropy(jax.random.key(5), n=20_000)
    assert abs(value - -np.sum(p * log_p) * step**2) < 4 * error
    assert 0 < error < 0.02


def test_regime_samples_follow_the_density() -> None:
    simulator = RegimeAR()
    x_NT = sample64(simulator, 3, 2000)[..., 0]
    assert scipy.stats.kstest(regime_pit(simulator, x_NT).ravel(), "uniform").pvalue > 1e-3
    # The test has the power to see a small change of the process.
    other = dataclasses.replace(simulator, stay=(0.85, 0.70))
    assert scipy.stats.kstest(regime_pit(other, x_NT).ravel(), "uniform").pvalue < 1e-6


def test_regime_is_clearly_not_gaussian() -> None:
    grid = np.linspace(-3.0, 3.0, 601)
    simulator = RegimeAR(length=5)
    bimodal = 0
    for prefix in sample64(simulator, 4, 40)[:, :4, 0]:
        given = np.column_stack([np.tile(prefix, (601, 1)), grid])
        density = np.exp(simulator.log_prob(given))
        density /= np.exp(dataclasses.replace(simulator, length=4).log_prob(prefix[None]))
        assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1.0, abs=1e-6)
        inner = density[1:-1]
        peaks = (inner > density[:-2]) & (inner > density[2:]) & (inner > 0.05 * density.max())
        bimodal += peaks.sum() == 2
    assert bimodal >= 20  # of 40

    # The best Gaussian for the whole sequence is far from it: KL per step in nats.
    x = sample64(simulator, 5, 20_000)[..., 0]
    normal_entropy = scipy.stats.multivariate_normal(cov=np.cov(x.T)).entropy()
    assert (normal_entropy - simulator.entropy(jax.random.key(6), 5000).value) / 5 > 0.3


# The LSTM oracle.


@pytest.mark.parametrize("features", [1, 2])
def test_lstm_log_prob_is_a_plain_loop(features: int) -> None:
    oracle = LSTMOracle(features=features, hidden=3, length=4)
    gates, bias, head, head_bias = oracle._weights()
    x = np.random.default_rng(0).normal(size=(3, 4, features))
    for row, log_p in zip(x, oracle.log_prob(x), strict=True):
        h, c, last, expected = np.zeros(3), np.zeros(3), np.zeros(features), 0.0
        for now in row:
            new_h = np.empty(3)
            for j in range(3):
                i, f, g, o = (
                    sum(v * w for v, w in zip([*last, *h], gates[:, gate * 3 + j], strict=True))
                    + bias[0, gate * 3 + j]
                    for gate in range(4)
                )
                c[j] = expit(f) * c[j] + expit(i) * np.tanh(g)
                new_h[j] = expit(o) * np.tanh(c[j])
            h, last = new_h, now
            for d in range(features):
                mean = h @ head[:, d] + head_bias[0, d]
                std = math.exp(0.5 * (h @ head[:, features + d] + head_bias[0, features + d]))
                expected += scipy.stats.norm.logpdf(now[d], mean, std)
        assert log_p == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("features", [1, 2])
def test_lstm_samples_follow_the_density(features: int) -> None:
    oracle = LSTMOracle(features=features)
    x = sample64(oracle, 7, 2000)

    def p_value(process: LSTMOracle) -> float:
        mean, log_var = process.conditionals(x)
        pit = scipy.stats.norm.cdf(x, mean, np.exp(0.5 * log_var))
        return scipy.stats.kstest(pit.ravel(), "uniform").pvalue

    assert p_value(oracle) > 1e-3
    assert p_value(dataclasses.replace(oracle, seed=oracle.seed + 1)) < 1e-6


def test_lstm_conditionals_see_the_past_only() -> None:
    oracle = LSTMOracle(length=6)
    x = sample64(oracle, 8, 1)
    changed = x.copy()
    changed[0, 3] += 1.0
    for before, after in zip(oracle.conditionals(x), oracle.conditionals(changed), strict=True):
        np.testing.assert_array_equal(before[:, :4], after[:, :4])
        assert np.all(before[:, 4:] != after[:, 4:])


def test_lstm_entropy_by_quadrature_at_two_steps() -> None:
    oracle = LSTMOracle(length=2)
    (mean, _), (log_var, _) = (v[0, :, 0] for v in oracle.conditionals(np.zeros((1, 2))))
    first = scipy.stats.norm(mean, math.exp(0.5 * log_var))
    grid = np.linspace(mean - 8 * first.std(), mean + 8 * first.std(), 2001)
    second = oracle.conditionals(np.column_stack([grid, grid]))[1][:, 1, 0]
    second_entropy = 0.5 * (second + math.log(2 * math.pi * math.e))
    expected = first.entropy() + np.trapezoid(first.pdf(grid) * second_entropy, grid)
    value, error = oracle.entropy(jax.random.key(9), n=5000)
    assert 0 < error < 0.01
    assert abs(value - expected) < 4 * error


def test_lstm_oracle_is_interesting_and_stable() -> None:
    x = sample64(LSTMOracle(length=200), 10, 200)
    assert np.abs(x).max() < 10
    late = x[:, 100:, 0]
    mean, log_var = (v[:, 100:, 0] for v in LSTMOracle(length=200).conditionals(x))
    assert 0.3 < mean.var() / late.var() < 0.8  # the past explains much, and not all
    low, high = np.quantile(np.exp(0.5 * log_var), [0.05, 0.95])
    assert high / low > 1.3  # volatility depends on the past


# All of them.


@pytest.mark.parametrize("name", NAMES)
def test_entropy_is_the_mean_of_minus_log_prob(name: str) -> None:
    simulator = simulators.get(name, length=8)
    minus = -simulator.log_prob(sample64(simulator, 11, 20_000))
    value, error = simulator.entropy()
    both = math.hypot(error, minus.std() / math.sqrt(20_000))
    assert both < 0.05
    assert abs(minus.mean() - value) < 4 * both


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_a_function_of_the_key(name: str) -> None:
    simulator = simulators.get(name, length=5)
    one = simulator.sample(jax.random.key(0), 3)
    assert one.shape == (3, 5, simulator.num_features)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, simulator.sample(jax.random.key(0), 3))
    other = np.asarray(simulator.sample(jax.random.key(1), 3))
    for d, column in enumerate(simulator.columns):
        same = np.asarray(one)[..., d] == other[..., d]
        assert not (same.all() if column.atoms or column.decimals is not None else same.any())
    compiled = jax.jit(lambda key: simulator.sample(key, 3))(jax.random.key(0))
    np.testing.assert_allclose(one, compiled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_sampling_consumes_the_key(name: str) -> None:
    key = jax.random.key(0)
    simulators.get(name).sample(key, 1)
    with pytest.raises(jax.errors.KeyReuseError):
        simulators.get(name).sample(key, 1)


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_one(name: str) -> None:
    simulator = simulators.get(name, length=2)
    x = sample64(simulator, 0, 1)
    assert x.shape == (1, 2, simulator.num_features)
    log_p = simulator.log_prob(x)
    assert (log_p.shape, log_p.dtype) == ((1,), np.float64)
    # Rows do not see each other.
    three = np.concatenate([x + 1, x, x - 1])
    np.testing.assert_allclose(simulator.log_prob(three)[1], log_p[0], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_of_log_prob(name: str) -> None:
    simulator = simulators.get(name, length=5)
    x = sample64(simulator, 0, 4)
    if simulator.num_features == 1:
        np.testing.assert_array_equal(simulator.log_prob(x[..., 0]), simulator.log_prob(x))
    else:
        with pytest.raises(DataError, match=rf"\[n, 5, {simulator.num_features}\]"):
            simulator.log_prob(x[..., 0])
    for wrong in (x[:, :4], x[0], np.repeat(x, 2, axis=2)):
        with pytest.raises(DataError, match="length of the data"):
            simulator.log_prob(wrong)
    x[1, 2, -1] = np.nan  # of a generator that failed: its figure says so, the others stand
    assert np.isnan(simulator.log_prob(x)).tolist() == [False, True, False, False]


def test_get_knows_the_names() -> None:
    kinds = [AR1, VAR1, SeasonalAR2, RegimeAR, LSTMOracle, Rain, MarkovStates]
    kinds += [SeasonalCounts, HeldSensor, Prices]
    assert [type(simulators.get(name)) for name in NAMES] == kinds
    assert [simulators.get(name, 9) for name in NAMES] == [kind(length=9) for kind in kinds]
    with pytest.raises(UsageError, match=r"'ar2'.*ar1, var1, seasonal, regime, lstm"):
        simulators.get("ar2")


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (AR1, {"phi": 1.0}, "phi"),
        (AR1, {"phi": math.nan}, "phi"),
        (AR1, {"sigma": 0.0}, "sigma"),
        (AR1, {"mean": math.inf}, "mean"),
        (VAR1, {"coefficients": ((0.5, 0.0), (0.0, 0.5))}, "coefficients"),
        (VAR1, {"coefficients": ((0.5, 0.6, 0.0), (0.6, 0.5, 0.0), (0.0,) * 3)}, "coefficients"),
        (VAR1, {"coefficients": ((math.nan,) * 3,) * 3}, "coefficients"),
        (VAR1, {"noise_covariance": ((1.0,) * 3,) * 3}, "noise_covariance"),
        (VAR1, {"noise_covariance": ((1, 0.1, 0), (0, 1, 0), (0, 0, 1))}, "noise_covariance"),
        (VAR1, {"noise_covariance": ((1, 0, 0), (0, 1), (0, 0, 1))}, "noise_covariance"),
        (VAR1, {"mean": ()}, "mean"),
        (SeasonalAR2, {"phi": (0.6, 0.5)}, "phi"),
        (SeasonalAR2, {"phi": (0.1, -1.0)}, "phi"),
        (SeasonalAR2, {"sigma": -1.0}, "sigma"),
        (SeasonalAR2, {"period": 0.0}, "period"),
        (SeasonalAR2, {"amplitude": math.nan}, "amplitude"),
        (RegimeAR, {"phi": (0.5, -1.0)}, "phi"),
        (RegimeAR, {"mean": (0.0, math.nan)}, "mean"),
        (RegimeAR, {"sigma": (0.1, 0.0)}, "sigma"),
        (RegimeAR, {"stay": (0.5, 1.0)}, "stay"),
        (RegimeAR, {"stay": (0.5, 0.3, 0.2)}, "stay"),
        (LSTMOracle, {"features": 0}, "features"),
        (LSTMOracle, {"hidden": 2.5}, "hidden"),
        (LSTMOracle, {"seed": -1}, "seed"),
        *((kind, {"length": 1}, "length") for kind in (AR1, VAR1, SeasonalAR2, RegimeAR)),
        (LSTMOracle, {"length": 1}, "length"),
        (AR1, {"length": 20.0}, "length"),
    ],
)
def test_impossible_parameters(kind: type, options: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}="):
        kind(**options)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_number_of_sequences(name: str) -> None:
    with pytest.raises(UsageError, match="n=0"):
        simulators.get(name).sample(jax.random.key(0), 0)


@pytest.mark.parametrize("simulator", [RegimeAR(), LSTMOracle()])
def test_monte_carlo_entropy_is_a_function_of_key_and_n(simulator: RegimeAR | LSTMOracle) -> None:
    small = simulator.entropy(n=100)
    assert small == simulator.entropy(jax.random.key(0), n=100)
    assert small != simulator.entropy(jax.random.key(1), n=100)
    large = simulator.entropy(n=6400)  # an eighth of the error, up to chance
    assert 0.08 < large.standard_error / small.standard_error < 0.2


@pytest.mark.parametrize("simulator", [RegimeAR(), LSTMOracle()])
def test_monte_carlo_entropy_needs_two_sequences(simulator: RegimeAR | LSTMOracle) -> None:
    with pytest.raises(UsageError, match="standard error"):
        simulator.entropy(jax.random.key(0), n=1)
