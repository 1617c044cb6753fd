"""Where sequences are: when they start, and what is known of their steps in advance.

Shapes: N sequences, P given steps, T steps, C columns of --known, W inputs that are known.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.core import keys
from seqgan_jax.data import layout, tables, writing
from seqgan_jax.data.form import Form
from seqgan_jax.data.history import History
from seqgan_jax.data.known import Known
from seqgan_jax.data.tables import Table
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run.description import Description

Length = int | tuple[int, int] | None  # of samples; a pair where sequences end


class Places(NamedTuple):
    """Where sequences are: when they start, and what is known of their steps."""

    starts_N: NDArray[Any] | None  # seconds since 1970 UTC; None: not told apart by a calendar
    known_NTW: NDArray[np.float32] | None
    is_given: bool = False  # the columns of --known are the user's, the same for all


def of_samples(
    description: Description,
    n: int,
    seed: int = 0,
    start: Any = None,
    known: Any = None,
    length: Length = None,
) -> Places:
    """When `n` samples of a seed start, and what is known of their steps; see `sample`.

    Raises:
      UsageError: a start or values where they have no meaning, or that are missing.
    """
    check_draw(n, seed, length, description.scaler.ends)
    if description.scaler.ends or length is None or isinstance(length, tuple):
        length = description.length
    form, own = description.form, description.known
    time = None if form is None else form.time
    if start is not None and (time is None or time.kind == "number"):
        raise UsageError(
            f"--start {start}: {description.source} has no dates, so that a sample has no "
            "place in the calendar. Leave it out."
        )
    if known is not None and not (own and own.names):
        raise UsageError(
            "--known-file has no meaning here: this model was trained without --known. Leave "
            "it out."
        )
    at = None if start is None or time is None else writing.seconds_of(start, time)
    if own is None or not own.asks:
        nothing_NTC = np.zeros((n, length, 0))
        of_age = None if own is None else own.read(None, nothing_NTC)
        return Places(None if at is None else np.full(n, at), of_age)
    if own.names and known is None and at is not None:
        raise UsageError(
            f"--start needs the values of {', '.join(own.names)} from then on, which this "
            "model reads and does not generate: --known-file FILE, a table of them with a row "
            "for each step."
        )
    if own.names and known is None and length != description.length:
        raise UsageError(
            f"{', '.join(own.names)}: values of {length} steps are needed, and the model keeps "
            f"those of {description.length}. Give them: --known-file FILE."
        )
    drawn_N = np.random.default_rng([seed, keys.SAMPLE]).integers(0, own.number_kept, n)
    starts = None
    if at is not None:
        starts = np.full(n, at)
    elif own.cycles:
        starts = np.array(own.starts)[drawn_N]
    columns = np.zeros((n, length, 0))
    if own.names:
        columns = (
            np.array(own.rows)[drawn_N]
            if known is None
            else np.repeat(own.of_table(_table_of(known, own), length)[None], n, axis=0)
        )
    seconds = None
    if own.cycles and time is not None and starts is not None:
        seconds = writing.seconds(time, starts, length)
    return Places(starts, own.read(seconds, columns), known is not None)


def of_block(
    description: Description, placed: Places, n: int, seed: int, block: int
) -> NDArray[np.float32] | None:
    """What is known of n more samples of whole sequences, as those in `placed`, [n, T, W]."""
    own = description.known
    if placed.known_NTW is None or own is None or not own.names or placed.is_given:
        return None if placed.known_NTW is None else np.repeat(placed.known_NTW[:1], n, axis=0)
    rows = np.random.default_rng([seed, keys.SAMPLE, block]).integers(0, own.number_kept, n)
    return own.read(None, np.array(own.rows)[rows])


def known_after(
    description: Description, given: History, length: int, known: Any = None
) -> NDArray[np.float32] | None:
    """What is known of the given steps and of `length` steps after them, [N, P + length, W].

    `known`: values of the columns of --known after the end of each, see `_columns_after`.
    """
    form = description.form
    own = description.known
    if known is not None and not (own and own.names):
        raise UsageError(
            "--known-file has no meaning here: this model was trained without --known. Leave "
            "it out."
        )
    if own is None:
        return None
    steps = given.x_NPD.shape[1] + length
    columns = np.zeros((len(given), steps, 0))
    if own.names:
        columns = _columns_after(description, own, given, length, known)
    if not own.cycles:
        return own.read(None, columns)
    time = form.time if form else None
    if time is None or given.ends.last_N is None:
        raise UsageError(
            f"{given.shown} has no dates, and this model reads the calendar. Give a table or a "
            "DataFrame with them, or train with --calendar none."
        )
    starts_N = writing.starts_before(time, given.ends.last_N, given.ends.lengths_N)
    return own.read(writing.seconds(time, starts_N, steps), columns)


def _columns_after(
    description: Description, own: Known, given: History, length: int, known: Any
) -> NDArray[Any]:
    """Values of the columns of --known, [N, P + length, C]: those of each history, and after its
    end those of a table with a row for each step, of each sequence where it has their ids.

    Raises UsageError without a table, DataError where it does not fit, its first time included.
    """
    if known is None:
        raise UsageError(
            f"futures need the values of {', '.join(own.names)} after the end, which this model "
            f"reads and does not generate: --known-file FILE (known=), a table of them with a row "
            f"for each of {length:,} steps."
        )
    table = _table_of(known, own)
    values, ids = own.of_table(table), given.ends.ids
    assert given.known_NPC is not None  # `history.of_table` asks for them
    rows = [np.arange(len(table))] * len(given)
    if ids and all(name in table.names for name in ids):
        mine = [np.asarray(_column(table, name)).astype(str) for name in ids]
        rows = [
            np.flatnonzero(np.all([m == str(ids_N[n]) for m, ids_N in pairs], axis=0))
            for pairs in [list(zip(mine, ids.values(), strict=True))]
            for n in range(len(given))
        ]
    lengths_N, steps = given.ends.lengths_N, given.x_NPD.shape[1] + length
    found = np.empty((len(given), steps, len(own.names)))
    for n, (first, own_rows) in enumerate(zip(lengths_N, rows, strict=True)):
        if len(own_rows) != length:
            raise DataError(
                f"{table.shown}: has {len(own_rows):,} rows for {given.place(n, first)}, and its "
                f"futures have {length:,} steps. Give a row for each step after it."
            )
        _check_first(description, given, table, n, own_rows[0])
        found[n] = values[own_rows][np.clip(np.arange(steps) - first, 0, length - 1)]
        found[n, :first] = given.known_NPC[n, :first]
    return found


def _column(table: Table, name: str) -> Any:
    column = table.columns[table.names.index(name)]
    return column.values if column.exact is None else column.exact


def _check_first(description: Description, given: History, table: Table, n: int, row: int) -> None:
    """Raise DataError where a table's own times do not go on from the end of a history."""
    time = description.form.time if description.form else None
    if time is None or time.name not in table.names or given.ends.last_N is None:
        return
    try:
        at = float(writing.read_seconds(_column(table, time.name)[[row]], time)[0])
    except (ValueError, TypeError):
        at = np.nan
    if not abs(at - writing.after(time, given.ends.last_N[n])) < 1e-3:
        raise DataError(
            f"{table.place(row)}: {time.name!r} is {_column(table, time.name)[row]}, and "
            f"{given.place(n, int(given.ends.lengths_N[n]) - 1)} is the last before it. Give the "
            "values from the step after it on."
        )


def known_of(
    description: Description, x: Any, number: int, start: Any, known: Any
) -> NDArray[np.float32] | None:
    """What is known of given sequences, [N, T, W]; raises DataError where it is not said."""
    own = description.known
    if own is None or not own.asks:
        if start is not None or known is not None:
            raise UsageError(
                "start and known have no meaning here: nothing is known in advance of the "
                "steps of this model. Leave them out."
            )
        if own is None:
            return None
    form, length = description.form, description.length
    seconds = None
    if own.cycles and form is not None and form.time is not None:
        if start is not None:
            each = [start] if isinstance(start, str) or not np.ndim(start) else list(start)
            at = np.array([writing.seconds_of(one, form.time) for one in each])
        elif (found := _starts_of(x, form, length)) is not None:
            at = found
        else:
            raise DataError(
                f"this model reads {own.in_words} of each step: say when each sequence starts, "
                "start='2026-01-01' or a list of N dates, or give a DataFrame with its times."
            )
        if len(at) not in (1, number):
            raise DataError(f"start has {len(at)} dates, and there are {number} sequences.")
        seconds = writing.seconds(form.time, np.broadcast_to(at, number), length)
    columns = np.zeros((number, length, 0))
    if own.names:
        columns = np.asarray(np.nan if known is None else known, float)
        if columns.shape != (number, length, len(own.names)):
            raise DataError(
                f"this model reads {', '.join(own.names)} of each step (--known): give known="
                f"values [N, T, C], here {[number, length, len(own.names)]}."
            )
    return own.read(seconds, columns)


def check_draw(n: Any, seed: Any, length: Any = None, ends: bool = False) -> None:
    """Raise UsageError where the arguments of a draw are impossible."""
    if isinstance(length, tuple):
        if not ends or len(length) != 2:
            raise UsageError(
                f"length {length!r}: a pair (least, most) is for models of sequences of unequal "
                "length. Give a whole number."
            )
        for each in length:
            check_draw(n, seed, each)
        return
    if not isinstance(n, int | np.integer) or n < 1:
        raise UsageError(f"n must be a whole number of at least 1, not {n!r}.")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UsageError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}.")
    if length is not None and (not isinstance(length, int | np.integer) or length < 1):
        raise UsageError(f"length must be a whole number of at least 1, not {length!r}.")


def _table_of(known: Any, own: Known) -> Table:
    """Values of the columns of --known as a table: of a file, a DataFrame or an array [T, C]."""
    if isinstance(known, Table):
        return known
    frame = layout.frame_of(known)
    if frame is None:
        array = np.asarray(known, object).reshape(-1, len(own.names))
        frame = layout.frame_of(dict(zip(own.names, array.T.tolist(), strict=True)))
    return tables.of_frame(frame, "frame", "known")


def _starts_of(x: Any, form: Form, length: int) -> NDArray[Any] | None:
    """When the sequences of a table start; None where it does not say."""
    if not (hasattr(x, "iloc") and hasattr(x, "columns")):
        return None
    return writing.starts_of(x, form, length)
