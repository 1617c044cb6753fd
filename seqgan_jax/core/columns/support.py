"""Which values the columns can take: cells of a grid, and single values with mass of their own.

In scaled units. A column's value is either one of its options (a category, an atom such as 0, the
value before, the continuation of its last increment) or of the rest, which is continuous, or on a
grid: a table of levels, or a lattice origin + n step. Where many values are on a coarser table,
that the rest is on it is a choice of its own, the first option.

Shapes: D columns, A listed values, C choices of a column: the rest, the coarse rest, the dynamic
options, the listed values, in this order; M inner edges of a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.core.baseline import SLOW, blocks_of_season, closes
from seqgan_jax.core.batch import Params, still_there
from seqgan_jax.core.columns.cells import FAR, cell_of
from seqgan_jax.data.kind import GAP, Kind
from seqgan_jax.data.rules import Clock

EXACT, EXACT_SLOPE = 1e-6, 1e-5  # scaled units: equal, of values without a grid
NOTHING = 1e30  # fills up tables: no value, and finite
MOST_SEASON = 1024  # numbers of a season that are carried from step to step
SINCE = 3  # what a straight line began with: the first value, the second, a bend
BLOCK = 4000  # sequences that are looked at together


@dataclass(frozen=True)
class Layout:
    """What of a `Support` decides the shapes of programs; hashable.

    Args:
      features: D.
      held, sloped: some column has the value before, or its continuation, as an option.
      listed: A.
      tables: the columns whose rest is on a table.
      lattices: some column has its rest on a lattice.
      grids, densities: the columns whose rest is on either, those `cut` first, and on neither.
      fenced: some density has ends.
      sized: every value says how large it is: no words and no sentinels.
      shown: the options that exist, as positions in a step's [D, C - 1].
      gaps: which of `shown` say that a value is missing, of columns that are not static.
      missing: some column has gaps, static or not.
      straight: which of `shown` say that a value is straight on, of columns that count these.
      counted: up to how many steps they count.
      far: some grid has sentinels or gaps, which are on none of its points.
      end: the column that says which step is a sequence's last; None where all have T steps.
      rates: of the moving means of sizes.
      clocks: columns that count the steps left to readings, and those that change with these.
      coarse: some column has a coarser table.
      season: steps of a season, of which the linear baseline reads the means of sizes at the same
        place of the last ones; 0 where it does not.
      season_rate: of these means; 0 of sequences within one season, of whose end the linear
        baseline reads the first value.
      cut: the columns whose grids are cut off at their ends.
      told: categories of which later columns and steps see whether they changed, in the place of
        their innovations.
      stays: which of `shown` are the values of static columns, where later steps read which it was.
    """

    features: int
    held: bool
    sloped: bool
    listed: int
    tables: tuple[int, ...]
    lattices: bool
    grids: tuple[int, ...]
    densities: tuple[int, ...]
    fenced: bool
    sized: bool
    shown: tuple[int, ...]
    gaps: tuple[int, ...] = ()
    missing: bool = False
    far: bool = False
    end: int | None = None
    rates: tuple[float, ...] = SLOW
    season: int = 0
    season_rate: float = 1.0
    straight: tuple[int, ...] = ()
    counted: int = 0
    coarse: bool = False
    clocks: tuple[Clock, ...] = ()
    stays: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    told: tuple[int, ...] = ()

    @property
    def order(self) -> np.ndarray:
        """The columns by sort: densities, grids, categories. [D]"""
        rest = {*self.densities, *self.grids}
        others = [d for d in range(self.features) if d not in rest]
        return np.array([*self.densities, *self.grids, *others], np.int32)

    @property
    def repeats(self) -> bool:
        """Whether the last seasons are read."""
        return self.season > 0 and not self.closes

    @property
    def closes(self) -> bool:
        """Whether sequences lie within one season, of whose end the first value is read."""
        return closes(self.season, self.season_rate)

    @property
    def num_places(self) -> int:
        """Steps of the past that are carried on for a season."""
        return self.season + 1 if self.repeats else int(self.closes)

    @property
    def num_slow(self) -> int:
        """What the linear baseline reads of each column beside the last two values."""
        return len(self.rates) + blocks_of_season(self.season, self.season_rate)

    @property
    def num_read(self) -> int:
        """What the policy reads of the past: sizes, innovations, runs of options, moving means."""
        return (2 + len(self.rates)) * self.features + len(self.shown)

    @property
    def num_past(self) -> int:
        """What the regressions take from the past: all that, options, lengths of gaps and of what
        was straight."""
        return self.num_read + len(self.shown) + len(self.gaps) + self.num_lengths

    @property
    def num_lengths(self) -> int:
        """Lengths that are told apart, of all columns together."""
        return len(self.straight) * (self.counted + 1) * SINCE

    @property
    def gap_columns(self) -> np.ndarray:
        """Which columns have gaps inside of sequences, [D] bool."""
        of_gaps = np.array(self.shown, np.int32)[list(self.gaps)] // max(1, self.choices - 1)
        return np.isin(np.arange(self.features), of_gaps)

    @property
    def choices(self) -> int:
        """C."""
        return 1 + self.dynamic + self.listed

    @property
    def dynamic(self) -> int:
        """Options before the listed ones."""
        return self.coarse + self.held + self.sloped


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Support:
    """The arrays of it; constants of a policy and of a discriminator."""

    listed: jax.Array  # [D, A] values; NOTHING where a column has fewer
    sizes: jax.Array  # [D, A] what a listed value counts as in the linear baseline
    is_word: jax.Array  # [D] values are names only
    first: jax.Array  # [D, C] bool: which choices there are at the first step
    later: jax.Array  # [D, C] bool: and at later ones
    first_share: jax.Array  # [D, C] log shares where nothing is known; see `regressions`
    later_share: jax.Array  # [D, C]
    first_middle: jax.Array  # [D, 2] location and log-scale of the rest where nothing is known
    later_middle: jax.Array  # [D, 2]
    first_seen: jax.Array  # [D, S', C + 2] by what is seen of earlier columns: log odds, the rest
    later_seen: jax.Array  # [D, S', C + 2]
    later_past: jax.Array  # [D, R + S + G + L, C + 2] by what is known of the steps before
    edges: jax.Array  # [D, M] between levels, filled up with NOTHING
    levels: jax.Array  # [D, M + 1]
    common: jax.Array  # [D, M + 1] how common a level is beside its neighbours, log share
    is_table: jax.Array  # [D]
    step: jax.Array  # [D] of a lattice, 0 where there is none
    origin: jax.Array  # [D]
    low: jax.Array  # [D] ends of a lattice or a density
    high: jax.Array  # [D]
    tolerance: jax.Array  # [D] within which a value is an option
    # By what is known of the step in advance, [D, W, C + 2]; None: nothing is.
    first_given: jax.Array | None = None
    later_given: jax.Array | None = None
    fences: jax.Array | None = None  # [D, 2] where grids are cut off; far away of others
    # Of coarser tables; None: there is none.
    coarse_number: jax.Array | None = None  # [D, M + 1] which of them a level is, -1: none
    coarse_edges: jax.Array | None = None  # [D, M'] between them, filled up with NOTHING
    coarse_levels: jax.Array | None = None  # [D, M' + 1]

    def constants(self) -> Params:
        """As a network holds them."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @property
    def is_discrete(self) -> jax.Array:
        """Which columns have a mass, not a density, beside their options, [D]."""
        return self.is_table | (self.step > 0)

    @property
    def gap_options(self) -> jax.Array:
        """Which choices are that the value is missing, [D, C]."""
        is_gap = self.listed == GAP
        return jnp.pad(is_gap, ((0, 0), (self.first.shape[1] - is_gap.shape[1], 0)))

    @property
    def may_miss(self) -> jax.Array:
        """Which columns have gaps inside of sequences, [D]: a static one has all or nothing."""
        return jnp.any(self.gap_options & self.later, axis=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns:
    """Columns of which some are not plain continuous."""

    support: Support
    layout: Layout = field(metadata={"static": True})


def layout_of(
    kinds: Sequence[Kind],
    ends: bool = False,
    rates: tuple[float, ...] = SLOW,
    season: tuple[int, float] = (0, 1.0),
    stays: bool = False,
    clocks: tuple[Clock, ...] = (),
) -> Layout | None:
    """The layout of columns of these kinds; None where all are plain continuous.

    With `ends` the last one says which step is a sequence's last. No `season` is read of columns
    with gaps, or of so many that what is carried of it would be large.
    """
    if all(kind == Kind("continuous") for kind in kinds):
        return None
    cut = tuple(d for d, kind in enumerate(kinds) if kind.cut)
    held = any(kind.held or kind.static for kind in kinds)
    sloped = any(kind.sloped for kind in kinds)
    coarse = any(kind.coarse for kind in kinds)
    most = max(len(_listed(kind)) for kind in kinds)
    dynamic = coarse + held + sloped
    shown, gaps, straight, of_statics = [], [], [], list[int]()
    for d, kind in enumerate(kinds):
        own = d * (dynamic + most)
        shown += [own] * bool(kind.coarse) + [own + coarse] * (held and kind.held)
        shown += [own + coarse + held] * kind.sloped
        straight += [len(shown) - 1] * (kind.counted > 0)
        listed = [own + dynamic + a for a in range(len(_listed(kind)))]
        of_statics += range(len(shown), len(shown) + len(listed) * (stays and kind.static))
        shown += listed
        gaps += [len(shown) - 1] * (kind.missing and not kind.static)
    many = 0 if closes(*season) else season[0] * len(kinds)  # numbers that are carried on
    return Layout(
        features=len(kinds),
        held=held,
        sloped=sloped,
        listed=most,
        tables=tuple(d for d, kind in enumerate(kinds) if _is_table(kind)),
        lattices=any(_is_lattice(kind) for kind in kinds),
        grids=(*cut, *(d for d in range(len(kinds)) if kinds[d].name == "grid" and d not in cut)),
        densities=tuple(d for d, kind in enumerate(kinds) if kind.name == "continuous"),
        fenced=any(kind.fenced for kind in kinds),
        sized=not any(kind.words or kind.missing or any(kind.sentinel) for kind in kinds),
        shown=tuple(shown),
        gaps=tuple(gaps),
        missing=any(kind.missing for kind in kinds),
        far=any(k.name == "grid" and (k.missing or any(k.sentinel)) for k in kinds),
        end=len(kinds) - 1 if ends else None,
        rates=rates,
        season=0 if gaps or many > MOST_SEASON else season[0],
        season_rate=season[1],
        straight=tuple(straight),
        counted=max(kind.counted for kind in kinds),
        coarse=coarse,
        clocks=clocks,
        stays=tuple(of_statics),
        cut=cut,
        told=tuple(d for d, kind in enumerate(kinds) if kind.told),
    )


def of(
    kinds: Sequence[Kind],
    scaled_by: Callable[[int, np.ndarray], np.ndarray],
    affine: Callable[[int, np.ndarray], np.ndarray],
    ends: bool = False,
    known: int = 0,
    rates: tuple[float, ...] = SLOW,
    season: tuple[int, float] = (0, 1.0),
    stays: bool = False,
    clocks: tuple[Clock, ...] = (),
) -> Columns | None:
    """The support of columns of these kinds, with even shares; None where all are plain densities.

    `scaled_by(d, x)` gives values of column d in scaled units (`Scaler.scaled`), `affine(d, y)`
    positions of levels (`Scaler.affine`). `ends`: see `layout_of`; no sequence has one step alone.
    `known`: W, how much is known in advance that choices depend on. `rates`, `season` (steps and
    rate), `stays`, `clocks`: see `Layout`.
    """
    layout = layout_of(kinds, ends, rates, season, stays, clocks)
    if layout is None:
        return None
    features, listed, choices = layout.features, layout.listed, layout.choices
    tables = [kind.cells if _is_table(kind) else (np.zeros(1), np.zeros(0)) for kind in kinds]
    size = _power(max(len(levels) for levels, _ in tables))
    arrays = {
        "listed": np.full((features, listed), NOTHING),
        "sizes": np.zeros((features, listed)),
        "first": np.zeros((features, choices), bool),
        "later": np.zeros((features, choices), bool),
        "edges": np.full((features, size - 1), NOTHING),
        "levels": np.zeros((features, size)),
        "common": np.zeros((features, size)),
        "step": np.zeros(features),
        "origin": np.zeros(features),
        "low": np.full(features, -FAR),
        "high": np.full(features, FAR),
        "tolerance": np.array([EXACT_SLOPE if kind.sloped else EXACT for kind in kinds]),
    }
    if layout.cut:
        arrays["fences"] = np.tile([-FAR, FAR], (features, 1))
    if layout.coarse:
        few = _power(max(len(kind.coarse) for kind in kinds))
        arrays["coarse_number"] = np.full((features, size), -1.0)
        arrays["coarse_edges"] = np.full((features, few - 1), NOTHING)
        arrays["coarse_levels"] = np.zeros((features, few))
    dynamic = layout.dynamic
    for d, kind in enumerate(kinds):

        def scaled(x: Any, d: int = d) -> np.ndarray:
            return scaled_by(d, np.asarray(x, np.float64))

        own = np.concatenate([scaled(_valued(kind)), [GAP] * kind.missing])
        sentinel = [*(kind.sentinel or (False,) * len(_valued(kind))), *[True] * kind.missing]
        arrays["listed"][d, : len(own)] = own
        keeps_size = ~np.array(sentinel, bool)
        arrays["sizes"][d, : len(own)] = np.where(keeps_size, own, 0.0)
        has_rest = kind.name != "categorical"
        first, later = arrays["first"][d], arrays["later"][d]
        first[0], later[0] = has_rest, has_rest and not kind.static
        first[1 : 1 + layout.coarse] = later[1 : 1 + layout.coarse] = bool(kind.coarse)
        later[1 + layout.coarse : 1 + layout.coarse + layout.held] = kind.held or kind.static
        later[1 + layout.coarse + layout.held : 1 + dynamic] = kind.sloped
        there = slice(1 + dynamic, 1 + dynamic + len(own))
        first[there], later[there] = True, not kind.static
        if kind.zero_first:
            first[:] = False
            first[there] = [value == 0.0 for value in _listed(kind)]
        levels, edges = (affine(d, part) for part in tables[d])
        arrays["levels"][d, : len(levels)] = levels
        arrays["levels"][d, len(levels) :] = levels[-1]
        arrays["edges"][d, : len(edges)] = edges
        if _is_table(kind):
            arrays["common"][d, : len(levels)] = _common(_weights(kind))
        if kind.coarse:
            is_one = np.isin(kind.levels, kind.coarse)
            number = np.where(is_one, np.cumsum(is_one) - 1.0, -1.0)
            arrays["coarse_number"][d, : len(levels)] = number
            places, between = (affine(d, part) for part in kind.coarse_cells)
            arrays["coarse_levels"][d, : len(places)] = places
            arrays["coarse_levels"][d, len(places) :] = places[-1]
            arrays["coarse_edges"][d, : len(between)] = between
        if _is_lattice(kind):
            origin, next_one, low, high = scaled(
                [kind.origin, kind.origin + kind.step, kind.low, kind.high]
            )
            arrays["origin"][d], arrays["step"][d] = origin, next_one - origin
            arrays["low"][d], arrays["high"][d] = max(low, -FAR), min(high, FAR)
            arrays["tolerance"][d] = 0.5 * arrays["step"][d]
        elif kind.fenced:
            for name, end in (("low", kind.low), ("high", kind.high)):
                if np.isfinite(end):
                    arrays[name][d] = np.clip(scaled([end])[0], -FAR, FAR)
        elif len(levels) > 1:
            arrays["tolerance"][d] = 0.25 * np.diff(levels).min()
        if kind.cut:
            arrays["fences"][d] = _fences(arrays, d, len(levels))
    if layout.end is not None:
        arrays["first"][layout.end, 1 + dynamic + 1] = False
    # By numpy: on the device each conversion, and each shape of zeros, is a program.
    numbers = {
        name: jnp.asarray(a if a.dtype == bool else a.astype(np.float32))
        for name, a in arrays.items()
    }

    def zeros(*shape: int) -> jax.Array:
        return jnp.asarray(np.zeros(shape, np.float32))

    even, middle = zeros(features, choices), zeros(features, 2)
    seen = zeros(features, features + len(layout.shown), choices + 2)
    found = Support(
        **numbers,
        is_word=jnp.asarray([kind.words for kind in kinds]),
        is_table=jnp.asarray([_is_table(kind) for kind in kinds]),
        first_share=even,
        later_share=even,
        first_middle=middle,
        later_middle=middle,
        first_seen=seen,
        later_seen=seen,
        later_past=zeros(features, layout.num_past, choices + 2),
        first_given=zeros(features, known, choices + 2) if known else None,
        later_given=zeros(features, known, choices + 2) if known else None,
    )
    return Columns(found, layout)


def of_constants(constants: Params) -> Support:
    """The support among a network's constants."""
    there = (each.name for each in fields(Support) if each.name in constants)
    return Support(**{name: constants[name] for name in there})


def _power(least: int) -> int:
    """The power of two that is not below it."""
    return 1 << max(0, least - 1).bit_length()


def _valued(kind: Kind) -> tuple[float, ...]:
    return kind.levels if kind.name == "categorical" else kind.atoms


def _listed(kind: Kind) -> tuple[float, ...]:
    """With a place for the missing value, the last."""
    return (*_valued(kind), *(GAP,) * kind.missing)


def _is_table(kind: Kind) -> bool:
    return kind.name == "grid" and len(kind.levels) > 0


def _is_lattice(kind: Kind) -> bool:
    return kind.name == "grid" and kind.step > 0 and not kind.levels


def _fences(arrays: dict[str, np.ndarray], d: int, number: int) -> tuple[float, float]:
    """The outer ends of the last cells, as far from their values as the inner ones."""
    if arrays["step"][d]:
        half = 0.5 * arrays["step"][d]
        return arrays["low"][d] - half, arrays["high"][d] + half
    levels, edges = arrays["levels"][d, :number], arrays["edges"][d, : number - 1]
    if number < 2:
        return -FAR, FAR
    return 2 * levels[0] - edges[0], 2 * levels[-1] - edges[-1]


def _weights(kind: Kind) -> np.ndarray:
    return np.array(kind.weights) if kind.weights else np.ones(len(kind.levels))


def _common(weights: np.ndarray) -> np.ndarray:
    """log of each weight beside the mean of itself and its two neighbours."""
    padded = np.pad(weights, 1, mode="edge")
    return np.log(weights / ((padded[:-2] + weights + padded[2:]) / 3))


def coarse_cells(
    support: Support, layout: Layout, x: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which values are on a coarser table, bool, and both ends of the cell there; `[..., D]` each.

    The ends are 0 of others.
    """
    at = np.array(layout.tables)
    edges, numbers = (_there(a)[at] for a in (support.coarse_edges, support.coarse_number))
    first = by_column(jnp.arange(len(at)) * numbers.shape[1], x)
    number = numbers.reshape(-1)[first + cell_of(support.edges[at], x[..., at])]
    ends = jnp.full((len(at), 1), FAR)
    padded = jnp.concatenate([-ends, jnp.minimum(edges, FAR), ends], axis=1)
    first = by_column(jnp.arange(len(at)) * padded.shape[1], x)
    place = first + jnp.maximum(number, 0.0).astype(jnp.int32)
    is_one = number >= 0.0
    lower, upper = (jnp.where(is_one, padded.reshape(-1)[place + i], 0.0) for i in (0, 1))
    nothing = 0.0 * x
    return (
        _with_tables(layout, nothing > 0.0, is_one),
        _with_tables(layout, nothing, lower),
        _with_tables(layout, nothing, upper),
    )


def _there(array: jax.Array | None) -> jax.Array:
    assert array is not None  # where the layout is coarse
    return array


def snap_coarse(support: Support, layout: Layout, x: jax.Array) -> jax.Array:
    """The nearest value on each column's coarser table, by its cells; x where there is none."""
    levels, edges = _there(support.coarse_levels), _there(support.coarse_edges)
    start = by_column(jnp.arange(layout.features) * levels.shape[1], x)
    level = levels.reshape(-1)[start + cell_of(edges, x)]
    return jnp.where(by_column(support.later[:, 1] | support.first[:, 1], x), level, x)


def snap(support: Support, layout: Layout, x: jax.Array) -> jax.Array:
    """The nearest value that each column's rest can take, `[..., D]`."""
    if layout.lattices:
        x = jnp.where(by_column(support.step, x) > 0, _on_lattice(support, x), x)
    if layout.tables:
        size = support.levels.shape[1]
        start = by_column(jnp.arange(layout.features) * size, x)
        level = support.levels.reshape(-1)[start + cell_of(support.edges, x)]
        x = jnp.where(by_column(support.is_table, x), level, x)
    return x


def _on_lattice(support: Support, x: jax.Array) -> jax.Array:
    step = by_column(jnp.where(support.step > 0, support.step, 1.0), x)
    origin = by_column(support.origin, x)
    nearest = origin + step * jnp.round((x - origin) / step)
    return jnp.clip(nearest, by_column(support.low, x), by_column(support.high, x))


def cells(support: Support, layout: Layout, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both ends of the cell that each value is in, `[..., D]` each; far apart where it is open.

    Of a density, as far from it as its tolerance.
    """
    half, tolerance = 0.5 * by_column(support.step, x), by_column(support.tolerance, x)
    half = jnp.where(half > 0, half, tolerance)
    lower = jnp.where(x - tolerance <= by_column(support.low, x), -FAR, x - half)
    upper = jnp.where(x + tolerance >= by_column(support.high, x), FAR, x + half)
    if not layout.tables:
        return lower, upper
    at = np.array(layout.tables)
    edges = support.edges[at]
    number, size = edges.shape
    ends = jnp.full((number, 1), FAR)
    padded = jnp.concatenate([-ends, jnp.minimum(edges, FAR), ends], axis=1)
    first = by_column(jnp.arange(number) * (size + 2), x) + cell_of(edges, x[..., at])
    is_table = by_column(support.is_table[at], x)

    def end(plain: jax.Array, place: jax.Array) -> jax.Array:
        found = jnp.where(is_table, padded.reshape(-1)[place], plain[..., at])
        return _with_tables(layout, plain, found)

    return end(lower, first), end(upper, first + 1)


def _with_tables(layout: Layout, plain: jax.Array, of_tables: jax.Array) -> jax.Array:
    """`plain` [..., D] with other values in the columns on tables; by copies, scatters are slow."""
    others = [d for d in range(layout.features) if d not in layout.tables]
    back = np.argsort([*others, *layout.tables])
    kept = plain[..., np.array(others, np.int32)]
    return jnp.concatenate([kept, of_tables], axis=-1)[..., back]


def size_of(support: Support, layout: Layout, x: jax.Array) -> jax.Array:
    """Values as numbers that say how large something is: words and sentinels count as 0."""
    if layout.sized:
        return x
    if layout.listed:
        listed, sizes = by_column(support.listed, x), by_column(support.sizes, x)
        finite = jnp.where(listed < NOTHING, sizes - listed, 0.0)
        x = x + jnp.sum(jnp.where(x[..., None] == listed, finite, 0.0), axis=-1)
    return jnp.where(by_column(support.is_word, x), 0.0, x)


def is_far(support: Support, x: jax.Array) -> jax.Array:
    """Which values are sentinels or missing, `[..., D]` bool."""
    is_listed = x[..., None] == by_column(support.listed, x)
    return jnp.any(is_listed & by_column(support.sizes != support.listed, x), axis=-1)


def is_gap(support: Support, x: jax.Array) -> jax.Array:
    """Which values are missing inside of sequences, `[..., D]` bool."""
    return by_column(support.may_miss, x) & (x == GAP)


@partial(jax.jit, static_argnames="axis")  # by itself each operation would be compiled apart
def last_there(support: Support, x: jax.Array, axis: int = 1) -> jax.Array:
    """Values with the last one that was there in each gap, 0 where none was, as x; by `axis`."""
    gap = is_gap(support, x)

    def later(one: tuple[jax.Array, jax.Array], two: tuple[jax.Array, jax.Array]) -> Any:
        return jnp.where(two[1], one[0], two[0]), one[1] & two[1]

    return jax.lax.associative_scan(later, (jnp.where(gap, 0.0, x), gap), axis=axis)[0]


def continued(before: jax.Array, earlier: jax.Array) -> jax.Array:
    """What continues the last increment, x_{t-1} + (x_{t-1} - x_{t-2}), on no grid."""
    return 2.0 * before - earlier


def options(support: Support, layout: Layout, before: jax.Array, slope: jax.Array) -> jax.Array:
    """The value of each option of a step, `[..., D, C - 1]`; of the slope on no grid, and none of
    what is coarse."""
    parts = [jnp.full_like(before, NOTHING)[..., None]] * layout.coarse
    parts += [before[..., None]] * layout.held + [slope[..., None]] * layout.sloped
    parts.append(
        jnp.broadcast_to(by_column(support.listed, before), (*before.shape, layout.listed))
    )
    return jnp.concatenate(parts, axis=-1)


def matches(
    support: Support,
    layout: Layout,
    x: jax.Array,
    options_C: jax.Array,
    is_there: jax.Array,
    cells_of_x: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Which options each value is, `[..., D, C - 1]` bool; `is_there` [D, C].

    The slope, if it is in the cell of x: snapped, it would be x.
    """
    near = jnp.abs(x[..., None] - options_C) <= by_column(support.tolerance, x)[..., None]
    if layout.coarse:
        is_one = coarse_cells(support, layout, x)[0]
        near = jnp.concatenate([is_one[..., None], near[..., 1:]], axis=-1)
    if layout.sloped:
        lower, upper = cells(support, layout, x) if cells_of_x is None else cells_of_x
        number = layout.coarse + layout.held
        slope = options_C[..., number]
        is_in = (lower <= slope) & (slope < upper)
        place = np.arange(layout.choices - 1) == number
        near = jnp.where(place[(None,) * (near.ndim - 1)], is_in[..., None], near)
    if layout.gaps:  # a value that is missing is nothing else
        own = by_column(support.gap_options[:, 1:], x)
        near = jnp.where(is_gap(support, x)[..., None], own, near)
    return near & by_column(is_there[:, 1:], x)


def opened(support: Support, layout: Layout, before: jax.Array, steps: jax.Array) -> jax.Array:
    """Which choices clocks leave open after a step `before`, `[..., D, C]` bool.

    A clock counts down, from 1 to K; the columns of it stay as they are until it was at 1. At the
    second step straight ones may change, too (`data.stretches`). `steps` [..., 1] counts those
    before.
    """
    number, columns = layout.choices, np.arange(layout.features)
    stays = by_column(jnp.arange(number)[None] == 1 + layout.coarse, before)
    found = jnp.ones((*before.shape, number), bool)
    for clock in layout.clocks:
        listed = support.listed[clock.column, : clock.steps]
        now = before[..., clock.column, None] == listed[(None,) * (before.ndim - 1)]
        straight, own, is_clock = (
            by_column(jnp.asarray(np.isin(columns, which)), before)
            for which in (clock.straight, clock.straight + clock.repeated, clock.column)
        )
        is_open = now[..., :1] | (straight & (steps < 1.5)) | ~own
        found &= is_open[..., None] | stays
        padding = (number - layout.listed, layout.listed - clock.steps)
        then = jnp.roll(now, -1, axis=-1)
        then = jnp.pad(then, (*((0, 0),) * (then.ndim - 1), padding))
        found &= then[..., None, :] | ~is_clock[..., None]
    return found


def of_sequences(support: Support, layout: Layout, x_BTD: jax.Array) -> jax.Array:
    """`matches` at every step of whole sequences, [B, T, D, C - 1]."""
    there = last_there(support, x_BTD) if layout.gaps else x_BTD
    before = jnp.concatenate([there[:, :1], there[:, :-1]], axis=1)
    earlier = jnp.concatenate([before[:, :1], before[:, :-1]], axis=1)
    values = options(support, layout, before, continued(before, earlier))
    first = matches(support, layout, x_BTD[:, :1], values[:, :1], support.first)
    later = matches(support, layout, x_BTD[:, 1:], values[:, 1:], support.later)
    return jnp.concatenate([first, later], axis=1)


def sizes_and_rest(columns: Columns, x_NTD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as sizes [N, T, D], and which are of the rest [N, T, D] bool; some at a time."""
    sizes, rest = [], []
    for first in range(0, len(x_NTD), BLOCK):
        block = jnp.asarray(x_NTD[first : first + BLOCK], jnp.float32)
        size_NTD, rest_NTD = _size_and_rest(columns, block)
        sizes.append(np.asarray(size_NTD, np.float64))
        rest.append(np.asarray(rest_NTD))
    return np.concatenate(sizes), np.concatenate(rest)


@jax.jit  # by itself each operation would be compiled apart
def _size_and_rest(columns: Columns, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    matched = of_sequences(columns.support, columns.layout, x)
    found = matched[..., int(columns.layout.coarse) :].any(axis=-1)
    is_rest = ~found & columns.support.later[:, 0][None, None]
    if columns.layout.end is not None:
        is_rest &= still_there(x, columns.layout.end)[..., None]
    return size_of(columns.support, columns.layout, x), is_rest


def shown(layout: Layout, matched: jax.Array) -> jax.Array:
    """The options that exist as zeros and ones for a network, `[..., S]`."""
    flat = matched.reshape(*matched.shape[:-2], -1).astype(jnp.float32)
    return flat[..., np.array(layout.shown, np.int32)]


def run(runs: jax.Array, shown: jax.Array) -> jax.Array:
    """How long each option has been met, or has not, after one more step: +-log(1 + steps)."""
    more = jnp.log1p(jnp.expm1(jnp.maximum(runs, 0.0)) + 1.0)
    less = jnp.log1p(jnp.expm1(jnp.maximum(-runs, 0.0)) + 1.0)
    return jnp.where(shown > 0.5, more, -less)


def commonness(support: Support, layout: Layout, x: jax.Array) -> jax.Array:
    """How common the level of each value is beside its neighbours, log share; 0 without a table."""
    if not layout.tables:
        return 0.0 * x
    at = np.array(layout.tables)
    common = support.common[at]
    first = by_column(jnp.arange(len(at)) * common.shape[1], x)
    found = common.reshape(-1)[first + cell_of(support.edges[at], x[..., at])]
    return _with_tables(layout, 0.0 * x, found)


def by_column(array: jax.Array, like: jax.Array) -> jax.Array:
    """An array by column `[D, ...]` with leading axes of one, to stand beside `[..., D]`."""
    return array[(None,) * (like.ndim - 1)]
