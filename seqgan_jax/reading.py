"""Reading numbers from files, strictly: a file is read as it stands or refused with the place.

A number here is what `float()` reads, without underscores, nan, inf, or digits of other scripts.
Blocks of lines take a fast path first; a block that is not plainly clean gets a second look, cell
by cell, which either reads it (quotes) or says what is wrong where. Both give `float(token)`.

Shapes: N sequences or lines, L steps of a series, D columns.
"""

import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.files import printable

BLOCK_CHARACTERS = 1 << 20
SHOWN = 3  # of all bad lines
FORMATS = "Known formats: text with one sequence a line, .csv, .npy, .npz."

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_CELL = re.compile(r'[ \t]*"((?:[^"]|"")*)"[ \t]*(?=,|\Z)|([^,]*)')
_CLEAN = b"0123456789+-.eE, \t\n"
_MISSING = {"nan", "na", "n/a", "null", "none", "nil", "-", "--", "?", "."}
_INFINITE = {"inf", "infinity"}

Problem = tuple[int, str, str]  # column (1-based), what, what to do ("" for nothing particular)


def quote(token: str) -> str:
    r"""A token from a file for a message: short, in quotes, control characters escaped.

    >>> quote("\x1b[31mred")
    "'\\x1b[31mred'"
    """
    return repr(token if len(token) <= 40 else token[:37] + "...")


def check_is_file(path: Path) -> None:
    """Refuse what is not a plain file, before it is opened (opening a pipe would wait for ever).

    Raises:
      DataError: missing, a directory, a device, a pipe or a socket.
    """
    shown = printable(path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        where = printable(os.path.abspath(path))
        raise DataError(
            f"{shown}: there is no such file (looked for {where}). Correct the path."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shown}: cannot be read: {reason}. Correct the path.") from None
    if stat.S_ISDIR(mode):
        raise DataError(f"{shown}: is a directory. Name a file in it. {FORMATS}")
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{shown}: is a pipe, device or socket, and a file is wanted because it is read more "
            "than once. Save what comes out of it to a file first."
        )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file with newlines as "\\n" and no blank lines or spaces at the end.

    Raises:
      DataError: not a readable file, empty, or not UTF-8 text.
    """
    check_is_file(path)
    shown = printable(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{shown}: cannot be read: {error.strerror}. Check that you may read it."
        ) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise DataError(f"{shown}:1:1: the text is UTF-16 or UTF-32. Save it as UTF-8.")
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    bad = data.find(b"\0")
    if bad >= 0:
        raise DataError(
            f"{shown}:{_place(data, bad)}: a NUL byte: this is a binary file or UTF-16, not text. "
            f"Save it as UTF-8 text, or as .npy. {FORMATS}"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shown}:{_place(data, error.start)}: byte 0x{data[error.start]:02x} is not UTF-8. "
            "Save the file as UTF-8."
        ) from None
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


def _blocks(text: str, line: int) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of blocks of whole lines; `line` numbers the first."""
    start = 0
    while start <= len(text):
        end = text.find("\n", start + BLOCK_CHARACTERS)
        block = text[start : end if end >= 0 else len(text)]
        yield line, block
        line += block.count("\n") + 1
        start += len(block) + 1


def _is_clean(text: str) -> bool:
    """Whether the text has only characters of decimal numbers and separators."""
    return not text.encode("utf-8", "replace").translate(None, _CLEAN)


def _split(line: str) -> list[str]:
    """Cells of a line without quotes. Commas separate where there are any, else blanks do."""
    return line.split(",") if "," in line else line.split()


def _cells(line: str, only_commas: bool) -> list[tuple[int, str]]:
    """(column, token) of each cell of a line, quotes removed."""
    if not only_commas and "," not in line and '"' not in line:
        return [(match.start() + 1, match[0]) for match in re.finditer(r"[^ \t]+", line)]
    cells, position = [], 0
    while True:
        match = _CELL.match(line, position)
        assert match is not None  # its second half matches anything, and nothing
        raw, token = match[0], match[2] if match[1] is None else match[1].replace('""', '"')
        blanks = len(raw) - len(raw.lstrip(" \t"))
        cells.append((position + (blanks if raw.strip(" \t") else 0) + 1, token.strip(" \t")))
        position = match.end() + 1
        if match.end() >= len(line):
            return cells


def _floats(tokens: Sequence[str]) -> np.ndarray | None:
    """float64 of the tokens, or None where the cell-by-cell look has to decide."""
    try:
        x = np.fromiter(map(float, tokens), np.float64, count=len(tokens))
    except ValueError:
        return None
    return x if np.isfinite(x).all() else None


def _complaint(token: str, line: str) -> tuple[str, str] | None:
    """(what is wrong, what to do) with a token, None where it is a finite number."""
    shown, lower = quote(token), token.lower().lstrip("+-")
    if _NUMBER.fullmatch(token):
        if np.isfinite(float(token)):
            return None
        return f"{shown} is too large for a 64-bit number", "Use smaller units."
    missing = "Values may not be missing or infinite: fill them in, or leave those lines out."
    if token == "":
        return "a number is missing", missing
    if lower in _MISSING or token.lower() in _MISSING:
        return f"{shown} is a missing value", missing
    if lower in _INFINITE:
        return f"{shown} is not finite", missing
    if any(_DECIMAL_COMMA.fullmatch(part) for part in (token, *re.split(r"[ \t;]+", line))) and (
        re.search(r"[ ;]", token) or _DECIMAL_COMMA.fullmatch(token)
    ):
        remedy = "Write 1.5, not 1,5, and put spaces or commas between numbers."
        return f"{shown} is not a number; it looks like a decimal comma", remedy
    if ";" in token:
        return f"{shown} is not a number", "Put spaces, tabs or commas, not ';', between numbers."
    if "_" in token and _NUMBER.fullmatch(token.replace("_", "")):
        return f"{shown} is not a number here", "Write it without underscores."
    if re.fullmatch(r"[+-]?0[xX].*", token):
        return f"{shown} is a hexadecimal number", "Write it as a decimal number."
    return f"{shown} is not a number", ""


def _refuse(path: Path, problems: dict[int, Problem], expected: str, remedy: str) -> DataError:
    """The error for all bad lines: the first few in full, the rest as a count."""
    lines = sorted(problems)
    first = [(line, *problems[line]) for line in lines[:SHOWN]]
    remedies = list(dict.fromkeys(problem[3] for problem in first if problem[3])) or [remedy]
    line, column, what, _ = first[0]
    message = f"{printable(path)}:{line}:{column}: {what} (expected {expected})."
    if len(lines) > 1:
        shown = f"First {SHOWN} of {len(lines)}" if len(lines) > SHOWN else f"All {len(lines)}"
        message += f" {shown} bad lines: "
        message += "; ".join(f"{line}:{column} {what}" for line, column, what, _ in first) + "."
    return DataError(" ".join([message, *remedies]))


def read_table(path: Path, text: str) -> np.ndarray:
    """Numbers of a text with one row a line -> [N, numbers a line], float64.

    Args:
      path: for messages.
      text: from `read_text`.

    Raises:
      DataError: a cell that is no finite number, or lines of unequal length.

    >>> read_table(Path("x.txt"), "1 2\\n3, 4").tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    width = len(_cells(text.partition("\n")[0], only_commas=False))
    x = _read_rows(path, text, width)
    if x is None:
        # Lines differ in length. What most of them have is what was meant: the others are bad.
        lines = text.split("\n")
        lengths = Counter(len(_cells(line, only_commas=False)) for line in lines)
        width = max(lengths, key=lambda length: (length > 0, lengths[length]))
        x = _read_rows(path, text, width, must_fit=True)
        assert x is not None
    return x


def _read_rows(path: Path, text: str, width: int, must_fit: bool = False) -> np.ndarray | None:
    """Rows of `width` numbers. None for the first line that has another number of cells, or,
    with must_fit, a DataError for all of those."""
    parts: list[np.ndarray] = []
    problems: dict[int, Problem] = {}
    for first_line, block in _blocks(text, 1):
        lines = block.split("\n")
        if _is_clean(block):
            rows = [_split(line) for line in lines]
            if all(len(row) == width for row in rows):
                x = _floats(list(itertools.chain.from_iterable(rows)))
                if x is not None:
                    parts.append(x)
                    continue
        values = []
        for number, line in enumerate(lines, first_line):
            cells = _cells(line, only_commas=False)
            bad = next(((c, *b) for c, token in cells if (b := _complaint(token, line))), None)
            if bad is not None:
                problems[number] = bad
            elif len(cells) != width:
                if not must_fit:
                    return None
                problems[number] = _wrong_length(line, len(cells), "number")
            else:
                values += [float(token) for _, token in cells]
        parts.append(np.array(values, np.float64))
    if problems:
        expected = f"{width} number{'s' * (width != 1)} a line"
        remedy = "Correct these lines, or delete them."
        if 1 in problems and re.search(r"[^\W\d_]|#", text.partition("\n")[0]):
            remedy = (
                "Correct these lines, or delete them. If line 1 is a header: a long series with "
                "a header is read from a .csv file in which no column name is a number; "
                "otherwise delete the header."
            )
        raise _refuse(path, problems, expected, remedy)
    return np.concatenate(parts).reshape(-1, width)


def _wrong_length(line: str, count: int, unit: str) -> Problem:
    """The complaint about a line that has too few or too many cells."""
    if not line.strip(" \t"):
        return 1, "the line is empty", ""
    return 1, f"{count} {unit}{'s' * (count != 1)} on this line", ""


def header_of(text: str) -> list[str] | None:
    """Column names on the first line of a CSV, None where it has none.

    A header has no cell that is a number, except that one which starts with "sequence,step" may.

    >>> header_of("date,Open\\n2020-01-01,1.5"), header_of("1,2\\n3,4")
    (['date', 'Open'], None)
    """
    line = text.partition("\n")[0]
    names = [token for _, token in _cells(line, only_commas=True)]
    if [name.lower() for name in names[:2]] == ["sequence", "step"]:
        return names
    if "," not in line and '"' not in line:  # one name, perhaps of several words, or numbers
        numeric = all(_like_number(token) for token in line.split())
    else:
        numeric = any(_like_number(name) for name in names) or not any(names)
    return None if numeric else names


def _like_number(token: str) -> bool:
    """Whether a cell was meant as a number, if perhaps a bad one."""
    lower = token.lower().lstrip("+-")
    return bool(_NUMBER.fullmatch(token)) or lower in _INFINITE or lower in {"nan", "null"}


def read_columns(
    path: Path, text: str, columns: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Columns of a CSV with a header -> (names, values [L, D] float64, notes for the user).

    Args:
      path: for messages.
      text: from `read_text`.
      columns: names of the columns wanted, in the order wanted; None for all that hold numbers.

    Raises:
      DataError: no such column, two of one name, a cell that is no finite number, lines of
        unequal length, no line under the header, or no column of numbers.
      UsageError: a column asked for twice.

    >>> read_columns(Path("x.csv"), "day,x\\nMon,1.5\\nTue,2")[:2]
    (('x',), array([[1.5],
           [2. ]]))
    """
    header, _, body = text.partition("\n")
    names = [token for _, token in _cells(header, only_commas=True)]
    listed = ", ".join(quote(name) for name in names if name)
    if not body:
        raise DataError(f"{printable(path)}:1:1: there is only a header. Put a line for each step.")
    if len(names) == 1 and re.search(r"[;|\t]", names[0]):
        raise DataError(
            f"{printable(path)}:1:1: the header {quote(names[0])} has no commas. Put them between "
            "columns (not ';', tabs or '|') and a point, not a comma, before decimals."
        )
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(
            f"{printable(path)}:1:1: two columns are called {quote(twice[0])}. Rename one."
        )
    notes: list[str] = []
    maybe: list[int] = []  # their first cell is no number: dates, unless a number follows
    if columns is not None:
        if len(set(columns)) < len(columns):
            raise UsageError("--columns names a column twice. Name each once.")
        unknown = [name for name in columns if not name or name not in names]
        if unknown:
            raise DataError(
                f"{printable(path)}:1:1: there is no column {quote(unknown[0])} (the columns are "
                f"{listed}). Correct --columns."
            )
        wanted = [names.index(name) for name in columns]
    else:
        for d, name in enumerate(names):
            if not name:
                notes.append(f"ignored column {d + 1}, which has no name (numbers of rows?)")
        first = [token for _, token in _cells(body.partition("\n")[0], only_commas=True)]
        first += [""] * (len(names) - len(first))
        # 1_000 and "1,5" were meant as numbers: refused rather than ignored.
        like = [_like_number(token.replace("_", "").replace(",", "")) for token in first]
        wanted = [d for d, name in enumerate(names) if name and like[d]]
        maybe = [d for d, name in enumerate(names) if name and not like[d]]

    parts: list[np.ndarray] = []
    problems: dict[int, Problem] = {}
    numbers_in = dict.fromkeys(maybe, 0)
    for first_line, block in _blocks(body, 2):
        lines = block.split("\n")
        part, rows = _read_block(lines, first_line, len(names), wanted, problems)
        parts.append(part)
        for d in maybe:
            numbers_in[d] += sum(_NUMBER.fullmatch(row[d].strip(" \t")) is not None for row in rows)
    mixed = [d for d in maybe if numbers_in[d]]
    if mixed and not problems:
        # Neither dates nor numbers: reading it as numbers says where it is not.
        return read_columns(path, text, [names[d] for d in sorted(wanted + mixed)])
    if problems:
        expected = f"{len(names)} column{'s' * (len(names) != 1)} as in the header, with numbers"
        remedy = "Correct these lines, or delete them."
        if len(names) > 1:
            remedy += " --columns leaves a whole column out."
        raise _refuse(path, problems, expected, remedy)
    if not wanted:
        raise DataError(
            f"{printable(path)}:2:1: no column holds numbers (the columns are {listed or 'unnamed'}"
            "). Put commas between columns, and a name above each."
        )
    ignored = [quote(names[d]) for d in maybe]
    if ignored:
        word = "columns" if len(ignored) > 1 else "column"
        notes.append(f"ignored non-numeric {word} {', '.join(ignored)}")
    return tuple(names[d] for d in wanted), np.concatenate(parts), tuple(notes)


def _read_block(
    lines: list[str],
    first_line: int,
    width: int,
    wanted: Sequence[int],
    problems: dict[int, Problem],
) -> tuple[np.ndarray, list[list[str]]]:
    """Wanted columns [lines, D] of a block and the cells of its good lines; fills in `problems`."""
    numbers, rows = [], []
    for number, line in enumerate(lines, first_line):
        if '"' in line:
            row = [token for _, token in _cells(line, only_commas=True)]
        else:
            row = line.split(",")
        if len(row) == width:
            numbers.append(number)
            rows.append(row)
        else:
            # "1,5" under a single name is a decimal comma rather than two columns.
            bad = _complaint(line.strip(" \t"), line) if width == 1 and line else None
            count = len(_cells(line, only_commas=True))
            problems[number] = (1, *bad) if bad else _wrong_length(line, count, "column")
    by_column = list(zip(*rows, strict=True)) or [()] * width
    x_LD = np.zeros((len(rows), len(wanted)))
    for d, index in sorted(enumerate(wanted), key=lambda pair: pair[1]):
        tokens = by_column[index]
        x = _floats(tokens) if _is_clean("".join(tokens)) else None
        if x is not None:
            x_LD[:, d] = x
            continue
        for i, token in enumerate(tokens):
            if numbers[i] in problems:  # the first on each line is told
                continue
            line = lines[numbers[i] - first_line]
            complaint = _complaint(token.strip(" \t"), line)
            if complaint is None:
                x_LD[i, d] = float(token)
            else:
                column = _cells(line, only_commas=True)[index][0]
                problems[numbers[i]] = (column, *complaint)
    return x_LD, rows
