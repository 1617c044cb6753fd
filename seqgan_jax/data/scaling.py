"""Scaling of sequences to zero mean and unit variance, with what cannot be modelled left out.

Shapes: N sequences, T steps, D columns of the data, E columns after rules, K of these are kept.
"""

import dataclasses
import math
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqgan_jax.data import lengths
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.intervals import Interval, is_real
from seqgan_jax.data.kind import CONTINUOUS, END, GAP, Kind
from seqgan_jax.data.missing import first_there
from seqgan_jax.data.rules import Clock, Rules
from seqgan_jax.errors import CheckpointError, DataError, UsageError

NEAR_ATOM = 1e-4  # scaled: what is as near to an atom is the atom
NEAR_FAR_ATOM = 1e-6  # as share of its scaled value: float32 of a sentinel


@dataclasses.dataclass(frozen=True, eq=False)
class Scaler:
    """Scaling of each column to zero mean and unit variance.

        z = (y - shift) / scale,      log p(x) = log p(z) + sum_tk log |dy/dx| - T sum_k log scale_k

    where y = x, or its map to the real line where the column has bounds (`Interval`). Columns that
    are constant, or equal to an earlier column, are left out of z and put back exactly: they would
    make the covariance singular.

    Columns of other kinds than a density (`Kind`) are scaled by the rest: without atoms, without
    what is as before, and without the farthest outliers. They come back exactly: on their grid, as
    one of their categories, as an atom where z is within NEAR_ATOM of it. Where there are rules,
    x is what they make of the data.

    A missing value is NaN in x and GAP in z. In a column that is constant in each sequence it is
    known where any of its values is, and missing where none is.

    What is constant in each sequence comes first in z: all else is learned given it, so that a
    policy that is told its values samples from the exact conditional law.

    Where sequences end (`ends`), x is NaN after their last step; z is 0 there, and has one more
    column, the last: 1 at that step, else 0.

    Args:
      shift_K: means of y, of the kept columns.
      scale_K: standard deviations of y, above 0.
      source_D: for each column (after rules) the kept column that it equals, -1 where constant.
      constant_D: the value of each constant column, 0.0 elsewhere.
      kept_K: the column (after rules) that each kept column is.
      interval_K: bounds of each kept column.
      kinds_K: kind of each kept column.
      rules: None where there are none.
      ends: sequences have ends of their own.

    >>> scaler = Scaler.fit(np.arange(12.0).reshape(3, 4, 1) * [[[1, 2, 0, 1]]])
    >>> scaler.kept_K, scaler.source_D
    ((0, 1), (0, 1, -1, 0))
    """

    shift_K: np.ndarray
    scale_K: np.ndarray
    source_D: tuple[int, ...]
    constant_D: tuple[float, ...]
    kept_K: tuple[int, ...]
    interval_K: tuple[Interval, ...]
    kinds_K: tuple[Kind, ...]
    rules: Rules | None = None
    ends: bool = False

    @classmethod
    def fit(
        cls,
        x_NTD: np.ndarray,
        limits_D: Sequence[Limits | None] = (),
        kinds_D: Sequence[Kind] | None = None,
        rules: Rules | None = None,
        there_NT: np.ndarray | None = None,
    ) -> "Scaler":
        """The scaling of these data, usually the training part.

        `limits_D` is what --log and --bounds say (`bounds.of_columns`), which the data must keep
        (`intervals.check`). A column that equals others has the limits of any of them. Bounds of a
        grid are its ends, and a grid or numbers that are categories are a density under --log.
        `limits_D` and `kinds_D` (`kinds.find`; None: all are densities) are of the columns that
        `rules` make. Where sequences end, `there_NT` says which steps are not after that; what is
        there of `x_NTD` is then `lengths.filled`.

        Raises:
          DataError: every column is constant, or one varies too little for its size.
          UsageError: equal columns have different limits; words have some.
        """
        y_NTE = np.asarray(rules.forward(x_NTD) if rules else x_NTD, np.float64)
        columns = np.moveaxis(y_NTE, -1, 0).reshape(y_NTE.shape[-1], -1)
        kept: list[int] = []
        intervals: list[Interval] = []
        kinds: list[Kind] = []
        source, constant, shift, scale = [], [], [], []
        for d, x in enumerate(columns):
            kind = kinds_D[d] if kinds_D else Kind(CONTINUOUS)
            whole = [k for k in range(len(kept)) if not (kind.missing or kinds[k].missing)]
            copied = next((k for k in whole if np.array_equal(x, columns[kept[k]])), None)
            is_constant = bool(np.all(x == x[0])) and not kind.missing
            constant.append(float(x[0]) if is_constant else 0.0)
            if is_constant or copied is not None:
                source.append(-1 if copied is None else copied)
                continue
            source.append(len(kept))
            kept.append(d)
            said = [
                e
                for e, each in enumerate(limits_D)
                if each and (e == d or np.array_equal(x, columns[e]))
            ]
            limits = _only(limits_D, said)
            kind = kind.limited(limits, d) if limits else kind
            kinds.append(kind)
            rest = kind.rest(y_NTE[..., d], there_NT)
            bounded = kind.name == CONTINUOUS
            intervals.append(Interval.fit(rest, limits) if bounded else Interval())
            y = _trimmed(intervals[-1].forward(rest), kind)
            largest = np.abs(y).max() or 1.0  # so that no square overflows
            shift.append(0.0 if kind.words else float(np.mean(y / largest) * largest))
            spread = float(np.std(y / largest) * largest)
            is_one = kind.missing and spread == 0  # value, when it is there
            scale.append(1.0 if kind.words or is_one else spread)
            if not (scale[-1] > 1e-290 and scale[-1] < 1e290):
                raise DataError(
                    f"Column {d + 1} has standard deviation {scale[-1]:g}, too small or too large "
                    "for 64-bit numbers. Use other units."
                )
        if not kept:
            raise DataError(
                "Every column is constant: there is nothing to learn. Check the data, or choose "
                "other --columns."
            )
        order = sorted(range(len(kept)), key=lambda k: not kinds[k].static)
        return cls(
            np.array([shift[k] for k in order]),
            np.array([scale[k] for k in order]),
            tuple(-1 if k < 0 else order.index(k) for k in source),
            tuple(constant),
            tuple(kept[k] for k in order),
            tuple(intervals[k] for k in order),
            tuple(kinds[k] for k in order),
            rules,
            there_NT is not None,
        )

    @property
    def num_columns(self) -> int:
        """D, columns of the data; with rules other than the columns that they make."""
        return len(self.rules.names) if self.rules else len(self.source_D)

    @property
    def may_miss_D(self) -> tuple[bool, ...]:
        """Which columns of the data may miss values."""
        missing_E = [k >= 0 and self.kinds_K[k].missing for k in self.source_D]
        if not self.rules:
            return tuple(missing_E)
        own = {self.rules.source_E[e] for e, is_one in enumerate(missing_E) if is_one}
        return tuple(d in own for d in range(self.num_columns))

    @property
    def inner_kinds(self) -> tuple[Kind, ...]:
        """The kinds of the columns of z."""
        return (*self.kinds_K, END) if self.ends else self.kinds_K

    @property
    def num_inner(self) -> int:
        """How many columns z has."""
        return len(self.kept_K) + self.ends

    @property
    def end(self) -> int | None:
        """The column of z that says which step is the last; None where there is none."""
        return len(self.kept_K) if self.ends else None

    @property
    def num_static(self) -> int:
        """How many kept columns are constant in each sequence: the first ones."""
        return sum(kind.static for kind in self.kinds_K)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Columns of z that say when others change, see `Rules.clocks`."""
        found: dict[int, Clock] = {}
        for clock in self.rules.clocks if self.rules else ():
            k = self.source_D[clock.column]
            straight, repeated = (
                tuple(self.source_D[e] for e in each if e in self.kept_K)
                for each in (clock.straight, clock.repeated)
            )
            before = found.get(k, Clock(k, clock.steps, (), ()))
            both = (*before.straight, *straight), (*before.repeated, *repeated)
            found[k] = Clock(k, clock.steps, *both)
        return tuple(found.values())

    def transform(
        self, x_NTD: np.ndarray, going_on: bool = False, lengths_N: np.ndarray | None = None
    ) -> np.ndarray:
        """z [N, T, K] float64, GAP where a value is missing. With `going_on` no step is a last one,
        and what has no value is missing, not after an end. `lengths_N`: see `Rules.forward`.

        What constant columns and copies hold is ignored, and values outside bounds count as on
        them (see `matches`), as those do beyond the ends of a density.

        Raises:
          DataError: another number of columns than was fitted.
        """
        if self.ends and going_on:
            z = dataclasses.replace(self, ends=False).transform(x_NTD, True, lengths_N)
            return np.concatenate([z, np.zeros((*z.shape[:2], 1))], axis=-1)
        y = self._kept(x_NTD, lengths_N)
        gaps: list[tuple[int, np.ndarray]] = []
        for k, (interval, kind) in enumerate(zip(self.interval_K, self.kinds_K, strict=True)):
            if kind.missing:
                if kind.static:
                    y[..., k] = first_there(y[..., k])[:, None]
                gaps.append((k, np.isnan(y[..., k])))
            if kind.fenced:
                is_atom = np.isin(y[..., k], kind.atoms)  # -999 is beyond the ends
                y[..., k] = np.where(is_atom, y[..., k], kind.snap(y[..., k]))
            if not interval.free:
                y[..., k] = interval.forward(y[..., k])
            y[..., k] = kind.position(y[..., k])
        z = (y - self.shift_K) / self.scale_K
        for k, gap in gaps:
            z[gap, k] = GAP
        if not self.ends:
            return z
        lengths_N = lengths.of(x_NTD)
        z[~lengths.there(x_NTD)] = 0.0
        is_last = np.arange(z.shape[1]) == lengths_N[:, None] - 1
        return np.concatenate([z, is_last[..., None]], axis=-1)

    def inverse(self, z_NTK: np.ndarray) -> np.ndarray:
        """x [N, T, D] float64 in units of the data, constants and copies in their places."""
        z = np.asarray(z_NTK, np.float64)
        if self.ends:
            x_NTD = dataclasses.replace(self, ends=False).inverse(z[..., :-1])
            x_NTD[_after(z[..., -1])] = np.nan
            return x_NTD
        x = z * self.scale_K + self.shift_K
        for k, (interval, kind) in enumerate(zip(self.interval_K, self.kinds_K, strict=True)):
            if not interval.free:
                x[..., k] = interval.inverse(x[..., k])
            if kind.plain:
                continue
            x[..., k] = kind.value(x[..., k])
            for atom in kind.atoms:
                centre = self.scaled(k, np.array([atom]))[0]
                near = max(NEAR_ATOM, NEAR_FAR_ATOM * abs(float(centre)))
                x[np.abs(z[..., k] - centre) <= near, k] = atom
            if kind.missing:
                x[z[..., k] == GAP, k] = np.nan
            if kind.static:
                x[..., k] = x[:, :1, k]
            x[..., k] += 0.0  # no -0
        columns = [
            np.full(x.shape[:-1], c) if k < 0 else x[..., k]
            for k, c in zip(self.source_D, self.constant_D, strict=True)
        ]
        y_NTE = np.stack(columns, axis=-1)
        return self.rules.inverse(y_NTE) if self.rules else y_NTE

    def last(self, x_NPD: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
        """One step [N, 1, E], as the rules make it, that is gone on from after the first
        `lengths_N` of each sequence."""
        if self.rules:
            return self.rules.last(x_NPD, lengths_N)
        last = x_NPD[np.arange(len(x_NPD)), lengths_N - 1][:, None]
        return dataclasses.replace(self, ends=False)._ruled(last)

    def continued(self, z_NTK: np.ndarray, last_N1E: np.ndarray) -> np.ndarray:
        """`inverse` of the T steps after a given one (`last`), x [N, T, D] float64; NaN after an
        end.

        What is constant in a sequence is what it was, what increases by a rule goes on from there,
        and so do lines to readings, exactly.
        """
        if self.ends:
            x_NTD = dataclasses.replace(self, ends=False).continued(z_NTK[..., :-1], last_N1E)
            x_NTD[_after(z_NTK[..., -1])] = np.nan
            return x_NTD
        y_NTE = dataclasses.replace(self, rules=None).inverse(z_NTK)
        for e, k in enumerate(self.source_D):
            if k >= 0 and self.kinds_K[k].static:
                last_N1 = last_N1E[..., e]
                y_NTE[..., e] = np.where(np.isnan(last_N1), y_NTE[..., e], last_N1)
        if not self.rules:
            return y_NTE
        return self.rules.inverse(np.concatenate([last_N1E, y_NTE], axis=1))[:, 1:]

    def scaled(self, k: int, y: np.ndarray) -> np.ndarray:
        """z of values of a kept column, inf for the end that a density does not have; or of the
        end."""
        if k == self.end:
            return y
        return self.affine(k, self.kinds_K[k].position(self.interval_K[k].forward(y)))

    def affine(self, k: int, y: np.ndarray) -> np.ndarray:
        """z of positions of a kept column, see `Kind.position`."""
        if k == self.end:
            return y
        found: np.ndarray = (y - self.shift_K[k]) / self.scale_K[k]
        return found

    def log_jacobian(self, x_NTD: np.ndarray) -> np.ndarray:
        """log p(x) - log p(z) of each sequence, [N] float64, nats, where every column is a density.

        Raises:
          DataError: another number of columns than was fitted.
        """
        if self.ends:
            return self.log_derivative(x_NTD).sum(axis=(1, 2))
        x = self._kept(x_NTD)
        constant = -x.shape[1] * math.fsum(math.log(s) for s in self.scale_K)
        total = np.full(len(x), constant)
        for k, interval in enumerate(self.interval_K):
            if not interval.free:
                total += interval.log_derivative(x[..., k]).sum(axis=1)
        return total

    def log_derivative(self, x_NTD: np.ndarray) -> np.ndarray:
        """log |dz/dx| of each value, [N, T, K] float64; 0 where a column has probabilities, not a
        density: grids and categories.

        Raises:
          DataError: another number of columns than was fitted.
        """
        y = self._kept(x_NTD)
        for k, (interval, kind) in enumerate(zip(self.interval_K, self.kinds_K, strict=True)):
            if kind.name == CONTINUOUS:
                gap = np.isnan(y[..., k])
                y[..., k] = interval.log_derivative(y[..., k]) - math.log(self.scale_K[k])
                y[gap, k] = 0.0
            else:
                y[..., k] = 0.0
        if self.ends:
            y[~lengths.there(x_NTD)] = 0.0
            y = np.concatenate([y, np.zeros((*y.shape[:2], 1))], axis=-1)
        return y

    def matches(self, x_NTD: np.ndarray) -> np.ndarray:
        """bool [N]: constant columns and copies are in each sequence what they were when fitted,
        no value is outside its bounds or off its grid (`Kind.holds`), no category is new, what is
        constant in each sequence is, and the rules hold.

        Where they are not, the density of the sequence is zero.
        """
        x_NTD = lengths.filled(x_NTD) if self.ends else x_NTD
        x = self._ruled(x_NTD)
        good = np.ones(len(x), bool)
        if self.rules:
            good &= np.all(self.rules.holds(np.asarray(x_NTD, np.float64)), axis=1)
        for d, interval, kind in zip(self.kept_K, self.interval_K, self.kinds_K, strict=True):
            gone = np.isnan(x[..., d]) & kind.missing
            if not interval.free:
                good &= np.all(interval.holds(x[..., d]) | gone, axis=1)
            if not kind.plain:
                good &= np.all(kind.holds(x[..., d]) | gone, axis=1)
            if kind.static:
                first_N = first_there(x[..., d]) if kind.missing else x[:, 0, d]
                good &= np.all((x[..., d] == first_N[:, None]) | gone, axis=1)
        for d, (k, c) in enumerate(zip(self.source_D, self.constant_D, strict=True)):
            expected = c if k < 0 else x[..., self.kept_K[k]]
            gone = np.isnan(x[..., d]) & (k >= 0 and self.kinds_K[k].missing)
            good &= np.all((x[..., d] == expected) | gone, axis=1)
        return good

    def holds(self, d: int) -> Callable[[np.ndarray], np.ndarray]:
        """Which values are within the bounds of a column of the data; all where it has none."""
        if self.rules and d not in self.rules.source_E:
            return Interval().holds
        e = self.rules.source_E.index(d) if self.rules else d
        k = self.source_D[e]
        ruled = self.rules and self.rules.inner_names[e] != self.rules.names[d]
        return (Interval() if k < 0 or ruled else self.interval_K[k]).holds

    def described(self, d: int) -> str:
        """How a column of the data is learned, a few words."""
        places = [d]
        if self.rules:
            places = [
                e
                for e, source in enumerate(self.rules.source_E)
                if source == d and not self.rules.is_clock[e]
            ]
            if not places:
                return "computed by a rule"
        said = []
        clocks = self.rules.clocks if self.rules else ()
        straight = {e for clock in clocks for e in clock.straight}
        followers = straight | {e for clock in clocks for e in clock.repeated}
        for e in places:
            k = self.source_D[e]
            of = "" if not self.rules else self.rules.inner_names[e]
            of = "" if self.rules and of == self.rules.names[d] else of
            if k < 0 or e not in self.kept_K:
                words = "carried exactly, not learned"
            else:
                kind = self.kinds_K[k]
                if e in followers:  # the rule says when it changes
                    kind = dataclasses.replace(kind, held=False)
                    of = of or "readings" * (e in straight)
                parts = [str(self.interval_K[k]), "" if kind.plain else str(kind)]
                words = ", ".join(part for part in parts if part)
            said += [f"{of}: {words or 'continuous'}"] if of else [words] * bool(words)
        return "; ".join(said)

    def _kept(self, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None) -> np.ndarray:
        """A copy of the kept columns, float64."""
        return self._ruled(x_NTD, lengths_N)[..., list(self.kept_K)]

    def _ruled(self, x_NTD: np.ndarray, lengths_N: np.ndarray | None = None) -> np.ndarray:
        """What the rules make of the data, [N, T, E] float64; the last step after an end."""
        x_NTD = lengths.filled(x_NTD) if self.ends and x_NTD.ndim == 3 else x_NTD
        of_part = () if lengths_N is None else (lengths_N,)
        y_NTE = self.rules.forward(x_NTD, *of_part) if self.rules else x_NTD
        if y_NTE.ndim != 3 or y_NTE.shape[-1] != len(self.source_D):
            raise DataError(
                f"These data have shape {x_NTD.shape}, and the model was fitted on sequences "
                f"[N, T, {len(self.source_D)}]. Use the columns that it was trained on."
            )
        return np.asarray(y_NTE, np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain lists; the numbers survive `json.dumps` exactly.

        "bounds" is there where a column has some: null, or low, high, below, above with null for
        infinite; "kinds" where one is no plain density: null, or `Kind.to_json`; "rules" where
        there are some; "ends" where sequences end.
        """
        stored: dict[str, Any] = {
            "shift": self.shift_K.tolist(),
            "scale": self.scale_K.tolist(),
            "source": list(self.source_D),
            "constant": list(self.constant_D),
            "kept": list(self.kept_K),
        }
        if not all(interval.free for interval in self.interval_K):
            stored["bounds"] = [interval.to_json() for interval in self.interval_K]
        if not all(kind.plain for kind in self.kinds_K):
            stored["kinds"] = [None if kind.plain else kind.to_json() for kind in self.kinds_K]
        if self.rules:
            stored["rules"] = self.rules.to_json()
        if self.ends:
            stored["ends"] = True
        return stored

    @classmethod
    def from_json(cls, stored: Any) -> "Scaler":
        """The inverse of `to_json`.

        Raises:
          CheckpointError: not what `to_json` gives.
        """
        problem = _problem_with(stored)
        if problem:
            raise CheckpointError(
                f"The stored scaling is damaged: {problem}, in {reprlib.repr(stored)}. "
                "Use another checkpoint or train again."
            )
        none = [None] * len(stored["kept"])
        return cls(
            np.array(stored["shift"], np.float64),
            np.array(stored["scale"], np.float64),
            tuple(stored["source"]),
            tuple(float(c) for c in stored["constant"]),
            tuple(stored["kept"]),
            tuple(map(Interval.from_json, stored.get("bounds", none))),
            tuple(map(_stored_kind, stored.get("kinds", none))),
            Rules.from_json(stored["rules"]) if "rules" in stored else None,
            bool(stored.get("ends", False)),
        )


def _after(is_last_NT: np.ndarray) -> np.ndarray:
    """Which steps come after one that is the last, bool [N, T]."""
    is_last = is_last_NT > 0.5
    return np.cumsum(is_last, axis=1) > is_last


def _only(limits_D: Sequence[Limits | None], said: Sequence[int]) -> Limits | None:
    """The limits that equal columns share, of which `said` have some."""
    first = limits_D[said[0]] if said else None
    for d in said[1:]:
        limits = limits_D[d]
        if first and limits and limits != first:
            raise UsageError(
                f"Columns {said[0] + 1} and {d + 1} are equal, and {first.flag} is another "
                f"transform than {limits.flag}. Leave one out: equal columns share theirs."
            )
    return first


def _trimmed(y: np.ndarray, kind: Kind) -> np.ndarray:
    """Without outliers beyond the range of nearly all values, once more on each side.

    Not of plain densities: their scale is their standard deviation.
    """
    if dataclasses.replace(kind, missing=False).plain:
        return y
    low, high = np.quantile(y, (0.01, 0.99))
    return y if low == high else np.clip(y, low - (high - low), high + (high - low))


def _stored_kind(stored: Any) -> Kind:
    return Kind(CONTINUOUS) if stored is None else Kind.from_json(stored)


def _problem_with(stored: Any) -> str:
    """What is wrong with a stored scaling, "" where nothing is."""
    names = ("shift", "scale", "source", "constant", "kept")
    optional = {"bounds", "kinds", "rules", "ends"}
    if not isinstance(stored, dict) or set(stored) - optional != set(names):
        return f"it must have the entries {', '.join(names)} and no other"
    if stored.get("ends", True) is not True:
        return "ends must be true, or not there"
    if not all(isinstance(stored[name], list) for name in names):
        return "every entry must be a list"
    shift, scale, source, constant, kept = (stored[name] for name in names)
    if not all(is_real(value) for value in shift + scale + constant):
        return "shift, scale and constant must be finite numbers"
    if not all(type(value) is int for value in source + kept):
        return "source and kept must be whole numbers"
    if not len(shift) == len(scale) == len(kept) > 0 or len(source) != len(constant):
        return "lengths do not fit"
    if not all(value > 0 for value in scale):
        return "every scale must be above 0"
    if not all(-1 <= k < len(kept) for k in source):
        return "source names a column that is not kept"
    first = {k: d for d, k in reversed(list(enumerate(source)))}
    if any(first.get(k) != d for k, d in enumerate(kept)):
        return "source and kept do not fit"
    bounds = stored.get("bounds", [[0.0, None, 0.0, 0.0]] * len(kept))
    if not isinstance(bounds, list) or len(bounds) != len(kept) or bounds == [None] * len(kept):
        return "bounds must be a list with an entry for each column that is kept"
    if not all(each is None or Interval.is_json(each) for each in bounds):
        return "bounds must be null or low, high and their margins, in order"
    none = [None] * len(kept)
    kinds = stored.get("kinds", none)
    if not isinstance(kinds, list) or len(kinds) != len(kept) or stored.get("kinds") == none:
        return "kinds must be a list with an entry for each column that is kept"
    try:
        for each in kinds:
            _stored_kind(each)
        if "rules" in stored:
            Rules.from_json(stored["rules"])
    except ValueError as error:
        return str(error)
    return ""
