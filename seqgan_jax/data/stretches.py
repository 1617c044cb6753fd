"""Readings that lie K steps apart, and the steps between them.

r_t = K .. 1 steps are left to a reading, which is there at r_t = 1; b is the reading before, y the
next. A column between them is straight or repeats them:

    x_t = b + (y - b) (K - r_t + 1) / K          or          x_t = y

The inner column is y at each step. At the first one of a sequence that begins between two readings
(r_1 > 1) it is b of a straight column, whose y is then that of the second step: so that every inner
sequence says all of x, and nothing more.

Shapes: N sequences, T steps, K phases; a column is [N, T] float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqgan_jax.data.rule_values import FLOAT, half_unit, rounded

BROKEN = 1e6  # more than readings of a sequence
TINY = 1e-300


class Column(NamedTuple):
    """How one of the columns is between readings.

    Args:
      straight: or it repeats them.
      decimals: of its values; None: as many as a float64 has.
      of_readings: of nearly all of its readings; these have no more.
      loose: values may be off by a unit of their last decimal, as where readings were rounded after
        they were interpolated.
    """

    straight: bool
    decimals: int | None
    of_readings: int | None
    loose: bool = False

    def misses(self, x_NT: np.ndarray, between_NT: np.ndarray) -> np.ndarray:
        """How far values are from where readings make them, in units of what printing may do."""
        if not self.straight:
            return np.where(x_NT == between_NT, 0.0, np.inf)
        allowed = _size(x_NT)
        if self.loose:
            allowed = allowed + 2 * half_unit(self.decimals)
        else:
            between_NT = rounded(between_NT, self.decimals)
        found: np.ndarray = np.abs(x_NT - between_NT) / allowed
        return found


def _size(x_NT: np.ndarray) -> np.ndarray:
    """A millionth of the size of a sequence, [N, 1]: float32, or eight printed digits."""
    return FLOAT * np.abs(x_NT).max(axis=1, keepdims=True) + TINY


def left(first_N: np.ndarray, steps: int, length: int) -> np.ndarray:
    """r_t [N, T] of sequences that begin with r_1.

    >>> left(np.array([2, 3]), 3, 5).tolist()
    [[2, 1, 3, 2, 1], [3, 2, 1, 3, 2]]
    """
    return (first_N[:, None] - 1 - np.arange(length)) % steps + 1


def between(y_NT: np.ndarray, first_N: np.ndarray, steps: int, straight: bool) -> np.ndarray:
    """x of any inner column.

    >>> between(np.array([[0.0, 6.0, 9.0, 5.0]]), np.array([2]), 3, straight=True).tolist()
    [[4.0, 6.0, 7.0, 8.0]]
    """
    x_NT = np.empty(y_NT.shape)
    for first in range(1, steps + 1):
        rows = first_N == first
        x_NT[rows] = _line(y_NT[rows], first, steps, straight)
    return x_NT


def _line(y_NT: np.ndarray, first: int, steps: int, straight: bool) -> np.ndarray:
    """`between` of sequences that begin with the same r_1."""
    length = y_NT.shape[1]
    r = left(np.array([first]), steps, length)[0]
    begins = np.arange(length) - (steps - r)  # the step at which a stretch says its reading
    second = min(1, length - 1) if straight and first > 1 else 0
    places = np.where(begins > 0, begins, second)
    y = y_NT[:, places]
    if not straight:
        return y
    before = y_NT[:, np.where(begins > 0, places[np.maximum(begins - 1, 0)], 0)]
    return np.where(r == 1, y, before + (y - before) * ((steps - r + 1) / steps))


def readings(x_NT: np.ndarray, first: int, steps: int, column: Column) -> np.ndarray:
    """The inner column of sequences that begin with r_1 = `first`, whether they can or not.

    A reading that is not there any more, or yet, is where the line leads; what may have the
    decimals of readings has these.
    """
    length = x_NT.shape[1]
    at = np.arange(first - 1, length, steps)
    stretch = (np.arange(length) + steps - first) // steps  # of each step; the first is 0
    if not column.straight:
        return x_NT[:, np.minimum(np.r_[at, length - 1], length - 1)[stretch]]
    y, allowed = x_NT[:, at], _size(x_NT) + half_unit(column.decimals)
    levers = [1.0] * len(at)  # by how much printing moves a reading
    if not len(at):
        slope = (x_NT[:, -1] - x_NT[:, 0]) / max(1, length - 1)
        y = (x_NT[:, 0] + slope * (first - 1))[:, None]
        before = y[:, 0] - steps * slope
        levers = [2 * steps / max(1, length - 1)]
        lever = levers[0]
    else:
        lever = 2 * steps / max(1, first - 1)
        before = y[:, 0] + (x_NT[:, 0] - y[:, 0]) * (lever / 2)
        if past := length - 1 - at[-1]:
            end = y[:, -1] + (x_NT[:, -1] - y[:, -1]) * (steps / past)
            y = np.concatenate([y, end[:, None]], axis=1)
            levers.append(2 * steps / past)
    found = _snapped(y, column, allowed * levers)[:, stretch]
    if first > 1:
        found[:, 0] = _snapped(before, column, allowed[:, 0] * lever)
    return found


def _snapped(y: np.ndarray, column: Column, allowed: np.ndarray) -> np.ndarray:
    """With the decimals of readings where that is allowed, else those of values."""
    near = rounded(y, column.of_readings)
    return np.where(np.abs(near - y) <= allowed, near, rounded(y, column.decimals))


def costs(x_NTC: np.ndarray, steps: int, columns: Sequence[Column]) -> np.ndarray:
    """What speaks against each phase r_1 = 1 .. K, [N, K]: readings that have more decimals than
    most, then how far values are off; from BROKEN on where the columns cannot begin so."""
    costs_NK = np.zeros((len(x_NTC), steps))
    for c, column in enumerate(columns):
        for k in range(steps):
            rows = np.flatnonzero(costs_NK[:, k] < BROKEN)
            x = x_NTC[rows, :, c]
            y = readings(x, k + 1, steps, column)
            line = _line(y, k + 1, steps, column.straight)
            worst = column.misses(x, line).max(axis=1, initial=0.0)
            odd = np.count_nonzero(y != rounded(y, column.of_readings), axis=1)
            unit = 2 * half_unit(column.decimals) + _size(x)
            by_rounding = np.rint(4 * np.abs(x - line) / unit).max(axis=1, initial=0.0) / 8
            broken = BROKEN * np.minimum(1 + worst, BROKEN)
            costs_NK[rows, k] += np.where(worst > 1, broken, odd + by_rounding / len(columns))
    return costs_NK


def forward(
    x_NTC: np.ndarray, steps: int, columns: Sequence[Column], first_N: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inner columns [N, T, C] and r_1 [N] of columns that share their readings' steps.

    r_1 is `first_N`, or found: where several phases fit, as in a sequence that does not change, the
    first one of those with the fewest decimals; where none does, one that is near.
    """
    if first_N is None:
        first_N = costs(x_NTC, steps, columns).argmin(axis=1) + 1
    y_NTC = np.empty_like(x_NTC)
    for k in range(1, steps + 1):
        rows = first_N == k
        for c, column in enumerate(columns):
            y_NTC[rows, :, c] = readings(x_NTC[rows, :, c], k, steps, column)
    return y_NTC, first_N


def fits(x_NTC: np.ndarray, steps: int, columns: Sequence[Column]) -> np.ndarray:
    """Which phases r_1 = 1 .. K each sequence can begin with, bool [N, K]."""
    return costs(x_NTC, steps, columns) < BROKEN


def keeps(
    x_NT: np.ndarray, y_NT: np.ndarray, first_N: np.ndarray, steps: int, column: Column
) -> np.ndarray:
    """Which steps are where readings make them but for printing, bool [N, T]."""
    return column.misses(x_NT, between(y_NT, first_N, steps, column.straight)) <= 1
