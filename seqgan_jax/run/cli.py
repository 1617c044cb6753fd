"""The command line: `seqgan` and its commands, `train.py` and `analyze.py`.

Flags are made from the dataclasses of `config.py`. Nothing heavy is imported before the flags are
read, so that --help and mistakes answer at once.
"""

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from seqgan_jax import __version__, config
from seqgan_jax.config import Config, DataConfig
from seqgan_jax.data.files import printable, printable_lines
from seqgan_jax.errors import SeqGANError, UsageError
from seqgan_jax.run import signals

if TYPE_CHECKING:
    from seqgan_jax.model import SeqGAN

NO_PAIRS = FlagCreatePairsOff  # --quiet, and no --no-quiet beside it
OVER_LIMIT = 1  # exit code
USAGE = f"""seqgan {__version__}: learn from real sequences, write new ones, say how good they are

  seqgan inspect  what is in a file, and what to train with (seqgan inspect --help)
  seqgan train    train on a file of sequences            (seqgan train --help)
  seqgan sample   more samples from a trained run         (seqgan sample --help)
  seqgan analyze  compare generated sequences with real   (seqgan analyze --help)
  seqgan doctor   what is installed and what computes     (seqgan doctor)
"""


@dataclass(frozen=True)
class Train:
    """Train a SeqGAN on real sequences and write new ones.

    Without --data: save/real_data.txt if it is there, else a bundled set of real weather.
    """

    settings: Annotated[OmitArgPrefixes[Config], arg(name="")] = field(default_factory=Config)
    gpu: bool = False
    """Compute on a GPU; stops where there is none."""
    deterministic: bool = False
    """On a GPU: same seed, same bits, at some cost of speed. A CPU does so anyway."""
    resume: bool = False
    """Go on from the last checkpoint in --run-dir, with its settings."""
    overwrite: bool = False
    """Replace an earlier run in --run-dir."""
    coordinator: str = ""
    """HOST:PORT of process 0, where several processes train together; auto on a cluster."""
    processes: int = 1
    """How many processes train together."""
    process: int = 0
    """Which of them this one is, from 0; the others write no files."""
    show_config: bool = False
    """Print all settings and exit."""
    quiet: bool = False
    """Print nothing but errors."""
    debug: bool = False
    """Print a traceback with every error."""


@dataclass(frozen=True)
class Inspect:
    """Say what is in a file, what the reader would ask, and the command that trains on it.

    Exit codes: 0 fine (questions too), 2 usage, 3 no table or array at all.
    """

    file: Positional[str]
    """Text, .csv, .parquet, .xlsx, .npy, .npz, or a folder of them."""
    settings: Annotated[OmitArgPrefixes[DataConfig], arg(name="")] = field(
        default_factory=DataConfig
    )
    json: bool = False
    """Print one JSON object: layout, sequences, steps, time, ids, columns, notes, questions."""
    debug: bool = False
    """Print a traceback with every error."""


@dataclass(frozen=True)
class Sample:
    """Write new sequences from a trained run, or futures of sequences in a file; no retraining."""

    run: Positional[str] = "save"
    """Run directory, or a folder written by SeqGAN.save."""
    n: Annotated[int, arg(aliases=["-n"])] = 1000
    """Sequences to write; with --after, futures of each sequence in it."""
    given: Annotated[tuple[str, ...], arg(metavar="COLUMN=VALUE"), UseAppendAction] = ()
    """What columns that are constant in each sequence are: --given sex=1 --given age=40:60, or
    --given ward=a,b. All else is drawn given it."""
    length: str | None = None
    """Steps of each. Default: those of training; more only of windows of series. Where sequences
    are of unequal length also a range: --length 10:50."""
    after: str | None = None
    """File of sequences to go on from, of any number of steps, read as that of training was: its
    columns by name. A future is drawn given all of it."""
    quantiles: tuple[float, ...] = ()
    """With --after, these quantiles of the futures in the place of the futures, a row for each
    sequence and step: --quantiles .1 .5 .9."""
    seed: int = 0
    """Seed of the samples."""
    temperature: float = 1.0
    """Factor on the standard deviation of every step."""
    out: Annotated[str, arg(aliases=["-o"])] = "samples.txt"
    """File to write: .csv, .tsv or .parquet (a table like the input: its columns, dtypes, decimals,
    an id for each sequence, regular times), .txt (a sequence a line) or .npy."""
    with_gaps: bool = False
    """With gaps like the data's, where these miss values. Default: complete samples."""
    refine: int | None = None
    """Draw so many candidates for each sequence, of which discriminators choose one; they are
    trained for it on the run's data. 16 is a start."""
    step: int | None = None
    """Checkpoint to use. Default: the last."""
    start: str = ""
    """Date at which all sequences start, such as 2026-01-31 or "2026-01-31 13:00". Default: drawn
    from the starts of the training part."""
    known_file: str = ""
    """Table of the columns of --known, a row for each step. Default: those of sequences of the
    training part. With --after those of the steps after its end; of each sequence by its ids."""
    gpu: bool = False
    """Compute on a GPU; stops where there is none."""
    overwrite: bool = False
    """Replace the file if it is there."""
    debug: bool = False
    """Print a traceback with every error."""


@dataclass(frozen=True)
class Analyze:
    """Compare generated sequences with real ones.

    Writes PREFIX_metrics.txt, PREFIX_metrics.json, PREFIX_distributions.png, PREFIX_temporal.png
    and PREFIX_report.html into the output directory; inputs are never modified. Without --real and
    --generated: the last run (--run-dir), its held-out part against its final samples.

    Exit codes: 0 fine, 1 a limit of --fail-over is exceeded, 2 usage, 3 data, 5 disk, 6 run
    directory.
    """

    real: str | None = None
    """Real sequences: any file that train.py reads. Default: held_out.npy of the run."""
    generated: str | None = None
    """Generated sequences, in any of these formats. Default: final_samples.txt of the run."""
    train: str | None = None
    """Training sequences, to judge memorisation; then --real must be held out."""
    run_dir: Annotated[str, arg(aliases=["--run"])] = "save"
    """Run directory that stands in for --real or --generated where they are not given."""
    output_dir: str = "./analysis_results"
    """Where the results are written; made if missing."""
    prefix: str = "analysis"
    """First part of the names of the files written."""
    plots: bool = True
    """Draw the pictures and the HTML report. --no-plots: metrics only."""
    map: Literal["pca", "tsne"] = "pca"
    """How the report's map places whole sequences: by principal components, or by t-SNE, which
    takes some seconds."""
    scores: str = "default"
    """Published scores to compute as well, separated by commas: discriminative, predictive,
    context_fid, or all. They take from seconds to minutes."""
    judge: Literal["auto", "always", "never"] = "auto"
    """Whether classifiers judge, all columns together and each alone, on windows that they have not
    seen. auto: where it takes less than about 10 s."""
    fail_over: Annotated[tuple[str, ...], arg(metavar="METRIC=VALUE"), UseAppendAction] = ()
    """Exit with 1 if a figure is over its limit (precision, recall, coverage: under), for use in
    scripts: --fail-over ks=0.05 --fail-over coverage=0.9. Names: as in PREFIX_metrics.json."""
    window: int | None = None
    """Steps in a window, where a file holds long series. Default: as many as the generated ones."""
    stride: int = 1
    """Steps between windows, where a file holds long series."""
    label: str = ""
    """A column of class labels: shares and figures of each class. Default: the run's --label."""
    columns: str | None = None
    """Columns of a table to use, separated by commas. Default: all."""
    features: int | None = None
    """Features a step, where a text file holds more than one: values are step after step."""
    layout: Literal["auto", "series", "rows", "long"] = "auto"
    """What a line of a file is: as train.py --layout."""
    id: tuple[str, ...] = ()
    """Columns that name the sequence: as train.py --id."""
    time: tuple[str, ...] = ()
    """Columns of the time index: as train.py --time."""
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    """Lines with the same time: as train.py --duplicates."""
    missing: config.Missing = "model"
    """Missing values in a file: as train.py --missing."""
    missing_values: tuple[str, ...] = ()
    """Words or numbers that mean a missing value: as train.py --missing-values."""
    limit: int | None = None
    """Longest gap that --missing interpolate fills in: as train.py --limit."""
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


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, what computes, what --gpu would do, where compiled programs are kept.

    Exit codes: 0 fine, 4 nothing computes, a package is missing or too old, or a GPU is here that
    JAX cannot use.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """`seqgan`: the first word picks the command. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    command, rest = (words or ["--help"])[0], words[1:]
    if command in ("-h", "--help", "--version"):
        print(__version__ if command == "--version" else USAGE)
        return 0
    commands: dict[str, Callable[[Sequence[str], str], int]] = {
        "inspect": inspect_main,
        "train": train_main,
        "sample": sample_main,
        "analyze": analyze_main,
        "doctor": doctor_main,
    }
    if command in commands:
        return commands[command](rest, f"seqgan {command}")
    known = ", ".join(commands)
    print(f"seqgan: unknown command {command!r}. Commands: {known}.", file=sys.stderr)
    return UsageError.exit_code


def train_main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """`train.py` and `seqgan train`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    program = "python train.py" if prog == "train.py" else prog
    again = f"{program} --resume --run-dir {_run_dir(words)}"
    again += "".join(f" {flag}" for flag in ("--gpu", "--deterministic") if flag in words)
    # Before JAX is imported: that takes a second, in which a signal must not be a traceback.
    with signals.listening(again) as stop:
        return _guarded(lambda: _train(words, prog, again, stop), words)


def inspect_main(argv: Sequence[str] | None = None, prog: str = "seqgan inspect") -> int:
    """`seqgan inspect`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(
        lambda: _inspect(tyro.cli(Inspect, args=words, prog=prog, config=(NO_PAIRS,))), words
    )


def sample_main(argv: Sequence[str] | None = None, prog: str = "seqgan sample") -> int:
    """`seqgan sample`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(
        lambda: _sample(tyro.cli(Sample, args=words, prog=prog, config=(NO_PAIRS,))), words
    )


def doctor_main(argv: Sequence[str] | None = None, prog: str = "seqgan doctor") -> int:
    """`seqgan doctor`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _doctor(tyro.cli(Doctor, args=words, prog=prog)), words)


def analyze_main(argv: Sequence[str] | None = None, prog: str = "analyze.py") -> int:
    """`analyze.py` and `seqgan analyze`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _analyze(tyro.cli(Analyze, args=words, prog=prog)), words)


def _guarded(command: Callable[[], int], words: Sequence[str]) -> int:
    """Run a command; errors that the user can put right become a message and an exit code."""
    try:
        return command()
    except SystemExit as stop:  # tyro's, after --help and where a flag is wrong
        return stop.code if isinstance(stop.code, int) else UsageError.exit_code
    except (SeqGANError, KeyboardInterrupt) as error:
        if "--debug" in words:
            raise
        if isinstance(error, KeyboardInterrupt):
            print("stopped", file=sys.stderr)
            return 128 + signal.SIGINT
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 128 + 13  # SIGPIPE, of which Windows knows nothing


def _value_of(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag that decides about the defaults of the others."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag and (equals or i + 1 < len(words)):
            return value if equals else words[i + 1]
    return None


def _run_dir(words: Sequence[str]) -> str:
    return _value_of(words, "--run-dir") or config.RunConfig().run_dir


def _defaults(words: Sequence[str]) -> Config:
    """Defaults of the other flags: the run's own settings with --resume, else the preset's."""
    if "-h" in words or "--help" in words:
        return Config()
    if "--resume" in words:
        from seqgan_jax.run.train import saved_config

        return saved_config(_run_dir(words))
    return config.PRESETS.get(_value_of(words, "--preset") or "default", Config())


def _split_columns(data: DataConfig) -> DataConfig:
    """`--columns Open,Close` is `--columns Open Close`; so are other flags of columns."""
    columns, log, bounds, static, known = (
        tuple(part for name in words for part in name.split(","))
        for words in (data.columns, data.log, data.bounds, data.static, data.known)
    )
    return replace(data, columns=columns, log=log, bounds=bounds, static=static, known=known)


def _train(words: Sequence[str], prog: str, again: str, stop: list[int]) -> int:
    default = Train(settings=_defaults(words))
    options = tyro.cli(Train, args=words, prog=prog, default=default, config=(NO_PAIRS,))
    settings = replace(options.settings, data=_split_columns(options.settings.data))
    config.validate(settings)
    if options.show_config:
        width = max(map(len, config.flat(settings)))
        for name, value in config.flat(settings).items():
            print(f"{name:<{width}}  {printable(str(value))}")
        return 0
    if options.resume and options.overwrite:
        raise UsageError("--resume goes on with a run, --overwrite replaces it: choose one.")
    if not options.coordinator and (options.processes, options.process) != (1, 0):
        raise UsageError(
            "--processes and --process have no meaning without --coordinator HOST:PORT, where the "
            "processes find each other. Add it, or leave them out."
        )
    if not options.quiet:
        run_dir = printable(settings.run.run_dir)
        print(f"seqgan {__version__}, seed {settings.run.seed}, writes to {run_dir}/", flush=True)

    from seqgan_jax.core import parallel
    from seqgan_jax.run import device, loop, train
    from seqgan_jax.run.terminal import Display, warn

    if options.coordinator:
        parallel.join(options.coordinator, options.processes, options.process)
    described = device.choose(options.gpu, options.deterministic)
    if note := device.use_cache():
        warn(note)
    if not options.gpu and device.has_nvidia_driver():
        warn("hint: this machine has a GPU; add --gpu to use it")
    if not parallel.is_first():
        train.follow(settings)
        return 0
    try:
        train.train(
            settings,
            device=described,
            resume=options.resume,
            overwrite=options.overwrite,
            display=Display(loop.TITLES, loop.UNITS, options.quiet),
            stop=stop,
        )
    except train.Stopped as stopped:
        print(f"{stopped}; go on with: {again}", file=sys.stderr)
        return stopped.exit_code
    if not options.quiet:
        tail = "" if settings.run.run_dir == "save" else f" --run-dir {settings.run.run_dir}"
        how = "python analyze.py" if prog == "train.py" else "seqgan analyze"
        print(f"how good are they: {how}{tail}")
    return 0


def _inspect(options: Inspect) -> int:
    from seqgan_jax.data import inspection

    settings = _split_columns(options.settings)
    if given := inspection.without_meaning(settings):
        raise UsageError(f"{given} has no meaning for inspect, which only reads. Leave it out.")
    settings = replace(settings, data=options.file)
    config.validate(Config(data=settings))
    found = inspection.of_file(settings)
    print(json.dumps(found.to_dict(), indent=1) if options.json else found)
    return 0


def _sample(options: Sample) -> int:
    from seqgan_jax.data import tables, writing

    out = Path(options.out)
    writing.check_suffix(out)
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out}: is there already. Name another with -o, or add --overwrite.")
    if options.quantiles and options.after is None:
        raise UsageError("--quantiles are of futures, and there is no --after FILE. Leave it out.")
    if options.quantiles and out.suffix.lower() in (".txt", ".npy"):
        raise UsageError(
            f"{out}: quantiles are a table with a row for each step. Write it as .csv, .tsv or "
            ".parquet: -o quantiles.csv."
        )
    from seqgan_jax.model import SeqGAN
    from seqgan_jax.run import device, refined
    from seqgan_jax.run.terminal import warn

    device.choose(options.gpu)
    device.use_cache()
    model = SeqGAN.load(options.run, step=options.step, say=warn)
    if options.after is not None:
        for flag, is_given in (("--given", options.given), ("--start", options.start)):
            if is_given:
                raise UsageError(
                    f"{flag} has no meaning with --after, which says it: where its sequences end, "
                    "and what is constant in them. Leave it out."
                )
        if options.refine is not None:
            refined.check(model.description, options.refine, after=options.after)
        return _futures(model, options, out)
    known = tables.read(Path(options.known_file)) if options.known_file else None
    number = options.n
    length = _length(options.length)
    places = model.places(number, options.seed, options.start or None, known, length)
    x_NTD = model.sample_array(
        number,
        seed=options.seed,
        temperature=options.temperature,
        given=options.given or None,
        length=length,
        say=warn,
        places=places,
        with_gaps=options.with_gaps,
        refine=options.refine,
        tell=print,
    )
    model.description.save_sequences(out, x_NTD, places.starts_N, options.with_gaps)
    print(f"wrote {options.n:,} sequences to {printable(out)}")
    return 0


def _length(text: str | None) -> "int | tuple[int, int] | None":
    """A number of steps, or a range of them."""
    if text is None:
        return None
    ends = text.split(":")
    if len(ends) > 2 or not all(end.isdecimal() for end in ends):
        raise UsageError(f"--length {text} is no number of steps. Write 50, or a range 10:50.")
    return int(text) if len(ends) == 1 else (int(ends[0]), int(ends[1]))


def _futures(model: "SeqGAN", options: Sample, out: Path) -> int:
    from seqgan_jax.data import history, tables, writing
    from seqgan_jax.run.terminal import warn

    description = model.description
    model.check_gaps(options.with_gaps)
    if options.with_gaps and options.quantiles:
        raise UsageError(
            "--with-gaps has no meaning with --quantiles, which are of values. Leave one out."
        )
    form, data = description.form, model.config.data
    given = history.of_file(options.after or "", description.names, form, data, *description.absent)
    known = tables.read(Path(options.known_file)) if options.known_file else None
    length = _length(options.length)
    if description.scaler.ends and options.quantiles:
        raise UsageError(
            "--quantiles have no meaning where futures end at steps of their own. Leave it out."
        )
    drawing = options.n, given, length, options.seed, options.temperature
    more: dict[str, Any] = {"known": known, "with_gaps": options.with_gaps}
    x_NMTD = model.futures(*drawing, say=warn, **more)
    x_NMTD, form = description.futures_as_written(x_NMTD), description.written_form
    steps = x_NMTD.shape[2]
    most = "at most " * description.scaler.ends
    done = f"{options.n:,} futures of {most}{steps:,} steps of {len(given):,} sequence"
    done += "s" * (len(given) > 1)
    if options.quantiles:
        x_NMTD, form, notes = writing.quantiles(x_NMTD, form, options.quantiles)
        for note in notes:
            warn(f"note: {note}")
        done = f"quantiles of {done}"
    ends = description.scaler.ends
    how = not options.quantiles, ends, options.with_gaps
    writing.save_futures(out, x_NMTD, form, given.ends, *how)
    print(f"wrote {done} to {printable(out)}")
    return 0


def _doctor(_: Doctor) -> int:
    from seqgan_jax.run import doctor

    lines, code = doctor.report()
    print("\n".join(map(printable_lines, lines)))
    return code


def _analyze(options: Analyze) -> int:
    from seqgan_jax.analysis import command

    limits = command.parse_limits(options.fail_over)
    scores = command.parse_scores(options.scores)
    if options.repeats < 1:
        raise UsageError("--repeats must be at least 1")
    if Path(options.prefix).name != options.prefix:
        raise UsageError(
            f"--prefix {options.prefix!r} is no plain name; use --output-dir for paths"
        )
    if options.map != "pca" and not options.plots:
        raise UsageError("--map has no meaning with --no-plots, which draws no map. Leave one out.")
    from seqgan_jax.run.terminal import stages

    run_dir, folder = Path(options.run_dir), Path(options.output_dir)
    with stages(options.quiet) as progress:
        report = command.compare(
            options.real,
            options.generated,
            options.train,
            run_dir,
            {name: getattr(options, name) for name in command.READING}
            | {"columns": [n for n in map(str.strip, (options.columns or "").split(",")) if n]},
            seed=options.seed,
            max_sequences=options.max_sequences,
            scores=scores,
            repeats=options.repeats,
            judge=options.judge,
            label=options.label,
            progress=progress,
        )
    written = command.write(report, folder, options.prefix, plots=options.plots, map_by=options.map)
    if options.plots and None in (options.real, options.generated):
        written += command.training_picture(run_dir, folder)
    if not options.quiet:
        print(f"{report.verdict.upper()}: {report.headline}")
        for line in (*report.reasons(), *(f"note: {note}" for note in report.notes)):
            print(f"  {printable(line)}")
        print("written: " + ", ".join(map(printable, written)))
    over = command.over_limits(report, limits)
    for line in over:
        print(f"fail: {line}", file=sys.stderr)
    return OVER_LIMIT if over else 0


if __name__ == "__main__":
    sys.exit(main())
