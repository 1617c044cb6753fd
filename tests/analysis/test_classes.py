"""Shares and figures of classes: against a plain count and scipy, and where a class differs."""

import json

import numpy as np
import pytest
import scipy.stats

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import analyze, classes
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import cli

UNTRAINED = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}


def labelled(counts, seed, shift=0.0):
    """[N, 8, 2]: an AR(1) whose coefficient is its class's, and the class; class 1 is shifted."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(len(counts)), counts)
    x = rng.normal(size=(len(code), 8))
    for t in range(1, 8):
        x[:, t] += np.array([0.8, -0.5, 0.0])[code] * x[:, t - 1]
    x += shift * (code == 1)[:, None]
    return np.stack([x, np.tile(code[:, None], 8)], axis=-1)


def table(real, generated, label="x2"):
    rng = np.random.default_rng(0)
    return classes.table(label, ("x1", "x2"), (real, generated), np.arange(len(real)), (), rng)


def test_shares_are_counts_and_small_classes_have_no_figures():
    real, generated = labelled((120, 60, 20), 0), labelled((100, 90, 60), 1)
    found = table(real, generated)
    rows = {row["name"]: row for row in found["classes"]}
    assert [row["name"] for row in found["classes"]] == ["0", "1", "2"]
    assert rows["1"]["real"] == {"sequences": 60, "share": 0.3}
    assert rows["2"]["generated"] == {"sequences": 60, "share": 60 / 250}
    assert "figures" not in rows["2"]
    one = [x[x[:, 0, 1] == 1][..., 0].ravel() for x in (real, generated)]
    assert rows["1"]["figures"]["ks"]["value"] == pytest.approx(
        scipy.stats.ks_2samp(*one)[0], abs=0.01
    )


def test_a_class_that_is_wrong_is_seen_where_all_together_are_not():
    real = labelled((200, 200), 0)
    swapped = labelled((200, 200), 1)
    swapped[..., 1] = 1 - swapped[..., 1]
    found = {row["name"]: row["figures"] for row in table(real, swapped)["classes"]}
    good = {row["name"]: row["figures"] for row in table(real, labelled((200, 200), 1))["classes"]}
    for name in ("0", "1"):
        wrong, right = (each[name]["autocorrelation_error"] for each in (found, good))
        assert wrong["value"] > 5 * wrong["floor"]
        assert right["value"] < 3 * right["floor"]


def test_the_report_lists_classes():
    real, generated = labelled((80, 60), 0), labelled((70, 70), 1, shift=2.0)
    report = analyze(real, generated, label="x2", judge="never")
    plain = analyze(real, generated, judge="never")
    assert {n: m.value for n, m in plain.metrics.items()} == {
        n: m.value for n, m in report.metrics.items()
    }
    content = json.loads(report.to_json())["classes"]
    assert content["label"] == "x2"
    assert content["classes"][1]["figures"]["ks"]["value"] > 0.3
    text = report.to_text()
    assert "CLASSES OF x2" in text
    assert "57.1%" in text
    assert "Classes of x2" in report.to_html({})
    assert "CLASSES" not in plain.to_text()


def test_what_is_no_label_is_refused():
    real = labelled((80, 60), 0)
    with pytest.raises(UsageError, match="no column 'y'"):
        analyze(real, real, label="y")
    with pytest.raises(DataError, match="changes within 140 of 140 real sequences"):
        table(real, real, "x1")


def test_a_run_s_label_is_taken_and_another_may_be_named(tmp_path, capsys):
    real, generated = labelled((80, 60), 0), labelled((70, 70), 1)
    model = SeqGAN(static=["x2"], hidden_dim=4, **UNTRAINED).fit(real)
    run = tmp_path / "run"
    model.save(run)
    np.save(tmp_path / "real.npy", real)
    np.save(run / "held_out.npy", real)
    (run / "final_samples.txt").write_text(
        "\n".join(" ".join(map(str, row.ravel())) for row in generated)
    )
    words = ["analyze", "--run-dir", str(run), "--judge", "never", "--no-plots", "--quiet"]
    words += ["--output-dir", str(tmp_path)]

    def found():
        return json.loads((tmp_path / "analysis_metrics.json").read_text())["classes"]

    assert cli.main(words) == 0
    assert found() == {}
    assert cli.main([*words, "--label", "x2"]) == 0
    assert [each["real"]["sequences"] for each in found()["classes"]] == [80, 60]
    path = run / "config.json"
    content = json.loads(path.read_text())
    content["settings"]["label"] = "x2"
    path.write_text(json.dumps(content))
    assert cli.main(words) == 0
    assert found()["label"] == "x2"
    assert cli.main([*words, "--label", "x9"]) == 2
    assert "there is no column 'x9'" in capsys.readouterr().err
