"""Scaling of sequences to zero mean and unit variance, with what cannot be modelled left out.

Shapes: N sequences, T steps, D columns of the data, K columns that are kept.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.intervals import Interval, is_real
from seqgan_jax.errors import CheckpointError, DataError, UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Scaler:
    """Scaling of each column to zero mean and unit variance.

        z = (y - shift) / scale,      log p(x) = log p(z) + sum_tk log |dy/dx| - T sum_k log scale_k

    where y = x, or its map to the real line where the column has bounds (`Interval`). Columns that
    are constant, or equal to an earlier column, are left out of z and put back exactly: they would
    make the covariance singular.

    Args:
      shift_K: means of y, of the kept columns.
      scale_K: standard deviations of y, above 0.
      source_D: for each column of the data the kept column that it equals, -1 where constant.
      constant_D: the value of each constant column, 0.0 elsewhere.
      kept_K: the column of the data that each kept column is.
      interval_K: bounds of each kept column.

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

    @classmethod
    def fit(cls, x_NTD: np.ndarray, limits_D: Sequence[Limits | None] = ()) -> "Scaler":
        """The scaling of these data, usually the training part.

        `limits_D` is what --log and --bounds say (`bounds.of_columns`), which the data must keep
        (`intervals.check`). A column that equals others has the limits of any of them.

        Raises:
          DataError: every column is constant, or one varies too little for its size.
          UsageError: equal columns have different limits.
        """
        columns = np.moveaxis(np.asarray(x_NTD, np.float64), -1, 0).reshape(x_NTD.shape[-1], -1)
        kept: list[int] = []
        intervals: list[Interval] = []
        source, constant, shift, scale = [], [], [], []
        for d, x in enumerate(columns):
            copied = next((k for k, e in enumerate(kept) if np.array_equal(x, columns[e])), None)
            is_constant = bool(np.all(x == x[0]))
            constant.append(float(x[0]) if is_constant else 0.0)
            if is_constant or copied is not None:
                source.append(-1 if copied is None else copied)
                continue
            source.append(len(kept))
            kept.append(d)
            said = [e for e, each in enumerate(limits_D) if each and np.array_equal(x, columns[e])]
            intervals.append(Interval.fit(x, _only(limits_D, said)))
            y = intervals[-1].forward(x)
            largest = np.abs(y).max() or 1.0  # so that no square overflows
            shift.append(float(np.mean(y / largest) * largest))
            scale.append(float(np.std(y / largest) * largest))
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
        return cls(
            np.array(shift),
            np.array(scale),
            tuple(source),
            tuple(constant),
            tuple(kept),
            tuple(intervals),
        )

    def transform(self, x_NTD: np.ndarray) -> np.ndarray:
        """z [N, T, K] float64. What constant columns and copies hold is ignored, and values outside
        bounds count as on them: see `matches`.

        Raises:
          DataError: another number of columns than was fitted.
        """
        y = self._kept(x_NTD)
        for k, interval in enumerate(self.interval_K):
            if not interval.free:
                y[..., k] = interval.forward(y[..., k])
        return (y - self.shift_K) / self.scale_K

    def inverse(self, z_NTK: np.ndarray) -> np.ndarray:
        """x [N, T, D] float64 in units of the data, constants and copies in their places."""
        z = np.asarray(z_NTK, np.float64)
        x = z * self.scale_K + self.shift_K
        for k, interval in enumerate(self.interval_K):
            if not interval.free:
                x[..., k] = interval.inverse(x[..., k])
        columns = [
            np.full(x.shape[:-1], c) if k < 0 else x[..., k]
            for k, c in zip(self.source_D, self.constant_D, strict=True)
        ]
        return np.stack(columns, axis=-1)

    def log_jacobian(self, x_NTD: np.ndarray) -> np.ndarray:
        """log p(x) - log p(z) of each sequence, [N] float64, nats.

        Raises:
          DataError: another number of columns than was fitted.
        """
        x = self._kept(x_NTD)
        constant = -x.shape[1] * math.fsum(math.log(s) for s in self.scale_K)
        total = np.full(len(x), constant)
        for k, interval in enumerate(self.interval_K):
            if not interval.free:
                total += interval.log_derivative(x[..., k]).sum(axis=1)
        return total

    def matches(self, x_NTD: np.ndarray) -> np.ndarray:
        """bool [N]: constant columns and copies are in each sequence what they were when fitted,
        and no value is outside its bounds.

        Where they are not, the density of the sequence is zero.
        """
        self._check_columns(x_NTD)
        x = np.asarray(x_NTD, np.float64)
        good = np.ones(len(x), bool)
        for d, interval in zip(self.kept_K, self.interval_K, strict=True):
            if not interval.free:
                good &= np.all(interval.holds(x[..., d]), axis=1)
        for d, (k, c) in enumerate(zip(self.source_D, self.constant_D, strict=True)):
            expected = c if k < 0 else x[..., self.kept_K[k]]
            good &= np.all(x[..., d] == expected, axis=1)
        return good

    def holds(self, d: int) -> Callable[[np.ndarray], np.ndarray]:
        """Which values are within the bounds of a column of the data; all where it has none."""
        k = self.source_D[d]
        return (Interval() if k < 0 else self.interval_K[k]).holds

    def _kept(self, x_NTD: np.ndarray) -> np.ndarray:
        """A copy of the kept columns, float64."""
        self._check_columns(x_NTD)
        return np.asarray(x_NTD, np.float64)[..., list(self.kept_K)]

    def _check_columns(self, x_NTD: np.ndarray) -> None:
        if x_NTD.ndim != 3 or x_NTD.shape[-1] != len(self.source_D):
            raise DataError(
                f"These data have shape {x_NTD.shape}, and the model was fitted on sequences "
                f"[N, T, {len(self.source_D)}]. Use the columns that it was trained on."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain lists; the numbers survive `json.dumps` exactly.

        "bounds" is there where a column has some: null, or low, high, below, above with null for
        infinite.
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
                f"The stored scaling is damaged: {problem}, in {json.dumps(stored, default=str)}. "
                "Use another checkpoint or train again."
            )
        return cls(
            np.array(stored["shift"], np.float64),
            np.array(stored["scale"], np.float64),
            tuple(stored["source"]),
            tuple(float(c) for c in stored["constant"]),
            tuple(stored["kept"]),
            tuple(map(Interval.from_json, stored.get("bounds") or [None] * len(stored["kept"]))),
        )


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


def _problem_with(stored: Any) -> str:
    """What is wrong with a stored scaling, "" where nothing is."""
    names = ("shift", "scale", "source", "constant", "kept")
    if not isinstance(stored, dict) or set(stored) - {"bounds"} != set(names):
        return f"it must have the entries {', '.join(names)} and no other"
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
    return ""
