"""What the reader sees in data: `seqgan inspect FILE`, `seqgan_jax.inspect(frame)`."""

import dataclasses
import os
import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgan_jax import config
from seqgan_jax.config import DataConfig
from seqgan_jax.data import (
    angles,
    arrays,
    bounds,
    categories,
    encoding,
    evidence,
    lags,
    layout,
    lengths,
    missing,
    statics,
    tables,
    texts,
    windows,
)
from seqgan_jax.data import times as clock
from seqgan_jax.data.cells import quote
from seqgan_jax.data.evidence import Reading, Wanted
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import ColumnForm, Form, TimeForm
from seqgan_jax.data.sequences import MIN_SEQUENCES, Sequences, split
from seqgan_jax.data.tables import Table
from seqgan_jax.data.windows import Cut
from seqgan_jax.errors import DataError, UsageError

UNKNOWN = "unknown"
LONG, LONG_WITH_ENDS = 200, 1000  # steps of a sequence of which windows are proposed
READ = layout.READING - {"data", "num_sequences", "memory", "buffer"}
LEARN = {"log", "bounds", "kind", "static", "rule", "rules"}
OTHER = {item.name for item in dataclasses.fields(DataConfig)} - READ - LEARN
FEW_STEPS = 16  # of a line without names that may as well be features
SHORTEST = 5  # steps of a window that is proposed
MOST_SHOWN = 20  # columns
WIDTH = 100
WORDS = {
    "series": "series: a line is a step",
    "rows": "rows: a line is a sequence",
    "long": "long: a line is a step of one of several sequences",
    UNKNOWN: "not clear: see the questions",
}


@dataclass(frozen=True)
class Inspection:
    """What is in data, and what the reader would ask.

    Args:
      source: path, or "x" for what came from Python.
      layout: series, rows or long; unknown where that is a question.
      sequences: how many; 1 where it is one long series; None where that is a question.
      steps: of each, or the least and the most.
      time: name, kind, step (words), start, end (words) and gaps of the time index, None without.
      ids: columns that name the sequence.
      columns: that would be learned.
      notes: what was seen.
      questions: what must be answered before training, each with its flags.
      command: that trains on it as it was read; "" where a question is open that it cannot answer.
      learned: how that command learns each column, in words; () where there is no command, or the
        data would be streamed.
      rules: between columns, which every sample keeps; found in what would be the training part.
      known: in words, what is known in advance of each step: its place in the calendar, columns.
    """

    source: str
    layout: str
    sequences: int | None
    steps: int | tuple[int, int] | None
    time: dict[str, Any] | None
    ids: tuple[str, ...]
    columns: tuple[ColumnForm, ...]
    notes: tuple[str, ...]
    questions: tuple[str, ...]
    command: str
    learned: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    known: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The object that `seqgan inspect --json` prints."""
        stored = dataclasses.asdict(self)
        shown = ("name", "kind", "dtype", "low", "high", "grid", "decimals", "atoms", "missing")
        learned = stored.pop("learned") or ("",) * len(self.columns)
        stored["columns"] = [
            {name: column[name] for name in (*shown, "categories", "notes")} | {"learned": words}
            for column, words in zip(stored["columns"], learned, strict=True)
        ]
        return stored

    def __str__(self) -> str:
        """The screen of `seqgan inspect`."""
        return "\n".join(_screen(self))


def inspect(
    x: Any,
    *,
    id: str | Sequence[str] | None = None,
    time: str | Sequence[str] | None = None,
    **settings: Any,
) -> Inspection:
    """What is in data before anything is learned from them; print it.

    Args:
      x: path, DataFrame, Series or array: what `SeqGAN.fit` and `--data` take.
      id: column or columns that name the sequence.
      time: column or columns of the time index.
      settings: of how data are read and learned, by the names of the flags: layout, columns,
        window, kind, rules, ...

    Raises:
      DataError: it is not there, or no table or array at all.
      UsageError: a setting that is impossible or has no meaning, or contradicts another.

    >>> import pandas as pd
    >>> day = pd.date_range("2021-01-01", periods=60)
    >>> found = inspect(pd.DataFrame({"day": day, "level": np.sin(np.arange(60)).round(2)}))
    >>> found.layout, found.steps, found.time["step"], found.columns[0].grid
    ('series', 60, '1 day', 0.01)
    """
    for name, value in (("id", id), ("time", time)):
        if value is not None:
            settings[name] = (value,) if isinstance(value, str) else tuple(value)
    if unknown := sorted(set(settings) - READ - LEARN):
        raise UsageError(f"{unknown[0]}: no setting of how data are read or learned.")
    data = config.from_flat(settings).data
    if isinstance(x, str | os.PathLike):
        return of_file(dataclasses.replace(data, data=os.fspath(x)))
    frame = layout.frame_of(x)
    if frame is not None:
        table = tables.of_frame(frame, "frame", "x", data.missing_values)
        found = _of_table(table, data, "x")
    else:
        array = arrays.as_array(layout.one_array(x), may_miss=True, may_be_flat=True)

        def read(changes: dict[str, Any]) -> Sequences:
            given = frozenset(settings) & layout.OF_TABLES
            return layout.from_python(x, dataclasses.replace(data, **changes), given)

        found = _of_sequences(read, data, "x", array if array.ndim == 3 else array[None, :, None])
    return found


def of_file(settings: DataConfig) -> Inspection:
    """What is in the file that the settings name; raises as `inspect` does."""
    source = settings.data or ""
    path = layout.BUNDLED.get(source, Path(source))
    if path.is_dir() or path.suffix.lower() in (".npy", ".npz"):

        def read(changes: dict[str, Any]) -> Sequences:
            return layout.load(source, **_reading(dataclasses.replace(settings, **changes)))

        if path.is_dir():
            return _of_sequences(read, settings, source)
        return _of_sequences(read, settings, source, arrays.read_array(path, may_miss=True))
    texts.refuse_by_name(path)
    reader = tables.READERS.get(path.suffix.lower(), tables.read_text)
    return _of_table(reader(path, settings.missing_values), settings, source)


def without_meaning(settings: DataConfig) -> str:
    """The flag of a setting that is given and has none for inspect, "" where there is none."""
    names = _changed(settings, {}, OTHER)
    return next(("--" + name.replace("_", "-") for name in names), "")


def _reading(settings: DataConfig) -> dict[str, Any]:
    """The arguments of `layout.load`."""
    return {name: getattr(settings, name) for name in READ}


# ------------------------------------------------------------------ arrays and folders


def _of_sequences(
    read: Callable[[dict[str, Any]], Sequences],
    settings: DataConfig,
    source: str,
    x_NTD: np.ndarray | None = None,
) -> Inspection:
    """What is in an array, which holds sequences unless the reader asks."""
    changes: dict[str, Any] = {}
    questions, learned = [], _NOTHING
    if x_NTD is not None and settings.missing == "error" and _misses(x_NTD):
        questions.append(_about_missing(float(np.isnan(x_NTD).mean())))
        changes["missing"] = "model"
    try:
        found = read(changes)
    except DataError as error:
        shape = [] if x_NTD is None else [f"an array of shape {list(np.squeeze(x_NTD).shape)}"]
        columns = () if x_NTD is None else windows.described(x_NTD, _names(x_NTD))
        questions.append(str(error))
        return Inspection(
            source, UNKNOWN, None, None, None, (), columns, tuple(shape), tuple(questions), ""
        )
    whole = found.x_NTD if x_NTD is None else x_NTD
    steps: int | tuple[int, int] = whole.shape[1]
    if found.ends:
        steps_N = lengths.of(whole)
        steps = int(steps_N.min()), int(steps_N.max())
    form, command = found.form, _command(source, settings, changes)
    if settings.data is None or not layout.open_stream(settings):
        try:
            learned = _learned(found, settings)
        except DataError as error:
            questions.append(str(error))
            command = ""
    return Inspection(
        source,
        form.layout if form else "rows",
        len(whole),
        steps,
        None,
        tuple(each.name for each in form.ids) if form else (),
        windows.described(whole, found.names),
        (*found.notes, *_of_values(found)),
        tuple(questions),
        command,
        *learned,
    )


def _misses(x_NTD: np.ndarray) -> bool:
    """Whether there are NaN that are not after ends."""
    gone = np.isnan(x_NTD)
    if gone.any() and lengths.ends_in_nothing(x_NTD) is not None:
        gone &= lengths.there(x_NTD)[..., None]
    return bool(gone.any())


def _names(x_NTD: np.ndarray) -> tuple[str, ...]:
    return layout.default_names(x_NTD.shape[2])


# ------------------------------------------------------------------ how it is learned

_NOTHING: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def _learned(sequences: Sequences, settings: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """How each column is learned, and the rules; raises as training does."""
    sequences.check(bounds.of_columns(settings.log, settings.bounds, sequences.names))
    statics.check(sequences.filled, encoding.asked_of(sequences.names, settings, sequences.form))
    train_NTD = split(sequences).train_NTD
    gaps_D = np.isnan(sequences.filled.x_NTD).any(axis=(0, 1))
    names, form = sequences.names, sequences.form
    scaler = encoding.fit(train_NTD, names, settings, form, gaps_D, sequences.ends)
    words = (scaler.described(d) or "continuous" for d in range(len(sequences.names)))
    return tuple(words), tuple(map(str, scaler.rules.rules)) if scaler.rules else ()


# ------------------------------------------------------------------ tables


def _of_table(table: Table, settings: DataConfig, source: str) -> Inspection:
    """What is in a table, and whether `windows.build` takes it."""
    wanted = Wanted(
        settings.layout,
        settings.id,
        settings.time,
        settings.label,
        settings.columns,
        known=settings.known,
        calendar=settings.calendar,
    )
    cut = Cut.of(settings)
    try:
        reading = evidence.read(table, wanted)
    except DataError as error:
        numbers = [c for c in table.columns if c.kind in ("number", "yes/no") and c.name]
        rows = f"{len(table):,} rows of {len(table.columns):,} columns"
        notes = (*table.notes, rows)
        columns = windows.columns_of(numbers)
        return Inspection(source, UNKNOWN, None, None, None, (), columns, notes, (str(error),), "")
    table = categories.with_codes(table, reading.categories)
    questions = []
    # Whatever the window is: sequences of unequal length are no question here.
    may_miss = dataclasses.replace(
        cut,
        missing="model" if cut.missing == "error" else cut.missing,
        window=cut.window or windows.WINDOW,
    )
    try:
        x_LD = windows.numbers(table, reading, may_miss)
    except DataError as error:
        kinds = ("number", *windows.HELD)
        good = [d for d in reading.learned if table.columns[d].kind in kinds]
        questions.append(str(error))
        reading = dataclasses.replace(reading, learned=tuple(good))
        kept = [table.columns[d].values for d in good]
        x_LD = np.stack(kept, 1) if kept else np.zeros((len(table), 0))
    seen = _rows(x_LD, cut) if reading.layout == "rows" else _steps(table, reading, cut, x_LD)
    taken = _taken_for_granted(table, reading, seen) if settings.layout == "auto" else ()
    if cut.missing == "model" and seen.missing:
        is_rows = reading.layout == "rows"
        names = ("the values",) if is_rows else [table.names[d] for d in reading.learned]
        said = missing.around(x_LD.reshape(-1, len(names)), names)
        seen = dataclasses.replace(seen, notes=(*said, *seen.notes))
    changes: dict[str, Any] = {}
    learned, can_train, known = _NOTHING, not questions, ""
    if cut.missing == "error" and seen.missing:
        questions.append(_about_missing(seen.missing))
        changes["missing"] = "model"
    if can_train:
        try:
            found, window = _proposed(table, reading, seen, dataclasses.replace(cut, **changes))
            learned = _learned(found, settings)
            said = *_of_ends(found), *_of_values(found)
            seen = dataclasses.replace(seen, notes=(*seen.notes, *said))
            if found.given:
                tried = " (tried; kept only where it helps)" * (settings.calendar == "auto")
                cycles = [", ".join(found.given.cycles) + tried] if found.given.cycles else []
                known = ", ".join([*cycles, *found.given.names])
            changes |= {} if window is None else {"window": window}
        except DataError as error:
            questions.append(str(error))
            can_train = False
    if reading.layout == "rows":
        x_NTD = x_LD.reshape(
            len(x_LD), -1, cut.features if x_LD.shape[1] % cut.features == 0 else 1
        )
        described = windows.described(x_NTD, _names(x_NTD))
    else:
        described = windows.columns_of([table.columns[d] for d in reading.learned])
    least, most = int(seen.lengths.min()), int(seen.lengths.max())
    return Inspection(
        source=source,
        layout=reading.layout,
        sequences=len(seen.lengths),
        steps=least if least == most else (least, most),
        time=seen.time,
        ids=tuple(table.names[d] for d in reading.ids),
        columns=described,
        notes=(*table.notes, *taken, *reading.notes, *seen.notes),
        questions=tuple(questions),
        command=_command(source, settings, changes) if can_train else "",
        learned=learned[0],
        rules=learned[1],
        known=known,
    )


def _taken_for_granted(table: Table, reading: Reading, seen: "_Seen") -> tuple[str, ...]:
    """What to say where nothing in a table shows that its lines are steps, or sequences."""
    width = len(reading.learned)
    if reading.layout == "rows" and not table.has_names and 1 < width <= FEW_STEPS:
        if np.ptp(seen.lengths):  # as sequences alone are
            return ()
        return (
            f"a line is taken as a sequence of {width} steps; if it is a step of one long series "
            f"with {width} features: --layout series",
        )
    times = reading.times
    if times is None and reading.layout != "rows":
        why = "there is no time index: lines are taken as steps, in the order they are in"
    elif reading.layout == "series" and times is not None and not clock.is_time(times):
        why = f"{quote(times.name)} only counts, and lines are taken as steps in its order"
    else:
        return ()
    return (f"{why}. If they are in none, as people or places are, there is no sequence to learn",)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Lengths of the sequences and of their pieces without a gap, and what is known of time."""

    lengths: np.ndarray
    pieces: np.ndarray
    missing: float
    time: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def _rows(x_NW: np.ndarray, cut: Cut) -> _Seen:
    """Of lines that are sequences, which may end in nothing."""
    steps_N = lengths.ends_of(np.isnan(x_NW))
    inside = np.arange(x_NW.shape[1]) < steps_N[:, None]
    is_padded = steps_N.min() > 0 and not np.isnan(x_NW[inside]).any()
    if not is_padded:
        steps_N = np.full(len(x_NW), x_NW.shape[1])
    steps_N = steps_N // cut.features
    return _Seen(steps_N, steps_N, 0.0 if is_padded else float(np.isnan(x_NW).mean()))


def _steps(table: Table, reading: Reading, cut: Cut, x_LD: np.ndarray) -> _Seen:
    """Of lines that are steps."""
    try:
        ordered = windows.in_order(table, reading, cut, x_LD)
    except DataError:  # times that are there twice: `build` will say so
        ordered = windows.in_order(
            table, reading, dataclasses.replace(cut, duplicates="first"), x_LD
        )
    steps_N = np.bincount(ordered.code_L)
    pieces = np.array([b - a for a, b in ordered.pieces])
    missing = float(np.isnan(x_LD).mean()) if x_LD.size else 0.0
    if reading.times is None or ordered.steps is None:
        return _Seen(steps_N, pieces, missing, None, tuple(ordered.notes))
    ticks = reading.times.ticks
    time = {
        "name": reading.times.name,
        "kind": reading.times.kind,
        "step": ordered.steps.words,
        "start": windows.show(reading.times, ticks.min()),
        "end": windows.show(reading.times, ticks.max()),
        "gaps": len(pieces) - len(steps_N),
    }
    notes = tuple(note for note in ordered.notes if not note.startswith("time step "))
    return _Seen(steps_N, pieces, missing, time, notes)


def _proposed(
    table: Table, reading: Reading, seen: _Seen, cut: Cut
) -> tuple[Sequences, int | None]:
    """The sequences to train on, and their window: None where whole ones are enough.

    Raises DataError where there is none that can be trained on.
    """
    is_whole = len(seen.pieces) == len(seen.lengths)
    is_series, unequal = reading.layout == "series", bool(np.ptp(seen.lengths))
    most = LONG_WITH_ENDS if unequal else LONG
    enough = len(seen.lengths) >= MIN_SEQUENCES
    longest = windows.WINDOW
    if not is_series and seen.lengths.min() >= SHORTEST:
        longest = min(longest, int(seen.lengths.min()))  # so that no sequence is left out
    sizes: list[int | None] = list(range(longest, SHORTEST - 1, -1))
    if cut.window is not None:
        sizes = [cut.window]
    elif not is_series and is_whole and (seen.lengths.max() <= most if enough else not sizes):
        sizes = [None, *(sizes if unequal else [])]
    first: DataError | None = None
    for size in sizes:
        try:
            found = windows.build(table, reading, dataclasses.replace(cut, window=size))
            split(found)
        except DataError as error:
            first = first or error
        else:
            return found, size
    raise first or DataError(f"{table.shown}: no window can be cut.")


def _of_ends(found: Sequences) -> tuple[str, ...]:
    return (lengths.note(lengths.of(found.x_NTD)),) if found.ends else ()


def _of_values(found: Sequences) -> tuple[str, ...]:
    return tuple(note for of in (lags, angles) for note in of.notes(found.x_NTD, found.names))


def _about_missing(share: float) -> str:
    return (
        f"{share:.2%} of the values are missing. --missing model learns around them; --missing "
        "drop leaves out the sequences or windows that they are in; --missing interpolate fills "
        "them in along time."
    )


# ------------------------------------------------------------------ words


def _changed(
    settings: DataConfig, changes: dict[str, Any], names: Set[str] = READ | LEARN
) -> dict[str, Any]:
    """Those of the settings that are not at their default."""
    default = DataConfig()
    chosen = dataclasses.replace(settings, **changes)
    return {
        item.name: value
        for item in dataclasses.fields(DataConfig)
        if item.name in names
        and (value := getattr(chosen, item.name)) != getattr(default, item.name)
    }


def _command(source: str, settings: DataConfig, changes: dict[str, Any]) -> str:
    """The command that trains on a file, or the call that trains on what came from Python."""
    if settings.data is None:
        return _call(settings, changes)
    words = ["seqgan", "train", "--data", source]
    for name, value in _changed(settings, changes).items():
        words += [
            "--" + name.replace("_", "-"),
            *map(str, value if isinstance(value, tuple) else [value]),
        ]
    return shlex.join(words)


def _call(settings: DataConfig, changes: dict[str, Any]) -> str:
    changed = _changed(settings, changes)
    given = {name: changed.pop(name) for name in ("id", "time") if name in changed}
    values = [
        ", ".join(f"{name}={value!r}" for name, value in each.items()) for each in (changed, given)
    ]
    return f"SeqGAN({values[0]}).fit({', '.join(filter(None, ['x', values[1]]))})"


def in_short(form: Form) -> Iterator[str]:
    """The layout and the time index in a line or two, as a run begins with."""
    ids = f", named by {', '.join(each.name for each in form.ids)}" if form.ids else ""
    yield f"{WORDS[form.layout]}{ids}"
    if form.time is not None:
        yield f"time index {form.time.name}, step {step_in_words(form.time)}"


def step_in_words(time: TimeForm) -> str:
    """The step of a time index.

    >>> step_in_words(TimeForm("t", "datetime", 3600.0, "h", 0.0, "", ""))
    '1 hour'
    """
    if time.kind == "number":
        return f"{time.step:.6g}"
    if time.step % clock.MONTH == 0 and time.kind == "datetime":
        months = round(time.step / clock.MONTH)
        return f"{months} month{'s' * (months > 1)}"
    words = clock.span(time.step / clock.EPOCHS.get(time.kind, 1))
    return "1 weekday" if time.rule == "B" else words


def column_in_short(column: ColumnForm) -> str:
    """The kind, range, grid and commonest value of a column.

    >>> atoms = ((0.0, 0.9),)
    >>> column_in_short(ColumnForm("x", "float64", 1, 0.0, 9.5, 0.1, atoms, 0.0, "grid", ()))
    'grid, 0.0 to 9.5 in steps of 0.1, 90.0% are 0'
    """
    if column.categories:
        named = categories.shown(column.categories)
        number = f" ({len(column.categories)})" if len(column.categories) > categories.SHOWN else ""
        return f"{column.kind}, {named}{number}"
    low, high = _ends(column)
    words = f"{column.kind}, {low} to {high}"
    if column.grid is not None and column.kind != "yes/no":
        words += f" in steps of {column.grid:g}"
    if column.atoms and column.kind != "constant":
        words += f", {column.atoms[0][1]:.1%} are {column.atoms[0][0]:.6g}"
    return words


def _screen(found: Inspection) -> Iterator[str]:
    yield printable(found.source)
    yield f"  layout     {WORDS[found.layout]}"
    if found.steps is not None:
        steps = (
            f"{found.steps:,}"
            if isinstance(found.steps, int)
            else "{:,} to {:,}".format(*found.steps)
        )
        yield f"  sequences  {found.sequences:,} of {steps} steps"
    if found.ids:
        yield f"  ids        {printable(', '.join(found.ids))}"
    if found.time is not None:
        time = found.time
        gaps = f"{time['gaps'] or 'no'} gap{'s' * (time['gaps'] != 1)}"
        span = f"step {time['step']}, {time['start']} to {time['end']}, {gaps}"
        yield f"  time       {printable(time['name'])}: {span}"
    if found.columns:
        yield ""
        yield from _table_of(found.columns)
    yield from _how_learned(found)
    blocks = (("note", found.notes), ("question", found.questions))
    for title, items in blocks:
        if items:
            yield ""
        for item in items:
            yield from textwrap.wrap(f"{title}: {printable(item)}", WIDTH, **_hung("  "))
    if found.command:
        yield ""
        yield f"train on it:  {printable(found.command)}"


def _table_of(columns: tuple[ColumnForm, ...]) -> Iterator[str]:
    rows = [("column", "kind", "least", "largest", "grid", "commonest", "missing", "words")]
    for column in columns[:MOST_SHOWN]:
        low, high = _ends(column)
        value = f"{column.atoms[0][0]:.6g} ({column.atoms[0][1]:.1%})" if column.atoms else ""
        grid = "" if column.grid is None else f"{column.grid:g}"
        gone = missing.percent(column.missing) if column.missing else ""
        words = printable(categories.shown(column.categories))
        if column.categories:
            low = high = grid = ""
            words = f"{len(column.categories)}: {words}"
        rows.append((printable(column.name), column.kind, low, high, grid, value, gone, words))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    widths = [w if any(row[i] for row in rows[1:]) else 0 for i, w in enumerate(widths)]
    for row in rows:
        left = f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}"
        cells = (
            f"{cell:>{width}}" for cell, width in zip(row[2:-1], widths[2:-1], strict=True) if width
        )
        yield "  ".join([left, *cells, row[-1] * (widths[-1] > 0)]).rstrip()
    if len(columns) > MOST_SHOWN:
        yield f"  ... {len(columns) - MOST_SHOWN:,} more (--json lists all)"


def _hung(indent: str) -> dict[str, Any]:
    """Of `textwrap.wrap`: every line but the first is indented."""
    return {"subsequent_indent": indent, "break_on_hyphens": False}


def _how_learned(found: Inspection) -> Iterator[str]:
    """How each column is learned, and the rules."""
    if found.learned:
        names = [printable(column.name) for column in found.columns[:MOST_SHOWN]]
        width = max(map(len, names))
        yield from ("", "learned as")
        for name, words in zip(names, found.learned[:MOST_SHOWN], strict=True):
            line = f"  {name:<{width}}  {printable(words)}"
            yield from textwrap.wrap(line, max(WIDTH, width + 40), **_hung(" " * (width + 4)))
    if found.known:
        yield from ("", "known in advance", f"  {printable(found.known)}")
    if found.rules:
        yield from ("", "rules")
        yield from (f"  {printable(rule)}" for rule in found.rules[:MOST_SHOWN])
        if len(found.rules) > MOST_SHOWN:
            yield f"  ... {len(found.rules) - MOST_SHOWN:,} more (--json lists all)"


def _ends(column: ColumnForm) -> tuple[str, str]:
    """The range with as many digits as tell its ends apart."""
    if (
        column.decimals is not None
        and column.decimals <= 6
        and max(-column.low, column.high) < 1e15
    ):
        return f"{column.low:.{column.decimals}f}", f"{column.high:.{column.decimals}f}"
    for digits in range(6, 17):
        low, high = f"{column.low:.{digits}g}", f"{column.high:.{digits}g}"
        if low != high or column.low == column.high:
            break
    return low, high
