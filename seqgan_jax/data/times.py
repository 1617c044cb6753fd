"""Time indices: dates, epochs and counters; their step, and where it is broken.

Times are whole numbers of ticks, `per_second` of them a second; plain numbers are float64.
"""

import contextlib
import dataclasses
import datetime
import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqgan_jax.data.form import TimeForm
from seqgan_jax.data.tables import Column, is_gone
from seqgan_jax.errors import DataError

DAY = 86_400
EARLIEST = 30  # 1930, as spreadsheets have it: the first of years of two digits
MONTH = 30.4375 * DAY
JITTER = 0.5  # of a step: less is no gap
IRREGULAR = 10.0  # steps, where steps vary: more is a gap
CLOSED = 6  # weekdays without a row that are holidays
NAMES = {"time", "date", "datetime", "timestamp", "ts", "t", "step", "cycle", "day", "hour", "week"}
NAMES |= {"elapsed", "jd", "mjd", "bjd", "hjd"}  # Julian days
PARTS = ("year", "month", "day", "hour", "minute", "second")
QUARTER, WEEK, DAY_OF_YEAR = "quarter", "week", "day of year"
# What may be a time together, a year and what is below it.
CALENDARS = ((*PARTS, QUARTER), ("year", WEEK), ("year", DAY_OF_YEAR, *PARTS[3:]))
_SHORT = {"yr": "year", "mo": "month", "mon": "month", "yyyy": "year", "mm": "month", "dd": "day"}
_SHORT |= {"hh": "hour", "hr": "hour", "min": "minute", "sec": "second", "qtr": QUARTER}
_SHORT |= {"iso_year": "year", "isoyear": "year", "wk": WEEK, "iso_week": WEEK, "isoweek": WEEK}
_SHORT |= {"week_of_year": WEEK, "weekofyear": WEEK, "doy": DAY_OF_YEAR, "yday": DAY_OF_YEAR}
_SHORT |= {"day_of_year": DAY_OF_YEAR, "dayofyear": DAY_OF_YEAR}
_DATES = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y"),
    *("%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y"),
    *("%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y", "%Y-%m", "%Y/%m", "%m/%Y", "%b %Y"),
    *("%b-%Y", "%B %Y", "%Y%m%d", "%Y %b", "%Y-%b", "%Y %B", "%b-%d-%Y", "%b-%y", "%b %y"),
    *("%YM%m", "%Y-M%m", "%a %b %d %Y", "%a, %d %b %Y", "%A, %B %d, %Y", "%A, %d %B %Y"),
    *("%d%b%Y", "%d. %b %Y", "%d. %B %Y", "%y-%m-%d", "%d-%m-%y", "%m-%d-%y"),
)
# %q is the quarter, as of the periods of pandas; weeks are those of ISO 8601.
_PERIODS = ("%YQ%q", "%Y-Q%q", "%Y Q%q", "%Y:Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "%G-W%V", "%GW%V")
_HOURS = (
    *("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H.%M.%S", "%I:%M:%S %p", "%I:%M %p", "%H%M%S", "%H"),
    *("%H:%M:%S%z", "%H:%M:%S.%f%z", "%H:%M%z", "%H:%M:%S %z", "%H%M%S%z"),
    *("%I:%M:%S%p", "%I:%M%p", "%H:%M:%S UTC", "%H:%M:%S.%f UTC", "%H:%M UTC", "%H:%M:%S GMT"),
)
FORMATS = (
    *(*_DATES, *_PERIODS, "%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%d%b%Y:%H:%M:%S"),
    *(f"{d}{s}{h}" for d in _DATES for s in (" ", "T", ", ", "  ") for h in _HOURS),
)
_MARKS = {
    form: re.sub(r"%.|[A-Z]", "", form) for form in FORMATS
}  # what is between letters and digits
_MONTHS = {  # German and French names, without accents, that are no English ones
    name: month
    for month, names in {
        "Jan": "januar janner janvier janv",
        "Feb": "februar feber fevrier fevr fev",
        "Mar": "marz maerz mrz mars",
        "Apr": "avril avr",
        "May": "mai",
        "Jun": "juni juin",
        "Jul": "juli juillet juil",
        "Aug": "aout",
        "Sep": "septembre",
        "Oct": "oktober okt octobre",
        "Nov": "novembre",
        "Dec": "dezember dez decembre",
    }.items()
    for name in names.split()
}
_SAME = {"april": "Apr", "august": "Aug", "september": "Sep", "sept": "Sep", "november": "Nov"}
_SHORT_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = ("january", "february", "march", "june", "july", "october", "december")
_MONTH_NAME = re.compile(r"[^\W\d_]{3,}\.?")
_MIDNIGHT = re.compile(r"(?<=[ T])24(?=:?00)")  # of the day before
_ZONES = ("", "+:", "-:", "+", "-")
EPOCHS = {"epoch s": 1, "epoch ms": 10**3, "epoch us": 10**6, "epoch ns": 10**9}
MANY = 20  # rows that show what a column is
LEAST_DATES = 0.8  # of the rows of a column of dates with something else between
FINE = 10  # units of the last decimal in a step that is rounded


@dataclass(frozen=True, eq=False)
class Times:
    """A time index, a time for each of L rows."""

    name: str
    kind: str  # as TimeForm's
    ticks: np.ndarray  # [L] int64, float64 where kind is "number"
    per_second: int
    format: str = ""
    timezone: str = ""


@dataclass(frozen=True, eq=False)
class Steps:
    """The step of a time index whose rows are in order, and between which rows it is broken."""

    step: float  # ticks
    rule: str
    broken: np.ndarray  # [L - 1] bool
    words: str  # of the step
    regular: bool = field(default=True, repr=False)


def of_words(name: str, columns: Sequence[Column], known: str = "") -> Times | None:
    """The dates in columns of words, joined by a blank; None where they are no dates.

    A format that is `known` is tried first.

    Raises:
      DataError: day and month cannot be told apart.
    """
    import pandas as pd

    values = columns[0].values
    if any(is_gone(column).any() for column in columns):
        return None
    if len(columns) == 1 and all(isinstance(v, datetime.date) for v in values[:MANY]):
        try:
            found = pd.DatetimeIndex(values)
        except (ValueError, TypeError):
            return None
        return _times(name, found, "%Y-%m-%d" if _are_days(found) else "%Y-%m-%d %H:%M:%S")
    if not all(isinstance(v, str) for v in values[:MANY]):
        return None
    if len(columns) > 1:
        parts = [[str(v) for v in column.values] for column in columns]
        values = np.array([" ".join(each) for each in zip(*parts, strict=True)], object)
    if known and (index := _parsed(values, known)) is not None:
        return _times(name, index, known)
    if (english := _in_english(values)) is not None:
        times = of_words(name, [Column(name, "words", english, "str")])
        return times and dataclasses.replace(times, format="")
    last = set(_formats_of(values[-1]))
    likely = [form for form in _formats_of(values[0]) if form in last]
    read = [(form, index) for form in likely if (index := _parsed(values, form)) is not None]
    if not read and re.match(r"\d{4}-\d\d-\d\d[ T]", values[0]):
        index = _parsed(values, "ISO8601")
        read = [] if index is None else [("%Y-%m-%d %H:%M:%S.%f", index)]
    if not read:
        return None
    found = [_times(name, index, form) for form, index in read]
    kept = {times.ticks.tobytes(): times for times in reversed(found)}
    if len(kept) == 1:
        return found[0]
    regular = [np.mean(~infer(t, np.unique(t.ticks)).broken) for t in found]
    best = np.flatnonzero(np.array(regular) >= max(regular) - 1e-9)
    if len({found[i].ticks.tobytes() for i in best}) > 1:
        is_year = read[0][0].startswith("%y") != read[1][0].startswith("%y")
        raise DataError(
            f"column {name!r}: {values[0]!r} may be {read[0][0]} or {read[1][0]}: nothing in the "
            f"column shows which is the day and which the {'year' if is_year else 'month'}. Write "
            "dates as 2021-02-28."
        )
    return found[int(best[0])]


def _in_english(values: np.ndarray) -> np.ndarray | None:
    """Dates with German or French names of months with short English ones; None without such."""
    if not re.search(r"[^\W\d_]{3}", values[0]) or not re.search(r"\d", values[0]):
        return None
    for texts in (list(map(str, values[:: 1 + len(values) // 50])), list(map(str, values))):
        names = {name: _plain(name) for text in texts for name in _MONTH_NAME.findall(text)}
        if not set(names.values()) & set(_MONTHS):  # a few rows tell most columns
            return None
    months = {name: (_MONTHS | _SAME).get(plain, plain.title()) for name, plain in names.items()}
    return np.array([_MONTH_NAME.sub(lambda word: months[word[0]], t) for t in texts], object)


def _plain(name: str) -> str:
    """A name in small letters without accents, and without the point of what is cut.

    >>> _plain("Févr."), _plain("März")
    ('fevr', 'marz')
    """
    letters = unicodedata.normalize("NFKD", name.lower().rstrip("."))
    return "".join(each for each in letters if not unicodedata.combining(each))


def not_dates(column: Column) -> np.ndarray:
    """The rows [K] that have no date in a column of which nearly all have; none where they do not.

    >>> days = np.array([*(f"2021-01-{day:02}" for day in range(1, 31)), "Total"], object)
    >>> not_dates(Column("day", "words", days, "str")).tolist()
    [30]
    """
    import pandas as pd

    there = np.flatnonzero(~is_gone(column))
    nothing = np.zeros(0, int)
    if column.kind != "words" or len(there) < LEAST_DATES * len(column.values):
        return nothing
    values = column.values
    texts = np.array([v if isinstance(v, str) else None for v in values], object)
    some = [v for v in texts[there[[0, len(there) // 2, -1]]] if v is not None]
    likely = {form for text in some for form in _formats_of(text)}
    bad = [~np.array([isinstance(v, datetime.date) for v in values])]
    for form in likely:
        plain, days = _as_plain_days(texts, form) if form in _PERIODS else (texts, form)
        found = pd.to_datetime(pd.Index(plain), format=days, errors="coerce", utc=True)
        bad.append(np.asarray(found.isna()))
    rows = min(bad, key=np.count_nonzero)
    is_date = len(rows) - np.count_nonzero(rows) >= LEAST_DATES * len(rows)
    return np.flatnonzero(rows) if is_date else nothing


@functools.lru_cache
def _with_marks(marks: str) -> tuple[str, ...]:
    """Formats with these marks between letters and digits: a pattern is compiled for each."""
    zones = {form: _ZONES if "%z" in form else ("",) for form in FORMATS}
    return tuple(form for form in FORMATS if any(marks == _MARKS[form] + z for z in zones[form]))


def _formats_of(token: str) -> list[str]:
    """The formats that a token may be of."""
    found = []
    for form in _with_marks(re.sub(r"\w+", "", token)):
        try:
            datetime.datetime.strptime(*_as_days(token, form))
        except ValueError:
            continue
        found.append(form)
    return found


def _parsed(values: np.ndarray, form: str) -> Any:
    """A DatetimeIndex, None where one of the values is not of the form."""

    try:
        found = dates_of(values, form, utc="%z" in form or None)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if found.isna().any() else found


def dates_of(values: Any, form: str, utc: bool | None = None) -> Any:
    """A DatetimeIndex of texts in a form, or of what pandas reads where it is "". ValueError."""
    import pandas as pd

    late = None
    if (form in _PERIODS) and len(values):
        pairs = [_as_days(value, form) for value in values]
        values, form = [text for text, _ in pairs], pairs[0][1]
    elif "%H" in form and any(isinstance(v, str) and "24" in v for v in values):
        late = [_MIDNIGHT.search(value) is not None for value in values]
        values = [_MIDNIGHT.sub("00", value) for value in values]
    found = pd.DatetimeIndex(pd.to_datetime(pd.Index(values), format=form or None, utc=utc))
    if "%y" in form and len(found) and not found.isna().any():
        shift = _whole_years(found.year.to_numpy() % 100) - found.year.to_numpy()
        for years in np.unique(shift[shift != 0]).tolist():
            found = found.where(shift != years, found + pd.DateOffset(years=years))
    return found if late is None else found + pd.to_timedelta(np.array(late, int), unit="D")


def _whole_years(two: np.ndarray) -> np.ndarray:
    """Years of two digits with their century: they begin after the longest run of years without a
    date, in 1930 to 2029.

    >>> _whole_years(np.array([62, 99, 0, 6])), _whole_years(np.array([21, 35]))
    (array([1962, 1999, 2000, 2006]), array([2021, 2035]))
    """
    there = np.unique(two)
    first = there[(np.diff(there, append=there[0] + 100).argmax() + 1) % len(there)]
    begin = first + (1900 if first >= EARLIEST else 2000)
    found: np.ndarray = begin + (two - first) % 100
    return found


def texts_of(index: Any, form: str) -> Any:
    """The inverse of `dates_of`.

    >>> list(texts_of(dates_of(["1974Q1", "1974Q4"], "%YQ%q"), "%YQ%q"))
    ['1974Q1', '1974Q4']
    """
    return (index.to_period("Q") if "%q" in form else index).strftime(form)


def _as_days(text: str, form: str) -> tuple[str, str]:
    """A quarter as its first month, a week as its first day, midnight as 00:00, which strptime
    knows; ValueError where there is no quarter."""
    if form in _PERIODS and "%V" in form:
        return f"{text}-1", f"{form}-%u"
    if "%q" not in form:
        return _MIDNIGHT.sub("00", text), form
    text, number = re.subn(r"(?<=Q)[1-4]\b", lambda found: f"{3 * int(found[0]) - 2:02d}", text)
    if number != 1:
        raise ValueError(f"{text!r} is no quarter")
    return text, form.replace("%q", "%m")


def _as_plain_days(texts: np.ndarray, form: str) -> tuple[np.ndarray, str]:
    """`_as_days` of many texts, None where one is no quarter, and their form."""
    plain: np.ndarray = np.full(len(texts), None, object)
    for i, text in enumerate(texts):
        with contextlib.suppress(ValueError, TypeError):
            plain[i] = _as_days(text, form)[0]
    return plain, _as_days("Q1", form)[1]


def are_dates(names: Sequence[str]) -> bool:
    """Whether names, as of the columns of a table, are dates one after the other.

    >>> are_dates(["1/30/20", "1/31/20", "2/1/20"]), are_dates(["a", "b", "c"])
    (True, False)
    """
    if len(names) < 3 or not all(re.search(r"\d", name) for name in (names[0], names[-1])):
        return False
    try:
        found = of_words("", [Column("", "words", np.array(names, object), "str")])
    except DataError:  # of which day and month cannot be told apart
        return True
    return found is not None and bool(abs(np.sign(np.diff(found.ticks)).sum()) == len(names) - 1)


def _are_days(index: Any) -> bool:
    return bool((index == index.normalize()).all())


def _times(name: str, index: Any, form: str) -> Times:
    zone = "" if index.tz is None else str(index.tz)
    if index.tz is not None:
        index = index.tz_convert("UTC").tz_localize(None)
    return Times(name, "datetime", index.as_unit("us").asi8, 10**6, form, zone)


def of_parts(columns: Sequence[Column]) -> Times | None:
    """The time in columns that are called year, month, day, hour, ...; None where there is none.

    Weeks are those of ISO 8601, from Monday on.

    Raises:
      DataError: weeks of another kind.
    """
    import pandas as pd

    parts = {part_of(column.name): column for column in columns}
    if any(column.exact is None for column in parts.values()) or "year" not in parts:
        return None
    given = {part: column.exact for part, column in parts.items() if column.exact is not None}
    year = given["year"]
    if year[0] > 1 and year.min() >= 0 and year.max() < 100:  # from 0 or 1 they count the years
        given["year"] = _whole_years(year)
    full: dict[str, Any] = {"month": 1, "day": 1} | given
    if (quarter := full.pop(QUARTER, None)) is not None:
        if quarter.min() < 1 or quarter.max() > 4 or "month" in given:
            return None
        full["month"] = 3 * quarter - 2
    if WEEK in full or DAY_OF_YEAR in full:
        first = _first_days(columns, full)
        if first is None:
            return None
        full |= {name: getattr(pd.DatetimeIndex(first), name) for name in PARTS[:3]}
    try:
        index = pd.DatetimeIndex(pd.to_datetime(pd.DataFrame(full)))
    except (ValueError, TypeError, OverflowError):
        return None
    return _times(" ".join(column.name for column in columns), index, "")


def _first_days(columns: Sequence[Column], given: dict[str, Any]) -> np.ndarray | None:
    """The Monday of each week or the date of each day of a year, which are taken out of `given`;
    None where there is no such year or day."""
    year = given["year"]
    if year.min() < 1700 or year.max() > 2200:
        return None
    week, day = given.pop(WEEK, None), given.pop(DAY_OF_YEAR, None)
    begin, end = (_first_weeks(y) if day is None else _new_years(y) for y in (year, year + 1))
    found: np.ndarray = begin + (7 * (week - 1) if day is None else day - 1)
    wrong = np.flatnonzero((found < begin) | (found >= end))
    if day is not None or not len(wrong):
        return None if len(wrong) else found.astype("M8[s]")
    names = " and ".join(repr(column.name) for column in columns)
    raise DataError(
        f"columns {names}: there is no week {week[wrong[0]]} in {year[wrong[0]]} by ISO 8601, and "
        "nothing shows on which day weeks begin. Write the date of a day of each week instead, as "
        "2021-02-28; or, if the year names a sequence, say --id and --time."
    )


def _new_years(year: np.ndarray) -> np.ndarray:
    return (year - 1970).astype("M8[Y]").astype("M8[D]")


def _first_weeks(year: np.ndarray) -> np.ndarray:
    """The Monday of the week that 4 January is in."""
    fourth = _new_years(year) + 3
    return fourth - (fourth.astype(int) + 3) % 7


def parts_of(index: Any, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The inverse of `of_parts`: whole numbers by the name of the column.

    >>> import pandas as pd
    >>> parts_of(pd.DatetimeIndex(["2020-12-28", "2021-01-04"]), ["year", "wk"])
    {'year': array([2020, 2021]), 'wk': array([53,  1])}
    """
    parts = {name: part_of(name) for name in names}
    weeks = index.isocalendar()
    values = {name: getattr(index, name) for name in (*PARTS, QUARTER)}
    values |= {DAY_OF_YEAR: index.day_of_year, WEEK: weeks["week"]}
    if WEEK in parts.values():
        values["year"] = weeks["year"]
    return {name: np.asarray(values[part], np.int64) for name, part in parts.items()}


def in_numbers(column: Column) -> Column:
    """A column that is called month or quarter in numbers, where it holds names of months or Q1 to
    Q4; any other as it is.

    >>> months = Column("Month", "words", np.array(["Jan", "März", "December"], object), "str")
    >>> in_numbers(months).exact, in_numbers(dataclasses.replace(months, name="x")).exact
    (array([ 1,  3, 12]), None)
    """
    part = part_of(column.name)
    if column.kind != "words" or part not in ("month", QUARTER) or is_gone(column).any():
        return column
    words = {word: _plain(str(word)) for word in set(column.values)}
    if part == QUARTER:
        numbers = {w: int(p[1]) for w, p in words.items() if re.fullmatch("q[1-4]", p)}
    else:
        short = {w: (_MONTHS | _SAME).get(p, p[:3]).lower() for w, p in words.items()}
        names = {*_SHORT_MONTHS, *_LONG_MONTHS, *_MONTHS, *_SAME}
        good = [w for w, p in words.items() if p in names]
        numbers = {w: _SHORT_MONTHS.index(short[w]) + 1 for w in good}
    if len(numbers) < len(words):
        return column
    exact = np.array([numbers[word] for word in column.values], np.int64)
    return dataclasses.replace(column, kind="number", values=exact.astype(float), exact=exact)


def part_of(name: str) -> str:
    """year, quarter, month, week, day of year, day, hour, minute, second, where a column is called
    so; else ""."""
    lower = name.strip().lower()
    lower = _SHORT.get(lower, lower)
    return lower if lower in (*PARTS, QUARTER, WEEK, DAY_OF_YEAR) else ""


def are_parts(names: Sequence[str]) -> bool:
    """Whether columns so called are a time: year, month, ... in any order, year and quarter, or
    week, or day of the year."""
    parts = {part_of(name) for name in names}
    of_days = {"year", DAY_OF_YEAR, *PARTS[3 : 1 + len(parts)]}
    is_time = parts in (set(PARTS[: len(parts)]), {"year", QUARTER}, {"year", WEEK}, of_days)
    return is_time and 1 < len(parts) == len(names)


def is_named(name: str) -> bool:
    """Whether a column is called as a time index is, with or without its unit.

    >>> is_named("Time [s]"), is_named("elapsed_time"), is_named("JD"), is_named("daytime load")
    (True, True, True, False)
    """
    bare = re.sub(r"[\s_]*[\[(].*", "", name.lower())
    return bare in NAMES or re.fullmatch(r"([a-z]+[ _])?(time|timestamp)", bare) is not None


def is_time(times: Times) -> bool:
    """Whether more than that its numbers count says that a time index is one."""
    return times.kind != "number" or is_named(times.name) or bool(part_of(times.name))


def is_date(name: str) -> bool:
    """Whether a column is called as dates are, and hardly another number.

    >>> is_date("Date"), is_date("Flight Date"), is_date("day"), is_date("time [s]")
    (True, True, False, False)
    """
    return re.fullmatch(r"(.*[_ ])?(date|datetime|timestamp)", name.strip().lower()) is not None


def of_numbers(column: Column, is_named: bool) -> Times | None:
    """An epoch or date in whole numbers; with `is_named` any number is taken as it is.

    Only numbers that go one way all the time are an epoch, unless the column is named.
    """
    if column.kind != "number" or not np.isfinite(column.values).all():
        return None
    ticks = column.exact
    if ticks is None and np.all(column.values == np.rint(column.values)):
        with np.errstate(invalid="ignore"):
            ticks = column.values.astype(np.int64)
    if ticks is not None and len(ticks):
        ticks = ticks.astype(np.int64)
        low, high = int(ticks.min()), int(ticks.max())
        named = is_named or column.name.lower() in NAMES or "time" in column.name.lower()
        one_way = bool(np.all(np.diff(ticks) > 0) or np.all(np.diff(ticks) < 0))
        if low >= 19000101 and high <= 21001231 and (named or one_way):
            text = Column(column.name, "words", ticks.astype(str).astype(object), "str")
            if (found := of_words(column.name, [text])) is not None:
                return found
        for form, first, last in (  # before epochs, which would be of 2034 and of 1976
            ("%Y%m%d%H", 1900_0101_00, 2100_1231_23),
            ("%Y%m%d%H%M", 1900_0101_0000, 2100_1231_2359),
            ("%Y%m%d%H%M%S", 1900_0101_000000, 2100_1231_235959),
        ):
            if first <= low and high <= last and (named or one_way):
                index = _parsed(ticks.astype(str).astype(object), form)
                if index is not None:
                    return _times(column.name, index, form)
        for form, first, last, likely in (
            ("%y%m%d", 10_101, 991_231, "date" in column.name.lower()),
            ("%Y%m", 190_001, 210_012, True),
            ("%Y%j", 1_900_001, 2_100_366, column.name.lower() in NAMES),
        ):
            if not (likely and one_way and first <= low and high <= last and len(ticks) >= MANY):
                continue
            short = np.array([f"{tick:06d}" for tick in ticks.tolist()], object)
            if (index := _parsed(short, form)) is not None:
                return _times(column.name, index, form)
        for kind, per_second in EPOCHS.items():
            inside = 10**8 * per_second <= low and high <= 5 * 10**9 * per_second
            if inside and (named or one_way):
                return Times(column.name, kind, ticks, per_second)
    if is_named:
        return Times(column.name, "number", np.asarray(column.values, np.float64), 1)
    return None


def of_date_and_clock(date: Column, clock: Column, is_named: bool = False) -> Times | None:
    """The time in 20210301 and 93000 (or 930) beside it; None where these are none, or, unless they
    are named as a time, do not rise."""
    if date.exact is None or clock.exact is None or date.exact.min() < 19_000_101:
        return None
    day, high = date.exact, int(clock.exact.max())
    if day.max() > 21_001_231 or clock.exact.min() < 0 or not 0 < high <= 235_959:
        return None
    form, width = ("%Y%m%d %H%M", 4) if high <= 2359 else ("%Y%m%d %H%M%S", 6)
    pairs = zip(day.tolist(), clock.exact.tolist(), strict=True)
    found = _parsed(np.array([f"{d} {c:0{width}d}" for d, c in pairs], object), form)
    if found is None:
        return None
    if not (is_named or (found.is_unique and found.is_monotonic_increasing)):
        return None
    if not is_named and len(np.unique(day)) == len(day):  # days alone are a time
        return None
    return _times(f"{date.name} {clock.name}", found, form)


def counting(column: Column) -> bool:
    """Whether a column of numbers goes on in equal steps, up to its last decimal: 1990.083."""
    x = column.values
    if column.kind != "number" or len(x) < 3 or not np.isfinite(x).all():
        return False
    steps = np.diff(x)
    scale = np.abs(x).max() * 1e-12
    if steps[0] != 0 and np.all(np.abs(steps - steps[0]) <= scale):
        return True
    unit = next((10.0**-k for k in range(1, 9) if np.array_equal(np.round(x, k), x)), 0.0)
    even = np.abs(x - np.linspace(x[0], x[-1], len(x))).max() <= 1.01 * unit
    return bool(even and len(x) >= MANY and np.abs(steps).min() >= FINE * unit > 0)


def infer(times: Times, ticks: np.ndarray) -> Steps:
    """The step of ticks that go up, and where it is broken.

    >>> days = Times("d", "datetime", np.arange(5) * 86_400 * 10**6, 10**6)
    >>> infer(days, np.delete(days.ticks, 3))
    ... # doctest: +ELLIPSIS
    Steps(step=86400000000.0, rule='D', broken=array([False, False,  True]), words='1 day')
    """
    return infer_many(times, [ticks])


def infer_many(times: Times, groups: Sequence[np.ndarray]) -> Steps:
    """`infer` of several sequences with one step; `broken` of all, one after the other."""
    gaps = np.concatenate([np.diff(ticks) for ticks in groups])
    if len(gaps) == 0:
        return Steps(1.0, "", np.zeros(0, bool), "unknown")
    if times.kind == "datetime":
        calendar = _months(times, groups) or _weekdays(times, groups, gaps)
        if calendar is not None:
            return calendar
    if times.kind == "number":
        scale = max(float(np.abs(ticks).max()) for ticks in groups) * 1e-9
        rounded = np.rint(gaps / scale) * scale if scale > 0 else gaps
    else:
        rounded = gaps
    values, counts = np.unique(rounded, return_counts=True)
    step = float(np.median(gaps[rounded == values[counts.argmax()]]))
    if counts.max() < 0.5 * len(gaps):
        step = float(np.median(gaps))
    within = np.abs(gaps - step) <= JITTER * step
    words = span(step / times.per_second) if times.kind != "number" else f"{step:.6g}"
    on_grid = np.all(np.abs(gaps / step - np.rint(gaps / step)) < 1e-6) if step else False
    if within.mean() < 0.9 and not on_grid and np.median(gaps) > 0:
        middle = float(np.median(gaps))
        words = about(middle / times.per_second) if times.kind != "number" else f"{middle:.6g}"
        broken = gaps > IRREGULAR * middle
        return Steps(middle, "", broken, f"irregular, about {words}", regular=False)
    rule = alias(step / times.per_second) if times.kind != "number" else ""
    return Steps(step, rule, ~within, words)


def _dates(times: Times, ticks: np.ndarray) -> np.ndarray:
    return (ticks // (times.per_second // 10**6 or 1)).astype("M8[us]")


def _months(times: Times, groups: Sequence[np.ndarray]) -> Steps | None:
    """Steps of whole months, None where there are none."""
    months, days, ends, rest = [], [], [], []
    for ticks in groups:
        stamp = _dates(times, ticks)
        month, day = stamp.astype("M8[M]"), stamp.astype("M8[D]")
        months.append(np.diff(month.astype(int)))
        days.append((day - month).astype(int) + 1)
        ends.append((day + 1).astype("M8[M]") != month)
        rest.append((stamp - day).astype(int))
    steps, day, end = np.concatenate(months), np.concatenate(days), np.concatenate(ends)
    clock = np.concatenate(rest)
    if len(steps) == 0 or steps.min() < 1 or np.any(clock != clock[0]):
        return None
    if not end.all() and np.any(day != day[0]):
        return None
    values, counts = np.unique(steps, return_counts=True)
    k = int(values[counts.argmax()])
    letter = "S" if day[0] == 1 and np.all(day == 1) else "E" if end.all() else ""
    rule = {1: "M", 3: "Q", 12: "Y"}.get(k, f"{k}M") + letter if letter else ""
    words = {1: "1 month", 3: "3 months", 12: "1 year"}.get(k, f"{k} months")
    return Steps(MONTH * k * times.per_second, rule, steps != k, words)


def _weekdays(times: Times, groups: Sequence[np.ndarray], gaps: np.ndarray) -> Steps | None:
    """Steps from weekday to weekday, holidays left out; None where there are none."""
    day = DAY * times.per_second
    if len(gaps) < MANY or np.any(gaps % day) or not np.any(gaps == 3 * day):
        return None
    stamps = [_dates(times, ticks).astype("M8[D]") for ticks in groups]
    if not all(np.is_busday(stamp).all() for stamp in stamps):
        return None
    each = [np.busday_count(stamp[:-1], stamp[1:]) for stamp in stamps]
    steps = np.concatenate(each)
    if np.mean(steps == 1) < 0.8:
        return None
    closed = max(int(np.sum(step[(step > 1) & (step <= CLOSED)] - 1)) for step in each)
    words = "weekdays" + f" ({closed} of them without a row: holidays)" * (closed > 0)
    return Steps(float(day), "B", steps > CLOSED, words)


_UNITS = (("D", "day", DAY), ("h", "hour", 3600), ("min", "minute", 60), ("s", "second", 1))


def local_seconds(seconds: np.ndarray, timezone: str) -> np.ndarray:
    """Seconds since 1970 by the clocks of a time zone, "" for as they are.

    >>> local_seconds(np.array([0.0]), "Europe/Berlin").tolist()
    [3600.0]
    """
    if timezone in ("", "UTC"):
        return seconds
    import pandas as pd

    index = pd.DatetimeIndex(np.rint(seconds.ravel() * 1e6).astype("M8[us]"), tz="UTC")
    there = index.tz_convert(timezone).tz_localize(None)
    return there.as_unit("us").asi8.reshape(seconds.shape) / 1e6


def seconds_of(times: Times) -> np.ndarray:
    """Seconds since 1970 UTC of a time index that is no plain number, [L] float64."""
    return times.ticks / times.per_second


def repeated_by(times: Times, values_L: np.ndarray) -> str:
    """What numbers repeat of their dates, in words, "" where they are nothing of the calendar.

    >>> times = Times("day", "datetime", np.arange(0, 86_400 * 90, 86_400), 1)  # from a Thursday
    >>> repeated_by(times, (np.arange(90) + 3) % 7), repeated_by(times, np.arange(90) % 8)
    ('day of week', '')
    """
    if times.kind == "number" or len(values_L) < 2 or np.all(values_L == values_L[0]):
        return ""
    every = 1 + len(values_L) // 200  # a few rows tell most columns
    some = dataclasses.replace(times, ticks=times.ticks[::every])
    if every > 1 and not repeated_by(some, values_L[::every]):
        return ""
    date = np.floor(seconds_of(times)).astype("datetime64[s]")
    day, month, year = (date.astype(f"datetime64[{unit}]") for unit in "DMY")
    weekday, second = day.astype(int) % 7, (date - day).astype(int)
    parts = {
        "minute": [second // 60 % 60],
        "hour": [second // 3600],
        "day of week": [(weekday + 3) % 7, (weekday + 3) % 7 + 1, (weekday + 4) % 7],
        "day of month": [(day - month).astype(int) + 1],
        "day of year": [(day - year).astype(int) + 1],
        "month": [month.astype(int) % 12 + 1],
        "year": [year.astype(int) + 1970],
    }
    return next(
        (name for name, each in parts.items() if any(np.array_equal(p, values_L) for p in each)), ""
    )


def alias(seconds: float) -> str:
    """The alias of pandas for a span of time, "" where it has none.

    >>> alias(900.0), alias(86_400.0), alias(0.02), alias(604_800.0)
    ('15min', 'D', '20ms', '7D')
    """
    for short, _, unit in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            count = int(seconds // unit)
            return short if count == 1 else f"{count}{short}"
    for short, size in (("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        count = round(seconds / size)
        if count and abs(count * size - seconds) < 1e-9 * seconds:
            return f"{count}{short}"
    return ""


def span(seconds: float) -> str:
    """A span of time in words.

    >>> span(86_400.0), span(900.0), span(0.02)
    ('1 day', '15 minutes', '0.02 s')
    """
    for _, word, size in _UNITS[:3]:
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)} {word}{'s' * (seconds != size)}"
    return f"{seconds:.6g} s"


def about(seconds: float) -> str:
    """A span of time in words, to three digits.

    >>> about(942_120.0), about(3600.0), about(0.0205)
    ('10.9 days', '1 hour', '0.0205 s')
    """
    for _, word, size in _UNITS[:3]:
        if seconds >= size:
            number = f"{seconds / size:.3g}"
            return f"{number} {word}{'s' * (number != '1')}"
    return f"{seconds:.3g} s"


def form_of(times: Times, steps: Steps) -> TimeForm:
    """What samples need to know of a time index."""
    per = times.per_second if times.kind == "datetime" else 1
    return TimeForm(
        name=times.name,
        kind=times.kind,
        step=float(steps.step / per),
        rule=steps.rule,
        start=float(times.ticks.min() / per),
        format=times.format,
        timezone=times.timezone,
    )


def steps_between(form: TimeForm, times: Times, ticks: np.ndarray) -> tuple[np.ndarray, float]:
    """Steps of the form from one tick to the next, [L - 1], and how many are a gap.

    >>> days = Times("d", "datetime", np.array([0, 1, 3]) * 86_400, 1)
    >>> steps_between(TimeForm("d", "datetime", 86_400.0, "D", 0.0, "", ""), days, days.ticks)
    (array([1., 2.]), 1.5)
    """
    if form.rule == "B":
        dates = _dates(times, ticks).astype("M8[D]")
        return np.busday_count(dates[:-1], dates[1:]).astype(float), float(CLOSED)
    most = IRREGULAR if infer(times, ticks).words.startswith("irregular") else 1.0 + JITTER
    per = times.per_second if form.kind == "datetime" else 1
    return np.diff(ticks) / (form.step * per), most


def pairs(columns: Sequence[Column]) -> list[tuple[int, ...]]:
    """Columns of words that may be a date, alone or with the next one as its hours."""
    words = [d for d, column in enumerate(columns) if column.kind == "words"]
    both = [(a, b) for a, b in itertools.pairwise(words) if b == a + 1]
    return [*both, *((d,) for d in words)]
