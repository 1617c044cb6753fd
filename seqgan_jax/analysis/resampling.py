"""Floors, intervals and verdicts: what a figure would be between two samples of real data.

The unit that is drawn is always a whole sequence (or a block of overlapping windows), never a
single value: steps within a sequence depend on each other, and so do windows that share steps.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from seqgan_jax.analysis.catalogue import CATALOGUE, CLOSE, DIFFERENT, FAR
from seqgan_jax.analysis.independent import DETECTION_SDS, Worth
from seqgan_jax.analysis.report import Metric

Array = NDArray[Any]
Index = NDArray[Any]

# "far": it would be detected just so with no more than this many sequences of each kind.
FAR_SAMPLE = 100
SPLITS = 20
BOOTSTRAPS = 100
SMALL_PAIRS = 40
PERMUTATIONS = 199
OF_SEQUENCES = ("precision", "recall", "coverage", "memorisation")  # shares of them
ROUNDING = 1e-5  # of figures that are made of float32 means, all without a unit
# What is above its limit 4 times of 5 lies above it by .84 standard deviations, and that of a
# distance between equal samples, |Gaussian|, is .6 of the Gaussian's.
POWER_SDS = 1.4


@dataclass(frozen=True)
class Halves:
    """One random split of the real data: `first` and `second` are disjoint row numbers.

    `generated` holds as many rows of the generated data as `second` has rows of the real data.
    """

    first: Index
    second: Index
    generated: Index


def random_halves(
    rng: np.random.Generator, ids_N: Index, generated: int, repeats: int
) -> list[Halves]:
    """Random splits of the real data into two parts without a block in both.

    The second part stands for the generated data: it has as many rows as there are generated ones,
    but at most half of the real rows, so that the floor and the figure are compared like with like.
    """
    total, blocks = len(ids_N), int(ids_N[-1]) + 1
    size = max(1, min(total // 2, generated))
    lengths = np.bincount(ids_N)
    out = []
    for _ in range(repeats):
        order = rng.permutation(blocks)
        rows = order if blocks == total else np.argsort(np.argsort(order)[ids_N], kind="stable")
        ends = np.cumsum(lengths[order])
        # At least one whole block on each side.
        last = min(int(np.searchsorted(ends, size)), blocks - 2)
        cut = int(ends[last]) if blocks > 1 else size
        picked = rng.permutation(generated)[:cut]
        out.append(Halves(first=rows[cut:], second=rows[:cut], generated=picked))
    return out


def small_pairs(
    rng: np.random.Generator, halves: list[Halves], repeats: int, size: int
) -> list[tuple[Index, Index]]:
    """Pairs of small disjoint samples of real rows, `size` each where there are enough."""

    def some(rows: Index) -> Index:
        return rng.choice(rows, min(size, len(rows)), replace=False)

    splits = itertools.islice(itertools.cycle(halves), repeats)
    return [(some(half.first), some(half.second)) for half in splits]


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


def verdict_of(
    matched: float,
    floors_R: Array,
    small_floors_R: Array,
    *,
    low: float,
    high: float,
    noise: float = 0.0,
    higher_is_better: bool = False,
    sds: float = DETECTION_SDS,
) -> str:
    """close, different or far, from a figure, its floors and its interval.

    - close: not above the floors by `sds` of their standard deviations (or of `noise`, the
      figure's own under the bootstrap, where that is larger: one outlier in the generated data
      moves a kurtosis more than halves of the real data show), or an interval [low, high] that
      reaches the floor;
    - far: above what two real samples of only FAR_SAMPLE sequences show between them;
    - different: in between, seen only because there is so much data.
    """
    sign = -1.0 if higher_is_better else 1.0
    floors, small, nearest = sign * floors_R, sign * small_floors_R, min(sign * low, sign * high)
    limit = float(floors.mean()) + sds * _noise(floors, noise)
    tolerance = ROUNDING * (1 + abs(limit))
    if sign * matched <= limit + tolerance or nearest <= float(floors.mean()):
        return CLOSE
    if sign * matched > float(small.mean()) + DETECTION_SDS * float(small.std()) + tolerance:
        return FAR
    return DIFFERENT


def _noise(floors_R: Array, noise: float) -> float:
    """What a limit is counted in: widened for the noise in a standard deviation of few splits."""
    return max(_spread(floors_R) * (1 + 2 / len(floors_R)), noise)


def _spread(floors_R: Array) -> float:
    """Standard deviation over splits; 0 where there is one."""
    return float(floors_R.std(ddof=1)) if len(floors_R) > 1 else 0.0


def groups_of(
    rng: np.random.Generator, ids_N: Index, count: int, halves: Sequence[Halves]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Rows of weights of all that figures of means need, of the real and of `count` generated."""
    total = len(ids_N)
    few = min(FAR_SAMPLE, max(3, total // 4), count)
    pairs = small_pairs(rng, list(halves), SMALL_PAIRS, few)
    real = {
        "all": [np.arange(total)],
        "first": [half.first for half in halves],
        "second": [half.second for half in halves],
        "small": [a for a, _ in pairs],
        "other small": [b for _, b in pairs],
    }
    generated = {"all": [np.arange(count)], "matched": [half.generated for half in halves]}
    found = []
    for rows, ids in ((real, ids_N), (generated, np.arange(count))):
        weights = {name: mean_weights(each, len(ids)) for name, each in rows.items()}
        found.append(weights | {"boots": bootstrap_weights(rng, ids, BOOTSTRAPS)})
    return found[0], found[1]


def verdicts(
    figures: Callable[[Any, Any], dict[str, Array]],
    real: Mapping[str, Any],
    generated: Mapping[str, Any],
    labels: Callable[[str], Sequence[str]],
    exact: Mapping[str, Array],
    worth: Worth,
) -> dict[str, Metric]:
    """A Metric of each figure of two sets of means, by the groups of `groups_of`.

    `labels` are the columns of a figure; `exact` are values that are not made of means; `worth` is
    what the real data are worth.
    """
    rows = [
        {**figures(real["all"], generated["all"]), **exact},
        figures(real["first"], generated["matched"]),
        figures(real["first"], real["second"]),
        figures(real["small"], real["other small"]),
        figures(real["boots"], generated["boots"]),
    ]
    found = {}
    for name in rows[0]:
        value, matched, floors, small, boots = (row[name] for row in rows)
        found[name] = with_verdict(name, value, matched, floors, small, boots, worth, labels(name))
    return found


def with_verdict(
    name: str,
    value: ArrayLike,
    matched: ArrayLike,
    floors: ArrayLike,
    small: ArrayLike,
    boots: ArrayLike,
    worth: Worth,
    labels: Sequence[str] = (),
) -> Metric:
    """A Metric from its arrays, [R, D] or [R] each: of the mean over columns, and of each column.

    Args:
        name: in the catalogue.
        value: the figure on all data, one row (or rows to be averaged).
        matched: the same at the floors' sample size, one row for each split.
        floors, small: between halves, and between small samples, of the real data.
        boots: bootstrap values, for the interval.
        worth: how many independent observations the real data are worth.
        labels: names of the D columns. The verdict is the worst of the mean's and the columns'.
    """
    arrays = [np.asarray(x) for x in (value, matched, floors, small, boots)]
    if name in OF_SEQUENCES:
        arrays[4] = _with_chance(arrays[4], float(arrays[2].mean()), worth.blocks / 2)
    sds, sds_D = worth.sds(name, labels)
    mean, _ = judged(name, [x.mean(axis=1) if x.ndim == 2 else x for x in arrays], sds)
    if arrays[0].ndim < 2 or not labels:
        return mean
    columns, noticed = {}, {}
    for d, label in enumerate(labels):
        columns[label], noticed[label] = judged(name, [x[:, d] for x in arrays], sds_D[d])
    if mean.verdict != CLOSE and all(each.verdict == CLOSE for each in columns.values()):
        worst_one = max(columns, key=lambda label: columns[label].excess)
        columns[worst_one] = columns[worst_one].replace(verdict=mean.verdict)
    return together(mean, columns).replace(noticed=noticed)


def together(whole: Metric, columns: Mapping[str, Metric]) -> Metric:
    """The Metric of all columns with those of each: the verdict is the worst of all."""
    off = {label: each for label, each in columns.items() if each.verdict != CLOSE}
    order = sorted(off, key=lambda label: (off[label].verdict != FAR, -off[label].excess))
    worst = [FAR, DIFFERENT, CLOSE]
    return whole.replace(
        verdict=min([whole.verdict, *(each.verdict for each in off.values())], key=worst.index),
        excess=max([whole.excess, *(each.excess for each in off.values())]),
        per_feature={k: each.value for k, each in columns.items()} if len(columns) > 1 else {},
        found_in={label: off[label].brief() for label in order},
    )


def _with_chance(boots_R: Array, share: float, number: float) -> Array:
    """Bootstrap values of a share of `number` observations, at least as wide as chance.

    Halves of which all agree show no noise: the standard deviation is that of (n p + 1) / (n + 2).
    """
    expected = (number * share + 1) / (number + 2)
    chance = np.sqrt(expected * (1 - expected) / number)
    centre, own = boots_R.mean(), boots_R.std()
    if own >= chance:
        return boots_R
    normal = norm.ppf((np.arange(len(boots_R)) + 0.5) / len(boots_R))
    return np.asarray(centre + chance * normal / normal.std())


def judged(name: str, arrays: Sequence[Array], sds: float) -> tuple[Metric, float]:
    """A Metric of arrays [R], as in `with_verdict`; and what would be noticed 4 times of 5."""
    own_R, matched_R, floors_R, small_R, boots_R = arrays
    entry = CATALOGUE[name]
    own, matching, floor = (float(x.mean()) for x in (own_R, matched_R, floors_R))
    low, high = interval(own, boots_R, entry.lower, entry.upper)
    noise, sign = float(boots_R.std()), -1 if entry.higher_is_better else 1
    verdict = verdict_of(
        matching,
        floors_R,
        small_R,
        low=low,
        high=high,
        noise=noise,
        higher_is_better=entry.higher_is_better,
        sds=sds,
    )
    excess = sign * (matching - floor) / (_spread(floors_R) + 1e-9)
    noticed = floor + sign * (sds + POWER_SDS) * _noise(floors_R, noise)
    return Metric(name, own, floor, low, high, verdict, excess), noticed
