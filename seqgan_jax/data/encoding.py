"""How the columns of a table are learned: rules between them, kinds, scaling; fitted in one place.

Shapes: N sequences, T steps, D columns of the data, E inner columns (after rules).
"""

import dataclasses
import itertools
import math
from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np
from scipy.special import ndtr

from seqgan_jax.config import DataConfig
from seqgan_jax.data import (
    bounds,
    columns,
    grids,
    kinds,
    lengths,
    restarts,
    rule_finding,
    rule_stretches,
)
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.form import Form
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, GRID, MOST_ATOMS, Kind
from seqgan_jax.data.kind_finding import FINEST
from seqgan_jax.data.rule_texts import Order, Resampled, Restart, Rule, parse
from seqgan_jax.data.rule_values import Grid, Table, on_grid
from seqgan_jax.data.rules import ABOVE, Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import UsageError

Value = TypeVar("Value")
NOT_NEGATIVE = Limits(0.0, math.inf, True, "never below 0")
EXPECTED = 7.0
LARGEST = 1e100  # so that squares are finite


def fit(
    train_NTD: np.ndarray,
    names: Sequence[str],
    config: DataConfig,
    form: Form | None = None,
    gaps_D: np.ndarray | None = None,
    ends: bool = False,
) -> Scaler:
    """The scaling, kinds and rules of the training part, with what --rule, --rules, --kind, --log
    and --bounds say. With `ends` it is NaN after the end of each sequence.

    `gaps_D` [D] says which columns miss values, in this part or in another; None: in this.

    Raises:
      DataError: a column cannot be what is asked, or breaks a rule.
      UsageError: what is asked contradicts itself.
    """
    there_NT = lengths.there(train_NTD) if ends else None
    train_NTD = lengths.filled(train_NTD) if ends else train_NTD
    limits_D = bounds.of_columns(config.log, config.bounds, names)
    asked_D = asked_of(names, config, form)
    limited = {
        name
        for name, limits, kind in zip(names, limits_D, asked_D, strict=True)
        if limits or kind == kinds.LABEL
    }
    if gaps_D is None:
        gaps_D = np.isnan(train_NTD).any(axis=(0, 1))
    smooth = {name for name, kind in zip(names, asked_D, strict=True) if kind == CONTINUOUS}
    rules = rules_of(train_NTD, names, config, form, limited, gaps_D, smooth, ends)
    rules = _on_grids(rules, train_NTD, asked_D)
    once_NT = kinds.once(train_NTD) if there_NT is None else there_NT
    if not rules:
        words = _words(form)
        found = kinds.find(train_NTD, asked_D, words, names, once_NT, gaps_D.tolist())
        of_columns = _found_limits(train_NTD, found, limits_D, asked_D, once_NT)
        fenced = _fenced(train_NTD, found, of_columns, once_NT, ends)
        return Scaler.fit(train_NTD, of_columns, fenced, there_NT=there_NT)
    y_NTE = rules.forward(train_NTD)
    source, inner = rules.source_E, rules.inner_names
    for d, limits in enumerate(limits_D):
        if limits is not None and names[d] not in inner:
            raise UsageError(
                f"{limits.flag}: a rule holds for column {names[d]!r} ({rules}), which is learned "
                "by its distance from others. Leave one out: --rules none, or the bounds."
            )
    for d, kind in enumerate(asked_D):
        if kind and d not in source:
            flag = "--static or --kind" if kind == kinds.STATIC else "--kind"
            raise UsageError(
                f"{flag} {names[d]}:{kind}: the column is computed by a rule ({rules}). Leave one "
                f"out: --rules none, or {flag}."
            )
    own = [inner[e] == names[d] for e, d in enumerate(source)]
    is_code = rules.is_clock | rules.is_restart
    words = tuple(
        (is_word and own[e]) or bool(is_code[e])
        for e, is_word in enumerate(_take(_words(form), source, False))
    )
    gaps_E = _take(gaps_D.tolist(), source, False)
    asked_E = tuple(
        None if is_one else asked
        for asked, is_one in zip(_take(asked_D, source, None), is_code, strict=True)
    )
    found = _kinds_of(rules, y_NTE, asked_E, words, once_NT, gaps_E)
    limits_E = [limits_D[d] if own[e] else None for e, d in enumerate(source)]
    for e in np.flatnonzero(rules.nonnegative):
        found, limits_E = _not_negative(found, limits_E, int(e))
    found = tuple(
        _from_zero(kind) if zero else _open(kind) if static else kind
        for kind, zero, static in zip(
            found, rules.zero_first | rules.is_restart, rules.static, strict=True
        )
    )
    found, limits_E = _restarting(rules, found, limits_E)
    followers = {e for clock in rules.clocks for e in (*clock.straight, *clock.repeated)}
    found = tuple(_kept(kind) if e in followers else kind for e, kind in enumerate(found))
    limits_E = _found_limits(y_NTE, found, limits_E, asked_E, once_NT)
    fenced = _ended(rules, _fenced(y_NTE, found, limits_E, once_NT, ends))
    return Scaler.fit(train_NTD, limits_E, fenced, rules, there_NT)


def asked_of(
    names: Sequence[str], config: DataConfig, form: Form | None = None
) -> tuple[str | None, ...]:
    """The kinds that --kind, --static and --label ask for, see `kinds.of_columns`.

    The label before a row that is a sequence is no column.
    """
    label = config.label if form is not None and form.layout != "rows" else ""
    return kinds.of_columns(config.kind, names, config.static, label)


def asked_of_streams(names: Sequence[str], config: DataConfig) -> tuple[str | None, ...]:
    """The kinds that --kind asks for of streamed data, whose rules are not known.

    Raises:
      UsageError: rules are asked for.
    """
    if config.rule:
        raise UsageError(
            "--rule is not possible where data are streamed. Make --memory larger, so that they "
            "are read at once, or leave it out."
        )
    return asked_of(names, config)


def rules_of(
    train_NTD: np.ndarray,
    names: Sequence[str],
    config: DataConfig,
    form: Form | None = None,
    limited: Collection[str] = (),
    gaps_D: np.ndarray | None = None,
    smooth: Collection[str] = (),
    ends: bool = False,
) -> Rules:
    """The rules that are asked for, and with --rules auto those that the data show beside them.

    None is looked for among columns of which something else is asked, such as `limited` ones, or
    which miss values. What is interpolated is not looked for among those asked for as continuous
    (`smooth`), nor in sequences with `ends`.

    Raises:
      UsageError: a rule is asked for of a column that misses values, or one about readings where
        sequences are too short, of words, or have ends.
    """
    whole = [d for d in range(len(names)) if gaps_D is None or not gaps_D[d]]
    decimals_D = (
        tuple(column.decimals for column in form.columns)
        if form is not None
        else tuple(columns.decimals_of(train_NTD[..., d].ravel()) for d in range(len(names)))
    )
    given = tuple(parse(text, names) for text in config.rule)
    for rule in given:
        if gone := [name for name in rule.columns if names.index(name) not in whole]:
            raise UsageError(
                f'--rule "{rule}": column {gone[0]!r} misses values, and a rule is not yet learned '
                "around gaps. Leave the rule out, or fill the gaps in: --missing interpolate."
            )
        if isinstance(rule, Resampled):
            _refuse_readings(rule, names, form, train_NTD.shape[1], ends)
        if isinstance(rule, Restart):
            _refuse_fine(rule, decimals_D[names.index(rule.column)])
    about = {name for rule in given for name in rule.columns} | set(limited)
    if config.rules == "auto":
        x_NTD = train_NTD if len(whole) == len(names) else train_NTD[..., whole]
        some, decimals = [names[d] for d in whole], [decimals_D[d] for d in whole]
        words = _words(form)
        codes = None if ends else [i for i, d in enumerate(whole) if words and words[d]]
        found = rule_finding.find(x_NTD, some, decimals, codes) if whole else ()
        other = {name for name in names if name not in about and name not in smooth}
        found = tuple(r.only(other) if isinstance(r, Resampled) else r for r in found)
        static = _static_names(train_NTD, names)
        given += tuple(
            rule
            for rule in found
            if rule.columns and not about & set(rule.columns) and not _unsettles(rule, static)
        )
    if not given:
        return Rules()
    readings_D = rule_stretches.readings_of(train_NTD, names, decimals_D, given)
    every = rule_finding.with_copies(train_NTD, names, given)
    rules = Rules(every, tuple(names), decimals_D, readings_D=readings_D)
    rules.check(train_NTD)
    tops: list[float | None] = [None] * len(names)
    for rule in every:
        if isinstance(rule, Restart):
            d = names.index(rule.column)
            tops[d] = restarts.top_of(
                train_NTD[..., d], rule, decimals_D[d], rules.changes(rule, train_NTD)
            )
    return dataclasses.replace(rules, tops_D=tuple(tops)) if any(tops) else rules


def _refuse_readings(
    rule: Resampled, names: Sequence[str], form: Form | None, length: int, ends: bool
) -> None:
    """Refuse what cannot be said of readings."""
    why = ""
    if ends:
        why = "sequences end at steps of their own, and readings are not yet learned there"
    elif rule.steps >= length:
        why = f"sequences of {length} steps do not hold two readings so far apart"
    elif words := [n for n in rule.straight if form and _words(form)[names.index(n)]]:
        why = f"{words[0]} holds words, and nothing is between two of them"
    if why:
        raise UsageError(f'--rule "{rule}": {why}. Leave the rule out.')


def _refuse_fine(rule: Restart, decimals: int | None) -> None:
    """What restarts at a value and is there again has not risen: the least rise must be known."""
    if rule.at is not None and decimals is None:
        raise UsageError(
            f'--rule "{rule}": {rule.column} has as many digits as numbers can have, so that the '
            "smallest increment is not known. Round it, to 0.001 say."
        )


def _on_grids(rules: Rules, train_NTD: np.ndarray, asked_D: Sequence[str | None]) -> Rules:
    """With the grid of each column that a distance from its bounds would take off it, or the table
    of one that was rounded from another unit.

    Columns that are asked for as continuous have none, nor do those without decimals.
    """
    found: list[Grid | None] = [None] * len(rules.names)
    for made in rules.made():
        d = made.column
        if made.how != ABOVE or asked_D[d] == CONTINUOUS or rules.decimals_D[d] is None:
            continue
        levels, counts = grids.counted(train_NTD[..., d])
        comb = grids.comb_of(levels, counts)
        # Of a lattice of which most is there a distance is as good.
        even = grids.lattice_of(levels, len(levels) / grids.FEW_DENSE)
        if comb is not None and even is None:
            found[d] = Table(tuple(comb.tolist()), _step_of(comb))
            continue
        cells = (levels[-1] - levels[0]) / (FINEST * grids.spread_of(train_NTD[..., d]))
        lattice = grids.lattice_of(levels, cells)
        if lattice is None or np.any(on_grid(levels, lattice) != levels):
            continue
        bounds = train_NTD[..., list(made.sources)]
        if np.any(on_grid(bounds, lattice) != bounds):
            found[d] = lattice
    return dataclasses.replace(rules, grids_D=tuple(found)) if any(found) else rules


def _step_of(levels_L: np.ndarray) -> float:
    """How far they lie apart on average, in few digits."""
    return float(f"{(levels_L[-1] - levels_L[0]) / (len(levels_L) - 1):.3g}")


def _static_names(x_NTD: np.ndarray, names: Sequence[str]) -> set[str]:
    """The columns that are constant in each sequence, and not in all."""
    once = np.all(x_NTD == x_NTD[:, :1], axis=(0, 1)) & np.any(x_NTD != x_NTD[:1, :1], axis=(0, 1))
    return {name for name, is_static in zip(names, once, strict=True) if is_static}


def _unsettles(rule: Rule, static: set[str]) -> bool:
    """Whether a static column would be put back from one that changes, and change as it does."""
    if isinstance(rule, Order):
        pairs = list(itertools.combinations(rule.columns, 2))
    else:
        pairs = [(other, rule.columns[0]) for other in rule.columns[1:]]
    return any(made in static and source not in static for source, made in pairs)


def _found_limits(
    x_NTD: np.ndarray,
    found: Sequence[Kind],
    limits_D: Sequence[Limits | None],
    asked_D: Sequence[str | None],
    once_NT: np.ndarray,
) -> list[Limits | None]:
    """Limits with 0 as the bound of each density that is never below it, where chance would be.

    Chance is sum_t Phi(-m_t / s) with m_t the linear regression on the value before and s its
    residual's standard deviation: at EXPECTED falls below 0 none is found once in exp(EXPECTED).
    """
    counted_NT = once_NT[:, 1:]
    limits = list(limits_D) or [None] * len(found)
    for d, kind in enumerate(found):
        x = x_NTD[..., d]
        least, most = (np.nanmin(x), np.nanmax(x)) if kind.missing else (x.min(), x.max())
        if limits[d] or kind.name != CONTINUOUS or asked_D[d] or kind.static or least < 0:
            continue
        pairs_NT = counted_NT
        if kind.missing:
            pairs_NT = counted_NT & ~np.isnan(x[:, 1:]) & ~np.isnan(x[:, :-1])
        before, after = x[:, :-1][pairs_NT], x[:, 1:][pairs_NT]
        if most > LARGEST or len(after) < 2 or before.std() == 0:
            continue
        slope = np.cov(before, after)[0, 1] / before.var(ddof=1)
        expected = after.mean() + slope * (before - before.mean())
        spread = (after - expected).std()
        if spread > 0 and ndtr(-expected / spread).sum() > EXPECTED:
            limits[d] = NOT_NEGATIVE
    return limits


def _fenced(
    x_NTD: np.ndarray,
    found: tuple[Kind, ...],
    limits_D: Sequence[Limits | None],
    once_NT: np.ndarray,
    ends: bool,
) -> tuple[Kind, ...]:
    """Kinds with ends for each density that has no bound there, where columns of other kinds are,
    or sequences end.

    Without ends a rare component that is wide makes humidities below 0 and of 400. A bound is one
    already, and what nothing but densities have is one linear frame, whose law stays as it is.
    """
    if all(kind.plain for kind in found) and not ends:
        return found
    fenced = []
    for d, kind in enumerate(found):
        x = x_NTD[..., d]
        limits = limits_D[d]
        counted_NT = once_NT & ~np.isin(x, kind.atoms) & ~np.isnan(x)
        if kind.held:  # counts once
            counted_NT[:, 1:] &= x[:, 1:] != x[:, :-1]
        readings = x[counted_NT]
        varies = len(readings) > 1 and 0 < np.ptp(readings) <= LARGEST
        if kind.name != CONTINUOUS or kind.static or not varies:
            fenced.append(kind)
            continue
        low, high = grids.fences_of(readings)
        if limits is not None:
            low = low if math.isinf(limits.low) else -math.inf
            high = high if math.isinf(limits.high) else math.inf
        fenced.append(dataclasses.replace(kind, low=low, high=high))
    return tuple(fenced)


def _not_negative(
    found: tuple[Kind, ...], limits_E: list[Limits | None], e: int
) -> tuple[tuple[Kind, ...], list[Limits | None]]:
    """A distance: a grid ends at 0, a density has it as its bound."""
    kind = found[e]
    if kind.name == CONTINUOUS:
        limits_E[e] = NOT_NEGATIVE
    elif kind.step and kind.low < 0:
        kind = dataclasses.replace(kind, low=0.0)
    return (*found[:e], kind, *found[e + 1 :]), limits_E


def _kinds_of(
    rules: Rules,
    y_NTE: np.ndarray,
    asked_E: Sequence[str | None],
    words: Sequence[bool],
    once_NT: np.ndarray,
    gaps_E: Sequence[bool],
) -> tuple[Kind, ...]:
    """`kinds.find`; of increments without what stands for a restart, which is added as an atom."""
    at = {
        e: restarts.restart_of(top) for e, (r, top) in rules.restarting.items() if r.at is not None
    }
    gaps, y_NTE = list(gaps_E), y_NTE.copy() if at else y_NTE
    for e, value in at.items():
        y_NTE[..., e][y_NTE[..., e] == value] = np.nan
        gaps[e] = True
    found = list(kinds.find(y_NTE, asked_E, words, rules.inner_names, once_NT, gaps))
    for e, value in at.items():
        times = int(np.count_nonzero(np.isnan(y_NTE[..., e])))
        found[e] = _with_restart(dataclasses.replace(found[e], missing=False), value, times)
    return tuple(found)


def _with_restart(kind: Kind, value: float, times: int) -> Kind:
    """With what stands for a restart, one more category or atom."""
    if kind.name == CATEGORICAL:
        weights = (*kind.weights, max(float(times), 1.0))
        return dataclasses.replace(kind, levels=(*kind.levels, value), weights=weights)
    atoms, sentinel = (each[: MOST_ATOMS - 2] for each in (kind.atoms, kind.sentinel))  # and 0
    return dataclasses.replace(kind, atoms=(*atoms, value), sentinel=(*sentinel, True))


def _ended(rules: Rules, kinds_E: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """A density of increments of what restarts ends where these do."""
    tops = {e: top for e, (_, top) in rules.restarting.items()}
    return tuple(
        dataclasses.replace(kind, high=tops[e]) if e in tops and kind.name == CONTINUOUS else kind
        for e, kind in enumerate(kinds_E)
    )


def _restarting(
    rules: Rules, found: tuple[Kind, ...], limits_E: list[Limits | None]
) -> tuple[tuple[Kind, ...], list[Limits | None]]:
    """Columns that restart: where increments end, and what a first value can be."""
    for e, (rule, top) in rules.restarting.items():
        if found[e].name == GRID:
            limits_E[e] = Limits(0.0, top, True, f'the rule "{rule}"')
        first = next(
            i for i, d in enumerate(rules.source_E) if d == rules.source_E[e] and rules.static[i]
        )
        highest = math.inf if rule.modulo is None else top
        limits_E[first] = Limits(rule.lowest, highest, True, f'the rule "{rule}"')
    return found, limits_E


def _from_zero(kind: Kind) -> Kind:
    """An increase is 0 at the first step, and nothing else."""
    kind = dataclasses.replace(kind, zero_first=True)
    if 0.0 in (*kind.atoms, *kind.levels * (kind.name == CATEGORICAL)):
        return kind
    return dataclasses.replace(
        kind, atoms=(0.0, *kind.atoms)[:MOST_ATOMS], sentinel=(False, *kind.sentinel)[:MOST_ATOMS]
    )


def _kept(kind: Kind) -> Kind:
    """A reading stays until the next, which may be the same again."""
    return kind if kind.static else dataclasses.replace(kind, held=True, sloped=False, counted=0)


def _open(kind: Kind) -> Kind:
    """Where a meter starts: later ones start higher, so that a grid of it has no ends."""
    if kind.name != GRID or not kind.spacing:
        return kind
    origin = kind.origin if kind.step else kind.levels[0]
    return Kind(GRID, step=kind.spacing, origin=origin, static=kind.static)


def _words(form: Form | None) -> tuple[bool, ...]:
    return () if form is None else tuple(column.kind == "categorical" for column in form.columns)


def _take(values: Sequence[Value], source: Sequence[int], nothing: Value) -> tuple[Value, ...]:
    return tuple(values[d] for d in source) if values else (nothing,) * len(source)
