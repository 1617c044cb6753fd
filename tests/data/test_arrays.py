"""Arrays from Python: what is taken, and what is refused with a remedy."""

import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.config import DataConfig
from seqgan_jax.data.layout import as_sequences, from_python, load
from seqgan_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)
TINY = {"hidden_dim": 4, "pre_epoch_num": 1, "dis_pre_refreshes": 0, "total_batch": 0}


def walk(steps, features, seed=0):
    """A series whose columns have their own levels and scales, [L, D]."""
    x = np.cumsum(np.random.default_rng(seed).normal(size=(steps, features)), axis=0)
    return x * np.geomspace(1, 50, features) + 100.0 * (3 * np.arange(features) % 7)


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, np.float32, np.ma.masked_array])
def test_arrays_of_both_shapes_are_taken(form):
    x = RNG.normal(size=(30, 4, 2)).round(2).astype(np.float32).astype(float)
    assert np.array_equal(as_sequences(form(x)).x_NTD, x)
    assert np.array_equal(as_sequences(form(x[..., 0])).x_NTD, x[..., :1])


def test_masked_values_are_refused():
    x = np.ma.masked_array(RNG.normal(size=(30, 4)))
    x[3, 2] = np.ma.masked
    with pytest.raises(DataError, match=r"masked values.*Fill them in"):
        SeqGAN(**TINY, missing="error").fit(x)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((30, 4), "M8[D]"), "dates"),
        (np.zeros((30, 0)), r"shape \[30, 0\]"),
        (np.where(np.eye(30) > 0, np.inf, 1), r"x\[0, 0\] is inf \(first of 30 values"),
    ],
)
def test_what_is_no_array_of_finite_numbers_is_refused(x, said):
    with pytest.raises(DataError, match=said):
        as_sequences(x)


DEGREES_AND_WIND = load("weather", columns=["temp_max", "temp_min", "wind"]).x_NTD[:, 0]


@pytest.mark.parametrize("x", [DEGREES_AND_WIND, walk(200, 2), walk(2000, 7)])
def test_a_series_with_a_step_a_row_is_asked_about_and_both_answers_work(x):
    steps = x.shape[1]
    said = rf"one long series .* layout='series'.* {steps} steps: --layout rows, or x\[:, :, None\]"
    for form in (x, x.tolist(), x.astype(np.float32)):
        with pytest.raises(DataError, match=said):
            as_sequences(form)
    series = from_python(x, DataConfig(layout="series"))
    assert np.array_equal(series.x_NTD, [x[i : i + 20] for i in range(len(x) - 19)])
    for rows in (from_python(x, DataConfig(layout="rows")), as_sequences(x[:, :, None])):
        assert np.array_equal(rows.x_NTD, x[:, :, None])


HOURS = np.sin(2 * np.pi * np.arange(24) / 24)


@pytest.mark.parametrize(
    "x",
    [
        RNG.normal(size=(100, 2)),
        RNG.normal(size=(30, 5)) * np.geomspace(1, 100, 5),  # other scales, but rows independent
        np.cumsum(RNG.normal(size=(200, 20)), axis=1),  # random walks from one point
        np.cumsum(RNG.normal(size=4000)).reshape(200, 20),  # pieces of one series, in order
        # Days of hours that are like the day before
        50 + 20 * HOURS + np.cumsum(RNG.normal(size=(365, 1)), axis=0) + RNG.normal(size=(365, 24)),
        np.lib.stride_tricks.sliding_window_view(walk(300, 1)[:, 0], 5),
    ],
)
def test_tables_of_sequences_are_no_series(x):
    assert as_sequences(x).x_NTD.shape == (*x.shape, 1)


@pytest.mark.parametrize(
    "given",
    [
        {"data": "x.csv"},
        {"columns": ("a",)},
        {"features": 2},
        {"num_sequences": 100},
        {"memory": 4.0},
        {"buffer": 512},
        {"id": ("a",)},
        {"time": ("a",)},
        {"label": "a"},
        {"duplicates": "first"},
        {"missing_values": ("-200",), "missing": "drop"},
    ],
)
def test_settings_of_tables_have_no_meaning_for_an_array(given):
    x = RNG.normal(size=(30, 4))
    with pytest.raises(UsageError, match=f"^{next(iter(given))}: .* no meaning"):
        SeqGAN(**TINY, **given).fit(x)


def test_windows_are_cut_out_of_longer_sequences():
    x = RNG.normal(size=(30, 6, 2))
    found = from_python(x, DataConfig(window=4, stride=2))
    assert np.array_equal(found.x_NTD, np.concatenate([[r[:4], r[2:]] for r in x]))
    assert found.windows is not None
    assert found.windows.series_N.tolist() == [n for n in range(30) for _ in range(2)]


def test_gaps_of_an_array_are_treated_as_said():
    x = RNG.normal(size=(40, 6))
    x[3, 2] = np.nan
    masked = np.ma.masked_invalid(x)
    for form in (x, masked):
        dropped = from_python(form, DataConfig(missing="drop"))
        assert np.array_equal(dropped.x_NTD[..., 0], np.delete(x, 3, 0))
        filled = from_python(form, DataConfig(missing="interpolate")).x_NTD
        assert filled[3, 2, 0] == pytest.approx((x[3, 1] + x[3, 3]) / 2)


@pytest.mark.parametrize("shape", [(100, 3, 60), (50, 2, 24)])
def test_channels_first_is_asked_about(shape):
    x = RNG.normal(size=shape)
    with pytest.raises(DataError, match=r"\[N, channels, steps\].*transpose.*--layout rows"):
        as_sequences(x)
    assert from_python(x, DataConfig(layout="rows")).x_NTD.shape == shape
    assert as_sequences(x.transpose(0, 2, 1)).x_NTD.shape == (shape[0], shape[2], shape[1])


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("sequences.csv", "x is a path"),
        ((row for row in [[1, 2]]), "can be read once. Give list"),
        ([[1.0] * n for n in range(5, 9)], "4 sequences of 5 to 8 steps"),
        (RNG.normal(size=(60, 1, 30)), r"\[N, 1, T\], take its one channel"),
        ([], r"shape \[0\]"),
    ],
)
def test_what_is_no_array_of_sequences_is_refused_in_words(x, said):
    with pytest.raises(DataError, match=said):
        as_sequences(x)


def test_one_long_series_is_cut_into_windows():
    x = RNG.normal(size=60)
    assert np.array_equal(as_sequences(x).x_NTD[..., 0], [x[i : i + 20] for i in range(41)])


def test_log_and_bounds_name_the_columns_of_an_array():
    x = np.exp(RNG.normal(size=(40, 4, 2)))
    model = SeqGAN(**TINY, log=("x1",), bounds=("x2:0:",)).fit(x)
    assert model.description.names == ("x1", "x2")
    assert np.all(model.sample(50) > 0)
    with pytest.raises(UsageError, match=r"no column 'x1' \(the columns are x\)"):
        SeqGAN(**TINY, log=("x1",)).fit(x[..., 0])
