"""Choosing among candidates: against the softmax, and where a policy cannot hold the data's law."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.core import refining, sampling, selection
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.refining import Refiner
from seqgan_jax.data import layout
from seqgan_jax.errors import UsageError
from seqgan_jax.run import cli, loop, refined

FEW = {"hidden_dim": 4, "pre_epoch_num": 20, "skip_dis_pretrain": True, "skip_adversarial": True}


class Known(Refiner):
    """Log ratios that are the first values themselves."""

    def __init__(self):
        pass

    def log_ratio(self, batch):
        return np.asarray(batch.x[:, 0, 0], np.float64)


def test_a_candidate_is_taken_with_its_share_of_the_weights():
    log_weights = np.log([1.0, 3.0, 4.0])
    x_NTD = np.tile(log_weights, 4000).reshape(-1, 1, 1)
    rows = Known().choose(Batch.complete(jnp.asarray(x_NTD)), 3, np.random.default_rng(0))
    assert np.array_equal(rows // 3, np.arange(4000))  # one of each three
    shares = np.bincount(rows % 3) / 4000
    assert np.abs(shares - [1 / 8, 3 / 8, 4 / 8]).max() < 4 * np.sqrt(0.25 / 4000)


@pytest.mark.parametrize(("size", "groups"), [(32, 2), (35, 2), (4, 1), (7, 1)])
@pytest.mark.parametrize("fold", range(selection.FOLDS))
def test_what_is_learned_is_all_but_the_fold(size, groups, fold):
    width = size // (selection.FOLDS * groups)
    left_out = {
        (group * selection.FOLDS + fold) * width + i
        for group in range(groups)
        for i in range(width)
    }
    numbers = jnp.arange(size - groups * width)
    rows = np.asarray(selection.outside(numbers, jnp.array(fold), width, groups))
    assert sorted(rows) == sorted(set(range(size)) - left_out)


@pytest.fixture(scope="module")
def walk():
    return SeqGAN(policy="gaussian", **FEW).fit(helpers.steps_of_one(2000, 0))


def small_increments(x_NTD: np.ndarray) -> float:
    return float(np.mean(np.abs(np.diff(x_NTD[..., 0], axis=1)) < 0.5))


def test_refined_samples_are_nearer_to_what_a_policy_cannot_hold(walk):
    plain, refined = walk.sample(500), walk.sample(500, refine=16)
    assert small_increments(helpers.steps_of_one(500, 1)[..., None]) == 0
    assert small_increments(plain) > 0.3  # .38 of a standard normal number are
    assert small_increments(refined) < 0.8 * small_increments(plain)


def test_the_first_of_many_are_those_of_few(walk):
    few, many = walk.sample(3, seed=5, refine=4), walk.sample(5, seed=5, refine=4)
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, walk.sample(3, seed=6, refine=4))


def test_nothing_is_chosen_where_discriminators_know_nothing():
    x = np.random.default_rng(0).normal(size=(600, 8))
    model = SeqGAN(policy="gaussian", **FEW).fit(x)
    plain, refined = model.sample(500), model.sample(500, refine=8)
    assert abs(refined.mean() - plain.mean()) < 0.1
    assert abs(refined.std() - plain.std()) < 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"refine": 1}, "one of so many candidates"),
        ({"refine": 2.5}, "no number of candidates"),
        ({"refine": 4, "temperature": 0.5}, "not together with temperature"),
        ({"refine": 4, "length": 4}, "not together with length"),
        ({"refine": 4, "after": np.zeros((1, 3))}, "not together with after"),
        ({"refine": 10_000, "n": 1_000_000}, "memory is for"),
    ],
)
def test_what_has_no_meaning_is_refused(walk, arguments, words):
    with pytest.raises(UsageError, match=words):
        walk.sample(**{"n": 2} | arguments)


def test_a_folder_without_its_data_says_so(walk, tmp_path):
    walk.save(tmp_path / "model")
    with pytest.raises(UsageError, match="keeps no data"):
        SeqGAN.load(tmp_path / "model").sample(2, refine=4)


def hourly(folder):
    """A rhythm of days, in windows of a series with dates; what the flags are."""
    rng = np.random.default_rng(0)
    hours = np.arange(1200)
    x = 3 * np.sin(2 * np.pi * hours / 24) + rng.normal(size=1200)
    at = pd.date_range("2024-01-01", periods=1200, freq="h")
    pd.DataFrame({"at": at, "x": x.round(3)}).to_csv(folder / "x.csv", index=False)
    return "--time at --window 8"


def promoted(folder):
    """A value that follows a column which is known."""
    rng = np.random.default_rng(0)
    known = rng.normal(size=900).round(2)
    x = (known + 0.3 * rng.normal(size=900)).round(3)
    pd.DataFrame({"x": x, "price": known}).to_csv(folder / "x.csv", index=False)
    return "--window 8 --known price"


def lives(folder):
    """Sequences of unequal length."""
    rng = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"unit": n, "x": rng.normal(size=rng.integers(4, 9)).round(3)})
        for n in range(150)
    ]
    pd.concat(parts).to_csv(folder / "x.csv", index=False)
    return "--id unit"


@pytest.mark.parametrize("case", [hourly, promoted, lives])
def test_a_folder_reads_again_what_is_known_of_its_training_part(case, tmp_path):
    flags = f"--data {tmp_path / 'x.csv'} {case(tmp_path)}"
    run, out = tmp_path / "run", tmp_path / "out.csv"
    few = "--hidden-dim 4 --policy gaussian --pre-epoch-num 1 --generated-num 20"
    skipped = "--skip-dis-pretrain --skip-adversarial"
    assert cli.main(f"train {flags} {few} {skipped} --run-dir {run}".split()) == 0
    model = SeqGAN.load(run)
    found = refined.learned(model.description, None, run)
    assert found.known_if_any is not None
    # Against the training part of a run on the same data, which was not read from its folder.
    again = SeqGAN(model.config)
    given = refined.learned(
        model.description, again.prepare(layout.of_settings(again.config.data, 88)), None
    )
    assert helpers.same(found, given)
    assert cli.main(f"sample {run} --refine 2 -n 5 -o {out}".split()) == 0
    assert len(pd.read_csv(out)) >= 5


def test_where_values_are_missing_samples_with_gaps_are_chosen():
    x = helpers.steps_of_one(600, 0)
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    model = SeqGAN(policy="gaussian", **FEW | {"pre_epoch_num": 3}).fit(x)
    with pytest.raises(UsageError, match="Add --with-gaps"):
        model.sample(2, refine=4)
    refined_NTD = model.sample(300, refine=4, with_gaps=True)
    # A tenth is missing in the data. Of a policy of three epochs what is missing looks best.
    assert 0.05 < np.isnan(refined_NTD).mean() < 0.2


def test_weights_have_mean_one_and_no_sequence_more_than_clip():
    l_N = np.random.default_rng(0).normal(size=1000) * 4
    for s in (0.25, 1.0):
        weights_N = np.asarray(refining._weights(jnp.asarray(l_N, jnp.float32), jnp.array(s)))
        plain_N = np.exp(s * l_N) / np.exp(s * l_N).mean()
        assert np.allclose(weights_N, np.minimum(plain_N, refining.CLIP), rtol=1e-4)
    assert plain_N.max() > refining.CLIP


def test_a_policy_comes_to_the_tilted_law_and_data_half_each():
    """Weights exp(a sum x) of N(0, 1) are N(a, 1); the best Gaussian for both has mean a / 2."""
    tilt, x = 0.3, np.random.default_rng(0).normal(size=(1000, 2))
    model = SeqGAN(policy="gaussian", **FEW | {"pre_epoch_num": 2}).fit(x)
    train = refined.learned(model.description, model._parts, None)

    @jax.jit
    def moved(state, key):
        pool_key, train_key, *keys_2 = jax.random.split(key, 4)
        pool = refining._pool(state, train, pool_key, model.nets)
        log_w_N = tilt * pool.x.sum(axis=(1, 2))
        after = refining._trained(state, train, pool, log_w_N, train_key, model.nets, 128)
        means = []
        for params, own in ((state.best, keys_2[0]), (after, keys_2[1])):
            policy = model.nets.bind_policy(params, state)
            means.append(sampling.sample(policy, own, 20_000, 2).mean())
        return means

    before, after = moved(model.state, jax.random.key(1))
    assert after - before == pytest.approx(tilt / 2, abs=0.05)


@pytest.mark.slow
def test_refined_targets_are_kept_or_not_before_the_first_round(capsys):
    few = {"skip_dis_pretrain": False, "skip_adversarial": False, "look_first": True}
    few |= {"total_batch": 1, "dis_pre_refreshes": 1, "num_negatives": 64, "rollout_num": 1}
    model = SeqGAN(policy="gaussian", refine_first=True, **FEW | few | {"pre_epoch_num": 3})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "LITTLE", -np.inf)  # whatever there is to win
        model.fit(helpers.steps_of_one(400, 0), verbose=True)
    found = next(row for row in model.rows if "effective" in row)
    assert (found["phase"], found["step"]) == ("refine_first", 0)
    steps = [(row["phase"], row["step"]) for row in model.rows]
    assert len(set(steps)) == len(steps)
    assert ("adversarial", 0) in steps
    assert 0 < found["effective"] <= 1
    assert "refined targets" in capsys.readouterr().out
    cost = float(model.state.best_nll - model.state.pretrained_nll)
    assert cost <= model.config.adversarial.tolerance


def test_gaps_that_there_are_not_are_refused(walk):
    with pytest.raises(UsageError, match="no value was missing"):
        walk.sample(2, refine=4, with_gaps=True)


def test_discriminators_of_several_folds_are_told_apart(walk):
    walk.sample(1, refine=2)
    params_E = jax.tree.leaves(walk._refiners[None].params_E)
    assert all(leaf.shape[0] == 2 * selection.FOLDS for leaf in params_E)
    assert not np.array_equal(params_E[0][0], params_E[0][1])
