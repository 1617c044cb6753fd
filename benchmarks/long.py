"""One long series from windows, and a year of hours: do they stay what the data are?

    python benchmarks/long.py                        AR(1), a season, the bundled weather
    python benchmarks/long.py --data DIR             also DIR/ETTh1.csv, and a year of it
    python benchmarks/long.py --quick                small sizes, a few epochs

Likelihood training alone. Of one sample of 10,000 steps (`sample(1, length=10_000)`) against the
series that was trained on, the median over columns and the worst of them:
  KS        of the values
  lags      mean |autocorrelation - that of the data| of lags 1 to T - 1, T steps in a window
  spectrum  mean |log of the ratio| of the two spectra at periods of at most T steps (Welch)
Beside each the same of two pieces of real series: two simulated ones, or both halves of the data.

A year: samples of 8,760 hours from 2018-01-01. Means by hour of day and by month, in standard
deviations of the column: root mean square of their difference to the data's, and that of one of two
years of the data to the other; of hours also that of a single week.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np
import pandas as pd
import scipy.signal
import scipy.stats
from experiments import settings_of
from main_job import QUICK

from seqgan_jax import SeqGAN
from seqgan_jax.data import layout
from seqgan_jax.processes import simulators

STEPS = 10_000
YEAR, WINDOW = 8_760, 96
PROCESSES = ("ar1", "seasonal")
LIKELIHOOD = {"skip_dis_pretrain": True, "skip_adversarial": True, "policy": "gaussian"}


def autocorrelations(x_LD: np.ndarray, most: int) -> np.ndarray:
    """Of lags 1 to `most`, [most, D]."""
    x = x_LD - x_LD.mean(axis=0)
    square = np.mean(x**2, axis=0)
    return np.stack([np.mean(x[lag:] * x[:-lag], axis=0) / square for lag in range(1, most + 1)])


def spectrum(x_LD: np.ndarray, window: int) -> np.ndarray:
    """Power at periods of at most `window` steps, [F, D], of series of unit variance."""
    x = (x_LD - x_LD.mean(axis=0)) / x_LD.std(axis=0)
    return scipy.signal.welch(x, nperseg=2 * window, axis=0)[1][2:]


def distances(x_LD: np.ndarray, y_LD: np.ndarray, window: int) -> dict[str, np.ndarray]:
    """The three figures of each column, [D]."""
    lags = autocorrelations(x_LD, window - 1) - autocorrelations(y_LD, window - 1)
    ratio = np.log(spectrum(x_LD, window) / spectrum(y_LD, window))
    pairs = zip(x_LD.T, y_LD.T, strict=True)
    return {
        "ks": np.array([scipy.stats.ks_2samp(x, y).statistic for x, y in pairs]),
        "lags": np.abs(lags).mean(axis=0),
        "spectrum": np.abs(ratio).mean(axis=0),
    }


def row(
    name: str,
    data: Any,
    real_LD: np.ndarray,
    pieces: tuple[np.ndarray, np.ndarray],
    window: int,
    steps: int,
    settings: dict[str, Any],
) -> tuple[SeqGAN, dict[str, Any]]:
    """The model of a series, and how far one sample of it is from it, and two real pieces apart.

    `real_LD` are the columns of `data` that are numbers, the first ones of the model.
    """
    started = time.monotonic()
    model = SeqGAN(**LIKELIHOOD | {"window": window, "layout": "series"} | settings).fit(data)
    seconds = time.monotonic() - started
    x_LD = model.sample_array(1, length=steps)[0, :, : real_LD.shape[1]]
    own, floor = distances(x_LD, real_LD, window), distances(*pieces, window)
    found = {"series": name, "window": window, "seconds": seconds}
    return model, found | {
        key: {"median": float(np.median(own[key])), "worst": float(own[key].max())}
        | {"real": float(np.median(floor[key]))}
        for key in own
    }


def profile(frame: pd.DataFrame, by: Callable[[pd.DatetimeIndex], pd.Index]) -> np.ndarray:
    """Means of each hour or month, [G, D]; the index has dates."""
    return frame.groupby(by(pd.DatetimeIndex(frame.index))).mean().to_numpy()


def year(model: SeqGAN, data: pd.DataFrame, number: int, steps: int) -> list[dict[str, Any]]:
    """Means by hour of day and by month of `number` samples of a year, against the data's."""
    x_NTD = model.sample_array(
        number, length=steps, places=model.places(number, start="2018-01-01", length=steps)
    )
    dates = pd.date_range("2018-01-01", periods=steps, freq="h")
    samples = pd.concat(pd.DataFrame(x, index=dates, columns=data.columns) for x in x_NTD)
    scale = data.std().to_numpy()
    half = len(data) // 2
    weeks = [data[i : i + 168] for i in range(0, len(data) - 167, 168)]
    found = []
    for name, by in (("hour", lambda d: d.hour), ("month", lambda d: d.month)):
        if name == "month" and steps < YEAR:
            continue
        real = profile(data, by)
        own = (profile(samples, by) - real) / scale
        halves = (profile(data[:half], by) - profile(data[half : 2 * half], by)) / scale
        of_week = np.nan
        if name == "hour":
            of_week = np.sqrt(np.mean([((profile(w, by) - real) / scale) ** 2 for w in weeks]))
        shape = own - own.mean(axis=0)
        found.append(
            {
                "by": name,
                "samples": float(np.sqrt(np.mean(own**2))),
                "samples_about_their_mean": float(np.sqrt(np.mean(shape**2))),
                "years": float(np.sqrt(np.mean(halves**2))),
                "years_about_their_mean": float(
                    np.sqrt(np.mean((halves - halves.mean(axis=0)) ** 2))
                ),
                "week": float(of_week),
            }
        )
    return found


def simulated(name: str, steps: int, seed: int) -> np.ndarray:
    """One series [L, D] of a process."""
    process = simulators.get(name, steps)
    return np.asarray(process.sample(jax.random.key(seed), 1), float)[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, sample, print and write."""
    flags = measure.parser(__doc__, "gpu")
    flags.add_argument("--data", type=Path, help="folder of ETTh1.csv")
    flags.add_argument("--years", type=int, default=8, help="samples of a year (default: 8)")
    flags.add_argument("--only", nargs="*", help="series, by name (default: all)")
    flags.add_argument("--settings", nargs="*", default=[], metavar="NAME=VALUE")
    options = measure.parse(flags, arguments)
    steps, window = (1_000, 12) if options.quick else (STEPS, WINDOW)
    settings = settings_of(" ".join(options.settings))
    if options.quick:
        settings = QUICK | {"hidden_dim": 8, "stride": 4} | settings
    names = [*PROCESSES, "weather", *["ETTh1"] * (options.data is not None)]
    found, years = [], []
    for name in options.only or names:
        if name in PROCESSES:
            data: Any = simulated(name, steps, 0)
            numbers, pieces = data, (data, simulated(name, steps, 1))
        else:
            folder = options.data or Path()
            path = layout.BUNDLED[name] if name in layout.BUNDLED else folder / f"{name}.csv"
            data = pd.read_csv(path, parse_dates=["date"])
            numbers = data.select_dtypes("number").to_numpy(float)
            half = len(numbers) // 2
            pieces = numbers[:half], numbers[half:]
        model, each = row(name, data, numbers, pieces, window, steps, settings)
        found.append(each)
        if name == "ETTh1":
            years = year(model, data.set_index("date"), options.years, min(YEAR, 4 * steps))
    table = [
        [each["series"]]
        + [f"{each[k][v]:.3f}" for k in ("ks", "lags", "spectrum") for v in each[k]]
        for each in found
    ]
    kinds = [f"{k}: {v}" for k in ("KS", "lags", "spectrum") for v in ("median", "worst", "real")]
    measure.show(f"one sample of {steps:,} steps, windows of {window}", ("series", *kinds), table)
    for each in years:
        print(", ".join(f"{k} {v if isinstance(v, str) else f'{v:.3f}'}" for k, v in each.items()))
    measure.write(options.json, "long", {"settings": settings, "rows": found, "years": years})
    return 0


if __name__ == "__main__":
    sys.exit(main())
