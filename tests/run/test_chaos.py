"""Nothing lost: processes killed at file operations and at random times, disks that fail.

faults.c (preloaded) counts the file operations of a real process in its run directory and kills
it at the Nth, or lets the Nth and all later ones fail. `-m chaos` runs all, the suite a sample.
A save is acknowledged by the line "saved step N"; from then on it must not be lost.
"""

import errno
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import faults
import helpers
import jax
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.data import layout
from seqgan_jax.errors import CheckpointError
from seqgan_jax.run import checkpoint, directory

pytestmark = pytest.mark.skipif(faults.compiler() is None, reason="no C compiler")

SAVES = 6  # of a run without training (faults._saves)
TINY = "--data x.txt --hidden-dim 4 --pre-epoch-num 3 --dis-pre-refreshes 2 --total-batch 3"
TINY += " --num-negatives 32 --rollout-num 2 --batch-size 32 --generated-num 50 --patience 4"
TINY += " --dis-r1 0 --checkpoint-every 0 --keep 2 --gradient pathwise --no-look-first"
STATE = {
    "weights": jax.ShapeDtypeStruct((40, 8), np.float32),
    "step": jax.ShapeDtypeStruct((), np.int32),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = faults.Runs(tmp_path_factory.mktemp("runs"))
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path):
    """Makes empty folders to run in."""

    def make():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        layout.save_sequences(folder / "x.txt", helpers.series(80, 4, 1), ("x",))
        return folder

    return make


def counted(items):
    """The items, with a word (-s shows it) for each that is through: a run may be cut off."""
    items = list(items)
    for i, item in enumerate(items, 1):
        yield item
        print(f"{i} of {len(items)}: {item!s}", flush=True)


def output(folder):
    path = folder / "output"
    return path.read_text() if path.exists() else ""


def acknowledged(folder):
    """The last step that the last run in `folder` said is saved; 0 where there is none."""
    return max([int(n) for n in re.findall(r"saved step (\d+) ", output(folder))], default=0)


def restored(folder):
    """Step and SHA-256 of the state that a run without training would go on from."""
    store = folder / "save" / "checkpoints"
    if not checkpoint.steps(store):
        return 0, ""
    step, state, _ = checkpoint.restore_last(store, STATE)
    assert step == int(state["step"])
    return step, hashlib.sha256(np.asarray(state["weights"]).tobytes()).hexdigest()


def lost(folder):
    """Whether the last acknowledged save, or anything before it, cannot be gone on from."""
    try:
        return restored(folder)[0] < acknowledged(folder)
    except CheckpointError:
        return True


@pytest.fixture(scope="module")
def undisturbed(runs, tmp_path_factory):
    """A run without training that nothing disturbed: its folder, and number of operations."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert runs.run(["saves", str(SAVES)], folder) == 0, output(folder)
    assert restored(folder)[0] == acknowledged(folder) == SAVES
    return folder, len(faults.operations(folder))


def kill_at(runs, fresh, undisturbed, numbers, action):
    """Kill a run at each of these operations; none may lose anything, each must go on."""
    for at in counted(numbers):
        folder = fresh()
        code = runs.run(["saves", str(SAVES)], folder, at=at, action=action)
        assert code == (-signal.SIGKILL), (at, output(folder))
        assert not lost(folder), at
        assert runs.run(["saves", str(SAVES)], folder) == 0, (at, output(folder))
        assert restored(folder) == restored(undisturbed[0]), at
        assert not list((folder / "save").rglob("*.damaged")), at
        assert not list((folder / "save").rglob(".tmp-*")), at


@pytest.mark.parametrize("action", [faults.KILL, faults.TORN])
def test_killed_at_some_file_operations(runs, fresh, undisturbed, action):
    count = undisturbed[1]
    assert count > 250
    at = random.Random(action).sample(writes(undisturbed, action), 6)
    kill_at(runs, fresh, undisturbed, at, action)


@pytest.mark.chaos
@pytest.mark.parametrize("action", [faults.KILL, faults.TORN])
def test_killed_at_every_file_operation(runs, fresh, undisturbed, action):
    """Three saves in full, the last with the deletion of an old one."""
    kill_at(runs, fresh, undisturbed, writes(undisturbed, action), action)


def writes(undisturbed, action):
    """Operations up to the end of the third save; for torn ones only writes."""
    operations = faults.operations(undisturbed[0])
    end = next(i for i, name in enumerate(operations) if name.endswith("/.tmp-4"))
    return [
        i + 1
        for i, name in enumerate(operations[:end])
        if action == faults.KILL or name.startswith("write ")
    ]


@pytest.mark.parametrize("control", ["acknowledge before the save", "in place"])
def test_a_careless_save_loses_data(runs, fresh, undisturbed, control):
    """The control: the same kills find an acknowledgement, or a name, that comes too early."""
    end = writes(undisturbed, faults.KILL)[-1]
    found = 0
    for at in random.Random(0).sample(range(end // 3, end), 6):
        folder = fresh()
        runs.run(["saves", str(SAVES)], folder, at=at, action=faults.KILL, control=control)
        whole = {str(step) for step in checkpoint.steps(folder / "save" / "checkpoints")}
        for step in sorted(whole):
            try:
                checkpoint.verify(folder / "save" / "checkpoints", int(step), 10**7)
            except CheckpointError:
                whole.discard(step)
                found += 1
        found += lost(folder)
    assert found >= 3


def kill_at_random_times(runs, folder, words, resume, number, longest, seed):
    """Kill and go on until `number` kills; then to the end. How many lost an acknowledged save."""
    rng = random.Random(seed)
    count = losses = best = 0
    while count < number:
        process = runs.start(words, folder)
        time.sleep(rng.uniform(0.0, longest))
        os.kill(process, signal.SIGKILL)
        code = runs.wait()
        best = max(best, acknowledged(folder))
        assert code in (0, -signal.SIGKILL), output(folder)
        count += code != 0
        steps = checkpoint.steps(folder / "save" / "checkpoints")
        losses += bool(best) and (not steps or steps[-1] < best)
        if (folder / "save" / "config.json").exists():
            words = resume
        if code == 0:
            break
    assert runs.run(words, folder) == 0, output(folder)
    return count, losses


def test_killed_at_random_times(runs, fresh):
    """A run without training of many saves, killed at 15 random times."""
    words, folder, calm = ["saves", "40"], fresh(), fresh()
    assert runs.run(words, calm) == 0
    _, losses = kill_at_random_times(runs, folder, words, words, 15, 0.6, seed=0)
    assert losses == 0
    assert restored(folder) == restored(calm)


@pytest.mark.chaos
def test_killed_1000_times(runs, fresh):
    """CHAOS_KILLS of them (default 100)."""
    number, count, losses = int(os.environ.get("CHAOS_KILLS", "100")), 0, 0
    words, calm = ["saves", "60"], fresh()
    assert runs.run(words, calm) == 0
    for seed in range(1, number + 1):
        folder = fresh()
        kills, missing = kill_at_random_times(
            runs, folder, words, words, min(20, number - count), 0.8, seed
        )
        count, losses = count + kills, losses + missing
        assert restored(folder) == restored(calm)
        if count >= number:
            break
    print(f"{count} kills, {losses} saves lost")
    assert count >= number
    assert losses == 0


def digest(folder):
    """SHA-256 of parameters, optimisers, counters, metrics and samples of a finished run."""
    save = folder / "save"
    arrays = checkpoint.flatten(SeqGAN.load(save).state)
    parts = {
        name: hashlib.sha256(np.asarray(x).tobytes()).hexdigest() for name, x in arrays.items()
    }
    for name in ("metrics.jsonl", "final_samples.txt", "eval_file.txt", "generator_sample.txt"):
        parts[name] = hashlib.sha256((save / name).read_bytes()).hexdigest()
    return parts


@pytest.fixture(scope="module")
def trained(runs, tmp_path_factory):
    """A whole run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("trained")
    layout.save_sequences(folder / "x.txt", helpers.series(80, 4, 1), ("x",))
    assert runs.run(TINY.split(), folder) == 0, output(folder)
    return folder


RESUME = ["--resume"]


def killed_training(runs, folder, at):
    code = runs.run(TINY.split(), folder, at=at, action=faults.KILL)
    assert code == -signal.SIGKILL
    store = folder / "save" / "checkpoints"
    for step in checkpoint.steps(store):
        checkpoint.verify(store, step, 10**8)
    assert acknowledged(folder) <= max(checkpoint.steps(store), default=0)
    words = RESUME if (folder / "save" / "config.json").exists() else [*TINY.split(), "--overwrite"]
    assert runs.run(words, folder) == 0, output(folder)


@pytest.mark.slow
def test_a_training_killed_in_a_save_ends_as_if_nothing_had_happened(runs, fresh, trained):
    count = len(faults.operations(trained))
    folder = fresh()
    killed_training(runs, folder, at=2 * count // 3)
    assert digest(folder) == digest(trained)


@pytest.mark.chaos
def test_a_training_killed_anywhere_ends_as_if_nothing_had_happened(runs, fresh, trained):
    """Every 40th file operation of a whole training, the first and the last."""
    count = len(faults.operations(trained))
    for at in counted([*range(1, count, 40), count]):
        folder = fresh()
        killed_training(runs, folder, at)
        assert digest(folder) == digest(trained), at


@pytest.mark.chaos
def test_a_training_killed_at_random_times_ends_as_if_nothing_had_happened(runs, fresh, trained):
    """CHAOS_TRAININGS kills (default 20), each at a random time in 8 s."""
    number, count, losses = int(os.environ.get("CHAOS_TRAININGS", "20")), 0, 0
    for seed in range(number):
        folder = fresh()
        kills, missing = kill_at_random_times(
            runs, folder, TINY.split(), RESUME, min(6, number - count), 8.0, seed
        )
        count, losses = count + kills, losses + missing
        assert digest(folder) == digest(trained)
        print(f"{count} of {number} kills, {losses} saves lost", flush=True)
        if count >= number:
            break
    assert losses == 0


@pytest.mark.slow
def test_without_the_step_counter_a_resumed_run_differs(runs, fresh, trained):
    """The control: the comparison would see one number of the state that is not restored."""
    folder = fresh()
    faulty = {"part": "checkpoints/.tmp-8", "at": 1, "action": faults.KILL}
    assert runs.run(TINY.split(), folder, **faulty) == -signal.SIGKILL
    assert acknowledged(folder) in (6, 7)
    runs.run(RESUME, folder, control="forget the step counter")
    try:
        found = digest(folder)
    except (CheckpointError, OSError):
        found = {}
    assert found != digest(trained)


CUTS = TINY.replace("--pre-epoch-num 3", "--pre-epoch-num 8")
CUTS = CUTS.replace("--total-batch 3", "--total-batch 8")
CUTS = CUTS.replace("--dis-pre-refreshes 2", "--dis-pre-refreshes 5 --patience 99").split()


@pytest.mark.chaos
def test_20_cuts_over_all_phases(fresh, monkeypatch):
    """A run of 21 units cut after each of the first 20, units one by one; the other by chunks."""
    from seqgan_jax.run import loop
    from seqgan_jax.run import train as run
    from seqgan_jax.run.cli import train_main

    calm = fresh()
    monkeypatch.chdir(calm)
    assert train_main([*CUTS, "--quiet"]) == 0
    expected = digest(calm)
    save = run._Listener._save
    for cut in range(1, 21):
        folder = fresh()
        monkeypatch.chdir(folder)

        def stop_there(listener, state, cut=cut):
            save(listener, state)
            if loop.step_number(state) == cut:
                raise run.Stopped(signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(run._Listener, "_save", stop_there)
            patch.setattr(loop, "CHUNK_SECONDS", 0.0)
            assert train_main([*CUTS, "--quiet"]) == 128 + signal.SIGTERM
        assert checkpoint.steps(folder / "save" / "checkpoints")[-1] == cut
        assert train_main([*RESUME, "--quiet"]) == 0
        assert digest(folder) == expected, cut


def fail_at(runs, fresh, numbers, code):
    """The disk fails from operation N on: a message, no lost save, and it goes on afterwards."""
    for at in counted(numbers):
        folder = fresh()
        ended = runs.run(["saves", str(SAVES)], folder, at=at, action=code)
        said = output(folder)
        assert ended == 99  # raised, by the run without training
        assert "DiskError" in said, (at, said)
        assert "save" in said
        assert os.strerror(code) in said or "errno" in said or "could not" in said
        assert not lost(folder), at
        assert runs.run(["saves", str(SAVES)], folder) == 0, (at, output(folder))
        assert restored(folder)[0] == SAVES


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_some_operations(runs, fresh, undisturbed, code):
    fail_at(runs, fresh, random.Random(code).sample(failing(undisturbed), 4), code)


@pytest.mark.chaos
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_every_operation(runs, fresh, undisturbed, code):
    fail_at(runs, fresh, failing(undisturbed), code)


def failing(undisturbed):
    """Writing operations from the second save on to the end of the third."""
    operations = faults.operations(undisturbed[0])
    names = [i for i, name in enumerate(operations) if name.endswith(("/.tmp-2", "/.tmp-4"))]
    return [
        i + 1
        for i in range(names[0], names[-1])
        if not operations[i].startswith(("unlink", "rmdir"))
    ]


@pytest.mark.slow
def test_a_full_disk_ends_a_training_with_exit_5(runs, fresh, trained):
    folder = fresh()
    faulty = {"part": "checkpoints/.tmp-5", "at": 9, "action": errno.ENOSPC}
    assert runs.run(TINY.split(), folder, **faulty) == 5, output(folder)
    said = output(folder)
    assert "Traceback" not in said
    assert (
        "error: save/checkpoints: checkpoint 5 could not be written; earlier checkpoints are"
        in said
    )
    assert "5: cannot be written: No space left on device (" in said
    assert checkpoint.steps(folder / "save" / "checkpoints")[-1] == acknowledged(folder) == 4
    assert runs.run(RESUME, folder) == 0
    assert digest(folder) == digest(trained)


def test_a_disk_that_is_too_small_is_refused_at_the_start(fresh, monkeypatch, capsys):
    from seqgan_jax.run import train as run
    from seqgan_jax.run.cli import train_main

    folder = fresh()
    monkeypatch.chdir(folder)
    usage = type("Usage", (), {"free": 900_000})()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: usage)
    assert train_main([*TINY.split(), "--quiet"]) == 5
    said = capsys.readouterr().err
    assert re.search(
        r"error: save: about 1\.\d MB are needed \(3 checkpoints .* 0\.9 MB are free", said
    )
    assert "--keep" in said
    assert os.listdir(folder / "save") == ["run.lock"]


def test_every_file_is_synced_before_it_has_its_name(undisturbed):
    """What a power cut asks for: all that was written is synced before the step gets its name."""
    assert unsynced(faults.operations(undisturbed[0])) == []


def test_a_save_that_does_not_sync_is_found(runs, fresh):
    """The control."""
    folder = fresh()
    runs.run(["saves", "2"], folder, control="no sync")
    assert any("_METADATA" in name for name in unsynced(faults.operations(folder)))


def unsynced(operations):
    """Files of a step that were written, and not synced before the step was named."""
    dirty, found = set(), []
    for line in operations:
        kind, name = line.split(" ", 1)
        name = name[name.find("save/checkpoints") :]
        name = name.replace("state.orbax-checkpoint-tmp", "state").replace(".__lock", "")
        if kind in ("write", "writev"):
            dirty.add(name)
        elif kind == "fsync":
            dirty.discard(name)
        elif kind == "rename" and re.fullmatch(r"save/checkpoints/\d+", name):
            found += sorted(dirty)
            dirty.clear()
        elif kind == "rename" and name.endswith("MANIFEST.json"):
            assert not dirty & {name}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_at_a_random_time(runs, fresh, trained, number):
    signals_at_random_times(runs, fresh, trained, [number], seed=int(number))


@pytest.mark.chaos
def test_signals_at_many_random_times(runs, fresh, trained):
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP] * 10
    signals_at_random_times(runs, fresh, trained, numbers, seed=0)


def signals_at_random_times(runs, fresh, trained, numbers, seed):
    """Ends with its exit code in 10 s and without a traceback; goes on to the same end."""
    rng = random.Random(seed)
    for number in counted(numbers):
        folder = fresh()
        process = runs.start(TINY.split(), folder)
        deadline = time.monotonic() + 30
        while "seqgan" not in output(folder) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 6.0))
        os.kill(process, number)
        started = time.monotonic()
        code = runs.wait()
        assert time.monotonic() - started < 10
        said = output(folder)
        assert "Traceback" not in said
        if code == 0:  # it had just ended
            continue
        assert code == 128 + number, said
        assert "--resume --run-dir save" in said
        again = RESUME if (folder / "save" / "config.json").exists() else TINY.split()
        assert runs.run(again, folder) == 0, output(folder)
        assert digest(folder) == digest(trained)


def races(fresh, number):
    """Two starts in one folder at the same time: exactly one runs, the other names it."""
    script = (
        "import sys, time; from seqgan_jax.run import directory\n"
        "from seqgan_jax.errors import BusyError\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "from pathlib import Path; import os\n"
        "kept = []  # a late start must lose as well\n"
        "for i in range(int(sys.argv[1])):\n"
        "    while time.time() % 0.2 > 0.02: time.sleep(0.001)\n"
        "    try:\n"
        "        kept.append(directory.lock(Path(str(i))))\n"
        "        print(i, 'won', os.getpid(), flush=True)\n"
        "    except BusyError as error: print(i, 'lost', error, flush=True)\n"
        "    time.sleep(0.05)\n"
        "sys.stdin.readline()\n"
    )
    folder = fresh()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(number)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [[process.stdout.readline().split() for _ in range(number)] for process in both]
    for process in both:
        process.communicate("end\n")
    wins = [0, 0]
    for i, outcome in enumerate(zip(*lines, strict=True)):
        assert sorted(line[1] for line in outcome) == ["lost", "won"], (i, outcome)
        winner = [line[1] for line in outcome].index("won")
        wins[winner] += 1
        assert f"process {both[winner].pid}." in " ".join(outcome[1 - winner]), outcome
    return wins


@pytest.mark.slow
def test_50_races_for_a_folder(fresh):
    assert sum(races(fresh, 50)) == 50


def test_the_holder_of_an_earlier_run_is_not_named(tmp_path):
    directory.lock(tmp_path).close()
    (tmp_path / "run.lock").write_text("process 999999999\n")
    with open(tmp_path / "run.lock") as handle:
        assert directory._holder(handle) == "another process"


def test_metrics_are_cut_to_the_restored_step(tmp_path):
    rows = [{"phase": "adversarial", "step": i, "reward": 0.5} for i in range(1, 6)]
    directory.append_metrics(tmp_path, rows)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"phase": "adversarial", "st')  # a write that a kill cut off
    directory.cut_metrics(tmp_path, {"adversarial": 3})
    assert directory.read_metrics(tmp_path) == rows[:3]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1]) == rows[2]
