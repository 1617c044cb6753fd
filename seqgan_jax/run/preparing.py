"""What training starts from: the parts, the scaling, the linear baseline, the networks."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from seqgan_jax.config import Config, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import baseline, keys, networks, outer, selection
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Batch, TrainState
from seqgan_jax.core.columns import regressions
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.outer import Outer
from seqgan_jax.core.policy import bind, init, log_prob_of_sequences
from seqgan_jax.data import bounds, encoding, known, lengths, overlap, shards, statics
from seqgan_jax.data.kind import CONTINUOUS, Kind
from seqgan_jax.data.known import Given as KnownOfAll
from seqgan_jax.data.known import Known
from seqgan_jax.data.layout import Sequences, Split, default_names
from seqgan_jax.data.sequences import KnownSplit, rows_of
from seqgan_jax.data.shards import Shards, StreamSplit
from seqgan_jax.errors import UsageError
from seqgan_jax.run.description import Description

Array = NDArray[np.float64]
ERRORS = 2.0  # of its gain by which the calendar must help
LEAST_GAIN = 0.01  # nats a step and column, of more turns: few blocks do not show their errors
# The linear baseline, scales of increments `[D]`, columns that are not plain continuous, what D
# sees of the data's own columns.
Constants = tuple[Baseline, jax.Array, Columns | None, Outer | None]
Read = tuple[Known | None, Split]  # what is known in advance, and the parts with it
Fitted = tuple[Baseline, Array, Columns | None]  # see `_linear`


class Gain(NamedTuple):
    """By how much the validation part is likelier with the calendar, by linear baselines alone."""

    mean: float  # nats a step
    error: float  # its standard error by independent blocks; 0 of one block

    @property
    def is_taken(self) -> bool:
        """More than `ERRORS` errors above 0: the baselines' ridges are chosen by the same part."""
        return self.mean > ERRORS * self.error

    def __str__(self) -> str:
        return f"{self.mean:.3f} +- {self.error:.3f} nats a step on the validation part"


class Prepared(NamedTuple):
    """What training starts from, without the networks."""

    description: Description
    parts: Split | StreamSplit
    constants: Constants
    calendar: Gain | None  # by which --calendar auto decided, where it did


# numpy's threads wait for each other by turning: beside another program its small products take up
# to 40 times the processor time.
@threadpool_limits.wrap(limits=1, user_api="blas")
def prepare(
    sequences: Sequences | Shards, settings: Config, seed: int, turns: int | None = None
) -> Prepared:
    """Split, fit the scaling and the linear baseline.

    Of streamed data, scaling and frame are fitted on a random sample of them.

    Args:
      sequences: as they were read.
      settings: of the run.
      seed: of the split.
      turns: of a day that the calendar is read by, 0 of none at all, where that was decided before;
        None: to be decided.
    """
    data, generator = settings.data, settings.generator
    parts: Split | StreamSplit
    in_advance: Known | None = None
    tried: list[Read] = []  # without the calendar, with it, and by more turns of a day
    if isinstance(sequences, Shards):
        names = default_names(sequences.shape[1])
        limits = bounds.of_columns(data.log, data.bounds, names)
        parts = shards.split(sequences, data.held_out, data.validation, seed)
        asked = encoding.asked_of_streams(names, data)
        fitted = shards.fit(parts, seed, limits, names, asked)
        scaler, train_NTD, number = fitted.scaler, fitted.sample_NTD, parts.num_train
    else:
        names = sequences.names
        sequences.check(bounds.of_columns(data.log, data.bounds, names))
        asked = encoding.asked_of(names, data, sequences.form)
        statics.check(sequences.filled, asked)
        rows = rows_of(sequences, data.held_out, data.validation, seed)
        parts = Split(*(sequences.x_NTD[part] for part in rows))
        train_NTD, number = parts.train_NTD, len(parts.train_NTD)
        form, ends = sequences.form, sequences.ends
        gaps_D = np.isnan(sequences.filled.x_NTD).any(axis=(0, 1))
        scaler = encoding.fit(train_NTD, names, data, form, gaps_D, ends)
        given = sequences.given
        of_ends: tuple[float, ...] = ()
        if scaler.ends:
            given = given or known.nothing(*sequences.x_NTD.shape[:2])
            of_ends = lengths.hazard(lengths.of(train_NTD), train_NTD.shape[1])
        if given:
            rest = dataclasses.replace(given, cycles=(), seconds_NT=None)
            read = partial(_with_known, parts, rows=rows, of_ends=of_ends)
            if given.cycles and turns is None:
                each = known.turns_of(given.cycles, given.step, parts.train_NTD.shape[1])
                tried = [read(rest), *(read(given, turns=t) for t in each)]
            else:
                in_advance, parts = read(rest if turns == 0 else given, turns=turns or known.TURNS)
    both_scaled = scaler.transform(train_NTD), scaler.transform(parts.validation_NTD)
    description = Description(
        names=names,
        length=train_NTD.shape[1],
        source=sequences.source,
        scaler=scaler,
        counts=(number, len(parts.validation_NTD), len(parts.held_out_NTD)),
        form=None if isinstance(sequences, Shards) else sequences.form,
        windows=_are_windows(sequences),
        statics=statics.of(train_NTD, scaler),
        known=in_advance,
    )
    _refuse_what_these_columns_cannot(settings, scaler.inner_kinds)
    gain, fitted_linear = None, None
    if tried:
        best, gain, fitted_linear = _calendar(description, tried, both_scaled, generator)
        in_advance, parts = tried[best]
        description = dataclasses.replace(description, known=in_advance)
    if fitted_linear is None or (in_advance is not None and in_advance.season):
        fitted_linear = _linear(description, both_scaled, parts, generator)
    linear, sizes, columns = fitted_linear
    if columns is not None:
        columns = regressions.fit(columns, linear, *both_scaled, known_of(parts))
    there_NT = lengths.there(train_NTD) if scaler.ends else None
    of_data = None
    if settings.discriminator.dis_sees == "data":
        of_data = outer.fit(scaler, train_NTD, both_scaled[0])
    increments = jnp.asarray(baseline.increment_scale(sizes, there_NT))
    constants = linear, increments, columns, of_data
    return Prepared(description, parts, constants, gain)


def _calendar(
    description: Description,
    tried: Sequence[Read],
    scaled_NTD: tuple[Array, Array],
    generator: GeneratorConfig,
) -> tuple[int, Gain, Fitted]:
    """Which of those tried is read: with the calendar if the validation part is likelier by it, and
    by more turns of a day if it is clearly likelier still; what the calendar gains.

    By linear baselines that read no season: one that is chosen far ahead is not the likeliest. The
    last is that of the one that is read.
    """
    width = max(0 if (both := known_of(parts)) is None else both[1].shape[2] for _, parts in tried)
    score = partial(
        _log_prob_of_baseline,
        scaled_NTD,
        generator=generator,
        end=description.scaler.end,
        width=width,
    )
    fitted, scores = [], []
    for own, parts in tried:
        about = dataclasses.replace(description, known=own and dataclasses.replace(own, season=0))
        fitted.append(_linear(about, scaled_NTD, parts, generator))
        scores.append(score(fitted[-1][0], fitted[-1][2], parts))
    validation_NTD = tried[0][1].validation_NTD
    best = 0
    for i in range(1, len(tried)):
        more = _gain(scores[i] - scores[best], validation_NTD)
        if more.is_taken and (i == 1 or more.mean > LEAST_GAIN * len(description.names)):
            best = i
    return best, _gain(scores[max(best, 1)] - scores[0], validation_NTD), fitted[best]


def _linear(
    about: Description,
    scaled_NTD: tuple[Array, Array],
    parts: Split | StreamSplit,
    generator: GeneratorConfig,
) -> Fitted:
    """The linear baseline of the values, sizes [N, T, D] of the training part, and columns that
    are mixed, without their regressions.

    `scaled_NTD` are the training and the validation part.
    """
    both, columns = known_of(parts), about.columns
    if columns is None:
        how = generator.covariance, generator.frame
        return baseline.fit(*scaled_NTD, *how, both), scaled_NTD[0], None
    return *regressions.fit_linear(columns, *scaled_NTD, generator.frame, both), columns


def _log_prob_of_baseline(
    scaled_NTD: tuple[Array, Array],
    linear: Baseline,
    columns: Columns | None,
    parts: Split | StreamSplit,
    *,
    generator: GeneratorConfig,
    end: int | None,
    width: int,
) -> Array:
    """log p of each scaled validation sequence by a policy that is not trained, [N] nats.

    What is known is filled up with zeros to `width` numbers: one program with a calendar and
    without, which takes seconds to compile.
    """
    both = known_of(parts)
    own_NTW = np.zeros((*scaled_NTD[1].shape[:2], 0), np.float32) if both is None else both[1]
    missing = width - own_NTW.shape[2]
    known_NTW = jnp.asarray(np.pad(own_NTW, ((0, 0), (0, 0), (0, missing))))
    batch = Batch.of(jnp.asarray(scaled_NTD[1], jnp.float32), known_NTW, end)
    if columns is not None:
        columns = regressions.fit(columns, linear, *scaled_NTD, both, quick=True)
        empty = (columns.layout.features, 0, columns.support.later_seen.shape[2])
        support = _filled_up(columns.support, ("first_given", "later_given"), empty, missing)
        columns = dataclasses.replace(columns, support=support)
    features = linear.offset.shape[0]
    linear = _filled_up(linear, ("first_known", "known"), (features, 0), missing)
    plain = dataclasses.replace(generator, policy="gaussian")
    return np.asarray(_log_prob_untrained(linear, columns, batch, generator=plain), np.float64)


def _filled_up(found: Any, names: tuple[str, ...], empty: tuple[int, ...], missing: int) -> Any:
    """A dataclass whose slopes [D, W, ..] of what is known have `missing` more numbers, zeros."""
    padding = ((0, 0), (0, missing), *((0, 0),) * (len(empty) - 2))
    slopes = {name: getattr(found, name) for name in names}
    filled = {
        name: jnp.pad(jnp.zeros(empty) if each is None else each, padding)
        for name, each in slopes.items()
    }
    return dataclasses.replace(found, **filled)


def _refuse_what_these_columns_cannot(settings: Config, kinds: Sequence[Kind]) -> None:
    """Raise UsageError where a setting has no meaning for these columns."""
    all_plain = all(kind.plain for kind in kinds)
    has_densities = any(kind.name == CONTINUOUS and not kind.static for kind in kinds)
    if settings.adversarial.gradient == "mixed" and (all_plain or not has_densities):
        which, instead = ("all", "pathwise") if all_plain else ("none", "reinforce")
        raise UsageError(
            f"--gradient mixed is for columns of which some are continuous, and {which} of these "
            f"are. Say --gradient {instead}."
        )
    if all_plain:
        return
    wrong = {
        "--gradient pathwise": settings.adversarial.gradient == "pathwise",
        "--policy student": settings.generator.policy == "student",
        "--covariance factors": settings.generator.covariance == "factors",
        "--entropy-bonus": settings.adversarial.entropy_bonus > 0,
    }
    for flag, is_asked in wrong.items():
        if is_asked:
            raise UsageError(
                f"{flag} is for columns that are all continuous, and some of these are not "
                "(seqgan inspect shows which). Leave it out, or say --kind all:continuous."
            )


def initialiser(
    settings: Config, length: int
) -> Callable[[jax.Array, Constants], tuple[Networks, TrainState]]:
    """What makes the networks, and the state from which training starts, of keys and constants."""
    return partial(
        _initialise,
        length=length,
        generator=settings.generator,
        discriminator=settings.discriminator,
        seeds=settings.run.num_seeds,
    )


def keys_of(settings: Config) -> jax.Array:
    """The key of each run."""
    return keys.seed_keys(settings.run.seed, settings.run.num_seeds)


def _with_known(
    parts: Split,
    given: KnownOfAll,
    rows: list[np.ndarray],
    of_ends: tuple[float, ...],
    turns: int = known.TURNS,
) -> Read:
    """What is known in advance of sequences, and their parts with it."""
    if not (given.names or given.cycles or of_ends):
        return None, parts
    found = Known.fit(given[rows[0]], of_ends, turns)
    one, two, three = (found.of(given[part]) for part in rows)
    return found, KnownSplit(**vars(parts), known=(one, two, three))


def _gain(gain_N: Array, validation_NTD: Array) -> Gain:
    """Of each sequence, nats, to that of a step; of those that are possible under both."""
    kept = np.isfinite(gain_N)
    if not kept.any():
        return Gain(0.0, 0.0)
    values = gain_N[kept] / validation_NTD.shape[1]
    blocks = np.unique(overlap.independent_blocks(validation_NTD)[kept], return_inverse=True)[1]
    by_blocks = jax.jit(selection.error_by_blocks)  # not a program for each operation
    error, _ = by_blocks(values.astype(np.float32), blocks)
    return Gain(float(values.mean()), float(error))


def known_of(parts: Split | StreamSplit) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """What is known of the training and the validation part, [N, T, W] each."""
    return parts.known[:2] if isinstance(parts, KnownSplit) else None


def _are_windows(sequences: Sequences | Shards) -> bool | None:
    """Whether sequences are windows of longer series; None where nothing is known of it."""
    if isinstance(sequences, Shards):
        return sequences.are_windows
    if sequences.form is None:
        return None
    return sequences.starts_N is not None or sequences.windows is not None


@partial(jax.jit, static_argnames=("length", "generator", "discriminator", "seeds"))
def _initialise(
    key: jax.Array,
    constants: Constants,
    *,
    length: int,
    generator: GeneratorConfig,
    discriminator: DiscriminatorConfig,
    seeds: int,
) -> tuple[Networks, TrainState]:
    """Networks, and the state from which training starts; of several runs, with an axis S."""

    def one(key: jax.Array) -> tuple[Networks, TrainState]:
        own = jax.random.fold_in(key, keys.INIT)
        linear, increments, columns, of_data = constants
        shared = length, linear, increments, generator, discriminator, columns, of_data
        return networks.init(own, *shared)

    # One run after the other: all at once the threads of a CPU wait for each other for ever (jax
    # 0.10.2, two cores, three runs of 64 units).
    return one(key) if seeds == 1 else jax.lax.map(one, key)


@partial(jax.jit, static_argnames="generator")
def _log_prob_untrained(
    linear: Baseline, columns: Columns | None, batch: Batch, *, generator: GeneratorConfig
) -> jax.Array:
    """log p of each sequence [N], nats, by a policy that is its baseline still."""
    return log_prob_of_sequences(bind(*init(jax.random.key(0), generator, linear, columns)), batch)
