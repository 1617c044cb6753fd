"""How long each unit of work takes, with both discriminators.

    python benchmarks/throughput.py                        T = 20, D = 1, batch 64, N = 16
    python benchmarks/throughput.py --gpu --json FILE
    python benchmarks/throughput.py --quick                small discriminator, under a minute

G step: one of maximum likelihood, and one that reads the calendar as well. D step: one of the
discriminator on half real, half generated. Rollouts: N continuations of every prefix of a batch.
Reward: the same, scored by D. Round: one adversarial round by REINFORCE, with the preset's passes
of D over 1,024 + 1,024 sequences. Whole run: all phases by default settings on 10,000 AR(1)
sequences, once, compilation inside (reported beside it); cut short for --quick. The reference's
takes hours: it is computed from its parts.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import measure
import work

from seqgan_jax import SeqGAN
from seqgan_jax.config import PRESETS, Config
from seqgan_jax.data.layout import load

CALENDAR = 10  # numbers that say hour and weekday
SHORT = {"pre_epoch_num": 10, "patience": 10, "dis_pre_refreshes": 5, "total_batch": 10}


def whole_run(number: int, **settings: Any) -> dict[str, Any]:
    """All three phases by default settings on AR(1) sequences of length 20."""
    sequences = load("ar1", window=20, num_sequences=number)
    clock, model = work.Clock(), SeqGAN(**settings)
    started = time.perf_counter()
    model.fit(sequences, listener=clock)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "compile_seconds": clock.compile_seconds, "phases": clock.phases}


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
    g_call, g_steps = work.likelihood_epoch(problem)
    known_call, _ = work.likelihood_epoch(work.problem(replace(sizes, known=CALENDAR)))
    d_call, d_steps = work.discriminator_passes(problem, 1 if sizes.negatives < 1024 else 3)
    calls = [
        ("g_step", g_call, g_steps, sizes.batch),
        ("g_step, hour and weekday", known_call, g_steps, sizes.batch),
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
    options = measure.parse(measure.parser(__doc__, "repeats", "gpu"), arguments)
    found: list[dict[str, Any]] = []
    runs: dict[str, dict[str, Any]] = {}
    for name, preset in PRESETS.items():
        if options.quick and preset.discriminator.dis_size == "reference":
            continue
        sizes = sizes_of(preset, options.quick)
        parts = rows(sizes, options.repeats, 0.05 if options.quick else 0.2)
        found += parts
        if name == "reference":
            by = {row["work"]: row["median"] for row in parts}
            runs["reference, from its parts"] = {"seconds": extrapolated(by, preset, 8000)}
    if options.quick:
        runs["default, cut short"] = whole_run(1000, **SHORT)
    else:
        runs["default"] = whole_run(10_000)
    table = []
    for row in found:
        rate = row["sequences_per_second"]
        cells = [row["work"], row["dis_size"], *measure.spread(row)]
        table.append([*cells, f"{rate:,.0f}" if rate else ""])
    columns = ("work", "D", "min", "median", "max", "first, compiling", "sequences/s")
    measure.show("Throughput: T = 20, D = 1, batch 64, 16 rollouts", columns, table)
    summary = []
    for name, run in runs.items():
        compiling = measure.duration(run["compile_seconds"]) if "compile_seconds" in run else ""
        summary.append([name, measure.duration(run["seconds"]), compiling])
    measure.show("Whole run", ("run", "in all", "of it compiling"), summary)
    content = {"quick": options.quick, "rows": found, "whole_runs": runs}
    measure.write(options.json, "throughput", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
