"""Streamed data: reading, splitting, the order of blocks, fitting, and a run on them."""

import helpers
import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.config import Config, DataConfig
from seqgan_jax.data import layout, shards
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.data.shards import BLOCK
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run.loader import StreamedData, on_device, scaled

X = 5.0 + 2.0 * helpers.series(10 * BLOCK + 37, 4, 2)


@pytest.fixture
def folder(tmp_path):
    """The rows of X in three files of odd sizes and two dtypes."""
    for name, rows in (("a", X[:700]), ("b", X[700:701]), ("c", X[701:].astype(">f8"))):
        np.save(tmp_path / f"{name}.npy", rows)
    return tmp_path


def opened(folder):
    return shards.open_shards(shards.find(str(folder)))


def test_rows_of_files_are_one_table(folder):
    table = opened(folder)
    assert (table.num_rows, table.shape) == (len(X), (4, 2))
    for start, stop in ((0, 5), (690, 710), (700, 701), (0, len(X)), (len(X) - 3, len(X))):
        assert np.array_equal(table.rows(start, stop), X[start:stop])


def test_a_folder_that_fits_is_read_at_once_and_one_that_does_not_is_streamed(folder):
    assert np.array_equal(layout.load(str(folder)).x_NTD, X)
    assert layout.open_stream(DataConfig(data=str(folder))) is None
    assert layout.open_stream(DataConfig(data="weather")) is None
    large = layout.open_stream(DataConfig(data=str(folder), memory=1e-5))
    assert large.num_rows == len(X)
    with pytest.raises(UsageError, match="--missing"):
        layout.open_stream(DataConfig(data=str(folder), memory=1e-5, missing="drop"))


def test_memory_is_in_gigabytes_of_float64(tmp_path):
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (20_000_000, 20))  # 1.6 GB of nothing: sparse
    assert layout.open_stream(DataConfig(data=str(path), memory=3.3)) is None
    assert layout.open_stream(DataConfig(data=str(path), memory=3.1)).num_bytes == 3_200_000_000


def test_the_parts_share_no_row_and_leave_out_only_the_rest(folder):
    parts = shards.split(opened(folder), 0.2, 0.1, seed=1)
    rows = [parts.validation_NTD, parts.held_out_NTD]
    rows += [parts.block(int(b)) for b in parts.train_blocks]
    assert [len(part) for part in rows[:2]] == [BLOCK, 2 * BLOCK]
    together = np.concatenate(rows).reshape(10 * BLOCK, -1)
    assert np.array_equal(
        together[np.lexsort(together.T)],
        X[: 10 * BLOCK].reshape(10 * BLOCK, -1)[
            np.lexsort(X[: 10 * BLOCK].reshape(10 * BLOCK, -1).T)
        ],
    )


def test_overlapping_windows_are_split_by_time_with_a_gap(tmp_path):
    series = np.random.default_rng(0).normal(size=(20 * BLOCK + 6, 2))
    x = np.lib.stride_tricks.sliding_window_view(series, 7, axis=0).transpose(0, 2, 1)
    for name, rows in (("a", x[:1300]), ("b", x[1300:])):
        np.save(tmp_path / f"{name}.npy", np.ascontiguousarray(rows))
    table = opened(tmp_path)
    assert "sequences are overlapping windows: they are split by time" in table.notes[-1]
    parts = shards.split(table, 0.2, 0.1, seed=1)
    train = np.concatenate([parts.block(int(b)) for b in parts.train_blocks])
    steps = [set(part.ravel()) for part in (train, parts.validation_NTD, parts.held_out_NTD)]
    assert not steps[0] & (steps[1] | steps[2])
    assert not steps[1] & steps[2]
    assert [len(part) // BLOCK for part in (train, parts.validation_NTD, parts.held_out_NTD)] == [
        *(12, 2, 4)
    ]
    assert series[-1, 0] in steps[2]
    # The control: blocks at random share steps at their borders.
    random = np.random.default_rng(1).permutation(20)
    assert set(x[np.isin(np.arange(len(x)) // BLOCK, random[:4])].ravel()) & set(
        x[~np.isin(np.arange(len(x)) // BLOCK, random[:4])].ravel()
    )


def test_overlapping_windows_in_another_order_are_not_streamed(tmp_path):
    series = np.random.default_rng(0).normal(size=(8 * BLOCK + 6, 1))
    x = np.lib.stride_tricks.sliding_window_view(series, 7, axis=0).transpose(0, 2, 1)
    np.save(tmp_path / "x.npy", np.random.default_rng(1).permutation(x))
    with pytest.raises(DataError, match=r"not in order of time.*make --memory larger"):
        shards.split(opened(tmp_path), 0.1, 0.1, seed=1)
    assert layout.load(str(tmp_path / "x.npy")).windows is not None


def test_each_pass_visits_every_block_once_in_an_order_of_its_own(folder):
    parts = shards.split(opened(folder), 0.1, 0.1, seed=1)
    size = len(parts.train_blocks)
    orders = [parts.order(3, 0, p * size, size) for p in range(30)]
    for order in orders:
        assert np.array_equal(np.sort(order), parts.train_blocks)
    assert len({tuple(order) for order in orders}) == 30
    # Buffers are pieces of the passes, whatever their size.
    pieces = [parts.order(3, 0, 3 * i, 3) for i in range(size)]
    assert np.array_equal(np.concatenate(pieces), np.concatenate(orders[:3]))
    # A block's neighbours on disk are its neighbours in a pass no more often than by chance.
    apart = np.concatenate([np.abs(np.diff(order)) == 1 for order in orders])
    expected = 2 / size
    assert abs(apart.mean() - expected) < 4 * np.sqrt(expected / len(apart))


def test_fitting_finds_a_column_that_is_constant_in_the_sample_only(tmp_path, monkeypatch):
    x = np.concatenate([X, np.full((*X.shape[:2], 1), 3.0)], axis=2)[: 10 * BLOCK]
    monkeypatch.setattr(shards, "SAMPLED", BLOCK)
    np.save(tmp_path / "x.npy", x)
    parts = shards.split(opened(tmp_path), 0.1, 0.1, seed=1)
    assert shards.fit(parts, 5).scaler.kept_K == (0, 1)
    for b in parts.train_blocks[1:]:  # all but at most one block break it
        x[BLOCK * b + 7, 2, 2] = 4.0
    np.save(tmp_path / "x.npy", x)
    scaler = shards.fit(shards.split(opened(tmp_path), 0.1, 0.1, seed=1), 5).scaler
    assert scaler.kept_K == (0, 1, 2)


def test_a_value_that_is_not_finite_is_named_by_its_place(folder):
    x = X[701:].copy()
    x[900, 1, 1] = np.nan
    np.save(folder / "c.npy", x)
    with pytest.raises(DataError, match=r"c\.npy: x\[900, 1, 1\] is nan"):
        shards.fit(shards.split(opened(folder), 0.1, 0.1, seed=1), 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((300, 5, 2)), "same steps and features"),
        (np.zeros(7), "shape"),
        (np.asfortranarray(np.zeros((300, 4, 2))), "Fortran"),
        (np.array(["a", "b"]), "real numbers"),
    ],
)
def test_files_that_are_refused(folder, content, words):
    np.save(folder / "d.npy", content)
    with pytest.raises(DataError, match=words):
        opened(folder)


def test_files_whose_header_is_none_or_of_the_second_kind(folder):
    (folder / "d.npy").write_text("1 2 3\n")
    with pytest.raises(DataError, match=r"d\.npy: cannot be read as an array: .* Save it again"):
        opened(folder)
    with open(folder / "d.npy", "wb") as file:
        np.lib.format.write_array(file, X[:5], version=(2, 0))
    assert np.array_equal(opened(folder).rows(len(X), len(X) + 5), X[:5])
    for shape, said in (((5, 1), "at least 2 steps"), ((0, 4, 2), r"\[N sequences, T steps\]")):
        np.save(folder / "d.npy", np.zeros(shape))
        with pytest.raises(DataError, match=rf"d\.npy: has shape .* {said}"):
            opened(folder)


def test_where_it_comes_from_and_what_is_left_out_is_told(folder):
    assert opened(folder).source == str(folder)
    assert opened(folder).notes == (
        "streamed: more than --memory; 3 files",
        "the last 37 sequences are left out",
    )
    np.save(folder / "e.npy", X[: BLOCK * 2])
    one = shards.open_shards(shards.find(str(folder / "e.npy")))
    assert (one.source, one.notes) == (
        str(folder / "e.npy"),
        ("streamed: more than --memory; 1 files",),
    )
    assert one.num_bytes == 8 * 512 * 4 * 2


def test_too_few_to_be_streamed(folder):
    np.save(folder / "e.npy", X[: BLOCK * 3 - 1])
    few = shards.open_shards((folder / "e.npy",))
    with pytest.raises(DataError, match=r"e\.npy: 767 sequences are too few .* --memory larger"):
        shards.split(few, 0.1, 0.1, seed=1)
    np.save(folder / "e.npy", X[: BLOCK * 3])
    three = shards.split(shards.open_shards((folder / "e.npy",)), 0.1, 0.1, seed=1)
    assert three.num_train == BLOCK


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"missing": "drop"}, "--missing: streamed data must be complete"),
        ({"columns": ("a",)}, r"--columns has no meaning for \.npy"),
        ({"features": 2}, r"--features has no meaning for \.npy: save an array"),
    ],
)
def test_settings_without_a_meaning_for_streamed_data(folder, options, said):
    with pytest.raises(UsageError, match=said):
        layout.open_stream(DataConfig(data=str(folder), memory=1e-5, **options))
    if "missing" not in options:
        with pytest.raises(UsageError, match=said):
            layout.load(str(folder), **options)


def test_a_file_that_is_cut_off_is_refused(folder):
    path = folder / "c.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cut off"):
        opened(folder)


def test_buffers_hold_the_scaled_rows_of_their_blocks(folder):
    parts = shards.split(opened(folder), 0.1, 0.1, seed=1)
    scaler = Scaler.fit(X)
    validation = on_device(scaled(scaler, parts.validation_NTD, "validation"), None, None)
    loader = StreamedData(parts, scaler, validation, np.arange(BLOCK), 2 * BLOCK, 9, None)
    for unit in (0, 1, 5):
        blocks = parts.order(9, 0, 2 * unit, 2)
        rows = np.concatenate([parts.block(int(b)) for b in blocks])
        buffer = np.asarray(loader.parts("gen_pretrain", unit).train.x)
        assert np.allclose(buffer, scaler.transform(rows), atol=1e-5)
    assert loader.until("gen_pretrain", 3) == 4
    assert loader.until("adversarial", 3) == 20
    same = [np.asarray(loader.parts("adversarial", unit).train.x) for unit in (0, 19)]
    assert np.array_equal(*same)
    assert loader.validation.x.shape == (BLOCK, 4, 2)


def test_a_streamed_run_learns_and_is_repeated_bit_for_bit(folder):
    settings = Config()
    tiny = {"hidden_dim": 4, "pre_epoch_num": 3, "dis_pre_refreshes": 0, "total_batch": 0}
    tiny |= {"buffer": 512, "batch_size": 32}

    def fit():
        model = SeqGAN(settings, **tiny)
        from seqgan_jax.run.loop import Silent

        parts = model.prepare(opened(folder))
        before = -model.log_prob(parts.held_out_NTD).mean()
        model.train(parts, Silent())
        return model, before, -model.log_prob(parts.held_out_NTD).mean()

    first, before, after = fit()
    assert after < before + 0.01
    assert first.description.counts == (8 * BLOCK, BLOCK, BLOCK)
    again, _, _ = fit()
    assert np.array_equal(first.sample(20), again.sample(20))


def test_parquet_by_row_groups(tmp_path):
    """A folder of .parquet files: a row a sequence, blocks of one row group together."""
    x = np.random.default_rng(1).normal(size=(12 * BLOCK, 5))
    names = [f"t{i}" for i in range(5)]
    for number, part in enumerate(np.split(x, 2)):
        frame = pd.DataFrame(part, columns=names).assign(word="a")
        frame.to_parquet(tmp_path / f"{number}.parquet", row_group_size=2 * BLOCK, index=False)
    settings = DataConfig(data=str(tmp_path), memory=1e-4)
    stream = layout.open_stream(settings)
    assert stream is not None
    assert (stream.num_rows, stream.shape) == (len(x), (5, 1))
    assert np.array_equal(stream.rows(300, 2000)[..., 0], x[300:2000])
    parts = shards.split(stream, 0.1, 0.1, 0)
    order = parts.order(0, 1, 0, len(parts.train_blocks))
    assert sorted(order.tolist()) == sorted(parts.train_blocks.tolist())
    changes = np.count_nonzero(np.diff(order // 2))
    assert changes == len(set((order // 2).tolist())) - 1  # each group is unpacked once
    assert layout.open_stream(DataConfig(data=str(tmp_path))) is None
    whole = layout.load(str(tmp_path))
    assert np.array_equal(whole.x_NTD[..., 0], x)
    with pytest.raises(DataError, match="'word' holds no numbers"):
        layout.open_stream(DataConfig(data=str(tmp_path), memory=1e-4, columns=("t0", "word")))
