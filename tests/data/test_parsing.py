"""The fast path takes nothing that is no number, and what it takes is what float() gives."""

import itertools
import math
import random
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan_jax.data import parsing

both = pytest.mark.usefixtures("parser")


@pytest.fixture(params=[0, 1 << 16], ids=["scipy", "float"])
def parser(request, monkeypatch):
    """Both parsers, whatever the size of the block."""
    monkeypatch.setattr(parsing, "SHORT", request.param)


def value(token: str) -> float | None:
    """Independent of parsing.NUMBER: float() on ASCII digits, signs, points, exponents."""
    try:
        x = float(token) if token and set(token) <= set("0123456789+-.eE") else math.nan
    except ValueError:
        return None
    return x if math.isfinite(x) else None


@both
def test_every_token_of_five_characters():
    """All of them: 4^1 + ... + 4^5."""
    good = 0
    for length in range(1, 6):
        for characters in itertools.product("1+.e", repeat=length):
            token = "".join(characters)
            x = parsing.rows(f"7 {token} 8".encode(), 3)
            expected = value(token)
            assert (x is None) == (expected is None), token
            if x is not None:
                assert x.tolist() == [[7, expected, 8]]
                good += 1
    assert good > 50


@both
def test_every_layout_of_seven_characters():
    """Rows of two numbers against splitting by hand: blanks, or commas with one number each."""
    good = 0
    for characters in itertools.product("1, \n", repeat=7):
        block = "".join(characters)
        lines = block.split("\n")
        rows = [line.split(",") if "," in block else line.split() for line in lines]
        cells = [[cell.strip(" ") for cell in row] for row in rows]
        fits = all(len(row) == 2 and all(cell and " " not in cell for cell in row) for row in cells)
        x = parsing.rows(block.encode(), 2)
        assert (x is not None) == fits, block
        if x is not None:
            assert x.tolist() == [[float(cell) for cell in row] for row in cells]
            good += 1
    assert good > 100


def hard_numbers(n: int) -> list[str]:
    rng = random.Random(1)
    tokens = []
    while len(tokens) < n:
        kind = rng.randrange(5)
        if kind == 0:  # any bit pattern
            token = repr(struct.unpack("d", rng.randbytes(8))[0])
        elif kind == 1:  # far more digits than fit, exponents to both ends
            token = f"{rng.choice('+-')}{rng.getrandbits(60)}.{rng.getrandbits(60)}"
            token += f"{rng.choice('eE')}{rng.randrange(-360, 280):+}"
        elif kind == 2:  # seventeen digits
            token = f"{rng.gauss(0, 1):.17g}"
        elif kind == 3:  # half way between two floats, and a hair beyond
            token = str((2 * (rng.getrandbits(53) | 1 << 52) + 1) << rng.randrange(60))
            token += rng.choice(["", "." + "0" * 30 + "1", ".", "e0"])
        else:  # subnormal
            token = f"{struct.unpack('d', struct.pack('Q', rng.getrandbits(52)))[0]:.25e}"
        if value(token) is not None:
            tokens.append(token)
    return tokens


@both
def test_hard_numbers_are_bit_for_bit_float():
    tokens = ["-0", "-0.0", "+0", "-1e-999", "5e-324", "1.7976931348623158e308", "1e23", "0" * 400]
    tokens += hard_numbers(20_000 - len(tokens))
    x = parsing.rows("\n".join(tokens).encode(), 1)
    assert x is not None
    assert x.tobytes() == np.array(list(map(float, tokens))).tobytes()
    assert np.signbit(x[[0, 1, 3]]).all()  # zeros keep their signs
    assert parsing.rows("\n".join([*tokens, "1e309"]).encode(), 1) is None


def test_a_plain_table_takes_the_fast_path():
    x = np.random.default_rng(0).normal(size=(50, 24))
    block = "\n".join(" ".join(map(repr, row)) for row in x.tolist()).encode()
    assert np.array_equal(parsing.rows(block, 24), x)
    assert parsing.rows(b"1 2\n3 4", 2).tolist() == [[1, 2], [3, 4]]  # as short as can be


@pytest.mark.parametrize("byte", [b for b in range(256) if chr(b) not in "0123456789+-.eE, \t\n"])
def test_no_other_byte_is_let_in(byte):
    assert parsing.rows(b"1 2\n1" + bytes([byte]) + b" 2", 2) is None


cells = st.sampled_from(
    ["1", "-2.5e3", " 7 ", "", "nan", "Mon", "2020-01-02", "1_0", "1 2", "1e999", '"3"', ".", "+4"]
)


@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=4),
    st.permutations(range(3)).flatmap(lambda p: st.integers(0, 3).map(lambda k: list(p[:k]))),
)
@settings(max_examples=400, deadline=None)
def test_columns_against_cells(table, wanted):
    block = "\n".join(",".join(row) for row in table)
    maybe = [d for d in range(3) if d not in wanted]
    found = parsing.columns(block.encode(), 3, wanted, maybe)
    numbers = [[value(row[d].strip(" ")) for d in wanted] for row in table]
    if '"' in block or any(x is None for row in numbers for x in row):
        assert found is None
        return
    assert found is not None
    assert found[0].tolist() == numbers
    grammar = {d for d in maybe if any(parsing.NUMBER.fullmatch(row[d].strip()) for row in table)}
    assert found[1] == grammar


@pytest.mark.parametrize("block", ["1,2\n3", "1\n2,3", "1,2,3\n4,5,6", "1,2\n\n3,4", "1,2\n3,4,"])
def test_lines_of_another_length(block):
    assert parsing.columns(block.encode(), 2, [0], [1]) is None
    assert parsing.columns(block.encode(), 2, [0, 1], []) is None
