"""The second, slow look at a text: its cells one by one, and what is wrong with them where.

A number is what `float()` reads, without underscores, nan, inf, or digits of other scripts:

    number = [+-] (digits [. [digits]] | . digits) [(e|E) [+-] digits]
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from seqgan_jax.data import missing
from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
SHOWN = 3  # of all bad lines
COUNTED = 10_000  # bad lines, then it stops looking
BLOCK_BYTES = 1 << 20
BLANK = " "  # the separator of lines of numbers: blanks, tabs, or commas
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
DECLARE = "--missing-values "
MOST_WORDS = 5  # that may mean a missing value
LONGEST_WORD = 20
_NO_VALUE = re.compile(r"\D+|#[\w/]+!|[<>]\s?[\d.,]+")  # n/e, ***, <0.05
_INFINITE = {"inf", "infinity"}

Problem = tuple[int, str, str]  # column (1-based), what, what to do ("" for nothing particular)


@dataclass(frozen=True)
class Dialect:
    """How a text is written.

    Args:
      separator: "," ";" "|" or a tab; BLANK for numbers with blanks, tabs or commas between.
      decimal: "." or ",".
      header: names of the columns, None where there are none.
      start: offset of the first line of values in bytes.
      first: number of that line, from 1.
      width: cells a line.
      notes: what was seen.
    """

    separator: str
    decimal: str
    header: tuple[str, ...] | None
    start: int
    first: int
    width: int
    notes: tuple[str, ...] = ()


def quote(token: str) -> str:
    r"""A token from a file for a message: short, in quotes, control characters escaped.

    >>> quote("\x1b[31mred")
    "'\\x1b[31mred'"
    """
    return repr(token if len(token) <= 40 else token[:37] + "...")


@cache
def _pattern(separator: str) -> re.Pattern[str]:
    s, blanks = re.escape(separator), "[ ]*" if separator == "\t" else "[ \t]*"
    return re.compile(rf'{blanks}"((?:[^"]++|"")*+)"{blanks}(?={s}|\Z)|([^{s}]*)')


def split(line: str, separator: str) -> list[tuple[int, str]]:
    """(column, token) of each cell of a line, quotes and blanks around it removed.

    >>> split('1, "a,b"', ","), split("1  2", BLANK)
    ([(1, '1'), (4, 'a,b')], [(1, '1'), (4, '2')])
    """
    if separator == BLANK:
        if "," not in line and '"' not in line:
            return [(match.start() + 1, match[0]) for match in re.finditer(r"[^ \t]+", line)]
        separator = ","
    cells, position = [], 0
    while True:
        match = _pattern(separator).match(line, position)
        assert match is not None  # its second half matches anything, and nothing
        raw, token = match[0], match[2] if match[1] is None else match[1].replace('""', '"')
        blanks = len(raw) - len(raw.lstrip(" \t"))
        cells.append((position + (blanks if raw.strip(" \t") else 0) + 1, token.strip(" \t")))
        position = match.end() + 1
        if match.end() >= len(line):
            return cells


def unclosed(line: str, separator: str) -> int:
    """Column of a cell that begins with a quote and does not end with one, 0 if there is none."""
    position = 0
    while '"' in line and position <= len(line):
        match = _pattern("," if separator == BLANK else separator).match(line, position)
        assert match is not None
        if match[1] is None and match[2].lstrip(" \t").startswith('"'):
            return position + match[2].index('"') + 1
        position = match.end() + 1
    return 0


def plain(token: str, decimal: str) -> str:
    """A token with a point as its decimal mark, "" where it has two kinds of marks."""
    if decimal == ".":
        return token
    return "" if "." in token else token.replace(",", ".")


def complaint(
    token: str, line: str, decimal: str, missing_tokens: Set[str], may_miss: bool
) -> tuple[str, str] | None:
    """(what is wrong, what to do) with a token, None where it is a finite number.

    With may_miss, a missing value is as good as a number.
    """
    shown = quote(token)
    if missing.is_missing(token, missing_tokens):
        if may_miss:
            return None
        return f"{shown} is a missing value" if token else "a number is missing", missing.REMEDY
    if NUMBER.fullmatch(plain(token, decimal)):
        if np.isfinite(float(plain(token, decimal))):
            return None
        return f"{shown} is too large for a 64-bit number", "Use smaller units."
    if token.lower().lstrip("+-") in _INFINITE:
        return f"{shown} is not finite", "Correct these lines, or delete them."
    if decimal == "." and (
        any(_DECIMAL_COMMA.fullmatch(part) for part in (token, *re.split(r"[ \t;]+", line)))
        and (re.search(r"[ ;]", token) or _DECIMAL_COMMA.fullmatch(token))
    ):
        remedy = "Write 1.5, not 1,5, or put ';' or tabs between numbers."
        return f"{shown} is not a number; it looks like a decimal comma", remedy
    if ";" in token:
        return f"{shown} is not a number", "Put the same separator between all numbers."
    if "_" in token and NUMBER.fullmatch(token.replace("_", "")):
        return f"{shown} is not a number here", "Write it without underscores."
    if re.fullmatch(r"[+-]?0[xX].*", token):
        return f"{shown} is a hexadecimal number", "Write it as a decimal number."
    is_word = len(token) <= LONGEST_WORD and token.isprintable() and _NO_VALUE.fullmatch(token)
    way = DECLARE + (token if token.isalnum() else shown)
    return f"{shown} is not a number", way if is_word else ""


def lines(data: bytes, dialect: Dialect) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, bytes) of blocks of whole lines of values."""
    start, number = dialect.start, dialect.first
    while start <= len(data):
        end = data.find(b"\n", start + BLOCK_BYTES)
        block = data[start : end if end >= 0 else len(data)]
        yield number, block
        number += block.count(b"\n") + 1
        start += len(block) + 1


def tokens(data: bytes, dialect: Dialect) -> list[list[str]] | None:
    """The cells of every line, None where a line has not as many as the others."""
    found = []
    for _, block in lines(data, dialect):
        for line in block.decode().split("\n"):
            cells = split(line, dialect.separator)
            if len(cells) != dialect.width or unclosed(line, dialect.separator):
                return None
            found.append([token for _, token in cells])
    return found


def check(
    path: Path,
    data: bytes,
    dialect: Dialect,
    wanted: Sequence[int],
    missing_tokens: Set[str],
    may_miss: bool,
    is_good: Callable[[bytes], bool],
) -> None:
    """Raise DataError for all bad lines of a text, if it has any.

    Args:
      path: for messages.
      data: the text.
      dialect: how it is written.
      wanted: columns that must hold numbers.
      missing_tokens: besides the usual ones, in lower case.
      may_miss: whether values may be missing.
      is_good: whether a block is plainly good and need not be looked at.
    """
    width = dialect.width
    unit = "number" if dialect.header is None else "column"
    problems: dict[int, Problem] = {}
    good = 0
    for first, block in lines(data, dialect):
        if len(data) > BLOCK_BYTES and is_good(block):
            good += 1
            continue
        for number, line in enumerate(block.decode().split("\n"), first):
            if dialect.header is not None and (column := unclosed(line, dialect.separator)):
                problems[number] = (column, "a quote is not closed", "")
                continue
            cells = split(line, dialect.separator)
            fits = len(cells) == width
            if fits or (unit == "number" and line.strip(" \t")):
                at = sorted(wanted) if fits else range(len(cells))
                for cell in at:
                    column, token = cells[cell]
                    found = complaint(token, line, dialect.decimal, missing_tokens, may_miss)
                    if found is not None:
                        problems[number] = (column, *found)
                        break
            good += fits
            if not fits and number not in problems:
                bad = None  # "1,5" under a single name is a decimal comma rather than two columns
                if width == 1 and line and unit == "column":
                    bad = complaint(line.strip(" \t"), line, ".", missing_tokens, may_miss)
                problems[number] = (1, *bad) if bad else _wrong_length(line, len(cells), unit)
        if len(problems) >= COUNTED:
            break
    if problems:
        raise _refusal(path, problems, dialect, fits_none=not good)


def _wrong_length(line: str, count: int, unit: str) -> Problem:
    """The complaint about a line that has too few or too many cells."""
    if not line.strip(" \t"):
        return 1, "the line is empty", ""
    return 1, f"{count} {unit}{'s' * (count != 1)} on this line", ""


def _refusal(
    path: Path, problems: dict[int, Problem], dialect: Dialect, fits_none: bool
) -> DataError:
    """The error for all bad lines: the first few in full, the rest as a count."""
    width = dialect.width
    expected = f"{width} number{'s' * (width != 1)} a line"
    remedy = "Correct these lines, or delete them."
    if dialect.header is not None:
        expected = f"{width} column{'s' * (width != 1)} as in the header, with numbers"
        remedy += " --columns leaves a whole column out." * (width > 1)
        if fits_none and len(problems) > 1 and width > 1:
            remedy = (
                "No line has as many columns as the header has names: correct the header. If the "
                "first column has no name, write one before the others."
            )
    numbers = sorted(problems)
    first = [(number, *problems[number]) for number in numbers[:SHOWN]]
    every = list(dict.fromkeys(problems[number][2] for number in numbers))
    words = [each.removeprefix(DECLARE) for each in every if each.startswith(DECLARE)]
    shown_remedies = dict.fromkeys(problem[3] for problem in first if problem[3])
    remedies = [each for each in shown_remedies if not each.startswith(DECLARE)] or [remedy]
    if 0 < len(words) <= MOST_WORDS and (
        dialect.header or not any(map(str.isalpha, "".join(words)))
    ):
        what_if = "it means a missing value" if len(words) == 1 else "they mean missing values"
        remedies.append(f"If {what_if}: {DECLARE}{' '.join(words)}.")
    line, column, what, _ = first[0]
    message = f"{printable(path)}:{line}:{column}: {what} (expected {expected})."
    if len(numbers) > 1:
        shown = (
            f"First {SHOWN} of {len(numbers):,}" if len(numbers) > SHOWN else f"All {len(numbers)}"
        )
        if len(numbers) >= COUNTED:
            shown = f"First {SHOWN} of at least {COUNTED:,}"
        message += f" {shown} bad lines: "
        message += "; ".join(f"{line}:{column} {what}" for line, column, what, _ in first) + "."
    return DataError(" ".join([message, *remedies]))


def lengths(data: bytes, dialect: Dialect) -> Counter[int]:
    """How many lines have how many cells."""
    return Counter(
        len(split(line, dialect.separator))
        for _, block in lines(data, dialect)
        for line in block.decode().split("\n")
    )
