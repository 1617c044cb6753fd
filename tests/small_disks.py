"""Runs on real file systems that are too small: python small_disks.py FOLDER SIZE...

To be started in a mount namespace of its own (`START`), where anybody may mount. For each size a
tmpfs of that many KiB is mounted on FOLDER/save, a run writes there until it ends or the disk is
full; then the disk is made larger and the run is gone on with. Prints a line of JSON for each.
"""

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import faults

START = ["unshare", "--user", "--map-root-user", "--mount"]
SAVES = 6


def possible(folder: Path) -> bool:
    """Whether this machine lets a user mount a small tmpfs."""
    command = [*START, "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run(folder: Path, sizes: list[int], environment: dict[str, str]) -> list[dict]:
    """What happened on disks of these sizes."""
    command = [*START, sys.executable, "-W", "ignore", __file__, str(folder)]
    done = subprocess.run(
        [*command, *map(str, sizes)],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _forked(work: Callable[[], int]) -> tuple[int, str]:
    """Exit code and output of a child; 99 where it raised."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        out = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        code = 99
        try:
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, Path("output").read_text()


def _saves() -> int:
    return faults._saves(SAVES)


def _whole() -> int:
    """Prints each step and the SHA-256 of what would be gone on from; fails where it is damaged."""
    from test_chaos import restored

    step, state = restored(Path("."))
    print("whole", step, state or "-")
    return 0


def _main(folder: str, *sizes: str) -> None:
    import seqgan_jax.run.checkpoint  # noqa: F401

    os.chdir(folder)
    os.makedirs("save", exist_ok=True)
    for size in sizes:
        options = f"size={size}k,nr_inodes=2000"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", "save"], check=True)
        code, said = _forked(_saves)
        saved = max([int(n) for n in re.findall(r"saved step (\d+) ", said)], default=0)
        left = os.statvfs("save")
        sound, words_of = _forked(_whole)
        whole = int(words_of.split()[1]) if sound == 0 else -1
        subprocess.run(["mount", "-o", "remount,size=64m", "none", "save"], check=True)
        after, then = _forked(_saves)
        _, end = _forked(_whole)
        row = {"size": int(size), "code": code, "said": said, "acknowledged": saved}
        row |= {"free": left.f_bavail * left.f_bsize, "whole": whole, "why": words_of}
        row |= {"after": after, "then": then, "end": end.split()[1:]}
        print(json.dumps(row), flush=True)
        subprocess.run(["umount", "save"], check=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
