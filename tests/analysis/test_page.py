"""The page: what each column shows, its colours by day and night, ids, the map's mathematics."""

import re

import numpy as np
import pytest
from scipy.optimize import approx_fprime, brentq
from scipy.special import entr, rel_entr

from seqgan_jax.analysis import analyze, html, maps, strips, style
from seqgan_jax.analysis.report import Report


@pytest.fixture(scope="module")
def mixed():
    """Rain with zeros, three states, a level of few values missing; samples have no dry days."""
    rng = np.random.default_rng(0)

    def sample(dry):
        x = rng.normal(size=(160, 9, 3))
        x[..., 0] = np.where(rng.random((160, 9)) < dry, 0.0, np.exp(x[..., 0]))
        x[..., 1] = rng.choice(3, (160, 9), p=[0.5, 0.3, 0.2])
        x[5:9, 4, 2] = np.nan
        return x

    return analyze(sample(0.6), sample(0.0), names=["rain", "state", "level"], judge="never")


@pytest.fixture(scope="module")
def page(mixed):
    return mixed.to_html({"temporal": b"a picture"})


def test_every_column_has_its_pictures_and_shares(page):
    headings = re.findall(r"<h3>(\w+) ?(?:<small>.*?</small>)?</h3>", page)
    assert headings[:3] == ["rain", "state", "level"]
    labels = re.findall(r'aria-label="([^"]*)"', page)
    assert [label.split(": ")[0] for label in labels[:-1]] == ["rain"] * 3 + ["state"] + [
        "level"
    ] * 3
    rain = page[page.index("<h3>rain") : page.index("<h3>state")]
    real, generated = re.findall(r"<b>([\d.]+)% (?:real|generated)</b>", rain)[:2]
    assert 55 < float(real) < 65
    assert float(generated) == 0
    assert "Differs in: Kolmogorov-Smirnov" in rain
    assert "share of 2" in page[page.index("<h3>state") : page.index("<h3>level")]


def test_ids_are_unique_and_what_is_referred_to_is_there(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert ids
    assert len(ids) == len(set(ids))
    used = re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {a or b for a, b in used} <= set(ids)


def test_pictures_have_the_colours_of_the_page(page):
    body = page[page.index("<body") :]
    for colour, name in style.ON_PAGE.items():
        assert colour.lower() not in body.lower()
        assert f"--{name}: {style.DARK[name]}" in page
        assert f"--{name}: {style.LIGHT[name]}" in page
    assert "prefers-color-scheme: dark" in page
    assert not re.findall(r"(?:fill|stroke): #(?!000000)\w+", body)
    for name in ("close", "different", "far", "inconclusive"):
        assert f".verdict.{name} {{ border-color: {style.VERDICTS[name]}" in page
    assert len(set(style.VERDICTS.values())) == 4


def test_a_verdict_of_none_of_the_three_is_shown(mixed, monkeypatch):
    monkeypatch.setattr(Report, "verdict", property(lambda _: "inconclusive"))
    monkeypatch.setattr(Report, "headline", property(lambda _: "There is too little data."))
    monkeypatch.setattr(Report, "reasons", lambda _: ["Because."])
    found = mixed.to_html({})
    assert 'class="verdict inconclusive"><strong>? There is too little data.' in found
    assert "<svg" not in found
    row = html._figure(mixed.metrics["ks"].replace(verdict="inconclusive"))
    assert "? inconclusive" in row


def test_of_many_columns_those_that_differ_most_come_first():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60, 5, 12))
    y[..., 7] += 2
    y[..., 4] += 1
    report = analyze(x, y, judge="never")
    assert html.shown_columns(report)[:2] == [7, 4]
    assert len(html.shown_columns(report)) == html.MOST_STRIPS
    assert "The 8 of 12 columns that differ most by KS" in "".join(html._columns(report))


def test_a_film_has_every_value_in_its_order():
    x = np.arange(12.0).reshape(3, 4)
    x[1, 1] = x[1, 3] = np.nan  # so that x[1, 2] stands alone
    figure, (ax,) = style.new_figure(1, 1, (3, 2))
    strips.film(ax, x, style.REAL)
    drawn = ax.lines[0].get_ydata()
    np.testing.assert_array_equal(drawn, [0, 1, 2, 3, *[np.nan], 4, *[np.nan], 6, *[np.nan] * 2,
                                          8, 9, 10, 11])  # fmt: skip
    np.testing.assert_array_equal(np.sort(ax.lines[1].get_ydata()), [4, 6])
    assert style.svg(figure, "key", "<what>").count("&lt;what&gt;") == 1


def test_side_by_side_has_a_pair_of_axes_for_each_column():
    rng = np.random.default_rng(2)
    real, generated = rng.normal(size=(20, 6, 2)), rng.normal(size=(30, 6, 2))
    real[..., 1] = rng.integers(2, size=(20, 6))
    figure = strips.side_by_side(real, generated, ("a", "b"), words=((), ("dry", "wet")))
    assert [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes] == [
        "real",
        "generated",
        "",
        "",
    ]
    pairs = np.array([ax.get_ylim() for ax in figure.axes]).reshape(2, 2, 2)
    np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
    assert [tick.get_text() for tick in figure.axes[2].get_yticklabels()] == ["dry", "wet"]


@pytest.mark.parametrize(("count", "numbers"), [(40, 5), (6, 30)])
def test_components_are_those_of_the_covariance(count, numbers):
    rng = np.random.default_rng(3)
    real = rng.normal(size=(count, numbers)) @ rng.normal(size=(numbers, numbers)) + 3
    other = rng.normal(size=(7, numbers))
    (own, others), shares = maps.components(real, other)
    power, axes = np.linalg.eigh(np.cov(real.T))
    for k in (0, 1):
        axis = axes[:, -1 - k]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(own[:, k], (real - real.mean(axis=0)) @ axis)
        np.testing.assert_allclose(others[:, k], (other - real.mean(axis=0)) @ axis)
        np.testing.assert_allclose(shares[k], power[-1 - k] / power.sum())


def test_without_variance_components_are_zero():
    line = np.arange(6.0)[:, None] * np.ones(3)
    (own,), shares = maps.components(line)
    np.testing.assert_allclose(own[:, 1], 0)
    np.testing.assert_allclose(shares, [1, 0])
    (own,), shares = maps.components(np.arange(4.0)[:, None])  # one number
    np.testing.assert_allclose(own, [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]])
    np.testing.assert_allclose(shares, [1, 0])
    (own,), shares = maps.components(np.ones((4, 3)))
    np.testing.assert_array_equal(own, 0)
    np.testing.assert_array_equal(shares, 0)


def test_rows_of_the_map_have_categories_apart_and_gaps_at_the_mean(mixed):
    real, _ = maps.as_rows(mixed, 1000)
    chosen = strips.rows(160, 1000, mixed.seed)
    x = mixed.real_NTD[chosen]
    assert real.shape == (160, 9 + 27 + 9)
    expected = [[float(v == level) for v in row for level in (0, 1, 2)] for row in x[..., 1]]
    np.testing.assert_array_equal(real[:, 9:36], expected)
    z = (x[..., 2] - np.nanmean(x[..., 2])) / np.nanstd(x[..., 2])
    z = np.where(np.isnan(z), np.nanmean(z, axis=0), z)
    np.testing.assert_allclose(real[:, 36:], z)


def test_affinities_have_the_perplexity_and_sum_to_one():
    x = np.random.default_rng(4).normal(size=(40, 6)) * 1e3
    x[7] = x[8]
    p = maps.affinities(x, 10.0)
    np.testing.assert_allclose(p, p.T)
    np.testing.assert_allclose(p.sum(), 1)
    np.testing.assert_array_equal(np.diag(p), 0)
    # The same by a root of each row on its own.
    rows = np.zeros((40, 40))
    for i in range(40):
        square = np.sum((x - x[i]) ** 2, axis=1)

        def shares(log_b, i=i, square=square):
            logs = -np.exp(log_b) * square
            logs[i] = -np.inf
            return np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()

        log_b = brentq(lambda b, f=shares: entr(f(b)).sum() - np.log(10.0), -30, 0)
        rows[i] = shares(log_b)
    np.testing.assert_allclose(p, (rows + rows.T) / 80, rtol=1e-5, atol=1e-12)


def test_the_slope_is_that_of_the_divergence():
    rng = np.random.default_rng(5)
    p, y = maps.affinities(rng.normal(size=(12, 4)), 4.0), rng.normal(size=(12, 2))

    def divergence(flat):
        places = flat.reshape(12, 2)
        near = [[(i != j) / (1 + np.sum((a - b) ** 2)) for j, b in enumerate(places)]
                for i, a in enumerate(places)]  # fmt: skip
        return rel_entr(p, np.array(near) / np.sum(near)).sum()

    expected = approx_fprime(y.ravel(), divergence, 1e-7).reshape(12, 2)
    np.testing.assert_allclose(maps.slope(p, y)[0], expected, atol=1e-6)


def test_near_rows_are_near_on_the_map(mixed):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(60, 8))
    x[::2, :4] += 12  # two groups
    y = maps.embedded(x)
    np.testing.assert_array_equal(y, maps.embedded(x))
    gaps = np.linalg.norm(y[:, None] - y, axis=-1) + np.diag(np.full(60, np.inf))
    np.testing.assert_array_equal(gaps.argmin(axis=1) % 2, np.arange(60) % 2)
    p = maps.affinities(x, 59 / 3)
    (start,), _ = maps.components(x)
    found, before = (rel_entr(p, maps.slope(p, each)[1]).sum() for each in (y, start))
    assert found < 0.7 * before
    assert np.abs(maps.slope(p, y)[0]).max() < 1e-4
    assert "t-SNE" in mixed.to_html({"temporal": b""}, map_by="tsne")


def test_what_lies_beyond_the_axes_and_constants_are_said():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(30, 6, 2))
    x[..., 1] = rng.integers(5, size=(30, 1))
    report = analyze(x, x * [1e6, 1] + [1e9, 0], judge="never")
    words = [text.get_text() for text in strips.sequences(report, 0).axes[1].texts]
    assert len(words) == 1
    assert words[0].startswith("beyond: ")
    assert not strips.sequences(report, 1).axes[1].texts
    assert strips.memory(report, 0) is not None
    assert strips.memory(report, 1) is None  # constant in each sequence
    named = maps.principal(report).legends[0].get_texts()
    assert [text.get_text() for text in named] == [
        "real (30 sequences)",
        "generated (30 sequences, 100% beyond)",
    ]
