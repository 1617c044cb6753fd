"""The three phases: chunks on the device, a host loop between chunks.

The host loop decides how large a chunk is (about two seconds), looks at the metrics, evaluates at
fixed units, and calls the listener; none of this changes a result.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seqgan_jax.analysis import bykind, metrics
from seqgan_jax.config import Config
from seqgan_jax.core import (
    adversarial,
    keys,
    likelihood,
    parallel,
    refining,
    sampling,
    selection,
)
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState, fewer
from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import MAX_CHUNK, Metrics, over_seeds
from seqgan_jax.core.policy import bind, validation_nll
from seqgan_jax.data.kind import GAP
from seqgan_jax.run import estimate, health
from seqgan_jax.run.estimate import Estimate
from seqgan_jax.run.loader import BatchLoader

TITLES = {
    "gen_pretrain": "generator pretraining",
    "dis_pretrain": "discriminator pretraining",
    "adversarial": "adversarial training",
    "look": "a look at what there is to win",
    "refine_first": "training toward refined targets",
}
PHASES = ("gen_pretrain", "dis_pretrain", "adversarial")
UNITS = {"gen_pretrain": "epoch", "dis_pretrain": "epoch", "adversarial": "round"}
EVALUATE_EVERY = {"gen_pretrain": 10, "dis_pretrain": 10, "adversarial": 20}
EVALUATION_SIZE = 1024  # as many as `model.BLOCK` samples at a time: one program for both
CHUNK_SECONDS = 2.0
LITTLE = 0.2  # nats a sequence: with less to win adversarial training is left out
UPDATES, SMALLEST = 8, 8  # of pretraining on sequences that end: batches an epoch, and their size

Row = dict[str, Any]
Columns = dict[str, np.ndarray]  # of each metric a value for each unit, [units] or [S, units]


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

    def estimated(self, phase: str, estimate: Estimate) -> None:
        """The first unit of a phase is done: what the whole run will take."""

    def looked(self, row: Row, note: str) -> None:
        """It was measured how much adversarial training has to win."""

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
    def estimated(self, phase: str, estimate: Estimate) -> None: ...
    def looked(self, row: Row, note: str) -> None: ...
    def phase_ended(self, phase: str, state: TrainState, note: str) -> None: ...
    def checkpoint(self, state: TrainState) -> None: ...


@dataclass(frozen=True)
class Problem:
    """What training needs beside the state; nothing here changes."""

    config: Config
    nets: Networks
    loader: BatchLoader
    key: jax.Array  # [], or [S] of several runs
    mesh: Mesh | None = None
    clock: Callable[[], float] = time.monotonic  # seconds
    begun: float | None = None  # when the work began, by that clock; None: with training
    few: float = 1.0  # how few the data are, see `likelihood.fewness`


class Phase(NamedTuple):
    """One of the three: how many units, how to do some, when to stop early."""

    name: str
    total: int
    advance: Callable[[TrainState, Parts, int, int], tuple[TrainState, Columns]]
    stop: Callable[[TrainState], bool]


def done(state: TrainState) -> dict[str, int]:
    """Units done of each phase; of several runs, by the one that went furthest."""
    return {
        "gen_pretrain": int(jnp.max(state.epoch)),
        "dis_pretrain": int(jnp.max(state.dis_epoch)),
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
    begun, measured = problem.begun or problem.clock(), dict[str, float]()
    phases = (_likelihood(problem), _discriminator(problem), _adversarial(problem))
    for phase in phases:
        finished = done(state)
        later = any(finished[name] for name in PHASES[PHASES.index(phase.name) + 1 :])
        if skip[phase.name] or later or finished[phase.name] >= phase.total:
            continue
        if phase.name != "gen_pretrain" and not finished["adversarial"]:
            state = adversarial.begin(state, config.adversarial, config.run.num_seeds)
            wanted = config.adversarial.total_batch and not skip["adversarial"]
            if config.adversarial.look_first and wanted and not finished["dis_pretrain"]:
                state, is_little = _look(problem, state, listener)
                if is_little:
                    break
            if config.adversarial.refine_first and wanted and not finished["dis_pretrain"]:
                state = _refine_first(problem, state, listener)
        if not phase.stop(state):
            totals = {each.name: each.total for each in phases if not skip[each.name]}
            told = partial(_tell, problem, listener, begun, measured, totals)
            state = _run_phase(problem, state, phase, listener, told)
    return state


def _tell(
    problem: Problem,
    listener: Listener,
    begun: float,
    measured: dict[str, float],
    totals: dict[str, int],
    phase: str,
    seconds: float,
    finished: dict[str, int],
) -> None:
    """Tell the listener what the run takes, by the seconds that a unit of a phase took."""
    measured[phase] = seconds
    parts = problem.loader.parts(phase, finished[phase] - 1)
    size = estimate.Size(len(parts.train), len(parts.validation), parts.train.length)
    left = {
        name: max(0, total - finished[name])
        for name, total in totals.items()
        if PHASES.index(name) >= PHASES.index(phase)
    }
    passed = problem.clock() - begun
    found = estimate.reckon(problem.config, size, passed, measured, finished, left)
    listener.estimated(phase, found)


# ------------------------------------------------------------------ the phases


def _shared(problem: Problem) -> dict[str, Any]:
    run = problem.config.run
    return {"nets": problem.nets, "batch_size": run.batch_size, "seeds": run.num_seeds}


def _likelihood(problem: Problem) -> Phase:
    config = problem.config.generator

    def advance(
        state: TrainState, parts: Parts, first: int, count: int
    ) -> tuple[TrainState, Columns]:
        shared = _shared(problem)
        ends = problem.nets.bind_policy(state.policy, state).end is not None
        if ends and problem.mesh is None:
            shared["batch_size"] = _smaller(shared["batch_size"], len(parts.train))
        state, buffers = likelihood.epochs(
            state,
            parts,
            problem.key,
            jnp.array(count),
            config=config,
            few=jnp.array(problem.few, jnp.float32),
            **shared,
        )
        # Fewer where it stopped early.
        return state, _on_host(buffers, done(state)["gen_pretrain"] - first)

    def stop(state: TrainState) -> bool:
        return int(jnp.min(state.stale_epochs)) >= config.patience

    return Phase("gen_pretrain", config.pre_epoch_num, advance, stop)


def _smaller(size: int, number: int) -> int:
    """Lives are few and long: batches are smaller until an epoch has UPDATES of them, or SMALLEST.

    >>> _smaller(64, 96), _smaller(64, 10_000)
    (12, 64)
    """
    return min(size, max(SMALLEST, number // UPDATES))


def _discriminator(problem: Problem) -> Phase:
    def advance(
        state: TrainState, parts: Parts, first: int, count: int
    ) -> tuple[TrainState, Columns]:
        purpose = keys.DISCRIMINATOR
        state, pieces = _discriminator_epochs(problem, state, parts, purpose, first, count)
        state = replace(state, dis_epoch=jnp.full_like(state.dis_epoch, first + count))
        return state, _on_host(pieces[0], count)

    total = problem.config.discriminator.dis_pre_refreshes
    return Phase("dis_pretrain", total, advance, lambda _: False)


def _adversarial(problem: Problem) -> Phase:
    config, each = problem.config.adversarial, problem.config.discriminator.dis_refreshes

    def advance(
        state: TrainState, parts: Parts, first: int, count: int
    ) -> tuple[TrainState, Columns]:
        rows = []
        # With `count` 0 both programs are compiled and do nothing.
        for number in range(first, first + max(count, 1)):
            one = min(count, 1)
            state, updates = adversarial.policy_updates(
                state, parts, problem.key, jnp.array(one), config=config, **_shared(problem)
            )
            state, pieces = _discriminator_epochs(
                problem, state, parts, keys.ADVERSARY, number * each, one * each
            )
            rows.append((updates, pieces))
        return state, _of_rounds(rows, each) if count else {}

    def stop(state: TrainState) -> bool:
        """No run found a better policy in the last `adv_patience` rounds."""
        last = int(jnp.max(state.kept_round))
        return int(jnp.max(state.round)) >= last + config.adv_patience

    return Phase("adversarial", config.total_batch, advance, stop)


def _discriminator_epochs(
    problem: Problem, state: TrainState, parts: Parts, purpose: int, first: int, count: int
) -> tuple[TrainState, list[Metrics]]:
    """`count` epochs, and the metrics of each MAX_CHUNK of them."""
    pieces = []
    for start in range(0, max(count, 1), MAX_CHUNK):
        state, buffers = adversarial.discriminator_epochs(
            state,
            parts,
            problem.key,
            jnp.array(purpose),
            jnp.array(first + start),
            jnp.array(min(MAX_CHUNK, count - start)),
            config=problem.config.discriminator,
            **_shared(problem),
        )
        pieces.append(buffers)
    return state, pieces


def _on_host(buffers: Metrics, count: int) -> Columns:
    """The first `count` values of buffers `[MAX_CHUNK]` or `[S, MAX_CHUNK]`."""
    gathered = parallel.all_gather(buffers)
    return {name: np.asarray(values)[..., :count] for name, values in gathered.items()}


def _of_rounds(rows: list[tuple[Metrics, list[Metrics]]], epochs: int) -> Columns:
    """Metrics of rounds: those of the policy, and the mean over the discriminator's epochs."""
    found = []
    for updates, pieces in rows:
        one = {name: values[..., 0] for name, values in _on_host(updates, 1).items()}
        parts = [_on_host(piece, MAX_CHUNK) for piece in pieces]
        for name in adversarial.DISCRIMINATOR_METRICS:
            values = np.concatenate([part[name] for part in parts], axis=-1)[..., :epochs]
            one[name] = values.mean(axis=-1)
        found.append(one)
    return {name: np.stack([one[name] for one in found], axis=-1) for name in found[0]}


def _compare(
    problem: Problem, state: TrainState, parts: Parts, nll: np.ndarray, repeats: int
) -> tuple[TrainState, Row]:
    """The state after `selection`, and the comparison of the run that would be kept now."""
    config = problem.config
    looks = -(-config.adversarial.total_batch // EVALUATE_EVERY["adversarial"])
    with parallel.context(problem.mesh):
        state, found = selection.keep_harder_to_tell(
            state,
            parts,
            problem.key,
            jnp.asarray(nll, jnp.float32),
            jnp.array(repeats),
            nets=problem.nets,
            tolerance=config.adversarial.tolerance,
            looks=max(1, looks),
            seeds=config.run.num_seeds,
        )
    run = selection.chosen_run(parallel.all_gather(state))
    values = {
        field.name: np.atleast_1d(np.asarray(value))[run]
        for field, value in zip(
            fields(found), jax.tree.leaves(parallel.all_gather(found)), strict=True
        )
    }
    row = {
        "logit_gap": float(values["gap"]),
        "logit_gap_best": float(values["best_gap"]),  # what must be beaten
        "train_gap": float(values["train_gap"]),  # must not rise, either
        "train_gap_best": float(values["best_train_gap"]),
        "share_shift": float(values["shift"]),  # of options, in standard deviations
        "kl_bound": float(values["kl"]),  # what there is to win of the policy that is kept
        "kl_bound_error": float(values["kl_error"]),
        "samples_outside": float(values["outside"]),
        "pairs": int(values["pairs"]),
        "kept": bool(values["keep"]),
    }
    if row["pairs"] == selection.REPEATS:
        row["logit_gap_error"] = float(values["error"])
        row["logit_gap_needed"] = float(values["needed"] * values["error"])
    return state, row


def _look(problem: Problem, state: TrainState, listener: Listener) -> tuple[TrainState, bool]:
    """How much adversarial training has to win, and whether that is too little to begin."""
    parts = problem.loader.parts("adversarial", 0)
    listener.compiling("look")
    started = problem.clock()
    nll = np.asarray(state.best_nll)
    state, _ = _compare(problem, state, parts, nll, 0)
    listener.compiled("look", problem.clock() - started)
    state, found = _compare(problem, state, parts, nll, selection.REPEATS)
    bound, error = found["kl_bound"], found["kl_bound_error"]
    is_little = bool(np.isfinite(bound + error)) and bound + 2 * error < LITTLE
    is_little = bool(parallel.broadcast(int(is_little)))
    note = f"to win: at least {bound:.2f} +- {error:.2f} nats a sequence (KL of data and samples)"
    if bound == error == 0:
        note = "to win: nothing that discriminators find on unseen sequences"
    if is_little:
        note += "; adversarial training is left out (--no-look-first: it is not)"
    row = {"phase": "adversarial", "step": 0, "kl_bound": bound, "kl_bound_error": error}
    listener.looked(row, note)
    return state, is_little


def _refine_first(problem: Problem, state: TrainState, listener: Listener) -> TrainState:
    """The state after `refining.toward`, where `selection` keeps what came of it."""
    parts, config = problem.loader.parts("adversarial", 0), problem.config
    listener.compiling("refine_first")
    started = problem.clock()
    with parallel.context(problem.mesh):
        candidate, about = refining.toward(state, parts.train, problem.key, **_shared(problem))
        nll = _validation_nll(candidate, state, parts, problem.nets, config.run.num_seeds)
    listener.compiled("refine_first", problem.clock() - started)
    before = jnp.copy(state.pretrained_nll)  # a state is donated
    losses = np.asarray(parallel.all_gather(nll))
    state = replace(state, ema=candidate)
    state, row = _compare(problem, state, parts, losses, selection.REPEATS)
    # Rounds go on from it, and may cost no more likelihood for that.
    state = adversarial.begin(state, config.adversarial, config.run.num_seeds)
    state = replace(state, pretrained_nll=before)
    share = float(np.mean(parallel.all_gather(about)["effective"]))
    gaps = f"{row['logit_gap']:.2f} nats a sequence, before {row['logit_gap_best']:.2f}"
    kept = "kept" if row["kept"] else "not kept: not beyond doubt, or not within --tolerance"
    note = f"refined targets (effective share {share:.2f}): logit gap {gaps}; {kept}"
    listener.looked({"phase": "refine_first", "step": 0, "effective": share} | row, note)
    return state


@partial(jax.jit, static_argnames=("nets", "seeds"))
def _validation_nll(
    params: Params, state: TrainState, parts: Parts, nets: Networks, seeds: int
) -> jax.Array:
    def one(params: Params, state: TrainState) -> jax.Array:
        return validation_nll(nets.bind_policy(params, state), parts.validation)

    return over_seeds(one, seeds, 0, 0)(params, state)


# ------------------------------------------------------------------ the host loop


def _run_phase(
    problem: Problem,
    state: TrainState,
    phase: Phase,
    listener: Listener,
    told: Callable[[str, float, dict[str, int]], None],
) -> TrainState:
    loader, name, total = problem.loader, phase.name, phase.total
    every, unit = EVALUATE_EVERY[name], UNITS[name]
    finished = done(state)[name]
    listener.compiling(name)
    started = problem.clock()
    # No unit at all: compiles, computes nothing, and the next fit in this process finds it done.
    state, _ = _advance(problem, phase, state, finished, 0)
    if name == "adversarial":
        parts = loader.parts(name, finished)
        state, _ = _compare(problem, state, parts, np.asarray(state.best_nll), 0)
    listener.compiled(name, problem.clock() - started)
    seconds_each, kept = None, None
    while finished < total and not phase.stop(state):
        border = min(total, (finished // every + 1) * every, loader.until(name, finished))
        count = 1 if seconds_each is None else min(border - finished, MAX_CHUNK)
        if seconds_each:
            count = max(1, min(count, int(CHUNK_SECONDS / seconds_each)))
        count = parallel.broadcast(count)
        started = problem.clock()
        state, columns = _advance(problem, phase, state, finished, count)
        count = done(state)[name] - finished  # fewer where the phase stopped early
        is_first = seconds_each is None
        seconds_each = (problem.clock() - started) / count
        if is_first:
            told(name, seconds_each, done(state))
        rows = _rows(name, finished, count, columns)
        health.check_rows(name, unit, rows)
        where = f"{unit} {finished + 1}" + f" to {finished + count}" * (count > 1)
        state = health.check_state(name, where, state)
        finished += count
        here = parallel.all_gather(state)  # the listener may be on one process of several
        ended = finished >= total or phase.stop(state)
        if finished % every == 0 or ended:
            if name == "adversarial":
                parts = loader.parts(name, finished - 1)
                nll = columns["validation_nll"][..., -1]
                state, compared = _compare(problem, state, parts, nll, selection.REPEATS)
                rows[-1] |= compared
                kept = compared if compared["kept"] else kept
                here = parallel.all_gather(state)
                ended = finished >= total or phase.stop(state)
            rows[-1] |= _evaluate(problem, phase, here, where, listener, finished)
            health.check_rows(name, unit, rows[-1:])
        listener.progress(name, finished, total, rows)
        if not ended:
            listener.checkpoint(here)
    here = parallel.all_gather(state)
    if name == "adversarial" and problem.config.run.num_seeds > 1:
        parts, key = loader.parts(name, finished - 1), keys.seed_keys(problem.config.run.seed, 1)
        tolerance = problem.config.adversarial.tolerance
        with parallel.context(problem.mesh):
            here = selection.choose_run(here, parts, key, problem.nets, tolerance)
        state = replace(state, chosen=here.chosen)
    listener.phase_ended(name, here, _note(problem, phase, here, finished, kept))
    return state


def _advance(
    problem: Problem, phase: Phase, state: TrainState, first: int, count: int
) -> tuple[TrainState, Columns]:
    """`count` units of a phase on the device, or on the mesh."""
    with parallel.context(problem.mesh):
        return phase.advance(state, problem.loader.parts(phase.name, first), first, count)


def _rows(phase: str, first: int, count: int, columns: Columns) -> list[Row]:
    """Metrics of `count` units; of several runs their mean, and beside it their spread (_std).

    A run that stopped early, or that broke down, is not counted.
    """
    shown = {}
    for name, values in columns.items():
        if values.ndim == 1:
            shown[name] = values[:count].tolist()
            continue
        each = values[:, :count].astype(np.float64)
        good = np.isfinite(each)
        number = np.maximum(good.sum(axis=0), 1)
        mean = np.where(good, each, 0.0).sum(axis=0) / number
        variance = np.where(good, (each - mean) ** 2, 0.0).sum(axis=0) / number
        shown[name] = np.where(good.any(axis=0), mean, np.nan).tolist()
        shown[name + "_std"] = np.sqrt(variance).tolist()
    return [
        {"phase": phase, "step": first + i + 1}
        | {name: values[i] for name, values in shown.items()}
        for i in range(count)
    ]


def _evaluate(
    problem: Problem,
    phase: Phase,
    here: TrainState,
    where: str,
    listener: Listener,
    finished: int,
) -> Row:
    """Samples of the best policy so far against the validation part."""
    real_part = problem.loader.validation
    real_NTD, known = np.asarray(real_part.x), None
    if real_part.known_if_any is not None:  # the same is known of the samples
        number = evaluation_size(real_NTD.shape[1])
        rows = np.arange(number) * len(real_NTD) // number
        known = np.asarray(real_part.known)[rows]
    seed, length = problem.config.run.seed, real_NTD.shape[1]
    samples_NTD = evaluation_samples(problem.nets, here, seed, length, known)
    best = selection.best_run(here)
    end = problem.nets.bind_policy(best.best, best).end
    of_fake = None if known is None else jnp.asarray(known)
    fake = Batch.of(jnp.asarray(samples_NTD), of_fake, end)
    if end is not None:
        samples_NTD = np.asarray(fake.x)
    health.check_samples(phase.name, where, samples_NTD)
    shown_NTD, alike_NTD = _with_gaps_of(real_NTD, samples_NTD)
    row: Row = metrics.quick(shown_NTD, alike_NTD)
    row["spread"] = health.spread(alike_NTD, shown_NTD)
    if phase.name != "gen_pretrain":
        drawn = fake
        if np.any(real_NTD == GAP):  # the discriminator sees gaps like the data's
            drawn_NTD = evaluation_samples(problem.nets, here, seed, length, known, False)
            drawn = Batch.of(jnp.asarray(drawn_NTD), of_fake, end)
        real = jax.tree.map(jnp.asarray, real_part)
        accuracy = adversarial.discriminator_accuracy(best, real, drawn, nets=problem.nets)
        row["dis_validation_accuracy"] = float(accuracy)
    listener.evaluated(phase.name, finished, samples_NTD)
    return row


def _with_gaps_of(real_NTD: np.ndarray, samples_MTD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Real sequences and samples as figures compare them: both with the gaps of the real ones."""
    if not np.any(gap_NTD := real_NTD == GAP):
        return real_NTD, samples_MTD
    rows_M = np.arange(len(samples_MTD)) % len(real_NTD)
    both = (real_NTD, gap_NTD), (samples_MTD, gap_NTD[rows_M])
    shown_NTD, alike_MTD = (bykind.filled(np.where(gap, np.nan, x)) for x, gap in both)
    return shown_NTD, alike_MTD


def _note(problem: Problem, phase: Phase, here: TrainState, finished: int, kept: Row | None) -> str:
    """What a phase ended with, in words."""
    best, note = selection.best_run(here), ""
    if phase.name == "gen_pretrain" and finished < phase.total:
        epoch = int(best.epoch) - int(best.stale_epochs)
        note = f"no better validation likelihood since epoch {epoch}"
        if problem.config.generator.gen_keep == "last":
            note += "; the last one that is no worse beyond noise is kept"
    if phase.name == "adversarial":
        cost = float(best.best_nll - best.pretrained_nll)
        if round_ := int(best.kept_round):
            note = f"kept round {round_}: likelihood {cost:+.4f} nats a step"
            if kept:
                note += (
                    f", samples harder to tell from unseen data: logit gap {kept['logit_gap']:.2f} "
                    f"nats a sequence, before {kept['logit_gap_best']:.2f} "
                    f"(error of the difference {kept['logit_gap_error']:.2f})"
                )
        else:
            first = "the pretrained policy"
            if cost:
                first = f"the policy of refined targets (likelihood {cost:+.4f} nats a step)"
            note = (
                f"kept {first}: no round was beyond doubt harder to tell from unseen data "
                "within --tolerance"
            )
        if finished < phase.total:
            patience = problem.config.adversarial.adv_patience
            note += f"; stopped, no better one in {patience} rounds"
    if broken := health.broken_seeds(here):
        note += "; " * bool(note) + f"{broken} of {problem.config.run.num_seeds} seeds broke down"
    return note


@partial(jax.jit, static_argnames=("nets", "number", "length", "complete"))
def sample(
    params: Params,
    constants: Params,
    key: jax.Array,
    temperature: jax.Array,
    given: Given | None = None,
    *,
    nets: Networks,
    number: int,
    length: int,
    known_BTW: jax.Array | None = None,
    complete: bool = True,
) -> jax.Array:
    """`number` sequences `x_BTD` in scaled units; compiled once for each number.

    `given`: values of the first step, see `sampling.first_steps`. Where they are not `complete`,
    with gaps like the data's.
    """
    policy = bind(nets.policy, params, constants)
    policy = policy.complete() if complete else policy
    return sampling.sample(policy, key, number, length, temperature, given, known_BTW)


@partial(jax.jit, static_argnames="nets")
def first_steps(
    params: Params,
    constants: Params,
    key: jax.Array,
    temperature: jax.Array,
    given: Given,
    known_BW: jax.Array | None = None,
    *,
    nets: Networks,
) -> tuple[jax.Array, jax.Array]:
    """First steps `x_BD` in scaled units and their log weights, see `sampling.first_steps`."""
    policy = bind(nets.policy, params, constants).complete()
    return sampling.first_steps(policy, key, given, temperature, known_BW)


def evaluation_size(length: int) -> int:
    """Samples of an evaluation and of a checkpoint: of long sequences fewer.

    >>> evaluation_size(24), evaluation_size(2000)
    (1024, 131)
    """
    return fewer(EVALUATION_SIZE, length)


def evaluation_samples(
    nets: Networks,
    state: TrainState,
    seed: int,
    length: int,
    known_BTW: np.ndarray | None = None,
    complete: bool = True,
) -> np.ndarray:
    """Samples of the policy that would be kept now, in scaled units; fixed by seed and state."""
    key = keys.unit_key(jax.random.key(seed), keys.EVALUATE, jnp.array(step_number(state)))
    best = selection.best_run(state)
    shape: dict[str, Any] = {"nets": nets, "number": evaluation_size(length), "length": length}
    shape["complete"] = complete
    known = None if known_BTW is None else jnp.asarray(known_BTW)
    # Arguments as `model` passes them: by name or by place are different programs to JAX.
    one = jnp.array(1.0, jnp.float32)
    made = sample(best.best, best.policy_constants, key, one, None, known_BTW=known, **shape)
    return np.asarray(made)
