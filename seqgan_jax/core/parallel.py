"""Several devices, several processes: where arrays lie, and what all processes agree on.

One axis of devices. It carries whole runs where many seeds train (nothing to exchange), else the
batch of one run (gradients are summed over devices). JAX partitions the programs by the placement
of their arguments (SPMD); nothing else in the package knows of devices.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from seqgan_jax.errors import DeviceError, UsageError

SEEDS, BATCH = "seeds", "batch"
Tree = TypeVar("Tree")


def on_cpu() -> bool:
    """Whether programs are for a CPU: pieces that fit its cache are faster than one large one."""
    return jax.default_backend() == "cpu"


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several that train together; `auto` asks the cluster (SLURM, TPU).

    Call before anything is computed. Raises DeviceError where they do not find each other.
    """
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            f"--coordinator {coordinator}: the processes did not find each other "
            f"({str(error).splitlines()[0]}). Start all of them with the same --coordinator "
            "HOST:PORT of process 0 and the same --processes, each with its own --process."
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def make_mesh(devices: int, seeds: int, batch_size: int) -> Mesh | None:
    """The axis of `devices` devices (0: all), or None for one device of one process.

    Raises DeviceError where there are fewer, UsageError where the work cannot be shared evenly.
    """
    there = len(jax.devices())
    number = devices or there
    if jax.process_count() > 1 and number != there:
        raise UsageError(
            f"--devices {devices}: {jax.process_count()} processes have {there} devices together "
            "and must use all of them. Leave out --devices, or set it to 0."
        )
    if number == 1:
        return None
    if number > there:
        raise DeviceError(
            f"--devices {devices}: JAX sees {there}. On a CPU, "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={number} makes {number} of it."
        )
    axis, size, flag = (
        (SEEDS, seeds, "--num-seeds") if seeds > 1 else (BATCH, batch_size, "--batch-size")
    )
    if size % number:
        raise UsageError(
            f"{flag} {size} cannot be shared by {number} devices. Make it a multiple of {number}."
        )
    return jax.make_mesh((number,), (axis,), axis_types=(AxisType.Auto,))


def context(mesh: Mesh | None) -> Any:
    """Inside it, `shard` knows the mesh."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def shard(x: jax.Array, axis: int) -> jax.Array:
    """Inside a jitted function: `axis` of x is a batch, which the devices share."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or BATCH not in mesh.axis_names:
        return x
    return lax.with_sharding_constraint(x, P(*(None,) * axis, BATCH))


def shard_rows(tree: Tree) -> Tree:
    """Inside a jitted function: the first axis of every array is a batch."""
    return jax.tree.map(lambda leaf: shard(leaf, 0), tree)


def place(tree: Tree, mesh: Mesh | None, axis: str | None) -> Tree:
    """Arrays on the mesh: their first axis along `axis` if the mesh has it, else a copy on each."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, P(axis) if axis in mesh.axis_names else P())

    def put(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(put, tree)


def place_rows(
    shape: tuple[int, ...], read: Callable[[slice], np.ndarray], mesh: Mesh | None, axis: str | None
) -> jax.Array:
    """Rows on the mesh, shared along `axis` if the mesh has it, else all on each device.

    `read(rows)` gives some of them: each process reads only those of its own devices. A last few
    that the devices cannot share evenly are left out.
    """
    if mesh is None or axis not in mesh.axis_names:
        return place(jnp.asarray(read(slice(0, shape[0]))), mesh, None)
    shape = (shape[0] // mesh.devices.size * mesh.devices.size, *shape[1:])
    sharding = NamedSharding(mesh, P(axis))
    return jax.make_array_from_callback(
        shape, sharding, lambda index: read((index or (slice(None),))[0])
    )


def all_gather(tree: Tree) -> Tree:
    """The same arrays, all of each on this process: for files, and for going on elsewhere."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    def gather(leaf: jax.Array) -> Any:
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        return multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(gather, tree)


def broadcast_tree(tree: Tree) -> Tree:
    """The first process's arrays, in all of them: only that one reads checkpoints."""
    if jax.process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(tree)


def broadcast(value: int) -> int:
    """The first process's value, in all of them: they must run the same programs."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))
