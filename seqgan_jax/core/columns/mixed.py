"""One step as a chain of columns of any kind: a choice, and beside the options a mixture.

    p(x_d | x_<t, x_<d) = sum_g c_g [x_d is option g] + c_0 f(x_d)

with c the probabilities of the choices and f the density of a mixture of Gaussians, or the mass of
the cell of x_d under a mixture of logistic distributions where the column is on a grid. `log_prob`
is therefore the logarithm of a mass where a value has mass, and of a density where it has none
(`is_density`).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.cells import log_mass, logistic
from seqgan_jax.core.columns.chain import HIDDEN, Context, Weights
from seqgan_jax.core.columns.continuous import Mixture, cumulative, log_joint, normal_cdf
from seqgan_jax.core.columns.support import Layout, Support
from seqgan_jax.errors import UsageError

NEVER = -1e9  # logit of a choice that there is not


@dataclass(frozen=True)
class MixedChain:
    """How the columns of one step hang together; hashable, without arrays.

    Column d depends on the earlier ones of its step by `HIDDEN` units, as in `chain.Chain`, which
    read their innovations and which of their options they are.
    """

    layout: Layout
    mixture: Mixture
    closed_entropy = False

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
    def num_coupling(self) -> int:
        """Numbers that the network gives beside the columns' own."""
        return HIDDEN

    @property
    def num_params(self) -> int:
        """Numbers that the network must give for one step."""
        return self.features * self.own + self.num_coupling

    @property
    def num_noise(self) -> int:
        """Standard normal numbers that one sample takes."""
        return 2 * self.features

    @property
    def num_read(self) -> int:
        """What the policy reads of a step: sizes, innovations and options."""
        return 2 * self.features + len(self.layout.shown)

    def start(self, log_share_DC: jax.Array) -> jax.Array:
        """Numbers of an untrained policy: the shares of the choices, independent columns."""
        mixture = jnp.tile(jnp.asarray(self.mixture.start())[None], (self.features, 1))
        shares = log_share_DC[self.layout.order, : self.choices]
        own = jnp.concatenate([shares, mixture], axis=1)
        return jnp.concatenate([own.reshape(-1), jnp.zeros(self.num_coupling)])

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """Weights that all steps share: columns are independent until trained. Consumes `key`."""
        own_key, earlier_key = jax.random.split(key)
        draw = jax.nn.initializers.lecun_normal()
        own = draw(own_key, (self.num_own, self.features * HIDDEN))
        return {
            "A": draw(earlier_key, (self.num_seen, HIDDEN)),
            "B": own.reshape(self.num_own, self.features, HIDDEN).swapaxes(0, 1),
            "W": jnp.zeros((self.features, HIDDEN, self.own)),
        }

    @property
    def num_own(self) -> int:
        """What a column sees of its own past, F: size, innovation, increment, how common its level
        is, and the runs of its options."""
        return 4 + self.layout.choices - 1

    @property
    def num_seen(self) -> int:
        """What later columns see of the earlier ones: innovations and options."""
        return self.features + len(self.layout.shown)

    def context(
        self, constants: Params, x: jax.Array | None, before: jax.Array | None = None
    ) -> "MixedContext":
        """What the step after x and `before` [..., D] is relative to; None: the first step."""
        own = support.of_constants(constants)
        if x is None or before is None:
            nothing = jnp.zeros((1, self.features))
            options = support.options(own, self.layout, nothing, nothing)
            plain = Context.of(constants["first_offset"][None], constants["first_factor"])
            return MixedContext(
                **vars(plain), support=own, options=options, chain=self, is_first=True
            )
        size = support.size_of(own, self.layout, x)
        offset = size @ constants["matrix"].T + support.by_column(constants["offset"], x)
        earlier = support.size_of(own, self.layout, before)
        offset = offset + earlier @ constants["second"].T
        slope = support.continued(x, before)
        options = support.options(own, self.layout, x, slope)
        plain = Context.of(offset, constants["factor"])
        return MixedContext(**vars(plain), support=own, options=options, chain=self, is_first=False)

    def carried(self, read: jax.Array, x: jax.Array, inputs: jax.Array | None) -> jax.Array:
        """What is carried to the next step: what the policy reads, with runs in place of options;
        x_t and x_{t-1}."""
        before = x if inputs is None else self.values(inputs)[0]
        plain, shown = jnp.split(read, [2 * self.features], axis=-1)
        runs = 0.0 * shown if inputs is None else inputs[..., 2 * self.features : self.num_read]
        return jnp.concatenate([plain, support.run(runs, shown), x, before], axis=-1)

    def all_carried(self, read: jax.Array, x: jax.Array) -> jax.Array:
        """The same at every step of whole sequences [T, B, ...]."""
        plain, shown = jnp.split(read, [2 * self.features], axis=-1)

        def body(runs: jax.Array, shown: jax.Array) -> tuple[jax.Array, jax.Array]:
            runs = support.run(runs, shown)
            return runs, runs

        _, runs = lax.scan(body, 0.0 * shown[0], shown)
        before = jnp.concatenate([x[:1], x[:-1]])
        return jnp.concatenate([plain, runs, x, before], axis=-1)

    def values(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x_{t-1} and x_{t-2} of what was carried."""
        x, before = jnp.split(inputs[..., self.num_read :], 2, axis=-1)
        return x, before

    def step(
        self,
        raw: jax.Array,
        weights: Weights,
        temperature: float | jax.Array,
        context: "MixedContext",
        inputs: jax.Array | None = None,
    ) -> "MixedStep":
        """The distribution of one step from the network's numbers."""
        own = self.features * self.own
        raw_DP = raw[..., :own].reshape(*raw.shape[:-1], self.features, self.own)
        units = jnp.broadcast_to(
            raw[..., None, own:], (*raw.shape[:-1], self.features, self.num_coupling)
        )
        if inputs is not None:
            past = self._past(context, inputs)[..., self.layout.order, :]
            units = units + jnp.einsum("...df,dfm->...dm", past, weights["B"])
        return MixedStep(raw_DP, units, weights, temperature, context, self)

    def _past(self, context: "MixedContext", inputs: jax.Array) -> jax.Array:
        """What each column sees of its own past, [..., D, F]."""
        layout, features = self.layout, self.features
        size, e, runs, values = jnp.split(inputs, [features, 2 * features, self.num_read], axis=-1)
        x, before = jnp.split(values, 2, axis=-1)
        unit = support.by_column(jnp.diagonal(context.factor), x)
        moved = (size - context.size(before)) / unit
        moved = jnp.sign(moved) * jnp.log1p(jnp.abs(moved))
        common = support.commonness(context.support, layout, x)
        places = np.full(features * (layout.choices - 1), len(layout.shown), np.int32)
        places[np.array(layout.shown, np.int32)] = np.arange(len(layout.shown))
        padded = jnp.concatenate([runs, 0.0 * x[..., :1]], axis=-1)
        own = padded[..., places].reshape(*x.shape, layout.choices - 1)
        plain = jnp.stack([size, e, moved, common], axis=-1)
        return jnp.concatenate([plain, own], axis=-1)


def by_name(policy: str, components: int, layout: Layout) -> MixedChain:
    """The chain for `--policy` and `--components`; raises UsageError for what it cannot be."""
    if policy == "student":
        raise UsageError(
            "--policy student is for columns that are all continuous, and some of these are not. "
            "Choose --policy mixture, or --kind all:continuous."
        )
    return MixedChain(layout, Mixture(components if policy == "mixture" else 1))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixedContext(Context):
    """What a step is relative to, and which options it has."""

    support: Support
    options: jax.Array  # [..., D, C - 1] the value of each option
    chain: MixedChain = field(metadata={"static": True})
    is_first: bool = field(metadata={"static": True})

    @property
    def is_there(self) -> jax.Array:
        """Which choices there are, [D, C]."""
        return self.support.first if self.is_first else self.support.later

    def size(self, x: jax.Array) -> jax.Array:
        """Values as the linear baseline counts them, [..., D]."""
        return support.size_of(self.support, self.chain.layout, x)

    def matches(self, x: jax.Array) -> jax.Array:
        """Which options each value is, [..., D, C - 1] bool."""
        layout = self.chain.layout
        return support.matches(self.support, layout, x, self.options, self.is_there)

    def read(self, x: jax.Array) -> jax.Array:
        """What the policy reads of x: sizes, innovations, options; [..., 2 D + S]."""
        size, shown = self.size(x), support.shown(self.chain.layout, self.matches(x))
        return jnp.concatenate([size, self.innovation(size), shown], axis=-1)

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
    units: jax.Array  # [..., D, HIDDEN] of the coupling, before the earlier columns are seen
    # A [D + S, HIDDEN] of earlier columns, B [D, F, HIDDEN] of a column's own past,
    # W [D, HIDDEN, C + 3 K].
    weights: Weights
    temperature: float | jax.Array
    context: MixedContext
    chain: MixedChain = field(metadata={"static": True})

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x_d | x_<d) of each column, `[..., D]`, nats; of a mass or a density."""
        layout, context, order = self.chain.layout, self.context, self.chain.layout.order
        cells = support.cells(context.support, layout, x)
        matched = support.matches(
            context.support, layout, x, context.options, context.is_there, cells
        )
        e = context.innovation(context.size(x))
        raw = self._coupled(e, support.shown(layout, matched))
        log_option, log_rest = jnp.full(x.shape, NEVER), jnp.zeros(x.shape)
        if self.chain.choices:
            there = support.by_column(context.is_there[order], x)
            log_choice = self._log_choice(raw[..., : self.chain.choices], there)
            options = jnp.where(matched[..., order, :], log_choice[..., 1:], NEVER)
            log_option, log_rest = jax.nn.logsumexp(options, axis=-1), log_choice[..., 0]
        numbers = self._components(raw[..., self.chain.choices :])
        unit = support.by_column(jnp.diagonal(context.factor), x)
        first, last = len(layout.densities), len(layout.densities) + len(layout.grids)
        densities, grids = slice(first), slice(first, last)
        parts = []
        if layout.densities:
            at = order[:first]
            log_w, mean, scale = (a[..., densities, :] for a in numbers)
            joint = log_joint(log_w, mean, scale, e[..., at])
            log_p = jax.nn.logsumexp(joint, axis=-1) - jnp.log(unit[..., at])
            is_option = matched[..., at, :].any(axis=-1)
            log_p = log_rest[..., densities] + log_p
            parts.append(jnp.where(is_option, log_option[..., densities], log_p))
        if layout.grids:
            at = order[first:last]
            log_w, mean, scale = (a[..., grids, :] for a in numbers)
            lower, upper = (((e + (end - x) / unit)[..., at, None] - mean) / scale for end in cells)
            log_p = jax.nn.logsumexp(log_w + log_mass(lower, upper), axis=-1)
            parts.append(jnp.logaddexp(log_option[..., grids], log_rest[..., grids] + log_p))
        parts.append(log_option[..., last:])
        # Back by a product: a gather's gradient is a scatter, which is slow.
        return jnp.concatenate(parts, axis=-1) @ np.eye(layout.features, dtype=np.float32)[order]

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., D] and what the policy reads of it, from normal `noise` [..., 2 D].

        One column after the other: a scan, so that compiling takes no longer with more.
        """
        chain, layout, context = self.chain, self.chain.layout, self.context
        components, choices = chain.mixture.components, chain.choices
        one = replace(layout, features=1, tables=(0,) * bool(layout.tables), shown=())

        def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
            seen, sizes = carry  # of earlier columns [..., HIDDEN]; offset + F e so far [D, ...]
            d, raw, units, a, w, own, options, there, column, which, value = inputs
            raw = raw + jnp.tanh(units + seen) @ w
            log_weights, mean, scale = self._components(raw[..., choices:])
            if choices:
                log_choice = self._log_choice(raw[..., :choices], there)
                log_weights = log_choice[..., :1] + log_weights
                log_weights = jnp.concatenate([log_weights, log_choice[..., 1:]], axis=-1)
            chosen = _chosen(jnp.exp(log_weights), which)
            rest, option = chosen[..., :components], chosen[..., components:]
            base, unit = sizes[d], column[d]
            value = jnp.where(own.is_discrete, logistic(value), value)
            x = base + unit * jnp.sum(rest * (mean + scale * value[..., None]), axis=-1)
            x = jnp.where(jnp.sum(rest, axis=-1) > 0.5, x, jnp.sum(option * options, axis=-1))
            # Listed values are exact as they are: sentinels are on no grid.
            is_listed = jnp.sum(option[..., layout.held + layout.sloped :], axis=-1) > 0.5
            snapped = support.snap(own, one, x[..., None])
            x = jnp.where(is_listed[..., None], x[..., None], snapped)
            matched = support.matches(own, one, x, options[..., None, :], there[None])[..., 0, :]
            size = support.size_of(own, one, x)[..., 0]
            e = (size - base) / unit
            sizes = sizes + column[(slice(None), *(None,) * e.ndim)] * e[None]
            read = jnp.concatenate([e[..., None], matched.astype(jnp.float32)], axis=-1)
            seen = seen + read @ a
            return (seen, sizes), (x[..., 0], size, e, matched)

        back = np.argsort(layout.order)
        raw = self.raw[..., back, :]
        which, value = jnp.split(noise, 2, axis=-1)
        options = jnp.broadcast_to(context.options, (*raw.shape[:-1], layout.choices - 1))
        by_column = (
            jnp.arange(layout.features),
            jnp.moveaxis(raw, -2, 0),
            jnp.moveaxis(self.units[..., back, :], -2, 0),
            self._seen_by_column(),
            self.weights["W"][back],
            jax.tree.map(lambda leaf: leaf[:, None], context.support),
            jnp.moveaxis(options, -2, 0),
            context.is_there,
            context.factor.T,
            jnp.moveaxis(which, -1, 0),
            jnp.moveaxis(value, -1, 0),
        )
        offset = jnp.broadcast_to(context.offset, raw.shape[:-1])
        seen = 0.0 * self.units[..., 0, :]
        _, found = lax.scan(body, (seen, jnp.moveaxis(offset, -1, 0)), by_column)
        x, size, e, matched = found
        x, size, e = (jnp.moveaxis(each, 0, -1) for each in (x, size, e))
        shown = support.shown(layout, jnp.moveaxis(matched, 0, -2))
        return x, jnp.concatenate([size, e, shown], axis=-1)

    def _log_choice(self, raw: jax.Array, is_there: jax.Array) -> jax.Array:
        """log c `[..., C]`."""
        is_there = jnp.broadcast_to(is_there, raw.shape)
        return jax.nn.log_softmax(jnp.where(is_there, raw / self.temperature, NEVER), axis=-1)

    def _components(self, raw: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log w, mean and scale of the mixture, `[..., K]` each."""
        return self.chain.mixture.components_of(raw, self.temperature)

    def _coupled(self, e: jax.Array, shown: jax.Array) -> jax.Array:
        """Numbers of each column `[..., D, C + 3 K]`, given the earlier columns."""
        layout = self.chain.layout
        features, hidden = layout.features, self.weights["A"].shape[1]
        column = np.concatenate([np.arange(features), self._shown_columns])
        earlier = (column[:, None] < layout.order[None]).astype(np.float32)
        flat = (earlier[:, :, None] * self.weights["A"][:, None]).reshape(-1, features * hidden)
        seen = jnp.concatenate([e, shown], axis=-1) @ flat
        units = jnp.tanh(self.units + seen.reshape(*e.shape, hidden))
        return self.raw + jnp.einsum("...dm,dmp->...dp", units, self.weights["W"])

    @property
    def _shown_columns(self) -> np.ndarray:
        """The column of each option that is shown, [S]."""
        return np.array(self.chain.layout.shown, np.int32) // max(1, self.chain.layout.choices - 1)

    def _seen_by_column(self) -> jax.Array:
        """Rows of A of each column: its innovation's, its options', [D, C, HIDDEN]."""
        layout = self.chain.layout
        number = layout.choices - 1
        # Options that are not shown have a row of zeros, the last.
        rows = np.full(layout.features * number, self.chain.num_seen, np.int32)
        rows[np.array(layout.shown, np.int32)] = layout.features + np.arange(len(layout.shown))
        own = np.arange(layout.features)[:, None]
        rows = np.concatenate([own, rows.reshape(layout.features, number)], axis=1)
        padded = jnp.concatenate([self.weights["A"], jnp.zeros((1, HIDDEN))])
        return padded[rows]


def _chosen(w: jax.Array, which: jax.Array) -> jax.Array:
    """Which of the weights a standard normal number draws, one-hot, `[..., G]`.

    Never one of weight 0, however far out the number is.
    """
    share = jnp.clip(normal_cdf(which), 1e-6, 1 - 1e-6)
    sums = cumulative(w)
    below = sums[..., :-1] < (share * sums[..., -1])[..., None]
    return jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
