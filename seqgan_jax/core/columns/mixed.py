"""One step as a chain of columns of any kind: a choice, and beside the options a mixture.

    p(x_d | x_<t, x_<d) = sum_g c_g [x_d is option g] + c_0 f(x_d)

with c the probabilities of the choices and f the density of a mixture of Gaussians, or the mass of
the cell of x_d under a mixture of logistic distributions where the column is on a grid. `log_prob`
is therefore the logarithm of a mass where a value has mass, and of a density where it has none
(`is_density`).

That a value is missing is an option, too. For the later columns of its step its size is what the
linear baseline predicts from the steps before and the earlier columns, so that its innovation is 0
(`MixedContext.size`); for later steps its mean given all values of its step, too
(`MixedContext.filled`): of a VAR(1) of one column the mean of the Kalman filter, of more columns
with the covariance of one step ahead in the place of the filter's own. What is as before is as the
last value that was there.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core import baseline
from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.chain import HIDDEN, Context, Weights
from seqgan_jax.core.columns.continuous import Mixture
from seqgan_jax.core.columns.mixed_step import CUT, MixedContext, MixedStep, Shape
from seqgan_jax.core.columns.support import Layout
from seqgan_jax.data.kind import GAP
from seqgan_jax.errors import UsageError


@dataclass(frozen=True)
class MixedChain(Shape):
    """How the columns of one step hang together; hashable, without arrays.

    Column d depends on the earlier ones of its step by `HIDDEN` units, as in `chain.Chain`, which
    read their innovations and which of their options they are.

    Args:
      drift: a column sees how far it is from its own moving means.
    """

    drift: bool = False
    closed_entropy = False

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
    def num_means(self) -> int:
        """Moving means of each column."""
        return len(self.layout.rates)

    @property
    def num_read(self) -> int:
        """What the policy reads of the past."""
        return self.layout.num_read

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
        is, how far it is from its moving means, and the runs of its options."""
        return 4 + self.num_means * self.drift + self.layout.choices - 1

    def context(self, constants: Params, past: "Past | None") -> "MixedContext":
        """What the step after `past` is relative to; None: the first step."""
        own = support.of_constants(constants)
        if past is None:
            nothing = jnp.zeros((1, self.features))
            options = support.options(own, self.layout, nothing, nothing)
            plain = Context.of(constants["first_offset"][None], constants["first_factor"])
            return MixedContext(
                **vars(plain), support=own, options=options, chain=self, is_first=True
            )
        size, earlier = past.size, past.earlier
        if size is None or earlier is None:
            size, earlier = (support.size_of(own, self.layout, x) for x in past[:2])
        offset = _offset(constants, size, earlier, past.means, past.season)
        slope = support.continued(past.x, past.before)
        options = support.options(own, self.layout, past.x, slope)
        plain = Context.of(offset, constants["factor"])
        found = MixedContext(
            **vars(plain), support=own, options=options, chain=self, is_first=False
        )
        if self.layout.told:
            found = replace(found, before=past.x)
        if past.steps is None:
            return found
        return replace(found, opened=support.opened(own, self.layout, past.x, past.steps))

    def carried(
        self,
        read: jax.Array,
        x: jax.Array,
        inputs: jax.Array | None,
        constants: Params | None = None,
    ) -> jax.Array:
        """What is carried to the next step: what the policy reads of the past, with runs in place
        of options and the moving means; then x_t, x_{t-1}, the means of the last season's places,
        and how many steps there were."""
        size, plain, shown = self._parts(read)
        gap = None
        if self.layout.gaps:
            gap = (x == GAP) & support.by_column(jnp.asarray(self.layout.gap_columns), x)
        if inputs is None:
            memory = Memory(0.0 * shown, jnp.tile(size, self.num_means), 0.0 * x[..., :1])
            if gap is not None and constants is not None:
                own = support.of_constants(constants)
                x = jnp.where(gap, support.snap(own, self.layout, size), x)
            before, earlier = x, size
        else:
            memory, before = self._memory(inputs), self.past(inputs).x
            x = x if gap is None else jnp.where(gap, before, x)
            earlier = inputs[..., : self.features]
            shown = self._staying(shown, memory.runs > 0)
        sizes = [] if gap is None else [earlier]
        again = []
        if self.layout.closes:
            again = [size if inputs is None else self._of_places(inputs)]
        elif self.layout.repeats:
            q = jnp.tile(0.0 * size, self.layout.season + 1)
            q = q if inputs is None else self._of_places(inputs)
            now = self._season_after(q[..., self.features : 2 * self.features], size, memory.steps)
            again = [q[..., self.features :], now]
        memory = memory.after(size, shown, self.layout.rates)
        parts = [plain, memory.runs, memory.means, x, before, *sizes, *again, memory.steps]
        return jnp.concatenate(parts, axis=-1)

    def all_carried(self, read: jax.Array, past: "Past") -> jax.Array:
        """The same at every step of whole sequences [T, B, ...], of which `all_past` is known."""
        size, plain, shown = self._parts(read)
        shown = self._staying(shown, shown[:1])

        def body(runs: jax.Array, shown: jax.Array) -> tuple[jax.Array, jax.Array]:
            runs = support.run(runs, shown)
            return runs, runs

        _, runs = lax.scan(body, 0.0 * shown[0], shown)
        steps = jnp.arange(1.0, len(read) + 1.0)[:, None, None]
        steps = jnp.broadcast_to(steps, (*read.shape[:-1], 1))
        sizes = [] if past.earlier is None else [past.earlier]
        again = []
        if self.layout.closes:
            again = [jnp.broadcast_to(size[:1], size.shape)]
        elif self.layout.repeats:
            q = self._seasonal_means(size)
            again = [_back(q, back) for back in range(self.layout.season, -1, -1)]
        parts = [plain, runs, past.means, past.x, past.before, *sizes, *again, steps]
        return jnp.concatenate(parts, axis=-1)

    def all_past(self, constants: Params, x: jax.Array, known: jax.Array | None = None) -> "Past":
        """The past of the steps after each of whole sequences [T, B, D], of which [T, B, W] is
        known."""
        own = support.of_constants(constants)
        if self.layout.gaps:
            size, means = self._filled(constants, x, known)
            # Where nothing was there yet, what is predicted of the first step.
            first = support.snap(own, self.layout, size[0])
            x = x.at[0].set(jnp.where(support.is_gap(own, x[0]), first, x[0]))
            x = support.last_there(own, x, 0)
            before, earlier = (jnp.concatenate([a[:1], a[:-1]]) for a in (x, size))
            return Past(x, before, means, size, earlier, steps=self._steps(x))
        size = support.size_of(own, self.layout, x)
        start = jnp.tile(size[0], self.num_means), 0.0 * x[0, ..., :1]

        def body(carry: Any, size: jax.Array) -> tuple[Any, jax.Array]:
            means, steps = _means_after(carry[0], carry[1], size, self.layout.rates)
            return (means, steps), means

        _, means = lax.scan(body, start, size)
        before = jnp.concatenate([x[:1], x[:-1]])
        again, season = None, self.layout.season
        steps = jnp.arange(1.0, len(x) + 1.0)[:, None, None]
        if self.layout.closes:
            again = self._closing(size[:1], means, size, steps)
        elif self.layout.repeats:
            q = self._seasonal_means(size)
            again = self._of_season(_back(q, season), _back(q, season - 1), size, steps)
        return Past(x, before, means, season=again, steps=self._steps(x))

    def _steps(self, x: jax.Array) -> jax.Array | None:
        """How many steps there were after each of [T, B, D], where clocks want to know."""
        if not self.layout.clocks:
            return None
        return jnp.broadcast_to(jnp.arange(1.0, len(x) + 1.0)[:, None, None], (*x.shape[:-1], 1))

    def _staying(self, shown: jax.Array, first: jax.Array) -> jax.Array:
        """What is shown, of static columns as at the first step: later their value is as before."""
        if not self.layout.stays:
            return shown
        stays = np.isin(np.arange(len(self.layout.shown)), self.layout.stays)
        return jnp.where(
            support.by_column(jnp.asarray(stays), shown), first.astype(shown.dtype), shown
        )

    def _seasonal_means(self, size_TBD: jax.Array) -> jax.Array:
        """The mean of each step's place in the season up to it, as `baseline.seasonal_mean`."""
        season, length = self.layout.season, len(size_TBD)
        padded = jnp.pad(size_TBD, ((0, -length % season), (0, 0), (0, 0)))
        seasons = padded.reshape(-1, season, *size_TBD.shape[1:])

        def body(q: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            q = self._season_after(q, *now)
            return q, q

        steps = season * jnp.arange(float(len(seasons)))[:, None, None, None]
        _, found = lax.scan(body, 0.0 * seasons[0], (seasons, steps))
        return found.reshape(-1, *size_TBD.shape[1:])[:length]

    def _season_after(self, q: jax.Array, size: jax.Array, steps: jax.Array) -> jax.Array:
        """The mean of a season's place with one more, after so many steps."""
        number = jnp.floor(steps / self.layout.season) + 1.0
        rate = jnp.maximum(self.layout.season_rate, 1.0 / number)
        return (1.0 - rate) * q + rate * size

    def _of_season(
        self, earlier: jax.Array, q: jax.Array, size: jax.Array, steps: jax.Array
    ) -> jax.Array:
        """What the baseline reads of the season after so many steps, the last of them of `size`:
        q - `earlier` and q - `size`, q of the place of the step to come and `earlier` before."""
        moved = jnp.where(steps > self.layout.season, q - earlier, 0.0)
        away = jnp.where(steps >= self.layout.season, q - size, 0.0)
        return jnp.concatenate([moved, away], axis=-1)

    def _closing(
        self, first: jax.Array, means: jax.Array, size: jax.Array, steps: jax.Array
    ) -> jax.Array:
        """What the baseline reads near the end of the first season, see `baseline.closeness`."""
        slow = means[..., self.features : 2 * self.features]
        apart = jnp.concatenate([slow - size, first - size], axis=-1)
        return baseline.closeness(steps, self.layout.season) * apart

    def _filled(
        self, constants: Params, x: jax.Array, known: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Sizes [T, B, D], of missing values as predicted, and their moving means [T, B, 2 D]."""
        begin, then = (None, None) if known is None else (known[0], known[1:])
        start = self.context(constants, None).moved(begin, constants.get("first_known"))
        first = start.filled(x[0])
        means, steps = jnp.tile(first, self.num_means), jnp.ones_like(x[0, ..., :1])

        context = self.context(constants, Past(first, first, means, first, first))

        def body(carry: Any, step: Any) -> tuple[Any, Any]:
            size, earlier, means, steps = carry
            now, known = step
            then = replace(context, offset=_offset(constants, size, earlier, means))
            found = then.moved(known, constants.get("known")).filled(now)
            means, steps = _means_after(means, steps, found, self.layout.rates)
            return (found, size, means, steps), (found, means)

        _, (sizes, later) = lax.scan(body, (first, first, means, steps), (x[1:], then))
        return jnp.concatenate([first[None], sizes]), jnp.concatenate([means[None], later])

    def past(self, inputs: jax.Array) -> "Past":
        """The past in what was carried."""
        number = 3 if self.layout.gaps else 2
        end = self.num_read + number * self.features
        parts = jnp.split(inputs[..., self.num_read : end], number, axis=-1)
        size = inputs[..., : self.features] if self.layout.gaps else None
        again, memory = None, self._memory(inputs)
        if self.layout.closes:
            now = inputs[..., : self.features]
            again = self._closing(self._of_places(inputs), memory.means, now, memory.steps)
        elif self.layout.repeats:
            places = self._of_places(inputs)[..., : 2 * self.features]
            before, q = jnp.split(places, 2, axis=-1)
            again = self._of_season(before, q, inputs[..., : self.features], inputs[..., -1:])
        earlier = parts[2] if self.layout.gaps else None
        steps = memory.steps if self.layout.clocks else None
        return Past(parts[0], parts[1], memory.means, size, earlier, again, steps)

    def _of_places(self, inputs: jax.Array) -> jax.Array:
        """The means of the places of the last season and one step, the oldest first,
        [..., (season + 1) D]; or the first sizes, [..., D]."""
        return inputs[..., -1 - self.layout.num_places * self.features : -1]

    def _parts(self, read: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Sizes; sizes and innovations; options; of what a step's `read` gives."""
        plain, shown = jnp.split(read, [2 * self.features], axis=-1)
        return read[..., : self.features], plain, shown

    def _memory(self, inputs: jax.Array) -> "Memory":
        means = self.num_read - self.num_means * self.features
        runs, means_ = inputs[..., 2 * self.features : means], inputs[..., means : self.num_read]
        return Memory(runs, means_, inputs[..., -1:])

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
        number = self.layout.choices
        known = jnp.pad(context.middle, ((0, 0), (number, 0)))[self.layout.order]
        known = support.by_column(known, units[..., 0])
        if inputs is not None:
            past = context.support.later_past[self.layout.order]
            known = known + jnp.einsum("...r,drc->...dc", self.of_choices(inputs), past)
        if context.given is not None:
            slopes = context.of_given[self.layout.order]
            known = known + jnp.einsum("...w,dwc->...dc", context.given, slopes)
        known = jnp.broadcast_to(known, (*raw.shape[:-1], *known.shape[-2:]))
        return MixedStep(raw_DP, known, units, weights, temperature, context, self)

    def of_choices(self, inputs: jax.Array) -> jax.Array:
        """What the regressions take from what was carried, [..., R + S + G + L]: all that the
        policy reads, cut off, which options the last value was, and how long gaps and what was
        straight are."""
        memory = self._memory(inputs)
        runs = memory.runs
        is_option = (runs > 0).astype(jnp.float32)
        parts = [jnp.clip(inputs[..., : self.num_read], -CUT, CUT), is_option]
        if self.layout.gaps:
            parts.append(jnp.maximum(runs[..., np.array(self.layout.gaps)], 0.0))
        if self.layout.straight:
            parts.append(self._lengths(memory))
        return jnp.concatenate(parts, -1)

    def _lengths(self, memory: "Memory") -> jax.Array:
        """Whether a column has gone straight on for 0, 1, 2 .. steps, [..., L]: since the first
        value, since the second, which no line leads to, and since it bent."""
        steps = jnp.expm1(jnp.maximum(memory.runs[..., np.array(self.layout.straight)], 0.0))
        since = jnp.clip(memory.steps - steps, 1.0, support.SINCE)
        lengths, starts = (
            jnp.arange(first, last + 1.0)[(None,) * steps.ndim]
            for first, last in ((0.0, self.layout.counted), (1.0, support.SINCE))
        )
        is_length = jnp.abs(steps[..., None] - lengths) < 0.5
        is_start = jnp.abs(since[..., None] - starts) < 0.5
        both = is_length[..., None, :] & is_start[..., None]
        return both.reshape(*steps.shape[:-1], -1).astype(jnp.float32)

    def _past(self, context: "MixedContext", inputs: jax.Array) -> jax.Array:
        """What each column sees of its own past, [..., D, F]."""
        layout, features = self.layout, self.features
        size, e = inputs[..., :features], inputs[..., features : 2 * features]
        runs, known = self._memory(inputs).runs, self.past(inputs)
        x, before, earlier = known.x, known.before, known.earlier
        unit = support.by_column(jnp.diagonal(context.factor), x)
        moved = _squashed((size - (context.size(before) if earlier is None else earlier)) / unit)
        common = support.commonness(context.support, layout, x)
        places = np.full(features * (layout.choices - 1), len(layout.shown), np.int32)
        places[np.array(layout.shown, np.int32)] = np.arange(len(layout.shown))
        padded = jnp.concatenate([runs, 0.0 * x[..., :1]], axis=-1)
        own = padded[..., places].reshape(*x.shape, layout.choices - 1)
        parts = [jnp.stack([size, e, moved, common], axis=-1), own]
        if self.drift:
            means = known.means.reshape(*size.shape[:-1], self.num_means, features)
            drift = _squashed((size[..., None, :] - means) / unit[..., None, :])
            parts.insert(1, jnp.moveaxis(drift, -2, -1))
        return jnp.concatenate(parts, axis=-1)


def _squashed(x: jax.Array) -> jax.Array:
    """sign(x) log(1 + |x|): the sign of what is small is seen beside what is large."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


class Past(NamedTuple):
    """What the baseline predicts a step from."""

    x: jax.Array  # [..., D] of the step before; in a gap the last that was there
    before: jax.Array  # [..., D] of the one before that
    means: jax.Array  # [..., 2 D] or more, moving means of sizes up to the step before
    # Where there are gaps, [..., D]: sizes of both, in a gap what was predicted.
    size: jax.Array | None = None
    earlier: jax.Array | None = None
    # Where there is a season, [..., 2 D]: what the mean of the next step's place moved by, and how
    # far it is.
    season: jax.Array | None = None
    steps: jax.Array | None = None  # Where there are clocks, [..., 1]: how many there were.


class Memory(NamedTuple):
    """What is summed up over all steps so far."""

    runs: jax.Array  # [..., S] how long each option has been met, see `support.run`
    means: jax.Array  # [..., 2 D] or more, moving means of sizes
    steps: jax.Array  # [..., 1] how many

    def after(self, size: jax.Array, shown: jax.Array, rates: tuple[float, ...]) -> "Memory":
        """One step later."""
        means, steps = _means_after(self.means, self.steps, size, rates)
        return Memory(support.run(self.runs, shown), means, steps)


def _back(x_TBD: jax.Array, steps: int) -> jax.Array:
    """x_{t - steps}, 0 before the first."""
    return jnp.pad(x_TBD, ((steps, 0), (0, 0), (0, 0)))[: len(x_TBD)]


def _offset(
    constants: Params,
    size: jax.Array,
    earlier: jax.Array,
    means: jax.Array,
    season: jax.Array | None = None,
) -> jax.Array:
    """What the linear baseline predicts of the next step, [..., D]."""
    offset = size @ constants["matrix"].T + support.by_column(constants["offset"], size)
    again = [] if season is None else [season]
    more = jnp.concatenate([earlier, means, *again], axis=-1)
    second = constants["second"]  # of a season's rate 1 it reads moves alone
    return offset + more[..., : second.shape[1]] @ second.T


def _means_after(
    means: jax.Array, steps: jax.Array, size: jax.Array, rates: tuple[float, ...]
) -> tuple[jax.Array, jax.Array]:
    """Moving means and the number of steps, one step later; as `baseline.moving_mean`."""
    steps = steps + 1.0
    each = jnp.repeat(jnp.array(rates), size.shape[-1])
    rate = jnp.maximum(support.by_column(each, steps), 1.0 / steps)
    return means + rate * (jnp.tile(size, len(rates)) - means), steps


def by_name(policy: str, components: int, layout: Layout, drift: bool) -> MixedChain:
    """The chain for these settings; raises UsageError for what it cannot be."""
    if policy == "student":
        raise UsageError(
            "--policy student is for columns that are all continuous, and some of these are not. "
            "Choose --policy mixture, or --kind all:continuous."
        )
    return MixedChain(layout, Mixture(components if policy == "mixture" else 1), drift=drift)
