"""The run directory: its files, its lock, its settings and its metrics.

save/  config.json  run.lock  metrics.jsonl  held_out.npy  checkpoints/STEP/
       final_samples.txt  final_samples.csv  generator_sample.txt  eval_file.txt
       training_metrics.png
"""

import contextlib
import json
import os
import re
import reprlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import filelock

from seqgan_jax.data import files
from seqgan_jax.data.form import Form
from seqgan_jax.data.rules import Rules
from seqgan_jax.errors import BusyError, CheckpointError

Value = TypeVar("Value")
FORMAT = 2  # of config.json
LARGEST_CONFIG = 1 << 22  # bytes
MADE_BY_TRAINING = (
    "config.json",
    "metrics.jsonl",
    "held_out.npy",
    "final_samples.txt",
    "final_samples.csv",
    "generator_sample.txt",
    "eval_file.txt",
    "training_metrics.png",
    "runs.json",
    "checkpoints",
)


def checkpoints(run_dir: Path) -> Path:
    """Where a run's checkpoints are."""
    return run_dir / "checkpoints"


def lock(run_dir: Path) -> IO[str]:
    """Make the folder and take its lock; it frees itself when the process ends, however it ends.

    Raises BusyError where another process holds it, DiskError where the folder cannot be made.
    """
    files.make_directory(run_dir)
    path = run_dir / "run.lock"
    try:
        with contextlib.ExitStack() as opened:
            handle = open(path, "a+", encoding="utf-8", opener=_open_no_link)  # noqa: SIM115
            opened.enter_context(handle)
            if not filelock.lock_descriptor(handle.fileno(), blocking=False):
                raise BusyError(
                    f"{run_dir}: in use by {_holder(handle)}. Wait for it, or name another "
                    "--run-dir."
                )
            handle.truncate(0)
            handle.write(f"process {os.getpid()}\n")
            handle.flush()
            opened.pop_all()
    except OSError as error:
        raise files.disk_error(path, error) from error
    return handle


def _open_no_link(path: str, flags: int) -> int:
    """Open a file that is emptied next: what a link leads to must not be."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _holder(handle: IO[str]) -> str:
    """Who holds the lock, as written in its file; waits a moment for one that has just taken it."""
    with contextlib.suppress(OSError):  # Windows lets nobody else read it
        for _ in range(50):
            handle.seek(0)
            found = re.fullmatch(r"process ([1-9][0-9]{0,9})\n", handle.read(200))
            if found and _is_alive(int(found[1])):  # else still the words of an earlier holder
                return f"process {found[1]}"
            time.sleep(0.02)
    return "another process"


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # of another user
    except (OSError, OverflowError):
        return False
    return True


def present(run_dir: Path) -> list[str]:
    """Files of an earlier run in the folder."""
    return [name for name in MADE_BY_TRAINING if (run_dir / name).exists()]


def clear(run_dir: Path) -> None:
    """Remove what an earlier run made, and nothing else."""
    for name in present(run_dir):
        remove(run_dir / name)


def remove(path: Path) -> None:
    """Delete a file or a folder with all in it, if it is there; a link is not followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def refuse_links(run_dir: Path) -> None:
    """Raise CheckpointError where a file of the run is a link: it could lead anywhere."""
    for name in (*MADE_BY_TRAINING, "run.lock"):
        if (run_dir / name).is_symlink():
            raise CheckpointError(
                f"{run_dir / name}: is a link, and a run's files must be files. Put the file "
                "itself there; to use another disk, make the whole folder a link."
            )


def write_config(run_dir: Path, content: dict[str, Any]) -> None:
    """config.json: settings, data description and scaling, atomically."""
    text = json.dumps({"format": FORMAT, **content}, indent=2, allow_nan=False)
    files.write_text(run_dir / "config.json", text + "\n")


def read_config(run_dir: Path) -> dict[str, Any]:
    """config.json; raises CheckpointError where it is missing or not of this format."""
    path = run_dir / "config.json"
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait
            raise OSError("it is no plain file")
        with open(path, "rb") as handle:
            text = handle.read(LARGEST_CONFIG + 1)
        if len(text) > LARGEST_CONFIG:
            raise OSError(f"it has more than {LARGEST_CONFIG:,} bytes")
        content = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{run_dir}: no run here (config.json is missing). Train first, or name its folder."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}). Use another run, or train again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise CheckpointError(
            f"{path}: format {reprlib.repr(found)}, this version reads format {FORMAT}. "
            "Use the version of seqgan-jax that wrote it."
        )
    return content


def data_of(run_dir: Path) -> dict[str, Any]:
    """What config.json says of the data: names and features of the kind that they should be.

    Raises:
      CheckpointError: it is missing, or not a description of data.
    """
    data = read_config(run_dir).get("data")
    names = data.get("names") if isinstance(data, dict) else None
    if (
        not isinstance(data, dict)
        or not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or data.get("features") != len(names)
    ):
        raise CheckpointError(
            f"{run_dir / 'config.json'}: its entry 'data' does not describe data. Use another run, "
            "or name files with --real and --generated."
        )
    return data


def form_of(run_dir: Path) -> Form | None:
    """What a run's input looked like; None of a simulator.

    Raises:
      CheckpointError: it is damaged.
    """
    return _decoded(run_dir, read_config(run_dir).get("form"), Form.from_json)


def ends_of(run_dir: Path) -> bool:
    """Whether the sequences of a run end at steps of their own."""
    scaler = read_config(run_dir).get("scaler")
    return isinstance(scaler, dict) and scaler.get("ends") is True


def rules_of(run_dir: Path) -> Rules | None:
    """The rules that a run's samples keep; None where there are none.

    Raises:
      CheckpointError: they are damaged.
    """
    scaler = read_config(run_dir).get("scaler")
    stored = scaler.get("rules") if isinstance(scaler, dict) else None
    return _decoded(run_dir, stored, Rules.from_json)


def label_of(run_dir: Path) -> str:
    """The column of class labels that a run learned; "" where there is none."""
    content = read_config(run_dir)
    settings, names = content.get("settings"), data_of(run_dir)["names"]
    label = settings.get("label", "") if isinstance(settings, dict) else ""
    return label if label in names else ""


def _decoded(run_dir: Path, stored: Any, decode: Callable[[Any], Value]) -> Value | None:
    try:
        return None if stored is None else decode(stored)
    except ValueError as error:
        raise CheckpointError(f"{run_dir / 'config.json'}: {error}. Use another run.") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def append_metrics(run_dir: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add rows to metrics.jsonl, one JSON object a line. Raises DiskError."""
    with _metrics(run_dir) as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)


def sync_metrics(run_dir: Path) -> None:
    """Put metrics.jsonl on the disk. Raises DiskError."""
    with _metrics(run_dir) as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def _metrics(run_dir: Path) -> Iterator[IO[str]]:
    path = run_dir / "metrics.jsonl"
    try:
        with open(path, "a", encoding="utf-8") as handle:
            yield handle
    except OSError as error:
        raise files.disk_error(path, error) from error


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut off is left out."""
    rows = []
    try:
        lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
            row["phase"], row["step"] + 0
        except (ValueError, TypeError, KeyError, RecursionError):
            break
        rows.append(row)
    return rows


def cut_metrics(run_dir: Path, done: dict[str, int]) -> None:
    """Drop the rows beyond `done` units of each phase: those that a resumed run makes again."""
    # Before all discriminators, the look at what there is to win and --refine-first are step 0.
    least = 0 if done.get("dis_pretrain", 0) or done.get("adversarial", 0) else 1
    rows = [
        row for row in read_metrics(run_dir) if least <= row["step"] <= done.get(row["phase"], 0)
    ]
    files.write_text(run_dir / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
