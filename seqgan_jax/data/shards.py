"""Sequences larger than memory: .npy and .parquet files in blocks, split, in bounded memory.

Rows of all files count as one long table, cut into blocks of BLOCK neighbouring rows. A pass visits
the blocks in a random order; a buffer holds the next blocks of the pass, and its rows are shuffled
on the device. Two rows of one block are therefore always in one buffer: with buffers of M rows they
meet in a batch of B with probability (B - 1) / (M - 1), instead of (B - 1) / (N - 1).

A row of a .parquet file is a sequence, a column a step. It is unpacked by row groups: a pass takes
the groups in a random order, and the blocks of a group one after the other in a random order.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgan_jax.data import arrays, intervals, kinds, overlap
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.files import printable
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError

BLOCK = 256  # neighbouring rows that are read together
MOST_APART = 10_000  # sequences at most in the validation and in the held-out part
SAMPLED = 20_000  # sequences that scaling and baseline are fitted on
LOOKED_AT = 4 * BLOCK  # sequences that show whether they are overlapping windows


@dataclasses.dataclass(frozen=True)
class File:
    """One .npy of [N, T] or [N, T, D], or .parquet of N rows and T columns, not opened."""

    path: Path
    offset: int  # bytes before the first number
    dtype: np.dtype
    shape: tuple[int, ...]  # N, T, D
    groups: tuple[int, ...] = ()  # first row of each row group of a .parquet, and N
    columns: tuple[str, ...] = ()  # of a .parquet

    def rows(self, low: int, high: int) -> np.ndarray:
        """Rows low .. high - 1, [n, T, D] float64; nothing but one row group stays in memory."""
        if self.groups:
            first, last = np.searchsorted(self.groups, (low, high - 1), side="right") - 1
            parts = [_row_group(self, int(group)) for group in range(first, last + 1)]
            start = self.groups[first]
            x_NT = parts[0] if len(parts) == 1 else np.concatenate(parts)
            return x_NT[low - start : high - start, :, None].copy()
        size = self.dtype.itemsize * self.shape[1] * self.shape[2]
        mapped = np.memmap(
            self.path,
            self.dtype,
            "r",
            offset=self.offset + low * size,
            shape=(high - low, *self.shape[1:]),
        )
        return np.array(mapped, np.float64)


@functools.lru_cache(maxsize=1)
def _row_group(file: File, number: int) -> np.ndarray:
    """A row group of a .parquet, [n, T] float64, NaN where missing."""
    import pyarrow.parquet

    opened = pyarrow.parquet.ParquetFile(file.path)
    table = opened.read_row_group(number, columns=list(file.columns), use_threads=False)
    values = [np.asarray(column.to_numpy(), np.float64) for column in table.columns]
    return np.stack(values, axis=1)


@dataclasses.dataclass(frozen=True)
class Shards:
    """Files whose rows are one table."""

    files: tuple[File, ...]
    starts: tuple[int, ...]  # first row of each file in the table, and the number of rows

    @property
    def source(self) -> str:
        """Path for messages."""
        first = self.files[0].path
        return str(first if len(self.files) == 1 else first.parent)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        left = self.num_rows % BLOCK
        notes = [f"streamed: more than --memory; {len(self.files)} files"]
        notes += [f"the last {left} sequences are left out"] * (left > 0)
        if self.are_windows:
            notes.append(
                "sequences are overlapping windows: they are split by time, and those that reach "
                "across a border are left out, so that no step is in two parts"
            )
        return tuple(notes)

    @functools.cached_property
    def are_windows(self) -> bool:
        """Whether the first rows are overlapping windows of long series, in order of time.

        Raises DataError where they overlap in another order.
        """
        windows = overlap.find(self.rows(0, min(LOOKED_AT, self.num_rows)))
        if windows is None:
            return False
        apart = np.abs(np.diff(windows.starts_N))[np.diff(windows.series_N) == 0]
        if 2 * np.count_nonzero(apart < self.shape[0]) < len(windows.starts_N):
            raise DataError(
                f"{printable(self.source)}: sequences are overlapping windows, not in order of "
                "time. Streamed data are split as they stand, and no step may be in two parts: "
                "save them in order of time, or make --memory larger: they are then read at once."
            )
        return True

    @property
    def num_rows(self) -> int:
        """N of all files."""
        return self.starts[-1]

    @property
    def groups(self) -> np.ndarray:
        """First row of each row group in the table; empty for .npy."""
        parts = [
            np.array(file.groups[:-1]) + first
            for file, first in zip(self.files, self.starts[:-1], strict=True)
            if file.groups
        ]
        return np.concatenate(parts) if parts else np.zeros(0, int)

    @property
    def shape(self) -> tuple[int, int]:
        """T and D."""
        _, length, features = self.files[0].shape
        return length, features

    @property
    def num_bytes(self) -> int:
        """What all rows would take in memory, as float64."""
        return 8 * self.num_rows * self.shape[0] * self.shape[1]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start .. stop - 1, [n, T, D] float64; nothing of the files stays in memory."""
        parts = []
        for file, first, end in zip(self.files, self.starts[:-1], self.starts[1:], strict=True):
            low, high = max(start, first) - first, min(stop, end) - first
            if low < high:
                parts.append(file.rows(low, high))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def block(self, number: int) -> np.ndarray:
        """Rows of a block, [BLOCK, T, D]; raises DataError where one is not finite."""
        x_NTD = self.rows(BLOCK * number, BLOCK * (number + 1))
        bad = np.argwhere(~np.isfinite(x_NTD))
        if len(bad):
            n, t, d = (int(i) for i in bad[0])
            raise DataError(
                f"{self.place(BLOCK * number + n, t, d)} is {x_NTD[n, t, d]:g}. Every value must "
                "be finite where data are streamed: fill them in, or leave those sequences out."
            )
        return x_NTD

    def place(self, row: int, t: int, d: int) -> str:
        """The file and index of a value, for messages."""
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{printable(self.files[file].path)}: x{[row - self.starts[file], t, d]}"

    def check(self, limits_D: Sequence[Limits | None], names: Sequence[str]) -> None:
        """Read all blocks; raise DataError at a value that --log or --bounds does not allow."""
        blocks = ((BLOCK * b, self.block(b)) for b in range(self.num_rows // BLOCK))
        intervals.check(blocks, limits_D, names, self.place)


def find(source: str) -> tuple[Path, ...]:
    """The .npy files of a folder in order of their names, else its .parquet files, or the one file;
    () for anything else."""
    path = Path(source)
    if os.path.isdir(source):  # unlike Path's, False for names that no file can have
        return tuple(sorted(path.glob("*.npy")) or sorted(path.glob("*.parquet")))
    suffixes = (".npy", ".parquet")
    return (path,) if path.suffix.lower() in suffixes and os.path.isfile(source) else ()


def _open_parquet(path: Path, columns: Sequence[str]) -> File:
    """The file, whose row groups must not be larger than a block can wait for."""
    from seqgan_jax.data import tables

    names, dtypes, groups = tables.parquet_header(path)
    chosen = tuple(columns) or tuple(n for n, t in zip(names, dtypes, strict=True) if t)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise DataError(f"{printable(path)}: there is no column {unknown[0]!r}. Correct --columns.")
    wrong = [name for name in chosen if not dtypes[names.index(name)]]
    if wrong or len(chosen) < 2:
        raise DataError(
            f"{printable(path)}: a row is a sequence where data are streamed, and its columns are "
            f"steps: {f'{wrong[0]!r} holds no numbers' if wrong else 'there are fewer than 2'}. "
            "Name the steps (--columns), or make --memory larger."
        )
    starts = tuple(int(n) for n in np.cumsum([0, *groups]))
    return File(path, 0, np.dtype(float), (starts[-1], len(chosen), 1), starts, chosen)


def _alike(file: File, opened: Sequence[File]) -> File:
    """The file; raises DataError where its sequences are not like those of the first."""
    if opened and (file.shape[1:], file.columns) != (opened[0].shape[1:], opened[0].columns):
        raise DataError(
            f"{printable(file.path)}: sequences are {list(file.shape[1:])}, and those of "
            f"{printable(opened[0].path)} are {list(opened[0].shape[1:])}. All files of a "
            "folder must have the same steps and features."
        )
    return file


def open_shards(paths: tuple[Path, ...], columns: Sequence[str] = ()) -> Shards:
    """Read the headers; raises DataError where a file is not numbers, or of another shape."""
    opened: list[File] = []
    for path in paths:
        if path.suffix.lower() == ".parquet":
            opened.append(_alike(_open_parquet(path, columns), opened))
            continue
        shape, dtype, is_fortran, offset = arrays.read_header(path)
        if shape[1] < 2:
            raise DataError(
                f"{printable(path)}: has shape {shape}: at least 2 steps in a sequence are needed."
            )
        if is_fortran:
            raise DataError(
                f"{printable(path)}: is stored column by column (Fortran order), and sequences are "
                "read one by one. Save it again with numpy.save(path, numpy.ascontiguousarray(x))."
            )
        opened.append(_alike(File(path, offset, dtype, (*shape, 1)[:3]), opened))
    starts = np.cumsum([0, *(file.shape[0] for file in opened)])
    return Shards(tuple(opened), tuple(int(n) for n in starts))


@dataclasses.dataclass(frozen=True, eq=False)
class StreamSplit:
    """Blocks to train on, and two parts in memory that share no block with them."""

    shards: Shards
    train_blocks: np.ndarray  # numbers of blocks
    validation_NTD: np.ndarray
    held_out_NTD: np.ndarray

    @property
    def num_train(self) -> int:
        """Sequences to train on."""
        return BLOCK * len(self.train_blocks)

    def block(self, number: int) -> np.ndarray:
        """Rows of a block, [BLOCK, T, D]."""
        return self.shards.block(number)

    def order(self, seed: int, phase: int, first: int, count: int) -> np.ndarray:
        """Blocks first .. first + count - 1 of endless passes, each in an order of its own."""
        size = len(self.train_blocks)
        passes = range(first // size, (first + count - 1) // size + 1)
        orders = [self._pass(np.random.default_rng([seed, phase, each])) for each in passes]
        skip = first - passes[0] * size
        return self.train_blocks[np.concatenate(orders)[skip : skip + count]]

    def _pass(self, random: np.random.Generator) -> np.ndarray:
        """An order of all training blocks; those of one row group follow each other."""
        order = random.permutation(len(self.train_blocks))
        groups = self.shards.groups
        if len(groups) == 0:
            return order
        group = np.searchsorted(groups, BLOCK * self.train_blocks[order], side="right")
        return order[np.argsort(random.permutation(len(groups) + 1)[group], kind="stable")]


def split(shards: Shards, held_out: float, validation: float, seed: int) -> StreamSplit:
    """Whole blocks for each part; the two that are kept apart are in memory.

    Blocks are drawn at random. Overlapping windows are cut by time, and the blocks that share steps
    with another part are left out. So are the rows after the last whole block. Raises DataError
    where there are too few blocks.
    """
    count = shards.num_rows // BLOCK
    sizes = [
        min(max(1, round(fraction * count)), -(-MOST_APART // BLOCK))
        for fraction in (held_out, validation)
    ]
    gap, order = 0, np.random.default_rng(seed).permutation(count)
    if shards.are_windows:
        gap, order = -(-shards.shape[0] // BLOCK), np.arange(count)[::-1]
    ends = np.cumsum([sizes[0] + gap, sizes[1] + gap])
    if count <= ends[1]:
        raise DataError(
            f"{printable(shards.files[0].path)}: {shards.num_rows:,} sequences are too few to be "
            f"streamed in blocks of {BLOCK}. Make --memory larger, so that they are read at once."
        )
    apart = order[: sizes[0]], order[ends[0] : ends[1] - gap]
    held_out_NTD, validation_NTD = (
        np.concatenate([shards.block(int(b)) for b in np.sort(blocks)]) for blocks in apart
    )
    return StreamSplit(shards, np.sort(order[ends[1] :]), validation_NTD, held_out_NTD)


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """What one pass over all blocks gives."""

    scaler: Scaler
    sample_NTD: np.ndarray  # the sequences that the scaling was fitted on


def fit(
    parts: StreamSplit,
    seed: int,
    limits_D: Sequence[Limits | None] = (),
    names: Sequence[str] = (),
    asked_D: Sequence[str | None] = (),
) -> Fitted:
    """Scaling and kinds by a random sample of blocks, checked against every training sequence.

    Columns that are constant or copies in the sample must be so in all: sequences that break them
    are added to the sample. Raises DataError at a value that is not finite, or that --log or
    --bounds (`limits_D` of the columns `names`) does not allow.
    """
    if any(limits_D):
        parts.shards.check(limits_D, names)
    number = min(len(parts.train_blocks), -(-SAMPLED // BLOCK))
    chosen = np.random.default_rng([seed, 7]).choice(parts.train_blocks, number, replace=False)
    sample = np.concatenate([parts.block(int(b)) for b in np.sort(chosen)])
    while True:
        found = kinds.find(sample, asked_D, names=names)
        scaler = Scaler.fit(sample, limits_D, found)
        breaking: list[np.ndarray] = []
        for number in parts.train_blocks:
            x = parts.block(int(number))
            outside = x[~scaler.matches(x)]
            if len(outside) and sum(len(each) for each in breaking) < BLOCK:
                breaking.append(outside[:BLOCK])
        if not breaking:
            return Fitted(scaler, sample)
        sample = np.concatenate([sample, *breaking])
