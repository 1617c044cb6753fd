"""Mutation testing: do the tests notice a small mistake? python benchmarks/mutation.py config files

For each module of `SELECTED` (or those named), a seeded random sample of mutants: one comparison,
boolean operator, condition, constant, arithmetic operator, dropped call, return, raise or break
each. The tests that belong to the module run on each in a copy of the tree, with -x and a time
limit of CPU, in a process forked from one that has the libraries. Prints survivors and a table.
"""

import argparse
import ast
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# The tests of each module, quickest first, beside its doctests.
SELECTED = {
    "config": ["test_config.py"],
    "files": ["test_files.py"],
    "rundir": ["test_rundir.py"],
    "checkpoint": ["test_checkpoint.py"],
    "data": ["test_data.py", "test_missing.py", "test_writing.py", "test_shards.py"],
    "reading": ["test_reading.py", "test_missing.py", "test_hostile.py"],
    "parsing": ["test_parsing.py", "test_reading.py"],
    "missing": ["test_missing.py"],
    "arrays": ["test_data.py", "test_missing.py", "test_hostile.py"],
}
COMPARISONS = [
    (ast.Lt, ast.LtE),
    (ast.Gt, ast.GtE),
    (ast.Eq, ast.NotEq),
    (ast.In, ast.NotIn),
    (ast.Is, ast.IsNot),
]
ARITHMETIC = [
    (ast.Add, ast.Sub),
    (ast.Mult, ast.Div),
    (ast.FloorDiv, ast.Mod),
    (ast.BitAnd, ast.BitOr),
    (ast.LShift, ast.RShift),
    (ast.Pow, ast.Mult),
]


def _swapped(pairs: list[tuple[type, type]], kind: type) -> type | None:
    both = {**dict(pairs), **{second: first for first, second in reversed(pairs)}}
    return both.get(kind)


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str, object]]:
    """(node, attribute, new value) of each mutation of one node."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            if new := _swapped(COMPARISONS, type(operator)):
                yield node, "ops", [*node.ops[:i], new(), *node.ops[i + 1 :]]
    elif isinstance(node, ast.BoolOp):
        yield node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        if new := _swapped(ARITHMETIC, type(node.op)):
            yield node, "op", new()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        yield node, "value", not node.value if isinstance(node.value, bool) else node.value + 1
    elif isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant | None):
        yield node, "value", ast.Constant(None)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        for value in (True, False)[isinstance(node, ast.While) :]:  # an endless loop shows nothing
            yield node, "test", ast.Constant(value)
    if isinstance(node, ast.comprehension):
        for i in range(len(node.ifs)):
            yield node, "ifs", [*node.ifs[:i], *node.ifs[i + 1 :]]
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        for i, line in enumerate(block if isinstance(block, list) else []):
            called = isinstance(line, ast.Expr) and isinstance(line.value, ast.Call)
            if called or isinstance(line, ast.Raise | ast.Break):
                yield node, name, [*block[:i], ast.Pass(), *block[i + 1 :]]


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but types, decorators and what stands in f-strings: messages."""
    skipped = {"annotation", "returns", "decorator_list"}
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.JoinedStr):
            for name, value in ast.iter_fields(node):
                if name not in skipped:
                    values = value if isinstance(value, list) else [value]
                    waiting += [child for child in values if isinstance(child, ast.AST)]


def mutants(source: str, number: int, seed: int) -> tuple[int, list[tuple[int, str, str]]]:
    """How many there are, and (line, what was changed, source) of a random sample, by line."""
    tree = ast.parse(source)
    lines = ast.unparse(tree).splitlines()
    every = [(_line(node), change) for node in _nodes(tree) for change in _changes(node)]
    chosen = []
    for line, (place, name, value) in random.Random(seed).sample(every, min(number, len(every))):
        before = getattr(place, name)
        setattr(place, name, value)
        text = ast.unparse(tree)
        setattr(place, name, before)
        pairs = zip(lines, text.splitlines(), strict=False)
        old, new = next(pair for pair in pairs if pair[0] != pair[1])
        chosen.append((line, f"{old.strip()}  ->  {new.strip()}", text))
    return len(every), sorted(chosen)


def _line(node: ast.AST) -> int:
    return min((child.lineno for child in ast.walk(node) if hasattr(child, "lineno")), default=0)


def run(tree: Path, words: list[str], seconds: float) -> tuple[int, float]:
    """Exit code of pytest in a forked process, and the seconds of CPU that it took.

    Negative where it was killed: by the limit on CPU, which a busy machine does not change, or
    where it waits for something that never comes.
    """
    child = os.fork()
    if not child:
        os.setsid()  # so that what a test has started ends with it
        os.chdir(tree)
        out = os.open(tree / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        sys.path.insert(0, str(tree))
        os.environ["PYTHONPATH"] = str(tree)
        most = int(seconds) + int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        import pytest

        code: int = 99
        try:
            code = int(pytest.main(words))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    ended, status, usage = 0, 0, None
    until = time.monotonic() + 60 + 2 * seconds
    while not ended:
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
        ended, status, usage = os.wait4(child, os.WNOHANG)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def judge(module: str, number: int, seed: int, tree: Path) -> dict[str, object]:
    """Try `number` mutants of a module in `tree`: how many, how many killed, the survivors."""
    path = tree / "seqgan_jax" / f"{module}.py"
    source = path.read_text()
    words = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts="]
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is there already
    words += ["--doctest-modules", "-m", "not slow and not gpu and not chaos"]
    words += [f"tests/{name}" for name in SELECTED[module]] + [f"seqgan_jax/{module}.py"]
    path.write_text(ast.unparse(ast.parse(source)))  # as the mutants are written
    code, calm = run(tree, words, 600)
    if code:
        raise SystemExit(f"{module}: its tests fail without a mutation\n{_tail(tree)}")
    possible, chosen = mutants(source, number, seed)
    survivors = []
    for line, change, text in chosen:
        path.write_text(text)
        code, _ = run(tree, words, 5 * calm + 5)
        if code == 0:
            survivors.append([line, change])
            print(f"  {module}.py:{line}: {change}", flush=True)
    print(f"{module}: {len(chosen) - len(survivors)} of {len(chosen)} killed", flush=True)
    path.write_text(source)
    return {
        "module": module,
        "possible": possible,
        "mutants": len(chosen),
        "killed": len(chosen) - len(survivors),
        "seconds": calm,
        "survivors": survivors,
    }


def _tail(tree: Path) -> str:
    return (tree / "output").read_text()[-2000:]


def main() -> None:
    """Print survivors as they are found, then a line for each module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(SELECTED))
    parser.add_argument("-n", type=int, default=40, help="mutants of each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the same there")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # a mutant is not to be taken for the one before
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import hypothesis  # noqa: F401
    import jax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import pytest  # noqa: F401
    import scipy.io  # noqa: F401

    results = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        skipped = shutil.ignore_patterns("__pycache__", ".*", "*.egg-info", "save")
        shutil.copytree(ROOT, tree, ignore=skipped)
        for module in options.modules:
            results.append(judge(module, options.n, options.seed, tree))
    print(f"{'module':<14}{'possible':>9}{'mutants':>9}{'killed':>8}{'':>6}{'tests':>8}")
    for row in results:
        share = f"{row['killed'] / row['mutants']:.0%}"
        print(
            f"{row['module']:<14}{row['possible']:>9}{row['mutants']:>9}{row['killed']:>8}"
            f"{share:>6}{row['seconds']:>7.1f}s"
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
