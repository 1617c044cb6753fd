"""Floors, intervals and verdicts: what a figure would be between two samples of real data.

The unit that is drawn is always a whole sequence (or a block of overlapping windows), never a
single value: steps within a sequence depend on each other, and so do windows that share steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis.catalogue import CATALOGUE, CLOSE, DIFFERENT, FAR
from seqgan_jax.analysis.report import Metric

Array = NDArray[Any]
Index = NDArray[Any]

# A figure is "detectably different" this many standard deviations above its floor. There are about
# 30 figures and the upper tail of most is heavier than a Gaussian's: 4 keeps the chance that a
# perfect generator is called different by any of them at a few per cent (docs/analysis.md).
DETECTION_SDS = 4.0
# "far": it would be detected just so with no more than this many sequences of each kind.
FAR_SAMPLE = 100


@dataclass(frozen=True)
class Halves:
    """One random split of the real data: `first` and `second` are disjoint row numbers.

    `generated` holds as many rows of the generated data as `second` has rows of the real data.
    """

    first: Index
    second: Index
    generated: Index


def _rows_of_blocks(ids_N: Index, order: Index) -> Index:
    """Row numbers, block after block in the given order of blocks."""
    starts = np.searchsorted(ids_N, order, side="left")
    ends = np.searchsorted(ids_N, order, side="right")
    sizes = ends - starts
    offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    return np.arange(sizes.sum()) + offsets


def random_halves(
    rng: np.random.Generator, ids_N: Index, generated: int, repeats: int
) -> list[Halves]:
    """Random splits of the real data into two parts without a block in both.

    The second part stands for the generated data: it has as many rows as there are generated ones,
    but at most half of the real rows, so that the floor and the figure are compared like with like.
    """
    total = len(ids_N)
    size = max(1, min(total // 2, generated))
    blocks = int(ids_N[-1]) + 1
    out = []
    for _ in range(repeats):
        if blocks == total:
            rows = rng.permutation(total)
            cut = size
        else:
            order = rng.permutation(blocks)
            rows = _rows_of_blocks(ids_N, order)
            sizes = np.cumsum(np.bincount(ids_N)[order])
            # At least one whole block on each side.
            last = min(int(np.searchsorted(sizes, size)), max(blocks - 2, 0))
            cut = int(sizes[last]) if blocks > 1 else size
        second = rows[:cut]
        picked = rng.permutation(generated)[: len(second)]
        out.append(Halves(first=rows[cut:], second=second, generated=picked))
    return out


def small_pairs(
    rng: np.random.Generator, halves: list[Halves], repeats: int, size: int
) -> list[tuple[Index, Index]]:
    """Pairs of small disjoint samples of real rows, `size` each where there are enough."""
    out = []
    for k in range(repeats):
        half = halves[k % len(halves)]
        out.append(
            (
                rng.choice(half.first, min(size, len(half.first)), replace=False),
                rng.choice(half.second, min(size, len(half.second)), replace=False),
            )
        )
    return out


def mean_weights(rows: Sequence[Index], total: int) -> Array:
    """One row of weights a sample: weights @ x is the mean of x over the rows -> [R, N] float32."""
    weights = np.zeros((len(rows), total), dtype=np.float32)
    for r, index in enumerate(rows):
        weights[r, index] = 1.0 / len(index)
    return weights


def bootstrap_weights(rng: np.random.Generator, ids_N: Index, repeats: int) -> Array:
    """Weights of bootstrap samples that draw whole blocks with replacement -> [R, N] float32."""
    blocks = int(ids_N[-1]) + 1
    counts = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=repeats)
    weights = counts[:, ids_N].astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def interval(value: float, resampled_R: Array, lower: float, upper: float) -> tuple[float, float]:
    """95% interval: the spread of the resampled figures, laid around the value itself.

    Resampling adds noise, which lifts every distance; only the spread is taken, not the level.
    """
    resampled_R = resampled_R[np.isfinite(resampled_R)]
    if not resampled_R.size:
        return value, value
    centre = float(resampled_R.mean())
    low, high = np.quantile(resampled_R, [0.025, 0.975]) - centre
    return max(lower, value + float(low)), min(upper, value + float(high))


def judge(
    matched: float,
    floors_R: Array,
    small_floors_R: Array,
    *,
    low: float,
    high: float,
    noise: float = 0.0,
    higher_is_better: bool = False,
) -> str:
    """close, different or far, from a figure, its floors and its interval.

    - close: not above the floors by DETECTION_SDS of their standard deviations (or of `noise`, the
      figure's own under the bootstrap, where that is larger: one outlier in the generated data
      moves a kurtosis more than halves of the real data can tell), or an interval [low, high] that
      reaches the floor;
    - far: above what two real samples of only FAR_SAMPLE sequences show between them;
    - different: in between, seen only because there is so much data.
    """
    sign = -1.0 if higher_is_better else 1.0
    floors, small = sign * floors_R, sign * small_floors_R
    # The factor widens the limit for the noise in a standard deviation from few splits.
    spread = float(floors.std(ddof=1)) * (1 + 2 / len(floors)) if len(floors) > 1 else 0.0
    limit = float(floors.mean()) + DETECTION_SDS * max(spread, noise)
    tolerance = 1e-9 + 1e-6 * abs(limit)
    nearest = low if not higher_is_better else -high
    if sign * matched <= limit + tolerance or nearest <= float(floors.mean()):
        return CLOSE
    if sign * matched > float(small.mean()) + DETECTION_SDS * float(small.std()) + tolerance:
        return FAR
    return DIFFERENT


def judged(
    name: str,
    value: Array,
    matched: Array,
    floors: Array,
    small: Array,
    boots: Array,
    labels: Sequence[str] = (),
) -> Metric:
    """A Metric from its arrays, [R, D] or [R] each (averaged over features here).

    Args:
        name: in the catalogue.
        value: the figure on all data, one row (or rows to be averaged).
        matched: the same at the floors' sample size, one row for each split.
        floors, small: between halves, and between small samples, of the real data.
        boots: bootstrap values, for the interval.
        labels: feature names, to keep the figure of each feature.
    """
    per_feature = {}
    if value.ndim == 2 and len(labels) > 1:
        per_feature = dict(zip(labels, value[0].tolist(), strict=True))
    value, matched, floors, small, boots = (
        x.mean(axis=1) if x.ndim == 2 else x for x in (value, matched, floors, small, boots)
    )
    entry = CATALOGUE[name]
    low, high = interval(float(value.mean()), boots, entry.lower, entry.upper)
    verdict = judge(
        float(matched.mean()),
        floors,
        small,
        low=low,
        high=high,
        noise=float(boots.std()),
        higher_is_better=entry.higher_is_better,
    )
    spread = float(floors.std(ddof=1)) if len(floors) > 1 else 0.0
    sign = -1 if entry.higher_is_better else 1
    excess = sign * float(matched.mean() - floors.mean()) / (spread + 1e-9)
    return Metric(
        name=name,
        value=float(value.mean()),
        floor=float(floors.mean()),
        low=low,
        high=high,
        verdict=verdict,
        excess=excess,
        per_feature=per_feature,
    )
