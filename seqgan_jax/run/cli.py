"""The command line: `seqgan train | sample | analyze`, and `train.py`.

Flags are made from the dataclasses of `config.py`. Nothing heavy is imported before the flags are
read, so that --help and mistakes answer at once.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import (
    FlagCreatePairsOff,
    OmitArgPrefixes,
    Positional,
    arg,
)

from seqgan_jax import __version__, config
from seqgan_jax.config import Config
from seqgan_jax.data.files import printable, printable_lines
from seqgan_jax.errors import SeqGANError, UsageError
from seqgan_jax.run import signals

USAGE = f"""seqgan {__version__}: learn from real sequences, write new ones, say how good they are

  seqgan train    train on a file of sequences            (seqgan train --help)
  seqgan sample   more samples from a trained run         (seqgan sample --help)
  seqgan analyze  compare generated sequences with real   (seqgan analyze --help)
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
class Sample:
    """Write new sequences from a trained run; no retraining."""

    run: Positional[str] = "save"
    """Run directory, or a folder written by SeqGAN.save."""
    n: Annotated[int, arg(aliases=["-n"])] = 1000
    """Sequences to write."""
    seed: int = 0
    """Seed of the samples."""
    temperature: float = 1.0
    """Factor on the standard deviation of every step."""
    out: Annotated[str, arg(aliases=["-o"])] = "samples.txt"
    """File to write: .txt (a sequence a line), .csv (long format with column names) or .npy."""
    step: int | None = None
    """Checkpoint to use. Default: the last."""
    gpu: bool = False
    """Compute on a GPU; stops where there is none."""
    overwrite: bool = False
    """Replace the file if it is there."""
    debug: bool = False
    """Print a traceback with every error."""


def main(argv: Sequence[str] | None = None) -> int:
    """`seqgan`: the first word picks the command. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = words[0] if words else "--help"
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command == "--version":
        print(__version__)
        return 0
    if command == "train":
        return train_main(words[1:], "seqgan train")
    if command == "sample":
        return sample_main(words[1:])
    if command == "analyze":
        from seqgan_jax.analysis.cli import main as analyze_main

        return analyze_main(words[1:], prog="seqgan analyze")
    print(
        f"seqgan: unknown command {command!r}. Commands: train, sample, analyze.", file=sys.stderr
    )
    return UsageError.exit_code


def train_main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """`train.py` and `seqgan train`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    run_dir = _value_of(words, "--run-dir") or config.RunConfig().run_dir
    again = f"{_program(prog)} --resume --run-dir {run_dir}"
    again += "".join(f" {flag}" for flag in ("--gpu", "--deterministic") if flag in words)
    # Before JAX is imported: that takes a second, in which a signal must not be a traceback.
    with signals.listening(again) as stop:
        return _guarded(lambda: _train(words, prog, again, stop), "--debug" in words)


def sample_main(argv: Sequence[str] | None = None) -> int:
    """`seqgan sample`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _sample(_parse(Sample, words, "seqgan sample")), "--debug" in words)


def _guarded(command: Callable[[], int], debug: bool) -> int:
    """Run a command; errors that the user can put right become a message and an exit code."""
    try:
        return command()
    except SeqGANError as error:
        if debug:
            raise
        print(f"error: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        print("stopped", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE


def _parse(kind: Any, words: Sequence[str], prog: str, default: Any = None) -> Any:
    options = {} if default is None else {"default": default}
    return tyro.cli(kind, args=list(words), prog=prog, config=(FlagCreatePairsOff,), **options)


def _value_of(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag that decides about the defaults of the others."""
    for i, word in enumerate(words):
        if word.replace("_", "-") == flag and i + 1 < len(words):
            return words[i + 1]
        if word.replace("_", "-").startswith(flag + "="):
            return word.split("=", 1)[1]
    return None


def _defaults(words: Sequence[str]) -> Config:
    """Defaults of the other flags: the run's own settings with --resume, else the preset's."""
    if "--resume" in words:
        from seqgan_jax.run.run import saved_config

        return saved_config(_value_of(words, "--run-dir") or config.RunConfig().run_dir)
    preset = _value_of(words, "--preset")
    return config.PRESETS.get(preset or "default", Config())


def _split_columns(settings: Config) -> Config:
    """`--columns Open,Close` is `--columns Open Close`; so are --log and --bounds."""
    data = settings.data
    columns, log, bounds = (
        tuple(part for name in words for part in name.split(","))
        for words in (data.columns, data.log, data.bounds)
    )
    return replace(settings, data=replace(data, columns=columns, log=log, bounds=bounds))


def _train(words: Sequence[str], prog: str, again: str, stop: list[int]) -> int:
    help_wanted = "-h" in words or "--help" in words
    default = Train(settings=Config() if help_wanted else _defaults(words))
    options: Train = _parse(Train, words, prog, default)
    settings = _split_columns(options.settings)
    config.validate(settings)
    if options.show_config:
        width = max(map(len, config.flat(settings)))
        for name, value in config.flat(settings).items():
            print(f"{name:<{width}}  {printable(str(value))}")
        return 0
    if options.resume and options.overwrite:
        raise UsageError("--resume goes on with a run, --overwrite replaces it: choose one.")
    if not options.quiet:
        run_dir = printable(settings.run.run_dir)
        print(f"seqgan {__version__}, seed {settings.run.seed}, writes to {run_dir}/")
        sys.stdout.flush()

    from seqgan_jax.core import parallel
    from seqgan_jax.run import device, loop, run
    from seqgan_jax.run.terminal import Display, warn

    if options.coordinator:
        parallel.join(options.coordinator, options.processes, options.process)
    described = device.choose(options.gpu, options.deterministic)
    if note := device.use_cache():
        warn(note)
    if not options.gpu and device.has_nvidia_driver():
        warn("hint: this machine has a GPU; add --gpu to use it")
    if not parallel.is_first():
        run.follow(settings)
        return 0
    display = Display(loop.TITLES, loop.UNITS, options.quiet)
    try:
        run.train(
            settings,
            device=described,
            resume=options.resume,
            overwrite=options.overwrite,
            display=display,
            stop=stop,
        )
    except run.Stopped as stopped:
        print(f"{stopped}; go on with: {again}", file=sys.stderr)
        return stopped.exit_code
    finally:
        display.close()
    if not options.quiet:
        tail = "" if settings.run.run_dir == "save" else f" --run {settings.run.run_dir}"
        how = "python analyze.py" if prog == "train.py" else "seqgan analyze"
        print(f"how good are they: {how}{tail}")
    return 0


def _program(prog: str) -> str:
    return "python train.py" if prog == "train.py" else prog


def _sample(options: Sample) -> int:
    out = Path(options.out)
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out}: is there already. Name another with -o, or add --overwrite.")
    from seqgan_jax.data import layout
    from seqgan_jax.model import SeqGAN
    from seqgan_jax.run import device
    from seqgan_jax.run.terminal import warn

    device.choose(options.gpu)
    device.use_cache()
    model = SeqGAN.load(options.run, step=options.step, say=warn)
    x_NTD = model.sample(options.n, seed=options.seed, temperature=options.temperature)
    layout.save_sequences(out, x_NTD, model.description.names)
    print(f"wrote {options.n:,} sequences to {printable(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
