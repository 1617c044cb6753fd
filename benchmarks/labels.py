"""Is a class in samples what it is in the data? A classifier that learns from samples, tested on
real sequences, against one that learns from as many real ones.

    python benchmarks/labels.py                      two labelled processes, about two minutes
    python benchmarks/labels.py --quick              fewer sequences, a few epochs

Logistic regression on what each sequence sums up to: mean, standard deviation, lag-1 product and
size of moves of each column. Samples have the classes of the real training sequences
(`sample(given=)`), so that both classifiers see the same shares.
"""

import sys
from collections.abc import Callable, Sequence

import measure
import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax

from seqgan_jax import SeqGAN

Simulator = Callable[[int, int], np.ndarray]


def persistence(number: int, seed: int) -> np.ndarray:
    """[N, 16, 2]: AR(1) with coefficient .3 or .7, and which of them it is."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 2, number)
    x = rng.normal(size=(number, 16))
    for t in range(1, 16):
        x[:, t] += np.where(code == 1, 0.7, 0.3) * x[:, t - 1]
    return np.stack([x, np.tile(code[:, None], 16)], axis=-1).astype(float)


def shifts(number: int, seed: int) -> np.ndarray:
    """[N, 16, 3]: three kinds of day, unequally often: a level with its noise, counts whose rate
    follows it, and the kind."""
    rng = np.random.default_rng(seed)
    code = rng.choice(3, number, p=[0.5, 0.3, 0.2])
    level = np.array([0.0, 0.5, 0.9])[code][:, None] + 0.5 * rng.normal(size=(number, 1))
    x = level + np.array([0.6, 0.8, 0.6])[code][:, None] * rng.normal(size=(number, 16))
    counts = rng.poisson(np.exp(0.3 * x + np.array([0.5, 0.5, 0.8])[code][:, None]))
    return np.stack([x, counts, np.tile(code[:, None], 16)], axis=-1).astype(float)


PROCESSES: dict[str, Simulator] = {"persistence": persistence, "shifts": shifts}


def summaries(x_NTD: np.ndarray) -> np.ndarray:
    """[N, 4 D] of the columns but the last, which is the label."""
    x = x_NTD[..., :-1]
    products = np.mean(x[:, 1:] * x[:, :-1], axis=1)
    moves = np.abs(np.diff(x, axis=1)).mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), products, moves], axis=1)


def accuracy(train_NTD: np.ndarray, test_NTD: np.ndarray) -> float:
    """Share of test sequences whose class a logistic regression tells that learned from others."""
    a, b = summaries(train_NTD), summaries(test_NTD)
    mean, std = a.mean(axis=0), a.std(axis=0)
    a, b = (np.column_stack([np.ones(len(x)), (x - mean) / std]) for x in (a, b))
    code, expected = (x[:, 0, -1].astype(int) for x in (train_NTD, test_NTD))
    number = int(max(code.max(), expected.max())) + 1
    one_hot = np.eye(number)[code]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = w.reshape(a.shape[1], number)
        log_p = log_softmax(a @ w, axis=1)
        value = -np.sum(one_hot * log_p) / len(a) + 1e-3 * np.sum(w**2)
        return value, (a.T @ (np.exp(log_p) - one_hot) / len(a) + 2e-3 * w).ravel()

    w = minimize(loss, np.zeros(a.shape[1] * number), jac=True, method="L-BFGS-B").x
    return float(np.mean(np.argmax(b @ w.reshape(a.shape[1], number), axis=1) == expected))


def compare(name: str, number: int, epochs: int) -> dict[str, float]:
    """Accuracies on real sequences: trained on real ones, on samples, and always the commonest."""
    simulate = PROCESSES[name]
    real, test = simulate(number, 0), simulate(4 * number, 1)
    label = f"x{real.shape[2]}"
    phases = {"skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(static=[label], pre_epoch_num=epochs, **phases).fit(real)
    rows = pd.DataFrame({label: real[:, 0, -1].astype(int)})
    drawn = model.sample(given=rows, seed=1)
    assert np.array_equal(drawn[:, 0, -1], real[:, 0, -1])
    return {
        "real": accuracy(real, test),
        "generated": accuracy(drawn, test),
        "commonest": float(np.bincount(test[:, 0, -1].astype(int)).max() / len(test)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each process."""
    options = measure.parse(measure.parser(__doc__), arguments)
    number, epochs = (400, 5) if options.quick else (3000, 80)
    found = {name: compare(name, number, epochs) for name in PROCESSES}
    rows = [
        [name, *(f"{row[key]:.3f}" for key in ("real", "generated", "commonest"))]
        for name, row in found.items()
    ]
    columns = ("accuracy on real sequences", "trained on real", "on samples", "commonest class")
    measure.show(f"{number:,} sequences to learn from", columns, rows)
    measure.write(options.json, "labels.py", {"rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
