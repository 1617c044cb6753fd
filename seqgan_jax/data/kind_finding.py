"""The kind of a column of numbers, found in its readings.

Shapes: N sequences, T steps; L distinct values of a column, ascending.
"""

import dataclasses
import math

import numpy as np

from seqgan_jax.data import grids
from seqgan_jax.data.columns import LEAST_CODE, SENTINEL_TIMES
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, GRID, MOST_ATOMS, Kind
from seqgan_jax.errors import DataError

FEW = 12  # values that are categories, where all of them are there often
LEAST_SHARE, LEAST_TIMES = 0.02, 5  # of each of these
MOST_CATEGORIES = 1000
REPEATS = 4  # readings for each level of a table
# The same where there is no lattice: averages of few readings, which a density does not give.
LEAST_REPEATS, LEAST_AGAIN = 1.4, 200
COPIES, COPIED = 0.1, 32  # more such sequences, by so many first values: they say nothing new
LEAST_LEVELS = 9  # of a lattice: the divisor of fewer may be chance
FINEST = 2e-5  # step of a lattice as share of the spread: float32 must tell cells apart
ATOM, ATOM_TIMES, ATOM_RATIO, NEAR = 0.02, 20, 4, 0.1
ATOM_OF_GRID = 0.05
VISITS = 5  # of a value between the ends: fewer long ones are a sensor that is stuck, not an atom
HELD, SLOPED, EXPLAINED, LEAST_RUNS = 0.05, 0.2, (2, 3), 10
LEAST_MOVES, LEAST_BENT = 200, 30  # and different values
FARTHEST = 9  # levels that a move is compared with
COUNTED = 12  # steps: what was interpolated bends where readings are
CROSSES = 0.01  # of the readings: so often a usual move could lead beyond an end
USUAL = 0.5  # of the gaps between a table's levels
STRAIGHT = 1e-5  # of the spread: rounding in the file


def of_numbers(
    x_NT: np.ndarray, once_NT: np.ndarray, asked: str | None, static: bool, name: str
) -> Kind:
    """The kind of a column of numbers that varies.

    Categories, where there are two or few values and none is rare. Else sentinels are set aside;
    then a table, a lattice or a density; then atoms, held and sloped.

    Args:
      x_NT: without -0; NaN where one is missing.
      once_NT: see `kinds.once`; not where a value is missing.
      asked: categorical, grid, static or None.
      static: it is constant in each sequence.
      name: for messages.

    Raises:
      DataError: it cannot be what is asked.
    """
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
    is_two = len(levels) == 2 and counts.sum() >= LEAST_TIMES
    if asked == CATEGORICAL or (asked != GRID and (is_two or is_few)):
        if len(levels) > MOST_CATEGORIES:
            raise refusal(
                name, asked, f"it has {len(levels):,} different values, more than {MOST_CATEGORIES}"
            )
        return categories(levels, counts, static)
    far = _sentinels(levels, counts)
    sentinels, levels = levels[far], levels[~far]
    total, counts, fresh = counts.sum(), counts[~far], fresh[~far]
    spread = _spread(levels, fresh)
    if not 0 < spread < math.inf:  # 0: of numbers next to 0
        return Kind(CONTINUOUS, static=static)
    apart = grids.merged(levels, fresh, spread)
    kind = _grid(levels, fresh, apart, spread, asked) or _repeated(levels, fresh, apart, x_NT)
    if asked == GRID and kind is None:
        raise refusal(
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
    atoms = _atoms(table, counts, total, bool(kind.levels))
    is_inner = (table[atoms] > table[0]) & (table[atoms] < table[-1]) & (table[atoms] != 0)
    is_stuck = is_inner & (fresh[atoms] < VISITS) & (not static)
    grid = dataclasses.replace(kind, static=static)
    kind = _with_atoms(grid, table[atoms[~is_stuck]], sentinels, x_NT, once_NT, spread)
    if is_stuck.any() and not kind.held:
        kind = _with_atoms(grid, table[atoms], sentinels, x_NT, once_NT, spread)
    if kind.name == GRID:
        kind = dataclasses.replace(kind, cut=_is_near_end(x_NT, once_NT, kind))
    power = _power(kind, x_NT, once_NT) if kind.cut and not (kind.sloped or static) else 1.0
    whole = grids.completed(levels, fresh) if kind.step and power != 1.0 else None
    if whole is not None:  # a lattice has no power
        kind = dataclasses.replace(
            _table(whole, sided=True),
            **{name: getattr(kind, name) for name in ("atoms", "sentinel", "held", "cut")},
        )
        table, places = whole, grids.nearest(whole, levels)
        counts, fresh = (np.bincount(places, each, len(whole)) for each in (counts, fresh))
    if not kind.levels:
        return kind
    came = np.where(np.isin(table, kind.atoms), 0.0, fresh if kind.held else counts)
    weights = tuple(grids.weights_of(came).tolist())
    coarse = _sticky(kind, table, x_NT, once_NT) if kind.held and not kind.sloped else ()
    return dataclasses.replace(kind, weights=weights, coarse=coarse, power=power)


def _power(kind: Kind, x_NT: np.ndarray, once_NT: np.ndarray) -> float:
    """The power in which a table is learned, see `grids.power_of`; of what moves."""
    before, after = x_NT[:, :-1], x_NT[:, 1:]
    moves = once_NT[:, 1:] & ~np.isnan(before + after)
    moves &= ~(np.isin(before, kind.atoms) | np.isin(after, kind.atoms))
    if kind.held:
        moves &= before != after
    low, gap = kind.low, kind.step
    if kind.levels:
        low, gap = kind.levels[0], grids.gap_of(np.array(kind.levels))
    x, past = np.maximum(after[moves], low), np.maximum(before[moves], low)
    if len(x) < LEAST_MOVES or not 0 <= low < math.inf or len(np.unique(past)) < LEAST_BENT:
        return 1.0
    return grids.power_of(x, past, low, gap)


def _sticky(
    kind: Kind, table_L: np.ndarray, x_NT: np.ndarray, once_NT: np.ndarray
) -> tuple[float, ...]:
    """The levels at which it stays, see `grids.sticky_of`."""
    before, after = x_NT[:, :-1], x_NT[:, 1:]
    counted = once_NT[:, 1:] & ~np.isnan(before) & ~np.isnan(after) & ~np.isin(before, kind.atoms)
    place, is_same = grids.nearest(table_L, before[counted]), (before == after)[counted]
    times, held = (np.bincount(place, w, len(table_L)) for w in (None, is_same))
    return tuple(table_L[grids.sticky_of(held, times)].tolist())


def _with_atoms(
    kind: Kind,
    atoms: np.ndarray,
    sentinels: np.ndarray,
    x_NT: np.ndarray,
    once_NT: np.ndarray,
    spread: float,
) -> Kind:
    """With the first of these atoms, beside sentinels; held and sloped as what is left shows."""
    atoms = atoms[: MOST_ATOMS - len(sentinels)]
    masses = sorted([(v, True) for v in sentinels.tolist()] + [(v, False) for v in atoms.tolist()])
    kind = dataclasses.replace(
        kind,
        atoms=tuple(value for value, _ in masses),
        sentinel=tuple(is_far for _, is_far in masses),
    )
    if kind.static:
        return kind
    held, sloped = _runs(x_NT, once_NT, kind, spread)
    return dataclasses.replace(kind, held=held, sloped=sloped, counted=COUNTED * sloped)


def categories(levels: np.ndarray, counts: np.ndarray, static: bool, words: bool = False) -> Kind:
    """Categories that came so often."""
    weights = tuple(counts.astype(np.float64).tolist())
    kind = Kind(CATEGORICAL, tuple(levels.tolist()), weights, static=static, words=words)
    return dataclasses.replace(kind, told=not static)


def _grid(
    levels_L: np.ndarray, fresh_L: np.ndarray, apart: np.ndarray, spread: float, asked: str | None
) -> Kind | None:
    """A grid by a table or a lattice, None where neither is there; `apart` as of `grids.merged`."""
    number, readings = len(levels_L), fresh_L.sum()
    if len(apart) <= min(grids.MOST_LEVELS, (readings - fresh_L.max()) / REPEATS):
        levels_L, fresh_L, number = levels_L[apart], fresh_L[apart], len(apart)
        whole = grids.completed(levels_L, fresh_L)
        # What lies on no lattice are averages between common codes: a comb, and no tails.
        return _table(levels_L) if whole is None else _table(whole, sided=True)
    lattice = grids.lattice_of(levels_L, (levels_L[-1] - levels_L[0]) / (FINEST * spread))
    if lattice is not None and (
        asked == GRID or number >= LEAST_LEVELS or _is_dense(levels_L, lattice)
    ):
        low, high = grids.ends_of(levels_L, fresh_L, math.inf)
        return Kind(GRID, step=lattice[1], origin=lattice[0], low=low, high=high)
    if asked == GRID and number <= min(grids.MOST_LEVELS, readings / 2):
        return _table(levels_L)
    return None


def _is_dense(levels_L: np.ndarray, lattice: tuple[float, float]) -> bool:
    """Whether few levels fill a lattice that they are exactly on: the years of a long table."""
    number_L = (levels_L - lattice[0]) / lattice[1]
    is_on = np.abs(number_L - np.rint(number_L)).max() < grids.EXACT
    return bool(
        len(levels_L) > 2 and is_on and number_L[-1] - number_L[0] < len(levels_L) / grids.DENSE
    )


def _repeated(
    levels_L: np.ndarray, fresh_L: np.ndarray, apart: np.ndarray, x_NT: np.ndarray
) -> Kind | None:
    """A grid by a table of values that repeat, though no lattice holds them; None where they do not
    or where whole sequences repeat."""
    readings = int(fresh_L.sum())
    most = min(grids.MOST_REPEATED, (readings - fresh_L.max()) / LEAST_REPEATS)
    if len(apart) > most or readings - len(apart) < LEAST_AGAIN:
        return None
    first = np.unique(x_NT[:, :COPIED], axis=0)
    return None if len(first) < (1 - COPIES) * len(x_NT) else _table(levels_L[apart])


def _table(levels_L: np.ndarray, sided: bool = False) -> Kind:
    return Kind(GRID, tuple(levels_L.tolist()), (1.0,) * len(levels_L), sided=sided)


def _sentinels(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray:
    """Which levels are far outside the others and there again and again, bool [L].

    Farther from the nearest other than these lie apart, the other end left out: of ATOM of all
    readings, or whole numbers as in `columns.sentinel_of`. And the only one below 0, of ATOM of all
    readings, whole and no tail of the others: -1 where a power was not read, however small it is.
    """
    first, last, far = 0, len(levels_L), np.zeros(len(levels_L), bool)
    enough = max(ATOM_TIMES, ATOM * counts_L.sum())
    alone = last > MOST_ATOMS and levels_L[0] < 0 <= levels_L[1]
    if alone and counts_L[0] > max(enough, 2 * counts_L[1:4].min()):
        far[0] = levels_L[0] == np.rint(levels_L[0])
        first += int(far[0])
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
    gone_NT = np.isnan(x_NT)
    steps &= ~gone_NT[:, :-1]
    times = np.count_nonzero(same & steps)
    held = times >= max(LEAST_RUNS, HELD * np.count_nonzero(steps))
    if held and kind.name == GRID:
        cells = _cells(x_NT, kind)
        moves = np.minimum(np.abs(np.diff(cells, axis=1))[steps], FARTHEST).astype(int)
        near = np.bincount(moves, minlength=FARTHEST + 1)[1:FARTHEST] / 2
        # What a law of moves that is highest at 0 and falls ever faster could give at 0.
        held = times > EXPLAINED[0] * max(near.max(), near[0] ** 2 / (near[1] + 0.5))
    changed = once_NT[:, 2:] & ~same[:, 1:] & ~gone_NT[:, 1:-1] & ~gone_NT[:, :-2]
    bend = x_NT[:, 2:] - 2 * x_NT[:, 1:-1] + x_NT[:, :-2]
    unit = kind.spacing or _usual_gap(kind) or 2 * STRAIGHT * spread
    bends = np.abs(np.rint(bend[changed] / unit))
    times = np.count_nonzero(bends == 0)
    others = max(np.count_nonzero(bends == far) / 2 for far in (1, 2))
    sloped = times >= max(LEAST_RUNS, SLOPED * bends.size) and times > EXPLAINED[1] * others
    return bool(held), bool(sloped)


def _is_near_end(x_NT: np.ndarray, once_NT: np.ndarray, kind: Kind) -> bool:
    """Whether usual moves would often lead beyond an end."""
    low, high = (kind.levels[0], kind.levels[-1]) if kind.levels else (kind.low, kind.high)
    far = [a for a, is_far in zip(kind.atoms, kind.sentinel, strict=True) if is_far]
    is_value = ~(np.isnan(x_NT) | np.isin(x_NT, far))
    x = x_NT[is_value & once_NT]
    moves = np.diff(x_NT, axis=1)[(is_value & once_NT)[:, 1:] & is_value[:, :-1]]
    sizes = np.abs(x - np.median(x)) if kind.static else np.abs(moves[moves != 0])
    size = float(np.quantile(sizes, 0.7)) if sizes.size else 0.0  # about a standard deviation
    return bool(np.mean((x - low < 2 * size) | (high - x < 2 * size)) > CROSSES)


def _usual_gap(kind: Kind) -> float:
    """How far most of a table's levels lie apart, where few are beside a lattice; else 0."""
    if len(kind.levels) < 3:
        return 0.0
    gaps, step = np.diff(kind.levels), grids.gap_of(np.array(kind.levels))
    return step if np.mean(np.abs(gaps - step) <= grids.TOLERANCE * step) > USUAL else 0.0


def _cells(x_NT: np.ndarray, kind: Kind) -> np.ndarray:
    """The number of each value on the grid."""
    if kind.levels:
        return grids.nearest(np.array(kind.levels), x_NT)
    return np.rint((x_NT - kind.origin) / kind.step)


def refusal(name: str, asked: str | None, why: str) -> DataError:
    """A column cannot be what --kind, --static or --label says."""
    flag = {"static": "--static or --kind", "label": "--label"}.get(str(asked), "--kind")
    return DataError(
        f"{name} cannot be learned as {asked} ({flag}): {why}. Correct {flag}, or leave it out: "
        "the kind is then found in the data."
    )
