"""The baseline of choices against statsmodels, and against chains whose law is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import baseline, policy, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import mixed, regressions, support
from seqgan_jax.data.kind import Kind
from seqgan_jax.data.sequences import Split
from seqgan_jax.run import preparing

WORDS = Kind("categorical", levels=(0.0, 1.0, 2.0), words=True)
RAIN = Kind("continuous", atoms=(0.0,), sentinel=(False,))
CHAIN = np.array([[0.8, 0.15, 0.05], [0.2, 0.5, 0.3], [0.05, 0.25, 0.7]])


def untrained(kinds, x_NTD, **settings):
    """The policy of these columns before any training."""
    half = len(x_NTD) // 2

    def same(d, x):  # noqa: ARG001
        return x

    columns = support.of(kinds, same, same)
    sizes, rest = support.sizes_and_rest(columns, x_NTD[:half])
    unseen = support.sizes_and_rest(columns, x_NTD[half:])
    linear = baseline.fit_rest((sizes, rest), unseen)
    columns = regressions.fit(columns, linear, x_NTD[:half], x_NTD[half:])
    config = GeneratorConfig(hidden_dim=4, components=2, **settings)
    return policy.bind(*policy.init(jax.random.key(0), config, linear, columns))


def weather(n, steps, rng):
    """Rain on days that follow a chain, and a word that is 0 on no rainy day."""
    wet = np.zeros((n, steps), bool)
    wet[:, 0] = rng.random(n) < 0.5
    for t in range(1, steps):
        wet[:, t] = rng.random(n) < np.where(wet[:, t - 1], 0.7, 0.2)
    word = np.where(
        wet, 1 + (rng.random((n, steps)) < 0.3), rng.choice(3, (n, steps), p=[0.8, 0.1, 0.1])
    )
    return np.stack([wet * rng.gamma(2.0, 1.0, (n, steps)), word], axis=-1)


def test_a_regression_is_that_of_statsmodels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3)).astype(np.float32)
    logits = x @ rng.normal(size=(3, 3)) + np.array([0.2, 0.0, -0.5])
    label = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    y = np.eye(3, dtype=np.float32)[label]
    found = regressions._logistic(x, y, 1e-9, np.zeros((4, 3)))
    fitted = sm.MNLogit(label, sm.add_constant(x)).fit(disp=0).params
    np.testing.assert_allclose(found[:, 1:] - found[:, :1], fitted, atol=5e-3)


def test_a_ridge_shrinks_the_coefficients_and_not_the_shares():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(rng.random(500) < 0.9).astype(int)]
    found = regressions._logistic(x, y, 1e6, np.zeros((3, 2)))
    assert np.abs(found[1:]).max() < 1e-4
    assert found[0, 1] - found[0, 0] == pytest.approx(
        np.log(y[:, 1].mean() / y[:, 0].mean()), rel=1e-3
    )


def test_a_markov_chain_is_known_before_training():
    rng = np.random.default_rng(1)
    x = np.zeros((1500, 10, 1))
    x[:, 0, 0] = rng.choice(3, 1500)
    for t in range(1, 10):
        x[:, t, 0] = [rng.choice(3, p=CHAIN[int(i)]) for i in x[:, t - 1, 0]]
    bound = untrained((WORDS,), x[:1000])
    log_p = np.asarray(jax.jit(bound.log_prob)(Batch.complete(jnp.asarray(x[1000:], jnp.float32))))
    before, after = x[1000:, :-1, 0].astype(int), x[1000:, 1:, 0].astype(int)
    exact = np.log(CHAIN)[before, after]
    assert abs((exact - log_p[:, 1:, 0]).mean()) < 0.01


def interpolated(n, steps, rng):
    """A reading every fourth step, whole numbers between them; windows from anywhere."""
    readings = 4.0 * rng.integers(-3, 4, (n, steps // 4 + 3)).cumsum(axis=1)
    line = readings[:, :-1, None] + np.diff(readings)[..., None] * np.arange(4) / 4
    starts = rng.integers(0, 4, n)
    every = line.reshape(n, -1)
    return np.stack([row[s : s + steps] for row, s in zip(every, starts, strict=True)])[..., None]


@pytest.mark.parametrize("counted", [0, 6])
def test_a_line_bends_where_readings_are(counted):
    """Every fourth step, which a logarithm of the length cannot say."""
    kind = Kind("grid", step=1.0, sloped=True, counted=counted)
    x = interpolated(1500, 16, np.random.default_rng(3))
    bound = untrained((kind,), x)
    made = jax.jit(lambda key: sampling.sample(bound, key, 1000, 16))(jax.random.key(0))
    shares = []
    for some in (x[..., 0], np.asarray(made)[..., 0]):
        bends = np.abs(np.diff(some, n=2)) > 1e-3
        apart = np.concatenate([np.diff(np.flatnonzero(row)) for row in bends])
        shares.append(np.mean(apart % 4 == 0))
    assert shares[0] == 1.0
    assert shares[1] > 0.93 if counted else shares[1] < 0.75


def test_what_never_goes_together_is_never_drawn_together():
    x = weather(800, 12, np.random.default_rng(2))
    bound = untrained((RAIN, WORDS), x)
    made = np.asarray(jax.jit(lambda key: sampling.sample(bound, key, 2000, 12))(jax.random.key(0)))
    wet, word = made[..., 0] != 0, made[..., 1]
    assert np.mean(wet & (word == 0)) < 2e-3
    assert np.mean(wet) == pytest.approx(np.mean(x[..., 0] > 0), abs=0.02)
    assert np.mean(wet[:, 1:][wet[:, :-1]]) == pytest.approx(0.7, abs=0.03)
    assert np.mean(word[~wet] == 0) == pytest.approx(0.8, abs=0.03)


def test_a_column_of_few_rows_has_its_shares_alone():
    x = weather(8, 3, np.random.default_rng(3))
    bound = untrained((RAIN, WORDS), x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(policy.split(bound)[2]))


@pytest.mark.parametrize("rates", [baseline.SLOW, (*baseline.SLOW, 1 / 72)])
def test_moving_means_are_those_of_the_baseline(rates):
    x = np.random.default_rng(4).normal(size=(5, 30, 2))
    columns = support.of((RAIN, RAIN), lambda d, x: x, lambda d, x: x, rates=rates)  # noqa: ARG005
    chain = mixed.by_name("mixture", 2, columns.layout, True)
    x_TBD = jnp.asarray(np.swapaxes(x, 0, 1), jnp.float32)
    found = chain.all_past(columns.support.constants(), x_TBD).means
    wanted = np.concatenate([baseline.moving_mean(x, rate) for rate in rates], axis=2)
    np.testing.assert_allclose(np.swapaxes(found, 0, 1), wanted, atol=1e-5)
    # The plain mean to begin with.
    plain = np.tile(x[:, :10].mean(axis=1), len(rates) - 1)
    np.testing.assert_allclose(wanted[:, 9, 2:], plain, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.4, 1.0])
def test_a_season_is_carried_as_by_a_loop(rate):
    """Step by step, in one pass, and for the regression; of rate 1 it is the last season alone."""
    season, x = 4, np.random.default_rng(4).normal(size=(5, 18, 2))
    how = (season, rate)
    columns = support.of((RAIN, RAIN), lambda d, x: x, lambda d, x: x, season=how)  # noqa: ARG005
    chain = mixed.by_name("mixture", 2, columns.layout, True)
    constants = columns.support.constants()
    x_TBD = jnp.asarray(np.swapaxes(x, 0, 1), jnp.float32)
    past = chain.all_past(constants, x_TBD)
    shown = jnp.zeros((18, 5, len(columns.layout.shown)))
    read = jnp.concatenate([x_TBD, 0.5 * x_TBD, shown], axis=-1)
    carried = chain.all_carried(read, past)
    inputs, places, none = None, [[] for _ in range(season)], np.zeros((5, 2))
    blocks = columns.layout.num_slow - len(baseline.SLOW)
    assert blocks == (1 if rate == 1 else 2)
    of_fit = baseline._past_of(x, baseline.SLOW, how)[..., -2 * blocks :]
    step = jax.jit(chain.carried)
    for t in range(18):
        inputs = step(read[t], x_TBD[t], inputs) if t else chain.carried(read[t], x_TBD[t], None)
        np.testing.assert_allclose(inputs, carried[t], atol=1e-5)
        seen = places[t % season]  # the means of this place so far, the latest last
        share = max(rate, 1 / (len(seen) + 1))
        seen.append(x[:, t] if not seen else (1 - share) * seen[-1] + share * x[:, t])
        is_first = t + 1 < season
        q = none if is_first else places[(t + 1) % season][-1]
        before = none if t < season else places[t % season][-2]
        moved, away = (none if t < season else q - before), (none if is_first else q - x[:, t])
        wanted = np.concatenate([moved, away], axis=1)
        for found in (past.season[t], chain.past(inputs).season):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
        if t < 17:
            np.testing.assert_allclose(of_fit[:, t], wanted[:, : 2 * blocks], atol=1e-12)


def test_what_is_read_near_the_end_of_a_season_is_as_by_a_loop():
    """Step by step, in one pass, and for the regression: of 12 steps over the last four."""
    season, x = 12, np.random.default_rng(4).normal(size=(5, 15, 2))
    how = (season, 0.0)
    columns = support.of((RAIN, RAIN), lambda d, x: x, lambda d, x: x, season=how)  # noqa: ARG005
    chain = mixed.by_name("mixture", 2, columns.layout, True)
    x_TBD = jnp.asarray(np.swapaxes(x, 0, 1), jnp.float32)
    past = chain.all_past(columns.support.constants(), x_TBD)
    read = jnp.concatenate([x_TBD, x_TBD, jnp.zeros((15, 5, len(columns.layout.shown)))], axis=-1)
    carried, inputs = chain.all_carried(read, past), None
    of_fit = baseline._past_of(x, baseline.SLOW, how)[..., -4:]
    near = {8: 0.25, 9: 0.5, 10: 0.75, 11: 1.0}  # steps so far: w
    mean = x[:, 0]
    for t in range(15):
        inputs = chain.carried(read[t], x_TBD[t], inputs)
        np.testing.assert_allclose(inputs, carried[t], atol=1e-5)
        mean = mean + max(1 / 16, 1 / (t + 1)) * (x[:, t] - mean)
        apart = np.concatenate([mean - x[:, t], x[:, 0] - x[:, t]], axis=1)
        wanted = near.get(t + 1, 0.0) * apart
        for found in (past.season[t], chain.past(inputs).season):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
        if t < 14:
            np.testing.assert_allclose(of_fit[:, t], wanted, atol=1e-12)


@pytest.mark.parametrize("closes", [False, True])
def test_a_walk_that_ends_where_it_began_is_in_the_baseline(closes):
    """A Brownian bridge, of which E[x_{t+1} | x_1, .., x_t] is x_t + (x_1 - x_t) / (S - t + 1); or
    a free walk, which nothing draws back. By the variance of moves over a season of new paths."""
    rng, season = np.random.default_rng(6), 12
    x = rng.normal(size=(1500, season + 1)).cumsum(axis=1)
    x -= closes * (x[:, -1:] - x[:, :1]) * np.arange(season + 1) / season
    x = x[:, :season, None] / 4
    everything = np.ones(x.shape, bool)
    parts = [(x[part], everything[part]) for part in (slice(1000), slice(1000, 1500))]
    spread = {}
    for how in ((0, 1.0), (season, 0.0)):
        found = baseline.fit_rest(*parts, season=how)
        law = np.concatenate([found.matrix, found.second], axis=1)[0]
        y = np.zeros((4000, season, 1))
        for t in range(1, season):
            past = baseline._past_of(y[:, : t + 1], baseline.SLOW, how)[:, -1]
            drawn = found.factor[0, 0] * rng.normal(size=4000)
            y[:, t, 0] = past @ law + found.offset[0] + drawn
        spread[how[0]] = (y[:, -1] - y[:, 0]).std() / (x[:, -1] - x[:, 0]).std()
    if closes:
        assert spread[0] > 1.5
        assert 0.9 < spread[season] < 1.25
    else:
        assert spread[season] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("stays", [False, True])
def test_which_value_a_static_column_has_is_read_at_all_later_steps(stays):
    """Step by step and in one pass; without it only the step after the first reads it."""
    static = Kind("categorical", levels=(0.0, 1.0, 2.0), static=True)
    how = {"known": 0, "stays": stays}
    columns = support.of((static, RAIN), lambda d, x: x, lambda d, x: x, **how)  # noqa: ARG005
    layout = columns.layout
    chain = mixed.by_name("mixture", 2, layout, True)
    rng, constants = np.random.default_rng(2), columns.support.constants()
    label = np.array([0, 1, 2, 1])
    x = np.stack([np.tile(label, (6, 1)), rng.exponential(size=(6, 4))], axis=-1)
    x_TBD = jnp.asarray(x, jnp.float32)
    options = [d for d, at in enumerate(layout.shown) if at < layout.choices - 1]
    listed = options[-3:]
    shown = np.zeros((6, 4, len(layout.shown)), np.float32)
    shown[0, np.arange(4), np.array(listed)[label]] = 1.0  # of later steps none
    read = jnp.concatenate([x_TBD, 0.0 * x_TBD, shown], axis=-1)
    past = chain.all_past(constants, x_TBD)
    carried, inputs = chain.all_carried(read, past), None
    step = jax.jit(chain.carried)
    for t in range(6):
        inputs = step(read[t], x_TBD[t], inputs) if t else chain.carried(read[0], x_TBD[0], None)
        np.testing.assert_allclose(inputs, carried[t], atol=1e-5)
        is_option = chain.of_choices(inputs)[:, layout.num_read :][:, np.array(listed)]
        there = np.eye(3)[label] * (stays or t == 0)
        np.testing.assert_array_equal(is_option, there)


@pytest.mark.parametrize("again", [0.0, 0.8])
def test_what_moves_again_a_season_later_is_in_the_baseline(again):
    """x_t - x_{t-1} = again (x_{t-5} - x_{t-6}) + e; without it nothing is read of a season."""
    rng = np.random.default_rng(6)
    moved = rng.normal(size=(400, 60))
    for t in range(5, 60):
        moved[:, t] += again * moved[:, t - 5]
    x = moved.cumsum(axis=1)[:, 30:, None] / 10
    everything = np.ones(x.shape, bool)
    parts = [(x[part], everything[part]) for part in (slice(300), slice(300, 400))]
    how = (5, 1.0)
    found = baseline.fit_rest(*parts, season=how)
    second = np.asarray(found.second)
    assert second.shape == (1, 4)
    assert second[0, -1] == pytest.approx(again, abs=0.05)
    assert float(found.factor[0, 0]) == pytest.approx(0.1, abs=0.02)
    # Far ahead: its own recursion by a loop, of which `_far` is the log of the squared error.
    law = baseline._Candidate(
        np.concatenate([found.matrix, second], axis=1), np.asarray(found.offset), None
    )
    y = x[300:, :15, 0].tolist()
    for row in y:
        for t in range(15, 30):
            means = [
                baseline.moving_mean(np.reshape(row, (1, -1, 1)), r)[0, -1, 0]
                for r in (1 / 4, 1 / 16)
            ]
            parts_ = [row[t - 1], row[t - 2], *means, row[t - 5] - row[t - 6]]
            row.append(float(law.matrix[0] @ parts_ + law.offset[0]))
    error = np.mean((np.array(y)[:, 15:] - x[300:, 15:, 0]) ** 2)
    found = baseline._far(law, x[300:], everything[300:], None, baseline.SLOW, how)
    assert found == pytest.approx(np.log(error), rel=1e-4)


def test_the_mean_of_a_season_s_places_is_in_the_baseline():
    """A rhythm of its own in each sequence, with noise: the sixth season is predicted by the mean
    of all before it, of which `_far` knows the error: that of the noise and of its mean."""
    rng, noise = np.random.default_rng(8), 0.5
    rhythm = rng.normal(size=(900, 6))
    x = (np.tile(rhythm, 6) + noise * rng.normal(size=(900, 36)))[..., None]
    everything = np.ones(x.shape, bool)
    parts = [(x[part], everything[part]) for part in (slice(600), slice(600, 900))]
    found = baseline.fit_rest(*parts, season=(6, 0.1))
    law = baseline._Candidate(
        np.concatenate([found.matrix, found.second], axis=1), np.asarray(found.offset), None
    )
    error = baseline._far(law, x[600:], everything[600:], None, baseline.SLOW, (6, 0.1))
    # Of three seasons known: the best there is adds a third of the noise to it, the last one all.
    best, of_last = noise**2 * (1 + 1 / 3), 2 * noise**2
    assert np.log(best) - 0.05 < error < np.log(best) + 0.15 < np.log(of_last)


@pytest.mark.parametrize("moves", [False, True])
def test_a_level_that_the_validation_part_leaves_is_kept(moves):
    """Two columns about levels of their own, those of the validation part elsewhere; or noise."""
    rng = np.random.default_rng(7)
    levels = 0.3 * moves * rng.normal(size=(400, 1, 2))
    levels[300:] += 2.0 * moves
    x = levels + 0.3 * rng.normal(size=(400, 30, 2))
    x[:, :, 1] += x[:, :, 0] - levels[:, :, 0]
    everything = np.ones(x.shape, bool)
    parts = [(x[part], everything[part]) for part in (slice(300), slice(300, 400))]
    found = baseline.fit_rest(*parts, season=(5, 1.0))
    total = np.asarray(found.matrix) + np.asarray(found.second)[:, :-2].reshape(2, 3, 2).sum(axis=1)
    if moves:
        np.testing.assert_allclose(total, np.eye(2), atol=0.05)
    else:
        assert np.abs(np.diag(total)).max() < 0.5


def test_skewed_innovations_are_no_drift_where_a_season_is_read():
    """Of gamma ones, wider where x was high: the median of Student's t is below their mean, 0."""
    rng = np.random.default_rng(9)
    x = np.zeros((300, 24, 1))
    for t in range(1, 24):
        wide = np.exp(0.3 * np.minimum(x[:, t - 1], 2))
        x[:, t] = 0.7 * x[:, t - 1] + wide * (rng.gamma(1, 1, size=(300, 1)) - 1)
    columns = support.of((RAIN,), lambda d, x: x, lambda d, x: x, season=(4, 0.2))  # noqa: ARG005
    linear, _ = regressions.fit_linear(columns, x[:200], x[200:])
    found = regressions.fit(columns, linear, x[:200], x[200:]).support
    assert np.abs(found.later_past[..., -1]).max() > 0.02  # scales move with the past
    assert abs(float(found.later_middle[0, 0])) < 0.01


def test_slow_levels_beside_quick_changes_are_in_the_baseline():
    """A level that stays and white noise on it: means predict, the last value no."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(800, 1, 1)) + 0.5 * rng.normal(size=(800, 24, 1))
    everything = np.ones(x.shape, bool)
    found = baseline.fit_rest((x, everything), (x[:200], everything[:200]))
    matrix, second = np.asarray(found.matrix), np.asarray(found.second)
    assert abs(matrix[0, 0]) < 0.2
    assert second[0, 1:].sum() > 0.6
    assert float(found.factor[0, 0]) < 0.6
    assert dataclasses.is_dataclass(found)


def test_numbers_that_are_known_and_always_zero_change_no_likelihood():
    """What a calendar gains is asked of one program, with and without it."""
    x_NTD = weather(120, 6, np.random.default_rng(5))
    columns = support.of([RAIN, WORDS], lambda _, x: x, lambda _, x: x)
    both = x_NTD[:60], x_NTD[60:]
    linear, _ = regressions.fit_linear(columns, *both)
    parts = Split(*both, x_NTD[:0])
    found = [
        preparing._log_prob_of_baseline(
            both, linear, columns, parts, generator=GeneratorConfig(), end=None, width=width
        )
        for width in (0, 3)
    ]
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-4)
