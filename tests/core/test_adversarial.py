"""Phases 2 and 3: what they change, that they learn, compile once and ignore the chunk size."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.core import adversarial, discriminator, keys, likelihood, sampling
from seqgan_jax.core.batch import Batch, join
from seqgan_jax.core.policy import validation_nll

ADV, DIS = helpers.ADV, helpers.DIS
BATCH = 16


def shifted(parts, distance):
    """The same data elsewhere."""
    train, validation = (
        dataclasses.replace(part, x=part.x + distance) for part in (parts.train, parts.validation)
    )
    return dataclasses.replace(parts, train=train, validation=validation)


def pretrained(nets, state, parts, key, count):
    """After some epochs of maximum likelihood."""
    shared = {"nets": nets, "config": helpers.GEN, "batch_size": BATCH}
    return likelihood.epochs(state, parts, key, jnp.array(count), **shared)[0]


def discriminator_epochs(
    nets, state, parts, key, count, first=0, dis=DIS, purpose=keys.DISCRIMINATOR
):
    numbers = jnp.array(purpose), jnp.array(first), jnp.array(count)
    return adversarial.discriminator_epochs(
        state, parts, key, *numbers, nets=nets, config=dis, batch_size=BATCH
    )


def policy_updates(nets, state, parts, key, count, adv=ADV):
    return adversarial.policy_updates(
        state, parts, key, jnp.array(count), nets=nets, config=adv, batch_size=BATCH
    )


def rounds(nets, state, parts, key, count, adv=ADV, dis=DIS):
    """Rounds as the host loop makes them."""
    for _ in range(count):
        number = int(state.round)
        state, metrics = policy_updates(nets, state, parts, key, 1, adv)
        state, _ = discriminator_epochs(
            nets, state, parts, key, 1, number, dis, purpose=keys.ADVERSARY
        )
    return state, metrics


def test_the_size_of_a_chunk_of_the_discriminator_changes_no_bit():
    nets, state, parts, key = helpers.training()
    whole, metrics = discriminator_epochs(nets, state, parts, key, 3)
    nets, state, parts, key = helpers.training()
    state, first = discriminator_epochs(nets, state, parts, key, 1)
    pieces, rest = discriminator_epochs(nets, state, parts, key, 2, first=1)
    assert helpers.same(whole, pieces)
    for column in adversarial.DISCRIMINATOR_METRICS:
        joined = [*np.asarray(first[column])[:1], *np.asarray(rest[column])[:2]]
        assert np.array_equal(np.asarray(metrics[column])[:3], joined)


@pytest.mark.parametrize("gradient", ["reinforce", "pathwise"])
def test_the_size_of_a_chunk_of_the_policy_changes_no_bit(gradient):
    adv = dataclasses.replace(ADV, gradient=gradient, gen_updates=2)
    nets, state, parts, key = helpers.training()
    whole, metrics = policy_updates(nets, state, parts, key, 3, adv)
    nets, state, parts, key = helpers.training()
    state, first = policy_updates(nets, state, parts, key, 1, adv)
    pieces, rest = policy_updates(nets, state, parts, key, 2, adv)
    assert int(pieces.round) == 3
    assert helpers.same(whole, pieces)
    for column in adversarial.POLICY_METRICS:
        joined = [*np.asarray(first[column])[:1], *np.asarray(rest[column])[:2]]
        assert np.array_equal(np.asarray(metrics[column])[:3], joined)


def test_the_second_round_compiles_nothing():
    """Phases 2 and 3 share one program of the discriminator."""
    nets, state, parts, key = helpers.training()
    state, _ = discriminator_epochs(nets, state, parts, key, 2)
    state, _ = rounds(nets, adversarial.begin(state, ADV), parts, key, 1)
    programs = adversarial.discriminator_epochs, adversarial.policy_updates
    before = [program._cache_size() for program in programs]
    state, _ = rounds(nets, state, parts, key, 2)
    policy_updates(nets, state, parts, key, 2)
    assert [program._cache_size() for program in programs] == before


def test_what_the_discriminator_sees_differs_by_purpose_and_epoch():
    found = []
    for purpose, first in ((keys.DISCRIMINATOR, 0), (keys.DISCRIMINATOR, 1), (keys.ADVERSARY, 0)):
        nets, state, parts, key = helpers.training()
        _, metrics = discriminator_epochs(nets, state, parts, key, 1, first, purpose=purpose)
        found.append(float(metrics["dis_loss"][0]))
    assert len(set(found)) == 3


@pytest.mark.parametrize("size", ["small", "reference"])
def test_the_discriminator_learns_what_is_easy(size):
    """Real sequences far from what an untrained policy samples: accuracy rises; the PyTorch
    project's weight decay on every weight keeps it at ln 2 for ever."""
    dis = dataclasses.replace(DIS, dis_size=size, num_negatives=128, dis_r1=0.1)
    nets, state, parts, key = helpers.training(dis=dis, features=1)
    count = 4 if size == "small" else 6
    state, metrics = discriminator_epochs(nets, state, shifted(parts, 4.0), key, count, dis=dis)
    assert np.asarray(metrics["dis_accuracy"])[count - 1] > 0.9
    assert np.asarray(metrics["dis_loss"])[count - 1] < 0.3


def test_what_was_learned_by_heart_is_forgotten():
    """Training sequences lie apart from samples, validation ones are where samples are: what D
    would learn is wrong of all that it has not learned from, and it stays as it was."""
    kept = []
    for early in (True, False):
        dis = dataclasses.replace(DIS, num_negatives=64, dis_r1=0.1, dis_early_stopping=early)
        nets, state, parts, key = helpers.training(dis=dis, features=1)
        policy = nets.bind_policy(state.policy, state)
        unseen, fake = (
            Batch.complete(sampling.sample(policy, own, 64, parts.train.length))
            for own in jax.random.split(key)
        )
        parts = dataclasses.replace(shifted(parts, 4.0), validation=unseen, blocks=jnp.arange(64))
        before = helpers.on_host(state.discriminator)
        state, _ = discriminator_epochs(nets, state, parts, key, 6, dis=dis)
        networks = (nets.bind_discriminator(p, state) for p in (state.discriminator, before))
        is_real = jnp.repeat(jnp.array([1.0, 0.0]), 64)
        asked = join(unseen, fake)
        kept.append([float(discriminator.cross_entropy(n(asked), is_real)) for n in networks])
    (early, first), (late, _) = kept
    assert early < first + 0.05
    assert late > first + 0.2


def test_what_counts_as_learned_by_heart_is_a_plain_loop():
    """Of 32 validation sequences, which lie apart from the training part, 20 are asked about."""
    nets, state, parts, _ = helpers.training()
    moved = dataclasses.replace(parts.validation, x=parts.validation.x + 0.7)
    parts = dataclasses.replace(parts, validation=moved)
    unseen = parts.validation.take(np.array([n * 32 // 20 for n in range(20)]))
    signs = np.array([-1.0, -1.0, 1.0])[:, None]

    @jax.jit
    def decided(after, kept, key):
        opt = state.discriminator_opt
        begun = dataclasses.replace(state, kept_discriminator=(kept, opt))
        now, best = adversarial._unless_by_heart((after, opt), begun, parts, key, nets, 20)
        return now[0], best[0]

    @jax.jit
    def logits(params, key):
        draw_key, fake_key = jax.random.split(key)
        seen = parts.train.take(jax.random.randint(draw_key, (20,), 0, len(parts.train)))
        policy = nets.bind_policy(state.policy, state)
        fake = Batch.complete(sampling.sample(policy, fake_key, 20, helpers.LENGTH))
        return [nets.bind_discriminator(params, state)(each) for each in (unseen, seen, fake)]

    found = set()
    for seed in range(24):
        own = jax.random.key(seed)
        after, kept = (
            helpers.random_params(state.discriminator, 2 * seed + i, 0.1) for i in range(2)
        )
        now, best = decided(after, kept, jax.random.clone(own))
        losses = [
            np.log1p(np.exp(signs * np.array(logits(params, jax.random.clone(own)))))
            for params in (after, kept)
        ]
        u, t, g = losses[0] - losses[1]
        by_heart, error = np.mean(u) - np.mean(t), np.sqrt((np.var(u) + np.var(t)) / 20)
        good = np.mean(u) + np.mean(g) <= 0 or by_heart <= 0
        forgotten = not good and by_heart > 3 * error
        assert helpers.same(best, after if good else kept)
        assert helpers.same(now, kept if forgotten else after)
        found.add((bool(good), bool(forgotten)))
    assert found == {(True, False), (False, False), (False, True)}


def test_each_program_changes_its_own_network_and_no_constant():
    nets, state, parts, key = helpers.training()

    def changed(before, after):
        names = before.__dataclass_fields__
        return {n for n in names if not helpers.same(getattr(before, n), getattr(after, n))}

    before = helpers.on_host(state)
    state, _ = discriminator_epochs(nets, state, parts, key, 1)
    assert changed(before, state) - {"kept_discriminator"} == {"discriminator", "discriminator_opt"}
    before = helpers.on_host(state)
    state, _ = policy_updates(nets, state, parts, key, 1)
    assert changed(before, state) == {"policy", "policy_opt", "ema", "rollout", "round"}


def test_adversarial_training_starts_everything_as_the_pretrained_policy():
    nets, state, parts, key = helpers.training()
    state = adversarial.begin(pretrained(nets, state, parts, key, 3), ADV)
    for part in (state.policy, state.ema, state.rollout):
        assert helpers.same(part, state.best)
    assert float(state.pretrained_nll) == float(state.best_nll)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(state.policy_opt))
    broken = dataclasses.replace(state, pretrained_nll=jnp.array(-jnp.inf))
    assert float(adversarial.begin(broken, ADV).pretrained_nll) == -np.inf


def test_the_rollout_policy_and_the_average_follow_by_their_rates():
    nets, state, parts, key = helpers.training()
    state = adversarial.begin(state, ADV)
    old = helpers.on_host(state)
    state, metrics = policy_updates(nets, state, parts, key, 1)
    for name, rate in (("rollout", 0.8), ("ema", 0.98)):
        expected = jax.tree.map(
            lambda a, b, rate=rate: rate * a + (1 - rate) * b, getattr(old, name), state.policy
        )
        pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(getattr(state, name)), strict=True)
        assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
    validation = validation_nll(nets.bind_policy(state.ema, state), parts.validation)
    assert float(metrics["validation_nll"][0]) == pytest.approx(float(validation), rel=1e-5)


def test_rounds_alone_change_nothing_that_is_kept():
    nets, state, parts, key = helpers.training()
    state = adversarial.begin(pretrained(nets, state, parts, key, 3), ADV)
    kept = helpers.on_host(state.best)
    state, _ = rounds(nets, state, parts, key, 2)
    assert helpers.same(kept, state.best)
    assert not helpers.same(kept, state.ema)


@pytest.mark.parametrize("gradient", ["reinforce", "pathwise"])
def test_adversarial_training_raises_the_reward_of_a_wrong_policy(gradient):
    """Real sequences are shifted against the policy's; a trained D pulls its samples over.

    No anchor and no help from the likelihood: only the policy gradient can do it.
    """
    nets, state, parts, key = helpers.training(features=1)
    parts = shifted(parts, 3.0)
    adv = dataclasses.replace(ADV, gradient=gradient, anchor=0.0, average_rounds=0.0)
    adv = dataclasses.replace(adv, gen_adv_lr=1e-2, reward="logit")
    state, _ = discriminator_epochs(nets, state, parts, key, 6)
    state = adversarial.begin(state, adv)
    before = validation_nll(nets.bind_policy(state.best, state), parts.validation)
    state, _ = rounds(nets, state, parts, key, 30, adv)
    after = validation_nll(nets.bind_policy(state.ema, state), parts.validation)
    assert float(after) < float(before) - 0.5


def test_dropout_is_off_in_rewards():
    """The mean reward that a round reports is that of D without dropout on the same samples."""
    nets, state, parts, key = helpers.training()
    old = helpers.on_host(state)
    _, metrics = policy_updates(nets, state, parts, key, 1)
    update_key = jax.random.split(keys.unit_key(key, keys.POLICY, jnp.array(0)), 1)[0]
    sample_key = jax.random.split(jax.random.split(update_key)[0])[0]
    x = sampling.sample(nets.bind_policy(old.policy, old), sample_key, BATCH, helpers.LENGTH)
    logits = nets.bind_discriminator(old.discriminator, old)(Batch.complete(x))
    expected = float(jax.nn.sigmoid(logits).mean())
    assert float(metrics["reward"][0]) == pytest.approx(expected, rel=1e-4)


def test_the_first_update_of_the_discriminator_is_adams_on_its_loss():
    """One batch an epoch, without dropout: the loss of fresh samples and of real sequences."""
    dis = dataclasses.replace(DIS, num_negatives=8, dis_dropout_keep_prob=1.0, dis_r1=0.3)
    dis = dataclasses.replace(dis, dis_early_stopping=False)
    nets, state, parts, key = helpers.training(dis=dis)
    old = helpers.on_host(state)
    state, metrics = discriminator_epochs(nets, state, parts, key, 1, dis=dis)
    own = keys.unit_key(key, keys.DISCRIMINATOR, jnp.array(0))
    fake_key, real_key, _ = jax.random.split(own, 3)
    policy = nets.bind_policy(old.policy, old)
    fake = Batch.complete(sampling.sample(policy, fake_key, 8, helpers.LENGTH))
    real = parts.train.take(jax.random.randint(real_key, (8,), 0, len(parts.train)))

    def loss(params):
        network = nets.bind_discriminator(params, old)
        value = -jnp.mean(jax.nn.log_sigmoid(network(real))) / 2
        value -= jnp.mean(jax.nn.log_sigmoid(-network(fake))) / 2
        last = 0.2 * 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params["output"]))
        return value + last + 0.3 * discriminator.r1(network, real), value

    (_, value), grads = jax.value_and_grad(loss, has_aux=True)(old.discriminator)
    assert float(metrics["dis_loss"][0]) == pytest.approx(float(value), rel=1e-4)
    # Adam's first step is the learning rate against the sign of the gradient.
    for name in ("conv1", "output"):
        moved = np.asarray(state.discriminator[name]["kernel"] - old.discriminator[name]["kernel"])
        slope = np.asarray(grads[name]["kernel"])
        clear = np.abs(slope) > 1e-4
        assert clear.mean() > 0.5
        assert np.allclose(moved[clear], -1e-3 * np.sign(slope[clear]), rtol=1e-2)


def test_discriminator_accuracy_counts_both_kinds():
    nets, state, parts, _ = helpers.training()
    logits = nets.bind_discriminator(state.discriminator, state)
    real, fake = parts.train, parts.validation
    expected = 0.5 * (np.mean(logits(real) > 0) + np.mean(logits(fake) <= 0))
    actual = adversarial.discriminator_accuracy(state, real, fake, nets=nets)
    assert float(actual) == pytest.approx(expected)
