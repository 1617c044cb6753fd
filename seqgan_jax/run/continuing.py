"""Drawing futures of given sequences, and sequences longer than those of training.

Each lane has a key of its own, from the seed and the numbers of its sequence and future, so that
how many are drawn changes no other one, up to rounding.

Shapes: N sequences, P given steps, M futures of each, T steps drawn, D columns, K learned columns,
L lanes.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.core import baseline, keys, sampling
from seqgan_jax.core.batch import Params, TrainState
from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import bind
from seqgan_jax.data import texts
from seqgan_jax.data.form import Form
from seqgan_jax.data.history import History
from seqgan_jax.data.rule_texts import Increase
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import conditions

LANES = 1024  # drawn in one call
NUMBERS = 1 << 24  # of noise, or of states, in one call
BESIDE, OFTEN = 0.5, 0.01  # of the range of training; of sequences
GROWING = 1e-5  # above 1: float32


def longer(
    state: TrainState,
    nets: Networks,
    scaler: Scaler,
    n: int,
    length: int,
    seed: int,
    temperature: float,
    known_NTW: np.ndarray | None = None,
    complete: bool = True,
    fixed: Given | None = None,
) -> np.ndarray:
    """`n` sequences of any length [N, T, D] float64, in units of the data; with gaps like theirs
    where they are not `complete`. `fixed`: values of their first steps, [N, K]."""
    features = scaler.num_columns
    _fits(n * length * features)
    lanes = _lanes(n, length * 2 * features)
    blocks = [
        scaler.inverse(np.asarray(found, np.float64))
        for i in range(0, n, lanes)
        for found in [
            _longer(
                state.best,
                state.policy_constants,
                _key(seed),
                jnp.arange(i, i + lanes),
                jnp.array(temperature, jnp.float32),
                None if fixed is None else conditions.rows(fixed, i, lanes),
                _rows(known_NTW, np.minimum(np.arange(i, i + lanes), n - 1)),
                nets=nets,
                length=length,
                complete=complete,
            )
        ]
    ]
    return np.concatenate(blocks)[:n]


def futures(
    state: TrainState,
    nets: Networks,
    scaler: Scaler,
    given: History,
    n: int,
    length: int,
    seed: int,
    temperature: float,
    known_NSW: np.ndarray | None = None,
    most: int | None = None,
    complete: bool = True,
) -> np.ndarray:
    """`n` futures of each given sequence, [N, M, T, D] float64, in units of the data.

    `known_NSW`: what is known in advance, from the first given step of each on; S = P + T. Where
    sequences end, none has more than `most` steps; NaN after an end, and with gaps like the data's
    where they are not `complete`.
    """
    features = given.x_NPD.shape[2]
    _fits(len(given) * n * length * features)
    lengths_N = given.ends.lengths_N
    z_NPK = scaler.transform(given.x_NPD, True, lengths_N)
    if not np.all(np.abs(z_NPK) < np.finfo(np.float32).max):
        raise DataError(
            f"{given.shown}: a value is so far from those of training that it has no place in "
            "32-bit numbers. Correct it."
        )
    # Few shapes: what is given is filled up to a power of two, with what nothing looks at.
    padding = _power(z_NPK.shape[1]) - z_NPK.shape[1]
    z_NPK = np.pad(z_NPK, ((0, 0), (0, padding), (0, 0)), mode="edge").astype(np.float32)
    of_given = of_drawn = None
    if known_NSW is not None:
        steps = np.minimum(np.arange(z_NPK.shape[1]), known_NSW.shape[1] - 1)
        drawn = lengths_N[:, None] + np.arange(length)
        of_given, of_drawn = known_NSW[:, steps], known_NSW[np.arange(len(given))[:, None], drawn]
    number = _lanes(n, length * 2 * features)
    of_states = z_NPK.shape[1] * (z_NPK.shape[2] * 8 + 2 * 64)
    batch = min(_power(len(given)), max(1, LANES // number), _lanes(len(given), of_states))
    found = np.empty((len(given), n, length, features))
    last_N1E = scaler.last(given.x_NPD, lengths_N)
    for i in range(0, len(given), batch):
        rows = np.minimum(np.arange(i, i + batch), len(given) - 1)
        real = slice(i, min(i + batch, len(given)))
        for j in range(0, n, number):
            z_BMTK = _futures(
                state.best,
                state.policy_constants,
                _key(seed),
                jnp.asarray(z_NPK[rows]),
                jnp.asarray(lengths_N[rows]),
                jnp.asarray(rows),
                jnp.arange(j, j + number),
                jnp.array(temperature, jnp.float32),
                None if of_given is None else (_rows(of_given, rows), _rows(of_drawn, rows)),
                nets=nets,
                length=length,
                complete=complete,
            )
            z = np.array(z_BMTK, np.float64)[: real.stop - i, : n - j]
            if scaler.end is not None and most is not None:
                is_last = np.arange(length) == most - 1 - lengths_N[real, None]
                z[..., scaler.end] = np.maximum(z[..., scaler.end], is_last[:, None])
            last = np.repeat(last_N1E[real], z.shape[1], axis=0)
            x = scaler.continued(z.reshape(-1, *z.shape[2:]), last)
            found[real, j : j + z.shape[1]] = x.reshape(*z.shape[:2], length, features)
    return found


def drift(
    state: TrainState,
    scaler: Scaler,
    form: Form | None,
    x_LTD: np.ndarray,
    rates: tuple[float, ...] = baseline.SLOW,
    season: tuple[int, float] = (0, 1.0),
) -> str:
    """What to say of samples longer than training that leave its data; "" where nothing is.

    They do where more than 1% of sequences are outside of a column's range in training by more
    than half of it, or where the linear baseline grows: its spectral radius is above 1. What never
    falls by a rule leaves its range, as it should.
    """
    said = []
    rules = scaler.rules.rules if scaler.rules else ()
    rising = [rule.column for rule in rules if isinstance(rule, Increase)]
    for d, column in enumerate(form.columns if form else ()):
        if column.name in rising or column.categories:
            continue
        beyond = BESIDE * (column.high - column.low)
        x = x_LTD[..., d]
        left = ((x < column.low - beyond) | (x > column.high + beyond)).any(axis=1).mean()
        if left > OFTEN:
            said.append(
                f"{column.name!r} leaves {column.low:.6g} to {column.high:.6g}, its range in "
                f"training, by more than half of it in {left:.0%} of them"
            )
    linear = state.policy_constants["baseline"]
    radius = baseline.growth(linear["matrix"], linear.get("second"), rates, season)
    if radius > 1 + GROWING:
        said.append(f"the linear part of the model grows by {radius - 1:.2%} a step")
    if not said:
        return ""
    return (
        f"samples of {x_LTD.shape[1]:,} steps are longer than those of training, and drift away "
        f"from the data: {'; '.join(said)}. Use a shorter length, or train with a longer --window."
    )


def _fits(numbers: int) -> None:
    """Refuse what does not fit into memory: float64, a copy of it, and text."""
    if 24 * numbers > texts.memory():
        raise UsageError(
            f"{numbers:,} numbers are asked for, which do not fit into memory "
            f"({texts.memory() / 1e9:.1f} GB). Make n or length smaller."
        )


def _rows(known_NTW: np.ndarray | None, rows: np.ndarray) -> Any:
    return None if known_NTW is None else jnp.asarray(known_NTW[rows])


def _power(n: int) -> int:
    """The least power of two that is at least n."""
    return 1 << (n - 1).bit_length()


def _lanes(n: int, numbers: int) -> int:
    """How many of n are drawn at once, a power of two, where each takes so many numbers."""
    most = max(1, NUMBERS // numbers)
    return min(_power(n), LANES, 1 << (most.bit_length() - 1))


def _key(seed: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), keys.FUTURE)


def _fold(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, key))(numbers)


@partial(jax.jit, static_argnames=("nets", "length", "complete"))
def _longer(
    params: Params,
    constants: Params,
    key: jax.Array,
    lanes_L: jax.Array,
    temperature: jax.Array,
    fixed: Given | None = None,
    known_LTW: jax.Array | None = None,
    *,
    nets: Networks,
    length: int,
    complete: bool,
) -> jax.Array:
    policy = bind(nets.policy, params, constants)
    policy = policy.complete() if complete else policy
    return sampling.sample_apart(policy, _fold(key, lanes_L), length, temperature, fixed, known_LTW)


@partial(jax.jit, static_argnames=("nets", "length", "complete"))
def _futures(
    params: Params,
    constants: Params,
    key: jax.Array,
    x_BPK: jax.Array,
    lengths_B: jax.Array,
    sequences_B: jax.Array,
    futures_M: jax.Array,
    temperature: jax.Array,
    known: tuple[jax.Array, jax.Array] | None = None,
    *,
    nets: Networks,
    length: int,
    complete: bool,
) -> jax.Array:
    policy = bind(nets.policy, params, constants)
    policy = policy.complete() if complete else policy
    keys_BM = jax.vmap(lambda own: _fold(own, futures_M))(_fold(key, sequences_B))
    return sampling.continuations(policy, x_BPK, lengths_B, keys_BM, length, temperature, known)
