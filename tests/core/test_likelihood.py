"""Phase 1: it learns, stops and keeps what is likeliest, and ignores the size of a chunk."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.core import likelihood, networks
from seqgan_jax.core.batch import Parts
from seqgan_jax.core.policy import log_prob_of_sequences, validation_nll


def epochs(nets, state, parts, key, count, gen=helpers.GEN):
    return likelihood.epochs(
        state, parts, key, jnp.array(count), nets=nets, config=gen, batch_size=16
    )


def test_the_size_of_a_chunk_changes_no_bit():
    nets, state, parts, key = helpers.training()
    whole, metrics = epochs(nets, state, parts, key, 3)
    nets, state, parts, key = helpers.training()
    state, first = epochs(nets, state, parts, key, 1)
    pieces, rest = epochs(nets, state, parts, key, 2)
    assert helpers.same(whole, pieces)
    for column in likelihood.METRICS:
        joined = [*np.asarray(first[column])[:1], *np.asarray(rest[column])[:2]]
        assert np.array_equal(np.asarray(metrics[column])[:3], joined)


def test_the_second_call_compiles_nothing():
    nets, state, parts, key = helpers.training()
    state, _ = epochs(nets, state, parts, key, 1)
    before = likelihood.epochs._cache_size()
    state, _ = epochs(nets, state, parts, key, 2)
    epochs(nets, state, parts, key, 0)
    assert likelihood.epochs._cache_size() == before


def test_it_changes_its_own_network_and_no_constant():
    nets, state, parts, key = helpers.training()
    before = helpers.on_host(state)
    state, _ = epochs(nets, state, parts, key, 1)
    for name in before.__dataclass_fields__:
        changed = not helpers.same(getattr(before, name), getattr(state, name))
        own = ("policy", "policy_opt", "ema", "best", "best_nll", "rollout", "epoch")
        assert changed == (name in own)


def test_it_learns_what_least_squares_cannot():
    """A mean that depends on the sign of the past: the VAR(1) it starts from cannot have it."""
    rng = np.random.default_rng(0)
    x = np.zeros((1200, helpers.LENGTH, 1))
    x[:, 0, 0] = rng.normal(size=1200)
    for t in range(1, helpers.LENGTH):
        x[:, t, 0] = np.abs(x[:, t - 1, 0]) - 0.8 + 0.2 * rng.normal(size=1200)
    fitted = helpers.linear(x[:1000])
    shared = (helpers.LENGTH, fitted, jnp.ones(1), helpers.GEN, helpers.DIS)
    nets, state = networks.init(jax.random.key(0), *shared)
    parts = Parts(helpers.batch(x[:1000]), helpers.batch(x[1000:]), jnp.arange(200))
    linear = float(validation_nll(nets.bind_policy(state.best, state), parts.validation))
    gen = dataclasses.replace(helpers.GEN, gen_lr=1e-2, average=0.98)
    state, _ = epochs(nets, state, parts, jax.random.key(1), 20, gen)
    assert float(state.best_nll) < linear - 0.3


def test_early_stopping_keeps_the_best_and_then_stands_still():
    nets, state, parts, key = helpers.training()
    gen = dataclasses.replace(helpers.GEN, gen_lr=0.2, gen_keep="likeliest")  # overfits at once
    state, metrics = epochs(nets, state, parts, key, 60, gen)
    number = int(state.epoch)
    assert number < 60
    assert int(state.stale_epochs) == gen.patience
    validation = np.asarray(metrics["validation_nll"])[:number]
    assert np.all(np.isnan(np.asarray(metrics["validation_nll"])[number:]))
    assert float(state.best_nll) == validation.min()
    assert number == np.argmin(validation) + 1 + gen.patience
    again = validation_nll(nets.bind_policy(state.best, state), parts.validation)
    assert float(again) == pytest.approx(float(state.best_nll), abs=1e-5)
    before = helpers.on_host(state)
    state, _ = epochs(nets, state, parts, key, 5, gen)
    assert helpers.same(before, state)


def test_the_last_epoch_that_is_no_worse_beyond_noise_is_kept():
    """Against losses of every epoch, by a plain loop."""
    nets, state, parts, key = helpers.training()
    gen = dataclasses.replace(helpers.GEN, gen_lr=0.015, patience=6)
    losses, kept, likeliest, passed = [], None, None, 0
    for epoch in range(40):
        if int(state.stale_epochs) >= gen.patience:
            break
        state, _ = epochs(nets, state, parts, key, 1, gen)
        policy = nets.bind_policy(state.ema, state)
        losses.append(-np.asarray(log_prob_of_sequences(policy, parts.validation)))
        if likeliest is None or losses[-1].mean() < losses[likeliest].mean():
            likeliest = epoch
        difference = losses[-1] - losses[likeliest]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        if difference.mean() <= error:
            kept = epoch
            passed += kept > likeliest
            assert helpers.same(state.best, state.ema)
        own = losses[kept].mean() / helpers.LENGTH
        assert float(state.best_nll) == pytest.approx(own, abs=1e-5)
        assert int(state.stale_epochs) == epoch - likeliest
    assert passed  # else the test has not seen the difference


def test_dropout_is_of_the_head_and_the_same_at_each_step():
    """A policy whose head has these rows multiplied gives the same later steps."""
    nets, state, parts, _ = helpers.training()
    params = helpers.random_params(state.policy, 3)
    factors = jnp.array([[0.0, 2.0, 2.0, 0.0, 0.0, 2.0]])
    one = parts.train.take(slice(1))
    found = nets.bind_policy(params, state).log_prob(one, factors_BH=factors)
    other = params | {"head": params["head"] * factors[0][:, None]}
    expected = nets.bind_policy(other, state).log_prob(one)
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], atol=1e-5)
    assert not np.allclose(found[:, 1:], nets.bind_policy(params, state).log_prob(one)[:, 1:])


def test_the_share_that_is_dropped_is_less_of_more_data():
    for few, share in ((1.0, 0.5), (0.2, 0.1)):
        factors = np.asarray(likelihood._factors(jax.random.key(0), 200, 300, jnp.array(few / 2)))
        assert (factors == 0).mean() == pytest.approx(share, abs=0.01)
        assert factors.mean() == pytest.approx(1.0, abs=0.02)
    assert [likelihood.fewness(n) for n in (0, 3000, 30_000)] == [1.0, 1.0, 0.1]


def test_weight_decay_shrinks_matrices_alone():
    """An untrained head gives the LSTM no gradient: one update shrinks it by lr x decay."""
    nets, state, parts, key = helpers.training()
    before = helpers.on_host(state.policy)
    gen = dataclasses.replace(helpers.GEN, gen_lr=1e-2, gen_weight_decay=5.0)
    shared = {"nets": nets, "config": gen, "batch_size": len(parts.train)}
    state, _ = likelihood.epochs(state, parts, key, jnp.array(1), few=jnp.array(0.5), **shared)
    after = helpers.on_host(state.policy)
    np.testing.assert_allclose(after["recurrent"], (1 - 0.025) * before["recurrent"], rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], before["bias"])
