"""Linear Gaussian processes: VAR(1), AR(1), a seasonal AR(2). Shapes: E = order x D, the state."""

import abc
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from seqgan_jax.processes.base import (
    LOG_2PI,
    Column,
    Simulator,
    require,
    require_int,
    unnamed,
)


def _log_normal(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log N(residual; 0, covariance): [..., D] and [D, D] -> [...]. NaN in, NaN out."""
    # residual @ inv(L).T whitens it; D is tiny, so an explicit inverse is exact enough.
    white = residual @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    log_det = np.linalg.slogdet(covariance)[1]
    return -0.5 * (np.sum(white**2, axis=-1) + log_det + len(covariance) * LOG_2PI)


def _normal_entropy(covariance: np.ndarray) -> float:
    return 0.5 * float(np.linalg.slogdet(covariance)[1] + len(covariance) * (LOG_2PI + 1))


@functools.partial(jax.jit, static_argnums=1)
def _linear_paths(key: jax.Array, n: int, matrices: tuple[jax.Array, ...]) -> jax.Array:
    """n paths of mean_t + the first D features of y_t: [N, T, D]. Consumes `key`.

    y_0 = start z_0, y_t = step y_(t-1) + noise z_t, z_t ~ N(0, I).
    """
    mean_TD, start_EE, step_EE, noise_EE = matrices
    length, num_features = mean_TD.shape
    z_TNE = jax.random.normal(key, (length, n, len(step_EE)), jnp.float32)

    def step(y_NE: jax.Array, e_NE: jax.Array) -> tuple[jax.Array, jax.Array]:
        y_NE = y_NE @ step_EE.T + e_NE
        return y_NE, y_NE

    # "highest": a GPU would otherwise multiply in TF32, which is another process.
    with jax.default_matmul_precision("highest"):
        e_TNE = jnp.concatenate([z_TNE[:1] @ start_EE.T, z_TNE[1:] @ noise_EE.T])
        _, y_TNE = jax.lax.scan(step, jnp.zeros_like(z_TNE[0]), e_TNE)
    return jnp.swapaxes(y_TNE[..., :num_features], 0, 1) + mean_TD[None]


class LinearGaussian(Simulator):
    """Vector autoregression around a known mean, started in its stationary distribution.

        x_t = mean_t + y_t,   y_t = A (y_(t-1), y_(t-2), ..) + e_t,   e_t ~ N(0, Q)

    Source: Luetkepohl, New Introduction to Multiple Time Series Analysis (2005), section 2.1.
    """

    @abc.abstractmethod
    def _parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """mean [T, D], A [D, E], Q [D, D]."""

    def _companion(self) -> tuple[np.ndarray, np.ndarray]:
        """The process as a VAR(1) of (y_t, y_(t-1), ..): its step and its covariance, [E, E]."""
        _, a_DE, q_DD = self._parameters()
        d, e = a_DE.shape
        step_EE = np.concatenate([a_DE, np.eye(e - d, e)])
        noise_EE = scipy.linalg.block_diag(q_DD, np.zeros((e - d, e - d)))
        p_EE = scipy.linalg.solve_discrete_lyapunov(step_EE, noise_EE)
        return step_EE, (p_EE + p_EE.T) / 2

    def covariance(self, lag: int = 0) -> np.ndarray:
        """Cov(x_(t+lag), x_t), exact, [D, D]; a negative lag gives the transpose."""
        step_EE, p_EE = self._companion()
        d = self.num_features
        covariance = (np.linalg.matrix_power(step_EE, abs(lag)) @ p_EE)[:d, :d]
        return covariance if lag >= 0 else covariance.T

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        mean_TD, _, q_DD = self._parameters()
        step_EE, p_EE = self._companion()
        noise_EE = np.zeros_like(step_EE)
        noise_EE[: len(q_DD), : len(q_DD)] = np.linalg.cholesky(q_DD)
        matrices = (mean_TD, np.linalg.cholesky(p_EE), step_EE, noise_EE)
        return _linear_paths(key, n, tuple(m.astype(np.float32) for m in matrices))

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        """The first steps, as many as the order, by P; those after by Q."""
        mean_TD, a_DE, q_DD = self._parameters()
        y_NTD, order = x_NTD - mean_TD, a_DE.shape[1] // a_DE.shape[0]
        # The state after step t, newest first: (y_t, .., y_(t-order+1)), for t = order-1 .. T-1.
        ends = range(order - 1, -1, -1)
        states = [y_NTD[:, i : self.length - order + 1 + i] for i in ends]
        y_NTE = np.concatenate(states, axis=2)
        residual_NTD = y_NTD[:, order:] - y_NTE[:, :-1] @ a_DE.T
        steps_N = _log_normal(residual_NTD, q_DD).sum(axis=1)
        return _log_normal(y_NTE[:, 0], self._companion()[1]) + steps_N

    def _exact_entropy(self) -> float:
        """That of the first steps, and of the noise of each step after."""
        _, a_DE, q_DD = self._parameters()
        steps = self.length - a_DE.shape[1] // a_DE.shape[0]
        return _normal_entropy(self._companion()[1]) + steps * _normal_entropy(q_DD)


@dataclasses.dataclass(frozen=True)
class VAR1(LinearGaussian):
    """Vector autoregression of order 1 with correlated noise.

        x_t = mean + A (x_(t-1) - mean) + e_t,   e_t ~ N(0, Q),   Cov(x_0) = P = A P A' + Q

    Args:
      coefficients: A, D rows of D numbers, spectral radius below 1.
      noise_covariance: Q, D rows of D numbers, symmetric and positive definite, in squared units.
      mean: D numbers, in units of the data.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> VAR1().num_features, VAR1().covariance(lag=1).shape
    (3, (3, 3))
    """

    coefficients: tuple[tuple[float, ...], ...] = (
        (0.6, 0.2, 0.0),
        (-0.2, 0.5, 0.2),
        (0.1, 0.0, 0.7),
    )
    noise_covariance: tuple[tuple[float, ...], ...] = (
        (0.09, 0.03, -0.036),
        (0.03, 0.04, 0.016),
        (-0.036, 0.016, 0.16),
    )
    mean: tuple[float, ...] = (0.0, 1.0, -1.0)
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        d = self.num_features
        require(d >= 1 and all(map(math.isfinite, self.mean)), "mean", self.mean, "finite numbers")
        for name in ("coefficients", "noise_covariance"):
            rows = getattr(self, name)
            square = len(rows) == d and all(len(row) == d for row in rows)
            require(square, name, rows, f"{d} rows of {d} numbers, as many as in mean")
        a, q = np.array(self.coefficients), np.array(self.noise_covariance)
        require(
            bool(np.all(np.isfinite(a))) and bool(np.abs(np.linalg.eigvals(a)).max() < 1),
            "coefficients",
            self.coefficients,
            "finite, with every eigenvalue inside the unit circle, or nothing is stationary",
        )
        require(
            bool(np.array_equal(q, q.T)) and bool(np.linalg.eigvalsh(q).min() > 0),
            "noise_covariance",
            self.noise_covariance,
            "symmetric and positive definite",
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """x1, x2, ..., one for each number of the mean."""
        return unnamed(len(self.mean))

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean_TD = np.tile(self.mean, (self.length, 1))
        return mean_TD, np.array(self.coefficients), np.array(self.noise_covariance)


@dataclasses.dataclass(frozen=True)
class AR1(LinearGaussian):
    """Autoregression of order 1.

        x_t = mean + phi (x_(t-1) - mean) + sigma e_t,   e_t ~ N(0, 1)
        Cov(x_(t+k), x_t) = phi^|k| sigma^2 / (1 - phi^2)

    Args:
      phi: |phi| < 1. It is also the correlation at lag 1.
      sigma: standard deviation of the noise, above 0, in units of the data.
      mean: in units of the data.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> AR1().covariance(lag=1).round(6)
    array([[0.2]])
    >>> AR1(length=2).log_prob([[3.0, 3.0]]).round(4)  # log N(0; 0, 0.5) + log N(0; 0, 0.3)
    array([0.0592])
    """

    phi: float = 0.8
    sigma: float = 0.3
    mean: float = 3.0
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        require(abs(self.phi) < 1, "phi", self.phi, "|phi| < 1, or nothing is stationary")
        require(0 < self.sigma < math.inf, "sigma", self.sigma, "a number above 0")
        require(math.isfinite(self.mean), "mean", self.mean, "a finite number")

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean_TD = np.full((self.length, 1), self.mean)
        return mean_TD, np.array([[self.phi]]), np.array([[self.sigma**2]])


@dataclasses.dataclass(frozen=True)
class SeasonalAR2(LinearGaussian):
    """Stationary autoregression of order 2 around a seasonal mean that starts at phase 0.

        x_t = m_t + y_t,   m_t = level + amplitude sin(2 pi t / period),   t = 0 .. T-1
        y_t = phi_1 y_(t-1) + phi_2 y_(t-2) + sigma e_t,   e_t ~ N(0, 1)

    Source: Hamilton, Time Series Analysis (1994), section 3.4.

    Args:
      phi: (phi_1, phi_2), with phi_2 > -1, phi_2 + phi_1 < 1 and phi_2 - phi_1 < 1.
      sigma: standard deviation of the noise, above 0, in units of the data.
      level: mean over a period, in units of the data.
      amplitude: half the height of the season, in units of the data.
      period: steps per season, above 0.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> SeasonalAR2(period=4.0, length=5).mean_T().round(6)
    array([3., 4., 3., 2., 3.])
    """

    phi: tuple[float, float] = (1.2, -0.5)
    sigma: float = 0.3
    level: float = 3.0
    amplitude: float = 1.0
    period: float = 12.0
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        require(len(self.phi) == 2, "phi", self.phi, "two numbers")
        a, b = self.phi
        stationary = b > -1 and b + a < 1 and b - a < 1
        require(stationary, "phi", self.phi, "phi_2 > -1, phi_2 + phi_1 < 1, phi_2 - phi_1 < 1")
        require(0 < self.sigma < math.inf, "sigma", self.sigma, "a number above 0")
        require(math.isfinite(self.level), "level", self.level, "a finite number")
        require(math.isfinite(self.amplitude), "amplitude", self.amplitude, "a finite number")
        require(0 < self.period < math.inf, "period", self.period, "a number of steps above 0")

    def mean_T(self) -> np.ndarray:
        """m_t, [T], in units of the data."""
        t = np.arange(self.length)
        return self.level + self.amplitude * np.sin(2 * np.pi * t / self.period)

    def _parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.mean_T()[:, None], np.array([self.phi]), np.array([[self.sigma**2]])
