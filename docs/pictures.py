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
            if cli.main([*shlex.split(COMMANDS[name])[1:], "--quiet"]):
                raise SystemExit(f"failed: {COMMANDS[name]}")
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    write((fan if name == "fan" else pair)(runs / name), path)
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
