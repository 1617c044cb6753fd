"""The three phases: chunks on the device, a host loop between chunks.

The host loop decides how large a chunk is (about two seconds), looks at the metrics, evaluates at
fixed units, and calls the listener; none of this changes a result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from seqgan_jax import health, networks, rollout, steps
from seqgan_jax.analysis import metrics
from seqgan_jax.config import Config
from seqgan_jax.steps import Data, Networks, TrainState

PHASES = ("gen_pretrain", "dis_pretrain", "adversarial")
TITLES = {
    "gen_pretrain": "generator pretraining",
    "dis_pretrain": "discriminator pretraining",
    "adversarial": "adversarial training",
}
UNITS = {"gen_pretrain": "epoch", "dis_pretrain": "refresh", "adversarial": "round"}
EVALUATE_EVERY = {"gen_pretrain": 10, "dis_pretrain": 10, "adversarial": 20}
EVALUATION_SIZE = 1000
CHUNK_SECONDS = 2.0

Row = dict[str, Any]


class Listener(Protocol):
    """What the host loop tells the outside; `Silent` ignores all of it."""

    def compiling(self, phase: str) -> None:
        """Compilation of a phase begins."""

    def compiled(self, phase: str, seconds: float) -> None:
        """Compilation of a phase ended."""

    def progress(self, phase: str, done: int, total: int, rows: list[Row]) -> None:
        """A chunk ended; `rows` are its metrics, one a unit."""

    def evaluated(self, phase: str, done: int, samples_NTK: np.ndarray) -> None:
        """Samples in scaled units were drawn and compared with the validation part."""

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:
        """A phase is over; `state` is what the next one starts from."""

    def checkpoint(self, state: TrainState) -> None:
        """A chunk ended and its state is good: the place to save it, and to stop."""


class Silent:
    """A listener that ignores everything."""

    def compiling(self, phase: str) -> None: ...
    def compiled(self, phase: str, seconds: float) -> None: ...
    def progress(self, phase: str, done: int, total: int, rows: list[Row]) -> None: ...
    def evaluated(self, phase: str, done: int, samples_NTK: np.ndarray) -> None: ...
    def phase_ended(self, phase: str, state: TrainState, note: str) -> None: ...
    def checkpoint(self, state: TrainState) -> None: ...


@dataclass(frozen=True)
class Problem:
    """What training needs beside the state; nothing here changes."""

    config: Config
    nets: Networks
    data: Data
    key: jax.Array


def done(state: TrainState) -> dict[str, int]:
    """Units done of each phase."""
    return {
        "gen_pretrain": int(state.epoch),
        "dis_pretrain": int(state.refresh),
        "adversarial": int(state.round),
    }


def step_number(state: TrainState) -> int:
    """Units done in all: the number of a checkpoint."""
    return sum(done(state).values())


def train(problem: Problem, state: TrainState, listener: Listener) -> TrainState:
    """Run what is left of the three phases from `state`; each starts where `state` says.

    Raises DivergedError where a value is not finite; `state` is donated.
    """
    health.check_data(problem.data.train_NTD, "training")
    health.check_data(problem.data.validation_NTD, "validation")
    config = problem.config
    skip = {
        "gen_pretrain": config.run.skip_gen_pretrain,
        "dis_pretrain": config.run.skip_dis_pretrain,
        "adversarial": config.run.skip_adversarial,
    }
    totals = {
        "gen_pretrain": config.generator.pre_epoch_num,
        "dis_pretrain": config.discriminator.dis_pre_refreshes,
        "adversarial": config.adversarial.total_batch,
    }
    shared = {"nets": problem.nets, "batch_size": config.run.batch_size}
    functions: dict[str, Callable[..., Any]] = {
        "gen_pretrain": partial(steps.likelihood_epochs, config=config.generator, **shared),
        "dis_pretrain": partial(
            steps.discriminator_refreshes, config=config.discriminator, **shared
        ),
        "adversarial": partial(
            steps.adversarial_rounds,
            config=config.adversarial,
            dis_config=config.discriminator,
            **shared,
        ),
    }
    for phase in PHASES:
        finished = done(state)
        later = any(finished[name] for name in PHASES[PHASES.index(phase) + 1 :])
        if skip[phase] or later or finished[phase] >= totals[phase]:
            continue
        if phase == "adversarial" and not finished[phase]:
            state = steps.begin_adversarial(state, config.adversarial)
        stop = partial(_stale, config.generator.patience) if phase == "gen_pretrain" else _never
        if stop(state):
            continue
        state = _run_phase(problem, state, phase, functions[phase], totals[phase], stop, listener)
    return state


def _never(state: TrainState) -> bool:  # noqa: ARG001
    return False


def _stale(patience: int, state: TrainState) -> bool:
    return int(state.stale_epochs) >= patience


def _run_phase(
    problem: Problem,
    state: TrainState,
    phase: str,
    function: Callable[..., Any],
    total: int,
    stop: Callable[[TrainState], bool],
    listener: Listener,
) -> TrainState:
    listener.compiling(phase)
    started = time.monotonic()
    # No unit at all: compiles, computes nothing, and the next fit in this process finds it done.
    state, _ = function(state, problem.data, problem.key, jnp.array(0))
    listener.compiled(phase, time.monotonic() - started)
    finished = done(state)[phase]
    seconds_each = None
    while finished < total and not stop(state):
        border = min(total, (finished // EVALUATE_EVERY[phase] + 1) * EVALUATE_EVERY[phase])
        count = min(border - finished, steps.MAX_CHUNK)
        if seconds_each is None:
            count = 1
        elif seconds_each > 0:
            count = max(1, min(count, int(CHUNK_SECONDS / seconds_each)))
        started = time.monotonic()
        state, buffers = function(state, problem.data, problem.key, jnp.array(count))
        count = done(state)[phase] - finished  # fewer where the phase stopped early
        columns = {name: np.asarray(values)[:count].tolist() for name, values in buffers.items()}
        seconds_each = (time.monotonic() - started) / count
        rows = [
            {"phase": phase, "step": finished + i + 1}
            | {name: values[i] for name, values in columns.items()}
            for i in range(count)
        ]
        health.check_rows(phase, UNITS[phase], rows)
        where = f"{UNITS[phase]} {finished + 1}" + f" to {finished + count}" * (count > 1)
        health.check_state(phase, where, state)
        finished += count
        ended = finished >= total or stop(state)
        if finished % EVALUATE_EVERY[phase] == 0 or ended:
            samples_NTK = evaluation_samples(
                problem.nets, state, problem.key, problem.data.train_NTD.shape[1]
            )
            health.check_samples(phase, where, samples_NTK)
            real_NTK = np.asarray(problem.data.validation_NTD)
            rows[-1] |= metrics.quick(real_NTK, samples_NTK)
            rows[-1]["spread"] = health.spread(samples_NTK, real_NTK)
            if phase != "gen_pretrain":
                accuracy = steps.discriminator_accuracy(
                    state.discriminator,
                    problem.data.validation_NTD,
                    jnp.asarray(samples_NTK),
                    nets=problem.nets,
                )
                rows[-1]["dis_validation_accuracy"] = float(accuracy)
            health.check_rows(phase, UNITS[phase], rows[-1:])
            listener.evaluated(phase, finished, samples_NTK)
        listener.progress(phase, finished, total, rows)
        if not ended:
            listener.checkpoint(state)
    note = ""
    if phase == "gen_pretrain" and finished < total:
        best = finished - int(state.stale_epochs)
        note = f"no better validation likelihood since epoch {best}"
    if phase == "adversarial" and int(state.kept_round) < finished:
        kept = int(state.kept_round)
        note = "kept " + (f"round {kept}" if kept else "the pretrained policy")
        note += ": later ones are less likely on the validation part than --tolerance allows"
    listener.phase_ended(phase, state, note)
    return state


@partial(jax.jit, static_argnames=("nets", "number", "length"))
def sample(
    params: networks.Params,
    key: jax.Array,
    temperature: jax.Array,
    *,
    nets: Networks,
    number: int,
    length: int,
) -> jax.Array:
    """`number` sequences `x_BTK` in scaled units; compiled once for each number."""
    return rollout.sample(networks.bind(nets.policy, params), key, number, length, temperature)


def evaluation_samples(
    nets: Networks, state: TrainState, key: jax.Array, length: int
) -> np.ndarray:
    """Samples of the policy that would be kept now, in scaled units; fixed by key and state."""
    key = jax.random.fold_in(jax.random.fold_in(key, steps.EVALUATE), jnp.array(step_number(state)))
    shape = {"nets": nets, "number": EVALUATION_SIZE, "length": length}
    return np.asarray(sample(state.final, key, jnp.array(1.0), **shape))
