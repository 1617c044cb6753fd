"""What a judge sees of a column: its values in several forms, so that no defect is too small.

Shapes: N sequences, T steps, D columns, C channels, K readings or levels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from seqgan_jax.analysis import absent, metrics
from seqgan_jax.data import grids, kinds
from seqgan_jax.data.columns import MOST_DECIMALS

Array = NDArray[Any]

CHANNELS = 8
MORE = 2  # where values are absent
COMMON, LEAST_COMMON = 8, 0.005  # values, and the share of the readings that each must have
SAME = 1e-6  # of the spread: rounding of float32 and of text
MOST_CELLS = 1e7  # of a lattice
MOST = 700.0  # asinh of the largest float64
COARSEST = 3  # thousands
ON_GRID = 0.2  # share of values that one more decimal must bring onto its grid
REPEATS = 10  # readings for each level of an irregular grid


def channels(
    real_NTD: Array,
    x_NTD: Array,
    ends: bool = False,
    absences: bool | None = None,
    levels_D: NDArray[np.bool_] | None = None,
) -> Array:
    """The channels of each column of x, by what the real training data are -> float32 [D, N, T, C].

    1. the value and 2. its first difference, as asinh of multiples of the real spread: an outlier
    blinds nothing; 3. the Gaussian rank of the value among the real ones, which magnifies what is
    small and crowded; 4. whether it is exactly the value before, 5. whether it continues the
    increment before, 6. whether it is one of the commonest real values, 7. how far it is off the
    grid of the real values, and 8. off a coarser one that many of them are on, in half steps.

    Of columns whose level is not judged (`levels_D`; None: all are) 1. and 3. are of the values
    about the mean of their sequence.

    Where values are absent (`absences`; None: found) these are 0 there, and two more say 9. whether
    the value is there and 10. whether its step is not after the end, where sequences have one.
    """
    if absences is None:
        absences = absent.is_any(real_NTD, x_NTD)
    count, steps, features = x_NTD.shape
    once_NT = kinds.once(real_NTD)
    x_DNTC = np.zeros((features, count, steps, CHANNELS), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # 1e300 is seen as MOST
        for d in range(features):
            is_judged = levels_D is None or bool(levels_D[d])
            _fill(x_DNTC[d], real_NTD[..., d] + 0.0, once_NT, x_NTD[..., d] + 0.0, is_judged)
    if absences:
        there_DNT = np.moveaxis(~np.isnan(x_NTD), 2, 0)
        x_DNTC[~there_DNT] = 0.0
        inside_DNT = np.broadcast_to(absent.inside(x_NTD, ends), there_DNT.shape)
        marks = np.stack([there_DNT, inside_DNT], axis=-1).astype(np.float32)
        x_DNTC = np.concatenate([x_DNTC, marks], axis=-1)
    return np.nan_to_num(x_DNTC, copy=False, nan=0.0, posinf=MOST, neginf=-MOST)


def _fill(
    x_NTC: Array, real_NT: Array, once_NT: NDArray[Any], x_NT: Array, with_level: bool
) -> None:
    """The channels of one column, written into x_NTC."""
    readings = metrics.there(real_NT[once_NT])
    levels, counts = grids.counted(readings)
    same = SAME * grids.spread_of(readings)
    sizes_NT, of_real_NT = (a if with_level else _about_mean(a) for a in (x_NT, real_NT))
    sizes = metrics.there(of_real_NT[once_NT])
    x_NTC[..., 0] = np.arcsinh((sizes_NT - np.median(sizes)) / grids.spread_of(sizes))
    x_NTC[..., 2] = _ranks(*grids.counted(sizes), sizes_NT)
    often = np.argsort(-counts, kind="stable")[:COMMON]
    for value in levels[often[counts[often] > max(3, LEAST_COMMON * len(readings))]]:
        x_NTC[..., 5] += np.abs(x_NT - value) <= same
    x_NTC[..., 6], x_NTC[..., 7] = _off(levels, counts, x_NT, same)
    if x_NT.shape[1] == 1:
        return
    change = np.diff(x_NT, axis=1)
    changes = metrics.there(np.diff(real_NT, axis=1).ravel())
    x_NTC[:, 1:, 1] = np.arcsinh(change / (grids.spread_of(changes) if changes.size else 1.0))
    x_NTC[:, 1:, 3] = change == 0
    x_NTC[:, 2:, 4] = np.abs(np.diff(change, axis=1)) <= same


def _about_mean(x_NT: Array) -> Array:
    """Values about the mean of their sequence."""
    number_N1 = np.maximum(np.sum(~np.isnan(x_NT), axis=1, keepdims=True), 1)
    return x_NT - np.nansum(x_NT, axis=1, keepdims=True) / number_N1


def _ranks(levels_K: Array, counts_K: NDArray[Any], x: Array) -> Array:
    """Standard normal quantiles of the middle ranks; a value between two levels is between theirs.

    >>> _ranks(np.array([0.0, 1.0]), np.array([1, 1]), np.array([0.0, 0.5, 1.0])).round(2).tolist()
    [-0.43, 0.0, 0.43]
    """
    place = np.searchsorted(levels_K, x)
    equal = levels_K[np.minimum(place, len(levels_K) - 1)] == x
    below = np.r_[0, np.cumsum(counts_K)]
    middle = np.where(equal, (below[place] + below[np.minimum(place + 1, len(levels_K))]) / 2,
                      below[place])  # fmt: skip
    return ndtri((middle + 0.5) / (below[-1] + 1))


def _off(levels_K: Array, counts_K: NDArray[Any], x: Array, same: float) -> list[Array]:
    """How far x is off the grid of the real values, and off a coarser one that many are on.

    0 to 1, in half steps; 0 where there is no grid. The grid is a lattice of all values, else a
    table of values that come again and again, else the decimals that many values have.
    """
    combs = _decimal_steps(levels_K, counts_K, same)
    coarse, fine = ((_from_lattice(x, 0.0, step, same) if step else np.zeros_like(x))
                    for step in (combs[0], combs[-1]))  # fmt: skip
    lattice = grids.lattice_of(levels_K, MOST_CELLS)
    if lattice is not None:
        return [_from_lattice(x, *lattice, same), coarse]
    if REPEATS * len(levels_K) > counts_K.sum():
        return [fine, coarse]
    far = np.abs(levels_K[grids.nearest(levels_K, x)] - x)
    gap = np.diff(levels_K).min(initial=np.ptp(levels_K)) or 1.0
    return [np.where(far <= same, 0.0, np.minimum(1.0, 2 * far / gap)), coarse]


def _from_lattice(x: Array, origin: float, step: float, same: float) -> Array:
    numbers = (x - origin) / step
    far = np.abs(numbers - np.rint(numbers))
    return np.where(far <= same / step + grids.TOLERANCE, 0.0, 2 * far)


def _decimal_steps(levels_K: Array, counts_K: NDArray[Any], same: float) -> list[float]:
    """Powers of ten that bring many more values onto their grid than the one before; 0 for none.

    >>> _decimal_steps(np.array([2.0, 7.0, 1.25, 8.31]), np.array([5, 5, 5, 5]), 1e-6)
    [1.0, 0.01]
    """
    there = levels_K != 0  # 0 is on every grid
    before, found, total = 0.0, [], max(1, counts_K[there].sum())
    for decimals in range(-COARSEST, MOST_DECIMALS):
        step = float(f"1e{-decimals}")
        if step < 10 * same:
            break
        on = _from_lattice(levels_K[there], 0.0, step, same) == 0
        share = float(counts_K[there][on].sum() / total)
        if share - before > ON_GRID:
            found.append(step)
        before = share
    return found or [0.0]
