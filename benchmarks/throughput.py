"""How long each unit of work takes, with both discriminators.

    python benchmarks/throughput.py                        T = 20, D = 1, batch 64, N = 16
    python benchmarks/throughput.py --gpu --json FILE
    python benchmarks/throughput.py --quick                small discriminator, under a minute

G step: one of maximum likelihood. D step: one of the discriminator on half real, half generated.
Rollouts: N continuations of every prefix of a batch. Reward: the same, scored by D. Round: one
adversarial round by REINFORCE, with the preset's passes of D over 1,024 + 1,024 sequences. Whole
run: all phases by default settings on 10,000 AR(1) sequences, once, compilation inside (reported
beside it); with the reference's discriminator and schedule it is computed from the parts, not run.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

import measure
import work

from seqgan_jax import SeqGAN
from seqgan_jax.config import PRESETS, Config
from seqgan_jax.core.steps import TrainState
from seqgan_jax.data.layout import load
from seqgan_jax.run.loop import Silent


class Clock(Silent):
    """Seconds of compilation, and of each phase, of a run."""

    def __init__(self) -> None:
        self.compile_seconds, self.phases = 0.0, {}
        self._last = time.perf_counter()

    def compiled(self, phase: str, seconds: float) -> None:  # noqa: ARG002
        self.compile_seconds += seconds

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:  # noqa: ARG002
        now = time.perf_counter()
        self.phases[phase], self._last = now - self._last, now


def whole_run(number: int, **settings: Any) -> dict[str, Any]:
    """All three phases by default settings on AR(1) sequences of length 20."""
    sequences = load("ar1", window=20, num_sequences=number)
    clock, model = Clock(), SeqGAN(**settings)
    started = time.perf_counter()
    model.fit(sequences, listener=clock)
    total = time.perf_counter() - started
    compiling = clock.compile_seconds
    return {"seconds": total, "compile_seconds": compiling, "phases": clock.phases}


def sizes_of(preset: Config, quick: bool) -> work.Sizes:
    """The preset's sizes, and for `--quick` fewer sequences and a short round."""
    dis = preset.discriminator
    return work.Sizes(
        dis_size=dis.dis_size,
        r1=dis.dis_r1,
        number=1024 if quick else 10_000,
        # The reference passes over 10,000 + 10,000 sequences 15 times a round: minutes.
        negatives=256 if quick else 1024,
        passes=1 if quick else dis.dis_passes,
        refreshes=1 if quick else dis.dis_refreshes,
    )


def rows(sizes: work.Sizes, repeats: int, at_least: float = 0.2) -> list[dict[str, Any]]:
    """Timings of every unit of work at these sizes."""
    problem = work.problem(sizes)
    sequences = sizes.batch * sizes.rollouts * (sizes.length - 1)
    g_call, g_steps = work.likelihood(problem)
    d_call, d_steps = work.discriminating(problem, 1 if sizes.negatives < 1024 else 3)
    calls = [
        ("g_step", g_call, g_steps, sizes.batch),
        ("d_step", d_call, d_steps, sizes.batch),
        ("rollouts", work.lazily(lambda: work.compiled_rollouts(problem)), 1, sequences),
        ("reward", work.lazily(lambda: work.compiled_reward(problem)), 1, sequences),
        ("round", work.adversarial_round(problem), 1, None),
    ]
    found = []
    for name, call, unit, count in calls:
        timing = measure.timed(call, repeats, at_least, unit)
        row = {"work": name, "dis_size": sizes.dis_size} | timing.json()
        row["sequences_per_second"] = count / timing.median if count else None
        found.append(row)
    return found


def extrapolated(by: dict[str, float], preset: Config, number: int) -> float:
    """Seconds of the preset's whole run from those of its parts, every epoch and round run."""
    dis, batch = preset.discriminator, preset.run.batch_size
    epoch = by["g_step"] * (number // batch)
    refresh = by["d_step"] * dis.dis_passes * (2 * dis.num_negatives // batch)
    rounds = preset.adversarial.total_batch * (by["reward"] + dis.dis_refreshes * refresh)
    return preset.generator.pre_epoch_num * epoch + dis.dis_pre_refreshes * refresh + rounds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    options = measure.parse(measure.parser(__doc__), arguments)
    found: list[dict[str, Any]] = []
    runs: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        if options.quick and preset.discriminator.dis_size == "reference":
            continue
        sizes = sizes_of(preset, options.quick)
        found += rows(sizes, options.repeats, 0.05 if options.quick else 0.2)
        by = {row["work"]: row["median"] for row in found}  # the latest of each
        runs[f"{name}, from its parts"] = {"seconds": extrapolated(by, preset, 8000)}
    if not options.quick:
        runs["default"] = whole_run(10_000)
    table = []
    for row in found:
        timing = measure.Timing(row["min"], row["median"], row["max"], row["first"])
        rate = row["sequences_per_second"]
        cells = [row["work"], row["dis_size"], *measure.spread(timing)]
        table.append([*cells, f"{rate:,.0f}" if rate else ""])
    columns = ("work", "D", "min", "median", "max", "first, compiling", "sequences/s")
    measure.show("Throughput: T = 20, D = 1, batch 64, 16 rollouts", columns, table)
    summary = []
    for name, run in runs.items():
        compiling = measure.duration(run["compile_seconds"]) if "compile_seconds" in run else ""
        summary.append([name, measure.duration(run["seconds"]), compiling])
    measure.show("Whole run", ("run", "in all", "of it compiling"), summary)
    measure.write(
        options.json, "throughput", {"quick": options.quick, "rows": found, "whole_runs": runs}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
