"""The pictures: their panels, that odd data do no harm, that nothing is shown or changed."""

import io

import matplotlib
import numpy as np
import pytest

from seqgan_jax.analysis import analyze, plots, style


def draw(figure):
    buffer = io.BytesIO()
    plots.save(figure, buffer)
    return buffer.getvalue()


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


CASES = [
    ((40, 1, 1), "plain"),
    ((40, 12, 1), "constant"),
    ((30, 24, 6), "plain"),
    ((20, 12, 28), "far away"),
    ((15, 200, 1), "far away"),
]


@pytest.mark.parametrize(("shape", "kind"), CASES)
def test_all_shapes_can_be_drawn(shape, kind):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape), rng.normal(size=shape)
    if kind == "constant":
        a[..., 0], b[..., 0] = 1.0, 1.0
    if kind == "far away":
        b = b * 1e6 + 1e9
    figures = analyze(a, b, judge="never").figures()
    assert set(figures) == {"distributions", "temporal"}
    assert len(figures["distributions"].axes) == 6
    assert len(figures["temporal"].axes) == 4
    for figure in figures.values():
        assert draw(figure).startswith(b"\x89PNG")


def test_panels_are_those_of_the_contract():
    rng = np.random.default_rng(1)
    figures = analyze(rng.normal(size=(50, 8)), rng.normal(size=(70, 8))).figures()
    for found, words in (
        (figures["distributions"], "Histogram,density,Q-Q,Quartiles,CDF,Statistics"),
        (figures["temporal"], "Sample sequences,Mean with,Autocorrelation,single steps"),
    ):
        for title, word in zip(titles(found), words.split(","), strict=True):
            assert word in title
        legend = " ".join(t.get_text() for t in found.legends[0].get_texts())
        assert "n = 50" in legend
        assert "n = 70" in legend
        assert all(ax.get_xlabel() or ax.get_xticklabels() for ax in found.axes)


def test_categories_are_bars_and_atoms_are_in_no_density():
    rng = np.random.default_rng(2)
    x = np.stack([rng.normal(size=(200, 9)), rng.integers(0, 3, (200, 9))], axis=-1)
    x[..., 0] = np.where(x[..., 0] < 0, 0.0, x[..., 0])
    y = x.copy()
    y[..., 1] = np.where(y[..., 1] == 2, np.arange(9) % 2, y[..., 1])  # the worst column by KS
    figures = analyze(x, y, names=["rain", "state"], judge="never").figures()
    panel = figures["distributions"].axes[1]
    assert titles(figures["distributions"])[1] == "Categories of state"
    heights = [bar.get_height() for bar in panel.patches]
    counts = [np.sum(each[..., 1] == level) for each in (x, y) for level in range(3)]
    np.testing.assert_allclose(heights, np.array(counts) / 1800)
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "1", "2"]
    assert titles(figures["temporal"])[3] == "Next category"
    assert titles(figures["temporal"])[1] == "Share of 2 at each step"
    line = figures["temporal"].axes[1].lines[0].get_ydata()
    np.testing.assert_allclose(line, [np.sum(x[:, t, 1] == 2) / 200 for t in range(9)])
    assert draw(figures["temporal"]).startswith(b"\x89PNG")
    figure = analyze(x[..., :1], y[..., :1], judge="never").figures()["distributions"]
    assert "without atoms" in titles(figure)[1]
    _, density = figure.axes[1].lines[0].get_data()
    assert density.max() < 1.2 * 2 / np.sqrt(2 * np.pi)  # of |N(0, 1)|, no spike at 0


def test_colours_differ_in_lightness_too():
    """Relative luminance (Rec. 709) of the two colours: they stay apart in black and white."""

    def luminance(colour):
        r, g, b = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in matplotlib.colors.to_rgb(colour)
        )
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, light = luminance(style.BLUE), luminance(style.VERMILLION)
    assert (light + 0.05) / (dark + 0.05) > 1.8
    assert style.REAL["linestyle"] != style.GENERATED["linestyle"]


def test_density_equals_scipy_and_integrates_to_one():
    from scipy import stats

    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=3000), rng.normal(5, 0.5, size=1000)])
    grid, found = style.density(x, -6, 10)
    assert found.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)
    quartiles = np.quantile(x, [0.25, 0.75])
    bandwidth = 0.9 * min(x.std(), (quartiles[1] - quartiles[0]) / 1.34) * x.size**-0.2
    expected = stats.gaussian_kde(x, bandwidth / x.std(ddof=1))(grid)
    np.testing.assert_allclose(found, expected, atol=0.004)


def test_settings_of_matplotlib_are_left_alone():
    before = dict(matplotlib.rcParams)
    plots.training_metrics([])
    rng = np.random.default_rng(3)
    analyze(rng.normal(size=(20, 5)), rng.normal(size=(20, 5))).figures()
    assert dict(matplotlib.rcParams) == before


def test_training_metrics_have_the_panels_of_the_contract():
    rows = [
        {"phase": "gen_pretrain", "step": s, "train_nll": 2.0 / s, "validation_nll": 2.2 / s}
        for s in range(1, 6)
    ]
    rows += [
        {"phase": "dis_pretrain", "step": s, "dis_loss": 0.7, "dis_accuracy": 0.5} for s in (1, 2)
    ]
    rows += [
        {
            "phase": "adversarial", "step": s, "ks": 0.1, "wasserstein": 0.2, "js": 0.01,
            "mean_error": 0.1, "std_error": float("nan"), "dis_loss": None,
        }
        for s in (1, 2, 3)
    ]  # fmt: skip
    figure = plots.training_metrics(rows)
    words = ("Kolmogorov", "Wasserstein", "Jensen", "Moment", "likelihood", "Discriminator")
    words += ("Reward", "Logit gap")
    for title, word in zip(titles(figure), words, strict=True):
        assert word in title
    ks, nll = figure.axes[0], figure.axes[4]
    assert [len(line.get_xdata()) for line in ks.get_lines() if len(line.get_xdata()) > 2] == [3]
    drawn = [line.get_ydata() for line in nll.get_lines() if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(sorted(y[0] for y in drawn), [2.0, 2.2])
    labels = [t.get_text() for t in ks.get_xticklabels()]
    assert [label.split("\n")[0] for label in labels] == [
        "G pretraining",
        "D pretraining",
        "adversarial",
    ]
    assert draw(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("rows", [[], [{"phase": "adversarial", "step": 0}], [{"phase": "new"}]])
def test_training_metrics_without_anything_to_draw(rows):
    figure = plots.training_metrics(rows)
    assert len(figure.axes) == 8
    assert draw(figure)
