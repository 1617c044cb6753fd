"""The linear baseline: a VAR(1) of the columns by ridge regression; constants of a policy.

Slow series move a thousandth of their range in a step, and prices of one share are nearly
collinear: against this baseline the policy's task has unit scale in every direction, and training
begins at the VAR(1)'s likelihood instead of creeping towards it.
"""

import itertools
from collections.abc import Iterable, Iterator
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

    identity, none = np.eye(features), np.zeros((features, features))
    past, now = validation_NTD[:, :-1], validation_NTD[:, 1:]

    def of_first(shrinkage: float) -> _Candidate:
        factor = _factor(first, floor, covariance, shrinkage)
        return _Candidate(none, first.mean(0), factor)

    def of_later(matrix: Array, shrinkage: float) -> _Candidate:
        offset = after.mean(0) - matrix @ before.mean(0)
        residual = after - before @ matrix.T - offset
        return _Candidate(matrix, offset, _factor(residual, floor, covariance, shrinkage))

    most = shrinkages[-1]
    start = _choose(
        of_first(0.0),
        [of_first(most)],
        map(of_first, shrinkages),
        0.0 * validation_NTD[:, :1],
        validation_NTD[:, :1],
    )
    fixed = {
        "var": [identity, 0.0 * identity],
        "increments": [identity],
        "levels": [0.0 * identity],
    }
    x, y = before - before.mean(0), after - after.mean(0)
    least = np.linalg.lstsq(x, y, rcond=1e-10)[0].T if kind == "var" else fixed[kind][0]
    ridges = _ridges(x, y) if kind == "var" else iter(())
    others = (
        of_later(matrix, shrinkage)
        for matrix in itertools.chain(fixed[kind], ridges)
        for shrinkage in shrinkages
    )
    plain = [of_later(matrix, most) for matrix in fixed[kind]]
    later = _choose(of_later(least, 0.0), plain, others, past, now)
    arrays = (start.offset, start.factor, *later)
    return Baseline(*(jax.numpy.asarray(array, jax.numpy.float32) for array in arrays))


def _ridges(x: Array, y: Array) -> Iterator[Array]:
    """A of each ridge, towards zero and towards the identity, for centred x and y."""
    identity = np.eye(x.shape[1])
    gram, cross = x.T @ x / len(x), y.T @ x / len(x)
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * identity)
        yield cross @ inverse
        yield (cross + ridge * identity) @ inverse


def _factor(values: Array, floor: Array, covariance: str, shrinkage: float) -> Array:
    """Cholesky factor of the covariance, correlations shrunk by a share."""
    second = np.atleast_2d(np.cov(values.T, bias=True))
    if covariance == "diagonal":
        return np.diag(np.sqrt(np.diag(second) + floor))
    shrunk = (1 - shrinkage) * second + shrinkage * np.diag(np.diag(second))
    return np.linalg.cholesky(shrunk + np.diag(floor))


def _choose(
    least: _Candidate,
    plain: list[_Candidate],
    others: Iterable[_Candidate],
    before_NTD: Array,
    after_NTD: Array,
) -> _Candidate:
    """Least squares if it is as likely as all of `plain`, else the likeliest of all."""

    def score(candidate: _Candidate) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # of outliers
            found = float(_log_likelihood(candidate, before_NTD, after_NTD).mean())
        return -np.inf if np.isnan(found) else found

    own = score(least)
    if np.isfinite(own) and all(own >= score(each) for each in plain):
        return least
    return max([least, *plain, *others], key=score)


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
