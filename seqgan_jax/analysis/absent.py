"""What is absent from sequences: cells that are missing, and steps after the end; NaN marks both.

Where only the real sequences have gaps, generated ones are given the gaps of real ones, so that
both are seen through the same holes.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis.bykind import Part, runs
from seqgan_jax.data.lengths import of as lengths
from seqgan_jax.data.lengths import there
from seqgan_jax.errors import DataError

Array = NDArray[Any]

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
LENGTHS, MISSING = "lengths", "missing"


def is_any(*samples: Array | None) -> bool:
    """Whether any value of any sample is absent."""
    return any(x is not None and bool(np.isnan(x).any()) for x in samples)


def inside(x_NTD: Array, ends: bool) -> Array:
    """Which steps are not after the end -> bool [N, T]."""
    return there(x_NTD) if ends else np.ones(x_NTD.shape[:2], bool)


def missing(x_NTD: Array, ends: bool) -> Array:
    """Which cells are missing, not counting those after the end -> bool [N, T, D]."""
    return np.isnan(x_NTD) & inside(x_NTD, ends)[..., None]


def prepared(
    samples: Mapping[str, Array], names: Sequence[str], ends: bool | None, notes: list[str]
) -> tuple[dict[str, Array], bool]:
    """The samples at one number of steps, without sequences of no value; and whether they end.

    Args:
      samples: [N, T, D] each, by what they are.
      names: of the D columns.
      ends: whether trailing steps without a value are after the end; None: they are, unless there
        are such steps within sequences, too. A note says which.
      notes: gets what the reader should know.

    Raises:
      DataError: a column without a value.
    """
    if not is_any(*samples.values()) and not ends:
        return dict(samples), False
    found: dict[str, Array] = {}
    for what, x_NTD in samples.items():
        empty_N = np.isnan(x_NTD).all(axis=(1, 2))
        for d in np.flatnonzero(np.isnan(x_NTD).all(axis=(0, 1))):
            raise DataError(
                f"{what}[0, 0] is nan, and so is every other value of {names[int(d)]} in the "
                f"{what} data: there is nothing to compare. Leave the column out."
            )
        if empty_N.any():
            notes.append(
                f"{np.count_nonzero(empty_N):,} of {len(x_NTD):,} {what} sequences have no value "
                "at all and were left out."
            )
        found[what] = x_NTD[~empty_N]
    trailing = any(lengths(x).min(initial=x.shape[1]) < x.shape[1] for x in found.values())
    if ends is None:
        holes = any(
            bool((np.isnan(x).all(axis=2) & inside(x, ends=True)).any()) for x in found.values()
        )
        ends = trailing and not holes
        if trailing:
            notes.append(
                "Steps at the end of a sequence where every column is absent are taken to be "
                + ("after its end." if ends else "missing, as others within sequences are.")
            )
    if ends:
        steps = max(x.shape[1] for x in found.values())
        found = {
            what: np.pad(x, ((0, 0), (0, steps - x.shape[1]), (0, 0)), constant_values=np.nan)
            for what, x in found.items()
        }
    return found, ends


def alike(
    rng: np.random.Generator, real_NTD: Array, generated_NTD: Array, ends: bool, notes: list[str]
) -> Array:
    """The generated sequences with the gaps of real ones, where only the real ones have gaps."""
    gaps_NTD = missing(real_NTD, ends)
    if not gaps_NTD.any():
        return generated_NTD
    if missing(generated_NTD, ends).any():
        return generated_NTD
    share = gaps_NTD.sum() / (inside(real_NTD, ends).sum() * real_NTD.shape[2])
    notes.append(
        f"{share:.1%} of the real values are missing and none of the generated ones: each "
        "generated sequence was given the gaps of a real one, drawn at random, and values are "
        "compared where they are there."
    )
    return with_gaps(rng, generated_NTD, real_NTD, ends)


def with_gaps(rng: np.random.Generator, x_MTD: Array, real_NTD: Array, ends: bool) -> Array:
    """x with the gaps of real sequences that are no shorter, one drawn for each; see `alike`."""
    of_real, own = (lengths(x) if ends else np.full(len(x), x.shape[1]) for x in (real_NTD, x_MTD))
    order = np.argsort(of_real, kind="stable")
    first_M = np.minimum(np.searchsorted(of_real[order], own), len(order) - 1)
    drawn_M = order[first_M + rng.integers(len(order) - first_M)]
    out = np.where(missing(real_NTD, ends)[drawn_M], np.nan, x_MTD)
    empty_M = np.isnan(out).all(axis=(1, 2))
    out[empty_M] = x_MTD[empty_M]
    return out


def parts(x_NTD: Array, ends: bool, gaps: bool) -> list[Part]:
    """What is counted of lengths and of gaps, as of columns by their kinds.

    Args:
      x_NTD: the sequences.
      ends: whether they end.
      gaps: whether missing cells are part of what is compared.
    """
    found = []
    steps = x_NTD.shape[1]
    if ends:
        of_length = np.eye(steps)[lengths(x_NTD) - 1]
        words = tuple(map(str, range(1, steps + 1)))
        found.append(Part("length_ks", -1, words, of_length))
    if gaps:
        missing_NTD, steps_N = missing(x_NTD, ends), inside(x_NTD, ends).sum(axis=1)
        for d in range(x_NTD.shape[2]):
            is_NT1 = missing_NTD[..., d : d + 1]
            shares_N1 = is_NT1.sum(axis=1).astype(float)
            found.append(Part("missing_error", d, (MISSING,), shares_N1, steps_N[:, None]))
            found.append(Part("missing_run_error", d, (MISSING,), runs(is_NT1)))
    return found


def table(samples: Mapping[str, Array], names: Sequence[str], ends: bool) -> dict[str, Any]:
    """What the report lists: quantiles of lengths, and of each column the share of missing cells
    and the mean length of gaps, by sample; {} where nothing is absent."""
    out: dict[str, Any] = {}
    if ends:
        of_each = {kind: lengths(x) for kind, x in samples.items()}
        out[LENGTHS] = {
            kind: {"mean": float(np.mean(found_N))}
            | {_quantile(q): float(np.quantile(found_N, q)) for q in QUANTILES}
            for kind, found_N in of_each.items()
        }
    gaps = {kind: missing(x, ends) for kind, x in samples.items()}
    if any(gap_NTD.any() for gap_NTD in gaps.values()):
        out[MISSING] = {
            name: {
                kind: {
                    "share": float(gap_NTD[..., d].sum() / inside(samples[kind], ends).sum()),
                    "mean_run": _mean_run(gap_NTD[..., d]),
                }
                for kind, gap_NTD in gaps.items()
            }
            for d, name in enumerate(names)
        }
    return out


def _quantile(q: float) -> str:
    return {0.0: "min", 0.5: "median", 1.0: "max"}.get(q, f"q{round(100 * q):02d}")


def _mean_run(is_NT: Array) -> float:
    """Mean length of runs of True; 0 where there is none."""
    starts = np.count_nonzero(np.diff(is_NT.astype(np.int8), prepend=0, axis=1) == 1)
    return float(np.count_nonzero(is_NT) / starts) if starts else 0.0
