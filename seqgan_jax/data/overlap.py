"""Rows that are overlapping windows of long series: found by their values, put back in order.

Row j continues row i at stride s where the last T - s steps of i are the first T - s of j. For each
stride, the ends of all rows are compared with the beginnings of all rows by hashes that roll from
one stride to the next: O(N T log N) time, O(N) memory.

Only an end that no other row has and a beginning that no other row has are linked, or rows that
stand one below the other: a stretch of zeros, or a short piece of few values, says nothing. Where
rows are independent, a piece p is the end of Poisson(a_p) rows and the beginning of Poisson(b_p)
rows, so by Cauchy-Schwarz

    E[links] = sum_p a_p b_p exp(-a_p - b_p) <= E[ends of two rows + beginnings of two rows]

so rows overlap where there are many more links than pieces that are there twice.

Shapes: N rows, T steps, D columns.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

BASE = 0x9E3779B97F4A7C15  # of the polynomial hash, odd
SAMPLED = 4096  # pieces that are looked at first, where there are more
CHANCE = 12  # links that are still chance, where no piece is there twice
MANY = 4  # times as many links as pieces that are there twice: few of both say little


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Where each row is in the long series that it was cut from.

    Args:
      series_N: number of its series, from 0. A row that overlaps no other is one of its own.
      starts_N: its first step, from 0 at the first row of the series.
      stride: the commonest distance of neighbours.
    """

    series_N: np.ndarray
    starts_N: np.ndarray
    stride: int

    def __getitem__(self, rows: np.ndarray) -> "Windows":
        """Some of the rows."""
        return Windows(self.series_N[rows], self.starts_N[rows], self.stride)

    def __str__(self) -> str:
        sizes = np.bincount(self.series_N)
        several = sizes[sizes > 1]
        number = "one long series" if len(several) == 1 else f"{len(several):,} long series"
        return (
            f"{several.sum():,} of {sizes.sum():,} sequences are overlapping windows of {number} "
            f"(stride {self.stride})"
        )

    def blocks(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows in order of time, and the block that each of them is then in, [N] both.

        A block is the rows that begin within `length` steps of a series; blocks count from 0.
        """
        series, block = self.series_N, self.starts_N // length
        order = np.lexsort((self.starts_N, series))
        new = (np.diff(series[order]) != 0) | (np.diff(block[order]) != 0)
        return order, np.cumsum(np.r_[False, new])


def find(x_NTD: np.ndarray) -> Windows | None:
    """Which rows are overlapping windows of which series, None where none are.

    Windows may be of several series, at any stride, in any order, with copies, and some may be
    missing.

    >>> series = np.random.default_rng(0).normal(size=(100, 1))
    >>> rows = np.stack([series[3 * i : 3 * i + 10] for i in range(30)])
    >>> windows = find(rows[::-1])
    >>> windows.stride, windows.starts_N[:4].tolist()
    (3, [87, 84, 81, 78])
    >>> find(np.random.default_rng(0).normal(size=(30, 10, 1)))
    """
    if not _are_many_links(x_NTD):
        return None
    numbers = np.arange(len(x_NTD))
    follows, distance = np.full(len(x_NTD), -1), np.zeros(len(x_NTD), np.int64)
    is_first = np.ones(len(x_NTD), bool)

    def link(i: np.ndarray, j: np.ndarray, stride: int) -> None:
        is_open = (follows[i] < 0) & is_first[j]
        i, j = i[is_open], j[is_open]
        follows[i], distance[i], is_first[j] = j, stride, False

    pieces = _pieces(x_NTD)
    originals, original_N = _originals(next(pieces)[1])
    for stride, ends, beginnings in pieces:
        i, j, once, twice = _links(ends, beginnings, originals, originals)
        many = np.count_nonzero((follows[i] < 0) & is_first[j]) > CHANCE + MANY * twice
        believed = bool(many) or _are_in_order(x_NTD[:, stride:], ends, beginnings)
        if believed:
            below = np.flatnonzero(ends[:-1] == beginnings[1:])
            link(below, below + 1, stride)  # need not be the only ones
        if believed or 2 * once > len(originals):  # else pieces are too short to be told apart
            link(i, j, stride)
        if np.count_nonzero(follows < 0) == 1:
            break
    below = np.flatnonzero(original_N[:-1] == original_N[1:])
    link(below, below + 1, 0)
    series_N, starts_N = _chains(follows, distance)
    # Copies are where their originals are. Series that share rows are parts of one, unless what
    # they share is a constant stretch.
    alone_N = (follows < 0) & is_first
    place_N = numbers.copy()
    place_N[original_N[~alone_N]] = numbers[~alone_N]
    place_N = place_N[original_N]
    series_N[alone_N], starts_N[alone_N] = (each[place_N[alone_N]] for each in (series_N, starts_N))
    apart = np.flatnonzero(series_N != series_N[place_N])
    for row in apart[np.any(x_NTD[apart, 1:] != x_NTD[apart, :-1], axis=(1, 2))]:
        if series_N[row] != series_N[place_N[row]]:
            moved = series_N == series_N[row]
            starts_N[moved] += starts_N[place_N[row]] - starts_N[row]
            series_N[moved] = series_N[place_N[row]]
    series_N = np.unique(series_N, return_inverse=True)[1]
    if series_N.max() == len(series_N) - 1:
        return None
    first = np.full(series_N.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, series_N, starts_N)
    commonest = int(np.bincount(distance[distance > 0]).argmax())
    return Windows(series_N, starts_N - first[series_N], commonest)


def independent_blocks(x_NTD: np.ndarray) -> np.ndarray:
    """Which block each row is in, [N] int32: overlapping windows that begin within T steps are one
    block, every other row is its own. For errors of means over rows that depend on each other."""
    windows = find(x_NTD)
    if windows is None:
        return np.arange(len(x_NTD), dtype=np.int32)
    order_N, block_N = windows.blocks(x_NTD.shape[1])
    blocks = np.empty(len(x_NTD), np.int32)
    blocks[order_N] = block_N
    return blocks


def num_steps(x_NTD: np.ndarray) -> int:
    """How many steps with any value there are; those that several rows share count once.

    >>> series = np.random.default_rng(0).normal(size=(100, 1))
    >>> num_steps(np.stack([series[3 * i : 3 * i + 10] for i in range(30)]))
    97
    >>> num_steps(np.arange(60.0).reshape(3, 10, 2))
    30
    """
    windows, length = find(x_NTD), x_NTD.shape[1]
    if windows is None:
        there = ~np.isnan(x_NTD).all(axis=2)
        return int(np.count_nonzero(there) * count_distinct(x_NTD) / len(x_NTD))
    order = np.lexsort((windows.starts_N, windows.series_N))
    same = np.diff(windows.series_N[order]) == 0
    apart = np.where(same, np.diff(windows.starts_N[order]), length)
    return int(np.minimum(apart, length).sum()) + length


def _are_many_links(x_NTD: np.ndarray) -> bool:
    """Whether there are so many links at any stride that rows cannot be independent.

    Copies hide links. But where most rows are copies, those that are left are not independent.
    """
    numbers = np.arange(len(x_NTD))
    every = np.uint64(1 + len(numbers) // SAMPLED)
    pieces = _pieces(x_NTD)
    originals, _ = _originals(next(pieces)[1])
    looked_at = [(numbers, 0.0)]
    if 2 * len(originals) >= len(numbers) > len(originals):
        looked_at.append((originals, 0.5))
    for stride, ends, beginnings in pieces:
        if _are_in_order(x_NTD[:, stride:], ends, beginnings):
            return True
        for rows, share in looked_at:
            # Sampled by the piece, so that equal ones stay together.
            some, others = (rows[each[rows] % every == 0] for each in (ends, beginnings))
            i, _, _, twice = _links(ends, beginnings, some, others)
            if len(i) > max(CHANCE + MANY * twice, share * len(some)):
                return True
    return False


def _are_in_order(ends_NLD: np.ndarray, ends: np.ndarray, beginnings: np.ndarray) -> bool:
    """Whether most rows go on in the row below.

    More than half of those whose end is no constant stretch must, and many more than by chance.
    """
    same = ends[:-1] == beginnings[1:]
    if 2 * np.count_nonzero(same) < len(same):
        return False
    varies = np.any(ends_NLD[:-1, 1:] != ends_NLD[:-1, :-1], axis=(1, 2))
    (values, counts), (others, numbers) = (
        np.unique(each, return_counts=True) for each in (ends, beginnings)
    )
    _, a, b = np.intersect1d(values, others, assume_unique=True, return_indices=True)
    chance = np.sum(counts[a] * numbers[b] / len(ends) ** 2)
    number = np.count_nonzero(varies)
    least = max(number / 2, CHANCE + 2 * chance * number)
    return bool(np.count_nonzero(same & varies) > least)


def _originals(hash_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that equal no earlier one, and for each row the one that it equals."""
    _, first, which = np.unique(hash_N, return_index=True, return_inverse=True)
    return np.sort(first), first[which]


def _links(
    ends: np.ndarray, beginnings: np.ndarray, rows: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """(i, j) of `rows` and `others` whose end and beginning are equal, and there once; how many
    ends are there once, and how many pieces twice."""
    once, places, twice = [], [], 0
    for pieces, each in ((ends[rows], rows), (beginnings[others], others)):
        values, first, counts = np.unique(pieces, return_index=True, return_counts=True)
        once.append(values[counts == 1])
        places.append(each[first[counts == 1]])
        twice += int(np.count_nonzero(counts == 2))
    _, a, b = np.intersect1d(once[0], once[1], assume_unique=True, return_indices=True)
    i, j = places[0][a], places[1][b]
    return i[i != j], j[i != j], len(once[0]), twice


def _chains(follows: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the series of each row and its first step in it.

    Rows that go round in a circle are windows of a periodic series, without a first or a last one:
    they are series of their own.
    """
    nexts, steps = follows.tolist(), distance.tolist()
    series, starts = [-1] * len(nexts), [0] * len(nexts)
    has_first = np.ones(len(nexts), bool)
    has_first[follows[follows >= 0]] = False
    number = 0
    for first in np.flatnonzero(has_first).tolist():
        row, start = first, 0
        while row >= 0:
            series[row], starts[row] = number, start
            row, start = nexts[row], start + steps[row]
        number += 1
    series_N = np.array(series)
    circular = np.flatnonzero(series_N < 0)
    series_N[circular] = number + np.arange(len(circular))
    return series_N, np.array(starts)


def _pieces(x_NTD: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each stride s from 0 with hashes of x[:, s:] and of x[:, : T - s], uint64 [N].

    hash(x_0 ... x_n) = sum_t h(x_t) BASE^t mod 2^64
    """
    length = x_NTD.shape[1]
    power = [np.uint64(pow(BASE, t, 1 << 64)) for t in range(length)]
    inverse = np.uint64(pow(BASE, -1, 1 << 64))
    end: np.ndarray = np.zeros(len(x_NTD), np.uint64)
    for t in range(length):
        end = end + _mixed(x_NTD[:, t]) * power[t]
    beginning = end
    for s in range(length):
        yield s, end, beginning
        end = (end - _mixed(x_NTD[:, s])) * inverse
        beginning = beginning - _mixed(x_NTD[:, length - 1 - s]) * power[length - 1 - s]


def _mixed(x_ND: np.ndarray) -> np.ndarray:
    """A hash of each step, uint64 [N]; all NaN are one value, and so are both zeros."""
    total: np.ndarray = np.zeros(len(x_ND), np.uint64)
    for d in range(x_ND.shape[1]):
        x_N = x_ND[:, d] + 0.0
        x_N[np.isnan(x_N)] = np.nan
        total = total + x_N.view(np.uint64) + np.uint64(d)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            total = (total ^ (total >> np.uint64(shift))) * np.uint64(factor)
    return total


def count_distinct(x_NTD: np.ndarray) -> int:
    """How many rows there are, not counting those that equal an earlier one."""
    return len(np.unique(next(_pieces(x_NTD))[1]))
