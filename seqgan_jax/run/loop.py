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
from jax.sharding import Mesh

from seqgan_jax.analysis import metrics
from seqgan_jax.config import Config
from seqgan_jax.core import networks, parallel, rollout, rounds, steps
from seqgan_jax.core.steps import Data, Networks, TrainState
from seqgan_jax.run import health

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


class Feed(Protocol):
    """Where training data come from: all of them at once, or a part after the other."""

    @property
    def validation_NTK(self) -> np.ndarray:
        """The validation part, on the host."""

    def data(self, phase: str, unit: int) -> Data:
        """The data of a unit, on the device."""

    def until(self, phase: str, unit: int) -> int:
        """The first later unit that has other data."""


@dataclass(frozen=True)
class AllData:
    """A feed of data that fit on the device."""

    all: Data

    @property
    def validation_NTK(self) -> np.ndarray:
        """The validation part, on the host."""
        return np.asarray(parallel.whole(self.all.validation_NTD))

    def data(self, phase: str, unit: int) -> Data:  # noqa: ARG002
        """The same for every unit."""
        return self.all

    def until(self, phase: str, unit: int) -> int:  # noqa: ARG002
        """Never."""
        return 2**62


@dataclass(frozen=True)
class Problem:
    """What training needs beside the state; nothing here changes."""

    config: Config
    nets: Networks
    feed: Feed
    key: jax.Array  # [], or [S] of several runs
    mesh: Mesh | None = None


def done(state: TrainState) -> dict[str, int]:
    """Units done of each phase; of several runs, by the one that went furthest."""
    return {
        "gen_pretrain": int(jnp.max(state.epoch)),
        "dis_pretrain": int(jnp.max(state.refresh)),
        "adversarial": int(jnp.max(state.round)),
    }


def step_number(state: TrainState) -> int:
    """Units done in all: the number of a checkpoint."""
    return sum(done(state).values())


def train(problem: Problem, state: TrainState, listener: Listener) -> TrainState:
    """Run what is left of the three phases from `state`; each starts where `state` says.

    Raises DivergedError where a value is not finite; `state` is donated.
    """
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
    for phase in PHASES:
        finished = done(state)
        later = any(finished[name] for name in PHASES[PHASES.index(phase) + 1 :])
        if skip[phase] or later or finished[phase] >= totals[phase]:
            continue
        if phase != "gen_pretrain" and not finished["adversarial"]:
            state = steps.begin_adversarial(state, config.adversarial, config.run.num_seeds)
        stops: dict[str, Callable[[TrainState], bool]] = {
            "gen_pretrain": partial(_stale, config.generator.patience),
            "dis_pretrain": _never,
            "adversarial": partial(_no_better, config.adversarial.adv_patience),
        }
        stop = stops[phase]
        if stop(state):
            continue
        state = _run_phase(problem, state, phase, totals[phase], stop, listener)
    return state


def _never(state: TrainState) -> bool:  # noqa: ARG001
    return False


def _stale(patience: int, state: TrainState) -> bool:
    return int(jnp.min(state.stale_epochs)) >= patience


def _no_better(patience: int, state: TrainState) -> bool:
    """No run found a better policy in the last `patience` rounds."""
    return int(jnp.max(state.round)) >= int(jnp.max(state.kept_round)) + patience


def _advance(
    problem: Problem, state: TrainState, data: Data, phase: str, count: int
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`count` units of a phase in one call on the device, or on the mesh."""
    with parallel.context(problem.mesh):
        return _call(problem, state, data, phase, count)


def _call(
    problem: Problem, state: TrainState, data: Data, phase: str, count: int
) -> tuple[TrainState, dict[str, jax.Array]]:
    config, key = problem.config, problem.key
    shared = {
        "nets": problem.nets,
        "batch_size": config.run.batch_size,
        "seeds": config.run.num_seeds,
    }
    if phase == "gen_pretrain":
        number = jnp.array(count)
        return steps.likelihood_epochs(state, data, key, number, config=config.generator, **shared)
    pretraining = phase == "dis_pretrain"
    work = rounds.Work(
        count=jnp.array(count),
        updates=jnp.array(0 if pretraining else config.adversarial.gen_updates),
        refreshes=jnp.array(1 if pretraining else config.discriminator.dis_refreshes),
    )
    state, buffers = rounds.rounds(
        state,
        data,
        key,
        work,
        config=config.adversarial,
        dis_config=config.discriminator,
        **shared,
    )
    names = rounds.REFRESH_METRICS if pretraining else rounds.ROUND_METRICS
    return state, {name: buffers[name] for name in names}


def _judged(problem: Problem, state: TrainState, data: Data) -> tuple[TrainState, dict[str, float]]:
    """The state after `rounds.judge`, and the metric of the run that would be kept now."""
    config = problem.config
    with parallel.context(problem.mesh):
        state, metrics = rounds.judge(
            state,
            data,
            problem.key,
            nets=problem.nets,
            config=config.adversarial,
            seeds=config.run.num_seeds,
        )
    found = {name: np.atleast_1d(value) for name, value in parallel.whole(metrics).items()}
    best = steps.best_seed(parallel.whole(state))
    return state, {name: float(values[best]) for name, values in found.items()}


def _columns(buffers: dict[str, jax.Array], count: int) -> dict[str, list[float]]:
    """Metrics of `count` units; of several runs their mean, and beside it their spread (_std).

    A run that stopped early, or that broke down, is not counted.
    """
    columns = {}
    for name, values in parallel.whole(buffers).items():
        array = np.asarray(values)
        if array.ndim == 1:
            columns[name] = array[:count].tolist()
            continue
        rows = array[:, :count].astype(np.float64)
        good = np.isfinite(rows)
        number = np.maximum(good.sum(axis=0), 1)
        mean = np.where(good, rows, 0.0).sum(axis=0) / number
        variance = np.where(good, (rows - mean) ** 2, 0.0).sum(axis=0) / number
        columns[name] = np.where(good.any(axis=0), mean, np.nan).tolist()
        columns[name + "_std"] = np.sqrt(variance).tolist()
    return columns


def _run_phase(
    problem: Problem,
    state: TrainState,
    phase: str,
    total: int,
    stop: Callable[[TrainState], bool],
    listener: Listener,
) -> TrainState:
    feed = problem.feed
    finished = done(state)[phase]
    listener.compiling(phase)
    started = time.monotonic()
    if phase == "adversarial" and finished == 0:
        state, _ = _judged(problem, state, feed.data(phase, 0))  # what later rounds must beat
    # No unit at all: compiles, computes nothing, and the next fit in this process finds it done.
    state, _ = _advance(problem, state, feed.data(phase, finished), phase, 0)
    listener.compiled(phase, time.monotonic() - started)
    seconds_each = None
    while finished < total and not stop(state):
        border = min(total, (finished // EVALUATE_EVERY[phase] + 1) * EVALUATE_EVERY[phase])
        border = min(border, feed.until(phase, finished))
        count = min(border - finished, steps.MAX_CHUNK)
        if seconds_each is None:
            count = 1
        elif seconds_each > 0:
            count = max(1, min(count, int(CHUNK_SECONDS / seconds_each)))
        count = parallel.agree(count)
        started = time.monotonic()
        state, buffers = _advance(problem, state, feed.data(phase, finished), phase, count)
        count = done(state)[phase] - finished  # fewer where the phase stopped early
        columns = _columns(buffers, count)
        seconds_each = (time.monotonic() - started) / count
        rows = [
            {"phase": phase, "step": finished + i + 1}
            | {name: values[i] for name, values in columns.items()}
            for i in range(count)
        ]
        health.check_rows(phase, UNITS[phase], rows)
        where = f"{UNITS[phase]} {finished + 1}" + f" to {finished + count}" * (count > 1)
        state = health.check_state(phase, where, state)
        finished += count
        here = parallel.whole(state)  # the listener may be on one process of several
        ended = finished >= total or stop(state)
        if finished % EVALUATE_EVERY[phase] == 0 or ended:
            if phase == "adversarial":
                state, told = _judged(problem, state, feed.data(phase, finished - 1))
                rows[-1] |= told
                here = parallel.whole(state)
            real_NTK = feed.validation_NTK
            seed = problem.config.run.seed
            samples_NTK = evaluation_samples(problem.nets, here, seed, real_NTK.shape[1])
            health.check_samples(phase, where, samples_NTK)
            rows[-1] |= metrics.quick(real_NTK, samples_NTK)
            rows[-1]["spread"] = health.spread(samples_NTK, real_NTK)
            if phase != "gen_pretrain":
                accuracy = rounds.discriminator_accuracy(
                    steps.best(here).discriminator,
                    jnp.asarray(real_NTK),
                    jnp.asarray(samples_NTK),
                    nets=problem.nets,
                )
                rows[-1]["dis_validation_accuracy"] = float(accuracy)
            health.check_rows(phase, UNITS[phase], rows[-1:])
            listener.evaluated(phase, finished, samples_NTK)
        listener.progress(phase, finished, total, rows)
        if not ended:
            listener.checkpoint(here)
    here = parallel.whole(state)
    best = steps.best(here)
    note = ""
    if phase == "gen_pretrain" and finished < total:
        epoch = int(best.epoch) - int(best.stale_epochs)
        note = f"no better validation likelihood since epoch {epoch}"
    if phase == "adversarial" and (kept := int(best.kept_round)):
        cost = float(best.final_nll - best.pretrained_nll)
        note = (
            f"kept round {kept}: a fresh discriminator tells its samples from unseen data by "
            f"{float(best.final_told):.3f} nats; likelihood {cost:+.4f} nats a step"
        )
    elif phase == "adversarial":
        note = (
            "kept the pretrained policy: no round was harder to tell from unseen data within "
            f"--tolerance (told by {float(best.final_told):.3f} nats)"
        )
    if phase == "adversarial" and finished < total:
        note += f"; stopped, no better one in {problem.config.adversarial.adv_patience} rounds"
    if broken := health.broken_seeds(here):
        note += "; " * bool(note) + f"{broken} of {problem.config.run.num_seeds} seeds broke down"
    listener.phase_ended(phase, here, note)
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


def evaluation_samples(nets: Networks, state: TrainState, seed: int, length: int) -> np.ndarray:
    """Samples of the policy that would be kept now, in scaled units; fixed by seed and state."""
    key = jax.random.key(seed)
    key = jax.random.fold_in(jax.random.fold_in(key, steps.EVALUATE), jnp.array(step_number(state)))
    shape = {"nets": nets, "number": EVALUATION_SIZE, "length": length}
    return np.asarray(sample(steps.best(state).final, key, jnp.array(1.0), **shape))
