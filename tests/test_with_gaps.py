"""Missing values from end to end: learned around, drawn again, written, alone and beside ends."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from seqgan_jax import SeqGAN
from seqgan_jax.data import layout, lengths
from seqgan_jax.data.windows import LIMIT
from seqgan_jax.errors import DataError, UsageError

TINY = {
    "hidden_dim": 8,
    "pre_epoch_num": 3,
    "dis_pre_refreshes": 0,
    "total_batch": 0,
    "policy": "gaussian",
}
NAN = np.nan
SHARES = {"wear": 0.1, "heat": 0.25}


def lives(number, seed=0):
    """Machines whose wear goes on until they fail, with cells that were not read."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(number):
        wear, cycle, rate = 0.0, 0, rng.uniform(0.3, 0.6)
        while wear < 4 or cycle < 2:
            wear += rate + 0.3 * rng.normal()
            cycle += 1
            rows.append((unit, cycle, round(wear, 2), round(20 + wear + rng.normal(), 1)))
    frame = pd.DataFrame(rows, columns=["unit", "cycle", *SHARES])
    for name, share in SHARES.items():
        frame[name] = frame[name].mask(rng.random(len(frame)) < share)
    return frame


@pytest.fixture(scope="module")
def learned():
    frame = lives(200)
    return frame, SeqGAN(**TINY).fit(frame, id="unit", time="cycle")


def test_ends_and_gaps_are_both_drawn_as_they_are(learned):
    frame, model = learned
    assert model.description.scaler.ends
    assert model.description.has_gaps
    whole = model.sample(600, seed=1)
    assert not whole.isna().any(axis=None)
    drawn = model.sample(600, seed=1, with_gaps=True)
    assert list(drawn.columns) == list(frame.columns)
    for name, share in SHARES.items():
        assert drawn[name].isna().mean() == pytest.approx(share, abs=0.03)
    for each in (whole, drawn):
        sizes = [part.groupby("unit").size() for part in (each, frame)]
        assert ks_2samp(*sizes).statistic < 0.15  # 1% of equal laws are beyond 0.13
    some = model.sample(20, with_gaps=True, length=(6, 9))
    assert some.groupby("unit").size().between(6, 9).all()


def test_what_is_there_has_its_likelihood_and_is_gone_on_from(learned, tmp_path):
    frame, model = learned
    some = frame[frame.unit < 8]
    log_p = model.log_prob(some)
    assert np.isfinite(log_p).all()
    array = lengths.padded([part[[*SHARES]].to_numpy() for _, part in some.groupby("unit")])
    assert np.allclose(model.log_prob(array), log_p, rtol=1e-5)
    model.save(tmp_path / "model")
    again = SeqGAN.load(tmp_path / "model")
    assert np.array_equal(again.log_prob(some), log_p)
    # The last row of what is gone on from has no value, and is a step all the same.
    until = frame.query("unit == 3 and cycle <= 4").copy()
    until.loc[until.cycle == 4, [*SHARES]] = NAN
    futures = model.sample(30, after=until)
    assert (futures.groupby("sample").cycle.min() == 5).all()
    assert futures.groupby("sample").size().nunique() > 1
    given = model.sample(30, after=[until[[*SHARES]].to_numpy()])
    assert np.array_equal(lengths.of(given[0]), futures.groupby("sample").size())
    # With gaps as often as in the data, and the same lengths of life.
    gaps = model.sample(256, after=until, with_gaps=True)
    for name, share in SHARES.items():
        assert gaps[name].isna().mean() == pytest.approx(share, abs=0.04)
    sizes = [part.groupby("sample").size() for part in (gaps, model.sample(256, after=until))]
    assert ks_2samp(*sizes).pvalue > 1e-3


def test_futures_with_gaps_are_those_of_whole_sequences_with_the_same_beginning(tmp_path):
    """A column is missing in runs, and its value says when: against draws that begin alike."""
    rng = np.random.default_rng(3)
    gone = np.zeros((400, 5), bool)
    for t in range(5):
        chance = np.where(gone[:, t - 1], 0.8, 0.1) if t else np.full(400, 0.3)
        gone[:, t] = rng.random(400) < chance
    x = np.where(gone, NAN, rng.integers(0, 3, (400, 5)))[..., None]
    model = SeqGAN(**TINY | {"hidden_dim": 4}).fit(x)
    whole = np.isnan(model.sample(4096, seed=1, with_gaps=True)[..., 0])
    for before in ([0.0, NAN], [NAN, 1.0]):
        alike = whole[(np.isnan(before) == whole[:, :2]).all(axis=1)]
        after = np.reshape([before] * 2, (2, 2, 1))
        futures = model.sample(512, after=after, length=3, with_gaps=True)
        found = np.isnan(futures).reshape(-1, 3)
        error = np.sqrt(0.25 / len(alike) + 0.25 / len(found))
        # What the value was, 0 or 1, says nothing here; whole sequences are of all values.
        assert np.abs(found.mean(axis=0) - alike[:, 2:5].mean(axis=0)).max() < 4 * error + 0.03
    from seqgan_jax.data import writing

    form = writing.plain_form(["x1"])
    ends = writing.Ends({}, np.array([2, 2]), None)
    for name in ("f.csv", "f.npy", "f.txt"):
        with pytest.raises(DataError, match="not finite"):
            writing.save_futures(tmp_path / name, futures, form, ends)
        writing.save_futures(tmp_path / name, futures, form, ends, with_gaps=True)
    again = pd.read_csv(tmp_path / "f.csv")["x1"].to_numpy().reshape(futures.shape[:3])
    assert np.array_equal(again, futures[..., 0], equal_nan=True)
    assert np.array_equal(np.load(tmp_path / "f.npy"), futures, equal_nan=True)


def test_gaps_are_refused_where_there_are_none():
    x = np.random.default_rng(0).normal(size=(60, 4)).cumsum(axis=1)
    model = SeqGAN(**TINY)
    model.prepare(layout.as_sequences(x))
    with pytest.raises(UsageError, match="no value was missing where this model learned"):
        model.sample(3, with_gaps=True)
    x[7, 2] = NAN
    with pytest.raises(DataError, match=r"x\[7, 2\] is nan"):
        model.log_prob(x)
    with pytest.raises(DataError, match="nan"):
        model.sample(1, after=[1.0, NAN])


# ------------------------------------------------------------------ written and read


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.npy", "x.parquet"])
@pytest.mark.parametrize("ends", [False, True])
def test_what_is_missing_is_written_and_read_again(tmp_path, name, ends):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 12, 2)).round(3)
    if ends:
        steps_N = rng.integers(4, 13, 40)
        steps_N[0] = 12
        x[np.arange(12) >= steps_N[:, None]] = NAN
    x[rng.random(x.shape) < 0.05] = NAN
    x[5, 2] = NAN  # no value at all at a step
    if not ends:
        x[7, -2:] = NAN  # nor at the last ones, which are written, too
    path = tmp_path / name
    layout.save_sequences(path, x, ("a", "b"), with_gaps=True, ends=ends)
    if name.endswith("sv"):
        lines = path.read_text().splitlines()
        separator = "\t" if name == "x.tsv" else ","
        assert all(line.count(separator) == 3 for line in lines)
        assert len(lines) == 1 + lengths.there(x).sum() if ends else 481
        assert sum(line.endswith(separator * 2) for line in lines) >= 1
    found = layout.load(str(path), features=2 if name == "x.txt" else None)
    assert found.ends == ends
    assert np.allclose(found.x_NTD, x, equal_nan=True)
    with pytest.raises(DataError, match="not finite"):
        layout.save_sequences(path, x, ("a", "b"), ends=ends)


def test_dtypes_that_cannot_hold_nothing_become_those_that_can():
    frame = pd.DataFrame(
        {
            "number": pd.Series(np.arange(400) % 7, dtype="int32"),
            "small": pd.Series(np.arange(400) % 5, dtype="uint8"),
            "is_on": np.arange(400) % 3 == 0,
            "word": np.where(np.arange(400) % 2, "a", "b"),
        }
    )
    form = layout.from_python(frame, SeqGAN(window=4).config.data).form
    assert form is not None
    from seqgan_jax.data import writing

    x = np.array([[[1.0, 2.0, 1.0, 0.0], [NAN] * 4]])
    made = writing.to_frame(x, form)
    assert [str(made[name].dtype) for name in frame] == ["Int32", "UInt8", "boolean", "str"]
    assert made[list(frame)].isna().to_numpy().tolist() == [[False] * 4, [True] * 4]


# ------------------------------------------------------------------ beside ends


def test_rows_without_a_value_at_the_end_are_after_it():
    frame = lives(60)
    last = frame.groupby("unit").cycle.transform("max") == frame.cycle
    frame.loc[last, [*SHARES]] = 0.0
    frame.loc[last & (frame.unit < 5), [*SHARES]] = NAN
    found = layout.from_python(frame, SeqGAN(id=["unit"], time=["cycle"]).config.data)
    assert "5 of 60 sequences end at the last step with a value" in found.notes
    assert any("learned around" in note for note in found.notes)
    sizes = frame.groupby("unit").size().to_numpy()
    assert np.all(lengths.of(found.x_NTD)[:5] < sizes[:5])


def test_scaling_there_and_back_with_ends_gaps_statics_and_rules():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 9, 4)).round(2)
    x[..., 1] = rng.integers(3, size=(60, 1))  # constant in each sequence
    x[..., 2] = np.cumsum(rng.integers(5, size=(60, 9)), axis=1)
    x[..., 3] = rng.choice([0.0, -99.0, 1.5, 2.5], size=(60, 9))
    steps_N = np.r_[9, rng.integers(3, 10, 59)]
    x[np.arange(9) >= steps_N[:, None]] = NAN
    whole = x.copy()
    for d in (0, 1, 3):
        x[rng.random((60, 9)) < 0.2, d] = NAN
    x[:7, :, 1] = NAN  # of some never known
    from seqgan_jax.data import encoding

    config = SeqGAN(rule=["c increases"]).config.data
    scaler = encoding.fit(x, ("a", "b", "c", "d"), config, None, ends=True)
    z = scaler.transform(x)
    assert np.isfinite(z).all()
    expected = x.copy()
    expected[7:, :, 1] = whole[7:, :, 1]  # known where any of its values is
    found = scaler.inverse(z)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.allclose(found, expected, equal_nan=True, atol=1e-9)
    assert scaler.matches(x).all()
    x[9, 1, 3] = 7.0  # no category
    assert np.flatnonzero(~scaler.matches(x)).tolist() == [9]
    going_on = scaler.transform(lengths.filled(whole)[:3], going_on=True)
    assert not going_on[..., scaler.end].any()


def test_lists_of_arrays_with_gaps():
    rng = np.random.default_rng(2)
    data = [rng.normal(size=(int(rng.integers(5, 9)), 2)) for _ in range(30)]
    data[3][1, 0] = NAN
    found = layout.as_sequences(data)
    assert found.ends
    assert np.array_equal(found.x_NTD, lengths.padded(data), equal_nan=True)
    masked = [np.ma.masked_invalid(x) for x in data]
    assert np.array_equal(layout.as_sequences(masked).x_NTD, found.x_NTD, equal_nan=True)


@pytest.mark.parametrize(("share", "ends"), [(0.02, True), (0.2, False)])
def test_of_one_column_holes_are_told_from_ends_by_how_common_they_are(share, ends):
    """A tenth as common as sequences that end early, or less: these end."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 12))
    if ends:
        x[np.arange(12) >= rng.integers(4, 13, 200)[:, None]] = NAN
    x[rng.random(x.shape) < share] = NAN
    found = layout.as_sequences(x[:, :, None])
    assert found.ends == ends
    assert np.isnan(found.x_NTD[:, :4]).any()


def test_what_is_filled_in_ends_with_its_sequence():
    """A gap at an end is as long as it is, and nothing after the end is counted."""
    x = np.array([np.r_[np.arange(float(n)), [NAN] * (30 - n)] for n in range(5, 31)])
    two = np.stack([x, x], axis=2)
    for n, row in enumerate(two):
        row[n + 4, 1] = NAN  # the last step of each, of the second column
    from seqgan_jax.data import sequences

    found = sequences.of_unequal(two, "x", ("a", "b"), "interpolate", LIMIT)
    steps_N = np.arange(5, 31)
    assert np.array_equal(lengths.of(found.x_NTD), steps_N)
    assert all(x[n - 1, 1] == x[n - 2, 1] for n, x in zip(steps_N, found.x_NTD, strict=True))
    said = f"filled in 26 missing of {2 * steps_N.sum():,} values by linear interpolation"
    assert found.notes[0] == said + "; the longest gap has 1 step"
    with pytest.raises(DataError, match="sequence 1, step 5: b is missing"):
        sequences.of_unequal(two, "x", ("a", "b"))
    two[3:23, 4, 0] = NAN
    around = sequences.of_unequal(two, "x", ("a", "b"), "model")
    assert np.array_equal(around.x_NTD, two, equal_nan=True)
    assert "a: 4.40% missing; b: 5.71% missing, learned around" in around.notes[0]
