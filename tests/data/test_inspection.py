"""What `inspect` sees, asks and proposes; the command that it prints reads the file."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN, inspect
from seqgan_jax.config import DataConfig
from seqgan_jax.data import angles, inspection, lags, layout
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import cli

RNG = np.random.default_rng(0)
KEYS = {"layout", "sequences", "steps", "time", "ids", "columns", "notes", "questions", "rules"}
COLUMN_KEYS = {"name", "kind", "low", "high", "grid", "atoms", "missing", "learned"}


def walk(rows, scale=1.0):
    return (20 + scale * RNG.normal(size=rows).cumsum()).round(2)


def hours(rows):
    return pd.date_range("2021-01-01", periods=rows, freq="h")


def series(rows=300):
    return pd.DataFrame({"date": hours(rows), "temp": walk(rows), "load": walk(rows, 9)})


def panel(lengths=(40, 40, 40), name="store"):
    parts = [
        pd.DataFrame({"date": hours(n), name: f"s{i}", "sales": walk(n)})
        for i, n in enumerate(lengths)
    ]
    return pd.concat(parts, ignore_index=True)


def command_reads(command):
    """The sequences that the printed command would train on."""
    words = shlex.split(command)
    assert words[:3] == ["seqgan", "train", "--data"]
    given = {}
    for word in words[4:]:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            given[name] = []
        else:
            given[name].append(word)
    for name, values in given.items():
        kind = type(getattr(DataConfig(), name))
        one = values[0] if kind is not tuple else values
        given[name] = int(one) if name in ("window", "stride", "features", "limit") else one
    return layout.load(words[3], **given)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (series(), ("series", 1, 300, [], "1 hour", 0)),
        (series().drop(index=range(100, 104)), ("series", 1, 296, [], "1 hour", 1)),
        (series()[::-1], ("series", 1, 300, [], "1 hour", 0)),
        (panel(), ("long", 3, 40, ["store"], "1 hour", 0)),
        (panel([30, 25, 40]), ("long", 3, [25, 40], ["store"], "1 hour", 0)),
        (panel([8] * 25), ("long", 25, 8, ["store"], "1 hour", 0)),
    ],
)
def test_tables_of_steps(tmp_path, monkeypatch, capsys, frame, expected):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("a b.csv", index=False)
    assert cli.main(["inspect", "a b.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= KEYS
    time = found["time"]
    assert (
        *(found[name] for name in ("layout", "sequences", "steps", "ids")),
        time["step"],
        time["gaps"],
    ) == expected
    assert found["questions"] == []
    assert all(set(column) >= COLUMN_KEYS for column in found["columns"])
    read = command_reads(found["command"])
    assert read.names == tuple(column["name"] for column in found["columns"])
    assert found["columns"][-1]["grid"] == 0.01
    in_python = inspect(frame.reset_index(drop=True))
    assert (in_python.layout, in_python.sequences) == expected[:2]


def test_rows_of_one_and_of_unequal_length(tmp_path):
    path = tmp_path / "x.txt"
    np.savetxt(path, RNG.normal(size=(30, 12)), "%.3f")
    found = inspect(path)
    assert (found.layout, found.sequences, found.steps, found.time) == ("rows", 30, 12, None)
    assert command_reads(found.command).x_NTD.shape == (30, 12, 1)
    path.write_text("\n".join(" ".join(map(str, walk(n))) for n in [9, 12, 10] * 10))
    found = inspect(path)
    assert found.steps == (9, 12)
    assert found.questions == ()
    assert found.notes == (
        "30 sequences of 9 to 12 steps: their ends are learned; --window N cuts equal pieces",
    )
    assert command_reads(found.command).x_NTD.shape == (30, 12, 1)


def test_a_question_is_shown_and_not_answered(tmp_path, capsys):
    path = tmp_path / "x.csv"
    smooth = np.cumsum(RNG.normal(size=(200, 4)), axis=0) * [1, 10, 100, 1000] + [5, 50, 500, 5000]
    np.savetxt(path, smooth, "%.3f", ",")
    assert cli.main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "not clear" in out
    assert "--layout rows" in out
    assert "--layout series" in out
    assert "train on it" not in out
    found = inspect(path)
    assert (found.layout, found.sequences, found.steps) == ("unknown", None, None)
    assert len(found.columns) == 4
    assert inspect(path, layout="series").steps == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.where(RNG.random(x.shape) > 0.05, -999), "--missing-values -999"),
        (
            lambda x: x.astype(object).where(RNG.random(x.shape) > 0.05, "?"),
            r"--missing-values '\?'",
        ),
    ],
)
def test_missing_values_are_asked_about(tmp_path, change, words):
    frame = series()
    frame[["temp", "load"]] = change(frame[["temp", "load"]])
    frame.to_csv(tmp_path / "x.csv", index=False)
    found = inspect(tmp_path / "x.csv")
    assert len(found.questions) == 1
    assert pd.Series(found.questions).str.contains(words).all()
    assert found.layout == "series"


def test_missing_values_are_learned_around_and_noted(tmp_path):
    frame = series()
    gaps = frame[["temp", "load"]].mask(RNG.random((len(frame), 2)) < 0.05)
    frame.assign(**gaps).to_csv(tmp_path / "x.csv", index=False)
    found = inspect(tmp_path / "x.csv")
    assert not found.questions
    assert any("missing, learned around" in note for note in found.notes)
    assert any("with gaps" in words for words in found.learned)
    assert found.columns[0].missing > 0
    assert command_reads(found.command).x_NTD.shape == (281, 20, 2)
    asked = inspect(tmp_path / "x.csv", missing="error")
    assert "are missing. --missing model" in asked.questions[0]


def meters(rows=400):
    """A sum, a meter, words, a column that is constant but at the end, and values before."""
    parts = RNG.poisson(9, size=(rows, 2)).cumsum(axis=0) % 97 / 10
    frame = pd.DataFrame({"date": hours(rows), "kWh": RNG.poisson(1, rows).cumsum() / 10})
    frame["sky"] = np.array(["rain", "sun", "fog"])[RNG.integers(3, size=rows)]
    frame["late"] = np.where(np.arange(rows) < rows - 20, 5.0, walk(rows))
    frame["set"] = np.repeat(walk(rows // 10), 10)
    return frame.assign(a=parts[:, 0], b=parts[:, 1], total=parts.sum(axis=1).round(1))


@pytest.mark.parametrize("frame", [meters(), panel([30, 25, 40]), panel([8] * 25), series()])
def test_it_says_how_training_learns_each_column(tmp_path, frame):
    frame.to_csv(tmp_path / "x.csv", index=False)
    found = inspect(tmp_path / "x.csv")
    model = SeqGAN()
    model.prepare(command_reads(found.command))
    scaler = model.description.scaler
    said = [scaler.described(d) or "continuous" for d in range(len(found.columns))]
    assert list(found.learned) == said
    assert ", ".join(found.rules) == (str(scaler.rules) if scaler.rules else "")
    assert inspect(frame).learned == found.learned


def test_the_screen_says_how_columns_are_learned(tmp_path, capsys):
    meters().to_csv(tmp_path / "x.csv", index=False)
    assert cli.main(["inspect", str(tmp_path / "x.csv")]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[1:-1])) <= 100
    lines = re.sub(r"\n {5,}", " ", out).splitlines()
    start = lines.index("learned as")
    learned = dict(line.split(None, 1) for line in lines[start + 1 : start + 8])
    assert learned["sky"] == "3 words"
    assert learned["late"] == "carried exactly, not learned"  # the end is held out
    assert learned["set"] == "grid, 0.01 apart, from 0"  # the rule says when it changes
    assert learned["total"] == "computed by a rule"
    rules = lines[lines.index("rules") + 1 :]
    said = ["total = a + b", "kWh increases", "set repeated every 10 steps"]
    assert rules[:3] == [f"  {rule}" for rule in said]
    assert cli.main(["inspect", str(tmp_path / "x.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rules"] == said
    assert {each["name"]: each["learned"] for each in found["columns"]} == learned


def test_what_is_asked_of_columns_is_in_the_command_and_what_it_says(tmp_path):
    path = tmp_path / "x.csv"
    meters().to_csv(path, index=False)
    asked = {"kind": ["a:categorical", "kWh:grid"], "rules": "none", "bounds": ["b:-1:"]}
    found = inspect(path, **asked)
    assert found.rules == ()
    learned = dict(zip((each.name for each in found.columns), found.learned, strict=True))
    assert learned["a"].endswith("categories")
    assert "grid" in learned["kWh"]
    assert "from -1" in learned["b"]
    assert found.command.endswith("--bounds b:-1: --kind a:categorical kWh:grid --rules none")
    assert inspect(path, rules="none", rule=["a <= total"]).rules == ("a <= total",)
    with pytest.raises(UsageError, match="no column 'c'"):
        inspect(path, kind=["c:grid"])
    refused = inspect(path, kind=["total:static"], rules="none")
    assert "x.csv, step 2 of the series: total is 3.3, and 1.8 at the" in refused.questions[0]
    assert refused.command == ""
    assert "not above 0" in inspect(path, log=["b"]).questions[0]


def test_nothing_is_said_of_learning_where_it_is_not_clear_what_is_learned(tmp_path):
    frame = pd.concat([series(), series()[50:53]])
    assert inspect(frame).learned == ()
    assert all(each["learned"] == "" for each in inspect(frame).to_dict()["columns"])
    np.save(tmp_path / "x.npy", RNG.normal(size=(60, 9, 2)))
    assert inspect(tmp_path / "x.npy").learned == ("continuous", "continuous")
    streamed = DataConfig(data=str(tmp_path / "x.npy"), memory=0)
    assert inspection.of_file(streamed).learned == ()  # in a sample, and without rules


def test_what_cannot_be_learned_at_all_has_no_command():
    frame = series().assign(temp=3.0, load=4.0)
    for found in (inspect(frame), inspect(np.ones((60, 9, 2)))):
        assert "Every column is constant" in found.questions[-1]
        assert (found.command, found.learned) == ("", ())


def test_times_that_are_there_twice_are_asked_about():
    frame = pd.concat([series(), series()[50:53]])
    found = inspect(frame)
    assert "is there twice" in found.questions[0]
    assert found.command == ""
    assert "duplicates='mean'" in inspect(frame, duplicates="mean").command


def test_nothing_to_learn_in_lines_that_are_in_no_order_is_a_question():
    at = hours(100)[::-1]
    found = inspect(pd.DataFrame({"at": at, "note": "x"}))
    assert (found.layout, found.sequences, found.command) == ("series", 1, "")
    assert "no column holds numbers" in found.questions[0]


def test_arrays(tmp_path):
    x = RNG.normal(size=(60, 9, 2))
    np.save(tmp_path / "x.npy", x)
    found = inspect(tmp_path / "x.npy")
    assert (found.layout, found.sequences, found.steps) == ("rows", 60, 9)
    assert found.columns == inspect(x).columns
    assert found.command.endswith("x.npy")
    assert inspect(x).command == "SeqGAN().fit(x)"
    holes = np.where(RNG.random(x.shape) < 0.02, np.nan, x)
    assert inspect(holes).command == "SeqGAN().fit(x)"
    assert "channels" in inspect(np.cumsum(RNG.normal(size=(150, 3, 60)), axis=2)).questions[0]


def test_the_call_from_python_runs():
    command = inspect(panel([30, 25, 40]), id="store", time="date").command
    assert command == "SeqGAN(window=16).fit(x, id=('store',), time=('date',))"
    tiny = {"pre_epoch_num": 1, "hidden_dim": 4, "total_batch": 0, "skip_dis_pretrain": True}
    made = eval(
        command.replace("SeqGAN(", "SeqGAN(**tiny, "),
        {"SeqGAN": SeqGAN, "tiny": tiny, "x": panel([30, 25, 40])},
    )
    assert list(made.sample(2).columns) == ["date", "store", "sales"]


def test_what_cannot_be_inspected(tmp_path, capsys):
    assert cli.main(["inspect", str(tmp_path / "none.csv")]) == 3
    assert "none.csv" in capsys.readouterr().err
    (tmp_path / "x.csv").write_text("a,b\n")
    assert cli.main(["inspect", str(tmp_path / "x.csv")]) == 3
    for flag in ("--data", "--held-out", "--num-sequences"):
        assert cli.main(["inspect", "x.csv", flag, "0.3" if flag == "--held-out" else "99"]) == 2
        assert f"{flag} has no meaning" in capsys.readouterr().err
    with pytest.raises(UsageError, match="hidden_dim"):
        inspect(series(), hidden_dim=3)
    with pytest.raises(DataError):
        inspect(tmp_path / "none.npy")


def test_names_cannot_disturb_the_terminal(capsys):
    frame = pd.DataFrame({"a" * 150: walk(100), "b": walk(100)}, index=hours(100))
    print(inspect(frame))
    assert max(map(len, capsys.readouterr().out.splitlines())) < 250
    with pytest.raises(DataError, match="control characters"):
        inspect(frame.rename(columns={"b": "\x1b[31m"}))


def test_an_empty_column_is_no_question_and_good_cells_are_not_blamed(tmp_path):
    days = [f"2021-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(200)]
    path = tmp_path / "x.csv"
    lines = [f"{day},{i % 7 + i % 11}%,{(i * 37) % 101},," for i, day in enumerate(days)]
    path.write_text("\n".join(["day,fill,x,note,", *lines]))
    found = inspect(path)
    assert found.questions == ()
    assert "left out column 'note': it is empty" in found.notes
    lines[9] = lines[9].replace(f",{9 * 37 % 101},", ",1.2.3,")
    path.write_text("\n".join(["day,fill,x,note,", *lines]))
    [question] = inspect(path, missing="model").questions
    assert ":11:" in question
    assert "'1.2.3' is not a number" in question
    assert "%" not in question


def test_columns_that_repeat_the_calendar_are_said():
    date = pd.date_range("2021-01-01", periods=2000, freq="h")
    parts = {"h": date.hour, "wd": date.day_of_week, "m": date.month, "doy": date.day_of_year}
    noise = np.random.default_rng(0).normal(size=2000)
    frame = pd.DataFrame({"date": date, **parts, "x": noise, "off": (date.hour + 1) % 24})
    notes = [each for each in inspect(frame).notes if "only repeats" in each]
    assert [each.split(":")[0] for each in notes] == [
        "'h' only repeats the hour of 'date'",
        "'wd' only repeats the day of week of 'date'",
        "'m' only repeats the month of 'date'",
        "'doy' only repeats the day of year of 'date'",
    ]


def test_columns_that_repeat_others_later_are_named():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400).cumsum()
    hour = np.arange(400) % 24
    table = {
        "x": x[4:],
        "same": x[4:],
        "late": x[1:-3],
        "noisy": np.where(np.arange(396) == 200, 0.0, x[:-4]),
        "cos": np.cos(np.pi * hour / 12).round(6)[4:],
        "sin": np.cos(np.pi * (hour - 6) / 12).round(6)[4:],
        "still": (np.arange(396) > 300) * 1.0,
        "still later": (np.arange(396) > 303) * 1.0,
    }
    frame = pd.DataFrame(table)
    windows = np.stack([frame.to_numpy()[i : i + 24] for i in range(396 - 24)])
    # A rhythm is not said to repeat itself, nor what hardly ever changes.
    assert lags.find(windows) == {2: (0, 3), 5: (4, 6)}
    late = "'late' is 'x' of 3 steps before, always"
    assert [note for note in inspect(frame, window=24).notes if late in note]
    # With gaps, and where sequences end, as far as all go.
    windows[::7, 9, 0] = np.nan
    windows[::3, 20:] = np.nan
    assert lags.find(windows) == {2: (1, 3), 5: (4, 6)}
    # A control: what is noisy at one step of all is no copy.
    assert 3 not in lags.find(windows)
    assert lags.find(np.delete(windows, [0, 1, 4], axis=2)) == {}


def test_directions_are_named():
    rng = np.random.default_rng(0)
    walk = rng.normal(scale=15, size=500).cumsum()
    table = {
        "wind": (walk % 360).round(),
        "dial": (walk % 100).round(),  # goes round at another number
        "chance": rng.uniform(0, 360, 500).round(),  # jumps everywhere
        "still": np.clip(np.abs(walk), 0, 360).round(),  # never goes round
        "hour": np.arange(500) % 24,
    }
    notes = [each for each in inspect(pd.DataFrame(table)).notes if "goes on at 0" in each]
    assert [note.split()[0] for note in notes] == ["'wind'"]
    whole = np.stack(list(table.values()), axis=-1).reshape(20, 25, 5)
    assert angles.find(whole) == [0]
    assert angles.find(np.where(rng.random(whole.shape) < 0.1, np.nan, whole)) == [0]
