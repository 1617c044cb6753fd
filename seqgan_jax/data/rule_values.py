"""What a rule says of numbers, and numbers of so many decimals.

Shapes: N sequences, T steps. A column is [N, T] float64; decimals None are as many as it has.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from seqgan_jax.data import grids
from seqgan_jax.data.rule_texts import Increase, Order, Ratio, Sum

MOST_DECIMALS = 15  # more are as many as a float64 has
FLOAT = 1e-6  # of the numbers in a sum that has no decimals: those of float32 are off by 6e-8
TINY = 1e-150  # no whole that parts are divided by
ROUNDING = 1e-15  # of the numbers in a sum of float64

Columns = Callable[[str], np.ndarray]  # of a name


class Table(NamedTuple):
    """The values that a column can have, ascending, and how far apart they count as."""

    levels: tuple[float, ...]
    step: float


Lattice = tuple[float, float]  # origin and step
Grid = Lattice | Table


def half_unit(decimals: int | None) -> float:
    """Half a unit of the last decimal, 0 where there is none."""
    return 0.0 if decimals is None or decimals > MOST_DECIMALS else 0.5 * 10.0**-decimals


def rounded(x: np.ndarray, decimals: int | None) -> np.ndarray:
    """The float64 nearest to each number with so many decimals.

    >>> float(rounded(np.array(0.1 * 3), 1)), float(rounded(np.array(0.1 * 3), None))
    (0.3, 0.30000000000000004)
    """
    if decimals is None or decimals > MOST_DECIMALS:
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        near = np.rint(x * 10.0**decimals) / 10.0**decimals
    return np.where(np.isfinite(near), near, x) + 0.0  # 1e300 has no decimals; 0 has no sign


def at_least(x: np.ndarray, low: np.ndarray, decimals: int | None) -> np.ndarray:
    """x >= low rounded to its decimals, and up where rounding would take it below a finer `low`.

    >>> at_least(np.array([99.46, 99.44]), np.array([99.45, 99.44]), 1)
    array([99.5, 99.5])
    """
    near = rounded(x, decimals)
    if decimals is None or decimals > MOST_DECIMALS:
        return near
    above = np.maximum(rounded(near + 10.0**-decimals, decimals), low)
    return np.where(near < low, above, near)


def on_grid(x: np.ndarray, grid: Lattice) -> np.ndarray:
    """The nearest origin + n step.

    >>> on_grid(np.array([0.7, 0.8]), (0.0, 0.5)).tolist()
    [0.5, 1.0]
    """
    origin, step = grid
    with np.errstate(over="ignore", invalid="ignore"):
        near = grids.point(np.rint((x - origin) / step), origin, step)
    return np.where(np.isfinite(near), near, x) + 0.0


def up_to_grid(x: np.ndarray, grid: Grid) -> np.ndarray:
    """The least value of it that is not below x; x above all of a table.

    >>> up_to_grid(np.array([0.5, 0.6]), (0.0, 0.5)).tolist()
    [0.5, 1.0]
    >>> up_to_grid(np.array([0.5, 0.6, 2.0]), Table((0.0, 0.6, 1.1), 0.55)).tolist()
    [0.6, 0.6, 2.0]
    """
    if isinstance(grid, Table):
        levels = np.array(grid.levels)
        place = np.minimum(np.searchsorted(levels, x), len(levels) - 1)
        return np.maximum(levels[place], x)
    near = on_grid(x, grid)
    return np.where(near < x, on_grid(near + grid[1], grid), near)


def apart(x: np.ndarray, low: np.ndarray, grid: Table) -> np.ndarray:
    """How many of a table's values x lies above `low`, one of these or above all, times its step.

    >>> apart(np.array([1.1]), np.array([0.0]), Table((0.0, 0.6, 1.1), 0.55)).tolist()
    [1.1]
    """
    levels = np.array(grid.levels)
    number = grids.nearest(levels, x) - grids.nearest(levels, low)
    return np.round(grid.step * number, MOST_DECIMALS) + 0.0


def raised(low: np.ndarray, y: np.ndarray, grid: Table) -> np.ndarray:
    """The inverse of `apart`, on the table; `low` above all of it stays."""
    levels = np.array(grid.levels)
    number = np.clip(y / grid.step, 0, len(levels))
    place = grids.nearest(levels, low) + np.rint(number).astype(int)
    return np.maximum(levels[np.minimum(place, len(levels) - 1)], low)


def summed(start_N1: np.ndarray, increase_NT: np.ndarray, decimals: int | None) -> np.ndarray:
    """start, start + y_2, start + y_2 + y_3, ...: exact where there are decimals."""
    parts = np.concatenate([start_N1, increase_NT], axis=1)
    if decimals is None or decimals > MOST_DECIMALS:
        return np.cumsum(parts, axis=1)
    units = np.cumsum(np.rint(parts * 10.0**decimals), axis=1)  # whole numbers: sums are exact
    return units / 10.0**decimals + 0.0


def stepped(start_N1: np.ndarray, rule: Increase, steps: int, decimals: int | None) -> np.ndarray:
    """start, start + step, start + 2 step, ... [N, steps]."""
    return rounded(start_N1 + (rule.step or 0.0) * np.arange(steps), decimals)


def computed(rule: Sum | Ratio, column: Columns) -> np.ndarray:
    """What a computed column is before it is rounded, [N, T]."""
    if isinstance(rule, Ratio):
        part, whole = rule.factor * column(rule.part), column(rule.whole)
        return np.divide(part, whole, out=np.zeros_like(part), where=np.abs(whole) > TINY)
    factor, name = rule.terms[0]
    total = rule.constant + factor * column(name)
    for factor, name in rule.terms[1:]:
        total = total + factor * column(name)
    return total


def keeps(
    rule: Order | Increase | Sum | Ratio, column: Columns, decimals_of: Callable[[str], int | None]
) -> np.ndarray:
    """Which steps keep a rule, bool [N, T].

    A computed column keeps it when it is what it should be but for rounding: by half a unit of its
    last decimal, or without decimals by a millionth of the numbers in the sum. A ratio may have
    been computed before its part and whole were rounded: half units of theirs count as well.
    """
    x, decimals = column(rule.columns[0]), decimals_of(rule.columns[0])
    if isinstance(rule, Order):
        good = np.ones(x.shape, bool)
        for name in rule.columns[1:]:
            higher = column(name)
            good &= x <= higher
            x = higher
        return good
    if isinstance(rule, Increase) and rule.by is not None:
        change = x - np.concatenate([x[:, :1], x[:, :-1]], axis=1)
        wanted = column(rule.by).copy()
        wanted[:, 0] = 0.0
        exact = ROUNDING if half_unit(decimals) else FLOAT
        return np.abs(change - wanted) <= exact * (np.abs(x) + np.abs(wanted))
    if isinstance(rule, Increase) and rule.step is None:
        return np.diff(x, axis=1, prepend=x[:, :1]) >= 0
    size, allowed = np.abs(x), half_unit(decimals)
    if isinstance(rule, Increase):
        expected = stepped(x[:, :1], rule, x.shape[1], decimals)
    else:
        expected = computed(rule, column)
    if isinstance(rule, Sum):
        for factor, name in rule.terms:
            size = size + np.abs(factor * column(name))
    elif isinstance(rule, Ratio):
        part, whole = (
            half_unit(decimals) if (decimals := decimals_of(name)) else 0.0  # counts are exact
            for name in (rule.part, rule.whole)
        )
        total = np.abs(column(rule.whole))
        error = abs(rule.factor) * part + np.abs(expected) * whole
        allowed = allowed + np.divide(error, total, out=np.zeros_like(total), where=total > TINY)
    relative = ROUNDING if half_unit(decimals_of(rule.columns[0])) else FLOAT
    return np.abs(x - expected) <= allowed + relative * size
