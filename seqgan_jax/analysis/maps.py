"""All sequences as points of a plane, as the field prints them: principal components or t-SNE.

Shapes: N sequences, T steps, K numbers of a sequence, L categories.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import linalg

from seqgan_jax.analysis import averages, bars
from seqgan_jax.analysis.strips import rows
from seqgan_jax.analysis.style import BLUE, KINDS, SMALL, VERMILLION, new_figure, view

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

Array = NDArray[Any]

MOST_FITTED, MOST_SHOWN = 500, 300  # sequences of each kind
SIZE = (4.5, 4.1)  # inches
PERPLEXITY, ROUNDS, EARLY, BISECTIONS = 30.0, 750, 12.0, 60  # of t-SNE


def components(real_NK: Array, *others: Array) -> tuple[list[Array], Array]:
    """The first two principal components of real rows, and what they say of all rows.

    x -> ((x - m) . v_1, (x - m) . v_2), with m the mean of the real rows and v_1, v_2 the unit
    vectors along which these vary most, each with its largest entry above 0.

    Args:
      real_NK: rows that they are found in, at least two.
      others: rows that they are also applied to.
    Returns:
      coordinates [N, 2] of real_NK and of each of `others`, and the shares of the variance of the
      real rows that the two have. A component along which real rows do not vary is 0.
    """
    mean_K = real_NK.mean(axis=0)
    centred_NK = real_NK - mean_K
    products_NN = centred_NK @ centred_NK.T  # rows are few, and their numbers may be many
    last = len(products_NN) - 1
    # The driver that does not look at the others, of which many may be 0.
    power, vectors_N2 = linalg.eigh(products_NN, subset_by_index=[last - 1, last], driver="evx")
    power, vectors_N2 = power[::-1], vectors_N2[:, ::-1]
    total = float(np.trace(products_NN))
    there = power > 1e-12 * total
    axes_K2 = centred_NK.T @ vectors_N2 * (there / np.sqrt(np.where(there, power, 1.0)))
    largest = np.abs(axes_K2).argmax(axis=0)[None]
    axes_K2 = axes_K2 * np.sign(np.take_along_axis(axes_K2, largest, 0))
    shares = np.where(there, power / (total or 1.0), 0.0)
    return [(x - mean_K) @ axes_K2 for x in (real_NK, *others)], shares


def as_rows(report: "Report", most: int) -> tuple[Array, Array]:
    """At most `most` real and generated sequences as rows of numbers, in real stds.

    A category is 1 in a column of its own and 0 in the others of its column. What is absent is
    where real values of the step are on average.
    """
    scales = averages.units(report.real_NTD)
    found: list[list[Array]] = [[], []]
    samples = [x[rows(len(x), most, report.seed)] for x in (report.real_NTD, report.generated_NTD)]
    for d in range(len(report.names)):
        for parts, x_NTD in zip(found, samples, strict=True):
            x_NT = x_NTD[..., d]
            if d in bars.categories(report):
                levels_L = np.array(report.kinds[d].levels)
                is_NTL = (x_NT[..., None] == levels_L).astype(float)
                is_NTL[np.isnan(x_NT)] = np.nan
                parts.append(is_NTL.reshape(len(x_NT), -1))
            else:
                parts.append((x_NT - scales.mean_D[d]) / scales.scale_D[d])
    real_NK, generated_NK = (np.concatenate(parts, axis=1) for parts in found)
    there_NK = ~np.isnan(real_NK)
    mean_K = np.where(there_NK, real_NK, 0).sum(axis=0) / np.maximum(there_NK.sum(axis=0), 1)
    real_NK, generated_NK = (np.where(np.isnan(x), mean_K, x) for x in (real_NK, generated_NK))
    return real_NK, generated_NK


def principal(report: "Report") -> Figure:
    """Real and generated sequences by the first two principal components of the real ones."""
    both_N2, shares = components(*as_rows(report, MOST_FITTED))
    first, second = (f"component ({share:.0%} of the real variance)" for share in shares)
    return _drawn(both_N2, (f"first {first}", f"second {second}"))


def neighbours(report: "Report") -> Figure:
    """Real and generated sequences on one map by t-SNE, see `embedded`."""
    both = as_rows(report, MOST_SHOWN)
    found_N2 = embedded(np.concatenate(both))
    return _drawn((found_N2[: len(both[0])], found_N2[len(both[0]) :]))


def _drawn(both_N2: Sequence[Array], labels: Sequence[str] = ()) -> Figure:
    with matplotlib.rc_context(SMALL):
        figure, (ax,) = new_figure(1, 1, SIZE)
        styles: tuple[Any, Any] = (
            {"marker": "o", "color": BLUE, "markerfacecolor": "none", "markersize": 4.5},
            {"marker": "x", "color": VERMILLION, "markersize": 4.5},
        )
        real_N2, generated_N2 = (x_N2[:MOST_SHOWN] for x_N2 in both_N2)
        ranges = [view(real_N2[:, k], generated_N2[:, k], 0.0) for k in (0, 1)]
        low_2, high_2 = np.transpose(ranges)
        for kind, x_N2, style in zip(KINDS, (real_N2, generated_N2), styles, strict=True):
            beyond = float(np.mean(np.any((x_N2 < low_2) | (x_N2 > high_2), axis=1)))
            words = f"{kind} ({len(x_N2)} sequences{f', {beyond:.0%} beyond' * (beyond > 0)})"
            more: Any = {"linestyle": "none", "markeredgewidth": 1.0, "alpha": 0.8, "label": words}
            ax.plot(*x_N2.T, **style, **more)
        ax.set(xlim=ranges[0], ylim=ranges[1])
        if labels:
            ax.set(xlabel=labels[0], ylabel=labels[1])
        else:  # places have no unit
            ax.set(xticks=[], yticks=[])
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2, borderaxespad=0.2)
    return figure


def affinities(x_NK: Array, perplexity: float) -> Array:
    """How near sequences are to each other, p_ij, as t-SNE has it -> [N, N], of sum 1.

    p_ij = (p_j|i + p_i|j) / 2N with p_j|i proportional to exp(-b_i |x_i - x_j|^2), j != i, and b_i
    such that exp(-sum_j p_j|i log p_j|i) is the perplexity.
    """
    distance_NN = np.sum(x_NK**2, axis=1)[:, None] - 2 * x_NK @ x_NK.T
    distance_NN = np.maximum(distance_NN + np.sum(x_NK**2, axis=1), 0.0)
    np.fill_diagonal(distance_NN, np.inf)
    # None so near that exp is 0 for all; the unit is that of the distances.
    distance_NN -= distance_NN.min(axis=1, keepdims=True)
    low_N1, high_N1 = np.full((2, len(x_NK), 1), [[[-40.0]], [[40.0]]])  # of log b
    finite_NN = np.where(np.isinf(distance_NN), 0.0, distance_NN)
    for _ in range(BISECTIONS):
        log_b_N1 = (low_N1 + high_N1) / 2
        p_NN = np.exp(-np.exp(log_b_N1) * distance_NN)
        total_N1 = p_NN.sum(axis=1, keepdims=True)
        mean_N1 = np.sum(p_NN * finite_NN, axis=1, keepdims=True) / total_N1
        entropy_N1 = np.log(total_N1) + np.exp(log_b_N1) * mean_N1
        too_many = entropy_N1 > np.log(perplexity)
        low_N1 = np.where(too_many, log_b_N1, low_N1)
        high_N1 = np.where(too_many, high_N1, log_b_N1)
    p_NN /= total_N1
    joint_NN: Array = (p_NN + p_NN.T) / (2 * len(p_NN))
    return joint_NN


def slope(p_NN: Array, y_N2: Array, more: float = 1.0) -> tuple[Array, Array]:
    """Gradient of KL(p || q) in the places y, and q: q_ij proportional to 1 / (1 + |y_i - y_j|^2).

    grad_i = 4 sum_j (more p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2); `more` is 1 of the KL.
    """
    square_N = np.sum(y_N2**2, axis=1)
    near_NN = 1 / (1 + square_N[:, None] + square_N - 2 * y_N2 @ y_N2.T)
    np.fill_diagonal(near_NN, 0.0)
    q_NN = near_NN / near_NN.sum()
    pull_NN = (more * p_NN - q_NN) * near_NN
    return 4 * (pull_NN.sum(axis=1)[:, None] * y_N2 - pull_NN @ y_N2), q_NN


def embedded(x_NK: Array) -> Array:
    """Places in the plane such that near rows are near: t-SNE (van der Maaten and Hinton 2008).

    All N^2 pairs, from the principal components, so that nothing is random; the affinities count
    EARLY times at first. Of far rows, and of the sizes of groups, the map says nothing.
    """
    p_NN = affinities(x_NK, min(PERPLEXITY, (len(x_NK) - 1) / 3))
    (y_N2,), _ = components(x_NK)
    y_N2 = 1e-4 * y_N2 / (y_N2[:, 0].std() or 1.0)
    rate = max(len(x_NK) / EARLY / 4, 50.0)
    speed_N2, gain_N2 = np.zeros_like(y_N2), np.ones_like(y_N2)
    for n in range(ROUNDS):
        is_early = n < ROUNDS // 4
        slope_N2, _ = slope(p_NN, y_N2, EARLY if is_early else 1.0)
        against = np.sign(slope_N2) != np.sign(speed_N2)
        gain_N2 = np.maximum(np.where(against, gain_N2 + 0.2, 0.8 * gain_N2), 0.01)
        speed_N2 = (0.5 if is_early else 0.8) * speed_N2 - rate * gain_N2 * slope_N2
        y_N2 = y_N2 + speed_N2
    return y_N2 - y_N2.mean(axis=0)
