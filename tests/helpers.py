"""Small networks with weights that are not zero, shared by several test files."""

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import baseline, discriminator, networks, policy
from seqgan_jax.core.batch import Batch, Parts
from seqgan_jax.core.discriminator import Discriminator
from seqgan_jax.core.reference_discriminator import ReferenceDiscriminator

LENGTH = 5
GEN = GeneratorConfig(hidden_dim=6, patience=3, policy="gaussian")
DIS = DiscriminatorConfig(num_negatives=64, dis_r1=0.0)  # the penalty is slow to compile
ADV = AdversarialConfig(
    gen_updates=1,
    rollout_num=3,
    gradient="reinforce",
    reward="probability",
    average_rounds=0.98,
    gen_adv_lr=1e-4,
)


def series(n, length, features, seed=0):
    """Correlated random walks around zero, [n, T, D], float64."""
    rng = np.random.default_rng(seed)
    mix = np.eye(features) + 0.3 * np.tril(np.ones((features, features)), -1)
    steps = rng.normal(size=(n, length, features)) @ mix.T
    x = np.zeros_like(steps)
    x[:, 0] = steps[:, 0]
    for t in range(1, length):
        x[:, t] = 0.7 * x[:, t - 1] + 0.5 * steps[:, t] + 0.1
    return x


def batch(x):
    """Complete sequences in float32."""
    return Batch.complete(jnp.asarray(x, jnp.float32))


def random_params(params, seed, scale=0.3):
    """The same tree with every leaf perturbed, so that nothing is at its zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype), params
    )


def linear(x, covariance="full", kind="var"):
    """The linear baseline of sequences, by plain least squares."""
    return baseline.fit(x, x, covariance, kind)


def policy_of(fitted, hidden=4, **settings):
    """An untrained policy: definition, parameters, constants."""
    settings = {"policy": "gaussian", "components": 3} | settings
    config = GeneratorConfig(hidden_dim=hidden, **settings)
    return policy.init(jax.random.key(0), config, fitted)


def small_policy(features=2, hidden=5, length=6, seed=0, **settings):
    """Definition, perturbed parameters and constants of a small policy."""
    fitted = linear(series(200, length, features, seed), settings.get("covariance", "full"))
    definition, params, constants = policy_of(fitted, hidden, **settings)
    return definition, random_params(params, seed), constants


def small_discriminator(size, length, features=1, keep_prob=1.0, seed=0):
    """Definition, fresh parameters and constants of a discriminator."""
    module = (
        Discriminator(length, keep_prob, jnp.ones(features))
        if size == "small"
        else ReferenceDiscriminator(length, features, keep_prob)
    )
    return discriminator.init(jax.random.key(seed), module)


def training(seed=0, features=2, dis=DIS):
    """Networks, the state from which training starts, data and a key."""
    x = series(160, LENGTH, features, seed)
    train, validation = x[:128], x[128:]
    nets, state = networks.init(
        jax.random.key(seed), LENGTH, linear(train), jnp.ones(features), GEN, dis
    )
    parts = Parts(batch(train), batch(validation), jnp.arange(len(validation)))
    return nets, state, parts, jax.random.key(seed + 1)


def on_host(tree):
    """Copies that a donated state leaves as they are."""
    return jax.tree.map(np.array, tree)


def same(a, b):
    """Whether two trees are equal to the bit."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def steps_of_one(number: int, seed: int) -> np.ndarray:
    """A walk whose increments are 1 or -1 but for a little noise: no Gaussian step is like that."""
    rng = np.random.default_rng(seed)
    jumps = rng.choice([-1.0, 1.0], (number, 8)) + 0.1 * rng.normal(size=(number, 8))
    return jumps.cumsum(axis=1)
