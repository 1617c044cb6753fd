"""The fan: its bands are quantiles, its lines are the data, and what does not fit is refused."""

import numpy as np
import pytest

from seqgan_jax.analysis import plots
from seqgan_jax.errors import DataError


def sequences(n=60, t=7, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, t, d)).cumsum(axis=1)


def edges(ax, k):
    """Lower and upper edge of the k-th band, by step."""
    points = {}
    for x, y in ax.collections[k].get_paths()[0].vertices:
        points.setdefault(x, []).append(y)
    return {x: (min(y), max(y)) for x, y in points.items()}


def test_bands_are_quantiles_and_lines_are_the_data():
    real, generated = sequences(), sequences(n=300, seed=1) * 3
    generated[:, 4, 1] = np.nan  # too little there for a quantile
    figure = plots.fan(real, generated, ("a", "b"), real_shown=4)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a", "b"]
    for k, (low, high) in enumerate(((0.05, 0.95), (0.25, 0.75))):
        found = edges(figure.axes[0], k)
        for t in range(7):
            expected = np.quantile(generated[:, t, 0], [low, high])
            np.testing.assert_allclose(found[t + 1], expected)
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    expected = np.median(generated[..., 1], axis=0)
    np.testing.assert_allclose(lines["median"].get_ydata(), expected)
    drawn = [line.get_ydata() for line in figure.axes[1].lines[-4:]]
    rows = [np.flatnonzero((real[..., 1] == each).all(axis=1)) for each in drawn]
    assert len({int(row[0]) for row in rows}) == 4
    assert plots.png(figure).startswith(b"\x89PNG")


def test_futures_go_on_from_the_last_step_that_is_known():
    history, real, generated = sequences(n=1, t=5)[0], sequences(n=1), sequences(n=100, seed=2)
    figure = plots.fan(real, generated, ("a", "b"), history_HD=history)
    drawn = {(tuple(x.get_xdata()), tuple(x.get_ydata())) for x in figure.axes[1].lines[-3:]}
    ahead = np.concatenate([history[-1:, 1], real[0, :, 1]])
    assert (tuple(range(-4, 1)), tuple(history[:, 1])) in drawn
    assert (tuple(range(8)), tuple(ahead)) in drawn
    assert edges(figure.axes[1], 0)[0] == (history[-1, 1], history[-1, 1])


def test_many_columns_few_rows_one_step_and_a_generator_far_away():
    figure = plots.fan(sequences(d=30), sequences(d=30), [f"c{d}" for d in range(30)])
    assert figure.legends[0].get_title().get_text() == "the first 8 of 30 columns"
    figure = plots.fan(sequences(n=1, t=1, d=1), sequences(n=1, t=1, d=1), ["x"])
    assert plots.png(figure).startswith(b"\x89PNG")
    figure = plots.fan(sequences(d=1), sequences(d=1) * 1e9, ["x"])
    assert np.ptp(figure.axes[0].get_ylim()) < 1e3
    assert plots.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("real", "generated", "history", "said"),
    [
        ((5, 6), (5, 6, 1), None, r"real_NTD has the shape \[5, 6\]; it must be \[N, T, D\]"),
        ((5, 6, 1), (5, 6, 2), None, "generated_NTD .* D = 1 as there are names"),
        ((5, 6, 1), (0, 6, 1), None, "generated_NTD .* nothing empty"),
        ((1, 6, 1), (5, 6, 1), (1, 4, 1), r"history_HD .* must be \[H, D\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(real, generated, history, said):
    with pytest.raises(DataError, match=said):
        plots.fan(
            np.zeros(real),
            np.zeros(generated),
            ["x"],
            history_HD=None if history is None else np.zeros(history),
        )
