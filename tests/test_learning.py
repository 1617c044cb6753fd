"""Adversarial training gains where likelihood cannot, and only from a discriminator that is right.

A regime-switching AR and a Gaussian policy, which cannot hold its two modes: the law is known, so
that both gaps are exact. Controls differ from the run in what the policy is rewarded for, alone.
"""

import dataclasses

import jax
import numpy as np
import pytest

from seqgan_jax import SeqGAN, losses, simulators
from seqgan_jax.data import Sequences, load
from seqgan_jax.training import Silent

LENGTH, SEEDS = 10, 3
SETTINGS = {
    "policy": "gaussian",
    "hidden_dim": 16,
    "num_seeds": SEEDS,
    "pre_epoch_num": 40,
    "gen_lr": 3e-3,
    "num_negatives": 512,
    "total_batch": 100,
    "average_rounds": 0.97,
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    return load("regime", window=LENGTH, num_sequences=4000, seed=1)


@pytest.fixture(scope="module")
def pretrained(sequences):
    only = {"skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(**SETTINGS, **only)
    parts = model.prepare(sequences)
    model.train(parts, Silent())
    return model, parts, gaps(model, parts)


def gaps(model, parts):
    """Exact coverage and quality gap of each run, nats a step, `[2, S]`."""
    law, found = simulators.get("regime", LENGTH), []
    for run in range(SEEDS):
        x, held = model.sample(3000, seed=1, run=run), parts.held_out_NTD
        coverage = np.mean(law.log_prob(held) - model.log_prob(held, run=run))
        quality = np.mean(model.log_prob(x, run=run) - law.log_prob(x))
        found.append((coverage / LENGTH, quality / LENGTH))
    return np.array(found).T


def trained_on(pretrained, sequences, **settings):
    start, _, _ = pretrained
    model = SeqGAN(**SETTINGS | settings)
    parts = model.prepare(sequences)
    given = jax.tree.map(lambda leaf: leaf.copy(), start.state)
    names = ("generator", "generator_opt", "average", "final", "final_nll", "epoch", "stale_epochs")
    kept = {name: getattr(given, name) for name in names}
    model._state = dataclasses.replace(model.state, **kept)
    jax.clear_caches()  # the controls replace functions that compiled programs hold
    model.train(parts, Silent())
    return model, gaps(model, parts)


def test_quality_rises_and_coverage_stays_within_the_tolerance(pretrained, sequences):
    (coverage, quality), (before_coverage, before_quality) = (
        trained_on(pretrained, sequences)[1],
        pretrained[2],
    )
    assert np.all(quality < 0.8 * before_quality)
    assert np.all(coverage < before_coverage + 0.06)  # --tolerance, and noise of 400 sequences


def constant(logits_B, form):  # noqa: ARG001
    return 0.0 * logits_B


def fixed_at_random(logits_B, form):  # noqa: ARG001
    """Of each sequence a reward that has nothing to do with being real."""
    return jax.numpy.sin(1e3 * logits_B)


def without_labels(logits_B, is_real_B):
    """Half of the labels are wrong: real and generated alternate, and so do these."""
    return TRUE_LOSS(logits_B, jax.numpy.roll(is_real_B, len(is_real_B) // 4))


TRUE_LOSS = losses.discriminator


@pytest.mark.parametrize(
    ("name", "replacement"),
    [("reward", constant), ("reward", fixed_at_random), ("discriminator", without_labels)],
    ids=["constant reward", "random reward", "shuffled labels"],
)
def test_controls_gain_nothing(pretrained, sequences, monkeypatch, name, replacement):
    monkeypatch.setattr(losses, name, replacement)
    try:
        _, (_, quality) = trained_on(pretrained, sequences)
    finally:
        jax.clear_caches()
    assert np.all(quality > 0.95 * pretrained[2][1])
