"""Writes tests/golden/formatN of today's format and vX.Y.Z of this version, by
`python tests/golden/make.py`."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from seqgan_jax import SeqGAN, __version__
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


def table() -> pd.DataFrame:
    """Two shops of 200 days: a decimal, zeros, words, yes and no, a gap; busier at weekends."""
    rng, days = np.random.default_rng(1), pd.date_range("2024-01-01", periods=200, name="day")
    parts = []
    for shop in ("north", "south"):
        level = 9 + 4 * (days.day_of_week > 4) + rng.normal(size=200)
        rain = np.where(rng.random(200) < 0.6, 0.0, rng.gamma(2.0, 3.0, 200))
        columns = {"shop": shop, "sales": level.round(1), "rain": rain.round(1)}
        columns |= {"sky": rng.choice(["clear", "cloud"], 200), "open": rng.random(200) < 0.8}
        parts.append(pd.DataFrame(columns, index=days))
    frame = pd.concat(parts)
    frame.iloc[50:53, 1] = np.nan
    return frame


def make_mixed() -> None:
    """A tiny model of a table of several kinds, as this version saves it; see `make`."""
    few = {"hidden_dim": 2, "pre_epoch_num": 2, "dis_pre_refreshes": 0, "total_batch": 0}
    model = SeqGAN(window=6, **few).fit(table(), id="shop", time="day")
    folder = HERE / f"v{__version__}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save(folder)
    (folder / "run.lock").unlink()
    rows = table()[["sales", "rain", "sky", "open"]].iloc[:30]
    arrays = checkpoint.flatten(model.state)
    content = b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))
    new = model.sample(4)
    known = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": rows.to_dict("list"),
        "day": [str(day) for day in rows.index],
        "log_prob": model.log_prob(_whole(rows)).tolist(),
        "columns": {name: str(kind) for name, kind in new.dtypes.items()},
        "index": new.index.name,
    }
    (folder / "known.json").write_text(json.dumps(known) + "\n")


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Thirty rows as five sequences of six."""
    return rows.assign(shop=np.repeat(np.arange(5).astype(str), 6))


if __name__ == "__main__":
    if not (HERE / f"format{checkpoint.FORMAT}").exists():  # each is written once
        make()
    if not (HERE / f"v{__version__}").exists():
        make_mixed()
