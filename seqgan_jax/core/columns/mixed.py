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

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.cells import log_mass, log_normal_mass, logistic, normal_between
from seqgan_jax.core.columns.chain import HIDDEN, Context, Weights
from seqgan_jax.core.columns.continuous import (
    Between,
    Mixture,
    cumulative,
    implicit,
    log_joint,
    normal_cdf,
)
from seqgan_jax.core.columns.support import Layout, Support
from seqgan_jax.data.kind import GAP
from seqgan_jax.errors import UsageError

NEVER = -1e9  # logit of a choice that there is not
CUT = 4.0  # of what the regressions read: no outlier decides
MOST_TIMES = 8  # steps of conjugate gradients; they are exact after as many as columns
PLACE, SPREAD = 3.0, 1.5  # by which they move the rest, and log-scale they widen it by, at most


@dataclass(frozen=True)
class MixedChain:
    """How the columns of one step hang together; hashable, without arrays.

    Column d depends on the earlier ones of its step by `HIDDEN` units, as in `chain.Chain`, which
    read their innovations and which of their options they are.

    Args:
      layout: which choices there are.
      mixture: the distribution of the rest.
      complete: given that no value is missing: this option has no probability, the others have it
        all, and the log-probability of what is missing is 0.
      drift: a column sees how far it is from its own moving means.
    """

    layout: Layout
    mixture: Mixture
    complete: bool = False
    drift: bool = False
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

    @property
    def num_seen(self) -> int:
        """What later columns see of the earlier ones: innovations and options."""
        return self.features + len(self.layout.shown)

    @property
    def columns_seen(self) -> np.ndarray:
        """The column of each number that later columns see, [S']."""
        of_options = np.array(self.layout.shown, np.int32) // max(1, self.layout.choices - 1)
        return np.concatenate([np.arange(self.features), of_options])

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
        if self.layout.season:
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
        if self.layout.season:
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
        if season:
            q = self._seasonal_means(size)
            steps = jnp.arange(1.0, len(x) + 1.0)[:, None, None]
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
        again = None
        if self.layout.season:
            places = self._of_places(inputs)[..., : 2 * self.features]
            before, q = jnp.split(places, 2, axis=-1)
            again = self._of_season(before, q, inputs[..., : self.features], inputs[..., -1:])
        earlier = parts[2] if self.layout.gaps else None
        memory = self._memory(inputs)
        steps = memory.steps if self.layout.clocks else None
        return Past(parts[0], parts[1], memory.means, size, earlier, again, steps)

    def _of_places(self, inputs: jax.Array) -> jax.Array:
        """The means of the places of the last season and one step, the oldest first,
        [..., (season + 1) D]."""
        return inputs[..., -1 - (self.layout.season + 1) * self.features : -1]

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


class Given(NamedTuple):
    """Values of a step that are not drawn: of the first columns, all else is given them."""

    x: jax.Array  # [..., D]
    is_given: jax.Array  # [D] bool


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


def _slope(apart: jax.Array, gap: jax.Array, unit: jax.Array, precision: jax.Array) -> jax.Array:
    """Of half of ||F^-1 (apart)||^2, in what is missing and its units, [..., D]."""
    return jnp.where(gap, unit * (apart @ precision), 0.0)


@jax.custom_jvp
def _least(gap: jax.Array, unit: jax.Array, precision: jax.Array, apart: jax.Array) -> jax.Array:
    """What is added, in units, so that the slope of `apart` is 0 where values are missing.

    By conjugate gradients. The derivative is that of the minimum: through the iterations it would
    be 0/0 where they have converged.
    """
    left = -_slope(apart, gap, unit, precision)
    return _solved(lambda way: _slope(unit * way, gap, unit, precision), left)


@_least.defjvp
def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    gap, unit, precision, _apart = primals
    move = _least(*primals)

    def left(unit: jax.Array, precision: jax.Array, apart: jax.Array) -> jax.Array:
        return -_slope(apart + unit * move, gap, unit, precision)

    def solve(bend: Callable[[jax.Array], jax.Array], wanted: jax.Array) -> jax.Array:
        return _solved(bend, jnp.where(gap, wanted, 0.0))

    changed = jax.jvp(left, primals[1:], tangents[1:])[1]
    moved = lax.custom_linear_solve(
        lambda way: _slope(unit * way, gap, unit, precision), changed, solve, symmetric=True
    )
    return move, moved


def _solved(bend: Callable[[jax.Array], jax.Array], wanted: jax.Array) -> jax.Array:
    """x of bend(x) = wanted, bend linear and symmetric in the last axis."""

    def once(_: int, carry: Any) -> Any:
        move, left, way, square = carry
        bent = bend(way)
        step = square / jnp.maximum(jnp.sum(way * bent, axis=-1, keepdims=True), 1e-20)
        move, left = move + step * way, left - step * bent
        after = jnp.sum(left * left, axis=-1, keepdims=True)
        return move, left, left + after / jnp.maximum(square, 1e-20) * way, after

    square = jnp.sum(wanted * wanted, axis=-1, keepdims=True)
    carry = jnp.zeros_like(wanted), wanted, wanted, square
    return lax.fori_loop(0, min(wanted.shape[-1], MOST_TIMES), once, carry)[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MixedContext(Context):
    """What a step is relative to, and which options it has."""

    support: Support
    options: jax.Array  # [..., D, C - 1] the value of each option
    chain: MixedChain = field(metadata={"static": True})
    is_first: bool = field(metadata={"static": True})
    given: jax.Array | None = None  # [..., W] what is known of the step in advance
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
        return size + unit * _least(gap, unit, precision, size - self.offset)

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
        return jnp.concatenate([self.innovation(size), shown], axis=-1)

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
    chain: MixedChain = field(metadata={"static": True})

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
        raw, known = self._coupled(e, support.shown(layout, matched))
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

            def mass(*cell: jax.Array) -> jax.Array:
                ends = (((e + (end - x) / unit)[..., at, None] - mean) / scale for end in cell)
                lower, upper = ends
                return jax.nn.logsumexp(log_w + log_mass(lower, upper), axis=-1)

            log_p = log_rest[..., grids] + mass(*cells)
            both = jnp.logaddexp(log_option[..., grids], log_p)
            if layout.coarse:
                is_one, lower, upper = support.coarse_cells(context.support, layout, x)
                log_p = log_choice[..., grids, 1]
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
            inputs, known_x = inputs
            d, raw, known, units, a, w, own, options, both, slopes, column, which, value = inputs
            allowed, there = both
            raw = raw + jnp.tanh(units + seen[..., :HIDDEN]) @ w
            known = known + seen[..., HIDDEN:] @ slopes
            log_weights, mean, scale = self._components(raw[..., choices:], known)
            base, unit = sizes[d], column[d]
            ends = [((end - base) / unit)[..., None] for end in (own.low[0], own.high[0])]
            law = Between(log_weights, mean, scale, ends[0][..., 0], ends[1][..., 0])
            if layout.fenced:
                inside = log_normal_mass(*((end - mean) / scale for end in ends))
                inside = jnp.where(own.is_discrete[0], 0.0, inside)
                log_weights = jax.nn.log_softmax(log_weights + inside, axis=-1)
            if choices:
                log_choice = self._log_choice(raw[..., :choices] + known[..., :-2], allowed)
                parts = [log_choice[..., i : i + 1] + log_weights for i in range(1 + coarse)]
                log_weights = jnp.concatenate([*parts, log_choice[..., 1 + coarse :]], axis=-1)
            chosen = _chosen(jnp.exp(log_weights), which)
            rest, option = chosen[..., :components], chosen[..., (1 + coarse) * components :]
            is_coarse = jnp.sum(chosen[..., components : (1 + coarse) * components], -1) > 0.5
            if coarse:
                rest = rest + chosen[..., components : 2 * components]
            if layout.fenced:
                mean, scale = (jnp.sum(rest * each, axis=-1) for each in (mean, scale))
                scale = jnp.where(jnp.sum(rest, axis=-1) > 0.5, scale, 1.0)
                normal = normal_between(value, *((end[..., 0] - mean) / scale for end in ends))
                value = jnp.where(own.is_discrete, logistic(value), normal)
                e = mean + scale * value
            else:
                value = jnp.where(own.is_discrete, logistic(value), value)
                e = jnp.sum(rest * (mean + scale * value[..., None]), axis=-1)
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
        _, found = lax.scan(body, carry, (by_column, known_x))
        x, size, e, matched = found
        x, size, e = (jnp.moveaxis(each, 0, -1) for each in (x, size, e))
        shown = support.shown(layout, jnp.moveaxis(matched, 0, -2))
        if layout.gaps and not chain.complete:
            size = context.filled(x)
            e = context.innovation(size)
        return x, jnp.concatenate([size, e, shown], axis=-1)

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


def _chosen(w: jax.Array, which: jax.Array) -> jax.Array:
    """Which of the weights a standard normal number draws, one-hot, `[..., G]`.

    Never one of weight 0, however far out the number is.
    """
    share = jnp.clip(normal_cdf(which), 1e-6, 1 - 1e-6)
    sums = cumulative(w)
    below = sums[..., :-1] < (share * sums[..., -1])[..., None]
    return jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
