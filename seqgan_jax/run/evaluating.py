"""A fitted model in words, and its samples beside sequences that it has not seen.

Shapes: N sequences, T steps, D columns.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqgan_jax.config import Config, DataConfig
from seqgan_jax.core.batch import TrainState, num_params
from seqgan_jax.data import arrays, inspection, layout, lengths
from seqgan_jax.data.files import printable
from seqgan_jax.data.layout import Sequences, Split
from seqgan_jax.data.shards import StreamSplit
from seqgan_jax.errors import UsageError
from seqgan_jax.run import checkpoint, estimate, loop
from seqgan_jax.run.description import Description
from seqgan_jax.run.terminal import stages

if TYPE_CHECKING:
    from seqgan_jax.analysis.report import Report

FEWEST, MOST, EACH = 1000, 10_000, 10  # samples of an evaluation, and for each real sequence


class TestPart(NamedTuple):
    """Real sequences to compare with, and those that were trained on where they are known."""

    real: Sequences
    train: Sequences | None
    is_held_out: bool


def sensible(number: int) -> int:
    """Samples beside so many real sequences: more would not make the comparison sharper.

    >>> sensible(10), sensible(300), sensible(10**6)
    (1000, 3000, 10000)
    """
    return min(MOST, max(FEWEST, EACH * number))


def of_parts(description: Description, parts: Split | StreamSplit) -> TestPart:
    """The parts of the data that a model was fitted on."""
    real = _of_model(description, parts.held_out_NTD, "held-out part")
    train = None
    if isinstance(parts, Split):
        train = _of_model(description, parts.train_NTD, "training part")
    return TestPart(real, train, True)


def of_folder(description: Description, folder: Path | None) -> TestPart:
    """The held-out part of a run directory; UsageError where it has none."""
    path = None if folder is None else folder / "held_out.npy"
    if folder is None or path is None or not path.is_file():
        raise UsageError(
            f"{printable(str(folder or 'this model'))}: keeps no data, so that there is nothing to "
            "compare with. Give sequences that it has not seen, as fit took them: evaluate(real)."
        )
    from seqgan_jax.analysis import command

    x_NTD = arrays.read_array(path, may_miss=True)
    real = _of_model(description, x_NTD, printable(str(path)))
    return TestPart(real, command.training_part(folder, real), True)


def given(
    description: Description,
    data: DataConfig,
    real: Any,
    id: str | Sequence[str] | None,
    time: str | Sequence[str] | None,
) -> TestPart:
    """Sequences as `fit` takes them, of the model's form; DataError where they are of another."""
    if isinstance(real, Sequences):
        return TestPart(real, None, False)
    if layout.frame_of(real) is None and np.ndim(layout.one_array(real)) > 1:
        x_NTD = description.checked(real)
        return TestPart(_of_model(description, x_NTD, "real"), None, False)
    if not description.scaler.ends and data.window is None and description.windows:
        data = dataclasses.replace(data, window=description.length)
    found = layout.from_python(real, data, frozenset(), id, time, like=description.form)
    return TestPart(found, None, False)


def _of_model(description: Description, x_NTD: NDArray[np.float64], source: str) -> Sequences:
    ends = description.scaler.ends
    x_NTD = lengths.trimmed(x_NTD) if ends else x_NTD
    return Sequences(x_NTD, description.names, source, form=description.form, ends=ends)


def report(
    description: Description,
    label: str,
    found: TestPart,
    drawn_NTD: NDArray[np.float64],
    verbose: bool,
    **how: Any,
) -> "Report":
    """The report on samples in data units; `how` as of `analyze`."""
    from seqgan_jax.analysis import command
    from seqgan_jax.analysis.compare import analyze

    drawn = _of_model(description, description.as_written(drawn_NTD), "samples")
    if found.is_held_out:
        command.check_held_out(found.real, description.source, "evaluate(x)")
    with stages(quiet=not verbose) as progress:
        made = analyze(
            found.real,
            drawn,
            train=found.train,
            rules=description.scaler.rules,
            label=label if label in description.names else "",
            ends=description.scaler.ends,
            progress=progress,
            **how,
        )
    return dataclasses.replace(made, sources=(found.real.source, "samples of the model"))


def summary(
    description: Description,
    state: TrainState,
    settings: Config,
    rows: Sequence[loop.Row],
    seconds: float | None,
) -> str:
    """Columns, kinds, rules, parameters, schedule, time and memory of a fitted model."""
    counts, scaler = description.counts, description.scaler
    steps = f"{'at most ' * scaler.ends}{description.length} steps"
    names = description.names
    lines = [
        f"data    {description.source}: {sum(counts):,} sequences of {steps}, {len(names)} "
        f"column{'s' * (len(names) != 1)} ({counts[0]:,} to train, {counts[1]:,} to validate, "
        f"{counts[2]:,} held out)",
        *columns(description),
    ]
    done = loop.done(state)
    did = [
        f"{count:,} {loop.UNITS[phase]}{'s' * (count != 1)} of {loop.TITLES[phase]}"
        for phase, count in done.items()
        if count
    ]
    lines += [
        f"models  generator {num_params(state.policy):,} parameters "
        f"({settings.generator.policy} policy), discriminator "
        f"{num_params(state.discriminator):,}",
        f"done    {', '.join(did) or 'nothing but the linear baseline'}",
    ]
    losses = [row["validation_nll"] for row in rows if row["phase"] == "gen_pretrain"]
    if losses:
        lines.append(f"loss    {min(losses):.4f} nats a step on the validation part, scaled")
    lines.append(f"memory  {checkpoint.num_bytes(state) / 1e6:.1f} MB, the training state")
    if seconds is not None:
        lines.append(f"time    {estimate.duration(seconds)} to fit")
    return "\n".join(printable(line) for line in lines)


def columns(description: Description, x_NTD: NDArray[np.float64] | None = None) -> list[str]:
    """A line for each column, its kind and its range, of the input's form or of x; rules and what
    is known in advance."""
    scaler, form, lines = description.scaler, description.form, []
    if form is not None and form.source != "array":
        lines += [f"        {line}" for line in inspection.in_short(form)]
    for d, name in enumerate(description.names):
        words = scaler.described(d)
        kind = f"  ({words})" if words else ""
        values = ""
        if form is not None:
            values = f": {inspection.column_in_short(form.columns[d])}"
        elif x_NTD is not None:
            values = f": {np.nanmin(x_NTD[..., d]):.6g} to {np.nanmax(x_NTD[..., d]):.6g}"
        lines.append(f"        {name}{values}{kind}")
    if scaler.rules:
        lines.append(f"rules   {scaler.rules} (true of every sample; --rules none: not kept)")
    if (known := description.known) and known.asks:
        lines.append(f"known   {known.in_words} (read, not generated)")
    return lines
