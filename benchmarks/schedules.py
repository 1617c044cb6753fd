"""The masked schedule of rollouts: the plain one, whose samples the folded one must give.

Shapes beside those of `seqgan_jax.core.sampling`: J prefixes, L lanes, P numbers of noise a step.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.batch import LSTMState, Prefixes
from seqgan_jax.core.policy import LSTMPolicy
from seqgan_jax.core.sampling import prefix_lengths


def folded_schedule(length: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Where `sampling.rollouts` makes the value of prefix j at position t: scan step and lane.

    With every = 1 lane l - 1 makes the values of prefix l in steps 0 .. T-l-1, then those of prefix
    T - l. Entries at positions inside a prefix are meaningless (0).

    Returns:
      Scan steps `[J, T]`, lanes `[J]`.

    >>> steps, lanes = folded_schedule(4)
    >>> lanes.tolist(), steps.tolist()
    ([0, 1, 0], [[0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 3]])
    """
    blocks = -(-length // every)
    j_J = np.arange(1, blocks)[:, None]
    positions_T = np.arange(length)[None]
    first = j_J <= blocks // 2
    lanes_J = np.where(first, j_J, blocks - j_J)[:, 0] - 1
    shift = blocks * every - length  # 0 where `every` divides T
    steps_JT = np.where(first, positions_T - every * j_J, positions_T - shift)
    return np.where(positions_T < every * j_J, 0, steps_JT), lanes_J


def masked_rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TBLP: jax.Array,
    temperature: float | jax.Array = 1.0,
    every: int = 1,
) -> jax.Array:
    """The same as `sampling.rollouts` from the same noise, at twice the work.

    A lane for every prefix; each step keeps the given value while it is inside the prefix.
    """
    length, batch, _, _ = noise_TBLP.shape
    steps_JT, lanes_J = folded_schedule(length, every)
    noise_JTBP = noise_TBLP[steps_JT, :, lanes_J[:, None]]

    def one_lane(prefix: jax.Array, noise_TBP: jax.Array) -> jax.Array:
        def body(carry: tuple[LSTMState, jax.Array], inputs: Any) -> Any:
            t, given_BU, noise_BP = inputs
            state, step = policy.step(*carry, temperature)
            drawn_BU = policy.next_inputs(carry[1], *step.sample(noise_BP))
            read_BU = jnp.where(t < prefix, given_BU, drawn_BU)
            return (state, read_BU), read_BU[:, : policy.features]

        state, _ = policy.begin(batch)
        later = (jnp.arange(1, length), given.inputs[1:], noise_TBP[1:])
        _, x_TBD = lax.scan(body, (state, given.inputs[0]), later)
        return jnp.concatenate([given.x[:, :1], jnp.swapaxes(x_TBD, 0, 1)], axis=1)

    return jax.vmap(one_lane, out_axes=1)(jnp.array(prefix_lengths(length, every)), noise_JTBP)
