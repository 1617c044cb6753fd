"""One run of `seqgan train` and its files, from the settings to `final_samples.txt`."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from seqgan_jax import config
from seqgan_jax.config import Config
from seqgan_jax.core import parallel
from seqgan_jax.core.batch import TrainState, num_params
from seqgan_jax.data import angles, files, lags, layout, lengths, shards
from seqgan_jax.data.known import TURNS
from seqgan_jax.data.sequences import KnownSplit, Split
from seqgan_jax.errors import CheckpointError, DiskError, SeqGANError, UsageError
from seqgan_jax.model import SeqGAN
from seqgan_jax.run import checkpoint, directory, evaluating, loop, signals
from seqgan_jax.run.preparing import ERRORS
from seqgan_jax.run.showing import Shown
from seqgan_jax.run.terminal import Display, warn

SAMPLES_SHOWN, NUMBERS_SHOWN = 1000, 500_000  # in generator_sample.txt: sequences, numbers at most
WRITTEN, LEAST_WRITTEN, NUMBERS_WRITTEN = 10_000, 1000, 10_000_000  # the same of final_samples.txt
Say = Callable[[str], None]
Source = layout.Sequences | shards.Shards


class Stopped(SeqGANError):
    """A signal ended the run after its state was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class _Listener(Shown):
    """Shows a run, and writes its metrics, samples and checkpoints as it goes."""

    def __init__(self, model: SeqGAN, run_dir: Path, display: Display, stop: list[int]) -> None:
        super().__init__(display)
        self._model, self._run_dir, self._stop = model, run_dir, stop
        settings = model.config.run
        self._every = settings.checkpoint_every
        folder = directory.checkpoints(run_dir)
        self._store = checkpoint.Store(folder, settings.keep, model.identity)
        self._saved = self._border = time.monotonic()

    def compiled(self, phase: str, seconds: float) -> None:
        super().compiled(phase, seconds)
        self._border = time.monotonic()

    def progress(self, phase: str, done: int, total: int, rows: list[loop.Row]) -> None:
        directory.append_metrics(self._run_dir, rows)
        super().progress(phase, done, total, rows)

    def evaluated(self, phase: str, done: int, samples_NTD: np.ndarray) -> None:  # noqa: ARG002
        self._write("eval_file.txt", samples_NTD)

    def looked(self, row: loop.Row, note: str) -> None:
        directory.append_metrics(self._run_dir, [row])
        super().looked(row, note)

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:
        super().phase_ended(phase, state, note)
        self._save(state)

    def checkpoint(self, state: TrainState) -> None:
        if number := parallel.broadcast(self._stop[0] if self._stop else 0):
            self._save(state)
            raise Stopped(number)
        # Where a chunk is longer than a signal may wait, its state is saved at once.
        now = time.monotonic()
        slow, self._border = now - self._border > signals.GRACE / 2, now
        if slow or now - self._saved >= self._every:
            self._save(state)

    def _save(self, state: TrainState) -> None:
        step = loop.step_number(state)
        model = self._model
        length, seed = model.description.length, model.config.run.seed
        known = model.places(loop.evaluation_size(length), seed).known_NTW
        samples = loop.evaluation_samples(model.nets, state, seed, length, known)
        # Before the checkpoint: what goes with an acknowledged step is on the disk with it.
        self._write("generator_sample.txt", samples)
        directory.sync_metrics(self._run_dir)
        self._store.save(step, state)
        self._saved = time.monotonic()
        self.display.say(f"saved step {step} to {directory.checkpoints(self._run_dir)}")

    def _write(self, name: str, samples_NTD: np.ndarray) -> None:
        description = self._model.description
        some_NTD = samples_NTD[: shown(samples_NTD[0].size)]
        x_NTD = description.scaler.inverse(some_NTD.astype(np.float64))
        description.save_sequences(self._run_dir / name, x_NTD)


class _Follower(loop.Silent):
    """The listener of a process that writes nothing; stops when the first one does."""

    def checkpoint(self, state: TrainState) -> None:  # noqa: ARG002
        if number := parallel.broadcast(0):
            raise Stopped(number)


def train(
    settings: Config,
    *,
    device: str,
    resume: bool,
    overwrite: bool,
    display: Display,
    stop: list[int],
) -> SeqGAN:
    """Run `settings` from nothing or from the last checkpoint to `final_samples.txt`.

    `stop` is filled by the signal handler; the run then ends at the next chunk with `Stopped`.
    """
    run_dir, say = Path(settings.run.run_dir), display.say
    started = time.monotonic()
    with directory.lock(run_dir):
        directory.refuse_links(run_dir)
        changes = check_resumable(saved_config(str(run_dir)), settings) if resume else []
        if not resume and not overwrite:
            _refuse_earlier_run(run_dir)
        if resume and settings.data.data is not None:
            say(f"resume  reads {settings.data.data}, as in {run_dir}/config.json")
        model = SeqGAN(settings)
        sequences = _read(settings, model.data_seed)
        seen: list[str] = []
        if isinstance(sequences, layout.Sequences):
            for of in (lags, angles):
                seen += of.notes(sequences.x_NTD, sequences.names)
        for note in (*sequences.notes, *seen):
            say(f"note: {note}")
        turns = _decided_turns(run_dir) if resume else None
        parts = model.prepare(sequences, turns)
        _describe(model, sequences, device, say)
        if resume:
            given = sequences.given if isinstance(sequences, layout.Sequences) else None
            if given and given.cycles:
                say(f"        calendar {'read' if turns else 'left out'}, as this run began")
            changed = f"; changed: {'; '.join(changes)}" if changes else ""
            say(f"resume  from {_restore(model, run_dir)}{changed}")
        else:
            directory.clear(run_dir)  # of an earlier run
        check_space(run_dir, model, parts.held_out_NTD)
        model.write_config(run_dir, model.description)
        names = model.description.names
        held_out_NTD, ends = parts.held_out_NTD, model.description.scaler.ends
        if ends:
            held_out_NTD = lengths.trimmed(held_out_NTD)
        held_out, has_gaps = run_dir / "held_out.npy", model.description.has_gaps
        layout.save_sequences(held_out, held_out_NTD, names, with_gaps=has_gaps, ends=ends)
        listener = _Listener(model, run_dir, display, stop)
        if stop:
            raise Stopped(stop[0])
        try:
            model.train(parts, listener)
        finally:
            display.close()
        if stop:  # all training is saved; only the samples at the end are missing
            raise Stopped(stop[0])
        _finish(model, parts, run_dir, say)
        say(f"done in {time.monotonic() - started:.0f} s")
    return model


def follow(settings: Config) -> None:
    """Take part in a run whose files another process writes, from the state that it sends."""
    model = SeqGAN(settings)
    model.train(model.prepare(_read(settings, model.data_seed)), _Follower())


def shown(numbers: int) -> int:
    """Sequences of so many numbers in the samples written while a run goes on.

    >>> shown(24), shown(24 * 165)
    (1000, 126)
    """
    return max(1, min(SAMPLES_SHOWN, NUMBERS_SHOWN // numbers))


def written(asked: int | None, numbers: int) -> int:
    """Sequences of so many numbers in final_samples.txt: writing is never most of a run by default.

    >>> written(None, 24), written(None, 24 * 165), written(20_000, 24 * 165)
    (10000, 2525, 20000)
    """
    return asked or min(WRITTEN, max(LEAST_WRITTEN, NUMBERS_WRITTEN // numbers))


# ------------------------------------------------------------------ before the training


def saved_config(run_dir: str) -> Config:
    """The settings of the run in `run_dir`, for `--resume`."""
    settings = directory.read_config(Path(run_dir)).get("settings")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{run_dir}/config.json: holds no settings.")
    return config.from_flat(config.BEFORE | settings | {"run_dir": run_dir})


def check_resumable(old: Config, new: Config) -> list[str]:
    """Changes from `old` to `new` in words; raises UsageError on those that a run cannot make."""
    before, after = config.flat(old), config.flat(new)
    changed = {n: f"{n} {before[n]!r} -> {after[n]!r}" for n in after if before[n] != after[n]}
    if refused := [words for name, words in changed.items() if name not in config.CHANGEABLE]:
        raise UsageError(
            f"--resume cannot change {', '.join(refused)}: what was computed so far depends on it. "
            "Leave it out, or start a new run with another --run-dir."
        )
    return [words for name, words in changed.items() if name != "run_dir"]


def _decided_turns(run_dir: Path) -> int | None:
    """By how many turns of a day a run reads the calendar, 0 where it does not, as when it began;
    before versions that ask for a gain, too. None where nothing was stored."""
    stored = directory.read_config(run_dir)
    if "data" not in stored:
        return None
    own = stored.get("known")
    if not isinstance(own, dict) or not own.get("cycles"):
        return 0
    return int(own.get("turns", TURNS))


def _refuse_earlier_run(run_dir: Path) -> None:
    if found := directory.present(run_dir):
        raise UsageError(
            f"{run_dir}: holds an earlier run ({', '.join(found)}). Go on with it: --resume. "
            "Keep it and start another: --run-dir NAME. Replace it: --overwrite."
        )


def _read(settings: Config, seed: int) -> Source:
    """The sequences of the settings: streamed where they are many, else in memory."""
    if stream := layout.open_stream(settings.data):
        return stream
    return layout.of_settings(settings.data, seed)


def _describe(model: SeqGAN, sequences: Source, device: str, say: Say) -> None:
    """What is learned from, on what, and how large the networks are."""
    description = model.description
    counts = description.counts
    number = f"{sum(counts):,} sequences of {description.length} steps"
    if isinstance(sequences, layout.Sequences) and sequences.ends:
        number = lengths.in_words(lengths.of(sequences.x_NTD))
    say(
        f"data    {sequences.source}: {number}, "
        f"{len(description.names)} feature{'s' * (len(description.names) != 1)} "
        f"({counts[0]:,} to train, {counts[1]:,} to validate, {counts[2]:,} held out)"
    )
    x_NTD = sequences.x_NTD if isinstance(sequences, layout.Sequences) else None
    for line in evaluating.columns(description, x_NTD):
        say(line)
    if gain := model.calendar:
        taken = "read" if gain.is_taken else f"left out, below {ERRORS:g} errors"
        say(f"        calendar {taken}: it gains {gain}, by linear baselines")
    say(f"device  {device}")
    if model.tried:
        tried = ", ".join(f"{name} {nll:.4f}" for name, nll in model.tried.items())
        say(
            f"policy  {model.config.generator.policy}, of {tried} (validation loss, nats a "
            "step in scaled units, after some epochs each)"
        )
    say(
        f"models  generator {num_params(model.state.policy):,} parameters, "
        f"discriminator {num_params(model.state.discriminator):,}"
    )


def check_space(run_dir: Path, model: SeqGAN, held_out_NTD: np.ndarray) -> None:
    """Raise DiskError where the run's files cannot fit on the disk, before any work is lost."""
    settings, description = model.config.run, model.description
    kept = settings.keep + 1  # the new one is written before the oldest is removed
    saved = kept * (checkpoint.num_bytes(model.state) + 200_000)
    size = description.numbers
    number = written(settings.generated_num, size) + 2 * shown(size)
    samples = 25 * number * size * (1 + description.is_table) + held_out_NTD.nbytes
    needed, free = saved + samples, shutil.disk_usage(run_dir).free
    if needed > free:
        raise DiskError(
            f"{run_dir}: about {needed / 1e6:.1f} MB are needed ({kept} checkpoints "
            f"{saved / 1e6:.1f} MB, samples {samples / 1e6:.1f} MB) and {free / 1e6:.1f} MB are "
            "free there. Free some space, name another --run-dir, or make --keep or "
            "--generated-num smaller."
        )


def _restore(model: SeqGAN, run_dir: Path) -> str:
    """Put the last whole checkpoint's state into a model prepared from the same data."""
    store = directory.checkpoints(run_dir)
    if not checkpoint.steps(store):
        directory.cut_metrics(run_dir, {})
        return "the beginning: no checkpoint was saved yet"
    saved = SeqGAN.load(run_dir, say=warn)
    if saved.description.to_json() != model.description.to_json():
        raise CheckpointError(
            f"{run_dir}: not the data that this run was trained on (sequences, scaling or "
            "columns differ). Give it the same file, or start another run with --run-dir."
        )
    model.adopt(saved)
    done = loop.done(model.state)
    for moved in checkpoint.set_aside(store, loop.step_number(model.state)):
        warn(f"kept beside the others as {moved}")
    directory.cut_metrics(run_dir, done)
    return ", ".join(f"{loop.TITLES[phase]} {count}" for phase, count in done.items())


# ------------------------------------------------------------------ after the training


def _finish(model: SeqGAN, parts: Split | shards.StreamSplit, run_dir: Path, say: Say) -> None:
    """The held-out likelihood, `final_samples.txt`, and the picture of the metrics."""
    description, settings = model.description, model.config.run
    held_out_NTD, known_NTW = parts.held_out_NTD, None
    if isinstance(parts, KnownSplit):
        known_NTW = parts.known[2]
    inside = description.scaler.matches(held_out_NTD)
    if not inside.all():
        say(
            f"note: {np.sum(~inside)} of {len(inside)} held-out sequences break a column that is "
            "constant in the training part; left out of the figure below"
        )
    counted = inside if inside.any() else np.ones(len(inside), bool)

    def log_prob(rows: np.ndarray, run: int | None = None) -> np.ndarray:
        known = None if known_NTW is None else known_NTW[rows]
        return model.log_prob_array(held_out_NTD[rows], run=run, known_NTW=known)

    steps = description.steps(held_out_NTD[counted])
    nll = -log_prob(counted).mean() / steps
    of = ", of the values that are there" * description.has_gaps
    better = "less is better, among models of the same data"
    say(f"held-out negative log-likelihood: {nll:.4f} nats a step, in data units{of} ({better})")
    if settings.num_seeds > 1:
        _report_runs(model, inside, steps, log_prob, run_dir, say)
    size = description.numbers
    number = written(settings.generated_num, size)
    places = model.places(number, settings.seed)
    x_NTD = model.sample_array(number, seed=settings.seed, places=places)
    fewer = (
        f" (of {size:,} numbers each; --generated-num: more)"
        if number < (settings.generated_num or WRITTEN)
        else ""
    )
    for name in ("final_samples.txt", *["final_samples.csv"] * description.is_table):
        description.save_sequences(run_dir / name, x_NTD, places.starts_N)
        say(f"wrote {number:,} sequences to {run_dir / name}{fewer}")
    from seqgan_jax.analysis import command  # matplotlib: half a second, wanted only here

    for path in command.training_picture(run_dir, run_dir):
        say(f"wrote {path}")


def _report_runs(
    model: SeqGAN,
    rows_N: np.ndarray,
    steps: float,
    log_prob: Callable[[np.ndarray, int], np.ndarray],
    run_dir: Path,
    say: Say,
) -> None:
    """Every run's figures, their mean and spread, on the terminal and in runs.json."""
    rows = model.runs()
    for i, row in enumerate(rows):
        row["held_out_nll"] = None
        if rows_N.any() and np.isfinite(row["validation_nll"]):
            log_p = log_prob(rows_N, i)
            row["held_out_nll"] = float(-log_p.mean() / steps)
    files.write_text(run_dir / "runs.json", json.dumps(rows, indent=1, default=str) + "\n")
    values = np.array([row["held_out_nll"] for row in rows if row["held_out_nll"] is not None])
    best = next(row for row in rows if row["best"])
    if len(values):
        say(
            f"{len(rows)} runs: held-out {values.mean():.4f} on average, standard deviation "
            f"{values.std():.4f}, {values.min():.4f} to {values.max():.4f}; kept seed "
            f"{best['seed']}, the best on the validation part; all in {run_dir / 'runs.json'}"
        )
