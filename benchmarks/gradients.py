"""Bias and noise of the policy gradient: REINFORCE with rollouts against the pathwise gradient.

    python benchmarks/gradients.py --data regime --rollouts 1 4 16
    python benchmarks/gradients.py --data rain --policy mixture --rollouts 1 4

Where some columns are not continuous, mixed stands in the place of pathwise. All estimate the
gradient of the mean reward a step, at the same policy (pretrained by maximum likelihood) and the
same discriminator, without anchor and entropy bonus, which are one term for all. The truth is taken
to be the mean of all pathwise estimates, or of mixed with most rollouts.
  signal/noise  |mean|^2 / E|g - mean|^2 of one batch; 1 / it: batches to average for a ratio of one
  cosine        between the estimator's mean and the truth
  bias          |mean - truth| / |truth|
  floor         what `bias` would be by chance: the root of (noise / batches) over |truth|^2
Q_t alone, as in the paper, and the advantage Q_t - Q_{t-1}, as here.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from seqgan_jax import SeqGAN
from seqgan_jax.config import AdversarialConfig
from seqgan_jax.core import gradients, keys, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.data.layout import load

Estimate = Callable[[jax.Array], jax.Array]  # key -> gradient as one vector


def estimates(model: SeqGAN, rollouts: Sequence[int], batch: int) -> dict[str, Estimate]:
    """An estimator for each row of the table, of minus the mean reward a step."""
    state, length = model.state, model.description.length
    bind = partial(model.nets.bind_policy, state=state)
    discriminator = model.nets.bind_discriminator(state.discriminator, state)
    policy = bind(state.best)
    reward_alone = AdversarialConfig(anchor=0.0, entropy_bonus=0.0)
    real = Batch.complete(jnp.zeros((1, length, policy.features)))  # of no weight

    def reward(samples: Batch) -> jax.Array:
        return gradients.reward_of(discriminator(samples), "logit")

    def flat(loss: Any) -> jax.Array:
        return ravel_pytree(jax.grad(loss, has_aux=True)(state.best)[0])[0]

    def pathwise(key: jax.Array) -> jax.Array:
        noise_TBP = keys.normal(key, (length, batch, policy.num_noise))
        return flat(gradients.pathwise(bind, reward, noise_TBP, real, reward_alone))

    def reinforce(key: jax.Array, number: int, weight: Callable[..., jax.Array]) -> jax.Array:
        sample_key, rollout_key = jax.random.split(key)
        x_BTD = sampling.sample(policy, sample_key, batch, length)
        weights_BT = weight(sampling.q_values(policy, reward, x_BTD, rollout_key, number))
        samples = Batch.complete(x_BTD)
        return flat(gradients.reinforce(bind, samples, weights_BT, real, reward_alone))

    def mixed(key: jax.Array, number: int) -> jax.Array:
        noise_key, rollout_key = jax.random.split(key)
        noise_TBP = keys.normal(noise_key, (length, batch, policy.num_noise))
        x_BTD = sampling.sample_from_noise(policy, noise_TBP)
        q_BT = sampling.q_values(policy, reward, x_BTD, rollout_key, number)
        weights_BT = sampling.advantages(q_BT)
        return flat(gradients.mixed(bind, reward, noise_TBP, weights_BT, real, reward_alone))

    found: dict[str, Estimate] = {"pathwise": pathwise}
    if policy.columns is not None:
        most = sorted(rollouts, reverse=True)
        found = {f"mixed, N = {number}": partial(mixed, number=number) for number in most}
    for number in rollouts:
        weights = {"Q": lambda q_BT: q_BT, "advantage": sampling.advantages}
        for name, weight in weights.items():
            found[f"REINFORCE, N = {number}, {name}"] = partial(
                reinforce, number=number, weight=weight
            )
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
    flags = measure.parser(__doc__, "gpu")
    flags.add_argument("--data", default="regime", help="a simulator or a file")
    flags.add_argument("--rollouts", type=int, nargs="+", default=[1, 4, 16])
    flags.add_argument("--batches", type=int, default=400)
    flags.add_argument("--policy", default="gaussian", choices=["gaussian", "mixture", "student"])
    options = measure.parse(flags, arguments)
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
    best = next(iter(rows))
    truth = rows[best][0]
    size = np.linalg.norm(truth)
    cells, content = [], []
    for name, (mean, spread, seconds) in rows.items():
        cosine = float(mean @ truth / np.linalg.norm(mean) / size)
        other = 0.0 if name == best else rows[best][1]
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
