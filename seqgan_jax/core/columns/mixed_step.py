"""The distribution of one step of columns of any kind: `log_prob` and `sample`; see `mixed`.

Shapes: D columns, C choices of a column, S shown options, K components, W known in advance.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.cells import (
    log_mass,
    log_normal_mass,
    logistic,
    logistic_between,
    normal_between,
    parts_of,
)
from seqgan_jax.core.columns.chain import HIDDEN, Context, Weights
from seqgan_jax.core.columns.continuous import (
    Between,
    Mixture,
    cumulative,
    implicit,
    log_joint,
    normal_cdf,
)
from seqgan_jax.core.columns.filling import least
from seqgan_jax.core.columns.support import Layout, Support
from seqgan_jax.data.kind import GAP

TINY = 1e-30  # no number is divided by less
NEVER = -1e9  # logit of a choice that there is not
CUT = 4.0  # of what the regressions read: no outlier decides
PLACE, SPREAD = 3.0, 1.5  # by which they move the rest, and log-scale they widen it by, at most


@dataclass(frozen=True)
class Shape:
    """Which numbers a step of columns of any kind has; hashable, without arrays.

    Args:
      layout: which choices there are.
      mixture: the distribution of the rest.
      complete: given that no value is missing: this option has no probability, the others have it
        all, and the log-probability of what is missing is 0.
    """

    layout: Layout
    mixture: Mixture
    complete: bool = False

    @property
    def features(self) -> int:
        """D."""
        return self.layout.features

    @property
    def choices(self) -> int:
        """Numbers of a column's choice: C, or 0 where there is none."""
        return self.layout.choices if self.layout.choices > 1 else 0

    @property
    def own(self) -> int:
        """Numbers of one column, C + 3 K."""
        return self.choices + self.mixture.num_params

    @property
    def num_seen(self) -> int:
        """What later columns see of the earlier ones: innovations and options."""
        return self.features + len(self.layout.shown)

    @property
    def columns_seen(self) -> np.ndarray:
        """The column of each number that later columns see, [S']."""
        of_options = np.array(self.layout.shown, np.int32) // max(1, self.layout.choices - 1)
        return np.concatenate([np.arange(self.features), of_options])


class Given(NamedTuple):
    """Values of a step that are not drawn: of the first columns, all else is given them."""

    x: jax.Array  # [..., D]
    is_given: jax.Array  # [D] bool


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixedContext(Context):
    """What a step is relative to, and which options it has."""

    support: Support
    options: jax.Array  # [..., D, C - 1] the value of each option
    chain: Shape = field(metadata={"static": True})
    is_first: bool = field(metadata={"static": True})
    given: jax.Array | None = None  # [..., W] what is known of the step in advance
    before: jax.Array | None = None  # [..., D] of later steps, where some categories are told
    opened: jax.Array | None = None  # [..., D, C] where there are clocks, see `support.opened`

    def moved(self, known: jax.Array | None, slopes: jax.Array | None) -> Self:
        """As of any context; and the choices depend on what is known, too."""
        found = super().moved(known, slopes)
        return found if self.support.later_given is None else replace(found, given=known)

    @property
    def of_given(self) -> Any:
        """The regressions on what is known in advance, [D, W, C + 2]."""
        return self.support.first_given if self.is_first else self.support.later_given

    @property
    def is_there(self) -> jax.Array:
        """Which choices there are, [D, C]."""
        return self.support.first if self.is_first else self.support.later

    @property
    def allowed(self) -> jax.Array:
        """Which choices have a probability, [D, C]; where there are clocks, [..., D, C]."""
        found = self.is_there & ~self.support.gap_options if self.chain.complete else self.is_there
        if self.opened is None:
            return found
        return self.opened & found[(None,) * (self.opened.ndim - 2)]

    @property
    def middle(self) -> jax.Array:
        """Location and log-scale of the rest, [D, 2]."""
        return self.support.first_middle if self.is_first else self.support.later_middle

    @property
    def seen(self) -> jax.Array:
        """The regressions on what is seen of earlier columns, [D, S', C + 2]."""
        return self.support.first_seen if self.is_first else self.support.later_seen

    def size(self, x: jax.Array) -> jax.Array:
        """Values as the linear baseline counts them, [..., D].

        Of a missing one its mean given the steps before and the earlier columns of its step: with
        F = (I - G)^-1 S, G strictly lower triangular and S diagonal, x - offset = G (x - offset) +
        S e with e = 0.
        """
        size = support.size_of(self.support, self.chain.layout, x)
        if not self.chain.layout.gaps:
            return size
        gap = support.is_gap(self.support, x) & ~support.by_column(self.support.is_word, x)
        unit = jnp.diagonal(self.factor)
        earlier = jnp.eye(len(unit)) - unit[:, None] * self.inverse
        apart = jnp.where(gap, 0.0, size - self.offset)

        def once(_: int, apart: jax.Array) -> jax.Array:  # one more column of a gap is right
            return jnp.where(gap, apart @ earlier.T, apart)

        apart = lax.fori_loop(0, len(unit) - 1, once, apart)
        return jnp.where(gap, self.offset + apart, size)

    def filled(self, x: jax.Array) -> jax.Array:
        """The same for later steps, [..., D]: of missing values the mean given all the others.

        It minimises ||F^-1 (x - offset)||^2 over what is missing, by conjugate gradients.
        """
        size = self.size(x)
        if not self.chain.layout.gaps:
            return size
        gap = support.is_gap(self.support, x) & ~support.by_column(self.support.is_word, x)
        precision = self.inverse.T @ self.inverse
        unit = support.by_column(jnp.diagonal(precision) ** -0.5, x)  # a preconditioner
        return size + unit * least(gap, unit, precision, size - self.offset)

    def matches(self, x: jax.Array) -> jax.Array:
        """Which options each value is, [..., D, C - 1] bool."""
        layout = self.chain.layout
        return support.matches(self.support, layout, x, self.options, self.is_there)

    def read(self, x: jax.Array) -> jax.Array:
        """What the policy reads of x: sizes, innovations, options; [..., 2 D + S]."""
        size = self.filled(x)
        return jnp.concatenate([size, self.seen_of(x, size)], axis=-1)

    def seen_of(self, x: jax.Array, size: jax.Array) -> jax.Array:
        """Innovations and options of values of such sizes, [..., D + S]."""
        shown = support.shown(self.chain.layout, self.matches(x))
        return jnp.concatenate([self.told(x, self.innovation(size)), shown], axis=-1)

    def told(self, x: jax.Array, e: jax.Array) -> jax.Array:
        """Innovations [..., D], in the place of those of categories whether they changed."""
        is_told = np.isin(np.arange(self.chain.features), self.chain.layout.told)
        if not is_told.any():
            return e
        changed = 0.0 * x if self.before is None else has_changed(x, self.before)
        return jnp.where(support.by_column(jnp.asarray(is_told), x), changed, e)

    def is_density(self, x: jax.Array) -> jax.Array:
        """Which values have a density and not a mass, `[..., D]` bool."""
        discrete = support.by_column(self.support.is_discrete, x)
        return ~(self.matches(x).any(axis=-1) | discrete)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixedStep:
    """The distribution of one step.

    Numbers lie in the layout's order, by sort, so that those of a sort are a slice: gathers would
    cost more than all the rest.
    """

    raw: jax.Array  # [..., D, C + 3 K]
    known: jax.Array  # [..., D, C + 2] of the regressions, before the earlier columns are seen
    units: jax.Array  # [..., D, HIDDEN] of the coupling, before the earlier columns are seen
    # A [D + S, HIDDEN] of earlier columns, B [D, F, HIDDEN] of a column's own past,
    # W [D, HIDDEN, C + 3 K].
    weights: Weights
    temperature: float | jax.Array
    context: MixedContext
    chain: Shape = field(metadata={"static": True})

    def log_prob(self, x: jax.Array, choices_only: bool = False) -> jax.Array:
        """log p(x_d | x_<d) of each column, `[..., D]`, nats; of a mass or a density.

        With `choices_only` of what is a density only that it is none of the options.
        """
        layout, context, order = self.chain.layout, self.context, self.chain.layout.order
        cells = support.cells(context.support, layout, x)
        matched = support.matches(
            context.support, layout, x, context.options, context.is_there, cells
        )
        size = context.size(x)
        e = context.innovation(size)
        raw, known = self._coupled(context.told(x, e), support.shown(layout, matched))
        log_option, log_rest = jnp.full(x.shape, NEVER), jnp.zeros(x.shape)
        if self.chain.choices:
            there = context.allowed[..., order, :]
            there = support.by_column(there, x) if context.opened is None else there
            logits = raw[..., : self.chain.choices] + known[..., :-2]
            log_choice = self._log_choice(logits, there)
            options = jnp.where(matched[..., order, :], log_choice[..., 1:], NEVER)
            options = options[..., int(layout.coarse) :]
            log_option, log_rest = jax.nn.logsumexp(options, axis=-1), log_choice[..., 0]
        numbers = self._components(raw[..., self.chain.choices :], known)
        unit = support.by_column(jnp.diagonal(context.factor), x)
        first, last = len(layout.densities), len(layout.densities) + len(layout.grids)
        densities, grids = slice(first), slice(first, last)
        parts = []
        if layout.densities:
            at = order[:first]
            log_w, mean, scale = (a[..., densities, :] for a in numbers)
            joint = log_joint(log_w, mean, scale, e[..., at])
            log_p = jax.nn.logsumexp(joint, axis=-1) - jnp.log(unit[..., at])
            if layout.fenced:
                base = size - unit * e
                ends = (
                    (support.by_column(end, x) - base)[..., at] / unit[..., at]
                    for end in (context.support.low, context.support.high)
                )
                inside = log_normal_mass(*((end[..., None] - mean) / scale for end in ends))
                log_p = log_p - jax.nn.logsumexp(log_w + inside, axis=-1)
            is_option = matched[..., at, :].any(axis=-1)
            log_p = log_rest[..., densities] + (0.0 if choices_only else log_p)
            parts.append(jnp.where(is_option, log_option[..., densities], log_p))
        if layout.grids:
            at = order[first:last]
            log_w, mean, scale = (a[..., grids, :] for a in numbers)
            left: float | jax.Array = 0.0

            def place(end: jax.Array) -> jax.Array:
                return e + (end - x) / unit

            def mass(lower: jax.Array, upper: jax.Array) -> jax.Array:
                if context.support.fences is not None:
                    low, high = (support.by_column(a, x) for a in context.support.fences.T)
                    lower, upper = jnp.maximum(lower, low), jnp.minimum(upper, high)
                ends = ((place(end)[..., at, None] - mean) / scale for end in (lower, upper))
                return jax.nn.logsumexp(log_w + log_mass(*ends), axis=-1)

            if context.support.fences is not None:  # of grids that are cut off: the first ones
                some, fences = len(layout.cut), context.support.fences.T
                ends = (place(support.by_column(end, x))[..., at[:some], None] for end in fences)
                ends = ((end - mean[..., :some, :]) / scale[..., :some, :] for end in ends)
                inside = jnp.sum(jnp.exp(log_w[..., :some, :]) * parts_of(*ends)[1], axis=-1)
                left = jnp.log(jnp.maximum(inside, TINY))
                left = jnp.concatenate([left, 0.0 * x[..., at[some:]]], axis=-1)
            log_p = log_rest[..., grids] - left + mass(*cells)
            both = jnp.logaddexp(log_option[..., grids], log_p)
            if layout.coarse:
                is_one, lower, upper = support.coarse_cells(context.support, layout, x)
                log_p = log_choice[..., grids, 1] - left
                log_p += mass(jnp.where(is_one, lower, x), jnp.where(is_one, upper, x + 1.0))
                both = jnp.logaddexp(both, jnp.where(is_one[..., at], log_p, NEVER))
            if layout.far:  # in none of the rest's cells
                far = support.is_far(context.support, x)
                both = jnp.where(far[..., at], log_option[..., grids], both)
            parts.append(both)
        parts.append(log_option[..., last:])
        # Back by a product: a gather's gradient is a scatter, which is slow.
        found = jnp.concatenate(parts, axis=-1)
        if self.chain.complete:
            found = jnp.where(x[..., order] == GAP, 0.0, found)
        return found @ np.eye(layout.features, dtype=np.float32)[order]

    def sample(self, noise: jax.Array, given: "Given | None" = None) -> tuple[jax.Array, jax.Array]:
        """x [..., D] and what the policy reads of it, from normal `noise` [..., 2 D].

        One column after the other: a scan, so that compiling takes no longer with more. A given
        value stands in the place of the drawn one. Where the given columns are the first, x is
        drawn from p(x | given); in general from prod_d p(x_d | x_<d) over the others.

        Differentiable where all choices stay as they are: what has a density moves as `implicit`
        says, options such as the value before with theirs, all else not at all.
        """
        chain, layout, context = self.chain, self.chain.layout, self.context
        components, choices = chain.mixture.components, chain.choices
        tables, gaps = ((0,) * bool(each) for each in (layout.tables, layout.gaps))
        one = replace(layout, features=1, tables=tables, shown=(), gaps=gaps)
        coarse = int(layout.coarse)

        def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
            # Of earlier columns [..., HIDDEN + S'], units and what was seen; offset + F e so far.
            seen, sizes = carry
            inputs, known_x, told = inputs
            d, raw, known, units, a, w, own, options, both, slopes, column, which, value = inputs
            allowed, there = both
            raw = raw + jnp.tanh(units + seen[..., :HIDDEN]) @ w
            known = known + seen[..., HIDDEN:] @ slopes
            log_weights, mean, scale = self._components(raw[..., choices:], known)
            base, unit = sizes[d], column[d]
            ends = [((end - base) / unit)[..., None] for end in (own.low[0], own.high[0])]
            law = Between(log_weights, mean, scale, ends[0][..., 0], ends[1][..., 0])
            is_discrete = own.is_discrete[0]
            if layout.fenced:
                inside = log_normal_mass(*((end - mean) / scale for end in ends))
                inside = jnp.where(is_discrete, 0.0, inside)
                log_weights = jax.nn.log_softmax(log_weights + inside, axis=-1)
            weights = jnp.exp(log_weights)
            if own.fences is not None:
                cuts = (((end - base) / unit)[..., None] for end in own.fences[0])
                parts_K = parts_of(*((end - mean) / scale for end in cuts))
                weights = weights * parts_K[1]
                weights = weights / jnp.maximum(jnp.sum(weights, -1, keepdims=True), TINY)
            if choices:
                choice = jnp.exp(self._log_choice(raw[..., :choices] + known[..., :-2], allowed))
                parts = [choice[..., i : i + 1] * weights for i in range(1 + coarse)]
                weights = jnp.concatenate([*parts, choice[..., 1 + coarse :]], axis=-1)
            chosen = _chosen(weights, which)
            rest, option = chosen[..., :components], chosen[..., (1 + coarse) * components :]
            is_coarse = jnp.sum(chosen[..., components : (1 + coarse) * components], -1) > 0.5
            if coarse:
                rest = rest + chosen[..., components : 2 * components]
            mean, scale = (jnp.sum(rest * each, axis=-1) for each in (mean, scale))
            scale = jnp.where(jnp.sum(rest, axis=-1) > 0.5, scale, 1.0)
            drawn = value
            if layout.fenced:
                drawn = normal_between(value, *((end[..., 0] - mean) / scale for end in ends))
            if own.fences is None:
                rounded = logistic(value)
            else:
                rounded = logistic_between(
                    value, *(jnp.sum(rest * each, axis=-1) for each in parts_K)
                )
            e = mean + scale * jnp.where(is_discrete, rounded, drawn)
            x = base + unit * implicit(law, e)
            chosen_x = jnp.sum(option * options[..., coarse:], axis=-1)
            x = jnp.where(jnp.sum(rest, axis=-1) > 0.5, x, chosen_x)
            # Listed values are exact as they are; what is far from the rest, also as before.
            is_listed = jnp.sum(option[..., layout.dynamic - coarse :], axis=-1) > 0.5
            snapped = support.snap(own, one, x[..., None])
            if coarse:
                near = support.snap_coarse(own, one, x[..., None])
                snapped = jnp.where(is_coarse[..., None], near, snapped)
            if layout.far:
                is_listed = is_listed | support.is_far(own, x[..., None])[..., 0]
            x = jnp.where(is_listed[..., None], x[..., None], snapped)
            if known_x is not None:
                x = jnp.where(known_x.is_given, known_x.x[..., None], x)
            matched = support.matches(own, one, x, options[..., None, :], there[None])[..., 0, :]
            size = support.size_of(own, one, x)[..., 0]
            if layout.gaps:
                gap = support.is_gap(own, x) & ~support.by_column(own.is_word, x)
                size = jnp.where(gap[..., 0], base, size)
            e = (size - base) / unit
            sizes = sizes + column[(slice(None), *(None,) * e.ndim)] * e[None]
            if told is not None:
                before, is_told = told
                changed = 0.0 * e if before is None else has_changed(x[..., 0], before)
                e = jnp.where(is_told, changed, e)
            read = jnp.concatenate([e[..., None], matched.astype(jnp.float32)], axis=-1)
            seen = seen + jnp.concatenate([read, jnp.clip(read, -CUT, CUT)], axis=-1) @ a
            return (seen, sizes), (x[..., 0], size, e, matched)

        back = np.argsort(layout.order)
        raw = self.raw[..., back, :]
        which, value = jnp.split(noise, 2, axis=-1)
        options = jnp.broadcast_to(context.options, (*raw.shape[:-1], layout.choices - 1))
        by_column = (
            jnp.arange(layout.features),
            jnp.moveaxis(raw, -2, 0),
            jnp.moveaxis(self.known[..., back, :], -2, 0),
            jnp.moveaxis(self.units[..., back, :], -2, 0),
            self._seen_by_column(),
            self.weights["W"][back],
            jax.tree.map(lambda leaf: leaf[:, None], context.support),
            jnp.moveaxis(options, -2, 0),
            self._allowed_by_column(),
            context.seen,
            context.factor.T,
            jnp.moveaxis(which, -1, 0),
            jnp.moveaxis(value, -1, 0),
        )
        known_x = None if given is None else Given(jnp.moveaxis(given.x, -1, 0), given.is_given)
        offset = jnp.broadcast_to(context.offset, raw.shape[:-1])
        # As the units are, but wider.
        seen = jnp.zeros((*raw.shape[:-2], self._seen_by_column().shape[-1]))
        carry = (seen, jnp.moveaxis(offset, -1, 0))
        _, found = lax.scan(body, carry, (by_column, known_x, self._told_by_column()))
        x, size, e, matched = found
        x, size, e = (jnp.moveaxis(each, 0, -1) for each in (x, size, e))
        shown = support.shown(layout, jnp.moveaxis(matched, 0, -2))
        if layout.gaps and not chain.complete:
            size = context.filled(x)
            e = context.told(x, context.innovation(size))
        return x, jnp.concatenate([size, e, shown], axis=-1)

    def _told_by_column(self) -> tuple[jax.Array | None, jax.Array] | None:
        """The values before [D, ...], and of which columns it is told whether they changed [D]."""
        before, layout = self.context.before, self.chain.layout
        if not layout.told:
            return None
        is_told = jnp.asarray(np.isin(np.arange(layout.features), layout.told))
        if before is not None:
            before = jnp.moveaxis(jnp.broadcast_to(before, self.raw.shape[:-1]), -1, 0)
        return before, is_told

    def _allowed_by_column(self) -> tuple[jax.Array, jax.Array]:
        """Which choices have a probability [D, ..., C], and which a value can be told as [D, C]."""
        allowed = self.context.allowed
        if self.context.opened is None:
            return allowed, allowed
        return jnp.moveaxis(allowed, -2, 0), self.context.is_there

    def _log_choice(self, raw: jax.Array, is_there: jax.Array) -> jax.Array:
        """log c `[..., C]`."""
        is_there = jnp.broadcast_to(is_there, raw.shape)
        return jax.nn.log_softmax(jnp.where(is_there, raw / self.temperature, NEVER), axis=-1)

    def _components(
        self, raw: jax.Array, known: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log w, mean and scale of the mixture, placed and widened by the regressions."""
        log_w, mean, scale = self.chain.mixture.components_of(raw, self.temperature)
        width = jnp.exp(jnp.clip(known[..., -1:], -SPREAD, SPREAD))
        place = jnp.clip(known[..., -2:-1], -PLACE, PLACE)
        return log_w, place + width * mean, width * scale

    def _coupled(self, e: jax.Array, shown: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Numbers of each column, `[..., D, C + 3 K]` and `[..., D, C + 2]`, given earlier ones."""
        layout = self.chain.layout
        features, hidden = layout.features, self.weights["A"].shape[1]
        earlier = (self.chain.columns_seen[:, None] < layout.order[None]).astype(np.float32)
        flat = (earlier[:, :, None] * self.weights["A"][:, None]).reshape(-1, features * hidden)
        both = jnp.concatenate([e, shown], axis=-1)
        units = jnp.tanh(self.units + (both @ flat).reshape(*e.shape, hidden))
        raw = self.raw + jnp.einsum("...dm,dmp->...dp", units, self.weights["W"])
        slopes = self.context.seen[layout.order]
        return raw, self.known + jnp.einsum("...s,dsc->...dc", jnp.clip(both, -CUT, CUT), slopes)

    def _seen_by_column(self) -> jax.Array:
        """What a column adds to what is seen: rows of A, its own places; [D, 2 C, HIDDEN + S'].

        Of C numbers: its innovation and its options; then the same, cut off.
        """
        layout = self.chain.layout
        number = layout.choices - 1
        # Options that are not shown have a row of zeros, the last.
        rows = np.full(layout.features * number, self.chain.num_seen, np.int32)
        rows[np.array(layout.shown, np.int32)] = layout.features + np.arange(len(layout.shown))
        own = np.arange(layout.features)[:, None]
        rows = np.concatenate([own, rows.reshape(layout.features, number)], axis=1)
        units = jnp.concatenate([self.weights["A"], jnp.zeros((1, HIDDEN))])[rows]
        places = np.eye(self.chain.num_seen + 1, self.chain.num_seen, dtype=np.float32)[rows]
        above = jnp.pad(units, ((0, 0), (0, 0), (0, self.chain.num_seen)))
        return jnp.concatenate([above, np.pad(places, ((0, 0), (0, 0), (HIDDEN, 0)))], axis=1)


def has_changed(x: jax.Array, before: jax.Array) -> jax.Array:
    """1 where a value is there and is not the one before, else 0."""
    return ((x != before) & (x != GAP)).astype(jnp.float32)


def _chosen(w: jax.Array, which: jax.Array) -> jax.Array:
    """Which of the weights a standard normal number draws, one-hot, `[..., G]`.

    Never one of weight 0, however far out the number is.
    """
    share = jnp.clip(normal_cdf(which), 1e-6, 1 - 1e-6)
    sums = cumulative(w)
    below = sums[..., :-1] < (share * sums[..., -1])[..., None]
    return jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
