"""Mutated files against an independent slow reader: python benchmarks/hostile_input.py -n 100000

A valid file is damaged in a few places (bytes replaced, cut, doubled, moved; separators, tokens and
signs mixed in) and read. Either it is refused, with its name, a place and something to do, or every
value is the one that the slow reader below has by `float()`. A text that the slow reader finds good
must not be refused. Anything else, another exception included, counts as a failure and is printed.
"""

import argparse
import collections
import csv
import io
import math
import random
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from seqgan_jax.data.layout import Sequences, load
from seqgan_jax.errors import DataError

PIECES = (
    *(" ", "\t", ",", ";", "\n", "\r\n", "\r", "\n\n", ",,", '"', '""', "'", "\0", "\x1b[31m"),
    *("nan", "NA", "null", "-", "inf", "-inf", "1e999", "1e-999", "-0", "+5", ".", ".5", "5.", "e"),
    *("1e5", "1E+5", "0x10", "1_0", "1,5", "1 2", "9" * 30, "1d5", "\u0661", "\u2212", "\xa0"),
    *("\ufeff", "abc", "2020-01-01", "#", "%s", "[red]", "<b>", "sequence,step,", "\x0b", "\u2028"),
)
MISSING = {"", "nan", "na", "n/a", "null", "none", "-"}
SIMPLE = set("0123456789+-.eE")
HEADERS = 4  # lines at most that are titles, units or further headers
KINDS = ("replace", "insert", "delete", "double", "move", "piece", "piece", "line")


def originals() -> dict[str, bytes]:
    """Small valid files of every kind, by name."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 4)).round(3)
    rows = x.tolist()
    long = [f"{n},{t},{rows[n][t]!r}" for n in range(24) for t in range(4)]
    arrays = {}
    for name, array in (("a.npy", x), ("b.npy", x.astype(np.float32)), ("c.npy", x[..., None])):
        buffer = io.BytesIO()
        np.save(buffer, array)
        arrays[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x)
    return {
        "blanks.txt": "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode(),
        "tabs.txt": "".join("\t".join(f"{v:.17g}" for v in row) + "\n" for row in rows).encode(),
        "commas.csv": "".join(",".join(f"{v:+.3e}" for v in row) + "\n" for row in rows).encode(),
        "series.csv": (
            "day,a,b,c\n"
            + "".join(f"d{i + 1:02},{a!r},{b!r},{c!r}\n" for i, (a, b, c, _) in enumerate(rows))
        ).encode(),
        "dates.csv": (
            "day,a,b,c\n"
            + "".join(
                f"2020-01-{i + 1:02},{a!r},{b!r},{c!r}\n" for i, (a, b, c, _) in enumerate(rows)
            )
        ).encode(),
        "long.csv": ("sequence,step,x\n" + "\n".join(long) + "\n").encode(),
        **arrays,
        "a.npz": buffer.getvalue(),
    }


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The data with one to four pieces of damage."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 5, 30, 300)))
        kind = rng.choice(KINDS)
        if kind == "replace":
            data = data[:at] + rng.randbytes(end - at) + data[end:]
        elif kind == "insert":
            data = data[:at] + rng.randbytes(end - at) + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "double":
            data = data[:end] + data[at:end] + data[end:]
        elif kind == "move":
            to = rng.randrange(len(data) + 1)
            rest = data[:at] + data[end:]
            data = rest[:to] + data[at:end] + rest[to:]
        elif kind == "piece":
            piece = rng.choice(PIECES).encode()
            # In the place of a token, or anywhere.
            tokens = list(re.finditer(rb"[^ \t\n,]+", data[:4000]))
            if tokens and rng.random() < 0.6:
                at, end = rng.choice(tokens).span()
            else:
                end = at
            data = data[:at] + piece + data[end:]
        else:
            lines = data.split(b"\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            data = b"\n".join(lines)
    return data


def slow_lines(data: bytes) -> list[str] | None:
    """Lines of a text, None where it is none."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip(" \t\n")
    lines = text.split("\n") if text else []
    while lines and (lines[0].strip() == "" or lines[0].lstrip().startswith("#")):
        lines = lines[1:]  # comments before the data
    return lines or None


def slow_cells(line: str, commas: bool = False, tabs: bool = False) -> list[str]:
    """Cells of a line, blanks around them gone."""
    mark = "\t" if tabs else ","
    if '"' in line:
        (cells,) = csv.reader([line], delimiter=mark, skipinitialspace=True)
    elif commas or mark in line:
        cells = line.split(mark)
    else:
        return [cell for cell in re.split("[ \t]", line) if cell]
    return [cell.strip(" \t") for cell in cells]


def slow_number(cell: str, may_miss: bool) -> float | None:
    """float() of a plain decimal number, NaN where it is missing, None where it is neither."""
    if may_miss and (cell.lower() in MISSING or cell.lower() in ("-nan", "+nan")):
        return math.nan
    try:
        value = float(cell) if cell and set(cell) <= SIMPLE else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def slow_table(rows: list[list[str]], may_miss: bool) -> np.ndarray | None:
    """Numbers of rows of cells, None where one is bad or has another length."""
    numbers = [[slow_number(cell, may_miss) for cell in row] for row in rows]
    if len({len(row) for row in numbers}) != 1 or any(v is None for row in numbers for v in row):
        return None
    return np.array(numbers, float)


def slow(name: str, data: bytes, path: Path, may_miss: bool, found: Sequences) -> np.ndarray | None:
    """The sequences [N, T, D] in the file, None where it is bad.

    The layout and what the columns are called are taken from `found`, the values not.
    """
    if name.endswith(("npy", "npz")):
        with np.errstate(all="ignore"), warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            loaded = np.load(file, allow_pickle=False)
            x = np.asarray(loaded if name.endswith("npy") else loaded[loaded.files[0]], float)
        return x[..., None] if x.ndim == 2 else x
    lines = slow_lines(data)
    if lines is None:
        return None
    form = found.form
    assert form is not None
    if form.layout == "rows":
        tabs = name == "tabs.txt"
        x = slow_table([slow_cells(line, tabs=tabs) for line in lines], may_miss)
        return None if x is None else x[..., None]
    header = slow_cells(lines[0], commas=True)
    for _ in range(HEADERS):
        if not set(found.names) <= set(header) and len(lines) > 1:  # a title above it
            lines = lines[1:]
            header = slow_cells(lines[0], commas=True)
    if not set(found.names) <= set(header):
        return None
    at = [header.index(column) for column in found.names]
    rows = [slow_cells(line, commas=True) for line in lines[1:]]
    for _ in range(HEADERS):  # units, or a second header
        if rows and all(slow_number(cell, False) is None for cell in rows[0]):
            rows = rows[1:]
    while rows and not any(rows[-1]):
        rows.pop()
    if {len(row) for row in rows} != {len(header)}:
        return None
    x = slow_table([[row[d] for d in at] for row in rows], may_miss)
    if x is None:
        return None
    if form.layout == "long":
        keys = [(row[0], float(row[1])) for row in rows]
        appeared = list(dict.fromkeys(float(key) for key, _ in keys))
        order = sorted(
            range(len(rows)), key=lambda i: (appeared.index(float(keys[i][0])), keys[i][1])
        )
        return x[order].reshape(len(appeared), -1, len(at))
    if form.time is not None:  # in order of time, and no window crosses a gap
        there = {row.tobytes() for row in x}
        known = all(step.tobytes() in there for window in found.x_NTD for step in window)
        return found.x_NTD if known else None
    return np.stack([x[i : i + 3] for i in range(len(x) - 2)])


def judge(name: str, data: bytes, path: Path, mode: str) -> tuple[str, str]:
    """("read" or "refused" or "failed", why)."""
    path.write_bytes(data)
    try:
        window = 3 if name in ("series.csv", "dates.csv") else None
        found = load(str(path), window=window, missing=mode)
    except DataError as error:
        message = str(error)
        if not message.startswith(str(path)) or not message.isprintable():
            return "failed", f"a message without the file, or not printable: {message!r}"
        if not re.search(r"\. [A-Z].*\.$|\) .*[.]$", message):
            return "failed", f"nothing to do about it: {message}"
        where = re.match(r":\d+:\d+: ", message[len(str(path)) :])
        whole = r"sequence|step|empty|array|holds|shape|finite|window|column|too large"
        whole += r"|as if it meant a missing value"  # a question about values
        if not where and not re.search(whole, message[len(str(path)) :]):
            return "failed", f"no place: {message}"
        if name.endswith("txt"):
            lines = slow_lines(data)
            cells = [slow_cells(line, tabs=name == "tabs.txt") for line in lines or []]
            table = slow_table(cells, mode != "error") if lines else None
            if table is not None and table.shape[1] > 1 and '"' not in "".join(lines or []):
                table = table[~np.isnan(table).any(axis=1)]
                if len(table) >= 20 and not re.search("nothing but missing", message):
                    return "failed", f"refused, and is good: {message}"
        return "refused", ""
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    expected = slow(name, data, path, mode != "error", found)
    if expected is None:
        return "failed", "read, and is bad"
    if mode == "drop":
        expected = expected[~np.isnan(expected).any(axis=(1, 2))]
    same = expected.shape == found.x_NTD.shape and np.array_equal(
        expected.view(np.uint64), found.x_NTD.view(np.uint64)
    )
    return ("read", "") if same else ("failed", "read, with other numbers")


def run(count: int, seed: int, folder: Path) -> tuple[collections.Counter, list[str]]:
    """Counts of each outcome, and what failed."""
    files = originals()
    counts: collections.Counter = collections.Counter()
    failures = []
    for i in range(count):
        rng = random.Random(f"{seed}/{i}")
        name = rng.choice(list(files))
        mode = rng.choice(("error", "error", "drop"))
        data = mutate(files[name], rng)
        outcome, why = judge(name, data, folder / name, mode)
        counts[name, outcome] += 1
        if outcome == "failed":
            failures.append(f"case {seed}/{i}, {name}, {mode}: {why}")
    return counts, failures


def main() -> int:
    """Run, print a table, exit with 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = run(options.n, options.seed, Path(folder))
    print(f"{'file':<12}{'read':>9}{'refused':>9}{'failed':>9}")
    for name in [*originals(), ""]:
        row = [
            sum(n for (other, o), n in counts.items() if o == outcome and name in ("", other))
            for outcome in ("read", "refused", "failed")
        ]
        print(f"{name or 'all':<12}" + "".join(f"{n:>9,}" for n in row))
    print(f"seed {options.seed}, {time.monotonic() - start:.0f} s")
    print("\n".join(failures[:20]))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
