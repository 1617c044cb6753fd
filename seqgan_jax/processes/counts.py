"""Counts with a season whose phase is hidden, and that excite themselves."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln, logsumexp

from seqgan_jax.processes.base import Column, Simulator, require, require_int

LARGEST = 2.0**53  # no larger float64 can be told from its neighbours by 1


@functools.partial(jax.jit, static_argnums=1)
def _count_paths(
    key: jax.Array, n: int, season_PT: jax.Array, p: dict[str, jax.Array]
) -> jax.Array:
    """Paths [N, T, 1] from the season of each phase, [P, T]. Consumes `key`."""
    phases, length = season_PT.shape
    phase_key, gamma_key, poisson_key = jax.random.split(key, 3)
    phase_N = jax.random.randint(phase_key, (n,), 0, phases)
    gamma_TN = jax.random.gamma(gamma_key, p["dispersion"], (length, n), jnp.float32)
    gamma_TN /= p["dispersion"]

    def step(memory_N: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        step_key, gamma_N, season_N = now
        rate_N = gamma_N * jnp.exp(p["level"] + season_N + p["memory"] * memory_N)
        x_N = jax.random.poisson(step_key, rate_N).astype(jnp.float32)
        return jnp.log1p(x_N) - p["level"], x_N

    noise = (jax.random.split(poisson_key, length), gamma_TN, season_PT[phase_N].T)
    _, x_TN = jax.lax.scan(step, jnp.zeros(n, jnp.float32), noise)
    return x_TN.T[..., None]


@dataclasses.dataclass(frozen=True)
class SeasonalCounts(Simulator):
    """Negative binomial counts around a season of unknown phase. Shapes: P phases, `period`.

        x_t | x_(t-1), phase ~ NB(mean m_t, variance m_t + m_t^2 / dispersion)
        log m_t = level + amplitude sin(2 pi (t + phase) / period)
                  + memory (log(1 + x_(t-1)) - level),   the last term 0 at t = 0
        phase uniform in 0 .. period - 1, one a sequence, not seen: p(x) is a mean over phases.

    log p is the log of a mass. It has no closed entropy.
    Source: Fokianos & Tjostheim (2011), Journal of Multivariate Analysis 102(3), 563-578, the
    log-linear Poisson model; the negative binomial is a Poisson with a Gamma rate.

    Args:
      level: of log m_t, finite; in log counts.
      amplitude: half the height of the season, in log counts.
      period: P, steps per season, a whole number of at least 2.
      memory: |memory| < 1.
      dispersion: above 0; the larger, the closer to Poisson.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> SeasonalCounts(length=2).log_prob([[3, 4], [3, 4.5], [-1, 2]]).round(2)
    array([-4.34,  -inf,  -inf])
    """

    level: float = 1.8
    amplitude: float = 0.8
    period: int = 12
    memory: float = 0.4
    dispersion: float = 8.0
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        require_int("period", self.period, 2)
        require(math.isfinite(self.level), "level", self.level, "a finite number")
        require(math.isfinite(self.amplitude), "amplitude", self.amplitude, "a finite number")
        require(abs(self.memory) < 1, "memory", self.memory, "|memory| < 1, or counts explode")
        ok = 0 < self.dispersion < math.inf
        require(ok, "dispersion", self.dispersion, "a number above 0")

    @property
    def columns(self) -> tuple[Column, ...]:
        """One, of whole numbers."""
        return (Column("count", "grid", 0),)

    def season_PT(self) -> np.ndarray:
        """The term of the season in log m_t for each phase, [P, T]."""
        steps_PT = np.add.outer(np.arange(self.period), np.arange(self.length))
        return self.amplitude * np.sin(2 * np.pi * steps_PT / self.period)

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        names = ("level", "memory", "dispersion")
        table = {name: np.float32(getattr(self, name)) for name in names}
        return _count_paths(key, n, self.season_PT().astype(np.float32), table)

    def _possible(self, x_NTD: np.ndarray) -> np.ndarray:
        return np.asarray(((x_NTD >= 0) & (x_NTD <= LARGEST)).all(axis=(1, 2)))

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        x_NT, r = x_NTD[..., 0], self.dispersion
        log_m_NT = np.full(x_NT.shape, self.level)
        log_m_NT[:, 1:] += self.memory * (np.log1p(x_NT[:, :-1]) - self.level)
        ways_N = (gammaln(x_NT + r) - gammaln(x_NT + 1) - gammaln(r)).sum(axis=1)
        log_p_PN = np.empty((self.period, len(x_NT)))
        for phase, season_T in enumerate(self.season_PT()):
            odds_NT = log_m_NT + season_T - math.log(r)  # log m / r
            failed_NT = np.logaddexp(0.0, odds_NT)  # -log(r / (r + m))
            log_p_PN[phase] = (x_NT * (odds_NT - failed_NT) - r * failed_NT).sum(axis=1)
        return ways_N + logsumexp(log_p_PN, axis=0) - math.log(self.period)
