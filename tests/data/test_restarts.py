"""Columns that count anew: put back exactly, kept by anything, found where nothing else is."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax import SeqGAN, inspect
from seqgan_jax.config import DataConfig
from seqgan_jax.data import encoding, restarts
from seqgan_jax.data.rule_texts import Restart, parse
from seqgan_jax.data.rules import Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError

UNTRAINED = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
FORMS = ("x increases or restarts", "x increases or restarts at 0", "x increases modulo 6")


def counted(text: str, number: int, length: int, seed: int, unit: float = 1.0) -> np.ndarray:
    """Counts [N, T, 1] of 0 to 2 units a step, by a plain loop."""
    rng = np.random.default_rng(seed)
    x_NTD = np.zeros((number, length, 1))
    for n in range(number):
        now = int(rng.integers(0, 3))
        for t in range(length):
            if t:
                new, anew = int(rng.integers(0, 3)), rng.random() < 0.2
                if text == FORMS[2]:
                    now = (now + new) % 6
                elif text == FORMS[1]:
                    now = 0 if anew else now + new
                else:
                    now = new if anew else now + new
            x_NTD[n, t, 0] = round(now * unit, 2)
    return x_NTD


def windows(x_T: np.ndarray, length: int = 24) -> np.ndarray:
    return np.stack([x_T[i : i + length] for i in range(0, len(x_T) - length, 5)])[..., None]


def meter(days: int, seed: int, at_zero: bool = False) -> np.ndarray:
    """kWh of each day by the hour."""
    rng = np.random.default_rng(seed)
    hour = np.arange(24)
    use = (0.1 + np.exp(-(((hour - 19) / 3) ** 2))) * rng.gamma(2, 0.3, (days, 24))
    use[:, 0] *= not at_zero
    return use.round(2).cumsum(axis=1).round(2).ravel()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("kWh increases or restarts", Restart("kWh")),
        ("'a meter' increases or restarts at 0", Restart("a meter", at=0.0)),
        ("kWh increases or restarts when 'a meter' changes", Restart("kWh", when="a meter")),
        ("a meter increases or restarts at -1.5", Restart("a meter", at=-1.5)),
        ("kWh increases modulo 1e4", Restart("kWh", modulo=10000.0)),
    ],
)
def test_what_can_be_written(text, rule):
    names = ["kWh", "a meter"]
    assert parse(text, names) == rule
    assert parse(str(rule), names) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kWh increases modulo 0", "above 0"),
        ("kWh increases modulo -5", "above 0"),
        ("kWh increases or restarts at noon", "'noon' is no number"),
        ("W increases or restarts", "no column 'W'"),
        ("kWh increases or restarts when W changes", "no column 'W'"),
        ("kWh increases or restarts when kWh changes", "Name another column"),
    ],
)
def test_what_cannot(text, words):
    with pytest.raises(UsageError, match=words):
        parse(text, ["kWh"])


@pytest.mark.parametrize("text", FORMS)
def test_there_and_back_is_exact(text):
    x = counted(text, 50, 12, 0, unit=0.1)
    text = text.replace("modulo 6", "modulo 0.6")
    scaler = encoding.fit(x, ("x",), DataConfig(rule=(text,), rules="none"))
    assert str(scaler.rules) == text
    assert scaler.matches(x).all()
    assert np.array_equal(scaler.inverse(scaler.transform(x)), x)
    stored = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert stored.rules == scaler.rules
    # What was learned: 0 to 2 units, and nothing else.
    y = scaler.rules.forward(x)[..., 0]
    new = y[:, 1:] if " at " not in text else y[:, 1:][x[:, 1:, 0] > 0]
    assert set(np.unique(new)) <= {0.0, 0.1, 0.2}


@pytest.mark.parametrize("text", [*FORMS[:2], "x increases modulo 6.25"])
def test_densities_come_back_too(text):
    rng = np.random.default_rng(0)
    anew = rng.random((100, 24)) < 0.1
    new = rng.gamma(2, 1, (100, 24)).round(6)
    x = new.cumsum(axis=1).round(6) % 6.25
    for t in range(1, 24):
        if "modulo" not in text:
            after = new[:, t] if text == FORMS[0] else 0.0
            x[:, t] = np.where(anew[:, t], after, x[:, t - 1] + new[:, t])
    x = x.round(6)[..., None]
    scaler = encoding.fit(x, ("x",), DataConfig(rule=(text,), rules="none"))
    e = scaler.kept_K.index(0)
    assert scaler.kinds_K[e].name == "continuous"
    assert scaler.matches(x).all()
    assert np.allclose(scaler.inverse(scaler.transform(x)), x, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    text=st.sampled_from(FORMS),
    seed=st.integers(0, 1000),
    decimals=st.sampled_from([0, 2, None]),
    top=st.integers(1, 5),
)
def test_each_level_is_one_increment_and_restart_and_each_of_these_a_level(
    text, seed, decimals, top
):
    if decimals is None and text == FORMS[1]:
        return  # the smallest increment is not known
    rng = np.random.default_rng(seed)
    rule = parse(text, ["x"])
    unit = 10.0 ** -(decimals or 0)
    if rule.modulo:
        rule = Restart("x", modulo=6 * unit)
    limit = restarts.top_of(np.zeros((1, 1)), rule, decimals) if rule.modulo else top * unit
    rules = Rules((rule,), ("x",), (decimals,), tops_D=(limit,))
    y = rng.integers(0, min(6, top + 1), (20, 9, len(rules.source_E))) * unit
    y[..., 1] = y[:, :1, 1]  # the start
    if text == FORMS[0]:
        y[..., 2] = rng.integers(0, 2, (20, 9))
        y[:, 0, 2] = 0.0
    elif rule.at is not None:
        y[..., 0] = np.where(rng.random((20, 9)) < 0.3, restarts.restart_of(limit), y[..., 0])
    y[:, 0, 0] = 0.0
    x = rules.inverse(y)
    assert rules.holds(x).all()
    if decimals is not None:  # exactly
        assert np.array_equal(rules.forward(x), y.round(decimals))
    # Anything at all keeps the rule, and is put back. Of densities no two numbers are the same, as
    # rounding decides whether y is below x_{t-1} where they are.
    scale = 0.1 if decimals is None else 3.0
    off = rules.inverse(scale * 6 * np.arctan(rng.standard_cauchy(y.shape)))
    assert rules.holds(off).all()
    assert np.allclose(rules.inverse(rules.forward(off)), off, rtol=1e-12, atol=1e-9)


def sides(number: int, seed: int) -> np.ndarray:
    """The side that wind comes from, 0 to 3, and how far it ran since that changed, [T, 2]."""
    rng = np.random.default_rng(seed)
    turned, side = rng.random(number) < 0.3, rng.integers(0, 4, number)
    side = pd.Series(side).where(turned).ffill().fillna(0).to_numpy()
    begins = np.r_[True, side[1:] != side[:-1]]
    wind = rng.choice(
        [0.45, 0.89, 1.79, 3.13, 4.02, 4.92], number, p=[0.1, 0.3, 0.3, 0.2, 0.05, 0.05]
    )
    return np.stack([side, pd.Series(wind).groupby(begins.cumsum()).cumsum().round(2)], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_what_counts_anew_when_another_column_changes(seed):
    x_TD = sides(3000, seed)
    x = np.stack([x_TD[i : i + 24] for i in range(0, 2976, 5)])
    scaler = encoding.fit(x, ("side", "run"), DataConfig())
    assert str(scaler.rules) == "run increases or restarts when side changes"
    assert np.array_equal(scaler.inverse(scaler.transform(x)), x)
    assert Scaler.from_json(json.loads(json.dumps(scaler.to_json()))).rules == scaler.rules
    # What is learned of it are the winds.
    kind = next(k for k in scaler.kinds_K if set(k.levels) >= {0.45, 4.92})
    assert len({*kind.levels, *kind.atoms} - {0.0}) == 6
    # Anything keeps it, and is put back.
    rng = np.random.default_rng(seed)
    y = scaler.rules.forward(x)
    y[..., 0] = rng.integers(0, 4, y.shape[:2])
    y[..., 1] = rng.normal(0, 20, y.shape[:2])
    made = scaler.rules.inverse(y)
    assert scaler.rules.holds(made).all()
    same = made[:, 1:, 0] == made[:, :-1, 0]
    assert (np.diff(made[..., 1], axis=1)[same] >= 0).all()
    assert np.array_equal(scaler.rules.inverse(scaler.rules.forward(made)), made)
    broken = x.copy()
    at = tuple(np.argwhere(x[:, 1:, 0] == x[:, :-1, 0])[0] + [0, 1])
    broken[(*at, 1)] = 0.0
    with pytest.raises(DataError, match="though side is as it was"):
        encoding.fit(broken, ("side", "run"), DataConfig(rule=(str(scaler.rules),)))


def test_what_only_changes_with_another_column_counts_nothing():
    rng = np.random.default_rng(0)
    side = sides(3000, 0)[:, 0]
    begins = np.r_[True, side[1:] != side[:-1]]
    held = pd.Series(rng.gamma(2, 3, 3000).round(1)).where(begins).ffill().to_numpy()
    walk = rng.normal(size=3000).cumsum().round(2) + 500
    for other in (held, walk, rng.gamma(2, 3, 3000).round(1)):
        x_TD = np.stack([side, other], axis=1)
        x = np.stack([x_TD[i : i + 24] for i in range(0, 2976, 5)])
        assert "restarts" not in str(encoding.fit(x, ("side", "x"), DataConfig()).rules or "")


def test_what_rolls_over_is_as_the_remainder():
    rng = np.random.default_rng(0)
    new, start = rng.integers(0, 40, (30, 50)), rng.integers(0, 100, 30)
    new[:, 0] = 0
    rules = Rules((Restart("x", modulo=100.0),), ("x",), (0,), tops_D=(99.0,))
    y = np.stack([new, np.broadcast_to(start[:, None], new.shape)], axis=-1).astype(float)
    assert np.array_equal(rules.inverse(y)[..., 0], (start[:, None] + new.cumsum(axis=1)) % 100)


@pytest.mark.parametrize(("text", "highest"), [(FORMS[0], 24), (FORMS[1], 24), (FORMS[2], 6)])
def test_the_masses_of_all_sequences_sum_to_one(text, highest):
    x = counted(text, 300, 4, 1)
    model = SeqGAN(rule=[text], rules="none", **UNTRAINED).fit(x)
    starts = np.unique(x[:, 0])
    every = np.array(list(itertools.product(starts, *[range(highest)] * 3)))[..., None]
    log_prob = model.log_prob(every)
    assert np.exp(log_prob).sum() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(model.log_prob(x)).all()
    # The share of samples that restart at the last step is what the masses say.
    y = model.sample(4000)
    falls = every[:, 3, 0] < every[:, 2, 0]
    said = np.exp(log_prob[falls]).sum()
    assert 0.05 < said < 0.5
    error = np.sqrt(said * (1 - said) / len(y))
    assert abs(np.mean(y[:, 3, 0] < y[:, 2, 0]) - said) < 4 * error


def test_the_masses_of_all_counts_that_another_column_begins_sum_to_one():
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, (300, 4))
    new, x = rng.integers(1, 4, (300, 4)), np.zeros((300, 4, 2))
    for t in range(4):
        again = t > 0 and side[:, t] == side[:, t - 1]
        x[:, t] = np.stack([side[:, t], new[:, t] + again * x[:, t - 1, 1]], axis=1)
    rule = "x2 increases or restarts when x1 changes"
    model = SeqGAN(rule=[rule], rules="none", **UNTRAINED).fit(x)
    rules = model.description.scaler.rules
    sides = np.array(list(itertools.product([0, 1], repeat=4)))
    levels = next(k.levels for k in model.description.scaler.kinds_K if k.zero_first)
    counts = np.array(list(itertools.product(levels, repeat=3)))
    every = []
    for start, s, c in itertools.product(np.unique(x[:, 0, 1]), sides, counts):
        y = np.zeros((4, 3))
        y[:, 0], y[1:, 1], y[:, 2] = s, c, start
        every.append(y)
    every = rules.inverse(np.array(every))
    assert len(np.unique(every, axis=0)) == len(every)
    assert np.exp(model.log_prob(every)).sum() == pytest.approx(1.0, abs=1e-4)
    assert np.isfinite(model.log_prob(x)).all()


def test_data_that_break_it_are_named():
    x = counted(FORMS[1], 20, 6, 0)
    x[3, 2] = 5.0
    x[3, 3] = 2.0
    with pytest.raises(DataError, match=r"step 4.*less than the step before, or than 0"):
        encoding.fit(x, ("x",), DataConfig(rule=(FORMS[1],)))
    with pytest.raises(DataError, match="below 0"):
        encoding.fit(-x, ("x",), DataConfig(rule=(FORMS[0],)))
    with pytest.raises(DataError, match="not from 0 to below 6"):
        encoding.fit(x + 6, ("x",), DataConfig(rule=(FORMS[2],)))
    noise = np.random.default_rng(0).random((20, 6, 1))
    with pytest.raises(UsageError, match="Round it"):
        encoding.fit(noise, ("x",), DataConfig(rule=(FORMS[1],)))


def found(x_T: np.ndarray, length: int = 24) -> str:
    return str(encoding.fit(windows(x_T, length), ("x",), DataConfig()).rules or "")


@pytest.mark.parametrize("seed", range(3))
def test_meters_are_found(seed):
    assert found(meter(60, seed)) == "x increases or restarts"
    assert found(meter(60, seed, at_zero=True)) == "x increases or restarts at 0"
    rng = np.random.default_rng(seed)
    total = rng.gamma(1, 20, 4000).round(1).cumsum().round(1)
    assert found((total % 10_000).round(1)) == "x increases modulo 10000"
    # A gauge that is emptied on the first of each month, and dry on most days.
    rain = rng.gamma(0.8, 6, 2000).round(1) * (rng.random(2000) < 0.3)
    month = pd.date_range("2001-01-01", periods=2000).strftime("%Y-%m")
    gauge = pd.Series(rain).groupby(np.asarray(month)).cumsum().round(1).to_numpy()
    assert found(gauge) == "x increases or restarts"
    # How far the wind ran from one side: restarts end higher than most of them begin.
    wind, turned = (rng.gamma(0.8, 5, 4000) + 0.5).round(2), rng.random(4000) < 0.3
    run = pd.Series(wind).groupby(turned.cumsum()).cumsum().round(2).to_numpy()
    assert found(run) == "x increases or restarts"
    # Four restarts are too few.
    assert "restarts" not in found(meter(60, seed)[: 5 * 24])


@pytest.mark.parametrize("seed", range(3))
def test_what_is_no_meter_is_none(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(3000)
    walk = np.zeros(3000)
    for i in t[1:]:
        walk[i] = 0.9 * walk[i - 1] + rng.normal()
    days = np.maximum(np.sin(np.pi * (t % 24 - 6) / 12), 0) * rng.uniform(0.2, 1, 3000)
    clear = np.maximum(np.sin(np.pi * (t % 24 - 6) / 12), 0)
    heat = 20 + 3.0 * (t % 24) + rng.normal(size=3000)
    rises = 20 + np.tile(np.arange(24), 125) * 2 + rng.uniform(0, 1, 3000)
    burst = np.where(rng.random(3000) < 0.1, rng.gamma(2, 3, 3000), 0)
    held = np.repeat(np.where(rng.random(600) < 0.5, rng.gamma(2, 3, 600), 0), 5)
    for x in (
        walk - walk.min(),
        np.exp(0.01 * rng.normal(size=3000).cumsum()) * 100,
        1 + np.sin(2 * np.pi * t / 3 + 0.3) + 0.02 * rng.random(3000),
        1 + np.sin(2 * np.pi * t / 3.2),
        1 + np.sin(2 * np.pi * t / 4) + 0.1 * rng.random(3000),
        days,
        clear,
        days[::8],
        days[::6],
        heat,
        rises,
        rng.gamma(1, 1, 3000),
        burst,
        held,
        (t % 50) * 1.0,
        np.abs(rng.normal(size=3000)),
        np.sort(rng.random((125, 24)), axis=1)[:, ::-1].ravel(),
        (1 + rng.random(3000)).cumsum()[::-1],  # it falls in each step
    ):
        assert "restarts" not in found(x.round(2))
        assert "modulo" not in found(x.round(2))


def test_it_is_said_kept_and_gone_on_from(tmp_path):
    kWh = meter(60, 0)
    frame = pd.DataFrame({"date": pd.date_range("2021-01-01", periods=len(kWh), freq="h")})
    frame["kWh"] = kWh
    assert inspect(frame, window=12).rules == ("kWh increases or restarts",)
    model = SeqGAN(window=12, **UNTRAINED).fit(frame)
    model.save(tmp_path / "meter")
    loaded = SeqGAN.load(tmp_path / "meter")
    one, two = (each.sample(50, seed=3) for each in (model, loaded))
    pd.testing.assert_frame_equal(one, two)
    rules = model.description.scaler.rules
    x = one["kWh"].to_numpy().reshape(50, 12, 1)
    assert rules.holds(x).all()
    assert np.all(x[:, 1:][np.diff(x, axis=1) < 0] <= rules.tops_D[0])
    future = model.sample(20, after=frame.iloc[-30:], length=12)
    x = future["kWh"].to_numpy().reshape(20, 12)
    rise = x[:, 0] - kWh[-1]
    assert np.all((rise >= 0) | (x[:, 0] <= rules.tops_D[0]))
