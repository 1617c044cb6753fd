"""The means of `averages` where values are absent: sums over what is there, over how much that is.

A mean over all present values, steps or pairs of a sample is sum_n w_n s_n / sum_n w_n c_n, with
s_n the sum and c_n the number in sequence n: one product of weights more than `averages` needs.

Shapes: N sequences, T steps, D columns, L lags, R rows of weights, K numbers.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import absent, metrics

if TYPE_CHECKING:
    from seqgan_jax.analysis.averages import Bins

Array = NDArray[Any]

LEAST = 20  # values at a step, or pairs at a lag, in each sample
LOWEST = 1e-2  # of the mean power: what is below is the noise of an estimate from pairs


@dataclass(frozen=True)
class Support:
    """What both samples have enough of.

    Args:
      steps_S: the steps where every column has LEAST values.
      lags_DL: which lags of a column have LEAST pairs; no figure counts the others.
      ends: whether sequences end.
    """

    steps_S: Array
    lags_DL: Array
    ends: bool

    def note(self, steps: int) -> str:
        """What is left out for want of values, in words; "" where nothing is."""
        said = []
        if len(self.steps_S) < steps:
            left = "of these" if len(self.steps_S) else "left out"
            said.append(
                f"{len(self.steps_S)} of {steps} steps have {LEAST} values or more of every "
                f"column, real and generated: figures of each step are {left}."
            )
        few = np.count_nonzero(~self.lags_DL)
        if few:
            said.append(
                f"At {few} of {self.lags_DL.size} lags (of all columns) there are fewer than "
                f"{LEAST} pairs of values: they count in no figure."
            )
        return " ".join(said)


def support(z_real: Array, z_generated: Array, lags: int, ends: bool) -> Support:
    """What two samples have enough of; of fewer than 2 LEAST sequences, half of them are enough."""
    least = min(LEAST, *(max(2, len(z) // 2) for z in (z_real, z_generated)))
    there = [~np.isnan(z) for z in (z_real, z_generated)]
    steps_T = np.all([x.sum(axis=0) >= least for x in there], axis=(0, 2))
    features = z_real.shape[2]
    lags_LD = np.ones((lags, features), bool)
    for lag in range(1, lags + 1):
        for x in there:
            lags_LD[lag - 1] &= (x[:, :-lag] & x[:, lag:]).sum(axis=(0, 1)) >= least
    longest = int(np.flatnonzero(lags_LD.any(axis=1)).max(initial=-1)) + 1
    return Support(np.flatnonzero(steps_T), lags_LD[:longest].T, ends)


def edges(z_real: Array, z_generated: Array, bins: int, most: int) -> Array:
    """Quantile edges of the values that are there, as many of each sample -> [D, bins + 1]."""
    out = np.zeros((z_real.shape[2], bins + 1))
    for d in range(len(out)):
        both = [metrics.there(z[..., d]).ravel() for z in (z_real, z_generated)]
        size = min(most, *map(len, both))
        if size == 0:
            continue
        thin = [x[np.linspace(0, len(x) - 1, size).round().astype(int)] for x in both]
        out[d] = np.quantile(np.concatenate(thin), np.arange(bins + 1) / bins, method="higher")
        out[d, 0], out[d, -1] = min(x.min() for x in both), max(x.max() for x in both)
    return out


def step_edges(z_real: Array, z_generated: Array, steps_S: Array, bins: int) -> Array:
    """Edges of the values at each step -> [D, S, bins + 1]."""
    out = np.zeros((z_real.shape[2], len(steps_S), bins + 1))
    for d in range(len(out)):
        for s, t in enumerate(steps_S):
            both = [metrics.there(z[:, t, d]) for z in (z_real, z_generated)]
            size = min(map(len, both))
            pooled = np.sort(np.concatenate([x[:size] for x in both]))
            out[d, s] = pooled[np.linspace(0, len(pooled) - 1, bins + 1).round().astype(int)]
    return out


def bin_counts(z_NT: Array, edges: Array, bins: int) -> Array:
    """How many of each row's values are in each bin -> float32 [N, bins]."""
    rows, steps = np.nonzero(~np.isnan(z_NT))
    flat = np.searchsorted(edges[1:-1], z_NT[rows, steps]) + bins * rows
    return np.bincount(flat, minlength=len(z_NT) * bins).reshape(-1, bins).astype(np.float32)


def _step_counts(z_NT: Array, edges_SK: Array, steps_S: Array) -> Array:
    """One-hot bin of each value among its own step's bins -> float32 [N, S * bins]."""
    bins = edges_SK.shape[1] - 1
    parts = [
        bin_counts(z_NT[:, t : t + 1], edges, bins)
        for t, edges in zip(steps_S, edges_SK, strict=True)
    ]
    return np.concatenate([np.zeros((len(z_NT), 0), np.float32), *parts], axis=1)


def _lags(z_NT: Array, is_there_NT: Array, wanted_L: Array) -> tuple[Array, Array]:
    """Sums over pairs of early, late, early^2, late^2, early * late -> [N, 5 L], and their number,
    [N, L]."""
    sums, counts = np.zeros((len(z_NT), len(wanted_L), 5)), np.zeros((len(z_NT), len(wanted_L)))
    for k in np.flatnonzero(wanted_L):
        lag = k + 1
        both = is_there_NT[:, :-lag] & is_there_NT[:, lag:]
        early, late = (np.where(both, x, 0.0) for x in (z_NT[:, :-lag], z_NT[:, lag:]))
        each = (early, late, early**2, late**2, early * late)
        sums[:, k] = np.stack([x.sum(axis=1) for x in each], axis=1)
        counts[:, k] = both.sum(axis=1)
    return sums.reshape(len(z_NT), -1), counts


def _dynamics(z_NT: Array, pairs: bool) -> tuple[Array, Array]:
    """The numbers of `averages._dynamics` as sums and counts, [N, 8] both."""
    sums, counts = np.zeros((len(z_NT), 8)), np.zeros((len(z_NT), 8))
    own, slope = metrics.sequence_autocorrelation(z_NT), metrics.slopes(z_NT)
    is_sloped = np.isfinite(slope)
    slope = np.where(is_sloped, slope, 0.0)
    counts[:, :2], counts[:, 2:4] = 1.0, is_sloped[:, None]
    sums[:, :4] = np.stack([np.nan_to_num(own), np.isfinite(own), slope, slope**2], axis=1)
    if pairs:
        change = np.diff(z_NT, axis=1)
        counts[:, 4:] = (~np.isnan(change)).sum(axis=1)[:, None]
        change = np.nan_to_num(change)
        each = (np.abs(change), change, change**2, change**3)
        sums[:, 4:] = np.stack([x.sum(axis=1) for x in each], axis=1)
    return sums, counts


def _pair_sums(x_NT: Array) -> Array:
    """sum_t x_t x_{t+l} of each row, l = 0..T-1 -> [N, T]."""
    steps = x_NT.shape[1]
    power = np.abs(np.fft.rfft(x_NT, 2 * steps, axis=1)) ** 2
    return np.fft.irfft(power, 2 * steps, axis=1)[:, :steps]


def _phi(bins: "Bins", d: int, z_NT: Array, inside_NT: Array) -> dict[str, tuple[Array, Array]]:
    """Sums [N, K] and counts of everything of feature d whose means are wanted; a count is of as
    many sums as there are more of them."""
    from seqgan_jax.analysis.averages import VALUE_BINS

    held = bins.support
    assert held is not None
    is_there = ~np.isnan(z_NT)
    z, number = np.where(is_there, z_NT, 0.0), is_there.sum(axis=1).astype(float)[:, None]
    pairs = bool(held.lags_DL.shape[1] and held.lags_DL[d, 0])
    change = np.diff(z_NT, axis=1) if pairs else np.full((len(z_NT), 1), np.nan)
    steps = _step_counts(z_NT, bins.steps_DTK[d], held.steps_S)
    at_steps = is_there[:, held.steps_S].astype(np.float32)
    number_of_pairs = (~np.isnan(change)).sum(axis=1).astype(float)[:, None]
    powers = np.stack([(z**k).sum(axis=1) for k in (1, 2, 3, 4)], axis=1)
    return {
        "values": (bin_counts(z_NT, bins.values_DK[d], VALUE_BINS), number),
        "steps": (steps, at_steps),
        "increments": (bin_counts(change, bins.increments_DK[d], VALUE_BINS), number_of_pairs),
        "powers": (powers, number),
        "lags": _lags(z, is_there, held.lags_DL[d]),
        "dynamics": _dynamics(z_NT, pairs),
        "products_of_lags": (_pair_sums(z), np.rint(_pair_sums(is_there.astype(float)))),
        "pairs_inside": (
            np.rint(_pair_sums(inside_NT.astype(float))),
            inside_NT.sum(axis=1).astype(float)[:, None],
        ),
    }


def _spectrum(products_RDT: Array, shares_RDT: Array) -> Array:
    """Mean periodogram from mean products of pairs at each lag -> [R, D, T // 2].

    S(k) = sum_l (2 - [l = 0]) s_l C_l cos(2 pi k l / T), with C_l the mean product and s_l the
    pairs at lag l for each step: (T - l) / T where sequences do not end. Without gaps it is the
    periodogram; with gaps independent of the values its mean is the same.
    """
    steps = products_RDT.shape[2]
    lag = np.arange(steps)
    waves = np.cos(2 * np.pi * np.outer(lag, np.arange(1, steps // 2 + 1)) / steps)
    power = (products_RDT * shares_RDT * np.where(lag > 0, 2.0, 1.0)) @ waves
    least = LOWEST * np.maximum(power.mean(axis=-1, keepdims=True), 0.0) + 1e-12
    return np.maximum(power, least) if steps > 1 else power


def sequence_means(bins: "Bins", z_NTD: Array, weights_RN: Array) -> dict[str, Array]:
    """`averages.sequence_means` of sequences with absent values; where a row of weights has nothing
    of a kind (no value at a step), the mean of all sequences."""
    from seqgan_jax.analysis.averages import CHUNK

    held = bins.support
    assert held is not None
    total, _, features = z_NTD.shape
    weights_RN = np.concatenate([weights_RN.astype(np.float64), np.ones((1, total))])
    weights_RN /= weights_RN.sum(axis=1, keepdims=True)
    sums: dict[str, list[Any]] = defaultdict(lambda: [[0.0, 0.0] for _ in range(features)])

    def add(name: str, d: int, phi: tuple[Array, Array], weights: Array) -> None:
        for k, each in enumerate(phi):
            sums[name][d][k] += weights.astype(each.dtype, copy=False) @ each

    for start in range(0, total, CHUNK):
        z, weights = z_NTD[start : start + CHUNK], weights_RN[:, start : start + CHUNK]
        inside = absent.inside(z, held.ends)
        for d in range(features):
            for name, phi in _phi(bins, d, np.ascontiguousarray(z[..., d]), inside).items():
                add(name, d, phi, weights)
        if features > 1:
            there, zero = (~np.isnan(z)).astype(float), np.nan_to_num(z)
            pairs = {"products": (slice(None), slice(None))}
            if held.lags_DL.shape[1]:
                pairs["lagged_products"] = (slice(None, -1), slice(1, None))
            for name, (early, late) in pairs.items():
                phi = tuple(
                    np.matmul(x[:, early].transpose(0, 2, 1), x[:, late]).reshape(len(x), -1)
                    for x in (zero, there)
                )
                add(name, 0, phi, weights)
    means = {}
    for name, columns in sums.items():
        if name.endswith("products"):
            means[name] = _ratio(*columns[0]).reshape(-1, features, features)
        else:
            means[name] = np.stack([_ratio(*each) for each in columns], axis=1)
    means["spectrum"] = _spectrum(means.pop("products_of_lags"), means.pop("pairs_inside"))
    return means


def _ratio(sums_RK: Array, counts_RK: Array) -> Array:
    """Means, of the rows but the last; that of the last, of all sequences, where there is none."""
    times = sums_RK.shape[1] // max(1, counts_RK.shape[1])
    number = np.repeat(counts_RK, times, axis=1)
    means: Array = np.where(number > 1e-12, sums_RK / np.maximum(number, 1e-12), np.nan)
    every = np.nan_to_num(means[-1:])
    return np.where(np.isnan(means[:-1]), every, means[:-1])
