"""`analyze`: compare two samples, each figure beside its floor and with an interval."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import (
    absent,
    averages,
    bykind,
    classes,
    independent,
    judging,
    metrics,
    partial,
    resampling,
    seen,
    sequences,
    yardstick,
)
from seqgan_jax.analysis.bykind import Holding
from seqgan_jax.analysis.catalogue import CATALOGUE
from seqgan_jax.analysis.independent import Worth
from seqgan_jax.analysis.report import Metric, Report
from seqgan_jax.analysis.text import SIDES
from seqgan_jax.config import DataConfig
from seqgan_jax.data import kinds as of_data
from seqgan_jax.data import layout, lengths, overlap
from seqgan_jax.data.arrays import as_array
from seqgan_jax.data.form import TimeForm
from seqgan_jax.data.kind import CATEGORICAL, CONTINUOUS, Kind
from seqgan_jax.data.layout import Sequences, default_names
from seqgan_jax.errors import DataError

Array = NDArray[Any]

MAX_SEQUENCES = 20_000
MAX_VALUES = 4_000_000
LEAST_SEQUENCES = 10
QUARTILES = (0.25, 0.5, 0.75)
PER_SECOND = {"epoch ms": 1e3, "epoch us": 1e6, "epoch ns": 1e9}


def analyze(
    real: object,
    generated: object,
    *,
    train: object | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
    max_sequences: int = MAX_SEQUENCES,
    scores: Sequence[str] = (),
    repeats: int = 5,
    kinds: Sequence[Kind] | None = None,
    rules: Holding | None = None,
    judge: str = "auto",
    label: str = "",
    ends: bool | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Report:
    """Can `generated` sequences stand in for `real` ones?

    Each figure is compared with the same figure between random halves of the real data, and gets
    a bootstrap interval over sequences and a verdict: close, different or far. The whole is
    inconclusive where none differs and data are too few to tell, see `seen.of_columns`.

    Args:
        real, generated: arrays [N, T, D] (or [N, T]) in data units, DataFrames, or sequences that
            `layout.load` has read. At least 10 sequences each. A real series is cut into windows
            as long as the generated sequences. NaN is absent: a missing cell, or a step after the
            end of a sequence that is shorter than others.
        train: the training sequences [N, T, D]; with them, memorisation is judged against them
            and `real` must be held out. Without, it is judged against half of `real`. What differs
            from `real` in them as much as in generated ones is excused, see `yardstick`.
        names: names of the D features; x, or x1, x2, ..., where none are given.
        seed: of the random halves, resamples and permutations.
        max_sequences: of each kind; more are thinned out at random (the report says so).
        scores: published scores to compute as well: "discriminative", "predictive",
            "context_fid". They take from seconds to minutes.
        repeats: of each published score.
        kinds: of the D columns, found in the training or real data where not given.
        rules: between columns, see `data.rules.Rules`.
        judge: whether a classifier judges, see `judging.areas`: "always", "never", or "auto": where
            it takes less than about 10 s.
        label: the column of classes, for figures of each; see `classes.table`.
        ends: whether sequences end, and NaN in all columns up to the last step is after the end;
            None: where they were read as such, or no step within a sequence is like that. The
            report says which.
        progress: called with (what, share done) as the work proceeds.
    Raises:
        DataError: shapes that do not fit together, infinite values, a column without a value, too
            few sequences.

    >>> rng = np.random.default_rng(0)
    >>> report = analyze(rng.normal(size=(200, 8)), rng.normal(size=(200, 8)) + 3)
    >>> report.verdict
    'far'
    """
    started = time.perf_counter()
    progress = progress or (lambda _what, _share: None)
    sample = of_python(generated, "generated")
    given = {"real": real} | ({} if train is None else {"train": train})
    steps = None if sample.ends else sample.x_NTD.shape[1]
    arrays = {what: of_python(x, what, steps) for what, x in given.items()}
    arrays = alike(arrays | {"generated": sample})
    if ends is None and any(each.ends for each in arrays.values()):
        ends = True
    names = names or named(arrays["real"])
    features = arrays["real"].x_NTD.shape[2]
    labels = tuple(names) if names else default_names(features)
    notes: list[str] = []
    given_NTD = {what: each.x_NTD for what, each in arrays.items()}
    if len({x.shape[2] for x in given_NTD.values()}) == 1 and len(labels) == features:
        given_NTD, ends = absent.prepared(given_NTD, labels, ends, notes)
    ends = bool(ends)
    real_NTD, generated_NTD = given_NTD["real"], given_NTD["generated"]
    train_NTD = given_NTD.get("train")
    check_pair(real_NTD, generated_NTD, train_NTD)
    counts = len(real_NTD), len(generated_NTD)
    if len(labels) != features:
        raise DataError(f"{len(labels)} names were given for {features} features: {labels}")
    rng = np.random.default_rng(seed)
    progress("reading", 0.0)
    ids_N = np.arange(len(real_NTD))
    windows = overlap.find(real_NTD)
    if windows is not None:
        order_N, ids_N = windows.blocks(real_NTD.shape[1])
        real_NTD, windows = real_NTD[order_N], windows[order_N]
        notes.append(
            f"Of the real data, {windows}: they are split and resampled in {ids_N[-1] + 1} blocks "
            "of neighbouring windows, since single windows depend on each other."
        )
    earlier = independent.series_of(train_NTD) if windows is not None else []
    worth = independent.worth(labels, real_NTD, int(ids_N[-1]) + 1, windows, earlier)
    own_windows = overlap.find(generated_NTD)
    if own_windows is not None:
        notes.append(
            f"Of the generated data, {own_windows}: they are worth less than their number."
        )
        blocks = int(own_windows.blocks(generated_NTD.shape[1])[1][-1]) + 1
        worth = worth.at_most(independent.worth(labels, generated_NTD, blocks, own_windows))
    real_NTD, ids_N = _thin(rng, real_NTD, ids_N, max_sequences, "real", notes)
    generated_NTD, _ = _thin(
        rng, generated_NTD, np.arange(len(generated_NTD)), max_sequences, "generated", notes
    )
    sides = {"real": real_NTD, "generated": generated_NTD}
    of_absent = absent.table(sides, labels, ends)
    generated_NTD = absent.alike(
        np.random.default_rng([seed, features]), real_NTD, generated_NTD, ends, notes
    )
    progress("distributions", 0.1)
    units = averages.units(real_NTD)
    for d in np.flatnonzero(units.constant_D):
        notes.append(f"{labels[d]} is constant in the real data; its unit is its own size.")
    halves = resampling.random_halves(rng, ids_N, len(generated_NTD), resampling.SPLITS)
    z_real, z_generated = units.standardise(real_NTD), units.standardise(generated_NTD)
    bins = averages.bins_of(z_real, z_generated, ends)
    if bins.support is not None and (words_of_support := bins.support.note(real_NTD.shape[1])):
        notes.append(words_of_support)
    groups = resampling.groups_of(rng, ids_N, len(z_generated), halves)
    found, curves = _average_metrics(bins, z_real, z_generated, groups, worth)
    form = arrays["real"].form
    words = [getattr(c, "categories", ()) for c in form.columns] if form else [()] * features
    if kinds is None:
        known = real_NTD if train_NTD is None else train_NTD
        kinds = kinds_of(known, [bool(each) for each in words], labels, ends)
    if len(kinds) != features:
        raise DataError(f"{len(kinds)} kinds were given for {features} features")
    both = real_NTD, generated_NTD
    gaps = bool(absent.missing(sides["generated"], ends).any())
    more = absent.parts(real_NTD, ends, gaps), absent.parts(generated_NTD, ends, gaps)
    own, of_kinds, broken = bykind.metrics(kinds, both, groups, labels, rules, worth, words, more)
    found |= own
    of_rules = dict(zip(SIDES, broken, strict=True))
    of_classes = {}
    if label:
        each = words[labels.index(label)] if label in labels else ()
        random = np.random.default_rng([seed, len(labels)])  # other figures stay what they are
        of_classes = classes.table(label, labels, both, ids_N, each, random)
    if windows is None:
        p_value = _ks_permutation(rng, bins, z_real, z_generated)
        found["ks"] = found["ks"].replace(p_value=p_value)
    progress("whole sequences", 0.6)
    z_train = None if train_NTD is None else units.standardise(train_NTD)
    found |= sequences.pair_metrics(rng, z_real, z_generated, ids_N, halves, worth)
    progress("memorisation", 0.85)
    found["memorisation"], extra = sequences.memorisation(
        rng, z_real, z_generated, z_train, halves[0], worth
    )
    if z_train is None:
        notes.append(
            "No training data were given: memorisation is judged against one half of the real data."
        )
    areas = None
    parts = train_NTD, real_NTD, generated_NTD
    if judging.is_wanted(judge, parts, notes):
        progress("judge", 0.9)
        areas = judging.areas(*parts, seed, ids_N, labels, notes, ends)
        if areas is not None:
            found["judge"] = judging.metric(areas, labels, worth)
    if scores:
        from seqgan_jax.analysis import published

        found |= published.metrics(
            real_NTD,
            generated_NTD,
            scores,
            halves=halves,
            worth=worth,
            repeats=repeats,
            seed=seed,
            progress=progress,
            notes=notes,
            ends=ends,
        )
    progress("done", 1.0)
    diversity = {
        kind: sequences.diversity(rng, x)
        for kind, x in (("real", z_real), ("generated", z_generated))
    }
    statistics = {
        label: {
            kind: metrics.basic_statistics(x[..., d]) | metrics.temporal_statistics(x[..., d])
            for kind, x in (("real", real_NTD), ("generated", generated_NTD))
        }
        for d, label in enumerate(labels)
    }
    noticed: Mapping[str, seen.Seen] = seen.of_columns(
        np.random.default_rng([seed, len(labels), 1]), bins, z_real, found, kinds, labels, units
    )
    if train_NTD is not None and len(train_NTD) >= LEAST_SEQUENCES:
        again = functools.partial(
            analyze,
            names=labels,
            seed=seed,
            max_sequences=yardstick.MOST,
            kinds=kinds,
            rules=rules,
            judge="never",
            ends=ends,
        )
        moved, samples = yardstick.excused(
            found,
            lambda: again(train_NTD, generated_NTD),
            lambda: again(given_NTD["real"], train_NTD),
        )
        if samples is not None and samples.worth is not None:
            found |= moved
            noticed, worth = samples.seen, samples.worth
            notes.append(
                f"The real data have moved: in {len(moved)} figures the training data differ from "
                "them as much as the generated data do, and these are as close to the training "
                "data as those are to themselves. They are not called different for that."
            )
    return Report(
        metrics={name: found[name] for name in CATALOGUE if name in found},
        statistics=statistics,
        diversity=diversity,
        curves=curves,
        extra=extra,
        kinds=kinds,
        of_kinds=of_kinds,
        of_rules=of_rules,
        classes=of_classes,
        areas=areas,
        absent=of_absent,
        seen=noticed,
        worth=worth,
        names=labels,
        counts=counts,
        real_NTD=real_NTD,
        generated_NTD=generated_NTD,
        notes=tuple(notes),
        seed=seed,
        seconds=time.perf_counter() - started,
    )


def kinds_of(
    x_NTD: Array, words: Sequence[bool], names: Sequence[str], ends: bool = False
) -> tuple[Kind, ...]:
    """The kind of each column as training finds it, but that gaps are figures of their own."""
    once_NT = lengths.there(x_NTD) if ends else of_data.once(x_NTD)
    whole_NTD = lengths.filled(x_NTD) if ends else x_NTD
    gaps_D = np.isnan(whole_NTD).any(axis=(0, 1)).tolist()
    found = of_data.find(whole_NTD, (), words, names, once_NT, gaps_D)
    return tuple(
        Kind(CONTINUOUS)  # it is constant
        if kind.name == CATEGORICAL and len(kind.levels) == 1
        else dataclasses.replace(kind, missing=False)
        for kind in found
    )


def of_python(x: object, what: str, window: int | None = None) -> Sequences:
    """An array or table as sequences; a table's are cut into windows where `window` says so."""
    if isinstance(x, Sequences):
        return x
    if layout.frame_of(x) is not None:
        return layout.from_python(x, DataConfig(window=window))
    x_NTD = as_array(layout.one_array(x), what, may_miss=True)
    return Sequences(x_NTD, default_names(x_NTD.shape[2]), what)


def named(sequences: Sequences) -> tuple[str, ...] | None:
    """The names of columns that have some of their own."""
    names = sequences.names
    return None if names == default_names(len(names)) else names


def alike(samples: dict[str, Sequences]) -> dict[str, Sequences]:
    """The samples with their columns in the order of the real ones.

    Raises:
      DataError: other columns, or another time step.
    """
    real = samples["real"]
    found = {}
    for what, each in samples.items():
        found[what] = each
        wanted, there = named(real), named(each)
        if wanted and there and wanted != there:
            if set(wanted) != set(there):
                own = [n for n in there if n not in wanted] or ["none"]
                gone = [n for n in wanted if n not in there] or ["none"]
                raise DataError(
                    f"the {what} data have other columns than the real data: {', '.join(own)} in "
                    f"place of {', '.join(gone)}. Choose the same ones in both: --columns."
                )
            order = [there.index(name) for name in wanted]
            found[what] = dataclasses.replace(each, x_NTD=each.x_NTD[..., order], names=wanted)
        times = [s.form.time for s in (real, each) if s.form and s.form.time]
        if len(times) == 2 and not _is_one_step(*times):
            steps = [time.rule or f"{time.step:g}" for time in times]
            raise DataError(
                f"the real data have a time step of {steps[0]}, the {what} data of {steps[1]}: "
                "they cannot be compared. Bring both to one step."
            )
    return found


def _is_one_step(a: TimeForm, b: TimeForm) -> bool:
    """Whether steps are equal, as far as they can be told: an irregular one is an average."""
    if "number" in (a.kind, b.kind):
        return a.kind != b.kind or a.step == b.step
    first, second = (time.step / PER_SECOND.get(time.kind, 1) for time in (a, b))
    return 0.5 < first / second < 2


def check_pair(real_NTD: Array, generated_NTD: Array, train_NTD: Array | None) -> None:
    """DataError unless samples have the same steps, features and units, and enough sequences."""
    others = {"generated": generated_NTD} | ({} if train_NTD is None else {"training": train_NTD})
    for what, x in others.items():
        if x.shape[1:] != real_NTD.shape[1:]:
            raise DataError(
                f"the real data have {real_NTD.shape[1]} steps of {real_NTD.shape[2]} features, "
                f"the {what} data {x.shape[1]} of {x.shape[2]}: they cannot be compared. A text "
                "file of several features needs --features; a long series needs --window"
            )
        if words := _other_units(real_NTD, x):
            raise DataError(
                f"the {what} data are in other units than the real data, it seems: {words}. Bring "
                "both to the same units."
            )
    for what, x in {"real": real_NTD, "generated": generated_NTD}.items():
        if len(x) < LEAST_SEQUENCES:
            raise DataError(
                f"only {len(x)} {what} sequences: no figure has a meaning with fewer than "
                f"{LEAST_SEQUENCES}; give more"
            )


def _other_units(real_NTD: Array, x_NTD: Array) -> str:
    """How the units of x differ, in words; "" where nothing shows that they do.

    Said only where every column agrees, and medians with spreads: a poor sample is no other unit.
    """
    if absent.is_any(real_NTD, x_NTD):
        real_NTD, x_NTD = (bykind.filled(each) for each in (real_NTD, x_NTD))
    real, other = (
        np.quantile(each.reshape(-1, each.shape[2]), QUARTILES, axis=0)
        for each in (real_NTD, x_NTD)
    )
    spread, others = real[2] - real[0], other[2] - other[0]
    if np.any(spread <= 0) or np.any(others <= 0):
        return ""
    ratio = others / spread
    power = 10.0 ** np.round(np.log10(ratio))
    same = np.abs(other[1] - power * real[1]) < 0.3 * power * spread
    level = np.abs(real[1]) > spread  # else a ratio of medians says nothing
    if np.all((np.abs(ratio / power - 1) < 0.3) & same & level & (power != 1)):
        return f"values are about {power[0]:g} times as large"
    apart = (real.min(axis=0) > 3) | (spread > 10)
    is_unit = (x_NTD.min(axis=(0, 1)) >= 0) & (x_NTD.max(axis=(0, 1)) <= 1)
    is_standard = (np.abs(x_NTD.mean(axis=(0, 1))) < 0.2) & (
        np.abs(x_NTD.std(axis=(0, 1)) - 1) < 0.2
    )
    for scaled, words in ((is_unit, "they lie in [0, 1]"), (is_standard, "mean 0 and variance 1")):
        if np.all(scaled & apart):
            return f"{words}, as if they were still scaled"
    return ""


def _thin(
    rng: np.random.Generator,
    x_NTD: Array,
    ids_N: NDArray[Any],
    most: int,
    what: str,
    notes: list[str],
) -> tuple[Array, NDArray[Any]]:
    """A random part of the data where there is too much of it; whole blocks stay together."""
    most = max(2 * LEAST_SEQUENCES, min(most, MAX_VALUES // (x_NTD.shape[1] * x_NTD.shape[2])))
    if len(x_NTD) <= most:
        return x_NTD, ids_N
    blocks = int(ids_N[-1]) + 1
    kept_blocks = rng.permutation(blocks)[: max(2, most * blocks // len(x_NTD))]
    rows = np.flatnonzero(np.isin(ids_N, kept_blocks))
    notes.append(
        f"{len(rows):,} of the {len(x_NTD):,} {what} sequences were used, drawn at random."
    )
    return x_NTD[rows], np.unique(ids_N[rows], return_inverse=True)[1]


def _average_metrics(
    bins: averages.Bins,
    z_real: Array,
    z_generated: Array,
    groups: tuple[dict[str, Array], dict[str, Array]],
    worth: Worth,
) -> tuple[dict[str, Metric], dict[str, Array]]:
    """Everything in `averages.figures`, with floors, intervals and verdicts; and curves to plot."""
    real, generated = (
        averages.group_means(bins, z_NTD, rows)
        for z_NTD, rows in zip((z_real, z_generated), groups, strict=True)
    )
    both = [
        metrics.ks_and_wasserstein(*(metrics.there(z[..., d]) for z in (z_real, z_generated)))
        for d in range(len(worth.names))
    ]
    exact = dict(zip(("ks", "wasserstein"), np.array(both).T[:, None], strict=True))
    found = resampling.verdicts(
        lambda p, q: averages.figures(bins, p, q),
        real,
        generated,
        lambda _: worth.names,
        exact,
        worth,
    )
    return found, _curves({"real": real, "generated": generated})


def _curves(samples: dict[str, dict[str, dict[str, Array]]]) -> dict[str, Array]:
    """Autocorrelations and spectra with 95% bands, [D, L + 1] and [D, F], for the plots."""

    def made(means: dict[str, Array]) -> dict[str, Array]:
        rho = averages.autocorrelations(means["lags"])
        partial = metrics.partial_autocorrelation(rho)
        return {
            "autocorrelation": rho,
            "partial_autocorrelation": partial,
            "spectrum": means["spectrum"],
        }

    curves: dict[str, Array] = {}
    for kind, groups in samples.items():
        resampled = made(groups["boots"])
        for name, curve in made(groups["all"]).items():
            curves[f"{kind}_{name}"] = curve[0]
            low, high = np.quantile(resampled[name], [0.025, 0.975], axis=0)
            curves[f"{kind}_{name}_low"], curves[f"{kind}_{name}_high"] = low, high
        if "products" in groups["all"]:
            curves[f"{kind}_correlation"] = averages.correlations(groups["all"])[0]
    return curves


def _ks_permutation(
    rng: np.random.Generator, bins: averages.Bins, z_real: Array, z_generated: Array
) -> float:
    """p-value of KS (mean over features) under exchange of whole sequences."""
    size, repeats = min(len(z_real), len(z_generated), 2000), resampling.PERMUTATIONS
    pooled = np.concatenate([z[rng.permutation(len(z))[:size]] for z in (z_real, z_generated)])
    first = [np.arange(size)] + [rng.permutation(2 * size)[:size] for _ in range(repeats)]
    weights = 2 * resampling.mean_weights(first, 2 * size) - np.float32(1 / size)
    statistic = np.zeros(len(first))
    for z_NT, edges in zip(np.moveaxis(pooled, 2, 0), bins.values_DK, strict=True):
        if bins.support is not None:
            counts = partial.bin_counts(z_NT, edges, averages.VALUE_BINS)
            number = counts.sum(axis=1, keepdims=True)
            chosen = (weights > 0).astype(np.float32)
            sides = [w @ counts / np.maximum(w @ number, 1) for w in (chosen, 1 - chosen)]
            statistic += np.abs(np.cumsum(sides[0] - sides[1], axis=1)).max(axis=1)
            continue
        shares = averages.bin_shares(z_NT, edges, averages.VALUE_BINS)
        statistic += np.abs(np.cumsum(weights @ shares, axis=1)).max(axis=1)
    return float((1 + np.sum(statistic[1:] >= statistic[0] - 1e-9)) / (1 + repeats))
