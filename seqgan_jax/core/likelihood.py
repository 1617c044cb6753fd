"""Phase 1: maximum likelihood, with early stopping on the validation part."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import keys, parallel, selection
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import Metrics, adam, apply, ema, over_seeds, units
from seqgan_jax.core.policy import log_prob_of_sequences, nll, steps_with_values

METRICS = ("train_nll", "validation_nll")
FEW = 3000  # steps of a training part up to which dropout and weight decay are what settings say


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
    few: float | jax.Array = 1.0,
) -> tuple[TrainState, Metrics]:
    """Up to `count` epochs of maximum likelihood; metrics [MAX_CHUNK] of each.

    Minimises -1/(B T) sum log pi(x_t | x_<t) over shuffled batches, with dropout of what the head
    reads and decay of matrices. The EMA of the weights is validated after each epoch and kept as
    `best` where `selection` says so; after `patience` epochs without a likelier one no further one
    is run. `few` (see `fewness`) is the share of dropout and decay that the data ask for. With
    `seeds` above 1 every leaf of the state and the key have a leading axis
    S: independent runs on the same data.
    """

    def run(state: TrainState, key: jax.Array) -> tuple[TrainState, Metrics]:
        fixed: dict[str, Any] = {"parts": parts, "nets": nets, "config": config}
        fixed |= {"size": batch_size, "few": jnp.asarray(few, jnp.float32)}
        epoch = partial(_epoch, key=key, **fixed)
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
    few: jax.Array,
) -> tuple[TrainState, Metrics]:
    """One pass over the training part, and a look at the validation part."""
    optimiser, dropped = adam(config.gen_lr), config.gen_dropout
    shrink = 1.0 - few * np.float32(config.gen_lr * config.gen_weight_decay)
    number = len(parts.train)
    size = min(size, number)
    steps = number // size

    dropout_key = keys.unit_key(key, keys.DROPOUT, state.epoch)

    def loss(params: Params, batch: Batch, step: jax.Array) -> jax.Array:
        policy = nets.bind_policy(params, state)
        if dropped == 0:
            return nll(policy, batch)
        own = jax.random.fold_in(dropout_key, step.astype(jnp.int32))
        return nll(policy, batch, _factors(own, len(batch), policy.hidden_dim, few * dropped))

    def update(carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        params, opt, average = carry
        rows_B, step = inputs
        batch = parallel.shard_rows(parts.train.take(rows_B))
        value, grads = jax.value_and_grad(loss)(params, batch, step)
        params, opt = apply(optimiser, grads, opt, _times(shrink, params))
        # Short memory at first, so that the EMA does not remember the initial weights.
        decay = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return (params, opt, ema(average, params, decay)), value

    order = keys.permutation(keys.unit_key(key, keys.LIKELIHOOD, state.epoch), number)
    batches = order[: steps * size].reshape(steps, size)
    numbers = (state.epoch * steps + jnp.arange(steps)).astype(jnp.float32)
    carry = (state.policy, state.policy_opt, state.ema)
    (params, opt, average), values = lax.scan(update, carry, (batches, numbers))

    def losses(params: Params) -> jax.Array:
        return -log_prob_of_sequences(nets.bind_policy(params, state), parts.validation)

    loss_N = losses(average)
    counted = steps_with_values(nets.bind_policy(average, state), parts.validation)
    validation = jnp.sum(loss_N) / counted
    state = replace(state, policy=params, policy_opt=opt, ema=average, epoch=state.epoch + 1)
    if config.gen_keep == "last":
        state = selection.keep_last(state, loss_N, losses(state.rollout), parts, counted)
    else:
        state = selection.keep_likelier(state, validation)
    return state, {"train_nll": values.mean(), "validation_nll": validation}


def fewness(steps: int) -> float:
    """min(1, FEW / steps): what fewer data ask for more of, against learning them by heart.

    >>> fewness(1000), fewness(12_000)
    (1.0, 0.25)
    """
    return min(1.0, FEW / max(1, steps))


def _factors(key: jax.Array, batch: int, units: int, dropped: jax.Array) -> jax.Array:
    """Inverted dropout, 0 or 1 / (1 - dropped), [B, H]."""
    kept = keys.bernoulli(key, 1.0 - dropped, (batch, units))
    return jnp.where(kept, 1.0 / (1.0 - dropped), 0.0)


def _times(shrink: jax.Array, params: Params) -> Params:
    """Matrices after decoupled weight decay (Loshchilov & Hutter 2019); biases and logits stay."""
    return jax.tree.map(lambda weight: shrink * weight if weight.ndim > 1 else weight, params)
