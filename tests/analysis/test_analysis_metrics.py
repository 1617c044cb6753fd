"""Each figure against scipy, statsmodels, a closed form or a naive loop."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist, jensenshannon, pdist
from statsmodels.tsa.stattools import acf, pacf

from seqgan_jax.analysis import averages, metrics, pairwise, resampling


def ar1(rng, count, steps=20, phi=0.8, sigma=0.3, mean=3.0):
    x = np.zeros((count, steps))
    x[:, 0] = rng.normal(size=count) * sigma / np.sqrt(1 - phi**2)
    for t in range(1, steps):
        x[:, t] = phi * x[:, t - 1] + sigma * rng.normal(size=count)
    return x + mean


@pytest.fixture
def pair():
    rng = np.random.default_rng(7)
    return rng.normal(size=(60, 8)), 0.3 + 1.2 * rng.gamma(2.0, size=(45, 8))


def test_ks_and_wasserstein_equal_scipy(pair):
    a, b = pair
    distance, transport = metrics.ks_and_wasserstein(a, b)
    assert distance == pytest.approx(stats.ks_2samp(a.ravel(), b.ravel()).statistic)
    assert transport == pytest.approx(stats.wasserstein_distance(a.ravel(), b.ravel()))


def test_ks_counts_ties_as_scipy_does():
    a, b = np.array([0.0, 0, 0, 1, 2]), np.array([0.0, 1, 1, 1, 2, 2])
    assert metrics.ks_and_wasserstein(a, b)[0] == pytest.approx(stats.ks_2samp(a, b).statistic)


def test_js_equals_scipy_and_its_extremes(pair):
    a, b = (x.ravel() for x in pair)
    edges = np.quantile(np.concatenate([a, b]), np.arange(1, 64) / 64, method="higher")
    p, q = (
        np.histogram(x, np.concatenate([[-np.inf], np.nextafter(edges, np.inf), [np.inf]]))[0]
        for x in (a, b)
    )
    assert metrics.js(a, b) == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert metrics.js(a, a) == 0
    assert metrics.js(a, a + 1000) == pytest.approx(1.0, abs=0.05)


def test_basic_statistics_equal_scipy(pair):
    found = metrics.basic_statistics(pair[1])
    x = pair[1].ravel()
    assert found["skewness"] == pytest.approx(stats.skew(x))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(x))
    assert found["q25"] == pytest.approx(np.percentile(x, 25))
    assert metrics.basic_statistics(np.full(9, 0.1))["skewness"] == 0


def test_pooled_autocorrelation_of_one_long_series_is_that_of_statsmodels():
    x = ar1(np.random.default_rng(0), 1, steps=5000)
    found = metrics.pooled_autocorrelation(x, 10)
    # Statsmodels uses one mean and one variance; over 5,000 steps the two hardly differ.
    np.testing.assert_allclose(found, acf(x[0], nlags=10, adjusted=True), atol=3e-3)


def test_pooled_autocorrelation_is_unbiased_and_the_per_sequence_one_is_not():
    x = ar1(np.random.default_rng(1), 20_000)
    pooled = metrics.pooled_autocorrelation(x, 5)
    np.testing.assert_allclose(pooled, 0.8 ** np.arange(6), atol=0.015)
    own = metrics.temporal_statistics(x)["autocorr_lag1"]
    assert own == pytest.approx(
        np.mean([np.corrcoef(s[:-1], s[1:])[0, 1] for s in x[:4000]]), abs=0.01
    )
    assert own == pytest.approx(0.614, abs=0.01)  # what the reference reports for this process


def test_partial_autocorrelation_equals_statsmodels():
    x = ar1(np.random.default_rng(2), 1, steps=2000)[0]
    rho = acf(x, nlags=12)
    np.testing.assert_allclose(
        metrics.partial_autocorrelation(rho), pacf(x, nlags=12, method="ldbiased"), atol=1e-10
    )
    exact = metrics.partial_autocorrelation(0.8 ** np.arange(6))
    np.testing.assert_allclose(exact, [1, 0.8, 0, 0, 0, 0], atol=1e-12)


def test_slopes_equal_polyfit(pair):
    expected = [np.polyfit(np.arange(8), s, 1)[0] for s in pair[0]]
    np.testing.assert_allclose(metrics.slopes(pair[0]), expected, atol=1e-12)


def test_correlational_score_equals_a_naive_loop():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(50, 6, 3)), rng.normal(size=(40, 6, 3)) @ rng.normal(size=(3, 3))
    total = 0.0
    for i in range(3):
        for j in range(i + 1):
            r = [np.corrcoef(x[..., i].ravel(), x[..., j].ravel())[0, 1] for x in (a, b)]
            total += abs(r[0] - r[1])
    assert metrics.correlational_score(a, b) == pytest.approx(total / 10)


def test_quick_is_zero_for_equal_samples_and_scale_free():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(200, 20, 3)), rng.normal(0.2, 1.3, size=(200, 20, 3))
    assert all(v == pytest.approx(0, abs=1e-12) for v in metrics.quick(a, a).values())
    plain, scaled = metrics.quick(a, b), metrics.quick(1000 * a - 7, 1000 * b - 7)
    assert plain == pytest.approx(scaled)
    assert plain["mean_error"] == pytest.approx(0.2, abs=0.03)
    assert plain["std_error"] == pytest.approx(0.3, abs=0.03)
    assert plain["ks"] == pytest.approx(
        np.mean([stats.ks_2samp(a[..., d].ravel(), b[..., d].ravel()).statistic for d in range(3)])
    )


def test_quick_survives_constant_features_and_one_step():
    a = np.ones((20, 1, 2))
    assert all(np.isfinite(v) for v in metrics.quick(a, a + 1).values())


# --- figures of averages: the values of the matrix products are those of plain functions ---


@pytest.fixture
def three():
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(3, 3))
    a = np.stack([ar1(rng, 300, 12) for _ in range(3)], axis=2) @ mix
    b = np.stack([ar1(rng, 260, 12, phi=0.5) for _ in range(3)], axis=2) @ mix * 1.1 + 0.1
    return a, b


def all_figures(a, b):
    units = averages.units(a)
    z = [units.standardise(x) for x in (a, b)]
    bins = averages.bins_of(*z)
    means = [averages.sequence_means(bins, x, np.full((1, len(x)), 1 / len(x))) for x in z]
    return z, means, averages.figures(bins, *means)


def test_average_figures_equal_plain_ones(three):
    a, b = three
    z, means, found = all_figures(a, b)
    for d in range(3):
        x, y = (s[..., d] for s in z)
        distance, transport = metrics.ks_and_wasserstein(x, y)
        assert found["ks"][0, d] == pytest.approx(distance, abs=0.01)
        assert found["wasserstein"][0, d] == pytest.approx(transport, rel=0.01)
        assert found["js"][0, d] == pytest.approx(metrics.js(x, y), abs=0.004)
        assert found["mean_error"][0, d] == pytest.approx(abs(x.mean() - y.mean()))
        assert found["std_error"][0, d] == pytest.approx(abs(x.std() - y.std()))
        skews = [stats.skew(s.ravel()) for s in (x, y)]
        assert found["skew_error"][0, d] == pytest.approx(abs(skews[0] - skews[1]))
        tails = [stats.kurtosis(s.ravel()) for s in (x, y)]
        assert found["kurtosis_error"][0, d] == pytest.approx(abs(tails[0] - tails[1]))
        rho = [metrics.pooled_autocorrelation(s, 11) for s in (x, y)]
        np.testing.assert_allclose(
            averages.autocorrelations(means[0]["lags"])[0, d], rho[0], atol=1e-6
        )
        expected = np.abs(rho[0] - rho[1])[1:].mean()
        assert found["autocorrelation_error"][0, d] == pytest.approx(expected)
        steps = [stats.ks_2samp(x[:, t], y[:, t]).statistic for t in range(12)]
        assert found["step_ks"][0, d] == pytest.approx(np.mean(steps), abs=0.03)
        changes = np.diff(x, axis=1), np.diff(y, axis=1)
        distance, _ = metrics.ks_and_wasserstein(*changes)
        assert found["increment_ks"][0, d] == pytest.approx(distance, abs=0.01)
        skews = [stats.skew(c.ravel()) for c in changes]
        assert found["asymmetry_error"][0, d] == pytest.approx(abs(skews[0] - skews[1]))
        v = [metrics.volatility(s) for s in (x, y)]
        assert found["volatility_error"][0, d] == pytest.approx(abs(v[1] / v[0] - 1))
        slopes = [metrics.slopes(s) for s in (x, y)]
        trend = abs(slopes[0].mean() - slopes[1].mean()) / slopes[0].std()
        assert found["trend_error"][0, d] == pytest.approx(trend)
        power = [np.mean(np.abs(np.fft.rfft(s, axis=1))[:, 1:] ** 2, axis=0) for s in (x, y)]
        decibels = np.mean(np.abs(10 * np.log10(power[0] / power[1])))
        assert found["spectrum_error"][0, d] == pytest.approx(decibels, rel=1e-3)
    assert found["correlational"][0] == pytest.approx(metrics.correlational_score(a, b))
    pairs = [(0, 1), (0, 2), (1, 2)]
    same, lagged = [], []
    for x in (a, b):
        same.append([np.corrcoef(x[..., i].ravel(), x[..., j].ravel())[0, 1] for i, j in pairs])
        both = [*pairs, *((j, i) for i, j in pairs)]
        early, late = x[:, :-1], x[:, 1:]
        lagged.append(
            [np.corrcoef(early[..., i].ravel(), late[..., j].ravel())[0, 1] for i, j in both]
        )
    for name, r in (("cross_correlation_error", same), ("lagged_cross_correlation_error", lagged)):
        assert found[name][0] == pytest.approx(np.mean(np.abs(np.subtract(*r))))


def test_weights_are_resamples(three):
    """One row of weights gives what the same rows, picked out, give."""
    a, b = three
    units = averages.units(a)
    z_NTD = units.standardise(a)
    bins = averages.bins_of(z_NTD, units.standardise(b))
    rows = np.array([3, 3, 17, 250, 41])
    weights = np.bincount(rows, minlength=len(a))[None] / len(rows)
    found = averages.sequence_means(bins, z_NTD, weights)
    picked = averages.sequence_means(bins, z_NTD[rows], np.full((1, 5), 0.2))
    for name, block in found.items():
        np.testing.assert_allclose(block, picked[name], atol=1e-5, err_msg=name)


def test_all_figures_are_zero_for_equal_samples_and_constant_columns_do_no_harm(three):
    a = three[0].copy()
    a[..., 1] = 5.0
    _, _, found = all_figures(a, a)
    for name, value in found.items():
        np.testing.assert_allclose(value, 0, atol=1e-6, err_msg=name)
    b = a.copy()
    b[..., 1] = 6.0
    _, _, found = all_figures(a, b)
    assert found["ks"][0, 1] == pytest.approx(1, abs=1e-6)
    assert all(np.isfinite(value).all() for value in found.values())
    b[..., 1] = 5.0 + 1e-9  # the same constant, up to rounding
    _, _, found = all_figures(a, b)
    assert found["ks"][0, 1] == 0


# --- whole sequences ---


def test_distances_neighbours_and_diversity_equal_naive_ones():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(40, 5)), rng.normal(0.5, 0.7, size=(30, 5))
    aa, ab, bb = (pairwise.squared_distances(x, y) for x, y in ((a, a), (a, b), (b, b)))
    np.testing.assert_allclose(ab, cdist(a, b) ** 2, atol=1e-10)
    np.testing.assert_allclose(pairwise.nearest(b, a, chunk=7), cdist(b, a).min(axis=1))
    np.fill_diagonal(aa, 0)
    np.fill_diagonal(bb, 0)
    found = pairwise.neighbourhood(aa, ab, bb, k=3)
    ball = [np.sort(cdist(a, a)[i])[3] for i in range(40)]
    d = cdist(a, b)
    precise = [any(d[i, j] <= ball[i] for i in range(40)) for j in range(30)]
    covered = [any(d[i, j] <= ball[i] for j in range(30)) for i in range(40)]
    other = [np.sort(cdist(b, b)[j])[3] for j in range(30)]
    recalled = [any(d[i, j] <= other[j] for j in range(30)) for i in range(40)]
    np.testing.assert_array_equal(found["precision"], precise)
    np.testing.assert_array_equal(found["coverage"], covered)
    np.testing.assert_array_equal(found["recall"], recalled)
    assert pairwise.pairwise_statistics(aa)["mean"] == pytest.approx(pdist(a).mean())


def test_nearest_finds_an_exact_copy_at_zero():
    x = (1000 + np.random.default_rng(0).normal(size=(50, 4))).astype(np.float32)
    assert pairwise.nearest(x[[7]], x)[0] == 0
    assert pairwise.nearest(x[[7]], x[:7])[0] > 0


def test_mmd_equals_a_double_loop_and_the_closed_form_for_gaussians():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(1500, 1)), rng.normal(1.0, 1.0, size=(1500, 1))
    k = [
        pairwise.kernel_matrix(pairwise.squared_distances(x, y), 1.0)
        for x, y in ((a, a), (a, b), (b, b))
    ]
    # E k(x, y) for x - y ~ N(m, 2): sqrt(1 / 3) exp(-m^2 / 6), with bandwidth 1.
    assert pairwise.mmd(*k) == pytest.approx(2 * 3**-0.5 * (1 - np.exp(-1 / 6)), abs=0.02)
    small = [x[:6, :6] for x in k]
    loop = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                loop += (small[0][i, j] + small[2][i, j]) / 30
            loop -= 2 * small[1][i, j] / 36
    assert pairwise.mmd(*small) == pytest.approx(loop, abs=1e-7)


def test_permutation_p_value_is_uniform_under_the_null_and_small_otherwise():
    rng = np.random.default_rng(9)
    p_values = []
    for _ in range(60):
        x = rng.normal(size=(40, 3))
        kernel = pairwise.kernel_matrix(pairwise.squared_distances(x, x), 1.5)
        p_values.append(pairwise.permutation_p_value(kernel, 20, 99, rng))
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    x = np.concatenate([rng.normal(size=(40, 3)), rng.normal(2, 1, size=(40, 3))])
    kernel = pairwise.kernel_matrix(pairwise.squared_distances(x, x), 1.5)
    assert pairwise.permutation_p_value(kernel, 40, 99, rng) == 0.01


def test_classifier_reaches_the_bayes_rate_for_two_gaussians():
    """N(0, 1) and N(1, 1) in one dimension: no classifier is right more often than Phi(1/2)."""
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(4000, 1, 1)), rng.normal(1.0, 1.0, size=(4000, 1, 1))
    inputs = [pairwise.classifier_inputs(x) for x in (a, b)]
    accuracy = np.concatenate(pairwise.classifier_hits(*inputs)).mean()
    assert accuracy == pytest.approx(stats.norm.cdf(0.5), abs=0.02)
    accuracy = np.concatenate(pairwise.classifier_hits(inputs[0][::2], inputs[0][1::2])).mean()
    assert accuracy == pytest.approx(0.5, abs=0.04)


def test_copy_share_counts_the_copies():
    rng = np.random.default_rng(11)
    held_out = rng.gamma(5.0, size=2000)
    samples = rng.gamma(5.0, size=2000)
    samples[:400] = 0.0
    assert pairwise.copy_share(samples, held_out) == pytest.approx(0.2, abs=0.03)
    assert pairwise.copy_share(held_out, held_out) == 0
    assert pairwise.copy_share(held_out + 5, held_out) == 0


# --- resampling ---


def test_halves_are_disjoint_and_matched():
    rng = np.random.default_rng(12)
    for half in resampling.random_halves(rng, np.arange(100), 30, 5):
        assert not set(half.first) & set(half.second)
        assert len(half.second) == len(half.generated) == 30
        assert len(half.first) == 70


def test_bootstrap_interval_of_a_mean_is_the_textbook_one():
    rng = np.random.default_rng(14)
    x = rng.normal(size=400)
    means = resampling.bootstrap_weights(rng, np.arange(400), 4000) @ x
    low, high = resampling.interval(x.mean(), means, -np.inf, np.inf)
    assert high - low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.1)
    assert low < x.mean() < high


def test_block_bootstrap_of_repeated_rows_is_wider():
    """Ten copies of each row carry no more information than one: the interval must say so."""
    rng = np.random.default_rng(15)
    x = np.repeat(rng.normal(size=50), 10)
    naive = (resampling.bootstrap_weights(rng, np.arange(500), 1000) @ x).std()
    blocks = (resampling.bootstrap_weights(rng, np.repeat(np.arange(50), 10), 1000) @ x).std()
    assert blocks / naive == pytest.approx(np.sqrt(10), rel=0.15)


def test_verdicts():
    floors, small = np.full(20, 0.01) + np.linspace(-1, 1, 20) * 1e-3, np.full(40, 0.1)
    verdict_of = resampling.verdict_of
    assert verdict_of(0.011, floors, small, low=0.009, high=0.013) == "close"
    assert verdict_of(0.05, floors, small, low=0.04, high=0.06) == "different"
    assert verdict_of(0.2, floors, small, low=0.18, high=0.22) == "far"
    assert verdict_of(0.2, floors, small, low=0.005, high=0.4) == "close"
    share = {"low": 0.45, "high": 0.55, "higher_is_better": True}
    assert verdict_of(0.5, 1 - floors, 1 - small, **share) == "far"
    assert verdict_of(0.999, 1 - floors, 1 - small, **share) == "close"
