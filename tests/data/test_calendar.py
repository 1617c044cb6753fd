"""The calendar and columns of --known: what is read of a file, kept with a model, and asked for."""

import json

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN, inspect
from seqgan_jax.config import Config, DataConfig
from seqgan_jax.data import known, layout, writing
from seqgan_jax.data.form import TimeForm
from seqgan_jax.data.known import Known
from seqgan_jax.data.sequences import rows_of
from seqgan_jax.data.times import DAY
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import cli
from seqgan_jax.run.preparing import Gain, _gain, prepare

FEW = {"hidden_dim": 4, "pre_epoch_num": 1, "total_batch": 0, "skip_dis_pretrain": True}


def hourly(days=40, seed=0, **columns):
    """AR(1) about a daily rhythm of amplitude 3: sine of the hour."""
    rng = np.random.default_rng(seed)
    number = 24 * days
    e = np.zeros(number)
    for t in range(1, number):
        e[t] = 0.8 * e[t - 1] + 0.6 * rng.normal()
    date = pd.date_range("2021-03-01", periods=number, freq="h")
    x = 10 + 3 * np.sin(2 * np.pi * date.hour / 24) + e
    return pd.DataFrame({"date": date, "x": x, **columns})


def read(frame, **settings):
    """The sequences of a frame."""
    given = frozenset(settings)
    return layout.from_python(frame, DataConfig(**{"window": 12, **settings}), given)


def by_pandas(dates):
    """Phases of day, week and year by pandas' own calendar."""
    day = (dates - dates.normalize()) / pd.Timedelta(days=1)
    start = pd.to_datetime({"year": dates.year, "month": 1, "day": 1})
    length = np.where(dates.is_leap_year, 366, 365)
    year = (dates - pd.DatetimeIndex(start)) / pd.Timedelta(days=1) / length
    return np.asarray(day), np.asarray((dates.day_of_week + day) / 7), np.asarray(year)


def test_places_in_the_calendar_are_those_of_pandas():
    dates = pd.date_range("2019-12-20 05:00", periods=2000, freq="7h")
    names = tuple(known.CYCLES)
    found = known.places(dates.as_unit("us").asi8 / 1e6, names, 3600.0, "", known.FINE_TURNS)
    expected = []
    for phase, cycle in zip(by_pandas(dates), known.CYCLES.values(), strict=True):
        for k in range(1, cycle.harmonics + 1):
            expected += [np.cos(2 * np.pi * k * phase), np.sin(2 * np.pi * k * phase)]
    assert np.allclose(found, np.stack(expected, -1), atol=1e-6)


def test_twelve_turns_of_a_day_tell_every_hour_apart():
    dates = pd.date_range("2021-01-04", periods=24, freq="h").as_unit("us").asi8 / 1e6
    fine = known.places(dates, ("hour of day",), 3600.0, "", known.FINE_TURNS)
    assert np.linalg.matrix_rank(np.c_[np.ones(24), fine], tol=1e-6) == 24


@pytest.mark.parametrize(("window", "turns"), [(24, 2), (72, 12)])
def test_what_is_switched_on_the_hour_is_read_by_more_turns_in_windows_of_days(window, turns):
    frame = hourly(60)
    switched = frame.assign(x=frame.x + 6.0 * (frame.date.dt.hour < 8))
    settings = DataConfig(window=window)
    for each, expected in ((frame, 2), (switched, turns)):
        sequences = layout.from_python(each, settings, frozenset({"window"}))
        prepared = prepare(sequences, Config(data=settings), 0)
        assert prepared.calendar.is_taken
        assert prepared.description.known.turns == expected
        assert prepared.description.known.width == 2 * expected + 6  # three turns of a week
        again = prepare(sequences, Config(data=settings), 0, turns=expected)
        assert again.description.to_json() == prepared.description.to_json()
        assert prepare(sequences, Config(data=settings), 0, turns=0).description.known is None


def test_hours_are_those_of_the_clocks_in_the_time_zone():
    """Noon in Berlin is noon in winter and in summer."""
    noon = pd.DatetimeIndex(["2021-01-15 12:00", "2021-07-15 12:00"], tz="Europe/Berlin")
    found = known.places(noon.as_unit("us").asi8 / 1e6, ("hour of day",), 3600.0, "Europe/Berlin")
    assert np.allclose(found[:, :2], [-1.0, 0.0], atol=1e-9)


def test_a_windows_known_is_that_of_its_own_times_across_gaps_entities_and_order():
    frame = hourly(30).drop(index=range(300, 310))
    two = pd.concat([frame.assign(id="a"), hourly(30, 1).assign(id="b")])
    shuffled = two.sample(frac=1, random_state=0).reset_index(drop=True)
    found = read(shuffled, id=("id",), time=("date",), stride=5)
    assert found.given.cycles == ("hour of day", "day of week")
    at = {(row.id, row.date.timestamp()): row.x for row in two.itertuples()}
    values = {(value, key[1]) for key, value in at.items()}
    rows = np.random.default_rng(0).integers(0, len(found.x_NTD), 40)
    for n in rows:
        times = found.given.seconds_NT[n]
        assert np.all(np.diff(times) == 3600)
        pairs = zip(found.x_NTD[n, :, 0], times, strict=True)
        assert all((x, time) in values for x, time in pairs)


@pytest.mark.parametrize(("keep", "expected"), [("first", 1.0), ("last", 2.0), ("mean", 1.0)])
def test_of_a_time_that_is_there_twice_the_known_is_that_of_the_line_kept(keep, expected):
    frame = hourly(20, price=1.0)
    twice = pd.concat([frame, frame.iloc[[100]].assign(price=2.0)], ignore_index=True)
    found = read(twice, duplicates=keep, known=("price",))
    assert found.given.columns_NTC[100, 0, 0] == expected


def test_without_dates_and_with_calendar_none_nothing_is_known():
    frame = hourly()
    assert read(frame, calendar="none").given is None
    assert read(frame.drop(columns="date")).given is None
    assert read(frame.assign(date=np.arange(len(frame)))).given is None
    irregular = frame.assign(
        date=pd.Timestamp("2021-01-01")
        + pd.to_timedelta(np.random.default_rng(0).exponential(3600, len(frame)).cumsum(), "s")
    )
    assert read(irregular).given is None


def test_columns_of_known_are_standardised_and_words_are_one_hot():
    rng = np.random.default_rng(0)
    words = np.array(["none", "sale", "big"])[rng.integers(0, 3, 960)]
    frame = hourly(40, price=rng.normal(5, 2, 960), deal=words, open=rng.random(960) < 0.5)
    found = read(frame, known=("price", "deal", "open"), calendar="none")
    assert found.names == ("x",)
    train = found.given[rows_of(found)[0]]
    fitted = Known.fit(train)
    out = fitted.of(found.given)
    assert out.shape == (len(found.x_NTD), 12, 10)
    assert fitted.width == 10
    assert abs(fitted.of(train)[..., 0].mean()) < 1e-5
    assert abs(fitted.of(train)[..., 0].std() - 1) < 1e-5
    price = frame["price"].to_numpy()
    mean, scale = train.columns_NTC[..., 0].mean(), train.columns_NTC[..., 0].std()
    assert np.allclose(out[7, :, 0], (price[7:19] - mean) / scale, atol=1e-5)
    for w, word in enumerate(fitted.words[1]):
        assert (out[7, :, 1 + w] == (frame["deal"] == word)[7:19]).all()
    assert len(np.unique(out[..., 4])) == 2
    assert (out[:, 1:, 5:] == out[:, :-1, :5]).all()  # the step before
    assert (out[:, 0, 5:] == out[:, 0, :5]).all()
    assert Known.from_json(fitted.to_json()) == fitted


def test_a_damaged_known_is_refused():
    good = Known(("hour of day",), 3600.0, "", (), (), (), (), (0.0,), ()).to_json()
    for change in ({"cycles": ["moon"]}, {"scale": [0.0]}, {"starts": [float("inf")]}, {"rows": 3}):
        with pytest.raises(ValueError, match="known in advance is damaged"):
            Known.from_json(good | change)


def test_regular_times_of_months_and_weekdays():
    month = TimeForm("t", "datetime", 30.4375 * DAY, "MS", 0.0, "", "")
    start = pd.Timestamp("2024-01-01").timestamp()
    found = writing.seconds(month, np.array([start]), 3)[0]
    assert [pd.Timestamp(s, unit="s").day for s in found] == [1, 1, 1]
    weekdays = TimeForm("t", "datetime", float(DAY), "B", 0.0, "", "")
    friday = pd.Timestamp("2024-01-05").timestamp()
    found = writing.seconds(weekdays, np.array([friday]), 2)[0]
    assert pd.Timestamp(found[1], unit="s").day == 8


# ------------------------------------------------------------------ a model


@pytest.fixture(scope="module")
def model():
    """Trained on hours for some epochs."""
    return SeqGAN(window=24, **FEW | {"pre_epoch_num": 3, "policy": "gaussian"}).fit(hourly(90))


def test_samples_have_the_daily_rhythm_where_they_start(model):
    """Hour-of-day means against the data's law, from a start at 3 o'clock and from drawn ones."""
    expected = 10 + 3 * np.sin(2 * np.pi * np.arange(24) / 24)
    for start in ("2026-01-01 03:00", None):
        new = model.sample(1500, start=start)
        means = new.groupby(new["date"].dt.hour)["x"].mean()
        assert np.abs(means.to_numpy() - expected).max() < 0.35
        assert (new.groupby("sequence")["date"].diff().dropna() == pd.Timedelta(hours=1)).all()
    at_three = model.sample(2, start="2026-01-01 03:00")
    assert (at_three["date"][::24] == pd.Timestamp("2026-01-01 03:00")).all()


def test_without_the_calendar_there_is_no_rhythm_and_less_likelihood(model):
    blind = SeqGAN(
        window=24, calendar="none", **FEW | {"pre_epoch_num": 3, "policy": "gaussian"}
    ).fit(hourly(90))
    new = blind.sample(1500)
    means = new.groupby(new["date"].dt.hour)["x"].mean()
    assert np.ptp(means) < 1.0
    assert float(model.state.best_nll) < float(blind.state.best_nll) - 0.02


def test_the_calendar_is_read_where_the_validation_part_gains_by_it(model, tmp_path, capsys):
    assert model.calendar.is_taken
    assert model.calendar.mean > 5 * model.calendar.error > 0
    frame = hourly(30)
    frame["x"] -= 3 * np.sin(2 * np.pi * frame["date"].dt.hour / 24)  # AR(1), no rhythm is left
    frame.to_csv(tmp_path / "x.csv", index=False)
    flags = "--window 24 --hidden-dim 4 --pre-epoch-num 1 --total-batch 0 --skip-dis-pretrain"
    run = f"train --data {tmp_path / 'x.csv'} --run-dir {tmp_path / 'run'} --generated-num 5"
    assert cli.main(f"{run} {flags} --policy gaussian".split()) == 0
    said = capsys.readouterr().out
    assert "calendar left out, below 2 errors: it gains" in said
    assert "known   " not in said
    loaded = SeqGAN.load(tmp_path / "run")
    assert loaded.description.known is None
    new = pd.read_csv(tmp_path / "run" / "final_samples.csv", parse_dates=["date"])
    assert (new["date"].diff()[1:24] == pd.Timedelta(hours=1)).all()
    assert loaded.sample_array(2, length=30).shape == (2, 30, 1)


def test_a_run_that_began_with_the_calendar_goes_on_with_it(tmp_path, capsys, monkeypatch):
    """As runs do from before the calendar had to help: here it does not."""
    frame = hourly(20)
    frame["x"] -= 3 * np.sin(2 * np.pi * frame["date"].dt.hour / 24)
    frame.to_csv(tmp_path / "x.csv", index=False)
    flags = "--window 12 --hidden-dim 2 --pre-epoch-num 1 --total-batch 0 --skip-dis-pretrain"
    run = f"train --data {tmp_path / 'x.csv'} --run-dir {tmp_path / 'run'} --generated-num 5"
    with monkeypatch.context() as before:
        before.setattr(Gain, "is_taken", True)
        assert cli.main(f"{run} {flags} --policy gaussian".split()) == 0
    content = (tmp_path / "run" / "config.json").read_bytes()
    capsys.readouterr()
    more = f"train --resume --run-dir {tmp_path / 'run'} --pre-epoch-num 2"
    assert cli.main(more.split()) == 0
    said = capsys.readouterr().out
    assert "calendar read, as this run began" in said
    assert "epoch 2/2" in said
    known = json.loads(content)["known"]
    assert known["cycles"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["known"] == known


def test_the_gain_is_that_of_the_law_and_its_error_counts_blocks():
    """Windows in blocks: as many values as there are blocks, repeated, say no more."""
    x_NTD = np.random.default_rng(0).normal(size=(6, 5, 1))
    values = np.array([1.0, 2.0, 4.0, 2.0, 0.0, np.nan])  # the last is impossible under one
    found = _gain(values, x_NTD)
    assert found.mean == pytest.approx(np.nanmean(values) / 5)
    expected = np.nanstd(values, ddof=1) / np.sqrt(5) / 5
    assert found.error == pytest.approx(expected, rel=1e-5)
    series = np.random.default_rng(1).normal(size=(60, 1))
    windows = np.stack([series[i : i + 5] for i in range(50)])
    by_block = np.repeat(np.arange(10.0), 5)
    again = _gain(by_block, windows)
    assert again.error == pytest.approx(np.std(np.arange(10.0), ddof=1) / np.sqrt(10) / 5, rel=0.01)


def test_a_mean_of_days_is_in_the_baseline_of_windows_of_days(tmp_path):
    """Of hours on a grid; a saved model has it, too."""
    frame = hourly(30)
    frame["x"] = frame["x"].round(1)
    found = SeqGAN(window=72, stride=8, **FEW | {"policy": "gaussian"}).fit(frame)
    assert found.description.known.level == pytest.approx(1 / 72)
    assert found.state.policy_constants["baseline"]["second"].shape == (1, 6)
    layout = found.description.columns.layout
    assert (layout.season, layout.season_rate) == (24, known.SEASON_RATE)
    found.save(tmp_path / "model")
    again = SeqGAN.load(tmp_path / "model")
    assert found.sample(3, seed=2).equals(again.sample(3, seed=2))
    hours, days = ("hour of day",), ("day of week",)
    wanted = [(hours, 3600.0, 71), (hours, 900.0, 96), (days, DAY, 400)]
    assert [known._level(*each) for each in wanted] == [0.0, 0.0, 0.0]


def test_the_first_value_is_read_where_a_window_of_a_day_ends(tmp_path):
    """Of hours on a grid, after a day no more; a saved model has it, too."""
    frame = hourly(60)
    frame["x"] = frame["x"].round(1)
    found = SeqGAN(window=24, **FEW | {"policy": "gaussian"}).fit(frame)
    layout = found.description.columns.layout
    assert (layout.season, layout.season_rate) == (24, 0.0)
    assert found.state.policy_constants["baseline"]["second"].shape == (1, 5)
    found.save(tmp_path / "model")
    again = SeqGAN.load(tmp_path / "model")
    assert found.sample(3, seed=2).equals(again.sample(3, seed=2))
    assert np.isfinite(found.sample_array(3, seed=2, length=60)).all()
    hours = ("hour of day",)
    wanted = [(hours, 3600.0, 17), (hours, 3600.0, 25), (hours, 900.0, 80), (hours, 7e3, 12)]
    assert [known._season(*each)[0] for each in wanted] == [0, 0, 96, 0]


def test_the_likelihood_of_a_frame_is_that_of_its_own_times(model):
    new = model.sample(50)
    starts = list(new["date"][::24])
    own = model.log_prob(new)
    x = new["x"].to_numpy().reshape(50, 24, 1)
    assert np.allclose(own, model.log_prob(x, start=starts))
    later = [start + pd.Timedelta(hours=12) for start in starts]
    assert model.log_prob(x, start=later).mean() < own.mean() - 5
    with pytest.raises(DataError, match="say when each sequence starts"):
        model.log_prob(x)
    with pytest.raises(DataError, match="3 dates, and there are 50"):
        model.log_prob(x, start=starts[:3])


def test_the_first_samples_of_many_are_those_of_few_and_a_saved_model_draws_the_same(
    model, tmp_path
):
    few, many = model.sample(5, seed=3), model.sample(1100, seed=3)
    pd.testing.assert_frame_equal(few, many.iloc[: 5 * 24])
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(few, SeqGAN.load(tmp_path / "m").sample(5, seed=3))


def test_what_is_asked_for_in_vain_is_refused_in_words(model):
    for start in ("soon", "", float("nan")):
        with pytest.raises(UsageError, match="no date that is known"):
            model.sample(2, start=start)
    with pytest.raises(UsageError, match="trained without --known"):
        model.sample(2, known=[[1.0]] * 24)
    rows = SeqGAN(**FEW, policy="gaussian").fit(np.random.default_rng(0).normal(size=(60, 5)))
    with pytest.raises(UsageError, match="has no dates"):
        rows.sample(2, start="2026-01-01")
    with pytest.raises(UsageError, match="have no meaning here"):
        rows.log_prob(np.zeros((1, 5)), start="2026-01-01")


def test_columns_of_known_move_samples_and_are_asked_for():
    """x rises by 4 where there is an event, which samples are told by --known."""
    rng = np.random.default_rng(0)
    event = (rng.random(960) < 0.3).astype(float)
    frame = hourly(40, event=event)
    frame["x"] += 4 * event - 3 * np.sin(2 * np.pi * frame["date"].dt.hour / 24)
    settings = FEW | {"pre_epoch_num": 3, "policy": "gaussian", "calendar": "none"}
    own = SeqGAN(window=12, known=("event",), **settings).fit(frame)
    assert own.description.names == ("x",)
    values = np.tile([0.0, 0.0, 1.0], 4)
    new = own.sample_array(800, places=own.places(800, known=values))[..., 0]
    means = new.mean(axis=0)
    assert abs(means[values == 1].mean() - means[values == 0].mean() - 4) < 0.5
    assert own.sample(3).shape == (36, 3)  # of events of the training part
    with pytest.raises(UsageError, match="--start needs the values of event"):
        own.sample(2, start="2026-01-01")
    started = own.sample(2, start="2026-01-01", known=pd.DataFrame({"event": values}))
    assert started["date"][0] == pd.Timestamp("2026-01-01")
    for wrong, words in (
        (values[:5], "has 5 rows, and samples have 12 steps"),
        (pd.DataFrame({"other": values}), "has no column 'event'"),
        (np.where(values == 1, np.nan, 0.0), "'event' is missing"),
    ):
        with pytest.raises(DataError, match=words):
            own.sample(2, known=wrong)
    x = frame["x"].to_numpy()[:12].reshape(1, 12, 1)
    right = own.log_prob(x, known=event[:12].reshape(1, 12, 1))
    assert right > own.log_prob(x, known=1 - event[:12].reshape(1, 12, 1)) + 10
    with pytest.raises(DataError, match="reads event of each step"):
        own.log_prob(x)


def test_futures_follow_the_events_that_are_known_after_the_end(tmp_path, capsys):
    """x rises by 4 where there is an event: against another column of events, shop by shop."""
    rng = np.random.default_rng(1)
    parts = []
    for shop in ("north", "south"):
        event = rng.random(480) < 0.3
        part = hourly(20, shop=shop, event=event)
        part["x"] += 4 * event - 3 * np.sin(2 * np.pi * part["date"].dt.hour / 24)
        parts.append(part)
    settings = FEW | {"pre_epoch_num": 3, "policy": "gaussian", "calendar": "none"}
    model = SeqGAN(window=12, known=("event",), **settings).fit(pd.concat(parts), id="shop")
    # They end at different hours.
    now = pd.concat([parts[0][:100], parts[1][:90]])
    events = np.array([False, False, True] * 4)
    later = pd.DataFrame({"event": np.concatenate([events, ~events])})
    later["shop"] = np.repeat(["north", "south"], 12)
    new = model.sample(300, after=now, length=12, known=later)
    assert set(new.columns) == {"shop", "sample", "date", "x"}
    for shop, own in (("north", events), ("south", ~events)):
        mean = new[new["shop"] == shop]["x"].to_numpy().reshape(300, 12).mean(axis=0)
        assert abs(mean[own].mean() - mean[~own].mean() - 4) < 0.5
    same = model.sample(300, after=now, length=12, known=later[["event"]][:12])
    x = same["x"].to_numpy().reshape(2, 300, 12).mean(axis=1)
    assert np.all(np.abs(x[:, events].mean(axis=1) - x[:, ~events].mean(axis=1) - 4) < 0.5)
    dated = pd.concat([parts[0][100:112], parts[1][90:102]])
    model.sample(2, after=now, length=12, known=dated)
    for wrong, error, words in (
        (None, UsageError, "need the values of event after the end.*each of 12 steps"),
        (later[:20], DataError, "has 8 rows for after, sequence shop south.*have 12 steps"),
        (later.rename(columns={"event": "e"}), DataError, "has no column 'event'"),
        (
            dated.assign(date=dated["date"] + pd.Timedelta(hours=1)),
            DataError,
            "'date' is 2021-03-05 05:00:00, and .*north, step 100",
        ),
    ):
        with pytest.raises(error, match=words):
            model.sample(2, after=now, length=12, known=wrong)
    with pytest.raises(DataError, match="has no column 'event'"):
        model.sample(2, after=now.drop(columns="event"), length=12, known=later)
    with pytest.raises(DataError, match="after is no table, and this model reads event"):
        model.sample(2, after=np.zeros((1, 30, 1)), length=12, known=later)
    model.save(tmp_path / "run")
    for name, frame in (("now", now), ("later", later)):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    words = ["sample", str(tmp_path / "run"), "-n", "300", "--length", "12"]
    words += ["--after", str(tmp_path / "now.csv"), "-o", str(tmp_path / "futures.csv")]
    assert cli.main([*words, "--known-file", str(tmp_path / "later.csv")]) == 0
    written = pd.read_csv(tmp_path / "futures.csv")
    assert np.allclose(written["x"], new["x"], atol=1e-3)
    for more, said in (("--start", "--start has no meaning with --after"), ("--given", "--given")):
        assert cli.main([*words, more, "a=1", "--overwrite"]) == 2
        assert said in capsys.readouterr().err


def test_flags_that_cannot_be_are_refused():
    frame = hourly(20, price=1.0)
    for settings, words in (
        ({"known": ("price", "price")}, "--known names a column twice"),
        ({"known": ("price",), "columns": ("price",)}, "--columns and --known both name 'price'"),
        ({"known": ("date",), "time": ("date",)}, "--time and --known both name 'date'"),
        ({"known": ("nothing",)}, "nothing"),
    ):
        with pytest.raises((UsageError, DataError), match=words):
            read(frame, **settings)
    gone = frame.assign(price=frame["price"].where(frame.index != 7))
    with pytest.raises(DataError, match="'price' is missing"):
        read(gone, known=("price",))
    many = frame.assign(price=[f"word {i}" for i in range(480)])
    with pytest.raises(DataError, match="Leave it out of --known"):
        read(many, known=("price",))
    with pytest.raises(UsageError, match="known"):
        layout.from_python(np.zeros((50, 5)), DataConfig(known=("a",)), frozenset({"known"}))
    with pytest.raises(UsageError, match="a line is a sequence"):
        layout.from_python(
            pd.DataFrame(np.random.default_rng(0).normal(size=(50, 6)), columns=range(6)),
            DataConfig(layout="rows", known=("0",)),
        )


def test_inspect_says_what_is_known_and_the_command_keeps_it():
    found = inspect(hourly(40, price=1.5), known=("price",), window=12)
    tried = "(tried; kept only where it helps)"
    assert found.known == f"hour of day, day of week {tried}, price"
    assert "known in advance\n  hour of day" in str(found)
    assert "known=('price',)" in found.command
    assert inspect(hourly(40), calendar="none").known == ""


def test_the_command_line_writes_times_from_the_start_with_the_values_given(tmp_path, capsys):
    frame = hourly(30, event=np.arange(720) % 5 == 0)
    frame.to_csv(tmp_path / "x.csv", index=False)
    run, out = str(tmp_path / "run"), tmp_path / "new.csv"
    words = ["train", "--data", str(tmp_path / "x.csv"), "--window", "12", "--known", "event"]
    words += ["--run-dir", run, "--hidden-dim", "4", "--pre-epoch-num", "1", "--policy", "gaussian"]
    words += ["--skip-dis-pretrain", "--skip-adversarial", "--generated-num", "50"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert "known   hour of day, day of week, event (read, not generated" in said
    final = pd.read_csv(tmp_path / "run" / "final_samples.csv", parse_dates=["date"])
    assert list(final.columns) == ["sequence", "date", "x"]
    starts = final["date"][::12]
    assert starts.nunique() > 20
    assert starts.isin(frame["date"]).all()
    frame[["event"]][:12].to_csv(tmp_path / "events.csv", index=False)
    sample = ["sample", run, "-n", "3", "-o", str(out), "--start", "2030-05-06 07:00"]
    assert cli.main(sample) == 2
    assert "--known-file FILE" in capsys.readouterr().err
    assert cli.main([*sample, "--known-file", str(tmp_path / "events.csv")]) == 0
    new = pd.read_csv(out, parse_dates=["date"])
    assert (new["date"][::12] == pd.Timestamp("2030-05-06 07:00")).all()
    assert (new["date"][11::12] == pd.Timestamp("2030-05-06 18:00")).all()


def test_futures_and_long_series_keep_the_daily_rhythm(model):
    """Whatever hour a history ends at; its own times say which that is."""
    expected = 10 + 3 * np.sin(2 * np.pi * np.arange(24) / 24)
    history = hourly(60)[: 24 * 50 + 7]
    futures = model.sample(300, after=history, length=48, seed=1)
    assert futures["date"].iloc[0] == history["date"].iloc[-1] + pd.Timedelta(hours=1)
    # On the second day: the first one still remembers the last value.
    later = futures[futures["date"] > history["date"].iloc[-1] + pd.Timedelta(hours=24)]
    means = later.groupby(later["date"].dt.hour)["x"].mean()
    assert np.abs(means.to_numpy() - expected).max() < 0.35
    long = model.sample(1, length=24 * 400, seed=2, start="2022-03-01")
    assert long["date"].iloc[0] == pd.Timestamp("2022-03-01")
    means = long.groupby(long["date"].dt.hour)["x"].mean()
    assert np.abs(means.to_numpy() - expected).max() < 0.5
    with pytest.raises(UsageError, match="no dates, and this model reads the calendar"):
        model.sample(2, after=np.zeros((1, 30, 1)))


def test_a_prefix_is_gone_on_from_where_it_ends():
    """Months and weekdays backwards, against pandas."""
    cases = (("MS", "2024-03-01", 14), ("B", "2024-03-04", 7), ("", "2024-03-04", 5))
    for rule, last, number in cases:
        time = TimeForm("t", "datetime", 86400.0, rule, 0.0, "", "")
        end = pd.Timestamp(last)
        index = pd.date_range(end=end, periods=number, freq=rule or "D")
        found = writing.starts_before(time, np.array([end.timestamp()]), np.array([number]))
        assert found[0] == index[0].timestamp()
