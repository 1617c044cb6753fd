"""Every array that passes between the modules of core, with its shape beside it.

Frozen dataclasses that JAX maps over (pytrees). Shapes: B sequences of a batch, N of a data set,
T steps, D columns, W conditions, H hidden units of all layers, U = 2 D what the policy reads.
With several seeds every leaf of `TrainState` has a leading axis S.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Params = dict[str, Any]  # weights by name
STEPS_AT_ONCE = 1 << 16  # steps of all sequences in one evaluation: memory does not grow with N
LONG, LEAST = 256, 8  # steps beyond which fewer sequences are looked at together; how few


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """Sequences in scaled units, and what is known of them."""

    x: jax.Array  # [B, T, D] values
    mask: jax.Array  # [B, T, D] bool: the value is there and counts
    static: jax.Array  # [B, W] what each sequence is about; W = 0 today
    known: jax.Array  # [B, T, W] what is known in advance of each step; W = 0: nothing

    @classmethod
    def complete(cls, x: jax.Array, known: jax.Array | None = None) -> Self:
        """Sequences `[B, T, D]` in which nothing is missing, and what is known of them."""
        batch, length, _ = x.shape
        known = jnp.zeros((batch, length, 0)) if known is None else known
        return cls(x, jnp.ones(x.shape, bool), jnp.zeros((batch, 0)), known)

    @classmethod
    def of(cls, x: jax.Array, known: jax.Array | None = None, end: int | None = None) -> Self:
        """`complete`; with the column `end`, which is 1 at a sequence's last step, what comes after
        it is 0 and does not count. What reaches step T ends there, with certainty."""
        batch = cls.complete(x, known)
        if end is None:
            return batch
        there = still_there(x, end)
        last = (np.arange(x.shape[1]) == x.shape[1] - 1)[None, :, None]
        certain = last & (np.arange(x.shape[2]) == end)[None, None]
        values = jnp.where(certain, 1.0, x)
        mask = there[..., None] & ~certain
        return replace(batch, x=jnp.where(there[..., None], values, 0.0), mask=mask)

    @property
    def there(self) -> jax.Array:
        """Which steps count, [B, T] bool: those with a value in any column."""
        return jnp.any(self.mask, axis=-1)

    @property
    def known_if_any(self) -> jax.Array | None:
        """`known`, None where W = 0: programs without it have no operation for it."""
        return self.known if self.known.shape[-1] else None

    def take(self, rows: Any) -> Self:
        """Some of the sequences: a slice or indices."""
        return jax.tree.map(lambda leaf: leaf[rows], self)

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def length(self) -> int:
        """T."""
        return self.x.shape[1]

    @property
    def known_parts(self) -> list[jax.Array]:
        """`known` as a list of what there is of it, for concatenation."""
        return [self.known] if self.known.shape[-1] else []


def still_there(x: jax.Array, end: int) -> jax.Array:
    """Which steps are not after the end of their sequence, [B, T] bool."""
    is_last = (x[..., end] > 0.5).astype(jnp.int32)
    return jnp.cumsum(is_last, axis=1) - is_last == 0


def join(*batches: Batch) -> Batch:
    """The sequences of all of them, one after the other."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches)


def fewer(size: int, length: int) -> int:
    """How many sequences of `length` steps are looked at together where `size` of LONG would be.

    A long sequence says more, and costs more: steps stay the same, of `LEAST` sequences at least.

    >>> fewer(64, 24), fewer(64, 512), fewer(1024, 2048), fewer(64, 10_000), fewer(4, 2000)
    (64, 32, 128, 8, 4)
    """
    return size if length <= LONG else min(size, max(LEAST, size * LONG // length))


def in_blocks(function: Callable[[Batch], jax.Array], batch: Batch) -> jax.Array:
    """`function(batch)` `[N, ...]`, some sequences at a time: memory is flat in N.

    The last block is filled up with sequences of zeros in which nothing counts.
    """
    size = max(1, STEPS_AT_ONCE // batch.length)
    if len(batch) <= size:
        return function(batch)
    blocks = -(-len(batch) // size)

    def cut(leaf: jax.Array) -> jax.Array:
        padding = ((0, blocks * size - len(batch)), *((0, 0),) * (leaf.ndim - 1))
        return jnp.pad(leaf, padding).reshape(blocks, size, *leaf.shape[1:])

    found = lax.map(function, jax.tree.map(cut, batch))
    return found.reshape(blocks * size, *found.shape[2:])[: len(batch)]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Parts:
    """The data of a run, on the device."""

    train: Batch  # [N, ...]
    validation: Batch  # [N, ...]
    blocks: jax.Array  # [N] int32: which independent block each validation sequence belongs to


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LSTMState:
    """State of the LSTM, layers side by side."""

    h: jax.Array  # [..., H]
    c: jax.Array  # [..., H]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prefixes:
    """Sequences and the policy's states inside them: where continuations start."""

    x: jax.Array  # [B, T, D]
    states: LSTMState  # [T, B, H]: have read x_1 .. x_{t-1}
    inputs: jax.Array  # [T, B, U]: what the policy reads next, x_t and its innovation


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that changes in training, and the constants of both networks."""

    policy: Params  # the policy that is trained
    policy_opt: Any
    ema: Params  # exponential moving average of its weights
    best: Params  # the best EMA so far: what is sampled from (`selection`)
    best_nll: jax.Array  # [] its validation loss, nats a step
    pretrained_nll: jax.Array  # [] the same when adversarial training began; -inf: broken down
    kept_round: jax.Array  # [] the round that `best` is of
    stale_epochs: jax.Array  # [] epochs of pretraining since the likeliest
    chosen: jax.Array  # [] bool: of several runs, the one whose policy samples
    rollout: Params  # the rollout policy; in pretraining the likeliest EMA so far
    discriminator: Params
    discriminator_opt: Any
    kept_discriminator: Any  # both, as unseen sequences liked them best; (): not asked
    policy_constants: Params  # the linear baseline
    discriminator_constants: Params  # standard deviations of first differences
    epoch: jax.Array  # [] units done of each phase
    dis_epoch: jax.Array  # []
    round: jax.Array  # []


def num_params(params: Params) -> int:
    """How many numbers the parameters hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def run_of(state: TrainState, i: int) -> TrainState:
    """The state of the i-th of several runs, or of the only one."""
    return state if state.best_nll.ndim == 0 else _row(state, jnp.array(i))


@jax.jit
def _row(state: TrainState, i: jax.Array) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[i], state)
