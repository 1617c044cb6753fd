"""Arrays from Python, and from .npy and .npz: never pickled, no larger than they say or fits."""

import contextlib
import math
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from seqgan_jax.data import lengths, texts
from seqgan_jax.data.files import printable
from seqgan_jax.data.missing import REMEDY
from seqgan_jax.errors import DataError

SHOWN = 3  # of all bad values


def read_array(path: Path, may_miss: bool = False) -> np.ndarray:
    """[N, T, D] float64 from .npy or .npz, holding [N, T] or [N, T, D].

    Args:
      path: an .npz holds one array, or one that is called "x" or "data".
      may_miss: whether NaN is let through; after the ends of sequences it always is.

    Raises:
      DataError: not such a file, damaged, too large, or a value that is not finite.
    """
    texts.check_is_file(path)
    shown = printable(path)
    with _explained(shown), open(path, "rb") as file:
        x = _unpacked(file, shown) if file.read(4) == b"PK\x03\x04" else _plain(file, shown)
    _check(x.shape, x.dtype, shown)
    # A long double may become inf, which is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.ascontiguousarray(x, np.float64)
    bad = _wrong(x, may_miss)
    count = np.count_nonzero(bad)
    if count:
        first = [np.unravel_index(i, x.shape) for i in np.flatnonzero(bad)[:SHOWN]]
        places = "; ".join(f"x{[int(i) for i in place]} is {x[place]:g}" for place in first)
        remedy = "Correct them." if may_miss or np.isinf(x[bad]).all() else REMEDY
        raise DataError(
            f"{shown}: {places} (first of {count} values that are not finite). {remedy}"
        )
    return x[..., None] if x.ndim == 2 else x


def _wrong(x: np.ndarray, may_miss: bool) -> np.ndarray:
    """Which values are not finite, bool; but for NaN that may be missing, or after ends."""
    bad = np.isinf(x) if may_miss else ~np.isfinite(x)
    if x.ndim > 1 and not may_miss and np.isnan(x[:, -1]).any():
        x_NTD = x.reshape(*x.shape[:2], -1)
        if lengths.ends_in_nothing(x_NTD) is not None:
            bad &= lengths.there(x_NTD).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    return bad


NAMED = ("iloc", "columns", "coords", "to_frame")  # tables of pandas, polars, pyarrow, xarray


def as_array(
    x: object, what: str = "x", may_miss: bool = False, may_be_flat: bool = False
) -> np.ndarray:
    """[N, T, D] float64 of [N, T] or [N, T, D], of anything that numpy makes an array of.

    Args:
      x: an array, nested lists, or anything with such an array as `x_NTD`.
      what: its name, for messages.
      may_miss: whether NaN is let through, which it always is after the ends of sequences; masked
        values then become NaN.
      may_be_flat: whether one long series [L] is let through, as it is.

    Raises:
      DataError: a table with named columns, no numbers, of another shape, or not finite.
    """
    x = getattr(x, "x_NTD", x)
    if any(hasattr(x, name) for name in NAMED):
        raise DataError(
            f"{what} is a {type(x).__name__}, and an array is wanted, since a row may be a step or "
            "a sequence. If each row is a sequence, give x.to_numpy()[:, :, None]. If each is a "
            "step of one long series, cut it into windows: np.lib.stride_tricks.sliding_window_view"
            "(x.to_numpy(), 20, axis=0), with .transpose(0, 2, 1) where it has columns."
        )
    if np.ma.is_masked(x):
        if not may_miss:
            raise DataError(
                f"{what} has masked values, which are missing. Fill them in, or leave out the "
                "sequences that they are in: missing='drop' or missing='interpolate' (of fit), "
                "x.compress_rows() or x.filled(value)."
            )
        x = np.ma.filled(np.ma.asarray(x).astype(np.float64), np.nan)
    try:
        array = np.asarray(x)
        if array.dtype.kind in "cmM":
            raise TypeError(f"it holds {'complex numbers' if array.dtype.kind == 'c' else 'dates'}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # torch: call detach() first
        raise DataError(
            f"{what} cannot be read as an array of numbers: {error}. "
            "Give [N, T] or [N, T, D]: all sequences of one length."
        ) from error
    if (array.ndim not in (2, 3) and not (may_be_flat and array.ndim == 1)) or 0 in array.shape:
        raise DataError(
            f"{what} has shape {list(array.shape)}; expected [N sequences, T steps] or [N, T, D "
            "features], none of them 0. One long series [T] is cut into windows by "
            "np.lib.stride_tricks.sliding_window_view(x, 20)."
        )
    bad = _wrong(array, may_miss)
    if bad.any():
        place = np.argwhere(bad)[0].tolist()
        raise DataError(
            f"{what}{place} is {array[tuple(place)]} (first of {np.count_nonzero(bad)} values that "
            "are not finite). Fill them in, or leave those sequences out."
        )
    return array[..., None] if array.ndim == 2 else array


def read_header(path: Path) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, dtype, whether it is stored column by column, and bytes before the numbers of an .npy.

    Raises:
      DataError: not such a file, cut off, or not [N, T] or [N, T, D] of real numbers.
    """
    shown = printable(path)
    with _explained(shown), open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        shape, is_fortran, dtype = _header(file, size)
        start = file.tell()
    _check(shape, dtype, shown)
    return shape, dtype, is_fortran, start


@contextlib.contextmanager
def _explained(shown: str) -> Iterator[None]:
    """Raise DataError for whatever a file that is no array raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            yield
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(
            f"{shown}: cannot be read: {error.strerror}. Check that you may read it."
        ) from None
    except Exception as error:  # a damaged file raises nearly anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        if "pickle" in reason or "Object arrays" in reason:
            reason = "it holds Python objects, or is no array file; only plain numbers are read"
        raise DataError(
            f"{shown}: cannot be read as an array: {printable(reason)}. Save it again with "
            "numpy.save."
        ) from None


def _check(shape: tuple[int, ...], dtype: np.dtype, shown: str) -> None:
    """Refuse what is not [N, T] or [N, T, D] of real numbers."""
    if dtype.kind not in "iuf":
        raise DataError(
            f"{shown}: holds {printable(str(dtype))}, and real numbers are wanted. Convert it: "
            "x.astype(float)."
        )
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            f"{shown}: has shape {shape}, and [N sequences, T steps] or [N, T, D features] is "
            "wanted. One long series: save it as [L, 1], with --layout series."
        )


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and dtype; ValueError where the file has another size."""
    first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Object arrays")
    if any(length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    said = file.tell() + math.prod(shape) * dtype.itemsize
    if said != size:
        raise ValueError(f"it is {size:,} bytes long and should be {said:,}, as if cut off")
    return shape, is_fortran, dtype


def _check_memory(file: IO[bytes], size: int, shown: str) -> None:
    """Refuse, before any memory is asked for, what is cut off or does not fit."""
    shape, _, dtype = _header(file, size)
    needed = size + 8 * math.prod(shape) * (dtype != np.float64)
    if needed > texts.memory() // 2:
        raise DataError(
            f"{shown}: {needed / 1e9:.1f} GB of values, and this machine has "
            f"{texts.memory() / 1e9:.1f} GB of memory. Give fewer sequences."
        )


def _plain(file: IO[bytes], shown: str) -> np.ndarray:
    """The array of an .npy file whose size is what its header says."""
    size = file.seek(0, 2)
    file.seek(0)
    _check_memory(file, size, shown)
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))


def _unpacked(file: IO[bytes], shown: str) -> np.ndarray:
    """The array of an .npz file that is to be read."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = list(entries)
        chosen = names if len(names) == 1 else [n for n in ("x", "data") if n in names]
        if len(chosen) != 1:
            listed = ", ".join(map(repr, names[:10])) + ", ..." * (len(names) > 10)
            raise DataError(
                f"{shown}: holds {len(names)} arrays ({listed}). Save one array, or call the one "
                "to be read 'x'."
            )
        info = entries[chosen[0]]
        packed, size = info.compress_size, info.file_size
        if size > texts.LARGE and size > texts.MOST_PACKED * packed:
            raise DataError(
                f"{shown}: {packed / 1e6:.1f} MB that unpack to {size / 1e6:,.0f} MB are hardly "
                "data. If they are, save the array as .npy."
            )
        with archive.open(info) as member:
            _check_memory(member, size, shown)
        with archive.open(info) as member:
            return np.lib.format.read_array(member, allow_pickle=False)
