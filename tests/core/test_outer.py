"""What a discriminator sees of bounds and rules, against the scaling's exact way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.config import DataConfig
from seqgan_jax.core import outer
from seqgan_jax.data import encoding

RNG = np.random.default_rng(0)
SHAPE = (200, 12)


def ordered() -> np.ndarray:
    """Low, high, their sum, a meter, a volume above 0."""
    low = 50 + RNG.normal(size=SHAPE).cumsum(axis=1)
    high = low + RNG.gamma(2.0, 1.0, SHAPE)
    meter = 100 + RNG.gamma(1.0, 2.0, SHAPE).cumsum(axis=1)
    volume = np.exp(10 + RNG.normal(size=SHAPE))
    return np.stack([low, high, low + 2 * high, meter, volume], axis=-1)


NAMES = ("low", "high", "both", "meter", "volume")
RULES = ("low <= high", "both = low + 2 * high", "meter increases")


@pytest.fixture(scope="module")
def fitted():
    x_NTD = ordered()
    data = DataConfig(rule=RULES, rules="none", log=("volume",))
    asked = encoding.fit(x_NTD, NAMES, data, None, np.zeros(5, bool), False)
    z_NTK = asked.transform(x_NTD)
    return asked, x_NTD, z_NTK, outer.fit(asked, x_NTD, z_NTK)


def test_values_are_those_of_the_data(fitted):
    """But for what lies between knots: a tenth of a spread where the map is bent, else nothing."""
    _, x_NTD, z_NTK, of_data = fitted
    seen = np.asarray(jax.jit(outer.values)(of_data, jnp.asarray(z_NTK, jnp.float32)))
    shown = [step.column for step in of_data.steps if step.shown]
    assert sorted(shown) == [0, 1, 2, 3, 4]
    for i, d in enumerate(shown):
        low, high = np.quantile(x_NTD[..., d], [0.05, 0.95])
        expected = (x_NTD[..., d] - np.median(x_NTD[..., d])) / ((high - low) / 3.29)
        error = np.abs(seen[..., i] - expected)
        # Increases add up what is between knots.
        mean = {"low": 1e-5, "high": 0.02, "both": 0.02, "meter": 0.1, "volume": 0.1}[NAMES[d]]
        assert error.mean() < mean, (NAMES[d], error.mean())


def test_first_differences_have_a_spread_of_one(fitted):
    _, x_NTD, z_NTK, of_data = fitted
    _, changes = outer.seen(of_data, jnp.asarray(z_NTK, jnp.float32))
    low = next(i for i, s in enumerate(s for s in of_data.steps if s.shown) if s.column == 0)
    expected = np.diff(x_NTD[..., 0], axis=1)
    spread = np.diff(np.quantile(expected, [0.05, 0.95])) / 3.29
    assert np.allclose(np.sinh(changes[:, 1:, low]), expected / spread, atol=1e-3)
    assert np.all(np.asarray(changes)[:, 0] == 0)


def test_shapes_are_known_without_the_data(fitted):
    scaler, *_, of_data = fitted
    shapes = outer.shape(scaler)
    assert shapes.steps == of_data.steps
    assert {n: a.shape for n, a in shapes.arrays().items()} == {
        n: a.shape for n, a in of_data.arrays().items()
    }


def test_columns_that_nothing_is_said_of_are_seen_as_they_are_scaled(fitted):
    scaler, *_, of_data = fitted
    assert outer.rest(of_data.steps, scaler.num_inner) == ()
    free = encoding.fit(ordered()[..., :1], ("x",), DataConfig(), None, np.zeros(1, bool), False)
    assert outer.steps_of(free) == ()
    assert outer.rest((), 3) == (0, 1, 2)


def test_a_model_is_loaded_with_what_its_discriminator_sees(tmp_path):
    few = {"hidden_dim": 2, "pre_epoch_num": 1, "dis_pre_refreshes": 1, "total_batch": 0}
    model = SeqGAN(log=("all",), **few).fit(np.exp(RNG.normal(size=(60, 6))))
    model.save(tmp_path / "model")
    loaded = SeqGAN.load(tmp_path / "model")
    assert loaded.nets == model.nets
    assert len(model.nets.of_data) == 1
    scaled = SeqGAN(log=("all",), dis_sees="scaled", **few)
    assert scaled.fit(np.exp(RNG.normal(size=(60, 6)))).nets.of_data == ()
