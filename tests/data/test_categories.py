"""Columns of words are learned as codes, and samples have the words again."""

import json

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import inspect
from seqgan_jax.data import categories, layout
from seqgan_jax.data.form import Form
from seqgan_jax.data.layout import from_python, load
from seqgan_jax.data.writing import from_frame, rounded, save_sequences, to_frame
from seqgan_jax.errors import DataError

RNG = np.random.default_rng(0)
SKY = ("fog", "rain", "snow, sleet", "sun")


def sky(rows):
    return np.array(SKY, object)[np.r_[np.arange(4), RNG.integers(0, 4, rows - 4)]]


def series(rows=200, **more):
    day = pd.date_range("2021-01-01", periods=rows)
    level = RNG.normal(size=rows).round(2)
    return pd.DataFrame({"day": day, "sky": sky(rows), "level": level} | more)


def panel(number=30, steps=8, **of_sequence):
    """Sequences with an id, a date, words in each row and words of each sequence."""
    day = pd.date_range("2021-01-01", periods=steps)
    frame = pd.DataFrame(
        {
            "who": np.repeat([f"p{i:02d}" for i in range(number)], steps),
            "day": np.tile(day, number),
            "sky": sky(number * steps),
            "level": RNG.normal(size=number * steps),
        }
    )
    return frame.assign(**{k: np.repeat(v, steps) for k, v in of_sequence.items()})


def read(frame, **settings):
    return from_python(frame, layout.DataConfig(**settings))


def saved(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return str(path)


def why(found, name):
    return dict(found.form.left_out)[name]


def words_in(found, name):
    """The words in x_NTD, by the form's categories."""
    d = found.names.index(name)
    return np.array(found.form.columns[d].categories, object)[found.x_NTD[..., d].astype(int)]


# ------------------------------------------------------------------ in


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".xlsx"])
def test_words_of_a_file_become_codes_in_their_order(tmp_path, suffix):
    frame = series()
    found = load(saved(frame, tmp_path / f"x{suffix}"), window=4, stride=4)
    column = found.form.columns[0]
    assert (column.name, column.kind, column.categories) == ("sky", "categorical", SKY)
    assert (column.low, column.high, column.grid, column.atoms) == (0, 3, None, ())
    assert found.x_NTD.dtype == np.float64
    assert found.names == ("sky", "level")
    assert words_in(found, "sky").ravel().tolist() == frame["sky"].tolist()
    assert "'sky' is learned as a category of 4: fog, rain, snow, sleet, sun" in found.notes
    assert Form.from_json(json.loads(json.dumps(found.form.to_json()))) == found.form


def test_words_of_rows_and_of_whole_sequences_in_long_format(tmp_path):
    frame = panel(region=np.array(["north", "south", "west"] * 10, object))
    for found in (read(frame), load(saved(frame, tmp_path / "x.csv"))):
        assert [each.name for each in found.form.ids] == ["who"]
        assert found.names == ("sky", "level", "region")
        assert words_in(found, "sky").ravel().tolist() == frame["sky"].tolist()
        assert words_in(found, "region")[:, 0].tolist() == ["north", "south", "west"] * 10
        assert np.ptp(found.x_NTD[..., 2], axis=1).max() == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"w{i % 51}" for i in range(510)], "words (51 different): at most 50"),
        ([f"w{i % 50}" for i in range(240)], "each there 4.8 times on average; 5 are needed"),
        (["on"] * 200, "words (1 different)"),
        ([f"2020-01-{1 + i % 28:02d}" for i in range(200)], "dates"),
        ([f"{1 + i % 2}/{1 + i % 7}/2020" for i in range(200)], "dates"),
        ([f"{4 + i % 3}:{10 + i % 5}.5" for i in range(200)], "times such as 4:10.5: write them"),
        (pd.to_timedelta(np.arange(200) % 3, unit="h"), "no words"),
        (["a", "b\nc"] * 100, "line breaks"),
        (["a", "b" * 300] * 100, "very long"),
    ],
)
def test_what_is_no_category_is_left_out_and_said(words, said):
    # In the order of a reader's rows: dates that go round are no time index.
    frame = series(len(words), other=words)
    found = read(frame, time=("day",))
    assert found.names == ("sky", "level")
    assert said in why(found, "other")
    assert any(said in note for note in found.notes)


def test_fifty_words_and_five_times_are_enough():
    found = read(series(250, other=[f"w{i % 50:02d}" for i in range(250)]))
    assert found.form.columns[2].categories == tuple(f"w{i:02d}" for i in range(50))


def test_words_that_name_the_sequences_are_no_category():
    frame = panel(30, region=[f"r{i % 16}" for i in range(30)], code=np.arange(30))
    name = frame["who"].map(lambda who: f"name of {who}")
    found = read(frame.assign(name=name), id=("code",), time=("day",))
    assert "it names them" in why(found, "name")
    assert "it names them" in why(found, "who")
    assert "stay in each of 30 sequences: fewer than 2" in why(found, "region")
    assert found.names == ("sky", "level")
    half = panel(30, region=[f"r{i % 15:02d}" for i in range(30)])
    assert len(read(half).form.columns[2].categories) == 15
    as_many = [f"w{i % 30}" for i in range(240)]  # as there are sequences, but other ones in each
    assert len(read(panel().assign(sky=as_many)).form.columns[0].categories) == 30


def test_columns_asks_for_words_that_are_rare_and_not_for_text():
    frame = series(60, rare=[f"w{i % 30}" for i in range(60)], text=[f"t{i}" for i in range(60)])
    assert len(read(frame, columns=("rare",)).form.columns[0].categories) == 30
    with pytest.raises(DataError, match=r"column 'text' cannot be learned: words \(60 different\)"):
        read(frame, columns=("level", "text"))


def test_a_series_of_words_alone():
    found = read(pd.DataFrame({"step": np.arange(100), "state": sky(100)}))
    assert found.names == ("state",)
    assert found.form.time.name == "step"


def test_inspect_shows_the_words():
    found = inspect(series())
    assert found.columns[0].categories == SKY
    assert found.to_dict()["columns"][0]["kind"] == "categorical"
    assert "4: fog, rain, snow, sleet, sun" in str(found)
    assert found.questions == ()


# ------------------------------------------------------------------ missing words


def with_gaps():
    frame = series(120)
    frame.loc[[0, 1, 50, 51, 119], "sky"] = None
    frame.loc[[70], "level"] = np.nan
    return frame


def test_missing_words_are_refused_with_their_place(tmp_path):
    frame = with_gaps().assign(level=1.5)
    with pytest.raises(DataError, match=r"x, row 1: 'sky' is missing \(first of 5\). --missing"):
        read(frame, missing="error")
    with pytest.raises(DataError, match=r"x\.csv:2:1: 'sky' is missing \(first of 5\)"):
        load(saved(frame, tmp_path / "x.csv"), missing="error")
    path = saved(with_gaps(), tmp_path / "y.csv")
    with pytest.raises(DataError, match=r"y\.csv:72:\d+: a number is missing"):
        load(path, missing="error")  # and the words before it are not called bad numbers


def test_missing_words_are_left_out_or_the_word_before():
    frame = with_gaps()
    dropped = read(frame, window=4, missing="drop")
    good = [i for i in range(117) if not frame[i : i + 4].isna().to_numpy().any()]
    assert dropped.starts_N.tolist() == good
    filled = read(frame, window=4, stride=4, missing="interpolate")
    expected = frame["sky"].ffill().bfill().tolist()
    assert words_in(filled, "sky").ravel().tolist() == expected
    level = frame["level"].to_numpy()
    assert filled.x_NTD.reshape(-1, 2)[70, 1] == pytest.approx((level[69] + level[71]) / 2)


def test_yes_and_no_are_not_halved_in_a_gap():
    on = pd.array([True, False, None, True] * 30, "boolean")
    found = read(series(120, on=on), window=4, stride=4, missing="interpolate")
    assert found.x_NTD[..., 2].tolist() == [[1, 0, 0, 1]] * 30


def test_the_mean_of_a_time_that_is_there_twice_is_no_other_word():
    frame = series(100)
    twice = pd.concat([frame, frame.assign(sky=frame["sky"].to_numpy()[::-1], level=0.0)])
    found = read(twice.reset_index(drop=True), window=4, stride=4, duplicates="mean")
    assert words_in(found, "sky").ravel().tolist() == frame["sky"].tolist()
    assert found.x_NTD[..., 1].ravel() == pytest.approx(frame["level"].to_numpy() / 2)
    assert any("mean taken, of words the first" in note for note in found.notes)


# ------------------------------------------------------------------ out


@pytest.mark.parametrize(
    "column",
    [
        pd.array(["b", "a", "c", "a"] * 50, "str"),
        pd.array(["b", "a", "c", "a"] * 50, "string"),
        np.array(["b", "a", "c", "a"] * 50, object),
        np.array(["Yes", "No"] * 100, object),
        pd.array(["yes", "no"] * 100, "str"),
        np.array([True, False] * 100),
        pd.Categorical(["b", "a", "c", "a"] * 50, ["c", "b", "unused", "a"], ordered=True),
        pd.Categorical(["yes", "no"] * 100, ["yes", "no"]),
        pd.Categorical(["10", "9"] * 100),
        pd.Categorical([" a", "b "] * 100),
        pd.Categorical([7, 3, 3, 5] * 50, [7, 5, 3]),
        pd.Categorical([2.5, -1.0] * 100),
    ],
    ids=str,
)
def test_samples_have_the_dtype_and_the_words_of_the_frame(column):
    frame = pd.DataFrame({"level": RNG.normal(size=200), "sky": column})
    found = read(frame, layout="series", window=4, stride=4)
    made = to_frame(found.x_NTD, found.form)
    assert made["sky"].dtype == frame["sky"].dtype
    assert made["sky"].tolist() == frame["sky"].tolist()
    if isinstance(column, pd.Categorical):
        assert made["sky"].cat.categories.equals(column.categories)
        assert found.form.columns[1].categories == tuple(map(str, column.categories))
    assert np.array_equal(from_frame(made, found.form, 4), found.x_NTD)


def test_a_series_without_numbers_is_one_sequence_or_is_told_how_to_number_them():
    frame = series()
    found = read(frame, window=4, stride=4)
    assert np.array_equal(from_frame(frame[:4], found.form, 4), found.x_NTD[:1])
    with pytest.raises(
        DataError, match=r"frame\.assign\(sequence=np\.arange\(len\(frame\)\) // 4\)"
    ):
        from_frame(frame, found.form, 4)
    whole = frame[: 4 * len(found.x_NTD)]
    numbered = whole.assign(sequence=np.arange(len(whole)) // 4)
    assert np.array_equal(from_frame(numbered, found.form, 4), found.x_NTD)


def test_values_between_codes_become_words_and_new_words_are_refused():
    found = read(series(), window=4, stride=4)
    x_NTD = found.x_NTD + RNG.uniform(-0.49, 0.49, found.x_NTD.shape)
    x_NTD[0, 0, 0] = -3.0
    codes = rounded(x_NTD, found.form)[..., 0]
    assert codes.ravel()[1:].tolist() == found.x_NTD[..., 0].ravel()[1:].tolist()
    assert codes[0, 0] == 0
    made = to_frame(x_NTD, found.form).reset_index()
    made.loc[3, "sky"] = "hail"
    with pytest.raises(DataError, match=r"column 'sky': 'hail' is none of the words .* fog, rain"):
        from_frame(made, found.form, 4)


@pytest.mark.parametrize("spelled", ["true,false", "TRUE,FALSE", "Yes,No", "no,yes", "True,False"])
def test_yes_and_no_are_written_as_they_were_read(tmp_path, spelled):
    lines = [f"{word},{i / 4}" for i, word in enumerate(spelled.split(",") * 50)]
    (tmp_path / "x.csv").write_text("\n".join(["on,v", *lines]) + "\n")
    found = load(str(tmp_path / "x.csv"), window=5, stride=5)
    assert found.form.columns[0].kind == "yes/no"
    save_sequences(tmp_path / "y.csv", found.x_NTD, found.names, found.form)
    written = [line.split(",")[2] for line in (tmp_path / "y.csv").read_text().splitlines()]
    assert written == ["on", *[line.split(",")[0] for line in lines]]


def test_a_dtype_that_is_not_known_is_text():
    assert categories.series(np.array([0.0, 1.0]), ("a", "b"), "x[y]").tolist() == ["a", "b"]


def test_lines_of_numbers_and_arrays_have_codes(tmp_path):
    found = read(series(), window=4, stride=4)
    for name in ("x.txt", "x.npy"):
        save_sequences(tmp_path / name, found.x_NTD, found.names, found.form)
        features = 2 if name == "x.txt" else None
        again = load(str(tmp_path / name), features=features)
        assert np.array_equal(again.x_NTD, rounded(found.x_NTD, found.form))
    assert (tmp_path / "x.txt").read_text().split()[0] == str(int(found.x_NTD[0, 0, 0]))


# ------------------------------------------------------------------ compared with others


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_data_have_the_codes_of_the_first(tmp_path, suffix):
    first = read(series(), window=4)
    other = series(100)
    other["sky"] = ["sun"] * 99 + ["rain"]  # some words, in one run, not 5 times each
    path = saved(other, tmp_path / f"x{suffix}")
    for found in (
        load(path, window=4, stride=4, like=first.form),
        from_python(other, layout.DataConfig(window=4, stride=4), like=first.form),
    ):
        assert found.names == first.names
        assert found.form.columns[0].categories == SKY
        assert words_in(found, "sky").ravel().tolist() == other["sky"].tolist()
    with pytest.raises(DataError, match=r"'hail' in column 'sky' is none of its words.*fog, rain"):
        load(saved(other.replace("rain", "hail"), tmp_path / f"y{suffix}"), like=first.form)


@pytest.mark.parametrize(
    "words", [("10 kg", "5 kg", "few"), ("few", *(f"{n}mm" for n in range(12)))]
)
def test_words_that_read_as_amounts_without_the_others_keep_their_codes(tmp_path, words):
    first = read(series(200, say=np.resize(words, 200)), window=4)
    assert first.form.columns[-1].categories == tuple(sorted(words))
    other = series(100, say=np.resize([word for word in words if word != "few"], 100))
    path = saved(other, tmp_path / "x.csv")
    assert load(path, window=4).form.columns[-1].categories == ()  # a number, by itself
    found = load(path, window=4, stride=4, like=first.form)
    assert words_in(found, "say").ravel().tolist() == other["say"].tolist()
    with pytest.raises(DataError, match=r"in column 'say' is none of its words"):
        load(saved(other.replace("5", "77", regex=True), tmp_path / "y.csv"), like=first.form)


def test_words_that_read_as_yes_and_no_or_are_of_the_second_alone():
    words = ["yes", "no", "maybe"]
    first = read(series(200, say=np.resize(words, 200)), window=4)
    second = series(100, say=np.resize(words[:2], 100), mood=["good", "bad"] * 50)
    found = from_python(second, layout.DataConfig(window=4, stride=4), like=first.form)
    assert found.names == first.names
    assert words_in(found, "say").ravel().tolist() == second["say"].tolist()
    second.loc[5, "say"] = None
    found = from_python(second, layout.DataConfig(window=4, missing="drop"), like=first.form)
    assert found.starts_N.tolist() == [i for i in range(97) if i not in (2, 3, 4, 5)]
    first = read(series(200, on=["yes", "no"] * 100), window=4)
    second = series(100, on=["Yes", "No"] * 50)
    found = from_python(second, layout.DataConfig(window=4), like=first.form)
    assert found.x_NTD[0, :, 2].tolist() == [1, 0, 1, 0]
    numbers = read(series(200, code=pd.Categorical(np.resize([3, 1, 2], 200), [3, 1, 2])), window=4)
    assert numbers.form.columns[2].categories == ("3", "1", "2")
    second = series(100, code=np.resize([1, 2], 100))
    found = from_python(second, layout.DataConfig(window=4, stride=4), like=numbers.form)
    assert words_in(found, "code").ravel().tolist() == np.resize(["1", "2"], 100).tolist()


# ------------------------------------------------------------------ words that look like others


def test_none_is_a_word_among_words_and_missing_among_numbers(tmp_path):
    alarm = np.resize(["none", "low", "high", "none"], 200)
    path = saved(series(200, alarm=alarm), tmp_path / "x.csv")
    for found in (load(path), read(series(200, alarm=pd.Categorical(alarm)))):
        assert found.form.columns[2].categories == ("high", "low", "none")
        assert any("'alarm': 'none' is one of its words; if" in note for note in found.notes)
    dropped = load(path, window=2, missing="drop", missing_values=["none"])
    assert dropped.form.columns[2].categories == ("high", "low")
    assert len(dropped.x_NTD) == 50
    numbers = saved(series(200).assign(level=["none", "1.5"] * 100), tmp_path / "y.csv")
    with pytest.raises(DataError, match="'none' is a missing value"):
        load(numbers, missing="error")


def test_a_mark_among_words_is_said(tmp_path):
    path = saved(series(200, age=np.resize(["adult", "?", "young", "-"], 200)), tmp_path / "x.csv")
    found = load(path, missing="model")
    assert found.form.columns[2].categories == ("?", "adult", "young")
    assert any("'age': '?' is one of its words; if" in note for note in found.notes)
    told = load(path, missing="model", missing_values=["?"])
    assert told.form.columns[2].categories == ("adult", "young")
    assert not any("is one of its words" in note for note in told.notes)


def test_a_few_numbers_among_words_are_words_and_a_few_words_among_numbers_are_not():
    found = read(series(200, code=np.resize(["A", "B", "7"], 200)))
    assert found.form.columns[2].categories == ("7", "A", "B")
    for odd in (["1", "2", "3", "?"], ["1", "A"]):
        with pytest.raises(DataError, match=r"column 'code': '.' is not a number"):
            read(series(200, code=np.resize(np.array(odd, object), 200)))


def test_cells_that_are_lists_are_no_categories_of_their_own():
    found = read(series(60, cell=[[i] for i in range(60)]))
    assert found.names == ("sky", "level")
    assert "60 different" in why(found, "cell")


def test_words_with_the_marks_of_other_separators_do_not_change_the_separator(tmp_path):
    day = pd.date_range("2021-01-01 22:00", periods=60, freq="D")
    frame = pd.DataFrame({"day": day, "sky": np.resize(["fog;ice", "sun;sea"], 60)})
    found = load(saved(frame, tmp_path / "x.csv"))
    assert found.form.columns[0].categories == ("fog;ice", "sun;sea")


@pytest.mark.parametrize("word", ['"True"', "True", '"true"'])
def test_true_and_false_are_bools_however_a_text_is_read(tmp_path, word):
    # A quote within a cell makes the reader look at each cell by itself.
    lines = [f'{word},a"b', f"{word.replace('T', 'F').replace('t', 'f').replace('rue', 'alse')},c"]
    (tmp_path / "x.csv").write_text("\n".join(["on,sky", *lines * 50]) + "\n")
    column = load(str(tmp_path / "x.csv")).form.columns[0]
    assert (column.kind, column.dtype) == ("yes/no", "bool")
    assert column.categories == (("false", "true") if "t" in word[:2] else ())
