"""Files are written whole or not at all, and the reason is said."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from seqgan_jax.data import files
from seqgan_jax.errors import DiskError


def test_text_and_bytes_arrive_as_given(tmp_path):
    files.write_text(tmp_path / "a.txt", "é\n2\n")
    files.write_bytes(tmp_path / "b.bin", b"\x00\r\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n2\n"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\r\n"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.bin"]


def test_a_reader_sees_the_old_file_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with files.atomic_write(path) as file:
            file.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_process_that_dies_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import os, sys\nfrom seqgan_jax.data.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write('x' * 1_000_000)\n    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert path.read_text() == "old"


def test_the_data_are_synced_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor):
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("sync directory" if is_directory else "sync file")
        fsync(descriptor)

    def record_replace(old, new):
        events.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    files.write_text(tmp_path / "a.txt", "1")
    assert events == ["sync file", "rename", "sync directory"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "may write to"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_the_message_says_path_reason_space_and_remedy(tmp_path, monkeypatch, code, remedy):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError) as caught:
        files.write_text(path, "new")
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written: {os.strerror(code)} (")
    assert "B free there)" in message
    assert remedy in message
    assert caught.value.exit_code == 5
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_real_limit_on_file_size_is_a_disk_error(tmp_path):
    program = (
        "import resource, signal, sys\n"
        "from seqgan_jax.errors import DiskError\nfrom seqgan_jax.data.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_bytes(sys.argv[1], bytes(100_000))\n"
        "except DiskError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "File too large" in output
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("1")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("missing/a.txt", "Create its directory first"),
        ("file/a.txt", "a file, not a directory"),
        ("folder", "It is a directory"),
        ("pipe", "device or a pipe"),
        ("n" * 300, "shorter name"),
    ):
        with pytest.raises(DiskError, match=said):
            files.write_text(tmp_path / name, "1")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "pipe"]


def test_links_are_followed_and_modes_kept(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    files.write_text(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a.txt", "1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 255)
    files.write_text(path, "1")
    assert path.read_text() == "1"


def test_make_directory(tmp_path):
    assert files.make_directory(tmp_path / "a" / "b").is_dir()
    files.make_directory(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("1")
    with pytest.raises(DiskError, match="is a file, and a directory is wanted"):
        files.make_directory(tmp_path / "file")
    with pytest.raises(DiskError, match="not a directory"):
        files.make_directory(tmp_path / "file" / "a")


def test_control_characters_are_escaped(tmp_path):
    with pytest.raises(DiskError) as caught:
        files.write_text(tmp_path / "missing" / "\x1b[31m", "1")
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[31m" in str(caught.value)


def test_escaping_takes_nothing_away():
    assert files.printable("a\x1b") == "a\\x1b"
    assert files.printable("\ta") == "\\ta"


def test_errors_without_a_number_of_the_system(tmp_path):
    words = str(files.disk_error(tmp_path / "a", OSError("odd")))
    assert ": cannot be written: odd (" in words
    assert words.endswith("Check the disk, or write somewhere else.")
    assert ": cannot be written: OSError (" in str(files.disk_error(tmp_path / "a", OSError()))


def test_free_space_that_nobody_knows_is_left_out(tmp_path, monkeypatch):
    def unknown(_):
        raise OSError

    monkeypatch.setattr(files.shutil, "disk_usage", unknown)
    words = str(files.disk_error(tmp_path / "a", OSError(errno.ENOSPC, "")))
    assert words == (
        f"{tmp_path / 'a'}: cannot be written: No space left on device. "
        "Free some space, or write to another disk."
    )


@pytest.mark.parametrize(
    ("free", "words"),
    [(2_340_000_000, "2.3 GB"), (10**9, "1.0 GB"), (10**9 - 10**5, "999.9 MB"), (4096, "0.0 MB")],
)
def test_free_space_is_told_in_its_unit(tmp_path, monkeypatch, free, words):
    usage = type("Usage", (), {"free": free})()
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    said = str(files.disk_error(tmp_path / "a", OSError(errno.ENOSPC, "")))
    assert f"No space left on device ({words} free there). Free" in said


def test_a_new_directory_is_synced_into_the_one_above(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    files.make_directory(tmp_path / "a")
    assert synced == [str(tmp_path)]


def test_everybody_may_read_and_write_where_the_umask_says_so(tmp_path):
    old = os.umask(0)
    try:
        files.write_text(tmp_path / "a", "1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666


def test_all_of_it_is_in_the_file_when_it_is_synced(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    files.write_text(tmp_path / "a", "x" * 100)
    assert sizes[0] == 100


def test_no_descriptor_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        files.write_text(tmp_path / "a", "1")
        files.make_directory(tmp_path / "b")
    assert len(os.listdir("/proc/self/fd")) == before
