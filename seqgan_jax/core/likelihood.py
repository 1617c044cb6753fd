"""Phase 1: maximum likelihood, with early stopping on the validation part."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import keys, parallel, selection
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import Metrics, adam, apply, ema, over_seeds, units
from seqgan_jax.core.policy import nll, validation_nll

METRICS = ("train_nll", "validation_nll")


@partial(
    jax.jit, static_argnames=("nets", "config", "batch_size", "seeds"), donate_argnames="state"
)
def epochs(
    state: TrainState,
    parts: Parts,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: GeneratorConfig,
    batch_size: int,
    seeds: int = 1,
) -> tuple[TrainState, Metrics]:
    """Up to `count` epochs of maximum likelihood; metrics [MAX_CHUNK] of each.

    Minimises -1/(B T) sum log pi(x_t | x_<t) over shuffled batches. The EMA of the weights is
    validated after each epoch and kept as `best` where it is; after `patience` stale epochs no
    further one is run. With `seeds` above 1 every leaf of the state and the key have a leading axis
    S: independent runs on the same data.
    """

    def run(state: TrainState, key: jax.Array) -> tuple[TrainState, Metrics]:
        epoch = partial(_epoch, parts=parts, key=key, nets=nets, config=config, size=batch_size)
        return units(epoch, state, count, METRICS, lambda s: s.stale_epochs < config.patience)

    return over_seeds(run, seeds, 0, 0)(state, key)


def _epoch(
    state: TrainState,
    *,
    parts: Parts,
    key: jax.Array,
    nets: Networks,
    config: GeneratorConfig,
    size: int,
) -> tuple[TrainState, Metrics]:
    """One pass over the training part, and a look at the validation part."""
    optimiser = adam(config.gen_lr)
    number = len(parts.train)
    size = min(size, number)
    steps = number // size

    def loss(params: Params, batch: Batch) -> jax.Array:
        return nll(nets.bind_policy(params, state), batch)

    def update(carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        params, opt, average = carry
        rows_B, step = inputs
        batch = parallel.shard_rows(parts.train.take(rows_B))
        value, grads = jax.value_and_grad(loss)(params, batch)
        params, opt = apply(optimiser, grads, opt, params)
        # Short memory at first, so that the EMA does not remember the initial weights.
        decay = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return (params, opt, ema(average, params, decay)), value

    order = keys.permutation(keys.unit_key(key, keys.LIKELIHOOD, state.epoch), number)
    batches = order[: steps * size].reshape(steps, size)
    numbers = (state.epoch * steps + jnp.arange(steps)).astype(jnp.float32)
    carry = (state.policy, state.policy_opt, state.ema)
    (params, opt, average), values = lax.scan(update, carry, (batches, numbers))

    validation = validation_nll(nets.bind_policy(average, state), parts.validation)
    state = replace(state, policy=params, policy_opt=opt, ema=average, epoch=state.epoch + 1)
    state = selection.keep_likelier(state, validation)
    return state, {"train_nll": values.mean(), "validation_nll": validation}
