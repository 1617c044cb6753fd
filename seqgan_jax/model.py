"""SeqGAN: fit, sample, log_prob, save, load."""

import hashlib
import json
import time as clock
import warnings
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_jax import __version__, config
from seqgan_jax.config import Config
from seqgan_jax.core import likelihood, outer, parallel, selection
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Params, Parts, TrainState, run_of
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.refining import Refiner
from seqgan_jax.data import layout, lengths, overlap, writing
from seqgan_jax.data.history import History
from seqgan_jax.data.layout import Sequences, Split, as_sequences  # noqa: F401
from seqgan_jax.data.shards import Shards, StreamSplit
from seqgan_jax.errors import CheckpointError, NotFittedError, UsageError
from seqgan_jax.run import (
    checkpoint,
    directory,
    evaluating,
    loop,
    places,
    preparing,
    refined,
    showing,
)
from seqgan_jax.run.description import Description
from seqgan_jax.run.drawing import Trained
from seqgan_jax.run.loader import AllData, BatchLoader, StreamedData, on_device, scaled
from seqgan_jax.run.loop import Listener, Problem, Row, Silent
from seqgan_jax.run.places import Length, Places, check_draw
from seqgan_jax.run.preparing import Constants, Gain

if TYPE_CHECKING:
    from seqgan_jax.analysis.plots import Figure
    from seqgan_jax.analysis.report import Report

Value = TypeVar("Value")
AUTO_EPOCHS = 10  # of each policy that --policy auto tries


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
        base = config.flat(settings) if settings is not None else {}
        self._set(config.from_flat({**base, **_own_names(changes)}), changes)

    def _set(self, settings: Config, given: Iterable[str]) -> None:
        """A model with these settings, of which some were `given`, that is not fitted."""
        usual = config.flat(Config())
        self.config = self._asked = settings
        # A clone is given all of them.
        self._given = frozenset(n for n in given if config.flat(settings).get(n) != usual.get(n))
        self._description: Description | None = None
        self._nets: Networks | None = None
        self._state: TrainState | None = None
        # By --policy auto: validation loss of each after some epochs, nats a step, scaled units.
        self.tried: dict[str, float] = {}
        self.calendar: Gain | None = None  # by which --calendar auto decided, where there is one
        self.rows: list[Row] = []  # of metrics, as in metrics.jsonl
        self.seconds: float | None = None  # that `fit` took
        self._parts: Split | StreamSplit | None = None
        self._refiners: dict[int | None, Refiner] = {}
        self._folder: Path | None = None  # from which it was loaded
        self._begun: float | None = None  # when it was last prepared

    def __repr__(self) -> str:
        usual = config.flat(Config())
        own = {n: value for n, value in self.get_params().items() if value != usual[n]}
        return f"SeqGAN({', '.join(f'{name}={value!r}' for name, value in own.items())})"

    # ------------------------------------------------------------------ as scikit-learn has it

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Every setting by its name, as it was asked for; `deep` has no meaning here."""
        return config.flat(self._asked)

    def set_params(self, **changes: Any) -> Self:
        """Change settings, `random_state` too. A fitted model is not fitted any more.

        Raises UsageError on unknown names and impossible values.
        """
        own = _own_names(changes)
        given = self._given | set(own)
        self._set(config.from_flat({**config.flat(self._asked), **own}), given)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self._state is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags  # which asks for it

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))

    def score(self, x: ArrayLike, y: None = None) -> float:  # noqa: ARG002
        """Mean of `log_prob` over sequences, nats: what a search over settings makes large."""
        return float(np.mean(self.log_prob(x)))

    # ------------------------------------------------------------------ training

    def fit(
        self,
        x: Any,
        *,
        id: str | SequenceOf[str] | None = None,
        time: str | SequenceOf[str] | None = None,
        sequence_key: str | SequenceOf[str] | None = None,
        sequence_index: str | SequenceOf[str] | None = None,
        verbose: bool | None = None,
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
          sequence_key: SDV's name for `id`.
          sequence_index: SDV's name for `time`.
          verbose: True: say what happens; False: do not. Default: where somebody looks on, at a
            terminal or a notebook.
          listener: hears of progress, in the place of what `verbose` shows.

        Raises:
          DataError: it cannot be learned from, or not without being asked about.
          UsageError: a setting that has no meaning for x.
          DivergedError: training breaks down.
        """
        id = _either("sequence_key", sequence_key, "id", id)
        time = _either("sequence_index", sequence_index, "time", time)
        if verbose and listener is not None:
            raise UsageError("listener takes the place of verbose: leave one out.")
        if isinstance(x, Sequences):
            if given := sorted(self._given & layout.READING | {*(["id"] if id else [])}):
                raise UsageError(
                    f"{', '.join(given)}: settings of how data are read, which have no meaning for "
                    "sequences that are read already. Leave them out."
                )
            sequences = x
        else:
            sequences = layout.from_python(x, self.config.data, self._given, id, time)
        self._set(self._asked, self._given)  # --policy auto chooses anew
        started = clock.monotonic()
        parts = self.prepare(sequences)
        shown = listener or showing.listener(verbose)
        try:
            self.train(parts, shown)
        finally:
            if isinstance(shown, showing.Shown):
                shown.display.close()
        self.seconds = clock.monotonic() - started
        return self

    def prepare(
        self, sequences: Sequences | Shards, turns: int | None = None
    ) -> Split | StreamSplit:
        """Split, fit the scaling, and initialise the networks; what `train` starts from.

        `turns` of a day are those by which the calendar is read, 0 where it is not, if that was
        decided before. Of streamed data, scaling and frame are fitted on a random sample of them.
        """
        self._begun, self._refiners = clock.monotonic(), {}
        found = preparing.prepare(sequences, self.config, self.data_seed, turns)
        self._description, parts, constants, self.calendar = found
        if self.config.generator.policy == "auto":
            self.config = self._with_likeliest_policy(constants, parts)
        self._initialise(constants)
        self._parts = parts
        return parts

    def _initialise(self, constants: Constants) -> None:
        initialise = preparing.initialiser(self.config, self.description.length)
        self._nets, self._state = initialise(preparing.keys_of(self.config), constants)

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
            trial._initialise(constants)
            trial.train(parts, Silent())
            self.tried[policy] = float(selection.best_run(trial.state).best_nll)
        best = list(self.tried)[selection.likeliest(np.array(list(self.tried.values())))]
        return config.from_flat({**config.flat(self.config), "policy": best})

    @property
    def data_seed(self) -> int:
        """Seed of the split, and of a simulator's sequences."""
        return self.config.run.seed if (seed := self.config.data.data_seed) is None else seed

    def train(self, parts: Split | StreamSplit, listener: Listener) -> None:
        """Run what is left of the three phases on prepared data."""
        run, scaler = self.config.run, self.description.scaler
        mesh = parallel.make_mesh(run.devices, run.num_seeds, run.batch_size)
        of_train, of_validation = preparing.known_of(parts) or (None, None)
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
            steps = parts.num_train * self.description.length
        else:
            rows = scaled(scaler, parts.train_NTD, "training")
            train = on_device(rows, mesh, parallel.BATCH, of_train, scaler.end)
            loader = AllData(Parts(train, validation, blocks))
            steps = overlap.num_steps(parts.train_NTD)
        problem = Problem(
            config=self.config,
            nets=self.nets,
            loader=loader,
            key=parallel.place(preparing.keys_of(self.config), mesh, parallel.SEEDS),
            mesh=mesh,
            begun=self._begun,
            few=likelihood.fewness(steps),
        )
        state = parallel.place(parallel.broadcast_tree(self.state), mesh, parallel.SEEDS)
        state = loop.train(problem, state, Recorder(self.rows, listener))
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

    def _trained(self, run: int | None) -> Trained:
        """A run by its number from 0, or the best one; raises UsageError."""
        about = self.description, self.nets
        if run is None:
            return Trained(*about, selection.best_run(self.state), self.config.data)
        number = self.config.run.num_seeds
        if isinstance(run, bool) or not isinstance(run, int | np.integer) or not 0 <= run < number:
            there = "there is one run, 0" if number == 1 else f"there are runs 0 to {number - 1}"
            raise UsageError(f"run {run!r}: {there}. Leave it out for the best one.")
        return Trained(*about, run_of(self.state, int(run)), self.config.data)

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

    @property
    def history_(self) -> Any:
        """The metrics as a DataFrame, a row for each epoch and round as in metrics.jsonl."""
        _fitted(self._state)
        columns = dict.fromkeys(name for row in self.rows for name in row)
        return layout.frame_of({name: [row.get(name) for row in self.rows] for name in columns})

    def summary(self) -> str:
        """In words: columns and their kinds, parameters, schedule, time and memory."""
        return evaluating.summary(
            self.description, self.state, self.config, self.rows, self.seconds
        )

    def evaluate(
        self,
        real: Any = None,
        *,
        n: int | None = None,
        seed: int = 0,
        id: str | SequenceOf[str] | None = None,
        time: str | SequenceOf[str] | None = None,
        scores: SequenceOf[str] = (),
        judge: str = "auto",
        verbose: bool = False,
    ) -> "Report":
        """How samples compare with real sequences that were never trained on; see `analyze`.

        Args:
          real: sequences that the model has not seen, as for `fit`. Default: those that `fit` held
            out; of a run directory its held-out part.
          n: samples. Default: ten for each real sequence, 1,000 to 10,000.
          seed: of the samples, and of the comparison.
          id, time: columns of a table `real`, as for `fit`.
          scores: published scores to compute as well: "discriminative", "predictive",
            "context_fid".
          judge: whether classifiers judge: "auto", "always", "never".
          verbose: show how far it is.

        Raises:
          UsageError: no held-out part is known, and none is given.
          DataError: too few sequences, or of another form.
        """
        self.state  # noqa: B018  raises before anything is read
        found = self._test_part(real, id, time)
        n = evaluating.sensible(len(found.real.x_NTD)) if n is None else n
        drawn_NTD = self.sample_array(n, seed)
        how: dict[str, Any] = {"seed": seed, "scores": tuple(scores), "judge": judge}
        about = self.description, self.config.data.label
        return evaluating.report(*about, found, drawn_NTD, verbose, **how)

    def plot(self, real: Any = None, *, n: int = 200, seed: int = 0) -> "Figure":
        """A fan of samples over real sequences, as a matplotlib figure; `real` as in `evaluate`."""
        from seqgan_jax.analysis import plots

        found = self._test_part(real, None, None)
        description = self.description
        drawn_NTD = description.as_written(self.sample_array(n, seed))
        return plots.fan(found.real.x_NTD, drawn_NTD, description.names)

    def _test_part(self, real: Any, id: Any, time: Any) -> "evaluating.TestPart":
        """What samples are compared with, and what was trained on where that is known."""
        description, data = self.description, self.config.data
        if real is not None:
            return evaluating.given(description, data, real, id, time)
        if self._parts is not None:
            return evaluating.of_parts(description, self._parts)
        return evaluating.of_folder(description, self._folder)

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
        refine: int | None = None,
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
        on from the last of each. A model that reads `known` needs it in the DataFrame, and from its
        end on in `known`: a table with a row for each step, of each sequence where it has the ids.

        `start` is the date at which all begin; without it starts are drawn from those of the
        training part, where a calendar was learned. `known` are the values of the columns of that
        setting, a table of T rows; without it they are those of a sequence of the training part.

        Samples are complete, also where the data miss values: drawn given that none is missing.
        `with_gaps` draws gaps like the data's, too, NaN.

        `refine` candidates are drawn for each sample, and discriminators choose one: trained for it
        on the training part, and each only as sure as it is right about a fold that it has not
        seen. What the policy got wrong is made up for in part, at `refine` times the cost; where
        discriminators find nothing, nothing is changed.

        Raises NotFittedError before `fit`, UsageError on impossible arguments, DataError where
        `after` cannot be what the model was fitted on or what is given is too rare.
        """
        description = self.description
        trained = self._trained(run)
        trained.check_gaps(with_gaps)
        if after is not None:
            if refine is not None:
                refined.check(description, refine, after=after)
            if start is not None:
                raise UsageError(
                    "start (--start) has no meaning with after, which says where it ends. Leave it "
                    "out."
                )
            gone_on_from = trained.read_history(after, given)
            drawing = n, gone_on_from, length, seed, temperature, warnings.warn, known, with_gaps
            x_NMTD = trained.futures(*drawing)
            if layout.frame_of(after) is None:
                return x_NMTD
            x_NMTD = description.futures_as_written(x_NMTD)
            can_end = description.scaler.ends
            form, last = description.written_form, gone_on_from.ends
            return writing.futures_frame(x_NMTD, form, last, can_end=can_end)
        number = len(given) if n is None and hasattr(given, "iloc") else n
        check_draw(number, seed, length, description.scaler.ends)
        assert number is not None
        ends = description.scaler.ends
        placed = self.places(number, seed, start, known, length)
        how: dict[str, Any] = {"places": placed, "with_gaps": with_gaps, "refine": refine}
        x_NTD = self.sample_array(n, seed, temperature, run, given, length, **how)
        if description.form is None or description.form.source != "frame":
            return lengths.cut(x_NTD) if ends else x_NTD
        rows = description.as_written(x_NTD)
        return writing.to_frame(rows, description.form, placed.starts_N, ends)

    def places(
        self, n: int, seed: int = 0, start: Any = None, known: Any = None, length: Length = None
    ) -> Places:
        """When `n` samples of a seed start, and what is known of their steps; see `sample`.

        Raises:
          UsageError: a start or values where they have no meaning, or that are missing.
        """
        return places.of_samples(self.description, n, seed, start, known, length)

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
        refine: int | None = None,
        known: Any = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> NDArray[np.float64]:
        """`sample` as an array [n, T, D] float64 as drawn, whatever the model was fitted on.

        With `after` an array [N, n, length, D]. NaN after the ends of sequences. `say` is told what
        the user should know, `tell` what `refine` chooses.
        """
        trained = self._trained(run)
        if refine is None:
            how = n, seed, temperature, given, length, after, say, places, with_gaps, known
            return trained.sequences(*how)
        about = self.description
        other = None if temperature == 1 else temperature
        trained.check_gaps(with_gaps)
        others = {"temperature": other, "length": length, "after": after}
        refine = refined.check(about, refine, with_gaps, **others)
        number = len(given) if n is None and hasattr(given, "iloc") else n
        check_draw(number, seed)
        assert number is not None
        placed = places or self.places(number, seed, known=known)
        if run not in self._refiners:
            train = refined.learned(about, self._parts, self._folder)
            self._refiners[run] = refined.fit(trained, train, self.config.run.seed)
        drawing = int(number), refine, int(seed), given, placed, say, with_gaps, tell
        return refined.sequences(trained, self._refiners[run], *drawing)

    def check_gaps(self, with_gaps: bool) -> None:
        """Raise UsageError where gaps are asked for that there are not."""
        self._trained(None).check_gaps(with_gaps)

    def futures(
        self,
        n: int | None,
        given: History,
        length: Length = None,
        seed: int = 0,
        temperature: float = 1.0,
        run: int | None = None,
        say: Callable[[str], None] = warnings.warn,
        known: Any = None,
        with_gaps: bool = False,
    ) -> NDArray[np.float64]:
        """`n` futures of each sequence of a history that is read, [N, n, length, D] float64.

        See `sample`. Raises UsageError, and DataError where the history breaks what was learned.
        """
        drawing = n, given, length, seed, temperature, say, known, with_gaps
        return self._trained(run).futures(*drawing)

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
        x_NTD = self.description.checked(x)
        known_NTW = places.known_of(self.description, x, len(x_NTD), start, known)
        return self.log_prob_array(x_NTD, temperature, run, known_NTW)

    def log_prob_array(
        self,
        x_NTD: NDArray[np.float64],
        temperature: float = 1.0,
        run: int | None = None,
        known_NTW: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """`log_prob` of an array, and what is known of its steps as the policy reads it."""
        return self._trained(run).log_prob(x_NTD, temperature, known_NTW)

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
            if self.rows:
                directory.append_metrics(path, self.rows)

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
            model = cls(config.from_flat(config.BEFORE | content["settings"]))
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
        columns = model._description.columns
        means = 0 if columns is None else columns.layout.num_slow
        wide: Any = jax.ShapeDtypeStruct((features, (1 + means) * features), jnp.float32)
        second = None if columns is None else wide
        of_known: Any = None
        if model._description.known is not None:
            width = model._description.known.width
            of_known = jax.ShapeDtypeStruct((features, width), jnp.float32)
        linear = Baseline(vector, matrix, matrix, vector, matrix, second, of_known, of_known)
        is_shown = model.config.discriminator.dis_sees == "data"
        of_data = outer.shape(model._description.scaler) if is_shown else None
        constants = linear, vector, columns, of_data
        initialise = preparing.initialiser(model.config, model._description.length)
        keys = preparing.keys_of(model.config)
        nets, abstract = jax.eval_shape(initialise, keys, constants)
        store, identity = directory.checkpoints(path), model.identity
        if step is None:
            step, model._state, damaged = checkpoint.restore_last(store, abstract, identity)
            for words in damaged:
                say(f"damaged checkpoint: {words} Using step {step} instead.")
        else:
            model._state = checkpoint.restore(store, step, abstract, identity)
        model._nets, model._folder = nets, path
        model.rows = directory.read_metrics(path)
        return model


class Recorder:
    """Keeps the rows of metrics that another listener hears of."""

    def __init__(self, rows: list[Row], then: Listener) -> None:
        self._rows, self._then = rows, then
        self.compiling, self.compiled = then.compiling, then.compiled
        self.estimated, self.evaluated = then.estimated, then.evaluated
        self.phase_ended, self.checkpoint = then.phase_ended, then.checkpoint

    def progress(self, phase: str, done: int, total: int, rows: list[Row]) -> None:
        self._rows += rows
        self._then.progress(phase, done, total, rows)

    def looked(self, row: Row, note: str) -> None:
        self._rows.append(row)
        self._then.looked(row, note)


def _own_names(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by our names: `random_state` is `seed`."""
    if "random_state" not in changes:
        return changes
    own = {name: value for name, value in changes.items() if name != "random_state"}
    return own | {"seed": _either("random_state", changes["random_state"], "seed", own.get("seed"))}


def _either(name: str, value: Any, ours: str, own: Any) -> Any:
    """An argument that has two names; raises UsageError where both are given."""
    if value is not None and own is not None:
        raise UsageError(f"{name} and {ours} are two names of one thing: give one of them.")
    return own if value is None else value


def _fitted(value: Value | None) -> Value:
    if value is None:
        raise NotFittedError("this model has not been fitted. Call fit(x) or SeqGAN.load(folder).")
    return value
