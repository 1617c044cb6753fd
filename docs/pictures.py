"""The pictures of the README and the gallery, each from one command: `python docs/pictures.py`.

It takes at most 25 minutes on two cores, busy ones. `python docs/pictures.py rain fan --runs DIR`
makes those alone, from the runs in DIR where they are there, and leaves new ones in it.
"""

import argparse
import contextlib
import io
import shlex
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import plots, strips
from seqgan_jax.data import layout
from seqgan_jax.run import cli

FOLDER = Path(__file__).with_name("pictures")
LIKELIHOOD = "--skip-dis-pretrain --skip-adversarial"  # alone: a short training
SIMULATORS = ("ar1", "var1", "seasonal", "regime", "rain", "markov", "counts", "held", "prices")
COMMANDS = {
    "fan": f"seqgan train --data weather --columns temp_max --window 30 --run-dir fan {LIKELIHOOD}",
    "weather": "seqgan train --data weather --window 30 --run-dir weather --pre-epoch-num 40 "
    f"{LIKELIHOOD}",
    "classes": "seqgan train --data classes.csv --id patient --time hour --label sex --run-dir "
    f"classes --hidden-dim 16 --pre-epoch-num 20 --policy gaussian {LIKELIHOOD}",
    "year": "seqgan train --data hours.csv --window 48 --stride 6 --run-dir year --hidden-dim 16 "
    f"--pre-epoch-num 5 --policy gaussian {LIKELIHOOD}",
} | {
    name: f"seqgan train --data {name} --num-sequences 4000 --run-dir {name} --pre-epoch-num 40 "
    f"{LIKELIHOOD}"
    for name in SIMULATORS
}
PAST, AHEAD, FUTURES = 60, 30, 500  # days, days and number in the fan
SHOWN, SAMPLES = 4, 400  # sequences in a picture, and those that these are drawn from
COLOURS = 64  # in a file


def write(figure: Figure, path: Path) -> None:
    """Write a figure 800 pixels wide, with few colours: a small file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=800 / figure.get_figwidth())
    Image.open(buffer).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def fan(run: Path) -> Figure:
    """Futures of the bundled temperatures from the first day that was held out."""
    frame = pd.read_csv(layout.BUNDLED["weather"], parse_dates=["date"])[["date", "temp_max"]]
    today = len(frame) - round(0.1 * len(frame))
    past, ahead = frame[today - PAST : today], frame[today : today + AHEAD]
    futures = SeqGAN.load(run).sample(FUTURES, after=past, length=AHEAD, seed=1)
    real, generated, history = (
        each["temp_max"].to_numpy().reshape(count, -1, 1)
        for each, count in ((ahead, 1), (futures, FUTURES), (past, 1))
    )
    figure = plots.fan(real, generated, ["temp_max"], history_HD=history[0])
    first = ahead["date"].iloc[0]
    figure.axes[0].set(
        xlabel=f"days, the first ahead: {first.day} {first:%B %Y}", ylabel="highest of the day (°C)"
    )
    return figure


def beats() -> pd.DataFrame:
    """Twelve hours of pulses of 600 patients, of whom women have higher ones, and men more even."""
    rng = np.random.default_rng(0)
    is_f = rng.random(600) < 0.5
    walk = np.where(is_f, 1.5, 0.5)[:, None] * rng.normal(size=(600, 12)).cumsum(axis=1)
    pulse = np.round(66 + 10 * is_f[:, None] + 3 * rng.normal(size=(600, 1)) + walk)
    index = {"patient": np.repeat(np.arange(600), 12), "hour": np.tile(np.arange(12), 600)}
    sex = np.repeat(np.where(is_f, "f", "m"), 12)
    return pd.DataFrame(index | {"sex": sex, "pulse": pulse.ravel().astype(int)})


def hours() -> pd.DataFrame:
    """Three years of temperatures by the hour: a season, larger days in summer, and weather."""
    rng = np.random.default_rng(0)
    date = pd.date_range("2020-01-01", "2022-12-31 23:00", freq="h")
    season = -np.cos(2 * np.pi * (date.day_of_year - 20) / 365.25)
    day = -(3 + 1.5 * season) * np.cos(2 * np.pi * (date.hour - 3) / 24)
    weather = np.zeros(len(date))
    for t in range(1, len(date)):
        weather[t] = 0.98 * weather[t - 1] + 0.6 * rng.normal()
    return pd.DataFrame({"date": date, "temperature": (10 + 9 * season + day + weather).round(1)})


DATA = {"classes": ("classes.csv", beats), "year": ("hours.csv", hours)}  # before training


def year(run: Path) -> Figure:
    """The last year of the data and a sample of the next one, with a week of July of each."""
    sample = SeqGAN.load(run).sample(1, start="2023-01-01", length=8760)[0, :, 0]
    real = hours()["temperature"].to_numpy()[-8760:]
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    day = np.arange(8760) / 24
    whole = (("real, 2022", real), ("generated, 2023", sample))
    for column, (title, degrees) in zip(axes.T, whole, strict=True):
        column[0].plot(day, degrees, color="#4f81bd", linewidth=0.3)
        column[0].set(title=title, xlabel="day of the year")
        week = slice(24 * 181, 24 * 188)  # the first of July is the 182nd day
        column[1].plot(day[week] - 180, degrees[week], color="#c0504d")
        column[1].set(xlabel="day of July")
    for axis in axes[:, 0]:
        axis.set(ylabel="°C")
    return figure


def classes(run: Path) -> Figure:
    """Pulses of both classes, real and drawn for each."""
    model, real = SeqGAN.load(run), beats()
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for sex, colour in (("f", "#c0504d"), ("m", "#4f81bd")):
        own = real.loc[real["sex"] == sex, "pulse"].to_numpy().reshape(-1, 12)[:40]
        drawn = model.sample(40, given={"sex": sex}, seed=1)[..., 1]
        for axis, pulse_NT in zip(axes, (own, drawn), strict=True):
            axis.plot(pulse_NT.T, color=colour, linewidth=0.6, alpha=0.6)
            axis.plot([], color=colour, label=sex)
    for axis, title in zip(axes, ("real", "generated, --given sex=f and sex=m"), strict=True):
        axis.set(title=title, xlabel="hour")
    axes[0].set(ylabel="pulse")
    axes[0].legend(frameon=False, loc="upper left")
    return figure


def pair(run: Path) -> Figure:
    """A few sequences of the part that was held out beside as many generated ones."""
    model = SeqGAN.load(run)
    form = model.description.form
    words = [getattr(column, "categories", ()) for column in form.columns] if form else ()
    generated_NTD = np.asarray(model.sample_array(SAMPLES, seed=1))
    real_NTD = np.load(run / "held_out.npy")  # of one series: windows that overlap
    real_NTD = real_NTD[np.linspace(0, len(real_NTD) - 1, SHOWN).astype(int)]
    names = model.description.names
    return strips.side_by_side(real_NTD, generated_NTD, names, words=words, shown=SHOWN)


def make(name: str, runs: Path) -> Path:
    """Train where `runs` has no run of that name, and draw; the path of the picture."""
    if not (runs / name).is_dir():
        with contextlib.chdir(runs):
            if name in DATA:
                file, simulate = DATA[name]
                simulate().to_csv(file, index=False)
            if cli.main([*shlex.split(COMMANDS[name])[1:], "--quiet"]):
                raise SystemExit(f"failed: {COMMANDS[name]}")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    draw = {"fan": fan, "year": year, "classes": classes}.get(name, pair)
    write(draw(runs / name), path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(COMMANDS)}; default: all")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; default: nowhere")
    given = parser.parse_args()
    if unknown := set(given.names) - set(COMMANDS):
        parser.error(f"there is no picture {sorted(unknown)[0]}")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) if given.runs is None else given.runs
        runs.mkdir(parents=True, exist_ok=True)
        for name in given.names or COMMANDS:
            path = make(name, runs)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
