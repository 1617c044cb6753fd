"""Tables as people bring them: each is read right and said, or asked about with both flags."""

import dataclasses
import datetime
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN, inspect
from seqgan_jax.config import DataConfig
from seqgan_jax.data.layout import from_python, load, split
from seqgan_jax.data.times import texts_of
from seqgan_jax.data.writing import read_seconds, save_sequences, times, to_frame
from seqgan_jax.errors import DataError, UsageError

RNG = np.random.default_rng(3)
START = datetime.date(2021, 1, 1)
GERMAN = [
    *("Januar", "Februar", "März", "April", "Mai", "Juni"),
    *("Juli", "August", "September", "Oktober", "November", "Dezember"),
]
FRENCH = [
    *("janv.", "févr.", "mars", "avr.", "mai", "juin"),
    *("juil.", "août", "sept.", "oct.", "nov.", "déc."),
]
ENGLISH = [
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
]
TINY = {"hidden_dim": 4, "pre_epoch_num": 1, "dis_pre_refreshes": 0, "total_batch": 0}


def walk(steps, scale=1.0, level=0.0):
    return (level + scale * RNG.normal(size=steps).cumsum()).round(3)


def days(count, first=START):
    return [first + datetime.timedelta(days=i) for i in range(count)]


def write(path, rows, header=None, separator=","):
    lines = [separator.join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def noted(found, words):
    return any(words in note for note in found.notes)


# ------------------------------------------------------------------ several entities


def panel(entities, steps, ids):
    """(ids..., day, value) of entities one after the other, and the values [N, T]."""
    x = np.stack([walk(steps, level=100 * n) for n in range(entities)])
    rows = [(*ids(n), day, x[n, t]) for n in range(entities) for t, day in enumerate(days(steps))]
    return rows, x


@pytest.mark.parametrize("order", ["sorted", "interleaved", "newest", "shuffled"])
@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("symbol",), lambda n: (f"S{n}",)),
        (("store", "item"), lambda n: (n // 5, n % 5)),
    ],
)
def test_a_panel_is_read_by_its_ids_in_any_order(tmp_path, order, names, ids):
    rows, x = panel(25, 30, ids)
    kept = list(rows)
    if order == "interleaved":
        rows.sort(key=lambda row: row[-2])
    elif order == "newest":
        rows.reverse()
    elif order == "shuffled":
        rows = [rows[i] for i in RNG.permutation(len(rows))]
    path = write(tmp_path / "x.csv", rows, (*names, "date", "sales"))
    found = load(path)
    assert found.x_NTD.shape == (25, 30, 1)
    assert {seq.tobytes() for seq in found.x_NTD[..., 0]} == {seq.tobytes() for seq in x}
    assert found.names == ("sales",)
    assert tuple(each.name for each in found.form.ids) == names
    assert (found.form.layout, found.form.time.name, found.form.time.rule) == ("long", "date", "D")
    assert noted(found, "the sequence: 25 sequences")
    assert noted(found, "put in order of time") == (order != "sorted")
    named = load(path, id=names, time=["date"])
    assert np.array_equal(named.x_NTD, found.x_NTD)
    assert len(kept) == len(rows)


def test_no_window_crosses_an_entity_or_a_gap_and_no_step_is_in_two_parts(tmp_path):
    rows, _ = panel(4, 60, lambda n: (f"S{n}",))
    rows = [row for row in rows if not (row[0] == "S1" and 20 <= (row[1] - START).days < 25)]
    values = [(i, *row[:2], i) for i, row in enumerate(rows)]
    path = write(
        tmp_path / "x.csv", [(b, c, d + 0.5) for _, b, c, d in values], ("id", "date", "v")
    )
    found = load(path, window=10)
    by_value = {i + 0.5: row for i, row in enumerate(rows)}
    for window in found.x_NTD[..., 0]:
        steps = [by_value[value] for value in window]
        assert len({row[0] for row in steps}) == 1
        assert all((b[1] - a[1]).days == 1 for a, b in itertools.pairwise(steps))
    assert len(found.x_NTD) == 3 * 51 + (20 - 9) + (35 - 9)
    assert noted(found, "1 gap (the first after 2021-01-20); no sequence crosses one")
    parts = split(found)
    seen = [set(part.ravel().tolist()) for part in vars(parts).values()]
    assert all(seen)
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_few_or_unequal_entities_are_refused_with_the_remedy(tmp_path):
    rows, _ = panel(6, 40, lambda n: (n,))
    path = write(tmp_path / "x.csv", rows, ("unit", "date", "v"))
    with pytest.raises(DataError, match=r"6 sequences; .* --window N, at most 40"):
        load(path)
    short = [row for row in rows if not (row[0] == 2 and (row[1] - START).days > 29)]
    path = write(tmp_path / "y.csv", short, ("unit", "date", "v"))
    with pytest.raises(DataError, match=r"6 sequences of 30 to 40 steps; .* at most 30"):
        load(path)
    assert load(path, window=30).x_NTD.shape == (5 * 11 + 1, 30, 1)


def test_one_sequence_that_is_cut_is_told_with_its_line(tmp_path):
    rows = [(n, t, round(math.sin(n + t * t), 3)) for n in range(30) for t in range(5)][:-1]
    path = write(tmp_path / "x.csv", rows, ("sequence", "step", "value"))
    with pytest.raises(DataError, match=r"x\.csv:150:1: .* has 4 steps, and 29 of 30 have 5"):
        load(path)


@pytest.mark.parametrize("value", [lambda i: 100 + i % 9, lambda i: "NESW"[i % 4]])
def test_a_few_times_that_are_there_twice_make_no_value_a_name(tmp_path, value):
    seconds = np.sort(np.r_[RNG.choice(9_000, 290, replace=False), [50, 51, 52, 50, 51, 52]])
    at = [datetime.datetime(2021, 3, 1) + datetime.timedelta(seconds=int(s)) for s in seconds]
    rows = [(time, value(i)) for i, time in enumerate(at)]
    path = write(tmp_path / "x.csv", rows, ("time", "v"))
    with pytest.raises(DataError, match=r"is there twice.*--duplicates.*--id COLUMN"):
        load(path)
    assert load(path, duplicates="first").names == ("v",)
    # A control: a column that is called so names sequences, however few times they share.
    rows = [(time, f"s{i % 3}", i / 7) for i, time in enumerate(at)]
    path = write(tmp_path / "y.csv", rows, ("time", "sensor", "v"))
    assert load(path, window=20).form.ids[0].name == "sensor"


@pytest.mark.parametrize(
    ("name", "value"), [("variable", "value"), ("_field", "_value"), ("Indicator Name", "Value")]
)
def test_what_a_value_is_of_is_a_column_or_a_sequence(tmp_path, name, value):
    at, what = days(60), ("temp", "rain")
    rows = [(day, each, v) for day, v in zip(at, walk(60), strict=True) for each in what]
    path = write(tmp_path / "x.csv", rows, ("time", name, value))
    with pytest.raises(DataError, match=rf"\(rain, temp\).*x.pivot\(.*--id '?{name}'?\.") as caught:
        load(path)
    assert load(path, id=[name], window=9).form.ids[0].name == name
    # What it says to do is done with pandas, and is read as two columns.
    said = str(caught.value).split("with pandas: ")[1].split(" If each")[0].rstrip(".")
    made = said.replace("'wide.csv'", repr(str(tmp_path / "wide.csv")))
    eval(made, {"x": pd.read_csv(path)})
    assert load(str(tmp_path / "wide.csv")).names == ("rain", "temp")
    # A control: one variable alone is no question.
    rows = [row for row in rows if row[1] == "rain"]
    assert load(write(tmp_path / "y.csv", rows, ("time", name, value))).names == (value,)


def test_entities_without_names_by_a_counter(tmp_path):
    """As C-MAPSS: unit, cycle, settings; blanks at the end of lines, lives of unequal length."""
    lines, lives = [], []
    for unit in range(1, 9):
        x = np.stack([walk(30 + unit), walk(30 + unit, level=500)], 1)
        lives.append(x)
        lines += [f"{unit} {t + 1} {a} {b}  \n" for t, (a, b) in enumerate(x.tolist())]
    (tmp_path / "train.txt").write_text("".join(lines))
    with pytest.raises(DataError, match="8 sequences of 31 to 38 steps"):
        load(str(tmp_path / "train.txt"))
    found = load(str(tmp_path / "train.txt"), window=31)
    assert found.names == ("x3", "x4")
    assert np.array_equal(found.x_NTD[0], lives[0])
    assert len(found.x_NTD) == sum(range(1, 9))
    named = load(str(tmp_path / "train.txt"), window=31, id=["1"], time=["2"])
    assert np.array_equal(named.x_NTD, found.x_NTD)


def test_a_column_of_names_in_runs_is_asked_about(tmp_path):
    rows = [(f"S{n}", value) for n in range(5) for value in walk(40)]
    path = write(tmp_path / "x.csv", rows, ("sensor name", "v"))
    with pytest.raises(DataError, match=r"--id 'sensor name'.* --layout series") as caught:
        load(path)
    assert caught.value.exit_code == 3
    assert load(path, layout="series").x_NTD.shape == (181, 20, 2)  # then it is a value
    assert load(path, id=["sensor name"], window=20).x_NTD.shape == (5 * 21, 20, 1)


def test_a_sequence_may_be_named_by_words_and_have_another_date(tmp_path):
    rows = [(f"A{n}", t, START, round(math.sin(n + t * t), 3)) for n in range(30) for t in range(5)]
    found = load(write(tmp_path / "x.csv", rows, ("sequence", "step", "date", "value")))
    assert found.x_NTD.shape == (30, 5, 1)
    assert found.names == ("value",)


# ------------------------------------------------------------------ time


def test_newest_first_is_put_in_order_and_said(tmp_path):
    x = walk(60)
    rows = list(zip(days(60), x, strict=True))[::-1]
    found = load(write(tmp_path / "x.csv", rows, ("Date", "level")))
    assert np.array_equal(found.x_NTD[0, :, 0], x[:20])
    assert noted(found, "the newest was first")


def test_times_that_are_there_twice(tmp_path):
    rows = [(day, float(i)) for i, day in enumerate(days(50))]
    rows.insert(11, (rows[10][0], 99.5))
    path = write(tmp_path / "x.csv", [(d, v + 0.25 * (v % 3)) for d, v in rows], ("date", "v"))
    with pytest.raises(
        DataError, match=r"x\.csv:13:1: the time 2021-01-11 is .* --duplicates first"
    ):
        load(path)
    kept = {how: load(path, duplicates=how).x_NTD[0, 10, 0] for how in ("first", "last", "mean")}
    assert kept["first"] == 10.25
    assert kept["last"] == 99.5 + 0.25 * (99.5 % 3)
    assert kept["mean"] == pytest.approx((kept["first"] + kept["last"]) / 2)
    with pytest.raises(UsageError, match="--duplicates has no meaning"):
        load(
            write(tmp_path / "y.csv", [(v, v * v % 7) for v in RNG.normal(size=60)], "ab"),
            duplicates="first",
        )


@pytest.mark.parametrize(
    ("form", "kind", "rule"),
    [
        ("%Y-%m-%d %H:%M:%S", "datetime", "h"),
        ("%d/%m/%Y %H:%M", "datetime", "h"),
        ("%m/%d/%Y %H:%M", "datetime", "h"),
        ("%d.%m.%Y %H.%M.%S", "datetime", "h"),
        ("%Y-%m-%dT%H:%M:%S+00:00", "datetime", "h"),
    ],
)
def test_dates_as_people_write_them(tmp_path, form, kind, rule):
    x = walk(800)
    first = datetime.datetime(2021, 1, 1)
    stamps = [(first + datetime.timedelta(hours=i)).strftime(form) for i in range(800)]
    found = load(write(tmp_path / "x.csv", zip(stamps, x, strict=True), ("when", "v")))
    assert (found.form.time.kind, found.form.time.rule) == (kind, rule)
    assert found.form.time.step == 3600
    assert found.form.time.start == 1609459200
    assert len(found.x_NTD) == 781


@pytest.mark.parametrize(
    ("unit", "size"),
    [("epoch s", 1), ("epoch ms", 10**3), ("epoch us", 10**6), ("epoch ns", 10**9)],
)
def test_epochs(tmp_path, unit, size):
    ticks = (1707954127 + 60 * np.arange(80)) * size
    found = load(write(tmp_path / "x.csv", zip(ticks, walk(80), strict=True), ("timestamp", "v")))
    assert found.names == ("v",)
    time = found.form.time
    assert (time.kind, time.step, time.rule) == (unit, 60 * size, "min")
    assert time.start == ticks[0]


def test_months_weekdays_and_calendar_columns(tmp_path):
    months = [(1990 + i // 12, 1 + i % 12) for i in range(90)]
    rows = [(*month, value) for month, value in zip(months, walk(90), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, ("year", "month", "mean")))
    assert (found.names, found.form.time.rule) == (("mean",), "MS")
    open_days = [day for day in days(100) if day.weekday() < 5 and day.day != 13]
    rows = list(zip(open_days, walk(len(open_days)), strict=True))
    found = load(write(tmp_path / "y.csv", rows, ("Date", "Close")))
    assert found.form.time.rule == "B"
    assert len(found.x_NTD) == len(open_days) - 19  # weekends and holidays are no gaps
    assert noted(found, "holidays")
    both = [
        (name, *row) for name in "AB" for row in rows
    ]  # with the same holidays, not twice so many
    each = load(write(tmp_path / "z.csv", both, ("symbol", "Date", "Close")), window=20)
    assert [n for n in each.notes if "holidays" in n] == [n for n in found.notes if "holidays" in n]


@pytest.mark.parametrize(
    ("form", "rule", "first", "last"),
    [
        ("{y}Q{q}", "QS", "1971Q2", "1985Q4"),
        ("Q{q}/{y}", "QS", "Q2/1971", "Q4/1985"),
        ("{y}-Q{q}", "QS", "1971-Q2", "1985-Q4"),
        ("{y} {b}", "QS", "1971 Apr", "1985 Oct"),
        ("{b}-1-{y}", "QS", "Apr-1-1971", "Oct-1-1985"),
        ("{b}-{s}", "QS", "Apr-71", "Oct-85"),
        ("{y}M{m:02}", "QS", "1971M04", "1985M10"),
        ("{y}{m:02}", "QS", "197104", "198510"),
    ],
)
def test_quarters_and_months_in_words_come_back_so(tmp_path, form, rule, first, last):
    months = ["Jan", "Apr", "Jul", "Oct"]
    every = [(1971 + i // 4, i % 4) for i in range(1, 60)]
    words = [form.format(y=y, s=y % 100, q=q + 1, m=3 * q + 1, b=months[q]) for y, q in every]
    assert (words[0], words[-1]) == (first, last)
    found = load(write(tmp_path / "x.csv", zip(words, walk(59), strict=True), ("period", "v")))
    assert (found.names, found.form.time.rule) == (("v",), rule)
    time = dataclasses.replace(found.form.time, name="period")
    assert texts_of(times(time, 59), time.format)[[0, -1]].tolist()[0].replace("01-", "1-") == first
    assert read_seconds(words, time)[[0, 1]].tolist() == [39_312_000.0, 47_174_400.0]


@pytest.mark.parametrize(
    ("first", "count", "start"),
    [("1962-07-01", 500, "1962-07-01"), ("1945-03-01", 90, "1945-03-01"), ("2019-12-01", 90, 0)],
)
@pytest.mark.parametrize("form", ["%m/%d/%y", "%b-%y", "%d-%b-%y %H:%M"])
def test_years_of_two_digits_are_in_one_piece_and_hardly_begin_in_the_future(
    tmp_path, first, count, start, form
):
    at = pd.date_range(first, periods=count, freq="MS")
    rows = list(zip(at.strftime(form), walk(count), strict=True))
    time = load(write(tmp_path / "x.csv", rows, ("when", "v"))).form.time
    assert time.start == pd.Timestamp(start or first).timestamp()
    assert read_seconds(list(at.strftime(form)), time).tolist() == (at.asi8 / 1e6).tolist()


def test_years_of_two_digits_and_months_are_a_time(tmp_path):
    rows = [(1 + i % 12, 98 + i // 12 - 100 * (i > 23), v) for i, v in enumerate(walk(60))]
    time = load(write(tmp_path / "x.csv", rows, ("Month", "Year", "v"))).form.time
    assert (time.start, time.rule) == (pd.Timestamp("1998-01-01").timestamp(), "MS")
    # A control: year 1, year 2, ... are of no century.
    rows = [(1 + i // 12, 1 + i % 12, v) for i, v in enumerate(walk(60))]
    found = load(write(tmp_path / "y.csv", rows, ("year", "month", "v")))
    assert noted(found, "0001-01-01 to 0005-12-01")


def test_numbers_that_are_no_quarters_are_no_dates(tmp_path):
    rows = [(f"{1971 + i // 6}Q{i % 6 + 1}", v) for i, v in enumerate(walk(60))]
    assert load(write(tmp_path / "x.csv", rows, ("period", "v"))).form.time is None


@pytest.mark.parametrize(
    ("names", "parts", "rule"),
    [
        (("year", "quarter"), lambda i: (1990 + i // 4, 1 + i % 4), "QS"),
        (("month", "year"), lambda i: (1 + i % 12, 1990 + i // 12), "MS"),
        (("year", "week"), lambda i: monday(i).isocalendar()[:2], "7D"),
        (("iso_week", "iso_year"), lambda i: monday(i).isocalendar()[1::-1], "7D"),
        (("year", "doy"), lambda i: autumn_day(i).timetuple()[:8:7], "D"),
        (("doy", "Year"), lambda i: autumn_day(i).timetuple()[7::-7], "D"),
        (
            ("yr", "doy", "hour"),
            lambda i: (*autumn_day(i // 24).timetuple()[:8:7], i % 24),
            "h",
        ),
    ],
)
def test_a_year_and_its_parts_are_a_time_and_name_no_sequence(tmp_path, names, parts, rule):
    rows = [(i + 1, *parts(i), v) for i, v in enumerate(walk(90))]
    found = load(write(tmp_path / "x.csv", rows, ("", *names, "v")))
    assert (found.form.layout, found.names, found.form.time.rule) == ("series", ("v",), rule)
    frame = to_frame(found.x_NTD[:1], found.form)
    assert list(zip(*(frame[n].tolist() for n in names), strict=True)) == [
        row[1:-1] for row in rows[: len(frame)]
    ]


def monday(i: int) -> datetime.date:
    """Weeks over the end of 2020, which has 53."""
    return datetime.date(2020, 3, 2) + datetime.timedelta(weeks=i)


def autumn_day(i: int) -> datetime.date:
    return datetime.date(2020, 11, 20) + datetime.timedelta(days=i)


@pytest.mark.parametrize(
    ("name", "words", "rule"),
    [
        ("Month", ENGLISH, "MS"),
        ("month", FRENCH, "MS"),
        ("quarter", ["Q1", "Q2", "Q3", "Q4"], "QS"),
    ],
)
def test_months_and_quarters_in_words_beside_a_year_are_a_time(tmp_path, name, words, rule):
    every = len(words)
    rows = [(1990 + i // every, words[i % every], v) for i, v in enumerate(walk(90))]
    path = write(tmp_path / "x.csv", rows, ("year", name, "v"))
    found = load(path)
    assert (found.form.layout, found.names, found.form.time.rule) == ("series", ("v",), rule)
    assert noted(found, f"samples have '{name}' in numbers")
    assert load(path, time=["year", name]).form.time == found.form.time
    frame = to_frame(found.x_NTD[:1], found.form)
    assert frame[name].tolist() == [1 + i % every for i in range(20)]
    # A control: words that are no months name no time, and no sequences of years either.
    rows = [(year, f"{word}x", v) for year, word, v in rows]
    found = load(write(tmp_path / "y.csv", rows, ("year", name, "v")), layout="series")
    assert found.form.time is None


def test_weeks_that_are_not_of_iso_are_asked_about(tmp_path):
    rows = [(2018 + i // 53, 1 + i % 53, v) for i, v in enumerate(walk(150))]
    path = write(tmp_path / "x.csv", rows, ("year", "week", "v"))
    with pytest.raises(DataError, match=r"no week 53 in 2018 by ISO 8601.*Write the date"):
        load(path)
    # A day 366 of 2019 is none: the columns are no time.
    rows = [(2019 + i // 366, 1 + i % 366, v) for i, v in enumerate(walk(800))]
    found = load(write(tmp_path / "y.csv", rows, ("year", "doy", "v")), layout="series")
    assert found.form.time is None or found.form.time.kind == "number"


def test_the_week_of_a_year_says_more_than_its_month(tmp_path):
    rows = [
        (monday(i).isocalendar()[0], monday(i).month, monday(i).isocalendar()[1], v)
        for i, v in enumerate(walk(90))
    ]
    found = load(write(tmp_path / "x.csv", rows, ("year", "month", "week", "v")))
    assert (found.form.time.name, found.form.time.rule) == ("year week", "7D")
    # A control: weeks of a month are no times.
    rows = [(2001 + i // 60, 1 + i // 5 % 12, 1 + i % 5, v) for i, v in enumerate(walk(180))]
    path = write(tmp_path / "y.csv", rows, ("year", "month", "week", "v"))
    with pytest.raises(DataError, match=r"one time in 'year month', and 'week' tells them apart"):
        load(path)


def test_a_week_beside_a_date_is_none(tmp_path):
    rows = [
        (d.year, d.month, d.day, d.isocalendar()[1], v)
        for d, v in zip(days(400), walk(400), strict=True)
    ]
    found = load(write(tmp_path / "x.csv", rows, ("year", "month", "day", "week", "v")))
    assert found.form.time.rule == "D"


def test_the_number_of_a_year_and_its_day_is_a_date(tmp_path):
    rows = [(f"{day:%Y%j}", v) for day, v in zip(days(500), walk(500), strict=True)]
    form = load(write(tmp_path / "x.csv", rows, ("date", "v"))).form
    assert (form.time.rule, form.time.format) == ("D", "%Y%j")
    meter = [(2_000_100 + 2 * i, i // 2, v) for i, v in enumerate(walk(100))]
    assert load(write(tmp_path / "y.csv", meter, ("meter", "x", "v"))).form.time.kind == "number"


@pytest.mark.parametrize("form", ["%a %b %d %Y", "%A, %B %d, %Y"])
def test_days_with_their_names_are_dates(tmp_path, form):
    rows = [(f'"{day.strftime(form)}"', v) for day, v in zip(days(40), walk(40), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, ("day", "v")))
    assert (found.names, found.form.time.rule, found.form.time.format) == (("v",), "D", form)


def test_steps_that_are_rounded_count(tmp_path):
    """1990.083, 1990.167, ...; and not a value that rises nearly as evenly."""
    rows = [(f"{1990 + i / 12:.3f}", v) for i, v in enumerate(walk(90))]
    assert load(write(tmp_path / "x.csv", rows, ("when", "v"))).names == ("v",)
    rows = [(f"{i / 12 + 0.002 * (i % 3):.3f}", v) for i, v in enumerate(walk(90))]
    assert load(write(tmp_path / "y.csv", rows, ("when", "v"))).names == ("when", "v")


@pytest.mark.parametrize(
    ("name", "first"), [("timestamp", 1_614_556_800), ("JD", 2_458_849.5), ("Time [s]", 0.0)]
)
def test_times_with_decimals_that_rise_unevenly_are_no_value(tmp_path, name, first):
    at = first + np.arange(90) * 0.5 + 0.1 * RNG.random(90)
    rows = [(f"{t:.5f}", v) for t, v in zip(at, walk(90), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, (name, "v")))
    assert (found.names, found.form.time.kind) == (("v",), "number")
    assert found.form.time.step == pytest.approx(np.median(np.diff(at)), abs=2e-5)
    # Controls: another name, and a time that goes back.
    assert load(write(tmp_path / "y.csv", rows, ("meter", "v"))).names == ("meter", "v")
    back = [*rows[:50], *rows[40:]]
    assert load(write(tmp_path / "z.csv", back, (name, "v"))).names == (name, "v")


def test_a_date_and_a_number_of_the_hour_are_asked_about(tmp_path):
    rows = [(day, hour, hour + 0.5 * i) for i, day in enumerate(days(9)) for hour in range(1, 25)]
    path = write(tmp_path / "x.csv", rows, ("date", "hour", "v"))
    with pytest.raises(DataError, match=r"'hour' tells them apart.*--id hour.*part of the time"):
        load(path)
    assert load(path, id=["hour"], window=4).form.layout == "long"
    path = write(tmp_path / "y.csv", rows, ("Datum", "Periode", "v"))
    with pytest.raises(DataError, match=r"'Periode' tells them apart.*part of the time"):
        load(path)


@pytest.mark.parametrize("form", ["%H%M%S", "%H%M"])
def test_a_date_and_a_clock_in_whole_numbers_are_a_time_and_come_back(tmp_path, form):
    at = [datetime.datetime(2021, 3, 1) + datetime.timedelta(hours=i) for i in range(200)]
    rows = [(f"{t:%Y%m%d}", f"{t:{form}}", v) for t, v in zip(at, walk(200), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, ("<DATE>", "<TIME>", "v")))
    assert (found.form.layout, found.names, found.form.time.rule) == ("series", ("v",), "h")
    save_sequences(tmp_path / "y.csv", found.x_NTD[:1], found.names, form=found.form)
    lines = (tmp_path / "y.csv").read_text().splitlines()
    assert lines[10].startswith("0,{},{},".format(*rows[9][:2]))
    rows = rows[::-1]  # which are no rising times, but are said to be times
    path = write(tmp_path / "z.csv", rows, ("<DATE>", "<TIME>", "v"))
    named = load(path, time=["<DATE>", "<TIME>"])
    assert np.array_equal(named.x_NTD, found.x_NTD)
    assert named.form.time == found.form.time


@pytest.mark.parametrize(
    "form",
    [
        *("%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%SZ", "%d%b%Y:%H:%M:%S"),
        *("%m/%d/%Y %I:%M%p", "%d/%m/%Y, %H:%M:%S", "%Y-%m-%d %H:%M:%S UTC"),
        *("%m/%d/%Y  %I:%M:%S %p", "%y-%m-%d %H:%M", "%d-%m-%y %H:%M", "%d. %b %Y %H:%M"),
        *("%a, %d %b %Y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S +0000"),
    ],
)
def test_times_of_instruments_and_logs_are_read_and_come_back(tmp_path, form):
    at = [datetime.datetime(2021, 2, 27) + datetime.timedelta(hours=i) for i in range(200)]
    rows = [(f'"{t.strftime(form)}"', v) for t, v in zip(at, walk(200), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, ("MESS_DATUM", "v")))
    assert (found.names, found.form.time.kind, found.form.time.rule) == (("v",), "datetime", "h")
    assert found.form.time.start == at[0].replace(tzinfo=datetime.UTC).timestamp()
    index = times(found.form.time, 3)
    expected = [t.strftime(form.replace("Z", "+0000")) for t in at[:3]]
    assert list(texts_of(index, found.form.time.format)) == expected


def test_weeks_of_iso_8601_are_times(tmp_path):
    at = [datetime.date(2018, 6, 4) + datetime.timedelta(7 * i) for i in range(300)]
    names = ["{}-W{:02d}".format(*day.isocalendar()) for day in at]
    rows = list(zip(names, walk(300), strict=True))
    found = load(write(tmp_path / "x.csv", rows, ("week", "v")))
    assert (found.form.time.rule, found.form.time.step) == ("7D", 7 * 86_400)
    assert list(texts_of(times(found.form.time, 300), found.form.time.format)) == names


def test_a_week_that_a_year_does_not_have_is_asked_about(tmp_path):
    rows = [(f"{2018 + i // 53}-W{1 + i % 53:02d}", v) for i, v in enumerate(walk(106))]
    path = write(tmp_path / "x.csv", rows, ("week", "v"))
    with pytest.raises(
        DataError, match=r"x.csv:54:1: '2018-W53' is no date in column 'week'.*2 such"
    ):
        load(path)


@pytest.mark.parametrize(
    ("months", "form"), [(GERMAN, "{d}. {m} {y}"), (FRENCH, "{d} {m} {y}"), (FRENCH, "{m} {y}")]
)
def test_months_may_be_german_or_french(tmp_path, months, form):
    at = pd.date_range("2021-03-01", periods=60, freq="D" if "{d}" in form else "MS")
    words = [form.format(d=t.day, m=months[t.month - 1], y=t.year) for t in at]
    path = write(tmp_path / "x.csv", zip(words, walk(60), strict=True), ("Datum", "v"))
    found = load(path)
    assert (found.names, found.form.time.start) == (("v",), at[0].timestamp())
    assert noted(found, "samples have the dates of 'Datum' as 2021-02-28")
    assert str(times(found.form.time, 60)[-1].date()) == str(at[-1].date())
    save_sequences(tmp_path / "y.csv", found.x_NTD[:1], found.names, form=found.form)
    assert (tmp_path / "y.csv").read_text().splitlines()[2].startswith(f"0,{at[1].date()}")


def test_midnight_is_24_of_the_day_before(tmp_path):
    at = [(day, hour) for day in days(12, datetime.date(2021, 2, 20)) for hour in range(1, 25)]
    rows = [(f"{day} {hour:02d}:00", v) for (day, hour), v in zip(at, walk(288), strict=True)]
    found = load(write(tmp_path / "x.csv", rows, ("time", "v")))
    assert (found.form.time.rule, len(found.x_NTD)) == ("h", 288 - 19)
    last = times(found.form.time, 288)[-1]
    assert last == pd.Timestamp("2021-03-04", tz=last.tz)


def test_a_date_in_columns_without_names_is_asked_about(tmp_path):
    at = [datetime.datetime(2021, 2, 27) + datetime.timedelta(hours=i) for i in range(200)]
    rows = [(*t.timetuple()[:4], v) for t, v in zip(at, walk(200), strict=True)]
    path = write(tmp_path / "x.txt", rows, separator=" ")
    with pytest.raises(
        DataError, match=r"x.txt:1:1: the first 4 columns are year, month, day, hou"
    ):
        load(path)
    assert load(path, layout="series").x_NTD.shape[2] == 5
    named = write(tmp_path / "y.txt", rows, ("year", "month", "day", "hour", "v"), " ")
    assert load(named).form.time.rule == "h"


def test_six_digits_are_a_date(tmp_path):
    rows = [
        (i, f"{day:%y%m%d}", v) for i, (day, v) in enumerate(zip(days(60), walk(60), strict=True))
    ]
    found = load(write(tmp_path / "x.csv", rows, ("", "date", "v")))
    assert (found.names, found.form.time.rule, found.form.time.format) == (("v",), "D", "%y%m%d")
    rows = [(i, 210_000 + i, v) for i, v in enumerate(walk(60))]
    rising = load(write(tmp_path / "y.csv", rows, ("", "date", "v")))
    assert rising.form.time.kind == "number"


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("lengths", [(20,) * 10, (9, 8, 7, 9, 8, 9, 7, 9)])
@pytest.mark.parametrize("name", [lambda n: n + 1, lambda n: f"firm {n}"])
def test_years_are_the_steps_of_firms_and_no_sequences(tmp_path, numbered, lengths, name):
    """As Grunfeld's: the firms of a year count as well as the years of a firm."""
    lines = [(n, t) for n, steps in enumerate(lengths) for t in range(steps)]
    rows = [(name(n), 1935 + t, v) for (n, t), v in zip(lines, walk(len(lines)), strict=True)]
    rows = [(i + 1, *row) for i, row in enumerate(rows)] if numbered else rows
    header = (*[""] * numbered, "firm", "year", "invest")
    found = load(write(tmp_path / "x.csv", rows, header), window=6)
    assert [each.name for each in found.form.ids] == ["firm"]
    assert (found.form.time.name, found.names) == ("year", ("invest",))


@pytest.mark.parametrize("step", [5, None])
def test_years_that_several_lines_have_are_the_steps_of_what_is_named(tmp_path, step):
    """Every five years, or in years that differ from one to the other."""
    rows = []
    for n in range(30):
        years = 1952 + (5 * np.arange(12) if step else np.sort(RNG.choice(58, 20, replace=False)))
        values = zip(years, walk(len(years)), strict=True)
        rows += [(f"C{n}", "AB"[n % 2], year, v) for year, v in values]
    path = write(tmp_path / "x.csv", rows, ("country", "part", "Year", "v"))
    form = load(path, window=None if step else 2).form
    assert ([each.name for each in form.ids], form.time.name) == (["country"], "Year")
    assert [each.name for each in form.columns] == ["part", "v"]
    assert load(path, window=2, id=["country"]).form.time.name == "Year"
    # A control: years of things that no column names are a value.
    rows = [(f"N{i}", year, v) for i, (_, _, year, v) in enumerate(rows)]
    found = load(write(tmp_path / "y.csv", rows, ("film", "year", "v")))
    assert (found.form.layout, found.names) == ("series", ("year", "v"))


def test_a_number_of_the_line_without_a_name_is_no_time(tmp_path):
    rows = [(i, v, i * i % 7) for i, v in enumerate(walk(90))]
    found = load(write(tmp_path / "x.csv", rows, ("", "a", "b")))
    assert (found.names, found.form.time) == (("a", "b"), None)
    assert noted(found, "left out column 1, which has no name: it only counts")
    assert noted(inspect(tmp_path / "x.csv"), "there is no time index: lines are taken as steps, ")
    assert not noted(inspect(tmp_path / "x.csv", layout="series"), "there is no time index")
    path = write(tmp_path / "y.csv", rows, ("step", "a", "b"))
    assert load(path).form.time.name == "step"
    assert not noted(inspect(path), "lines are taken as steps")
    path = write(tmp_path / "z.csv", rows, ("Rank", "a", "b"))
    assert noted(inspect(path), "'Rank' only counts, and lines are taken as steps in its order. If")


def test_a_number_of_the_line_is_no_step_of_what_stays(tmp_path):
    rows = [(i + 1, i // 30 % 3, v) for i, v in enumerate(walk(150))]
    found = load(write(tmp_path / "x.csv", rows, ("", "gear", "v")))
    assert (found.form.layout, found.names) == ("series", ("gear", "v"))
    rows = [(i + 1, 5 + i // 30, i % 30 + 1, v) for i, v in enumerate(walk(150))]
    found = load(write(tmp_path / "y.csv", rows, ("", "Month", "Day", "v")))
    assert (found.form.layout, found.names) == ("series", ("Month", "Day", "v"))


def test_windows_do_not_cross_a_change_of_step(tmp_path):
    hours = [datetime.datetime(2021, 1, 1) + datetime.timedelta(hours=i) for i in range(100)]
    later = [hours[-1] + datetime.timedelta(days=i + 1) for i in range(40)]
    rows = list(zip([*hours, *later], walk(140), strict=True))
    found = load(write(tmp_path / "x.csv", rows, ("t", "v")))
    assert len(found.x_NTD) == 81
    assert found.form.time.rule == "h"


def test_day_and_month_that_cannot_be_told_apart_are_asked_about(tmp_path):
    rows = [
        (f"{i % 12 + 1:02}/{i % 12 + 1:02}/{1900 + i // 12}", v) for i, v in enumerate(walk(60))
    ]
    assert load(write(tmp_path / "x.csv", rows, ("d", "v"))).form.time is not None  # the same days
    rows = [("01/02/2020", 1.5), ("02/03/2020", 2.5)] * 30
    with pytest.raises(DataError, match=r"the time .* is there twice|which is the day"):
        load(write(tmp_path / "y.csv", rows, ("d", "v")))


@pytest.mark.parametrize(
    ("form", "odd", "said"),
    [
        ("%Y-%m-%d", "Total", r":62:1: 'Total' is no date in column 'day'.*\(1 such line"),
        ("%d.%m.%Y", "", r":62:1: the date is missing in column 'day'"),
        ("%b %d, %Y", "Average", r":62:1: 'Average' is no date"),
    ],
)
def test_a_line_without_a_date_among_dates_is_asked_about(tmp_path, form, odd, said):
    rows = [(f'"{day.strftime(form)}"', v) for day, v in zip(days(60), walk(60), strict=True)]
    path = write(tmp_path / "x.csv", [*rows, (odd, 9000)], ("day", "v"))
    with pytest.raises(DataError, match=said):
        load(path)
    assert load(path, columns=["v"]).names == ("v",)
    assert load(write(tmp_path / "y.csv", rows, ("day", "v"))).form.time.name == "day"
    # A control: dates in a few of the lines are remarks.
    rows = [(row[0] if i % 3 else "", row[1]) for i, row in enumerate(rows)]
    assert load(write(tmp_path / "z.csv", rows, ("seen", "v"))).names == ("v",)


def test_a_total_at_the_end_is_asked_about(tmp_path):
    rows = [("NESW"[i % 4], i * i % 41) for i in range(60)]
    path = write(tmp_path / "x.csv", [*rows, ("Total:", 9000)], ("region", "v"))
    with pytest.raises(DataError, match=r"x.csv:62:1: 'Total:' in column 'region' is in the last"):
        load(path)
    assert load(path, columns=["region", "v"]).names == ("region", "v")
    # A control: a word that other lines have, too.
    rows = [("Total" if i % 4 == 3 else "N", v) for i, (_, v) in enumerate(rows)]
    assert load(write(tmp_path / "y.csv", rows, ("region", "v"))).names == ("region", "v")


def test_times_and_numbers_that_are_not_read_are_said(tmp_path):
    rows = [(f"{i}h{i % 7}'", f"x{i}", v) for i, v in enumerate(walk(60))]
    found = load(write(tmp_path / "x.csv", rows, ("when", "who", "v")))
    assert noted(found, "'when': numbers or times in a form that is not read, such as \"0h0'\"")
    assert noted(found, "'who': words (60 different): at most 50")
    few = [(f"{1 + i // 12}-{1 + i % 12:02}", v) for i, v in enumerate(walk(36))]
    found = load(write(tmp_path / "y.csv", few, ("Month", "v")), window=9)
    assert noted(found, "'Month': numbers or times in a form that is not read, such as '1-01'")
    # A control: names that begin with numbers are no times.
    rows = [(f"{i} {chr(97 + i % 26)}-street", v) for i, v in enumerate(walk(60))]
    found = load(write(tmp_path / "z.csv", rows, ("where", "v")))
    assert noted(found, "'where': words (60 different): at most 50")


def test_names_some_of_which_are_numbers_are_left_out_as_words(tmp_path):
    """Codes of airports, titles, products: no line of them is wrong."""
    rows = [(f"{i:02}" + chr(65 + i % 26) * (i % 9 > 0), v) for i, v in enumerate(walk(90))]
    path = write(tmp_path / "x.csv", rows, ("iata", "v"))
    found = load(path)
    assert found.names == ("v",)
    assert noted(found, "left out column 'iata': words (90 different)")
    with pytest.raises(DataError, match="'iata' cannot be learned"):
        load(path, columns=["iata", "v"])
    # A control: a few words among numbers are asked about.
    rows = [(f"{i * i}" + "RS"[i % 2] * (i % 9 == 0), v) for i, v in enumerate(walk(90))]
    with pytest.raises(DataError, match="'0R' is not a number"):
        load(write(tmp_path / "y.csv", rows, ("level", "v")))


def test_numbers_that_are_called_as_codes_or_dates_are_said(tmp_path):
    rows = [(int(RNG.integers(501, 99_951)), 10_142_018 + i % 3, v) for i, v in enumerate(walk(60))]
    path = write(tmp_path / "x.csv", rows, ("zip_code", "Date", "v"))
    found = load(path)
    assert noted(found, "'zip_code': called as codes or names are, and learned by size")
    assert noted(found, "'Date' is called as a time is, and learned as a value: numbers such as 10")
    left = load(path, columns=["v"])
    assert not noted(left, "zip_code': called")
    assert not noted(left, "'Date' is called")
    # Controls: a fraction, and a number beside the time index.
    rows = [(day, a + 0.5, b, v) for day, (a, b, v) in zip(days(60), rows, strict=True)]
    found = load(write(tmp_path / "y.csv", rows, ("day", "area code", "update", "v")))
    assert not noted(found, "called as")


def test_a_time_that_is_none(tmp_path):
    rows = [(f"r{i}x", v) for i, v in enumerate(walk(60))]
    path = write(tmp_path / "x.csv", rows, ("d", "v"))
    with pytest.raises(DataError, match=r"--time d .* is no time that is known"):
        load(path, time=["d"])
    with pytest.raises(DataError, match="there is no column 'e'"):
        load(path, time=["e"])


# ------------------------------------------------------------------ a line is a sequence


@pytest.mark.parametrize("first", [None, "", "Country"])
@pytest.mark.parametrize("names", [range(24), range(1998, 2022), [f"h{i:02}" for i in range(24)]])
def test_names_that_count_are_steps_and_no_sequence(tmp_path, first, names):
    x = np.stack([walk(24, level=1000) for _ in range(40)])
    rows = x.tolist()
    header = list(names)
    if first is not None:
        rows = [[n if first == "" else f"C{n}", *row] for n, row in enumerate(rows)]
        header = [first, *header]
    found = load(write(tmp_path / "x.csv", rows, header))
    assert np.array_equal(found.x_NTD[..., 0], x)
    assert noted(found, "are steps: a line is a sequence")
    assert found.form.order == tuple(map(str, header))


def test_a_series_without_a_header_is_asked_about(tmp_path):
    x = np.stack([walk(300, 0.01, 5 * (3 * d % 7)) for d in range(6)], 1)
    path = write(tmp_path / "x.txt", x.tolist())
    with pytest.raises(DataError, match=r"--layout rows.* 6 features: --layout series"):
        load(path)
    assert np.array_equal(load(path, layout="series").x_NTD[0], x[:20])
    assert np.array_equal(load(path, layout="rows").x_NTD[..., 0], x)


def test_named_columns_that_count_are_series_rows_or_asked_about(tmp_path):
    series = np.stack([walk(300, 0.01, 5 * (3 * d % 7)) for d in range(6)], 1)
    names = [f"V{d}" for d in range(6)]
    assert load(write(tmp_path / "x.csv", series.tolist(), names)).form.layout == "series"
    noise = RNG.normal(size=(60, 6)).round(3).tolist()
    with pytest.raises(DataError, match=r"'V0' to 'V5'.*--layout rows.*--layout series"):
        load(write(tmp_path / "y.csv", noise, names))


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%y", "%d %b %Y"])
def test_names_that_are_dates_are_steps_and_what_is_before_is_none(tmp_path, form):
    names = [day.strftime(form).lstrip("0") for day in days(40)]
    x = np.stack([walk(40) for _ in range(30)])
    rows = [(f"place {n}", n * 0.37, -n * n, *row) for n, row in enumerate(x)]
    found = load(write(tmp_path / "x.csv", rows, ("place", "lat", "long", *names)))
    assert np.array_equal(found.x_NTD[..., 0], x)
    assert found.form.layout == "rows"
    assert noted(found, "are dates: a line is a sequence")
    assert noted(found, "left out column 'lat': beside the steps of a sequence")
    assert list(to_frame(found.x_NTD, found.form).columns) == names
    # A control: dates that are no names, and names in no order.
    mixed = ("place", "lat", "long", *names[20:], *names[:20])
    assert load(write(tmp_path / "y.csv", rows, mixed), window=9).form.layout == "series"


def test_a_number_before_steps_that_count_is_none_of_them(tmp_path):
    x = np.stack([walk(24) for _ in range(30)])
    rows = [(n * 7 % 31, *row) for n, row in enumerate(x)]
    path = write(tmp_path / "x.csv", rows, ("store", *(f"h{i:02d}" for i in range(24))))
    found = load(path, layout="rows")
    assert np.array_equal(found.x_NTD[..., 0], x)
    assert noted(found, "left out column 'store': beside the steps of a sequence")
    # A step that has words is refused at its place, not left out.
    rows[0] = (*rows[0][:5], f"{rows[0][5]} p", *rows[0][6:])
    path = write(tmp_path / "y.csv", rows, ("store", *(f"h{i:02d}" for i in range(24))))
    with pytest.raises(DataError, match=r"y.csv:2:.* p' is not a number"):
        load(path, layout="rows")


def test_a_class_label_is_asked_about(tmp_path):
    x = np.stack([walk(12) for _ in range(40)])
    path = write(tmp_path / "x.csv", [[n % 3 + 1, *row] for n, row in enumerate(x.tolist())])
    with pytest.raises(DataError, match=r"--label 1.*--layout rows"):
        load(path)
    assert np.array_equal(load(path, label="1").x_NTD[..., 0], x)
    assert load(path, layout="rows").x_NTD.shape == (40, 13, 1)


def test_a_class_label_may_be_the_last_column(tmp_path):
    x = np.stack([walk(12) for _ in range(40)])
    path = write(tmp_path / "x.csv", [[*row, n % 3 + 1] for n, row in enumerate(x.tolist())])
    with pytest.raises(DataError, match=r"label after a sequence of 12 steps.*--label 13"):
        load(path)
    assert np.array_equal(load(path, label="13").x_NTD[..., 0], x)
    path = write(tmp_path / "y.csv", [[*row, "RM"[n % 2]] for n, row in enumerate(x.tolist())])
    with pytest.raises(DataError, match=r"column 13 holds words, such as 'R'.*--label 13"):
        load(path)
    assert np.array_equal(load(path, label="13").x_NTD[..., 0], x)
    with pytest.raises(DataError, match="'R' is not a number"):
        load(path, layout="rows")
    rows = [[*row, f"class-{n % 2}"] for n, row in enumerate(x.tolist())]
    with pytest.raises(DataError, match="'class-0' is not a number") as caught:
        load(write(tmp_path / "z.csv", rows), layout="rows")
    assert "--missing-values" not in str(caught.value)


def test_features_without_names_are_no_sequence_by_themselves(tmp_path):
    """Columns of whole numbers beside others, as of age and weight; and a control."""
    rows = [(RNG.integers(20, 80), *RNG.normal(50, 9, 3).round(1), i % 37) for i in range(60)]
    path = write(tmp_path / "x.csv", rows)
    with pytest.raises(DataError, match=r"columns 1, 5 hold whole.*--layout rows.*5 features"):
        load(path)
    assert load(path, layout="series").x_NTD.shape == (41, 20, 5)
    assert load(path, layout="rows").x_NTD.shape == (60, 5, 1)
    steps = RNG.normal(50, 9, (60, 5)).round(1)
    path = write(tmp_path / "y.csv", steps)
    assert load(path).x_NTD.shape == (60, 5, 1)
    assert noted(inspect(path), "a sequence of 5 steps; if it is a step of one long series with 5")


def test_words_without_names_are_asked_about_once_and_not_by_line(tmp_path):
    rows = [("MFI"[i % 3], v, ("up", "down")[i % 2]) for i, v in enumerate(walk(90))]
    path = write(tmp_path / "x.csv", rows)
    with pytest.raises(DataError, match=r"columns 1, 3 hold words, such as 'M', and no line has"):
        load(path)
    assert load(path, layout="series").names == ("x1", "x2", "x3")
    # Of words alone the first line is no header, where its words are in its columns again.
    rows = [("MFI"[i % 3], ("up", "down")[i % 2]) for i in range(90)]
    path = write(tmp_path / "y.csv", rows)
    with pytest.raises(DataError, match=r"columns 1, 2 hold words, such as 'M', and no line has"):
        load(path)
    assert len(load(path, layout="series").x_NTD) == 71
    assert load(write(tmp_path / "z.csv", rows, ("sex", "ill"))).names == ("sex", "ill")


def test_lines_of_unequal_length(tmp_path):
    lines = [" ".join(map(str, walk(int(n)).tolist())) for n in RNG.integers(8, 20, 60)]
    (tmp_path / "x.txt").write_text("\n".join(lines))
    whole = load(str(tmp_path / "x.txt"))
    assert whole.ends
    assert whole.x_NTD.shape == (60, 19, 1)
    assert noted(whole, "60 sequences of 8 to 19 steps: their ends are learned; --window N")
    assert [np.sum(~np.isnan(x)) for x in whole.x_NTD] == [len(line.split()) for line in lines]
    found = load(str(tmp_path / "x.txt"), window=8)
    assert len(found.x_NTD) == sum(len(line.split()) - 7 for line in lines)
    assert found.x_NTD[0, :, 0].tolist() == [float(v) for v in lines[0].split()[:8]]


# ------------------------------------------------------------------ missing values


def test_sentinels_are_asked_about_and_declared(tmp_path):
    x = np.stack([walk(200, 0.1, 2), walk(200, 0.1, 20)], 1)
    holes = x.copy()
    holes[[5, 80, 81, 150]] = -200
    rows = [(day, *row) for day, row in zip(days(200), holes.tolist(), strict=True)]
    path = write(tmp_path / "x.csv", rows, ("date", "a", "b"))
    said = r"-200 in 'a' \(4 times\), 'b' .*--missing-values -200\. If it is"
    with pytest.raises(DataError, match=said):
        load(path)
    filled = load(path, missing_values=["-200"], missing="interpolate")
    assert filled.x_NTD.min() > -100
    assert filled.form.columns[0].missing == pytest.approx(0.02)
    assert noted(filled, "the longest gap has 2 steps")
    kept = load(path, missing_values=["nan"])
    assert kept.x_NTD.min() == -200
    with pytest.raises(UsageError, match=r"--missing-values says .* say --missing model"):
        load(path, missing_values=["-200"], missing="error")
    around = load(path, missing_values=["-200"])
    assert noted(around, "a: 2.00% missing; b: 2.00% missing, learned around")


def test_words_for_missing_values(tmp_path):
    rows = [(v, "?" if i == 7 else v + 0.5) for i, v in enumerate(walk(60))]
    path = write(tmp_path / "x.csv", rows, "ab")
    with pytest.raises(DataError, match=r"x\.csv:9:\d+: '\?' is not .*--missing-values '\?'"):
        load(path)
    found = load(path, missing_values=["?"], missing="drop", window=4)
    assert len(found.x_NTD) == 57 - 4


def test_long_gaps_are_not_filled(tmp_path):
    x = walk(100)
    rows = [(i % 7, "" if 30 <= i < 37 or i == 60 else v) for i, v in enumerate(x)]
    path = write(tmp_path / "x.csv", rows, "ab")
    found = load(path, missing="interpolate", window=5)
    assert noted(found, "the longest gap has 7 steps, more than --limit 5")
    assert len(found.x_NTD) == 96 - 11
    assert len(load(path, missing="interpolate", window=5, limit=7).x_NTD) == 96
    with pytest.raises(UsageError, match="--limit has no meaning"):
        load(path, missing="drop", limit=3)


@pytest.mark.parametrize("pad", ["nan", "0"])
def test_padding_is_unequal_length(tmp_path, pad):
    lengths = RNG.integers(5, 11, 40)
    rows = [[*walk(int(n), level=50).tolist(), *[pad] * (10 - int(n))] for n in lengths]
    path = write(tmp_path / "x.txt", rows, separator=" ")
    if pad == "0":
        with pytest.raises(DataError, match=r"--missing-values 0.*nan"):
            load(path)
    if pad == "nan":
        assert (np.isnan(load(path).x_NTD[..., 0]).sum(axis=1) == 10 - lengths).all()
        assert len(load(path, window=5).x_NTD) == sum(int(n) - 4 for n in lengths)
    else:
        assert load(path, missing_values=["nan"]).x_NTD.shape == (40, 10, 1)


# ------------------------------------------------------------------ columns


def test_the_form_says_what_columns_are(tmp_path):
    flags = [i % 5 == 0 for i in range(300)]
    rows = [
        (*cells, 7)
        for cells in zip(
            days(300),
            flags,
            ["red", "blue", "red"] * 100,
            [f"no. {i}" for i in range(300)],
            RNG.poisson(0.2, 300),
            walk(300, 1, 90).round(2),
            strict=True,
        )
    ]
    header = ("date", "open", "colour", "remark", "sold", "price", "level")
    found = load(write(tmp_path / "x.csv", rows, header))
    forms = {column.name: column for column in found.form.columns}
    assert list(forms) == ["open", "colour", "sold", "price", "level"]
    kinds = {name: form.kind for name, form in forms.items()}
    assert kinds == {
        "open": "yes/no",
        "colour": "categorical",
        "sold": "count",
        "price": "grid",
        "level": "constant",
    }
    assert forms["colour"].categories == ("blue", "red")
    assert forms["open"].dtype == "bool"
    assert (forms["sold"].dtype, forms["sold"].grid) == ("int64", 1.0)
    assert (forms["price"].decimals, forms["price"].grid) == (2, 0.01)
    assert found.form.order == header
    assert dict(found.form.left_out)["remark"].startswith("words (300 different)")
    assert noted(found, "left out column 'remark': words (300 different): at most 50 are learned")
    assert noted(found, "'colour' is learned as a category of 2: blue, red")


def test_atoms_are_values_with_a_share(tmp_path):
    x = np.where(RNG.random(400) < 0.8, 0, RNG.gamma(2, 3, 400).round(3))
    found = load(write(tmp_path / "x.csv", zip(days(400), x, strict=True), ("d", "rain")))
    ((value, share),) = found.form.columns[0].atoms
    assert value == 0
    assert share == np.mean(x == 0)


# ------------------------------------------------------------------ frames


def frame(steps=60):
    return pd.DataFrame(
        {"temp": walk(steps, level=20), "load": walk(steps, 10, 1000)},
        index=pd.date_range("2021-01-01", periods=steps, freq="h", name="when"),
    )


def test_frames_are_series_with_their_index_as_time():
    df = frame()
    found = from_python(df, DataConfig(window=24))
    assert (found.names, found.form.time.name, found.form.time.rule) == (
        df.columns.tolist() and ("temp", "load"),
        "when",
        "h",
    )
    assert np.array_equal(found.x_NTD[3], df.to_numpy()[3:27])
    as_column = from_python(df.reset_index(), DataConfig(window=24))
    assert np.array_equal(as_column.x_NTD, found.x_NTD)
    one = from_python(df["temp"], DataConfig(window=24))
    assert np.array_equal(one.x_NTD[..., 0], found.x_NTD[..., 0])
    backwards = from_python(df[::-1], DataConfig(window=24))
    assert np.array_equal(backwards.x_NTD, found.x_NTD)


def test_panels_of_pandas():
    parts = {f"s{n}": frame(12) for n in range(25)}
    together = pd.concat(parts, names=["store"])
    x = np.stack([part.to_numpy() for part in parts.values()])
    tall = together.reset_index()
    for found in (
        from_python(together, DataConfig()),
        from_python(tall, DataConfig(), id="store", time="when"),
        from_python(list(parts.values()), DataConfig()),
    ):
        assert np.array_equal(found.x_NTD, x)
        assert found.names == ("temp", "load")
    gappy = tall.astype({"load": "Float64"})
    gappy.loc[3, "load"] = pd.NA
    with pytest.raises(DataError, match="column 'load', row 4: the value is missing"):
        from_python(gappy, DataConfig(missing="error"))
    assert len(from_python(gappy, DataConfig(missing="drop")).x_NTD) == 24


def test_fit_takes_a_frame_with_id_and_time():
    df = pd.concat({n: frame(40) for n in range(6)}, names=["store"]).reset_index()
    model = SeqGAN(window=8, **TINY).fit(df, id="store", time="when")
    assert model.description.names == ("temp", "load")
    assert model.sample(3).shape == (24, 4)
    with pytest.raises(DataError, match="there is no column 'shop'"):
        SeqGAN(**TINY).fit(df, id="shop")
    with pytest.raises(UsageError, match=r"^id: .* no meaning"):
        SeqGAN(**TINY).fit(RNG.normal(size=(30, 4)), id="store")
    with pytest.raises(UsageError, match=r"^features: .* no meaning"):
        SeqGAN(features=2, **TINY).fit(df)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"layout": "rows", "time": ["date"]}, "--time has no meaning for --layout rows"),
        ({"layout": "series", "id": ["v"]}, "--id has no meaning for --layout series"),
        ({"layout": "series", "label": "v"}, "--label has no meaning for --layout series"),
        ({"features": 2}, "--features has no meaning"),
        ({"layout": "tall"}, "--layout 'tall' is unknown"),
        ({"time": "date"}, "time must be a list of names"),
    ],
)
def test_flags_without_meaning(tmp_path, flags, said):
    path = write(tmp_path / "x.csv", zip(days(60), walk(60), strict=True), ("date", "v"))
    with pytest.raises(UsageError, match=said):
        load(path, **flags)


def test_ids_and_steps_with_wrong_lines_are_asked_about(tmp_path):
    """A typing error in a table of sequences does not make one series of it."""
    lines = [f"{n},{s},{np.sin(7 * n + s):.3f}" for n in range(24) for s in range(4)]
    good = tmp_path / "good.csv"
    good.write_text("\n".join(["sequnce,stp,x", *lines]) + "\n")
    assert load(str(good)).x_NTD.shape == (24, 4, 1)
    lines[41] = "1,1,0.656"
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join(["sequnce,stp,x", *lines]) + "\n")
    with pytest.raises(DataError, match=r"not in all lines.*--id sequnce --time stp") as caught:
        load(str(bad))
    assert "--layout series" in str(caught.value)
    assert load(str(bad), layout="series").x_NTD.shape[2] == 3
