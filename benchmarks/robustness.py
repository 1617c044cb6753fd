"""Do the defaults hold on data of every kind? Default settings, untouched; one row a set.

    python benchmarks/robustness.py                  bundled weather, simulators, awkward sets
    python benchmarks/robustness.py --data DIR       also the series in DIR that quality.py knows
    python benchmarks/robustness.py --sets outliers constant --json FILE
    python benchmarks/robustness.py --discriminator --settings dis_r1=0.03
    python benchmarks/robustness.py --quick          two sets, a few epochs and rounds

A tenth is held out (of a series, its end) and all figures are on it. Each is shown for generated
sequences and, after the slash, for the sequences trained on in their place: the end of a series may
differ from all before it, and that is no fault of the generator.
  nats       negative log-likelihood, nats a step, data units: after maximum likelihood, at the end
  ks         largest gap between the distribution functions of values; lower is better
  coverage   share of held-out sequences that have a generated one among their neighbours
  precision  share of generated sequences within the neighbourhood of held-out ones
  spread     standard deviation of values over that of the held-out ones, least over features
  copies     share by which samples lie nearer to training sequences than held-out ones do
  kept       the round that was kept of those run; 0: the pretrained policy
--discriminator: instead how much of what D learns holds: its accuracy in training / on sequences
that it has not seen, after --refreshes of its pretraining; no adversarial training.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import measure
import numpy as np
from experiments import settings_of
from main_job import QUICK, train
from quality import FILES

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import analyze
from seqgan_jax.data.layout import Sequences, default_names, load
from seqgan_jax.errors import DivergedError
from seqgan_jax.processes import simulators
from seqgan_jax.run.loop import Silent

COLUMNS = ("nats", "ks", "coverage", "precision", "spread", "copies", "kept", "seconds")


def with_outliers() -> Sequences:
    """AR(1), with 1 value in 100 twenty standard deviations off: sensors that glitch."""
    x_NTD = load("ar1", num_sequences=5_000).x_NTD.copy()
    rng = np.random.default_rng(0)
    hit = rng.random(x_NTD.shape) < 0.01
    x_NTD[hit] += 20 * x_NTD.std() * rng.choice([-1.0, 1.0], hit.sum())
    return Sequences(x_NTD, ("x",), "outliers")


def with_a_constant() -> Sequences:
    """VAR(1), with a column that never changes and one that is 0 in most steps."""
    x_NTD = load("var1", num_sequences=5_000).x_NTD
    rarely = np.maximum(x_NTD[..., :1] - 1.5 * x_NTD[..., :1].std(), 0.0)
    columns = [x_NTD, np.full_like(rarely, 7.5), rarely]
    names = (*default_names(x_NTD.shape[2]), "constant", "rarely")
    return Sequences(np.concatenate(columns, axis=2), names, "constant")


SETS: dict[str, Callable[[], Sequences]] = {"weather": partial(load, "weather")}
SETS |= {name: partial(load, name) for name in simulators.NAMES}
SETS |= {
    "outliers": with_outliers,
    "constant": with_a_constant,
    "200": partial(load, "ar1", num_sequences=200),
    "T=12": partial(load, "seasonal", window=12, num_sequences=5_000),
    "T=200": partial(load, "seasonal", window=200, num_sequences=2_000),
}


def row_of(sequences: Sequences, **settings: Any) -> dict[str, object]:
    """Every figure of one run; `diverged` alone where it broke down."""
    try:
        model, keeper, parts, seconds = train(sequences, **settings)
    except DivergedError as error:
        return {"diverged": str(error)}
    held_out, trained_on = parts.held_out_NTD, np.asarray(parts.train_NTD)
    length = held_out.shape[1]
    samples = model.sample(min(len(trained_on), 10_000), seed=1)
    generated = analyze(held_out, samples, train=trained_on).metrics
    itself = analyze(held_out, trained_on[: len(samples)]).metrics
    varied = held_out.std((0, 1)) > 0
    spreads = [
        (x.std((0, 1))[varied] / held_out.std((0, 1))[varied]) for x in (samples, trained_on)
    ]

    def pair(name: str) -> list[float]:
        return [generated[name].value, itself[name].value]

    return {
        "nats": [
            float(-m.log_prob(held_out).mean() / length) for m in (keeper.after_likelihood, model)
        ],
        "ks": pair("ks"),
        "coverage": pair("coverage"),
        "precision": pair("precision"),
        "spread": [float(spread.min()) for spread in spreads],
        "copies": generated["memorisation"].value,
        "kept": [model.runs()[0]["kept_round"], int(model.state.round)],
        "seconds": seconds,
    }


def of_discriminator(
    sequences: Sequences, refreshes: Sequence[int], **settings: Any
) -> dict[str, list[float]]:
    """D's accuracy in training and on unseen sequences, after so many refreshes, tens each."""
    own = {"total_batch": 0, "look_first": False, "dis_pre_refreshes": max(refreshes)}
    model = SeqGAN(**own | settings)
    model.train(model.prepare(sequences), Silent())
    rows = {row["step"]: row for row in model.rows if row["phase"] == "dis_pretrain"}
    names = ("dis_accuracy", "dis_validation_accuracy")
    return {f"{n}": [rows[n][name] for name in names] for n in refreshes}


def cell(name: str, value: object) -> str:
    """A figure as it stands in the table."""
    if name == "nats":
        return "{:.3f}, {:.3f}".format(*value)
    if name == "kept":
        return "{} of {}".format(*value)
    if isinstance(value, list):
        return "{:.3f} / {:.3f}".format(*value)
    return f"{value:.0f}" if name == "seconds" else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "gpu", lines=True)
    flags.add_argument("--data", type=Path, help="folder with the series of quality.py")
    flags.add_argument("--sets", nargs="+", choices=[*SETS, *FILES])
    flags.add_argument("--seed", type=int, default=88)
    flags.add_argument("--discriminator", action="store_true", help="what D learns, see above")
    flags.add_argument("--refreshes", type=int, nargs="+", default=[30, 100])
    flags.add_argument("--settings", nargs="+", default=[], metavar="NAME=VALUE")
    options = measure.parse(flags, arguments)
    sets = dict(SETS)
    if options.data:
        there = {name: options.data / file for name, file in FILES.items()}
        sets |= {name: partial(load, str(p)) for name, p in there.items() if p.is_file()}
    missing = set(options.sets or []) - set(sets)
    if missing:
        flags.error(f"{', '.join(sorted(missing))}: needs --data, the folder with the file")
    rows = []
    settings = {"seed": options.seed} | (QUICK if options.quick else {})
    settings |= settings_of(" ".join(options.settings))
    for name in options.sets or (["weather", "200"] if options.quick else sets):
        if options.discriminator:
            accuracies = of_discriminator(sets[name](), options.refreshes, **settings)
            rows.append([name, *(cell(n, accuracies[n]) for n in accuracies)])
            print("  ".join(rows[-1]), flush=True)
            measure.append(options.json, {"set": name, "settings": settings} | accuracies)
            continue
        row = row_of(sets[name](), **settings)
        if "diverged" in row:
            cells = [name, f"diverged: {row['diverged']}", *[""] * (len(COLUMNS) - 1)]
        else:
            cells = [name, *(cell(figure, row[figure]) for figure in COLUMNS)]
        rows.append(cells)
        print("  ".join(cells), flush=True)
        measure.append(options.json, {"set": name} | row)
    if options.discriminator:
        heads = [f"{n} refreshes" for n in options.refreshes]
        measure.show("D's accuracy, in training / on unseen sequences", ("", *heads), rows)
        return 0
    measure.show("Default settings on every set", ("", *COLUMNS), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
