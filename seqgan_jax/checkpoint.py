"""Checkpoints of the training state: the only file that imports orbax.

A state is saved as one flat dict of arrays by path ("generator/head", "round", ...), so that what
is on disk can be read without this package's classes. Saves are synchronous: orbax may list a step
whose asynchronous save failed.
"""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from seqgan_jax.errors import CheckpointError, DiskError

logging.getLogger("absl").setLevel(logging.ERROR)


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path: {"discriminator/conv1/kernel": array, ...}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _manager(folder: Path, keep: int | None, read_only: bool) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None if read_only else keep,
        create=not read_only,
        cleanup_tmp_directories=not read_only,
        enable_async_checkpointing=False,
        read_only=read_only,
    )
    return ocp.CheckpointManager(folder.absolute(), options=options, item_names=("state",))


class Store:
    """The checkpoints of one run, opened for writing."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        try:
            self._orbax = _manager(folder, keep, read_only=False)
        except OSError as error:
            raise DiskError(f"{folder}: cannot be used for checkpoints ({error}).") from error

    def save(self, step: int, state: Any) -> None:
        """Write `state` as checkpoint `step`; on return it is on disk. Raises DiskError."""
        if step in self._orbax.all_steps():
            return
        try:
            args = ocp.args.Composite(state=ocp.args.StandardSave(flatten(state)))
            self._orbax.save(step, args=args, force=True)
            self._orbax.wait_until_finished()
        except (OSError, ValueError) as error:
            raise DiskError(
                f"{self.folder}: checkpoint {step} could not be written ({error}). "
                "Free some space or name another --run-dir; earlier checkpoints are untouched."
            ) from error

    def close(self) -> None:
        """Release orbax's resources."""
        self._orbax.close()


def steps(folder: Path) -> list[int]:
    """Numbers of the checkpoints in `folder`, ascending; empty where there are none."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdecimal())


def restore(folder: Path, step: int, abstract: Any) -> Any:
    """Checkpoint `step` as a tree like `abstract` (shapes and dtypes), on this process's device.

    Raises CheckpointError where it is missing, unreadable, or of other shapes.
    """
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)
        for name, leaf in flatten(abstract).items()
    }
    try:
        manager = _manager(folder, None, read_only=True)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        flat = manager.restore(step, args=args)["state"]
        manager.close()
    except Exception as error:  # orbax raises many kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{folder / str(step)}: checkpoint cannot be read ({reason[0]}). "
            "Give another folder, or delete that step to use the one before."
        ) from error
    for name, leaf in target.items():
        if flat[name].shape != leaf.shape:
            raise CheckpointError(
                f"{folder / str(step)}: {name} has shape {flat[name].shape}, expected "
                f"{leaf.shape}. The folder's config.json is of another run."
            )
    paths, structure = jax.tree_util.tree_flatten_with_path(abstract)
    return jax.tree_util.tree_unflatten(structure, [flat[_name(path)] for path, _ in paths])
