"""Columns that change only when a clock lets them: nothing else has a probability."""

import itertools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import baseline, policy, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import regressions, support
from seqgan_jax.data.kind import Kind
from seqgan_jax.data.rules import Clock

READING = Kind("grid", levels=(0.0, 1.0, 2.0), weights=(1.0, 1.0, 1.0), held=True)
SENSOR = Kind("grid", (0.0, 1.0, 2.0, 3.0), (1.0,) * 4, coarse=(0.0, 2.0), held=True)
CODE = Kind("categorical", levels=(0.0, 1.0), weights=(1.0, 1.0), held=True)
DENSITY = Kind("continuous", held=True)
UNTRAINED = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
OTHER = Kind("categorical", levels=(0.0, 1.0), weights=(1.0, 1.0))


def clock_of(steps):
    levels = tuple(np.arange(1.0, steps + 1))
    return Kind("categorical", levels=levels, weights=(1.0,) * steps, words=True)


def policy_of(kinds, clocks, length, seed=0):
    """A bound policy with perturbed weights."""
    columns = support.of(kinds, lambda d, x: kinds[d].position(x), lambda _, y: y, clocks=clocks)
    x = helpers.series(200, length, len(kinds), seed)
    linear = baseline.fit_rest((x, np.ones(x.shape, bool)), (x, np.ones(x.shape, bool)))
    config = GeneratorConfig(hidden_dim=4, components=2)
    definition, params, constants = policy.init(jax.random.key(seed), config, linear, columns)
    return policy.bind(definition, helpers.random_params(params, seed, 0.5), constants), columns


def may_be(x_TD, clock):
    """Whether a clock counts down and its columns change only as they may, by a plain loop."""
    r = x_TD[:, clock.column]
    for t in range(1, len(x_TD)):
        if r[t] != (r[t - 1] - 1 or clock.steps):
            return False
        for d in (*clock.straight, *clock.repeated):
            free = r[t - 1] == 1 or (d in clock.straight and t == 1)
            if x_TD[t, d] != x_TD[t - 1, d] and not free:
                return False
    return True


@pytest.mark.parametrize(
    ("kinds", "clocks", "length"),
    [
        ((READING, clock_of(2)), (Clock(1, 2, (0,), ()),), 4),
        ((READING, clock_of(3)), (Clock(1, 3, (), (0,)),), 3),
        ((SENSOR, clock_of(2)), (Clock(1, 2, (), (0,)),), 3),
        ((clock_of(2), CODE, OTHER, CODE), (Clock(0, 2, (1,), (3,)),), 3),
        ((CODE, clock_of(2), CODE, clock_of(3)), (Clock(1, 2, (0,), ()), Clock(3, 3, (2,), ())), 3),
    ],
)
def test_what_clocks_forbid_has_no_probability_and_the_rest_has_it_all(kinds, clocks, length):
    bound, _ = policy_of(kinds, clocks, length)
    steps = list(itertools.product(*(kind.levels for kind in kinds)))
    x = np.array(list(itertools.product(steps, repeat=length)), np.float32)
    log_p = jax.jit(lambda x: bound.log_prob(Batch.complete(x)))(jnp.asarray(x))
    p = np.exp(np.asarray(log_p.sum(axis=(1, 2)), np.float64))
    assert np.isclose(p.sum(), 1.0, atol=1e-4)
    assert p.max() < 0.9
    good = np.array([all(may_be(each, clock) for clock in clocks) for each in x])
    assert good.any()
    assert np.array_equal(p > 0, good)
    # A step at which nothing can change has probability one, exactly.
    of_clock = np.asarray(log_p)[good][:, 1:, [clock.column for clock in clocks]]
    assert np.all(of_clock == 0.0)


def test_samples_keep_time_and_have_the_probabilities_that_are_said():
    kinds = (READING, DENSITY, clock_of(3))
    clock = Clock(2, 3, (0,), (1,))
    bound, _ = policy_of(kinds, (clock,), 7)
    draw = jax.jit(lambda key: sampling.sample(bound, key, 2000, 7))
    x = np.asarray(draw(jax.random.key(0)))
    assert all(may_be(each, clock) for each in x)
    assert np.any(x[:, 1:, 0] != x[:, :-1, 0])
    assert np.mean(x[:, 0, 2] == 1) == pytest.approx(float(np.exp(first_clock(bound, x))), abs=0.05)


def first_clock(bound, x):
    """log of the mean probability that the first step is a reading."""
    other = np.array(x)
    other[:, 0, 2] = 1
    log_p = jax.jit(lambda x: bound.log_prob(Batch.complete(x)))(jnp.asarray(other))
    return np.log(np.exp(np.asarray(log_p)[:, 0, 2]).mean())


def test_the_probabilities_of_all_sequences_sum_to_one():
    """Also of those that do not show when readings are: several inner sequences are put back as
    one of them."""
    rng = np.random.default_rng(0)
    line = np.interp(np.arange(600), np.arange(301) * 2, rng.integers(0, 2, 301) * 2.0)
    code = np.repeat(rng.integers(0, 2, 300), 2)
    code[1:] = code[:-1]  # read at the same steps
    long = np.stack([line, code], axis=-1)[1:]
    x = np.stack([long[i : i + 4] for i in range(590)])
    rule = "x1 interpolated and x2 repeated every 2 steps"
    model = SeqGAN(**UNTRAINED, rule=[rule], rules="none").fit(x)
    steps = list(itertools.product((0.0, 1.0, 2.0), (0.0, 1.0)))
    every = np.array(list(itertools.product(steps, repeat=4)))
    p = np.exp(model.log_prob(every))
    assert np.isclose(p.sum(), 1.0, atol=1e-4)
    scaler = model.description.scaler
    can_be = scaler.matches(every)
    assert np.array_equal(p > 0, can_be)
    assert can_be.sum() < 0.2 * len(every)
    at, _ = scaler.rules.every(every[can_be])
    assert np.bincount(at).max() == 2


def test_regressions_count_the_steps_at_which_there_is_a_choice():
    kinds = (READING, clock_of(4))
    clock = Clock(1, 4, (), (0,))
    rng = np.random.default_rng(0)
    columns = support.of(kinds, lambda d, x: kinds[d].position(x), lambda _, y: y, clocks=(clock,))
    first = rng.integers(1, 5, 600)
    r = (first[:, None] - 1 - np.arange(12)) % 4 + 1
    x = np.empty((600, 12, 2))
    x[..., 1] = r
    now = rng.integers(0, 3, 600)
    for t in range(12):
        x[:, t, 0] = now
        # Half of the readings repeat the one before, by themselves or by chance more.
        drawn = np.where(rng.random(600) < 0.5, now, rng.integers(0, 3, 600))
        now = np.where(r[:, t] == 1, drawn, now)
    some, rest = np.split(x, [500])
    linear, _ = regressions.fit_linear(columns, some, rest)
    fitted = regressions.fit(columns, linear, some, rest)
    held = np.exp(np.asarray(fitted.support.later_share))[0]
    share = held[1] / held[:2].sum()
    # 0.5 + 0.5 / 3 of them; of all steps it would be .92.
    assert 0.4 < share < 0.8
