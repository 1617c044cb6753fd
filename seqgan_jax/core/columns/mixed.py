"""One step as a chain of columns of any kind: a choice, and beside the options a mixture.

    p(x_d | x_<t, x_<d) = sum_g c_g [x_d is option g] + c_0 f(x_d)

with c the probabilities of the choices and f the mixture's density, or the mass of the cell of x_d
where the column is on a grid. `log_prob` is therefore the logarithm of a mass where a value has
mass, and of a density where it has none (`is_density`).
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.cells import log_mass
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
    def own(self) -> int:
        """Numbers of one column, C + 3 K."""
        return self.layout.choices + self.mixture.num_params

    @property
    def num_coupling(self) -> int:
        """Numbers that the network gives beside the columns' own."""
        return HIDDEN if self.features > 1 else 0

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
        own = jnp.concatenate([log_share_DC, mixture], axis=1)
        return jnp.concatenate([own.reshape(-1), jnp.zeros(self.num_coupling)])

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """Weights that all steps share: columns are independent until trained. Consumes `key`."""
        if not self.num_coupling:
            return {}
        options = self.layout.choices - 1
        draw = jax.nn.initializers.lecun_normal()(key, (self.features * (1 + options), HIDDEN))
        # One of a column's options at most is met: as large as one number of it.
        draw = draw.reshape(self.features, 1 + options, HIDDEN) * (1 + options) ** 0.5
        return {"A": draw, "W": jnp.zeros((self.features, HIDDEN, self.own))}

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
        slope = support.continued(own, self.layout, x, before) if self.layout.sloped else None
        options = support.options(own, self.layout, x, slope)
        plain = Context.of(offset, constants["factor"])
        return MixedContext(**vars(plain), support=own, options=options, chain=self, is_first=False)

    def inputs(self, read: jax.Array, x: jax.Array, before: jax.Array) -> jax.Array:
        """What is carried to the next step: what the policy reads, x_t and x_{t-1}."""
        return jnp.concatenate([read, x, before], axis=-1)

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
    ) -> "MixedStep":
        """The distribution of one step from the network's numbers."""
        own = self.num_params - self.num_coupling
        raw_DP = raw[..., :own].reshape(*raw.shape[:-1], self.features, self.own)
        return MixedStep(raw_DP, raw[..., own:], weights, temperature, context, self)


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
        return support.matches(self.support, x, self.options, self.is_there)

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
    """The distribution of one step."""

    raw: jax.Array  # [..., D, C + 3 K]
    coupling: jax.Array  # [..., HIDDEN]
    weights: Weights  # A [D, C, HIDDEN], W [D, HIDDEN, C + 3 K]
    temperature: float | jax.Array
    context: MixedContext
    chain: MixedChain = field(metadata={"static": True})

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x_d | x_<d) of each column, `[..., D]`, nats; of a mass or a density."""
        layout, context = self.chain.layout, self.context
        matched = context.matches(x)
        e = context.innovation(context.size(x))
        there = support.by_column(context.is_there, x)
        log_choice, log_w, mean, scale = self._numbers(self._coupled(e, matched), there)
        options = jnp.where(matched, log_choice[..., 1:], NEVER)
        log_option = jax.nn.logsumexp(options, axis=-1) if layout.choices > 1 else NEVER
        diagonal = support.by_column(jnp.diagonal(context.factor), x)
        is_discrete = support.by_column(context.support.is_discrete, x)
        log_rest = jnp.zeros(x.shape)
        if layout.densities or not (layout.tables or layout.lattices):
            log_rest = jax.nn.logsumexp(log_joint(log_w, mean, scale, e), axis=-1)
            log_rest = log_rest - jnp.log(diagonal)
        log_rest = log_choice[..., 0] + log_rest
        found = jnp.where(matched.any(axis=-1), log_option, log_rest)
        if layout.tables or layout.lattices:
            lower, upper = (
                (e + (end - x) / diagonal)[..., None]
                for end in support.cells(context.support, layout, x)
            )
            mass = log_mass((lower - mean) / scale, (upper - mean) / scale)
            log_rest = log_choice[..., 0] + jax.nn.logsumexp(log_w + mass, axis=-1)
            found = jnp.where(is_discrete, jnp.logaddexp(log_option, log_rest), found)
        return found

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., D] and what the policy reads of it, from normal `noise` [..., 2 D].

        One column after the other: a scan, so that compiling takes no longer with more.
        """
        layout, context, components = self.chain.layout, self.context, self.chain.mixture.components
        one = replace(layout, features=1, shown=())

        def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
            seen, sizes = carry  # of the coupling [..., HIDDEN]; offset + F e so far [D, ...]
            d, raw, weights, own, options, there, column, which, value = inputs
            if weights:
                raw = raw + jnp.tanh(seen) @ weights["W"]
            log_choice, log_w, mean, scale = self._numbers(raw, there)
            log_weights = [log_choice[..., :1] + log_w, log_choice[..., 1:]]
            chosen = _chosen(jnp.exp(jnp.concatenate(log_weights, axis=-1)), which)
            rest, option = chosen[..., :components], chosen[..., components:]
            base, unit = sizes[d], column[d]
            drawn = base + unit * jnp.sum(rest * (mean + scale * value[..., None]), axis=-1)
            drawn = support.snap(own, one, drawn[..., None])[..., 0]
            is_rest = jnp.sum(rest, axis=-1) > 0.5
            x = jnp.where(is_rest, drawn, jnp.sum(option * options, axis=-1))[..., None]
            matched = support.matches(own, x, options[..., None, :], there[None])[..., 0, :]
            size = support.size_of(own, one, x)[..., 0]
            e = (size - base) / unit
            sizes = sizes + column[(slice(None), *(None,) * e.ndim)] * e[None]
            if weights:
                seen = seen + e[..., None] * weights["A"][0][(None,) * e.ndim]
                seen = seen + matched.astype(jnp.float32) @ weights["A"][1:]
            return (seen, sizes), (x[..., 0], size, e, matched)

        which, value = jnp.split(noise, 2, axis=-1)
        by_column = (
            jnp.arange(self.chain.features),
            jnp.moveaxis(self.raw, -2, 0),
            dict(self.weights),
            jax.tree.map(lambda leaf: leaf[:, None], context.support),
            jnp.moveaxis(jnp.broadcast_to(context.options, self._option_shape), -2, 0),
            context.is_there,
            context.factor.T,
            jnp.moveaxis(which, -1, 0),
            jnp.moveaxis(value, -1, 0),
        )
        offset = jnp.broadcast_to(context.offset, self.raw.shape[:-1])
        _, found = lax.scan(body, (self.coupling, jnp.moveaxis(offset, -1, 0)), by_column)
        x, size, e, matched = found
        x, size, e = (jnp.moveaxis(each, 0, -1) for each in (x, size, e))
        shown = support.shown(layout, jnp.moveaxis(matched, 0, -2))
        return x, jnp.concatenate([size, e, shown], axis=-1)

    @property
    def _option_shape(self) -> tuple[int, ...]:
        return (*self.raw.shape[:-1], self.chain.layout.choices - 1)

    def _numbers(self, raw: jax.Array, is_there: jax.Array) -> tuple[jax.Array, ...]:
        """log c [..., C]; log w, mean, scale [..., K]."""
        choices = self.chain.layout.choices
        is_there = jnp.broadcast_to(is_there, (*raw.shape[:-1], choices))
        logits = jnp.where(is_there, raw[..., :choices] / self.temperature, NEVER)
        numbers = self.chain.mixture.components_of(raw[..., choices:], self.temperature)
        return (jax.nn.log_softmax(logits, axis=-1), *numbers)

    def _coupled(self, e: jax.Array, matched: jax.Array) -> jax.Array:
        """Numbers of each column `[..., D, C + 3 K]`, given the earlier columns."""
        if not self.weights:
            return self.raw
        a, features = self.weights["A"], self.chain.features
        own = e[..., None] * support.by_column(a[:, 0], e)
        if self.chain.layout.choices > 1:
            own = own + jnp.einsum("...dc,dcm->...dm", matched.astype(jnp.float32), a[:, 1:])
        earlier = np.tril(np.ones((features, features), np.float32), -1)
        seen = jnp.einsum("de,...em->...dm", earlier, own)
        units = jnp.tanh(self.coupling[..., None, :] + seen)
        return self.raw + jnp.einsum("...dm,dmp->...dp", units, self.weights["W"])


def _chosen(w: jax.Array, which: jax.Array) -> jax.Array:
    """Which of the weights a standard normal number draws, one-hot, `[..., G]`.

    Never one of weight 0, however far out the number is.
    """
    share = jnp.clip(normal_cdf(which), 1e-6, 1 - 1e-6)
    sums = cumulative(w)
    below = sums[..., :-1] < (share * sums[..., -1])[..., None]
    return jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
