"""Values that are not finite, put in one place at a time: caught in the chunk where they arise."""

from dataclasses import replace

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.core import adversarial, discriminator, gradients, likelihood
from seqgan_jax.data.layout import as_sequences
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DivergedError
from seqgan_jax.run import health, loop

TINY = {
    "hidden_dim": 4,
    "pre_epoch_num": 3,
    "dis_pre_refreshes": 2,
    "total_batch": 3,
    "look_first": False,
}
TINY |= {"num_negatives": 32, "policy": "gaussian", "batch_size": 32, "dis_r1": 0.0}


class Watch(loop.Silent):
    """Remembers every state that could have been saved, and the rows that were written."""

    def __init__(self):
        self.states, self.rows, self.samples = [], [], []

    def _note(self, state):
        self.states.append(jax.tree.map(np.asarray, state))

    def checkpoint(self, state):
        self._note(state)

    def phase_ended(self, phase, state, note):  # noqa: ARG002
        self._note(state)

    def progress(self, phase, done, total, rows):  # noqa: ARG002
        self.rows += rows

    def evaluated(self, phase, done, samples_NTK):  # noqa: ARG002
        self.samples.append(samples_NTK)


def finite(state):
    return all(
        np.isfinite(leaf).all()
        for name in state.__dataclass_fields__
        if name not in health.UNMEASURED
        for leaf in jax.tree.leaves(getattr(state, name))
    )


def breaks(expected, **changes):
    """Train; the error, what was seen before it, and that nothing of it is bad."""
    watch = Watch()
    with pytest.raises(DivergedError, match=expected) as caught:
        SeqGAN(**TINY | changes).fit(helpers.series(80, 4, 1), listener=watch)
    assert all(finite(state) for state in watch.states)
    assert all(np.isfinite(v) for row in watch.rows for v in row.values() if isinstance(v, float))
    assert all(np.isfinite(samples).all() for samples in watch.samples)
    message = str(caught.value)
    assert caught.value.exit_code == 7
    assert "learning rate" in message
    assert "Earlier checkpoints are untouched; try a tenth of --" in message
    return watch


def poison(monkeypatch, unit, change):
    """Let the discriminator's program spoil its state after unit `unit` of all phases."""
    function = adversarial.discriminator_epochs

    def spoiled(state, parts, key, purpose, first, count, **static):
        state, buffers = function(state, parts, key, purpose, first, count, **static)
        # A pretraining epoch is counted by the host loop, after this.
        done = loop.step_number(state) + (int(count) if not int(state.round) else 0)
        if done >= unit and int(count):
            state, buffers = change(state, buffers)
        return state, buffers

    monkeypatch.setattr(adversarial, "discriminator_epochs", spoiled)


def nan(tree):
    """One number of the last leaf of floats that is not a number any more."""
    leaves, structure = jax.tree.flatten(tree)
    i = max(i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating))
    leaves[i] = leaves[i].at[(0,) * leaves[i].ndim].set(jnp.nan)
    return jax.tree.unflatten(structure, leaves)


PARTS = ["policy", "policy_opt", "ema", "best", "rollout", "policy_constants"]
PARTS += ["discriminator", "discriminator_opt", "kept_discriminator", "discriminator_constants"]
PARTS += ["best_nll"]


@pytest.mark.parametrize("part", PARTS)
def test_in_any_part_of_the_state(monkeypatch, part):
    poison(
        monkeypatch,
        6,
        lambda state, buffers: (replace(state, **{part: nan(getattr(state, part))}), buffers),
    )
    name = part.replace("_opt", "'s optimiser")
    watch = breaks(f"adversarial training, round 1: {name} not finite")
    assert loop.step_number(watch.states[-1]) == 5


def test_in_a_metric(monkeypatch):
    def change(state, buffers):
        return state, buffers | {"dis_loss": buffers["dis_loss"] * jnp.inf}

    poison(monkeypatch, 4, change)
    breaks("discriminator pretraining, epoch 1: dis_loss is (inf|nan)")


def test_in_a_sample(monkeypatch):
    real = loop.evaluation_samples

    def bad(*arguments):
        samples = np.array(real(*arguments))
        samples[3, 2] = np.nan
        return samples

    monkeypatch.setattr(loop, "evaluation_samples", bad)
    breaks("generator pretraining, epoch (2 to )?3: 1 of 1024 samples not finite")


@pytest.mark.parametrize(
    ("module", "name", "expected", "changes"),
    [
        (
            likelihood,
            "nll",
            "generator pretraining, epoch 1: train_nll is nan",
            {"gen_lr": 1.01e-3},
        ),
        (
            discriminator,
            "cross_entropy",
            "discriminator pretraining, epoch 1: dis_loss",
            {"dis_lr": 1.01e-3},
        ),
        (
            gradients,
            "reward_of",
            "adversarial training, round 1: .*reward is nan",
            {"gen_adv_lr": 1.01e-4},
        ),
    ],
)
def test_in_a_gradient_or_the_reward(monkeypatch, module, name, expected, changes):
    """In the compiled program itself; another learning rate, so that it is compiled anew."""
    function = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *words: function(*words) * jnp.nan)
    breaks(expected, **changes)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_in_the_data(monkeypatch, part):
    model = SeqGAN(**TINY)
    parts = model.prepare(as_sequences(helpers.series(80, 4, 1)))
    bad = parts.train_NTD if part == "training" else parts.validation_NTD
    real = Scaler.transform
    monkeypatch.setattr(
        Scaler, "transform", lambda self, x: real(self, x) * (np.inf if x is bad else 1.0)
    )
    with pytest.raises(DivergedError, match=rf"the {part} part holds values .* outliers"):
        model.train(parts, loop.Silent())


def test_without_the_check_of_the_state_it_gets_through(monkeypatch):
    """The control: a metric alone does not show a bad optimiser in the chunk where it arises."""
    poison(
        monkeypatch,
        8,
        lambda state, buffers: (replace(state, rollout=nan(state.rollout)), buffers),
    )
    monkeypatch.setattr(health, "check_state", lambda *words: words[-1])
    watch = Watch()
    SeqGAN(**TINY).fit(helpers.series(80, 4, 1), listener=watch)
    assert not finite(watch.states[-1])


def test_samples_that_collapse_are_reported(tmp_path, monkeypatch, capsys):
    from seqgan_jax.data import layout
    from seqgan_jax.run import directory
    from seqgan_jax.run.cli import train_main

    monkeypatch.chdir(tmp_path)
    layout.save_sequences(tmp_path / "x.txt", helpers.series(80, 4, 1), ("x",))
    real = loop.evaluation_samples
    monkeypatch.setattr(loop, "evaluation_samples", lambda *words: 0.2 * np.asarray(real(*words)))
    words = [
        f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if value is not False
    ]
    words.append("--no-look-first")
    assert train_main(["--data", "x.txt", *words, "--quiet"]) == 0
    said = capsys.readouterr().err
    assert said.count("collapse") == 1
    assert "generator pretraining, epoch 3: samples differ from each other only 0.2" in said
    spreads = [
        row["spread"] for row in directory.read_metrics(tmp_path / "save") if "spread" in row
    ]
    assert all(0.1 < value < 0.4 for value in spreads)
    assert len(spreads) == 3


def test_spread_is_one_for_equal_distributions_and_zero_for_one_sequence():
    x = np.random.default_rng(1).normal(size=(4000, 6, 2)) * [1.0, 5.0]
    assert health.spread(x[:2000], x[2000:]) == pytest.approx(1.0, abs=0.03)
    assert health.spread(0.5 * x[:2000], x[2000:]) == pytest.approx(0.5, abs=0.02)
    assert health.spread(np.repeat(x[:1], 2000, axis=0), x) == pytest.approx(0.0, abs=1e-6)
