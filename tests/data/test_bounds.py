"""--log and --bounds: maps and densities against scipy, exact bounds, errors, runs."""

import json
import math
from dataclasses import replace

import helpers
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax import SeqGAN
from seqgan_jax.data import layout, shards
from seqgan_jax.data.bounds import Limits, of_columns, parse
from seqgan_jax.data.intervals import Interval
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import CheckpointError, DataError, UsageError
from seqgan_jax.run.cli import train_main

TINY = {"hidden_dim": 3, "skip_gen_pretrain": True, "skip_adversarial": True}
TINY |= {"skip_dis_pretrain": True}


def limits(*words: str) -> list[Limits | None]:
    """One for each word: log, LOW:HIGH or nothing."""
    names = [f"c{d}" for d in range(len(words))]
    log = [name for name, word in zip(names, words, strict=True) if word == "log"]
    bounds = [f"{name}:{word}" for name, word in zip(names, words, strict=True) if ":" in word]
    return list(of_columns(log, bounds, names))


def bounded(n: int = 60, steps: int = 5) -> np.ndarray:
    """Columns: lognormal, in [0, 100] with both ends, at least -2, at most 7, free."""
    z = np.random.default_rng(3).normal(size=(n, steps, 5))
    return np.stack(
        [
            np.exp(3 * z[..., 0] - 2),
            np.clip(np.round(50 + 40 * z[..., 1]), 0, 100),
            np.exp(z[..., 2]) - 2,
            7 - np.exp(z[..., 3]),
            z[..., 4],
        ],
        axis=-1,
    )


WORDS = ("log", "0:100", "-2:", ":7", "")


# ---------------------------------------------------------------- maps and densities


def test_there_and_back_and_scaled():
    x = bounded()
    scaler = Scaler.fit(x, limits(*WORDS))
    z = scaler.transform(x)
    np.testing.assert_allclose(z.mean((0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(z.std((0, 1)), 1, rtol=1e-12)
    back = scaler.inverse(z)
    for d, origin in enumerate((0, 0, -2, 7, 0)):  # relative to the distance from a bound
        inner = x[..., d] != origin
        np.testing.assert_allclose((back - origin)[inner, d], (x - origin)[inner, d], rtol=1e-12)
    np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
    assert np.all(scaler.matches(back))


def test_log_prob_of_a_lognormal_is_scipys():
    x = np.exp(np.random.default_rng(4).normal(1.5, 0.7, size=(40, 6, 1)))
    scaler = Scaler.fit(x, limits("log"))
    through = scipy.stats.norm.logpdf(scaler.transform(x)).sum((1, 2)) + scaler.log_jacobian(x)
    law = scipy.stats.lognorm(scaler.scale_K[0], scale=np.exp(scaler.shift_K[0]))
    np.testing.assert_allclose(through, law.logpdf(x).sum((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("word", ["3:", ":11"])
def test_log_prob_of_one_bound_is_the_change_of_variables(word):
    """scipy's normal law of the inverse softplus of the cube root; its slope by numbers."""
    x = 3 + 8 * np.random.default_rng(4).beta(2, 3, size=(40, 6, 1))
    scaler = Scaler.fit(x, limits(word))
    [interval] = scaler.interval_K
    through = scipy.stats.norm.logpdf(scaler.transform(x)).sum((1, 2)) + scaler.log_jacobian(x)
    sign = 1 if word == "3:" else -1
    distance = x - 3 + interval.below if word == "3:" else 11 + interval.above - x
    assert interval.scale == pytest.approx(np.median(distance))

    def learned(distance):
        return sign * np.log(np.expm1((distance / interval.scale) ** (1 / 3)))

    law = scipy.stats.norm(scaler.shift_K[0], scaler.scale_K[0])
    near = 1e-5 * distance
    slope = (learned(distance + near) - learned(distance - near)) / (2 * near)
    direct = law.logpdf(learned(distance)) + np.log(np.abs(slope))
    np.testing.assert_allclose(through, direct.sum((1, 2)), rtol=1e-7)


def test_what_is_learned_with_one_bound_has_no_exponential_tail():
    """Ten standard deviations out, values are hundreds of medians and not e^15 of them."""
    x = np.exp(np.random.default_rng(4).normal(1.5, 1.5, size=(400, 6, 1)))
    scaler = Scaler.fit(x, limits("0:"))
    far = scaler.inverse(np.full((1, 1, 1), 10.0))
    assert 20 < far / np.median(x) < 3000


def test_log_prob_of_a_logit_normal_is_the_change_of_variables():
    """scipy's normal law of logit(p), p the place in the wider interval; dp by numbers."""
    x = -4 + 6 * np.random.default_rng(4).beta(0.5, 0.8, size=(40, 6, 1))
    scaler = Scaler.fit(x, limits("-4:2"))
    [interval] = scaler.interval_K
    through = scipy.stats.norm.logpdf(scaler.transform(x)).sum((1, 2)) + scaler.log_jacobian(x)
    width = 6 + interval.below + interval.above
    p = (x + 4 + interval.below) / width
    law = scipy.stats.norm(scaler.shift_K[0], scaler.scale_K[0])
    direct = law.logpdf(scipy.special.logit(p)) - np.log(p * (1 - p)) - np.log(width)
    np.testing.assert_allclose(through, direct.sum((1, 2)), rtol=1e-8)


@pytest.mark.parametrize("word", ["log", "0:100", "-2:", ":7"])
def test_the_jacobian_is_the_slope_of_the_map(word):
    x = bounded()[..., [WORDS.index(word)]]
    scaler = Scaler.fit(x, limits(word))
    x = x[:, :1]
    h = 1e-6 * np.minimum(np.abs(x), 1.0) + 1e-9
    inside = scaler.matches(x - h) & scaler.matches(x + h)
    slope = (scaler.transform(x + h) - scaler.transform(x - h)) / (2 * h)
    np.testing.assert_allclose(
        scaler.log_jacobian(x)[inside], np.log(slope[inside, 0, 0]), atol=1e-5
    )
    assert inside.sum() > 20


def test_margins():
    """Half the gap on round values; as many others as are on the bound; a trifle where none is."""
    x = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    [two] = limits("0:9")
    assert Interval.fit(x, two) == Interval(0.0, 9.0, 0.5, 0.5)
    x = np.array([0.0, 0, 0, 0.1, 0.2, 0.3, 1, 2, 3, 4])
    assert Interval.fit(x, two) == Interval(0.0, 9.0, 0.15, 0.005)
    x = np.array([0.0] * 7 + [1, 2, 3])  # most are on it: half the others' median
    assert Interval.fit(x, two).below == 1.0
    [log] = limits("log")
    assert Interval.fit(x[7:], log) == Interval(0.0, math.inf, 0.0, 0.0)


@given(st.floats(allow_nan=False), st.sampled_from(["log", "0:100", "-2:", ":7"]))
@settings(max_examples=300, deadline=None)
def test_no_number_leaves_the_bounds(z, word):
    x = bounded()[..., [WORDS.index(word)]]
    scaler = Scaler.fit(x, limits(word))
    with np.errstate(over="ignore"):
        back = scaler.inverse(np.full((1, 1, 1), z))
    assert np.isfinite(back).all()
    assert scaler.matches(back).all()
    assert np.isfinite(scaler.transform(back)).all()
    if word == "log":
        assert back > 0


@given(
    st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.lists(st.floats(0, 1), min_size=4, max_size=40)
)
@settings(max_examples=200, deadline=None)
def test_there_and_back_for_any_bounds(low, width, shares):
    high = low + width
    x = np.clip(low + width * np.resize(shares, (4, len(shares) // 4, 1)), low, high)
    flags = of_columns([], [f"x:{low!r}:{high!r}"], ["x"])
    try:
        scaler = Scaler.fit(x, flags)
    except DataError:
        assert np.ptp(x) < 1e-9 * width
        return
    back = scaler.inverse(scaler.transform(x))
    assert np.all(np.abs(back - x) <= 1e-12 * max(abs(low), abs(high)))
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again.interval_K == scaler.interval_K
    assert np.array_equal(again.transform(x), scaler.transform(x))


def test_constants_and_copies_stay_exact():
    a = bounded()[..., 1]
    x = np.stack([a, np.full_like(a, 0.1), a, np.full_like(a, -3.0)], axis=-1)
    for words in (("0:100", "0:1", "", ""), ("", "log", "0:100", "log"), ("0:100",) * 3 + ("",)):
        scaler = Scaler.fit(x, limits(*words))
        assert scaler.kept_K == (0,)
        assert (scaler.interval_K[0].low, scaler.interval_K[0].high) == (0, 100)
        fresh = scaler.inverse(9 * np.random.default_rng(4).normal(size=(50, 4, 1)))
        assert np.array_equal(fresh[..., 0], fresh[..., 2])
        assert np.all(fresh[..., 1] == 0.1)
        assert np.all(fresh[..., 3] == -3.0)
        assert fresh.min(axis=(0, 1))[0] == 0
        assert fresh.max(axis=(0, 1))[0] == 100
    with pytest.raises(UsageError, match="Columns 1 and 3 are equal, and --bounds c0:0:100 is"):
        Scaler.fit(x, limits("0:100", "", "-1:100", ""))
    with pytest.raises(UsageError, match="another transform than --bounds c2:0:100"):
        Scaler.fit(x + 1, limits("log", "", "0:100", ""))


def test_a_value_outside_has_no_density():
    x = bounded()
    scaler = Scaler.fit(x, limits(*WORDS))
    for d, value in ((0, 0.0), (0, -1.0), (1, 100.5), (1, -1e-9), (2, -2.1), (3, 7.1)):
        other = x[:3].copy()
        other[1, 2, d] = value
        assert scaler.matches(other).tolist() == [True, False, True]
        assert np.isfinite(scaler.transform(other)).all()
        assert np.isfinite(scaler.log_jacobian(other)).all()


# ---------------------------------------------------------------- what is stored


def test_without_bounds_nothing_new_is_stored():
    assert "bounds" not in Scaler.fit(bounded()).to_json()
    assert Scaler.fit(bounded(), limits(*WORDS)).to_json()["bounds"][4] is None


@pytest.mark.parametrize(
    "change",
    [
        None,
        [],
        {},
        [None] * 5,
        *(
            [each, None, None, None, None]
            for each in (
                7,
                [],
                [0.0, 1.0, 0.1],
                [None, None, 0.0, 0.0],
                [0, 1.0, 0.1, 0.1],
                [0.0, True, 0.1, 0.1],
                [0.0, math.nan, 0.1, 0.1],
                [0.0, math.inf, 0.1, 0.0],
                [0.0, 1.0, 0.0, 0.1],
                [0.0, 1.0, 0.1, 0.0],
                [0.0, 1.0, 0.1, 2.0],
                [0.0, 1.0, -0.1, 0.1],
                [1.0, 1.0, 0.1, 0.1],
                [2.0, 1.0, 0.1, 0.1],
                [1.0, None, 0.0, 0.0],
                [1.0, None, 0.1, 0.1],
                [None, 0.0, 0.0, 0.0],
                [0.0, 1e301, 0.1, 0.1],
                [-1.1e300, None, 0.1, 0.0],
            )
        ),
        [[0.0, None, 0.0, 0.0]] * 4,
    ],
)
def test_damaged_bounds_are_refused(change):
    stored = Scaler.fit(bounded(), limits(*WORDS)).to_json()
    Scaler.from_json(stored)
    with pytest.raises(CheckpointError, match="scaling is damaged: bounds must be"):
        Scaler.from_json(stored | {"bounds": change})


# ---------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("humidity", "is not COLUMN:LOW:HIGH"),
        ("humidity:0", "is not COLUMN:LOW:HIGH"),
        (":0:1", "is not COLUMN:LOW:HIGH"),
        ("", "is not COLUMN:LOW:HIGH"),
        ("x:0:y", "'y' is no number"),
        ("x:nan:1", "'nan' is no number"),
        ("x:0:inf", "'inf' is no number"),
        ("x:1_0:20", "'1_0' is no number"),
        ("x:-1e301:0", "'-1e301' is no number"),
        ("x::", "neither LOW nor HIGH"),
        ("x:1:1", "LOW 1 is not below HIGH 1"),
        ("x:2:-1", "LOW 2 is not below HIGH -1"),
    ],
)
def test_bounds_that_are_refused_at_once(text, words):
    with pytest.raises(UsageError, match=words):
        SeqGAN(bounds=(text,))
    assert parse("a:b:-1e3:") == ("a:b", -1000.0, math.inf)


@pytest.mark.parametrize(
    ("log", "bounds", "words"),
    [
        (["z"], [], r"--log: there is no column 'z' \(the columns are a, b, c:1\)"),
        ([], ["z:0:1"], "--bounds: there is no column 'z'"),
        (["a"], ["a:0:1"], "'a' is in --log a and in --bounds a:0:1"),
        (["a", "a"], [], "'a' is in --log a and in --log a"),
        (["all"], ["b:0:1"], "'b' is in --log all and in --bounds b:0:1"),
    ],
)
def test_flags_that_do_not_fit_the_columns(log, bounds, words):
    with pytest.raises(UsageError, match=words):
        of_columns(log, bounds, ["a", "b", "c:1"])


def test_flags_and_columns():
    found = of_columns(["a"], ["c:1:0:5"], ["a", "b", "c:1"])
    assert [each and (each.low, each.high, each.closed) for each in found] == [
        (0, math.inf, False),
        None,
        (0, 5, True),
    ]
    assert len(set(of_columns([], ["all:0:"], ["a", "b"]))) == 1
    assert of_columns(["all"], [], ["all", "b"])[1] is None  # a name goes first


def test_values_that_are_refused():
    x = np.abs(helpers.series(40, 4, 2)) + 0.1
    x[7, 2, 1] = 0.0
    x[9, 0, 1] = -1.0
    with pytest.raises(DataError, match=r"array, sequence 8, step 3: column 'x2' is 0, not above"):
        SeqGAN(log=("all",), **TINY).fit(x)
    with pytest.raises(DataError, match=r"sequence 10, step 1: column 'x2' is -1, outside --bound"):
        SeqGAN(bounds=("x2:0:",), **TINY).fit(x)
    with pytest.raises(DataError, match=r"write --bounds x2:0: instead"):
        SeqGAN(log=("x2",), **TINY).fit(x)
    with pytest.raises(UsageError, match=r"the columns are x1, x2\)"):
        SeqGAN(log=("x",), **TINY).fit(x)
    series = layout.Sequences(x, ("a", "b"), "f.csv", np.arange(40) * 3, ())
    with pytest.raises(DataError, match=r"f\.csv, step 24 of the series: column 'b' is 0"):
        SeqGAN(log=("b",), **TINY).fit(series)
    x[:, :, 1] = 0.0  # constant: carried, not learned, but within bounds it must be
    SeqGAN(log=("all",), **TINY).prepare(layout.Sequences(x, ("a", "b"), "x", None, ()))
    with pytest.raises(DataError, match="sequence 1, step 1: column 'x2' is 0, outside"):
        SeqGAN(bounds=("x2:1:",), **TINY).fit(x)


def test_streamed_data(tmp_path):
    x = np.exp(helpers.series(6 * shards.BLOCK, 4, 2))
    np.save(tmp_path / "a.npy", x[:700])
    np.save(tmp_path / "b.npy", x[700:])
    opened = shards.open_shards(shards.find(str(tmp_path)))
    model = SeqGAN(log=("x1",), bounds=("x2:0:",), **TINY)
    parts = model.prepare(opened)
    scaler = model.description.scaler
    assert [each.low for each in scaler.interval_K] == [0, 0]
    block = parts.block(int(parts.train_blocks[0]))
    y = scaler.transform(block)[..., 0] * scaler.scale_K[0] + scaler.shift_K[0]
    np.testing.assert_allclose(y, np.log(block[..., 0]), rtol=1e-10, atol=1e-10)
    x[900, 1, 1] = -0.5
    np.save(tmp_path / "b.npy", x[700:])
    opened = shards.open_shards(shards.find(str(tmp_path)))
    with pytest.raises(DataError, match=r"b\.npy: x\[200, 1, 1\]: column 'x2' is -0.5, outside"):
        model.prepare(opened)


# ---------------------------------------------------------------- models


def grid_total(model: SeqGAN, edges: np.ndarray) -> float:
    """The integral of exp(log_prob) over two steps: midpoints of cells between `edges`."""
    middle, size = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    points = np.stack(np.meshgrid(middle, middle, indexing="ij"), -1).reshape(-1, 2)
    return float(np.exp(model.log_prob(points)) @ np.outer(size, size).ravel())


@pytest.fixture(scope="module")
def walk():
    """Two steps of one feature, as many as make the likeliest policy smooth."""
    return helpers.series(400, 2, 1)[..., 0]


def test_log_prob_integrates_to_one_with_log(walk):
    model = SeqGAN(log=("x",), **TINY).fit(np.exp(walk))
    assert grid_total(model, np.exp(np.linspace(-6, 6, 241))) == pytest.approx(1, abs=1e-3)


def test_log_prob_integrates_to_one_less_what_samples_have_on_the_bounds(walk):
    x = np.clip(50 + 40 * walk, 0, 100)
    assert (x == 0).any() and (x == 100).any()  # noqa: PT018
    model = SeqGAN(bounds=("x:0:100",), **TINY).fit(x)
    samples = model.sample(40_000)[..., 0]
    on_bound = float(((samples == 0) | (samples == 100)).any(axis=1).mean())
    assert 0.005 < on_bound < 0.5
    inside = grid_total(model, np.linspace(0, 100, 301))
    assert inside == pytest.approx(1 - on_bound, abs=5 * 0.5 / np.sqrt(40_000) + 1e-3)
    assert np.all(np.isneginf(model.log_prob([[50.0, 100.1], [-0.1, 3.0]])))


def test_log_prob_integrates_to_one_where_no_value_is_on_a_bound(walk):
    model = SeqGAN(bounds=("x:-1:3",), **TINY).fit(-1 + 4 / (1 + np.exp(-walk)))
    edges = -1 + 4 / (1 + np.exp(-np.linspace(-12, 12, 301)))
    assert grid_total(model, edges) == pytest.approx(1, abs=1e-3)


@pytest.fixture(scope="module")
def random_model():
    """A model of bounded columns; its weights are replaced in the test."""
    x = bounded(100, 4)
    names = ("a", "b", "c", "d", "e")
    model = SeqGAN(log=("a",), bounds=("b:0:100", "c:-2:", "d::7"), **TINY)
    model.prepare(layout.Sequences(x, names, "x", None, ()))
    return model, model.state


@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=15, deadline=None)
def test_samples_stay_within_bounds_whatever_the_weights(random_model, seed, scale):
    model, state = random_model
    best = helpers.random_params(state.best, seed, scale)
    model._state = replace(state, best=best)
    x = model.sample(200, seed=seed, temperature=3.0)
    assert np.isfinite(x).all()
    assert np.all(x[..., 0] > 0)
    assert np.all((x[..., 1] >= 0) & (x[..., 1] <= 100))
    assert np.all(x[..., 2] >= -2)
    assert np.all(x[..., 3] <= 7)
    assert model.description.scaler.matches(x).all()
    assert np.isfinite(model.log_prob(x)).all()


def test_saved_and_loaded(tmp_path):
    x = bounded(60, 4)[..., :2]
    model = SeqGAN(log=("x1",), bounds=("x2:0:100",), **TINY).fit(x)
    model.save(tmp_path / "m")
    again = SeqGAN.load(tmp_path / "m")
    assert again.config == model.config
    assert np.array_equal(again.sample(20), model.sample(20))
    assert np.array_equal(again.log_prob(x), model.log_prob(x))


def test_a_run_on_weather_stays_within_its_bounds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--data weather --columns temp_max temp_min wind --window 6 --stride 6"
    words += " --hidden-dim 4 --pre-epoch-num 2"
    words += " --skip-dis-pretrain --skip-adversarial --generated-num 1000"
    words += " --bounds wind:0.4:9.5,temp_max:-2:40"
    assert train_main(words.split()) == 0
    said = capsys.readouterr().out
    assert "from 0.4, to 9.5" in said
    real = layout.load("weather", columns=["temp_max", "temp_min", "wind"]).x_NTD
    assert (real[..., 2].min(), real[..., 2].max()) == (0.4, 9.5)
    final = layout.load("save/final_samples.txt", features=3).x_NTD
    assert final.shape == (1000, 6, 3)
    assert final[..., 2].min() >= 0.4
    assert final[..., 2].max() <= 9.5
    assert final[..., 0].min() >= -2
    assert final[..., 0].max() <= 40
    assert abs(np.median(final[..., 2]) - np.median(real[..., 2])) < 0.5
    settings = json.loads((tmp_path / "save/config.json").read_text())["settings"]
    assert settings["bounds"] == ["wind:0.4:9.5", "temp_max:-2:40"]
    assert train_main(["--resume", "--bounds", "wind:0:"]) == 2
    assert "--resume cannot change bounds" in capsys.readouterr().err
    assert train_main(["--resume", "--quiet"]) == 0
    assert train_main(["--data", "weather", "--run-dir", "b", "--bounds", "wind:0.5:"]) == 3
    assert "column 'wind' is 0.4, outside --bounds wind:0.5:" in capsys.readouterr().err
    assert not (tmp_path / "b" / "config.json").exists()
