"""Overlapping windows are recognised, and then no step is in two parts."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seqgan_jax.analysis import analyze, resampling
from seqgan_jax.data import layout, overlap
from seqgan_jax.data.layout import Sequences, as_sequences, load, save_sequences, split
from seqgan_jax.errors import DataError


def cut(lengths, window, stride, features=1, seed=0):
    """Windows of series one after the other; every value of every series is another."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            np.stack([x[i : i + window] for i in range(0, length - window + 1, stride)])
            for length in lengths
            for x in [rng.normal(size=(length, features))]
        ]
    )


def shared(parts):
    """Steps that two parts have in common, by their values."""
    seen = [{step.tobytes() for step in x.reshape(-1, x.shape[2])} for x in vars(parts).values()]
    return len(seen[0] & seen[1]) + len(seen[0] & seen[2]) + len(seen[1] & seen[2])


@given(
    lengths=st.lists(st.integers(80, 400), min_size=1, max_size=30),
    window=st.integers(3, 30),
    overlapping=st.integers(1, 29),
    shuffled=st.booleans(),
    copies=st.integers(0, 4),
    again=st.integers(0, 20),
    gone=st.floats(0, 0.3),
    features=st.integers(1, 2),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_no_step_is_in_two_parts(
    lengths, window, overlapping, shuffled, copies, again, gone, features, seed
):
    stride = max(1, window - overlapping)
    x = cut(lengths, window, stride, features, seed)
    assume(len(x) >= 150)  # of too few links it cannot be known that they are no chance
    rng = np.random.default_rng(seed)
    x = x[rng.random(len(x)) >= gone]
    x = np.concatenate([x, x[rng.integers(len(x), size=copies)], x[5 : 5 + again]])
    if shuffled:
        x = rng.permutation(x)
    sequences = as_sequences(x)
    assert sequences.windows is not None
    try:
        parts = split(sequences, 0.1, 0.15, seed)
    except DataError:
        assert len(x) < 12 * window / stride  # a few windows at each border are dropped
        return
    assert shared(parts) == 0
    assert min(map(len, vars(parts).values())) > 0
    if stride < window / 2:  # the control: at random, as independent sequences are split
        assert shared(split(Sequences(x, sequences.names, "x"), 0.1, 0.15, seed)) > 0


@given(
    lengths=st.lists(st.integers(80, 130), min_size=1, max_size=6),
    window=st.integers(4, 12),
    stride=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_windows_are_put_back_in_their_places(lengths, window, stride, seed):
    order = np.random.default_rng(seed).permutation(len(cut(lengths, window, stride)))
    found = overlap.find(cut(lengths, window, stride)[order])
    assert found is not None
    assert found.stride == stride
    numbers = [(length - window) // stride + 1 for length in lengths]
    series = np.repeat(np.arange(len(lengths)), numbers)[order]
    starts = np.concatenate([stride * np.arange(number) for number in numbers])[order]
    assert np.array_equal(found.starts_N, starts)
    for number in range(len(lengths)):
        assert len(set(found.series_N[series == number])) == 1
    assert len(set(found.series_N)) == len(lengths)


@given(
    n=st.integers(20, 2000),
    steps=st.integers(2, 14),
    features=st.integers(1, 2),
    levels=st.integers(2, 6),
    kind=st.sampled_from(["levels", "walk", "sparse", "held", "normal", "copies", "constant"]),
    seed=st.integers(0, 10_000),
)
@example(n=235, steps=11, features=2, levels=3, kind="levels", seed=3213)
@settings(max_examples=300, deadline=None)
def test_independent_sequences_never_are_windows(n, steps, features, levels, kind, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(levels, size=(n, steps, features)).astype(float)
    if kind == "walk":
        x = np.cumsum(x - (levels - 1) // 2, axis=1)
    elif kind == "sparse":
        x *= rng.random(x.shape) < 0.1
    elif kind == "held":  # the same value for several steps
        x = np.maximum.accumulate(x * (rng.random(x.shape) < 0.3), axis=1)
    elif kind != "levels":
        x = rng.normal(size=x.shape)
    if kind == "copies":
        x[n // 2 :] = x[: n - n // 2]
    elif kind == "constant":
        x[:] = x[:, :1]
    assert overlap.find(x) is None


def test_stretches_of_equal_values_do_not_hide_it():
    rng = np.random.default_rng(0)
    series = rng.normal(size=(600, 1))
    series[100:180] = series[300:340] = 0.0
    x = np.lib.stride_tricks.sliding_window_view(series, 10, axis=0).transpose(0, 2, 1)
    found = overlap.find(x)
    assert found is not None
    assert found.starts_N.tolist() == list(range(591))
    parts = split(as_sequences(rng.permutation(x)))
    train, held_out = parts.train_NTD, parts.held_out_NTD
    assert not set(train.ravel()) & set(held_out.ravel()) - {0.0}


def test_short_windows_of_few_values_are_known_by_their_order():
    for column in ("temp_max", "temp_min"):
        found = as_sequences(load("weather", columns=[column], window=3).x_NTD).windows
        assert found is not None
        assert found.starts_N.tolist() == list(range(1459))
    for rows in np.repeat(np.eye(6), 40, axis=0), np.repeat(np.arange(40.0)[:, None], 6, axis=1):
        assert overlap.find(rows[..., None]) is None  # sorted


def test_rows_that_are_there_several_times_do_not_hide_it():
    rng = np.random.default_rng(0)
    x = cut([1000], 12, 1)
    for rows in (np.r_[:989, :989], rng.integers(989, size=989), rng.permutation(2 * 989) // 2):
        sequences = as_sequences(x[rows])
        assert sequences.windows is not None
        assert shared(split(sequences)) == 0


def test_windows_of_a_periodic_series_are_known_by_their_order():
    x = np.tile(np.random.default_rng(0).normal(size=30), 5)
    rows = np.lib.stride_tricks.sliding_window_view(x, 8)[..., None]
    found = overlap.find(rows)
    assert found is not None
    assert found.starts_N.tolist() == list(range(143))
    # In another order there is no first window.
    assert overlap.find(np.random.default_rng(1).permutation(rows[:30])) is None


def test_many_windows_are_sampled_first(monkeypatch):
    x = cut([3000, 500], 6, 2)
    monkeypatch.setattr(overlap, "SAMPLED", 100)
    found = overlap.find(x)
    assert found is not None
    assert np.array_equal(found.starts_N, 2 * np.r_[:1498, :248])
    assert overlap.find(np.random.default_rng(0).normal(size=(3000, 6, 1))) is None


def test_windows_with_gaps_that_are_filled_or_left_out_are_still_kept_apart(tmp_path):
    series = np.random.default_rng(0).normal(size=(300, 1))
    series[[50, 120, 121, 250]] = np.nan
    x = np.lib.stride_tricks.sliding_window_view(series, 10, axis=0).transpose(0, 2, 1)
    np.save(tmp_path / "x.npy", np.random.default_rng(1).permutation(x))
    for missing in ("drop", "interpolate"):
        loaded = load(str(tmp_path / "x.npy"), missing=missing)
        assert loaded.windows is not None
        assert len(loaded.windows.series_N) == len(loaded.x_NTD)
        known = [x[np.isin(x, series)] for x in vars(split(loaded)).values()]
        assert not set(known[0]) & (set(known[1]) | set(known[2]))


def test_the_weather_is_split_alike_however_it_comes(tmp_path):
    csv = load("weather")
    for name in ("a.npy", "a.txt", "b.csv"):
        save_sequences(tmp_path / name, csv.x_NTD, csv.names)
    (tmp_path / "folder").mkdir()
    for number, rows in enumerate(np.split(csv.x_NTD, [400, 700])):
        np.save(tmp_path / "folder" / f"{number}.npy", rows)
    np.savez(tmp_path / "a.npz", x=csv.x_NTD)
    (tmp_path / "a.csv").write_text((tmp_path / "a.txt").read_text().replace(" ", ","))
    lines = ("a.txt", "a.csv")
    names = ("a.npy", "a.npz", "b.csv", "folder", *lines)
    loaded = [load(str(tmp_path / name), features=5 if name in lines else None) for name in names]
    expected = split(csv)
    for each in (*loaded, as_sequences(csv.x_NTD)):
        parts = split(each)
        for part, x in vars(parts).items():
            assert np.array_equal(x, getattr(expected, part))
        assert each.notes[-1] == (
            "1,442 of 1,442 sequences are overlapping windows of one long series (stride 1): they "
            "are split by time, so that no step is in two parts"
        )
    shuffled = split(as_sequences(np.random.default_rng(0).permutation(csv.x_NTD)))
    last = {row.tobytes() for row in expected.held_out_NTD}
    assert {row.tobytes() for row in shuffled.held_out_NTD} == last


@pytest.mark.parametrize(
    ("lengths", "whole"), [([40] * 40, True), ([40] * 19, False), ([40] * 20 + [400], False)]
)
def test_whole_series_are_held_out_where_there_are_many_of_one_size(lengths, whole):
    x = cut(lengths, 10, 1)
    parts = split(as_sequences(x))
    assert shared(parts) == 0
    held_out = {row.tobytes() for row in parts.held_out_NTD}
    share = [
        np.mean([row.tobytes() in held_out for row in rows])
        for rows in np.split(x, np.cumsum([n - 9 for n in lengths])[:-1])
    ]
    if whole:
        assert sorted(share) == [0] * 36 + [1] * 4
    else:
        assert all(0 < each < 0.2 for each in share)


def test_series_too_short_to_be_cut_are_held_out_as_a_whole():
    parts = split(as_sequences(cut([25] * 6, 20, 1)))
    assert [len(x) for x in vars(parts).values()] == [24, 6, 6]
    assert shared(parts) == 0
    with pytest.raises(DataError, match="too few to split"):
        split(as_sequences(cut([45], 20, 1)))


def test_analysis_keeps_windows_together_in_blocks_of_time():
    x = cut([303, 203], 24, 3)[np.random.default_rng(0).permutation(94 + 60)]
    found = overlap.find(x)
    assert found is not None
    order, ids = found.blocks(24)
    assert set(np.bincount(ids)) == {8, 6, 4}
    ordered = x[order]
    for block in range(ids[-1] + 1):
        rows = ordered[ids == block]
        assert np.array_equal(rows[:-1, 3:], rows[1:, :-3])
    for half in resampling.random_halves(np.random.default_rng(0), ids, 1000, 4):
        assert not set(ids[half.first]) & set(ids[half.second])
        assert len(half.first) + len(half.second) == len(x)
    report = analyze(x, np.random.default_rng(1).normal(size=(150, 24, 1)))
    assert f"in {ids[-1] + 1} blocks" in report.notes[0]


def test_a_table_of_sequences_is_not_told_to_be_windows(tmp_path):
    layout.save_sequences(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(50, 4, 1)), "x")
    loaded = load(str(tmp_path / "a.npy"))
    assert (loaded.windows, loaded.notes) == (None, ())
