"""Tables as people bring them: text, parquet, xlsx and frames -> columns of numbers, dates, words.

pandas reads; what it accepts is checked, and where a cell is not what its column is, `cells` finds
the place. pandas is imported here and in `times` alone, and only where a table is read.
"""

import dataclasses
import functools
import io
import re
import unicodedata
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_jax.data import amounts, cells, dialect, missing, texts
from seqgan_jax.data.cells import BLANK, NUMBER, Dialect, quote
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import MOST_CATEGORIES
from seqgan_jax.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

LONGEST_NAME = 200
CHUNK_BYTES = 1 << 23
BLOCK_BYTES = 1 << 22
EXTRA = "pip install 'seqgan-jax[tables]'"
YES_NO = ({"true": 1.0, "false": 0.0}, {"yes": 1.0, "no": 0.0})
LIKE_NUMBER = re.compile(  # a number, if perhaps a bad one
    r"[+-]?(?:[\d_,]+\.?[\d_,]*|\.[\d_,]+)(?:[eE][+-]?\d+)?|[+-]?(?:inf|infinity|nan|null)",
    re.ASCII | re.IGNORECASE,
)
# All but control characters, some of which pandas takes for blanks.
_PLAIN = bytes({9, 10, *range(32, 256)})
# "+1.5 " with a blank after it: pandas 3.1 rounds it otherwise than without.
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_PLUS_BLANK = re.compile(rb"(?<![eE])\+[0-9.eE+-]*[ \t]")
_BAD_QUOTE = {
    s: re.compile(
        rb'[^"\n \t' + re.escape(s).encode() + rb']"[^"\n \t' + re.escape(s).encode() + b"]"
    )
    for s in (",", ";", "|", "\t")
}


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a table.

    Args:
      name: "" where it has none.
      kind: "number", "yes/no", "words", "mixed" (numbers among words) or "empty"; "category" where
        `categories.with_codes` made codes of words.
      values: float64 of numbers, yes/no and category, NaN where missing; else objects, None where
        missing.
      exact: the whole numbers as int64, where they are all whole and none is missing.
      dtype: pandas' name of its type.
      notes: how it was read.
      categories: of a category (and pandas' own); how no and yes are written, if not False, True.
    """

    name: str
    kind: str
    values: np.ndarray
    dtype: str
    exact: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """A table that is read, and what is needed to tell where something in it is.

    Args:
      columns: in their order.
      source: "text", "csv", "parquet", "xlsx", "frame", "npy" or "array".
      shown: the file's name for messages.
      has_names: whether its columns have names of their own.
      notes: what was seen.
      dialect: of text.
      check: raises DataError where one of these columns is not all numbers; for text.
    """

    columns: tuple[Column, ...]
    source: str
    shown: str
    has_names: bool
    notes: tuple[str, ...] = ()
    dialect: Dialect | None = None
    check: Callable[[Sequence[int], bool], None] | None = None

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(column.name for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns[0].values)

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        if self.dialect is None:
            return f"{self.shown}, row {row + 1}"
        return f"{self.shown}:{self.dialect.first + row}:1"

    def find(self, name: str, flag: str) -> int:
        """The number of a column by its name, or by its place from 1 where columns have no names.

        Raises DataError where there is none.
        """
        if name and name in self.names:
            return self.names.index(name)
        if not self.has_names and name.isdigit() and 0 < int(name) <= len(self.columns):
            return int(name) - 1
        listed = ", ".join(quote(each) for each in self.names[:20] if each)
        listed += ", ..." * (len(self.names) > 20)
        where = f"{self.shown}:{self.dialect.first - 1}:1" if self.dialect else self.shown
        raise DataError(
            f"{where}: there is no column {quote(name)} (the columns are {listed}). Correct {flag}."
        )


# ------------------------------------------------------------------ text


def read(path: Path, missing_values: Sequence[str] = ()) -> Table:
    """The table of a file, by its suffix; raises DataError where it is none."""
    return READERS.get(path.suffix.lower(), read_text)(path, missing_values)


def read_text(path: Path, missing_values: Sequence[str] = ()) -> Table:
    """The table of a text or CSV file, plain or .gz.

    Raises:
      DataError: it cannot be read as a table; says the place.
    """
    return of_text(path, texts.read_text(path), missing_values)


def of_text(path: Path, data: bytes, missing_values: Sequence[str] = ()) -> Table:
    """The table of a text, from `texts.read_text`.

    >>> table = of_text(Path("x.csv"), b"day,x\\nMon,1.5\\nTue,2")
    >>> [(column.name, column.kind) for column in table.columns]
    [('day', 'words'), ('x', 'number')]
    """
    form = dialect.find(path, data)
    _check_header(path, form)
    declared = frozenset(token.lower() for token in missing_values)
    numbers = missing.declared(declared)

    def is_good(block: bytes, wanted: Sequence[int], may_miss: bool) -> bool:
        frame = _fast(block, dataclasses.replace(form, start=0), declared)
        if frame is None:
            return False
        some = [frame[d] for d in wanted]
        return all(
            each.dtype.kind in "iuf"
            and (np.isfinite(each) | (each.isna() & may_miss)).all()
            and not each.isin(numbers).any()
            for each in some
        )

    def check(wanted: Sequence[int], may_miss: bool) -> None:
        cells.check(
            path,
            data,
            form,
            wanted,
            declared,
            may_miss,
            lambda block: is_good(block, wanted, may_miss),
        )

    frame = _fast(data, form, declared)
    if frame is None:
        import pandas as pd

        rows = None
        if form.width <= 10_000_000 // (1 + data.count(b"\n", form.start)) + 100:
            rows = cells.tokens(data, form)
        if rows is None and form.header is None:
            rows = _ragged(data, form, declared)
        if rows is None:
            check([] if form.header else range(form.width), True)
            raise DataError(f"{printable(path)}: cannot be read as a table. Correct the file.")
        form = dataclasses.replace(form, width=max(map(len, rows)))
        padded = [[*row, *[None] * (form.width - len(row))] for row in rows]
        frame = pd.DataFrame(padded, dtype=object)
    names = form.header or numbered_names(form.width)
    columns = [
        _of_text(c, d, data, form)
        for d, c in enumerate(_columns(names, frame, declared, form.decimal))
    ]
    del frame
    notes = list(form.notes)
    kept = _without_empty_end(columns, form) if form.header else columns
    if gone := len(columns[0].values) - len(kept[0].values):
        notes.append(f"left out {gone:,} empty line{'s' * (gone > 1)} at the end")
    suffixes = [each for each in path.suffixes if each.lower() != ".gz"]
    is_csv = form.header is not None or suffixes[-1:] == [".csv"]
    return Table(
        tuple(kept),
        "csv" if is_csv else "text",
        printable(path),
        form.header is not None,
        tuple(notes),
        form,
        check,
    )


def _ragged(data: bytes, form: Dialect, declared: Set[str]) -> list[list[str]] | None:
    """Lines of numbers, or of what is missing, of many lengths, of which none has half; None where
    they are not that."""
    lengths = cells.lengths(data, form)
    total = sum(lengths.values())
    if 2 * max(lengths.values()) > total or total < 10 or max(lengths) > 100 * min(lengths):
        return None
    rows = [
        [token for _, token in cells.split(line, form.separator)]
        for _, block in cells.lines(data, form)
        for line in block.decode().split("\n")
    ]
    tokens = {token for row in rows for token in row}
    good = all(NUMBER.fullmatch(each) or missing.is_missing(each, declared) for each in tokens)
    return rows if good else None


def numbered_names(width: int) -> tuple[str, ...]:
    """Names for columns that have none.

    >>> numbered_names(1), numbered_names(2)
    (('x',), ('x1', 'x2'))
    """
    return ("x",) if width == 1 else tuple(f"x{d + 1}" for d in range(width))


def _check_header(path: Path, form: Dialect) -> None:
    """Refuse names that are there twice, or would disturb a terminal, a report or a file."""
    where = f"{printable(path)}:{form.first - 1}:1"
    names = form.header or ()
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{where}: two columns are called {quote(twice[0])}. Rename one.")
    check_names(names, where)


def check_names(names: Sequence[str], where: str) -> None:
    """Refuse names that would disturb a terminal, a report or a file."""
    for name in names:
        if len(name) > LONGEST_NAME:
            raise DataError(
                f"{where}: the column name {quote(name)} has {len(name):,} "
                f"characters (at most {LONGEST_NAME} are wanted). Shorten it."
            )
        if any(unicodedata.category(character)[0] == "C" for character in name):
            raise DataError(
                f"{where}: the column name {quote(name)} has control characters. Rename it."
            )


@functools.cache
def _missing_spellings() -> tuple[str, ...]:
    """The usual tokens in the ways in which they are written, but none: it may be a word."""
    found = {""}
    for token in missing.TOKENS - {missing.NONE} | {"-nan", "+nan"}:
        found |= {token, token.upper(), token.title(), token.capitalize()}
    return tuple(sorted(found | {"NaN", "-NaN", "+NaN", "NaT", "N/a"}))


def _fast(data: bytes, form: Dialect, declared: frozenset[str]) -> "pd.DataFrame | None":
    """Columns by their number as pandas reads them, None where the text is not plainly a table."""
    import pandas as pd

    rows = data.count(b"\n", form.start) + 1
    if rows * form.width > len(data) - form.start + 1 or not _is_regular(data, form, rows):
        return None
    line = max(1, (len(data) - form.start) // rows)
    words = [token for token in declared if not missing.declared([token])]
    options: dict[str, Any] = {
        "sep": r"\s+" if form.separator == BLANK else form.separator,
        "decimal": form.decimal,
        "header": None,
        "names": range(form.width),
        "index_col": False,
        "skip_blank_lines": False,
        "skipinitialspace": True,
        "keep_default_na": False,
        "na_values": [*_missing_spellings(), *words],
        "chunksize": max(1, CHUNK_BYTES // line),
        "encoding": "utf-8",
    }

    def read(**more: Any) -> pd.DataFrame:
        file = io.BytesIO(data)
        file.seek(form.start)
        with pd.read_csv(file, **options | more) as chunks:
            return chunks_together(chunks)

    def chunks_together(chunks: Any) -> pd.DataFrame:
        parts = list(chunks)
        dtypes = np.array([part.dtypes.to_numpy() for part in parts], object)
        odd = np.flatnonzero((dtypes != dtypes[0]).any(axis=0)).tolist()
        mixed = [d for d in odd if len({_family(part[d]) for part in parts} - {"empty"}) > 1]
        if mixed:
            return read(dtype=dict.fromkeys(mixed, object))
        return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read()
    except (ValueError, pd.errors.ParserWarning, OverflowError):  # ParserError is a ValueError
        return None
    return frame if len(frame) == rows else None


def _family(column: "pd.Series") -> str:
    """What pandas took a piece of a column for."""
    if column.isna().all():
        return "empty"
    return "number" if column.dtype.kind in "iuf" else str(column.dtype)


def _is_regular(data: bytes, form: Dialect, rows: int) -> bool:
    """Whether there are as many separators as a table of that width has, and nothing odd.

    pandas refuses lines that are too long; with the count right, none is too short either.
    """
    blocks = range(form.start, len(data), BLOCK_BYTES)
    if any(data[i : i + BLOCK_BYTES].translate(None, _PLAIN) for i in blocks):
        return False
    has_quotes = data.find(b'"', form.start) >= 0
    if form.separator == BLANK:
        if has_quotes or data.find(b",", form.start) >= 0:
            return False
        count, before = 0, True
        for i in blocks:
            blank = np.frombuffer(data, np.uint8, min(BLOCK_BYTES, len(data) - i), i) <= 32
            count += int(np.count_nonzero(blank[:-1] & ~blank[1:])) + int(before and not blank[0])
            before = bool(blank[-1])
        return count == rows * form.width
    if data.find(b"+", form.start) >= 0 and _PLUS_BLANK.search(data, form.start):
        return False
    mark = form.separator.encode()
    if not has_quotes:
        return data.count(mark, form.start) == rows * (form.width - 1)
    if _BAD_QUOTE[form.separator].search(data, form.start):
        return False
    count, inside = 0, np.uint8(0)
    for i in blocks:
        c = np.frombuffer(data, np.uint8, min(BLOCK_BYTES, len(data) - i), i)
        within = np.bitwise_xor.accumulate((c == ord('"')).view(np.uint8)) ^ inside
        if np.any((c == ord("\n")) & (within == 1)):
            return False
        count += int(np.count_nonzero((c == mark[0]) & (within == 0)))
        inside = within[-1]
    return inside == 0 and count == rows * (form.width - 1)


# ------------------------------------------------------------------ columns


def _columns(
    names: Sequence[str], frame: "pd.DataFrame", declared: frozenset[str], decimal: str
) -> list[Column]:
    """Every column; at once where all are floating-point numbers, of which there may be many."""
    if len(names) > 1 and set(frame.dtypes) == {np.dtype(float)} and not declared:
        x_LD = frame.to_numpy()
        gone = np.isnan(x_LD).all(axis=0)
        kinds = ["empty" if is_out else "number" for is_out in gone]
        triples = zip(names, kinds, x_LD.T, strict=True)
        return [Column(name, kind, x_L, "float64") for name, kind, x_L in triples]
    pairs = zip(names, frame.items(), strict=True)
    return [_column(name, each, declared, decimal) for name, (_, each) in pairs]


def _column(
    name: str, read: "pd.Series", declared: frozenset[str] = frozenset(), decimal: str = "."
) -> Column:
    """A column of pandas as numbers, yes and no, dates or words."""
    import pandas as pd

    dtype = str(read.dtype)
    if isinstance(read.dtype, pd.CategoricalDtype):
        return _of_category(name, read, declared, decimal)
    if read.dtype == bool or (str(read.dtype) == "boolean"):
        values = read.astype("boolean").to_numpy(np.float64, na_value=np.nan)
        return Column(name, "yes/no", values, "bool")
    if getattr(read.dtype, "kind", "O") in "iuf":
        gaps = read.isna().to_numpy()
        exact = None
        if read.dtype.kind in "iu" and not gaps.any():
            exact = read.to_numpy()
        plain = read.dtype == np.float64
        values = read.to_numpy() if plain else read.to_numpy(np.float64, na_value=np.nan)
        numbers = missing.declared(declared)
        if numbers:
            out = np.isin(values, list(numbers))
            if out.any():
                values, exact = np.where(out, np.nan, values), None
        if np.isnan(values).all():
            return Column(name, "empty", values, dtype)
        return Column(name, "number", values, dtype.lower(), exact)
    if getattr(read.dtype, "kind", "O") in "Mm":
        return Column(name, "words", read.to_numpy(object, na_value=None), dtype)
    return _of_words(name, read, declared, decimal)


def _of_category(name: str, read: "pd.Series", declared: frozenset[str], decimal: str) -> Column:
    """A category of pandas: words, where there are few of them; else what its categories are."""
    kind = read.cat.categories.dtype.kind
    is_number = kind in "iuf"
    plain = read.astype(read.cat.categories.dtype if is_number or kind == "b" else object)
    found = _column(name, plain, declared, decimal)
    words = [str(each) for each in read.cat.categories]
    is_text = all(isinstance(each, str) for each in read.cat.categories)
    if len(words) > MOST_CATEGORIES or not (is_text or is_number) or found.kind == "empty":
        return found
    if is_text:
        none = frozenset({missing.NONE}) - declared
        gone = [missing.is_missing(w, declared) and w.lower() not in none for w in words]
        values = np.array([*(None if g else w for g, w in zip(gone, words, strict=True)), None])
        found = dataclasses.replace(
            found, kind="words", values=values[read.cat.codes.to_numpy()], exact=None
        )
    notes = _about_none(words, declared)
    dtype = "ordered " * read.cat.ordered + "category" + f" of {plain.dtype}" * is_number
    return dataclasses.replace(found, dtype=dtype, categories=tuple(words), notes=notes)


def _of_words(name: str, read: "pd.Series", declared: frozenset[str], decimal: str) -> Column:
    """A column of text: numbers that are written in other ways, yes and no, or words."""
    found = read.to_numpy(object, na_value=None)
    if all(v is None or type(v) in (int, float) for v in found):  # beyond 64 bits, or mixed
        values = np.array([np.nan if v is None else _float(v) for v in found])
        kind = "empty" if np.isnan(values).all() else "number"
        return Column(name, kind, values, "float64")
    if all(v is None or type(v) is bool for v in found):
        values = np.array([np.nan if v is None else float(v) for v in found])
        return Column(name, "yes/no" if (values == values).any() else "empty", values, "bool")
    codes, unique = factorise(found)
    tokens = [str(each).strip(" \t") for each in unique]
    longest = 64 if declared else missing.LONGEST
    gone = [len(token) <= longest and missing.is_missing(token, declared) for token in tokens]
    words = [token for token, is_gone in zip(tokens, gone, strict=True) if not is_gone]

    def spread(values: Sequence[Any], none: Any, kind: type) -> np.ndarray:
        lookup: np.ndarray = np.array([*values, none], kind)
        lookup[[i for i, is_out in enumerate(gone) if is_out]] = none
        return np.asarray(lookup[codes])

    if not words:
        return Column(name, "empty", np.full(len(found), np.nan), "float64")
    kept: list[float]
    if all(NUMBER.fullmatch(cells.plain(token, decimal)) for token in words):
        kept = [
            0.0 if is_gone else float(cells.plain(token, decimal))
            for token, is_gone in zip(tokens, gone, strict=True)
        ]
        values = spread(kept, np.nan, float)
        is_whole = not np.isnan(values).any() and all(map(_WHOLE.fullmatch, words))
        exact = values.astype(int) if is_whole else None
        return Column(name, "number", values, "int64" if is_whole else "float64", exact)
    for pair in YES_NO:
        if words[0].lower() in pair and {word.lower() for word in words} <= set(pair):
            kept = [pair.get(token.lower(), 0.0) for token in tokens]
            values = spread(kept, np.nan, float)
            return Column(name, "yes/no", values, str(read.dtype), categories=_spelled(words))
    times = np.bincount(codes[codes >= 0], minlength=len(tokens)).tolist()
    read_as, notes = amounts.read(tokens, times, gone, decimal)
    if read_as is not None:
        return Column(name, "number", spread(read_as, np.nan, float), "float64", None, notes)
    mixed = any(map(LIKE_NUMBER.fullmatch, words))
    if missing.NONE not in declared:
        gone = [
            is_out and t.lower() != missing.NONE for t, is_out in zip(tokens, gone, strict=True)
        ]
    values = spread(list[Any](tokens), None, object)
    left = [token for token, is_out in zip(tokens, gone, strict=True) if not is_out]
    left = [token for token in left if token.isalnum()] if mixed else left  # marks are asked about
    kind, notes = "mixed" if mixed else "words", _about_none(left, declared)
    return Column(name, kind, values, str(read.dtype), None, notes)


def _about_none(words: Sequence[str], declared: frozenset[str]) -> tuple[str, ...]:
    """A note on "none" or a mark such as ?, which name nothing missing among words; no note where
    there is none."""
    none = frozenset({missing.NONE}) - declared
    odd = [word for word in words if word.lower() in none or not any(map(str.isalnum, word))]
    if not odd:
        return ()
    flag = odd[0] if odd[0].isalnum() else quote(odd[0])
    said = f"{quote(odd[0])} is one of its words; if it means a missing value: --missing-values"
    return (f"{said} {flag}",)


def _spelled(words: Sequence[str]) -> tuple[str, str]:
    """How no and yes are written, by words of which one may not be there.

    >>> _spelled(["YES"]), _spelled(["true", "false", "True"])
    (('NO', 'YES'), ('false', 'true'))
    """
    pair = next(pair for pair in YES_NO if words[0].lower() in pair)
    style = str.upper if words[0].isupper() else str.lower if words[0].islower() else str.title
    first = {word.lower(): word for word in reversed(words)}
    no, yes = (first.get(word, style(word)) for word in sorted(pair))
    return no, yes


def _of_text(column: Column, d: int, data: bytes, form: Dialect) -> Column:
    """A column of a text; with how its first row has what pandas took for False and True."""
    if column.kind == "yes/no" and column.categories and column.categories[0].lower() == "false":
        kept = () if column.categories == ("False", "True") else column.categories
        return dataclasses.replace(column, dtype="bool", categories=kept)
    if column.dtype == "object":
        return dataclasses.replace(column, dtype="str")
    if column.kind != "yes/no" or column.dtype != "bool":
        return column
    end = data.find(b"\n", form.start)
    line = data[form.start : end if end >= 0 else len(data)].decode()
    word = cells.split(line, form.separator)[d][1]
    if word.lower() not in YES_NO[0] or word in ("False", "True"):
        return column
    return dataclasses.replace(column, categories=_spelled([word]))


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return np.inf


def factorise(found: np.ndarray) -> tuple[np.ndarray, list[Any]]:
    """(number of the value in each row, -1 where it is missing; the values as they come)."""
    import pandas as pd

    try:
        codes, unique = pd.factorize(found)
    except TypeError:  # lists, which have no hash
        codes, unique = pd.factorize(np.array([str(each) for each in found], object))
    return codes, list(unique)


def _without_empty_end(columns: list[Column], form: Dialect) -> list[Column]:
    """Columns without the rows at the end in which every cell is empty."""
    if form.width < 2:
        return columns
    end = max(
        (int(np.flatnonzero(there)[-1]) + 1 for c in columns if (there := ~is_gone(c)).any()),
        default=0,
    )
    if end in (0, len(columns[0].values)):
        return columns
    return [dataclasses.replace(c, values=c.values[:end], exact=None) for c in columns]


def is_gone(column: Column) -> np.ndarray:
    """Which values are missing, [L] bool."""
    if column.values.dtype == np.float64:
        return np.isnan(column.values)
    import pandas as pd

    return np.asarray(pd.isna(column.values))


# ------------------------------------------------------------------ frames and their files


def read_parquet(path: Path, missing_values: Sequence[str] = ()) -> Table:
    """The table of a .parquet file; raises DataError where it is none or does not fit."""
    return of_frame(frame_of_parquet(path), "parquet", printable(path), missing_values)


def frame_of_parquet(path: Path) -> "pd.DataFrame":
    """What is in a .parquet file; raises DataError where it is none or does not fit."""
    import pandas as pd

    size = texts.check_is_file(path)
    shown = printable(path)
    with _explained(shown):
        import pyarrow.parquet

        meta = pyarrow.parquet.read_metadata(path)
        needed = max(size, 8 * meta.num_rows * meta.num_columns)
        _check_fits(needed, shown)
        return pd.read_parquet(path)


def parquet_header(path: Path) -> tuple[list[str], list[bool], list[int]]:
    """Names of the columns of a .parquet file, whether each holds numbers, rows of each group."""
    texts.check_is_file(path)
    with _explained(printable(path)):
        import pyarrow
        import pyarrow.parquet

        opened = pyarrow.parquet.ParquetFile(path)
        schema, meta = opened.schema_arrow, opened.metadata
        kinds = [
            pyarrow.types.is_integer(each) or pyarrow.types.is_floating(each)
            for each in schema.types
        ]
        rows = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        return list(schema.names), kinds, rows


def read_xlsx(path: Path, missing_values: Sequence[str] = ()) -> Table:
    """The table of the first sheet of an .xlsx file; raises DataError where it is none."""
    import pandas as pd

    size = texts.check_is_file(path)
    shown = printable(path)
    with _explained(shown):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > texts.LARGE and unpacked > texts.MOST_PACKED * size:
            raise DataError(
                f"{shown}: {size / 1e6:.1f} MB that unpack to {unpacked / 1e6:,.0f} MB are hardly "
                "data. If they are, save the sheet as .csv."
            )
        _check_fits(10 * unpacked, shown)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles that openpyxl does not know
            top = pd.read_excel(path, header=None, nrows=dialect.SAMPLE_LINES)
            above, more = _headers_of_sheet(top)
            skipped = [*range(above), *range(above + 1, above + 1 + more)]
            sheets = pd.read_excel(path, sheet_name=None, skiprows=skipped)
    name, frame = next(iter(sheets.items()))
    frame = frame.rename(columns=lambda each: "" if str(each).startswith("Unnamed: ") else each)
    table = of_frame(frame, "xlsx", shown, missing_values)
    notes = [*table.notes]
    if above:
        rows = f"row{'s' * (above > 1)} 1" + f" to {above}" * (above > 1)
        notes.append(f"skipped {rows}, above the table: {quote(str(top.iloc[0, 0]))}")
    if more:
        rows = f"row {above + 2}" + f" to {above + 1 + more}" * (more > 1)
        notes.append(f"skipped {rows}: further header lines, or units")
    if len(sheets) > 1:
        notes.append(f"the first of {len(sheets)} sheets is read, {quote(str(name))}")
    return dataclasses.replace(table, notes=tuple(notes))


def _headers_of_sheet(top: "pd.DataFrame") -> tuple[int, int]:
    """How many rows of a sheet are above its header, and how many under it hold no value yet."""
    filled = top.notna().to_numpy()
    is_word = top.map(lambda cell: isinstance(cell, str)).to_numpy()
    width = int(filled.sum(axis=1).max(initial=0))
    is_header = (2 * filled.sum(axis=1) > width) & (is_word == filled).all(axis=1)
    above = int(np.argmax(is_header)) if is_header.any() else 0
    if above > dialect.MOST_ABOVE or 2 * filled[0].sum() > width:
        above = 0
    more = 0
    while more < dialect.MOST_HEADERS and above + more + 3 < len(top):
        row, below = above + 1 + more, slice(above + 2 + more, None)
        values = (filled & ~is_word)[below].mean(axis=0) > 0.5 * filled[below].mean(axis=0)
        if not values.any() or not filled[row].any() or (filled & ~is_word)[row].any():
            break
        if not is_word[row, values].any():
            break
        more += 1
    return above, more


def _check_fits(needed: int, shown: str) -> None:
    if needed > texts.memory() // 2:
        raise DataError(
            f"{shown}: {needed / 1e9:.1f} GB of values, and this machine has "
            f"{texts.memory() / 1e9:.1f} GB of memory. Give fewer rows or columns."
        )


class _explained:
    """Raise DataError for whatever a damaged file or a missing library raises."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, DataError) or not isinstance(error, Exception):
            return
        if isinstance(error, ImportError):
            raise UsageError(
                f"{self.shown}: parquet and xlsx files need pyarrow and openpyxl, which are not "
                f"installed ({printable(str(error))}). Install them: {EXTRA}."
            ) from None
        reason = printable(str(error).partition("\n")[0]) or type(error).__name__
        raise DataError(
            f"{self.shown}: cannot be read as a table: {reason}. Save it again, or as .csv."
        ) from None


def of_frame(
    frame: "pd.DataFrame",
    source: str = "frame",
    shown: str = "x",
    missing_values: Sequence[str] = (),
) -> Table:
    """The table of a DataFrame; an index that is not 0, 1, ... becomes columns.

    Raises:
      DataError: it is empty, or two columns have one name.
    """
    import pandas as pd

    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis(["_".join(map(str, each)) for each in frame.columns], axis=1)
    has_names = not isinstance(frame.columns, pd.RangeIndex)
    counting = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    if not counting:
        levels = [
            str(name) if name is not None else "index" if frame.index.nlevels == 1 else f"level_{i}"
            for i, name in enumerate(frame.index.names)
        ]
        frame = frame.set_axis([str(each) for each in frame.columns], axis=1)
        indices = [frame.index.get_level_values(i) for i in range(frame.index.nlevels)]
        parts = [pd.Series(index, name=name) for index, name in zip(indices, levels, strict=True)]
        frame = pd.concat([*parts, frame.reset_index(drop=True)], axis=1)
    names = [str(name) for name in frame.columns]
    if len(frame) == 0 or not names:
        raise DataError(f"{shown}: the table is empty. Give a row for each step.")
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise DataError(f"{shown}: two columns are called {quote(twice[0])}. Rename one.")
    check_names(names, shown)
    declared = frozenset(token.lower() for token in missing_values)
    columns = tuple(_columns(names, frame, declared, "."))
    table = Table(columns, source, shown, has_names or not counting)

    def check(wanted: Sequence[int], may_miss: bool) -> None:
        _check_frame(table, wanted, may_miss)

    return dataclasses.replace(table, check=check)


def _check_frame(table: Table, wanted: Sequence[int], may_miss: bool) -> None:
    """Raise DataError at a cell of a frame that is no finite number."""
    for d in wanted:
        column = table.columns[d]
        where = f"{table.shown}, column {quote(column.name)}"
        if column.kind in ("words", "mixed"):
            bad = [v for v in column.values if v is not None and not NUMBER.fullmatch(str(v))]
            raise DataError(
                f"{where}: {quote(str(bad[0]))} is not a number. Correct it, or leave the column "
                "out: --columns."
            )
        infinite = np.isinf(column.values)
        gone = np.isnan(column.values)
        if infinite.any():
            raise DataError(
                f"{where}, row {int(np.flatnonzero(infinite)[0]) + 1}: the value is not finite. "
                "Correct it."
            )
        if gone.any() and not may_miss:
            raise DataError(
                f"{where}, row {int(np.flatnonzero(gone)[0]) + 1}: the value is missing (first "
                f"of {int(gone.sum())}). {missing.REMEDY}"
            )


def of_array(x_LD: np.ndarray, source: str, shown: str) -> Table:
    """The table of an array whose rows are steps or sequences."""
    names = numbered_names(x_LD.shape[1])
    columns = tuple(
        Column(name, "number", x, "float64") for name, x in zip(names, x_LD.T, strict=True)
    )
    table = Table(columns, source, shown, False)
    return dataclasses.replace(
        table, check=lambda wanted, may_miss: _check_frame(table, wanted, may_miss)
    )


READERS: Mapping[str, Callable[[Path, Sequence[str]], Table]] = {
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".xlsx": read_xlsx,
    ".xlsm": read_xlsx,
}
