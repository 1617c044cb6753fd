"""How good the default recipe is by the field's published protocol, over training seeds.

    python benchmarks/quality.py --data DIR          sines, DIR/stock_data.csv, DIR/ETTh1.csv
    python benchmarks/quality.py --data DIR --sets stocks --seeds 5 --repeats 5 --json FILE
    python benchmarks/quality.py --data DIR --sets energy --settings hidden_dim=64 --likelihood
    python benchmarks/quality.py --data DIR --sets stocks --likelihood --refine 16
    python benchmarks/quality.py --data DIR --sets etth --window 128 --figures disc nats auc
    python benchmarks/quality.py --file pollution.csv --likelihood --number 4000    any series
    python benchmarks/quality.py --quick             1,000 sines, a few epochs and rounds

Windows of 24 (--window) with stride 1 (TimeGAN, Yoon et al. 2019). For the scores each column is
min-max scaled by the whole series; sines stay as they are, in [0.5, 1]. A tenth of a series, in
blocks of 2.5 windows, is never trained on; windows that touch a block are left out of training.
A series with dates is read as `seqgan train` reads it: its calendar is known where that helps, and
samples have dates of the training part (--settings calendar=none: as published).
Each figure is the mean over training seeds with a 95% interval of that mean (t); the likelihood row
is the same runs before adversarial training, and `paired` their difference; `refined` are samples
chosen by discriminators among --refine candidates each.
  disc       discriminative score against all real windows, as published; lower is better
  held-out   the same against the windows inside the held-out blocks (as many generated)
  floor      the same between held-out real windows and real windows that were trained on
  pred       predictive score: error of a predictor trained on generated windows; real: on real ones
  fid        Context-FID by one TS2Vec encoder trained on the real windows
  corr       correlational score
  copies     share by which samples lie nearer to training windows than held-out windows do
  nats       held-out negative log-likelihood, nats a step in data units
  auc        area under the curve of the judge (analysis/judge.py) on held-out windows; .5 is ideal;
             it sees a column that has been at few levels about the mean of each window
  single     the median of its areas when it sees one column alone
Discriminative and predictive networks are GRUs of D / 2 units trained for 2,000 and 5,000 steps.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import scipy.stats
from experiments import discriminative, settings_of, trained
from main_job import QUICK

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import judge, metrics, pairwise, published, scores, ts2vec
from seqgan_jax.data.layout import Sequences, default_names, load

HELD_OUT = 0.1
FILES = {"stocks": "stock_data.csv", "etth": "ETTh1.csv", "energy": "energy_data.csv"}
FIGURES = ("disc", "held-out", "pred", "fid", "corr", "copies", "nats", "auc", "single")
PUBLISHED = {  # discriminative, predictive: TimeGAN, Diffusion-TS, FM-TS; predictive of real data
    "sines": ".011 .006 .005; .093 .093, real .094",
    "stocks": ".102 .067 .019; .038 .036, real .036",
    "etth": ".114 .061 .011; .124 .119, real .121",
    "energy": ".236 .122 .053; .273 .250, real .250",
}
PUBLISHED_LONG = (
    "Diffusion-TS, discriminative at 64 / 128 / 256: etth .106 .144 .060, energy .078 .143 .290"
)


def sines(number: int, window: int, seed: int) -> np.ndarray:
    """sin(f t + p) in 5 features, f and p uniform in [0, 0.1], as (x + 1) / 2: [N, T, 5]."""
    rng = np.random.default_rng(seed)
    f, p = (rng.uniform(0, 0.1, (number, 1, 5)) for _ in range(2))
    return (np.sin(f * np.arange(window)[None, :, None] + p) + 1) / 2


def taken(sequences: Sequences, rows_N: np.ndarray) -> Sequences:
    """These rows [n], or those where rows_N [N] is true; nothing says where they overlap."""
    given = None if sequences.given is None else sequences.given[rows_N]
    more: dict[str, Any] = {"starts_N": None, "windows": None, "given": given}
    return dataclasses.replace(sequences, x_NTD=sequences.x_NTD[rows_N], **more)


def complete(sequences: Sequences) -> Sequences:
    """Those without missing values."""
    return taken(sequences, ~np.isnan(sequences.x_NTD).any((1, 2)))


def parts_of(
    name: str, folder: Path, window: int, file: Path | None = None, calendar: str = "auto"
) -> tuple[Sequences, Sequences, Sequences]:
    """All windows as they were read, those to train on, those inside held-out blocks."""
    if file is None and name == "sines":
        every, held = (sines(n, window, seed) for seed, n in enumerate((10_000, 2_000)))
        names = default_names(every.shape[2])
        read = Sequences(every, names, name)
        return read, read, Sequences(held, names, name)
    read = load(str(file or folder / FILES[name]), window=window, calendar=calendar)
    of_training, held_out = apart(len(read.x_NTD), window)
    return read, taken(read, of_training), taken(read, held_out)


def apart(number: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Which windows of one series, stride 1, are trained on, and which lie in held-out blocks."""
    block = 5 * window // 2  # 60 at 24: windows fit into it
    blocks = (number + window - 1) // block
    chosen = np.random.default_rng(0).permutation(blocks)[: max(1, round(HELD_OUT * blocks))]
    held = np.repeat(np.isin(np.arange(blocks + 1), chosen), block)
    inside = np.stack([held[i : number + i] for i in range(window)])
    return ~inside.any(0), inside.all(0)


def in_score_units(name: str, every: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x as the scores take it, float32: min-max scaled by all real windows; sines as they are."""
    return x.astype(np.float32) if name == "sines" else published.min_max(every, x)


def figures_of(
    name: str,
    model: SeqGAN,
    every: np.ndarray,
    train: np.ndarray,
    unseen: Sequences,
    repeats: int,
    encoder: Any,
    wanted: Sequence[str],
    refine: int | None,
    **steps: int,
) -> dict[str, np.ndarray]:
    """The wanted figures of each run, `[S]`; of samples chosen among `refine` candidates each."""
    runs, held, known = range(model.config.run.num_seeds), unseen.x_NTD, model.description.known
    made = [
        model.description.as_written(model.sample_array(len(every), seed=1, run=run, refine=refine))
        for run in runs
    ]
    everything = (every, train, held, *made)
    real, seen, few, *samples = (in_score_units(name, every, x) for x in everything)

    def held_out() -> np.ndarray:
        return discriminative(few, [x[: len(few)] for x in samples], repeats, **steps)

    def predictive() -> np.ndarray:
        number = len(real)
        rows = [np.arange(number) + number * run for run in runs]
        return scores.predictive(np.concatenate(samples), rows, real, 0, **steps).mean(1)

    def context_fid() -> np.ndarray:
        of_real = ts2vec.embed(encoder, real)[0]
        return np.array(
            [ts2vec.frechet_distance(of_real, ts2vec.embed(encoder, x)[0]) for x in samples]
        )

    def copies() -> np.ndarray:
        points = pairwise.flatten(seen)
        near_held = pairwise.nearest(pairwise.flatten(few), points)
        near = [pairwise.nearest(pairwise.flatten(x[: len(few)]), points) for x in samples]
        return np.array([pairwise.copy_share(x, near_held) for x in near])

    def nats() -> np.ndarray:
        given = unseen.given
        known_NTW = known and given and known.read(given.seconds_NT, given.columns_NTC)
        checked = model.description.checked(held)
        log_q = [model.log_prob_array(checked, run=run, known_NTW=known_NTW) for run in runs]
        return np.array([-x[np.isfinite(x)].mean() / held.shape[1] for x in log_q])

    measures: dict[str, Callable[[], np.ndarray]] = {
        "disc": lambda: discriminative(real, samples, repeats, **steps),
        "held-out": held_out,
        "pred": predictive,
        "fid": context_fid,
        "corr": lambda: np.array([metrics.correlational_score(real, x) for x in samples]),
        "copies": copies,
        "nats": nats,
    }
    if refine is not None:  # what is chosen has another law, of no density
        del measures["nats"]
    found = {figure: of() for figure, of in measures.items() if figure in wanted}
    if {"auc", "single"} & set(wanted):
        areas = [judge.areas(train, held, x, 0) for x in made]
        found["auc"] = np.array([each.together for each in areas])
        found["single"] = np.array([np.median(each.columns_D) for each in areas])
        by_column = np.mean([each.columns_D for each in areas], axis=0)
        of_each = zip(model.description.names, by_column, areas[0].floors_D, strict=True)
        print("single (real): ", ", ".join(f"{n} {a:.2f} ({r:.2f})" for n, a, r in of_each))
    return found


def with_interval(values: np.ndarray) -> str:
    """Mean and half the width of its 95% interval, by Student's t."""
    if len(values) < 2:
        return f"{values.mean():.4f}"
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return f"{values.mean():.4f} +-{half:.4f}"


def paired(name: str, after: dict[str, np.ndarray], before: dict[str, np.ndarray]) -> list[str]:
    """A row of differences, of those figures that both have."""
    cells = [with_interval(after[f] - before[f]) if f in after else "" for f in FIGURES]
    return [name, *cells]


def floors(
    name: str,
    every: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    repeats: int,
    wanted: Sequence[str],
    **steps: int,
) -> dict[str, float]:
    """What real data show of themselves."""
    order = np.random.default_rng(2).permutation(len(train))[: len(held)]
    real, few, known = (in_score_units(name, every, x) for x in (every, held, train[order]))
    found = {}
    if "held-out" in wanted:
        found["held-out"] = float(discriminative(few, [known], repeats, **steps)[0])
    if "pred" in wanted:
        own = scores.predictive(real, [np.arange(len(real))], real, 0, **steps)
        found["pred"] = float(own.mean())
    if {"auc", "single"} & set(wanted):
        areas = judge.areas(train, held, train[order], 0)
        found |= {"auc": areas.floor, "single": float(np.median(areas.floors_D))}
    return found


def of_set(name: str, options: argparse.Namespace, file: Path | None = None) -> None:
    """Train on one set, print each row when it is known and the table, add it to the file."""
    steps = {"steps": 25} if options.quick else {}  # of each score's network
    most = 1000 if options.quick else None
    shared = {"num_seeds": options.seeds, "seed": 88, "held_out": 0.01}
    shared |= (QUICK if options.quick else {}) | settings_of(" ".join(options.settings))
    calendar = shared.get("calendar", "auto")
    parts = parts_of(name, options.data, options.window, file, calendar)
    # The training part is split at random: windows of one series share values with those
    # that decide when to stop, as in the published protocol.
    read, sequences, held = (taken(x, np.arange(len(x.x_NTD))[:most]) for x in parts)
    every = read.x_NTD
    if options.number and options.number < len(every):
        every = every[np.random.default_rng(3).permutation(len(every))[: options.number]]
    off = {"skip_dis_pretrain": True, "skip_adversarial": True}
    model, _, first = trained(sequences, shared | off, None)
    every, held = every[~np.isnan(every).any((1, 2))], complete(held)
    train = complete(sequences).x_NTD
    encoder = None
    if "fid" in options.figures:
        encoder = ts2vec.train(in_score_units(name, every, every), 1, 0, **steps)
    shared_by_all = every, train, held, options.repeats, encoder, options.figures
    rows: dict[str, dict[str, np.ndarray]] = {}

    def add(row: str, model: SeqGAN, refine: int | None = None) -> None:
        rows[row] = figures_of(name, model, *shared_by_all, refine, **steps)
        said = ", ".join(f"{f} {with_interval(values)}" for f, values in rows[row].items())
        print(f"{name}, {options.window}, {row}: {said}", flush=True)

    second = 0.0
    add("likelihood", model)
    if not options.likelihood:
        model, _, second = trained(sequences, shared, model)
        add("adversarial", model)
    if options.refine:
        add("refined", model, options.refine)
    floor = floors(name, every, train, held.x_NTD, options.repeats, options.figures, **steps)
    cells = [
        [row, *(with_interval(values[f]) if f in values else "" for f in FIGURES)]
        for row, values in rows.items()
    ]
    if not options.likelihood:
        cells.append(paired("paired", rows["adversarial"], rows["likelihood"]))
    if options.refine:
        before = rows["likelihood" if options.likelihood else "adversarial"]
        cells.append(paired("refined, paired", rows["refined"], before))
    cells.append(["real", *(f"{floor[f]:.4f}" if f in floor else "" for f in FIGURES)])
    kept = [run["kept_round"] for run in model.runs()]
    published_by = PUBLISHED.get(name, "") if options.window == 24 else PUBLISHED_LONG
    measure.show(
        f"{name}: {len(every):,} windows of {options.window}, {len(train):,} trained on, "
        f"{len(held.x_NTD):,} held out; {options.seeds} seeds in {first:.0f} s of likelihood and "
        f"{second:.0f} s of adversarial training; kept rounds {kept}"
        + (f"\npublished: {published_by}" if file is None else ""),
        ("", *FIGURES),
        cells,
    )
    sys.stdout.flush()
    content = {
        "set": name,
        "window": options.window,
        "seconds": {"likelihood": first, "adversarial": second},
        "kept_rounds": kept,
        "floors": floor,
        "rows": {r: {f: v.tolist() for f, v in row.items()} for r, row in rows.items()},
    }
    measure.append(options.json, content)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "gpu", lines=True)
    flags.add_argument("--data", type=Path, help="folder with the series; default: sines alone")
    flags.add_argument("--sets", nargs="+", choices=["sines", *FILES])
    flags.add_argument("--file", type=Path, nargs="+", default=[], help="series of your own")
    flags.add_argument("--window", type=int, default=24, help="steps (default: 24)")
    flags.add_argument("--seeds", type=int, default=5, help="training seeds (default: 5)")
    flags.add_argument(
        "--settings", nargs="+", default=[], metavar="NAME=VALUE", help="of training"
    )
    flags.add_argument("--likelihood", action="store_true", help="no adversarial training")
    flags.add_argument("--refine", type=int, help="also with samples chosen of so many each")
    flags.add_argument("--repeats", type=int, default=5, help="of the discriminative score")
    flags.add_argument(
        "--figures", nargs="+", choices=FIGURES, default=FIGURES, help="what is measured"
    )
    flags.add_argument(
        "--number", type=int, help="windows and samples scored, at random (default: all)"
    )
    options = measure.parse(flags, arguments)
    if options.quick:
        options.seeds = options.repeats = 1
    there = ["sines"]
    if options.data:
        there += [name for name, file in FILES.items() if (options.data / file).is_file()]
    if missing := set(options.sets or []) - set(there):
        flags.error(f"{', '.join(sorted(missing))}: needs --data, the folder with the file")
    for name in options.sets or ([] if options.file else there):
        of_set(name, options)
    for file in options.file:
        of_set(file.stem, options, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
