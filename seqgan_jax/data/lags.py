"""Columns that repeat another one some steps later: y_t = x_{t-k}, at every step.

They are learned by themselves, as far as what the networks remember makes them nearly so; a user
can do it exactly, by leaving them out.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Sequence

import numpy as np

from seqgan_jax.data import kinds, lengths
from seqgan_jax.data.files import printable

SOME = 50  # sequences that are looked at first
MOST_STEPS = 100  # before
LEAST_CHANGES = 30  # of what is repeated: no chance


def find(x_NTD: np.ndarray) -> dict[int, tuple[int, int]]:
    """(column that it repeats, steps before) of each column that does; the fewest steps.

    Only of columns without gaps, up to the end of the shortest sequence, and half of its steps
    before at most, or MOST_STEPS. Of columns that go on repeating each other one is none.

    >>> x = np.random.default_rng(0).normal(size=(20, 10))
    >>> find(np.stack([x[:, 2:], x[:, :-2]], axis=-1))
    {1: (0, 2)}
    """
    steps = int(lengths.of(x_NTD).min())
    x_NTD = x_NTD[:, :steps]
    whole = [d for d in range(x_NTD.shape[2]) if not np.isnan(x_NTD[..., d]).any()]
    some_NTD = x_NTD[:: max(1, len(x_NTD) // SOME)] + 0.0  # no -0: bytes are compared
    found: dict[int, tuple[int, int]] = {}
    once_NT: np.ndarray | None = None
    for k in range(1, min(steps // 2, MOST_STEPS) + 1):
        before: dict[bytes, list[int]] = {}
        for d in whole:
            before.setdefault(some_NTD[:, :-k, d].tobytes(), []).append(d)
        for d in whole:
            for source in before.get(some_NTD[:, k:, d].tobytes(), ()):
                x, y = x_NTD[..., source], x_NTD[..., d]
                if d in found or _follows(found, source, d) or np.array_equal(x, y):
                    continue
                if not np.array_equal(y[:, k:], x[:, :-k]):
                    continue
                once_NT = kinds.once(x_NTD[..., whole]) if once_NT is None else once_NT
                changes = once_NT[:, k:] & (y[:, k:] != y[:, k - 1 : -1])
                if np.count_nonzero(changes) >= LEAST_CHANGES:
                    found[d] = source, k
    return found


def _follows(found: dict[int, tuple[int, int]], source: int, d: int) -> bool:
    """Whether the source is d itself, or repeats it by way of others."""
    while source != d and source in found:
        source = found[source][0]
    return source == d


def notes(x_NTD: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """What to say of them."""
    return tuple(
        f"{printable(names[d])!r} is {printable(names[source])!r} of {k} step{'s' * (k > 1)} "
        "before, always, which samples do not keep exactly: leave it out, and make it from these"
        for d, (source, k) in sorted(find(x_NTD).items())
    )
