"""The form of an input: what its columns, ids and times were, so that samples come out alike."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MOST_COLUMNS = 10_000
SOURCES = ("text", "csv", "parquet", "xlsx", "npy", "array", "frame")
LAYOUTS = ("series", "rows", "long")
KINDS = ("continuous", "grid", "yes/no", "constant", "copy", "count")


@dataclass(frozen=True)
class ColumnForm:
    """One column that is learned."""

    name: str
    dtype: str  # numpy's or pandas' name: "float64", "float32", "int64", "bool", ...
    decimals: int | None  # most that were seen, or the grid's; None: as many as needed
    low: float  # of the data
    high: float
    grid: float | None  # the step of which all values are multiples (1.0, 0.1 ...)
    atoms: tuple[tuple[float, float], ...]  # (value, share) of values with more than 5% each
    missing: float  # share of missing cells as read
    kind: str  # one of KINDS
    notes: tuple[str, ...]


@dataclass(frozen=True)
class IdForm:
    """A column that says which sequence a line belongs to."""

    name: str
    dtype: str  # "int64" or "str"


@dataclass(frozen=True)
class TimeForm:
    """The time index."""

    name: str
    kind: str  # "datetime", "epoch s", "epoch ms", "epoch us", "epoch ns" or "number"
    step: float  # seconds for dates, else in units of the number
    rule: str  # pandas' offset alias where the step is a calendar one ("MS", "D"), "" else
    start: float  # first time: seconds since 1970 UTC, or the number
    format: str  # strftime's, as in the file; "" where there is none
    timezone: str  # "" where there is none


@dataclass(frozen=True)
class Form:
    """What an input looked like.

    Args:
      source: one of SOURCES.
      layout: one of LAYOUTS.
      columns: the D learned columns, in the order of x_NTD.
      order: every column of the input in its order.
      ids: columns that name the sequence.
      time: the time index, None where there is none.
      left_out: (column, why) of those that are not learned.
      separator: of text.
      decimal: of text, "." or ",".
    """

    source: str
    layout: str
    columns: tuple[ColumnForm, ...]
    order: tuple[str, ...]
    ids: tuple[IdForm, ...]
    time: TimeForm | None
    left_out: tuple[tuple[str, str], ...]
    separator: str
    decimal: str

    def to_json(self) -> dict[str, Any]:
        """As stored in config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Inverse of `to_json`; raises ValueError on anything else.

        >>> form = Form("npy", "rows", (), ("x",), (), None, (("day", "words"),), "", ".")
        >>> Form.from_json(form.to_json()) == form
        True
        """
        fields = _fields(cls, stored)
        for name in ("columns", "order", "ids", "left_out"):
            if not isinstance(fields[name], list | tuple) or len(fields[name]) > MOST_COLUMNS:
                raise ValueError(f"{name} must be a list of at most {MOST_COLUMNS}")
        fields["columns"] = tuple(_column(each) for each in fields["columns"])
        fields["ids"] = tuple(_typed(IdForm, each) for each in fields["ids"])
        fields["order"] = tuple(_text(each, "order") for each in fields["order"])
        fields["left_out"] = tuple(_pair(each) for each in fields["left_out"])
        if fields["time"] is not None:
            fields["time"] = _typed(TimeForm, fields["time"])
        for name, choices in (("source", SOURCES), ("layout", LAYOUTS), ("decimal", (".", ","))):
            if fields[name] not in choices:
                raise ValueError(f"{name} is none of {', '.join(choices)}")
        _text(fields["separator"], "separator")
        return cls(**fields)


def _fields(cls: Any, stored: Any) -> dict[str, Any]:
    """The fields of a dataclass as stored, as many as it has and of their names."""
    names = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(stored, Mapping) or set(stored) != names:
        raise ValueError(f"a {cls.__name__} must have {', '.join(sorted(names))}")
    return dict(stored)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number")
    return float(value)


def _pair(value: Any) -> tuple[str, str]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("left_out must hold pairs of a column and why")
    return _text(value[0], "left_out"), _text(value[1], "left_out")


def _typed(cls: Any, stored: Any) -> Any:
    """A dataclass of texts and numbers alone."""
    fields = _fields(cls, stored)
    for field in dataclasses.fields(cls):
        check = _number if field.type is float else _text
        fields[field.name] = check(fields[field.name], field.name)
    return cls(**fields)


def _column(stored: Any) -> ColumnForm:
    fields = _fields(ColumnForm, stored)
    for name in ("name", "dtype", "kind"):
        _text(fields[name], name)
    for name in ("low", "high", "missing"):
        fields[name] = _number(fields[name], name)
    if fields["kind"] not in KINDS:
        raise ValueError(f"kind is none of {', '.join(KINDS)}")
    decimals, grid = fields["decimals"], fields["grid"]
    if decimals is not None and (type(decimals) is not int or not 0 <= decimals <= 400):
        raise ValueError("decimals must be a whole number from 0 to 400")
    if grid is not None and not (_number(grid, "grid") > 0):
        raise ValueError("grid must be above 0")
    if not isinstance(fields["atoms"], list | tuple) or len(fields["atoms"]) > 3:
        raise ValueError("atoms must be a list of at most 3")
    if not isinstance(fields["notes"], list | tuple) or len(fields["notes"]) > 100:
        raise ValueError("notes must be a list")
    if any(not isinstance(each, list | tuple) or len(each) != 2 for each in fields["atoms"]):
        raise ValueError("atoms must hold pairs of a value and its share")
    fields["atoms"] = tuple(tuple(_number(v, "atoms") for v in each) for each in fields["atoms"])
    fields["notes"] = tuple(_text(each, "notes") for each in fields["notes"])
    return ColumnForm(**fields)
