"""The judge: it sees what is small, is not fooled by luck, and knows its own error."""

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from seqgan_jax.analysis import channels, judge
from seqgan_jax.errors import DataError

STEPS = 12


def autoregression(rng, count, columns, a=0.8):
    x = np.zeros((count, columns))
    x[0] = rng.normal(size=columns)
    for t in range(1, count):
        x[t] = a * x[t - 1] + np.sqrt(1 - a * a) * rng.normal(size=columns)
    return x


def sequences(rng, count, columns):
    x = autoregression(rng, STEPS, count * columns)
    return x.reshape(STEPS, count, columns).transpose(1, 0, 2)


def held_again(rng, x_NT, share):
    """Some values as before."""
    out = x_NT.copy()
    for t in range(1, x_NT.shape[1]):
        again = rng.random(len(x_NT)) < share
        out[again, t] = out[again, t - 1]
    return out


COLUMNS = ("equal", "grid", "zeros", "held", "comb", "straight", "also equal")


@pytest.fixture(scope="module")
def judged():
    """Columns with one defect each, smaller than any density shows, and two without."""
    rng = np.random.default_rng(0)
    train, held, samples = (sequences(rng, n, len(COLUMNS)) for n in (700, 600, 1200))
    for x in (train, held, samples):
        noise = rng.normal(size=(3, *x.shape[:2]))
        is_bad = x is samples
        x[..., 1] = np.round(x[..., 1], 1) + is_bad * noise[0] * 0.1 / 3
        x[..., 2] = np.where(x[..., 2] < 0.3, is_bad * 1e-4 * noise[1], x[..., 2])
        if not is_bad:
            x[..., 3] = held_again(rng, x[..., 3], 0.4)
            x[..., 5] = np.linspace(x[:, 0, 5], x[:, -1, 5], STEPS, axis=1)
        else:
            x[..., 5] = np.linspace(x[:, 0, 5], x[:, -1, 5], STEPS, axis=1) + 1e-3 * noise[2]
        whole = rng.random(x.shape[:2]) < (0.1 if is_bad else 0.5)
        x[..., 4] = np.round(5 * x[..., 4], 2)
        x[..., 4] = np.where(whole, np.round(x[..., 4]), x[..., 4])
    # No step of either is in the other, and 1e6 is no reason to see nothing.
    train[0, 0, :3], samples[-1, 0, :3] = 1e6, 1e6
    return judge.areas(train, held, samples, seed=0)


@pytest.mark.parametrize("column", ["grid", "zeros", "held", "comb", "straight"])
def test_what_is_small_is_seen(judged, column):
    assert judged.columns_D[COLUMNS.index(column)] > 0.9


@pytest.mark.parametrize("column", ["equal", "also equal"])
def test_a_second_draw_is_not_told(judged, column):
    d = COLUMNS.index(column)
    assert abs(judged.columns_D[d] - 0.5) < 3 * judged.errors_D[d]


def test_all_columns_together_see_what_one_shows_and_floors_see_nothing(judged):
    assert judged.together > 0.95
    assert abs(judged.floor - 0.5) < 3 * judged.floor_error
    assert np.all(np.abs(judged.floors_D - 0.5) < 4 * judged.floor_errors_D)


def test_the_error_is_by_blocks_where_windows_overlap():
    rng = np.random.default_rng(1)
    series = autoregression(rng, 1600, 1)
    windows = np.stack([series[i : i + STEPS] for i in range(1600 - STEPS)])
    train, held = windows[:900], windows[900 + STEPS :]
    samples = sequences(rng, 1000, 1)
    found = judge.areas(train, held, samples, seed=0)
    naive = judge.areas(train, held, samples, seed=0, blocks_N=rng.permutation(len(held)))
    assert found.together == pytest.approx(naive.together)
    assert found.together == found.columns_D[0]
    assert found.error > 1.5 * naive.error
    assert abs(found.together - 0.5) < 3 * found.error
    assert judge.areas(train, held, samples, seed=0).together == found.together


def stretches_of(rng, slow, columns, count, length):
    """A wandering level and noise; windows of a long series, or of series of their own."""
    steps = 2000 + length * count
    level = lfilter([1], [1, -slow], rng.normal(size=(steps, columns)), axis=0)[2000:]
    noise = lfilter([1], [1, -0.5], rng.normal(size=(steps - 2000, columns)), axis=0)
    return level * np.sqrt(1 - slow**2) + noise * 0.5


@pytest.mark.parametrize("spoiled", [1.0, 0.7])
def test_levels_that_a_slow_series_has_been_at_are_not_judged(monkeypatch, spoiled):
    """Blocks of one series lie near its training part; samples of its law lie anywhere."""
    rng = np.random.default_rng(11)
    series = stretches_of(rng, 0.998, 3, 4000, 1)
    windows = np.lib.stride_tricks.sliding_window_view(series, STEPS, axis=0).transpose(0, 2, 1)
    is_held = np.arange(len(windows)) % 120 < 40
    near = np.convolve(is_held, np.ones(2 * STEPS - 1), "same") > 0
    train, held = windows[~near].copy(), windows[is_held].copy()
    others = stretches_of(rng, 0.998, 3, 1000, 40 * STEPS).reshape(1000, 40 * STEPS, 3)
    samples = others[:, :STEPS]
    samples = samples.mean(1, keepdims=True) + spoiled * (samples - samples.mean(1, keepdims=True))
    found = judge.areas(train, held, samples, seed=0)
    assert not found.levels_D.any()
    if spoiled == 1.0:
        assert abs(found.together - 0.5) < 3 * found.error
        assert np.all(np.abs(found.columns_D - 0.5) < 4 * found.errors_D)
        monkeypatch.setattr(judge, "LEVELS", 0)
        found = judge.areas(train, held, samples, seed=0)
        assert found.levels_D.all()
    assert found.together > 0.5 + 4 * found.error


def test_which_levels_are_judged():
    rng = np.random.default_rng(12)
    series = np.stack([stretches_of(rng, a, 1, 4000, 1)[:, 0] for a in (0.998, 0.5)], axis=1)
    states = np.digitize(series[:, :1], [-1.0, 0.0, 1.0])  # as slow as the first
    series = np.concatenate([series, np.full((4000, 1), 7.0), states], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(series, STEPS, axis=0).transpose(0, 2, 1)
    assert judge.levels(windows.copy()).tolist() == [False, True, True, True]
    assert judge.levels(rng.normal(size=(50, STEPS, 2))).all()  # no windows of a series


def test_without_its_level_a_column_is_seen_about_the_mean_of_its_sequence():
    rng = np.random.default_rng(13)
    real, x = rng.normal(size=(2, 30, STEPS, 2))
    x[4, 3:, 0] = np.nan
    moved = x + 100.0 * rng.normal(size=(30, 1, 2))
    with_one = channels.channels(real, moved, levels_D=np.array([False, True]))
    about = x[..., :1] - np.nanmean(x[..., :1], axis=1, keepdims=True)
    expected = channels.channels(real[..., :1] - real[..., :1].mean(1, keepdims=True), about)[0]
    np.testing.assert_allclose(with_one[0][..., :3], expected[..., :3], atol=1e-5)
    whole = channels.channels(real, moved)
    np.testing.assert_array_equal(with_one[1], whole[1])
    assert not np.allclose(with_one[0], whole[0])


def test_the_area_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 9, 70) + 1.0, rng.integers(0, 9, 90) + 0.0
    found, error = judge.area(a, b, np.arange(70), np.arange(90))
    assert found == pytest.approx(stats.mannwhitneyu(a, b).statistic / (70 * 90))
    wins = (a[:, None] > b) + (a[:, None] == b) / 2  # DeLong et al. 1988
    plain = np.var(wins.mean(1), ddof=1) / 70 + np.var(wins.mean(0), ddof=1) / 90
    neighbours = [
        max(0.0, float(2 * (u[1:] * u[:-1]).sum())) / (len(u) * (len(u) - 1))
        for u in (wins.mean(1) - found, wins.mean(0) - found)
    ]
    assert error == pytest.approx(np.sqrt(plain + sum(neighbours)))


def test_the_error_is_the_spread_of_repeated_areas():
    """Scores of windows at stride 1, a moving mean of noise: neighbours depend on each other."""
    rng = np.random.default_rng(3)
    number, length = 600, 20
    blocks, alone = np.arange(number) // length, np.arange(number)
    found = []
    for _ in range(200):
        noise = rng.normal(size=number + length)
        real = np.convolve(noise, np.ones(length), "valid")[:number] / np.sqrt(length)
        other = rng.normal(size=number)
        found.append([*judge.area(real, other, blocks, alone),
                      judge.area(real, other, alone, alone)[1]])  # fmt: skip
    areas, errors, naive = np.array(found).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(areas.std(), rel=0.15)
    assert naive.mean() < 0.5 * areas.std()


def test_ranks_are_those_of_scipy():
    rng = np.random.default_rng(4)
    real = np.round(rng.gamma(0.5, size=(50, 8)), 1)
    x = channels.channels(real[..., None], real[..., None])[0]
    expected = stats.norm.ppf(stats.rankdata(real) / (real.size + 1)).reshape(real.shape)
    np.testing.assert_allclose(x[..., 2], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("real", "off"),
    [
        (np.round(np.random.default_rng(5).normal(size=(60, 9)), 2), 0.004),
        (np.random.default_rng(6).integers(0, 40, (60, 9)) * 0.7 + 0.3, 0.2),
        (np.random.default_rng(7).integers(0, 6, (60, 9)) ** 1.5, 0.3),
    ],
)
def test_values_off_a_grid_are_seen_whatever_the_grid(real, off):
    moved = real.copy()
    moved[3, 4] += off
    seen = channels.channels(real[..., None], moved[..., None])[0, ..., 6]
    assert seen[3, 4] > 0.3
    seen[3, 4] = 0
    assert np.all(seen == 0)
    single = channels.channels(real[..., None], np.float32(real)[..., None].astype(float))
    assert np.all(single[0, ..., 6] == 0)


def test_repeats_and_straight_lines_are_marked():
    x = np.array([[1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 7.0, 9.0]])
    real = np.random.default_rng(8).normal(size=(40, 8, 1))
    seen = channels.channels(real, x[..., None])[0, 0]
    np.testing.assert_array_equal(seen[:, 3], [0, 1, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(seen[:, 4], [0, 0, 0, 1, 1, 0, 0, 0])


def test_constants_and_enormous_numbers_do_no_harm():
    real = np.random.default_rng(9).normal(size=(30, 6, 3))
    real[..., 0], real[..., 2] = 2.5, real[..., 2] * 1e300
    x = np.nextafter(real, 0)
    x[0, 0] = 1.7e308
    assert np.isfinite(channels.channels(real, x)).all()


def test_too_few_sequences_are_refused():
    x = np.random.default_rng(10).normal(size=(30, 6, 1))
    with pytest.raises(DataError, match="8 independent stretches of training data"):
        judge.areas(x[:3], x[5:15], x[15:], seed=0)


def test_the_bound_on_kl_is_that_of_two_normal_laws():
    """KL(N(m, 1) || N(0, 1)) = m^2 / 2 by the exact logarithm of the ratio, m x - m^2 / 2."""
    rng = np.random.default_rng(0)
    m, number = 1.2, 20_000
    ids = np.arange(number)
    found, errors = [], []
    for _ in range(20):
        real, other = m + rng.normal(size=number), rng.normal(size=number)
        bound, error = judge.kl_bound(m * real + 3.0, m * other + 3.0, ids, ids)
        found.append(bound)
        errors.append(error)
    assert np.mean(found) == pytest.approx(m**2 / 2, abs=0.01)
    assert np.std(found, ddof=1) == pytest.approx(np.mean(errors), rel=0.5)


def test_scores_that_are_too_sure_are_scaled_and_equal_laws_have_nothing_to_win():
    rng = np.random.default_rng(1)
    ids = np.arange(2000)
    real, other = rng.normal(size=(2, 2000))
    bound, error = judge.kl_bound(30 * real, 30 * other, ids, ids)
    assert abs(bound) < 4 * error + 0.005
    bound, _ = judge.kl_bound(5 * (1.0 + real), 5 * other, ids, ids)
    assert bound == pytest.approx(0.5, abs=0.12)


def test_the_error_of_the_bound_counts_blocks():
    """Each value ten times: the error is that of a tenth of them."""
    rng = np.random.default_rng(2)
    real, other = 0.8 + rng.normal(size=400), rng.normal(size=400)
    ids = np.arange(400)
    _, alone = judge.kl_bound(real, other, ids, ids)
    again = [np.repeat(each, 10) for each in (real, other, ids, ids)]
    _, repeated = judge.kl_bound(*again)
    assert repeated == pytest.approx(alone, rel=0.1)
