"""Sequences of unequal length from end to end: learned, sampled, written and read in every form."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from seqgan_jax import SeqGAN
from seqgan_jax.config import DataConfig
from seqgan_jax.data import layout, lengths
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import cli

TINY = {
    "hidden_dim": 8,
    "pre_epoch_num": 8,
    "dis_pre_refreshes": 0,
    "total_batch": 0,
    "policy": "gaussian",
}
RNG = np.random.default_rng(0)


def worn(rng):
    """A level that drifts, and noise; it ends when the level is above 5."""
    x, drift, own = 0.0, rng.uniform(0.2, 0.5), []
    while x < 5 or len(own) < 2:
        x += drift + 0.4 * rng.normal()
        own.append([x, rng.normal()])
    return np.array(own)


def stays(rng):
    """Noise for 5 to 9 or 20 to 24 steps, whatever its values are."""
    steps = int(rng.integers(5, 10)) + 15 * int(rng.random() < 0.5)
    return rng.normal(size=(steps, 2))


CASES = {"worn": worn, "stays": stays}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    data = [CASES[request.param](RNG) for _ in range(300)]
    return request.param, data, SeqGAN(**TINY).fit(data)


def test_lengths_are_those_of_the_data(case):
    _, data, model = case
    drawn = model.sample(600, seed=1)
    assert isinstance(drawn, list)
    assert all(x.shape[1] == 2 and np.isfinite(x).all() for x in drawn)
    own, real = (np.array([len(x) for x in part]) for part in (drawn, data))
    assert own.max() <= real.max()
    found = ks_2samp(own, real)
    assert found.statistic < 0.12, found  # 5% of equal laws are beyond 0.096
    assert [len(x) for x in model.sample(5, seed=1)] == own[:5].tolist()


def test_the_last_step_is_where_the_data_end(case):
    name, _, model = case
    last = np.array([x[-1, 0] for x in model.sample(300, seed=2)])
    before = np.array([x[-2, 0] for x in model.sample(300, seed=2)])
    if name == "worn":
        assert np.mean((last > 4.5) & (before < 5.5)) > 0.8
    else:
        assert abs(last.mean()) < 0.2


def test_a_length_is_kept_and_others_are_refused(case):
    _, data, model = case
    assert {len(x) for x in model.sample(20, seed=3, length=9)} == {9}
    some = model.sample(40, seed=3, length=(8, 21))
    assert all(8 <= len(x) <= 21 for x in some)
    # Those of all samples that have such a length: the law given it.
    every = [x for x in model.sample(2000, seed=3) if 8 <= len(x) <= 21]
    assert all(np.array_equal(a, b) for a, b in zip(some, every, strict=False))
    longest = max(map(len, data))
    with pytest.raises(UsageError, match=f"training have 2 to {longest} steps"):
        model.sample(3, length=longest + 1)
    with pytest.raises(DataError, match=r"0 of .* samples have one"):
        model.sample(3, length=2 if case[0] == "stays" else longest, temperature=0.01)


def test_futures_end(case):
    _, data, model = case
    longest = max(map(len, data))
    x_NMTD = model.sample(30, after=[data[0][:4], data[1][:3]], seed=4)
    assert x_NMTD.shape == (2, 30, longest - 3, 2)
    steps = np.stack([lengths.of(x_MTD) for x_MTD in x_NMTD])
    assert steps.min() >= 1
    assert steps[0].max() <= longest - 4
    assert model.sample(4, after=[data[0][:4]], length=2).shape == (1, 4, 2, 2)
    with pytest.raises(UsageError, match="They end there"):
        model.sample(1, after=[np.zeros((longest, 2))])


def test_the_likelihood_is_that_of_what_is_there(case, tmp_path):
    _, data, model = case
    log_p = model.log_prob(data[:8])
    assert np.isfinite(log_p).all()
    padded = lengths.padded(data[:8], max(map(len, data)))
    assert np.allclose(model.log_prob(padded), log_p, rtol=1e-5)
    model.save(tmp_path / "model")
    again = SeqGAN.load(tmp_path / "model")
    assert np.array_equal(again.log_prob(data[:8]), log_p)
    assert np.array_equal(again.sample_array(4), model.sample_array(4), equal_nan=True)


def test_scaling_there_and_back():
    """NaN after ends, rules and statics; and the JSON of it."""
    data = lengths.padded([worn(RNG) for _ in range(40)])
    more = np.cumsum(np.abs(data[..., :1]), axis=1).round(1)
    static = np.where(np.isnan(data[..., :1]), np.nan, RNG.integers(0, 3, (40, 1, 1)) * 1.0)
    x = np.concatenate([data, more, static], axis=2)
    config = SeqGAN(rule=["c increases"]).config.data
    from seqgan_jax.data import encoding

    scaler = encoding.fit(x, ("a", "b", "c", "d"), config, None, ends=True)
    z = scaler.transform(x)
    assert np.isfinite(z).all()
    assert z.shape[2] == scaler.num_inner
    steps = lengths.of(x)
    assert np.array_equal(np.argmax(z[..., scaler.end], axis=1), steps - 1)
    assert np.allclose(scaler.inverse(z), x, equal_nan=True, atol=1e-9)
    junk = z.copy()
    junk[~lengths.there(x)] = 3.0  # of samples that ran on
    assert np.allclose(scaler.inverse(junk), x, equal_nan=True, atol=1e-9)
    assert scaler.matches(x).all()
    stored = json.loads(json.dumps(scaler.to_json()))
    assert np.array_equal(Scaler.from_json(stored).transform(x), z)
    assert "ends" not in Scaler.fit(np.nan_to_num(x)).to_json()


def test_the_hazard_is_that_of_the_law():
    rng = np.random.default_rng(1)
    peaks = np.where(rng.random(2000) < 0.5, 12, 24)
    found = np.array(lengths.hazard(peaks, 24))  # not smoothed: the parts agree that none is better
    assert found[11] == pytest.approx(0.5, abs=0.03)
    assert max(found[:11].max(), found[12:23].max()) < 1e-3
    few = np.clip(rng.normal(100, 15, 60).astype(int), 2, 140)
    smooth = np.array(lengths.hazard(few, 140))
    survival = np.cumprod(1 - smooth)
    assert np.interp(0.5, 1 - survival, np.arange(1, 141)) == pytest.approx(100, abs=6)
    assert np.count_nonzero(smooth > 2 / few.sum()) > 30  # spread over ages without an end


# ------------------------------------------------------------------ files


def frame_of(data):
    return pd.DataFrame(
        [(n, t, *row) for n, x in enumerate(data) for t, row in enumerate(x.round(3).tolist())],
        columns=["unit", "cycle", "a", "b"],
    )


def test_a_long_table_is_learned_and_written_as_it_came(tmp_path, capsys):
    data = [worn(RNG) for _ in range(60)]
    path, run = tmp_path / "x.csv", tmp_path / "run"
    frame_of(data).to_csv(path, index=False)
    words = ["train", "--data", str(path), "--run-dir", str(run), "--hidden-dim", "8"]
    words += ["--pre-epoch-num", "2", "--policy", "gaussian", "--generated-num", "30"]
    assert cli.main([*words, "--skip-dis-pretrain", "--skip-adversarial"]) == 0
    least, longest = min(map(len, data)), max(map(len, data))
    said = f"60 sequences of {least} to {longest} steps"
    out = capsys.readouterr().out
    assert f"data    {path}: {said}, 2 features" in out
    assert f"note: {said}: their ends are learned; --window N cuts equal pieces" in out
    for name in ("final_samples.csv", "final_samples.txt"):
        own = pd.read_csv(run / name) if name.endswith("csv") else None
        if own is not None:
            assert list(own.columns) == ["unit", "cycle", "a", "b"]
            sizes = own.groupby("unit").size()
            assert sizes.nunique() > 1
            assert sizes.max() <= longest
            assert (own.groupby("unit").cycle.max() == sizes - 1).all()
        else:
            lines = (run / name).read_text().splitlines()
            assert [len(line.split()) // 2 for line in lines] == sizes.tolist()
    out = tmp_path / "some.csv"
    assert (
        cli.main(["sample", str(run), "-n", "7", "--length", f"{least}:{longest}", "-o", str(out)])
        == 0
    )
    assert pd.read_csv(out).unit.nunique() == 7
    assert cli.main(["sample", str(run), "--length", "a", "-o", str(tmp_path / "b.csv")]) == 2
    assert cli.main(["inspect", str(path)]) == 0
    assert said in capsys.readouterr().out
    some = pd.DataFrame(
        [(5, t, *row) for t, row in enumerate(data[0][:3].tolist())],
        columns=["unit", "cycle", "a", "b"],
    )
    some.to_csv(tmp_path / "h.csv", index=False)
    out = tmp_path / "futures.csv"
    assert (
        cli.main(
            ["sample", str(run), "-n", "9", "--after", str(tmp_path / "h.csv"), "-o", str(out)]
        )
        == 0
    )
    futures = pd.read_csv(out)
    assert (futures.groupby("sample").cycle.min() == 3).all()
    assert futures.groupby("sample").size().nunique() > 1


def test_a_frame_gives_frames():
    frame = frame_of([worn(RNG) for _ in range(50)])
    model = SeqGAN(**TINY | {"pre_epoch_num": 1}).fit(frame, id="unit", time="cycle")
    own = model.sample(20)
    assert list(own.columns) == list(frame.columns)
    assert own.groupby("unit").size().nunique() > 1
    log_p = model.log_prob(own)
    assert log_p.shape == (20,)
    assert np.isfinite(log_p).all()


@pytest.mark.parametrize("name", ["x.txt", "x.npy", "x.csv", "x.parquet"])
def test_what_is_written_is_read_again(tmp_path, name):
    x = lengths.padded([worn(RNG).round(3) for _ in range(40)])
    path = tmp_path / name
    layout.save_sequences(path, x, ("a", "b"), ends=True)
    found = layout.load(str(path), features=2 if name == "x.txt" else None)
    assert found.ends
    assert np.allclose(found.x_NTD, x, equal_nan=True)
    with pytest.raises(DataError, match="not finite"):
        layout.save_sequences(path, x, ("a", "b"))


def test_lists_and_a_hole():
    data = [worn(RNG) for _ in range(40)]
    found = layout.as_sequences([pd.DataFrame(x, columns=["a", "b"]) for x in data])
    assert found.ends
    assert np.allclose(found.x_NTD, lengths.padded(data), equal_nan=True)
    own = [x[:, 0] for x in data]
    assert np.allclose(layout.as_sequences(own).x_NTD, found.x_NTD[..., :1], equal_nan=True)
    padded = lengths.padded(data)
    assert layout.as_sequences(padded).ends
    padded[3, 1, 0] = np.nan
    around = layout.as_sequences(padded)  # a hole is missing, what comes after ends is not
    assert around.ends
    assert np.isnan(around.x_NTD[3, 1, 0])
    with pytest.raises(DataError, match=r"x\[3, 1, 0\] is nan"):
        layout.from_python(padded, DataConfig(missing="error"))
    with pytest.raises(DataError, match="sequence 1 has 1 step"):
        layout.as_sequences([data[0][:1], *data[1:]])


# ------------------------------------------------------------------ beside what is given or known


@pytest.fixture(scope="module")
def wards():
    """Stays of 2 to 4 steps in ward a, 5 to 8 in b; heat is higher by 3 where there is a fire."""
    rng = np.random.default_rng(2)
    rows = []
    for patient in range(300):
        ward = "ab"[patient % 2]
        steps = int(rng.integers(2, 5) if ward == "a" else rng.integers(5, 9))
        fire = rng.random(steps) < 0.4
        heat = (3 * fire + rng.normal(size=steps)).round(2)
        rows += [(patient, t, ward, heat[t], fire[t]) for t in range(steps)]
    frame = pd.DataFrame(rows, columns=["patient", "day", "ward", "heat", "fire"])
    asked = {"id": "patient", "time": "day"}
    settings = TINY | {"hidden_dim": 4, "pre_epoch_num": 2}
    return SeqGAN(static=["ward"], known=["fire"], **settings).fit(frame, **asked)


def test_a_length_and_what_is_given(wards):
    drawn = wards.sample(40, given={"ward": "b"}, length=(2, 6), seed=1)
    sizes = drawn.groupby("patient").size()
    assert len(sizes) == 40
    assert sizes.between(2, 6).all()
    assert (sizes >= 5).mean() > 0.8
    assert set(drawn["ward"]) == {"b"}
    few = wards.sample(7, given={"ward": "b"}, length=(2, 6), seed=1)
    pd.testing.assert_frame_equal(few, drawn[drawn["patient"] < 7])
    wanted = pd.DataFrame({"ward": ["b", "a", "b"]})
    drawn = wards.sample(given=wanted, length=(3, 5))
    assert drawn.groupby("patient")["ward"].first().tolist() == ["b", "a", "b"]
    assert drawn.groupby("patient").size().between(3, 5).all()


def test_a_length_and_what_is_known(wards):
    """Given, it is that of all samples; drawn, each sample has its own."""
    fire = np.arange(8) % 2 == 0
    drawn = wards.sample_array(200, length=(5, 8), known=fire)[
        ..., wards.description.names.index("heat")
    ]
    mean = np.nanmean(drawn, axis=0)
    assert mean[fire].mean() - mean[~fire].mean() == pytest.approx(3, abs=0.5)
    own = wards.sample_array(200, length=(5, 8))[:, :5, wards.description.names.index("heat")]
    assert own.std(axis=0).min() > 1.4  # sqrt(1 + 9 * 0.24) = 1.8, of one fire for all 1
