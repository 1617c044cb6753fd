"""Streamed data against data in memory: time of an epoch and peak memory, as the file grows 100x.

    python benchmarks/streaming.py [--quick] [--json FILE]

Files of AR(1) sequences of length 20 are written to a temporary folder; each is trained on in a
process of its own, by maximum likelihood, with the same number of sequences an epoch.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np

from seqgan_jax import SeqGAN
from seqgan_jax.config import from_flat
from seqgan_jax.data import layout
from seqgan_jax.processes.linear import AR1
from seqgan_jax.run import loop

BUFFER, EPOCHS = 65_536, 6
SIZES = (82_000, 820_000, 8_200_000)


def write(path: Path, number: int) -> None:
    """`number` AR(1) sequences, float32, a million at a time."""
    process = AR1(phi=0.8, sigma=0.6, mean=0.0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (number, 20))
    for first in range(0, number, 1_000_000):
        rows = array[first : first + 1_000_000]
        rows[:] = process.sample(jax.random.key(first), len(rows))[..., 0]
    array.flush()


class Clock(loop.Silent):
    """When each epoch ended; the first time is the end of compiling."""

    def compiled(self, phase: str, seconds: float) -> None:  # noqa: ARG002
        self.times = [time.monotonic()]

    def progress(self, phase: str, done: int, total: int, rows: list) -> None:  # noqa: ARG002
        self.times += [time.monotonic()] * len(rows)


def trained(path: str, memory: float) -> dict[str, float]:
    """Seconds of preparing, sequences a second of training, and peak memory of this process."""
    settings = {"data": path, "memory": memory, "buffer": BUFFER, "pre_epoch_num": EPOCHS}
    settings |= {"dis_pre_refreshes": 0, "total_batch": 0, "patience": EPOCHS}
    model = SeqGAN(from_flat(settings))
    stream = layout.open_stream(model.config.data)
    started = time.monotonic()
    parts = model.prepare(stream if stream is not None else layout.load(path))
    prepared = time.monotonic() - started
    clock = Clock()
    model.train(parts, clock)
    spent = (clock.times[-1] - clock.times[1]) / (len(clock.times) - 2)  # not the first chunk
    number = len(parts.train_NTD) if stream is None else min(BUFFER, parts.num_train)
    peak = measure.peak_bytes()
    return {"prepare_s": prepared, "sequences_s": number / spent, "peak_bytes": peak}


def case(path: Path, memory: float, repeats: int) -> dict[str, Any]:
    """Medians over `repeats` processes; raises RuntimeError where one fails."""
    runs = [measure.in_child(__file__, [str(path), memory]) for _ in range(repeats)]
    for run in runs:
        if "error" in run:
            raise RuntimeError(f"{path}: {run['error']}")
    row = {"file_bytes": path.stat().st_size, "how": "in memory" if memory else "streamed"}
    return row | {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, run each case several times, print and write."""
    options = measure.parse(measure.parser(__doc__, "child"), arguments)
    if options.child:
        print(json.dumps(trained(*options.child)))
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in SIZES[:2] if options.quick else SIZES:
            path = Path(folder) / f"{number}.npy"
            write(path, number)
            for memory in (100.0, 0.0) if number == SIZES[0] else (0.0,):
                found = case(path, memory, 1 if options.quick else 3)
                rows.append({"sequences": number} | found)
            path.unlink()
    table = [
        [
            f"{row['sequences']:,}",
            f"{row['file_bytes'] / 1e6:,.0f} MB",
            row["how"],
            measure.duration(row["prepare_s"]),
            f"{row['sequences_s']:,.0f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        ]
        for row in rows
    ]
    columns = ("sequences", "file", "how", "preparing", "sequences/s", "peak memory")
    measure.show("Likelihood epochs of 65,536 sequences at most; medians", columns, table)
    measure.write(options.json, "streaming", {"quick": options.quick, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
