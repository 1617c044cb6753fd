"""The linear baseline: a VAR(1) of the columns by ridge regression; constants of a policy.

Slow series move a thousandth of their range in a step, and prices of one share are nearly
collinear: against this baseline the policy's task has unit scale in every direction, and training
begins at the VAR(1)'s likelihood instead of creeping towards it.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from seqgan_jax.core.batch import Params

Array = NDArray[Any]

RIDGES = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # in units of a column's variance
SHRINKAGES = (0.0, 0.1, 0.5, 1.0)  # of correlations towards none
ROWS = 2000  # validation sequences that decide


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Baseline:
    """x_1 = first_offset + first_factor e_1; x_t = matrix x_{t-1} + offset + factor e_t."""

    first_offset: jax.Array  # [D]
    first_factor: jax.Array  # [D, D], lower triangular
    matrix: jax.Array  # [D, D]
    offset: jax.Array  # [D]
    factor: jax.Array  # [D, D], lower triangular

    def constants(self) -> Params:
        """As a policy holds them."""
        return asdict(self)


class _Candidate(NamedTuple):
    """One way to predict, and the density of what is left over."""

    matrix: Array
    offset: Array
    factor: Array


def fit(
    train_NTD: Array, validation_NTD: Array, covariance: str = "full", kind: str = "var"
) -> Baseline:
    """Ridge regression of x_t on x_{t-1}, and the covariances of x_1 and of the residuals.

    min_A ||x_t - A x_{t-1}||^2 + lambda ||A - A_0||^2 with A_0 = 0 or the identity. Plain least
    squares (lambda = 0, the covariance as it is) where the validation part is likelier under it
    than under independent columns without it (A = A_0): with more columns than rows it is not, its
    residuals are fitted to nothing. Then lambda and the shrinkage of correlations are those under
    which the validation part is likeliest.

    Args:
      train_NTD: scaled sequences to fit.
      validation_NTD: scaled sequences that choose.
      covariance: "full" or "diagonal".
      kind: "var"; with "increments" A is the identity, with "levels" zero.
    """
    features = train_NTD.shape[2]
    validation_NTD = validation_NTD[:ROWS]
    first, before, after = train_NTD[:, 0], train_NTD[:, :-1], train_NTD[:, 1:]
    before, after = before.reshape(-1, features), after.reshape(-1, features)
    # The floor keeps exactly dependent columns invertible: 1e-4 of a column's standard deviation.
    floor = 1e-8 * (before.var(axis=0) + 1e-8)
    shrinkages = SHRINKAGES if covariance == "full" and features > 1 else (0.0,)

    zero = np.zeros((features, features))
    firsts = [
        _Candidate(zero, first.mean(0), _factor(first, floor, covariance, shrinkage))
        for shrinkage in shrinkages
    ]
    chosen_first = _choose(firsts, firsts[-1:], 0.0 * validation_NTD[:, :1], validation_NTD[:, :1])

    candidates, plain = [], []
    for matrix in _matrices(before, after, kind):
        offset = after.mean(0) - matrix @ before.mean(0)
        residual = after - before @ matrix.T - offset
        for shrinkage in shrinkages:
            factor = _factor(residual, floor, covariance, shrinkage)
            candidates.append(_Candidate(matrix, offset, factor))
        if np.array_equal(matrix, zero) or np.array_equal(matrix, np.eye(features)):
            plain.append(candidates[-1])
    chosen = _choose(candidates, plain, validation_NTD[:, :-1], validation_NTD[:, 1:])
    arrays = (chosen_first.offset, chosen_first.factor, *chosen)
    return Baseline(*(jax.numpy.asarray(array, jax.numpy.float32) for array in arrays))


def _matrices(before: Array, after: Array, kind: str) -> list[Array]:
    """The A that are tried: least squares first; the identity and zero, ridges of them."""
    features = before.shape[1]
    identity = np.eye(features)
    if kind != "var":
        return [identity * (kind == "increments")]
    x, y = before - before.mean(0), after - after.mean(0)
    found = [np.linalg.lstsq(x, y, rcond=1e-10)[0].T, identity, 0.0 * identity]
    gram, cross = x.T @ x / len(x), y.T @ x / len(x)
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * identity)
        found += [cross @ inverse, (cross + ridge * identity) @ inverse]
    return found


def _factor(values: Array, floor: Array, covariance: str, shrinkage: float) -> Array:
    """Cholesky factor of the covariance, correlations shrunk by a share."""
    second = np.atleast_2d(np.cov(values.T, bias=True))
    if covariance == "diagonal":
        return np.diag(np.sqrt(np.diag(second) + floor))
    shrunk = (1 - shrinkage) * second + shrinkage * np.diag(np.diag(second))
    return np.linalg.cholesky(shrunk + np.diag(floor))


def _choose(
    candidates: list[_Candidate], plain: list[_Candidate], before_NTD: Array, after_NTD: Array
) -> _Candidate:
    """The first candidate if it is as likely as all of `plain`, else the likeliest of all."""

    def score(candidate: _Candidate) -> float:
        found = float(_log_likelihood(candidate, before_NTD, after_NTD).mean())
        return -np.inf if np.isnan(found) else found

    with np.errstate(over="ignore", invalid="ignore"):  # of outliers
        first = score(candidates[0])
        if np.isfinite(first) and all(first >= score(each) for each in plain):
            return candidates[0]
        return max(candidates, key=score)


def _log_likelihood(candidate: _Candidate, before_NTD: Array, after_NTD: Array) -> Array:
    """Gaussian log-likelihood of each sequence, without constants, [N] nats."""
    residual = after_NTD - before_NTD @ candidate.matrix.T - candidate.offset
    e = residual @ np.linalg.inv(candidate.factor).T
    log_det = np.log(np.diag(candidate.factor)).sum()
    return -0.5 * (e**2).sum(axis=(1, 2)) - e.shape[1] * log_det


def increment_scale(x_NTD: Array) -> NDArray[np.float32]:
    """Standard deviation of first differences of each column, `[D]`: a discriminator's constant."""
    scale = np.maximum(np.diff(x_NTD, axis=1).std(axis=(0, 1)), 1e-6)
    return scale.astype(np.float32)
