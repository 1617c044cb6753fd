"""SeqGAN: fit, sample, log_prob, save, load."""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_jax import __version__, config
from seqgan_jax.config import Config, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import baseline, keys, networks, parallel, selection
from seqgan_jax.core.baseline import SLOW, Baseline
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState, run_of
from seqgan_jax.core.columns import regressions, support
from seqgan_jax.core.columns.mixed import Given
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import over_seeds
from seqgan_jax.core.policy import bind, init, log_prob_of_sequences
from seqgan_jax.data import (
    bounds,
    encoding,
    history,
    layout,
    lengths,
    overlap,
    shards,
    statics,
    tables,
    writing,
)
from seqgan_jax.data.arrays import as_array
from seqgan_jax.data.form import TABLES, Form
from seqgan_jax.data.history import History
from seqgan_jax.data.known import Given as KnownOfAll
from seqgan_jax.data.known import Known, nothing
from seqgan_jax.data.layout import (  # noqa: F401
    Scaler,
    Sequences,
    Split,
    as_sequences,
    default_names,
    split,
)
from seqgan_jax.data.sequences import KnownSplit, rows_of
from seqgan_jax.data.shards import Shards, StreamSplit
from seqgan_jax.data.statics import Statics
from seqgan_jax.data.tables import Table
from seqgan_jax.errors import CheckpointError, DataError, NotFittedError, UsageError
from seqgan_jax.run import checkpoint, conditions, continuing, directory, loop
from seqgan_jax.run.loader import AllData, BatchLoader, StreamedData, on_device, scaled
from seqgan_jax.run.loop import Listener, Problem, Silent

Value = TypeVar("Value")
Array = NDArray[np.float64]
MOST_COLUMNS = 10_000
ERRORS = 2.0  # of its gain by which the calendar must help
AUTO_EPOCHS = 10  # of each policy that --policy auto tries
GIVEN = 2**32 - 1  # key of the first steps that are drawn apart, no block's
BLOCK = 1024  # sequences sampled or scored in one call: one compilation for every n
# The linear baseline, scales of increments `[D]`, columns that are not plain continuous.
MOST_DRAWN = 1 << 16, 64  # candidates of a length, and for each that is asked for
Length = int | tuple[int, int] | None  # of samples; a pair where sequences end
Constants = tuple[Baseline, jax.Array, Columns | None]


@dataclass(frozen=True)
class Description:
    """What a trained model knows of its data; stored beside the weights."""

    names: tuple[str, ...]  # D columns
    length: int  # T
    source: str
    scaler: Scaler
    counts: tuple[int, int, int]  # sequences in the training, validation and held-out parts
    form: Form | None = None  # of the input; None of simulators
    windows: bool | None = None  # of longer series; None: not known, of simulators and old models
    statics: Statics | None = None  # of the columns that are constant in each sequence
    known: Known | None = None  # what is known of each step in advance; None where nothing is

    @property
    def is_table(self) -> bool:
        """The data came with columns: samples are written as a table, too."""
        return self.form is not None and (self.form.source in TABLES or self.form.layout != "rows")

    @property
    def written_form(self) -> Form:
        """The form in which samples are written as a table."""
        return self.form or writing.plain_form(self.names)

    def as_written(self, x_NTD: NDArray[np.float64]) -> NDArray[np.float64]:
        """Samples with the decimals of the data, whole numbers whole, all within their bounds."""
        if self.form is None:
            return x_NTD
        return writing.rounded(
            x_NTD, self.form, [self.scaler.holds(d) for d in range(len(self.names))]
        )

    def futures_as_written(self, x_NMTD: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of futures [N, M, T, D]."""
        return self.as_written(x_NMTD.reshape(-1, *x_NMTD.shape[2:])).reshape(x_NMTD.shape)

    def save_sequences(
        self,
        path: Path,
        x_NTD: NDArray[np.float64],
        starts_N: NDArray[Any] | None = None,
        with_gaps: bool = False,
    ) -> None:
        """Write samples in the form of the data; see `writing.save_sequences`."""
        x_NTD, ends = self.as_written(x_NTD), self.scaler.ends
        writing.save_sequences(path, x_NTD, self.names, self.form, starts_N, with_gaps, ends)

    @property
    def rates(self) -> tuple[float, ...]:
        """Of the moving means in the linear baseline of mixed columns."""
        level = self.known.level if self.known is not None else 0.0
        return (*SLOW, level) if level else SLOW

    @property
    def has_gaps(self) -> bool:
        """Whether the data miss values that were learned around."""
        return any(self.scaler.may_miss_D)

    def steps(self, x_NTD: NDArray[np.float64]) -> float:
        """Steps of a sequence with a value in any column, on average."""
        if not (self.has_gaps or self.scaler.ends):
            return self.length
        return float(np.count_nonzero(~np.isnan(x_NTD).all(axis=2)) / len(x_NTD))

    def check_length(self, steps: int, what: str) -> tuple[str, ...]:
        """Notes on sequences of so many steps; UsageError where they go on after their end."""
        if steps <= self.length or self.windows:
            return ()
        if self.windows is False:
            raise history.no_rows(what, self.length)
        return (
            f"it is not known whether the {self.length} steps of a sequence in training are a "
            "window of a longer one: later steps are drawn as if they were",
        )

    def to_json(self) -> dict[str, Any]:
        """What a training state depends on, as stored in config.json; the form is beside it."""
        more = {} if self.statics is None else {"statics": self.statics.to_json()}
        more |= {} if self.known is None else {"known": self.known.to_json()}
        return more | {
            "data": {
                "names": list(self.names),
                "length": self.length,
                "features": len(self.names),
                "source": self.source,
                "counts": list(self.counts),
            },
            "scaler": self.scaler.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; raises KeyError, TypeError or ValueError on anything else."""
        data = content["data"]
        if not isinstance(data["names"], list) or len(data["names"]) > MOST_COLUMNS:
            raise ValueError(f"names must be a list of at most {MOST_COLUMNS}")
        names = tuple(str(name) for name in data["names"])
        scaler = Scaler.from_json(content["scaler"])
        train, validation, held_out = (int(count) for count in data["counts"])
        length = int(data["length"])
        if length < 2 or length > 1_000_000:
            raise ValueError("the length is impossible")
        if len(names) != scaler.num_columns:
            raise ValueError("there are not as many names as columns")
        counts = (train, validation, held_out)
        form = None if content.get("form") is None else Form.from_json(content["form"])
        if form and tuple(column.name for column in form.columns) != names:
            raise ValueError("the form of the data has other columns")
        windows = content.get("windows")
        if windows is not None and type(windows) is not bool:
            raise ValueError("windows must be true, false or null")
        stored = content.get("statics")
        of_statics = None if stored is None else Statics.from_json(stored)
        if of_statics and max(of_statics.columns) >= len(names):
            raise ValueError("a static column is none")
        stored = content.get("known")
        of_known = None if stored is None else Known.from_json(stored)
        if of_known and of_known.cycles and (form is None or form.time is None):
            raise ValueError("a calendar is known, and there is no time index")
        source = str(data["source"])
        return cls(names, length, source, scaler, counts, form, windows, of_statics, of_known)


class Places(NamedTuple):
    """Where sequences are: when they start, and what is known of their steps."""

    starts_N: NDArray[Any] | None  # seconds since 1970 UTC; None: not told apart by a calendar
    known_NTW: NDArray[np.float32] | None


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


class SeqGAN:
    """A SeqGAN for continuous sequences (Yu et al. 2017), from Python.

    Settings are those of the command line by their names, e.g. `hidden_dim=64, total_batch=0`;
    `seqgan train --help` or `seqgan_jax.config` lists them. Raises UsageError on unknown names and
    impossible values.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 5)).cumsum(axis=1)
    >>> model = SeqGAN(hidden_dim=8, pre_epoch_num=2, total_batch=0, dis_pre_refreshes=0).fit(x)
    >>> model.sample(3, seed=0).shape
    (3, 5, 1)
    >>> model.log_prob(x[:4]).shape
    (4,)
    """

    def __init__(self, settings: Config | None = None, **changes: Any) -> None:
        self._given = frozenset(changes)
        base = config.flat(settings) if settings is not None else {}
        self.config: Config = config.from_flat({**base, **changes})
        self._description: Description | None = None
        self._nets: Networks | None = None
        self._state: TrainState | None = None
        # By --policy auto: validation loss of each after some epochs, nats a step, scaled units.
        self.tried: dict[str, float] = {}
        self.calendar: Gain | None = None  # by which --calendar auto decided, where there is one

    # ------------------------------------------------------------------ training

    def fit(
        self,
        x: Any,
        *,
        id: str | SequenceOf[str] | None = None,
        time: str | SequenceOf[str] | None = None,
        listener: Listener | None = None,
    ) -> Self:
        """Train on real sequences in their own units.

        A tenth is held out and a tenth decides when to stop (`held_out`, `validation`): at random,
        or by time where rows are overlapping windows. The scaling is fitted on the rest. Writes no
        files.

        Args:
          x: an array [N, T], [N, T, D] or [L], or a table (DataFrame, Series); see
            `data.layout.from_python`.
          id: column or columns of a table that name the sequence.
          time: column or columns of the time index.
          listener: hears of progress.

        Raises:
          DataError: it cannot be learned from, or not without being asked about.
          UsageError: a setting that has no meaning for x.
          DivergedError: training breaks down.
        """
        if isinstance(x, Sequences):
            if given := sorted(self._given & layout.READING | {*(["id"] if id else [])}):
                raise UsageError(
                    f"{', '.join(given)}: settings of how data are read, which have no meaning for "
                    "sequences that are read already. Leave them out."
                )
            sequences = x
        else:
            sequences = layout.from_python(x, self.config.data, self._given, id, time)
        prepared = self.prepare(sequences)
        self.train(prepared, listener or Silent())
        return self

    def prepare(self, sequences: Sequences | Shards) -> Split | StreamSplit:
        """Split, fit the scaling, and initialise the networks; what `train` starts from.

        Of streamed data, scaling and frame are fitted on a random sample of them.
        """
        data, seed = self.config.data, self.data_seed
        parts: Split | StreamSplit
        in_advance: Known | None = None
        blind: tuple[Known | None, Split] | None = None  # without the calendar, where there is one
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
            parts = split(sequences, data.held_out, data.validation, seed=seed)
            train_NTD, number = parts.train_NTD, len(parts.train_NTD)
            form, ends = sequences.form, sequences.ends
            gaps_D = np.isnan(sequences.filled.x_NTD).any(axis=(0, 1))
            scaler = encoding.fit(train_NTD, names, data, form, gaps_D, ends)
            given = sequences.given
            of_ends: tuple[float, ...] = ()
            if scaler.ends:
                given = given or nothing(*sequences.x_NTD.shape[:2])
                of_ends = lengths.hazard(lengths.of(train_NTD), train_NTD.shape[1])
            if given:
                rows = rows_of(sequences, data.held_out, data.validation, seed)
                alone, (in_advance, parts) = parts, _with_known(parts, given, rows, of_ends)
                if given.cycles:
                    rest = dataclasses.replace(given, cycles=(), seconds_NT=None)
                    blind = _with_known(alone, rest, rows, of_ends)
        train_scaled = scaler.transform(train_NTD)
        validation_scaled = scaler.transform(parts.validation_NTD)
        self._description = Description(
            names=names,
            length=train_scaled.shape[1],
            source=sequences.source,
            scaler=scaler,
            counts=(number, len(parts.validation_NTD), len(parts.held_out_NTD)),
            form=None if isinstance(sequences, Shards) else sequences.form,
            windows=_are_windows(sequences),
            statics=statics.of(train_NTD, scaler),
            known=in_advance,
        )
        if not all(kind.plain for kind in scaler.inner_kinds):
            self._refuse_what_needs_densities()
        both_scaled = train_scaled, validation_scaled
        linear, sizes, columns = self._linear(self._description, both_scaled, parts)
        if blind is not None:
            about = dataclasses.replace(self._description, known=blind[0])
            others = self._linear(about, both_scaled, blind[1])
            score = partial(self._log_prob_of_baseline, both_scaled)
            gain_N = score(linear, columns, parts) - score(others[0], others[2], blind[1])
            self.calendar = _gain(gain_N, parts.validation_NTD)
            if not self.calendar.is_taken:
                self._description, parts = about, blind[1]
                linear, sizes, columns = others
        if columns is not None:
            columns = regressions.fit(columns, linear, *both_scaled, _known_of(parts))
        there_NT = lengths.there(train_NTD) if scaler.ends else None
        constants = linear, jnp.asarray(baseline.increment_scale(sizes, there_NT)), columns
        if self.config.generator.policy == "auto":
            self.config = self._with_likeliest_policy(constants, parts)
        self._nets, self._state = self._initialiser()(self._keys(), constants)
        return parts

    def _linear(
        self, about: Description, scaled_NTD: tuple[Array, Array], parts: Split | StreamSplit
    ) -> tuple[Baseline, Array, Columns | None]:
        """The linear baseline of the values, sizes [N, T, D] of the training part, and columns that
        are mixed, without their regressions.

        `scaled_NTD` are the training and the validation part.
        """
        both = _known_of(parts)
        generator, columns = self.config.generator, _columns_of(about)
        if columns is None:
            how = generator.covariance, generator.frame
            return baseline.fit(*scaled_NTD, *how, both), scaled_NTD[0], None
        return *regressions.fit_linear(columns, *scaled_NTD, generator.frame, both), columns

    def _log_prob_of_baseline(
        self,
        scaled_NTD: tuple[Array, Array],
        linear: Baseline,
        columns: Columns | None,
        parts: Split | StreamSplit,
    ) -> Array:
        """log p of each scaled validation sequence by a policy that is not trained, [N] nats."""
        both = _known_of(parts)
        known = None if both is None else jnp.asarray(both[1])
        x_NTD = jnp.asarray(scaled_NTD[1], jnp.float32)
        batch = Batch.of(x_NTD, known, self.description.scaler.end)
        if columns is not None:
            columns = regressions.fit(columns, linear, *scaled_NTD, both, quick=True)
        plain = dataclasses.replace(self.config.generator, policy="gaussian")
        return np.asarray(_log_prob_untrained(linear, columns, batch, generator=plain), np.float64)

    def _refuse_what_needs_densities(self) -> None:
        """Raise UsageError where a setting has no meaning for these columns."""
        adversarial = self.config.adversarial
        wrong = {
            "--gradient pathwise": adversarial.gradient == "pathwise",
            "--policy student": self.config.generator.policy == "student",
            "--entropy-bonus": adversarial.entropy_bonus > 0,
        }
        for flag, is_asked in wrong.items():
            if is_asked:
                raise UsageError(
                    f"{flag} is for columns that are all continuous, and some of these are not "
                    "(seqgan inspect shows which). Leave it out, or say --kind all:continuous."
                )

    def _with_likeliest_policy(self, constants: Constants, parts: Split | StreamSplit) -> Config:
        """The settings with the policy that a few epochs find likeliest on the validation part."""
        few = min(AUTO_EPOCHS, max(1, self.config.generator.pre_epoch_num))
        phases = {"skip_gen_pretrain": False, "skip_dis_pretrain": True, "skip_adversarial": True}
        policies: tuple[str, ...] = ("gaussian", "student", "mixture")
        if constants[2] is not None:
            policies = tuple(policy for policy in policies if policy != "student")
        for policy in policies:
            trial = SeqGAN(self.config, policy=policy, pre_epoch_num=few, **phases)
            trial._description = self._description
            trial._nets, trial._state = trial._initialiser()(trial._keys(), constants)
            trial.train(parts, Silent())
            self.tried[policy] = float(selection.best_run(trial.state).best_nll)
        best = list(self.tried)[selection.likeliest(np.array(list(self.tried.values())))]
        return config.from_flat({**config.flat(self.config), "policy": best})

    @property
    def data_seed(self) -> int:
        """Seed of the split, and of a simulator's sequences."""
        return self.config.run.seed if (seed := self.config.data.data_seed) is None else seed

    def _keys(self) -> jax.Array:
        return keys.seed_keys(self.config.run.seed, self.config.run.num_seeds)

    def _initialiser(self) -> Callable[[jax.Array, Constants], tuple[Networks, TrainState]]:
        return partial(
            _initialise,
            length=self.description.length,
            generator=self.config.generator,
            discriminator=self.config.discriminator,
            seeds=self.config.run.num_seeds,
        )

    def train(self, parts: Split | StreamSplit, listener: Listener) -> None:
        """Run what is left of the three phases on prepared data."""
        run, scaler = self.config.run, self.description.scaler
        mesh = parallel.make_mesh(run.devices, run.num_seeds, run.batch_size)
        of_train, of_validation = _known_of(parts) or (None, None)
        rows = scaled(scaler, parts.validation_NTD, "validation")
        validation = on_device(rows, mesh, None, of_validation, scaler.end)
        numbers = np.arange(len(rows), dtype=np.int32)
        if not scaler.ends:
            numbers = overlap.independent_blocks(parts.validation_NTD)
        blocks = parallel.place(jnp.asarray(numbers), mesh, None)
        loader: BatchLoader
        if isinstance(parts, StreamSplit):
            buffer = self.config.data.buffer
            loader = StreamedData(parts, scaler, validation, blocks, buffer, self.data_seed, mesh)
        else:
            rows = scaled(scaler, parts.train_NTD, "training")
            train = on_device(rows, mesh, parallel.BATCH, of_train, scaler.end)
            loader = AllData(Parts(train, validation, blocks))
        problem = Problem(
            config=self.config,
            nets=self.nets,
            loader=loader,
            key=parallel.place(self._keys(), mesh, parallel.SEEDS),
            mesh=mesh,
        )
        state = parallel.place(parallel.broadcast_tree(self.state), mesh, parallel.SEEDS)
        state = loop.train(problem, state, listener)
        self._state = parallel.all_gather(state)

    def adopt(self, other: "SeqGAN") -> None:
        """Take over another model's training state (resuming: settings may differ, data not)."""
        self._nets, self._state = other.nets, other.state

    # ------------------------------------------------------------------ what was learned

    @property
    def description(self) -> Description:
        """What the model knows of its data."""
        return _fitted(self._description)

    @property
    def nets(self) -> Networks:
        """Static definitions of both networks."""
        return _fitted(self._nets)

    @property
    def state(self) -> TrainState:
        """The whole training state, of all runs."""
        return _fitted(self._state)

    @property
    def policy(self) -> Params:
        """Parameters of the policy that samples: the best run's."""
        return selection.best_run(self.state).best

    def _run(self, run: int | None) -> TrainState:
        """The state of a run by its number from 0, or of the best one; raises UsageError."""
        if run is None:
            return selection.best_run(self.state)
        number = self.config.run.num_seeds
        if isinstance(run, bool) or not isinstance(run, int | np.integer) or not 0 <= run < number:
            there = "there is one run, 0" if number == 1 else f"there are runs 0 to {number - 1}"
            raise UsageError(f"run {run!r}: {there}. Leave it out for the best one.")
        return run_of(self.state, int(run))

    def runs(self) -> list[dict[str, Any]]:
        """One row for each of `num_seeds` runs: its seed, validation loss in nats a step (scaled
        units), the round that was kept, and whether it is the best, whose policy samples."""
        state, best = self.state, selection.chosen_run(self.state)
        losses, kept = np.atleast_1d(state.best_nll), np.atleast_1d(state.kept_round)
        return [
            {
                "seed": (self.config.run.seed + i) % 2**32,
                "validation_nll": float(losses[i]),
                "kept_round": int(kept[i]),
                "best": i == best,
            }
            for i in range(len(losses))
        ]

    def sample(
        self,
        n: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        run: int | None = None,
        given: Any = None,
        length: Length = None,
        after: Any = None,
        start: Any = None,
        known: Any = None,
        with_gaps: bool = False,
    ) -> Any:
        """`n` new sequences in data units; the first m of n are those of `sample(m)`.

        An array [n, T, D]; where the model was fitted on a DataFrame, one with its columns, dtypes,
        decimals and index, an id for each sequence and regular times. Where sequences ended in
        training, they end here: a list of n arrays [T_n, D], or a DataFrame with as many rows of
        each. `temperature` multiplies the
        standard deviation of every step. `run` picks one of several runs by its number from 0;
        default the best.

        `given` says what columns that are constant in each sequence are, and all else is drawn
        given it: a dict such as {"sex": 1, "age": (40, 60), "ward": ["a", "b"]}, a list of texts as
        of --given, or a DataFrame of values with a row for each sequence, where `n` may be left
        out. What the training part never had is warned of.

        `length` is another number of steps than in training; more only of windows of series. Such
        sequences are others than those of T steps by the same seed, and the first m of n those of
        `sample(m)` up to rounding, as futures are. Samples that drift away from the data are
        warned about. Where sequences end, it is a length or a pair (least, most), at most the
        longest of training, and samples are drawn until n have one: the law given that. That takes
        as many candidates as such lengths are rare.

        `after` is what is gone on from: `n` futures of `length` steps (default T; of whole
        sequences what is left to their end) are drawn for each of its N sequences by the exact
        conditional law. An array [N, P, D] ([N, P] or [P] where D = 1, [P, D] where it is more; a
        list of arrays [P, D]) gives an array [N, n, length, D]. A DataFrame in the form of these
        samples gives one with the ids of its sequences, a column `sample` from 0 and times that go
        on from the last of each.

        `start` is the date at which all begin; without it starts are drawn from those of the
        training part, where a calendar was learned. `known` are the values of the columns of that
        setting, a table of T rows; without it they are those of a sequence of the training part.

        Samples are complete, also where the data miss values: drawn given that none is missing.
        `with_gaps` draws gaps like the data's, too, NaN.

        Raises NotFittedError before `fit`, UsageError on impossible arguments, DataError where
        `after` cannot be what the model was fitted on or what is given is too rare.
        """
        description = self.description
        self.check_gaps(with_gaps, after)
        if after is not None:
            if start is not None or known is not None:
                raise UsageError(
                    "start and known have no meaning with after, which says where it ends. Leave "
                    "them out."
                )
            gone_on_from = self._history(after, given)
            x_NMTD = self.futures(n, gone_on_from, length, seed, temperature, run)
            if layout.frame_of(after) is None:
                return x_NMTD
            x_NMTD = description.futures_as_written(x_NMTD)
            return writing.futures_frame(x_NMTD, description.written_form, gone_on_from.ends)
        number = len(given) if n is None and hasattr(given, "iloc") else n
        _check_draw(number, seed, length, description.scaler.ends)
        assert number is not None
        ends = description.scaler.ends
        places = self.places(number, seed, start, known, length)
        x_NTD = self.sample_array(
            n, seed, temperature, run, given, length, places=places, with_gaps=with_gaps
        )
        if description.form is None or description.form.source != "frame":
            return lengths.cut(x_NTD) if ends else x_NTD
        rows = description.as_written(x_NTD)
        return writing.to_frame(rows, description.form, places.starts_N, ends)

    def places(
        self, n: int, seed: int = 0, start: Any = None, known: Any = None, length: Length = None
    ) -> Places:
        """When `n` samples of a seed start, and what is known of their steps; see `sample`.

        Raises:
          UsageError: a start or values where they have no meaning, or that are missing.
        """
        description = self.description
        _check_draw(n, seed, length, description.scaler.ends)
        if description.scaler.ends or length is None or isinstance(length, tuple):
            length = description.length
        form, own = description.form, description.known
        time = None if form is None else form.time
        if start is not None and (time is None or time.kind == "number"):
            raise UsageError(
                f"--start {start}: {description.source} has no dates, so that a sample has no "
                "place in the calendar. Leave it out."
            )
        if known is not None and not (own and own.names):
            raise UsageError(
                "--known-file has no meaning here: this model was trained without --known. Leave "
                "it out."
            )
        at = None if start is None or time is None else writing.seconds_of(start, time)
        if own is None or not own.asks:
            nothing_NTC = np.zeros((n, length, 0))
            of_age = None if own is None else own.read(None, nothing_NTC)
            return Places(None if at is None else np.full(n, at), of_age)
        if own.names and known is None and at is not None:
            raise UsageError(
                f"--start needs the values of {', '.join(own.names)} from then on, which this "
                "model reads and does not generate: --known-file FILE, a table of them with a row "
                "for each step."
            )
        if own.names and known is None and length != description.length:
            raise UsageError(
                f"{', '.join(own.names)}: values of {length} steps are needed, and the model keeps "
                f"those of {description.length}. Give them: --known-file FILE."
            )
        drawn_N = np.random.default_rng([seed, keys.SAMPLE]).integers(0, own.number_kept, n)
        starts = None
        if at is not None:
            starts = np.full(n, at)
        elif own.cycles:
            starts = np.array(own.starts)[drawn_N]
        columns = np.zeros((n, length, 0))
        if own.names:
            columns = (
                np.array(own.rows)[drawn_N]
                if known is None
                else np.repeat(own.of_table(_table_of(known, own), length)[None], n, axis=0)
            )
        seconds = None
        if own.cycles and time is not None and starts is not None:
            seconds = writing.seconds(time, starts, length)
        return Places(starts, own.read(seconds, columns))

    def sample_array(
        self,
        n: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        run: int | None = None,
        given: Any = None,
        length: Length = None,
        after: Any = None,
        say: Callable[[str], None] = warnings.warn,
        places: Places | None = None,
        with_gaps: bool = False,
    ) -> NDArray[np.float64]:
        """`sample` as an array [n, T, D] float64 as drawn, whatever the model was fitted on.

        With `after` an array [N, n, length, D]. NaN after the ends of sequences. `say` is told what
        the user should know.
        """
        self.check_gaps(with_gaps, after)
        if after is not None:
            return self.futures(n, self._history(after, given), length, seed, temperature, run, say)
        description = self.description
        asked = None if given is None else self._asked(given, n)
        n = len(asked) if asked is not None and n is None else n
        _check_draw(n, seed, length, description.scaler.ends)
        assert n is not None
        ends = description.scaler.ends
        places = places or self.places(n, seed, length=length)
        known_NTW = places.known_NTW
        state, scale = self._run(run), _temperature(temperature)
        if ends and length is not None:
            return self._of_length(
                int(n), length, int(seed), scale, state, given, known_NTW, not with_gaps
            )
        if length not in (None, description.length):
            assert isinstance(length, int | np.integer)
            if given is not None:
                raise UsageError(
                    f"given is for sequences of {description.length} steps, as in training, not "
                    f"yet for {length}. Leave out given, or the length."
                )
            for note in description.check_length(length, f"length {length}"):
                say(note)
            drawing = int(n), int(length), int(seed), temperature, known_NTW
            x_NTD = continuing.longer(
                state, self.nets, description.scaler, *drawing, complete=not with_gaps
            )
            self._say_drift(state, x_NTD, length, say)
            return x_NTD
        key = jax.random.fold_in(jax.random.key(int(seed)), keys.SAMPLE)
        known = None
        if asked is not None:
            for line in description.statics.unseen(asked) if description.statics else ():
                say(line)
            draw = partial(self._first_steps, state, scale)
            own = jax.random.fold_in(key, GIVEN)
            known = conditions.given(draw, description.scaler, asked, own)
        blocks = [
            self._draw(
                state,
                jax.random.fold_in(key, jnp.array(i)),
                scale,
                None if known is None else conditions.rows(known, i * BLOCK, BLOCK),
                _block(known_NTW, i),
                complete=not with_gaps,
            )
            for i in range(-(-n // BLOCK))
        ]
        return description.scaler.inverse(np.concatenate(blocks)[:n].astype(np.float64))

    def check_gaps(self, with_gaps: bool, after: Any) -> None:
        """Raise UsageError where gaps are asked for that there are not."""
        if with_gaps and not self.description.has_gaps:
            raise UsageError(
                "--with-gaps (with_gaps=True): no value was missing where this model learned, so "
                "that its samples have no gaps. Leave it out."
            )
        if with_gaps and after is not None:
            raise UsageError(
                "--with-gaps (with_gaps=True) is not yet for futures, which are complete. Leave it "
                "out, or --after."
            )

    def _draw(
        self,
        state: TrainState,
        key: jax.Array,
        scale: jax.Array,
        given: Given | None,
        known_BTW: jax.Array | None,
        complete: bool = True,
    ) -> NDArray[np.float32]:
        """BLOCK samples in scaled units."""
        return np.asarray(
            loop.sample(
                state.best,
                state.policy_constants,
                key,
                scale,
                given,
                nets=self.nets,
                number=BLOCK,
                length=self.description.length,
                known_BTW=known_BTW,
                complete=complete,
            )
        )

    def _of_length(
        self,
        n: int,
        length: int | tuple[int, int],
        seed: int,
        scale: jax.Array,
        state: TrainState,
        given: Any,
        known_NTW: NDArray[np.float32] | None,
        complete: bool,
    ) -> NDArray[np.float64]:
        """`n` samples that end within the given lengths, by rejection; the first m are those of m.

        Raises UsageError where no such length was learned, DataError where they are too rare.
        """
        description = self.description
        least, most = length if isinstance(length, tuple) else (length, length)
        asked = f"length {least}" + f" to {most}" * (most > least)
        if not 1 <= least <= most <= description.length:
            raise UsageError(
                f"{asked}: sequences of training have 2 to {description.length} steps, and nothing "
                "was learned of others. Choose a length, or a range, within that."
            )
        own = description.known
        if given is not None or (own is not None and own.asks):
            also = "given" if given is not None else "the columns of --known"
            raise UsageError(f"{asked} is not yet possible together with {also}. Leave one out.")
        key = jax.random.fold_in(jax.random.key(seed), keys.SAMPLE)
        known = None if known_NTW is None else np.repeat(known_NTW[:1], BLOCK, axis=0)
        found: list[Array] = []
        drawn = accepted = 0
        while accepted < n:
            if drawn >= MOST_DRAWN[0] + MOST_DRAWN[1] * n:
                raise DataError(
                    f"{asked}: {accepted:,} of {drawn:,} samples have one (a share of "
                    f"{accepted / drawn:.2g}), and {n:,} are asked for. Ask for a wider range or "
                    "fewer samples."
                )
            own_key = jax.random.fold_in(key, jnp.array(drawn // BLOCK))
            z_NTK = self._draw(state, own_key, scale, None, _block(known, 0), complete)
            x_NTD = description.scaler.inverse(z_NTK.astype(np.float64))
            steps_N = lengths.of(x_NTD)
            found.append(x_NTD[(steps_N >= least) & (steps_N <= most)])
            drawn, accepted = drawn + BLOCK, accepted + len(found[-1])
        return np.concatenate(found)[:n]

    def futures(
        self,
        n: int | None,
        given: History,
        length: Length = None,
        seed: int = 0,
        temperature: float = 1.0,
        run: int | None = None,
        say: Callable[[str], None] = warnings.warn,
    ) -> NDArray[np.float64]:
        """`n` futures of each sequence of a history that is read, [N, n, length, D] float64.

        See `sample`. Raises UsageError, and DataError where the history breaks what was learned.
        """
        description, data = self.description, self.config.data
        _check_draw(n, seed, length)
        assert n is not None
        _temperature(temperature)
        longest = int(given.ends.lengths_N.max())
        left = description.length - longest
        if isinstance(length, tuple):
            raise UsageError(
                f"length {length}: a range has no meaning with after. Give one number."
            )
        length = None if length is None else int(length)
        what = f"{given.shown}: {longest} steps"
        if description.scaler.ends:
            if left < 1:
                raise history.no_rows(what, description.length)
            left = description.length - int(given.ends.lengths_N.min())
            length, notes = min(left, length or left), tuple[str, ...]()
        else:
            if length is None:
                length = max(left, 1) if description.windows is False else description.length
            what += f" and {length} after them"
            notes = description.check_length(longest + length, what)
        limits = bounds.of_columns(data.log, data.bounds, description.names)
        checked = history.check(given, description.scaler, description.names, limits)
        for note in (*notes, *given.notes, *checked):
            say(note)
        state = self._run(run)
        drawing = int(n), length, int(seed), temperature, self._known_after(given, length)
        most = description.length
        x_NMTD = continuing.futures(state, self.nets, description.scaler, given, *drawing, most)
        if description.scaler.ends:
            return x_NMTD
        self._say_drift(state, x_NMTD.reshape(-1, *x_NMTD.shape[2:]), longest + length, say)
        return x_NMTD

    def _known_after(self, given: History, length: int) -> NDArray[np.float32] | None:
        """What is known of the given steps and of `length` steps after them, [N, P + length, W]."""
        description, form = self.description, self.description.form
        own = description.known
        if own is None:
            return None
        if own.names:
            raise UsageError(
                f"after is not yet possible for a model that reads {', '.join(own.names)} "
                "(--known): their values after the end are not asked for. Leave it out."
            )
        steps = given.x_NPD.shape[1] + length
        if not own.asks:
            return own.read(None, np.zeros((len(given), steps, 0)))
        time = form.time if form else None
        if time is None or given.ends.last_N is None:
            raise UsageError(
                f"{given.shown} has no dates, and this model reads the calendar. Give a table or a "
                "DataFrame with them, or train with --calendar none."
            )
        starts_N = writing.starts_before(time, given.ends.last_N, given.ends.lengths_N)
        return own.read(writing.seconds(time, starts_N, steps), np.zeros((len(given), steps, 0)))

    def _history(self, after: Any, given: Any) -> History:
        if given is not None:
            raise UsageError(
                "given has no meaning with after: what is gone on from says what is constant in "
                "it. Leave one out."
            )
        description = self.description
        absent = description.scaler.ends, description.has_gaps
        return history.of_python(
            after, description.names, description.form, self.config.data, *absent
        )

    def _say_drift(
        self, state: TrainState, x_LTD: Array, steps: int, say: Callable[[str], None]
    ) -> None:
        description = self.description
        if steps > description.length and (
            words := continuing.drift(
                state, description.scaler, description.form, x_LTD, description.rates
            )
        ):
            say(words)

    def _asked(self, given: Any, n: int | None) -> list[tuple[statics.Condition, ...]]:
        """The conditions of each of n sequences."""
        about = self.description
        columns = statics.StaticColumns(about.names, about.scaler, about.form, about.statics)
        if not hasattr(given, "iloc"):
            if not isinstance(n, int | np.integer) or n < 1:
                raise UsageError(f"n must be a whole number of at least 1, not {n!r}.")
            return [columns.conditions(given)] * int(n)
        asked = columns.of_frame(given)
        if n is not None and n != len(asked):
            raise UsageError(
                f"n is {n!r}, and given has {len(asked)} rows, one for each sequence. Leave n out."
            )
        return asked

    def _first_steps(
        self, state: TrainState, scale: jax.Array, key: jax.Array, given: Given
    ) -> tuple[jax.Array, jax.Array]:
        known_NTW = self.places(len(given.x)).known_NTW
        known = None if known_NTW is None else jnp.asarray(known_NTW[:, 0])
        return loop.first_steps(
            state.best, state.policy_constants, key, scale, given, known, nets=self.nets
        )

    def log_prob(
        self,
        x: ArrayLike,
        temperature: float = 1.0,
        run: int | None = None,
        start: Any = None,
        known: Any = None,
    ) -> NDArray[np.float64]:
        """log p(x) of sequences [N, T, D] (or [N, T] where D = 1) in data units, [N], nats.

        Of a DataFrame of whole sequences in the form that `sample` returns, too.
        The density is of the columns that are learned, in data units: the scaling's Jacobian is
        included. Of a sequence with missing values (NaN) it is the density of those that are
        there, given where they are: the sum over them of log p(x_td | what was there before, and
        where). Constant columns and copies of other columns carry no density; where a sequence
        breaks them, or the bounds of a column, or lies where float32 has no density left, it is
        -inf. `run` picks one of several runs by its number from 0; default the best. Where the
        model reads the calendar, `start` is when each sequence starts (a date, or N of them; a
        DataFrame says it itself), and where it was trained with the setting `known`, `known` holds
        the values of these columns [N, T, C]. Raises NotFittedError, DataError on another shape.
        """
        x_NTD = self._check_shape(x)
        return self.log_prob_array(x_NTD, temperature, run, self._known_of(x, start, known))

    def _known_of(self, x: Any, start: Any, known: Any) -> NDArray[np.float32] | None:
        """What is known of given sequences, [N, T, W]; raises DataError where it is not said."""
        description, own = self.description, self.description.known
        if own is None or not own.asks:
            if start is not None or known is not None:
                raise UsageError(
                    "start and known have no meaning here: nothing is known in advance of the "
                    "steps of this model. Leave them out."
                )
            if own is None:
                return None
        form, length = description.form, description.length
        number = len(self._check_shape(x))
        seconds = None
        if own.cycles and form is not None and form.time is not None:
            if start is not None:
                each = [start] if isinstance(start, str) or not np.ndim(start) else list(start)
                at = np.array([writing.seconds_of(one, form.time) for one in each])
            elif (found := _starts_of(x, form, length)) is not None:
                at = found
            else:
                raise DataError(
                    f"this model reads {own.in_words} of each step: say when each sequence starts, "
                    "start='2026-01-01' or a list of N dates, or give a DataFrame with its times."
                )
            if len(at) not in (1, number):
                raise DataError(f"start has {len(at)} dates, and there are {number} sequences.")
            seconds = writing.seconds(form.time, np.broadcast_to(at, number), length)
        columns = np.zeros((number, length, 0))
        if own.names:
            columns = np.asarray(np.nan if known is None else known, float)
            if columns.shape != (number, length, len(own.names)):
                raise DataError(
                    f"this model reads {', '.join(own.names)} of each step (--known): give known="
                    f"values [N, T, C], here {[number, length, len(own.names)]}."
                )
        return own.read(seconds, columns)

    def log_prob_array(
        self,
        x_NTD: NDArray[np.float64],
        temperature: float = 1.0,
        run: int | None = None,
        known_NTW: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """`log_prob` of an array, and what is known of its steps as the policy reads it."""
        scaler = self.description.scaler
        with np.errstate(over="ignore"):
            rows = scaler.transform(x_NTD).astype(np.float32)
        possible = scaler.matches(x_NTD) & np.isfinite(rows).all(axis=(1, 2))
        rows[~possible] = 0.0
        state, scale = self._run(run), _temperature(temperature)
        values: list[NDArray[np.float64]] = []
        for i in range(0, len(rows), BLOCK):
            block = rows[i : i + BLOCK]
            padded = np.pad(block, ((0, BLOCK - len(block)), (0, 0), (0, 0)))
            batch = Batch.of(
                jnp.asarray(padded), _block(known_NTW, i // BLOCK), self.description.scaler.end
            )
            logs = _log_prob(state.best, state.policy_constants, batch, scale, nets=self.nets)
            found, is_density = (np.asarray(each)[: len(block)] for each in logs)
            slopes = scaler.log_derivative(x_NTD[i : i + BLOCK])
            values.append(found + np.sum(slopes * is_density, axis=(1, 2)))
        log_p = np.concatenate(values)
        return np.where(possible & ~np.isnan(log_p), log_p, -np.inf)

    def _check_shape(self, x: ArrayLike) -> NDArray[np.float64]:
        description = self.description
        length, features, form = description.length, len(description.names), description.form
        if form and hasattr(x, "iloc") and hasattr(x, "columns"):
            x = writing.from_frame(x, form, length, description.scaler.ends)
        ends, has_gaps = description.scaler.ends, description.has_gaps
        array = as_array(layout.one_array(x), may_miss=ends or has_gaps)
        if ends and array.shape[1] < length:
            array = lengths.padded(list(array), length)
        gone = np.isnan(array)
        if ends:
            gone &= lengths.there(array)[..., None]
        for d, may_miss in enumerate(description.scaler.may_miss_D):
            if not may_miss and d < array.shape[2] and gone[..., d].any():
                raise DataError(
                    f"x: column {description.names[d]!r} misses values, and never did in training. "
                    "Fill them in, or leave those sequences out."
                )
        if array.shape[1:] != (length, features):
            wanted = f"[N, {length}, {features}]" + (f" or [N, {length}]" if features == 1 else "")
            raise DataError(
                f"x has shape {list(np.shape(x))}, the model was fitted on {wanted}. "
                "Give sequences of that length and number of columns."
            )
        return array

    # ------------------------------------------------------------------ saving and loading

    def save(self, folder: str | Path) -> None:
        """Write the model to `folder`: config.json and one checkpoint. Loads with `load`.

        Raises UsageError where the folder already holds a model or a run, DiskError.
        """
        path = Path(folder)
        state, description = self.state, self.description
        if found := directory.present(path):
            raise UsageError(
                f"{path}: holds {', '.join(found)} already. Name another folder, or delete it."
            )
        with directory.lock(path):
            self.write_config(path, description)
            store = checkpoint.Store(directory.checkpoints(path), 1, self.identity)
            store.save(loop.step_number(state), state)

    def write_config(self, path: Path, description: Description) -> None:
        """config.json of a model or run."""
        content: dict[str, Any] = {"version": __version__, "settings": config.flat(self.config)}
        if description.form is not None:
            content["form"] = description.form.to_json()
        if description.windows is not None:
            content["windows"] = description.windows
        directory.write_config(path, content | description.to_json())

    @property
    def identity(self) -> str:
        """SHA-256 of what a training state depends on: settings, data, scaling."""
        content = {"settings": config.fixed(self.config), "data": self.description.to_json()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @classmethod
    def load(
        cls,
        folder: str | Path,
        step: int | None = None,
        say: Callable[[str], None] = warnings.warn,
    ) -> Self:
        """The model in `folder`: one that `save` wrote, or any run directory with a checkpoint.

        `step` picks a checkpoint; default the last that is whole, and `say` is told what is wrong
        with later ones. Raises CheckpointError.
        """
        path = Path(folder)
        directory.refuse_links(path)
        content = directory.read_config(path)
        try:
            if not isinstance(content["settings"], dict):
                raise TypeError("its settings are no settings")
            model = cls(config.from_flat(content["settings"]))
            model._description = Description.from_json(content)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(
                f"{path / 'config.json'}: not a description of a model ({error})."
            ) from error
        available = checkpoint.steps(directory.checkpoints(path))
        if not available or (step is not None and step not in available):
            there = f"there are {', '.join(map(str, available))}" if available else "there is none"
            raise CheckpointError(
                f"{path}: no checkpoint{'' if step is None else f' {step}'} ({there}). "
                "Train first, or name another."
            )
        features = model._description.scaler.num_inner
        vector: Any = jax.ShapeDtypeStruct((features,), jnp.float32)  # no memory yet
        matrix: Any = jax.ShapeDtypeStruct((features, features), jnp.float32)
        columns = _columns_of(model._description)
        means = 0 if columns is None else len(columns.layout.rates)
        wide: Any = jax.ShapeDtypeStruct((features, (1 + means) * features), jnp.float32)
        second = None if columns is None else wide
        of_known: Any = None
        if model._description.known is not None:
            width = model._description.known.width
            of_known = jax.ShapeDtypeStruct((features, width), jnp.float32)
        linear = Baseline(vector, matrix, matrix, vector, matrix, second, of_known, of_known)
        constants = linear, vector, columns
        nets, abstract = jax.eval_shape(model._initialiser(), model._keys(), constants)
        store, identity = directory.checkpoints(path), model.identity
        if step is None:
            step, model._state, damaged = checkpoint.restore_last(store, abstract, identity)
            for words in damaged:
                say(f"damaged checkpoint: {words} Using step {step} instead.")
        else:
            model._state = checkpoint.restore(store, step, abstract, identity)
        model._nets = nets
        return model


def _fitted(value: Value | None) -> Value:
    if value is None:
        raise NotFittedError("this model has not been fitted. Call fit(x) or SeqGAN.load(folder).")
    return value


def _with_known(
    parts: Split, given: KnownOfAll, rows: list[np.ndarray], of_ends: tuple[float, ...]
) -> tuple[Known | None, Split]:
    """What is known in advance of sequences, and their parts with it."""
    if not (given.names or given.cycles or of_ends):
        return None, parts
    known = Known.fit(given[rows[0]], of_ends)
    one, two, three = (known.of(given[part]) for part in rows)
    return known, KnownSplit(**vars(parts), known=(one, two, three))


def _gain(gain_N: Array, validation_NTD: Array) -> Gain:
    """Of each sequence, nats, to that of a step; of those that are possible under both."""
    kept = np.isfinite(gain_N)
    if not kept.any():
        return Gain(0.0, 0.0)
    values = gain_N[kept] / validation_NTD.shape[1]
    blocks = np.unique(overlap.independent_blocks(validation_NTD)[kept], return_inverse=True)[1]
    error, _ = selection.error_by_blocks(jnp.asarray(values, jnp.float32), jnp.asarray(blocks))
    return Gain(float(values.mean()), float(error))


def _columns_of(description: Description) -> Columns | None:
    """What the learned columns are, where some are not plain continuous."""
    scaler, known = description.scaler, description.known
    width = known.width if known is not None and known.in_choices else 0
    kinds, rates = scaler.inner_kinds, description.rates
    return support.of(kinds, scaler.scaled, scaler.affine, scaler.ends, width, rates)


def _known_of(parts: Split | StreamSplit) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """What is known of the training and the validation part, [N, T, W] each."""
    return parts.known[:2] if isinstance(parts, KnownSplit) else None


def _are_windows(sequences: Sequences | Shards) -> bool | None:
    """Whether sequences are windows of longer series; None where nothing is known of it."""
    if isinstance(sequences, Shards):
        return sequences.are_windows
    if sequences.form is None:
        return None
    return sequences.starts_N is not None or sequences.windows is not None


def _check_draw(n: Any, seed: Any, length: Any = None, ends: bool = False) -> None:
    """Raise UsageError where the arguments of a draw are impossible."""
    if isinstance(length, tuple):
        if not ends or len(length) != 2:
            raise UsageError(
                f"length {length!r}: a pair (least, most) is for models of sequences of unequal "
                "length. Give a whole number."
            )
        for each in length:
            _check_draw(n, seed, each)
        return
    if not isinstance(n, int | np.integer) or n < 1:
        raise UsageError(f"n must be a whole number of at least 1, not {n!r}.")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UsageError(f"seed must be a whole number from 0 to 2**32 - 1, not {seed!r}.")
    if length is not None and (not isinstance(length, int | np.integer) or length < 1):
        raise UsageError(f"length must be a whole number of at least 1, not {length!r}.")


def _block(known_NTW: NDArray[np.float32] | None, i: int) -> jax.Array | None:
    """The i-th BLOCK of sequences' known, filled up with zeros."""
    if known_NTW is None:
        return None
    block = known_NTW[i * BLOCK : (i + 1) * BLOCK]
    return jnp.asarray(np.pad(block, ((0, BLOCK - len(block)), (0, 0), (0, 0))))


def _table_of(known: Any, own: Known) -> Table:
    """Values of the columns of --known as a table: of a file, a DataFrame or an array [T, C]."""
    if isinstance(known, Table):
        return known
    frame = layout.frame_of(known)
    if frame is None:
        array = np.asarray(known, object).reshape(-1, len(own.names))
        frame = layout.frame_of(dict(zip(own.names, array.T.tolist(), strict=True)))
    return tables.of_frame(frame, "frame", "known")


def _starts_of(x: Any, form: Form, length: int) -> NDArray[Any] | None:
    """When the sequences of a table start; None where it does not say."""
    if not (hasattr(x, "iloc") and hasattr(x, "columns")):
        return None
    return writing.starts_of(x, form, length)


def _temperature(value: float) -> jax.Array:
    if not 0 < value < np.inf:
        raise UsageError(f"temperature must be above 0 and finite, not {value!r}.")
    return jnp.array(value, jnp.float32)


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
        linear, increments, columns = constants
        return networks.init(own, length, linear, increments, generator, discriminator, columns)

    return over_seeds(one, seeds, 0)(key)


@partial(jax.jit, static_argnames="generator")
def _log_prob_untrained(
    linear: Baseline, columns: Columns | None, batch: Batch, *, generator: GeneratorConfig
) -> jax.Array:
    """log p of each sequence [N], nats, by a policy that is its baseline still."""
    return log_prob_of_sequences(bind(*init(jax.random.key(0), generator, linear, columns)), batch)


@partial(jax.jit, static_argnames="nets")
def _log_prob(
    params: Params,
    constants: Params,
    batch: Batch,
    temperature: jax.Array,
    *,
    nets: Networks,
) -> tuple[jax.Array, jax.Array]:
    """log pi of each sequence [B], nats, and which values have a density [B, T, D]."""
    policy = bind(nets.policy, params, constants)
    log_p = log_prob_of_sequences(policy, batch, temperature)
    return log_p, policy.is_density(batch.x)
