"""Parts of a run without its training: its beginning, its end, who stops it, what it refuses."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import helpers
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from seqgan_jax import SeqGAN, config
from seqgan_jax.core import baseline, parallel
from seqgan_jax.data import layout
from seqgan_jax.data.kind import GAP
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.sequences import Split
from seqgan_jax.errors import CheckpointError, UsageError
from seqgan_jax.run import directory, loop, preparing, signals
from seqgan_jax.run import train as run
from seqgan_jax.run.description import Description
from seqgan_jax.run.places import Places

TINY = {"hidden_dim": 4, "generated_num": 30, "data": "x.txt", "num_negatives": 32}


class Said(list):
    """A display that remembers what it should say."""

    say = list.append

    def close(self):
        self.append("closed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout.save_sequences(tmp_path / "x.txt", helpers.series(80, 5, 1), ("x",))
    return tmp_path


pytestmark = pytest.mark.usefixtures("folder")


def trained(stop, said, resume=False, **changes):
    settings = config.from_flat(TINY | changes)
    how = {"device": "CPU", "resume": resume, "overwrite": False}
    return run.train(settings, display=said, stop=stop, **how)


def test_a_signal_before_the_training_ends_it_with_all_that_a_resume_needs(monkeypatch):
    with pytest.raises(run.Stopped, match="stopped by SIGTERM") as caught:
        trained([signal.SIGTERM], Said())
    assert caught.value.exit_code == 143
    assert directory.present(Path("save")) == ["config.json", "held_out.npy", "checkpoints"]
    directory.append_metrics(
        Path("save"), [{"phase": "gen_pretrain", "step": 1}]
    )  # of no checkpoint
    said, seen = Said(), []
    monkeypatch.setattr(SeqGAN, "train", lambda *_: seen.append("train"))
    monkeypatch.setattr(run, "_finish", lambda *_: seen.append("finish"))
    trained([], said, resume=True, generated_num=40)
    assert seen == ["train", "finish"]
    changed = "resume  from the beginning: no checkpoint was saved yet; changed: "
    assert changed + "generated_num 30 -> 40" in said
    assert "resume  reads x.txt, as in save/config.json" in said
    assert directory.read_metrics(Path("save")) == []
    assert run.saved_config("save").run.generated_num == 40


def test_a_signal_in_the_last_chunk_leaves_the_samples_to_a_resume(monkeypatch):
    stop, said, finished = [], Said(), []
    monkeypatch.setattr(SeqGAN, "train", lambda *_: stop.append(signal.SIGINT))
    monkeypatch.setattr(run, "_finish", lambda *_: finished.append(1))
    with pytest.raises(run.Stopped) as caught:
        trained(stop, said)
    assert caught.value.exit_code == 130
    assert finished == []
    assert said[-1] == "closed"


def test_several_features_and_constants_are_named(folder, monkeypatch):
    x = helpers.series(80, 4, 3)
    x[..., 1] = 7.0
    np.save(folder / "x.npy", x)
    monkeypatch.setattr(SeqGAN, "train", lambda *_: None)
    monkeypatch.setattr(run, "_finish", lambda *_: None)
    said = Said()
    trained([], said, data="x.npy")
    assert "data    x.npy: 80 sequences of 4 steps, 3 features (64 to train, " in "".join(said)
    carried = "        x2: constant, 7 to 7  (carried exactly, not learned)"
    assert [line for line in said if "x2: " in line] == [carried]
    assert sum("carried exactly" in line for line in said) == 1


def test_streamed_data_are_described_without_reading_them_all(folder, monkeypatch):
    x = helpers.series(2000, 4, 2)
    x[..., 1] = 7.0
    np.save(folder / "x.npy", x)
    monkeypatch.setattr(SeqGAN, "train", lambda *_: None)
    monkeypatch.setattr(run, "_finish", lambda *_: None)
    said = Said()
    trained([], said, data="x.npy", memory=1e-5, buffer=256)
    assert "note: streamed: more than --memory; 1 files" in said
    assert "note: the last 208 sequences are left out" in said
    assert [line.split()[0] for line in said if "carried exactly" in line] == ["x2"]


def held_out_of(x_NTD):
    return Split(x_NTD[:0], x_NTD[:0], x_NTD)


class Model:
    """What the end of a run asks of a model: the second column is 3 or the density is zero."""

    def __init__(self, x_NTD, **settings):
        self.config = config.from_flat(settings)
        scaler = Scaler.fit(x_NTD)
        names = tuple(f"x{d + 1}" for d in range(x_NTD.shape[2]))
        self.description = Description(names, x_NTD.shape[1], "x", scaler, (1, 1, 1))

    def log_prob_array(self, x_NTD, run=None, known_NTW=None):  # noqa: ARG002
        good = self.description.scaler.matches(x_NTD)
        return np.where(good, -(8.0 + 4 * (run or 0)), -np.inf)

    def places(self, number, seed):  # noqa: ARG002
        return Places(None, None)

    def sample_array(self, number, seed, places):  # noqa: ARG002
        return np.full((number, 4, 2), 0.5 + seed)

    def runs(self):
        return [
            {"seed": 5, "validation_nll": 1.5, "best": False},
            {"seed": 6, "validation_nll": float("nan"), "best": False},
            {"seed": 7, "validation_nll": 1.25, "best": True},
        ]


@pytest.fixture
def x_NTD():
    x = helpers.series(20, 4, 2)
    x[..., 1] = 3.0
    return x


def test_the_end_writes_samples_and_says_the_held_out_likelihood(tmp_path, x_NTD):
    said = Said()
    run._finish(Model(x_NTD, generated_num=25, seed=2), held_out_of(x_NTD), tmp_path, said.append)
    assert said == [
        "held-out negative log-likelihood: 2.0000 nats a step, in data units (less is better, "
        "among models of the same data)",
        f"wrote 25 sequences to {tmp_path / 'final_samples.txt'}",
    ]
    x = layout.load(str(tmp_path / "final_samples.txt"), features=2).x_NTD
    assert np.array_equal(x, np.full((25, 4, 2), 2.5))
    assert not (tmp_path / "training_metrics.png").exists()  # there is nothing to draw


@pytest.mark.parametrize(("broken", "figure"), [(3, "2.0000"), (20, "inf")])
def test_held_out_sequences_that_break_a_constant_are_left_out(tmp_path, x_NTD, broken, figure):
    said, held_out = Said(), x_NTD.copy()
    held_out[:broken, 2, 1] = 4.0
    run._finish(Model(x_NTD), held_out_of(held_out), tmp_path, said.append)
    assert said[0].startswith(f"note: {broken} of 20 held-out sequences break a column that is ")
    assert said[1].startswith(f"held-out negative log-likelihood: {figure} nats a step, in data ")


def test_every_one_of_several_runs_is_reported(tmp_path, x_NTD):
    said, held_out = Said(), x_NTD.copy()
    held_out[0, 0, 1] = 4.0  # left out of all of them
    run._finish(Model(x_NTD, num_seeds=3), held_out_of(held_out), tmp_path, said.append)
    assert said[2].startswith(
        "3 runs: held-out 3.0000 on average, standard deviation 1.0000, 2.0000 to 4.0000; kept "
        "seed 7, the best on the validation part; all in "
    )
    rows = json.loads((tmp_path / "runs.json").read_text())
    assert [row["held_out_nll"] for row in rows] == [2.0, None, 4.0]
    said.clear()
    held_out[..., 1] = 4.0  # nothing is left
    run._finish(Model(x_NTD, num_seeds=3), held_out_of(held_out), tmp_path, said.append)
    assert not any("on average" in line for line in said)


def test_a_follower_stops_when_the_first_process_does(folder, monkeypatch):
    number = signal.SIGTERM
    monkeypatch.setattr(parallel, "broadcast", lambda own: own or number)
    monkeypatch.setattr(SeqGAN, "train", lambda *all_three: all_three[2].checkpoint(None))
    with pytest.raises(run.Stopped) as caught:
        run.follow(config.from_flat(TINY))
    assert caught.value.exit_code == 143
    number = 0
    run.follow(config.from_flat(TINY))
    assert not (folder / "save").exists()  # it writes nothing


def test_when_a_checkpoint_is_saved(monkeypatch):
    """When it is time, when a chunk was long, when a signal came; not otherwise."""
    now, saved = [100.0], []
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run._Listener, "_save", lambda *_: saved.append(now[0]))
    listener = object.__new__(run._Listener)
    listener._stop, listener._every, listener._saved, listener._border = [], 60, 100.0, 100.0
    for seconds, expected in ((1, 0), (signals.GRACE / 2, 0), (signals.GRACE / 2 + 0.1, 1), (1, 1)):
        now[0] += seconds
        listener.checkpoint(None)
        assert len(saved) == expected
    now[0] = 159.9
    listener._border = 158.0
    listener.checkpoint(None)
    assert len(saved) == 1
    now[0] = 160.0
    listener.checkpoint(None)
    assert len(saved) == 2
    listener._stop.append(signal.SIGHUP)
    with pytest.raises(run.Stopped) as caught:
        listener.checkpoint(None)
    assert caught.value.exit_code == 129
    assert len(saved) == 3


def test_settings_that_are_none(tmp_path):
    directory.write_config(tmp_path, {"settings": [1]})
    with pytest.raises(CheckpointError, match="holds no settings"):
        run.saved_config(str(tmp_path))


def test_what_a_resume_may_change():
    old = config.from_flat({"seed": 3})
    new = config.from_flat({"seed": 3, "run_dir": "moved", "total_batch": 7})
    assert run.check_resumable(old, new) == ["total_batch 200 -> 7"]
    with pytest.raises(UsageError, match=r"cannot change seed 3 -> 4, anchor 1\.0 -> 2\.0: what"):
        run.check_resumable(old, config.from_flat({"seed": 4, "anchor": 2.0}))


def test_overwriting_removes_what_a_run_made_and_nothing_else(tmp_path):
    for name in ("config.json", "final_samples.txt", "run.lock"):
        (tmp_path / name).write_text("1")
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").write_text("1")
    (tmp_path / "held_out.npy").symlink_to(tmp_path / "elsewhere")
    directory.clear(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "run.lock", "x.txt"]
    assert (tmp_path / "elsewhere" / "mine").exists()


def test_the_space_that_a_run_needs_is_counted(tmp_path, monkeypatch):
    state = {"w": np.zeros(250_000, np.float32)}  # 1 MB
    made = SimpleNamespace(length=10, names=("a", "b"), numbers=20, is_table=False)
    settings = config.from_flat({"keep": 3, "generated_num": 8000})
    model = SimpleNamespace(config=settings, description=made, state=state)
    held_out = np.zeros((10, 10, 2))
    # 4 checkpoints of 1.2 MB; 25 bytes for each of 10,000 x 10 x 2 numbers, 1,600 for held_out.npy
    needed = 4 * 1_200_000 + 25 * 200_000 + 1_600
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    run.check_space(tmp_path, model, held_out)
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(run.DiskError, match=r"about 9\.8 MB are needed \(4 checkpoints 4\.8 MB"):
        run.check_space(tmp_path, model, held_out)


def test_of_wide_sequences_as_many_are_written_as_hold_ten_million_numbers(tmp_path, monkeypatch):
    made = SimpleNamespace(length=1000, names=("a",) * 5, numbers=5000, is_table=True)
    model = SimpleNamespace(config=config.from_flat({"keep": 1}), description=made, state={})
    # 2,000 in two files, and two times 100 at checkpoints and evaluations, 25 bytes a number.
    needed = 2 * 200_000 + 25 * 5000 * (2000 + 2 * 100) * 2
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    run.check_space(tmp_path, model, np.zeros(0))
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(run.DiskError):
        run.check_space(tmp_path, model, np.zeros(0))


def test_real_sequences_and_samples_are_compared_with_the_same_gaps():
    """By hand: each gap has the last value before it, the first after it where none was."""
    gap = float(GAP)
    real_NTD = np.array([[gap, 2.0, gap, 4.0], [1.0, gap, gap, 4.0]])[..., None]
    samples_MTD = np.arange(12.0).reshape(3, 4)[..., None]
    shown_NTD, alike_MTD = loop._with_gaps_of(real_NTD, samples_MTD)
    assert shown_NTD[..., 0].tolist() == [[2, 2, 2, 4], [1, 1, 1, 4]]
    assert alike_MTD[..., 0].tolist() == [[1, 1, 1, 3], [4, 4, 4, 7], [9, 9, 9, 11]]
    whole = loop._with_gaps_of(samples_MTD, samples_MTD)
    assert whole[0] is samples_MTD
    assert whole[1] is samples_MTD


def test_preparation_takes_one_thread_of_numpy(monkeypatch):
    """Others wait for each other by turning; what a caller has set comes back."""
    seen = []
    fit = baseline.fit

    def blas_threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def heard(*given):
        seen.extend(blas_threads())
        return fit(*given)

    monkeypatch.setattr(preparing.baseline, "fit", heard)
    x_NTD = np.random.default_rng(0).normal(size=(60, 4, 1))
    with threadpool_limits(2, "blas"):
        SeqGAN(hidden_dim=2).prepare(layout.Sequences(x_NTD, ("x",), "noise"))
        after = blas_threads()
    assert set(seen) == {1}
    assert set(after) == {2}
