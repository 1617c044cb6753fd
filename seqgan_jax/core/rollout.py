"""Free-running samples, Monte Carlo continuations of every prefix, and their rewards.

Schedules take their noise as an array, so that two of them can be fed the same numbers; `sample`
and `q_values` consume a key.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core import noise, parallel
from seqgan_jax.core.networks import LSTMPolicy, State

Carry = tuple[State, jax.Array]  # the policy's state, and what it reads next


def _advance(
    policy: LSTMPolicy, temperature: float | jax.Array
) -> Callable[[Carry, jax.Array], tuple[Carry, jax.Array]]:
    """The body of every sampling scan: one step of all lanes from noise `[..., D]`."""

    def body(carry: Carry, noise: jax.Array) -> tuple[Carry, jax.Array]:
        state, law = policy.step(*carry, temperature)
        x, e = law.sample(noise)
        return (state, jnp.concatenate([x, e], axis=-1)), x

    return body


def sample_from_noise(
    policy: LSTMPolicy, noise_TBD: jax.Array, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """Free-running sequences `x_BTD` from standard normal noise; differentiable in the policy.

    The last axis of the noise has `policy.noise_size` numbers: D of a Gaussian, 2 D of other laws.
    """

    state, law = policy.first_step(noise_TBD.shape[1], temperature)
    x_BD, e_BD = law.sample(noise_TBD[0])
    carry = (state, jnp.concatenate([x_BD, e_BD], axis=-1))
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
    noise_TBD = parallel.spread(noise.normal(key, (length, batch, policy.noise_size)), 1)
    return sample_from_noise(policy, noise_TBD, temperature)


def num_lanes(length: int, every: int = 1) -> int:
    """Lanes of the folded schedule: K = J // 2 for J = ceil(T / every) Q values."""
    return -(-length // every) // 2


def prefix_lengths(length: int, every: int = 1) -> np.ndarray:
    """The prefixes that are continued, `p_P`: every, 2 every, .. below T.

    >>> prefix_lengths(10, 3).tolist(), prefix_lengths(4).tolist()
    ([3, 6, 9], [1, 2, 3])
    """
    return np.arange(every, length, every)


def folded_schedule(length: int, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Where prefix p's value at position t is made: scan step `s_PT` and lane `k_P`.

    A prefix of p values needs T - p more. With every = 1: lane k = p - 1 (p <= T // 2) makes those
    of prefix p in steps 0 .. T-p-1, then those of prefix T - p in steps T-p .. T-1: T steps for
    every lane, and (T - 1) / 2 of its T // 2 lanes useful. In general the j-th of J - 1 prefixes
    shares a lane with the (J - j)-th. Entries of `s_PT` at t < p are meaningless (0).

    >>> steps, lanes = folded_schedule(4)
    >>> lanes.tolist(), steps.tolist()
    ([0, 1, 0], [[0, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 3]])
    """
    blocks = -(-length // every)
    j_P = np.arange(1, blocks)[:, None]
    positions_T = np.arange(length)[None]
    first = j_P <= blocks // 2
    lanes_P = np.where(first, j_P, blocks - j_P)[:, 0] - 1
    shift = blocks * every - length  # 0 where `every` divides T
    steps_PT = np.where(first, positions_T - every * j_P, positions_T - shift)
    return np.where(positions_T < every * j_P, 0, steps_PT), lanes_P


class Prefixes(NamedTuple):
    """Sequences, and the policy's states inside them: where continuations start."""

    x_BTD: jax.Array
    states: State  # h_TBH, c_TBH that have read x_1 .. x_{t-1}
    u_TBI: jax.Array  # what the policy reads next: x_t and its innovation

    def carry(self, rows: slice | int) -> Carry:
        """Where scans over steps start: after x_1 .. x_t for the t - 1 in `rows`."""
        return (self.states[0][rows], self.states[1][rows]), self.u_TBI[rows]


def prefixes(policy: LSTMPolicy, x_BTD: jax.Array) -> Prefixes:
    """States after every prefix, by one teacher-forced pass: they do not depend on the rollout."""
    states, u_TBI, _ = policy.teacher_forced(x_BTD)
    return Prefixes(x_BTD, states, u_TBI)


def rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TBKD: jax.Array,
    temperature: float | jax.Array = 1.0,
    every: int = 1,
) -> jax.Array:
    """One stochastic continuation of every prefix of every sequence (Yu et al. 2017, section 3.1).

    The folded schedule: T scan steps over K B lanes. For N rollouts, vmap or map over the noise.

    Args:
      policy: the rollout policy.
      given: sequences whose prefixes are continued, with its states.
      noise_TBKD: standard normal, indexed by scan step and lane (`folded_schedule`); at least one
        lane.
      temperature: of the rollout policy.
      every: the prefixes of `prefix_lengths(T, every)` are continued.

    Returns:
      `x_BPTD`, whole sequences: `[b, j]` begins with the first `prefix_lengths(T, every)[j]` values
      of `x_BTD[b]`.
    """
    length, batch, lanes, _ = noise_TBKD.shape

    def flat(a: jax.Array) -> jax.Array:  # the lanes side by side: matrix products want two axes
        return a.reshape(*a.shape[:-3], batch * lanes, a.shape[-1])

    def with_lane(all_L: jax.Array, one: jax.Array, lane: jax.Array) -> jax.Array:
        apart = all_L.reshape(batch, lanes, -1)
        return flat(lax.dynamic_update_index_in_dim(apart, one, lane, 1))

    # Lane k starts after prefix every (k + 1): its state has read all of it but the last value.
    carry = given.carry(slice(every - 1, every * lanes, every))
    carry = jax.tree.map(lambda a: flat(jnp.swapaxes(a, 0, 1)), carry)
    noise_TLD = flat(noise_TBKD)
    advance = _advance(policy, temperature)

    def restart(carry: Carry, new: tuple[jax.Array, jax.Array, Carry]) -> tuple[Carry, jax.Array]:
        noise_ELD, lane, start = new
        carry = jax.tree.map(partial(with_lane, lane=lane), carry, start)
        if every == 1:
            carry, x_LD = advance(carry, noise_ELD[0])
            return carry, x_LD[None]
        return lax.scan(advance, carry, noise_ELD)

    # No lane is free before step T - every K; from there on one lane each `every` steps, the last
    # one first.
    half = length - every * lanes
    carry, first = lax.scan(advance, carry, noise_TLD[:half])
    blocks = -(-length // every)
    begin = every * (blocks - lanes) - 1
    starts = given.carry(slice(begin, begin + every * (lanes - 1) + 1, every))
    noise_KELD = noise_TLD[half:].reshape(lanes, every, batch * lanes, -1)
    _, second = lax.scan(restart, carry, (noise_KELD, jnp.arange(lanes - 1, -1, -1), starts))
    made_TLD = jnp.concatenate([first, second.reshape(-1, *first.shape[1:])])
    return _unfold(made_TLD.reshape(length, batch, lanes, -1), given.x_BTD, every)


def _unfold(made_TBKD: jax.Array, x_BTD: jax.Array, every: int) -> jax.Array:
    """Values by scan step and lane to whole sequences by prefix, by copies (a gather is slow)."""
    length, batch, lanes, features = made_TBKD.shape
    blocks = -(-length // every)
    made_BKTD = jnp.transpose(made_TBKD, (1, 2, 0, 3))
    # The first prefix of a lane: lane k's values belong `every` (k + 1) places later. Rows `every`
    # longer, read as rows of T from `every` places earlier, are shifted so; what spills into the
    # next row is inside its prefix.
    skewed = jnp.pad(made_BKTD, ((0, 0), (0, 0), (0, every), (0, 0)))
    skewed = skewed.reshape(batch, lanes * (length + every), features)
    skewed = jnp.pad(skewed, ((0, 0), (every, 0), (0, 0)))[:, : lanes * length]
    # The second prefix of a lane: in its place already where `every` divides T.
    others = made_BKTD[:, : blocks - 1 - lanes][:, ::-1]
    if shift := blocks * every - length:
        others = jnp.pad(others[:, :, : length - shift], ((0, 0), (0, 0), (shift, 0), (0, 0)))
    x_BPTD = jnp.concatenate([skewed.reshape(made_BKTD.shape), others], axis=1)
    is_prefix_PT = np.arange(length)[None] < prefix_lengths(length, every)[:, None]
    return jnp.where(is_prefix_PT[None, :, :, None], x_BTD[:, None], x_BPTD)


def masked_rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TBKD: jax.Array,
    temperature: float | jax.Array = 1.0,
    every: int = 1,
) -> jax.Array:
    """The same as `rollouts` by the plain schedule, at twice the work: its oracle in tests.

    A lane for every prefix; each step keeps the given value while it is inside the prefix.
    """
    length, batch, _, _ = noise_TBKD.shape
    steps_PT, lanes_P = folded_schedule(length, every)
    noise_PTBD = noise_TBKD[steps_PT, :, lanes_P[:, None]]

    def one_lane(prefix: jax.Array, noise_TBD: jax.Array) -> jax.Array:
        def body(
            carry: Carry, inputs: tuple[jax.Array, jax.Array, jax.Array]
        ) -> tuple[Carry, jax.Array]:
            t, given_BI, noise_BD = inputs
            state, law = policy.step(*carry, temperature)
            drawn_BI = jnp.concatenate(law.sample(noise_BD), axis=-1)
            u_BI = jnp.where(t < prefix, given_BI, drawn_BI)
            return (state, u_BI), u_BI[:, : policy.features]

        state, _ = policy.first_step(batch)
        later = (jnp.arange(1, length), given.u_TBI[1:], noise_TBD[1:])
        _, x_TBD = lax.scan(body, (state, given.u_TBI[0]), later)
        return jnp.concatenate([given.x_BTD[:, :1], jnp.swapaxes(x_TBD, 0, 1)], axis=1)

    return jax.vmap(one_lane, out_axes=1)(jnp.array(prefix_lengths(length, every)), noise_PTBD)


# Lanes advanced, and values scored, in one go where not all are: enough to keep both cores at work,
# few enough for their caches.
LANES_AT_ONCE, SCORED_AT_ONCE = 6_500, 25_000


def at_once(asked: int, num_rollouts: int, batch: int, length: int, every: int = 1) -> int:
    """How many of N rollouts are made in one go, a divisor of N.

    `asked` at most; where that is 0, all on a GPU and what has `LANES_AT_ONCE` lanes on a CPU.
    """
    most = asked or num_rollouts
    if not asked and parallel.on_cpu():
        most = LANES_AT_ONCE // (batch * max(1, num_lanes(length, every)))
    return _divisor(num_rollouts, most)


def _divisor(number: int, most: int) -> int:
    """The largest one up to `most`: equal pieces, since a rest would be compiled a second time."""
    return max(n for n in range(1, min(max(1, most), number) + 1) if number % n == 0)


def _scored(
    reward: Callable[[jax.Array], jax.Array], x_BPTD: jax.Array, in_pieces: bool
) -> jax.Array:
    """Rewards `[B, P]`; in pieces of some sequences' prefixes, so that memory stays bounded."""
    batch, number, length, features = x_BPTD.shape
    size = _divisor(batch, SCORED_AT_ONCE // (number * length)) if in_pieces else batch
    if size == batch:
        return reward(x_BPTD.reshape(-1, length, features)).reshape(batch, number)
    pieces = x_BPTD.reshape(batch // size, size * number, length, features)
    return lax.map(reward, pieces).reshape(batch, number)


def q_values(
    policy: LSTMPolicy,
    reward: Callable[[jax.Array], jax.Array],
    x_BTD: jax.Array,
    key: jax.Array,
    num_rollouts: int,
    asked: int = 0,
    every: int = 1,
) -> jax.Array:
    """Q_t = mean reward of N rollouts that begin with x_1 .. x_t; at t = T the reward itself.

    Yu et al. 2017, equation 4; for t = every, 2 every, .. and T. `reward` maps [B, T, D] to [B].
    Each rollout has its own key, so that how many are made in one go (`at_once`, from `asked`)
    changes speed and memory only.

    Returns:
      `Q_BJ`, J = ceil(T / every).
    """
    batch, length, _ = x_BTD.shape
    lanes = num_lanes(length, every)
    if lanes == 0:
        return reward(x_BTD)[:, None]
    given = prefixes(policy, x_BTD)

    def one(key: jax.Array) -> jax.Array:
        shape = (length, batch, lanes, policy.noise_size)
        noise_TBKD = parallel.spread(noise.normal(key, shape), 1)
        return rollouts(policy, given, noise_TBKD, every=every)

    number = at_once(asked, num_rollouts, batch, length, every)
    in_pieces = number == 1 or parallel.on_cpu()
    score = partial(_scored, reward, in_pieces=in_pieces)

    def some(keys_M: jax.Array) -> jax.Array:
        x_MBPTD = jax.vmap(one)(keys_M)
        return lax.map(score, x_MBPTD) if in_pieces else jax.vmap(score)(x_MBPTD)

    keys = jax.random.split(key, num_rollouts).reshape(-1, number)
    rewards_NBP = lax.map(some, keys).reshape(num_rollouts, batch, -1)
    return jnp.concatenate([rewards_NBP.mean(axis=0), reward(x_BTD)[:, None]], axis=1)


def advantages(q_BJ: jax.Array) -> jax.Array:
    """A_j = Q_j - Q_{j-1}: Q of the prefix before x_t estimates the value of that state.

    The rollouts from x_<t do not depend on x_t, so the baseline leaves the gradient unbiased. At
    the first step it is the mean of the other sequences' Q_1. Where Q is known every few steps
    only, all steps of a block share its advantage (`over_steps`): Q at the block's end follows
    each of them, Q at its start none.
    """
    batch = q_BJ.shape[0]
    first_B = q_BJ[:, 0]
    others_B = (jnp.sum(first_B) - first_B) / max(batch - 1, 1)
    return q_BJ - jnp.concatenate([others_B[:, None], q_BJ[:, :-1]], axis=1)


def over_steps(a_BJ: jax.Array, length: int, every: int) -> jax.Array:
    """`A_BT`: each block's value at all of its `every` steps; the last block may be shorter.

    >>> over_steps(jnp.array([[1.0, 2.0]]), 5, 3).tolist()
    [[1.0, 1.0, 1.0, 2.0, 2.0]]
    """
    return jnp.repeat(a_BJ, every, axis=1)[:, :length]
