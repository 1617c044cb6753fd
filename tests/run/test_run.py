"""A run from the shell: what it writes, resuming exactly, refusing, stopping."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import helpers
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.core import adversarial
from seqgan_jax.data import layout
from seqgan_jax.run import checkpoint, directory, loop
from seqgan_jax.run import train as run
from seqgan_jax.run.cli import main, sample_main, train_main

TINY = "--hidden-dim 6 --pre-epoch-num 4 --dis-pre-refreshes 2 --total-batch 3 --num-negatives 32"
TINY += (
    " --rollout-num 2 --batch-size 32 --generated-num 50 --patience 4 --dis-r1 0 --no-look-first"
)
GAUSSIAN = f"{TINY} --policy gaussian"  # compiles in half the time
PHASES = ("gen_pretrain", "dis_pretrain", "adversarial")


pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout.save_sequences(tmp_path / "x.txt", helpers.series(120, 5, 1), ("x",))
    return tmp_path


def train(*words, tiny=GAUSSIAN):
    return train_main(["--data", "x.txt", *tiny.split(), *words])


def digest(run_dir):
    """Everything that must be equal: parameters, optimisers, metrics, samples."""
    model = SeqGAN.load(run_dir)
    parts = {
        name: hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
        for name, leaf in checkpoint.flatten(model.state).items()
    }
    for name in ("metrics.jsonl", "final_samples.txt", "eval_file.txt", "generator_sample.txt"):
        parts[name] = hashlib.sha256((Path(run_dir) / name).read_bytes()).hexdigest()
    return parts


def test_a_run_writes_the_contract(folder, capsys):
    assert train() == 0
    out = capsys.readouterr().out
    save = folder / "save"
    for name in directory.MADE_BY_TRAINING:
        # runs.json is of several runs only, final_samples.csv of tables only.
        assert (save / name).exists() == (name not in ("runs.json", "final_samples.csv")), name
    final = layout.load(str(save / "final_samples.txt")).x_NTD
    assert final.shape == (50, 5, 1)
    assert np.all(np.isfinite(final))
    rows = directory.read_metrics(save)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 1, 2, 1, 2, 3]
    expected = 4 * PHASES[:1] + 2 * PHASES[1:2] + 3 * PHASES[2:]
    assert tuple(row["phase"] for row in rows) == expected
    last = rows[-1]
    for name in ("validation_nll", "reward", "dis_loss", "dis_accuracy", "ks", "wasserstein", "js"):
        assert np.isfinite(last[name]), name
    assert np.load(save / "held_out.npy").shape == (12, 5, 1)
    settings = json.loads((save / "config.json").read_text())["settings"]
    assert settings["hidden_dim"] == 6
    assert "120 sequences of 5 steps, 1 feature" in out
    assert "saved step 9" in out
    assert "\x1b" not in out
    assert "\r" not in out


def test_final_samples_are_the_models_own():
    assert train("--quiet") == 0
    written = layout.load("save/final_samples.txt").x_NTD
    assert np.allclose(written, SeqGAN.load("save").sample(50, seed=88), rtol=1e-8)


@pytest.mark.parametrize("phase", PHASES)
def test_skipping_a_phase(phase):
    flag = "--skip-" + phase.replace("_", "-")
    assert train(flag, "--quiet") == 0
    assert phase not in {row["phase"] for row in directory.read_metrics(Path("save"))}
    assert Path("save/final_samples.txt").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Digest of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    layout.save_sequences(folder / "x.txt", helpers.series(120, 5, 1), ("x",))
    with contextlib.chdir(folder):
        assert train("--quiet") == 0
        return digest("save")


@pytest.mark.parametrize("step", [1, 4, 5, 6, 7])  # in and after each phase
def test_resuming_equals_the_uninterrupted_run(folder, whole, monkeypatch, step):
    save = run._Listener._save

    def stop_there(listener, state):
        save(listener, state)
        if loop.step_number(state) == step:
            raise run.Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(run._Listener, "_save", stop_there)
        assert train("--quiet", "--checkpoint-every", "0") == 128 + signal.SIGTERM
    assert checkpoint.steps(folder / "save" / "checkpoints")[-1] == step
    assert train_main(["--resume", "--quiet"]) == 0
    assert digest("save") == whole


def test_more_rounds_later(folder):
    assert train("--quiet", "--total-batch", "1") == 0
    before = digest("save")
    assert train_main(["--resume", "--quiet", "--total-batch", "3"]) == 0
    assert digest("save") != before
    assert checkpoint.steps(folder / "save" / "checkpoints")[-1] == 9


def test_the_same_command_twice_is_refused_with_both_remedies(capsys):
    assert train("--quiet") == 0
    before = digest("save")
    assert train("--quiet") == 2
    message = capsys.readouterr().err
    assert "--resume" in message
    assert "--run-dir" in message
    assert digest("save") == before
    assert train("--quiet", "--overwrite") == 0


def test_real_data_beside_the_run_is_not_an_earlier_run(folder):
    (folder / "save").mkdir()
    (folder / "x.txt").rename(folder / "save" / "real_data.txt")
    assert train_main([*GAUSSIAN.split(), "--quiet"]) == 0
    assert train_main([*GAUSSIAN.split(), "--quiet", "--overwrite"]) == 0
    assert (folder / "save" / "real_data.txt").exists()


def test_resuming_refuses_what_would_change_the_past(folder, capsys):
    assert train("--quiet") == 0
    assert train_main(["--resume", "--hidden-dim", "7"]) == 2
    assert "hidden_dim 6 -> 7" in capsys.readouterr().err
    layout.save_sequences(folder / "x.txt", helpers.series(120, 5, 1, seed=5), ("x",))
    assert train_main(["--resume", "--total-batch", "5"]) == 6
    assert "not the data" in capsys.readouterr().err


def test_resuming_where_there_is_nothing(capsys):
    assert train_main(["--resume"]) == 6
    assert "no run here" in capsys.readouterr().err


def test_wrong_data_is_refused_before_any_training(folder, capsys):
    (folder / "x.txt").write_text("1 2 3\n" * 30 + "1 abc 3\n")
    assert train() == 3
    assert re.search(r"x\.txt:31:3: 'abc' is not a number", capsys.readouterr().err)
    assert not (folder / "save" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--hidden-dim", "0"], "out of range"),
        (["--hiden-dim", "3"], "hidden-dim"),
        (["--gradient", "magic"], "reinforce"),
        (["--held-out", "0.5", "--validation", "0.5"], "fifth"),
        (["--resume", "--overwrite"], "no run here"),
        (["--processes", "2"], "--coordinator"),
    ],
)
def test_impossible_flags_exit_2_with_a_remedy(capsys, words, expected):
    try:
        code = train(*words)
    except SystemExit as stop:  # tyro's own
        code = stop.code
    assert code == (6 if "--resume" in words else 2)
    captured = capsys.readouterr()
    assert expected in captured.err + captured.out


def test_show_config_prints_every_setting_and_trains_nothing(folder, capsys):
    assert train("--show-config") == 0
    out = capsys.readouterr().out
    assert re.search(r"^hidden_dim +6$", out, re.M)
    assert re.search(r"^seed +88$", out, re.M)
    assert not (folder / "save").exists()


def test_gpu_never_falls_back(folder, capsys):
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("this machine has a GPU")
    assert train("--gpu") == 4
    message = capsys.readouterr().err
    assert "no usable GPU" in message
    assert "pip install" in message
    assert not (folder / "save" / "config.json").exists()


def test_two_runs_in_one_folder(folder, capsys):
    with directory.lock(folder / "save"):
        assert train() == 8
        assert f"process {os.getpid()}" in capsys.readouterr().err
    assert train("--quiet") == 0


def test_divergence_ends_with_exit_7_and_keeps_the_last_good_state(folder, capsys, monkeypatch):
    good = adversarial.policy_updates

    def broken(state, parts, key, count, **static):
        state, metrics = good(state, parts, key, count, **static)
        if int(state.round) >= 2:
            metrics["reward"] = metrics["reward"] * np.nan
        return state, metrics

    monkeypatch.setattr(adversarial, "policy_updates", broken)
    assert train("--checkpoint-every", "0") == 7
    message = capsys.readouterr().err
    assert "adversarial training, round 2: reward is nan" in message or "round 1" in message
    assert "--gen-adv-lr" in message
    assert checkpoint.steps(folder / "save" / "checkpoints")[-1] == 7


def test_sample_from_the_shell(capsys):
    assert train("--quiet") == 0
    for name in ("out.csv", "out.txt", "out.npy"):
        assert sample_main(["save", "-n", "30", "--seed", "7", "-o", name]) == 0
        x = layout.load(name).x_NTD
        assert np.allclose(x, SeqGAN.load("save").sample(30, seed=7), rtol=1e-8)
    assert sample_main(["save", "-o", "out.csv"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sample_main(["nowhere"]) == 6


def test_the_seqgan_command(capsys):
    assert main([]) == 0
    assert "seqgan train" in capsys.readouterr().out
    assert main(["trian"]) == 2
    assert main(["--version"]) == 0
    assert main(["train", "--data", "x.txt", *GAUSSIAN.split(), "--quiet"]) == 0
    assert main(["sample", "save", "-n", "30"]) == 0
    assert Path("samples.txt").exists()


def test_a_table_in_gives_a_table_out():
    x = helpers.series(120, 1, 1)[:, 0, 0]
    days = np.datetime64("2020-01-01") + np.arange(120)
    lines = [
        f"{d},{v:.3f},{2 * v + np.sin(i):.3f},{i % 7}"
        for i, (d, v) in enumerate(zip(days, x, strict=True))
    ]
    Path("prices.csv").write_text("\n".join(["date,Open,Close,Trades", *lines]) + "\n")
    words = ["--data", "prices.csv", "--window", "6", "--columns", "Close,Open,Trades"]
    assert train_main([*words, *TINY.split(), "--quiet"]) == 0
    final = layout.load("save/final_samples.txt", features=3).x_NTD
    assert final.shape == (50, 6, 3)
    table = layout.load("save/final_samples.csv")
    assert table.names == ("Open", "Close", "Trades")  # in the order of the file
    assert np.array_equal(table.x_NTD, final[..., [1, 0, 2]])
    assert sample_main(["save", "-n", "30", "-o", "new.csv"]) == 0
    first = Path("new.csv").read_text().splitlines()
    assert first[0] == "sequence,date,Open,Close,Trades"
    assert re.fullmatch(r"0,2020-\d\d-\d\d,-?\d+\.\d{3},-?\d+\.\d{3},-?\d+", first[1])
    days = np.array([line.split(",")[1] for line in first[1:]], "M8[D]").reshape(30, 6)
    assert (np.diff(days) == np.timedelta64(1, "D")).all()
    assert len(set(days[:, 0])) > 5  # as in the training part
    assert sample_main(["save", "-n", "2", "-o", "may.csv", "--start", "2030-05-06"]) == 0
    assert Path("may.csv").read_text().splitlines()[7].startswith("1,2030-05-06,")
    assert sample_main(["save", "-n", "30", "-o", "new.parquet"]) == 0
    assert np.array_equal(layout.load("new.parquet").x_NTD, layout.load("new.csv").x_NTD)
    assert sample_main(["save", "-o", "new.xlsx"]) == 2


def start(*words):
    command = [sys.executable, "-m", "seqgan_jax.run.cli", "train", "--data", "x.txt", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_prints_the_command_that_goes_on(number):
    words = GAUSSIAN.replace("--total-batch 3", "--total-batch 100000").split()
    process = start(*words, "--checkpoint-every", "0")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("saved step 2"):
            process.send_signal(number)
            break
    started = time.monotonic()
    rest, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    output = "".join(lines) + rest
    assert process.returncode == 128 + number, output
    assert "seqgan train --resume --run-dir save" in output
    assert "Traceback" not in output
    saved = int(re.findall(r"saved step (\d+)", output)[-1])
    assert checkpoint.steps(Path("save/checkpoints"))[-1] == saved
