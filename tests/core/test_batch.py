"""Blocks of a batch, and one of several runs."""

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgan_jax.core import batch
from seqgan_jax.core.batch import Batch, in_blocks, join, run_of


@pytest.mark.parametrize("number", [1, 3, 4, 5, 8, 9])
def test_blocks_are_one_call(monkeypatch, number):
    """Four sequences at once; the last block is filled up and the filling cut off."""
    monkeypatch.setattr(batch, "STEPS_AT_ONCE", 4 * 6)
    x = helpers.batch(helpers.series(number, 6, 2))
    sizes = []

    def function(some):
        sizes.append(len(some))
        return jnp.cumsum(some.x, axis=1)

    assert np.array_equal(in_blocks(function, x), jnp.cumsum(x.x, axis=1))
    assert set(sizes) == {min(number, 4)}


def test_nothing_counts_in_what_a_block_is_filled_up_with(monkeypatch):
    monkeypatch.setattr(batch, "STEPS_AT_ONCE", 4 * 6)
    masks = []

    def function(some):
        jax.debug.callback(lambda mask: masks.append(np.array(mask)), some.mask)
        return some.x.sum(axis=(1, 2))

    in_blocks(function, helpers.batch(helpers.series(5, 6, 2))).block_until_ready()
    jax.effects_barrier()
    counted = sorted(mask.all(axis=(1, 2)).sum() for mask in masks)
    assert counted == [1, 4]
    assert sum(mask.sum() for mask in masks) == 5 * 6 * 2


def test_a_sequence_longer_than_a_block_is_a_block():
    x = Batch.complete(jnp.ones((2, batch.STEPS_AT_ONCE + 1, 1)))
    found = in_blocks(lambda some: some.x.sum(axis=(1, 2)) / len(some), x)
    assert np.array_equal(found, [batch.STEPS_AT_ONCE + 1] * 2)


def test_some_sequences_and_all_of_several_batches():
    x = helpers.series(5, 4, 2)
    whole = helpers.batch(x)
    joined = join(whole.take(slice(2)), whole.take(jnp.array([4, 2])))
    assert np.array_equal(joined.x, x[[0, 1, 4, 2]].astype(np.float32))
    assert (len(joined), joined.length) == (4, 4)
    assert np.all(joined.mask)
    assert joined.static.shape == (4, 0)
    assert joined.known.shape == (4, 4, 0)


def test_one_of_several_runs():
    _, state, _, _ = helpers.training()
    assert run_of(state, 0) is state
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + leaf.dtype.type(1)]), state)
    assert helpers.same(run_of(both, 0), state)
    assert int(run_of(both, 1).round) == 1
