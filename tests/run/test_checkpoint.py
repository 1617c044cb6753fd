"""Checkpoints: whole or refused. What is damaged, half written or hostile is found before use."""

import ctypes
import errno
import gc
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import bombs
import jax
import numpy as np
import pandas as pd
import pytest

import seqgan_jax
from seqgan_jax import SeqGAN
from seqgan_jax.errors import CheckpointError, DiskError
from seqgan_jax.run import checkpoint
from seqgan_jax.run.checkpoint import MANIFEST, Store

GOLDEN = Path(__file__).parents[1] / "golden"


def tree(step):
    rng = np.random.default_rng(step)
    return {
        "policy": {"kernel": rng.normal(size=(7, 3)).astype(np.float32), "bias": np.zeros(3, "f4")},
        "round": np.int32(step),
    }


ABSTRACT = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree(0))
MOST = checkpoint.most_bytes(ABSTRACT)


def same(left, right):
    left, right = checkpoint.flatten(left), checkpoint.flatten(right)
    return left.keys() == right.keys() and all(
        np.asarray(left[name]).tobytes() == np.asarray(right[name]).tobytes() for name in left
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two checkpoints, 1 and 2, written once and copied by each test."""
    folder = tmp_path_factory.mktemp("made") / "checkpoints"
    store = Store(folder, keep=3, identity="of this run")
    for step in (1, 2):
        store.save(step, tree(step))
    return folder


@pytest.fixture
def folder(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "checkpoints"))


def files_of(step_folder):
    return sorted(str(p.relative_to(step_folder)) for p in step_folder.rglob("*") if not p.is_dir())


def test_what_is_saved_comes_back_bit_for_bit(folder):
    for step in (1, 2):
        back = checkpoint.restore(folder, step, ABSTRACT, "of this run")
        assert same(back, tree(step))
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back))
    assert not same(checkpoint.restore(folder, 1, ABSTRACT), tree(2))


def test_the_manifest_names_every_file_and_what_made_them(folder):
    manifest = json.loads((folder / "2" / MANIFEST).read_text())
    assert sorted([*manifest["files"], MANIFEST]) == files_of(folder / "2")
    for name, entry in manifest["files"].items():
        content = (folder / "2" / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert manifest["format"] == checkpoint.FORMAT
    assert manifest["step"] == 2
    assert manifest["settings"] == "of this run"
    assert manifest["jax"] == jax.__version__
    assert manifest["device"].startswith("cpu")


def test_only_the_last_ones_are_kept_and_only_after_the_new_one_is_safe(tmp_path, monkeypatch):
    store = Store(tmp_path, keep=2)
    there = []
    rename = os.rename

    def watched(old, new):
        if ".old-" in str(new):
            checkpoint.verify(tmp_path, 4, MOST)
            there.append(checkpoint.steps(tmp_path))
        rename(old, new)

    store.save(1, tree(1))
    store.save(2, tree(2))
    monkeypatch.setattr(os, "rename", watched)
    store.save(4, tree(4))
    assert there == [[1, 2, 4]]
    assert checkpoint.steps(tmp_path) == [2, 4]
    assert sorted(os.listdir(tmp_path)) == ["2", "4"]


def test_a_step_that_is_there_stays_as_it_is(folder):
    before = (folder / "2" / MANIFEST).read_bytes()
    Store(folder, keep=3).save(2, tree(9))
    assert (folder / "2" / MANIFEST).read_bytes() == before
    assert same(checkpoint.restore(folder, 2, ABSTRACT), tree(2))


def test_what_a_killed_save_left_is_removed_and_nothing_else(folder):
    for name in (".tmp-3", ".old-1"):
        shutil.copytree(folder / "2", folder / name)
    (folder / "notes.txt").write_text("mine")
    (folder / "2.damaged").mkdir()
    (folder / ".tmp-link").symlink_to(folder / "1")
    Store(folder, keep=3)
    assert sorted(os.listdir(folder)) == ["1", "2", "2.damaged", "notes.txt"]
    assert same(checkpoint.restore(folder, 1, ABSTRACT), tree(1))
    assert same(checkpoint.restore_last(folder, ABSTRACT)[1], tree(2))


def damage(step_folder, name, how):
    path = step_folder / name
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "one byte less":
        path.write_bytes(content[:-1])
    elif how == "one byte more":
        path.write_bytes(content + b"\0")
    elif how == "a directory":  # as root every file is readable: not one that cannot be read
        path.unlink()
        path.mkdir()
    elif how == "a link":
        path.rename(step_folder.parent.parent / "elsewhere")
        path.symlink_to(step_folder.parent.parent / "elsewhere")
    elif how == "another step's":
        source = step_folder.parent / "1" / name
        path.write_bytes(source.read_bytes())


HOW = ["deleted", "empty", "half", "one byte less", "one byte more", "a directory", "a link"]


@pytest.mark.parametrize("how", [*HOW, "another step's"])
def test_every_damaged_file_is_found_and_the_step_before_is_used(made, tmp_path, how):
    names = files_of(made / "2")
    assert len(names) > 5
    tried = 0
    for i, name in enumerate(names):
        folder = Path(shutil.copytree(made, tmp_path / str(i) / "checkpoints"))
        before = (folder / "2" / name).read_bytes()
        damage(folder / "2", name, how)
        if how == "another step's" and (folder / "2" / name).read_bytes() == before:
            continue  # the same in both steps: nothing was damaged
        tried += 1
        with pytest.raises(CheckpointError, match=f"^{folder / '2'}: .*"):
            checkpoint.restore(folder, 2, ABSTRACT)
        step, back, wrong = checkpoint.restore_last(folder, ABSTRACT)
        assert step == 1
        assert same(back, tree(1))
        assert len(wrong) == 1
        assert str(folder / "2") in wrong[0]
    assert tried >= (3 if how == "another step's" else len(names))


def test_every_unreadable_file_is_found(folder, monkeypatch):
    real = open  # patched, since root may read everything
    for name in files_of(folder / "2"):

        def refuse(path, *arguments, unreadable=folder / "2" / name, **keywords):
            if path == unreadable:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", refuse)
            step, _, wrong = checkpoint.restore_last(folder, ABSTRACT)
        assert step == 1
        assert wrong == [f"{folder / '2'}: Permission denied."]


def flip_bits(folder, number, seed):
    """Flips of one bit, each undone again; how many `verify` did not find."""
    rng = random.Random(seed)
    names = files_of(folder / "2")
    missed = 0
    for _ in range(number):
        path = folder / "2" / rng.choice(names)
        content = bytearray(path.read_bytes())
        bit = rng.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            checkpoint.verify(folder, 2, MOST)
            missed += 1
        except CheckpointError:
            pass
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
    checkpoint.verify(folder, 2, MOST)
    return missed


def test_flipped_bits_are_found(folder):
    assert flip_bits(folder, 100, seed=0) == 0


@pytest.mark.chaos
def test_1000_flipped_bits_are_found(folder):
    assert flip_bits(folder, 1000, seed=1) == 0


def test_without_the_hashes_flipped_bits_are_missed(folder, monkeypatch):
    """The control: it is the hashes that find them, not orbax or the sizes."""
    real = checkpoint._fingerprint
    manifest = json.loads((folder / "2" / MANIFEST).read_text())

    def only_sizes(path):
        name = str(path.relative_to(folder / "2"))
        return manifest["files"][name] | {"size": real(path)["size"]}

    monkeypatch.setattr(checkpoint, "_fingerprint", only_sizes)
    assert flip_bits(folder, 50, seed=0) > 10


def test_all_damaged_is_refused_with_every_reason(folder):
    for step in (1, 2):
        (folder / str(step) / MANIFEST).unlink()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.restore_last(folder, ABSTRACT)
    assert str(caught.value).count("MANIFEST.json is missing") == 2


def test_damaged_ones_are_set_aside_never_deleted(folder):
    (folder / "2" / MANIFEST).write_text("x")
    assert checkpoint.set_aside(folder, after=1) == [folder / "2.damaged"]
    Store(folder, keep=1).save(2, tree(2))
    assert sorted(os.listdir(folder)) == ["2", "2.damaged"]
    assert (folder / "2.damaged" / MANIFEST).read_text() == "x"
    assert checkpoint.set_aside(folder, after=1) == [folder / "2.damaged-1"]


def rewrite(folder, **changes):
    """A manifest that is whole, as a stranger could write it."""
    path = folder / "2" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest.pop("sha256")
    path.write_text(checkpoint._seal({**manifest, **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": checkpoint.FORMAT + 1}, "a newer one"),
        ({"format": 0}, "an older one"),
        ({"format": "1"}, "damaged"),
        ({"step": 1}, "copy of checkpoint 1"),
        ({"settings": "others"}, "other settings"),
        ({"files": []}, "damaged"),
        ({"files": {"a": 1}}, "damaged"),
        ({"files": {"../../x": {"size": 1, "sha256": ""}}}, "missing"),
        ({"files": {}}, "does not belong"),
    ],
)
def test_a_manifest_of_another_kind_is_refused_in_words(folder, changes, words):
    rewrite(folder, **changes)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.restore(folder, 2, ABSTRACT, "of this run")


def hostile(folder, kind):
    state = folder / "2" / "state"
    if kind == "pickle":
        (state / "x.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    elif kind == "deep manifest":
        (folder / "2" / MANIFEST).write_text("[" * 200_000 + "]" * 200_000)
        return
    elif kind == "huge manifest":
        with open(folder / "2" / MANIFEST, "w") as file:
            file.truncate(1 << 40)
        return
    elif kind == "not utf-8":
        (folder / "2" / MANIFEST).write_bytes(b"\xff\xfe{}")
        return
    elif kind == "a huge sparse file":
        with open(state / "bytes" / "0", "w") as file:
            file.truncate(1 << 40)
    elif kind == "a pipe":
        os.mkfifo(state / "pipe")
        return
    elif kind == "a step that is a link":
        (folder / "2").rename(folder.parent / "2")
        (folder / "2").symlink_to(folder.parent / "2")
        return
    elif kind == "a state that is a link":
        state.rename(folder.parent / "state")
        state.symlink_to(folder.parent / "state")
        return
    elif kind == "deep metadata":
        (state / "_METADATA").write_text('{"tree_metadata":' * 100_000)
    elif kind == "absurd metadata":
        words = (state / "_METADATA").read_text().replace("false", "1e999").replace("bytes", "../x")
        (state / "_METADATA").write_text(words)
    elif kind == "another type":
        bombs.change(state, dtype="|b1")
    elif kind == "a chunk larger than its vector":
        bombs.change(state, chunks=[10**9])
    elif kind == "many files":
        for i in range(checkpoint.MOST_FILES + 1):
            (state / f"f{i}").touch()
        return
    elif kind == "a bomb for a vector":
        bombs.vector(state, 10**10)
    elif kind == "another packer":
        bombs.vector(state, 0, packer="zlib")
    elif kind == "a bomb in a database":
        bombs.database(state, 400 << 20)
    elif kind in ("absurd shapes", "other names"):
        shutil.rmtree(folder / "2")
        shape = (1 << 26,) if kind == "absurd shapes" else (7, 3)
        bomb = {**tree(2), "policy": {"kernel": np.zeros(shape, "f4"), "bias": np.zeros(3, "f4")}}
        if kind == "other names":
            bomb["../../../outside"] = np.zeros(3, "f4")
        Store(folder, keep=3, identity="of this run").save(2, bomb)
        return
    names = [name for name in files_of(folder / "2") if name != MANIFEST]
    huge = {"size": 1 << 40, "sha256": "0" * 64}
    rewrite(
        folder,
        files={
            name: huge
            if (folder / "2" / name).stat().st_size > 1 << 30
            else checkpoint._fingerprint(folder / "2" / name)
            for name in names
        },
    )


HOSTILE = ["deep manifest", "huge manifest", "not utf-8", "a huge sparse file", "a pipe"]
HOSTILE += ["a step that is a link", "a state that is a link", "deep metadata", "absurd metadata"]
HOSTILE += ["many files", "absurd shapes", "other names", "another type"]
HOSTILE += ["a chunk larger than its vector"]
BOMBS = {
    "a bomb for a vector": "its vector is packed",
    "another packer": "its vector is packed",
    "a bomb in a database": "manifest.ocdbt does not belong to it",
}


@pytest.mark.parametrize("kind", [*HOSTILE, *BOMBS])
def test_hostile_checkpoints_are_refused_at_once(folder, kind):
    hostile(folder, kind)
    before = memory_now()
    started = time.monotonic()
    with pytest.raises(CheckpointError, match=BOMBS.get(kind, ".")):
        checkpoint.restore(folder, 2, ABSTRACT, "of this run")
    assert time.monotonic() - started < 2
    assert memory_peak() - before < 100e6


def test_without_the_checks_a_packed_vector_is_unpacked(folder, monkeypatch):
    """The control: orbax reads them."""
    bombs.vector(folder / "2" / "state", checkpoint.num_bytes(ABSTRACT))
    names = [name for name in files_of(folder / "2") if name != MANIFEST]
    rewrite(folder, files={name: checkpoint._fingerprint(folder / "2" / name) for name in names})
    with pytest.raises(CheckpointError, match="its vector is packed"):
        checkpoint.restore(folder, 2, ABSTRACT)
    monkeypatch.setattr(checkpoint, "_check_vector", lambda *_: None)
    assert not np.any(checkpoint.restore(folder, 2, ABSTRACT)["policy"]["kernel"])


def test_without_the_checks_a_database_takes_the_memory_that_it_asks_for(folder, monkeypatch):
    """The control: orbax opens it."""
    hostile(folder, "a bomb in a database")
    assert sum((folder / "2" / name).stat().st_size for name in files_of(folder / "2")) < MOST / 10
    monkeypatch.setattr(checkpoint, "_check_files", lambda *_: None)
    before = memory_now()
    assert same(checkpoint.restore(folder, 2, ABSTRACT), tree(2))
    assert memory_peak() - before > 300e6


def test_a_pickle_in_a_checkpoint_is_never_opened(folder):
    hostile(folder, "pickle")
    try:
        back = checkpoint.restore(folder, 2, ABSTRACT)
    except CheckpointError:
        pass
    else:
        assert same(back, tree(2))
    assert not os.path.exists("/tmp/owned")


def memory_peak():
    with open("/proc/self/status") as file:
        return 1024 * int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def memory_now():
    """The memory in use, from which on the peak counts anew; what earlier tests freed is given
    back first, else it would be taken again unseen."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory_peak()


def test_a_size_beyond_its_model_is_refused(folder):
    with pytest.raises(CheckpointError, match="larger than its model"):
        checkpoint.verify(folder, 2, 100)


@pytest.mark.parametrize(
    "other", [{"policy": ABSTRACT["policy"]}, {**ABSTRACT, "x": ABSTRACT["round"]}]
)
def test_a_model_of_other_arrays_is_refused(folder, other):
    with pytest.raises(CheckpointError, match="not there"):
        checkpoint.restore(folder, 2, other)


def test_a_model_of_another_type_is_refused(folder):
    other = {**ABSTRACT, "round": jax.ShapeDtypeStruct((), np.float32)}
    with pytest.raises(CheckpointError, match=r"round is \['int32'\], the model's \['float32'\]"):
        checkpoint.restore(folder, 2, other)


def test_names_that_are_no_steps_are_not_listed(folder):
    for name in ("03", "²", "9" * 30, "-1", "1.0"):
        (folder / name).mkdir()
    assert checkpoint.steps(folder) == [1, 2]
    assert checkpoint.steps(folder / "nowhere") == []


def test_a_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="directory is wanted"):
        Store(tmp_path / "file", keep=1)


def test_saves_that_fail_leave_the_earlier_ones_and_no_rest(folder, monkeypatch):
    store = Store(folder, keep=1)

    def broken(*_):
        raise ValueError("tensorstore says no\nat length")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DiskError, match=r"3 could .*; .* untouched\. tensorstore says no$"):
        store.save(3, tree(3))
    assert sorted(os.listdir(folder)) == ["1", "2"]


def test_the_golden_checkpoint_is_read():
    """Written once: `python tests/golden/make.py` made it."""
    golden = GOLDEN / f"format{checkpoint.FORMAT}"
    known = json.loads((golden / "known.json").read_text())
    model = SeqGAN.load(golden)
    arrays = checkpoint.flatten(model.state)
    content = b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))
    assert hashlib.sha256(content).hexdigest() == known["sha256"]
    assert np.allclose(model.log_prob(known["x"]), known["log_prob"], rtol=1e-5)


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("v*")), ids=lambda folder: folder.name)
def test_a_model_of_a_table_that_a_release_saved_is_read(folder):
    """Words, zeros, yes and no, gaps, ids and a calendar: the same weights, densities and form."""
    known = json.loads((folder / "known.json").read_text())
    model = SeqGAN.load(folder)
    arrays = checkpoint.flatten(model.state)
    content = b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))
    assert hashlib.sha256(content).hexdigest() == known["sha256"]
    rows = pd.DataFrame(known["rows"], index=pd.DatetimeIndex(known["day"], name="day"))
    log_p = model.log_prob(rows.assign(shop=np.repeat(np.arange(5).astype(str), 6)))
    assert np.allclose(log_p, known["log_prob"], rtol=1e-4)
    assert np.all(np.isfinite(log_p))
    new = model.sample(4)
    assert {name: str(kind) for name, kind in new.dtypes.items()} == known["columns"]
    assert new.index.name == known["index"]
    assert len(new) == 24
    assert len(model.history_) == 2


def test_this_release_has_its_golden_model():
    release = ".".join(seqgan_jax.__version__.split(".")[:2])
    assert list(GOLDEN.glob(f"v{release}.*"))


@pytest.mark.parametrize("number", range(1, checkpoint.FORMAT))
def test_checkpoints_of_older_formats_are_refused_in_words(folder, number):
    rewrite(folder, format=number)
    words = f"has format {number}, this version reads format 4: use the .* that wrote it .an older"
    with pytest.raises(CheckpointError, match=words):
        checkpoint.restore(folder, 2, ABSTRACT)


def test_nothing_of_the_machine_is_in_a_golden_checkpoint():
    for path in GOLDEN.rglob("*"):
        absolute = rb"/(home|Users|root|tmp|mnt|var|work)/"
        assert path.is_dir() or not re.search(absolute, path.read_bytes())


def test_the_format_has_its_golden_checkpoint():
    assert [path.name for path in GOLDEN.glob("format*")] == [f"format{checkpoint.FORMAT}"]


def test_another_config_beside_a_checkpoint_is_refused(tmp_path):
    shutil.copytree(GOLDEN / f"format{checkpoint.FORMAT}", tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    content = json.loads(path.read_text())
    content["scaler"] = json.loads(json.dumps(content["scaler"]))
    content["data"]["source"] = "another"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="other settings or data"):
        SeqGAN.load(tmp_path / "m")


def test_loading_says_what_is_damaged(tmp_path):
    shutil.copytree(GOLDEN / f"format{checkpoint.FORMAT}", tmp_path / "m")
    checkpoints = tmp_path / "m" / "checkpoints"
    shutil.copytree(checkpoints / "2", checkpoints / "7")
    with pytest.warns(UserWarning, match=r"7: is a copy of checkpoint 2\. Using step 2 instead"):
        SeqGAN.load(tmp_path / "m")
    with pytest.raises(CheckpointError, match="copy"):
        SeqGAN.load(tmp_path / "m", step=7)


def test_links_in_a_run_directory_are_refused(tmp_path):
    shutil.copytree(GOLDEN / f"format{checkpoint.FORMAT}", tmp_path / "m")
    (tmp_path / "m" / "checkpoints").rename(tmp_path / "c")
    (tmp_path / "m" / "checkpoints").symlink_to(tmp_path / "c")
    with pytest.raises(CheckpointError, match="is a link"):
        SeqGAN.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), r"3: cannot be written: No space left on device \("),
        (ValueError("tensorstore [os_error_code='5'] at length"), "Input/output error"),
        (DiskError("its own words"), r"untouched\. its own words$"),
    ],
)
def test_a_failed_save_gives_the_reason_of_the_system(folder, monkeypatch, error, words):
    def broken(*_):
        raise error

    monkeypatch.setattr(Store, "_write", broken)
    with pytest.raises(DiskError, match=words):
        Store(folder, keep=1).save(3, tree(3))
    assert sorted(os.listdir(folder)) == ["1", "2"]


def test_folders_that_cannot_be_listed_or_renamed(folder, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "x")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", broken)
        with pytest.raises(DiskError, match="cannot be used for checkpoints"):
            Store(folder, keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", broken)
        with pytest.raises(DiskError, match=r"2\.damaged: cannot be written: Input/output error"):
            checkpoint.set_aside(folder, after=1)


def test_what_orbax_cannot_read_is_refused_in_one_line(folder, monkeypatch):
    def broken(*_, **__):
        raise KeyError("first line\nsecond")

    monkeypatch.setattr(checkpoint.ocp.Checkpointer, "restore", broken)
    with pytest.raises(CheckpointError, match=r"2: checkpoint cannot be read \(.*\)\.$"):
        checkpoint.restore(folder, 2, ABSTRACT)


def test_saving_and_loading_change_nothing_of_the_process(tmp_path):
    """Hooks of errors and levels of logs belong to the program that uses the package."""
    script = (
        "import logging, sys\n"
        "def mine(*_): pass\n"
        "sys.excepthook = sys.unraisablehook = mine\n"
        "logging.getLogger('absl').setLevel(logging.ERROR)\n"
        "import numpy as np, test_checkpoint\n"
        "from pathlib import Path\n"
        "from seqgan_jax.run import checkpoint\n"
        "store = checkpoint.Store(Path('checkpoints'), keep=1)\n"
        "store.save(1, test_checkpoint.tree(1))\n"
        "checkpoint.restore(Path('checkpoints'), 1, test_checkpoint.ABSTRACT)\n"
        "assert sys.excepthook is sys.unraisablehook is mine\n"
        "assert logging.getLogger('absl').level == logging.ERROR\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (root, root / "tests", root / "tests" / "run")))
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_changed_size_is_named_in_bytes(folder):
    size = (folder / "2" / "state" / "_METADATA").stat().st_size
    damage(folder / "2", "state/_METADATA", "one byte less")
    with pytest.raises(CheckpointError, match=f"_METADATA has {size - 1} bytes, not {size}"):
        checkpoint.verify(folder, 2, MOST)


def test_no_descriptor_stays_open_and_no_model_is_too_large_for_its_bound(folder):
    before = len(os.listdir("/proc/self/fd"))
    checkpoint._sync(folder)
    checkpoint.verify(folder, 2, MOST)
    assert len(os.listdir("/proc/self/fd")) == before

    assert 2 * checkpoint.num_bytes(ABSTRACT) + 1_000_000 <= MOST
