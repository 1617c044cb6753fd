"""Columns that are constant in each sequence: what training had of them, what is given of them.

Shapes: N sequences, T steps, D columns of the data, S static columns.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from seqgan_jax.data import grids, kinds
from seqgan_jax.data.categories import nearest
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import ColumnForm, Form
from seqgan_jax.data.intervals import is_real
from seqgan_jax.data.kind import CONTINUOUS
from seqgan_jax.data.missing import first_there
from seqgan_jax.data.rule_texts import Increase, Restart
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.sequences import Sequences
from seqgan_jax.errors import DataError, UsageError

MOST_ROWS = 1000  # combinations that are kept, the commonest
MOST_SHOWN = 10  # values in a message
MOST_LINES = 5  # about what training had not
YES, NO = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True)
class Condition:
    """What one static column of a sample is: one of some values, or in a range with its ends.

    Args:
      column: its number d in the data.
      text: as it is said, "age=40:60".
      values: () for a range.
      low, high: of a range.
    """

    column: int
    text: str
    values: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def holds(self, x: np.ndarray) -> np.ndarray:
        """Which values it allows, bool as x."""
        if not self.values:
            return (x >= self.low) & (x <= self.high)
        values = np.array(self.values)
        found: np.ndarray = np.isclose(x[..., None], values, rtol=1e-9, atol=1e-9).any(axis=-1)
        return found

    def meets(self, low: float, high: float) -> bool:
        """Whether it allows any value from low to high."""
        if self.values:
            return any(low <= value <= high for value in self.values)
        return self.low <= high and self.high >= low


@dataclass(frozen=True)
class Statics:
    """What the training part has of its static columns.

    Args:
      columns: their numbers d.
      low, high: the least and largest value of each.
      counted: which of them have values that repeat (all but densities).
      values: combinations of the counted columns, the commonest first, at most MOST_ROWS.
      counts: sequences of each.
      total: sequences; more than the sum of counts where there are more combinations.
      stays: later steps read which value it was; not in models of before.

    >>> statics = Statics((0,), (0.0,), (1.0,), (True,), ((0.0,), (1.0,)), (8, 2), 10)
    >>> statics.unseen([(Condition(0, "sex=f", (0.0,)),)]), statics.complete
    ([], True)
    """

    columns: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    counted: tuple[bool, ...]
    values: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    total: int
    stays: bool = False

    @property
    def complete(self) -> bool:
        """Whether every combination is listed."""
        return sum(self.counts) == self.total

    def unseen(self, asked: Sequence[Sequence[Condition]]) -> list[str]:
        """A line about each of these sets of conditions that no training sequence meets."""
        lines = dict.fromkeys(line for conditions in asked for line in self._unseen(conditions))
        found = list(lines)
        more = len(found) - MOST_LINES
        return found[:MOST_LINES] + [f"and {more:,} more conditions like these"] * (more > 0)

    def _unseen(self, conditions: Sequence[Condition]) -> list[str]:
        said, shares, together = [], [], np.ones(len(self.values), bool)
        for condition in conditions:
            s = self.columns.index(condition.column)
            if not self.counted[s]:
                low, high = self.low[s], self.high[s]
                if not condition.meets(low, high):
                    said.append(self._line([condition], f": they have {low:.6g} to {high:.6g}"))
                continue
            place = sum(self.counted[:s])
            own = condition.holds(np.array([row[place] for row in self.values]))
            if not own.any():
                said.append(self._line([condition]))
            together &= own
            shares.append(condition)
        if not said and len(shares) > 1 and not together.any():
            said.append(self._line(shares))
        return said

    def _line(self, conditions: Sequence[Condition], tail: str = "") -> str:
        words = " and ".join(condition.text for condition in conditions)
        if self.complete or tail:
            return f"no sequence of the training part has {words}{tail}"
        return (
            f"none of the {len(self.values):,} commonest combinations of the training part "
            f"({sum(self.counts):,} of {self.total:,} sequences) has {words}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        return {
            name: [list(x) if isinstance(x, tuple) else x for x in value]
            if isinstance(value, tuple)
            else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """The inverse of `to_json`; ValueError on anything else.

        >>> one = Statics((1,), (0.0,), (1.0,), (False,), (), (), 3)
        >>> Statics.from_json(one.to_json()) == one
        True
        """
        names = ("columns", "low", "high", "counted", "values", "counts", "total")
        wrong = ValueError(f"the table of static columns is damaged: {reprlib.repr(stored)}")
        if not isinstance(stored, dict) or set(stored) - {"stays"} != set(names):
            raise wrong
        stays = stored.get("stays", False)
        *lists, total = (stored[name] for name in names)
        if (
            type(total) is not int
            or type(stays) is not bool
            or not all(isinstance(each, list) for each in lists)
        ):
            raise wrong
        columns, low, high, counted, values, counts = lists
        width = sum(each is True for each in counted)
        good = (
            len(columns) == len(low) == len(high) == len(counted)
            and len(values) == len(counts) <= MOST_ROWS
            and all(type(each) is int and each >= 0 for each in columns + counts)
            and all(type(each) is bool for each in counted)
            and all(isinstance(row, list) and len(row) == width for row in values)
            and all(map(is_real, [*low, *high, *(v for row in values for v in row)]))
        )
        if not good:
            raise wrong
        rows = tuple(tuple(map(float, row)) for row in values)
        least, most = (tuple(map(float, each)) for each in (low, high))
        return cls(tuple(columns), least, most, tuple(counted), rows, tuple(counts), total, stays)


def of(train_NTD: np.ndarray, scaler: Scaler) -> Statics | None:
    """What the training part has of its static columns; None where there are none."""
    columns = [d for d in range(train_NTD.shape[-1]) if is_static(scaler, d)]
    if not columns:
        return None
    x_NS = np.stack([first_there(train_NTD[..., d]) for d in columns], axis=1)
    x_NS = x_NS[~np.isnan(x_NS).any(axis=1)]
    counted = np.array(
        [(kind := kind_of(scaler, d)) is None or kind != CONTINUOUS for d in columns]
    )
    rows, counts = np.unique(x_NS[:, counted], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_ROWS]
    return Statics(
        tuple(columns),
        tuple(x_NS.min(axis=0).tolist()),
        tuple(x_NS.max(axis=0).tolist()),
        tuple(counted.tolist()),
        tuple(map(tuple, rows[order].tolist())),
        tuple(counts[order].tolist()),
        len(x_NS),
        True,
    )


def is_static(scaler: Scaler, d: int) -> bool:
    """Whether a column of the data is constant in each sequence by construction, and not in all.

    With rules: where all that are tied to it by rules are.
    """
    rules = scaler.rules
    if not rules:
        k = scaler.source_D[d]
        return k >= 0 and scaler.kinds_K[k].static
    tied, before = {rules.names[d]}, set[str]()
    while tied != before:
        before = set(tied)
        tied |= {n for rule in rules.rules if tied & set(rule.columns) for n in rule.columns}
    if any(isinstance(r, Increase | Restart) and tied & set(r.columns) for r in rules.rules):
        return False
    places = [
        scaler.source_D[e] for e, source in enumerate(rules.source_E) if rules.names[source] in tied
    ]
    learned = [scaler.kinds_K[k].static for k in places if k >= 0]
    return bool(learned) and all(learned)


def place_of(scaler: Scaler, d: int) -> int | None:
    """The kept column that a column of the data is; None where it is constant or made by rules."""
    rules = scaler.rules
    if rules:
        own = [e for e, source in enumerate(rules.source_E) if source == d]
        if len(own) != 1 or rules.inner_names[own[0]] != rules.names[d]:
            return None
        d = own[0]
    k = scaler.source_D[d]
    return k if k >= 0 else None


def kind_of(scaler: Scaler, d: int) -> str | None:
    """The name of the kind of a column; None where rules make it."""
    k = place_of(scaler, d)
    return None if k is None else scaler.kinds_K[k].name


# ------------------------------------------------------------------ what is asked for


@dataclass(frozen=True)
class StaticColumns:
    """What a model knows of its columns, to read conditions by."""

    names: tuple[str, ...]
    scaler: Scaler
    form: Form | None
    statics: Statics | None

    def conditions(self, given: Any) -> tuple[Condition, ...]:
        """What is asked of a sample, from texts "COLUMN=VALUE" or a mapping of names to values.

        VALUE is a value, LOW:HIGH with either left out, or several values with commas. Of a mapping
        also a number, a pair (low, high), or a list or set of values.

        Raises:
          UsageError: it is written otherwise, of a column that is not static, or has a value that
            samples cannot have.
        """
        if isinstance(given, str):
            given = [given]
        pairs = given.items() if isinstance(given, Mapping) else map(self._pair, given)
        found: list[Condition] = []
        for name, value in pairs:
            d = self.static(str(name))
            if any(each.column == d for each in found):
                raise UsageError(f"given: column {name!r} is there twice. Say it once: {name}=1,2.")
            condition = self._condition(d, str(name), value)
            only = self._constant(d)
            if only is None:
                found.append(condition)
            elif not condition.holds(np.array([only])).all():
                raise UsageError(
                    f"--given {condition.text}: {name} is {only:.9g} in every training sequence, "
                    "and so in every sample. Leave it out."
                )
        self._refuse_equal(found)
        return tuple(found)

    def of_frame(self, frame: Any) -> list[tuple[Condition, ...]]:
        """The conditions of each row of a DataFrame, one row a sequence.

        Raises:
          UsageError: as `conditions`, or a cell is empty.
        """
        names = [str(name) for name in frame.columns]
        if not names or not len(frame):
            raise UsageError("given: a frame without columns or rows. Give a row a sequence.")
        empty = frame.isna().to_numpy()
        if empty.any():
            n, c = (int(i) for i in np.argwhere(empty)[0])
            raise UsageError(
                f"given: row {n + 1} has no {names[c]}. Fill it in, or leave the column out: it is "
                "then drawn."
            )
        known: dict[tuple[Any, ...], tuple[Condition, ...]] = {}
        found = []
        for row in frame.itertuples(index=False, name=None):
            if row not in known:
                texts = dict(zip(names, ([each] for each in row), strict=True))
                known[row] = self.conditions(texts)
            found.append(known[row])
        return found

    def static(self, name: str) -> int:
        """The number of a static column; raises UsageError where it is none."""
        there = [self.names[d] for d in (self.statics.columns if self.statics else ())]
        has = f"there are {', '.join(there[:MOST_SHOWN])}" if there else "there are none"
        if name not in self.names:
            raise UsageError(
                f"--given: there is no column {reprlib.repr(name)}. Columns that can be given are "
                f"those that are constant in each sequence ({has})."
            )
        d = self.names.index(name)
        if name in there or self._constant(d) is not None:
            return d
        why = "it is not constant in each sequence"
        if self.scaler.rules and any(name in rule.columns for rule in self.scaler.rules.rules):
            why = f"a rule ties it to columns that change ({self.scaler.rules})"
        raise UsageError(
            f"--given {name}: {why}, and only columns that are can be given ({has}). Leave it out. "
            f"If its values are constant in the data, train with --static {name} and without "
            "--kind or --rule for it."
        )

    def _constant(self, d: int) -> float | None:
        """The one value of a column that has one in all sequences."""
        rules = self.scaler.rules
        if rules and (d not in rules.source_E or rules.names[d] not in rules.inner_names):
            return None
        e = rules.source_E.index(d) if rules else d
        return self.scaler.constant_D[e] if self.scaler.source_D[e] < 0 else None

    def _refuse_equal(self, found: Sequence[Condition]) -> None:
        """Two columns that are copies of each other cannot be told different things."""
        places = [place_of(self.scaler, each.column) for each in found]
        for i, k in enumerate(places):
            if k is not None and k in places[:i]:
                first = found[places.index(k)].text
                raise UsageError(
                    f"--given {first} and {found[i].text}: the columns are equal in every training "
                    "sequence. Give one of them."
                )

    def _pair(self, text: str) -> tuple[str, str]:
        known = [n for n in self.names if text.startswith(f"{n}=")]
        name, _, value = text.partition("=")
        if known:
            name = max(known, key=len)
            value = text[len(name) + 1 :]
        if not name or not value:
            raise UsageError(
                f"--given {reprlib.repr(text)} is not COLUMN=VALUE. Write sex=1, age=40:60 or "
                "ward=a,b."
            )
        return name, value

    def _condition(self, d: int, name: str, value: Any) -> Condition:
        values, text = [value], str(value)
        if isinstance(value, tuple):
            if len(value) != 2:
                raise UsageError(
                    f"--given {name}: {value!r} is no pair (low, high). Give a list for several "
                    "values."
                )
            ends = ["" if each is None else str(each) for each in value]
            return self._range(d, name, *ends)
        if isinstance(value, list | set | frozenset | np.ndarray):
            values = list(value)
            text = ",".join(map(str, values))
        elif isinstance(value, str) and value not in self._words(d):
            if value.count(":") == 1 and not self._words(d):
                return self._range(d, name, *value.split(":"))
            values = value.split(",")
        if not values:
            raise UsageError(f"--given {name}: no value. Give one at least.")
        found = tuple(dict.fromkeys(self._value(d, name, each) for each in values))
        return Condition(d, f"{name}={text}", found)

    def _range(self, d: int, name: str, low: str, high: str) -> Condition:
        if self._words(d):
            raise UsageError(
                f"--given {name}={low}:{high}: {name} holds words, which have no order. Give "
                f"some of them: {name}={','.join(self._words(d)[:2])}."
            )
        ends = [
            self._number(name, text) if text else infinite
            for text, infinite in ((low, -math.inf), (high, math.inf))
        ]
        if not (low or high) or ends[0] > ends[1]:
            raise UsageError(
                f"--given {name}={low}:{high} is no range. Write LOW:HIGH, of which one may be "
                "left out."
            )
        return Condition(d, f"{name}={low}:{high}", (), *ends)

    def _column(self, d: int) -> ColumnForm | None:
        return self.form.columns[d] if self.form else None

    def _words(self, d: int) -> tuple[str, ...]:
        column = self._column(d)
        return column.categories if column else ()

    def _number(self, name: str, value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise UsageError(
                f"--given {name}: {reprlib.repr(value)} is no number, and {name} holds numbers. "
                f"Write {name}=1, {name}=1:2 or {name}=1,2."
            )
        return found

    def _value(self, d: int, name: str, value: Any) -> float:
        """The number that stands for a value, one that samples can have."""
        words, column, text = self._words(d), self._column(d), str(value).strip()
        if text in words:
            x = float(words.index(text))
        elif column and column.kind == "yes/no" and text.lower() in YES | NO:
            x = float(text.lower() in YES)
        elif words:
            shown = ", ".join(words[:MOST_SHOWN])
            raise UsageError(f"--given {name}={text}: there is no such word, there are {shown}.")
        else:
            x = self._number(name, value)
        return self._possible(d, name, x)

    def _possible(self, d: int, name: str, x: float) -> float:
        """x, exactly on its grid; raises UsageError where no sample can have it."""
        k = place_of(self.scaler, d)
        if k is None:
            return x
        kind, interval = self.scaler.kinds_K[k], self.scaler.interval_K[k]
        if not interval.holds(np.array([x])).all():
            raise UsageError(
                f"--given {name}={x:.9g} is outside the bounds that {name} is learned with "
                f"({interval}). Give a value inside."
            )
        if kind.name == CONTINUOUS or x in kind.atoms:
            return x
        near = float(kind.snap(np.array([x]))[0])
        if abs(near - x) <= grids.TOLERANCE * (kind.spacing or abs(x) * 1e-6):
            return near
        levels = [f"{v:.9g}" for v in kind.levels]
        some = ", ".join(levels[:MOST_SHOWN]) + ", ..." * (len(levels) > MOST_SHOWN)
        raise UsageError(
            f"--given {name}={x:.9g}: no sample can have it, since {name} is learned as "
            f"{kind}{f' ({some})' if levels else ''}. The nearest value is {near:.9g}."
        )


def check(sequences: Sequences, asked_D: Sequence[str | None]) -> None:
    """Raise DataError at the first place where a column changes within a sequence that is asked to
    be static or a label, see `kinds.of_columns`."""
    x_NTD, names = sequences.x_NTD, sequences.names
    for d in (d for d, kind in enumerate(asked_D) if kind in (kinds.STATIC, kinds.LABEL)):
        first_N = first_there(x_NTD[..., d])
        changes = (x_NTD[..., d] != first_N[:, None]) & ~np.isnan(x_NTD[..., d])
        if changes.any():
            n, t = (int(i) for i in np.argwhere(changes)[0])
            first, then = (_shown(sequences.form, d, x) for x in (first_N[n], x_NTD[n, t, d]))
            number = np.count_nonzero(changes.any(axis=1))
            raise DataError(
                f"{sequences.place(n, t)}: {printable(names[d])} is {then}, and {first} at the "
                f"first step; it changes in {number:,} of {len(x_NTD):,} sequences. --static, "
                "--label and --kind COLUMN:static are for columns that are constant in each: "
                "correct the data, or leave the column out of the flag."
            )


def _shown(form: Form | None, d: int, x: float) -> str:
    words = form.columns[d].categories if form else ()
    return words[int(nearest(np.array([x]), len(words))[0])] if words else f"{x:.9g}"
