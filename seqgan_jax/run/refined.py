"""Samples that discriminators choose among candidates, see `core.refining`.

Shapes: N sequences, T steps, D columns, W inputs that are known.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from seqgan_jax.core import keys, refining, stepwise
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.core.refining import Refiner
from seqgan_jax.data.known import nothing
from seqgan_jax.data.layout import Split
from seqgan_jax.data.shards import StreamSplit
from seqgan_jax.errors import UsageError
from seqgan_jax.run import evaluating, preparing
from seqgan_jax.run.description import Description
from seqgan_jax.run.drawing import BLOCK, Trained
from seqgan_jax.run.loader import on_device, scaled
from seqgan_jax.run.places import Places

MOST_CANDIDATES = 10_000
MOST_NUMBERS = 200_000_000  # of all candidates
FLAG = "--refine (refine=)"


def check(about: Description, refine: Any, with_gaps: bool = False, **others: Any) -> int:
    """The number of candidates; raises UsageError where it has no meaning.

    `others` are arguments of `sample`: their names, and None where they are not given.
    """
    if isinstance(refine, bool) or not isinstance(refine, int | np.integer):
        raise UsageError(f"{FLAG} {refine!r} is no number of candidates. Write 16, say.")
    if not 1 < refine <= MOST_CANDIDATES:
        raise UsageError(
            f"{FLAG} {refine}: one of so many candidates is taken for each sample; choose 2 to "
            f"{MOST_CANDIDATES:,}. 16 is a start."
        )
    for name, value in others.items():
        if value is not None:
            raise UsageError(
                f"{FLAG} is for whole sequences as in training, not together with {name}. Leave "
                "one out."
            )
    if about.has_gaps and not with_gaps:
        raise UsageError(
            f"{FLAG}: values are missing where this model learned, so that complete samples are "
            "told from its data by that alone. Add --with-gaps (with_gaps=True), for samples with "
            "gaps like the data's, or train with --missing interpolate."
        )
    return int(refine)


def learned(about: Description, parts: Split | StreamSplit | None, folder: Path | None) -> Batch:
    """The training part that `fit` had, or that of a run, read again; raises UsageError."""
    if isinstance(parts, Split):
        known = preparing.known_of(parts)
        return _on_device(about, parts.train_NTD, None if known is None else known[0])
    if parts is not None:
        raise UsageError(f"{FLAG} is for data in memory, and these are streamed. Leave it out.")
    train = evaluating.of_folder(about, folder).train
    if train is None:
        raise UsageError(
            f"{FLAG} trains discriminators on the training part, and the data of {folder} are "
            "there no more, or are others. Bring them back, or leave it out."
        )
    known_NTW = None
    if about.known is not None:
        known_NTW = about.known.of(train.given or nothing(*train.x_NTD.shape[:2]))
    return _on_device(about, train.x_NTD, known_NTW)


def fit(trained: Trained, train: Batch, seed: int, by_step: bool = True) -> Refiner:
    """Discriminators of a run's samples and what it was trained on, see `refining.fit`."""
    key = jax.random.fold_in(jax.random.key(seed), keys.REFINING)
    return refining.fit(trained.state, train, key, trained.nets, by_step)


def sequences(
    trained: Trained,
    refiner: Refiner,
    n: int,
    refine: int,
    seed: int,
    given: Any,
    placed: Places,
    say: Callable[[str], None],
    with_gaps: bool,
    tell: Callable[[str], None],
) -> NDArray[np.float64]:
    """`n` samples, each one of `refine` candidates, [n, T, D] float64 as drawn.

    `say` is told what the user should know, `tell` what was chosen.

    Raises UsageError where there would be too many candidates for memory.
    """
    about = trained.description
    of_step, of_sequences = refiner.candidates(refine)
    number = n * of_sequences
    if number * about.numbers > MOST_NUMBERS:
        most = MOST_NUMBERS // about.numbers
        raise UsageError(
            f"{FLAG} {refine}: {n:,} samples have {number:,} candidates, and memory is for "
            f"{most:,}. Ask for fewer, with several seeds."
        )
    if not (refiner.knows or any(refiner.chooses)):
        say("refine: discriminators find nothing on unseen sequences: there is nothing to choose")
    tell(_what_is_chosen(refiner, refine))
    known_NTW = placed.known_NTW
    repeated = None if known_NTW is None else np.repeat(known_NTW, of_sequences, axis=0)
    if hasattr(given, "iloc"):
        given = given.iloc[np.repeat(np.arange(len(given)), of_sequences)]
    placed = Places(None, repeated)
    how: dict[str, Any] = {"placed": placed, "with_gaps": with_gaps}
    if any(refiner.chooses):
        how["block"] = partial(_by_step, trained, refiner, of_step)
    x_NTD = trained.sequences(number, seed, given=given, say=say, **how)
    if of_sequences == 1:
        return x_NTD
    candidates = _on_device(about, x_NTD, repeated)
    return x_NTD[refiner.choose(candidates, of_sequences, np.random.default_rng([seed, refine]))]


def _what_is_chosen(refiner: Refiner, refine: int) -> str:
    """A line for the user."""
    of_step, of_sequences = refiner.candidates(refine)
    parts = []
    if refiner.steps is not None and any(refiner.chooses):
        first = f"{stepwise.FIRST * of_step} first steps" * refiner.chooses[0]
        later = f"{of_step} at each step" * refiner.chooses[1]
        numbers = " and of ".join(filter(None, (first, later)))
        gain, error = float(refiner.steps.gain), float(refiner.steps.error)
        parts.append(
            f"one of {numbers} (unseen sequences are {gain:.2g} +-{error:.1g} nats likelier)"
        )
    if refiner.knows:
        parts.append(f"one of {of_sequences} sequences")
    return f"refine: {', then '.join(parts) or 'nothing is chosen'}"


def _by_step(
    trained: Trained,
    refiner: Refiner,
    candidates: int,
    key: jax.Array,
    given: Given | None,
    known_BTW: jax.Array | None,
) -> NDArray[np.float32]:
    """BLOCK samples in scaled units, each value one of so many candidates."""
    found = stepwise.draw(
        trained.state.best,
        trained.state.policy_constants,
        refiner.steps,
        key,
        given,
        known_BTW,
        nets=trained.nets,
        number=BLOCK,
        length=trained.description.length,
        chooses=refiner.chooses,
        candidates=candidates,
    )
    return np.asarray(found)


def _on_device(
    about: Description, x_NTD: NDArray[np.float64], known_NTW: NDArray[np.float32] | None
) -> Batch:
    rows = scaled(about.scaler, x_NTD, "samples")
    found = on_device(rows, None, None, known_NTW, about.scaler.end)
    return jax.tree.map(jnp.asarray, found)
