"""What `--log` and `--bounds` say about each column; no array code."""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from seqgan_jax.errors import UsageError

ALL = "all"  # every column, where none has that name
LARGEST = 1e300  # so that differences of bounds are finite
SHOWN = 20  # names in a message


@dataclass(frozen=True)
class Limits:
    """Where the values of a column may lie: from `low` to `high`, of which one may be infinite.

    Args:
      low: lowest value.
      high: highest value.
      closed: values may be `low` and `high` themselves (--bounds), or only between them (--log).
      flag: what was asked for, for messages.
    """

    low: float
    high: float
    closed: bool
    flag: str = field(compare=False)

    def broken(self, name: str) -> str:
        """What a value outside breaks, and what can be done."""
        if self.closed:
            return f"outside {self.flag}. Correct it, or choose wider bounds."
        return (
            f"not above 0, as {self.flag} needs it. Use other units, leave the column out of "
            f"--log, or where 0 is a possible value write --bounds {name}:0: instead."
        )


def parse(text: str) -> tuple[str, float, float]:
    """Column, LOW and HIGH of "COLUMN:LOW:HIGH"; the column's name may hold colons.

    Raises:
      UsageError: it is written otherwise, a bound is no finite number, or LOW is not below HIGH.

    >>> parse("humidity:0:100"), parse("a:b:0:"), parse("x::-1.5")
    (('humidity', 0.0, 100.0), ('a:b', 0.0, inf), ('x', -inf, -1.5))
    """
    shown = f"--bounds {reprlib.repr(text)}"
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not parts[0]:
        raise UsageError(
            f"{shown} is not COLUMN:LOW:HIGH. Write humidity:0:100, or volume:0: with no HIGH."
        )
    name, low, high = parts[0], _number(parts[1], -math.inf), _number(parts[2], math.inf)
    if low is None or high is None:
        wrong = reprlib.repr(parts[1 if low is None else 2])
        raise UsageError(
            f"{shown}: {wrong} is no number from -{LARGEST:g} to {LARGEST:g}. "
            "Write COLUMN:LOW:HIGH, empty where there is no bound."
        )
    if math.isinf(low) and math.isinf(high):
        raise UsageError(f"{shown} has neither LOW nor HIGH. Give one, or leave the column out.")
    if low >= high:
        raise UsageError(f"{shown}: LOW {low:g} is not below HIGH {high:g}. Correct one of them.")
    return name, low, high


def _number(text: str, empty: float) -> float | None:
    if not text:
        return empty
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST and "_" not in text else None  # nan is not either


def of_columns(
    log: Sequence[str], bounds: Sequence[str], names: Sequence[str]
) -> tuple[Limits | None, ...]:
    """The limits of each of the columns `names`, None where nothing is said of it.

    Args:
      log: columns that are learned as logarithms, or "all".
      bounds: "COLUMN:LOW:HIGH" or "all:LOW:HIGH", see `parse`.
      names: of all D columns.

    Raises:
      UsageError: an unknown column, or one of which two things are said.

    >>> of_columns(["b"], ["a:0:1"], ["a", "b", "c"])[1:]
    (Limits(low=0.0, high=inf, closed=False, flag='--log b'), None)
    """
    given = [(name, Limits(0.0, math.inf, False, f"--log {name}")) for name in log]
    for text in bounds:
        name, low, high = parse(text)
        given.append((name, Limits(low, high, True, f"--bounds {text}")))
    found: list[Limits | None] = [None] * len(names)
    for name, limits in given:
        for d in named(name, names, limits.flag.split()[0]):
            if (earlier := found[d]) is not None:
                raise UsageError(
                    f"column {reprlib.repr(names[d])} is in {earlier.flag} and in {limits.flag}. "
                    "Leave it out of one."
                )
            found[d] = limits
    return tuple(found)


def named(name: str, names: Sequence[str], flag: str) -> list[int]:
    """The columns of that name, or all of them where it is "all" and none has that name.

    Raises:
      UsageError: there is none.

    >>> named("b", ["a", "b"], "--log"), named("all", ["a", "b"], "--log")
    ([1], [0, 1])
    """
    if name not in names and name != ALL:
        there = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
        raise UsageError(
            f"{flag}: there is no column {reprlib.repr(name)} (the columns are {there}). "
            f"Correct the name, or write {ALL} for all of them."
        )
    return [d for d, each in enumerate(names) if name not in names or each == name]
