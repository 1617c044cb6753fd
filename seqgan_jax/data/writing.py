"""Writing sequences in the form of the data that they imitate; `layout.load` reads them back.

Shapes: N sequences, T steps, D columns, M futures of a sequence.
"""

import csv
import dataclasses
import functools
import io
import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_jax.data import categories, lengths
from seqgan_jax.data.files import atomic_write, printable
from seqgan_jax.data.form import TABLES, ColumnForm, Form, IdForm, TimeForm, known_dtype
from seqgan_jax.data.times import EPOCHS, MONTH, dates_of, part_of, parts_of, texts_of
from seqgan_jax.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".txt", ".csv", ".tsv", ".parquet", ".npy")
DIGITS = 9  # enough for float32
NAN = "nan"  # a missing value in .txt
MOST_DIGITS = 17  # enough for float64
BLOCK = 1 << 18  # numbers that are turned into text at once


@dataclasses.dataclass(frozen=True, eq=False)
class Ends:
    """Where sequences end that are gone on from.

    Args:
      ids: columns that name them, with a value for each of N; none of one series or of an array.
      lengths_N: their steps.
      last_N: time of the last step, as `TimeForm.start`; None where there is no time.
    """

    ids: Mapping[str, np.ndarray]
    lengths_N: np.ndarray
    last_N: np.ndarray | None


def save_sequences(
    path: str | os.PathLike[str],
    x_NTD: np.ndarray,
    names: Sequence[str],
    form: Form | None = None,
    starts_N: np.ndarray | None = None,
    with_gaps: bool = False,
    ends: bool = False,
) -> None:
    """Write sequences in the format that the suffix of `path` names; `load` reads them back.

    .txt: one sequence a line, T x D numbers, all of step 1 first. .npy: float64 [N, T, D]. Both
    have the codes of categories, not their words.
    .csv, .tsv, .parquet: the columns of the form in their order, with its dtypes, words, decimals,
    ids and regular time index; without a form, or what it does not have: "sequence" and "step" from
    0. With `ends`, sequences that end early, NaN from then on, have shorter lines, empty cells at
    the end of their row, or fewer rows; in .npy NaN.

    Args:
      path: where to; replaced as a whole.
      x_NTD: values in units of the data.
      names: of the D columns.
      form: of the data.
      starts_N: seconds since 1970 UTC at which each sequence starts; None: where the data start.
      with_gaps: values may be missing, NaN: empty cells of a table, nan in .txt.
      ends: NaN after the end of a sequence is meant.

    Raises:
      UsageError: another suffix, or names that do not fit.
      DataError: a value is not finite, and not missing where it may be.
      DiskError: it cannot be written.
    """
    x_NTD = np.asarray(x_NTD, np.float64)
    suffix = check_suffix(path)
    if x_NTD.ndim != 3 or x_NTD.shape[-1] != len(names):
        raise UsageError(
            f"Sequences of shape {x_NTD.shape} do not fit {len(names)} column name(s): [N, T, D] "
            "with a name for each of D is wanted."
        )
    shown = lengths.filled(x_NTD) if ends else x_NTD
    bad = np.isinf(shown) if with_gaps else ~np.isfinite(shown)
    if bad.any():
        count = np.count_nonzero(bad)
        raise DataError(
            f"{printable(path)}: not written: {count} of {x_NTD.size} values are not finite."
        )
    form = form or plain_form(names)
    if suffix == ".npy":
        with atomic_write(path, "wb") as file:
            np.save(file, rounded(x_NTD, form), allow_pickle=False)
    elif suffix == ".parquet":
        frame = to_frame(x_NTD, form, starts_N, ends)
        with atomic_write(path, "wb") as file:
            (frame.reset_index() if any(frame.index.names) else frame).to_parquet(file, index=False)
    else:
        with atomic_write(path) as file:
            file.writelines(
                _lines(x_NTD, form, ends)
                if suffix == ".txt"
                else _table(x_NTD, form, suffix, starts_N, ends)
            )


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file that can be written, in small letters; raises UsageError."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            f"{printable(path)}: cannot write {suffix or 'a file without suffix'}. Choose a name "
            f"that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}."
        )
    return suffix


def plain_form(names: Sequence[str]) -> Form:
    """The form of data that have none: floats with as many digits as they need.

    >>> plain_form(["a"]).order
    ('a',)
    """
    columns = tuple(
        ColumnForm(name, "float64", None, 0.0, 0.0, None, (), 0.0, "continuous", ())
        for name in names
    )
    return Form("array", "series", columns, tuple(names), (), None, (), ",", ".")


# ------------------------------------------------------------------ values, ids and times


def rounded(
    x_NTD: np.ndarray, form: Form, inside_D: Sequence[Callable[[np.ndarray], np.ndarray]] = ()
) -> np.ndarray:
    """The values as the form writes them: whole numbers, 0 or 1, codes, its grid or decimals.

    What rounding takes out of a column's bounds (`inside_D`) becomes the next value within them.
    NaN stays.

    >>> column = ColumnForm("a", "int64", None, 0.0, 9.0, 1.0, (), 0.0, "grid", ())
    >>> form = Form("csv", "series", (column,), ("a",), (), None, (), ",", ".")
    >>> rounded(np.array([[[0.4], [2.6]]]), form, [lambda x: x > 0]).tolist()
    [[[1.0], [3.0]]]
    """
    x_NTD = np.array(x_NTD, np.float64)
    gone = np.isnan(x_NTD)
    x_NTD[gone] = 0.0
    for d, column in enumerate(form.columns):
        x = x_NTD[..., d]
        decimals = 0 if _is_whole(known_dtype(column.dtype)) else column.decimals
        if _is_bool(column.dtype):
            x[:] = x >= 0.5
        elif column.categories:
            x[:] = categories.nearest(x, len(column.categories))
        elif decimals is not None:
            unit = 10.0**-decimals
            if column.grid and column.grid > 1.5 * unit:  # volumes in hundreds
                unit = column.grid
                near = np.round(np.rint(x / unit) * unit, decimals)
            else:
                near = np.round(x, decimals)
            near = np.where(np.isfinite(near), near, x)  # 1e300 has no decimals
            if inside_D:
                for step in (unit, -unit):
                    other = np.round(near + step, decimals)
                    near = np.where(~inside_D[d](near) & inside_D[d](other), other, near)
            x[:] = np.clip(near, *_limits(column.dtype)) + 0.0  # no -0
    x_NTD[gone] = np.nan
    return x_NTD


def _is_bool(dtype: str) -> bool:
    return dtype.startswith("bool")


def _is_whole(dtype: str) -> bool:
    return "int" in dtype.lower()


def _limits(dtype: str) -> tuple[float, float]:
    """The smallest and largest float64 that a dtype holds."""
    if not _is_whole(dtype):
        return -math.inf, math.inf
    limits = np.iinfo(dtype.lower().removesuffix("[pyarrow]"))
    high = float(limits.max)
    return float(limits.min), high if int(high) == limits.max else math.nextafter(high, 0)


def index_columns(form: Form) -> tuple[tuple[IdForm, ...], TimeForm]:
    """Columns that say which sequence and which step it is: the form's, or new ones."""
    taken = {column.name for column in form.columns} | {each.name for each in form.ids}
    taken |= {form.time.name} if form.time else set()

    def free(name: str) -> str:
        return free(name + "_") if name in taken else name

    ids = form.ids or (IdForm(free("sequence"), "int64"),)
    return ids, form.time or TimeForm(free("step"), "number", 1.0, "", 0.0, "", "")


def times(time: TimeForm, steps: int) -> Any:
    """The regular index of a sequence: a DatetimeIndex, or an array of numbers.

    >>> times(TimeForm("t", "epoch ms", 20.0, "", 1500.0, "", ""), 3).tolist()
    [1500, 1520, 1540]
    """
    if time.kind != "datetime":
        if time.start == round(time.start) and time.step == round(time.step):
            return int(time.start) + int(time.step) * np.arange(steps)
        return time.start + time.step * np.arange(steps)
    import pandas as pd

    try:
        start = pd.Timestamp(round(time.start * 1e6), unit="us", tz="UTC")
        start = start.tz_convert(time.timezone or None)
        if time.rule:
            index = pd.date_range(start, periods=steps, freq=time.rule)
            if index[0] == start:
                return index
        if time.step % MONTH == 0:  # of another day than the first or last
            months = round(time.step / MONTH)
            return pd.DatetimeIndex(
                [start + pd.DateOffset(months=months * i) for i in range(steps)]
            )
        step = pd.Timedelta(microseconds=round(time.step * 1e6))
        return pd.date_range(start, periods=steps, freq=step)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataError(
            f"No time index of {steps} steps can be made for {time.name!r}, which starts "
            f"{time.start:g} s after 1970 and goes on by {time.rule or time.step}: {error}. "
            "Write .npy or .txt, which have none."
        ) from None


def starting_at(time: TimeForm, seconds: float) -> TimeForm:
    """The time index of a sequence that starts then: seconds since 1970, UTC."""
    return dataclasses.replace(time, start=seconds * EPOCHS.get(time.kind, 1))


def seconds(time: TimeForm, starts_N: np.ndarray, steps: int) -> np.ndarray:
    """The regular times of sequences that start then, [N, T] seconds since 1970 UTC.

    >>> time = TimeForm("t", "datetime", 3600.0, "h", 0.0, "", "")
    >>> seconds(time, np.array([7200.0]), 2).tolist()
    [[7200.0, 10800.0]]
    """
    different, at_N = np.unique(starts_N, return_inverse=True)
    rows = []
    for start in different:
        index = times(starting_at(time, float(start)), steps)
        is_date = time.kind == "datetime"
        rows.append(index.as_unit("us").asi8 / 1e6 if is_date else index / EPOCHS[time.kind])
    return np.stack(rows)[at_N]


def starts_before(time: TimeForm, last_N: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """When sequences of so many regular steps start that end then, [N] seconds since 1970 UTC.

    >>> time = TimeForm("t", "datetime", 86400.0, "MS", 0.0, "", "")
    >>> starts_before(time, np.array([5097600.0]), np.array([3])).tolist()  # of 1970-03-01
    [0.0]
    """
    back_N = lengths_N - 1
    if time.kind != "datetime":
        return (last_N - time.step * back_N) / EPOCHS.get(time.kind, 1)
    import pandas as pd

    found = []
    for last, back in zip(last_N, back_N.tolist(), strict=True):
        end = pd.Timestamp(round(last * 1e6), unit="us", tz="UTC").tz_convert(time.timezone or None)
        if time.rule:
            start = pd.date_range(end=end, periods=back + 1, freq=time.rule)[0]
        elif time.step % MONTH == 0:
            start = end - pd.DateOffset(months=round(time.step / MONTH) * back)
        else:
            start = end - back * pd.Timedelta(microseconds=round(time.step * 1e6))
        found.append(start.value / 1e9)
    return np.array(found)


def seconds_of(text: Any, time: TimeForm) -> float:
    """A date of the user's as seconds since 1970 UTC, by the clocks of the data's time zone.

    Raises:
      UsageError: it is none.
    """
    import pandas as pd

    try:
        found = pd.Timestamp(text)
        if found is pd.NaT:
            raise ValueError("it is empty")
        if found.tzinfo is None:
            found = found.tz_localize(time.timezone or "UTC")
        return float(found.timestamp())
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError(
            f"--start {text!r} is no date that is known ({error}). Write it as 2026-01-31 or "
            "2026-01-31 13:00:00."
        ) from None


def starts_of(frame: "pd.DataFrame", form: Form, steps: int) -> np.ndarray | None:
    """When each sequence of a frame like `to_frame`'s starts, [N] seconds since 1970 UTC.

    None where its times are not in one column.
    """
    if any(frame.index.names):
        frame = frame.reset_index()
    ids, time = index_columns(form)
    if time.kind == "number" or time.name not in frame.columns:
        return None
    at = read_seconds(frame[time.name], time)
    number_L = frame.groupby([each.name for each in ids], sort=False).ngroup().to_numpy()
    return at[np.lexsort([at, number_L])].reshape(-1, steps)[:, 0]


def read_seconds(values: Any, time: TimeForm) -> np.ndarray:
    """Times of a column as seconds since 1970 UTC; numbers as they are. Raises ValueError."""
    if time.kind != "datetime":
        return np.asarray(values, np.float64) / EPOCHS.get(time.kind, 1)
    dates = dates_of(values, time.format)
    dates = dates.tz_localize(time.timezone or "UTC") if dates.tz is None else dates
    return np.asarray(dates.tz_convert("UTC").tz_localize(None).as_unit("us").asi8 / 1e6)


def after(time: TimeForm, last: float) -> float:
    """The regular time after `last`, a time as `TimeForm.start`; as `read_seconds`."""
    index = times(dataclasses.replace(time, start=float(last)), 2)[1:]
    if time.kind == "datetime":
        return float(index.as_unit("us").asi8[0] / 1e6)
    return float(index[0]) / EPOCHS.get(time.kind, 1)


def _time_columns(form: Form, time: TimeForm, steps: int) -> dict[str, Any]:
    """The columns of the time index as they are in a frame: times, or a date and its hours, or
    year, month, day, ... where these were columns of their own."""
    return _in_columns(form, time, times(time, steps))


def time_parts(form: Form) -> tuple[str, ...]:
    """Names of the columns that the time index is in."""
    return _parts(form, form.time) if form.time else ()


def _parts(form: Form, time: TimeForm) -> tuple[str, ...]:
    others = {column.name for column in form.columns} | {each.name for each in form.ids}
    rest = [n for n in form.order if n not in others and n not in dict(form.left_out)]
    parts = sorted((n for n in rest if n in time.name), key=time.name.find)
    if time.name in form.order or len(parts) < 2 or " ".join(parts) != time.name:
        return (time.name,)
    return tuple(parts)


def _in_columns(form: Form, time: TimeForm, index: Any) -> dict[str, Any]:
    """An index of times in its columns."""
    parts = _parts(form, time)
    if parts == (time.name,):
        return {time.name: index}
    if all(map(part_of, parts)):
        return parts_of(index, parts)
    hours = min((at for at in map(time.format.find, ("%H", "%I")) if at > 0), default=0)
    formats = time.format[:hours].rstrip(), time.format[hours:]
    return {name: index.strftime(each) for name, each in zip(parts, formats, strict=True)}


def _time_texts(form: Form, time: TimeForm, steps: int) -> dict[str, list[str]]:
    """The columns of the time index as text."""
    return _in_texts(time, _time_columns(form, time, steps))


def _in_texts(time: TimeForm, found: dict[str, Any]) -> dict[str, list[str]]:
    if time.kind == "datetime" and time.name in found:
        index = found[time.name]
        return {time.name: list(texts_of(index, time.format) if time.format else index.astype(str))}
    return {name: [str(value) for value in values.tolist()] for name, values in found.items()}


def _wide_names(form: Form, length: int) -> list[str]:
    """Names of the T x D values of a sequence where the input has a row a sequence, else none."""
    others = {each.name for each in form.ids} | {name for name, _ in form.left_out}
    names = [name for name in form.order if name not in others]
    return names if (form.layout, len(names)) == ("rows", length) and form.source in TABLES else []


def _order(form: Form, made: Sequence[str], wide: Sequence[str]) -> list[str]:
    """All columns that are written: new ones, then the input's in its order."""
    names = [*made, *(wide or (column.name for column in form.columns))]
    known = [name for name in form.order if name in names]
    new = [name for name in names if name not in known]
    ids_first = [name for name in new if name in made]
    return [*ids_first, *known, *(name for name in new if name not in made)]


# ------------------------------------------------------------------ frames


def to_frame(
    x_NTD: np.ndarray, form: Form, starts_N: np.ndarray | None = None, ends: bool = False
) -> "pd.DataFrame":
    """Sequences as a DataFrame like the input: its columns, dtypes, ids, regular times.

    `starts_N`: seconds since 1970 UTC at which each starts; None: where the data start. With `ends`
    they have no rows after their last value, else what is NaN is missing.

    Ids and times that the input has in its index, not in its columns (`form.order`), are in the
    index.
    """
    import pandas as pd

    n, steps, num_features = x_NTD.shape
    there_NT, x_NTD = _cut(x_NTD, ends)
    x_NTD = rounded(x_NTD, form)
    wide = _wide_names(form, steps * num_features)
    ids, time = (form.ids, None) if wide else index_columns(form)
    number_L = np.arange(n) if wide else np.repeat(np.arange(n), steps)
    made = {each.name: pd.Series(number_L).astype(each.dtype) for each in ids}
    if time:
        at_L, different = np.tile(np.arange(steps), n), [_time_columns(form, time, steps)]
        if starts_N is not None:
            starts, which_N = np.unique(starts_N, return_inverse=True)
            each = (starting_at(time, float(start)) for start in starts)
            different = [_time_columns(form, one, steps) for one in each]
            at_L = at_L + steps * np.repeat(which_N, steps)
        for name in different[0]:
            values = pd.concat([pd.Series(columns[name]) for columns in different])
            made[name] = values.iloc[at_L].reset_index(drop=True)
    columns = form.columns * (steps if wide else 1)
    values = x_NTD.reshape(n if wide else -1, len(columns)).T
    names = wide or [column.name for column in form.columns]
    data = made | {
        name: _series(x, column) for name, x, column in zip(names, values, columns, strict=True)
    }
    frame = pd.DataFrame({name: data[name] for name in _order(form, list(made), wide)})
    if not there_NT.all() and wide:
        gone_NW = np.repeat(~there_NT, num_features, axis=1)
        for name, gone_N in zip(wide, gone_NW.T, strict=True):
            frame[name] = frame[name].mask(gone_N) if gone_N.any() else frame[name]
    elif not there_NT.all():
        frame = frame[there_NT.ravel()].reset_index(drop=True)
    index = [name for name in made if name not in form.order]
    of_input = {each.name for each in form.ids} | ({form.time.name} if form.time else set())
    return frame.set_index(index) if of_input & set(index) else frame


def _cut(x_NTD: np.ndarray, ends: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which steps are not after an end, bool [N, T], at least one of each sequence, and the last
    step carried on after it."""
    if not ends:
        return np.ones(x_NTD.shape[:2], bool), x_NTD
    there_NT = lengths.there(x_NTD)
    there_NT[:, 0] = True
    return there_NT, lengths.filled(x_NTD)


def _series(x: np.ndarray, column: ColumnForm) -> "pd.Series":
    """The values of a column with its dtype; with one that has missing values where some are."""
    import pandas as pd

    if (gap := np.isnan(x)).any():
        found = _series(np.where(gap, np.nanmax(x) if not gap.all() else 0.0, x), column)
        if _is_bool(column.dtype):
            found = found.astype("boolean")
        elif _is_whole(column.dtype):
            found = found.astype(column.dtype.replace("int", "Int").replace("uInt", "UInt"))
        found[gap] = pd.NA if _is_bool(column.dtype) or _is_whole(column.dtype) else None
        return found
    if _is_bool(column.dtype):
        return pd.Series(x >= 0.5).astype(column.dtype)
    if column.categories:
        return categories.series(x, column.categories, column.dtype)
    return pd.Series(x).astype(known_dtype(column.dtype))


def from_frame(frame: "pd.DataFrame", form: Form, steps: int, ends: bool = False) -> np.ndarray:
    """[N, T, D] float64 of whole sequences in the form of `to_frame`; the inverse of it.

    With `ends` sequences may have fewer rows, NaN after these.

    Raises:
      DataError: a column is missing, a word is new, or a sequence has not `steps` rows.
    """
    if any(frame.index.names):
        frame = frame.reset_index()
    wide = _wide_names(form, steps * len(form.columns))
    ids, time = ((), None) if wide else index_columns(form)
    names = wide or [column.name for column in form.columns]
    needed = [*names, *(each.name for each in ids)]
    missing = [name for name in needed if name not in frame.columns]
    if missing and missing == [each.name for each in ids][:1] and form.layout == "series":
        if len(frame) != steps:
            raise DataError(
                f"the frame is a series of {len(frame):,} rows and does not say which {steps} are "
                f"one sequence. Number them: frame.assign({missing[0]}=np.arange(len(frame)) // "
                f"{steps}), without rows at the end that make no whole one."
            )
        frame, missing = frame.assign(**{missing[0]: 0}), []
    if missing:
        raise DataError(
            f"the frame has no column {missing[0]!r} (there are {', '.join(map(str, frame))}). "
            f"Give whole sequences in the form that sample() returns: {', '.join(needed)}."
        )
    words = {each.name: each.categories for each in form.columns if not _is_bool(each.dtype)}
    coded = {
        name: categories.codes_of(frame[name], name, words[name])
        for name in names
        if words.get(name)
    }
    x = frame[names].assign(**coded).to_numpy(np.float64, na_value=np.nan)
    if wide:
        return x.reshape(len(x), steps, -1)
    number_L = frame.groupby([each.name for each in ids], sort=False).ngroup().to_numpy()
    sizes = np.bincount(number_L)
    if np.any((sizes > steps) if ends else (sizes != steps)):
        raise DataError(
            f"sequences of {sizes.min()} to {sizes.max()} rows, and the model was fitted on "
            f"{'at most ' * ends}{steps} steps. Give whole sequences of that length."
        )
    keys = [number_L]
    if time and time.name in frame.columns:  # else in the order of the rows
        keys.insert(0, frame[time.name].to_numpy())
    x_LD = x[np.lexsort(keys)]
    if ends:
        return lengths.padded(np.split(x_LD, np.cumsum(sizes)[:-1]), steps)
    return x_LD.reshape(-1, steps, len(names))


# ------------------------------------------------------------------ text


def _numeric(form: Form) -> Form:
    """The form with whole numbers in the place of words, yes and no."""
    columns = (
        dataclasses.replace(each, dtype="int8", categories=())
        if each.categories or _is_bool(each.dtype)
        else each
        for each in form.columns
    )
    return dataclasses.replace(form, columns=tuple(columns))


def _lines(x_NTD: np.ndarray, form: Form, ends: bool) -> Iterator[str]:
    """A line a sequence, T x D numbers with spaces between them, yes and no as 1 and 0; fewer where
    it ends."""
    there_NT, x_NTD = _cut(x_NTD, ends)
    numbers = iter((there_NT.sum(axis=1) * x_NTD.shape[2]).tolist())
    texts = _texts_of(x_NTD, _numeric(form))
    steps = x_NTD.shape[1]
    for block_NTD in _blocks(x_NTD):
        # A call for each column, not for each of its steps: of wide sequences a block holds few.
        columns = [texts[d](block_NTD[..., d].ravel()) for d in range(x_NTD.shape[2])]
        rows = zip(*columns, strict=True)
        for _ in block_NTD:
            cells = list(itertools.chain.from_iterable(itertools.islice(rows, steps)))
            yield " ".join(cells[: next(numbers)]) + "\n"


def _table(
    x_NTD: np.ndarray, form: Form, suffix: str, starts_N: np.ndarray | None, ends: bool
) -> Iterator[str]:
    """The lines of a .csv or .tsv, in the dialect of the input."""
    separator, decimal = _dialect(form, suffix)
    _, steps, num_features = x_NTD.shape
    there_NT, x_NTD = _cut(x_NTD, ends)
    texts = _texts_of(x_NTD, form, decimal, separator)
    wide = _wide_names(form, steps * num_features)
    ids, time = (form.ids, None) if wide else index_columns(form)

    @functools.cache
    def clock_of(start: float | None) -> dict[str, list[str]]:
        if time is None:
            return {}
        at = time if start is None else starting_at(time, start)
        found = _time_texts(form, at, steps)
        return {name: [_cell(t, separator) for t in texts_T] for name, texts_T in found.items()}

    clock = clock_of(None)
    order = _order(form, [*(each.name for each in ids), *clock], wide)
    yield separator.join(_cell(name, separator) for name in order) + "\n"
    first = 0
    for block_NTD in _blocks(x_NTD):
        n = len(block_NTD)
        numbers = [str(i) for i in range(first, first + n) for _ in range(1 if wide else steps)]
        data = {each.name: numbers for each in ids}
        if starts_N is None:
            data |= {name: texts_T * n for name, texts_T in clock.items()}
        else:
            each = [clock_of(float(start)) for start in starts_N[first : first + n]]
            data |= {name: [t for one in each for t in one[name]] for name in clock}
        there = there_NT[first : first + n]
        first += n
        if wide:
            places = np.ndindex(steps, num_features)
            for name, (t, d) in zip(wide, places, strict=True):
                cells = zip(texts[d](block_NTD[:, t, d]), there[:, t].tolist(), strict=True)
                data[name] = [cell * is_in for cell, is_in in cells]
        else:
            for d, column in enumerate(form.columns):
                data[column.name] = texts[d](block_NTD[..., d].ravel())
        is_row = [True] * n if wide else there.ravel().tolist()
        rows = zip(*(data[name] for name in order), strict=True)
        for row in itertools.compress(rows, is_row):
            yield separator.join(row) + "\n"


def _dialect(form: Form, suffix: str) -> tuple[str, str]:
    """Separator and decimal point of a .csv or .tsv."""
    same = form.source == "csv" and suffix == ".csv"
    is_known = same and len(form.separator) == 1 and form.separator not in (" ", form.decimal)
    separator = "\t" if suffix == ".tsv" else form.separator if is_known else ","
    return separator, form.decimal if is_known else "."


def _blocks(x_NTD: np.ndarray) -> Iterator[np.ndarray]:
    """The sequences in parts that are small as text."""
    most = max(1, BLOCK // x_NTD[0].size) if len(x_NTD) else 1
    return (x_NTD[i : i + most] for i in range(0, len(x_NTD), most))


def _texts_of(
    x_NTD: np.ndarray,
    form: Form,
    decimal: str = ".",
    separator: str = " ",
) -> list[Callable[[np.ndarray], list[str]]]:
    """For each column the function that writes its values.

    Where the form has no decimals a number keeps nine digits of the column's spread, not of its
    own size: 1e9 with a standard deviation of 0.02 needs 17.
    """

    def texts(column: ColumnForm, x_NT: np.ndarray) -> Callable[[np.ndarray], list[str]]:
        only = dataclasses.replace(form, columns=(column,))
        words = column.categories or ("False", "True") * _is_bool(column.dtype)
        if words:
            written = [_quoted(word, separator) for word in words]
            return lambda x: [written[i] for i in categories.nearest(x, len(words)).astype(int)]
        decimals = 0 if _is_whole(known_dtype(column.dtype)) else column.decimals
        if decimals is None:
            largest = float(np.abs(x_NT).max(initial=0))
            spread = float((x_NT / (largest or 1.0)).std()) if x_NT.size else 0.0
            digits = DIGITS + math.ceil(-math.log10(spread)) if spread else MOST_DIGITS
            form_of = f"%.{max(DIGITS, digits)}g".__mod__ if digits < MOST_DIGITS else repr
        else:
            form_of = f"%.{decimals}f".__mod__

        def write(x: np.ndarray) -> list[str]:
            cells = map(form_of, rounded(x[:, None, None], only).ravel().tolist())
            return [cell.replace(".", decimal) for cell in cells] if decimal != "." else list(cells)

        return write

    def around_gaps(column: ColumnForm, x_NT: np.ndarray) -> Callable[[np.ndarray], list[str]]:
        gap = np.isnan(x_NT)
        if not gap.any():
            return texts(column, x_NT)
        write, usual = texts(column, x_NT[~gap]), float(x_NT[~gap][0]) if not gap.all() else 0.0
        nothing = NAN if separator == " " else ""  # cells are empty, but where spaces part them

        def with_gaps(x: np.ndarray) -> list[str]:
            cells = write(np.where(np.isnan(x), usual, x))
            return [nothing if g else c for g, c in zip(np.isnan(x), cells, strict=True)]

        return with_gaps

    return [around_gaps(column, x_NTD[..., d]) for d, column in enumerate(form.columns)]


def _cell(text: str, separator: str) -> str:
    """A name or time as a cell, on one line, in quotes where it needs them."""
    return _quoted(" ".join(text.split()), separator)


def _quoted(text: str, separator: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="").writerow([text])
    return line.getvalue()


# ------------------------------------------------------------------ futures


def _index_of_futures(form: Form, ends: Ends) -> tuple[dict[str, np.ndarray], str, TimeForm]:
    """Ids of the sequences, the name of the column of futures, and the time index."""
    plain_ids, time = index_columns(form if ends.last_N is not None else _without_time(form))
    ids = dict(ends.ids)
    if not ids and len(ends.lengths_N) > 1:
        ids = {plain_ids[0].name: np.arange(len(ends.lengths_N))}
    taken = {*ids, time.name, *form.order, *(column.name for column in form.columns)}
    sample = "sample"
    while sample in taken:
        sample += "_"
    return ids, sample, time


def _without_time(form: Form) -> Form:
    return dataclasses.replace(form, time=None)


def _order_of_futures(
    form: Form, ids: Sequence[str], sample: Sequence[str], clock: Sequence[str]
) -> list[str]:
    """All columns that are written of futures: as of sequences, the future's number after ids."""
    order = _order(form, [*ids, *clock], [])
    place = 1 + max((order.index(name) for name in ids), default=-1)
    return [*order[:place], *sample, *order[place:]]


def _times_after(form: Form, time: TimeForm, ends: Ends, n: int, steps: int) -> dict[str, Any]:
    """The columns of the time index of the steps after the end of sequence n."""
    last = float(ends.lengths_N[n] - 1 if ends.last_N is None else ends.last_N[n])
    index = times(dataclasses.replace(time, start=last), steps + 1)[1:]
    return _in_columns(form, time, index)


def futures_frame(
    x_NMTD: np.ndarray, form: Form, ends: Ends, numbered: bool = True, can_end: bool = False
) -> Any:
    """Futures as a DataFrame: ids, a column `sample` from 0, times that go on, the columns.

    Args:
      x_NMTD: in units of the data.
      form: of the data.
      ends: of the sequences that they go on from.
      numbered: whether there is a column `sample`.
      can_end: there are no rows after the last value of a future; else what is NaN is missing.
    """
    import pandas as pd

    n, number, steps, features = x_NMTD.shape
    there_NMT, x_NMTD = _cut_futures(x_NMTD, can_end)
    ids, sample, time = _index_of_futures(form, ends)
    made = {name: pd.Series(np.repeat(values, number * steps)) for name, values in ids.items()}
    dtypes = {each.name: each.dtype for each in form.ids}
    made = {name: each.astype(dtypes.get(name, each.dtype)) for name, each in made.items()}
    if numbered:
        made[sample] = pd.Series(np.tile(np.repeat(np.arange(number), steps), n))
    clocks = [_times_after(form, time, ends, i, steps) for i in range(n)]
    at_L = np.tile(np.arange(steps), number)
    for name in clocks[0]:
        made[name] = pd.concat([pd.Series(c[name][at_L]) for c in clocks], ignore_index=True)
    values = rounded(x_NMTD.reshape(n, -1, features), form).reshape(-1, features).T
    names = [column.name for column in form.columns]
    data = made | {
        name: _series(x, column)
        for name, x, column in zip(names, values, form.columns, strict=True)
    }
    order = _order_of_futures(form, list(ids), [sample] * numbered, list(clocks[0]))
    frame = pd.DataFrame({name: data[name] for name in order})
    if not there_NMT.all():
        frame = frame[there_NMT.ravel()].reset_index(drop=True)
    of_input = {each.name for each in form.ids} | ({form.time.name} if form.time else set())
    index = [name for name in made if name in of_input and name not in form.order]
    return frame.set_index(index) if index else frame


def _cut_futures(x_NMTD: np.ndarray, can_end: bool) -> tuple[np.ndarray, np.ndarray]:
    """`_cut` of futures."""
    there_LT, x_LTD = _cut(x_NMTD.reshape(-1, *x_NMTD.shape[2:]), can_end)
    return there_LT.reshape(x_NMTD.shape[:3]), x_LTD.reshape(x_NMTD.shape)


def save_futures(
    path: str | os.PathLike[str],
    x_NMTD: np.ndarray,
    form: Form,
    ends: Ends,
    numbered: bool = True,
    can_end: bool = False,
    with_gaps: bool = False,
) -> None:
    """Write futures in the format that the suffix of `path` names; with `can_end` NaN after ends,
    `with_gaps` where values are missing.

    .csv, .tsv, .parquet: as `futures_frame`. .txt: a future a line, all of the first sequence
    first. .npy: float64 [N, M, T, D]. Raises UsageError, DataError and DiskError as
    `save_sequences`.
    """
    suffix = check_suffix(path)
    flat_LTD = x_NMTD.reshape(-1, *x_NMTD.shape[2:])
    if suffix == ".txt":
        names = [column.name for column in form.columns]
        save_sequences(path, flat_LTD, names, form, with_gaps=with_gaps, ends=can_end)
        return
    shown = lengths.filled(flat_LTD) if can_end else flat_LTD
    if count := np.count_nonzero(np.isinf(shown) if with_gaps else ~np.isfinite(shown)):
        raise DataError(
            f"{printable(path)}: not written: {count} of {x_NMTD.size} values are not finite."
        )
    if suffix == ".npy":
        with atomic_write(path, "wb") as file:
            np.save(file, rounded(flat_LTD, form).reshape(x_NMTD.shape), allow_pickle=False)
    elif suffix == ".parquet":
        frame = futures_frame(x_NMTD, form, ends, numbered, can_end)
        with atomic_write(path, "wb") as file:
            (frame.reset_index() if any(frame.index.names) else frame).to_parquet(file, index=False)
    else:
        with atomic_write(path) as file:
            file.writelines(_futures_table(x_NMTD, form, ends, numbered, suffix, can_end))


def _futures_table(
    x_NMTD: np.ndarray, form: Form, ends: Ends, numbered: bool, suffix: str, can_end: bool
) -> Iterator[str]:
    """The lines of a .csv or .tsv of futures."""
    separator, decimal = _dialect(form, suffix)
    _, number, steps, _ = x_NMTD.shape
    there_NMT, x_NMTD = _cut_futures(x_NMTD, can_end)
    ids, sample, time = _index_of_futures(form, ends)
    texts = _texts_of(x_NMTD, form, decimal, separator)
    clock = list(_times_after(form, time, ends, 0, 1))
    order = _order_of_futures(form, list(ids), [sample] * numbered, clock)
    yield separator.join(_cell(name, separator) for name in order) + "\n"
    for n, x_MTD in enumerate(x_NMTD):
        data = {
            name: [_cell(str(values[n]), separator)] * (number * steps)
            for name, values in ids.items()
        }
        data[sample] = [str(i) for i in range(number) for _ in range(steps)]
        found = _in_texts(time, _times_after(form, time, ends, n, steps))
        data |= {
            name: [_cell(text, separator) for text in texts_T] * number
            for name, texts_T in found.items()
        }
        data |= {
            column.name: texts[d](x_MTD[..., d].ravel()) for d, column in enumerate(form.columns)
        }
        rows = zip(*(data[name] for name in order), strict=True)
        for cells in itertools.compress(rows, there_NMT[n].ravel().tolist()):
            yield separator.join(cells) + "\n"


def quantiles(
    x_NMTD: np.ndarray, form: Form, levels: Sequence[float]
) -> tuple[np.ndarray, Form, tuple[str, ...]]:
    """Quantiles over the futures of each sequence and step, with their form and notes.

    Each is one of the values that were drawn, the least x with F(x) >= level, so that it has the
    decimals of the data. Columns NAME_q0.1, ...; words, yes and no have none.

    Returns:
      values [N, 1, T, Q], the form of these Q columns, notes.

    Raises:
      UsageError: a level that is not between 0 and 1, or no column has quantiles.
    """
    wrong = [level for level in levels if not 0 < level < 1]
    if wrong or len(set(levels)) < len(levels):
        raise UsageError(
            f"quantiles {', '.join(f'{each:g}' for each in levels)}: each must be between 0 and 1, "
            "and there once. Write for example .1 .5 .9."
        )
    chosen = [d for d, c in enumerate(form.columns) if not c.categories and not _is_bool(c.dtype)]
    out = [c.name for d, c in enumerate(form.columns) if d not in chosen]
    if not chosen:
        raise UsageError(
            "quantiles: every column holds words, or yes and no, which have none. Leave them out."
        )
    x_QNTD = np.quantile(x_NMTD[..., chosen], levels, axis=1, method="inverted_cdf")
    values = np.moveaxis(x_QNTD, 0, -1).reshape(len(x_NMTD), 1, x_NMTD.shape[2], -1)
    columns = tuple(
        dataclasses.replace(form.columns[d], name=f"{form.columns[d].name}_q{level:g}")
        for d in chosen
        for level in levels
    )
    left = (*form.left_out, *((c.name, "quantiles of it are there") for c in form.columns))
    notes = (f"no quantiles of {', '.join(map(repr, out))}: words, yes and no",) if out else ()
    return values, dataclasses.replace(form, columns=columns, left_out=left), notes
