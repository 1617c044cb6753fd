"""The linear baseline of mixed steps: of choices, and of where and how wide the rest is.

What `baseline` is to values, this is to choices: that the sun never shines while it rains, or that
a category mostly stays, is known before training begins, whose few epochs on few data would end
before it is learned. And that a dry day is warmer and its range wider.

    log c_td = b_d + P_d u_{t-1} + S_d s_t,<d + what the network adds
    e_td = m_td + exp(l_td) z_td,   z of the network's mixture, m and l of the same form

and where something is known of the step in advance + G_d k_t in each,

with u what is known of the steps before (`MixedChain.of_choices`: sizes, innovations, runs of
options, moving means, options) and s what is seen of the earlier columns of the step (innovations,
options), cut off at +-CUT. Where sequences end, the last number known is the log odds of an end at
this age / HAZARD_UNIT: the end's coefficients are drawn towards these odds, not towards none.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from seqgan_jax.core import baseline
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Batch, Params
from seqgan_jax.core.columns.continuous import Mixture
from seqgan_jax.core.columns.mixed import MixedChain
from seqgan_jax.core.columns.mixed_step import CUT, SPREAD
from seqgan_jax.core.columns.support import BLOCK, Columns, Layout, sizes_and_rest
from seqgan_jax.data.lengths import HAZARD_UNIT

Array = NDArray[Any]

RIDGES = (1e-2, 1e-3, 1e-4)  # on coefficients of inputs of unit variance; of choices
RIDGES_OF_REST = (1e-1, 1e-2, 1e-3)
LEAST_STEPS, MOST_STEPS = 6_000, 60_000  # of all sequences that are fitted, and that choose
STEPS_WITH_ENDS = 40_000  # at least
READ = 300_000  # numbers that are read of them, where that is between the two
FAR = 20.0  # innovations count as at most
LEAST = 5  # how often an option must be met to be told from the others
MOST_NUMBERS = 30_000  # of a column's regression; beyond, its shares alone
ITERATIONS = 30
FILLINGS = 8  # times that gaps are filled with what the values' baseline predicts
FREEDOM = 5.0  # of Student's t, by which location and scale are fitted: no outlier decides


def fit_linear(
    columns: Columns,
    train_NTD: Array,
    validation_NTD: Array,
    kind: str = "var",
    known: tuple[Array, Array] | None = None,
) -> tuple[Baseline, Array]:
    """The linear baseline of the values (`baseline.fit_rest`), and the sizes [N, T, D] of the
    training part.

    Where there are gaps it is fitted on the cells that are there, and what they are predicted from
    is filled in with its own predictions, FILLINGS times from 0: at the fixed point, of a VAR(1)
    E[x_t | known] = A E[x_{t-1} | known], it is A that is found.
    """
    parts = [sizes_and_rest(columns, part) for part in (train_NTD, validation_NTD)]
    steps = None if columns.layout.end is None else train_NTD.shape[1]
    season = columns.layout.season, columns.layout.season_rate
    how = columns.layout.rates, steps, season
    linear = baseline.fit_rest(parts[0], parts[1], kind, known, *how)
    for _ in range(FILLINGS if columns.layout.gaps else 0):
        given = (None, None) if known is None else known
        parts = [
            (filled(columns, linear, x_NTD, known_NTW), rest)
            for x_NTD, known_NTW, (_, rest) in zip(
                (train_NTD, validation_NTD), given, parts, strict=True
            )
        ]
        linear = baseline.fit_rest(parts[0], parts[1], kind, known, *how)
    return linear, parts[0][0]


@jax.jit
def _sizes(
    columns: Columns, linear: Baseline, x_TND: jax.Array, known_TNW: jax.Array | None
) -> jax.Array | None:
    chain = MixedChain(columns.layout, Mixture(1))
    return chain.all_past(linear.constants() | columns.support.constants(), x_TND, known_TNW).size


def filled(columns: Columns, linear: Baseline, x_NTD: Array, known_NTW: Array | None) -> Array:
    """Sizes [N, T, D], of missing values as predicted; some at a time."""

    def steps_first(part: Array) -> jax.Array:
        return jnp.asarray(np.swapaxes(part, 0, 1), jnp.float32)

    found = []
    for first in range(0, len(x_NTD), BLOCK):
        rows = slice(first, first + BLOCK)
        given = None if known_NTW is None else steps_first(known_NTW[rows])
        found.append(np.asarray(_sizes(columns, linear, steps_first(x_NTD[rows]), given)))
    return np.swapaxes(np.concatenate(found, axis=1), 0, 1).astype(np.float64)


def fit(
    columns: Columns,
    linear: Baseline,
    train_NTD: Array,
    validation_NTD: Array,
    known: tuple[Array, Array] | None = None,
    quick: bool = False,
) -> Columns:
    """The columns with their regressions; of choices one ridge for all, the likeliest.

    Args:
      columns: of which the choices are.
      linear: the baseline of the values.
      train_NTD: scaled sequences to fit.
      validation_NTD: scaled sequences that choose.
      known: what is known in advance [N, T, W] of both: it moves the baseline of the values, too.
      quick: choices alone, of the fewest steps.
    """
    chain = MixedChain(columns.layout, Mixture(1))

    # Of few columns all steps: noise in a slope is there in each sample. A sequence has one end.
    read = columns.layout.num_past + chain.num_seen
    least = LEAST_STEPS if columns.layout.end is None else STEPS_WITH_ENDS
    number = least if quick else int(np.clip(READ // read, least, MOST_STEPS))

    def thinned(parts: Sequence[Array]) -> list[Array]:
        return [part[:: 1 + part.shape[0] * part.shape[1] // number] for part in parts]

    how = train_NTD.shape[1], columns.layout.rates
    held_back = columns.layout.end is not None and baseline.is_held_back(linear, *how)
    held_back |= columns.layout.repeats  # what keeps a level far ahead, one step would undo
    both = thinned((train_NTD, validation_NTD))
    of_both = None if known is None else thinned(known)
    some, unseen = _of_steps(columns, linear, chain, both, of_both)
    ridges = () if quick else RIDGES_OF_REST
    arrays: dict[str, Array] = {}
    for name, *parts in zip(("first", "later"), some, unseen, strict=True):
        every = range(columns.layout.features)
        choice = _likeliest([_regress(chain, d, *parts) for d in every])
        # Each column by itself: few data of one say nothing of another.
        rest = _likeliest_each([_rest(chain, d, not held_back, ridges, *parts) for d in every])
        arrays |= {
            f"{name}_share": choice.share,
            f"{name}_middle": rest.share,
            f"{name}_seen": np.concatenate([choice.seen, rest.seen], axis=-1),
            f"{name}_past": np.concatenate([choice.past, rest.past], axis=-1),
        }
        if known is not None:
            arrays[f"{name}_given"] = np.concatenate([choice.given, rest.given], axis=-1)
    del arrays["first_past"]  # there is none
    numbers: dict[str, Any] = {k: jnp.asarray(a.astype(np.float32)) for k, a in arrays.items()}
    return replace(columns, support=replace(columns.support, **numbers))


class _Steps(NamedTuple):
    """Steps of all sequences, L."""

    past: Array  # [L, R + S] of the steps before; 0 before first steps
    seen: Array  # [L, S']
    given: Array  # [L, W] known in advance
    choice: Array  # [L, D, C] bool; none of them where a clock leaves no choice
    there: Array  # [D, C] bool: which choices there are


class _Fitted(NamedTuple):
    """The regression of a column, or of all of them with a leading axis D.

    C is 2 of location and scale.
    """

    loss: float  # of the unseen steps
    share: Array  # [C] where all that is read is 0
    past: Array  # [R + S, C]
    seen: Array  # [S', C]
    given: Array  # [W, C]


def _likeliest(columns: Sequence[Sequence[_Fitted]]) -> _Fitted:
    """All columns with the ridge whose losses are the least together."""
    each = [tuple(column[r] for column in columns) for r in range(len(RIDGES))]
    best = min(each, key=lambda fitted: sum(column.loss for column in fitted))
    _, *parts = zip(*best, strict=True)
    return _Fitted(0.0, *(np.stack(part) for part in parts))


def _likeliest_each(columns: Sequence[Sequence[_Fitted]]) -> _Fitted:
    """Each column with the ridge whose loss is the least."""
    best = [min(column, key=lambda fitted: fitted.loss) for column in columns]
    _, *parts = zip(*best, strict=True)
    return _Fitted(0.0, *(np.stack(part) for part in parts))


@partial(jax.jit, static_argnames="chain")  # once for all data of these shapes
def _seen(
    constants: Params, x_TND: jax.Array, known_TNW: jax.Array | None, *, chain: MixedChain
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """What is known before each step, what is seen of it, which options it is, and where clocks
    leave a choice (None: everywhere); [T, N, ..]."""
    first, later = (None, None) if known_TNW is None else (known_TNW[0], known_TNW[1:])
    now = chain.context(constants, None).moved(first, constants.get("first_known"))
    past, is_free = chain.all_past(constants, x_TND, known_TNW), None
    reads, matched = [now.read(x_TND[0])[None]], [now.matches(x_TND[0])[None]]
    seen = [now.seen_of(x_TND[0], now.size(x_TND[0]))[None]]
    if len(x_TND) > 1:
        then = chain.context(constants, jax.tree.map(lambda steps: steps[:-1], past))
        then = then.moved(later, constants.get("known"))
        reads.append(then.read(x_TND[1:]))
        matched.append(then.matches(x_TND[1:]))
        seen.append(then.seen_of(x_TND[1:], then.size(x_TND[1:])))
        if then.opened is not None:
            later_free = jnp.sum(then.allowed, axis=-1) > 1
            is_free = jnp.concatenate([jnp.ones_like(later_free[:1]), later_free])
    read, matches = jnp.concatenate(reads), jnp.concatenate(matched)
    carried = chain.of_choices(chain.all_carried(read, past))
    return carried, jnp.concatenate(seen), matches, is_free


def _of_steps(
    columns: Columns,
    linear: Baseline,
    chain: MixedChain,
    parts: Sequence[Array],
    known: Sequence[Array] | None,
) -> list[tuple[_Steps, _Steps]]:
    """First steps and later ones of each part [N, T, D], with what is known of it [N, T, W]."""
    constants = linear.constants() | columns.support.constants()

    def steps_first(parts: Sequence[Array]) -> Array:
        return np.swapaxes(np.concatenate(parts), 0, 1).astype(np.float32)

    # All parts at once: one program.
    x_TND, known_TNW = steps_first(parts), None if known is None else steps_first(known)
    found = _seen(constants, x_TND, known_TNW, chain=chain)
    carried, seen, matches = (np.asarray(each) for each in found[:3])
    # A value that is several options counts as the last: a listed one is one whatever was before.
    is_last = matches & ~np.flip(np.cumsum(np.flip(matches, -1), -1) > 1, -1)
    choice = np.concatenate([~matches.any(-1, keepdims=True), is_last], axis=-1)
    if found[3] is not None:
        choice &= np.asarray(found[3])[..., None]
    if (end := columns.layout.end) is not None:
        batch = Batch.of(jnp.asarray(np.swapaxes(x_TND, 0, 1)), end=end)
        choice &= np.swapaxes(np.asarray(batch.mask), 0, 1)[..., None]
    of_step = np.zeros((*seen.shape[:2], 0)) if known_TNW is None else known_TNW
    there_at_first, there_later = (
        np.asarray(a) for a in (columns.support.first, columns.support.later)
    )

    def flat(part: Array) -> Array:
        return part.reshape(part.shape[0] * part.shape[1], *part.shape[2:])

    def cut(rows: slice, at: slice, past: Array, there: Array) -> _Steps:
        now = flat(seen[at, rows]), flat(of_step[at, rows]), flat(choice[at, rows])
        return _Steps(flat(past[:, rows]), *now, there)

    def both(rows: slice) -> tuple[_Steps, _Steps]:
        first = cut(rows, slice(1), 0 * carried[:1], there_at_first)
        return first, cut(rows, slice(1, None), carried[:-1], there_later)

    ends = np.cumsum([len(part) for part in parts])
    return [both(slice(end - len(part), end)) for part, end in zip(parts, ends, strict=True)]


def _reads(layout: Layout, d: int) -> Array:
    """Which of the past column d may depend on, [R + S + G + L]: of lengths, its own alone."""
    reads = np.ones(layout.num_past, bool)
    shown = np.array(layout.shown, int)[list(layout.straight)]
    own = shown // (layout.choices - 1) == d
    reads[layout.num_past - layout.num_lengths :] = np.repeat(
        own, layout.num_lengths // max(1, len(own))
    )
    return reads


def _inputs(chain: MixedChain, d: int, steps: _Steps) -> Array:
    """What column d may depend on, [L, R + S + S' + W], cut off but for what is known."""
    sees = chain.columns_seen < d
    past = steps.past * _reads(chain.layout, d)
    found = np.clip(np.concatenate([past, steps.seen * sees], axis=1), -CUT, CUT)
    return np.concatenate([found, steps.given], axis=1) if steps.given.shape[1] else found


def _regress(chain: MixedChain, d: int, some: _Steps, unseen: _Steps) -> list[_Fitted]:
    """The regression of the choice of column d with each ridge; else its shares alone."""
    choice, allowed = some.choice[:, d], some.there[d]
    counts = choice.sum(0)
    met = allowed & (counts >= LEAST)
    smooth = np.where(allowed, counts + 0.5, 0.0)
    share = np.where(allowed, np.log(np.maximum(smooth, 1e-9) / max(smooth.sum(), 1.0)), 0.0)

    def table(part: _Steps) -> tuple[Array, Array]:
        kept = part.choice[:, d][:, met].any(axis=1)
        return _inputs(chain, d, part)[kept], part.choice[kept, d][:, met]

    x, y = table(some)
    inputs = _Inputs(x) if met.sum() > 1 else _Inputs(x[:0])
    nothing = inputs.split(np.zeros((x.shape[1], len(share))), some)
    if len(inputs.used) * met.sum() > MOST_NUMBERS or not len(inputs.used):
        return [_Fitted(0.0, share, *nothing)] * len(RIDGES)
    other_x, other_y = table(unseen)
    x, other_x = inputs.scaled(x), inputs.scaled(other_x)
    # A pseudo-observation of each: nothing that was not met with something is impossible.
    y = ((y + 1.0 / len(y)) / (1.0 + y.shape[1] / len(y))).astype(np.float32)
    found = np.zeros((1 + x.shape[1], y.shape[1]))
    found[0] = share[met]
    centre = np.zeros((x.shape[1], y.shape[1]))
    if d == chain.layout.end and some.given.shape[1] and inputs.used[-1] == inputs.width - 1:
        centre[-1] = HAZARD_UNIT * inputs.scale[-1] * np.array([-0.5, 0.5])
        found[1:] = centre
    rows = []
    for ridge in RIDGES:
        found = _logistic(x, y, ridge, found, centre)
        log_p = special.log_softmax(other_x @ found[1:] + found[0], axis=1)
        bias, slope = inputs.unscaled(found)
        all_bias, weights = share.copy(), np.zeros((len(slope), len(share)))
        # What is hardly met keeps its share beside the others'.
        all_bias[met], weights[:, met] = bias, slope
        loss = -float(np.sum(log_p * other_y))
        rows.append(_Fitted(loss, all_bias, *inputs.split(weights, some)))
    return rows


def _rest(
    chain: MixedChain,
    d: int,
    moved_by_past: bool,
    ridges: Sequence[float],
    some: _Steps,
    unseen: _Steps,
) -> list[_Fitted]:
    """Location and log-scale of the innovation of column d where it is no option; and none.

    Where the baseline is held back, the past does not move the location: slopes on it would bring
    back within the data what was held back, and samples would reach the ends of these and stay.
    Nor where seasons are read, of which the baseline is chosen far ahead.
    """

    def table(part: _Steps) -> tuple[Array, Array]:
        is_rest = part.choice[:, d, : 1 + chain.layout.coarse].any(axis=1)
        kept = is_rest & part.there[d, 0]
        e = np.clip(part.seen[kept, d], -FAR, FAR)
        return _inputs(chain, d, part)[kept], e.astype(np.float64)

    (x, e), (other_x, other_e) = table(some), table(unseen)
    inputs = _Inputs(x)
    plain = np.zeros((1 + len(inputs.used), 2))

    def fitted(found: Array) -> _Fitted:
        bias, slope = inputs.unscaled(found)
        loss = _student(other_e, inputs.scaled(other_x) @ found[1:] + found[0])[0].sum()
        return _Fitted(float(loss), bias, *inputs.split(slope, some))

    enough = len(e) >= 10 * (1 + len(inputs.used)) and 2 * len(inputs.used) <= MOST_NUMBERS
    if not enough or e.std() == 0 or not len(inputs.used):
        return [fitted(plain)]
    keeps_mean = chain.layout.repeats
    scaled, rows, found = inputs.scaled(x), [fitted(_centred(plain, inputs.scaled(x), e))], plain
    is_free = np.ones(plain.shape, bool)
    is_free[1:, 0] = moved_by_past | (inputs.used >= some.past.shape[1])
    for ridge in ridges:
        found = _location_scale(scaled, e, ridge, found, is_free)
        rows.append(fitted(_centred(found, scaled, e, keeps_mean)))
    return rows


def _centred(found: Array, x: Array, e: Array, keeps_mean: bool = False) -> Array:
    """The scale moved so that what is left over has unit variance, outliers counted as 4.

    With `keeps_mean` also the location, so that its mean is 0: a median of what is skewed, off
    from the mean at each step, is a drift far ahead.
    """
    both = x @ found[1:] + found[0]
    moved = found.copy()
    if keeps_mean:
        off = float(np.mean(e - both[:, 0]))
        moved[0, 0] += off
        both[:, 0] += off
    z = (e - both[:, 0]) * np.exp(-both[:, 1])
    moved[0, 1] += 0.5 * np.log(np.mean(np.minimum(z**2, 16.0)) + 1e-6)
    return moved


class _Inputs:
    """Inputs with unit variance; those that hardly vary are left out."""

    def __init__(self, x_LF: Array) -> None:
        width = x_LF.shape[1]
        self.width = width
        spread = x_LF.std(0) if len(x_LF) else np.zeros(width)
        self.used = np.flatnonzero(spread > 1e-4)
        self.mean = x_LF[:, self.used].mean(0) if len(x_LF) else np.zeros(0)
        self.scale = np.maximum(spread[self.used], 1e-2)

    def scaled(self, x_LF: Array) -> Array:
        """What is used, float32."""
        return ((x_LF[:, self.used] - self.mean) / self.scale).astype(np.float32)

    def unscaled(self, found: Array) -> tuple[Array, Array]:
        """Bias [C] and slopes [F, C] of inputs as they are."""
        slope = np.zeros((self.width, found.shape[1]))
        slope[self.used] = found[1:] / self.scale[:, None]
        return found[0] - self.mean @ slope[self.used], slope

    def split(self, slope: Array, steps: _Steps) -> list[Array]:
        """Slopes of the past, of what is seen and of what is known."""
        past = steps.past.shape[1]
        return np.split(slope, [past, past + steps.seen.shape[1]])


def _student(e: Array, both: Array) -> tuple[Array, Array]:
    """-log of Student's t density of e but for a constant, [L], and its slopes in both, [L, 2]."""
    log_scale = np.clip(both[:, 1], -SPREAD, SPREAD)
    unit = np.exp(-log_scale)
    z = (e - both[:, 0]) * unit
    slope = (FREEDOM + 1) * z / (FREEDOM + z**2)
    value = log_scale + 0.5 * (FREEDOM + 1) * np.log1p(z**2 / FREEDOM)
    return value, np.stack([-slope * unit, 1.0 - slope * z], axis=1)


def _location_scale(x: Array, e: Array, ridge: float, start: Array, is_free: Array) -> Array:
    """[1 + F, 2] of min mean -log t((e - m) / exp l) + l + ridge / 2 ||W||^2,
    of those `is_free`."""
    shape = start.shape

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(shape)
        value, slopes = _student(e, x @ w[1:].astype(np.float32) + w[0])
        slopes = slopes / len(x)
        gradient = np.concatenate([slopes.sum(0, keepdims=True), x.T @ slopes.astype(np.float32)])
        gradient = gradient.astype(float)
        gradient[1:] += ridge * w[1:]
        gradient *= is_free
        return float(value.mean() + 0.5 * ridge * np.sum(w[1:] ** 2)), gradient.ravel()

    return _least(loss, start)


def _logistic(x: Array, y: Array, ridge: float, start: Array, centre: Array | float = 0.0) -> Array:
    """Bias and coefficients [1 + F, C] of min - mean sum_c y log softmax + ridge / 2 ||W - W_0||^2,
    W_0 = `centre`."""
    shape = start.shape

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(shape)
        logits = x @ w[1:].astype(np.float32) + w[0].astype(np.float32)
        log_p = special.log_softmax(logits, axis=1)
        rest = (np.exp(log_p) - y) / len(x)
        gradient = np.concatenate([rest.sum(0, keepdims=True), x.T @ rest]).astype(float)
        moved = w[1:] - centre
        gradient[1:] += ridge * moved
        value = -float(np.sum(y * log_p)) / len(x) + 0.5 * ridge * float(np.sum(moved**2))
        return value, gradient.ravel()

    return _least(loss, start)


def _least(loss: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    options = {"maxiter": ITERATIONS}
    found = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape)
