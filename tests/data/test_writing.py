"""What is written can be read back, in each format."""

import numpy as np
import pytest

from seqgan_jax.data.layout import load, save_sequences
from seqgan_jax.errors import DataError, DiskError, UsageError

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("suffix", ["txt", "csv", "npy", "CSV"])
@pytest.mark.parametrize("num_features", [1, 3])
def test_what_is_written_is_read_back(tmp_path, suffix, num_features):
    path = tmp_path / f"a.{suffix}"
    x = RNG.normal(size=(21, 5, num_features)) * np.exp(RNG.normal(size=(21, 5, 1)) * 20)
    names = ("a, b", 'say "hi"', "c d")[:num_features]
    save_sequences(path, x, names)
    back = load(str(path), features=num_features if suffix == "txt" else None)
    np.testing.assert_allclose(back.x_NTD, x, rtol=0 if suffix == "npy" else 5.1e-9)
    if suffix.lower() == "csv":
        assert back.names == names
    assert back.starts_N is None


def test_float32_survives_text(tmp_path):
    x = RNG.normal(size=(30, 4, 1)).astype(np.float32)
    for name in ("a.txt", "a.csv"):
        save_sequences(tmp_path / name, x, ["x"])
        assert np.array_equal(load(str(tmp_path / name)).x_NTD.astype(np.float32), x)


def test_the_written_text(tmp_path):
    x = np.arange(8.0).reshape(2, 2, 2) / 4
    save_sequences(tmp_path / "a.txt", x, ["a", "b"])
    assert (tmp_path / "a.txt").read_text() == "0 0.25 0.5 0.75\n1 1.25 1.5 1.75\n"
    save_sequences(tmp_path / "a.csv", x, ["a", "step"], number_format="%.1f")
    assert (tmp_path / "a.csv").read_text() == (
        "sequence,step,a,step_\n0,0,0.0,0.2\n0,1,0.5,0.8\n1,0,1.0,1.2\n1,1,1.5,1.8\n"
    )


def test_columns_of_the_long_format(tmp_path):
    x = RNG.normal(size=(20, 3, 2))
    save_sequences(tmp_path / "a.csv", x, ["a", "b"], number_format="%r")
    loaded = load(str(tmp_path / "a.csv"), columns=["b"])
    assert loaded.names == ("b",)
    assert np.array_equal(loaded.x_NTD, x[..., 1:])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda rows: rows[:-1], 60),  # the last sequence is short
        (lambda rows: rows[:4] + rows[5:], 6),  # so is the second
        (lambda rows: rows[:4] + rows[3:], 6),  # a line twice
        (lambda rows: [rows[1], rows[0], *rows[2:]], 3),
        (lambda rows: rows[:-3] + rows[:3], 59),  # the first sequence comes again
    ],
)
def test_steps_out_of_place(tmp_path, change, place):
    rows = [f"{n},{t},0.5" for n in range(20) for t in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("sequence,step,x\n" + "\n".join(change(rows)))
    with pytest.raises(DataError, match=rf"a\.csv:{place}:1: sequence .* is out of place"):
        load(str(path))
    path.write_text("sequence,step,x\n" + "\n".join(rows))
    assert load(str(path)).x_NTD.shape == (20, 3, 1)


def test_the_long_format_without_columns(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("sequence,step\n" + "".join(f"{n},0\n{n},1\n" for n in range(20)))
    with pytest.raises(DataError, match="no column after"):
        load(str(path))


def test_what_cannot_be_written(tmp_path):
    x = np.ones((2, 2, 1))
    for name in ("a.xlsx", "a"):
        with pytest.raises(UsageError, match=r"ends in \.txt, \.csv or \.npy"):
            save_sequences(tmp_path / name, x, ["x"])
    with pytest.raises(UsageError, match="do not fit 2 column name"):
        save_sequences(tmp_path / "a.txt", x, ["x", "y"])
    with pytest.raises(DataError, match="1 of 4 values are not finite"):
        save_sequences(
            tmp_path / "a.txt", np.array([[[1.0], [np.nan]]] * 1 + [[[1.0], [1.0]]]), "x"
        )
    with pytest.raises(DiskError, match="Create its directory first"):
        save_sequences(tmp_path / "missing" / "a.txt", x, ["x"])
    assert list(tmp_path.iterdir()) == []
