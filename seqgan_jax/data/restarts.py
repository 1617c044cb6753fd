"""Columns that never fall but where they count anew: increments there, and levels back.

    anew from 0:  y_t = x_t - x_{t-1}, and where x falls y_t = x_t, with r_t = 1
    at c:         y_t = x_t - x_{t-1}, and what stands for a restart where x_t = c; from c on, one
                  unit of the last decimal less, as x_t = c is that
    modulo M:     y_t = x_t - x_{t-1} modulo M
    when c changes:  y_t = x_t where c_t is not c_{t-1}, else x_t - x_{t-1}

y_1 = r_1 = 0, whatever x_1 is. With y at most `top`, each x belongs to one y and r, and each y and
r to one x: y that is drawn with a restart but is no fall, as it is not below x_{t-1}, stands for
x_t = y + top + unit, a rise of more than `top`, which data have nowhere.

Shapes: N sequences, T steps.
"""

import numpy as np

from seqgan_jax.data.rule_texts import Restart
from seqgan_jax.data.rule_values import half_unit, rounded

FINEST = 1e-6
MARGIN = 1.5  # of the largest increment of the training part: what samples may have


def changes(c_NT: np.ndarray) -> np.ndarray:
    """Where a column is another than at the step before, bool [N, T]; never at the first."""
    return np.concatenate([np.zeros((len(c_NT), 1), bool), c_NT[:, 1:] != c_NT[:, :-1]], axis=1)


def top_of(
    x_NT: np.ndarray, rule: Restart, decimals: int | None, changes_NT: np.ndarray | None = None
) -> float:
    """The largest increment that samples may have, above 0."""
    unit = 2 * half_unit(decimals)
    if rule.modulo is not None:
        below = rule.modulo - unit if unit else np.nextafter(rule.modulo, 0.0)
        return float(rounded(np.array(below), decimals))
    change = np.diff(x_NT, axis=1)
    anew = x_NT[:, 1:] - rule.lowest
    is_anew = change < 0 if changes_NT is None else changes_NT[:, 1:]
    largest = np.where(is_anew, anew, change).max(initial=0.0)
    return float(rounded(np.array(MARGIN * largest), decimals)) or unit or 1.0


def _unit(top: float, decimals: int | None) -> float:
    """A unit of the last decimal; of numbers without, what is more than their rounding."""
    return 2 * half_unit(decimals) or FINEST * top


def restart_of(top: float) -> float:
    """What stands for a restart at a value: beyond all increments."""
    return 2.0 * top


def forward(
    x_NT: np.ndarray,
    rule: Restart,
    top: float,
    decimals: int | None,
    changes_NT: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Increments y and restarts r (all 0 but of a column that counts anew from 0), [N, T] each;
    `changes_NT` says when, bool, where another column does."""
    unit, before = _unit(top, decimals), np.concatenate([x_NT[:, :1], x_NT[:, :-1]], axis=1)
    change = x_NT - before
    is_restart = np.zeros(x_NT.shape)
    if changes_NT is not None:
        y = np.where(changes_NT, x_NT, change)
    elif rule.modulo is not None:
        y = np.where(change < 0, change + rule.modulo, change)
    elif rule.at is not None:
        y = rounded(np.where(before == rule.at, change - unit, change), decimals)
        y = np.where(y == restart_of(top), y + unit, y)  # an increment that samples cannot have
        y = np.where(x_NT == rule.at, restart_of(top), y)
    else:
        beyond = change > top + unit / 2
        is_restart = ((change < 0) | beyond).astype(np.float64)
        y = np.where(change < 0, x_NT, np.where(beyond, x_NT - top - unit, change))
    y[:, 0] = 0.0
    return rounded(y, decimals), is_restart


def inverse(
    start_N: np.ndarray,
    y_NT: np.ndarray,
    r_NT: np.ndarray,
    rule: Restart,
    top: float,
    decimals: int | None,
    changes_NT: np.ndarray | None = None,
) -> np.ndarray:
    """The levels x [N, T], of which the first is `start_N`; `r_NT` counts as 1 above a half."""
    unit = _unit(top, decimals)
    highest = np.inf if rule.modulo is None else top
    x_NT = np.empty(y_NT.shape)
    x_NT[:, 0] = np.clip(rounded(start_N, decimals), rule.lowest, highest)
    steps = rounded(np.clip(y_NT, 0.0, top), decimals)
    for t in range(1, y_NT.shape[1]):
        before, y = x_NT[:, t - 1], steps[:, t]
        x = rounded(before + y, decimals)
        if changes_NT is not None:
            x = np.where(changes_NT[:, t], y, x)
        elif rule.modulo is not None:
            x = np.where(x >= rule.modulo, x - rule.modulo, x)
        elif rule.at is not None:
            x = np.where(before == rule.at, x + unit, x)
            x = np.where(y_NT[:, t] > (top + restart_of(top)) / 2, rule.at, x)
        else:
            x = np.where(r_NT[:, t] > 0.5, np.where(y < before, y, y + top + unit), x)
        x_NT[:, t] = rounded(x, decimals)
    return x_NT


def keeps(
    x_NT: np.ndarray, rule: Restart, top: float, changes_NT: np.ndarray | None = None
) -> np.ndarray:
    """Which steps keep the rule, bool [N, T]; `top` is infinite where it is not known yet."""
    if rule.modulo is not None:
        return (x_NT >= 0) & (x_NT < rule.modulo)
    falls = np.diff(x_NT, axis=1, prepend=x_NT[:, :1]) < 0
    lands = x_NT == rule.at if rule.at is not None else x_NT <= top
    lands = lands if changes_NT is None else changes_NT
    return (x_NT >= rule.lowest) & (~falls | lands)


def broken(rule: Restart) -> str:
    """What is wrong where the rule is not kept before `top` is known."""
    if rule.modulo is not None:
        return f", not from 0 to below {rule.modulo:.12g}"
    if rule.when is not None:
        return f", below 0, or less than the step before though {rule.when} is as it was"
    if rule.at is None:
        return ", below 0"
    return f", less than the step before, or than {rule.at:.12g}"
