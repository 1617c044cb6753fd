"""What every simulator is: a process that samples in JAX and knows its own density in NumPy.

A new simulator is one class: its parameters, checked; `_sample`; `_log_prob`; its columns, where
it has more than one or a kind of its own; its entropy where that has a closed form.
`simulators.py` gives it a name.

Shapes: N sequences, T time, D features. Samples are float32, densities float64. Densities and
entropies are those of the whole sequence, in nats, in the units of the data. Where a value has a
probability of its own, log p counts that mass: each class says its measure, and a model is
compared by a log q of the same one.
"""

import abc
import math
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from seqgan_jax.errors import DataError, UsageError

LOG_2PI = math.log(2 * math.pi)
ENTROPY_SAMPLES = 50_000  # sequences behind an entropy that has no closed form


class Estimate(NamedTuple):
    """A number and its standard error, which is 0.0 where the number is exact."""

    value: float
    standard_error: float


class Column(NamedTuple):
    """What a column of a simulator holds.

    Args:
      name: as in the header of a table.
      kind: continuous, a density; grid, masses of multiples of 10^-decimals; categorical, masses of
        the codes 0 .. len(words) - 1.
      decimals: of a grid (0 for whole numbers) and of codes (0); else None.
      words: of categories, what the codes stand for.
      atoms: values with a mass of their own beside the density.
    """

    name: str
    kind: Literal["continuous", "grid", "categorical"] = "continuous"
    decimals: int | None = None
    words: tuple[str, ...] = ()
    atoms: tuple[float, ...] = ()


def unnamed(num_features: int) -> tuple[Column, ...]:
    """Continuous columns x, or x1, x2, ..."""
    if num_features == 1:
        return (Column("x"),)
    return tuple(Column(f"x{d + 1}") for d in range(num_features))


def require(ok: bool, name: str, value: object, rule: str) -> None:
    """Conditions are written so that NaN fails them."""
    if not ok:
        raise UsageError(f"{name}={value!r} is not possible: {rule}.")


def require_int(name: str, value: object, low: int) -> None:
    """A whole number of at least `low`."""
    whole = isinstance(value, int | np.integer) and value >= low
    require(bool(whole), name, value, f"a whole number, at least {low}")


def log_normal(residual: np.ndarray, log_var: np.ndarray | float) -> np.ndarray:
    """log N(residual; 0, exp(log_var)), elementwise. NaN in, NaN out."""
    return -0.5 * (residual**2 * np.exp(-log_var) + log_var + LOG_2PI)


class Simulator(abc.ABC):
    """A distribution of sequences whose density is known; `simulators.get` makes one by name."""

    length: int  # T

    @property
    def columns(self) -> tuple[Column, ...]:
        """The D columns, in order."""
        return unnamed(1)

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.columns)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """n sequences, float32 [N, T, D]. Consumes `key`."""
        require_int("n", n, 1)
        return self._sample(key, int(n))

    def exact(self, x: Any) -> np.ndarray:
        """Samples [..., D] as a table would hold them: float64, grids rounded to their decimals.

        >>> from seqgan_jax.processes import simulators
        >>> x = np.float32([[[19.9]]])
        >>> np.float64(x).item(), simulators.get("held").exact(x).item()
        (19.899999618530273, 19.9)
        """
        x = np.array(x, np.float64)
        for d, column in enumerate(self.columns):
            if column.decimals is not None:
                with np.errstate(over="ignore"):
                    x[..., d] = np.round(x[..., d], column.decimals)
        return x

    def log_prob(self, x: Any) -> np.ndarray:
        """log p of each sequence: [N, T, D] (or [N, T] when D = 1) -> float64 [N], nats.

        -inf where a sequence is impossible: infinite, off a grid (by more than the rounding of
        float32), or what the class forbids. NaN where a value is NaN.

        Raises:
          DataError: another shape.
        """
        x_NTD = self._as_NTD(x)
        exact_NTD = self.exact(x_NTD)
        on_grid_NTD = np.isfinite(x_NTD) & np.isclose(x_NTD, exact_NTD, rtol=1e-6, atol=0.0)
        possible_N = on_grid_NTD.all(axis=(1, 2)) & self._possible(exact_NTD)
        log_p_N = np.full(len(x_NTD), -np.inf)
        with np.errstate(over="ignore"):  # of what is too far to have a density
            log_p_N[possible_N] = self._log_prob(exact_NTD[possible_N])
        log_p_N[np.isnan(x_NTD).any(axis=(1, 2))] = np.nan
        return log_p_N

    def entropy(self, key: jax.Array | None = None, n: int = ENTROPY_SAMPLES) -> Estimate:
        """H of the whole sequence: exact where it has a closed form, else a mean over n samples.

        Only the latter consumes `key`; without one it takes `jax.random.key(0)`, so that the answer
        is always the same.
        """
        exact = self._exact_entropy()
        if exact is not None:
            return Estimate(exact, 0.0)
        require(n >= 2, "n", n, "a standard error needs at least 2 sequences")
        x = self.sample(jax.random.key(0) if key is None else key, n)
        values_N = self._surprisal(self._as_NTD(x))
        return Estimate(float(values_N.mean()), float(values_N.std(ddof=1) / math.sqrt(n)))

    @abc.abstractmethod
    def _sample(self, key: jax.Array, n: int) -> jax.Array: ...

    @abc.abstractmethod
    def _log_prob(self, x_NTD: np.ndarray) -> np.ndarray:
        """[N], of sequences that are finite, on their grids and `_possible`."""

    def _possible(self, x_NTD: np.ndarray) -> np.ndarray:
        """[N], whether p(x) is above 0; a NaN may give either."""
        return np.ones(len(x_NTD), bool)

    def _exact_entropy(self) -> float | None:
        return None

    def _surprisal(self, x_NTD: np.ndarray) -> np.ndarray:
        """[N], with the entropy as its mean over samples: -log p, or what has less noise."""
        return -self.log_prob(x_NTD)

    def _as_NTD(self, x: Any) -> np.ndarray:
        x, (length, num_features) = np.asarray(x, np.float64), (self.length, self.num_features)
        if x.ndim == 2 and num_features == 1:
            x = x[..., None]
        if x.ndim != 3 or x.shape[1:] != (length, num_features):
            flat = f" or [n, {length}]" if num_features == 1 else ""
            raise DataError(
                f"log_prob got an array of shape {list(x.shape)}, but this simulator's sequences "
                f"are [n, {length}, {num_features}]{flat} (n, time, features). "
                "Make the simulator with the length of the data."
            )
        return x
