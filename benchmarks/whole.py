"""Whole runs of `train.py` on large data: processor seconds, memory, to the last file written.

    python benchmarks/whole.py                       all runs
    python benchmarks/whole.py --only wide long      some
    python benchmarks/whole.py --quick               one small run, or each of --only

Each run is a process with an empty compilation cache, by default settings but for what its row
says; its seconds are those of both the process and the clock, since a machine that others use
counts the latter alone. `second` is the default run on the bundled table again, with a full cache.

wide    1,000 sequences x 24 steps x 165 columns of five factors
mixed   1,000 x 24 x 60: a third of them on grids, with zeros, or words
long    40 x 2,000 x 1
many    10,000 x 1,000 x 1, one epoch, one of the discriminator and two rounds
table   the bundled weather
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
SHAPES = {
    "wide": (1000, 24, 165),
    "mixed": (1000, 24, 60),
    "long": (40, 2000, 1),
    "many": (10_000, 1000, 1),
}
CUT = ("--pre-epoch-num", "1", "--dis-pre-refreshes", "1", "--total-batch", "2", "--no-look-first")
FLAGS = {"mixed": ("--id", "id"), "many": CUT}
RUNS = (*SHAPES, "table", "second")
QUICK = {"wide": (60, 6, 20), "mixed": (60, 6, 6), "long": (20, 300, 1), "many": (80, 20, 1)}
FEW = ("--hidden-dim", "4", "--num-negatives", "64", "--generated-num", "20")


def factors(shape: tuple[int, int, int], seed: int = 0, number: int = 5) -> np.ndarray:
    """Columns that are sums of AR(1) factors and noise, [N, T, D] float32."""
    rng = np.random.default_rng(seed)
    sequences, steps, features = shape
    state = rng.normal(size=(sequences, number))
    found = np.empty((sequences, steps, number))
    for t in range(steps):
        state = 0.9 * state + np.sqrt(1 - 0.9**2) * rng.normal(size=state.shape)
        found[:, t] = state
    noise = 0.5 * rng.normal(size=shape)
    return (found @ rng.normal(size=(number, features)) + noise).astype(np.float32)


def table(x_NTD: np.ndarray) -> pd.DataFrame:
    """The same as a table of which three columns in six are on a grid, often zero, or words."""
    numbers, steps, features = x_NTD.shape
    flat = x_NTD.reshape(-1, features).astype(float)
    flat /= flat.std(axis=0)
    columns: dict[str, Any] = {"id": np.repeat(np.arange(numbers), steps)}
    for d, x in enumerate(flat.T):
        kinds = {
            1: lambda x: np.round(x * 4) / 4,
            3: lambda x: np.maximum(x, 0).round(3),
            5: lambda x: np.array(list("abcd"))[np.digitize(x, [-1, 0, 1])],
        }
        columns[f"x{d}"] = kinds.get(d % 6, lambda x: x.round(5))(x)
    return pd.DataFrame(columns)


def made(name: str, shape: tuple[int, int, int], folder: Path) -> str:
    """The file of a run's data."""
    x_NTD = factors(shape)
    if name == "mixed":
        table(x_NTD).to_csv(folder / "mixed.csv", index=False)
        return str(folder / "mixed.csv")
    np.save(folder / f"{name}.npy", x_NTD)
    return str(folder / f"{name}.npy")


def run(folder: Path, cache: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Figures of one run of `train.py`, and the last of what it says."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, str(ROOT / "train.py"), "--overwrite", "--run-dir", str(folder)]
    started = time.perf_counter()
    said = folder.with_suffix(".log")
    with said.open("w") as log:
        child = subprocess.Popen([*command, *flags], stdout=log, stderr=log, env=environment)
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    lines = said.read_text().splitlines()
    if child.returncode:
        return {"error": (lines or [f"ended with {child.returncode}"])[-1]}
    compiled = [line.split(" in ")[1].split()[0] for line in lines if ": compiled in " in line]
    ended = [line.split(": done, ")[1] for line in lines if ": done, " in line]
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "compile_seconds": sum(map(float, compiled)),
        "peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "done": [line.split(" (")[0].split("  ")[0] for line in ended],
        "left_out": any("adversarial training is left out" in line for line in lines),
    }


def cells(row: dict[str, Any]) -> list[str]:
    """Cells of the table."""
    if "error" in row:
        return [row["run"], row["error"][:60], "", "", "", ""]
    times = [measure.duration(row[name]) for name in ("cpu_seconds", "seconds", "compile_seconds")]
    did = ", ".join(row["done"]) + ", nothing to win" * row["left_out"]
    return [row["run"], *times, f"{row['peak_bytes'] / 2**20:,.0f} MiB", did]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__)
    flags.add_argument("--only", nargs="+", choices=RUNS, help="default: all")
    flags.add_argument("--flags", default="", help="further flags of train.py, in one string")
    options = measure.parse(flags, arguments)
    more = [*options.flags.split(), *(CUT[:6] + FEW if options.quick else ())]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in options.only or (RUNS[:1] if options.quick else RUNS):
            data: list[str] = []
            if each in SHAPES:
                shape = (QUICK if options.quick else SHAPES)[each]
                data = ["--data", made(each, shape, folder), *FLAGS.get(each, ())]
            of_cache = "table" if each == "second" else each
            found = run(folder / each, folder / f"{of_cache}_cache", [*data, *more])
            rows.append({"run": each} | found)
            print(f"{each}: {found.get('error', 'done')}", file=sys.stderr, flush=True)
    names = ("run", "processor", "clock", "compiling, clock", "peak memory", "done")
    measure.show("Whole runs", names, [cells(row) for row in rows])
    measure.write(options.json, "whole", {"quick": options.quick, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
