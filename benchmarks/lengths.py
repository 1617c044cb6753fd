"""Lengths of samples against those of the data: ends that values bring, and ends that they do not.

    python benchmarks/lengths.py --quick
    python benchmarks/lengths.py --only fails

Prints for each case the KS distance of the lengths of samples from fresh ones, beside its
floor: the distance of the data themselves from these; and nats a sequence of held-out lengths under
the hazard by age that the model reads.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from seqgan_jax import SeqGAN
from seqgan_jax.data import lengths

Draw = Callable[[np.random.Generator], np.ndarray]


def worn(rng: np.random.Generator) -> np.ndarray:
    """A level [T, 2] that drifts, with noise beside it, until it is above 5."""
    x, drift, rows = 0.0, rng.uniform(0.05, 0.15), list[list[float]]()
    while x < 5 or len(rows) < 2:
        x += drift + 0.2 * rng.normal()
        rows.append([x, rng.normal()])
    return np.array(rows)


def stays(rng: np.random.Generator) -> np.ndarray:
    """Noise [T, 2] of 10 to 19 or 40 to 49 steps, whatever its values are."""
    steps = int(rng.integers(10, 20)) + 30 * int(rng.random() < 0.5)
    return rng.normal(size=(steps, 2))


def fails(rng: np.random.Generator) -> np.ndarray:
    """Wear [T, 2] as of an engine: it begins late, grows by 2.5 to 5% a step, and ends at 20."""
    onset, rate, base = rng.uniform(80, 200), rng.uniform(0.025, 0.05), rng.normal(0, 0.3)
    wear, rows = 0.0, list[list[float]]()
    while wear <= 20:
        wear = np.exp(rate * max(0.0, len(rows) + 1 - onset)) - 1
        rows.append([wear + base + 0.3 * rng.normal(), -0.5 * wear + 0.5 * rng.normal()])
    return np.array(rows)


CASES: dict[str, tuple[Draw, int, dict[str, Any]]] = {  # how many sequences, settings
    "worn": (worn, 1000, {"policy": "gaussian"}),
    "stays": (stays, 1000, {"policy": "gaussian"}),
    "fails": (fails, 120, {}),
}


def main() -> None:
    """Fit on each case and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sequences and epochs")
    parser.add_argument("--only", choices=list(CASES), help="one case; default: all, quick: two")
    options = parser.parse_args()
    names = [options.only] if options.only else list(CASES)[: 2 if options.quick else 3]
    for name in names:
        _one(name, options.quick)


def _one(name: str, quick: bool) -> None:
    draw, number, settings = CASES[name]
    rng = np.random.default_rng(0)
    data = [draw(rng) for _ in range(min(number, 200) if quick else number)]
    fresh = np.array([len(draw(rng)) for _ in range(20_000 if number > 200 else 3_000)])
    real = np.array([len(x) for x in data])
    epochs = {"pre_epoch_num": 15, "hidden_dim": 16} if quick else {}
    phases = {"skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(**settings, **epochs, **phases).fit(data)
    own = lengths.of(model.sample_array(2000))
    distance, floor = (ks_2samp(each, fresh).statistic for each in (own, real))
    hazard = np.array(lengths.hazard(real, int(real.max())))
    ends, at_risk = lengths.counts(np.minimum(fresh, len(hazard)), len(hazard))
    nats = np.sum(ends * np.log(hazard) + (at_risk - ends) * np.log1p(-hazard))
    print(
        f"{name}: lengths {real.min()} to {real.max()}, KS of samples {distance:.3f}, floor "
        f"{floor:.3f}; length by age alone {nats / len(fresh):.3f} nats a sequence"
    )


if __name__ == "__main__":
    main()
