"""Whether a line of numbers is a step of a series or a sequence, by names and by neighbours."""

import re

import numpy as np

from seqgan_jax.data import categories, overlap
from seqgan_jax.data import times as clock
from seqgan_jax.data.categories import words_of
from seqgan_jax.data.cells import quote
from seqgan_jax.data.dialect import numbered
from seqgan_jax.data.tables import Table
from seqgan_jax.errors import DataError

STEP_WORDS = re.compile(r"(h|hr|hour|t|time|step|lag|day|d|week|w|month|m|min|year|y|)_?\d+", re.I)
MOST_CLASSES = 20
FEW_COLUMNS = 4  # of a row with a class label before it
MOST_CHANNELS = 8
MOST_BESIDE = 20  # columns before the steps of a sequence
MOST_LOOKED_AT = 10_000  # rows that show whether they are steps or sequences
MANY = 16  # rows in which a step is hardly whole by chance
SHOWN = 4  # columns in a message
LEAST = 5  # rows or columns that show anything


def is_wide(table: Table) -> bool:
    """Whether columns are steps by their names: 0, 1, ...; h00, h01, ...; V1, V2, ...; dates."""
    return bool(step_columns(table))


def step_columns(table: Table) -> list[int]:
    """The columns whose names count, or are dates in order; none where there are no such names.

    Before those that count may be one column of numbers (a name of the line), before dates more.
    """
    named = [d for d, c in enumerate(table.columns) if c.name and table.has_names]
    numbers = [d for d in named if table.columns[d].kind in ("number", "mixed", "empty")]
    for some in (named, numbers):  # of a step that has a word, its name tells
        for first in range(min(MOST_BESIDE, len(some) - 2)):
            steps, before = some[first:], len(set(numbers) & set(some[:first]))
            names = [table.names[d] for d in steps]
            if 2 * len(set(numbers) & set(steps)) <= len(steps):
                break
            if steps[0] not in numbers:
                continue
            if (before <= 1 and numbered(names)) or clock.are_dates(names):
                return steps
    return []


def numbers_of(table: Table) -> np.ndarray:
    """The columns of numbers [L, D], the first rows."""
    kept = [c.values[:MOST_LOOKED_AT] for c in table.columns if c.kind in ("number", "yes/no")]
    return np.stack(kept, axis=1) if kept else np.zeros((0, 0))


def decide(table: Table, notes: list[str]) -> str:
    """ "rows" or "series" for a table of numbers without names of its own; adds to `notes` why.

    Raises:
      DataError: it may be either.
    """
    x_LD = numbers_of(table)
    several = (
        f"If a line is a sequence: --layout rows. If a line is a step of one long series with "
        f"{x_LD.shape[1]} features: --layout series."
    )
    if not table.has_names:
        _refuse_words(table)
        if not len(x_LD):
            return "rows"
    names = [table.names[d] for d in step_columns(table)]
    if clock.are_dates(names):
        notes.append(
            f"columns {quote(names[0])} to {quote(names[-1])} are dates: a line is a sequence"
        )
        return "rows"
    is_time = table.has_names and all(STEP_WORDS.fullmatch(name) for name in names)
    if asks_for_series(x_LD):
        if table.has_names and not is_time:
            notes.append("a line is a step: columns have their own scales and change slowly")
            return "series"
        raise DataError(
            f"{table.shown}: lines follow each other smoothly and columns have different scales, "
            f"as in one long series with a step in each line. {several}"
        )
    if not table.has_names:
        _refuse_label(table)
        _refuse_features(table, several)
    if table.has_names:
        if not is_time and not _is_smooth_across(x_LD):
            raise DataError(
                f"{table.shown}: the columns are called {quote(names[0])} to {quote(names[-1])}, "
                f"which may be steps of a sequence or features of a step. {several}"
            )
        notes.append(
            f"columns {quote(names[0])} to {quote(names[-1])} are steps: a line is a sequence"
        )
    return "rows"


def _refuse_words(table: Table) -> None:
    """Ask where whole columns without names hold words: none of their lines is wrong."""
    words = [
        d
        for d, c in enumerate(table.columns)
        if categories.are_words(c) and all(re.search(r"[^\W\d_]|[?']", w) for w in words_of(c))
    ]
    if not words or (
        len(words) == len(table.columns)  # a text that is no table is refused by its lines
        and any(map(categories.why_not, table.columns))
    ):
        return
    first, several = table.columns[words[0]], len(words) > 1
    which = ", ".join(str(d + 1) for d in words[:SHOWN]) + ", ..." * (len(words) > SHOWN)
    label = f"column {words[0] + 1} may be its class label: --label {words[0] + 1}"
    numbers = len(table.columns) > len(words)
    raise DataError(
        f"{table.shown}: column{'s' * several} {which} hold{'s' * (not several)} words, such as "
        f"{quote(str(first.values[0]))}, and no line has the names of columns. If a line is a step "
        "of one long series: --layout series."
        + f" If it is a sequence, {'delete the columns of words' if several else label}."
        * numbers
    )


def _refuse_label(table: Table) -> None:
    """Ask where the first or last column, and it alone, is of few whole numbers."""
    whole = _whole_columns(table)
    if len(table.columns) <= FEW_COLUMNS or len(table) < 2 * LEAST:
        return
    for d, place in ((0, "before"), (len(table.columns) - 1, "after")):
        classes = len(np.unique(table.columns[d].values))
        rest = [each for each in whole if each != d]
        is_few = 1 < classes <= min(MOST_CLASSES, len(table) // 3)
        if d in whole and is_few and 2 * len(rest) < len(table.columns) - 1:
            raise DataError(
                f"{table.shown}: column {d + 1} holds {classes} different whole numbers, unlike "
                f"the other columns: it may be a class label {place} a sequence of "
                f"{len(table.columns) - 1} steps. If it is: --label {d + 1}. If it is a step, too: "
                "--layout rows. If a line is a step of one long series: --layout series."
            )


def _whole_columns(table: Table) -> list[int]:
    """Columns of whole numbers, of which there are several, where others have decimals."""
    values = {d: c.values for d, c in enumerate(table.columns) if c.kind == "number"}
    there = {d: x[np.isfinite(x)] for d, x in values.items()}
    broken = {d: np.mean(x != np.rint(x)) if len(x) else 0.0 for d, x in there.items()}
    if not any(share > 0.5 for share in broken.values()):
        return []
    return [d for d, x in there.items() if len(np.unique(x)) > 1 and broken[d] == 0]


def _refuse_features(table: Table, several: str) -> None:
    """Ask where some columns hold whole numbers and others decimals, as no steps of one value."""
    whole = _whole_columns(table)
    if whole and len(table) >= MANY:
        which = ", ".join(str(d + 1) for d in whole[:SHOWN]) + ", ..." * (len(whole) > SHOWN)
        raise DataError(
            f"{table.shown}: column{'s' * (len(whole) > 1)} {which} hold{'s' * (len(whole) == 1)} "
            f"whole numbers and others decimals, as features rather than steps do. {several}"
        )


def _ratio(x: np.ndarray, axis: int) -> np.ndarray:
    """Von Neumann's ratio, mean (x_i - x_{i-1})^2 / 2 var x: 1 where neighbours are independent."""
    variance = x.var(axis=axis)
    steps = np.mean(np.diff(x, axis=axis) ** 2, axis=axis)
    return steps[variance > 0] / (2 * variance[variance > 0])


def _is_smooth_across(x_LD: np.ndarray) -> bool:
    """Whether a row changes little from column to column, beside what it changes in all."""
    if not np.isfinite(x_LD).all() or x_LD.shape[1] < LEAST:
        return False
    across, down = _ratio(x_LD, 1), _ratio(x_LD, 0)
    return bool(len(across) and np.median(across) < 0.5 and len(down) and np.median(down) > 0.5)


def is_series(x_LD: np.ndarray) -> bool:
    """Whether rows are evidently steps of a series.

    Its columns have different levels or scales and change little from row to row, while a row
    changes much from column to column (24 columns for the hours of a day do not).
    """
    x_LD = x_LD[:MOST_LOOKED_AT]
    x_LD = x_LD[np.isfinite(x_LD).all(axis=1)]
    if len(x_LD) < 3 or x_LD.shape[1] < 2:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        varying = x_LD.std(axis=0) > 0
        if not varying.any():
            return False
        mean_D, std_D = x_LD.mean(axis=0), x_LD.std(axis=0)
        apart = mean_D.std() > std_D.mean() or std_D.max() > 3 * std_D.min()
        down = np.mean(np.diff(x_LD, axis=0) ** 2, axis=0)[varying] / (2 * std_D[varying] ** 2)
        across = np.mean(np.diff(x_LD, axis=1) ** 2) / (2 * x_LD.var(axis=1).mean())
    chance = 4 / np.sqrt(len(x_LD))  # the ratio's standard deviation is a quarter of it
    return bool(apart and np.median(down) < min(0.5, 1 - chance) and across > 0.5)


def asks_for_series(x_LD: np.ndarray) -> bool:
    """Whether rows are evidently steps of a series, and no windows of one."""
    return is_series(x_LD) and overlap.find(x_LD[:MOST_LOOKED_AT, :, None]) is None


def is_channels_first(x_NCT: np.ndarray) -> bool:
    """Whether the second axis of an array may be channels, and the last one time.

    Channels have levels or scales of their own, or each changes little along the last axis, or
    there are few of them and many steps.
    """
    x_NCT = x_NCT[:MOST_LOOKED_AT]
    _, second, last = x_NCT.shape
    if second < 2 or last <= 2 * second or not np.isfinite(x_NCT).all():
        return False
    mean_C = x_NCT.mean(axis=(0, 2))
    std_C = x_NCT.std(axis=(0, 2))
    apart = mean_C.std() > std_C.mean() or std_C.max() > 3 * max(std_C.min(), 1e-300)
    along = _ratio(x_NCT.reshape(-1, last), 1)
    likely = len(along) > 0 and (np.median(along) < 0.5 or apart)
    return bool(likely or (second <= MOST_CHANNELS and last >= max(4 * second, 16)))
