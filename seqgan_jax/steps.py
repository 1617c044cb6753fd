"""The training state, and a pure function for each phase: (state, data, key) -> (state, metrics).

Each function runs `count` units of its phase (epochs, refreshes, rounds) on the device in one call.
`count` is a number on the device, so that one compilation serves chunks of any size; all random
numbers come from `fold_in(phase, unit)`, so that the size of a chunk changes no result.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from seqgan_jax import estimators, losses, networks, rollout
from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.networks import Definition, Params

GEN_PRETRAIN, DIS_PRETRAIN, ADVERSARIAL, SAMPLE, EVALUATE, INIT = range(6)
MAX_CHUNK = 64  # units in one call at most: the size of the metrics buffers
GRADIENT_CLIP = 5.0  # global norm, as in the PyTorch project


class Networks(NamedTuple):
    """Static descriptions of both networks (hashable)."""

    policy: Definition
    discriminator: Definition


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
    inner = optax.chain(optax.clip_by_global_norm(GRADIENT_CLIP), optax.adam(learning_rate))

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
    gen_def, gen_params = networks.policy(gen_key, gen.hidden_dim, gen.covariance, frame)
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
        final_nll=jnp.array(jnp.inf),
        pretrained_nll=jnp.array(jnp.inf),
        kept_round=jnp.array(0),
        stale_epochs=jnp.array(0),
        rollout=copy(),
        discriminator=dis_params,
        discriminator_opt=adam(dis.dis_lr).init(dis_params),
        epoch=jnp.array(0),
        refresh=jnp.array(0),
        round=jnp.array(0),
    )
    return Networks(gen_def, dis_def), state


def _mix(old: Params, new: Params, decay: float | jax.Array) -> Params:
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, old, new)


def _chunk(
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


@partial(jax.jit, static_argnames=("nets", "config", "batch_size"), donate_argnames="state")
def likelihood_epochs(
    state: TrainState,
    data: Data,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: GeneratorConfig,
    batch_size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Up to `count` epochs of maximum likelihood with early stopping on the validation part.

    Minimises -1/(B T) sum log pi(x_t | x_<t) over shuffled batches. The running average of the
    weights is validated after each epoch and kept as `final` where it is the best so far; after
    `patience` stale epochs no further one is run.
    """
    optimiser = adam(config.gen_lr)
    size = data.train_NTD.shape[0]
    batch_size = min(batch_size, size)
    steps = size // batch_size

    def loss(params: Params, x_BTD: jax.Array) -> jax.Array:
        return losses.nll(networks.bind(nets.policy, params), x_BTD)

    def update(carry: Any, inputs: Any) -> Any:
        params, opt, average = carry
        index_B, step = inputs
        value, grads = jax.value_and_grad(loss)(params, data.train_NTD[index_B])
        changes, opt = optimiser.update(grads, opt, params)
        params = optax.apply_updates(params, changes)
        # Short memory at first, so that the average does not remember the initial weights.
        decay = jnp.minimum(config.average, (1.0 + step) / (10.0 + step))
        return (params, opt, _mix(average, params, decay)), value

    def epoch(state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        order = jax.random.permutation(_unit_key(key, GEN_PRETRAIN, state.epoch), size)
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

    return _chunk(epoch, state, count, ("train_nll", "validation_nll"), go_on)


def _unit_key(key: jax.Array, phase: int, unit: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(key, phase), unit)


def begin_adversarial(state: TrainState, config: AdversarialConfig) -> TrainState:
    """Policy, average and rollout policy all start as the pretrained policy; a fresh optimiser."""

    def copy() -> Params:
        return jax.tree.map(jnp.copy, state.final)

    return replace(
        state,
        generator=copy(),
        generator_opt=adam(config.gen_adv_lr).init(state.final),
        average=copy(),
        rollout=copy(),
        pretrained_nll=state.final_nll + 0.0,  # a buffer of its own: the state is donated
    )


# ---------------------------------------------------------------- phase 2: the discriminator


def refresh_discriminator(
    params: Params,
    opt: Any,
    policy_params: Params,
    real_NTD: jax.Array,
    key: jax.Array,
    nets: Networks,
    config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[Params, Any, dict[str, jax.Array]]:
    """Draw fresh generated and real sequences, and pass over both in shuffled batches.

    Minimises cross-entropy + lambda/2 ||output layer||^2 with dropout.
    """
    optimiser = adam(config.dis_lr)
    length = real_NTD.shape[1]
    number = config.num_negatives
    sample_key, real_key, pass_key = jax.random.split(key, 3)
    policy = networks.bind(nets.policy, policy_params)
    fake = rollout.sample(policy, sample_key, number, length)
    if number <= real_NTD.shape[0]:
        chosen = jax.random.permutation(real_key, real_NTD.shape[0])[:number]
    else:
        chosen = jax.random.randint(real_key, (number,), 0, real_NTD.shape[0])
    x_MTD = jnp.concatenate([real_NTD[chosen], fake])
    is_real_M = jnp.concatenate([jnp.ones(number), jnp.zeros(number)])
    batch_size = min(batch_size, 2 * number)
    steps = 2 * number // batch_size

    def loss(params: Params, x: jax.Array, is_real: jax.Array, key: jax.Array) -> Any:
        logits = networks.bind(nets.discriminator, params)(x, key)
        value = losses.discriminator(logits, is_real)
        accuracy = jnp.mean((logits > 0) == (is_real > 0.5))
        total = value + config.dis_l2_reg_lambda * losses.output_l2(params)
        if config.dis_r1 > 0:
            discriminator = networks.bind(nets.discriminator, params)
            total = total + config.dis_r1 * losses.r1(discriminator, x, is_real)
        return total, (value, accuracy)

    def update(carry: Any, inputs: Any) -> Any:
        params, opt = carry
        index_B, key = inputs
        grads, metrics = jax.grad(loss, has_aux=True)(
            params, x_MTD[index_B], is_real_M[index_B], key
        )
        changes, opt = optimiser.update(grads, opt, params)
        return (optax.apply_updates(params, changes), opt), metrics

    def one_pass(carry: Any, key: jax.Array) -> Any:
        order_key, dropout_key = jax.random.split(key)
        order = jax.random.permutation(order_key, 2 * number)[: steps * batch_size]
        inputs = (order.reshape(steps, batch_size), jax.random.split(dropout_key, steps))
        return lax.scan(update, carry, inputs)

    keys = jax.random.split(pass_key, config.dis_passes)
    (params, opt), (values, accuracies) = lax.scan(one_pass, (params, opt), keys)
    return params, opt, {"dis_loss": values.mean(), "dis_accuracy": accuracies.mean()}


@partial(jax.jit, static_argnames=("nets", "config", "batch_size"), donate_argnames="state")
def discriminator_refreshes(
    state: TrainState,
    data: Data,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Pretraining of D: `count` times, fresh samples of the policy and passes over them."""

    def refresh(state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        unit = _unit_key(key, DIS_PRETRAIN, state.refresh)
        params, opt, metrics = refresh_discriminator(
            state.discriminator,
            state.discriminator_opt,
            state.final,
            data.train_NTD,
            unit,
            nets,
            config,
            batch_size,
        )
        changes = {"discriminator": params, "discriminator_opt": opt, "refresh": state.refresh + 1}
        return replace(state, **changes), metrics

    return _chunk(refresh, state, count, ("dis_loss", "dis_accuracy"))


# ---------------------------------------------------------------- phase 3: adversarial training


@partial(
    jax.jit, static_argnames=("nets", "config", "dis_config", "batch_size"), donate_argnames="state"
)
def adversarial_rounds(
    state: TrainState,
    data: Data,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: AdversarialConfig,
    dis_config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`count` rounds: policy updates on rewards from D, then D on fresh samples.

    The policy minimises surrogate - entropy_bonus * entropy + anchor * nll(real batch). Without
    the anchor both estimators ruin a good policy within some hundred updates. A round's average
    is kept as `final` unless the validation part says that it forgot the data (`tolerance`).
    """
    optimiser = adam(config.gen_adv_lr)
    size, length = data.train_NTD.shape[:2]

    def update(state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        gradient_key, batch_key = jax.random.split(key)
        real_BTD = data.train_NTD[jax.random.randint(batch_key, (batch_size,), 0, size)]
        discriminator = networks.bind(nets.discriminator, state.discriminator)
        policy = networks.bind(nets.policy, state.generator)

        def reward(x_BTD: jax.Array) -> jax.Array:
            return losses.reward(discriminator(x_BTD), config.reward)

        if config.gradient == "reinforce":
            x_BTD, advantage_BT, mean = estimators.reinforce_batch(
                policy,
                networks.bind(nets.policy, state.rollout),
                reward,
                gradient_key,
                length,
                batch_size,
                config,
            )
            loss = estimators.reinforce(nets.policy, x_BTD, advantage_BT, real_BTD, config)
            grads, metrics = jax.grad(loss, has_aux=True)(state.generator)
            metrics["reward"] = mean
        else:
            noise = jax.random.normal(gradient_key, (length, batch_size, policy.features))
            loss = estimators.pathwise(nets.policy, reward, noise, real_BTD, config)
            grads, metrics = jax.grad(loss, has_aux=True)(state.generator)
        changes, opt = optimiser.update(grads, state.generator_opt, state.generator)
        params = optax.apply_updates(state.generator, changes)
        return replace(state, generator=params, generator_opt=opt), metrics

    def one_round(state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        gen_key, dis_key = jax.random.split(_unit_key(key, ADVERSARIAL, state.round))
        state, metrics = lax.scan(update, state, jax.random.split(gen_key, config.gen_updates))
        metrics = {name: value.mean() for name, value in metrics.items()}

        def refresh(carry: Any, key: jax.Array) -> Any:
            params, opt, dis_metrics = refresh_discriminator(
                carry[0],
                carry[1],
                state.generator,
                data.train_NTD,
                key,
                nets,
                dis_config,
                batch_size,
            )
            return (params, opt), dis_metrics

        (params, opt), dis_metrics = lax.scan(
            refresh,
            (state.discriminator, state.discriminator_opt),
            jax.random.split(dis_key, dis_config.dis_refreshes),
        )
        average = _mix(state.average, state.generator, config.average_rounds)
        validation = losses.nll(networks.bind(nets.policy, average), data.validation_NTD)
        keep = validation <= state.pretrained_nll + config.tolerance
        state = replace(
            state,
            average=average,
            final=jax.tree.map(lambda a, b: jnp.where(keep, a, b), average, state.final),
            final_nll=jnp.where(keep, validation, state.final_nll),
            kept_round=jnp.where(keep, state.round + 1, state.kept_round),
            rollout=_mix(state.rollout, state.generator, config.rollout_update_rate),
            discriminator=params,
            discriminator_opt=opt,
            round=state.round + 1,
        )
        dis_metrics = {name: value.mean() for name, value in dis_metrics.items()}
        return state, metrics | dis_metrics | {"validation_nll": validation}

    names = ("train_nll", "validation_nll", "entropy", "reward", "dis_loss", "dis_accuracy")
    return _chunk(one_round, state, count, names)


@partial(jax.jit, static_argnames="nets")
def discriminator_accuracy(
    params: Params, real_NTD: jax.Array, fake_NTD: jax.Array, *, nets: Networks
) -> jax.Array:
    """Share that D tells apart of sequences that it has not seen, real and generated alike."""
    discriminator = networks.bind(nets.discriminator, params)
    real, fake = discriminator(real_NTD) > 0, discriminator(fake_NTD) <= 0
    return 0.5 * (jnp.mean(real) + jnp.mean(fake))
