"""Free-running samples, Monte Carlo continuations of every prefix, and their rewards.

Schedules take their noise as an array, so that two of them can be fed the same numbers; `sample`
and `q_values` consume a key.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.networks import LSTMPolicy

Carry = tuple[jax.Array, jax.Array]  # state, and what the policy reads next


def _advance(
    policy: LSTMPolicy, temperature: float | jax.Array
) -> Callable[[Carry, jax.Array], tuple[Carry, jax.Array]]:
    """The body of every sampling scan: one step of all lanes from noise `[lanes, D]`."""

    def body(carry: Carry, noise_LD: jax.Array) -> tuple[Carry, jax.Array]:
        hc_2LH, law = policy.step(*carry, temperature)
        x_LD, e_LD = law.sample(noise_LD)
        return (hc_2LH, jnp.concatenate([x_LD, e_LD], axis=-1)), x_LD

    return body


def sample_from_noise(
    policy: LSTMPolicy, noise_TBD: jax.Array, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """Free-running sequences `x_BTD` from standard normal noise; differentiable in the policy."""

    hc_2BH, law = policy.first_step(noise_TBD.shape[1], temperature)
    x_BD, e_BD = law.sample(noise_TBD[0])
    carry = (hc_2BH, jnp.concatenate([x_BD, e_BD], axis=-1))
    _, later = lax.scan(_advance(policy, temperature), carry, noise_TBD[1:])
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


class Prefixes(NamedTuple):
    """Sequences, and the policy's states inside them: where continuations start."""

    x_BTD: jax.Array
    hc_T2BH: jax.Array  # state that has read x_1 .. x_{t-1}
    u_TBI: jax.Array  # what the policy reads next: x_t and its innovation


def prefixes(policy: LSTMPolicy, x_BTD: jax.Array) -> Prefixes:
    """States after every prefix, by one teacher-forced pass: they do not depend on the rollout."""
    hc_T2BH, u_TBI, _ = policy.teacher_forced(x_BTD)
    return Prefixes(x_BTD, hc_T2BH, u_TBI)


def rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TKBD: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """One stochastic continuation of every prefix of every sequence (Yu et al. 2017, section 3.1).

    The folded schedule: T scan steps over K B lanes. For N rollouts, vmap or map over the noise.

    Args:
      policy: the rollout policy.
      given: sequences whose prefixes of 1 .. T-1 values are continued, with its states.
      noise_TKBD: standard normal, indexed by scan step and lane (`folded_schedule`).
      temperature: of the rollout policy.

    Returns:
      `x_BPTD`, whole sequences: `[b, p - 1]` begins with `x_BTD[b, :p]`.
    """
    length, lanes, batch, features = noise_TKBD.shape
    hidden, inputs = given.hc_T2BH.shape[-1], given.u_TBI.shape[-1]
    # Lane k starts after prefix k + 1: the state that has read all of it but its last value.
    carry = (
        jnp.swapaxes(given.hc_T2BH[:lanes], 0, 1).reshape(2, lanes * batch, hidden),
        given.u_TBI[:lanes].reshape(lanes * batch, inputs),
    )
    noise_TLD = noise_TKBD.reshape(length, lanes * batch, features)

    advance = _advance(policy, temperature)

    def restart(
        carry: tuple[jax.Array, jax.Array], new: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        noise_LD, lane, hc_2BH, u_BI = new
        hc_2LH = lax.dynamic_update_slice_in_dim(carry[0], hc_2BH, lane * batch, axis=1)
        u_LI = lax.dynamic_update_slice_in_dim(carry[1], u_BI, lane * batch, axis=0)
        return advance((hc_2LH, u_LI), noise_LD)

    # No lane is free before step T - K; from there on one lane a step, the last one first.
    half = length - lanes
    carry, first = lax.scan(advance, carry, noise_TLD[:half])
    starts = (given.hc_T2BH[half - 1 : length - 1], given.u_TBI[half - 1 : length - 1])
    _, second = lax.scan(restart, carry, (noise_TLD[half:], jnp.arange(lanes - 1, -1, -1), *starts))
    return _unfold(jnp.concatenate([first, second]).reshape(noise_TKBD.shape), given.x_BTD)


def _unfold(made_TKBD: jax.Array, x_BTD: jax.Array) -> jax.Array:
    """Values by scan step and lane to whole sequences by prefix, by copies (a gather is slow)."""
    length, lanes, batch, features = made_TKBD.shape
    made_BKTD = jnp.transpose(made_TKBD, (2, 1, 0, 3))
    # Prefixes up to K: lane k's values belong k + 1 places later. Rows one longer, read as rows of
    # T from one place earlier, are shifted so; what spills into the next row is inside its prefix.
    skewed = jnp.pad(made_BKTD, ((0, 0), (0, 0), (0, 1), (0, 0)))
    skewed = skewed.reshape(batch, lanes * (length + 1), features)
    skewed = jnp.pad(skewed, ((0, 0), (1, 0), (0, 0)))[:, : lanes * length]
    # Prefixes above K: lane T - p - 1, already in its place.
    others = made_BKTD[:, : length - 1 - lanes][:, ::-1]
    x_BPTD = jnp.concatenate([skewed.reshape(made_BKTD.shape), others], axis=1)
    is_prefix_PT = np.arange(length)[None] < np.arange(1, length)[:, None]
    return jnp.where(is_prefix_PT[None, :, :, None], x_BTD[:, None], x_BPTD)


def masked_rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TKBD: jax.Array,
    temperature: float | jax.Array = 1.0,
) -> jax.Array:
    """The same as `rollouts` by the plain schedule, at twice the work: its oracle in tests.

    A lane for every prefix; each step keeps the given value while it is inside the prefix.
    """
    length, _, batch, _ = noise_TKBD.shape
    steps_PT, lanes_P = folded_schedule(length)
    noise_PTBD = noise_TKBD[steps_PT, lanes_P[:, None]]

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
        later = (jnp.arange(1, length), given.u_TBI[1:], noise_TBD[1:])
        _, x_TBD = lax.scan(body, (hc_2BH, given.u_TBI[0]), later)
        return jnp.concatenate([given.x_BTD[:, :1], jnp.swapaxes(x_TBD, 0, 1)], axis=1)

    return jax.vmap(one_lane, out_axes=1)(jnp.arange(1, length), noise_PTBD)


def q_values(
    policy: LSTMPolicy,
    reward: Callable[[jax.Array], jax.Array],
    x_BTD: jax.Array,
    key: jax.Array,
    num_rollouts: int,
    at_once: int,
) -> jax.Array:
    """Q_t = mean reward of N rollouts that begin with x_1 .. x_t; at t = T the reward itself.

    Yu et al. 2017, equation 4. `reward` maps [B, T, D] to [B]. Each rollout has its own key, so
    that `at_once`, how many are made and scored in one go, changes speed and memory only.

    Returns:
      `Q_BT`.
    """
    batch, length, features = x_BTD.shape
    given = prefixes(policy, x_BTD)

    def one(key: jax.Array) -> jax.Array:
        noise_TKBD = jax.random.normal(key, (length, num_lanes(length), batch, features))
        x_BPTD = rollouts(policy, given, noise_TKBD)
        return reward(x_BPTD.reshape(-1, length, features)).reshape(batch, length - 1)

    keys_N = jax.random.split(key, num_rollouts)
    if at_once >= num_rollouts:
        rewards_NBP = jax.vmap(one)(keys_N)
    else:
        rewards_NBP = lax.map(one, keys_N, batch_size=at_once if at_once > 1 else None)
    return jnp.concatenate([rewards_NBP.mean(axis=0), reward(x_BTD)[:, None]], axis=1)


def advantages(q_BT: jax.Array) -> jax.Array:
    """A_t = Q_t - Q_{t-1}: Q of the prefix before x_t estimates the value of that state.

    The rollouts from x_<t do not depend on x_t, so the baseline leaves the gradient unbiased. At
    the first step it is the mean of the other sequences' Q_1.
    """
    batch = q_BT.shape[0]
    first_B = q_BT[:, 0]
    others_B = (jnp.sum(first_B) - first_B) / max(batch - 1, 1)
    return q_BT - jnp.concatenate([others_B[:, None], q_BT[:, :-1]], axis=1)
