"""Rules between columns that hold by construction: Low <= Open, a meter never falls, total = a + b.

Samples are drawn in inner columns y in which a rule is a column that is not below 0, or none at
all, and are then put back: `Rules.inverse` of anything keeps every rule.

Shapes: N sequences, T steps, D columns of the data, E inner columns.
"""

import dataclasses
import functools
import graphlib
import itertools
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from seqgan_jax.data import restarts, stretches
from seqgan_jax.data.intervals import is_real
from seqgan_jax.data.rule_texts import (
    Increase,
    Order,
    Ratio,
    Resampled,
    Restart,
    Rule,
    Sum,
    parse,
)
from seqgan_jax.data.rule_values import (
    Grid,
    Table,
    apart,
    at_least,
    computed,
    keeps,
    on_grid,
    raised,
    rounded,
    stepped,
    summed,
    up_to_grid,
)
from seqgan_jax.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is done to each column, by its number."""

    bounds: dict[int, tuple[int, ...]]  # columns that are never above it
    rising: dict[int, Increase | Restart]
    computed: dict[int, Sum | Ratio]
    resampled: dict[Resampled, tuple[int, ...]]  # its columns
    read: dict[int, tuple[int, bool]]  # of each of them the number of the rule; straight
    order: tuple[int, ...]  # every column after those that it is put back from
    touched: frozenset[int]  # those that any rule is about


OWN, ABOVE, SUMMED, TOTAL = "own", "above", "summed", "total"


class Made(NamedTuple):
    """How a column is put back from inner columns and from columns that were put back before."""

    column: int
    how: str  # OWN; ABOVE the highest of its sources; SUMMED from a start; TOTAL of its sources
    inner: tuple[int, ...]  # of a sum of increases these, and the start
    sources: tuple[int, ...]


class Clock(NamedTuple):
    """The inner column that counts the steps left to readings, and those that change with it."""

    column: int
    steps: int
    straight: tuple[int, ...]
    repeated: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rules:
    """Rules of a table, as a map to inner columns of determinant 1 and back.

        order:     y = x - max(lower bounds) >= 0,  x = max(lower bounds) + max(y, 0)
        increase:  y_1 = 0, y_t = x_t - x_{t-1} >= 0, and one more inner column, at the end: x_1 of
                   the sequence at each of its steps
        by a step: y = x_1 at each step,            x_t = x_1 + (t - 1) step
        by another: the same,                       x_t = x_{t-1} + another_t
        restarts:  y and a start as of an increase; see `restarts`. Where the values after them vary
                   one more inner column: 1 at a restart, else 0
        computed:  sums and ratios are not in y
        resampled: y is the next reading, and one more inner column for all, at the end: the steps
                   left to it (`stretches`). Orders between such columns are those of readings

    Where x has a grid that its bounds are not on, they are rounded up to it: on the grid this is
    the same rule, and y is a number of its steps. A column without lower bounds stays
    as it is. Where the columns have decimals, all of this is exact: differences are rounded to the
    most decimals of their columns, and `inverse` rounds each column that a rule is about to its
    own. A column that increases may be the lower bound of others; it can have none itself, and a
    computed column can neither increase nor have any.

    Args:
      rules: see `rule_texts.parse`. None is the identity.
      names: of the D columns.
      decimals_D: of each column, None where it has as many as a float64.
      grids_D: of each column with bounds that are off its grid, that grid; () where there is none.
      readings_D: how each resampled column is between readings; () where there is none.
      tops_D: the largest increment of each column that restarts; () where there is none.

    Raises:
      UsageError: an unknown column, or rules that contradict each other or go in a circle.

    >>> rules = Rules((Order(("low", "high")),), ("high", "low"), (2, 2))
    >>> rules.forward(np.array([[[99.65, 99.45]]])), rules.inner_names
    (array([[[ 0.2 , 99.45]]]), ('high - low', 'low'))
    >>> rules.inverse(np.array([[[-3.0, 99.453]]]))
    array([[[99.45, 99.45]]])
    >>> Rules(rules.rules, rules.names, (1, 1), ((0.0, 0.5), None)).inverse(np.array([[[1, 0.3]]]))
    array([[[1.5, 0.3]]])
    """

    rules: tuple[Rule, ...] = ()
    names: tuple[str, ...] = ()
    decimals_D: tuple[int | None, ...] = ()
    grids_D: tuple[Grid | None, ...] = ()
    readings_D: tuple[stretches.Column | None, ...] = ()
    tops_D: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        for numbers, said in (
            (self.decimals_D, "numbers of decimals"),
            (self.grids_D, "grids"),
            (self.readings_D, "columns between readings"),
            (self.tops_D, "largest increments"),
        ):
            if len(numbers) != len(self.names) and (numbers or numbers is self.decimals_D):
                raise UsageError(
                    f"There are {len(self.names)} names of columns and {len(numbers)} {said}. "
                    "Give one of each for every column."
                )
        _ = self._plan  # refuses what contradicts itself

    def __bool__(self) -> bool:
        return bool(self.rules)

    def __str__(self) -> str:
        return ", ".join(map(str, self.rules)) or "no rules"

    @functools.cached_property
    def source_E(self) -> tuple[int, ...]:
        """The column of the data that each inner column is of."""
        plan = self._plan
        kept = [d for d in range(len(self.names)) if d not in plan.computed | self._following]
        clocks = (places[0] for places in plan.resampled.values())
        return (*kept, *self._starts, *self._anew, *clocks)

    @property
    def inner_names(self) -> tuple[str, ...]:
        """Names of the E inner columns, for people."""
        started = tuple(f"first {self.names[d]}" for d in self._starts)
        clocks = tuple(f"steps to {', '.join(rule.columns)}" for rule in self._plan.resampled)
        anew = tuple(f"restart of {self.names[d]}" for d in self._anew)
        own = map(self._inner_name, self.source_E[: self._first_start])
        return (*own, *started, *anew, *clocks)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Of rules about readings."""
        own = self.source_E[: self._first_start]
        found = []
        for i, rule in enumerate(self._plan.resampled):
            straight, repeated = (
                tuple(own.index(d) for name in names if (d := self.names.index(name)) in own)
                for names in (rule.straight, rule.repeated)
            )
            found.append(Clock(self._first_clock + i, rule.steps, straight, repeated))
        return tuple(found)

    @property
    def is_clock(self) -> np.ndarray:
        """Which inner columns count steps to readings, bool [E]."""
        return np.arange(len(self.source_E)) >= self._first_clock

    @property
    def is_restart(self) -> np.ndarray:
        """Which inner columns say where one counts anew, bool [E]."""
        place = np.arange(len(self.source_E))
        return (place >= self._first_clock - len(self._anew)) & (place < self._first_clock)

    @property
    def restarting(self) -> dict[int, tuple[Restart, float]]:
        """Inner columns that are increments of one that restarts: its rule, the largest of them."""
        own = self.source_E[: self._first_start]
        return {own.index(d): (rule, self._top(d)) for d, rule in self._restarting.items()}

    @property
    def nonnegative(self) -> np.ndarray:
        """Which inner columns are never below 0, bool [E]."""
        bounded = np.array([d in self._plan.bounds for d in self.source_E], bool)
        return self.zero_first | (bounded & ~self.is_clock)

    @property
    def zero_first(self) -> np.ndarray:
        """Which inner columns are 0 at the first step whatever the data are, bool [E]."""
        zero = np.array([d in self._starts for d in self.source_E], bool)
        zero[self._first_start :] = False
        return zero

    @property
    def static(self) -> np.ndarray:
        """Which inner columns are constant in each sequence by construction, bool [E]."""
        rising = np.array([d in self._plan.rising for d in self.source_E], bool)
        return ~self.zero_first & ~self.is_restart & rising

    def forward(self, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None) -> np.ndarray:
        """y [N, T, E] float64 of data that keep the rules; the argument where there are none.

        Only the first `lengths_N` steps of each sequence are looked at, where that is given, and
        its last step is repeated.

        Raises:
          DataError: another number of columns.
        """
        if not self.rules:
            return x_NTD
        x = self._checked(x_NTD, len(self.names))
        return self._inner(x, *self._readings(x, lengths_N))

    def _inner(
        self, x: np.ndarray, readings: dict[int, np.ndarray], clocks: Sequence[np.ndarray]
    ) -> np.ndarray:
        """`forward`, where the readings of columns are known."""
        plan, columns, anew = self._plan, [], []
        for d in range(len(self.names)):
            if d in plan.computed | self._following:
                continue
            y = readings.get(d, x[..., d])
            if d in plan.bounds:
                low, grid = self._bound(x, d, readings), self._grid(d)
                if isinstance(grid, Table):
                    y = apart(y, low, grid)
                else:
                    y = rounded(y - low, self._finest(d))
            elif rule := self._restarting.get(d):
                how = rule, self._top(d), self.decimals_D[d], self.changes(rule, x)
                y, is_restart = restarts.forward(y, *how)
                anew += [is_restart] * (d in self._anew)
            elif d in self._starts:
                y = rounded(np.diff(y, axis=1, prepend=y[:, :1]), self.decimals_D[d])
            elif d in plan.rising:
                y = np.broadcast_to(y[:, :1], y.shape)
            columns.append(y)
        columns += [np.broadcast_to(x[:, :1, d], x.shape[:2]) for d in self._starts]
        return np.stack([*columns, *anew, *clocks], axis=-1)

    def every(self, x_NTD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All y [R, T, E] that are put back as the data, and which sequence each is, [R] rising.

        Several where a sequence does not show at which steps readings are: `forward` gives one.
        """
        x = self._checked(x_NTD, len(self.names))
        first_R = self._readings(x)[1]
        each = []
        for clock, (rule, places) in zip(first_R, self._plan.resampled.items(), strict=True):
            costs_NK = stretches.costs(x[..., list(places)], rule.steps, self._between(rule))
            chosen = np.arange(rule.steps) == clock[:, :1] - 1
            each.append((costs_NK < 1) | chosen)
        at, y = [], []
        for phases in itertools.product(*(range(good.shape[1]) for good in each)):
            good_N = np.all([good[:, k] for good, k in zip(each, phases, strict=True)], axis=0)
            rows = np.flatnonzero(good_N)
            firsts = [np.full(len(rows), k + 1) for k in phases]
            at.append(rows)
            y.append(self._inner(x[rows], *self._readings(x[rows], firsts=firsts)))
        order = np.argsort(np.concatenate(at), kind="stable")
        return np.concatenate(at)[order], np.concatenate(y)[order]

    def inverse(self, y_NTE: np.ndarray) -> np.ndarray:
        """x [N, T, D] float64 that keeps every rule, whatever y is; the argument where none is.

        Raises:
          DataError: another number of inner columns.
        """
        if not self.rules:
            return y_NTE
        y = self._checked(y_NTE, len(self.source_E))
        plan, x = self._plan, np.empty((*y.shape[:2], len(self.names)))
        place = {d: e for e, d in reversed(list(enumerate(self.source_E)))}
        readings: dict[int, np.ndarray] = {}
        for d in plan.order:
            decimals = self.decimals_D[d]
            if d in plan.computed:
                x[..., d] = rounded(computed(plan.computed[d], self._columns(x)), decimals)
                continue
            inner = y[..., place[d]]
            if d in plan.bounds:
                low = self._bound(x, d, readings)
                high, grid = low + np.maximum(inner, 0.0), self._grid(d)
                if isinstance(grid, Table):
                    x[..., d] = raised(low, inner, grid)
                else:
                    x[..., d] = on_grid(high, grid) if grid else at_least(high, low, decimals)
            elif rule := self._following.get(d):
                change = x[..., self.names.index(rule.columns[1])]
                x[..., d] = summed(inner[:, :1], change[:, 1:], decimals)
            elif d in self._starts:
                start = y[:, :1, self._first_start + self._starts.index(d)]
                if d in self._restarting:
                    x[..., d] = self._restarted(d, start[:, 0], inner, y, x)
                    continue
                x[..., d] = summed(start, np.maximum(inner[:, 1:], 0.0), decimals)
            elif isinstance(by_step := plan.rising.get(d), Increase):
                start = rounded(inner[:, :1], decimals)
                x[..., d] = stepped(start, by_step, y.shape[1], decimals)
            else:
                x[..., d] = rounded(inner, decimals) if d in plan.touched else inner
            if d in plan.read:
                readings[d] = x[..., d].copy()
                number, straight = plan.read[d]
                steps = list(plan.resampled)[number].steps
                clock_N = np.nan_to_num(y[:, 0, self._first_clock + number])
                first_N = np.clip(np.rint(clock_N), 1, steps).astype(int)
                between = stretches.between(readings[d], first_N, steps, straight)
                x[..., d] = rounded(between, decimals)
                if d in plan.bounds:  # rounding may have gone below
                    low = self._bound(x, d)
                    x[..., d] = np.maximum(at_least(between, low, decimals), low)
        return x

    def _restarted(
        self,
        d: int,
        start_N: np.ndarray,
        inner_NT: np.ndarray,
        y_NTE: np.ndarray,
        x_NTD: np.ndarray,
    ) -> np.ndarray:
        """The levels of a column that restarts; of x only what says when is read."""
        anew = np.zeros(inner_NT.shape)
        if d in self._anew:
            anew = y_NTE[..., np.flatnonzero(self.is_restart)[self._anew.index(d)]]
        rule, decimals = self._restarting[d], self.decimals_D[d]
        how = rule, self._top(d), decimals, self.changes(rule, x_NTD)
        return restarts.inverse(start_N, inner_NT, anew, *how)

    def changes(self, rule: Restart, x_NTD: np.ndarray) -> np.ndarray | None:
        """When a column restarts [N, T], where another one says it."""
        if rule.when is None:
            return None
        return restarts.changes(x_NTD[..., self.names.index(rule.when)])

    def last(self, x_NPD: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
        """One inner step [N, 1, E] from which `inverse` goes on as after the first `lengths_N`
        steps of each sequence."""
        x = self._checked(x_NPD, len(self.names))
        rows = np.arange(len(x)), lengths_N - 1
        readings, clocks = self._readings(x, lengths_N)
        left = [clock[rows][:, None] for clock in clocks]
        last: dict[int, np.ndarray] = {}
        for d, y in readings.items():
            number, straight = self._plan.read[d]
            steps = list(self._plan.resampled)[number].steps
            begins = lengths_N[:, None] - 1 - (steps - left[number]).astype(int)
            before = np.take_along_axis(y, np.maximum(begins - 1, 0), axis=1)
            last[d] = np.where(straight & (left[number] > 1), before, x[(*rows, d)][:, None])
        return self._inner(x[rows][:, None], last, left)

    def made(self) -> list[Made]:
        """How `inverse` puts columns back, in its order; ratios, fixed steps, what increases by
        another column and what restarts left out."""
        plan, found = self._plan, []
        place = {d: e for e, d in reversed(list(enumerate(self.source_E)))}
        for d in plan.order:
            if isinstance(rule := plan.computed.get(d), Sum):
                sources = tuple(self.names.index(name) for _, name in rule.terms)
                found.append(Made(d, TOTAL, (), sources))
            elif d in plan.bounds:
                found.append(Made(d, ABOVE, (place[d],), plan.bounds[d]))
            elif d in self._starts and d not in self._following | self._restarting:
                start = self._first_start + self._starts.index(d)
                found.append(Made(d, SUMMED, (place[d], start), ()))
            elif d not in plan.computed and d not in plan.rising:
                found.append(Made(d, OWN, (place[d],), ()))
        return found

    def holds(self, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None) -> np.ndarray:
        """Which steps keep every rule, bool [N, T]. A sum is kept when it is so after rounding.

        `lengths_N`: see `forward`.
        """
        kept = self.kept(x_NTD, lengths_N).values()
        return np.logical_and.reduce([np.ones(x_NTD.shape[:2], bool), *kept])

    def kept(self, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Which steps keep each rule, bool [N, T], by its text."""
        x_NTD = np.asarray(x_NTD, np.float64)
        return {str(rule): self._keeps(rule, x_NTD, lengths_N) for rule in self.rules}

    def check(self, x_NTD: np.ndarray) -> None:
        """Refuse data that break a rule.

        Raises:
          DataError: they do; it names the rule, the first place and the values there.
          UsageError: a column is to stay below one that is constant: that is a bound, no rule.
        """
        for rule in self.rules:
            if isinstance(rule, Order):
                self._refuse_constant(rule, x_NTD)
            broken = ~self._keeps(rule, x_NTD)
            if np.any(broken):
                n, t = (int(i) for i in np.argwhere(broken)[0])
                values = ", ".join(
                    f"{name} is {float(x_NTD[n, t, self.names.index(name)])!r}"
                    for name in dict.fromkeys(rule.columns)
                )
                before = ""
                if isinstance(rule, Increase):
                    before = ", less than the step before" if rule.by is None else ""
                if isinstance(rule, Restart):
                    before = restarts.broken(rule)
                raise DataError(
                    f"Sequence {n + 1}, step {t + 1}: {values}{before}. That breaks the rule "
                    f'"{rule}", as {np.count_nonzero(broken):,} of {broken.size:,} steps do. '
                    "Correct the data, or leave the rule out."
                )

    def to_json(self) -> dict[str, Any]:
        """Plain lists: the rules as texts."""
        stored: dict[str, Any] = {
            "rules": [str(rule) for rule in self.rules],
            "names": list(self.names),
            "decimals": list(self.decimals_D),
        }
        if self.grids_D:
            stored["grids"] = [
                {"levels": list(grid.levels), "step": grid.step}
                if isinstance(grid, Table)
                else grid and list(grid)
                for grid in self.grids_D
            ]
        if self.readings_D:
            stored["readings"] = [c and [c.of_readings, c.loose] for c in self.readings_D]
        if self.tops_D:
            stored["tops"] = list(self.tops_D)
        return stored

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """The inverse of `to_json`.

        Raises:
          ValueError: not what `to_json` gives.

        >>> Rules.from_json(Rules((Increase("kWh"),), ("kWh",), (3,)).to_json()).inner_names
        ('increase of kWh', 'first kWh')
        """
        shown = f"the stored rules are damaged: {reprlib.repr(stored)}"
        needed = {"rules", "names", "decimals"}
        if not isinstance(stored, dict) or set(stored) - {"grids", "readings", "tops"} != needed:
            raise ValueError(shown)
        texts, names, decimals = (stored[name] for name in ("rules", "names", "decimals"))
        steps, of_readings = stored.get("grids", []), stored.get("readings", [])
        tops = stored.get("tops", [])
        if not (
            all(
                isinstance(each, list)
                for each in (texts, names, decimals, steps, of_readings, tops)
            )
            and all(each is None or _is_grid(each) for each in steps)
            and all(isinstance(each, str) for each in texts + names)
            and all(map(_is_decimals, decimals))
            and all(each is None or _is_readings(each) for each in of_readings)
            and all(each is None or (is_real(each) and each > 0) for each in tops)
        ):
            raise ValueError(shown)
        try:
            rules = tuple(parse(text, names) for text in texts)
            grids_D = tuple(
                Table(tuple(each["levels"]), each["step"])
                if isinstance(each, dict)
                else each and tuple(each)
                for each in steps
            )
            found = cls(rules, tuple(names), tuple(decimals), grids_D, tops_D=tuple(tops))
            _ = found.restarting
            return dataclasses.replace(found, readings_D=found._stored_readings(of_readings))
        except UsageError as error:
            raise ValueError(f"{shown}: {error}") from error

    def _stored_readings(self, stored: Sequence[Any]) -> tuple[stretches.Column | None, ...]:
        straight = {n for rule in self.rules if isinstance(rule, Resampled) for n in rule.straight}
        return tuple(
            each and stretches.Column(name in straight, decimals, *each)
            for name, decimals, each in zip(
                self.names, self.decimals_D, stored, strict=bool(stored)
            )
        )

    @functools.cached_property
    def _starts(self) -> tuple[int, ...]:
        """Columns that increase by no fixed step: their first value is an inner column."""
        rising = sorted(self._plan.rising.items())
        return tuple(d for d, r in rising if isinstance(r, Restart) or r.step is None)

    @functools.cached_property
    def _following(self) -> dict[int, Increase]:
        """Columns that increase by another one: their first value is all there is to learn."""
        rising = self._plan.rising.items()
        return {d: r for d, r in rising if isinstance(r, Increase) and r.by is not None}

    @functools.cached_property
    def _restarting(self) -> dict[int, Restart]:
        return {d: r for d, r in self._plan.rising.items() if isinstance(r, Restart)}

    @functools.cached_property
    def _anew(self) -> tuple[int, ...]:
        """Columns of which an inner column says where they count anew."""
        rules = sorted(self._restarting.items())
        return tuple(d for d, rule in rules if rule.at is rule.modulo is rule.when is None)

    def _top(self, d: int) -> float:
        top = self.tops_D[d] if self.tops_D else None
        if top is None:
            raise UsageError(
                f"Column {self.names[d]!r} restarts by a rule, and its largest increment is not "
                "known. Give it in tops_D (`restarts.top_of`)."
            )
        return top

    @property
    def _first_start(self) -> int:
        """The inner column from which on all are starts, restarts or clocks."""
        return self._first_clock - len(self._anew) - len(self._starts)

    @property
    def _first_clock(self) -> int:
        """The inner column from which on all are clocks."""
        return len(self.source_E) - len(self._plan.resampled)

    @functools.cached_property
    def _plan(self) -> _Plan:
        bounds: dict[int, tuple[int, ...]] = {}
        rising: dict[int, Increase | Restart] = {}
        computed: dict[int, Sum | Ratio] = {}
        needs: dict[int, set[int]] = {d: set() for d in range(len(self.names))}
        touched: set[int] = set()
        resampled: dict[Resampled, tuple[int, ...]] = {}
        for rule in dict.fromkeys(self.rules):
            places = [self._place(name, rule) for name in rule.columns]
            if isinstance(rule, Resampled):
                self._refuse_mixed(rule)
                resampled[rule] = tuple(places)
                continue
            touched.update(places)
            if isinstance(rule, Order):
                for low, high in itertools.pairwise(places):
                    bounds[high] = tuple(dict.fromkeys((*bounds.get(high, ()), low)))
                    needs[high].add(low)
            elif isinstance(rule, Increase | Restart):
                self._once(rising, places[0], rule)
                needs[places[0]].update(places[1:])
            else:
                self._once(computed, places[0], rule)
                needs[places[0]].update(places[1:])
        for d in sorted(touched):
            said = [d in bounds, d in rising, d in computed]
            if sum(said) > 1:
                words = ("has a lower bound", "increases", "is computed from others")
                both = " and ".join(w for w, there in zip(words, said, strict=True) if there)
                raise UsageError(
                    f"By the rules {self} column {self.names[d]!r} {both}: only one of these can "
                    "hold by construction. Leave out the rules of the other."
                )
        try:
            order = tuple(graphlib.TopologicalSorter(needs).static_order())
        except graphlib.CycleError as error:
            circle = ", ".join(repr(self.names[d]) for d in error.args[1])
            raise UsageError(
                f"The rules {self} go in a circle: {circle}, each is put back from the one before. "
                "Leave out one of them."
            ) from None
        read = {
            d: (number, self.names[d] in rule.straight)
            for number, (rule, places) in enumerate(resampled.items())
            for d in places
        }
        return _Plan(bounds, rising, computed, resampled, read, order, frozenset(touched))

    def _refuse_mixed(self, read: Resampled) -> None:
        """A column has one clock, and is put back from readings alone."""
        for rule in self.rules:
            if rule == read:
                continue
            made, sources = rule.columns[:1], rule.columns
            if isinstance(rule, Order):
                made, sources = rule.columns[1:], rule.columns[:-1]
            elif isinstance(rule, Resampled):
                made = rule.columns
            both = [name for name in made if name in read.columns]
            alike = any(set(sources) | set(both) <= set(e) for e in (read.straight, read.repeated))
            if both and not (isinstance(rule, Order) and alike):
                raise UsageError(
                    f'Column {both[0]!r} is in the rules "{read}" and "{rule}", of which only one '
                    "can hold by construction. Leave one out. (Beside the first it can be part of "
                    "a sum or share, and in an order above columns that are read with it.)"
                )

    def _place(self, name: str, rule: Rule) -> int:
        if name not in self.names:
            raise UsageError(f'The rule "{rule}": there is no column {name!r}. Correct the name.')
        return self.names.index(name)

    def _once(self, there: dict[int, Any], d: int, rule: Rule) -> None:
        """Add what a column is, unless something else is said of it."""
        if d in there:
            raise UsageError(
                f'Column {self.names[d]!r} is in the rules "{there[d]}" and "{rule}", of which '
                "only one can hold by construction. Leave one out."
            )
        there[d] = rule

    def _inner_name(self, d: int) -> str:
        name, bounds = self.names[d], [self.names[low] for low in self._plan.bounds.get(d, ())]
        if (rule := self._restarting.get(d)) and rule.at is not None and self.tops_D:
            at = restarts.restart_of(self._top(d))
            return f"increase of {name} ({at:.6g}: restart)"
        if d in self._plan.rising:
            return f"{'increase of' if d in self._starts else 'first'} {name}"
        lowest = bounds[0] if len(bounds) == 1 else f"max({', '.join(bounds)})"
        grid = self._grid(d)
        up = f" rounded up to {grid[1]:.6g}" if grid else ""
        up = ", by its values between" if isinstance(grid, Table) else up
        return f"{name} - {lowest}{up}" if bounds else name

    def _readings(
        self,
        x_NTD: np.ndarray,
        lengths_N: np.ndarray | None = None,
        firsts: Sequence[np.ndarray] | None = None,
    ) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
        """Readings of columns by their number, and how many steps are left to them; [N, T] each."""
        number, length = x_NTD.shape[:2]
        lengths_N = np.full(number, length) if lengths_N is None else lengths_N
        readings = {d: np.empty((number, length)) for d in self._plan.read}
        clocks = []
        for i, (rule, places) in enumerate(self._plan.resampled.items()):
            clock, columns = np.empty((number, length)), self._between(rule)
            for steps in np.unique(lengths_N).tolist():
                rows = np.flatnonzero(lengths_N == steps)
                inside = np.minimum(np.arange(length), steps - 1)
                x = x_NTD[rows, :steps][..., list(places)]
                first_N = None if firsts is None else firsts[i][rows]
                found, first_N = stretches.forward(x, rule.steps, columns, first_N)
                clock[rows] = stretches.left(first_N, rule.steps, steps)[:, inside]
                for c, d in enumerate(places):
                    readings[d][rows] = found[:, inside, c]
            clocks.append(clock)
        return readings, clocks

    def _between(self, rule: Resampled) -> list[stretches.Column]:
        """How each column of it is between readings."""
        found = []
        for name, d in zip(rule.columns, self._plan.resampled[rule], strict=True):
            usual = stretches.Column(name in rule.straight, self.decimals_D[d], self.decimals_D[d])
            found.append((self.readings_D[d] if self.readings_D else None) or usual)
        return found

    def _checked(self, x: np.ndarray, width: int) -> np.ndarray:
        if x.ndim != 3 or x.shape[-1] != width:
            raise DataError(
                f"These data have shape {x.shape}, and the rules {self} are of sequences "
                f"[N, T, {width}]. Use the columns that the rules were made for."
            )
        return np.asarray(x, np.float64)

    def _finest(self, d: int) -> int | None:
        """The most decimals of a column and its bounds, None where one has no number of them."""
        if self._grid(d):
            return self.decimals_D[d]
        each = [self.decimals_D[i] for i in (d, *self._plan.bounds[d])]
        known = [decimals for decimals in each if decimals is not None]
        return max(known) if len(known) == len(each) else None

    def _grid(self, d: int) -> Grid | None:
        return self.grids_D[d] if self.grids_D else None

    def _bound(
        self, x_NTD: np.ndarray, d: int, readings: dict[int, np.ndarray] | None = None
    ) -> np.ndarray:
        """The highest of the columns below; of a column that has `readings`, of theirs."""
        of = readings if readings and d in self._plan.read else {}
        columns = [of.get(low, x_NTD[..., low]) for low in self._plan.bounds[d]]
        highest = functools.reduce(np.maximum, columns)
        grid = self._grid(d)
        return up_to_grid(highest, grid) if grid else highest

    def _columns(self, x_NTD: np.ndarray) -> Callable[[str], np.ndarray]:
        return lambda name: x_NTD[..., self.names.index(name)]

    def _refuse_constant(self, rule: Order, x_NTD: np.ndarray) -> None:
        for lower, name in itertools.pairwise(rule.columns):
            x = self._columns(x_NTD)(name)
            if x.size and np.all(x == x.flat[0]):
                raise UsageError(
                    f'The rule "{rule}": {name} is {x.flat[0]:.12g} everywhere, so there is '
                    "nothing to learn of it. Leave it out of the rule, and say "
                    f"--bounds {lower}::{x.flat[0]:.12g}."
                )

    def _keeps(
        self, rule: Rule, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None
    ) -> np.ndarray:
        if isinstance(rule, Resampled):
            number = list(self._plan.resampled).index(rule)
            readings, clocks = self._readings(x_NTD, lengths_N)
            good = np.ones(x_NTD.shape[:2], bool)
            for d, column in zip(self._plan.resampled[rule], self._between(rule), strict=True):
                first_N = clocks[number][:, 0].astype(int)
                x = x_NTD[..., d]
                good &= stretches.keeps(x, readings[d], first_N, rule.steps, column)
            return good
        if isinstance(rule, Restart):
            d = self.names.index(rule.column)
            top = self.tops_D[d] if self.tops_D else None
            top = np.inf if top is None else top
            return restarts.keeps(x_NTD[..., d], rule, top, self.changes(rule, x_NTD))
        decimals = dict(zip(self.names, self.decimals_D, strict=True))
        return keeps(rule, self._columns(x_NTD), decimals.__getitem__)


def _is_grid(stored: Any) -> bool:
    """Origin and step, or a table, as JSON gives them."""
    if isinstance(stored, dict):
        if set(stored) != {"levels", "step"} or not isinstance(stored["levels"], list):
            return False
        levels, step = stored["levels"], stored["step"]
        if len(levels) < 2 or not all(map(is_real, [*levels, step])):
            return False
        return step > 0 and all(a < b for a, b in itertools.pairwise(levels))
    is_pair = isinstance(stored, list) and len(stored) == 2 and all(map(is_real, stored))
    return is_pair and stored[1] > 0


def _is_decimals(stored: Any) -> bool:
    return stored is None or (type(stored) is int and stored >= 0)


def _is_readings(stored: Any) -> bool:
    """Decimals of readings and whether values are loose."""
    is_pair = isinstance(stored, list) and len(stored) == 2
    return is_pair and _is_decimals(stored[0]) and type(stored[1]) is bool
