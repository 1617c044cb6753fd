"""The main job, measured: time, exactness on known processes, likelihood on real series.

    python benchmarks/main_job.py                    AR(1) and VAR(1)
    python benchmarks/main_job.py --data DIR         also DIR/stock_data.csv and DIR/ETTh1.csv
    python benchmarks/main_job.py --seeds 5          several seeds: mean, lowest and highest
    python benchmarks/main_job.py --quick            a few epochs and rounds

Everything is computed on sequences that were not trained on. Prints a table and writes JSON.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np
import scipy.stats
import work

from seqgan_jax import SeqGAN, __version__
from seqgan_jax.analysis import exact
from seqgan_jax.core.batch import TrainState
from seqgan_jax.data.layout import Sequences, Split, load
from seqgan_jax.processes import simulators

FILES = ("stock_data.csv", "ETTh1.csv")
QUICK = {"pre_epoch_num": 2, "dis_pre_refreshes": 2, "total_batch": 2}


class Keeper(work.Clock):
    """Times compilation, and keeps the policy at the end of maximum likelihood."""

    def __init__(self, model: SeqGAN) -> None:
        super().__init__()
        self.model = model
        self.after_likelihood: SeqGAN | None = None

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:
        super().phase_ended(phase, state, note)
        if phase == "gen_pretrain":
            kept = SeqGAN(self.model.config)
            kept._description, kept._nets = self.model.description, self.model.nets
            kept._state = jax.tree.map(lambda leaf: leaf.copy(), state)
            self.after_likelihood = kept


def train(sequences: Sequences, **settings: Any) -> tuple[SeqGAN, Keeper, Split, float]:
    """A model, all else by default, with its held-out part and the seconds that it took in all."""
    model = SeqGAN(**settings)
    started = time.monotonic()
    parts = model.prepare(sequences)
    keeper = Keeper(model)
    model.train(parts, keeper)
    return model, keeper, parts, time.monotonic() - started


def gaps(model: SeqGAN, process: simulators.Simulator, held_out: np.ndarray) -> list[float]:
    """Coverage gap KL(p||q) and quality gap KL(q||p), nats a step, by the exact density."""
    ratios = exact.log_ratios(model.log_prob, process, held_out, model.sample(10_000, seed=1))
    return [float(ratio.mean()) / held_out.shape[1] for ratio in ratios]


def pooled_correlations(x_NTD: np.ndarray, lag: int) -> np.ndarray:
    """Correlation matrix of x_t with x_{t-lag}, over all sequences and steps."""
    features = x_NTD.shape[2]
    z = (x_NTD - x_NTD.mean((0, 1))) / x_NTD.std((0, 1))
    now, before = z[:, lag:], z[:, : x_NTD.shape[1] - lag]
    return now.reshape(-1, features).T @ before.reshape(-1, features) / now[:, :, 0].size


def exact_process(name: str, seed: int, **settings: Any) -> dict[str, float]:
    """Train on 10,000 sequences of length 20 of a simulator and compare with it."""
    process = simulators.get(name, 20)
    model, keeper, parts, seconds = train(load(name, window=20, seed=seed), seed=seed, **settings)
    before, _ = gaps(keeper.after_likelihood, process, parts.held_out_NTD)
    coverage, quality = gaps(model, process, parts.held_out_NTD)
    samples = model.sample(10_000, seed=2)
    # A fresh draw, not the data that were trained on.
    real = np.asarray(process.sample(jax.random.key(seed + 1000), 10_000), np.float64)
    row = {
        "seconds": seconds,
        "compile_seconds": keeper.compile_seconds,
        "coverage_gap_after_likelihood": before,
        "coverage_gap": coverage,
        "quality_gap": quality,
        "ks": max(
            float(scipy.stats.ks_2samp(samples[:, :, d].ravel(), real[:, :, d].ravel()).statistic)
            for d in range(process.num_features)
        ),
        "std_error": float(np.max(np.abs(samples.std((0, 1)) / real.std((0, 1)) - 1))),
    }
    std = np.sqrt(np.diag(process.covariance(0)))
    for lag in (0, 1):
        wanted = process.covariance(lag) / np.outer(std, std)
        found = pooled_correlations(samples, lag)
        error = min(np.abs(found - wanted).max(), np.abs(found - wanted.T).max())
        row[f"lag{lag}_correlation_error"] = float(error)
    return row


def var1_nll(train_NTD: np.ndarray, held_out_NTD: np.ndarray) -> float:
    """Held-out nats a step of a VAR(1) by least squares with Gaussian residuals and first step."""
    features = train_NTD.shape[2]
    before = train_NTD[:, :-1].reshape(-1, features)
    design = np.column_stack([np.ones(len(before)), before])
    after = train_NTD[:, 1:].reshape(-1, features)
    coefficients = np.linalg.lstsq(design, after, rcond=None)[0]
    residual = after - design @ coefficients
    noise = scipy.stats.multivariate_normal(np.zeros(features), residual.T @ residual / len(after))
    start = np.atleast_2d(np.cov(train_NTD[:, 0].T))
    first = scipy.stats.multivariate_normal(train_NTD[:, 0].mean(0), start)
    errors = held_out_NTD[:, 1:] - coefficients[0] - held_out_NTD[:, :-1] @ coefficients[1:]
    later = noise.logpdf(errors.reshape(-1, features)).reshape(len(errors), -1)
    total = first.logpdf(held_out_NTD[:, 0]) + later.sum(1)
    return float(-total.mean() / held_out_NTD.shape[1])


def real_series(path: Path, seed: int, **settings: Any) -> dict[str, float]:
    """Windows of 24 of a long series: held-out likelihood against a VAR(1) of the same columns."""
    sequences = load(str(path), window=24)
    # Densities of all columns, as the VAR(1)'s: a mass on a grid cannot be compared with them.
    plain = {"kind": ("all:continuous",), "rules": "none"}
    model, keeper, parts, seconds = train(sequences, seed=seed, **settings, **plain)
    scaler, x = model.description.scaler, parts.held_out_NTD
    # In scaled units, where volumes and prices are of one size; the Jacobian brings it back.
    linear = var1_nll(scaler.transform(parts.train_NTD), scaler.transform(x))
    return {
        "seconds": seconds,
        "compile_seconds": keeper.compile_seconds,
        "nll_after_likelihood": float(-keeper.after_likelihood.log_prob(x).mean() / 24),
        "nll": float(-model.log_prob(x).mean() / 24),
        "nll_var1": linear - float(scaler.log_jacobian(x).mean()) / 24,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "gpu")
    flags.add_argument("--only", choices=["ar1", "var1", *FILES], help="one of the tasks")
    flags.add_argument("--data", type=Path, help=f"folder with {' and '.join(FILES)}")
    flags.add_argument("--seeds", type=int, default=1, help="training seeds, from 88 (default: 1)")
    flags.set_defaults(json=Path("main_job.json"))
    options = measure.parse(flags, arguments)
    tasks = {name: partial(exact_process, name) for name in ("ar1", "var1")}
    if options.data:
        tasks |= {name: partial(real_series, options.data / name) for name in FILES}
    elif options.only in FILES:
        flags.error(f"--only {options.only}: needs --data, the folder with the file")
    settings = QUICK if options.quick else {}
    results: dict[str, list[dict[str, float]]] = {}
    for name in [options.only] if options.only else tasks:
        results[name] = [tasks[name](88 + i, **settings) for i in range(options.seeds)]
        print(name)
        for figure in results[name][0]:
            values = [row[figure] for row in results[name]]
            spread = f"  ({min(values):.4f} to {max(values):.4f})" if len(values) > 1 else ""
            print(f"  {figure:<32} {np.mean(values):10.4f}{spread}", flush=True)
    content = {"version": __version__, "quick": options.quick, "results": results}
    measure.write(options.json, "main_job", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
