"""Sequences that are gone on from: read in the form of the data, checked, and where they end.

Shapes: N sequences, P steps of the longest, L rows of a table, D columns of the data.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqgan_jax.config import DataConfig
from seqgan_jax.data import (
    arrays,
    categories,
    evidence,
    intervals,
    layout,
    lengths,
    missing,
    windows,
)
from seqgan_jax.data import times as clock
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.evidence import Wanted
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import Form, TimeForm
from seqgan_jax.data.known import Known
from seqgan_jax.data.rules import Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.tables import Table
from seqgan_jax.data.windows import Cut
from seqgan_jax.data.writing import Ends, time_parts
from seqgan_jax.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class History:
    """Steps that are given of N sequences, in units of the data.

    Args:
      x_NPD: float64; after its end a sequence repeats its last step.
      ends: ids, lengths and last times.
      shown: where they are from, for messages.
      notes: what the user should know.
      known_NPC: the columns of --known of a model that reads some.
    """

    x_NPD: np.ndarray
    ends: Ends
    shown: str
    notes: tuple[str, ...] = ()
    known_NPC: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x_NPD)

    @property
    def inside(self) -> np.ndarray:
        """Which steps are given, [N, P] bool."""
        return np.arange(self.x_NPD.shape[1]) < self.ends.lengths_N[:, None]

    def place(self, n: int, t: int) -> str:
        """Where a step is, for messages."""
        ids = ", ".join(f"{name} {printable(str(v[n]))}" for name, v in self.ends.ids.items())
        which = f", sequence {ids or n + 1}" * (len(self) > 1)
        return f"{self.shown}{which}, step {t + 1}"


# ------------------------------------------------------------------ reading


def of_python(
    x: Any,
    names: Sequence[str],
    form: Form | None,
    settings: DataConfig,
    ends: bool = False,
    gaps: bool = False,
    known: Known | None = None,
) -> History:
    """What `sample(after=x)` takes.

    Args:
      x: an array [N, P, D]; [N, P] or [P] where D = 1; [P, D], one sequence, where D is larger; a
        list of arrays [P, D] of any lengths; or a DataFrame in the form that `sample` returns.
      names: of the D columns.
      form: of the data of training.
      settings: how they were read.
      ends, gaps: whether the sequences of training had ends, and missed values. With gaps alone
        steps without a value at the end of an array or line are missing; else there are none.
      known: what the model reads: columns of it must be there, too.

    Raises:
      DataError: it is none of these, or has other columns, time steps or words.
    """
    if isinstance(x, str | os.PathLike):
        raise DataError(
            f"after is a path, {printable(os.fspath(x))!r}, and values are wanted. Give what is in "
            "it: pandas.read_csv(path) or numpy.load(path); or seqgan sample --after FILE."
        )
    frame = layout.frame_of(x)
    if frame is not None:
        from seqgan_jax.data import tables

        table = tables.of_frame(frame, "frame", "after", tuple(settings.missing_values))
        return of_table(table, names, form, settings, ends, gaps, known)
    if known is not None and known.names:
        raise DataError(
            f"after is no table, and this model reads {', '.join(known.names)} of each step "
            "(--known). Give a DataFrame with these columns."
        )
    may_miss = ends or gaps
    is_list = isinstance(x, list | tuple) and len(x) > 0 and np.ndim(x[0]) > 0
    if is_list and len({np.shape(each)[1:] for each in x}) == 1 and np.ndim(x[0]) == 2:
        parts = [arrays.as_array(each, "after", may_miss=may_miss)[..., 0] for each in x]
        return of_arrays(parts, names, "after")
    array = arrays.as_array(x, "after", may_be_flat=True, may_miss=may_miss)
    return of_array(array, names, "after", ends or not gaps)


def of_file(
    source: str,
    names: Sequence[str],
    form: Form | None,
    settings: DataConfig,
    ends: bool = False,
    gaps: bool = False,
    known: Known | None = None,
) -> History:
    """A file that is read as that of training was; columns by their names.

    Raises DataError as `layout.load` does, and where it has other columns, time steps or words.
    """
    from seqgan_jax.data import tables, texts

    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        if known is not None and known.names:
            raise DataError(
                f"{printable(source)}: is no table, and this model reads {', '.join(known.names)} "
                "of each step (--known). Give a table with these columns."
            )
        x_NTD = arrays.read_array(path, ends or gaps)
        return of_array(x_NTD, names, printable(source), ends or not gaps)
    texts.refuse_by_name(path)
    reader = tables.READERS.get(suffix, tables.read_text)
    table = reader(path, tuple(settings.missing_values))
    return of_table(table, names, form, settings, ends, gaps, known)


def of_array(x: np.ndarray, names: Sequence[str], shown: str, cut: bool = True) -> History:
    """Of an array [P] or [N, P, D], where [P, D] has become [P, D, 1]; without the
    steps at its end that have no value, where they are to be `cut`."""
    features = len(names)
    if x.ndim == 1:
        x = x[None, :, None]
    if features > 1 and x.shape[1:] == (features, 1):
        x = x[None, :, :, 0]
    if x.shape[2] != features:
        raise DataError(
            f"{shown}: has shape {list(x.shape)}, and the model was trained on {features} "
            f"column{'s' * (features > 1)} ({', '.join(names)}). Give [N, P, {features}]."
        )
    return of_arrays(lengths.cut(x) if cut else list(x), names, shown)


def of_arrays(
    parts: Sequence[np.ndarray],
    names: Sequence[str],
    shown: str,
    ids: dict[str, np.ndarray] | None = None,
    last_N: np.ndarray | None = None,
    notes: Sequence[str] = (),
) -> History:
    """Of arrays [P, D] of any lengths."""
    steps_N = np.array([len(x) for x in parts])
    if len(parts) == 0 or steps_N.min() == 0 or parts[0].shape[1] != len(names):
        raise DataError(
            f"{shown}: sequences of shape {list(parts[0].shape) if len(parts) else []}, and at "
            f"least one step of {len(names)} columns is wanted of each. Correct it."
        )
    found = np.empty((len(parts), int(steps_N.max()), len(names)))
    for x_PD, x in zip(found, parts, strict=True):
        x_PD[: len(x)], x_PD[len(x) :] = x, x[-1]
    return History(found, Ends(ids or {}, steps_N, last_N), shown, tuple(notes))


def of_table(
    table: Table,
    names: Sequence[str],
    form: Form | None,
    settings: DataConfig,
    ends: bool = False,
    gaps: bool = False,
    known: Known | None = None,
) -> History:
    """Of a table that is read as that of training was; see `of_file`."""
    cut = dataclasses.replace(Cut.of(settings), missing="interpolate", window=None)
    if form is None or form.layout == "rows":
        wanted = Wanted("rows", tuple(settings.id), label=settings.label)
        x_NW = windows.numbers(table, evidence.read(table, wanted), cut)
        if x_NW.shape[1] % len(names):
            raise DataError(
                f"{table.shown}: {x_NW.shape[1]} numbers a line, and the model was trained on "
                f"{len(names)} columns: a line has steps x {len(names)} numbers. Correct it."
            )
        x_NPD = x_NW.reshape(len(x_NW), -1, len(names))
        is_cut = ends or not (gaps or settings.missing == "interpolate")
        parts = lengths.cut(x_NPD) if is_cut else list(x_NPD)
        return _complete(of_arrays(parts, names, table.shown), names, settings, None)
    ids = tuple(each.name for each in form.ids)
    times = time_parts(form) if form.time else ()
    gone = [name for name in (*ids, *times, *names) if name not in table.names]
    if gone:
        raise DataError(
            f"{table.shown}: there is no column {gone[0]!r} (the columns are "
            f"{', '.join(map(repr, table.names[:20]))}). What is gone on from needs the columns of "
            f"training: {', '.join((*ids, *times, *names))}."
        )
    time_format = form.time.format if form.time else ""
    like = categories.like(form)
    wanted = Wanted(
        form.layout, ids, times, columns=tuple(names), like=like, time_format=time_format
    )
    reading = evidence.read(table, wanted)
    for d, words in reading.categories.items():
        if table.names[d] not in dict(like or ()):
            raise DataError(
                f"{table.shown}: column {table.names[d]!r} has words ({categories.shown(words)}), "
                "and had numbers in training. Write numbers, without a unit."
            )
    if form.time is None:
        reading = dataclasses.replace(reading, times=None)
    known_LC = None if known is None or not known.names else known.of_table(table)
    table = categories.with_codes(table, reading.categories)
    x_LD = windows.numbers(table, reading, cut)
    ordered = windows.in_order(table, reading, cut, x_LD)
    code_L = evidence.entities(table, reading.ids)
    rows = [np.flatnonzero(code_L == code)[0] for code in range(int(code_L.max()) + 1)]
    who: dict[str, np.ndarray] = {}
    for d in reading.ids:
        column = table.columns[d]
        who[column.name] = np.asarray(column.values if column.exact is None else column.exact)[rows]
    starts = np.flatnonzero(np.r_[True, np.diff(ordered.code_L) != 0])
    parts = np.split(ordered.x_LD, starts[1:])
    beside = None if known_LC is None else np.split(known_LC[ordered.rows_L], starts[1:])
    last_N, notes = None, list[str]()
    if reading.times is not None and form.time is not None:
        if reading.times.kind != form.time.kind:
            raise DataError(
                f"{table.shown}: the time in column {form.time.name!r} is read as "
                f"{reading.times.kind}, and was {form.time.kind} in training. Write it as there."
            )
        ticks = [np.unique(reading.times.ticks[code_L == code]) for code in range(len(rows))]
        steps = [clock.steps_between(form.time, reading.times, each) for each in ticks]
        _check_step(table.shown, form.time, [each for each, _ in steps])
        breaks = [np.flatnonzero(each > most) for each, most in steps]
        first = [int(at[-1]) + 1 if len(at) else 0 for at in breaks]
        if number := int(np.count_nonzero(first)):
            notes.append(
                f"{table.shown}: {number:,} sequence{'s' * (number > 1)} with gaps in time: only "
                "what is after the last gap is read"
            )
        parts = [x[begin:] for x, begin in zip(parts, first, strict=True)]
        if beside is not None:
            beside = [each[begin:] for each, begin in zip(beside, first, strict=True)]
        per = reading.times.per_second if form.time.kind == "datetime" else 1
        last_N = np.array([each[-1] for each in ticks]) / per
    found = of_arrays(parts, names, table.shown, who, last_N, notes)
    if beside is not None:
        steps = np.minimum(np.arange(found.x_NPD.shape[1]), found.ends.lengths_N[:, None] - 1)
        known_NPC = np.stack([each[at] for each, at in zip(beside, steps, strict=True)])
        found = dataclasses.replace(found, known_NPC=known_NPC)
    return _complete(found, names, settings, ordered.held_D)


def _check_step(shown: str, form: TimeForm, steps: list[np.ndarray]) -> None:
    """Refuse a time index whose usual step is another than that of training."""
    steps = [each for each in steps if len(each) > 1]
    step = float(np.median(np.concatenate(steps))) if steps else 1.0
    if abs(step - 1.0) <= clock.JITTER:
        return
    sizes = step * form.step, form.step
    said = [clock.span(size) if form.kind == "datetime" else f"{size:g}" for size in sizes]
    raise DataError(
        f"{shown}: a step of {form.name!r} is {said[0]}, and was {said[1]} in training. Give steps "
        "as long as there."
    )


def _complete(
    found: History, names: Sequence[str], settings: DataConfig, held_D: np.ndarray | None
) -> History:
    """Missing values filled in or left where training did so; else refused where any is left."""
    x, notes = found.x_NPD, found.notes
    if settings.missing == "interpolate" and np.isnan(x).any():
        limit = windows.LIMIT if settings.limit is None else settings.limit
        x, filled, longest = missing.fill(x, limit, held_D)
        notes = (*notes, *missing.filled_notes(filled, x.size, longest, limit, held_D))
    gone = np.argwhere(np.isnan(x))
    if len(gone) and settings.missing != "model":  # else `check` looks at them
        n, t, d = (int(i) for i in gone[0])
        raise DataError(
            f"{found.place(n, t)}: column {names[d]!r} is missing. What is gone on from must be "
            "complete: fill it in, or give only the steps after it."
        )
    return dataclasses.replace(found, x_NPD=x, notes=notes)


# ------------------------------------------------------------------ checking


def check(
    given: History, scaler: Scaler, names: Sequence[str], limits_D: Sequence[Limits | None] = ()
) -> tuple[str, ...]:
    """Notes on values that count as others; refuses what the model gives no probability.

    Args:
      given: steps in units of the data.
      scaler: of training.
      names: of the D columns.
      limits_D: what --log and --bounds said.

    Raises:
      DataError: a value outside its bounds, a category that is new, a rule that is broken, a
        column that was constant or a copy in training and is not; with the place.
    """
    x, inside = given.x_NPD, given.inside
    intervals.check([(0, x)], limits_D, names, lambda n, t, _: given.place(n, t))
    for d, may_miss in enumerate(scaler.may_miss_D):
        if (at := _first(inside & np.isnan(x[..., d]))) and not may_miss:
            raise DataError(
                f"{given.place(*at)}: column {names[d]!r} is missing, and never was in training. "
                "Fill it in, or give only the steps after it."
            )
    rules = scaler.rules
    for rule in rules.rules if rules else ():
        only = dataclasses.replace(rules, rules=(rule,)) if rules else Rules()
        if at := _first(inside & ~only.holds(x, given.ends.lengths_N)):
            values = ", ".join(
                f"{name} is {float(x[(*at, names.index(name))])!r}"
                for name in dict.fromkeys(rule.columns)
            )
            raise DataError(
                f'{given.place(*at)}: {values}. That breaks the rule "{rule}", which holds in all '
                "samples. Correct it."
            )
    y = rules.forward(x, given.ends.lengths_N) if rules else x
    inner = rules.inner_names if rules else tuple(names)
    notes = []
    for e, (k, constant) in enumerate(zip(scaler.source_D, scaler.constant_D, strict=True)):
        value, name = y[..., e], printable(inner[e])
        if k < 0 or e != scaler.kept_K[k]:
            expected = np.full(value.shape, constant) if k < 0 else y[..., scaler.kept_K[k]]
            if at := _first(inside & (value != expected)):
                was = f"{constant:.9g} everywhere" if k < 0 else f"{inner[scaler.kept_K[k]]} again"
                raise DataError(
                    f"{given.place(*at)}: column {name!r} is {value[at]:.9g}, and was {was} in "
                    "training, so that nothing is known of other values. Correct it."
                )
            continue
        interval, kind = scaler.interval_K[k], scaler.kinds_K[k]
        inside = given.inside & ~np.isnan(value)
        first_N = missing.first_there(value) if kind.missing else value[:, 0]
        if at := _first(inside & ~interval.holds(value)):
            raise DataError(
                f"{given.place(*at)}: column {name!r} is {value[at]:.9g}, outside of what was "
                f"learned: {interval}. Correct it."
            )
        if kind.static and (at := _first(inside & (value != first_N[:, None]))):
            raise DataError(
                f"{given.place(*at)}: column {name!r} is {value[at]:.9g} after "
                f"{first_N[at[0]]:.9g}, and was constant in each sequence in training. Correct it."
            )
        odd = inside & ~kind.holds(value)
        if at := _first(odd):
            if kind.name == "categorical":
                raise DataError(
                    f"{given.place(*at)}: column {name!r} is {value[at]:.9g}, which is none of its "
                    f"{len(kind.levels)} categories. Correct it."
                )
            number = np.count_nonzero(odd)
            notes.append(
                f"{given.place(*at)}: column {name!r} is {value[at]:.9g} (first of {number:,} such "
                f"values), which samples cannot have ({kind}): each counts as the nearest that "
                "they can"
            )
    return tuple(notes)


def _first(bad_NP: np.ndarray) -> tuple[int, int] | None:
    """The first place of a True, None where there is none."""
    at = np.argwhere(bad_NP)
    return (int(at[0][0]), int(at[0][1])) if len(at) else None


def no_rows(what: str, length: int) -> UsageError:
    """The error where whole sequences would go on after their end."""
    return UsageError(
        f"{what}: the model was trained on whole sequences of {length} steps. They end there, and "
        "nothing was learned of later steps. A model of windows goes on: train it with --window "
        "(from Python window=) on series."
    )
