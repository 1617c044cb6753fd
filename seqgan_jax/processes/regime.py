"""An autoregression that switches between two regimes. Shapes: K regimes."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from seqgan_jax.processes.base import Simulator, log_normal, require, require_int

_Pair = tuple[jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _regime_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 1] from a table of parameters, each [K] (K = 2). Consumes `key`."""
    normal_key, uniform_key = jax.random.split(key)
    z_TN = jax.random.normal(normal_key, (length, n), jnp.float32)
    u_TN = jax.random.uniform(uniform_key, (length, n), jnp.float32)
    s_N = (u_TN[0] >= p["stationary"][0]).astype(jnp.int32)
    x_N = p["mean"][s_N] + p["start"][s_N] * z_TN[0]

    def step(carry: _Pair, noise: _Pair) -> tuple[_Pair, jax.Array]:
        (s_N, x_N), (z_N, u_N) = carry, noise
        s_N = jnp.where(u_N < p["stay"][s_N], s_N, 1 - s_N)
        mean_N = p["mean"][s_N]
        x_N = mean_N + p["phi"][s_N] * (x_N - mean_N) + p["sigma"][s_N] * z_N
        return (s_N, x_N), x_N

    _, rest_TN = jax.lax.scan(step, (s_N, x_N), (z_TN[1:], u_TN[1:]))
    return jnp.concatenate([x_N[None], rest_TN]).T[..., None]


@dataclasses.dataclass(frozen=True)
class RegimeAR(Simulator):
    """AR(1) whose parameters are those of a hidden Markov chain s_t with two regimes k.

        x_t | x_(t-1), s_t = k  ~  N(mean_k + phi_k (x_(t-1) - mean_k), sigma_k^2)
        x_0 | s_0 = k           ~  N(mean_k, sigma_k^2 / (1 - phi_k^2)),   s_0 stationary

    What follows x_(t-1) is a mixture of two Gaussians, with two modes most of the time, and the
    past says which is likely: no Gaussian policy can be right here.
    Source: Hamilton (1989), Econometrica 57(2), 357-384.

    Args:
      phi: for each regime, |phi| < 1.
      mean: for each regime, in units of the data.
      sigma: standard deviation of the noise for each regime, above 0, in units of the data.
      stay: for each regime, the probability of staying in it for another step, in (0, 1).
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> RegimeAR(length=7).sample(jax.random.key(0), n=2).shape
    (2, 7, 1)
    """

    phi: tuple[float, float] = (0.7, 0.3)
    mean: tuple[float, float] = (-1.0, 1.0)
    sigma: tuple[float, float] = (0.15, 0.25)
    stay: tuple[float, float] = (0.85, 0.75)
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        for name in ("phi", "mean", "sigma", "stay"):
            value = getattr(self, name)
            require(len(value) == 2, name, value, "two numbers, one for each regime")
        require(all(abs(p) < 1 for p in self.phi), "phi", self.phi, "|phi| < 1 in both regimes")
        require(all(map(math.isfinite, self.mean)), "mean", self.mean, "finite numbers")
        require(all(0 < s < math.inf for s in self.sigma), "sigma", self.sigma, "both above 0")
        require(all(0 < p < 1 for p in self.stay), "stay", self.stay, "both between 0 and 1")

    def _chain(self) -> tuple[np.ndarray, np.ndarray]:
        """Stationary probabilities [K] and transition matrix [K, K] of the regimes."""
        a, b = self.stay
        transition = np.array([[a, 1 - a], [1 - b, b]])
        return np.array([1 - b, 1 - a]) / (2 - a - b), transition

    def _start_std(self) -> np.ndarray:
        return np.array(self.sigma) / np.sqrt(1 - np.square(self.phi))

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        table: dict[str, Any] = {f: getattr(self, f) for f in ("phi", "mean", "sigma", "stay")}
        table |= {"stationary": self._chain()[0], "start": self._start_std()}
        table = {name: np.asarray(value, np.float32) for name, value in table.items()}
        return _regime_paths(key, n, self.length, table)

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        """The forward algorithm: alpha_t(k) = p(x_0 .. x_t, s_t = k), in nats.

        Source: Rabiner (1989), section III.A.
        """
        y_NTK = x_NTD - np.array(self.mean)
        residual_NTK = y_NTK[:, 1:] - np.array(self.phi) * y_NTK[:, :-1]
        log_step_NTK = log_normal(residual_NTK, 2 * np.log(self.sigma))
        stationary, transition = self._chain()
        start_NK = log_normal(y_NTK[:, 0], 2 * np.log(self._start_std()))
        log_alpha_NK = np.log(stationary) + start_NK
        for t in range(self.length - 1):
            moved_NK = logsumexp(log_alpha_NK[:, :, None] + np.log(transition), axis=1)
            log_alpha_NK = moved_NK + log_step_NTK[:, t]
        return np.asarray(logsumexp(log_alpha_NK, axis=1))
