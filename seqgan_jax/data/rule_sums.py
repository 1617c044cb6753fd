"""Sums and ratios that hold at every step of a table: found as exact linear relations, and tried.

Shapes: R rows (steps), D columns.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seqgan_jax.data.rule_texts import Ratio, Sum
from seqgan_jax.data.rule_values import computed, half_unit, keeps, rounded

SAMPLE = 4096  # rows that are looked at first
FIRST = 16  # rows that most ratios fail on
MOST_TERMS = 12
NEAR = 0.05  # of a coefficient to a whole number, before it is checked exactly
MOST_FACTOR = 4  # whole coefficients of a relation: an average of so many columns has one
DIGITS = 6  # of a factor between two columns
FEW = 12  # values of a column that is no ratio
UNITS = 5  # standard deviation of what may be off by its rounding, in units of its last decimal
SHARP = 0.02  # rounding of a part, against its standard deviation
FLOAT = 1e-6  # see `rule_values`
ROUGH = 0.15  # of a unit: what rounding leaves is as 12^-1/2


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The steps of all sequences, and which of their columns are neither constant nor copies."""

    rows_RD: np.ndarray
    names: tuple[str, ...]
    decimals_D: tuple[int | None, ...]
    originals: tuple[int, ...]

    def column(self, name: str) -> np.ndarray:
        """[R, 1]: as sequences of one step."""
        return self.rows_RD[:, self.names.index(name), None]

    @property
    def decimals_of(self) -> Callable[[str], int | None]:
        """Decimals by name."""
        return dict(zip(self.names, self.decimals_D, strict=True)).__getitem__

    def keeps(self, rule: Sum | Ratio) -> bool:
        """Whether every step keeps a rule."""
        return bool(np.all(keeps(rule, self.column, self.decimals_of)))

    def some(self, count: int) -> np.ndarray:
        """About `count` of the rows, evenly."""
        return self.rows_RD[:: 1 + len(self.rows_RD) // count]


def sums(table: Table) -> list[Sum]:
    """Exact relations of columns with small whole coefficients, as sums that can be put back; then
    columns that are another one in other units, or rounded."""
    rows = np.unique(table.some(SAMPLE), axis=0)
    if len(rows) < 10 * (len(table.originals) + 1):
        return []  # so few give relations by chance
    found: list[Sum] = []
    for relation in _sparser(_relations(rows, table)):
        if 2 <= len(relation) <= MOST_TERMS + 1:
            found += _best_sum(relation, rows, table, {rule.column for rule in found})
    return found + _converted(rows, table, found)


def _relations(rows: np.ndarray, table: Table) -> list[dict[int, int]]:
    """Coefficients by column, small whole numbers, of combinations that are constant.

    Columns are taken one after the other, those with most decimals first; one that the independent
    ones before it give by least squares, up to its rounding, is a relation.
    """
    half = [half_unit(decimals) for decimals in table.decimals_D]
    basis = [np.full(len(rows), len(rows) ** -0.5)]
    members: list[int] = []
    found: list[dict[int, int]] = []
    for d in sorted(table.originals, key=lambda d: half[d]):
        x = rows[:, d]
        deviation = float(x.std())
        rest, q = x, np.array(basis)
        for _ in range(2):  # twice is enough (Kahan)
            rest = rest - (q @ rest) @ q
        allowed = 1.5 * half[d] if deviation > UNITS * 2 * half[d] else 0.0
        if np.abs(rest).max() > max(allowed, FLOAT * deviation):
            basis.append(rest / np.linalg.norm(rest))
            members.append(d)
            continue
        inner = rows[:, members]
        weights = np.linalg.lstsq(inner - inner.mean(axis=0), x - x.mean(), rcond=None)[0]
        for factor in range(1, MOST_FACTOR + 1):
            whole = np.rint(factor * weights)
            if np.abs(factor * weights - whole).max(initial=0) < NEAR:
                if np.abs(whole).max(initial=0) <= MOST_FACTOR:
                    parts = zip(members, whole.astype(int).tolist(), strict=True)
                    found.append({d: -factor, **{m: w for m, w in parts if w}})
                break
    return found


def _sparser(relations: Sequence[dict[int, int]]) -> list[dict[int, int]]:
    """Relations of fewer columns, or of smaller coefficients, that say the same.

    >>> _sparser([{2: -1, 0: 1, 1: 1}, {4: -1, 0: 1, 1: 1, 3: 1}])
    [{2: -1, 0: 1, 1: 1}, {4: -1, 3: 1, 2: 1}]
    """

    def size(relation: Mapping[int, int]) -> tuple[int, int]:
        return len(relation), max(map(abs, relation.values()))

    found = sorted(relations, key=size)
    for i, each in enumerate(found):
        for other in found:
            if other is each:
                continue
            for shared in sorted(found[i].keys() & other.keys()):
                own, its = found[i].get(shared, 0), other[shared]
                columns = dict.fromkeys((*found[i], *other))
                total = {d: its * found[i].get(d, 0) - own * other.get(d, 0) for d in columns}
                divisor = math.gcd(*total.values()) * (-1 if its < 0 else 1)
                total = {d: c // divisor for d, c in total.items() if c}
                if total and size(total) < size(found[i]):
                    found[i] = total
    return found


def _best_sum(
    relation: Mapping[int, int], rows: np.ndarray, table: Table, taken: set[str]
) -> list[Sum]:
    """The relation as the sum that is best put back, none where it is not exact everywhere.

    Best is an average, then a total of which all others are parts; else the column that is farthest
    from 0, which is the least likely to come out below it.
    """

    def rank(d: int) -> tuple[int, bool, float]:
        is_total = all(c == -relation[d] for e, c in relation.items() if e != d)
        far = -float(np.abs(rows[:, d].mean()) / rows[:, d].std())
        return -abs(relation[d]), not is_total, far

    for d in sorted(relation, key=rank):
        if table.names[d] in taken or len(np.unique(rows[:, d])) < 3:
            continue
        terms = [(-c / relation[d], e) for e, c in sorted(relation.items()) if e != d]
        if rule := _sum(d, terms, rows, table):
            return [rule]
    return []


def _sum(d: int, terms: Sequence[tuple[float, int]], rows: np.ndarray, table: Table) -> Sum | None:
    """Column d as a sum of factors times columns, and a constant; None where a step breaks it."""
    rest = np.median(rows[:, d] - sum(factor * rows[:, e] for factor, e in terms))
    near = rounded(np.array(float(f"{rest:.9g}")), table.decimals_D[d])
    named = tuple((factor, table.names[e]) for factor, e in terms)
    for constant in dict.fromkeys((0.0, float(near))):
        rule = Sum(table.names[d], named, constant)
        if table.keeps(rule):
            return rule
    return None


def _converted(rows: np.ndarray, table: Table, known: Sequence[Sum]) -> list[Sum]:
    """Columns that are a factor times another one and a constant, up to their rounding.

    The factor has at most DIGITS digits: degrees, kilowatts, percent. One that is too coarse for
    `_relations` to see can be the other one rounded.
    """
    half_D = np.array([half_unit(decimals) for decimals in table.decimals_D])
    deviation_D = rows.std(axis=0)
    taken = {rule.column for rule in known}
    pairs = [frozenset(rule.columns) for rule in known]
    candidates: list[tuple[int, int, int, Sum]] = []
    for d, e in itertools.permutations(table.originals, 2):
        x, y = rows[:, d], rows[:, e]
        if table.names[d] in taken or frozenset((table.names[d], table.names[e])) in pairs:
            continue
        if deviation_D[d] <= 2 * UNITS * half_D[d]:
            if half_D[e] < half_D[d] and np.abs(x - y).max() <= 1.5 * half_D[d]:
                rule = _sum(d, [(1.0, e)], rows, table)
                if rule and not rule.constant and len(np.unique(x)) >= 3:
                    candidates.append((1, d, e, rule))
            continue
        centred = y - y.mean()
        factor = float(centred @ x / (centred @ centred))
        rest = x - x.mean() - factor * centred
        if np.abs(rest).max() > max(1.5 * half_D[d], FLOAT * deviation_D[d]):
            continue
        for digits in range(1, DIGITS + 1):
            if rule := _sum(d, [(float(f"{factor:.{digits}g}"), e)], rows, table):
                candidates.append((digits, d, e, rule))
                break
    found: list[Sum] = []
    for *_, rule in sorted(candidates, key=lambda each: each[:3]):
        if rule.column not in taken and frozenset(rule.columns) not in pairs:
            found.append(rule)
            taken.add(rule.column)
            pairs.append(frozenset(rule.columns))
    return found


def ratios(table: Table) -> list[Ratio]:
    """Shares, percentages, means: columns that are one divided by another at every step."""
    first, found = table.some(FIRST), []
    half = np.array([half_unit(decimals) for decimals in table.decimals_D])
    half[[d for d, decimals in enumerate(table.decimals_D) if decimals == 0]] = 0.0
    originals = np.array(table.originals, int)
    deviation = table.some(SAMPLE).std(axis=0)
    # Those with fewest decimals are the computed ones.
    for d in sorted(table.originals, key=lambda d: -half_unit(table.decimals_D[d])):
        y, unit = table.rows_RD[:, d], 2 * half_unit(table.decimals_D[d])
        most = y.max()
        if y.min() < 0 or len(np.unique(table.some(SAMPLE)[:, d])) <= FEW:
            continue
        if deviation[d] < UNITS * unit:
            continue
        for factor, whole in itertools.product((100.0, 1.0), table.originals):
            if (most > factor and factor == 100) or whole == d:
                continue
            share, size = first[:, d] / factor, first[:, whole]
            error = np.abs(size) * (0.51 * unit / factor + FLOAT * (unit == 0))
            error = (error + share * half[whole])[:, None] + half[originals]
            near = np.abs(first[:, originals] - (share * size)[:, None]) <= error
            sharp = np.median(error, axis=0) < SHARP * deviation[originals]
            for part in originals[near.all(axis=0) & sharp].tolist():
                rule = Ratio(table.names[d], factor, table.names[part], table.names[whole])
                if len({d, part, whole}) < 3 or not table.keeps(rule):
                    continue
                if most <= factor or _is_rounded(rule, table):
                    found.append(rule)
    return found


def _is_rounded(rule: Ratio, table: Table) -> bool:
    """Whether a ratio is off by its own rounding, as what was computed last is.

    Of a total, a number and their mean it is the mean that is; of a total, a number and a price
    none is: a price that was computed would not give the total back.
    """
    unit = 2 * half_unit(table.decimals_of(rule.column))
    rest = table.column(rule.column) - computed(rule, table.column)
    return not unit or bool(np.sqrt(np.mean(rest**2)) > ROUGH * unit)
