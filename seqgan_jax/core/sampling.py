"""Free-running samples, Monte Carlo rollouts of every prefix, and their rewards.

Schedules take their noise as an array, so that two of them can be given the same numbers; `sample`
and `q_values` consume a key.

Shapes beside those of `batch`: J prefixes whose continuations are rolled out, L lanes of a scan, M
rollouts, P numbers of noise a step, E steps between two prefixes.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core import keys, parallel
from seqgan_jax.core.batch import Batch, LSTMState, Prefixes
from seqgan_jax.core.columns.chain import Step
from seqgan_jax.core.columns.mixed_step import Given, MixedStep
from seqgan_jax.core.policy import LSTMPolicy

Carry = tuple[LSTMState, jax.Array]  # the policy's state, and what it reads next
# Of one step: its noise [..., P], and what is known of it [..., W], None where nothing is.
Inputs = tuple[jax.Array, jax.Array | None]
Reward = Callable[[Batch], jax.Array]  # [B] of whole sequences


def _advance(
    policy: LSTMPolicy, temperature: float | jax.Array
) -> Callable[[Carry, Inputs], tuple[Carry, jax.Array]]:
    """The body of every sampling scan: one step of all lanes from noise `[..., P]`."""

    def body(carry: Carry, inputs: Inputs) -> tuple[Carry, jax.Array]:
        noise, known = inputs
        state, step = policy.step(*carry, temperature, known)
        x, read = step.sample(noise)
        return (state, policy.next_inputs(carry[1], x, read)), x

    return body


def sample_from_noise(
    policy: LSTMPolicy,
    noise_TBP: jax.Array,
    temperature: float | jax.Array = 1.0,
    given: Given | None = None,
    known_BTW: jax.Array | None = None,
) -> jax.Array:
    """Free-running sequences `x_BTD` from standard normal noise; differentiable in the policy.

    The last axis of the noise has `policy.num_noise` numbers: D of a Gaussian, 2 D of others.
    `given` are values of the first step, `[B, D]`.
    """
    known = None if known_BTW is None else jnp.swapaxes(known_BTW, 0, 1)
    state, step = policy.begin(noise_TBP.shape[1], temperature, None if known is None else known[0])
    x_BD, read_BR = _first(step, noise_TBP[0], given)
    carry = (state, policy.first_inputs(x_BD, read_BR))
    inputs = (noise_TBP[1:], None if known is None else known[1:])
    _, later = lax.scan(_advance(policy, temperature), carry, inputs)
    return jnp.swapaxes(jnp.concatenate([x_BD[None], later]), 0, 1)


def _first(
    step: Step | MixedStep, noise_BP: jax.Array, given: Given | None
) -> tuple[jax.Array, jax.Array]:
    """A first step, with given values in their places; columns that are given are never plain."""
    return step.sample(noise_BP, given) if isinstance(step, MixedStep) else step.sample(noise_BP)


def sample(
    policy: LSTMPolicy,
    key: jax.Array,
    batch: int,
    length: int,
    temperature: float | jax.Array = 1.0,
    given: Given | None = None,
    known_BTW: jax.Array | None = None,
) -> jax.Array:
    """`batch` free-running sequences `x_BTD`, given values of the first step. Consumes `key`."""
    noise_TBP = parallel.shard(keys.normal(key, (length, batch, policy.num_noise)), 1)
    return sample_from_noise(policy, noise_TBP, temperature, given, known_BTW)


def first_steps(
    policy: LSTMPolicy,
    key: jax.Array,
    given: Given,
    temperature: float | jax.Array = 1.0,
    known_BW: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """First steps `x_BD` with the given values `[B, D]` in their places, and their log weights [B].

        w = prod_{d given} p(x_d | x_<d)

    The others are drawn from prod p(x_d | x_<d); weighted by w they are from p(x | given).
    Consumes `key`.
    """
    batch = given.x.shape[0]
    _, step = policy.begin(batch, temperature, known_BW)
    x_BD, _ = _first(step, keys.normal(key, (batch, policy.num_noise)), given)
    log_p_BD = step.log_prob(x_BD)
    return x_BD, jnp.sum(jnp.where(given.is_given[None], log_p_BD, 0.0), axis=-1)


def _own_noise(policy: LSTMPolicy, keys_L: jax.Array, length: int) -> jax.Array:
    """Noise `[T, L, P]`, each lane's from its own key: the lanes beside it change nothing."""
    draw = jax.vmap(lambda key: keys.normal(key, (length, policy.num_noise)))
    return jnp.swapaxes(draw(keys_L), 0, 1)


def sample_apart(
    policy: LSTMPolicy,
    keys_B: jax.Array,
    length: int,
    temperature: float | jax.Array = 1.0,
    given: Given | None = None,
    known_BTW: jax.Array | None = None,
) -> jax.Array:
    """Free-running sequences `x_BTD`, each from its own key. Consumes `keys_B`."""
    noise_TBP = _own_noise(policy, keys_B, length)
    return sample_from_noise(policy, noise_TBP, temperature, given, known_BTW)


def continuations(
    policy: LSTMPolicy,
    x_BTD: jax.Array,
    lengths_B: jax.Array,
    keys_BM: jax.Array,
    length: int,
    temperature: float | jax.Array = 1.0,
    known: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Draws of pi(x_{t+1} .. x_{t+length} | x_1 .. x_t), the exact conditional law.

    One teacher-forced pass over the given steps, then free-running steps from the state that has
    read them. Consumes `keys_BM`.

    Args:
      policy: whose law it is.
      x_BTD: given steps in scaled units, T at least 1; anything finite after a sequence's end.
      lengths_B: how many steps of each are given, 1 to T.
      keys_BM: a key for each of M futures of each sequence.
      length: of a future.
      temperature: of its steps.
      known: what is known in advance of the given steps `[B, T, W]`, and of those that are drawn
        `[B, length, W]`.

    Returns:
      `[B, M, length, D]`.
    """
    batch, number = keys_BM.shape
    before, after = (None, None) if known is None else known

    def one_more(steps: jax.Array) -> jax.Array:
        """With a step more there is always a later one; what follows an end is not looked at."""
        return jnp.concatenate([steps, steps[:, -1:]], axis=1)

    given = prefixes(policy, one_more(x_BTD), None if before is None else one_more(before))
    ends = lengths_B - 1, jnp.arange(batch)
    carry = jax.tree.map(
        lambda leaf: jnp.repeat(leaf[ends], number, axis=0), (given.states, given.inputs)
    )
    noise_TLP = _own_noise(policy, keys_BM.reshape(-1), length)
    if after is not None:
        after = jnp.swapaxes(jnp.repeat(after, number, axis=0), 0, 1)
    _, x_TLD = lax.scan(_advance(policy, temperature), carry, (noise_TLP, after))
    return jnp.swapaxes(x_TLD, 0, 1).reshape(batch, number, length, -1)


MOST_PREFIXES = 24  # that are continued by default


def spacing(asked: int, length: int) -> int:
    """Steps between two prefixes that are continued; 0 is every second one, of long sequences
    `MOST_PREFIXES` at most.

    >>> spacing(0, 24), spacing(0, 48), spacing(0, 2000), spacing(5, 2000)
    (2, 2, 84, 5)
    """
    return asked or max(2, -(-length // MOST_PREFIXES))


def num_lanes(length: int, every: int = 1) -> int:
    """Lanes of a sequence: half of the ceil(T / every) Q values."""
    return -(-length // every) // 2


def prefix_lengths(length: int, every: int = 1) -> np.ndarray:
    """The prefixes that are continued, `[J]`: every, 2 every, .. below T.

    >>> prefix_lengths(10, 3).tolist(), prefix_lengths(4).tolist()
    ([3, 6, 9], [1, 2, 3])
    """
    return np.arange(every, length, every)


def prefixes(policy: LSTMPolicy, x_BTD: jax.Array, known_BTW: jax.Array | None = None) -> Prefixes:
    """States after every prefix, by one teacher-forced pass: they do not depend on the rollout."""
    return policy.teacher_forced(x_BTD, known_BTW=known_BTW)[0]


def _start(given: Prefixes, rows: slice | int) -> Carry:
    """Where scans over steps start: after x_1 .. x_t for the t - 1 in `rows`."""
    return jax.tree.map(lambda leaf: leaf[rows], (given.states, given.inputs))


def rollouts(
    policy: LSTMPolicy,
    given: Prefixes,
    noise_TBLP: jax.Array,
    temperature: float | jax.Array = 1.0,
    every: int = 1,
    known_BTW: jax.Array | None = None,
) -> jax.Array:
    """One stochastic continuation of every prefix of every sequence (Yu et al. 2017, section 3.1).

    The folded schedule. A prefix of p values needs T - p more: with every = 1 lane l makes those of
    prefix l + 1 in steps 0 .. T-l-2, then those of prefix T - l - 1 in the steps that are left: T
    steps for T // 2 lanes a sequence, all of them useful. In general the j-th of J prefixes shares
    a lane with the (J + 1 - j)-th. For M rollouts, vmap or map over the noise.

    Args:
      policy: the rollout policy.
      given: sequences whose prefixes are continued, with its states.
      noise_TBLP: standard normal, indexed by scan step and lane; at least one lane.
      temperature: of the rollout policy.
      every: the prefixes of `prefix_lengths(T, every)` are continued.
      known_BTW: what is known of the steps of each sequence, and of its continuations.

    Returns:
      `x_BJTD`, whole sequences: `[b, j]` begins with the first `prefix_lengths(T, every)[j]` values
      of sequence b.
    """
    length, batch, lanes, _ = noise_TBLP.shape

    def flat(a: jax.Array) -> jax.Array:  # the lanes side by side: matrix products want two axes
        return a.reshape(*a.shape[:-3], batch * lanes, a.shape[-1])

    def with_lane(all_lanes: jax.Array, one: jax.Array, lane: jax.Array) -> jax.Array:
        apart = all_lanes.reshape(batch, lanes, -1)
        return flat(lax.dynamic_update_index_in_dim(apart, one, lane, 1))

    # Lane l starts after prefix every (l + 1): its state has read all of it but the last value.
    carry = _start(given, slice(every - 1, every * lanes, every))
    carry = jax.tree.map(lambda a: flat(jnp.swapaxes(a, 0, 1)), carry)
    inputs: Inputs = (flat(noise_TBLP), None)
    if known_BTW is not None:
        known_TBLW = jnp.moveaxis(known_BTW[:, scan_times(length, every)], 0, 1)
        inputs = (inputs[0], flat(known_TBLW))
    advance = _advance(policy, temperature)

    def restart(carry: Carry, new: tuple[Inputs, jax.Array, Carry]) -> tuple[Carry, jax.Array]:
        inputs_E, lane, start = new
        carry = jax.tree.map(partial(with_lane, lane=lane), carry, start)
        if every == 1:
            carry, x_LD = advance(carry, jax.tree.map(lambda leaf: leaf[0], inputs_E))
            return carry, x_LD[None]
        return lax.scan(advance, carry, inputs_E)

    # No lane is free before step T - every L; from there on one lane each `every` steps, the last
    # one first.
    half = length - every * lanes
    carry, first = lax.scan(advance, carry, jax.tree.map(lambda leaf: leaf[:half], inputs))
    blocks = -(-length // every)
    begin = every * (blocks - lanes) - 1
    starts = _start(given, slice(begin, begin + every * (lanes - 1) + 1, every))

    def by_restart(leaf: jax.Array) -> jax.Array:
        return leaf[half:].reshape(lanes, every, batch * lanes, -1)

    later = jax.tree.map(by_restart, inputs)
    _, second = lax.scan(restart, carry, (later, jnp.arange(lanes - 1, -1, -1), starts))
    made_TLD = jnp.concatenate([first, second.reshape(-1, *first.shape[1:])])
    return _unfold(made_TLD.reshape(length, batch, lanes, -1), given.x, every)


def scan_times(length: int, every: int = 1) -> np.ndarray:
    """Which step of its sequence each lane draws at each step of the folded schedule, `[T, L]`.

    From 0. Lane l begins after its first prefix, every (l + 1); from its restart on it lies
    ceil(T / every) every - T steps ahead of the scan, and what it draws beyond the end is not used.

    >>> scan_times(5).T.tolist(), scan_times(5, 2).T.tolist()
    ([[1, 2, 3, 4, 4], [2, 3, 4, 3, 4]], [[2, 3, 4, 4, 4]])
    """
    lanes, blocks = num_lanes(length, every), -(-length // every)
    step, lane = np.arange(length)[:, None], np.arange(lanes)[None]
    restart = length - every * (lane + 1)  # of lane l: the last one is free first
    second = np.minimum(step + blocks * every - length, length - 1)
    return np.where(step < restart, step + every * (lane + 1), second)


def _unfold(made_TBLD: jax.Array, x_BTD: jax.Array, every: int) -> jax.Array:
    """Values by scan step and lane to whole sequences by prefix, by copies (a gather is slow)."""
    length, batch, lanes, features = made_TBLD.shape
    blocks = -(-length // every)
    made_BLTD = jnp.transpose(made_TBLD, (1, 2, 0, 3))
    # The first prefix of a lane: lane l's values belong `every` (l + 1) places later. Rows `every`
    # longer, read as rows of T from `every` places earlier, are shifted so; what spills into the
    # next row is inside its prefix.
    skewed = jnp.pad(made_BLTD, ((0, 0), (0, 0), (0, every), (0, 0)))
    skewed = skewed.reshape(batch, lanes * (length + every), features)
    skewed = jnp.pad(skewed, ((0, 0), (every, 0), (0, 0)))[:, : lanes * length]
    # The second prefix of a lane: in its place already where `every` divides T.
    others = made_BLTD[:, : blocks - 1 - lanes][:, ::-1]
    if shift := blocks * every - length:
        others = jnp.pad(others[:, :, : length - shift], ((0, 0), (0, 0), (shift, 0), (0, 0)))
    x_BJTD = jnp.concatenate([skewed.reshape(made_BLTD.shape), others], axis=1)
    is_prefix_JT = np.arange(length)[None] < prefix_lengths(length, every)[:, None]
    return jnp.where(is_prefix_JT[None, :, :, None], x_BTD[:, None], x_BJTD)


# Lanes advanced, and values scored, in one go where not all are: enough to keep both cores at work,
# few enough for their caches.
LANES_AT_ONCE, SCORED_AT_ONCE = 6_500, 25_000


def at_once(asked: int, num_rollouts: int, batch: int, length: int, every: int = 1) -> int:
    """How many of M rollouts are made in one go, a divisor of M.

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
    reward: Reward,
    x_BJTD: jax.Array,
    in_pieces: bool,
    known_BTW: jax.Array | None = None,
    end: int | None = None,
) -> jax.Array:
    """Rewards `[B, J]`; in pieces of some sequences' prefixes, so that memory stays bounded."""
    batch, number, length, features = x_BJTD.shape
    size = _divisor(batch, SCORED_AT_ONCE // (number * length)) if in_pieces else batch
    pieces = x_BJTD.reshape(batch // size, size * number, length, features)

    known = known_BTW
    if known is not None:
        known = known.reshape(batch // size, size, *known.shape[1:])

    def score(piece: tuple[jax.Array, jax.Array | None]) -> jax.Array:
        x_BTD, known_BTW = piece
        if known_BTW is not None:
            known_BTW = jnp.repeat(known_BTW, number, axis=0)
        return reward(Batch.of(x_BTD, known_BTW, end))

    if size == batch:
        return score((pieces[0], known_BTW)).reshape(batch, number)
    rewards = lax.map(score, (pieces, known))
    return rewards.reshape(batch, number)


def q_values(
    policy: LSTMPolicy,
    reward: Reward,
    x_BTD: jax.Array,
    key: jax.Array,
    num_rollouts: int,
    asked: int = 0,
    every: int = 1,
    known_BTW: jax.Array | None = None,
) -> jax.Array:
    """Q_t = mean reward of M rollouts that begin with x_1 .. x_t; at t = T the reward itself.

    Yu et al. 2017, equation 4; for t = every, 2 every, .. and T. Each rollout has its own key, so
    that how many are made in one go (`at_once`, from `asked`) changes speed and memory only.
    Consumes `key`.

    Returns:
      `[B, J + 1]`, J + 1 = ceil(T / every).
    """
    batch, length, _ = x_BTD.shape
    lanes = num_lanes(length, every)
    own_B = reward(Batch.of(x_BTD, known_BTW, policy.end))
    if lanes == 0:
        return own_B[:, None]
    given = prefixes(policy, x_BTD, known_BTW)

    def one(key: jax.Array) -> jax.Array:
        shape = (length, batch, lanes, policy.num_noise)
        noise_TBLP = parallel.shard(keys.normal(key, shape), 1)
        return rollouts(policy, given, noise_TBLP, every=every, known_BTW=known_BTW)

    number = at_once(asked, num_rollouts, batch, length, every)
    in_pieces = number == 1 or parallel.on_cpu()
    score = partial(_scored, reward, in_pieces=in_pieces, known_BTW=known_BTW, end=policy.end)

    def some(keys_M: jax.Array) -> jax.Array:
        x_MBJTD = jax.vmap(one)(keys_M)
        return lax.map(score, x_MBJTD) if in_pieces else jax.vmap(score)(x_MBJTD)

    keys_M = jax.random.split(key, num_rollouts).reshape(-1, number)
    rewards_MBJ = lax.map(some, keys_M).reshape(num_rollouts, batch, -1)
    return jnp.concatenate([rewards_MBJ.mean(axis=0), own_B[:, None]], axis=1)


def advantages(q_BQ: jax.Array) -> jax.Array:
    """A_j = Q_j - Q_{j-1}: Q of the prefix before x_t estimates the value of that state.

    The rollouts from x_<t do not depend on x_t, so the baseline leaves the gradient unbiased. At
    the first step it is the mean of the other sequences' Q_1. Where Q is known every few steps
    only, all steps of a block share its advantage (`over_steps`): Q at the block's end follows
    each of them, Q at its start none.
    """
    batch = q_BQ.shape[0]
    first_B = q_BQ[:, 0]
    others_B = (jnp.sum(first_B) - first_B) / max(batch - 1, 1)
    return q_BQ - jnp.concatenate([others_B[:, None], q_BQ[:, :-1]], axis=1)


def over_steps(a_BQ: jax.Array, length: int, every: int) -> jax.Array:
    """`A_BT`: each block's value at all of its `every` steps; the last block may be shorter.

    >>> over_steps(jnp.array([[1.0, 2.0]]), 5, 3).tolist()
    [[1.0, 1.0, 1.0, 2.0, 2.0]]
    """
    return jnp.repeat(a_BQ, every, axis=1)[:, :length]
