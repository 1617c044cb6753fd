"""A sensor that holds its value and shows a few decimals. Shapes: C cells of the grid."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import entr, log_ndtr

from seqgan_jax.processes.base import Column, Simulator, require, require_int

MOST_CELLS = 2000  # of an exact entropy, which takes a matrix of C x C
TAIL = 10  # standard deviations on each side that an exact entropy sums over


def log_cell(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """log P(low < z < high) for z ~ N(0, 1), elementwise; -inf where float64 has no mass left."""
    # In the lower tail, where neither of the two is near 1 and their difference is exact.
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    log_low, log_high = log_ndtr(low), log_ndtr(high)
    some = np.isfinite(log_high) & (log_low < log_high)
    ratio = np.where(some, log_low, -1.0) - np.where(some, log_high, 0.0)
    return np.where(some, log_high + np.log1p(-np.exp(ratio)), -np.inf)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _held_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 1]. Consumes `key`. In cells: whole numbers are exact in float32."""
    normal_key, uniform_key = jax.random.split(key)
    z_TN = jax.random.normal(normal_key, (length, n), jnp.float32)
    new_TN = jax.random.uniform(uniform_key, (length, n), jnp.float32) >= p["hold"]
    first_N = jnp.rint(p["mean"] + p["start"] * z_TN[0])

    def step(k_N: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        z_N, new_N = now
        moved_N = jnp.rint(p["mean"] + p["phi"] * (k_N - p["mean"]) + p["sigma"] * z_N)
        k_N = jnp.where(new_N, moved_N, k_N)
        return k_N, k_N

    _, rest_TN = jax.lax.scan(step, first_N, (z_TN[1:], new_TN[1:]))
    return (jnp.concatenate([first_N[None], rest_TN]) / p["cells"]).T[..., None]


@dataclasses.dataclass(frozen=True)
class HeldSensor(Simulator):
    """A value that is held for a while, else a rounded autoregression on what was shown.

        x_t = x_(t-1) with probability hold
        x_t = round(mean + phi (x_(t-1) - mean) + sigma e_t) else,   e_t ~ N(0, 1)
        x_0 = round(mean + sigma / sqrt(1 - phi^2) e_0)

    A new value may be the old one: P(x_t = x_(t-1)) = hold + (1 - hold) P(its cell). log p is the
    log of a mass, F(x + w/2) - F(x - w/2) with w = 10^-decimals for a new value.

    Args:
      hold: in (0, 1).
      mean: in units of the data.
      phi: |phi| < 1.
      sigma: standard deviation of the noise, above 0, in units of the data.
      decimals: that are shown, 0 to 6.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> HeldSensor(length=2).log_prob([[20.0, 20.0], [20.0, 20.05]]).round(4)
    array([-4.1644,    -inf])
    """

    hold: float = 0.7
    mean: float = 20.0
    phi: float = 0.9
    sigma: float = 0.8
    decimals: int = 1
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        require(0 < self.hold < 1, "hold", self.hold, "between 0 and 1")
        require(math.isfinite(self.mean), "mean", self.mean, "a finite number")
        require(abs(self.phi) < 1, "phi", self.phi, "|phi| < 1, or nothing is stationary")
        require(0 < self.sigma < math.inf, "sigma", self.sigma, "a number above 0")
        whole = isinstance(self.decimals, int | np.integer) and 0 <= self.decimals <= 6
        require(whole, "decimals", self.decimals, "a whole number, 0 to 6")

    @property
    def columns(self) -> tuple[Column, ...]:
        """One, on a grid."""
        return (Column("sensor", "grid", self.decimals),)

    def _in_cells(self) -> tuple[float, float, float]:
        """mean, sigma, and the standard deviation of the start, in cells."""
        cells = 10.0**self.decimals
        sigma = cells * self.sigma
        return cells * self.mean, sigma, sigma / math.sqrt(1 - self.phi**2)

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        mean, sigma, start = self._in_cells()
        table = {"mean": mean, "sigma": sigma, "start": start, "cells": 10.0**self.decimals}
        table |= {"hold": self.hold, "phi": self.phi}
        return _held_paths(key, n, self.length, {k: np.float32(v) for k, v in table.items()})

    def _log_first(self, k: np.ndarray) -> np.ndarray:
        """log P of a first cell, elementwise."""
        mean, _, start = self._in_cells()
        return log_cell((k - mean - 0.5) / start, (k - mean + 0.5) / start)

    def _log_step(self, last: np.ndarray, k: np.ndarray) -> np.ndarray:
        """log P of a cell given the one before, elementwise."""
        mean, sigma, _ = self._in_cells()
        centre = mean + self.phi * (last - mean)
        log_new = log_cell((k - centre - 0.5) / sigma, (k - centre + 0.5) / sigma)
        log_held = np.where(k == last, math.log(self.hold), -np.inf)
        return np.logaddexp(log_held, math.log1p(-self.hold) + log_new)

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        k_NT = np.rint(x_NTD[..., 0] * 10.0**self.decimals)
        return self._log_first(k_NT[:, 0]) + self._log_step(k_NT[:, :-1], k_NT[:, 1:]).sum(axis=1)

    def _exact_entropy(self) -> float | None:
        """That of a Markov chain of cells, summed over all that float64 gives a mass."""
        mean, _, start = self._in_cells()
        k_C = np.arange(math.floor(mean - TAIL * start), math.ceil(mean + TAIL * start) + 1)
        if len(k_C) > MOST_CELLS:
            return None
        p_C, step_CC = np.exp(self._log_first(k_C)), np.exp(self._log_step(k_C[:, None], k_C))
        entropy, of_row_C = entr(p_C).sum(), entr(step_CC).sum(axis=1)
        for _ in range(self.length - 1):
            entropy += p_C @ of_row_C
            p_C = p_C @ step_CC
        return float(entropy)
