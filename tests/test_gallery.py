"""The gallery: its commands are those of the script, its pictures are there, small and made so."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqgan_jax.run import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def pictures(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    yield __import__("pictures")
    sys.modules.pop("pictures")


def test_the_page_has_each_command_and_picture(pictures):
    page = (DOCS / "gallery.md").read_text()
    found = re.findall(r"\$ (seqgan .*)\n```\n\n!\[.*?\]\(pictures/(\w+)\.png\)", page)
    assert {name: command for command, name in found} == pictures.COMMANDS
    assert len(found) == 13


def test_pictures_are_small_and_800_pixels_wide(pictures):
    for name in pictures.COMMANDS:
        path = DOCS / "pictures" / f"{name}.png"
        assert path.stat().st_size < 60_000
        with Image.open(path) as picture:
            assert abs(picture.width - 800) <= 1


def test_commands_are_understood(pictures, capsys):
    for name, command in pictures.COMMANDS.items():
        assert cli.main([*shlex.split(command)[1:], "--show-config"]) == 0
        assert name in capsys.readouterr().out


def test_a_picture_is_made_of_a_run(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "pictures")
    monkeypatch.setattr(pictures, "SAMPLES", 10)
    command = "seqgan train --data ar1 --num-sequences 60 --run-dir ar1 --pre-epoch-num 1"
    more = "--hidden-dim 4 --generated-num 10"
    monkeypatch.setitem(pictures.COMMANDS, "ar1", f"{command} {more} {pictures.LIKELIHOOD}")
    path = pictures.make("ar1", tmp_path)
    with Image.open(path) as picture:
        drawn = np.asarray(picture.convert("RGB"))
    assert drawn.shape[1] == 800
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    # The run is there now, and is not made again.
    monkeypatch.setitem(pictures.COMMANDS, "ar1", "seqgan nonsense")
    assert pictures.make("ar1", tmp_path) == path
