"""Sequences with missing cells and of unequal length: figures of what is there, by naive loops."""

import json

import numpy as np
import pytest
from scipy import stats

from seqgan_jax.analysis import (
    absent,
    analyze,
    averages,
    bykind,
    channels,
    judge,
    metrics,
    pairwise,
    partial,
)
from seqgan_jax.analysis.compare import kinds_of
from seqgan_jax.errors import DataError

STEPS = 12


def autoregression(rng, count, columns=2, steps=STEPS, a=0.8):
    x = np.zeros((count, steps, columns))
    x[:, 0] = rng.normal(size=(count, columns))
    for t in range(1, steps):
        x[:, t] = a * x[:, t - 1] + np.sqrt(1 - a * a) * rng.normal(size=(count, columns))
    return x


def gaps(rng, x, share=0.3):
    return np.where(rng.random(x.shape) < share, np.nan, x)


def ended(rng, x, least=4):
    """Each sequence up to a random length; one has all steps."""
    last = rng.integers(least, x.shape[1] + 1, len(x))
    last[0] = x.shape[1]
    return np.where(np.arange(x.shape[1])[:, None] < last[:, None, None], x, np.nan)


def off(report):
    return {m.name for m in report.metrics.values() if m.verdict != "close"}


def is_finite(report):
    every = [(m.value, m.floor, m.low, m.high, *m.per_feature.values())
             for m in report.metrics.values()]  # fmt: skip
    return all(np.isfinite(each).all() for each in every)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return autoregression(rng, 400), autoregression(rng, 400)


@pytest.fixture(scope="module")
def holed(pair):
    """A report on real sequences with gaps and complete generated ones."""
    return analyze(gaps(np.random.default_rng(1), pair[0]), pair[1], judge="never")


def means(bins, z):
    return averages.sequence_means(bins, z, np.full((1, len(z)), 1 / len(z)))


def test_without_absent_values_sums_over_numbers_are_the_means(pair):
    real, other = (x - 0.1 for x in pair)
    bins = averages.bins_of(real, other)
    held = partial.Support(np.arange(STEPS), np.ones((2, STEPS - 1), bool), False)
    same = averages.Bins(bins.values_DK, bins.steps_DTK, bins.increments_DK, held)
    plain, found = means(bins, real), means(same, real)
    assert plain.keys() == found.keys()
    for name, block in plain.items():
        np.testing.assert_allclose(found[name], block, atol=1e-5, err_msg=name)


def test_figures_of_unequal_lengths_are_those_of_a_loop_over_sequences(pair):
    rng = np.random.default_rng(2)
    a, b = (ended(rng, x) for x in pair)
    report = analyze(a, b, judge="never")
    assert report.verdict == "close", off(report)
    assert is_finite(report)
    lists = [[x[n][: np.sum(~np.isnan(x[n, :, 0]))] for n in range(len(x))] for x in (a, b)]
    flat = [np.concatenate(each) for each in lists]
    mean, std = flat[0].mean(axis=0), flat[0].std(axis=0)

    def figure(of):
        """Mean over columns of |real - generated| of a figure of lists of standardised columns."""
        both = [
            [of([(x[:, d] - mean[d]) / std[d] for x in each]) for d in range(2)] for each in lists
        ]
        return np.abs(np.subtract(*both)).mean()

    def lag(xs, k):
        early = np.concatenate([x[:-k] for x in xs if len(x) > k])
        late = np.concatenate([x[k:] for x in xs if len(x) > k])
        return np.corrcoef(early, late)[0, 1]

    held = [k for k in range(1, STEPS) if sum(max(0, len(x) - k) for x in lists[0]) >= 20]
    changes = [[np.concatenate([np.diff(x[:, d]) for x in each]) for d in range(2)]
               for each in lists]  # fmt: skip
    expected = {
        "ks": np.mean([stats.ks_2samp(flat[0][:, d], flat[1][:, d]).statistic for d in range(2)]),
        "mean_error": figure(lambda xs: np.mean(np.concatenate(xs))),
        "std_error": figure(lambda xs: np.std(np.concatenate(xs))),
        "kurtosis_error": figure(lambda xs: stats.kurtosis(np.concatenate(xs))),
        "autocorrelation_error": np.mean([figure(lambda xs, k=k: lag(xs, k)) for k in held]),
        "trend_spread_error": np.mean([
            abs(np.std([stats.linregress(range(len(x)), x[:, d])[0] for x in lists[1]])
                / np.std([stats.linregress(range(len(x)), x[:, d])[0] for x in lists[0]]) - 1)
            for d in range(2)
        ]),
        "volatility_error": np.mean([
            abs(np.abs(changes[1][d]).mean() / np.abs(changes[0][d]).mean() - 1) for d in range(2)
        ]),
        "cross_correlation_error": abs(np.corrcoef(flat[0].T)[0, 1] - np.corrcoef(flat[1].T)[0, 1]),
        "length_ks": stats.ks_2samp(*[[len(x) for x in each] for each in lists]).statistic,
    }  # fmt: skip
    for name, value in expected.items():
        assert report.metrics[name].value == pytest.approx(value, abs=2e-5), name
    power = sum(np.abs(np.fft.fft((x[:, 0] - mean[0]) / std[0], STEPS)[1 : STEPS // 2 + 1]) ** 2
                for x in lists[0]) / len(flat[0])  # fmt: skip
    np.testing.assert_allclose(report.curves["real_spectrum"][0], power, rtol=1e-6)
    own = report.absent["lengths"]["real"]
    assert (own["min"], own["max"]) == (4, 12)
    assert own["mean"] == pytest.approx(np.mean([len(x) for x in lists[0]]))
    text = report.to_text()
    assert "sequences of 4 to 12 x 2" in text
    assert "LENGTHS OF SEQUENCES" in text


def test_gaps_at_random_leave_every_figure_where_it_is(pair, holed):
    whole = analyze(*pair, judge="never")
    assert holed.verdict == "close", off(holed)
    assert is_finite(holed)
    assert set(whole.metrics) == set(holed.metrics)
    for name, metric in whole.metrics.items():
        noise = max(metric.high - metric.low, 0.02)
        if name not in ("spectrum_error", "partial_autocorrelation_error"):  # of fewer pairs
            assert abs(holed.metrics[name].value - metric.value) < 2 * noise, name
    for name in ("autocorrelation", "spectrum"):
        expected = whole.curves[f"real_{name}"]
        assert np.abs(holed.curves[f"real_{name}"] / expected - 1)[:, :3].max() < 0.2, name
    [said] = [note for note in holed.notes if "missing and none of the generated" in note]
    assert said.startswith(("29.", "30."))
    assert "missing_error" not in holed.metrics
    assert "MISSING CELLS (SHARE)" in holed.to_text()
    assert "Missing cells" in holed.to_html({})
    found = json.loads(holed.to_json())["absent"]["missing"]["x1"]
    assert found["real"]["share"] == pytest.approx(0.3, abs=0.03)
    assert found["generated"]["share"] == 0


def test_periodograms_of_sequences_with_gaps_have_the_right_mean():
    rng = np.random.default_rng(3)
    x = autoregression(rng, 4000, 1)
    holes = gaps(rng, x)
    bins = averages.bins_of(holes, holes)
    expected = (np.abs(np.fft.rfft(x[..., 0])[:, 1:]) ** 2 / STEPS).mean(axis=0)
    np.testing.assert_allclose(means(bins, holes)["spectrum"][0, 0], expected, rtol=0.15)


@pytest.mark.parametrize("make", [gaps, ended])
@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lambda _rng, x: x + 0.5, {"ks", "wasserstein", "mean_error", "step_ks"}),
        (lambda rng, x: rng.permuted(x, axis=1), {"autocorrelation_error", "volatility_error"}),
        (lambda _rng, x: np.zeros_like(x), {"std_error", "diversity_error", "recall"}),
    ],
)
def test_what_is_wrong_is_still_found(pair, make, spoil, seen):
    rng = np.random.default_rng(4)
    real, other = make(rng, pair[0]), spoil(rng, pair[1])
    report = analyze(real, other if make is gaps else ended(rng, other), judge="never")
    assert report.verdict == "far"
    assert seen <= off(report)
    assert is_finite(report)
    assert report.to_json()


def test_other_lengths_and_other_gaps_are_found(pair):
    rng = np.random.default_rng(5)
    report = analyze(ended(rng, pair[0], 4), ended(rng, pair[1], 9), judge="never")
    assert report.metrics["length_ks"].verdict == "far"
    report = analyze(gaps(rng, pair[0], 0.1), gaps(rng, pair[1], 0.3), judge="never")
    assert {"missing_error", "missing_run_error"} <= off(report)
    assert report.metrics["missing_error"].per_feature["x1"] == pytest.approx(0.2, abs=0.03)
    assert not any("was given the gaps" in note for note in report.notes)
    report = analyze(pair[0], gaps(rng, pair[1], 0.01), judge="never")
    assert "missing_error" in off(report)  # real data have none


def test_gaps_are_drawn_of_sequences_that_are_no_shorter():
    rng = np.random.default_rng(6)
    real = ended(rng, autoregression(rng, 200))
    real[:, 1::2, 0] = np.nan  # every second value of one column
    given = absent.with_gaps(rng, ended(rng, autoregression(rng, 300)), real, ends=True)
    last = absent.lengths(given)
    assert last.min() >= 4
    for x, end in zip(given, last, strict=True):
        assert np.isnan(x[1::2, 0]).all()
        assert not np.isnan(x[:end:2]).any()
        assert not np.isnan(x[:end, 1]).any()


def test_lags_without_pairs_count_in_no_figure():
    """Every second value of a column is missing: its odd lags have no pairs."""
    rng = np.random.default_rng(7)
    real, other = autoregression(rng, 200, 1), autoregression(rng, 200, 1)
    real[:, 1::2] = np.nan
    report = analyze(real, other, judge="never", ends=False)
    assert report.verdict == "close", off(report)
    assert is_finite(report)
    assert any("6 of 11 lags" in note or "6 of 10 lags" in note or "5 of 10 lags" in note
               for note in report.notes)  # fmt: skip
    assert any("6 of 12 steps" in note for note in report.notes)


def test_trailing_steps_are_after_the_end_unless_others_are_like_that(pair):
    rng = np.random.default_rng(8)
    some = ended(rng, pair[0])
    kept, ends = absent.prepared({"real": some, "generated": pair[1][:, :-1]}, "ab", None, [])
    assert ends
    assert kept["generated"].shape[1] == STEPS
    some[3, 1] = np.nan
    notes = []
    assert not absent.prepared({"real": some}, "ab", None, notes)[1]
    assert "missing, as others" in notes[0]
    assert absent.prepared({"real": some}, "ab", True, [])[1]
    whole, notes = {"real": pair[0], "generated": pair[1]}, []
    assert absent.prepared(whole, "ab", None, notes) == (whole, False)
    assert not notes
    some[4] = np.nan
    kept, _ = absent.prepared({"real": some}, "ab", True, notes)
    assert len(kept["real"]) == len(some) - 1
    assert "have no value at all" in notes[0]


def test_a_column_without_a_value_is_refused(pair):
    real = pair[0].copy()
    real[..., 1] = np.nan
    with pytest.raises(DataError, match="every other value of x2 in the real data"):
        analyze(real, pair[1])


def test_distances_are_over_what_both_have():
    rng = np.random.default_rng(9)
    a, b = gaps(rng, rng.normal(size=(8, 5, 2))), gaps(rng, rng.normal(size=(9, 5, 2)))
    found = pairwise.squared_distances(pairwise.flatten(a), pairwise.flatten(b))
    for i, j in np.ndindex(8, 9):
        assert found[i, j] == pytest.approx(np.nanmean((a[i] - b[j]) ** 2), rel=1e-4)
    nearest = pairwise.nearest(pairwise.flatten(a), pairwise.flatten(np.concatenate([b, a])))
    np.testing.assert_array_equal(nearest, 0)


def test_copies_are_found_whatever_is_missing(pair):
    rng = np.random.default_rng(10)
    train, held = gaps(rng, pair[0], 0.2), gaps(rng, pair[1], 0.2)
    report = analyze(held, pair[0][rng.integers(400, size=300)], train=train, judge="never")
    assert report.metrics["memorisation"].verdict == "far"
    assert report.extra["copies"] > 0.9
    assert report.extra["copies_held_out"] < 0.1


def areas(rng, make, spoil=lambda x: x):
    train, held, samples = (autoregression(rng, n, 2) for n in (400, 400, 800))
    samples = spoil(samples)
    train, held = make(rng, train), make(rng, held)
    samples = absent.with_gaps(rng, samples, held, False) if make is gaps else make(rng, samples)
    return judge.areas(train, held, samples, seed=0, ends=make is ended)


@pytest.mark.parametrize("make", [gaps, ended])
def test_the_judge_does_not_see_what_is_absent_but_what_is_wrong(make):
    rng = np.random.default_rng(11)
    equal = areas(rng, make)
    assert abs(equal.together - 0.5) < 4 * equal.error
    assert abs(equal.floor - 0.5) < 4 * equal.floor_error
    wrong = areas(rng, make, lambda x: x * [1.0, 1.5])
    assert wrong.columns_D[1] > 0.6
    assert wrong.together > 0.6
    assert abs(wrong.columns_D[0] - 0.5) < 4 * wrong.errors_D[0]


def test_the_judge_sees_lengths_and_gaps_that_are_not_those_of_real_data():
    rng = np.random.default_rng(12)
    train, held, samples = (autoregression(rng, n, 1) for n in (400, 400, 800))
    found = judge.areas(ended(rng, train), ended(rng, held), ended(rng, samples, 9), 0, ends=True)
    assert found.together > 0.7
    found = judge.areas(gaps(rng, train), gaps(rng, held), gaps(rng, samples, 0.1), 0)
    assert found.together > 0.8


def test_single_figures_are_those_of_what_is_there(pair):
    rng = np.random.default_rng(13)
    x = gaps(rng, pair[0])[..., 0]
    there = x[~np.isnan(x)]
    found = metrics.basic_statistics(x) | metrics.temporal_statistics(x)
    assert found["mean"] == pytest.approx(there.mean())
    assert found["skewness"] == pytest.approx(stats.skew(there))
    both = ~np.isnan(x[:, 1:]) & ~np.isnan(x[:, :-1])
    early, late = x[:, :-1][both], x[:, 1:][both]
    assert found["autocorr_lag1_pooled"] == pytest.approx(np.corrcoef(early, late)[0, 1])
    assert found["volatility"] == pytest.approx(np.abs(early - late).mean())
    for n in range(20):
        t = np.flatnonzero(~np.isnan(x[n]))
        own = stats.linregress(t, x[n, t])[0]
        assert metrics.slopes(x[:20])[n] == pytest.approx(own)
        early, late = x[n, :-1][both[n]], x[n, 1:][both[n]]
        if len(early) > 1:
            rho = metrics.sequence_autocorrelation(x[:20])[n]
            assert rho == pytest.approx(np.corrcoef(early, late)[0, 1])
    quick = metrics.quick(x[..., None], pair[1][..., :1])
    assert np.isfinite(list(quick.values())).all()
    assert quick["ks"] < 0.1


def test_kinds_are_those_of_the_values_that_are_there():
    rng = np.random.default_rng(14)
    x = autoregression(rng, 300, 5)
    x[..., 1] = np.round(4 * x[..., 1]) / 4
    x[..., 2] = np.where(x[..., 2] < 0, 0.0, x[..., 2])
    x[..., 3] = rng.integers(3, size=(300, 1))
    x[..., 4] = 7.0
    words, names = [False] * 5, list("abcde")
    whole, found = (kinds_of(each, words, names) for each in (x, gaps(rng, x)))
    assert [(k.name, k.atoms, k.static) for k in whole] == [
        (k.name, k.atoms, k.static) for k in found
    ]
    other = autoregression(rng, 300, 5)
    other[..., 1:] = np.where(rng.random((300, 1, 1)) < 0.6, other[..., 1:], x[..., 1:])
    report = analyze(gaps(rng, x), other, judge="never")
    assert is_finite(report)
    assert {"off_grid", "atom_error", "varying"} <= off(report)
    honest = analyze(gaps(rng, x[:150]), x[150:], judge="never", label="x4")
    assert honest.metrics["off_grid"].value == honest.metrics["varying"].value == 0
    assert len(honest.classes["classes"]) == 3


def test_complete_data_take_no_new_path(pair, monkeypatch):
    """So that their figures keep every bit."""

    def refuse(*_):
        raise AssertionError

    for module, name in ((partial, "sequence_means"), (partial, "edges"), (absent, "with_gaps"),
                         (bykind, "filled"), (pairwise, "_common_distances")):  # fmt: skip
        monkeypatch.setattr(module, name, refuse)
    report = analyze(pair[0][:60], pair[1][:60], train=pair[0][60:120], judge="never")
    assert report.absent == {}
    assert not {"length_ks", "missing_error", "missing_run_error"} & set(report.metrics)
    assert channels.channels(pair[0], pair[1]).shape[-1] == channels.CHANNELS


def test_rules_are_of_steps_that_are_whole(pair):
    class Order:
        def kept(self, x_NTD):
            assert np.isfinite(x_NTD).all()
            return {"x1 <= x2": x_NTD[..., 0] <= x_NTD[..., 1]}

    rng = np.random.default_rng(18)
    real, other = (np.sort(x, axis=2) for x in pair)
    other[:200, 5] = other[:200, 5, ::-1]
    report = analyze(gaps(rng, real, 0.1), gaps(rng, other, 0.1), judge="never", rules=Order())
    assert report.metrics["broken_rules"].floor == 0
    assert report.metrics["broken_rules"].value == pytest.approx(0.5 * 0.81, abs=0.06)


@pytest.mark.parametrize("make", [gaps, ended])
@pytest.mark.parametrize("shape", [(30, 2, 1), (10, 24, 3), (40, 50, 2)])
def test_all_shapes_give_finite_figures_and_pictures(make, shape):
    rng = np.random.default_rng(15)
    more = {} if make is gaps else {"least": 1}
    a, b = (make(rng, rng.normal(size=shape), **more) for _ in range(2))
    report = analyze(a, b, judge="never")
    assert is_finite(report)
    assert "NaN" not in json.dumps(report.to_dict())
    report.to_text()
    if shape[0] == 40:
        report.pngs()


@pytest.mark.parametrize("make", [gaps, ended])
def test_published_scores_are_of_filled_gaps_and_true_lengths(monkeypatch, make):
    from seqgan_jax.analysis import scores

    monkeypatch.setattr(scores.discriminative, "__kwdefaults__",
                        {**scores.discriminative.__kwdefaults__, "steps": 20})  # fmt: skip
    monkeypatch.setattr(scores.predictive, "__kwdefaults__",
                        {**scores.predictive.__kwdefaults__, "steps": 20})  # fmt: skip
    rng = np.random.default_rng(16)
    a, b = (make(rng, autoregression(rng, 60)) for _ in range(2))
    names = ["discriminative"] + ["predictive", "context_fid"] * (make is ended)
    report = analyze(a, b, judge="never", scores=names, repeats=1)
    assert is_finite(report)
    assert "discriminative" in report.metrics
    assert "context_fid" not in report.metrics  # of gaps it is not asked here
    said = " ".join(report.notes)
    assert ("filled with the value before" in said) == (make is gaps)
    assert ("Context-FID is left out" in said) == (make is ended)


def test_the_network_stops_at_the_end():
    """Logits and errors of a padded sequence are those of the sequence alone."""
    import jax
    import jax.numpy as jnp

    from seqgan_jax.analysis import scores

    rng = np.random.default_rng(17)
    x = rng.random((3, 7, 2)).astype(np.float32)
    last = np.array([7, 4, 2])
    padded = jnp.asarray(scores.of_lengths(x, last))
    params = scores.init_gru(jax.random.key(0), 2, 3)
    found = jax.jit(scores.logits_at_ends)(params, padded)
    one = scores.init_gru(jax.random.key(1), 1, 3)
    apart, number = jax.jit(scores.errors_to_ends)(one, padded)
    for n, end in enumerate(last):
        alone = jnp.asarray(x[n : n + 1, :end])
        assert found[n] == pytest.approx(float(jax.jit(scores.logits)(params, alone)[0]), abs=1e-5)
        inputs, target = scores.split_target(alone)
        errors = jnp.abs(jax.jit(scores.predictions)(one, inputs) - target)
        assert apart[n] == pytest.approx(float(errors.sum()), abs=1e-5)
        assert float(number[n]) == end - 1
