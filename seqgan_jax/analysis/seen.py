"""What a comparison of these data could have seen: the smallest spoiling that is noticed.

The real sequences are spoiled by growing amounts, one column beside the other, and every figure of
the column is computed again. An amount is noticed where one of the figures comes to what would be
called different 4 times of 5 (`Metric.noticed`: the verdict's limit and 1.4 of its noise more).
Spoiled are the sequences themselves, so no noise of sampling is in what a figure answers. Atoms
(exact zeros, bounds) stay, and values on a grid stay on it: leaving these would be noticed at once,
and says nothing of the others.

Shapes: N sequences, T steps, D columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import averages
from seqgan_jax.analysis.report import Metric
from seqgan_jax.data.kind import CATEGORICAL, GRID, Kind

Array = NDArray[Any]

# More than this must not pass unnoticed where a verdict is to be "close": half a standard deviation
# moves the median to the 69th percentile; 1.5 times the spread makes the rarest 1% of values 9%; .3
# of autocorrelation is .5 in place of .8; one value in five is of another category.
SHIFT, SPREAD, AUTOCORRELATION, SHARE = 0.5, 1.5, 0.3, 0.2
MOST_SHIFT, MOST_SPREAD, LEAST_AMOUNT = 16.0, 64.0, 1e-3
HALVINGS = 7  # of the logarithm: the smallest amount to 8%
VALUES = 40_000  # that are spoiled, of all columns
LEAST_ROWS = 40
PERSISTENT = 0.5  # a correlation above it is spoiled by noise, one below by a level


@dataclass(frozen=True)
class Seen:
    """The smallest spoiling of a column that would have been noticed, inf where none is.

    Args:
      shift: of all values, in units of the data.
      deviations: the same in standard deviations of the real values.
      spread: factor by which values lie nearer to their mean.
      autocorrelation: change of the correlation of neighbouring steps; None where there is none.
      share: of values in another category; then all else is None.
    """

    shift: float | None = None
    deviations: float | None = None
    spread: float | None = None
    autocorrelation: float | None = None
    share: float | None = None

    @property
    def ratio(self) -> float:
        """The worst of them over what it may be; above 1, too little is seen."""
        found = [
            self.deviations and self.deviations / SHIFT,
            self.spread and (1 - 1 / self.spread) / (1 - 1 / SPREAD),
            self.autocorrelation and self.autocorrelation / AUTOCORRELATION,
            self.share and self.share / SHARE,
        ]
        return max((x for x in found if x), default=0.0)

    def to_dict(self) -> dict[str, float | None]:
        """What the JSON document says of it."""
        return asdict(self)


def of_columns(
    rng: np.random.Generator,
    bins: averages.Bins,
    z_NTD: Array,
    metrics: Mapping[str, Metric],
    kinds: Sequence[Kind],
    names: Sequence[str],
    units: averages.Units,
) -> dict[str, Seen]:
    """What is noticed in each column that is not constant.

    Args:
      rng: draws the sequences that are spoiled, and the noise.
      bins: of the comparison.
      z_NTD: real sequences, standardised.
      metrics: of the comparison, with what is noticed of each column.
      kinds, names, units: of the columns.
    """
    steps, features = z_NTD.shape[1:]
    rows = max(LEAST_ROWS, VALUES // (steps * features))
    z_NTD = z_NTD[rng.permutation(len(z_NTD))[:rows]]
    weights = np.full((1, len(z_NTD)), 1 / len(z_NTD))
    own = averages.sequence_means(bins, z_NTD, weights)
    on_grid_D = np.array([kind.name == GRID and kind.spacing > 0 for kind in kinds])
    spacing_D = np.where(on_grid_D, [kind.spacing for kind in kinds], 1.0) / units.scale_D
    at_atom_NTD = np.zeros(z_NTD.shape, bool)
    for d, kind in enumerate(kinds):
        for atom in kind.atoms:
            z_atom = (atom - units.mean_D[d]) / units.scale_D[d]
            at_atom_NTD[..., d] |= np.isclose(z_NTD[..., d], z_atom, rtol=0, atol=1e-9)

    def is_noticed(spoiled_NTD: Array) -> Array:
        """Whether any figure of a column notices, bool [D]."""
        moves_NTD = np.where(at_atom_NTD, 0.0, spoiled_NTD - z_NTD)
        moves_NTD = np.where(on_grid_D, np.rint(moves_NTD / spacing_D) * spacing_D, moves_NTD)
        means = averages.sequence_means(bins, z_NTD + moves_NTD, weights)
        is_D = np.zeros(features, bool)
        for figure, value in averages.figures(bins, own, means).items():
            noticed = metrics[figure].noticed if figure in metrics else {}
            if noticed and value.ndim == 2:
                is_D |= value[0] >= [noticed[name] for name in names]
        return is_D

    mean_D = np.nanmean(z_NTD, axis=(0, 1))
    noise_NTD, level_N1D = _alike(rng, z_NTD)
    rho_D = _neighbours(own)
    is_persistent_D = rho_D >= PERSISTENT
    other_NTD = np.where(is_persistent_D, noise_NTD, level_N1D)
    reach_D = np.where(is_persistent_D, rho_D, 1 - rho_D)

    def mixed(a_D: Array) -> Array:
        """With a share `a_D` of the variance in noise, or in a level of each sequence."""
        return mean_D + np.sqrt(1 - a_D) * (z_NTD - mean_D) + np.sqrt(a_D) * (other_NTD - mean_D)

    shift_D = smallest(lambda m_D: is_noticed(z_NTD + m_D), LEAST_AMOUNT, MOST_SHIFT, features)
    # The logarithm of the factor is what is halved.
    log_D = smallest(
        lambda m_D: is_noticed(mean_D + (z_NTD - mean_D) * np.exp(-m_D)),
        LEAST_AMOUNT,
        np.log(MOST_SPREAD),
        features,
    )
    mixed_D = np.full(features, np.nan)
    if steps > 1:
        mixed_D = smallest(lambda m_D: is_noticed(mixed(m_D)), LEAST_AMOUNT, 1.0, features)
        mixed_D = mixed_D * reach_D
    seen = {}
    for d, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if units.constant_D[d]:
            continue
        if kind.name == CATEGORICAL:
            shares = metrics["category_error"].noticed if "category_error" in metrics else {}
            share = float(shares.get(name, np.inf))
            seen[name] = Seen(share=share if share < 1 else np.inf)
            continue
        shift = float(shift_D[d])
        seen[name] = Seen(
            shift=shift * float(units.scale_D[d]),
            deviations=shift,
            spread=float(np.exp(log_D[d])),
            autocorrelation=None if kind.static or steps == 1 else float(mixed_D[d]),
        )
    return seen


def smallest(is_noticed: Callable[[Array], Array], low: float, high: float, features: int) -> Array:
    """The smallest amount of each column that is noticed, [D], by halving; inf where `high` is not.

    >>> smallest(lambda m_D: m_D > [0.5, 99], 0.001, 16.0, 2).round(1)
    array([0.5, inf])
    """
    at_all_D = is_noticed(np.full(features, high))
    low_D, high_D = np.full(features, np.log(low)), np.full(features, np.log(high))
    for _ in range(HALVINGS):
        middle_D = (low_D + high_D) / 2
        is_D = is_noticed(np.exp(middle_D))
        low_D, high_D = np.where(is_D, low_D, middle_D), np.where(is_D, middle_D, high_D)
    return np.where(at_all_D, np.exp(high_D), np.inf)


def _alike(rng: np.random.Generator, z_NTD: Array) -> tuple[Array, Array]:
    """Values of each column drawn for every step, and for every sequence: [N, T, D], [N, 1, D]."""
    noise_NTD, level_N1D = np.empty_like(z_NTD), np.empty_like(z_NTD[:, :1])
    for d in range(z_NTD.shape[2]):
        there = z_NTD[..., d][~np.isnan(z_NTD[..., d])]
        noise_NTD[..., d] = rng.choice(there, z_NTD.shape[:2])
        level_N1D[..., d] = rng.choice(there, (len(z_NTD), 1))
    return noise_NTD, level_N1D


def _neighbours(means: Mapping[str, Array]) -> Array:
    """Correlation of neighbouring steps [D]; 0 for sequences of one step."""
    if not means["lags"].shape[-1]:
        return np.zeros(means["powers"].shape[1])
    rho_D: Array = averages.autocorrelations(means["lags"])[0, :, 1]
    return rho_D
