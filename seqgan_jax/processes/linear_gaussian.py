"""Linear Gaussian processes, exactly known: VAR(1), AR(1) and a seasonal AR(2).

Also the checks and the arithmetic that every simulator uses; `seqgan_jax.simulators` is the public
door to all of it. Shapes: N sequences, T time, D features. Sampling is JAX in float32, the law is
NumPy in float64; densities and entropies are of the whole sequence, in nats, in the data's units.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from seqgan_jax.errors import DataError, UsageError

LOG_2PI = math.log(2 * math.pi)


class Estimate(NamedTuple):
    """A number and its standard error, which is 0.0 where the number is exact."""

    value: float
    standard_error: float


def require(ok: bool, name: str, value: object, rule: str) -> None:
    """Conditions are written so that NaN fails them."""
    if not ok:
        raise UsageError(f"{name}={value!r} is not possible: {rule}.")


def require_int(name: str, value: object, low: int) -> None:
    whole = isinstance(value, int | np.integer) and value >= low
    require(bool(whole), name, value, f"a whole number, at least {low}")


def as_NTD(x: Any, length: int, num_features: int) -> np.ndarray:
    """float64 [N, T, D] from [N, T, D], or from [N, T] when D = 1."""
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 2 and num_features == 1:
        x = x[..., None]
    if x.ndim != 3 or x.shape[1:] != (length, num_features):
        flat = f" or [n, {length}]" if num_features == 1 else ""
        raise DataError(
            f"log_prob got an array of shape {list(x.shape)}, but this simulator's sequences are "
            f"[n, {length}, {num_features}]{flat} (n, time, features). "
            "Make the simulator with the length of the data."
        )
    return x


def log_normal(residual: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log N(residual; 0, covariance): [..., D] and [D, D] -> [...]. NaN in, NaN out."""
    chol = np.linalg.cholesky(covariance)
    # residual @ inv(L).T whitens it; D is tiny, so an explicit inverse is exact enough.
    white = residual @ np.linalg.inv(chol).T
    log_det = 2 * np.log(np.diag(chol)).sum()
    return -0.5 * (np.sum(white**2, axis=-1) + log_det + len(chol) * LOG_2PI)


def normal_entropy(covariance: np.ndarray) -> float:
    """Entropy of N(., covariance) in nats."""
    return 0.5 * float(np.linalg.slogdet(covariance)[1] + len(covariance) * (LOG_2PI + 1))


def _sample_linear(
    key: jax.Array,
    n: int,
    mean_TD: np.ndarray,
    start: np.ndarray,
    step: np.ndarray,
    noise: np.ndarray,
) -> jax.Array:
    """n paths of mean_t + the first D features of y_t: [N, T, D]. Consumes `key`.

    y_t = step y_(t-1) + noise z_t, y_0 ~ N(0, start), z_t ~ N(0, I), over E >= D features.
    """
    require_int("n", n, 1)
    matrices = (m.astype(np.float32) for m in (mean_TD, np.linalg.cholesky(start), step, noise))
    return _linear_paths(key, int(n), *matrices)


@functools.partial(jax.jit, static_argnums=1)
def _linear_paths(
    key: jax.Array,
    n: int,
    mean_TD: jax.Array,
    start_EE: jax.Array,
    step_EE: jax.Array,
    noise_EE: jax.Array,
) -> jax.Array:
    length, num_features = mean_TD.shape
    z_TNE = jax.random.normal(key, (length, n, len(step_EE)), jnp.float32)

    def step(y_NE: jax.Array, e_NE: jax.Array) -> tuple[jax.Array, jax.Array]:
        y_NE = y_NE @ step_EE.T + e_NE
        return y_NE, y_NE

    # "highest": a GPU would otherwise multiply in TF32, which is another process.
    with jax.default_matmul_precision("highest"):
        first_NE = z_TNE[0] @ start_EE.T
        _, rest_TNE = jax.lax.scan(step, first_NE, z_TNE[1:] @ noise_EE.T)
    y_TNE = jnp.concatenate([first_NE[None], rest_TNE])
    return jnp.swapaxes(y_TNE[..., :num_features], 0, 1) + mean_TD[None]


@dataclasses.dataclass(frozen=True)
class VAR1:
    """Vector autoregression of order 1 with correlated noise, started in its stationary law.

        x_t = mean + A (x_(t-1) - mean) + e_t,   e_t ~ N(0, Q),   Cov(x_0) = P = A P A' + Q

    Source: Luetkepohl, New Introduction to Multiple Time Series Analysis (2005), section 2.1.

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
    def num_features(self) -> int:
        """D."""
        return len(self.mean)

    def covariance(self, lag: int = 0) -> np.ndarray:
        """Cov(x_(t+lag), x_t) = A^lag P, exact, [D, D]; a negative lag gives the transpose."""
        a = np.array(self.coefficients, dtype=np.float64)
        p = scipy.linalg.solve_discrete_lyapunov(a, np.array(self.noise_covariance))
        covariance = np.linalg.matrix_power(a, abs(lag)) @ (p + p.T) / 2
        return covariance if lag >= 0 else covariance.T

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, D]. Consumes `key`."""
        noise = np.linalg.cholesky(np.array(self.noise_covariance))
        mean_TD = np.tile(self.mean, (self.length, 1))
        return _sample_linear(
            key, n, mean_TD, self.covariance(), np.array(self.coefficients), noise
        )

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence: [N, T, D] -> float64 [N], nats. DataError on another shape."""
        y = as_NTD(x, self.length, self.num_features) - np.array(self.mean)
        residual = y[:, 1:] - y[:, :-1] @ np.array(self.coefficients).T
        steps = log_normal(residual, np.array(self.noise_covariance)).sum(axis=1)
        return log_normal(y[:, 0], self.covariance()) + steps

    def entropy(self) -> Estimate:
        """H of the whole sequence: log det of P and (T - 1) times log det of Q. Exact."""
        steps = (self.length - 1) * normal_entropy(np.array(self.noise_covariance))
        return Estimate(normal_entropy(self.covariance()) + steps, 0.0)


@dataclasses.dataclass(frozen=True)
class AR1:
    """Autoregression of order 1, started in its stationary law.

        x_t = mean + phi (x_(t-1) - mean) + sigma e_t,   e_t ~ N(0, 1)
        Var(x_t) = sigma^2 / (1 - phi^2)

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

    @property
    def num_features(self) -> int:
        """D = 1."""
        return 1

    def _var1(self) -> VAR1:
        return VAR1(((self.phi,),), ((self.sigma**2,),), (self.mean,), self.length)

    def covariance(self, lag: int = 0) -> np.ndarray:
        """Cov(x_(t+lag), x_t) = phi^|lag| sigma^2 / (1 - phi^2), exact, [1, 1]."""
        return np.array([[self.phi ** abs(lag) * self.sigma**2 / (1 - self.phi**2)]])

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, 1]. Consumes `key`."""
        return self._var1().sample(key, n)

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence: [N, T, 1] or [N, T] -> float64 [N], nats. DataError else."""
        return self._var1().log_prob(x)

    def entropy(self) -> Estimate:
        """H of the whole sequence = T/2 log(2 pi e sigma^2) - log(1 - phi^2) / 2. Exact."""
        steps = 0.5 * self.length * (LOG_2PI + 1 + 2 * math.log(self.sigma))
        return Estimate(steps - 0.5 * math.log1p(-(self.phi**2)), 0.0)


@dataclasses.dataclass(frozen=True)
class SeasonalAR2:
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

    @property
    def num_features(self) -> int:
        """D = 1."""
        return 1

    def mean_T(self) -> np.ndarray:
        """m_t, [T], in units of the data."""
        t = np.arange(self.length)
        return self.level + self.amplitude * np.sin(2 * np.pi * t / self.period)

    def _companion(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same process as a VAR(1) of (y_t, y_(t-1)): Cov(state), step, factor of the noise."""
        step = np.array([self.phi, (1.0, 0.0)])
        noise = np.array([[self.sigma, 0.0], [0.0, 0.0]])
        return scipy.linalg.solve_discrete_lyapunov(step, noise @ noise.T), step, noise

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, 1]. Consumes `key`."""
        return _sample_linear(key, n, self.mean_T()[:, None], *self._companion())

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence: [N, T, 1] or [N, T] -> float64 [N], nats. DataError else."""
        y = as_NTD(x, self.length, 1)[..., 0] - self.mean_T()
        residual = y[:, 2:] - self.phi[0] * y[:, 1:-1] - self.phi[1] * y[:, :-2]
        steps = log_normal(residual[..., None], np.array([[self.sigma**2]])).sum(axis=1)
        return log_normal(y[:, :2], self._companion()[0]) + steps

    def entropy(self) -> Estimate:
        """H of the whole sequence: that of the first two steps and T - 2 noises. Exact."""
        steps = (self.length - 2) * normal_entropy(np.array([[self.sigma**2]]))
        return Estimate(normal_entropy(self._companion()[0]) + steps, 0.0)
