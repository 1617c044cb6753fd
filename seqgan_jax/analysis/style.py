"""What all pictures share: colours, line styles, sizes, ranges, densities.

Real is a solid dark blue, generated a dashed vermillion (after Okabe and Ito): they differ in hue,
in lightness and in line style, so that they survive colour-blindness and a black-and-white printer.
"""

import io
import re
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

Array = NDArray[Any]

BLUE, VERMILLION, GREY = "#0B4F8A", "#D55E00", "#777777"
REAL: dict[str, Any] = {"color": BLUE, "linestyle": "-", "linewidth": 2.0}
GENERATED: dict[str, Any] = {"color": VERMILLION, "linestyle": (0, (4, 1.6)), "linewidth": 2.0}
KINDS = ("real", "generated")
COLOURS = (BLUE, VERMILLION)
LINES = (REAL, GENERATED)
INK = "#1B1B1B"
# On a page what is drawn in a colour of the keys is in the page's own, light or dark.
ON_PAGE = {BLUE: "real", VERMILLION: "generated", GREY: "faint", INK: "ink"}
LIGHT = {"real": BLUE, "generated": VERMILLION, "faint": "#767676", "ink": INK}
DARK = {"real": "#74B7F0", "generated": "#FF9A57", "faint": "#9A9DA3", "ink": "#E6E7E9"}
VERDICTS = {"close": BLUE, "different": "#B8860B", "far": VERMILLION, "inconclusive": "#7A5BA8"}
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": 170,
}
SMALL: Any = STYLE | {  # of the pictures on the page, some of which stand side by side
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.4,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "axes.formatter.limits": (-3, 5),
    "svg.fonttype": "none",
    "svg.hashsalt": "",
    "font.sans-serif": ["DejaVu Sans"],
}
INCH = (76, 100)  # pixels of the page: where there is little room, at most


class Picture(Figure):
    """A figure that a notebook shows, also where pyplot was never loaded."""

    def _repr_png_(self) -> bytes:
        return png(self)


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    figure = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(rows, columns)).ravel())


def save(figure: Figure, path: Any) -> None:
    """Write a figure as PNG at the resolution of this module."""
    figure.savefig(path, format="png", dpi=STYLE["savefig.dpi"])


def png(figure: Figure) -> bytes:
    """A figure as a PNG file in memory."""
    buffer = io.BytesIO()
    save(figure, buffer)
    return buffer.getvalue()


def svg(figure: Figure, key: str, words: str) -> str:
    """A figure as a part of a page, in its colours and as wide as there is room.

    Args:
      figure: drawn with the style SMALL.
      key: begins its ids, which have to be unique on the page.
      words: what it shows, for those who do not see it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(SMALL):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    text = re.sub(r'<g id="\w+_\d+">', "<g>", text)
    text = re.sub(r'( id="|"#|\(#)', rf"\g<1>{key}-", text)
    for colour, name in ON_PAGE.items():
        text = re.sub(colour, f"var(--{name})", text, flags=re.I)
    box = re.search(r'viewBox="[^"]*"', text)
    inner = text[text.index(">") + 1 :]
    least, most = (f"{pixels * figure.get_figwidth():.0f}px" for pixels in INCH)
    assert box is not None
    return (
        f'<svg {box[0]} role="img" aria-label="{escape(words)}" '
        f'style="flex: 1 1 {least}; max-width: {most}">{inner}'
    )


def view(real: Array, generated: Array, tail: float = 0.001) -> tuple[float, float]:
    """A range that shows all but the outermost 0.1% of each sample, never empty.

    Generated values count up to one real range beyond the real data: one that diverged must not
    squeeze the real data into a line.
    """
    low, high = np.quantile(real, [tail, 1 - tail])
    other_low, other_high = np.quantile(generated, [tail, 1 - tail])
    span = high - low
    if span > 1e-9 * max(abs(low), abs(high), 1e-300):
        other_low, other_high = max(other_low, low - span), min(other_high, high + span)
    low, high = min(low, other_low), max(high, other_high)
    pad = 0.03 * (high - low)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        pad = max(abs(low), 1.0) * 0.05
    return float(low - pad), float(high + pad)


def outside(values: Array, low: float, high: float) -> str:
    """A remark where generated values lie beyond what is drawn."""
    share = float(np.mean((values < low) | (values > high)))
    return f"; {share:.1%} of generated beyond" if share > 0.005 else ""


def density(values: Array, low: float, high: float, points: int = 512) -> tuple[Array, Array]:
    """Gaussian kernel density on a grid, binned first (so its cost hardly grows with n).

    Bandwidth: Silverman's 0.9 min(std, IQR / 1.34) n^(-1/5), at least a bin, at most the range.
    """
    width = (high - low) / points
    counts, edges = np.histogram(values, bins=points, range=(low, high))
    spread, quartiles = values.std(), np.quantile(values, [0.25, 0.75])
    robust = (quartiles[1] - quartiles[0]) / 1.34
    spread = min(spread, robust) if robust > 0 else spread
    bandwidth = min(max(0.9 * spread * values.size**-0.2, width), high - low)
    smooth = gaussian_filter1d(counts.astype(float), bandwidth / width, mode="constant")
    return (edges[:-1] + edges[1:]) / 2, smooth / (values.size * width)


def heading(figure: Figure, report: "Report", title: str | None = None) -> None:
    """Legend with sample sizes above all panels, so that no panel needs its own."""
    handles = [
        Line2D([], [], **line, label=f"{kind} (n = {count:,} sequences)")
        for kind, line, count in zip(KINDS, LINES, report.counts, strict=True)
    ]
    legend = figure.legend(
        handles=handles, loc="outside upper center", ncols=2, handlelength=3, title=title
    )
    legend.set_zorder(5)


def short(name: str, most: int = 14) -> str:
    """The name, without its middle where it is too long: names often differ at their ends."""
    half = (most - 1) // 2
    name = name if len(name) <= most else f"{name[:half]}…{name[-half:]}"
    return name.replace("$", r"\$")  # which would begin a formula
