"""Streamed training data as a feed: the next buffer is read while the device works on this one."""

from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh

from seqgan_jax.core import parallel
from seqgan_jax.core.steps import Data
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.shards import BLOCK, StreamSplit
from seqgan_jax.run import health

# Units of a phase on one buffer: an epoch is a pass over one.
UNITS_EACH = {"gen_pretrain": 1, "dis_pretrain": 10, "adversarial": 20}


def scaled(scaler: Scaler, x_NTD: np.ndarray, part: str) -> np.ndarray:
    """Rows [N, T, K] float32 in scaled units; raises DivergedError where one is not finite."""
    with np.errstate(over="ignore"):
        rows = scaler.transform(x_NTD).astype(np.float32)
    health.check_data(rows, part)
    return rows


class StreamedData:
    """Buffers of `buffer` sequences (or all there are), one after another; see `shards`."""

    def __init__(
        self, parts: StreamSplit, scaler: Scaler, buffer: int, seed: int, mesh: Mesh | None
    ) -> None:
        self._parts, self._scaler, self._seed, self._mesh = parts, scaler, seed, mesh
        self._blocks = max(1, min(buffer // BLOCK, len(parts.train_blocks)))
        self._validation = scaled(scaler, parts.validation_NTD, "validation")
        self._on_device = parallel.place_rows(
            self._validation.shape, lambda rows: self._validation[rows], mesh, None
        )
        self._pool = ThreadPoolExecutor(1)
        self._ready: dict[tuple[str, int], Future[jax.Array]] = {}

    @property
    def validation_NTK(self) -> np.ndarray:
        """The validation part, on the host."""
        return self._validation

    def data(self, phase: str, unit: int) -> Data:
        """The buffer of a unit; reading of the one after it begins."""
        number = unit // UNITS_EACH[phase]
        wanted = [(phase, number), (phase, number + 1)]
        self._ready = {each: self._ready[each] for each in wanted if each in self._ready}
        for each in wanted:
            if each not in self._ready:
                self._ready[each] = self._pool.submit(self._read, *each)
        return Data(self._ready[wanted[0]].result(), self._on_device)

    def until(self, phase: str, unit: int) -> int:
        """The first unit on the next buffer."""
        return (unit // UNITS_EACH[phase] + 1) * UNITS_EACH[phase]

    def _read(self, phase: str, number: int) -> jax.Array:
        which = list(UNITS_EACH).index(phase)
        order = self._parts.order(self._seed, which, number * self._blocks, self._blocks)
        features = len(self._scaler.kept_K)
        shape = (BLOCK * self._blocks, self._parts.shards.shape[0], features)

        def read(rows: slice) -> np.ndarray:
            start, stop = rows.start or 0, shape[0] if rows.stop is None else rows.stop
            blocks = order[start // BLOCK : -(-stop // BLOCK)]
            x_NTD = np.concatenate([self._parts.block(int(b)) for b in blocks])
            return scaled(self._scaler, x_NTD, "training")[start % BLOCK :][: stop - start]

        return parallel.place_rows(shape, read, self._mesh, parallel.BATCH)
