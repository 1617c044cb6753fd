"""Lengths of samples against those of the data: ends that values bring, and ends that they do not.

    python benchmarks/lengths.py --quick
    python benchmarks/lengths.py --only fails --epochs 160
    python benchmarks/lengths.py --only fails --analyze   what the analysis says of samples
    python benchmarks/lengths.py --compare           the length drawn first, by likelihood

Prints for each case the KS distance of the lengths of samples from fresh ones, beside its
floor: the distance of the data themselves from these; and nats a sequence of held-out lengths under
the hazard by age that the model reads.

`--compare`: nats of 500 fresh sequences, values and lengths together, by the law that is used, in
which each step may be the last, and by one in which the length is drawn first, by its frequency in
the training part (smoothed in the same way), and the values are learned given it: length and steps
left are `known`, and the ends themselves count nowhere. A line for each of `--seeds`, of data and
of training; then mean and standard error of the difference over them.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from seqgan_jax import SeqGAN
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.policy import bind
from seqgan_jax.data import lengths

Draw = Callable[[np.random.Generator], np.ndarray]


def worn(rng: np.random.Generator) -> np.ndarray:
    """A level [T, 2] that drifts, with noise beside it, until it is above 5."""
    x, drift, rows = 0.0, rng.uniform(0.05, 0.15), list[list[float]]()
    while x < 5 or len(rows) < 2:
        x += drift + 0.2 * rng.normal()
        rows.append([x, rng.normal()])
    return np.array(rows)


def stays(rng: np.random.Generator) -> np.ndarray:
    """Noise [T, 2] of 10 to 19 or 40 to 49 steps, whatever its values are."""
    steps = int(rng.integers(10, 20)) + 30 * int(rng.random() < 0.5)
    return rng.normal(size=(steps, 2))


def fails(rng: np.random.Generator) -> np.ndarray:
    """Wear [T, 2] as of an engine: it begins late, grows by 2.5 to 5% a step, and ends at 20."""
    onset, rate, base = rng.uniform(80, 200), rng.uniform(0.025, 0.05), rng.normal(0, 0.3)
    wear, rows = 0.0, list[list[float]]()
    while wear <= 20:
        wear = np.exp(rate * max(0.0, len(rows) + 1 - onset)) - 1
        rows.append([wear + base + 0.3 * rng.normal(), -0.5 * wear + 0.5 * rng.normal()])
    return np.array(rows)


CASES: dict[str, tuple[Draw, int, dict[str, Any]]] = {  # how many sequences, settings
    "worn": (worn, 1000, {"policy": "gaussian"}),
    "stays": (stays, 1000, {"policy": "gaussian"}),
    "fails": (fails, 120, {}),
}


def main() -> None:
    """Fit on each case and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sequences and epochs")
    parser.add_argument("--only", choices=list(CASES), help="one case; default: all, quick: two")
    parser.add_argument("--epochs", type=int, help="of likelihood training; default: of SeqGAN")
    parser.add_argument("--compare", action="store_true", help="against the length drawn first")
    parser.add_argument("--seeds", type=int, default=3, help="of --compare (default: 3)")
    parser.add_argument("--analyze", action="store_true", help="samples against fresh sequences")
    options = parser.parse_args()
    names = [options.only] if options.only else list(CASES)[: 2 if options.quick else 3]
    for name in names:
        if options.compare:
            _compare(name, options.quick, options.epochs, options.seeds)
        else:
            _one(name, options.quick, options.epochs, options.analyze)


def _settings(name: str, quick: bool, epochs: int | None) -> dict[str, Any]:
    found = CASES[name][2] | {"skip_dis_pretrain": True, "skip_adversarial": True}
    found |= {"pre_epoch_num": 15, "hidden_dim": 16} if quick else {}
    return found | ({} if epochs is None else {"pre_epoch_num": epochs})


def _compare(name: str, quick: bool, epochs: int | None, seeds: int) -> None:
    draw, number, _ = CASES[name]
    gains = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        data = [draw(rng) for _ in range(min(number, 200) if quick else number)]
        longest = max(map(len, data))
        fresh = [x for x in (draw(rng) for _ in range(550)) if len(x) <= longest][:500]
        settings = _settings(name, quick, epochs) | {"seed": seed}
        stops = SeqGAN(**settings).fit(_table(data), id="unit", time="step")
        first = SeqGAN(**settings, known=["steps", "left"]).fit(
            _table(data, True), id="unit", time="step"
        )
        x_NTD = lengths.padded(fresh, longest)
        values_N, ends_N = _nats(stops, x_NTD)
        given_N, _ = _nats(first, x_NTD)
        own = first.description.known
        assert own is not None
        of_length_N = _of_lengths(np.array(own.hazard), lengths.of(x_NTD))
        gain_N = values_N + ends_N - given_N - of_length_N
        gains.append(gain_N.mean())
        nats = [x_N.mean() for x_N in (values_N, ends_N, given_N, of_length_N)]
        print(
            "{}, seed {}: each step may be the last {:.2f} + {:.2f}, the length first {:.2f} + "
            "{:.2f} nats (values + ends)".format(name, seed, *nats),
            f"{gain_N.mean():.2f} +- {gain_N.std() / len(gain_N) ** 0.5:.2f}",
            sep=", ",
            flush=True,
        )
    error = np.std(gains, ddof=1) / seeds**0.5 if seeds > 1 else np.nan
    print(f"{name}: {np.mean(gains):.2f} +- {error:.2f} nats a sequence in favour of stops")


def _table(parts: Sequence[np.ndarray], with_lengths: bool = False) -> pd.DataFrame:
    frames = []
    for unit, x_TD in enumerate(parts):
        steps = np.arange(len(x_TD))
        frame = pd.DataFrame(x_TD, columns=["x1", "x2"]).assign(unit=unit, step=steps)
        if with_lengths:
            frame = frame.assign(steps=float(len(x_TD)), left=(len(x_TD) - 1 - steps).astype(float))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _nats(model: SeqGAN, x_NTD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p of the values of each sequence, and of its ends, [N] each."""
    scaler, known = model.description.scaler, model.description.known
    assert known is not None
    steps_N, age = lengths.of(x_NTD), np.arange(x_NTD.shape[1])
    left_NT = np.maximum(steps_N[:, None] - 1 - age, 0)
    of_length = np.stack([np.broadcast_to(steps_N[:, None], left_NT.shape), left_NT], axis=-1)
    known_NTW = known.read(None, of_length[..., : len(known.names)].astype(float))
    batch = Batch.of(
        jnp.asarray(scaler.transform(x_NTD), jnp.float32), jnp.asarray(known_NTW), scaler.end
    )
    policy = bind(model.nets.policy, model.state.best, model.state.policy_constants)
    log_p = np.asarray(jax.jit(policy.log_prob)(batch), np.float64)
    log_p += scaler.log_derivative(x_NTD)
    ends_N = log_p[..., scaler.end].sum(axis=1)
    return log_p.sum(axis=(1, 2)) - ends_N, ends_N


def _of_lengths(hazard_T: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """log p of lengths, [N]; at the longest the end is certain."""
    gone_on = np.concatenate([[0.0], np.cumsum(np.log1p(-hazard_T))[:-1]])
    at = lengths_N - 1
    return gone_on[at] + np.where(at < len(hazard_T) - 1, np.log(hazard_T[at]), 0.0)


def _one(name: str, quick: bool, epochs: int | None, analyze: bool) -> None:
    draw, number, _ = CASES[name]
    rng = np.random.default_rng(0)
    data = [draw(rng) for _ in range(min(number, 200) if quick else number)]
    fresh = np.array([len(draw(rng)) for _ in range(20_000 if number > 200 else 3_000)])
    real = np.array([len(x) for x in data])
    model = SeqGAN(**_settings(name, quick, epochs)).fit(data)
    own = lengths.of(model.sample_array(2000))
    distance, floor = (ks_2samp(each, fresh).statistic for each in (own, real))
    hazard = np.array(lengths.hazard(real, int(real.max())))
    ends, at_risk = lengths.counts(np.minimum(fresh, len(hazard)), len(hazard))
    nats = np.sum(ends * np.log(hazard) + (at_risk - ends) * np.log1p(-hazard))
    print(
        f"{name}: lengths {real.min()} to {real.max()}, KS of samples {distance:.3f}, floor "
        f"{floor:.3f}; length by age alone {nats / len(fresh):.3f} nats a sequence",
        flush=True,
    )
    if analyze:
        others = [x for x in (draw(rng) for _ in range(350)) if len(x) <= real.max()][:300]
        print(model.evaluate(others, n=1200).to_text())


if __name__ == "__main__":
    main()
