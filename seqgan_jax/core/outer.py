"""Columns as the data have them, not as they are scaled: what a discriminator sees of rules.

A policy learns the price of a share as Low and how far High is above it, and a volume as the root
of a distance from its bound. That Open, High, Low and Close move as one is then hard to see: a
discriminator of such columns finds nothing on unseen windows of stocks where one that sees prices
finds a nat and more. So it is shown these in their place: of both together it learns more by heart.

Each column is put back from scaled ones step by step, in units of its own median and spread,

    u = u_0 + m_0 (z - k_0) + sum_j (m_j - m_{j-1}) max(z - k_j, 0)

piecewise linear between KNOTS quantiles of z: nearly the map back, and all that eyes need.

Shapes: V steps, S sources of a step, J knots.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.data import grids
from seqgan_jax.data.kind import GAP, GRID
from seqgan_jax.data.rule_texts import Sum
from seqgan_jax.data.rules import ABOVE, OWN, SUMMED, TOTAL
from seqgan_jax.data.scaling import Scaler

KNOTS = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999)
BEYOND = 0.5  # of the range between the outermost of them, on each side
NUMBERS = ("start", "knots", "bends", "weights", "offsets", "increments")


@jax.tree_util.register_static  # so that programs may return it
@dataclass(frozen=True)
class Step:
    """How one column is put back."""

    column: int  # of the data: the units of the result
    how: str  # see `rules.Made`; of increases the start is a source
    inner: int  # the scaled column, -1 where there is none
    sources: tuple[int, ...] = ()  # earlier steps
    shown: bool = False


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Outer:
    """The steps, and their numbers."""

    start: jax.Array  # [V, 2] u_0 and m_0
    knots: jax.Array  # [V, J]
    bends: jax.Array  # [V, J] m_j - m_{j-1}; 0 for the first
    weights: jax.Array  # [V, S]
    offsets: jax.Array  # [V, S]
    increments: jax.Array  # [V] spread / spread of first differences
    steps: tuple[Step, ...] = field(metadata={"static": True})

    def arrays(self) -> dict[str, jax.Array]:
        """By name, without the steps."""
        return {name: getattr(self, name) for name in NUMBERS}


def steps_of(scaler: Scaler) -> tuple[Step, ...]:
    """What there is to see: columns with bounds, and those that rules make. () where there is none.

    Ratios, words and what rises by one step are left out, and what is put back from them.
    """
    rules = scaler.rules
    steps: list[Step] = []
    place: dict[int, int] = {}  # the step of each column of the data
    if rules is None:
        for k, e in enumerate(scaler.kept_K):
            if not scaler.interval_K[k].free:
                place[e] = len(steps)
                steps.append(Step(e, OWN, k, (), True))
        return tuple(steps)
    for made in rules.made():
        d, inner = made.column, [scaler.source_D[e] for e in made.inner]
        if any(k >= 0 and scaler.kinds_K[k].words for k in inner):
            continue
        if not all(source in place for source in made.sources):
            continue
        sources = tuple(place[source] for source in made.sources)
        if made.how == SUMMED:
            if -1 in inner:
                continue
            steps.append(Step(d, OWN, inner[1]))
            sources = (len(steps) - 1,)
        bent = bool(inner) and inner[0] >= 0 and not scaler.interval_K[inner[0]].free
        shown = bent or made.how in (ABOVE, SUMMED) or len(sources) > 1
        place[d] = len(steps)
        steps.append(Step(d, made.how, inner[0] if inner else -1, sources, shown))
    return _needed(steps, place)


def _needed(steps: list[Step], place: dict[int, int]) -> tuple[Step, ...]:
    """Steps that are shown, and those that they are put back from: shown, too, but for starts."""
    needed = {v for v, step in enumerate(steps) if step.shown}
    for v in reversed(range(len(steps))):
        if v in needed:
            needed |= set(steps[v].sources)
    new = {v: i for i, v in enumerate(sorted(needed))}
    return tuple(
        replace(
            step,
            sources=tuple(new[source] for source in step.sources),
            shown=place.get(step.column) == v,
        )
        for v, step in enumerate(steps)
        if v in needed
    )


def rest(steps: tuple[Step, ...], features: int) -> tuple[int, ...]:
    """The scaled columns that no step is put back from: they are seen as they are."""
    return tuple(k for k in range(features) if all(k != step.inner for step in steps))


def fit(scaler: Scaler, x_NTD: np.ndarray, z_NTK: np.ndarray) -> Outer | None:
    """The numbers of `steps_of` from the training part, in units of the data and scaled.

    None where there is no step.
    """
    steps = steps_of(scaler)
    if not steps:
        return None
    centre, spread, increments = np.array([_units(x_NTD[..., step.column]) for step in steps]).T
    width = max(1, *(len(step.sources) for step in steps))
    start, knots = np.zeros((len(steps), 2)), np.zeros((len(steps), len(KNOTS) + 2))
    bends, weights = np.zeros_like(knots), np.zeros((len(steps), width))
    offsets = np.zeros_like(weights)
    for v, step in enumerate(steps):
        c, s = (0.0 if step.how in (ABOVE, SUMMED) else centre[v]), spread[v]
        if step.inner >= 0:
            kappa = _knots(z_NTK[..., step.inner])
            u = (_values(scaler, step.inner, kappa) - c) / s
            slopes = np.diff(u) / np.diff(kappa)
            start[v] = u[0], slopes[0]
            knots[v] = np.pad(kappa, (0, knots.shape[1] - len(kappa)), mode="edge")
            bends[v, 1 : len(slopes)] = np.diff(slopes)
        elif step.how != TOTAL:
            start[v, 0] = (_constant(scaler, step.column) - c) / s
        factors, constant = [1.0] * len(step.sources), 0.0
        if step.how == TOTAL:
            factors, constant = _terms(scaler, step.column)
        for j, (source, factor) in enumerate(zip(step.sources, factors, strict=True)):
            weights[v, j] = factor * spread[source] / s
            shift = centre[v] - constant if j == 0 or step.how != TOTAL else 0.0
            offsets[v, j] = (factor * centre[source] - shift) / s
    parts = (start, knots, bends, weights, offsets, spread / increments)
    arrays: Any = [jnp.asarray(part.astype(np.float32)) for part in parts]
    return Outer(**dict(zip(NUMBERS, arrays, strict=True)), steps=steps)


def shape(scaler: Scaler) -> Outer | None:
    """`fit` without numbers: shapes alone, of what a checkpoint holds."""
    steps = steps_of(scaler)
    if not steps:
        return None
    number, width = len(steps), max(1, *(len(step.sources) for step in steps))
    knots = len(KNOTS) + 2
    shapes: Any = ((number, 2), (number, knots), (number, knots), (number, width), (number, width))
    arrays: Any = [jax.ShapeDtypeStruct(each, jnp.float32) for each in (*shapes, (number,))]
    return Outer(**dict(zip(NUMBERS, arrays, strict=True)), steps=steps)


def values(outer: Outer, z_BTK: jax.Array) -> jax.Array:
    """The columns that are shown, in units of their spread about their median, [B, T, shown]."""
    inner = np.array([max(step.inner, 0) for step in outer.steps])
    z = z_BTK[..., inner]
    above = jax.nn.relu(z[..., None] - outer.knots[None, None])
    own = (
        outer.start[:, 0][None, None]
        + outer.start[:, 1][None, None] * (z - outer.knots[:, 0][None, None])
        + jnp.sum(outer.bends[None, None] * above, axis=-1)
    )
    made: list[jax.Array] = []
    for v, step in enumerate(outer.steps):
        sources = [
            outer.weights[v, j] * made[source] + outer.offsets[v, j]
            for j, source in enumerate(step.sources)
        ]
        if step.how == ABOVE:
            highest = sources[0]
            for each in sources[1:]:
                highest = jnp.maximum(highest, each)
            made.append(highest + jax.nn.relu(own[..., v]))
        elif step.how == SUMMED:
            rises = jnp.pad(jax.nn.relu(own[:, 1:, v]), ((0, 0), (1, 0)))
            made.append(sources[0] + jnp.cumsum(rises, axis=1))
        elif step.how == TOTAL:
            made.append(sum(sources[1:], start=sources[0]))
        else:
            made.append(own[..., v])
    return jnp.stack([u for u, step in zip(made, outer.steps, strict=True) if step.shown], axis=-1)


def seen(outer: Outer, z_BTK: jax.Array) -> list[jax.Array]:
    """`values` and their first differences, as asinh: an outlier blinds nothing."""
    u = values(outer, z_BTK)
    shown = np.array([step.shown for step in outer.steps])
    changes = jnp.diff(u, axis=1) * outer.increments[shown][None, None]
    return [jnp.arcsinh(u), jnp.pad(jnp.arcsinh(changes), ((0, 0), (1, 0), (0, 0)))]


def _units(x_NT: np.ndarray) -> tuple[float, float, float]:
    """Median, spread and spread of first differences of what is there; spreads above 0."""
    values, changes = (x[~np.isnan(x)] for x in (x_NT, np.diff(x_NT, axis=1)))
    spread = grids.spread_of(values)
    return float(np.median(values)), spread, grids.spread_of(changes) if changes.size else 1.0


def _knots(z_NT: np.ndarray) -> np.ndarray:
    """Rising, at least two."""
    there = z_NT[np.isfinite(z_NT) & (z_NT != GAP)]
    found = np.unique(np.quantile(there, KNOTS)) if there.size else np.zeros(1)
    reach = BEYOND * (found[-1] - found[0]) or 1.0
    return np.concatenate([[found[0] - reach], found, [found[-1] + reach]])


def _values(scaler: Scaler, k: int, z_J: np.ndarray) -> np.ndarray:
    """Of a scaled column in units of the data (of the inner column, where there are rules)."""
    kind = scaler.kinds_K[k]
    y = scaler.interval_K[k].inverse(z_J * scaler.scale_K[k] + scaler.shift_K[k])
    if kind.name == GRID and kind.levels:
        return np.interp(y, kind.cells[0], kind.levels)
    return y


def _constant(scaler: Scaler, d: int) -> float:
    """The value of a column that does not vary, 0 where it is not put back from one."""
    assert scaler.rules is not None
    own = [e for e, source in enumerate(scaler.rules.source_E) if source == d]
    return scaler.constant_D[own[0]] if own else 0.0


def _terms(scaler: Scaler, d: int) -> tuple[list[float], float]:
    """Factors and constant of a sum."""
    assert scaler.rules is not None
    name = scaler.rules.names[d]
    rule = next(r for r in scaler.rules.rules if isinstance(r, Sum) and r.column == name)
    return [factor for factor, _ in rule.terms], rule.constant
