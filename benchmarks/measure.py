"""What the scripts share: flags, child processes, timing, the machine's name, tables, JSON."""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from seqgan_jax.core import parallel
from seqgan_jax.errors import SeqGANError
from seqgan_jax.run import device

MIN_REPEATS = 5
Call = Callable[[], Any]  # does the work and returns when the device has finished it


@dataclass(frozen=True)
class Timing:
    """Seconds of one unit of work over repeats, and those of the first call (it compiles)."""

    min: float
    median: float
    max: float
    first: float

    def json(self, prefix: str = "") -> dict[str, float]:
        """The four numbers by name."""
        return {prefix + name: getattr(self, name) for name in ("min", "median", "max", "first")}


def seconds(call: Call) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def alternate(
    calls: Mapping[str, Call], repeats: int = MIN_REPEATS, at_least: float = 0.2, unit: int = 1
) -> dict[str, Timing]:
    """Time several calls in turn, so that a noisy neighbour hits all of them.

    The first call of each compiles and is reported apart; the second sets how many calls make a
    repeat of `at_least` seconds. Times are divided by `unit`, the units of work in a call.
    """
    first = {name: seconds(call) for name, call in calls.items()}
    inner = {
        name: max(1, min(1000, round(at_least / max(seconds(call), 1e-6))))
        for name, call in calls.items()
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(inner[name]):
                call()
            found[name].append((time.perf_counter() - started) / inner[name] / unit)
    return {
        name: Timing(min(times), statistics.median(times), max(times), first[name])
        for name, times in found.items()
    }


def timed(call: Call, repeats: int = MIN_REPEATS, at_least: float = 0.2, unit: int = 1) -> Timing:
    """`alternate` for one call."""
    return alternate({"": call}, repeats, at_least, unit)[""]


def parser(doc: str, *more: str, lines: bool = False) -> argparse.ArgumentParser:
    """The flags that every script has; of `repeats`, `gpu` and `child` those that are asked for.

    With `lines` the script adds lines to its JSON file while it runs, by `append`.
    """
    flags = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    content = "add a line for each result to" if lines else "write the figures to"
    flags.add_argument("--json", type=Path, help=f"file to {content}")
    if "repeats" in more:
        words = f"at least {MIN_REPEATS} (default: {MIN_REPEATS})"
        flags.add_argument("--repeats", type=int, default=MIN_REPEATS, help=words)
    if "gpu" in more:
        flags.add_argument("--gpu", action="store_true", help="measure on a GPU; no fall-back")
    if "child" in more:
        flags.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    return flags


def parse(flags: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> Any:
    """Parsed flags, with the device chosen; ends with 2 on bad flags, 4 without a usable GPU."""
    options = flags.parse_args(arguments)
    if getattr(options, "repeats", MIN_REPEATS) < MIN_REPEATS:
        flags.error(f"--repeats must be at least {MIN_REPEATS}, not {options.repeats}")
    if options.json is not None and not options.json.resolve().parent.is_dir():
        flags.error(f"--json {options.json}: its folder does not exist. Make it first.")
    try:
        device.choose(getattr(options, "gpu", False))
    except SeqGANError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    return options


def in_child(script: str, settings: Any, *flags: str, xla_flags: str = "") -> dict[str, Any]:
    """What `script --child SETTINGS` prints on its last line; where it fails, the last line of why.

    A process of its own has a peak memory of its own, and as many devices as `xla_flags` say.
    """
    environment = dict(os.environ)
    environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {xla_flags}".strip()
    command = [sys.executable, script, "--child", json.dumps(settings), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def peak_bytes() -> int:
    """Peak resident memory of this process (getrusage has KiB, on macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """Device, versions, precision and flags: what a figure depends on."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "numpy", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    on_cpu = parallel.on_cpu()
    used = jax.config.jax_default_device or jax.devices()[0]
    product = jax.config.jax_default_matmul_precision or "default"
    return {
        "device": f"{_cpu_name()}, {platform.machine()}" if on_cpu else used.device_kind,
        "backend": used.platform,
        "cores": cores(),
        "threads": cores(),
        "versions": versions,
        "precision": f"float32, products at JAX's {product!r} precision"
        + ("" if on_cpu or product != "default" else " (TF32 where the GPU has it)"),
        "flags": {name: os.environ.get(name, "") for name in ("XLA_FLAGS", "OMP_NUM_THREADS")},
    }


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that can be pasted into Markdown, under a line that names the machine."""
    about = machine()
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
    console = Console(width=200, highlight=False)
    console.print(f"\n{title}\n{about['device']}, {about['cores']} cores; {about['precision']}")
    console.print(versions + "".join(f"; {k}={v}" for k, v in about["flags"].items() if v) + "\n")
    table = Table(box=box.MARKDOWN)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def spread(row: Mapping[str, float]) -> list[str]:
    """Cells: min, median, max and the first call."""
    return [duration(row[name]) for name in ("min", "median", "max", "first")]


def duration(value: float) -> str:
    """Seconds in a readable unit.

    >>> duration(0.00123), duration(12.3), duration(7200.0)
    ('1.23 ms', '12.3 s', '2.00 h')
    """
    for size, name in ((3600.0, "h"), (1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return (
                f"{value / size:.3g} {name}" if value / size >= 10 else f"{value / size:.2f} {name}"
            )
    return f"{value * 1e6:.3g} us"


def write(path: Path | None, script: str, content: Mapping[str, Any]) -> None:
    """The figures with the machine, as JSON."""
    if path is not None:
        path.write_text(json.dumps({"script": script} | machine() | dict(content), indent=2) + "\n")
        print(f"written: {path}")


def append(path: Path | None, content: Mapping[str, Any]) -> None:
    """One more line of JSON: the figures with the machine."""
    if path is not None:
        with path.open("a") as handle:
            handle.write(json.dumps(machine() | dict(content)) + "\n")
