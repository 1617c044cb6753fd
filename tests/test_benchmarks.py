"""The speed scripts run on tiny sizes, and what must be faster is: ratios inside one run.

Bounds are generous and times are the least of several, since other work may share the machine.
"""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from unittest import mock

import experiments
import forecast
import gpu
import gradients
import jax
import jax.numpy as jnp
import labels
import main_job
import measure
import numpy as np
import optax
import oracle
import pytest
import quality
import robustness
import rollout_schedules
import roofline
import scaling
import schedules
import slow
import targets
import throughput
import versus_torch
import work

from seqgan_jax import SeqGAN
from seqgan_jax.core import adversarial, discriminator, policy, selection
from seqgan_jax.core.batch import LSTMState
from seqgan_jax.core.optimiser import adam
from seqgan_jax.data.layout import load

ROOT = Path(__file__).parent.parent
TINY = work.Sizes(
    length=5,
    batch=4,
    rollouts=3,
    number=32,
    hidden=4,
    negatives=8,
    passes=1,
    refreshes=1,
)


def fastest(calls, repeats=7):
    return {k: t.min for k, t in measure.alternate(calls, repeats, at_least=0.01).items()}


def test_folded_rollouts_beat_masked_ones_and_loops():
    sizes = work.Sizes(length=48, batch=32, number=64, rollouts=1)
    row = rollout_schedules.compare(sizes, 7, at_least=0.0, loops=False)
    assert row["masked_min"] > 1.1 * row["folded_min"]
    row = rollout_schedules.compare(work.replace(sizes, length=10), 5, at_least=0.0, loops=True)
    assert row["nested_min"] > 2.0 * row["folded_min"]


@pytest.mark.parametrize("module", [measure, scaling, schedules], ids=lambda m: m.__name__)
def test_examples_of_the_scripts(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_samples_of_a_slow_series_have_its_law():
    rng = np.random.default_rng(0)
    x = slow.samples(rng, 0.99, 4000)
    assert x.shape == (4000, slow.WINDOW, slow.COLUMNS)
    covariance = [0.99**k + 0.25 * slow.FAST**k for k in (0, 1, slow.WINDOW - 1)]
    found = [np.mean(x[:, 0] * x[:, k]) for k in (0, 1, slow.WINDOW - 1)]
    np.testing.assert_allclose(found, covariance, atol=0.06)
    of_training, held_out = quality.apart(2000, slow.WINDOW)
    starts = np.flatnonzero(held_out)
    near = np.abs(starts[:, None] - np.flatnonzero(of_training)).min(axis=1)
    assert near.min() >= slow.WINDOW  # no step in common


def test_schedules_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(rollout_schedules, "TOLERANCE", -1.0)
    with pytest.raises(AssertionError, match="differs from folded"):
        rollout_schedules.compare(work.replace(TINY, rollouts=1), 5, 0.0, loops=False)


def test_scanned_training_beats_a_python_loop_of_compiled_steps():
    problem = work.problem(work.replace(TINY, number=512))
    scanned, count = work.likelihood_epoch(problem)
    optimiser, state = adam(problem.generator.gen_lr), problem.state()

    @jax.jit
    def step(params, opt, real):
        grads = jax.grad(lambda p: policy.nll(problem.nets.bind_policy(p, state), real))(params)
        changes, opt = optimiser.update(grads, opt, params)
        return optax.apply_updates(params, changes), opt

    batches = [problem.parts.train.take(slice(i, i + 4)) for i in range(0, 4 * count, 4)]

    def loop():
        params, opt = state.policy, state.policy_opt
        for real in batches:
            params, opt = step(params, opt, real)
        jax.block_until_ready(params)

    times = fastest({"scanned": scanned, "loop": loop})
    assert times["loop"] > 1.2 * times["scanned"]


def test_many_rollouts_in_one_call_beat_as_many_calls():
    many = work.problem(work.replace(TINY, rollouts=32, at_once=32))
    one = work.compiled_rollouts(work.problem(work.replace(TINY, rollouts=1)))
    together = work.compiled_rollouts(many)
    assert together().shape == (32, 4, 4, 5, 1)
    times = fastest({"together": together, "apart": lambda: [one() for _ in range(32)]})
    assert times["apart"] > 1.5 * times["together"]


@pytest.mark.slow
def test_throughput_measures_every_work():
    rows = throughput.rows(TINY, 5, at_least=0.0)
    names = ["g_step", "g_step, hour and weekday", "d_step", "rollouts", "reward", "round"]
    assert [row["work"] for row in rows] == names
    for row in rows:
        assert 0 < row["min"] <= row["median"] <= row["max"] < row["first"]
    by = {row["work"]: 1.0 for row in rows}
    # 120 epochs of 125 steps; 50 and 200 x 5 draws of 3 passes of 312 steps; 200 rewards.
    reference = throughput.PRESETS["reference"]
    expected = 120 * 125 + (50 + 200 * 5) * 3 * 312 + 200
    assert throughput.extrapolated(by, reference, 8000) == expected


def test_scaling_measures_a_point_and_fits_exponents():
    small = scaling.point({"length": 5, "batch": 4, "rollouts": 2}, 5, at_least=0.0)
    large = {name: 16.0 * value for name, value in small.items()}
    rows = [
        {"axis": "batch", "value": 4} | small,
        {"axis": "batch", "value": 32, "error": "out of memory"},
        {"axis": "batch", "value": 64} | large,
    ]
    [fit] = scaling.fits(rows)
    assert [fit[name] for name in scaling.FIGURES] == pytest.approx([1.0] * 4)
    assert small["temp_bytes"] > 4 * 4 * 4 * 5 * 4  # the rollouts themselves
    assert small["peak_rss_bytes"] > 50e6
    assert [len(cells) for cells in scaling.cells(rows)] == [7, 7, 7]


@pytest.mark.parametrize("size", ["small", "reference"])
def test_flops_of_the_discriminator_by_hand_are_xlas(size):
    sizes = work.Sizes(dis_size=size, length=6, number=8, batch=4)
    by_xla = work.compiled_scores(work.problem(sizes), 64).flops() / 64
    by_hand = roofline.discriminator_flops(sizes)
    # XLA's has elementwise operations as well, and here products with padding.
    assert by_hand <= by_xla < 1.35 * by_hand


@pytest.mark.parametrize("features", [1, 3])
def test_flops_of_the_policy_by_hand_are_xlas(features):
    sizes = work.Sizes(features=features, length=2, batch=64, number=64)
    problem = work.problem(sizes)

    def read(state, before, inputs):
        after, step = problem.nets.bind_policy(state.policy, state).step(before, inputs)
        return after, step.raw

    before = LSTMState(jnp.zeros((64, 32)), jnp.zeros((64, 32)))
    arguments = (problem.state(), before, jnp.zeros((64, 2 * features)))
    by_xla = jax.jit(read).lower(*arguments).compile().cost_analysis()["flops"] / 64
    assert 0.9 * roofline.policy_flops(sizes) < by_xla < 1.3 * roofline.policy_flops(sizes)


@pytest.mark.slow
def test_roofline_has_every_kernel():
    best, rows = roofline.matmul_ceiling((16, 32), 5)
    assert best == max(row["flops_per_second"] for row in rows) > 0
    moved, rows = roofline.memory_ceiling(1 << 10, 5)
    assert moved == max(row["bytes_per_second"] for row in rows) > 0
    names = [row["kernel"] for row in roofline.kernels(TINY, 5, 0.0, full=True)]
    assert names[2:] == ["D step", "G gradient", "G step", "rollouts"]


def test_json_names_the_machine(tmp_path):
    measure.write(tmp_path / "x.json", "name", {"rows": []})
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["rows"] == []
    assert set(content["versions"]) == {"python", "jax", "jaxlib", "flax", "numpy", "torch"}
    assert {"device", "precision", "threads", "cores", "flags"} <= set(content)
    assert "XLA_FLAGS" in content["flags"]


def test_a_child_gives_its_last_line_or_why_not(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\n"
        "given = json.loads(sys.argv[2])\n"
        "print('a line before')\n"
        "print(json.dumps({'double': 2 * given['n'], 'xla': os.environ['XLA_FLAGS']}))\n"
    )
    found = measure.in_child(str(script), {"n": 21}, xla_flags="--xla_some=1")
    assert found["double"] == 42
    assert found["xla"].endswith("--xla_some=1")
    assert "KeyError" in measure.in_child(str(script), {})["error"]


@pytest.mark.parametrize("flags", [["--repeats", "4"], ["--json", "/nowhere/there/x.json"]])
def test_bad_flags_are_refused_before_anything_runs(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        throughput.main(flags)
    assert stop.value.code == 2
    assert flags[0] in capsys.readouterr().err


def test_flags_without_a_meaning_are_refused(capsys):
    for main, flags, word in (
        (gradients.main, ["--repeats", "5"], "unrecognized arguments: --repeats"),
        (main_job.main, ["--only", "ETTh1.csv"], "needs --data"),
        (robustness.main, ["--sets", "stocks"], "needs --data"),
        (quality.main, ["--sets", "sines", "etth"], "etth: needs --data"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(flags)
        assert word in capsys.readouterr().err


def test_a_file_that_is_no_oracle_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "other.npz", embedding=np.zeros((3, 2)))
    (tmp_path / "text.npz").write_text("not an archive")
    for name, word in (("other", "lacks Uc, Uf"), ("text", "text.npz"), ("none", "No such file")):
        with pytest.raises(SystemExit, match="2"):
            oracle.main(["--quick", "--oracle", str(tmp_path / f"{name}.npz")])
        assert word in capsys.readouterr().err


def test_controls_reach_what_trains_the_policy_and_not_the_selection():
    is_real = np.array([1.0] * 4 + [0.0] * 4, np.float32)
    logits = 20.0 * (2.0 * is_real - 1.0)
    with mock.patch.object(*experiments.CONTROLS["shuffled"]):
        # Half of both kinds have the other's label: -log sigmoid(-20) / 2.
        assert adversarial.discriminator.cross_entropy(logits, is_real) == pytest.approx(10.0)
        assert selection.discriminator.cross_entropy(logits, is_real) < 1e-6
        for name in ("r1", "output_l2"):
            assert getattr(adversarial.discriminator, name) is getattr(discriminator, name)
    for name, least, most in (("constant", 0.0, 0.0), ("random", 0.01, 1.0)):
        with mock.patch.object(*experiments.CONTROLS[name]):
            size = np.abs(adversarial.gradients.reward_of(logits, "logit"))
        assert least <= size.min() <= size.max() <= most
    assert adversarial.discriminator is discriminator
    assert np.array_equal(adversarial.gradients.reward_of(logits, "logit"), logits)


def test_both_estimators_of_the_gradient_have_one_mean():
    model = SeqGAN(hidden_dim=4, policy="gaussian")
    model.prepare(load("ar1", window=5, num_sequences=200))
    found = gradients.estimates(model, [1], 256)
    assert list(found) == ["pathwise", "REINFORCE, N = 1, Q", "REINFORCE, N = 1, advantage"]
    means = [gradients.moments(each, seed, 200)[0] for seed, each in enumerate(found.values())]
    for mean in means[1:]:
        assert np.linalg.norm(mean - means[0]) < 0.1 * np.linalg.norm(means[0])


def test_crps_of_samples_is_the_closed_form_of_a_gaussian():
    rng = np.random.default_rng(0)
    mean, sd = np.array([0.0, 3.0, -1.0]), np.array([1.0, 0.5, 4.0])
    y = np.array([0.3, 5.0, -2.0])
    found = forecast.crps(mean + sd * rng.normal(size=(200_000, 3)), y)
    assert np.allclose(found, forecast.crps_of_gaussian(mean, sd, y), rtol=0.01)
    few = np.array([[1.0], [4.0], [2.5]])  # a plain loop over pairs of different samples
    pairs = [abs(few[i] - few[j]) for i in range(3) for j in range(3) if i != j]
    expected = np.abs(few - 2.0).mean() - 0.5 * np.mean(pairs)
    assert forecast.crps(few, np.array([2.0]))[0] == pytest.approx(expected)


def test_a_fan_is_described_by_day():
    """Of N(1, 4) against y of N(0, 1) in units of 2: bias .5, spread 1, and the middle 90%."""
    rng = np.random.default_rng(3)
    x, y = 1 + 2 * rng.normal(size=(500, 400, 48, 1)), rng.normal(size=(400, 48, 1))
    held = [NormalDist().cdf(1 + 2 * z) for z in (-1.6449, 1.6449)]
    days = forecast.by_day(x, y, np.array([2.0]))
    assert len(days) == 2
    for day in days:
        assert day["bias"][0] == pytest.approx(0.5, abs=0.02)
        assert day["error"][0] == pytest.approx(0.5 * 2**0.5, rel=0.03)
        assert day["spread"][0] == pytest.approx(1, rel=0.01)
        assert day["held"][0] == pytest.approx(held[1] - held[0], abs=0.01)


def test_a_seasonal_forecast_repeats_the_last_day():
    day = np.arange(24.0)[:, None]
    x_LD = np.tile(day, (30, 1))
    found = forecast.seasonal(x_LD, x_LD[None, 100:196], 50, 5)
    assert np.allclose(found, x_LD[196:246])
    moved = x_LD + 0.5 * (np.arange(len(x_LD)) // 24)[:, None]  # every day half more
    found = forecast.seasonal(moved, moved[None, 100:196], 50, 5)
    assert np.allclose(found[:, 0], moved[196:246])


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        *("throughput", "rollout_schedules", "scaling", "roofline", "streaming"),
        *("main_job", "experiments", "gradients", "robustness", "quality", "forecast"),
        *("oracle", "long", "whole", "covariances", "targets"),
    ],
)
def test_every_script_has_a_quick_run(script, tmp_path):
    path = ROOT / "benchmarks" / f"{script}.py"
    command = [sys.executable, str(path), "--quick", "--json", "found.json"]
    # Programs of the speed that they measure, not those of the tests.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stdout
    for line in (tmp_path / "found.json").read_text().splitlines()[-1:]:
        assert line.endswith("}")


def test_without_torch_the_comparison_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(versus_torch.importlib.util, "find_spec", lambda _: None)
    assert versus_torch.main([]) == 2
    assert "pip install torch" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["small", "reference"])
def test_torch_computes_the_same(size):
    pytest.importorskip("torch")
    problem = work.problem(work.replace(TINY, dis_size=size))
    assert max(versus_torch.check(problem).values()) < 1e-4


@pytest.mark.slow
def test_torch_computes_the_same_of_the_bundled_table():
    pytest.importorskip("torch")
    import torch_mixed

    problem = work.table_problem(quick=True)
    assert versus_torch.check_table(problem)["log_prob"] < 1e-4
    trainer = torch_mixed.Trainer(problem, compiled=False)
    before = [p.clone() for p in (*trainer.params, *trainer.dis_params)]
    trainer.round()
    after = (*trainer.params, *trainer.dis_params)
    assert all(not a.equal(b) for a, b in zip(before, after, strict=True))


def test_every_unit_of_work_runs_in_torch():
    pytest.importorskip("torch")
    import torch_training

    trainer = torch_training.Trainer(work.problem(TINY), compiled=False)
    before = [p.clone() for p in (*trainer.params, *trainer.dis_params)]
    trainer.likelihood()
    trainer.round()
    after = (*trainer.params, *trainer.dis_params)
    assert all(not a.equal(b) for a, b in zip(before, after, strict=True))
    x_TBD = torch_training.tensor(work.batch(work.problem(TINY)).x).transpose(0, 1)
    q_BT = trainer.reward(x_TBD)
    assert q_BT.shape == (4, 5)
    assert 0 < float(q_BT.min()) <= float(q_BT.max()) < 1


@pytest.mark.slow
def test_defaults_hold_on_200_sequences(tmp_path, capsys):
    robustness.main(["--sets", "200", "--json", str(tmp_path / "found.json")])
    row = json.loads((tmp_path / "found.json").read_text())
    # Of the 20 held-out sequences nearly all have a generated one among their neighbours.
    assert row["coverage"][0] > row["coverage"][1] - 0.15
    assert 0.7 < row["spread"][0] < 1.4
    assert row["nats"][1] < row["nats"][0] + 0.06  # --tolerance, and the noise of 20 sequences
    assert "of" in capsys.readouterr().out


def test_a_classifier_learns_from_samples_what_it_learns_from_the_data():
    row = labels.compare("persistence", 400, 8)
    assert row["real"] > row["commonest"] + 0.15
    assert abs(row["generated"] - row["real"]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", list(labels.PROCESSES))
def test_classifiers_are_within_two_points(name):
    row = labels.compare(name, 3000, 80)
    assert abs(row["generated"] - row["real"]) < 0.02


def test_what_there_is_no_time_for_on_a_gpu_is_said(tmp_path, capsys):
    path = tmp_path / "found.jsonl"
    assert gpu.main(["--cpu", "--quick", "--minutes", "0", "--json", str(path)]) == 0
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 9
    assert all(row["left_out"] and row["device"] for row in rows)
    assert capsys.readouterr().out.count("left out") == 9


def test_a_figure_that_differs_between_devices_is_not_good(monkeypatch):
    found = {"samples": np.arange(200.0), "loss": np.array(3.0)}
    calls = []

    def figures(sizes, device):  # noqa: ARG001
        calls.append(device)
        return found if len(calls) % 2 else found | {"loss": np.array(3.01)}

    monkeypatch.setattr(gpu, "figures", figures)
    rows = list(gpu.differences(quick=True))
    assert [row["good"] for row in rows] == [True, False] * 2


def test_units_of_work_stand_beside_the_largest_of_their_floors():
    ceilings = gpu.Ceilings(quick=True, repeats=5)
    assert len(list(ceilings.rows())) == 5
    rows = list(gpu.units(work.replace(TINY, every=2), ceilings, 5, ("G step", "reward")))
    for row in rows:
        assert row["floor"] == max(row["floors"].values()) == row["floors"][row["bound"]]
        assert 0 < row["floor"] < row["seconds"]
    # Twice the work has twice the floor; of steps, as many.
    assert ceilings.floor(2e15, 1.0, 1)["floor"] == 2 * ceilings.floor(1e15, 1.0, 1)["floor"]
    assert ceilings.floor(1.0, 1.0, 10**9)["bound"] == "steps"


def test_the_references_schedule_is_computed_from_two_of_its_rounds():
    epoch, a_round, whole = gpu.reference_schedule(quick=True)
    assert len(a_round["rounds"]) == 2
    # 120 epochs; 50 draws of D, 5 of which are in a round, and 200 rounds.
    expected = 120 * epoch["seconds"] + 210 * a_round["seconds"]
    np.testing.assert_allclose(whole["seconds"], expected)


@pytest.mark.gpu
def test_a_gpu_computes_what_the_cpu_does():
    assert all(row["good"] for row in gpu.differences(quick=False))


def test_a_mixtures_products_are_counted():
    one = work.Sizes(policy="mixture")
    # Gates of two inputs and 32 units, a head of 5 weights, means and scales.
    assert roofline.policy_flops(one) == 2 * 32 * (4 * (2 + 32) + 15)
    two = work.replace(one, features=2)
    tied = 2 * 32 * (2 + 15)
    assert roofline.policy_flops(two) == 2 * (32 * (4 * (4 + 32) + 30 + 32) + tied)
    # Of prefixes of 2 and 4 out of 5 steps 3 and 1 are drawn.
    short = work.replace(one, length=5, every=2, batch=1, rollouts=1)
    assert roofline.rollout_flops(short) == (3 + 1 + 5) * roofline.policy_flops(one)


def test_a_series_of_the_published_protocol_is_a_case_of_targets(tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 2))
    np.savetxt(tmp_path / "stock_data.csv", x, delimiter=",", header="x,y", comments="")
    case = targets.Case(str(tmp_path / "stock_data.csv"), 12, 50)
    assert case.sequences.x_NTD.shape[1:] == case.held.shape[1:] == (12, 2)
    assert 50 <= len(case.sequences.x_NTD) < 100
    assert len(case.held) > 0
