"""Figures that are functions of two means over sequences, computed for many resamples at once.

Almost every figure of interest (Kolmogorov-Smirnov, autocorrelation, spectra, correlations, ...)
depends on a sample only through the mean over its sequences of some vector phi(x). So all random
halves and all bootstrap samples are one matrix product, weights [R, N] @ phi [N, K], in place of R
passes over the data.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import absent, metrics, partial

Array = NDArray[Any]

VALUE_BINS = 256
STEP_BINS = 24
MAX_LAGS = 20
CHUNK = 2048
# Quantile edges need no more values than this.
EDGE_VALUES = 200_000


@dataclass(frozen=True)
class Units:
    """Units of the real data.

    `scale_D` is the real standard deviation; for a constant feature (`constant_D`) it is the size
    of the constant, and values within a millionth of it count as equal to it.
    """

    mean_D: Array
    scale_D: Array
    constant_D: NDArray[Any]

    def standardise(self, x_NTD: Array) -> Array:
        """(x - real mean) / real std, with constant features snapped to 0 where they agree."""
        z_NTD = (x_NTD - self.mean_D) / self.scale_D
        for d in np.flatnonzero(self.constant_D):
            z_NTD[..., d][np.abs(z_NTD[..., d]) < 1e-6] = 0.0
        return z_NTD


def units(real_NTD: Array) -> Units:
    """Mean, scale and constancy of each real feature.

    Constant is what training takes for constant (`Scaler.fit`): all values are equal. 1e9 with a
    spread of 0.02 is not.
    """
    least, most, mean, std = (
        (np.nanmin, np.nanmax, np.nanmean, np.nanstd)
        if absent.is_any(real_NTD)
        else (np.min, np.max, np.mean, np.std)
    )
    size_D = most(np.abs(real_NTD), axis=(0, 1))
    low_D = least(real_NTD, axis=(0, 1))
    constant_D = low_D == most(real_NTD, axis=(0, 1))
    mean_D = np.where(constant_D, low_D, mean(real_NTD, axis=(0, 1)))
    std_D = std(real_NTD - mean_D, axis=(0, 1))
    return Units(mean_D, np.where(constant_D, np.maximum(size_D, 1.0), std_D), constant_D)


@dataclass(frozen=True)
class Bins:
    """Bins that both samples share: edges in real standard deviations."""

    values_DK: Array  # [D, VALUE_BINS + 1], outer edges: the extremes of both samples
    steps_DTK: Array  # [D, T, STEP_BINS + 1]
    increments_DK: Array  # [D, VALUE_BINS + 1]
    support: partial.Support | None = None  # where values are absent; T is then of its steps


def _edges(pooled_ND: Array, bins: int) -> Array:
    """Quantile edges of each column, outer edges at its extremes -> [D, bins + 1]."""
    edges = np.quantile(pooled_ND, np.arange(bins + 1) / bins, axis=0, method="higher")
    return np.ascontiguousarray(edges.T)


def bins_of(z_real: Array, z_generated: Array, ends: bool = False) -> Bins:
    """Bins for this pair of standardised samples [N, T, D] and [M, T, D].

    `ends`: whether trailing steps without a value are after the end of a sequence.
    """
    steps, features = z_real.shape[1:]
    if absent.is_any(z_real, z_generated):
        both = z_real, z_generated
        held = partial.support(*both, min(MAX_LAGS, steps - 1), ends)
        return Bins(
            partial.edges(*both, VALUE_BINS, EDGE_VALUES),
            partial.step_edges(*both, held.steps_S, STEP_BINS),
            partial.edges(
                np.diff(z_real, axis=1), np.diff(z_generated, axis=1), VALUE_BINS, EDGE_VALUES
            ),
            held,
        )
    # Evenly spaced rows are enough for the inner edges.
    rows = max(1, EDGE_VALUES // steps)
    parts = [z[:: max(1, len(z) // rows)] for z in (z_real, z_generated)]
    balanced = min(len(p) for p in parts)
    z_NTD = np.concatenate([p[:balanced] for p in parts])
    value = _edges(z_NTD.reshape(-1, features), VALUE_BINS)
    value[:, 0] = np.minimum(*(z.min(axis=(0, 1)) for z in (z_real, z_generated)))
    value[:, -1] = np.maximum(*(z.max(axis=(0, 1)) for z in (z_real, z_generated)))
    picks = np.linspace(0, len(z_NTD) - 1, STEP_BINS + 1).round().astype(int)
    step = np.sort(z_NTD, axis=0)[picks].transpose(2, 1, 0)
    change = np.zeros((features, VALUE_BINS + 1))
    if steps > 1:
        change = _edges(np.diff(z_NTD, axis=1).reshape(-1, features), VALUE_BINS)
    return Bins(value, step, change)


def bin_shares(z: Array, edges: Array, bins: int) -> Array:
    """Share of each row's values in each bin -> [n, bins]; a value on an edge goes below it."""
    n = len(z)
    bin_index = np.searchsorted(edges[1:-1], z)
    flat = (bin_index + bins * np.arange(n)[:, None]).ravel()
    return (np.bincount(flat, minlength=n * bins).reshape(n, bins) / z.shape[1]).astype(np.float32)


def _step_counts(z_NT: Array, edges_TK: Array) -> Array:
    """One-hot bin of each value among its own step's bins -> [n, T * STEP_BINS]."""
    n, steps = z_NT.shape
    out = np.zeros((n, steps * STEP_BINS), dtype=np.float32)
    rows = np.arange(n)
    for t in range(steps):
        out[rows, t * STEP_BINS + np.searchsorted(edges_TK[t, 1:-1], z_NT[:, t])] = 1.0
    return out


def _lag_products(z_NT: Array, lags: int) -> Array:
    """Per sequence and lag: means of early, late, early^2, late^2 and early * late -> [n, 5 L]."""
    parts = []
    squares = z_NT * z_NT
    for lag in range(1, lags + 1):
        parts += [
            z_NT[:, :-lag].mean(axis=1),
            z_NT[:, lag:].mean(axis=1),
            squares[:, :-lag].mean(axis=1),
            squares[:, lag:].mean(axis=1),
            np.einsum("nt,nt->n", z_NT[:, :-lag], z_NT[:, lag:]) / (z_NT.shape[1] - lag),
        ]
    return np.stack(parts, axis=1) if parts else np.empty((len(z_NT), 0))


def _dynamics(z_NT: Array) -> Array:
    """Per sequence: own lag-1 autocorrelation, whether defined, slope, slope^2, |dz|, dz^1..3."""
    own = metrics.sequence_autocorrelation(z_NT)
    slope = metrics.slopes(z_NT)
    change = np.diff(z_NT, axis=1) if z_NT.shape[1] > 1 else np.zeros_like(z_NT)
    square = change * change
    return np.stack(
        [
            np.nan_to_num(own),
            np.isfinite(own).astype(float),
            slope,
            slope * slope,
            np.abs(change).mean(axis=1),
            change.mean(axis=1),
            square.mean(axis=1),
            (square * change).mean(axis=1),
        ],
        axis=1,
    )


def _powers(z_NT: Array) -> Array:
    """Per sequence: mean of z, z^2, z^3, z^4 -> [n, 4]."""
    square = z_NT * z_NT
    return np.stack([p.mean(axis=1) for p in (z_NT, square, square * z_NT, square**2)], axis=1)


def _phi(bins: Bins, d: int, z_NT: Array) -> dict[str, Array]:
    """Everything of feature d whose means over sequences are wanted -> blocks [n, K]."""
    change = np.diff(z_NT, axis=1) if z_NT.shape[1] > 1 else z_NT
    return {
        "values": bin_shares(z_NT, bins.values_DK[d], VALUE_BINS),
        "steps": _step_counts(z_NT, bins.steps_DTK[d]),
        "increments": bin_shares(change, bins.increments_DK[d], VALUE_BINS),
        "powers": _powers(z_NT),
        "lags": _lag_products(z_NT, min(MAX_LAGS, z_NT.shape[1] - 1)),
        "dynamics": _dynamics(z_NT),
        # Periodogram at frequencies of 1..T//2 cycles a window.
        "spectrum": np.abs(np.fft.rfft(z_NT, axis=1)[:, 1:]) ** 2 / z_NT.shape[1],
    }


def sequence_means(bins: Bins, z_NTD: Array, weights_RN: Array) -> dict[str, Array]:
    """Means over sequences of every phi, for each row of weights -> blocks [R, D, ...].

    `z_NTD` is standardised. Histograms are summed in float32 (shares, exact to 1e-6), all else in
    float64.
    """
    if bins.support is not None:
        return partial.sequence_means(bins, z_NTD, weights_RN)
    total, steps, features = z_NTD.shape
    # The variances below are differences of means: these need weights that sum to 1 in float64.
    weights_RN = weights_RN.astype(np.float64)
    weights_RN /= weights_RN.sum(axis=1, keepdims=True)
    sums: dict[str, list[Any]] = defaultdict(lambda: [0.0] * features)
    cross: dict[str, Any] = defaultdict(float)
    for start in range(0, total, CHUNK):
        z = z_NTD[start : start + CHUNK]
        weights = weights_RN[:, start : start + CHUNK]
        for d in range(features):
            for name, phi in _phi(bins, d, np.ascontiguousarray(z[:, :, d])).items():
                sums[name][d] += weights.astype(phi.dtype, copy=False) @ phi
        if features > 1:
            products = np.einsum("nti,ntj->nij", z, z, optimize=True) / steps
            cross["products"] += weights @ products.reshape(len(products), -1)
            if steps > 1:
                products = np.matmul(z[:, :-1].transpose(0, 2, 1), z[:, 1:]) / (steps - 1)
                cross["lagged_products"] += weights @ products.reshape(len(products), -1)
    means = {name: np.stack(blocks, axis=1) for name, blocks in sums.items()}
    return means | {name: x.reshape(-1, features, features) for name, x in cross.items()}


def group_means(bins: Bins, z_NTD: Array, groups: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """`sequence_means` of several groups of rows of weights, computed in one pass over the data."""
    means = sequence_means(bins, z_NTD, np.concatenate(list(groups.values())))
    ends = np.cumsum([len(weights) for weights in groups.values()])
    return {
        group: {name: block[end - len(weights) : end] for name, block in means.items()}
        for (group, weights), end in zip(groups.items(), ends, strict=True)
    }


def _gap_figures(p: Array, q: Array, edges: Array) -> tuple[Array, Array]:
    """KS and Wasserstein from shares in bins [..., K] and their K + 1 edges (on the grid)."""
    gap = np.abs(np.cumsum(p - q, axis=-1, dtype=np.float64))
    width = np.diff(edges)
    left = np.concatenate([np.zeros_like(gap[..., :1]), gap[..., :-1]], axis=-1)
    return gap.max(axis=-1), np.sum((left + gap) / 2 * width, axis=-1)


def _moments(powers: Array) -> tuple[Array, Array, Array, Array]:
    """Mean, std, skewness and excess kurtosis from raw moments [..., 4]."""
    m1, m2, m3, m4 = (powers[..., k] for k in range(4))
    variance = np.maximum(m2 - m1**2, 0.0)
    safe = np.where(variance > 1e-12, variance, 1.0)
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    flat = variance <= 1e-12
    skew = np.where(flat, 0.0, third / safe**1.5)
    kurtosis = np.where(flat, 0.0, fourth / safe**2 - 3)
    return m1, np.sqrt(variance), skew, kurtosis


def _correlation(product: Array, a: Array, aa: Array, b: Array, bb: Array) -> Array:
    """(E ab - E a E b) / sqrt(var a var b) from E ab, E a, E a^2, E b, E b^2; 0 for a constant."""
    scale = np.sqrt(np.maximum(aa - a**2, 0)) * np.sqrt(np.maximum(bb - b**2, 0))
    return np.where(scale > 1e-12, (product - a * b) / np.maximum(scale, 1e-12), 0.0)


def autocorrelations(lag_means: Array) -> Array:
    """Pooled autocorrelations from the "lags" block [..., 5 L] -> [..., L + 1], lag 0 first."""
    m = np.moveaxis(lag_means.reshape(*lag_means.shape[:-1], -1, 5), -1, 0)
    rho = _correlation(m[4], m[0], m[2], m[1], m[3])
    return np.concatenate([np.ones_like(rho[..., :1]), rho], axis=-1)


def correlations(means: dict[str, Array]) -> Array:
    """Feature correlation matrices over all values -> [R, D, D]; constant features give 0."""
    m = np.moveaxis(means["powers"], -1, 0)
    rows, columns = m[:2, :, :, None], m[:2, :, None, :]
    return _correlation(means["products"], *rows, *columns)


def lagged_correlations(means: dict[str, Array]) -> Array:
    """Correlation of feature i at t with feature j at t + 1 -> [R, D, D]."""
    m = np.moveaxis(means["lags"], -1, 0)
    rows, columns = m[[0, 2], :, :, None], m[[1, 3], :, None, :]
    return _correlation(means["lagged_products"], *rows, *columns)


def own_autocorrelation(dynamics: Array) -> Array:
    """Mean of the sequences' own lag-1 autocorrelations, over those that have one."""
    return dynamics[..., 0] / np.maximum(dynamics[..., 1], 1e-12)


def _relative(p: Array, q: Array) -> Array:
    """|q - p| / p where p > 0, else |q|."""
    return np.abs(q - p) / np.where(p > 1e-9, p, 1.0)


def figures(bins: Bins, p: dict[str, Array], q: dict[str, Array]) -> dict[str, Array]:
    """Every figure for each pair of rows of two sets of means: [R, D], or [R] across features.

    p is real and q what is compared with it. All are >= 0 and 0 for two equal samples.
    """
    out: dict[str, Array] = {}
    out["ks"], out["wasserstein"] = _gap_figures(p["values"], q["values"], bins.values_DK)
    coarse = [
        x["values"].astype(np.float64).reshape(*x["values"].shape[:2], metrics.JS_BINS, -1).sum(-1)
        for x in (p, q)
    ]
    out["js"] = metrics.js_from_histograms(*coarse)
    names = ("mean_error", "std_error", "skew_error", "kurtosis_error")
    for name, a, b in zip(names, _moments(p["powers"]), _moments(q["powers"]), strict=True):
        out[name] = np.abs(a - b)
    shape = (*p["steps"].shape[:2], -1, STEP_BINS)
    if p["steps"].shape[-1]:  # enough sequences at some step
        step = _gap_figures(p["steps"].reshape(shape), q["steps"].reshape(shape), bins.steps_DTK)
        out["step_ks"], out["step_wasserstein"] = (s.mean(axis=-1) for s in step)
    if not p["lags"].shape[-1]:  # sequences of one step
        return out
    out["increment_ks"], out["increment_wasserstein"] = _gap_figures(
        p["increments"], q["increments"], bins.increments_DK
    )
    a, b = p["dynamics"], q["dynamics"]
    out["volatility_error"] = _relative(a[..., 4], b[..., 4])
    spread = [np.sqrt(np.maximum(x[..., 3] - x[..., 2] ** 2, 0)) for x in (a, b)]
    out["trend_error"] = np.abs(a[..., 2] - b[..., 2]) / np.where(spread[0] > 1e-9, spread[0], 1.0)
    out["trend_spread_error"] = _relative(*spread)
    skews = [_moments(np.concatenate([x[..., 5:8], x[..., :1]], axis=-1))[2] for x in (a, b)]
    out["asymmetry_error"] = np.abs(skews[0] - skews[1])
    out["biased_autocorrelation_error"] = np.abs(own_autocorrelation(a) - own_autocorrelation(b))
    rho = [autocorrelations(x["lags"]) for x in (p, q)]
    out["autocorrelation_error"] = np.abs(rho[0] - rho[1])[..., 1:].mean(axis=-1)
    partial = [metrics.partial_autocorrelation(r) for r in rho]
    out["partial_autocorrelation_error"] = np.abs(partial[0] - partial[1])[..., 1:].mean(axis=-1)
    decibels = [10 * np.log10(spectrum_floor(x["spectrum"])) for x in (p, q)]
    out["spectrum_error"] = np.abs(decibels[0] - decibels[1]).mean(axis=-1)
    if "products" in p:
        features = p["products"].shape[1]
        pairs = np.triu_indices(features, 1)
        gap = np.abs(correlations(p) - correlations(q))
        out["cross_correlation_error"] = gap[:, pairs[0], pairs[1]].mean(axis=-1)
        rows, columns = np.tril_indices(features)
        out["correlational"] = gap[:, rows, columns].sum(axis=-1) / 10
        lagged = np.abs(lagged_correlations(p) - lagged_correlations(q))
        off = ~np.eye(features, dtype=bool)
        out["lagged_cross_correlation_error"] = lagged[:, off].mean(axis=-1)
    return out


def spectrum_floor(power: Array) -> Array:
    """Power with a floor of a millionth of its mean, so that empty frequencies have a logarithm."""
    return power + 1e-6 * power.mean(axis=-1, keepdims=True) + 1e-12
