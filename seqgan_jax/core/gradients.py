"""The policy's loss in adversarial training: three estimators of one gradient.

All minimise, with the same meaning of every weight,

    - E[r(x)] / T + anchor * nll(real) - entropy_bonus * entropy

REINFORCE as E[sum_t A_t grad log pi(x_t | x_<t)] / T on samples that are held fixed, pathwise as
E[grad r(x(params, noise))] / T through the samples and the discriminator; mixed as either, by what
a value has, a mass or a density.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqgan_jax.config import AdversarialConfig
from seqgan_jax.core import keys, parallel, sampling
from seqgan_jax.core.batch import Batch, Params, join
from seqgan_jax.core.optimiser import Metrics
from seqgan_jax.core.policy import LSTMPolicy, steps_with_values
from seqgan_jax.core.sampling import Reward

Bind = Callable[[Params], LSTMPolicy]
Loss = Callable[[Params], tuple[jax.Array, Metrics]]


def reward_of(logits_B: jax.Array, form: str) -> jax.Array:
    """What a finished sequence earns: D's probability of 'real' (the paper) or its logit."""
    return logits_B if form == "logit" else jax.nn.sigmoid(logits_B)


def policy_gradient(log_prob_BT: jax.Array, advantage_BT: jax.Array) -> jax.Array:
    """REINFORCE surrogate: -1 / B sum_bt A_bt log pi(x_bt | x_b<t).

    Its gradient is the policy gradient only where neither the samples nor A depend on the
    parameters; both are put under `stop_gradient` (the samples when they are drawn).
    Williams 1992; Yu et al. 2017, equation 6.
    """
    weights_BT = jax.lax.stop_gradient(advantage_BT)
    return -jnp.mean(jnp.sum(weights_BT * log_prob_BT, axis=1))


def _with_regularisers(
    policy: LSTMPolicy, samples: Batch, real: Batch, config: AdversarialConfig
) -> tuple[jax.Array, jax.Array, Metrics]:
    """log pi of the samples `[B, T]`, the regularisers' part of the loss, and metrics.

    Samples and real sequences go through one teacher-forced pass: half the scans.
    """
    size, both = len(samples), join(samples, real)

    def a_step(values_BT: jax.Array, batch: Batch) -> jax.Array:
        if policy.end is None:
            return jnp.mean(values_BT)
        return jnp.sum(values_BT) / steps_with_values(policy, batch)

    if policy.chain.closed_entropy:
        log_prob, entropies = (a.sum(axis=-1) for a in policy.log_prob_and_entropy(both))
        entropy = jnp.mean(entropies[:size])
    else:
        log_prob = policy.log_prob(both).sum(axis=-1)
        entropy = -a_step(jax.lax.stop_gradient(log_prob[:size]), samples)
    nll = -a_step(log_prob[size:], real)
    value = config.anchor * nll - config.entropy_bonus * entropy
    return log_prob[:size], value, {"train_nll": nll, "entropy": entropy}


def reinforce_batch(
    policy: LSTMPolicy,
    rollout_policy: LSTMPolicy,
    reward: Reward,
    key: jax.Array,
    length: int,
    batch: int,
    config: AdversarialConfig,
    known_BTW: jax.Array | None = None,
) -> tuple[Batch, jax.Array, jax.Array]:
    """Samples, their advantages `[B, T]` and their mean reward. Consumes `key`.

    Yu et al. 2017, algorithm 1, with A_t = Q_t - Q_{t-1} in place of Q_t.
    """
    sample_key, rollout_key = jax.random.split(key)
    x_BTD = sampling.sample(policy, sample_key, batch, length, known_BTW=known_BTW)
    advantage_BT, mean = advantages(rollout_policy, reward, x_BTD, rollout_key, config, known_BTW)
    samples = Batch.of(jax.lax.stop_gradient(x_BTD), known_BTW, policy.end)
    return samples, advantage_BT, mean


def advantages(
    rollout_policy: LSTMPolicy,
    reward: Reward,
    x_BTD: jax.Array,
    key: jax.Array,
    config: AdversarialConfig,
    known_BTW: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """A_t = Q_t - Q_{t-1} of samples, `[B, T]`, and their mean reward. Consumes `key`."""
    length = x_BTD.shape[1]
    every = sampling.spacing(config.rollout_every, length)
    how = config.rollout_num, config.rollouts_at_once, every
    q_BQ = sampling.q_values(rollout_policy, reward, x_BTD, key, *how, known_BTW)
    advantage_BT = sampling.over_steps(sampling.advantages(q_BQ), length, every)
    return advantage_BT, jnp.mean(q_BQ[:, -1])


def reinforce(
    bind: Bind, samples: Batch, advantage_BT: jax.Array, real: Batch, config: AdversarialConfig
) -> Loss:
    """REINFORCE surrogate a step on given samples; neither they nor A carry a gradient."""

    def loss(params: Params) -> tuple[jax.Array, Metrics]:
        log_prob_BT, value, metrics = _with_regularisers(bind(params), samples, real, config)
        return policy_gradient(log_prob_BT, advantage_BT) / samples.length + value, metrics

    return loss


def mixed_batch(
    policy: LSTMPolicy,
    rollout_policy: LSTMPolicy,
    reward: Reward,
    key: jax.Array,
    length: int,
    batch: int,
    config: AdversarialConfig,
    known_BTW: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Noise `[T, B, P]`, the advantages `[B, T]` of its samples and their mean reward. Consumes
    `key`."""
    noise_key, rollout_key = jax.random.split(key)
    noise_TBP = parallel.shard(keys.normal(noise_key, (length, batch, policy.num_noise)), 1)
    x_BTD = sampling.sample_from_noise(policy, noise_TBP, known_BTW=known_BTW)
    found = advantages(rollout_policy, reward, x_BTD, rollout_key, config, known_BTW)
    return noise_TBP, *found


def mixed(
    bind: Bind,
    reward: Reward,
    noise_TBP: jax.Array,
    advantage_BT: jax.Array,
    real: Batch,
    config: AdversarialConfig,
) -> Loss:
    """Both: through what has a density, and REINFORCE of what has a mass (Schulman et al. 2015).

        grad E[r] = E[dr/dx dx/dparams + sum_t A_t d/dparams sum_d log P(choice_td | x_<td)]

    with x = x(params, noise, choices) in the second term, too: what was drawn from a density moves
    with the parameters, and with it the probability of each choice after it. `advantage_BT` is of
    the samples of this noise, and carries no gradient.
    """

    def loss(params: Params) -> tuple[jax.Array, Metrics]:
        policy = bind(params)
        known = real.known_if_any
        x_BTD = sampling.sample_from_noise(policy, noise_TBP, known_BTW=known)
        samples = Batch.of(x_BTD, known, policy.end)
        held = Batch.of(jax.lax.stop_gradient(x_BTD), known, policy.end)
        _, value, metrics = _with_regularisers(policy, held, real, config)
        log_choice_BT = policy.log_choices(samples).sum(axis=-1)
        gain = jnp.mean(reward(samples)) - policy_gradient(log_choice_BT, advantage_BT)
        return value - gain / samples.length, metrics

    return loss


def pathwise(
    bind: Bind, reward: Reward, noise_TBP: jax.Array, real: Batch, config: AdversarialConfig
) -> Loss:
    """Minus the mean reward a step of samples made from `noise_TBP`, differentiated through.

    What is known of the steps of `real`, of which there are as many, is known of the samples'.
    """

    def loss(params: Params) -> tuple[jax.Array, Metrics]:
        policy = bind(params)
        known = real.known_if_any
        x_BTD = sampling.sample_from_noise(policy, noise_TBP, known_BTW=known)
        samples = Batch.complete(x_BTD, known)
        _, value, metrics = _with_regularisers(policy, samples, real, config)
        mean = jnp.mean(reward(samples))
        return value - mean / samples.length, metrics | {"reward": mean}

    return loss
