"""The published scores as metrics: every repeat and every floor of a score in one vmap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import absent, bykind, resampling
from seqgan_jax.analysis.independent import Worth
from seqgan_jax.analysis.report import Metric
from seqgan_jax.analysis.resampling import FAR_SAMPLE, Halves

Array = NDArray[Any]
Progress = Callable[[str, float], None]

BOOTSTRAPS = 400
FID_DRAWS = 3  # bootstraps and small samples for each repeat; a distance takes 0.1 s
NAMES = ("discriminative", "predictive", "context_fid")


def min_max(real_NTD: Array, x_NTD: Array) -> Array:
    """Each feature scaled so that the real data span [0, 1]; constant features become 0."""
    low_D, high_D = real_NTD.min(axis=(0, 1)), real_NTD.max(axis=(0, 1))
    return ((x_NTD - low_D) / np.where(high_D > low_D, high_D - low_D, 1.0)).astype(np.float32)


def metrics(
    real_NTD: Array,
    generated_NTD: Array,
    names: Sequence[str],
    *,
    halves: list[Halves],
    worth: Worth,
    repeats: int,
    seed: int,
    progress: Progress,
    notes: list[str],
    ends: bool = False,
) -> dict[str, Metric]:
    """The chosen scores, each with a floor from halves of the real data, as `Metric`s.

    `halves` are random splits of the real data, `worth` is what these are worth; repeat r uses
    split r for its floor. Missing cells
    are filled on both sides alike; networks are told the lengths of sequences that end (`ends`).
    """
    lengths = [absent.lengths(x) for x in (real_NTD, generated_NTD)]
    if any(absent.missing(x, ends).any() for x in (real_NTD, generated_NTD)):
        notes.append(
            "Published scores: missing cells, real and generated, are filled with the value before "
            "(at the start of a sequence the first one after)."
        )
    real_NTD, generated_NTD = (
        bykind.filled(x) if absent.is_any(x) else x for x in (real_NTD, generated_NTD)
    )
    if ends and "context_fid" in names:
        names = [name for name in names if name != "context_fid"]
        notes.append("Context-FID is left out: its encoder is for sequences of one length.")
    scores = {
        "discriminative": _discriminative,
        "predictive": _predictive,
        "context_fid": _context_fid,
    }
    scaled = [min_max(real_NTD, x) for x in (real_NTD, generated_NTD)]
    if ends:
        from seqgan_jax.analysis.scores import of_lengths

        scaled = [of_lengths(x, each) for x, each in zip(scaled, lengths, strict=True)]
    splits = [halves[r % len(halves)] for r in range(repeats)]
    rng = np.random.default_rng(seed)
    case = _Case(rng, scaled[0], scaled[1], splits, worth, seed, progress, ends)
    if "predictive" in names and real_NTD.shape[2] == 1:
        notes.append(
            "The predictive score is not defined for one feature: here the series predicts its own "
            "next step."
        )
    return {name: score(case) for name, score in scores.items() if name in names}


@dataclass(frozen=True)
class _Case:
    """Two min-max scaled samples [N, T, D], and the splits of the real one, one a repeat.

    Where sequences end (`ends`) both are of `scores.of_lengths`.
    """

    rng: np.random.Generator
    real: Array
    generated: Array
    splits: list[Halves]
    worth: Worth
    seed: int
    progress: Progress
    ends: bool

    @property
    def both(self) -> Array:
        """The real sequences, then the generated ones."""
        return np.concatenate([self.real, self.generated])

    @property
    def generated_rows(self) -> Array:
        """Row numbers of the generated sequences in `both`."""
        return len(self.real) + np.arange(len(self.generated))

    def stage(self, what: str, scale: float = 1.0) -> Callable[[float], None]:
        return lambda share: self.progress(what, scale * share)


def _discriminative(case: _Case) -> Metric:
    from seqgan_jax.analysis import scores

    rng, repeats, count = case.rng, len(case.splits), len(case.real)
    pairs = [(np.arange(count), case.generated_rows)] * repeats
    pairs += [(half.first, half.second) for half in case.splits]
    progress = case.stage("discriminative score")
    values = scores.discriminative(case.both, pairs, case.seed, ends=case.ends, progress=progress)
    own, floors = values[:repeats], values[repeats:]
    # A few repeats do not show the spread of the floor; that of chance on the test sequences of two
    # halves is known, and is taken where it is the larger.
    tests = max(1, int(0.2 * count))
    chance = np.abs(rng.binomial(tests, 0.5, size=400) / tests - 0.5)
    if chance.std() > floors.std(ddof=1 if repeats > 1 else 0):
        floors = floors.mean() + chance - chance.mean()
    # A difference of FAR_SAMPLE sequences is tested on a fifth of them, of each kind.
    few = 2 * max(1, FAR_SAMPLE // 5)
    small = np.abs(rng.binomial(few, 0.5, size=400) / few - 0.5)
    tested = int(0.2 * count) + int(0.2 * len(case.generated))
    noise = rng.normal(scale=0.5 / np.sqrt(max(tested, 1)), size=BOOTSTRAPS)
    boots = rng.choice(own, (BOOTSTRAPS, repeats)).mean(axis=1) + noise
    return resampling.with_verdict("discriminative", own, own, floors, small, boots, case.worth)


def _predictive(case: _Case) -> Metric:
    from seqgan_jax.analysis import scores

    rng, repeats, count = case.rng, len(case.splits), len(case.real)
    rows = [case.generated_rows] * repeats + [half.first for half in case.splits]
    progress = case.stage("predictive score")
    errors = scores.predictive(
        case.both, rows, case.real, case.seed, ends=case.ends, progress=progress
    )
    of_generated, of_halves = errors[:repeats], errors[repeats:]
    own = of_generated.mean(axis=1)
    # Like with like: the predictors trained on real halves are tested on the other halves.
    seconds = [half.second for half in case.splits]
    matched, floors = (
        [error_N[rows].mean() for error_N, rows in zip(side, seconds, strict=True)]
        for side in (of_generated, of_halves)
    )
    drawn = rng.integers(count, size=(BOOTSTRAPS, min(FAR_SAMPLE, count)))
    small = of_halves[0][drawn].mean(axis=1)
    boots = rng.choice(of_generated.mean(axis=0), (BOOTSTRAPS, count)).mean(axis=1)
    boots = boots + rng.choice(own, (BOOTSTRAPS, repeats)).mean(axis=1) - own.mean()
    return resampling.with_verdict("predictive", own, matched, floors, small, boots, case.worth)


def _context_fid(case: _Case) -> Metric:
    from seqgan_jax.analysis import ts2vec

    rng, distance = case.rng, ts2vec.frechet_distance
    progress = case.stage("Context-FID", 0.9)
    params = ts2vec.train(case.real, len(case.splits), case.seed, progress=progress)
    of_real, of_generated = (ts2vec.embed(params, x) for x in (case.real, case.generated))
    own, matched, floors, small, boots = [], [], [], [], []
    few = min(FAR_SAMPLE, max(3, len(case.real) // 4))
    for a, b, half in zip(of_real, of_generated, case.splits, strict=True):
        own.append(distance(a, b))
        matched.append(distance(a[half.first], b[half.generated]))
        floors.append(distance(a[half.first], a[half.second]))
        for _ in range(FID_DRAWS):
            one, other = (rng.permutation(side)[:few] for side in (half.first, half.second))
            small.append(distance(a[one], a[other]))
            drawn = [x[rng.integers(len(x), size=len(x))] for x in (a, b)]
            # About the repeat's own value: encoders differ in scale, which is no noise of the data.
            boots.append(distance(*drawn) - own[-1])
    case.progress("Context-FID", 1.0)
    return resampling.with_verdict("context_fid", own, matched, floors, small, boots, case.worth)
