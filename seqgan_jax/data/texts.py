"""Text files as they stand: plain files of UTF-8 that fit into memory, or where they are not.

Everything here is about characters and lines; `reading` reads the numbers.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

BLOCK_CHARACTERS = 1 << 20
LONGEST_LINE = 1 << 24  # bytes: a million steps of 16 characters
MEMORY_PER_BYTE = 4  # of text: itself, its decoded copy, its numbers
FEW_LINES = 32
FORMATS = "Known formats: text with one sequence a line, .csv, .npy, .npz."

Parsed = TypeVar("Parsed")


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


def memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file with newlines as "\\n" and no blank lines or spaces at the end.

    Raises:
      DataError: not a readable file, too large, empty, not UTF-8 text, or an endless line.
    """
    size = check_is_file(path)
    shown = printable(path)
    if MEMORY_PER_BYTE * size > memory():
        raise DataError(
            f"{shown}: {size / 1e9:.1f} GB of text: reading it takes {MEMORY_PER_BYTE} times that, "
            f"and this machine has {memory() / 1e9:.1f} GB of memory. Give fewer sequences, or "
            "save them as .npy."
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{shown}: cannot be read: {error.strerror}. Check that you may read it."
        ) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(f"{shown}:1:1: the text is UTF-16 or UTF-32. Save it as UTF-8.")
    if data.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")):
        raise DataError(f"{shown}:1:1: the file is compressed. Unpack it first. {FORMATS}")
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
    tail = data[-64:]  # stripping bytes spares a copy of the text, which has nothing left to strip
    length = len(data) - len(tail) + len(tail.rstrip(b" \t\n"))
    try:
        text = str(memoryview(data)[:length], "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shown}:{_place(data, error.start)}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Save the file as UTF-8."
        ) from None
    del data
    text = text.rstrip(" \t\n")
    if not text:
        raise DataError(f"{shown}: the file is empty. Put one sequence on each line.")
    return text


def _place(data: bytes, offset: int) -> str:
    """line:column, both from 1, of an offset; the column counts characters."""
    line_start = data.rfind(b"\n", 0, offset) + 1
    column = len(data[line_start:offset].decode("utf-8", "replace")) + 1
    line = data.count(b"\n", 0, offset) + 1
    return f"{line}:{column}"


def line_at(text: str, start: int = 0) -> str:
    """The line that begins at `start`, without its end; the others are not copied."""
    end = text.find("\n", start)
    return text[start : end if end >= 0 else len(text)]


def _blocks(text: str, line: int, start: int) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of blocks of whole lines; `line` numbers the first."""
    while start <= len(text):
        end = text.find("\n", start + BLOCK_CHARACTERS)
        block = text[start : end if end >= 0 else len(text)]
        yield line, block
        line += block.count("\n") + 1
        start += len(block) + 1


def pieces(
    text: str, line: int, parse: Callable[[bytes], Parsed | None], start: int = 0
) -> Iterator[tuple[int, str, Parsed | None]]:
    """(number of its first line, text, what `parse` made of it) of the pieces of text[start:].

    A piece that `parse` refuses is halved until few lines are left, so that one odd line does not
    slow down its neighbours; those few lines come with None.
    """
    for first, whole in _blocks(text, line, start):
        waiting = [(first, whole)]
        while waiting:
            number, piece = waiting.pop()
            parsed = parse(piece.encode("utf-8", "replace"))
            middle = piece.find("\n", len(piece) // 2)
            if parsed is None and middle >= 0 and piece.count("\n") >= FEW_LINES:
                head = piece[:middle]
                waiting.append((number + head.count("\n") + 1, piece[middle + 1 :]))
                waiting.append((number, head))
            else:
                yield number, piece, parsed
