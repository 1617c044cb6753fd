"""Scaling: moments, the Jacobian of its density, what is put back exactly, what is stored."""

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqgan_jax.data.layout import Scaler
from seqgan_jax.errors import CheckpointError, DataError

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
