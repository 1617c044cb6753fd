"""Honest is never far, spoiled never close, and few data are said to be few."""

import json

import numpy as np
import pytest
import verdicts
from scipy import stats
from scipy.signal import lfilter

from seqgan_jax.analysis import analyze, independent, resampling, seen, sequences
from seqgan_jax.data import layout, overlap
from seqgan_jax.data.kind import Kind


def autoregression(rng, phi, count, steps):
    """Sequences [N, T] of x_t = phi x_(t-1) + e_t in their stationary law, of variance 1."""
    e = np.sqrt(1 - phi**2) * rng.normal(size=(count, steps))
    return lfilter([1], [1, -phi], e, axis=1, zi=phi * rng.normal(size=(count, 1)))[0]


def windows(rng, phi, count, steps=24):
    """Every window of one series."""
    series = autoregression(rng, phi, 1, count + steps - 1)[0]
    return np.stack([series[i : i + steps] for i in range(count)])


@pytest.fixture
def quick(monkeypatch):
    """Without the figures of pairs of sequences, which take most of the time."""
    monkeypatch.setattr(sequences, "pair_metrics", lambda *_: {})


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_a_series_is_worth_what_the_variance_of_its_mean_says(phi):
    rng = np.random.default_rng(0)
    x = autoregression(rng, phi, 400, 3000)
    by_means = 3000 * x.mean(axis=1).var()  # tau, where the variance is 1
    found = [independent.correlation_time([series]) for series in x[:20]]
    assert np.mean(found) == pytest.approx(by_means, rel=0.25)
    assert min(found) > 0.7 * (1 + phi) / (1 - phi)


def test_a_short_stretch_of_a_slow_series_is_not_overrated():
    """183 steps with a correlation time of 66: its own correlations show a third of that."""
    rng = np.random.default_rng(1)
    found = [independent.correlation_time([each]) for each in autoregression(rng, 0.97, 40, 183)]
    assert np.median(found) > 66
    assert np.mean(np.array(found) > 30) > 0.9


def test_gaps_and_several_series_count_together():
    rng = np.random.default_rng(2)
    x = autoregression(rng, 0.9, 4, 3000)
    holed = np.where(rng.random(x.shape) < 0.2, np.nan, x)
    whole, parts = (independent.correlation_time(list(each)) for each in (x, holed))
    assert parts == pytest.approx(whole, rel=0.3)


def test_what_comes_and_goes_counts_as_slow():
    """White noise of a volatility that wanders, and series that each have a level of their own."""
    rng = np.random.default_rng(12)
    volatility = np.exp(autoregression(rng, 0.98, 1, 3000)[0])
    noise = volatility * rng.normal(size=3000)
    assert independent.correlation_time([noise]) < 2
    assert independent.number([noise]) < 150
    assert independent.number([rng.normal(size=3000)]) > 2000
    levels = [rng.normal(size=500) + 3 * level for level in (-1, 0, 0.2, 1)]
    assert independent.number(levels) < 10


def test_what_noise_hides_shows_in_means_of_steps_and_in_earlier_ones():
    """An AR(1) of .98 under three times its variance of noise: var(mean) by many series."""
    rng = np.random.default_rng(13)
    x = autoregression(rng, 0.98, 300, 2000) + np.sqrt(3) * rng.normal(size=(300, 2000))
    by_means = x.var() / x.mean(axis=1).var()
    found = [independent.correlation_time([series]) for series in x[:20]]
    assert np.median(found) > 0.7 * 2000 / by_means
    # 180 steps at one of two levels, and the 2,000 steps before.
    before = verdicts.switching(np.random.default_rng(1), 2000)
    still = 0.5 * rng.normal(size=180)
    assert independent.number([still]) > 50
    assert independent.number([still], [before]) < 5


def test_shares_of_which_all_agree_have_the_noise_of_chance():
    boots = resampling._with_chance(np.ones(100), 1.0, 3)
    assert boots.mean() == pytest.approx(1)
    assert boots.std() == pytest.approx(np.sqrt(0.8 * 0.2 / 3))  # (3 + 1) / (3 + 2)
    wide = np.linspace(0, 1, 100)
    assert resampling._with_chance(wide, 1.0, 3) is wide


def test_windows_are_put_together_again():
    rng = np.random.default_rng(3)
    series = rng.normal(size=(2, 60, 2))
    rows = np.stack([s[i : i + 8] for s in series for i in range(0, 53, 2)])
    order = rng.permutation(len(rows))
    found = independent.long_series(rows[order], overlap.find(rows[order]))
    assert len(found) == 2
    assert {len(y) for y in found} == {60}
    for y in found:
        assert any(np.array_equal(y, s) for s in series)


def test_limits_are_students_where_there_are_few():
    for n, columns in ((5, 1), (30, 3)):
        chance = stats.norm.sf(4) / columns
        assert stats.t.sf(independent.detection_sds(n, n, columns), n - 1) == pytest.approx(chance)
    # 40 blocks that are worth 10: twice the error, too.
    ratio = independent.detection_sds(10, 40) / independent.detection_sds(10, 10)
    assert ratio == pytest.approx(2)


@pytest.mark.usefixtures("quick")
def test_what_is_said_to_be_noticed_is_noticed():
    """More than the shift of the report nearly always, a third of it hardly ever."""
    noticed, small = 0, 0
    for k in range(8):
        rng = np.random.default_rng(k)
        real, other = autoregression(rng, 0.6, 120, 8), autoregression(rng, 0.6, 120, 8)
        found = analyze(10 * real, 10 * other, judge="never", seed=k).seen["x"]
        assert found.shift == pytest.approx(10 * found.deviations, rel=0.2)
        shifted = (
            analyze(10 * real, 10 * other + a * found.shift, judge="never") for a in (1.4, 0.3)
        )
        verdicts_of = [report.verdict for report in shifted]
        noticed += verdicts_of[0] in ("different", "far")
        small += verdicts_of[1] in ("different", "far")
    assert noticed >= 7
    assert small == 0


def test_slow_windows_are_never_far_when_honest_nor_close_when_spoiled():
    """160 windows of an AR(1) of .97, worth a few independent values."""
    for k in range(3):
        rng = np.random.default_rng(k)
        real, other = windows(rng, 0.97, 160), autoregression(rng, 0.97, 200, 24)
        honest = analyze(real, other, judge="never", seed=k)
        assert honest.verdict == "inconclusive", honest.headline
        assert honest.worth.least < 8
        assert "times as many real data" in honest.needed
        assert analyze(real, other + 1.5, judge="never", seed=k).verdict != "close"
        turned = analyze(other, real, judge="never", seed=k)  # samples that are one series
        assert turned.verdict == "inconclusive", turned.headline
        assert any("worth less" in note for note in turned.notes)


@pytest.mark.usefixtures("quick")
def test_the_weather_that_is_held_out_judges_no_level():
    """8 blocks of autumn, where 5 degrees and .7 or 1.3 times the spread were once close."""
    parts = layout.split(layout.load("weather"), 0.1, 0.1, 0)
    real, other = parts.held_out_NTD, np.asarray(parts.train_NTD)[::3]
    temperatures = other[..., 1:3]
    mean = temperatures.mean((0, 1))
    for changed in (
        temperatures,
        temperatures + 5,
        mean + 0.7 * (temperatures - mean),
        mean + 1.3 * (temperatures - mean),
    ):
        samples = other.copy()
        samples[..., 1:3] = np.round(changed, 1)
        report = analyze(real, samples, judge="never")
        assert report.verdict == "inconclusive", report.headline
        assert report.worth.level_D[1] < 4


@pytest.mark.usefixtures("quick")
def test_the_columns_and_the_largest_figure_are_in_the_headline():
    rng = np.random.default_rng(4)
    real, other = rng.normal(size=(2, 400, 5, 4))
    other[..., 2] *= 3
    other[..., 1] += 0.4
    report = analyze(real, other, names=["a", "b", "c", "d"], judge="never")
    assert report.verdict == "far"
    places = report.places()
    assert [place[0] for place in places[:2]] == ["c", "b"]
    assert not {"a", "d"} & {place[0] for place in places}
    assert report.headline.startswith("The generated data are far from the real data: c, ")
    assert "; b, " in report.headline
    assert "\n" not in report.headline


@pytest.mark.usefixtures("quick")
def test_one_wrong_column_of_many_is_seen():
    """A shift of .6 standard deviations in one of 28 is .02 in their mean."""
    rng = np.random.default_rng(5)
    real, other = rng.normal(size=(2, 200, 6, 28))
    honest = analyze(real, other, judge="never")
    assert honest.verdict in ("close", "inconclusive"), honest.headline
    other[..., 17] += 0.6
    assert analyze(real, other, judge="never").places()[0][0] == "x18"


def test_a_test_part_that_moved_is_no_fault_of_the_samples():
    rng = np.random.default_rng(6)
    real = autoregression(rng, 0.6, 150, 8) + 2
    train, other = (autoregression(rng, 0.6, 300, 8) for _ in range(2))
    report = analyze(real, other, train=train, judge="never")
    assert report.verdict in ("close", "inconclusive"), report.headline
    assert report.metrics["ks"].moved
    assert any("moved" in note for note in report.notes)
    assert analyze(real, other, judge="never").verdict == "far"  # nothing is known of its level
    for worse in (other - 2, 0.5 * other, train[rng.integers(300, size=300)]):
        spoiled = analyze(real, worse, train=train, judge="never")
        assert spoiled.verdict in ("different", "far"), spoiled.headline


@pytest.mark.usefixtures("quick")
def test_copies_are_far_however_few_are_held_out():
    rng = np.random.default_rng(7)
    train, real = windows(rng, 0.97, 400), windows(rng, 0.97, 100)
    report = analyze(real, train[::2], train=train, judge="never")
    assert report.metrics["memorisation"].verdict == "far"
    assert any("Copying" in reason for reason in report.reasons())


@pytest.mark.usefixtures("quick")
def test_weeks_without_rain_are_no_copies():
    rng = np.random.default_rng(8)

    def rain(count, dry):
        wet = rng.exponential(size=(count, 7)) * (rng.random((count, 7)) < 0.5)
        return np.where(rng.random((count, 1)) < dry, 0.0, wet)

    report = analyze(rain(100, 0.3), rain(200, 0.3), train=rain(200, 0.3), judge="never")
    assert report.extra["copies"] > sequences.COPIED
    assert report.metrics["memorisation"].verdict == "close"


@pytest.mark.usefixtures("quick")
def test_few_data_are_said_to_be_few_first_in_every_output():
    rng = np.random.default_rng(9)
    report = analyze(5 * rng.normal(size=(30, 4)), 5 * rng.normal(size=(30, 4)), judge="never")
    assert report.verdict == "inconclusive"
    assert report.headline.startswith("There are too few data to tell: no figure differs, but a ")
    shift = report.seen["x"].shift
    assert f"a shift of {shift:.3g} (" in report.headline
    assert report.to_text().startswith("VERDICT: INCONCLUSIVE. There are too few data")
    found = json.loads(report.to_json())
    assert list(found)[:2] == ["verdict", "headline"]
    assert found["verdict"] == "inconclusive"
    assert found["seen"]["x"]["shift"] == shift
    assert found["independent"]["x"] == {"values": 30, "steps": 30}
    more = report.worth.times(2.0)
    assert 2 < more < 4.5  # limits fall faster than the root of the number where few are counted


@pytest.mark.usefixtures("quick")
def test_values_on_a_grid_and_atoms_stay_what_they_are():
    """Half a count cannot be told from none, and a shift does not move exact zeros."""
    rng = np.random.default_rng(10)
    counts = rng.poisson(3, size=(2, 400, 6, 1)).astype(float)
    zeros = np.where(rng.random((2, 400, 6, 1)) < 0.6, 0.0, rng.gamma(9.0, size=(2, 400, 6, 1)))
    found = analyze(*np.concatenate([counts, zeros], axis=3), names=["n", "z"], judge="never").seen
    assert found["n"].shift >= 0.5
    assert 0.05 < found["z"].deviations < 0.5
    categories = rng.integers(3, size=(2, 400, 6)).astype(float)
    kinds = [Kind("categorical", levels=(0.0, 1.0, 2.0), weights=(0.4, 0.3, 0.3))]
    own = analyze(*categories, kinds=kinds, judge="never").seen["x"]
    assert own.shift is None
    assert 0 < own.share < 0.2


def test_halving_finds_the_smallest():
    found = seen.smallest(lambda m_D: m_D >= [0.02, 0.7, 5, 20], 1e-3, 16.0, 4)
    np.testing.assert_allclose(found[:3], [0.02, 0.7, 5], rtol=0.08)
    assert np.isinf(found[3])


def test_spoiled_samples_of_the_benchmark_are_spoiled():
    case = verdicts.KINDS["rows of a table"](1, 160)
    assert "autocorrelation" not in verdicts.spoilings(case)
    rng = np.random.default_rng(0)
    std = case.generated.std((0, 1))
    gap = np.abs(verdicts.spoiled(case, "one column", rng) - case.generated).mean((0, 1))
    np.testing.assert_allclose(gap, [std[0], 0, 0], atol=1e-12)
    copied = verdicts.spoiled(case, "copy", rng)
    assert {x.tobytes() for x in copied} <= {x.tobytes() for x in case.train}
    narrow = verdicts.spoiled(case, "spread", rng)
    np.testing.assert_allclose(narrow.std((0, 1)), 0.6 * std)
    days = verdicts.weather(0, 0)
    assert days.real.shape == (verdicts.STRETCH - verdicts.STEPS + 1, verdicts.STEPS, 5)
    assert not {x.tobytes() for x in days.train} & {x.tobytes() for x in days.generated}
    assert len(verdicts.days()) == 1461


def test_rounding_of_means_is_no_difference():
    """A column that never changes has increments of 0, but for the last bits of float32 means."""
    floors, small = np.full(20, 1e-8), np.full(40, 2e-8)
    shared = {"low": 8e-7, "high": 1e-6}
    assert resampling.verdict_of(9e-7, floors, small, **shared) == "close"
    assert resampling.verdict_of(9e-4, floors, small, low=8e-4, high=1e-3) == "far"
