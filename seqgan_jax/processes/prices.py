"""Prices of a day that keep Low <= Open, Close <= High."""

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


@functools.partial(jax.jit, static_argnums=(1, 2))
def _price_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 4]. Consumes `key`."""
    normal_key, zero_key, wick_key = jax.random.split(key, 3)
    z_2TN = jax.random.normal(normal_key, (2, length, n), jnp.float32)
    # Steps of log price in the order of time: open, close, open, close ..
    moves_T2N = jnp.stack([p["overnight"] * z_2TN[0], p["day"] * z_2TN[1]], axis=1)
    moves_T2N = moves_T2N.at[0, 0].set(p["spread"] * z_2TN[0, 0])
    path_T2N = jnp.cumsum(moves_T2N.reshape(2 * length, n), axis=0).reshape(length, 2, n)
    open_TN, close_TN = jnp.moveaxis(p["start"] * jnp.exp(path_T2N), 1, 0)
    zero_2TN = jax.random.uniform(zero_key, z_2TN.shape, jnp.float32) < p["no_wick"]
    wick_2TN = p["wick"] * jax.random.exponential(wick_key, z_2TN.shape, jnp.float32)
    up_TN, down_TN = jnp.where(zero_2TN, 0.0, wick_2TN)
    top_TN, bottom_TN = jnp.maximum(open_TN, close_TN), jnp.minimum(open_TN, close_TN)
    # By differences: no rounding brings High below, or Low above, where it starts from.
    high_TN = top_TN + top_TN * jnp.expm1(up_TN)
    low_TN = bottom_TN + bottom_TN * jnp.expm1(-down_TN)
    return jnp.stack([open_TN, high_TN, low_TN, close_TN], axis=-1).swapaxes(0, 1)


@dataclasses.dataclass(frozen=True)
class Prices(Simulator):
    """Open, High, Low and Close of each day, with Low <= Open, Close <= High and all above 0.

        log O_0 ~ N(log start, spread^2),   log O_t ~ N(log C_(t-1), overnight^2)
        log C_t ~ N(log O_t, day^2)
        log H_t = max(log O_t, log C_t) + u_t,   log L_t = min(log O_t, log C_t) - v_t
        u_t, v_t: exactly 0 with probability no_wick, else exponential with mean wick

    log p is the log of a density in Open, Close and each High and Low that is not at its end, and
    of a mass for each that is: High == max(Open, Close), Low == min(Open, Close), compared exactly.
    Of the other wicks, float32 rounds a share of about 10^-7 / wick to 0.

    Args:
      start: median of the first Open, above 0, in units of the data.
      spread: standard deviation of the first log Open, above 0.
      overnight: standard deviation of the log return from Close to Open, above 0.
      day: standard deviation of the log return from Open to Close, above 0.
      wick: mean of u and v where they are not 0, above 0.
      no_wick: probability of each exact 0, in (0, 1).
      length: T, days per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> x = Prices(length=2).sample(jax.random.key(0), n=1)
    >>> x.shape, bool((x[..., 2] <= x[..., 3]).all())
    ((1, 2, 4), True)
    """

    start: float = 100.0
    spread: float = 0.1
    overnight: float = 0.01
    day: float = 0.02
    wick: float = 0.01
    no_wick: float = 0.2
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        for name in ("start", "spread", "overnight", "day", "wick"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a number above 0")
        require(0 < self.no_wick < 1, "no_wick", self.no_wick, "between 0 and 1")

    @property
    def columns(self) -> tuple[Column, ...]:
        """Open, High, Low, Close. The atoms of High and Low are at their ends, which move."""
        return tuple(Column(name) for name in ("Open", "High", "Low", "Close"))

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        names = ("start", "spread", "overnight", "day", "wick", "no_wick")
        table = {name: np.float32(getattr(self, name)) for name in names}
        return _price_paths(key, n, self.length, table)

    def _possible(self, x_NTD: np.ndarray) -> np.ndarray:
        o_NT, high_NT, low_NT, c_NT = np.moveaxis(x_NTD, 2, 0)
        in_order_NT = (low_NT <= np.minimum(o_NT, c_NT)) & (np.maximum(o_NT, c_NT) <= high_NT)
        return (in_order_NT & (low_NT > 0)).all(axis=1)

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        o_NT, high_NT, low_NT, c_NT = np.moveaxis(np.log(x_NTD), 2, 0)
        before_NT = np.concatenate([np.full_like(c_NT[:, :1], math.log(self.start)), c_NT], axis=1)
        std_T = np.full(self.length, self.overnight)
        std_T[0] = self.spread
        body_NT = log_normal(o_NT - before_NT[:, :-1], 2 * np.log(std_T)) - o_NT
        body_NT += log_normal(c_NT - o_NT, 2 * math.log(self.day)) - c_NT
        o, high, low, c = np.moveaxis(x_NTD, 2, 0)
        at_top_NT, at_bottom_NT = high == np.maximum(o, c), low == np.minimum(o, c)
        up_NT = np.where(at_top_NT, 0.0, high_NT - np.maximum(o_NT, c_NT))
        down_NT = np.where(at_bottom_NT, 0.0, np.minimum(o_NT, c_NT) - low_NT)
        body_NT += self._log_wick(at_top_NT, up_NT, high_NT)
        body_NT += self._log_wick(at_bottom_NT, down_NT, low_NT)
        return body_NT.sum(axis=1)

    def _log_wick(self, none: np.ndarray, wick: np.ndarray, log_x: np.ndarray) -> np.ndarray:
        """log of the mass of no wick, or of the density of a price at its end, elementwise."""
        density = math.log1p(-self.no_wick) - math.log(self.wick) - wick / self.wick - log_x
        return np.where(none, math.log(self.no_wick), density)

    def _exact_entropy(self) -> float:
        """By logarithms, whose mean is log start for a body, and one up for each one down."""
        some, log_start = 1 - self.no_wick, math.log(self.start)
        wicks = entr(some) + entr(self.no_wick) + some * (1 + math.log(self.wick) + log_start)
        bodies = math.log(self.day) + LOG_2PI + 1 + 2 * log_start
        opens = math.log(self.spread) + (self.length - 1) * math.log(self.overnight)
        return float(opens + self.length * (bodies + 2 * wicks))
