"""Rules: how they are written, that they hold by construction, and which the data show."""

import itertools
import json
import math
from fractions import Fraction
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax import SeqGAN
from seqgan_jax.config import DataConfig
from seqgan_jax.data import encoding
from seqgan_jax.data.columns import decimals_of
from seqgan_jax.data.rule_finding import _evidence_of_gap, _fresh, find, with_copies
from seqgan_jax.data.rule_texts import Increase, Order, Ratio, Sum, parse
from seqgan_jax.data.rule_values import Table
from seqgan_jax.data.rules import Rules
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError

OHLC = ("Open", "High", "Low", "Close")
BARS = ("Low <= Open <= High", "Low <= Close <= High")
HOME = ("kitchen", "laundry", "heater", "total", "share")
BILLS = ("total = kitchen + laundry + heater", "share = 100 * kitchen / total")


def rules_of(texts, names, decimals_D) -> Rules:
    return Rules(tuple(parse(text, names) for text in texts), tuple(names), tuple(decimals_D))


def bars(seed: int, shape=(100, 24)) -> np.ndarray:
    """Open, High, Low, Close in cents: what trades between two steps of a random walk."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.normal(size=shape).cumsum(axis=1)
    opened = np.roll(close, 1, axis=1) + rng.normal(size=shape) * 0.2
    high = np.maximum(opened, close) + rng.exponential(0.4, size=shape) * rng.integers(0, 2, shape)
    low = np.minimum(opened, close) - rng.exponential(0.4, size=shape)
    return np.stack([opened, high, low, close], axis=-1).round(2)


def home(seed: int, shape=(60, 24)) -> np.ndarray:
    """Three meters, their sum, and the first one's percentage."""
    rng = np.random.default_rng(seed)
    parts = rng.gamma([9.0, 16.0, 4.0], 0.5, size=(*shape, 3)).round(3)
    total = parts.sum(axis=-1).round(3)
    return np.stack([*np.moveaxis(parts, -1, 0), total, (100 * parts[..., 0] / total).round(2)], -1)


def found(x_NTD, names) -> list[str]:
    decimals = [decimals_of(x_NTD[..., d].ravel()) for d in range(x_NTD.shape[-1])]
    return [str(rule) for rule in find(x_NTD, names, decimals)]


# What is written


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Low<=Open<=High", Order(("Low", "Open", "High"))),
        ("High ≥ `net load`", Order(("net load", "High"))),
        ("a-b <= Low", Order(("a-b", "Low"))),
        ("net load increases", Increase("net load")),
        ("'net load' never falls", Increase("net load")),
        ("Open is non-decreasing", Increase("Open")),
        ("Open increases by 1e-3", Increase("Open", 0.001)),
        ("Open increases by 'net load'", Increase("Open", by="net load")),
        ("net load increases by High", Increase("net load", by="High")),
        ("High = Low + Open", Sum("High", ((1.0, "Low"), (1.0, "Open")))),
        ("High = -Low +2*Open- Low", Sum("High", ((-2.0, "Low"), (2.0, "Open")))),
        ("High = 100 - Low / 4", Sum("High", ((-0.25, "Low"),), 100.0)),
        ("High = a - b", Sum("High", ((1.0, "a"), (-1.0, "b")))),
        ("High = a-b", Sum("High", ((1.0, "a-b"),))),
        ('"0" = High - 0', UsageError),
        ("High = 100 * Low / Open", Ratio("High", 100.0, "Low", "Open")),
        ("High = -Low / Open * 2", Ratio("High", -2.0, "Low", "Open")),
        ('"0" <= "say ""hi"""', Order(("0", 'say "hi"'))),
        ("0 <= Low", Order(("0", "Low"))),
    ],
)
def test_what_can_be_written(text, rule):
    names = ["Open", "High", "Low", "net load", "a", "b", "a-b", "0", 'say "hi"']
    if rule is UsageError:
        with pytest.raises(UsageError):
            parse(text, names)
        return
    assert parse(text, names) == rule
    assert parse(str(rule), names) == rule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "says no rule"),
        ("Low", "says no rule"),
        ("Low < High", "written <= or >="),
        ("Low <= Open >= High", "says no rule"),
        ("Low <= ", "a column is missing"),
        ("Low <= low", "no column 'low'"),
        ("0 <= Low", "--bounds"),
        ("Low <= Open <= Low", "twice"),
        ("Low <= Open High", "no column"),
        ("Low == High", "says no rule|missing"),
        ("low increases", "no column 'low'"),
        ("Low increases by two", "no step above 0"),
        ("Low increases by 0", "no step above 0"),
        ("Low increases by Low", "cannot increase by itself"),
        ("High = Low + High", "from itself"),
        ("High = Low / Low", "from itself"),
        ("High = Low - Low", "no sum"),
        ("High = 3", "no sum"),
        ("High = Low +", "ends early"),
        ("High = Low + * Open", "two signs"),
        ("High = Low Open", "missing before"),
        ("High = Low * Open", "more than a sum"),
        ("High = 1 / Open", "more than a sum"),
        ("High = Low / Open / Open", "more than a sum"),
        ("High = Low / Open + Open", "adds to a ratio"),
        ("High = 0 * Low", "a factor is 0"),
        ("High = Low / 0", "a factor is 0"),
        ("High = Low + 1e400", "too large"),
        ("High = Lo + Open", "no column 'Lo'"),
    ],
)
def test_what_cannot(text, words):
    with pytest.raises(UsageError, match=words):
        parse(text, ["Open", "High", "Low"])


letters = st.sampled_from("ab02.eé_ \n+-*/<=>≤\"'`")
words = st.one_of(st.text(letters, min_size=1, max_size=5), st.sampled_from(["increases", "by"]))
names_of_columns = st.lists(words, min_size=3, max_size=3, unique=True)
factors = st.floats(0.001, 1e6).flatmap(lambda f: st.sampled_from([f, -f, 1.0, -1.0, 100.0]))


@given(names_of_columns, factors, factors, st.sampled_from([0.0, 100.0, -2.5]))
@settings(max_examples=300, deadline=None)
def test_any_name_is_read_back(names, f, g, constant):
    a, b, c = names
    for rule in (
        Order((a, b, c)),
        Increase(a),
        Increase(b, abs(f)),
        Increase(c, by=a),
        Sum(a, ((f, b), (g, c)), constant),
        Ratio(c, f, b, a),
    ):
        assert parse(str(rule), names) == rule


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a <= b", "b <= a"], "circle: .*'a'"),
        (["a <= b", "b <= c", "c <= a"], "circle"),
        (["a = b + c", "b = a - c"], "circle"),
        (["a = b + c", "a <= b"], "circle"),
        (["a = b + c", "a = 2 * b"], "only one can hold"),
        (["a = b + c", "a increases"], "increases and is computed"),
        (["b <= a", "a = c + d"], "has a lower bound and is computed"),
        (["b <= a", "a increases"], "has a lower bound and increases"),
        (["a increases", "a increases by 2"], "only one can hold"),
        (["a increases by b", "b increases by a"], "circle"),
        (["a increases by b", "b = 2 * a"], "circle"),
    ],
)
def test_contradictions_are_refused(texts, words):
    with pytest.raises(UsageError, match=words):
        rules_of(texts, "abcd", [None] * 4)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="no column 'c'"):
        Rules((Order(("a", "c")),), ("a", "b"), (None, None))
    with pytest.raises(UsageError, match="2 names"):
        Rules((), ("a", "b"), (None,))


# What holds


def test_bars_become_distances():
    rules, x = rules_of(BARS, OHLC, [2] * 4), bars(0)
    y = rules.forward(x)
    opened, high, low, close = np.moveaxis(x, -1, 0)
    expected = [opened - low, high - np.maximum(opened, close), low, close - low]
    np.testing.assert_allclose(y, np.stack(expected, -1), rtol=0, atol=1e-12)
    assert np.array_equal(y, y.round(2))
    assert rules.inner_names == ("Open - Low", "High - max(Open, Close)", "Low", "Close - Low")
    assert rules.nonnegative.tolist() == [True, True, False, True]
    assert not rules.static.any()
    assert np.array_equal(rules.inverse(y), x)


def test_a_meter_becomes_increments_and_a_start():
    rules = rules_of(["kWh never falls", "n increases by 2"], ["t", "kWh", "n"], [None, 3, 0])
    x = np.array([[[7.0, 5.1, 10], [8.0, 5.1, 12], [6.0, 5.4, 14]]])
    y = rules.forward(x)
    assert y.tolist() == [[[7.0, 0.0, 10, 5.1], [8.0, 0.0, 10, 5.1], [6.0, 0.3, 10, 5.1]]]
    assert rules.inner_names == ("t", "increase of kWh", "first n", "first kWh")
    assert rules.source_E == (0, 1, 2, 1)
    assert rules.nonnegative.tolist() == [False, True, False, False]
    assert rules.static.tolist() == [False, False, True, True]
    assert rules.zero_first.tolist() == [False, True, False, False]
    assert np.array_equal(rules.inverse(y), x)
    assert rules.holds(x).all()
    x[0, 2, 1] = 5.0
    assert rules.holds(x).tolist() == [[True, True, False]]
    x[0, 1, 2] = 13
    assert rules.holds(x).tolist() == [[True, False, False]]


def test_a_total_is_put_back_from_what_is_new():
    rules = rules_of(["total increases by new"], ["total", "t", "new"], [1, None, 1])
    x = np.array([[[7.1, 0.25, 9.0], [7.4, 0.5, 0.3], [7.2, 0.1, -0.2]]])
    y = rules.forward(x)
    assert y.tolist() == [[[0.25, 9.0, 7.1], [0.5, 0.3, 7.1], [0.1, -0.2, 7.1]]]
    assert rules.inner_names == ("t", "new", "first total")
    assert rules.static.tolist() == [False, False, True]
    assert not rules.zero_first.any() | rules.nonnegative.any()
    assert np.array_equal(rules.inverse(y), x)
    assert Rules.from_json(rules.to_json()) == rules
    assert rules.holds(x).all()
    x[0, 1, 0] = 7.5
    assert rules.holds(x).tolist() == [[True, False, False]]
    with pytest.raises(DataError, match=r"step 2: total is 7.5, new is 0.3. That breaks the rule"):
        rules.check(x)
    drawn = np.random.default_rng(0).normal(size=(50, 20, 3))
    assert rules.holds(rules.inverse(drawn)).all()


def test_computed_columns_are_left_out():
    rules, x = rules_of(BILLS, HOME, [3, 3, 3, 3, 2]), home(0)
    assert rules.inner_names == HOME[:3]
    assert np.array_equal(rules.forward(x), x[..., :3])
    assert np.array_equal(rules.inverse(x[..., :3]), x)
    empty = rules.inverse(np.zeros((1, 1, 3)))
    assert empty.tolist() == [[[0.0] * 5]]  # nothing of nothing is 0%


def test_no_rules_are_the_identity():
    x = bars(1)
    for rules in (Rules(), Rules((), OHLC, (2,) * 4)):
        assert rules.forward(x) is x
        assert rules.inverse(x) is x
        assert rules.holds(x).all()
        assert not rules
        assert str(rules) == "no rules"


MIXED = ("low", "high", "top", "meter", "net", "share")
MIXED_RULES = ("low <= high <= top", "meter <= top", "meter increases", "net = high - 2 * low")


@st.composite
def on_grids(draw):
    """Sequences that keep MIXED_RULES, and their decimals: whole numbers of the units are exact."""
    decimals = draw(st.tuples(*[st.integers(0, 4)] * 4))
    seed = draw(st.integers(0, 2**32))
    size = draw(st.sampled_from([3, 1000, 10**6, 10**9]))
    rng = np.random.default_rng(seed)
    units = rng.integers(-size, size, (3, 5, 4)).astype(float)
    low, high, top, meter = (units[..., i] / 10.0**d for i, d in enumerate(decimals))
    meter = np.sort(units[..., 3], axis=1) / 10.0 ** decimals[3]
    high = np.maximum(high, np.ceil(low * 10.0 ** decimals[1]) / 10.0 ** decimals[1])
    least = np.maximum(high, meter)
    top = np.maximum(top, np.ceil(least) + 1)
    most = max(decimals[:2])
    net = np.round(high - 2 * low, most)
    x = np.stack([low, high, top, meter, net, rng.normal(size=low.shape)], -1)
    return x, (*decimals, most, None)


@given(on_grids())
@settings(max_examples=200, deadline=None)
def test_the_round_trip_is_exact_on_grids(case):
    x, decimals = case
    rules = rules_of(MIXED_RULES, MIXED, decimals)
    assert rules.holds(x).all()
    assert np.array_equal(rules.inverse(rules.forward(x)), x)


@given(on_grids(), st.integers(0, 2**32), st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=200, deadline=None)
def test_whatever_is_drawn_keeps_the_rules(case, seed, size):
    x, decimals = case
    for each in (decimals, (None,) * 6):
        rules = rules_of(MIXED_RULES, MIXED, each)
        y = rules.forward(x)
        drawn = rules.inverse(y + np.random.default_rng(seed).standard_cauchy(y.shape) * size)
        assert rules.holds(drawn).all()
        again = rules.inverse(rules.forward(drawn))
        np.testing.assert_allclose(again, drawn, rtol=1e-12, atol=1e-12 * np.abs(drawn).max())


def test_a_million_samples_keep_the_rules_as_they_are_written():
    names = (*OHLC, "meter")
    rules = rules_of([*BARS, "meter increases"], names, (2, 2, 1, 2, 3))
    rng = np.random.default_rng(2)
    y = rng.normal([0.5, 0.1, 100, 0.5, 0.01, 1e4], [1, 1, 30, 1, 0.1, 1e3], size=(5000, 200, 6))
    x = rules.inverse(y)
    assert rules.holds(x).all()
    # In whole numbers of thousandths, which have no rounding.
    opened, high, low, close, meter = np.moveaxis(np.rint(x * 1000).astype(np.int64), -1, 0)
    assert np.all((low <= opened) & (low <= close) & (opened <= high) & (close <= high))
    assert np.all(np.diff(meter, axis=1) >= 0)
    for column, unit in ((opened, 10), (high, 10), (low, 100), (close, 10)):
        assert not np.any(column % unit)
    for d, decimals in enumerate(rules.decimals_D):
        some = x[:50, :, d].ravel()
        assert [float(f"{value:.{decimals}f}") for value in some] == some.tolist()
    assert np.mean(high == np.maximum(opened, close)) > 0.4  # what would have broken it is on it


def test_a_coarser_column_is_rounded_up():
    rules = rules_of(["a <= b"], "ab", (2, 0))
    y = np.array([[[0.01, 0.2], [0.99, 0.0], [1.0, 0.0], [-0.5, 0.3]]])
    assert rules.inverse(y)[..., 1].tolist() == [[1.0, 1.0, 1.0, 0.0]]


STEPS = ("0.5", "0.3", "0.25", "2", "7")


@given(st.tuples(*[st.sampled_from(STEPS)] * 2), st.integers(0, 2**32), st.booleans())
@settings(max_examples=50, deadline=None)
def test_columns_of_an_order_keep_grids_that_do_not_agree(steps, seed, is_even):
    """Against a search: at distance 0 is the first value of the grid from the bound on."""
    rng = np.random.default_rng(seed)
    origins = [f"{origin:.2f}" for origin in rng.integers(0, 25, 2) / 100]
    lattices = tuple((float(o), float(s)) for o, s in zip(origins, steps, strict=True))
    texts = ["low <= b <= c", "other <= b"]
    decimals = (None if is_even else 1, 1, 2, 2)
    rules = Rules(
        tuple(parse(text, ["low", "other", "b", "c"]) for text in texts),
        ("low", "other", "b", "c"),
        decimals,
        (None, None, *lattices),
    )
    y = rng.integers(-2, 4, (2, 3, 4)) * np.array([1.0, 1.0, lattices[0][1], lattices[1][1]])
    y[..., :2] = rng.normal(scale=20, size=(2, 3, 2)).round(1)
    x = rules.inverse(y)
    assert rules.holds(x).all()
    for (low, other, b, c), inner in zip(x.reshape(-1, 4), y.reshape(-1, 4), strict=True):
        bound = max(Fraction(low), Fraction(other))
        for d, value in ((0, b), (1, c)):
            origin, step = Fraction(origins[d]), Fraction(steps[d])
            below = math.floor((bound - origin) / step) - 1
            first = next(n for n in itertools.count(below) if float(origin + n * step) >= bound)
            expected = origin + (first + max(0, round(inner[2 + d] / float(step)))) * step
            assert value == float(expected)
            bound = Fraction(value)
    # And back, exactly, whatever distance below 0 or between two steps it came from.
    again = rules.forward(x)
    assert np.array_equal(rules.inverse(again), x)
    assert np.array_equal(again[..., 2:], np.maximum(y[..., 2:], 0.0).round(2))
    noise = rng.standard_cauchy(y.shape)
    off = rules.inverse(y + noise)
    assert rules.holds(off).all()
    assert np.array_equal(rules.inverse(rules.forward(off)), off)


def coarser(seed: int, shape=(150, 12)) -> np.ndarray:
    """High in halves above Low in tenths."""
    rng = np.random.default_rng(seed)
    low = (20 + rng.normal(size=shape).cumsum(axis=1)).round(1)
    high = np.ceil(2 * low + rng.exponential(1.0, shape) * rng.integers(0, 2, shape)) / 2
    return np.stack([high, low], axis=-1)


def days(seed, decimals=1):
    """Highest and lowest temperatures that were read in degrees Fahrenheit."""
    rng = np.random.default_rng(seed)
    low = 45 + rng.normal(size=(150, 12)).cumsum(axis=1) * 3
    fahrenheit = np.rint(np.stack([low + rng.gamma(2, 4, low.shape), low], axis=-1))
    return ((fahrenheit - 32) / 1.8).round(decimals)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_rounded_from_another_unit_stays_on_its_values(seed):
    x = days(seed)
    x[3, 5, 0] = round(x[3, 5, 0] + 0.2, 1)  # one reading from elsewhere
    scaler = encoding.fit(x, ("high", "low"), DataConfig())
    assert str(scaler.rules) == "low <= high"
    levels = np.array(scaler.rules.grids_D[0].levels)
    every = np.round((np.arange(-40, 140) - 32) / 1.8, 1)
    inside = levels[(levels >= x[..., 0].min()) & (levels <= x[..., 0].max())]
    assert set(inside) - {x[3, 5, 0]} <= set(every)
    assert np.isin(every[(every >= x[..., 0].min()) & (every <= x[..., 0].max())], levels).all()
    assert "by its values between" in scaler.described(0)
    assert np.array_equal(scaler.inverse(scaler.transform(x)), x)
    assert scaler.matches(x).all()
    drawn = scaler.inverse(3 * np.random.default_rng(1).normal(size=(500, 12, 2)))
    assert np.all(drawn[..., 0] >= drawn[..., 1])
    beyond = drawn[..., 1] > levels[-1]
    assert np.isin(drawn[..., 0][~beyond], levels).all()
    assert np.array_equal(scaler.inverse(scaler.transform(drawn)), drawn)
    stored = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert stored.rules == scaler.rules
    # How many values it is above: degrees Fahrenheit, and the one from elsewhere between.
    step, y = scaler.rules.grids_D[0].step, scaler.rules.forward(x)[..., 0]
    steps = np.rint(y / step)
    degrees = np.rint((x[..., 0] - x[..., 1]) * 1.8)
    assert set(np.unique(steps - degrees)) <= {0, 1}


def test_what_was_not_rounded_is_on_no_table():
    for x in (days(0, decimals=4), days(0).round(0), coarser(0)):
        x[..., 0] = np.maximum(x[..., 0], x[..., 1])
        grids = encoding.fit(x, ("high", "low"), DataConfig()).rules.grids_D
        assert not any(isinstance(grid, Table) for grid in grids)


def test_which_columns_are_kept_on_their_grids():
    x = coarser(0)
    for config in (DataConfig(), DataConfig(rule=("low <= high",), rules="none")):
        scaler = encoding.fit(x, ("high", "low"), config)
        assert str(scaler.rules) == "low <= high"
        assert scaler.rules.grids_D == ((0.0, 0.5), None)
        assert scaler.described(0).startswith("high - low rounded up to 0.5: grid")
        assert np.array_equal(scaler.inverse(scaler.transform(x)), x)
        assert scaler.matches(x).all()
        drawn = scaler.inverse(3 * np.random.default_rng(1).normal(size=(500, 12, 2)))
        assert np.all(drawn[..., 0] >= drawn[..., 1])
        assert not np.any(2 * drawn[..., 0] % 1)
        assert Scaler.from_json(json.loads(json.dumps(scaler.to_json()))).rules == scaler.rules
    # A distance leaves no grid that the lower column is on as well.
    for same in (np.floor(x), x * [1, 0] + x.round(0) * [0, 1], x.round(0) / 10):
        same[..., 0] = np.maximum(same[..., 0], same[..., 1])
        assert encoding.fit(same, ("high", "low"), DataConfig()).rules.grids_D == ()
    # What is asked for as a density has no grid.
    asked = DataConfig(kind=("high:continuous",))
    assert encoding.fit(x, ("high", "low"), asked).rules.grids_D == ()
    # Values off the grid have no probability.
    other = x.copy()
    other[0, 3, 0] += 0.2
    assert scaler.matches(other).tolist() == [False] + [True] * 149


def test_the_masses_of_all_sequences_on_two_grids_sum_to_one():
    rng = np.random.default_rng(0)
    low = rng.choice([0.1, 0.4, 0.7, 1.3], size=(120, 2))
    high = (np.ceil(2 * low) + rng.integers(0, 3, low.shape)) / 2
    untrained = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(hidden_dim=4, rule=["x1 <= x2"], rules="none", **untrained)
    model.fit(np.stack([low, high], axis=-1))
    # Every sequence of the values of Low, and of the seven halves that are not below it.
    steps = [(a, b) for a in (0.1, 0.4, 0.7, 1.3) for b in np.arange(0, 3.5, 0.5) if b >= a]
    every = np.array(list(itertools.product(steps, repeat=2)))
    log_p = model.log_prob(every)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)
    assert np.isfinite(log_p).sum() == 12**2  # of Low and of three distances, at both steps


def test_the_masses_of_all_meters_sum_to_one():
    """At the first step an increase is 0, and nothing else has a probability."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (300, 4, 1)).cumsum(axis=1)
    untrained = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(rule=["x increases"], rules="none", **untrained).fit(x)
    assert sorted(np.unique(x[:, 0])) == [0, 1, 2]
    every = np.array(list(itertools.product(range(3), repeat=4)))[..., None].cumsum(axis=1)
    assert np.exp(model.log_prob(every)).sum() == pytest.approx(1.0, abs=1e-5)


def test_zero_has_no_sign():
    x = rules_of(["a <= b"], "ab", (1, 1)).inverse(np.full((1, 1, 2), -0.04))
    assert not np.signbit(x).any()


def test_a_distance_to_what_has_no_decimals_has_none():
    y = rules_of(["a <= b"], "ab", (None, 2)).forward(np.array([[[0.0049, 0.01]]]))
    assert y[0, 0, 1] == pytest.approx(0.0051, abs=1e-15)


def test_the_determinant_is_1():
    """Numerically, of numbers without decimals; what an increase repeats is left out."""
    names = ("Low", "Open", "High", "meter")
    rules = rules_of(["Low <= Open <= High", "meter increases"], names, [None] * 4)
    x = np.array([[[1.0, 2.5, 4.0, 7.0], [2.0, 2.25, 3.5, 8.0], [0.5, 5.0, 5.5, 8.5]]])

    def free(x_flat):
        y = rules.forward(x_flat.reshape(x.shape))[0]
        return np.concatenate([y[:, :3].ravel(), y[1:, 3], y[:1, 4]])

    step = 2.0**-20
    columns = [(free(x.ravel() + e) - free(x.ravel() - e)) / (2 * step) for e in np.eye(12) * step]
    assert abs(np.linalg.det(np.array(columns))) == pytest.approx(1, abs=1e-9)


def test_data_that_break_a_rule_are_named():
    rules, x = rules_of(BARS, OHLC, [2] * 4), bars(3)
    rules.check(x)
    x[4, 6, 2] = x[4, 6, 0] + 1
    with pytest.raises(DataError, match=r'Sequence 5, step 7: .*"Low <= Open <= High", as 1 of'):
        rules.check(x)
    with pytest.raises(DataError, match=r"\[N, T, 4\]"):
        rules.forward(x[..., :3])
    with pytest.raises(DataError, match=r"\[N, T, 3\]"):
        rules_of(BILLS, HOME, [3, 3, 3, 3, 2]).inverse(x)
    meter = rules_of(["m increases"], "m", [0])
    with pytest.raises(DataError, match=r"m is 4\.0, less than the step before"):
        meter.check(np.array([[[5.0], [4.0]]]))


def test_a_constant_is_a_bound():
    rules = rules_of(["a <= cap"], ["a", "cap"], [1, 1])
    with pytest.raises(UsageError, match=r"cap is 5 everywhere.* --bounds a::5\."):
        rules.check(np.array([[[1.0, 5.0], [2.0, 5.0]]]))
    rules_of(["cap <= a"], ["a", "cap"], [1, 1]).check(np.array([[[6.0, 5.0], [7.0, 5.0]]]))


def test_a_ratio_may_be_of_what_was_not_yet_rounded():
    rules = rules_of(["share = 100 * part / whole"], ["part", "whole", "share"], [0, 1, 2])
    near = 100 * 5 / 16.96  # printed as 17.0
    assert rules.holds(np.array([[[5, 17.0, round(near, 2)]]])).all()
    assert not rules.holds(np.array([[[5, 17.0, round(100 * 5 / 16.9, 2)]]])).any()


def test_rules_are_stored_as_texts():
    rules = rules_of([*BARS, "`kWh, all` increases"], (*OHLC, "kWh, all"), (2, 2, 2, 2, None))
    stored = json.loads(json.dumps(rules.to_json()))
    assert Rules.from_json(stored) == rules
    assert stored["rules"][2] == '"kWh, all" increases'
    for damaged in (
        None,
        {},
        {**stored, "more": 1},
        {**stored, "rules": "Low <= Open"},
        {**stored, "rules": ["Low <= Mid"]},
        {**stored, "rules": [1]},
        {**stored, "names": list(OHLC)},
        {**stored, "decimals": [2, 2, 2, 2, -1]},
        {**stored, "decimals": [2, 2, 2, 2, True]},
        {**stored, "rules": ["Low <= Open", "Open <= Low"]},
    ):
        with pytest.raises(ValueError, match="stored rules are damaged"):
            Rules.from_json(damaged)


# What is found


@pytest.mark.parametrize("shape", [(100, 24), (1, 2400), (400, 6)])
def test_bars_are_found(shape):
    assert found(bars(5, shape), OHLC) == list(BARS)
    volume = np.random.default_rng(0).lognormal(17, 0.5, (*shape, 1)).round()
    assert found(np.concatenate([bars(6, shape), volume], -1), (*OHLC, "Volume")) == list(BARS)


def evidence(x_NTD) -> float:
    """S of the first column never above the second."""
    return _evidence_of_gap(x_NTD[..., 1] - x_NTD[..., 0], _fresh(x_NTD), 0.0)


def test_what_is_repeated_counts_once():
    long = bars(7, (1, 300))
    windows = np.lib.stride_tricks.sliding_window_view(long[0], 24, axis=0).transpose(0, 2, 1)
    assert found(windows, OHLC) == list(BARS)
    once = evidence(long[..., [2, 0]])
    assert once > 20
    assert evidence(windows[..., [2, 0]]) == pytest.approx(once, rel=0.1)
    rng = np.random.default_rng(8)
    steps = (rng.random(600) < 0.5).cumsum()
    held = long[:, steps[steps < 300]][..., [2, 0]]
    noise = rng.normal(size=(*held.shape[:2], 1))  # so that no two transitions are the same
    assert evidence(np.concatenate([held, noise], axis=-1)) == pytest.approx(once, rel=0.1)
    # A few days on which two columns did not meet by luck say no more for being in many windows.
    rng = np.random.default_rng(11)
    low = rng.normal(size=40)
    lucky = np.stack([low, low + np.abs(rng.normal(1.6, 1, 40))], -1)
    windows = np.lib.stride_tricks.sliding_window_view(lucky, 8, axis=0).transpose(0, 2, 1)
    assert found(windows, "ab") == []


def test_gaps_of_any_shape_are_found():
    rng = np.random.default_rng(17)
    low = rng.uniform(size=(40, 24))
    for gap in (rng.uniform(size=low.shape), rng.exponential(size=low.shape)):
        assert found(np.stack([low, low + gap], -1), "ab") == ["a <= b"]


def test_columns_that_no_chance_would_bring_together_have_no_order():
    rng = np.random.default_rng(18)
    x = np.stack([rng.uniform(0, 1, (50, 24)), rng.uniform(0.99, 3, (50, 24))], -1)
    x[..., 1] = np.maximum(x[..., 0], x[..., 1])
    assert evidence(x) > 6  # they touch
    assert found(x, ("wind", "power")) == []


def test_spikes_upwards_do_not_make_noise_of_the_rest():
    rng = np.random.default_rng(22)
    low, gap = np.sin(np.arange(2400) / 5), (rng.random(2400) < 0.03) * rng.exponential(5, 2400)
    for t in range(1, 2400):
        gap[t] += 0.8 * gap[t - 1]
    x = np.stack([low, low + gap + 0.6 + 0.1 * rng.normal(size=2400)], -1).reshape(100, 24, 2)
    assert np.all(x[..., 0] < x[..., 1])
    assert found(x, ("bedroom", "bathroom")) == []


def test_a_tide_that_stays_above_is_no_rule():
    """What comes near in each cycle and turns by itself."""
    rng = np.random.default_rng(19)
    time = np.arange(2400)
    low = 2 * np.sin(time / 5) + rng.normal(size=2400) * 0.3
    gap = 1.7 + 1.4 * np.sin(2 * np.pi * time / 8) + rng.uniform(-0.05, 0.05, 2400)
    assert 0.2 < gap.min() < 0.3
    assert found(np.stack([low, low + gap], -1).reshape(100, 24, 2), "ab") == []


def test_copies_stay_copies():
    x = bars(9)
    assert found(np.concatenate([x, x[..., 3:]], -1), (*OHLC, "Adj Close")) == [
        *BARS,
        '"Adj Close" = Close',
    ]


def test_copies_of_what_a_user_names_stay_copies():
    x = bars(9)[..., [2, 3, 3, 3]]
    given = (parse("Low <= Adj", ["Low", "Adj"]),)
    rules = with_copies(x, ("Low", "Close", "Adj", "Last"), given)
    assert [str(rule) for rule in rules] == ["Low <= Adj", "Close = Adj", "Last = Close"]
    assert with_copies(x[..., :2], ("Low", "Close"), ()) == ()


def test_meters_and_indices_are_found():
    rng = np.random.default_rng(10)
    shape = (200, 24)
    used = rng.exponential(1, shape) * (rng.random(shape) < 0.7)
    x = np.stack(
        [
            (rng.uniform(5e3, 6e3, (200, 1)) + used.cumsum(axis=1)).round(3),
            rng.integers(0, 4, shape).cumsum(axis=1).astype(float),
            rng.normal(20, 1, shape),
            0.25 * np.arange(200 * 24.0).reshape(shape),
            (rng.random((200, 1)) + np.arange(24) / 100).round(2)
            * (np.arange(200) % 3 == 0)[:, None],
        ],
        axis=-1,
    )
    names = ("kWh", "time", "temp", "index", "seldom")
    assert found(x, names) == ["kWh increases", "time increases", "index increases by 0.25"]


def test_totals_of_a_column_are_found():
    """Not of one that is off at one step."""
    rng = np.random.default_rng(11)
    made, sold = rng.poisson(6.0, (60, 24)), rng.poisson(5.0, (60, 24))
    total = rng.integers(0, 900, (60, 1)) + made.cumsum(axis=1)
    x = np.stack([total, sold, made], axis=-1).astype(float)
    assert found(x, ("total", "sold", "made")) == ["total increases by made"]
    x[7, 3, 2] += 1
    assert found(x, ("total", "sold", "made")) == ["total increases"]
    x[..., 0] = sold.cumsum(axis=1) + rng.normal(size=(60, 1)).round(3)
    assert found(x, ("total", "sold", "made")) == ["total increases by sold"]


def test_means_are_found_and_no_prices():
    rng = np.random.default_rng(12)
    number = rng.poisson(2.0, (40, 24)) * 30.0
    total = (number * rng.gamma(40, 0.3, number.shape)).round(2)
    mean = np.divide(total, number, out=0 * total, where=number > 0).round(2)
    x = np.stack([number, total, mean], axis=-1)
    assert "mean = total / number" in found(x, ("number", "total", "mean"))
    price = rng.integers(100, 900, number.shape) / 100
    number += 1
    x = np.stack([number, (number * price).round(2), price], axis=-1)
    texts = found(x, ("number", "total", "price"))
    assert not [text for text in texts if "/" in text]


def test_a_count_that_has_risen_a_thousand_times_increases():
    rises = np.random.default_rng(16).poisson(30, (100, 24)).astype(float)
    assert rises.min() > 5  # far from a fall
    assert found(rises.cumsum(axis=1)[..., None], ["cases"]) == ["cases increases"]
    assert found(rises[:30].cumsum(axis=1)[..., None], ["cases"]) == []


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-90, 1e90, 1e150, 1e300])
def test_extreme_numbers(scale):
    bar, part = bars(0) * scale, home(0)[..., :4] * scale
    assert found(bar, OHLC) == list(BARS) * (1e-100 < scale < 1e100)
    sums = ["total = kitchen + laundry + heater"] * (1e-100 < scale < 1e100)
    assert found(part, HOME[:4]) == sums


def test_sums_and_shares_are_found():
    assert found(home(11), HOME) == list(BILLS)
    x = home(12)[..., [3, 0, 4, 2, 1]]
    assert set(found(x, ("total", "kitchen", "share", "heater", "laundry"))) == {
        "total = kitchen + heater + laundry",
        BILLS[1],
    }


def test_shares_that_add_to_100():
    rng = np.random.default_rng(13)
    parts = rng.dirichlet([5, 3, 20], (50, 24))[..., :2].round(3) * 100
    x = np.concatenate([parts, 100 - parts.sum(axis=-1, keepdims=True)], axis=-1).round(1)
    assert found(x, "abc") == ["c = 100 - a - b"]


def test_a_rounded_total_and_totals_of_totals():
    rng = np.random.default_rng(14)
    a, b, c, d = rng.gamma(4, 20, (4, 60, 24)).round(2)
    first, second = a + b, c + d
    x = np.stack([first + second, first, a, b, c, second, d], axis=-1).round(2)
    texts = found(x, ("grand", "first", "a", "b", "c", "second", "d"))
    assert set(texts) == {"first = a + b", "second = c + d", "grand = first + second"}
    rounded = np.stack([(a + b).round(0), a, b], axis=-1)
    assert found(rounded, ("total", "a", "b")) == ["total = a + b"]


def test_ranges_and_averages_beside_each_other():
    rng = np.random.default_rng(15)
    low = rng.normal(10, 2, (60, 24)).round(1)
    high = (low + rng.gamma(1, 1, (60, 24))).round(1)
    x = np.stack([low, high, (low + high) / 2, high - low], axis=-1).round(2)
    names = ("low", "high", "mean", "range")
    texts = found(x, names)
    assert texts == ["high = low + range", "mean = low + 0.5 * range"]
    assert found(x[..., :3].round(2), names[:3]) == ["mean = 0.5 * low + 0.5 * high"]
    four = rng.gamma(4, 20, (60, 24, 4)).round(1)
    x = np.concatenate([four, four.mean(axis=-1, keepdims=True).round(2)], axis=-1)
    texts = found(x, "abcde")
    assert texts == ["e = 0.25 * a + 0.25 * b + 0.25 * c + 0.25 * d"]


def test_other_units_and_what_is_rounded_are_computed():
    rng = np.random.default_rng(16)
    t = (15 + rng.normal(0, 0.4, (60, 24)).cumsum(axis=1)).round(2)
    names = ("t", "fahrenheit", "whole", "share", "noisy")
    columns = [t, (1.8 * t + 32).round(2), np.rint(t), t / 100, (t + rng.normal(0, 0.02, t.shape))]
    x = np.stack(columns, axis=-1).round(4)
    texts = found(x, names)
    assert set(texts) == {"fahrenheit = 32 + 1.8 * t", "whole = t", "t = 100 * share"}


def test_the_total_is_the_one_that_is_computed():
    rng = np.random.default_rng(20)
    base, more = 1000 + rng.normal(size=(50, 24)), rng.gamma(2, 100, (50, 24))
    x = np.stack([base.round(1), more.round(1), base.round(1) + more.round(1)], -1).round(1)
    assert found(x, ("base", "more", "all")) == ["all = base + more"]
    children, adults = rng.integers(0, 2, (50, 24)), rng.integers(1, 40, (50, 24))
    guests = np.stack([children, adults, children + adults], -1).astype(float)
    assert found(guests, ("children", "adults", "guests")) == ["guests = children + adults"]


def test_shares_of_what_is_rounded_away_are_none():
    rng = np.random.default_rng(21)
    part, whole = rng.integers(0, 2, (50, 24)) / 10, rng.integers(1, 4, (50, 24)) / 10
    share = rng.uniform(20, 50, (50, 24)).round(2)
    x = np.stack([part, whole, share], -1)
    names = ("part", "whole", "share")
    x = x[rules_of(["share = 100 * part / whole"], names, (1, 1, 2)).holds(x)][:, None]
    assert len(x) > 600  # rounding explains so many
    assert found(x, names) == []


def test_weather_has_one_rule():
    text = resources.files("seqgan_jax.data.bundled").joinpath("seattle_weather.csv").read_text()
    lines = [line.split(",") for line in text.split()]
    days = np.array([line[1:-1] for line in lines[1:]], float)
    for steps in (24, 120):
        x = days[: len(days) // steps * steps].reshape(-1, steps, days.shape[-1])
        assert found(x, lines[0][1:-1]) == ["temp_min <= temp_max"]


def tables(seed: int) -> dict[str, np.ndarray]:
    """Columns between which there is no rule, [R, D]."""
    rng = np.random.default_rng(seed)
    noise, day = rng.normal(size=(2400, 5)), np.arange(2400) / 24
    means = rng.normal(size=5) * rng.choice([1, 3])
    cycle = np.sin(2 * np.pi * day)[:, None] * rng.uniform(0.5, 2, 5)
    rain = np.where(rng.random(2400) < 0.7, 0, rng.gamma(0.8, 5, 2400)).round(1)
    humidity = np.clip(70 + 12 * noise[:, 1], 0, 100).round(0)
    temperature = (12 + 9 * np.sin(day / 10) + 3 * noise[:, 0]).round(1)
    spikes = (rng.random((2400, 5)) < 0.03) * rng.exponential(5, (2400, 5))
    for t in range(1, 2400):
        spikes[t] += 0.8 * spikes[t - 1]
    spikes += 0.2 * noise + 0.1 * noise[:, :1].cumsum(axis=0) + 2 * means
    skewed = np.stack([rng.beta(*rng.uniform(0.5, 8, 2), 2400) for _ in range(5)], axis=1)
    return {
        "noise with different means": noise * rng.uniform(0.5, 2, 5) + means,
        "random walks": (noise.cumsum(axis=0) + 30 * means).round(1),
        "prices": 50 * np.exp(0.02 * noise.cumsum(axis=0) + means / 3),
        "weather": np.stack([rain, temperature, humidity, temperature - 4 * noise[:, 3]], axis=1),
        "min-max scaled": (skewed - skewed.min(axis=0)) / np.ptp(skewed, axis=0),
        "one cycle": cycle + 0.3 * rng.standard_t(4, size=noise.shape) + means,
        "spikes": spikes,
        "codes": rng.integers(0, [2, 3, 7, 12, 2], (2400, 5)) + np.array([0, 1, 0, 2, 1]),
    }


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarms(seed):
    for words, table in tables(seed).items():
        names = [f"c{d}" for d in range(table.shape[1])]
        assert found(table.reshape(100, 24, -1).astype(float), names) == [], words


def test_constants_and_short_tables_have_no_rules():
    assert found(np.ones((5, 4, 2)), "ab") == []
    assert found(np.zeros((0, 4, 2)), "ab") == []
    assert found(bars(1)[:, :1], OHLC) == []  # no step comes from another
    assert found(bars(1)[:1, :3], OHLC) == []


def test_the_evidence_bounds_the_chance():
    """Gaussian gaps that by luck never fell: S reaches s in at most exp(-s) of all."""
    rng = np.random.default_rng(15)
    lucky = []
    for _ in range(3000):
        g = np.empty((1, 40))
        g[0, 0] = rng.uniform(0, 6)
        for t, noise in enumerate(rng.normal(size=39)):
            g[0, t + 1] = 2.0 + 0.6 * (g[0, t] - 2.0) + noise
        if np.all(g >= 0):
            lucky.append(_evidence_of_gap(g, np.ones((1, 39), bool), 0.0))
    assert len(lucky) > 100
    for s in (1.0, 2.0, 3.0):
        assert np.sum(np.array(lucky) >= s) / 3000 <= np.exp(-s)
