"""Samples given static columns: their first steps, drawn from the law given what is asked.

Static columns are the first of a step's chain. Values of the first of them stand in the place of
draws, which is exact. Anything else that is asked is by rejection on first steps alone.

Shapes: N sequences, K learned columns, M candidates.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.statics import Condition, place_of
from seqgan_jax.errors import DataError

# First steps [M, K] and their log weights [M] from a key and given values.
Draw = Callable[[jax.Array, Given], tuple[jax.Array, jax.Array]]
BLOCK = 1024  # candidates drawn at once
PILOT = 8  # blocks whose largest weight is taken for the largest there is
MOST = 1 << 19, 64  # candidates at most: this many, and this many for each sequence


def given(
    draw: Draw, scaler: Scaler, asked: Sequence[tuple[Condition, ...]], key: jax.Array
) -> Given:
    """Values of the first step `[N, K]` that meet the conditions of each sequence.

    Where single values of the first columns are asked, these, and the others are left to the
    policy. Else all static columns: candidates have the single values in their places and weights
    w = prod p(value | earlier columns); each is accepted with probability w / max w if it meets the
    other conditions. max w is that of PILOT blocks, or 1 where all are equal.

    Raises:
      DataError: too few of the candidates meet them.
    """
    places_of: dict[tuple[Condition, ...], list[int]] = {}
    for n, conditions in enumerate(asked):
        places_of.setdefault(conditions, []).append(n)
    width = scaler.num_inner
    z_NK = np.zeros((len(asked), width), np.float32)
    number = scaler.num_static
    for conditions, places in places_of.items():
        fixed, checks = _split(scaler, conditions)
        if _is_first(fixed) and not checks:  # then of all: rows of a frame have the same columns
            number = len(fixed)
            z_NK[places] = _row(fixed, width)
        else:
            own = jax.random.fold_in(key, places[0])
            z_NK[places] = _accepted(draw, scaler, conditions, own, len(places))
    return Given(jnp.asarray(z_NK), jnp.arange(width) < number)


def rows(known: Given, start: int, number: int) -> Given:
    """Those of `number` sequences from `start` on; the last ones again where there are fewer."""
    last = known.x.shape[0] - 1
    return known._replace(x=known.x[np.minimum(np.arange(start, start + number), last)])


def _split(
    scaler: Scaler, conditions: Sequence[Condition]
) -> tuple[dict[int, np.float32], list[Condition]]:
    """Conditions as scaled values by their kept column, and those that must be looked at."""
    fixed: dict[int, np.float32] = {}
    checks = []
    for each in conditions:
        k = place_of(scaler, each.column)
        if k is not None and len(each.values) == 1:
            fixed[k] = np.float32(scaler.scaled(k, np.array(each.values))[0])
        else:
            checks.append(each)
    return fixed, checks


def _is_first(fixed: dict[int, np.float32]) -> bool:
    return sorted(fixed) == list(range(len(fixed)))


def _row(fixed: dict[int, np.float32], width: int) -> np.ndarray:
    row = np.zeros(width, np.float32)
    row[list(fixed)] = list(fixed.values())
    return row


def _accepted(
    draw: Draw,
    scaler: Scaler,
    conditions: Sequence[Condition],
    key: jax.Array,
    number: int,
) -> np.ndarray:
    """First steps [number, K] by rejection; the first m of n are those of m."""
    fixed, checks = _split(scaler, conditions)
    is_given = np.isin(np.arange(scaler.num_inner), list(fixed))
    same = np.broadcast_to(_row(fixed, len(is_given)), (BLOCK, len(is_given)))
    known = Given(jnp.asarray(same), jnp.asarray(is_given))
    pilot_key, draw_key, accept_key = jax.random.split(key, 3)

    def block(key: jax.Array, i: int) -> tuple[np.ndarray, np.ndarray]:
        z_MK, log_w_M = draw(jax.random.fold_in(key, i), known)
        return np.asarray(z_MK), np.asarray(log_w_M, np.float64)

    most = None
    if not _is_first(fixed):
        most = max(_good(scaler, checks, *block(pilot_key, i))[1] for i in range(PILOT))
    found: list[np.ndarray] = []
    drawn = accepted = 0
    while accepted < number:
        if drawn >= MOST[0] + MOST[1] * number or (most is not None and np.isneginf(most)):
            words, tried = " and ".join(each.text for each in conditions), max(drawn, PILOT * BLOCK)
            raise DataError(
                f"--given {words}: {accepted:,} of {tried:,} draws meet it (a share of "
                f"{accepted / tried:.2g}), and {number:,} sequences are asked for. Ask for a wider "
                "range, other values or fewer sequences."
            )
        z_MK, log_w_M = block(draw_key, drawn // BLOCK)
        good, _ = _good(scaler, checks, z_MK, log_w_M)
        if most is not None:
            u = jax.random.uniform(jax.random.fold_in(accept_key, drawn // BLOCK), (BLOCK,))
            good &= np.log(np.maximum(np.asarray(u, np.float64), 1e-30)) <= log_w_M - most
        found.append(z_MK[good])
        accepted += int(good.sum())
        drawn += BLOCK
    return np.concatenate(found)[:number]


def _good(
    scaler: Scaler, checks: Sequence[Condition], z_MK: np.ndarray, log_w_M: np.ndarray
) -> tuple[np.ndarray, float]:
    """Which candidates meet the conditions, and the largest log weight of these."""
    good = np.ones(len(z_MK), bool)
    if checks:
        x_MD = scaler.inverse(z_MK[:, None].astype(np.float64))[:, 0]
        for each in checks:
            good &= each.holds(x_MD[:, each.column])
    return good, float(log_w_M[good].max(initial=-np.inf))
