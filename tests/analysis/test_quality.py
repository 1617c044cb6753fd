"""The benchmark of the published protocol scores what the papers score."""

from pathlib import Path

import numpy as np
import pytest
import quality

from seqgan_jax.analysis import scores


@pytest.fixture
def scored(monkeypatch):
    """What reaches the scores, in place of their training."""
    seen = []

    def discriminative(x_NTD, pairs, _seed):
        seen.append(x_NTD)
        return np.zeros(len(pairs))

    def predictive(x_NTD, rows, tested_NTD, _seed):
        seen.extend((x_NTD, tested_NTD))
        return np.zeros((len(rows), len(tested_NTD)))

    monkeypatch.setattr(scores, "discriminative", discriminative)
    monkeypatch.setattr(scores, "predictive", predictive)
    return seen


def test_sines_are_scored_in_their_own_units(scored):
    """(sin + 1) / 2 of angles in [0, 2.4] is in [0.5, 1], and is not stretched to [0, 1]."""
    parts = (x.x_NTD for x in quality.parts_of("sines", Path(), 24))
    quality.floors("sines", *parts, 1, quality.FIGURES)
    assert len(scored) == 3
    for x in scored:
        assert x.min() == pytest.approx(0.5, abs=0.01)
        assert x.max() == pytest.approx(1.0, abs=0.01)


def test_a_series_is_scored_between_its_own_extremes(scored):
    x = np.random.default_rng(0).normal(size=(30, 24, 2)) * [1.0, 50.0] + 7.0
    quality.floors("stocks", x, x[:20], x[20:], 1, quality.FIGURES)
    _, trained, tested = scored
    for scaled in (trained, tested):
        np.testing.assert_allclose(scaled.min((0, 1)), 0, atol=1e-6)
        np.testing.assert_allclose(scaled.max((0, 1)), 1, atol=1e-6)


@pytest.mark.parametrize("window", [24, 64])
def test_no_step_that_was_trained_on_is_in_a_held_out_window(tmp_path, window):
    steps = np.arange(2000)
    columns = np.column_stack([steps, np.sin(steps)])
    np.savetxt(tmp_path / "stock_data.csv", columns, delimiter=",", header="n,x", comments="")
    read, train, held = quality.parts_of("stocks", tmp_path, window)
    trained_on, unseen = (set(part.x_NTD[:, :, 0].ravel()) for part in (train, held))
    assert unseen
    assert not trained_on & unseen
    assert len(read.x_NTD) == 2000 - window + 1


@pytest.mark.slow
def test_real_sines_have_the_published_predictive_score():
    """.093 for samples, .094 for real data in Diffusion-TS (Yuan and Qiao, ICLR 2024), table 1."""
    parts = quality.parts_of("sines", Path(), 24)
    found = quality.floors("sines", *(x.x_NTD for x in parts), 1, ["pred"])
    assert found["pred"] == pytest.approx(0.093, abs=0.003)
