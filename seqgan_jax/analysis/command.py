"""What `seqgan analyze` does with its flags: find the two files, compare, write, judge.

Nothing heavy is imported before it is needed: mistakes in flags are answered at once.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgan_jax.analysis.catalogue import CATALOGUE
from seqgan_jax.data import files
from seqgan_jax.data.files import printable
from seqgan_jax.errors import CheckpointError, DataError, SeqGANError, UsageError
from seqgan_jax.run import directory

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report
    from seqgan_jax.data.layout import Sequences

READING = (  # flags of how a file is read
    *("window", "stride", "features", "layout", "id", "time"),
    *("duplicates", "missing", "missing_values", "limit"),
)
SCORES = ("discriminative", "predictive", "context_fid")


def compare(
    real_path: str | None,
    generated_path: str | None,
    train_path: str | None,
    run_dir: Path,
    reading: Mapping[str, Any],
    **how: Any,
) -> "Report":
    """The report on two files; with exact gaps where they are a run's whose process is known.

    Args:
        real_path, generated_path: the files; None for those of the run.
        train_path: the training sequences, to judge memorisation; None for those of the run, where
            they can be read again.
        run_dir: the run.
        reading: arguments of `read`.
        how: seed, max_sequences, scores, repeats, label, ends, progress, as of `analyze`; without a
            label the run's, and without `ends` whether the run's sequences end.

    Raises CheckpointError where the run is asked for and not there, DataError.
    """
    from seqgan_jax.analysis import exact
    from seqgan_jax.analysis.compare import analyze
    from seqgan_jax.data import arrays
    from seqgan_jax.data.layout import Sequences, default_names

    description: dict[str, Any] = {}
    form, rules, label = None, None, ""
    if real_path is None or generated_path is None:
        if not run_dir.is_dir():
            raise CheckpointError(
                f"{run_dir}: there is no run directory. Train first (python train.py), or name "
                "another with --run-dir, or two files with --real and --generated."
            )
        description = directory.data_of(run_dir)
        form, rules = directory.form_of(run_dir), directory.rules_of(run_dir)
        label = directory.label_of(run_dir)
    sources = (
        real_path or _run_file(run_dir, "held_out.npy", "--real"),
        generated_path or _run_file(run_dir, "final_samples.txt", "--generated"),
    )
    names = description.get("names")
    features = reading["features"] or description.get("features")

    def sample(path: str | None, source: str, window: int | None = None) -> "Sequences":
        if path is not None:
            return read(path, **{**reading, "window": reading["window"] or window}, like=form)
        if source.endswith(".npy"):  # as the run wrote it, however few and short they are
            x_NTD = arrays.read_array(Path(source), may_miss=True)
            own = Sequences(x_NTD, default_names(x_NTD.shape[2]), source)
        else:
            own = read(source, layout="rows", features=features)
        if names is None or len(names) != own.x_NTD.shape[2]:
            return own
        return dataclasses.replace(own, names=tuple(names), form=form)

    reading = {**reading, "features": features}
    if real_path is not None and form is None:
        # Words of the generated data have the codes of the real data's.
        form = read(real_path, **{**reading, "window": reading["window"] or 2}).form
    generated = sample(generated_path, sources[1])
    steps = None if generated.ends else generated.x_NTD.shape[1]
    real = sample(real_path, sources[0], steps)
    if real_path is None:
        source = printable(str(description.get("source")))
        check_held_out(real, str(run_dir), f"--real {source}")
    train = None if train_path is None else sample(train_path, train_path, steps)
    if real_path is None and train is None:
        train = training_part(run_dir, real)
    ends = directory.ends_of(run_dir) if description else None
    label, ends = how.pop("label", "") or label, how.pop("ends", ends)
    report = analyze(real, generated, train=train, rules=rules, label=label, ends=ends, **how)
    found = dict(report.metrics)
    complete = not np.isnan(real.x_NTD).any()  # densities are of whole sequences
    if real_path is None and generated_path is None and complete:
        source = str(description.get("source", ""))
        found |= exact.metrics(run_dir, source, real.x_NTD, how["seed"])
    return dataclasses.replace(report, metrics=found, sources=sources)


def check_held_out(real: "Sequences", where: str, all_data: str) -> None:
    """Raise DataError where too few sequences were held out for figures.

    `all_data` is how all of them are compared with.
    """
    from seqgan_jax.analysis.compare import LEAST_SEQUENCES

    if len(real.x_NTD) < LEAST_SEQUENCES:
        raise DataError(
            f"{where}: {len(real.x_NTD)} sequences were held out, and figures need at least "
            f"{LEAST_SEQUENCES}. Compare with all data, of which most were trained on: "
            f"{all_data}; or train with a larger --held-out."
        )


def training_part(run_dir: Path, held_out: "Sequences") -> "Sequences | None":
    """What a run was trained on, read and split again; None where that is not the same any more.

    It is the same where its held-out part is that of the run.
    """
    from seqgan_jax import config
    from seqgan_jax.data import layout, lengths
    from seqgan_jax.data.sequences import rows_of

    try:
        settings = config.from_flat(directory.read_config(run_dir)["settings"])
        data, seed = settings.data, settings.run.seed
        if layout.open_stream(data) is not None:
            return None
        seed = seed if data.data_seed is None else data.data_seed
        sequences = layout.of_settings(data, seed)
        rows = rows_of(sequences, data.held_out, data.validation, seed)
    except (SeqGANError, OSError, KeyError, TypeError, ValueError):  # moved, changed, or damaged
        return None
    own_NTD = sequences.x_NTD[rows[2]]
    own_NTD = lengths.trimmed(own_NTD) if sequences.ends else own_NTD
    if not np.array_equal(own_NTD, held_out.x_NTD, equal_nan=True):
        return None
    given = sequences.given and sequences.given[rows[0]]
    x_NTD = sequences.x_NTD[rows[0]]
    return dataclasses.replace(held_out, x_NTD=x_NTD, windows=None, starts_N=None, given=given)


def _run_file(run_dir: Path, name: str, flag: str) -> str:
    path = run_dir / name
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: the run has not come that far, or was made by something else. "
            f"Finish it (python train.py --resume --run-dir {run_dir}) or name a file with {flag}"
        )
    return str(path)


def read(source: str, **reading: Any) -> "Sequences":
    """Sequences from a file, with those of the settings that have a meaning for its format.

    `window` is for tables: each line of another file is a sequence, unless `layout` says series.
    """
    from seqgan_jax.data import layout

    suffixes = [each for each in Path(source).suffixes if each.lower() != ".gz"] or [""]
    suffix = suffixes[-1].lower()
    is_array = suffix in (".npy", ".npz") or Path(source).is_dir()
    is_table = source in layout.BUNDLED or suffix in (".csv", ".tsv", *layout.TABLES)
    without = layout.OF_TABLES if is_array else frozenset()
    without |= {"features"} if is_array or is_table else {"columns"}
    if not is_table and reading.get("layout") not in ("series", "long"):
        without |= {"window", "stride"}
    return layout.load(source, **{k: v for k, v in reading.items() if k not in without})


def parse_scores(text: str) -> tuple[str, ...]:
    """Names of published scores from --scores, or UsageError."""
    names = {name.strip().replace("-", "_") for name in text.split(",") if name.strip()}
    if wrong := sorted(names - {*SCORES, "default", "all"}):
        raise UsageError(
            f"--scores: {wrong[0]!r} is unknown; there are {', '.join(SCORES)} and all"
        )
    return tuple(name for name in SCORES if {name, "all"} & names)


def parse_limits(items: Sequence[str]) -> dict[str, float]:
    """Limits from --fail-over METRIC=VALUE ..., or UsageError."""
    limits = {}
    for item in (part for text in items for part in text.split(",") if part):
        name, _, value = item.partition("=")
        name = name.strip().replace("-", "_")
        if name not in CATALOGUE:
            raise UsageError(
                f"--fail-over: there is no figure {name!r}; there are {', '.join(CATALOGUE)}"
            )
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--fail-over {item}: {value!r} is not a number; write {name}=0.05, for example"
            ) from None
    return limits


def over_limits(report: "Report", limits: Mapping[str, float]) -> list[str]:
    """A line for each figure that is on the wrong side of its limit."""
    lines = []
    for name, limit in limits.items():
        if name not in report.metrics:
            raise UsageError(
                f"--fail-over {name}: this figure was not computed "
                "(it needs --scores, more than one feature, or more than one step)"
            )
        value, higher = report.metrics[name].value, CATALOGUE[name].higher_is_better
        if not (value >= limit if higher else value <= limit):  # so that NaN is over every limit
            lines.append(f"{name} = {value:.6g} is {'under' if higher else 'over'} {limit:g}")
    return lines


def write(
    report: "Report", folder: Path, prefix: str, *, plots: bool = True, map_by: str = "pca"
) -> list[Path]:
    """Write the report's files and return their paths; DiskError where that fails."""
    contents = {
        f"{prefix}_metrics.txt": report.to_text().encode(),
        f"{prefix}_metrics.json": report.to_json().encode(),
    }
    if plots:
        pictures = {name: png(figure) for name, figure in report.figures().items()}
        contents |= {f"{prefix}_{name}.png": picture for name, picture in pictures.items()}
        contents[f"{prefix}_report.html"] = report.to_html(pictures, map_by).encode()
    files.make_directory(folder)
    for name, content in contents.items():
        files.write_bytes(folder / name, content)
    return [folder / name for name in contents]


def png(figure: Any) -> bytes:
    """A figure as a PNG file in memory."""
    from seqgan_jax.analysis import plots

    buffer = io.BytesIO()
    plots.save(figure, buffer)
    return buffer.getvalue()


def training_picture(run_dir: Path, folder: Path) -> list[Path]:
    """training_metrics.png in `folder`, from the metrics.jsonl of a run; none where it has none."""
    from seqgan_jax.analysis import plots

    rows, path = directory.read_metrics(run_dir), folder / "training_metrics.png"
    if not rows:
        return []
    files.write_bytes(path, png(plots.training_metrics(rows)))
    return [path]
