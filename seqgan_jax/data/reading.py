"""Reading numbers from files, strictly: a file is read as it stands or refused with the place.

A number here is what `float()` reads, without underscores, nan, inf, or digits of other scripts.
Blocks of lines take a fast path first; a block that is not plainly clean gets a second look, cell
by cell, which either reads it (quotes) or says what is wrong where. Both give `float(token)`.

Shapes: N sequences or lines, L steps of a series, D columns.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from seqgan_jax.data import missing as gaps
from seqgan_jax.data import parsing
from seqgan_jax.data.files import printable
from seqgan_jax.data.parsing import NUMBER
from seqgan_jax.data.texts import line_at, pieces
from seqgan_jax.errors import DataError, UsageError

SHOWN = 3  # of all bad lines
LONGEST_NAME = 200
COUNTED = 10_000  # bad lines, then it stops looking

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_CELL = re.compile(r'[ \t]*"((?:[^"]++|"")*+)"[ \t]*(?=,|\Z)|([^,]*)')
_INFINITE = {"inf", "infinity"}

Problem = tuple[int, str, str]  # column (1-based), what, what to do ("" for nothing particular)


def quote(token: str) -> str:
    r"""A token from a file for a message: short, in quotes, control characters escaped.

    >>> quote("\x1b[31mred")
    "'\\x1b[31mred'"
    """
    return repr(token if len(token) <= 40 else token[:37] + "...")


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


def _unclosed_quote(line: str) -> int:
    """Column of a cell that begins with a quote and does not end with one, 0 if there is none."""
    position = 0
    while '"' in line and position <= len(line):
        match = _CELL.match(line, position)
        assert match is not None
        if match[1] is None and match[2].lstrip(" \t").startswith('"'):
            return position + match[2].index('"') + 1
        position = match.end() + 1
    return 0


def _count(line: str) -> int:
    """How many cells a line has."""
    if '"' in line:
        return len(_cells(line, only_commas=False))
    return line.count(",") + 1 if "," in line else len(line.split())


def _complaint(token: str, line: str, may_miss: bool = False) -> tuple[str, str] | None:
    """(what is wrong, what to do) with a token, None where it is a finite number.

    With may_miss, a missing value is as good as a number.
    """
    shown = quote(token)
    if NUMBER.fullmatch(token):
        if np.isfinite(float(token)):
            return None
        return f"{shown} is too large for a 64-bit number", "Use smaller units."
    if gaps.is_missing(token):
        if may_miss:
            return None
        return f"{shown} is a missing value" if token else "a number is missing", gaps.REMEDY
    if token.lower().lstrip("+-") in _INFINITE:
        return f"{shown} is not finite", "Correct these lines, or delete them."
    if any(_DECIMAL_COMMA.fullmatch(part) for part in (token, *re.split(r"[ \t;]+", line))) and (
        re.search(r"[ ;]", token) or _DECIMAL_COMMA.fullmatch(token)
    ):
        remedy = "Write 1.5, not 1,5, and put spaces or commas between numbers."
        return f"{shown} is not a number; it looks like a decimal comma", remedy
    if ";" in token:
        return f"{shown} is not a number", "Put spaces, tabs or commas, not ';', between numbers."
    if "_" in token and NUMBER.fullmatch(token.replace("_", "")):
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
        shown = f"First {SHOWN} of {len(lines):,}" if len(lines) > SHOWN else f"All {len(lines)}"
        if len(lines) >= COUNTED:
            shown = f"First {SHOWN} of at least {COUNTED:,}"
        message += f" {shown} bad lines: "
        message += "; ".join(f"{line}:{column} {what}" for line, column, what, _ in first) + "."
    return DataError(" ".join([message, *remedies]))


def _value(token: str) -> float:
    """A token that `_complaint` has nothing against."""
    return float(token) if NUMBER.fullmatch(token) else np.nan


def _room(text: str, start: int, width: int, wanted: int) -> np.ndarray:
    """[lines, wanted] to be filled, without lines where not all can have `width` cells."""
    lines = text.count("\n", start) + 1
    return np.empty((lines if lines * width <= len(text) - start + 1 else 0, wanted))


def read_table(path: Path, text: str, may_miss: bool = False) -> np.ndarray:
    """Numbers of a text with one row a line -> [N, numbers a line], float64.

    Args:
      path: for messages.
      text: from `read_text`.
      may_miss: missing values become NaN.

    Raises:
      DataError: a cell that is no finite number, or lines of unequal length.

    >>> read_table(Path("x.txt"), "1 2\\n3, 4").tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    first = line_at(text)
    width = _count(first)
    x = _room(text, 0, width, width)
    problems: dict[int, Problem] = {}
    if len(x) == 0 or not _read_rows(text, width, may_miss, problems, x):
        # Lines differ in length. What most of them have is what was meant: the others are bad.
        lengths = Counter(map(_count, text.split("\n", COUNTED)[:COUNTED]))
        width = max(lengths, key=lambda length: (length > 0, lengths[length]))
        problems = {}
        _read_rows(text, width, may_miss, problems)
    if problems:
        expected = f"{width} number{'s' * (width != 1)} a line"
        remedy = "Correct these lines, or delete them."
        if 1 in problems and re.search(r"[^\W\d_]|#", first):
            remedy = (
                "Correct these lines, or delete them. If line 1 is a header: a long series with "
                "a header is read from a .csv file in which no column name is a number; "
                "otherwise delete the header."
            )
        raise _refuse(path, problems, expected, remedy)
    return x


def _read_rows(
    text: str,
    width: int,
    may_miss: bool,
    problems: dict[int, Problem],
    x_ND: np.ndarray | None = None,
) -> bool:
    """Fill in `problems`, and rows of `width` numbers in x_ND where they are wanted.

    With x_ND, False for the first line that has another number of cells; without, those are
    problems.
    """
    for first, piece, rows in pieces(text, 1, partial(parsing.rows, width=width)):
        if rows is not None:
            if x_ND is not None:
                x_ND[first - 1 : first - 1 + len(rows)] = rows
            continue
        for number, line in enumerate(piece.split("\n"), first):
            cells = _cells(line, only_commas=False)
            bad = (_complaint(token, line, may_miss) for _, token in cells)
            found = next(((cells[i][0], *b) for i, b in enumerate(bad) if b), None)
            if found is not None:
                problems[number] = found
            elif len(cells) != width:
                if x_ND is not None:
                    return False
                problems[number] = _wrong_length(line, len(cells), "number")
            elif x_ND is not None:
                x_ND[number - 1] = [_value(token) for _, token in cells]
        if len(problems) >= COUNTED:
            break
    return True


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
    line = line_at(text)
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
    return bool(NUMBER.fullmatch(token)) or lower in _INFINITE or lower in {"nan", "null"}


def read_columns(
    path: Path,
    text: str,
    columns: Sequence[str] | None = None,
    may_miss: bool = False,
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Columns of a CSV with a header -> (names, values [L, D] float64, notes for the user).

    Args:
      path: for messages.
      text: from `read_text`.
      columns: names of the columns wanted, in the order wanted; None for all that hold numbers.
      may_miss: missing values become NaN.

    Raises:
      DataError: no such column, two of one name, a cell that is no finite number, lines of
        unequal length, no line under the header, or no column of numbers.
      UsageError: a column asked for twice.

    >>> read_columns(Path("x.csv"), "day,x\\nMon,1.5\\nTue,2")[:2]
    (('x',), array([[1.5],
           [2. ]]))
    """
    header = line_at(text)
    start = len(header) + 1  # of what is under it, which is not copied
    if unclosed := _unclosed_quote(header):
        raise DataError(f"{printable(path)}:1:{unclosed}: a quote is not closed. Close it.")
    names = [token for _, token in _cells(header, only_commas=True)]
    listed = ", ".join(quote(name) for name in names if name)
    if len(text) < start:
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
        first = [token for _, token in _cells(line_at(text, start), only_commas=True)]
        first += [""] * (len(names) - len(first))
        # 1_000 and "1,5" were meant as numbers: refused rather than ignored.
        like = [_like_number(token.replace("_", "").replace(",", "")) for token in first]
        wanted = [d for d, name in enumerate(names) if name and like[d]]
        maybe = [d for d, name in enumerate(names) if name and not like[d]]

    problems: dict[int, Problem] = {}
    mixed: set[int] = set()
    x_LD = _room(text, start, len(names), len(wanted))
    parse = partial(parsing.columns, width=len(names), wanted=wanted, maybe=maybe)
    for first_line, piece, parsed in pieces(text, 2, parse, start):
        if parsed is None:
            lines = piece.split("\n")
            part, rows = _read_lines(lines, first_line, len(names), wanted, may_miss, problems)
            for row in rows:
                mixed |= {d for d in maybe if NUMBER.fullmatch(row[d])}
        else:
            part, numeric = parsed
            mixed |= numeric
        if not problems and len(x_LD):
            x_LD[first_line - 2 : first_line - 2 + len(part)] = part
        if len(problems) >= COUNTED:
            break
    if mixed and not problems:
        # Numbers in some lines and other things in others: reading it as numbers says where.
        wanted = sorted({*wanted, *mixed})
        maybe = [d for d in maybe if d not in mixed]
        x_LD = read_columns(path, text, [names[d] for d in wanted], may_miss)[1]
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
    _check_names(path, [names[d] for d in wanted])
    if may_miss:
        for d in maybe:
            rest = (
                line for _, piece, _ in pieces(text, 2, bytes, start) for line in piece.split("\n")
            )
            if all(gaps.is_missing(_cells(line, only_commas=True)[d][1]) for line in rest):
                raise gaps.nothing_in(names[d], printable(path))
    ignored = [quote(names[d]) for d in maybe]
    if ignored:
        word = "columns" if len(ignored) > 1 else "column"
        notes.append(f"ignored non-numeric {word} {', '.join(ignored)}")
    return tuple(names[d] for d in wanted), x_LD, tuple(notes)


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse names that would disturb a terminal, a report or a file."""
    for name in names:
        if len(name) > LONGEST_NAME:
            raise DataError(
                f"{printable(path)}:1:1: the column name {quote(name)} has {len(name):,} "
                f"characters (at most {LONGEST_NAME} are wanted). Shorten it."
            )
        if any(unicodedata.category(character)[0] == "C" for character in name):
            raise DataError(
                f"{printable(path)}:1:1: the column name {quote(name)} has control characters. "
                "Rename it."
            )


def _read_lines(
    lines: list[str],
    first_line: int,
    width: int,
    wanted: Sequence[int],
    may_miss: bool,
    problems: dict[int, Problem],
) -> tuple[np.ndarray, list[list[str]]]:
    """Wanted columns [lines, D] of some lines and the cells of good ones; fills in `problems`."""
    x_LD = np.zeros((len(lines), len(wanted)))
    rows = []
    for i, line in enumerate(lines):
        if unclosed := _unclosed_quote(line):
            problems[first_line + i] = (unclosed, "a quote is not closed", "")
            continue
        cells = _cells(line, only_commas=True)
        if len(cells) != width:
            # "1,5" under a single name is a decimal comma rather than two columns.
            bad = _complaint(line.strip(" \t"), line) if width == 1 and line else None
            wrong = _wrong_length(line, len(cells), "column")
            problems[first_line + i] = (1, *bad) if bad else wrong
            continue
        rows.append([token for _, token in cells])
        for d, index in sorted(enumerate(wanted), key=lambda pair: pair[1]):
            column, token = cells[index]
            complaint = _complaint(token, line, may_miss)
            if complaint is not None:
                problems[first_line + i] = (column, *complaint)
                break
            x_LD[i, d] = _value(token)
    return x_LD, rows
