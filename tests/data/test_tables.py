"""What is read from text, what is refused, and how the place and the reason are told."""

import gzip
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgan_jax.data import cells, dialect, evidence, layout, tables, texts, windows
from seqgan_jax.data.evidence import Wanted
from seqgan_jax.data.windows import Cut
from seqgan_jax.errors import DataError, UsageError


def load(source, **settings):
    """Of files in which no value may be missing: what is no number is told with its place."""
    return layout.load(source, **{"missing": "error"} | settings)


GOOD = "1 2 3\n" * 30


def refusal(tmp_path: Path, name: str, content: str | bytes, **arguments) -> str:
    """The message with which a file is refused, without the directory."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load(str(path), **arguments)
    assert caught.value.exit_code == 3
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()  # nothing in a file may reach the terminal as a control character
    return message.removeprefix(f"{tmp_path}/")


def table(text: str, name: str = "x.txt") -> np.ndarray:
    """The numbers of a text, a line a row, whatever the layout."""
    found = tables.of_text(Path(name), text.encode())
    reading = evidence.read(found, Wanted("rows"))
    return windows.numbers(found, reading, Cut())


@pytest.mark.parametrize(
    "text",
    [
        "1 2 3\n4 5 6\n",
        "1 2 3\n4 5 6",
        "1\t2\t3\n4\t5\t6\n",
        "1,2,3\n4,5,6\n",
        "1, 2, 3 \n4 ,\t5, 6\n",
        "1 2 3\n4,5,6\n",
        "\ufeff1 2 3\r\n4 5 6\r\n",
        "1 2 3\r4 5 6\r",
        "  1   2 3  \n4 5 6\t\n\n \n\n",
        "+1 2. 3e0\n.4e1 0.5E+1 600e-2\n",
    ],
)
def test_all_ways_to_write_the_same_table(tmp_path, text):
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode())
    x = table(texts.read_text(path).decode())
    assert x.dtype == np.float64
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]


finite = st.floats(allow_nan=False, allow_infinity=False)
formats = st.sampled_from(["%r", "%.3e", "%.17g", "%+.25E", "%.1f"])


@given(
    st.lists(st.lists(st.tuples(finite, formats), min_size=3, max_size=3), min_size=1, max_size=9),
    st.sampled_from([" ", "\t", ",", " , ", "  "]),
)
@settings(max_examples=150, deadline=None)
def test_numbers_are_exactly_what_float_reads(rows, separator):
    tokens = [[form % value for value, form in row] for row in rows]
    if any(not math.isfinite(float(token)) for row in tokens for token in row):
        return  # the largest floats rounded up
    x = table("\n".join(separator.join(row) for row in tokens))
    expected = np.array([[float(token) for token in row] for row in tokens])
    # A column of whole numbers has no -0.
    assert (x + 0.0).tobytes() == (expected + 0.0).tobytes()


@given(st.text(alphabet="0123456789+-.eE_ x,;naif\u0661\u00a0\x0c\x1b", max_size=8))
@example("1,00\u0661")
@settings(max_examples=400, deadline=None)
def test_a_cell_is_read_or_refused_as_a_plain_decimal_number(cell):
    """Against an independent statement of what a number is: float() on ASCII digits alone."""
    allowed = set("0123456789+-.eE")
    token = cell.strip(" ")
    marked = re.sub(r"(?<=[0-9])[ \u00a0](?=[0-9]{3}(?![0-9]))", ",", token)
    if re.fullmatch(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{2,3})*,[0-9]{3}(\.[0-9]+)?", marked):
        token = marked.replace(",", "")  # marks between thousands are said
    try:
        value = float(token) if token and set(token) <= allowed else math.nan
    except ValueError:
        value = math.nan
    text = f'7,"{cell}"\n7,0.5'  # in quotes, so that commas belong to the cell
    if math.isfinite(value):
        assert table(text).tolist() == [[7, value], [7, 0.5]]
    else:
        with pytest.raises(DataError, match=r"^x\.txt:1:3: "):
            table(text)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("abc", "'abc' is not a number"),
        ("nan", "'nan' is a missing value"),
        ("NA", "'NA' is a missing value"),
        ("-inf", "'-inf' is not finite"),
        ("Infinity", "'Infinity' is not finite"),
        ("1e999", "too large"),
        ("9" * 400, "too large"),
        ("0x10", "hexadecimal"),
        ("1_000", "without underscores"),
        ("1.2.3", "'1.2.3' is not a number"),
        ("1e", "'1e' is not a number"),
        ("١", "'١' is not a number"),
        ("1\u00a0", r"'1\xa0' is not a number"),
        ("\x1b[31m", r"'\x1b[31m' is not a number"),
        ("\u202e1", r"'\u202e1' is not a number"),
        ("1;2", "Put the same separator"),
        ("(1+2j)", "'(1+2j)' is not a number"),
        ("z" * 500, "'" + "z" * 37 + "...' is not a number"),
    ],
)
@pytest.mark.parametrize("separator", [" ", ", ", "\t"])
def test_a_bad_token_is_told_with_its_place(tmp_path, token, said, separator):
    bad = separator.join(["10", token, "3"])
    message = refusal(tmp_path, "d.txt", f"{GOOD}{bad}\n{GOOD}")
    assert message.startswith(f"d.txt:31:{3 + len(separator)}: ")
    assert said in message
    assert "expected 3 numbers a line" in message


def test_the_first_three_of_all_bad_lines_are_told(tmp_path):
    lines = ["1 2"] * 40
    for i in range(4, 38, 2):
        lines[i] = "abc 2"
    message = refusal(tmp_path, "data.txt", "\n".join(lines))
    assert message.startswith(
        "data.txt:5:1: 'abc' is not a number (expected 2 numbers a line). First 3 of 17 bad lines: "
        "5:1 'abc' is not a number; 7:1 'abc' is not a number; 9:1 'abc' is not a number. "
    )
    assert "Correct these lines" in message


def test_one_bad_line_is_told_once(tmp_path):
    message = refusal(tmp_path, "d.txt", GOOD + "1 x 3\n")
    assert message == (
        "d.txt:31:3: 'x' is not a number (expected 3 numbers a line). "
        "Correct these lines, or delete them."
    )


@pytest.mark.parametrize(
    ("words", "way"),
    [
        (
            ["unavailable", "unknown"],
            "If they mean missing values: --missing-values unavailable ",
        ),
        (["#DIV/0!"], "If it means a missing value: --missing-values '#DIV/0!'."),
        (["<0.05"], "If it means a missing value: --missing-values '<0.05'."),
        (["."], "If it means a missing value: --missing-values '.'."),
        (["1.5 x"], None),
        (["a", "b", "c", "d", "e", "f"], None),
    ],
)
def test_words_among_numbers_may_be_missing_values(tmp_path, words, way):
    text = "time,v\n" + "".join(f"{i},{i * i % 61}.5\n" for i in range(60))
    text += "".join(f"{60 + i},{word}\n" for i, word in enumerate(words))
    message = refusal(tmp_path, "d.csv", text)
    assert f"d.csv:62:4: '{words[0]}' is not a number" in message
    assert "Correct these lines, or delete them." in message
    assert way in message if way else "missing" not in message
    if way:
        found = load(str(tmp_path / "d.csv"), missing="model", missing_values=words)
        assert found.form.columns[0].missing == pytest.approx(len(words) / (60 + len(words)))


def test_a_token_is_shown_whole_up_to_40_characters():
    assert cells.quote("z" * 40) == repr("z" * 40)
    assert cells.quote("z" * 41) == repr("z" * 37 + "...")


def test_bad_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK_BYTES", 50)
    lines = ["1 2 3"] * 100
    lines[10] = lines[60] = lines[61] = lines[99] = "1 x 3"
    message = refusal(tmp_path, "d.txt", "\n".join(lines))
    assert message.startswith("d.txt:11:3: 'x'")
    assert "First 3 of 4 bad lines: 11:3 'x' is not a number; 61:3 'x'" in message
    lines = ["a,b"] + ["1,2"] * 99
    lines[10] = lines[60] = lines[61] = lines[99] = "1,"
    message = refusal(tmp_path, "d.csv", "\n".join(lines))
    assert message.startswith("d.csv:11:3: a number is missing")
    assert "First 3 of 4 bad lines: 11:3 a number is missing; 61:3 a" in message


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_blocks_do_not_change_what_is_read(monkeypatch, size):
    monkeypatch.setattr(cells, "BLOCK_BYTES", size)
    x = np.random.default_rng(0).normal(size=(50, 4))
    text = "\n".join(",".join(map(repr, row)) for row in x.tolist())
    assert np.array_equal(table(text), x)
    lines = [*text.split("\n"), '1,2,3,"4"']  # a quote: read with more care
    assert np.array_equal(table("\n".join(lines)), [*x.tolist(), [1, 2, 3, 4]])


def test_ragged_lines_are_those_unlike_most(tmp_path):
    message = refusal(tmp_path, "d.txt", GOOD + "1 2\n" + GOOD + "1 2 3 4\n")
    assert message.startswith("d.txt:31:1: 2 numbers on this line (expected 3 numbers a line).")
    assert "All 2 bad lines: 31:1 2 numbers on this line; 62:1 4 numbers on this line" in message
    message = refusal(tmp_path, "d.txt", "1 2\n" + GOOD)
    assert message.startswith("d.txt:1:1: 2 numbers on this line (expected 3 numbers a line).")


def test_one_number_a_line_is_what_most_lines_have(tmp_path):
    message = refusal(tmp_path, "d.txt", "1\n" * 30 + "2 3\n")
    assert message.startswith("d.txt:31:1: 2 numbers on this line (expected 1 number a line).")


def test_two_numbers_under_one_name_are_none(tmp_path):
    message = refusal(tmp_path, "d.csv", "a\n" + "1\n" * 60 + "1 2\n")
    assert message.startswith("d.csv:62:1: '1 2' is not a number")


def test_good_lines_before_many_that_are_too_short(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "BLOCK_BYTES", 50)
    message = refusal(tmp_path, "d.csv", "a,b,c\n" + "1,2,3\n" * 60 + "\n" * 600 + "1,2,3\n")
    assert message.startswith("d.csv:62:1: the line is empty")


def test_columns_without_a_name_are_not_listed(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,,b\n" + "1,2,3\n" * 60)
    with pytest.raises(DataError, match=r"no column 'c' \(the columns are 'a', 'b'\)"):
        load(str(path), columns=["c"])


def test_the_longest_line(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST_LINE", 60)
    path = tmp_path / "d.txt"
    lines = [" ".join(["1.25", "22"] * 7 + ["1.25"])] * 30
    path.write_text("\n".join(lines))  # 60 characters each
    assert texts.read_text(path).count(b"\n") == 29
    lines[10] += "5"
    message = refusal(tmp_path, "d.txt", "\n".join(lines))
    assert message.startswith("d.txt:11:1: the line is longer than 60 bytes. Put one sequence on")


def test_a_blank_line_in_the_middle(tmp_path):
    message = refusal(tmp_path, "d.txt", GOOD + "\n" + GOOD)
    assert message.startswith("d.txt:31:1: the line is empty")


@pytest.mark.parametrize("line", ["1,,3", ",2,3", "1, ,3"])
def test_an_empty_cell_is_not_skipped(tmp_path, line):
    message = refusal(tmp_path, "d.txt", "1,2,3\n" * 30 + line)
    assert message.startswith("d.txt:31:")
    assert "a number is missing" in message


def test_decimal_commas_between_blanks_are_recognised(tmp_path):
    message = refusal(tmp_path, "d.txt", "1,5 2,7 3,1\n" * 30)
    assert "looks like a decimal comma" in message
    assert "Write 1.5, not 1,5" in message


def test_a_header_in_a_text_file(tmp_path):
    (tmp_path / "d.txt").write_text("Open Close Volume\n" + "1 2 3\n1 3 9\n" * 30)
    found = load(str(tmp_path / "d.txt"))
    assert found.names == ("Open", "Close", "Volume")
    assert "line 1 is taken as a header" in found.notes
    assert "'Open' is not a number" in refusal(tmp_path, "d.txt", GOOD + "Open 1 2\n")


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (b"", "", "the file is empty"),
        (b" \n\r\n\t\n", "", "the file is empty"),
        (b"\xef\xbb\xbf", "", "the file is empty"),
        (GOOD.encode("utf-16"), ":1:1", "UTF-16"),
        (GOOD.encode("utf-16-be"), ":1:1", "UTF-16"),
        (GOOD.encode() + b"1 \0 3\n", ":31:3", "NUL byte"),
        ("é é\n".encode() + b"\xc3\xa9\xe9 2\n", ":2:2", "byte 0xe9 is not UTF-8"),
    ],
)
def test_files_that_are_no_text(tmp_path, content, place, said):
    message = refusal(tmp_path, "d.txt", content)
    assert message.startswith(f"d.txt{place}: ")
    assert said in message


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text(GOOD)
    for name, said in (
        ("missing.txt", f"no such file (looked for {tmp_path}/missing.txt)"),
        ("a.txt/b", "no such file"),
        ("", "is a directory"),
        ("pipe", "is a pipe"),
        ("a\0b", "cannot be read"),
        ("n" * 300, "cannot be read"),
    ):
        with pytest.raises(DataError) as caught:
            load(f"{tmp_path}/{name}")
        assert said in str(caught.value)
    with pytest.raises(DataError, match="is a pipe, device"):
        load("/dev/null")


def test_an_unreadable_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(GOOD)

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: Permission denied"):
        load(str(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2", ["a", "b"]),
        ("a\n1", ["a"]),
        ("air temperature\n1", ["air temperature"]),
        (',"x, y",z\n0,1,2', ["", "x, y", "z"]),
        ('"say ""hi""",b\n1,2', ['say "hi"', "b"]),
        ("place,code,1990,1991,1992,\nA,B,1,2,3,", ["place", "code", "1990", "1991", "1992", ""]),
        ("place,code,1990,7,1992\nA,B,1,2,3", None),
        ("sequence,step,2020\n0,0,1", ["sequence", "step", "2020"]),
        ("1,2\n3,4", None),
        ("1 2\n3 4", None),
        ("nan,1\n3,4", None),
        ("nan\n1", None),
        ("null,x\n1,2", None),
        ("1,abc\n3,4", None),
        (",\n3,4", None),
    ],
)
def test_what_counts_as_a_header(text, header):
    found = dialect.find(Path("x.csv"), text.encode())
    assert found.header == (None if header is None else tuple(header))


def columns(text: str, wanted: tuple[str, ...] = ()):
    """(names, values, notes) of a CSV that is one series."""
    found = tables.of_text(Path("x.csv"), text.rstrip().encode())
    reading = evidence.read(found, Wanted("series", columns=wanted))
    x_LD = windows.numbers(found, reading, Cut())
    return tuple(found.names[d] for d in reading.learned), x_LD, reading.notes


def test_columns_by_name_and_those_without_numbers():
    text = 'day,"a, b",c,\nMon,1,"2",0\n"Tue",3,4,1\n'
    names, x, notes = columns(text)
    assert names == ("a, b", "c")
    assert x.tolist() == [[1, 2], [3, 4]]
    assert notes == (
        "left out column 'day': words (2 different), each there 1 times on average; 5 are needed "
        "to learn it. Group rare words, or name it in --columns",
        "left out column 4, which has no name: it has no name (numbers of rows?)",
    )
    names, x, notes = columns(text, ("c", "a, b"))
    assert names == ("c", "a, b")
    assert x.tolist() == [[2, 1], [4, 3]]
    assert notes == ()


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("a,b\n1,2", ["c"], r"x.csv:1:1: there is no column 'c' \(the columns are 'a', 'b'\)"),
        ("day,b\nMon,2", ["day"], "x.csv:2:1: 'Mon' is not a number"),
        ("a,b\nx,2\n1,2", None, r"x.csv:2:1: 'x' is not a number .*--columns"),
        ("a,b\n,2\n1,2", None, "x.csv:2:1: a number is missing"),
        ("a,b\n1,2\n1,\n", None, "x.csv:3:3: a number is missing"),
        ("a,b\n1,  nan\n2,3\n", None, "x.csv:2:5: 'nan' is a missing value"),
        ('a,b\n1,"1,5"\n2,3\n', None, "x.csv:2:3: '1,5' is not a number; .* decimal comma"),
        ('a,b\n1,"0,785"\n2,3\n', None, "x.csv:2:3: '0,785' is not a number; .* decimal comma"),
        ("a,b\n1,1_0\n", None, "x.csv:2:3: '1_0'"),
        ("a,b\n1,1e999\n", None, "x.csv:2:3: '1e999' is too large"),
        ("a\n1,5\n", None, "x.csv:2:1: '1,5' is not a number; it looks like a decimal comma"),
        ("a,b\n1,2\n3\n4,5,6\n", None, "x.csv:3:1: 1 column on .* All 2 .*4:1 3 columns"),
        ("a,b\n1,2\n\n3,4\n", None, "x.csv:3:1: the line is empty"),
        ("a,b,a\n1,2,3\n", None, "x.csv:1:1: two columns are called 'a'"),
        ("a,b", None, "x.csv:1:1: there is only a header"),
        ("day,b\nMon,x\n", None, r"x.csv:2:1: no column holds numbers .*'day', 'b'"),
    ],
)
def test_columns_that_are_refused(text, wanted, said):
    with pytest.raises(DataError, match=said):
        columns(text, tuple(wanted or ()))


def test_one_complaint_a_line_and_the_leftmost():
    with pytest.raises(DataError) as caught:
        columns("a,b,c\n1,x,y\n1,2,z\n1,2,3\n", ("c", "b", "a"))
    assert "x.csv:2:3: 'x'" in str(caught.value)
    assert "All 2 bad lines: 2:3 'x' is not a number; 3:5 'z' is not a number." in str(caught.value)


def test_a_column_asked_for_twice():
    with pytest.raises(UsageError, match="twice"):
        columns("a,b\n1,2", ("a", "a"))


def test_a_long_bad_token_does_not_take_for_ever():
    for token in ("1" * 200_000 + "x", "1_" * 100_000 + "x", "1," * 100_000 + "x"):
        with pytest.raises(DataError):
            table(f'7 "{token}"')


@pytest.mark.parametrize("name", ["d.txt", "d.csv"])
def test_it_stops_counting_bad_lines(tmp_path, name):
    lines = ["a,b"] * name.endswith("csv") + ["1,2"] + ["1,x"] * 20_000
    message = refusal(tmp_path, name, "\n".join(lines))
    assert "First 3 of at least 10,000 bad lines" in message
    few = "\n".join(lines[:9_000])
    assert re.search(r"First 3 of 8,99[89] bad lines", refusal(tmp_path, name, few))


def test_a_column_of_nothing_is_ignored_where_gaps_are_errors():
    names, _, notes = columns("a,b\n1,\n2,\n")
    assert names == ("a",)
    assert notes == ("left out column 'b': it is empty",)


# ------------------------------------------------------------------ dialects

X = [[1.5, 2.0], [-3.25, 1832.06], [0.5, 7.0], [1.0, 1000000.5]]


def written(separator=",", decimal=".", thousands="", quoted=False):
    """X with a header, in a dialect."""

    def cell(value):
        text = f"{value:,.2f}".replace(",", "_").replace(".", decimal).replace("_", thousands)
        return f'"{text}"' if quoted else text

    rows = [separator.join(map(cell, row)) for row in X]
    return "\n".join([separator.join("ab"), *rows])


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (written(), []),
        (written(";"), []),
        (written("|"), []),
        (written("\t"), []),
        (written(";", ","), []),
        (written("\t", ","), []),
        (written(";", ",", "."), ["column 'b': read with thousands separators"]),
        (written(quoted=True), []),
        (written(thousands=",", quoted=True), ["column 'b': read with thousands separators"]),
        ("# made by hand\n#\n" + written(), []),
        ("My measurements\n" + written(), []),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_the_usual_dialects(tmp_path, text, notes, packed):
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = tables.read_text(path)
    reading = evidence.read(found, Wanted("series"))
    assert found.names == ("a", "b")
    assert windows.numbers(found, reading, Cut()).tolist() == X
    assert list(reading.notes) == notes


def test_what_was_skipped_is_said():
    text = "# one\n# two\nPrice,Close\nTicker,XYZ\nDate,\n" + "".join(
        f"2021-01-{i + 1:02},{i % 7}.5\n" for i in range(28)
    )
    found = tables.of_text(Path("x.csv"), text.rstrip().encode())
    assert found.notes == (
        "skipped 2 comment lines before the data",
        "skipped lines 4 to 5: further header lines, or units",
    )
    assert found.place(0) == "x.csv:6:1"
    assert found.columns[1].values[:2].tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("above", "note"),
    [
        ("sep=;\n", "skipped line 1, above the table: 'sep=;'"),
        ('"TOA5";"CR1";"77"\n', 'skipped line 1, above the table: \'"TOA5";"CR1";"77"\''),
        ("Station;7\n\nmade at;noon;;;\n", "skipped lines 1 to 3, above the table: 'Station;7'"),
    ],
)
def test_lines_above_a_table_are_skipped_and_said(above, note):
    text = above + "time;x\n" + "".join(f"2021-01-{i + 1:02};{i % 7}.5\n" for i in range(28))
    found = tables.of_text(Path("x.csv"), text.rstrip().encode())
    assert found.names == ("time", "x")
    assert found.notes == (note,)
    assert found.columns[1].values[:2].tolist() == [0.5, 1.5]
    assert found.place(0) == f"x.csv:{above.count(chr(10)) + 2}:1"


def test_a_header_with_a_name_too_few_is_no_title():
    text = "a;b\n" + "".join(f"{i};{i % 7};{i % 5}\n" for i in range(28))
    with pytest.raises(
        DataError, match=r"x.csv:2:1: 3 columns on this line \(expected 2.*correct the header"
    ):
        tables.of_text(Path("x.csv"), text.rstrip().encode())
    with pytest.raises(DataError, match=r"x.csv:4:1: 3 columns on this .*Correct these lines"):
        tables.of_text(Path("x.csv"), b"a;b\n1;2\n3;4\n5;6;7" + b"\n8;9" * 9)


@pytest.mark.parametrize(
    ("cells_", "values", "note"),
    [
        (("1.5K", "2M", "3"), [1500, 2e6, 3], "read with K, M"),
        (("0.5%", "-12%"), [0.5, -12], "read with % (in percent)"),
        (("1.15M", "1.02M"), [1_150_000, 1_020_000], "read with M"),
        (("$7.50", "-$1.25"), [7.5, -1.25], "read with $"),
        (("7.50 €", "0.1 €"), [7.5, 0.1], "read with €"),
        (("(7.50)", "0.10"), [-7.5, 0.1], "read with brackets for below 0"),
        (("12.3 °C", "-1 °C"), [12.3, -1], "read with °C"),
        (("12.3°", "5°"), [12.3, 5], "read with °"),
        (("1 km/h", "2 km/h"), [1, 2], "read with km/h"),
        (("1'832.06", "12'000'000"), [1832.06, 12e6], "read with thousands separators"),
        (("1\u202f832.06", "7.5"), [1832.06, 7.5], "read with thousands separators"),
        (
            ('"1,50,000"', '"12,34,56,789"'),
            [150_000, 123_456_789],
            "read with thousands separators",
        ),
        (("True", "false", "TRUE"), [1, 0, 1], None),
        (("yes", "no", "Yes"), [1, 0, 1], None),
        (("9" * 30, "1"), [1e30, 1], None),
        (("1e5", "-2.5E-3"), [1e5, -2.5e-3], None),
    ],
)
def test_numbers_that_are_written_in_other_ways(cells_, values, note):
    found = tables.of_text(Path("x.csv"), "\n".join(["a,b", *(f"{c},7" for c in cells_)]).encode())
    column = found.columns[0]
    assert column.values.tolist() == values
    assert column.notes == (() if note is None else (note,))
    assert column.kind == ("yes/no" if note is None and set(values) == {0, 1} else "number")


@pytest.mark.parametrize(
    "cells_",
    [
        ("2D", "3D"),
        ("5 kg", "5 kg", "7"),
        ("1 kg", "1 g"),
        ("10:30 h", "11:30 h"),
        ("1st", "2nd"),
        ("D1 x", "D2 x"),
    ],
)
def test_words_with_digits_are_no_numbers(cells_):
    text = "\n".join(["a,b", *(f"{c},7" for c in cells_ * 9)])
    assert tables.of_text(Path("x.csv"), text.encode()).columns[0].kind in ("words", "mixed")


@pytest.mark.parametrize(
    ("cell", "value"),
    [("€ 1.510,25", 1510.25), ("72,5 %", 72.5), ("15 100,25", 15100.25), ("1.510,25 EUR", 1510.25)],
)
def test_a_decimal_comma_is_found_beside_a_currency_or_unit(cell, value):
    text = "\n".join(["a;b", *(f"{cell};{i}" for i in range(30))])
    found = tables.of_text(Path("x.csv"), text.encode())
    assert found.dialect.decimal == ","
    assert found.columns[0].values.tolist() == [value] * 30


def test_a_comma_that_may_be_two_things_is_asked_about():
    with pytest.raises(DataError, match=r"'1,832' may be a decimal mark .* thousands"):
        tables.of_text(Path("x.csv"), b"a;b\n1,832;7,100\n2,541;3,222")


def test_a_bomb_in_a_gz_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LARGE", 1 << 16)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"1,2\n" * 1_000_000))
    with pytest.raises(DataError, match="hardly data"):
        load(str(tmp_path / "x.csv.gz"))
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(GOOD.encode())[:-9])
    with pytest.raises(DataError, match="compressed, and damaged"):
        load(str(tmp_path / "y.csv.gz"))


@pytest.mark.parametrize(("name", "way"), [("x.pkl", "read_pickle"), ("x.mat", "loadmat")])
def test_formats_that_are_not_read_are_named_with_a_way_out(tmp_path, name, way):
    (tmp_path / name).write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match=rf"is not read.* Convert it: .*{way}\('{name}'\)"):
        load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("@relation x\n@attribute a numeric\n@data\n1\n2\n", "loadarff"),
        ("# of the archive\n@problemName x\n@data\n1,2:a\n", "load_from_ts_file"),
        ('{"a": 1, "b": 2}\n{"a": 2, "b": 3}\n', "read_json"),
    ],
)
def test_texts_that_are_no_tables_are_named_with_a_way_out(tmp_path, text, way):
    assert re.search(rf"is not read\. Convert it: .*{way}\('x.ts'", refusal(tmp_path, "x.ts", text))


@pytest.mark.parametrize("suffix", ["parquet", "xlsx"])
def test_parquet_and_xlsx(tmp_path, suffix):
    frame = pd.DataFrame(
        {"day": pd.date_range("2021-01-01", periods=60), "a": np.arange(60) % 7, "b": 0.25}
    )
    path = tmp_path / f"x.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_excel(path, index=False)
    found = load(str(path), window=5)
    assert found.names == ("a", "b")
    assert found.x_NTD.shape == (56, 5, 2)
    assert np.array_equal(found.x_NTD[:, 0, 0], np.arange(56) % 7)
    assert found.form is not None
    assert (found.form.source, found.form.time.rule) == (suffix, "D")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cannot be read as a table: .* Save it again"):
        load(str(path))


@pytest.mark.parametrize("title", [[], [["Report of 2021"], []], [["made", "by hand"]]])
@pytest.mark.parametrize("units", [[], [["", "°C", "%", "-"]]])
def test_titles_and_units_in_a_sheet_are_skipped_and_said(tmp_path, title, units):
    days = pd.date_range("2021-01-01", periods=60)
    rows = [[day, i % 7, i * i % 11 / 4, "wet" if i % 3 else "dry"] for i, day in enumerate(days)]
    rows = [*title, ["day", "a", "b", "sky"], *units, *rows]
    sheet = pd.DataFrame([[*row, *[None] * (4 - len(row))] for row in rows])
    sheet.to_excel(tmp_path / "x.xlsx", index=False, header=False)
    found = load(str(tmp_path / "x.xlsx"), window=5)
    assert found.names == ("a", "b", "sky")
    assert np.array_equal(found.x_NTD[:, 0, 0], np.arange(56) % 7)
    assert found.form.time.rule == "D"
    said = [note for note in found.notes if note.startswith("skipped")]
    assert [("above" in note, "units" in note) for note in said] == [
        *[(True, False)] * bool(title),
        *[(False, True)] * bool(units),
    ]


def test_pandas_is_imported_only_for_a_table(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(30, 5)))
    program = (
        "import sys, seqgan_jax\nfrom seqgan_jax.data.layout import load\nload(sys.argv[1])\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.npy")], check=True)


def test_whole_numbers_are_whole_however_the_rest_is_written(tmp_path):
    """ "+ " in another column takes the table past pandas' fast reader."""
    path = tmp_path / "x.csv"
    for word in ("wb", "w+ b"):
        path.write_text("a,sky\n" + f"-3,{word}\n8,wa\n" * 20)
        whole, sky = tables.read_text(path).columns
        assert (whole.dtype, sky.dtype) == ("int64", "str")
        assert whole.exact is not None
