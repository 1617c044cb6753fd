"""Futures of a real series against a seasonal naive forecast and a VAR, by CRPS.

    python benchmarks/forecast.py --data DIR         DIR/ETTh1.csv
    python benchmarks/forecast.py --data DIR --windows 100 --settings window=48 --json FILE
    python benchmarks/forecast.py --data DIR --part validation   to choose settings by
    python benchmarks/forecast.py --quick            a simulated series, a few epochs

The first 11,520 hours are trained on (training and validation parts of the field's protocol),
windows of the next 2,880 are forecast: 24 and 96 steps after the 96 before them. To choose by: the
first 8,640, and windows of the 2,880 after these. CRPS of each column and step,
E|X - y| - E|X - X'| / 2, in standard deviations of the column, is averaged over windows and steps;
the figure is the median over columns.
  model     the mean over pairs of `--futures` futures, sample(n, after=x, length=96)
  seasonal  the value one or more days before, with the quantiles of that error in training
  VAR       statsmodels, order up to 25 by AIC, Gaussian: the closed form of its mean and variance
"""

import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pandas as pd
import scipy.stats
from experiments import settings_of
from main_job import QUICK

from seqgan_jax import SeqGAN

BEFORE, HORIZONS, DAY = 96, (24, 96), 24
PARTS = {"validation": (8_640, 11_520), "test": (11_520, 14_400)}  # hours: trained on, up to
FUTURES = 100
# Likelihood alone; what validates is the end of what is trained on, and nothing else is held out.
SETTINGS = {
    "window": 96,
    "held_out": 0.02,
    "skip_dis_pretrain": True,
    "skip_adversarial": True,
}


def crps(x_M: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS of samples along the first axis [M, ...] at y [...]: unbiased, over pairs i != j.

    mean |x - y| - sum_ij |x_i - x_j| / (2 M (M - 1)), by order statistics.
    """
    number = len(x_M)
    rank = 2 * np.arange(1, number + 1) - number - 1
    pairs = np.tensordot(rank, np.sort(x_M, axis=0), axes=1)
    return np.abs(x_M - y).mean(axis=0) - pairs / (number * (number - 1))


def crps_of_gaussian(mean: np.ndarray, sd: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS of N(mean, sd^2) at y (Gneiting & Raftery 2007)."""
    z = (y - mean) / sd
    normal = scipy.stats.norm
    return sd * (z * (2 * normal.cdf(z) - 1) + 2 * normal.pdf(z) - 1 / np.sqrt(np.pi))


def seasonal(train_LD: np.ndarray, x_NPD: np.ndarray, steps: int, number: int) -> np.ndarray:
    """[M, N, steps, D]: the same hour of the last day known, and quantiles of its errors."""
    levels = (np.arange(number) + 0.5) / number
    found = np.empty((number, len(x_NPD), steps, x_NPD.shape[2]))
    for step in range(steps):
        back = DAY * (1 + step // DAY)
        errors = train_LD[back:] - train_LD[:-back]
        last = x_NPD[:, x_NPD.shape[1] + step - back]
        found[:, :, step] = last + np.quantile(errors, levels, axis=0)[:, None]
    return found


def var(
    train_LD: np.ndarray, x_NPD: np.ndarray, steps: int, most: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Means [N, steps, D] and standard deviations [steps, D] of a VAR, and its order."""
    from statsmodels.tsa.api import VAR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = VAR(train_LD).fit(maxlags=most, ic="aic")
    order = fitted.k_ar
    means = np.stack([fitted.forecast(x[-max(order, 1) :], steps) for x in x_NPD])
    return means, np.sqrt(np.diagonal(fitted.mse(steps), axis1=1, axis2=2)), order


def simulated(steps: int = 3_000) -> pd.DataFrame:
    """A daily wave that an AR(1) moves, and another AR(1), by the hour."""
    rng = np.random.default_rng(0)
    x = np.zeros((steps, 2))
    for t in range(1, steps):
        x[t] = 0.9 * x[t - 1] + rng.normal(size=2)
    wave = 3 * np.sin(2 * np.pi * np.arange(steps) / DAY)
    date = pd.date_range("2020-01-01", periods=steps, freq="h", name="date")
    return pd.DataFrame({"wave": x[:, 0] + wave, "other": x[:, 1]}, index=date)


def rows(
    frame: pd.DataFrame, num_train: int, windows: int, number: int, settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row for each method and horizon; `frame` has the dates in its index."""
    x_LD = frame.to_numpy(float)
    train_LD, longest = x_LD[:num_train], max(HORIZONS)
    starts = np.linspace(num_train, len(x_LD) - longest, windows).astype(int)
    before_NPD = np.stack([x_LD[s - BEFORE : s] for s in starts])
    y_NTD = np.stack([x_LD[s : s + longest] for s in starts])
    started = time.monotonic()
    series = frame.reset_index().assign(series=0)  # which lets several be gone on from
    model = SeqGAN(**SETTINGS | settings).fit(series[:num_train], id="series")
    trained = time.monotonic() - started
    before = pd.concat(series[s - BEFORE : s].assign(series=i) for i, s in enumerate(starts))
    futures = np.moveaxis(model.sample_array(number, after=before, length=longest), 1, 0)
    drawn = time.monotonic() - started - trained
    means, deviations, order = var(train_LD, before_NPD, longest, DAY + 1)
    scores = {
        "model": crps(futures, y_NTD),
        "seasonal": crps(seasonal(train_LD, before_NPD, longest, number), y_NTD),
        f"VAR({order})": crps_of_gaussian(means, deviations, y_NTD),
    }
    found = []
    for name, crps_NTD in scores.items():
        row = {"method": name, "train_seconds": 0.0, "sample_seconds": 0.0}
        if name == "model":
            row |= {"train_seconds": trained, "sample_seconds": drawn}
            row["days"] = by_day(futures, y_NTD, train_LD.std(axis=0))
        for horizon in HORIZONS:
            by_column = crps_NTD[:, :horizon].mean(axis=(0, 1)) / train_LD.std(axis=0)
            row[f"crps_{horizon}"] = float(np.median(by_column))
            row[f"crps_{horizon}_columns"] = by_column.tolist()
        found.append(row)
    return found


def by_day(x_MNTD: np.ndarray, y_NTD: np.ndarray, scale_D: np.ndarray) -> list[dict[str, Any]]:
    """Of each day of the futures, for each column in its standard deviations: bias and root mean
    square of the error of their mean, their spread, and how often their middle 90% hold y."""
    error = (x_MNTD.mean(axis=0) - y_NTD) / scale_D
    low, high = np.quantile(x_MNTD, (0.05, 0.95), axis=0)
    is_held, spread = (y_NTD >= low) & (y_NTD <= high), x_MNTD.std(axis=0) / scale_D
    found = []
    for first in range(0, y_NTD.shape[1], DAY):
        day = slice(first, first + DAY)
        figures = {
            "bias": error[:, day].mean(axis=(0, 1)),
            "error": np.sqrt((error[:, day] ** 2).mean(axis=(0, 1))),
            "spread": spread[:, day].mean(axis=(0, 1)),
            "held": is_held[:, day].mean(axis=(0, 1)),
        }
        found.append({name: figure.tolist() for name, figure in figures.items()})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, forecast, print and write."""
    flags = measure.parser(__doc__, "gpu")
    flags.add_argument("--data", type=Path, help="folder of ETTh1.csv")
    flags.add_argument("--windows", type=int, default=200, help="of the test part (default: 200)")
    flags.add_argument("--futures", type=int, default=FUTURES, help="of each (default: 100)")
    flags.add_argument("--part", choices=list(PARTS), default="test", help="what is forecast")
    flags.add_argument("--settings", nargs="*", default=[], metavar="NAME=VALUE")
    options = measure.parse(flags, arguments)
    if options.windows < 2 or options.futures < 2:
        flags.error("--windows and --futures must be at least 2")
    settings = settings_of(" ".join(options.settings))
    if options.quick or options.data is None:
        if not options.quick:
            flags.error("name the folder of ETTh1.csv: --data DIR; or --quick, without data")
        frame, num_train, name = simulated(), 2_400, "a simulated series"
        settings = QUICK | {"hidden_dim": 8} | settings
        windows, number = 10, 50
    else:
        path = options.data / "ETTh1.csv"
        num_train, end = PARTS[options.part]
        frame = pd.read_csv(path, index_col="date", parse_dates=["date"])[:end]
        name = f"{path.name}, {options.part} part"
        windows, number = options.windows, options.futures
    found = rows(frame, num_train, windows, number, settings)
    table = [[row["method"], *(f"{row[f'crps_{h}']:.4f}" for h in HORIZONS)] for row in found]
    title = f"CRPS in standard deviations, {name}, {windows} windows, {number} futures"
    measure.show(title, ("method", *(f"{h} steps" for h in HORIZONS)), table)
    days = [
        [str(1 + i), *(f"{min(day[k]):.2f} to {max(day[k]):.2f}" for k in day)]
        for i, day in enumerate(found[0]["days"])
    ]
    kinds = ("day", "bias of the mean", "off by (rms)", "spread", "90% hold")
    measure.show("the model, the least and the most of the columns", kinds, days)
    print(f"training {found[0]['train_seconds']:.0f} s, {found[0]['sample_seconds']:.0f} s to draw")
    content = {"data": name, "windows": windows, "futures": number, "settings": settings}
    measure.write(options.json, "forecast", content | {"rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
