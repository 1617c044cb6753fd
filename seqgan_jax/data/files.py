"""Writing files so that a reader never sees half of one, and saying why one cannot be written.

    temporary name in the same directory, write, fsync, rename over the target, fsync the directory

After a crash or a full disk the old file is still there, whole.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from seqgan_jax.errors import DiskError, SeqGANError

_REMEDIES = {
    errno.ENOSPC: "Free some space, or write to another disk.",
    errno.EDQUOT: "Your quota is used up: delete some files, or write to another disk.",
    errno.EFBIG: "The file is larger than the system allows: write to another disk.",
    errno.EACCES: "Choose a directory that you may write to.",
    errno.EPERM: "Choose a directory that you may write to.",
    errno.EROFS: "The disk is mounted read-only: choose another directory.",
    errno.ENOENT: "Create its directory first, or correct the path.",
    errno.ENOTDIR: "A part of the path is a file, not a directory: correct the path.",
    errno.EISDIR: "It is a directory: name a file.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def printable(text: str | os.PathLike[str]) -> str:
    r"""A path or name for a message, with control characters escaped.

    >>> printable("a\x1b[31m.txt")
    'a\\x1b[31m.txt'
    """
    text = os.fspath(text)
    return text if text.isprintable() else repr(text)[1:-1]


def printable_lines(text: str) -> str:
    r"""A message of several lines, with control characters escaped.

    >>> printable_lines("a\x1b[31m\nb")
    'a\\x1b[31m\nb'
    """
    return "\n".join(map(printable, text.split("\n")))


def disk_error(path: str | os.PathLike[str], error: OSError) -> DiskError:
    """The DiskError that says which file could not be written, why, the space left, what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0, "Check the disk, or write somewhere else.")
    return DiskError(f"{printable(path)}: cannot be written: {reason}{_free_space(path)}. {remedy}")


def _free_space(path: str | os.PathLike[str]) -> str:
    """' (1.5 GB free there)', asked of the nearest directory that exists; '' where unknown."""
    for directory in Path(os.path.abspath(path)).parents:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(directory).free
            return (
                f" ({free / 1e9:.1f} GB free there)"
                if free >= 1e9
                else f" ({free / 1e6:.1f} MB free there)"
            )
    return ""


def make_directory(path: str | os.PathLike[str]) -> Path:
    """Make a directory and those above it, unless it is there already.

    Raises:
      DiskError: it cannot be made.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise DiskError(
            f"{printable(path)}: is a file, and a directory is wanted there. "
            "Choose another directory, or move the file away."
        ) from None
    except OSError as error:
        raise disk_error(path, error) from error
    _sync_directory(Path(os.path.abspath(path)).parent)
    return Path(path)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """A file to write to, which takes the place of `path` only when all of it is on the disk.

    Where the block raises, `path` is left as it was. Text is UTF-8 with plain newlines. A link is
    followed; the mode bits of a file that is replaced are kept.

    Args:
      path: the file to write; its directory must exist.
      mode: "w" for text, "wb" for bytes.

    Raises:
      DiskError: it cannot be written; says why, the space left, and what to do.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(folder + "/a.txt") as file:
    ...         _ = file.write("1 2 3")
    ...     print(Path(folder, "a.txt").read_text(), os.listdir(folder))
    1 2 3 ['a.txt']
    """
    target = Path(os.path.realpath(path))
    # A short name of its own: the target's may already be as long as names can be.
    temporary = target.parent / f".tmp-{secrets.token_hex(8)}"
    try:
        old_mode = _mode_of(target)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        text = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
        try:
            with open(descriptor, mode, **text) as file:  # type: ignore[call-overload]
                yield file
                file.flush()
                os.fsync(file.fileno())
                if old_mode is not None:
                    os.fchmod(file.fileno(), old_mode)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(target.parent)
    except SeqGANError:
        raise
    except OSError as error:
        raise disk_error(path, error) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file as `atomic_write` does.

    Raises:
      DiskError: it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(text)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of bytes as `atomic_write` does.

    Raises:
      DiskError: it cannot be written.
    """
    with atomic_write(path, "wb") as file:
        file.write(data)


def _mode_of(target: Path) -> int | None:
    """Mode bits of the file that is to be replaced, None where there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        # A rename would put a plain file in the place of a device or a pipe.
        raise DiskError(
            f"{printable(target)}: cannot be written: it is a device or a pipe. Name a file."
        )
    return stat.S_IMODE(status.st_mode)


def _sync_directory(directory: Path) -> None:
    """Put the rename itself on the disk. Some file systems cannot, which costs no data."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
