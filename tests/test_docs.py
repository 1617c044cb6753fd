"""The pages on data and columns, and others: their code runs, commands print what they say.

`python tests/test_docs.py` writes them anew.
"""

import contextlib
import io
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from seqgan_jax.run import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (
    *("data.md", "columns.md", "continuation.md", "conditions.md", "calendar.md"),
    *("lengths.md", "gaps.md"),
)


def run(command):
    """What a command of the pages prints; only `seqgan` runs in this process."""
    first, _, then = command.partition(" | ")
    words = shlex.split(first)
    if words[0] != "seqgan":
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(words[1:]) == 0
    if not then:
        return out.getvalue()
    words = shlex.split(then)
    return subprocess.run(
        words, input=out.getvalue(), capture_output=True, text=True, check=True
    ).stdout


def redone(page):
    """The page with the output of every block as it is now."""
    names, printed = {}, io.StringIO()

    def block(match):
        kind, text = match[1], match[2]
        if kind == "python":
            printed.truncate(printed.seek(0))
            with contextlib.redirect_stdout(printed):
                exec(text, names)
        elif kind == "output":
            text = printed.getvalue()
        else:
            commands = re.findall(r"^\$ (.*)$", text, re.M)
            text = "".join(f"$ {command}\n{run(command)}" for command in commands)
        return f"```{kind}\n{text}```"

    return re.sub(r"```(\w+)\n(.*?)```", block, page, flags=re.S)


@pytest.mark.parametrize("name", PAGES)
def test_a_page(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / name).read_text()
    assert redone(page) == page


if __name__ == "__main__":
    for each in PAGES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            (DOCS / each).write_text(redone((DOCS / each).read_text()))
