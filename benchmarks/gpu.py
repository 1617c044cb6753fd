"""One command on a machine with a GPU: is it right, how fast is it, how far from what is possible?

    python benchmarks/gpu.py --json gpu.jsonl     under eight minutes
    python benchmarks/gpu.py --parts units seeds  not all of it
    python benchmarks/gpu.py --cpu --quick        tries the script where there is none

Every row is printed, and added to the file, as soon as it is known: a run that is cut says
something. First whether the figures are right: the tests marked gpu, and losses, gradients,
samples, logits and rewards beside those of the CPU. Then each unit of work beside a floor: the
largest of its FLOPs by what products reach here, its bytes by what memory reaches, and its
dependent steps by what the shortest one takes; all three are measured in the same run. Then whole
runs. The reference's schedule takes long: two rounds of it are measured, and the rest is computed
from them. Compiling takes most of the time on a GPU: first a process for each part compiles it, all
side by side, into a cache that the measurements read (--no-ahead: each when it is needed). A part
begins only where time is left (--minutes); what is left out is said.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import BooleanOptionalAction
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measure
import numpy as np
import roofline
import throughput
import work
from jax import lax

from seqgan_jax.config import PRESETS
from seqgan_jax.core import sampling
from seqgan_jax.core.batch import num_params
from seqgan_jax.core.policy import nll

ROOT = Path(__file__).resolve().parent.parent
STEPS = 1000  # dependent steps of which the shortest is timed
PARTS = {  # the seconds that each needs on a GPU, roughly; what matters most comes first
    "tests": 50,
    "differences": 90,
    "ceilings": 10,
    "default": 90,
    "units": 120,
    "reference": 60,
    "seeds": 90,
    "wider": 60,
    "precisions": 60,
    "memory": 0,
}
FEW_PROGRAMS = ("tests", "ceilings", "memory")  # nothing to compile ahead
AHEAD = 150  # seconds of compiling ahead at most
TOLERANCE = 2e-3  # of float32 on two devices, relative to the largest number
Rows = Iterator[dict[str, Any]]


def report(row: dict[str, Any], path: Path | None) -> None:
    """Print a row, and add it to the file."""
    cells = [f"{row['row']:<34}"]
    cells.append(f"{measure.duration(row['seconds']) if 'seconds' in row else '':>9}")
    if "floor" in row:
        share = row["floor"] / row["seconds"]
        cells.append(f"floor {measure.duration(row['floor']):>9} ({row['bound']}), {share:.0%}")
    cells.append(str(row.get("note", "")))
    print("  ".join(cells).rstrip(), flush=True)
    measure.append(path, row)


# ------------------------------------------------------------------ is it right?


def gpu_tests() -> Rows:
    """The tests marked gpu, in a process of their own."""
    folder = ROOT / "tests"
    files = [str(p) for p in folder.rglob("test_*.py") if "mark.gpu" in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", *files]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"JAX_PLATFORMS": "cuda,cpu", "PYTHONPATH": str(ROOT)},
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no output"]
    row = {"row": "tests marked gpu", "seconds": time.perf_counter() - started}
    yield row | {"good": done.returncode == 0, "note": lines[-1].strip("= ")}


def figures(sizes: work.Sizes, device: Any) -> dict[str, np.ndarray]:
    """Loss, gradient, samples, logits and rewards on a device, of the same weights and numbers."""
    problem = work.problem(sizes)
    noise_TBP = np.random.default_rng(0).normal(
        size=(sizes.length, sizes.batch, 2 * sizes.features)
    )

    def run(state: Any, real: Any, noise_TBP: jax.Array, key: jax.Array) -> dict[str, Any]:
        def loss(params: Any) -> jax.Array:
            return nll(problem.nets.bind_policy(params, state), real)

        value, slopes = jax.value_and_grad(loss)(state.policy)
        policy = problem.nets.bind_policy(state.policy, state)
        network = problem.nets.bind_discriminator(state.discriminator, state)
        return {
            "loss": value,
            "gradient": jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slopes)]),
            "samples": sampling.sample_from_noise(policy, noise_TBP),
            "logits": network(real),
            "rewards": sampling.q_values(policy, network, real.x, key, 2),
        }

    noise = jnp.asarray(noise_TBP[..., : _noise(sizes)], jnp.float32)
    given = (problem.state(), work.batch(problem), noise, problem.key)
    found = jax.jit(run)(*jax.device_put(given, device))
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _noise(sizes: work.Sizes) -> int:
    return sizes.features * (1 if sizes.policy == "gaussian" else 2)


def differences(quick: bool) -> Rows:
    """The largest difference of each figure to the CPU's, of its largest number, in float32.

    Samples and rewards may differ where a component's share is at its edge: shares that do not.
    """
    for features, policy in ((1, "gaussian"), (3, "mixture")):
        small = {"hidden": 4, "batch": 4} if quick else {}
        sizes = work.Sizes(features=features, policy=policy, number=128, rollouts=2, **small)
        with jax.default_matmul_precision("highest"):
            here = figures(sizes, jax.devices()[0])
            there = figures(sizes, jax.devices("cpu")[0])
        for name, expected in there.items():
            apart = np.abs(here[name] - expected) / np.max(np.abs(expected))
            alike = float(np.mean(apart < TOLERANCE))
            yield {
                "row": f"{name}, D = {features}, {policy}",
                "good": alike > (0.99 if name in ("samples", "rewards") else 0.9999),
                "difference": float(np.median(apart)),
                "note": f"{alike:.1%} within {TOLERANCE:g}, median {np.median(apart):.1e}",
            }


# ------------------------------------------------------------------ how fast, how far from a floor


class Ceilings:
    """What this device reaches: FLOP/s of products, bytes/s of memory, seconds of one step."""

    def __init__(self, quick: bool, repeats: int) -> None:
        sizes = (256, 512) if quick else (2048, 4096, 8192)
        with jax.default_matmul_precision("highest"):
            self.exact, _ = roofline.matmul_ceiling(sizes, repeats)
        with jax.default_matmul_precision("tensorfloat32"):
            self.fast, _ = roofline.matmul_ceiling(sizes, repeats)
        self.memory, _ = roofline.memory_ceiling(2**20 if quick else 2**28, repeats)
        tiny = jnp.zeros(1)
        call = jax.jit(lambda x: x + 1.0)
        self.launch = measure.timed(lambda: jax.block_until_ready(call(tiny)), repeats).min

        @jax.jit
        def steps(x: jax.Array) -> jax.Array:
            return lax.scan(lambda x, _: (jnp.tanh(x) + 1e-3, None), x, None, STEPS)[0]

        self.step = measure.timed(lambda: jax.block_until_ready(steps(tiny)), repeats).min / STEPS

    def rows(self) -> Rows:
        """As rows of the table."""
        for name, flops in (("float32", self.exact), ("TF32", self.fast)):
            note = f"{flops / 1e12:.3g} TFLOP/s"
            yield {"row": f"products, {name}", "flops_per_second": flops, "note": note}
        note = f"{self.memory / 1e9:,.0f} GB/s"
        yield {"row": "memory", "bytes_per_second": self.memory, "note": note}
        yield {"row": "a call of one operation", "seconds": self.launch}
        yield {"row": "a step of a scan", "seconds": self.step}

    def floor(self, flops: float, bytes_: float, steps: int) -> dict[str, Any]:
        """The largest of the three, and which it is."""
        by = {
            "products": flops / self.fast,
            "memory": bytes_ / self.memory,
            "steps": steps * self.step,
        }
        bound = max(by, key=lambda name: by[name])
        return {"floor": by[bound], "bound": bound, "floors": by}


def units(sizes: work.Sizes, ceilings: Ceilings, repeats: int, wanted: Sequence[str]) -> Rows:
    """G step, D step, rollouts and reward, each beside its floor."""
    problem = work.problem(sizes)
    state = problem.state()
    of_policy, of_dis = num_params(state.policy), num_params(state.discriminator)
    sequence = sizes.batch * sizes.length * sizes.features * roofline.FLOAT
    adam = roofline.ADAM_PASSES * roofline.FLOAT
    lanes = sizes.rollouts * len(sampling.prefix_lengths(sizes.length, sizes.every))
    made = roofline.rollout_flops(sizes)
    scored = sizes.batch * (lanes + 1) * roofline.discriminator_flops(sizes)
    each_dis = 3 * sizes.batch * roofline.discriminator_flops(sizes)
    floors = {
        "G step": (roofline.gradient_flops(sizes), adam * of_policy + sequence, 2 * sizes.length),
        "D step": (each_dis, adam * of_dis + sequence, 1),
        "rollouts": (made, lanes * sequence, sizes.length),
        "reward": (made + scored, 2.0 * lanes * sequence, sizes.length),
    }
    at = f"B {sizes.batch}, T {sizes.length}, D {sizes.features}"
    for name in wanted:
        call, unit = _call(problem, name)
        timing = measure.timed(call, repeats, 0.05, unit)
        words = f", {sizes.dis_size}" * (name in ("D step", "reward"))
        row = {"row": f"{name}{words}, {at}", "seconds": timing.median, "min": timing.min}
        row |= ceilings.floor(*floors[name])
        rate = sizes.batch * lanes * sizes.length / 2 if name == "rollouts" else 0.0
        if rate:
            row |= {"steps_per_second": rate / timing.median}
            row["note"] = f"{row['steps_per_second']:.3g} steps/s"
        yield row


def _call(problem: work.Problem, name: str) -> tuple[Callable[[], Any], int]:
    if name == "G step":
        return work.likelihood_epoch(problem)
    if name == "D step":
        return work.discriminator_passes(problem, 3)
    if name == "rollouts":
        return work.compiled_rollouts(problem), 1
    return work.compiled_reward(problem), 1


def all_units(ceilings: Ceilings, quick: bool, repeats: int) -> Rows:
    """By batch and by discriminator."""
    tiny = {"hidden": 4, "rollouts": 2, "length": 6} if quick else {}
    every = ("G step", "D step", "rollouts", "reward")
    for batch in (4, 8) if quick else (64, 512, 8192):
        # Of 8,192 sequences two rollouts in one go: all 16 would need some 40 GB to be scored.
        how = {"negatives": max(1000, batch), "at_once": max(2, 8192 // batch)}
        # Enough steps that an epoch is its steps: its start and its validation weigh little.
        steps = max(16, 6400 // batch) if not quick else 2
        sizes = work.Sizes(batch=batch, number=steps * batch, **how, **tiny)
        yield from units(sizes, ceilings, repeats, every)
        if batch == 64:
            sizes = work.Sizes(dis_size="reference", number=128)
            yield from units(sizes, ceilings, repeats, ("D step", "reward"))


def wider(ceilings: Ceilings, quick: bool, repeats: int) -> Rows:
    """Long sequences and many columns, by the default policy."""
    tiny = {"hidden": 4, "batch": 4, "number": 16, "negatives": 8} if quick else {"number": 256}
    for change in ({"length": 12 if quick else 256}, {"features": 3 if quick else 28}):
        sizes = work.Sizes(policy="mixture", rollouts=4, **tiny | change)
        sizes = work.replace(sizes, every=sampling.spacing(0, sizes.length))
        yield from units(sizes, ceilings, repeats, ("G step", "D step", "reward"))


def precisions(quick: bool, repeats: int) -> Rows:
    """Steps in float32 and in TF32."""
    tiny = {"hidden": 4, "batch": 4, "number": 16, "negatives": 8} if quick else {"number": 640}
    size = "small" if quick else "reference"
    for name in ("G step", "D step"):
        for words, precision in (("float32", "highest"), ("TF32", "tensorfloat32")):
            with jax.default_matmul_precision(precision):
                problem = work.problem(work.Sizes(dis_size=size, **tiny))
                call, unit = _call(problem, name)
                timing = measure.timed(call, repeats, 0.05, unit)
            yield {"row": f"{name}, {size}, {words}", "seconds": timing.median, "min": timing.min}


def memory() -> Rows:
    """The most that was used."""
    found = jax.devices()[0].memory_stats() or {}
    device, host = found.get("peak_bytes_in_use"), measure.peak_bytes()
    note = f"host {host / 2**20:,.0f} MiB"
    if device is not None:
        note = f"device {device / 2**20:,.0f} MiB, {note}"
    yield {"row": "memory at its peak", "device_bytes": device, "host_bytes": host, "note": note}


# ------------------------------------------------------------------ whole runs


def default_run(quick: bool) -> Rows:
    """All phases by default settings."""
    short = throughput.SHORT | {"total_batch": 1, "pre_epoch_num": 1, "dis_pre_refreshes": 1}
    run = throughput.whole_run(100 if quick else 10_000, **short if quick else {})
    computing = run["seconds"] - run["compile_seconds"]
    note = f"compiling {run['compile_seconds']:.1f} s, computing {computing:.1f} s"
    yield {"row": "default run, AR(1)", "note": note} | run


def many_seeds(quick: bool) -> Rows:
    """A short run of one seed and of many in one program."""
    numbers = (1, 2) if quick else (1, 64)
    short = throughput.SHORT | ({"total_batch": 1, "pre_epoch_num": 1} if quick else {})
    one = None
    for number in numbers:
        run = throughput.whole_run(100 if quick else 2000, num_seeds=number, **short)
        computing = run["seconds"] - run["compile_seconds"]
        one = computing if one is None else one
        note = f"computing {computing:.1f} s, {computing / one:.2f} times one seed"
        yield {"row": f"short run, {number} seeds", "note": note, "times": computing / one} | run


def reference_schedule(quick: bool) -> Rows:
    """An epoch of likelihood and two rounds of the reference's schedule; the rest computed."""
    preset = PRESETS["reference"]
    dis = preset.discriminator
    number = 8000
    sizes = work.Sizes(dis_size="reference", number=number, negatives=dis.num_negatives)
    sizes = work.replace(sizes, passes=dis.dis_passes, refreshes=dis.dis_refreshes)
    if quick:
        tiny = {"hidden": 4, "batch": 4, "rollouts": 2, "number": 16, "negatives": 8, "length": 4}
        sizes = work.replace(sizes, dis_size="small", **tiny)
    problem = work.problem(sizes)
    epoch, _ = work.likelihood_epoch(problem)
    one_round = work.adversarial_round(problem)
    measure.seconds(epoch), measure.seconds(one_round)  # they compile
    of_epoch = measure.seconds(epoch)
    rounds = [measure.seconds(one_round) for _ in range(2)]
    yield {"row": "reference: epoch of likelihood", "seconds": of_epoch}
    yield {"row": "reference: round", "seconds": float(np.mean(rounds)), "rounds": rounds}
    # A round is a policy update and `refreshes` draws of D, each as one of its pretraining.
    pretraining = dis.dis_pre_refreshes / dis.dis_refreshes * np.mean(rounds)
    total = preset.generator.pre_epoch_num * of_epoch + pretraining
    total += preset.adversarial.total_batch * np.mean(rounds)
    note = "from two rounds, every epoch and round run, without compiling"
    yield {"row": "reference: whole schedule", "seconds": float(total), "note": note}


# ------------------------------------------------------------------ all of it


def compile_ahead(parts: Sequence[str], more: Sequence[str], seconds: float) -> Rows:
    """A process for each part runs it for its programs alone, all at the same time.

    Nothing that they find counts but the compiling of the default run, cold.
    """
    folder = tempfile.mkdtemp(prefix="seqgan-xla-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    os.environ.update(settings)  # of the tests' process
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    script = str(Path(__file__).resolve())
    started = time.perf_counter()
    running = []
    for part in parts:
        rows = ["--json", f"{folder}/{part}.jsonl"]
        command = [sys.executable, script, "--no-ahead", "--parts", part, *rows, *more]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(subprocess.Popen(command, **quiet))
    for child in running:
        try:
            child.wait(max(0.0, seconds - (time.perf_counter() - started)))
        except subprocess.TimeoutExpired:
            child.kill()
    cold = Path(folder, "default.jsonl")
    for row in map(json.loads, cold.read_text().splitlines() if cold.exists() else []):
        note = f"compiling {row['compile_seconds']:.1f} s, beside all others"
        yield {"row": "default run, cold", "compile_seconds": row["compile_seconds"], "note": note}
    yield {"row": "compiling ahead", "seconds": time.perf_counter() - started}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write; 1 where a figure is not right."""
    # Two processes share the device, and its peak is what was used, not what was reserved.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    started = time.perf_counter()
    flags = measure.parser(__doc__, "repeats", lines=True)
    flags.add_argument("--cpu", dest="gpu", action="store_false", help="try it without a GPU")
    flags.add_argument("--minutes", type=float, default=7.5, help="no part begins after so many")
    flags.add_argument(
        "--ahead", action=BooleanOptionalAction, help="see above (default: on a GPU)"
    )
    flags.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="not all of them"
    )
    options = measure.parse(flags, arguments)
    quick, repeats = options.quick, options.repeats
    about = measure.machine()
    print(f"{about['device']}; {about['precision']}", flush=True)
    found: list[Ceilings] = []

    def ceilings() -> Rows:
        found.append(Ceilings(quick, repeats))
        yield from found[0].rows()

    parts: dict[str, Callable[[], Rows]] = {
        "tests": gpu_tests,
        "differences": lambda: differences(quick),
        "ceilings": ceilings,
        "default": lambda: default_run(quick),
        "units": lambda: all_units(found[0], quick, repeats),
        "reference": lambda: reference_schedule(quick),
        "seeds": lambda: many_seeds(quick),
        "wider": lambda: wider(found[0], quick, repeats),
        "precisions": lambda: precisions(quick, repeats),
        "memory": memory,
    }
    wanted = [name for name in PARTS if name in options.parts]
    if not options.gpu:
        wanted = [name for name in wanted if name != "tests"]
    if {"units", "wider"} & set(wanted) and "ceilings" not in wanted:
        wanted.insert(0, "ceilings")  # a floor beside each
    if options.gpu if options.ahead is None else options.ahead:
        more = ["--quick"] * quick + ["--cpu"] * (not options.gpu)
        compiled = [name for name in wanted if name not in FEW_PROGRAMS]
        parts["ahead"] = lambda: compile_ahead(compiled, more, AHEAD)
        wanted = ["ahead", *wanted]
    wrong = 0
    for name in wanted:
        left = 60 * options.minutes - (time.perf_counter() - started)
        if left < PARTS.get(name, 0):
            note = f"left out: {left:.0f} s are left"
            report({"row": name, "note": note, "left_out": True}, options.json)
            continue
        try:
            for row in parts[name]():
                wrong += not row.get("good", True)
                report({"part": name, "quick": quick} | row, options.json)
        except Exception as error:  # what comes after it still says something
            wrong += 1
            note = f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            report({"row": name, "note": note, "good": False}, options.json)
    print(f"{wrong} not right; {time.perf_counter() - started:.0f} s", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
