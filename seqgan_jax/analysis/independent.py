"""How many independent observations real data are worth.

Rows that are no windows of a long series count as one each. Of a series of n steps the mean has
the variance of n / tau independent values, with tau = 1 + 2 sum_k rho_k its correlation time
(Priestley, Spectral Analysis and Time Series, 1981, section 5.3). A short stretch of a slow series
wanders, and halves of it wander alike: they do not show how far another stretch would lie.

Shapes: N rows, T steps of a row, D columns, R steps of a long series.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from seqgan_jax.data.overlap import Windows

Array = NDArray[Any]

# A figure is "detectably different" this many standard deviations above its floor. There are about
# 30 figures and the upper tail of most is heavier than a Gaussian's: 4 keeps the chance that a
# perfect generator is called different by any of them at a few per cent (docs/analysis.md).
DETECTION_SDS = 4.0
# Independent values of which halves show a shift of .5 standard deviations 4 times of 5: with
# s = 2 / sqrt(300) that of the difference of two halves' means, (.8 + (4.1 + 1.4) * .6) s = .5.
ENOUGH = 300
BEYOND_CHANCE = 3.0  # standard errors of a correlation
SOFT = 0.1  # of the spread, under the logarithm: a value at the mean is no outlier
LEAST_FREEDOM = 0.25  # degrees of freedom of what is worth less than two observations
# Figures of steps and of what is about a sequence's own mean: a level that wanders leaves them.
OF_CHANGES = (
    *("increment_ks", "increment_wasserstein", "volatility_error", "asymmetry_error"),
    *("trend_error", "trend_spread_error", "biased_autocorrelation_error"),
)


@dataclass(frozen=True)
class Worth:
    """What the real data are worth.

    Args:
      names: of the D columns.
      blocks: how many there are to be drawn, whole sequences or stretches of windows.
      level_D, change_D: how many independent observations these are worth, for figures of values
        and for those of steps.
    """

    names: tuple[str, ...]
    blocks: int
    level_D: Array
    change_D: Array

    def of(self, figure: str) -> Array:
        """Independent observations behind a figure, [D]."""
        return self.change_D if figure in OF_CHANGES else self.level_D

    def sds(self, figure: str, columns: Sequence[str] = ()) -> tuple[float, Array]:
        """How many standard deviations of its floor a figure must be above it.

        Of the mean over columns (all columns where none are named), and of each column where any
        of them is looked for, [columns].
        """
        own_D = self.of(figure)
        place = {name: d for d, name in enumerate(self.names)}
        picked = [own_D[place[name]] if name in place else own_D.min() for name in columns]
        each_D = np.array([detection_sds(n, self.blocks, len(picked)) for n in picked])
        least = min(picked, default=own_D.min())
        return detection_sds(float(least), self.blocks), each_D

    @property
    def least(self) -> float:
        """Independent observations in the column, and of the figures, where they are fewest."""
        return float(min(self.level_D.min(), self.change_D.min()))

    def at_most(self, other: "Worth") -> "Worth":
        """No more than the other sample is worth, which is compared with this one."""
        level_D = np.minimum(self.level_D, other.level_D)
        return replace(self, level_D=level_D, change_D=np.minimum(self.change_D, other.change_D))

    def times(self, ratio: float) -> float:
        """How many times as much data would notice what is `ratio` times smaller, about.

        Limits fall with the square root of the number, and with the quantile of Student's t. But
        not more than until there are ENOUGH.
        """
        now, most = detection_sds(self.least, self.blocks), max(1.0, ENOUGH / self.least)
        for more in np.geomspace(1, most, 200):
            limit = detection_sds(more * self.least, more * self.blocks)
            if now / limit * np.sqrt(more) >= ratio:
                return float(more)
        return float(most)


def detection_sds(independent: float, blocks: float, columns: int = 1) -> float:
    """DETECTION_SDS where few observations, or one of several columns, are behind a figure.

    The quantile of Student's t with one degree of freedom less than there are observations, at the
    chance of a Gaussian beyond DETECTION_SDS over the number of columns; times the root of how many
    blocks are drawn for each observation.

    >>> [round(detection_sds(n, n), 1) for n in (1e6, 100, 8, 3)]
    [4.0, 4.2, 8.5, 125.6]
    """
    chance = norm.sf(DETECTION_SDS) / columns
    freedom = max(min(independent, blocks) - 1, LEAST_FREEDOM)
    return float(t.isf(chance, freedom) * np.sqrt(max(1.0, blocks / independent)))


def worth(names: Sequence[str], x_NTD: Array, blocks: int, windows: Windows | None) -> Worth:
    """What rows [N, T, D] are worth, of which `blocks` are drawn; `windows`: where they are cut."""
    features = x_NTD.shape[2]
    if windows is None:
        alone_D = np.full(features, float(blocks))
        return Worth(tuple(names), blocks, alone_D, alone_D)
    series = long_series(x_NTD, windows)
    alone = len(np.unique(windows.series_N)) - len(series)
    level_D, change_D = np.full((2, features), float(alone))
    for d in range(features):
        columns = [y_RD[:, d] for y_RD in series]
        level_D[d] += number(columns)
        change_D[d] += number([np.diff(y_R) for y_R in columns])
    # One number a block is what a bootstrap draws: no more than these are seen.
    return Worth(tuple(names), blocks, *(np.minimum(each, blocks) for each in (level_D, change_D)))


def long_series(x_NTD: Array, windows: Windows) -> list[Array]:
    """The series that rows were cut from, [R, D] each, NaN where no row is; none of one row."""
    steps = np.arange(x_NTD.shape[1])
    found = []
    for each in np.flatnonzero(np.bincount(windows.series_N) > 1):
        rows = windows.series_N == each
        starts = windows.starts_N[rows] - windows.starts_N[rows].min()
        y_RD = np.full((starts.max() + len(steps), x_NTD.shape[2]), np.nan)
        y_RD[starts[:, None] + steps] = x_NTD[rows]
        found.append(y_RD)
    return found


def number(series: Sequence[Array]) -> float:
    """How many independent values series [R] of one column are worth: their mean, spread and size.

    var(x) / var(mean of x), the least for x = y, (y - mean)^2 and log |y - mean|: a volatility that
    comes and goes is in the latter. The variance of the mean is what the correlation time says, or
    what the means of several series show, where that is more: their levels may differ.
    """
    mean = np.nanmean(np.concatenate(series))
    sizes = [np.abs(y_R - mean) for y_R in series]
    soft = SOFT * np.sqrt(np.nanmean(np.concatenate(sizes) ** 2)) or 1.0
    squares, logs = [x_R**2 for x_R in sizes], [np.log(x_R + soft) for x_R in sizes]
    return min(_number(x) for x in (series, squares, logs))


def _number(series: Sequence[Array]) -> float:
    pooled = np.concatenate(series)
    means = np.array([np.nanmean(x_R) for x_R in series])
    steps = np.count_nonzero(~np.isnan(pooled))
    within = sum(np.nansum((x_R - m) ** 2) for x_R, m in zip(series, means, strict=True)) / steps
    of_mean = within * correlation_time(series) / steps
    if len(series) > 1:
        of_mean = max(of_mean, float(means.var(ddof=1)) / len(series))
    return float(np.nanvar(pooled) / of_mean) if of_mean > 0 else 1.0


def correlation_time(series: Sequence[Array]) -> float:
    """Steps of series [R] for each independent one, at least 1.

    The largest (1 + phi) / (1 - phi) with phi = rho_k^(1/k), over lags k = 1, 2, 4, ... at which
    the correlation rho_k, about each series' own mean, is beyond chance. A short series shows too
    little of what is slow: rho_1 is raised by its bias (1 + 3 rho) / R (Kendall 1954) and by one
    standard error. A series of one value counts as one step.

    >>> rng = np.random.default_rng(0)
    >>> 1.0 <= correlation_time([rng.normal(size=4000)]) < 1.2
    True
    """
    centred = [y_R - np.nanmean(y_R) for y_R in series]
    present = [~np.isnan(y_R) for y_R in centred]
    filled = [np.where(is_R, y_R, 0.0) for y_R, is_R in zip(centred, present, strict=True)]
    steps = sum(int(is_R.sum()) for is_R in present)
    variance = sum(float(y_R @ y_R) for y_R in filled) / max(steps, 1)
    if variance <= 0:
        return float(max(steps, 1))
    longest, lag, largest = max(map(len, filled)), 1, 0.0
    while 4 * lag <= longest:
        product = sum(float(y_R[:-lag] @ y_R[lag:]) for y_R in filled)
        pairs = sum(int((i_R[:-lag] & i_R[lag:]).sum()) for i_R in present)
        rho = product / max(pairs, 1) / variance
        # Bartlett (1946): sum_k rho_k^2 / R is the variance of what is past the correlation.
        chance = np.sqrt((1 + largest**2) / max(1 - largest**2, 1 / steps) / max(pairs, 1))
        if lag == 1 or rho > BEYOND_CHANCE * chance:
            rho += (1 + 3 * rho) / steps
            if lag == 1:
                rho += np.sqrt(max(1 - rho**2, 0) / steps)
            largest = max(largest, float(np.clip(rho, 0, 1)) ** (1 / lag))
        lag *= 2
    phi = min(largest, 1 - 1 / steps)
    return max(1.0, (1 + phi) / (1 - phi))
