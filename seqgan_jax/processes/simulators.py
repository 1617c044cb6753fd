"""Simulators by name: the only data for which "perfect" is a number, since their density is known.

A trained model q is compared with the truth p in nats, per step of T:

    coverage gap = (mean over x ~ p of -log q(x)  -  H(p)) / T          = KL(p || q) / T
    quality gap  =  mean over x ~ q of (log q(x)  -  log p(x)) / T      = KL(q || p) / T

Both are of one measure: where p counts a mass, so must q (`Simulator.columns` says where).
"""

from collections.abc import Callable

from seqgan_jax.errors import UsageError
from seqgan_jax.processes.base import Simulator
from seqgan_jax.processes.counts import SeasonalCounts
from seqgan_jax.processes.held import HeldSensor
from seqgan_jax.processes.linear import AR1, VAR1, SeasonalAR2
from seqgan_jax.processes.lstm import LSTMOracle
from seqgan_jax.processes.markov import MarkovStates
from seqgan_jax.processes.prices import Prices
from seqgan_jax.processes.rain import Rain
from seqgan_jax.processes.regime import RegimeAR

KINDS: dict[str, Callable[..., Simulator]] = {
    "ar1": AR1,
    "var1": VAR1,
    "seasonal": SeasonalAR2,
    "regime": RegimeAR,
    "lstm": LSTMOracle,
    "rain": Rain,
    "markov": MarkovStates,
    "counts": SeasonalCounts,
    "held": HeldSensor,
    "prices": Prices,
}
NAMES = tuple(KINDS)


def get(name: str, length: int = 20) -> Simulator:
    """The simulator of that name with its default parameters.

    Args:
      name: one of `NAMES`.
      length: T, steps per sequence, at least 2.

    Raises:
      UsageError: unknown name, or a length below 2.

    >>> get("var1", length=12).num_features
    3
    """
    if name not in KINDS:
        raise UsageError(f"There is no simulator {name!r}. Choose one of: {', '.join(NAMES)}.")
    return KINDS[name](length=length)
