"""How a text is written: separator, decimal mark, comments, header lines; from its first lines."""

import itertools
import re
from collections import Counter
from pathlib import Path

from seqgan_jax.data import missing
from seqgan_jax.data.cells import BLANK, NUMBER, Dialect, quote, split, unclosed
from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

SAMPLE_LINES = 200
SAMPLE_BYTES = 1 << 18
FEW_LINES = 4  # however long they are
SAMPLE_CHARACTERS = 1 << 12  # of a line that show which separator it has
MOST_HEADERS = 4
MOST_ABOVE = 20  # lines above a table
SEPARATORS = (";", "\t", "|", ",", BLANK)
_TIME = r"[\d:., +Z-]*([AaPp][Mm]|[A-Z]{3,4})?"  # no words: "22:00:00,fog" is two cells
_LIKE_DATE = re.compile(
    rf"\d{{1,4}}[-/.]\d{{1,2}}([-/.]\d{{1,4}})?([T ]{_TIME})?|\d{{1,2}}[:.]\d\d([:.]\d\d{_TIME})?"
)
_AMOUNT = re.compile(
    r"\(?[+-]?[$€£¥]? ?[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)? ?[KMBkmb%]? ?[$€£¥]?\)?"
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
# With a currency or unit, and what stands between thousands: € 1.510,00; 72,5 %; 15 100,00.
_DECIMAL_COMMA_AMOUNT = re.compile(
    r"\D{0,5}?([+-]?(?:\d{1,3}(?:[.'’ \u00a0\u202f\u2009]\d{3})+|\d+),\d+)(?:\s?[^\d\s]\D{0,11})?"
)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_SEPARATOR_LINE = re.compile(r'"?sep=."?', re.IGNORECASE)  # for Excel
_NAMED_NUMBER = re.compile(r"\D{0,20}?\d+")


def find(path: Path, data: bytes) -> Dialect:
    """The dialect of a text.

    Raises:
      DataError: it has only a header, a quote in it is not closed, or a comma may be a decimal mark
        or stand between thousands.
    """
    shown = printable(path)
    sample = _sample(data)
    notes, at, start = [], 0, 0

    def skip(count: int) -> None:
        nonlocal at, start
        start += sum(len(line.encode()) + 1 for line in sample[at : at + count])
        at += count

    comments = next((i for i, line in enumerate(sample) if not _is_comment(line)), len(sample))
    if comments == len(sample):
        raise DataError(f"{shown}:1:1: there are only comments. Put a line for each step.")
    if comments:
        notes.append(f"skipped {comments} comment line{'s' * (comments > 1)} before the data")
        skip(comments)
    separator = _separator(path, sample[at:])
    if above := _above(shown, sample[at:], separator):
        which = f"line {at + 1}" if above == 1 else f"lines {at + 1} to {at + above}"
        notes.append(f"skipped {which}, above the table: {quote(sample[at].strip())}")
        skip(above)
    header = _header(shown, sample[at:], at + 1, separator)
    if header is not None:
        width = len(header)
        if len(data) <= start + len(sample[at].encode()) + 1:
            raise DataError(
                f"{shown}:{at + 1}:1: there is only a header. Put a line for each step."
            )
        if all(map(_is_number, filter(None, header[1:]))) and len(header) > 2:
            first = [name for name in header if name][:2] if _is_number(header[0]) else header[1:3]
            notes.append(f"line {at + 1} ({', '.join(first)}, ...) is taken as a header")
        elif separator == BLANK:
            notes.append(f"line {at + 1} is taken as a header")
        skip(1)
        more = _more_headers(sample[at:], separator, width)
        if more:
            which = f"line {at + 1}" if more == 1 else f"lines {at + 1} to {at + more}"
            notes.append(f"skipped {which}: further header lines, or units")
            skip(more)
    else:  # the line that most are alike decides
        counts = Counter(len(split(line, separator)) for line in sample[at:])
        width = max(counts, key=lambda length: (length > 0, counts[length]))
    decimal = _decimal(shown, sample[at:], separator)
    return Dialect(separator, decimal, header, start, at + 1, width, tuple(notes))


def _sample(data: bytes) -> list[str]:
    """The first lines, whole."""
    lines: list[str] = []
    start = 0
    while start <= len(data) and len(lines) < SAMPLE_LINES:
        if start > SAMPLE_BYTES and len(lines) >= FEW_LINES:
            break
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        lines.append(data[start:end].decode("utf-8", "replace"))
        start = end + 1
    return lines


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#") or not line.strip()


def _separator(path: Path, sample: list[str]) -> str:
    """The separator with which most cells are numbers, dates or missing."""
    best, score = ("," if path.name.lower().removesuffix(".gz").endswith(".csv") else BLANK), 0.0
    lines = [line[:SAMPLE_CHARACTERS] for line in sample[1:] or sample]
    for separator in SEPARATORS:
        rows = [[cell for _, cell in split(line, separator)] for line in lines]
        width, number = Counter(map(len, rows)).most_common(1)[0]
        if width < 2 or number < 0.6 * len(rows):
            continue
        cells = [cell for row in rows for cell in row]
        good = sum(_is_value(cell, separator) for cell in cells) / len(cells)
        is_regular = {len(split(line, separator)) for line in sample} == {width}
        if separator == "\t" and is_regular and not any(map(_are_numbers, cells)):
            good += 1.0  # a blank within a cell is that of a date or of words
        if good + 0.001 > score:
            best, score = separator, good + 0.002
    if best == "," and any(
        "," not in line and len(line.split()) > 1 and all(map(_is_number, line.split()))
        for line in sample
    ):
        best = BLANK  # commas in some lines, blanks in others
    if score == 0 and "," in sample[0]:
        best = ","
    return best


def _above(shown: str, sample: list[str], separator: str) -> int:
    """How many lines with titles, or of what made the file, are above a header: of another width
    than the lines of the table."""
    widths = [len(split(line, separator)) for line in sample]
    usual, count = Counter(widths[1:] or widths).most_common(1)[0]
    first = int(_SEPARATOR_LINE.fullmatch(sample[0].strip()) is not None)
    if separator == BLANK or usual == 1 or usual not in widths[first : MOST_ABOVE + 1]:
        return 0
    last = max((i for i, width in enumerate(widths[:MOST_ABOVE]) if width != usual), default=-1)
    for above in (widths.index(usual, first), last + 1):
        if above > len(sample) - 3 or count < 0.6 * (len(sample) - above):
            continue
        cells = [[cell for _, cell in split(line, separator) if cell] for line in sample[:above]]
        if any(row and all(map(like_number, row)) for row in cells):
            continue  # a cut line of numbers
        if _header(shown, sample[above:], above + 1, separator) is not None:
            return above
    return 0


def _are_numbers(cell: str) -> bool:
    parts = cell.split()
    return len(parts) > 1 and all(map(_is_number, parts))


def _is_number(token: str) -> bool:
    return NUMBER.fullmatch(token) is not None


def _is_value(cell: str, separator: str) -> bool:
    """Whether a cell may be a number, a date, or missing."""
    if separator not in (",", BLANK) and _DECIMAL_COMMA.fullmatch(cell):
        return True
    if _is_number(cell) or missing.is_missing(cell) or _LIKE_DATE.fullmatch(cell):
        return True
    return separator != BLANK and _AMOUNT.fullmatch(cell) is not None


def like_number(token: str) -> bool:
    """Whether a cell was meant as a number, if perhaps a bad one."""
    lower = token.lower().lstrip("+-")
    return _is_number(token) or lower in {"inf", "infinity", "nan", "null"}


def counts_up(names: list[str]) -> bool:
    """Whether names are whole numbers that go up in equal steps, at least three.

    >>> counts_up(["0", "1", "2"]), counts_up(["1990", "1995", "2000"]), counts_up(["1", "3", "4"])
    (True, True, False)
    """
    if len(names) < 3 or not all(re.fullmatch(r"\d{1,9}", name) for name in names):
        return False
    numbers = [int(name) for name in names]
    step = numbers[1] - numbers[0]
    return step > 0 and all(b - a == step for a, b in itertools.pairwise(numbers))


def numbered(names: list[str]) -> bool:
    """Whether names are one word with numbers that count: 0, 1, ...; h00, h01, ...; V1, V2, ...

    >>> numbered(["h00", "h01", "h02"]), numbered(["a", "b", "c"]), numbered(["x1", "y2", "z3"])
    (True, False, False)
    """
    if not all(_NAMED_NUMBER.fullmatch(name) for name in names):
        return False
    words = {re.sub(r"\d+$", "", name) for name in names}
    return len(words) == 1 and counts_up([re.sub(r"^\D*", "", name) for name in names])


def _header(shown: str, sample: list[str], number: int, separator: str) -> tuple[str, ...] | None:
    """Names on a first line, None where it is a line of values."""
    line = sample[0]
    only = "," if separator == BLANK and '"' in line else separator
    names = [token for _, token in split(line, only)]
    if separator == BLANK and not any(map(like_number, names)):
        below = [len(split(each, separator)) for each in sample[1:]]
        cells = [cell for each in sample[1:] for _, cell in split(each, separator)]
        if sum(map(_is_number, cells)) < len(cells) / 2:
            return None  # words above words are no names
        if below and below.count(len(names)) < len(below) / 2:
            if Counter(below).most_common(1)[0][0] != 1:
                return None  # words above lines of another length are no names
            names = [line.strip()]  # one name of several words
    if [name.lower() for name in names[:2]] == ["sequence", "step"]:
        return tuple(names)
    wanted = list(itertools.dropwhile(lambda name: not like_number(name), names))
    wanted = wanted[: len(wanted) - (names[-1] == "")]  # a mark at the end of each line
    if counts_up(wanted) and sample[1:]:
        rows = [[cell for _, cell in split(each, only)] for each in sample[1:]]
        same = [row for row in rows if counts_up(row[-len(wanted) :])]
        if len(wanted) < len(names) and names[0].lower() not in ("nan", "null"):
            return tuple(names)  # a word or nothing above the first column
        whole = [all(re.fullmatch(r"[+-]?\d+", cell) for cell in row) for row in rows]
        return tuple(names) if not same and sum(whole) < len(whole) / 2 else None
    words = line.split() if len(names) == 1 else names
    if any(map(like_number, names)) or not any(names) or all(map(like_number, words)):
        return None
    if len(names) > 1 and _are_values(names, [split(each, only) for each in sample[1:]]):
        return None
    if column := unclosed(line, only):
        raise DataError(f"{shown}:{number}:{column}: a quote is not closed. Close it.")
    return tuple(names)


def _are_values(names: list[str], below: list[list[tuple[int, str]]]) -> bool:
    """Whether most words of a first line are also in their own columns, and there are no numbers
    below them."""
    rows = [[cell for _, cell in row] for row in below if len(row) == len(names)]
    again = [name in {row[d] for row in rows} for d, name in enumerate(names) if name]
    return 2 * sum(again) > len(names) and not any(map(_is_number, itertools.chain(*rows)))


def _more_headers(sample: list[str], separator: str, width: int) -> int:
    """How many lines under the header hold no value, above lines that do."""
    rows = [[cell for _, cell in split(line, separator)] for line in sample]
    rows = [row for row in rows if len(row) == width]
    if len(rows) < len(sample):
        return 0
    count = 0
    while count < min(MOST_HEADERS, len(rows) - 3):
        below = rows[count + 1 :]
        numeric = [
            d
            for d in range(width)
            if sum(_is_value(row[d], separator) and row[d] != "" for row in below)
            > 0.8 * len(below)
        ]
        row = rows[count]
        if not numeric or any(_is_value(row[d], separator) and row[d] for d in numeric):
            break
        if not any(row[d] for d in range(width)) or not all(
            row[d] == "" or not _is_value(row[d], separator) for d in range(width)
        ):
            break
        if len(numeric) < 2 and width > 1 and not any(row[d] for d in numeric):
            break
        count += 1
    return count


def _decimal(shown: str, sample: list[str], separator: str) -> str:
    """The decimal mark of a text whose separator is no comma."""
    if separator in (",", BLANK):
        return "."
    cells = [cell for line in sample for _, cell in split(line, separator)]
    commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell)]
    commas += [match[1] for cell in cells if (match := _DECIMAL_COMMA_AMOUNT.fullmatch(cell))]
    points = [cell for cell in cells if "." in cell and _is_number(cell)]
    if not commas or len(points) > len(commas):
        return "."
    if all(map(_THOUSANDS.fullmatch, commas)):
        raise DataError(
            f"{shown}: the comma in {quote(commas[0])} may be a decimal mark or stand between "
            "thousands: every number with a comma has three digits after it. Write 1.832 for the "
            "one, 1832 for the other."
        )
    return ","
