"""The policy and the discriminators against plain loops, scipy, causality and counts."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import networks


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_policy(params, x_BTD):
    """Means and covariances at every step by a plain loop in float64: an independent policy."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    frame = p["frame"]
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
            offset, factor = np.tile(frame["first_offset"], (batch, 1)), frame["first_factor"]
        else:
            offset = x_BTD[:, t - 1] @ frame["matrix"].T + frame["offset"]
            factor = frame["factor"]
        lower = np.tile(np.eye(features), (batch, 1, 1))
        k = 2 * features
        if raw.shape[-1] > 2 * features:
            for row in range(1, features):
                for column in range(row):
                    lower[:, row, column] = raw[:, k]
                    k += 1
        scales = np.exp(0.5 * raw[:, features : 2 * features])
        lower = scales[:, :, None] * lower
        means.append(offset + raw[:, :features] @ factor.T)
        total = factor @ lower
        covariances.append(total @ np.swapaxes(total, -1, -2))
        e = np.linalg.solve(factor, (x_BTD[:, t] - offset).T).T
        u = np.concatenate([x_BTD[:, t], e], axis=-1)
    return np.stack(means, 1), np.stack(covariances, 1)


@pytest.mark.parametrize(("features", "covariance"), [(1, "full"), (3, "full"), (3, "diagonal")])
def test_teacher_forced_log_prob_is_a_plain_loop_with_scipys_density(features, covariance):
    definition, params = helpers.policy(features, covariance=covariance)
    x = helpers.series(4, 6, features, seed=9)
    means, covariances = numpy_policy(params, x)
    expected = [
        [
            scipy.stats.multivariate_normal(means[b, t], covariances[b, t]).logpdf(x[b, t])
            for t in range(6)
        ]
        for b in range(4)
    ]
    policy = networks.bind(definition, params)
    actual = jax.jit(policy.log_prob)(jnp.asarray(x, jnp.float32))
    assert np.allclose(actual, expected, atol=2e-3)
    again, entropy = jax.jit(policy.log_prob_and_entropy)(jnp.asarray(x, jnp.float32))
    assert np.allclose(again, actual, atol=1e-5)
    by_scipy = [
        [
            scipy.stats.multivariate_normal(means[b, t], covariances[b, t]).entropy()
            for t in range(6)
        ]
        for b in range(4)
    ]
    assert np.allclose(entropy, by_scipy, atol=1e-3)


def test_an_untrained_policy_is_the_var1_fitted_by_least_squares():
    x = helpers.series(500, 6, 3)
    frame = networks.fit_frame(x, "full")
    definition, params = networks.policy(
        jax.random.key(0), GeneratorConfig(hidden_dim=8, policy="gaussian"), frame
    )
    before = np.concatenate([np.ones((2500, 1)), x[:, :-1].reshape(-1, 3)], axis=1)
    after = x[:, 1:].reshape(-1, 3)
    coefficients = np.linalg.lstsq(before, after, rcond=None)[0]
    residual = after - before @ coefficients
    noise = scipy.stats.multivariate_normal(np.zeros(3), residual.T @ residual / len(residual))
    first = scipy.stats.multivariate_normal(x[:, 0].mean(0), np.cov(x[:, 0].T, bias=True))
    expected = np.concatenate(
        [first.logpdf(x[:, 0])[:, None], noise.logpdf(residual).reshape(500, 5)], axis=1
    )
    actual = networks.bind(definition, params).log_prob(jnp.asarray(x, jnp.float32))
    assert np.allclose(actual, expected, atol=2e-3)


def test_collinear_columns_give_a_finite_frame():
    x = helpers.series(100, 5, 2)
    x = np.concatenate([x, x.sum(axis=2, keepdims=True)], axis=2)
    frame = networks.fit_frame(x, "full")
    definition, params = networks.policy(
        jax.random.key(0), GeneratorConfig(hidden_dim=4, policy="gaussian"), frame
    )
    log_prob = networks.bind(definition, params).log_prob(jnp.asarray(x, jnp.float32))
    assert np.all(np.isfinite(log_prob))


def test_teacher_forcing_is_shifted():
    """log pi(x_t | x_<t) depends on x_1 .. x_t and on nothing later; its law not even on x_t."""
    definition, params = helpers.policy(2)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(1, 6, 2, seed=3), jnp.float32)
    by_log_prob = jax.jit(jax.jacobian(lambda x: policy.log_prob(x)[0]))(x)[:, 0]
    entropy = jax.jit(jax.jacobian(lambda x: policy.log_prob_and_entropy(x)[1][0]))
    by_law = entropy(x)[:, 0]
    for t in range(6):
        assert np.any(by_log_prob[t, t] != 0)
        assert np.all(by_log_prob[t, t + 1 :] == 0)
        assert np.all(by_law[t, t:] == 0)
    assert np.any(by_law[2, 1] != 0)


@pytest.mark.parametrize(
    ("law", "layers"), [("gaussian", 1), ("student", 1), ("mixture", 1), ("gaussian", 3)]
)
def test_steps_one_by_one_are_the_teacher_forced_pass(law, layers):
    definition, params = helpers.policy(2, policy=law, layers=layers)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(3, 6, 2, seed=4), jnp.float32)
    (h_T, c_T), u_T, _ = jax.jit(policy.teacher_forced)(x)
    state, law = policy.first_step(3)
    log_probs = [law.log_prob(x[:, 0])]
    for t in range(1, 6):
        assert np.allclose(state[0], h_T[t - 1], atol=1e-6)
        assert np.allclose(state[1], c_T[t - 1], atol=1e-6)
        assert np.allclose(law.innovation(x[:, t - 1]), u_T[t - 1, :, 2:], atol=1e-4)
        u = jnp.concatenate([x[:, t - 1], law.innovation(x[:, t - 1])], axis=-1)
        state, law = policy.step(state, u)
        log_probs.append(law.log_prob(x[:, t]))
    assert np.allclose(jnp.stack(log_probs, axis=1), policy.log_prob(x), atol=1e-4)


def test_layers_are_lstms_on_top_of_each_other():
    """The states of two layers by a plain loop in float64; the law reads the last one."""
    definition, params = helpers.policy(1, hidden=4, layers=2)
    policy = networks.bind(definition, params)
    x = jnp.asarray(helpers.series(3, 6, 1, seed=4), jnp.float32)
    (h_T, _), u_T, (_, later) = jax.jit(policy.teacher_forced)(x)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    (deep,) = p["deeper"].values()
    h, c = np.zeros((2, 3, 4)), np.zeros((2, 3, 4))

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    for t in range(6):
        fed = p["start"] if t == 0 else np.asarray(u_T[t - 1], np.float64) @ p["input"]
        fed = np.broadcast_to(fed + p["bias"], (3, 16))
        for layer, recurrent in enumerate((p["recurrent"], deep["recurrent"])):
            if layer:
                fed = h[0] @ deep["input"] + deep["bias"]
            i, f, o, g = np.split(fed + h[layer] @ recurrent, 4, axis=1)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * np.tanh(g)
            h[layer] = sigmoid(o) * np.tanh(c[layer])
        assert np.allclose(h_T[t], np.concatenate(h, axis=1), atol=1e-5)
    mean = (h[1] @ p["head"] + p["head_bias"])[:, :1]
    assert np.allclose(later.law.mean[-1], mean, atol=1e-4)


@pytest.mark.parametrize("kind", ["increments", "levels"])
def test_other_frames_are_the_value_before_and_the_mean(kind):
    x = helpers.series(500, 6, 2) + 3.0
    frame = networks.Frame(*map(np.asarray, networks.fit_frame(x, "full", kind)))
    after, before = x[:, 1:].reshape(-1, 2), x[:, :-1].reshape(-1, 2)
    distance = after - before if kind == "increments" else after
    e = (after - before @ frame.matrix.T - frame.offset) @ np.linalg.inv(frame.factor).T
    assert np.allclose(e.mean(0), 0, atol=1e-4)
    assert np.allclose(np.cov(e.T, bias=True), np.eye(2), atol=1e-3)
    assert np.allclose(frame.factor @ frame.factor.T, np.cov(distance.T, bias=True), atol=1e-3)


def test_the_first_step_of_a_mixture_has_its_own_law():
    """Two far modes in x_1: a mixture of many components holds them, one Gaussian does not."""
    definition, params = helpers.policy(1, policy="mixture")
    policy = networks.bind(definition, params)
    assert policy.first_family.components == networks.FIRST_COMPONENTS > policy.family.components
    _, first = policy.first_step(2)
    _, later = policy.step(policy.first_step(2)[0], jnp.zeros((2, 2)))
    assert first.law.raw_PD.shape == (2, 1, 3 * networks.FIRST_COMPONENTS)
    assert later.law.raw_PD.shape == (2, 1, 9)


def test_the_frame_is_never_trained():
    definition, params = helpers.policy(2)
    x = jnp.asarray(helpers.series(3, 6, 2), jnp.float32)
    grads = jax.jit(jax.grad(lambda p: networks.bind(definition, p).log_prob(x).sum()))(params)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(grads["frame"]))
    others = {name: leaf for name, leaf in grads.items() if name != "frame"}
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(others))


def test_reference_discriminator_has_3018050_parameters():
    _, params = networks.discriminator(jax.random.key(0), "reference", 20, 1, 0.75, (1.0,))
    assert networks.num_params(params) == 3_018_050


@pytest.mark.parametrize("size", ["small", "reference"])
def test_dropout_only_where_a_key_is_given(size):
    definition, params = networks.discriminator(jax.random.key(0), size, 6, 2, 0.5, (1.0, 1.0))
    net = jax.jit(networks.bind(definition, params))
    x = jnp.asarray(helpers.series(8, 6, 2), jnp.float32)
    assert np.array_equal(net(x), net(x))
    first, second = net(x, jax.random.key(1)), net(x, jax.random.key(2))
    assert not np.allclose(first, second)
    assert not np.allclose(first, net(x))


def test_dropout_keeps_the_mean_and_the_rate():
    first, second = networks.dropout_factors(jax.random.key(0), 0.75, 100, (300, 100))
    assert first.shape == (100, 300)
    dropped = np.concatenate([first, second], axis=1)
    assert set(np.unique(dropped).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs((dropped > 0).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / dropped.size)


@pytest.mark.parametrize("size", ["small", "reference"])
def test_a_fresh_discriminator_has_the_variances_of_he(size):
    _, params = networks.discriminator(jax.random.key(3), size, 20, 1, 0.75, (1.0,))
    kernels = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if leaf.ndim == 1:
            assert not np.any(leaf), name
        else:
            kernels[name] = np.asarray(leaf, np.float64).ravel()
            wanted = (1 if "output" in name else 2) / np.prod(leaf.shape[:-1])
            unit = kernels[name] / np.sqrt(wanted)
            # The fourth moment of a normal law, cut at two deviations, sets the error.
            law = scipy.stats.truncnorm(-2, 2)
            assert np.abs(unit).max() <= 2 / law.std() + 1e-5, name
            error = np.sqrt((law.moment(4) / law.var() ** 2 - 1) / unit.size)
            assert abs(np.mean(unit**2) - 1) < 4 * error, name
            assert abs(np.mean(unit)) < 4 / np.sqrt(unit.size), name
    assert len(kernels) == {"small": 6, "reference": 14}[size]
    first = [v[:32] for v in kernels.values() if v.size > 32]
    assert not any(np.allclose(a, b) for i, a in enumerate(first) for b in first[:i])


def test_a_closed_highway_is_the_identity_and_an_open_one_its_transform():
    _, params = networks.split(networks.Highway(7))
    x, kernel = jax.random.normal(jax.random.key(1), (5, 7)), np.eye(7, k=2, dtype=np.float32)
    params["transform"]["kernel"] = jnp.asarray(kernel - 0.5)

    def with_gate(bias):
        definition, _ = networks.split(networks.Highway(7))
        gate = params["gate"] | {"bias": jnp.full(7, bias)}
        return networks.bind(definition, params | {"gate": gate})(x)

    transform = params["transform"]
    assert np.allclose(with_gate(-100.0), x)
    assert np.allclose(with_gate(100.0), jax.nn.relu(x @ transform["kernel"]), atol=1e-6)


def test_the_convolution_by_products_is_scipys_correlation():
    definition, params = networks.discriminator(jax.random.key(0), "small", 9, 1, 1.0, (1.0,))
    net = networks.bind(definition, params)
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    kernel = np.asarray(params["conv1"]["kernel"]).reshape(3, 3, -1)
    expected = np.zeros((2, 9, kernel.shape[-1]))
    for b in range(2):
        for c in range(kernel.shape[-1]):
            for channel in range(3):
                expected[b, :, c] += np.correlate(x[b, :, channel], kernel[:, channel, c], "same")
    actual = net._convolve(net.conv1, jnp.asarray(x))
    assert np.allclose(actual, np.maximum(expected, 0), atol=1e-5)


def test_the_small_discriminator_sees_roughness_and_position():
    """Both could be lost by pooling values alone: a permuted sequence must score differently."""
    definition, params = networks.discriminator(jax.random.key(0), "small", 8, 1, 1.0, (1.0,))
    net = networks.bind(definition, helpers.random_params(params, 0))
    x = jnp.asarray(helpers.series(1, 8, 1), jnp.float32)
    assert not np.allclose(net(x), net(x[:, ::-1]), atol=1e-4)


def test_large_batches_are_convolved_in_pieces_to_the_same_logits():
    definition, params = networks.discriminator(
        jax.random.key(0), "reference", 5, 2, 0.75, (1.0, 1.0)
    )
    number = 2 * networks.CONVOLVED_AT_ONCE + 3
    x_BTD = jnp.asarray(np.random.default_rng(0).normal(size=(number, 5, 2)), jnp.float32)
    score = jax.jit(lambda params, x_BTD: networks.bind(definition, params)(x_BTD))
    pieces = [score(params, x_BTD[i : i + 50]) for i in range(0, number, 50)]
    np.testing.assert_allclose(score(params, x_BTD), jnp.concatenate(pieces), atol=1e-5)


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
    found = jax.value_and_grad(total, argnums=(1, 2, 3))(networks._gates, *arguments)
    wanted = jax.value_and_grad(total, argnums=(1, 2, 3))(plain, *arguments)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
