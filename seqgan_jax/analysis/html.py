"""The report as one HTML page: no network, no scripts, pictures embedded, everything escaped.

What matters first: the verdict and why, a few sequences of each kind column by column, all of them
on a map, then the figures and the tables.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np

from seqgan_jax.analysis import bars, maps, strips
from seqgan_jax.analysis.catalogue import CATALOGUE, CLOSE, WORDS
from seqgan_jax.analysis.report import Metric, Report, grouped, number
from seqgan_jax.analysis.style import DARK, LIGHT, VERDICTS, svg
from seqgan_jax.analysis.text import (
    BASIC,
    CLASS_HEAD,
    MOST_FEATURES,
    RULES_TITLE,
    TEMPORAL,
    absent_rows,
    areas_of,
    class_rows,
    kind_rows,
    rule_rows,
)

SYMBOLS = {"close": "✓", "different": "≠", "far": "✗", "inconclusive": "?"}
ALTERNATIVES = {
    "distributions": "Histogram, density or shares of categories, Q-Q plot, quartiles, "
    "cumulative distribution and statistics of real and generated values",
    "temporal": "Sample sequences, mean and std at each step, autocorrelation and the values at "
    "single steps, real and generated",
}
MOST_STRIPS = 8  # columns with pictures of their own
MOST_BARS = 10  # of shares
PAPER = {"paper": "#FFFFFF", "soft": "#F4F5F7", "line": "#DDDFE3", "small": "#55585E"}
NIGHT = {"paper": "#15171A", "soft": "#202327", "line": "#3A3E44", "small": "#A9ADB4"}
STYLE = """
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; max-width: 62rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 0; } h2 + p, h3 + p { margin-top: 0; }
.verdict { border-left: .5rem solid; padding: .6rem 1rem; margin: 1rem 0;
  background: var(--soft); }
.verdict strong { font-size: 1.2rem; } .verdict ul { padding-left: 1.2rem; margin: .4rem 0; }
.beside { flex: 1 1 16rem; margin: 0; }
.bad { font-weight: 600; } .real { color: var(--real); } .generated { color: var(--generated); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: normal; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
small, .small { color: var(--small); font-size: .8125rem; }
.strip { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start;
  break-inside: avoid; }
svg { min-width: 0; height: auto; display: block; }
.shares { flex: 1 1 100%; min-width: 0; font-size: .8125rem; display: flex; flex-wrap: wrap;
  gap: .3rem 1rem; } .shares.high { flex-basis: 15rem; } .shares section { flex: 0 1 14rem; }
.shares p { margin: 0; } .shares div { display: flex; align-items: center; gap: .4rem; }
.shares i { height: .55rem; display: block; background: var(--real); min-width: 1px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.shares .generated i { background: repeating-linear-gradient(135deg, var(--generated) 0 3px,
  transparent 3px 5px); outline: 1px solid var(--generated); outline-offset: -1px; }
.shares b { font-weight: 400; font-variant-numeric: tabular-nums; line-height: 1.15; }
figure { margin: 1rem 0; overflow-x: auto; }
img { width: 100%; height: auto; display: block; background: #fff; }
summary { cursor: pointer; padding: .4rem 0; }
@media screen and (max-width: 36rem) {
  .figures tr { display: grid; grid-template-columns: 1fr 1fr 1.6fr;
    border-bottom: 1px solid var(--line); }
  .figures td, .figures th { border: 0; padding: .15rem .3rem; }
  .figures td:is(:first-child, :last-child) { grid-column: 1 / -1; }
  .figures th:is(:first-child, :last-child) { display: none; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  h2, h3, h2 + p, h3 + p { break-after: avoid; }
  img, figure, section, tr { break-inside: avoid; }
  details { display: inline-block; width: 49%; break-inside: avoid; vertical-align: top; }
  details::details-content { content-visibility: visible; display: block; }
  details :is(td, th) { padding: 0 .3rem; font-size: 6.5pt; }
}
"""


def _colours() -> str:
    """The page's colours by day and night; on paper those of the day."""

    def block(*tables: Mapping[str, str]) -> str:
        return " ".join(f"--{name}: {value};" for table in tables for name, value in table.items())

    marks = "".join(
        f".verdict.{name} {{ border-color: {colour}; }}\n" for name, colour in VERDICTS.items()
    )
    return (
        f":root {{ color-scheme: light dark; {block(LIGHT, PAPER)} }}\n"
        "@media screen and (prefers-color-scheme: dark) "
        f"{{ :root {{ {block(DARK, NIGHT)} }} }}\n{marks}"
    )


def render(report: Report, pngs: Mapping[str, bytes], map_by: str = "pca") -> str:
    """The page; `pngs` are the pictures by their names in ALTERNATIVES. Without any it has none.

    The map is made by principal components, or by "tsne".
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.headline)}</title>",
        f"<style>{_colours()}{STYLE}</style></head><body>",
        *_verdict(report),
        *(_columns(report) if pngs else ()),
        *_rules(report),
        *(_map(report, map_by) if pngs else ()),
        *_figures(report),
        *_pictures(pngs),
        *_tables(report),
        f'<p class="small">Seed {report.seed}; {report.seconds:.1f} s.</p></body></html>',
    ]
    return "\n".join(parts) + "\n"


def _verdict(report: Report) -> Iterator[str]:
    features = report.real_NTD.shape[2]
    yield "<h1>Are the generated sequences real enough?</h1>"
    symbol = SYMBOLS.get(report.verdict, "")
    yield f'<div class="verdict {report.verdict}"><strong>{symbol} {escape(report.headline)}'
    yield "</strong><ul>"
    yield from (f"<li>{escape(reason)}</li>" for reason in report.reasons())
    yield "</ul></div><p>"
    yield "; ".join(
        f'<b class="{kind}">{kind}</b>: {count:,} sequences of {report.steps[kind]} × {features} '
        f"({escape(source)})"
        for kind, source, count in zip(
            ("real", "generated"), report.sources, report.counts, strict=True
        )
    )
    yield "</p>"
    yield from (f'<p class="small">{escape(note)}</p>' for note in report.notes)


def shown_columns(report: Report, most: int = MOST_STRIPS) -> list[int]:
    """Which columns have pictures: all in their order, or those that differ most."""
    count = len(report.names)
    if count <= most:
        return list(range(count))
    if report.areas is not None:
        gaps = np.asarray(report.areas.columns_D)
    else:
        ks = report.metrics["ks"].per_feature
        gaps = np.array([ks[name] for name in report.names])
    return [int(d) for d in np.argsort(-gaps, kind="stable")[:most]]


def _columns(report: Report) -> Iterator[str]:
    shown, count = shown_columns(report), len(report.names)
    yield "<h2>Real and generated, column by column</h2>"
    if len(shown) < count:
        by = "a judge tells apart best" if report.areas is not None else "differ most by KS"
        yield f"<p>The {len(shown)} of {count} columns that {by}, those first.</p>"
    for d in shown:
        name = report.names[d]
        kind = report.of_kinds.get(name, {}).get("kind", "")
        yield f"<h3>{escape(name)}{f' <small>{escape(kind)}</small>' if kind else ''}</h3>"
        yield f'<p class="small">{escape(_in_words(report, name))}</p><div class="strip">'
        yield svg(
            strips.sequences(report, d), f"s{d}", f"{name}: a few real and generated sequences"
        )
        if d in bars.categories(report):
            yield from _shares(report, name, high=True)
        else:
            yield svg(strips.values(report, d), f"v{d}", f"{name}: density of the values")
            memory = strips.memory(report, d)
            if memory is not None:
                yield svg(memory, f"m{d}", f"{name}: autocorrelation")
            yield from _shares(report, name)
        yield "</div>"


def _in_words(report: Report, name: str) -> str:
    """Mean and spread of a column, and the figures in which it differs."""
    real, generated = (report.statistics[name][kind] for kind in ("real", "generated"))
    said = [f"{key} {real[key]:.4g} → {generated[key]:.4g}" for key in ("mean", "std")]
    said = [] if name in [report.names[d] for d in bars.categories(report)] else said
    off = [CATALOGUE[m.name].label for m in report.metrics.values() if name in m.found_in]
    out = f"Real → generated: {', '.join(said)}." if said else ""
    return out + (f" Differs in: {'; '.join(off)}." if off else "")


def _shares(report: Report, name: str, *, high: bool = False) -> Iterator[str]:
    """Bars of what the report counts of a column: categories, zeros, repeats, steps between.

    `high` ones stand beside a picture, others under it.
    """
    rows = [
        row
        for row in kind_rows(report, name)
        if any(row[1:]) and not row[0].startswith("mean run")  # which is no share
    ]
    if not rows:
        return
    yield f'<div class="shares{" high" if high else ""}">'
    for words, *sides in rows[:MOST_BARS]:
        yield _bars(words, *sides)
    if len(rows) > MOST_BARS:
        yield f"<p>{len(rows) - MOST_BARS} more are in the table below.</p>"
    yield "</div>"


def _bars(words: str, *sides: float) -> str:
    """A share of the real data over that of the generated."""
    rows = (
        f'<div class="{kind}"><i style="width: {55 * share:.2f}%"></i>'
        f"<b>{_percent(share)} {kind}</b></div>"
        for kind, share in zip(("real", "generated"), sides, strict=True)
    )
    return f"<section><p>{escape(words)}</p>{''.join(rows)}</section>"


def _percent(share: float) -> str:
    """Few digits, but none that is there is shown as none, nor all but some as all.

    >>> [_percent(x) for x in (0.0, 0.0001, 0.123, 0.9999, 1.0)]
    ['0%', '<0.1%', '12.3%', '>99.9%', '100%']
    """
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.1%}".replace(".0%", "%")


def _rules(report: Report) -> Iterator[str]:
    if rows := rule_rows(report):
        yield f"<h2>{RULES_TITLE}</h2>"
        shown = [(rule, *map(_percent, shares)) for rule, *shares in rows]
        yield _table(("", "real", "generated"), shown)


MAPS = {
    "pca": (
        maps.principal,
        "by the two principal components along which real sequences vary most. Clouds that lie on "
        "each other are needed and are not enough: the plane shows only the part of the variance "
        "that its axes name.",
    ),
    "tsne": (
        maps.neighbours,
        "placed by t-SNE such that sequences that are near each other stay near. Real and "
        "generated ones should be mixed everywhere; distances between groups and their sizes say "
        "nothing. Windows of one series that overlap form threads.",
    ),
}


def _map(report: Report, by: str) -> Iterator[str]:
    draw, words = MAPS[by]
    picture = svg(draw(report), "map", "Real and generated sequences as points of a plane")
    yield (
        f'<h2>All sequences on a map</h2><div class="strip">{picture}'
        f'<p class="beside">A point is a whole sequence, {words}</p></div>'
    )


def _figures(report: Report) -> Iterator[str]:
    yield (
        "<h2>Every figure beside its floor</h2><p>The floor is the same figure between random "
        "halves of the real data: a figure at or below it shows no difference. Low and high are a "
        "95% bootstrap interval over sequences. Distances are means over features.</p>"
    )
    for title, members in grouped(report).items():
        yield (
            f"<h3>{escape(title)}</h3><table class='figures'><tr><th>Figure</th>"
            '<th class="n">value</th><th class="n">floor</th><th class="n">low, high</th>'
            "<th>verdict</th></tr>"
        )
        yield from (_figure(m) for m in members)
        yield "</table>"
    features = report.real_NTD.shape[2]
    if features > 1 and report.areas is not None:
        yield "<h2>The judge, each column alone</h2>"
        head = ("", "area", "standard error", "floor")
        yield _table(head, [(n, *(f"{x:.3f}" for x in xs)) for n, *xs in areas_of(report)])


def _figure(m: Metric) -> str:
    entry = CATALOGUE[m.name]
    unit = f" <small>({escape(entry.unit)})</small>" if entry.unit else ""
    p_value = "" if m.p_value is None else f" <small>p = {m.p_value:.3f}</small>"
    bad = "" if m.verdict == CLOSE else ' class="bad"'
    return (
        f"<tr><td>{escape(entry.label)}{unit}<br><small>{escape(entry.meaning)}</small></td>"
        f'<td class="n">{number(m.value)}</td><td class="n">{number(m.floor)}</td>'
        f'<td class="n">{number(m.low)}, {number(m.high)}</td>'
        f"<td{bad}>{SYMBOLS.get(m.verdict, '')} "
        f"{escape(WORDS.get(m.verdict, m.verdict))}{p_value}</td></tr>"
    )


def _pictures(pngs: Mapping[str, bytes]) -> Iterator[str]:
    if pngs:
        yield "<h2>All values and steps together</h2>"
    for name, content in pngs.items():
        data = base64.b64encode(content).decode("ascii")
        yield (
            f'<figure><img alt="{escape(ALTERNATIVES[name])}" '
            f'src="data:image/png;base64,{data}"></figure>'
        )


def _tables(report: Report) -> Iterator[str]:
    features = report.real_NTD.shape[2]
    if report.classes:
        yield f"<h2>Classes of {escape(report.classes['label'])}</h2>"
        yield _table(CLASS_HEAD, class_rows(report))
    for title, rows in absent_rows(report).items():
        yield f"<h2>{title}</h2>"
        shown = [(name, f"{a:.6g}", f"{b:.6g}", f"{b - a:.3g}") for name, a, b in rows]
        yield _table(("", "real", "generated", "difference"), shown)
    yield "<h2>Statistics in data units</h2>"
    yield from (_statistics(report, f, is_open=features == 1) for f in report.names[:MOST_FEATURES])
    if features > MOST_FEATURES:
        yield f"<p>{features - MOST_FEATURES} more features are in the JSON file.</p>"


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
