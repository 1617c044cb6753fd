"""Declared missing values, in every format, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.data import missing
from seqgan_jax.data.layout import load, split
from seqgan_jax.errors import DataError, UsageError

NAN = math.nan


def filled_by_a_loop(values: list[float]) -> list[float]:
    """Linear between neighbours in time, nearest at the ends."""
    out = list(values)
    for t, value in enumerate(values):
        if not math.isnan(value):
            continue
        before = next((s for s in range(t, -1, -1) if not math.isnan(values[s])), None)
        after = next((s for s in range(t, len(values)) if not math.isnan(values[s])), None)
        if before is None and after is None:
            continue
        if before is None or after is None:
            out[t] = values[after if before is None else before]
        else:
            share = (t - before) / (after - before)
            out[t] = (1 - share) * values[before] + share * values[after]
    return out


def same(a, b) -> bool:
    return np.allclose(a, b, rtol=1e-14, atol=0, equal_nan=True)


values = st.one_of(st.just(NAN), st.floats(-1e308, 1e308))
arrays = st.lists(
    st.lists(st.lists(values, min_size=2, max_size=2), min_size=5, max_size=5),
    min_size=1,
    max_size=4,
)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_filling_against_a_loop(listed):
    x = np.array(listed)
    before = x.copy()
    filled, count, _ = missing.fill(x)
    expected = np.stack(
        [[filled_by_a_loop(series.tolist()) for series in sequence.T] for sequence in x]
    ).transpose(0, 2, 1)
    assert same(filled, expected)
    assert count == np.isnan(x).sum() - np.isnan(expected).sum()
    assert np.array_equal(x, before, equal_nan=True)  # the argument is left alone
    assert np.array_equal(filled[~np.isnan(x)], x[~np.isnan(x)])  # and so is every value


def test_nothing_is_filled_across_sequences_or_columns():
    x = np.array([[[1, NAN], [2, NAN]], [[NAN, 5], [NAN, NAN]]])
    filled, count, _ = missing.fill(x)
    assert same(filled, [[[1, NAN], [2, NAN]], [[NAN, 5], [NAN, 5]]])
    assert count == 1


@pytest.fixture
def gappy() -> np.ndarray:
    """[60, 6, 2] with gaps in a few sequences, at ends too."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 6, 2))
    for n, t, d in ((3, 0, 0), (3, 1, 0), (7, 5, 1), (7, 2, 1), (20, 3, 0), (20, 3, 1)):
        x[n, t, d] = NAN
    return x


def write(path, x, token="nan"):
    """The array in the format of the suffix; a gap is `token` in text."""
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, x)
    else:
        separator = "," if path.suffix == ".csv" else " "
        path.write_text(
            "".join(
                separator.join(token if math.isnan(v) else repr(v) for v in row) + "\n"
                for row in x.reshape(len(x), -1).tolist()
            )
        )
    return str(path)


FORMATS = [
    ("a.npy", ""),
    ("a.npz", ""),
    *(("a.txt", token) for token in ("nan", "NaN", "-nan", "NA", "n/a", "null", "None", "-")),
    *(("a.csv", token) for token in ("", " ", "nan", "NA", '""')),
]


@pytest.mark.parametrize(("name", "token"), FORMATS)
def test_a_table_in_every_format(tmp_path, gappy, name, token):
    path = write(tmp_path / name, gappy, token)
    extra = {"features": 2} if name.endswith(("txt", "csv")) else {}
    with pytest.raises(DataError, match=r"missing.* --missing drop .* --missing interpolate"):
        load(path, missing="error", **extra)
    around = load(path, **extra)  # the default
    assert same(around.x_NTD, gappy)
    assert "missing, learned around" in around.notes[0]
    dropped = load(path, missing="drop", **extra)
    whole = [n for n in range(60) if n not in (3, 7, 20)]
    assert np.array_equal(dropped.x_NTD, gappy[whole])
    assert dropped.notes == ("left out 3 of 60 sequences with missing values",)
    filled = load(path, missing="interpolate", **extra)
    assert same(filled.x_NTD, missing.fill(gappy)[0])
    assert filled.notes == (
        "filled in 6 missing of 720 values by linear interpolation; the longest gap has 2 steps",
    )


def series_file(tmp_path, x_LD, token=""):
    path = tmp_path / "s.csv"
    rows = [",".join(token if math.isnan(v) else repr(v) for v in row) for row in x_LD.tolist()]
    path.write_text("remark,a,b\n" + "".join(f"no. {i % 60},{r}\n" for i, r in enumerate(rows)))
    return str(path)


@pytest.mark.parametrize("token", ["", "NA", "nan", "-"])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_of_a_series(tmp_path, token, stride):
    x_LD = np.random.default_rng(1).normal(size=(200, 2))
    x_LD[[0, 1, 50, 51, 52, 120, 199], [0, 0, 1, 1, 1, 0, 1]] = NAN
    path = series_file(tmp_path, x_LD, token)
    with pytest.raises(DataError, match="missing"):
        load(path, window=5, stride=stride, missing="error")
    around = load(path, window=5, stride=stride)
    assert same(around.x_NTD, [x_LD[i : i + 5] for i in range(0, 196, stride)])
    starts = [i for i in range(0, 196, stride) if not np.isnan(x_LD[i : i + 5]).any()]
    dropped = load(path, window=5, stride=stride, missing="drop")
    assert dropped.starts_N is not None
    assert dropped.starts_N.tolist() == starts
    assert np.array_equal(dropped.x_NTD, [x_LD[i : i + 5] for i in starts])
    total = len(range(0, 196, stride))
    left_out = f"left out {total - len(starts)} of {total} windows with missing values"
    assert dropped.notes[0].startswith("left out column 'remark': words (60 different)")
    assert dropped.notes[1:] == (left_out,)
    split(dropped)  # its windows are no longer evenly spaced
    filled = load(path, window=5, stride=stride, missing="interpolate")
    whole = np.stack([filled_by_a_loop(x_L.tolist()) for x_L in x_LD.T], axis=1)
    assert same(filled.x_NTD, [whole[i : i + 5] for i in range(0, 196, stride)])
    assert filled.notes[-1] == (
        "filled in 7 missing of 400 values by linear interpolation; the longest gap has 3 steps"
    )


@pytest.mark.parametrize("mode", ["drop", "interpolate"])
def test_without_gaps_nothing_is_changed_or_told(tmp_path, mode):
    x = np.random.default_rng(0).normal(size=(30, 4))
    for name in ("a.txt", "a.npy", "a.csv"):
        path = write(tmp_path / name, x)
        loaded = load(path, missing=mode)
        assert np.array_equal(loaded.x_NTD, load(path).x_NTD)
        assert loaded.notes == ()


@pytest.mark.parametrize("mode", ["drop", "interpolate"])
@pytest.mark.parametrize("token", ["inf", "-Infinity", "1e999", "?", "nil", "abc"])
def test_what_is_not_a_missing_value(tmp_path, mode, token):
    path = tmp_path / "a.txt"
    path.write_text("1 2\n" * 30 + f"3 {token}\n")
    with pytest.raises(DataError, match=r"a\.txt:31:3: "):
        load(str(path), missing=mode)
    np.save(tmp_path / "a.npy", np.where(np.eye(30) > 0, np.inf, 1.0))
    with pytest.raises(DataError, match=r"x\[0, 0\] is inf"):
        load(str(tmp_path / "a.npy"), missing=mode)


@pytest.mark.parametrize("mode", ["drop", "interpolate"])
@pytest.mark.parametrize("token", ["", "nan", "NA"])
@pytest.mark.parametrize("columns", [None, ["a", "b"]])
def test_a_column_of_nothing(tmp_path, mode, token, columns):
    x_LD = np.random.default_rng(1).normal(size=(60, 2))
    x_LD[:, 1] = NAN
    with pytest.raises(DataError, match="column 'b' holds nothing but missing values"):
        load(series_file(tmp_path, x_LD, token), missing=mode, columns=columns, window=5)
    assert load(str(tmp_path / "s.csv"), missing=mode, columns=["a"]).names == ("a",)
    x_NTD = np.stack([np.ones((30, 4)), np.full((30, 4), NAN)], axis=2)
    with pytest.raises(DataError, match="column 'x2' holds nothing but missing values"):
        load(write(tmp_path / "a.npy", x_NTD), missing=mode)


def test_words_with_gaps_are_no_column_of_nothing(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("a,remark\n" + "".join(f"{i % 7},{'storm' * (i == 50)}\n" for i in range(60)))
    assert load(str(path), missing="drop").notes == (
        "left out column 'remark': words (1 different)",
    )


def test_sequences_without_any_value_are_left_out(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[4] = NAN
    x[9, 1] = NAN
    loaded = load(write(tmp_path / "a.csv", x), missing="interpolate")
    assert loaded.x_NTD.shape == (39, 3, 1)
    assert loaded.notes == (
        "filled in 1 missing of 120 values by linear interpolation; the longest gap has 1 step",
        "left out 1 of 40 sequences with gaps that are not filled",
    )


def test_too_little_is_left(tmp_path):
    x = np.ones((60, 4))
    x[5:, 1] = NAN
    with pytest.raises(DataError, match="5 sequences; at least 20"):
        load(write(tmp_path / "a.npy", x), missing="drop")
    x[:, 1] = NAN
    with pytest.raises(DataError, match=r"all 60 sequences .* Try --missing model"):
        load(write(tmp_path / "a.npy", x), missing="drop")
    x_LD = np.ones((100, 2))
    x_LD[30:, 0] = NAN
    with pytest.raises(DataError, match="11 of 81 windows have no missing value"):
        load(series_file(tmp_path, x_LD), missing="drop", window=20)


def test_nothing_can_be_filled_in(tmp_path):
    x = np.ones((40, 3, 2))
    x[:20, :, 0] = x[20:, :, 1] = NAN
    with pytest.raises(
        DataError, match=r"all 40 .* with gaps that are not filled.* is left\. Correct the file"
    ):
        load(write(tmp_path / "a.npy", x), missing="interpolate")


def test_long_format(tmp_path):
    lines = [f"{n},{t},{n + t}" for n in range(30) for t in range(4)]
    lines[6] = "1,2,"
    path = tmp_path / "l.csv"
    path.write_text("sequence,step,x\n" + "\n".join(lines))
    with pytest.raises(DataError, match=r"l\.csv:8:5: a number is missing"):
        load(str(path), missing="error")
    assert len(load(str(path), missing="drop").x_NTD) == 29
    assert load(str(path), missing="interpolate").x_NTD[1, :, 0].tolist() == [1, 2, 3, 4]
    lines[6] = "1,NA,3"
    path.write_text("sequence,step,x\n" + "\n".join(lines))
    with pytest.raises(DataError, match=r"l\.csv:8:1: the number of the sequence or step"):
        load(str(path), missing="drop")


def test_an_unknown_mode():
    with pytest.raises(UsageError, match="Choose model or error or drop or interpolate"):
        load("weather", missing="zero")  # type: ignore[arg-type]
