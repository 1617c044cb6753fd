"""Sequences: read from files, bundled sets or simulators; split, scaled, written.

Shapes: N sequences, T steps of a sequence, D columns of the data, K columns that are modelled
(neither constant nor exact copies of others), L steps of a long series. Data are float64.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgan_jax.config import DataConfig
from seqgan_jax.data import arrays, intervals, overlap, reading, shards, texts
from seqgan_jax.data import missing as gaps
from seqgan_jax.data.bounds import Limits
from seqgan_jax.data.files import printable
from seqgan_jax.data.missing import Missing
from seqgan_jax.data.overlap import Windows
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.writing import save_sequences
from seqgan_jax.errors import DataError, UsageError

__all__ = [
    "Scaler",
    "Sequences",
    "Split",
    "as_sequences",
    "default_names",
    "load",
    "open_stream",
    "save_sequences",
    "split",
]

DEFAULT_FILE = Path("save/real_data.txt")
BUNDLED = {"weather": Path(__file__).with_name("bundled") / "seattle_weather.csv"}
# Precipitation is zero on 57% of the days, which no density can express.
BUNDLED_COLUMNS = {"weather": ("temp_max", "temp_min", "wind")}
MIN_SEQUENCES = 20
MIN_STEPS = 2
WINDOWS = "np.lib.stride_tricks.sliding_window_view(x, 20, axis=0).transpose(0, 2, 1)"


@dataclasses.dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of equal length with where they come from.

    Args:
      x_NTD: the values, float64, in units of the data.
      names: of the D columns; ("x",) or ("x1", "x2", ...) where the source has none.
      source: path or name, for messages.
      starts_N: where each window starts in its series; None for a table of sequences.
      notes: what the user should know, such as a column that was ignored.
      windows: where rows are in the series that they overlap in, where a table turned out to be
        windows; they are then split by it.
    """

    x_NTD: np.ndarray
    names: tuple[str, ...]
    source: str
    starts_N: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    windows: Windows | None = None

    def check(self, limits_D: Sequence[Limits | None]) -> None:
        """Raise DataError at a value that --log or --bounds does not allow."""

        def place(n: int, t: int, _: int) -> str:
            source = printable(self.source)
            if self.starts_N is not None:
                return f"{source}, step {self.starts_N[n] + t + 1} of the series"
            return f"{source}, sequence {n + 1}, step {t + 1}"

        intervals.check([(0, self.x_NTD)], limits_D, self.names, place)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Three parts that share no value.

    Args:
      train_NTD: to learn from.
      validation_NTD: to decide when to stop.
      held_out_NTD: for reports only.
    """

    train_NTD: np.ndarray
    validation_NTD: np.ndarray
    held_out_NTD: np.ndarray


def load(
    source: str | None,
    *,
    window: int = 20,
    stride: int = 1,
    columns: Sequence[str] | None = None,
    features: int | None = None,
    num_sequences: int = 10_000,
    missing: Missing = "error",
    seed: int = 88,
) -> Sequences:
    """Sequences from a file, a bundled set or a simulator.

    Files: text with one sequence a line (T x D numbers, all of step 1 first); .csv with a header,
    one long series, cut into windows; .csv with the header "sequence,step,..." as `save_sequences`
    writes it; .csv without a header, one sequence a line; .npy or .npz of [N, T] or [N, T, D].

    Args:
      source: path; "weather"; a name of `simulators.NAMES`; None for save/real_data.txt where there
        is one, else the bundled set. A name goes before a file of that name: "./weather" is a file.
      window: T of the windows of a long series, and of a simulator.
      stride: steps from one window to the next.
      columns: of a .csv with a header, in the order wanted; none for all that hold numbers.
      features: D, where a text file has one sequence a line.
      num_sequences: to draw from a simulator.
      missing: what becomes of missing values, which are empty cells of a .csv, nan, NA, N/A, null,
        none or - in text, NaN in arrays. "error": refused; "drop": the sequences or windows that
        they are in are left out; "interpolate": filled in linearly inside a sequence or long
        series, with the nearest value at its ends.
      seed: of the simulator.

    Raises:
      DataError: the source is missing or not what is described above; says the place.
      UsageError: an argument that is impossible, or has no meaning for this source.

    >>> load("weather").x_NTD.shape
    (1442, 20, 3)
    """
    for name, value, least in (
        ("--window", window, MIN_STEPS),
        ("--stride", stride, 1),
        ("--features", 1 if features is None else features, 1),
    ):
        if value < least:
            raise UsageError(f"{name} {value} is too small. It must be at least {least}.")
    if isinstance(columns, str):
        raise UsageError(f"columns must be a list of names, not {columns!r}. Write [{columns!r}].")
    if missing not in gaps.MODES:
        raise UsageError(f"--missing {missing!r} is unknown. Choose {' or '.join(gaps.MODES)}.")
    columns = tuple(columns or ()) or None
    if source is None:
        source = str(DEFAULT_FILE) if DEFAULT_FILE.exists() else "weather"
    if source in BUNDLED:
        _no_features(features, source, "its columns have names")
        chosen = columns or BUNDLED_COLUMNS[source]
        return _load_csv(BUNDLED[source], window, stride, chosen, None, missing, source)

    path = Path(source)
    suffix = path.suffix.lower()
    if os.path.isdir(source) and (found := shards.find(source)):
        _no_columns(columns, ".npy", "it has no column names")
        _no_features(features, ".npy", "save an array [N, T, D]")
        shards.open_shards(found)  # all of one shape
        parts = [arrays.read_array(each, missing != "error") for each in found]
        return _table(np.concatenate(parts), source, missing)
    if suffix == ".csv":
        return _load_csv(path, window, stride, columns, features, missing, source)
    _no_columns(columns, source, "only a .csv with a header has column names")
    if not suffix and "/" not in source:  # the name of a simulator? JAX is only needed here
        from seqgan_jax.processes import simulators

        if source in simulators.NAMES:
            _no_features(features, source, "it has its own")
            return _simulate(source, window, num_sequences, seed)
        if not path.exists():
            raise DataError(
                f"{printable(source)}: there is no such file, bundled set or simulator. Bundled: "
                f"{', '.join(BUNDLED)}; simulators: {', '.join(simulators.NAMES)}."
            )
    if suffix in (".npy", ".npz"):
        _no_features(features, suffix, "save an array [N, T, D]")
        return _table(arrays.read_array(path, missing != "error"), source, missing)
    return _load_lines(path, texts.read_text(path), features, missing, source)


def open_stream(settings: DataConfig) -> shards.Shards | None:
    """The .npy, or folder of them, larger than `memory`; None where `load` reads the source.

    Raises DataError and UsageError as `load` does.
    """
    paths = shards.find(settings.data or "")
    if not paths or sum(path.stat().st_size for path in paths) < 1e8 * settings.memory:
        return None  # float64 takes at most 8 times what is in the files
    opened = shards.open_shards(paths)
    if opened.num_bytes <= 1e9 * settings.memory:
        return None
    if settings.missing != "error":
        raise UsageError("--missing: streamed data must be complete. Fill them in before.")
    _no_columns(settings.columns, ".npy", "it has no column names")
    _no_features(settings.features, ".npy", "save an array [N, T, D]")
    return opened


def _no_columns(columns: Sequence[str] | None, source: str, why: str) -> None:
    if columns:
        raise UsageError(f"--columns has no meaning for {printable(source)}: {why}.")


def _no_features(features: int | None, source: str, why: str) -> None:
    if (features or 1) > 1:
        raise UsageError(f"--features has no meaning for {printable(source)}: {why}.")


def as_sequences(x: Any) -> Sequences:
    """An array [N, T] or [N, T, D], or anything that numpy makes one of, as sequences.

    Args:
      x: values in units of the data, without gaps.

    Raises:
      DataError: not an array of numbers, a value that is not finite, too few sequences or steps, or
        [L, D] that is evidently one long series with a step in each row.

    >>> as_sequences(np.random.default_rng(0).normal(size=(50, 8))).x_NTD.shape
    (50, 8, 1)
    """
    x_NTD = arrays.as_array(x)
    found = _table(x_NTD, "array", "error", remedy=f"Cut one long series into windows: {WINDOWS}.")
    n, steps, _ = x_NTD.shape
    if np.ndim(x) == 2 and found.windows is None and _is_series(x_NTD[..., 0]):
        raise DataError(
            f"x has shape {[n, steps]}: its rows follow each other smoothly and its columns "
            "have different scales, as in one long series with a step in each row. Cut it into "
            f"windows: {WINDOWS}. If each row is a sequence of {steps} steps, say "
            "so: x[:, :, None]."
        )
    return found


def _is_series(x_LD: np.ndarray) -> bool:
    """Whether rows are evidently steps of a series.

    Its columns have different levels or scales and change little from row to row, while a row
    changes much from column to column (24 columns for the hours of a day do not).

    By von Neumann's ratio, mean (x_i - x_{i-1})^2 / 2 var x, 1 where neighbours are independent.
    """
    varying = x_LD.std(axis=0) > 0
    if x_LD.shape[1] < 2 or not varying.any():
        return False
    mean_D, std_D = x_LD.mean(axis=0), x_LD.std(axis=0)
    apart = mean_D.std() > std_D.mean() or std_D.max() > 3 * std_D.min()
    down = np.mean(np.diff(x_LD, axis=0) ** 2, axis=0)[varying] / (2 * std_D[varying] ** 2)
    across = np.mean(np.diff(x_LD, axis=1) ** 2) / (2 * x_LD.var(axis=1).mean())
    chance = 4 / np.sqrt(len(x_LD))  # the ratio's standard deviation is a quarter of it
    return bool(apart and np.median(down) < min(0.5, 1 - chance) and across > 0.5)


def _simulate(name: str, window: int, num_sequences: int, seed: int) -> Sequences:
    """Draw from a simulator."""
    import jax

    from seqgan_jax.processes import simulators

    if num_sequences < MIN_SEQUENCES:
        raise UsageError(
            f"--num-sequences {num_sequences} is too small. It must be at least {MIN_SEQUENCES}."
        )
    if 32 * window * num_sequences > texts.memory():  # float32, float64, copies of them
        raise UsageError(
            f"--num-sequences {num_sequences:,} of --window {window:,} steps do not fit into "
            "memory. Make one smaller."
        )
    x = simulators.get(name, length=window).sample(jax.random.key(seed), num_sequences)
    return _table(np.asarray(x, np.float64), name, "error")


def _table(
    x: np.ndarray,
    source: str,
    missing: Missing,
    names: tuple[str, ...] | None = None,
    remedy: str = "One long series is read from a .csv with a header line, a step a line.",
) -> Sequences:
    """Sequences of an array [N, T, D] that is no series, with notes on gaps, copies and overlap."""
    names = names or default_names(x.shape[2])
    notes: tuple[str, ...] = ()
    windows = overlap.find(x)  # before gaps are filled, differently in each window
    if missing != "error":
        gaps.check_columns(x.reshape(-1, x.shape[2]), names, source)
        x, kept_N, notes = gaps.resolve(x, missing, source)
        windows = windows and windows[kept_N]
    n, steps, _ = x.shape
    shown = printable(source)
    if steps < MIN_STEPS:
        raise DataError(
            f"{shown}: {steps} step in a sequence; at least {MIN_STEPS} are needed. {remedy}"
        )
    if n < MIN_SEQUENCES:
        raise DataError(
            f"{shown}: {n} sequence{'s' * (n != 1)}; at least {MIN_SEQUENCES} are needed, to train "
            f"on some and hold others out. Add sequences. {remedy}"
        )
    copies = n - overlap.count_distinct(x)
    if copies:
        notes += (f"{copies} of {n} sequences are exact copies of others",)
    if windows is not None:
        notes += (f"{windows}: they are split by time, so that no step is in two parts",)
    return Sequences(x, names, source, None, notes, windows)


def default_names(num_features: int) -> tuple[str, ...]:
    """Names for columns that have none.

    >>> default_names(1), default_names(2)
    (('x',), ('x1', 'x2'))
    """
    return ("x",) if num_features == 1 else tuple(f"x{d + 1}" for d in range(num_features))


def _load_lines(
    path: Path, text: str, features: int | None, missing: Missing, source: str
) -> Sequences:
    """One sequence a line."""
    x = reading.read_table(path, text, missing != "error")
    width, num_features = x.shape[1], features or 1
    if width % num_features:
        raise DataError(
            f"{printable(source)}:1:1: {width} numbers a line are not a multiple of --features "
            f"{num_features}. Correct --features: a line has steps x features numbers."
        )
    return _table(x.reshape(len(x), -1, num_features), source, missing)


def _load_csv(
    path: Path,
    window: int,
    stride: int,
    columns: Sequence[str] | None,
    features: int | None,
    missing: Missing,
    source: str,
) -> Sequences:
    """A .csv: a long series, sequences in long format, or one sequence a line."""
    text = texts.read_text(path)
    header = reading.header_of(text)
    if header is None:
        _no_columns(columns, source, "it has no header line")
        return _load_lines(path, text, features, missing, source)
    _no_features(features, source, "its header has names")
    if [name.lower() for name in header[:2]] == ["sequence", "step"]:
        return _load_long(path, text, header, columns, missing, source)
    names, x_LD, notes = reading.read_columns(path, text, columns, missing != "error")
    if missing != "error":
        gaps.check_columns(x_LD, names, source)
    if missing == "interpolate":  # along the whole series: windows then agree where they overlap
        x_1LD, filled = gaps.fill(x_LD[None])
        x_LD = x_1LD[0]
        notes += (gaps.filled_note(filled, x_LD.size),) * (filled > 0)
    if len(x_LD) < window:
        raise DataError(
            f"{printable(source)}: a series of length {len(x_LD)} is shorter than --window "
            f"{window}. Choose a smaller --window."
        )
    starts_N = np.arange(0, len(x_LD) - window + 1, stride)
    if len(starts_N) < MIN_SEQUENCES:
        raise DataError(
            f"{printable(source)}: {len(x_LD)} steps give {len(starts_N)} windows of --window "
            f"{window} at --stride {stride}; at least {MIN_SEQUENCES} are needed. Choose a smaller "
            "--window or --stride."
        )
    counting = [
        name
        for name, x_L in zip(names, x_LD.T, strict=True)
        if columns is None and x_L[0] != x_L[1] and np.all(np.diff(x_L) == x_L[1] - x_L[0])
    ]
    if counting:
        quoted = reading.quote(counting[0])
        notes += (f"column {quoted} only counts up or down; --columns can leave it out",)
    windows_NDT = np.lib.stride_tricks.sliding_window_view(x_LD, window, axis=0)[::stride]
    try:
        x_NTD = np.ascontiguousarray(windows_NDT.transpose(0, 2, 1))
    except MemoryError:
        raise DataError(
            f"{printable(source)}: {len(starts_N)} windows of {window} steps do not fit in memory. "
            "Choose a larger --stride."
        ) from None
    if missing == "drop":
        x_NTD, kept_N, dropped = gaps.resolve(x_NTD, missing, source, "windows")
        starts_N, notes = starts_N[kept_N], notes + dropped
        if len(starts_N) < MIN_SEQUENCES:
            raise DataError(
                f"{printable(source)}: {len(starts_N)} of {len(kept_N)} windows have no missing "
                f"value; at least {MIN_SEQUENCES} are needed. Choose a smaller --window, or try "
                "--missing interpolate."
            )
    return Sequences(x_NTD, names, source, starts_N, notes)


def _load_long(
    path: Path,
    text: str,
    header: list[str],
    columns: Sequence[str] | None,
    missing: Missing,
    source: str,
) -> Sequences:
    """Long format: a line for each step, its sequence and step in the first two columns."""
    wanted = columns or header[2:]
    chosen = [*header[:2], *wanted]
    names, x_LD, notes = reading.read_columns(path, text, chosen, missing != "error")
    unplaced = np.flatnonzero(np.isnan(x_LD[:, :2]).any(axis=1))
    if len(unplaced):
        raise DataError(
            f"{printable(source)}:{unplaced[0] + 2}:1: the number of the sequence or step is "
            "missing. Only values may be missing: correct the line, or delete it."
        )
    sequence_L, step_L = x_LD[:, 0], x_LD[:, 1]
    starts = np.flatnonzero(np.r_[True, sequence_L[1:] != sequence_L[:-1]])
    length = int(starts[1]) if len(starts) > 1 else len(x_LD)
    first_bad = np.flatnonzero(step_L != step_L[0] + np.arange(len(x_LD)) % length)
    irregular = np.flatnonzero(starts != np.arange(len(starts)) * length)
    lines = [int(i) for i in first_bad[:1]] + [int(starts[i]) for i in irregular[:1]]
    if len(x_LD) % length:
        lines.append(len(x_LD) - 1)
    labels, first_seen = np.unique(sequence_L[starts], return_index=True)
    if len(labels) < len(starts):
        again = np.setdiff1d(np.arange(len(starts)), first_seen)[0]
        lines.append(int(starts[again]))
    if lines:
        line = min(lines)
        raise DataError(
            f"{printable(source)}:{line + 2}:1: sequence {sequence_L[line]:g}, step "
            f"{step_L[line]:g} is out of place (expected {length} steps in every sequence, as in "
            "the first, each one more than the step before, and each sequence in one piece). Sort "
            "the lines by sequence and step, and make all sequences equally long."
        )
    if not wanted:
        raise DataError(f"{printable(source)}:1:1: no column after 'sequence,step'. Add one.")
    x_NTD = np.ascontiguousarray(x_LD[:, 2:]).reshape(len(starts), length, -1)
    table = _table(x_NTD, source, missing, names[2:])
    return dataclasses.replace(table, notes=notes + table.notes)


def split(
    sequences: Sequences, held_out: float = 0.1, validation: float = 0.1, seed: int = 88
) -> Split:
    """Training, validation and held-out parts.

    Windows of a series: by time, and windows that reach across a border are dropped, so that no
    value is in two parts. A table of sequences: at random.

    Args:
      sequences: from `load`.
      held_out: fraction for reports only, the last of a series, in (0, 0.5].
      validation: fraction for early stopping, the last of the rest, in (0, 0.5].
      seed: of the random choice.

    Raises:
      UsageError: a fraction outside its limits, or more than 0.8 together.
      DataError: a part would be empty.

    >>> {part: x.shape for part, x in vars(split(load("weather"))).items()}
    {'train_NTD': (1116, 20, 3), 'validation_NTD': (144, 20, 3), 'held_out_NTD': (144, 20, 3)}
    """
    for name, value in (("--held-out", held_out), ("--validation", validation)):
        if not 0 < value <= 0.5:
            raise UsageError(f"{name} {value:g} is impossible. It must be above 0, at most 0.5.")
    if held_out + validation > 0.8:
        raise UsageError(
            f"--held-out {held_out:g} and --validation {validation:g} leave less than a fifth to "
            "train on. Make one smaller."
        )
    x, windows = sequences.x_NTD, sequences.windows
    wanted = [max(1, round(fraction * len(x))) for fraction in (held_out, validation)]
    if sequences.starts_N is not None:
        windows = Windows(np.zeros(len(x), int), sequences.starts_N, 0)
    if windows is None:
        parts = _whole_series(np.arange(len(x)), wanted, seed)
    else:
        sizes = np.bincount(windows.series_N)
        many = len(sizes) >= MIN_SEQUENCES and sizes.max() <= min(wanted)
        whole = _whole_series(windows.series_N, wanted, seed)
        by_time = _by_time(windows, x.shape[1], held_out, validation)
        parts = (many and whole) or by_time or (2 * sizes.max() <= len(x) and whole) or None
    if not parts:
        n, steps, _ = x.shape
        raise DataError(
            f"{printable(sequences.source)}: {n} sequences of {steps} steps are too few to split: "
            "no sequence is left for training when those that share values with the validation and "
            "held-out parts are dropped. Use more data, a smaller --window, or smaller --held-out "
            "and --validation."
        )
    return Split(*(x[np.sort(part)] for part in parts))


Parts = list[np.ndarray]  # row numbers of the training, validation and held-out parts


def _whole_series(series_N: np.ndarray, wanted: Sequence[int], seed: int) -> Parts | None:
    """Whole series at random: as few as have the `wanted` rows, first held out; None where none is
    left to train on."""
    sizes = np.bincount(series_N)
    order = np.random.default_rng(seed).permutation(len(sizes))
    parts: Parts = []
    for count in wanted:
        number = int(np.searchsorted(np.cumsum(sizes[order[::-1]]), count)) + 1
        if number >= len(order):
            return None
        order, part = order[:-number], order[-number:]
        parts.insert(0, np.flatnonzero(np.isin(series_N, part)))
    return [np.flatnonzero(np.isin(series_N, order)), *parts]


def _by_time(windows: Windows, length: int, *fractions: float) -> Parts | None:
    """The end of each series held out, what is before it to validate, without windows that reach
    across a border; None where a part is empty. Series too short to be cut are trained on."""
    starts_N, one = windows.starts_N, windows.series_N.max() == 0
    parts: list[Parts] = [[], [], []]
    order = np.lexsort((starts_N, windows.series_N))
    for series in np.split(order, np.cumsum(np.bincount(windows.series_N))[:-1]):
        left, cut = series, list[np.ndarray]()
        for fraction in fractions:
            part = left[-max(1, round(fraction * len(series))) :]
            left = left[starts_N[left] + length <= starts_N[part[0]]]
            cut.insert(0, part)
            if len(left) == 0:
                break
        if len(left) > 0 and (one or len(series) >= MIN_SEQUENCES):
            for rows, each in zip(parts, [left, *cut], strict=True):
                rows.append(each)
        else:
            parts[0].append(series)
    return [np.concatenate(rows) for rows in parts] if all(parts) else None
