"""What is known in advance: the policy reads it at the right step, the baseline takes it along."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.config import AdversarialConfig, GeneratorConfig
from seqgan_jax.core import (
    adversarial,
    baseline,
    keys,
    likelihood,
    networks,
    policy,
    sampling,
    selection,
)
from seqgan_jax.core.batch import Batch, Parts
from seqgan_jax.core.columns import regressions, support
from seqgan_jax.core.policy import bind
from seqgan_jax.data import kinds
from seqgan_jax.data.scaling import Scaler

PERIOD = 6


def rhythm(n, length, seed=0, amplitude=2.0):
    """AR(1) about a rhythm, starting anywhere in it: x [n, T, 1], cos and sin [n, T, 2]."""
    rng = np.random.default_rng(seed)
    phase = 2 * np.pi * (rng.integers(0, PERIOD, n)[:, None] + np.arange(length)) / PERIOD
    noise = np.zeros((n, length))
    noise[:, 0] = rng.normal(size=n) / np.sqrt(1 - 0.5**2)
    for t in range(1, length):
        noise[:, t] = 0.5 * noise[:, t - 1] + rng.normal(size=n)
    x = amplitude * np.sin(phase) + noise
    return x[..., None], np.stack([np.cos(phase), np.sin(phase)], axis=-1)


def exact_nll(length):
    """Entropy of AR(1) with coefficient 1/2 and unit innovations, nats a step."""
    return 0.5 * np.log(2 * np.pi * np.e) - 0.5 * np.log(1 - 0.5**2) / length


def known_policy(length=7, features=2, seed=0, **settings):
    """A perturbed policy with W = 2, sequences, and what is known of them."""
    x = helpers.series(60, length, features, seed)
    known = np.random.default_rng(seed).normal(size=(60, length, 2))
    fitted = baseline.fit(x, x, known=(known, known))
    definition, params, constants = helpers.policy_of(fitted, **settings)
    bound = bind(definition, helpers.random_params(params, seed), constants)
    return bound, jnp.asarray(x[:3], jnp.float32), jnp.asarray(known[:3], jnp.float32)


def test_the_baseline_is_least_squares_with_what_is_known_beside_the_past():
    """Against one regression of x_t on x_{t-1}, k_t and 1 by numpy."""
    x, known = rhythm(4000, 6)
    x = np.concatenate([x, 0.3 * x + rhythm(4000, 6, 1)[0]], axis=2)
    fitted = baseline.fit(x[:3000], x[3000:], known=(known[:3000], known[3000:]))
    of_past = x[:3000, :-1].reshape(-1, 2)
    rows = np.concatenate([of_past, known[:3000, 1:].reshape(-1, 2), np.ones((15000, 1))], axis=1)
    expected = np.linalg.lstsq(rows, x[:3000, 1:].reshape(-1, 2), rcond=None)[0].T
    found = np.concatenate([fitted.matrix, fitted.known, fitted.offset[:, None]], axis=1)
    assert np.allclose(found, expected, atol=0.04)  # but for the ridge
    first = np.linalg.lstsq(
        np.concatenate([known[:3000, 0], np.ones((3000, 1))], axis=1), x[:3000, 0], rcond=None
    )[0].T
    found = np.concatenate([fitted.first_known, fitted.first_offset[:, None]], axis=1)
    assert np.allclose(found, first, atol=0.02)


def test_what_says_nothing_leaves_the_baseline_as_it_is():
    x, _ = rhythm(60, 6)
    nothing = np.random.default_rng(5).normal(size=(60, 6, 40))
    fitted = baseline.fit(x[:30], x[30:], known=(nothing[:30], nothing[30:]))
    alone = baseline.fit(x[:30], x[30:])
    assert np.abs(fitted.first_known).max() < 0.05
    assert np.allclose(fitted.matrix, alone.matrix, atol=0.15)


def test_an_untrained_policy_is_the_baseline_with_its_rhythm():
    """log pi against the Gaussian of each step by hand, and the exact entropy of the law."""
    x, known = rhythm(6000, 12)
    fitted = baseline.fit(x, x, known=(known, known))
    bound = bind(*helpers.policy_of(fitted))
    batch = Batch.complete(*(jnp.asarray(a, jnp.float32) for a in (x, known)))
    log_p = np.asarray(bound.log_prob(batch), np.float64)[..., 0]
    f = {name: np.asarray(a, np.float64) for name, a in fitted.constants().items()}
    first = f["first_offset"] + known[:, :1] @ f["first_known"].T
    later = x[:, :-1] @ f["matrix"].T + f["offset"] + known[:, 1:] @ f["known"].T
    e = x - np.concatenate([first, later], axis=1)
    scale = np.r_[f["first_factor"][0], np.repeat(f["factor"][0], 11)]
    expected = -0.5 * (e[..., 0] / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    assert np.allclose(log_p, expected, atol=1e-3)
    error = log_p.sum(1).std() / 12 / np.sqrt(6000)
    assert abs(-log_p.mean() - exact_nll(12)) < 4 * error + 1e-3
    blind = bind(*helpers.policy_of(baseline.fit(x, x)))
    assert float(policy.nll(blind, Batch.complete(batch.x))) > exact_nll(12) + 0.2


@pytest.mark.parametrize("settings", [{}, {"policy": "mixture", "layers": 2}])
def test_sampling_and_teacher_forcing_read_the_same(settings):
    """Each step by `step` alone, given the values so far, against one pass; and none sees later."""
    bound, x, known = known_policy(**settings)
    log_p = np.asarray(bound.log_prob(Batch.complete(x, known)))
    state, step = bound.begin(3, 1.0, known[:, 0])
    inputs = bound.first_inputs(x[:, 0], step.context.read(x[:, 0]))
    assert np.allclose(step.log_prob(x[:, 0]), log_p[:, 0], atol=1e-4)
    for t in range(1, x.shape[1]):
        carried = inputs
        state, step = bound.step(state, carried, 1.0, known[:, t])
        assert np.allclose(step.log_prob(x[:, t]), log_p[:, t], atol=1e-4)
        inputs = bound.next_inputs(carried, x[:, t], step.context.read(x[:, t]))
    changed = bound.log_prob(Batch.complete(x, known.at[:, 4].add(1.0)))
    moved = np.abs(np.asarray(changed) - log_p).max(axis=(0, 2))
    assert moved[:4].max() == 0
    assert moved[4:].min() > 1e-4


@pytest.mark.parametrize(("length", "every"), [(7, 1), (8, 1), (7, 2), (8, 2), (8, 3), (9, 5)])
def test_rollouts_read_the_known_of_the_step_that_they_draw(length, every):
    """Against a loop over prefixes and steps, with the noise of the folded schedule."""
    bound, x, known = known_policy(length)
    lanes = sampling.num_lanes(length, every)
    noise = jax.random.normal(jax.random.key(1), (length, 3, lanes, bound.num_noise))
    given = sampling.prefixes(bound, x, known)
    found = jax.jit(sampling.rollouts, static_argnums=4)(bound, given, noise, 1.0, every, known)
    times = sampling.scan_times(length, every)
    for j, prefix in enumerate(sampling.prefix_lengths(length, every)):
        lane = j if j < lanes else len(sampling.prefix_lengths(length, every)) - 1 - j
        state, inputs = (leaf for leaf in (given.states, given.inputs))
        state = jax.tree.map(lambda leaf, p=prefix: leaf[p - 1], state)
        inputs = inputs[prefix - 1]
        expected = [x[:, t] for t in range(prefix)]
        restart = length - every * (lane + 1)
        for t in range(prefix, length):
            rows = np.flatnonzero(times[:, lane] == t)
            row = rows[rows < restart] if j < lanes else rows[rows >= restart]
            state, step = bound.step(state, inputs, 1.0, known[:, t])
            value, read = step.sample(noise[row[0], :, lane])
            inputs = bound.next_inputs(inputs, value, read)
            expected.append(value)
        assert np.allclose(found[:, j], jnp.stack(expected, 1), atol=1e-4), (j, prefix)


def test_rewards_are_of_the_sequences_with_what_is_known_of_them():
    bound, x, known = known_policy()

    def reward(batch):
        return jnp.sum(batch.known[..., 0], axis=1)

    for asked in (1, 4):
        q = sampling.q_values(bound, reward, x, jax.random.key(0), 4, asked, 2, known)
        assert np.allclose(q, np.asarray(known[..., 0].sum(axis=1))[:, None], atol=1e-4)


def test_samples_have_the_rhythm_at_their_place_in_it():
    x, known = rhythm(5000, 12)
    fitted = baseline.fit(x, x, known=(known, known))
    bound = bind(*helpers.policy_of(fitted))
    given = jnp.asarray(np.tile(known[:1], (20_000, 1, 1)), jnp.float32)
    samples = sampling.sample(bound, jax.random.key(0), 20_000, 12, known_BTW=given)
    error = np.sqrt(4 / 3 / 20_000)
    mean = np.asarray(samples, np.float64).mean(axis=0)[:, 0]
    assert np.abs(mean - 2 * known[0, :, 1]).max() < 4 * error + 0.06  # of the fit


@pytest.fixture(scope="module")
def trained():
    """Networks, state and data of a short likelihood training on a rhythm."""
    x, known = rhythm(320, 8)
    rows = [Batch.complete(*(jnp.asarray(a[s], jnp.float32) for a in (x, known))) for s in
            (slice(256), slice(256, None))]  # fmt: skip
    fitted = baseline.fit(x[:256], x[256:], known=(known[:256], known[256:]))
    nets, state = networks.init(jax.random.key(0), 8, fitted, jnp.ones(1), helpers.GEN, helpers.DIS)
    return nets, state, Parts(*rows, jnp.arange(64)), jax.random.key(1)


@pytest.mark.parametrize("gradient", ["reinforce", "pathwise"])
def test_all_phases_and_the_choice_of_a_policy_take_it(trained, gradient):
    nets, state, parts, key = trained
    state = jax.tree.map(jnp.copy, state)
    state, found = likelihood.epochs(
        state, parts, key, jnp.array(2), nets=nets, config=helpers.GEN, batch_size=32
    )
    assert np.isfinite(found["validation_nll"][:2]).all()
    state, found = adversarial.discriminator_epochs(
        state, parts, key, jnp.array(keys.DISCRIMINATOR), jnp.array(0), jnp.array(1), nets=nets,
        config=helpers.DIS, batch_size=32,
    )  # fmt: skip
    assert np.isfinite(found["dis_loss"][0])
    config = AdversarialConfig(gen_updates=1, rollout_num=2, gradient=gradient)
    state = adversarial.begin(state, config)
    before = np.asarray(state.policy["known_head"])
    state, found = adversarial.policy_updates(
        state, parts, key, jnp.array(1), nets=nets, config=config, batch_size=16
    )
    assert np.isfinite(found["validation_nll"][0])
    assert np.abs(np.asarray(state.policy["known_head"]) - before).max() > 1e-5
    shape = {"nets": nets, "tolerance": 0.05, "looks": 1}
    selection.keep_harder_to_tell(state, parts, key, jnp.array(0.0), jnp.array(0), **shape)


def test_a_discriminator_tells_sequences_at_the_wrong_place(trained):
    """What it reads of the known reaches its logit."""
    nets, state, parts, _ = trained
    network = nets.bind_discriminator(helpers.random_params(state.discriminator, 0, 0.1), state)
    some = parts.train.take(slice(8))
    shifted = Batch.complete(some.x, jnp.roll(some.known, 3, axis=1))
    assert np.abs(np.asarray(network(some) - network(shifted))).min() > 1e-4


def test_columns_of_every_kind_take_it():
    """Counts with a rhythm: likelier with what is known, sampled at their place in it."""
    x, known = rhythm(1500, 8)
    x = np.maximum(np.rint(2 * x), 0.0)
    found = kinds.find(x, (None,), names=("x",))
    scaler = Scaler.fit(x, (None,), found)
    z = scaler.transform(x)
    columns = support.of(scaler.kinds_K, scaler.scaled, scaler.affine)
    sizes, rest = support.sizes_and_rest(columns, z)
    losses = {}
    for name, given in (("blind", None), ("known", known)):
        both = None if given is None else (given, given)
        linear = baseline.fit_rest((sizes, rest), (sizes, rest), known=both)
        own = regressions.fit(columns, linear, z, z, both)
        config = GeneratorConfig(hidden_dim=4)
        bound = bind(*policy.init(jax.random.key(0), config, linear, own))
        k = None if given is None else jnp.asarray(given, jnp.float32)
        batch = Batch.complete(jnp.asarray(z, jnp.float32), k)
        losses[name] = float(policy.nll(bound, batch))
    assert losses["known"] < losses["blind"] - 0.05
    samples = np.asarray(sampling.sample(bound, jax.random.key(0), 1500, 8, known_BTW=k))
    high = known[..., 1] > 0.5
    assert samples[high].mean() > samples[~high].mean() + 0.5
