"""One column of tokens: against enumeration, a plain loop, exact gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.stats
from helpers import random_params

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import adversarial, gradients, keys, likelihood, sampling, token_networks
from seqgan_jax.core.batch import Batch, Parts
from seqgan_jax.core.columns.tokens import TokenStep, drawn
from seqgan_jax.core.policy import bind, validation_nll

V, T = 3, 3
ALL = np.array(list(itertools.product(range(V), repeat=T)), np.float32)[..., None]  # [27, 3, 1]
GEN = GeneratorConfig(hidden_dim=4, gen_lr=1e-2)
DIS = DiscriminatorConfig(dis_r1=0.0, num_negatives=16)


def model(seed=0, hidden=4, tokens=V):
    definition, params, constants = token_networks.init_policy(
        jax.random.key(0), GeneratorConfig(hidden_dim=hidden), tokens, 2
    )
    return definition, random_params(params, seed, 0.8), constants


def weights(tokens=V, hidden=4):
    return oracle.weights_of_seed(3, oracle.Sizes(tokens=tokens, hidden=hidden))


def plain_log_prob(w, x_NT):
    """The published oracle's formulas, a sequence and a token at a time, in float64."""
    w = {name: np.asarray(array, np.float64) for name, array in w.items()}

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    found = []
    for tokens in x_NT.astype(int):
        h, c, read, total = np.zeros(len(w["bi"])), np.zeros(len(w["bi"])), 0, 0.0
        for token in tokens:
            x = w["embedding"][read]
            i, f, o = (sigmoid(x @ w["W" + g] + h @ w["U" + g] + w["b" + g]) for g in "ifo")
            c = f * c + i * np.tanh(x @ w["Wc"] + h @ w["Uc"] + w["bc"])
            h = o * np.tanh(c)
            p = np.exp(h @ w["Wout"] + w["bout"])
            total += np.log(p[token] / p.sum())
            read = token
        found.append(total)
    return np.array(found)


def log_prob(model, x_NT1, temperature=1.0):
    return np.asarray(
        jax.jit(lambda: bind(*model).log_prob(Batch.complete(jnp.asarray(x_NT1)), temperature))()
    )[..., 0].sum(axis=1)


def test_the_oracle_is_a_plain_loop_over_its_formulas():
    own = weights()
    assert np.allclose(log_prob(oracle.oracle_of(own), ALL), plain_log_prob(own, ALL[..., 0]))
    wide = weights(tokens=50, hidden=6)
    x = np.random.default_rng(0).integers(0, 50, (20, 7)).astype(np.float32)
    found = log_prob(oracle.oracle_of(wide), x[..., None])
    assert np.allclose(found, plain_log_prob(wide, x), rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_probabilities_sum_to_one_and_samples_follow_them(temperature):
    definition, params, constants = model()
    p = np.exp(log_prob((definition, params, constants), ALL, temperature))
    assert p.sum() == pytest.approx(1.0, abs=1e-5)
    x = oracle.draw(
        oracle.Model(definition, params, constants), jax.random.key(1), 5000, T, temperature
    )
    counts = np.bincount((np.asarray(x)[..., 0] @ [9, 3, 1]).astype(int), minlength=27)
    common = p * 5000 > 5
    stat = np.sum((counts - 5000 * p)[common] ** 2 / (5000 * p)[common])
    assert scipy.stats.chi2.sf(stat, common.sum() - 1) > 1e-3


@pytest.mark.parametrize("number", [1, 7, 12, 100])
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(number):
    rng = np.random.default_rng(number)
    logits = jnp.asarray(3 * rng.normal(size=(1, number)), jnp.float32)
    uniform = (np.arange(20_000) + 0.5) / 20_000
    found = jax.jit(drawn)(
        jnp.tile(logits, (20_000, 1)), jnp.asarray(uniform[:, None], jnp.float32)
    )
    p = np.asarray(jax.nn.softmax(logits))[0]
    counts = np.bincount(np.asarray(found)[:, 0], minlength=number)
    assert np.abs(counts / 20_000 - p).max() < 2e-4


def test_gradients_of_log_probabilities_are_jaxs_own():
    rng = np.random.default_rng(0)
    h, head, bias, g = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((4, 5, 3), (3, 7), (7,), (4, 5, 1))
    )
    x = jnp.asarray(rng.integers(0, 7, (4, 5, 1)), jnp.float32)

    def ours(h, head, bias):
        return jnp.sum(g * TokenStep.of(h, head, bias, 0.7).log_prob(x))

    def plain(h, head, bias):
        log_p = jax.nn.log_softmax((h @ head + bias[None, None]) / 0.7)
        return jnp.sum(g * jnp.take_along_axis(log_p, x.astype(int), -1))

    found, wanted = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(h, head, bias) for f in (ours, plain)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_reinforce_is_the_exact_gradient_by_enumeration():
    definition, params, constants = model()
    reward_27 = jnp.asarray(np.random.default_rng(5).normal(size=27), jnp.float32)
    config = AdversarialConfig(anchor=0.0, rollout_num=2, rollout_every=1)

    def bound(params):
        return bind(definition, params, constants)

    def reward(batch):
        codes = batch.x[..., 0] @ jnp.array([9.0, 3.0, 1.0])
        return reward_27[codes.astype(jnp.int32)]

    def exact(params):  # - E[r] / T
        log_p = bound(params).log_prob(Batch.complete(jnp.asarray(ALL))).sum(axis=(1, 2))
        return -jnp.sum(jnp.exp(log_p) * reward_27) / T

    def estimate(key):
        found = gradients.reinforce_batch(bound(params), bound(params), reward, key, T, 256, config)
        loss = gradients.reinforce(bound, *found[:2], found[0], config)
        return jax.grad(loss, has_aux=True)(params)[0]

    def flat(tree):
        return np.concatenate([np.reshape(leaf, (-1,)) for leaf in jax.tree.leaves(tree)])

    wanted = flat(jax.jit(jax.grad(exact))(params))
    each = jax.jit(lambda keys: jax.lax.map(estimate, keys))(
        jax.random.split(jax.random.key(2), 60)
    )
    each = np.concatenate([np.reshape(leaf, (60, -1)) for leaf in jax.tree.leaves(each)], axis=1)
    error = each.std(axis=0, ddof=1) / np.sqrt(60)
    assert np.abs(wanted).max() > 0.02
    assert np.all(np.abs(each.mean(axis=0) - wanted) < 4.5 * error + 1e-6)


def test_rollouts_keep_their_prefixes():
    definition, params, constants = model(tokens=6)
    one = bind(definition, params, constants)
    x = sampling.sample(one, jax.random.key(0), 4, 5)
    given = sampling.prefixes(one, x)
    noise = keys.normal(jax.random.key(1), (5, 4, 2, 1))
    made = np.asarray(sampling.rollouts(one, given, noise))
    assert made.shape == (4, 4, 5, 1)
    for j in range(4):
        assert np.array_equal(made[:, j, : j + 1], np.asarray(x)[:, : j + 1])
    assert set(np.unique(made)) <= set(range(6))


def test_all_training_steps_run_and_likelihood_learns():
    true = oracle.oracle_of(weights(tokens=8))
    drawn_ = [oracle.draw(true, jax.random.key(i), 64, 4) for i in range(2)]
    parts = Parts(*(Batch.complete(x) for x in drawn_), jnp.arange(64, dtype=jnp.int32))
    nets, state = token_networks.init(jax.random.key(0), 4, 8, GEN, DIS)
    before = float(validation_nll(nets.bind_policy(state.policy, state), parts.validation))
    assert before == pytest.approx(np.log(8), abs=1e-5)  # untrained: uniform
    key, one = jax.random.key(3), jnp.array(1)
    shared = {"nets": nets, "batch_size": 8}
    state, _ = likelihood.epochs(state, parts, key, jnp.array(8), config=GEN, **shared)
    assert float(state.best_nll) < before - 0.1
    state = adversarial.begin(state, oracle.ADV)
    old = jax.tree.map(np.asarray, (state.policy, state.discriminator))
    epoch = jnp.array(keys.ADVERSARY), jnp.array(0), one
    state, _ = adversarial.discriminator_epochs(state, parts, key, *epoch, config=DIS, **shared)
    config = AdversarialConfig(rollout_num=2, rollout_every=1, gen_updates=1)
    state, found = adversarial.policy_updates(state, parts, key, one, config=config, **shared)
    assert np.isfinite(found["reward"][0])
    new = jax.tree.map(np.asarray, (state.policy, state.discriminator))
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), old, new)
    assert all(jax.tree.leaves(moved))


def test_weight_decay_is_the_likelihood_and_a_normal_prior_of_the_weights():
    definition, params, constants = model()
    one, batch = bind(definition, params, constants), Batch.complete(jnp.asarray(ALL))
    found = jax.jit(lambda: oracle.decayed_nll(one, batch, 27))() * 27 * T
    deviation = oracle.DECAY**-0.5
    held = params["head"], params["head_bias"], params["weights"]["embedding"]
    densities = [scipy.stats.norm(scale=deviation).logpdf(np.asarray(w)) for w in held]
    prior = sum(
        np.sum(density - scipy.stats.norm(scale=deviation).logpdf(0)) for density in densities
    )
    wanted = -log_prob((definition, params, constants), ALL).sum() - prior
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_a_penalty_on_gradients_is_refused():
    with pytest.raises(ValueError, match="tokens have no gradient"):
        token_networks.init(jax.random.key(0), 4, 8, GEN, DiscriminatorConfig())
