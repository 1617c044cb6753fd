"""Sequences of unequal length: NaN from their end on up to the longest; and how likely an end is.

Shapes: N sequences, T steps of the longest, D columns.
"""

from collections.abc import Sequence

import numpy as np

HAZARD_UNIT = 4.0  # of log odds of an end, as networks read them
FOLDS = 5
MOST_HOLES = 0.1  # of the share of sequences that end early: steps without a value before ends
RARE = 0.5  # sequences at risk that count beside the others, with the mean hazard
MOST_ODDS = 8.0


def ends_of(is_out_NT: np.ndarray) -> np.ndarray:
    """How many steps of each row are left when those at its end that are out are cut off, [N]."""
    backwards = np.argmin(is_out_NT[:, ::-1], axis=1)
    return np.where(is_out_NT.all(axis=1), 0, is_out_NT.shape[1] - backwards)


def of(x_NTD: np.ndarray) -> np.ndarray:
    """The length of each sequence, [N]: what follows its last value is after its end.

    >>> of(np.array([[[1.0], [2.0]], [[3.0], [np.nan]]])).tolist()
    [2, 1]
    """
    return ends_of(np.isnan(x_NTD).all(axis=2))


def there(x_NTD: np.ndarray) -> np.ndarray:
    """Which steps are not after the end, bool [N, T]."""
    return np.arange(x_NTD.shape[1]) < of(x_NTD)[:, None]


def ends_in_nothing(x_NTD: np.ndarray) -> np.ndarray | None:
    """The lengths of sequences of which a tenth or more end in steps without any value, [N]; None
    where they do not, or where such steps are as common elsewhere: then they are missing."""
    gone = np.isnan(x_NTD).all(axis=2)
    steps_N = ends_of(gone)
    padded = steps_N < x_NTD.shape[1]
    inside = np.arange(x_NTD.shape[1]) < steps_N[:, None]
    holes = np.sum(gone & inside) / max(1, np.sum(inside))
    is_often = np.sum(padded) >= max(3, 0.1 * len(padded))
    is_padded = is_often and holes <= MOST_HOLES * np.mean(padded)
    return steps_N if is_padded and np.ptp(steps_N) and steps_N.min() > 0 else None


def filled(x_NTD: np.ndarray) -> np.ndarray:
    """Each sequence with its last step carried on after its end: what is true of steps stays so.

    >>> filled(np.array([[[1.0], [2.0], [np.nan]]])).ravel().tolist()
    [1.0, 2.0, 2.0]
    """
    last_N = np.maximum(of(x_NTD) - 1, 0)
    steps = np.minimum(np.arange(x_NTD.shape[1]), last_N[:, None])
    return np.take_along_axis(x_NTD, steps[..., None], axis=1)


def trimmed(x_NTD: np.ndarray) -> np.ndarray:
    """Without the steps that are after the end of every sequence."""
    return x_NTD[:, : of(x_NTD).max()]


def cut(x_NTD: np.ndarray) -> list[np.ndarray]:
    """Each sequence up to its end, N arrays [T_n, D]."""
    return [x_TD[:length] for x_TD, length in zip(x_NTD, of(x_NTD), strict=True)]


def padded(parts: Sequence[np.ndarray], length: int = 0) -> np.ndarray:
    """[N, T, D] of arrays [T_n, D], NaN after their ends; the inverse of `cut`. T is at least
    `length`."""
    longest = max(length, *map(len, parts))
    found = np.full((len(parts), longest, parts[0].shape[1]), np.nan)
    for x_TD, part in zip(found, parts, strict=True):
        x_TD[: len(part)] = part
    return found


def hazard(lengths_N: np.ndarray, length: int) -> tuple[float, ...]:
    """The probability of an end at each step where none was before, by age alone, [T].

        h_t = (sum_s K(t - s) d_s + RARE mean) / (sum_s K(t - s) n_s + RARE)

    of d_s ends among n_s sequences that reach step s; K is Gaussian, with the width, or none, under
    which FOLDS parts of the lengths are likeliest given the others.
    """
    numbers = np.arange(FOLDS)[:, None] == np.arange(len(lengths_N)) % FOLDS
    widths = [0.0, *(2.0**k for k in range(-1, max(1, int(np.log2(length)) - 1)))]

    def loss(width: float) -> float:
        parts = ((lengths_N[~own], lengths_N[own]) for own in numbers if own.any())
        return sum(_loss(_smooth(some, length, width), others) for some, others in parts)

    best = min(widths, key=loss)
    return tuple(_smooth(lengths_N, length, best).tolist())


def log_odds(hazard_T: np.ndarray) -> np.ndarray:
    """log h / (1 - h), at most MOST_ODDS far from 0, in units that networks read, [T]."""
    with np.errstate(divide="ignore"):
        odds = np.log(hazard_T) - np.log1p(-hazard_T)
    return np.clip(odds, -2 * MOST_ODDS, MOST_ODDS) / HAZARD_UNIT


def counts(lengths_N: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """How many end at each step, and how many reach it, [T] each."""
    ends = np.bincount(lengths_N - 1, minlength=length).astype(float)
    return ends, np.cumsum(ends[::-1])[::-1]


def _smooth(lengths_N: np.ndarray, length: int, width: float) -> np.ndarray:
    ends, at_risk = counts(lengths_N, length)
    mean = (ends.sum() + 0.5) / (at_risk.sum() + 1.0)
    if width:
        far = min(length - 1, int(4 * width) + 1)
        kernel = np.exp(-0.5 * (np.arange(-far, far + 1) / width) ** 2)
        ends, at_risk = (np.convolve(each, kernel)[far : far + length] for each in (ends, at_risk))
    return (ends + RARE * mean) / (at_risk + RARE)


def _loss(hazard_T: np.ndarray, lengths_N: np.ndarray) -> float:
    """- log probability of lengths, nats; at step T the end is certain."""
    ends, at_risk = counts(lengths_N, len(hazard_T))
    log_h, log_not = np.log(hazard_T), np.log1p(-hazard_T)
    return -float(np.sum((ends * log_h + (at_risk - ends) * log_not)[:-1]))


def in_words(lengths_N: np.ndarray) -> str:
    """How long the sequences are, for people.

    >>> in_words(np.array([3, 9, 4]))
    '3 sequences of 3 to 9 steps'
    """
    return f"{len(lengths_N):,} sequences of {lengths_N.min()} to {lengths_N.max()} steps"


def note(lengths_N: np.ndarray) -> str:
    """What to say of sequences of unequal length that are learned as they are."""
    return f"{in_words(lengths_N)}: their ends are learned; --window N cuts equal pieces"
