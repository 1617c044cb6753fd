"""Columns of words as categories: codes 0 to C - 1 in the place of C words, and back.

Shapes: L rows of a table.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_jax.data import amounts, missing, times
from seqgan_jax.data.cells import quote
from seqgan_jax.data.form import MOST_CATEGORIES, Form
from seqgan_jax.data.tables import LIKE_NUMBER, LONGEST_NAME, YES_NO, Column, Table, factorise
from seqgan_jax.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

SEEN = 5  # times that a word is there, on average
SEQUENCES = 2  # that have it, on average, where a column stays in each
FEW_TIMES = 10  # as 06:00, 14:00 and 22:00 of shifts; more are no words
MOST_LETTERS = 12  # different ones beside figures: the months
SHOWN = 4  # words in a message

_CLOCK = re.compile(r"\d{1,3}:[0-5]\d(:[0-5]\d)?(\.\d+)?")
_FIGURE = re.compile(r"[$€£¥<>~=]?\s?[+-]?\.?\d")

Like = tuple[tuple[str, tuple[str, ...]], ...]  # (column, its categories)


def words_of(column: Column) -> tuple[str, ...]:
    """The categories of a column: pandas' own in their order, else its words, sorted.

    >>> words_of(Column("sky", "words", np.array(["sun", "rain", None, "sun"], object), "str"))
    ('rain', 'sun')
    """
    if column.categories:
        return column.categories
    return tuple(sorted(map(str, factorise(column.values)[1])))


def are_words(column: Column) -> bool:
    """Whether a column has words, of which fewer than half may be numbers: A, B, 7.

    >>> are_words(Column("x", "mixed", np.array(["1", "2", "3", "?"] * 5, object), "str"))
    False
    """
    if column.kind != "mixed":
        return column.kind == "words"
    words = words_of(column)
    return 2 * sum(LIKE_NUMBER.fullmatch(word) is not None for word in words) < len(words)


def why_not(column: Column, sequence_L: np.ndarray | None = None, is_asked: bool = False) -> str:
    """Why a column of words is not learned as a category, "" where it is.

    It has 2 to 50 words, each there 5 times on average. A column that stays in each sequence has no
    more values than there are sequences: then 2 sequences on average have each word.

    Args:
      column: of words.
      sequence_L: the sequence of each row, where there are several.
      is_asked: whether --columns names it, which needs no repetition.
    """
    code_L, there = factorise(column.values)
    number = len(there)
    about = f"words ({number:,} different)"
    if any(not isinstance(word, str | float) for word in there):
        return "dates, or other things that are no words"
    if column.kind == "words" and _are_dates(column.name, there[:MOST_CATEGORIES]):
        return "dates, which are no categories"
    most = MOST_CATEGORIES if is_asked else FEW_TIMES
    if number > most and all(map(_CLOCK.fullmatch, words_of(column))):
        return f"times such as {there[0]}: write them as numbers, in seconds or hours"
    if number > MOST_CATEGORIES and _are_figures(there):
        return _not_read(there)
    if number > MOST_CATEGORIES:
        return f"{about}: at most {MOST_CATEGORIES} are learned, group them for that"
    if any(len(word) > LONGEST_NAME or _has_control(word) for word in words_of(column)):
        return "free text: it has line breaks, control characters or very long cells"
    if is_asked:
        return ""
    if number < 2:
        return f"words ({number} different)"
    is_there = code_L >= 0
    count = int(np.count_nonzero(is_there))
    if sequence_L is not None:
        pairs = len(np.unique((sequence_L * number + code_L)[is_there]))
        sequences = len(np.unique(sequence_L[is_there]))
        if pairs == sequences:  # it stays in each
            if number == sequences:
                return f"{about}, another one in each sequence: it names them"
            if sequences < SEQUENCES * number:
                return (
                    f"{about} that stay in each of {sequences:,} sequences: fewer than {SEQUENCES} "
                    "of these have each, on average. Group rare words, or name it in --columns"
                )
            return ""
    if count < SEEN * number and not column.categories:
        if number == count and _are_figures(there):
            return _not_read(there)
        return (
            f"{about}, each there {count / number:.3g} times on average; {SEEN} are needed to "
            "learn it. Group rare words, or name it in --columns"
        )
    return ""


def _are_figures(words: Sequence[str]) -> bool:
    """Whether words begin as numbers and times do, with few letters in all: units, months."""
    letters = {re.sub(r"[\W\d]+", "", word) for word in words}
    return len(letters) <= MOST_LETTERS and all(map(_FIGURE.match, words))


def _not_read(words: Sequence[str]) -> str:
    return (
        f"numbers or times in a form that is not read, such as {quote(str(words[0]))}: write times "
        "as 2021-02-28 13:00:00, numbers as 1.5"
    )


def _has_control(word: str) -> bool:
    return any(unicodedata.category(character)[0] == "C" for character in word)


def _are_dates(name: str, words: Sequence[str]) -> bool:
    there = [word for word in words if word not in missing.TOKENS]
    column = Column(name, "words", np.array(there, object), "str")
    try:
        return bool(there) and times.of_words(name, [column]) is not None
    except DataError:  # dates of which day and month cannot be told apart
        return True


def like(form: Form | None) -> Like | None:
    """The categories of data that others are compared with; None where there are no such data."""
    if form is None:
        return None
    return tuple((each.name, each.categories) for each in form.columns if each.categories)


def with_codes(table: Table, categories: Mapping[int, Sequence[str]]) -> Table:
    """The table with codes, float64, in these of its columns; raises DataError at another word.

    Args:
      table: as it was read.
      categories: words of the columns by their number.
    """
    if not categories:
        return table
    columns = list(table.columns)
    for d, words in categories.items():
        columns[d] = _coded(table, columns[d], tuple(words))
    return dataclasses.replace(table, columns=tuple(columns))


def _coded(table: Table, column: Column, words: tuple[str, ...]) -> Column:
    """A column of codes, NaN where a word is missing."""
    is_pair = tuple(word.lower() for word in words) in [tuple(sorted(pair)) for pair in YES_NO]
    if column.kind == "category" or (is_pair and column.kind in ("yes/no", "number")):
        return column  # codes already
    lookup = {_key(word): float(i) for i, word in reversed(list(enumerate(words)))}
    values = column.values
    if column.kind == "yes/no":
        spelled = np.array([*(column.categories or ("False", "True")), None], object)
        values = spelled[np.where(np.isnan(values), 2, values).astype(int)]
    elif column.kind == "number":
        decimal = table.dialect.decimal if table.dialect else "."
        lookup = {_number(word, decimal): code for word, code in lookup.items()}
    code_L, there = factorise(values)  # -1 of what is missing
    keys = there if column.kind == "number" else [_key(str(word)) for word in there]
    found = np.array([*(lookup.get(key, -1.0) for key in keys), np.nan])[code_L]
    if (found == -1).any():
        row = int(np.flatnonzero(found == -1)[0])
        raise DataError(
            f"{table.place(row)}: {quote(str(values[row]))} in column {quote(column.name)} is none "
            f"of its words in the data that it is compared with: {shown(words, 20)}. Correct it, "
            "or add it there."
        )
    return dataclasses.replace(column, kind="category", values=found, exact=None, categories=words)


def _key(word: str) -> str:
    return word.strip(" \t")


def _number(word: str, decimal: str) -> Any:
    """What a word is as a number, itself where it is none: "5 kg" was a word in old models."""
    try:
        return float(word)
    except ValueError:
        number = amounts.alone(word, decimal)
        return word if number is None else number


def shown(words: Sequence[str], most: int = SHOWN) -> str:
    """The first of the words, for messages.

    >>> shown(("fog", "rain", "sun"), 2)
    'fog, rain, ...'
    """
    return ", ".join(words[:most]) + ", ..." * (len(words) > most)


# ------------------------------------------------------------------ back to words


def decoded(codes_L: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """The words of codes, objects; a number between two becomes the nearest.

    >>> decoded(np.array([0.0, 1.2, 9.0]), ("no", "yes")).tolist()
    ['no', 'yes', 'yes']
    """
    return np.array(words, object)[nearest(codes_L, len(words)).astype(int)]


def nearest(codes: np.ndarray, number: int) -> np.ndarray:
    """The nearest of the codes 0 to number - 1; float64."""
    return np.clip(np.rint(codes), 0, number - 1)


def series(codes_L: np.ndarray, words: Sequence[str], dtype: str) -> "pd.Series":
    """Codes as a column of pandas: text, or a category with all of its categories.

    Args:
      codes_L: from 0.
      words: of the codes.
      dtype: as `tables` names it: "category", "ordered category of int64", "str", ...
    """
    import pandas as pd

    kind, _, inner = dtype.partition(" of ")
    if not kind.endswith("category"):
        is_known = kind in ("str", "object") or kind.startswith(("string", "large_string"))
        return pd.Series(decoded(codes_L, words)).astype(kind if is_known else "object")
    values = pd.Index(list(words), dtype=inner or None)
    codes = nearest(codes_L, len(words)).astype(int)
    return pd.Series(pd.Categorical.from_codes(codes, values, ordered=kind.startswith("ordered")))


def codes_of(column: "pd.Series", name: str, words: Sequence[str]) -> np.ndarray:
    """The codes of words in a frame, the inverse of `series`; raises DataError at another word."""
    texts = column.astype(object).to_numpy()
    lookup = {word: float(i) for i, word in enumerate(words)}
    gone = column.isna().to_numpy()
    codes = [np.nan if g else lookup.get(str(t)) for g, t in zip(gone, texts, strict=True)]
    if None in codes:
        raise DataError(
            f"column {name!r}: {quote(str(texts[codes.index(None)]))} is none of the words that "
            f"were learned: {shown(words, 20)}. Correct it."
        )
    return np.array(codes, np.float64)
