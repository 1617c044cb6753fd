"""Going on from where data end, and sequences longer than training: Python, the shell, errors."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.core import baseline
from seqgan_jax.data import layout
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import continuing
from seqgan_jax.run.cli import sample_main, train_main

FEW = {"hidden_dim": 4, "pre_epoch_num": 1, "total_batch": 0, "skip_dis_pretrain": True}
UNTRAINED = FEW | {"skip_gen_pretrain": True, "policy": "gaussian"}
SHOPS = ["north", "south", "east", "west"]


def table():
    """Four shops of 60 days: words, counts, a meter that never falls, low <= high, a class."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2021-01-01", periods=60)
    parts = []
    for i, shop in enumerate(SHOPS):
        low = (10 + 0.1 * rng.normal(size=60).cumsum()).round(2)
        part = {
            "shop": shop,
            "day": days,
            "sky": rng.choice(["rain", "sun"], 60),
            "sales": rng.poisson(6, 60),
            "meter": (rng.uniform(0, 50) + rng.gamma(2, 1, 60).cumsum()).round(1),
            "low": low,
            "high": (low + rng.gamma(2, 0.2, 60)).round(2),
            "size": [1, 2, 1, 2][i],
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def model():
    rules = {"rule": ("low <= high", "meter increases"), "kind": ("size:static",)}
    return SeqGAN(window=8, calendar="none", **FEW, **rules).fit(table(), id="shop", time="day")


def quiet(call):
    """The result of a call that may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


@pytest.fixture(scope="module")
def futures(model):
    return quiet(lambda: model.sample(20, after=given(), length=5, seed=1))


def given():
    """Histories of 9 and 14 days that end on other days, in no order."""
    x = table()
    north = x[(x["shop"] == "north") & (x["day"] < "2021-02-10")].tail(9)
    south = x[(x["shop"] == "south") & (x["day"] < "2021-02-20")].tail(14)
    return pd.concat([south, north.iloc[::-1]])


def test_a_frame_goes_on_with_its_ids_times_dtypes_words_and_rules(futures):
    x = table()
    assert list(futures.columns) == ["shop", "sample", *x.columns[1:]]
    assert futures.dtypes.drop("sample").astype(str).equals(x.dtypes.astype(str))
    for shop, first in (("north", "2021-02-10"), ("south", "2021-02-20")):
        one = futures[futures["shop"] == shop]
        assert one["sample"].tolist() == [i for i in range(20) for _ in range(5)]
        days = pd.date_range(first, periods=5).tolist() * 20
        assert one["day"].tolist() == days
        last = given()[given()["shop"] == shop].sort_values("day").iloc[-1]
        assert (one["size"] == last["size"]).all()
        meter = one["meter"].to_numpy().reshape(20, 5)
        assert np.all(np.diff(meter, axis=1, prepend=last["meter"]) >= 0)
        assert meter[:, 0].max() < last["meter"] + 20
        assert len(np.unique(meter[:, -1])) > 10
    assert set(futures["sky"]) == {"rain", "sun"}
    assert (futures["low"] <= futures["high"]).all()
    for name, decimals in (("meter", 1), ("low", 2), ("high", 2)):
        assert (futures[name].round(decimals) == futures[name]).all()


def test_futures_go_on_from_their_own_end_not_from_another(futures):
    """`low` is a slow walk: its first futures are near the last value of their own sequence."""
    low = futures.groupby("shop")["low"]
    for shop in ("north", "south"):
        last = given()[given()["shop"] == shop].sort_values("day")["low"].iloc[-1]
        assert abs(low.get_group(shop).to_numpy().reshape(20, 5)[:, 0].mean() - last) < 0.15


def test_the_first_of_many_futures_are_those_of_few(model, futures):
    few = quiet(lambda: model.sample(7, after=given(), length=5, seed=1))
    first = futures[futures["sample"] < 7].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, first, rtol=1e-3)
    other = quiet(lambda: model.sample(7, after=given(), length=5, seed=2))
    assert not np.allclose(other["low"], few["low"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.drop(columns="low"), "no column 'low'.*shop, day, sky"),
        (lambda x: x.assign(sky="fog"), "'fog' in column 'sky' is none of its words.*rain, sun"),
        (
            lambda x: x.assign(low=x["low"].map("{}m".format).where(x.index % 2 > 0, "few")),
            r"column 'low' has words \(.*m, .*\), and had numbers in training. Write numbers",
        ),
        (lambda x: x.assign(high=0.0), r"sequence shop south, step 1.*high is 0.0.*low <= high"),
        (lambda x: x.assign(meter=-x["meter"]), r"step 2.*breaks the rule .*meter increases"),
        (lambda x: x.assign(size=[1, 2] * 11 + [1]), "'size' is 2 after 1.*constant in each"),
        (lambda x: x.assign(low=np.nan), "column 'low'.*missing"),
        (lambda x: x.iloc[::2], "a step of 'day' is 2 days, and was 1 day"),
        (lambda x: x.assign(day=range(23)), "is read as number, and was datetime"),
        (lambda x: pd.concat([x, x.tail(1)]), "the time .* is there twice"),
    ],
)
def test_what_cannot_have_been_is_refused_with_the_place(model, change, words):
    with pytest.raises(DataError, match=words):
        model.sample(2, after=change(given()), length=5)


def test_a_gap_in_time_and_a_count_that_never_came_are_said(model):
    x = given()
    with pytest.warns(UserWarning, match="1 sequence with gaps in time: only what is after"):
        model.sample(1, after=x[x["day"] != "2021-02-15"], length=5)
    with pytest.warns(UserWarning, match=r"shop south, step 3: column 'sales' is 99.*nearest"):
        model.sample(1, after=x.assign(sales=np.r_[5, 5, 99, [5] * 20]), length=5)


@pytest.fixture(scope="module")
def ar1():
    """A model of windows of 12 of an AR(1), untrained: the ridge VAR(1) itself."""
    rng = np.random.default_rng(0)
    x = np.zeros(4000)
    for t in range(1, 4000):
        x[t] = 0.9 * x[t - 1] + rng.normal()
    return SeqGAN(window=12, **UNTRAINED, kind=("all:continuous",)).fit(100 + 5 * x)


def test_futures_of_an_array_have_the_closed_form_s_mean_and_variance(ar1):
    """In units of the data, of two histories, by the fitted coefficients."""
    linear = ar1.state.policy_constants["baseline"]
    scaler = ar1.description.scaler
    a, b, s = (float(linear[name].ravel()[0]) for name in ("matrix", "offset", "factor"))
    shift, scale, n = float(scaler.shift_K[0]), float(scaler.scale_K[0]), 20_000
    x = np.array([[100.0, 104.0, 125.0], [101.0, 99.0, 80.0]])
    found = quiet(lambda: ar1.sample(n, after=x, length=10))
    assert found.shape == (2, n, 10, 1)
    for history, own in zip(x, found[..., 0], strict=True):
        mean, variance = (history[-1] - shift) / scale, 0.0
        for t in range(10):
            mean, variance = a * mean + b, a * a * variance + s * s
            spread = scale * np.sqrt(variance)
            assert abs(own[:, t].mean() - (shift + scale * mean)) < 4.5 * spread / np.sqrt(n)
            assert abs(own[:, t].std() / spread - 1) < 4.5 / np.sqrt(2 * n)


def test_arrays_of_every_shape_and_lists_of_unequal_length(ar1):
    x = 100.0 + np.arange(24.0).reshape(2, 12)

    def draw(after, n=3):
        return quiet(lambda: ar1.sample(n, after=after, length=4))

    both = draw(x)
    assert both.shape == (2, 3, 4, 1)
    assert np.allclose(draw(x[..., None]), both)
    assert np.allclose(draw(x[0]), both[:1])
    unequal = draw([x[0, :, None], x[1, -5:, None], x[1, -1:, None]])
    assert np.allclose(unequal[0], both[0], rtol=1e-5)
    assert np.allclose(unequal[1], both[1], rtol=1e-4)  # a VAR(1) forgets all but the last step
    assert np.allclose(draw(x[:, -40:]), ar1.sample(3, after=x, length=4))
    with pytest.raises(DataError, match=r"shape \[2, 12, 2\].*1 column"):
        ar1.sample(1, after=np.zeros((2, 12, 2)))
    with pytest.raises(DataError, match=r"unequal|inhomogeneous|list"):
        ar1.sample(1, after=[[1.0, 2.0], [1.0]])
    with pytest.raises(DataError, match="is a path"):
        ar1.sample(1, after="x.csv")
    with pytest.raises(DataError, match="nan"):
        ar1.sample(1, after=[1.0, np.nan])


def test_one_long_series_has_the_moments_of_the_ar1(ar1):
    """Of the fitted coefficients; errors as of an AR(1), by Bartlett's formula."""
    linear = ar1.state.policy_constants["baseline"]
    a, b, s = (float(linear[name].ravel()[0]) for name in ("matrix", "offset", "factor"))
    n, scaler = 10_000, ar1.description.scaler
    x = ar1.sample(1, length=n, seed=3)
    assert x.shape == (1, n, 1)
    x = (x[0, :, 0] - scaler.shift_K[0]) / scaler.scale_K[0]
    error = s / (1 - a) / np.sqrt(n)
    assert abs(x.mean() - b / (1 - a)) < 4 * error
    z = x - x.mean()
    for lag in (1, 5, 10):
        q = a ** (2 * lag)
        bartlett = ((1 + a * a) * (1 - q) / (1 - a * a) - 2 * lag * q) / n
        assert abs(np.mean(z[lag:] * z[:-lag]) / np.mean(z * z) - a**lag) < 4 * np.sqrt(bartlett)
    few = ar1.sample(2, length=50, seed=3)
    assert np.allclose(ar1.sample(5, length=50, seed=3)[:2], few, rtol=1e-4)
    assert ar1.sample(4, length=5).shape == (4, 5, 1)
    assert np.array_equal(ar1.sample(4, length=12), ar1.sample(4))


def test_one_long_series_has_the_rhythm_of_a_day():
    """A wave and an AR(1) by the hour, of windows of half a day: in closed form, mean by hour
    A cos(2 pi h / 24), autocorrelation (A^2 cos(2 pi k / 24) / 2 + v a^k) / (A^2 / 2 + v)."""
    rng, a, size = np.random.default_rng(7), 0.7, 1.5
    noise = np.zeros(6000)
    for t in range(1, len(noise)):
        noise[t] = a * noise[t - 1] + rng.normal()
    date = pd.date_range("2021-01-01", periods=len(noise), freq="h")
    x = pd.DataFrame({"date": date, "x": size * np.cos(2 * np.pi * date.hour / 24) + noise})
    model = SeqGAN(window=12, **UNTRAINED).fit(x)
    long = quiet(lambda: model.sample(1, start="2021-09-06 00:00", length=12_000, seed=1))
    y, variance = long["x"].to_numpy(), 1 / (1 - a**2)
    by_hour = y.reshape(-1, 24).mean(axis=0)
    error = np.sqrt(variance * (1 / 500 + 1 / 250))  # of days sampled, and of days learned
    assert np.abs(by_hour - size * np.cos(2 * np.pi * np.arange(24) / 24)).max() < 4 * error
    z, lags = y - y.mean(), np.array([1, 6, 12, 24, 48])
    own = np.array([np.mean(z[k:] * z[:-k]) for k in lags]) / np.mean(z * z)
    square = size**2 / 2
    expected = (square * np.cos(2 * np.pi * lags / 24) + variance * a**lags) / (square + variance)
    assert np.abs(own - expected).max() < 0.04
    power = np.abs(np.fft.rfft(z)) ** 2 / len(z)
    assert np.argmax(power) == len(z) // 24  # a line at a day, of size A^2 n / 4
    assert power[len(z) // 24] == pytest.approx(size**2 * len(z) / 4, rel=0.1)


@pytest.mark.parametrize("length", [0, -1, 2.5])
def test_lengths_that_are_none_are_refused(ar1, length):
    with pytest.raises(UsageError, match="length must be a whole number of at least 1"):
        ar1.sample(1, length=length)
    with pytest.raises(UsageError, match="do not fit into memory"):
        ar1.sample(10**9, length=10**6)


def test_whole_sequences_do_not_go_on_after_their_end(tmp_path):
    x = np.random.default_rng(1).normal(size=(60, 6))
    model = SeqGAN(**UNTRAINED).fit(x)
    assert model.description.windows is False
    with pytest.raises(UsageError, match=r"whole sequences of 6 steps\. They end there"):
        model.sample(2, length=7)
    with pytest.raises(UsageError, match="4 steps and 3 after them"):
        model.sample(2, after=x[:3, :4], length=3)
    assert model.sample(2, after=x[:3, :4]).shape == (3, 2, 2, 1)
    assert model.sample(2, length=4).shape == (2, 4, 1)
    # A model of an earlier version does not know: allowed, and said; and it is stored.
    model.save(tmp_path / "m")
    again = SeqGAN.load(tmp_path / "m")
    assert again.description.windows is False
    again._description = dataclasses.replace(again._description, windows=None)
    with pytest.warns(UserWarning, match="not known whether the 6 steps"):
        again.sample(2, length=7)


def test_a_drift_away_from_the_data_is_said(ar1, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ar1.sample(200, length=100)
    said = continuing.drift(ar1.state, ar1.description.scaler, ar1.description.form, FAR)
    assert said.count("leaves") == 1
    assert "in 50% of them" in said
    monkeypatch.setattr(baseline, "growth", lambda *_: 1.02)
    with pytest.warns(UserWarning, match="grows by 2.00% a step"):
        ar1.sample(2, length=13)
    ar1.sample(2, length=12)  # as in training


FAR = np.full((4, 30, 1), 100.0)
FAR[:2, 20] = 1000.0


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A run on all but the last 10 days of two of the shops, and what it goes on from."""
    monkeypatch.chdir(tmp_path)
    x = table().drop(columns="size")
    x.to_csv("x.csv", index=False)
    x[x["day"] < "2021-02-20"].to_csv("until.csv", index=False)
    words = "--data x.csv --window 8 --hidden-dim 4 --pre-epoch-num 1 --skip-dis-pretrain"
    words += " --skip-adversarial --quiet --generated-num 20 --rule"
    assert train_main([*words.split(), "low <= high", "meter increases"]) == 0
    return tmp_path


@pytest.mark.usefixtures("shell")
def test_from_the_shell(capsys):
    command = ["save", "--after", "until.csv", "--length", "6", "-n", "40", "--seed", "3"]
    assert sample_main([*command, "-o", "out.csv"]) == 0
    assert "wrote 40 futures of 6 steps of 4 sequences to out.csv" in capsys.readouterr().out
    out = pd.read_csv("out.csv", parse_dates=["day"])
    assert out["shop"].unique().tolist() == SHOPS
    assert (out.groupby(["shop", "sample"])["day"].min() == pd.Timestamp("2021-02-20")).all()
    frame = pd.read_csv("until.csv", parse_dates=["day"])
    model = SeqGAN.load("save")
    same = quiet(lambda: model.sample(40, after=frame, length=6, seed=3))
    pd.testing.assert_frame_equal(out, same, check_dtype=False)

    assert sample_main([*command, "--quantiles", ".1", ".5", ".9", "-o", "q.csv"]) == 0
    assert "no quantiles of 'sky'" in capsys.readouterr().err
    q = pd.read_csv("q.csv", parse_dates=["day"])
    assert len(q) == 4 * 6
    assert list(q.columns[:5]) == ["shop", "day", "sales_q0.1", "sales_q0.5", "sales_q0.9"]
    for level in (0.1, 0.5, 0.9):
        for name in ("sales", "meter", "low"):
            values = out.sort_values(["shop", "day", name], kind="stable")[name]
            values = values.to_numpy().reshape(24, 40)
            wanted = values[:, int(np.ceil(level * 40 - 1e-9)) - 1]
            found = q.sort_values(["shop", "day"])[f"{name}_q{level:g}"].to_numpy()
            assert np.array_equal(found, wanted)

    assert sample_main([*command, "-o", "out.npy"]) == 0
    assert np.load("out.npy").shape == (4, 40, 6, 5)
    assert sample_main([*command, "-o", "out.txt"]) == 0
    assert layout.load("out.txt", features=5).x_NTD.shape == (160, 6, 5)
    assert sample_main(["save", "--length", "300", "-n", "1", "-o", "long.csv"]) == 0
    assert len(pd.read_csv("long.csv")) == 300

    capsys.readouterr()
    for words, code, message in (
        (["--quantiles", ".5"], 2, "there is no --after FILE"),
        (["--after", "until.csv", "--quantiles", ".5", "-o", "q.txt"], 2, "row for each step"),
        (["--after", "until.csv", "--quantiles", "1.5", "-o", "r.csv"], 2, "between 0 and 1"),
        (["--after", "nothing.csv", "-o", "r.csv"], 3, "nothing.csv"),
        (["--length", "0", "-o", "r.csv"], 2, "length must be"),
    ):
        assert sample_main(["save", "-n", "5", *words]) == code
        assert message in capsys.readouterr().err
    assert not Path("r.csv").exists()
