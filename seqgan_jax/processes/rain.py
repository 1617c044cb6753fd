"""Daily rain: exact zeros, and amounts that remember the day before."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import entr

from seqgan_jax.processes.base import (
    LOG_2PI,
    Column,
    Simulator,
    log_normal,
    require,
    require_int,
)

_Pair = tuple[jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnums=(1, 2))
def _rain_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 1]. Consumes `key`."""
    normal_key, uniform_key = jax.random.split(key)
    z_TN = p["sigma"] * jax.random.normal(normal_key, (length, n), jnp.float32)
    u_TN = jax.random.uniform(uniform_key, (1 + length, n), jnp.float32)

    def step(last: _Pair, now: _Pair) -> tuple[_Pair, jax.Array]:
        (was_wet_N, y_N), (z_N, u_N) = last, now
        wet_N = u_N < jnp.where(was_wet_N, p["after_wet"], p["after_dry"])
        y_N = jnp.where(wet_N, p["phi"] * y_N + z_N, 0.0)
        return (wet_N, y_N), jnp.where(wet_N, p["median"] * jnp.exp(y_N), 0.0)

    start = (u_TN[0] < p["share"], jnp.zeros(n, jnp.float32))  # the day before the first
    _, x_TN = jax.lax.scan(step, start, (z_TN, u_TN[1:]))
    return x_TN.T[..., None]


@dataclasses.dataclass(frozen=True)
class Rain(Simulator):
    """Wet and dry days in a Markov chain: 0 on a dry day, a log-normal amount on a wet one.

        P(wet_t | day before) = after_wet or after_dry,   wet_0 stationary
        x_t = 0 where dry, else median exp(y_t)
        y_t = phi y_(t-1) + sigma e_t,   e_t ~ N(0, 1),   y = 0 on a dry day and before the first

    log p is the log of a mass for each 0 and of a density for each amount.
    Source: Richardson (1981), Water Resources Research 17(1), 182-190, its chain; his amounts do
    not depend on the day before.

    Args:
      after_dry: P(wet) after a dry day, in (0, 1).
      after_wet: P(wet) after a wet day, in (0, 1).
      median: of the amounts of the first wet day of a spell, above 0, in units of the data.
      phi: |phi| < 1, of log amounts within a wet spell.
      sigma: standard deviation of the noise of log amounts, above 0.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> Rain(length=2).log_prob([[0.0, 0.0]]).round(4)  # log (2/3) + log 0.8
    array([-0.6286])
    """

    after_dry: float = 0.2
    after_wet: float = 0.6
    median: float = 4.0
    phi: float = 0.6
    sigma: float = 0.5
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        for name in ("after_dry", "after_wet"):
            require(0 < getattr(self, name) < 1, name, getattr(self, name), "between 0 and 1")
        require(abs(self.phi) < 1, "phi", self.phi, "|phi| < 1")
        for name in ("median", "sigma"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a number above 0")

    @property
    def columns(self) -> tuple[Column, ...]:
        """One, with an atom at 0."""
        return (Column("rain", atoms=(0.0,)),)

    def share_wet(self) -> float:
        """P(wet) on any day."""
        return self.after_dry / (1 + self.after_dry - self.after_wet)

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        names = ("after_dry", "after_wet", "median", "phi", "sigma")
        table = {name: np.float32(getattr(self, name)) for name in names}
        return _rain_paths(key, n, self.length, table | {"share": np.float32(self.share_wet())})

    def _possible(self, x_NTD: np.ndarray) -> np.ndarray:
        return np.asarray((x_NTD >= 0).all(axis=(1, 2)))

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        x_NT = x_NTD[..., 0]
        wet_NT = x_NT > 0
        log_x_NT = np.log(np.where(wet_NT, x_NT, self.median))
        y_NT = log_x_NT - math.log(self.median)
        residual_NT = y_NT.copy()
        residual_NT[:, 1:] -= self.phi * y_NT[:, :-1]
        log_amount_NT = log_normal(residual_NT, 2 * math.log(self.sigma)) - log_x_NT
        p_wet_NT = np.full(x_NT.shape, self.share_wet())
        p_wet_NT[:, 1:] = np.where(wet_NT[:, :-1], self.after_wet, self.after_dry)
        log_dry_NT = np.log1p(-p_wet_NT)
        return np.where(wet_NT, np.log(p_wet_NT) + log_amount_NT, log_dry_NT).sum(axis=1)

    def _exact_entropy(self) -> float:
        """That of the chain, and of the log-normal of each wet day: E y_t = 0 on all of them."""
        wet, shares = self.share_wet(), np.array([self.after_dry, self.after_wet])
        of_wet = entr(shares) + entr(1 - shares)
        chain = entr(wet) + entr(1 - wet) + (self.length - 1) * np.dot([1 - wet, wet], of_wet)
        amount = math.log(self.median) + math.log(self.sigma) + 0.5 * (LOG_2PI + 1)
        return float(chain + self.length * wet * amount)
