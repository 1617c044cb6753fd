"""Metrics of whole sequences, from `pairwise`, with floors, intervals and verdicts."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import pairwise, resampling
from seqgan_jax.analysis.catalogue import FAR
from seqgan_jax.analysis.independent import Worth
from seqgan_jax.analysis.report import Metric
from seqgan_jax.analysis.resampling import BOOTSTRAPS, PERMUTATIONS, SMALL_PAIRS, Halves

Array = NDArray[Any]

PAIR_SPLITS = 6
PAIR_ROWS = 800
CLASSIFIER_ROWS = 2000
MEMORY_ROWS = 2000
MEMORY_SPLITS = 20
SAME = 1e-3  # text files round values: a thousandth of a standard deviation counts as equal
COPIED = 0.2  # share of copies that is no chance, however few sequences are held out


class _Pair:
    """Figures of one pair of samples of points, and what is needed to resample them."""

    def __init__(self, a: Array, b: Array, bandwidth: float) -> None:
        aa, ab, bb = (pairwise.squared_distances(x, y) for x, y in ((a, a), (a, b), (b, b)))
        for square in (aa, bb):
            np.fill_diagonal(square, 0.0)
        self.squared = aa, ab, bb
        self.indicators = pairwise.neighbourhood(aa, ab, bb)
        self.kernels = [pairwise.kernel_matrix(x, bandwidth) for x in self.squared]

    def figures(self) -> dict[str, float]:
        aa, _, bb = self.squared
        return {
            "mmd": pairwise.mmd(*self.kernels),
            **{name: float(rows.mean()) for name, rows in self.indicators.items()},
            "diversity_error": _spread_error(aa, bb),
        }


def _spread_error(aa: Array, bb: Array) -> float:
    """|mean pairwise distance of b / that of a - 1|."""
    means = [float(np.sqrt(x).sum(dtype=np.float64)) / (len(x) * (len(x) - 1)) for x in (aa, bb)]
    return abs(means[1] / means[0] - 1) if means[0] > 0 else means[1]


def pair_metrics(
    rng: np.random.Generator,
    z_real: Array,
    z_generated: Array,
    ids_N: NDArray[Any],
    halves: list[Halves],
    worth: Worth,
) -> dict[str, Metric]:
    """Kernel test, neighbours, diversity and classifier, each at the same number of rows."""
    points, inputs = (
        np.concatenate([view(z_NTD) for z_NTD in (z_real, z_generated)])
        for view in (pairwise.flatten, pairwise.classifier_inputs)
    )
    size = min(len(halves[0].first), len(halves[0].second))
    rows, classified = min(PAIR_ROWS, size), min(CLASSIFIER_ROWS, size)
    few = min(resampling.FAR_SAMPLE, max(3, len(z_real) // 4), size)

    def draw(half: Halves, rows: int) -> list[Array]:
        """Rows of `points` and `inputs`: two of real sequences, one of generated ones."""
        first, second, generated = (
            rng.permutation(x)[:rows] for x in (half.first, half.second, half.generated)
        )
        return [first, second, len(z_real) + generated]

    first, second, _ = draw(halves[0], rows)
    middle = np.median(pairwise.squared_distances(points[first], points[second]))
    bandwidth = float(np.sqrt(middle)) or 1.0
    matched, floors, small = (defaultdict[str, list[float]](list) for _ in range(3))

    def add(store: dict[str, list[float]], values: dict[str, float]) -> None:
        for name, value in values.items():
            store[name].append(value)

    def pair_of(a: Array, b: Array) -> _Pair:
        return _Pair(points[a], points[b], bandwidth)

    def accuracy(a: Array, b: Array) -> dict[str, float]:
        hits = np.concatenate(pairwise.classifier_hits(inputs[a], inputs[b]))
        return {"classifier_accuracy": float(hits.mean())}

    kept: list[tuple[_Pair, Array]] = []
    # Few rows: their floors vary more, and more splits cost nothing.
    for half in halves[: PAIR_SPLITS if rows == PAIR_ROWS else len(halves)]:
        first, second, generated = draw(half, rows)
        pair = pair_of(first, generated)
        kept = kept or [(pair, first)]
        add(matched, pair.figures())
        add(floors, pair_of(first, second).figures())
        first, second, generated = draw(half, classified)
        add(matched, accuracy(first, generated))
        add(floors, accuracy(first, second))
    for half in halves:
        first, second, _ = draw(half, few)
        add(small, pair_of(first, second).figures())
    # Between two real samples the classifier is right by chance: its spread is the binomial one.
    chance = 2 * resampling.FAR_SAMPLE
    small["classifier_accuracy"] = list(rng.binomial(chance, 0.5, size=200) / chance)
    [(pair, first)] = kept
    boots = _pair_bootstraps(rng, pair, ids_N[first])
    tests, right = 2 * classified, float(np.mean(matched["classifier_accuracy"]))
    boots["classifier_accuracy"] = rng.binomial(tests, right, size=BOOTSTRAPS) / tests
    aa, ab, bb = pair.kernels
    pooled = np.block([[aa, ab], [ab.T, bb]])
    p_values = {
        "mmd": pairwise.permutation_p_value(pooled, rows, PERMUTATIONS, rng),
        "classifier_accuracy": pairwise.binomial_p_value(right, tests),
    }
    return {
        name: resampling.with_verdict(
            name, values, values, floors[name], small[name], boots[name], worth
        ).replace(p_value=p_values.get(name))
        for name, values in matched.items()
    }


def _pair_bootstraps(
    rng: np.random.Generator, pair: _Pair, blocks: NDArray[Any]
) -> dict[str, Array]:
    """Bootstrap values of the pair's figures, drawing rows (real ones in their blocks)."""
    order = np.argsort(blocks, kind="stable")
    compact = np.unique(blocks[order], return_inverse=True)[1]
    real = np.empty((BOOTSTRAPS, len(blocks)), dtype=np.float32)
    real[:, order] = resampling.bootstrap_weights(rng, compact, BOOTSTRAPS)
    aa, ab, bb = pair.kernels
    generated = resampling.bootstrap_weights(rng, np.arange(len(bb)), BOOTSTRAPS)

    def between(x: Array, matrix: Array, y: Array) -> Array:
        return np.einsum("rn,rn->r", x @ matrix, y).astype(np.float64)

    def within(x: Array, matrix: Array) -> Array:
        bare = matrix - np.diag(np.diag(matrix))
        pairs = 1.0 - np.sum(x.astype(np.float64) ** 2, axis=1)
        return between(x, bare, x) / np.maximum(pairs, 1e-9)

    mmd = within(real, aa) + within(generated, bb) - 2 * between(real, ab, generated)
    means = [within(w, np.sqrt(pair.squared[k])) for w, k in ((real, 0), (generated, 2))]
    sides = {"precision": generated, "recall": real, "coverage": real}
    return {
        "mmd": mmd,
        **{name: w @ pair.indicators[name].astype(np.float32) for name, w in sides.items()},
        "diversity_error": np.abs(means[1] / np.maximum(means[0], 1e-12) - 1),
    }


def memorisation(
    rng: np.random.Generator,
    z_real: Array,
    z_generated: Array,
    z_train: Array | None,
    half: Halves,
    worth: Worth,
) -> tuple[Metric, dict[str, float]]:
    """Nearest-neighbour distances to the training data: samples' against held-out sequences'.

    Copies are far, however few sequences are held out: more than COPIED of the samples, and 4 times
    the share of held-out sequences, that repeat a training sequence which is there once (a week
    without rain is no copy of another).
    """
    if z_train is None:
        references, held_rows = z_real[half.first], half.second
    else:
        references, held_rows = z_train, np.arange(len(z_real))
    held = pairwise.flatten(z_real[rng.permutation(held_rows)[:MEMORY_ROWS]])
    probes = pairwise.flatten(z_generated[rng.permutation(len(z_generated))[:MEMORY_ROWS]])
    points = pairwise.flatten(references)
    near_held = pairwise.nearest(held, points)
    near_probes = pairwise.nearest(probes, points)
    size = min(len(near_held) // 2, len(near_probes))
    share, few = pairwise.copy_share, min(resampling.FAR_SAMPLE, max(1, len(near_held) // 2))
    floors, matched, boots, small = [], [], [], []
    for _ in range(MEMORY_SPLITS):
        order = rng.permutation(near_held)
        floors.append(share(order[:size], order[-size:]))
        matched.append(share(rng.permutation(near_probes)[:size], order[-size:]))
    for _ in range(BOOTSTRAPS):
        boots.append(share(*(rng.choice(x, len(x)) for x in (near_probes, near_held))))
    for _ in range(SMALL_PAIRS):
        order = rng.permutation(near_held)
        small.append(share(order[:few], order[-few:]))
    own = [share(near_probes, near_held)]
    metric = resampling.with_verdict("memorisation", own, matched, floors, small, boots, worth)
    if float(np.mean(near_probes < SAME)) > COPIED:
        _, first, counts = np.unique(points, axis=0, return_index=True, return_counts=True)
        alone = points[first[counts == 1]]
        near = [pairwise.nearest(x, alone) < SAME for x in (probes, held) if len(alone)]
        copies, chance = (float(x.mean()) for x in near or np.zeros((2, 1)))
        if copies > max(COPIED, 4 * chance):
            metric = metric.replace(verdict=FAR)
    extra = {
        "nearest_distance_generated": float(np.median(near_probes)),
        "nearest_distance_held_out": float(np.median(near_held)),
        "copies": float(np.mean(near_probes < SAME)),
        "copies_held_out": float(np.mean(near_held < SAME)),
    }
    return metric, extra


def diversity(rng: np.random.Generator, z_NTD: Array, rows: int = 1000) -> dict[str, float]:
    points = pairwise.flatten(z_NTD[rng.permutation(len(z_NTD))[:rows]])
    return pairwise.pairwise_statistics(pairwise.squared_distances(points, points))
