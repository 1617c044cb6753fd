"""Figures that a column's kind asks for: of categories, atoms, repeats, grids, constants, rules.

All are functions of means over sequences, as in `averages`: of shares and of counts of runs. Where
values are absent, shares are of those that are there: sums over numbers. A gap ends a run.

Shapes: N sequences, T steps, D columns, R resamples, K numbers, S states, L lengths of a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.analysis import resampling
from seqgan_jax.analysis.catalogue import CLOSE, DIFFERENT
from seqgan_jax.analysis.independent import Worth
from seqgan_jax.analysis.report import Metric
from seqgan_jax.data import grids
from seqgan_jax.data.kind import CATEGORICAL, GRID, Kind

Array = NDArray[Any]

MOST_CATEGORIES = 50  # the commonest; the others are one
MOST_STATES = 12  # of transitions
LONGEST = 256  # longer runs count as this long
RULES = "rules"
OF_NONE = ("broken_rules", "length_ks")  # of no one column
NEVER = ("off_grid", "varying", "broken_rules")  # what real data do not do: any of it is seen


class Holding(Protocol):
    """Rules between columns, as `data.rules.Rules`."""

    def kept(self, x_NTD: Array) -> Mapping[str, Array]:
        """Which steps keep each rule, bool [N, T], by its text."""


@dataclass(frozen=True)
class Part:
    """What is counted of a column for one figure, and the words of what its numbers are shares of.

    Of runs, `words` name what is run through: [N, len(words) * L] counts, by length. Where values
    are absent, phi_NK are numbers, and shares are of what of_N1 counts.
    """

    figure: str
    column: int
    words: tuple[str, ...]
    phi_NK: Array
    of_N1: Array | None = None


def metrics(
    kinds: Sequence[Kind],
    samples: tuple[Array, Array],
    groups: tuple[Mapping[str, Array], Mapping[str, Array]],
    names: Sequence[str],
    rules: Holding | None,
    worth: Worth,
    words: Sequence[Sequence[str]] = (),
    more: tuple[Sequence[Part], Sequence[Part]] = ((), ()),
) -> tuple[dict[str, Metric], dict[str, dict[str, Any]], list[dict[str, float]]]:
    """Every figure that the kinds ask for, the table of what was counted, see `table`, and of both
    samples the share of sequences that break each rule.

    Args:
      kinds: of the D columns.
      samples: real and generated sequences, in the data's units.
      groups: weights of their rows, see `resampling.groups_of`.
      names: of the columns.
      rules: between columns.
      worth: how many independent observations the real data are worth.
      words: of each column those that its codes 0, 1, ... stand for, () of numbers; () for none.
      more: further parts of both samples, see `absent.parts`; in no table.
    """
    broken_of = [broken(rules, x_NTD) for x_NTD in samples]
    of_rules = [{text: float(is_N.mean()) for text, is_N in each.items()} for each in broken_of]
    of_kinds = [
        parts(kinds, x_NTD, words, None if rules is None else each)
        for x_NTD, each in zip(samples, broken_of, strict=True)
    ]
    found = [[*own, *others] for own, others in zip(of_kinds, more, strict=True)]
    real, generated = (means(*each) for each in zip(found, groups, strict=True))
    if not found[0]:
        return {}, {}, of_rules

    def labels(figure: str) -> list[str]:
        own = [part.column for part in found[0] if part.figure == figure]
        return [] if figure in OF_NONE else [names[d] for d in own]

    judged = resampling.verdicts(
        lambda p, q: figures(found[0], p, q), real, generated, labels, {}, worth
    )
    for name, metric in judged.items():
        if (
            name in (*NEVER, "missing_error")
            and metric.verdict == CLOSE
            and metric.value > metric.floor == 0
        ):
            judged[name] = metric.replace(verdict=DIFFERENT)
        if len(names) > 1 and len(columns := labels(name)) == 1 and name not in OF_NONE:
            judged[name] = judged[name].replace(per_feature={columns[0]: metric.value})
    sides = {"real": real["all"], "generated": generated["all"]}
    return judged, table(of_kinds[0], kinds, names, sides), of_rules


def parts(
    kinds: Sequence[Kind],
    x_NTD: Array,
    words: Sequence[Sequence[str]] = (),
    of_rules: Mapping[str, Array] | None = None,
) -> list[Part]:
    """Everything that is counted of x, by the kinds of its columns, and where it breaks rules, as
    `broken` says."""
    found: list[Part] = []
    for d, kind in enumerate(kinds):
        own = words[d] if words else ()
        found += _of_column(d, kind, np.ascontiguousarray(x_NTD[..., d]), own)
    if of_rules is not None:
        none_N = np.zeros(len(x_NTD), bool)
        broken_N = np.logical_or.reduce([none_N, *of_rules.values()])
        found.append(Part("broken_rules", -1, (RULES,), broken_N[:, None]))
    return found


def broken(rules: Holding | None, x_NTD: Array) -> dict[str, Array]:
    """Which sequences break each rule, bool [N], by its text; steps with absent values keep it."""
    if rules is None:
        return {}
    there_NT = ~np.isnan(x_NTD).any(axis=2)
    whole_NTD = x_NTD if there_NT.all() else filled(x_NTD)
    kept = rules.kept(whole_NTD)
    return {text: np.any(~kept_NT & there_NT, axis=1) for text, kept_NT in kept.items()}


def filled(x_NTD: Array) -> Array:
    """No value absent: as the last one before it, else the first after it, else the median."""
    out = x_NTD.copy()
    steps = np.arange(x_NTD.shape[1])[:, None]
    for view in (out, out[:, ::-1]):
        last = np.maximum.accumulate(np.where(np.isnan(view), 0, steps), axis=1)
        view[...] = np.take_along_axis(view, last, axis=1)
    for d in range(x_NTD.shape[2]):
        column = out[..., d]
        column[np.isnan(column)] = np.nanmedian(x_NTD[..., d])
    return out


def _part(figure: str, d: int, words: tuple[str, ...], is_NTK: Array, there_NT: Array) -> Part:
    """Shares of what is so among each row's steps that are there."""
    if there_NT.all():
        return Part(figure, d, words, is_NTK.mean(axis=1))
    number_N1 = there_NT.sum(axis=1).astype(float)[:, None]
    return Part(figure, d, words, is_NTK.sum(axis=1).astype(float), number_N1)


def _of_column(d: int, kind: Kind, x_NT: Array, words: Sequence[str]) -> Iterator[Part]:
    there_NT = ~np.isnan(x_NT)
    if kind.name == CATEGORICAL:
        yield from _of_categories(d, kind, x_NT, words)
    elif kind.atoms:
        at_NTK = x_NT[..., None] == np.array(kind.atoms)
        atoms = tuple(f"{value:.6g}" for value in kind.atoms)
        yield _part("atom_error", d, atoms, at_NTK, there_NT)
        if not kind.static:
            yield Part("atom_run_error", d, atoms, runs(at_NTK))
    if kind.held and x_NT.shape[1] > 1:
        again_NT1 = (x_NT[:, 1:] == x_NT[:, :-1]) & ~np.isin(x_NT[:, 1:], kind.atoms)
        again_NT1 = again_NT1[..., None]
        yield _part("held_error", d, ("as before",), again_NT1, there_NT[:, 1:] & there_NT[:, :-1])
        yield Part("held_run_error", d, ("as before",), runs(again_NT1))
    if kind.name == GRID and kind.spacing:
        origin = kind.levels[0] if kind.levels else kind.origin
        cells = (x_NT - origin) / kind.spacing  # beyond the ends, too: real data go on there
        on_NT = np.abs(cells - np.rint(cells)) <= grids.TOLERANCE
        on_NT |= np.isin(x_NT, kind.atoms) | ~there_NT
        yield _part("off_grid", d, ("values off the grid",), ~on_NT[..., None], there_NT)
    if kind.static:
        first_N1 = np.take_along_axis(x_NT, np.argmax(there_NT, axis=1)[:, None], axis=1)
        varies_N = np.any((x_NT != first_N1) & there_NT, axis=1)
        yield Part("varying", d, ("sequences that vary",), varies_N[:, None])


def _of_categories(d: int, kind: Kind, x_NT: Array, words: Sequence[str]) -> Iterator[Part]:
    """Shares of the commonest categories, and of the steps from each to each."""
    order = np.argsort(-np.array(kind.weights), kind="stable")
    for figure, most in (("category_error", MOST_CATEGORIES), ("transition_error", MOST_STATES)):
        levels = np.sort(np.array(kind.levels)[order[:most]])
        place = np.minimum(grids.nearest(levels, x_NT), len(levels) - 1)
        place = np.where(levels[place] == x_NT, place, len(levels))  # the last: all others
        there_NT = ~np.isnan(x_NT)
        named = (*((words[int(v)] if words else f"{v:.6g}") for v in levels), "others")
        states = len(named)
        if figure == "category_error":
            yield Part(figure, d, named, *_shares(place, states, there_NT))
        elif not kind.static and x_NT.shape[1] > 1:
            pairs = place[:, :-1] * states + place[:, 1:]
            both_NT = there_NT[:, :-1] & there_NT[:, 1:]
            yield Part(figure, d, named, *_shares(pairs, states**2, both_NT))


def _shares(place_NT: Array, number: int, there_NT: Array) -> tuple[Array, Array | None]:
    """Share of each place among each row's -> [N, number], None; where some are absent, how often
    each is there, and how many are."""
    rows = np.arange(len(place_NT))[:, None] * number
    if not there_NT.all():
        flat = (place_NT + rows)[there_NT]
        counts = np.bincount(flat, minlength=len(place_NT) * number).reshape(-1, number)
        return counts.astype(float), there_NT.sum(axis=1).astype(float)[:, None]
    counts = np.bincount((place_NT + rows).ravel(), minlength=len(place_NT) * number)
    return counts.reshape(-1, number) / place_NT.shape[1], None


def runs(is_NTK: Array) -> Array:
    """How many runs of True there are of each length, 1 to L -> [N, K * L].

    >>> runs(np.array([[1, 1, 0, 1]], bool)[..., None]).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    count, steps, number = is_NTK.shape
    most = min(steps, LONGEST)
    edges = np.diff(is_NTK.transpose(0, 2, 1).astype(np.int8), prepend=0, append=0, axis=2)
    n, k, start = np.nonzero(edges == 1)
    length = np.minimum(np.nonzero(edges == -1)[2] - start, most)
    flat = np.bincount((n * number + k) * most + length - 1, minlength=count * number * most)
    return flat.reshape(count, -1).astype(np.float64)


def means(found: Sequence[Part], groups: Mapping[str, Array]) -> dict[str, dict[int, Array]]:
    """Means of every part over sequences, for each group of rows of weights -> [R, K]."""
    out: dict[str, dict[int, Array]] = {name: {} for name in groups}
    weights_RN = np.concatenate(list(groups.values())).astype(np.float64)
    weights_RN /= weights_RN.sum(axis=1, keepdims=True)
    ends = np.cumsum([len(weights) for weights in groups.values()])[:-1]
    for p, part in enumerate(found):
        mean_RK = weights_RN @ part.phi_NK
        if part.of_N1 is not None:
            mean_RK = mean_RK / np.maximum(weights_RN @ part.of_N1, 1e-12)
        for name, block in zip(groups, np.split(mean_RK, ends), strict=True):
            out[name][p] = block
    return out


def figures(
    found: Sequence[Part], p: Mapping[int, Array], q: Mapping[int, Array]
) -> dict[str, Array]:
    """Every figure of each pair of rows of two sets of means -> [R, columns of this figure].

    p is real and q what is compared with it.
    """
    columns: dict[str, list[Array]] = {}
    for i, part in enumerate(found):
        a, b = p[i], q[i]
        if part.figure.endswith("run_error"):
            a, b = (_run_shares(x.reshape(len(x), len(part.words), -1)) for x in (a, b))
            gap = np.abs(a - b).max(axis=(1, 2))
        elif part.figure == "length_ks":
            gap = np.abs(np.cumsum(a - b, axis=1)).max(axis=1)
        elif part.figure in NEVER:
            gap = b[:, 0]
        else:
            gap = np.abs(a - b).max(axis=1)
        columns.setdefault(part.figure, []).append(gap)
    return {name: np.stack(gaps, axis=1) for name, gaps in columns.items()}


def _run_shares(counts_RKL: Array) -> Array:
    """Share of runs that are no longer than each length; 0 where there are none."""
    total = counts_RKL.sum(axis=-1, keepdims=True)
    shares: Array = np.cumsum(counts_RKL, axis=-1) / np.maximum(total, 1e-12)
    return shares


def table(
    found: Sequence[Part],
    kinds: Sequence[Kind],
    names: Sequence[str],
    sides: Mapping[str, Mapping[int, Array]],
) -> dict[str, dict[str, Any]]:
    """What the report lists of each column that is no plain density.

    Its kind in words, and for each of `sides` (means of all rows) shares and mean lengths of runs
    by name, and matrices of transitions.
    """
    out: dict[str, dict[str, Any]] = {
        names[d]: {"kind": str(kind), **{side: {} for side in sides}}
        for d, kind in enumerate(kinds)
        if not kind.plain
    }
    for i, part in enumerate(found):
        if part.column < 0:
            continue
        entry = out[names[part.column]]
        for side, rows in sides.items():
            x_K = rows[i][0]
            if part.figure == "transition_error":
                joint = x_K.reshape(len(part.words), -1)
                rest = np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)
                entry.setdefault("states", list(part.words))
                entry.setdefault("transitions", {})[side] = (joint / rest).tolist()
            elif part.figure.endswith("run_error"):
                counts = x_K.reshape(len(part.words), -1)
                steps = counts @ np.arange(1, counts.shape[1] + 1)
                length = steps / np.maximum(counts.sum(axis=1), 1e-12)
                entry[side] |= {
                    f"mean run of {w}": float(v) for w, v in zip(part.words, length, strict=True)
                }
            else:
                prefix = "" if part.figure in ("off_grid", "varying") else "share of "
                entry[side] |= {
                    f"{prefix}{w}": float(v) for w, v in zip(part.words, x_K, strict=True)
                }
    return out
