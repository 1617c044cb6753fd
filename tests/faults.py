"""Real processes that are killed, or whose disk fails, at a chosen file operation or time.

`Runs` starts one process that has imported everything and forks a fresh `train.py` from it for each
run, with faults.c preloaded. Linux with a C compiler; elsewhere these tests are skipped.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KILL, TORN = -1, -2


class Runs:
    """Forks runs of `train.py` in `folder`; `library` is faults.c, compiled there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        library = folder / "faults.so"
        flags = ["-shared", "-fPIC", "-O1", "-w", "-o", library, HERE / "faults.c", "-ldl"]
        subprocess.run([compiler(), *flags], check=True)
        # The suite's own; its entries are whole before anything is killed.
        cache = os.path.join(tempfile.gettempdir(), f"seqgan-test-{os.getuid()}")
        environment = os.environ | {
            "LD_PRELOAD": str(library),
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "faults.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(
        self,
        words: list[str],
        folder: Path,
        *,
        at: int = 0,
        action: int = 0,
        part: str = "save/",
        control: str = "",
    ) -> int:
        """Start `train.py words` in `folder`; its process id. Output goes to folder/output."""
        self._ask(words=words, folder=str(folder), at=at, action=action, part=part, control=control)
        return int(json.loads(self._process.stdout.readline())["pid"])

    def wait(self, seconds: float = 900) -> int:
        """Exit code of the run, -9 where it was killed; kills it after `seconds`."""
        self._ask(wait=seconds)
        return int(json.loads(self._process.stdout.readline())["code"])

    def run(self, words: list[str], folder: Path, **faults: Any) -> int:
        """Start and wait."""
        self.start(words, folder, **faults)
        return self.wait()

    def _ask(self, **request: Any) -> None:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.communicate()


def compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")


def operations(folder: Path) -> list[str]:
    """File operations of the last run in `folder`, in order: "write /path"."""
    lines = (folder / "operations").read_text().splitlines()
    return [line.split(" ", 1)[1] for line in lines]


def _serve() -> None:
    import seqgan_jax.model
    import seqgan_jax.run  # noqa: F401

    child = 0
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            signal.signal(signal.SIGALRM, lambda *_, pid=child: os.kill(pid, signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, request["wait"])
            _, status = os.waitpid(child, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        child = os.fork()
        if not child:
            _child(**request)
        print(json.dumps({"pid": child}), flush=True)


def _child(words: list[str], folder: str, at: int, action: int, part: str, control: str) -> None:
    os.chdir(folder)
    out = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(out, number)
    log = os.open("operations", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    code = 99
    try:
        if control:
            _sabotage(control)
        ctypes.CDLL(None).faults_arm(part.encode(), ctypes.c_long(at), action, log)
        code = _saves(int(words[1])) if words[0] == "saves" else _train(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _train(words: list[str]) -> int:
    from seqgan_jax.run.cli import train_main

    return train_main(words)


def _saves(last: int) -> int:
    """A run without the training: from the last whole checkpoint on, a new state and a save each.

    The state after `last` steps is the same however often it was interrupted.
    """
    import jax
    import numpy as np

    from seqgan_jax.run import checkpoint

    folder = Path("save/checkpoints")
    state = {"weights": np.zeros((40, 8), np.float32), "step": np.int32(0)}
    store = checkpoint.Store(folder, keep=2)
    if checkpoint.steps(folder):
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        step, state, wrong = checkpoint.restore_last(folder, abstract)
        print("resume from", step, *wrong, flush=True)
        checkpoint.set_aside(folder, step)
    for step in range(int(state["step"]) + 1, last + 1):
        noise = np.random.default_rng(step).normal(size=(40, 8)).astype(np.float32)
        weights = np.asarray(state["weights"]) * np.float32(0.9) + noise
        state = {"weights": weights, "step": np.int32(step)}
        store.save(step, state)
        print(f"saved step {step} to {folder}", flush=True)
    return 0


def _sabotage(control: str) -> None:
    """The controls: runs that must lose something."""
    from seqgan_jax.run import checkpoint

    if control == "acknowledge before the save":
        store_save = checkpoint.Store.save

        def before(store: Any, step: int, state: Any) -> None:
            print(f"saved step {step} to early", flush=True)
            store_save(store, step, state)

        checkpoint.Store.save = before
    elif control == "in place":

        def in_place(store: Any, step: int, state: Any) -> None:
            (store.folder / str(step)).mkdir()
            store._write(store.folder / str(step), step, state)

        checkpoint.Store.save = in_place
    elif control == "forget the step counter":
        restore = checkpoint.restore_last

        def forgetful(*arguments: Any) -> Any:
            step, state, wrong = restore(*arguments)
            import dataclasses

            return step, dataclasses.replace(state, round=state.round * 0), wrong

        checkpoint.restore_last = forgetful
    elif control == "no sync":
        checkpoint._sync = lambda _: None
    else:
        raise ValueError(control)


if __name__ == "__main__":
    _serve()
