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
POWERS = range(8, 64)  # of two: a register of so many bits


class Candidate(NamedTuple):
    """A rule that holds in all data."""

    rule: Restart
    rises_NT: np.ndarray  # bool [N, T - 1]: rises from above where restarts end
    landing: float  # -log of the chance that falls would end so low


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
    if modulo is None and low > np.median(before[falls]):
        return None
    if modulo is not None:
        return Candidate(Restart(name, modulo=modulo), rises, math.inf)
    if low == 0 and decimals is not None:
        return Candidate(Restart(name, at=0.0), rises, math.inf)
    return Candidate(Restart(name), rises, -times * math.log(np.mean(x_NT <= low)))


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
