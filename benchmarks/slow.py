"""What samples of the exact law score where the real data are windows of one slow series.

    python benchmarks/slow.py            four series, minutes
    python benchmarks/slow.py --quick    one short series, a few steps of each network

Each of 7 columns is a level, an AR(1) of the coefficient in the table, and half of an AR(1) of .7.
Windows of 24, stride 1, of one series of so many steps, of which a tenth in blocks is held out, as
in quality.py. Samples are windows of other series of the same law, far apart:

  exact      nothing about them is wrong
  by heart   of the real series' windows the means, and .8 times as much about them of the exact law

  disc       published discriminative score, |accuracy - .5|; 0 is said to be ideal
  levels     area under the curve of the judge where it sees all levels
  auc        the same as it is: of a column that has been at few levels it sees what is about the
             mean of a sequence
"""

import argparse
import sys
from collections.abc import Sequence
from unittest import mock

import measure
import numpy as np
from experiments import discriminative
from quality import apart
from scipy.signal import lfilter
from verdicts import STEPS as WINDOW
from verdicts import cut

from seqgan_jax.analysis import judge, published

COLUMNS = 7
FAST, SPOILED = 0.7, 0.8
KINDS = [(0.9, 17_420), (0.99, 17_420), (0.999, 17_420), (0.999, 3_685)]  # of ETTh1, Stocks
REPEATS = 5
TAKEN = 3000  # windows and samples that are scored


def autoregression(rng: np.random.Generator, phi: float, steps: int) -> np.ndarray:
    """A stationary AR(1) of variance 1 in each column, [R, D]."""
    before = int(20 / (1 - phi))
    noise = rng.normal(size=(before + steps, COLUMNS)) * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=0)[before:]


def series(rng: np.random.Generator, phi: float, steps: int) -> np.ndarray:
    """A level and what moves about it, [R, D]."""
    return autoregression(rng, phi, steps) + 0.5 * autoregression(rng, FAST, steps)


def samples(rng: np.random.Generator, phi: float, number: int) -> np.ndarray:
    """Windows of the same law, ten windows apart, [N, T, D]."""
    steps = number * WINDOW * 10
    return series(rng, phi, steps).reshape(number, -1, COLUMNS)[:, :WINDOW]


def rows_of(phi: float, length: int, taken: int, repeats: int, **networks: int) -> list[list[str]]:
    """Figures of both kinds of samples."""
    rng = np.random.default_rng(0)
    of_one = series(rng, phi, length)
    windows = cut(of_one)
    in_training, held_out = apart(len(windows), WINDOW)
    train, held = windows[in_training], windows[held_out]
    exact = samples(rng, phi, taken)
    about = exact - exact.mean(axis=1, keepdims=True)
    means = windows[rng.integers(len(windows), size=taken)].mean(axis=1, keepdims=True)
    some = windows[rng.permutation(len(windows))[:taken]]
    rows = []
    for name, made in (("exact", exact), ("by heart", means + SPOILED * about)):
        real, other = (published.min_max(windows, x) for x in (some, made))
        disc = float(discriminative(real, [other], repeats, **networks)[0])
        with mock.patch.object(judge, "LEVELS", 0):
            levels = judge.areas(train, held, made, 0)
        auc = judge.areas(train, held, made, 0)
        both = (f"{area.together:.3f} +- {area.error:.3f}" for area in (levels, auc))
        rows.append([f"{phi}", f"{length:,}", name, f"{disc:.3f}", *both])
        print(*rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__)
    options: argparse.Namespace = measure.parse(flags, arguments)
    rows = []
    for phi, length in KINDS[-1:] if options.quick else KINDS:
        sizes = (300, 1) if options.quick else (TAKEN, REPEATS)
        rows += rows_of(phi, length, *sizes, **({"steps": 25} if options.quick else {}))
    columns = ("coefficient", "steps", "samples", "disc", "levels", "auc")
    measure.show("windows of one series", columns, rows)
    found = [dict(zip(columns, each, strict=True)) for each in rows]
    measure.write(options.json, "slow", {"rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
