"""What a learned column is: continuous, a grid, categories; atoms, held, sloped, static."""

import dataclasses
import functools
import itertools
import math
import reprlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from seqgan_jax.data import grids
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.intervals import is_real
from seqgan_jax.errors import UsageError

CONTINUOUS, GRID, CATEGORICAL = "continuous", "grid", "categorical"
NAMES = (CONTINUOUS, GRID, CATEGORICAL)
MOST_COUNTED = 100  # steps straight on that are told apart
MOST_ATOMS = 4
GAP = 2.0**17  # stands for a missing value in scaled units: beyond all others, exact in float32


@dataclass(frozen=True)
class Kind:
    """What a learned column is, in the data's units (after rules).

    Args:
      name: continuous, grid or categorical.
      levels: of categories the codes; of a grid by a table every value it can take but sentinels,
        ascending, exact.
      weights: how often each level came where it was no atom, above 0; a level that never came has
        a small weight.
      sided: the cells of a table are as wide as `grids.warped` says with `sided`; not of models
        that were made before there was that.
      power: of a table: its levels are learned where (level - lowest + gap)^power is, so that
        moves of what is large are no wider than of what is small; 1 of models that were made before
        there was that.
      step, origin: of a grid without a table: values are origin + n step.
      low, high: its ends: nothing outside is sampled. Of a density, which is cut off there, far
        outside the data where they thin out.
      atoms: at most MOST_ATOMS values with mass of their own beside the rest.
      sentinel: of each atom: so far from the rest that its size says nothing.
      coarse: those of a table's levels at which it stays, among others that it passes through: a
        sensor's codes among averages of two of them.
      held: often exactly the value before.
      sloped: often continues its last increment exactly, as what was interpolated does.
      counted: up to so many steps straight on are told apart one by one, so that a bend can come
        every sixth step and at no other; 0: not.
      static: constant within every sequence.
      words: categories without order or size.
      missing: some values are not there.
      cut: of a grid: what a distribution would have beyond its ends is not there. Of models that
        were made before there was that, the last cells have it.
      told: of categories: later columns and steps see whether it is another one than before; not
        of models that were made before there was that.
      zero_first: 0, one of its values with mass, at the first step of every sequence.

    >>> print(Kind("grid", step=0.1, low=0.0, atoms=(0.0,), sentinel=(False,), held=True))
    grid, 0.1 apart, from 0, atom 0, often as before
    """

    name: str
    levels: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    sided: bool = False
    power: float = 1.0
    step: float = 0.0
    origin: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    atoms: tuple[float, ...] = ()
    sentinel: tuple[bool, ...] = ()
    held: bool = False
    sloped: bool = False
    counted: int = 0
    coarse: tuple[float, ...] = ()
    static: bool = False
    words: bool = False
    missing: bool = False
    cut: bool = False
    told: bool = False
    zero_first: bool = False

    @property
    def plain(self) -> bool:
        """A density and nothing else."""
        return self == Kind(CONTINUOUS)

    @property
    def fenced(self) -> bool:
        """A density with ends."""
        return self.name == CONTINUOUS and (math.isfinite(self.low) or math.isfinite(self.high))

    @property
    def spacing(self) -> float:
        """The step of a grid, by a table or not, of equally distant values; 0 of others."""
        return self._spacing(2 * grids.TOLERANCE)

    def _spacing(self, tolerance: float) -> float:
        if self.step or self.name != GRID or len(self.levels) < 3:
            return self.step
        gaps = np.diff(self.levels)
        step = (self.levels[-1] - self.levels[0]) / len(gaps)
        return step if np.abs(gaps - step).max() <= tolerance * step else 0.0

    def __str__(self) -> str:
        said = [self.name]
        if self.name == CATEGORICAL:
            said = [f"{len(self.levels)} {'words' if self.words else 'categories'}"]
        elif self.name == GRID:
            apart = f", {self.spacing:.6g} apart" if self.spacing else ""
            said = [f"grid of {len(self.levels):,}{apart}" if self.levels else f"grid{apart}"]
            said += [f"by its power {self.power:g}"] * (self.power != 1)
        if math.isfinite(self.low):
            said.append(f"from {self.low:.6g}")
        if math.isfinite(self.high):
            said.append(f"to {self.high:.6g}")
        if self.atoms:
            values = ", ".join(f"{value:.6g}" for value in self.atoms)
            said.append(f"atom{'s' * (len(self.atoms) > 1)} {values}")
        for there, words in (
            (
                self.held,
                "often as before" + f", most at {len(self.coarse):,} of them" * bool(self.coarse),
            ),
            (self.sloped, "often straight on"),
            (self.static, "constant in each sequence"),
            (self.missing, "with gaps"),
        ):
            if there:
                said.append(words)
        return ", ".join(said)

    @functools.cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a table's levels, in which they are learned, and edges between their cells.

        The levels themselves where values often go straight on, which a warped coordinate bends.
        """
        levels, weights = np.array(self.levels), np.array(self.weights)
        if self.sloped or len(weights) == 0:
            return levels, (levels[1:] + levels[:-1]) / 2
        return grids.warped(grids.bent(levels, self.power), weights, self.sided)

    @functools.cached_property
    def coarse_cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the coarse levels, as `cells` has them, and edges between cells that hold
        these alone."""
        at = np.searchsorted(self.levels, self.coarse)
        positions = self.cells[0][at]
        return positions, grids.warped(positions, np.array(self.weights)[at])[1]

    @property
    def _is_table(self) -> bool:
        return self.name == GRID and len(self.levels) > 0

    def position(self, x: np.ndarray) -> np.ndarray:
        """Where values are learned: a table's at their level's position, sentinels as they are."""
        if not self._is_table:
            return x
        levels = np.array(self.levels)
        found: np.ndarray = self.cells[0][grids.nearest(levels, x)]
        far = [a for a, is_far in zip(self.atoms, self.sentinel, strict=True) if is_far]
        return np.where(np.isin(x, far), x, found) if far else found

    def value(self, position: np.ndarray) -> np.ndarray:
        """The value of a position: the inverse of `position`, on the grid whatever it is given."""
        if not self._is_table:
            return self.snap(position)
        return np.array(self.levels)[grids.nearest(self.cells[0], position)]

    def snap(self, x: np.ndarray) -> np.ndarray:
        """The nearest value that the column can have besides its atoms, exact; x of a density."""
        if self.levels:
            levels = np.array(self.levels)
            return levels[grids.nearest(levels, x)]
        if not self.step:
            return np.clip(x, self.low, self.high) if self.fenced else x
        least, most = (
            (end - self.origin) / self.step + sign * grids.TOLERANCE
            for end, sign in ((self.low, -1), (self.high, 1))
        )
        number = np.clip(np.rint((x - self.origin) / self.step), np.ceil(least), np.floor(most))
        return grids.point(number, self.origin, self.step) + 0.0

    def holds(self, x: np.ndarray) -> np.ndarray:
        """bool, for each value: it can be one of this column.

        On a lattice to a thousandth of its step. Between the levels of a table that is not exactly
        one (irregular, float32, printed sixths), and beyond them by their range, a value counts as
        the nearest level.
        """
        spacing = self._spacing(2 * grids.EXACT)
        if self.name == CONTINUOUS:
            return np.isfinite(x)
        if self.name == GRID and not spacing:
            width = self.levels[-1] - self.levels[0]
            near: np.ndarray = (x >= self.levels[0] - width) & (x <= self.levels[-1] + width)
            return near | np.isin(x, self.atoms)
        good: np.ndarray = np.abs(self.snap(x) - x) <= grids.TOLERANCE * spacing
        return good | np.isin(x, self.atoms)

    def limited(self, limits: Limits, d: int) -> Self:
        """With what --log or --bounds says of column d: a density under --log, the ends of a grid.

        Raises:
          UsageError: it holds words.
        """
        if self.words:
            raise UsageError(
                f"{limits.flag}: column {d + 1} holds words, which have no size. Leave it out."
            )
        if not limits.closed and self.name != CONTINUOUS:
            return type(self)(CONTINUOUS, static=self.static, missing=self.missing)
        if self.name == GRID:
            low = limits.low if math.isfinite(limits.low) else self.low
            high = limits.high if math.isfinite(limits.high) else self.high
            inside = [low <= level <= high for level in self.levels]
            levels, weights = (
                tuple(v for v, is_in in zip(values, inside, strict=True) if is_in)
                for values in (self.levels, self.weights)
            )
            coarse = tuple(v for v in self.coarse if low <= v <= high)
            found = dataclasses.replace(self, low=low, high=high, levels=levels, weights=weights)
            found = dataclasses.replace(found, cut=True)
            return dataclasses.replace(found, coarse=coarse if len(coarse) > 1 else ())
        return dataclasses.replace(self, sloped=False)  # not straight where it is mapped

    def rest(self, x_NT: np.ndarray, there_NT: np.ndarray | None = None) -> np.ndarray:
        """The values that are no atom and not as before; all where these do not vary.

        Of a column with gaps those that are there; of the steps `there_NT`, bool, where some come
        after an end.
        """
        is_value = np.ones(x_NT.shape, bool) if there_NT is None else there_NT
        if self.missing:
            is_value = is_value & ~np.isnan(x_NT)
        if not (self.atoms or self.held):
            return x_NT[is_value]
        there = is_value & ~np.isin(x_NT, self.atoms)
        if self.held:
            there[:, 1:] &= x_NT[:, 1:] != x_NT[:, :-1]
        rest = x_NT[there]
        return rest if len(rest) > 1 and np.any(rest != rest[0]) else x_NT[is_value]

    def to_json(self) -> dict[str, Any]:
        """The name and what is not as in `Kind(name)`; the numbers survive `json.dumps` exactly."""
        usual = Kind(self.name)
        return {
            f.name: list(value) if isinstance(value, tuple) else value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != getattr(usual, f.name) or f.name == "name"
        }

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """The inverse of `to_json`; ValueError on anything else.

        >>> kind = Kind("grid", levels=(0.0, 2.0), weights=(3.0, 1.0))
        >>> Kind.from_json(kind.to_json()) == kind
        True
        """
        if not isinstance(stored, dict) or stored.get("name") not in NAMES:
            raise ValueError(f"a kind is damaged: its name is none of {', '.join(NAMES)}")
        usual = {f.name: getattr(cls(CONTINUOUS), f.name) for f in dataclasses.fields(cls)}
        for name, value in stored.items():
            if name not in usual or not _is_like(value, usual[name], name):
                raise ValueError(f"a kind is damaged: {name} is {reprlib.repr(value)}")
        make: Any = cls
        kind: Self = make(**{n: tuple(v) if isinstance(v, list) else v for n, v in stored.items()})
        rising = all(a < b for a, b in itertools.pairwise(kind.levels))
        needs = {CONTINUOUS: not kind.levels and not kind.step, CATEGORICAL: bool(kind.levels)}
        for good, words in (
            (needs.get(kind.name, bool(kind.levels) != (kind.step > 0)), "levels or its step"),
            (len(kind.weights) == len(kind.levels) and rising, "levels and weights"),
            (all(weight > 0 for weight in kind.weights) and kind.step >= 0, "a weight or the step"),
            (kind.low < kind.high, "its ends"),
            (len(set(kind.atoms)) == len(kind.sentinel) <= MOST_ATOMS, "its atoms"),
            (len(kind.atoms) == len(kind.sentinel), "its sentinels"),
            (0 < kind.power <= 1 and (kind.levels or kind.power == 1), "its power"),
            (kind.name == GRID or not kind.cut, "that it is cut off"),
            (kind.name == CATEGORICAL or not kind.told, "that it is told"),
            (not kind.zero_first or 0.0 in (*kind.levels, *kind.atoms), "what it is at first"),
            (0 <= kind.counted <= MOST_COUNTED * kind.sloped, "what it counts"),
            (_is_part(kind.coarse, kind.levels), "the levels at which it stays"),
        ):
            if not good:
                raise ValueError(f"a kind is damaged: {words} cannot be of a {kind.name} column")
        return kind


def _is_part(coarse: tuple[float, ...], levels: tuple[float, ...]) -> bool:
    """Some of the levels, ascending, and not all."""
    rising = all(a < b for a, b in itertools.pairwise(coarse))
    return not coarse or (rising and len(coarse) > 1 and set(coarse) < set(levels))


def _is_like(value: Any, usual: Any, name: str) -> bool:
    """Of the type that JSON gives of such a field."""
    if isinstance(usual, tuple):
        is_one = (lambda each: type(each) is bool) if name == "sentinel" else is_real
        return (
            isinstance(value, list)
            and len(value) <= grids.MOST_REPEATED
            and all(map(is_one, value))
        )
    return is_real(value) if isinstance(usual, float) else type(value) is type(usual)


END = Kind(CATEGORICAL, (0.0, 1.0), (1.0, 1.0), words=True)  # go on; this is the last step
