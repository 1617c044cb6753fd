"""Which policy is kept, on policies whose order is known; errors by blocks against simulation.

Discriminators are trained for fewer steps than in a run, on fewer samples.
"""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqgan_jax.core import likelihood, selection
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import support
from seqgan_jax.core.policy import validation_nll
from seqgan_jax.core.selection import REPEATS
from seqgan_jax.data.kind import Kind

TOLERANCE = 0.05


@pytest.fixture(autouse=True, scope="module")
def small():
    """Programs are compiled with these numbers; those of other files go with their file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "STEPS", 100)
        patch.setattr(selection, "TESTED", 400)
        jax.clear_caches()
        yield


@pytest.fixture(scope="module")
def trained(small):  # noqa: ARG001
    """Networks, a state whose policy fits the data, data and a key; on the host."""
    nets, state, parts, key = helpers.training(features=1)
    shared = {"nets": nets, "config": helpers.GEN, "batch_size": 16}
    state, _ = likelihood.epochs(state, parts, key, jnp.array(20), **shared)
    return nets, helpers.on_host(state), parts, key


def moved(params, mean=0.0, log_variance=0.0):
    """The policy with other innovations: e + mean, or e exp(log_variance / 2)."""
    return params | {"head_bias": params["head_bias"] + np.array([mean, log_variance], np.float32)}


def asked(trained, best, candidate, pretrained_nll=np.inf, looks=1, **changes):
    """The state after `candidate` was compared with `best`, and the comparison."""
    nets, state, parts, key = trained
    parts = dataclasses.replace(parts, **changes)
    state = dataclasses.replace(
        state,
        best=best,
        ema=candidate,
        best_nll=np.float32(9.0),
        pretrained_nll=np.float32(pretrained_nll),
        round=np.int32(7),
    )
    state = jax.tree.map(jnp.array, state)  # donated
    loss = jnp.array(nll(trained, candidate))
    return selection.keep_harder_to_tell(
        state, parts, key, loss, jnp.array(REPEATS), nets=nets, tolerance=TOLERANCE, looks=looks
    )


def nll(trained, params):
    nets, state, parts, _ = trained
    return float(validation_nll(nets.bind_policy(params, state), parts.validation))


# ------------------------------------------------------------------ in adversarial training


def test_a_policy_that_is_much_harder_to_tell_is_kept(trained):
    good = trained[1].best
    wide = moved(good, log_variance=2.5)
    state, found = asked(trained, wide, good, nll(trained, good))
    assert bool(found.keep)
    assert int(state.kept_round) == 7
    assert helpers.same(state.best, good)
    assert float(state.best_nll) == np.float32(nll(trained, good))
    assert float(found.best_gap) > float(found.gap) + 2.0
    assert abs(float(found.gap)) < 1.0
    assert 0 < 5 * float(found.error) < float(found.best_gap - found.gap)
    assert float(found.needed) == pytest.approx(scipy.stats.t.ppf(0.95, REPEATS - 1), rel=1e-5)


@pytest.mark.parametrize("case", ["equal", "worse"])
def test_a_policy_that_is_no_harder_to_tell_is_not_kept(trained, case):
    good = trained[1].best
    candidate = good if case == "equal" else moved(good, mean=2.0)
    state, found = asked(trained, good, candidate)
    assert not bool(found.keep)
    assert int(state.kept_round) == 0
    assert float(state.best_nll) == 9.0
    assert helpers.same(state.best, good)
    assert int(found.pairs) == 1  # no better on average: no more are trained
    if case == "equal":
        assert float(found.gap) == float(found.best_gap)  # from the same random numbers


def test_a_policy_under_which_the_data_are_too_unlikely_is_not_kept(trained):
    """Whatever discriminators say: the limit is the loss before, and the tolerance."""
    good = trained[1].best
    wide, limit = moved(good, log_variance=2.5), nll(trained, good) - TOLERANCE
    assert bool(asked(trained, wide, good, limit + 1e-3)[1].keep)
    state, found = asked(trained, wide, good, limit - 1e-3)
    assert not bool(found.keep)
    assert helpers.same(state.best, wide)


def test_a_policy_whose_samples_leave_the_data_is_never_kept(trained, monkeypatch):
    good = trained[1].best
    worst, bad = moved(good, log_variance=8.0), moved(good, log_variance=3.0)
    _, found = asked(trained, worst, bad)
    assert float(found.outside) > selection.OUTSIDE
    assert float(found.gap) < float(found.best_gap)
    assert not bool(found.keep)
    # The control: it is this rule alone. A new number of looks compiles the program anew.
    monkeypatch.setattr(selection, "ALLOWED", 1e6)
    _, found = asked(trained, worst, bad, looks=2)
    assert float(found.outside) == 0
    assert bool(found.keep)


@pytest.mark.parametrize("toward", [1.0, -1.0])
def test_a_policy_that_only_follows_a_validation_part_apart_is_not_kept(trained, toward):
    """The validation part lies higher than the training part, and so do the samples."""
    good, parts = trained[1].best, trained[2]
    apart = dataclasses.replace(parts.validation, x=parts.validation.x + toward)
    _, found = asked(trained, good, moved(good, mean=0.4 * toward), validation=apart)
    assert float(found.gap) < float(found.best_gap)
    assert float(found.train_gap) > float(found.best_train_gap)
    assert not bool(found.keep)


def test_how_far_shares_have_moved_is_in_standard_deviations():
    kind = Kind("categorical", levels=(0.0, 1.0), words=True)
    columns = support.of((kind,), lambda d, x: x, lambda d, x: x)  # noqa: ARG005
    rng = np.random.default_rng(0)
    often = rng.uniform(0.3, 0.7, (4000, 1))
    b = (rng.random((4000, 10)) < often)[..., None].astype(np.float32)
    a = (rng.random((4000, 10)) < often + 0.1)[..., None].astype(np.float32)
    expected = abs(a.mean() - b.mean()) / (b.mean(axis=1).std() + 0.01)
    assert float(selection.share_shift(a, b, columns)) == pytest.approx(expected, rel=1e-4)
    assert 0.4 < expected < 0.6
    assert float(selection.share_shift(b[:2000], b, columns)) < 0.08
    assert float(selection.share_shift(a, b, None)) == 0


@pytest.mark.parametrize("shift", [1.0, 0.05])
def test_a_policy_whose_shares_moved_away_is_not_kept(trained, monkeypatch, shift):
    """Though its samples are much harder to tell; a small shift is chance."""
    good, wide = trained[1].best, moved(trained[1].best, log_variance=2.5)

    def of_the_narrow(samples, *_):
        return jnp.where(samples.std() < 1.5, shift, 0.0)

    monkeypatch.setattr(selection, "share_shift", of_the_narrow)
    _, found = asked(trained, wide, good, looks=5 + int(shift))  # compiled anew
    assert float(found.shift) == pytest.approx(shift)
    assert bool(found.keep) == (shift < selection.SHIFT)


def test_a_validation_part_of_one_block_keeps_nothing(trained):
    good, wide = trained[1].best, moved(trained[1].best, log_variance=2.5)
    blocks = trained[2].blocks
    state, found = asked(trained, wide, good, blocks=jnp.zeros_like(blocks))
    assert float(found.best_gap) > float(found.gap) + 2.0
    assert not bool(found.keep)
    assert int(state.kept_round) == 0


def test_fewer_blocks_and_more_looks_ask_for_more(trained):
    """One-sided t quantiles of the fewer degrees of freedom, at 5% over all looks."""
    good, wide = trained[1].best, moved(trained[1].best, log_variance=2.5)
    three = jnp.asarray(np.arange(len(trained[2].blocks)) % 3, jnp.int32)
    assert float(asked(trained, wide, good, blocks=three)[1].needed) == pytest.approx(
        scipy.stats.t.ppf(0.95, 2), rel=1e-5
    )
    assert float(asked(trained, wide, good, looks=10)[1].needed) == pytest.approx(
        scipy.stats.t.ppf(1 - 0.05 / 10, REPEATS - 1), rel=1e-5
    )


def test_compiling_without_a_comparison_keeps_nothing(trained):
    nets, state, parts, key = trained
    wide = moved(state.best, log_variance=2.5)
    state = jax.tree.map(jnp.array, dataclasses.replace(state, ema=state.best, best=wide))
    before = helpers.on_host(state)
    after, found = selection.keep_harder_to_tell(
        state, parts, key, jnp.array(1.0), jnp.array(0), nets=nets, tolerance=TOLERANCE, looks=1
    )
    assert not bool(found.keep)
    assert helpers.same(before, after)


@pytest.mark.slow
def test_runs_without_a_gain_keep_nothing(trained):
    """Under the null hypothesis, candidates that are the best policy and a trifle: 20 runs of 5
    looks each. At a level of 5% for a whole run about one of them keeps something."""
    nets, state, parts, key = trained
    kept = 0
    for run in range(20):
        found = []
        for look in range(5):
            candidate = helpers.random_params(state.best, 100 * run + look, 1e-3)
            one = dataclasses.replace(
                state,
                ema=candidate,
                pretrained_nll=np.float32(np.inf),
                round=np.int32(20 * look + 20),
            )
            _, comparison = selection.keep_harder_to_tell(
                jax.tree.map(jnp.array, one),
                parts,
                jax.random.fold_in(key, run),
                jnp.array(1.0),
                jnp.array(REPEATS),
                nets=nets,
                tolerance=TOLERANCE,
                looks=5,
            )
            found.append(bool(comparison.keep))
        kept += any(found)
    assert kept <= 1


# ------------------------------------------------------------------ its parts


def by_loops(values, blocks):
    """Standard error by blocks, one at a time."""
    names = sorted(set(blocks.tolist()))
    total = 0.0
    for name in names:
        total += sum(v - values.mean() for v in values[blocks == name]) ** 2
    return np.sqrt(total * len(names) / (len(names) - 1)) / len(values)


@pytest.mark.parametrize("number", [2, 7, 40])
def test_the_error_by_blocks_is_a_plain_loop(number):
    rng = np.random.default_rng(number)
    blocks = rng.permutation(np.arange(60) % number).astype(np.int32)
    values = rng.normal(size=60) + blocks
    error, found = selection.error_by_blocks(jnp.asarray(values, jnp.float32), jnp.asarray(blocks))
    assert int(found) == number
    assert float(error) == pytest.approx(by_loops(values, blocks), rel=1e-4)


def test_of_independent_values_it_is_the_usual_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    error, found = selection.error_by_blocks(jnp.asarray(values, jnp.float32), jnp.arange(50))
    assert int(found) == 50
    assert float(error) == pytest.approx(values.std(ddof=1) / np.sqrt(50), rel=1e-5)


def test_its_intervals_cover_means_of_values_that_depend_within_blocks():
    """Blocks of 20 overlapping windows: an AR(1) of 0.9 in each. 95% intervals cover 95%."""
    rng = np.random.default_rng(0)
    runs, groups, size = 4000, 30, 20
    e = rng.normal(size=(runs, groups, size))
    x = np.zeros_like(e)
    x[..., 0] = e[..., 0] / np.sqrt(1 - 0.9**2)
    for t in range(1, size):
        x[..., t] = 0.9 * x[..., t - 1] + e[..., t]
    values, blocks = x.reshape(runs, -1), np.repeat(np.arange(groups), size)
    by_block = jax.vmap(lambda v: selection.error_by_blocks(v, jnp.asarray(blocks))[0])
    errors = np.asarray(by_block(jnp.asarray(values, jnp.float32)))
    half = scipy.stats.t.ppf(0.975, groups - 1)
    covered = np.abs(values.mean(axis=1)) < half * errors
    assert abs(covered.mean() - 0.95) < 4 * np.sqrt(0.95 * 0.05 / runs)
    alone = np.abs(values.mean(axis=1)) < half * values.std(axis=1) / np.sqrt(groups * size)
    assert alone.mean() < 0.6  # the control: as if all values were independent


def test_the_share_outside_counts_sequences():
    """The range is 0 to 4 and -1 to 1; half of it may be left at either end."""
    train = helpers.batch([[[0.0, -1.0], [4.0, 0.0]], [[1.0, 1.0], [2.0, 0.0]]])
    inside = [[[-2.0, 2.0], [6.0, -2.0]], [[1.0, 0.0], [1.0, 0.0]]]
    outside = [[[-2.1, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 2.1]], [[9.0, 9.0], [9.0, 9.0]]]
    samples = jnp.asarray(inside + outside, jnp.float32)
    assert float(selection.share_outside(samples, train)) == pytest.approx(3 / 5)
    # A value that is masked says nothing about the range.
    mask = jnp.ones((2, 2, 2), bool).at[0, 1, 0].set(False)
    some = Batch(train.x, mask, train.static, train.known)
    assert float(selection.share_outside(samples, some)) == pytest.approx(4 / 5)


# ------------------------------------------------------------------ the other rules


def test_the_likelier_policy_is_kept_and_stale_epochs_are_counted(trained):
    state = jax.tree.map(jnp.array, trained[1])
    ema = jax.tree.map(lambda leaf: leaf + 1, state.best)
    state = dataclasses.replace(state, ema=ema, best_nll=jnp.array(1.0), stale_epochs=jnp.array(2))
    better = selection.keep_likelier(state, jnp.array(0.9))
    assert helpers.same(better.best, ema)
    assert (float(better.best_nll), int(better.stale_epochs)) == (np.float32(0.9), 0)
    for loss in (1.0, 1.1, np.nan):
        worse = selection.keep_likelier(state, jnp.array(loss))
        assert helpers.same(worse.best, state.best)
        assert (float(worse.best_nll), int(worse.stale_epochs)) == (1.0, 3)


def test_the_likeliest_is_never_one_without_a_loss():
    assert selection.likeliest(np.array([np.nan, 2.0, 1.0, np.inf])) == 2
    assert selection.likeliest(np.array([np.nan, np.inf, 3.0])) == 2


def three_runs(trained, policies, losses, kept_rounds):
    """The state of three runs that differ in what they kept."""
    state = jax.tree.map(lambda leaf: jnp.stack([jnp.array(leaf)] * 3), trained[1])
    return dataclasses.replace(
        state,
        best=jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies),
        best_nll=jnp.asarray(losses, jnp.float32),
        pretrained_nll=jnp.full(3, 1.1),
        kept_round=jnp.asarray(kept_rounds, jnp.int32),
    )


def chosen(trained, policies, losses, kept_rounds):
    nets, _, parts, key = trained
    state = three_runs(trained, policies, losses, kept_rounds)
    state = selection.choose_run(state, parts, key, nets, TOLERANCE)
    assert int(state.chosen.sum()) == 1
    run = selection.chosen_run(state)
    assert run == int(np.argmax(state.chosen))
    assert helpers.same(selection.best_run(state).best, policies[run])
    return run


def test_of_several_runs_the_likeliest_samples(trained):
    """And without a comparison too: a run without a loss is never the one."""
    good = trained[1].best
    assert chosen(trained, [good] * 3, [1.2, 1.0, 1.1], [0, 0, 0]) == 1
    assert chosen(trained, [good] * 3, [1.2, np.inf, 1.1], [0, 5, 0]) == 2
    state = three_runs(trained, [good] * 3, [1.2, np.nan, 1.1], [0, 0, 0])
    assert selection.chosen_run(state) == 2
    assert selection.chosen_run(trained[1]) == 0


def test_a_run_that_kept_a_round_and_is_harder_to_tell_samples_instead(trained):
    good = trained[1].best
    wide = moved(good, log_variance=2.5)
    losses = [1.0, 1.1, 1.2]
    assert chosen(trained, [wide, good, wide], losses, [0, 40, 0]) == 1
    # Likely enough within the tolerance: 1.1 was the loss before adversarial training.
    assert chosen(trained, [wide, good, wide], [1.0, 1.14, 1.2], [0, 40, 0]) == 1
    assert chosen(trained, [wide, good, wide], [1.0, 1.16, 1.2], [0, 40, 0]) == 0
    # As good a policy, but of likelihood alone: it is compared by its likelihood.
    assert chosen(trained, [wide, good, wide], losses, [0, 0, 0]) == 0
    # Of adversarial training, but no harder to tell.
    assert chosen(trained, [good, wide, wide], losses, [0, 40, 20]) == 0


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_bound_on_the_divergence_of_two_normal_laws(shift):
    """l = log p - log q of N(s, 1) and N(0, 1) is s x - s^2 / 2: KL(p || q) = s^2 / 2."""
    rng = np.random.default_rng(0)
    number, fakes = 400, 4000

    def logits(mean, count):
        return jnp.asarray(3.0 * (shift * rng.normal(mean, 1, count) - shift**2 / 2), jnp.float32)

    real = logits(shift, number), logits(shift, number)
    fake = logits(0.0, fakes), logits(0.0, fakes)
    found, error = (float(x) for x in selection.kl_bound(real, fake, jnp.arange(number)))
    # Three times too sure: the scale finds the way back.
    assert abs(found - shift**2 / 2) < 4 * error + 1e-6
    assert error < 0.1
    # All of one block: the error says that it is not known.
    _, of_few = selection.kl_bound(real, fake, jnp.arange(number) // (number // 3))
    assert shift == 0 or float(of_few) > 0
    shuffled = fake[0][:number], fake[1][:number]
    nothing, noise = (float(x) for x in selection.kl_bound(shuffled, fake, jnp.arange(number)))
    assert nothing < 4 * noise + 1e-3
