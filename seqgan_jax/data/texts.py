"""Text files as bytes: plain or gzipped, UTF-8, small enough for memory, or where they are not."""

import gzip
import io
import os
import stat
import zlib
from pathlib import Path

from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

LONGEST_LINE = 1 << 24  # bytes: a million steps of 16 characters
MEMORY_PER_BYTE = 4  # of text: itself, and the numbers as they are read and joined
MOST_PACKED = 200  # times that a large file may be larger than what it is unpacked from
LARGE = 1 << 28  # bytes
FORMATS = "Known formats: text with one sequence a line, .csv, .parquet, .xlsx, .npy, .npz."
PACKED = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
CONVERT = {
    ".pkl": "pandas.read_pickle(FILE).to_csv('data.csv')",
    ".pickle": "pandas.read_pickle(FILE).to_csv('data.csv')",
    ".mat": "numpy.save('data.npy', scipy.io.loadmat(FILE)['NAME'])",
    ".h5": "pandas.read_hdf(FILE).to_csv('data.csv')",
    ".hdf5": "numpy.save('data.npy', h5py.File(FILE)['NAME'][:])",
    ".feather": "pandas.read_feather(FILE).to_parquet('data.parquet')",
    ".rds": "write.csv(readRDS(FILE), 'data.csv', row.names = FALSE) in R",
    ".pt": "numpy.save('data.npy', torch.load(FILE).numpy())",
    ".json": "pandas.read_json(FILE).to_csv('data.csv', index=False)",
    ".jsonl": "pandas.read_json(FILE, lines=True).to_csv('data.csv', index=False)",
    ".ndjson": "pandas.read_json(FILE, lines=True).to_csv('data.csv', index=False)",
    ".dta": "pandas.read_stata(FILE).to_csv('data.csv', index=False)",
    ".sav": "pandas.read_spss(FILE).to_csv('data.csv', index=False)",
    ".sas7bdat": "pandas.read_sas(FILE).to_csv('data.csv', index=False)",
    ".nc": "xarray.open_dataset(FILE).to_dataframe().to_csv('data.csv')",
    ".ods": "pandas.read_excel(FILE).to_csv('data.csv', index=False)",
    ".xls": "pandas.read_excel(FILE).to_csv('data.csv', index=False)",
}

MARKED = {  # what is early in a text that is no table, in lower case
    b"@relation": "pandas.DataFrame(scipy.io.arff.loadarff(FILE)[0]).to_csv('data.csv')",
    b"@problemname": "numpy.save('data.npy', aeon.datasets.load_from_ts_file(FILE)[0]"
    ".transpose(0, 2, 1))",
    b'{"': "pandas.read_json(FILE, lines=True).to_csv('data.csv', index=False)",
}
EARLY = 1 << 12  # bytes


def check_is_file(path: Path) -> int:
    """The size of a plain file; others are refused before they are opened (a pipe would wait).

    Raises:
      DataError: missing, a directory, a device, a pipe or a socket.
    """
    shown = printable(path)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        where = printable(os.path.abspath(path))
        raise DataError(
            f"{shown}: there is no such file (looked for {where}). Correct the path."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shown}: cannot be read: {reason}. Correct the path.") from None
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{shown}: is a directory. Name a file in it. {FORMATS}")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            f"{shown}: is a pipe, device or socket, and a file is wanted because it is read more "
            "than once. Save what comes out of it to a file first."
        )
    return status.st_size


def refuse_by_name(path: Path) -> None:
    """Raise DataError for formats that are not read, with the way to convert them."""
    if (way := CONVERT.get(path.suffix.lower())) is not None:
        check_is_file(path)
        raise _not_read(path, path.suffix, way)


def _not_read(path: Path, what: str, way: str) -> DataError:
    why = " (a pickle can run any code)" * (what.lower() in (".pkl", ".pickle"))
    return DataError(
        f"{printable(path)}: {what} is not read{why}. "
        f"Convert it: {way.replace('FILE', repr(path.name))}."
    )


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(size: int, shown: str) -> None:
    """Raise DataError where a text of that many bytes cannot be read in memory."""
    if MEMORY_PER_BYTE * size > memory():
        raise DataError(
            f"{shown}: {size / 1e9:.1f} GB of text: reading it takes {MEMORY_PER_BYTE} times that, "
            f"and this machine has {memory() / 1e9:.1f} GB of memory. Give fewer sequences, or "
            "save them as .npy."
        )


def read_text(path: Path) -> bytes:
    """The text of a UTF-8 file with newlines as "\\n" and no blank lines or spaces at the end.

    Raises:
      DataError: not a readable file, too large, empty, not UTF-8 text, or an endless line.
    """
    size = check_is_file(path)
    shown = printable(path)
    check_memory(size, shown)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{shown}: cannot be read: {error.strerror}. Check that you may read it."
        ) from None
    if data.startswith(b"\x1f\x8b"):
        data = _unpacked(data, shown)
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(f"{shown}:1:1: the text is UTF-16 or UTF-32. Save it as UTF-8.")
    if data.startswith(PACKED):
        raise DataError(
            f"{shown}:1:1: the file is compressed, and of packed text .gz alone is read. "
            f"Unpack it first. {FORMATS}"
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    bad = data.find(b"\0")
    if bad >= 0:
        raise DataError(
            f"{shown}:{_place(data, bad)}: a NUL byte: this is a binary file or UTF-16, not text. "
            f"Save it as UTF-8 text, or as .npy. {FORMATS}"
        )
    start = 0
    while len(data) - start > LONGEST_LINE:
        end = data.rfind(b"\n", start, start + LONGEST_LINE + 1)
        if end < 0:
            raise DataError(
                f"{shown}:{_place(data, start)}: the line is longer than {LONGEST_LINE:,} bytes. "
                "Put one sequence on each line, or save the array as .npy."
            )
        start = end + 1
    if data[-64:].rstrip(b" \t\n") != data[-64:]:  # stripping copies
        data = data.rstrip(b" \t\n")
    if not data:
        raise DataError(f"{shown}: the file is empty. Put one sequence on each line.")
    early = data[:EARLY].lower()
    for mark, way in MARKED.items():
        if early.startswith(mark) or (mark.startswith(b"@") and b"\n" + mark in early):
            raise _not_read(path, f"a text with {mark.decode()}", way)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{shown}:{_place(data, error.start)}: byte 0x{data[error.start]:02x} is not "
                "UTF-8. Save the file as UTF-8."
            ) from None
    return data


def _unpacked(packed: bytes, shown: str) -> bytes:
    """What is in a .gz, no more than fits and than data can be packed to."""
    most = min(memory() // MEMORY_PER_BYTE, max(LARGE, MOST_PACKED * len(packed)))
    parts, unpacked = [], 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            while part := file.read(1 << 24):
                parts.append(part)
                unpacked += len(part)
                if unpacked > most:
                    raise DataError(
                        f"{shown}: {len(packed) / 1e6:.1f} MB that unpack to more than "
                        f"{most / 1e6:,.0f} MB are hardly data, or do not fit into memory. If "
                        "they are data, save the array as .npy."
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{shown}:1:1: the file is compressed, and damaged: {error}. Pack it again."
        ) from None
    return b"".join(parts)


def _place(data: bytes, offset: int) -> str:
    """line:column, both from 1, of an offset; the column counts characters."""
    line_start = data.rfind(b"\n", 0, offset) + 1
    column = len(data[line_start:offset].decode("utf-8", "replace")) + 1
    line = data.count(b"\n", 0, offset) + 1
    return f"{line}:{column}"
