"""One column of many categories (tokens), each as any other: a plain softmax over all of them.

    p(x = v) = softmax(a)_v,  a = W h + b

What a mixed column gives each of its options (regressions, runs, units) would cost thousands of
numbers a step here. Values are the codes 0 .. V - 1, as float32.

Shapes: V tokens.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns.chain import Memoryless
from seqgan_jax.core.columns.continuous import cumulative, normal_cdf

START = 0.1  # deviation of embeddings: what is not learned of a rare token stays small


@dataclass(frozen=True)
class TokenChain(Memoryless):
    """The only column of a step; hashable, without arrays. As `chain.Chain`, where that is used."""

    tokens: int  # V
    embedding: int  # numbers that the policy reads of a token
    closed_entropy = False  # it has one, which nothing asks for
    num_noise = 1

    @property
    def num_params(self) -> int:
        """Numbers that the network must give for one step, V."""
        return self.tokens

    @property
    def num_read(self) -> int:
        """What the policy reads of a token."""
        return self.embedding

    def start(self) -> np.ndarray:
        """Numbers of an untrained policy: all tokens alike, [V]."""
        return np.zeros(self.tokens, np.float32)

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """Embeddings of the tokens, [V, E]. Consumes `key`."""
        return {"embedding": START * jax.random.normal(key, (self.tokens, self.embedding))}

    def context(self, constants: Params, x: Any) -> "TokenContext":  # noqa: ARG002
        """Nothing: logits are relative to no baseline."""
        return TokenContext()

    def past(self, inputs: jax.Array) -> None:
        """What the next step's context depends on: nothing."""

    def all_past(self, constants: Params, x: jax.Array, known: Any = None) -> None:
        """The same of whole sequences."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TokenContext:
    """What `chain.Context` is to other columns; without a baseline."""

    def moved(self, known: Any, slopes: Any) -> Self:  # noqa: ARG002
        """The same: no baseline moves."""
        return self

    def read(self, x: jax.Array) -> jax.Array:
        """What is carried of x: the token itself; its embedding is looked up when it is read."""
        return x

    def is_density(self, x: jax.Array) -> jax.Array:
        """Which values have a density and not a mass: none, `[..., 1]` bool."""
        return jnp.zeros(x.shape, bool)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TokenStep:
    """The distribution of one step, by what its logits are made of: all V of them are many."""

    h: jax.Array  # [..., H + 1] the policy's state and a 1, over the temperature
    head: jax.Array  # [H + 1, V]
    context: TokenContext = field(default_factory=TokenContext)

    @classmethod
    def of(
        cls, h: jax.Array, head: jax.Array, bias: jax.Array, temperature: float | jax.Array
    ) -> Self:
        """softmax((h W + b) / temperature) of h [..., H], W [H, V], b [V]."""
        h = jnp.concatenate([h, jnp.ones_like(h[..., :1])], axis=-1) / temperature
        return cls(h, jnp.concatenate([head, bias[None]]))

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), `[..., 1]`, nats; of `[B, 1]` or, in pieces, `[T, B, 1]`."""
        if x.ndim == 2:
            return replace(self, h=self.h[None]).log_prob(x[None])[0]
        return _log_softmax(self.h, self.head, x[..., 0].astype(jnp.int32))[..., None]

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., 1] and what is carried of it, from standard normal `noise` [..., 1]."""
        x = drawn(self.h @ self.head, normal_cdf(noise)).astype(jnp.float32)
        return x, x


@jax.custom_vjp
def _log_softmax(h_TBH: jax.Array, head_HV: jax.Array, x_TB: jax.Array) -> jax.Array:
    """log softmax(h W)_x, `[T, B]`; one step at a time, whose logits a CPU's cache holds.

    The gradient, g ([v = x] - p_v) by logit, is written out and computes the logits again: a few
    times as fast as what JAX makes of all steps at once (T = 20, B = 64, V = 5,000).
    """
    return _log_softmax_forward(h_TBH, head_HV, x_TB)[0]


def _log_softmax_forward(
    h_TBH: jax.Array, head_HV: jax.Array, x_TB: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    def one(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h_BH, x_B = inputs
        logits = h_BH @ head_HV
        most = jnp.max(logits, axis=-1, keepdims=True)
        total = most + jnp.log(jnp.sum(jnp.exp(logits - most), axis=-1, keepdims=True))
        own = jnp.take_along_axis(logits, x_B[:, None], axis=-1)
        return (own - total)[:, 0], total

    log_p_TB, total_TB1 = lax.map(one, (h_TBH, x_TB))
    return log_p_TB, (h_TBH, head_HV, x_TB, total_TB1)


def _log_softmax_backward(
    saved: tuple[jax.Array, ...], g_TB: jax.Array
) -> tuple[jax.Array, jax.Array, None]:
    h_TBH, head_HV, x_TB, total_TB1 = saved
    g_TB1 = g_TB[..., None]

    def one(d_head: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        h_BH, total_B1, g_B1 = inputs
        d_logits = -g_B1 * jnp.exp(h_BH @ head_HV - total_B1)
        return d_head + h_BH.T @ d_logits, d_logits @ head_HV.T

    d_head, d_h = lax.scan(one, jnp.zeros_like(head_HV), (h_TBH, total_TB1, g_TB1))
    own = jnp.zeros_like(head_HV.T).at[x_TB].add(g_TB1 * h_TBH)
    return d_h + g_TB1 * head_HV.T[x_TB], d_head + own.T, None


_log_softmax.defvjp(_log_softmax_forward, _log_softmax_backward)


def drawn(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """Tokens [..., 1] of the law softmax(logits), each by one uniform number [..., 1].

    The inverse of the cumulative distribution, tokens in the order of a table of V / R columns that
    is read column by column: first the column is found, then the row in it. On a CPU 30 times as
    fast as the Gumbel trick, whose V random numbers cost more than all else, and 5 times as one
    cumulative sum over V.

    >>> uniform = jnp.array([[0.1], [0.7], [0.95]])
    >>> drawn(jnp.log(jnp.array([[0.5, 0.1, 0.2, 0.2]] * 3)), uniform).tolist()  # order 0, 2, 1, 3
    [[0], [1], [3]]
    """
    number = logits.shape[-1]
    rows = max(n for n in range(1, math.isqrt(number) + 1) if number % n == 0)
    columns = number // rows
    logits = lax.stop_gradient(logits)
    mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    table = mass.reshape(*mass.shape[:-1], rows, columns)
    sums = table.sum(axis=-2)
    up_to = cumulative(sums)
    aim = uniform * up_to[..., -1:]
    column = jnp.minimum(jnp.sum(up_to <= aim, axis=-1, keepdims=True), columns - 1)
    rest = aim - jnp.take_along_axis(up_to - sums, column, axis=-1)
    inside = jnp.take_along_axis(table, column[..., None], axis=-1)[..., 0]
    row = jnp.sum(cumulative(inside) <= rest, axis=-1, keepdims=True)
    return jnp.minimum(row, rows - 1) * columns + column
