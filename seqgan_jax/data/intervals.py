"""Bounds of a column: its map to the real line, exact, with the Jacobian."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from seqgan_jax.data.bounds import LARGEST, Limits
from seqgan_jax.data.files import printable
from seqgan_jax.errors import DataError

SMALLEST = 5e-324  # above 0
LOG_RANGE = (math.log(SMALLEST), 709.0)  # exp of these is above 0 and finite
ROOTS = (-1000.0, 1e6)  # (10^6)^3 times a scale is finite
LOG = [0.0, None, 0.0, 0.0]  # --log, as stored, but for its scale of 0


@dataclasses.dataclass(frozen=True)
class Interval:
    """Bounds of a column, and its map to the real line.

        y = log a - log b,   a = x - low + below,   b = high - x + above,
        log |dy/dx| = log (a + b) - log a - log b

    Of one bound alone, the root of the distance is what is learned, and a logarithm only where that
    is small: what is normal in y then has tails like a third power in x. Those of a plain logarithm
    are exponential: a rain of .1 mm that was hard to foresee would make one of a kilometre likely.

        r = (a / scale)^(1/3),   y = log(exp(r) - 1),   log |dy/dx| = log r - log(1 - e^-r) - log 3a

    and without low the same of b, with y = -log(exp(r) - 1). --log is low = below = scale = 0 and
    y = log a. Without both, y = x.

    The margins `below` and `above` make the interval wider, so that y is finite on a bound that is
    itself a value (humidity 100). The density is an exact change of variables on the wider
    interval, where it integrates to one; samples from a margin become the bound. So the density
    integrates over [low, high] to one minus the mass of the margins, which is the probability that
    a sample is exactly on a bound.

    What float32 on the device cannot resolve is relative to a and b: y is rounded by about
    6e-8 |y - shift|, so values are told apart to that share of their distance from the end of the
    wider interval. Near a bound that is finer than without bounds, but no finer than that share of
    the margin.
    """

    low: float = -math.inf
    high: float = math.inf
    below: float = 0.0
    above: float = 0.0
    scale: float = 0.0

    @classmethod
    def fit(cls, x: np.ndarray, limits: Limits | None) -> "Interval":
        """The interval of a column with these values, all within the limits.

        Where values are on a bound, its margin is half the distance within which as many others
        lie (half of the smallest gap, where one value is on it), at most half their median
        distance: the values on it then have about the density of those beside it. Else the margin
        is 1/1000 of the smallest distance, so that the bound is finite where later data have it.
        """
        if limits is None:
            return cls()
        margins = [
            _margin(sign * (x - bound)) if limits.closed and math.isfinite(bound) else 0.0
            for sign, bound in ((1, limits.low), (-1, limits.high))
        ]
        found = cls(limits.low, limits.high, *margins)
        if not limits.closed or math.isfinite(found.width):
            return found
        distance = found._distances(x)[0 if math.isinf(limits.high) else 1]
        return dataclasses.replace(found, scale=float(np.median(distance)))

    @property
    def free(self) -> bool:
        """There is no bound."""
        return self == Interval()

    @property
    def width(self) -> float:
        """a + b."""
        return (self.high - self.low) + self.below + self.above

    def __str__(self) -> str:
        if self.free:
            return ""
        if self.below == 0 and self.above == 0:
            return "learned as logarithm"
        low, high = self.low - self.below, self.high + self.above
        words = f"{low:.6g} to {high:.6g}"
        words = f"above {low:.6g}" if math.isinf(high) else words
        words = f"below {high:.6g}" if math.isinf(low) else words
        return f"{self.low:.6g} to {self.high:.6g}, learned on {words}"

    def _distances(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """a and b, 1 where there is no bound; values outside count as on the bound."""
        x = np.clip(x, self.low, self.high)
        one = np.ones(x.shape)
        a = one if math.isinf(self.low) else np.fmax(x - self.low + self.below, SMALLEST)
        b = one if math.isinf(self.high) else np.fmax(self.high - x + self.above, SMALLEST)
        return a, b

    def forward(self, x: np.ndarray) -> np.ndarray:
        """y, float64."""
        if self.free:
            return x
        a, b = self._distances(x)
        if not self.scale:
            return np.log(a) - np.log(b)
        root = np.cbrt(a * b / self.scale)  # one of them is 1
        y = root + np.log(-np.expm1(-root))
        return y if math.isinf(self.high) else -y

    def log_derivative(self, x: np.ndarray) -> np.ndarray:
        """log |dy/dx|, float64."""
        a, b = self._distances(x)
        if self.scale:
            root = np.cbrt(a * b / self.scale)
            return np.log(root) - np.log(-np.expm1(-root)) - np.log(3.0 * a * b)
        return (math.log(self.width) if math.isfinite(self.width) else 0.0) - np.log(a) - np.log(b)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """x in [low, high], finite, and above 0 for --log."""
        if self.free:
            return y
        if self.scale:
            is_above = math.isinf(self.high)
            distance = self.scale * np.logaddexp(0.0, np.clip(y if is_above else -y, *ROOTS)) ** 3
            x = self.low - self.below + distance if is_above else self.high + self.above - distance
        elif math.isinf(self.high):
            x = self.low + (np.exp(np.clip(y, *LOG_RANGE)) - self.below)
        elif math.isinf(self.low):
            x = self.high - (np.exp(np.clip(-y, *LOG_RANGE)) - self.above)
        else:  # from the nearer end, which keeps every digit
            t = np.exp(-np.abs(y))
            near = self.width * (t / (1.0 + t))
            x = np.where(y <= 0, self.low + (near - self.below), self.high - (near - self.above))
        return np.clip(x, self.low, self.high)

    def holds(self, x: np.ndarray) -> np.ndarray:
        """bool, for each value: it is one that samples can have."""
        return (x > self.low if self.below == 0 else x >= self.low) & (x <= self.high)

    def to_json(self) -> list[float | None] | None:
        """low, high, below, above, scale with None for infinite; None where there is no bound."""
        if self.free:
            return None
        return [value if math.isfinite(value) else None for value in dataclasses.astuple(self)]

    @classmethod
    def from_json(cls, stored: list[Any] | None) -> "Interval":
        """The inverse of `to_json`, of what `is_json`."""
        if stored is None:
            return cls()
        low, high, *rest = stored
        return cls(-math.inf if low is None else low, math.inf if high is None else high, *rest)

    @staticmethod
    def is_json(stored: Any) -> bool:
        """Whether `to_json` of an interval with bounds can give this."""
        if not isinstance(stored, list) or len(stored) not in (4, 5):  # 4: version 0.1, no scale
            return False
        low, high, below, above, *scales = stored
        bounds = [each for each in (low, high) if each is not None]
        if not bounds or not all(map(is_real, [*bounds, below, above, *scales])):
            return False
        if stored[:4] == LOG and not any(scales):
            return True
        if scales and (scales[0] > 0) != (len(bounds) == 1):
            return False
        if max(map(abs, bounds)) > LARGEST or (len(bounds) == 2 and low >= high):
            return False
        widest = high - low if len(bounds) == 2 else math.inf
        margins = ((low, below), (high, above))
        return all(m == 0 if end is None else 0 < m <= widest for end, m in margins)


def _margin(distance: np.ndarray) -> float:
    """See `Interval.fit`."""
    on = int(np.count_nonzero(distance <= 0))
    if on == 0:
        return max(1e-3 * float(distance.min()), 1e-300)
    rank = min(2 * on - 1, (on + len(distance)) // 2)  # of as many others, or of their median
    return max(0.5 * float(np.partition(distance, rank)[rank]), 1e-300)


def check(
    blocks: Iterable[tuple[int, np.ndarray]],
    limits_D: Sequence[Limits | None],
    names: Sequence[str],
    place: Callable[[int, int, int], str],
) -> None:
    """Raise DataError where a value breaks what --log and --bounds say of its column.

    What is to be learned as logarithm may be constant anyway: it is then not learned.

    Args:
      blocks: (number of the first sequence, sequences [N, T, D]), in order.
      limits_D: of each column, see `bounds.of_columns`.
      names: of the D columns.
      place: words for where (sequence, step, column) is, all from 0.
    """
    found: dict[int, tuple[int, int, float]] = {}
    ranges: dict[int, tuple[float, float]] = {}
    limited = [(d, limits) for d, limits in enumerate(limits_D) if limits is not None]
    for start, x_NTD in blocks:
        for d, limits in limited:
            x = x_NTD[..., d]
            low, high = ranges.get(d, (math.inf, -math.inf))
            ranges[d] = (
                min(low, float(np.fmin.reduce(x, None))),
                max(high, float(np.fmax.reduce(x, None))),
            )
            least = limits.low if limits.closed else SMALLEST
            outside = np.argwhere((x < least) | (x > limits.high))
            if len(outside) and d not in found:
                n, t = (int(i) for i in outside[0])
                found[d] = start + n, t, float(x[n, t])
    for d, limits in limited:
        if d in found and (limits.closed or ranges[d][0] < ranges[d][1]):
            n, t, value = found[d]
            name = printable(names[d])
            raise DataError(
                f"{place(n, t, d)}: column {name!r} is {value:.9g}, {limits.broken(name)}"
            )


def is_real(value: Any) -> bool:
    """A finite number as JSON gives floats back."""
    return type(value) is float and math.isfinite(value)
