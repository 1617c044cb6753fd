"""What a column of numbers is: its range, decimals, grid, commonest values; and sentinels.

Shapes: L steps or cells of a column.
"""

import numpy as np

from seqgan_jax.data.form import ColumnForm
from seqgan_jax.data.lengths import ends_of
from seqgan_jax.data.tables import Column

MOST_DECIMALS = 12
MOST_CELLS = 1e6  # of a grid between the lowest and the highest value
FEW = 20  # values of a grid that are no atoms
ATOM = 0.05
SAMPLE = 1000
MOST_COUNTED = 200_000  # values whose shares are counted, every n-th of more
SENTINEL_TIMES = 3
LEAST_CODE = 9  # smaller numbers are no sentinels


def describe(column: Column, x_L: np.ndarray, earlier: list[np.ndarray]) -> ColumnForm:
    """The form of a learned column.

    Args:
      column: as it was read.
      x_L: its values, NaN where missing.
      earlier: the values of columns before it, which it may be a copy of.
    """
    there = _without_gaps(x_L)
    low, high = (float(there.min()) + 0.0, float(there.max()) + 0.0) if len(there) else (0.0, 0.0)
    decimals = decimals_of(there)
    grid = grid_of(there, decimals)
    some = there[:: 1 + len(there) // MOST_COUNTED] + 0.0  # without -0
    values, counts = np.unique(some, return_counts=True)
    atoms: tuple[tuple[float, float], ...] = ()
    if not (grid is not None and len(values) <= FEW) and len(there):
        order = np.argsort(-counts, kind="stable")[:3]
        atoms = tuple(
            (float(values[i]), float(counts[i] / len(some)))
            for i in order
            if counts[i] > ATOM * len(some)
        )
    if column.kind == "category":
        grid, atoms = None, ()
    if low == high:
        kind = "constant"
    elif any(_same(x_L[:SAMPLE], other[:SAMPLE]) and _same(x_L, other) for other in earlier):
        kind = "copy"
    elif column.kind == "category":
        kind = "categorical"
    elif column.kind == "yes/no" or set(values.tolist()) <= {0.0, 1.0}:
        kind = "yes/no"
    elif grid is not None and grid == np.rint(grid) and low >= 0:
        kind = "count"
    else:
        kind = "grid" if grid is not None else "continuous"
    missing = 1 - len(there) / max(1, len(x_L))
    return ColumnForm(
        *(column.name, column.dtype, decimals, low, high, grid, atoms, missing, kind),
        *(column.notes, column.categories if column.kind in ("category", "yes/no") else ()),
    )


def _without_gaps(x_L: np.ndarray) -> np.ndarray:
    """The values that are there; no copy where all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.isfinite(x_L.sum())
    return x_L if whole else x_L[np.isfinite(x_L)]


def _same(x_L: np.ndarray, other_L: np.ndarray) -> bool:
    return np.array_equal(x_L, other_L, equal_nan=True)


def decimals_of(x_L: np.ndarray) -> int | None:
    """The most decimals of any value, None where they need more than MOST_DECIMALS.

    >>> decimals_of(np.array([1.25, 3.0])), decimals_of(np.array([1 / 3]))
    (2, None)
    """
    decimals = 0
    for part in (x_L[:SAMPLE], x_L):
        while decimals <= MOST_DECIMALS and not _fits(part, decimals):
            decimals += 1
    return decimals if decimals <= MOST_DECIMALS else None


def _fits(x_L: np.ndarray, decimals: int) -> bool:
    """Whether so many decimals write every value exactly."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = x_L * 10.0**decimals
        if decimals and len(x_L) and np.abs(scaled).max() > 2**52:
            return False
        return bool(np.all(np.rint(scaled) / 10.0**decimals == x_L))


def grid_of(x_L: np.ndarray, decimals: int | None) -> float | None:
    """The largest step of which all values are multiples, None where there is no such grid.

    >>> grid_of(np.array([0.5, 2.0, 7.5]), 1), grid_of(np.array([3.0, 9.0]), 0)
    (0.5, 3.0)
    """
    if decimals is None or len(x_L) == 0 or x_L.min() == x_L.max():
        return None
    scaled = np.rint(x_L * 10.0**decimals)
    if np.abs(scaled).max() > 2**52:
        return None
    grid = int(np.gcd.reduce(np.abs(scaled).astype(np.int64))) / 10**decimals
    return grid if (x_L.max() - x_L.min()) / grid <= MOST_CELLS else None


def sentinel_of(x_L: np.ndarray) -> float | None:
    """A value that may mean "missing": far outside all others and there again and again.

    Farther from the nearest other value than these lie apart, at least three times, a whole number.

    >>> sentinel_of(np.array([1.0, 2.5, -200, 3.1, -200, 2.2, -200])), sentinel_of(np.arange(9.0))
    (-200.0, None)
    """
    there = _without_gaps(x_L)
    if len(there) < 2 * SENTINEL_TIMES:
        return None
    for extreme in (float(there.min()), float(there.max())):
        if extreme != np.rint(extreme) or abs(extreme) < LEAST_CODE:
            continue
        times = np.count_nonzero(there == extreme)
        if times < SENTINEL_TIMES or 2 * times > len(there):
            continue
        rest = there[there != extreme]
        if len(np.unique(rest[:SAMPLE])) < 3:
            continue
        if np.abs(rest - extreme).min() > max(rest.max() - rest.min(), np.abs(rest).max() / 2):
            return extreme
    return None


def padding_of(x_NT: np.ndarray) -> np.ndarray | None:
    """Lengths of rows that end in zeros, [N], where zero is nowhere else; None where it is.

    >>> padding_of(np.array([[1, 2, 0, 0], [3, 4, 5, 0], [1, 5, 6, 7], [2, 3, 0, 0]])).tolist()
    [2, 3, 4, 2]
    """
    lengths = ends_of(x_NT == 0)
    inside = np.arange(x_NT.shape[1]) < lengths[:, None]
    padded = lengths < x_NT.shape[1]
    if np.mean(padded) < 0.1 or np.sum(padded) < SENTINEL_TIMES or len(np.unique(lengths)) < 2:
        return None
    return None if np.any((x_NT == 0) & inside) or np.any(lengths == 0) else lengths
