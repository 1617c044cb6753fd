"""Checkpoints of the training state: the only file that imports orbax.

    checkpoints/STEP/state/         what orbax wrote: arrays by path ("generator/head", "round")
    checkpoints/STEP/MANIFEST.json  format, versions, settings; size and SHA-256 of every file

A step is written under a temporary name, synced file by file, sealed with its manifest, synced,
and only then renamed: a step that has its name is whole. Before orbax opens one, the manifest is
checked. Own code for what orbax's manager does otherwise: that one deletes old steps before the new
one could be sealed, and lists steps whose save failed.
"""

import contextlib
import functools
import hashlib
import json
import logging
import math
import os
import re
import shutil
import stat
import sys
from io import BufferedReader
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from seqgan_jax import __version__
from seqgan_jax.data import files
from seqgan_jax.errors import CheckpointError, DiskError
from seqgan_jax.run import unpacking

logging.getLogger("absl").setLevel(logging.CRITICAL)  # what fails is raised, and told once

FORMAT = 3  # of a checkpoint; goes up when a reader of today could not read it
MANIFEST = "MANIFEST.json"
MOST_FILES = 10_000  # in one checkpoint
MOST_MANIFEST = 4_000_000  # bytes
_TEMPORARY, _OLD = ".tmp-", ".old-"


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path: {"discriminator/conv1/kernel": array, ...}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _orbax() -> ocp.Checkpointer:
    """For this process alone: of several that train together one saves, and waits for no other."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    # Weights hardly shrink, and what is not packed cannot unpack to more than is there.
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=True, use_compression=False, multiprocessing_options=alone
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays (or of their shapes and dtypes) in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def most_bytes(tree: Any) -> int:
    """The size on disk that no checkpoint of a tree exceeds: arrays, and orbax's own words."""
    return 2 * num_bytes(tree) + 4096 * len(jax.tree.leaves(tree)) + 1_000_000


@functools.cache
def _hush(kind: str) -> None:
    """Let one thing pass unsaid: tensorstore's later answers to a save that has failed already."""
    before = getattr(sys, kind)

    def hook(*arguments: Any) -> None:
        error = arguments[1] if len(arguments) > 1 else arguments[0].exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            before(*arguments)

    setattr(sys, kind, hook)


class Store:
    """The checkpoints of one run, opened for writing; `identity` says which settings they are of.

    Opening removes what a killed save left behind, never a step that has its name.
    """

    def __init__(self, folder: Path, keep: int, identity: str = "") -> None:
        self.folder, self._keep, self._identity = folder, keep, identity
        _hush("excepthook")
        _hush("unraisablehook")
        files.make_directory(folder)
        try:
            for path in folder.iterdir():
                if path.name.startswith((_TEMPORARY, _OLD)):
                    _remove(path)
        except OSError as error:
            raise DiskError(f"{folder}: cannot be used for checkpoints ({error}).") from error

    def save(self, step: int, state: Any) -> None:
        """Write `state` as checkpoint `step`; on return it is on the disk. Raises DiskError.

        A step that is there already stays as it is. Older ones than the last `keep` are removed
        once the new one is safe.
        """
        if step in steps(self.folder):
            return
        temporary = self.folder / f"{_TEMPORARY}{step}"
        try:
            _remove(temporary)
            temporary.mkdir()
            self._write(temporary, step, state)
            os.rename(temporary, self.folder / str(step))
            _sync(self.folder)
            for old in steps(self.folder)[: -self._keep]:
                # Under another name first: a step that is half deleted must not look like one.
                os.rename(self.folder / str(old), self.folder / f"{_OLD}{old}")
                _remove(self.folder / f"{_OLD}{old}")
        except Exception as error:  # orbax raises many kinds
            with contextlib.suppress(OSError):
                _remove(temporary)
            raise _not_written(self.folder, step, error) from error

    def _write(self, folder: Path, step: int, state: Any) -> None:
        # As numpy arrays: nothing of the device or its sharding gets into the files.
        arrays = {name: np.asarray(leaf) for name, leaf in flatten(state).items()}
        with _orbax() as orbax:
            orbax.save(folder.absolute() / "state", args=ocp.args.PyTreeSave(arrays))
        # orbax writes the folder's absolute path into it: nothing of the machine belongs here.
        (folder / "state" / "commit_success.txt").write_text(f"checkpoint {step}\n")
        contents = {}
        for name in _walk(folder):
            _sync(folder / name)
            if not name.endswith("/"):
                contents[name] = _fingerprint(folder / name)
        device = jax.devices()[0]
        manifest = {
            "format": FORMAT,
            "step": step,
            "seqgan_jax": __version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "device": f"{device.platform} {device.device_kind}",
            "settings": self._identity,
            "files": contents,
        }
        files.write_text(folder / MANIFEST, _seal(manifest))


def _not_written(folder: Path, step: int, error: Exception) -> DiskError:
    # tensorstore tells the error of the system only in its text.
    if number := re.search(r"os_error_code='([0-9]+)'", str(error)):
        error = OSError(int(number[1]), os.strerror(int(number[1])))
    if isinstance(error, DiskError):
        why = str(error)
    elif isinstance(error, OSError):
        why = str(files.disk_error(folder / str(step), error))
    else:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return DiskError(
        f"{folder}: checkpoint {step} could not be written; earlier checkpoints are untouched. "
        + why
    )


def steps(folder: Path) -> list[int]:
    """Numbers of the checkpoints in `folder`, ascending; empty where there are none."""
    if not folder.is_dir():
        return []
    names = (p.name for p in folder.iterdir() if p.name.isdecimal() and p.name.isascii())
    return sorted(int(name) for name in names if len(name) < 19 and str(int(name)) == name)


def verify(folder: Path, step: int, most: int, identity: str = "") -> None:
    """Check that every file of checkpoint `step` is as it was written, without opening it further.

    `most` bounds its bytes; `identity` is compared with that of the settings it was written under,
    where both are known. Raises CheckpointError with what is wrong.
    """
    path = folder / str(step)
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise CheckpointError("is no directory")
        manifest = _read_manifest(path)
        if manifest.get("step") != step:
            raise CheckpointError(f"is a copy of checkpoint {manifest.get('step')!r}")
        if identity and manifest.get("settings") and manifest["settings"] != identity:
            raise CheckpointError("was made under other settings or data than config.json says")
        _check_files(path, manifest, most)
    except (CheckpointError, OSError) as error:
        words = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"{files.printable(path)}: {words}.") from error


def _check_files(path: Path, manifest: dict[str, Any], most: int) -> None:
    expected = manifest["files"]
    found = [name for name in _walk(path) if not name.endswith("/") and name != MANIFEST]
    for name in expected:
        if name not in found:
            raise CheckpointError(f"{files.printable(name)} is missing")
    for name in found:
        if name not in expected:
            raise CheckpointError(f"{files.printable(name)} does not belong to it")
    sizes = {name: os.lstat(path / name).st_size for name in found}
    if sum(sizes.values()) > most:
        raise CheckpointError(f"is larger than its model could be ({sum(sizes.values()):,} bytes)")
    for name, size in sizes.items():
        if size != expected[name].get("size"):
            wanted = expected[name].get("size")
            raise CheckpointError(f"{files.printable(name)} has {size} bytes, not {wanted}")
        if _fingerprint(path / name) != expected[name]:
            raise CheckpointError(f"{files.printable(name)} is damaged (SHA-256 differs)")
        with _open(path / name) as file:  # orbax packs its tables of contents whatever it is told
            if unpacking.bound(file.read(), most) > most:
                raise CheckpointError(f"{files.printable(name)} unpacks to more than its model")


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a step; raises CheckpointError where it is missing, damaged or of no use."""
    try:
        status = os.lstat(path / MANIFEST)
    except FileNotFoundError:
        raise CheckpointError(
            f"{MANIFEST} is missing (a save that never ended, or a version before 0.1.0 wrote it)"
        ) from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_MANIFEST:
        raise CheckpointError(f"{MANIFEST} is no file, or too large")
    try:
        with _open(path / MANIFEST) as file:
            text = file.read(MOST_MANIFEST).decode("utf-8")
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{MANIFEST} is damaged") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise CheckpointError(f"{MANIFEST} is damaged")
    if manifest["format"] != FORMAT:
        age = "a newer" if manifest["format"] > FORMAT else "an older"
        raise CheckpointError(
            f"has format {manifest['format']}, this version reads format {FORMAT}: use the version "
            f"of seqgan-jax that wrote it ({age} one)"
        )
    entries = manifest.get("files")
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    if (
        not isinstance(entries, dict)
        or not all(isinstance(entry, dict) for entry in entries.values())
        or text != _seal(rest)
    ):
        raise CheckpointError(f"{MANIFEST} is damaged")
    return manifest


def _seal(manifest: dict[str, Any]) -> str:
    """The manifest as text with its own SHA-256: any other byte in it is found."""
    digest = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({**manifest, "sha256": digest}, indent=1) + "\n"


def restore(folder: Path, step: int, abstract: Any, identity: str = "") -> Any:
    """Checkpoint `step` as a tree like `abstract` (shapes and dtypes), on this process's device.

    Verified first. Raises CheckpointError where it is missing, damaged, or of other shapes.
    """
    verify(folder, step, most_bytes(abstract), identity)
    path = folder.absolute() / str(step) / "state"
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
        for name, leaf in flatten(abstract).items()
    }
    try:
        with _orbax() as orbax:
            # What is stored is compared with what is wanted before any of it is read.
            _check_shapes(orbax.metadata(path).item_metadata.tree, target)
            how = ocp.checkpoint_utils.construct_restore_args(target)
            flat = orbax.restore(path, args=ocp.args.PyTreeRestore(item=target, restore_args=how))
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder / str(step)}: {error}. The folder's config.json is of another run."
        ) from error
    except Exception as error:  # orbax raises many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{folder / str(step)}: checkpoint cannot be read ({reason[0]})."
        ) from error
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    return jax.tree_util.tree_unflatten(structure, [flat[_name(path)] for path, _ in paths])


def _check_shapes(stored: dict[str, Any], target: dict[str, Any]) -> None:
    if set(stored) != set(target):
        other = sorted(set(stored) ^ set(target))[0]
        raise CheckpointError(f"{files.printable(other)} is not in both checkpoint and model")
    for name, leaf in target.items():
        found = stored[name]
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise CheckpointError(
                f"{name} has shape {found.shape} and type {found.dtype}, expected {leaf.shape} "
                f"and {leaf.dtype}"
            )
        chunk = found.storage.chunk_shape if found.storage else None
        if chunk is None or math.prod(chunk) > max(1, math.prod(leaf.shape)):
            raise CheckpointError(f"{name} is stored in pieces larger than itself")
        zarr = found.storage.zarr_metadata
        if zarr is None or zarr.zarr_format != 2 or zarr.compression is not None:
            raise CheckpointError(f"{name} is packed, and no checkpoint of this version is")


def restore_last(folder: Path, abstract: Any, identity: str = "") -> tuple[int, Any, list[str]]:
    """The last checkpoint that is whole: its step, its tree, and what is wrong with later ones.

    Raises CheckpointError where there is none.
    """
    wrong: list[str] = []
    for step in reversed(steps(folder)):
        try:
            return step, restore(folder, step, abstract, identity), wrong
        except CheckpointError as error:
            wrong.append(str(error))
    raise CheckpointError(f"{folder}: no checkpoint that is whole. " + " ".join(wrong))


def set_aside(folder: Path, after: int) -> list[Path]:
    """Rename the (damaged) checkpoints later than step `after`, so that a run can write them anew.

    Raises DiskError.
    """
    moved = []
    for step in steps(folder):
        if step > after:
            target = folder / f"{step}.damaged"
            for i in range(1, 1000):
                if not target.exists():
                    break
                target = folder / f"{step}.damaged-{i}"
            try:
                os.rename(folder / str(step), target)
            except OSError as error:
                raise files.disk_error(target, error) from error
            moved.append(target)
    return moved


def _walk(folder: Path) -> list[str]:
    """Relative names of all files and, ending in "/", directories; refuses links and devices."""
    names: list[str] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                name = below + entry.name
                if stat.S_ISDIR(mode):
                    waiting.append(name + "/")
                elif not stat.S_ISREG(mode):
                    raise CheckpointError(f"{files.printable(name)} is a link or device")
                else:
                    names.append(name)
                if len(names) + len(waiting) > MOST_FILES:
                    raise CheckpointError(f"holds more than {MOST_FILES:,} files")
        names.append(below or "./")
    return sorted(names)


def _open(path: Path) -> BufferedReader:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")


def _fingerprint(path: Path) -> dict[str, Any]:
    with _open(path) as file:
        return {
            "size": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Delete a folder of ours, whatever is left of it; a link is deleted, not followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
