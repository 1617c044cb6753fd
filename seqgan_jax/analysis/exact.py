"""Exact gaps: how far a trained model is from a simulator whose density is known, in nats.

coverage gap = mean over held-out real x of (log p(x) - log q(x)) / T = KL(p || q) / T
quality gap  = mean over samples x of q of  (log q(x) - log p(x)) / T = KL(q || p) / T

p is the simulator's density, q the model's. The mean of log p over real sequences estimates minus
the entropy of p; taking it over the same sequences as log q cancels most of the noise. Neither gap
is -log p alone, which would reward a model for collapsing onto the likeliest sequence.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis.catalogue import CLOSE, DIFFERENT, FAR
from seqgan_jax.analysis.report import Metric
from seqgan_jax.analysis.resampling import DETECTION_SDS, FAR_SAMPLE

if TYPE_CHECKING:
    from seqgan_jax.processes.simulators import Simulator

Array = NDArray[Any]

SAMPLES = 5000


def log_ratios(
    log_q: Callable[[Array], Array], simulator: "Simulator", real_NTD: Array, samples_MTD: Array
) -> tuple[Array, Array]:
    """log p - log q of real sequences [N], and log q - log p of samples of q [M], in nats."""
    coverage_N = simulator.log_prob(real_NTD) - np.asarray(log_q(real_NTD))
    quality_M = np.asarray(log_q(samples_MTD)) - simulator.log_prob(samples_MTD)
    return coverage_N, quality_M


def gap(name: str, log_ratio_N: Array, steps: int) -> Metric:
    """A gap from log-density ratios of whole sequences [N]: mean / T, floor 0, 95% interval.

    "far" means here what it means elsewhere: detected with no more than 100 sequences.
    """
    per_step = np.asarray(log_ratio_N, dtype=np.float64) / steps
    finite = np.isfinite(per_step)
    if not finite.all():
        # A density of zero where the other has samples: the divergence is infinite.
        return Metric(name, float("inf"), 0.0, float("inf"), float("inf"), FAR, float("inf"))
    mean, spread = float(per_step.mean()), float(per_step.std(ddof=1))
    error = spread / np.sqrt(len(per_step))
    excess = mean / (error + 1e-12)
    verdict = CLOSE
    if excess > DETECTION_SDS:
        verdict = FAR if mean > DETECTION_SDS * spread / np.sqrt(FAR_SAMPLE) else DIFFERENT
    return Metric(name, mean, 0.0, mean - 1.96 * error, mean + 1.96 * error, verdict, excess)


def metrics(run_dir: Path, source: str, real_NTD: Array, seed: int) -> dict[str, Metric]:
    """Both gaps of the run's model, where its data come from a simulator; else nothing."""
    from seqgan_jax.processes import simulators

    if source not in simulators.NAMES:
        return {}
    from seqgan_jax import SeqGAN

    steps = real_NTD.shape[1]
    simulator, model = simulators.get(source, length=steps), SeqGAN.load(run_dir)
    ratios = log_ratios(model.log_prob, simulator, real_NTD, model.sample_array(SAMPLES, seed=seed))
    names = ("coverage_gap", "quality_gap")
    return {name: gap(name, ratio, steps) for name, ratio in zip(names, ratios, strict=True)}
