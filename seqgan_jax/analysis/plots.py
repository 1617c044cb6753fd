"""The pictures: figures are returned, never shown, and drawn without a display."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seqgan_jax.analysis import bars, metrics
from seqgan_jax.analysis.partial import LEAST
from seqgan_jax.analysis.style import (
    BLUE,
    COLOURS,
    GENERATED,
    GREY,
    KINDS,
    LINES,
    REAL,
    STYLE,
    VERMILLION,
    density,
    heading,
    new_figure,
    outside,
    png,
    save,
    short,
    view,
)
from seqgan_jax.errors import DataError

__all__ = ["distributions", "fan", "png", "save", "temporal", "training_metrics"]

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

Array = NDArray[Any]

MOST_FEATURES = 8
MOST_GAP = 3.0  # real stds; statistics further out are drawn at the edge


def _units(report: "Report") -> tuple[Array, Array, str]:
    """Both samples as drawn, and the axis label: data units for D = 1, else real stds."""
    real, generated = report.real_NTD, report.generated_NTD
    if real.shape[2] == 1:
        return real, generated, _value_label(report.names[0])
    from seqgan_jax.analysis.averages import units

    scales = units(real)
    z_real, z_generated = ((x - scales.mean_D) / scales.scale_D for x in (real, generated))
    return z_real, z_generated, "value (real std from mean)"


def _value_label(name: str) -> str:
    return f"{'value' if name == 'x' else short(name, 26)} (data units)"


def distributions(report: "Report") -> Figure:
    """Six panels on values: histogram, density, Q-Q, boxes, CDF, statistics.

    Where columns are categories, their shares stand in place of the density.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(2, 3, (12.0, 7.2))
        real, generated, label = _units(report)
        some = bars.numbers(report)
        flat = metrics.there(real[..., some].ravel()), metrics.there(generated[..., some].ravel())
        low, high = view(*flat)
        _histogram(axes[0], flat, low, high)
        if bars.categories(report):
            bars.shares(axes[1], report)
        else:
            _densities(axes[1], bars.without_atoms(report, real, generated), low, high)
            if any(kind.atoms for kind in report.kinds):
                axes[1].set(title="Kernel density, without atoms")
        _quantiles(axes[2], flat, low, high, label)
        _boxes(axes[3], report, real, generated, label)
        _cdf(axes[4], report, flat, low, high)
        _statistics(axes[5], report)
        for ax in (axes[0], axes[4], *axes[1:2] * (not bars.categories(report))):
            ax.set(xlabel=label, xlim=(low, high))
        heading(figure, report)
    return figure


def _histogram(ax: Axes, flat: tuple[Array, Array], low: float, high: float) -> None:
    edges = np.linspace(low, high, 51)
    # Shares of all values, so that what lies beyond the picture does not lift what is in it.
    heights = [np.histogram(x, edges)[0] / (x.size * (edges[1] - edges[0])) for x in flat]
    ax.stairs(heights[0], edges, fill=True, color=BLUE, alpha=0.35)
    ax.stairs(heights[1], edges, **GENERATED)
    ax.set(title="Histogram" + outside(flat[1], low, high), ylabel="density")


def _densities(ax: Axes, flat: tuple[Array, Array], low: float, high: float) -> None:
    for values, line, colour in zip(flat, LINES, COLOURS, strict=True):
        x, y = density(values, low, high)
        ax.plot(x, y, **line)
        ax.fill_between(x, y, color=colour, alpha=0.12, linewidth=0)
    ax.set(title="Kernel density", ylabel="density")
    ax.set_ylim(bottom=0)


def _quantiles(ax: Axes, flat: tuple[Array, Array], low: float, high: float, label: str) -> None:
    levels = np.concatenate([[0.001, 0.003], np.linspace(0.01, 0.99, 99), [0.997, 0.999]])
    ax.plot([low, high], [low, high], color=GREY, linewidth=1.2, linestyle=":")
    pairs = (np.quantile(x, levels) for x in flat)
    ax.plot(*pairs, "o", color=VERMILLION, markersize=4.5, markerfacecolor="none")
    ax.set(title="Q-Q (0.1% to 99.9%)", xlabel="real quantiles", ylabel="generated quantiles")
    ax.set(xlim=(low, high), ylim=(low, high))
    unit = label[label.rindex("(") + 1 : -1]
    style: Any = {"ha": "right", "fontsize": 9, "color": GREY}
    ax.annotate(unit, (0.97, 0.03), xycoords="axes fraction", **style)


def _shown_features(report: "Report", most: int = MOST_FEATURES) -> tuple[list[int], str]:
    """Features to draw: all, or those with the largest KS; and a remark for the title."""
    count = len(report.names)
    if count <= most:
        return list(range(count)), ""
    ks = report.metrics["ks"].per_feature
    order = sorted(range(count), key=lambda d: -ks[report.names[d]])[:most]
    return order, f" ({most} worst of {count})"


def _boxes(ax: Axes, report: "Report", real: Array, generated: Array, label: str) -> None:
    shown, remark = _shown_features(report)
    low, high = view(metrics.there(real[..., shown]), metrics.there(generated[..., shown]))
    span, x = high - low, np.arange(len(shown))
    for offset, values, colour, line in zip(
        (-0.19, 0.19), (real, generated), COLOURS, ("-", "--"), strict=True
    ):
        levels = [0.01, 0.25, 0.5, 0.75, 0.99]
        q = np.stack([np.quantile(metrics.there(values[..., d]), levels) for d in shown], axis=1)
        # A dashed line that ends far outside the picture takes minutes to draw.
        columns = q.clip(low - span, high + span).T
        names = ("whislo", "q1", "med", "q3", "whishi")
        style = {"color": colour, "linestyle": line, "linewidth": 1.6}
        ax.bxp(
            [dict(zip(names, column, strict=True)) for column in columns],
            positions=x + offset,
            widths=0.3,
            showfliers=False,
            boxprops=style,
            whiskerprops=style,
            capprops=style | {"linestyle": "-"},
            medianprops={"color": colour, "linewidth": 2.6},
            manage_ticks=False,
        )
    ax.set(title=f"Quartiles, 1% and 99%{remark}", ylabel=label, ylim=(low, high))
    if len(report.names) == 1:
        ax.set_xticks([-0.19, 0.19], KINDS)
        ax.set_xlim(-0.6, 0.6)
    else:
        ax.set_xticks(x, [short(report.names[d]) for d in shown], rotation=40, ha="right")


def _cdf(ax: Axes, report: "Report", flat: tuple[Array, Array], low: float, high: float) -> None:
    grid = np.linspace(low, high, 800)
    for values, line in zip(flat, LINES, strict=True):
        share = np.searchsorted(np.sort(values), grid, side="right") / values.size
        ax.plot(grid, share, **line)
    ks = report.metrics["ks"]
    ax.set(title=f"CDF: KS {ks.value:.3f}, floor {ks.floor:.3f}", ylim=(-0.02, 1.02))
    ax.set_ylabel("share of values below")


def _statistics(ax: Axes, report: "Report") -> None:
    if len(report.names) == 1:
        stats = report.statistics[report.names[0]]
        names = ("mean", "std", "min", "median", "max")
        x = np.arange(len(names))
        for offset, kind, colour, hatch in zip(
            (-0.2, 0.2), KINDS, COLOURS, (None, "//"), strict=True
        ):
            bars = [stats[kind][name] for name in names]
            face = colour if hatch is None else "white"
            ax.bar(x + offset, bars, 0.38, color=face, edgecolor=colour, hatch=hatch)
        ax.axhline(0, color=GREY, linewidth=0.8)
        ax.set_xticks(x, names)
        ax.set(title="Statistics", ylabel=_value_label(report.names[0]))
        return
    shown, remark = _shown_features(report)
    for marker, name, colour in (("o", "mean", BLUE), ("s", "median", GREY), ("D", "std", "black")):
        gaps = []
        for d in shown:
            stats = report.statistics[report.names[d]]
            scale = stats["real"]["std"] or max(abs(stats["real"]["mean"]), 1.0)
            gap = (stats["generated"][name] - stats["real"][name]) / scale
            gaps.append(min(max(gap, -MOST_GAP), MOST_GAP))
        ax.plot(gaps, range(len(shown)), marker, color=colour, label=name, markerfacecolor="none",
                markeredgewidth=1.6, markersize=6.5)  # fmt: skip
    ax.axvline(0, color=GREY, linewidth=1.0, linestyle=":")
    ax.set_yticks(range(len(shown)), [short(report.names[d]) for d in shown])
    ax.invert_yaxis()
    reach = max(0.1, *(abs(x) for x in ax.get_xlim()))
    ax.set_xlim(-reach, reach)
    if reach > MOST_GAP:
        remark += f", cut at ±{MOST_GAP:g}"
    ax.set(title=f"Statistics{remark}", xlabel="generated less real (real std)")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, handletextpad=0.2)


def temporal(report: "Report") -> Figure:
    """Four panels on time: sample sequences, mean and std, autocorrelation, each step's values.

    Of categories the second is of the share that differs most, the last of what follows each.

    With several features they show the one with the largest KS at single steps; the title says so.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(2, 2, (11.0, 7.6))
        d, title = 0, None
        if len(report.names) > 1:
            worst = report.metrics["step_ks"].per_feature
            d = max(range(len(report.names)), key=lambda k: worst[report.names[k]])
        real, generated = report.real_NTD[..., d], report.generated_NTD[..., d]
        label = _value_label(report.names[d])
        _samples(axes[0], real, generated, report.seed)
        _autocorrelation(axes[2], report, d)
        shown = axes[:1]
        if d in bars.categories(report):
            bars.name_ticks(axes[0], report, d)
            bars.share_of_steps(axes[1], report, d, real, generated)
        else:
            _bands(axes[1], real, generated)
            shown += axes[1:2]
        if "transitions" in report.of_kinds.get(report.names[d], {}):
            bars.transitions(axes[3], report, d)
        else:
            _violins(axes[3], real, generated)
            shown += axes[3:]
        for ax in shown:
            ax.set(xlabel="step", ylabel=label)
        for ax in axes[:3]:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(report.names) > 1:
            title = f"{short(report.names[d], 40)}: worst of {len(report.names)} features by KS"
        heading(figure, report, title)
    return figure


def _samples(ax: Axes, real: Array, generated: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shown = min(5, len(real), len(generated))
    steps = np.arange(1, real.shape[1] + 1)
    for values, line in zip((real, generated), LINES, strict=True):
        style = line | {"linewidth": 1.4, "alpha": 0.85, "marker": _marker(steps)}
        drawn = values[rng.permutation(len(values))[:shown]]
        ax.plot(steps, drawn.T, **style)
        for each in drawn:  # no line leads to a value between two gaps
            alone = np.isnan(np.pad(each, 1, constant_values=np.nan))
            alone = ~alone[1:-1] & alone[:-2] & alone[2:]
            if alone.any() and len(steps) > 1:
                ax.plot(steps[alone], each[alone], ".", color=line["color"], markersize=4)
    ax.set(title=f"Sample sequences ({shown} of each, at random)")


def _marker(steps: Array) -> str | None:
    """A single step would be no line."""
    return "o" if len(steps) == 1 else None


def _enough(values: Array) -> Array:
    """Which steps have so many values that a spread has a meaning -> bool [T]."""
    return (~np.isnan(values)).sum(axis=0) >= min(LEAST, max(2, len(values) // 2))


def _bands(ax: Axes, real: Array, generated: Array) -> None:
    steps = np.arange(1, real.shape[1] + 1)
    for values, line, hatch in zip((real, generated), LINES, (None, "///"), strict=True):
        mean, std = np.full((2, len(steps)), np.nan)
        for t in np.flatnonzero(_enough(values)):
            there = metrics.there(values[:, t])
            mean[t], std[t] = there.mean(), there.std()
        ax.plot(steps, mean, **line, marker=_marker(steps))
        style = line | {"hatch": hatch, "alpha": 0.18, "linewidth": 0.8}
        ax.fill_between(steps, mean - std, mean + std, **style)
    ax.set(title="Mean with one std on each side")


def _autocorrelation(ax: Axes, report: "Report", d: int) -> None:
    curves = report.curves
    if "real_autocorrelation" not in curves or curves["real_autocorrelation"].shape[1] < 2:
        ax.set(title="Autocorrelation")
        _remark(ax, "needs at least two steps")
        return
    lags = np.arange(curves["real_autocorrelation"].shape[1])
    for kind, line, colour in zip(KINDS, LINES, COLOURS, strict=True):
        middle, low, high = (
            curves[f"{kind}_autocorrelation{end}"][d] for end in ("", "_low", "_high")
        )
        ax.plot(lags, middle, **line)
        ax.fill_between(lags, low, high, color=colour, alpha=0.2, linewidth=0)
    samples = report.real_NTD[..., d], report.generated_NTD[..., d]
    for values, marker, colour in zip(samples, ("o", "x"), COLOURS, strict=True):
        own = metrics.temporal_statistics(values[:5000])["autocorr_lag1"]
        ax.plot(1, own, marker, color=colour, markersize=8, markerfacecolor="none")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(title="Autocorrelation, pooled, with 95% bands", ylabel="correlation")
    ax.set_xlabel("lag (steps); markers: each sequence's own, biased")


def _violins(ax: Axes, real: Array, generated: Array) -> None:
    """Half-violins at up to ten steps: real to the left, generated to the right."""
    steps = np.arange(0, real.shape[1], -(-real.shape[1] // 10))
    low, high = view(metrics.there(real), metrics.there(generated), 0.0005)
    gap = (steps[1] - steps[0]) if len(steps) > 1 else 1
    for side, samples, colour, hatch in zip(
        (-1, 1), (real, generated), COLOURS, (None, "////"), strict=True
    ):
        style: Any = {"facecolor": colour, "edgecolor": colour, "hatch": hatch}
        for t in steps[_enough(samples)[steps]]:
            there = metrics.there(samples[:, t])
            grid, height = density(there, low, high, 200)
            seen = height > 0.01 * height.max()
            if seen.any():
                edge = t + 1 + side * 0.44 * gap * height[seen] / height.max()
                ax.fill_betweenx(grid[seen], t + 1, edge, alpha=0.45, linewidth=0.6, **style)
            median = np.median(there)
            ax.plot([t + 1, t + 1 + side * 0.3 * gap], [median, median], color="black", lw=1.6)
    ax.set_xticks(steps + 1)
    ax.set(title="Values at single steps (bar: median)", ylim=(low, high))


BANDS = ((0.05, 0.95, "generated: middle 90%", 0.18), (0.25, 0.75, "middle 50%", 0.3))


def fan(
    real_NTD: Array,
    generated_NTD: Array,
    names: Sequence[str],
    *,
    history_HD: Array | None = None,
    real_shown: int = 5,
    generated_shown: int = 2,
    seed: int = 0,
) -> Figure:
    """The spread of generated sequences at each step, and some real ones over it.

    A panel for each of the first 8 columns, in data units: the 5, 25, 50, 75 and 95% quantiles of
    the generated values at each step, `generated_shown` generated and `real_shown` real sequences
    at random. With `history_HD` the sequences are what comes after it: generated futures, and in
    `real_NTD` (N = 1) what really came.

    Args:
      real_NTD, generated_NTD: sequences; nan where a value is absent. Only D must be the same.
      names: of the D columns.
      history_HD: the real steps before all of them.
      real_shown, generated_shown: how many are drawn as lines, at most.
      seed: of which.

    Raises:
      DataError: the shapes do not fit.
    """
    real, generated = (np.asarray(x, float) for x in (real_NTD, generated_NTD))
    history = None if history_HD is None else np.asarray(history_HD, float)
    _check_fan(real, generated, names, history)
    shown = range(min(len(names), MOST_FEATURES))
    rng = np.random.default_rng(seed)
    rows_real, rows = (
        rng.permutation(len(x))[:most]
        for x, most in ((real, real_shown), (generated, generated_shown))
    )
    across = 1 if len(shown) < 4 else 2
    down = -(-len(shown) // across)
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(down, across, (8.0 if across == 1 else 11.0, 1.4 + 2.4 * down))
        for ax, d in zip(axes, shown, strict=False):
            past = None if history is None else history[:, d]
            _fan(ax, real[rows_real][..., d], generated[..., d], rows, past)
            ax.set(title=short(names[d], 40) if len(names) > 1 else "", xlabel="step")
            ax.set(ylabel=_value_label("x" if len(names) > 1 else names[d]))
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        title = None
        if len(shown) < len(names):
            title = f"the first {len(shown)} of {len(names)} columns"
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=5, title=title)
    return figure


def _check_fan(real: Array, generated: Array, names: Sequence[str], history: Array | None) -> None:
    """DataError where the shapes do not fit."""
    for what, x, axes in (
        ("real_NTD", real, 3),
        ("generated_NTD", generated, 3),
        ("history_HD", history, 2),
    ):
        if x is not None and (x.ndim != axes or 0 in x.shape or x.shape[-1] != len(names)):
            form = ["N", "T", "D"][3 - axes :] if axes == 3 else ["H", "D"]
            raise DataError(
                f"fan: {what} has the shape {list(x.shape)}; it must be [{', '.join(form)}], "
                f"nothing empty, with D = {len(names)} as there are names."
            )


def _fan(ax: Axes, real: Array, generated: Array, rows: Array, past: Array | None) -> None:
    """One column: bands of all generated sequences [N, T], lines of `rows` and of the real ones."""
    if past is not None:  # all go on from its last value
        real, generated = (
            np.concatenate([np.full((len(x), 1), past[-1]), x], axis=1) for x in (real, generated)
        )
    first = 0 if past is not None else 1
    steps = np.arange(first, first + generated.shape[1])
    levels = sorted({0.5, *(level for band in BANDS for level in band[:2])})
    q = np.full((len(levels), len(steps)), np.nan)
    for t in np.flatnonzero(_enough(generated)):
        q[:, t] = np.quantile(metrics.there(generated[:, t]), levels)
    at = dict(zip(levels, q, strict=True))
    for low, high, words, alpha in BANDS:
        style: Any = {"color": VERMILLION, "alpha": alpha, "linewidth": 0}
        ax.fill_between(steps, at[low], at[high], label=words, **style)
    ax.plot(steps, at[0.5], **GENERATED, label="median", marker=_marker(steps))
    for k, n in enumerate(rows):
        style = GENERATED | {"linestyle": "-", "linewidth": 0.9, "alpha": 0.9}
        ax.plot(steps, generated[n], **style, label="samples" if k == 0 else None)
    drawn_at = np.arange(first, first + real.shape[1])
    for k, x in enumerate(real):
        style = REAL | {"linewidth": 1.6 if len(real) < 3 else 1.1, "marker": _marker(drawn_at)}
        ax.plot(drawn_at, x, **style, label="real" if k == 0 else None)
    seen = [real.ravel()]  # all that is drawn
    if past is not None:
        ax.plot(np.arange(1 - len(past), 1), past, **REAL | {"linewidth": 1.6})
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
        seen.append(past)
    generated_seen = np.concatenate([*q, *generated[rows]])
    there = metrics.there(np.concatenate(seen)), metrics.there(generated_seen)
    if all(x.size for x in there):
        ax.set_ylim(*view(*there, 0.0))


PHASES = {
    "gen_pretrain": ("G pretraining", "#E8EEF5", "epochs"),
    "dis_pretrain": ("D pretraining", "#F7EDE2", "epochs"),
    "adversarial": ("adversarial", "#FFFFFF", "rounds"),
}
TRAINING_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Kolmogorov-Smirnov", "KS (0 to 1)", (("ks", "KS"),)),
    ("Wasserstein distance", "real std", (("wasserstein", "Wasserstein"),)),
    ("Jensen-Shannon divergence", "bits", (("js", "JS"),)),
    ("Moment errors", "real std", (("mean_error", "mean"), ("std_error", "std"))),
    (
        "Negative log-likelihood",
        "nats a step",
        (("train_nll", "training"), ("validation_nll", "validation")),
    ),
    (
        "Discriminator",
        "accuracy",
        (("dis_accuracy", "in training"), ("dis_validation_accuracy", "on unseen sequences")),
    ),
    ("Reward", "a sequence", (("reward", "reward"),)),
    (
        "Logit gap of new discriminators",
        "nats a sequence",
        (("logit_gap", "this policy"), ("logit_gap_best", "best so far")),
    ),
)


def training_metrics(rows: Sequence[dict[str, Any]]) -> Figure:
    """Eight panels over a whole training run, from the rows of metrics.jsonl.

    KS, Wasserstein, Jensen-Shannon and moment errors of samples against the validation part;
    likelihood; discriminator; reward; distance between samples and unseen data. The phases stand
    one after the other, each as wide as the others whatever its number of steps, shaded and named.
    Keys that are absent or not finite are left out.
    """
    phases = {name: [row for row in rows if row.get("phase") == name] for name in PHASES}
    last = {
        name: max(float(row.get("step", 0)) for row in those)
        for name, those in phases.items()
        if those
    }
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(2, 4, (16.0, 7.0))
        for ax, (title, unit, series) in zip(axes, TRAINING_PANELS, strict=True):
            for (key, name), line in zip(series, LINES, strict=False):
                for k, (phase, end) in enumerate(last.items()):
                    points = [
                        (k + 0.03 + 0.94 * float(row.get("step", 0)) / (end or 1.0), row[key])
                        for row in phases[phase]
                        if isinstance(row.get(key), int | float) and np.isfinite(row[key])
                    ]
                    if points:
                        marker = ("o" if line is REAL else "s") if len(points) < 25 else None
                        style = line | {"label": name, "marker": marker, "markersize": 4}
                        ax.plot(*np.array(points, float).T, **style)
            ax.set(title=title, ylabel=unit, xlim=(0, max(len(last), 1)))
            lines, names = ax.get_legend_handles_labels()
            named = dict(zip(names, lines, strict=True))  # one of each name
            if len(named) > 1:
                ax.legend(named.values(), named, loc="upper right")  # "best" takes seconds
            if not named:
                _remark(ax, "not recorded", color=GREY)
            _mark_phases(ax, last)
    return figure


def _remark(ax: Axes, words: str, **style: Any) -> None:
    """Words in the middle of a panel that has nothing to show."""
    ax.annotate(words, (0.5, 0.5), xycoords="axes fraction", ha="center", **style)


def _mark_phases(ax: Axes, last: dict[str, float]) -> None:
    """Shade and name the phases; `last` has the number of the last step of each."""
    labels = []
    for k, (phase, steps) in enumerate(last.items()):
        name, colour, unit = PHASES[phase]
        labels.append(f"{name}\n({steps:g} {unit})")
        ax.axvspan(k, k + 1, color=colour, zorder=0, linewidth=0)
        if k:
            ax.axvline(k, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_xticks(np.arange(len(last)) + 0.5, labels, fontsize=9.5)
    ax.tick_params(axis="x", length=0)
