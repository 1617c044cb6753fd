"""A full disk that is no pretence: file systems of many sizes, made larger once they are full."""

import os
import tempfile
from pathlib import Path

import pytest
import small_disks

pytestmark = [pytest.mark.chaos]
ROOT = Path(__file__).parents[2]
CACHE = {
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "run"))),
    "JAX_COMPILATION_CACHE_DIR": os.path.join(tempfile.gettempdir(), f"seqgan-test-{os.getuid()}"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


@pytest.fixture
def folder(tmp_path):
    if not small_disks.possible(tmp_path):
        pytest.skip("this machine lets no user mount a small tmpfs (unshare --user --mount)")
    return tmp_path


def test_saves_on_disks_of_many_sizes(folder):
    rows = small_disks.run(folder, [*range(4, 420, 16), 4000], CACHE)
    calm = rows[-1]
    assert calm["code"] == 0
    assert calm["acknowledged"] == small_disks.SAVES
    full = [row for row in rows if row["code"]]
    assert {row["acknowledged"] for row in full} >= {0, 1, 2}  # full in every save that adds to it
    for row in rows:
        where = (row["size"], row["said"], row["why"])
        assert row["whole"] >= row["acknowledged"], where
        if row["code"]:
            assert "DiskError" in row["said"], where
            assert "No space left on device (" in row["said"], where
            assert " MB free there)" in row["said"], where
            assert "Event loop is closed" not in row["said"], where  # of a write that goes on
        assert row["after"] == 0, (where, row["then"])
        assert row["end"] == calm["end"], where
