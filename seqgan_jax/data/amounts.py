"""Amounts: numbers with a currency, a unit, K, M, B, %, marks between thousands, or in brackets."""

import re
from collections.abc import Sequence

POWERS = {"": 0, "k": 3, "m": 6, "b": 9, "%": 0}
_AMOUNT = re.compile(
    r"(?P<open>\()?(?P<sign>[+-]?)(?P<before>[$€£¥]?) ?(?P<inner>[+-]?)"
    r"(?P<digits>(?:[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}|\d+)(?:\.\d+)?|\.\d+)"
    r" ?(?P<scale>[KMBkmb%]?) ?(?P<after>[$€£¥]?)(?P<close>\))?",
    re.ASCII,
)
_MARKS = {ord(","): ".", ord("."): ","}
_BLANKS = "\u00a0\u202f\u2009"  # that stay on their line
_THOUSANDS = re.compile(rf"(?<=\d)['’ {_BLANKS}](?=\d{{3}}(?!\d))", re.ASCII)
_UNIT = re.compile(rf"(?<=[0-9.])([ {_BLANKS}]?)([^\d\s.,;:()+-][^\d:]{{0,11}})\Z")
LEAST_WITH_UNIT = 10  # different numbers with letters right after them: fewer are names


def read(
    tokens: list[str], times: list[int], gone: list[bool], decimal: str
) -> tuple[list[float] | None, tuple[str, ...]]:
    """Numbers with thousands separators, a currency, K, M, B, % or in brackets for below 0, and a
    note; None where they are not."""
    values, marks, marked, plain = [], set(), 0, 0
    unit = _unit([token for token, is_gone in zip(tokens, gone, strict=True) if not is_gone])
    for written, count, is_gone in zip(tokens, times, gone, strict=True):
        token = written.translate(_MARKS) if decimal == "," else written
        number = token.removesuffix(unit).rstrip(" " + _BLANKS)
        has_unit, token = number != token, _THOUSANDS.sub(",", number)
        match = None if is_gone else _AMOUNT.fullmatch(token)
        if is_gone:
            values.append(0.0)
            continue
        if not match or bool(match["open"]) != bool(match["close"]):
            return None, ()
        signs = match["sign"] + match["inner"] + "-" * bool(match["open"])
        if len(signs) > 1:
            return None, ()
        scale, digits = match["scale"].lower(), match["digits"].replace(",", "")
        is_marked = bool(has_unit or scale or match["before"] or match["after"])
        marked, plain = marked + is_marked * count, plain + (not is_marked) * count
        marks |= {scale, match["before"] or match["after"], "(" if match["open"] else ""} - {""}
        marks |= {","} if "," in match["digits"] else set()
        values.append(float(f"{signs}{digits}e{POWERS[scale]}"))  # 1.15M is exact
    marks |= {unit} - {""}
    if not marks or ("%" in marks and len(marks - {",", "("}) > 1):
        return None, ()
    if marks - {",", "("} and (marked < plain or (unit and plain)):
        return None, ()  # a few odd cells
    words = {",": "thousands separators", "k": "K", "m": "M", "b": "B", "%": "% (in percent)"}
    words["("] = "brackets for below 0"
    return values, (f"read with {', '.join(words.get(mark, mark) for mark in sorted(marks))}",)


def alone(token: str, decimal: str) -> float | None:
    """The number that one token is, None where it is none.

    >>> alone("5 kg", "."), alone("5mm", "."), alone("1.000,5 °C", ","), alone("none", ".")
    (5.0, 5.0, 1000.5, None)
    """
    values, _ = read(
        [token] * LEAST_WITH_UNIT, [1] * LEAST_WITH_UNIT, [False] * LEAST_WITH_UNIT, decimal
    )
    return values[0] if values else None


def _unit(tokens: Sequence[str]) -> str:
    """The unit after numbers, "" where they have none or several.

    >>> _unit(["12.3 °C", "-1 °C"]), _unit(["1 kg", "1 g"]), _unit(["1a", "2a", "1.5%"])
    ('°C', '', '')
    """
    found = {match[2]: match[1] for token in tokens if (match := _UNIT.search(token))}
    if len(found) != 1:
        return ""
    (unit, blank), *_ = found.items()
    if unit.lower() in POWERS or unit in "$€£¥" or not unit.isprintable():
        return ""
    is_sure = blank or not unit[0].isalpha() or len(tokens) >= LEAST_WITH_UNIT
    return unit if is_sure else ""
