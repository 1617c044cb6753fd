"""The README, every page and the notebook: code runs, commands print what they say.

`python tests/test_docs.py` writes the pages anew. Pages that train as a reader would are run here
with networks that are too small to be good (QUICK), and print nothing that was trained.
"""

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

import seqgan_jax
from seqgan_jax.analysis import analyze
from seqgan_jax.model import SeqGAN
from seqgan_jax.run import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (
    *("data.md", "columns.md", "continuation.md", "conditions.md", "calendar.md"),
    *("lengths.md", "gaps.md"),
)
TINY = {"hidden_dim": 4, "pre_epoch_num": 1, "policy": "gaussian", "generated_num": 20}
NO_ROUNDS = {**TINY, "skip_dis_pretrain": True, "skip_adversarial": True}
A_ROUND = {**TINY, "dis_pre_refreshes": 1, "total_batch": 1, "num_sequences": 200}
QUICK = {
    "../README.md": {**NO_ROUNDS, "calendar": "none"},  # which is slow to try, of weather
    "quickstart.md": NO_ROUNDS,
    "running.md": NO_ROUNDS,
    "devices.md": {**NO_ROUNDS, "data": "ar1", "num_sequences": 200},
    "adversarial.md": A_ROUND,
}
OF_COMMANDS = {"generated_num", "data", "num_sequences"}  # without a meaning in Python
NOT_HERE = {"--devices", "--coordinator", "--memory", "--rollout-every"}  # settings are checked


def as_flags(settings):
    """Settings as the command line has them."""
    for name, value in settings.items():
        yield f"--{name.replace('_', '-')}"
        if value is not True:
            yield str(value)


def run(command, quick):
    """What a command of the pages prints; only `seqgan` runs in this process."""
    first, _, then = command.partition(" | ")
    words = shlex.split(first, comments=True)
    if words[0] == "python" and words[1] in ("train.py", "analyze.py"):
        words = ["seqgan", *words[1:]]
        words[1] = words[1].removesuffix(".py")
    if words[0] != "seqgan":
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if NOT_HERE & set(words):
        words.append("--show-config")
    elif words[1] == "train" and quick and not {"--resume", "--show-config"} & set(words):
        words += as_flags(quick)
    elif words[1] == "analyze" and quick:
        words += ["--judge", "never"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(words[1:]) == 0
    if not then:
        return out.getvalue()
    words = shlex.split(then)
    return subprocess.run(
        words, input=out.getvalue(), capture_output=True, text=True, check=True
    ).stdout


def redone(page, quick=None):
    """The page with the output of every block as it is now; that of `bash` blocks is not on it."""
    names, printed = {}, io.StringIO()

    def block(match):
        kind, text = match[1], match[2]
        if kind == "python":
            printed.truncate(printed.seek(0))
            with contextlib.redirect_stdout(printed):
                exec(text, names)
        elif kind == "output":
            text = printed.getvalue()
        elif kind == "bash":
            for command in text.splitlines():
                run(command, quick)
        elif kind == "console":
            commands = re.findall(r"^\$ (.*)$", text, re.M)
            text = "".join(f"$ {command}\n{run(command, quick)}" for command in commands)
        return f"```{kind}\n{text}```"

    return re.sub(r"```(\w+)\n(.*?)```", block, page, flags=re.S)


@contextlib.contextmanager
def small_networks(settings):
    """`from seqgan_jax import` gives a SeqGAN of these settings, and an `analyze` without judge."""
    defaults = {k: v for k, v in settings.items() if k not in OF_COMMANDS}

    class Small(SeqGAN):
        def __init__(self, settings=None, **changes):
            super().__init__(settings, **(changes if settings else defaults | changes))

    seqgan_jax.SeqGAN, seqgan_jax.analyze = Small, partial(analyze, judge="never")
    try:
        yield
    finally:
        del seqgan_jax.SeqGAN, seqgan_jax.analyze


def redone_quickly(name):
    """A page of QUICK in the working directory, which for the README stands in for a checkout."""
    if name == "../README.md":
        Path("seqgan_jax").symlink_to(ROOT / "seqgan_jax")
        run("python train.py", QUICK[name])  # as its first command does
    with small_networks(QUICK[name]):
        return redone((DOCS / name).read_text(), QUICK[name])


@pytest.mark.parametrize("name", PAGES)
def test_a_page(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / name).read_text()
    assert redone(page) == page


@pytest.mark.parametrize("name", QUICK)
def test_a_page_with_small_networks(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert redone_quickly(name) == (DOCS / name).read_text()


def every_page():
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def test_the_flags_on_every_page_exist():
    helps = {
        command: subprocess.run(
            [sys.executable, "-m", "seqgan_jax.run.cli", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in ("inspect", "train", "sample", "analyze")
    }
    seen = 0
    for page in every_page():
        for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.S):
            for line in re.findall(r"^(?:\$ )?((?:seqgan|python) .*)$", block, re.M):
                named = re.match(
                    r"(?:seqgan |python )(inspect|train|sample|analyze)(?:\.py)?\b", line
                )
                for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", line) if named else ():
                    assert flag in helps[named[1]], f"{page.name}: {line}"
                    seen += 1
    assert seen > 50


def test_the_links_of_every_page_lead_somewhere():
    for page in every_page():
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
        defined = set(re.findall(r"^\[([^]]+)\]: http", text, re.M))
        used = set(re.findall(r"\]\[([^]]+)\]", text))
        assert used == defined, f"{page.name}: {used ^ defined}"


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads((DOCS / "first_hour.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 8
    for cell in code:
        assert not cell["outputs"]
        assert cell["execution_count"] is None


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


if __name__ == "__main__":
    wanted = sys.argv[1:] or [*PAGES, *QUICK]
    for each in wanted:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            new = redone_quickly(each) if each in QUICK else redone((DOCS / each).read_text())
            (DOCS / each).write_text(new)
