"""Grids of numbers: the lattice that values lie on, its ends, the levels that were not seen.

Shapes: L levels of a column, ascending and distinct.
"""

import math

import numpy as np
from scipy.special import expit

from seqgan_jax.data.columns import decimals_of

MOST_LEVELS = 4096  # of a table
MOST_REPEATED = 16_384  # of a table that no lattice holds
TOLERANCE = 1e-3  # of a step: nearer values are on the lattice
EDGE = 5  # an end that came so often is one: nothing was cut off there by chance
NEIGHBOUR = 1 / 32  # of the range between the 5% and the 95% quantile
MARGIN = 0.5  # of the range, beyond an end that came seldom: later data go there too
BAND, FAR_OFF, VISITS = 0.02, 0.2, 10  # shares of the range: what is near an end, and what is not
SAME = 2e-6  # of the spread: closer levels are one, printed or computed in two ways
EXACT = 1e-6  # of a step: nearer values are on it as well as float64 can
DENSE, FEW_DENSE, FEW = 1 / 8, 1 / 2, 20  # shares of a lattice
POWERS, POWER_GAINS, MILD = (1.0, 0.75, 0.5, 0.25), 0.05, 0.9  # nats a value; of the best
STRAY = 0.005  # of the readings: as many may lie beside a lattice
COMB, COMB_OFF = 20, 0.51  # levels of what was rounded from another unit; units of its last decimal
ROUNDS = 40
# Of sticky levels: how many, how often each, their share of readings, how much above the others.
STICKY, STICKY_TIMES, STICKY_SHARES, STICKIER = 8, 10, (0.15, 0.97), 0.2
LARGEST = 1e38  # of float32


def spread_of(x_K: np.ndarray) -> float:
    """About the standard deviation, whatever outliers there are; above 0."""
    low, high = np.quantile(x_K, [0.05, 0.95])
    return float((high - low) / 3.29 or x_K.std() or 1.0)


def lattice_of(levels_L: np.ndarray, most: float) -> tuple[float, float] | None:
    """(origin, step) where all levels are origin + n step, None where no step gives `most` cells.

    The largest such step, by the greatest common divisor: exact where values are decimal, else
    Euclid's algorithm on the gaps, to a thousandth of the step (values printed as float32, or
    scaled to [0, 1]). Not where it is what float32 itself can tell apart.

    >>> lattice_of(np.array([0.5, 2.0, 3.5, 8.0]), 100)
    (0.5, 1.5)
    >>> lattice_of(np.array([0.0, 1.0, np.pi, 5.0, 7.5]), 100)
    """
    if len(levels_L) < 2 or math.isinf(width := float(levels_L[-1]) - float(levels_L[0])):
        return None
    decimals = decimals_of(levels_L)
    if decimals is not None and np.abs(levels_L).max() * 10.0**decimals < 2**52:
        whole = np.rint(levels_L * 10.0**decimals).astype(np.int64)
        divisor = int(np.gcd.reduce(np.diff(whole)))
        if (whole[-1] - whole[0]) / divisor <= most:
            return int(whole[0] % divisor) / 10**decimals, divisor / 10**decimals
    gaps = np.diff(levels_L)
    step = float(gaps.min())
    for _ in range(ROUNDS):
        if step <= 0 or width / step > most + 1:
            return None
        numbers = np.rint(gaps / step)
        fitted = float(gaps @ numbers / (numbers @ numbers))  # Euclid's remainders add up errors
        if np.all(np.abs(gaps - fitted * numbers) <= TOLERANCE * fitted):
            break
        left = np.abs(gaps - step * numbers)
        step = float(left[left > TOLERANCE * step].min(initial=step))
    numbers = np.r_[0.0, np.cumsum(numbers)]
    step = width / numbers[-1]
    if not np.all(np.abs(levels_L - levels_L[0] - numbers * step) <= TOLERANCE * step):
        return None
    ulp = np.spacing(np.float32(min(np.abs(levels_L).max(), LARGEST)))
    return None if is_single(levels_L) and step <= 8 * ulp else (float(levels_L[0]), step)


def is_single(levels_L: np.ndarray) -> bool:
    """They are float32 that were made float64: no decimals in float64."""
    return np.array_equal(levels_L, np.float32(levels_L)) and decimals_of(levels_L) is None


def counted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, ascending, and how often each is there: np.unique, many times as fast.

    >>> counted(np.array([2.0, 1.0, 2.0]))
    (array([1., 2.]), array([1, 2]))
    """
    ordered = np.sort(x, axis=None)
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    return ordered[first], np.diff(np.r_[first, ordered.size])


def nearest(levels_L: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Number of the nearest level.

    >>> nearest(np.array([0.0, 1.0, 10.0]), np.array([-3.0, 0.6, 5.4, 5.6, 11.0])).tolist()
    [0, 1, 1, 2, 2]
    """
    return np.searchsorted((levels_L[1:] + levels_L[:-1]) / 2, x)


def point(number: np.ndarray, origin: float, step: float) -> np.ndarray:
    """origin + number step, rounded to the decimals that both have.

    >>> point(np.array([3.0]), 0.0, 0.1).tolist(), (3 * 0.1)
    ([0.3], 0.30000000000000004)
    """
    decimals = decimals_of(np.array([origin, step]))
    x = origin + number * step
    return x if decimals is None else np.round(x, decimals)


def ends_of(levels_L: np.ndarray, counts_L: np.ndarray, margin: float) -> tuple[float, float]:
    """Between what values samples may lie.

    An end that came EDGE times or more, and no less than half as often as the levels beside it, is
    the end: it is none of a tail that thins out. Another is moved by `margin`, but not across 0
    where no value is, nor across the 1 or 100 at which shares end.

    >>> ends_of(np.array([0.1, 0.5, 0.9]), np.array([1, 9, 9]), 0.3)
    (0.0, 0.9)
    """
    first, last = float(levels_L[0]), float(levels_L[-1])
    low = first if _is_end(counts_L) else first - margin
    high = last if _is_end(counts_L[::-1]) else last + margin
    if first >= 0:
        low = max(low, 0.0)
        high = last if last in (1.0, 100.0) else high
    return low, min(high, 0.0) if last <= 0 else high


def fences_of(x_L: np.ndarray) -> tuple[float, float]:
    """Between what values the samples of a density may lie, by its readings in the order of time.

    An end is one where the density is still at least half of what an even one would be, and where
    the readings have been VISITS times: as of what is uniform, or of a sine. Another is moved by
    MARGIN of the range, but not across 0 where no value is.

    >>> rng = np.random.default_rng(0)
    >>> [round(end, 1) for end in fences_of(rng.uniform(10, 20, 1000))]
    [10.0, 20.0]
    >>> [round(end, 1) for end in fences_of(rng.normal(10, 1, 1000))]
    [3.8, 15.9]
    """
    first, last = float(x_L.min()), float(x_L.max())
    width = last - first
    low = first - _gap(x_L - first, width)
    high = last + _gap(last - x_L, width)
    return max(low, 0.0) if first >= 0 else low, min(high, 0.0) if last <= 0 else high


def _gap(distance_L: np.ndarray, width: float) -> float:
    """How far beyond an end the density goes on."""
    near = distance_L <= BAND * width
    where = np.flatnonzero(near | (distance_L > FAR_OFF * width))  # visits are far apart
    visits = np.count_nonzero(np.diff(near[where].astype(np.int8)) == 1) + near[where[:1]].sum()
    if near.mean() < 0.5 * BAND or visits < VISITS:
        return MARGIN * width
    return BAND * width / int(np.count_nonzero(near))  # the distance between readings there


def _is_end(counts_L: np.ndarray) -> bool:
    return bool(counts_L[0] >= max(EDGE, 0.5 * np.median(counts_L[1:5])))


def merged(levels_L: np.ndarray, counts_L: np.ndarray, spread: float) -> np.ndarray:
    """Numbers of the levels that float32 tells apart, ascending.

    Of neighbours that are closer than SAME of the spread the commonest.

    >>> merged(np.array([0.1, 0.3, 0.30000000000000004, 1.0]), np.array([5, 2, 7, 1]), 1.0).tolist()
    [0, 2, 3]
    """
    group = np.cumsum(np.r_[False, np.diff(levels_L) > SAME * spread])
    order = np.lexsort((-counts_L, group))
    return order[np.r_[True, np.diff(group[order]) != 0]]


def completed(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray | None:
    """The levels with those of their lattice that were not seen; None where irregular.

    None, too, where less than DENSE of the lattice between the ends was seen (FEW_DENSE where the
    levels are few or not exactly on it: it may be chance), or there would be more than MOST_LEVELS.
    Strays, as where few readings were interpolated, make no lattice: they are levels beside it.

    >>> completed(np.array([1.0, 2.0, 4.0]), np.array([9, 9, 9]))
    array([1., 2., 3., 4.])
    >>> completed(np.array([1.0, 2.0, 2.5, 5.0]), np.array([400, 500, 1, 400]))
    array([1. , 2. , 2.5, 3. , 4. , 5. ])
    """
    comb = comb_of(levels_L, counts_L)
    if comb is not None:
        return comb if len(comb) < MOST_LEVELS else None
    stray = _strays(levels_L, counts_L)
    if stray.any():
        whole = completed(levels_L[~stray], counts_L[~stray])
        return None if whole is None else np.union1d(whole, levels_L[stray])
    lattice = lattice_of(levels_L, len(levels_L) / DENSE)
    if lattice is None:
        return None
    origin, step = lattice
    off = np.abs(np.rint((levels_L - origin) / step) * step + origin - levels_L).max()
    cells = (levels_L[-1] - levels_L[0]) / step
    if (len(levels_L) <= FEW or off > EXACT * step) and len(levels_L) < FEW_DENSE * cells:
        return None
    width = float(levels_L[-1] - levels_L[0])
    low, high = ends_of(levels_L, counts_L, max(MARGIN * width, step))
    first = math.ceil((low - origin) / step - TOLERANCE)
    last = math.floor((high - origin) / step + TOLERANCE)
    if last - first >= MOST_LEVELS:
        return None
    values = point(np.arange(first, last + 1.0), origin, step) + 0.0
    if is_single(levels_L):
        values = values.astype(np.float32).astype(np.float64)  # as the others were made
    values[np.rint((levels_L - origin) / step).astype(int) - first] = levels_L
    return values


def _strays(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray:
    """Which levels are off the lattice of those that STRAY leaves, and no more than that, [L]."""
    none, most = np.zeros(len(levels_L), bool), STRAY * counts_L.sum()
    common = _common(levels_L, counts_L)
    lattice = lattice_of(common, len(levels_L) / DENSE)
    if lattice is None:
        return none
    number_L = (levels_L - lattice[0]) / lattice[1]
    stray = np.abs(number_L - np.rint(number_L)) > TOLERANCE
    return stray if counts_L[stray].sum() <= most else none


def _common(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray:
    """The levels but for the rarest, which have STRAY of the readings together."""
    order = np.argsort(counts_L, kind="stable")
    rare = np.cumsum(counts_L[order]) <= STRAY * counts_L.sum()
    return np.sort(levels_L[order[~rare]])


def comb_of(levels_L: np.ndarray, counts_L: np.ndarray) -> np.ndarray | None:
    """The levels of a lattice of another unit that was rounded: degrees Fahrenheit as tenths of
    degrees Celsius, hundredths of inches as tenths of millimetres; with those not seen and strays.

    None where there is none: of COMB levels and more, with a step of two units of the last decimal
    and more, to half of such a unit.

    >>> celsius = ((np.arange(32, 90) - 32) / 1.8).round(1)
    >>> comb_of(np.delete(celsius, 20), np.full(57, 9)).tolist() == celsius.tolist()
    True
    """
    decimals = decimals_of(levels_L)
    common = _common(levels_L, counts_L)
    if decimals is None or len(common) < COMB:
        return None
    unit = 10.0**-decimals
    # From where they are the most common outwards, twice as many each time: gaps in a tail are of
    # many steps.
    middle = levels_L[np.searchsorted(np.cumsum(counts_L), counts_L.sum() / 2)]
    outwards = common[np.argsort(np.abs(common - middle))]
    some = np.sort(outwards[:COMB])
    step, origin = gap_of(some), some[0]
    number = np.r_[0.0, np.cumsum(np.maximum(np.rint(np.diff(some) / step), 1.0))]
    while len(some) < len(common):
        step, origin = np.polyfit(number, some, 1)
        some = np.sort(outwards[: 2 * len(some)])
        number = np.rint((some - origin) / step)
    off = np.abs(some - np.polyval(np.polyfit(number, some, 1), number))
    lattice = lattice_of(common, len(levels_L) / DENSE)
    is_exact = lattice is not None and lattice[1] > 0.75 * step  # nothing was rounded
    if is_exact or step < 2 * unit or np.mean(off > unit) > STRAY:
        return None
    step, origin = _least_apart(number, some)
    every = np.rint((levels_L - origin) / step)
    stray = np.abs(levels_L - origin - every * step) > COMB_OFF * unit
    if step < 2 * unit or counts_L[stray].sum() > STRAY * counts_L.sum():
        return None
    levels, counts, number = levels_L[~stray], counts_L[~stray], every[~stray].astype(int)
    if len(np.unique(number)) < len(number) or number[-1] - number[0] > len(levels) / DENSE:
        return None
    low, high = ends_of(levels, counts, MARGIN * float(levels[-1] - levels[0]))
    first, last = (math.ceil((low - origin) / step - 0.5), math.floor((high - origin) / step + 0.5))
    whole = np.round(origin + step * np.arange(first, last + 1.0), decimals) + 0.0
    whole = whole[(whole >= low) & (whole <= high)]
    whole = whole[~np.isin(np.rint((whole - origin) / step), number)]
    return np.union1d(whole, levels_L)


def _least_apart(number_L: np.ndarray, levels_L: np.ndarray) -> tuple[float, float]:
    """step and origin of the line with the least largest distance (Chebyshev): what was rounded is
    off by half a unit at most."""
    from scipy.optimize import linprog

    line = np.stack([number_L, np.ones(len(number_L))], axis=1)
    slack = -np.ones((2 * len(line), 1))
    found = linprog(
        [0.0, 0.0, 1.0],
        A_ub=np.hstack([np.concatenate([line, -line]), slack]),
        b_ub=np.concatenate([levels_L, -levels_L]),
        bounds=[(None, None), (None, None), (0, None)],
    )
    return float(found.x[0]), float(found.x[1])


def weights_of(counts_L: np.ndarray) -> np.ndarray:
    """Counts, and a small weight of levels that were not seen, [L], all above 0.

    All that was not seen has together the weight of what came once (Good 1953: the chance of
    something new is the share of what came once), by the average of the levels around, of which
    none is exceeded.

    >>> weights_of(np.array([4.0, 1.0, 0.0, 3.0])).round(2).tolist()
    [4.0, 1.0, 1.0, 3.0]
    """
    unseen = counts_L == 0
    if not unseen.any():
        return counts_L.astype(np.float64)
    half = max(1, len(counts_L) // 40)
    around = _average(_average(counts_L, half), half) + 1e-3 * max(1.0, counts_L.mean())
    once = max(1, np.count_nonzero(counts_L == 1))
    return np.where(unseen, around * min(1.0, once / around[unseen].sum()), counts_L)


def sticky_of(held_L: np.ndarray, times_L: np.ndarray) -> np.ndarray:
    """Which levels are stayed at far more often than the ones between them, bool [L]; or none.

    Of two groups of levels, each with a rate of its own, by expectation maximisation: a sensor
    stays at its codes, and passes through averages of two of them. Not where the one group is a
    part of the range.

    Args:
      held_L: how often the next value was the same.
      times_L: how often there was a next value.

    >>> held, times = np.tile([60, 1, 0, 2], 20), np.tile([90, 30, 3, 20], 20)
    >>> sticky_of(held, times).nonzero()[0][:3].tolist(), sticky_of(held, held).nonzero()[0].size
    ([0, 4, 8], 0)
    """
    nothing = np.zeros(len(times_L), bool)
    if not 0 < held_L.sum() < times_L.sum():
        return nothing
    mean, share = held_L.sum() / times_L.sum(), 0.5
    rates = np.array([mean / 2, (1 + mean) / 2])
    for _ in range(ROUNDS):
        odds = (
            np.log(share / (1 - share))
            + held_L * np.log(rates[1] / rates[0])
            + (times_L - held_L) * np.log((1 - rates[1]) / (1 - rates[0]))
        )
        of_one = expit(odds)
        groups = np.stack([1 - of_one, of_one])
        rates = (groups @ held_L + 0.5) / (groups @ times_L + 1.0)
        share = (of_one.sum() + 0.5) / (len(odds) + 1.0)
    is_one = (of_one > 0.5) & (times_L >= STICKY_TIMES)
    number, of_all = np.count_nonzero(is_one), times_L[is_one].sum() / times_L.sum()
    runs = np.count_nonzero(is_one & ~np.r_[False, is_one[:-1]])
    good = rates[1] - rates[0] >= STICKIER and STICKY <= number <= 2 * runs
    return is_one & bool(good and STICKY_SHARES[0] <= of_all <= STICKY_SHARES[1])


def _average(x_L: np.ndarray, half: int) -> np.ndarray:
    """The mean of the `half` values on each side and of each itself; fewer at the ends."""
    total = np.r_[0.0, np.cumsum(x_L)]
    number = np.arange(len(x_L))
    low, high = np.maximum(number - half, 0), np.minimum(number + half + 1, len(x_L))
    return (total[high] - total[low]) / (high - low)


def gap_of(levels_L: np.ndarray) -> float:
    """How far two levels lie apart, as most do."""
    return float(np.median(np.diff(levels_L)))


def bent(levels_L: np.ndarray, power: float) -> np.ndarray:
    """Where levels lie in units of (level - lowest + gap)^power; as they are where it is 1.

    >>> bent(np.array([0.0, 3.0, 8.0]), 0.5).round(2).tolist()
    [2.0, 2.65, 3.46]
    """
    if power == 1 or len(levels_L) < 2:
        return levels_L
    found: np.ndarray = (levels_L - levels_L[0] + gap_of(levels_L)) ** power
    return found


def power_of(x: np.ndarray, before: np.ndarray, low: float, gap: float) -> float:
    """The power of x - low + gap that is the nearest to an autoregression of even noise.

    By its likelihood with Gaussian noise, of all powers with the same data (Box and Cox 1964):
    log p(x) = log p(y) + log dy/dx, y = (x - low + gap)^power. The mildest that gains nearly as
    much as the best; 1 where that gains little.

    >>> rng = np.random.default_rng(0)
    >>> level = np.exp(rng.normal(size=2000))
    >>> power_of(level * np.exp(0.1 * rng.normal(size=2000)), level, 0.0, 0.01) < 0.5
    True
    """
    found = []
    for power in POWERS:
        y, past = ((each - low + gap) ** power for each in (x, before))
        slope, mean = np.polyfit(past, y, 1)
        noise = np.std(y - slope * past - mean)
        found.append(-np.log(noise) + np.mean(np.log(power) + (power - 1) * np.log(x - low + gap)))
    gains = np.array(found) - found[0]
    nearly = gains >= MILD * gains.max()
    return POWERS[int(np.argmax(nearly))] if gains.max() > POWER_GAINS else 1.0


def warped(
    levels_L: np.ndarray, weights_L: np.ndarray, sided: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [L] of levels, and edges [L - 1] of cells as wide as they are common.

    width_i = gap_i + s_i (w_i / r_i - gap_i), r the weight per unit of the values within a
    NEIGHBOUR of the range: where a sensor has common codes and rare averages between them, a
    smooth density of positions gives each what it has, and the coordinate stays that of the
    values. s_i is what is left of the deviation w_i - r_i gap_i beside the noise of counting
    (empirical Bayes, gamma and Poisson), so that evenly common levels keep their places.

    `sided`: r_i is what the values below (and it) or above (and it) have, whichever is nearer to
    its own: levels of a tail that thins out keep their places, too. Else they would be narrow
    beside the common ones, and what a density has beyond these would all be in the last cell.

    >>> positions, edges = warped(np.arange(6.0), np.array([1e4, 1, 1e4, 1, 1e4, 1]))
    >>> np.diff(edges).round(1).tolist()
    [0.0, 1.9, 0.0, 2.3]
    >>> tail = 1e4 * 0.1 ** np.arange(6)
    >>> [np.diff(warped(np.arange(6.0), tail, each)[1]).round(2).tolist() for each in (True, False)]
    [[0.88, 0.88, 0.88, 0.88], [0.64, 0.08, 0.08, 0.1]]
    """
    if len(levels_L) < 3:
        return levels_L, (levels_L[1:] + levels_L[:-1]) / 2
    middle = (levels_L[1:] + levels_L[:-1]) / 2
    ends = np.r_[2 * levels_L[0] - middle[0], middle, 2 * levels_L[-1] - middle[-1]]
    gap = np.diff(ends)
    shares = np.cumsum(weights_L) / weights_L.sum()
    low, high = levels_L[np.minimum(np.searchsorted(shares, (0.05, 0.95)), len(levels_L) - 1)]
    near = max(NEIGHBOUR * (high - low), 2.5 * float(np.median(gap)))
    first = np.searchsorted(levels_L, levels_L - near)
    last = np.searchsorted(levels_L, levels_L + near, side="right")
    weight_sum, gap_sum = np.r_[0.0, np.cumsum(weights_L)], np.r_[0.0, np.cumsum(gap)]
    rate = (weight_sum[last] - weight_sum[first]) / (gap_sum[last] - gap_sum[first])
    if sided:
        here = np.arange(len(gap))
        below = (weight_sum[here + 1] - weight_sum[first]) / (gap_sum[here + 1] - gap_sum[first])
        above = (weight_sum[last] - weight_sum[here]) / (gap_sum[last] - gap_sum[here])
        below[0], above[-1] = above[0], below[-1]  # nothing is on the other side of an end
        rate = np.clip(weights_L / gap, np.minimum(below, above), np.maximum(below, above))
    expected = rate * gap
    noise = np.sum((weights_L - expected) ** 2 - weights_L) / np.sum(expected**2)
    kept = max(noise, 0.0) * expected / (max(noise, 0.0) * expected + 1.0)
    width = np.maximum(gap + kept * (weights_L / rate - gap), 1e-3 * gap)
    width *= gap.sum() / width.sum()
    ends = ends[0] + np.r_[0.0, np.cumsum(width)]
    return (ends[1:] + ends[:-1]) / 2, ends[1:-1]
