"""Strangers' files: each is read right, or refused with a place, a reason and what to do.

No traceback, no wait, little memory, and nothing of the file reaches the terminal unescaped.
"""

import io
import os
import re
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqgan_jax.data import layout
from seqgan_jax.errors import DataError


def load(source, **settings):
    """Of files in which no value may be missing: what is no number is told with its place."""
    return layout.load(source, **{"missing": "error"} | settings)


ROOT = Path(__file__).parents[2]
GOOD = b"1 2 3\n" * 30
TABLE = np.tile([1.0, 2.0, 3.0], (30, 1))
SERIES = b"a,b\n" + b"1,2\n3,5\n" * 30
SECONDS = 5


def npy(array: np.ndarray, **changes: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    data = buffer.getvalue()
    for old, new in changes.items():
        assert old.encode() in data
        data = data.replace(old.encode(), new)
    return data


def header(text: str, body: bytes = b"") -> bytes:
    """An .npy file with any header."""
    padded = text.encode() + b" " * (117 - len(text)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def described(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


class Evil:
    """Its unpickling would leave a trace."""

    def __reduce__(self):
        return (os.mkdir, ("pickle-was-run",))


ARRAY = npy(TABLE)
EVIL = np.array([[Evil()] * 2] * 30, dtype=object)
LONG_NAME = b"n" * 5000

# name of the file, content, arguments of load, what is said ("" for: read as TABLE)
TEXT = [
    ("bom.txt", b"\xef\xbb\xbf" + GOOD, ""),
    ("crlf.txt", GOOD.replace(b"\n", b"\r\n"), ""),
    ("cr.txt", GOOD.replace(b"\n", b"\r"), ""),
    ("tabs.txt", GOOD.replace(b" ", b"\t"), ""),
    ("commas.txt", GOOD.replace(b" ", b","), ""),
    ("no-newline.txt", GOOD[:-1], ""),
    ("blank-end.txt", GOOD + b"\n\n  \n", ""),
    ("spaces.txt", GOOD.replace(b"1", b"  1").replace(b"3", b"3  "), ""),
    ("plus.txt", GOOD.replace(b"2", b"+2.0e+0"), ""),
    ("utf16.txt", GOOD.decode().encode("utf-16"), r":1:1: the text is UTF-16"),
    ("utf16-no-bom.txt", GOOD.decode().encode("utf-16-le"), r":1:2: a NUL byte"),
    ("utf32.txt", GOOD.decode().encode("utf-32"), r":1:1: the text is UTF-16 or UTF-32"),
    ("nul.txt", GOOD + b"1 \0 3\n", r":31:3: a NUL byte"),
    ("latin1.txt", GOOD + b"1 2 3\xb0\n", r":31:6: byte 0xb0 is not UTF-8"),
    ("overlong.txt", GOOD + b"1 \xc0\xb1 3\n", r":31:3: byte 0xc0 is not UTF-8"),
    ("surrogate.txt", GOOD + b"1 \xed\xa0\x80 3\n", r":31:3: byte 0xed is not UTF-8"),
    ("too-large.txt", GOOD + b"1 1e999 3\n", r":31:3: '1e999' is too large"),
    ("nan.txt", GOOD + b"1 nan 3\n", r":31:3: 'nan' is a missing value .*--missing drop"),
    ("inf.txt", GOOD + b"1 -inf 3\n", r":31:3: '-inf' is not finite"),
    ("ragged.txt", GOOD + b"1 2\n" + GOOD, r":31:1: 2 numbers on this line \(expected 3"),
    ("decimal-comma.txt", b"1,5 2,7 3,1\n" * 30, r":1:3: .*decimal comma.* Write 1.5, not 1,5"),
    ("semicolons.txt", GOOD + b"1;2;3\n", r":31:1: '1;2;3' is not a number"),
    ("trailing-comma.txt", b"1,2,3\n" * 30 + b"1,2,3,\n", r":31:1: 4 numbers on this line"),
    ("two-commas.txt", b"1,2,3\n" * 30 + b"1,,3\n", r":31:3: a number is missing"),
    ("compensated.txt", b"1,2,3\n" * 30 + b"1 2,,3\n", r":31:1: '1 2' is not a number"),
    ("moved-newline.txt", b"1 2 3\n" * 30 + b"1 2\n3 1 2 3\n", r":31:1: 2 numbers .*32:1 4 num"),
    ("hex.txt", GOOD + b"1 0x1p3 3\n", r":31:3: '0x1p3' is a hexadecimal number"),
    ("underscore.txt", GOOD + b"1 1_000 3\n", r":31:3: '1_000' .* without underscores"),
    ("arabic.txt", GOOD + "1 ٣ 3\n".encode(), r":31:3: '٣' is not a number"),
    ("fullwidth.txt", GOOD + "1 ３ 3\n".encode(), r":31:3: '３' is not a number"),
    ("minus.txt", GOOD + "1 \u22122 3\n".encode(), r":31:3: '\u22122' is not a number"),
    ("nbsp.txt", GOOD + "1\u00a02 3\n".encode(), r":31:1: '1\\xa02' is not a number"),
    ("zero-width.txt", GOOD + "1 2\u200b 3\n".encode(), r":31:3: '2\\u200b' is not a number"),
    ("form-feed.txt", GOOD + b"1 2\x0c3 3\n", r":31:3: '2\\x0c3' is not a number"),
    ("next-line.txt", GOOD + "1 2\u0085 3\n".encode(), r":31:3: '2\\x85' is not a number"),
    ("fortran.txt", GOOD + b"1 1d5 3\n", r":31:3: '1d5' is not a number"),
    ("two-points.txt", GOOD + b"1 1.2.3 3\n", r":31:3: '1.2.3' is not a number"),
    ("thousands.txt", GOOD + b"1 1'000 3\n", "read"),
    ("dollar.txt", GOOD + b"1 $5 3\n", r":31:3: '\$5' is not a number"),
    ("complex.txt", GOOD + b"1 1+2j 3\n", r":31:3: '1\+2j' is not a number"),
    ("escape.txt", GOOD + b"1 \x1b[31m 3\n", r":31:3: '\\x1b\[31m' is not a number"),
    ("bell.txt", GOOD + b"1 \x07 3\n", r":31:3: '\\x07' is not a number"),
    ("bidi.txt", GOOD + "1 \u202e2 3\n".encode(), r":31:3: '\\u202e2' is not a number"),
    ("markup.txt", GOOD + b"1 [bold]2[/bold] 3\n", r":31:3: '\[bold\]2\[/bold\]' is not"),
    ("comment.txt", b"# t0 t1 t2\n" + GOOD, ""),
    ("json.txt", b"[[1, 2, 3],\n" * 30, r":1:1: '\[\[1' is not a number"),
    ("html.txt", b"<!doctype html><html>\n" * 30, r":1:1: '<!doctype' is not a number"),
    ("quote.txt", GOOD + b'1 "2 3\n', r":31:1: .* is not a number"),
    ("long-digits.txt", GOOD + b"1 " + b"9" * 400_000 + b" 3\n", r":31:3: '9+\.\.\.' is too large"),
    ("long-token.txt", GOOD + b"1 " + b"x" * 4_000_000 + b" 3\n", r":31:3: 'x+\.\.\.' is not a"),
    ("long-zeros.txt", GOOD + b"1 0." + b"0" * 400_000 + b"1 3\n", "read"),
    ("empty.txt", b"", ": the file is empty"),
    ("blank.txt", b"\n \r\n\t\n" * 1000, ": the file is empty"),
    ("gzip.txt", b"\x1f\x8b\x08\x00rest", ":1:1: the file is compressed, and damaged"),
    ("zip.txt", zipped({"a": GOOD}), ":1:1: the file is compressed"),
    ("xz.csv", b"\xfd7zXZ\x00rest", ":1:1: the file is compressed"),
    ("one-line.txt", b"1 2 3\n", ": 1 sequence; at least 20"),
    ("one-column.txt", b"1\n" * 30, ": 1 step in a sequence"),
    ("binary.txt", bytes(range(1, 256)) * 9, r":\d+:\d+: "),
]
CSV = [
    ("header-only.csv", b"a,b\n", ":1:1: there is only a header"),
    ("header-twice.csv", b"a,a\n" + b"1,2\n" * 60, ":1:1: two columns are called 'a'"),
    ("header-again.csv", SERIES + SERIES, ":62:1: 'a' is not a number"),
    ("semicolons.csv", b"a;b\n" + b"1;2\n3;5\n" * 30, "read"),
    ("open-quote.csv", SERIES + b'1,"2\n', ":62:3: a quote is not closed"),
    ("open-name.csv", b'a,"b\n' + b"1,2\n" * 60, ":1:3: a quote is not closed"),
    ("half-open.csv", b'd,a\n"x"y,1\n' + b"2,1\n" * 60, ":2:1: a quote is not closed"),
    ("open-date.csv", b"d,a\n" + b"Mon,1\n" * 60 + b'"Tue,1\n', ":62:1: a quote is not closed"),
    ("quoted-break.csv", SERIES + b'1,"2\n3"\n', ":62:3: "),
    ("trailing-comma.csv", SERIES + b"1,2,\n", ":62:1: 3 columns on this line"),
    ("dates-stop.csv", b"a,b\n" + b"Mon,2\n" * 60 + b"5,2\n", ":2:1: 'Mon' is not a number"),
    ("escape-name.csv", b"a,\x1b[31mb\n" + b"1,2\n" * 60, r":1:1: .*'\\x1b\[31mb'.* Rename it"),
    ("bidi-name.csv", "a,\u202eb\n".encode() + b"1,2\n" * 60, r":1:1: .*'\\u202eb'.* Rename it"),
    ("long-name.csv", b"a," + LONG_NAME + b"\n1,2" * 60, r":1:1: .*'n+\.\.\.' .* Shorten it"),
    (
        "many-columns.csv",
        b",".join(b"c%d" % i for i in range(9000)) + b"\n1,2\n" * 9,
        ":2:1: 2 col",
    ),
    ("no-names.csv", b",,\n" + b"1,2,3\n" * 30, ":1:1: a number is missing"),
    (
        "long-order.csv",
        b"sequence,step,x\n0,1,5\n0,1,6\n",
        ":3:1: the time 1 is there twice",
    ),
]
ARRAYS = [
    ("plain.npy", ARRAY, ""),
    ("fortran.npy", npy(np.asfortranarray(TABLE)), ""),
    ("big-endian.npy", npy(TABLE.astype(">f8")), ""),
    ("half.npy", npy(TABLE.astype(np.float16)), ""),
    ("ints.npz", zipped({"x.npy": npy(TABLE.astype(np.int8))}), ""),
    ("several.npz", zipped({"x.npy": ARRAY, "y.npy": npy(np.zeros(3))}), ""),
    ("climbing.npz", zipped({"../../x.npy": ARRAY}), ""),  # one array; its name is never a path
    ("pickle.npy", npy(EVIL), "it holds Python objects"),
    ("pickle.npz", zipped({"x.npy": npy(EVIL)}), "it holds Python objects"),
    (
        "raw-pickle.npy",
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00]\x94.",
        "no array file|magic",
    ),
    ("structured.npy", npy(np.zeros((30, 3), "f8,i4")), "real numbers are wanted"),
    ("escape-dtype.npy", npy(np.zeros((30, 3), [("\x1b[1m", "f8")])), "real numbers are wanted"),
    ("strings.npy", npy(np.full((30, 3), "1")), "holds <U1"),
    ("bytes.npy", npy(np.full((30, 3), b"1")), r"holds \|S1"),
    ("complex.npy", npy(TABLE + 1j), "holds complex128"),
    ("bool.npy", npy(TABLE > 1), "holds bool"),
    ("dates.npy", npy(TABLE.astype("M8[s]")), "holds datetime64"),
    ("periods.npy", npy(TABLE.astype("m8[s]")), "holds timedelta64"),
    ("scalar.npy", npy(np.array(1.0)), r"has shape \(\)"),
    ("vector.npy", npy(np.zeros(30)), r"has shape \(30,\)"),
    ("four.npy", npy(np.zeros((30, 3, 1, 1))), "has shape"),
    ("no-steps.npy", npy(np.zeros((30, 0))), r"has shape \(30, 0\)"),
    ("nan.npy", npy(np.full((30, 3), np.nan)), r"x\[0, 0\] is nan"),
    ("inf.npy", npy(np.full((30, 3), np.inf)), r"x\[0, 0\] is inf"),
    (
        "huge-shape.npy",
        header(described("(1000000000, 1000000)")),
        "should be 8,000,000,000,000,128",
    ),
    ("overflow-shape.npy", header(described(f"({2**40}, {2**40})")), "bytes long and should be"),
    ("negative-shape.npy", header(described("(-3, 3)"), b"\0" * 72), r"its shape is \(-3, 3\)"),
    ("float-shape.npy", header(described("(3.5, 3)"), b"\0" * 72), "shape is not valid"),
    ("no-shape.npy", header("{'descr': '<f8'}"), "correct keys"),
    ("code.npy", header("__import__('os').mkdir('pickle-was-run')"), "cannot be read as an array"),
    ("deep.npy", header("(" * 100), "cannot be read as an array"),
    ("cut.npy", ARRAY[:-1], "it is 847 bytes long and should be 848"),
    ("more.npy", ARRAY + b"\0", "it is 849 bytes long and should be 848"),
    ("only-magic.npy", ARRAY[:8], "cannot be read as an array"),
    ("empty.npy", b"", "cannot be read as an array"),
    ("text.npy", GOOD, "cannot be read as an array"),
    ("version.npy", ARRAY[:6] + b"\x09" + ARRAY[7:], "cannot be read as an array"),
    ("cut.npz", zipped({"x.npy": ARRAY})[:-30], "cannot be read as an array"),
    ("cut-inside.npz", zipped({"x.npy": ARRAY[:-8]}), "should be 848"),
    ("no-arrays.npz", zipped({"readme.txt": b"hello"}), "cannot be read as an array"),
    ("nothing.npz", zipped({}), "holds 0 arrays|cannot be read as an array"),
    (
        "two.npz",
        zipped({"\x1b[1m.npy": ARRAY, "z.npy": ARRAY}),
        r"holds 2 arrays \('\\x1b\[1m', 'z'",
    ),
    (
        "crc.npz",
        zipped({"x.npy": ARRAY}, 0).replace(ARRAY[200:300], b"\0" * 100, 1),
        "cannot be re",
    ),
]
CASES = [*TEXT, *CSV, *ARRAYS]


def test_there_are_sixty_of_them():
    assert len(CASES) == len({case[0] for case in CASES}) > 60


@pytest.mark.parametrize(("name", "content", "said"), CASES, ids=[case[0] for case in CASES])
def test_a_strangers_file(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content)
    start = time.monotonic()
    if said in ("", "read"):
        loaded = load(name).x_NTD
        if said == "":
            assert np.array_equal(loaded[..., 0], TABLE)
    else:
        with pytest.raises(DataError) as caught:
            load(name)
        message = str(caught.value)
        assert caught.value.exit_code == 3
        assert re.match(rf"{re.escape(name)}(:\d+:\d+)?: ", message), message
        assert re.search(said, message), message
        assert message.isprintable()
        assert len(message) < 1500
        assert re.search(r"[.)] [A-Z][^.]+\.", message), f"nothing to do: {message}"
    assert time.monotonic() - start < SECONDS
    assert os.listdir(tmp_path) == [name]  # nothing was run, nothing was unpacked


@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "device", "loop", "missing"])
def test_a_path_that_is_no_file(tmp_path, kind):
    import socket

    path = tmp_path / "x.txt"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    for suffix in ("txt", "csv", "npy", "npz"):
        renamed = path.with_suffix(f".{suffix}")
        if kind != "missing" and renamed != path:
            renamed.symlink_to(path)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"is a |no such file|cannot be read"):
            load(str(renamed))
        assert time.monotonic() - start < SECONDS


# The limit is set by the process itself: to fork a process with JAX in it is not safe.
LOAD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from seqgan_jax.data.layout import load
from seqgan_jax.errors import DataError
try:
    load(sys.argv[1], missing="error")
except DataError as error:
    sys.exit(str(error))
"""


def bomb(path: Path) -> None:
    """1 GB of zeros in 1 MB."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(header(described("(1000000, 125)")))
        for _ in range(1000):
            member.write(bytes(1_000_000))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bomb.npz", "unpack to 4,000 MB are hardly data"),
        ("terabyte.txt", "1000.0 GB of text"),
        ("terabyte.npy", "it is 1,000,000,000,000 bytes long"),
        ("sparse.npy", "GB of values, and this machine has"),
        ("wide.csv", ":2:1: 1 column on this line"),
        ("wide.txt", ":1:1: 200000 numbers on this line"),
    ],
)
def test_little_memory_is_taken(tmp_path, name, said):
    path = tmp_path / name
    if name == "bomb.npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", header(described("(1000000, 1250)")) + bytes(1 << 20))
        size = struct.pack("<I", (1 << 20) + 128)
        assert path.read_bytes().count(size) == 2
        path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 4 * 10**9)))
    elif name.startswith("terabyte"):
        with path.open("wb") as file:
            file.write(ARRAY if name.endswith("npy") else GOOD)
            file.truncate(10**12)
    elif name == "sparse.npy":
        with path.open("wb") as file:
            file.write(header(described("(1000000000, 125)")))
            file.truncate(10**12 + 128)
    elif name == "wide.csv":
        path.write_text(",".join(f"c{i}" for i in range(100_000)) + "\n1" * 100_000)
    else:
        path.write_text(" ".join("1" * 200_000) + "\n1 2" * 100_000)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert time.monotonic() - start < 6 * SECONDS  # Python and NumPy start in it, on a busy machine


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "numbers", "blanks", "bomb"])
def test_a_gigabyte_on_one_line(tmp_path, kind):
    path = tmp_path / ("x.npz" if kind == "bomb" else "x.txt")
    if kind == "bomb":
        bomb(path)
    else:
        unit = {"digits": b"1", "numbers": b"1 ", "blanks": b" "}[kind]
        with path.open("wb") as file:
            for _ in range(1000):
                file.write(unit * (1_000_000 // len(unit)))
    start = time.monotonic()
    with pytest.raises(DataError, match=r"longer than|empty|hardly data"):
        load(str(path))
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("name", ["escape.txt", "ragged.txt", "pickle.npy", "header-only.csv"])
@pytest.mark.parametrize("program", ["train.py", "analyze.py"])
def test_the_command_line_says_it_in_a_line(tmp_path, name, program):
    content, said = next(case[1:] for case in CASES if case[0] == name)
    (tmp_path / name).write_bytes(content)
    words = ["--data", name] if program == "train.py" else ["--real", name, "--generated", name]
    done = subprocess.run(
        [sys.executable, str(ROOT / program), *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert re.match(rf"error: {name}.*: ", line)
    assert re.search(said, line)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
