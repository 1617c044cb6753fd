"""Choosing values step by step: against tilted laws in closed form, and a step with two modes."""

from functools import partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.core import selection, stepwise
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.stepwise import Chooser, Seen
from seqgan_jax.run import refined

FEW = {"hidden_dim": 4, "pre_epoch_num": 5, "skip_dis_pretrain": True, "skip_adversarial": True}
NUMBER = 4000


@pytest.fixture(scope="module")
def walk():
    return SeqGAN(policy="gaussian", **FEW).fit(helpers.steps_of_one(800, 0))


@pytest.fixture(scope="module")
def noise():
    x = np.random.default_rng(0).normal(size=(800, 4))
    return SeqGAN(policy="gaussian", **FEW).fit(x)


def chosen(model: SeqGAN, chooser: Chooser, chooses: tuple[bool, bool], candidates: int):
    """Samples [N, T] in scaled units."""
    trained = model._trained(None)
    x_NTD = stepwise.draw(
        trained.state.best,
        trained.state.policy_constants,
        chooser,
        jax.random.key(1),
        None,
        None,
        nets=trained.nets,
        number=NUMBER,
        length=model.description.length,
        chooses=chooses,
        candidates=candidates,
    )
    return np.asarray(x_NTD[..., 0])


def tilting(tilt: float) -> Chooser:
    """l = tilt e of the innovation e, by units that make the identity of leaky ones."""
    f = np.float32
    pair = np.zeros((1, 2, stepwise.HIDDEN), f)
    pair[0, 0, :2] = 1, -1  # f(z) - f(-z) = 1.1 z of a unit f that leaks a tenth
    second = np.zeros((1, stepwise.HIDDEN, stepwise.HIDDEN), f)
    second[0, :2, :2] = np.array([[1, -1], [-1, 1]]) / 1.1
    out = np.zeros((1, stepwise.HIDDEN), f)
    out[0, :2] = np.array([1, -1]) / 1.1

    def of(before: int) -> dict[str, jax.Array]:
        nothing = np.zeros((1, stepwise.HIDDEN), f)
        arrays = {"value": pair, "second": second, "out": out, "bias": nothing}
        arrays |= {"second_bias": nothing, "before": np.zeros((1, before, stepwise.HIDDEN), f)}
        arrays |= {"middle": np.zeros((1, 2), f), "unit": np.ones((1, 2), f)}
        return jax.tree.map(jnp.asarray, arrays)

    scale = {name: jnp.array(tilt) for name in ("first", "later")}
    params = {"first": of(0), "later": of(FEW["hidden_dim"] + 1)}
    return Chooser(params, scale, jnp.array(0.0), jnp.array(0.0))


def mean_of_one_of(candidates: int, tilt: float) -> float:
    """The mean of one of so many N(0, 1) numbers in the share of exp(tilt x), by many draws."""
    x = np.random.default_rng(3).normal(size=(50_000, candidates))
    w = np.exp(tilt * x)
    return float(((w * x).sum(axis=1) / w.sum(axis=1)).mean())


@pytest.mark.parametrize("candidates", [2, 32])
def test_a_tilted_step_has_the_mean_that_choosing_gives(noise, candidates):
    tilt = 0.5
    plain = chosen(noise, tilting(tilt), (False, False), candidates)
    tilted = chosen(noise, tilting(tilt), (True, True), candidates)
    numbers = [stepwise.FIRST * candidates, *[candidates] * 3]
    expected = [mean_of_one_of(number, tilt) for number in numbers]
    assert abs(mean_of_one_of(32, tilt) - tilt) < 0.03  # N(0, 1) exp(a x) is N(a, 1)
    moved = (tilted - plain).mean(axis=0) / plain.std(axis=0)
    # Deviations of the policy are within some hundredths of 1, and 5 errors of a difference.
    assert np.abs(moved - expected).max() < 0.03 + 5 * np.sqrt(2 / NUMBER)


def test_first_and_later_steps_are_chosen_apart(noise):
    plain = chosen(noise, tilting(1.0), (False, False), 8)
    first = chosen(noise, tilting(1.0), (True, False), 8)
    moved = (first - plain).mean(axis=0)
    assert moved[0] > 0.6
    assert np.abs(moved[1:]).max() < 0.15


def gaussians(delta: float, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """N(delta, 1) numbers of data [F, N, 1] and N(0, 1) candidates [K, F, N, 1]."""
    rng = np.random.default_rng(seed)
    shape = selection.FOLDS, number, 1
    return delta + rng.normal(size=shape), rng.normal(size=(stepwise.CANDIDATES, *shape))


def gains(l_real, l_drawn) -> jax.Array:
    """As `_gains`, of logits that are given."""
    there = jnp.ones(l_real.shape[1:], bool)
    found = []
    for real, drawn in zip(l_real, np.moveaxis(l_drawn, 1, 0), strict=True):
        some = Seen(jnp.zeros((*real.shape, 0)), jnp.asarray(real[..., None], jnp.float32),
                    jnp.asarray(drawn[..., None], jnp.float32), there)  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stepwise, "logit", lambda _params, _before, value: value[..., 0])
            found.append(stepwise._gains({}, some))
    return jnp.stack(found)


def stretches(number: int) -> np.ndarray:
    return np.repeat(np.arange(selection.FOLDS * 10), number // 10)


@pytest.mark.parametrize("too_sure", [1.0, 2.0])
def test_the_gain_is_the_divergence_and_the_scale_takes_back_what_is_too_much(too_sure):
    delta, number = 0.6, 2000
    real, drawn = gaussians(delta, number, 0)
    found = gains(too_sure * delta * real, too_sure * delta * drawn)
    scales, gain, error = stepwise.worth({"one": found}, stretches(number))
    assert float(scales["one"]) == pytest.approx(1 / too_sure, rel=0.2)
    # The same by 20 times as many numbers, one after the other, by the true log ratio.
    real, drawn = gaussians(delta, 20 * number, 1)
    expected = 0.0
    for x_0, x_K in zip(real[0], drawn[:, 0].transpose(1, 0, 2), strict=True):
        ratios = np.exp(delta * np.append(x_K, x_0) - delta**2 / 2)
        expected += (delta * x_0[0] - delta**2 / 2 - np.log(ratios.mean())) / len(real[0])
    assert expected < delta**2 / 2  # KL(p || p_0)
    assert abs(float(gain) - expected) < 4 * float(error)
    assert 0 < float(error) < 0.02


def test_what_knows_nothing_chooses_nothing():
    kept = 0
    for seed in range(20):
        real, drawn = gaussians(0.0, 200, seed)
        scales, _, _ = stepwise.worth({"one": gains(real, drawn)}, stretches(200))
        kept += float(scales["one"]) > 0
    assert kept <= 1


@pytest.mark.parametrize(("size", "length"), [(3000, 24), (300, 24), (40, 4)])
def test_no_step_of_what_is_asked_about_was_learned(size, length):
    number = min(size, 1000)
    found = stepwise.folds(size, length, number)
    rows = np.linspace(0, size, number, endpoint=False).astype(int)
    assert found.tested.size == len(found.stretches)
    for learned, tested in zip(rows[found.learned], rows[found.tested], strict=True):
        apart = np.abs(learned[:, None] - tested[None]).min()
        assert apart > (length if selection.turns(size, length) > 1 else 0)


def test_what_is_seen_of_a_value_ends_with_its_log_probability(walk):
    trained = walk._trained(None)
    train = refined.learned(walk.description, walk._parts, None).take(slice(5))

    @jax.jit
    def both(state, batch: Batch):
        policy = trained.nets.bind_policy(state.best, state)
        first, later = stepwise.seen(policy, batch, jax.random.key(0))
        seen = jnp.concatenate([first.real[:, None, -1:], later.real[..., -1:]], axis=1)
        return seen, policy.log_prob(batch), later.drawn

    seen, log_p, drawn = both(trained.state, train)
    assert np.allclose(seen, np.clip(log_p, stepwise.RARE, -stepwise.RARE), atol=1e-4)
    assert drawn.shape[:3] == (stepwise.CANDIDATES, 5, 7)


def test_a_step_with_two_modes_is_learned_and_chosen(walk):
    """Between the modes lie .38 of a Gaussian's values, and none of the data's."""

    def between(x: np.ndarray) -> float:
        return float(np.mean(np.abs(np.diff(x[..., 0], axis=1)) < 0.5))

    said: list[str] = []
    plain, found = walk.sample(1000), walk.sample_array(1000, refine=8, tell=said.append)
    assert said[0].startswith("refine: one of 64 first steps and of 8 at each step (unseen")
    assert walk._refiners[None].chooses == (True, True)
    assert between(plain) > 0.3
    assert between(found) < 0.25 * between(plain)
    assert np.diff(found[..., 0], axis=1).std() == pytest.approx(1.0, abs=0.1)


def test_a_policy_that_is_right_is_left_alone(noise):
    noise.sample(2, refine=4)
    assert noise._refiners[None].chooses == (False, False)


def test_the_first_of_many_are_those_of_few(walk):
    draw = partial(walk.sample, refine=4, seed=5)
    assert np.array_equal(draw(3), draw(5)[:3])
