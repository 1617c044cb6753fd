"""The policy's loss in adversarial training: two estimators of the same gradient.

Both give `loss(params) -> (value, metrics)` for one batch:
  REINFORCE  E[sum_t A_t grad log pi(x_t | x_<t)] on samples that are held fixed
  pathwise   E[grad r(x(params, noise))], through the samples and the discriminator
plus anchor * nll(real batch) - entropy_bonus * entropy.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqgan_jax.config import AdversarialConfig
from seqgan_jax.core import losses, networks, rollout
from seqgan_jax.core.networks import Definition, LSTMPolicy, Params

Metrics = dict[str, jax.Array]
Loss = Callable[[Params], tuple[jax.Array, Metrics]]
Reward = Callable[[jax.Array], jax.Array]


def _with_regularisers(
    policy: LSTMPolicy, x_BTD: jax.Array, real_BTD: jax.Array, config: AdversarialConfig
) -> tuple[jax.Array, jax.Array, Metrics]:
    """log pi of the samples `[B, T]`, the regularisers' part of the loss, and metrics.

    Samples and real sequences go through one teacher-forced pass: half the scans.
    """
    batch, both_BTD = x_BTD.shape[0], jnp.concatenate([x_BTD, real_BTD])
    if policy.family.closed_entropy:
        log_prob, entropies = policy.log_prob_and_entropy(both_BTD)
        entropy = jnp.mean(entropies[:batch])
    else:
        log_prob = policy.log_prob(both_BTD)
        entropy = -jnp.mean(jax.lax.stop_gradient(log_prob[:batch]))
    nll = -jnp.mean(log_prob[batch:])
    value = config.anchor * nll - config.entropy_bonus * entropy
    return log_prob[:batch], value, {"train_nll": nll, "entropy": entropy}


def reinforce_batch(
    policy: LSTMPolicy,
    rollout_policy: LSTMPolicy,
    reward: Reward,
    key: jax.Array,
    length: int,
    batch: int,
    config: AdversarialConfig,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Samples `x_BTD`, their advantages `A_BT` and their mean reward; consumes `key`.

    Yu et al. 2017, algorithm 1, with A_t = Q_t - Q_{t-1} in place of Q_t.
    """
    sample_key, rollout_key = jax.random.split(key)
    x_BTD = rollout.sample(policy, sample_key, batch, length)
    number, asked, every = config.rollout_num, config.rollouts_at_once, config.rollout_every
    q_BJ = rollout.q_values(rollout_policy, reward, x_BTD, rollout_key, number, asked, every)
    advantage_BT = rollout.over_steps(rollout.advantages(q_BJ), length, every)
    return x_BTD, losses.normalised(advantage_BT), jnp.mean(q_BJ[:, -1])


def reinforce(
    definition: Definition,
    x_BTD: jax.Array,
    advantage_BT: jax.Array,
    real_BTD: jax.Array,
    config: AdversarialConfig,
) -> Loss:
    """REINFORCE surrogate a step on given samples; neither they nor A carry a gradient."""
    x_BTD = jax.lax.stop_gradient(x_BTD)

    def loss(params: Params) -> tuple[jax.Array, Metrics]:
        policy = networks.bind(definition, params)
        log_prob_BT, value, metrics = _with_regularisers(policy, x_BTD, real_BTD, config)
        surrogate = losses.policy_gradient(log_prob_BT, advantage_BT) / x_BTD.shape[1]
        return surrogate + value, metrics

    return loss


def pathwise(
    definition: Definition,
    reward: Reward,
    noise_TBD: jax.Array,
    real_BTD: jax.Array,
    config: AdversarialConfig,
) -> Loss:
    """Minus the mean reward a step of samples made from `noise_TBD`, differentiated through."""

    def loss(params: Params) -> tuple[jax.Array, Metrics]:
        policy = networks.bind(definition, params)
        x_BTD = rollout.sample_from_noise(policy, noise_TBD)
        _, value, metrics = _with_regularisers(policy, x_BTD, real_BTD, config)
        mean = jnp.mean(reward(x_BTD))
        return value - mean / x_BTD.shape[1], metrics | {"reward": mean}

    return loss
