"""What is gone on from, in every form of table: read, and written on in the same form.

The times that are written after a part of a file are those of the lines that come next in it.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from seqgan_jax.config import DataConfig
from seqgan_jax.data import history, layout, writing
from seqgan_jax.data.writing import Ends
from seqgan_jax.errors import DataError, UsageError

L = 120
rng = np.random.default_rng(0)
X = rng.normal(size=L).cumsum().round(3)
HOURS = pd.date_range("2021-03-01 05:00", periods=L, freq="h")
TABLES = {
    "dates": {"time": HOURS, "x": X},
    "date and hours": {"day": HOURS.strftime("%d.%m.%Y"), "h": HOURS.strftime("%H:%M"), "x": X},
    "parts": {
        "year": HOURS.year,
        "month": HOURS.month,
        "day": HOURS.day,
        "hour": HOURS.hour,
        "x": X,
    },
    "weekdays": {"date": pd.bdate_range("2021-01-01", periods=L), "x": X},
    "month ends": {"date": pd.date_range("2001-01-31", periods=L, freq="ME"), "x": X},
    "epoch": {"ts": 1_600_000_000_000 + 20 * np.arange(L), "x": X},
    "numbers": {"t": 0.5 * np.arange(L), "x": X},
}


def read(frame, path, name, rows):
    """A History of the first rows of a table that was read whole, and its form."""
    frame.to_csv(path / "all.csv", index=False)
    sequences = layout.load(str(path / "all.csv"), window=8)
    frame.iloc[:rows].to_csv(path / f"{name}.csv", index=False)
    given = history.of_file(
        str(path / f"{name}.csv"), sequences.names, sequences.form, DataConfig()
    )
    return given, sequences.form


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("name", TABLES)
def test_times_go_on_as_in_the_file(tmp_path, name, rows):
    frame = pd.DataFrame(TABLES[name])
    given, form = read(frame, tmp_path, "part", rows)
    assert np.array_equal(given.x_NPD[0, :, -1], X[:rows])
    next_NMTD = X[None, None, rows : rows + 30, None]
    writing.save_futures(tmp_path / "out.csv", next_NMTD, form, given.ends)
    out = pd.read_csv(tmp_path / "out.csv", dtype=str)
    whole = pd.read_csv(tmp_path / "all.csv", dtype=str)
    for column in whole.drop(columns="x"):
        assert out[column].tolist() == whole[column].tolist()[rows : rows + 30]
    assert out["x"].astype(float).tolist() == X[rows : rows + 30].tolist()
    assert set(out["sample"]) == {"0"}
    writing.save_futures(tmp_path / "out.parquet", next_NMTD, form, given.ends)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out.parquet"),
        writing.futures_frame(next_NMTD, form, given.ends),
    )


def panel():
    """Five shops in words, of which two names are taken: sample and step."""
    days = pd.date_range("2021-01-01", periods=40)
    shops = [
        pd.DataFrame({"id": f"s, {i}", "day": days, "sample": rng.normal(size=40).round(2)})
        for i in range(5)
    ]
    return pd.concat(shops, ignore_index=True)


def test_a_panel_keeps_its_ids_and_another_name_is_found_for_the_future(tmp_path):
    x = panel()
    sequences = layout.from_python(x, DataConfig(window=8), id="id", time="day")
    part = x[(x["id"] != "s, 3") & (x["day"] < "2021-02-01")]
    part = part[(part["id"] != "s, 1") | (part["day"] > "2021-01-29")]
    given = history.of_python(part, ("sample",), sequences.form, DataConfig())
    assert given.ends.lengths_N.tolist() == [31, 2, 31, 31]
    assert given.ends.ids["id"].tolist() == ["s, 0", "s, 1", "s, 2", "s, 4"]
    assert given.place(1, 0) == "after, sequence id s, 1, step 1"
    futures = np.arange(4 * 2 * 3.0).reshape(4, 2, 3, 1)
    frame = writing.futures_frame(futures, sequences.form, given.ends)
    assert list(frame) == ["id", "sample_", "day", "sample"]
    assert frame["sample"].tolist() == list(range(24))
    assert frame["id"].tolist() == [i for i in given.ends.ids["id"] for _ in range(6)]
    writing.save_futures(tmp_path / "o.csv", futures, sequences.form, given.ends)
    again = pd.read_csv(tmp_path / "o.csv", parse_dates=["day"])
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)


def test_a_frame_with_its_time_in_the_index_gets_it_back():
    x = pd.DataFrame({"x": X}, index=HOURS.rename("time"))
    sequences = layout.from_python(x, DataConfig(window=8))
    given = history.of_python(x.iloc[:5], ("x",), sequences.form, DataConfig())
    frame = writing.futures_frame(X[None, None, 5:9, None], sequences.form, given.ends)
    assert frame.index.name == "time"
    assert list(frame.index) == list(HOURS[5:9])
    assert frame["x"].tolist() == X[5:9].tolist()


def test_arrays_have_numbers_for_sequences_and_steps():
    form = writing.plain_form(("a", "b"))
    given = history.of_python(np.zeros((2, 7, 2)), ("a", "b"), None, DataConfig())
    frame = writing.futures_frame(np.ones((2, 1, 3, 2)), form, given.ends)
    assert list(frame) == ["sequence", "sample", "step", "a", "b"]
    assert frame["step"].tolist() == [7, 8, 9] * 2
    assert frame["sequence"].tolist() == [0] * 3 + [1] * 3
    one = history.of_python(np.zeros((7, 2)), ("a", "b"), None, DataConfig())
    assert "sequence" not in writing.futures_frame(np.ones((1, 1, 3, 2)), form, one.ends)


def test_gaps_are_filled_only_where_training_did_so(tmp_path):
    frame = pd.DataFrame(TABLES["dates"])
    frame.to_csv(tmp_path / "all.csv", index=False)
    sequences = layout.load(str(tmp_path / "all.csv"), window=8)
    frame.loc[3, "x"] = np.nan
    refused = DataConfig(missing="error")
    with pytest.raises(DataError, match=r"step 4: column 'x' is missing"):
        history.of_python(frame.iloc[:9], ("x",), sequences.form, refused)
    left = history.of_python(frame.iloc[:9], ("x",), sequences.form, DataConfig())
    scaler = layout.Scaler.fit(sequences.x_NTD)
    with pytest.raises(DataError, match=r"step 4: column 'x' is missing, and never was"):
        history.check(left, scaler, ("x",))
    settings = dataclasses.replace(DataConfig(), missing="interpolate")
    given = history.of_python(frame.iloc[:9], ("x",), sequences.form, settings)
    assert given.x_NPD[0, 3, 0] == pytest.approx((X[2] + X[4]) / 2)
    assert "filled in 1 missing" in given.notes[0]
    frame.loc[3:8, "x"] = np.nan
    with pytest.raises(DataError, match="missing"):
        history.of_python(frame.iloc[:12], ("x",), sequences.form, settings)


def test_only_what_is_after_the_last_gap_is_read(tmp_path):
    frame = pd.DataFrame(TABLES["weekdays"])  # holidays of five days are no gap
    given, _ = read(frame.drop(index=range(20, 24)), tmp_path, "holidays", 60)
    assert given.ends.lengths_N.tolist() == [60]
    given, _ = read(frame.drop(index=range(20, 40)), tmp_path, "gap", 60)
    assert given.ends.lengths_N.tolist() == [40]
    assert "only what is after the last gap" in given.notes[0]
    assert np.array_equal(given.x_NPD[0, :, 0], np.r_[X[:20], X[40:]][20:60])


def test_rows_are_sequences_of_any_number_of_steps(tmp_path):
    x = rng.normal(size=(30, 6)).round(3)
    np.savetxt(tmp_path / "rows.txt", x)
    sequences = layout.load(str(tmp_path / "rows.txt"), layout="rows", features=2)
    np.savetxt(tmp_path / "part.txt", x[:4, :4])
    settings = DataConfig(features=2)
    given = history.of_file(str(tmp_path / "part.txt"), sequences.names, sequences.form, settings)
    assert np.array_equal(given.x_NPD, x[:4, :4].reshape(4, 2, 2))
    np.savetxt(tmp_path / "odd.txt", x[:4, :3])
    with pytest.raises(DataError, match="3 numbers a line"):
        history.of_file(str(tmp_path / "odd.txt"), sequences.names, sequences.form, settings)


def test_quantiles_are_values_that_were_drawn():
    x = rng.integers(0, 9, size=(2, 50, 3, 2)).astype(float)
    form = writing.plain_form(("a", "b"))
    found, own, notes = writing.quantiles(x, form, (0.1, 0.5))
    assert [column.name for column in own.columns] == ["a_q0.1", "a_q0.5", "b_q0.1", "b_q0.5"]
    for n, t, d in np.ndindex(2, 3, 2):
        ordered = sorted(x[n, :, t, d])
        assert found[n, 0, t, 2 * d : 2 * d + 2].tolist() == [ordered[4], ordered[24]]
    assert not notes
    ends = Ends({}, np.array([4, 4]), None)
    frame = writing.futures_frame(found, own, ends, numbered=False)
    assert list(frame) == ["sequence", "step", "a_q0.1", "a_q0.5", "b_q0.1", "b_q0.5"]
    for wrong in ((0.0,), (1.0,), (0.5, 0.5), (np.nan,)):
        with pytest.raises(UsageError, match="between 0 and 1"):
            writing.quantiles(x, form, wrong)
