"""What the lines of a table are: steps of a series, sequences, or steps of several entities.

Flags decide. Without them the table's own evidence does, and where it allows two readings the user
is asked: an error that prints the flag of each.
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seqgan_jax.data import categories, rows_or_series
from seqgan_jax.data import times as clock
from seqgan_jax.data.cells import quote
from seqgan_jax.data.dialect import counts_up, numbered
from seqgan_jax.data.tables import Column, Table, is_gone
from seqgan_jax.data.times import Times
from seqgan_jax.errors import DataError, UsageError

ID_NAMES = re.compile(
    r"(.*[_ ])?(id|ids|unit|sequence|series|subject|patient|store|item|symbol|ticker|sensor|device"
    r"|station|site|machine|engine|user|customer|entity|name|code|country|region|group|product|sku"
    r"|meter|household|vehicle|trip|session|unique_id|item_id)(_?(id|no|nr|number|code))?",
    re.IGNORECASE,
)
VARIABLES = re.compile(  # names of a column that says what another, called VALUES, is of
    r"_?(variable|parameter|param|metric|measure|measurement|element|indicator|field|quantity"
    r"|attribute|observed_?property)([_ ]?(id|name|code))?",
    re.IGNORECASE,
)
VALUES = re.compile(r"_?(obs_)?(value|val|valuenum|reading|result)s?", re.IGNORECASE)
CODES = re.compile(  # names of numbers that name something
    r"(.*[_ .])?(id|key|code|zip|post(al)?[_ ]?code|plz|fips|isbn|ean)([_ ]?(id|no|nr|code))?"
    r"|(?-i:.*[a-z](ID|Id|Key|Code))",
    re.IGNORECASE,
)
SUMS = re.compile(
    r"(grand |sub)?(totals?|sum|average|avg\.?|mean|median|min|max|summe|gesamt|mittelwert|moyenne"
    r"|somme|suma|media|totale)\W*",
    re.IGNORECASE,
)
MOST_WEEKS = 6  # of a month
LONG_RUN = 5  # rows of one entity
SEASONS = ("year", clock.QUARTER, "month", clock.WEEK)
HOURS = ("hour", "minute", "second")
KNOWN = "known in advance"  # why a column of --known is not learned


@dataclass(frozen=True)
class Wanted:
    """What the flags ask for: --layout, --id, --time, --label, --columns, --known, --calendar.

    `like`: categories of the data that these are compared with; None where there are none such.
    `time_format`: in which dates are likely written, "" where nothing is known.
    """

    layout: str = "auto"
    ids: tuple[str, ...] = ()
    time: tuple[str, ...] = ()
    label: str = ""
    columns: tuple[str, ...] = ()
    like: categories.Like | None = None
    time_format: str = ""
    known: tuple[str, ...] = ()
    calendar: str = "none"

    @property
    def values(self) -> set[str]:
        """Names of columns that are no ids or times."""
        own = {self.label} if self.label else set()
        return {*self.columns, *dict(self.like or ()), *self.known, *own}


@dataclass(frozen=True, eq=False)
class Reading:
    """How a table is read.

    Args:
      layout: "series", "rows" or "long".
      ids: columns that name the entity.
      times: the time index, None where there is none.
      learned: columns that are learned.
      left_out: columns that are not, with the reason; ids and times are not among them.
      notes: what was seen.
      time_columns: that the time index is in.
      categories: of the learned columns of words, the words whose numbers are the codes; of those
        of --known, too.
      known: columns that are known in advance and not learned.
      calendar: "auto" where the place in the calendar is, too, if there is one.
    """

    layout: str
    ids: tuple[int, ...]
    times: Times | None
    learned: tuple[int, ...]
    left_out: dict[int, str]
    notes: tuple[str, ...]
    time_columns: tuple[int, ...] = ()
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    known: tuple[int, ...] = ()
    calendar: str = "none"


@dataclass(eq=False)
class _Found:
    """What is known so far."""

    ids: tuple[int, ...] = ()
    times: Times | None = None
    time_columns: tuple[int, ...] = ()
    left_out: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def used(self, d: int) -> bool:
        return d in self.ids or d in self.time_columns or d in self.left_out


def read(table: Table, wanted: Wanted) -> Reading:
    """How a table is to be read.

    Raises:
      DataError: the evidence allows two readings; the message has the flag of each.
      UsageError: flags that contradict each other or have no meaning for this layout.
    """
    found = _Found()
    layout = wanted.layout
    if layout == "rows" and wanted.time:
        raise UsageError(
            "--time has no meaning for --layout rows, where a line is a sequence. Leave one out."
        )
    if layout == "series" and wanted.ids:
        raise UsageError(
            "--id has no meaning for --layout series, which is one sequence. Use --layout long."
        )
    if wanted.label and layout == "series":
        raise UsageError(
            "--label has no meaning for --layout series, which is one sequence: a label is of each "
            "of several. Leave one out."
        )
    found.ids = tuple(table.find(name, "--id") for name in wanted.ids)
    _leave_out_known(table, wanted, found)
    if wanted.label:
        d = table.find(wanted.label, "--label")
        if (
            layout == "auto"
            and not found.ids
            and (not table.has_names or rows_or_series.is_wide(table))
        ):
            layout = "rows"
        if layout == "rows":
            found.left_out[d] = "a class label"
    if layout == "rows":
        _refuse_known(table, wanted)
        for d in found.ids:
            found.left_out[d] = "names the sequence"
        return _rows(table, wanted, found)
    if wanted.time:
        _given_time(table, wanted, found)
    elif not (layout == "auto" and rows_or_series.is_wide(table)):
        _find_time(table, found, wanted)
    if layout == "auto" and not found.ids and found.times is None:
        if not table.has_names:
            _refuse_date_without_names(table)
        panel = _counted_panel(table)
        if panel is None:
            _refuse_broken_panel(table, wanted)
        if panel is None and (not table.has_names or rows_or_series.is_wide(table)):
            if rows_or_series.decide(table, found.notes) == "rows":
                return _rows(table, wanted, found)
        elif panel is not None:
            found.ids, found.time_columns = (panel[0],), (panel[1],)
            found.times = clock.of_numbers(table.columns[panel[1]], is_named=True)
    if found.times is None:
        _refuse_broken_dates(table, wanted, found)
    _refuse_sum_at_end(table, wanted, found)
    if not found.ids and layout != "series":
        _refuse_variables(table, wanted, found)
    if found.times is None and layout != "series":
        _find_years(table, found, wanted)
    if not found.ids and layout != "series":
        _find_ids(table, found, wanted)
    if layout == "long" and not found.ids:
        raise DataError(
            f"{table.shown}: no column is known to name the sequence that a line belongs to. "
            "Name it: --id COLUMN."
        )
    _find_counter(table, found, wanted)
    is_long = bool(found.ids)
    if is_long:
        names = ", ".join(quote(table.names[d]) for d in found.ids)
        number = len(np.unique(entities(table, found.ids)))
        verb = "names" if len(found.ids) == 1 else "name"
        found.notes.append(f"{names} {verb} the sequence: {number:,} sequences")
    if found.times is not None:
        name = quote(found.times.name)
        found.notes.append(f"{name} is the time index, not a value")
        if found.times.format == "" and table.columns[found.time_columns[0]].kind == "words":
            found.notes.append(
                f"samples have the dates of {name} as 2021-02-28: their months are no English ones"
            )
        for d in found.time_columns[1:]:  # beside a year
            if table.columns[d].kind == "words" and clock.part_of(table.names[d]):
                found.notes.append(f"samples have {quote(table.names[d])} in numbers")
    return _finish(table, wanted, found, "long" if is_long else "series")


# ------------------------------------------------------------------ what is learned


def _finish(table: Table, wanted: Wanted, found: _Found, layout: str) -> Reading:
    """Which of the columns that are left are learned."""
    if len(set(wanted.columns)) < len(wanted.columns):
        raise UsageError("--columns names a column twice. Name each once.")
    code_L = entities(table, found.ids) if found.ids else None
    if wanted.columns:
        learned = [table.find(name, "--columns") for name in wanted.columns]
        both = [d for d in learned if d in found.ids]
        if both:
            raise UsageError(
                f"--columns and --id both name {quote(table.names[both[0]])}. Leave it out of one."
            )
        for d in range(len(table.columns)):
            if not found.used(d) and d not in learned:
                found.left_out[d] = "not in --columns"
    else:
        for d, column in enumerate(table.columns):
            if found.used(d):
                continue
            is_free = layout != "rows" and column.name not in wanted.values
            if not column.name and layout != "rows":
                found.left_out[d] = "it has no name (numbers of rows?)"
            elif column.kind == "empty":
                found.left_out[d] = "it is empty"
            elif is_free and categories.are_words(column):
                why = "words" if wanted.like is not None else categories.why_not(column, code_L)
                if why:
                    found.left_out[d] = why
        learned = [d for d in range(len(table.columns)) if not found.used(d)]
    notes = list(found.notes)
    for d, why in found.left_out.items():
        column = table.columns[d]
        if why not in ("not in --columns", KNOWN) and (column.name or column.kind != "empty"):
            name = quote(column.name) if column.name else f"{d + 1}, which has no name"
            notes.append(f"left out column {name}: {why}")
    words = {} if layout == "rows" else _categories(table, wanted, learned)
    known = tuple(table.find(name, "--known") for name in wanted.known)
    of_known = _words_of_known(table, known)
    for d, each in words.items():
        name = quote(table.names[d])
        notes.append(f"{name} is learned as a category of {len(each)}: {categories.shown(each)}")
    notes += [
        f"column {quote(table.names[d])}: {note}"
        for d in learned
        for note in table.columns[d].notes
    ]
    if layout != "rows":
        notes += _about_names(table, learned, found)
    if found.times is not None and layout != "rows":
        for d in learned:
            column = table.columns[d]
            part = clock.repeated_by(found.times, column.values) if column.kind == "number" else ""
            if part:
                notes.append(
                    f"{quote(column.name)} only repeats the {part} of {quote(found.times.name)}: "
                    f"--known {column.name} reads it, so that samples cannot contradict their dates"
                )
    return Reading(
        layout,
        found.ids,
        found.times,
        tuple(learned),
        found.left_out,
        tuple(notes),
        found.time_columns,
        words | of_known,
        known,
        wanted.calendar,
    )


def _about_names(table: Table, learned: Sequence[int], found: _Found) -> list[str]:
    """What to say of numbers that are called as codes or times are."""
    notes = []
    numbers = [d for d in learned if table.columns[d].kind == "number"]
    codes = [d for d in numbers if CODES.fullmatch(table.names[d]) and _are_whole(table.columns[d])]
    if codes:
        names = ", ".join(quote(table.names[d]) for d in codes)
        notes.append(
            f"{names}: called as codes or names are, and learned by size, as amounts; --columns "
            "leaves out columns"
        )
    for d in numbers:
        if found.times is None and clock.is_date(table.names[d]):
            value = f"{table.columns[d].values[0]:.15g}"
            notes.append(
                f"{quote(table.names[d])} is called as a time is, and learned as a value: numbers "
                f"such as {value} are no time that is known. Write times as 2021-02-28 13:00:00"
            )
    return notes


def _are_whole(column: Column) -> bool:
    there = column.values[np.isfinite(column.values)]
    return bool(np.all(there == np.rint(there)))


def _words_of_known(table: Table, known: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The words of columns of --known that have words; refuses what cannot be read."""
    found = {}
    for d in known:
        column = table.columns[d]
        is_words = categories.are_words(column)
        why = categories.why_not(column, is_asked=True) if is_words else ""
        why = "it is empty" if column.kind == "empty" else why
        if why:
            raise DataError(
                f"{table.shown}: column {quote(column.name)} cannot be read as known in advance: "
                f"{why}. Leave it out of --known."
            )
        if is_words:
            found[d] = categories.words_of(column)
    return found


def _categories(table: Table, wanted: Wanted, learned: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The words of each learned column that has words; refuses what --columns asks in vain for."""
    like, found = dict(wanted.like or ()), {}
    for d in learned:
        column = table.columns[d]
        if column.name in like:
            found[d] = like[column.name]
        elif categories.are_words(column):
            if why := categories.why_not(column, is_asked=True):
                flag = "--label" if column.name == wanted.label else "--columns"
                raise DataError(
                    f"{table.shown}: column {quote(column.name)} cannot be learned: {why}. Leave "
                    f"it out of {flag}."
                )
            found[d] = categories.words_of(column)
        elif column.categories and column.kind == "number":
            found[d] = column.categories
    return found


def _leave_out_known(table: Table, wanted: Wanted, found: _Found) -> None:
    """--known: its columns are no ids, times or values."""
    if len(set(wanted.known)) < len(wanted.known):
        raise UsageError("--known names a column twice. Name each once.")
    for name in wanted.known:
        others = {"--columns": wanted.columns, "--id": wanted.ids, "--time": wanted.time}
        if both := [flag for flag, names in others.items() if name in names]:
            raise UsageError(
                f"{both[0]} and --known both name {quote(name)}. Leave it out of one: what is "
                "known in advance is read, and never generated."
            )
        found.left_out[table.find(name, "--known")] = KNOWN


def _refuse_known(table: Table, wanted: Wanted) -> None:
    if wanted.known:
        raise UsageError(
            f"--known has no meaning for {table.shown}, where a line is a sequence: it names a "
            "column of which each step has a value. Leave it out."
        )


def _rows(table: Table, wanted: Wanted, found: _Found) -> Reading:
    """A sequence a line: words and a counting first column without a name are no steps."""
    _refuse_known(table, wanted)
    steps = rows_or_series.step_columns(table)
    for d, column in enumerate(table.columns):
        if found.used(d) or d in steps[1:]:
            continue
        if column.kind == "words" and table.has_names and d not in steps:
            found.left_out[d] = "words, beside the steps of a sequence"
        elif d == 0 and table.has_names and counts_up([_whole(v) for v in column.values[:50]]):
            if not column.name or not _is_step(column.name, table.names[1:]):
                found.left_out[d] = "it only counts the rows"
        elif not column.name and column.kind == "empty":
            found.left_out[d] = "it is empty"
        elif steps and d not in steps:
            found.left_out[d] = "beside the steps of a sequence"
    names = dataclasses.replace(wanted, columns=())
    if wanted.columns:
        raise UsageError(
            f"--columns has no meaning for {table.shown}: "
            + (
                "a line is a sequence, and its columns are steps."
                if table.has_names
                else "it has no header line."
            )
            + " Leave it out."
        )
    return _finish(table, names, found, "rows")


def _is_step(name: str, others: Sequence[str]) -> bool:
    return bool(others) and numbered([name, *others][:50])


def _whole(value: float) -> str:
    return str(int(value)) if isinstance(value, float) and value == np.rint(value) else "x"


# ------------------------------------------------------------------ time


def _given_time(table: Table, wanted: Wanted, found: _Found) -> None:
    """--time: one column, a date and its hours, or year, month, day, ..."""
    names = wanted.time
    at = tuple(table.find(name, "--time") for name in names)
    columns = [clock.in_numbers(table.columns[d]) for d in at]
    gone = [c for c in columns if is_gone(c).any()]
    if gone:
        row = int(np.flatnonzero(is_gone(gone[0]))[0])
        raise DataError(
            f"{table.place(row)}: the time is missing in column {quote(gone[0].name)}. Only values "
            "may be missing: correct the line, or delete it."
        )
    if all(c.kind == "number" for c in columns):
        if len(columns) == 1:
            times = clock.of_numbers(columns[0], is_named=True)
        else:
            times = clock.of_parts(columns)
        if times is None and len(columns) == 2:
            times = clock.of_date_and_clock(columns[0], columns[1], is_named=True)
    else:
        times = clock.of_words(" ".join(names), columns, wanted.time_format)
    if times is None:
        example = ", ".join(quote(str(c.values[0])) for c in columns)
        raise DataError(
            f"{table.place(0)}: --time {' '.join(names)} ({example}) is no time that is known. "
            "Write dates as 2021-02-28 or 2021-02-28 13:00:00, or use whole numbers."
        )
    found.times, found.time_columns = times, at


def _find_time(table: Table, found: _Found, wanted: Wanted) -> None:
    """Dates, epochs and calendar columns."""
    free = [
        d for d, name in enumerate(table.names) if d not in found.ids and name not in wanted.values
    ]
    for at in clock.pairs(table.columns):
        if not set(at) <= set(free):
            continue
        columns = [table.columns[d] for d in at]
        times = clock.of_words(" ".join(c.name for c in columns), columns)
        if times is None or np.all(times.ticks == times.ticks[0]):
            continue
        if found.times is None:
            found.times, found.time_columns = times, at
        elif not set(at) & set(found.time_columns):
            found.left_out[at[0]] = "another time"
    if found.times is not None:
        return
    columns = [clock.in_numbers(column) for column in table.columns]
    exact = [d for d in free if columns[d].exact is not None]
    calendars: Sequence[tuple[str, ...]] = clock.CALENDARS
    called = {clock.part_of(table.names[d]): columns[d].exact for d in exact}
    week = called.get(clock.WEEK)
    if "day" not in called and week is not None and week.max() > MOST_WEEKS:
        calendars = calendars[::-1]  # the week of a year says more than its month
    for names in calendars:
        parts = tuple(d for d in exact if clock.part_of(table.names[d]) in names)
        if clock.are_parts([table.names[d] for d in parts]):
            times = clock.of_parts([columns[d] for d in parts])
            if times is not None:
                found.times, found.time_columns = times, parts
                return
    for a, b in itertools.pairwise(exact):
        times = clock.of_date_and_clock(columns[a], columns[b])
        if times is not None and b == a + 1:
            found.times, found.time_columns = times, (a, b)
            return
    for d in free:
        times = clock.of_numbers(table.columns[d], is_named=False)
        if times is not None:
            found.times, found.time_columns = times, (d,)
            return


def _refuse_sum_at_end(table: Table, wanted: Wanted, found: _Found) -> None:
    """Ask where the last line, and it alone, says Total or the like."""
    for d, column in enumerate(table.columns):
        last, name = column.values[-1], quote(column.name)
        if column.kind not in ("words", "mixed") or found.used(d) or wanted.columns:
            continue
        if isinstance(last, str) and SUMS.fullmatch(last) and np.sum(column.values == last) == 1:
            raise DataError(
                f"{table.place(len(table) - 1)}: {quote(last)} in column {name} is in "
                "the last line alone, as if it were no step but what the others come to. If it is, "
                f"delete the line. If it is a word as the others, name all columns: --columns."
            )


def _refuse_broken_dates(table: Table, wanted: Wanted, found: _Found) -> None:
    """Ask where a column has dates in nearly all lines: what has none may be a sum, or a footer."""
    for d, column in enumerate(table.columns):
        if found.used(d) or wanted.columns:
            continue
        rows = clock.not_dates(column)
        if not len(rows):
            continue
        row, count = int(rows[0]), len(rows)
        value = column.values[row]
        what = "the date is missing" if value is None else f"{quote(str(value))} is no date"
        raise DataError(
            f"{table.place(row)}: {what} in column {quote(column.name)}, where the others are "
            f"({count:,} such line{'s' * (count > 1)} in all). If it is no step (a sum, a mean, a "
            "remark), delete the line; else write its date. Or leave the dates out: --columns."
        )


def _refuse_date_without_names(table: Table) -> None:
    """Ask where the first columns are year, month, day, ... by their numbers, but have no names."""
    for count in range(min(len(clock.PARTS), len(table.columns) - 1), 2, -1):
        parts = clock.PARTS[:count]
        pairs = zip(table.columns, parts, strict=False)
        times = clock.of_parts([dataclasses.replace(c, name=part) for c, part in pairs])
        is_date = times is not None and bool(np.all(np.diff(times.ticks) > 0))
        if is_date and len(table) >= clock.MANY:
            raise DataError(
                f"{table.place(0)}: the first {count} columns are {', '.join(parts)} by their "
                f"numbers, and there are no names. If they are, put a line with names of all "
                f"{len(table.columns)} columns above: {' '.join(parts)} ... If they are values: "
                "--layout series."
            )


def _find_counter(table: Table, found: _Found, wanted: Wanted) -> None:
    """Columns that only count are an index, where other columns are left to learn."""
    free = [
        d
        for d, column in enumerate(table.columns)
        if not found.used(d) and column.kind == "number" and column.name not in wanted.values
    ]
    groups = _groups(table, found.ids)
    words = [c for d, c in enumerate(table.columns) if c.kind == "words" and not found.used(d)]
    left = len(free)
    if not wanted.columns:
        left += sum(not categories.why_not(each) for each in words)
    for d in free:
        if left == 1:  # something must be learned
            return
        column = table.columns[d]
        named = clock.is_named(column.name)
        parts = [dataclasses.replace(column, values=column.values[rows]) for rows in groups]
        if not all(clock.counting(part) or (named and _is_rising(part)) for part in parts):
            continue
        if found.times is None and column.name:
            found.times = clock.of_numbers(column, is_named=True)
            found.time_columns = (d,)
        elif all(clock.counting(part) for part in parts):
            found.left_out[d] = "it only counts"
        else:
            continue
        left -= 1


def _is_rising(column: Column) -> bool:
    """Whether numbers go up, or down, all the time."""
    steps = np.diff(column.values)
    return bool(np.all(steps > 0) or np.all(steps < 0))  # not where one is missing


# ------------------------------------------------------------------ entities


def entities(table: Table, ids: Sequence[int]) -> np.ndarray:
    """The number of the entity of each row, from 0 in order of appearance."""
    import pandas as pd

    code = np.zeros(len(table), np.int64)
    for d in ids:
        column = table.columns[d]
        gone = is_gone(column)
        if gone.any():
            row = int(np.flatnonzero(gone)[0])
            raise DataError(
                f"{table.place(row)}: the number of the sequence or step is missing in column "
                f"{quote(column.name)}. Only values may be missing: correct the line, or delete it."
            )
        each, unique = pd.factorize(column.values)
        code = pd.factorize(code * len(unique) + each)[0]
    return code


def _groups(table: Table, ids: Sequence[int]) -> list[np.ndarray]:
    """Rows of each entity."""
    code = entities(table, ids)
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def _counted_panel(table: Table) -> tuple[int, int] | None:
    """(id, step) of a table whose steps count from the same number in each of several sequences."""
    first = _first_columns(table)
    whole = [d for d in first if table.columns[d].exact is not None]
    ids = [
        d
        for d in first
        if (d in whole or table.columns[d].kind == "words") and not is_gone(table.columns[d]).any()
    ]
    if [name.lower() for name in table.names[:2]] == ["sequence", "step"]:
        if len(table.columns) < 3:
            raise DataError(f"{table.shown}:1:1: no column after 'sequence,step'. Add one.")
        entities(table, [0])
        step = table.columns[1]
        if is_gone(step).any():
            entities(table, [1])
        if step.kind != "number" or not np.isfinite(step.values).all():
            if table.check is not None:
                table.check([1], False)
            return None
        return 0, 1
    pairs = [p for p in _pairs(table, first) if p[0] in ids and p[1] in whole]
    # Firms and years: each counts within the other, and the year is the time.
    pairs.sort(key=lambda pair: not _is_year(table, pair[1]))
    return next((pair for pair in pairs if _counts_within(table, *pair)), None)


def _is_year(table: Table, d: int) -> bool:
    return clock.part_of(table.names[d]) == "year"


def _pairs(table: Table, columns: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs that may be (id, step): no days of months, which are a time."""
    part = {d: clock.part_of(table.names[d]) for d in columns}
    pairs = itertools.permutations(columns, 2)
    return [(i, t) for i, t in pairs if not (part[i] in SEASONS and part[t])]


def _first_columns(table: Table) -> list[int]:
    """The first columns, but for one that counts all lines: it names no step of a sequence."""
    free = [
        d
        for d, c in enumerate(table.columns[:7])
        if not (c.kind == "number" and np.all(np.diff(c.values) == 1))
    ]
    return free[:6]


def _refuse_broken_panel(table: Table, wanted: Wanted) -> None:
    """Ask where one column mostly stays while another counts, as ids and steps do, but not always.

    Some lines of such a table are wrong: read as one series it would be nonsense.
    """
    numbers = [
        d
        for d in _first_columns(table)
        if table.columns[d].kind == "number" and table.names[d] not in wanted.values
    ]
    for i, t in _pairs(table, numbers):
        stays = np.diff(table.columns[i].values) == 0
        counts = np.diff(table.columns[t].values) == 1
        several = 0.5 <= stays.mean() < 1 if len(stays) else False
        if several and np.mean(stays == counts) >= 0.8:
            name, step = (_word(table.names[d]) for d in (i, t))
            raise DataError(
                f"{table.shown}: column {quote(table.names[i])} stays while "
                f"{quote(table.names[t])} counts, as where they name the sequence of a line and "
                "its step, but not in all lines. If they do, correct the other lines, or name "
                f"them: --id {name} --time {step}. If all lines are one series: --layout series."
            )


def _counts_within(table: Table, i: int, t: int) -> bool:
    code = entities(table, [i])
    number = int(code.max()) + 1
    step = table.columns[t].values
    if not np.isfinite(step).all():
        return False
    if number < 2 or number > len(code) // 3:
        return False
    order = np.lexsort((step, code))
    same = np.diff(code[order]) == 0
    first = step[order][np.r_[True, ~same]]
    ups = np.diff(step[order])[same]
    starts = np.all(first == first[0]) and first[0] in (0, 1)
    return bool(np.all(ups == 1) and (starts or _is_year(table, t)))


def _find_ids(table: Table, found: _Found, wanted: Wanted) -> None:
    """Columns that name entities, by times that are there for each of them, or by long runs."""
    free = [
        d
        for d, c in enumerate(table.columns)
        if not found.used(d)
        and c.name not in wanted.values
        and (c.kind == "words" or c.exact is not None)
        and not is_gone(c).any()
    ]
    numbers = {d: int(entities(table, [d]).max()) + 1 for d in free}
    free = [d for d in free if 1 < numbers[d] <= len(table) // 2]
    if found.times is not None and len(np.unique(found.times.ticks)) < len(table):
        _ids_by_time(table, found, free)
        return
    runs = [
        d for d in free if _in_runs(entities(table, [d])) and numbers[d] * LONG_RUN <= len(table)
    ]
    likely = [
        d for d in runs if table.columns[d].kind == "words" or ID_NAMES.fullmatch(table.names[d])
    ]
    if not likely and found.times is None:
        likely = [
            d
            for d in runs
            if numbers[d] > 2
            and len(table) >= 10 * numbers[d]
            and d < 3
            and not clock.counting(table.columns[d])
            and clock.part_of(table.names[d]) not in SEASONS
        ]
    if likely:
        d = likely[0]
        name = table.names[d]
        raise DataError(
            f"{table.shown}: column {quote(name)} holds {numbers[d]} values, each in one run of "
            "lines: it may name the sequence that a line belongs to, or be a value. If it names "
            f"the sequence: --id {_word(name)}. If all lines are one series: --layout series."
        )


def _find_years(table: Table, found: _Found, wanted: Wanted) -> None:
    """A year that several lines have is the time, where columns name the sequences of these."""
    for d, column in enumerate(table.columns):
        if clock.part_of(column.name) != "year" or found.used(d) or column.name in wanted.values:
            continue
        times = clock.of_numbers(column, is_named=True)
        if times is None or len(np.unique(times.ticks)) in (1, len(table)):
            continue
        trial = _Found(found.ids, times, (d,), found.left_out)
        if not found.ids:
            _find_ids(table, trial, wanted)
        elif not _is_key(
            entities(table, found.ids), np.unique(times.ticks, return_inverse=True)[1]
        ):
            continue
        if trial.ids and not any(clock.part_of(table.names[d]) for d in trial.ids):
            found.ids, found.times, found.time_columns = trial.ids, times, (d,)
            return


def _refuse_variables(table: Table, wanted: Wanted, found: _Found) -> None:
    """Ask where one column says what another is of: each of its words may be a column."""
    free = [d for d, c in enumerate(table.columns) if not found.used(d) and not wanted.columns]
    says = [
        d for d in free if table.columns[d].kind == "words" and VARIABLES.fullmatch(table.names[d])
    ]
    values = [
        d
        for d in free
        if table.columns[d].kind in ("number", "mixed") and VALUES.fullmatch(table.names[d])
    ]
    words = categories.words_of(table.columns[says[0]]) if says else ()
    if len(values) != 1 or len(words) < 2:
        return
    name, value = table.names[says[0]], table.names[values[0]]
    others = [
        table.names[d]
        for d in free
        if d not in (says[0], values[0])
        and (table.columns[d].kind == "words" or clock.part_of(table.names[d]) == "year")
        and not is_gone(table.columns[d]).any()
    ]
    if found.times is not None:
        others = [*others, *(table.names[d] for d in found.time_columns)]
    index = others[0] if len(others) == 1 else others or "TIME"
    raise DataError(
        f"{table.shown}: column {quote(name)} says what {quote(value)} is of "
        f"({categories.shown(words)}): each may be a column, or a sequence. For columns, "
        f"with pandas: x.pivot(index={index!r}, columns={quote(name)}, "
        f"values={quote(value)}).to_csv('wide.csv'). If each is a sequence: --id {_word(name)}."
    )


def _word(name: str) -> str:
    """A name as a word of the command line."""
    return name if re.fullmatch(r"[\w.-]+", name) else quote(name)


def _in_runs(code: np.ndarray) -> bool:
    """Whether each value is in one run of rows."""
    return int(np.count_nonzero(np.diff(code))) == int(code.max())


def _ids_by_time(table: Table, found: _Found, free: Sequence[int]) -> None:
    """The fewest columns that, with the time, are different in every row."""
    assert found.times is not None
    ticks = np.unique(found.times.ticks, return_inverse=True)[1]
    if 2 * (ticks.max() + 1) > len(ticks):  # a few times twice: any value would tell these apart
        free = [d for d in free if ID_NAMES.fullmatch(table.names[d])]
    words = [d for d in free if table.columns[d].kind == "words"]
    for size in (1, 2, 3):
        sets = [
            some
            for some in itertools.combinations(free[:8], size)
            if _is_key(entities(table, some), ticks)
        ]
        if not sets:
            continue
        sure = [s for s in sets if all(d in words or ID_NAMES.fullmatch(table.names[d]) for d in s)]
        hours = [
            d
            for some in sets
            for d in some
            if clock.part_of(table.names[d]) in HOURS or _counts_in_each(table, d, ticks)
        ]
        if hours and not sure:
            name = table.names[hours[0]]
            raise DataError(
                f"{table.shown}: several lines have one time in {quote(found.times.name)}, and "
                f"{quote(name)} tells them apart. If it names the sequence: --id {_word(name)}. If "
                "it is a part of the time: write both as one, as in 2021-02-28 13:00."
            )
        codes = {entities(table, some).tobytes() for some in sure or sets}
        if len(codes) == 1:  # columns that name the same sequences are no question
            found.ids = tuple(sorted({d for some in sure or sets for d in some}))
            return
        ways = " or ".join(
            "--id " + " ".join(_word(table.names[d]) for d in some) for some in (sure or sets)[:4]
        )
        raise DataError(
            f"{table.shown}: several lines have the same time in {quote(found.times.name)}, and "
            f"more than one column may name the sequence: {ways}. Choose one."
        )


def _counts_in_each(table: Table, d: int, ticks: np.ndarray) -> bool:
    """Whether a column counts from 0 or 1 in the lines of each date, as hours do."""
    exact = table.columns[d].exact
    if exact is None:
        return False
    same = np.diff(ticks) == 0
    is_start = np.r_[True, ~same]
    return bool(
        np.all(np.diff(exact)[same] == 1)
        and np.all(exact[is_start] == exact[0])
        and exact[0] in (0, 1)
        and np.all(np.diff(ticks) >= 0)
    )


def _is_key(code: np.ndarray, ticks: np.ndarray) -> bool:
    """Whether entity and time are there once together, and most times are there for each entity."""
    number, steps = int(code.max()) + 1, int(ticks.max()) + 1
    key = code.astype(np.int64) * steps + ticks
    return len(np.unique(key)) == len(key) and number * min(steps, LONG_RUN) <= len(key)
