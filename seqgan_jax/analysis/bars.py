"""What pictures show of categories, in place of densities: pairs of bars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seqgan_jax.analysis import metrics
from seqgan_jax.analysis.partial import LEAST
from seqgan_jax.analysis.style import COLOURS, KINDS, LINES, short
from seqgan_jax.data.kind import CATEGORICAL

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

Array = NDArray[Any]

MOST_BARS = 12
MOST_TICKS = 8
SHARE = "share of "  # what the shares of categories are called, see `bykind.table`


def categories(report: "Report") -> list[int]:
    """Columns whose values have no size."""
    return [d for d, kind in enumerate(report.kinds) if kind.name == CATEGORICAL]


def numbers(report: "Report") -> list[int]:
    """The other columns; all where there are none."""
    those = [d for d in range(len(report.names)) if d not in categories(report)]
    return those or list(range(len(report.names)))


def without_atoms(report: "Report", real: Array, generated: Array) -> tuple[Array, Array]:
    """Both samples as drawn, without values that have mass of their own: they are no density."""
    kept: list[list[Array]] = [[], []]
    for d in range(len(report.names)):
        atoms = report.kinds[d].atoms if report.kinds else ()
        for out, x, drawn in zip(
            kept, (report.real_NTD, report.generated_NTD), (real, generated), strict=True
        ):
            out.append(metrics.there(drawn[..., d][~np.isin(x[..., d], atoms)]))
    first, second = (np.concatenate(each) for each in kept)
    if first.size and second.size:
        return first, second
    return metrics.there(real.ravel()), metrics.there(generated.ravel())


def _pairs_of_bars(ax: Axes, bars: Sequence[tuple[str, float, float]], title: str) -> None:
    """Real and generated side by side, those that differ most; the title says so."""
    shown = sorted(bars, key=lambda bar: -abs(bar[1] - bar[2]))[:MOST_BARS]
    shown = [bar for bar in bars if bar in shown]
    x = np.arange(len(shown))
    for k, (offset, colour, hatch) in enumerate(
        zip((-0.2, 0.2), COLOURS, (None, "//"), strict=True)
    ):
        heights = [bar[k + 1] for bar in shown]
        face = colour if hatch is None else "white"
        ax.bar(x + offset, heights, 0.38, color=face, edgecolor=colour, hatch=hatch)
    remark = f" ({len(shown)} most different of {len(bars)})" if len(shown) < len(bars) else ""
    ax.set(title=title + remark, ylabel="share")
    ax.set_xticks(x, [short(bar[0], 18) for bar in shown], rotation=40, ha="right")


def shares(ax: Axes, report: "Report") -> None:
    """The shares of the categories of all columns that have some."""
    columns = [report.names[d] for d in categories(report)]
    bars = []
    for name in columns:
        real, generated = (report.of_kinds[name][side] for side in KINDS)
        for key in real:
            if key.startswith(SHARE) and (real[key] or generated[key]):
                word = key.removeprefix(SHARE)
                words = f"{name}: {word}" if len(columns) > 1 else word
                bars.append((words, real[key], generated[key]))
    _pairs_of_bars(ax, bars, "Categories" + (f" of {short(columns[0])}" * (len(columns) == 1)))


def transitions(ax: Axes, report: "Report", d: int) -> None:
    """What follows each category, as shares of the steps from it."""
    entry = report.of_kinds[report.names[d]]
    real, generated = (entry["transitions"][side] for side in KINDS)
    bars = [
        (f"{a} → {b}", real[i][j], generated[i][j])
        for i, a in enumerate(entry["states"])
        for j, b in enumerate(entry["states"])
        if real[i][j] or generated[i][j]
    ]
    _pairs_of_bars(ax, bars, "Next category")


def words(report: "Report", d: int) -> list[str]:
    """What the levels of a column of categories are called, in their order."""
    levels, listed = report.kinds[d].levels, report.of_kinds[report.names[d]]["real"]
    named = [key.removeprefix(SHARE) for key in listed if key.startswith(SHARE)][:-1]
    return named if len(named) == len(levels) else [f"{level:.6g}" for level in levels]


def share_of_steps(ax: Axes, report: "Report", d: int, real: Array, generated: Array) -> None:
    """The share at each step of the category whose shares differ most."""
    levels = report.kinds[d].levels
    there = [metrics.there(x) for x in (real, generated)]
    gaps = [abs(np.mean(there[0] == level) - np.mean(there[1] == level)) for level in levels]
    worst = int(np.argmax(gaps))
    steps = np.arange(1, real.shape[1] + 1)
    for values, line in zip((real, generated), LINES, strict=True):
        number = (~np.isnan(values)).sum(axis=0)
        share = (values == levels[worst]).sum(axis=0) / np.maximum(number, 1)
        ax.plot(steps, np.where(number >= min(LEAST, len(values) // 2), share, np.nan), **line)
    ax.set(title=f"Share of {short(words(report, d)[worst], 24)} at each step", ylim=(0, None))
    ax.set(xlabel="step", ylabel="share")


def name_ticks(ax: Axes, report: "Report", d: int) -> None:
    """Categories along the vertical axis, where these are few."""
    levels = report.kinds[d].levels
    if len(levels) <= MOST_TICKS:
        ax.set_yticks(levels, [short(word) for word in words(report, d)])
