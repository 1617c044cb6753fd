"""The kind of each column, found in the training part or asked for by --kind.

A column's kind decides how it is learned: as a density, or as the probability of each value.

Shapes: N sequences, T steps, D columns.
"""

import dataclasses
import reprlib
from collections.abc import Sequence

import numpy as np

from seqgan_jax.data import bounds, grids, missing, overlap
from seqgan_jax.data.files import printable
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, GRID, NAMES, Kind
from seqgan_jax.data.kind_finding import categories, of_numbers, refusal
from seqgan_jax.errors import DataError, UsageError

__all__ = ["Kind", "find", "of_columns", "once", "parse"]

STATIC, LABEL = "static", "label"
ASKED = (*NAMES, STATIC)


def parse(text: str) -> tuple[str, str]:
    """Column and kind of "COLUMN:KIND"; the column's name may hold colons.

    Raises:
      UsageError: it is written otherwise, or there is no such kind.

    >>> parse("rain:grid"), parse("a:b:static")
    (('rain', 'grid'), ('a:b', 'static'))
    """
    name, _, kind = text.rpartition(":")
    if not name or kind not in ASKED:
        raise UsageError(
            f"--kind {reprlib.repr(text)} is not COLUMN:KIND. Write rain:grid; the kinds are "
            f"{', '.join(ASKED)}."
        )
    return name, kind


def of_columns(
    asked: Sequence[str], names: Sequence[str], static: Sequence[str] = (), label: str = ""
) -> tuple[str | None, ...]:
    """The kind that is asked for of each of the columns `names`, None where none is.

    `asked` is what --kind says; `static` and `label` are columns of --static and --label.

    Raises:
      UsageError: an unknown column, or one of which two kinds are asked.

    >>> of_columns(["b:grid"], ["a", "b", "c"], ["a"], "c")
    ('static', 'grid', 'label')
    """
    found: list[str | None] = [None] * len(names)
    said = [("--kind", *parse(text)) for text in asked]
    said += [("--static", name, STATIC) for name in static]
    said += [("--label", label, LABEL)] * bool(label)
    for flag, name, kind in said:
        for d in bounds.named(name, names, flag):
            earlier = found[d]
            is_label = earlier == STATIC and kind == LABEL  # which is static, too
            if earlier is not None and earlier != kind and not is_label:
                raise UsageError(
                    f"{flag}: column {reprlib.repr(names[d])} is said to be {earlier} and {kind}. "
                    "Leave one out."
                )
            found[d] = kind
    return tuple(found)


def once(x_NTD: np.ndarray) -> np.ndarray:
    """bool [N, T]: the steps that are in no window before, where sequences are windows that
    overlap, so that each reading is counted once; all steps of other sequences.

    >>> x = np.random.default_rng(0).normal(size=(40, 1))
    >>> once(np.stack([x[i : i + 5] for i in range(0, 36, 2)])).sum(axis=1)[:3].tolist()
    [5, 2, 2]
    """
    number, length = x_NTD.shape[:2]
    windows = overlap.find(x_NTD) if number > 1 else None
    new_NT = np.ones((number, length), bool)
    if windows is not None:
        order = np.lexsort((windows.starts_N, windows.series_N))
        series, starts = windows.series_N[order], windows.starts_N[order]
        same = np.r_[False, series[1:] == series[:-1]]
        known = np.where(same, np.r_[0, length - np.diff(starts)], 0)
        new_NT[order] = np.arange(length) >= known[:, None]
    return new_NT


def find(
    x_NTD: np.ndarray,
    asked: Sequence[str | None] = (),
    words: Sequence[bool] = (),
    names: Sequence[str] = (),
    once_NT: np.ndarray | None = None,
    gaps_D: Sequence[bool] = (),
) -> tuple[Kind, ...]:
    """The kind of each column, from the values of the training part that are there.

    Constant columns and copies of earlier ones, which are not learned, count as continuous. A
    column with gaps is neither.

    Args:
      x_NTD: in the data's units (after rules), NaN where one is missing.
      asked: what --kind asks of each column, see `of_columns`; () for nothing.
      words: which columns are codes 0 .. C - 1 of words; () for none.
      names: of the columns, for messages.
      once_NT: the steps to count, see `once`; of rules, from the data before them.
      gaps_D: which columns may miss values, here or in another part; () for none.

    Raises:
      DataError: a column cannot be what is asked, or has no value.

    >>> x = np.random.default_rng(0).poisson(30, size=(200, 10, 1)) / 10
    >>> print(find(np.concatenate([x, x > 3], axis=-1))[1])
    2 categories
    """
    counted_NT = once(x_NTD) if once_NT is None else once_NT
    columns = [np.ascontiguousarray(x_NTD[..., d]) for d in range(x_NTD.shape[-1])]
    found: list[Kind] = []
    for d, x_NT in enumerate(columns):
        kind = asked[d] if asked else None
        name = printable(names[d]) if names else f"column {d + 1}"
        if gaps_D and gaps_D[d]:
            is_words = bool(words) and words[d]
            found.append(_with_gaps(x_NT + 0.0, counted_NT, kind, is_words, name))
        elif np.all(x_NT == x_NT[0, 0]) or any(_equal(x_NT, e) for e in columns[:d]):
            found.append(Kind(CONTINUOUS))
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # 1e300: no grid
                found.append(_kind(x_NT + 0.0, counted_NT, kind, bool(words) and words[d], name))
    return tuple(found)


def _with_gaps(
    x_NT: np.ndarray, once_NT: np.ndarray, asked: str | None, is_words: bool, name: str
) -> Kind:
    """The kind of a column that misses values, of those that are there.

    Where all are one value in each sequence, the sequences without any are left aside.
    """
    first_N = missing.first_there(x_NT)
    there_NT = ~np.isnan(x_NT)
    if not there_NT.any():
        raise DataError(
            f"{name} has no value in the training part. Leave it out (--columns), or use more data."
        )
    if np.all(x_NT[there_NT] == x_NT[there_NT][0]):
        kind = categories(*grids.counted(x_NT[once_NT & there_NT]), static=False, words=is_words)
    elif np.all((x_NT == first_N[:, None])[there_NT]) and x_NT.shape[1] > 1:
        rows_N = ~np.isnan(first_N)
        same_NT = np.repeat(first_N[rows_N, None], x_NT.shape[1], axis=1)
        kind = _kind(same_NT, once_NT[rows_N], asked, is_words, name)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            kind = _kind(x_NT, once_NT & there_NT, asked, is_words, name)
    return dataclasses.replace(kind, missing=True)


def _equal(x_NT: np.ndarray, other_NT: np.ndarray) -> bool:
    return np.array_equal(x_NT[:9], other_NT[:9]) and np.array_equal(x_NT, other_NT)


def _kind(
    x_NT: np.ndarray, once_NT: np.ndarray, asked: str | None, is_words: bool, name: str
) -> Kind:
    """The kind of a column that varies."""
    varies = (x_NT != missing.first_there(x_NT)[:, None]) & ~np.isnan(x_NT)
    static = x_NT.shape[1] > 1 and len(x_NT) > 1 and not varies.any()
    if asked in (STATIC, LABEL) and not static:
        n, t = (int(i) for i in np.argwhere(varies)[0]) if varies.any() else (0, 0)
        raise refusal(
            name, asked, f"it varies: {x_NT[n, 0]:.9g} and {x_NT[n, t]:.9g} in sequence {n + 1}"
        )
    if is_words:
        if asked in (CONTINUOUS, GRID):
            raise refusal(name, asked, "it holds words, which have no size")
        levels, counts = grids.counted(x_NT[:, 0] if static else x_NT[once_NT])
        return categories(levels, counts, static, is_words)
    if asked == CONTINUOUS:
        return Kind(CONTINUOUS)
    return of_numbers(x_NT, once_NT, CATEGORICAL if asked == LABEL else asked, static, name)
