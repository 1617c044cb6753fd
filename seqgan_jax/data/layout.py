"""Sequences of any source: files, bundled sets, simulators, and what Python users have.

Shapes: N sequences, T steps of a sequence, D columns of the data, L steps of a long series. Data
are float64.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqgan_jax.config import DataConfig
from seqgan_jax.data import (
    arrays,
    categories,
    evidence,
    lengths,
    rows_or_series,
    sequences,
    shards,
    texts,
    windows,
)
from seqgan_jax.data import missing as gaps
from seqgan_jax.data.evidence import Wanted
from seqgan_jax.data.files import printable
from seqgan_jax.data.form import Form
from seqgan_jax.data.missing import Missing
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.sequences import MIN_SEQUENCES, MIN_STEPS, Sequences, Split, split
from seqgan_jax.data.windows import Cut, Duplicates
from seqgan_jax.data.writing import save_sequences
from seqgan_jax.errors import DataError, UsageError

__all__ = [
    "Scaler",
    "Sequences",
    "Split",
    "as_sequences",
    "default_names",
    "from_python",
    "load",
    "open_stream",
    "save_sequences",
    "split",
]

DEFAULT_FILE = Path("save/real_data.txt")
BUNDLED = {"weather": Path(__file__).with_name("bundled") / "seattle_weather.csv"}
TABLES = (".parquet", ".pq", ".xlsx", ".xlsm")
LAYOUTS = ("auto", "series", "rows", "long")
OF_FILES = frozenset(
    {"data", "features", "num_sequences", "memory", "buffer"}
)  # settings without x
OF_TABLES = frozenset({"columns", "id", "time", "label", "duplicates", "missing_values", "known"})
READING = OF_FILES | OF_TABLES | {"window", "stride", "missing", "limit", "layout", "calendar"}
Layout = Literal["auto", "series", "rows", "long"]


def load(
    source: str | None,
    *,
    window: int | None = None,
    stride: int = 1,
    columns: Sequence[str] | None = None,
    features: int | None = None,
    num_sequences: int = 10_000,
    missing: Missing = "model",
    layout: Layout = "auto",
    id: Sequence[str] = (),
    time: Sequence[str] = (),
    label: str = "",
    duplicates: Duplicates = "error",
    missing_values: Sequence[str] = (),
    limit: int | None = None,
    seed: int = 88,
    like: Form | None = None,
    known: Sequence[str] = (),
    calendar: str = "none",
) -> Sequences:
    """Sequences from a file, a bundled set or a simulator.

    A column of 2 to 50 words that repeat becomes one of codes 0, 1, ... of the words in their order
    (`form.columns[d].categories`). Arrays and lines of numbers hold such codes as they are.

    Files: text and CSV in any usual dialect, plain or .gz; .parquet, .xlsx; .npy or .npz of [N, T]
    or [N, T, D].

    Args:
      source: path; "weather"; a name of `simulators.NAMES`; None for save/real_data.txt where there
        is one, else the bundled set. A name goes before a file of that name: "./weather" is a file.
      window: T of the windows that are cut, and of a simulator; None for 20 of a series or
        simulator, and for whole sequences else.
      stride: steps from one window to the next.
      columns: that are learned, in the order wanted; none for all that hold numbers or categories.
      features: D, where a text file has one sequence a line.
      num_sequences: to draw from a simulator.
      missing: what becomes of missing values. "model": they stay, NaN, and are learned around;
        "error": refused; "drop": the sequences or windows
        that they are in are left out; "interpolate": filled in linearly inside a sequence or long
        series, with the nearest value at its ends.
      layout: "series": a line a step; "rows": a line a sequence; "long": a line a step of one of
        several sequences; "auto": by what is in the file.
      id: columns that name the sequence of a line.
      time: columns of the time index.
      label: a column of class labels; before a row that is a sequence it is left out.
      duplicates: what becomes of a time that is there twice.
      missing_values: tokens and numbers that mean a missing value, besides the usual ones.
      limit: longest gap, in steps, that "interpolate" fills in; None for 5.
      seed: of the simulator.
      like: the form of data that these are compared with, whose words have the same codes here.
      known: columns that are known in advance of each step: they are read, and not learned.
      calendar: "auto": where windows are cut from series with dates, their place in the calendar is
        known in advance; "none".

    Raises:
      DataError: the source is missing, it is not clear what is in it, or it has a word that `like`
        has not; says the place.
      UsageError: an argument that is impossible, or has no meaning for this source.

    >>> load("weather").x_NTD.shape
    (1442, 20, 5)
    """
    cut = Cut(window, stride, missing, limit, duplicates, tuple(missing_values), features or 1)
    _check(cut, layout, features)
    for name, value in (("columns", columns), ("id", id), ("time", time), ("known", known)):
        if isinstance(value, str):
            raise UsageError(f"{name} must be a list of names, not {value!r}. Write [{value!r}].")
    same = categories.like(like)
    wanted = Wanted(
        layout,
        tuple(id),
        tuple(time),
        label,
        tuple(columns or ()),
        same,
        known=tuple(known),
        calendar=calendar,
    )
    if source is None:
        source = str(DEFAULT_FILE) if DEFAULT_FILE.exists() else "weather"
    if source in BUNDLED:
        _no_features(features, source, "its columns have names")
        _only_series(wanted, source)
        found = _of_file(BUNDLED[source], wanted, cut, source)
        return dataclasses.replace(found, notes=())
    path = Path(source)
    suffix = path.suffix.lower()
    if os.path.isdir(source) and (found_files := shards.find(source)):
        return _of_folder(found_files, wanted, cut, source)
    if not suffix and "/" not in source:  # the name of a simulator? JAX is only needed here
        from seqgan_jax.processes import simulators

        if source in simulators.NAMES:
            _no_columns(columns, source, "only a table with a header has column names")
            _no_features(features, source, "it has its own")
            _only_series(wanted, source)
            return _simulate(source, window or windows.WINDOW, num_sequences, seed)
        if not path.exists():
            raise DataError(
                f"{printable(source)}: there is no such file, bundled set or simulator. Bundled: "
                f"{', '.join(BUNDLED)}; simulators: {', '.join(simulators.NAMES)}."
            )
    if suffix in (".npy", ".npz"):
        _no_columns(columns, source, "it has no column names")
        _no_features(features, suffix, "save an array [N, T, D]")
        may_miss = missing != "error"
        return _of_array(arrays.read_array(path, may_miss), wanted, cut, "npy", source)
    texts.refuse_by_name(path)
    if suffix in TABLES:
        _no_features(features, suffix, "its columns have names")
    return _of_file(path, wanted, cut, source)


def of_settings(settings: DataConfig, seed: int) -> Sequences:
    """`load` by the settings of a run, of what is read at once."""
    source = dataclasses.asdict(settings)
    later = ("log", "bounds", "kind", "static", "rule", "rules")
    for name in ("held_out", "validation", "data_seed", "memory", "buffer", *later):
        del source[name]
    columns = settings.columns or None
    return load(source.pop("data"), **source | {"columns": columns}, seed=seed)


def _check(cut: Cut, layout: str, features: int | None) -> None:
    """Refuse values that are impossible."""
    for name, value, least in (
        ("--window", cut.window, MIN_STEPS),
        ("--stride", cut.stride, 1),
        ("--features", features, 1),
        ("--limit", cut.limit, 1),
    ):
        if value is not None and value < least:
            raise UsageError(f"{name} {value} is too small. It must be at least {least}.")
    for name, chosen, choices in (
        ("--missing", cut.missing, gaps.MODES),
        ("--layout", layout, LAYOUTS),
        ("--duplicates", cut.duplicates, ("error", "first", "last", "mean")),
    ):
        if chosen not in choices:
            raise UsageError(f"{name} {chosen!r} is unknown. Choose {' or '.join(choices)}.")
    if cut.missing_values and cut.missing == "error" and _are_declared(cut.missing_values):
        raise UsageError(
            "--missing-values says which values are missing, and --missing error refuses them. "
            "Leave one out, or say --missing model, drop or interpolate."
        )
    windows.limit_of(cut)


def _are_declared(tokens: Sequence[str]) -> bool:
    """Whether any of the tokens is not missing anyway."""
    return not all(gaps.is_missing(token) for token in tokens)


def _of_file(path: Path, wanted: Wanted, cut: Cut, source: str) -> Sequences:
    """Sequences of a text, CSV, .parquet or .xlsx file."""
    from seqgan_jax.data import tables

    table = tables.read(path, cut.missing_values)
    if table.source == "text" and not table.has_names:
        _no_columns(wanted.columns, source, "only a table with a header has column names")
    if cut.features > 1 and wanted.layout == "auto" and not table.has_names:
        wanted = dataclasses.replace(wanted, layout="rows")  # --features says so
    found = windows.build(table, evidence.read(table, wanted), cut)
    return dataclasses.replace(found, source=source)


def _of_folder(paths: tuple[Path, ...], wanted: Wanted, cut: Cut, source: str) -> Sequences:
    """The .npy or .parquet files of a folder as one."""
    _no_features(cut.features, paths[0].suffix, "save an array [N, T, D]")
    if paths[0].suffix == ".npy":
        _no_columns(wanted.columns, ".npy", "it has no column names")
        shards.open_shards(paths)  # all of one shape
        parts = [arrays.read_array(each, cut.missing != "error") for each in paths]
        return _of_array(np.concatenate(parts), wanted, cut, "npy", source)
    import pandas as pd

    from seqgan_jax.data import tables

    frames = [tables.frame_of_parquet(each) for each in paths]
    for path, frame in zip(paths, frames, strict=True):
        if list(frame.columns) != list(frames[0].columns):
            raise DataError(
                f"{printable(path)}: its columns are not those of {printable(paths[0])}. All "
                "files of a folder must have the same columns."
            )
    together = pd.concat(frames, ignore_index=True)
    table = tables.of_frame(together, "parquet", printable(source), cut.missing_values)
    found = windows.build(table, evidence.read(table, wanted), cut)
    return dataclasses.replace(found, source=source)


def _of_array(
    x_NTD: np.ndarray,
    wanted: Wanted,
    cut: Cut,
    source: str,
    shown: str,
    steps_N: np.ndarray | None = None,
) -> Sequences:
    """Sequences [N, T, D] of an array, or of the long series [L, D] that it holds.

    `steps_N`: their lengths, where they are known to be unequal; NaN after their ends.
    """
    _only_series(wanted, shown)
    if cut.missing_values:
        raise UsageError(
            f"--missing-values has no meaning for {printable(shown)}: in an array a missing value "
            "is NaN. Set it so: x[x == -200] = numpy.nan."
        )
    if wanted.layout == "long":
        raise UsageError(
            f"--layout long has no meaning for {printable(shown)}: an array has no column that "
            "names a sequence. Give a DataFrame or a table."
        )
    if steps_N is None and np.isnan(x_NTD[:, -1]).any():
        steps_N = lengths.ends_in_nothing(x_NTD)
    if steps_N is not None:
        wanted = dataclasses.replace(wanted, layout="rows")
    n, steps, num_features = x_NTD.shape
    is_flat = num_features == 1
    if wanted.layout == "auto" and is_flat and rows_or_series.asks_for_series(x_NTD[..., 0]):
        raise DataError(
            f"{printable(shown)}: has shape {[n, steps]}: its rows follow each other smoothly and "
            "its columns have different scales, as in one long series with a step in each row. If "
            "it is: --layout series (from Python layout='series'), which cuts windows. If each row "
            f"is a sequence of {steps} steps: --layout rows, or x[:, :, None]."
        )
    if wanted.layout == "auto" and rows_or_series.is_channels_first(x_NTD):
        raise DataError(
            f"{printable(shown)}: has shape {[n, steps, num_features]}, as if it were [N, channels,"
            " steps]. If it is: x.transpose(0, 2, 1), or numpy.swapaxes. If it is [N, T, D], with "
            f"{steps} steps of {num_features} features: --layout rows (from Python layout='rows')."
        )
    if wanted.layout == "series":
        if not is_flat:
            raise UsageError(
                f"--layout series has no meaning for {printable(shown)}, which has three axes. "
                "Give [L, D], or leave it out."
            )
        from seqgan_jax.data import tables

        table = tables.of_array(x_NTD[..., 0], source, printable(shown))
        found = windows.build(table, evidence.read(table, wanted), cut)
        return dataclasses.replace(found, source=shown)
    remedy = "One long series [L, D]: --layout series."
    if steps == 1 and num_features > 1:
        remedy = "If it is [N, 1, T], take its one channel: x[:, 0]. " + remedy
    names = default_names(num_features)
    found = windows.of_array(x_NTD, printable(shown), names, cut, steps_N, remedy)
    form = Form(source, "rows", windows.described(x_NTD, names), names, (), None, (), "", ".")
    return dataclasses.replace(found, source=shown, form=form)


def _only_series(wanted: Wanted, source: str) -> None:
    """Refuse flags of tables where there is none."""
    for flag, value in (
        ("--id", wanted.ids),
        ("--time", wanted.time),
        ("--label", wanted.label),
        ("--known", wanted.known),
    ):
        if value:
            raise UsageError(
                f"{flag} has no meaning for {printable(source)}: it names a column of a table, "
                "such as a .csv or DataFrame. Leave it out."
            )


# ------------------------------------------------------------------ from Python


def from_python(
    x: Any,
    settings: DataConfig,
    given: frozenset[str] = frozenset(),
    id: str | Sequence[str] | None = None,
    time: str | Sequence[str] | None = None,
    like: Form | None = None,
) -> Sequences:
    """What Python users have, as sequences.

    Args:
      x: an array [N, T], [N, T, D] or [L]; a DataFrame or Series of pandas, or what becomes one by
        `to_pandas()`; a list of them, one a sequence; a dict of columns; anything that numpy makes
        an array of.
      settings: how it is read.
      given: names of the settings that were given, which are refused where they have no meaning.
      id: column or columns of a table that name the sequence; goes before the setting.
      time: column or columns of the time index; goes before the setting.
      like: the form of data that these are compared with, whose words have the same codes here.

    Raises:
      DataError: it cannot be read, or not without being asked about.
      UsageError: a setting that has no meaning for x.

    >>> from_python(np.random.default_rng(0).normal(size=(50, 8)), DataConfig()).x_NTD.shape
    (50, 8, 1)
    """
    if meaningless := sorted(given & OF_FILES):
        raise UsageError(
            f"{', '.join(meaningless)}: settings of how a file is read, which have no meaning for "
            "x. Leave them out, and give fit the sequences as they are to be learned."
        )
    ids = tuple(settings.id) if id is None else (id,) if isinstance(id, str) else tuple(id)
    times = (
        tuple(settings.time) if time is None else (time,) if isinstance(time, str) else tuple(time)
    )
    if not ids and _is_ragged(x) and all(hasattr(each, "iloc") for each in x):
        ids = ("sequence",)  # which `frame_of` numbers
    wanted = Wanted(
        settings.layout,
        ids,
        times,
        settings.label,
        tuple(settings.columns),
        categories.like(like),
        known=tuple(settings.known),
        calendar=settings.calendar,
    )
    cut = dataclasses.replace(Cut.of(settings), features=1)  # of text alone
    _check(cut, wanted.layout, None)
    frame = frame_of(x)
    if frame is not None:
        from seqgan_jax.data import tables

        table = tables.of_frame(frame, "frame", "x", cut.missing_values)
        found = windows.build(table, evidence.read(table, wanted), cut)
        if found.form is None:
            return found
        # What is in the index is in none of its columns: samples have it in their index.
        order = found.form.order[len(table.columns) - frame.shape[1] :]
        form = dataclasses.replace(found.form, order=order)
        return dataclasses.replace(found, source="frame", form=form)
    named = given & OF_TABLES | ({"id"} if ids else set()) | ({"time"} if times else set())
    if named:
        raise UsageError(
            f"{', '.join(sorted(named))}: settings of tables with named columns, which have no "
            f"meaning for x, a {type(x).__name__}. Leave them out, or give a DataFrame."
        )
    if isinstance(x, str | os.PathLike):
        raise DataError(
            f"x is a path, {printable(os.fspath(x))!r}, and values are wanted. Give what is in it: "
            "pandas.read_csv(path) or numpy.load(path); or train from the command line: --data."
        )
    steps_N = np.array([len(each) for each in x]) if _is_ragged(x) else None
    may_miss = cut.missing != "error" or steps_N is not None
    array = arrays.as_array(one_array(x), may_miss=may_miss, may_be_flat=True)
    if array.ndim == 1:
        if wanted.layout not in ("auto", "series"):
            raise UsageError(f"layout={wanted.layout!r} has no meaning for [L], one long series.")
        wanted, array = dataclasses.replace(wanted, layout="series"), array[:, None, None]
    if steps_N is None and np.ndim(x) == 3 and array.shape[2] == 1 and wanted.layout == "auto":
        wanted = dataclasses.replace(wanted, layout="rows")  # [N, T, 1] is said, not seen
    found = _of_array(array, wanted, cut, "array", "x", steps_N)
    return dataclasses.replace(found, source="array")


def as_sequences(x: Any, like: Form | None = None) -> Sequences:
    """An array [N, T] or [N, T, D], or whatever `from_python` takes, with default settings."""
    return from_python(x, DataConfig(), like=like)


def frame_of(x: Any) -> Any:
    """x as a DataFrame where it is a table, else None."""
    if isinstance(x, Sequences):
        return None
    is_table = type(x).__module__.partition(".")[0] == "pandas" or hasattr(x, "to_pandas")
    is_list = isinstance(x, list | tuple) and x and all(hasattr(each, "iloc") for each in x)
    if not (is_table or is_list or isinstance(x, dict)):
        return None
    import pandas as pd

    try:
        if isinstance(x, dict):
            return pd.DataFrame(x)
        if is_list:
            return (
                pd.concat(
                    [each.reset_index() if not _counts(each) else each for each in x],
                    keys=range(len(x)),
                    names=["sequence"],
                )
                .reset_index("sequence")
                .reset_index(drop=True)
            )
        x = x.to_pandas() if hasattr(x, "to_pandas") else x
        if isinstance(x, pd.Series):
            return x.to_frame("x" if x.name is None else x.name)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"x, a {type(x).__name__}, cannot be read as a table: {error}. Give columns of one "
            "length."
        ) from error
    if not isinstance(x, pd.DataFrame):
        raise DataError(
            f"x is a {type(x).__name__}, which is no table of columns. Give a table or an array."
        )
    return x


def _counts(frame: Any) -> bool:
    """Whether the index of a frame only counts."""
    import pandas as pd

    return isinstance(frame.index, pd.RangeIndex)


def one_array(x: Any) -> Any:
    """x, or an error in words for what numpy would misread; NaN after the ends of a list's, and
    where values are missing."""
    if hasattr(x, "__next__"):
        raise DataError(f"x is a {type(x).__name__}, which can be read once. Give list(x).")
    if not _is_ragged(x):
        return x
    parts = [arrays.as_array(_masked(each)[None], "x", may_miss=True) for each in x]
    if len({part.shape[2] for part in parts}) > 1:
        raise DataError("x: arrays [T, D] of different numbers of columns D. Give all the same.")
    return lengths.padded([part[0] for part in parts])


def _masked(x: Any) -> Any:
    return x if np.ma.isMaskedArray(x) else np.asarray(x)


def _is_ragged(x: Any) -> bool:
    """Whether x is a list of arrays of unequal length, one a sequence."""
    is_list = isinstance(x, list | tuple) and x and all(np.ndim(each) for each in x)
    return bool(is_list and len({len(each) for each in x}) > 1)


# ------------------------------------------------------------------ streams and simulators


def open_stream(settings: DataConfig) -> shards.Shards | None:
    """The .npy, or folder of .npy or .parquet, larger than `memory`; None where `load` reads it.

    Raises DataError and UsageError as `load` does.
    """
    paths = shards.find(settings.data or "")
    if not paths:
        return None
    packed = paths[0].suffix.lower() == ".parquet"  # by any factor
    if not packed and sum(path.stat().st_size for path in paths) < 1e8 * settings.memory:
        return None  # float64 takes at most 8 times what is in the files
    if packed and _parquet_bytes(paths) <= 1e9 * settings.memory:
        return None
    opened = shards.open_shards(paths, settings.columns)
    if opened.num_bytes <= 1e9 * settings.memory:
        return None
    if settings.missing not in ("model", "error"):
        raise UsageError("--missing: streamed data must be complete. Fill them in before.")
    for name, why in (
        ("window", "save sequences as they are to be learned"),
        ("id", "a row is a sequence"),
        ("time", "a row is a sequence"),
        ("label", "--columns leaves it out"),
        ("missing_values", "streamed data must be complete"),
        ("known", "all of a row is learned"),
    ):
        if getattr(settings, name):
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} has no meaning for data that are streamed: {why}.")
    if settings.layout not in ("auto", "rows"):
        raise UsageError(
            f"--layout {settings.layout} has no meaning for data that are streamed: a row is a "
            "sequence. Make --memory larger, or cut the windows before."
        )
    if paths[0].suffix == ".npy":
        _no_columns(settings.columns, ".npy", "it has no column names")
    _no_features(settings.features, paths[0].suffix, "save an array [N, T, D] as .npy")
    return opened


def _parquet_bytes(paths: Sequence[Path]) -> int:
    """What .parquet files take in memory, as float64."""
    from seqgan_jax.data import tables

    headers = [tables.parquet_header(path) for path in paths]
    return sum(8 * len(names) * sum(groups) for names, _, groups in headers)


def _no_columns(columns: Sequence[str] | None, source: str, why: str) -> None:
    if columns:
        raise UsageError(f"--columns has no meaning for {printable(source)}: {why}.")


def _no_features(features: int | None, source: str, why: str) -> None:
    if (features or 1) > 1:
        raise UsageError(f"--features has no meaning for {printable(source)}: {why}.")


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
    process = simulators.get(name, length=window)
    x = process.exact(process.sample(jax.random.key(seed), num_sequences))
    return sequences.of_table(x, name, tuple(column.name for column in process.columns))


def default_names(num_features: int) -> tuple[str, ...]:
    """Names for columns that have none.

    >>> default_names(1), default_names(2)
    (('x',), ('x1', 'x2'))
    """
    return ("x",) if num_features == 1 else tuple(f"x{d + 1}" for d in range(num_features))
