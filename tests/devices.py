"""Run by test_parallel.py with 8 fake CPU devices: figures of small runs, as JSON."""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import helpers  # noqa: E402

from seqgan_jax import SeqGAN  # noqa: E402
from seqgan_jax.core import parallel, selection  # noqa: E402
from seqgan_jax.data.layout import as_sequences  # noqa: E402
from seqgan_jax.run import loop  # noqa: E402

TINY = {"hidden_dim": 5, "pre_epoch_num": 2, "dis_pre_refreshes": 1, "total_batch": 1}
TINY |= {
    "num_negatives": 32,
    "rollout_num": 2,
    "batch_size": 16,
    "look_first": False,
    "dis_r1": 0.0,
    "seed": 3,
}
SHORT = {"dis_pre_refreshes": 0, "total_batch": 0}
X = helpers.series(200, 5, 2)


def figures(model):
    """Sums over each array of the state, by run."""
    state = model.state
    first = state.best_nll.ndim  # the axis of seeds, where there is one
    parts = {
        name: jnp.stack(
            [jnp.sum(leaf, axis=tuple(range(first, leaf.ndim))) for leaf in jax.tree.leaves(tree)],
            axis=-1,
        )
        for name, tree in (("policy", state.policy), ("discriminator", state.discriminator))
    }
    parts |= {"best_nll": state.best_nll, "round": state.round}
    return {name: np.asarray(value).tolist() for name, value in parts.items()}


def main():
    """Train them all."""
    out = {}
    for i in range(2):
        out[f"single {i}"] = figures(SeqGAN(**TINY | {"seed": 3 + i, "data_seed": 3}).fit(X))
    out["batch on 8"] = figures(SeqGAN(**TINY | {"devices": 8}).fit(X))
    mesh = parallel.make_mesh(8, 1, 16)
    rows = parallel.place_rows((32, 5, 2), lambda part: X[:32][part], mesh, parallel.BATCH)
    out["placed on"] = len({shard.device for shard in rows.addressable_shards})
    model = SeqGAN(**TINY | {"num_seeds": 2}).fit(X)
    out["seeds"], out["chosen"] = figures(model), selection.chosen_run(model.state)
    out["short seeds"] = figures(SeqGAN(**TINY | {"num_seeds": 2} | SHORT).fit(X))
    out["seeds on 2"] = figures(SeqGAN(**TINY | {"num_seeds": 2, "devices": 2} | SHORT).fit(X))

    model = SeqGAN(**TINY | {"num_seeds": 2})
    parts = model.prepare(as_sequences(X))
    # The first seed is ruined before it begins.
    policy = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), model.state.policy)
    model._state = dataclasses.replace(model.state, policy=policy)
    model.train(parts, loop.Silent())
    out["broken"] = int(np.sum(np.asarray(model.state.pretrained_nll) == -np.inf))
    out["chosen of broken"] = selection.chosen_run(model.state)
    out["samples of broken"] = float(model.sample(10).mean())
    print(json.dumps(out))


if __name__ == "__main__":
    main()
