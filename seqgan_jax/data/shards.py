"""Sequences larger than memory: .npy files read in blocks, split, shuffled, in bounded memory.

Rows of all files count as one long table, cut into blocks of BLOCK neighbouring rows. A pass visits
the blocks in a random order; a buffer holds the next blocks of the pass, and its rows are shuffled
on the device. Two rows of one block are therefore always in one buffer: with buffers of M rows they
meet in a batch of B with probability (B - 1) / (M - 1), instead of (B - 1) / (N - 1).
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgan_jax.data import arrays, intervals, overlap
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
    """One .npy of [N, T] or [N, T, D], not opened."""

    path: Path
    offset: int  # bytes before the first number
    dtype: np.dtype
    shape: tuple[int, ...]  # N, T, D


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
                size = file.dtype.itemsize * file.shape[1] * file.shape[2]
                mapped = np.memmap(
                    file.path,
                    file.dtype,
                    "r",
                    offset=file.offset + low * size,
                    shape=(high - low, *file.shape[1:]),
                )
                parts.append(np.array(mapped, np.float64))
                del mapped
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
    """The .npy files of a folder in order of their names, or the one file; () for anything else."""
    path = Path(source)
    if os.path.isdir(source):  # unlike Path's, False for names that no file can have
        return tuple(sorted(path.glob("*.npy")))
    return (path,) if path.suffix.lower() == ".npy" and os.path.isfile(source) else ()


def open_shards(paths: tuple[Path, ...], columns: Sequence[str] = ()) -> Shards:
    """Read the headers; raises DataError where a file is not numbers, or of another shape."""
    opened: list[File] = []
    for path in paths:
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
        file = File(path, offset, dtype, (*shape, 1)[:3])
        if opened and file.shape[1:] != opened[0].shape[1:]:
            raise DataError(
                f"{printable(path)}: sequences are {list(file.shape[1:])}, and those of "
                f"{printable(opened[0].path)} are {list(opened[0].shape[1:])}. All files of a "
                "folder must have the same steps and features."
            )
        opened.append(file)
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
        orders = [np.random.default_rng([seed, phase, each]).permutation(size) for each in passes]
        skip = first - passes[0] * size
        return self.train_blocks[np.concatenate(orders)[skip : skip + count]]


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
) -> Fitted:
    """Scaling by a random sample of blocks, checked against every training sequence.

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
        scaler = Scaler.fit(sample, limits_D)
        breaking: list[np.ndarray] = []
        for number in parts.train_blocks:
            x = parts.block(int(number))
            outside = x[~scaler.matches(x)]
            if len(outside) and sum(len(each) for each in breaking) < BLOCK:
                breaking.append(outside[:BLOCK])
        if not breaking:
            return Fitted(scaler, sample)
        sample = np.concatenate([sample, *breaking])
