"""The scalars that are minimised. Pure functions of arrays; no state, no keys."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from seqgan_jax.core.networks import LSTMPolicy, Params


def nll(policy: LSTMPolicy, x_BTD: jax.Array) -> jax.Array:
    """Negative log-likelihood a step: -1 / (B T) sum_bt log pi(x_bt | x_b<t), nats."""
    return -jnp.mean(policy.log_prob(x_BTD))


def policy_gradient(log_prob_BT: jax.Array, advantage_BT: jax.Array) -> jax.Array:
    """REINFORCE surrogate: -1 / B sum_bt A_bt log pi(x_bt | x_b<t).

    Its gradient is the policy gradient only where neither the samples nor A depend on the
    parameters; both are put under `stop_gradient` here (the samples when they are drawn).
    Williams 1992; Yu et al. 2017, equation 6.
    """
    weights_BT = jax.lax.stop_gradient(advantage_BT)
    return -jnp.mean(jnp.sum(weights_BT * log_prob_BT, axis=1))


def normalised(advantage_BT: jax.Array) -> jax.Array:
    """Advantages at unit root mean square over the batch; all zero stays all zero.

    Not centred: subtracting a mean over steps would bias the gradient.
    """
    return advantage_BT / (jnp.sqrt(jnp.mean(advantage_BT**2)) + 1e-8)


def discriminator(logits_B: jax.Array, is_real_B: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of 'real' (1) against 'generated' (0), nats."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits_B, is_real_B))


def output_l2(params: Params) -> jax.Array:
    """1/2 ||W||^2 + 1/2 ||b||^2 of the output layer only, as in the SeqGAN paper's code.

    On every weight (the PyTorch project) a factor of 0.2 keeps a discriminator at ln 2 for ever.
    """
    output = params["output"]
    return 0.5 * (jnp.sum(output["kernel"] ** 2) + jnp.sum(output["bias"] ** 2))


def r1(discriminator: Callable[[jax.Array], jax.Array], real_BTD: jax.Array) -> jax.Array:
    """R1 penalty: mean of 1/2 ||d logit / d x||^2 over real sequences, without dropout.

    Mescheder et al. 2018, equation 9.
    """
    gradient_BTD = jax.grad(lambda x_BTD: jnp.sum(discriminator(x_BTD)))(real_BTD)
    return 0.5 * jnp.mean(jnp.sum(gradient_BTD**2, axis=(1, 2)))


def reward(logits_B: jax.Array, form: str) -> jax.Array:
    """What a finished sequence earns: D's probability of 'real' (the paper) or its logit."""
    return logits_B if form == "logit" else jax.nn.sigmoid(logits_B)
