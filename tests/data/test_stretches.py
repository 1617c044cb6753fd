"""Columns between readings that are K steps apart: found, put back exactly, kept by anything."""

import json
from importlib import resources

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.config import DataConfig
from seqgan_jax.data import encoding, rule_finding
from seqgan_jax.data.rule_texts import Increase, Order, Resampled, Sum, parse
from seqgan_jax.data.rules import Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def between(readings_R, steps, straight):
    """A long column by numpy: the value at each step after the first reading."""
    at = np.arange(1, (len(readings_R) - 1) * steps + 1)
    if straight:
        return np.interp(at, np.arange(len(readings_R)) * steps, readings_R)
    return readings_R[1:][(at - 1) // steps]


def windows(columns, length, number=None):
    """[N, T, D] of long columns, one window at each step."""
    long = np.stack(columns, axis=-1)
    number = len(long) - length + 1 if number is None else number
    return np.stack([long[i : i + length] for i in range(number)])


def weather(number=150, steps=6, length=24):
    """Readings in tenths of a temperature, a dew point below it, repeated rain; and a walk that
    is read at each step."""
    rng = np.random.default_rng(1)
    warm = rng.normal(size=number).cumsum().round(1)
    dew = (warm - rng.integers(0, 20, number) / 10).round(1)
    rain = rng.integers(0, 5, number) * (rng.random(number) < 0.4)
    columns = [
        between(warm, steps, True).round(6),
        between(dew, steps, True).round(6),
        between(rain, steps, False).astype(float),
        rng.normal(size=(number - 1) * steps).cumsum().round(1),
    ]
    return windows(columns, length)


def is_kept(x_T, steps, straight, tolerance=1e-9):
    """Whether some phase explains a column, by a plain loop."""
    for first in range(1, steps + 1):
        good = True
        for t in range(len(x_T) - 1 - straight):
            left = (first - 1 - t) % steps + 1
            if straight:  # a bend at t + 1 only where that is a reading
                bend = x_T[t + 2] - 2 * x_T[t + 1] + x_T[t]
                good &= left == 2 or abs(bend) <= tolerance
            else:
                good &= left == 1 or x_T[t + 1] == x_T[t]
        if good:
            return True
    return False


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(2, 7),
    length=st.integers(1, 20),
    seed=st.integers(0, 1000),
    decimals=st.sampled_from([None, 9]),
)
def test_whatever_is_drawn_bends_at_readings_alone_and_all_at_once(steps, length, seed, decimals):
    rng = np.random.default_rng(seed)
    rules = Rules(
        (Resampled(("a", "b"), ("c",), steps), Order(("b", "a"))),
        ("a", "b", "c", "d"),
        (decimals,) * 4,
    )
    y = rng.normal(size=(8, length, 5)) * [1, 1, 1, 1, 4] + [0, 0, 0, 0, 3]
    x = rules.inverse(y)
    assert np.all(x[..., 1] <= x[..., 0])
    assert rules.holds(x).all()
    for each in x:
        for d, straight in enumerate((True, True, False)):
            assert is_kept(each[:, d], steps, straight, 1e-8)
    # All bend at once: of their sum, with weights that nothing cancels, the same is true.
    for each in x:
        assert is_kept(each[:, :2] @ [1.0, np.pi], steps, True, 1e-7)
    assert np.array_equal(x[..., 3], y[..., 3])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(2, 7),
    length=st.integers(4, 20),
    seed=st.integers(0, 1000),
    digits=st.sampled_from([None, 1, 2]),
)
def test_there_and_back_is_exact(steps, length, seed, digits):
    rng = np.random.default_rng(seed)
    long = [rng.normal(size=30), rng.normal(size=30), rng.integers(0, 3, 30) * 1.0]
    long = [each if digits is None else each.round(digits) for each in long]
    x = windows([between(r, steps, s) for r, s in zip(long, (1, 1, 0), strict=True)], length, 12)
    rules = Rules((Resampled(("a", "b"), ("c",), steps),), ("a", "b", "c"), (None,) * 3)
    assert rules.holds(x).all()
    y = rules.forward(x)
    assert y.shape == (*x.shape[:2], 4)
    assert np.allclose(rules.inverse(y), x, atol=1e-9)
    # The inner columns change only after a reading, or at the second step.
    clock = y[..., 3]
    assert set(np.unique(np.diff(clock, axis=1))) <= {-1.0, steps - 1.0}
    changes = y[:, 1:, :3] != y[:, :-1, :3]
    may = (clock[:, :-1] == 1)[..., None] | (np.arange(length - 1) == 0)[:, None]
    assert not np.any(changes & ~may)
    assert not np.any(changes[..., 2] & (clock[:, :-1] != 1))
    stays = rules.holds(x + (np.arange(length) % 2)[:, None])
    assert length < 5 or not stays.all()


def test_what_is_put_back_reads_the_clock_at_the_first_step_alone():
    rules = Rules((Resampled(("a",), (), 3),), ("a",), (None,))
    y = RNG.normal(size=(5, 9, 2))
    y[:, 0, 1] = 2
    other = y.copy()
    other[:, 1:, 1] = RNG.normal(size=(5, 8))
    assert np.array_equal(rules.inverse(y), rules.inverse(other))
    # r_1 = 2: steps 1 and 2 lead to the reading said at step 2, the others said at 3, 6 and 9.
    said = np.full((5, 9, 2), np.nan)
    said[:, [0, 1, 2, 5, 8]] = y[:, [0, 1, 2, 5, 8]]
    assert np.array_equal(rules.inverse(said), rules.inverse(y))


def find(x, decimals=None, **more):
    names = [f"x{d}" for d in range(x.shape[-1])]
    return [str(rule) for rule in rule_finding.find(x, names, decimals or [6] * len(names), **more)]


def test_columns_of_one_source_are_found_together():
    x = weather()
    assert find(x) == ["x0, x1 interpolated and x2 repeated every 6 steps", "x1 <= x0"]
    assert find(x, codes=None) == ["x1 <= x0"]
    assert find(x, codes=[0])[0] == "x1 interpolated and x2 repeated every 6 steps"
    scaler = encoding.fit(x, ("warm", "dew", "rain", "walk"), DataConfig())
    assert str(scaler.rules) == (
        "warm, dew interpolated and rain repeated every 6 steps, dew <= warm"
    )
    assert np.abs(scaler.inverse(scaler.transform(x)) - x).max() < 2e-6
    assert [kind.held for kind in scaler.kinds_K[:3]] == [True] * 3
    assert scaler.kinds_K[0].spacing == pytest.approx(0.1)
    noise = scaler.inverse(RNG.normal(size=(40, 24, 5)) * 2)
    assert scaler.matches(noise).all()


@pytest.mark.parametrize("printed", ["float32", "digits", "cents", "nothing"])
def test_printing_hides_nothing(printed):
    x = weather()[..., :2] + 20
    if printed == "float32":
        x, decimals = x.astype(np.float32).astype(float), [None, None]
    elif printed == "digits":
        x = np.array([float(f"{v:.8g}") for v in x.ravel()]).reshape(x.shape)
        decimals = [7, 7]
    elif printed == "cents":
        x, decimals = x.round(2), [2, 2]
    else:
        rng = np.random.default_rng(2)
        x = windows([between(rng.normal(size=200).cumsum(), 6, True) for _ in range(2)], 24)
        decimals = [None, None]
    assert find(x, decimals)[0] == "x0, x1 interpolated every 6 steps"


def test_sources_with_readings_at_other_steps_have_clocks_of_their_own():
    rng = np.random.default_rng(3)
    one, two = (between(rng.normal(size=120).round(1), 4, True) for _ in range(2))
    three = between(rng.normal(size=80).round(1), 6, True)
    x = windows([one[2:440], two[:438], three[:438]], 24)
    found = find(x, [9] * 3)
    assert found == [
        "x0 interpolated every 4 steps",
        "x1 interpolated every 4 steps",
        "x2 interpolated every 6 steps",
    ]


def controls():
    rng = np.random.default_rng(4)
    long = 1500
    step = np.arange(long)
    yield "walk", rng.integers(-1, 2, long).cumsum() / 10
    yield "count", rng.poisson(2, long) * 1.0
    yield "slow count", (rng.random(long) < 0.05).cumsum() % 7 * 1.0
    yield "held", rng.normal(size=long).round(1)[np.cumsum(rng.random(long) < 0.2)]
    yield "pulses of two steps", np.repeat(rng.random(long // 2) < 0.02, 2) * 1.0
    yield "daily", ((step % 24 >= 8) & (step % 24 < 18)) * 1.0
    yield "hour", step % 24 * 1.0
    yield "wave", np.sin(step / 4).round(2)
    jitter = rng.integers(-1, 2, long) * (rng.random(long) < 0.01) / 10
    yield "nearly", between(rng.normal(size=301).round(1), 5, True)[:long].round(2) + jitter


@pytest.mark.parametrize(("name", "long"), list(controls()))
def test_others_are_not_caught(name, long):  # noqa: ARG001
    x = windows([long], 24)
    assert not any("every" in rule for rule in find(x, [2]))


def test_readings_show_orders_that_lines_between_them_do_not():
    """Steps of a line are foreseen, so that between readings nothing is ever near to crossing."""
    path = resources.files("seqgan_jax.data.bundled") / "seattle_weather.csv"
    days = pd.read_csv(path)[["precipitation", "temp_max", "temp_min"]].to_numpy()
    lines = [between(days[:, d], 4, bool(d)).round(6) for d in range(3)]
    found = find(windows(lines, 24))
    assert found == ["x1, x2 interpolated and x0 repeated every 4 steps", "x2 <= x1"]


def test_few_data_show_nothing():
    assert find(weather(number=6)[..., :1]) == []


def test_rules_are_stored():
    x = weather()
    scaler = encoding.fit(x, ("warm", "dew", "rain", "walk"), DataConfig())
    stored = json.loads(json.dumps(scaler.to_json()))
    again = Scaler.from_json(stored)
    assert again.rules == scaler.rules
    assert again.clocks == scaler.clocks
    assert np.array_equal(again.transform(x), scaler.transform(x))
    text = stored["rules"]["rules"][0]
    assert parse(text, ["warm", "dew", "rain"]) == scaler.rules.rules[0]
    for damage in ([[1, 0]] * 4, [1], [[1, False]] * 3, [["x", True]] * 4):
        with pytest.raises(ValueError, match=r"damaged|shorter|longer"):
            Rules.from_json(stored["rules"] | {"readings": damage})


def test_other_rules_about_columns_between_readings():
    x = weather()[:200]
    total = x[..., 0] + x[..., 3]
    x = np.concatenate([x, total[..., None], x[..., :1]], axis=-1).round(6)
    names = ("warm", "dew", "rain", "walk", "total", "copy")
    config = DataConfig(
        rule=["total = warm + walk", "warm, dew interpolated every 6 steps"], rules="none"
    )
    scaler = encoding.fit(x, names, config)
    assert str(scaler.rules.rules[-1]) == "copy = warm"
    noise = scaler.inverse(RNG.normal(size=(40, 24, len(scaler.kept_K))))
    assert np.array_equal(noise[..., 5], noise[..., 0])
    assert np.allclose(noise[..., 4], noise[..., 0] + noise[..., 3])
    for each in noise[:5]:
        assert is_kept(each[:, 0], 6, True, 4e-6)


def test_going_on_keeps_the_line():
    x = weather()
    names = ("warm", "dew", "rain", "walk")
    scaler = encoding.fit(x, names, DataConfig())
    z = scaler.transform(x)
    lengths = np.arange(len(x)) % 20 + 4
    for part in (7, 12, 18):
        rows = np.flatnonzero(lengths == part)
        last = scaler.last(x[rows], lengths[rows])
        found = scaler.continued(z[rows, part:], last)
        good = np.abs(found - x[rows, part:]).max(axis=(1, 2)) < 1e-5
        # The phase that is found in the part is that of the whole but where the part is straight.
        assert good.mean() > 0.95
    padded = np.where(
        (np.arange(24) < lengths[:, None])[..., None], x, x[np.arange(len(x)), lengths - 1][:, None]
    )
    of_part = scaler.transform(padded, True, lengths)
    for n in range(0, len(x), 37):
        alone = scaler.transform(x[n : n + 1, : lengths[n]], True)
        assert np.array_equal(of_part[n, : lengths[n]], alone[0])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("warm interpolated every 6 stops", "no rule"),
        ("warm interpolated every one steps", "no number of steps"),
        ("warm interpolated every 1 step", "no number of steps"),
        ("warm, warm interpolated every 6 steps", "twice"),
        ("warm, heat interpolated every 6 steps", "no column 'heat'"),
        ("warm interpolated every 24 steps", "do not hold two readings"),
        ("walk interpolated every 6 steps", "breaks the rule"),
        ("warm interpolated every 5 steps", "breaks the rule"),
    ],
)
def test_what_cannot_be_said_is_refused(rule, words):
    with pytest.raises((UsageError, DataError), match=words):
        encoding.fit(weather(), ("warm", "dew", "rain", "walk"), DataConfig(rule=[rule]))


@pytest.mark.parametrize(
    "other",
    [
        Increase("a"),
        Sum("a", ((1.0, "c"),)),
        Order(("c", "a")),
        Order(("b", "c", "a")),
        Resampled(("a",), (), 3),
    ],
)
def test_a_column_is_put_back_by_one_rule(other):
    read = Resampled(("a", "b"), (), 6)
    with pytest.raises(UsageError, match="only one"):
        Rules((read, other), ("a", "b", "c"), (1, 1, 1))
    Rules((read, Order(("b", "a", "c")), Sum("d", ((1.0, "a"),))), tuple("abcd"), (1,) * 4)


def test_bounds_and_kinds_of_such_columns_are_those_of_readings():
    x, names = weather(), ("warm", "dew", "rain", "walk")
    smooth = encoding.fit(x, names, DataConfig(kind=["all:continuous"]))
    assert "every" not in str(smooth.rules)
    bounded = encoding.fit(x, names, DataConfig(bounds=["warm:-99:99"]))
    assert str(bounded.rules) == "dew interpolated and rain repeated every 6 steps"
    none = encoding.fit(x, names, DataConfig(rules="none"))
    assert not none.rules
    assert none.kinds_K[0].sloped
