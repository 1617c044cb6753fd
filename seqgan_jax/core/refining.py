"""Samples chosen among candidates by discriminators: what the policy got wrong is made up for.

The best q near a policy p_0 is p_0(x) exp(l(x)) / Z with l = log p - log p_0 (Deng et al. 2020,
residual energy-based models, equation 2). A draw from it is nearly one of K draws x_1 .. x_K of p_0
taken with probability exp l(x_k) / sum_j exp l(x_j) (sampling importance resampling, Rubin 1988):
exact for K to infinity, and never farther from the data than l is wrong.

l is the mean of several discriminators' logits, a_e l_e. Each is trained without a fold of the data
and scaled by what its logits are worth there (`selection.scale_of`): one that knows the training
part by heart gets an a_e near 0, and then nothing is chosen.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core import selection
from seqgan_jax.core.batch import Batch, Params, TrainState, in_blocks
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import Definition, bind

EACH = 2  # discriminators of each fold
AT_ONCE = 4096


class Refiner:
    """Discriminators, and what each one's logits are worth."""

    def __init__(
        self, definition: Definition, params_E: Params, constants: Params, scales_E: jax.Array
    ) -> None:
        self.definition, self.params_E, self.constants = definition, params_E, constants
        self.scales_E = scales_E

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
    state: TrainState, train: Batch, key: jax.Array, *, nets: Networks
) -> tuple[Definition, Params, Params, jax.Array]:
    policy = nets.bind_policy(state.best, state)
    definitions = []

    def one(number: jax.Array) -> tuple[Params, Params, jax.Array]:
        own, fold = jax.random.fold_in(key, number), number % selection.FOLDS
        found = selection.separate(policy, train, own, state, fold, nets.of_data)
        definitions.append(found.definition)
        scale = selection.scale_of(found(found.left_out), found(found.samples))
        return found.params, found.constants, scale

    params_E, constants_E, scales_E = lax.map(one, jnp.arange(EACH * selection.FOLDS))
    # They are the same in all of them.
    return definitions[0], params_E, jax.tree.map(lambda each: each[0], constants_E), scales_E


def fit(state: TrainState, train: Batch, key: jax.Array, nets: Networks) -> Refiner:
    """Discriminators of the samples of `state.best` and the training part. Consumes `key`."""
    return Refiner(*_separators(state, train, key, nets=nets))


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
