"""Any frame that we read and write is read back equal: columns, dtypes, values, ids, times."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from seqgan_jax.data import layout
from seqgan_jax.data.writing import rounded, save_sequences, to_frame

STEPS, NUMBER = 5, 24
STARTS = ("2021-03-05", "1999-12-31 22:00", "2024-02-28 23:45:30")


def whole(rng, size):
    return rng.integers(-500, 10_000, size)


def cents(rng, size):
    return rng.integers(-90_000, 90_000, size) / 100


def far_from_zero(rng, size):
    return 1e9 + 0.02 * rng.normal(size=size)


def small(rng, size):
    return 1e-7 * rng.normal(size=size)


def yes_no(rng, size):
    return rng.random(size) < 0.4


def plain(rng, size):
    return rng.normal(size=size)


ENDINGS = ("a b", "a  b", "é", "snow, sleet", 'a "b" c', "it's", "x;y|z", "Москва", "1,5", "#")


@st.composite
def words(draw):
    """A kind of column: of some words, in one of pandas' types of them."""
    starts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=4)
    named = draw(
        st.lists(st.tuples(starts, st.sampled_from(ENDINGS)), min_size=2, max_size=5, unique=True)
    )
    known = sorted({f"w{start}{end}" for start, end in named})
    dtype = draw(st.sampled_from(["str", "object", "category", "ordered"]))

    def sky(rng, size):
        values = np.array(known, object)[rng.permutation(np.arange(size) % len(known))]
        if dtype in ("str", "object"):
            return pd.array(values, "str") if dtype == "str" else values
        order = rng.permutation(np.array([*known, "never"], object))
        return pd.Categorical(values, order, ordered=dtype == "ordered")

    return sky


KINDS = (whole, cents, far_from_zero, small, yes_no, plain)


@st.composite
def frames(draw):
    """Sequences in long format, with an id, a regular time and columns of several kinds."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.lists(st.sampled_from(KINDS) | words(), min_size=1, max_size=4))
    step = draw(st.sampled_from(["D", "h", "15min", "MS", "W-MON"]))
    times = pd.date_range(draw(st.sampled_from(STARTS)), periods=STEPS, freq=step)
    names = [f"unit {i:02d}" for i in range(NUMBER)]
    ids = draw(st.sampled_from([np.arange(NUMBER), np.array(names, object)]))
    size = NUMBER * STEPS
    columns = {"who": np.repeat(ids, STEPS), "when": np.tile(times, NUMBER)}
    columns |= {f"{kind.__name__} {i}": kind(rng, size) for i, kind in enumerate(kinds)}
    frame = pd.DataFrame(columns)
    return frame[draw(st.permutations(list(frame.columns)))]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
@settings(max_examples=25, deadline=None)
@given(frame=frames())
def test_what_is_written_is_read_back_equal(tmp_path_factory, suffix, frame):
    folder = tmp_path_factory.mktemp("round")
    source = folder / f"in.{'parquet' if suffix == 'parquet' else 'csv'}"
    if suffix == "parquet":
        frame.to_parquet(source, index=False)
    else:
        frame.to_csv(source, index=False)
    flags = {"id": ["who"], "time": ["when"]}
    read = layout.load(str(source), **flags)
    written = folder / f"out.{suffix}"
    save_sequences(written, read.x_NTD, read.names, read.form)
    again = layout.load(str(written), **flags)
    assert again.names == read.names
    for d, column in enumerate(read.form.columns):
        if column.decimals is not None:
            expected = rounded(read.x_NTD, read.form)[..., d]
            assert np.array_equal(again.x_NTD[..., d], expected)
    # To the column's own precision, where it has no decimals.
    spread = np.ptp(read.x_NTD, axis=(0, 1))
    assert np.all(np.abs(again.x_NTD - read.x_NTD) <= 1e-8 * spread)
    made = to_frame(read.x_NTD, read.form)
    assert list(made.columns) == list(frame.columns)
    learned = [name for name in frame.columns if name not in ("who", "when")]
    for name in learned:
        is_text = frame[name].dtype.kind == "O"
        assert made[name].dtype == ("str" if is_text and suffix != "parquet" else frame[name].dtype)
        if is_text:
            assert made[name].tolist() == frame[name].tolist()
            d = again.names.index(name)
            found = np.array(again.form.columns[d].categories, object)[
                again.x_NTD[..., d].astype(int)
            ]
            assert found.ravel().tolist() == frame[name].tolist()
    assert made["when"].tolist() == frame["when"].tolist()
