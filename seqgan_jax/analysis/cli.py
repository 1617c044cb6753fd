"""The command line of the analysis: `python analyze.py`, `seqgan analyze`."""

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from seqgan_jax.data.files import printable, printable_lines
from seqgan_jax.errors import CheckpointError, SeqGANError, UsageError

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report
    from seqgan_jax.data.layout import Sequences

OVER_LIMIT = 1
DESCRIPTION = """Compare generated sequences with real ones.

Writes PREFIX_metrics.txt, PREFIX_metrics.json, PREFIX_distributions.png, PREFIX_temporal.png and
PREFIX_report.html into the output directory; inputs are never modified. Without --real and
--generated: the last run (--run-dir), its held-out part against its final samples.

Exit codes: 0 fine, 1 a limit of --fail-over is exceeded, 2 usage, 3 data, 5 disk, 6 run directory.
"""


@dataclass(frozen=True)
class Options:
    """Options of the analysis; paths are read as train.py reads them."""

    real: str | None = None
    """Real sequences: .txt, .csv, .npy, .npz. Default: held_out.npy of the run."""
    generated: str | None = None
    """Generated sequences, in any of these formats. Default: final_samples.txt of the run."""
    train: str | None = None
    """Training sequences, to judge memorisation; then --real must be held out."""
    run_dir: Annotated[str, tyro.conf.arg(aliases=["--run"])] = "save"
    """Run directory that stands in for --real or --generated where they are not given."""
    output_dir: str = "./analysis_results"
    """Where the results are written; made if missing."""
    prefix: str = "analysis"
    """First part of the names of the files written."""
    plots: bool = True
    """Draw the pictures and the HTML report. --no-plots: metrics only."""
    scores: str = "default"
    """Published scores to compute as well, separated by commas: discriminative, predictive,
    context_fid, or all. They take from seconds to minutes."""
    fail_over: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="METRIC=VALUE"), tyro.conf.UseAppendAction
    ] = ()
    """Exit with 1 if a figure is over its limit (precision, recall, coverage: under), for use in
    scripts: --fail-over ks=0.05 --fail-over coverage=0.9. Names: as in PREFIX_metrics.json."""
    window: int = 20
    """Steps in a window, where a file holds one long series (.csv)."""
    stride: int = 1
    """Steps between windows, where a file holds one long series (.csv)."""
    columns: str | None = None
    """Columns of a .csv to use, separated by commas. Default: all."""
    features: int | None = None
    """Features a step, where a text file holds more than one: values are step after step."""
    missing: Literal["error", "drop", "interpolate"] = "error"
    """Missing values in a file: as train.py --missing."""
    max_sequences: int = 20_000
    """Sequences of each kind that are used; more are thinned out at random."""
    repeats: int = 5
    """Repeats (seeds) of each published score."""
    seed: int = 0
    """Seed of the random halves, resamples and published scores."""
    quiet: bool = False
    """Print nothing but errors."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: Sequence[str] | None = None, *, prog: str = "analyze.py") -> int:
    """Run the analysis with these arguments (default: sys.argv) and return the exit code."""
    # Many small products: more threads than one slow them down, most of all on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        options = tyro.cli(
            Options, prog=prog, description=DESCRIPTION, args=argv, use_underscores=False
        )
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        return run(options)
    except SeqGANError as error:
        if options.debug:
            raise
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing more was written", file=sys.stderr)
        return 130


def run(options: Options) -> int:
    """Read, compare, write; the exit code is 1 if a limit of --fail-over is exceeded."""
    from seqgan_jax.analysis.catalogue import CATALOGUE

    limits = parse_limits(options.fail_over, tuple(CATALOGUE))
    scores = parse_scores(options.scores)
    if options.window < 1 or options.stride < 1 or options.repeats < 1:
        raise UsageError("--window, --stride and --repeats must be at least 1")
    if Path(options.prefix).name != options.prefix:
        raise UsageError(
            f"--prefix {options.prefix!r} is no plain name; use --output-dir for paths"
        )
    report, run_dir = _report(options, scores)
    written = write(report, Path(options.output_dir), options.prefix, plots=options.plots)
    if options.plots and run_dir is not None:
        written += _training_picture(run_dir, Path(options.output_dir))
    if not options.quiet:
        print(f"{report.verdict.upper()}: {report.headline}")
        for line in (*report.reasons(), *(f"note: {note}" for note in report.notes)):
            print(f"  {printable(line)}")
        print("written: " + ", ".join(map(printable, written)))
    return check_limits(report, limits)


def _report(options: Options, scores: tuple[str, ...]) -> "tuple[Report, Path | None]":
    from seqgan_jax.analysis.compare import analyze
    from seqgan_jax.run import directory

    run_dir, description = None, {}
    if options.real is None or options.generated is None:
        run_dir = Path(options.run_dir)
        if not run_dir.is_dir():
            raise CheckpointError(
                f"{run_dir}: there is no run directory. Train first (python train.py), or name "
                "another with --run-dir, or two files with --real and --generated."
            )
        description = directory.data_of(run_dir)
    real_path = options.real or str(run_file(run_dir, "held_out.npy", "--real"))
    generated_path = options.generated or str(run_file(run_dir, "final_samples.txt", "--generated"))
    real = read(real_path, options, description.get("features"))
    generated = read(generated_path, options, description.get("features"))
    train = None
    if options.train is not None:
        train = read(options.train, options, description.get("features")).x_NTD
    names = description.get("names")
    tell = None if options.quiet else _progress()
    report = analyze(
        real.x_NTD,
        generated.x_NTD,
        train=train,
        names=names if names and len(names) == real.x_NTD.shape[2] else real.names,
        seed=options.seed,
        max_sequences=options.max_sequences,
        scores=scores,
        repeats=options.repeats,
        progress=tell,
    )
    found = dict(report.metrics)
    if run_dir is not None and options.real is None and options.generated is None:
        from seqgan_jax.analysis import exact

        source = str(description.get("source", ""))
        found |= exact.metrics(run_dir, source, real.x_NTD, options.seed)
    report = dataclasses.replace(report, metrics=found, sources=(real_path, generated_path))
    return report, run_dir


def read(source: str, options: Options, features: int | None) -> "Sequences":
    """Sequences from a file, with those of the options that have a meaning for its format."""
    from seqgan_jax.data import layout

    suffix = Path(source).suffix.lower()
    columns = tuple(c.strip() for c in (options.columns or "").split(",") if c.strip())
    table = suffix == ".csv" or source in layout.BUNDLED
    text = suffix not in (".csv", ".npy", ".npz") and Path(source).exists()
    return layout.load(
        source,
        window=options.window,
        stride=options.stride,
        columns=columns if table else None,
        features=(options.features or features) if text else None,
        missing=options.missing,
    )


def _progress() -> Callable[[str, float], None]:
    """A line on stderr for each new stage; on a terminal one line that is overwritten."""
    state: dict[str, Any] = {"what": "", "time": 0.0}
    terminal = sys.stderr.isatty()

    def tell(what: str, share: float) -> None:
        now = time.monotonic()
        if what == state["what"] and now - state["time"] < (0.2 if terminal else 5.0):
            return
        state["what"], state["time"] = what, now
        if terminal:
            filled = round(30 * share)
            print(f"\r[{'#' * filled}{'.' * (30 - filled)}] {what:<40}", end="", file=sys.stderr)
            if share >= 1:
                print("\r" + " " * 75 + "\r", end="", file=sys.stderr)
            sys.stderr.flush()
        else:
            print(f"{share:4.0%} {what}", file=sys.stderr, flush=True)

    return tell


def run_file(run_dir: Path | None, name: str, flag: str) -> Path:
    """A file of the run, or CheckpointError with what to do."""
    assert run_dir is not None
    path = run_dir / name
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing: the run has not come that far, or was made by something else. "
            f"Finish it (python train.py --resume --run-dir {run_dir}) or name a file with {flag}"
        )
    return path


def parse_scores(text: str) -> tuple[str, ...]:
    """Names of published scores from --scores, or UsageError."""
    known = ("discriminative", "predictive", "context_fid")
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    if "all" in names:
        return known
    wrong = [name for name in names if name not in (*known, "default")]
    if wrong:
        raise UsageError(f"--scores: {wrong[0]!r} is unknown; there are {', '.join(known)} and all")
    return tuple(name for name in known if name in names)


def parse_limits(items: Sequence[str], known: Sequence[str]) -> dict[str, float]:
    """Limits from --fail-over METRIC=VALUE ..., or UsageError."""
    limits = {}
    for item in (part for text in items for part in text.split(",") if part):
        name, _, value = item.partition("=")
        name = name.strip().replace("-", "_")
        if name not in known:
            raise UsageError(
                f"--fail-over: there is no figure {name!r}; there are {', '.join(known)}"
            )
        try:
            limits[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--fail-over {item}: {value!r} is not a number; write {name}=0.05, for example"
            ) from None
    return limits


def check_limits(report: "Report", limits: dict[str, float]) -> int:
    """1 if any figure is on the wrong side of its limit (each is named on stderr), else 0."""
    from seqgan_jax.analysis.catalogue import CATALOGUE

    code = 0
    for name, limit in limits.items():
        if name not in report.metrics:
            raise UsageError(
                f"--fail-over {name}: this figure was not computed "
                "(it needs --scores, more than one feature, or more than one step)"
            )
        value = report.metrics[name].value
        higher = CATALOGUE[name].higher_is_better
        if not (value >= limit if higher else value <= limit):
            word = "under" if higher else "over"
            print(f"fail: {name} = {value:.6g} is {word} {limit:g}", file=sys.stderr)
            code = OVER_LIMIT
    return code


def write(report: "Report", directory: Path, prefix: str, *, plots: bool = True) -> list[Path]:
    """Write the report's files and return their paths; DiskError where that fails."""
    from seqgan_jax.data import files

    contents: dict[str, bytes] = {
        f"{prefix}_metrics.txt": report.to_text().encode(),
        f"{prefix}_metrics.json": report.to_json().encode(),
    }
    if plots:
        pictures = pngs(report)
        contents |= {f"{prefix}_{name}.png": picture for name, picture in pictures.items()}
        contents[f"{prefix}_report.html"] = report.to_html(pictures).encode()
    files.make_directory(directory)
    for name, content in contents.items():
        files.write_bytes(directory / name, content)
    return [directory / name for name in contents]


def pngs(report: "Report") -> dict[str, bytes]:
    """The report's figures as PNG files in memory."""
    import io

    from seqgan_jax.analysis import plots

    out = {}
    for name, figure in report.figures().items():
        buffer = io.BytesIO()
        plots.save(figure, buffer)
        out[name] = buffer.getvalue()
    return out


def _training_picture(run_dir: Path, directory: Path) -> list[Path]:
    """training_metrics.png from the run's metrics.jsonl, if it has one."""
    import io

    from seqgan_jax.analysis import plots
    from seqgan_jax.data import files
    from seqgan_jax.run import directory as run_directory

    rows = run_directory.read_metrics(run_dir)
    if not rows:
        return []
    buffer = io.BytesIO()
    plots.save(plots.training_metrics(rows), buffer)
    path = directory / "training_metrics.png"
    files.write_bytes(path, buffer.getvalue())
    return [path]
