"""How long a run takes and how much memory, said after the first unit of each phase.

What was measured is used as it is. A phase that has not begun is reckoned by its work: numbers of
steps that the networks make, each at its usual cost. That is rough, and the words say so.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping

from seqgan_jax.config import Config
from seqgan_jax.core import sampling
from seqgan_jax.core.batch import fewer

LONG = 600.0  # seconds: a longer run is told how it would be shorter
LEAST = 0.1  # of its units are left to a phase by the advice
FLAGS = {
    "gen_pretrain": "--pre-epoch-num",
    "dis_pretrain": "--dis-pre-refreshes",
    "adversarial": "--total-batch",
}
# What a step of one sequence costs beside one that the small discriminator judges, on a CPU: first
# units of AR(1) and of the bundled weather, and docs/speed.md for the reference's discriminator.
# The policy learns in small batches and draws in large ones.
LEARNED = 30.0  # its likelihood and the gradient
SCORED = 1.0  # its likelihood
DRAWN = 0.5
JUDGED = {"small": 1.0, "reference": 10.0}
BACKWARD = 3.0  # the same of a discriminator with its gradient


@dataclasses.dataclass(frozen=True)
class Size:
    """What the work depends on beside the settings: sequences of two parts, and their steps."""

    train: int
    validation: int
    length: int


def work(config: Config, size: Size) -> dict[str, float]:
    """Work of a unit of each phase, in steps that the small discriminator judges.

    An epoch of pretraining passes over the training part and back, and over the validation part;
    one of the discriminator draws sequences and passes over them; a round updates the policy by
    rollouts of every K-th prefix of T steps, T / K rollouts of T / 2 steps on average. Of long
    sequences both take fewer.
    """
    adversarial, discriminator = config.adversarial, config.discriminator
    length, passes = size.length, discriminator.dis_passes
    epoch = LEARNED * size.train + SCORED * size.validation
    judged = JUDGED[discriminator.dis_size]
    number = fewer(discriminator.num_negatives, length)
    discriminator_epoch = number * (DRAWN + passes * 2 * BACKWARD * judged)
    update = DRAWN + 2 * LEARNED
    if adversarial.gradient != "pathwise":
        rollouts = adversarial.rollout_num * math.ceil(
            length / sampling.spacing(adversarial.rollout_every, length)
        )
        update += rollouts * (DRAWN / 2 + judged)
    if adversarial.gradient != "reinforce":
        update += BACKWARD * judged
    batch = fewer(config.run.batch_size, length)
    round_ = adversarial.gen_updates * batch * update + SCORED * size.validation
    round_ += discriminator.dis_refreshes * discriminator_epoch
    units = {"gen_pretrain": epoch, "dis_pretrain": discriminator_epoch, "adversarial": round_}
    return {name: length * steps for name, steps in units.items()}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Of a run from its beginning to the end of training, seconds at most: phases may stop earlier.

    `left` are units that are still to be done and `done` those that were, of each phase; `each`
    the seconds of one, `measured` or reckoned.
    """

    passed: float
    done: Mapping[str, int]
    left: Mapping[str, int]
    each: Mapping[str, float]
    measured: frozenset[str]

    @property
    def seconds(self) -> float:
        """From the beginning to the end of training, without compiling what is not begun."""
        return self.passed + sum(self.left[name] * self.each[name] for name in self.left)

    def shorter(self) -> tuple[str, float]:
        """The flag that would bring the run to `LONG`, and the seconds that it saves at most."""
        name = max(self.left, key=lambda name: self.left[name] * self.each[name])
        others = self.seconds - self.left[name] * self.each[name]
        units = int(max(LONG - others, 0.0) / self.each[name])
        units = min(self.left[name], max(units, math.ceil(LEAST * self.left[name])))
        saved = (self.left[name] - units) * self.each[name]
        return f"{FLAGS[name]} {self.done[name] + units}", saved

    def __str__(self) -> str:
        guessed = {name for name, units in self.left.items() if units} - self.measured
        said = f"all of training takes {'roughly ' * bool(guessed)}{duration(self.seconds)} at most"
        said += ", beside compiling what is not begun" * bool(guessed)
        if memory := peak_memory():
            said += f"; {memory / 1e9:.1f} GB of memory so far"
        if self.seconds > max(LONG, self.passed):
            flag, saved = self.shorter()
            said += (
                f"; {flag}: {duration(saved)} less (Ctrl-C, then go on with --resume and this flag)"
            )
        return said


def reckon(
    config: Config,
    size: Size,
    passed: float,
    measured: dict[str, float],
    done: Mapping[str, int],
    left: Mapping[str, int],
) -> Estimate:
    """The estimate by the seconds of a unit of each phase that was measured, the last one last."""
    steps, last = work(config, size), next(reversed(measured))
    pace = measured[last] / steps[last]
    each = {name: measured.get(name, pace * steps[name]) for name in left}
    return Estimate(passed, dict(done), dict(left), each, frozenset(measured))


def duration(seconds: float) -> str:
    """Words for a time.

    >>> duration(42.3), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def peak_memory() -> int | None:
    """Most bytes that this process, or its GPU, held so far; None where the system does not say."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
