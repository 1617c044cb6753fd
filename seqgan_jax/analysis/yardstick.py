"""The training part as a second yardstick: where the test part itself has moved.

A generator can know of no level but that of its training part. Where the test part lies elsewhere,
real sequences of the training part are as far from it as good samples are, and that is no fault of
these. A figure is excused where both hold:

- samples are as close to the training part as real data of that part is to itself;
- the training part lies as far from the test part as the samples do, within 4 standard errors.
"""

import math
from collections.abc import Callable, Mapping

from seqgan_jax.analysis.bykind import NEVER
from seqgan_jax.analysis.catalogue import CATALOGUE, CLOSE
from seqgan_jax.analysis.independent import DETECTION_SDS
from seqgan_jax.analysis.report import Metric, Report

MOST = 4000  # sequences of a part
OWN_YARDSTICK = ("judge", "published", "exact")  # groups whose floor knows the training part
COPYING = "memorisation"


def excused(
    found: Mapping[str, Metric],
    to_train: Callable[[], Report],
    of_train: Callable[[], Report],
) -> tuple[dict[str, Metric], Report | None]:
    """The figures that differ no more than the training part does, now close.

    And the report of samples against the training part, where any is excused.

    Args:
      found: figures of samples against the test part.
      to_train: makes the report of samples against the training part, where it is needed.
      of_train: makes that of the training part against the test part, as if it were samples.
    """
    off = [
        metric
        for name, metric in found.items()
        if metric.verdict != CLOSE
        and name not in NEVER
        and CATALOGUE[name].group not in OWN_YARDSTICK
    ]
    if not off:
        return {}, None
    samples = to_train()
    near = [
        m for m in off if m.name in samples.metrics and samples.metrics[m.name].verdict == CLOSE
    ]
    if not near:
        return {}, None
    train = of_train().metrics
    moved = {m.name: m for m in near if m.name != COPYING and _is_as_far(train.get(m.name), m)}
    # Held-out sequences that moved lie farther from the training part than good samples do.
    if moved or any(m.verdict != CLOSE for name, m in train.items() if name != COPYING):
        moved |= {m.name: m for m in near if m.name == COPYING}
    out = {name: m.replace(verdict=CLOSE, found_in={}, moved=True) for name, m in moved.items()}
    return out, samples if out else None


def _is_as_far(train: Metric | None, samples: Metric) -> bool:
    """Whether the training part lies as far from the test part as the samples do, within errors."""
    if train is None:
        return False
    sign = -1 if CATALOGUE[samples.name].higher_is_better else 1
    error = math.hypot(*(_error(metric) for metric in (train, samples)))
    return sign * (samples.value - train.value) <= DETECTION_SDS * error


def _error(metric: Metric) -> float:
    """Standard error, from the 95% interval; its ends may be cut off at those of the figure."""
    return max(metric.high - metric.value, metric.value - metric.low) / 1.96
