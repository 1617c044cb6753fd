"""The linear baseline against plain numpy, on data that determine it and on data that do not."""

import helpers
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.core import baseline, policy

NORMAL = 0.5 * np.log(2 * np.pi * np.e)  # nats of one standard normal number


def test_well_posed_data_keep_plain_least_squares_to_the_bit():
    x = helpers.series(600, 6, 3, seed=4)
    train, validation = x[:500], x[500:]
    fitted = baseline.fit(train, validation)
    before, after = train[:, :-1].reshape(-1, 3), train[:, 1:].reshape(-1, 3)
    means = before.mean(0), after.mean(0)
    matrix = np.linalg.lstsq(before - means[0], after - means[1], rcond=1e-10)[0].T
    offset = means[1] - matrix @ means[0]
    residual = after - before @ matrix.T - offset
    floor = np.diag(1e-8 * (before.var(axis=0) + 1e-8))
    factor = np.linalg.cholesky(np.cov(residual.T, bias=True) + floor)
    first = np.linalg.cholesky(np.cov(train[:, 0].T, bias=True) + floor)
    expected = (train[:, 0].mean(0), first, matrix, offset, factor)
    for found, wanted in zip(fitted.constants().values(), expected, strict=True):
        assert np.array_equal(found, wanted.astype(np.float32))


def test_each_ridge_solves_its_penalised_least_squares():
    """min_A sum ||y - A x||^2 / n + lambda ||A - A_0||^2 by appended rows."""
    x = helpers.series(50, 4, 3)
    before, after = x[:, :-1].reshape(-1, 3), x[:, 1:].reshape(-1, 3)
    centred, wanted = before - before.mean(0), after - after.mean(0)
    found = list(baseline._ridges(centred, wanted))
    assert len(found) == 2 * len(baseline.RIDGES)
    for i, ridge in enumerate(baseline.RIDGES):
        for towards, matrix in zip((0.0, 1.0), found[2 * i : 2 * i + 2], strict=True):
            weight = np.sqrt(len(before) * ridge) * np.eye(3)
            rows = np.concatenate([centred, weight]), np.concatenate([wanted, towards * weight])
            assert np.allclose(matrix, np.linalg.lstsq(*rows, rcond=None)[0].T, atol=1e-10)


def unseen_nll(fitted, x):
    """Gaussian negative log-likelihood by numpy in float64, nats a column a step."""
    first_offset, first_factor, matrix, offset, factor = (
        np.asarray(leaf, np.float64) for leaf in fitted.constants().values()
    )
    residuals = (
        (x[:, :1] - first_offset, first_factor),
        (
            x[:, 1:] - x[:, :-1] @ matrix.T - offset,
            factor,
        ),
    )
    total = sum(
        (0.5 * (residual @ np.linalg.inv(scale).T) ** 2 + np.log(np.diag(scale))).sum()
        for residual, scale in residuals
    )
    return total / x.size + 0.5 * np.log(2 * np.pi)


@pytest.mark.parametrize(("columns", "number", "length"), [(40, 20, 3), (300, 30, 10)])
def test_more_columns_than_rows_end_near_independent_columns(columns, number, length):
    """Least squares fits its residuals to nothing there: 1.5e10 nats a step."""
    rng = np.random.default_rng(0)
    train, validation, unseen = (rng.normal(size=(n, length, columns)) for n in (number, 8, 50))
    fitted = baseline.fit(train, validation)
    assert unseen_nll(fitted, unseen) == pytest.approx(NORMAL, abs=1.0)
    if columns == 40:
        untrained = policy.bind(*helpers.policy_of(fitted))
        ours = float(policy.nll(untrained, helpers.batch(unseen))) / columns
        assert ours == pytest.approx(unseen_nll(fitted, unseen), abs=1e-3)
        plain = baseline.fit(train, train)  # the control: what fits the training part best
        assert unseen_nll(plain, unseen) > 1e6


def test_least_squares_stay_where_they_predict_better_than_independent_columns():
    """The first candidate is kept while no plain one is likelier; else the likeliest of all is."""
    one, zero, x = np.eye(1), np.zeros((1, 1)), np.zeros((4, 1, 1))

    def chosen(first, plain, other):
        """Candidates by their offset from the data: the farther, the less likely."""
        first, plain, other = (
            baseline._Candidate(zero, np.full(1, offset), one) for offset in (first, plain, other)
        )
        return float(baseline._choose(first, [plain], [other], x, x).offset[0])

    assert chosen(1.0, 2.0, 0.5) == 1.0  # another one would be likelier
    assert chosen(2.0, 1.0, 0.5) == 0.5
    assert chosen(2.0, 1.0, 3.0) == 1.0
    assert chosen(np.nan, 1.0, np.nan) == 1.0


def test_strong_correlations_survive_where_data_determine_them():
    """Shrinking them would cost: two columns that are one series and a tenth of noise."""
    rng = np.random.default_rng(1)
    level = np.cumsum(rng.normal(size=(300, 5, 1)), axis=1)
    x = np.concatenate([level, level + 0.1 * rng.normal(size=level.shape)], axis=2)
    fitted = baseline.fit(x[:250], x[250:])
    covariance = np.asarray(fitted.factor @ fitted.factor.T)
    scales = np.sqrt(np.diag(covariance))
    assert covariance[0, 1] / scales.prod() > 0.98


def test_collinear_columns_give_a_finite_baseline():
    x = helpers.series(100, 5, 2)
    x = np.concatenate([x, x.sum(axis=2, keepdims=True)], axis=2)
    bound = policy.bind(*helpers.policy_of(helpers.linear(x)))
    assert np.all(np.isfinite(bound.log_prob(helpers.batch(x))))
    assert np.isfinite(unseen_nll(baseline.fit(x[:80], x[80:]), x))


@pytest.mark.parametrize("kind", ["increments", "levels"])
def test_other_kinds_are_the_value_before_and_the_mean(kind):
    x = helpers.series(500, 6, 2) + 3.0
    fitted = helpers.linear(x, kind=kind)
    after, before = x[:, 1:].reshape(-1, 2), x[:, :-1].reshape(-1, 2)
    distance = after - before if kind == "increments" else after
    matrix, offset, factor = (np.asarray(a) for a in list(fitted.constants().values())[2:])
    e = (after - before @ matrix.T - offset) @ np.linalg.inv(factor).T
    assert np.allclose(e.mean(0), 0, atol=1e-4)
    assert np.allclose(np.cov(e.T, bias=True), np.eye(2), atol=1e-3)
    assert np.allclose(factor @ factor.T, np.cov(distance.T, bias=True), atol=1e-3)


def test_a_diagonal_covariance_has_no_correlations():
    fitted = helpers.linear(helpers.series(200, 5, 3), "diagonal")
    x = helpers.series(200, 5, 3)
    for factor in (fitted.first_factor, fitted.factor):
        assert np.array_equal(factor, jnp.diag(jnp.diag(factor)))
    assert np.allclose(jnp.diag(fitted.first_factor), x[:, 0].std(0), rtol=1e-5)


def test_the_scale_of_increments_is_that_of_first_differences():
    x = helpers.series(50, 6, 2)
    steps = [x[n, t + 1] - x[n, t] for n in range(50) for t in range(5)]
    assert np.allclose(baseline.increment_scale(x), np.std(steps, axis=0), rtol=1e-6)
    assert np.all(baseline.increment_scale(np.zeros((3, 4, 2))) > 0)


def test_what_wears_ever_faster_does_not_run_away_in_the_baseline():
    """x_t = 1.05 x_{t-1} + e from x_1 about 0 on: the fit finds the growth, and holds it back."""
    steps, draw = 120, np.random.default_rng(0)
    x_NTD = draw.normal(size=(40, steps, 1))
    for t in range(1, steps):
        x_NTD[:, t] += 1.05 * x_NTD[:, t - 1]
    x_NTD /= x_NTD.std()
    there = np.ones(x_NTD.shape, bool)
    free = baseline.fit_rest((x_NTD, there), (x_NTD[:9], there[:9]))
    held = baseline.fit_rest((x_NTD, there), (x_NTD[:9], there[:9]), steps=steps)
    assert abs(baseline.growth(free.matrix, free.second) - 1.05) < 0.01
    assert not baseline.is_held_back(free, 20)
    # It may grow e-fold over all steps: the mean from x_1 = 1, by a plain loop.
    size = before = fast = slow = 1.0
    for t in range(2, steps + 1):
        past = np.array([before, fast, slow])
        size, before = float(held.matrix[0, 0]) * size + float(held.second[0] @ past), size
        fast, slow = (m + max(r, 1 / t) * (size - m) for m, r in ((fast, 1 / 4), (slow, 1 / 16)))
    assert 0 < size < np.e
    assert baseline.is_held_back(held, steps)
    # Rescaled slopes have an offset and a scale of their own.
    past = baseline._past_of(x_NTD, baseline.SLOW)
    both = np.concatenate([held.matrix, held.second], axis=1)
    left = x_NTD[:, 1:] - past @ np.asarray(both, float).T - float(held.offset[0])
    assert abs(left.mean()) < 1e-3
    assert 0.5 < float(held.factor[0, 0]) / left.std() < 1.05  # less by the median
