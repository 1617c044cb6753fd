"""How many independent observations real data are worth.

Rows that are no windows of a long series count as one each. Of a series of n steps the mean has
the variance of n / tau independent values, with tau = 1 + 2 sum_k rho_k its correlation time
(Priestley, Spectral Analysis and Time Series, 1981, section 5.3). A short stretch of a slow series
wanders, and halves of it wander alike: they do not show how far another stretch would lie. A longer
stretch of the same series, that of training, shows how slow it is.

Shapes: N rows, T steps of a row, D columns, R steps of a long series.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import correlate
from scipy.stats import f, norm, t

from seqgan_jax.data import overlap
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
BY_CHANCE = 0.01  # how often series of one level are taken for series of several
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


def worth(
    names: Sequence[str],
    x_NTD: Array,
    blocks: int,
    windows: Windows | None,
    earlier: Sequence[Array] = (),
) -> Worth:
    """What rows [N, T, D] are worth.

    Args:
      names: of the D columns.
      x_NTD: the rows, of which `blocks` are drawn.
      windows: where they are cut from long series, if they are.
      earlier: stretches [R, D] of the same series that show how slow they are.
    """
    features = x_NTD.shape[2]
    if windows is None:
        alone_D = np.full(features, float(blocks))
        return Worth(tuple(names), blocks, alone_D, alone_D)
    series = long_series(x_NTD, windows)
    alone = len(np.unique(windows.series_N)) - len(series)
    level_D, change_D = np.full((2, features), float(alone))
    for d in range(features):
        columns, before = ([y_RD[:, d] for y_RD in each] for each in (series, earlier))
        level_D[d] += number(columns, before)
        change_D[d] += number(*([np.diff(y_R) for y_R in each] for each in (columns, before)))
    # One number a block is what a bootstrap draws: no more than these are seen.
    return Worth(tuple(names), blocks, *(np.minimum(each, blocks) for each in (level_D, change_D)))


def series_of(x_NTD: Array | None) -> list[Array]:
    """The series that rows were cut from, [R, D] each; none where they are no windows."""
    windows = None if x_NTD is None else overlap.find(x_NTD)
    return [] if x_NTD is None or windows is None else long_series(x_NTD, windows)


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


def number(series: Sequence[Array], earlier: Sequence[Array] = ()) -> float:
    """How many independent values series [R] of one column are worth: their mean, spread and size.

    var(x) / var(mean of x), the least for x = y, (y - mean)^2 and log |y - mean|: a volatility that
    comes and goes is in the latter. The variance of the mean is the most of what variance and
    correlation time say, of these series and of `earlier` ones, and of what the means of several
    series show. Where these differ beyond chance there are no more than there are series.
    """
    longer = _parts(earlier) if earlier else [()] * 3
    return min(_number(x, more) for x, more in zip(_parts(series), longer, strict=True))


def _parts(series: Sequence[Array]) -> list[list[Array]]:
    """Values, squares and logarithms of the distance from the mean."""
    pooled = np.concatenate(series)
    sizes = [np.abs(y_R - np.nanmean(pooled)) for y_R in series]
    soft = SOFT * np.sqrt(np.nanmean(np.concatenate(sizes) ** 2)) or 1.0
    return [list(series), [x_R**2 for x_R in sizes], [np.log(x_R + soft) for x_R in sizes]]


def _number(series: Sequence[Array], earlier: Sequence[Array]) -> float:
    pooled, many = np.concatenate(series), len(series)
    steps = np.count_nonzero(~np.isnan(pooled))
    each = [(_within(x), correlation_time(x)) for x in (series, earlier) if x]
    of_mean: float = max(variance * time for variance, time in each) / steps
    most: float = np.inf
    if many > 1:
        by_means = float(np.var([np.nanmean(x_R) for x_R in series], ddof=1)) / many
        of_freedom = max(steps / max(time for _, time in each) - many, 1.0)
        if by_means > of_mean * f.isf(BY_CHANCE, many - 1, of_freedom):
            most = many
        of_mean = max(of_mean, by_means)
    return min(float(np.nanvar(pooled) / of_mean), most) if of_mean > 0 else 1.0


def _within(series: Sequence[Array]) -> float:
    """Variance about each series' own mean."""
    squares = np.concatenate([(x_R - np.nanmean(x_R)) ** 2 for x_R in series])
    return float(np.nanmean(squares))


def correlation_time(series: Sequence[Array]) -> float:
    """Steps of series [R] for each independent one, at least 1.

    (1 + phi) / (1 - phi) with the largest phi by which means of k = 1, 2, 4, ... steps have the
    correlation with the next k that they show, about each series' own mean: where noise hides what
    is slow, means show it. Beyond k = 1 a correlation counts that is BEYOND_CHANCE above that of
    the phi so far. A short series shows too little of what is slow: correlations are raised by
    their bias (1 + 3 r) k / R (Kendall 1954), and the first by one standard error. A series of one
    value counts as one step.

    >>> rng = np.random.default_rng(0)
    >>> 1.0 <= correlation_time([rng.normal(size=4000)]) < 1.2
    True
    """
    centred = [y_R - np.nanmean(y_R) for y_R in series]
    present = [(~np.isnan(y_R)).astype(float) for y_R in centred]
    steps, longest = int(sum(map(np.sum, present))), max(map(len, series))
    filled = [np.nan_to_num(y_R) for y_R in centred]
    products, pairs = (
        np.sum([_of_lags(y_R, longest) for y_R in each], axis=0) for each in (filled, present)
    )
    if steps == 0 or products[0] <= 0:
        return float(max(steps, 1))
    covariance = products / np.maximum(np.rint(pairs), 1)
    phis = 1 - np.geomspace(1, 1 / steps, 200)
    largest, k = 0.0, 1
    while 4 * k <= longest:
        of_phis = phis * (1 - phis**k) ** 2 / (k * (1 - phis**2) - 2 * phis * (1 - phis**k))
        own = _neighbours(covariance, k)
        chance = np.sqrt(k / steps)
        if k == 1 or own > np.interp(largest, phis, of_phis) + BEYOND_CHANCE * chance:
            own += (1 + 3 * own) * k / steps
            if k == 1:
                own += np.sqrt(max(1 - own**2, 0)) * chance
            largest = max(largest, float(np.interp(own, of_phis, phis)))
        k *= 2
    return max(1.0, (1 + largest) / (1 - largest))


def _of_lags(y_R: Array, most: int) -> Array:
    """sum_t y_t y_(t+k) of lags k = 0 to most - 1."""
    found = correlate(y_R, y_R)[len(y_R) - 1 :]
    return np.pad(found, (0, most - len(found)))


def _neighbours(covariance_K: Array, k: int) -> float:
    """Correlation of means of k steps with the next, from covariances [K] of lags 0, 1, ..."""
    lags = np.arange(-k + 1, k)
    weights = k - np.abs(lags)
    of_itself = float(covariance_K[np.abs(lags)] @ weights)
    return float(covariance_K[k + lags] @ weights) / of_itself if of_itself > 0 else 0.0
