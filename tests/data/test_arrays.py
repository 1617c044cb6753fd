"""Arrays from Python: what is taken, and what is refused with a remedy."""

import numpy as np
import pytest

from seqgan_jax import SeqGAN, analyze
from seqgan_jax.data.layout import WINDOWS, as_sequences, load
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


class Table:
    """What pandas, polars, pyarrow and xarray give: an array to numpy, with one thing more."""

    def __array__(self, dtype=None, copy=None):
        return np.zeros((30, 2))


@pytest.mark.parametrize("name", ["iloc", "columns", "coords", "to_frame"])
def test_tables_with_names_are_refused(name):
    x = Table()
    setattr(x, name, ())
    said = rf"is a {type(x).__name__}, .* x\.to_numpy\(\)\[:, :, None\].*sliding_window_view"
    with pytest.raises(DataError, match=said):
        SeqGAN(**TINY).fit(x)
    with pytest.raises(DataError, match="^generated " + said):
        analyze(np.zeros((30, 4)), x)


@pytest.mark.parametrize("kind", ["DataFrame", "Series"])
def test_tables_of_pandas_are_refused(kind):
    x = getattr(pytest.importorskip("pandas"), kind)(np.zeros(30))
    with pytest.raises(DataError, match=f"x is a {kind}, and an array is wanted"):
        SeqGAN(**TINY).fit(x)


def test_masked_values_are_refused():
    x = np.ma.masked_array(RNG.normal(size=(30, 4)))
    x[3, 2] = np.ma.masked
    with pytest.raises(DataError, match=r"masked values.*Fill them in"):
        SeqGAN(**TINY).fit(x)


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


@pytest.mark.parametrize("x", [load("weather").x_NTD[:, 0], walk(200, 2), walk(2000, 7)])
def test_a_series_with_a_step_a_row_is_refused_and_both_remedies_work(x):
    steps = x.shape[1]
    said = rf"one long series .* {steps} steps, say so: x\[:, :, None\]"
    for form in (x, x.tolist(), x.astype(np.float32)):
        with pytest.raises(DataError, match=said) as caught:
            as_sequences(form)
    assert WINDOWS in str(caught.value)
    cut = eval(WINDOWS, {"np": np, "x": x})
    assert as_sequences(cut).x_NTD.shape == (len(x) - 19, 20, steps)
    assert as_sequences(x[:, :, None]).x_NTD.shape == (len(x), steps, 1)


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
        {"window": 20},
        {"stride": 1},
        {"columns": ("a",)},
        {"features": 1},
        {"num_sequences": 100},
        {"missing": "drop"},
        {"memory": 2.0},
        {"buffer": 512},
    ],
)
def test_settings_of_files_have_no_meaning_for_an_array(given):
    x = RNG.normal(size=(30, 4))
    with pytest.raises(UsageError, match=f"^{next(iter(given))}: .* no meaning"):
        SeqGAN(**TINY, **given).fit(x)


def test_log_and_bounds_name_the_columns_of_an_array():
    x = np.exp(RNG.normal(size=(40, 4, 2)))
    model = SeqGAN(**TINY, log=("x1",), bounds=("x2:0:",)).fit(x)
    assert model.description.names == ("x1", "x2")
    assert np.all(model.sample(50) > 0)
    with pytest.raises(UsageError, match=r"no column 'x1' \(the columns are x\)"):
        SeqGAN(**TINY, log=("x1",)).fit(x[..., 0])
