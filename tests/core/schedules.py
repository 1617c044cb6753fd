"""The plain schedule of rollouts, at twice the work: the oracle of `sampling.rollouts`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.sampling import prefix_lengths


def folded_schedule(length, every=1):
    """Scan step `[J, T]` and lane `[J]` at which `rollouts` makes prefix j's value at position t.

    With every = 1 lane l - 1 makes the values of prefix l in steps 0 .. T-l-1, then those of prefix
    T - l. Entries inside a prefix are meaningless (0).

    >>> steps, lanes = folded_schedule(4)
    >>> lanes.tolist(), steps.tolist()
    ([0, 1, 0], [[0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 3]])
    """
    blocks = -(-length // every)
    j = np.arange(1, blocks)[:, None]
    positions = np.arange(length)[None]
    first = j <= blocks // 2
    lanes = np.where(first, j, blocks - j)[:, 0] - 1
    shift = blocks * every - length  # 0 where `every` divides T
    steps = np.where(first, positions - every * j, positions - shift)
    return np.where(positions < every * j, 0, steps), lanes


def masked_rollouts(policy, given, noise_TBLP, temperature=1.0, every=1):
    """A lane for every prefix; each step keeps the given value while it is inside the prefix."""
    length, batch, _, _ = noise_TBLP.shape
    steps, lanes = folded_schedule(length, every)

    def one_lane(prefix, noise_TBP):
        def body(carry, inputs):
            t, given_BU, noise_BP = inputs
            state, step = policy.step(*carry, temperature)
            drawn_BU = jnp.concatenate(step.sample(noise_BP), axis=-1)
            next_BU = jnp.where(t < prefix, given_BU, drawn_BU)
            return (state, next_BU), next_BU[:, : policy.features]

        state, _ = policy.begin(batch)
        later = (jnp.arange(1, length), given.inputs[1:], noise_TBP[1:])
        _, x_TBD = lax.scan(body, (state, given.inputs[0]), later)
        return jnp.concatenate([given.x[:, :1], jnp.swapaxes(x_TBD, 0, 1)], axis=1)

    noise_JTBP = noise_TBLP[steps, :, lanes[:, None]]
    lengths = jnp.array(prefix_lengths(length, every))
    return jax.vmap(one_lane, out_axes=1)(lengths, noise_JTBP)
