"""Is the training still sound? Values that are not finite, and samples that collapse.

Checked at every chunk border, before anything of the chunk is written: a checkpoint that was
acknowledged never holds a value that is not finite.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax.core import parallel
from seqgan_jax.core.batch import TrainState
from seqgan_jax.errors import DivergedError

COLLAPSED = 0.5  # spread of samples, as a share of the data's, from which on it is reported
# Losses that are infinite until they were measured for the first time.
UNMEASURED = ("best_nll", "pretrained_nll")
RATES = {
    "gen_pretrain": "--gen-lr",
    "dis_pretrain": "--dis-lr",
    "adversarial": "--gen-adv-lr and --dis-lr",
}


def _sound(state: TrainState) -> dict[str, jax.Array]:
    """Whether each part of a run's state is finite, [] bool each: one reduction on the device."""
    return {
        name: jnp.all(
            jnp.array(
                [
                    jnp.all(~jnp.isnan(leaf) if name in UNMEASURED else jnp.isfinite(leaf))
                    for leaf in jax.tree.leaves(getattr(state, name))
                ]
            )
        )
        for name in state.__dataclass_fields__
    }


_sound_one, _sound_each = jax.jit(_sound), jax.jit(jax.vmap(_sound))


@jax.jit
def _without(state: TrainState, broken_S: jax.Array) -> TrainState:
    """Broken runs with zeros for weights and an infinite loss: never the best, never NaN."""

    def clean(leaf: jax.Array) -> jax.Array:
        broken = broken_S.reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.where(broken, jnp.zeros_like(leaf), leaf)

    zeroed = jax.tree.map(clean, state)
    stale = jnp.where(broken_S, jnp.iinfo(jnp.int32).max // 2, state.stale_epochs)
    return replace(
        zeroed,
        best_nll=jnp.where(broken_S, jnp.inf, state.best_nll),
        pretrained_nll=jnp.where(broken_S, -jnp.inf, state.pretrained_nll),
        stale_epochs=stale,
        epoch=state.epoch,
        dis_epoch=state.dis_epoch,
        round=state.round,
    )


def broken_seeds(state: TrainState) -> int:
    """How many of several runs broke down."""
    return int(jnp.sum(state.pretrained_nll == -jnp.inf)) if state.best_nll.ndim else 0


def check_data(x_NTD: Any, part: str) -> None:
    """Raise DivergedError where scaled data are not finite in float32."""
    if not np.isfinite(x_NTD).all():
        raise DivergedError(
            f"the {part} part holds values that are not finite once they are scaled to float32. "
            "The data have outliers beyond 1e38 standard deviations: remove them. Nothing was "
            "trained."
        )


def check_state(phase: str, where: str, state: TrainState) -> TrainState:
    """Raise DivergedError where any part of the training state is not finite.

    Of several runs, those that broke down are set aside; the error is raised when none is left.
    `where` names the units of the chunk in which it arose, e.g. "rounds 41 to 44".
    """
    if state.best_nll.ndim == 0:
        bad = [name for name, fine in _sound_one(state).items() if not bool(fine)]
    else:
        sound = {n: np.asarray(s) for n, s in parallel.all_gather(_sound_each(state)).items()}
        broken_S = ~np.all(list(sound.values()), axis=0)
        out_S = np.asarray(parallel.all_gather(state.pretrained_nll)) == -np.inf
        bad = [name for name, fine in sound.items() if not fine.all()]
        if bad and not np.all(broken_S | out_S):
            return _without(state, jnp.asarray(broken_S))
    if bad:
        words = ", ".join(name.replace("_opt", "'s optimiser") for name in bad)
        raise diverged(phase, where, f"{words} not finite")
    return state


def check_rows(phase: str, unit: str, rows: list[dict[str, Any]]) -> None:
    """Raise DivergedError at the first unit with metrics that are not finite."""
    for row in rows:
        floats = {name: value for name, value in row.items() if isinstance(value, float)}
        bad = [f"{name} is {value}" for name, value in floats.items() if not np.isfinite(value)]
        if bad:
            raise diverged(phase, f"{unit} {row['step']}", ", ".join(bad))


def check_samples(phase: str, where: str, samples_NTD: np.ndarray) -> None:
    """Raise DivergedError where a sample is not finite."""
    if not np.isfinite(samples_NTD).all():
        count = int(np.sum(~np.isfinite(samples_NTD).all(axis=(1, 2))))
        raise diverged(phase, where, f"{count} of {len(samples_NTD)} samples not finite")


def diverged(phase: str, where: str, what: str) -> DivergedError:
    """The error that says what, where, the likely cause, and the next thing to try."""
    title = {"gen_pretrain": "generator pretraining", "dis_pretrain": "discriminator pretraining"}
    return DivergedError(
        f"{title.get(phase, 'adversarial training')}, {where}: {what}. The learning rate is too "
        "high for this data, or the data have outliers. Earlier checkpoints are untouched; try a "
        f"tenth of {RATES[phase]} in a new --run-dir, or look at the data's extremes."
    )


def spread(samples_NTD: np.ndarray, real_NTD: np.ndarray) -> float:
    """How much sequences differ from each other, as a share of how much real ones do; 1 is right.

    sqrt(mean over steps and features of var over sequences, samples / real).

    >>> x = np.random.default_rng(0).normal(size=(2000, 5, 2))
    >>> round(spread(x[:1000], x[1000:]), 1), round(spread(np.repeat(x[:1], 1000, axis=0), x), 9)
    (1.0, 0.0)
    """
    ratio = samples_NTD.var(axis=0).mean() / max(float(real_NTD.var(axis=0).mean()), 1e-12)
    return float(np.sqrt(ratio))
