"""Samples chosen among candidates by discriminators: what the policy got wrong is made up for.

The best q near a policy p_0 is p_0(x) exp(l(x)) / Z with l = log p - log p_0 (Deng et al. 2020,
residual energy-based models, equation 2). A draw from it is nearly one of K draws x_1 .. x_K of p_0
taken with probability exp l(x_k) / sum_j exp l(x_j) (sampling importance resampling, Rubin 1988):
exact for K to infinity, and never farther from the data than l is wrong.

`toward` trains the policy itself by the likelihood of draws of it in the share of exp(s l), and of
data: of KL(q || policy) the best policy of its kind, where there is one that is nearer.

l is the mean of several discriminators' logits, a_e l_e. Each is trained without a fold of the data
and scaled by what its logits are worth there (`selection.scale_of`): one that knows the training
part by heart gets an a_e near 0, and then nothing is chosen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core import keys, parallel, sampling, selection, stepwise
from seqgan_jax.core.batch import Batch, Params, TrainState, fewer, in_blocks
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import Metrics, adam, apply, copy, ema, over_seeds
from seqgan_jax.core.policy import Definition, LSTMPolicy, bind, nll
from seqgan_jax.core.stepwise import Chooser

EACH = 2  # discriminators of each fold
AT_ONCE = 4096
POOL, UPDATES, RATE, DECAY = 8192, 300, 1e-3, 0.99  # of `toward`
SHARPNESS = (1.0, 0.5, 0.25, 0.125)  # s; the first that leaves EFFECTIVE
EFFECTIVE = 0.1  # of the pool, sum(w)^2 / (N sum(w^2)), at least
CLIP = 100.0  # of weights, in their mean


class Refiner:
    """Discriminators, and what each one's logits are worth."""

    def __init__(
        self,
        definition: Definition,
        params_E: Params,
        constants: Params,
        scales_E: jax.Array,
        steps: Chooser | None,
    ) -> None:
        self.definition, self.params_E, self.constants = definition, params_E, constants
        self.scales_E, self.steps = scales_E, steps
        self.chooses = (False, False) if steps is None else steps.chooses
        self.knows = bool(np.any(scales_E))

    def candidates(self, asked: int) -> tuple[int, int]:
        """How many values of each step and how many sequences one is chosen of; 1: none is.

        Where both are, what is drawn for a sample is twice of what is asked for.
        """
        if not any(self.chooses):
            return 1, asked
        if not self.knows:
            return asked, 1
        return min(asked, stepwise.CANDIDATES), max(2, asked // 4)

    def log_ratio(self, batch: Batch) -> np.ndarray:
        """l of sequences in scaled units, [N] float64."""
        found = [
            _log_ratio(
                self.params_E,
                self.constants,
                self.scales_E,
                _padded(batch.take(slice(first, first + AT_ONCE))),
                definition=self.definition,
            )
            for first in range(0, len(batch), AT_ONCE)
        ]
        return np.concatenate(found)[: len(batch)].astype(np.float64)

    def choose(self, batch: Batch, candidates: int, rng: np.random.Generator) -> np.ndarray:
        """Which of each `candidates` sequences in a row is taken: rows of the batch, [N / K]."""
        log_ratio_NK = self.log_ratio(batch).reshape(-1, candidates)
        noise_NK = rng.gumbel(size=log_ratio_NK.shape)  # the largest sum is a draw of the softmax
        chosen_N = np.argmax(log_ratio_NK + noise_NK, axis=1)
        return np.arange(len(chosen_N)) * candidates + chosen_N


@partial(jax.jit, static_argnames="nets")
def _separators(
    state: TrainState, train: Batch, key: jax.Array, drawn: Batch | None = None, *, nets: Networks
) -> tuple[Definition, Params, Params, jax.Array]:
    policy = nets.bind_policy(state.best, state)
    definitions = []

    def one(number: jax.Array) -> tuple[Params, Params, jax.Array]:
        own, fold = jax.random.fold_in(key, number), number % selection.FOLDS
        found = selection.separate(policy, train, own, state, fold, nets.of_data, drawn)
        definitions.append(found.definition)
        scale = selection.scale_of(found(found.left_out), found(found.samples))
        return found.params, found.constants, scale

    params_E, constants_E, scales_E = lax.map(one, jnp.arange(EACH * selection.FOLDS))
    # They are the same in all of them.
    return definitions[0], params_E, jax.tree.map(lambda each: each[0], constants_E), scales_E


def fit(
    state: TrainState, train: Batch, key: jax.Array, nets: Networks, by_step: bool = True
) -> Refiner:
    """Discriminators of the samples of `state.best` and the training part. Consumes `key`.

    Of its steps first; then of sequences as they are chosen step by step. Where not `by_step`, of
    the policy's own sequences, so that l is relative to the policy.
    """
    if not by_step:
        definition, params_E, constants, scales_E = _separators(state, train, key, nets=nets)
        return Refiner(definition, params_E, constants, scales_E, None)
    chooser = stepwise.fit(state, train, jax.random.fold_in(key, 1), nets)
    drawn = None
    if any(chooser.chooses):
        rows = [
            np.linspace(0, len(train), number, endpoint=False).astype(np.int32)
            for number in selection.samples_needed(train.length)
        ]
        known = train.known_if_any
        known = None if known is None else known[np.concatenate(rows)]
        number = sum(map(len, rows))
        drawn_key = jax.random.fold_in(key, 2)
        drawn = _chosen_by_step(state, chooser, drawn_key, number, train.length, known, nets)
    found = _separators(state, train, jax.random.clone(key), drawn, nets=nets)
    definition, params_E, constants, scales_E = found
    return Refiner(definition, params_E, constants, scales_E, chooser)


def _chosen_by_step(
    state: TrainState,
    chooser: Chooser,
    key: jax.Array,
    number: int,
    length: int,
    known: jax.Array | None,
    nets: Networks,
) -> Batch:
    """Samples, some at a time; one program for all."""
    size = min(number, fewer(stepwise.LANES, length))
    blocks = []
    for i, first in enumerate(range(0, number, size)):
        rows = np.minimum(np.arange(first, first + size), number - 1)
        own = None if known is None else known[rows]
        how: dict[str, Any] = {"number": size, "length": length, "chooses": chooser.chooses}
        x_NTD = stepwise.draw(
            state.best,
            state.policy_constants,
            chooser,
            jax.random.fold_in(key, i),
            None,
            own,
            nets=nets,
            candidates=stepwise.CANDIDATES,
            **how,
        )
        blocks.append(x_NTD)
    end = nets.bind_policy(state.best, state).end
    return Batch.of(jnp.concatenate(blocks)[:number], known, end)


@partial(jax.jit, static_argnames=("nets", "batch_size", "seeds"))
def toward(
    state: TrainState,
    train: Batch,
    key: jax.Array,
    *,
    nets: Networks,
    batch_size: int,
    seeds: int = 1,
) -> tuple[Params, Metrics]:
    """`state.best` after UPDATES of likelihood toward p_0 exp(s l) / Z, half of it of data.

    Returns:
      A moving average of its weights; `sharpness`, s, and `effective`, the pool's share.
    """

    def run(state: TrainState, key: jax.Array) -> tuple[Params, Metrics]:
        own = keys.unit_key(key, keys.REFINING, jnp.array(0))
        fit_key, pool_key, train_key = jax.random.split(own, 3)
        definition, params_E, constants, scales_E = _separators(state, train, fit_key, nets=nets)
        pool = _pool(state, train, pool_key, nets)
        how: dict[str, Any] = {"definition": definition}
        log_ratio_N = _log_ratio(params_E, constants, scales_E, pool, **how)
        weights_SN = jax.vmap(partial(_weights, log_ratio_N))(jnp.asarray(SHARPNESS, jnp.float32))
        share_S = weights_SN.sum(axis=1) ** 2 / (weights_SN**2).sum(axis=1) / len(pool)
        # The last one where none leaves as many.
        chosen = jnp.argmax((share_S >= EFFECTIVE).at[-1].set(True))
        found = {"sharpness": jnp.asarray(SHARPNESS)[chosen], "effective": share_S[chosen]}
        log_weights_N = jnp.log(weights_SN[chosen])
        return _trained(state, train, pool, log_weights_N, train_key, nets, batch_size), found

    return over_seeds(run, seeds, 0, 0)(state, key)


def _pool(state: TrainState, train: Batch, key: jax.Array, nets: Networks) -> Batch:
    """Draws of `state.best`; of them the same is known as of the training part."""
    policy, number = nets.bind_policy(state.best, state), fewer(POOL, train.length)
    known = None
    if policy.num_known:
        rows = np.linspace(0, len(train), number, endpoint=False).astype(np.int32)
        known = train.known[rows]
    x_NTD = sampling.sample(policy, key, number, train.length, known_BTW=known)
    return Batch.of(x_NTD, known, policy.end)


def _weights(log_ratio_N: jax.Array, sharpness: jax.Array) -> jax.Array:
    """exp(s l), mean 1 before they are clipped, [N]."""
    log_w_N = sharpness * log_ratio_N
    log_mean = jax.nn.logsumexp(log_w_N) - np.log(len(log_w_N))
    return jnp.minimum(jnp.exp(log_w_N - log_mean), CLIP)


def _trained(
    state: TrainState,
    train: Batch,
    pool: Batch,
    log_weights_N: jax.Array,
    key: jax.Array,
    nets: Networks,
    batch_size: int,
) -> Params:
    size = fewer(batch_size, train.length)

    def off_target(policy: LSTMPolicy, key: jax.Array) -> jax.Array:
        chosen_B = jax.random.categorical(key, log_weights_N, shape=(size,))
        return nll(policy, parallel.shard_rows(pool.take(chosen_B)))

    return trained(off_target, state, train, key, nets, size)


def trained(
    off_target: Callable[[LSTMPolicy, jax.Array], jax.Array],
    state: TrainState,
    train: Batch,
    key: jax.Array,
    nets: Networks,
    size: int,
    updates: int = UPDATES,
) -> Params:
    """The moving average of `state.best` after `updates` of a loss, which consumes a key, and of
    the likelihood of `size` real sequences, half each. Consumes `key`."""
    optimiser = adam(RATE)

    def update(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt, average = carry
        own, real_key = jax.random.split(key)
        rows_B = jax.random.randint(real_key, (size,), 0, len(train))
        real = parallel.shard_rows(train.take(rows_B))

        def loss(params: Params) -> jax.Array:
            policy = nets.bind_policy(params, state)
            return 0.5 * off_target(policy, own) + 0.5 * nll(policy, real)

        params, opt = apply(optimiser, jax.grad(loss)(params), opt, params)
        return (params, opt, ema(average, params, DECAY)), None

    start = state.best, optimiser.init(state.best), copy(state.best)
    (_, _, average), _ = lax.scan(update, start, jax.random.split(key, updates))
    return average


def _padded(batch: Batch) -> Batch:
    """AT_ONCE sequences: one shape, one program."""
    rows = np.minimum(np.arange(AT_ONCE), len(batch) - 1)
    return batch.take(rows)


@partial(jax.jit, static_argnames="definition")
def _log_ratio(
    params_E: Params,
    constants: Params,
    scales_E: jax.Array,
    batch: Batch,
    *,
    definition: Definition,
) -> jax.Array:
    def one(each: tuple[Params, jax.Array]) -> jax.Array:
        return each[1] * in_blocks(bind(definition, each[0], constants), batch)

    return lax.map(one, (params_E, scales_E)).mean(axis=0)
