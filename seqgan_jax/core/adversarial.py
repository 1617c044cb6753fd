"""Phases 2 and 3: the discriminator is trained; then policy and discriminator in turn.

A round of phase 3 is `policy_updates` and then `discriminator_epochs`; which policy is kept of all
rounds, `selection` decides.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig
from seqgan_jax.core import discriminator, gradients, keys, parallel, sampling
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState, fewer, in_blocks, join
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import Metrics, adam, apply, copy, ema, over_seeds, units
from seqgan_jax.core.policy import validation_nll

DISCRIMINATOR_METRICS = ("dis_loss", "dis_accuracy")
UNSEEN = 3  # of an epoch's key: the draw of what it does not learn from
BY_HEART = 3.0  # standard errors beyond which sequences are learned by heart, not by noise
ASKED = 256  # sequences of each kind at most by which that is seen: more cost much of a round
POLICY_METRICS = ("train_nll", "entropy", "reward", "validation_nll")


# ------------------------------------------------------------------ the discriminator


@partial(
    jax.jit, static_argnames=("nets", "config", "batch_size", "seeds"), donate_argnames="state"
)
def discriminator_epochs(
    state: TrainState,
    parts: Parts,
    key: jax.Array,
    purpose: jax.Array,
    first: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: DiscriminatorConfig,
    batch_size: int,
    seeds: int = 1,
) -> tuple[TrainState, Metrics]:
    """Epochs first .. first + count - 1 of the discriminator; metrics [MAX_CHUNK] of each.

    `purpose` (keys.DISCRIMINATOR in phase 2, keys.ADVERSARY in phase 3) and the number of an epoch
    give its random numbers. Each draws fresh generated and real sequences, and passes over both in
    batches, half of each kind. Minimises cross-entropy + lambda/2 ||output layer||^2 with dropout,
    + R1.
    """

    def run(state: TrainState, key: jax.Array) -> tuple[TrainState, Metrics]:
        def epoch(carry: Any) -> tuple[Any, Metrics]:
            state, number = carry
            own = keys.unit_key(key, purpose, number)
            state, metrics = _discriminator_epoch(state, parts, own, nets, config, batch_size)
            return (state, number + 1), metrics

        (state, _), metrics = units(epoch, (state, first), count, DISCRIMINATOR_METRICS)
        return state, metrics

    return over_seeds(run, seeds, 0, 0)(state, key)


def _discriminator_epoch(
    state: TrainState,
    parts: Parts,
    key: jax.Array,
    nets: Networks,
    config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[TrainState, Metrics]:
    optimiser = adam(config.dis_lr)
    length = parts.train.length
    number = fewer(config.num_negatives, length)
    half = min(max(1, fewer(batch_size, length) // 2), number)
    batches = number // half
    fake_key, real_key, pass_key = jax.random.split(key, 3)
    real = parts.train.take(jax.random.randint(real_key, (number,), 0, len(parts.train)))
    fake = _generated_beside(real, state, fake_key, nets)
    is_real_B = jnp.repeat(jnp.array([1.0, 0.0]), half)

    def loss(params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        network = nets.bind_discriminator(params, state)
        logits_B = network(batch, key)
        value = discriminator.cross_entropy(logits_B, is_real_B)
        accuracy = jnp.mean((logits_B > 0) == (is_real_B > 0.5))
        total = value + config.dis_l2_reg_lambda * discriminator.output_l2(params)
        if config.dis_r1 > 0:
            total = total + config.dis_r1 * discriminator.r1(network, batch.take(slice(half)))
        return total, (value, accuracy)

    def update(carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        params, opt = carry
        rows_B, key = inputs
        batch = parallel.shard_rows(join(real.take(rows_B), fake.take(rows_B)))
        grads, metrics = jax.grad(loss, has_aux=True)(params, batch, key)
        return apply(optimiser, grads, opt, params), metrics

    def one_pass(carry: Any, key: jax.Array) -> tuple[Any, Any]:
        order_key, dropout_key = jax.random.split(key)
        order = keys.permutation(order_key, number)[: batches * half].reshape(batches, half)
        return lax.scan(update, carry, (order, jax.random.split(dropout_key, batches)))

    carry = (state.discriminator, state.discriminator_opt)
    pass_keys = jax.random.split(pass_key, config.dis_passes)
    after, (values, accuracies) = lax.scan(one_pass, carry, pass_keys)
    if config.dis_early_stopping:
        own = jax.random.fold_in(key, UNSEEN)
        after, kept = _unless_by_heart(after, state, parts, own, nets, min(number, ASKED))
        state = replace(state, kept_discriminator=kept)
    state = replace(state, discriminator=after[0], discriminator_opt=after[1])
    return state, {"dis_loss": values.mean(), "dis_accuracy": accuracies.mean()}


def _generated_beside(real: Batch, state: TrainState, key: jax.Array, nets: Networks) -> Batch:
    """As many generated sequences, of which the same is known: by it alone none can be told."""
    policy, known = nets.bind_policy(state.policy, state), real.known_if_any
    x_BTD = sampling.sample(policy, key, len(real), real.length, known_BTW=known)
    return Batch.of(x_BTD, known, policy.end)


def _unless_by_heart(
    after: Any, state: TrainState, parts: Parts, key: jax.Array, nets: Networks, most: int
) -> tuple[Any, Any]:
    """The discriminator after an epoch, or the kept one; and which is kept from now on.

    With the change of the mean loss since the kept one, u of unseen real sequences, t of those of
    the training part and g of fresh generated ones, without dropout: `after` is kept where
    u + g <= 0 or u <= t. Where it is not, and u - t is beyond BY_HEART standard errors, what was
    learned since is the training part by heart, and is forgotten. (u + g > 0 alone would not do: by
    noise half of the epochs would be lost where there is little to learn but to follow the policy.
    The error takes sequences for independent: of windows that overlap more is forgotten, and there
    more is learned by heart.)
    """
    kept, whole = state.kept_discriminator, len(parts.validation)
    number = min(most, whole)
    draw_key, fake_key = jax.random.split(key)
    unseen = parts.validation.take(jnp.arange(number) * whole // number)  # from all over
    seen = parts.train.take(jax.random.randint(draw_key, (most,), 0, len(parts.train)))
    asked = join(unseen, _generated_beside(unseen, state, fake_key, nets), seen)
    sign = jnp.where(jnp.arange(len(asked)) // number == 1, 1.0, -1.0)

    def losses(params: Params) -> jax.Array:
        return jax.nn.softplus(sign * in_blocks(nets.bind_discriminator(params, state), asked))

    u_N, g_N, t_M = jnp.split(losses(after[0]) - losses(kept[0]), [number, 2 * number])
    error = jnp.sqrt(jnp.var(u_N) / number + jnp.var(t_M) / most)
    by_heart = u_N.mean() - t_M.mean()
    good = (u_N.mean() + g_N.mean() <= 0) | (by_heart <= 0)
    now = jax.tree.map(partial(jnp.where, good | (by_heart <= BY_HEART * error)), after, kept)
    return now, jax.tree.map(partial(jnp.where, good), after, kept)


@partial(jax.jit, static_argnames="nets")
def discriminator_accuracy(
    state: TrainState, real: Batch, fake: Batch, *, nets: Networks
) -> jax.Array:
    """Share that D tells apart of sequences that it has not seen, real and generated alike."""
    network = nets.bind_discriminator(state.discriminator, state)
    right = in_blocks(network, real) > 0, in_blocks(network, fake) <= 0
    return 0.5 * (jnp.mean(right[0]) + jnp.mean(right[1]))


# ------------------------------------------------------------------ the policy


@partial(jax.jit, static_argnames=("config", "seeds"))  # not a program for each operation
def begin(state: TrainState, config: AdversarialConfig, seeds: int = 1) -> TrainState:
    """Policy, EMA and rollout policy all start as the pretrained policy; a fresh optimiser."""
    start = over_seeds(adam(config.gen_adv_lr).init, seeds, 0)
    return replace(
        state,
        policy=copy(state.best),
        policy_opt=start(state.best),
        ema=copy(state.best),
        rollout=copy(state.best),
        # A run that broke down stays out (run/health.py).
        pretrained_nll=jnp.where(state.pretrained_nll == -jnp.inf, -jnp.inf, state.best_nll),
    )


@partial(
    jax.jit, static_argnames=("nets", "config", "batch_size", "seeds"), donate_argnames="state"
)
def policy_updates(
    state: TrainState,
    parts: Parts,
    key: jax.Array,
    count: jax.Array,
    *,
    nets: Networks,
    config: AdversarialConfig,
    batch_size: int,
    seeds: int = 1,
) -> tuple[TrainState, Metrics]:
    """The updates of the policy in `count` rounds on rewards from the discriminator as it is.

    Each minimises - E[reward] / T + anchor * nll(real batch) - entropy_bonus * entropy. Without the
    anchor all estimators ruin a good policy within some hundred updates. Metrics [MAX_CHUNK].
    """

    def run(state: TrainState, key: jax.Array) -> tuple[TrainState, Metrics]:
        one = partial(
            _updates_of_a_round,
            parts=parts,
            key=key,
            nets=nets,
            config=config,
            batch_size=batch_size,
        )
        return units(one, state, count, POLICY_METRICS)

    return over_seeds(run, seeds, 0, 0)(state, key)


def _updates_of_a_round(
    state: TrainState,
    *,
    parts: Parts,
    key: jax.Array,
    nets: Networks,
    config: AdversarialConfig,
    batch_size: int,
) -> tuple[TrainState, Metrics]:
    optimiser = adam(config.gen_adv_lr)
    length = parts.train.length
    batch_size = fewer(batch_size, length)
    network = nets.bind_discriminator(state.discriminator, state)

    def reward(batch: Batch) -> jax.Array:
        return gradients.reward_of(network(batch), config.reward)

    def bind(params: Params) -> Any:
        return nets.bind_policy(params, state)

    def update(carry: Any, key: jax.Array) -> tuple[Any, Metrics]:
        params, opt = carry
        gradient_key, batch_key = jax.random.split(key)
        rows_B = jax.random.randint(batch_key, (batch_size,), 0, len(parts.train))
        real = parallel.shard_rows(parts.train.take(rows_B))
        if config.gradient != "pathwise":
            both, size = (bind(params), bind(state.rollout)), (length, batch_size)
            how = *both, reward, gradient_key, *size, config, real.known_if_any
            if config.gradient == "reinforce":
                samples, advantage_BT, mean = gradients.reinforce_batch(*how)
                loss = gradients.reinforce(bind, samples, advantage_BT, real, config)
            else:
                noise_TBP, advantage_BT, mean = gradients.mixed_batch(*how)
                loss = gradients.mixed(bind, reward, noise_TBP, advantage_BT, real, config)
            grads, metrics = jax.grad(loss, has_aux=True)(params)
            metrics["reward"] = mean
        else:
            shape = (length, batch_size, bind(params).num_noise)
            noise_TBP = parallel.shard(keys.normal(gradient_key, shape), 1)
            loss = gradients.pathwise(bind, reward, noise_TBP, real, config)
            grads, metrics = jax.grad(loss, has_aux=True)(params)
        return apply(optimiser, grads, opt, params), metrics

    own = keys.unit_key(key, keys.POLICY, state.round)
    update_keys = jax.random.split(own, config.gen_updates)
    (params, opt), metrics = lax.scan(update, (state.policy, state.policy_opt), update_keys)
    average = ema(state.ema, params, config.average_rounds)
    validation = validation_nll(bind(average), parts.validation)
    state = replace(
        state,
        policy=params,
        policy_opt=opt,
        ema=average,
        rollout=ema(state.rollout, params, config.rollout_update_rate),
        round=state.round + 1,
    )
    return state, jax.tree.map(jnp.mean, metrics) | {"validation_nll": validation}
