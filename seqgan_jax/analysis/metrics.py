"""Figures that compare two samples of sequences: plain NumPy, no state, no plots.

Shapes: N sequences, T time steps, D features, L lags, K bins. `a` is real and `b` generated where
the order matters. Everything here is a pure function; floors, intervals and verdicts are made of
these figures in `resampling.py` and `compare.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

JS_BINS = 64


def cdf_gaps(a: Array, b: Array) -> tuple[Array, Array]:
    """F_a - F_b at each pooled value, and the pooled values, sorted -> two of [len(a) + len(b)]."""
    a, b = np.sort(np.ravel(a)), np.sort(np.ravel(b))
    pooled = np.concatenate([a, b])
    pooled.sort(kind="stable")  # two sorted runs: the stable sort merges them
    gaps = np.searchsorted(a, pooled, side="right") / a.size
    gaps -= np.searchsorted(b, pooled, side="right") / b.size
    return gaps, pooled


def ks_and_wasserstein(a: Array, b: Array) -> tuple[float, float]:
    """Kolmogorov-Smirnov statistic and 1-Wasserstein distance of two samples of values.

    KS = max_x |F_a(x) - F_b(x)|, in [0, 1]; W1 = integral of |F_a(x) - F_b(x)| dx, in the unit of
    the values. Both are exact; one pass over the pooled values gives the two.

    >>> ks_and_wasserstein(np.array([0.0, 1.0]), np.array([0.5, 1.5]))
    (0.5, 0.5)
    """
    gaps, pooled = cdf_gaps(a, b)
    size = np.abs(gaps)
    return float(size.max()), float(np.dot(size[:-1], np.diff(pooled)))


def js_from_histograms(p: Array, q: Array) -> Array:
    """Jensen-Shannon divergence in bits of histograms that sum to 1 over the last axis.

    JS = H((p + q) / 2) - (H(p) + H(q)) / 2, in [0, 1].
    """

    def entropy(p: Array) -> Array:  # 0 log 0 = 0
        return -np.sum(p * np.log2(np.where(p > 0, p, 1.0)), axis=-1)

    return np.maximum(entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2, 0.0)


def quantile_edges(pooled: Array, bins: int) -> Array:
    """The bins - 1 interior edges that cut the pooled values into bins of equal probability."""
    return np.quantile(np.ravel(pooled), np.arange(1, bins) / bins, method="higher")


def js(a: Array, b: Array, bins: int = JS_BINS) -> float:
    """Jensen-Shannon divergence in bits, over bins that each hold 1/bins of the pooled values.

    Bins of equal probability, not of equal width: one outlier cannot push all else into one bin,
    and the figure does not change when the data are rescaled.
    """
    edges = quantile_edges(np.concatenate([np.ravel(a), np.ravel(b)]), bins)
    p, q = (
        np.bincount(np.searchsorted(edges, np.ravel(x)), minlength=bins) / np.size(x)
        for x in (a, b)
    )
    return float(js_from_histograms(p, q))


def basic_statistics(x: Array) -> dict[str, float]:
    """Moments and quantiles of a set of values, in their own unit.

    std, skewness and (excess) kurtosis are the population's (divided by n); the last two are 0
    where all values are equal.
    """
    x = there(np.ravel(x).astype(np.float64))
    q25, median, q75 = np.quantile(x, [0.25, 0.5, 0.75])
    mean, std = x.mean(), x.std()
    z = (x - mean) / std if x.min() < x.max() and std > 0 else np.zeros_like(x)
    z2 = z * z
    return {
        "mean": float(mean),
        "std": float(std),
        "min": float(x.min()),
        "max": float(x.max()),
        "median": float(median),
        "q25": float(q25),
        "q75": float(q75),
        "skewness": float(np.mean(z2 * z)),
        "kurtosis": float(np.mean(z2 * z2) - 3.0) if z.any() else 0.0,
    }


def pooled_autocorrelation(x_NT: Array, lags: int) -> Array:
    """Correlation of x_t and x_{t+l} over all sequences and steps at once, l = 0..lags -> [L+1].

    Unlike the mean of each sequence's own autocorrelation it does not subtract a mean that was
    estimated from T steps, and so it is not biased towards zero in short sequences.
    A lag at which either side is constant gives 0. Pairs count where both values are there.
    """
    rho = np.ones(lags + 1)
    for lag in range(1, lags + 1):
        early, late = _pairs(x_NT[:, :-lag], x_NT[:, lag:])
        if not early.size:
            rho[lag] = 0.0
            continue
        early, late = early - early.mean(), late - late.mean()
        scale = np.sqrt(np.mean(early**2) * np.mean(late**2))
        rho[lag] = np.mean(early * late) / scale if scale > 0 else 0.0
    return rho


def there(x: Array) -> Array:
    """The values that are there; x itself where none is absent."""
    absent = np.isnan(x)
    return x[~absent] if absent.any() else x


def _pairs(a: Array, b: Array) -> tuple[Array, Array]:
    """a and b where both are there; as they are where none is absent."""
    absent = np.isnan(a) | np.isnan(b)
    return (a[~absent], b[~absent]) if absent.any() else (a, b)


def partial_autocorrelation(rho: Array) -> Array:
    """Partial autocorrelations from autocorrelations [..., L+1] (lag 0 first) -> [..., L+1].

    Durbin-Levinson recursion; values are clipped to [-1, 1], where sampling noise (or pairs pooled
    from a process that is not stationary) makes rho no valid autocorrelation.
    """
    rho = np.asarray(rho, dtype=np.float64)
    lags = rho.shape[-1] - 1
    partial = np.ones_like(rho)
    phi = np.zeros((*rho.shape[:-1], lags + 1))
    for k in range(1, lags + 1):
        inner = np.sum(phi[..., 1:k] * rho[..., k - 1 : 0 : -1], axis=-1)
        left = 1.0 - np.sum(phi[..., 1:k] * rho[..., 1:k], axis=-1)
        value = np.clip((rho[..., k] - inner) / np.maximum(left, 1e-9), -1.0, 1.0)
        if k > 1:
            phi[..., 1:k] -= value[..., None] * phi[..., k - 1 : 0 : -1]
        phi[..., k] = value
        partial[..., k] = value
    return partial


def sequence_autocorrelation(x_NT: Array) -> Array:
    """Lag-1 autocorrelation of each sequence about its own two means -> [N]; NaN where constant.

    Of values that are absent, the pairs that are there count; NaN where there are fewer than two.

    The figure of the reference implementation, kept for comparison: its mean is biased by about
    -(1 + 4 rho) / T (Kendall 1954; Marriott and Pope 1954).
    """
    if x_NT.shape[1] < 3:
        return np.full(len(x_NT), np.nan)
    if np.isnan(x_NT).any():
        return _autocorrelation_of_pairs(x_NT[:, :-1], x_NT[:, 1:])
    early = x_NT[:, :-1] - x_NT[:, :-1].mean(axis=1, keepdims=True)
    late = x_NT[:, 1:] - x_NT[:, 1:].mean(axis=1, keepdims=True)
    scale = np.sqrt(np.sum(early**2, axis=1) * np.sum(late**2, axis=1))
    ok = (x_NT.max(axis=1) > x_NT.min(axis=1)) & (scale > 0)
    return np.where(ok, np.sum(early * late, axis=1) / np.where(ok, scale, 1.0), np.nan)


def _autocorrelation_of_pairs(early_NT: Array, late_NT: Array) -> Array:
    """The same over pairs of which both values are there."""
    both = ~(np.isnan(early_NT) | np.isnan(late_NT))
    number_N1 = np.maximum(both.sum(axis=1, keepdims=True), 1)
    early, late = (np.where(both, x, 0.0) for x in (early_NT, late_NT))
    early, late = (
        np.where(both, x - x.sum(axis=1, keepdims=True) / number_N1, 0.0) for x in (early, late)
    )
    scale = np.sqrt(np.sum(early**2, axis=1) * np.sum(late**2, axis=1))
    ok = (number_N1[:, 0] > 1) & (scale > 1e-12)
    return np.where(ok, np.sum(early * late, axis=1) / np.where(ok, scale, 1.0), np.nan)


def slopes(x_NT: Array) -> Array:
    """Least-squares slope of each sequence against time, per step -> [N]; 0 where T = 1.

    Through the values that are there; NaN where there are fewer than three (two where T = 2).
    """
    absent = np.isnan(x_NT)
    if absent.any():
        number = (~absent).sum(axis=1)
        t = np.where(absent, np.nan, np.arange(x_NT.shape[1], dtype=np.float64))
        enough = number >= min(3, x_NT.shape[1])
        t = np.nan_to_num(t - np.nansum(t, axis=1, keepdims=True) / np.maximum(number, 1)[:, None])
        top, below = np.sum(t * np.nan_to_num(x_NT), axis=1), np.sum(t * t, axis=1)
        return np.where(enough, top / np.maximum(below, 1e-300), np.nan)
    t = np.arange(x_NT.shape[1]) - (x_NT.shape[1] - 1) / 2
    return x_NT @ (t / max(float(t @ t), 1e-300))


def volatility(x_NT: Array) -> float:
    """Mean |x_{t+1} - x_t|, in the unit of the data; 0 where T = 1."""
    change = there(np.abs(np.diff(x_NT, axis=1)))
    return float(np.mean(change)) if change.size else 0.0


def temporal_statistics(x_NT: Array) -> dict[str, float]:
    """Lag-1 autocorrelation (per sequence, and pooled), volatility and trend of a feature."""
    own = sequence_autocorrelation(x_NT)
    trend = there(slopes(x_NT))
    trend = trend if trend.size else np.zeros(1)
    steps = x_NT.shape[1]
    return {
        "autocorr_lag1": float(np.nanmean(own)) if np.isfinite(own).any() else 0.0,
        "autocorr_lag1_pooled": float(pooled_autocorrelation(x_NT, 1)[1]) if steps > 1 else 0.0,
        "volatility": volatility(x_NT),
        "mean_trend": float(trend.mean()),
        "std_trend": float(trend.std()),
    }


def correlational_score(a_NTD: Array, b_NTD: Array) -> float:
    """|difference| of the feature correlation matrices, lower triangle with diagonal, summed, / 10.

    Diffusion-TS (Yuan and Qiao, ICLR 2024), section 4 and appendix; values are pooled over
    sequences and steps. Constant features count as uncorrelated. Steps count where all features
    are there.
    """
    correlations = []
    for x in (a_NTD, b_NTD):
        flat = x.reshape(-1, x.shape[2]).astype(np.float64)
        flat = flat[~np.isnan(flat).any(axis=1)] if np.isnan(flat).any() else flat
        flat = flat - flat.mean(axis=0)
        std = flat.std(axis=0)
        flat /= np.where(std > 0, std, 1.0)
        correlations.append(flat.T @ flat / len(flat))
    return float(np.abs(np.tril(correlations[0] - correlations[1])).sum() / 10)


def quick(real_NTD: Array, generated_NTD: Array) -> dict[str, float]:
    """A few figures for use during training, each the mean over features, lower is better.

    Distances and mean_error are in units of the real standard deviation of each feature; std_error
    is |std_b / std_a - 1|; autocorrelation_error is the |difference| of pooled lag-1
    autocorrelations. About 20 ms for two samples of 1,000 x 20 x 3.
    """
    pair = [np.asarray(x, dtype=np.float64) for x in (real_NTD, generated_NTD)]
    real, generated = (x.reshape(*x.shape[:2], -1) for x in pair)
    lag = min(1, real.shape[1] - 1)
    rows: list[dict[str, float]] = []
    for d in range(real.shape[2]):
        a, b = real[:, :, d], generated[:, :, d]
        found = there(a)
        scale = found.std()
        if found.min() == found.max():
            scale = max(abs(float(found.mean())), 1.0)
        a, b = (a - found.mean()) / scale, (b - found.mean()) / scale
        rho = [float(pooled_autocorrelation(x, lag)[lag]) for x in (a, b)]
        a, b = there(a), there(b)
        distance, transport = ks_and_wasserstein(a, b)
        rows.append(
            {
                "ks": distance,
                "wasserstein": transport,
                "js": js(a, b),
                "mean_error": abs(float(b.mean() - a.mean())),
                "std_error": abs(float(b.std() - a.std())),
                "skew_error": abs(_skewness(b) - _skewness(a)),
                "autocorrelation_error": abs(rho[1] - rho[0]),
            }
        )
    means = np.mean([list(row.values()) for row in rows], axis=0)
    return dict(zip(rows[0], means.tolist(), strict=True))


def _skewness(x: Array) -> float:
    z = x - x.mean()
    variance = float(np.mean(z * z))
    return float(np.mean(z * z * z)) / variance**1.5 if variance > 1e-18 else 0.0
