"""All sequences as points of a plane, as the field prints them: principal components.

Shapes: N sequences, T steps, K numbers of a sequence, L categories.
"""

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
    (real_N2, generated_N2), shares = components(*as_rows(report, MOST_FITTED))
    with matplotlib.rc_context(SMALL):
        figure, (ax,) = new_figure(1, 1, SIZE)
        styles: tuple[Any, Any] = (
            {"marker": "o", "color": BLUE, "markerfacecolor": "none", "markersize": 4.5},
            {"marker": "x", "color": VERMILLION, "markersize": 4.5},
        )
        for kind, x_N2, style in zip(KINDS, (real_N2, generated_N2), styles, strict=True):
            drawn = x_N2[:MOST_SHOWN]
            words = f"{kind} ({len(drawn)} sequences)"
            more: Any = {"linestyle": "none", "markeredgewidth": 1.0, "alpha": 0.8, "label": words}
            ax.plot(*drawn.T, **style, **more)
        real_N2, generated_N2 = real_N2[:MOST_SHOWN], generated_N2[:MOST_SHOWN]
        ranges = [view(real_N2[:, k], generated_N2[:, k], 0.0) for k in (0, 1)]
        first, second = (f"component ({share:.0%} of the real variance)" for share in shares)
        ax.set(xlim=ranges[0], ylim=ranges[1], xlabel=f"first {first}", ylabel=f"second {second}")
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2, borderaxespad=0.2)
    return figure
