"""Some of the cases of benchmarks/hostile_input.py, which runs a hundred thousand of them."""

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hostile_input.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile_input", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = loaded()
FILES = hostile.originals()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", ["error", "drop"])
def test_the_undamaged_files_are_read(tmp_path, name, mode):
    assert hostile.judge(name, FILES[name], tmp_path / name, mode) == ("read", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@given(name=st.sampled_from(list(FILES)), mode=st.sampled_from(["error", "drop"]), rng=st.randoms())
@settings(max_examples=500, deadline=None)
def test_damaged_files_are_read_right_or_refused(folder, name, mode, rng):
    damaged = hostile.mutate(FILES[name], random.Random(rng.getrandbits(64)))
    outcome, why = hostile.judge(name, damaged, folder / name, mode)
    assert outcome != "failed", why


def test_a_sample_of_the_script(tmp_path):
    counts, failures = hostile.run(500, 1, tmp_path)
    assert failures == []
    assert sum(n for (_, outcome), n in counts.items() if outcome == "read") > 30
    assert sum(n for (_, outcome), n in counts.items() if outcome == "refused") > 300


def test_a_reader_that_lets_something_in_is_caught(tmp_path, monkeypatch):
    """The negative control: each of these readers would be a mistake."""
    honest = hostile.load

    def changed(change):
        def load(*args, **kwargs):
            found = honest(*args, **kwargs)
            change(found.x_NTD)
            return found

        return load

    def one_bit(x):
        x.view("u8")[3, 1, 0] ^= 1

    path, name = tmp_path / "blanks.txt", "blanks.txt"
    monkeypatch.setattr(hostile, "load", changed(one_bit))
    assert hostile.judge(name, FILES[name], path, "error") == ("failed", "read, with other numbers")
    good = honest(str(path))
    monkeypatch.setattr(hostile, "load", lambda *_, **__: good)  # whatever is in the file
    damaged = FILES[name].replace(b" ", b" x", 1)
    assert hostile.judge(name, damaged, path, "error") == ("failed", "read, and is bad")

    def refuses(*_, **__):
        raise hostile.DataError(f"{path}:1:1: no. Do something else.")

    monkeypatch.setattr(hostile, "load", refuses)
    assert "is good" in hostile.judge(name, FILES[name], path, "error")[1]

    def breaks(*_, **__):
        raise KeyError("x")

    monkeypatch.setattr(hostile, "load", breaks)
    assert hostile.judge(name, FILES[name], path, "error") == ("failed", "KeyError: 'x'")
