"""Metrics of whole sequences, from `pairwise`, with floors, intervals and verdicts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import pairwise, resampling
from seqgan_jax.analysis.report import Metric
from seqgan_jax.analysis.resampling import Halves

Array = NDArray[Any]

PAIR_SPLITS = 6
PAIR_ROWS = 800
CLASSIFIER_ROWS = 2000
MEMORY_ROWS = 2000
MEMORY_SPLITS = 20
SMALL_PAIRS = 40
BOOTSTRAPS = 100
PERMUTATIONS = 199


@dataclass(frozen=True)
class _Pair:
    """Figures of one pair of samples, and what is needed to resample them."""

    values: dict[str, float]
    neighbours: pairwise.Neighbours
    distances: tuple[Array, Array, Array]


def _compare_points(a: Array, b: Array, bandwidth: float) -> _Pair:
    aa, ab, bb = (pairwise.squared_distances(x, y) for x, y in ((a, a), (a, b), (b, b)))
    for square in (aa, bb):
        np.fill_diagonal(square, 0.0)
    near = pairwise.neighbourhood(aa, ab, bb)
    kernels = [pairwise.kernel_matrix(x, bandwidth) for x in (aa, ab, bb)]
    return _Pair(
        values={
            "mmd": pairwise.mmd(kernels[0], kernels[1], kernels[2]),
            "precision": float(near.precise.mean()),
            "recall": float(near.recalled.mean()),
            "coverage": float(near.covered.mean()),
            "diversity_error": _spread_error(aa, bb),
        },
        neighbours=near,
        distances=(aa, ab, bb),
    )


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
) -> dict[str, Metric]:
    """Kernel test, neighbours, diversity and classifier, each at the same number of rows."""
    points_real, points_generated = pairwise.flatten(z_real), pairwise.flatten(z_generated)
    inputs_real = pairwise.classifier_inputs(z_real)
    inputs_generated = pairwise.classifier_inputs(z_generated)
    size = min(len(halves[0].first), len(halves[0].second))

    def draw(half: Halves, rows: int) -> tuple[Array, Array, Array]:
        first = rng.permutation(half.first)[:rows]
        second = rng.permutation(half.second)[:rows]
        return first, second, rng.permutation(half.generated)[:rows]

    rows = min(PAIR_ROWS, size)
    first, second, _ = draw(halves[0], rows)
    middle = np.median(pairwise.squared_distances(points_real[first], points_real[second]))
    bandwidth = float(np.sqrt(middle)) or 1.0
    matched: dict[str, list[float]] = {}
    floors: dict[str, list[float]] = {}
    small: dict[str, list[float]] = {}
    pair = None
    # Few rows: their floors vary more, and more splits cost nothing.
    splits = PAIR_SPLITS if rows == PAIR_ROWS else len(halves)
    for half in halves[:splits]:
        first, second, picked = draw(half, rows)
        current = _compare_points(points_real[first], points_generated[picked], bandwidth)
        floor = _compare_points(points_real[first], points_real[second], bandwidth)
        if pair is None:
            pair, pair_rows = current, (first, picked)
        for store, values in ((matched, current.values), (floors, floor.values)):
            for name, value in values.items():
                store.setdefault(name, []).append(value)
        c = min(CLASSIFIER_ROWS, size)
        first, second, picked = draw(half, c)
        hits = pairwise.classifier_hits(inputs_real[first], inputs_generated[picked])
        floor_hits = pairwise.classifier_hits(inputs_real[first], inputs_real[second])
        matched.setdefault("classifier_accuracy", []).append(float(np.concatenate(hits).mean()))
        floors.setdefault("classifier_accuracy", []).append(
            float(np.concatenate(floor_hits).mean())
        )
    assert pair is not None
    few = min(resampling.FAR_SAMPLE, max(3, len(z_real) // 4), size)
    for half in halves:
        first, second, _ = draw(half, few)
        floor = _compare_points(points_real[first], points_real[second], bandwidth)
        for name, value in floor.values.items():
            small.setdefault(name, []).append(value)
    # Between two real samples the classifier is right by chance: its spread is the binomial one.
    small["classifier_accuracy"] = list(
        rng.binomial(2 * resampling.FAR_SAMPLE, 0.5, size=200) / (2 * resampling.FAR_SAMPLE)
    )
    boots = _pair_bootstraps(rng, pair, bandwidth, ids_N[pair_rows[0]])
    tested = 2 * min(CLASSIFIER_ROWS, size)
    accuracy = float(np.mean(matched["classifier_accuracy"]))
    boots["classifier_accuracy"] = rng.binomial(tested, accuracy, size=BOOTSTRAPS) / tested
    found = {
        name: resampling.judged(
            name,
            np.array(matched[name]),
            np.array(matched[name]),
            np.array(floors[name]),
            np.array(small[name]),
            boots[name],
        )
        for name in matched
    }
    joint = np.block(
        [[pair.distances[0], pair.distances[1]], [pair.distances[1].T, pair.distances[2]]]
    )
    kernel = pairwise.kernel_matrix(joint, bandwidth)
    found["mmd"] = found["mmd"].replace(
        p_value=pairwise.permutation_p_value(kernel, len(pair.distances[0]), PERMUTATIONS, rng)
    )
    found["classifier_accuracy"] = found["classifier_accuracy"].replace(
        p_value=pairwise.binomial_p_value(accuracy, tested)
    )
    return found


def _pair_bootstraps(
    rng: np.random.Generator, pair: _Pair, bandwidth: float, blocks: NDArray[Any]
) -> dict[str, Array]:
    """Bootstrap values of the pair's figures, drawing rows (real ones in their blocks)."""
    order = np.argsort(blocks, kind="stable")
    compact = np.unique(blocks[order], return_inverse=True)[1]
    real = np.empty((BOOTSTRAPS, len(blocks)), dtype=np.float32)
    real[:, order] = resampling.bootstrap_weights(rng, compact, BOOTSTRAPS)
    count = len(pair.distances[2])
    generated = resampling.bootstrap_weights(rng, np.arange(count), BOOTSTRAPS)

    def between(x: Array, matrix: Array, y: Array) -> Array:
        return np.einsum("rn,rn->r", x @ matrix, y).astype(np.float64)

    def within(x: Array, matrix: Array) -> Array:
        bare = matrix - np.diag(np.diag(matrix))
        pairs = 1.0 - np.sum(x.astype(np.float64) ** 2, axis=1)
        return between(x, bare, x) / np.maximum(pairs, 1e-9)

    kernels = [pairwise.kernel_matrix(x, bandwidth) for x in pair.distances]
    roots = [within(w, np.sqrt(pair.distances[k])) for w, k in ((real, 0), (generated, 2))]
    return {
        "mmd": within(real, kernels[0])
        + within(generated, kernels[2])
        - 2 * between(real, kernels[1], generated),
        "precision": generated @ pair.neighbours.precise.astype(np.float32),
        "recall": real @ pair.neighbours.recalled.astype(np.float32),
        "coverage": real @ pair.neighbours.covered.astype(np.float32),
        "diversity_error": np.abs(roots[1] / np.maximum(roots[0], 1e-12) - 1),
    }


def memorisation(
    rng: np.random.Generator,
    z_real: Array,
    z_generated: Array,
    z_train: Array | None,
    half: Halves,
) -> tuple[Metric, dict[str, float]]:
    """Nearest-neighbour distances to the training data: samples' against held-out sequences'."""
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
    floors, matched, boots = [], [], []
    for _ in range(MEMORY_SPLITS):
        order = rng.permutation(near_held)
        one, other = order[:size], order[-size:]
        floors.append(pairwise.copy_share(one, other))
        matched.append(pairwise.copy_share(rng.permutation(near_probes)[:size], other))
    for _ in range(BOOTSTRAPS):
        boots.append(
            pairwise.copy_share(
                rng.choice(near_probes, len(near_probes)), rng.choice(near_held, len(near_held))
            )
        )
    few = min(resampling.FAR_SAMPLE, max(1, len(near_held) // 2))
    small = []
    for _ in range(SMALL_PAIRS):
        order = rng.permutation(near_held)
        small.append(pairwise.copy_share(order[:few], order[-few:]))
    metric = resampling.judged(
        "memorisation",
        np.array([pairwise.copy_share(near_probes, near_held)]),
        np.array(matched),
        np.array(floors),
        np.array(small),
        np.array(boots),
    )
    extra = {
        "nearest_distance_generated": float(np.median(near_probes)),
        "nearest_distance_held_out": float(np.median(near_held)),
        # Text files round values: a thousandth of a standard deviation counts as equal.
        "copies": float(np.mean(near_probes < 1e-3)),
        "copies_held_out": float(np.mean(near_held < 1e-3)),
    }
    return metric, extra


def diversity(rng: np.random.Generator, z_NTD: Array, rows: int = 1000) -> dict[str, float]:
    points = pairwise.flatten(z_NTD[rng.permutation(len(z_NTD))[:rows]])
    return pairwise.pairwise_statistics(pairwise.squared_distances(points, points))
