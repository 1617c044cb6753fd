"""Kinds of columns: what is found in data of known laws, what is refused, what is stored."""

import dataclasses
import fractions
import itertools
import json
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqgan_jax.config import DataConfig
from seqgan_jax.data import encoding, grids, kinds
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.kinds import Kind
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError

N, T = 300, 24
RNG = np.random.default_rng(5)


def autoregression(a=0.9, n=N, t=T):
    x, noise = np.zeros((n, t)), RNG.normal(size=(n, t))
    for i in range(t):
        x[:, i] = a * x[:, i - 1] + noise[:, i] if i else noise[:, 0] / math.sqrt(1 - a * a)
    return x


def chance(p, x, other):
    """The other value with probability p."""
    return np.where(RNG.random(np.shape(x)) < p, other, x)


def kept_up(p, x):
    """Each value is the one before with probability p."""
    last = np.maximum.accumulate(np.where(RNG.random(x.shape) < p, 0, np.arange(x.shape[1])), 1)
    return np.take_along_axis(x, last, 1)


def straight(knots, every=6):
    """Interpolated between knots."""
    at = np.arange(T), np.arange(0, T + every, every)
    return np.stack([np.interp(*at, row) for row in knots])


def one(x_NT, **options):
    [kind] = kinds.find(np.asarray(x_NT, float)[..., None], **options)
    return kind


SMOOTH = autoregression()
WALK = np.cumsum(RNG.normal(size=(N, T)), axis=1)
LAWS = {
    "smooth": (SMOOTH, "continuous"),
    "few sequences": (SMOOTH[:3], "continuous"),
    "heavy tails": (RNG.standard_cauchy((N, T)), "continuous"),
    "log-normal": (np.exp(3 * RNG.normal(size=(N, T))), "continuous"),
    "five decimals": (SMOOTH.round(5), "continuous"),
    "volumes of millions": (RNG.integers(1000, 10**8, size=(N, T)), "continuous"),
    "huge": (1e300 * RNG.normal(size=(N, T)), "continuous"),
    "tiny": (1e-300 * RNG.normal(size=(N, T)), "continuous"),
    "float32": ((1000 + SMOOTH).astype(np.float32), "continuous"),
    "cents": ((100 * np.exp(0.02 * WALK)).round(2), "grid, 0.01 apart, from 0"),
    "three decimals": (SMOOTH.round(3), "grid, 0.001 apart"),
    "few readings": (np.rint(90 * SMOOTH[:3]), "grid, 1 apart"),
    "walk of ones": (np.cumsum(RNG.choice([-1, 1], (N, T)), 1), "table, 1 apart"),
    "coarse steps": (np.rint(0.4 * SMOOTH), "table, 1 apart"),
    "slow coarse steps": (np.rint(0.5 * autoregression(0.99)), "table, 1 apart"),
    "counts": (RNG.poisson(10, (N, T)), "table, 1 apart"),
    "few counts": (RNG.poisson(1, (N, T)), "table, 1 apart"),
    "tenths": (SMOOTH.round(1), "table, 0.1 apart"),
    "tenths as float32": (SMOOTH.round(1).astype(np.float32), "table, 0.1 apart"),
    "bytes / 255": (RNG.integers(0, 256, (N, T)) / 255, "table, 0.00392157 apart"),
    "squares": (RNG.integers(0, 40, (N, T)) ** 2, "table, by its power 0.25"),
    "half zeros, counts": (chance(0.5, RNG.poisson(10, (N, T)), 0), "table, 1 apart, atom 0"),
    "rain": (np.maximum(SMOOTH - 2, 0), "continuous, atom 0"),
    "clipped": (np.clip(SMOOTH, -2, 2), "continuous, atoms -2, 2"),
    "humidity": (np.clip(70 + 15 * SMOOTH, 0, 100).round(), "table, 1 apart, atom 100"),
    "missing": (chance(0.05, 20 + SMOOTH, -200), "continuous, atom -200"),
    "seldom missing": (chance(0.003, 20 + SMOOTH.round(1), -200), "table, 0.1 apart, atom -200"),
    "two codes": (chance(0.05, chance(0.05, SMOOTH, -999), 9999), "continuous, atoms -999, 9999"),
    "pressure": (chance(0.05, 1000 + SMOOTH, 0), "continuous, atom 0"),
    "wild outliers": (chance(1e-4, RNG.poisson(10, (N, T)), 7e7), "table, 1 apart"),
    "months": (RNG.integers(1, 13, (N, T)), "12 categories"),
    "codes": (RNG.choice([1, 7, 99, 500], (N, T)), "4 categories"),
    "power, -1 where unread": (
        chance(0.05, RNG.gamma(1, 500, (N, T)).round() + 120, -1),
        "table, by its power 0.25, atom -1",
    ),
    "goals more, seldom one fewer": (RNG.binomial(10, 0.3, (N, T)) - 1, "table, 1 apart"),
    "flow, -1 where unread": (chance(0.05, np.exp(SMOOTH), -1), "continuous, atom -1"),
    "years": (np.repeat(1990 + np.arange(6), 500)[None], "grid, 1 apart, from 0, often as before"),
    "tariffs": (
        np.repeat([0.28, 0.21, 0.3, 0.24], 500)[None],
        "grid, 0.01 apart, from 0, atoms 0.21, 0.3, often as before",
    ),
    "few numbers": (np.repeat(RNG.normal(size=7), 300)[None], "continuous, often as before"),
    "two readings": (np.array([[0.123456789], [9.87654321]]), "continuous"),
    "flag": (RNG.random((N, T)) < 0.001, "2 categories"),
    "held": (kept_up(0.4, SMOOTH), "continuous, often as before"),
    "held tenths": (kept_up(0.3, SMOOTH.round(1)), "table, 0.1 apart, often as before"),
    "interpolated": (straight(RNG.normal(size=(N, 5))), "continuous, often straight on"),
    "sixths of tenths": (
        straight(RNG.normal(size=(N, 5)).round(1)),
        "table, 0.0166667 apart, often straight on",
    ),
    "seconds": (np.arange(N * T).reshape(N, T) * 5.0, "grid, 5 apart, from 0, often straight on"),
    "ages": (np.repeat(RNG.integers(20, 60, (N, 1)), T, 1), "table, 1 apart, constant in each"),
    "dust": (np.rint(np.exp(3 + autoregression(0.9))), "table, by its power 0.25"),
    "inches as mm": (
        chance(0.5, (0.254 * np.rint(RNG.gamma(1, 60, (N, T)))).round(1), 0),
        "table, by its power 0.25, atom 0",
    ),
    "sexes": (np.repeat(RNG.integers(0, 2, (N, 1)), T, 1), "2 categories, constant in each"),
    "offsets": (np.repeat(RNG.normal(size=(N, 1)), T, 1), "continuous, constant in each"),
    "constant": (np.ones((N, T)), "continuous"),
}


@pytest.mark.parametrize("law", LAWS)
def test_what_is_found(law):
    x, expected = LAWS[law]
    kind = one(x)
    words = str(kind).replace(" sequence", "").replace(" values", "")
    if kind.levels and kind.name == "grid":
        words = words.replace(f"grid of {len(kind.levels):,}", "table")
    assert words == expected
    assert all(weight > 0 for weight in kind.weights)


def test_cells_of_a_tail_are_as_wide_as_their_levels_are_apart():
    """Beside a common value those of a rare one are no sliver, past which the last cell has all."""
    x = RNG.choice(5, p=[0.85, 0.13, 0.0175, 0.002, 0.0005], size=(N, T))
    kind = one(x)
    assert kind.atoms == (0.0,)
    widths = np.diff(kind.cells[1])
    np.testing.assert_allclose(widths[1:] / widths[1], 1.0, atol=0.1)
    slivers = np.diff(dataclasses.replace(kind, sided=False).cells[1])
    assert slivers[1:].min() < 0.2 * slivers[1]


def test_sentinels_are_told_from_other_atoms():
    for law, expected in (
        ("missing", (True,)),
        ("seldom missing", (True,)),
        ("two codes", (True, True)),
        ("pressure", (True,)),
        ("clipped", (False, False)),
        ("rain", (False,)),
        ("humidity", (False,)),
        ("power, -1 where unread", (True,)),
        ("flow, -1 where unread", (True,)),
    ):
        assert one(LAWS[law][0]).sentinel == expected, law


def test_a_sensor_that_is_stuck_is_as_before():
    x = (20 + 0.1 * np.random.default_rng(3).normal(size=(1, 1500)).cumsum(axis=1)).round(3)
    x[0, 300:420], x[0, 900:1000] = x[0, 300], x[0, 900]
    stuck = one(x)
    assert stuck.held
    assert stuck.atoms == ()
    again = x.copy()
    again[0, 7::50] = x[0, 300]  # and comes back to one value
    assert one(again).atoms == (x[0, 300],)
    dry = np.maximum(x - x[0, 300], 0)
    assert one(dry).atoms == (0.0,)


def test_a_copy_is_left_to_the_scaling():
    x = np.stack([RNG.poisson(9.0, (N, T))] * 2, axis=-1).astype(float)
    first, second = kinds.find(x)
    assert first.name == "grid"
    assert second.plain


def windows_of(x_RD):
    cut = np.lib.stride_tricks.sliding_window_view(x_RD, T, axis=0).swapaxes(1, 2)
    return cut[RNG.permutation(len(cut))]


def test_windows_change_nothing():
    """A long series, cut into pieces, into shuffled windows of stride 1, and scaled to [0, 1]."""
    x = autoregression(0.95, 6, 50 * T).reshape(6, -1).T
    x[:, 0] = x[:, 0].round(1)
    x[:, 1] = x[:, 1].round(3)
    x[:, 2] = np.maximum(x[:, 2], 0)
    x[:, 3] = kept_up(0.3, x[None, :, 3])
    x[:, 4] = 60 + np.rint(9 * x[:, 4])
    expected = kinds.find(x[None])
    scaled = (x - x.min(0)) / (x.max(0) - x.min(0))
    assert [kind.name for kind in expected].count("grid") == 3
    assert expected[2].atoms == (0,)
    assert expected[3].held
    for other in (x.reshape(-1, T, 6), windows_of(x), windows_of(scaled)):
        for kind, first in zip(kinds.find(other), expected, strict=True):
            assert (kind.name, kind.held, kind.sloped) == (first.name, first.held, first.sloped)
            assert len(kind.atoms) == len(first.atoms)
            assert kind.spacing > 0 or first.spacing == 0
    # Each reading is counted once in windows.
    assert kinds.find(windows_of(x))[4].weights == expected[4].weights


def test_each_reading_is_counted_once():
    """Against a loop over windows in time order that remembers which times it has seen."""
    time = np.arange(200.0)
    starts = RNG.permutation(np.r_[0:60:3, 100:170:7])
    x = (np.sin(time**2))[starts[:, None] + np.arange(12)][..., None]
    seen: set[int] = set()
    expected = np.zeros((len(starts), 12), bool)
    for n in np.argsort(starts):
        for t in range(12):
            expected[n, t] = starts[n] + t not in seen
            seen.add(int(starts[n]) + t)
    assert np.array_equal(kinds.once(x), expected)
    assert kinds.once(RNG.normal(size=(30, 12, 1))).all()


# ------------------------------------------------------------------ what is asked


def test_what_is_asked_is_found():
    rain = LAWS["rain"][0]
    assert one(rain, asked=["continuous"]).plain
    assert one(LAWS["months"][0], asked=["grid"]).spacing == 1
    assert len(one(LAWS["counts"][0], asked=["categorical"]).levels) > 12
    assert one(LAWS["ages"][0], asked=["static"]).static
    codes = RNG.integers(0, 30, (N, T, 1)).astype(float)
    [words] = kinds.find(codes, words=[True])
    assert (words.name, words.words, words.levels) == ("categorical", True, tuple(range(30)))
    assert str(words) == "30 words"


@pytest.mark.parametrize(
    ("law", "asked", "why"),
    [
        ("counts", "static", r"rain cannot be learned as static .*it varies: \d+ and \d+ in seq"),
        ("smooth", "grid", "7,200 different values are multiples of no step"),
        ("smooth", "categorical", "7,200 different values, more than 1000"),
    ],
)
def test_what_cannot_be_is_refused(law, asked, why):
    with pytest.raises(DataError, match=why):
        one(LAWS[law][0], asked=[asked], names=["rain"])


@pytest.mark.parametrize("asked", ["continuous", "grid"])
def test_words_have_no_size(asked):
    with pytest.raises(DataError, match="holds words, which have no size"):
        one(LAWS["months"][0], asked=[asked], words=[True])


@pytest.mark.parametrize("text", ["rain", "rain:", ":grid", "rain:number", "rain:Grid", ""])
def test_a_kind_that_is_written_otherwise(text):
    with pytest.raises(UsageError, match="is not COLUMN:KIND"):
        kinds.parse(text)


def test_kinds_of_columns():
    assert kinds.of_columns(["all:grid"], ["a", "b"]) == ("grid", "grid")
    assert kinds.of_columns(["all:grid"], ["all", "b"]) == ("grid", None)
    with pytest.raises(UsageError, match=r"there is no column 'c' \(the columns are a, b\)"):
        kinds.of_columns(["c:grid"], ["a", "b"])
    with pytest.raises(UsageError, match="column 'a' is said to be grid and static"):
        kinds.of_columns(["a:grid", "all:static"], ["a", "b"])


# ------------------------------------------------------------------ grids


@given(
    st.lists(st.integers(-5000, 5000), min_size=2, max_size=40, unique=True),
    st.integers(0, 4),
    st.integers(-9, 9),
)
@settings(deadline=None)
def test_the_lattice_of_decimal_values(whole, decimals, shift):
    """The step is the greatest common divisor of the differences, by fractions."""
    values = sorted(fractions.Fraction(w + shift, 10**decimals) for w in whole)
    gaps = [b - a for a, b in itertools.pairwise(values)]
    step = fractions.Fraction(math.gcd(*(int(gap * 10**4) for gap in gaps)), 10**4)
    found = grids.lattice_of(np.array([float(v) for v in values]), 1e5)
    assert found is not None
    assert found[1] == float(step)
    assert (values[0] - fractions.Fraction(str(found[0]))) % step == 0
    assert 0 <= found[0] < found[1]


@given(
    st.one_of(
        st.tuples(
            st.lists(st.integers(0, 800), min_size=3, max_size=60, unique=True), st.just(np.float64)
        ),
        st.tuples(
            st.lists(st.integers(0, 200), min_size=20, max_size=60, unique=True),
            st.just(np.float32),
        ),
    )
)
@settings(deadline=None)
def test_the_lattice_of_scaled_values(case):
    """Values scaled to [0, 1] have the step of the whole numbers before."""
    whole, dtype = case
    numbers = np.sort(np.array(whole))
    step = np.gcd.reduce(np.diff(numbers)) / np.ptp(numbers)
    scaled = (numbers - numbers[0]) / np.ptp(numbers)
    found = grids.lattice_of(scaled.astype(dtype).astype(float), 1000)
    assert found is not None
    assert found[1] == pytest.approx(step, rel=1e-6)


def test_no_lattice():
    for x in (np.sort(RNG.normal(size=50)), np.array([0, 1, math.sqrt(2), 2, math.pi])):
        assert grids.lattice_of(x, 5000) is None
    assert grids.lattice_of(np.array([0.0, 0.001, 7.0]), 100) is None
    assert grids.lattice_of(np.array([-1.7e308, 0.0, 1.7e308]), 100) is None


@given(st.integers(-(10**6), 10**6), st.sampled_from(["0.1", "0.01", "0.05", "3", "0.125", "2.5"]))
def test_points_are_the_nearest_float_of_the_decimal(number, step):
    [x] = grids.point(np.array([float(number)]), 0.0, float(step))
    assert x == float(Decimal(step) * number)


@pytest.mark.parametrize(
    ("levels", "counts", "expected"),
    [
        ([1, 2, 3], [1, 9, 1], (0.5, 3.5)),
        ([0.2, 2, 3], [1, 9, 1], (0, 3.5)),
        ([1, 2, 3], [5, 9, 5], (1, 3)),
        ([-0.1, 2, 3], [1, 9, 4], (-0.6, 3.5)),
        ([-3, -2, 0], [1, 9, 1], (-3.5, 0)),
        ([0.4, 2, 100], [1, 9, 1], (0, 100)),
        ([-4, 2, 100], [1, 9, 1], (-4.5, 100.5)),
    ],
)
def test_ends(levels, counts, expected):
    assert grids.ends_of(np.array(levels, float), np.array(counts), 0.5) == expected


@given(hnp.arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 6)))
def test_weights(counts):
    weights, unseen = grids.weights_of(counts.astype(float)), counts == 0
    assert np.all(weights > 0)
    assert np.array_equal(weights[~unseen], counts[~unseen])
    assert weights[unseen].sum() <= max(1, np.sum(counts == 1)) + 1e-9


def test_unseen_levels_weigh_as_what_is_around():
    counts = np.r_[np.zeros(5), 1, 8, 0, 9, 1, np.zeros(40)]
    weights = grids.weights_of(counts)
    assert weights[7] > 10 * weights[11] > 100 * weights[-1]


values = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 12), st.integers(1, 9), st.integers(1, 2)),
    elements=st.one_of(
        st.integers(-3, 3).map(float), st.integers(-99, 99).map(lambda i: i / 10), st.floats(-9, 9)
    ),
)


@given(values)
@settings(max_examples=300, deadline=None)
def test_whatever_is_found_holds_of_the_data_and_comes_back(x):
    """Through float32; to the bit where a column is categories or has decimals."""
    found = kinds.find(x)
    for kind in found:
        assert Kind.from_json(json.loads(json.dumps(kind.to_json()))) == kind
        assert len(str(kind)) < 120
    try:
        scaler = Scaler.fit(x, (), found)
    except DataError:
        return
    assert scaler.matches(x).all()
    back = scaler.inverse(scaler.transform(x).astype(np.float32))
    for d, kind in enumerate(found):
        if kind.name == "continuous":
            assert np.allclose(back[..., d], x[..., d], atol=1e-3)
        else:  # values that float32 does not tell apart are one level
            off = np.abs(back[..., d] - x[..., d])
            assert off.max() <= max(1e-3 * kind.spacing, 1e-4)
            if kind.name == "categorical" or np.array_equal(x[..., d], x[..., d].round(1)):
                assert off.max() == 0
    assert scaler.matches(back).all()


def test_the_nearest_value_against_a_search():
    """Of levels and of a lattice with ends, among all that there are."""
    x = RNG.uniform(-2, 14, 500)
    table = Kind("grid", (-1.0, 0.5, 3.0, 11.0), (1.0,) * 4)
    lattice = Kind("grid", step=0.3, origin=0.1, low=-0.55, high=10.0)
    inside = [0.1 + 0.3 * n for n in range(-2, 34)]  # -0.5 to 10
    for kind, there in ((table, np.array(table.levels)), (lattice, np.array(inside).round(1))):
        nearest = there[np.abs(there[:, None] - x).argmin(axis=0)]
        assert np.array_equal(kind.snap(x), nearest)
    assert not np.signbit(Kind("grid", step=1.0).snap(np.array([-0.2]))).any()


def test_which_values_hold():
    x = np.array([0.0, 0.3, 0.1 + 0.2, 0.35, 1e6, -0.1, -200.0])
    lattice = Kind("grid", step=0.1, low=0.0, high=1e5, atoms=(-200.0,), sentinel=(True,))
    assert lattice.holds(x).tolist() == [True, True, True, False, False, False, True]
    table = Kind("grid", (0.0, 0.1, 0.2, 0.3), (1.0,) * 4)
    assert table.holds(x).tolist() == [True, True, True, False, False, False, False]
    irregular = Kind("grid", (0.0, 0.1, 7.0), (1.0,) * 3)
    assert irregular.holds(np.array([0.05, math.inf, math.nan])).tolist() == [True, False, False]
    assert Kind("categorical", (0.0, 0.3), (1.0,) * 2).holds(x).tolist() == [True] * 2 + [False] * 5


# ------------------------------------------------------------------ what is stored

TABLE = Kind("grid", (0.0, 1.0), (2.0, 3.0), atoms=(0.0,), sentinel=(False,)).to_json()


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        {"name": "number"},
        {"name": "grid"},
        {"name": "grid", "step": 0.0},
        {"name": "grid", "step": -1.0},
        {"name": "grid", "step": 1},
        {"name": "grid", "step": math.nan},
        {"name": "categorical"},
        {"name": "continuous", "step": 1.0},
        {"name": "continuous", "held": 1},
        {"name": "continuous", "more": True},
        {"name": "continuous", "atoms": [1.0]},
        {"name": "continuous", "atoms": [1.0, 1.0], "sentinel": [True, True]},
        {"name": "continuous", "atoms": [1.0, 2.0, 3.0, 4.0, 5.0], "sentinel": [True] * 5},
        {"name": "grid", "step": 1.0, "low": 2.0, "high": 1.0},
        TABLE | {"weights": [2.0]},
        TABLE | {"weights": [2.0, 0.0]},
        TABLE | {"levels": [1.0, 0.0]},
        TABLE | {"levels": [0.0, 0.0]},
        TABLE | {"levels": (0.0, 1.0)},
        TABLE | {"levels": [0.0, "1"]},
        TABLE | {"sentinel": [0]},
        TABLE | {"step": 1.0},
        TABLE | {"coarse": [0.0]},
        TABLE | {"coarse": [0.0, 1.0]},
        TABLE | {"coarse": [0.0, 0.5]},
    ],
)
def test_a_damaged_kind_is_refused(stored):
    with pytest.raises(ValueError, match="a kind is damaged"):
        Kind.from_json(stored)


ENDS = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("x", "is_end"),
    [
        (ENDS.uniform(-5, 5, 3000), (True, True)),
        (np.sin(np.arange(3000) / 7), (True, True)),
        (ENDS.normal(size=3000), (False, False)),
        (np.minimum(ENDS.exponential(size=3000), 9) - 20, (True, False)),
        (np.r_[np.arange(1000.0), np.full(1000, 1000.0) + ENDS.uniform(size=1000)], (False, False)),
        (np.cumsum(ENDS.normal(size=2000)), (False, False)),
    ],
)
def test_the_ends_of_a_density(x, is_end):
    """A plateau at the top was reached once: no more than chance says that it is an end."""
    low, high = grids.fences_of(x)
    width = np.ptp(x)
    assert low <= x.min() <= x.max() <= high
    near = (x.min() - low < 0.01 * width, high - x.max() < 0.01 * width)
    across = (x.min() >= 0 and low == 0, x.max() <= 0 and high == 0)
    for found, expected, at_zero in zip(near, is_end, across, strict=True):
        assert found == expected or at_zero


def test_densities_have_ends_only_beside_other_kinds():
    rng = np.random.default_rng(1)
    x = rng.normal(50, 10, (300, 12, 1))
    both = np.concatenate([x, rng.poisson(3, x.shape)], axis=-1)
    plain = encoding.fit(x, ("a",), DataConfig())
    mixed = encoding.fit(both, ("a", "b"), DataConfig())
    assert plain.kinds_K[0].plain
    kind = mixed.kinds_K[0]
    assert kind.fenced
    assert kind.low <= x.min() - 1
    assert kind.high >= x.max() + 1
    # Beyond an end a value counts as on it, and comes back so.
    far = both[:1].copy()
    far[0, 0, 0] = 1e4
    again = mixed.inverse(mixed.transform(far))
    assert again[0, 0, 0] == pytest.approx(kind.high)
    np.testing.assert_allclose(again[0, 1:], far[0, 1:], atol=1e-9)
    assert Scaler.from_json(json.loads(json.dumps(mixed.to_json()))).kinds_K == mixed.kinds_K


def averages():
    """Of up to 13 readings in tenths each: values that repeat, on no lattice that is coarse."""
    rng = np.random.default_rng(11)
    number = rng.choice([1, 2, 3, 5, 7, 9, 11, 13], (N, T))
    return np.rint(20 * number * rng.normal(size=(N, T))) / (10 * number)


def test_values_that_repeat_on_no_lattice_are_a_table():
    x = averages()
    levels, counts = grids.counted(x)
    assert 1.4 < counts.sum() / len(levels) < 4
    kind = one(x)
    assert kind.name == "grid"
    assert not kind.spacing
    np.testing.assert_allclose(kind.levels, levels, rtol=0, atol=1e-4)
    assert Kind.from_json(json.loads(json.dumps(kind.to_json()))) == kind


def test_few_readings_that_were_interpolated_make_no_finer_lattice():
    whole = np.rint(2 * autoregression()) + 1000
    x = whole.copy()
    x[7, 5:8] = strays = [1000.333333, 1000.5, 1000.666667]
    kind, plain = one(x), one(whole)
    assert [level for level in kind.levels if level != round(level)] == strays
    assert np.setdiff1d(kind.levels, strays).tolist() == list(plain.levels)
    assert (kind.held, kind.sloped) == (plain.held, plain.sloped)
    edges = kind.cells[1]
    number = np.searchsorted(kind.levels, strays)
    assert (edges[number] - edges[number - 1]).max() < 0.1
    # Averages between a sensor's codes are more than that.
    assert not one(sensor()).spacing


def sensor():
    """Averages of three readings each of a slow series, in tenths: it stays at these."""
    rng = np.random.default_rng(2)
    x = 0.02 * rng.normal(size=(N, 3 * T)).cumsum(axis=1) + rng.normal(size=(N, 1))
    return np.round(np.round(x, 1).reshape(N, T, 3).mean(axis=2), 4)


def test_the_codes_of_a_sensor_are_where_averages_of_its_readings_stay():
    kind = one(sensor())
    assert kind.held
    assert len(kind.coarse) > 20
    np.testing.assert_allclose(kind.coarse, np.round(kind.coarse, 1), rtol=0, atol=1e-12)
    assert "most at" in str(kind)
    assert Kind.from_json(json.loads(json.dumps(kind.to_json()))) == kind
    inside = kind.limited(Limits(0.0, math.inf, True, "--bounds"), 0)
    assert set(inside.coarse) == {level for level in kind.coarse if level >= 0}


@pytest.mark.parametrize("stays", [0.6, "below 0"])
def test_what_stays_anywhere_or_in_one_part_of_the_range_has_no_codes(stays):
    walk = np.round(autoregression(0.95, 1000), 1)
    p = stays if stays != "below 0" else np.where(walk < 0, 0.8, 0.1)
    kind = one(kept_up(p, walk))
    assert kind.held
    assert kind.coarse == ()


def test_sequences_that_repeat_make_no_table():
    assert one(np.concatenate([SMOOTH, SMOOTH])).name == "continuous"


def test_steps_straight_on_are_counted_and_stored():
    kind = one(straight(np.rint(RNG.normal(size=(N, 5)) * 60) / 10))
    assert kind.sloped
    assert kind.counted == 12
    stored = kind.to_json()
    assert Kind.from_json(stored) == kind
    del stored["counted"]  # of a model of before
    assert Kind.from_json(stored).counted == 0
    with pytest.raises(ValueError, match="what it counts"):
        Kind.from_json(stored | {"counted": 10**9})


def test_numbers_beside_zero_have_no_spread():
    assert one([[0.0], [5e-324]]).name == "continuous"
