"""How fast files are read, and in how much memory: python benchmarks/reading_speed.py --mb 200

Each reading is a fresh process that calls `data.load` once. Memory is the peak resident set of that
process, less what it had before. Windows of the series do not overlap (they would be copies).
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

CHILD = """
import resource, sys, time
import pandas
from seqgan_jax.data.layout import load
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.perf_counter()
series = "series" in sys.argv[1]
load(sys.argv[1], window=24 if series else None, stride=24 if series else 1)
print(time.perf_counter() - start, peak() - before)
"""


def write(path: Path, size: int) -> None:
    """A file of that many bytes: 24 numbers a line, or a time and 7 columns."""
    rng = np.random.default_rng(0)
    if path.suffix == ".npy":
        np.save(path, rng.normal(size=(size // 192, 24)))
        return
    series = path.stem == "series"
    separator = "," if path.suffix == ".csv" else " "
    with path.open("w") as file:
        if series:
            file.write("date,a,b,c,d,e,f,g\n")
        line = 0
        while file.tell() < size:
            for row in rng.normal(size=(10_000, 7 if series else 24)).tolist():
                if series:
                    file.write(f"{np.datetime64('1970-01-01T00') + line},".replace("T", " "))
                    line += 1
                numbers = map(repr, row) if path.stem == "digits17" else (f"{v:.9g}" for v in row)
                file.write(separator.join(numbers) + "\n")


def main() -> None:
    """Write the files, read each several times, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{'file':<14}{'MB':>6}{'median MB/s':>13}{'best':>6}{'peak / file':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("text.txt", "digits17.txt", "table.csv", "series.csv", "array.npy"):
            path = Path(folder) / name
            write(path, options.mb * 1_000_000)
            size = path.stat().st_size
            seconds, peaks = [], []
            for _ in range(options.repeats):
                done = subprocess.run(
                    [sys.executable, "-c", CHILD, str(path)],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                second, peak = map(float, done.stdout.split())
                seconds.append(second)
                peaks.append(peak)
            path.unlink()
            median, best = statistics.median(seconds), min(seconds)
            print(
                f"{name:<14}{size / 1e6:>6.0f}{size / median / 1e6:>13.0f}{size / best / 1e6:>6.0f}"
                f"{max(peaks) / size:>13.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
