"""Training of the discriminator and of the policy on its rewards: phases 2 and 3, one program.

As in `steps`: a pure function of state, data and key that runs a number of units in one call.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig
from seqgan_jax.core import estimators, losses, networks, noise, parallel, rollout, steps
from seqgan_jax.core.networks import Params
from seqgan_jax.core.steps import Data, Networks, TrainState

UPDATE_METRICS = ("train_nll", "entropy", "reward")
REFRESH_METRICS = ("dis_loss", "dis_accuracy")
ROUND_METRICS = (*UPDATE_METRICS, "validation_nll", *REFRESH_METRICS)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Work:
    """How much of what to do, [] each: numbers on the device, so that one program does it all."""

    count: jax.Array  # units
    updates: jax.Array  # policy updates in each; 0 is pretraining of D
    refreshes: jax.Array  # trainings of D in each


def _refresh_discriminator(
    params: Params,
    opt: Any,
    policy_params: Params,
    real_NTD: jax.Array,
    key: jax.Array,
    nets: Networks,
    config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[Params, Any, dict[str, jax.Array]]:
    """Draw fresh generated and real sequences, and pass over both in batches, half of each kind.

    Minimises cross-entropy + lambda/2 ||output layer||^2 with dropout, + R1.
    """
    optimiser = steps.adam(config.dis_lr)
    size, length = real_NTD.shape[:2]
    number = config.num_negatives
    half = min(max(1, batch_size // 2), number)
    batches = number // half
    fake_key, real_key, pass_key = jax.random.split(key, 3)
    fake_MTD = rollout.sample(networks.bind(nets.policy, policy_params), fake_key, number, length)
    real_MTD = real_NTD[jax.random.randint(real_key, (number,), 0, size)]
    is_real_B = jnp.repeat(jnp.array([1.0, 0.0]), half)

    def loss(params: Params, x_BTD: jax.Array, key: jax.Array) -> Any:
        discriminator = networks.bind(nets.discriminator, params)
        logits_B = discriminator(x_BTD, key)
        value = losses.discriminator(logits_B, is_real_B)
        accuracy = jnp.mean((logits_B > 0) == (is_real_B > 0.5))
        total = value + config.dis_l2_reg_lambda * losses.output_l2(params)
        if config.dis_r1 > 0:
            total = total + config.dis_r1 * losses.r1(discriminator, x_BTD[:half])
        return total, (value, accuracy)

    def update(carry: Any, inputs: Any) -> Any:
        params, opt = carry
        index_B, key = inputs
        x_BTD = parallel.spread(jnp.concatenate([real_MTD[index_B], fake_MTD[index_B]]), 0)
        grads, metrics = jax.grad(loss, has_aux=True)(params, x_BTD, key)
        changes, opt = optimiser.update(grads, opt, params)
        return (optax.apply_updates(params, changes), opt), metrics

    def one_pass(carry: Any, key: jax.Array) -> Any:
        order_key, dropout_key = jax.random.split(key)
        order = noise.permutation(order_key, number)[: batches * half].reshape(batches, half)
        return lax.scan(update, carry, (order, jax.random.split(dropout_key, batches)))

    keys = jax.random.split(pass_key, config.dis_passes)
    (params, opt), (values, accuracies) = lax.scan(one_pass, (params, opt), keys)
    return params, opt, {"dis_loss": values.mean(), "dis_accuracy": accuracies.mean()}


def _repeat(
    number: jax.Array, body: Any, state: TrainState, key: jax.Array, names: tuple[str, ...]
) -> Any:
    """`state, metrics = body(state, key_i)` `number` times; the mean of each metric, NaN of none.

    `number` is on the device: pretraining of D runs no policy update by the same program.
    """
    sums = {name: jnp.zeros(()) for name in names}

    def step(i: jax.Array, carry: Any) -> Any:
        state, sums = carry
        state, metrics = body(state, jax.random.fold_in(key, i))
        return state, jax.tree.map(jnp.add, sums, metrics)

    state, sums = lax.fori_loop(0, number, step, (state, sums))
    return state, jax.tree.map(lambda total: total / number, sums)


@partial(
    jax.jit,
    static_argnames=("nets", "config", "dis_config", "batch_size", "seeds"),
    donate_argnames="state",
)
def rounds(
    state: TrainState,
    data: Data,
    key: jax.Array,
    work: Work,
    *,
    nets: Networks,
    config: AdversarialConfig,
    dis_config: DiscriminatorConfig,
    batch_size: int,
    seeds: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`work.count` rounds: policy updates on rewards from D, then D on fresh samples.

    The policy minimises surrogate - entropy_bonus * entropy + anchor * nll(real batch). Without
    the anchor both estimators ruin a good policy within some hundred updates. What is kept of it
    all, `judge` decides. Pretraining of D is the same without policy updates, and counted apart.
    """
    run = partial(_rounds, nets=nets, config=config, dis_config=dis_config, batch_size=batch_size)
    return steps.many(run, seeds)(state, data, key, work)


def _rounds(
    state: TrainState,
    data: Data,
    key: jax.Array,
    work: Work,
    *,
    nets: Networks,
    config: AdversarialConfig,
    dis_config: DiscriminatorConfig,
    batch_size: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
    optimiser = steps.adam(config.gen_adv_lr)
    size, length = data.train_NTD.shape[:2]
    pretraining = work.updates == 0

    def update(state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        gradient_key, batch_key = jax.random.split(key)
        index_B = jax.random.randint(batch_key, (batch_size,), 0, size)
        real_BTD = parallel.spread(data.train_NTD[index_B], 0)
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
            shape = (length, batch_size, policy.noise_size)
            noise_TBD = parallel.spread(noise.normal(gradient_key, shape), 1)
            loss = estimators.pathwise(nets.policy, reward, noise_TBD, real_BTD, config)
            grads, metrics = jax.grad(loss, has_aux=True)(state.generator)
        changes, opt = optimiser.update(grads, state.generator_opt, state.generator)
        params = optax.apply_updates(state.generator, changes)
        return replace(state, generator=params, generator_opt=opt), metrics

    def refresh(state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
        params, opt, metrics = _refresh_discriminator(
            state.discriminator,
            state.discriminator_opt,
            state.generator,
            data.train_NTD,
            key,
            nets,
            dis_config,
            batch_size,
        )
        return replace(state, discriminator=params, discriminator_opt=opt), metrics

    def one_round(state: TrainState) -> tuple[TrainState, dict[str, jax.Array]]:
        phase = jnp.where(pretraining, steps.DIS_PRETRAIN, steps.ADVERSARIAL)
        unit = jnp.where(pretraining, state.refresh, state.round)
        gen_key, dis_key = jax.random.split(steps.unit_key(key, phase, unit))
        state, metrics = _repeat(work.updates, update, state, gen_key, UPDATE_METRICS)
        state, dis_metrics = _repeat(work.refreshes, refresh, state, dis_key, REFRESH_METRICS)
        # Weights of one where the policy has not moved: nothing of it changes by a bit.
        decay = jnp.where(pretraining, 1.0, config.average_rounds)
        rollout_decay = jnp.where(pretraining, 1.0, config.rollout_update_rate)
        average = steps.mix(state.average, state.generator, decay)
        validation = losses.nll(networks.bind(nets.policy, average), data.validation_NTD)
        state = replace(
            state,
            average=average,
            rollout=steps.mix(state.rollout, state.generator, rollout_decay),
            refresh=state.refresh + jnp.where(pretraining, 1, 0),
            round=state.round + jnp.where(pretraining, 0, 1),
        )
        return state, metrics | dis_metrics | {"validation_nll": validation}

    return steps.chunk(one_round, state, work.count, ROUND_METRICS)


@partial(jax.jit, static_argnames=("nets", "config", "seeds"), donate_argnames="state")
def judge(
    state: TrainState,
    data: Data,
    key: jax.Array,
    *,
    nets: Networks,
    config: AdversarialConfig,
    seeds: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Keep the average policy as `final` where it is better than what was kept, by two criteria.

    Coverage: the validation part is at most `tolerance` nats a step less likely than under the
    pretrained policy. Quality: a fresh small discriminator, trained on the training part against
    new samples, tells other samples from the validation part less well, by two standard errors.
    told = E_p[logit] - E_q[logit], nats a sequence: of the best discriminator
    KL(p || q) + KL(q || p) (Goodfellow et al. 2014, proposition 1), 0 where the two cannot be told
    apart. (Its cross-entropy would not do: it hardly moves while samples that are all easy to tell
    become much better.) Random numbers are the same at every call: like is compared with like.
    """
    run = partial(_judge, nets=nets, config=config)
    return steps.many(run, seeds)(state, data, key, None)


def _judge(
    state: TrainState,
    data: Data,
    key: jax.Array,
    work: None,  # noqa: ARG001
    *,
    nets: Networks,
    config: AdversarialConfig,
) -> tuple[TrainState, dict[str, jax.Array]]:
    policy = networks.bind(nets.policy, state.average)
    key = jax.random.fold_in(key, steps.JUDGE)
    told, error = told_apart(policy, data.train_NTD, data.validation_NTD, key, nets.increment_scale)
    validation = losses.nll(policy, data.validation_NTD)
    keep = (validation <= state.pretrained_nll + config.tolerance) & (
        told + 2.0 * error < state.final_told
    )
    state = replace(
        state,
        final=jax.tree.map(lambda a, b: jnp.where(keep, a, b), state.average, state.final),
        final_nll=jnp.where(keep, validation, state.final_nll),
        final_told=jnp.where(keep, told, state.final_told),
        kept_round=jnp.where(keep, state.round, state.kept_round),
    )
    return state, {"told_apart": told}


FRESH_STEPS, FRESH_HALF, FRESH_RATE, FRESH_KEEP_PROB, FRESH_TESTED = 300, 64, 2e-3, 0.75, 2000


def told_apart(
    policy: networks.LSTMPolicy,
    real_NTD: jax.Array,
    other_NTD: jax.Array,
    key: jax.Array,
    increment_scale: tuple[float, ...],
) -> tuple[jax.Array, jax.Array]:
    """How well a fresh small discriminator tells samples from `other_NTD`, and its error, nats.

    It learns on `real_NTD` against one draw of samples and is asked about others. Consumes `key`.
    """
    optimiser = steps.adam(FRESH_RATE)
    size, length, features = real_NTD.shape
    number = FRESH_STEPS * FRESH_HALF // 4
    init_key, fake_key, batch_key = jax.random.split(key, 3)
    drawn_MTD = rollout.sample(policy, fake_key, number + FRESH_TESTED, length)
    fake_MTD, test_MTD = drawn_MTD[:number], drawn_MTD[number:]
    definition, params = networks.discriminator(
        init_key, "small", length, features, FRESH_KEEP_PROB, increment_scale
    )
    is_real_B = jnp.repeat(jnp.array([1.0, 0.0]), FRESH_HALF)

    def update(carry: Any, key: jax.Array) -> Any:
        params, opt = carry
        real_key, fake_key, dropout_key = jax.random.split(key, 3)
        real_BTD = real_NTD[jax.random.randint(real_key, (FRESH_HALF,), 0, size)]
        fake_BTD = fake_MTD[jax.random.randint(fake_key, (FRESH_HALF,), 0, number)]

        def loss(params: Params) -> jax.Array:
            x_BTD = jnp.concatenate([real_BTD, fake_BTD])
            logits_B = networks.bind(definition, params)(x_BTD, dropout_key)
            return losses.discriminator(logits_B, is_real_B)

        changes, opt = optimiser.update(jax.grad(loss)(params), opt, params)
        return (optax.apply_updates(params, changes), opt), None

    keys = jax.random.split(batch_key, FRESH_STEPS)
    (params, _), _ = lax.scan(update, (params, optimiser.init(params)), keys)
    discriminator = networks.bind(definition, params)
    # One pass for both: a second shape would be compiled as well.
    logits = discriminator(jnp.concatenate([other_NTD, test_MTD]))
    real_N, fake_M = jnp.split(logits, [other_NTD.shape[0]])
    error = jnp.sqrt(real_N.var() / real_N.shape[0] + fake_M.var() / FRESH_TESTED)
    return real_N.mean() - fake_M.mean(), error


@partial(jax.jit, static_argnames="nets")
def discriminator_accuracy(
    params: Params, real_NTD: jax.Array, fake_NTD: jax.Array, *, nets: Networks
) -> jax.Array:
    """Share that D tells apart of sequences that it has not seen, real and generated alike."""
    discriminator = networks.bind(nets.discriminator, params)
    real, fake = discriminator(real_NTD) > 0, discriminator(fake_NTD) <= 0
    return 0.5 * (jnp.mean(real) + jnp.mean(fake))
