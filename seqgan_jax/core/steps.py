"""The training state, and a pure function for each phase: (state, data, key) -> (state, metrics).

Each function runs `count` units of its phase (epochs, refreshes, rounds) on the device in one call.
`count` is a number on the device, so that one compilation serves chunks of any size; all random
numbers come from `fold_in(phase, unit)`, so that the size of a chunk changes no result. With
`seeds` above 1 every leaf of the state, the key and the metrics have a leading axis S: independent
runs on the same data.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import losses, networks, noise, parallel
from seqgan_jax.core.networks import Definition, Params

GEN_PRETRAIN, DIS_PRETRAIN, ADVERSARIAL, SAMPLE, EVALUATE, INIT, JUDGE = range(7)
MAX_CHUNK = 64  # units in one call at most: the size of the metrics buffers
GRADIENT_CLIP = 5.0  # global norm, as in the PyTorch project


class Networks(NamedTuple):
    """Static descriptions of both networks (hashable)."""

    policy: Definition
    discriminator: Definition
    increment_scale: tuple[float, ...]  # of the data, for discriminators made later


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Data:
    """Scaled sequences on the device."""

    train_NTD: jax.Array
    validation_NTD: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """All that changes in training."""

    generator: Params  # the policy being trained
    generator_opt: Any
    average: Params  # running average of the policy's weights
    final: Params  # what is sampled from and saved: the best average so far
    final_nll: jax.Array  # [] its validation loss, nats a step
    final_told: jax.Array  # [] how well it is told from the validation part (`rounds.judge`)
    pretrained_nll: jax.Array  # [] the same when adversarial training began
    kept_round: jax.Array  # [] the round that `final` is of
    stale_epochs: jax.Array  # [] epochs of pretraining since then
    rollout: Params  # the rollout policy
    discriminator: Params
    discriminator_opt: Any
    epoch: jax.Array  # [] units done of each phase
    refresh: jax.Array
    round: jax.Array


def adam(learning_rate: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) on gradients clipped by their global norm."""
    # On one flat vector: each leaf's own operations cost compile time and time in scans.
    inner = optax.flatten(
        optax.chain(optax.clip_by_global_norm(GRADIENT_CLIP), optax.adam(learning_rate))
    )

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax is not written for strict dtypes
            return inner.update(grads, state, params)

    return optax.GradientTransformation(inner.init, update)


def init(
    key: jax.Array,
    length: int,
    frame: networks.Frame,
    increment_scale: tuple[float, ...],
    gen: GeneratorConfig,
    dis: DiscriminatorConfig,
) -> tuple[Networks, TrainState]:
    """Fresh networks and optimisers; consumes `key`."""
    gen_key, dis_key = jax.random.split(key)
    features = frame.offset.shape[0]
    gen_def, gen_params = networks.policy(gen_key, gen, frame)
    dis_def, dis_params = networks.discriminator(
        dis_key, dis.dis_size, length, features, dis.dis_dropout_keep_prob, increment_scale
    )

    def copy() -> Params:  # buffers of their own: the state is donated
        return jax.tree.map(jnp.copy, gen_params)

    state = TrainState(
        generator=gen_params,
        generator_opt=adam(gen.gen_lr).init(gen_params),
        average=copy(),
        final=copy(),
        # Strong types, as what replaces them: another type would compile the next program anew.
        final_nll=jnp.array(jnp.inf, jnp.float32),
        final_told=jnp.array(jnp.inf, jnp.float32),
        pretrained_nll=jnp.array(jnp.inf, jnp.float32),
        kept_round=jnp.array(0),
        stale_epochs=jnp.array(0),
        rollout=copy(),
        discriminator=dis_params,
        discriminator_opt=adam(dis.dis_lr).init(dis_params),
        epoch=jnp.array(0),
        refresh=jnp.array(0),
        round=jnp.array(0),
    )
    return Networks(gen_def, dis_def, increment_scale), state


def mix(old: Params, new: Params, decay: float | jax.Array) -> Params:
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, old, new)


def chunk(
    body: Any,
    state: TrainState,
    count: jax.Array,
    names: tuple[str, ...],
    go_on: Any = lambda state: True,  # noqa: ARG005
) -> Any:
    """`state, metrics = body(state)` `count` times while `go_on(state)`; metrics [MAX_CHUNK]."""
    buffers = {name: jnp.full(MAX_CHUNK, jnp.nan) for name in names}

    def step(carry: Any) -> Any:
        i, state, buffers = carry
        state, metrics = body(state)
        return i + 1, state, {name: buffers[name].at[i].set(metrics[name]) for name in names}

    def more(carry: Any) -> jax.Array:
        return (carry[0] < count) & go_on(carry[1])

    _, state, buffers = lax.while_loop(more, step, (jnp.array(0), state, buffers))
    return state, buffers


# ---------------------------------------------------------------- phase 1: maximum likelihood


def many(function: Any, seeds: int) -> Any:
    """The same for S independent runs; work and data are shared."""
    return function if seeds == 1 else jax.vmap(function, in_axes=(0, None, 0, None))


@partial(
    jax.jit, static_argnames=("nets", "config", "batch_size", "seeds"), donate_argnames="state"
)
def likelihood_epochs(
    state: TrainState,
    data: Data,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: GeneratorConfig,
    batch_size: int,
    seeds: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Up to `count` epochs of maximum likelihood with early stopping on the validation part.

    Minimises -1/(B T) sum log pi(x_t | x_<t) over shuffled batches. The running average of the
    weights is validated after each epoch and kept as `final` where it is the best so far; after
    `patience` stale epochs no further one is run.
    """
    run = partial(_likelihood_epochs, nets=nets, config=config, batch_size=batch_size)
    return many(run, seeds)(state, data, key, count)


def _likelihood_epochs(
    state: TrainState,
    data: Data,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: GeneratorConfig,
    batch_size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    optimiser = adam(config.gen_lr)
    size = data.train_NTD.shape[0]
    batch_size = min(batch_size, size)
    steps = size // batch_size

    def loss(params: Params, x_BTD: jax.Array) -> jax.Array:
        return losses.nll(networks.bind(nets.policy, params), x_BTD)

    def update(carry: Any, inputs: Any) -> Any:
        params, opt, average = carry
        index_B, step = inputs
        x_BTD = parallel.spread(data.train_NTD[index_B], 0)
        value, grads = jax.value_and_grad(loss)(params, x_BTD)
        changes, opt = optimiser.update(grads, opt, params)
        params = optax.apply_updates(params, changes)
        # Short memory at first, so that the average does not remember the initial weights.
        decay = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return (params, opt, mix(average, params, decay)), value

    def epoch(state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        order = noise.permutation(unit_key(key, GEN_PRETRAIN, state.epoch), size)
        batches = order[: steps * batch_size].reshape(steps, batch_size)
        numbers = (state.epoch * steps + jnp.arange(steps)).astype(jnp.float32)
        carry = (state.generator, state.generator_opt, state.average)
        (params, opt, average), values = lax.scan(update, carry, (batches, numbers))
        validation = loss(average, data.validation_NTD)
        better = validation < state.final_nll
        state = replace(
            state,
            generator=params,
            generator_opt=opt,
            average=average,
            final=jax.tree.map(lambda a, b: jnp.where(better, a, b), average, state.final),
            final_nll=jnp.where(better, validation, state.final_nll),
            stale_epochs=jnp.where(better, 0, state.stale_epochs + 1),
            epoch=state.epoch + 1,
        )
        return state, {"train_nll": values.mean(), "validation_nll": validation}

    def go_on(state: TrainState) -> jax.Array:
        return state.stale_epochs < config.patience

    return chunk(epoch, state, count, ("train_nll", "validation_nll"), go_on)


def unit_key(key: jax.Array, phase: int | jax.Array, unit: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, phase), unit)


def seed_keys(seed: int, seeds: int) -> jax.Array:
    """The key of one run, or those `[S]` of runs with the seeds seed, seed + 1, ..."""
    if seeds == 1:
        return jax.random.key(seed)
    return jnp.stack([jax.random.key((seed + i) % 2**32) for i in range(seeds)])


def best_seed(state: TrainState) -> int:
    """The run whose kept policy finds the validation part most likely; 0 where there is one run."""
    final_nll = jnp.atleast_1d(state.final_nll)
    return int(jnp.argmin(jnp.where(jnp.isnan(final_nll), jnp.inf, final_nll)))


def best(state: TrainState) -> TrainState:
    """The state of the best run of several (`best_seed`), or of the only one."""
    return run_of(state, best_seed(state))


def run_of(state: TrainState, i: int) -> TrainState:
    """The state of the i-th of several runs, or of the only one."""
    return state if state.final_nll.ndim == 0 else _row(state, jnp.array(i))


@jax.jit
def _row(state: TrainState, i: jax.Array) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[i], state)


def begin_adversarial(state: TrainState, config: AdversarialConfig, seeds: int = 1) -> TrainState:
    """Policy, average and rollout policy all start as the pretrained policy; a fresh optimiser."""

    def copy() -> Params:
        return jax.tree.map(jnp.copy, state.final)

    start = adam(config.gen_adv_lr).init
    start = start if seeds == 1 else jax.vmap(start)
    return replace(
        state,
        generator=copy(),
        generator_opt=start(state.final),
        average=copy(),
        rollout=copy(),
        final_told=jnp.full_like(state.final_told, jnp.inf),
        # A run that broke down stays out of the race (health.py).
        pretrained_nll=jnp.where(state.pretrained_nll == -jnp.inf, -jnp.inf, state.final_nll),
    )
