"""The report as one HTML page: no network, no scripts, figures embedded, everything escaped."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from seqgan_jax.analysis.catalogue import CATALOGUE, WORDS
from seqgan_jax.analysis.report import Report, grouped, number
from seqgan_jax.analysis.text import (
    BASIC,
    CLASS_HEAD,
    MOST_FEATURES,
    TEMPORAL,
    absent_rows,
    areas_of,
    class_rows,
    kind_rows,
)

SYMBOLS = {"close": "✓", "different": "≠", "far": "✗", "inconclusive": "?"}
ALTERNATIVES = {
    "distributions": "Histogram, density or shares of categories, Q-Q plot, quartiles, "
    "cumulative distribution and statistics of real and generated values",
    "temporal": "Sample sequences, mean and std at each step, autocorrelation and the values at "
    "single steps, real and generated",
}
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0 auto;
  max-width: 62rem; padding: 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem; }
.verdict { border-left: .5rem solid; padding: .6rem 1rem; margin: 1rem 0; background: #f5f6f8; }
.verdict strong { font-size: 1.2rem; }
.verdict.close { border-color: #0B4F8A; }
.verdict.different { border-color: #B8860B; }
.verdict.far { border-color: #D55E00; }
td.different, td.far { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
small, .small { color: #555; font-size: .8125rem; }
img { width: 100%; min-width: 38rem; height: auto; display: block; }
figure { margin: 1rem 0; overflow-x: auto; } summary { cursor: pointer; padding: .4rem 0; }
"""


def render(report: Report, pngs: Mapping[str, bytes]) -> str:
    """The page; `pngs` are the pictures by their names in ALTERNATIVES."""
    steps, features = report.steps, report.real_NTD.shape[2]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.headline)}</title><style>{STYLE}</style></head><body>",
        "<h1>Are the generated sequences real enough?</h1>",
        f'<div class="verdict {report.verdict}"><strong>{SYMBOLS[report.verdict]} '
        f"{escape(report.headline)}</strong><ul>",
        *(f"<li>{escape(reason)}</li>" for reason in report.reasons()),
        "</ul></div>",
        "<p>",
        "; ".join(
            f"<b>{kind}</b>: {count:,} sequences of {steps[kind]} × {features} ({escape(source)})"
            for kind, source, count in zip(
                ("real", "generated"), report.sources, report.counts, strict=True
            )
        ),
        "</p>",
        *(f'<p class="small">{escape(note)}</p>' for note in report.notes),
    ]
    for name, content in pngs.items():
        data = base64.b64encode(content).decode("ascii")
        parts.append(
            f'<figure><img alt="{escape(ALTERNATIVES[name])}" '
            f'src="data:image/png;base64,{data}"></figure>'
        )
    parts.append(
        "<h2>Every figure beside its floor</h2><p>The floor is the same figure between random "
        "halves of the real data: a figure at or below it shows no difference. Low and high are a "
        "95% bootstrap interval over sequences. Distances are means over features.</p>"
    )
    for title, members in grouped(report).items():
        parts.append(
            f"<h2>{escape(title)}</h2><div class='wide'><table><tr><th>Figure</th>"
            '<th class="n">value</th><th class="n">floor</th><th class="n">low, high</th>'
            "<th>verdict</th></tr>"
        )
        for m in members:
            entry = CATALOGUE[m.name]
            unit = f" <small>({escape(entry.unit)})</small>" if entry.unit else ""
            p_value = "" if m.p_value is None else f" <small>p = {m.p_value:.3f}</small>"
            parts.append(
                f"<tr><td>{escape(entry.label)}{unit}<br><small>{escape(entry.meaning)}</small></td>"
                f'<td class="n">{number(m.value)}</td><td class="n">{number(m.floor)}</td>'
                f'<td class="n">{number(m.low)}, {number(m.high)}</td>'
                f'<td class="{m.verdict}">{SYMBOLS[m.verdict]} '
                f"{WORDS[m.verdict]}{p_value}</td></tr>"
            )
        parts.append("</table></div>")
    if features > 1 and report.areas is not None:
        parts.append("<h2>The judge, each column alone</h2>")
        head = ("", "area", "standard error", "floor")
        parts.append(_table(head, [(n, *(f"{x:.3f}" for x in xs)) for n, *xs in areas_of(report)]))
    if report.classes:
        parts.append(f"<h2>Classes of {escape(report.classes['label'])}</h2>")
        parts.append(_table(CLASS_HEAD, class_rows(report)))
    for title, rows in absent_rows(report).items():
        parts.append(f"<h2>{title}</h2>")
        shown = [(name, f"{a:.6g}", f"{b:.6g}", f"{b - a:.3g}") for name, a, b in rows]
        parts.append(_table(("", "real", "generated", "difference"), shown))
    parts.append("<h2>Statistics in data units</h2>")
    parts += [_statistics(report, f, is_open=features == 1) for f in report.names[:MOST_FEATURES]]
    if features > MOST_FEATURES:
        parts.append(f"<p>{features - MOST_FEATURES} more features are in the JSON file.</p>")
    parts.append(f'<p class="small">Seed {report.seed}; {report.seconds:.1f} s.</p></body></html>')
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of a column of names and columns of numbers."""
    lines = [f"<th>{head[0]}</th>" + "".join(f"<th class='n'>{each}</th>" for each in head[1:])]
    for name, *numbers in rows:
        lines.append(
            f"<td>{escape(name)}</td>" + "".join(f'<td class="n">{x}</td>' for x in numbers)
        )
    inner = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class='wide'><table>{inner}</table></div>"


def _statistics(report: Report, feature: str, *, is_open: bool) -> str:
    stats = report.statistics[feature]
    rows = [
        (name.replace("_", " "), stats["real"][name], stats["generated"][name])
        for name in (*BASIC, *TEMPORAL)
    ]
    rows += kind_rows(report, feature)
    shown = [(name, f"{a:.6g}", f"{b:.6g}", f"{b - a:.3g}") for name, a, b in rows]
    kind = report.of_kinds.get(feature, {}).get("kind", "")
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(feature)}"
        f"{f' <small>({escape(kind)})</small>' if kind else ''}</summary>"
        f"{_table(('', 'real', 'generated', 'difference'), shown)}</details>"
    )
