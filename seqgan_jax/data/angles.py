"""Columns that are directions: from 360 degrees they go on at 0, which nothing here learns.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Sequence

import numpy as np

from seqgan_jax.data.files import printable

SOME = 1000  # sequences that are looked at
FULL = 360.0
NEAR_END = 0.1  # of a full turn: values are as near to both of its ends
LEAST_TURNS = 3  # steps from one end to the other
SHORTER = 0.5  # steps the short way round, of steps as they are: less is a direction


def find(x_NTD: np.ndarray) -> list[int]:
    """The columns from 0 to 360 whose steps are much smaller the short way round.

    Of independent values the ratio of the standard deviations is 1/sqrt(2), of what does not go
    round it is 1.

    >>> walk = np.random.default_rng(0).normal(scale=20, size=(1, 200)).cumsum(axis=1)
    >>> find(np.stack([walk % 360, np.clip(walk, 0, 360)], axis=-1))
    [0]
    """
    found = []
    for d in range(x_NTD.shape[2]):
        x_NT = x_NTD[:: max(1, len(x_NTD) // SOME), :, d]
        low, high = np.nanmin(x_NT, initial=np.inf), np.nanmax(x_NT, initial=-np.inf)
        if low < 0 or high > FULL or low > NEAR_END * FULL or high < (1 - NEAR_END) * FULL:
            continue
        step = np.diff(x_NT, axis=1)
        step = step[~np.isnan(step)]
        around = (step + FULL / 2) % FULL - FULL / 2
        turns = np.count_nonzero(np.abs(step) > FULL / 2)
        if turns >= LEAST_TURNS and around.std() < SHORTER * step.std():
            found.append(d)
    return found


def notes(x_NTD: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """What to say of them."""
    return tuple(
        f"{printable(names[d])!r} goes on at 0 after 360, as a direction does, and is learned as a "
        "number, of which 359 and 1 are far apart: columns of its sine and cosine are not"
        for d in find(x_NTD)
    )
