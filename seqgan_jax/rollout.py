"""Free-running samples, Monte Carlo continuations of every prefix, and their rewards.

Every function takes its noise as an array, so that two schedules can be fed the same numbers;
only `sample` consumes a key.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.networks import LSTMPolicy


def sample_from_noise(
    policy: LSTMPolicy, noise_TBD: jax.Array, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """Free-running sequences `x_BTD` from standard normal noise; differentiable in the policy."""

    def body(
        carry: tuple[jax.Array, jax.Array], noise_BD: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hc_2BH, law = policy.step(*carry, temperature)
        x_BD, e_BD = law.sample(noise_BD)
        return (hc_2BH, jnp.concatenate([x_BD, e_BD], axis=-1)), x_BD

    hc_2BH, law = policy.first_step(noise_TBD.shape[1], temperature)
    x_BD, e_BD = law.sample(noise_TBD[0])
    carry = (hc_2BH, jnp.concatenate([x_BD, e_BD], axis=-1))
    _, later = lax.scan(body, carry, noise_TBD[1:])
    return jnp.swapaxes(jnp.concatenate([x_BD[None], later]), 0, 1)


def sample(
    policy: LSTMPolicy,
    key: jax.Array,
    batch: int,
    length: int,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """`batch` free-running sequences `x_BTD`; consumes `key`."""
    noise_TBD = jax.random.normal(key, (length, batch, policy.features))
    return sample_from_noise(policy, noise_TBD, temperature)


def num_lanes(length: int) -> int:
    """Lanes of the folded schedule: K = T // 2."""
    return length // 2


def folded_schedule(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Where prefix p's value at position t is made: scan step `s_PT` and lane `k_P`.

    A prefix of p values needs T - p more. Lane k = p - 1 (p <= T // 2) makes those of prefix p in
    steps 0 .. T-p-1, then those of prefix T - p in steps T-p .. T-1: T steps for every lane, and
    (T - 1) / 2 of its T // 2 lanes useful. Entries of `s_PT` at t < p are meaningless (0).

    >>> steps, lanes = folded_schedule(4)
    >>> lanes.tolist(), steps.tolist()
    ([0, 1, 0], [[0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 3]])
    """
    prefixes_P = np.arange(1, length)[:, None]
    positions_T = np.arange(length)[None]
    first = prefixes_P <= num_lanes(length)
    lanes_P = np.where(first, prefixes_P, length - prefixes_P)[:, 0] - 1
    steps_PT = np.where(first, positions_T - prefixes_P, positions_T)
    return np.where(positions_T < prefixes_P, 0, steps_PT), lanes_P


def rollouts(
    policy: LSTMPolicy,
    x_BTD: jax.Array,
    noise_TKNBD: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """N stochastic continuations of every prefix of every sequence (Yu et al. 2017, section 3.1).

    The folded schedule: T scan steps over K N B lanes. The state after a prefix does not depend
    on the rollout, so one teacher-forced pass gives every state that a lane starts from.

    Args:
      policy: the rollout policy.
      x_BTD: sequences whose prefixes of 1 .. T-1 values are continued.
      noise_TKNBD: standard normal, indexed by scan step and lane (`folded_schedule`).
      temperature: of the rollout policy.

    Returns:
      `x_PNBTD`, whole sequences: `[p - 1, n, b]` begins with `x_BTD[b, :p]`.
    """
    length, lanes, num_rollouts, batch, features = noise_TKNBD.shape
    hc_T2BH, u_TBI, _ = policy.teacher_forced(x_BTD)
    x_TBD = jnp.swapaxes(x_BTD, 0, 1)
    hidden, inputs = hc_T2BH.shape[-1], u_TBI.shape[-1]
    width = num_rollouts * batch

    # Lane k starts after prefix k + 1: the state that has read all of it but its last value.
    hc_2KNBH = jnp.broadcast_to(
        jnp.swapaxes(hc_T2BH[:lanes], 0, 1)[:, :, None], (2, lanes, num_rollouts, batch, hidden)
    )
    u_KNBI = jnp.broadcast_to(u_TBI[:lanes, None], (lanes, num_rollouts, batch, inputs))
    noise_TLD = noise_TKNBD.reshape(length, lanes * width, features)

    def advance(
        carry: tuple[jax.Array, jax.Array], noise_LD: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hc_2LH, law = policy.step(*carry, temperature)
        x_LD, e_LD = law.sample(noise_LD)
        return (hc_2LH, jnp.concatenate([x_LD, e_LD], axis=-1)), x_LD

    def restart(
        carry: tuple[jax.Array, jax.Array], given: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        noise_LD, lane, hc_2BH, u_BI = given
        new_hc = jnp.broadcast_to(hc_2BH[:, None], (2, num_rollouts, batch, hidden))
        new_u = jnp.broadcast_to(u_BI[None], (num_rollouts, batch, inputs))
        hc_2LH = lax.dynamic_update_slice_in_dim(
            carry[0], new_hc.reshape(2, width, hidden), lane * width, axis=1
        )
        u_LI = lax.dynamic_update_slice_in_dim(
            carry[1], new_u.reshape(width, inputs), lane * width, axis=0
        )
        return advance((hc_2LH, u_LI), noise_LD)

    carry = (hc_2KNBH.reshape(2, lanes * width, hidden), u_KNBI.reshape(lanes * width, inputs))
    # No lane is free before step T - K; from there on one lane a step, the last one first.
    half = length - lanes
    carry, first = lax.scan(advance, carry, noise_TLD[:half])
    _, second = lax.scan(
        restart,
        carry,
        (
            noise_TLD[half:],
            jnp.arange(lanes - 1, -1, -1),
            hc_T2BH[half - 1 : length - 1],
            u_TBI[half - 1 : length - 1],
        ),
    )
    made_TKNBD = jnp.concatenate([first, second]).reshape(noise_TKNBD.shape)
    steps_PT, lanes_P = folded_schedule(length)
    made_PTNBD = made_TKNBD[steps_PT, lanes_P[:, None]]
    is_prefix_PT = np.arange(length)[None] < np.arange(1, length)[:, None]
    x_PTNBD = jnp.where(is_prefix_PT[:, :, None, None, None], x_TBD[None, :, None], made_PTNBD)
    return jnp.transpose(x_PTNBD, (0, 2, 3, 1, 4))


def masked_rollouts(
    policy: LSTMPolicy,
    x_BTD: jax.Array,
    noise_TKNBD: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """The same as `rollouts` by the plain schedule, at twice the work: its oracle in tests.

    A lane for every prefix; each step keeps the given value while it is inside the prefix.
    """
    length, _, _, batch, _ = noise_TKNBD.shape
    steps_PT, lanes_P = folded_schedule(length)
    noise_TPNBD = jnp.swapaxes(noise_TKNBD[steps_PT, lanes_P[:, None]], 0, 1)

    _, u_TBI, _ = policy.teacher_forced(x_BTD)

    def one_lane(prefix: jax.Array, noise_TBD: jax.Array) -> jax.Array:
        def body(
            carry: tuple[jax.Array, jax.Array], inputs: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            t, given_BI, noise_BD = inputs
            hc_2BH, law = policy.step(*carry, temperature)
            drawn_BI = jnp.concatenate(law.sample(noise_BD), axis=-1)
            u_BI = jnp.where(t < prefix, given_BI, drawn_BI)
            return (hc_2BH, u_BI), u_BI[:, : policy.features]

        hc_2BH, _ = policy.first_step(batch)
        later = (jnp.arange(1, length), u_TBI[1:], noise_TBD[1:])
        _, x_TBD = lax.scan(body, (hc_2BH, u_TBI[0]), later)
        return jnp.concatenate([x_BTD[:, :1], jnp.swapaxes(x_TBD, 0, 1)], axis=1)

    over_rollouts = jax.vmap(one_lane, in_axes=(None, 1))
    return jax.vmap(over_rollouts, in_axes=(0, 1))(jnp.arange(1, length), noise_TPNBD)


def q_values(
    reward: Callable[[jax.Array], jax.Array],
    x_BTD: jax.Array,
    x_PNBTD: jax.Array,
    batch_size: int = 0,
) -> jax.Array:
    """Q_t = mean reward of the rollouts that begin with x_1 .. x_t; at t = T the reward itself.

    Yu et al. 2017, equation 4. `reward` maps [B, T, D] to [B]; it is called on at most
    `batch_size` sequences at a time where memory is short (0: on all at once).

    Returns:
      `Q_BT`.
    """
    prefixes, num_rollouts, batch, length, features = x_PNBTD.shape
    flat = x_PNBTD.reshape(prefixes * num_rollouts * batch, length, features)
    flat = jnp.concatenate([flat, x_BTD])
    if 0 < batch_size < flat.shape[0]:
        rewards = lax.map(lambda x: reward(x[None])[0], flat, batch_size=batch_size)
    else:
        rewards = reward(flat)
    inside = rewards[:-batch].reshape(prefixes, num_rollouts, batch).mean(axis=1)
    return jnp.concatenate([inside, rewards[-batch:][None]]).T


def advantages(q_BT: jax.Array) -> jax.Array:
    """A_t = Q_t - Q_{t-1}: Q of the prefix before x_t estimates the value of that state.

    The rollouts from x_<t do not depend on x_t, so the baseline leaves the gradient unbiased. At
    the first step it is the mean of the other sequences' Q_1.
    """
    batch = q_BT.shape[0]
    first_B = q_BT[:, 0]
    others_B = (jnp.sum(first_B) - first_B) / max(batch - 1, 1)
    return q_BT - jnp.concatenate([others_B[:, None], q_BT[:, :-1]], axis=1)
