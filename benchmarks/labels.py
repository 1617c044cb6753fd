"""Is a class in samples what it is in the data? A classifier that learns from samples, tested on
real sequences, against one that learns from as many real ones.

    python benchmarks/labels.py                      two labelled processes, three public sets
    python benchmarks/labels.py --place              public sets, which step it is as --known
    python benchmarks/labels.py --cells              class and step as one word of --known
    python benchmarks/labels.py --quick              fewer sequences, a few epochs

Logistic regression on what each sequence sums up to: mean, standard deviation, lag-1 product and
size of moves of each column; of modechoice and digits on all values. Samples have the classes of
the real training sequences (`sample(given=)`), so that both classifiers see the same shares.

Public sets, small ones: weeks of the bundled weather by their season; `modechoice` of statsmodels
(Greene's), 210 travellers, four steps (air, train, bus, car) of terminal time, cost, time and
generalised cost, income and size of the party, and which of the four they took; `digits` of
scikit-learn, 1,797 handwritten ones of 8 rows of 8 pixels, and which they are. A model learns from
two thirds and the last third tests, in turn; `SAMPLES` are drawn for each sequence.
"""

import sys
from collections.abc import Callable, Sequence

import measure
import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax

from seqgan_jax import SeqGAN
from seqgan_jax.data import layout

Simulator = Callable[[int, int], np.ndarray]


def persistence(number: int, seed: int) -> np.ndarray:
    """[N, 16, 2]: AR(1) with coefficient .3 or .7, and which of them it is."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 2, number)
    x = rng.normal(size=(number, 16))
    for t in range(1, 16):
        x[:, t] += np.where(code == 1, 0.7, 0.3) * x[:, t - 1]
    return np.stack([x, np.tile(code[:, None], 16)], axis=-1).astype(float)


def shifts(number: int, seed: int) -> np.ndarray:
    """[N, 16, 3]: three kinds of day, unequally often: a level with its noise, counts whose rate
    follows it, and the kind."""
    rng = np.random.default_rng(seed)
    code = rng.choice(3, number, p=[0.5, 0.3, 0.2])
    level = np.array([0.0, 0.5, 0.9])[code][:, None] + 0.5 * rng.normal(size=(number, 1))
    x = level + np.array([0.6, 0.8, 0.6])[code][:, None] * rng.normal(size=(number, 16))
    counts = rng.poisson(np.exp(0.3 * x + np.array([0.5, 0.5, 0.8])[code][:, None]))
    return np.stack([x, counts, np.tile(code[:, None], 16)], axis=-1).astype(float)


SAMPLES, RIDGE = 5, 0.01  # of each sequence of a public set, and of its classifier
PROCESSES: dict[str, Simulator] = {"persistence": persistence, "shifts": shifts}


def modechoice() -> np.ndarray:
    """[210, 4, 7]: times and costs of four ways to travel, income, party, the choice."""
    from statsmodels.datasets import modechoice as public

    frame = public.load_pandas().data
    frame["label"] = frame["choice"].groupby(frame["individual"]).transform(np.argmax)
    columns = ["ttme", "invc", "invt", "gc", "hinc", "psize", "label"]
    return frame[columns].to_numpy(float).reshape(-1, 4, len(columns))


def digits() -> np.ndarray:
    """[1797, 8, 9]: rows of handwritten digits from the top, 0 to 16 each, and the digit."""
    from sklearn.datasets import load_digits

    found = load_digits()
    label = np.broadcast_to(found.target[:, None, None], (*found.images.shape[:2], 1))
    return np.concatenate([found.images, label], axis=2).astype(float)


def weather() -> np.ndarray:
    """[208, 7, 5]: weeks of rain, highest and lowest temperature and wind, and their season."""
    frame = pd.read_csv(layout.BUNDLED["weather"], parse_dates=["date"])
    frame["label"] = frame["date"].dt.month % 12 // 3
    columns = ["precipitation", "temp_max", "temp_min", "wind", "label"]
    weeks = frame[columns].to_numpy(float)[: len(frame) // 7 * 7].reshape(-1, 7, len(columns))
    weeks[..., -1] = weeks[:, :1, -1]
    return weeks


def everything(x_NTD: np.ndarray) -> np.ndarray:
    """[N, T (D - 1)] of the columns but the last, which is the label."""
    return x_NTD[..., :-1].reshape(len(x_NTD), -1)


def summaries(x_NTD: np.ndarray) -> np.ndarray:
    """[N, 4 D] of the columns but the last, which is the label."""
    x = x_NTD[..., :-1]
    products = np.mean(x[:, 1:] * x[:, :-1], axis=1)
    moves = np.abs(np.diff(x, axis=1)).mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), products, moves], axis=1)


def accuracy(
    train_NTD: np.ndarray,
    test_NTD: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray] = summaries,
    ridge: float = 1e-3,
) -> float:
    """Share of test sequences whose class a logistic regression tells that learned from others."""
    a, b = read(train_NTD), read(test_NTD)
    mean, std = a.mean(axis=0), np.maximum(a.std(axis=0), 1e-9)
    a, b = (np.column_stack([np.ones(len(x)), (x - mean) / std]) for x in (a, b))
    code, expected = (x[:, 0, -1].astype(int) for x in (train_NTD, test_NTD))
    number = int(max(code.max(), expected.max())) + 1
    one_hot = np.eye(number)[code]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = w.reshape(a.shape[1], number)
        log_p = log_softmax(a @ w, axis=1)
        value = -np.sum(one_hot * log_p) / len(a) + ridge * np.sum(w**2)
        return value, (a.T @ (np.exp(log_p) - one_hot) / len(a) + 2 * ridge * w).ravel()

    w = minimize(loss, np.zeros(a.shape[1] * number), jac=True, method="L-BFGS-B").x
    return float(np.mean(np.argmax(b @ w.reshape(a.shape[1], number), axis=1) == expected))


PUBLIC = {
    "weather": (weather, summaries),
    "modechoice": (modechoice, everything),
    "digits": (digits, everything),
}


def compare(name: str, number: int, epochs: int) -> dict[str, float]:
    """Accuracies on real sequences: trained on real ones, on samples, and always the commonest."""
    simulate = PROCESSES[name]
    real, test = simulate(number, 0), simulate(4 * number, 1)
    label = f"x{real.shape[2]}"
    phases = {"skip_dis_pretrain": True, "skip_adversarial": True}
    model = SeqGAN(static=[label], pre_epoch_num=epochs, **phases).fit(real)
    rows = pd.DataFrame({label: real[:, 0, -1].astype(int)})
    drawn = model.sample(given=rows, seed=1)
    assert np.array_equal(drawn[:, 0, -1], real[:, 0, -1])
    return {
        "real": accuracy(real, test),
        "generated": accuracy(drawn, test),
        "commonest": float(np.bincount(test[:, 0, -1].astype(int)).max() / len(test)),
    }


def with_place(x_NTD: np.ndarray) -> pd.DataFrame:
    """A row for each step, with a word for its place in the sequence."""
    number, steps, features = x_NTD.shape
    frame = pd.DataFrame(x_NTD.reshape(-1, features), columns=names_of(features))
    frame["place"] = [f"step {t}" for t in range(steps)] * number
    return frame.assign(i=np.repeat(np.arange(number), steps), t=np.tile(np.arange(steps), number))


def with_cells(x_NTD: np.ndarray) -> pd.DataFrame:
    """A row for each step, with a word for its class and place in the place of the label."""
    label = names_of(x_NTD.shape[2])[-1]
    frame = with_place(x_NTD).drop(columns=["place", label])
    return frame.assign(cell=cells(x_NTD[:, 0, -1], x_NTD.shape[1]))


def cells(code_N: np.ndarray, steps: int) -> list[str]:
    """A word for each sequence's class and each step, one sequence after the other."""
    return [f"class {c:.0f} step {t}" for c in code_N for t in range(steps)]


def drawn_in_cells(model: SeqGAN, code_N: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """[N, T, D] of these classes, class by class."""
    found = []
    for c, number in zip(*np.unique(code_N, return_counts=True), strict=True):
        known = pd.DataFrame({"cell": cells(np.array([c]), steps)})
        x_NTD = model.sample_array(int(number), known=known, seed=seed)
        label = np.full((*x_NTD.shape[:2], 1), float(c))
        found.append(np.concatenate([x_NTD, label], axis=2))
    return np.concatenate(found)


def names_of(features: int) -> list[str]:
    """x1, .. as columns of arrays are named."""
    return [f"x{d + 1}" for d in range(features)]


def public(
    name: str, epochs: int, told: str = "", tested: int = 3, folds: int = 3
) -> dict[str, float]:
    """The same of a public set, of the first `tested` folds; a step is told which it is where
    `told` is "place", and of which class where it is "cell"."""
    load, read = PUBLIC[name]
    data = load()
    names = names_of(data.shape[2])
    label = names[-1]
    fold = np.random.default_rng(0).permutation(len(data)) % folds
    found: dict[str, list[float]] = {"real": [], "generated": []}
    for i in range(tested):
        train, test = data[fold != i], data[fold == i]
        model = SeqGAN(
            static=[] if told == "cell" else [label],
            held_out=0.02,
            validation=0.15,
            pre_epoch_num=epochs,
            skip_dis_pretrain=True,
            skip_adversarial=True,
            **({"known": [told]} if told else {}),
        )
        code_N = np.repeat(train[:, 0, -1].astype(int), SAMPLES)
        if told == "cell":
            model.fit(with_cells(train), id="i", time="t")
            drawn = drawn_in_cells(model, code_N, train.shape[1], i)
        else:
            model.fit(with_place(train), id="i", time="t") if told else model.fit(train)
            drawn = model.sample_array(given=pd.DataFrame({label: code_N}), seed=i)
        found["real"].append(accuracy(train, test, read, RIDGE) * len(test))
        found["generated"].append(accuracy(drawn, test, read, RIDGE) * len(test))
    commonest = np.bincount(data[:, 0, -1].astype(int)).max() / len(data)
    number = np.sum(fold < tested)
    return {name: sum(each) / number for name, each in found.items()} | {"commonest": commonest}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each process."""
    flags = measure.parser(__doc__)
    flags.add_argument("--only", nargs="*", help="sets, by name (default: all)")
    group = flags.add_mutually_exclusive_group()
    group.add_argument("--place", action="store_true", help="public sets: --known which step it is")
    group.add_argument("--cells", action="store_true", help="and of which class, in one word")
    flags.add_argument("--epochs", type=int, help="of likelihood training (default: 80)")
    flags.add_argument("--folds", type=int, choices=(1, 2, 3), default=3, help="of public sets")
    options = measure.parse(flags, arguments)
    number, epochs = (400, 5) if options.quick else (3000, options.epochs or 80)
    told = "cell" if options.cells else "place" * options.place
    found = {
        name: public(name, epochs, told, options.folds)
        if name in PUBLIC
        else compare(name, number, epochs)
        for name in options.only or (*(() if told else PROCESSES), *PUBLIC)
    }
    rows = [
        [name, *(f"{row[key]:.3f}" for key in ("real", "generated", "commonest"))]
        for name, row in found.items()
    ]
    columns = ("accuracy on real sequences", "trained on real", "on samples", "commonest class")
    measure.show(f"{number:,} sequences to learn from", columns, rows)
    measure.write(options.json, "labels.py", {"rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
