"""The linear baseline of the choices: a logistic regression, constants of a policy.

What `baseline` is to values, this is to choices: that the sun never shines while it rains, or that
a category mostly stays, is known before training begins, whose few epochs on few data would end
before it is learned.

    log c_td = b_d + P_d u_{t-1} + S_d s_t,<d + what the network adds

with u what is known of the steps before (`MixedChain.of_choices`: sizes, innovations, runs of
options, moving means, options) and s what is seen of the earlier columns of the step (innovations,
options), cut off at +-CUT.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.columns.continuous import Mixture
from seqgan_jax.core.columns.mixed import CUT, MixedChain
from seqgan_jax.core.columns.support import Columns

Array = NDArray[Any]

RIDGES = (1e-2, 1e-3, 1e-4)  # on coefficients of inputs of unit variance
STEPS, UNSEEN = 15_000, 10_000  # of all sequences that are fitted, and that choose
LEAST = 5  # how often an option must be met to be told from the others
MOST_NUMBERS = 30_000  # of a column's regression; beyond, its shares alone
ITERATIONS = 60


def fit(
    columns: Columns,
    linear: Baseline,
    train_NTD: Array,
    validation_NTD: Array,
    known: tuple[Array, Array] | None = None,
) -> Columns:
    """The columns with the regressions of their choices; one ridge for all, the likeliest.

    Args:
      columns: of which the choices are.
      linear: the baseline of the values.
      train_NTD: scaled sequences to fit.
      validation_NTD: scaled sequences that choose.
      known: what is known in advance [N, T, W] of both: it moves the baseline of the values.
    """
    chain = MixedChain(columns.layout, Mixture(1))
    if not chain.choices:
        return columns
    given = (None, None) if known is None else known

    def of_part(x_NTD: Array, known_NTW: Array | None, number: int) -> tuple[_Steps, _Steps]:
        every = 1 + x_NTD.shape[0] * x_NTD.shape[1] // number
        some = None if known_NTW is None else known_NTW[::every]
        return _of_steps(columns, linear, chain, x_NTD[::every], some)

    some = of_part(train_NTD, given[0], STEPS)
    unseen = of_part(validation_NTD, given[1], UNSEEN)
    first, later = (
        _likeliest([_regress(chain, d, *parts) for d in range(columns.layout.features)])
        for parts in zip(some, unseen, strict=True)
    )
    arrays = {
        "first_share": first.share,
        "first_seen": first.seen,
        "later_share": later.share,
        "later_seen": later.seen,
        "later_past": later.past,
    }
    numbers: dict[str, Any] = {k: jnp.asarray(a, jnp.float32) for k, a in arrays.items()}
    return replace(columns, support=replace(columns.support, **numbers))


class _Steps(NamedTuple):
    """Steps of all sequences, L."""

    past: Array  # [L, R + S] of the steps before; 0 before first steps
    seen: Array  # [L, S']
    choice: Array  # [L, D, C] bool
    there: Array  # [D, C] bool: which choices there are


class _Fitted(NamedTuple):
    """The regression of a column, or of all of them with a leading axis D."""

    loss: float  # of the unseen steps
    share: Array  # [C]
    past: Array  # [R + S, C]
    seen: Array  # [S', C]


def _likeliest(columns: Sequence[Sequence[_Fitted]]) -> _Fitted:
    """All columns with the ridge whose losses are the least together."""
    each = [tuple(column[r] for column in columns) for r in range(len(RIDGES))]
    best = min(each, key=lambda fitted: sum(column.loss for column in fitted))
    _, *parts = zip(*best, strict=True)
    return _Fitted(0.0, *(np.stack(part) for part in parts))


def _of_steps(
    columns: Columns, linear: Baseline, chain: MixedChain, x_NTD: Array, known_NTW: Array | None
) -> tuple[_Steps, _Steps]:
    """First steps, and later ones."""
    constants = linear.constants() | columns.support.constants()

    @jax.jit
    def found(x_TND: jax.Array, known_TNW: jax.Array | None) -> Any:
        first, later = (None, None) if known_TNW is None else (known_TNW[0], known_TNW[1:])
        now = chain.context(constants, None).moved(first, constants.get("first_known"))
        reads, matched = [now.read(x_TND[0])[None]], [now.matches(x_TND[0])[None]]
        if len(x_TND) > 1:
            then = chain.context(constants, chain.all_past(constants, x_TND[:-1]))
            then = then.moved(later, constants.get("known"))
            reads.append(then.read(x_TND[1:]))
            matched.append(then.matches(x_TND[1:]))
        read, matches = jnp.concatenate(reads), jnp.concatenate(matched)
        return chain.of_choices(chain.all_carried(read, x_TND)), read, matches

    x_TND = jnp.asarray(np.swapaxes(x_NTD, 0, 1), jnp.float32)
    known_TNW = None
    if known_NTW is not None:
        known_TNW = jnp.asarray(np.swapaxes(known_NTW, 0, 1), jnp.float32)
    carried, read, matches = (np.asarray(each) for each in found(x_TND, known_TNW))
    seen = read[..., columns.layout.features :]
    # A value that is several options counts as the last: a listed one is one whatever was before.
    is_last = matches & ~np.flip(np.cumsum(np.flip(matches, -1), -1) > 1, -1)
    choice = np.concatenate([~matches.any(-1, keepdims=True), is_last], axis=-1)
    there_at_first, there_later = (
        np.asarray(a) for a in (columns.support.first, columns.support.later)
    )

    def flat(part: Array) -> Array:
        return part.reshape(-1, *part.shape[2:])

    first = _Steps(flat(0 * carried[:1]), flat(seen[:1]), flat(choice[:1]), there_at_first)
    return first, _Steps(flat(carried[:-1]), flat(seen[1:]), flat(choice[1:]), there_later)


def _regress(chain: MixedChain, d: int, some: _Steps, unseen: _Steps) -> list[_Fitted]:
    """The regression of column d with each ridge; its shares alone where there is none."""
    past, seen, choice, there = some
    choices = choice.shape[-1]
    sees = chain.columns_seen < d
    counts = choice[:, d].sum(0)
    allowed = there[d]
    met = allowed & (counts >= LEAST)
    smooth = np.where(allowed, counts + 0.5, 0.0)
    with np.errstate(divide="ignore"):
        shares = np.where(allowed, np.log(np.maximum(smooth, 1e-9) / max(smooth.sum(), 1.0)), 0.0)
    inputs = np.concatenate([past, seen * sees], axis=1)
    used = np.flatnonzero(inputs.std(0) > 1e-4) if len(inputs) else np.zeros(0, int)
    nothing = np.zeros((past.shape[1], choices)), np.zeros((seen.shape[1], choices))
    if met.sum() < 2 or len(used) * met.sum() > MOST_NUMBERS or not len(used):
        return [_Fitted(0.0, shares, *nothing)] * len(RIDGES)

    def table(part: _Steps) -> tuple[Array, Array]:
        x = np.concatenate([part.past, part.seen], axis=1)[:, used]
        kept = part.choice[:, d][:, met].any(axis=1)
        return np.clip(x[kept], -CUT, CUT).astype(np.float32), part.choice[kept, d][:, met]

    x, y = table(some)
    other_x, other_y = table(unseen)
    mean, scale = x.mean(0), np.maximum(x.std(0), 1e-2)
    x, other_x = (x - mean) / scale, (other_x - mean) / scale
    # A pseudo-observation of each: nothing that was not met with something is impossible.
    y = (y + 1.0 / len(y)) / (1.0 + y.shape[1] / len(y))
    y = y.astype(np.float32)
    start = np.zeros((1 + len(used), y.shape[1]))
    start[0] = shares[met]
    rows = []
    for ridge in RIDGES:
        start = _logistic(x, y, ridge, start)
        log_p = special.log_softmax(other_x @ start[1:] + start[0], axis=1)
        loss = -float(np.sum(log_p * other_y))
        slope = start[1:] / scale[:, None]
        bias, weights = shares.copy(), np.zeros((inputs.shape[1], choices))
        # What is hardly met keeps its share beside the others'.
        bias[met] = start[0] - mean @ slope
        weights[np.ix_(used, np.flatnonzero(met))] = slope
        rows.append(_Fitted(loss, bias, *np.split(weights, [past.shape[1]])))
    return rows


def _logistic(x: Array, y: Array, ridge: float, start: Array) -> Array:
    """Bias and coefficients [1 + F, C] of min - mean sum_c y log softmax + ridge / 2 ||W||^2."""
    shape = start.shape

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(shape)
        logits = x @ w[1:].astype(np.float32) + w[0].astype(np.float32)
        log_p = special.log_softmax(logits, axis=1)
        rest = (np.exp(log_p) - y) / len(x)
        gradient = np.concatenate([rest.sum(0, keepdims=True), x.T @ rest]).astype(float)
        gradient[1:] += ridge * w[1:]
        value = -float(np.sum(y * log_p)) / len(x) + 0.5 * ridge * float(np.sum(w[1:] ** 2))
        return value, gradient.ravel()

    options = {"maxiter": ITERATIONS}
    found = optimize.minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(shape)
