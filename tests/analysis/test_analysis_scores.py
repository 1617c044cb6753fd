"""Published scores: the parts against naive code, the whole on cases with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from seqgan_jax.analysis import analyze, exact, published, scores, ts2vec


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("hidden", [2, 10])
def test_gru_equals_a_numpy_loop(hidden):
    params = scores.init_gru(jax.random.key(0), 4, hidden)
    x = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    p = {name: np.asarray(value, np.float64) for name, value in params.items()}
    h = np.zeros((3, hidden))
    expected = []
    for t in range(7):
        gates = sigmoid(np.concatenate([x[:, t], h], axis=1) @ p["gates"] + p["gates_bias"])
        r, u = gates[:, :hidden], gates[:, hidden:]
        c = np.tanh(np.concatenate([x[:, t], r * h], axis=1) @ p["candidate"] + p["candidate_bias"])
        h = u * h + (1 - u) * c
        expected.append(h)
    found = scores.run_gru(params, jnp.asarray(x))
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-5)
    assert scores.predictions(params, jnp.asarray(x)).shape == (3, 7)


def test_units_and_target_are_those_of_the_protocol():
    assert [scores.units(d) for d in (1, 2, 3, 6, 28)] == [1, 1, 1, 3, 14]
    x = jnp.arange(24.0).reshape(2, 4, 3)
    inputs, target = scores.split_target(x)
    assert inputs.shape == (2, 3, 2)
    np.testing.assert_array_equal(target, np.asarray(x)[:, 1:, 2])
    inputs, target = scores.split_target(x[:, :, :1])
    np.testing.assert_array_equal(inputs[:, :, 0], np.asarray(x)[:, :-1, 0])


def test_repeats_in_one_vmap_equal_single_runs():
    x = np.random.default_rng(1).uniform(size=(80, 5, 2))
    rows = [np.arange(40), np.arange(30, 80)]
    both = scores.predictive(x, rows, x, seed=3, steps=20)
    alone = scores.predictive(x, rows[:1], x, seed=3, steps=20)
    np.testing.assert_allclose(both[:1], alone, atol=1e-5)


def test_discriminative_score_on_known_cases():
    rng = np.random.default_rng(2)
    real = np.linspace(0, 1, 6)[None, :, None] + 0.05 * rng.normal(size=(800, 6, 4))
    noise = rng.uniform(size=(400, 6, 4))
    x = np.concatenate([real, noise])
    halves = (np.arange(400), np.arange(400, 800))
    found = scores.discriminative(
        x, [halves, (np.arange(400), np.arange(800, 1200))], 0, steps=1000
    )
    # Two halves: |accuracy - 0.5| of 160 test sequences, 3 standard errors.
    assert found[0] < 3 * 0.5 / np.sqrt(160)
    assert found[1] > 0.45


def test_predictive_score_knows_what_can_be_known():
    """The last feature is the first one a step ago: with that learned, only noise is left."""
    rng = np.random.default_rng(3)
    first = rng.uniform(0.2, 0.8, size=(600, 9))
    last = np.concatenate([np.full((600, 1), 0.5), first[:, :-1]], axis=1)
    real = np.stack([first, last], axis=2)
    useless = rng.uniform(0.2, 0.8, size=real.shape)
    x = np.concatenate([real, useless])
    found = scores.predictive(x, [np.arange(600), 600 + np.arange(600)], real, 0, steps=1200)
    assert found[0].mean() < 0.08
    # Nothing to learn: the median is the best guess, with mean error (0.8 - 0.2) / 4.
    assert found[1].mean() == pytest.approx(0.15, abs=0.02)


# --- TS2Vec ---


@pytest.fixture(scope="module")
def encoder():
    return ts2vec.init_encoder(jax.random.key(1), 2)


def test_convolution_equals_a_naive_loop():
    rng = np.random.default_rng(4)
    layer = {"kernel": rng.normal(size=(3, 2, 4)), "bias": rng.normal(size=4)}
    layer = {name: jnp.asarray(value, jnp.float32) for name, value in layer.items()}
    x = rng.normal(size=(2, 9, 2)).astype(np.float32)
    for dilation in (1, 2, 4, 16):
        expected = np.zeros((2, 9, 4)) + np.asarray(layer["bias"])
        for t in range(9):
            for k in range(3):
                s = t + (k - 1) * dilation
                if 0 <= s < 9:
                    expected[:, t] += x[:, s] @ np.asarray(layer["kernel"])[k]
        found = ts2vec._convolve(layer, jnp.asarray(x), dilation)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_masked_crop_equals_the_crop_itself(encoder):
    x = jnp.asarray(np.random.default_rng(5).normal(size=(2, 11, 2)), jnp.float32)
    inside = (jnp.arange(11) >= 3) & (jnp.arange(11) < 9)
    crop = jnp.broadcast_to(inside[None].astype(jnp.float32), (2, 11))
    masked = ts2vec.encode(encoder, x, crop, jnp.ones((2, 11)))[:, 3:9]
    alone = ts2vec.encode(encoder, x[:, 3:9], jnp.ones((2, 6)), jnp.ones((2, 6)))
    np.testing.assert_allclose(masked, alone, atol=1e-4)
    assert alone.shape == (2, 6, 320)


def naive_hierarchical_loss(z1, z2):
    """TS2Vec's loss as in the paper (eqs. 1 to 3), with loops."""

    def cross_entropy(anchor, positive, others):
        scores = np.array([anchor @ o for o in others])
        return np.log(np.exp(scores).sum()) - anchor @ positive

    total, levels = 0.0, 0
    while True:
        batch, steps = z1.shape[:2]
        instance, temporal = [], []
        for i in range(batch):
            for t in range(steps):
                for own, other in ((z1, z2), (z2, z1)):
                    rest = [own[j, t] for j in range(batch) if j != i]
                    rest += [other[j, t] for j in range(batch)]
                    instance.append(cross_entropy(own[i, t], other[i, t], rest))
                    rest = [own[i, s] for s in range(steps) if s != t]
                    rest += [other[i, s] for s in range(steps)]
                    temporal.append(cross_entropy(own[i, t], other[i, t], rest))
        total += 0.5 * np.mean(instance) + (0.5 * np.mean(temporal) if steps > 1 else 0.0)
        levels += 1
        if steps == 1:
            return total / levels
        even = steps // 2 * 2
        z1, z2 = (z[:, :even].reshape(batch, even // 2, 2, -1).max(axis=2) for z in (z1, z2))


@pytest.mark.parametrize("length", [2, 5, 7, 8])
def test_hierarchical_loss_equals_a_naive_loop_whatever_the_padding(length):
    rng = np.random.default_rng(length)
    z1, z2 = rng.normal(size=(2, 3, 8, 4))
    found = ts2vec.hierarchical_loss(
        jnp.asarray(z1, jnp.float32), jnp.asarray(z2, jnp.float32), jnp.asarray(length)
    )
    expected = naive_hierarchical_loss(z1[:, :length], z2[:, :length])
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_training_lowers_the_loss_and_averages_the_weights():
    rng = np.random.default_rng(6)
    t = np.arange(8)
    x = np.sin(rng.uniform(0.2, 1.0, size=(64, 1)) * t + rng.uniform(0, 6, size=(64, 1)))
    x = x[:, :, None]
    start, trained = (ts2vec.train(x, 1, 0, steps=s) for s in (1, 25))
    loss = jax.jit(
        lambda p: ts2vec._contrastive_loss(p, jax.random.key(9), jnp.asarray(x, jnp.float32))
    )
    before, after = (float(loss(jax.tree.map(lambda a: a[0], p))) for p in (start, trained))
    assert after < before


def test_frechet_distance_equals_the_closed_form_and_scipy():
    rng = np.random.default_rng(7)
    a, b = (
        rng.normal(size=(500, 6)),
        0.5 + 1.5 * rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)),
    )
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert ts2vec.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert ts2vec.frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert ts2vec.frechet_distance(a, a + 2) == pytest.approx(24)
    assert ts2vec.frechet_distance(a[:4], a[:4]) == pytest.approx(0, abs=1e-8)  # no full rank


# --- as metrics ---


def test_scores_are_scaled_by_the_real_data():
    rng = np.random.default_rng(8)
    real = rng.normal(size=(30, 4, 2)) * [1.0, 0.0] + [5.0, 2.0]
    scaled = published.min_max(real, real)
    assert scaled[..., 0].min() == 0
    assert scaled[..., 0].max() == 1
    assert (scaled[..., 1] == 0).all()


@pytest.mark.slow
def test_published_scores_end_to_end():
    rng = np.random.default_rng(9)

    def ramps():
        return np.linspace(0, 1, 8)[None, :, None] + 0.05 * rng.normal(size=(400, 8, 4))

    real, told = ramps(), []
    same = analyze(
        real,
        ramps(),
        scores=published.NAMES,
        repeats=3,
        progress=lambda what, _share: told.append(what),
    )
    noise = analyze(real, rng.uniform(size=(400, 8, 4)), scores=published.NAMES, repeats=3)
    for name in published.NAMES:
        assert same.metrics[name].verdict == "close", same.metrics[name]
    assert noise.metrics["discriminative"].verdict == "far"
    assert noise.metrics["discriminative"].value > 0.4
    assert noise.metrics["context_fid"].verdict == "far"
    assert {"discriminative score", "predictive score", "Context-FID"} <= set(told)


# --- exact gaps ---


def test_gap_is_the_divergence_between_two_gaussians():
    """KL(N(0, 1) || N(m, 1)) = m^2 / 2, summed over T independent steps, per step."""
    rng = np.random.default_rng(10)
    x, m = rng.normal(size=(4000, 5)), 0.4
    log_ratio = np.sum(-(x**2) / 2 + (x - m) ** 2 / 2, axis=1)
    found = exact.gap("coverage_gap", log_ratio, 5)
    assert found.low < m**2 / 2 < found.high
    assert found.verdict == "far"
    assert exact.gap("coverage_gap", 1e-3 * rng.normal(size=1000), 5).verdict == "close"
    infinite = exact.gap("coverage_gap", np.array([0.0, np.inf, 1.0]), 5)
    assert infinite.verdict == "far"
    assert infinite.value == np.inf


def test_gaps_of_a_run_are_those_of_its_model(tmp_path, monkeypatch):
    """A model that is the simulator itself has no gap; one that is too narrow has both."""
    import seqgan_jax
    from seqgan_jax.processes import simulators

    law = simulators.get("ar1", length=6)
    draw = np.asarray(law.sample(jax.random.key(0), 1500), np.float64)

    class Model:
        def __init__(self, width):
            self.width = width

        def sample_array(self, n, seed=0):
            x = np.asarray(law.sample(jax.random.key(seed + 1), n), np.float64)
            return 3 + self.width * (x - 3)

        def log_prob(self, x):
            return law.log_prob(3 + (x - 3) / self.width) - 6 * np.log(self.width)

    for width, verdict in ((1.0, "close"), (0.6, "far")):
        monkeypatch.setattr(
            seqgan_jax, "SeqGAN", type("S", (), {"load": lambda _, w=width: Model(w)})
        )
        found = exact.metrics(tmp_path, "ar1", draw, seed=0)
        assert {m.verdict for m in found.values()} == {verdict}, found
    # KL of N(0, s^2 w^2) from N(0, s^2), a step: w^2 / 2 - 1/2 - ln w.
    assert found["quality_gap"].value == pytest.approx(0.18 - 0.5 - np.log(0.6), abs=0.01)
    assert exact.metrics(tmp_path, "prices.csv", draw, seed=0) == {}
