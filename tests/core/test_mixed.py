"""Columns of any kind: probabilities sum to one, samples follow them, nothing else is drawn."""

import itertools
from dataclasses import replace

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from jax.flatten_util import ravel_pytree

from seqgan_jax import SeqGAN
from seqgan_jax.config import AdversarialConfig, GeneratorConfig
from seqgan_jax.core import baseline, gradients, policy, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.cells import (
    cell_of,
    log_mass,
    log_normal_mass,
    logistic,
    logistic_between,
    normal_between,
    parts_of,
)
from seqgan_jax.core.columns.continuous import Between, implicit
from seqgan_jax.data.kind import GAP, Kind
from seqgan_jax.data.layout import as_sequences
from seqgan_jax.errors import UsageError
from seqgan_jax.run.loop import Silent

CODES = Kind("categorical", levels=(0.0, 1.0, 2.0), words=True)
TABLE = Kind(
    "grid",
    levels=(0.0, 1.0, 2.5, 4.0),
    weights=(5.0, 1.0, 2.0, 2.0),
    atoms=(0.0,),
    sentinel=(False,),
)
HELD = Kind("grid", levels=(0.0, 1.0, 2.0), held=True, sloped=True)
HEAPED = Kind(
    "grid",
    levels=(0.0, 0.4, 0.5, 1.0, 2.0),
    weights=(9.0, 1.0, 2.0, 7.0, 1.0),
    coarse=(0.0, 1.0),
    held=True,
)
FAR = Kind("grid", levels=(0.0, 1.0, 2.0), held=True, atoms=(-9.0,), sentinel=(True,))
RAIN = Kind("continuous", atoms=(0.0, -9.0), sentinel=(False, True))
COUNT = Kind("grid", step=1.0, low=0.0)
FENCED = Kind("continuous", low=-1.0, high=3.0, atoms=(0.0,), sentinel=(False,))
STATIC = Kind("grid", levels=(1.0, 2.0), static=True)
TOLD = replace(CODES, told=True)
CUT = replace(TABLE, cut=True)
SHIFT, SCALE = 0.5, 2.0


def policy_of(kinds, length=3, seed=0, spread=0.5, **settings):
    """A bound policy with perturbed weights, and its columns."""
    shift, scale = np.full(len(kinds), SHIFT), np.full(len(kinds), SCALE)
    for d, kind in enumerate(kinds):
        if kind.words:
            shift[d], scale[d] = 0.0, 1.0

    def affine(d, y):
        return (y - shift[d]) / scale[d]

    columns = support.of(kinds, lambda d, x: affine(d, kinds[d].position(x)), affine)
    x = helpers.series(200, length, len(kinds), seed)
    linear = baseline.fit_rest((x, np.ones(x.shape, bool)), (x, np.ones(x.shape, bool)))
    config = GeneratorConfig(hidden_dim=4, components=2, **settings)
    definition, params, constants = policy.init(jax.random.key(seed), config, linear, columns)
    params = helpers.random_params(params, seed, spread)
    return policy.bind(definition, params, constants), columns, shift, scale


def log_prob(bound, x):
    """By column and step, compiled as one: each operation by itself takes as long as all."""
    return jax.jit(lambda x: bound.log_prob(Batch.complete(x)))(jnp.asarray(x))


def drawn_from(bound, seed, number, length):
    return np.asarray(
        jax.jit(lambda key: sampling.sample(bound, key, number, length))(jax.random.key(seed))
    )


def every_sequence(kinds, shift, scale, length):
    """All sequences [N, T, D] of discrete columns, scaled."""

    def values_of(kind):
        far = [a for a, is_far in zip(kind.atoms, kind.sentinel, strict=True) if is_far]
        return np.array([*(kind.cells[0] if kind.name == "grid" else kind.levels), *far])

    places = [values_of(kind) for kind in kinds]
    values = [(place - shift[d]) / scale[d] for d, place in enumerate(places)]
    steps = list(itertools.product(*values))
    return jnp.asarray(list(itertools.product(steps, repeat=length)), jnp.float32)


@pytest.mark.parametrize(
    ("kinds", "length"),
    [
        ((CODES,), 3),
        ((TABLE,), 3),
        ((HELD,), 4),
        ((CODES, TABLE), 2),
        ((STATIC, HELD), 3),
        ((FAR,), 3),
        ((HEAPED,), 3),
        ((HEAPED, CODES), 2),
        ((replace(HEAPED, atoms=(-9.0,), sentinel=(True,)),), 3),
        ((TOLD, CUT), 2),
        ((replace(FAR, cut=True),), 3),
        ((replace(HEAPED, cut=True),), 3),
    ],
)
def test_the_probabilities_of_all_sequences_sum_to_one(kinds, length):
    # A law of which less than TINY is between the ends has no probability left.
    spread = 0.3 if any(kind.cut for kind in kinds) else 0.5
    bound, _, shift, scale = policy_of(kinds, length, spread=spread)
    x = every_sequence(kinds, shift, scale, length)
    p = np.exp(np.asarray(log_prob(bound, x).sum(axis=(1, 2)), np.float64))
    assert np.isclose(p.sum(), 1.0, atol=1e-4)
    # A control: it is not one sequence that has it all.
    assert p.max() < 0.9


@pytest.mark.parametrize(
    "kinds",
    [
        (CODES, TABLE),
        (HELD, CODES),
        (FAR,),
        (HEAPED,),
        (TOLD, CUT),
        (TOLD, replace(HEAPED, cut=True)),
    ],
)
def test_samples_follow_the_enumerated_probabilities(kinds):
    bound, _, shift, scale = policy_of(kinds, 2)
    x = every_sequence(kinds, shift, scale, 2)
    expected = np.exp(np.asarray(log_prob(bound, x).sum(axis=(1, 2)), np.float64))
    drawn = drawn_from(bound, 1, 40_000, 2)
    rows = {tuple(row.ravel().tolist()): i for i, row in enumerate(np.asarray(x))}
    counts = np.bincount([rows[tuple(row.ravel().tolist())] for row in drawn], minlength=len(x))
    often = expected * len(drawn) > 5
    observed = [*counts[often], counts[~often].sum()]
    wanted = np.array([*expected[often], expected[~often].sum() + 1e-9]) * len(drawn)
    wanted *= sum(observed) / wanted.sum()
    assert scipy.stats.chisquare(observed, wanted).pvalue > 1e-3


def test_a_density_beside_atoms_integrates_to_what_the_atoms_leave():
    bound, columns, shift, scale = policy_of((RAIN, CODES), 2, spread=0.2)
    grid = np.linspace(-40, 40, 40_001) + 7e-4  # beside the atoms
    x = np.zeros((len(grid), 2, 2), np.float32)
    x[:, :, 1] = 1.0
    x[:, 0, 0] = grid
    log_p = np.asarray(log_prob(bound, x), np.float64)
    density = np.exp(log_p[:, 0, 0])
    atoms = (np.array(RAIN.atoms) - shift[0]) / scale[0]
    of_atoms = np.zeros((2, 2, 2), np.float32)
    of_atoms[:, 0, 0] = atoms
    mass = np.exp(np.asarray(log_prob(bound, of_atoms))[:, 0, 0])
    assert 0.05 < mass.sum() < 0.95
    assert np.isclose(np.trapezoid(density, grid) + mass.sum(), 1.0, atol=1e-3)
    both = jnp.asarray(np.concatenate([of_atoms, x[:5]]))
    is_density = jax.jit(bound.is_density)(both)[:, 0, 0]
    assert is_density.tolist() == [False] * 2 + [True] * 5
    assert columns.layout.densities


def test_a_density_with_ends_integrates_to_one_between_them_and_samples_follow_it():
    bound, _, shift, scale = policy_of((FENCED, COUNT), 2, spread=0.3)
    low, high, atom = ((end - shift[0]) / scale[0] for end in (FENCED.low, FENCED.high, 0.0))
    grid = np.linspace(low, high, 20_001)[1:-1] + 1e-6
    x = np.zeros((len(grid), 2, 2), np.float32)
    x[:, 0, 0] = grid
    density = np.exp(np.asarray(log_prob(bound, x), np.float64)[:, 0, 0])
    is_atom = np.abs(grid - atom) < 2e-6
    of_atom = x[:2].copy()
    of_atom[:, 0, 0] = atom
    mass = np.exp(np.asarray(log_prob(bound, of_atom))[0, 0, 0])
    inside = np.trapezoid(density[~is_atom], grid[~is_atom])
    assert 0.05 < mass < 0.95
    assert np.isclose(inside + mass, 1.0, atol=1e-3)
    drawn = drawn_from(bound, 1, 20_000, 2)[:, :, 0]
    assert drawn.min() >= low
    assert drawn.max() <= high
    rest = drawn[:, 0][np.abs(drawn[:, 0] - atom) > 1e-6]
    sums = np.cumsum(density) / density.sum()
    found = scipy.stats.kstest(rest, lambda values: np.interp(values, grid, sums))
    assert found.pvalue > 1e-3
    # A control: the ends cut off a share that is not small.
    assert density[[0, -1]].max() > 0.02


def test_normal_numbers_between_ends_are_scipys():
    ends = [(-1.0, 0.5), (2.0, 2.5), (-7.0, -4.0), (-1e5, 1.0), (3.0, 1e5)]
    lower, upper = (jnp.array(each) for each in zip(*ends, strict=True))
    expected = [np.log(scipy.stats.norm.cdf(-a) - scipy.stats.norm.cdf(-b)) for a, b in ends]
    np.testing.assert_allclose(log_normal_mass(lower, upper), expected, rtol=1e-4)
    value = jax.random.normal(jax.random.key(0), (4000, 1))
    drawn = np.asarray(jax.jit(normal_between)(value, lower[None], upper[None]))
    for i, (a, b) in enumerate(ends):
        assert scipy.stats.kstest(drawn[:, i], scipy.stats.truncnorm(a, b).cdf).pvalue > 1e-3


def test_logistic_numbers_between_ends_are_scipys():
    unit, number = np.sqrt(3) / np.pi, 4000
    law = scipy.stats.logistic(scale=unit)
    value = jax.random.normal(jax.random.key(0), (number, 1))
    for low, high in [(-1.0, 0.5), (2.0, 2.5), (-9.0, -6.0), (-1e5, 1.0), (7.0, 1e5)]:
        ends = (jnp.full((1, 1), end) for end in (low, high))
        drawn = np.asarray(jax.jit(lambda v, *e: logistic_between(v, *parts_of(*e)))(value, *ends))
        # The smaller tail, where no difference is lost.
        sign = -1.0 if low + high > 0 else 1.0
        below, above = np.sort(law.cdf(sign * np.clip([low, high], -1e3, 1e3)))
        share = (law.cdf(sign * drawn[:, 0]) - below) / (above - below)
        assert scipy.stats.kstest(share, scipy.stats.uniform.cdf).pvalue > 1e-3
        assert drawn.min() >= low - 1e-3
        assert drawn.max() <= high + 1e-3


@pytest.mark.parametrize("kind", [CUT, replace(COUNT, high=5.0, cut=True)])
def test_what_is_cut_off_at_its_ends_is_not_in_the_last_cells(kind):
    """Against the same distribution with open ends: all inner cells grow by the same factor."""
    values = np.array(kind.cells[0]) if kind.levels else np.arange(6.0)
    x = np.repeat((values - SHIFT) / SCALE, 2).reshape(-1, 2, 1).astype(np.float32)
    plain = replace(kind, atoms=(), sentinel=())
    cut, is_open = (
        np.exp(np.asarray(log_prob(policy_of((each,), 2)[0], x), np.float64)[:, 0, 0])
        for each in (plain, replace(plain, cut=False))
    )
    assert np.isclose(cut.sum(), 1.0, atol=1e-5)
    grown = cut / is_open
    np.testing.assert_allclose(grown[1:-1], grown[1], rtol=1e-4)
    assert grown[1] > 1.02
    assert max(grown[0], grown[-1]) < grown[1]


def test_later_columns_and_steps_see_whether_a_category_changed():
    bound, _, _, _ = policy_of((TOLD, CODES), 5)
    x = jnp.array([[[0, 0], [0, 1], [1, 1], [1, 2], [2, 2]]], jnp.float32)
    given = jax.jit(lambda x: bound.teacher_forced(x)[0])(x)
    assert given.inputs[:, 0, 2].tolist() == [0, 0, 1, 0, 1]  # after two sizes
    assert given.inputs[:, 0, 3].tolist() != [0, 1, 0, 1, 0]  # of a model of before


@pytest.mark.parametrize("count", [COUNT, replace(COUNT, cut=True)])
def test_a_counts_lattice_sums_to_one_and_never_goes_below_its_end(count):
    bound, _, shift, scale = policy_of((count,), 2)
    counts = np.arange(0, 200)
    x = np.zeros((len(counts), 2, 1), np.float32)
    x[:, 0, 0] = (counts - shift[0]) / scale[0]
    log_p = np.asarray(log_prob(bound, x), np.float64)
    expected = np.exp(log_p[:, 0, 0])
    assert np.isclose(expected.sum(), 1.0, atol=1e-4)
    drawn = drawn_from(bound, 0, 5000, 2) * scale + shift
    assert drawn.min() == 0.0
    assert np.allclose(drawn, np.rint(drawn), atol=1e-4)
    frequency = np.bincount(np.rint(drawn[:, 0, 0]).astype(int), minlength=200)[:200] / len(drawn)
    assert np.abs(np.cumsum(frequency - expected)).max() < 0.03


def test_a_static_column_never_changes_and_sentinels_count_as_nothing():
    bound, columns, _, _ = policy_of((STATIC, RAIN), 6)
    drawn = drawn_from(bound, 0, 500, 6)
    assert (drawn[:, :1, 0] == drawn[:, :, 0]).all()
    assert len(np.unique(drawn[:, 0, 0])) == 2
    size = support.size_of(columns.support, columns.layout, jnp.asarray(drawn))
    sentinel = np.float32((-9.0 - SHIFT) / SCALE)
    assert (np.asarray(size)[..., 1][drawn[..., 1] == sentinel] == 0).all()
    assert (drawn[..., 1] == sentinel).any()


@pytest.mark.parametrize(
    "kinds",
    [
        (CODES, RAIN, HELD),
        (COUNT,),
        (STATIC, TABLE),
        (HEAPED,),
        (TOLD, CUT, RAIN, replace(COUNT, cut=True)),
    ],
)
def test_sampled_steps_read_what_the_teacher_forced_pass_reads(kinds):
    bound, _, _, _ = policy_of(kinds, 6)
    noise = jax.random.normal(jax.random.key(0), (6, 20, bound.num_noise))
    x = jax.jit(lambda noise: sampling.sample_from_noise(bound, noise))(noise)

    @jax.jit
    def teacher_forced(x):
        given, first, later = bound.teacher_forced(x)
        x_TBD = jnp.swapaxes(x, 0, 1)
        return given, first.log_prob(x_TBD[0]), later.log_prob(x_TBD[1:])

    @jax.jit
    def one_step(state, inputs, noise, wanted):
        state, step = bound.step(state, inputs)
        drawn, read = step.sample(noise)
        return state, step.log_prob(wanted), drawn, bound.next_inputs(inputs, drawn, read)

    @jax.jit
    def begin(noise):
        state, step = bound.begin(20)
        drawn, read = step.sample(noise)
        return state, bound.first_inputs(drawn, read)

    given, log_first, log_later = teacher_forced(x)
    state, inputs = begin(noise[0])
    for t in range(1, 6):
        assert np.allclose(inputs, given.inputs[t - 1], atol=2e-4)
        state, log_p, drawn, inputs = one_step(state, inputs, noise[t], x[:, t])
        assert np.allclose(state.h, given.states.h[t], atol=1e-4)
        assert np.allclose(log_p, log_later[t - 1], atol=2e-3)
        assert np.allclose(drawn, x[:, t], atol=1e-4)
    assert np.isfinite(log_first).all()


def test_a_column_sees_how_far_it_is_from_its_moving_means_unless_it_is_a_model_of_before():
    bound, _, shift, scale = policy_of([HELD, CODES], 6)
    x = np.random.default_rng(0).choice(HELD.levels, (4, 6, 2)).astype(np.float32)
    x[..., 0] = (x[..., 0] - shift[0]) / scale[0]
    found, _, later = bound.teacher_forced(jnp.asarray(x))
    past = bound.chain._past(later.context, found.inputs[:-1])[..., 0, 4:6]
    means = [baseline.moving_mean(x, rate)[:, :-1, 0] for rate in baseline.SLOW]
    away = (x[:, :-1, 0] - np.stack(means)) / later.context.factor[0, 0]
    wanted = np.sign(away) * np.log1p(np.abs(away))
    assert np.abs(wanted).max() > 0.5
    np.testing.assert_allclose(past, wanted.transpose(2, 1, 0), atol=1e-5)
    before, *_ = policy_of([HELD, CODES], 6, drift=False)
    both = (each.weights["B"].shape[1] for each in (bound, before))
    assert next(both) == next(both) + len(baseline.SLOW)


def test_the_gradient_is_finite_for_values_far_from_what_is_expected():
    bound, _, shift, scale = policy_of((RAIN, TABLE, COUNT), 4)
    x = np.zeros((6, 4, 3), np.float32)
    x[..., 0] = np.array([1e3, -1e3, 0.1, 5.0, -7.0, 30.0])[:, None]
    x[..., 2] = (np.array([0, 1, 10, 1000, 5000, 3])[:, None] - shift[2]) / scale[2]
    definition, params, constants = policy.split(bound)

    def loss(params):
        return policy.nll(policy.bind(definition, params, constants), Batch.complete(x))

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_the_mass_of_a_cell_is_scipys():
    rng = np.random.default_rng(0)
    middle, width = 8 * rng.normal(size=5000), 10 ** rng.uniform(-4, 2, 5000)
    lower = (middle - width / 2).astype(np.float32)
    upper = (middle + width / 2).astype(np.float32)
    law = scipy.stats.logistic(scale=np.sqrt(3) / np.pi)
    a, b = lower.astype(np.float64), upper.astype(np.float64)
    near, far = np.where(a + b < 0, -b, a), np.where(a + b < 0, -a, b)
    expected = law.logsf(near) + np.log(-np.expm1(law.logsf(far) - law.logsf(near)))
    assert np.allclose(log_mass(lower, upper), expected, rtol=1e-4, atol=1e-2)
    wide = b - a > 0.01
    assert np.allclose(log_mass(lower, upper)[wide], expected[wide], rtol=1e-5, atol=1e-4)
    by_lower, by_upper = jax.vmap(jax.grad(log_mass, argnums=(0, 1)))(lower, upper)
    for found, sign, end in ((by_lower, -1, a), (by_upper, 1, b)):
        share = sign * np.exp(law.logpdf(end) - expected)
        assert np.allclose(np.asarray(found)[wide], share[wide], rtol=5e-3, atol=5e-3)


def test_logistic_numbers_from_normal_ones_are_such():
    drawn = np.asarray(logistic(jax.random.normal(jax.random.key(0), (50_000,))))
    law = scipy.stats.logistic(scale=np.sqrt(3) / np.pi)
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 1e-3


def test_a_cell_is_found_as_numpy_finds_it():
    rng = np.random.default_rng(0)
    edges = np.sort(rng.normal(size=(3, 7)), axis=1).astype(np.float32)
    edges[1, 4:] = np.inf
    x = rng.normal(size=(500, 3)).astype(np.float32)
    x[:3] = edges[:, :3].T  # on an edge: above it
    found = np.asarray(cell_of(jnp.asarray(edges), jnp.asarray(x)))
    expected = [np.searchsorted(edges[d], x[:, d], side="right") for d in range(3)]
    assert (found == np.stack(expected, axis=1)).all()


def test_the_baseline_of_the_rest_is_a_regression_of_it():
    rng = np.random.default_rng(0)
    x = np.zeros((400, 12, 2))
    x[:, 0] = rng.normal(size=(400, 2))
    for t in range(1, 12):
        x[:, t, 0] = 0.8 * x[:, t - 1, 0] + 0.3 * rng.normal(size=400)
        x[:, t, 1] = 0.5 * x[:, t - 1, 1] + 0.7 * x[:, t, 0] + 0.2 * rng.normal(size=400)
    rest = np.ones(x.shape, bool)
    rest[:, ::3, 0] = False
    spoiled = x.copy()
    found = baseline.fit_rest((spoiled, rest), (x, rest))
    inverse = np.linalg.inv(np.asarray(found.factor, np.float64))
    assert np.allclose(1 / np.diag(inverse), [0.3, 0.2], rtol=0.05)
    assert np.allclose(found.matrix, [[0.8, 0.0], [0.56, 0.5]], atol=0.03)


def every_mixed_sequence(shift, scale, steps=121):
    """Sequences of two steps of (RAIN, CODES), and what each stands for in an integral."""
    nodes = np.linspace(-7, 7, steps) + 3e-4  # beside the atoms
    atoms = (np.array(RAIN.atoms) - shift[0]) / scale[0]
    values = np.concatenate([nodes, atoms])
    weights = np.concatenate([np.full(steps, nodes[1] - nodes[0]), np.ones(len(atoms))])
    codes = np.array(CODES.levels)
    first, code, second, other = np.meshgrid(values, codes, values, codes, indexing="ij")
    x = np.stack([first, code, second, other], axis=-1).reshape(-1, 2, 2)
    weight = (weights[:, None, None, None] * weights[None, None, :, None]) + 0 * first
    return jnp.asarray(x, jnp.float32), jnp.asarray(weight.ravel(), jnp.float32)


GAPPY = Kind("continuous", missing=True)
GAPPY_CODES = Kind("categorical", levels=(0.0, 1.0), words=True, missing=True)


def every_sequence_with_gaps(steps=61):
    """As `every_mixed_sequence` of (GAPPY, GAPPY_CODES)."""
    nodes = np.linspace(-7, 7, steps)
    values, codes = np.r_[nodes, GAP], np.array([0.0, 1.0, GAP])
    weights = np.r_[np.full(steps, nodes[1] - nodes[0]), 1.0]
    first, code, second, other = np.meshgrid(values, codes, values, codes, indexing="ij")
    x = np.stack([first, code, second, other], axis=-1).reshape(-1, 2, 2)
    weight = weights[:, None, None, None] * weights[None, None, :, None] + 0 * first
    return jnp.asarray(x, jnp.float32), jnp.asarray(weight.ravel(), jnp.float32)


def quantile_between(share, log_w, mean, scale, low, high):
    """The value at a share of a mixture between two ends, by bisection."""
    law, w = scipy.stats.norm(mean, scale), np.exp(log_w)
    ends = [w @ law.cdf(low), w @ law.cdf(high)]
    wanted = ends[0] + share * (ends[1] - ends[0])
    return scipy.optimize.brentq(lambda x: w @ law.cdf(x) - wanted, low, high, xtol=1e-13)


@pytest.mark.parametrize("share", [1e-4, 0.3, 0.97, 1 - 1e-5])
@pytest.mark.parametrize("ends", [(-0.5, 2.0), (-50.0, 1.5), (-50.0, 50.0)])
def test_a_sample_moves_with_its_law_as_its_quantile_does(share, ends):
    """The implicit derivative against differences of the quantile, in every parameter."""
    law = [np.log([0.3, 0.7]), np.array([-0.4, 0.9]), np.array([0.5, 1.2]), *map(np.array, ends)]
    x = quantile_between(share, *law)
    found = jax.jit(jax.grad(lambda law: implicit(law, jnp.float32(x))))(
        Between(*(jnp.asarray(part, jnp.float32) for part in law))
    )
    for i, part in enumerate(law):
        for j in range(part.size):
            sides = []
            for step in (-1e-5, 1e-5):
                moved = [each.copy() for each in law]
                moved[i].reshape(-1)[j] += step
                sides.append(quantile_between(share, *moved))
            expected = (sides[1] - sides[0]) / 2e-5
            assert np.isclose(np.ravel(found[i])[j], expected, rtol=2e-3, atol=2e-4), (i, j)


HELD_DENSITY = Kind("continuous", held=True, low=-2.0, high=4.0)


def every_held_sequence(shift, scale, steps=60):
    """Sequences of two steps of (HELD_DENSITY, CODES), as `every_mixed_sequence`."""
    low, high = ((end - shift[0]) / scale[0] for end in (HELD_DENSITY.low, HELD_DENSITY.high))
    nodes = np.linspace(low, high, 2 * steps + 1)[1::2]  # the middles of cells
    codes = np.array(CODES.levels)
    first, code, second, other = np.meshgrid(
        nodes, codes, np.arange(steps + 1), codes, indexing="ij"
    )
    is_held = second == steps
    # Beside the first value, of which the second one's mass is.
    later = np.where(is_held, first, nodes[np.minimum(second, steps - 1)] + 1e-4)
    cell = nodes[1] - nodes[0]
    x = np.stack([first, code, later, other], axis=-1).reshape(-1, 2, 2)
    weight = np.where(is_held, cell, cell * cell)
    return jnp.asarray(x, jnp.float32), jnp.asarray(weight.ravel(), jnp.float32)


@pytest.mark.parametrize(
    ("gradient", "kinds"),
    [
        ("reinforce", (CODES, TABLE)),
        ("reinforce", (RAIN, CODES)),
        ("mixed", (RAIN, CODES)),
        pytest.param("mixed", (GAPPY, GAPPY_CODES), marks=pytest.mark.slow),
        pytest.param("mixed", (HELD_DENSITY, CODES), marks=pytest.mark.slow),
    ],
)
def test_the_policy_gradient_is_exact(gradient, kinds):
    """The mean of its estimates against the gradient of sum_x p(x) r(x), by all sequences."""
    bound, _, shift, scale = policy_of(kinds, 2, spread=0.2)
    if kinds[0] == CODES:
        x = every_sequence(kinds, shift, scale, 2)
        weight = jnp.ones(len(x))
    elif kinds[0] == GAPPY:
        x, weight = every_sequence_with_gaps()
    else:
        every = every_mixed_sequence if kinds[0] == RAIN else every_held_sequence
        x, weight = every(shift, scale)
    definition, params, constants = policy.split(bound)

    def bind(params):
        return policy.bind(definition, params, constants)

    def reward(batch):
        same = (batch.x[:, 0, 1] == batch.x[:, 1, 1]).astype(jnp.float32)
        seen = jnp.where(batch.x == GAP, 0.6, batch.x)
        size = jnp.tanh(seen[:, 0, 0] - 0.5 * seen[:, 1, 0])
        return size + 0.7 * same * (1.0 + size)

    def expected(params):
        log_p = bind(params).log_prob(Batch.complete(x)).sum(axis=(1, 2))
        return -jnp.sum(weight * jnp.exp(log_p) * reward(Batch.complete(x))) / 2

    wanted = ravel_pytree(jax.jit(jax.grad(expected))(params))[0]
    config = AdversarialConfig(anchor=0.0, rollout_num=2)

    @jax.jit
    def estimate(key, of_choices):
        noise_key, rollout_key = jax.random.split(key)
        noise_TBP = jax.random.normal(noise_key, (2, 256, bound.num_noise))
        x_BTD = sampling.sample_from_noise(bind(params), noise_TBP)
        advantage_BT, _ = gradients.advantages(bind(params), reward, x_BTD, rollout_key, config)
        weights_BT, real = of_choices * advantage_BT, Batch.complete(x_BTD)
        if gradient == "mixed":
            loss = gradients.mixed(bind, reward, noise_TBP, weights_BT, real, config)
        else:
            loss = gradients.reinforce(bind, real, weights_BT, real, config)
        return ravel_pytree(jax.grad(lambda p: loss(p)[0])(params))[0]

    def z_of(number, of_choices):
        keys = jax.random.split(jax.random.key(1), number)
        found = np.stack([estimate(key, of_choices) for key in keys])
        error = found.std(axis=0) / np.sqrt(number)
        moving = error > 1e-6
        return (
            (np.asarray(each) - np.asarray(wanted))[moving] / error[moving]
            for each in (found.mean(axis=0), 0.0 * wanted)
        )

    z, of_nothing = z_of(80, 1.0)
    assert len(z) > 100
    assert np.abs(z).max() < 5.5
    assert np.mean(z**2) < 1.6
    # A control: the estimates are not near 0 for want of a gradient.
    assert np.mean(of_nothing**2) > 4
    if gradient == "mixed":  # and what goes through the samples alone is another one
        assert np.mean(next(z_of(20, 0.0)) ** 2) > 4


@pytest.mark.slow
def test_the_mixed_gradient_trains_columns_of_every_kind():
    """With atoms, held values, words and ends: what can be drawn has finite gradients."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 6, 3))
    x[..., 0] *= rng.random((150, 6)) < 0.5
    x[:, 1::2, 1] = x[:, ::2, 1]
    x[..., 2] = rng.integers(0, 3, (150, 6))
    few = {"hidden_dim": 4, "pre_epoch_num": 1, "dis_pre_refreshes": 1, "total_batch": 1}
    few |= {"num_negatives": 32, "batch_size": 32, "look_first": False, "dis_r1": 0.0}
    few |= {"rollout_num": 2, "gen_updates": 2, "rules": "none"}
    model = SeqGAN(gradient="mixed", **few)
    model.fit([one[: 4 if n < 70 else 6] for n, one in enumerate(x)])
    params = ravel_pytree(model.state.policy)[0]
    assert np.isfinite(params).all()
    assert not np.array_equal(params, ravel_pytree(model.state.best)[0])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("continuous", "all of these are. Say --gradient pathwise"),
        ("counts", "none of these are. Say --gradient reinforce"),
    ],
)
def test_the_mixed_gradient_is_for_mixed_columns(case, words):
    x = np.random.default_rng(0).normal(size=(100, 5, 2))
    x[..., 1] = x[..., 1].round()
    columns = {"continuous": [0], "counts": [1]}[case]
    with pytest.raises(UsageError, match=words):
        SeqGAN(gradient="mixed").prepare(as_sequences(x[..., columns]))


def own_nll(x_NTD, settings):
    """Held-out nats a step of the first two columns, and those of each held-out sequence."""
    model = SeqGAN(**settings)
    parts = model.prepare(as_sequences(x_NTD))
    model.train(parts, Silent())
    z = model.description.scaler.transform(parts.held_out_NTD).astype(np.float32)
    bound = model.nets.bind_policy(model.policy, model.state)
    log_p = jax.jit(bound.log_prob)(Batch.complete(jnp.asarray(z)))
    return -np.asarray(log_p, np.float64)[..., :2].sum(axis=-1).mean(axis=1)


def test_a_sensor_stays_at_its_codes_and_passes_through_what_is_between():
    rng = np.random.default_rng(2)
    x = 0.02 * rng.normal(size=(400, 72)).cumsum(axis=1) + rng.normal(size=(400, 1))
    x = np.round(np.round(x, 1).reshape(400, 24, 3).mean(axis=2), 4)[..., None]
    small = {"hidden_dim": 8, "pre_epoch_num": 3, "generated_num": 20}
    model = SeqGAN(**small, skip_dis_pretrain=True, skip_adversarial=True).fit(x)

    def rates(x):
        """How often it stays at tenths and between them, and how often it is at tenths."""
        is_code, same = np.abs(x - np.round(x, 1)) < 1e-6, x[:, 1:] == x[:, :-1]
        at = is_code[:, :-1]
        return same[at].mean(), same[~at].mean(), is_code.mean()

    found, wanted = rates(model.sample_array(600, seed=0)), rates(x)
    assert wanted[0] > wanted[1] + 0.4  # else there is nothing to see
    assert np.abs(np.subtract(found, wanted)).max() < 0.1


@pytest.mark.slow
def test_a_deterministic_column_takes_nothing_from_the_others():
    rng = np.random.default_rng(0)
    x = np.zeros((1200, 12, 2))
    x[:, 0] = rng.normal(size=(1200, 2))
    for t in range(1, 12):
        x[:, t, 0] = 0.7 * x[:, t - 1, 0] + rng.normal(size=1200)
        x[:, t, 1] = 0.5 * x[:, t - 1, 1] + 0.5 * x[:, t, 0] + rng.normal(size=1200)
    hour = (rng.integers(0, 24, (1200, 1)) + np.arange(12)) % 24
    with_hour = np.concatenate([x, np.cos(np.pi * hour / 12)[..., None].round(3)], axis=-1)
    settings = {"total_batch": 0, "dis_pre_refreshes": 0, "pre_epoch_num": 30, "hidden_dim": 16}
    alone, beside = own_nll(x, settings), own_nll(with_hour, settings)
    paired = beside - alone
    error = paired.std() / np.sqrt(len(paired))
    assert abs(paired.mean()) < 0.02 + 3 * error
    assert error < 0.02
