"""Columns that may count anew, as a meter that starts at 0 each day: those that fall are low then.

Shapes: N sequences, T steps.
"""

import math
from typing import NamedTuple

import numpy as np

from seqgan_jax.data import grids
from seqgan_jax.data.rule_texts import Restart
from seqgan_jax.data.rule_values import half_unit

LEAST_FALLS, LEAST_RISES = 5, 30
FEW = 12  # columns of no more different values are codes or small counts
MOST_DIGITS = 15  # of what a meter rolls over at: 10, 100, ...
RARE = 0.01  # of the values at changes of another column: more than any step adds
POWERS = range(8, 64)  # of two: a register of so many bits


class Candidate(NamedTuple):
    """A rule that holds in all data."""

    rule: Restart
    rises_NT: np.ndarray  # bool [N, T - 1]: rises from above where restarts end
    landing: float  # -log of the chance that falls from above where restarts end would end there


def candidate(
    x_NT: np.ndarray, name: str, decimals: int | None, fresh_NT: np.ndarray
) -> Candidate | None:
    """What may restart: falls from anywhere end low, and from above that it rises; or None.

    Low is no more than the largest rise: what a meter can count within the step of its restart.
    `fresh_NT` [N, T - 1] says which steps come from the one before for the first time.
    """
    before, after = x_NT[:, :-1], x_NT[:, 1:]
    falls = after < before
    times = np.count_nonzero(falls & fresh_NT)
    if falls.all() or times < LEAST_FALLS:
        return None
    if x_NT.min() < 0 or len(grids.counted(x_NT)[0]) <= FEW:
        return None
    lands, largest = after[falls], float((after - before)[~falls].max())
    low = float(lands.max())
    rises = fresh_NT & (after > before) & (before > low)
    modulo = _modulo(x_NT, (before - after)[falls], largest, decimals)
    if np.count_nonzero(rises) < LEAST_RISES or low > largest:
        return None
    if modulo is not None:
        return Candidate(Restart(name, modulo=modulo), rises, math.inf)
    if low == 0 and decimals is not None:
        return Candidate(Restart(name, at=0.0), rises, math.inf)
    # A fall ends at any value below with the same chance: so often did these come.
    from_above, sorted_L = before[falls & fresh_NT & (before > low)], np.sort(x_NT, axis=None)
    below = np.searchsorted(sorted_L, from_above, side="left")
    ends = np.searchsorted(sorted_L, low, side="right")
    return Candidate(Restart(name), rises, float(np.log(below / ends).sum()))


def falls_beside(x_NT: np.ndarray, c_NT: np.ndarray) -> bool:
    """Whether x falls where column c stays."""
    return bool(np.any((np.diff(x_NT, axis=1) < 0) & (np.diff(c_NT, axis=1) == 0)))


def by_another(
    x_NT: np.ndarray, c_NT: np.ndarray, fresh_NT: np.ndarray
) -> tuple[np.ndarray, float] | None:
    """Whether x counts anew where column c changes, always and nowhere else.

    Where it rises beside, bool [N, T - 1], and -log of the chance that falls would be at changes
    alone; None where it does not. Nearly all that it has at changes is what a step can add.
    """
    before, after = x_NT[:, :-1], x_NT[:, 1:]
    changes = c_NT[:, 1:] != c_NT[:, :-1]
    falls, rises = fresh_NT & (after < before), fresh_NT & (after > before) & ~changes
    times, share = np.count_nonzero(falls), np.mean(changes[fresh_NT])
    if falls_beside(x_NT, c_NT) or times < LEAST_FALLS or x_NT.min() < 0:
        return None
    if np.count_nonzero(rises) < max(LEAST_RISES, np.count_nonzero(fresh_NT & ~changes) / 2):
        return None
    if np.quantile(after[changes], 1 - RARE) > (after - before)[~changes].max():
        return None
    return rises, -times * math.log(share)


def _modulo(
    x_NT: np.ndarray, fall_L: np.ndarray, largest: float, decimals: int | None
) -> float | None:
    """The power of ten or of two at which it rolls over; None where falls are no increments then.

    >>> x = np.cumsum(np.random.default_rng(0).integers(0, 9, (1, 500)), axis=1) % 100.0
    >>> fall = -np.diff(x)
    >>> _modulo(x, fall[fall > 0], 8.0, 0)
    100.0
    """
    least = max(float(fall_L.max()), float(x_NT.max()) + 2 * half_unit(decimals))
    most = float(fall_L.min()) + largest * (1 + 1e-9)
    numbers = [10.0**n for n in range(MOST_DIGITS)] + [2.0**n for n in POWERS]
    return next((n for n in numbers if least <= n <= most and x_NT.max() < n), None)
