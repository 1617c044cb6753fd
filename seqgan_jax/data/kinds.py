"""The kind of each column, found in the training part or asked for by --kind.

A column's kind decides how it is learned: as a density, or as the probability of each value.

Shapes: N sequences, T steps, D columns; R readings of a column; L levels of a grid.
"""

import dataclasses
import math
import reprlib
from collections.abc import Sequence

import numpy as np

from seqgan_jax.data import grids, overlap
from seqgan_jax.data.bounds import ALL, SHOWN
from seqgan_jax.data.columns import LEAST_CODE, SENTINEL_TIMES
from seqgan_jax.data.files import printable
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, GRID, MOST_ATOMS, NAMES, Kind
from seqgan_jax.errors import DataError, UsageError

__all__ = ["Kind", "find", "of_columns", "once", "parse"]

STATIC = "static"
ASKED = (*NAMES, STATIC)
FEW = 12  # values that are categories, where all of them are there often
LEAST_SHARE, LEAST_TIMES = 0.02, 5  # of each of these
MOST_CATEGORIES = 1000
REPEATS = 4  # readings for each level of a table
FINEST = 2e-5  # step of a lattice as share of the spread: float32 must tell cells apart
ATOM, ATOM_TIMES, ATOM_RATIO, NEAR = 0.02, 20, 4, 0.1
ATOM_OF_GRID = 0.05
HELD, SLOPED, EXPLAINED, LEAST_RUNS = 0.05, 0.2, (2, 3), 10
FARTHEST = 9  # levels that a move is compared with
STRAIGHT = 1e-5  # of the spread: rounding in the file


def parse(text: str) -> tuple[str, str]:
    """Column and kind of "COLUMN:KIND"; the column's name may hold colons.

    Raises:
      UsageError: it is written otherwise, or there is no such kind.

    >>> parse("rain:grid"), parse("a:b:static")
    (('rain', 'grid'), ('a:b', 'static'))
    """
    name, _, kind = text.rpartition(":")
    if not name or kind not in ASKED:
        raise UsageError(
            f"--kind {reprlib.repr(text)} is not COLUMN:KIND. Write rain:grid; the kinds are "
            f"{', '.join(ASKED)}."
        )
    return name, kind


def of_columns(asked: Sequence[str], names: Sequence[str]) -> tuple[str | None, ...]:
    """The kind that is asked for of each of the columns `names`, None where none is.

    Raises:
      UsageError: an unknown column, or one of which two kinds are asked.

    >>> of_columns(["b:grid"], ["a", "b"])
    (None, 'grid')
    """
    found: list[str | None] = [None] * len(names)
    for text in asked:
        name, kind = parse(text)
        if name not in names and name != ALL:
            there = ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
            raise UsageError(
                f"--kind: there is no column {reprlib.repr(name)} (the columns are {there}). "
                f"Correct the name, or write {ALL} for all of them."
            )
        for d, each in enumerate(names):
            if name in names and each != name:
                continue
            if (earlier := found[d]) is not None:
                raise UsageError(
                    f"--kind: column {reprlib.repr(each)} is said to be {earlier} and {kind}. "
                    "Leave one out."
                )
            found[d] = kind
    return tuple(found)


def once(x_NTD: np.ndarray) -> np.ndarray:
    """bool [N, T]: the steps that are in no window before, where sequences are windows that
    overlap, so that each reading is counted once; all steps of other sequences.

    >>> x = np.random.default_rng(0).normal(size=(40, 1))
    >>> once(np.stack([x[i : i + 5] for i in range(0, 36, 2)])).sum(axis=1)[:3].tolist()
    [5, 2, 2]
    """
    number, length = x_NTD.shape[:2]
    windows = overlap.find(x_NTD) if number > 1 else None
    new_NT = np.ones((number, length), bool)
    if windows is not None:
        order = np.lexsort((windows.starts_N, windows.series_N))
        series, starts = windows.series_N[order], windows.starts_N[order]
        same = np.r_[False, series[1:] == series[:-1]]
        known = np.where(same, np.r_[0, length - np.diff(starts)], 0)
        new_NT[order] = np.arange(length) >= known[:, None]
    return new_NT


def find(
    x_NTD: np.ndarray,
    asked: Sequence[str | None] = (),
    words: Sequence[bool] = (),
    names: Sequence[str] = (),
    once_NT: np.ndarray | None = None,
) -> tuple[Kind, ...]:
    """The kind of each column, from the training part.

    Constant columns and copies of earlier ones, which are not learned, count as continuous.

    Args:
      x_NTD: complete, in the data's units (after rules).
      asked: what --kind asks of each column, see `of_columns`; () for nothing.
      words: which columns are codes 0 .. C - 1 of words; () for none.
      names: of the columns, for messages.
      once_NT: the steps to count, see `once`; of rules, from the data before them.

    Raises:
      DataError: a column cannot be what is asked.

    >>> x = np.random.default_rng(0).poisson(30, size=(200, 10, 1)) / 10
    >>> print(find(np.concatenate([x, x > 3], axis=-1))[1])
    2 categories
    """
    counted_NT = once(x_NTD) if once_NT is None else once_NT
    columns = [np.ascontiguousarray(x_NTD[..., d]) for d in range(x_NTD.shape[-1])]
    found: list[Kind] = []
    for d, x_NT in enumerate(columns):
        kind = asked[d] if asked else None
        name = printable(names[d]) if names else f"column {d + 1}"
        if np.all(x_NT == x_NT[0, 0]) or any(_equal(x_NT, e) for e in columns[:d]):
            found.append(Kind(CONTINUOUS))
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300: no grid
                found.append(_kind(x_NT + 0.0, counted_NT, kind, bool(words) and words[d], name))
    return tuple(found)


def _equal(x_NT: np.ndarray, other_NT: np.ndarray) -> bool:
    return np.array_equal(x_NT[:9], other_NT[:9]) and np.array_equal(x_NT, other_NT)


def _kind(
    x_NT: np.ndarray, once_NT: np.ndarray, asked: str | None, is_words: bool, name: str
) -> Kind:
    """The kind of a column that varies."""
    varies = x_NT != x_NT[:, :1]
    static = x_NT.shape[1] > 1 and len(x_NT) > 1 and not varies.any()
    if asked == STATIC and not static:
        n, t = (int(i) for i in np.argwhere(varies)[0]) if varies.any() else (0, 0)
        raise _refusal(
            name, asked, f"it varies: {x_NT[n, 0]:.9g} and {x_NT[n, t]:.9g} in sequence {n + 1}"
        )
    if is_words:
        if asked in (CONTINUOUS, GRID):
            raise _refusal(name, asked, "it holds words, which have no size")
        levels, counts = grids.counted(x_NT[:, 0] if static else x_NT[once_NT])
        return _categories(levels, counts, static, is_words)
    if asked == CONTINUOUS:
        return Kind(CONTINUOUS)
    return _of_numbers(x_NT, once_NT, asked, static, name)


def _of_numbers(
    x_NT: np.ndarray, once_NT: np.ndarray, asked: str | None, static: bool, name: str
) -> Kind:
    """The kind of a column of numbers that varies."""
    fresh_NT = once_NT.copy()  # held values once
    if static:
        fresh_NT[:] = np.arange(x_NT.shape[1]) == 0
    else:
        fresh_NT[:, 1:] &= x_NT[:, 1:] != x_NT[:, :-1]
    levels, fresh = grids.counted(x_NT[fresh_NT])
    counts = fresh
    if not static and np.any(fresh_NT != once_NT):
        counts = np.bincount(np.searchsorted(levels, x_NT[once_NT]), minlength=len(levels))
    is_few = len(levels) <= FEW and fresh.min() >= max(LEAST_TIMES, LEAST_SHARE * fresh.sum())
    if asked == CATEGORICAL or (asked != GRID and (len(levels) == 2 or is_few)):
        if len(levels) > MOST_CATEGORIES:
            raise _refusal(
                name, asked, f"it has {len(levels):,} different values, more than {MOST_CATEGORIES}"
            )
        return _categories(levels, counts, static)
    far = _sentinels(levels, counts)
    sentinels, levels = levels[far], levels[~far]
    total, counts, fresh = counts.sum(), counts[~far], fresh[~far]
    spread = _spread(levels, fresh)
    if not spread < math.inf:
        return Kind(CONTINUOUS, static=static)
    kind = _grid(levels, fresh, spread, asked)
    if asked == GRID and kind is None:
        raise _refusal(
            name,
            asked,
            f"its {len(levels):,} different values are multiples of no step that is at least "
            f"{FINEST:g} of their spread ({spread:.4g}), and do not repeat",
        )
    kind = kind or Kind(CONTINUOUS)
    table = levels
    if kind.levels:
        table = np.array(kind.levels)
        places = grids.nearest(table, levels)
        counts, fresh = (np.bincount(places, each, len(table)) for each in (counts, fresh))
    atoms = _atoms(table, counts, total, bool(kind.levels))[: MOST_ATOMS - len(sentinels)]
    masses = sorted(
        [(v, True) for v in sentinels.tolist()] + [(v, False) for v in table[atoms].tolist()]
    )
    kind = dataclasses.replace(
        kind,
        atoms=tuple(value for value, _ in masses),
        sentinel=tuple(is_far for _, is_far in masses),
        static=static,
    )
    if not static:
        held, sloped = _runs(x_NT, once_NT, kind, spread)
        kind = dataclasses.replace(kind, held=held, sloped=sloped)
    if not kind.levels:
        return kind
    came = np.where(np.isin(table, kind.atoms), 0.0, fresh if kind.held else counts)
    weights = grids.weights_of(came)
    return dataclasses.replace(kind, weights=tuple(weights.tolist()))


def _categories(levels: np.ndarray, counts: np.ndarray, static: bool, words: bool = False) -> Kind:
    weights = tuple(counts.astype(np.float64).tolist())
    return Kind(CATEGORICAL, tuple(levels.tolist()), weights, static=static, words=words)


def _grid(
    levels_L: np.ndarray, fresh_L: np.ndarray, spread: float, asked: str | None
) -> Kind | None:
    """A grid by a table or a lattice, None where neither is there."""
    number, readings = len(levels_L), fresh_L.sum()
    apart = grids.merged(levels_L, fresh_L, spread)
    if len(apart) <= min(grids.MOST_LEVELS, (readings - fresh_L.max()) / REPEATS):
        levels_L, fresh_L, number = levels_L[apart], fresh_L[apart], len(apart)
        whole = grids.completed(levels_L, fresh_L)
        return _table(levels_L if whole is None else whole)
    lattice = grids.lattice_of(levels_L, (levels_L[-1] - levels_L[0]) / (FINEST * spread))
    if lattice is not None:
        low, high = grids.ends_of(levels_L, fresh_L, math.inf)
        return Kind(GRID, step=lattice[1], origin=lattice[0], low=low, high=high)
    if asked == GRID and number <= min(grids.MOST_LEVELS, readings / 2):
        return _table(levels_L)
    return None


def _table(levels_L: np.ndarray) -> Kind:
    return Kind(GRID, tuple(levels_L.tolist()), (1.0,) * len(levels_L))


def _sentinels(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray:
    """Which levels are far outside the others and there again and again, bool [L].

    Farther from the nearest other than these lie apart, the other end left out: of ATOM of all
    readings, or whole numbers as in `columns.sentinel_of`.
    """
    first, last, far = 0, len(levels_L), np.zeros(len(levels_L), bool)
    while last - first > 4 and np.count_nonzero(far) < MOST_ATOMS:
        rest = levels_L[first + 1 : last - 1]
        for end, low, high in ((first, first + 1, last), (last - 1, first, last - 1)):
            value, times = levels_L[end], counts_L[end]
            gap = np.abs(rest - value).min()
            often = times >= ATOM_TIMES and times > ATOM * counts_L.sum()
            code = times >= SENTINEL_TIMES and value == np.rint(value) and abs(value) >= LEAST_CODE
            code = code and gap > np.abs(rest).max() / 2
            if gap > rest[-1] - rest[0] and (often or code):
                far[end], first, last = True, low, high
                break
        else:
            break
    return far


def _spread(levels_L: np.ndarray, counts_L: np.ndarray) -> float:
    """About the standard deviation, whatever outliers there are; above 0."""
    ranks = np.searchsorted(np.cumsum(counts_L), np.array([0.05, 0.95]) * counts_L.sum())
    low, high = levels_L[ranks]
    return float((high - low) or (levels_L[-1] - levels_L[0])) / 3.29


def _atoms(table_L: np.ndarray, counts_L: np.ndarray, total: int, is_table: bool) -> np.ndarray:
    """Places of values with more mass than the rest around them explains, the largest first.

    Each has a share of its own and ATOM_RATIO times what any other value within NEAR of the range
    has: whole numbers among fractions, which are a comb, are none. Of a table the others are all
    others, else all but atoms.
    """
    order = np.argsort(-counts_L, kind="stable")[:MOST_ATOMS]
    near = NEAR * (table_L[-1] - table_L[0])
    least = max(ATOM_TIMES, (ATOM_OF_GRID if is_table else ATOM) * total)

    def stands_out(place: int, others: np.ndarray) -> bool:
        low = min(np.searchsorted(table_L, table_L[place] - near), max(place - 2, 0))
        high = max(np.searchsorted(table_L, table_L[place] + near), place + 3)
        others = np.setdiff1d(np.arange(low, min(high, len(table_L))), others)
        return bool(counts_L[place] >= max(least, ATOM_RATIO * counts_L[others].max(initial=0)))

    if is_table:
        return order[[stands_out(place, order[i : i + 1]) for i, place in enumerate(order)]]
    numbers = range(len(order), 0, -1)
    good = (n for n in numbers if all(stands_out(place, order[:n]) for place in order[:n]))
    return order[: next(good, 0)]


def _runs(x_NT: np.ndarray, once_NT: np.ndarray, kind: Kind, spread: float) -> tuple[bool, bool]:
    """Held and sloped: how often a value is as before, or straight on, and more than by chance."""
    same = x_NT[:, 1:] == x_NT[:, :-1]
    steps = once_NT[:, 1:] & ~np.isin(x_NT[:, 1:], kind.atoms)
    times = np.count_nonzero(same & steps)
    held = times >= max(LEAST_RUNS, HELD * np.count_nonzero(steps))
    if held and kind.name == GRID:
        cells = _cells(x_NT, kind)
        moves = np.minimum(np.abs(np.diff(cells, axis=1))[steps], FARTHEST).astype(int)
        near = np.bincount(moves, minlength=FARTHEST + 1)[1:FARTHEST] / 2
        # What a law of moves that is highest at 0 and falls ever faster could give at 0.
        held = times > EXPLAINED[0] * max(near.max(), near[0] ** 2 / (near[1] + 0.5))
    changed = once_NT[:, 2:] & ~same[:, 1:]
    bend = x_NT[:, 2:] - 2 * x_NT[:, 1:-1] + x_NT[:, :-2]
    unit = kind.spacing or 2 * STRAIGHT * spread
    bends = np.abs(np.rint(bend[changed] / unit))
    times = np.count_nonzero(bends == 0)
    others = max(np.count_nonzero(bends == far) / 2 for far in (1, 2))
    sloped = times >= max(LEAST_RUNS, SLOPED * bends.size) and times > EXPLAINED[1] * others
    return bool(held), bool(sloped)


def _cells(x_NT: np.ndarray, kind: Kind) -> np.ndarray:
    """The number of each value on the grid."""
    if kind.levels:
        return grids.nearest(np.array(kind.levels), x_NT)
    return np.rint((x_NT - kind.origin) / kind.step)


def _refusal(name: str, asked: str | None, why: str) -> DataError:
    return DataError(
        f"{name} cannot be learned as {asked} (--kind): {why}. Correct --kind, or leave it out: "
        "the kind is then found in the data."
    )
