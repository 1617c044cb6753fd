"""Sequences that end: the law by enumeration, and that nothing depends on what is after an end."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import baseline, discriminator, gradients, networks, sampling
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns import regressions, support
from seqgan_jax.core.policy import nll
from seqgan_jax.data import lengths
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, END, GAP, Kind

T = 4
WORDS = Kind(CATEGORICAL, (0.0, 1.0), (1.0, 1.0), words=True)


def chain(number, seed=0):
    """Two states, an end that is likelier in the second; [N, T, 2] with the end's column."""
    rng = np.random.default_rng(seed)
    x = np.zeros((number, T, 2))
    for n in range(number):
        state = 0
        for t in range(T):
            state = int(rng.random() < (0.3, 0.8)[state])
            is_last = t > 0 and (t == T - 1 or rng.random() < (0.1, 0.6)[state])
            x[n, t] = state, is_last
            if is_last:
                break
    return x


def fitted(kinds, x, known=None, size="small"):
    """Networks whose linear part is fitted to x, with noise on the policy's weights."""

    def same(_, y):
        return np.asarray(y, float)

    width = 0 if known is None else known.shape[2]
    columns = support.of(kinds, same, same, ends=True, known=width)
    both = None if known is None else (known, known)
    sizes, rest = support.sizes_and_rest(columns, x)
    linear = baseline.fit_rest((sizes, rest), (sizes, rest), known=both)
    columns = regressions.fit(columns, linear, x, x, both)
    scale = jnp.ones(x.shape[2])
    gen, dis = GeneratorConfig(hidden_dim=6, policy="mixture"), DiscriminatorConfig(dis_size=size)
    nets, state = networks.init(jax.random.key(0), x.shape[1], linear, scale, gen, dis, columns)

    def moved(params, by):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(5), len(leaves))
        new = [a + by * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
        return jax.tree.unflatten(structure, new)

    return nets, dataclasses.replace(state, policy=moved(state.policy, 0.3)), columns


@pytest.fixture(scope="module", params=[0.0, 0.2], ids=["complete", "gaps"])
def words(request):
    x = chain(600)
    there = lengths.ends_of(np.cumsum(x[..., 1], axis=1) - x[..., 1] > 0)
    gone = np.random.default_rng(2).random((600, T)) < request.param
    x[gone & (np.arange(T) < there[:, None]), 0] = GAP
    kind = dataclasses.replace(WORDS, missing=request.param > 0)
    return x, *fitted((kind, END), x)


def test_the_probabilities_of_all_sequences_sum_to_one(words):
    x, nets, state, _ = words
    all_of_them = []
    for steps in range(2, T + 1):
        for states in itertools.product(np.unique(x[..., 0]), repeat=steps):
            one = np.zeros((T, 2))
            one[:steps, 0], one[steps - 1, 1] = states, 1
            all_of_them.append(one)
    batch = Batch.of(jnp.asarray(np.stack(all_of_them)), end=1)

    @jax.jit
    def log_p(params, batch):
        return nets.bind_policy(params, state).log_prob(batch).sum(axis=(1, 2))

    assert np.exp(log_p(state.policy, batch)).sum() == pytest.approx(1.0, abs=1e-4)
    x = jax.jit(
        lambda params: sampling.sample(
            nets.bind_policy(params, state), jax.random.key(1), 20_000, T
        )
    )(state.policy)
    drawn = np.asarray(Batch.of(x, end=1).x)
    assert np.all(drawn[..., 1].sum(axis=1) == 1)  # every sequence ends, once
    expected = np.exp(np.asarray(log_p(state.policy, batch)))
    share = [np.all(drawn == one, axis=(1, 2)).mean() for one in all_of_them]
    assert np.abs(share - expected).max() < 0.015


def test_the_linear_part_has_the_ends_of_the_data(words):
    """Untrained, the end has the odds that were counted in each state."""
    x, nets, state, _ = words
    counted = Batch.of(jnp.asarray(x), end=1)

    @jax.jit
    def of_end(params, batch):
        return nets.bind_policy(params, state).log_prob(batch)[..., 1]

    log_p = np.exp(np.asarray(of_end(state.best, counted)))  # `best`: as initialised
    there = np.asarray(counted.mask[..., 1]) & (np.arange(T) > 0)
    for value in (0, 1):
        own = there & (x[..., 0] == value)
        ended = np.where(x[..., 1] == 1, log_p, 1 - log_p)[own]
        assert ended.mean() == pytest.approx(x[..., 1][own].mean(), abs=0.03)


def test_the_odds_of_an_end_at_an_age_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    hazard = np.array([1e-4, 0.3, 0.05, 0.5, 0.2, 1e-4])
    lengths_N = np.array(
        [1 + int(np.argmax(rng.random(6) < np.r_[0, hazard[1:5], 1])) for _ in range(3000)]
    )
    x = np.zeros((3000, 6, 2))
    x[..., 0] = rng.normal(size=(3000, 6)) * (np.arange(6) < lengths_N[:, None])
    x[np.arange(3000), lengths_N - 1, 1] = 1
    found = np.array(lengths.hazard(lengths_N, 6))
    known = np.broadcast_to(np.stack([np.arange(6) / 6, lengths.log_odds(found)], -1), (3000, 6, 2))
    nets, state, columns = fitted((Kind(CONTINUOUS), END), x, known)
    slope = np.diff(np.asarray(columns.support.later_given)[1, -1, 1:3]).item()
    assert slope == pytest.approx(lengths.HAZARD_UNIT, rel=0.3)
    batch = Batch.of(jnp.asarray(x), jnp.asarray(known), end=1)
    log_p = jax.jit(lambda p, b: nets.bind_policy(p, state).log_prob(b)[..., 1])(state.best, batch)
    p = np.exp(np.asarray(log_p))
    for t in range(1, 5):
        own = np.asarray(batch.there[:, t])
        ended = np.where(x[own, t, 1] == 1, p[own, t], 1 - p[own, t])
        assert ended.mean() == pytest.approx(hazard[t], abs=0.04)


@pytest.fixture(scope="module")
def mixed():
    """A density with an atom that is held, and ends; as it is, and with another rest after ends."""
    rng = np.random.default_rng(1)
    x = np.zeros((64, 6, 2))
    x[..., 0] = rng.normal(size=(64, 6)) * (rng.random((64, 6)) < 0.7)
    lengths_N = rng.integers(2, 7, 64)
    x[np.arange(64), lengths_N - 1, 1] = 1
    x *= (np.arange(6) < lengths_N[:, None])[..., None]
    other = x.copy()
    after = np.arange(6) >= lengths_N[:, None]
    other[after] = np.stack([rng.normal(size=after.sum()), rng.integers(0, 2, after.sum())], -1)
    kinds = (Kind(CONTINUOUS, atoms=(0.0,), sentinel=(False,), held=True), END)
    return kinds, x.astype(np.float32), other.astype(np.float32), lengths_N


@pytest.mark.parametrize("size", ["small", "reference"])
def test_nothing_depends_on_what_comes_after_an_end(mixed, size):
    kinds, x, other, lengths_N = mixed
    nets, state, _ = fitted(kinds, x.astype(float), size=size)

    @jax.jit
    def figures(params, critic, x_BTD):
        key = jax.random.key(3)
        policy = nets.bind_policy(params, state)
        network = nets.bind_discriminator(critic, state)

        def reward(batch):
            return gradients.reward_of(network(batch), "logit")

        batch = Batch.of(x_BTD, end=policy.end)
        q_BQ = sampling.q_values(policy, reward, x_BTD, key, 2)
        losses = partial(nets.bind_policy, state=state)
        advantage = sampling.advantages(q_BQ)
        loss = gradients.reinforce(losses, batch, advantage, batch, AdversarialConfig())
        return {
            "log_p": policy.log_prob(batch),
            "nll": nll(policy, batch),
            "logit": network(batch),
            "r1": discriminator.r1(network, batch),
            "q": q_BQ,
            "gradient": jax.grad(loss, has_aux=True)(params)[0],
        }

    a, b = (figures(state.policy, state.discriminator, jnp.asarray(each)) for each in (x, other))
    for name in a:
        for one, two in zip(jax.tree.leaves(a[name]), jax.tree.leaves(b[name]), strict=True):
            assert np.allclose(one, two, atol=1e-5), name
    after = np.arange(6) >= lengths_N[:, None]
    assert np.all(np.asarray(a["log_p"])[after] == 0)
    # After its end a sequence earns what it has earned, whatever is rolled out.
    q_NT = np.asarray(a["q"])
    for t in range(1, 6):
        done = lengths_N <= t
        assert np.allclose(q_NT[done, t], q_NT[done, -1], atol=1e-5)


def test_a_padded_sequence_is_told_as_if_it_were_cut(mixed):
    """The small discriminator's convolutions and pooling see no padding, but for the position."""
    kinds, x, _, lengths_N = mixed
    own = x[lengths_N <= 4]
    nets, state, _ = fitted(kinds, x.astype(float))
    critic = {**state.discriminator}
    critic["conv1"] = {
        **critic["conv1"],
        # no look at the position, the last of each of three shifted channels
        "kernel": critic["conv1"]["kernel"].reshape(3, -1, 32).at[:, -1].set(0.0).reshape(-1, 32),
    }

    def logits(x_BTD):
        network = nets.bind_discriminator(critic, state)
        network.length = x_BTD.shape[1]
        return network(Batch.of(x_BTD, end=1))

    whole, cut = (jax.jit(logits)(jnp.asarray(each)) for each in (own, own[:, :4]))
    assert np.allclose(whole, cut, atol=1e-5)
