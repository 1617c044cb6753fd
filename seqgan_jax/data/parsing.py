"""The fast path of reading: blocks of text that are plainly numbers, checked and read as a whole.

Strict before fast: every byte is checked against the grammar of a number, the rows against their
width. What passes is read by SciPy's Matrix Market reader (a correctly rounded parser in C++), so
that each value is bit for bit `float(token)`. What does not pass is left to `reading`, which says
why.

    number = [+-] (digits [. [digits]] | . digits) [(e|E) [+-] digits]
"""

import io
import re
from collections.abc import Sequence

import numpy as np

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
SHORT = 1 << 16  # below it float() is as fast, and SciPy's reader need not be imported

_BLANK, _COMMA, _LINE, _DIGIT, _SIGN, _POINT, _EXP, _OTHER = range(8)
_SEPARATORS = (_BLANK, _COMMA, _LINE)
_CLASS_OF = {" ": _BLANK, "\t": _BLANK, ",": _COMMA, "\n": _LINE, ".": _POINT}
_CLASS_OF |= dict.fromkeys("0123456789", _DIGIT) | dict.fromkeys("+-", _SIGN)
_CLASS_OF |= dict.fromkeys("eE", _EXP)
_CLASSES = bytes(_CLASS_OF.get(chr(i), _OTHER) for i in range(256))
_MAY_FOLLOW = {
    **dict.fromkeys(_SEPARATORS, (*_SEPARATORS, _DIGIT, _SIGN, _POINT)),
    _DIGIT: (*_SEPARATORS, _DIGIT, _POINT, _EXP),
    _SIGN: (_DIGIT, _POINT),
    _POINT: (*_SEPARATORS, _DIGIT, _EXP),
    _EXP: (_DIGIT, _SIGN),
}
_PAIRS = {8 * first + then for first, thens in _MAY_FOLLOW.items() for then in thens}
_GOOD_PAIRS = bytes(_PAIRS)
_TIGHT_PAIRS = bytes(_PAIRS - {8 * first + then for first in _SEPARATORS for then in _SEPARATORS})
# And a digit before every point, as in nearly every file.
_PLAIN_PAIRS = bytes(pair for pair in _TIGHT_PAIRS if pair % 8 != _POINT or pair // 8 == _DIGIT)
_TWICE = tuple(bytes(pair) for pair in ((_POINT, _POINT), (_EXP, _POINT), (_EXP, _EXP)))
_ALL_BUT_COLUMNS = bytes(set(range(8)) - {_COMMA, _LINE})
_TO_LINES = bytes.maketrans(b" \t,", b"\n\n\n")


def rows(block: bytes, width: int) -> np.ndarray | None:
    """[lines, width] float64 of a block with one row a line, None where it has anything odd.

    Commas separate numbers, or blanks do, the same in the whole block.

    >>> rows(b"1 2\\n3 4e1", 2).tolist(), rows(b"1 2\\n3", 2), rows(b"1,,2", 2)
    ([[1.0, 2.0], [3.0, 40.0]], None, None)
    """
    lines = block.count(b"\n") + 1
    classes = block.translate(_CLASSES)
    if bytes([_OTHER]) in classes or lines * width > len(block):
        return None
    c = np.frombuffer(b"".join([bytes([_LINE]), classes, bytes([_LINE])]), np.uint8)
    pairs = (8 * c[:-1] + c[1:]).tobytes()
    odd = pairs.translate(None, _PLAIN_PAIRS)
    if odd:
        if odd.translate(None, _GOOD_PAIRS):
            return None
        points = np.flatnonzero(c == _POINT)
        if not np.all((c[points - 1] == _DIGIT) | (c[points + 1] == _DIGIT)):
            return None
    marks = classes.translate(None, bytes([_DIGIT, _SIGN]))
    if any(pair in marks for pair in _TWICE):
        return None
    between = _COMMA if b"," in block else _BLANK
    if odd.translate(None, _TIGHT_PAIRS):  # blanks beside other separators
        inside = c > _LINE
        seen = np.where(inside[1:], (inside[1:] & ~inside[:-1]) * np.uint8(_DIGIT), c[1:])
        # Blanks are class 0 like the rest of a number; what is left is numbers, commas and lines.
        shape = seen.tobytes().translate(None, bytes([_BLANK]))
        row = ([_DIGIT, _COMMA] if between == _COMMA else [_DIGIT]) * (width - 1) + [_DIGIT, _LINE]
    else:  # one separator between numbers
        shape = marks.translate(None, bytes([_POINT, _EXP])) + bytes([_LINE])
        row = [between] * (width - 1) + [_LINE]
    if shape != bytes(row) * lines:
        return None
    plain = block.translate(_TO_LINES)
    if len(block) < SHORT:
        x = np.fromiter(map(float, plain.split()), np.float64, count=lines * width)
    else:
        x = _fast(plain, lines * width)
    return x.reshape(lines, width) if np.isfinite(x).all() else None


def _fast(plain: bytes, count: int) -> np.ndarray:
    """That many numbers, one a line, all of them checked."""
    from scipy.io import mmread

    characters = np.frombuffer(b"\n" + plain, np.uint8)
    if b"+" in plain:  # the parser knows no leading plus
        plus = np.flatnonzero(characters == ord("+"))
        characters = characters.copy()
        characters[plus[characters[plus - 1] == ord("\n")]] = ord("\n")
    head = f"%%MatrixMarket matrix array real general\n{count} 1".encode()
    x = mmread(io.BytesIO(head + characters.tobytes())).ravel()
    zeros = np.flatnonzero(x == 0)
    if len(zeros) and b"-" in plain:  # it loses the sign of a zero
        breaks = characters == ord("\n")
        first = characters[1:][~breaks[1:] & breaks[:-1]]
        x[zeros[first[zeros] == ord("-")]] = -0.0
    return x


def columns(
    block: bytes, width: int, wanted: Sequence[int], maybe: Sequence[int]
) -> tuple[np.ndarray, set[int]] | None:
    """Columns of a block of CSV -> ([lines, len(wanted)] float64, columns of `maybe` with numbers).

    None where a line has not `width` cells, a wanted cell is no number, or there are quotes.

    >>> columns(b"Mon,1,2\\nTue,3,4", 3, wanted=[2, 1], maybe=[0])
    (array([[2., 1.],
           [4., 3.]]), set())
    """
    lines = block.count(b"\n") + 1
    if b'"' in block or lines * width > len(block) + 1:
        return None
    block = block + b"\n"
    classes = block.translate(_CLASSES)
    borders = bytes([_COMMA] * (width - 1) + [_LINE]) * lines
    if classes.translate(None, _ALL_BUT_COLUMNS) != borders:
        return None
    with_numbers: set[int] = set()
    left = block
    if len(wanted) < width:
        c = np.frombuffer(classes, np.uint8)
        ends = np.flatnonzero(c - np.uint8(_COMMA) < 2)  # a comma or a line's end; 0 - 1 is 255
        starts = np.r_[0, ends[:-1] + 1]
        # No number: another character, or a sign inside (a date).
        odd = c == _OTHER
        odd[1:] |= (c[1:] == _SIGN) & (c[:-1] == _DIGIT)
        for d in maybe:
            cells = np.stack([starts[d::width], ends[d::width]], axis=1)
            is_odd = np.logical_or.reduceat(odd, cells.ravel())[::2]
            tokens = (block[start:end].decode().strip(" \t") for start, end in cells[~is_odd])
            if any(map(NUMBER.fullmatch, tokens)):
                with_numbers.add(d)
        # What is left has the wanted cells alone, a line break after the last of each line.
        chosen = np.isin(np.arange(width), wanted)
        kept = np.repeat(np.tile(chosen, lines), np.diff(np.r_[-1, ends]))
        characters = np.frombuffer(block, np.uint8).copy()
        if wanted:
            characters[ends[max(wanted) :: width]] = ord("\n")
        left = characters[kept].tobytes()
    x = rows(left[:-1], len(wanted)) if wanted else np.zeros((lines, 0))
    if x is None:
        return None
    return x[:, np.argsort(np.argsort(wanted))], with_numbers
