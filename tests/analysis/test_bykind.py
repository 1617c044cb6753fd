"""Figures by the kind of a column against plain loops, and the judge's part of a report."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seqgan_jax.analysis import analyze, bykind, independent, judge, judging, sequences
from seqgan_jax.data import overlap
from seqgan_jax.data.kind import Kind
from seqgan_jax.errors import UsageError

NAMES = ("rain", "state", "held", "age")
STEPS = 15


def table(rng, count, defect=""):
    """Rain with zeros, a state of four, a sensor that repeats itself, an age."""
    x = np.zeros((count, STEPS, 4))
    noise = rng.normal(size=x.shape)
    x[:, 0] = noise[:, 0]
    for t in range(1, STEPS):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * noise[:, t]
    smooth = x.copy()
    zero = 0.3 if defect == "fewer zeros" else 0.8
    x[..., 0] = np.where(x[..., 0] < zero, 0.0, np.round(np.abs(x[..., 0]) * 8, 1))
    if defect == "short runs":
        x[..., 0] = rng.permuted(x[..., 0], axis=1)
    x[..., 1] = np.digitize(x[..., 1] + 0.5 * (defect == "other states"), [-1, 0.5, 1.2])
    again = rng.random((count, STEPS)) < (0.1 if defect == "no repeats" else 0.4)
    for t in range(1, STEPS):
        x[again[:, t], t, 2] = x[again[:, t], t - 1, 2]
    x[..., 3] = np.round(40 + 12 * smooth[:, :1, 3])
    if defect == "ages":
        x[:20, 5, 3] += 1
    if defect == "off the grid":
        x[0, 0, 0] = 0.05
    return x


@pytest.fixture(scope="module", autouse=True)
def _no_distances():
    """They take seconds, and are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "pair_metrics", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def real():
    return table(np.random.default_rng(0), 900)


@pytest.fixture(scope="module")
def honest(real):
    return analyze(real, table(np.random.default_rng(1), 800), names=NAMES, judge="never")


def lengths(is_NT):
    """Of all runs of True."""
    runs = (itertools.groupby(row) for row in is_NT.tolist())
    return [len(list(group)) for row in runs for value, group in row if value]


def test_kinds_are_found_and_a_second_draw_is_close(honest):
    assert [kind.name for kind in honest.kinds] == ["grid", "categorical", "continuous", "grid"]
    expected = {"category_error", "transition_error", "atom_error", "atom_run_error"}
    expected |= {"held_error", "held_run_error", "off_grid", "varying"}
    assert expected <= set(honest.metrics)
    assert honest.verdict == "close", honest.reasons()


def test_figures_are_those_of_plain_loops(real, honest):
    other = honest.generated_NTD
    states = [
        np.bincount(x[..., 1].astype(int).ravel(), minlength=4) / x[..., 1].size
        for x in (real, other)
    ]
    assert honest.metrics["category_error"].value == pytest.approx(
        np.abs(np.subtract(*states)).max()
    )
    assert honest.metrics["category_error"].per_feature == {
        "state": honest.metrics["category_error"].value
    }
    steps = [np.zeros((4, 4)), np.zeros((4, 4))]
    for x, counts in zip((real, other), steps, strict=True):
        for row in x[..., 1].astype(int):
            for a, b in itertools.pairwise(row):
                counts[a, b] += 1
    shares = [counts / counts.sum() for counts in steps]
    assert honest.metrics["transition_error"].value == pytest.approx(
        np.abs(np.subtract(*shares)).max()
    )
    listed = honest.of_kinds["state"]
    for side, counts in zip(("real", "generated"), steps, strict=True):
        found = np.array(listed["transitions"][side])[:4, :4]
        np.testing.assert_allclose(found, counts / counts.sum(axis=1, keepdims=True))
    zeros = [x[..., 0] == 0 for x in (real, other)]
    assert honest.metrics["atom_error"].value == pytest.approx(
        abs(zeros[0].mean() - zeros[1].mean())
    )
    ks = stats.ks_2samp(*map(lengths, zeros)).statistic
    assert honest.metrics["atom_run_error"].value == pytest.approx(ks)
    assert honest.of_kinds["rain"]["real"]["mean run of 0"] == pytest.approx(
        np.mean(lengths(zeros[0]))
    )
    again = [x[:, 1:, 2] == x[:, :-1, 2] for x in (real, other)]
    assert honest.metrics["held_error"].value == pytest.approx(
        abs(again[0].mean() - again[1].mean())
    )
    ks = stats.ks_2samp(*map(lengths, again)).statistic
    assert honest.metrics["held_run_error"].value == pytest.approx(ks)


@pytest.mark.parametrize(
    ("defect", "figure", "column"),
    [
        ("fewer zeros", "atom_error", "rain"),
        ("short runs", "atom_run_error", "rain"),
        ("other states", "category_error", "state"),
        ("other states", "transition_error", "state"),
        ("no repeats", "held_error", "held"),
        ("no repeats", "held_run_error", "held"),
        ("ages", "varying", "age"),
        ("off the grid", "off_grid", "rain"),
    ],
)
def test_each_defect_is_seen_by_its_figure(real, defect, figure, column):
    other = table(np.random.default_rng(2), 800, defect)
    metric = analyze(real, other, names=NAMES, judge="never").metrics[figure]
    assert metric.verdict != "close"
    assert max(metric.per_feature, key=metric.per_feature.get) == column
    if defect == "ages":
        assert metric.per_feature["age"] == pytest.approx(20 / 800)
    if defect == "off the grid":
        assert metric.per_feature["rain"] == pytest.approx(1 / (800 * STEPS))


class Ordered:
    """The first column is never above the second."""

    def kept(self, x_NTD):
        return {"x1 <= x2": x_NTD[..., 0] <= x_NTD[..., 1]}


def test_broken_rules_are_counted_by_sequence():
    rng = np.random.default_rng(3)
    real, other = np.sort(rng.normal(size=(2, 300, 6, 2)), axis=-1)
    found = analyze(real, other, rules=Ordered(), judge="never").metrics["broken_rules"]
    assert (found.value, found.verdict) == (0, "close")
    other[7, 2:4] = other[7, 2:4, ::-1]
    report = analyze(real, other, rules=Ordered(), judge="never")
    found = report.metrics["broken_rules"]
    assert (found.value, found.verdict) == (pytest.approx(1 / 300), "different")
    broken = {"x1 <= x2": pytest.approx(1 / 300)}
    assert json.loads(report.to_json())["rules"] == {"real": {"x1 <= x2": 0}, "generated": broken}
    assert "x1 <= x2: real 0.0%, generated 0.3%" in report.to_text()
    assert '<td>x1 &lt;= x2</td><td class="n">0%</td><td class="n">0.3%</td>' in report.to_html({})


def test_given_kinds_are_used_and_new_values_are_others():
    rng = np.random.default_rng(4)
    real, other = rng.integers(0, 3, size=(2, 100, 5, 1)).astype(float)
    other[0, 0] = 7
    kinds = (Kind("categorical", levels=(0.0, 1.0, 2.0), weights=(1.0, 1.0, 1.0)),)
    report = analyze(real, other, kinds=kinds, judge="never")
    assert report.of_kinds["x"]["generated"]["share of others"] == pytest.approx(1 / 500)
    plain = analyze(real, other, kinds=(Kind("continuous"),), judge="never")
    assert not plain.of_kinds
    assert "category_error" not in plain.metrics


def test_a_grid_goes_on_beyond_the_values_that_were_seen():
    levels = tuple(np.arange(0.5, 4.5, 0.5))
    x = np.array([[0.5, 99.5, -3.0, 4.2, -999.25]])[..., None]
    for kind in (
        Kind("grid", levels, (1.0,) * 8, atoms=(-999.25,), sentinel=(True,)),
        Kind("grid", step=0.5, atoms=(-999.25,), sentinel=(True,)),
    ):
        [off] = [p for p in bykind.parts([kind], x) if p.figure == "off_grid"]
        assert off.phi_NK.tolist() == [[1 / 5]]


def test_words_are_named_and_rare_ones_are_others():
    kind = Kind("categorical", tuple(map(float, range(60))), tuple(map(float, range(1, 61))))
    words = [f"w{i}" for i in range(60)]
    x = np.arange(60.0).reshape(1, 60, 1)
    shares, steps = bykind.parts([kind], x, words=[words])
    assert shares.words == (*words[10:], "others")
    np.testing.assert_allclose(shares.phi_NK[0], [*[1 / 60] * 50, 10 / 60])
    assert steps.words == (*words[48:], "others")
    assert steps.phi_NK[0].reshape(13, 13)[-1, -1] == pytest.approx(47 / 59)


def test_everything_is_written_down(real):
    report = analyze(real, table(np.random.default_rng(5), 300, "no repeats"), names=NAMES)
    found = json.loads(report.to_json())
    assert found["kinds"]["held"]["kind"].endswith("often as before")
    assert set(found["judge"]["columns"]) == set(NAMES)
    assert found["judge"]["columns"]["held"]["area"] > 0.9
    assert found["metrics"]["judge"]["verdict"] == "far"
    sentence = found["judge"]["sentence"]
    assert sentence.startswith("held gives the samples away (area 0.9")
    assert sentence == report.reasons()[0]
    text, page = report.to_text(), report.to_html({})
    for words in ("share of as before", "mean run of 0", "1 after 0", "values off the grid"):
        assert words in text
        assert words in page
    for words in (sentence, "each column alone"):
        assert words.lower() in " ".join(text.lower().split())
        assert words in page
    assert max(map(len, text.splitlines())) <= 100


def test_the_judge_is_left_out_where_it_takes_long_or_is_not_wanted(monkeypatch):
    monkeypatch.setattr(judge, "areas", lambda *_: pytest.fail("it was asked"))
    rng = np.random.default_rng(6)
    small = rng.normal(size=(20, 5, 1))
    assert not any("The judge" in note for note in analyze(small, small, judge="never").notes)
    monkeypatch.setattr(judging, "MOST_SECONDS", judging.seconds(40, 5, 1) - 0.1)
    report = analyze(small, small)
    assert any("--judge always" in note for note in report.notes)
    assert report.areas is None
    assert "judge" not in report.metrics
    with pytest.raises(UsageError, match="auto, always, never"):
        analyze(small, small, judge="sometimes")


@pytest.mark.parametrize("stride", [1, 3])
def test_without_training_data_no_held_out_window_shares_a_step_with_a_training_one(stride):
    rng = np.random.default_rng(7)
    series = rng.normal(size=2000)
    starts = np.arange(0, 2000 - STEPS, stride)
    x = np.stack([series[i : i + STEPS] for i in starts])[..., None]
    ids = overlap.independent_blocks(x)
    held, trained = starts[judging.parts(ids)[1]], starts[judging.parts(ids)[0]]
    assert np.abs(held[:, None] - trained).min() >= STEPS
    assert len(held) > 0.3 * len(starts)
    alone = judging.parts(np.arange(50))
    np.testing.assert_array_equal(np.sort(np.concatenate(alone)), np.arange(50))


def test_verdicts_of_the_judge():
    worth = independent.worth(("x", "y"), np.zeros((10_000, 1, 2)), 10_000, None)
    levels = np.ones(2, bool)

    def found(area, error, floor=0.5, floor_error=0.01):
        rows = [np.full(2, x) for x in (area, error, floor, floor_error)]
        areas = judge.Areas(area, error, *rows[:2], floor, floor_error, *rows[2:], levels)
        own = judging.metric(areas, ("x", "y"), worth)
        said = judging.sentence(areas, ("x", "y"), own)
        assert (
            ("x and y give" in said)
            == (own.verdict != "close")
            == (set(own.found_in) == {"x", "y"})
        )
        return own.verdict

    assert found(0.52, 0.01) == "close"
    assert found(0.6, 0.01) == "different"
    assert found(0.9, 0.01) == "far"
    assert found(0.9, 0.15) == "close"
    assert found(0.6, 0.01, floor=0.58) == "close"
    assert found(0.95, 0.02, floor=0.45, floor_error=0.16) == "far"
    assert found(0.7, 0.02, floor=0.45, floor_error=0.16) == "close"
    worth = replace(worth, level_D=np.full(2, 3.0))  # of a slow series, seen about its means
    assert found(0.9, 0.01) == "close"
    levels[:] = False
    assert found(0.9, 0.01) == "far"


def test_the_judge_in_words():
    def said(together, *alone, size=10_000):
        rows = [np.array(alone), np.full(len(alone), 0.01), np.full(len(alone), 0.5)]
        areas = judge.Areas(together, 0.01, *rows[:2], 0.5, 0.01, rows[2], rows[1], rows[0] > 0)
        names = [f"c{d}" for d in range(len(alone))]
        worth = independent.worth(names, np.zeros((size, 1, len(alone))), size, None)
        return judging.sentence(areas, names, judging.metric(areas, names, worth))

    of_chance = "No column gives the samples away beyond chance (areas 0.49 to {} alone)."
    assert said(0.5, 0.51, 0.49) == of_chance.format("0.51")
    assert said(0.5, 0.78, 0.49, size=2) == of_chance.format("0.78")  # worth two sequences
    assert said(0.9, 0.51, 0.51) == (
        "Columns give the samples away together (area 0.90), none alone (0.51)."
    )
    assert said(0.9, 0.9, 0.8, 0.7) == (
        "c0, c1 and c2 give the samples away (areas 0.90, 0.80 and 0.70 alone)."
    )
    assert said(0.9, 0.9, 0.8, 0.7, 0.95, 0.6, 0.5) == (
        "c3, c0, c1 and 2 more give the samples away (areas 0.95, 0.90 and 0.80 alone; the others "
        "0.50)."
    )
    assert said(0.9, 0.9) == ""


def test_a_judge_without_enough_sequences_says_so():
    x = np.random.default_rng(8).normal(size=(2, 12, 5, 1))
    report = analyze(x[0], x[1], train=x[0, :3])
    assert any("No judge" in note for note in report.notes)
