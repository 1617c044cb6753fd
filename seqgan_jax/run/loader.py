"""Batch loaders: the training data on the device, all at once or a buffer after the other."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seqgan_jax.core import parallel
from seqgan_jax.core.batch import Batch, Parts
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.shards import BLOCK, StreamSplit
from seqgan_jax.run import health

# Units of a phase on one buffer: an epoch is a pass over one.
UNITS_EACH = {"gen_pretrain": 1, "dis_pretrain": 10, "adversarial": 20}


class BatchLoader(Protocol):
    """Where training data come from."""

    @property
    def validation(self) -> Batch:
        """The validation part, on the host."""

    def parts(self, phase: str, unit: int) -> Parts:
        """The data of a unit, on the device."""

    def until(self, phase: str, unit: int) -> int:
        """The first later unit that has other data."""


def scaled(scaler: Scaler, x_NTD: np.ndarray, part: str) -> np.ndarray:
    """Rows [N, T, D] float32 in scaled units; raises DivergedError where one is not finite."""
    with np.errstate(over="ignore"):
        rows = scaler.transform(x_NTD).astype(np.float32)
    health.check_data(rows, part)
    return rows


def on_device(
    rows_NTD: np.ndarray,
    mesh: Mesh | None,
    axis: str | None,
    known_NTW: np.ndarray | None = None,
    end: int | None = None,
) -> Batch:
    """Sequences on the device or mesh, and what is known of them in advance.

    `end`: the column that says which step is the last, see `Batch.of`.
    """

    def place(values: np.ndarray) -> jax.Array:
        return parallel.place_rows(values.shape, lambda some: values[some], mesh, axis)

    number, length = rows_NTD.shape[:2]
    empty = np.zeros((number, length, 0), np.float32)
    known = empty if known_NTW is None else known_NTW
    mask = np.ones(rows_NTD.shape, bool)
    if end is not None:
        mask = np.asarray(Batch.of(jnp.asarray(rows_NTD), end=end).mask)
    return Batch(*map(place, (rows_NTD, mask, empty[:, 0], known)))


@dataclass(frozen=True)
class AllData:
    """Data that fit on the device."""

    all: Parts

    @property
    def validation(self) -> Batch:
        """The validation part, on the host."""
        return jax.tree.map(np.asarray, parallel.all_gather(self.all.validation))

    def parts(self, phase: str, unit: int) -> Parts:  # noqa: ARG002
        """The same for every unit."""
        return self.all

    def until(self, phase: str, unit: int) -> int:  # noqa: ARG002
        """Never."""
        return 2**62


class StreamedData:
    """Buffers of `buffer` sequences (or all there are), one after another (`data.shards`).

    The next buffer is read while the device works on this one.
    """

    def __init__(
        self,
        split: StreamSplit,
        scaler: Scaler,
        validation: Batch,
        blocks: jax.Array,
        buffer: int,
        seed: int,
        mesh: Mesh | None,
    ) -> None:
        self._split, self._scaler, self._seed, self._mesh = split, scaler, seed, mesh
        self._size = max(1, min(buffer // BLOCK, len(split.train_blocks)))
        self._validation, self._blocks = validation, blocks
        self._pool = ThreadPoolExecutor(1)
        self._ready: dict[tuple[str, int], Future[Batch]] = {}

    @property
    def validation(self) -> Batch:
        """The validation part, on the host."""
        return jax.tree.map(np.asarray, parallel.all_gather(self._validation))

    def parts(self, phase: str, unit: int) -> Parts:
        """The buffer of a unit; reading of the one after it begins."""
        number = unit // UNITS_EACH[phase]
        wanted = [(phase, number), (phase, number + 1)]
        self._ready = {each: self._ready[each] for each in wanted if each in self._ready}
        for each in wanted:
            if each not in self._ready:
                self._ready[each] = self._pool.submit(self._read, *each)
        return Parts(self._ready[wanted[0]].result(), self._validation, self._blocks)

    def until(self, phase: str, unit: int) -> int:
        """The first unit on the next buffer."""
        return (unit // UNITS_EACH[phase] + 1) * UNITS_EACH[phase]

    def _read(self, phase: str, number: int) -> Batch:
        which = list(UNITS_EACH).index(phase)
        order = self._split.order(self._seed, which, number * self._size, self._size)
        length, features = self._split.shards.shape[0], len(self._scaler.kept_K)
        shape = (BLOCK * self._size, length, features)

        def read(rows: slice) -> np.ndarray:
            start, stop = rows.start or 0, shape[0] if rows.stop is None else rows.stop
            blocks = order[start // BLOCK : -(-stop // BLOCK)]
            x_NTD = np.concatenate([self._split.block(int(b)) for b in blocks])
            return scaled(self._scaler, x_NTD, "training")[start % BLOCK :][: stop - start]

        x = parallel.place_rows(shape, read, self._mesh, parallel.BATCH)
        return Batch.complete(x)
