"""Missing values: which tokens they are, what is learned around, leaving out, filling in.

Inside arrays a missing value is NaN. Infinite values are never missing: they are errors.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Iterable, Sequence, Set
from typing import Literal

import numpy as np

from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

Missing = Literal["model", "error", "drop", "interpolate"]
MODES: tuple[Missing, ...] = ("model", "error", "drop", "interpolate")
TOKENS = frozenset({"", "nan", "na", "n/a", "<na>", "#n/a", "nat", "null", "none", "-"})
NONE = "none"  # a word among words, missing among numbers
LONGEST = max(map(len, TOKENS))
MOST_SAID = 5  # columns in a note
REMEDY = (
    "Values may not be missing: --missing model learns around them, --missing drop leaves out the "
    "sequences or windows that they are in, --missing interpolate fills them in; or correct the "
    "file."
)


def is_missing(token: str, more: Set[str] = frozenset()) -> bool:
    """Whether a token means that there is no value: empty, nan, NA, N/A, null, none, - or `more`.

    >>> [is_missing(token) for token in ("", "-nan", "NA", "-", "0", "inf", "?")]
    [True, True, True, True, False, False, False]
    """
    lower = token.lower()
    if more and (lower in more or _value(lower) in declared(more)):
        return True
    return lower in TOKENS or (lower[:1] in ("+", "-") and lower[1:] == "nan")


def declared(tokens: Iterable[str]) -> frozenset[float]:
    """The numbers among tokens that were declared as missing.

    >>> sorted(declared(["?", "-200", "9e3"]))
    [-200.0, 9000.0]
    """
    found = (_value(token) for token in tokens)
    return frozenset(value for value in found if np.isfinite(value))


def _value(token: str) -> float:
    """A token as a number, NaN where it is none."""
    try:
        return float(token.replace(",", "."))
    except ValueError:
        return np.nan


def check_columns(x_ND: np.ndarray, names: tuple[str, ...], source: str) -> None:
    """Refuse columns in which every value is missing.

    Raises:
      DataError: there is such a column.
    """
    empty = [name for name, x_N in zip(names, x_ND.T, strict=True) if np.isnan(x_N).all()]
    if empty:
        raise nothing_in(empty[0], printable(source))


def nothing_in(name: str, source: str) -> DataError:
    """The error for a column without any value."""
    return DataError(
        f"{source}: column {name!r} holds nothing but missing values. Leave it out (--columns, "
        "where columns have names), or correct the file."
    )


def first_there(x_NT: np.ndarray) -> np.ndarray:
    """The first value that is there of each row, [N]; NaN where none is.

    >>> first_there(np.array([[np.nan, 2.0, 3.0], [1.0, np.nan, 4.0]])).tolist()
    [2.0, 1.0]
    """
    first_N: np.ndarray = x_NT[np.arange(len(x_NT)), np.argmax(~np.isnan(x_NT), axis=1)]
    return first_N


def share(x_NTD: np.ndarray) -> float:
    """Share of values that are missing."""
    return float(np.isnan(x_NTD).mean()) if x_NTD.size else 0.0


def percent(share: float) -> str:
    """A share that is not 0 in words.

    >>> percent(0.25), percent(1e-6)
    ('25.00%', '<0.01%')
    """
    return f"{share:.2%}" if share >= 5e-5 else "<0.01%"


def around(x_ND: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """What to say of missing values that are learned around; () where none is missing.

    >>> around(np.array([[1.0, np.nan], [2.0, 3.0]]), ["low", "high"])[0][:40]
    'high: 50.00% missing, learned around; sa'
    """
    shares = [share(x_N) for x_N in x_ND.reshape(-1, x_ND.shape[-1]).T]
    said = [
        f"{printable(name)}: {percent(part)} missing"
        for name, part in zip(names, shares, strict=True)
        if part
    ]
    if not said:
        return ()
    more = [f"and {len(said) - MOST_SAID:,} more columns"] * (len(said) > MOST_SAID)
    return (
        f"{'; '.join(said[:MOST_SAID] + more)}, learned around; samples are complete, --with-gaps: "
        "gaps like the data's",
    )


def fill(
    x_NTD: np.ndarray,
    limit: int | None = None,
    held_D: np.ndarray | None = None,
    steps_N: np.ndarray | None = None,
) -> tuple[np.ndarray, int, int]:
    """Missing values filled in along T -> (x [N, T, D], how many were filled, the longest gap).

    Linear between the values before and after, the nearest value at the ends; never from another
    sequence or column. In columns without values between two, `held_D`, the value before instead,
    the first at the beginning. Gaps of more than `limit` steps stay, and where a sequence has no
    value of a column at all; and what comes after the first `steps_N` steps of each.

    >>> nan = np.nan
    >>> x, filled, longest = fill(np.array([[nan, 1, nan, nan, 4, nan]])[..., None])
    >>> x[0, :, 0].tolist(), filled, longest
    ([1.0, 1.0, 2.0, 3.0, 4.0, 4.0], 4, 2)
    """
    gap_NTD = np.isnan(x_NTD)
    x_NTD = x_NTD.copy()
    filled = longest = 0
    for n, d in np.argwhere(gap_NTD.any(axis=1)):
        gap_T = gap_NTD[n, : None if steps_N is None else steps_N[n], d]
        if gap_T.all() or not gap_T.any():
            continue
        edges = np.flatnonzero(np.diff(np.r_[False, gap_T, False].astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        longest = max(longest, int(lengths.max()))
        short = np.repeat(lengths <= (limit or len(gap_T)), lengths)
        at = np.flatnonzero(gap_T)[short]
        known = np.flatnonzero(~gap_T)
        if held_D is not None and held_D[d]:
            x_NTD[n, at, d] = x_NTD[n, known[np.maximum(np.searchsorted(known, at) - 1, 0)], d]
        else:
            x_NTD[n, at, d] = _between(at, known, x_NTD[n, known, d])
        filled += len(at)
    return x_NTD, filled, longest


def _between(at: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear interpolation whose weights never overflow, unlike slopes; ends are held."""
    after = np.searchsorted(known, at)
    left = np.clip(after - 1, 0, None)
    right = np.clip(after, None, len(known) - 1)
    span = np.maximum(known[right] - known[left], 1)
    weight = np.where(left == right, 1.0, (at - known[left]) / span)
    return (1 - weight) * values[left] + weight * values[right]


def resolve(
    x_NTD: np.ndarray,
    missing: Missing,
    source: str,
    what: str = "sequences",
    limit: int | None = None,
    held_D: np.ndarray | None = None,
    steps_N: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Sequences without missing values -> (x, which of the N are kept [N] bool, notes).

    Args:
      x_NTD: finite or NaN.
      missing: "interpolate" fills inside each sequence first; what is left is left out. "model"
        leaves out what has no value at all.
      source: for messages.
      what: "sequences" or "windows", for messages.
      limit: the longest gap that is filled in, in steps.
      held_D: columns in which the value before is taken, see `fill`.
      steps_N: how many steps each has, where they are of unequal length; NaN after them stays.

    Raises:
      DataError: none is left.
    """
    notes: list[str] = []
    if missing == "interpolate":
        size = x_NTD.size if steps_N is None else int(steps_N.sum()) * x_NTD.shape[2]
        x_NTD, filled, longest = fill(x_NTD, limit, held_D, steps_N)
        notes += filled_notes(filled, size, longest, limit, held_D)
    gone_NTD = np.isnan(x_NTD)
    if steps_N is not None and missing != "model":
        gone_NTD &= (np.arange(x_NTD.shape[1]) < steps_N[:, None])[..., None]
    kept_N = ~(gone_NTD.all(axis=(1, 2)) if missing == "model" else gone_NTD.any(axis=(1, 2)))
    gone = int(np.count_nonzero(~kept_N))
    if not gone:
        return x_NTD, kept_N, tuple(notes)
    why = "without any value" if missing == "model" else "with missing values"
    if missing == "interpolate":
        why = "without any value in a column" if limit is None else "with gaps that are not filled"
    notes.append(f"left out {gone:,} of {len(kept_N):,} {what} {why}")
    if gone == len(kept_N):
        raise DataError(
            f"{printable(source)}: all {gone:,} {what} are {why}: nothing is left. "
            + ("Try --missing model." if missing == "drop" else "Correct the file.")
        )
    return x_NTD[kept_N], kept_N, tuple(notes)


def filled_notes(
    filled: int, size: int, longest: int, limit: int | None, held_D: np.ndarray | None = None
) -> list[str]:
    """What to say about values that were filled in."""
    if not longest:
        return []
    words = f"filled in {filled:,} missing of {size:,} values by linear interpolation"
    if held_D is not None and held_D.any():
        words += " (of words, yes and no: the value before)"
    words += f"; the longest gap has {longest:,} step{'s' * (longest > 1)}"
    if limit is not None and longest > limit:
        words += f", more than --limit {limit}: gaps that are longer stay"
    return [words]
