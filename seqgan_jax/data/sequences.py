"""Sequences with where they come from, and their split into three parts.

Shapes: N sequences, T steps of a sequence, D columns of the data.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from seqgan_jax.data import intervals, lengths, overlap
from seqgan_jax.data import missing as gaps
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import Form
from seqgan_jax.data.known import Given
from seqgan_jax.data.missing import Missing
from seqgan_jax.data.overlap import Windows
from seqgan_jax.errors import DataError, UsageError

MIN_SEQUENCES = 20
MIN_STEPS = 2
VERY_UNEQUAL = 20  # times the median length


@dataclasses.dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences with where they come from.

    Args:
      x_NTD: the values, float64, in units of the data; NaN where one is missing.
      names: of the D columns; ("x",) or ("x1", "x2", ...) where the source has none.
      source: path or name, for messages.
      starts_N: where each window starts in its series; None for a table of sequences.
      notes: what the user should know, such as a column that was ignored.
      windows: where rows are in the series that they overlap in, where there are several, or a
        table turned out to be windows; they are then split by it.
      form: what the input looked like; None for simulators.
      given: what is known of their steps in advance; None where nothing is.
      ends: they have ends of their own: NaN after them, up to the longest.
    """

    x_NTD: np.ndarray
    names: tuple[str, ...]
    source: str
    starts_N: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    windows: Windows | None = None
    form: Form | None = None
    given: Given | None = None
    ends: bool = False

    @property
    def filled(self) -> "Sequences":
        """The same with the last step carried on after each end; NaN is what is missing."""
        return dataclasses.replace(self, x_NTD=lengths.filled(self.x_NTD)) if self.ends else self

    def check(self, limits_D: Sequence[Limits | None]) -> None:
        """Raise DataError at a value that --log or --bounds does not allow."""
        intervals.check([(0, self.filled.x_NTD)], limits_D, self.names, self.place)

    def place(self, n: int, t: int, _: int = 0) -> str:
        """Where a value is, for messages."""
        source = printable(self.source)
        if self.starts_N is not None:
            return f"{source}, step {self.starts_N[n] + t + 1} of the series"
        return f"{source}, sequence {n + 1}, step {t + 1}"


def of_table(
    x: np.ndarray,
    source: str,
    names: tuple[str, ...],
    missing: Missing = "error",
    limit: int | None = None,
    remedy: str = "One long series: --layout series cuts it into windows.",
    held_D: np.ndarray | None = None,
) -> Sequences:
    """Sequences of an array [N, T, D], with notes on gaps, copies and overlap; see `missing.fill`.

    Raises:
      DataError: too few sequences or steps, or none without missing values.
    """
    notes: tuple[str, ...] = ()
    windows = overlap.find(x)  # before gaps are filled, differently in each window
    if missing != "error":
        gaps.check_columns(x.reshape(-1, x.shape[2]), names, source)
        x, kept_N, notes = gaps.resolve(x, missing, source, limit=limit, held_D=held_D)
        notes = (*gaps.around(x, names), *notes)
        windows = windows and windows[kept_N]
    n, steps, _ = x.shape
    shown = printable(source)
    if steps < MIN_STEPS:
        raise DataError(
            f"{shown}: {steps} step in a sequence; at least {MIN_STEPS} are needed. {remedy}"
        )
    if n < MIN_SEQUENCES:
        raise DataError(
            f"{shown}: {n} sequence{'s' * (n != 1)}; at least {MIN_SEQUENCES} are needed, to train "
            f"on some and hold others out. Add sequences. {remedy}"
        )
    copies = n - overlap.count_distinct(x)
    if copies:
        notes += (f"{copies} of {n} sequences are exact copies of others",)
    if windows is not None:
        notes += (f"{windows}: they are split by time, so that no step is in two parts",)
    return Sequences(x, names, source, None, notes, windows)


def of_unequal(
    x_NTD: np.ndarray,
    source: str,
    names: tuple[str, ...],
    missing: Missing = "error",
    limit: int | None = None,
    held_D: np.ndarray | None = None,
    given_N: np.ndarray | None = None,
) -> Sequences:
    """Sequences of unequal length, NaN after their ends, with notes; see `of_table`.

    Before its end a sequence may miss values. Where the last of the `given_N` steps of one have no
    value, it ends before them.

    Raises:
      DataError: too few sequences, a length of one step, or a value that is missing before an end.
    """
    shown = printable(source)
    steps_N, there_NT = lengths.of(x_NTD), lengths.there(x_NTD)
    notes: tuple[str, ...] = ()
    if missing != "error":
        gaps.check_columns(x_NTD[there_NT], names, source)
        x_NTD, kept_N, notes = gaps.resolve(
            x_NTD, missing, source, limit=limit, held_D=held_D, steps_N=steps_N
        )
        steps_N, there_NT = steps_N[kept_N], there_NT[kept_N]
        notes = (*gaps.around(x_NTD[there_NT], names), *notes)
        if given_N is not None and (early := np.count_nonzero(steps_N < given_N[kept_N])):
            notes += (f"{early:,} of {len(steps_N):,} sequences end at the last step with a value",)
    elif np.isnan(x_NTD[there_NT]).any():
        n, t, d = (int(i) for i in np.argwhere(np.isnan(x_NTD) & there_NT[..., None])[0])
        raise DataError(
            f"{shown}, sequence {n + 1}, step {t + 1}: {printable(names[d])} is missing. "
            f"{gaps.REMEDY}"
        )
    short = np.flatnonzero(steps_N < MIN_STEPS)
    if len(short):
        raise DataError(
            f"{shown}: sequence {short[0] + 1} has {steps_N[short[0]]} step (first of "
            f"{len(short):,} such); at least {MIN_STEPS} are needed. Leave these out."
        )
    if len(x_NTD) < MIN_SEQUENCES:
        longest = f"--window N, at most {steps_N.min()} for all of them"
        raise DataError(
            f"{shown}: {lengths.in_words(steps_N)}; at least {MIN_SEQUENCES} sequences are needed, "
            f"to train on some and hold others out. Add sequences, or cut windows out: {longest}."
        )
    x_NTD = lengths.trimmed(x_NTD)
    copies = len(x_NTD) - overlap.count_distinct(x_NTD)
    if copies:
        notes += (f"{copies} of {len(x_NTD)} sequences are exact copies of others",)
    notes += (lengths.note(steps_N),) * bool(np.ptp(steps_N))
    ratio = steps_N.max() / np.median(steps_N)
    if ratio > VERY_UNEQUAL:
        share = steps_N.sum() / x_NTD.shape[0] / x_NTD.shape[1]
        notes += (
            f"the longest has {ratio:.0f} times the usual number of steps, and all are computed as "
            f"long: {share:.0%} of the work is for steps that are there. Leave the longest out, or "
            "cut windows",
        )
    return Sequences(x_NTD, names, source, None, notes, ends=bool(np.ptp(steps_N)))


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Three parts that share no value.

    Args:
      train_NTD: to learn from; NaN where a value is missing, as in all three.
      validation_NTD: to decide when to stop.
      held_out_NTD: for reports only.
    """

    train_NTD: np.ndarray
    validation_NTD: np.ndarray
    held_out_NTD: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class KnownSplit(Split):
    """The same, and what is known in advance of the steps of each part, [N, T, W] float32."""

    known: tuple[np.ndarray, np.ndarray, np.ndarray]


def split(
    sequences: Sequences, held_out: float = 0.1, validation: float = 0.1, seed: int = 88
) -> Split:
    """Training, validation and held-out parts.

    Windows of a series: by time, and windows that reach across a border are dropped, so that no
    value is in two parts. A table of sequences: at random.

    Args:
      sequences: from `layout.load`.
      held_out: fraction for reports only, the last of a series, in (0, 0.5].
      validation: fraction for early stopping, the last of the rest, in (0, 0.5].
      seed: of the random choice.

    Raises:
      UsageError: a fraction outside its limits, or more than 0.8 together.
      DataError: a part would be empty.

    >>> table = Sequences(np.zeros((100, 20, 3)), ("a", "b", "c"), "x.npy")
    >>> {part: x.shape for part, x in vars(split(table)).items()}
    {'train_NTD': (80, 20, 3), 'validation_NTD': (10, 20, 3), 'held_out_NTD': (10, 20, 3)}
    """
    return Split(
        *(sequences.x_NTD[rows] for rows in rows_of(sequences, held_out, validation, seed))
    )


Parts = list[np.ndarray]  # row numbers of the training, validation and held-out parts


def rows_of(
    sequences: Sequences, held_out: float = 0.1, validation: float = 0.1, seed: int = 88
) -> Parts:
    """Which sequences are in the three parts of `split`, in their order; raises as it does."""
    for name, value in (("--held-out", held_out), ("--validation", validation)):
        if not 0 < value <= 0.5:
            raise UsageError(f"{name} {value:g} is impossible. It must be above 0, at most 0.5.")
    if held_out + validation > 0.8:
        raise UsageError(
            f"--held-out {held_out:g} and --validation {validation:g} leave less than a fifth to "
            "train on. Make one smaller."
        )
    x, windows = sequences.x_NTD, sequences.windows
    wanted = [max(1, round(fraction * len(x))) for fraction in (held_out, validation)]
    if sequences.starts_N is not None:
        windows = Windows(np.zeros(len(x), int), sequences.starts_N, 0)
    if windows is None:
        parts = _whole_series(np.arange(len(x)), wanted, seed)
    else:
        sizes = np.bincount(windows.series_N)
        many = len(sizes) >= MIN_SEQUENCES and sizes.max() <= min(wanted)
        whole = _whole_series(windows.series_N, wanted, seed)
        by_time = _by_time(windows, x.shape[1], held_out, validation)
        parts = (many and whole) or by_time or (2 * sizes.max() <= len(x) and whole) or None
    if not parts:
        n, steps, _ = x.shape
        raise DataError(
            f"{printable(sequences.source)}: {n} sequences of {steps} steps are too few to split: "
            "no sequence is left for training when those that share values with the validation and "
            "held-out parts are dropped. Use more data, a smaller --window, or smaller --held-out "
            "and --validation."
        )
    return [np.sort(part) for part in parts]


def _whole_series(series_N: np.ndarray, wanted: Sequence[int], seed: int) -> Parts | None:
    """Whole series at random: as few as have the `wanted` rows, first held out; None where none is
    left to train on."""
    sizes = np.bincount(series_N)
    order = np.random.default_rng(seed).permutation(len(sizes))
    parts: Parts = []
    for count in wanted:
        number = int(np.searchsorted(np.cumsum(sizes[order[::-1]]), count)) + 1
        if number >= len(order):
            return None
        order, part = order[:-number], order[-number:]
        parts.insert(0, np.flatnonzero(np.isin(series_N, part)))
    return [np.flatnonzero(np.isin(series_N, order)), *parts]


def _by_time(windows: Windows, length: int, *fractions: float) -> Parts | None:
    """The end of each series held out, what is before it to validate, without windows that reach
    across a border; None where a part is empty. Series too short to be cut are trained on."""
    starts_N, one = windows.starts_N, windows.series_N.max() == 0
    parts: list[Parts] = [[], [], []]
    order = np.lexsort((starts_N, windows.series_N))
    for series in np.split(order, np.cumsum(np.bincount(windows.series_N))[:-1]):
        left, cut = series, list[np.ndarray]()
        for fraction in fractions:
            part = left[-max(1, round(fraction * len(series))) :]
            left = left[starts_N[left] + length <= starts_N[part[0]]]
            cut.insert(0, part)
            if len(left) == 0:
                break
        if len(left) > 0 and (one or len(series) >= MIN_SEQUENCES):
            for rows, each in zip(parts, [left, *cut], strict=True):
                rows.append(each)
        else:
            parts[0].append(series)
    return [np.concatenate(rows) for rows in parts] if all(parts) else None
