"""Hostile settings and config.json: refused at once, in little memory, nothing else touched."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seqgan_jax import config
from seqgan_jax.analysis.compare import analyze
from seqgan_jax.errors import CheckpointError, SeqGANError, UsageError
from seqgan_jax.model import SeqGAN
from seqgan_jax.run import directory
from seqgan_jax.run.terminal import Display
from seqgan_jax.run.train import saved_config

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "format4"
SECONDS = 2  # here in milliseconds; the rest is for busy machines


def refused(call, *arguments, **keywords) -> str:
    start = time.monotonic()
    with pytest.raises(SeqGANError) as caught:
        call(*arguments, **keywords)
    assert time.monotonic() - start < SECONDS
    assert caught.value.exit_code in (2, 6)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1500
    return message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '"format"',
        '{"format": 2',
        "[" * 100_000,
        '{"format": ' * 50_000,
        '{"format": 2, "x": NaN}',
        '{"format": 2, "x": -Infinity}',
        '{"format": 1}',
        '{"format": "1"}',
        '{"format": {"a": [1, 2, 3]}}',
        '{"format": ' + "9" * 100_000 + "}",
        '{"format": "' + "x" * 100_000 + '"}',
        '{"format": "\\u001b[31m"}',
        '{"format": 2}' + " " * (5 << 20),
        b"\xff\xfe{}",
        b"\x80\x04\x95",
        b'{"format": 2, "\0": 1',
    ],
    ids=range(20),
)
def test_texts_that_are_no_config(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "config.json").write_bytes(content)
    message = refused(directory.read_config, tmp_path)
    assert message.startswith(str(tmp_path / "config.json"))


def test_paths_that_are_no_config(tmp_path):
    assert "no run here" in refused(directory.read_config, tmp_path)
    os.mkfifo(tmp_path / "config.json")
    assert "no plain file" in refused(directory.read_config, tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    assert "no plain file" in refused(directory.read_config, tmp_path)
    (tmp_path / "config.json").rmdir()
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**12)
    assert "more than" in refused(directory.read_config, tmp_path)


HOSTILE_VALUES = [
    *(None, "8", [8], {"a": 1}, True, 8.0, math.nan, math.inf, -1, 0, 1e308, 10**4000),
    *("\x1b[31m", "x" * 100_000, [[]], [None]),
]


@pytest.mark.parametrize("name", [n for n in config.flat(config.Config()) if n != "data"])
@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=range(len(HOSTILE_VALUES)))
def test_every_setting_with_every_wrong_value(name, value):
    """Either it is a value that the setting may have, or it is refused in words."""
    default = config.flat(config.Config())[name]
    message, found = "", None
    try:
        found = config.flat(config.from_flat({name: value}))[name]
    except UsageError as error:
        message = str(error)
    if message:
        assert message.isprintable()
        assert message.startswith("--" + name.replace("_", "-"))
        assert len(message) < 200
        return
    assert found == (tuple(value) if isinstance(value, list) else value)
    if isinstance(default, bool) or isinstance(value, bool):
        assert type(found) is bool is type(default)
    elif isinstance(default, int | float):
        assert isinstance(found, int | float)
        assert math.isfinite(found) or name == "checkpoint_every"
        assert not isinstance(default, int) or isinstance(found, int)
    elif isinstance(default, str):
        assert isinstance(found, str)


@pytest.mark.parametrize("name", ["nonsense", "__class__", "", "\x1b[31m", "x" * 100_000])
def test_unknown_settings(name):
    assert "unknown setting" in refused(config.from_flat, {name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [("hidden_dim", 10**9), ("window", 10**9), ("batch_size", 10**9), ("rollout_num", 10**9)],
)
def test_absurd_sizes(name, value):
    assert "out of range" in refused(config.from_flat, {name: value})
    assert "out of range" in refused(SeqGAN, **{name: value})


@pytest.fixture
def golden(tmp_path) -> Path:
    """A run directory that loads."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def change(run: Path, path: str, value) -> None:
    """Set one entry of config.json, or take it out."""
    content = json.loads((run / "config.json").read_text())
    *parts, last = path.split("/")
    inner = content
    for part in parts:
        inner = inner[part]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    (run / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(
            (name, value)
            for name in ("settings", "data", "scaler")
            for value in (KeyError, 7, [], {})
        ),
        ("data/length", 10**9),
        ("data/length", -1),
        ("data/length", "20"),
        ("data/length", 10**400),
        ("data/names", 5),
        ("data/names", ["x"] * 100_000),
        ("data/counts", [1]),
        ("settings/hidden_dim", 10**9),
        ("settings/hidden_dim", 8192),
        ("settings/preset", ["default"]),
        ("settings/run_dir", 7),
        ("settings/evil", "__import__('os')"),
        ("scaler/shift", [0.0] * 100_000),
        ("scaler/kept", [-1]),
    ],
    ids=range(26),
)
def test_runs_whose_config_was_changed(golden, path, value):
    change(golden, path, value)
    if path == "data/length" and value == "20":
        return
    start = time.monotonic()
    with pytest.raises(SeqGANError) as caught:
        SeqGAN.load(golden)
    assert time.monotonic() - start < 10 * SECONDS  # tracing the networks is in it, machine busy
    assert caught.value.exit_code in (2, 6)
    assert str(caught.value).isprintable()


def test_many_columns_take_no_memory(golden):
    """Square matrices of their number would be 40 GB."""
    k = 100_000
    change(golden, "scaler", {
        "shift": [0.0] * k, "scale": [1.0] * k, "source": list(range(k)), "constant": [0.0] * k,
        "kept": list(range(k)),
    })  # fmt: skip
    change(golden, "increment_scale", [1.0] * k)
    change(golden, "data/names", ["x"] * k)
    with pytest.raises(CheckpointError):
        SeqGAN.load(golden)


def test_a_config_leads_nowhere_else(golden, tmp_path):
    """run_dir in it is not where anything is read or written."""
    change(golden, "settings/run_dir", str(tmp_path / "elsewhere"))
    assert saved_config(str(golden)).run.run_dir == str(golden)
    SeqGAN.load(golden)
    assert not (tmp_path / "elsewhere").exists()


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seqgan_jax.run.cli", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "--resume", "--run-dir", "run"], 3, "secret.txt"),
        (["analyze", "--run-dir", "run"], 6, "does not describe data"),
        (["sample", "run"], 6, "not a description of a model"),
        (
            ["train", "--run-dir", "a\x1b[31mb", "--data", "gone\x1b[31m.txt"],
            3,
            r"gone\x1b[31m.txt",
        ),
        (["train", "--hidden-dim", "1000000000"], 2, "out of range"),
        (
            ["train", "--data", "ar1", "--num-sequences", "99999999", "--window", "999999"],
            2,
            "memory",
        ),
    ],
)
def test_through_the_command_line(golden, tmp_path, words, code, said):
    (tmp_path / "secret.txt").write_text("password\n")
    change(golden, "settings/data", str(tmp_path / "secret.txt"))
    change(golden, "data/names", {"x": 1})
    done = command(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    if "--resume" in words:  # what is read because a config says so is named
        assert f"resume  reads {tmp_path}/secret.txt, as in run/config.json" in done.stdout


def test_lines_for_the_terminal_are_escaped(capsys):
    Display({}, {}, False).say("a\x1b[31m\nb [bold]c")
    assert capsys.readouterr().out == "a\\x1b[31m\nb [bold]c\n"


def test_reports_of_hostile_names():
    """Tags are escaped, and a dollar begins no formula in a picture."""
    x = np.random.default_rng(0).normal(size=(80, 6, 3))
    evil = ["<script>alert(1)</script>", r"$\frac{$", "a & 'b' \"c\" \u202e"]
    report = analyze(x[:40], x[40:], names=evil, seed=0)
    html = report.to_html()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "a &amp; &#x27;b&#x27; &quot;c&quot;" in html


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("held_out", [1e-9, 0.5], [0, 0.500001]),
        ("validation", [1e-9, 0.5], [0, 0.500001]),
        ("batch_size", [2, 65536], [1, 65537]),
        ("hidden_dim", [1, 8192], [0, 8193]),
        ("rollout_num", [1, 10_000], [0, 10_001]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("patience", [1], [0]),
        ("window", [2, 1_000_000], [1, 1_000_001]),
        ("average", [0, 0.999], [-1e-9, 1]),
        ("gen_lr", [1e-9, 1], [0, 1.1]),
        ("anchor", [0, 1e300], [-1e-9, math.inf, 10**300]),
    ],
)
def test_limits(name, good, bad):
    for value in good:
        assert config.flat(config.from_flat({name: value}))[name] == value
    for value in bad:
        with pytest.raises(UsageError, match="out of range"):
            config.from_flat({name: value})
