"""This package against a fast PyTorch implementation of the same algorithm, in one run.

    pip install torch                                      it is no dependency of the project
    python benchmarks/versus_torch.py --json FILE
    python benchmarks/versus_torch.py --reference DIR      also a checkout of nikhilr2907/SeqGAN
    python benchmarks/versus_torch.py --quick              small sizes, the larger D
    python benchmarks/versus_torch.py --only table         the default run's work alone

Sizes: T = 20, D = 1, batch 64, N = 16, 10,000 sequences, all cores for both. The same likelihood,
logits and rollouts from the same weights and noise are asserted first. The columns are timed in
turn, so that a noisy neighbour hits all. A round has 5 draws of `--negatives` sequences and 3
passes over them and as many real ones (the reference's schedule has 10,000, for which see
`--negatives`); no R1 penalty on any side.
`table` is what the default run does on the bundled table: columns on grids with words and repeats,
a mixture, REINFORCE with N = 4 rollouts of every second prefix, 5 updates a round, R1;
discriminators see columns as they are scaled. Torch's R1 is eager, since torch.compile has no
second gradient.
`ratio`: how many times faster ours is than the better of eager and compiled PyTorch.
"""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import measure
import numpy as np
import work
from schedules import folded_schedule

from seqgan_jax.core import sampling

WORKS = ("g_step", "d_step", "rollouts", "reward", "round")


class Reference:
    """The reference in a child process that times its own functions."""

    def __init__(self, checkout: Path, sizes: work.Sizes) -> None:
        names = ("batch", "number", "negatives", "rollouts", "refreshes", "passes")
        settings = {name: getattr(sizes, name) for name in names} | {"threads": measure.cores()}
        server = Path(__file__).with_name("reference_server.py")
        self._child = subprocess.Popen(
            [sys.executable, str(server), str(checkout), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, name: str) -> float:
        try:
            print(name, file=self._child.stdin, flush=True)
            return float(self._child.stdout.readline())
        except (OSError, ValueError) as error:
            raise RuntimeError(
                "--reference: the child process ended. Run it by hand to see why: "
                f"{' '.join(self._child.args[:3])} ..."
            ) from error

    def close(self) -> None:
        """End the child."""
        self._child.stdin.close()
        self._child.wait(timeout=60)


def figures_of_ours(problem: work.Problem) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Our policy, a batch of real sequences, their log-likelihoods a step [B, T] and logits [B]."""
    state, real = problem.state(), work.batch(problem)
    ours = problem.nets.bind_policy(state.policy, state)
    discriminator = problem.nets.bind_discriminator(state.discriminator, state)
    log_prob_BT = np.asarray(jax.jit(ours.log_prob)(real)).sum(axis=-1)
    return ours, real, log_prob_BT, np.asarray(jax.jit(discriminator)(real))


def check(problem: work.Problem) -> dict[str, float]:
    """Largest differences between ours and torch for the same weights and noise; raises if large.

    Log-likelihoods a step and logits to 1e-5 of their size, rollouts (20 recurrent steps) to 1e-4.
    """
    import torch
    import torch_training

    sizes = problem.sizes
    ours, real, log_prob_BT, logits_B = figures_of_ours(problem)
    x_TBD = torch_training.tensor(real.x).transpose(0, 1)
    noise = work.noise(jax.random.key(3), sizes)
    continued = jax.jit(
        lambda x, n: work.many_rollouts(ours, x, n, sampling.rollouts, sizes.rollouts)
    )(real.x, noise)
    steps, lanes = folded_schedule(sizes.length)
    by_place = np.asarray(noise).swapaxes(2, 3)[:, steps, lanes[:, None]]  # [M, J, T, B, D]
    noise_TJLD = torch.tensor(
        by_place.transpose(2, 1, 0, 3, 4).reshape(sizes.length, sizes.length - 1, -1, 1)
    )
    found = {"log_prob": 0.0, "logits": 0.0, "rollouts": 0.0}
    with torch.inference_mode():
        for unrolled in (False, True):
            policy = torch_training.policy(problem, unrolled)
            theirs = policy.log_prob_and_entropy(x_TBD)[0].T.numpy()
            found["log_prob"] = max(found["log_prob"], relative(theirs, log_prob_BT))
        logits = torch_training.discriminator(problem).eval()(x_TBD.transpose(0, 1)).numpy()
        found["logits"] = relative(logits, logits_B)
        x_JLTD = policy.rollouts(x_TBD, noise_TJLD).numpy()
    x_JMBTD = x_JLTD.reshape(sizes.length - 1, sizes.rollouts, sizes.batch, sizes.length, 1)
    found["rollouts"] = relative(x_JMBTD.transpose(1, 2, 0, 3, 4), np.asarray(continued))
    limits = {"log_prob": 1e-5, "logits": 1e-5, "rollouts": 1e-4}
    for name, difference in found.items():
        if not difference <= limits[name]:
            raise AssertionError(f"{name}: torch differs from ours by {difference:.2g}")
    return found


def check_table(problem: work.Problem) -> dict[str, float]:
    """The same of the default run's columns: raises if large.

    Of rollouts the share of sequences that differ: where a level or an option hangs on the last
    digit, all that comes after it is another.
    """
    import torch
    import torch_mixed
    import torch_training

    sizes = problem.sizes
    ours, real, log_prob_BT, logits_B = figures_of_ours(problem)
    x_TBD = torch_training.tensor(real.x).transpose(0, 1)
    noise_TBLP = work.noise(jax.random.key(3), sizes)[0]

    @jax.jit
    def continued(x_BTD: jax.Array, noise_TBLP: jax.Array) -> jax.Array:
        given = sampling.prefixes(ours, x_BTD)
        return sampling.rollouts(ours, given, noise_TBLP, every=sizes.every)

    x_BJTD = np.asarray(continued(real.x, noise_TBLP))
    steps, lanes = folded_schedule(sizes.length, sizes.every)
    by_place = np.asarray(noise_TBLP).swapaxes(1, 2)[steps, lanes[:, None]]  # [J, T, B, P]
    noise_TJBP = torch.tensor(by_place.swapaxes(0, 1).copy())
    found = {"log_prob": 0.0}
    with torch.inference_mode():
        for unrolled in (False, True):
            policy = torch_mixed.policy(problem, unrolled)
            theirs = policy.log_prob_and_entropy(x_TBD)[0].T.numpy()
            found["log_prob"] = max(found["log_prob"], relative(theirs, log_prob_BT))
        logits = torch_mixed.discriminator(problem).eval()(x_TBD.transpose(0, 1)).numpy()
        found["logits"] = relative(logits, logits_B)
        x_JBTD = policy.rollouts(x_TBD, noise_TJBP, every=sizes.every).numpy()
    differs = np.abs(x_JBTD.swapaxes(0, 1) - x_BJTD) > 1e-3
    found["rollouts"] = float(differs.any(axis=(2, 3)).mean())
    limits = {"log_prob": 1e-4, "logits": 1e-4, "rollouts": 0.02}
    for name, difference in found.items():
        if not difference <= limits[name]:
            raise AssertionError(f"table, {name}: torch differs from ours by {difference:.2g}")
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, relative to the largest value where that is above one."""
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def calls(
    problem: work.Problem, passes: int
) -> dict[str, dict[str, tuple[Callable[[], Any], int]]]:
    """For each work a call and its number of units, of ours, eager and compiled torch."""
    import torch_mixed
    import torch_training

    sizes = problem.sizes
    g_call, g_steps = work.likelihood_epoch(problem)
    d_call, d_steps = work.discriminator_passes(problem, passes)
    found: dict[str, dict[str, tuple[Callable[[], Any], int]]] = {
        "g_step": {"ours": (g_call, g_steps)},
        "d_step": {"ours": (d_call, d_steps)},
        "rollouts": {"ours": (work.lazily(lambda: work.compiled_rollouts(problem)), 1)},
        "reward": {"ours": (work.lazily(lambda: work.compiled_reward(problem)), 1)},
        "round": {"ours": (work.adversarial_round(problem), 1)},
    }
    for column, compiled in (("torch_eager", False), ("torch_compiled", True)):
        mixed = problem.sizes.policy == "mixture"
        trainer = (torch_mixed if mixed else torch_training).Trainer(problem, compiled)
        x_TBD = torch_training.tensor(work.batch(problem).x).transpose(0, 1).contiguous()
        works = {
            "g_step": (trainer.likelihood, sizes.number // sizes.batch),
            "d_step": (lambda t=trainer: t.discriminating(passes), d_steps),
            "rollouts": (lambda t=trainer, x=x_TBD: t.rollouts(x), 1),
            "reward": (lambda t=trainer, x=x_TBD: t.reward(x), 1),
            "round": (trainer.round, 1),
        }
        for name, call in works.items():
            found[name][column] = call
    return found


def compare(
    problem: work.Problem, repeats: int, passes: int, reference: Path | None, works: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of seconds (medians), with min, max and the first call of each column beside them."""
    sizes, every = problem.sizes, calls(problem, passes)
    columns_of = {name: every[name] for name in works}
    theirs = Reference(reference, sizes) if reference else None
    first: dict[str, dict[str, float]] = {}
    times: dict[str, dict[str, list[float]]] = {}
    for name, columns in columns_of.items():
        first[name] = {column: measure.seconds(call) for column, (call, _) in columns.items()}
        times[name] = {column: [] for column in columns}
        if theirs:
            theirs(name)  # warm
            times[name]["reference"] = []
    # All works in each repeat: a shared machine's bad seconds do not hit one work alone.
    for _ in range(repeats):
        for name, columns in columns_of.items():
            for column, (call, unit) in columns.items():
                times[name][column].append(measure.seconds(call) / unit)
            if theirs:
                times[name]["reference"].append(theirs(name))
    rows = []
    for name in works:
        medians = {column: float(np.median(values)) for column, values in times[name].items()}
        data = "table" if sizes.policy == "mixture" else sizes.dis_size
        row = {"work": name, "dis_size": data} | with_ratios(medians)
        row["spread"] = {c: [min(v), max(v)] for c, v in times[name].items()}
        row["first_call"] = first[name]
        rows.append(row)
    if theirs:
        theirs.close()
    return rows


def with_ratios(seconds: dict[str, float]) -> dict[str, Any]:
    """Seconds of each column, and how many times ours the best torch and the reference take."""
    best, theirs = min(seconds["torch_eager"], seconds["torch_compiled"]), seconds.get("reference")
    ratio = None if theirs is None else theirs / seconds["ours"]
    more = {"ratio": best / seconds["ours"], "reference_ratio": ratio}
    return {"reference": None} | seconds | more


def least(row: dict[str, Any]) -> dict[str, Any]:
    """The row of each column's least seconds: a shared machine only ever adds to them."""
    return row | with_ratios({column: low for column, (low, _) in row["spread"].items()})


def table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Cells of the printed table."""
    out = []
    for row in rows:
        seconds = [row[c] for c in ("ours", "torch_eager", "torch_compiled", "reference")]
        cells = [measure.duration(v) if v is not None else "" for v in seconds]
        other = row["reference_ratio"]
        out.append([row["work"], row["dis_size"], *cells, f"{row['ratio']:.2f}"])
        out[-1].append(f"{other:.1f}" if other else "")
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, measure, print and write."""
    flags = measure.parser(__doc__, "repeats")
    flags.add_argument("--reference", type=Path, help="checkout of the reference to time as well")
    flags.add_argument("--only", choices=("series", "table"), help="one of the two")
    flags.add_argument("--negatives", type=int, help="sequences drawn for D (default: 1000)")
    options = measure.parse(flags, arguments)
    if importlib.util.find_spec("torch") is None:
        print(
            "versus_torch.py compares with PyTorch, which is not installed. Install it beside the "
            f"project: {sys.executable} -m pip install torch",
            file=sys.stderr,
        )
        return 2
    if options.reference and not (options.reference / "src" / "models" / "rollout.py").is_file():
        flags.error(
            f"--reference {options.reference}: no src/models/rollout.py there. Name a checkout of "
            "github.com/nikhilr2907/SeqGAN."
        )
    import torch

    torch.set_num_threads(measure.cores())
    started, rows, checks = time.perf_counter(), [], {}
    quick = options.quick
    series = () if options.only == "table" else ("reference", "small")[: 1 if quick else 2]
    sizes = work.Sizes()
    for dis_size in series:
        sizes = work.Sizes(
            dis_size=dis_size,
            number=640 if quick else 10_000,
            rollouts=4 if quick else 16,
            negatives=options.negatives or (64 if quick else 1000),
            passes=1 if quick else 3,
            refreshes=1 if quick else 5,
        )
        checks[dis_size] = check(work.problem(work.replace(sizes, rollouts=2)))
        # The reference has one discriminator; policy and rollouts do not depend on its size.
        larger = dis_size == "reference"
        works = WORKS if larger else ("d_step", "reward", "round")
        reference = options.reference if larger else None
        problem = work.problem(sizes)
        rows += compare(problem, options.repeats, 2 if quick else 3, reference, works)
    if options.only != "series":
        problem = work.table_problem(quick)
        checks["table"] = check_table(problem)
        rows += compare(problem, options.repeats, 2 if quick else 3, None, WORKS)
    title = "Medians; rollouts, reward and round of 64 sequences"
    names = ("work", "D", "ours", "torch eager", "torch compiled", "reference")
    names += ("torch / ours", "reference / ours")
    measure.show(title, names, table(rows))
    title = f"The least of {options.repeats}, which a shared machine's bad seconds leave alone"
    measure.show(title, names, table(list(map(least, rows))))
    import reference_server

    content = {
        "quick": quick,
        "unit": "seconds",
        "torch_threads": torch.get_num_threads(),
        "sizes": {k: v for k, v in vars(sizes).items() if k != "dis_size"},
        "checks": checks,
        "reference_by": reference_server.NOTES if options.reference else None,
        "seconds_in_all": time.perf_counter() - started,
        "rows": [row for row in rows if row["dis_size"] == "reference"],
        "rows_small_discriminator": [row for row in rows if row["dis_size"] == "small"],
        "rows_table": [row for row in rows if row["dis_size"] == "table"],
    }
    measure.write(options.json, "versus_torch", content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
