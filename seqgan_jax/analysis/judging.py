"""The judge in a report: whether it is worth its time, its verdict, and what it says in words."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from seqgan_jax.analysis import resampling
from seqgan_jax.analysis.catalogue import CLOSE
from seqgan_jax.errors import DataError, UsageError

if TYPE_CHECKING:
    from seqgan_jax.analysis.independent import Worth
    from seqgan_jax.analysis.judge import Areas
    from seqgan_jax.analysis.report import Metric

Array = NDArray[Any]

WHEN = ("auto", "always", "never")
MOST_SECONDS = 10.0  # of auto
COMPILING, A_COLUMN, A_NUMBER = 4.0, 0.4, 3e-7  # seconds on two cores, see `seconds`
MOST_ROWS = 20_000  # of all parts
LEAST_BLOCKS = 6  # of each stretch of the real data, where these are cut into two parts
MOST_NAMED = 3


def seconds(rows: int, steps: int, features: int) -> float:
    """About how long the judge takes on two cores, to a factor of 2."""
    batch = max(8, min(64, 3072 // steps)) * steps / (64 * 24)
    return (
        COMPILING + A_COLUMN * features * batch + A_NUMBER * min(rows, MOST_ROWS) * steps * features
    )


def is_wanted(when: str, parts: Sequence[Array | None], notes: list[str]) -> bool:
    """Whether the judge is asked; a note is added where it is left out for its time.

    Raises:
      UsageError: `when` is not one of WHEN.
    """
    if when not in WHEN:
        raise UsageError(f"judge is {when!r}; it can be {', '.join(WHEN)}.")
    there = [x for x in parts if x is not None]
    needed = seconds(sum(map(len, there)), *there[0].shape[1:])
    if when == "auto" and needed > MOST_SECONDS:
        notes.append(
            f"The judge, a classifier that says which column gives samples away, was left out: it "
            f"would take about {needed:.0f} s (--judge always)."
        )
    return when == "always" or (when == "auto" and needed <= MOST_SECONDS)


def areas(
    train_NTD: Array | None,
    real_NTD: Array,
    generated_NTD: Array,
    seed: int,
    ids_N: Array,
    labels: Sequence[str],
    notes: list[str],
    ends: bool = False,
) -> "Areas | None":
    """What `judge.areas` finds; None, and a note, where there are too few sequences.

    Without training data one part of the real data stands for it, and the other is held out.
    """
    from seqgan_jax.analysis import judge

    held = np.arange(len(real_NTD))
    if train_NTD is None:
        trained, held = parts(ids_N)
        train_NTD = real_NTD[trained]
    try:
        found = judge.areas(train_NTD, real_NTD[held], generated_NTD, seed, ids_N[held], ends)
    except DataError as error:
        notes.append(f"No judge: {error}")
        return None
    if not found.levels_D.all():
        without = [
            name for name, is_seen in zip(labels, found.levels_D, strict=True) if not is_seen
        ]
        notes.append(
            f"The judge sees {', '.join(without)} about the mean of each sequence: the series has "
            f"been at fewer than {judge.LEVELS} independent levels, which it would know by heart."
        )
    return found


def parts(ids_N: Array) -> tuple[Array, Array]:
    """Rows to train on and rows that are held out and share no step with these, by their blocks.

    Stretches of the real data in turn, without the blocks at the ends of held-out ones.
    """
    from seqgan_jax.analysis import judge

    blocks = int(ids_N[-1]) + 1
    number = 2 * int(np.clip(blocks // (2 * LEAST_BLOCKS), 1, 8))
    run_N = judge.stretches(ids_N, number)
    held_N = run_N % 2 == 1
    if blocks < len(ids_N):
        for run in range(1, number, 2):
            own = ids_N[run_N == run]
            held_N &= (ids_N != own[0]) & ((ids_N != own[-1]) | (run == number - 1))
    return np.flatnonzero(run_N % 2 == 0), np.flatnonzero(held_N)


def metric(found: "Areas", labels: Sequence[str], worth: "Worth") -> "Metric":
    """The area of all columns with its floor, interval and verdict, and those of each column alone.

    Seen is what is above 0.5 by as many of its errors as `worth` asks for (4 of many sequences) and
    above the floor by half as many of the floor's: that is one draw, and says whether the real data
    drift. Small samples are FAR_SAMPLE of each kind, where the area of equal laws has the variance
    (2 n + 1) / (12 n^2) (Mann and Whitney 1947).
    """
    normal = ndtri((np.arange(100) + 0.5) / 100)
    few = resampling.FAR_SAMPLE
    chance = np.sqrt((2 * few + 1) / (12 * few**2))

    def judged(area: float, error: float, floor: float, of_floor: float, sds: float) -> "Metric":
        own, least = np.array([area]), max(0.5, floor)
        arrays = (least + of_floor / 2 * normal, least + chance * normal, area + error * normal)
        return resampling.judged("judge", [own, own, *arrays], sds)[0].replace(floor=floor)

    own_D = np.where(found.levels_D, worth.level_D, worth.change_D)  # what it has seen
    sds, sds_D = replace(worth, level_D=own_D).sds("judge", labels)
    whole = judged(found.together, found.error, found.floor, found.floor_error, sds)
    if len(labels) == 1:
        return whole
    each = zip(
        found.columns_D, found.errors_D, found.floors_D, found.floor_errors_D, sds_D, strict=True
    )
    columns = (judged(*map(float, own)) for own in each)
    return resampling.together(whole, dict(zip(labels, columns, strict=True)))


def to_win(found: "Areas") -> str:
    """What a better generator has to win at least, in words; "" where that may be nothing.

    >>> from seqgan_jax.analysis.judge import Areas
    >>> none = np.full(2, 0.5)
    >>> to_win(Areas(0.9, 0.03, none, none, 0.5, 0.04, none, none, none > 0, 1.234, 0.2))
    'A better generator would win at least 1.23 nats a sequence (error 0.20).'
    """
    if not found.kl > 2 * found.kl_error:
        return ""
    return (
        f"A better generator would win at least {found.kl:.2f} nats a sequence "
        f"(error {found.kl_error:.2f})."
    )


def sentence(found: "Areas", labels: Sequence[str], own: "Metric") -> str:
    """Which columns give the samples away, in words, by `own`, see `metric`; "" of one column.

    >>> from seqgan_jax.analysis.judge import Areas
    >>> from seqgan_jax.analysis.report import Metric
    >>> alone, none = np.array([0.93, 0.48, 0.61]), np.full(3, 0.5)
    >>> own = Metric("judge", 0.9, 0.5, 0.8, 1.0, "far", found_in={"a": {}})
    >>> errors = none / 10
    >>> found = Areas(0.9, 0.03, alone, errors, 0.5, 0.04, none, errors, none > 0)
    >>> sentence(found, "abc", own)
    'a gives the samples away (area 0.93 alone; the others 0.48 to 0.61).'
    """
    if len(labels) == 1:
        return ""
    order = np.argsort(-found.columns_D, kind="stable")
    seen = [d for d in order if labels[d] in own.found_in]
    others = [f"{found.columns_D[d]:.2f}" for d in order if d not in seen]
    rest = " to ".join(dict.fromkeys([others[-1], others[0]])) if others else ""
    if not seen and own.verdict != CLOSE:
        return (
            f"Columns give the samples away together (area {found.together:.2f}), none alone "
            f"({rest})."
        )
    if not seen:
        return f"No column gives the samples away beyond chance (areas {rest} alone)."
    most = MOST_NAMED if len(seen) > MOST_NAMED + 1 else len(seen)
    named = [labels[d] for d in seen[:most]]
    shown = [f"{found.columns_D[d]:.2f}" for d in seen[:most]]
    more = len(seen) - most
    names, numbers = (
        each[0] if len(each) == 1 else f"{', '.join(each[:-1])} and {each[-1]}"
        for each in ([*named, *[f"{more} more"] * (more > 0)], shown)
    )
    return (
        f"{names} {'gives' if len(seen) == 1 else 'give'} the samples away (area"
        f"{'s' * (len(shown) > 1)} {numbers} alone"
        + (f"; the others {rest}" if rest else "")
        + ")."
    )
