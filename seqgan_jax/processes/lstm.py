"""The oracle of SeqGAN's synthetic experiment, made continuous. Shapes: H hidden units."""

import dataclasses
import functools
import math
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.processes.base import (
    LOG_2PI,
    Column,
    Simulator,
    log_normal,
    require_int,
    unnamed,
)

# Of the gates [D + H, 4 H], their bias [1, 4 H], of the head [H, 2 D], its bias [1, 2 D].
_Weights = tuple[Any, ...]


def _lstm_step(xp: ModuleType, w: _Weights, x_ND: Any, h_NH: Any, c_NH: Any) -> tuple[Any, ...]:
    """One step of the cell in NumPy or jax.numpy: mean [N, D], log-variance [N, D], h, c."""
    gates, gates_bias, head, head_bias = w
    i, f, g, o = xp.split(xp.concatenate([x_ND, h_NH], axis=1) @ gates + gates_bias, 4, axis=1)
    i, f, o = (0.5 + 0.5 * xp.tanh(0.5 * a) for a in (i, f, o))  # sigmoid
    c_NH = f * c_NH + i * xp.tanh(g)
    h_NH = o * xp.tanh(c_NH)
    mean_ND, log_var_ND = xp.split(h_NH @ head + head_bias, 2, axis=1)
    return mean_ND, log_var_ND, h_NH, c_NH


@functools.partial(jax.jit, static_argnums=(1, 2))
def _lstm_paths(key: jax.Array, n: int, length: int, w: _Weights) -> jax.Array:
    """Free-running paths [N, T, D]. Consumes `key`."""
    hidden, two_d = w[2].shape
    z_TND = jax.random.normal(key, (length, n, two_d // 2), jnp.float32)
    zeros_NH = jnp.zeros((n, hidden), jnp.float32)

    def step(carry: tuple[jax.Array, ...], z_ND: jax.Array) -> tuple[tuple[Any, ...], jax.Array]:
        mean_ND, log_var_ND, h_NH, c_NH = _lstm_step(jnp, w, *carry)
        x_ND = mean_ND + jnp.exp(0.5 * log_var_ND) * z_ND
        return (x_ND, h_NH, c_NH), x_ND

    start = (jnp.zeros_like(z_TND[0]), zeros_NH, zeros_NH)
    with jax.default_matmul_precision("highest"):  # not TF32 on a GPU: that is another process
        _, x_TND = jax.lax.scan(step, start, z_TND)
    return jnp.swapaxes(x_TND, 0, 1)


@dataclasses.dataclass(frozen=True)
class LSTMOracle(Simulator):
    """An LSTM with fixed random weights that emits a Gaussian at each step.

        h_t, c_t = LSTM(x_(t-1), h_(t-1), c_(t-1)),   x_(-1) = h_(-1) = c_(-1) = 0
        x_t | past ~ N(mean(h_t), diag exp(log_var(h_t)))

    The oracle of SeqGAN's synthetic experiment (Yu et al., AAAI 2017), made continuous. |h| < 1
    bounds mean and variance, so that no sequence runs away.

    Args:
      features: D, at least 1.
      hidden: H, at least 1.
      seed: of the weights, at least 0.
      length: T, steps per sequence.

    Raises:
      UsageError: a parameter is outside the limits above.

    >>> oracle = LSTMOracle(features=2, length=5)
    >>> oracle.log_prob(oracle.sample(jax.random.key(0), n=3)).shape
    (3,)
    """

    features: int = 1
    hidden: int = 16
    seed: int = 8  # half the variance predictable, memory of about 5 steps, volatility that varies
    length: int = 20

    def __post_init__(self) -> None:
        require_int("length", self.length, 2)
        for name, low in (("features", 1), ("hidden", 1), ("seed", 0)):
            require_int(name, getattr(self, name), low)

    @property
    def columns(self) -> tuple[Column, ...]:
        """x1, x2, ..., as many as `features`."""
        return unnamed(self.features)

    def _weights(self) -> _Weights:
        """Fixed random numbers. Gains: strong memory and input, bounded mean and variance."""
        rng = np.random.default_rng(self.seed)
        d, h = self.features, self.hidden
        w_x = rng.normal(size=(d, 4 * h)) * 1.5 / math.sqrt(d)
        w_h = rng.normal(size=(h, 4 * h)) * 1.5 / math.sqrt(h)
        head = rng.normal(size=(h, 2 * d)) * np.repeat([3.0, 2.0], d) / math.sqrt(h)
        bias = rng.normal(size=(1, 4 * h)) * 0.5
        bias[:, h : 2 * h] += 1.0  # the forget gate starts open
        return np.concatenate([w_x, w_h]), bias, head, np.repeat([0.0, -1.5], d)[None]

    def _sample(self, key: jax.Array, n: int) -> jax.Array:
        weights = tuple(w.astype(np.float32) for w in self._weights())
        return _lstm_paths(key, n, self.length, weights)

    def conditionals(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance of each step given the steps before it: [N, T, D] -> two such."""
        x_NTD, weights = self._as_NTD(x), self._weights()
        previous_ND = np.zeros_like(x_NTD[:, 0])
        h_NH = c_NH = np.zeros((len(x_NTD), self.hidden))
        steps = []
        for t in range(self.length):
            *step, h_NH, c_NH = _lstm_step(np, weights, previous_ND, h_NH, c_NH)
            steps.append(step)
            previous_ND = x_NTD[:, t]
        mean_NTD, log_var_NTD = np.stack(steps, axis=2)
        return mean_NTD, log_var_NTD

    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        mean_NTD, log_var_NTD = self.conditionals(x_NTD)
        return log_normal(x_NTD - mean_NTD, log_var_NTD).sum(axis=(1, 2))

    def _surprisal(self, x_NTD: np.ndarray) -> np.ndarray:
        """Sum of the conditional entropies of the steps: exact, so with less noise than -log p."""
        return 0.5 * (self.conditionals(x_NTD)[1] + LOG_2PI + 1).sum(axis=(1, 2))
