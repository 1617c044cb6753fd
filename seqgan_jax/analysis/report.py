"""The result of an analysis, and how it is written down: text, JSON, figures, HTML."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis.catalogue import (
    CATALOGUE,
    CLOSE,
    DIFFERENT,
    FAR,
    GROUPS,
    INCONCLUSIVE,
    WORDS,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqgan_jax.analysis.independent import Worth
    from seqgan_jax.analysis.judge import Areas
    from seqgan_jax.analysis.seen import Seen
    from seqgan_jax.data.kind import Kind

Array = NDArray[Any]

SCHEMA = "seqgan-analysis"
SCHEMA_VERSION = 1
MOST_NAMED = 3  # columns, or figures, in the headline


@dataclass(frozen=True)
class Metric:
    """One figure: its value, what real data show against themselves, an interval, a verdict.

    `excess` is how far the figure (at the floor's sample size) lies above the floor, in standard
    deviations of the floor; negative when below. `per_feature` is empty where there is one feature.
    `found_in` has the columns in which alone it is not close, the worst first: value, floor, excess
    and verdict; the worst where only the mean over columns is not. `noticed` is the figure of a
    column that would be noticed 4 times of 5. `moved`: it differs, but the training part itself
    differs as much, see `yardstick`.
    """

    name: str
    value: float
    floor: float
    low: float
    high: float
    verdict: str
    excess: float = 0.0
    p_value: float | None = None
    per_feature: Mapping[str, float] = field(default_factory=dict)
    found_in: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    noticed: Mapping[str, float] = field(default_factory=dict)
    moved: bool = False

    def brief(self) -> dict[str, Any]:
        """What another figure's `found_in` says of it."""
        return {key: getattr(self, key) for key in ("value", "floor", "excess", "verdict")}

    def replace(self, **changes: Any) -> "Metric":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """What the JSON document says of it."""
        entry = CATALOGUE[self.name]
        own = {key: value for key, value in vars(self).items() if key != "name"}
        shared = ("group", "unit", "higher_is_better")
        return own | {key: getattr(entry, key) for key in shared}


@dataclass(frozen=True)
class Report:
    """What `analyze` found. Nothing is written or shown unless asked for."""

    metrics: Mapping[str, Metric]
    statistics: Mapping[str, Mapping[str, Mapping[str, float]]]  # feature -> kind -> name -> value
    diversity: Mapping[str, Mapping[str, float]]  # kind -> name -> value
    curves: Mapping[str, Array]
    extra: Mapping[str, float]
    names: tuple[str, ...]
    counts: tuple[int, int]
    real_NTD: Array
    generated_NTD: Array
    notes: tuple[str, ...]
    seed: int
    seconds: float
    sources: tuple[str, str] = ("real data", "generated data")
    kinds: "Sequence[Kind]" = ()
    of_kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # `bykind.table`
    # "real" and "generated" -> rule -> share of sequences that break it
    of_rules: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    areas: "Areas | None" = None
    classes: Mapping[str, Any] = field(default_factory=dict)  # `classes.table`
    absent: Mapping[str, Any] = field(default_factory=dict)  # `absent.table`
    seen: "Mapping[str, Seen]" = field(default_factory=dict)  # of each column that varies
    worth: "Worth | None" = None  # the real data, in independent observations

    @property
    def verdict(self) -> str:
        """The worst of the figures' verdicts: "close", "different" or "far".

        "inconclusive" where none differs, and a spoiling of a column that matters would not have
        been noticed, see `seen`.
        """
        verdicts = {metric.verdict for metric in self.metrics.values()}
        unseen = any(each.ratio > 1 for each in self.seen.values())
        return next(
            (v for v in (FAR, DIFFERENT) if v in verdicts), INCONCLUSIVE if unseen else CLOSE
        )

    @property
    def headline(self) -> str:
        """The verdict in a sentence: where it shows, or what would have passed unnoticed."""
        start = {
            CLOSE: "The generated data are as close to the real data as real data is to itself",
            DIFFERENT: "The generated data are detectably different from the real data",
            FAR: "The generated data are far from the real data",
            INCONCLUSIVE: "There are too few data to tell",
        }[self.verdict]
        moved = any(m.moved for m in self.metrics.values())
        if self.verdict == CLOSE:
            own = "The generated data are as close to the real data as the training data are"
            return f"{own if moved else start}."
        if self.verdict == INCONCLUSIVE:
            beyond = " more than of the training data" * moved
            unnoticed = f"{self.unnoticed} would have passed unnoticed"
            return f"{start}: no figure differs{beyond}, but {unnoticed}. {self.needed}"
        places, columns = self.places(), len(self.names) > 1
        shown = [
            (f"{column}, " if column and columns else "")
            + f"{CATALOGUE[name].label} {number(value)} (real data against itself {number(floor)})"
            for column, name, value, floor in places[:MOST_NAMED]
        ]
        if more := len(places) - len(shown):
            shown.append(f"{more} more {'column' if columns else 'figure'}{'s' * (more > 1)}")
        return f"{start}: {'; '.join(shown)}."

    def places(self) -> list[tuple[str, str, float, float]]:
        """Column, figure, value and floor of what differs, the largest first.

        Each column once, by its worst figure, and each figure that is of no one column ("").
        """
        found: list[tuple[bool, float, tuple[str, str, float, float]]] = []
        for m in self.metrics.values():
            for column, own in m.found_in.items():
                place = (column, m.name, own["value"], own["floor"])
                found.append((own["verdict"] != FAR, -own["excess"], place))
            if m.verdict != CLOSE and not m.found_in:
                place = ("", m.name, m.value, m.floor)
                found.append((m.verdict != FAR, -m.excess, place))
        each: dict[str, tuple[str, str, float, float]] = {}
        for _, _, place in sorted(found):
            each.setdefault((len(self.names) > 1 and place[0]) or place[1], place)
        return list(each.values())

    @property
    def least_seen(self) -> str:
        """The column in which least would have been noticed; "" where all are constant."""
        return max(self.seen, key=lambda name: self.seen[name].ratio, default="")

    @property
    def unnoticed(self) -> str:
        """What passes unnoticed 1 time of 5 in the column where it is most, in words."""
        name = self.least_seen
        if not name:
            return ""
        own, said = self.seen[name], []
        if own.share is not None:
            unit = " of the values in another category"
            said.append(_or_any(own.share, "", "any shares of categories", unit))
        if own.shift is not None and own.deviations is not None:
            unit = f" ({own.deviations:.2g} standard deviations)"
            said.append(_or_any(own.shift, "a shift of ", "any shift", unit))
        if own.spread is not None:
            said.append(_or_any(own.spread, "a spread ", "any spread", " times too small"))
        if own.autocorrelation is not None:
            words = "a change of autocorrelation by ", "any change of autocorrelation"
            said.append(_or_any(own.autocorrelation, *words, ""))
        where = f" in {name}" if len(self.names) > 1 else ""
        listed = " or ".join(filter(None, [", ".join(said[:-1]), *said[-1:]]))
        return f"{listed}{where}"

    @property
    def needed(self) -> str:
        """How many more data a verdict would need, in words; "" where there are enough."""
        if self.verdict != INCONCLUSIVE or self.worth is None:
            return ""
        ratio = self.seen[self.least_seen].ratio
        times = self.worth.times(ratio)
        if self.counts[1] < self.counts[0] // 2:
            return f"First generate more: {self.counts[0]:,} sequences, as many as are real."
        worth = max(1.0, self.worth.least)
        rounded = float(f"{max(times, 1.5):.2g}")
        return (
            f"About {rounded:g} times as many real data would do; these are worth {worth:.0f} "
            f"independent sequence{'s' * (worth >= 1.5)}."
        )

    @property
    def steps(self) -> dict[str, str]:
        """How many steps sequences have, of each kind, in words."""
        found = dict.fromkeys(("real", "generated"), f"{self.real_NTD.shape[1]}")
        for kind, each in self.absent.get("lengths", {}).items():
            least, most = f"{each['min']:.0f}", f"{each['max']:.0f}"
            found[kind] = least if least == most else f"{least} to {most}"
        return found

    @property
    def judged(self) -> str:
        """Which columns give the samples away and what could be won; "" without a judge."""
        if self.areas is None:
            return ""
        from seqgan_jax.analysis import judging

        own = self.metrics["judge"]
        to_win = "" if own.verdict == CLOSE else judging.to_win(self.areas)
        said = judging.sentence(self.areas, self.names, own), to_win
        return " ".join(filter(None, said))

    def reasons(self, most: int = 5) -> list[str]:
        """Why the verdict is what it is, what matters first."""
        bad = [m for m in self.metrics.values() if m.verdict != CLOSE]
        judged = [self.judged] if self.judged else []
        if not bad:
            every = f"All {len(self.metrics)} figures are within what real data show of themselves."
            noticed = []
            if self.verdict == CLOSE and self.seen:
                noticed = [f"What is smaller than {self.unnoticed} could pass unnoticed."]
            return [every, *noticed, *judged]
        out = judged + self._diagnoses()
        bad.sort(key=lambda m: (m.verdict != FAR, -m.excess))
        for metric in bad[:most]:
            entry = CATALOGUE[metric.name]
            unit = f" {entry.unit}" if entry.unit else ""
            line = (
                f"{entry.label}: {number(metric.value)}{unit}, real data against itself "
                f"{number(metric.floor)}: {WORDS[metric.verdict]}"
            )
            if metric.per_feature:
                worst = max(metric.per_feature, key=lambda name: metric.per_feature[name])
                line += f"; worst in {worst} ({number(metric.per_feature[worst])})"
            out.append(line + ".")
        if len(bad) > most:
            out.append(f"{len(bad) - most} more of {len(self.metrics)} figures differ.")
        return out

    def _diagnoses(self) -> list[str]:
        """Known failures that several figures show together."""
        out = []
        off = {m.name for m in self.metrics.values() if m.verdict != CLOSE}
        far = {m.name for m in self.metrics.values() if m.verdict == FAR}
        generated, real = self.diversity["generated"]["mean"], self.diversity["real"]["mean"]
        ratio = generated / real if real > 0 else 1.0
        if (
            "memorisation" in off
            and self.extra.get("copies", 0) > 2 * self.extra.get("copies_held_out", 0) + 0.01
        ):
            out.append(f"Copying: {self.extra['copies']:.0%} of the samples repeat real sequences.")
        coverage = self.metrics.get("coverage")
        if coverage and "coverage" in far and coverage.value < 0.5 * coverage.floor and ratio < 1.1:
            out.append(
                f"Mode collapse: {coverage.value:.0%} of the real sequences have a sample nearby, "
                f"where real data reach {coverage.floor:.0%}."
            )
        elif "diversity_error" in off and ratio < 1:
            out.append(
                f"Too little variety: generated sequences lie {ratio:.2f} times as far apart as "
                "real ones."
            )
        marginal = {"ks", "wasserstein", "js"}
        order = {"autocorrelation_error", "increment_ks", "spectrum_error", "asymmetry_error"}
        if not off & marginal and off & order:
            out.append("The values are right but their order in time is not.")
        return out

    def to_dict(self) -> dict[str, Any]:
        """The JSON document as a dict; its schema is in docs/analysis.md."""
        return {
            "verdict": self.verdict,
            "headline": self.headline,
            "reasons": self.reasons(),
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "statistics": self.statistics,
            "diversity": self.diversity,
            "memorisation": self.extra,
            "seen": {name: each.to_dict() for name, each in self.seen.items()},
            "needed": self.needed,
            "independent": self._independent(),
            "kinds": self.of_kinds,
            "rules": self.of_rules,
            "judge": self._judge_to_dict(),
            "classes": self.classes,
            "absent": self.absent,
            "curves": {name: np.asarray(c).tolist() for name, c in self.curves.items()},
            "data": {
                "names": list(self.names),
                "length": int(self.real_NTD.shape[1]),
                "features": int(self.real_NTD.shape[2]),
                "real": {"source": self.sources[0], "sequences": self.counts[0]},
                "generated": {"source": self.sources[1], "sequences": self.counts[1]},
            },
            "notes": list(self.notes),
            "seed": self.seed,
            "seconds": self.seconds,
        }

    def _independent(self) -> dict[str, dict[str, float]]:
        """What the real data are worth in each column, in independent observations."""
        if self.worth is None:
            return {}
        each = zip(self.worth.names, self.worth.level_D, self.worth.change_D, strict=True)
        return {name: {"values": float(a), "steps": float(b)} for name, a, b in each}

    def _judge_to_dict(self) -> dict[str, Any] | None:
        """Areas, errors and floors, together and of each column; None where no judge was asked."""
        if self.areas is None:
            return None
        a = self.areas
        by_column = zip(a.columns_D, a.errors_D, a.floors_D, a.floor_errors_D, strict=True)
        found = dict(zip(self.names, by_column, strict=True))
        keys = ("area", "error", "floor", "floor_error")
        return {
            **dict(zip(keys, (a.together, a.error, a.floor, a.floor_error), strict=True)),
            "kl_bound": {"nats": a.kl, "error": a.kl_error},
            "columns": {n: dict(zip(keys, map(float, x), strict=True)) for n, x in found.items()},
            "with_level": dict(zip(self.names, a.levels_D.tolist(), strict=True)),
            "sentence": self.judged,
        }

    def to_json(self) -> str:
        """The report as JSON: strict (a value that is not finite is null), schema in the docs."""
        finite = json.loads(json.dumps(self.to_dict()), parse_constant=lambda _: None)
        return json.dumps(finite, indent=1, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The report as plain text, 100 columns."""
        from seqgan_jax.analysis.text import render

        return render(self)

    def figures(self) -> dict[str, "Figure"]:
        """The two pictures as matplotlib figures: "distributions" and "temporal"."""
        from seqgan_jax.analysis import plots

        return {"distributions": plots.distributions(self), "temporal": plots.temporal(self)}

    def pngs(self) -> dict[str, bytes]:
        """The two pictures as PNG files in memory."""
        from seqgan_jax.analysis import plots

        return {name: plots.png(figure) for name, figure in self.figures().items()}

    def to_html(self, pngs: Mapping[str, bytes] | None = None, map_by: str = "pca") -> str:
        """One self-contained page with the pictures embedded; drawn here unless given.

        Its map of all sequences is by principal components ("pca") or "tsne" (some seconds).
        """
        from seqgan_jax.analysis.html import render

        return render(self, self.pngs() if pngs is None else pngs, map_by)


def _or_any(x: float, words: str, without_end: str, unit: str) -> str:
    return f"{words}{x:.3g}{unit}" if math.isfinite(x) else without_end


def number(x: float) -> str:
    """At most four decimals and about four significant digits."""
    if not math.isfinite(x):
        return str(x)
    if abs(x) >= 1e6:
        return f"{x:.2e}"
    digits = max(0, min(4, 3 - math.floor(math.log10(abs(x))))) if x else 4
    return f"{x:.{digits}f}"


def grouped(report: Report) -> dict[str, list[Metric]]:
    """The report's metrics under the titles of their groups, in the catalogue's order."""
    out: dict[str, list[Metric]] = {}
    for group, title in GROUPS.items():
        members = [m for m in report.metrics.values() if CATALOGUE[m.name].group == group]
        if members:
            out[title] = members
    return out
