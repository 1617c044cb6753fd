"""How near each kernel is to what the machine can do: matrix products and memory, both measured.

    python benchmarks/roofline.py                          float32, T = 20, D = 1, batch 64, N = 16
    python benchmarks/roofline.py --gpu --json FILE
    python benchmarks/roofline.py --quick

FLOPs are those of the matrix products, counted by hand; XLA's own count stands beside them (it
counts the body of a loop once and the elementwise operations as well). Bytes are the least that
must move: parameters, their gradients and moments, inputs and outputs, each once a pass. A kernel
near neither ceiling is held by something else: dispatch, elementwise functions, cache misses.
"""

import itertools
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import measure
import work

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core.batch import num_params
from seqgan_jax.core.columns import chain

COMPONENTS = GeneratorConfig.components  # of a mixture
FLOAT = 4  # bytes
# Times that a parameter's size is moved in one step of Adam with a clipped gradient: read forwards
# and backwards; gradient written, read for its norm, read again; moments and parameter both ways.
ADAM_PASSES = 2 + 3 + 6


def policy_flops(sizes: work.Sizes) -> float:
    """FLOPs of one step of one lane: gates of [u, h], and the head (a product: 2 m n k).

    Of a mixture also what ties its columns: sums of earlier ones, by blocks, and numbers of units.
    """
    features = sizes.features
    inputs, outputs, tied = 2 * features, 2 * features, 0
    if sizes.policy == "mixture":
        numbers = 3 * COMPONENTS
        outputs = numbers * features
        if features > 1:
            outputs += chain.HIDDEN
            tied = (
                features
                * chain.HIDDEN
                * ((features if features <= chain.MANY else chain.BLOCK) + numbers)
            )
    elif features > 1:
        outputs += features * (features - 1) // 2
    return 2.0 * (sizes.hidden * (4 * (inputs + sizes.hidden) + outputs) + tied)


def gradient_flops(sizes: work.Sizes) -> float:
    """FLOPs of the gradient of one batch's likelihood: forwards, and twice that backwards."""
    return 3.0 * sizes.batch * sizes.length * policy_flops(sizes)


def rollout_flops(sizes: work.Sizes) -> float:
    """Useful FLOPs of N rollouts of every prefix (`every` 1): T (T - 1) / 2 steps a sequence."""
    continued = range(sizes.every, sizes.length, sizes.every)
    steps = sum(sizes.length - prefix for prefix in continued) * sizes.rollouts + sizes.length
    return sizes.batch * steps * policy_flops(sizes)


def discriminator_flops(sizes: work.Sizes) -> float:
    """FLOPs of D on one sequence, forwards."""
    length, features = sizes.length, sizes.features
    if sizes.dis_size == "small":
        channels, width = 32, 3
        products = length * width * ((2 * features + 1) * channels + channels**2)
        products += 2 * (2 * channels) ** 2 + 2 * channels**2 + channels
        return 2.0 * products
    # The side columns of a 3 x 3 kernel meet padding alone where there is one feature.
    columns = sum(min(features, c + 2) - max(0, c - 1) for c in range(features))
    flat = 32 * length * features
    products = 3 * length * columns * (64 + 64 * 32) + 4 * flat**2
    dense = (flat, 1024, 512, 256, 128, 64, 32, 64, 2)
    products += sum(a * b for a, b in itertools.pairwise(dense))
    return 2.0 * products


def matmul_ceiling(sizes: Sequence[int], repeats: int) -> tuple[float, list[dict[str, float]]]:
    """FLOP/s of the best square float32 product."""
    rows = []
    for n in sizes:
        a = jax.random.normal(jax.random.key(0), (n, n))
        product = jax.jit(jnp.matmul)
        timing = measure.timed(lambda f=product, a=a: jax.block_until_ready(f(a, a)), repeats)
        rows.append({"n": n, "flops_per_second": 2 * n**3 / timing.min} | timing.json())
    return max(row["flops_per_second"] for row in rows), rows


def memory_ceiling(numbers: int, repeats: int) -> tuple[float, list[dict[str, Any]]]:
    """Bytes a second of the better of copy (2 arrays) and triad a + s b (3 arrays)."""
    a = jnp.arange(numbers, dtype=jnp.float32)
    b = a + 1.0
    kernels = {
        "copy": (jax.jit(lambda a, b: a + 0.5), 2),  # noqa: ARG005
        "triad": (jax.jit(lambda a, b: a + 3.0 * b), 3),
    }
    rows = []
    for name, (kernel, arrays) in kernels.items():
        timing = measure.timed(lambda f=kernel: jax.block_until_ready(f(a, b)), repeats)
        rate = arrays * numbers * FLOAT / timing.min
        rows.append({"kernel": name, "bytes_per_second": rate} | timing.json())
    return max(row["bytes_per_second"] for row in rows), rows


def kernels(sizes: work.Sizes, repeats: int, at_least: float, full: bool) -> list[dict[str, Any]]:
    """Time, FLOPs and bytes of each kernel for this discriminator; of the policy where `full`."""
    problem = work.problem(sizes)
    state = problem.state()
    weights = num_params(state.discriminator)
    sequence = sizes.length * sizes.features
    lanes = sizes.batch * (sizes.length - 1)  # what D is given at once on a CPU
    forward = discriminator_flops(sizes)
    d_call, d_steps = work.discriminator_passes(problem, 3)
    scores = {number: work.compiled_scores(problem, number) for number in (sizes.batch, lanes)}
    found: list[tuple[str, Any, int, float, float | None, float]] = [
        (
            f"D, {number} sequences",
            program,
            1,
            number * forward,
            program.flops(),
            FLOAT * (weights + number * (sequence + 1)),
        )
        for number, program in scores.items()
    ]
    bytes_ = FLOAT * (ADAM_PASSES * weights + sizes.batch * sequence)
    found.append(("D step", d_call, d_steps, 3 * sizes.batch * forward, None, bytes_))
    if full:
        g_call, g_steps = work.likelihood_epoch(problem)
        weights = num_params(state.policy)
        gradient, rollouts = work.compiled_gradient(problem), work.compiled_rollouts(problem)
        least = FLOAT * ((ADAM_PASSES + 3) * weights + sizes.batch * sequence)  # and the average
        flops = gradient_flops(sizes)
        found.append(("G gradient", gradient, 1, flops, gradient.flops(), FLOAT * 3 * weights))
        found.append(("G step", g_call, g_steps, flops, None, least))
        written = FLOAT * sizes.rollouts * lanes * sequence
        flops = rollout_flops(sizes)
        found.append(("rollouts", rollouts, 1, flops, rollouts.flops(), written))
    rows = []
    for name, call, unit, flops, by_xla, moved in found:
        timing = measure.timed(call, repeats, at_least, unit)
        rows.append(
            {"kernel": name, "dis_size": sizes.dis_size, "flops": flops, "flops_xla": by_xla}
            | {"bytes": moved}
            | timing.json()
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    options = measure.parse(measure.parser(__doc__, "repeats", "gpu"), arguments)
    quick, at_least = options.quick, 0.05 if options.quick else 0.2
    large = () if quick else (2048, 4096)
    products, product_rows = matmul_ceiling((256, 512, 1024, *large), options.repeats)
    memory, memory_rows = memory_ceiling(2**24 if quick else 2**26, options.repeats)
    rows = []
    for name in ("reference", "small"):
        number, negatives = (640, 128) if quick else (10_000, 1000)
        sizes = work.Sizes(dis_size=name, number=number, negatives=negatives)
        rows += kernels(sizes, options.repeats, at_least, full=name == "small")
    table = []
    for row in rows:
        row["matmul_share"] = row["flops"] / row["median"] / products
        row["memory_share"] = row["bytes"] / row["median"] / memory
        xla = f"{row['flops_xla'] / 1e6:,.1f}" if row["flops_xla"] else ""
        table.append(
            [
                row["kernel"],
                row["dis_size"],
                measure.duration(row["median"]),
                f"{row['flops'] / 1e6:,.1f}",
                xla,
                f"{row['bytes'] / 1e6:,.2f}",
                f"{row['flops'] / row['median'] / 1e9:,.1f}",
                f"{row['matmul_share']:.0%}",
                f"{row['memory_share']:.0%}",
            ]
        )
    title = (
        f"Ceilings: {products / 1e9:,.0f} GFLOP/s in products, {memory / 1e9:,.1f} GB/s; medians"
    )
    columns = (
        "kernel",
        "D",
        "time",
        "MFLOP",
        "by XLA",
        "MB",
        "GFLOP/s",
        "of products",
        "of memory",
    )
    measure.show(title, columns, table)
    content = {"matmul_flops_per_second": products, "memory_bytes_per_second": memory, "rows": rows}
    content |= {"matmul": product_rows, "memory": memory_rows, "quick": quick}
    measure.write(options.json, "roofline", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
