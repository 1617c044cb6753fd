"""Loading from every source, windows, and splits that share no value."""

import datetime
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.data import layout
from seqgan_jax.data.layout import Sequences, load, split
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.processes import simulators

RNG = np.random.default_rng(1)


def series_csv(path, steps, header="t,x"):
    path.write_text(header + "\n" + "".join(f"2020,{i}\n" for i in range(steps)))
    return str(path)


def test_the_bundled_set():
    weather = load("weather")
    assert weather.x_NTD.shape == (1442, 20, 5)
    assert weather.x_NTD.dtype == np.float64
    assert weather.names == ("precipitation", "temp_max", "temp_min", "wind", "weather")
    words = weather.form.columns[4].categories
    assert words == ("drizzle", "fog", "rain", "snow", "sun")
    first, last = weather.x_NTD[0, 0].tolist(), weather.x_NTD[-1, -1].tolist()
    assert first == [0.0, 12.8, 5.0, 4.7, words.index("drizzle")]  # 1 January 2012
    assert last == [0.0, 5.6, -2.1, 3.5, words.index("sun")]  # 31 December 2015
    assert weather.starts_N is not None
    assert weather.starts_N.tolist() == list(range(1442))
    rain = load("weather", columns=["precipitation"], window=30, stride=30)
    assert rain.x_NTD.shape == (48, 30, 1)
    assert np.mean(rain.x_NTD == 0) == pytest.approx(0.57, abs=0.02)


def test_the_bundled_days_have_no_gap():
    lines = layout.BUNDLED["weather"].read_text().splitlines()[1:]
    days = [datetime.date.fromisoformat(line.split(",")[0]) for line in lines]
    start = datetime.date(2012, 1, 1)
    assert days == [start + datetime.timedelta(days=i) for i in range(1461)]


def test_the_default_is_the_users_file_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(None).source == "weather"
    (tmp_path / "save").mkdir()
    (tmp_path / "save" / "real_data.txt").write_text("1 2 3\n" * 20)
    loaded = load(None)
    assert loaded.source == "save/real_data.txt"
    assert loaded.x_NTD.shape == (20, 3, 1)


@pytest.mark.parametrize("name", simulators.NAMES)
def test_simulators_by_name(name):
    drawn = load(name, window=5, num_sequences=30, seed=3)
    assert drawn.x_NTD.shape[:2] == (30, 5)
    assert drawn.x_NTD.dtype == np.float64
    assert len(drawn.names) == drawn.x_NTD.shape[2]
    assert drawn.starts_N is None
    again = load(name, window=5, num_sequences=30, seed=3)
    other = load(name, window=5, num_sequences=30, seed=4)
    assert np.array_equal(drawn.x_NTD, again.x_NTD)
    assert not np.array_equal(drawn.x_NTD, other.x_NTD)


def test_a_name_goes_before_a_file_and_a_path_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weather").write_text("1 2\n" * 20)
    assert load("weather").x_NTD.shape == (1442, 20, 5)
    assert load("./weather").x_NTD.shape == (20, 2, 1)


def test_an_unknown_name():
    with pytest.raises(DataError, match="Bundled: weather; simulators: ar1"):
        load("wether")


def test_a_file_is_read_without_jax(tmp_path):
    (tmp_path / "a.txt").write_text("1 2\n" * 20)
    program = (
        "import sys\nfrom seqgan_jax.data.layout import load\nload(sys.argv[1])\n"
        "assert 'seqgan_jax.data.layout' in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.txt")], check=True)


def test_text_is_time_major(tmp_path):
    x = RNG.normal(size=(25, 4, 3))
    path = tmp_path / "a.txt"
    lines = [
        " ".join(repr(float(x[n, t, d])) for t in range(4) for d in range(3)) for n in range(25)
    ]
    path.write_text("\n".join(lines))
    loaded = load(str(path), features=3)
    assert np.array_equal(loaded.x_NTD, x)
    assert loaded.names == ("x1", "x2", "x3")
    assert load(str(path)).x_NTD.shape == (25, 12, 1)
    assert load(str(path)).names == ("x",)
    with pytest.raises(DataError, match="12 numbers a line are not a multiple of --features 5"):
        load(str(path), features=5)


def test_a_csv_without_header_is_a_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("1,2,3,4\n" * 20)
    assert load(str(path)).x_NTD.shape == (20, 4, 1)
    assert load(str(path), features=2).x_NTD[0].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(UsageError, match="no header line"):
        load(str(path), columns=["a"])


@pytest.mark.parametrize(("window", "stride"), [(2, 1), (5, 1), (5, 3), (4, 9), (50, 2)])
def test_windows_against_a_loop(tmp_path, window, stride):
    series = RNG.normal(size=(200, 2))
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in series.tolist()))
    loaded = load(str(path), window=window, stride=stride)
    expected = [series[i : i + window] for i in range(0, 200 - window + 1, stride)]
    assert np.array_equal(loaded.x_NTD, np.array(expected))
    assert loaded.starts_N is not None
    assert loaded.starts_N.tolist() == list(range(0, 200 - window + 1, stride))
    assert load(str(path), columns=["b"]).names == ("b",)


def test_a_series_too_short_for_its_windows(tmp_path):
    path = series_csv(tmp_path / "a.csv", 30)
    with pytest.raises(DataError, match="length 30 is shorter than --window 31"):
        load(path, window=31)
    for window, number in ((20, 11), (30, 1)):
        said = f"30 steps give {number} windows of --window {window} at --stride 1"
        with pytest.raises(DataError, match=said):
            load(path, window=window)


def test_one_sequence_in_long_format_is_too_few(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sequence,step,x\n" + "".join(f"0,{t},{t}.5\n" for t in range(30)))
    with pytest.raises(DataError, match="1 sequence"):
        load(str(path))


def test_a_column_that_counts_is_told(tmp_path):
    loaded = load(series_csv(tmp_path / "a.csv", 60))
    assert loaded.names == ("t",)
    assert loaded.notes == ("'x' is the time index, not a value",)
    assert load(str(tmp_path / "a.csv"), columns=["x"]).names == ("x",)


def test_copies_of_sequences_are_told(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{i} 1\n" for i in [*range(20), 3, 3]))
    assert load(str(path), layout="rows").notes == ("2 of 22 sequences are exact copies of others",)
    path.write_text("".join(f"{i} 1\n" for i in [*range(20), 3, 4]))
    assert load(str(path), layout="rows").notes == ("2 of 22 sequences are exact copies of others",)
    path.write_text("".join(f"{i} 1\n" for i in [*range(20), 19]))
    assert load(str(path), layout="rows").notes == ("1 of 21 sequences are exact copies of others",)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16, np.uint8, np.longdouble])
def test_arrays(tmp_path, suffix, dtype):
    path = tmp_path / f"a.{suffix}"
    x = (RNG.normal(size=(20, 3, 2)) * 10).clip(0).astype(dtype)
    for array, shape in ((x, (20, 3, 2)), (x[..., 0], (20, 3, 1)), (np.asfortranarray(x), None)):
        if suffix == "npy":
            np.save(path, array)
        else:
            np.savez(path, some_name=array)
        loaded = load(str(path)).x_NTD
        assert loaded.shape == (shape or x.shape)
        assert loaded.dtype == np.float64
        assert loaded.flags.c_contiguous
        assert np.array_equal(loaded.reshape(array.shape), array.astype(np.float64))


def test_several_arrays_in_one_file(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, y=np.zeros((20, 3)), data=np.ones((20, 4)))
    assert load(path).x_NTD.shape == (20, 4, 1)
    np.savez(path, y=np.zeros((20, 3)), z=np.ones((20, 4)))
    with pytest.raises(DataError, match=r"holds 2 arrays \('y', 'z'\)"):
        load(path)
    np.savez(path, x=np.zeros((20, 3)), data=np.ones((20, 4)))
    with pytest.raises(DataError, match="call the one to be read 'x'"):
        load(path)
    for number, end in ((10, r"'a9'\)"), (11, r"'a9', \.\.\.\)")):
        np.savez(path, **{f"a{i}": np.zeros((20, 3)) for i in range(number)})
        with pytest.raises(DataError, match=f"holds {number} arrays .*{end}"):
            load(path)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((20, 3), bool), "holds bool"),
        (np.zeros((20, 3), complex), "holds complex128"),
        (np.full((20, 3), "1"), "holds <U1"),
        (np.full((20, 3), 1, object), "only plain numbers are read"),
        (np.zeros(20), r"has shape \(20,\).*long series"),
        (np.zeros((20, 3, 1, 1)), r"has shape \(20, 3, 1, 1\)"),
        (np.zeros((20, 0)), r"has shape \(20, 0\)"),
        (np.zeros((20, 1)), "1 step in a sequence; at least 2"),
        (np.zeros((19, 3)), "19 sequences; at least 20"),
        (np.zeros((1, 3)), "1 sequence; at least 20"),
        (
            np.where(np.eye(20) > 0, np.nan, 1),
            r"x\[0, 0\] is nan; .* \(first of 20 values.*--missing drop",
        ),
        (
            np.full((20, 2), np.longdouble("1e999")),
            r"x\[0, 0\] is inf.* finite\)\. Correct them\.$",
        ),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        load(str(tmp_path / "a.npy"), missing="error")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("damage", ["empty", "text", "cut", "header"])
def test_damaged_arrays(tmp_path, suffix, damage):
    path = tmp_path / f"a.{suffix}"
    (np.save if suffix == "npy" else np.savez)(path, np.ones((20, 30)))
    whole = path.read_bytes()
    damaged = {
        "empty": b"",
        "text": b"1 2 3\n" * 50,
        "cut": whole[:200],
        "header": whole[:2] + b"\xff" * 40 + whole[42:],
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"cannot be read as an array: .* Save it again") as caught:
        load(str(path))
    if damage == "cut" and suffix == "npy":
        assert "it is 200 bytes long and should be 4,928" in str(caught.value)


def test_arrays_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    (tmp_path / "b.npz").mkdir()
    for name, said in (("a.npy", "is a pipe"), ("b.npz", "is a directory"), ("c.npy", "no such")):
        with pytest.raises(DataError, match=said):
            load(str(tmp_path / name))


def test_arguments_that_mean_nothing(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((20, 3)))
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n" * 60)
    array, series = str(tmp_path / "a.npy"), str(tmp_path / "a.csv")
    for source, arguments, said in (
        ("weather", {"window": 1}, "--window 1 is too small. It must be at least 2"),
        ("weather", {"stride": 0}, "--stride 0 is too small"),
        ("weather", {"features": 0}, "--features 0 is too small"),
        ("weather", {"features": 2}, "--features has no meaning"),
        ("ar1", {"features": 2}, "--features has no meaning"),
        ("ar1", {"num_sequences": 19}, "--num-sequences 19 is too small"),
        ("ar1", {"columns": ["x"]}, "--columns has no meaning"),
        (array, {"columns": ["x"]}, "--columns has no meaning"),
        (array, {"features": 2}, r"save an array \[N, T, D\]"),
        (series, {"features": 2}, "--features has no meaning"),
        (series, {"columns": "ab"}, "must be a list of names"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            load(source, **arguments)
        assert caught.value.exit_code == 2
    assert load(series, features=1, columns=()).names == ("a", "b")  # the defaults of the flags


def test_what_does_not_fit_into_memory(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"--num-sequences 100,000 of --window 1,000,000 steps"):
        load("ar1", num_sequences=100_000, window=1_000_000)

    def full(*_):
        raise MemoryError

    path = series_csv(tmp_path / "a.csv", 60)
    monkeypatch.setattr(np, "ascontiguousarray", full)
    with pytest.raises(DataError, match=r"a\.csv: 41 windows of 20 steps do not fit in memory"):
        load(path)


def test_a_file_without_suffix_is_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("1 2 3\n" * 20)
    assert load("mine").x_NTD.shape == (20, 3, 1)


def test_an_array_that_may_not_be_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((20, 3)))

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read: Permission denied\. Check that"):
        load(str(tmp_path / "a.npy"))


def fits(starts, window, held_out, validation):
    """Whether three parts in these fractions have no step in common, by trying each window."""
    left = list(starts)
    for fraction in (held_out, validation):
        part = left[-max(1, round(fraction * len(starts))) :]
        left = [start for start in left if start + window <= part[0]]
        if not left:
            return False
    return True


@given(
    steps=st.integers(30, 400),
    window=st.integers(2, 30),
    stride=st.integers(1, 40),
    held_out=st.floats(0.01, 0.4),
    validation=st.floats(0.01, 0.4),
)
@settings(max_examples=200, deadline=None)
def test_no_value_of_a_series_is_in_two_parts(steps, window, stride, held_out, validation):
    starts = np.arange(0, steps - window + 1, stride)
    if len(starts) == 0:
        return
    x = (starts[:, None] + np.arange(window))[..., None].astype(float)
    sequences = Sequences(x, ("x",), "a.csv", starts)
    if not fits(starts, window, held_out, validation):
        with pytest.raises(DataError, match=r"^a\.csv: .* too few to split"):
            split(sequences, held_out, validation)
        return
    parts = split(sequences, held_out, validation)
    train, validated, held = parts.train_NTD, parts.validation_NTD, parts.held_out_NTD
    assert len(train) > 0
    assert train.max() < validated.min()
    assert validated.max() < held.min()
    assert held.max() == x.max()
    assert len(held) == max(1, round(held_out * len(x)))
    assert len(validated) == max(1, round(validation * len(x)))
    # No more is dropped than must be: the next window of each part would reach across the border.
    for before, after in ((train, validated), (validated, held)):
        assert before.max() + stride >= after.min()


@given(n=st.integers(3, 200), seed=st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_a_table_is_split_at_random_into_all_of_it(n, seed):
    x = np.arange(2.0 * n).reshape(n, 2, 1)
    parts = split(Sequences(x, ("x",), "a.txt", None), seed=seed)
    together = np.concatenate([parts.train_NTD, parts.validation_NTD, parts.held_out_NTD])
    assert len(parts.held_out_NTD) == len(parts.validation_NTD) == max(1, round(n / 10))
    assert np.array_equal(np.sort(together.ravel()), x.ravel())


def test_the_seed_chooses_the_parts_of_a_table():
    table = Sequences(np.arange(200.0).reshape(100, 2, 1), ("x",), "a.txt", None)
    first, same, other = (split(table, seed=seed).held_out_NTD for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, table.x_NTD[-10:])


@pytest.mark.parametrize(
    ("held_out", "validation"),
    [(0, 0.1), (0.1, 0), (-0.1, 0.1), (0.6, 0.1), (math.nan, 0.1), (0.5, 0.4), (0.1, math.inf)],
)
def test_fractions_that_are_impossible(held_out, validation):
    table = Sequences(np.arange(200.0).reshape(100, 2, 1), ("x",), "a.txt", None)
    with pytest.raises(UsageError, match=r"--held-out|--validation"):
        split(table, held_out, validation)


def test_too_few_to_split():
    x = np.arange(30.0)[:, None] + np.arange(20.0)
    with pytest.raises(DataError, match=r"30 sequences of 20 steps are too few .*--window"):
        split(Sequences(x[..., None], ("x",), "a.csv", np.arange(30)))


def test_infinite_values_are_no_missing_values(tmp_path):
    x = np.ones((30, 3))
    x[0, 1], x[2, 2] = np.nan, np.inf
    np.save(tmp_path / "a.npy", x)
    said = r"x\[2, 2\] is inf \(first of 1 values that are not finite\)\. Correct them\.$"
    with pytest.raises(DataError, match=said):
        load(str(tmp_path / "a.npy"), missing="drop")
    with pytest.raises(DataError, match=r"x\[0, 1\] is nan; x\[2, 2\] is inf.*--missing drop"):
        load(str(tmp_path / "a.npy"), missing="error")
