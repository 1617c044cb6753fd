"""The jitted steps: what they change, that they learn, compile once and ignore the chunk size."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.config import AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import networks, rollout, rounds, steps

GEN = GeneratorConfig(hidden_dim=6, patience=3, policy="gaussian")
DIS = DiscriminatorConfig(num_negatives=64, dis_r1=0.0)  # the penalty is slow to compile
ADV = AdversarialConfig(
    gen_updates=1,
    rollout_num=3,
    gradient="reinforce",
    reward="probability",
    average_rounds=0.98,
    gen_adv_lr=1e-4,
)
LENGTH = 5


def make(seed=0, features=2, dis=DIS, length=LENGTH):
    x = helpers.series(160, length, features, seed)
    train, validation = x[:128], x[128:]
    frame = networks.fit_frame(train, "full")
    nets, state = steps.init(jax.random.key(seed), length, frame, (1.0,) * features, GEN, dis)
    data = steps.Data(jnp.asarray(train, jnp.float32), jnp.asarray(validation, jnp.float32))
    return nets, state, data, jax.random.key(seed + 1)


def phase(name, nets, state, data, key, count, gen=GEN, dis=DIS, adv=ADV, seeds=1):
    shared = {"nets": nets, "batch_size": 16, "seeds": seeds}
    if name == "likelihood":
        return steps.likelihood_epochs(state, data, key, jnp.array(count), config=gen, **shared)
    updates = 0 if name == "discriminator" else adv.gen_updates
    work = rounds.Work(jnp.array(count), jnp.array(updates), jnp.array(1))
    state, metrics = rounds.rounds(state, data, key, work, config=adv, dis_config=dis, **shared)
    if name == "discriminator":
        metrics = {column: metrics[column] for column in rounds.REFRESH_METRICS}
    return state, metrics


PHASES = ("likelihood", "discriminator", "adversarial")


def same(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("name", PHASES)
def test_the_size_of_a_chunk_changes_no_bit(name):
    nets, state, data, key = make()
    whole, metrics = phase(name, nets, state, data, key, 3)
    nets, state, data, key = make()
    state, first = phase(name, nets, state, data, key, 1)
    parts, rest = phase(name, nets, state, data, key, 2)
    assert same(whole, parts)
    for column, values in metrics.items():
        joined = [*np.asarray(first[column])[:1], *np.asarray(rest[column])[:2]]
        assert np.array_equal(np.asarray(values)[:3], joined)


@pytest.mark.parametrize("name", PHASES)
def test_the_second_call_compiles_nothing(name):
    nets, state, data, key = make()
    state, _ = phase(name, nets, state, data, key, 1)
    function = {
        "likelihood": steps.likelihood_epochs,
        "discriminator": rounds.rounds,
        "adversarial": rounds.rounds,
    }[name]
    before = function._cache_size()
    state, _ = phase(name, nets, state, data, key, 2)
    phase(name, nets, state, data, key, 1)
    assert function._cache_size() == before


def test_likelihood_learns_what_least_squares_cannot():
    """A mean that depends on the sign of the past: the VAR(1) it starts from cannot have it."""
    rng = np.random.default_rng(0)
    x = np.zeros((1200, LENGTH, 1))
    x[:, 0, 0] = rng.normal(size=1200)
    for t in range(1, LENGTH):
        x[:, t, 0] = np.abs(x[:, t - 1, 0]) - 0.8 + 0.2 * rng.normal(size=1200)
    frame = networks.fit_frame(x[:1000], "full")
    nets, state = steps.init(jax.random.key(0), LENGTH, frame, (1.0,), GEN, DIS)
    data = steps.Data(jnp.asarray(x[:1000], jnp.float32), jnp.asarray(x[1000:], jnp.float32))
    linear = -float(networks.bind(nets.policy, state.final).log_prob(data.validation_NTD).mean())
    gen = dataclasses.replace(GEN, gen_lr=1e-2, average=0.98)
    state, _ = phase("likelihood", nets, state, data, jax.random.key(1), 20, gen=gen)
    assert float(state.final_nll) < linear - 0.3


def test_early_stopping_keeps_the_best_and_then_stands_still():
    nets, state, data, key = make()
    gen = dataclasses.replace(GEN, gen_lr=0.2)  # overfits at once
    state, metrics = phase("likelihood", nets, state, data, key, 60, gen=gen)
    epochs = int(state.epoch)
    assert epochs < 60
    assert int(state.stale_epochs) == GEN.patience
    validation = np.asarray(metrics["validation_nll"])[:epochs]
    assert float(state.final_nll) == validation.min()
    assert epochs == np.argmin(validation) + 1 + GEN.patience
    policy = networks.bind(nets.policy, state.final)
    assert -float(policy.log_prob(data.validation_NTD).mean()) == pytest.approx(
        float(state.final_nll), abs=1e-5
    )
    before = jax.tree.map(np.asarray, state)
    state, _ = phase("likelihood", nets, state, data, key, 5, gen=gen)
    assert same(before, state)


@pytest.mark.parametrize("size", ["small", "reference"])
def test_the_discriminator_learns_what_is_easy(size):
    """Real sequences far from what an untrained policy samples: accuracy rises; the PyTorch
    project's weight decay on every weight keeps it at ln 2 for ever."""
    dis = dataclasses.replace(DIS, dis_size=size, num_negatives=128, dis_r1=0.1)
    nets, state, data, key = make(dis=dis, features=1)
    data = steps.Data(data.train_NTD + 4.0, data.validation_NTD)
    count = 4 if size == "small" else 6
    adv = dataclasses.replace(ADV, gradient="pathwise")  # compiles faster; not run here
    state, metrics = phase("discriminator", nets, state, data, key, count, dis=dis, adv=adv)
    assert np.asarray(metrics["dis_accuracy"])[count - 1] > 0.9
    assert np.asarray(metrics["dis_loss"])[count - 1] < 0.3


def test_phases_change_their_own_network_only():
    nets, state, data, key = make()
    before = jax.tree.map(np.asarray, state)
    state, _ = phase("likelihood", nets, state, data, key, 1)
    assert same(before.discriminator, state.discriminator)
    assert not same(before.generator, state.generator)
    before = jax.tree.map(np.asarray, state)
    state, _ = phase("discriminator", nets, state, data, key, 1)
    assert same(before.generator, state.generator)
    assert not same(before.discriminator, state.discriminator)


def test_adversarial_training_starts_everything_as_the_pretrained_policy():
    nets, state, data, key = make()
    state, _ = phase("likelihood", nets, state, data, key, 3)
    state = steps.begin_adversarial(state, ADV)
    for part in (state.generator, state.average, state.rollout):
        assert same(part, state.final)


def test_the_rollout_policy_and_the_average_follow_by_their_rates():
    nets, state, data, key = make()
    state = steps.begin_adversarial(state, ADV)
    old = jax.tree.map(np.asarray, state)
    state, _ = phase("adversarial", nets, state, data, key, 1)
    for name, rate in (("rollout", 0.8), ("average", 0.98)):
        expected = jax.tree.map(
            lambda a, b, rate=rate: rate * a + (1 - rate) * b,
            getattr(old, name),
            state.generator,
        )
        pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(getattr(state, name)), strict=True)
        assert all(np.allclose(a, b, atol=1e-6) for a, b in pairs)


def judged(nets, state, data, key, **changes):
    adv = dataclasses.replace(ADV, **changes)
    return rounds.judge(state, data, key, nets=nets, config=adv)


def test_what_is_kept_is_better_by_both_criteria():
    """Four policies for the same data: as good, told easily, unlikely, and better."""
    nets, state, data, key = make(features=1)
    state, _ = phase("likelihood", nets, state, data, key, 20)
    good = jax.tree.map(np.asarray, state.final)
    bad = good | {"head_bias": good["head_bias"] + np.array([0.0, 2.5], np.float32)}  # e x 3.5
    worse = good | {"head_bias": good["head_bias"] + np.array([2.0, 0.0], np.float32)}
    likelihood = {
        name: -float(networks.bind(nets.policy, params).log_prob(data.validation_NTD).mean())
        for name, params in (("good", good), ("bad", bad))
    }

    def start(final, average):
        parts = {
            "final": jax.tree.map(jnp.asarray, final),
            "average": jax.tree.map(jnp.asarray, final),
            "round": jnp.array(0),
            "final_told": jnp.array(jnp.inf),
            "pretrained_nll": jnp.array(likelihood["bad" if final is bad else "good"]),
        }
        current = dataclasses.replace(jax.tree.map(jnp.copy, state), **parts)
        current, first = judged(nets, current, data, key)
        assert int(current.kept_round) == 0
        assert float(current.final_told) == float(first["told_apart"])
        average = jax.tree.map(jnp.asarray, average)
        current = dataclasses.replace(current, average=average, round=jnp.array(7))
        current, second = judged(nets, current, data, key)
        return int(current.kept_round), float(first["told_apart"]), float(second["told_apart"])

    kept, of_bad, of_good = start(bad, good)
    assert kept == 7
    assert of_bad > 2.0
    assert abs(of_good) < 0.5
    assert start(good, good)[0] == 0  # equal is not better
    assert start(good, worse)[0] == 0  # told apart at once
    sharp = good | {"head_bias": bad["head_bias"] - np.array([0.0, 6.0], np.float32)}
    assert start(bad, sharp)[0] == 0  # unlikely, whatever the discriminator says


def test_judging_leaves_the_program_of_the_rounds_as_it_is():
    nets, state, data, key = make()
    state, _ = phase("discriminator", nets, steps.begin_adversarial(state, ADV), data, key, 1)
    before = rounds.rounds._cache_size()
    state, _ = judged(nets, state, data, key)
    phase("adversarial", nets, state, data, key, 1)
    assert rounds.rounds._cache_size() == before


def test_rounds_alone_change_nothing_that_is_kept():
    nets, state, data, key = make()
    state, _ = phase("likelihood", nets, state, data, key, 3)
    state = steps.begin_adversarial(state, ADV)
    kept = jax.tree.map(np.asarray, state.final)
    state, _ = phase("adversarial", nets, state, data, key, 2)
    assert same(kept, state.final)
    assert not same(kept, state.average)


@pytest.mark.parametrize("gradient", ["reinforce", "pathwise"])
def test_adversarial_training_raises_the_reward_of_a_wrong_policy(gradient):
    """Real sequences are shifted against the policy's; a trained D pulls its samples over.

    No anchor and no help from the likelihood: only the policy gradient can do it.
    """
    nets, state, data, key = make(features=1)
    data = steps.Data(data.train_NTD + 3.0, data.validation_NTD + 3.0)
    adv = dataclasses.replace(ADV, gradient=gradient, anchor=0.0, average_rounds=0.0)
    adv = dataclasses.replace(adv, gen_adv_lr=1e-2, reward="logit")
    state, _ = phase("discriminator", nets, state, data, key, 6, adv=adv)
    state = steps.begin_adversarial(state, adv)
    before = -float(networks.bind(nets.policy, state.final).log_prob(data.validation_NTD).mean())
    state, _ = phase("adversarial", nets, state, data, key, 30, adv=adv)
    policy = networks.bind(nets.policy, state.average)
    after = -float(policy.log_prob(data.validation_NTD).mean())
    assert after < before - 0.5


def test_dropout_is_off_in_rewards():
    """The mean reward that a round reports is that of D without dropout on the same samples."""
    nets, state, data, key = make()
    old = jax.tree.map(np.asarray, state)
    _, metrics = phase("adversarial", nets, state, data, key, 1)
    unit = jax.random.fold_in(jax.random.fold_in(key, steps.ADVERSARIAL), 0)
    update_key = jax.random.fold_in(jax.random.split(unit)[0], 0)
    sample_key = jax.random.split(jax.random.split(update_key)[0])[0]
    policy = networks.bind(nets.policy, old.generator)
    x = rollout.sample(policy, sample_key, 16, LENGTH)
    logits = networks.bind(nets.discriminator, old.discriminator)(x)
    expected = float(jax.nn.sigmoid(logits).mean())
    assert float(metrics["reward"][0]) == pytest.approx(expected, rel=1e-4)


def test_discriminator_accuracy_counts_both_kinds():
    nets, state, data, _ = make()
    logits = networks.bind(nets.discriminator, state.discriminator)
    real, fake = data.train_NTD, data.validation_NTD
    expected = 0.5 * (np.mean(logits(real) > 0) + np.mean(logits(fake) <= 0))
    actual = rounds.discriminator_accuracy(state.discriminator, real, fake, nets=nets)
    assert float(actual) == pytest.approx(expected)
