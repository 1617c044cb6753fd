"""Values chosen among candidates at each step: what the distribution of a step cannot hold.

Of whole sequences one of K can be chosen (`refining`), which is log K nats in all. One of K at each
step is log K nats a step:

    q(x_t | x_<t) = p_0(x_t | x_<t) exp(l(x_t, x_<t)) / Z(x_<t),  l = log p - log p_0

and a draw of q is nearly one of K draws of p_0 taken with probability exp l(x_k) / sum_j exp l(x_j)
(sampling importance resampling, Rubin 1988; exact for K to infinity). l is of small networks that
learn to tell the value that came next from K that the policy draws in its place,

    max E[log exp l(x_0) / sum_{k=0}^K exp l(x_k)]      k = 0: the one that came

whose best l is log p - log p_0 but for what depends on x_<t alone, and that chooses nothing
(ranking noise-contrastive estimation, Ma & Collins 2018). Each leaves a fold of the data out; there

    gain(a) = E[log exp(a l(x_0)) / (1 / (K + 1) sum_{k=0}^K exp(a l(x_k)))]  <=  KL(p || p_0)

says which a their logits are worth, and whether they know anything at all: the gain, its a chosen
by the other folds, must be above 0 beyond doubt between stretches of the data, else nothing is
chosen.

Shapes: M sequences that are looked at, K candidates, F folds, C numbers that are seen of a value,
H of the steps before it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import stats

from seqgan_jax.core import keys, selection
from seqgan_jax.core.batch import Batch, LSTMState, Params, TrainState
from seqgan_jax.core.columns.chain import Step
from seqgan_jax.core.columns.mixed_step import Given, MixedStep
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import adam, apply
from seqgan_jax.core.policy import LSTMPolicy, bind

CANDIDATES = 8  # of each step, to learn from and to choose from
FIRST = 8  # times as many of the first step, which is drawn once and may have many modes
UPDATES, SIZE, RATE, HIDDEN = 600, 256, 2e-3, 32
KEPT = 0.3  # of what is seen of the steps before, in training: values say more, and generalise
MOST, AT_ONCE = 1 << 25, 256  # numbers that are seen of all candidates; sequences in one go
LANES = 1024  # samples that are drawn in one go
RARE, FAR = -12.0, 6.0  # log-probabilities and deviations are cut there
SCALES = np.concatenate([[0.0], np.geomspace(0.05, 1.5, 30)])
LEVEL = 0.05  # chance that networks that know nothing choose


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Seen:
    """What a network is asked about: values of steps, and the steps before each."""

    before: jax.Array  # [..., H]
    real: jax.Array  # [..., C] the value that came
    drawn: jax.Array  # [K, ..., C] candidates
    there: jax.Array  # [...] bool: it counts


class Chooser(NamedTuple):
    """Networks of the first step and of later ones, and what their logits are worth."""

    params: dict[str, Params]  # first, later: leaves have a leading axis F
    scale: dict[str, jax.Array]  # [] each; 0: nothing is chosen
    gain: jax.Array  # [] of both, nats a sequence, of sequences that were not seen
    error: jax.Array  # [] its standard error between stretches

    @property
    def chooses(self) -> tuple[bool, bool]:
        """Whether first and later steps are chosen."""
        return float(self.scale["first"]) > 0, float(self.scale["later"]) > 0


# ------------------------------------------------------------------ what is seen


def _value(step: Step | MixedStep, x: jax.Array, read: jax.Array) -> jax.Array:
    """Innovations and options of a value, and the log-probability of each column, [..., C]."""
    log_p = jnp.clip(step.log_prob(x), RARE, -RARE)
    return jnp.concatenate([read[..., x.shape[-1] :], log_p], axis=-1)


def _before(policy: LSTMPolicy, state: LSTMState, inputs: jax.Array) -> jax.Array:
    """The policy's state and the last innovation, [..., H]."""
    features = policy.features
    last = jnp.clip(inputs[..., features : 2 * features], -FAR, FAR)
    return jnp.concatenate([state.h[..., -policy.hidden_dim :], last], axis=-1)


def _drawn(
    step: Step | MixedStep, noise_KP: jax.Array, given: Given | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Candidates [K, ..., D], what the policy reads of them, what is seen of them [K, ..., C]."""

    def one(noise: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        x, read = step.sample(noise) if given is None else step.sample(noise, given)  # type: ignore[call-arg]
        return x, read, _value(step, x, read)

    return jax.vmap(one)(noise_KP)


def seen(policy: LSTMPolicy, batch: Batch, key: jax.Array) -> tuple[Seen, Seen]:
    """First steps `[B]` and later ones `[B, T - 1]` of real sequences. Consumes `key`."""
    prefixes, first, later = policy.teacher_forced(batch.x, known_BTW=batch.known_if_any)
    x_TBD = jnp.swapaxes(batch.x, 0, 1)
    there_BT = batch.there
    if policy.end is not None:  # what is left at step T ends there, however likely
        there_BT = there_BT & (np.arange(batch.length) < batch.length - 1)[None]
    states = jax.tree.map(lambda leaf: leaf[1:], prefixes.states)
    before = _before(policy, states, prefixes.inputs[:-1])
    nothing = jnp.zeros((len(batch), 0))
    first_key, later_key = jax.random.split(key)

    def one(key: jax.Array, step: Any, x: jax.Array, before: jax.Array, there: jax.Array) -> Seen:
        noise = keys.normal(key, (CANDIDATES, *x.shape[:-1], policy.num_noise))
        drawn, reads = jax.vmap(step.sample)(noise)
        # All in one: log-probabilities are slow to compile.
        every = jnp.concatenate([x[None], drawn])
        reads = jnp.concatenate([step.context.read(x)[None], reads])
        values = jax.vmap(partial(_value, step))(every, reads)
        return Seen(before, values[0], values[1:], there)

    nothing = jnp.zeros((len(batch), 0))
    of_first = one(first_key, first, x_TBD[0], nothing, there_BT[:, 0])
    of_later = one(later_key, later, x_TBD[1:], before, there_BT[:, 1:].T)
    before, real, there = (
        jnp.swapaxes(leaf, 0, 1) for leaf in (of_later.before, of_later.real, of_later.there)
    )
    return of_first, Seen(before, real, jnp.swapaxes(of_later.drawn, 1, 2), there)


def _all_seen(policy: LSTMPolicy, batch: Batch, key: jax.Array) -> tuple[Seen, Seen]:
    """The same of many sequences, some at a time."""
    size = min(AT_ONCE, len(batch))
    number = len(batch) // size
    pieces = jax.tree.map(lambda leaf: leaf.reshape(number, size, *leaf.shape[1:]), batch)

    def one(piece: tuple[Batch, jax.Array]) -> tuple[Seen, Seen]:
        return seen(policy, *piece)

    found = lax.map(one, (pieces, jax.random.split(key, number)))

    def whole(each: Seen) -> Seen:
        drawn = jnp.moveaxis(each.drawn, 0, 1)
        before, real, there = (
            leaf.reshape(len(batch), *leaf.shape[2:])
            for leaf in (each.before, each.real, each.there)
        )
        return Seen(before, real, drawn.reshape(len(drawn), len(batch), *drawn.shape[3:]), there)

    return whole(found[0]), whole(found[1])


# ------------------------------------------------------------------ networks


def _init(key: jax.Array, sizes: tuple[int, int]) -> Params:
    """Kernels ~ N(0, 2 / fan-in) (He et al. 2015), the last 0: at first all candidates are alike.

    Consumes `key`.
    """
    before, value = sizes
    shapes = {"before": (before, HIDDEN), "value": (value, HIDDEN), "second": (HIDDEN, HIDDEN)}
    params: Params = {
        name: keys.normal(own, shape) * np.float32((2 / max(shape[0], 1)) ** 0.5)
        for own, (name, shape) in zip(jax.random.split(key, 3), shapes.items(), strict=True)
    }
    zeros = {name: jnp.zeros(HIDDEN) for name in ("bias", "second_bias", "out")}
    return params | zeros


def _units(like: Seen) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of what is seen of candidates, [C]."""
    axes = tuple(range(like.drawn.ndim - 1))
    return like.drawn.mean(axis=axes), like.drawn.std(axis=axes) + 1e-3


def logit(params: Params, before: jax.Array, value: jax.Array) -> jax.Array:
    """l of values [..., C] after steps [..., H], [...]."""

    def row(name: str, ndim: int) -> jax.Array:
        return params[name][(None,) * (ndim - 1)]

    ndim = value.ndim
    z = jnp.clip((value - row("middle", ndim)) / row("unit", ndim), -FAR, FAR)
    context = before @ params["before"]
    h = z @ params["value"] + row("bias", ndim)
    h = h + context[(None,) * (ndim - context.ndim)]
    h = jax.nn.leaky_relu(h, 0.1)
    h = jax.nn.leaky_relu(h @ params["second"] + row("second_bias", ndim), 0.1)
    return h @ params["out"]


def _log_share(real: jax.Array, drawn: jax.Array) -> jax.Array:
    """log of exp l(x_0) / sum_{k=0}^K exp l(x_k), [...], of logits of the real one and of all K."""
    return real - jax.nn.logsumexp(jnp.concatenate([real[None], drawn]), axis=0)


def _loss(params: Params, some: Seen, key: jax.Array) -> jax.Array:
    """- log of the share that the value which came has among all K + 1. Consumes `key`."""
    kept = keys.bernoulli(key, KEPT, some.before.shape)
    before = jnp.where(kept, some.before / KEPT, 0.0)
    real, drawn = logit(params, before, some.real), logit(params, before, some.drawn)
    share = _log_share(real, drawn)
    number = jnp.maximum(some.there.sum(), 1).astype(share.dtype)
    return -jnp.sum(jnp.where(some.there, share, 0.0)) / number


def _learned(key: jax.Array, every: Seen, rows_N: jax.Array) -> Params:
    """A network that saw these sequences. Consumes `key`."""
    optimiser = adam(RATE)
    init_key, batch_key = jax.random.split(key)
    sizes = every.before.shape[-1], every.real.shape[-1]
    middle, unit = _units(every)
    params = _init(init_key, sizes)
    is_first = every.there.ndim == 1

    def update(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt = carry
        row_key, step_key, drop_key = jax.random.split(key, 3)
        at: Any = (rows_N[jax.random.randint(row_key, (SIZE,), 0, len(rows_N))],)
        if not is_first:
            at += (jax.random.randint(step_key, (SIZE,), 0, every.there.shape[1]),)
        some = Seen(
            every.before[at], every.real[at], every.drawn[(slice(None), *at)], every.there[at]
        )

        def loss(params: Params) -> jax.Array:
            return _loss(params | {"middle": middle, "unit": unit}, some, drop_key)

        return apply(optimiser, jax.grad(loss)(params), opt, params), None

    carry = params, optimiser.init(params)
    (params, _), _ = lax.scan(update, carry, jax.random.split(batch_key, UPDATES))
    return params | {"middle": middle, "unit": unit}


# ------------------------------------------------------------------ what they are worth


class Folds(NamedTuple):
    """Which of M sequences each network learns and is asked about, and the stretches of these."""

    learned: np.ndarray  # [F, N]
    tested: np.ndarray  # [F, N']
    stretches: np.ndarray  # [F N'] numbers from 0


def folds(size: int, length: int, number: int) -> Folds:
    """Folds as those of `selection.separate`, of `number` sequences evenly out of `size`.

    What is asked about lies inside a stretch: windows at its ends share steps with the next one.
    """
    groups = selection.turns(size, length)
    stretch = np.linspace(0, groups * selection.FOLDS, number, endpoint=False)
    fold = stretch.astype(int) % selection.FOLDS
    edge = selection.EDGES[groups > 1]
    inside = (stretch % 1 >= edge) & (stretch % 1 <= 1 - edge)
    every = range(selection.FOLDS)
    learned = [np.flatnonzero(fold != f) for f in every]
    tested = [np.flatnonzero((fold == f) & inside) for f in every]
    least = [min(map(len, rows)) for rows in (learned, tested)]
    kept = [
        rows[np.linspace(0, len(rows), least[1], endpoint=False).astype(int)] for rows in tested
    ]
    own = np.concatenate(kept)
    return Folds(
        np.stack([rows[: least[0]] for rows in learned]),
        np.stack(kept),
        np.unique(stretch[own].astype(int), return_inverse=True)[1],
    )


def _gains(params: Params, some: Seen) -> jax.Array:
    """gain(a) of each sequence by scale, [A, N], nats a sequence: the sum over its steps."""
    real = logit(params, some.before, some.real)
    drawn = logit(params, some.before, some.drawn)
    if some.there.ndim == 1:
        real, drawn, there = real[:, None], drawn[..., None], some.there[:, None]
    else:
        there = some.there

    def one(a: jax.Array) -> jax.Array:
        share = _log_share(a * real, a * drawn)
        return jnp.sum(jnp.where(there, share + np.log(len(drawn) + 1), 0.0), axis=1)

    return lax.map(one, jnp.asarray(SCALES, jnp.float32))


def worth(
    gains: dict[str, jax.Array], stretches: np.ndarray
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
    """Scales of parts, all 0 where there is doubt whether they gain; the gain and its error, [].

    The gain [F, A, N] of each part, of each fold by the scale that is best for the other folds.
    """
    scales, gain_FN = {}, jnp.zeros(())
    for name, gains_FAN in gains.items():
        total_FA = gains_FAN.mean(axis=2)
        others_FA = total_FA.sum(axis=0)[None] - total_FA
        best_F = jnp.argmax(others_FA, axis=1)
        gain_FN = gain_FN + jax.vmap(lambda of_fold, best: of_fold[best])(gains_FAN, best_F)
        scales[name] = jnp.asarray(SCALES, jnp.float32)[jnp.argmax(total_FA.sum(axis=0))]
    error, _ = selection.error_by_blocks(gain_FN.reshape(-1), jnp.asarray(stretches))
    needed = stats.t.ppf(1 - LEVEL, max(1, stretches.max(initial=0)))
    gain = gain_FN.mean()
    sure = gain > np.float32(needed) * error
    return {name: jnp.where(sure, scale, 0.0) for name, scale in scales.items()}, gain, error


def amount(policy: LSTMPolicy, train: Batch) -> int:
    """How many sequences are looked at, M: whole pieces of `AT_ONCE`."""
    seen_of_one = policy.chain.num_read + policy.hidden_dim + 2 * policy.features
    most = MOST // (CANDIDATES * train.length * seen_of_one)
    size = min(AT_ONCE, len(train))
    return size * max(1, min(most, len(train)) // size)


@partial(jax.jit, static_argnames="nets")
def _fitted(state: TrainState, train: Batch, key: jax.Array, *, nets: Networks) -> Chooser:
    policy = nets.bind_policy(state.best, state)
    number = amount(policy, train)
    seen_key, *own_keys = jax.random.split(key, 3)
    rows = np.linspace(0, len(train), number, endpoint=False).astype(np.int32)
    each = folds(len(train), train.length, number)
    parts = zip(
        ("first", "later"), own_keys, _all_seen(policy, train.take(rows), seen_key), strict=True
    )
    params, gains = {}, {}
    for name, own, every in parts:

        def one(given: Any, every: Seen = every) -> tuple[Params, jax.Array]:
            key, learned_N, tested_N = given
            params = _learned(key, every, learned_N)
            tested = Seen(
                every.before[tested_N],
                every.real[tested_N],
                every.drawn[:, tested_N],
                every.there[tested_N],
            )
            return params, _gains(params, tested)

        given = jax.random.split(own, selection.FOLDS), each.learned, each.tested
        params[name], gains[name] = lax.map(one, jax.tree.map(jnp.asarray, given))
    return Chooser(params, *worth(gains, each.stretches))


def fit(state: TrainState, train: Batch, key: jax.Array, nets: Networks) -> Chooser:
    """Networks of the steps of `state.best` and the training part. Consumes `key`."""
    return _fitted(state, train, key, nets=nets)


# ------------------------------------------------------------------ choosing


def mean_logit(chooser: Chooser, name: str, before: jax.Array, value: jax.Array) -> jax.Array:
    """l of `chooser.params[name]`, the mean of all networks times their scale, [...]."""
    found = jax.vmap(partial(logit, before=before, value=value))(chooser.params[name])
    return chooser.scale[name] * found.mean(axis=0)


def sample(
    policy: LSTMPolicy,
    chooser: Chooser,
    key: jax.Array,
    batch: int,
    length: int,
    chooses: tuple[bool, bool],
    given: Given | None = None,
    known_BTW: jax.Array | None = None,
    *,
    candidates: int,
) -> jax.Array:
    """`sampling.sample` with one of so many candidates at first or later steps. Consumes `key`."""

    def chosen(
        name: str, step: Any, before: jax.Array, key: jax.Array, given: Given | None = None
    ) -> tuple[jax.Array, jax.Array]:
        number = 1
        if chooses[name == "later"]:
            number = FIRST * candidates if name == "first" else candidates
        noise_key, which_key = jax.random.split(key)
        noise = keys.normal(noise_key, (number, batch, policy.num_noise))
        x, read, value = _drawn(step, noise, given)
        l_KB = mean_logit(chooser, name, before, value)
        uniform = jax.random.gumbel(which_key, (number * batch,)).reshape(number, batch)
        taken_B = jnp.argmax(l_KB + uniform, axis=0)  # a draw of the softmax
        x, read = (
            jnp.take_along_axis(each, taken_B[None, :, None], axis=0)[0] for each in (x, read)
        )
        return x, read

    known = None if known_BTW is None else jnp.swapaxes(known_BTW, 0, 1)
    keys_T = jax.random.split(key, length)
    state, step = policy.begin(batch, known=None if known is None else known[0])
    fixed = given if isinstance(step, MixedStep) else None  # else no column can be given
    x_BD, read_BR = chosen("first", step, jnp.zeros((batch, 0)), keys_T[0], fixed)
    start = state, policy.first_inputs(x_BD, read_BR)

    def body(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        key, known = inputs
        state, step = policy.step(carry[0], carry[1], 1.0, known)
        before = _before(policy, state, carry[1])
        x, read = chosen("later", step, before, key)
        return (state, policy.next_inputs(carry[1], x, read)), x

    inputs = keys_T[1:], None if known is None else known[1:]
    _, later = lax.scan(body, start, inputs)
    return jnp.swapaxes(jnp.concatenate([x_BD[None], later]), 0, 1)


@partial(jax.jit, static_argnames=("nets", "number", "length", "chooses", "candidates"))
def draw(
    params: Params,
    constants: Params,
    chooser: Chooser,
    key: jax.Array,
    given: Given | None,
    known_BTW: jax.Array | None,
    *,
    nets: Networks,
    number: int,
    length: int,
    chooses: tuple[bool, bool],
    candidates: int,
) -> jax.Array:
    """`sample` of a policy with these parameters; compiled once for each number."""
    policy = bind(nets.policy, params, constants)
    drawing = key, number, length, chooses, given, known_BTW
    return sample(policy, chooser, *drawing, candidates=candidates)
