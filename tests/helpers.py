"""Small networks with weights that are not zero, shared by several test files."""

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import networks


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


def random_params(params, seed, scale=0.3):
    """The same tree with every leaf but the frame perturbed, so that nothing is at its zero."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_unflatten(
        structure,
        [
            leaf
            if "frame" in jax.tree_util.keystr(path)
            else leaf + jnp.asarray(scale * rng.normal(size=leaf.shape), leaf.dtype)
            for path, leaf in leaves
        ],
    )


def policy(features=2, hidden=5, length=6, covariance="full", seed=0, **settings):
    """Definition and perturbed parameters of a small policy."""
    frame = networks.fit_frame(series(200, length, features, seed), covariance)
    settings = {"policy": "gaussian", "components": 3} | settings
    config = GeneratorConfig(hidden_dim=hidden, covariance=covariance, **settings)
    definition, params = networks.policy(jax.random.key(seed), config, frame)
    return definition, random_params(params, seed)
