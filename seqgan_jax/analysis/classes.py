"""Figures of each class: its share, and the main figures of its sequences alone.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import averages, resampling
from seqgan_jax.errors import DataError, UsageError

Array = NDArray[Any]

LEAST = 30  # sequences of a class, real and generated, for figures of its own
MOST = 50  # classes, the commonest
SPLITS = 10
FIGURES = ("ks", "wasserstein", "autocorrelation_error")


def table(
    label: str,
    names: Sequence[str],
    samples: tuple[Array, Array],
    ids_N: Array,
    words: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The label's name, and a row for each of its values, the commonest first.

    A row has its name, counts and shares, real and generated, and where both have LEAST sequences
    the FIGURES of the other columns (means over them), each with its floor: the same figure between
    random halves of the class's real sequences.

    Args:
      label: the column of classes.
      names: of the D columns.
      samples: real and generated sequences, in the data's units.
      ids_N: independent block of each real sequence.
      words: that the label's codes stand for, () of numbers.
      rng: of the halves.

    Raises:
      UsageError: there is no such column.
      DataError: it is not constant in each sequence.
    """
    if label not in names:
        raise UsageError(
            f"--label: there is no column {label!r} (the columns are {', '.join(names)}). Correct "
            "the name."
        )
    d = list(names).index(label)
    of_each = []
    for what, x_NTD in zip(("real", "generated"), samples, strict=True):
        there_NT = ~np.isnan(x_NTD[..., d])
        first_N1 = np.take_along_axis(x_NTD[..., d], np.argmax(there_NT, axis=1)[:, None], axis=1)
        changes = np.any((x_NTD[..., d] != first_N1) & there_NT, axis=1)
        of_each.append(first_N1[:, 0])
        if changes.any():
            raise DataError(
                f"--label {label}: it changes within {np.count_nonzero(changes):,} of "
                f"{len(changes):,} {what} sequences, the first of them sequence "
                f"{int(np.argmax(changes)) + 1}. A label is constant in each: name another column."
            )
    pooled = np.concatenate(of_each)  # NaN: a sequence whose label is missing, in no class
    values, counts = np.unique(pooled[~np.isnan(pooled)], return_counts=True)
    others = [e for e in range(len(names)) if e != d]
    rows = []
    for value in values[np.argsort(-counts, kind="stable")[:MOST]]:
        there = [x == value for x in of_each]
        row: dict[str, Any] = {"name": words[int(value)] if words else f"{value:.6g}"}
        for what, is_in in zip(("real", "generated"), there, strict=True):
            row[what] = {"sequences": int(is_in.sum()), "share": float(is_in.mean())}
        ids = np.unique(ids_N[there[0]], return_inverse=True)[1]
        if others and min(map(np.count_nonzero, there)) >= LEAST and ids[-1] > 0:
            own = [x_NTD[is_in][..., others] for x_NTD, is_in in zip(samples, there, strict=True)]
            if not any(np.isnan(x_NTD).all(axis=(0, 1)).any() for x_NTD in own):
                row["figures"] = _figures(own[0], own[1], ids, rng)
        rows.append(row)
    return {"label": label, "classes": rows}


def _figures(
    real_NTD: Array, generated_NTD: Array, ids_N: Array, rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Value and floor of each of FIGURES."""
    units = averages.units(real_NTD)
    z_real, z_generated = units.standardise(real_NTD), units.standardise(generated_NTD)
    bins = averages.bins_of(z_real, z_generated)
    halves = resampling.random_halves(rng, ids_N, len(z_generated), SPLITS)

    def means(z_NTD: Array, rows: Mapping[str, list[Array]]) -> dict[str, dict[str, Array]]:
        weights = {name: resampling.mean_weights(each, len(z_NTD)) for name, each in rows.items()}
        return averages.group_means(bins, z_NTD, weights)

    real = means(
        z_real,
        {
            "all": [np.arange(len(z_real))],
            "first": [half.first for half in halves],
            "second": [half.second for half in halves],
        },
    )
    generated = means(z_generated, {"all": [np.arange(len(z_generated))]})
    found = averages.figures(bins, real["all"], generated["all"])
    floors = averages.figures(bins, real["first"], real["second"])
    return {
        name: {"value": float(np.mean(found[name])), "floor": float(np.mean(floors[name]))}
        for name in FIGURES
        if name in found
    }
