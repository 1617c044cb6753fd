"""Bias and noise of the policy gradient: REINFORCE with rollouts against the pathwise gradient.

    python benchmarks/gradients.py --data regime --rollouts 1 4 16

Both estimate the gradient of the mean reward a step, at the same policy (pretrained by maximum
likelihood) and the same discriminator. The truth is taken to be the mean of all pathwise estimates,
in two independent halves: their distance is the floor of what `bias` can show.
  signal/noise  |mean|^2 / E|g - mean|^2 of one batch; 1 / it: batches to average for a ratio of one
  cosine        between the estimator's mean and the truth
  bias          |mean - truth| / |truth|
  floor         what `bias` would be by chance: the root of (noise / batches) over |truth|^2
Q_t alone, as in the paper, and the advantage Q_t - Q_{t-1}, as here, without any normalisation.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from seqgan_jax import SeqGAN
from seqgan_jax.config import AdversarialConfig
from seqgan_jax.core import estimators, losses, networks, noise, rollout
from seqgan_jax.data.layout import load

Estimate = Callable[[jax.Array], jax.Array]  # key -> gradient as one vector


def estimates(model: SeqGAN, rollouts: Sequence[int], batch: int) -> dict[str, Estimate]:
    """An estimator for each row of the table, of minus the mean reward a step."""
    state, nets, length = model.state, model.nets, model.description.length
    discriminator = networks.bind(nets.discriminator, state.discriminator)
    plain = AdversarialConfig(anchor=0.0)

    def reward(x_BTD: jax.Array) -> jax.Array:
        return losses.reward(discriminator(x_BTD), "logit")

    def flat(loss: Any) -> jax.Array:
        return ravel_pytree(jax.grad(loss, has_aux=True)(state.final)[0])[0]

    def pathwise(key: jax.Array) -> jax.Array:
        policy = networks.bind(nets.policy, state.final)
        drawn = noise.normal(key, (length, batch, policy.noise_size))
        nothing = jnp.zeros((1, length, policy.features))
        return flat(estimators.pathwise(nets.policy, reward, drawn, nothing, plain))

    def reinforce(key: jax.Array, number: int, baseline: bool) -> jax.Array:
        policy = networks.bind(nets.policy, state.final)
        sample_key, rollout_key = jax.random.split(key)
        x_BTD = lax.stop_gradient(rollout.sample(policy, sample_key, batch, length))
        q_BT = rollout.q_values(policy, reward, x_BTD, rollout_key, number, 1)
        weights_BT = rollout.advantages(q_BT) if baseline else q_BT

        def loss(params: networks.Params) -> tuple[jax.Array, None]:
            log_prob_BT = networks.bind(nets.policy, params).log_prob(x_BTD)
            return losses.policy_gradient(log_prob_BT, weights_BT) / length, None

        return flat(loss)

    found: dict[str, Estimate] = {"pathwise": pathwise}
    for number in rollouts:
        found[f"REINFORCE, N = {number}, Q"] = lambda key, n=number: reinforce(key, n, False)
        found[f"REINFORCE, N = {number}, advantage"] = lambda key, n=number: reinforce(key, n, True)
    return found


def moments(estimate: Estimate, seed: int, batches: int) -> tuple[np.ndarray, float, float]:
    """Mean vector, E|g - mean|^2 and seconds a batch over `batches` independent batches."""

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        return lax.map(estimate, jax.random.split(key, batches))

    compiled = run.lower(jax.random.key(seed)).compile()
    found: list[np.ndarray] = []
    spent = measure.seconds(
        lambda: found.append(np.asarray(compiled(jax.random.key(seed)), np.float64))
    )
    mean = found[0].mean(0)
    return mean, float(np.sum(found[0].var(0, ddof=1))), spent / batches


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__)
    flags.add_argument("--data", default="regime", help="a simulator or a file")
    flags.add_argument("--rollouts", type=int, nargs="+", default=[1, 4, 16])
    flags.add_argument("--batches", type=int, default=400)
    flags.add_argument("--policy", default="gaussian", choices=["gaussian", "mixture", "student"])
    options: argparse.Namespace = measure.parse(flags, arguments)
    batches = 20 if options.quick else options.batches
    settings = {"policy": options.policy, "total_batch": 0}
    if options.quick:
        settings |= {"pre_epoch_num": 2, "dis_pre_refreshes": 2}
    number = 500 if options.quick else 10_000
    model = SeqGAN(**settings).fit(load(options.data, window=20, num_sequences=number))
    rows = {
        name: moments(estimate, seed, batches)
        for seed, (name, estimate) in enumerate(estimates(model, options.rollouts, 64).items())
    }
    truth = rows["pathwise"][0]
    size = np.linalg.norm(truth)
    cells, content = [], []
    for name, (mean, spread, seconds) in rows.items():
        cosine = float(mean @ truth / np.linalg.norm(mean) / size)
        other = 0.0 if name == "pathwise" else rows["pathwise"][1]
        row = {
            "estimator": name,
            "signal_to_noise": float(max(mean @ mean - spread / batches, 0.0) / spread),
            "cosine": cosine,
            "bias": float(np.linalg.norm(mean - truth) / size),
            "floor": float(np.sqrt((spread + other) / batches) / size),
            "seconds": seconds,
        }
        content.append(row)
        figures = (f"{row[name]:.3g}" for name in ("signal_to_noise", "cosine", "bias", "floor"))
        cells.append([name, *figures, measure.duration(seconds)])
    columns = ("estimator", "signal/noise", "cosine", "bias", "floor", "a batch of 64")
    measure.show(f"Policy gradient on {options.data}, {batches} batches of 64", columns, cells)
    measure.write(options.json, "gradients", {"data": options.data, "rows": content})
    return 0


if __name__ == "__main__":
    sys.exit(main())
