"""The discriminators and their losses against closed forms, scipy and counts."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from seqgan_jax.core import discriminator, reference_discriminator
from seqgan_jax.core.batch import Batch, num_params
from seqgan_jax.core.policy import bind, split


def test_reference_discriminator_has_3018050_parameters():
    _, params, _ = helpers.small_discriminator("reference", 20)
    assert num_params(params) == 3_018_050


@pytest.mark.parametrize("size", ["small", "reference"])
def test_dropout_only_where_a_key_is_given(size):
    net = jax.jit(bind(*helpers.small_discriminator(size, 6, 2, keep_prob=0.5)))
    x = helpers.batch(helpers.series(8, 6, 2))
    assert np.array_equal(net(x), net(x))
    first, second = net(x, jax.random.key(1)), net(x, jax.random.key(2))
    assert not np.allclose(first, second)
    assert not np.allclose(first, net(x))


def test_dropout_keeps_the_mean_and_the_rate():
    first, second = discriminator.dropout_factors(jax.random.key(0), 0.75, 100, (300, 100))
    assert first.shape == (100, 300)
    dropped = np.concatenate([first, second], axis=1)
    assert set(np.unique(dropped).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs((dropped > 0).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / dropped.size)


@pytest.mark.parametrize("size", ["small", "reference"])
def test_a_fresh_discriminator_has_the_variances_of_he(size):
    _, params, _ = helpers.small_discriminator(size, 20, keep_prob=0.75, seed=3)
    kernels = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if leaf.ndim == 1:
            assert not np.any(leaf), name
        else:
            kernels[name] = np.asarray(leaf, np.float64).ravel()
            wanted = (1 if "output" in name else 2) / np.prod(leaf.shape[:-1])
            unit = kernels[name] / np.sqrt(wanted)
            # The fourth moment of a normal number, cut at two deviations, sets the error.
            cut = scipy.stats.truncnorm(-2, 2)
            assert np.abs(unit).max() <= 2 / cut.std() + 1e-5, name
            error = np.sqrt((cut.moment(4) / cut.var() ** 2 - 1) / unit.size)
            assert abs(np.mean(unit**2) - 1) < 4 * error, name
            assert abs(np.mean(unit)) < 4 / np.sqrt(unit.size), name
    assert len(kernels) == {"small": 6, "reference": 14}[size]
    first = [v[:32] for v in kernels.values() if v.size > 32]
    assert not any(np.allclose(a, b) for i, a in enumerate(first) for b in first[:i])


def test_a_closed_highway_is_the_identity_and_an_open_one_its_transform():
    definition, params, constants = split(discriminator.Highway(7))
    x, kernel = jax.random.normal(jax.random.key(1), (5, 7)), np.eye(7, k=2, dtype=np.float32)
    params["transform"]["kernel"] = jnp.asarray(kernel - 0.5)

    def with_gate(bias):
        gate = params["gate"] | {"bias": jnp.full(7, bias)}
        return bind(definition, params | {"gate": gate}, constants)(x)

    transform = params["transform"]
    assert np.allclose(with_gate(-100.0), x)
    assert np.allclose(with_gate(100.0), jax.nn.relu(x @ transform["kernel"]), atol=1e-6)


def test_the_convolution_by_products_is_scipys_correlation():
    definition, params, constants = helpers.small_discriminator("small", 9)
    net = bind(definition, params, constants)
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
    definition, params, constants = helpers.small_discriminator("small", 8)
    net = bind(definition, helpers.random_params(params, 0), constants)
    x = helpers.series(1, 8, 1)
    assert not np.allclose(net(helpers.batch(x)), net(helpers.batch(x[:, ::-1])), atol=1e-4)


def test_first_differences_are_in_units_of_their_constant():
    """Logits of x with scale s are those of the module in which s is folded into the weights."""
    definition, params, constants = helpers.small_discriminator("small", 8)
    assert set(constants) == {"increment_scale"}
    x = helpers.batch(helpers.series(4, 8, 1))
    scaled = bind(definition, params, {"increment_scale": jnp.array([0.1])})(x)
    kernel = params["conv1"]["kernel"].reshape(3, 3, -1).at[:, 1].mul(10.0)
    folded = params | {"conv1": params["conv1"] | {"kernel": kernel.reshape(9, -1)}}
    assert np.allclose(scaled, bind(definition, folded, constants)(x), rtol=1e-4, atol=1e-4)
    assert not np.allclose(scaled, bind(definition, params, constants)(x), atol=1e-2)


def test_large_batches_are_convolved_in_pieces_to_the_same_logits():
    definition, params, constants = helpers.small_discriminator("reference", 5, 2)
    number = 2 * reference_discriminator.CONVOLVED_AT_ONCE + 3
    x = helpers.batch(np.random.default_rng(0).normal(size=(number, 5, 2)))
    score = jax.jit(bind(definition, params, constants))
    pieces = [score(x.take(slice(i, i + 50))) for i in range(0, number, 50)]
    np.testing.assert_allclose(score(x), jnp.concatenate(pieces), atol=1e-5)


# ------------------------------------------------------------------ losses


def test_cross_entropy_is_ln2_when_blind_and_the_formula_otherwise():
    blind = discriminator.cross_entropy(jnp.zeros(4), jnp.array([1.0, 0.0, 1.0, 0.0]))
    assert float(blind) == pytest.approx(np.log(2))
    logits, real = np.array([2.0, -1.0, 0.5]), np.array([1.0, 1.0, 0.0])
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.mean(real * np.log(probability) + (1 - real) * np.log(1 - probability))
    actual = discriminator.cross_entropy(
        jnp.asarray(logits, jnp.float32), jnp.asarray(real, jnp.float32)
    )
    assert float(actual) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", ["small", "reference"])
def test_l2_is_on_the_output_layer_only(size):
    _, params, _ = helpers.small_discriminator(size, 6)
    gradient = jax.grad(discriminator.output_l2)(params)
    for name, part in gradient.items():
        for got, weight in zip(jax.tree.leaves(part), jax.tree.leaves(params[name]), strict=True):
            expected = np.asarray(weight) if name == "output" else np.zeros_like(weight)
            assert np.array_equal(got, expected)


def test_r1_of_a_quadratic_logit_is_its_closed_form():
    """logit = w . x^2: the gradient is 2 w x."""
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(4, 2)), rng.normal(size=(6, 4, 2))

    def logit(real: Batch):
        return jnp.sum(jnp.asarray(w, jnp.float32)[None] * real.x**2, axis=(1, 2))

    expected = 0.5 * np.sum((2 * w * x) ** 2) / 6
    actual = discriminator.r1(logit, helpers.batch(x))
    assert float(actual) == pytest.approx(expected, rel=1e-5)
