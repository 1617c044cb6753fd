"""The command line: files, formats, exit codes, and the last run as the default."""

import hashlib
import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqgan_jax import analysis
from seqgan_jax.analysis import command, judging
from seqgan_jax.config import DataConfig
from seqgan_jax.data import layout
from seqgan_jax.run import cli, directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _without_judge(request, monkeypatch):
    """It takes seconds; one test is enough."""
    if "files_of_the_contract" not in request.node.name:
        monkeypatch.setattr(judging, "MOST_SECONDS", 0.0)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    real, generated = rng.normal(size=(200, 10)), rng.normal(0.5, 1.0, size=(150, 10))
    np.savetxt(tmp_path / "real.txt", real)
    np.savetxt(tmp_path / "generated.txt", generated)
    return tmp_path


def run(folder, *more):
    return cli.analyze_main(
        [
            f"--real={folder / 'real.txt'}",
            f"--generated={folder / 'generated.txt'}",
            f"--output-dir={folder / 'out'}",
            *more,
        ]
    )


def test_all_files_of_the_contract_are_written_and_inputs_stay(files, capsys):
    before = {p: hashlib.sha256(p.read_bytes()).digest() for p in files.iterdir()}
    assert run(files) == 0
    written = {p.name for p in (files / "out").iterdir()}
    assert written == {
        "analysis_metrics.txt",
        "analysis_metrics.json",
        "analysis_distributions.png",
        "analysis_temporal.png",
        "analysis_report.html",
    }
    for name in ("distributions", "temporal"):
        png = (files / "out" / f"analysis_{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 20_000
    assert before == {p: hashlib.sha256(p.read_bytes()).digest() for p in before}
    out = capsys.readouterr().out
    assert out.startswith("FAR: ")
    assert "analysis_report.html" in out
    found = json.loads((files / "out" / "analysis_metrics.json").read_text())
    assert found["judge"]["area"] == found["metrics"]["judge"]["value"] > 0.6


def test_no_plots_prefix_and_quiet(files, capsys):
    assert run(files, "--no-plots", "--prefix", "epoch_3", "--quiet") == 0
    written = {p.name for p in (files / "out").iterdir()}
    assert written == {"epoch_3_metrics.txt", "epoch_3_metrics.json"}
    assert capsys.readouterr() == ("", "")
    found = json.loads((files / "out" / "epoch_3_metrics.json").read_text())
    assert found["verdict"] == "far"
    assert found["data"]["real"]["source"].endswith("real.txt")


def test_fail_over_turns_figures_into_exit_codes(files, capsys):
    assert run(files, "--no-plots", "--quiet", "--map", "tsne") == 2
    assert run(files, "--no-plots", "--quiet", "--fail-over", "ks=0.9") == 0
    assert run(files, "--no-plots", "--quiet", "--fail-over", "ks=0.01") == 1
    assert "ks = 0." in capsys.readouterr().err
    # A figure of which more is better fails where it is under its limit; several may be given.
    assert (
        run(files, "--no-plots", "--quiet", "--fail-over=ks=0.9", "--fail-over=coverage=1.1") == 1
    )
    err = capsys.readouterr().err
    assert "coverage" in err
    assert "ks" not in err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--fail-over", "kss=1"], 2, "no figure 'kss'"),
        (["--fail-over", "ks"], 2, "not a number"),
        (["--fail-over", "predictive=1"], 2, "not computed"),
        (["--scores", "fid"], 2, "unknown"),
        (["--prefix", "a/b"], 2, "plain name"),
        (["--no-such-flag"], 2, "no-such-flag"),
        (["--real", "missing.txt"], 3, "missing.txt"),
        (["--features", "5", "--generated", "real.npy"], 3, "features"),
    ],
)
def test_mistakes_are_answered_with_the_documented_exit_code(
    files, monkeypatch, capsys, flags, code, message
):
    monkeypatch.chdir(files)
    np.save("real.npy", np.zeros((30, 10, 1)) + np.arange(30)[:, None, None])
    base = ["--real", "real.txt", "--generated", "generated.txt", "--no-plots", "--quiet"]
    names = flags[::2]
    kept = [x for k in range(0, 4, 2) for x in base[k : k + 2] if base[k] not in names]
    assert cli.analyze_main([*kept, *base[4:], *flags]) == code
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err


def test_a_disk_that_refuses_is_exit_code_5(files, capsys):
    (files / "out").write_text("a file where the folder should be")
    assert run(files, "--no-plots", "--quiet") == 5
    assert "is a file" in capsys.readouterr().err


def test_debug_shows_the_error_itself(files):
    with pytest.raises(ValueError, match="no figure"):
        run(files, "--fail-over", "kss=1", "--debug")


def test_a_long_series_is_cut_into_windows(tmp_path):
    rng = np.random.default_rng(1)
    series = rng.normal(size=(300, 2)).cumsum(axis=0)
    rows = "\n".join(",".join(f"{v:.6f}" for v in row) for row in series)
    (tmp_path / "prices.csv").write_text("Open,Close\n" + rows + "\n")
    windows = np.stack([series[i : i + 12, 1] for i in range(289)])
    np.save(tmp_path / "generated.npy", windows[::3])
    code = cli.analyze_main(
        [
            f"--real={tmp_path / 'prices.csv'}",
            f"--generated={tmp_path / 'generated.npy'}",
            "--window=12",
            "--columns=Close",
            f"--output-dir={tmp_path}",
            "--no-plots",
            "--quiet",
        ]
    )
    assert code == 0
    found = json.loads((tmp_path / "analysis_metrics.json").read_text())
    assert found["data"]["names"] == ["Close"]
    assert found["data"]["real"]["sequences"] == 289
    assert any("overlapping" in note for note in found["notes"])
    assert found["metrics"]["memorisation"]["verdict"] == "far"  # they are the windows themselves


@pytest.fixture
def a_run(tmp_path, monkeypatch):
    """A run directory as training leaves it, without a model."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    save = Path("save")
    save.mkdir()
    directory.write_config(
        save, {"data": {"names": ["a", "b"], "length": 6, "features": 2, "source": "x.csv"}}
    )
    np.save(save / "held_out.npy", rng.normal(size=(80, 6, 2)))
    x_NTD = rng.normal(size=(90, 6, 2))
    layout.save_sequences(save / "final_samples.txt", x_NTD, ("a", "b"))
    directory.append_metrics(
        save,
        [
            {"phase": "gen_pretrain", "step": s, "train_nll": 2.0 - s, "ks": 0.3 - 0.1 * s}
            for s in range(3)
        ],
    )
    return save


@pytest.mark.usefixtures("a_run")
def test_without_arguments_the_last_run_is_judged(capsys):
    assert cli.analyze_main([]) == 0
    found = json.loads(Path("analysis_results/analysis_metrics.json").read_text())
    assert found["data"]["names"] == ["a", "b"]
    assert (found["data"]["real"]["sequences"], found["data"]["generated"]["sequences"]) == (80, 90)
    assert Path("analysis_results/training_metrics.png").read_bytes().startswith(b"\x89PNG")
    assert "written" in capsys.readouterr().out


def test_a_run_whose_sequences_end_and_miss_values(a_run, capsys):
    """Fewer than a tenth end early, and a sequence has one step: the run says that they end."""
    x = np.load(a_run / "held_out.npy")
    x[3, 4:] = x[5, 1:] = np.nan
    x[7, 2, 0] = np.nan
    np.save(a_run / "held_out.npy", x)
    content = json.loads((a_run / "config.json").read_text()) | {"scaler": {"ends": True}}
    (a_run / "config.json").write_text(json.dumps(content))
    assert cli.analyze_main(["--no-plots", "--judge", "never"]) == 0
    text = Path("analysis_results/analysis_metrics.txt").read_text()
    assert "LENGTHS OF SEQUENCES (STEPS)" in text
    assert "80 sequences of 1 to 6 x 2" in text
    assert "0.1% of the real values are missing" in text
    np.save(a_run / "held_out.npy", x[:9])
    assert cli.analyze_main(["--no-plots"]) == 3
    err = capsys.readouterr().err
    assert "save: 9 sequences were held out, and figures need at least 10" in err
    assert "--real x.csv; or train with a larger --held-out" in err


@pytest.mark.parametrize("name", ["held_out.npy", "final_samples.txt", "config.json"])
def test_a_run_that_is_not_complete_is_exit_code_6(a_run, capsys, name):
    (a_run / name).unlink()
    assert cli.analyze_main(["--no-plots"]) == 6
    assert name in capsys.readouterr().err


def test_no_run_at_all_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.analyze_main([]) == 6
    err = capsys.readouterr().err
    assert "train.py" in err
    assert "--real" in err


def test_help_loads_neither_jax_nor_matplotlib():
    code = (
        "import sys; from seqgan_jax.run.cli import analyze_main as main\n"
        "assert main(['--help']) == 0\n"
        "bad = {'jax', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    for flag in ("--real", "--generated", "--output-dir", "--no-plots", "--prefix", "--fail-over"):
        assert flag in done.stdout


class Page(html.parser.HTMLParser):
    """Collects tags and attributes, and whether tags are closed in order."""

    VOID = ("meta", "img", "br", "!doctype")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("p", "li", "tr", "td", "th") and self.open[-1] != tag:
            raise AssertionError(f"{tag} closed inside {self.open[-1]}")
        assert self.open.pop() == tag


def test_html_is_one_escaped_page_without_network():
    rng = np.random.default_rng(3)
    from seqgan_jax.analysis import analyze

    evil = ["<script>alert(1)</script>", "a & b"]
    report = analyze(rng.normal(size=(60, 5, 2)), rng.normal(1, 1, size=(60, 5, 2)), names=evil)
    text = report.to_html()
    assert "<script" not in text
    assert "a &amp; b" in text
    page = Page()
    page.feed(text)
    assert not page.open
    assert len(page.links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in text.replace("data:image/png;base64", "")[:2000]
    places = [text.index(each) for each in ("far from the", "<svg", "floor is", "data:image")]
    assert places == sorted(places)
    assert 'name="viewport"' in text


@pytest.fixture
def tables(tmp_path):
    """A panel of hourly series as real data, and 40 generated sequences of 12 steps like it."""
    import pandas as pd

    rng = np.random.default_rng(4)
    hours = pd.date_range("2021-01-01", periods=90, freq="h")
    parts = [
        pd.DataFrame({"date": hours, "store": f"s{i}", **dict.fromkeys(["a", "b"], 0.0)})
        for i in range(4)
    ]
    real = pd.concat(parts, ignore_index=True)
    real[["a", "b"]] = rng.normal([300, 20], [9, 3], size=(360, 2)).round(2)
    parts = [parts[0].iloc[:12].assign(store=f"g{i}") for i in range(40)]
    generated = pd.concat(parts, ignore_index=True)
    generated[["a", "b"]] = rng.normal([300, 20], [9, 3], size=(480, 2)).round(2)
    return tmp_path, real, generated


def compared(tables, capsys, *more):
    folder, real, generated = tables
    real.to_csv(folder / "real.csv", index=False)
    generated.to_parquet(folder / "generated.parquet", index=False)
    code = cli.analyze_main(
        [
            f"--real={folder / 'real.csv'}",
            f"--generated={folder / 'generated.parquet'}",
            f"--output-dir={folder}",
            "--no-plots",
            *more,
        ]
    )
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_tables_are_compared_like_with_like(tables, capsys):
    folder, real, generated = tables
    code, out = compared((folder, real, generated[["b", "store", "a", "date"]]), capsys)
    assert code == 0, out
    found = json.loads((folder / "analysis_metrics.json").read_text())
    assert found["data"]["names"] == ["a", "b"]
    assert (found["data"]["length"], found["data"]["generated"]["sequences"]) == (12, 40)
    # None across two of the four series: 4 (90 - 12 + 1), not 360 - 12 + 1.
    assert found["data"]["real"]["sequences"] == 316
    assert found["metrics"]["ks"]["verdict"] == "close"
    report = analysis.analyze(real, generated)
    assert report.metrics["ks"].value == found["metrics"]["ks"]["value"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.rename(columns={"b": "c"}), "other columns.*c in place of b"),
        (lambda x: x.drop(columns="b"), "other columns.*none in place of b"),
        (lambda x: x.assign(date=2 * (x.date - x.date[0]) + x.date[0]), "time step of h.*of 2h"),
        (lambda x: x.assign(a=x.a / 1000, b=x.b / 1000), "0.001 times as large"),
        (lambda x: x.assign(a=(x.a - 300) / 9, b=(x.b - 20) / 3), "still scaled"),
    ],
)
def test_unlike_tables_are_refused(tables, capsys, change, words):
    folder, real, generated = tables
    code, out = compared((folder, real, change(generated)), capsys)
    assert code == 3
    assert re.search(words, out.replace("\n", " ")), out


def test_other_lengths_are_refused(tables, capsys):
    code, out = compared(tables, capsys, "--window", "10")
    assert code == 0, out  # windows of both
    code, out = compared(tables, capsys, "--window", "13")
    assert code == 3
    assert "shorter than --window 13" in out


def test_analysing_an_array_leaves_the_settings_of_arrays_as_they_are(tmp_path):
    """One set of names for all calls: `window` was once added to what no array may have."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 8)))
    command.read(str(tmp_path / "x.npy"))
    long = np.random.default_rng(1).normal(size=300)
    settings = DataConfig(window=12)
    assert layout.from_python(long, settings, frozenset({"window"})).x_NTD.shape[1] == 12
