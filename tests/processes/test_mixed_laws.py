"""Simulators with columns of other kinds: the law by scipy in a loop, its mass, its samples."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import jax
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from seqgan_jax.data.layout import default_names
from seqgan_jax.errors import UsageError
from seqgan_jax.processes import simulators
from seqgan_jax.processes.base import Simulator
from seqgan_jax.processes.counts import SeasonalCounts
from seqgan_jax.processes.held import HeldSensor, log_cell
from seqgan_jax.processes.linear import VAR1
from seqgan_jax.processes.markov import MarkovStates
from seqgan_jax.processes.prices import Prices
from seqgan_jax.processes.rain import Rain


def drawn(simulator: Simulator, seed: int, n: int) -> np.ndarray:
    return simulator.exact(simulator.sample(jax.random.key(seed), n))


# p(x) of one sequence [T, D], a step at a time.


def rain(s: Rain, x_TD: np.ndarray) -> float:
    p, wet = 1.0, s.after_dry / (s.after_dry + 1 - s.after_wet)
    scale = s.median
    for x in x_TD[:, 0]:
        p *= wet * scipy.stats.lognorm.pdf(x, s.sigma, scale=scale) if x else 1 - wet
        wet = s.after_wet if x else s.after_dry
        scale = s.median * (x / s.median) ** s.phi if x else s.median
    return p


def markov(s: MarkovStates, x_TD: np.ndarray) -> float:
    p_K = np.linalg.matrix_power(np.array(s.transition), 1000)[0]
    p, last = 1.0, None
    for code, y in x_TD:
        k = int(code)
        mean, std = s.mean[k], s.sigma[k]
        if last is None:
            std /= math.sqrt(1 - s.phi**2)
        else:
            mean = (1 - s.phi) * mean + s.phi * last
        p *= p_K[k] * scipy.stats.norm.pdf(y, mean, std)
        p_K, last = np.array(s.transition[k]), y
    return p


def counts(s: SeasonalCounts, x_TD: np.ndarray) -> float:
    total, r = 0.0, s.dispersion
    for phase in range(s.period):
        p, last = 1.0, math.exp(s.level) - 1
        for t, x in enumerate(x_TD[:, 0]):
            season = s.amplitude * math.sin(2 * math.pi * (t + phase) / s.period)
            mean = math.exp((1 - s.memory) * s.level + season) * (1 + last) ** s.memory
            p *= scipy.stats.nbinom.pmf(x, r, r / (r + mean))
            last = x
        total += p / s.period
    return total


def held(s: HeldSensor, x_TD: np.ndarray) -> float:
    p, last, half = 1.0, None, 0.5 * 10.0**-s.decimals
    for x in x_TD[:, 0]:
        law = scipy.stats.norm(s.mean, s.sigma / math.sqrt(1 - s.phi**2))
        if last is not None:
            law = scipy.stats.norm(s.mean + s.phi * (last - s.mean), s.sigma)
        below = x < law.mean()  # the tail that is small
        cell = abs((law.cdf if below else law.sf)([x - half, x + half]) @ [1, -1])
        p *= cell if last is None else s.hold * (x == last) + (1 - s.hold) * cell
        last = x
    return p


def prices(s: Prices, x_TD: np.ndarray) -> float:
    p, before, std = 1.0, s.start, s.spread
    for o, high, low, c in x_TD:
        p *= scipy.stats.lognorm.pdf(o, std, scale=before)
        p *= scipy.stats.lognorm.pdf(c, s.day, scale=o)
        for x, end in ((high, max(o, c)), (low, min(o, c))):
            wick = scipy.stats.expon.pdf(abs(math.log(x / end)), scale=s.wick) / x
            p *= s.no_wick if x == end else (1 - s.no_wick) * wick
        before, std = c, s.overnight
    return p


LAWS: dict[str, tuple[Simulator, Callable[..., float]]] = {
    "rain": (Rain(length=5), rain),
    "rain, wet": (Rain(0.9, 0.3, 0.5, -0.8, 1.5, length=4), rain),
    "markov": (MarkovStates(length=5), markov),
    "markov, 2 states": (
        MarkovStates(("a", "b"), ((0.3, 0.7), (0.9, 0.1)), (-1, 1), (1, 2), -0.4, 3),
        markov,
    ),
    "counts": (SeasonalCounts(length=6), counts),
    "counts, weekly": (SeasonalCounts(0.5, 1.5, 7, -0.6, 0.7, length=4), counts),
    "held": (HeldSensor(length=6), held),
    "held, coarse": (HeldSensor(0.2, -3.3, -0.5, 0.4, 0, length=4), held),
    "prices": (Prices(length=4), prices),
    "prices, wide": (Prices(3.0, 1.0, 0.2, 0.5, 0.3, 0.6, length=3), prices),
}


@pytest.mark.parametrize("simulator, law", LAWS.values(), ids=LAWS.keys())  # noqa: PT006
def test_log_prob_is_the_product_of_the_steps(
    simulator: Simulator, law: Callable[..., float]
) -> None:
    x_NTD = drawn(simulator, 0, 60)
    expected = [math.log(law(simulator, x_TD)) for x_TD in x_NTD]
    np.testing.assert_allclose(simulator.log_prob(x_NTD), expected, rtol=1e-9, atol=1e-9)
    # float32 changes no cell, no category and no atom.
    np.testing.assert_allclose(simulator.log_prob(np.float32(x_NTD)), expected, rtol=1e-3)


# The mass of all sequences, and the entropy, at two steps.


def pairs(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every sequence of two steps from steps [M, D], [M^2, 2, D], and its weight [M^2]."""
    i, j = (index.ravel() for index in np.indices((len(values), len(values))))
    return np.stack([values[i], values[j]], axis=1), weights[i] * weights[j]


def rain_steps() -> tuple[np.ndarray, np.ndarray]:
    log_x = np.linspace(math.log(4) - 6, math.log(4) + 6, 301)
    x, step = np.exp(log_x), log_x[1] - log_x[0]
    return np.array([0.0, *x])[:, None], np.array([1.0, *(x * step)])


def markov_steps() -> tuple[np.ndarray, np.ndarray]:
    y = np.linspace(-3.0, 8.0, 161)
    values = np.array(list(itertools.product(range(4), y)))
    return values, np.full(len(values), y[1] - y[0])


def whole(low: float, high: float, step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(round(low / step), round(high / step) + 1)[:, None] * step
    return values, np.ones(len(values))


STEPS = {
    "rain": rain_steps(),
    "markov": markov_steps(),
    "held": whole(2.0, 38.0, 0.1),
    "counts": whole(0, 250),
}


@pytest.mark.parametrize("name", STEPS)
def test_total_mass_and_entropy(name: str) -> None:
    simulator = simulators.get(name, length=2)
    x_NTD, weight_N = pairs(*STEPS[name])
    log_p_N = simulator.log_prob(x_NTD)
    p_N = np.exp(log_p_N) * weight_N
    assert p_N.sum() == pytest.approx(1.0, abs=1e-8)
    value, error = simulator.entropy()
    assert (error == 0) == (name != "counts")
    assert abs(value + np.sum(p_N[p_N > 0] * log_p_N[p_N > 0])) < max(1e-7, 4 * error)


def test_total_mass_and_entropy_of_a_day_of_prices() -> None:
    s = Prices(length=2)
    z = np.linspace(-7, 7, 29)
    node, weight = np.polynomial.legendre.leggauss(24)
    wick = np.array([0.0, *(15 * (1 + node))]) * s.wick
    wick_weight = np.array([1.0, *(15 * weight)]) * s.wick
    z_o, z_c, up, down = (a.ravel() for a in np.meshgrid(z, z, wick, wick))
    step = (z[1] - z[0]) ** 2 * s.overnight * s.day
    w = np.where(up > 0, np.interp(up, wick, wick_weight), 1.0)
    w *= np.where(down > 0, np.interp(down, wick, wick_weight), 1.0) * step
    o = 100 * np.exp(s.overnight * z_o)
    c = o * np.exp(s.day * z_c)
    high, low = np.maximum(o, c) * np.exp(up), np.minimum(o, c) * np.exp(-down)
    w *= o * c * np.where(up > 0, high, 1.0) * np.where(down > 0, low, 1.0)
    today = np.stack([o, high, low, c], axis=1)
    first = np.array([99.0, 101.0, 98.0, 100.0])  # whose Close is where logs are 0 on average
    x_NTD = np.stack([np.broadcast_to(first, today.shape), today], axis=1)
    log_p_N = s.log_prob(x_NTD) - math.log(prices(s, first[None]))
    p_N = np.exp(log_p_N) * w
    assert p_N.sum() == pytest.approx(1.0, abs=1e-8)
    more = Prices(length=3).entropy().value - s.entropy().value
    assert more == pytest.approx(-np.sum(p_N * log_p_N), abs=1e-6)


def test_the_entropy_of_fine_cells_is_a_mean_over_samples() -> None:
    fine, coarse = HeldSensor(decimals=3, length=3), HeldSensor(length=3)
    value, error = fine.entropy(n=20_000)
    assert 0 < error < 0.1
    # A hundred times the cells: log 100 more for each value that is new, but for the cell held.
    assert abs(value - coarse.entropy().value - 1.6 * math.log(100)) < 4 * error + 0.05


# Samples.


def chi_square(p: np.ndarray, seen: np.ndarray) -> float:
    """p-value of counts `seen` under probabilities p; what is rare, or not listed, is one class."""
    n, often = seen.sum(), p * seen.sum() >= 10
    observed, expected = seen[often], n * p[often]
    if expected.sum() < n - 10:
        observed = np.append(observed, n - observed.sum())
        expected = np.append(expected, n - expected.sum())
    return float(scipy.stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize(
    ("simulator", "other"),
    [(SeasonalCounts(length=3), {"memory": 0.3}), (HeldSensor(length=3), {"hold": 0.66})],
)
def test_discrete_samples_have_the_frequencies(
    simulator: Simulator, other: dict[str, float]
) -> None:
    x_NTD = drawn(simulator, 1, 200_000)
    kinds, seen = np.unique(x_NTD, axis=0, return_counts=True)
    assert chi_square(np.exp(simulator.log_prob(kinds)), seen) > 1e-3
    changed = dataclasses.replace(simulator, **other)  # type: ignore[type-var]
    assert chi_square(np.exp(changed.log_prob(kinds)), seen) < 1e-6


def uniform(values: np.ndarray) -> float:
    return float(scipy.stats.kstest(values.ravel(), "uniform").pvalue)


def test_samples_of_rain() -> None:
    s = Rain()
    x_NT = drawn(s, 2, 5000)[..., 0]
    wet_NT = x_NT > 0
    assert scipy.stats.binomtest(int(wet_NT[:, 0].sum()), 5000, 1 / 3).pvalue > 1e-3
    for was, p in ((True, s.after_wet), (False, s.after_dry)):
        now = wet_NT[:, 1:][wet_NT[:, :-1] == was]
        assert scipy.stats.binomtest(int(now.sum()), len(now), p).pvalue > 1e-3
    y_NT = np.log(np.where(wet_NT, x_NT, s.median) / s.median)
    residual_NT = y_NT[:, 1:] - s.phi * y_NT[:, :-1]
    assert uniform(scipy.stats.norm.cdf(residual_NT[wet_NT[:, 1:]], scale=s.sigma)) > 1e-3
    both_NT = wet_NT[:, 1:] & wet_NT[:, :-1]
    assert scipy.stats.pearsonr(residual_NT[both_NT], y_NT[:, :-1][both_NT]).pvalue > 1e-3


def test_samples_of_a_sensor_are_rounded_without_bias() -> None:
    s = HeldSensor(length=2)
    y_NT = drawn(s, 8, 100_000)[..., 0] - s.mean
    moved = (y_NT[:, 1:] - s.phi * y_NT[:, :-1])[y_NT[:, 1:] != y_NT[:, :-1]]
    for mean_0 in (y_NT[:, 0], moved):  # half a cell is 8 standard errors, or more
        assert scipy.stats.ttest_1samp(mean_0, 0.0).pvalue > 1e-3


def test_a_count_remembers_the_last_as_the_law_says() -> None:
    s = SeasonalCounts(length=2)
    p_KK = np.exp(s.log_prob(pairs(*whole(0, 250))[0])).reshape(251, 251)
    first_N, second_N = drawn(s, 9, 200_000)[..., 0].astype(int).T
    mean_K = p_KK @ np.arange(251) / p_KK.sum(axis=1)
    residual_N = second_N - mean_K[first_N]
    assert scipy.stats.pearsonr(residual_N, np.log1p(first_N)).pvalue > 1e-3


def test_samples_of_states() -> None:
    s = MarkovStates()
    x_NTD = drawn(s, 3, 5000)
    k_NT, y_NT = x_NTD[..., 0].astype(int), x_NTD[..., 1]
    mean, sigma = np.array(s.mean)[k_NT], np.array(s.sigma)[k_NT]
    assert chi_square(s.stationary(), np.bincount(k_NT[:, -1], minlength=4)) > 1e-3
    for k, row in enumerate(s.transition):
        seen = np.bincount(k_NT[:, 1:][k_NT[:, :-1] == k], minlength=4)
        assert chi_square(np.array(row), seen) > 1e-3
    residual = y_NT[:, 1:] - mean[:, 1:] - s.phi * (y_NT[:, :-1] - mean[:, 1:])
    assert uniform(scipy.stats.norm.cdf(residual / sigma[:, 1:])) > 1e-3
    start = (y_NT - mean)[:, 0] / sigma[:, 0] * math.sqrt(1 - s.phi**2)
    assert uniform(scipy.stats.norm.cdf(start)) > 1e-3


def test_samples_of_prices() -> None:
    s = Prices()
    o, high, low, c = np.moveaxis(drawn(s, 7, 5000), 2, 0)
    assert uniform(scipy.stats.norm.cdf(np.log(o[:, 0] / s.start) / s.spread)) > 1e-3
    assert uniform(scipy.stats.norm.cdf(np.log(o[:, 1:] / c[:, :-1]) / s.overnight)) > 1e-3
    assert uniform(scipy.stats.norm.cdf(np.log(c / o) / s.day)) > 1e-3
    for wick in (np.log(high / np.maximum(o, c)), np.log(np.minimum(o, c) / low)):
        assert wick.min() == 0
        assert scipy.stats.binomtest(int((wick == 0).sum()), wick.size, s.no_wick).pvalue > 1e-3
        assert uniform(scipy.stats.expon.cdf(wick[wick > 0], scale=s.wick)) > 1e-3


# What cannot be.


@pytest.mark.parametrize(
    ("simulator", "wrong"),
    [
        (Rain(length=2), [[-0.1], [math.inf]]),
        (MarkovStates(length=2), [[4, 1.0], [-1, 1.0], [0.5, 1.0], [0, math.inf], [0, 1e300]]),
        (SeasonalCounts(length=2), [[1.5], [-1.0], [math.inf], [1e-9], [1e300]]),
        (HeldSensor(length=2), [[20.05], [20.001], [-math.inf], [1e300], [1e308]]),
        (
            Prices(length=2),
            [
                [100.0, 100.9, 99.0, 101.0],  # High below Close
                [101.0, 100.9, 99.0, 100.0],  # High below Open
                [100.0, 102.0, 100.1, 101.0],  # Low above Open
                [100.0, 102.0, 99.1, 99.0],  # Low above Close
                [100.0, 102.0, 0.0, 101.0],
                [-1.0, 102.0, -1.0, 101.0],
                [100.0, math.inf, 99.0, 101.0],
            ],
        ),
    ],
)
def test_impossible_sequences(simulator: Simulator, wrong: list[list[float]]) -> None:
    for steps in ([0], [1], [0, 1]):
        x_NTD = drawn(simulator, 5, 2 * len(wrong) + 1)
        for t in steps:
            x_NTD[1::2, t] = wrong
        log_p_N = simulator.log_prob(x_NTD)
        assert np.isfinite(log_p_N[::2]).all()
        assert (log_p_N[1::2] == -np.inf).all()


def test_cells_far_in_a_tail() -> None:
    mass, _ = scipy.integrate.quad(lambda x: math.exp(450 - 0.5 * x**2), 30.0, 30.1)
    expected = math.log(mass) - 450 - 0.5 * math.log(2 * math.pi)
    for low, high in ((30.0, 30.1), (-30.1, -30.0)):
        assert log_cell(np.array(low), np.array(high)) == pytest.approx(expected, rel=1e-12)
    assert log_cell(np.array(-1.0), np.array(1.0)) == pytest.approx(math.log(math.erf(0.5**0.5)))
    assert log_cell(np.array(1e300), np.array(2e300)) == -np.inf


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (Rain, {"after_dry": 0.0}, "after_dry"),
        (Rain, {"after_wet": math.nan}, "after_wet"),
        (Rain, {"median": 0.0}, "median"),
        (Rain, {"phi": 1.0}, "phi"),
        (Rain, {"sigma": math.inf}, "sigma"),
        (MarkovStates, {"states": ("a",)}, "states"),
        (MarkovStates, {"states": ("a", "a", "b", "c")}, "states"),
        (MarkovStates, {"transition": ((0.5, 0.5),) * 2}, "transition"),
        (MarkovStates, {"transition": ((0.25, 0.25, 0.25, 0.2),) * 4}, "transition"),
        (MarkovStates, {"transition": ((0.0, 0.5, 0.25, 0.25),) * 4}, "transition"),
        (MarkovStates, {"mean": (0.0,)}, "mean"),
        (MarkovStates, {"sigma": (1.0, 1.0, 1.0, 0.0)}, "sigma"),
        (MarkovStates, {"phi": -1.0}, "phi"),
        (SeasonalCounts, {"level": math.nan}, "level"),
        (SeasonalCounts, {"amplitude": math.inf}, "amplitude"),
        (SeasonalCounts, {"period": 1}, "period"),
        (SeasonalCounts, {"memory": 1.0}, "memory"),
        (SeasonalCounts, {"dispersion": 0.0}, "dispersion"),
        (HeldSensor, {"hold": 1.0}, "hold"),
        (HeldSensor, {"mean": math.inf}, "mean"),
        (HeldSensor, {"phi": 1.0}, "phi"),
        (HeldSensor, {"sigma": 0.0}, "sigma"),
        (HeldSensor, {"decimals": 1.5}, "decimals"),
        (Prices, {"start": 0.0}, "start"),
        (Prices, {"wick": math.nan}, "wick"),
        (Prices, {"no_wick": 1.0}, "no_wick"),
        *((kind, {"length": 1}, "length") for kind in (Rain, MarkovStates, SeasonalCounts)),
        *((kind, {"length": 1}, "length") for kind in (HeldSensor, Prices)),
    ],
)
def test_impossible_parameters(kind: type, options: dict[str, object], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}="):
        kind(**options)


# What the columns are.


@pytest.mark.parametrize("name", simulators.NAMES)
def test_samples_are_what_the_columns_say(name: str) -> None:
    simulator = simulators.get(name, length=4)
    raw = np.asarray(simulator.sample(jax.random.key(6), 500))
    x_NTD = simulator.exact(raw)
    for d, column in enumerate(simulator.columns):
        x, as_drawn = x_NTD[..., d], raw[..., d]
        np.testing.assert_allclose(x, as_drawn, rtol=2e-7)
        if column.decimals is None:
            np.testing.assert_array_equal(x, as_drawn)
            assert np.isin(column.atoms, x).all()
            continue
        written = [float(f"{value:.{column.decimals}f}") for value in x.ravel()]
        assert written == x.ravel().tolist()
        if column.kind == "categorical":
            assert set(x.ravel()) == set(range(len(column.words)))


def test_columns_without_names() -> None:
    for simulator in (simulators.get("ar1"), VAR1(), simulators.get("lstm")):
        names = tuple(column.name for column in simulator.columns)
        assert names == default_names(simulator.num_features)
