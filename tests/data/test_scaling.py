"""Scaling: moments, the Jacobian of its density, what is put back exactly, what is stored."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqgan_jax.config import DataConfig
from seqgan_jax.data import bounds, encoding, kinds
from seqgan_jax.data.kinds import Kind
from seqgan_jax.data.rule_texts import Increase
from seqgan_jax.data.rules import Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import CheckpointError, DataError, UsageError

RNG = np.random.default_rng(1)


def example() -> np.ndarray:
    """Columns: a wide one, a constant, a narrow one far from 0, a copy of the first."""
    a = RNG.normal(3e6, 5e5, size=(40, 6))
    b = RNG.normal(-7.0, 1e-4, size=(40, 6))
    return np.stack([a, np.full_like(a, 0.1), b, a], axis=-1)


def test_scaled_columns_have_zero_mean_and_unit_variance():
    x = example()
    scaler = Scaler.fit(x)
    z = scaler.transform(x)
    assert z.shape == (40, 6, 2)
    np.testing.assert_allclose(z.reshape(-1, 2).mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(z.reshape(-1, 2).std(0), 1, rtol=1e-9)
    assert scaler.kept_K == (0, 2)
    assert scaler.source_D == (0, -1, 1, 0)
    assert scaler.constant_D == (0.0, 0.1, 0.0, 0.0)
    np.testing.assert_allclose(scaler.scale_K, [x[..., 0].std(), x[..., 2].std()], rtol=1e-12)


def test_constants_and_copies_come_back_exactly():
    x = example()
    scaler = Scaler.fit(x)
    back = scaler.inverse(scaler.transform(x))
    np.testing.assert_allclose(back, x, rtol=1e-9)
    assert np.all(back[..., 1] == 0.1)
    assert np.array_equal(back[..., 3], back[..., 0])
    fresh = scaler.inverse(RNG.normal(size=(5, 9, 2)))
    assert fresh.shape == (5, 9, 4)
    assert np.all(scaler.matches(fresh))


values = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(hnp.arrays(np.float64, st.tuples(*[st.integers(2, 4)] * 3), elements=values))
@settings(max_examples=150, deadline=None)
def test_scaling_and_back(x):
    try:
        scaler = Scaler.fit(x)
    except DataError:
        spread_D = np.ptp(x, axis=(0, 1))
        assert np.all(spread_D == 0) or np.any((spread_D > 0) & (spread_D < 1e-280))
        return
    back = scaler.inverse(scaler.transform(x))
    largest = np.abs(x).max(axis=(0, 1), keepdims=True)
    assert np.all(np.abs(back - x) <= 1e-9 * largest)
    assert np.all(scaler.matches(x))
    stored = json.loads(json.dumps(scaler.to_json()))
    again = Scaler.from_json(stored)
    assert again.scale_K.tobytes() == scaler.scale_K.tobytes()
    assert again.shift_K.tobytes() == scaler.shift_K.tobytes()
    assert again.to_json() == scaler.to_json()


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (3.0, 0.01), (-50.0, 1000.0)])
def test_the_jacobian_against_densities_in_data_units(shift, scale):
    """Independent normal steps: log p(x) by scipy in data units and through the scaling."""
    x = RNG.normal(size=(50, 7, 2)) * [scale, 2 * scale] + shift
    scaler = Scaler.fit(x)
    z = scaler.transform(x)
    through = scipy.stats.norm.logpdf(z).sum(axis=(1, 2)) + scaler.log_jacobian(x)
    direct = scipy.stats.norm.logpdf(x, scaler.shift_K, scaler.scale_K).sum(axis=(1, 2))
    np.testing.assert_allclose(through, direct, rtol=1e-10, atol=1e-8)


def test_sequences_where_a_constant_or_copy_does_not_hold():
    x = example()
    scaler = Scaler.fit(x)
    x[1, 3, 1] = 0.2
    x[4, 0, 3] += 1.0
    expected = np.ones(40, bool)
    expected[[1, 4]] = False
    assert np.array_equal(scaler.matches(x), expected)
    assert scaler.transform(x).shape == (40, 6, 2)


def test_huge_and_tiny_columns_do_not_overflow():
    x = np.stack([RNG.normal(size=(30, 4)) * 1e200, RNG.normal(size=(30, 4)) * 1e-200], axis=-1)
    scaler = Scaler.fit(x)
    np.testing.assert_allclose(scaler.transform(x).std(axis=(0, 1)), 1, rtol=1e-9)
    with pytest.raises(DataError, match="Column 2 has standard deviation"):
        Scaler.fit(x * 1e-100)


def test_nothing_to_learn():
    with pytest.raises(DataError, match="Every column is constant"):
        Scaler.fit(np.ones((30, 4, 2)))


def test_data_with_other_columns():
    scaler = Scaler.fit(example())
    for x in (np.ones((3, 4, 3)), np.ones((3, 4))):
        with pytest.raises(DataError, match=r"fitted on sequences \[N, T, 4\]"):
            scaler.transform(x)
        with pytest.raises(DataError, match="Use the columns that it was trained on"):
            scaler.matches(x)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": [1.0]},
        {"shift": ["1", 2.0]},
        {"shift": [math.nan, 2.0]},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, -1.0]},
        {"scale": 1.0},
        {"source": [0, -1, 2, 0]},
        {"source": [0, -1, True, 0]},
        {"source": [1, -1, 0, 0]},
        {"source": [0, -1, 1]},
        {"kept": [0, 3]},
        {"kept": [2, 0]},
        {"constant": [0.0, None, 0.0, 0.0]},
        {"more": 1},
    ],
)
def test_a_damaged_scaling_is_refused(change):
    stored = Scaler.fit(example()).to_json()
    Scaler.from_json(stored)
    with pytest.raises(CheckpointError, match="scaling is damaged"):
        Scaler.from_json(stored | change)


def test_a_scaling_that_is_no_object():
    for stored in (None, [], "x", {}):
        with pytest.raises(CheckpointError, match="scaling is damaged"):
            Scaler.from_json(stored)


# ------------------------------------------------------------------ kinds


def mixed() -> tuple[np.ndarray, tuple[Kind, ...]]:
    """Columns: a density, tenths, rain with zeros, words, a code -200 for missing, held, static."""
    smooth, size = RNG.normal(size=(200, 8)), (200, 8)
    held = np.take_along_axis(
        smooth, np.maximum.accumulate(np.where(RNG.random(size) < 0.5, 0, np.arange(8)), 1), 1
    )
    x = np.stack(
        [
            smooth,
            RNG.poisson(60, size) / 10,
            np.where(RNG.random(size) < 0.6, 0.0, np.exp(RNG.normal(size=size))),
            RNG.integers(0, 5, size).astype(float),
            np.where(RNG.random(size) < 0.1, -200.0, 20 + 3 * RNG.normal(size=size)),
            5 + held,
            np.repeat(RNG.integers(20, 60, (200, 1)), 8, 1).astype(float),
        ],
        axis=-1,
    )
    return x, kinds.find(x, words=[d == 3 for d in range(7)])


def test_densities_are_scaled_as_before():
    """To the bit: mean and standard deviation, and the same entries stored."""
    x = RNG.standard_cauchy((40, 6, 3))
    scaler = Scaler.fit(x, (), kinds.find(x))
    for k in range(3):
        column = x[..., k].ravel()
        largest = np.abs(column).max()
        assert scaler.shift_K[k] == np.mean(column / largest) * largest
        assert scaler.scale_K[k] == np.std(column / largest) * largest
    assert scaler.to_json() == Scaler.fit(x).to_json()
    assert set(scaler.to_json()) == {"shift", "scale", "source", "constant", "kept"}


def test_the_scale_is_of_the_rest():
    x, found = mixed()
    scaler = Scaler.fit(x, (), found)
    at = scaler.source_D
    assert at == (1, 2, 3, 4, 5, 6, 0)  # what is static comes first
    assert [scaler.kinds_K[k].name for k in at[:4]] == [
        "continuous",
        "grid",
        "continuous",
        "categorical",
    ]
    wet = x[..., 2][x[..., 2] > 0]
    assert scaler.scale_K[at[2]] == pytest.approx(wet.std(), rel=0.1)
    assert (scaler.shift_K[at[3]], scaler.scale_K[at[3]]) == (0, 1)
    assert np.array_equal(scaler.transform(x)[..., at[3]], x[..., 3])
    assert scaler.kinds_K[at[4]].sentinel == (True,)
    assert scaler.shift_K[at[4]] == pytest.approx(20, abs=0.5)
    assert scaler.scale_K[at[4]] == pytest.approx(3, rel=0.1)
    moves = x[:, 1:, 5][x[:, 1:, 5] != x[:, :-1, 5]]
    assert scaler.kinds_K[at[5]].held
    assert scaler.shift_K[at[5]] == pytest.approx(np.r_[moves, x[:, 0, 5]].mean(), abs=0.05)


def test_outliers_do_not_set_the_scale_of_a_grid():
    x = RNG.poisson(100.0, (200, 8, 1)).astype(float)
    x[3, 3], x[5, 5], x[7, 7] = 1e7, -1e9, 4e12
    scaler = Scaler.fit(x, (), kinds.find(x))
    assert scaler.scale_K[0] == pytest.approx(10, rel=0.2)
    assert np.array_equal(scaler.inverse(scaler.transform(x)), x)


def test_samples_are_values_of_their_columns():
    x, found = mixed()
    scaler = Scaler.fit(x, (), found)
    z = 2 * RNG.normal(size=(300, 8, 7))
    rain = scaler.source_D[2]
    z[::2, :, rain] = scaler.transform(x)[0, x[0, :, 2] == 0, rain][0] + RNG.uniform(
        -9e-5, 9e-5, (150, 8)
    )
    y = scaler.inverse(z)
    assert scaler.matches(y).all()
    assert np.array_equal(y[..., 1], y[..., 1].round(1))
    assert np.all(y[::2, :, 2] == 0)
    assert np.mean(y[1::2, :, 2] == 0) < 0.01
    assert set(y[..., 3].ravel()) == {0, 1, 2, 3, 4}
    assert np.all(y[..., 6] == y[:, :1, 6])
    assert not np.any(np.signbit(y[y == 0]))
    back = scaler.inverse(scaler.transform(x).astype(np.float32))
    for d in (1, 3, 6):
        assert np.array_equal(back[..., d], x[..., d])
    for d, atom in ((2, 0), (4, -200)):
        assert np.array_equal(back[..., d] == atom, x[..., d] == atom)


def test_a_far_sentinel_survives_float32():
    x = RNG.normal(size=(200, 8, 1)) + 7
    x[RNG.random(x.shape) < 0.1] = -99999999.0
    scaler = Scaler.fit(x, (), kinds.find(x))
    back = scaler.inverse(scaler.transform(x).astype(np.float32))
    assert np.array_equal(back == -99999999.0, x == -99999999.0)
    assert np.abs(back - x).max() < 1e-5


def test_a_sentinel_beyond_the_ends_of_a_density_stays_itself():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 24, 2))
    is_gone = rng.random((300, 24)) < 0.05
    x[..., 0][is_gone] = -999.0
    x[..., 1] = rng.integers(0, 9, (300, 24))  # beside a grid a density has ends
    scaler = encoding.fit(x, ("a", "b"), DataConfig())
    assert scaler.kinds_K[0].fenced
    assert scaler.kinds_K[0].atoms == (-999.0,)
    assert np.array_equal(scaler.inverse(scaler.transform(x))[..., 0] == -999.0, is_gone)


def test_what_a_column_cannot_be_has_no_probability():
    x, found = mixed()
    scaler = Scaler.fit(x, (), found)
    for d, value in ((1, 6.05), (3, 5.0), (3, 0.5), (6, x[0, 0, 6] + 1)):
        other = x[:3].copy()
        other[1, 2, d] = value
        assert scaler.matches(other).tolist() == [True, False, True], d
    other = x[:1].copy()
    other[..., 6] = 40.5
    assert not scaler.matches(other)[0]


def test_the_derivative_of_densities_by_differences():
    x = np.exp(RNG.normal(size=(30, 5, 3)))
    x[..., 1] = RNG.poisson(4, (30, 5))
    limits = bounds.of_columns(["c"], [], ["a", "b", "c"])
    scaler = Scaler.fit(x, limits, kinds.find(x))
    h = 1e-6
    slope = (scaler.transform(x + h) - scaler.transform(x - h)) / (2 * h)
    derivative = scaler.log_derivative(x)
    assert derivative.shape == (30, 5, 3)
    np.testing.assert_allclose(derivative[..., [0, 2]], np.log(slope[..., [0, 2]]), atol=1e-5)
    assert np.all(derivative[..., 1] == 0)
    plain = Scaler.fit(x, limits)
    np.testing.assert_allclose(plain.log_derivative(x).sum((1, 2)), plain.log_jacobian(x))


def test_bounds_and_logarithms_of_other_kinds():
    x, found = mixed()
    names = [f"c{d}" for d in range(7)]

    def fitted(log, bound):
        return Scaler.fit(x, bounds.of_columns(log, bound, names), found)

    table = fitted([], ["c1:0:9"]).kinds_K[2]
    assert (table.low, table.high, table.name) == (0, 9, "grid")
    assert max(table.levels) <= 9
    rain = fitted([], ["c2:0:"])
    assert rain.kinds_K[3].atoms == (0,)
    assert np.array_equal(rain.inverse(rain.transform(x))[..., 2] == 0, x[..., 2] == 0)
    assert rain.inverse(np.full((1, 8, 7), -50.0))[0, 0, 2] == 0
    assert fitted(["c1"], []).kinds_K[2].plain
    assert fitted(["c6"], []).kinds_K[0] == Kind("continuous", static=True)
    with pytest.raises(UsageError, match="--bounds c3:0:9: column 4 holds words"):
        fitted([], ["c3:0:9"])
    lattice = Kind("grid", step=0.5, low=0.0, high=7.0)
    z = RNG.normal(size=(40, 9, 1)) * 50
    y = np.rint(2 * np.abs(RNG.normal(size=(40, 9, 1)))) / 2
    wide = Scaler.fit(y, bounds.of_columns([], ["a:-1:9"], ["a"]), [lattice])
    assert (wide.inverse(z).min(), wide.inverse(z).max()) == (-1, 9)


class Sum:
    """The third column is the sum of the others."""

    def forward(self, x_NTD):
        return x_NTD[..., :2]

    def inverse(self, y_NTE):
        return np.concatenate([y_NTE, y_NTE.sum(axis=-1, keepdims=True).round(1)], axis=-1)

    def holds(self, x_NTD):
        return x_NTD[..., 2] == (x_NTD[..., 0] + x_NTD[..., 1]).round(1)

    def to_json(self):
        return ["sum"]


def test_rules_hold_of_samples():
    x = Sum().inverse(RNG.poisson(50, (200, 8, 2)) / 10)
    scaler = Scaler.fit(x, (), kinds.find(Sum().forward(x)), Sum())
    assert scaler.kept_K == (0, 1)
    assert np.array_equal(scaler.inverse(scaler.transform(x)), x)
    samples = scaler.inverse(RNG.normal(size=(50, 8, 2)))
    assert scaler.matches(samples).all()
    samples[1, 2, 2] += 0.1
    assert scaler.matches(samples[:3]).tolist() == [True, False, True]
    assert scaler.to_json()["rules"] == ["sum"]


def test_kinds_are_stored():
    x, found = mixed()
    scaler = Scaler.fit(x, (), found)
    stored = json.loads(json.dumps(scaler.to_json()))
    again = Scaler.from_json(stored)
    assert again.kinds_K == scaler.kinds_K
    assert again.to_json() == scaler.to_json()
    assert stored["kinds"][1] is None
    for damage in ([None] * 7, stored["kinds"][1:], {}, [{"name": "x"}, *stored["kinds"][1:]]):
        with pytest.raises(CheckpointError, match="scaling is damaged"):
            Scaler.from_json(stored | {"kinds": damage})


def test_steps_after_a_given_one_go_on_from_it_exactly():
    """A meter whose first values are two in training, and a constant of each sequence."""
    rules = Rules((Increase("meter"),), ("meter", "site"), (1, 3))
    rng = np.random.default_rng(0)
    increase = rng.integers(0, 9, size=(20, 6)) / 10
    increase[:, 0] = np.repeat([0.0, 50.0], 10)
    x = np.stack([increase.cumsum(axis=1), np.repeat(rng.normal(size=(20, 1)), 6, 1)], axis=2)
    x = np.stack([x[..., 0].round(1), x[..., 1].round(3)], axis=2)
    first = Kind("grid", levels=(0.0, 50.0), weights=(1.0, 1.0), static=True)
    kinds = [Kind("grid", step=0.1, low=0.0), Kind("continuous", static=True), first]
    scaler = Scaler.fit(x, kinds_D=kinds, rules=rules)
    last = np.array([[33.3, 0.123], [0.7, -5.5]])
    z = scaler.transform(x[:2]).astype(np.float32)
    found = scaler.continued(z[:, 1:], scaler.last(last[:, None], np.ones(len(last), int)))
    moved = np.diff(x[:2, :, 0], axis=1).cumsum(axis=1)
    assert np.array_equal(found[..., 0], (last[:, :1] + moved).round(1))
    assert np.array_equal(found[..., 1], np.repeat(last[:, 1:], 5, axis=1))
