"""Writes tests/golden/formatN of today's format: `python tests/golden/make.py`."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np

from seqgan_jax import SeqGAN
from seqgan_jax.run import checkpoint

HERE = Path(__file__).parent


def make() -> None:
    """A tiny model; the SHA-256 of its arrays, in order of name; log_prob of five sequences."""
    x = np.random.default_rng(0).normal(size=(60, 3)).cumsum(axis=1)
    model = SeqGAN(hidden_dim=2, pre_epoch_num=2, dis_pre_refreshes=0, total_batch=0).fit(x)
    folder = HERE / f"format{checkpoint.FORMAT}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save(folder)
    (folder / "run.lock").unlink()
    arrays = checkpoint.flatten(model.state)
    content = b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))
    known = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "x": x[:5].tolist(),
        "log_prob": model.log_prob(x[:5]).tolist(),
    }
    (folder / "known.json").write_text(json.dumps(known) + "\n")


if __name__ == "__main__":
    make()
