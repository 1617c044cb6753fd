"""Streamed data against data in memory: time of an epoch and peak memory, as the file grows 100x.

    python benchmarks/streaming.py [--quick] [--json FILE]

Files of AR(1) sequences of length 20 are written to a temporary folder; each is trained on in a
process of its own, by maximum likelihood, with the same number of sequences an epoch.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np

from seqgan_jax import SeqGAN
from seqgan_jax.config import from_flat
from seqgan_jax.data import layout
from seqgan_jax.processes.linear import AR1
from seqgan_jax.run import device, loop

BUFFER, EPOCHS = 65_536, 6


def write(path: Path, number: int) -> None:
    """`number` AR(1) sequences, float32, a million at a time."""
    process = AR1(phi=0.8, sigma=0.6, mean=0.0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (number, 20))
    for first in range(0, number, 1_000_000):
        rows = array[first : first + 1_000_000]
        rows[:] = process.sample(jax.random.key(first), len(rows))[..., 0]
    array.flush()


def child(path: str, memory: float) -> None:
    """Train, and print the seconds of each epoch and the peak memory of this process."""
    device.choose(False)
    settings = {"data": path, "memory": memory, "buffer": BUFFER, "pre_epoch_num": EPOCHS}
    settings |= {"dis_pre_refreshes": 0, "total_batch": 0, "patience": EPOCHS}
    model = SeqGAN(from_flat(settings))
    stream = layout.open_stream(model.config.data)
    started = time.monotonic()
    parts = model.prepare(stream if stream is not None else layout.load(path))
    prepared = time.monotonic() - started

    class Clock(loop.Silent):
        times: ClassVar[list[float]] = []

        def compiled(self, phase: str, seconds: float) -> None:  # noqa: ARG002
            self.times = [time.monotonic()]

        def progress(self, phase: str, done: int, total: int, rows: list) -> None:  # noqa: ARG002
            self.times += [time.monotonic()] * len(rows)

    clock = Clock()
    model.train(parts, clock)
    spent = (clock.times[-1] - clock.times[1]) / (len(clock.times) - 2)  # not the first chunk
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = len(parts.train_NTD) if stream is None else min(BUFFER, parts.num_train)
    print(json.dumps({"prepare_s": prepared, "sequences_s": rate / spent, "peak_mb": peak}))


def main() -> None:
    """Write the files, run each case several times, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller files, one repeat")
    parser.add_argument("--json", help="file to write")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], float(options.child[1]))
        return
    device.choose(False)
    sizes = (82_000, 820_000) if options.quick else (82_000, 820_000, 8_200_000)
    repeats = 1 if options.quick else 3
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in sizes:
            path = Path(folder) / f"{number}.npy"
            write(path, number)
            for memory in (100.0, 0.0) if number == sizes[0] else (0.0,):
                command = [sys.executable, __file__, "--child", str(path), str(memory)]
                found = [
                    json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                    for _ in range(repeats)
                ]
                row = {"sequences": number, "file_mb": path.stat().st_size / 1e6}
                row["how"] = "streamed" if memory == 0 else "in memory"
                row |= {key: statistics.median(run[key] for run in found) for key in found[0]}
                rows.append(row)
            path.unlink()
    print("sequences   file MB  how        prepare s  sequences/s  peak MB")
    for row in rows:
        print(
            f"{row['sequences']:>9,} {row['file_mb']:>9.0f}  {row['how']:<9}"
            f"  {row['prepare_s']:>9.1f}  {row['sequences_s']:>11,.0f}  {row['peak_mb']:>7.0f}"
        )
    if options.json:
        Path(options.json).write_text(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
