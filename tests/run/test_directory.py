"""The run directory: lock, settings, metrics; what is not a run's own is refused or left alone."""

import errno
import fcntl
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seqgan_jax.errors import BusyError, CheckpointError, DiskError
from seqgan_jax.run import directory

OLDER = (
    '{"format": 1}',
    "format 1, this version reads format 2. Use the version of seqgan-jax that",
)
ROWS = [{"phase": "gen_pretrain", "step": i, "train_nll": 0.5 * i} for i in (1, 2)]
ROWS += [{"phase": "adversarial", "step": i, "reward": 0.1 * i} for i in (1, 2, 3)]


def test_the_lock_names_its_holder_and_frees_itself(tmp_path):
    folder = tmp_path / "a" / "b"
    handle = directory.lock(folder)
    assert (folder / "run.lock").read_text() == f"process {os.getpid()}\n"
    with pytest.raises(BusyError) as caught:
        directory.lock(folder)
    assert str(caught.value) == (
        f"{folder}: in use by process {os.getpid()}. Wait for it, or name another --run-dir."
    )
    handle.close()
    again = directory.lock(folder)
    assert (folder / "run.lock").read_text() == f"process {os.getpid()}\n"
    again.close()


def test_a_longer_word_of_an_earlier_holder_is_replaced(tmp_path):
    (tmp_path / "run.lock").write_text("process 1234567890\n" * 3)
    with directory.lock(tmp_path):
        assert (tmp_path / "run.lock").read_text() == f"process {os.getpid()}\n"


@pytest.mark.parametrize(
    "words", ["", "process 999999999\n", "process 12", "rm -rf\n", "process 0\n"]
)
def test_a_holder_that_does_not_live_is_not_named(tmp_path, words, monkeypatch):
    naps = []
    monkeypatch.setattr(directory.time, "sleep", naps.append)
    (tmp_path / "run.lock").write_text(words)
    with open(tmp_path / "run.lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="in use by another process"):
            directory.lock(tmp_path)
    assert (tmp_path / "run.lock").read_text() == words
    assert 0.5 <= sum(naps) <= 2


def test_a_holder_that_has_only_just_taken_it_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "run.lock"
    path.write_text("")
    monkeypatch.setattr(
        directory.time, "sleep", lambda _: path.write_text(f"process {os.getpid()}\n")
    )
    with open(path) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            directory.lock(tmp_path)


@pytest.mark.parametrize(
    ("error", "alive"),
    [(None, True), (PermissionError, True), (ProcessLookupError, False), (OverflowError, False)],
)
def test_whether_a_process_lives(monkeypatch, error, alive):
    def kill(pid, number):
        assert (pid, number) == (7, 0)
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert directory._is_alive(7) is alive


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "save").mkdir()
    (tmp_path / "save" / "run.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(DiskError, match=r"run\.lock: cannot be written"):
        directory.lock(tmp_path / "save")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_lock_in_a_file_or_on_a_full_disk(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="directory is wanted"):
        directory.lock(tmp_path / "file")
    if os.path.exists("/dev/full"):
        full = os.open("/dev/full", os.O_RDWR)
        monkeypatch.setattr(os, "open", lambda *_, **__: full)
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
        with pytest.raises(DiskError, match=r"run\.lock"):
            directory.lock(tmp_path)
        monkeypatch.undo()


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o640), (0, 0o666)])
def test_the_lock_is_made_with_the_modes_of_the_umask(tmp_path, umask, mode):
    old = os.umask(umask)
    try:
        directory.lock(tmp_path).close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run.lock").stat().st_mode) == mode


def test_settings_that_are_missing_no_file_or_huge(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(CheckpointError, match=r"no run here \(config\.json is missing\)"):
        directory.read_config(tmp_path)
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match="it is no plain file"):
        directory.read_config(tmp_path)
    path.unlink()
    text = '{"format": 2}'
    path.write_text(text + " " * (directory.LARGEST_CONFIG - len(text)))
    assert directory.read_config(tmp_path) == {"format": 2}
    path.write_text(text + " " * (directory.LARGEST_CONFIG - len(text) + 1))
    with pytest.raises(CheckpointError, match="it has more than 4,194,304 bytes"):
        directory.read_config(tmp_path)
    path.write_text('{"format": 2, "scale": NaN}')
    with pytest.raises(CheckpointError, match="NaN is no number"):
        directory.read_config(tmp_path)


def test_a_lock_on_a_full_disk_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "x")

    class Handle(io.StringIO):
        truncate = write = full
        fileno = int

    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    monkeypatch.setattr("builtins.open", lambda *_, **__: Handle())
    with pytest.raises(DiskError, match=r"run\.lock: cannot be written: No space left on device"):
        directory.lock(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        {"names": "ab", "features": 2},
        {"names": ["a", 1], "features": 2},
        {"names": ["a", "b"], "features": 1},
        {"names": ["a", "b"]},
        {"features": 0},
    ],
    ids=range(7),
)
def test_what_is_no_description_of_data(tmp_path, entry):
    directory.write_config(tmp_path, {"data": entry})
    with pytest.raises(CheckpointError, match=r"config\.json: its entry 'data' does not describe"):
        directory.data_of(tmp_path)
    directory.write_config(tmp_path, {"data": {"names": ["a", "b"], "features": 2}})
    assert directory.data_of(tmp_path) == {"names": ["a", "b"], "features": 2}


def test_what_an_earlier_run_left(tmp_path):
    assert directory.present(tmp_path) == []
    (tmp_path / "real_data.txt").write_text("mine")
    (tmp_path / "config.json").write_text("{}")
    directory.checkpoints(tmp_path).mkdir()
    assert directory.present(tmp_path) == ["config.json", "checkpoints"]


@pytest.mark.parametrize("name", [*directory.MADE_BY_TRAINING, "run.lock"])
def test_links_are_refused_wherever_they_lead(tmp_path, name):
    directory.refuse_links(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=f"{name}: is a link"):
        directory.refuse_links(tmp_path)


def test_settings_come_back_and_are_written_at_once(tmp_path):
    directory.write_config(tmp_path, {"settings": {"a": 1}, "scaler": [0.1]})
    assert directory.read_config(tmp_path) == {"format": 2, "settings": {"a": 1}, "scaler": [0.1]}
    text = (tmp_path / "config.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    with pytest.raises(ValueError):
        directory.write_config(tmp_path, {"scaler": float("nan")})
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read|not JSON"),
        ("[1]", "format|object"),
        ('{"format": 9}', "format 9"),
        OLDER,
    ],
)
def test_settings_of_another_kind_are_refused(tmp_path, text, words):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        directory.read_config(tmp_path)


def test_metrics_are_added_line_by_line(tmp_path):
    assert directory.read_metrics(tmp_path) == []
    directory.append_metrics(tmp_path, ROWS[:2])
    directory.append_metrics(tmp_path, ROWS[2:])
    directory.sync_metrics(tmp_path)
    assert directory.read_metrics(tmp_path) == ROWS
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 5


@pytest.mark.parametrize(
    "bad",
    ['{"phase": "adversarial", "st', "[1]", "7", '{"step": 3}', '{"phase": "x", "step": "3"}'],
)
def test_metrics_end_at_the_first_line_that_is_none(tmp_path, bad):
    directory.append_metrics(tmp_path, ROWS[:3])
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(bad + "\n" + json.dumps(ROWS[3]) + "\n")
    assert directory.read_metrics(tmp_path) == ROWS[:3]


def test_metrics_are_cut_to_what_is_done(tmp_path):
    directory.append_metrics(tmp_path, ROWS)
    directory.cut_metrics(tmp_path, {"gen_pretrain": 2, "adversarial": 1})
    assert directory.read_metrics(tmp_path) == ROWS[:3]
    directory.cut_metrics(tmp_path, {"gen_pretrain": 1})
    assert directory.read_metrics(tmp_path) == ROWS[:1]
    directory.cut_metrics(tmp_path, {})
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_metrics_are_synced(tmp_path, monkeypatch):
    directory.append_metrics(tmp_path, ROWS)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    directory.sync_metrics(tmp_path)
    assert synced == [str(tmp_path / "metrics.jsonl")]


def test_metrics_that_cannot_be_written(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    for call in (
        lambda: directory.append_metrics(tmp_path, ROWS),
        lambda: directory.sync_metrics(tmp_path),
    ):
        with pytest.raises(DiskError, match=r"metrics\.jsonl: cannot be written"):
            call()


def test_where_checkpoints_are():
    assert directory.checkpoints(Path("save")) == Path("save/checkpoints")


def test_a_lock_that_a_file_system_does_not_have_is_no_other_process(tmp_path, monkeypatch):
    def missing(*_):
        raise OSError(errno.ENOLCK, "x")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(DiskError, match=r"run\.lock: cannot be written: No locks available"):
        directory.lock(tmp_path)


def test_the_package_can_be_imported_where_there_is_no_posix():
    """As on Windows: neither fcntl nor what os and signal have on POSIX only."""
    script = (
        "import os, signal, sys\n"
        "sys.modules['fcntl'] = None\n"
        "for name in ('O_NOFOLLOW', 'getuid', 'fchmod', 'sysconf', 'mkfifo'): delattr(os, name)\n"
        "for name in ('SIGHUP', 'SIGPIPE'): delattr(signal, name)\n"
        "import seqgan_jax.model, seqgan_jax.run.cli, seqgan_jax.run.train, seqgan_jax.run.device\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
