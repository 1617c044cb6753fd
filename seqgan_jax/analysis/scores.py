"""Discriminative and predictive scores as published (TimeGAN, Yoon et al. 2019), in JAX.

An experiment is a set of row numbers into one common array of sequences, so that samples of
different sizes share one compiled program (`training.py`).

Sequences that end are padded with zeros, and their last channel is 1 up to the end (`of_lengths`):
the classifier takes the state at the end, and the predictor's error is over the steps before it.

Shapes: E experiments, N sequences, B batch, T time, D features, H hidden, P padded row numbers.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqgan_jax.analysis.training import (
    Array,
    Loss,
    Params,
    Progress,
    in_blocks,
    no_progress,
    train,
)

BATCH = 128
ADAM = optax.adam(1e-3)
DISCRIMINATIVE_STEPS = 2000
PREDICTIVE_STEPS = 5000
CHUNK = 250
TRAINED_SHARE = 0.8
# Sequences scored in one call.
BLOCK = 4096


class Rows(NamedTuple):
    """Row numbers of E experiments, padded to one length with 0, and how many are meant."""

    index_EP: jax.Array  # int32
    count_E: jax.Array  # int32


def pack(rows: list[Array]) -> Rows:
    """Pad lists of row numbers to one array."""
    longest = max(len(r) for r in rows)
    index = np.zeros((len(rows), longest), dtype=np.int32)
    for e, r in enumerate(rows):
        index[e, : len(r)] = r
    return Rows(jnp.asarray(index), jnp.asarray([len(r) for r in rows], dtype=jnp.int32))


def units(features: int) -> int:
    """Hidden units of both scores: half the features, at least one."""
    return max(1, features // 2)


def init_gru(key: jax.Array, inputs: int, hidden: int) -> Params:
    """A GRU (Cho et al. 2014, reset before the product) with one output unit; consumes the key.

    Glorot-uniform kernels, gate biases 1, other biases 0: what the published code starts from.
    """
    keys = jax.random.split(key, 3)
    glorot = jax.nn.initializers.glorot_uniform()
    return {
        "gates": glorot(keys[0], (inputs + hidden, 2 * hidden), jnp.float32),
        "gates_bias": jnp.ones((1, 2 * hidden), jnp.float32),
        "candidate": glorot(keys[1], (inputs + hidden, hidden), jnp.float32),
        "candidate_bias": jnp.zeros((1, hidden), jnp.float32),
        "out": glorot(keys[2], (hidden, 1), jnp.float32),
        "out_bias": jnp.zeros((1,), jnp.float32),
    }


def run_gru(params: Params, x_BTD: jax.Array) -> jax.Array:
    """Hidden states after each step, from a zero state -> [B, T, H].

    r, u = sigmoid([x, h] W + b); c = tanh([x, r h] V + d); h' = u h + (1 - u) c.

    States are laid out [H, B], and products with few units are written out: with 3 units and 256
    sequences a matrix product costs several times what its arithmetic does.
    """
    inputs, hidden = x_BTD.shape[2], params["out"].shape[0]
    few = hidden <= 8
    # The products with the inputs do not wait for the state: all steps at once.
    kernel = jnp.concatenate([params["gates"][:inputs], params["candidate"][:inputs]], axis=1)
    bias = jnp.concatenate([params["gates_bias"], params["candidate_bias"]], axis=1)
    fed_TKB = jnp.einsum("btd,dk->tkb", x_BTD, kernel) + bias[0][None, :, None]
    state_gates, state_candidate = params["gates"][inputs:], params["candidate"][inputs:]

    def product(kernel_HK: jax.Array, h_HB: jax.Array) -> jax.Array:
        if few:
            return jnp.sum(kernel_HK[:, :, None] * h_HB[:, None, :], axis=0)
        return kernel_HK.T @ h_HB

    def step(h_HB: jax.Array, fed_KB: jax.Array) -> tuple[jax.Array, jax.Array]:
        gates = jax.nn.sigmoid(fed_KB[: 2 * hidden] + product(state_gates, h_HB))
        reset, update = gates[:hidden], gates[hidden:]
        candidate = jnp.tanh(fed_KB[2 * hidden :] + product(state_candidate, reset * h_HB))
        h_HB = update * h_HB + (1 - update) * candidate
        return h_HB, h_HB

    # Unrolled whole where it can be: three times as fast as a loop at 24 steps and 3 units.
    unroll = min(x_BTD.shape[1], 40) if few else 4
    start_HB = jnp.zeros((hidden, x_BTD.shape[0]), x_BTD.dtype)
    _, states_THB = jax.lax.scan(step, start_HB, fed_TKB, unroll=unroll)
    return states_THB.transpose(2, 0, 1)


def logits_at_ends(params: Params, x_BTC: jax.Array) -> jax.Array:
    """One logit a sequence, from the state at its end -> [B]; see `of_lengths`."""
    last_B11 = x_BTC[..., -1].sum(axis=1).astype(jnp.int32)[:, None, None] - 1
    states_BTH = run_gru(params, x_BTC[..., :-1])
    last_BH = jnp.take_along_axis(states_BTH, last_B11, axis=1)[:, 0]
    return (last_BH @ params["out"])[:, 0] + params["out_bias"]


def of_lengths(x_NTD: Array, lengths_N: Array) -> Array:
    """Zeros after the end, and one more channel: 1 up to the end -> [N, T, D + 1]."""
    inside_NT1 = (np.arange(x_NTD.shape[1]) < lengths_N[:, None]).astype(x_NTD.dtype)[..., None]
    return np.concatenate([np.where(inside_NT1 > 0, x_NTD, 0), inside_NT1], axis=2)


def logits(params: Params, x_BTD: jax.Array) -> jax.Array:
    """One logit a sequence, from the last state -> [B]; positive means real."""
    return (run_gru(params, x_BTD)[:, -1] @ params["out"])[:, 0] + params["out_bias"]


def predictions(params: Params, x_BTD: jax.Array) -> jax.Array:
    """One number in (0, 1) a step -> [B, T]."""
    raw = run_gru(params, x_BTD) @ params["out"] + params["out_bias"][None, None]
    return jax.nn.sigmoid(raw[..., 0])


def _draw(key: jax.Array, rows: Rows) -> jax.Array:
    """BATCH row numbers of one experiment, drawn at random; consumes the key."""
    return rows.index_EP[jax.random.randint(key, (BATCH,), 0, rows.count_E)]


def _classifier_loss(
    params: Params,
    key: jax.Array,
    _number: jax.Array,
    x_NTD: jax.Array,
    data: tuple[Rows, Rows],
    of: Callable[[Params, jax.Array], jax.Array] = logits,
) -> jax.Array:
    keys = jax.random.split(key)
    drawn = [x_NTD[_draw(k, rows)] for k, rows in zip(keys, data, strict=True)]
    found = of(params, jnp.concatenate(drawn))
    on_real = optax.sigmoid_binary_cross_entropy(found[:BATCH], jnp.ones(BATCH))
    on_other = optax.sigmoid_binary_cross_entropy(found[BATCH:], jnp.zeros(BATCH))
    return on_real.mean() + on_other.mean()


_classifier_loss_at_ends = functools.partial(_classifier_loss, of=logits_at_ends)


def split_target(x_NTD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inputs [N, T-1, D-1] and target [N, T-1]: the last feature one step ahead of the others.

    With one feature (not defined in the published score) the series predicts itself.
    """
    inputs = x_NTD[:, :-1] if x_NTD.shape[2] == 1 else x_NTD[:, :-1, :-1]
    return inputs, x_NTD[:, 1:, -1]


def _predictor_loss(
    params: Params, key: jax.Array, _number: jax.Array, x_NTD: jax.Array, rows: Rows
) -> jax.Array:
    inputs, target = split_target(x_NTD[_draw(key, rows)])
    return jnp.abs(predictions(params, inputs) - target).mean()


def errors_to_ends(params: Params, x_BTC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Summed absolute errors of each sequence up to its end, and of how many steps -> [B], [B]."""
    inputs, target = split_target(x_BTC[..., :-1])
    there_BT = x_BTC[:, 1:, -1]
    apart = jnp.abs(predictions(params, inputs) - target) * there_BT
    return apart.sum(axis=1), there_BT.sum(axis=1)


def _predictor_loss_to_ends(
    params: Params, key: jax.Array, _number: jax.Array, x_NTC: jax.Array, rows: Rows
) -> jax.Array:
    apart_B, number_B = errors_to_ends(params, x_NTC[_draw(key, rows)])
    return apart_B.sum() / jnp.maximum(number_B.sum(), 1.0)


def _train(
    loss: Loss,
    inputs: int,
    features: int,
    x_NTD: Array,
    rows: Any,
    seed: int,
    steps: int,
    progress: Progress,
) -> Params:
    """GRUs of `inputs` inputs, one for each experiment of `rows`."""
    hidden = units(features)

    def init(key: jax.Array) -> Params:
        return init_gru(key, inputs, hidden)

    return train(
        init, loss, ADAM, x_NTD, rows, seed=seed, steps=steps, chunk=CHUNK, progress=progress
    )


@jax.jit
def _all_logits(params_E: Params, x_NTD: jax.Array) -> jax.Array:
    return jax.vmap(logits, in_axes=(0, None))(params_E, x_NTD)


@jax.jit
def _all_logits_at_ends(params_E: Params, x_NTC: jax.Array) -> jax.Array:
    return jax.vmap(logits_at_ends, in_axes=(0, None))(params_E, x_NTC)


@jax.jit
def _all_errors_to_ends(params_E: Params, x_NTC: jax.Array) -> jax.Array:
    """Mean absolute error of each sequence up to its end -> [E, N]; 0 of a single step."""
    apart, number = jax.vmap(errors_to_ends, in_axes=(0, None))(params_E, x_NTC)
    return apart / jnp.maximum(number, 1.0)


@jax.jit
def _all_errors(params_E: Params, x_NTD: jax.Array) -> jax.Array:
    """Mean absolute error of each sequence -> [E, N]."""
    inputs, target = split_target(x_NTD)
    found = jax.vmap(predictions, in_axes=(0, None))(params_E, inputs)
    return jnp.abs(found - target[None]).mean(axis=2)


def discriminative(
    x_NTD: Array,
    pairs: list[tuple[Array, Array]],
    seed: int,
    *,
    ends: bool = False,
    steps: int = DISCRIMINATIVE_STEPS,
    progress: Progress = no_progress,
) -> Array:
    """|0.5 - test accuracy| of a GRU classifier, one for each pair of samples -> [E].

    A one-layer GRU of int(D / 2) units, its last state to one logit; 2,000 steps of 128 real and
    128 generated sequences, Adam 1e-3, binary cross-entropy; each sample split 80 / 20.

    Args:
        x_NTD: all sequences, min-max scaled to [0, 1] by the real data.
        pairs: for each experiment the rows of the real and of the generated sample.
        seed: decides splits, starts and batches; experiment e uses seed + e.
        ends: whether x is of `of_lengths`.
        steps: of training.
        progress: called with the share done.
    """
    trained: tuple[list[Array], list[Array]] = ([], [])
    tested: list[tuple[Array, Array]] = []
    for e, pair in enumerate(pairs):
        rng = np.random.default_rng(seed + e)
        test = []
        for kind, rows in enumerate(pair):
            order = rng.permutation(rows)
            cut = min(max(1, int(TRAINED_SHARE * len(order))), len(order) - 1)
            trained[kind].append(order[:cut])
            test.append(order[cut:])
        tested.append((test[0], test[1]))
    packed = tuple(pack(rows) for rows in trained)
    features = x_NTD.shape[2] - ends
    loss, of_all = (
        (_classifier_loss_at_ends, _all_logits_at_ends) if ends else (_classifier_loss, _all_logits)
    )
    params_E = _train(loss, features, features, x_NTD, packed, seed, steps, progress)
    found_EN = in_blocks(of_all, params_E, x_NTD, BLOCK)
    scores = []
    for e, (real_rows, other_rows) in enumerate(tested):
        right = np.concatenate([found_EN[e, real_rows] > 0, found_EN[e, other_rows] <= 0])
        scores.append(abs(0.5 - right.mean()))
    return np.array(scores)


def predictive(
    x_NTD: Array,
    rows: list[Array],
    tested_NTD: Array,
    seed: int,
    *,
    ends: bool = False,
    steps: int = PREDICTIVE_STEPS,
    progress: Progress = no_progress,
) -> Array:
    """Error on real sequences of predictors trained on each sample -> [E, N of tested_NTD].

    A GRU of int(D / 2) units with a sigmoid output predicts the last feature one step ahead from
    the other D - 1; 5,000 steps of 128 sequences, Adam 1e-3, absolute error.
    The published score is the mean over all real sequences.

    Args:
        x_NTD: all sequences, min-max scaled to [0, 1] by the real data.
        rows: for each experiment the rows to train on.
        tested_NTD: real sequences, scaled alike.
        seed, ends, steps, progress: as in `discriminative`.
    """
    features = x_NTD.shape[2] - ends
    loss, of_all = (
        (_predictor_loss_to_ends, _all_errors_to_ends) if ends else (_predictor_loss, _all_errors)
    )
    inputs = max(1, features - 1)
    params_E = _train(loss, inputs, features, x_NTD, pack(rows), seed, steps, progress)
    return in_blocks(of_all, params_E, tested_NTD, BLOCK)
