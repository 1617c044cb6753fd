"""The form of data: what their file or frame looked like, so that samples can look the same."""

import dataclasses
import re
import sys
import types
from dataclasses import dataclass
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

LAYOUTS = ("series", "rows", "long")
SOURCES = ("text", "csv", "parquet", "xlsx", "npy", "array", "frame")
KINDS = ("continuous", "grid", "yes/no", "constant", "copy", "count", "categorical")
TIMES = ("datetime", "epoch s", "epoch ms", "epoch us", "epoch ns", "number")
TABLES = ("csv", "parquet", "xlsx", "frame")  # sources whose columns have names
DTYPE = re.compile(
    r"bool|boolean|([Ff]loat|[Uu]?[Ii]nt)(8|16|32|64)|(bool|float|double|u?int\d+)\[pyarrow\]"
)
LONGEST = 100_000  # characters of a text, entries of a list
MOST_DECIMALS = 400
MOST_CATEGORIES = 50


@dataclass(frozen=True)
class ColumnForm:
    """A learned column.

    Args:
      name: as in the input.
      dtype: numpy's or pandas' name of it.
      decimals: the most that are in the text, or the decimal grid's; None: as many as needed.
      low, high: of the data.
      grid: the step of which all values are multiples; None where there is none.
      atoms: (value, share) of at most 3 values that hold more than 5% each, largest share first;
        none for grids of few values.
      missing: share of missing cells as read.
      kind: continuous, grid, yes/no, constant, copy, count or categorical.
      notes: what else there is to say.
      categories: the words of a column whose values are codes 0, 1, ...; for yes/no as they are
        written, where that is not False and True; () of numbers.
    """

    name: str
    dtype: str
    decimals: int | None
    low: float
    high: float
    grid: float | None
    atoms: tuple[tuple[float, float], ...]
    missing: float
    kind: str
    notes: tuple[str, ...]
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class IdForm:
    """A column that names the sequence: dtype int64 or str."""

    name: str
    dtype: str


@dataclass(frozen=True)
class TimeForm:
    """The time index.

    Args:
      name: as in the input.
      kind: datetime, epoch s, epoch ms, epoch us, epoch ns, or number.
      step: seconds of datetime, units of the number else.
      rule: pandas' offset alias where the step is one of the calendar ("MS", "D", "h"), "" else.
      start: the first time: seconds since 1970 UTC, or the number.
      format: of strftime, as in the file; "" where there is none.
      timezone: "" where there is none.
    """

    name: str
    kind: str
    step: float
    rule: str
    start: float
    format: str
    timezone: str


@dataclass(frozen=True)
class Form:
    """What the input looked like.

    Args:
      source: text, csv, parquet, xlsx, npy, array or frame.
      layout: series (a row a step), rows (a row a sequence) or long (a row a step, with ids).
      columns: the D learned columns, in the order of x_NTD.
      order: all columns of the input in its order: ids, time and what is left out, too.
      ids: columns that name the sequence.
      time: its index, None where there is none.
      left_out: (column, why) of columns that are not learned.
      separator, decimal: of text.
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
        """Plain lists, dicts, numbers and texts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """The inverse of `to_json`; raises ValueError on anything else.

        >>> form = Form("npy", "rows", (), ("x",), (), None, (("day", "words"),), "", ".")
        >>> Form.from_json(form.to_json()) == form
        True
        """
        form: Self = _decoded(cls, stored, "form")
        for wrong, words in (
            (form.source not in SOURCES, "its source is unknown"),
            (form.layout not in LAYOUTS, "its layout is unknown"),
            (form.decimal not in (".", ","), "its decimal point is none"),
            (any(each.kind not in KINDS for each in form.columns), "a column's kind is unknown"),
            (any(not _is_decimals(each.decimals) for each in form.columns), "decimals are none"),
            (
                any(each.grid is not None and not each.grid > 0 for each in form.columns),
                "a grid is not above 0",
            ),
            (any(len(each.atoms) > 3 for each in form.columns), "there are too many atoms"),
            (not all(map(_has_categories, form.columns)), "categories are none"),
            (any(each.dtype not in ("int64", "str") for each in form.ids), "an id's dtype is none"),
            (form.time and form.time.kind not in TIMES, "the kind of time is unknown"),
            (form.time and not form.time.step > 0, "the step of time is not above 0"),
        ):
            if wrong:
                raise ValueError(f"the form of the data is damaged: {words}")
        return form


def known_dtype(name: str) -> str:
    """A dtype that numbers can be given, float64 where this is none ("object", "category").

    >>> known_dtype("Int8"), known_dtype("object")
    ('Int8', 'float64')
    """
    return name if DTYPE.fullmatch(name) else "float64"


def _is_decimals(value: int | None) -> bool:
    return value is None or 0 <= value <= MOST_DECIMALS


def _has_categories(column: ColumnForm) -> bool:
    """Whether there are as many categories as the kind of the column has."""
    number = len(column.categories)
    if len(set(column.categories)) < number or number > MOST_CATEGORIES:
        return False
    return number >= 2 or column.kind != "categorical"


def _decoded(kind: Any, stored: Any, where: str) -> Any:
    """`stored`, which JSON gave, as the kind that an annotation names; ValueError where it is none.

    >>> _decoded(tuple[float, ...], [1, 2.5], "x"), _decoded(int | None, None, "x")
    ((1.0, 2.5), None)
    """
    if get_origin(kind) in (Union, types.UnionType):
        return None if stored is None else _decoded(get_args(kind)[0], stored, where)
    if get_origin(kind) is tuple and isinstance(stored, list | tuple):
        kinds = get_args(kind)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(stored)
        if len(stored) == len(kinds) <= LONGEST:
            return tuple(_decoded(*pair, where) for pair in zip(kinds, stored, strict=True))
    elif dataclasses.is_dataclass(kind) and isinstance(stored, dict):
        hints = get_type_hints(kind)
        if set(stored) == set(hints):
            make: Any = kind
            return make(**{n: _decoded(hint, stored[n], n) for n, hint in hints.items()})
    elif kind is float and isinstance(stored, int | float) and not isinstance(stored, bool):
        if abs(stored) <= sys.float_info.max:
            return float(stored)
    elif kind in (int, str) and type(stored) is kind and (kind is int or len(stored) <= LONGEST):
        return stored
    raise ValueError(f"the form of the data is damaged: {where} is no {kind}")
