"""SeqGAN from Python: fit, sample, log_prob in data units, save, load, errors in words."""

import dataclasses
import json
import subprocess
import sys

import helpers
import jax
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from seqgan_jax import SeqGAN
from seqgan_jax.core import selection
from seqgan_jax.errors import CheckpointError, DataError, NotFittedError, UsageError
from seqgan_jax.processes import simulators

TINY = {"hidden_dim": 6, "pre_epoch_num": 3, "dis_pre_refreshes": 1, "total_batch": 1}
TINY |= {
    "num_negatives": 32,
    "gradient": "pathwise",
    "batch_size": 32,
    "look_first": False,
    "dis_r1": 0.0,
}


@pytest.fixture(scope="module")
def data():
    return 5.0 + 2.0 * helpers.series(150, 5, 2)


@pytest.fixture(scope="module")
def model(data):
    return SeqGAN(**TINY).fit(data)


def test_samples_have_shape_dtype_units_and_seed(model, data):
    x = model.sample(200, seed=1)
    assert x.shape == (200, 5, 2)
    assert x.dtype == np.float64
    assert np.array_equal(x, model.sample(200, seed=1))
    assert not np.array_equal(x, model.sample(200, seed=2))
    assert np.array_equal(x[:7], model.sample(7, seed=1))
    assert np.allclose(x.mean((0, 1)), data.mean((0, 1)), atol=1.0)


def test_more_than_one_block_of_samples(model):
    x = model.sample(1500, seed=3)
    assert x.shape == (1500, 5, 2)
    assert len(np.unique(x[:, 0, 0])) == 1500


def test_temperature_widens(model):
    cold, warm = model.sample(500, temperature=0.5), model.sample(500, temperature=2.0)
    assert np.all(cold.std((0, 1)) < warm.std((0, 1)))


def test_log_prob_is_a_density_in_data_units(data):
    """The same data in two units: densities differ by the Jacobian, T D log(factor), exactly."""
    factor = 1000.0
    small, large = SeqGAN(**TINY).fit(data), SeqGAN(**TINY).fit(factor * data)
    difference = small.log_prob(data[:50]) - large.log_prob(factor * data[:50])
    assert np.allclose(difference, 5 * 2 * np.log(factor), atol=1e-2)


def test_log_prob_integrates_to_one():
    """A model of two steps, summed over a fine grid in data units."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(200, 2)), axis=1) * 3.0 + 7.0
    model = SeqGAN(**TINY).fit(x)
    axis = np.linspace(-25, 40, 200)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    total = np.exp(model.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-3)


def test_log_prob_of_an_untrained_ar1_is_scipys():
    """Without pretraining the policy is the VAR(1) of the training part: known in closed form."""
    law = simulators.get("ar1", 6)
    x = np.asarray(law.sample(jax.random.key(0), 3000), np.float64)
    skip = {"skip_gen_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(**TINY | skip, policy="gaussian").fit(x)
    exact = law.log_prob(x[:200])
    ours = model.log_prob(x[:200, :, 0])
    assert np.mean(ours - exact) == pytest.approx(0.0, abs=0.03)
    assert scipy.stats.pearsonr(ours, exact).statistic > 0.99


def test_constant_and_copied_columns_are_carried_exactly(data):
    wide = np.concatenate([data, np.full((150, 5, 1), 0.1), data[:, :, :1]], axis=2)
    model = SeqGAN(**TINY).fit(wide)
    x = model.sample(50)
    assert np.all(x[:, :, 2] == 0.1)
    assert np.array_equal(x[:, :, 3], x[:, :, 0])
    assert np.all(np.isfinite(model.log_prob(wide[:10])))
    broken = wide[:2].copy()
    broken[0, 3, 2] = 0.2
    broken[1, 0, 3] += 1.0
    assert np.all(np.isneginf(model.log_prob(broken)))


def test_save_and_load_in_a_fresh_process(model, data, tmp_path):
    folder = tmp_path / "model"
    model.save(folder)
    script = (
        "import sys, numpy as np; from seqgan_jax import SeqGAN\n"
        "m = SeqGAN.load(sys.argv[1]); x = np.load(sys.argv[2])\n"
        "np.savez(sys.argv[3], sample=m.sample(20, seed=4), log_prob=m.log_prob(x))\n"
    )
    np.save(tmp_path / "x.npy", data[:10])
    command = [sys.executable, "-c", script, folder, tmp_path / "x.npy", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = np.load(tmp_path / "out.npz")
    assert np.array_equal(out["sample"], model.sample(20, seed=4))
    assert np.array_equal(out["log_prob"], model.log_prob(data[:10]))


def test_saving_refuses_to_overwrite(model, tmp_path):
    model.save(tmp_path / "m")
    before = (tmp_path / "m" / "config.json").read_bytes()
    with pytest.raises(UsageError, match="already"):
        model.save(tmp_path / "m")
    assert (tmp_path / "m" / "config.json").read_bytes() == before


def test_same_seed_same_bits_other_seed_other_model(data):
    a, b = SeqGAN(**TINY).fit(data), SeqGAN(**TINY).fit(data)
    assert np.array_equal(a.sample(10), b.sample(10))
    assert not np.array_equal(a.sample(10), SeqGAN(seed=1, **TINY).fit(data).sample(10))


def test_before_fit_it_says_so():
    for call in (lambda m: m.sample(1), lambda m: m.log_prob(np.zeros((1, 2))), lambda m: m.state):
        with pytest.raises(NotFittedError, match="fit"):
            call(SeqGAN())


def test_settings_are_checked_at_once():
    with pytest.raises(UsageError, match="hiden_dim"):
        SeqGAN(hiden_dim=3)
    with pytest.raises(UsageError, match="--hidden-dim 0 is out of range"):
        SeqGAN(hidden_dim=0)
    with pytest.raises(UsageError, match="whole number"):
        SeqGAN(hidden_dim=2.5)
    with pytest.raises(UsageError, match="auto or full or factors or diagonal"):
        SeqGAN(covariance="round")
    with pytest.raises(UsageError, match="number"):
        SeqGAN(gen_lr="fast")


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], "2 sequences of 2 to 3 steps; at least 20"),
        (np.array([["a", "b"]]), "numbers"),
        (np.zeros((30, 4)) + 1j, "complex"),
        (np.zeros(30), "11 windows of --window 20"),
        (np.zeros((30, 1)), "at least 2"),
        (np.full((30, 4), np.nan), "nothing but missing values"),
        (np.zeros((30, 4)), "constant"),
        (np.random.default_rng(0).normal(size=(3, 4)), "20"),
    ],
)
def test_data_that_cannot_be_learned_from_are_refused_in_words(x, words):
    with pytest.raises(DataError, match=words):
        SeqGAN(**TINY).fit(x)


def test_arguments_of_sample_and_log_prob_are_checked(model):
    for arguments in ({"n": 0}, {"n": 1.5}, {"n": 1, "seed": -1}, {"n": 1, "temperature": 0.0}):
        with pytest.raises(UsageError):
            model.sample(**arguments)
    with pytest.raises(DataError, match=r"\[N, 5, 2\]"):
        model.log_prob(np.zeros((3, 5)))


@pytest.mark.parametrize("run", [99, 1, -1, True, 0.0, "0"])
def test_a_run_that_is_not_there_is_refused_in_words(model, data, run):
    """Whatever is asked of it; of one run and of two."""
    for ask in (lambda **of: model.sample(3, **of), lambda **of: model.log_prob(data[:3], **of)):
        with pytest.raises(UsageError, match=r"^run .*: there is one run, 0\. Leave it out"):
            ask(run=run)
    assert np.array_equal(model.sample(3, run=0), model.sample(3))


BEGIN = """
import numpy as np
from seqgan_jax import SeqGAN
x = np.random.default_rng(0).normal(size=(400, 24, 7)).cumsum(axis=1).round(1)
off = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
SeqGAN(num_seeds=5, hidden_dim=64, policy="mixture", calendar="none", **off).fit(x)
"""


def test_many_large_runs_begin():
    """In a process of its own: made side by side, they wait for each other for ever."""
    subprocess.run([sys.executable, "-c", BEGIN], check=True, timeout=180)


def test_runs_are_picked_by_their_number(data):
    model = SeqGAN(**TINY | {"num_seeds": 2, "total_batch": 0, "dis_pre_refreshes": 0}).fit(data)
    for run in (99, 2, -1, True):
        with pytest.raises(UsageError, match=rf"^run {run}: there are runs 0 to 1\."):
            model.sample(3, run=run)
        with pytest.raises(UsageError, match=rf"^run {run}: there are runs 0 to 1\."):
            model.log_prob(data[:3], run=run)
    first, second = (model.sample(3, run=run) for run in (0, np.int64(1)))
    assert not np.array_equal(first, second)
    best = [row["best"] for row in model.runs()].index(True)
    assert np.array_equal(model.sample(3), (first, second)[best])


def test_runs_that_kept_a_round_are_compared_at_the_end(data, monkeypatch):
    keep = selection.keep_harder_to_tell

    def always(state, *words, **static):
        state, found = keep(state, *words, **static)
        return dataclasses.replace(state, kept_round=jax.numpy.copy(state.round)), found

    monkeypatch.setattr(selection, "keep_harder_to_tell", always)
    monkeypatch.setattr(selection, "STEPS", 20)
    changes = {"num_seeds": 2, "skip_gen_pretrain": True, "dis_pre_refreshes": 0}
    # The checker takes a key that a vmapped scan splits for one that is used twice.
    with jax.debug_key_reuse(False):
        model = SeqGAN(**TINY | changes).fit(data)
    assert [row["kept_round"] for row in model.runs()] == [1, 1]
    assert int(np.sum(model.state.chosen)) == 1
    assert model.sample(3).shape == (3, 5, 2)


@pytest.mark.parametrize("value", [1e20, -1e38, 1e300])
def test_a_sequence_far_from_everything_has_no_density_and_leaves_the_others_theirs(
    model, data, value
):
    far = data[:6].copy()
    far[1, 0, 0], far[3, 4, 1], far[5] = value, value, value
    log_p, alone = model.log_prob(far), model.log_prob(data[:6])
    assert np.all(np.isneginf(log_p[[1, 3, 5]]))
    assert np.all(np.isfinite(alone))
    assert np.array_equal(log_p[[0, 2, 4]], alone[[0, 2, 4]])


@pytest.fixture
def compiled():
    """Programs that were compiled, or fetched from the cache on disk, since the test began."""
    seconds = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seconds
    jax.monitoring.unregister_event_duration_listener(listen)


def test_a_second_fit_compiles_nothing(data, compiled):
    SeqGAN(**TINY).fit(data)
    compiled.clear()
    SeqGAN(**TINY).fit(3.0 * data[::-1] + 1.0)
    assert not compiled
    SeqGAN(**TINY).fit(data[:140])  # the control: another shape
    assert compiled


def test_loading_what_is_not_there(tmp_path, model):
    with pytest.raises(CheckpointError, match="no run here"):
        SeqGAN.load(tmp_path)
    model.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="no checkpoint 99"):
        SeqGAN.load(tmp_path / "m", step=99)
    (tmp_path / "m" / "config.json").write_text('{"format": 1}')
    with pytest.raises(CheckpointError, match="format 1, this version reads format 2"):
        SeqGAN.load(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        SeqGAN.load(tmp_path / "m")


def frames():
    """Six shops of 40 days: whole numbers, cents, yes and no; days in the index."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2021-01-01", periods=40, name="day")
    parts = [
        pd.DataFrame(
            {
                "shop": f"s{i}",
                "sales": rng.poisson(30, 40),
                "price": (5 + rng.normal(size=40).cumsum() / 9).round(2),
                "open": rng.random(40) < 0.8,
            },
            index=days,
        )
        for i in range(6)
    ]
    return pd.concat(parts)


FEW = {"hidden_dim": 4, "pre_epoch_num": 1, "total_batch": 0, "skip_dis_pretrain": True}


def test_a_frame_in_gives_a_frame_out(tmp_path):
    x = frames()
    # A calendar that tells something is read, and samples start as the data do.
    x["price"] = (x["price"] + 60.0 * (x.index.day_of_week < 3)).round(2)
    model = SeqGAN(window=8, **FEW).fit(x, id="shop", time="day")
    new = model.sample(25, seed=1)
    assert list(new.columns) == list(x.columns)
    assert new.dtypes.astype(str).tolist() == x.dtypes.astype(str).tolist()
    assert new.index.name == "day"
    starts = new.index[::8]
    assert set(starts) <= set(x.index[:33])
    assert len(set(starts)) > 5
    assert (new.index[:8] == pd.date_range(starts[0], periods=8)).all()
    assert new["shop"].tolist() == [str(i) for i in range(25) for _ in range(8)]
    assert (new["price"].round(2) == new["price"]).all()
    drawn = model.sample_array(25, seed=1)
    assert drawn.shape == (25, 8, 3)
    assert np.allclose(new["price"].to_numpy(), drawn[..., 1].ravel(), atol=0.00501)
    pd.testing.assert_frame_equal(new.iloc[: 8 * 7], model.sample(7, seed=1))
    model.save(tmp_path / "m")
    again = SeqGAN.load(tmp_path / "m")
    pd.testing.assert_frame_equal(new, again.sample(25, seed=1))
    log_p = again.log_prob(new)
    values = new[["sales", "price", "open"]].to_numpy(float).reshape(25, 8, 3)
    assert np.array_equal(log_p, model.log_prob(values, start=list(starts)))
    with pytest.raises(DataError, match="no column 'price'"):
        model.log_prob(new.drop(columns="price"))
    with pytest.raises(DataError, match=r"sequences of 40 to 40 rows.*8 steps"):
        model.log_prob(x)


def test_an_array_in_gives_an_array_out():
    x = np.random.default_rng(0).poisson(9, size=(60, 6))
    new = SeqGAN(**FEW).fit(x).sample(5)
    assert isinstance(new, np.ndarray)
    assert new.shape == (5, 6, 1)


def test_rounding_keeps_bounds():
    x = np.abs(frames()[["price"]]).clip(0.01)
    x["price"] = (x["price"] / 50).round(2).clip(0.01)
    model = SeqGAN(window=8, bounds=("price:0.01:0.2",), **FEW).fit(x.reset_index(drop=True))
    new = model.sample(200)["price"]
    assert new.between(0.01, 0.2).all()
    log = SeqGAN(window=8, log=("price",), **FEW).fit(x.reset_index(drop=True))
    assert (log.sample(500, temperature=4.0)["price"] >= 0.01).all()


def test_a_damaged_form_is_refused(tmp_path):
    model = SeqGAN(window=8, **FEW).fit(frames(), id="shop", time="day")
    model.save(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    content = json.loads(path.read_text())
    content["form"]["columns"][0]["name"] = "other"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="other columns"):
        SeqGAN.load(tmp_path / "m")
