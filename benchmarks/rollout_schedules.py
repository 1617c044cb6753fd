"""Three ways to continue every prefix: masked, folded, nested loops; same noise, same samples.

    python benchmarks/rollout_schedules.py                 T = 12, 24, 48, 96
    python benchmarks/rollout_schedules.py --lengths 20 200 --gpu
    python benchmarks/rollout_schedules.py --quick

Masked: a lane for every prefix, T steps each. Folded: T // 2 lanes, each used twice. Nested: a loop
over prefixes and one over steps, each step a compiled call, as most implementations do it. The
samples are compared before anything is timed; the script fails where they differ.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
import work
from schedules import folded_schedule, masked_rollouts

from seqgan_jax.core import sampling
from seqgan_jax.core.batch import TrainState

TOLERANCE = 1e-3  # float32 over up to a hundred recurrent steps, values of unit variance


def nested(problem: work.Problem) -> Callable[[jax.Array], jax.Array]:
    """One rollout of every prefix by Python loops over prefixes and steps: `noise -> x_BJTD`."""
    length, state = problem.sizes.length, problem.state()
    policy = problem.nets.bind_policy(state.policy, state)
    x_BTD = work.batch(problem).x
    x_TBD = [x_BTD[:, t] for t in range(length)]
    given = jax.jit(partial(sampling.prefixes, policy))(x_BTD)
    steps, lanes = folded_schedule(length)

    @jax.jit
    def one(state: Any, inputs_BU: jax.Array, noise_TBLP: jax.Array, s: Any, lane: Any) -> Any:
        state, step = policy.step(state, inputs_BU)
        x, read = step.sample(noise_TBLP[s, :, lane])
        return state, policy.next_inputs(inputs_BU, x, read), x

    def run(noise_TBLP: jax.Array) -> jax.Array:
        out = []
        for p in range(1, length):
            state, inputs_BU = jax.tree.map(lambda leaf: leaf[p - 1], (given.states, given.inputs))  # noqa: B023
            values = x_TBD[:p]
            for t in range(p, length):
                place = steps[p - 1, t], lanes[p - 1]
                state, inputs_BU, x = one(state, inputs_BU, noise_TBLP, *place)
                values.append(x)
            out.append(jnp.stack(values, axis=1))
        return jnp.stack(out, axis=1)

    return run


def compare(sizes: work.Sizes, repeats: int, at_least: float, loops: bool) -> dict[str, Any]:
    """Times of one rollout of every prefix by each schedule, after an assertion that they agree."""
    problem = work.problem(sizes)
    state, x_BTD = problem.state(), work.batch(problem).x
    noise_TBLP = work.noise(jax.random.key(1), sizes)[0]

    def schedule(function: Any) -> Callable[[], jax.Array]:
        @jax.jit
        def run(state: TrainState, x_BTD: jax.Array, noise_TBLP: jax.Array) -> jax.Array:
            policy = problem.nets.bind_policy(state.policy, state)
            return function(policy, sampling.prefixes(policy, x_BTD), noise_TBLP)

        return lambda: jax.block_until_ready(run(state, x_BTD, noise_TBLP))

    calls = {"folded": schedule(sampling.rollouts), "masked": schedule(masked_rollouts)}
    if loops:
        by_hand = nested(problem)
        calls["nested"] = lambda: jax.block_until_ready(by_hand(noise_TBLP))
    samples = {name: np.asarray(call()) for name, call in calls.items()}
    for name, found in samples.items():
        difference = float(np.abs(found - samples["folded"]).max())
        if not difference < TOLERANCE:
            raise AssertionError(f"T = {sizes.length}: {name} differs from folded by {difference}")
    timings = measure.alternate(calls, repeats, at_least)
    row: dict[str, Any] = {"length": sizes.length, "batch": sizes.batch}
    for name, timing in timings.items():
        row |= timing.json(f"{name}_")
        row[f"{name}_ratio"] = timing.median / timings["folded"].median
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "repeats", "gpu")
    flags.add_argument("--lengths", type=int, nargs="+", help="values of T, from 2")
    flags.add_argument("--batch", type=int, default=64, help="sequences (default: 64)")
    options = measure.parse(flags, arguments)
    lengths = options.lengths or ((12, 24) if options.quick else (12, 24, 48, 96))
    found = []
    for length in lengths:
        sizes = work.Sizes(length=length, batch=options.batch, number=256, rollouts=1)
        # Nested loops cost T^2 / 2 dispatches: left out where a run of them takes minutes.
        found.append(
            compare(sizes, options.repeats, 0.02 if options.quick else 0.2, loops=length <= 200)
        )
    table = [
        [
            str(row["length"]),
            *(
                measure.duration(row[f"{k}_median"]) if f"{k}_median" in row else ""
                for k in ("folded", "masked", "nested")
            ),
            f"{row['masked_ratio']:.2f}",
            f"{row['nested_ratio']:.1f}" if "nested_ratio" in row else "",
        ]
        for row in found
    ]
    columns = ("T", "folded", "masked", "nested", "masked / folded", "nested / folded")
    title = f"One rollout of every prefix of {options.batch} sequences, same samples; medians"
    measure.show(title, columns, table)
    measure.write(options.json, "rollout_schedules", {"quick": options.quick, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
