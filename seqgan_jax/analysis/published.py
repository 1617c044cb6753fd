"""The published scores as metrics: every repeat and every floor of a score in one vmap."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import resampling
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
    repeats: int,
    seed: int,
    progress: Progress,
    notes: list[str],
) -> dict[str, Metric]:
    """The chosen scores, each with a floor from halves of the real data, as `Metric`s.

    `halves` are random splits of the real data; repeat r uses split r for its floor.
    """
    real, generated = min_max(real_NTD, real_NTD), min_max(real_NTD, generated_NTD)
    splits = [halves[r % len(halves)] for r in range(repeats)]
    rng = np.random.default_rng(seed)
    found = {}
    if "discriminative" in names:
        found["discriminative"] = _discriminative(rng, real, generated, splits, seed, progress)
    if "predictive" in names:
        found["predictive"] = _predictive(rng, real, generated, splits, seed, progress)
        if real.shape[2] == 1:
            notes.append(
                "The predictive score is not defined for one feature: here the series predicts "
                "its own next step."
            )
    if "context_fid" in names:
        found["context_fid"] = _context_fid(rng, real, generated, splits, seed, progress)
    return found


def _discriminative(
    rng: np.random.Generator,
    real: Array,
    generated: Array,
    splits: list[Halves],
    seed: int,
    progress: Progress,
) -> Metric:
    from seqgan_jax.analysis import scores

    repeats, count = len(splits), len(real)
    everything = (np.arange(count), count + np.arange(len(generated)))
    pairs = [everything] * repeats + [(half.first, half.second) for half in splits]
    values = scores.discriminative(
        np.concatenate([real, generated]),
        pairs,
        seed,
        tell=lambda share: progress("discriminative score", share),
    )
    own, floors = values[:repeats], values[repeats:]
    tested = int(0.2 * count) + int(0.2 * len(generated))
    # Few repeats tell little about the floor's spread; that of chance on the test sequences of two
    # halves is known, and is taken where it is the larger.
    chance = rng.binomial(max(1, int(0.2 * count)), 0.5, size=400) / max(1, int(0.2 * count))
    chance = np.abs(chance - 0.5)
    if chance.std() > floors.std(ddof=1 if repeats > 1 else 0):
        floors = floors.mean() + chance - chance.mean()
    # A difference of FAR_SAMPLE sequences is tested on a fifth of them, of each kind.
    few = 2 * max(1, FAR_SAMPLE // 5)
    small = np.abs(rng.binomial(few, 0.5, size=400) / few - 0.5)
    noise = rng.normal(scale=0.5 / np.sqrt(max(tested, 1)), size=BOOTSTRAPS)
    boots = rng.choice(own, (BOOTSTRAPS, repeats)).mean(axis=1) + noise
    return resampling.judged("discriminative", own, own, floors, small, boots)


def _predictive(
    rng: np.random.Generator,
    real: Array,
    generated: Array,
    splits: list[Halves],
    seed: int,
    progress: Progress,
) -> Metric:
    from seqgan_jax.analysis import scores

    repeats, count = len(splits), len(real)
    rows = [count + np.arange(len(generated))] * repeats + [half.first for half in splits]
    errors = scores.predictive(
        np.concatenate([real, generated]),
        rows,
        real,
        seed,
        tell=lambda share: progress("predictive score", share),
    )
    own = errors[:repeats].mean(axis=1)
    # Like with like: the predictors trained on real halves are tested on the other halves.
    pairs = [(errors[r], errors[repeats + r], half.second) for r, half in enumerate(splits)]
    matched = np.array(
        [trained_on_generated[rows].mean() for trained_on_generated, _, rows in pairs]
    )
    floors = np.array([trained_on_real[rows].mean() for _, trained_on_real, rows in pairs])
    drawn = rng.integers(count, size=(BOOTSTRAPS, min(FAR_SAMPLE, count)))
    small = errors[repeats][drawn].mean(axis=1)
    mean_N = errors[:repeats].mean(axis=0)
    boots = rng.choice(mean_N, (BOOTSTRAPS, count)).mean(axis=1)
    boots = boots + rng.choice(own, (BOOTSTRAPS, repeats)).mean(axis=1) - own.mean()
    return resampling.judged("predictive", own, matched, floors, small, boots)


def _context_fid(
    rng: np.random.Generator,
    real: Array,
    generated: Array,
    splits: list[Halves],
    seed: int,
    progress: Progress,
) -> Metric:
    from seqgan_jax.analysis import ts2vec

    repeats, count = len(splits), len(generated)
    params = ts2vec.train(
        real, repeats, seed, tell=lambda share: progress("Context-FID", 0.9 * share)
    )
    of_real, of_generated = (ts2vec.embed(params, x) for x in (real, generated))
    distance = ts2vec.frechet_distance
    own, matched, floors, small, boots = [], [], [], [], []
    few = min(FAR_SAMPLE, max(3, len(real) // 4))
    for r, half in enumerate(splits):
        a, b = of_real[r], of_generated[r]
        own.append(distance(a, b))
        matched.append(distance(a[half.first], b[half.generated]))
        floors.append(distance(a[half.first], a[half.second]))
        for _ in range(FID_DRAWS):
            one, other = (rng.permutation(side)[:few] for side in (half.first, half.second))
            small.append(distance(a[one], a[other]))
            drawn = rng.integers(len(a), size=len(a)), rng.integers(count, size=count)
            # About the repeat's own value: encoders differ in scale, which is no noise of the data.
            boots.append(distance(a[drawn[0]], b[drawn[1]]) - own[-1])
    progress("Context-FID", 1.0)
    return resampling.judged(
        "context_fid",
        np.array(own),
        np.array(matched),
        np.array(floors),
        np.array(small),
        np.array(boots),
    )
