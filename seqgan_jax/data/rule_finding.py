"""Rules that the training part shows: never broken in it, where chance would have broken them.

A rule is believed only when the data had many occasions to break it. For an order a <= b, let g be
the gap b - a, m_t its linear regression on its last values, e_t = g_t - m_t the noise, and s_t its
standard deviation, the local one where that is lower. Were g a column like any other, either of

    S = sum_t log(1 + exp(-2 g_t m_t / s_t^2)),
    S = sum_t min(Phi(-m_t / s_t), share of e / s that is above m_t / s_t)

would be small, as P(g never below 0) is at most about exp(-S). The first is the chance that
Gaussian g_t of the sizes seen all have the sign +; the second the compensator of the number of
falls, with noise no wilder downwards than it is upwards. So columns that are far apart (humidity
above temperature) are no rule, S is 0; nor are random walks that have not met. An order must also
be one that the two columns would break if each went its own way: pairs of values from different
times do. An increase is the same, said of the increments, or has many rises and no fall. So is one
that restarts, of the rises between restarts: `rule_restarts`.

Sums and ratios are exact at every step: `rule_sums`. What is interpolated: `rule_stretches`.

Shapes: N sequences, T steps, D columns.
"""

import dataclasses
import graphlib
import itertools
import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from seqgan_jax.data import rule_restarts, rule_stretches
from seqgan_jax.data.rule_sums import SAMPLE, Table, ratios, sums
from seqgan_jax.data.rule_texts import Increase, Order, Resampled, Restart, Rule, Sum
from seqgan_jax.data.rule_values import half_unit, keeps
from seqgan_jax.data.rules import Rules
from seqgan_jax.errors import UsageError

CHANCE = 4.5  # S of a rule, to which the logarithm of the number of candidates is added
CROSSING = 0.02  # share of pairs from different times that break an order
MOST_STATES = 50  # of a column of which changes begin a count anew
CODES = 12  # columns of no more different values are codes or small counts: they have no order
LEAST_RISES = 30
MANY_RISES = 1000  # without a fall: an increase, however far from 0 they are
LARGEST = 1e100  # so that squares are finite, and not 0 for what is not
LAGS = 3  # values that the next is expected from
MEDIAN = 1.4826**2  # variance of a Gaussian, by the median of its squares: outliers do not count
LOCAL = 200  # transitions that a local standard deviation is of


def find(
    x_NTD: np.ndarray,
    names: Sequence[str],
    decimals_D: Sequence[int | None],
    codes: Collection[int] | None = (),
) -> tuple[Rule, ...]:
    """The rules that the training part shows, fit for `Rules`.

    Of rules that cannot all hold by construction, sums and ratios come before increases, those
    before what is interpolated, and that before orders; and see `with_copies`.

    Args:
      x_NTD: in units of the data, complete.
      names: of the D columns.
      decimals_D: of each, None where it has as many as a float64.
      codes: columns without size; None: nothing is interpolated.

    >>> low = np.random.default_rng(0).normal(size=(50, 20)).cumsum(axis=1).round(1)
    >>> high = low + np.random.default_rng(1).integers(0, 20, size=low.shape) / 10
    >>> print(*find(np.stack([high, low], axis=-1).round(1), ["high", "low"], [1, 1]))
    low <= high
    """
    x = np.asarray(x_NTD, np.float64)
    rows = x.reshape(-1, x.shape[-1])
    originals, copies = _originals(rows)
    table = Table(rows, tuple(names), tuple(decimals_D), tuple(originals))
    found: list[Rule] = []

    def accept(rules: Iterable[Rule]) -> None:
        for rule in rules:
            try:
                Rules((*found, rule), table.names, table.decimals_D)
            except UsageError:  # true as well, but it cannot hold by construction beside the others
                if isinstance(rule, Order) and len(rule.columns) > 2:  # but a part of it may
                    accept(map(Order, itertools.pairwise(rule.columns)))
                continue
            found.append(rule)

    if originals:
        accept(sums(table))
        accept(ratios(table))
        if x.shape[1] > 1:
            fresh = _fresh(x)
            accept(_increases(x, table, fresh))
            accept(_restarts(x, table, fresh))
            taken = {rule.columns[0] for rule in found}  # they can have no lower bound
            if codes is not None:
                free = [d for d in originals if names[d] not in taken]
                accept(rule_stretches.find(x, names, decimals_D, fresh, free, codes))
            pairs = _orders(x, table, fresh)
            pairs = _reduced(
                [*pairs, *(p for p in _of_readings(x, table, found) if p not in pairs)]
            )
            pairs = [p for p in pairs if names[p[1]] not in taken]
            pairs = [(a, b) for a, b in pairs if _beside(found, names[a], names[b])]
            accept(_chains(pairs, names))
    return (*found, *_copied(found, copies, names))


def _of_readings(x_NTD: np.ndarray, table: Table, found: Sequence[Rule]) -> list[tuple[int, int]]:
    """Orders that readings show: between them a column could hardly cross another."""
    pairs = []
    for rule in found:
        if not isinstance(rule, Resampled) or 2 * rule.steps > x_NTD.shape[1]:
            continue
        y_NTD = rule_stretches.at_readings(x_NTD, table.names, table.decimals_D, rule)
        places = tuple(table.names.index(name) for name in rule.columns)
        rows = y_NTD.reshape(-1, y_NTD.shape[-1])
        own = dataclasses.replace(table, rows_RD=rows, originals=places)
        for low, high in _orders(y_NTD, own, _fresh(y_NTD[..., list(places)])):
            if np.all(x_NTD[..., low] <= x_NTD[..., high]):
                pairs.append((low, high))
    return pairs


def _beside(found: Sequence[Rule], low: str, high: str) -> bool:
    """Whether a column can be put back from one below it: with readings, from readings alone."""
    groups = [each for r in found if isinstance(r, Resampled) for each in (r.straight, r.repeated)]
    return all(low in group for group in groups if high in group)


def with_copies(x_NTD: np.ndarray, names: Sequence[str], rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """These rules, and "copy = column" for each copy of a column that one of them is about.

    Without it the two would be equal no more: one of them is learned by its distance to a bound.
    """
    copies = _originals(np.asarray(x_NTD, np.float64).reshape(-1, x_NTD.shape[-1]))[1]
    return (*rules, *_copied(rules, copies, names))


def _copied(
    rules: Sequence[Rule], copies: Iterable[tuple[int, int]], names: Sequence[str]
) -> list[Rule]:
    about = {name for rule in rules for name in rule.columns}
    found: list[Rule] = []
    for pair in copies:
        there = [d for d in pair if names[d] in about]
        if len(there) == 1:
            other = pair[1] if there == [pair[0]] else pair[0]
            found.append(Sum(names[other], ((1.0, names[there[0]]),)))
            about.add(names[other])
    return found


def _originals(rows_RD: np.ndarray) -> tuple[list[int], list[tuple[int, int]]]:
    """Columns that vary by what can be squared, and are no copies; (copy, original)."""
    kept: list[int] = []
    copies: list[tuple[int, int]] = []
    if not len(rows_RD):
        return kept, copies
    for d, x in enumerate(rows_RD.T):
        same = [e for e in kept if x[0] == rows_RD[0, e] and np.array_equal(x, rows_RD[:, e])]
        if same:
            copies.append((d, same[0]))
        elif np.abs(x).max() < LARGEST and np.abs(x - x[0]).max() > 1 / LARGEST:
            kept.append(d)
    return kept, copies


def _fresh(x_NTD: np.ndarray) -> np.ndarray:
    """Which steps from the second on come from their step before for the first time, [N, T - 1].

    Windows that overlap hold the same transition many times.
    """
    rng = np.random.default_rng(0)
    scaled = x_NTD / (np.abs(x_NTD).max(axis=(0, 1)) + 1e-300)
    before, after = (scaled @ rng.normal(size=x_NTD.shape[-1]) for _ in range(2))
    first = np.unique(before[:, :-1] + after[:, 1:], return_index=True)[1]
    fresh = np.zeros((len(x_NTD), x_NTD.shape[1] - 1), bool)
    fresh.flat[first] = True
    return fresh


def _evidence_of_gap(g_NT: np.ndarray, fresh_NT: np.ndarray, half: float) -> float:
    """S of a gap whose values are multiples of 2 half. One that stays as it was is no occasion."""
    lags = min(LAGS, g_NT.shape[1] // 2)
    steps = g_NT.shape[1] - lags
    now = g_NT[:, lags:]
    counts = fresh_NT[:, lags - 1 :] & (now != g_NT[:, lags - 1 : -1])
    past = np.stack([g_NT[:, i : i + steps] for i in range(lags)], axis=-1)
    if np.count_nonzero(counts) <= 2 * lags:
        return 0.0
    x, y = past[counts], now[counts]
    weights = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=None)[0]
    expected = y.mean() + (past - x.mean(axis=0)) @ weights
    return _evidence(now - expected, expected + half, counts)


def _evidence(noise_NT: np.ndarray, mean_NT: np.ndarray, counts_NT: np.ndarray) -> float:
    """The larger S of mean + noise >= 0, over the transitions that count."""
    from scipy.special import ndtr

    square = np.square(noise_NT)
    whole = min(square[counts_NT].mean(), MEDIAN * float(np.median(square[counts_NT])))
    sd = np.sqrt(np.minimum(_local(square, LOCAL * counts_NT.size / counts_NT.sum()), whole))
    is_in = counts_NT & (sd > 0)
    mean, noise = mean_NT[is_in] / sd[is_in], noise_NT[is_in] / sd[is_in]
    signs = np.log1p(np.exp(np.minimum(-2 * (mean + noise) * mean, 0.0))).sum()
    as_often_above = 1 - np.searchsorted(np.sort(noise), mean) / max(1, len(noise))
    return float(max(signs, np.minimum(ndtr(-mean), as_often_above).sum()))


def _local(square_NT: np.ndarray, count: float) -> np.ndarray:
    """Means over about `count` neighbours: parts of a long sequence, or several short ones."""
    steps = square_NT.shape[1]
    every = math.ceil(count / steps)  # sequences
    starts_N = np.arange(0, len(square_NT), every)
    starts_T = np.linspace(0, steps, max(1, int(steps / count)), endpoint=False).astype(int)
    sums = np.add.reduceat(np.add.reduceat(square_NT, starts_N, axis=0), starts_T, axis=1)
    length_N, length_T = np.diff([*starts_N, len(square_NT)]), np.diff([*starts_T, steps])
    means = sums / np.outer(length_N, length_T)
    return np.repeat(np.repeat(means, length_N, axis=0), length_T, axis=1)


def _increases(x_NTD: np.ndarray, table: Table, fresh: np.ndarray) -> list[Increase]:
    """Columns that never fall in a sequence, and rise in most of them."""
    found: list[Increase] = []
    for d in table.originals:
        rise = np.diff(x_NTD[..., d], axis=1)
        rises = rise[fresh]
        if np.any(rise < 0) or np.count_nonzero(rises) < LEAST_RISES:
            continue
        if np.mean(np.any(rise > 0, axis=1)) < 0.5:
            continue
        mean = rises.mean()
        if np.ptp(rise) <= 1e-9 * mean:
            found.append(Increase(table.names[d], float(f"{mean:.12g}")))
            continue
        size = np.full(rise.shape, mean + half_unit(table.decimals_D[d]))
        many = np.count_nonzero(rises) >= MANY_RISES
        least = CHANCE + math.log(len(table.originals))
        by = [rule for e in table.originals if (rule := _by(x_NTD, table, d, e))]
        if many or by or _evidence(rise - mean, size, fresh) > least:
            found += [*by[:1], Increase(table.names[d])]
    return found


def _restarts(x_NTD: np.ndarray, table: Table, fresh: np.ndarray) -> list[Restart]:
    """Columns that never fall but where they count anew, see `rule_restarts`."""
    found = []
    least = CHANCE + math.log(max(1, len(table.originals)))
    some = table.some(SAMPLE)
    few = [d for d in table.originals if len(np.unique(some[:, d])) <= MOST_STATES]
    for d in table.originals:
        x_NT, decimals = x_NTD[..., d], table.decimals_D[d]
        by = (e for e in few if e != d and _counts_with(x_NTD, d, e, fresh, least, decimals))
        if d not in few and (e := next(by, None)) is not None:
            found.append(Restart(table.names[d], when=table.names[e]))
            continue
        candidate = rule_restarts.candidate(x_NT, table.names[d], decimals, fresh)
        if candidate is None:
            continue
        if min(candidate.landing, _evidence_of_rises(x_NT, candidate.rises_NT, decimals)) > least:
            found.append(candidate.rule)
    return found


def _evidence_of_rises(x_NT: np.ndarray, rises_NT: np.ndarray, decimals: int | None) -> float:
    """S of rises that could be falls; `rises_NT` bool [N, T - 1]."""
    rise = np.diff(x_NT, axis=1)
    mean = rise[rises_NT].mean()
    return _evidence(rise - mean, np.full(rise.shape, mean + half_unit(decimals)), rises_NT)


def _counts_with(
    x_NTD: np.ndarray, d: int, e: int, fresh: np.ndarray, least: float, decimals: int | None
) -> bool:
    """Whether column d counts anew where column e changes."""
    some = x_NTD[: 1 + SAMPLE // x_NTD.shape[1]]  # few steps tell most columns
    if rule_restarts.falls_beside(some[..., d], some[..., e]):
        return False
    x_NT = x_NTD[..., d]
    found = rule_restarts.by_another(x_NT, x_NTD[..., e], fresh)
    if found is None:
        return False
    return min(found[1], _evidence_of_rises(x_NT, found[0], decimals)) > least


def _by(x_NTD: np.ndarray, table: Table, d: int, e: int) -> Increase | None:
    """That column d increases by column e, as a total by what is new; None where it does not."""
    rule = Increase(table.names[d], by=table.names[e])
    some_NTD = x_NTD[: 1 + SAMPLE // x_NTD.shape[1]]
    for x in (some_NTD, x_NTD):  # few steps tell most columns

        def column(name: str, x: np.ndarray = x) -> np.ndarray:
            return x[..., table.names.index(name)]

        if d == e or not np.all(keeps(rule, column, table.decimals_of)):
            return None
    return rule


def _orders(x_NTD: np.ndarray, table: Table, fresh: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of columns (lower, higher) that are in order at every step, as few as say it all."""
    some = table.some(SAMPLE)
    sorted_D = {d: np.sort(some[:, d]) for d in table.originals}
    ordered = [d for d, x in sorted_D.items() if np.count_nonzero(np.diff(x)) >= CODES]
    least = CHANCE + math.log(max(1, math.comb(len(ordered), 2)))
    half = [half_unit(decimals) for decimals in table.decimals_D]
    pairs = []
    for low, high in itertools.permutations(ordered, 2):
        if sorted_D[low][-1] <= sorted_D[high][0] or np.any(some[:, low] > some[:, high]):
            continue
        broken = np.searchsorted(sorted_D[high], sorted_D[low]).mean() / len(some)
        if broken < CROSSING or np.any(table.rows_RD[:, low] > table.rows_RD[:, high]):
            continue
        gap = x_NTD[..., high] - x_NTD[..., low]
        if _evidence_of_gap(gap, fresh, min(half[low], half[high])) > least:
            pairs.append((low, high))
    return _reduced(pairs)


def _reduced(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without pairs that follow from others.

    >>> _reduced([(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)])
    [(0, 1), (1, 2), (2, 3)]
    """
    above: dict[int, set[int]] = {d: set() for pair in pairs for d in pair}
    for low, high in pairs:
        above[low].add(high)
    for middle, lower in itertools.product(above, repeat=2):  # Warshall: all that follows
        if middle in above[lower]:
            above[lower] |= above[middle]
    return [(a, c) for a, c in pairs if not any(c in above[b] for b in above[a] - {c})]


def _chains(pairs: Sequence[tuple[int, int]], names: Sequence[str]) -> list[Order]:
    """The pairs as few chains: each pair in one of them."""
    needs: dict[int, set[int]] = {}
    for low, high in pairs:
        needs.setdefault(high, set()).add(low)
    left, found = list(pairs), []
    for start in graphlib.TopologicalSorter(needs).static_order():
        while any(low == start for low, _ in left):
            chain = [start]
            while step := next((pair for pair in left if pair[0] == chain[-1]), None):
                left.remove(step)
                chain.append(step[1])
            found.append(Order(tuple(names[d] for d in chain)))
    return found
