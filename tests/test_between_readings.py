"""Tables whose columns were interpolated between readings, through the whole of SeqGAN."""

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.errors import DataError, UsageError

UNTRAINED = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
STEPS = 3


def table(number=200):
    """A temperature in tenths and a dew point between readings, a wind that is repeated."""
    rng = np.random.default_rng(0)
    at, every = np.arange(number) * STEPS, np.arange(1, (number - 1) * STEPS + 1)
    warm = rng.normal(10, 3, number).round(1)
    frame = pd.DataFrame({"warm": np.interp(every, at, warm)})
    frame["dew"] = np.interp(every, at, (warm - rng.integers(0, 30, number) / 10).round(1))
    frame = frame.round(6)
    frame["wind"] = np.repeat(rng.integers(0, 6, number - 1), STEPS)
    frame["walk"] = rng.normal(size=len(frame))
    return frame


@pytest.fixture(scope="module")
def model():
    return SeqGAN(window=9, **UNTRAINED).fit(table())


def bends(x_NT):
    """Where a line is not straight, bool [N, T - 2]."""
    return np.abs(np.diff(x_NT, 2, axis=1)) > 1e-5


def test_samples_bend_together_and_at_readings_alone(model):
    assert str(model.description.scaler.rules).startswith(
        "warm, dew interpolated and wind repeated every 3 steps"
    )
    x = model.sample_array(300, seed=1)
    both = bends(x[..., 0]) | bends(x[..., 1])
    both[:, :] |= x[:, 1:-1, 2] != x[:, 2:, 2]
    for each in both:
        assert len(set(np.flatnonzero(each) % STEPS)) <= 1
    assert np.isfinite(model.log_prob(x)).all()
    assert np.all(x[..., 1] <= x[..., 0])
    broken = x[:5].copy()
    broken[:, 4, 0] += 0.05
    assert np.all(model.log_prob(broken) == -np.inf)


def test_futures_go_on_along_the_line_that_they_are_on(model):
    given = table()[:8]  # a reading is at the third and sixth step; two lead away from it
    futures = model.sample(20, after=given, length=7, seed=0)
    assert len(futures) == 140
    for _, future in futures.groupby("sample"):
        for name in ("warm", "dew"):
            x = np.concatenate([given[name], future[name]])
            assert set((np.flatnonzero(bends(x[None])[0]) + 1) % STEPS) <= {2}
        wind = np.concatenate([given["wind"], future["wind"]])
        assert set(np.flatnonzero(np.diff(wind)) % STEPS) <= {2}
    # The first step is on the line already, so that it is known.
    assert futures.groupby("sample")["warm"].first().round(6).nunique() == 1
    assert futures.groupby("sample")["warm"].nth(3).nunique() > 5


def test_what_is_gone_on_from_must_be_on_lines(model):
    given = table()[:8]
    given.loc[4, "warm"] += 1
    with pytest.raises(DataError, match='breaks the rule "warm, dew interpolated'):
        model.sample(2, after=given, length=3)
    with pytest.raises(UsageError, match="a rule ties it to columns that change"):
        model.sample(2, given={"warm": 3})


def test_it_is_stored(model, tmp_path):
    model.save(tmp_path / "model")
    again = SeqGAN.load(tmp_path / "model")
    assert np.array_equal(again.sample_array(5, seed=2), model.sample_array(5, seed=2))
