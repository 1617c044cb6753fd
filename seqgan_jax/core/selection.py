"""Which policy is kept: one rule for early stopping, rounds, `--policy auto` and seeds.

A policy takes the place of another

- in likelihood training, where the validation part is likelier under it;
- against a policy of adversarial training, where its samples are harder to tell from the validation
  part, beyond doubt, while the validation part is at most `tolerance` nats a step less likely than
  it was before adversarial training, and its samples stay where the data allow.

How hard samples are to tell is the logit gap of discriminators that are trained for this alone, on
the training part against samples of that policy:

    gap = E_real[l] - E_sample[l]        of sequences that it has not seen, nats a sequence

which for the best discriminator is KL(p || q) + KL(q || p) (Goodfellow et al. 2014, proposition 1)
and 0 where samples are as the data. (Cross-entropy would not do: it hardly moves while samples that
are all easy to tell become much better.) Two policies are compared in pairs: REPEATS times a
discriminator for each, from the same random numbers. The error of the mean difference has two
parts: between the independent blocks of the validation part (overlapping windows are one block),
and between repeats (the noise of training D and of the samples). Beyond doubt is a one-sided t test
at 5% over all the looks that a run takes.

A validation part of few blocks is not where the training part is: one with more sun makes samples
with too much sun harder to tell from it. So each discriminator leaves a quarter of the training
part out, and the candidate must be no easier to tell from these quarters, either. And since no
small discriminator sees all: no category's or other option's share may lie farther from that of the
training part than chance would have it, or than the best policy's so far. (Means and squares of
values are not looked at: a policy that cannot hold the data's law may win much by moving them.)

How much there is to win at least, before anything is done for it, say the same discriminators
(`kl_bound`).
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import stats

from seqgan_jax.core import discriminator, keys, sampling
from seqgan_jax.core.batch import (
    Batch,
    Params,
    Parts,
    TrainState,
    fewer,
    in_blocks,
    join,
    run_of,
    still_there,
)
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.discriminator import Discriminator
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import adam, apply, over_seeds
from seqgan_jax.core.outer import Outer, Step
from seqgan_jax.core.policy import Definition, LSTMPolicy, bind

LEVEL = 0.05  # chance that a run of no gain keeps anything, over all its looks
REPEATS = 6  # pairs of discriminators at most
STEPS, HALF, RATE, KEEP_PROB = 300, 64, 2e-3, 0.75  # of training one of them
TESTED = 2000  # samples that each is asked about; of long sequences fewer (`batch.fewer`)
FOLDS, TURNS = 4, 8  # of the training part; stretches of a fold at most, in turn
EDGES = 0.1, 0.25  # share of a fold, of each of its stretches, at each end that is not asked about
SCALES = np.concatenate([[0.0], np.geomspace(0.02, 1.0, 30)])  # of logits, see `kl_bound`
SHIFT = 0.1  # by which shares may be off, in standard deviations between sequences
ALLOWED = 0.5  # of a column's range in the training part, beyond its ends
OUTSIDE = 0.01  # share of samples that may leave even that


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Comparison:
    """A candidate against the best policy so far; [] each."""

    keep: jax.Array  # bool: the candidate takes its place
    outside: jax.Array  # share of its samples that leave what the data allow
    gap: jax.Array  # the candidate's logit gap, nats a sequence
    best_gap: jax.Array  # that of the best policy so far: what must be beaten
    train_gap: jax.Array  # the same two against what was left out of the training part
    best_train_gap: jax.Array
    shift: jax.Array  # how far shares lie from the training part's, see `share_shift`
    pairs: jax.Array  # how many pairs of discriminators were trained
    error: jax.Array  # standard error of their difference, where all REPEATS pairs were
    needed: jax.Array  # errors by which it must be smaller
    kl: jax.Array  # what there is to win of the policy that is kept, see `kl_bound`
    kl_error: jax.Array


def keep_likelier(state: TrainState, validation: jax.Array) -> TrainState:
    """The rule in likelihood training: the EMA becomes `best` where its loss is the smallest."""
    better = validation < state.best_nll
    return replace(
        state,
        best=_where(better, state.ema, state.best),
        best_nll=jnp.where(better, validation, state.best_nll),
        stale_epochs=jnp.where(better, 0, state.stale_epochs + 1),
    )


def keep_last(
    state: TrainState, loss_N: jax.Array, least_N: jax.Array, parts: Parts, steps: jax.Array
) -> TrainState:
    """The rule in likelihood training: the EMA becomes `best` where its loss is above the least by
    no more than one standard error of their difference (Breiman et al. 1984, section 3.4.3).

    A network still learns what makes samples look real when it has begun to be too sure of details,
    which costs likelihood; the last epoch that is no worse beyond noise has learned most.

    Args:
      state: whose `rollout` is the likeliest EMA so far.
      loss_N: -log p of each validation sequence under its EMA.
      least_N: the same under the likeliest.
      parts: whose validation sequences are in `blocks`.
      steps: that count in all of them, [].
    """
    loss, least = jnp.sum(loss_N) / steps, jnp.sum(least_N) / steps
    better = (loss < least) | (state.best_nll == jnp.inf)
    difference_N = loss_N - least_N
    error, _ = error_by_blocks(difference_N, parts.blocks)
    keep = better | (difference_N.mean() <= error)
    return replace(
        state,
        best=_where(keep, state.ema, state.best),
        best_nll=jnp.where(keep, loss, state.best_nll),
        rollout=_where(better, state.ema, state.rollout),
        stale_epochs=jnp.where(better, 0, state.stale_epochs + 1),
    )


def likeliest(losses: np.ndarray) -> int:
    """The rule among trained policies that were not compared otherwise; NaN is never the one."""
    return int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))


@partial(jax.jit, static_argnames=("nets", "tolerance", "looks", "seeds"), donate_argnames="state")
def keep_harder_to_tell(
    state: TrainState,
    parts: Parts,
    key: jax.Array,
    nll: jax.Array,
    repeats: jax.Array,
    *,
    nets: Networks,
    tolerance: float,
    looks: int,
    seeds: int = 1,
) -> tuple[TrainState, Comparison]:
    """The rule in adversarial training: the EMA becomes `best` where `compare` says so.

    Args:
      state: with several seeds, every leaf and the key have a leading axis S.
      parts: the data.
      key: of the run; the round gives the look's own.
      nll: validation loss of the EMA, nats a step, [] or [S].
      repeats: REPEATS, or 0 to compile only.
      nets: definitions.
      tolerance: nats a step.
      looks: how often it is asked in the whole run.
      seeds: S.
    """

    def one(state: TrainState, key: jax.Array, nll: jax.Array) -> tuple[TrainState, Comparison]:
        own = keys.unit_key(key, keys.SELECTION, state.round)
        found = compare(state, state.ema, nll, parts, own, repeats, nets, tolerance, looks)
        state = replace(
            state,
            best=_where(found.keep, state.ema, state.best),
            best_nll=jnp.where(found.keep, nll, state.best_nll),
            kept_round=jnp.where(found.keep, state.round, state.kept_round),
        )
        return state, found

    return over_seeds(one, seeds, 0, 0, 0)(state, key, nll)


def compare(
    state: TrainState,
    candidate: Params,
    nll: jax.Array,
    parts: Parts,
    key: jax.Array,
    repeats: jax.Array,
    nets: Networks,
    tolerance: float,
    looks: int,
) -> Comparison:
    """The candidate with validation loss `nll` against `state.best`, by the rule above.

    Stops after the pair of discriminators at which the candidate is no better on average: it is
    then not kept, whatever the others would say. Consumes `key`.
    """
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), candidate, state.best)
    likely = nll <= state.pretrained_nll + tolerance

    def pair(carry: Any) -> Any:
        r, real_N, gaps_R2, train_2, shift_2, outside, kl_2, kl_error_2 = carry
        own = jax.random.fold_in(key, r)

        def one(params: Params) -> tuple[jax.Array, ...]:
            # The same random numbers for both: that is what makes them a pair.
            policy = nets.bind_policy(params, state)
            fold = r % FOLDS
            return logit_gap(policy, parts, jax.random.clone(own), state, fold, nets.of_data)

        real_2N, gaps_2, own_2, moved_2, outside_2, *bounds = lax.map(one, both)
        gaps_R2 = gaps_R2.at[r].set(gaps_2)
        real_N = real_N + real_2N[0] - real_2N[1]
        sums = train_2 + own_2, shift_2 + moved_2, outside + outside_2[0]
        return r + 1, real_N, gaps_R2, *sums, kl_2 + bounds[0], kl_error_2 + bounds[1]

    def go_on(carry: Any) -> jax.Array:
        r, _, gaps_R2, train_2, _, outside, *_ = carry
        hope = (jnp.sum(gaps_R2[:, 0] - gaps_R2[:, 1]) < 0) & (train_2[0] <= train_2[1])
        return (r < repeats) & ((r == 0) | (hope & likely & (outside <= r * OUTSIDE)))

    number = len(parts.validation)
    nothing = jnp.zeros(2), jnp.zeros(2), jnp.array(0.0), jnp.zeros(2), jnp.zeros(2)
    start = (jnp.array(0), jnp.zeros(number), jnp.zeros((REPEATS, 2)), *nothing)
    made, real_N, gaps_R2, *sums = lax.while_loop(go_on, pair, start)
    train_2, shift_2, outside, kl_2, kl_error_2 = sums
    done = jnp.maximum(made, 1).astype(jnp.float32)
    gap, best_gap = gaps_R2.sum(axis=0) / done
    train_gap, best_train_gap = train_2 / done
    shift, best_shift = shift_2 / done
    outside = outside / done
    blocks_error, blocks = error_by_blocks(real_N / done, parts.blocks)
    spread = jnp.std(gaps_R2[:, 0] - gaps_R2[:, 1], ddof=1)  # used where all were made
    error = jnp.sqrt(blocks_error**2 + spread**2 / REPEATS)
    # As many degrees of freedom as the part with fewer has.
    freedom = jnp.clip(blocks - 1, 1, REPEATS - 1)
    quantiles = stats.t.ppf(1 - LEVEL / looks, np.arange(1, REPEATS))
    needed = jnp.asarray(quantiles, jnp.float32)[freedom - 1]
    beyond_doubt = (made == REPEATS) & (blocks > 1) & (gap + needed * error < best_gap)
    # As many independent sequences of the training part as the validation part lets expect.
    independent = blocks.astype(jnp.float32) * len(parts.train) / number
    chance = jnp.maximum(SHIFT, 2.0 / jnp.sqrt(jnp.maximum(independent, 1.0)))
    stays = (train_gap <= best_train_gap) & (shift <= jnp.maximum(chance, best_shift))
    keep = beyond_doubt & likely & (outside <= OUTSIDE) & stays
    gaps = gap, best_gap, train_gap, best_train_gap, shift
    # The validation part is the same in all repeats: no error is made smaller by them.
    kept = jnp.where(keep, 0, 1)
    bound, bound_error = kl_2[kept] / done, kl_error_2[kept] / done
    return Comparison(keep, outside, *gaps, made, error, needed, bound, bound_error)


def share_outside(samples_NTD: jax.Array, train: Batch) -> jax.Array:
    """Share of sequences with a value farther from the training part's range than ALLOWED of it."""
    low = jnp.min(jnp.where(train.mask, train.x, jnp.inf), axis=(0, 1))
    high = jnp.max(jnp.where(train.mask, train.x, -jnp.inf), axis=(0, 1))
    margin = ALLOWED * (high - low)
    outside = (samples_NTD < (low - margin)[None, None]) | (
        samples_NTD > (high + margin)[None, None]
    )
    return jnp.mean(jnp.any(outside, axis=(1, 2)))


def share_shift(a_NTD: jax.Array, b_MTD: jax.Array, columns: Columns | None) -> jax.Array:
    """The largest difference of options' shares, in standard deviations between b's sequences, [].

    0 without options.
    """
    if columns is None or not columns.layout.shown:
        return jnp.array(0.0)

    def shares(x_NTD: jax.Array) -> jax.Array:
        matched = support.of_sequences(columns.support, columns.layout, x_NTD)
        found = support.shown(columns.layout, matched)
        if (end := columns.layout.end) is not None:
            found = jnp.where(still_there(x_NTD, end)[..., None], found, 0.0)
        return found.mean(axis=1)

    a_NS, b_MS = shares(a_NTD), shares(b_MTD)
    return jnp.max(jnp.abs(a_NS.mean(axis=0) - b_MS.mean(axis=0)) / (b_MS.std(axis=0) + 0.01))


def error_by_blocks(values_N: jax.Array, blocks_N: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Standard error of the mean of values that are dependent within blocks, and how many blocks.

    sqrt(G / (G - 1) sum_g (sum_{n in g} (v_n - mean))^2) / N for G blocks (cluster-robust; Cameron
    & Miller 2015, equation 11). Block numbers are from 0 to N - 1.
    """
    number = values_N.shape[0]
    sums = jnp.zeros(number).at[blocks_N].add(values_N - values_N.mean())
    blocks = jnp.sum(jnp.zeros(number).at[blocks_N].add(1.0) > 0)
    groups = jnp.maximum(blocks, 2).astype(jnp.float32)
    return jnp.sqrt(groups / (groups - 1.0) * jnp.sum(sums**2)) / number, blocks


def scale_of(real_N: jax.Array, fake_M: jax.Array) -> jax.Array:
    """The `a` of `kl_bound`, []: what logits of unseen real and generated sequences are worth."""
    scales_K = jnp.asarray(SCALES, jnp.float32)
    return scales_K[jnp.argmax(_bound(scales_K, real_N, fake_M))]


def _bound(a_K: jax.Array, real_N: jax.Array, fake_M: jax.Array) -> jax.Array:
    exponents = a_K[:, None] * fake_M[None]
    return a_K * real_N.mean() - jax.nn.logsumexp(exponents, axis=1) + np.log(len(fake_M))


def kl_bound(
    real: tuple[jax.Array, jax.Array], fake: tuple[jax.Array, jax.Array], blocks_N: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A lower bound on KL(p || q) by a discriminator's logits l, nats a sequence; and its error.

        max_a  E_p[a l] - log E_q[exp a l]

    (Donsker & Varadhan 1983), as `analysis.judge` takes it: `a`, from 0 to 1 since a network that
    has seen little is too sure, is chosen on the first of each pair, and the bound is taken on the
    second. Its error is of means over the independent blocks of the second real ones, [N].
    """
    a = scale_of(real[0], fake[0])
    of_real, _ = error_by_blocks(a * real[1], blocks_N)
    weights_M = jnp.exp(a * (fake[1] - fake[1].max()))
    of_fake = weights_M.std() / weights_M.mean() / np.sqrt(len(fake[1]))
    return _bound(a[None], real[1], fake[1])[0], jnp.sqrt(of_real**2 + of_fake**2)


class Separator(NamedTuple):
    """A discriminator of a policy's samples and all but a fold of the data."""

    definition: Definition
    params: Params
    constants: Params
    left_out: Batch  # of the fold
    samples: Batch  # that it was not trained on

    def __call__(self, batch: Batch) -> jax.Array:
        """Its logits, [N]."""
        return in_blocks(bind(self.definition, self.params, self.constants), batch)


def logit_gap(
    policy: LSTMPolicy,
    parts: Parts,
    key: jax.Array,
    state: TrainState,
    fold: jax.Array,
    steps: tuple[Step, ...] = (),
) -> tuple[jax.Array, ...]:
    """How well a new discriminator separates a policy's samples from data; consumes `key`.

    Returns:
      Its logits of the validation part, [N]; the logit gap to it and to the fold, []; the shift of
      the samples and the share of them outside, []; the bound of `kl_bound` and its error, [].
    """
    separator = separate(policy, parts.train, key, state, fold, steps)
    left_out, test, columns = separator.left_out, separator.samples, policy.columns
    # One pass for all: each shape would be compiled.
    logits = separator(join(join(parts.validation, left_out), test))
    number = len(parts.validation)
    real_N, left_M, fake_M = jnp.split(logits, [number, number + len(left_out)])
    gaps = real_N.mean() - fake_M.mean(), left_M.mean() - fake_M.mean()
    shift = share_shift(test.x, parts.train.x, columns)
    outside = share_outside(_filled(test, columns).x, _filled(parts.train, columns))
    halves = fake_M[::2], fake_M[1::2]
    return real_N, *gaps, shift, outside, *kl_bound((left_M, real_N), halves, parts.blocks)


def separate(
    policy: LSTMPolicy,
    train: Batch,
    key: jax.Array,
    state: TrainState,
    fold: jax.Array,
    steps: tuple[Step, ...] = (),
    drawn: Batch | None = None,
) -> Separator:
    """A discriminator of a policy's samples and the training part but one fold; consumes `key`.

    `drawn` are `samples_needed` sequences that stand for the policy's, of which the same is known
    as of that many of the training part, evenly, and then of as many as are tested.

    Folds are stretches of the order in which the sequences came, so that windows of one series
    share steps with another fold at their ends alone, which are not asked about. Where there are
    enough sequences, the stretches of several folds come in turn (`turns`): of a series whose level
    moves, a quarter that lies apart is told from the rest by that alone, and a discriminator that
    is asked about it seems to know nothing.
    """
    optimiser = adam(RATE)
    size, length = len(train), train.length
    half, tested = fewer(HALF, length), fewer(TESTED, length)
    (number, _), groups = samples_needed(length), turns(size, length)
    width, edge = size // (FOLDS * groups), EDGES[groups > 1]
    learned = size - groups * width

    outside_fold = partial(outside, fold=fold, width=width, groups=groups)
    init_key, fake_key, batch_key = jax.random.split(key, 3)
    # Samples to learn on are known as much of as sequences outside the fold; others, as of all.
    rows = outside_fold(jnp.asarray(np.linspace(0, learned, number, endpoint=False), jnp.int32))
    if drawn is None:
        known = None
        if policy.num_known:
            others = jnp.asarray(np.linspace(0, size, tested, endpoint=False), jnp.int32)
            known = train.known[jnp.concatenate([rows, others])]
        x_NTD = sampling.sample(policy, fake_key, number + tested, length, known_BTW=known)
        drawn = Batch.of(x_NTD, known, policy.end)
        fake, test = drawn.take(slice(number)), drawn.take(slice(number, None))
    else:
        fake = drawn.take((rows.astype(jnp.float32) * (number / size)).astype(jnp.int32))
        test = drawn.take(slice(number, None))
    columns = policy.columns
    filled = _filled(train, columns)
    scale = _increment_scale(filled, state, policy.end is not None)
    numbers = state.discriminator_constants.get("of_data", {})
    of_data = Outer(**numbers, steps=steps) if steps else None
    module = Discriminator(length, KEEP_PROB, scale, columns, policy.num_known, of_data)
    definition, params, constants = discriminator.init(init_key, module)
    is_real_B = jnp.repeat(jnp.array([1.0, 0.0]), half)

    def update(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt = carry
        real_key, fake_key, dropout_key = jax.random.split(key, 3)
        rows_B = jax.random.randint(real_key, (half,), 0, learned)
        real_B = train.take(outside_fold(rows_B))
        fake_B = fake.take(jax.random.randint(fake_key, (half,), 0, number))

        def loss(params: Params) -> jax.Array:
            logits_B = bind(definition, params, constants)(join(real_B, fake_B), dropout_key)
            return discriminator.cross_entropy(logits_B, is_real_B)

        return apply(optimiser, jax.grad(loss)(params), opt, params), None

    carry = (params, optimiser.init(params))
    (params, _), _ = lax.scan(update, carry, jax.random.split(batch_key, STEPS))
    group, share = np.divmod(np.linspace(0, groups, tested, endpoint=False), 1.0)
    inner = (
        group * FOLDS * width + edge * width + share * ((1 - edge) * max(width, 1) - edge * width)
    )
    left_out = train.take(fold * width + jnp.asarray(inner, jnp.int32))
    return Separator(definition, params, constants, left_out, test)


def samples_needed(length: int) -> tuple[int, int]:
    """How many samples a discriminator learns on, and how many it is tested on.

    >>> samples_needed(24), samples_needed(2000)
    ((4800, 2000), (600, 256))
    """
    return STEPS * fewer(HALF, length) // 4, fewer(TESTED, length)


def outside(numbers: jax.Array, fold: jax.Array, width: int, groups: int) -> jax.Array:
    """Rows of the sequences that are not in the fold, by their number from 0.

    >>> outside(jnp.arange(4), jnp.array(1), 1, 1).tolist()  # of 5 rows
    [0, 2, 3, 4]
    """
    group = jnp.minimum(numbers // max(1, (FOLDS - 1) * width), groups - 1)
    within = numbers - group * (FOLDS - 1) * width
    return group * FOLDS * width + within + jnp.where(within < fold * width, 0, width)


def turns(size: int, length: int) -> int:
    """Stretches of each fold: four lengths of a sequence long at least, for windows of one series.

    >>> turns(3_000, 24), turns(300, 24), turns(1_000_000, 24)
    (7, 1, 8)
    """
    return max(1, min(TURNS, size // (FOLDS * 4 * length)))


def _filled(batch: Batch, columns: Columns | None) -> Batch:
    """With the last value that was there in each gap."""
    if columns is None or not columns.layout.gaps:
        return batch
    return replace(batch, x=support.last_there(columns.support, batch.x))


def _increment_scale(train: Batch, state: TrainState, ends: bool) -> jax.Array:
    """Standard deviations of first differences, `[D]`."""
    constants = state.discriminator_constants
    if "increment_scale" in constants:
        return constants["increment_scale"]
    is_there = train.mask[:, 1:] if ends else None
    return jnp.maximum(jnp.diff(train.x, axis=1).std(axis=(0, 1), where=is_there), 1e-6)


def _where(choose: jax.Array, a: Params, b: Params) -> Params:
    return jax.tree.map(lambda x, y: jnp.where(choose, x, y), a, b)


# ------------------------------------------------------------------ the best of several runs


def chosen_run(state: TrainState) -> int:
    """The run whose policy samples: the one that `choose_run` found, else the likeliest."""
    chosen = np.atleast_1d(np.asarray(state.chosen))
    if chosen.any():
        return int(np.argmax(chosen))
    return likeliest(np.atleast_1d(np.asarray(state.best_nll)))


def best_run(state: TrainState) -> TrainState:
    """The state of the run whose policy samples."""
    return run_of(state, chosen_run(state))


def choose_run(
    state: TrainState, parts: Parts, key: jax.Array, nets: Networks, tolerance: float
) -> TrainState:
    """Mark the best of several runs, by the rule above.

    The likeliest to begin with; then each run that kept a round of adversarial training, in order
    of likelihood, against the best so far.
    """
    losses = np.asarray(state.best_nll)
    best = likeliest(losses)
    adversarial = np.flatnonzero(np.isfinite(losses) & (np.asarray(state.kept_round) > 0))
    challengers = [int(i) for i in adversarial[np.argsort(losses[adversarial])] if i != best]
    for i in challengers:
        own = jax.random.fold_in(keys.unit_key(key, keys.SELECTION, jnp.array(0)), i)
        shared = {"nets": nets, "tolerance": tolerance, "looks": len(challengers)}
        if bool(_is_harder_to_tell(run_of(state, best), run_of(state, i), parts, own, **shared)):
            best = i
    return replace(state, chosen=jnp.arange(len(losses)) == best)


@partial(jax.jit, static_argnames=("nets", "tolerance", "looks"))
def _is_harder_to_tell(
    best: TrainState,
    other: TrainState,
    parts: Parts,
    key: jax.Array,
    *,
    nets: Networks,
    tolerance: float,
    looks: int,
) -> jax.Array:
    repeats = jnp.array(REPEATS)
    nll = other.best_nll
    return compare(best, other.best, nll, parts, key, repeats, nets, tolerance, looks).keep
