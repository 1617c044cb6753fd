"""Checkpoints of the training state: the only file that imports orbax.

    checkpoints/STEP/state/         what orbax wrote: the bytes of all arrays, one after another
    checkpoints/STEP/MANIFEST.json  format, versions, settings; name, type and shape of every array,
                                    in order; size and SHA-256 of every file

A step is written under a temporary name, synced file by file, sealed with its manifest, synced,
and only then renamed: a step that has its name is whole. Before orbax opens one, the manifest is
checked. Own code for what orbax's manager does otherwise: that one deletes old steps before the new
one could be sealed, and lists steps whose save failed. One vector of bytes, not an array a file:
each file is synced, and of several writes some go on when one fails. Not orbax's database (OCDBT):
its tables are always packed, and 13 KB of them unpacked to 400 MB.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import math
import os
import re
import reprlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from seqgan_jax import __version__
from seqgan_jax.data import files
from seqgan_jax.errors import CheckpointError, DiskError
from seqgan_jax.run import directory

FORMAT = 4  # of a checkpoint; goes up when a reader of today could not read it
MANIFEST = "MANIFEST.json"
MOST_FILES = 1_000  # in one checkpoint
MOST_MANIFEST = 4_000_000  # bytes
_TEMPORARY, _OLD = ".tmp-", ".old-"


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path: {"discriminator/conv1/kernel": array, ...}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}


@contextlib.contextmanager
def _orbax() -> Iterator[ocp.Checkpointer]:
    """For this process alone: of several that train together one saves, and waits for no other."""
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    # Weights hardly shrink, and what is not packed cannot unpack to more than is there.
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=False, use_compression=False, multiprocessing_options=alone
    )
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what fails is raised, and said once
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as orbax:
            yield orbax
    finally:
        log.setLevel(level)


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays (or of their shapes and dtypes) in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def most_bytes(tree: Any) -> int:
    """The size on disk that no checkpoint of a tree exceeds: arrays, and orbax's own words."""
    return 2 * num_bytes(tree) + 4096 * len(jax.tree.leaves(tree)) + 1_000_000


def _described(arrays: dict[str, Any]) -> dict[str, list[Any]]:
    """Type and shape of each array: {"head/kernel": ["float32", 7, 3], "round": ["int32"]}."""
    return {name: [np.dtype(leaf.dtype).name, *leaf.shape] for name, leaf in arrays.items()}


class Store:
    """The checkpoints of one run, opened for writing; `identity` says which settings they are of.

    Opening removes what a killed save left behind, never a step that has its name.
    """

    def __init__(self, folder: Path, keep: int, identity: str = "") -> None:
        self.folder, self._keep, self._identity = folder, keep, identity
        files.make_directory(folder)
        try:
            for path in folder.iterdir():
                if path.name.startswith((_TEMPORARY, _OLD)):
                    directory.remove(path)
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
            directory.remove(temporary)
            temporary.mkdir()
            self._write(temporary, step, state)
            os.rename(temporary, self.folder / str(step))
            _sync(self.folder)
            for old in steps(self.folder)[: -self._keep]:
                # Under another name first: a step that is half deleted must not look like one.
                os.rename(self.folder / str(old), self.folder / f"{_OLD}{old}")
                directory.remove(self.folder / f"{_OLD}{old}")
        except Exception as error:  # orbax raises many kinds
            with contextlib.suppress(OSError):
                directory.remove(temporary)
            raise _not_written(self.folder, step, error) from error

    def _write(self, folder: Path, step: int, state: Any) -> None:
        # As numpy arrays: nothing of the device or its sharding gets into the files.
        arrays = {name: np.asarray(leaf) for name, leaf in flatten(state).items()}
        content = np.concatenate([a.ravel().view(np.uint8) for a in arrays.values()])
        with _orbax() as orbax:
            orbax.save(folder.absolute() / "state", args=ocp.args.PyTreeSave({"bytes": content}))
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
            "arrays": _described(arrays),
            "files": contents,
        }
        files.write_text(folder / MANIFEST, _seal(manifest))


def _not_written(folder: Path, step: int, error: Exception) -> DiskError:
    # tensorstore has the system's error only in its text.
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


def verify(folder: Path, step: int, most: int, identity: str = "") -> dict[str, Any]:
    """The manifest of checkpoint `step`, every file of which is as it was written.

    `most` bounds its bytes; `identity` is compared with that of the settings it was written under,
    where both are known. Opens no file further. Raises CheckpointError with what is wrong.
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
        _check_files(path, manifest["files"], most)
        return manifest
    except (CheckpointError, OSError) as error:
        words = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"{files.printable(path)}: {words}.") from error


def _check_files(path: Path, expected: dict[str, Any], most: int) -> None:
    found = [name for name in _walk(path) if not name.endswith("/") and name != MANIFEST]
    if missing := [name for name in expected if name not in found]:
        raise CheckpointError(f"{files.printable(missing[0])} is missing")
    # A database would be opened in place of the vector.
    odd = [name for name in found if name not in expected or name.lower().endswith(".ocdbt")]
    if odd:
        raise CheckpointError(f"{files.printable(odd[0])} does not belong to it")
    sizes = {name: os.lstat(path / name).st_size for name in found}
    if sum(sizes.values()) > most:
        raise CheckpointError(f"is larger than its model could be ({sum(sizes.values()):,} bytes)")
    for name, size in sizes.items():
        if size != (wanted := expected[name].get("size")):
            raise CheckpointError(f"{files.printable(name)} has {size} bytes, not {wanted}")
        if _fingerprint(path / name) != expected[name]:
            raise CheckpointError(f"{files.printable(name)} is damaged (SHA-256 differs)")


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
        with open(path / MANIFEST, "rb") as file:
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
    wanted, where = _described(flatten(abstract)), folder / str(step)
    manifest = verify(folder, step, most_bytes(abstract), identity)
    try:
        _check_arrays(manifest.get("arrays"), wanted)
        with _orbax() as orbax:
            # What is stored is looked at before any of it is read.
            state = folder.absolute() / str(step) / "state"
            _check_vector(orbax.metadata(state).item_metadata.tree["bytes"], num_bytes(abstract))
            how = {"bytes": ocp.RestoreArgs(restore_type=np.ndarray)}
            content = orbax.restore(state, args=ocp.args.PyTreeRestore(restore_args=how))["bytes"]
    except CheckpointError as error:
        another = "The folder's config.json is of another run."
        raise CheckpointError(f"{where}: {error}. {another}") from error
    except Exception as error:  # orbax raises many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{where}: checkpoint cannot be read ({reason[0]}).") from error
    shapes, pieces = flatten(abstract), {}
    for name in manifest["arrays"]:  # in the order in which they were written
        leaf = shapes[name]
        piece, content = np.split(content, [num_bytes(leaf)])
        pieces[name] = piece.view(leaf.dtype).reshape(leaf.shape)
    leaves = [pieces[name] for name in shapes]
    tree = jax.tree.unflatten(jax.tree.structure(abstract), leaves)
    return jax.device_put(tree, jax.local_devices()[0])


def _check_arrays(stored: Any, wanted: dict[str, list[Any]]) -> None:
    """Raise CheckpointError unless the arrays of the manifest are the model's."""
    stored = stored if isinstance(stored, dict) else {}
    for name in sorted({*stored, *wanted}):
        found, expected = stored.get(name, "not there"), wanted.get(name, "not there")
        if found != expected:
            raise CheckpointError(
                f"{files.printable(name)} is {reprlib.repr(found)}, the model's {expected}"
            )


def _check_vector(found: Any, size: int) -> None:
    """Raise CheckpointError unless the stored vector has `size` bytes, in one piece, unpacked."""
    layout = found.storage
    if (found.dtype, found.shape, layout.chunk_shape) != (np.uint8, (size,), (size,)):
        raise CheckpointError("its vector has another size than its arrays")
    if layout.zarr_metadata.zarr_format != 2 or layout.zarr_metadata.compression is not None:
        raise CheckpointError("its vector is packed, and no checkpoint of this version is")


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
            names = (f"{step}.damaged" + f"-{i}" * (i > 0) for i in itertools.count())
            target = next(folder / name for name in names if not (folder / name).exists())
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


def _fingerprint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
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
