"""Time and memory against T, N, D, batch, seeds and devices, with fitted exponents.

    python benchmarks/scaling.py                           all axes
    python benchmarks/scaling.py --axis length rollouts    some
    python benchmarks/scaling.py --quick                   two lengths, under a minute

Each point runs in a process of its own, whose peak memory is its. G step: one of maximum
likelihood. Reward: N rollouts of every prefix, scored by the small discriminator. `temp` is what
XLA reserves for intermediate values of the reward. Exponents are slopes of log time (memory) on
log size by least squares; the last column of the table is the local one, from the point before.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import work

from seqgan_jax.config import Config, flat

# Small where an axis is large, so that the largest point fits in a few GB and in seconds.
BASE: dict[str, dict[str, int]] = {
    "length": {"batch": 4, "rollouts": 1},
    "rollouts": {"length": 24},
    "features": {"length": 24, "rollouts": 4},
    "batch": {"length": 24, "rollouts": 4},
}
AXES: dict[str, tuple[int, ...]] = {
    "length": (12, 24, 48, 100, 200, 500, 1000),
    "rollouts": (1, 2, 4, 8, 16, 32, 64),
    "features": (1, 2, 4, 8, 16, 32, 64),
    "batch": (8, 16, 32, 64, 128, 256, 512),
}
QUICK: dict[str, tuple[int, ...]] = {"length": (12, 24)}
RUNS: dict[str, tuple[int, ...]] = {"seeds": (1, 4, 16, 64), "devices": (1, 2, 4, 8)}
FIGURES = ("g_step", "reward", "temp_bytes", "peak_rss_bytes")


def point(settings: dict[str, Any], repeats: int, at_least: float = 0.2) -> dict[str, float]:
    """Figures of one point, in this process."""
    batch = settings.get("batch", work.Sizes.batch)
    problem = work.problem(work.Sizes(number=4 * batch, **settings))
    call, steps = work.likelihood(problem)
    reward = work.compiled_reward(problem)
    g_step = measure.timed(call, repeats, at_least, steps)
    scored = measure.timed(reward, repeats, at_least)
    return (
        {"g_step": g_step.median, "reward": scored.median}
        | g_step.json("g_step_")
        | scored.json("reward_")
        | {"temp_bytes": reward.temporary_bytes(), "peak_rss_bytes": peak_rss()}
    )


def peak_rss() -> int:
    """Peak resident memory of this process, bytes (getrusage has KiB, on macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def in_child(settings: dict[str, Any], options: Any) -> dict[str, Any]:
    """`point` in a process of its own; where it fails, the last line of why."""
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    command += ["--repeats", str(options.repeats), *(["--gpu"] if options.gpu else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """b of value = a size^b by least squares on logarithms.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 3)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-12)), 1)[0])


def sweep(axis: str, values: Sequence[int], options: Any) -> list[dict[str, Any]]:
    """Points along one axis, the others at `BASE`."""
    rows = []
    for value in values:
        figures = in_child(BASE[axis] | {axis: value}, options)
        rows.append({"axis": axis, "value": value} | figures)
        words = figures.get("error") or f"reward {measure.duration(figures['reward'])}"
        print(f"{axis} {value}: {words}", file=sys.stderr, flush=True)
    return rows


def seeds_and_devices(options: Any) -> list[dict[str, Any]]:
    """Whole short runs with `--num-seeds` and `--devices`, as far as this version has them."""
    rows = []
    for axis, values in RUNS.items():
        setting = {"seeds": "num_seeds", "devices": "devices"}[axis]
        if setting not in flat(Config()):
            print(f"{axis}: skipped, this version has no --{setting.replace('_', '-')}")
            continue
        for value in values[:2] if options.quick else values:
            rows.append({"axis": axis, "value": value} | short_run(axis, value, options))
    return rows


def short_run(axis: str, value: int, options: Any) -> dict[str, Any]:
    """Seconds of a cut default run in a process of its own, and those of them spent compiling."""
    changes: dict[str, Any] = {
        "pre_epoch_num": 10,
        "patience": 10,
        "dis_pre_refreshes": 5,
        "total_batch": 10,
    }
    environment = dict(os.environ)
    if axis == "devices":
        changes |= {"devices": value, "num_seeds": max(RUNS["devices"])}
        if not options.gpu:
            fake = f"--xla_force_host_platform_device_count={value}"
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {fake}"
    else:
        changes["num_seeds"] = value
    script = (
        "import json, throughput; from seqgan_jax import device\n"
        f"device.choose({options.gpu})\n"
        f"print(json.dumps(throughput.whole_run(2000, **json.loads({json.dumps(changes)!r}))))"
    )
    paths = [str(Path(__file__).parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def fits(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exponents of every figure along each axis, from the points that ran."""
    found = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        good = [row for row in rows if row["axis"] == axis and "error" not in row]
        if len(good) > 1:
            sizes = [row["value"] for row in good]
            slopes = {name: exponent(sizes, [row[name] for row in good]) for name in FIGURES}
            found.append({"axis": axis} | slopes)
    return found


def cells(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Cells of the table of points."""
    out, before = [], None
    for row in rows:
        if "error" in row:
            out.append([row["axis"], str(row["value"]), row["error"][:60], "", "", "", ""])
            continue
        local = ""
        if before is not None and before["axis"] == row["axis"]:
            pair = [before["value"], row["value"]], [before["reward"], row["reward"]]
            local = f"{exponent(*pair):.2f}"
        times = [measure.duration(row[name]) for name in ("g_step", "reward")]
        memory = [f"{row[name] / 2**20:,.0f} MiB" for name in ("temp_bytes", "peak_rss_bytes")]
        out.append([row["axis"], str(row["value"]), *times, *memory, local])
        before = row
    return out


def _times(run: dict[str, Any]) -> tuple[float, float, float]:
    return run["seconds"], run["compile_seconds"], run["seconds"] - run["compile_seconds"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write; with `--child` one point, as JSON on the last line."""
    flags = measure.parser(__doc__)
    flags.add_argument("--axis", nargs="+", choices=[*AXES, *RUNS], help="default: all")
    flags.add_argument("--child", help=measure.argparse.SUPPRESS)
    options = measure.parse(flags, arguments)
    if options.child:
        print(json.dumps(point(json.loads(options.child), options.repeats)))
        return 0
    axes = QUICK if options.quick else AXES
    rows: list[dict[str, Any]] = []
    for axis, values in axes.items():
        if options.axis is None or axis in options.axis:
            rows += sweep(axis, values, options)
    runs: list[dict[str, Any]] = []
    if set(options.axis or ([] if options.quick else RUNS)) & set(RUNS):
        runs = seeds_and_devices(options)
    slopes = fits(rows)
    if rows:
        columns = ("axis", "value", "G step", "reward", "temp", "peak memory", "local exponent")
        base = "; ".join(f"{axis}: {settings}" for axis, settings in BASE.items() if axis in axes)
        measure.show(f"Cost as work grows, medians ({base})", columns, cells(rows))
    if slopes:
        table = [[s["axis"], *(f"{s[name]:.2f}" for name in FIGURES)] for s in slopes]
        measure.show("Exponents", ("axis", "G step", "reward", "temp", "peak memory"), table)
    if runs:
        lines = [
            [r["axis"], str(r["value"])]
            + ([r["error"], "", ""] if "error" in r else list(map(measure.duration, _times(r))))
            for r in runs
        ]
        names = ("axis", "value", "in all", "compiling", "computing")
        measure.show("Short whole runs (devices: with 8 seeds)", names, lines)
    settings = {"base": BASE, "defaults": dataclasses.asdict(work.Sizes())}
    content = {"quick": options.quick, "rows": rows, "exponents": slopes, "runs": runs} | settings
    measure.write(options.json, "scaling", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
