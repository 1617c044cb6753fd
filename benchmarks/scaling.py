"""Time and memory against T, N, D, batch, seeds and devices, with fitted exponents.

    python benchmarks/scaling.py                           all axes
    python benchmarks/scaling.py --axis length rollouts    some
    python benchmarks/scaling.py --quick                   two values of T, or of each --axis

Each point runs in a process of its own, for its peak memory. G step: one of maximum
likelihood. Reward: N rollouts of every prefix, scored by the small discriminator. `temp` is what
XLA reserves for intermediate values of the reward. Exponents are slopes of log time (memory) on
log size by least squares; the last column of the table is the local one, from the point before.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

import measure
import numpy as np
import throughput
import work

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
QUICK = ("length",)
RUNS: dict[str, tuple[int, ...]] = {"seeds": (1, 4, 16, 64), "devices": (1, 2, 4, 8)}
FIGURES = ("g_step", "reward", "temp_bytes", "peak_rss_bytes")


def point(settings: dict[str, Any], repeats: int, at_least: float = 0.2) -> dict[str, float]:
    """Figures of one point, in this process."""
    batch = settings.get("batch", work.Sizes.batch)
    problem = work.problem(work.Sizes(number=4 * batch, **settings))
    call, steps = work.likelihood_epoch(problem)
    reward = work.compiled_reward(problem)
    g_step = measure.timed(call, repeats, at_least, steps)
    scored = measure.timed(reward, repeats, at_least)
    return (
        {"g_step": g_step.median, "reward": scored.median}
        | g_step.json("g_step_")
        | scored.json("reward_")
        | {"temp_bytes": reward.temporary_bytes(), "peak_rss_bytes": measure.peak_bytes()}
    )


def in_child(settings: dict[str, Any], options: Any, xla_flags: str = "") -> dict[str, Any]:
    """A point, or a short run, in a process of its own."""
    flags = ["--repeats", str(options.repeats), *(["--gpu"] if options.gpu else [])]
    return measure.in_child(__file__, settings, *flags, xla_flags=xla_flags)


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


def short_run(axis: str, value: int, options: Any) -> dict[str, Any]:
    """Seconds of a short run of all phases in a child, and those of them spent compiling."""
    changes, xla_flags = throughput.SHORT | {"num_seeds": value}, ""
    if axis == "devices":
        changes |= {"devices": value, "num_seeds": max(RUNS["devices"])}
        if not options.gpu:
            xla_flags = f"--xla_force_host_platform_device_count={value}"
    found = in_child({"run": changes}, options, xla_flags)
    print(f"{axis} {value}: {found.get('error', 'done')}", file=sys.stderr, flush=True)
    return {"axis": axis, "value": value} | found


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
    flags = measure.parser(__doc__, "repeats", "gpu", "child")
    flags.add_argument("--axis", nargs="+", choices=[*AXES, *RUNS], help="default: all")
    options = measure.parse(flags, arguments)
    if options.child:
        run = options.child.get("run")
        found = throughput.whole_run(2000, **run) if run else point(options.child, options.repeats)
        print(json.dumps(found))
        return 0
    wanted = options.axis or (QUICK if options.quick else [*AXES, *RUNS])
    most = 2 if options.quick else None
    axes = {axis: values[:most] for axis, values in AXES.items() if axis in wanted}
    rows = [row for axis, values in axes.items() for row in sweep(axis, values, options)]
    runs = [
        short_run(axis, value, options)
        for axis, values in RUNS.items()
        if axis in wanted
        for value in values[:most]
    ]
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
