"""The analysis as a whole: verdicts that are right, and the five failures that must be caught."""

import json

import numpy as np
import pytest
from scipy import stats

from seqgan_jax.analysis import analyze, metrics
from seqgan_jax.analysis.catalogue import CATALOGUE
from seqgan_jax.data.layout import Scaler, load
from seqgan_jax.errors import DataError
from seqgan_jax.model import as_sequences


def shots(rng, count, steps=20):
    """Decays with sudden rises: x_t = 0.8 x_{t-1} + exponential noise; not reversible in time."""
    x = np.zeros((count, steps))
    state = rng.exponential(size=(count, 40)) @ 0.8 ** np.arange(40)
    for t in range(steps):
        state = 0.8 * state + rng.exponential(size=count)
        x[:, t] = state
    return x


@pytest.fixture(scope="module")
def real():
    return shots(np.random.default_rng(0), 1500)


@pytest.fixture(scope="module")
def honest(real):
    return analyze(real, shots(np.random.default_rng(1), 1500))


def off(report):
    return {m.name for m in report.metrics.values() if m.verdict != "close"}


def test_a_second_sample_of_the_same_process_is_close(honest):
    assert honest.verdict == "close", off(honest)
    assert "All" in honest.reasons()[0]


def test_values_are_those_of_the_plain_functions(real, honest):
    other = honest.generated_NTD
    std = real.std()
    assert honest.metrics["ks"].value == pytest.approx(
        stats.ks_2samp(real.ravel(), other.ravel()).statistic
    )
    assert honest.metrics["wasserstein"].value == pytest.approx(
        stats.wasserstein_distance(real.ravel(), other.ravel()) / std
    )
    assert honest.metrics["mean_error"].value == pytest.approx(
        abs(real.mean() - other.mean()) / std, abs=1e-6
    )
    rho = [metrics.pooled_autocorrelation(x, 19) for x in (real, other[..., 0])]
    assert honest.metrics["autocorrelation_error"].value == pytest.approx(
        np.abs(rho[0] - rho[1])[1:].mean(), abs=1e-6
    )


def test_floor_of_ks_is_what_two_fresh_samples_of_that_size_show(honest):
    rng = np.random.default_rng(2)
    fresh = [metrics.ks_and_wasserstein(shots(rng, 750), shots(rng, 750))[0] for _ in range(30)]
    error = np.std(fresh)  # the floor is itself estimated from one sample's halves
    assert honest.metrics["ks"].floor == pytest.approx(np.mean(fresh), abs=error)


def test_intervals_hold_their_figure_and_narrow_with_more_data(real, honest):
    for metric in honest.metrics.values():
        assert metric.low <= metric.value <= metric.high or metric.value == 0, metric
    few = analyze(real[:300], honest.generated_NTD[:300])
    width = [r.metrics["wasserstein"].high - r.metrics["wasserstein"].low for r in (few, honest)]
    assert 1.3 < width[0] / width[1] < 4


def test_false_alarms_are_rare():
    """20 honest generators on small samples: at most 2 are called different, none far."""
    rng = np.random.default_rng(3)
    verdicts = [analyze(shots(rng, 200, 8), shots(rng, 150, 8), seed=k).verdict for k in range(20)]
    assert verdicts.count("different") <= 2
    assert "far" not in verdicts


def test_mode_collapse_is_caught(real):
    rng = np.random.default_rng(4)
    one = real[rng.integers(3, size=1500)] + 0.01 * rng.normal(size=real.shape)
    report = analyze(real, one)
    assert report.verdict == "far"
    assert {"coverage", "recall", "diversity_error"} & off(report)
    assert report.metrics["coverage"].verdict == "far"
    assert any("ollapse" in reason for reason in report.reasons())


@pytest.mark.parametrize("with_train", [True, False])
def test_copying_of_the_training_set_is_caught(real, with_train):
    rng = np.random.default_rng(5)
    held_out = shots(rng, 1500)
    if with_train:
        report = analyze(held_out, real[rng.permutation(1500)], train=real)
        assert off(report) == {"memorisation"}
    else:  # nothing but the training file itself is known
        report = analyze(real, real[rng.integers(1500, size=1500)])
        assert "memorisation" in off(report)
    assert report.metrics["memorisation"].verdict == "far"
    assert any("Copying" in reason for reason in report.reasons())


def test_an_honest_generator_does_not_copy(real):
    rng = np.random.default_rng(6)
    report = analyze(shots(rng, 700), shots(rng, 1500), train=real)
    assert report.metrics["memorisation"].verdict == "close"
    assert report.extra["copies"] == 0


def test_a_time_reversed_copy_is_caught(real):
    report = analyze(real, shots(np.random.default_rng(7), 1500)[:, ::-1])
    assert report.verdict == "far"
    assert {"asymmetry_error", "increment_ks"} <= off(report)
    assert not {"ks", "wasserstein", "autocorrelation_error"} & off(report)
    assert any("order in time" in reason for reason in report.reasons())


def test_a_shuffled_copy_is_caught(real):
    rng = np.random.default_rng(8)
    shuffled = rng.permuted(shots(rng, 1500), axis=1)
    report = analyze(real, shuffled)
    assert report.verdict == "far"
    assert {"autocorrelation_error", "spectrum_error", "volatility_error"} <= off(report)
    assert not {"ks", "wasserstein", "js"} & off(report)


def test_sharpened_samples_are_caught(real):
    """Noise 30% smaller, as from sampling at a low temperature: realistic, but not everything."""
    mean = real.mean()
    other = shots(np.random.default_rng(9), 1500)
    report = analyze(real, mean + 0.7 * (other - mean))
    assert report.verdict == "far"
    assert {"std_error", "recall", "diversity_error"} <= off(report)
    assert report.metrics["precision"].verdict == "close"  # quality alone would not have seen it


def test_one_bad_feature_of_several_is_named():
    rng = np.random.default_rng(10)
    a, b = (np.stack([shots(rng, 600, 8) for _ in range(4)], axis=2) for _ in range(2))
    b[..., 2] = b[..., 2] * 1.5
    report = analyze(a, b, names=["Open", "High", "Low", "Close"])
    assert report.verdict == "far"
    assert any("worst in Low" in reason for reason in report.reasons())
    assert max(report.metrics["ks"].per_feature, key=report.metrics["ks"].per_feature.get) == "Low"


def test_overlapping_windows_are_resampled_in_blocks():
    """Held-out windows of one AR(1) series against fresh sequences of the same law: close."""
    rng = np.random.default_rng(11)
    series = np.zeros(3000)
    for t in range(1, 3000):
        series[t] = 0.9 * series[t - 1] + rng.normal()
    windows = np.stack([series[i : i + 24] for i in range(2976)])
    fresh = np.zeros((2000, 24))
    fresh[:, 0] = rng.normal(size=2000) / np.sqrt(1 - 0.81)
    for t in range(1, 24):
        fresh[:, t] = 0.9 * fresh[:, t - 1] + rng.normal(size=2000)
    report = analyze(windows, fresh)
    assert any("blocks" in note for note in report.notes)
    marginal = {"ks", "wasserstein", "mean_error", "std_error", "autocorrelation_error"}
    assert not marginal & off(report), off(report)


def test_inputs_are_not_changed_and_the_seed_decides(real):
    a, b = real[:200].copy(), real[200:400].copy()
    first = analyze(a, b, seed=1)
    np.testing.assert_array_equal(a, real[:200])
    again = analyze(a, b, seed=1)
    assert {n: m.low for n, m in first.metrics.items()} == {
        n: m.low for n, m in again.metrics.items()
    }


@pytest.mark.parametrize("shape", [(30, 1, 1), (30, 2, 1), (12, 12, 6), (10, 24, 28), (40, 200, 2)])
def test_all_shapes_give_finite_figures(shape):
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=shape), rng.normal(size=shape)
    a[..., 0], b[..., 0] = 2.5, 2.5  # a constant feature
    report = analyze(a, b)
    for metric in report.metrics.values():
        assert np.isfinite([metric.value, metric.floor, metric.low, metric.high]).all(), metric
    assert any("constant" in note for note in report.notes)
    json.loads(report.to_json())
    assert report.to_text()


def test_many_sequences_are_thinned_and_the_report_says_so():
    rng = np.random.default_rng(13)
    report = analyze(rng.normal(size=(5000, 4)), rng.normal(size=(300, 4)), max_sequences=1000)
    assert len(report.real_NTD) == 1000
    assert report.counts == (5000, 300)
    assert any("1,000 of the 5,000 real" in note for note in report.notes)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((20, 5)), np.zeros((20, 6)), "5 steps of 1 features, the generated data 6 of 1"),
        (np.zeros((20, 5, 2)), np.zeros((20, 5, 3)), "--features"),
        (np.zeros((3, 5)), np.zeros((20, 5)), "only 3 real sequences"),
        (np.zeros((20, 5)), np.full((20, 5), np.nan), r"generated\[0, 0\] is nan"),
        (np.zeros(5), np.zeros(5), "shape"),
        ([["a"] * 5] * 20, np.zeros((20, 5)), "real cannot be read as an array of numbers"),
        (np.zeros((0, 5)), np.zeros((20, 5)), r"real has shape \[0, 5\]"),
    ],
)
def test_data_that_cannot_be_compared_are_refused(a, b, message):
    with pytest.raises(DataError, match=message):
        analyze(a, b)


@pytest.mark.parametrize(("features", "names"), [(1, ("x",)), (2, ("x1", "x2"))])
def test_columns_without_names_are_called_as_in_a_run(tmp_path, features, names):
    x = np.random.default_rng(14).normal(size=(30, 4, features))
    np.save(tmp_path / "real.npy", x)
    assert analyze(x, x).names == names
    assert as_sequences(x).names == names
    assert load(str(tmp_path / "real.npy")).names == names


def test_json_has_the_documented_schema(honest):
    found = json.loads(honest.to_json())
    assert next(iter(found)) == "verdict"
    assert found["verdict"] in ("close", "different", "far", "inconclusive")
    assert (found["schema"], found["schema_version"]) == ("seqgan-analysis", 1)
    for name, metric in found["metrics"].items():
        assert name in CATALOGUE
        assert {"value", "floor", "low", "high", "verdict"} <= set(metric)
        assert metric["verdict"] in ("close", "different", "far")
    assert found["data"]["length"] == 20
    assert set(found["statistics"]["x"]) == {"real", "generated"}


def test_text_has_everything_that_the_contract_lists(honest):
    text = honest.to_text()
    assert text.index("VERDICT") < text.index("DISTRIBUTION OF VALUES")
    words = "mean std min max median q25 q75 skewness kurtosis autocorr_lag1 volatility mean_trend"
    for word in [*words.split(), "Kolmogorov", "Wasserstein", "Jensen-Shannon", "pairwise"]:
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_constant_is_what_training_takes_for_constant():
    """1e9 with a spread of 0.02 is no constant: samples that are one are far from it."""
    rng = np.random.default_rng(11)
    real, other = 1e9 + 0.02 * rng.normal(size=(2, 200, 8, 1))
    assert analyze(real, other).verdict == "close"
    report = analyze(real, np.full_like(real, 1e9))
    assert report.verdict == "far"
    assert not any("constant" in note for note in report.notes)
    assert Scaler.fit(real).kept_K == (0,)
    assert report.statistics["x"]["real"]["std"] == pytest.approx(0.02, rel=0.1)


def test_a_poor_sample_is_not_taken_for_other_units():
    rng = np.random.default_rng(12)
    real = rng.normal(50, 5, size=(100, 6, 2))
    for poor in (
        50 + (real - 50) / 10,
        real + 60,
        real * [1.0, 1000.0],
        rng.normal(size=real.shape) * 3,
    ):
        assert analyze(real, poor).verdict == "far"
    small = rng.normal(size=(400, 6, 2))  # standardised data of its own
    assert analyze(small, rng.normal(size=small.shape)).verdict == "close"
    for scaled, words in ((real / 100, "0.01 times"), ((real - 50) / 5, "still scaled")):
        with pytest.raises(DataError, match=words):
            analyze(real, scaled)


def test_runs_of_zeros_are_no_overlapping_windows():
    rng = np.random.default_rng(13)
    rain = np.where(rng.random((400, 24, 1)) < 0.89, 0.0, rng.exponential(size=(400, 24, 1)))
    assert not any("overlap" in note for note in analyze(rain, rain[::-1]).notes)
