"""Stochastic processes whose law is known: the only data for which "perfect" is a number.

Every simulator samples in JAX (float32) and evaluates its own density in NumPy (float64), so that a
trained model q can be judged in nats against the truth p, per step of T:

    coverage gap = (mean over x ~ p of -log q(x)  -  H(p)) / T          = KL(p || q) / T
    quality gap  =  mean over x ~ q of (log q(x)  -  log p(x)) / T      = KL(q || p) / T

Shapes: N sequences, T time, D features, H hidden, K regimes. Densities and entropies are those of
the whole sequence, in nats, in the units of the data. The linear processes live in
`linear_gaussian`.
"""

import dataclasses
import functools
import math
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from seqgan_jax.errors import UsageError
from seqgan_jax.processes.linear_gaussian import (
    AR1,
    LOG_2PI,
    VAR1,
    Estimate,
    SeasonalAR2,
    as_NTD,
    require,
    require_int,
)

__all__ = [
    "AR1",
    "NAMES",
    "VAR1",
    "Estimate",
    "LSTMOracle",
    "RegimeAR",
    "SeasonalAR2",
    "Simulator",
    "get",
]

NAMES = ("ar1", "var1", "seasonal", "regime", "lstm")
ENTROPY_SAMPLES = 50_000  # sequences behind an entropy that has no closed form


class Simulator(Protocol):
    """What every simulator offers; `get` makes one by name."""

    @property
    def length(self) -> int: ...

    @property
    def num_features(self) -> int: ...

    def sample(self, key: jax.Array, n: int) -> jax.Array: ...

    def log_prob(self, x: Any) -> np.ndarray: ...

    def entropy(self) -> Estimate: ...


def get(name: str, length: int = 20) -> Simulator:
    """The simulator of that name with its default parameters.

    Args:
      name: one of `NAMES`.
      length: T, steps per sequence, at least 2.

    Raises:
      UsageError: unknown name, or a length below 2.

    >>> get("var1", length=12).num_features
    3
    """
    match name:
        case "ar1":
            return AR1(length=length)
        case "var1":
            return VAR1(length=length)
        case "seasonal":
            return SeasonalAR2(length=length)
        case "regime":
            return RegimeAR(length=length)
        case "lstm":
            return LSTMOracle(length=length)
    raise UsageError(f"There is no simulator {name!r}. Choose one of: {', '.join(NAMES)}.")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _regime_paths(key: jax.Array, n: int, length: int, p: dict[str, jax.Array]) -> jax.Array:
    """Paths [N, T, 1] from a table of parameters, each [K] (K = 2). Consumes `key`."""
    normal_key, uniform_key = jax.random.split(key)
    z_TN = jax.random.normal(normal_key, (length, n), jnp.float32)
    u_TN = jax.random.uniform(uniform_key, (length, n), jnp.float32)
    s_N = (u_TN[0] >= p["stationary"][0]).astype(jnp.int32)
    x_N = p["mean"][s_N] + p["start"][s_N] * z_TN[0]

    def step(
        carry: tuple[jax.Array, jax.Array], noise: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        (s_N, x_N), (z_N, u_N) = carry, noise
        s_N = jnp.where(u_N < p["stay"][s_N], s_N, 1 - s_N)
        mean_N = p["mean"][s_N]
        x_N = mean_N + p["phi"][s_N] * (x_N - mean_N) + p["sigma"][s_N] * z_N
        return (s_N, x_N), x_N

    _, rest_TN = jax.lax.scan(step, (s_N, x_N), (z_TN[1:], u_TN[1:]))
    return jnp.concatenate([x_N[None], rest_TN]).T[..., None]


@dataclasses.dataclass(frozen=True)
class RegimeAR:
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

    @property
    def num_features(self) -> int:
        """D = 1."""
        return 1

    def _chain(self) -> tuple[np.ndarray, np.ndarray]:
        """Stationary law [K] and transition matrix [K, K] of the regimes."""
        a, b = self.stay
        transition = np.array([[a, 1 - a], [1 - b, b]])
        return np.array([1 - b, 1 - a]) / (2 - a - b), transition

    def _start_std(self) -> np.ndarray:
        return np.array(self.sigma) / np.sqrt(1 - np.square(self.phi))

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, 1]. Consumes `key`."""
        require_int("n", n, 1)
        table: dict[str, Any] = {f: getattr(self, f) for f in ("phi", "mean", "sigma", "stay")}
        table |= {"stationary": self._chain()[0], "start": self._start_std()}
        table = {name: np.asarray(value, np.float32) for name, value in table.items()}
        return _regime_paths(key, int(n), self.length, table)

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence by the forward algorithm: [N, T, 1] or [N, T] -> float64 [N].

        alpha_t(k) = p(x_0 .. x_t, s_t = k), in nats. Source: Rabiner (1989), section III.A.
        Raises DataError on another shape.
        """
        x_NT = as_NTD(x, self.length, 1)[..., 0]
        mean, phi, sigma = np.array(self.mean), np.array(self.phi), np.array(self.sigma)
        y_NTK = x_NT[..., None] - mean

        def log_density(residual: np.ndarray, std: np.ndarray) -> np.ndarray:
            return -0.5 * (residual / std) ** 2 - np.log(std) - 0.5 * LOG_2PI

        log_step_NTK = log_density(y_NTK[:, 1:] - phi * y_NTK[:, :-1], sigma)
        stationary, transition = self._chain()
        log_alpha_NK = np.log(stationary) + log_density(y_NTK[:, 0], self._start_std())
        for t in range(self.length - 1):
            moved_NK = scipy.special.logsumexp(
                log_alpha_NK[:, :, None] + np.log(transition), axis=1
            )
            log_alpha_NK = moved_NK + log_step_NTK[:, t]
        return np.asarray(scipy.special.logsumexp(log_alpha_NK, axis=1))

    def entropy(self, key: jax.Array | None = None, n: int = ENTROPY_SAMPLES) -> Estimate:
        """H of the whole sequence = -E log p(x), by Monte Carlo over n sequences.

        Consumes `key`; without one, `jax.random.key(0)`, so that the answer is always the same.
        """
        return _mean(-self.log_prob(self.sample(_key_or_default(key), n)))


def _key_or_default(key: jax.Array | None) -> jax.Array:
    return jax.random.key(0) if key is None else key


def _mean(values_N: np.ndarray) -> Estimate:
    """Their mean and its standard error (n >= 2)."""
    require(len(values_N) >= 2, "n", len(values_N), "a standard error needs at least 2 sequences")
    return Estimate(float(values_N.mean()), float(values_N.std(ddof=1) / math.sqrt(len(values_N))))


class _LSTMWeights(NamedTuple):
    gates: Any  # [D + H, 4H]: input, forget, cell, output
    gates_bias: Any  # [1, 4H]
    head: Any  # [H, 2D]: mean, log-variance
    head_bias: Any  # [1, 2D]


@functools.cache
def _lstm_weights(num_features: int, hidden: int, seed: int) -> _LSTMWeights:
    """Fixed random weights, float64. Gains: strong memory and input, bounded mean and variance."""
    rng = np.random.default_rng(seed)
    d, h = num_features, hidden
    w_x = rng.normal(size=(d, 4 * h)) * 1.5 / math.sqrt(d)
    w_h = rng.normal(size=(h, 4 * h)) * 1.5 / math.sqrt(h)
    head = rng.normal(size=(h, 2 * d)) * np.repeat([3.0, 2.0], d) / math.sqrt(h)
    bias = rng.normal(size=(1, 4 * h)) * 0.5
    bias[:, h : 2 * h] += 1.0  # the forget gate starts open
    head_bias = np.repeat([0.0, -1.5], d)[None]
    return _LSTMWeights(np.concatenate([w_x, w_h]), bias, head, head_bias)


def _lstm_step(xp: ModuleType, w: _LSTMWeights, x_ND: Any, h_NH: Any, c_NH: Any) -> tuple[Any, ...]:
    """One step of the cell in NumPy or jax.numpy: mean [N, D], log-variance [N, D], h, c."""
    gates = xp.concatenate([x_ND, h_NH], axis=1) @ w.gates + w.gates_bias
    i, f, g, o = xp.split(gates, 4, axis=1)

    def sigmoid(a: Any) -> Any:
        return 0.5 + 0.5 * xp.tanh(0.5 * a)

    c_NH = sigmoid(f) * c_NH + sigmoid(i) * xp.tanh(g)
    h_NH = sigmoid(o) * xp.tanh(c_NH)
    mean_ND, log_var_ND = xp.split(h_NH @ w.head + w.head_bias, 2, axis=1)
    return mean_ND, log_var_ND, h_NH, c_NH


@functools.partial(jax.jit, static_argnums=(1, 2))
def _lstm_paths(key: jax.Array, n: int, length: int, w: _LSTMWeights) -> jax.Array:
    """Free-running paths [N, T, D]. Consumes `key`."""
    hidden, num_features = w.head.shape[0], w.head.shape[1] // 2
    z_TND = jax.random.normal(key, (length, n, num_features), jnp.float32)
    zeros_NH = jnp.zeros((n, hidden), jnp.float32)

    def step(
        carry: tuple[jax.Array, jax.Array, jax.Array], z_ND: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        mean_ND, log_var_ND, h_NH, c_NH = _lstm_step(jnp, w, *carry)
        x_ND = mean_ND + jnp.exp(0.5 * log_var_ND) * z_ND
        return (x_ND, h_NH, c_NH), x_ND

    start = (jnp.zeros_like(z_TND[0]), zeros_NH, zeros_NH)
    with jax.default_matmul_precision("highest"):  # not TF32 on a GPU: that is another process
        _, x_TND = jax.lax.scan(step, start, z_TND)
    return jnp.swapaxes(x_TND, 0, 1)


@dataclasses.dataclass(frozen=True)
class LSTMOracle:
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
    def num_features(self) -> int:
        """D."""
        return self.features

    def _weights(self) -> _LSTMWeights:
        return _lstm_weights(self.features, self.hidden, self.seed)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, D]. Consumes `key`."""
        require_int("n", n, 1)
        weights = _LSTMWeights(*(w.astype(np.float32) for w in self._weights()))
        return _lstm_paths(key, int(n), self.length, weights)

    def conditionals(self, x: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance of each step given the steps before it: [N, T, D] -> two such."""
        x_NTD = as_NTD(x, self.length, self.features)
        previous_ND = np.zeros_like(x_NTD[:, 0])
        h_NH = c_NH = np.zeros((len(x_NTD), self.hidden))
        means, log_vars = [], []
        for t in range(self.length):
            mean_ND, log_var_ND, h_NH, c_NH = _lstm_step(
                np, self._weights(), previous_ND, h_NH, c_NH
            )
            means.append(mean_ND)
            log_vars.append(log_var_ND)
            previous_ND = x_NTD[:, t]
        return np.stack(means, axis=1), np.stack(log_vars, axis=1)

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence: [N, T, D] (or [N, T] when D = 1) -> float64 [N], nats."""
        mean, log_var = self.conditionals(x)
        squared = (as_NTD(x, self.length, self.features) - mean) ** 2
        return -0.5 * (squared * np.exp(-log_var) + log_var + LOG_2PI).sum(axis=(1, 2))

    def entropy(self, key: jax.Array | None = None, n: int = ENTROPY_SAMPLES) -> Estimate:
        """H of the whole sequence = E of the sum of its steps' conditional entropies, Monte Carlo.

        Each of those is exact, (log_var + log 2 pi e) / 2, which leaves far less noise than -log p.
        Consumes `key`; without one, `jax.random.key(0)`, so that the answer is always the same.
        """
        _, log_var = self.conditionals(self.sample(_key_or_default(key), n))
        return _mean(0.5 * (log_var + LOG_2PI + 1).sum(axis=(1, 2)))
