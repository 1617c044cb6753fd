"""The policy against plain loops, scipy, causality."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqgan_jax.core import baseline, batch, parallel, policy
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns.chain import FACTORS


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_policy(params, constants, x_BTD):
    """Means and covariances at every step by a plain loop in float64: an independent policy."""
    p, linear = (jax.tree.map(lambda a: np.asarray(a, np.float64), t) for t in (params, constants))
    linear = linear["baseline"]
    batch, length, features = x_BTD.shape
    hidden = p["recurrent"].shape[0]
    h = np.zeros((batch, hidden))
    c = np.zeros((batch, hidden))
    means, covariances = [], []
    u = np.zeros((batch, 2 * features))
    for t in range(length):
        if t == 0:
            z = p["start"] + p["bias"] + h @ p["recurrent"]
        else:
            z = u @ p["input"] + p["bias"] + h @ p["recurrent"]
        i, f, o, g = np.split(z, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        raw = h @ p["head"] + p["head_bias"] + (p["first"] if t == 0 else 0)
        if t == 0:
            offset, factor = np.tile(linear["first_offset"], (batch, 1)), linear["first_factor"]
        else:
            offset = x_BTD[:, t - 1] @ linear["matrix"].T + linear["offset"]
            factor = linear["factor"]
        lower = np.tile(np.eye(features), (batch, 1, 1))
        k = 2 * features
        if raw.shape[-1] == (2 + FACTORS) * features:
            loadings = raw[:, k:].reshape(batch, features, FACTORS)
            lower = np.concatenate([lower, loadings], axis=-1)
        elif raw.shape[-1] > 2 * features:
            for row in range(1, features):
                for column in range(row):
                    lower[:, row, column] = raw[:, k]
                    k += 1
        by_column = raw[:, : 2 * features].reshape(batch, features, 2)
        lower = np.exp(0.5 * by_column[:, :, 1])[:, :, None] * lower
        means.append(offset + by_column[:, :, 0] @ factor.T)
        total = factor @ lower
        covariances.append(total @ np.swapaxes(total, -1, -2))
        e = np.linalg.solve(factor, (x_BTD[:, t] - offset).T).T
        u = np.concatenate([x_BTD[:, t], e], axis=-1)
    return np.stack(means, 1), np.stack(covariances, 1)


@pytest.mark.parametrize(
    ("features", "covariance"), [(1, "full"), (3, "full"), (3, "factors"), (3, "diagonal")]
)
def test_teacher_forced_log_prob_is_a_plain_loop_with_scipys_density(features, covariance):
    definition, params, constants = helpers.small_policy(features, covariance=covariance)
    x = helpers.series(4, 6, features, seed=9)
    means, covariances = numpy_policy(params, constants, x)
    normals = [
        [scipy.stats.multivariate_normal(means[b, t], covariances[b, t]) for t in range(6)]
        for b in range(4)
    ]
    expected = [[normals[b][t].logpdf(x[b, t]) for t in range(6)] for b in range(4)]
    bound = policy.bind(definition, params, constants)
    actual = jax.jit(bound.log_prob)(helpers.batch(x))
    assert actual.shape == x.shape
    assert np.allclose(actual.sum(axis=2), expected, atol=2e-3)
    again, entropy = jax.jit(bound.log_prob_and_entropy)(helpers.batch(x))
    assert np.allclose(again, actual, atol=1e-5)
    by_scipy = [[normals[b][t].entropy() for t in range(6)] for b in range(4)]
    assert np.allclose(entropy.sum(axis=2), by_scipy, atol=1e-3)


def test_what_is_masked_does_not_count():
    definition, params, constants = helpers.small_policy(2)
    bound = policy.bind(definition, params, constants)
    whole = helpers.batch(helpers.series(4, 6, 2))
    mask = np.random.default_rng(0).random((4, 6, 2)) < 0.6
    mask[1, 2] = False  # a step without any value
    some = Batch(whole.x, jnp.asarray(mask), whole.static, whole.known)
    log_p, entropy = jax.jit(bound.log_prob_and_entropy)(whole)
    masked, masked_entropy = jax.jit(bound.log_prob_and_entropy)(some)
    assert np.all(np.asarray(log_p) != 0)
    assert np.array_equal(masked, np.where(mask, log_p, 0))
    assert np.array_equal(masked_entropy, np.where(mask, entropy, 0))
    total, steps = np.asarray(log_p, np.float64)[mask].sum(), mask.any(axis=2).sum()
    assert steps < 24
    for mean in (policy.nll, policy.validation_nll):
        assert float(mean(bound, some)) == pytest.approx(-total / steps, rel=1e-5)
        assert float(mean(bound, whole)) == pytest.approx(-float(log_p.sum()) / 24, rel=1e-5)
    by_sequence = policy.log_prob_of_sequences(bound, some)
    assert np.allclose(by_sequence, np.where(mask, log_p, 0).sum(axis=(1, 2)), atol=1e-5)


def test_losses_of_many_sequences_are_those_of_one_call(monkeypatch):
    definition, params, constants = helpers.small_policy(2, policy="mixture")
    bound = policy.bind(definition, params, constants)
    x = helpers.batch(helpers.series(7, 6, 2))
    at_once = policy.validation_nll(bound, x), policy.log_prob_of_sequences(bound, x, 1.2)
    monkeypatch.setattr(batch, "STEPS_AT_ONCE", 18)  # three sequences of six steps
    in_blocks = policy.validation_nll(bound, x), policy.log_prob_of_sequences(bound, x, 1.2)
    assert float(in_blocks[0]) == pytest.approx(float(at_once[0]), rel=1e-6)
    assert np.allclose(in_blocks[1], at_once[1], rtol=1e-5)


@pytest.mark.parametrize("length", [200, 1000])
def test_the_memory_of_a_validation_pass_does_not_grow_with_the_sequences(length):
    """All sequences in one call took 2.3 GB at T = 200 and 11.5 GB at T = 1000."""
    definition, params, constants = helpers.policy_of(
        helpers.linear(helpers.series(50, 4, 1)), hidden=32, policy="mixture", components=5
    )

    def validation(params, constants, x):
        return policy.validation_nll(policy.bind(definition, params, constants), x)

    def needed(number):
        whole = jax.eval_shape(Batch.complete, jax.ShapeDtypeStruct((number, length, 1), "float32"))
        compiled = jax.jit(validation).lower(params, constants, whole).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = needed(2_000), needed(10_000)
    assert many < 1e9
    assert many - few < 4 * 8_000 * length * 8  # some copies of the values and of the mask


def test_an_untrained_policy_is_the_var1_fitted_by_least_squares():
    x = helpers.series(500, 6, 3)
    bound = policy.bind(*helpers.policy_of(helpers.linear(x), hidden=8))
    before = np.concatenate([np.ones((2500, 1)), x[:, :-1].reshape(-1, 3)], axis=1)
    after = x[:, 1:].reshape(-1, 3)
    coefficients = np.linalg.lstsq(before, after, rcond=None)[0]
    residual = after - before @ coefficients
    noise = scipy.stats.multivariate_normal(np.zeros(3), residual.T @ residual / len(residual))
    first = scipy.stats.multivariate_normal(x[:, 0].mean(0), np.cov(x[:, 0].T, bias=True))
    expected = np.concatenate(
        [first.logpdf(x[:, 0])[:, None], noise.logpdf(residual).reshape(500, 5)], axis=1
    )
    actual = bound.log_prob(helpers.batch(x)).sum(axis=2)
    assert np.allclose(actual, expected, atol=2e-3)


def test_teacher_forcing_is_shifted():
    """log pi(x_t | x_<t) depends on x_1 .. x_t and on nothing later; its numbers not even on x_t.

    Of the columns of one step, log pi(x_td | ..) depends on x_t1 .. x_td alone.
    """
    definition, params, constants = helpers.small_policy(2)
    bound = policy.bind(definition, params, constants)
    x = helpers.series(1, 6, 2, seed=3)
    by_log_prob = jax.jit(jax.jacobian(lambda x: bound.log_prob(Batch.complete(x))[0]))
    entropy = jax.jit(jax.jacobian(lambda x: bound.log_prob_and_entropy(Batch.complete(x))[1][0]))
    log_p_TDTD, entropy_TDTD = (
        np.asarray(jacobian(jnp.asarray(x, jnp.float32)))[:, :, 0]
        for jacobian in (by_log_prob, entropy)
    )
    for t in range(6):
        assert np.any(log_p_TDTD[t, :, t] != 0)
        assert np.all(log_p_TDTD[t, 0, t, 1] == 0)
        assert np.all(log_p_TDTD[t, :, t + 1 :] == 0)
        assert np.all(entropy_TDTD[t, :, t:] == 0)
    assert np.any(entropy_TDTD[2, :, 1] != 0)


@pytest.mark.parametrize(
    ("kind", "layers"), [("gaussian", 1), ("student", 1), ("mixture", 1), ("gaussian", 3)]
)
def test_steps_one_by_one_are_the_teacher_forced_pass(kind, layers):
    definition, params, constants = helpers.small_policy(2, policy=kind, layers=layers)
    bound = policy.bind(definition, params, constants)
    x = helpers.batch(helpers.series(3, 6, 2, seed=4))
    prefixes, _, _ = jax.jit(bound.teacher_forced)(x.x)
    state, step = bound.begin(3)
    log_probs = [step.log_prob(x.x[:, 0])]
    for t in range(1, 6):
        assert np.allclose(state.h, prefixes.states.h[t - 1], atol=1e-6)
        assert np.allclose(state.c, prefixes.states.c[t - 1], atol=1e-6)
        innovation = step.context.innovation(x.x[:, t - 1])
        assert np.allclose(innovation, prefixes.inputs[t - 1, :, 2:], atol=1e-4)
        inputs = jnp.concatenate([x.x[:, t - 1], innovation], axis=-1)
        state, step = bound.step(state, inputs)
        log_probs.append(step.log_prob(x.x[:, t]))
    assert np.allclose(jnp.stack(log_probs, axis=1), bound.log_prob(x), atol=1e-4)


def test_layers_are_lstms_on_top_of_each_other():
    """The states of two layers by a plain loop in float64; the distribution is of the last one."""
    definition, params, constants = helpers.small_policy(1, hidden=4, layers=2)
    bound = policy.bind(definition, params, constants)
    x = jnp.asarray(helpers.series(3, 6, 1, seed=4), jnp.float32)
    prefixes, _, later = jax.jit(bound.teacher_forced)(x)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    (deep,) = p["deeper"].values()
    h, c = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))
    for t in range(6):
        inputs = prefixes.inputs[t - 1]
        below = p["start"] if t == 0 else np.asarray(inputs, np.float64) @ p["input"]
        below = np.broadcast_to(below + p["bias"], (3, 16))
        for layer, recurrent in enumerate((p["recurrent"], deep["recurrent"])):
            if layer:
                below = h[0] @ deep["input"] + deep["bias"]
            i, f, o, g = np.split(below + h[layer] @ recurrent, 4, axis=1)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
            h[layer] = sigmoid(o) * np.tanh(c[layer])
        assert np.allclose(prefixes.states.h[t], np.concatenate(h, axis=1), atol=1e-5)
    raw = h[1] @ p["head"] + p["head_bias"]
    assert np.allclose(later.raw[-1, :, 0], raw, atol=1e-4)


def test_the_first_step_of_a_mixture_has_its_own_distribution():
    """Levels have many modes: a mixture of many components holds them."""
    definition, params, constants = helpers.small_policy(1, policy="mixture")
    bound = policy.bind(definition, params, constants)
    first_components = bound.first_chain.kind.components
    assert first_components == policy.FIRST_COMPONENTS > bound.chain.kind.components
    state, first = bound.begin(2)
    _, later = bound.step(state, jnp.zeros((2, 2)))
    assert first.raw.shape == (2, 1, 3 * policy.FIRST_COMPONENTS)
    assert later.raw.shape == (2, 1, 9)


def test_the_linear_baseline_is_no_parameter():
    _, params, constants = helpers.small_policy(2)
    assert set(constants) == {"baseline"}
    assert set(constants["baseline"]) == set(baseline.Baseline.__dataclass_fields__) - {
        "second",
        "first_known",
        "known",
    }
    assert "baseline" not in params


def test_every_parameter_has_a_gradient():
    definition, params, constants = helpers.small_policy(2, policy="mixture", layers=2)
    x = helpers.batch(helpers.series(3, 6, 2))
    grads = jax.jit(jax.grad(lambda p: policy.nll(policy.bind(definition, p, constants), x)))(
        params
    )
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(grads))


def test_the_gradient_of_the_gates_that_is_written_out_is_autodiffs():
    def plain(state, projected, recurrent):
        h, c = state
        i, f, o, g = jnp.split(projected + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    rng = np.random.default_rng(0)
    h, c, projected, recurrent, weight_h, weight_c = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((5, 3), (5, 3), (5, 12), (3, 12), (5, 3), (5, 3))
    )

    def total(gates, state, projected, recurrent):
        # Twice, so that both outputs of the first step get a gradient from the second.
        new_h, new_c = gates(gates(state, projected, recurrent), projected, recurrent)
        return jnp.sum(weight_h * new_h + weight_c * new_c)

    arguments = ((h, c), projected, recurrent)
    found = jax.value_and_grad(total, argnums=(1, 2, 3))(policy._gates, *arguments)
    wanted = jax.value_and_grad(total, argnums=(1, 2, 3))(plain, *arguments)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_steps_written_out_as_on_a_gpu_give_the_same_likelihood_and_gradient(kind, monkeypatch):
    definition, params, constants = helpers.small_policy(2, policy=kind)
    params = helpers.random_params(params, 1)
    x = helpers.batch(helpers.series(3, 40, 2, seed=4))

    def gradient():
        def loss(params):
            return policy.nll(policy.bind(definition, params, constants), x)

        return jax.jit(jax.value_and_grad(loss))(params)

    expected = gradient()
    monkeypatch.setattr(parallel, "on_cpu", lambda: False)
    for a, b in zip(jax.tree.leaves(gradient()), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
