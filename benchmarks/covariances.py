"""Two covariances of the Gaussian policy, a Cholesky factor and common factors: cost, likelihood.

    python benchmarks/covariances.py                  three laws of 24 columns, steps of 64
    python benchmarks/covariances.py --quick          small sizes, one law

The laws are x_t = 0.7 x_{t-1} + e_t, x_0 = 0, where e_t is Gaussian given the past: of three common
factors and noise; of a full covariance (a sample covariance of 2 D normal vectors); and of one
factor whose size is exp(x_{t-1,1} / 2), which no fixed covariance holds. Held-out nats a step above
the law's own; processor seconds of an epoch, without compiling.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

import measure
import numpy as np

from seqgan_jax import SeqGAN
from seqgan_jax.processes.linear import LOG_2PI
from seqgan_jax.run import loop

LAWS = ("factors", "full", "moving")
POLICIES = {
    "Cholesky": {"policy": "gaussian", "covariance": "full"},
    "factors": {"policy": "gaussian", "covariance": "factors"},
    "mixture": {},
}
LIKELIHOOD = {"skip_dis_pretrain": True, "skip_adversarial": True}


def law(name: str, number: int, steps: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences [N, T, D], and log p of each step given those before [N, T], nats."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(features, 3 if name == "factors" else 1)) / np.sqrt(2)
    vectors = rng.normal(size=(features, 2 * features))
    fixed = vectors @ vectors.T / (2 * features)
    if name == "factors":
        fixed = loadings @ loadings.T + 0.5 * np.eye(features)
    x, before = np.empty((number, steps, features)), np.zeros((number, features))
    log_p = np.empty((number, steps))
    for t in range(steps):
        covariance = np.broadcast_to(fixed, (number, features, features))
        if name == "moving":
            size = np.exp(np.clip(before[:, 0], -3, 3))[:, None, None]
            covariance = 0.3 * np.eye(features) + size * (loadings @ loadings.T)
        root = np.linalg.cholesky(covariance)
        z = rng.normal(size=(number, features))
        x[:, t] = 0.7 * before + np.einsum("nde,ne->nd", root, z)
        log_det = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        log_p[:, t] = -0.5 * (np.sum(z**2, axis=1) + features * LOG_2PI) - log_det
        before = x[:, t]
    return x, log_p


class Clock(loop.Silent):
    """Processor seconds of the first epoch, after compiling and before anything is drawn."""

    def __init__(self) -> None:
        self.started, self.seconds, self.epochs = 0.0, 0.0, 0

    def compiled(self, phase: str, seconds: float) -> None:  # noqa: ARG002
        self.started = time.process_time()

    def estimated(self, phase: str, estimate: Any) -> None:  # noqa: ARG002
        self.seconds = time.process_time() - self.started

    def progress(self, phase: str, done: int, total: int, rows: list[Any]) -> None:  # noqa: ARG002
        self.epochs = done


def fitted(settings: dict[str, Any], x_NTD: np.ndarray, log_p_NT: np.ndarray) -> dict[str, float]:
    """A model of all but the last fifth, on which it is compared with the law."""
    unseen = len(x_NTD) // 5
    clock, model = Clock(), SeqGAN(**LIKELIHOOD | {"held_out": 0.02} | settings)
    model.fit(x_NTD[:-unseen], listener=clock)
    found = model.log_prob(x_NTD[-unseen:])
    return {
        "above": float(np.mean(log_p_NT[-unseen:]) - found.mean() / x_NTD.shape[1]),
        "epoch_seconds": clock.seconds,
        "epochs": clock.epochs,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print and write."""
    flags = measure.parser(__doc__)
    flags.add_argument("--only", nargs="+", choices=POLICIES, default=list(POLICIES))
    flags.add_argument("--laws", nargs="+", choices=LAWS, help="default: all")
    options = measure.parse(flags, arguments)
    number, steps, features, most = (200, 6, 18, 3) if options.quick else (1000, 24, 24, 60)
    rows = []
    for name in options.laws or (LAWS[:1] if options.quick else LAWS):
        x_NTD, log_p_NT = law(name, number, steps, features)
        for policy in options.only:
            settings = POLICIES[policy] | {"pre_epoch_num": most}
            rows.append({"law": name, "policy": policy} | fitted(settings, x_NTD, log_p_NT))
            print(f"{name}, {policy}: {rows[-1]['above']:.3f}", file=sys.stderr, flush=True)
    # Of many columns the cost alone: an epoch of 64 columns.
    wide = law("full", number, steps, 20 if options.quick else 64)
    for policy in options.only:
        settings = POLICIES[policy] | {"pre_epoch_num": 2}
        rows.append({"law": "64 columns", "policy": policy} | fitted(settings, *wide))
    names = ("law", "policy", "nats a step above the law", "an epoch", "epochs")
    table = [
        [
            *(r["law"], r["policy"], f"{r['above']:.3f}"),
            *(measure.duration(r["epoch_seconds"]), str(r["epochs"])),
        ]
        for r in rows
    ]
    measure.show(f"{number:,} x {steps} x {features}", names, table)
    measure.write(options.json, "covariances", {"quick": options.quick, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
