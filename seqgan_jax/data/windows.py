"""Steps of one or several entities -> sequences: in order of time, cut where it is broken.

Shapes: L rows of a table, N sequences, T steps, D columns.
"""

import dataclasses
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from seqgan_jax.config import DataConfig
from seqgan_jax.data import categories, columns, evidence, lengths, sequences
from seqgan_jax.data import missing as gaps
from seqgan_jax.data import times as clock
from seqgan_jax.data.evidence import Reading
from seqgan_jax.data.form import ColumnForm, Form, IdForm, TimeForm
from seqgan_jax.data.known import Given, cycles_of
from seqgan_jax.data.missing import Missing
from seqgan_jax.data.overlap import Windows
from seqgan_jax.data.sequences import MIN_SEQUENCES, Sequences
from seqgan_jax.data.tables import Column, Table, numbered_names
from seqgan_jax.data.times import Steps, Times
from seqgan_jax.errors import DataError, UsageError

Duplicates = Literal["error", "first", "last", "mean"]
HELD = ("yes/no", "category")  # kinds of columns without values between two
WINDOW = 20  # where none is given
LIMIT = 5  # steps that are filled in, where no --limit is given


@dataclass(frozen=True)
class Cut:
    """How sequences are cut and gaps are treated: flags of the same names."""

    window: int | None = None
    stride: int = 1
    missing: Missing = "error"
    limit: int | None = None
    duplicates: Duplicates = "error"
    missing_values: tuple[str, ...] = ()
    features: int = 1

    @classmethod
    def of(cls, settings: DataConfig) -> "Cut":
        """What the settings say."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(cls)})


@dataclass(eq=False)
class _Steps:
    """Rows in order: entity by entity, in each by time."""

    x_LD: np.ndarray
    code_L: np.ndarray  # entity
    breaks: np.ndarray  # first rows of pieces without a gap, 0 first
    steps: Steps | None
    notes: list[str]
    held_D: np.ndarray | None = None  # columns without values between two
    rows_L: np.ndarray | None = None  # which row of the table each is

    @property
    def pieces(self) -> list[tuple[int, int]]:
        ends = np.r_[self.breaks[1:], len(self.x_LD)]
        return [(int(a), int(b)) for a, b in zip(self.breaks, ends, strict=True)]


def build(table: Table, reading: Reading, cut: Cut) -> Sequences:
    """The sequences of a table that is read as `reading` says.

    Raises:
      DataError: a value that is missing or no number, a time that is there twice, or too few steps.
      UsageError: a setting that has no meaning for this layout.
    """
    table = categories.with_codes(table, reading.categories)
    x_LD = numbers(table, reading, cut)
    if reading.layout == "rows":
        return _rows(table, reading, cut, x_LD)
    if cut.features > 1:
        raise UsageError(
            f"--features has no meaning for {table.shown}, "
            + ("where its header has names" if table.has_names else "where a line is a step")
            + ". Leave it out."
        )
    _check_sentinels(table, reading, cut, x_LD)
    ordered = in_order(table, reading, cut, x_LD)
    form = _form(table, reading, _columns(table, reading), ordered.steps)
    names = tuple(table.names[d] for d in reading.learned)
    notes = (*table.notes, *reading.notes)
    if cut.missing != "error":
        gaps.check_columns(x_LD, names, table.shown)
    is_whole = reading.layout == "long" and cut.window is None
    if is_whole:
        found, starts = _whole(table, reading, cut, ordered, names)
    else:
        found, starts = _cut(table.shown, cut, ordered, names)
    steps_N = lengths.of(found.x_NTD)
    given = _given(table, reading, ordered, starts, steps_N, found.x_NTD.shape[1], is_whole)
    return dataclasses.replace(found, notes=(*notes, *found.notes), form=form, given=given)


def _given(
    table: Table,
    reading: Reading,
    ordered: _Steps,
    starts_N: np.ndarray,
    steps_N: np.ndarray,
    length: int,
    is_whole: bool,
) -> Given | None:
    """What is known in advance of the steps of sequences that begin at these ordered rows, and have
    so many; after its end that of its last step.

    The calendar is, where windows are cut from series with regular dates; None where nothing is.
    """
    times, steps = reading.times, ordered.steps
    cycles: tuple[str, ...] = ()
    is_cut = reading.calendar == "auto" and not is_whole
    if (
        is_cut
        and times is not None
        and times.kind != "number"
        and steps is not None
        and steps.regular
    ):
        span = float(np.ptp(clock.seconds_of(times)))
        cycles = cycles_of(steps.step / times.per_second, span)
    columns = [table.columns[d] for d in reading.known]
    if (not cycles and not columns) or ordered.rows_L is None:
        return None
    for column in columns:
        bad = np.flatnonzero(~np.isfinite(column.values))
        if len(bad):
            raise DataError(
                f"{table.place(int(bad[0]))}: {column.name!r} is missing (first of {len(bad):,}). "
                "What is known in advance must be there at every step: fill it in, or leave "
                "it out of --known."
            )
    rows_NT = ordered.rows_L[
        starts_N[:, None] + np.minimum(np.arange(length), steps_N[:, None] - 1)
    ]
    values = np.zeros((*rows_NT.shape, len(columns)))
    for c, column in enumerate(columns):
        values[..., c] = column.values[rows_NT]
    words = tuple(reading.categories.get(d, ()) for d in reading.known)
    names = tuple(table.names[d] for d in reading.known)
    given = Given(None, values, names, words)
    if times is None or steps is None or not cycles:
        return given
    return dataclasses.replace(
        given,
        seconds_NT=clock.seconds_of(times)[rows_NT],
        cycles=cycles,
        step=steps.step / times.per_second,
        timezone=times.timezone,
    )


# ------------------------------------------------------------------ values


def numbers(table: Table, reading: Reading, cut: Cut) -> np.ndarray:
    """The learned columns [L, D]; refuses what is no number, or is missing and may not be.

    Words are codes in the table already: `categories.with_codes`.
    """
    may_miss = cut.missing != "error"
    chosen = [table.columns[d] for d in reading.learned]
    if not chosen:
        listed = ", ".join(repr(name) for name in table.names[:20] if name) or "unnamed"
        raise DataError(
            f"{table.place(0)}: no column holds numbers that can be learned (the columns are "
            f"{listed}). Name one that does: --columns NAME."
        )
    for d, why in reading.left_out.items():
        is_asked = why == "it is empty" and cut.missing in ("drop", "interpolate")
        if is_asked and table.columns[d].name and table.has_names:
            raise gaps.nothing_in(table.columns[d].name, table.shown)
    bad = [d for d, column in zip(reading.learned, chosen, strict=True) if _is_bad(column, False)]
    if bad:
        really = [d for d in bad if _is_bad(table.columns[d], may_miss)]
        padded = reading.layout == "rows" and _is_padded(table, reading, cut)
        if really and not padded:
            others = [d for d in really if table.columns[d].kind not in HELD]
            if table.check is not None and others:
                table.check(others, may_miss)
            column = table.columns[really[0]]
            if column.kind in HELD:
                gone = np.flatnonzero(np.isnan(column.values))
                raise DataError(
                    f"{table.place(int(gone[0]))}: {column.name!r} is missing (first of "
                    f"{len(gone):,}). --missing model learns around it, --missing drop leaves out "
                    "the sequences or windows that it is in, --missing interpolate takes the word "
                    "before; or write a word of its own for it, such as unknown."
                )
            raise DataError(
                f"{table.shown}: column {column.name!r} holds missing values. {gaps.REMEDY}"
            )
    return np.stack([column.values for column in chosen], axis=1)


def _is_bad(column: Column, may_miss: bool) -> bool:
    if column.kind == "empty":
        return not may_miss
    if column.kind not in ("number", *HELD):
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        total = column.values.sum()  # faster than a look at each
    if np.isfinite(total):
        return False
    bad = np.isinf(column.values) if may_miss else ~np.isfinite(column.values)
    return bool(bad.any())


def _check_sentinels(table: Table, reading: Reading, cut: Cut, x_LD: np.ndarray) -> None:
    """Ask about values that may mean "missing"."""
    if cut.missing_values:
        return
    found: dict[float, list[tuple[str, int]]] = {}
    features = len(reading.learned) if reading.layout != "rows" else 1
    for d, x_L in enumerate(x_LD.T if features > 1 or x_LD.shape[1] == 1 else [x_LD.ravel()]):
        value = columns.sentinel_of(x_L)
        if value is not None and reading.learned[d] not in reading.categories:
            name = table.names[reading.learned[d]] if features > 1 else "the values"
            found.setdefault(value, []).append((name, int(np.count_nonzero(x_L == value))))
    if not found:
        return
    words = []
    for value, places in found.items():
        listed = ", ".join(f"{name!r} ({times:,} times)" for name, times in places[:5])
        words.append(f"{value:g} in {listed}" + ", ..." * (len(places) > 5))
    numbers = " ".join(f"{value:g}" for value in found)
    raise DataError(
        f"{table.shown}: {'; '.join(words)}: far outside all other values and repeated exactly, as "
        f"if it meant a missing value. If it does: --missing-values {numbers}. If it is a value: "
        "--missing-values nan."
    )


# ------------------------------------------------------------------ a line is a sequence


def _rows(table: Table, reading: Reading, cut: Cut, x_NW: np.ndarray) -> Sequences:
    """A sequence a line: T x D numbers, all of step 1 first."""
    if cut.duplicates != "error":
        raise UsageError("--duplicates has no meaning where a line is a sequence. Leave it out.")
    width, num_features = x_NW.shape[1], cut.features
    if width % num_features:
        where = f"{table.shown}:1:1" if table.dialect else table.shown
        raise DataError(
            f"{where}: {width} numbers a line are not a multiple of --features "
            f"{num_features}. Correct --features: a line has steps x features numbers."
        )
    x_NTD = x_NW.reshape(len(x_NW), -1, num_features)
    names = numbered_names(num_features)
    _check_sentinels(table, reading, cut, x_NW)
    steps_N = _steps_of(table, cut, x_NTD)
    dtype = table.columns[reading.learned[0]].dtype
    form = _form(table, reading, described(x_NTD, names, dtype), None)
    found = of_array(x_NTD, table.shown, names, cut, steps_N)
    notes = (*table.notes, *reading.notes, *found.notes)
    return dataclasses.replace(found, notes=notes, form=form)


def of_array(
    x_NTD: np.ndarray,
    source: str,
    names: tuple[str, ...],
    cut: Cut,
    steps_N: np.ndarray | None = None,
    remedy: str = "One long series: --layout series cuts it into windows.",
) -> Sequences:
    """Sequences [N, T, D] as they are, or windows of each where --window is given.

    Args:
      x_NTD: the values, NaN where missing.
      source: for messages.
      names: of the D columns.
      cut: how gaps are treated, and windows cut.
      steps_N: of each sequence, where they end in nothing.
      remedy: where there are too few sequences.
    """
    if cut.window is None:
        if cut.stride > 1:
            raise UsageError("--stride has no meaning without --window here. Leave it out.")
        limit = limit_of(cut)
        if steps_N is not None:
            how = cut.missing, limit
            return sequences.of_unequal(x_NTD, source, names, *how, given_N=steps_N)
        return sequences.of_table(x_NTD, source, names, cut.missing, limit, remedy)
    n, steps, num_features = x_NTD.shape
    kept = np.arange(steps) < (np.full(n, steps) if steps_N is None else steps_N)[:, None]
    code, x_LD = np.nonzero(kept)[0], x_NTD[kept]
    breaks = np.flatnonzero(np.r_[True, np.diff(code) != 0])
    ordered = _Steps(x_LD, code, breaks, None, [])
    if num_features and cut.missing != "error":
        gaps.check_columns(x_LD, names, source)
    return _cut(source, cut, ordered, names)[0]


def _is_padded(table: Table, reading: Reading, cut: Cut) -> bool:
    """Whether lines end in missing values, as sequences of unequal length do."""
    values = [table.columns[d].values for d in reading.learned]
    if any(each.dtype != np.float64 or np.isinf(each).any() for each in values):
        return False
    x_NTD = np.stack(values, axis=1)[..., None]
    return bool(np.isnan(x_NTD).any()) and _steps_of(table, cut, x_NTD) is not None


def _steps_of(table: Table, cut: Cut, x_NTD: np.ndarray) -> np.ndarray | None:
    """The lengths of sequences that end in missing values or zeros, None where they do not."""
    if not np.any(np.isnan(x_NTD[:, -1]) | (x_NTD[:, -1] == 0)):
        return None  # nothing at the end
    if (steps_N := lengths.ends_in_nothing(x_NTD)) is not None:
        return steps_N
    if cut.missing_values or cut.window is not None:
        return None
    zeros = columns.padding_of(np.abs(x_NTD).sum(axis=2))
    if zeros is not None:
        raise DataError(
            f"{table.shown}: {int(np.sum(zeros < x_NTD.shape[1])):,} lines end in zeros, which are "
            "nowhere else, as if sequences of unequal length were filled up. If so: "
            "--missing-values 0. If zeros are values: --missing-values nan."
        )
    return None


def limit_of(cut: Cut) -> int | None:
    """The longest gap that is filled in; refuses --limit without --missing interpolate."""
    if cut.limit is not None and cut.missing != "interpolate":
        raise UsageError("--limit has no meaning without --missing interpolate. Leave one out.")
    return LIMIT if cut.limit is None else cut.limit


# ------------------------------------------------------------------ a line is a step


def in_order(table: Table, reading: Reading, cut: Cut, x_LD: np.ndarray) -> _Steps:
    """Rows entity by entity and in order of time, without duplicates, and where time is broken."""
    times, notes = reading.times, list[str]()
    held_D = np.array([table.columns[d].kind in HELD for d in reading.learned], bool)
    code = evidence.entities(table, reading.ids)
    if times is None:
        if cut.duplicates != "error":
            raise UsageError(
                "--duplicates has no meaning without a time index. Name it (--time COLUMN), or "
                "leave --duplicates out."
            )
        order = np.argsort(code, kind="stable")
        x_LD, code = x_LD[order], code[order]
        breaks = np.flatnonzero(np.r_[True, np.diff(code) != 0])
        return _Steps(x_LD, code, breaks, None, notes, held_D, order)
    order = np.lexsort((times.ticks, code))
    if np.any(np.diff(order) != 1):
        newest = bool(np.all(np.diff(times.ticks) < 0))
        notes.append("put in order of time" + " (the newest was first)" * newest)
        x_LD, code = x_LD[order], code[order]
    ticks = times.ticks[order]
    twice = np.r_[False, (np.diff(code) == 0) & (np.diff(ticks) == 0)]
    if twice.any():
        starts = np.flatnonzero(~twice)
        firsts_LD = x_LD[starts]
        x_LD, code, ticks = _without_duplicates(table, cut, times, x_LD, code, ticks, twice, order)
        # What is known in advance is that of the line that is kept, of means of the first.
        order = order[np.r_[starts[1:], len(order)] - 1 if cut.duplicates == "last" else starts]
        if cut.duplicates == "mean":
            x_LD[:, held_D] = firsts_LD[:, held_D]
            done = "mean taken" + (", of words the first" if held_D.any() else "")
        else:
            done = f"{cut.duplicates} kept"
        count = int(twice.sum())
        notes.append(
            f"{count:,} line{'s' * (count > 1)} with a time that was there already: {done}"
        )
    new = np.diff(code) != 0
    groups = np.split(ticks, np.flatnonzero(new) + 1)
    steps = clock.infer_many(times, groups)
    broken = new.copy()
    broken[~new] = steps.broken
    number = int(steps.broken.sum())
    words = f"time step {steps.words}"
    if times.kind != "number" or number:
        first, last = show(times, ticks.min()), show(times, ticks.max())
        words += f", {first} to {last}, {number or 'no'} gap{'s' * (number != 1)}"
        if number:
            at = int(np.flatnonzero(~new)[np.flatnonzero(steps.broken)[0]])
            words += f" (the first after {show(times, ticks[at])}); no sequence crosses one"
        notes.append(words)
    breaks = np.flatnonzero(np.r_[True, broken])
    return _Steps(x_LD, code, breaks, steps, notes, held_D, order)


def show(times: Times, tick: float) -> str:
    """A time for messages."""
    if times.kind == "number":
        return f"{tick:.12g}"
    unit = {1: "s", 10**3: "ms", 10**6: "us", 10**9: "ns"}[times.per_second]
    date, _, clock_time = str(np.int64(tick).astype(f"M8[{unit}]")).partition("T")
    if "." in clock_time:
        clock_time = clock_time.rstrip("0").rstrip(".")
    return date if clock_time == "00:00:00" else f"{date} {clock_time}"


def _without_duplicates(
    table: Table,
    cut: Cut,
    times: Times,
    x_LD: np.ndarray,
    code: np.ndarray,
    ticks: np.ndarray,
    twice: np.ndarray,
    order: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if cut.duplicates == "error":
        at = int(np.flatnonzero(twice)[0])
        rows = sorted((int(order[at - 1]), int(order[at])))
        same = (
            "" if table.dialect is None else f" (line {table.dialect.first + rows[0]} has it too)"
        )
        raise DataError(
            f"{table.place(rows[1])}: the time {show(times, ticks[at])} is there twice{same}; "
            f"{int(twice.sum()):,} such lines in all. Keep one of them: --duplicates first, last "
            "or mean. If they are of several sequences: --id COLUMN."
        )
    starts = np.flatnonzero(~twice)
    if cut.duplicates == "first":
        return x_LD[starts], code[starts], ticks[starts]
    if cut.duplicates == "last":
        ends = np.r_[starts[1:], len(ticks)] - 1
        return x_LD[ends], code[starts], ticks[starts]
    there = ~np.isnan(x_LD)
    total = np.add.reduceat(np.where(there, x_LD, 0.0), starts, axis=0)
    count = np.add.reduceat(there.astype(float), starts, axis=0)
    with np.errstate(invalid="ignore"):
        return total / count, code[starts], ticks[starts]


def _whole(
    table: Table, reading: Reading, cut: Cut, ordered: _Steps, names: tuple[str, ...]
) -> tuple[Sequences, np.ndarray]:
    """Every entity is a sequence without a gap; and their first rows."""
    starts = np.flatnonzero(np.r_[True, np.diff(ordered.code_L) != 0])
    steps_N = np.diff(np.r_[starts, len(ordered.code_L)])
    if cut.stride > 1:
        raise UsageError("--stride has no meaning without --window here. Leave it out.")
    if steps_N.min() != steps_N.max():
        usual = int(np.bincount(steps_N).argmax())
        odd = np.flatnonzero(steps_N != usual)
        if len(odd) <= 0.1 * len(steps_N):  # one that is cut, rather than lives of many lengths
            entity = ordered.code_L[starts[odd[0]]]
            row = int(np.flatnonzero(evidence.entities(table, reading.ids) == entity)[-1])
            raise DataError(
                f"{table.place(row)}: the sequence that ends here has {steps_N[odd[0]]} steps, and "
                f"{len(steps_N) - len(odd):,} of {len(steps_N):,} have {usual}. Correct it, delete "
                f"it, or cut windows out of all: --window {max(2, int(steps_N.min()))}."
            )
    if len(ordered.breaks) > len(starts):
        number = len(ordered.breaks) - len(starts)
        longest = max(b - a for a, b in ordered.pieces)
        raise DataError(
            f"{table.shown}: {number:,} gap{'s' * (number > 1)} in the time of the sequences "
            f"({'; '.join(ordered.notes)}). Cut windows that cross none: --window N, at most "
            f"{longest}."
        )
    if np.ptp(steps_N):
        x_NTD = lengths.padded(np.split(ordered.x_LD, starts[1:]))
        how = cut.missing, limit_of(cut), ordered.held_D
        found = sequences.of_unequal(x_NTD, table.shown, names, *how, steps_N)
    else:
        x_NTD = np.ascontiguousarray(ordered.x_LD).reshape(len(starts), int(steps_N[0]), -1)
        remedy = f"Cut windows out of them: --window N, at most {int(steps_N[0])}."
        found = sequences.of_table(
            x_NTD, table.shown, names, cut.missing, limit_of(cut), remedy, ordered.held_D
        )
    if reading.known and len(found.x_NTD) < len(starts):
        raise UsageError(
            f"--known: {len(starts) - len(found.x_NTD):,} of {len(starts):,} sequences are left "
            "out for values that they miss, which is not yet possible with --known. Delete them, "
            "or cut windows: --window N."
        )
    return dataclasses.replace(found, notes=(*ordered.notes, *found.notes)), starts


def _cut(
    source: str, cut: Cut, ordered: _Steps, names: tuple[str, ...]
) -> tuple[Sequences, np.ndarray]:
    """Windows of each piece without a gap, and the row at which each begins."""
    window, x_LD, notes = cut.window or WINDOW, ordered.x_LD, ordered.notes
    limit = limit_of(cut)
    if cut.missing == "interpolate":  # along whole pieces: windows agree where they overlap
        total = longest = 0
        x_LD = x_LD.copy()
        for a, b in ordered.pieces:
            filled_1LD, filled, gap = gaps.fill(x_LD[None, a:b], limit, ordered.held_D)
            x_LD[a:b] = filled_1LD[0]
            total, longest = total + filled, max(longest, gap)
        notes += gaps.filled_notes(total, x_LD.size, longest, limit, ordered.held_D)
    pieces = ordered.pieces
    most = max(b - a for a, b in pieces)
    one = len(pieces) == 1
    if most < window:
        what = "a series" if one else "the longest piece without a gap, a series"
        raise DataError(
            f"{source}: {what} of length {most} is shorter than --window {window}. Choose a "
            "smaller --window."
        )
    starts = np.concatenate([np.arange(a, b - window + 1, cut.stride) for a, b in pieces])
    short = sum(b - a for a, b in pieces if b - a < window)
    if len(starts) < MIN_SEQUENCES:
        within = "" if one else f" in {len(pieces):,} pieces"
        raise DataError(
            f"{source}: {len(x_LD)} steps{within} give {len(starts)} windows of --window {window} "
            f"at --stride {cut.stride}; at least {MIN_SEQUENCES} are needed. Choose a smaller "
            "--window or --stride."
        )
    if short:
        notes.append(f"left out {short:,} steps in pieces shorter than a window of {window}")
    all_NDT = np.lib.stride_tricks.sliding_window_view(x_LD, window, axis=0)
    windows_NDT = all_NDT[:: cut.stride] if one else all_NDT[starts]
    try:
        x_NTD = np.ascontiguousarray(windows_NDT.transpose(0, 2, 1))
    except MemoryError:
        raise DataError(
            f"{source}: {len(starts)} windows of {window} steps do not fit in memory. "
            "Choose a larger --stride."
        ) from None
    if cut.missing != "error" and np.isnan(x_NTD).any():
        how: Missing = "model" if cut.missing == "model" else "drop"
        said = gaps.around(x_LD, names) if how == "model" else ()
        x_NTD, kept_N, dropped = gaps.resolve(x_NTD, how, source, "windows")
        starts, notes = starts[kept_N], [*said, *notes, *dropped]
        if len(starts) < MIN_SEQUENCES:
            raise DataError(
                f"{source}: {len(starts)} of {len(kept_N)} windows have "
                + ("a value" if how == "model" else "no missing value")
                + f"; at least {MIN_SEQUENCES} are needed. "
                + {
                    "model": "Use more data.",
                    "drop": "Choose a smaller --window, or try --missing model.",
                }.get(cut.missing, "Choose a smaller --window or a larger --limit.")
            )
    code = ordered.code_L[starts]
    if len(np.unique(ordered.code_L)) == 1:
        return Sequences(x_NTD, names, source, starts, tuple(notes)), starts
    first = np.flatnonzero(np.r_[True, np.diff(ordered.code_L) != 0])
    begin = np.zeros(int(ordered.code_L.max()) + 1, np.int64)
    begin[ordered.code_L[first]] = first
    series = np.unique(code, return_inverse=True)[1]
    where = Windows(series, starts - begin[code], cut.stride)
    notes.append(f"{len(starts):,} windows of {window} steps, none across two sequences")
    return Sequences(x_NTD, names, source, None, tuple(notes), where), starts


# ------------------------------------------------------------------ the form


def described(
    x_NTD: np.ndarray, names: tuple[str, ...], dtype: str = "float64"
) -> tuple[ColumnForm, ...]:
    """The form of the columns of an array of sequences."""
    ends = np.isnan(x_NTD[:, -1]).any() and lengths.ends_in_nothing(x_NTD) is not None
    x_LD = x_NTD[lengths.there(x_NTD)] if ends else x_NTD.reshape(-1, x_NTD.shape[2])
    flat = [Column(name, "number", x_LD[:, d], dtype) for d, name in enumerate(names)]
    return columns_of(flat)


def _columns(table: Table, reading: Reading) -> tuple[ColumnForm, ...]:
    learned = [table.columns[d] for d in reading.learned]
    return columns_of(learned)


def columns_of(learned: list[Column]) -> tuple[ColumnForm, ...]:
    earlier: list[np.ndarray] = []
    found = []
    for column in learned:
        found.append(columns.describe(column, column.values, earlier))
        earlier.append(column.values)
    return tuple(found)


def _form(
    table: Table, reading: Reading, described: tuple[ColumnForm, ...], steps: Steps | None
) -> Form:
    """What the input looked like."""
    time: TimeForm | None = None
    if reading.times is not None and steps is not None:
        time = clock.form_of(reading.times, steps)
    ids = tuple(
        IdForm(table.names[d], "int64" if table.columns[d].exact is not None else "str")
        for d in reading.ids
    )
    left = tuple((table.names[d], why) for d, why in sorted(reading.left_out.items()))
    text = table.dialect
    return Form(
        table.source,
        reading.layout,
        described,
        table.names,
        ids,
        time,
        left,
        text.separator if text else "",
        text.decimal if text else ".",
    )
