"""Figures of whole sequences: distances between them, neighbours, a kernel test, a classifier.

Distances are Euclidean over all T * D values in units of each feature's real standard deviation,
divided by sqrt(T * D): two independent sequences are about sqrt(2) apart for any T and D. Where
values are absent they are over the values that both have, and scaled by how many these are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from seqgan_jax.analysis import absent, metrics

Array = NDArray[Any]

NEIGHBOURS = 5
CLASSIFIER_INPUTS = 100


def flatten(z_NTD: Array) -> Array:
    """Standardised sequences as points: [N, T * D] float32, divided by sqrt(T * D)."""
    flat = z_NTD.reshape(len(z_NTD), -1)
    return (flat / np.sqrt(flat.shape[1])).astype(np.float32)


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances between rows -> [len(a), len(b)]."""
    if absent.is_any(a, b):
        return _common_distances(a, b)
    out = a @ b.T
    out *= -2.0
    out += np.einsum("nk,nk->n", a, a)[:, None]
    out += np.einsum("nk,nk->n", b, b)[None, :]
    return np.maximum(out, 0.0, out=out)


def _common_distances(a: Array, b: Array) -> Array:
    """Over what both rows have, times K / how much that is; the mean where that is nothing."""
    has_a, has_b = ((~np.isnan(x)).astype(np.float32) for x in (a, b))
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    out = (a * a) @ has_b.T + has_a @ (b * b).T - 2 * a @ b.T
    common = has_a @ has_b.T
    out = np.maximum(out, 0.0) * (a.shape[1] / np.maximum(common, 1.0))
    nothing = common == 0
    if nothing.any():
        out[nothing] = out[~nothing].mean() if not nothing.all() else 2.0
    return out


def nearest(probes: Array, references: Array, chunk: int = 4096) -> Array:
    """Distance of each probe to its nearest reference -> [len(probes)].

    Distances come from the differences themselves (not from products), so that an exact copy is at
    exactly 0.
    """
    best = np.full(len(probes), np.inf, dtype=np.float32)
    where = np.zeros(len(probes), dtype=np.int64)
    for start in range(0, len(references), chunk):
        block = squared_distances(probes, references[start : start + chunk])
        index = block.argmin(axis=1)
        value = block[np.arange(len(probes)), index]
        closer = value < best
        best[closer], where[closer] = value[closer], index[closer] + start
    apart = probes - references[where]
    if absent.is_any(apart):
        common = (~np.isnan(apart)).sum(axis=1)
        scale = np.sqrt(apart.shape[1] / np.maximum(common, 1))
        exact = np.linalg.norm(np.nan_to_num(apart), axis=1) * scale
        return np.where(common > 0, exact, np.sqrt(best))
    return np.linalg.norm(apart, axis=1)


def copy_share(generated_N: Array, held_out_N: Array) -> float:
    """Share of samples that lie nearer to the training data than held-out data does.

    max_d F_generated(d) - F_held_out(d) over nearest-neighbour distances d, in [0, 1]: 0.1 means
    that a tenth of the samples are too near. 0 for an honest generator, up to noise.
    """
    return float(max(metrics.cdf_gaps(generated_N, held_out_N)[0].max(), 0.0))


def neighbourhood(
    real_real: Array, real_generated: Array, generated_generated: Array, k: int = NEIGHBOURS
) -> dict[str, Array]:
    """Precision and recall (Kynkaanniemi et al. 2019), coverage (Naeem et al. 2020).

    The ball of a row reaches to its k-th nearest neighbour in its own sample.

    Args:
        real_real, real_generated, generated_generated: squared distance matrices, diagonals 0.
        k: neighbours.
    Returns:
        "precision": which generated rows are inside some real row's ball; "recall": which real rows
        are inside some generated row's; "coverage": which real rows' balls hold a generated row.
        The figures are the means.
    """
    # The diagonal is 0, so that position k is the k-th neighbour other than the row itself.
    real_ball, generated_ball = (
        np.partition(x, min(k, len(x) - 1), axis=1)[:, min(k, len(x) - 1)]
        for x in (real_real, generated_generated)
    )
    inside_real: Array = real_generated <= real_ball[:, None]
    return {
        "precision": np.any(inside_real, axis=0),
        "recall": np.any(real_generated <= generated_ball[None, :], axis=1),
        "coverage": np.any(inside_real, axis=1),
    }


def kernel_matrix(squared: Array, bandwidth: float) -> Array:
    """Gaussian kernel exp(-d^2 / (2 bandwidth^2))."""
    return np.exp(squared * np.float32(-0.5 / bandwidth**2))


def mmd(kernel_aa: Array, kernel_ab: Array, kernel_bb: Array) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) from kernel matrices.

    Diagonals of the first and third are left out. Around 0 (and as often below) for equal laws.
    """
    n, m = len(kernel_aa), len(kernel_bb)
    within_a = (kernel_aa.sum(dtype=np.float64) - np.trace(kernel_aa)) / (n * (n - 1))
    within_b = (kernel_bb.sum(dtype=np.float64) - np.trace(kernel_bb)) / (m * (m - 1))
    return float(within_a + within_b - 2 * kernel_ab.mean(dtype=np.float64))


def permutation_p_value(kernel: Array, first: int, repeats: int, rng: np.random.Generator) -> float:
    """p-value of the MMD under random relabelling; `kernel` is of the pooled sample [n + m, n + m].

    (1 + number of relabellings at least as large) / (1 + repeats). All relabellings are one matrix
    product: up to terms that do not change, MMD^2 = s' K s with s = +1/n and -1/m.
    """
    # Without the diagonal the statistic is the unbiased one with weights 1/n^2: the same order when
    # n = m, which is how it is called here.
    bare = kernel - np.diag(np.diag(kernel))
    second = len(kernel) - first
    base = np.repeat([1 / first, -1 / second], [first, second])
    signs = np.array([base, *(rng.permutation(base) for _ in range(repeats))], np.float32)
    values = np.einsum("rn,rn->r", signs @ bare, signs)
    return float((1 + np.sum(values[1:] >= values[0])) / (1 + repeats))


def pairwise_statistics(squared: Array) -> dict[str, float]:
    """Mean, std, min and max of the distances between different rows of one sample."""
    distances = np.sqrt(squared[np.triu_indices(len(squared), 1)])
    return {name: float(getattr(distances, name)()) for name in ("mean", "std", "min", "max")}


def classifier_inputs(z_NTD: Array, seed: int = 0) -> Array:
    """Values, their squares, increments' squares and products of neighbouring steps -> [N, K].

    At most 4 * CLASSIFIER_INPUTS columns: longer sequences are projected at random first. What is
    absent is 0, the mean.
    """
    changes = np.diff(z_NTD, axis=1)
    rng = np.random.default_rng(seed)
    out = []
    for part in (z_NTD, z_NTD**2, z_NTD[:, 1:] * z_NTD[:, :-1], changes * np.abs(changes)):
        flat = np.clip(part.reshape(len(part), -1), -30, 30).astype(np.float32)
        flat = np.nan_to_num(flat, copy=False)
        if flat.shape[1] > CLASSIFIER_INPUTS:
            mix = rng.normal(size=(flat.shape[1], CLASSIFIER_INPUTS)) / np.sqrt(flat.shape[1])
            flat = flat @ mix.astype(np.float32)
        out.append(flat)
    return np.concatenate(out, axis=1)


def classifier_hits(first: Array, second: Array) -> tuple[Array, Array]:
    """Whether a classifier that did not see a row recognises its sample -> [n], [m].

    A classifier two-sample test (Lopez-Paz and Oquab 2017) with Fisher's linear discriminant on
    `classifier_inputs`, cross-fitted on two folds (even and odd rows). Rows come in random order.
    """
    x = np.concatenate([first, second]).astype(np.float64)
    y = np.repeat([1.0, -1.0], [len(first), len(second)])
    fold = np.concatenate([np.arange(len(rows)) % 2 == 1 for rows in (first, second)])
    hits = np.zeros(len(x))
    for test in (fold, ~fold):
        train = ~test
        mean, std = x[train].mean(axis=0), x[train].std(axis=0)
        scaled = (x - mean) / np.where(std > 1e-9, std, 1.0)
        part, centre = scaled[train], y[train].mean()
        gram = part.T @ part + (1e-3 * len(part) + 1.0) * np.eye(part.shape[1])
        weights = np.linalg.solve(gram, part.T @ (y[train] - centre))
        hits[test] = (scaled[test] @ weights + centre) * y[test] > 0
    return hits[: len(first)], hits[len(first) :]


def binomial_p_value(accuracy: float, tests: int) -> float:
    """P(accuracy at least this | both classes have one law), Gaussian approximation."""
    return float(ndtr(-(accuracy - 0.5) * 2 * np.sqrt(tests)))
