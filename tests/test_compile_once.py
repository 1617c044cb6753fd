"""A second fit of other data of the same shapes compiles nothing."""

import jax
import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN
from seqgan_jax.run import drawing, loop

TINY = {
    "hidden_dim": 2,
    "pre_epoch_num": 1,
    "dis_pre_refreshes": 1,
    "num_negatives": 16,
    "total_batch": 1,
    "rollout_num": 1,
    "components": 2,
    "batch_size": 8,
    "look_first": False,
}


@pytest.fixture
def compiled():
    """Names of the programs that were compiled, or taken from the cache on the disk."""
    found = []

    def heard(event, seconds, fun_name=None, **_):  # noqa: ARG001
        if event.endswith("/backend_compile_duration"):
            found.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield found
    jax.monitoring.unregister_event_duration_listener(heard)


def plain(seed):
    return np.random.default_rng(seed).normal(size=(60, 4, 2)).cumsum(axis=1)


def mixed(seed):
    """Whole numbers of the same range, words, and what is continuous."""
    rng = np.random.default_rng(seed)
    level = np.clip(rng.integers(0, 40, 240), 1, 38)
    level[[0, 1]] = 0, 39
    return pd.DataFrame(
        {
            "id": np.repeat(np.arange(60), 4),
            "level": level,
            "sky": rng.permutation(np.resize(["sun", "cloud", "fog"], 240)),
            "flow": rng.normal(size=240),
        }
    )


@pytest.mark.parametrize("data", [plain, pytest.param(mixed, marks=pytest.mark.slow)])
def test_a_second_fit_of_the_same_shapes_compiles_nothing(compiled, data):
    how = {"id": "id"} if data is mixed else {}
    kinds = {"rules": "none", "kind": ("level:grid",)} if data is mixed else {}
    SeqGAN(**TINY, **kinds).fit(data(0), **how).sample(3)
    assert {"jit(epochs)", "jit(discriminator_epochs)", "jit(policy_updates)"} <= set(compiled)
    assert compiled.count("jit(sample)") == 1  # of evaluations and of `sample`
    compiled.clear()
    SeqGAN(**TINY, **kinds).fit(data(1), **how).sample(3)
    assert compiled == []


def test_evaluations_and_samples_are_drawn_by_one_program():
    assert loop.EVALUATION_SIZE == drawing.BLOCK
