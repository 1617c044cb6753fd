"""A judge that is hard to fool: the held-out area under the curve of a small CNN.

The CNN is trained on training windows against samples and asked about held-out windows against
other samples: 0.5 is perfect, whatever it has learned by heart. All columns together, and each
column alone: D small networks in one program (`training.py`).

Shapes: E experiments, N sequences, B batch, T time, D columns, C channels of a column, H hidden,
I inputs of a network, K readings or levels.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray
from scipy import special

from seqgan_jax.analysis import absent, independent
from seqgan_jax.analysis.channels import CHANNELS, MORE, channels
from seqgan_jax.analysis.scores import Rows, pack
from seqgan_jax.analysis.training import Params, train
from seqgan_jax.data import overlap
from seqgan_jax.errors import DataError

Array = NDArray[Any]

STEPS, CHUNK = 240, 80
HIDDEN, TOGETHER = 12, 24
WIDTH = 3
ADAM = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS, 0.05))
BATCH, BATCH_STEPS = 64, 64 * 48  # of each kind; fewer of long sequences
BLOCK_STEPS = 512 * 24
MOST_NUMBERS = 50_000_000  # of all channels: 200 MB
MOST_ROWS = 5_000  # of a part
SCALES = np.concatenate([[0.0], np.geomspace(0.02, 1.0, 30)])  # of scores, see `kl_bound`
LEVELS = 100  # independent ones that the training part must show, see `levels`
FEW_VALUES = 12  # of which each is an option and not a level
RUNS = 8  # stretches that a part is cut into, at least


@dataclass(frozen=True)
class Areas:
    """Areas under the curve with standard errors, and their floors.

    Args:
      together, error: of all columns.
      columns_D, errors_D: of each column alone.
      floor, floor_error, floors_D, floor_errors_D: the same, with real training windows that were
        put aside in place of the samples.
      levels_D: which columns were seen with their level, see `levels`.
      kl, kl_error: a lower bound on KL(data || samples), nats a sequence, see `kl_bound`: what a
        better generator has to win at least.
    """

    together: float
    error: float
    columns_D: Array
    errors_D: Array
    floor: float
    floor_error: float
    floors_D: Array
    floor_errors_D: Array
    levels_D: Array
    kl: float = 0.0
    kl_error: float = 0.0


def kl_bound(
    real_N: Array, other_M: Array, blocks_N: Array, blocks_M: Array
) -> tuple[float, float]:
    """A lower bound on KL(p || q) from scores of samples of both, nats, and its standard error.

        max_a  E_p[a l] - log E_q[exp a l]

    (Donsker & Varadhan 1983), tight where a l is log p - log q but for a constant. Scores l of a
    network that has seen little are too sure; `a` from 0 to 1 is chosen on half of the blocks, the
    bound is taken on the other, and both halves in turn. Errors are of means over blocks.

    Args:
      real_N, other_M: scores, high for real.
      blocks_N, blocks_M: the block of each, 0 to B - 1, in the order of time.
    """
    bounds, variances = [], []
    halves = [_turns(blocks, 2) for blocks in (blocks_N, blocks_M)]
    for half in range(2):
        chosen = [
            score[turn == half] for score, turn in zip((real_N, other_M), halves, strict=True)
        ]
        asked = [score[turn != half] for score, turn in zip((real_N, other_M), halves, strict=True)]
        if not all(len(part) for part in chosen + asked):
            return 0.0, 0.0
        a = SCALES[int(np.argmax([_bound(a, *chosen) for a in SCALES]))]
        bounds.append(_bound(a, *asked))
        weights = np.exp(a * (asked[1] - asked[1].max()))
        own = (
            (a * asked[0], blocks_N[halves[0] != half]),
            (
                weights / weights.mean(),
                blocks_M[halves[1] != half],
            ),
        )
        variances.append(sum(_variance_of_mean(values, blocks) for values, blocks in own))
    return float(np.mean(bounds)), float(np.sqrt(np.sum(variances)) / 2)


def _bound(a: float, real_N: Array, other_M: Array) -> float:
    return float(a * real_N.mean() - special.logsumexp(a * other_M) + np.log(len(other_M)))


def _variance_of_mean(values_N: Array, blocks_N: Array) -> float:
    """Of values that are dependent within blocks and between neighbouring ones."""
    sums = np.bincount(blocks_N, values_N - values_N.mean())
    number = max(2, len(np.unique(blocks_N)))
    # Windows of neighbouring blocks share steps.
    squares = np.sum(sums**2) + 2 * max(0.0, np.sum(sums[1:] * sums[:-1]))
    return float(number / (number - 1) * squares / len(values_N) ** 2)


def area(real_N: Array, other_M: Array, blocks_N: Array, blocks_M: Array) -> tuple[float, float]:
    """Area under the ROC curve of scores, and its standard error by independent blocks.

    A = P(real > other) + P(real = other) / 2. With V_i the share of the other sample that row i
    beats, the variance of the real side is B / (B - 1) sum_b U_b (U_b + 2 U_{b+1}) / N^2 over its
    B blocks, U_b = sum_{i in b} (V_i - A), and alike of the other side (DeLong et al. 1988; by
    clusters Obuchowski 1997, Biometrics 53). The classifier is taken as given.

    Args:
      real_N, other_M: scores, high for real.
      blocks_N, blocks_M: the block of each, 0 to B - 1, in the order of time.

    >>> area(np.array([1.0, 3.0]), np.array([0.0, 2.0]), np.arange(2), np.arange(2))[0]
    0.75
    """
    means, variance = [], 0.0
    for own, rest, blocks in ((real_N, other_M, blocks_N), (other_M, real_N, blocks_M)):
        ordered = np.sort(rest)
        beaten = np.searchsorted(ordered, own) + np.searchsorted(ordered, own, side="right")
        shares = beaten / (2.0 * len(rest))
        means.append(float(shares.mean()))
        variance += _variance_of_mean(shares, blocks)
    return means[0], float(np.sqrt(variance))


class _Experiment(NamedTuple):
    """What a network is trained on: its column, and the rows of both samples."""

    column: jax.Array
    real: Rows
    other: Rows


def areas(
    real_train_NTD: Array,
    real_held_NTD: Array,
    samples_NTD: Array,
    seed: int,
    blocks_N: Array | None = None,
    ends: bool = False,
) -> Areas:
    """Can a classifier tell samples from unseen real sequences?

    Half of the samples are trained on, the other half asked about.

    Args:
      real_train_NTD, real_held_NTD, samples_NTD: in the data's units; no step of a held-out
        sequence is in the training part. Where values are absent (NaN), the network sees which:
        gaps that only real sequences have give the samples away, see `absent.alike`.
      seed: of starts and batches.
      blocks_N: independent blocks of the held-out part, see `overlap.independent_blocks`; found
        where not given.
      ends: whether sequences end; the network sees where, and looks no further.

    Raises:
      DataError: too few independent sequences.
    """
    rng = np.random.default_rng(seed)
    steps, features = real_train_NTD.shape[1:]
    most = max(40, min(MOST_ROWS, MOST_NUMBERS // (4 * steps * features * CHANNELS)))
    parts, ids = [], []
    for x_NTD, given_N, limit in (
        (real_train_NTD, None, most),
        (real_held_NTD, blocks_N, most),
        (samples_NTD, None, 2 * most),
    ):
        of_rows = overlap.independent_blocks(x_NTD) if given_N is None else given_N
        rows, own = _thinned(rng, of_rows, limit)
        parts.append(x_NTD[rows])
        ids.append(own)
    all_ids = np.concatenate(ids)
    stops = np.cumsum([len(x) for x in parts])
    trained, held, samples = np.split(np.arange(stops[-1]), stops[:-1])
    # In turn, since a series drifts.
    half, run = _turns(ids[2], 2), _turns(ids[0], 4)
    # Of the floor what is trained on lies between what is put aside and what is asked about.
    pairs = [
        (trained, samples[half == 0], samples[half == 1]),
        (trained[run % 2 == 0], trained[run == 1], trained[run == 3]),
    ]
    if not all(len(rows) for pair in pairs for rows in pair) or not len(held):
        raise DataError(
            f"the judge needs {RUNS} independent stretches of training data and 2 samples; there "
            f"are {ids[0].max(initial=-1) + 1} and {len(samples)}. Give more data, or leave the "
            "judge out (--judge never)."
        )
    tested = np.concatenate([held, pairs[0][2], pairs[1][2]])
    place = np.zeros(stops[-1], int)
    place[tested] = np.arange(len(tested))
    absences = absent.is_any(real_train_NTD, *parts)
    levels_D = levels(real_train_NTD)
    every_NTD = np.concatenate(parts)
    x_DNTC = jnp.asarray(channels(real_train_NTD, every_NTD, ends, absences, levels_D))
    found, bounds = [], []
    for columns in (range(features), [-1] if features > 1 else []):
        if not columns:
            break
        each = [(column, pair) for pair in pairs for column in columns]
        data = _Experiment(
            jnp.asarray([column for column, _ in each], jnp.int32),
            pack([pair[0] for _, pair in each]),
            pack([pair[1] for _, pair in each]),
        )
        for (_, pair), score_N in zip(each, _scores(x_DNTC, data, tested, seed), strict=True):
            real, other = score_N[place[held]], score_N[place[pair[2]]]
            found.append(area(real, other, all_ids[held], all_ids[pair[2]]))
            bounds.append(kl_bound(real, other, all_ids[held], all_ids[pair[2]]))
    alone, floors = np.array(found[:features]), np.array(found[features : 2 * features])
    whole, floor = found[-2:]
    columns_D, floors_D = (alone[:, 0], alone[:, 1]), (floors[:, 0], floors[:, 1])
    return Areas(*whole, *columns_D, *floor, *floors_D, levels_D, *bounds[-2])


def levels(train_NTD: Array) -> NDArray[np.bool_]:
    """Of which columns the training part shows enough levels for a level to say anything, [D].

    A series that is slow has been at few levels. These would be known by heart: other stretches of
    the same series lie near them, samples of the right law lie where it might have gone. Columns
    of few values (categories), and those that never change within a sequence, keep their level.
    """
    series = independent.series_of(train_NTD)
    if not series:
        return np.ones(train_NTD.shape[2], bool)
    first_N1D = train_NTD[:, :1]
    keeps_D = np.all((train_NTD == first_N1D) | np.isnan(train_NTD), axis=(0, 1))
    for d in np.flatnonzero(~keeps_D):
        own = [y_RD[:, d] for y_RD in series]
        has_few = len(np.unique(np.concatenate(own))) <= FEW_VALUES
        keeps_D[d] = has_few or independent.number(own) >= LEVELS
    return keeps_D


def _thinned(rng: np.random.Generator, blocks_N: Array, most: int) -> tuple[Array, Array]:
    """At most so many rows, drawn at random, in the order of the blocks; and the block of each."""
    rows = rng.permutation(len(blocks_N))[:most]
    rows = rows[np.argsort(blocks_N[rows], kind="stable")]
    return rows, np.unique(blocks_N[rows], return_inverse=True)[1]


def stretches(ids_N: Array, number: int) -> Array:
    """The stretch, 0 to number - 1, of each row, ordered by block: blocks are not divided.

    >>> stretches(np.array([0, 0, 0, 1, 2, 3, 3, 3]), 2).tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]
    """
    sizes = np.bincount(ids_N)
    middle = np.cumsum(sizes) - sizes / 2
    return np.minimum((middle * number / len(ids_N)).astype(int), number - 1)[ids_N]


def _turns(ids_N: Array, parts: int) -> Array:
    """The part, 0 to parts - 1, of each row, ordered by block: stretches in turn."""
    number = RUNS * int(np.clip((ids_N.max(initial=-1) + 1) // (4 * RUNS), 1, 4))
    return stretches(ids_N, number) % parts


def _init(key: jax.Array, inputs: int, hidden: int) -> Params:
    """Kernels ~ N(0, 2 / fan-in) (He et al. 2015), biases 0; consumes the key."""
    shapes = {
        "first": (WIDTH * inputs, hidden),
        "second": (WIDTH * hidden, hidden),
        "dense": (inputs + 4 * hidden, hidden),
        "out": (hidden, 1),
    }
    ends = np.cumsum([rows * columns for rows, columns in shapes.values()])
    numbers = jax.random.normal(key, (int(ends[-1]),))  # one draw: each takes time to compile
    params = {
        name: flat.reshape(shape) * np.float32(np.sqrt(2 / shape[0]))
        for flat, (name, shape) in zip(
            jnp.split(numbers, ends[:-1].tolist()), shapes.items(), strict=True
        )
    }
    return params | {f"{name}_bias": jnp.zeros((1, n)) for name, (_, n) in shapes.items()}


class _Seen(NamedTuple):
    """What a network sees of a batch, and which steps are pooled (all where none is absent)."""

    x_BTI: jax.Array
    inside_BT1: jax.Array | None


def _logits(params: Params, seen: _Seen) -> jax.Array:
    """Two convolutions over time, pooled by mean and maximum, and two dense layers -> [B].

    Of sequences that end, the layers are pooled up to the end.
    """
    x_BTI, inside_BT1 = seen
    count, steps = x_BTI.shape[:2]

    def convolve(name: str, x_BTI: jax.Array) -> jax.Array:
        padded = jnp.pad(x_BTI, ((0, 0), (1, 1), (0, 0)))
        shifted = jnp.concatenate([padded[:, k : k + steps] for k in range(WIDTH)], axis=-1)
        flat = shifted.reshape(count * steps, -1) @ params[name] + params[f"{name}_bias"]
        return jax.nn.leaky_relu(flat, 0.1).reshape(count, steps, -1)

    first = convolve("first", x_BTI)
    second = convolve("second", first)
    pooled = [x_BTI.mean(axis=1)]
    for layer in (first, second):
        if inside_BT1 is None:
            pooled += [layer.mean(axis=1), layer.max(axis=1)]
        else:
            number_B1 = inside_BT1.sum(axis=1)
            highest = jnp.where(inside_BT1 > 0, layer, layer.min(axis=1, keepdims=True))
            pooled += [(layer * inside_BT1).sum(axis=1) / number_B1, highest.max(axis=1)]
    h = jnp.concatenate(pooled, axis=-1) @ params["dense"] + params["dense_bias"]
    return (jax.nn.leaky_relu(h, 0.1) @ params["out"] + params["out_bias"])[:, 0]


def _of_one(x_DNTC: jax.Array, column: jax.Array, rows_B: jax.Array) -> _Seen:
    """The channels of one column, and the position in the sequence -> [B, T, I]."""
    x_BTC = x_DNTC[column, rows_B]
    return _Seen(_with_position(x_BTC), _inside(x_BTC))


def _inside(x_BTC: jax.Array) -> jax.Array | None:
    """The last channel, 1 up to the end, where values are absent."""
    return x_BTC[..., -1:] if x_BTC.shape[-1] == CHANNELS + MORE else None


def _of_all(x_DNTC: jax.Array, _column: jax.Array, rows_B: jax.Array) -> _Seen:
    """The channels of all columns, and the position in the sequence -> [B, T, I]."""
    x_BTDC = jnp.moveaxis(x_DNTC[:, rows_B], 0, 2)
    x_BTI = _with_position(x_BTDC.reshape(*x_BTDC.shape[:2], -1))
    return _Seen(x_BTI, _inside(x_BTDC[:, :, 0]))


def _with_position(x_BTI: jax.Array) -> jax.Array:
    position = jnp.linspace(-1.0, 1.0, x_BTI.shape[1], dtype=jnp.float32)[None, :, None]
    return jnp.concatenate([x_BTI, jnp.broadcast_to(position, (*x_BTI.shape[:2], 1))], axis=-1)


def _loss(view: Any, params: Params, key: jax.Array, x_DNTC: jax.Array, data: Any) -> jax.Array:
    """Cross-entropy of as many sequences of each kind, drawn at random."""
    size = max(8, min(BATCH, BATCH_STEPS // x_DNTC.shape[2]))
    drawn = [
        rows.index_EP[jax.random.randint(k, (size,), 0, rows.count_E)]
        for k, rows in zip(jax.random.split(key), (data.real, data.other), strict=True)
    ]
    found = _logits(params, view(x_DNTC, data.column, jnp.concatenate(drawn)))
    return jax.nn.softplus(-found[:size]).mean() + jax.nn.softplus(found[size:]).mean()


def _loss_of_one(params: Params, key: jax.Array, _n: jax.Array, x: jax.Array, data: Any) -> Any:
    return _loss(_of_one, params, key, x, data)


def _loss_of_all(params: Params, key: jax.Array, _n: jax.Array, x: jax.Array, data: Any) -> Any:
    return _loss(_of_all, params, key, x, data)


@functools.partial(jax.jit, static_argnames="view")
def _block(params_E: Params, column_E: Any, x_DNTC: Any, rows_B: Any, view: Any) -> jax.Array:
    def one(params: Params, column: jax.Array) -> jax.Array:
        return _logits(params, view(x_DNTC, column, rows_B))

    return jax.vmap(one)(params_E, column_E)


def _scores(x_DNTC: Any, data_E: _Experiment, tested_N: Array, seed: int) -> Array:
    """Logits of the tested rows by each network, after its training -> [E, N]."""
    alone = bool(data_E.column[0] >= 0)
    view, loss, hidden = (
        (_of_one, _loss_of_one, HIDDEN) if alone else (_of_all, _loss_of_all, TOGETHER)
    )
    inputs = 1 + x_DNTC.shape[-1] * (1 if alone else len(x_DNTC))
    params_E = train(
        lambda key: _init(key, inputs, hidden), loss, ADAM, x_DNTC, data_E,
        seed=seed, steps=STEPS, chunk=CHUNK,
    )  # fmt: skip
    size = max(8, BLOCK_STEPS // x_DNTC.shape[2])
    padded = np.pad(tested_N, (0, -len(tested_N) % size)).astype(np.int32)
    found = [
        np.asarray(_block(params_E, data_E.column, x_DNTC, jnp.asarray(rows), view))
        for rows in padded.reshape(-1, size)
    ]
    return np.concatenate(found, axis=1)[:, : len(tested_N)]
