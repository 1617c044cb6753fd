"""The linear baseline: a VAR(1) of the columns by ridge regression; constants of a policy.

Slow series move a thousandth of their range in a step, and prices of one share are nearly
collinear: against this baseline the policy's task has unit scale in every direction, and training
begins at the VAR(1)'s likelihood instead of creeping towards it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from seqgan_jax.core.batch import Params
from seqgan_jax.data.known import CLOSING

Array = NDArray[Any]

RIDGES = (1e-3, 1e-2, 0.1, 1.0, 10.0)  # in units of a column's variance
SHRINKAGES = (0.0, 0.1, 0.5, 1.0)  # of correlations towards none
STEPS = 50_000  # of all sequences that regressions of mixed columns see
ROWS = 2000  # validation sequences that decide
SLOW = (1 / 4, 1 / 16)  # rates of the moving means of mixed columns
LEVELS = (0.0, 1.0)  # of the ridge that keeps a column's own level, of data of unit variance
OTHERS = 1.0  # of that by which levels of other columns move none: far ahead none follows another
LEAST_RIDGE = 1e-5  # of slopes of what is known in advance, in units of its variance


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Baseline:
    """x_1 = first_offset + first_factor e_1; x_t = matrix x_{t-1} + offset + factor e_t.

    Of mixed columns also + second [x_{t-2}, m_{t-1}, n_{t-1}], where x_0 is x_1, and m and n are
    moving means by the rates SLOW: a level beside quick changes, which no order of 1 or 2 can tell.
    There may be a third, of days where the hour is known, which a level by the hour cannot be; and
    q_{t-S} - q_{t-S-1} and q_{t-S} - x_{t-1}, what the means q of the same hour of the last days
    moved by and how far they are, 0 in the first season (`seasonal_mean`). Of sequences within one
    season, w (n_{t-1} - x_{t-1}) and w (x_1 - x_{t-1}), see `closeness`.
    Where something is known in advance + known k_t, + first_known k_1 at the first step.
    """

    first_offset: jax.Array  # [D]
    first_factor: jax.Array  # [D, D], lower triangular
    matrix: jax.Array  # [D, D]
    offset: jax.Array  # [D]
    factor: jax.Array  # [D, D], lower triangular
    second: jax.Array | None = None  # [D, 3 D], or more where there are more means
    first_known: jax.Array | None = None  # [D, W]
    known: jax.Array | None = None  # [D, W]

    def constants(self) -> Params:
        """As a policy holds them."""
        return {name: array for name, array in vars(self).items() if array is not None}


class _Candidate(NamedTuple):
    """One way to predict, and the density of what is left over."""

    matrix: Array
    offset: Array
    factor: Array


def fit(
    train_NTD: Array,
    validation_NTD: Array,
    covariance: str = "full",
    kind: str = "var",
    known: tuple[Array, Array] | None = None,
) -> Baseline:
    """Ridge regression of x_t on x_{t-1}, and the covariances of x_1 and of the residuals.

    min_A ||x_t - A x_{t-1}||^2 + lambda ||A - A_0||^2 with A_0 = 0 or the identity. Plain least
    squares (lambda = 0, the covariance as it is) where the validation part is likelier under it
    than under independent columns without it (A = A_0): with more columns than rows it is not, its
    residuals are fitted to nothing. Then lambda and the shrinkage of correlations are those under
    which the validation part is likeliest.

    Args:
      train_NTD: scaled sequences to fit.
      validation_NTD: scaled sequences that choose.
      covariance: "diagonal", or with correlations.
      kind: "var"; with "increments" A is the identity, with "levels" zero.
      known: what is known in advance [N, T, W] of both, partialled out of x_t and x_{t-1} first
        (Frisch & Waugh 1933): x_t = A x_{t-1} + B k_t + c with B = B_t - A B_{t-1}.
    """
    features = train_NTD.shape[2]
    validation_NTD = validation_NTD[:ROWS]
    first, before, after = train_NTD[:, 0], train_NTD[:, :-1], train_NTD[:, 1:]
    begin, past, now = validation_NTD[:, :1], validation_NTD[:, :-1], validation_NTD[:, 1:]
    slopes: list[Array] = []
    if known is not None:
        of_train, unseen = known[0], known[1][:ROWS]
        # The known of the step that is drawn is taken from both it and the step before.
        sides = (
            (first[:, None], of_train[:, :1], begin, unseen[:, :1]),
            (before, of_train[:, 1:], past, unseen[:, 1:]),
            (after, of_train[:, 1:], now, unseen[:, 1:]),
        )
        slopes = [_slopes(*side) for side in sides]
        left = [
            (x - k @ slope.T, other - other_k @ slope.T)
            for slope, (x, k, other, other_k) in zip(slopes, sides, strict=True)
        ]
        (first, begin), (before, past), (after, now) = left
        first = first[:, 0]
    before, after = before.reshape(-1, features), after.reshape(-1, features)
    # The floor keeps exactly dependent columns invertible: 1e-4 of a column's standard deviation.
    floor = 1e-8 * (before.var(axis=0) + 1e-8)
    shrinkages = SHRINKAGES if covariance != "diagonal" and features > 1 else (0.0,)

    identity, none = np.eye(features), np.zeros((features, features))

    def of_first(*shrinkages: float) -> Iterator[_Candidate]:
        for factor in _factors(first, floor, covariance, shrinkages):
            yield _Candidate(none, first.mean(0), factor)

    def of_later(matrix: Array, *shrinkages: float) -> Iterator[_Candidate]:
        offset = after.mean(0) - matrix @ before.mean(0)
        residual = after - before @ matrix.T - offset
        for factor in _factors(residual, floor, covariance, shrinkages):
            yield _Candidate(matrix, offset, factor)

    most = shrinkages[-1]
    start = _choose(
        next(of_first(0.0)),
        [*of_first(most)],
        of_first(*shrinkages),
        0.0 * begin,
        begin,
    )
    fixed = {
        "var": [identity, 0.0 * identity],
        "increments": [identity],
        "levels": [0.0 * identity],
    }
    x, y = before - before.mean(0), after - after.mean(0)
    least = np.linalg.lstsq(x, y, rcond=1e-10)[0].T if kind == "var" else fixed[kind][0]
    ridges = _ridges(x, y) if kind == "var" else iter(())
    others = (
        candidate
        for matrix in itertools.chain(fixed[kind], ridges)
        for candidate in of_later(matrix, *shrinkages)
    )
    plain = [next(of_later(matrix, most)) for matrix in fixed[kind]]
    later = _choose(next(of_later(least, 0.0)), plain, others, past, now)
    arrays = dict(zip(_PLAIN, (start.offset, start.factor, *later), strict=True))
    if known is not None:
        of_first_step, of_before, of_after = slopes
        arrays |= {"first_known": of_first_step, "known": of_after - later.matrix @ of_before}
    return _baseline(arrays)


_PLAIN = ("first_offset", "first_factor", "matrix", "offset", "factor")


def _baseline(arrays: dict[str, Array]) -> Baseline:
    # By numpy: on the device each conversion is a program.
    return Baseline(**{k: jax.numpy.asarray(a.astype(np.float32)) for k, a in arrays.items()})


def _slopes(x_NTD: Array, known_NTW: Array, other_NTD: Array, other_NTW: Array) -> Array:
    """Ridge regression of x_t on k_t with an intercept, [D, W].

    With the ridge, of no slope at all among others, under which the other part has the least error,
    so that what is known does no harm where it says nothing.
    """
    features, width = x_NTD.shape[2], known_NTW.shape[2]
    y, k = x_NTD.reshape(-1, features), known_NTW.reshape(-1, width).astype(float)
    mean, level = k.mean(0), y.mean(0)
    gram, cross = (k - mean).T @ (k - mean) / len(k), (k - mean).T @ (y - level) / len(k)
    own = np.diag(gram) + 1e-6
    found = [np.zeros((features, width))]
    found += [
        np.linalg.solve(gram + np.diag(ridge * own), cross).T for ridge in (LEAST_RIDGE, *RIDGES)
    ]

    def error(slope: Array) -> float:
        return float(np.mean((other_NTD - level - (other_NTW - mean) @ slope.T) ** 2))

    return min(found, key=error)


class _Row(NamedTuple):
    """The regression of one column on the step before and on the earlier columns of its step."""

    past: Array  # [4 D] or more, of `_past_of`, and [W] what is known in advance
    earlier: Array  # [D], 0 from its own place on
    offset: float
    scale: float


def fit_rest(
    train: tuple[Array, Array],
    validation: tuple[Array, Array],
    kind: str = "var",
    known: tuple[Array, Array] | None = None,
    rates: tuple[float, ...] = SLOW,
    steps: int | None = None,
    season: tuple[int, float] = (0, 1.0),
) -> Baseline:
    """The same of columns of which some values are options: each row is fitted on the rest only.

    x_td = a_d x_{t-1} + b_d [x_{t-2}, m_{t-1}, n_{t-1}] + l_d x_t,<d + c_d + s_d e_td over the
    steps at which x_td is no option, so that zeros, sentinels and held values set neither scale nor
    slope; options of other columns count by their sizes. One ridge for all rows, the likeliest on
    the validation part.

    Args:
      train: sizes [N, T, D], and which values are of the rest [N, T, D] bool.
      validation: the same of those that choose.
      kind: "var"; with "increments" a is the identity, with "levels" zero, and b is zero.
      known: what is known in advance [N, T, W] of both parts; read beside the past.
      steps: T over which the free-running mean may grow e-fold and no more, see `_held_back`.
      rates: of the moving means.
      season: S, 0 without, and the rate of the means of what was S, 2 S .. steps ago, see
        `seasonal_mean`; 0 of sequences within one. They are read where the validation part is
        likelier by them. One step ahead hardly tells ridges apart, nor whether levels are kept,
        which decides far ahead: with seasons both are those of the least error of free-running
        means, `_far`.
    """
    every = 1 + len(train[0]) * train[0].shape[1] // STEPS
    size_NTD, rest_NTD = (part[::every] for part in train)
    features = size_NTD.shape[2]
    of_season = blocks_of_season(*season)
    width = (2 + len(rates) + of_season) * features
    none = np.zeros((features, width))
    fixed = {"increments": np.eye(features, width), "levels": none}.get(kind)
    now, rest = size_NTD[:, 1:], rest_NTD[:, 1:]
    first, no_past = (
        (size_NTD[:, :1], rest_NTD[:, :1]),
        _past_of(0 * size_NTD[:, :2], rates, season),
    )
    past = _past_of(size_NTD, rates, season)
    given = None
    if known is not None:
        given = known[0][::every]
        past = np.concatenate([past, given[:, 1:]], axis=2)
        fixed = None if fixed is None else np.pad(fixed, ((0, 0), (0, given.shape[2])))
    later, start, blind = [], [], list[list[_Row]]()
    without = np.array(past)
    without[..., width - of_season * features : width] = 0.0
    for d in range(features):
        a = None if fixed is None else fixed[d]
        later.append(_regress(past, now, rest, d, (1e-6, *RIDGES), a))
        if of_season and fixed is None:
            blind.append(_regress(without, now, rest, d, (1e-6, *RIDGES), a))
        if given is None:
            start.append(_regress(no_past, *first, d, RIDGES[1:2], none[0])[0])
        else:
            start.append(_regress(given[:, :1], *first, d, RIDGES[1:2], None)[0])

    unseen, counts = (part[:ROWS] for part in validation)
    unseen_past = _past_of(unseen, rates, season)
    if known is not None:
        unseen_past = np.concatenate([unseen_past, known[1][:ROWS, 1:]], axis=2)

    def loss(candidate: Sequence[_Row]) -> float:
        total = 0.0
        for d, row in enumerate(candidate):
            found = unseen[:, 1:] @ row.earlier + unseen_past @ row.past + row.offset
            z = ((unseen[:, 1:, d] - found) / row.scale) ** 2
            z = np.minimum(z, 100.0)  # no outlier decides
            total += float(np.sum((0.5 * z + np.log(row.scale))[counts[:, 1:, d]]))
        return total

    best: Sequence[_Row] = min(zip(*later, strict=True), key=loss)
    if of_season and fixed is None and closes(*season):
        best = min(best, *zip(*blind, strict=True), key=loss)
    elif of_season and fixed is None:
        other = min(zip(*blind, strict=True), key=loss)
        is_read = loss(best) < loss(other)
        read, blocks = past if is_read else without, 2 + len(rates)
        some = [
            each
            for level in LEVELS
            for each in zip(
                *(
                    _regress(read, now, rest, d, RIDGES, None, blocks, level)
                    for d in range(features)
                ),
                strict=True,
            )
        ]
        of_known = None if known is None else known[1][:ROWS]

        def error(candidate: Sequence[_Row]) -> float:
            return _far(_assemble(candidate), unseen, counts, of_known, rates, season)

        best = min(some, key=error)
    if steps is not None:
        best = _held_back(best, past, now, rest, np.exp(1 / steps), rates)
    begin, after = _assemble(start), _assemble(best)
    matrix, second, slopes = np.split(after.matrix, [features, width], axis=1)
    values = (begin.offset, begin.factor, matrix, after.offset, after.factor)
    arrays = dict(zip(_PLAIN, values, strict=True)) | {"second": second}
    if known is not None:
        arrays |= {"first_known": begin.matrix, "known": slopes}
    return _baseline(arrays)


def _far(
    law: _Candidate,
    x_NTD: Array,
    counts_NTD: Array,
    known_NTW: Array | None,
    rates: tuple[float, ...],
    season: tuple[int, float],
) -> float:
    """Mean over columns of the log mean squared error of the free-running mean of the second half
    of sequences, after the first."""
    features, length = x_NTD.shape[2], x_NTD.shape[1]
    start = length // 2
    means = [moving_mean(x_NTD[:, :start], rate)[:, -1] for rate in rates]
    found, again = np.array(x_NTD, float), seasonal_mean(x_NTD, *season)
    for t in range(start, length):
        parts = [found[:, t - 1], found[:, t - 2], *means]
        parts += _of_season(found[:, :t], again[:, :t], *season)
        parts += [] if known_NTW is None else [known_NTW[:, t]]
        found[:, t] = np.concatenate(parts, axis=1) @ law.matrix.T + law.offset
        means = [_after(m, found[:, t], t, rate) for m, rate in zip(means, rates, strict=True)]
        again[:, t] = _season_after(again, found[:, t], t, *season)
    error = np.where(counts_NTD, found - x_NTD, 0.0)[:, start:].reshape(-1, features) ** 2
    number = np.maximum(counts_NTD[:, start:].reshape(-1, features).sum(axis=0), 1)
    return float(np.mean(np.log(error.sum(axis=0) / number + 1e-12)))


def _held_back(
    rows: Sequence[_Row],
    past: Array,
    now: Array,
    rest: Array,
    most: float,
    rates: tuple[float, ...],
) -> Sequence[_Row]:
    """The rows with slopes of the past that are smaller by one share, so that growth is `most`.

    What wears grows faster the more it is worn, and the linear law of this is unstable: samples
    that begin a little too low fall without end, from which no bounded network brings them back.
    What grows within the data is left to the network, which is bounded.
    """
    width = (2 + len(rates)) * len(rows)

    def times(share: float) -> list[_Row]:
        held = [np.concatenate([share * row.past[:width], row.past[width:]]) for row in rows]
        return [row._replace(past=a) for row, a in zip(rows, held, strict=True)]

    def grows(share: float) -> bool:
        matrix = _assemble(times(share)).matrix[:, :width]
        now, before = np.split(matrix, [len(rows)], axis=1)
        return growth(now, before, rates) > most

    low, high = 0.0, 1.0
    if not grows(high):
        return rows
    for _ in range(20):
        share = 0.5 * (low + high)
        low, high = (low, share) if grows(share) else (share, high)
    found = []
    for d, row in enumerate(times(low)):
        if not row.past.any():
            found.append(row)
            continue
        left = (now[..., d] - past @ row.past - now @ row.earlier)[rest[..., d]]
        offset = float(left.mean())
        found.append(row._replace(offset=offset, scale=_scale(left - offset)))
    return found


def is_held_back(linear: Baseline, steps: int, rates: tuple[float, ...] = SLOW) -> bool:
    """Whether its growth is all that T = `steps` allow, see `fit_rest`."""
    return growth(linear.matrix, linear.second, rates) > np.exp(0.99 / steps)


def _scale(residual: Array) -> float:
    """By the median where that is far smaller: outliers must not set the scale of the others."""
    residual = np.abs(residual)
    root = float(np.sqrt(np.mean(residual**2)))
    return max(min(root, 6.0 * float(np.median(residual)) + 1e-3), 1e-4)


def _past_of(x_NTD: Array, rates: tuple[float, ...], season: tuple[int, float] = (0, 1.0)) -> Array:
    """x_{t-1}, x_{t-2}, m_{t-1}, n_{t-1} of the steps from the second on, [N, T - 1, 4 D]; or more
    where there are more means, or a season."""
    before = x_NTD[:, :-1]
    earlier = np.concatenate([before[:, :1], before[:, :-1]], axis=1)
    means = [moving_mean(before, rate) for rate in rates]
    if closes(*season):
        w_T1 = closeness(np.arange(1, x_NTD.shape[1]), season[0])[:, None]
        again = [w_T1 * (means[1] - before), w_T1 * (before[:, :1] - before)]
        return np.concatenate([before, earlier, *means, *again], axis=2)
    q_NTD, steps = seasonal_mean(before, *season), range(1, x_NTD.shape[1])
    again = [_of_season(before[:, :t], q_NTD[:, :t], *season) for t in steps if season[0]]
    of_season = [np.stack(each, axis=1) for each in zip(*again, strict=True)]
    return np.concatenate([before, earlier, *means, *of_season], axis=2)


def blocks_of_season(steps: int, rate: float) -> int:
    """How many numbers of each column are read of a season: of its rate 1 only the moves."""
    return 0 if not steps else 1 + (rate < 1)


def closes(steps: int, rate: float) -> bool:
    """Whether sequences lie within one season of `steps`, see `closeness`."""
    return steps > 0 and rate == 0


def closeness(t: Any, steps: int) -> Any:
    """w = max(0, 1 - (S - t - 1) / (S / 3)): how near the step after t of them is to the first one
    of the season of S `steps` to come; 0 after its end. A sequence of a day ends about where it
    began, which no short memory tells.

    >>> closeness(np.array([15, 16, 20, 23, 24]), 24).tolist()
    [0.0, 0.125, 0.625, 1.0, 0.0]
    """
    is_before = (steps - t).clip(0, 1)  # steps are whole
    return is_before * (1.0 - (steps - t - 1.0) / (CLOSING * steps)).clip(0.0)


def seasonal_mean(x_NTD: Array, steps: int, rate: float) -> Array:
    """q_t = q_{t-S} + max(rate, 1 / k) (x_t - q_{t-S}) in the k-th season of S steps; x_t in the
    first. Of rate 1 it is x.

    >>> seasonal_mean(np.array([[[1.0], [2.0], [3.0], [8.0], [5.0]]]), 2, 0.25).ravel().tolist()
    [1.0, 2.0, 2.0, 5.0, 3.0]
    """
    found = np.array(x_NTD, float)
    for t in range(steps, found.shape[1] if steps else 0):
        found[:, t] = _season_after(found, x_NTD[:, t], t, steps, rate)
    return found


def _season_after(q_NTD: Array, x_ND: Array, t: int, steps: int, rate: float) -> Array:
    """The mean of a season's place after step t, from 0, which is x."""
    if not steps or t < steps:
        return x_ND
    rate = max(rate, 1 / (t // steps + 1))
    return (1 - rate) * q_NTD[:, t - steps] + rate * x_ND


def _of_season(x_NTD: Array, q_NTD: Array, steps: int, rate: float) -> list[Array]:
    """q_{t-S} - q_{t-S-1} and q_{t-S} - x_{t-1}, [N, D] each, of the step after all of these."""
    t = x_NTD.shape[1]
    none = 0.0 * x_NTD[:, -1]
    moved = q_NTD[:, t - steps] - q_NTD[:, t - steps - 1] if t > steps else none
    away = q_NTD[:, t - steps] - x_NTD[:, -1] if t >= steps else none
    return [moved, away][: blocks_of_season(steps, rate)]


def moving_mean(x_NTD: Array, rate: float) -> Array:
    """m_t = m_{t-1} + max(rate, 1 / t) (x_t - m_{t-1}): the plain mean of the first steps.

    >>> moving_mean(np.array([[[1.0], [3.0], [5.0]]]), 0.5).ravel().tolist()
    [1.0, 2.0, 3.5]
    """
    found = np.array(x_NTD, float)
    for t in range(1, found.shape[1]):
        found[:, t] = _after(found[:, t - 1], x_NTD[:, t], t, rate)
    return found


def _after(mean_ND: Array, x_ND: Array, t: int, rate: float) -> Array:
    """The moving mean after step t, from 0, which is x."""
    return mean_ND + max(rate, 1 / (t + 1)) * (x_ND - mean_ND)


def _regress(
    past: Array,
    now: Array,
    rest: Array,
    d: int,
    ridges: Iterable[float],
    fixed: Array | None,
    blocks: int = 0,
    level: float = 0.0,
) -> list[_Row]:
    """The regression of column d with each ridge; without enough of a rest, of unit scale.

    `fixed` is the row of the past where it is given. With `blocks` the ridge is towards the random
    walk, and of what x_d becomes where all of the first blocks of the past, and the earlier
    columns, are c: a ridge towards what no c_j but c_d moves, and one, `level`, towards c_d.
    """
    features = now.shape[2]
    is_rest = rest[..., d]
    y = now[..., d][is_rest]
    nothing = np.zeros(features)
    if len(y) < 10 or y.std() == 0:
        return [_Row(np.zeros(past.shape[2]), nothing, 0.0, 1.0) for _ in ridges]
    x = now[is_rest][:, :d]
    if fixed is None:
        x = np.concatenate([past[is_rest], x], axis=1)
    else:
        y = y - past[is_rest] @ fixed
    if blocks:
        y = y - past[is_rest][:, d]
    mean, middle = x.mean(0), y.mean()
    spread = np.maximum(x.std(0), 1e-6)
    x = (x - mean) / spread
    gram, cross = x.T @ x / len(x), x.T @ (y - middle) / len(x)
    if blocks:
        of_level = np.zeros((features, len(gram)))
        for b in range(blocks):
            of_level[:, b * features : (b + 1) * features] = np.eye(features)
        of_level[:d, len(gram) - d :] = np.eye(d)
        of_level /= spread
        weight = np.where(np.arange(features) == d, level, OTHERS)
        gram = gram + of_level.T @ (weight[:, None] * of_level)
    rows = []
    for ridge in ridges:
        slope = np.linalg.solve(gram + (ridge + 1e-9) * np.eye(len(gram)), cross)
        scale = _scale(y - middle - x @ slope)
        slope = slope / spread
        split, earlier = len(slope) - d, nothing.copy()
        earlier[:d] = slope[split:]
        of_past = slope[:split] if fixed is None else fixed
        if blocks:
            of_past = of_past + np.eye(1, split, d)[0]
        rows.append(_Row(of_past, earlier, float(middle - mean @ slope), scale))
    return rows


def _assemble(rows: Sequence[_Row]) -> _Candidate:
    """x = A x' + c + F e of x = L x + a x' + c' + s e: A = (I - L)^-1 a and F = (I - L)^-1 s.

    x' is the past of `_past_of`.
    """
    earlier = np.stack([row.earlier for row in rows])
    inverse = np.linalg.inv(np.eye(len(rows)) - earlier)
    past = np.stack([row.past for row in rows])
    offset, scale = (np.array(a) for a in zip(*((r.offset, r.scale) for r in rows), strict=True))
    return _Candidate(inverse @ past, inverse @ offset, inverse * scale)


def _ridges(x: Array, y: Array) -> Iterator[Array]:
    """A of each ridge, towards zero and towards the identity, for centred x and y."""
    identity = np.eye(x.shape[1])
    gram, cross = x.T @ x / len(x), y.T @ x / len(x)
    for ridge in RIDGES:
        inverse = np.linalg.inv(gram + ridge * identity)
        yield cross @ inverse
        yield (cross + ridge * identity) @ inverse


def _factors(
    values: Array, floor: Array, covariance: str, shrinkages: Sequence[float]
) -> Iterator[Array]:
    """Cholesky factor of the covariance with correlations shrunk by each of the shares."""
    second = np.atleast_2d(np.cov(values.T, bias=True))  # all the time, and once
    for shrinkage in shrinkages:
        if covariance == "diagonal":
            yield np.diag(np.sqrt(np.diag(second) + floor))
        else:
            shrunk = (1 - shrinkage) * second + shrinkage * np.diag(np.diag(second))
            yield np.linalg.cholesky(shrunk + np.diag(floor))


def _choose(
    least: _Candidate,
    plain: list[_Candidate],
    others: Iterable[_Candidate],
    before_NTD: Array,
    after_NTD: Array,
) -> _Candidate:
    """Least squares if it is as likely as all of `plain`, else the likeliest of all."""

    def score(candidate: _Candidate) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # of outliers
            found = float(_log_likelihood(candidate, before_NTD, after_NTD).mean())
        return -np.inf if np.isnan(found) else found

    own = score(least)
    if np.isfinite(own) and all(own >= score(each) for each in plain):
        return least
    return max([least, *plain, *others], key=score)


def _log_likelihood(candidate: _Candidate, before_NTD: Array, after_NTD: Array) -> Array:
    """Gaussian log-likelihood of each sequence, without constants, [N] nats."""
    number, length, features = after_NTD.shape
    # As rows: numpy multiplies a stack of matrices one by one, many times as slowly.
    residual = after_NTD.reshape(-1, features) - candidate.offset
    residual -= before_NTD.reshape(-1, features) @ candidate.matrix.T
    e = (residual @ np.linalg.inv(candidate.factor).T).reshape(number, length, features)
    log_det = np.log(np.diag(candidate.factor)).sum()
    return -0.5 * (e**2).sum(axis=(1, 2)) - e.shape[1] * log_det


def growth(
    matrix: Any,
    second: Any = None,
    rates: tuple[float, ...] = SLOW,
    season: tuple[int, float] = (0, 1.0),
) -> float:
    """Spectral radius of the baseline: above 1 its free-running mean grows without end.

    Of x_t = matrix x_{t-1} alone, or with `second` of the state [x_t, x_{t-1}, m_t, n_t], where
    m_t = m_{t-1} + rate (x_t - m_{t-1}); with a season also q_{t-S}, .., q_t, see `seasonal_mean`.
    What is read near the end of the first season has no part in it.

    >>> growth(np.array([[0.5, 9.0], [0.0, -1.25]]))
    1.25
    """
    step = np.asarray(matrix, np.float64)
    if second is not None:
        one, none, width = np.eye(len(step)), np.zeros_like(step), len(step)
        steps, season_rate = season
        first = 2 + len(rates)  # of the means of a season's places, the oldest
        plain = np.concatenate([step, np.asarray(second, np.float64)], axis=1)
        if closes(steps, season_rate):
            plain, steps = plain[:, : first * width], 0
        of_season = plain[:, first * width :]
        now = np.zeros((width, (first + (steps + 1 if steps else 0)) * width))
        now[:, : first * width] = plain[:, : first * width]
        blocks = now.shape[1] // width
        oldest, again = (slice((first + i) * width, (first + i + 1) * width) for i in range(2))
        if steps:
            moved, away = of_season[:, :width], of_season[:, width:]
            now[:, oldest] -= moved
            now[:, again] += moved
            if away.size:
                now[:, again] += away
                now[:, :width] -= away
        rows = [now, np.concatenate([one, *[none] * (blocks - 1)], axis=1)]
        for i, rate in enumerate(rates):
            mean = rate * now
            own = slice((2 + i) * len(step), (3 + i) * len(step))
            mean[:, own] += (1 - rate) * one
            rows.append(mean)
        for i in range(steps):
            later = np.zeros_like(now)
            at = (first + i + 1) * len(step)
            later[:, at : at + len(step)] = one
            rows.append(later)
        if steps:
            mean = season_rate * now
            mean[:, again] += (1 - season_rate) * one
            rows.append(mean)
        step = np.concatenate(rows)
    return float(np.abs(np.linalg.eigvals(step)).max())


def increment_scale(x_NTD: Array, there_NT: Array | None = None) -> NDArray[np.float32]:
    """Standard deviation of first differences of each column, `[D]`: a discriminator's constant.

    Of the steps `there_NT`, bool, where some come after an end.
    """
    increments = np.diff(x_NTD, axis=1)
    if there_NT is not None:
        increments = increments[there_NT[:, 1:]][None]
    scale = np.maximum(increments.std(axis=(0, 1)), 1e-6)
    return scale.astype(np.float32)
