"""Many seeds, many devices, many processes: the same results as one of each.

One process with 8 fake CPU devices makes all the single-machine comparisons (tests/devices.py); two
real processes make the others.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def environment(devices):
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="module")
def figures():
    """Figures of small runs by the number of seeds and devices, from one process."""
    script = [sys.executable, "-W", "error", str(ROOT / "tests" / "devices.py")]
    ended = subprocess.run(
        script, env=environment(8), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def close(a, b, tolerance):
    return all(np.allclose(a[name], b[name], rtol=tolerance, atol=tolerance) for name in b)


def test_seeds_in_one_program_are_the_single_runs(figures):
    for i in range(2):
        run = {name: values[i] for name, values in figures["seeds"].items()}
        assert close(run, figures[f"single {i}"], 2e-4)


def test_the_best_seed_samples(figures):
    losses = figures["seeds"]["best_nll"]
    assert figures["chosen"] == int(np.argmin(losses))


def test_seeds_on_two_devices_are_those_on_one(figures):
    assert close(figures["seeds on 2"], figures["short seeds"], 2e-4)


def test_a_batch_on_eight_devices_is_that_on_one(figures):
    assert close(figures["batch on 8"], figures["single 0"], 2e-3)
    assert figures["placed on"] == 8


def test_a_broken_seed_does_not_end_the_others(figures):
    assert figures["broken"] == 1
    assert figures["chosen of broken"] == 1
    assert np.isfinite(figures["samples of broken"])


def test_two_processes_train_one_run(tmp_path):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    flags = "--data ar1 --num-sequences 256 --window 5 --hidden-dim 4 --pre-epoch-num 2"
    flags += " --dis-pre-refreshes 1 --num-negatives 32 --total-batch 1 --rollout-num 2"
    flags += " --dis-r1 0 --gradient pathwise --batch-size 16 --generated-num 50 --no-look-first"

    def start(folder, *more):
        command = [sys.executable, str(ROOT / "train.py"), *flags.split(), "--run-dir", folder]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *more], env=environment(1), cwd=tmp_path, stdout=pipe, stderr=pipe, text=True
        )

    where = ["--coordinator", f"localhost:{port}", "--processes", "2", "--devices", "0"]
    both = [start("two", *where, "--process", str(i)) for i in range(2)]
    alone = start("one")
    for process in (*both, alone):
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-3000:]
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert len(rows[0]) == len(rows[1]) == 4
    for one, two in zip(*rows, strict=True):
        for name in ("train_nll", "validation_nll", "dis_loss", "reward"):
            if name in one:
                assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-3)
    samples = [np.loadtxt(tmp_path / name / "final_samples.txt") for name in ("one", "two")]
    assert np.allclose(*samples, atol=0.02)
