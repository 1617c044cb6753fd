"""Scaling of sequences to zero mean and unit variance, with what cannot be modelled left out.

Shapes: N sequences, T steps, D columns of the data, K columns that are kept.
"""

import dataclasses
import json
import math
from typing import Any

import numpy as np

from seqgan_jax.errors import CheckpointError, DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Scaler:
    """Affine scaling of each column to zero mean and unit variance.

        z = (x - shift) / scale,      log p(x) = log p(z) - T sum_k log scale_k

    Columns that are constant, or equal to an earlier column, are left out of z and put back
    exactly: they would make the covariance singular.

    Args:
      shift_K: means of the kept columns, in units of the data.
      scale_K: standard deviations of the kept columns, above 0.
      source_D: for each column of the data the kept column that it equals, -1 where constant.
      constant_D: the value of each constant column, 0.0 elsewhere.
      kept_K: the column of the data that each kept column is.

    >>> scaler = Scaler.fit(np.arange(12.0).reshape(3, 4, 1) * [[[1, 2, 0, 1]]])
    >>> scaler.kept_K, scaler.source_D
    ((0, 1), (0, 1, -1, 0))
    """

    shift_K: np.ndarray
    scale_K: np.ndarray
    source_D: tuple[int, ...]
    constant_D: tuple[float, ...]
    kept_K: tuple[int, ...]

    @classmethod
    def fit(cls, x_NTD: np.ndarray) -> "Scaler":
        """The scaling of these data, usually the training part.

        Raises:
          DataError: every column is constant, or one varies too little for its size.
        """
        columns = np.moveaxis(np.asarray(x_NTD, np.float64), -1, 0).reshape(x_NTD.shape[-1], -1)
        kept: list[int] = []
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
            largest = np.abs(x).max()  # so that no square overflows
            shift.append(float(np.mean(x / largest) * largest))
            scale.append(float(np.std(x / largest) * largest))
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
        return cls(np.array(shift), np.array(scale), tuple(source), tuple(constant), tuple(kept))

    def transform(self, x_NTD: np.ndarray) -> np.ndarray:
        """z [N, T, K] float64. What constant columns and copies hold is ignored: see `matches`.

        Raises:
          DataError: another number of columns than was fitted.
        """
        self._check_columns(x_NTD)
        x = np.asarray(x_NTD, np.float64)[..., list(self.kept_K)]
        return (x - self.shift_K) / self.scale_K

    def inverse(self, z_NTK: np.ndarray) -> np.ndarray:
        """x [N, T, D] float64 in units of the data, constants and copies in their places."""
        z = np.asarray(z_NTK, np.float64)
        x = z * self.scale_K + self.shift_K
        columns = [
            np.full(x.shape[:-1], c) if k < 0 else x[..., k]
            for k, c in zip(self.source_D, self.constant_D, strict=True)
        ]
        return np.stack(columns, axis=-1)

    def log_jacobian(self, steps: int) -> float:
        """What log p(x) - log p(z) is for a sequence of that many steps, in nats."""
        return -steps * math.fsum(math.log(s) for s in self.scale_K)

    def matches(self, x_NTD: np.ndarray) -> np.ndarray:
        """bool [N]: constant columns and copies are in each sequence what they were when fitted.

        Where they are not, the density of the sequence is zero.
        """
        self._check_columns(x_NTD)
        x = np.asarray(x_NTD, np.float64)
        good = np.ones(len(x), bool)
        for d, (k, c) in enumerate(zip(self.source_D, self.constant_D, strict=True)):
            expected = c if k < 0 else x[..., self.kept_K[k]]
            good &= np.all(x[..., d] == expected, axis=1)
        return good

    def _check_columns(self, x_NTD: np.ndarray) -> None:
        if x_NTD.ndim != 3 or x_NTD.shape[-1] != len(self.source_D):
            raise DataError(
                f"These data have shape {x_NTD.shape}, and the model was fitted on sequences "
                f"[N, T, {len(self.source_D)}]. Use the columns that it was trained on."
            )

    def to_json(self) -> dict[str, Any]:
        """Plain lists; the numbers survive `json.dumps` exactly."""
        return {
            "shift": self.shift_K.tolist(),
            "scale": self.scale_K.tolist(),
            "source": list(self.source_D),
            "constant": list(self.constant_D),
            "kept": list(self.kept_K),
        }

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
        )


def _problem_with(stored: Any) -> str:
    """What is wrong with a stored scaling, "" where nothing is."""
    names = ("shift", "scale", "source", "constant", "kept")
    if not isinstance(stored, dict) or set(stored) != set(names):
        return f"it must have the entries {', '.join(names)} and no other"
    if not all(isinstance(stored[name], list) for name in names):
        return "every entry must be a list"
    shift, scale, source, constant, kept = (stored[name] for name in names)
    if not all(_is_real(value) for value in shift + scale + constant):
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
    return ""


def _is_real(value: Any) -> bool:
    return type(value) is float and math.isfinite(value)
