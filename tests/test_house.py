"""The house: imports go one way, each third-party library has one place, the README is true."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import seqgan_jax

ROOT = Path(__file__).parent.parent
# A module may import only what stands before it.
ORDER = [
    *("errors", "data.files", "data.lengths", "data.bounds", "config", "data.form"),
    *("data.texts", "data.missing", "data.overlap", "data.arrays", "data.cells", "data.dialect"),
    "data.amounts",
    *("data.tables", "data.times", "data.categories", "data.rows_or_series"),
    *("data.evidence", "data.columns"),
    "data.intervals",
    *("data.grids", "data.kind", "data.kind_finding", "data.kinds", "data.lags"),
    "data.angles",
    *("data.rule_texts", "data.rule_values", "data.stretches", "data.restarts"),
    *("data.rules", "data.rule_sums", "data.rule_stretches", "data.rule_restarts"),
    "data.rule_finding",
    "data.known",
    *(
        "data.sequences",
        "data.windows",
        "data.scaling",
        "data.statics",
        "data.encoding",
        "data.shards",
        "data.writing",
    ),
    *("processes.base", "processes.linear", "processes.regime", "processes.lstm"),
    *("processes.rain", "processes.markov", "processes.counts", "processes.held"),
    *("processes.prices", "processes.simulators", "data.layout", "data.history"),
    "data.inspection",
    *("run.directory", "analysis"),
    *("core.parallel", "core.keys", "core.batch", "core.baseline", "core.optimiser"),
    *("core.columns.cells", "core.columns.continuous", "core.columns.support"),
    *(
        "core.columns.chain",
        "core.columns.filling",
        "core.columns.mixed_step",
        "core.columns.mixed",
        "core.columns.regressions",
        "core.columns.tokens",
        "core.policy",
        "core.sampling",
    ),
    "core.outer",
    *("core.discriminator", "core.reference_discriminator", "core.networks"),
    "core.token_networks",
    *(
        "core.selection",
        "core.stepwise",
        "core.refining",
        "core.gradients",
        "core.likelihood",
        "core.adversarial",
    ),
    *("run.description", "run.places", "run.preparing"),
    *(
        "run.health",
        "run.loader",
        "run.estimate",
        "run.loop",
        "run.conditions",
        "run.continuing",
        "run.drawing",
    ),
    *("run.checkpoint", "run.signals", "run.device"),
    *(
        "run.terminal",
        "run.showing",
        "run.evaluating",
        "run.refined",
        "model",
        "run.train",
        "run.doctor",
        "run.cli",
    ),
]
PLACES = {
    "flax": {
        *("core.policy", "core.discriminator", "core.reference_discriminator"),
        "core.token_networks",
    },
    "orbax": {"run.checkpoint"},
    "matplotlib": {"analysis"},
    "tyro": {"run.cli"},
    "rich": {"run.terminal"},
    "IPython": {"run.terminal"},
    "sklearn": {"model"},
    "filelock": {"run.directory"},
    "threadpoolctl": {"run.preparing"},
    "pandas": {
        *("data.tables", "data.times", "data.categories", "data.evidence", "data.layout"),
        "data.writing",
    },
    "pyarrow": {"data.tables", "data.shards"},
    "optax": {"core.optimiser", "core.discriminator", "analysis"},
}
MOST_ENTRIES = 10  # directly in the package


def name_of(parts):
    """The name of a module in ORDER: analysis is one."""
    return "analysis" if parts[0] == "analysis" else ".".join(parts)


def imports():
    """Pairs (module, what it imports), both without the package's name where they are ours."""
    for path in sorted((ROOT / "seqgan_jax").rglob("*.py")):
        parts = path.relative_to(ROOT / "seqgan_jax").with_suffix("").parts
        if parts[-1] == "__init__" and parts[0] != "analysis":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield name_of(parts), alias.name
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    yield name_of(parts), f"{node.module}.{alias.name}"


def ours(imported):
    """The module of ORDER that an import is of, None for another package's."""
    words = imported.split(".")
    if words[0] != "seqgan_jax":
        return None
    return next((m for n in (3, 2, 1) if (m := name_of(words[1 : n + 1])) in ORDER), None)


def test_every_module_is_in_the_order():
    found = {
        name_of(p.relative_to(ROOT / "seqgan_jax").with_suffix("").parts)
        for p in (ROOT / "seqgan_jax").rglob("*.py")
        if p.name != "__init__.py"
    }
    assert found == set(ORDER)


def test_the_package_has_few_entries():
    entries = {p.name for p in (ROOT / "seqgan_jax").iterdir() if not p.name.startswith("__pyca")}
    assert len(entries) <= MOST_ENTRIES, entries


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "seqgan_jax").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} <= set(listed)


def test_imports_go_one_way():
    for module, imported in imports():
        target = ours(imported)
        if target and target != module:
            assert ORDER.index(target) < ORDER.index(module), f"{module} imports {target}"


@pytest.mark.parametrize("library", sorted(PLACES))
def test_each_library_has_its_place(library):
    users = {module for module, imported in imports() if imported.split(".")[0] == library}
    assert users
    assert users <= PLACES[library]


def test_nothing_that_runs_foreign_code_and_no_network():
    banned = {"pickle", "marshal", "shelve", "socket", "urllib", "http", "requests", "pyplot"}
    for module, imported in imports():
        assert not banned & set(imported.split(".")), f"{module} imports {imported}"
    for path in (ROOT / "seqgan_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                assert not (isinstance(node.func, ast.Name) and name in ("eval", "exec")), path
                assert keywords.get("allow_pickle") is not True, path
                assert keywords.get("shell") is not True, path
                called = ast.unparse(node.func)
                assert called not in ("yaml.load", "os.system", "os.popen", "__import__"), path


def test_public_names_are_documented_and_there():
    for name in seqgan_jax.__all__:
        assert getattr(seqgan_jax, name).__doc__
    with pytest.raises(AttributeError):
        seqgan_jax.nonsense  # noqa: B018


@pytest.mark.parametrize("command", ["train.py", "analyze.py"])
def test_help_does_not_import_jax(command):
    script = (
        f"import runpy, sys; sys.argv = ['{command}', '--help']\n"
        f"try: runpy.run_path('{ROOT / command}', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'jax', 'matplotlib', 'scipy', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_every_setting_has_a_help_text_and_the_documented_default():
    from seqgan_jax import config

    tree = ast.parse((ROOT / "seqgan_jax" / "config.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in ("Range", "Config"):
            body = node.body[1:]
            for field, text in zip(body[::2], body[1::2], strict=True):
                assert isinstance(field, ast.AnnAssign)
                assert isinstance(text.value.value, str)
    documented = {
        "hidden_dim": 32,
        "pre_epoch_num": 120,
        "gen_lr": 1e-3,
        "dis_dropout_keep_prob": 0.75,
        "dis_l2_reg_lambda": 0.2,
        "dis_lr": 1e-3,
        "batch_size": 64,
        "total_batch": 200,
        "seed": 88,
    }
    for preset in config.PRESETS.values():
        flat = config.flat(preset)
        assert {name: flat[name] for name in documented} == documented
        assert config.from_flat(flat) == preset


def test_the_ci_runs_the_readmes_test_line():
    readme = (ROOT / "README.md").read_text()
    lines = [line for line in readme.splitlines() if re.match(r"python3 -m venv .*pytest", line)]
    assert len(lines) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_the_readmes_flags_exist():
    readme = (ROOT / "README.md").read_text()
    helps = "".join(
        subprocess.run(
            [sys.executable, "-m", "seqgan_jax.run.cli", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in ("train", "sample", "analyze")
    )
    for line in re.findall(r"^(?:python (?:train|analyze)\.py|seqgan \w+).*$", readme, re.M):
        for flag in re.findall(r"(?<!\S)--[a-z][a-z-]+", line):
            assert flag in helps, line
