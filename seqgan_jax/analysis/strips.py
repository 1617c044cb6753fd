"""What a page shows of each column: a few real sequences over a few generated ones, values, memory.

Small figures in the style SMALL, made to stand side by side or, on a phone, one under the other.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seqgan_jax.analysis import bars, metrics
from seqgan_jax.analysis.style import (
    COLOURS,
    GREY,
    KINDS,
    LINES,
    SMALL,
    density,
    new_figure,
    outside,
    short,
    view,
)

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

Array = NDArray[Any]

SHOWN = 4  # sequences of each kind
WIDE, NARROW, HIGH = 4.5, 2.3, 2.3  # inches
APART = 0.12  # between sequences, of their length


def rows(count: int, number: int, seed: int) -> Array:
    """Which of `count` sequences are shown, at random; for all columns the same."""
    return np.random.default_rng(seed).permutation(count)[:number]


def film(ax: Axes, x_NT: Array, line: dict[str, Any]) -> None:
    """Sequences one after the other on one axis of time, a gap between them."""
    steps = x_NT.shape[1]
    gap = max(1, round(APART * steps))
    padded = np.pad(x_NT, ((0, 0), (0, gap)), constant_values=np.nan).ravel()[:-gap]
    ax.plot(np.arange(len(padded)), padded, **line)
    alone = np.pad(np.isnan(padded), 1, constant_values=True)
    alone = ~alone[1:-1] & alone[:-2] & alone[2:]
    if alone.any():  # no line leads to a value between two gaps
        ax.plot(np.flatnonzero(alone), padded[alone], ".", color=line["color"], markersize=5)
    for k in range(1, len(x_NT)):
        ax.axvline(k * (steps + gap) - (gap + 1) / 2, color=GREY, linewidth=0.6, linestyle=":")
    ax.set(xlim=(-gap / 2, len(padded) - 1 + gap / 2), xticks=[])


def sequences(report: "Report", d: int) -> Figure:
    """A few real sequences of a column over a few generated ones, on the same axes."""
    with matplotlib.rc_context(SMALL):
        figure, axes = new_figure(2, 1, (WIDE, HIGH))
        both = report.real_NTD[..., d], report.generated_NTD[..., d]
        shown = min(SHOWN, *map(len, both))
        drawn = [x_NT[rows(len(x_NT), shown, report.seed)] for x_NT in both]
        low, high = _range(both[0], *drawn)
        for ax, x_NT, line, kind in zip(axes, drawn, LINES, KINDS, strict=True):
            form = "steps-mid" if d in bars.categories(report) else "default"
            film(ax, x_NT, line | {"linewidth": 1.4, "linestyle": "-", "drawstyle": form})
            ax.set_title(kind, color=line["color"], fontweight="bold", pad=3)
            ax.set_ylim(low, high)
            there = metrics.there(x_NT)
            if there.size and not np.any((low <= there) & (there <= high)):
                words = f"beyond: {there.min():.4g} to {there.max():.4g}"
                ax.annotate(words, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
            if d in bars.categories(report):
                bars.name_ticks(ax, report, d)
            else:
                _ticks(ax, drawn[0])
        steps = report.real_NTD.shape[1]
        of_steps = f"{'up to ' * ('lengths' in report.absent)}{steps} step{'s' * (steps > 1)}"
        axes[1].set_xlabel(f"{shown} sequences of {of_steps} of each, at random")
    return figure


def _range(real_NT: Array, *drawn: Array) -> tuple[float, float]:
    """What shows all that is drawn but generated values beyond the real data by their range."""
    there = metrics.there(real_NT)
    low, high = there.min(), there.max()
    span = (high - low) or np.inf
    shown = metrics.there(np.concatenate([x.ravel() for x in drawn])).clip(low - span, high + span)
    return view(shown, shown, 0.0) if shown.size else view(there, there)


def _ticks(ax: Axes, x_NT: Array) -> None:
    whole = bool(np.all(metrics.there(x_NT) % 1 == 0))
    ax.yaxis.set_major_locator(MaxNLocator(3, integer=whole))


def _legend(ax: Axes) -> None:
    """Who is who, in the line of the title."""
    for points, kind, line in zip((-76, 0), ("— real", "- - generated"), LINES, strict=True):
        place: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
        style: Any = {"ha": "right", "va": "bottom", "fontsize": 8.5, "fontweight": "bold"}
        ax.annotate(kind, (1, 1), (points, 3), color=line["color"], **place, **style)


def values(report: "Report", d: int) -> Figure:
    """The density of a column's values, without those that have mass of their own."""
    with matplotlib.rc_context(SMALL):
        figure, (ax,) = new_figure(1, 1, (NARROW, HIGH))
        atoms = report.kinds[d].atoms if report.kinds else ()
        both = [metrics.there(x[..., d].ravel()) for x in (report.real_NTD, report.generated_NTD)]
        kept = [x[~np.isin(x, atoms)] for x in both]
        both = kept if all(x.size for x in kept) else both
        low, high = view(both[0], both[1])
        for x, line, colour in zip(both, LINES, COLOURS, strict=True):
            grid, height = density(x, low, high)
            ax.plot(grid, height, **line | {"linewidth": 1.5})
            ax.fill_between(grid, height, color=colour, alpha=0.13, linewidth=0)
        listed = ", ".join(f"{atom:.4g}" for atom in atoms)
        words = f"values other than {listed}" if atoms else "values"
        ax.set(ylim=(0, None), xlim=(low, high), yticks=[], ylabel="density")
        ax.set_xlabel(words + outside(both[1], low, high).replace("; ", "\n"))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        _legend(ax)
    return figure


def memory(report: "Report", d: int) -> Figure | None:
    """The autocorrelation of a column with its 95% bands; None where there is none."""
    curves = report.curves
    if report.kinds and report.kinds[d].static:
        return None
    if "real_autocorrelation" not in curves or curves["real_autocorrelation"].shape[1] < 2:
        return None
    with matplotlib.rc_context(SMALL):
        figure, (ax,) = new_figure(1, 1, (NARROW, HIGH))
        lags = np.arange(curves["real_autocorrelation"].shape[1])
        for kind, line, colour in zip(KINDS, LINES, COLOURS, strict=True):
            middle, low, high = (
                curves[f"{kind}_autocorrelation{end}"][d] for end in ("", "_low", "_high")
            )
            ax.plot(lags, middle, **line | {"linewidth": 1.5})
            ax.fill_between(lags, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.axhline(0, color=GREY, linewidth=0.7)
        ax.set(xlabel="lag (steps)", ylabel="autocorrelation", xlim=(0, lags[-1]))
        ax.set_ylim(min(-0.1, ax.get_ylim()[0]), 1.02)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _legend(ax)
    return figure


def side_by_side(
    real_NTD: Array,
    generated_NTD: Array,
    names: Sequence[str],
    *,
    words: Sequence[Sequence[str]] = (),
    shown: int = 3,
    seed: int = 0,
) -> Figure:
    """A few real sequences beside a few generated ones, a row of axes for each column.

    Args:
      real_NTD, generated_NTD: sequences of T steps and D columns, in data units.
      names: of the columns.
      words: of each column what its codes 0, 1, ... stand for, () of numbers; () for none.
      shown: sequences of each, at random, the same ones for all columns.
      seed: of which.
    """
    with matplotlib.rc_context(SMALL | {"font.size": 10}):
        figure = new_figure(1, 1, (8.0, 0.7 + 1.15 * len(names)))[0]
        figure.clear()
        axes = figure.subplots(len(names), 2, squeeze=False, sharey="row")
        for d, pair in enumerate(axes):
            drawn = [x[rows(len(x), shown, seed)][..., d] for x in (real_NTD, generated_NTD)]
            for ax, x_NT, line in zip(pair, drawn, LINES, strict=True):
                form = "steps-mid" if words and words[d] else "default"
                film(ax, x_NT, line | {"linewidth": 1.3, "linestyle": "-", "drawstyle": form})
            pair[0].set_ylim(*_range(real_NTD[..., d], *drawn))
            pair[0].set_ylabel(short(names[d], 16))
            _ticks(pair[0], drawn[0])
            if words and words[d]:
                pair[0].set_yticks(range(len(words[d])), [short(w) for w in words[d]])
        for ax, kind, colour in zip(axes[0], KINDS, COLOURS, strict=True):
            ax.set_title(kind, color=colour, fontweight="bold")
        for ax in axes[-1]:
            ax.set_xlabel(f"{shown} sequences of {real_NTD.shape[1]} steps")
    return figure
