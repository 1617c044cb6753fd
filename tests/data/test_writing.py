"""What is written can be read back, in each format."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from seqgan_jax.data import writing
from seqgan_jax.data.form import ColumnForm, Form, IdForm, TimeForm
from seqgan_jax.data.layout import load, save_sequences
from seqgan_jax.data.writing import plain_form, rounded, times, to_frame
from seqgan_jax.errors import DataError, DiskError, UsageError

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("suffix", ["txt", "csv", "npy", "CSV"])
@pytest.mark.parametrize("num_features", [1, 3])
def test_what_is_written_is_read_back(tmp_path, suffix, num_features):
    path = tmp_path / f"a.{suffix}"
    x = RNG.normal(size=(21, 5, num_features)) * np.exp(RNG.normal(size=(21, 5, 1)) * 20)
    names = ("a, b", 'say "hi"', "c d")[:num_features]
    save_sequences(path, x, names)
    back = load(str(path), features=num_features if suffix == "txt" else None)
    np.testing.assert_allclose(back.x_NTD, x, rtol=0 if suffix == "npy" else 5.1e-9)
    if suffix.lower() == "csv":
        assert back.names == names
    assert back.starts_N is None


def test_float32_survives_text(tmp_path):
    x = RNG.normal(size=(30, 4, 1)).astype(np.float32)
    for name in ("a.txt", "a.csv"):
        save_sequences(tmp_path / name, x, ["x"])
        assert np.array_equal(load(str(tmp_path / name)).x_NTD.astype(np.float32), x)


def test_the_written_text(tmp_path):
    x = np.arange(8.0).reshape(2, 2, 2) / 4
    save_sequences(tmp_path / "a.txt", x, ["a", "b"])
    assert (tmp_path / "a.txt").read_text() == "0 0.25 0.5 0.75\n1 1.25 1.5 1.75\n"
    save_sequences(tmp_path / "a.csv", x, ["a", "step"])
    assert (tmp_path / "a.csv").read_text() == (
        "sequence,step_,a,step\n0,0,0,0.25\n0,1,0.5,0.75\n1,0,1,1.25\n1,1,1.5,1.75\n"
    )


def test_blocks_of_few_sequences_are_written_step_by_step_in_the_order_of_the_columns(
    tmp_path, monkeypatch
):
    x = np.arange(5 * 3 * 4.0).reshape(5, 3, 4)
    x[1, 2:] = x[3, 1:] = np.nan  # these two end early
    monkeypatch.setattr(writing, "BLOCK", 2 * x[0].size)
    save_sequences(tmp_path / "a.txt", x, list("abcd"), ends=True)
    lines = (tmp_path / "a.txt").read_text().splitlines()
    found = [[float(cell) for cell in line.split(" ")] for line in lines]
    assert found == [[v for v in one.ravel().tolist() if v == v] for one in x]


def test_columns_of_the_long_format(tmp_path):
    x = RNG.normal(size=(20, 3, 2))
    save_sequences(tmp_path / "a.csv", x, ["a", "b"])
    loaded = load(str(tmp_path / "a.csv"), columns=["b"])
    assert loaded.names == ("b",)
    np.testing.assert_allclose(loaded.x_NTD, x[..., 1:], rtol=5.1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:-1], r"a\.csv:60:1: the sequence that ends here has 2 steps"),
        (lambda rows: rows[:4] + rows[5:], r"a\.csv:6:1: the sequence that ends here has 2 steps"),
        (lambda rows: rows[:4] + rows[3:], r"a\.csv:6:1: the time 0 is there twice"),
        (lambda rows: rows[:-3] + rows[:3], r"a\.csv:59:1: the time 0 is there twice"),
    ],
)
def test_steps_that_are_missing_or_there_twice(tmp_path, change, words):
    rows = [f"{n},{t},{n + t / 8}" for n in range(20) for t in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("sequence,step,x\n" + "\n".join(change(rows)))
    with pytest.raises(DataError, match=words):
        load(str(path))
    path.write_text("sequence,step,x\n" + "\n".join(rows[::-1]))  # put in order
    assert load(str(path)).x_NTD[:2].tolist() == [
        [[19], [19.125], [19.25]],
        [[18], [18.125], [18.25]],
    ]


def test_the_long_format_without_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sequence,step\n" + "".join(f"{n},0\n{n},1\n" for n in range(20)))
    with pytest.raises(DataError, match="no column after"):
        load(str(path))


def test_what_cannot_be_written(tmp_path):
    x = np.ones((2, 2, 1))
    for name in ("a.xlsx", "a"):
        with pytest.raises(UsageError, match=r"ends in \.txt, \.csv, \.tsv, \.parquet or \.npy"):
            save_sequences(tmp_path / name, x, ["x"])
    with pytest.raises(UsageError, match="do not fit 2 column name"):
        save_sequences(tmp_path / "a.txt", x, ["x", "y"])
    with pytest.raises(DataError, match="1 of 4 values are not finite"):
        save_sequences(
            tmp_path / "a.txt", np.array([[[1.0], [np.nan]]] * 1 + [[[1.0], [1.0]]]), "x"
        )
    with pytest.raises(DiskError, match="Create its directory first"):
        save_sequences(tmp_path / "missing" / "a.txt", x, ["x"])
    assert list(tmp_path.iterdir()) == []


def column(name, dtype="float64", decimals=None, kind="continuous"):
    return ColumnForm(name, dtype, decimals, 0.0, 9.0, None, (), 0.0, kind, ())


def form(*columns, source="csv", layout="series", ids=(), time=None, order=None, **dialect):
    names = [*ids, *([time.name] if time else []), *(each.name for each in columns)]
    return Form(
        source=source,
        layout=layout,
        columns=columns,
        order=tuple(names if order is None else order),
        ids=tuple(IdForm(name, "int64") for name in ids),
        time=time,
        left_out=(),
        separator=dialect.get("separator", ","),
        decimal=dialect.get("decimal", "."),
    )


def dates(step=3600.0, rule="h", start="2018-01-01", fmt="%Y-%m-%d %H:%M:%S", zone=""):
    first = pd.Timestamp(start, tz=zone or "UTC").timestamp()
    return TimeForm("date", "datetime", step, rule, first, fmt, zone)


def written(path, x, form):
    save_sequences(path, x, [each.name for each in form.columns], form)
    return path.read_text()


def test_each_column_is_written_as_it_came(tmp_path):
    columns = column("T", decimals=2), column("n", "int64"), column("on", "bool", kind="yes/no")
    x = np.array([[[15.004, 2.6, 0.7], [-0.001, -0.4, 0.2]], [[1e3, 7, 1], [2, 8, 0]]])
    text = written(tmp_path / "a.csv", x, form(*columns, time=dates()))
    assert text.splitlines() == [
        "sequence,date,T,n,on",
        "0,2018-01-01 00:00:00,15.00,3,True",
        "0,2018-01-01 01:00:00,0.00,0,False",
        "1,2018-01-01 00:00:00,1000.00,7,True",
        "1,2018-01-01 01:00:00,2.00,8,False",
    ]
    text = written(tmp_path / "a.txt", x, form(*columns, time=dates()))
    assert text == "15.00 3 1 0.00 0 0\n1000.00 7 1 2.00 8 0\n"


def test_the_order_of_the_input_is_kept_and_left_out_columns_are_gone(tmp_path):
    found = form(
        column("b"), column("a"), ids=("store", "item"), order=("item", "word", "a", "b", "store")
    )
    text = written(tmp_path / "a.csv", np.arange(8.0).reshape(2, 2, 2), found)
    assert text.splitlines()[0] == "step,item,a,b,store"
    assert text.splitlines()[3] == "0,1,5,4,1"


def test_the_dialect_of_the_input(tmp_path):
    time = dates(fmt="%d/%m/%Y;%H.%M")
    found = form(column("CO,x", decimals=1), time=time, separator=";", decimal=",")
    lines = written(tmp_path / "a.csv", np.full((1, 2, 1), 2.04), found).splitlines()
    assert lines == [
        "sequence;date;CO,x",
        '0;"01/01/2018;00.00";2,0',
        '0;"01/01/2018;01.00";2,0',
    ]
    assert written(tmp_path / "a.tsv", np.full((1, 2, 1), 2.04), found).splitlines()[1] == (
        "0\t01/01/2018;00.00\t2.0"
    )


def test_a_row_a_sequence(tmp_path):
    found = form(column("x", decimals=1), layout="rows", order=("name", "h00", "h01", "h02"))
    found = dataclasses.replace(found, ids=(IdForm("name", "str"),))
    x = np.arange(6.0).reshape(2, 3, 1)
    lines = written(tmp_path / "a.csv", x, found).splitlines()
    assert lines == ["name,h00,h01,h02", "0,0.0,1.0,2.0", "1,3.0,4.0,5.0"]
    frame = to_frame(x, dataclasses.replace(found, source="frame"))
    assert list(frame.columns) == ["name", "h00", "h01", "h02"]
    assert frame["name"].tolist() == ["0", "1"]
    assert np.array_equal(frame.iloc[:, 1:], x[..., 0])


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (dates(rule=""), ["2018-01-01 00:00", "2018-01-01 01:00", "2018-01-01 02:00"]),
        (
            dates(30.4375 * 86400, "", "2018-01-31"),
            ["2018-01-31 00:00", "2018-02-28 00:00", "2018-03-31 00:00"],
        ),
        (
            dates(30.4375 * 86400, "MS"),
            ["2018-01-01 00:00", "2018-02-01 00:00", "2018-03-01 00:00"],
        ),
        (dates(zone="Europe/Rome", start="2018-03-25 01:00"), None),
        (TimeForm("t", "epoch ms", 20.0, "", 1707954127790.0, "", ""), None),
        (TimeForm("t", "number", 0.5, "", 1.0, "", ""), [1.0, 1.5, 2.0]),
        (TimeForm("t", "number", 2.0, "", 1990.0, "", ""), [1990, 1992, 1994]),
    ],
)
def test_times(time, expected):
    index = times(time, 3)
    if time.kind == "datetime" and expected:
        assert index.strftime("%Y-%m-%d %H:%M").tolist() == expected
    elif time.kind == "datetime":  # an hour that summer time leaves out
        assert [each.hour for each in index] == [1, 3, 4]
    elif time.kind == "number":
        assert index.tolist() == expected
        assert index.dtype == (np.int64 if time.step == 2 else np.float64)
    else:
        assert index.tolist() == [1707954127790, 1707954127810, 1707954127830]


def test_dates_in_several_columns_come_back_so(tmp_path):
    time = dataclasses.replace(dates(fmt="%d %b %Y %H.%M.%S"), name="Date Time")
    found = form(column("v", decimals=0), time=time, order=("Time", "v", "Date"))
    time = dataclasses.replace(time, name="Date Time")
    text = written(tmp_path / "a.csv", np.zeros((1, 2, 1)), found)
    assert text.splitlines()[1:] == ["0,00.00.00,0,01 Jan 2018", "0,01.00.00,0,01 Jan 2018"]
    parts = dataclasses.replace(dates(30.4375 * 86400, "MS", fmt=""), name="year month")
    found = form(column("v", decimals=0), time=parts, order=("year", "month", "v"))
    frame = to_frame(np.zeros((2, 13, 1)), found)
    assert list(frame.columns) == ["sequence", "year", "month", "v"]
    assert frame["month"].tolist() == [*range(1, 13), 1] * 2
    assert frame["year"].tolist() == [*[2018] * 12, 2019] * 2


def test_times_that_no_calendar_has():
    with pytest.raises(DataError, match=r"No time index of 3 steps.*Write \.npy or \.txt"):
        times(TimeForm("t", "datetime", 1e17, "", 1e12, "", ""), 3)
    with pytest.raises(DataError, match="No time index"):
        times(dates(rule="fortnight"), 3)


@pytest.mark.parametrize(
    ("x", "digits"),
    [
        (1e9 + 0.02 * RNG.normal(size=500), 1e-9),
        (1707954127790 + np.cumsum(RNG.integers(15, 30, 500)), 0.5),
        (np.exp(20 * RNG.normal(size=500)), None),
        (RNG.normal(size=500), None),
        (np.full(500, 0.1), 0.0),
        (np.full(500, 1e9 + 1 / 3), 0.0),
        (np.r_[1e300, RNG.normal(size=499)], None),
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "csv", "tsv"])
def test_numbers_keep_what_they_need(tmp_path, x, digits, suffix):
    path = tmp_path / f"a.{suffix}"
    text = written(path, x.reshape(50, 10, 1), plain_form(["x"]))
    cells = (
        text.split()
        if suffix == "txt"
        else [c.split()[-1] for c in text.replace(",", " ").splitlines()[1:]]
    )
    back = np.array([float(cell) for cell in cells])
    if digits is None:  # of a column about zero: nine
        np.testing.assert_allclose(back, x, rtol=5.1e-9)
    elif digits:
        assert np.abs(back - x).max() <= max(digits * x.std(), np.spacing(x.max()) / 2)
    else:
        assert np.array_equal(back, x)


def test_rounding_stays_within_bounds_and_dtypes():
    found = form(column("a", decimals=1), column("b", "uint8"), column("c", decimals=2))
    x = np.array([[[0.01, 300.0, 1e300], [0.98, -7.0, 0.999]]])
    inside = [lambda x: (x > 0) & (x < 1), lambda x: x >= 0, lambda x: x <= 1e300]
    assert rounded(x, found, inside).tolist() == [[[0.1, 255, 1e300], [0.9, 0, 1.0]]]
    assert rounded(x, found)[0, :, 0].tolist() == [0.0, 1.0]
    whole = rounded(np.array([[[1e30], [-1e30]]]), form(column("n", "int64")))
    assert to_frame(whole, form(column("n", "int64")))["n"].tolist() == [2**63 - 1024, -(2**63)]


@pytest.mark.parametrize(
    "dtype", ["int64", "Int8", "uint16", "float32", "Float64", "bool", "boolean", "int32[pyarrow]"]
)
def test_a_frame_has_the_dtypes_of_the_input(tmp_path, dtype):
    found = form(column("v", dtype), ids=("id",), time=dates(), source="frame", layout="long")
    frame = to_frame(np.arange(6.0).reshape(2, 3, 1) / 4, found)
    assert str(frame["v"].dtype) == dtype
    assert frame["id"].tolist() == [0, 0, 0, 1, 1, 1]
    assert list(frame.columns) == ["id", "date", "v"]
    save_sequences(tmp_path / "a.parquet", np.arange(6.0).reshape(2, 3, 1) / 4, ["v"], found)
    back = pd.read_parquet(tmp_path / "a.parquet")
    assert np.array_equal(back["v"].astype(float), frame["v"].astype(float))
    assert back["date"].tolist() == frame["date"].tolist()


def test_what_was_in_the_index_is_in_the_index():
    x, values = np.zeros((2, 3, 1)), (column("v"),)
    panel = form(*values, ids=("id",), time=dates(), source="frame", layout="long", order=["v"])
    assert to_frame(x, panel).index.names == ["id", "date"]
    series = form(*values, time=dates(), source="frame", order=["v"])
    assert to_frame(x, series).index.names == ["sequence", "date"]
    assert list(to_frame(x, series).columns) == ["v"]
    plain = to_frame(x, form(*values, source="frame"))
    assert list(plain.columns) == ["sequence", "step", "v"]


def test_the_form_survives_json_and_damage_is_refused():
    columns = column("T", decimals=2), dataclasses.replace(column("n", "int64"), grid=1.0)
    columns = (dataclasses.replace(columns[0], atoms=((0.0, 0.9),), notes=("late",)), columns[1])
    found = dataclasses.replace(
        form(*columns, ids=("id",), time=dates()), left_out=(("w", "words"),)
    )
    stored = json.loads(json.dumps(found.to_json()))
    assert Form.from_json(stored) == found

    def broken(node):
        """Every way of changing one leaf or entry."""
        if isinstance(node, dict):
            for key in node:
                yield {k: v for k, v in node.items() if k != key}
                for value in broken(node[key]):
                    yield node | {key: value}
        elif isinstance(node, list) and node:
            for value in broken(node[0]):
                yield [value, *node[1:]]
        elif isinstance(node, str):
            yield 1
        else:
            yield [node]

    wrong = list(broken(stored))
    assert len(wrong) > 50
    for each in (*wrong, None, [], "csv", stored | {"more": 1}):
        with pytest.raises(ValueError, match="form of the data is damaged"):
            Form.from_json(each)
    for change in ({"source": "sql"}, {"layout": "wide"}, {"decimal": ";"}):
        with pytest.raises(ValueError, match="damaged"):
            Form.from_json(stored | change)
    for change in ({"kind": "x"}, {"step": 0}, {"step": 10**400}, {"start": float("nan")}):
        with pytest.raises(ValueError, match="damaged"):
            Form.from_json(stored | {"time": stored["time"] | change})
    for change in ({"dtype": 1}, {"decimals": -1}, {"kind": "odd"}, {"low": True}):
        bad = [stored["columns"][0] | change, stored["columns"][1]]
        with pytest.raises(ValueError, match="damaged"):
            Form.from_json(stored | {"columns": bad})


def test_what_came_in_multiples_is_written_so():
    """Volumes in hundreds are too fine for a grid of learning, and still no sample is 6061191.5."""
    volume = ColumnForm("volume", "int64", 0, 7900.0, 8e7, 100.0, (), 0.0, "count", ())
    form = Form("csv", "series", (volume,), ("volume",), (), None, (), ",", ".")
    x = np.array([[[6061191.5], [49.0], [51.0]]])
    assert rounded(x, form).ravel().tolist() == [6061200.0, 0.0, 100.0]
    above = rounded(x, form, [lambda x: x >= 100])
    assert above.ravel().tolist() == [6061200.0, 100.0, 100.0]
