"""How often is a verdict wrong? Honest and spoiled generators of eleven kinds; none is trained.

    python benchmarks/verdicts.py                  374 honest and 374 spoiled generators, minutes
    python benchmarks/verdicts.py --quick          33 of each, about a minute
    python benchmarks/verdicts.py --kinds chain volatility    those whose names hold these words
    python benchmarks/verdicts.py --json FILE      also every single verdict

Real data, training data and samples are drawn from the same simulator, 40, 160 or 640 sequences in
turn; samples are then left as they are, or spoiled. Windows are of one series, training data of the
same series before them. Of weather the real data are a stretch of 146 days in a row, the training
data and the samples are of the other days, in turns of 60: of other seasons and years.

Five kinds are made to mislead: a volatility that wanders (AR(1) of .98 in its logarithm, half a
standard deviation of it, noise of Student's t(4)); a level that stays at 0 or 2 for 150 steps on
average; four series with a level and a spread each of its own; sequences with tails of Student's
t(2.5), whose kurtosis is infinite; and sequences with a size each of its own, which varies tenfold.

An honest generator must never be `far`, a spoiled one never `close`; `inconclusive` is right where
data are few. Spoiled is by

    shift             1 standard deviation, up or down
    spread            .6 times as wide
    autocorrelation   noise in place of four fifths of the variance
    collapse          copies of 3 sequences, with a hundredth of noise
    copy              the training sequences themselves
    one column        shift of one column of several

The judge is left out, which takes seconds each: it could find more. With --judge it is asked, and
its own verdicts are counted, too, where data are enough for it.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from measure import parse, parser, show, write
from scipy.signal import lfilter

from seqgan_jax.analysis import analyze
from seqgan_jax.data.layout import load
from seqgan_jax.processes.counts import SeasonalCounts
from seqgan_jax.processes.linear import AR1, VAR1
from seqgan_jax.processes.simulators import Simulator

Series = Callable[[np.random.Generator, int], np.ndarray]  # steps of a series [R]

VERDICTS = ("close", "inconclusive", "different", "far")
SIZES = (40, 160, 640)
EACH, QUICK_EACH = 34, 3
STEPS = 24
STRETCH, TURN = 146, 60  # days
BEFORE = 2000  # steps of a series that are trained on
SPOILINGS = ("shift", "spread", "autocorrelation", "collapse", "copy", "one column")


@dataclass(frozen=True)
class Case:
    """Training, real and generated sequences [N, T, D]; `moved`: the columns to be spoiled."""

    train: np.ndarray
    real: np.ndarray
    generated: np.ndarray
    moved: tuple[int, ...]
    decimals: int | None = None


def rows(simulator: Simulator, steps: int, decimals: int | None, seed: int, size: int) -> Case:
    """Independent sequences, of which the first `steps` are taken."""
    x_NTD = simulator.exact(simulator.sample(jax.random.key(seed), 3 * max(SIZES)))[:, :steps]
    parts = np.split(x_NTD, 3)
    return Case(*(x[:size] for x in parts), tuple(range(x_NTD.shape[2])), decimals)


def windows(phi: float, seed: int, size: int) -> Case:
    """All windows of a stretch of one AR(1) series, against independent sequences of its law."""
    sigma, length = np.sqrt(1 - phi**2), BEFORE + 2 * STEPS + max(SIZES)
    keys = jax.random.split(jax.random.key(seed))
    series = np.asarray(AR1(phi, sigma, 0.0, length).sample(keys[0], 1)[0], np.float64)
    generated = AR1(phi, sigma, 0.0, STEPS).sample(keys[1], max(SIZES))[:size]
    first = BEFORE + STEPS
    return Case(
        cut(series[:BEFORE]),
        cut(series[first : first + size + STEPS - 1]),
        np.asarray(generated, np.float64),
        (0,),
    )


def of_series(draw: Series, many: int, seed: int, size: int) -> Case:
    """All windows of stretches of series; samples are windows that each come from its own series.

    Training data are of the same series before, or, of several, from as many others.
    """
    rng = np.random.default_rng(seed)
    steps = max(size // many, 2) + STEPS - 1
    if many == 1:
        series = draw(rng, BEFORE + STEPS + steps)
        train, real = [series[:BEFORE]], [series[BEFORE + STEPS :]]
    else:
        train, real = ([draw(rng, steps) for _ in range(many)] for _ in range(2))
    generated = [draw(rng, STEPS) for _ in range(max(SIZES))]
    parts = (np.concatenate([cut(y_R[:, None]) for y_R in each]) for each in (train, real))
    return Case(*parts, np.stack(generated)[..., None], (0,))


def volatile(rng: np.random.Generator, steps: int) -> np.ndarray:
    """Noise of Student's t(4) times a volatility whose logarithm is an AR(1) of .98."""
    log_volatility = 0.5 * wandering(rng, 0.98, steps)
    return np.exp(log_volatility) * rng.standard_t(4, steps)


def switching(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A level of 0 or 2 that changes once in 150 steps, and noise."""
    changes = np.cumsum(rng.random(steps) < 1 / 150) + rng.integers(2)
    return 2.0 * (changes % 2) + 0.5 * rng.normal(size=steps)


def levelled(rng: np.random.Generator, steps: int) -> np.ndarray:
    """An AR(1) of .5 with a level and a spread that the whole series keeps."""
    level, spread = rng.normal(), np.exp(0.4 * rng.normal())
    return level + spread * wandering(rng, 0.5, steps)


def heavy(rng: np.random.Generator, steps: int) -> np.ndarray:
    """An AR(1) of .6 with noise of Student's t(2.5)."""
    return lfilter([1.0], [1.0, -0.6], rng.standard_t(2.5, steps + 50))[50:]


def sized(rng: np.random.Generator, steps: int) -> np.ndarray:
    """An AR(1) of .6 times a size that is log-normal, of a sequence."""
    return np.exp(0.8 * rng.normal()) * wandering(rng, 0.6, steps)


def wandering(rng: np.random.Generator, phi: float, steps: int) -> np.ndarray:
    """A stationary Gaussian AR(1) of standard deviation 1."""
    noise = np.sqrt(1 - phi**2) * rng.normal(size=steps)
    noise[0] = rng.normal()
    return lfilter([1.0], [1.0, -phi], noise)


def alone(draw: Series, seed: int, size: int) -> Case:
    """Independent sequences."""
    rng = np.random.default_rng(seed)
    x_NTD = np.stack([draw(rng, STEPS) for _ in range(3 * max(SIZES))])[..., None]
    return Case(*(x[:size] for x in np.split(x_NTD, 3)), (0,))


def cut(series_RD: np.ndarray) -> np.ndarray:
    """Every window of STEPS steps."""
    return np.stack([series_RD[i : i + STEPS] for i in range(len(series_RD) - STEPS + 1)])


@functools.cache
def days() -> np.ndarray:
    """The bundled weather, a row a day."""
    x_NTD = load("weather").x_NTD
    return np.concatenate([x_NTD[:, 0], x_NTD[-1, 1:]])


def weather(seed: int, _size: int) -> Case:
    """A stretch of weather; windows of the other days, in turns to train on and as samples."""
    rng = np.random.default_rng(seed)
    first = int(rng.integers(len(days()) - STRETCH))
    turns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for start, stop in ((0, first), (first + STRETCH, len(days()))):
        for turn, day in enumerate(range(start, stop - STEPS, TURN)):
            turns[turn % 2].append(cut(days()[day : min(day + TURN, stop)]))
    train, generated = (np.concatenate(each) for each in turns)
    generated = generated[rng.permutation(len(generated))[: max(SIZES)]]
    temperatures_and_wind = (1, 2, 3)
    return Case(train, cut(days()[first : first + STRETCH]), generated, temperatures_and_wind, 1)


KINDS: dict[str, Callable[[int, int], Case]] = {
    "sequences, AR(1) of .8": functools.partial(rows, AR1(length=STEPS), STEPS, None),
    "windows, AR(1) of .97": functools.partial(windows, 0.97),
    "windows, AR(1) of .5": functools.partial(windows, 0.5),
    "counts": functools.partial(rows, SeasonalCounts(length=STEPS), STEPS, 0),
    "weather, a stretch": weather,
    "rows of a table": functools.partial(rows, VAR1(length=2), 1, None),
    "windows, volatility that wanders": functools.partial(of_series, volatile, 1),
    "windows, levels that stay": functools.partial(of_series, switching, 1),
    "windows of four series": functools.partial(of_series, levelled, 4),
    "sequences, t(2.5)": functools.partial(alone, heavy),
    "sequences, sizes of their own": functools.partial(alone, sized),
}


def spoilings(case: Case) -> list[str]:
    """Those that have a meaning for these data."""
    without = {"autocorrelation"} if case.real.shape[1] == 1 else set()
    without |= {"one column"} if case.real.shape[2] == 1 else set()
    return [name for name in SPOILINGS if name not in without]


def spoiled(case: Case, how: str, rng: np.random.Generator) -> np.ndarray:
    """Generated sequences, worse."""
    x, columns = case.generated.copy(), list(case.moved)
    if how == "copy":
        return case.train[rng.integers(len(case.train), size=len(x))]
    if how == "collapse":
        x = x[rng.integers(3, size=len(x))]
        columns = columns if case.decimals is None else []
    mean, std = x[..., columns].mean((0, 1)), case.generated[..., columns].std((0, 1))
    if how == "collapse":
        x[..., columns] += 0.01 * std * rng.normal(size=x[..., columns].shape)
    elif how == "shift":
        x[..., columns] += rng.choice([-1, 1]) * std
    elif how == "one column":
        x[..., columns[0]] += rng.choice([-1, 1]) * std[0]
    elif how == "spread":
        x[..., columns] = mean + 0.6 * (x[..., columns] - mean)
    elif how == "autocorrelation":
        z = (x[..., columns] - mean) / std
        noise = rng.permuted(z.reshape(-1, len(columns)), axis=0).reshape(z.shape)
        x[..., columns] = mean + std * (np.sqrt(0.2) * z + np.sqrt(0.8) * noise)
    return x if case.decimals is None else np.round(x, case.decimals)


def judged(kind: str, number: int, judge: str) -> list[dict[str, object]]:
    """The verdicts of an honest and of a spoiled generator, and of the judge where it is asked."""
    case = KINDS[kind](number, SIZES[number % len(SIZES)])
    known = spoilings(case)
    how = known[(number // len(SIZES) + number) % len(known)]
    found: list[dict[str, object]] = []
    worse = spoiled(case, how, np.random.default_rng(number))
    for name, generated in (("honest", case.generated), (how, worse)):
        report = analyze(case.real, generated, train=case.train, seed=number, judge=judge)
        own = {"kind": kind, "generator": name, "number": number, "real": len(case.real)}
        own |= {"verdict": report.verdict, "headline": report.headline}
        metric = report.metrics.get("judge")
        found.append(own | {"judge": None if metric is None else metric.verdict})
    return found


def counted(found: Sequence[dict[str, object]], whose: str = "verdict") -> list[str]:
    """How many there are of each verdict, in cells."""
    counts = Counter(str(each[whose]) for each in found)
    return [str(counts[verdict]) for verdict in VERDICTS]


def main() -> int:
    """All kinds; 0."""
    options_of = parser(__doc__ or "")
    options_of.add_argument("--kinds", nargs="+", default=[""], help="words in names of kinds")
    options_of.add_argument("--each", type=int, default=EACH, help="generators of each kind")
    options_of.add_argument("--judge", action="store_true", help="ask the judge, too: seconds each")
    options = parse(options_of)
    kinds = [kind for kind in KINDS if any(word in kind for word in options.kinds)]
    each = QUICK_EACH if options.quick else options.each
    found: list[dict[str, object]] = []
    for kind in kinds:
        for number in range(each):
            found += judged(kind, number, "always" if options.judge else "never")
        print(f"{kind}: {each} done", file=sys.stderr)
    heads = [f"{who}: {verdict}" for who in ("honest", "spoiled") for verdict in VERDICTS]
    for whose in ("verdict", "judge") if options.judge else ("verdict",):
        table = []
        for kind in (*kinds, "all"):
            own = [one for one in found if kind in (one["kind"], "all")]
            honest = [one for one in own if one["generator"] == "honest"]
            worse = [one for one in own if one["generator"] != "honest"]
            table.append([kind, *counted(honest, whose), *counted(worse, whose)])
        title = {"verdict": "Verdicts by kind of data", "judge": "Verdicts of the judge alone"}
        show(title[whose], ["data", *heads], table)
    table = [[how, *counted([x for x in found if x["generator"] == how])] for how in SPOILINGS]
    show("Verdicts by spoiling", ["samples", *VERDICTS], table)
    write(options.json, "verdicts", {"verdicts": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
