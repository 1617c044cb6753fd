"""Finds columns that were interpolated, or repeated, between readings K steps apart.

Such a column bends (or changes) at readings alone: all distances between its bends in a sequence
are multiples of K, their greatest common divisor. Of n distances that have nothing to do with K all
are so with a chance of K^-n at most. A column that bends at half of its readings or more says where
these are; others that never bend elsewhere are read with it.

Shapes: N sequences, T steps, D columns, K phases.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from seqgan_jax.data.rule_texts import Resampled, Rule
from seqgan_jax.data.rule_values import FLOAT, half_unit, rounded
from seqgan_jax.data.stretches import Column, fits, forward

CHANCE = 30.0  # -log of the chance, to which the logarithm of the number of candidates is added
OFTEN = 0.5  # of its readings at which a column bends that says where they are
NEARLY = 0.9  # of the readings, that have no more decimals
SHORTEST = 4  # steps of a sequence
SOME = 1000  # distances that are looked at first


class _Candidate(NamedTuple):
    """A column that bends every K steps, or a multiple of them."""

    d: int
    steps: int
    straight: bool
    often: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """Columns that share their readings, and with which phases each sequence can begin."""

    steps: int
    columns: tuple[_Candidate, ...]
    good_NK: np.ndarray

    def rule(self, names: Sequence[str]) -> Resampled:
        """What is found."""
        straight, repeated = (
            tuple(names[d] for d in sorted(c.d for c in self.columns if c.straight == how))
            for how in (True, False)
        )
        return Resampled(straight, repeated, self.steps)


def find(
    x_NTD: np.ndarray,
    names: Sequence[str],
    decimals_D: Sequence[int | None],
    fresh_NT: np.ndarray,
    columns: Sequence[int],
    codes: Collection[int] = (),
) -> list[Resampled]:
    """The rules that every sequence keeps, of some `columns`; those that share readings in one.

    `fresh_NT` [N, T - 1] says which steps come from the one before for the first time; `codes` are
    columns without size, which nothing interpolates.
    """
    length = x_NTD.shape[1]
    if length < SHORTEST:
        return []
    candidates = []
    for d in columns:
        x_NT = x_NTD[..., d]
        changes = np.pad(x_NT[:, 1:] != x_NT[:, :-1], ((0, 0), (0, 1)))
        ways = [(changes, False)]
        if d not in codes:
            ways += [(bends(x_NT, None), True), (bends(x_NT, decimals_D[d]), True)]
        for at_NT, straight in ways:
            one = _candidate(x_NT, d, at_NT, straight, fresh_NT, len(columns))
            if one and (not one.often or 2 * one.steps <= length):
                candidates.append(one)
                break

    def good(one: _Candidate, steps: int) -> np.ndarray:
        return _fitted(x_NTD[..., one.d], decimals_D[one.d], one.straight, steps)[1]

    groups: list[_Group] = []
    for one in sorted(candidates, key=lambda one: (not one.often, one.steps)):
        near = [g for g in groups if one.steps % g.steps == 0 and not one.often]
        near += [g for g in groups if one.steps == g.steps and one.often]
        for group in sorted(near, key=lambda group: -group.steps):
            both_NK = group.good_NK & good(one, group.steps)
            if both_NK.any(axis=1).all():
                groups[groups.index(group)] = _Group(group.steps, (*group.columns, one), both_NK)
                break
        else:
            if one.often and (own_NK := good(one, one.steps)).any(axis=1).all():
                groups.append(_Group(one.steps, (one,), own_NK))
    return [group.rule(names) for group in groups]


def column_of(x_NT: np.ndarray, decimals: int | None, straight: bool, steps: int) -> Column:
    """How a column is between readings every so many steps: exactly, if all sequences are."""
    if not straight:  # no need to look
        return Column(straight, decimals, decimals)
    return _fitted(x_NT, decimals, straight, steps)[0]


def _fitted(
    x_NT: np.ndarray, decimals: int | None, straight: bool, steps: int
) -> tuple[Column, np.ndarray]:
    """`column_of`, and with which phases each sequence can begin, bool [N, K]."""
    at_bends = x_NT[bends(x_NT, decimals)] if straight else x_NT[:0, 0]
    column = Column(straight, decimals, decimals_of_readings(at_bends, decimals))
    good_NK = fits(x_NT[..., None], steps, [column])
    if straight and not good_NK.any(axis=1).all():
        column = column._replace(loose=True)
        good_NK = fits(x_NT[..., None], steps, [column])
    return column, good_NK


def decimals_of_readings(x_L: np.ndarray, decimals: int | None) -> int | None:
    """The decimals that nearly all of these readings have, at most `decimals`.

    >>> decimals_of_readings(np.array([0.5] * 19 + [0.25]), 7)
    1
    """
    for fewer in range(16 if decimals is None else decimals) if len(x_L) else ():
        near = np.abs(rounded(x_L, fewer) - x_L) <= FLOAT * np.abs(x_L)
        if np.mean(near) >= NEARLY:
            return fewer
    return decimals


def readings_of(
    x_NTD: np.ndarray,
    names: Sequence[str],
    decimals_D: Sequence[int | None],
    rules: Sequence[Rule],
) -> tuple[Column | None, ...]:
    """How each column is between readings, None where none are; () where none is."""
    found: list[Column | None] = [None] * len(names)
    for rule in rules:
        if not isinstance(rule, Resampled):
            continue
        for name in rule.columns:
            d, straight = names.index(name), name in rule.straight
            found[d] = column_of(x_NTD[..., d], decimals_D[d], straight, rule.steps)
    return tuple(found) if any(found) else ()


def at_readings(
    x_NTD: np.ndarray, names: Sequence[str], decimals_D: Sequence[int | None], rule: Resampled
) -> np.ndarray:
    """All columns at the steps of the readings of a rule, [N, T / K, D]."""
    columns = readings_of(x_NTD, names, decimals_D, [rule])
    places = [names.index(name) for name in rule.columns]
    own = [column for d in places if (column := columns[d])]
    first_N = forward(x_NTD[..., places], rule.steps, own)[1]
    at = first_N[:, None] - 1 + rule.steps * np.arange(x_NTD.shape[1] // rule.steps)
    return np.take_along_axis(x_NTD, at[..., None], axis=1)


def bends(x_NT: np.ndarray, decimals: int | None) -> np.ndarray:
    """At which steps a column bends more than values with so many decimals may, bool [N, T].

    None of rounding: of values that are exactly on their lines.
    """
    found = np.zeros(x_NT.shape, bool)
    size = np.abs(x_NT).max(axis=1, keepdims=True)
    allowed = 4.04 * (half_unit(decimals) + FLOAT * size)
    found[:, 1:-1] = np.abs(x_NT[:, 2:] - 2 * x_NT[:, 1:-1] + x_NT[:, :-2]) > allowed
    return found


def _candidate(
    x_NT: np.ndarray, d: int, at_NT: np.ndarray, straight: bool, fresh_NT: np.ndarray, number: int
) -> _Candidate | None:
    """A column that bends, or changes, at some steps."""
    rows, at = np.nonzero(at_NT)
    within = rows[1:] == rows[:-1]
    distances = np.diff(at)[within]
    steps = int(np.gcd.reduce(distances[:SOME])) if len(distances) else 0
    if steps < 2 or (steps := int(np.gcd.reduce(distances))) < 2:
        return None
    new = fresh_NT[rows[1:][within], at[1:][within]]
    least = CHANCE + math.log(number * x_NT.shape[1])
    if np.count_nonzero(new) * math.log(steps) < least:
        return None
    return _Candidate(d, steps, straight, bool(len(distances) * steps >= OFTEN * distances.sum()))
