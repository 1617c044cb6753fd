"""The report as plain text."""

import textwrap

import numpy as np

from seqgan_jax.analysis.catalogue import CATALOGUE, WORDS
from seqgan_jax.analysis.report import Report, grouped, number

WIDTH = 100
HEADER = f"{'':<24}{'Real':>15}{'Generated':>15}{'Difference':>15}"
MOST_FEATURES = 12
MOST_AREAS = 40  # columns that the judge saw alone
MOST_ROWS, MOST_STEPS = 16, 4  # shares and transitions of a column, the most different
SIDES = ("real", "generated")
CLASS_FIGURES = ("ks", "wasserstein", "autocorrelation_error")
CLASS_HEAD = ("class", "real", "generated", "KS (floor)", "W1 (floor)", "acf (floor)")
RULES_TITLE = "Rules between columns: share of sequences that break each"
BASIC = ("mean", "std", "min", "max", "median", "q25", "q75", "skewness", "kurtosis")
TEMPORAL = ("autocorr_lag1", "autocorr_lag1_pooled", "volatility", "mean_trend", "std_trend")


def render(report: Report) -> str:
    """Verdict and reasons first, then every figure, then the statistics of each feature."""
    features = report.real_NTD.shape[2]
    lines = textwrap.wrap(f"VERDICT: {report.verdict.upper()}. {report.headline}", WIDTH)
    lines += ["", "DISTRIBUTION ANALYSIS", "=" * WIDTH, ""]
    for kind, source, count in zip(
        ("real", "generated"), report.sources, report.counts, strict=True
    ):
        lines.append(
            f"{kind:<10} {count:>9,} sequences of {report.steps[kind]} x {features}  ({source})"
        )
    for mark, items in (("- ", report.reasons()), ("note: ", report.notes)):
        for item in items:
            indent = " " * (2 + len(mark))
            lines += textwrap.wrap(
                item, WIDTH, initial_indent="  " + mark, subsequent_indent=indent
            )
    lines += [
        "",
        "'floor' is the same figure between random halves of the real data; [low, high] is a 95%",
        "bootstrap interval over sequences. Figures are means over features. Verdicts:",
        *(f"  {verdict:<10}{words}" for verdict, words in WORDS.items()),
        "The whole is the worst of these; inconclusive: none differs, and too little is noticed.",
    ]
    lines += _seen(report)
    for title, members in grouped(report).items():
        lines += ["", title.upper(), "-" * WIDTH]
        lines.append(f"{'':<46}{'value':>9}{'floor':>9}  {'[low, high]':<18} verdict")
        for m in members:
            entry = CATALOGUE[m.name]
            name = entry.label + (f", {entry.unit}" if entry.unit else "")
            span = f"[{number(m.low)}, {number(m.high)}]"
            p_value = "" if m.p_value is None else f" (p={m.p_value:.3f})"
            lines.append(
                f"{name:<46}{number(m.value):>9}{number(m.floor):>9}  {span:<18} "
                f"{m.verdict}{p_value}"
            )
    if report.areas is not None and features > 1:
        lines += ["", "THE JUDGE, EACH COLUMN ALONE", "-" * WIDTH]
        lines.append(f"{'':<24}{'area':>15}{'error':>15}{'floor':>15}")
        lines += [
            f"{name[:23]:<24}{a:>15.3f}{e:>15.3f}{f:>15.3f}" for name, a, e, f in areas_of(report)
        ]
    if report.classes:
        heads = "".join(f"{head:>15}" for head in CLASS_HEAD[1:])
        lines += ["", f"CLASSES OF {report.classes['label']}", "-" * WIDTH, f"{'':<24}{heads}"]
        lines += [
            f"{name[:23]:<24}" + "".join(f"{cell:>15}" for cell in cells)
            for name, *cells in class_rows(report)
        ]
    if rows := rule_rows(report):
        lines += ["", RULES_TITLE.upper(), "-" * WIDTH]
        for rule, *broken in rows:
            line = "{}: real {:.1%}, generated {:.1%}".format(rule, *broken)
            lines += textwrap.wrap(line, WIDTH, subsequent_indent="    ")
    for title, rows in absent_rows(report).items():
        lines += ["", title.upper(), "-" * WIDTH, HEADER, *(_row(*row) for row in rows)]
    for feature in report.names[:MOST_FEATURES]:
        lines += _statistics(report, feature)
    if features > MOST_FEATURES:
        lines += ["", f"{features - MOST_FEATURES} more features: see the JSON file."]
    lines += ["", "DIVERSITY: DISTANCE BETWEEN SEQUENCES (real std, root mean square)", "-" * WIDTH]
    lines.append(HEADER)
    real, generated = (report.diversity[kind] for kind in ("real", "generated"))
    lines += [_row(f"{name} pairwise distance", real[name], generated[name]) for name in real]
    lines += [
        f"samples that repeat a reference sequence: {report.extra.get('copies', 0):.1%} "
        f"(held-out: {report.extra.get('copies_held_out', 0):.1%})",
        "",
        f"seed {report.seed}, {report.seconds:.1f} s",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, real: float, generated: float) -> str:
    return f"{name[:23]:<24}{real:>15.6g}{generated:>15.6g}{generated - real:>15.6g}"


def _seen(report: Report) -> list[str]:
    """The smallest spoiling of each column that would have been noticed 4 times of 5."""
    if not report.seen:
        return []
    lines = ["", "WHAT WOULD HAVE BEEN NOTICED, 4 TIMES OF 5", "-" * WIDTH]
    lines.append(
        f"{'':<24}{'shift':>15}{'in real std':>15}{'spread':>15}{'autocorr.':>15}{'share':>15}"
    )
    worst = sorted(report.seen, key=lambda name: -report.seen[name].ratio)
    for name in worst[:MOST_AREAS]:
        cells = ("-" if x is None else number(x) for x in report.seen[name].to_dict().values())
        lines.append(f"{name[:23]:<24}" + "".join(f"{cell:>15}" for cell in cells))
    return lines


def _statistics(report: Report, feature: str) -> list[str]:
    real, generated = (report.statistics[feature][kind] for kind in ("real", "generated"))
    lines = []
    for title, head, names in (
        ("BASIC STATISTICS", [HEADER], BASIC),
        ("TEMPORAL PROPERTIES", [], TEMPORAL),
    ):
        suffix = f": {feature}" if len(report.names) > 1 else ""
        lines += ["", title + suffix, "-" * WIDTH, *head]
        lines += [_row(name, real[name], generated[name]) for name in names]
    if rows := kind_rows(report, feature):
        kind = textwrap.shorten(report.of_kinds[feature]["kind"], WIDTH - 6)
        lines += ["", f"KIND: {kind}", "-" * WIDTH, HEADER, *(_row(*row) for row in rows)]
    return lines


def areas_of(report: Report) -> list[tuple[str, float, float, float]]:
    """Name, area, error and floor of each column that the judge saw alone, the worst first."""
    if report.areas is None:
        return []
    numbers = zip(report.areas.columns_D, report.areas.errors_D, report.areas.floors_D, strict=True)
    rows = [
        (name, float(area), float(error), float(floor))
        for name, (area, error, floor) in zip(report.names, numbers, strict=True)
    ]
    return sorted(rows, key=lambda row: -row[1])[:MOST_AREAS]


def class_rows(report: Report) -> list[tuple[str, ...]]:
    """A row of CLASS_HEAD for each class; "-" where it has too few sequences."""
    rows = []
    for each in report.classes.get("classes", ()):
        shares = (f"{each[side]['share']:.1%}" for side in SIDES)
        own = (each.get("figures", {}).get(name) for name in CLASS_FIGURES)
        cells = (f"{number(f['value'])} ({number(f['floor'])})" if f else "-" for f in own)
        rows.append((each["name"], *shares, *cells))
    return rows


def absent_rows(report: Report) -> dict[str, list[tuple[str, float, float]]]:
    """Quantiles of lengths and what is missing, under their titles: name, real and generated."""
    out: dict[str, list[tuple[str, float, float]]] = {}
    if found := report.absent.get("lengths"):
        rows = [(name, found["real"][name], found["generated"][name]) for name in found["real"]]
        out["Lengths of sequences (steps)"] = rows
    if found := report.absent.get("missing"):
        for key, title in (("share", "Missing cells (share)"), ("mean_run", "Gaps (mean length)")):
            rows = [(name, *(each[side][key] for side in SIDES)) for name, each in found.items()]
            out[title] = rows[:MOST_AREAS]
    return out


def rule_rows(report: Report) -> list[tuple[str, float, float]]:
    """Each rule with the shares of real and of generated sequences that break it."""
    found = [report.of_rules.get(side, {}) for side in SIDES]
    return [(rule, share, found[1][rule]) for rule, share in found[0].items()]


def kind_rows(report: Report, feature: str) -> list[tuple[str, float, float]]:
    """What is listed of a column by its kind: name, real and generated figure."""
    entry = report.of_kinds.get(feature, {})
    real, generated = entry.get("real", {}), entry.get("generated", {})
    rows = [(name, real[name], generated[name]) for name in real]
    rows = [row for row in rows if any(row[1:]) or row[0] != "share of others"]
    states = entry.get("states", [])
    shares = np.array([entry["transitions"][side] for side in SIDES if states])
    steps = [
        (f"{states[j]} after {states[i]}", float(shares[0, i, j]), float(shares[1, i, j]))
        for i, j in np.ndindex(len(states), len(states))
    ]
    steps.sort(key=lambda row: -abs(row[1] - row[2]))
    return rows[:MOST_ROWS] + steps[:MOST_STEPS]
