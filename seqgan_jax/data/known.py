"""What is known in advance of each step: its place in the calendar, and columns of --known.

Policy and discriminator read it; none of it is generated. Shapes: N sequences, T steps, C columns
of --known, W numbers that are read of a step, R sequences that a model keeps to draw from.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from seqgan_jax.data import categories, lengths
from seqgan_jax.data import times as clock
from seqgan_jax.data.form import LONGEST
from seqgan_jax.data.tables import Table
from seqgan_jax.data.times import DAY
from seqgan_jax.errors import DataError

YEAR = 365.2425 * DAY
MOST_KEPT = 1000  # sequences that a model keeps of the training part, to draw from
MOST_NUMBERS = 100_000  # of their columns
MOST_CYCLES = 3
LATER = ("hazard", "in_choices", "level", "season", "season_rate", "turns")  # not in version 1
SEASONS = {"hour of day": DAY, "day of week": 7 * DAY}  # the first that is known is read again
SEASON_RATE = 0.2  # of means over seasons, a season
CLOSING = 1 / 3  # of a season: over its end the first value of a sequence comes near again
LEVEL_DAYS = 3  # which a mean of days weighs, by 1 / e after these
TURNS = 2  # of a day
FINE_TURNS = 12  # where they help, in windows of LEVEL_DAYS: what is switched on the hour


class Cycle(NamedTuple):
    """A rhythm of the calendar."""

    period: float  # seconds
    harmonics: int  # most: with three of a week any seven values are possible


CYCLES = {
    "hour of day": Cycle(DAY, FINE_TURNS),
    "day of week": Cycle(7 * DAY, 3),
    "day of year": Cycle(YEAR, 2),
}


def cycles_of(step: float, span: float) -> tuple[str, ...]:
    """The cycles that a step tells, and of which data hold two: of one, a season is a trend.

    Args:
      step: seconds.
      span: seconds from the first time to the last.

    >>> cycles_of(3600.0, 700 * DAY), cycles_of(DAY, 4 * YEAR), cycles_of(30.4 * DAY, 9 * YEAR)
    (('hour of day', 'day of week'), ('day of week', 'day of year'), ('day of year',))
    """
    return tuple(
        name
        for name, cycle in CYCLES.items()
        if 0 < 2 * step <= cycle.period and span >= 2 * cycle.period
    )


def places(
    seconds: np.ndarray, cycles: Sequence[str], step: float, timezone: str, turns: int = TURNS
) -> np.ndarray:
    """cos and sin of 2 pi k p for the phase p in [0, 1) of each cycle, [..., 2 * harmonics].

    k = 1, .. as far as a step tells them apart. A year has its own length, 365 days or 366.

    Args:
      seconds: since 1970, UTC.
      cycles: names in CYCLES.
      step: seconds.
      timezone: in which hours are counted; "" for none.
      turns: of a day at most.

    >>> places(np.array([6 * 3600.0]), ("hour of day",), 12 * 3600.0, "").round(6).tolist()
    [[0.0, 1.0]]
    """
    local = clock.local_seconds(np.asarray(seconds, np.float64), timezone)
    found = []
    for name in cycles:
        period, most = CYCLES[name]
        if name == "day of year":
            whole = np.floor(local).astype("int64").astype("M8[s]").astype("M8[Y]")
            start, end = ((whole + i).astype("M8[s]").astype(np.int64) for i in (0, 1))
            phase = (local - start) / (end - start)
        else:
            # 1970 began on a Thursday: a week on Monday.
            phase = (local + (3 * DAY if name == "day of week" else 0)) % period / period
        for k in range(1, (min(turns, most) if name == "hour of day" else most) + 1):
            if k == 1 or 2 * k * step <= period:
                found += [np.cos(2 * np.pi * k * phase), np.sin(2 * np.pi * k * phase)]
    return np.stack(found, axis=-1) if found else np.zeros((*local.shape, 0))


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """What is known of sequences, as it was read.

    Args:
      seconds_NT: the time of each step, seconds since 1970 UTC; None where no cycle is read.
      columns_NTC: numbers, 0 or 1, or codes of words.
      names, words: of the C columns; () of numbers.
      cycles, step, timezone: of the calendar, see `places`.
    """

    seconds_NT: np.ndarray | None
    columns_NTC: np.ndarray
    names: tuple[str, ...] = ()
    words: tuple[tuple[str, ...], ...] = ()
    cycles: tuple[str, ...] = ()
    step: float = 0.0
    timezone: str = ""

    def __getitem__(self, rows: np.ndarray) -> Self:
        seconds = None if self.seconds_NT is None else self.seconds_NT[rows]
        return dataclasses.replace(self, seconds_NT=seconds, columns_NTC=self.columns_NTC[rows])


@dataclasses.dataclass(frozen=True)
class Known:
    """What a model knows in advance of each step, and how it is read.

    Args:
      cycles, step, timezone: of the calendar, see `places`.
      names, words: of the columns; () of numbers.
      mean, scale: of numbers in the training part; 0 and 1 of words.
      starts: first times of training sequences, seconds since 1970 UTC: where samples may start.
      rows: the columns of the same sequences, [R][T][C]; () without columns.
      hazard: of an end at each age [T], see `lengths.hazard`; () where sequences have none.
      in_choices: the linear part of choices reads it, too; not in models of version 1.
      level: rate, a step, of a moving mean of days beside the shorter ones; 0 where there is none.
      season: steps of a day or a week, of which the baseline reads the last; 0 where it does not.
      season_rate: of the means of what was a season, two, .. before; 1: of the last one alone; 0:
        sequences lie within one season, of whose end the first value is read.
      turns: of a day at most, see `places`.
    """

    cycles: tuple[str, ...]
    step: float
    timezone: str
    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    starts: tuple[float, ...]
    rows: tuple[tuple[tuple[float, ...], ...], ...]
    hazard: tuple[float, ...] = ()
    in_choices: bool = False
    level: float = 0.0
    season: int = 0
    season_rate: float = 1.0
    turns: int = TURNS

    @classmethod
    def fit(cls, train: Given, hazard: tuple[float, ...] = (), turns: int = TURNS) -> Self:
        """Means and scales of the training part, and the sequences of it that are kept."""
        columns = train.columns_NTC
        number, length, width = columns.shape
        kept = min(number, MOST_KEPT, max(1, MOST_NUMBERS // max(1, length * width)))
        rows = np.linspace(0, number, kept, endpoint=False).astype(int)
        numeric = np.array([not words for words in train.words], bool)
        mean, scale = columns.mean(axis=(0, 1)), columns.std(axis=(0, 1))
        some = train[rows]
        return cls(
            train.cycles,
            float(train.step),
            train.timezone,
            train.names,
            train.words,
            tuple(np.where(numeric, mean, 0.0).tolist()),
            tuple(np.where(numeric & (scale > 0), scale, 1.0).tolist()),
            () if some.seconds_NT is None else tuple(some.seconds_NT[:, 0].tolist()),
            _tuples(some.columns_NTC) if width else (),
            hazard,
            True,
            _level(train.cycles, train.step, length),
            *_season(train.cycles, train.step, length),
            turns,
        )

    @property
    def width(self) -> int:
        """W."""
        nothing = np.zeros((1, 1))
        return self.read(nothing, np.zeros((1, 1, len(self.names)))).shape[-1]

    @property
    def asks(self) -> bool:
        """Whether anything but the age of a sequence is known."""
        return bool(self.cycles or self.names)

    @property
    def number_kept(self) -> int:
        """R."""
        return max(len(self.starts), len(self.rows))

    def of_table(self, table: Table, length: int | None = None) -> np.ndarray:
        """Values of the columns [T, C] from a table with a row for each step.

        Raises:
          DataError: a column is missing, a value is, a word is new, or there are not `length` rows.
        """
        if gone := [name for name in self.names if name not in table.names]:
            raise DataError(
                f"{table.shown}: has no column {gone[0]!r}, which is known in advance. Give all of "
                f"{', '.join(self.names)}."
            )
        length = len(table) if length is None else length
        if len(table) != length:
            raise DataError(
                f"{table.shown}: has {len(table):,} rows, and samples have {length:,} steps. Give "
                "a row for each step."
            )
        at = [table.names.index(name) for name in self.names]
        table = categories.with_codes(
            table, {d: words for d, words in zip(at, self.words, strict=True) if words}
        )
        for column in (table.columns[d] for d in at):
            is_number = column.values.dtype == np.float64
            bad = ~np.isfinite(column.values) if is_number else np.ones(length, bool)
            if bad.any():
                raise DataError(
                    f"{table.place(int(np.argmax(bad)))}: {column.name!r} is "
                    + ("missing. Fill it in." if is_number else "no number. Correct it.")
                )
        return np.stack([table.columns[d].values for d in at], axis=1)

    @property
    def in_words(self) -> str:
        """What is known, for messages."""
        return ", ".join((*self.cycles, *self.names))

    def read(self, seconds_NT: np.ndarray | None, columns_NTC: np.ndarray) -> np.ndarray:
        """What policy and discriminator read, [N, T, W] float32; words are one-hot.

        Of columns also what they were the step before (at the first step, what they are): where a
        promotion ends, a value falls by as much as it rose. Last the age, as share of the longest,
        and the log odds of an end at it.
        """
        parts = []
        if self.cycles and seconds_NT is not None:
            parts.append(places(seconds_NT, self.cycles, self.step, self.timezone, self.turns))
        before_NTC = np.concatenate([columns_NTC[:, :1], columns_NTC[:, :-1]], axis=1)
        for values_NTC in (columns_NTC, before_NTC):
            for c, words in enumerate(self.words):
                values = values_NTC[..., c]
                if words:
                    parts.append((values[..., None] == np.arange(len(words))).astype(float))
                else:
                    parts.append(((values - self.mean[c]) / self.scale[c])[..., None])
        if self.hazard:
            steps = np.minimum(np.arange(columns_NTC.shape[1]), len(self.hazard) - 1)
            odds = lengths.log_odds(np.array(self.hazard))[steps]
            of_age = np.stack([(steps + 1) / len(self.hazard), odds], axis=-1)
            parts.append(np.broadcast_to(of_age, (*columns_NTC.shape[:2], 2)))
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def of(self, given: Given) -> np.ndarray:
        """`read` of sequences as they were read."""
        return self.read(given.seconds_NT, given.columns_NTC)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and texts; what a model of version 1 has, where it has no more."""
        stored = dataclasses.asdict(self)
        return {k: v for k, v in stored.items() if k not in LATER or v != getattr(Known, k)}

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """The inverse of `to_json`; raises ValueError on anything else.

        >>> known = Known(("hour of day",), 3600.0, "", ("p",), ((),), (1.0,), (2.0,), (0.0,), ())
        >>> Known.from_json(known.to_json()) == known
        True
        """
        try:
            found = cls(
                tuple(map(str, stored["cycles"])),
                float(stored["step"]),
                str(stored["timezone"]),
                tuple(map(str, stored["names"])),
                tuple(tuple(map(str, words)) for words in stored["words"]),
                tuple(map(float, stored["mean"])),
                tuple(map(float, stored["scale"])),
                tuple(map(float, stored["starts"])),
                tuple(tuple(tuple(map(float, c)) for c in t) for t in stored["rows"]),
                tuple(map(float, stored.get("hazard", ()))),
                stored.get("in_choices", False) is True,
                float(stored.get("level", 0.0)),
                int(stored.get("season", 0)),
                float(stored.get("season_rate", 1.0)),
                int(stored.get("turns", TURNS)),
            )
            columns = {len(found.names), len(found.words), len(found.mean), len(found.scale)}
            right = (
                len(columns) == 1,
                set(found.cycles) <= set(CYCLES),
                len(set(found.cycles)) == len(found.cycles) <= MOST_CYCLES,
                max(columns) + len(found.starts) + len(found.rows) <= LONGEST,
                len({np.shape(row) for row in found.rows}) <= 1,
                len(found.hazard) <= LONGEST and all(0 < h < 1 for h in found.hazard),
                0 <= found.level < 1,
                0 <= found.season <= LONGEST,
                0 <= found.season_rate <= 1,
                1 <= found.turns <= FINE_TURNS,
                all(np.isfinite(value) for value in (*found.mean, *found.starts, found.step)),
                all(np.isfinite(value) and value > 0 for value in found.scale),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"what is known in advance is damaged: {error}") from None
        if not all(right):
            raise ValueError("what is known in advance is damaged")
        return found


def turns_of(cycles: Sequence[str], step: float, length: int) -> tuple[int, ...]:
    """By how many turns of a day sequences may be read; more only in windows of LEVEL_DAYS.

    >>> turns_of(("hour of day",), 3600.0, 24), turns_of(("hour of day",), 3600.0, 72)
    ((2,), (2, 12))
    """
    return (TURNS, FINE_TURNS) if _level(cycles, step, length) else (TURNS,)


def _level(cycles: Sequence[str], step: float, length: int) -> float:
    """Rate of a mean of days: the level from which days go on, which shorter means take from hours.

    Where the hour is known and a window holds LEVEL_DAYS.
    """
    if "hour of day" not in cycles or length * step < LEVEL_DAYS * DAY:
        return 0.0
    return step / (LEVEL_DAYS * DAY)


def _season(cycles: Sequence[str], step: float, length: int) -> tuple[int, float]:
    """Steps of the shortest season and the rate of its means, where it has whole steps.

    A window holds three of it, or lies within one and reaches the part where it closes.

    >>> _season(("hour of day", "day of week"), 3600.0, 96), _season(("hour of day",), 3600.0, 24)
    ((24, 0.2), (24, 0.0))
    >>> _season(("day of week",), DAY, 14)
    (0, 1.0)
    """
    period = next((SEASONS[name] for name in SEASONS if name in cycles), 0.0)
    if not period or period % step:
        return 0, 1.0
    steps = round(period / step)
    if length >= 3 * steps:
        return steps, SEASON_RATE
    return (steps, 0.0) if (1 - CLOSING) * steps + 1 < length <= steps else (0, 1.0)


def nothing(number: int, length: int) -> Given:
    """Nothing that is known of so many sequences but their age."""
    return Given(None, np.zeros((number, length, 0)))


def _tuples(values: np.ndarray) -> tuple[Any, ...]:
    return tuple(tuple(tuple(c) for c in t) for t in values.tolist())
