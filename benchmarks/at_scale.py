"""What many seeds on much data take: memory, and which axis to share; on paper and simulated.

    python benchmarks/at_scale.py                 1,000 seeds, 10^9 windows, 64 devices
    python benchmarks/at_scale.py --seeds 64 --windows 1e7 --devices 8 --length 128 --features 28
    python benchmarks/at_scale.py --quick

On paper: bytes of one seed's state are counted on its arrays, temporary ones are what XLA reserves
for as many seeds as a device has; flops are those of matrix products (`roofline.py`); a step of the
policy takes at least 2 T launches one after the other, each `--launch` microseconds. `exchanged` is
what a device sends in a step where one run's batch is shared (a ring: 2 (n - 1) / n of the
gradient), and `kept` the share of the time that is then still spent on computing, each device with
a whole batch of its own, by the faster and the slower link. Seeds exchange nothing.

By simulation: as many fake devices in a process of its own, a seed on each, and some of the same
seeds alone; `difference` is the largest one of their validation losses, nats a step.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
import roofline
import work

from seqgan_jax import SeqGAN
from seqgan_jax.core import adversarial, keys, likelihood
from seqgan_jax.data.layout import load

GROUPS = {
    "policy, its optimiser and averages": ("policy", "policy_opt", "ema", "best", "rollout"),
    "discriminator and its optimiser": ("discriminator", "discriminator_opt"),
}
FLOAT = roofline.FLOAT
SEQUENCES = 100_000  # of a buffer of streamed data, as `--buffer` has by default
SHORT = {"pre_epoch_num": 3, "dis_pre_refreshes": 2, "total_batch": 2, "look_first": False}
ALONE = 3  # seeds that the simulation also trains alone


@dataclass(frozen=True)
class Device:
    """What a device and its links can do: flop/s, bytes/s, seconds a launch."""

    flops: float
    memory: float
    launch: float
    links: tuple[float, float]


def state_bytes(state: Any, seeds: int = 1) -> dict[str, int]:
    """Bytes of each group of a seed's state, times seeds."""
    found = {
        name: seeds
        * sum(leaf.nbytes for part in parts for leaf in jax.tree.leaves(getattr(state, part)))
        for name, parts in GROUPS.items()
    }
    return found | {"all": seeds * sum(leaf.nbytes for leaf in jax.tree.leaves(state))}


def temporary_bytes(problem: work.Problem, seeds: int) -> dict[str, int]:
    """What XLA reserves for intermediate values of each phase's program with so many seeds."""
    one = jax.eval_shape(problem.state)  # shapes alone: 16 seeds of the reference's D are 30 GB
    lead = (seeds,) if seeds > 1 else ()
    state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(lead + leaf.shape, leaf.dtype), one)
    key = jax.eval_shape(lambda: keys.seed_keys(0, seeds))
    shared = {"nets": problem.nets, "batch_size": problem.sizes.batch, "seeds": seeds}
    count, zero = jnp.array(1), jnp.array(0)
    epochs = partial(likelihood.epochs, config=problem.generator, **shared)
    updates = partial(adversarial.policy_updates, config=problem.adversarial, **shared)
    refresh = partial(adversarial.discriminator_epochs, config=problem.discriminator, **shared)
    programs = {
        "likelihood": (epochs, (count,)),
        "policy update": (updates, (count,)),
        "discriminator": (refresh, (jnp.array(keys.ADVERSARY), zero, count)),
    }
    found = {}
    for name, (program, more) in programs.items():
        compiled = jax.jit(program).lower(state, problem.parts, key, *more).compile()
        found[name] = int(compiled.memory_analysis().temp_size_in_bytes)
    return found


def kept(compute: float, exchanged: float, link: float) -> float:
    """Share of a step that is computing, where the gradient is sent after it, bytes by bytes/s.

    >>> kept(1e-3, 1e6, 1e9)
    0.5
    """
    return compute / (compute + exchanged / link)


def steps(problem: work.Problem, device: Device, devices: int) -> list[dict[str, Any]]:
    """Flops, bytes, least seconds and exchange of a step of each network, one batch a device."""
    sizes = problem.sizes
    state = problem.state()
    kernels = {
        "policy (G)": (state.policy, roofline.gradient_flops(sizes), 2 * sizes.length),
        "discriminator (D)": (
            state.discriminator,
            3.0 * sizes.batch * roofline.discriminator_flops(sizes),
            20,
        ),
    }
    found = []
    for name, (params, flops, launches) in kernels.items():
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        moved = FLOAT * (
            roofline.ADAM_PASSES * weights + sizes.batch * sizes.length * sizes.features
        )
        parts = {
            "products": flops / device.flops,
            "memory": moved / device.memory,
            "launches": launches * device.launch,
        }
        seconds, exchanged = max(parts.values()), 2 * (devices - 1) / devices * FLOAT * weights
        found.append(
            {"step": name, "flops": flops, "bytes": moved, "seconds": seconds}
            | {"bound": max(parts, key=lambda part: parts[part]), "exchanged": exchanged}
            | {"kept": [kept(seconds, exchanged, link) for link in device.links]}
        )
    return found


def simulated(seeds: int, devices: int) -> dict[str, Any]:
    """All phases, cut short, of seeds on devices, and of the first few alone."""
    sequences = load("ar1", window=8, num_sequences=400)
    shared = SHORT | {"hidden_dim": 8, "num_negatives": 64, "rollout_num": 2, "batch_size": 16}
    together = SeqGAN(seed=0, num_seeds=seeds, devices=devices, **shared).fit(sequences)
    losses = np.array([run["validation_nll"] for run in together.runs()])
    alone = [SeqGAN(seed=i, data_seed=0, **shared).fit(sequences) for i in range(ALONE)]
    own = np.array([float(model.runs()[0]["validation_nll"]) for model in alone])
    return {
        "devices": len(jax.devices()),
        "seeds": seeds,
        "difference": float(np.abs(losses[:ALONE] - own).max()),
    }


def _size(number: float) -> str:
    """Bytes in a readable unit.

    >>> _size(37_000), _size(4e12)
    ('37 kB', '4 TB')
    """
    power = min(4, int(np.log10(max(number, 1)) // 3))
    return f"{number / 1e3**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute, simulate, print and write; with `--child` the simulation, as JSON."""
    flags = measure.parser(__doc__, "gpu", "child")
    for name, default in (("seeds", 1000), ("devices", 64), ("length", 24), ("features", 8)):
        flags.add_argument(f"--{name}", type=int, default=default)
    flags.add_argument("--windows", type=float, default=1e9)
    flags.add_argument("--tflops", type=float, default=40.0, help="that a device reaches")
    flags.add_argument("--memory", type=float, default=3000.0, help="its bandwidth, GB/s")
    flags.add_argument("--launch", type=float, default=4.0, help="microseconds of one launch")
    links = "bandwidths of the faster and the slower link, GB/s"
    flags.add_argument("--links", type=float, nargs=2, default=(450.0, 12.5), help=links)
    options = measure.parse(flags, arguments)
    if options.child:
        print(json.dumps(simulated(**options.child)))
        return 0
    each = -(-options.seeds // options.devices)
    device = Device(
        options.tflops * 1e12,
        options.memory * 1e9,
        options.launch * 1e-6,
        tuple(1e9 * link for link in options.links),
    )
    rows, content = [], {}
    for dis_size in ("small", "reference"):
        sizes = work.Sizes(options.length, options.features, number=256, dis_size=dis_size)
        problem = work.problem(sizes)
        of_state = state_bytes(problem.state())
        temporary = temporary_bytes(problem, 1 if options.quick else each)
        paper = steps(problem, device, options.devices)
        content[dis_size] = {"state": of_state, "temporary": temporary, "steps": paper}
        for name, size in of_state.items():
            cells = [f"{dis_size}: {name}", _size(size), _size(size * each)]
            rows.append([*cells, _size(size * options.seeds)])
        of_programs = max(temporary.values())
        rows.append([f"{dis_size}: temporary, the largest program", "", _size(of_programs), ""])
    sequence = FLOAT * options.length * options.features
    data = options.windows * sequence
    buffers = 2 * SEQUENCES * sequence  # one is read while the other is used
    rows.append(["data: all windows, in files", "", "", _size(data)])
    rows.append(["data: two buffers of a stream", "", _size(buffers), ""])
    measure.show(
        f"Memory: {options.seeds:,} seeds on {options.devices} devices, {options.windows:.3g} "
        f"windows of {options.length} steps in {options.features} columns",
        ("what", "one seed", f"a device ({each} seeds)", "in all"),
        rows,
    )
    table = []
    for dis_size, found in content.items():
        for row in found["steps"][0 if dis_size == "small" else 1 :]:
            name = row["step"] + (f", {dis_size}" if "D" in row["step"] else "")
            cells = [name, f"{row['flops'] / 1e9:.3g}", _size(row["bytes"])]
            cells += [measure.duration(row["seconds"]), row["bound"], _size(row["exchanged"])]
            table.append([*cells, *(f"{share:.0%}" for share in row["kept"])])
    names = ("step of batch 64", "GFLOP", "moved", "least time", "bound by", "exchanged")
    both = [f"kept at {link:g} GB/s" for link in options.links]
    measure.show("A step, and sharing a batch", (*names, *both), table)
    epoch = options.windows / work.Sizes.batch * content["small"]["steps"][0]["seconds"]
    print(
        f"\nAn epoch of all windows by one run: at least {measure.duration(epoch)} on one device, "
        f"{measure.duration(epoch / options.devices)} where {options.devices} share a batch of "
        f"{work.Sizes.batch * options.devices:,}."
    )
    number = 4 if options.quick else options.devices
    found = measure.in_child(
        __file__,
        {"seeds": number, "devices": number},
        xla_flags=f"--xla_force_host_platform_device_count={number}",
    )
    print(f"Simulated on fake devices: {found}")
    measure.write(options.json, "at_scale", content | {"simulated": found, "data_bytes": data})
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main())
