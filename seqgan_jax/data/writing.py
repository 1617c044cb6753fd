"""Writing sequences in formats that `data.load` reads back.

Shapes: N sequences, T steps, D columns.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqgan_jax.data.files import atomic_write, printable
from seqgan_jax.errors import DataError, UsageError


def save_sequences(
    path: str | os.PathLike[str],
    x_NTD: np.ndarray,
    names: Sequence[str],
    number_format: str = "%.9g",
) -> None:
    """Write sequences in the format that the suffix of `path` names; `load` reads them back.

    .txt: one sequence a line, T x D numbers, all of step 1 first. .csv: long format with the header
    "sequence,step,<names>", both counted from 0. .npy: float64 [N, T, D], exact.

    Args:
      path: where to; replaced as a whole.
      x_NTD: values in units of the data.
      names: of the D columns.
      number_format: of text; nine digits are enough for float32.

    Raises:
      UsageError: another suffix, or names that do not fit.
      DataError: a value is not finite.
      DiskError: it cannot be written.
    """
    x_NTD = np.asarray(x_NTD, np.float64)
    suffix = Path(path).suffix.lower()
    if suffix not in (".txt", ".csv", ".npy"):
        raise UsageError(
            f"{printable(path)}: cannot write {suffix or 'a file without suffix'}. Choose a name "
            "that ends in .txt, .csv or .npy."
        )
    if x_NTD.ndim != 3 or x_NTD.shape[-1] != len(names):
        raise UsageError(
            f"Sequences of shape {x_NTD.shape} do not fit {len(names)} column name(s): [N, T, D] "
            "with a name for each of D is wanted."
        )
    if not np.isfinite(x_NTD).all():
        count = np.count_nonzero(~np.isfinite(x_NTD))
        raise DataError(
            f"{printable(path)}: not written: {count} of {x_NTD.size} values are not finite."
        )
    n, steps, num_features = x_NTD.shape
    if suffix == ".npy":
        with atomic_write(path, "wb") as file:
            np.save(file, x_NTD, allow_pickle=False)
        return
    with atomic_write(path) as file:
        if suffix == ".txt":
            line = " ".join([number_format] * (steps * num_features)) + "\n"
            file.writelines(line % tuple(row) for row in x_NTD.reshape(n, -1).tolist())
        else:
            names = [f"{name}_" if name in ("sequence", "step") else name for name in names]
            line = ",".join(["%d", "%d", *[number_format] * num_features]) + "\n"
            file.write(",".join(["sequence", "step", *map(_csv_cell, names)]) + "\n")
            for i, rows in enumerate(x_NTD.tolist()):
                file.writelines(line % (i, t, *row) for t, row in enumerate(rows))


def _csv_cell(name: str) -> str:
    """A column name as a CSV cell, in quotes where it needs them."""
    name = " ".join(name.split())  # a cell is on one line
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',";') else name
