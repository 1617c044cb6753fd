"""A machine whose state is seen as a word, and its power. Shapes: K states."""

import dataclasses
import functools
import math
from typing import Any

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
def _markov_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 2]. Consumes `key`."""
    normal_key, uniform_key = jax.random.split(key)
    z_TN = jax.random.normal(normal_key, (length, n), jnp.float32)
    u_TN = jax.random.uniform(uniform_key, (length, n), jnp.float32)

    def drawn(below_NK: jax.Array, u_N: jax.Array) -> jax.Array:
        """The state of u: how many of P(s <= 0), .., P(s <= K - 2) it has reached."""
        return jnp.sum(u_N[:, None] >= below_NK[:, :-1], axis=1, dtype=jnp.int32)

    def step(last: _Pair, noise: _Pair) -> tuple[_Pair, jax.Array]:
        (s_N, y_N), (z_N, u_N) = last, noise
        s_N = drawn(p["below"][s_N], u_N)
        mean_N = p["mean"][s_N]
        y_N = mean_N + p["phi"] * (y_N - mean_N) + p["sigma"][s_N] * z_N
        return (s_N, y_N), jnp.stack([s_N.astype(jnp.float32), y_N], axis=1)

    s_N = drawn(jnp.broadcast_to(p["start_below"][None], (n, len(p["mean"]))), u_TN[0])
    y_N = p["mean"][s_N] + p["start"][s_N] * z_TN[0]
    first_ND = jnp.stack([s_N.astype(jnp.float32), y_N], axis=1)
    _, rest_TND = jax.lax.scan(step, (s_N, y_N), (z_TN[1:], u_TN[1:]))
    return jnp.swapaxes(jnp.concatenate([first_ND[None], rest_TND]), 0, 1)


@dataclasses.dataclass(frozen=True)
class MarkovStates(Simulator):
    """A Markov chain s_t of K states, which is seen, and an AR(1) around the mean of its state.

        P(s_t = k | s_(t-1) = j) = transition_jk,   s_0 stationary
        y_t | y_(t-1), s_t = k ~ N(mean_k + phi (y_(t-1) - mean_k), sigma_k^2)
        y_0 | s_0 = k          ~ N(mean_k, sigma_k^2 / (1 - phi^2))

    Columns: the code of s_t, 0 .. K - 1, and y_t. log p is the log of a mass for each code and of
    a density for each y.

    Args:
      states: the words of the K states, at least 2.
      transition: K rows of K probabilities, all above 0, each row with sum 1.
      mean: K numbers, in units of y.
      sigma: K standard deviations of the noise, above 0, in units of y.
      phi: |phi| < 1.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> MarkovStates().stationary().round(3)
    array([0.295, 0.174, 0.427, 0.104])
    """

    states: tuple[str, ...] = ("idle", "start", "run", "stop")
    transition: tuple[tuple[float, ...], ...] = (
        (0.80, 0.15, 0.03, 0.02),
        (0.05, 0.55, 0.35, 0.05),
        (0.02, 0.06, 0.82, 0.10),
        (0.40, 0.08, 0.07, 0.45),
    )
    mean: tuple[float, ...] = (0.5, 2.0, 4.0, 1.5)
    sigma: tuple[float, ...] = (0.1, 0.4, 0.3, 0.3)
    phi: float = 0.5
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        k, rows = len(self.states), self.transition
        require(
            len(set(self.states)) == k >= 2,
            "states",
            self.states,
            "two words or more, all different",
        )
        possible = (
            len(rows) == k
            and all(len(row) == k and all(p > 0 for p in row) for row in rows)
            and all(abs(math.fsum(row) - 1) < 1e-9 for row in rows)
        )
        rule = f"{k} rows of {k} probabilities above 0, each row with sum 1"
        require(possible, "transition", rows, rule)
        real = len(self.mean) == k and all(map(math.isfinite, self.mean))
        require(real, "mean", self.mean, f"{k} finite numbers, one for each state")
        positive = len(self.sigma) == k and all(0 < s < math.inf for s in self.sigma)
        require(positive, "sigma", self.sigma, f"{k} numbers above 0, one for each state")
        require(abs(self.phi) < 1, "phi", self.phi, "|phi| < 1")

    @property
    def columns(self) -> tuple[Column, ...]:
        """The state, a category, and the power."""
        return (Column("state", "categorical", 0, self.states), Column("power"))

    def stationary(self) -> np.ndarray:
        """P(s_t = k), [K]: pi P = pi with sum 1."""
        k = len(self.states)
        equations = np.concatenate([np.array(self.transition).T - np.eye(k), np.ones((1, k))])
        return np.linalg.lstsq(equations, np.eye(k + 1)[k])[0]

    def _start_std(self) -> np.ndarray:
        return np.array(self.sigma) / math.sqrt(1 - self.phi**2)

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        table: dict[str, Any] = {name: getattr(self, name) for name in ("mean", "sigma", "phi")}
        table |= {"below": np.cumsum(self.transition, axis=1), "start": self._start_std()}
        table |= {"start_below": np.cumsum(self.stationary())}
        table = {name: np.asarray(value, np.float32) for name, value in table.items()}
        return _markov_paths(key, n, self.length, table)

    def _possible(self, x_NTD: np.ndarray) -> np.ndarray:
        codes_NT = x_NTD[..., 0]
        return np.asarray(((codes_NT >= 0) & (codes_NT < len(self.states))).all(axis=1))

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        s_NT, y_NT = x_NTD[..., 0].astype(int), x_NTD[..., 1]
        chain_N = np.log(self.stationary())[s_NT[:, 0]]
        chain_N += np.log(self.transition)[s_NT[:, :-1], s_NT[:, 1:]].sum(axis=1)
        y_NT = y_NT - np.array(self.mean)[s_NT]
        last_NT = x_NTD[:, :-1, 1] - np.array(self.mean)[s_NT[:, 1:]]
        steps_NT = log_normal(y_NT[:, 1:] - self.phi * last_NT, 2 * np.log(self.sigma)[s_NT[:, 1:]])
        first_N = log_normal(y_NT[:, 0], 2 * np.log(self._start_std())[s_NT[:, 0]])
        return chain_N + first_N + steps_NT.sum(axis=1)

    def _exact_entropy(self) -> float:
        """That of the chain, and of the noise of each step given its state."""
        pi, rows = self.stationary(), entr(np.array(self.transition)).sum(axis=1)
        chain = entr(pi).sum() + (self.length - 1) * pi @ rows
        noise = self.length * (pi @ np.log(self.sigma) + 0.5 * (LOG_2PI + 1))
        return float(chain + noise - 0.5 * math.log(1 - self.phi**2))
