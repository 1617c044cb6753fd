"""What a trained model draws, and how likely it finds sequences, in data units.

Shapes: N sequences, M futures of each, T steps, D columns, B sequences in a block, W inputs that
are known in advance.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from seqgan_jax.config import DataConfig
from seqgan_jax.core import keys
from seqgan_jax.core.batch import Batch, Params, TrainState
from seqgan_jax.core.columns.mixed_step import Given
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import bind, log_prob_of_sequences
from seqgan_jax.data import bounds, history, lengths, statics
from seqgan_jax.data.history import History
from seqgan_jax.data.scaling import Scaler
from seqgan_jax.errors import DataError, UsageError
from seqgan_jax.run import conditions, continuing, loop, places
from seqgan_jax.run.description import Description
from seqgan_jax.run.places import Length, Places, check_draw

Array = NDArray[np.float64]
BLOCK = 1024  # sequences sampled or scored in one call: one compilation for every n
GIVEN = 2**32 - 1  # key of the first steps that are drawn apart, no block's
MOST_DRAWN = 1 << 16, 64  # candidates of a length, and for each that is asked for
# BLOCK samples in scaled units from a key, values of first steps, what is known in advance.
Draw = Callable[[jax.Array, Given | None, jax.Array | None], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's policy and what it knows of its data."""

    description: Description
    nets: Networks
    state: TrainState
    data: DataConfig

    def sequences(
        self,
        n: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        given: Any = None,
        length: Length = None,
        after: Any = None,
        say: Callable[[str], None] = warnings.warn,
        placed: Places | None = None,
        with_gaps: bool = False,
        known: Any = None,
        block: Draw | None = None,
    ) -> NDArray[np.float64]:
        """`sample` as an array [n, T, D] float64 as drawn, whatever the model was fitted on.

        With `after` an array [N, n, length, D]. NaN after the ends of sequences. `say` is told what
        the user should know. `block` draws in the place of the policy alone.
        """
        self.check_gaps(with_gaps)
        if after is not None:
            history = self.read_history(after, given)
            return self.futures(n, history, length, seed, temperature, say, known, with_gaps)
        description = self.description
        asked = None if given is None else self._asked(given, n)
        n = len(asked) if asked is not None and n is None else n
        check_draw(n, seed, length, description.scaler.ends)
        assert n is not None
        ends = description.scaler.ends
        placed = placed or places.of_samples(description, n, seed, known=known, length=length)
        known_NTW, scale = placed.known_NTW, _temperature(temperature)
        if asked is not None and description.statics:
            for line in description.statics.unseen(asked):
                say(line)
        if ends and length is not None:
            return self._of_length(int(n), length, int(seed), scale, asked, placed, not with_gaps)
        is_other = length not in (None, description.length)
        if is_other:
            for note in description.check_length(int(length), f"length {length}"):  # type: ignore[arg-type]
                say(note)
        key = jax.random.fold_in(jax.random.key(int(seed)), keys.SAMPLE)
        fixed = None
        if asked is not None:
            draw = partial(self._first_steps, scale)
            own = jax.random.fold_in(key, GIVEN)
            fixed = conditions.given(draw, description.scaler, asked, own)
        if is_other:
            assert isinstance(length, int | np.integer)
            drawing = int(n), int(length), int(seed), temperature, known_NTW, not with_gaps, fixed
            x_NTD = continuing.longer(self.state, self.nets, description.scaler, *drawing)
            self._say_drift(x_NTD, length, say)
            return x_NTD
        block = block or partial(self._draw, scale=scale, complete=not with_gaps)
        blocks = [
            block(
                jax.random.fold_in(key, jnp.array(i)),
                None if fixed is None else conditions.rows(fixed, i * BLOCK, BLOCK),
                _block(known_NTW, i),
            )
            for i in range(-(-n // BLOCK))
        ]
        return description.scaler.inverse(np.concatenate(blocks)[:n].astype(np.float64))

    def check_gaps(self, with_gaps: bool) -> None:
        """Raise UsageError where gaps are asked for that there are not."""
        if with_gaps and not self.description.has_gaps:
            raise UsageError(
                "--with-gaps (with_gaps=True): no value was missing where this model learned, so "
                "that its samples have no gaps. Leave it out."
            )

    def _draw(
        self,
        key: jax.Array,
        given: Given | None,
        known_BTW: jax.Array | None,
        scale: jax.Array,
        complete: bool = True,
    ) -> NDArray[np.float32]:
        """BLOCK samples in scaled units."""
        return np.asarray(
            loop.sample(
                self.state.best,
                self.state.policy_constants,
                key,
                scale,
                given,
                nets=self.nets,
                number=BLOCK,
                length=self.description.length,
                known_BTW=known_BTW,
                complete=complete,
            )
        )

    def _of_length(
        self,
        n: int,
        length: int | tuple[int, int],
        seed: int,
        scale: jax.Array,
        asked: list[tuple[statics.Condition, ...]] | None,
        placed: Places,
        complete: bool,
    ) -> NDArray[np.float64]:
        """`n` samples that end within the given lengths, by rejection; the first m are those of m.

        Of the law of all that is drawn, given the length: of what is known in advance and not
        given, and of static columns by their conditions.

        Raises UsageError where no such length was learned, DataError where they are too rare.
        """
        description = self.description
        least, most = length if isinstance(length, tuple) else (length, length)
        words = f"length {least}" + f" to {most}" * (most > least)
        if not 1 <= least <= most <= description.length:
            raise UsageError(
                f"{words}: sequences of training have 2 to {description.length} steps, and nothing "
                "was learned of others. Choose a length, or a range, within that."
            )
        key = jax.random.fold_in(jax.random.key(seed), keys.SAMPLE)
        rows_of: dict[tuple[statics.Condition, ...], list[int]] = {}
        for i, conditions_ in enumerate(asked or [()] * n):
            rows_of.setdefault(conditions_, []).append(i)
        found = np.empty((n, description.length, len(description.names)))
        for conditions_, rows in rows_of.items():
            own = key
            if conditions_:
                own = jax.random.fold_in(jax.random.fold_in(key, GIVEN), rows[0])

            def block(i: int, own: jax.Array = own, conditions_: Any = conditions_) -> Array:
                known = _block(places.of_block(description, placed, BLOCK, seed, i), 0)
                of_block = jax.random.fold_in(own, jnp.array(i))
                return self._block_given(of_block, scale, conditions_, known, complete)

            found[rows] = _accepted(block, len(rows), least, most, words)
        return found

    def _block_given(
        self,
        key: jax.Array,
        scale: jax.Array,
        conditions_: tuple[statics.Condition, ...],
        known_NTW: jax.Array | None,
        complete: bool,
    ) -> Array:
        """BLOCK samples in units of the data, their static columns by the same conditions."""
        fixed, scaler = None, self.description.scaler
        if conditions_:
            first, own = partial(self._first_steps, scale), jax.random.fold_in(key, GIVEN)
            fixed = conditions.given(first, scaler, [conditions_] * BLOCK, own)
        z_NTK = self._draw(key, fixed, known_NTW, scale, complete)
        return scaler.inverse(z_NTK.astype(np.float64))

    def futures(
        self,
        n: int | None,
        given: History,
        length: Length = None,
        seed: int = 0,
        temperature: float = 1.0,
        say: Callable[[str], None] = warnings.warn,
        known: Any = None,
        with_gaps: bool = False,
    ) -> NDArray[np.float64]:
        """`n` futures of each sequence of a history that is read, [N, n, length, D] float64.

        See `sample`. Raises UsageError, and DataError where the history breaks what was learned.
        """
        description, data = self.description, self.data
        check_draw(n, seed, length)
        assert n is not None
        _temperature(temperature)
        longest = int(given.ends.lengths_N.max())
        left = description.length - longest
        if isinstance(length, tuple):
            raise UsageError(
                f"length {length}: a range has no meaning with after. Give one number."
            )
        length = None if length is None else int(length)
        what = f"{given.shown}: {longest} steps"
        if description.scaler.ends:
            if left < 1:
                raise history.no_rows(what, description.length)
            left = description.length - int(given.ends.lengths_N.min())
            length, notes = min(left, length or left), tuple[str, ...]()
        else:
            if length is None:
                length = max(left, 1) if description.windows is False else description.length
            what += f" and {length} after them"
            notes = description.check_length(longest + length, what)
        limits = bounds.of_columns(data.log, data.bounds, description.names)
        checked = history.check(given, description.scaler, description.names, limits)
        for note in (*notes, *given.notes, *checked):
            say(note)
        after = places.known_after(description, given, length, known)
        most = description.length
        drawing = int(n), length, int(seed), temperature, after, most, not with_gaps
        x_NMTD = continuing.futures(self.state, self.nets, description.scaler, given, *drawing)
        if description.scaler.ends:
            return x_NMTD
        self._say_drift(x_NMTD.reshape(-1, *x_NMTD.shape[2:]), longest + length, say)
        return x_NMTD

    def read_history(self, after: Any, given: Any) -> History:
        if given is not None:
            raise UsageError(
                "given has no meaning with after: what is gone on from says what is constant in "
                "it. Leave one out."
            )
        description = self.description
        return history.of_python(
            after, description.names, description.form, self.data, *description.absent
        )

    def _say_drift(self, x_LTD: Array, steps: int, say: Callable[[str], None]) -> None:
        description = self.description
        if steps <= description.length:
            return
        columns = description.columns
        how: tuple[Any, ...] = ()
        if columns is not None:
            layout = columns.layout
            how = layout.rates, (layout.season, layout.season_rate)
        if words := continuing.drift(self.state, description.scaler, description.form, x_LTD, *how):
            say(words)

    def _asked(self, given: Any, n: int | None) -> list[tuple[statics.Condition, ...]]:
        """The conditions of each of n sequences."""
        about = self.description
        columns = statics.StaticColumns(about.names, about.scaler, about.form, about.statics)
        if not hasattr(given, "iloc"):
            if not isinstance(n, int | np.integer) or n < 1:
                raise UsageError(f"n must be a whole number of at least 1, not {n!r}.")
            return [columns.conditions(given)] * int(n)
        asked = columns.of_frame(given)
        if n is not None and n != len(asked):
            raise UsageError(
                f"n is {n!r}, and given has {len(asked)} rows, one for each sequence. Leave n out."
            )
        return asked

    def _first_steps(
        self, scale: jax.Array, key: jax.Array, given: Given
    ) -> tuple[jax.Array, jax.Array]:
        known_NTW = places.of_samples(self.description, len(given.x)).known_NTW
        known = None if known_NTW is None else jnp.asarray(known_NTW[:, 0])
        return loop.first_steps(
            self.state.best,
            self.state.policy_constants,
            key,
            scale,
            given,
            known,
            nets=self.nets,
        )

    def log_prob(
        self,
        x_NTD: NDArray[np.float64],
        temperature: float = 1.0,
        known_NTW: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """log p of an array in data units, [N] nats, by what is known of its steps.

        Where a sequence does not show at which steps readings are, over all that could be.
        """
        scaler = self.description.scaler
        if scaler.rules and scaler.clocks:
            at_R, y_RTE = scaler.rules.every(x_NTD)
            inner = replace(scaler, rules=None)
            known_RTW = None if known_NTW is None else known_NTW[at_R]
            log_p = self._log_prob(inner, y_RTE, temperature, known_RTW)
            starts = np.flatnonzero(np.diff(at_R, prepend=-1))
            return np.where(scaler.matches(x_NTD), np.logaddexp.reduceat(log_p, starts), -np.inf)
        return self._log_prob(scaler, x_NTD, temperature, known_NTW)

    def _log_prob(
        self,
        scaler: Scaler,
        x_NTD: NDArray[np.float64],
        temperature: float,
        known_NTW: NDArray[np.float32] | None,
    ) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            rows = scaler.transform(x_NTD).astype(np.float32)
        possible = scaler.matches(x_NTD) & np.isfinite(rows).all(axis=(1, 2))
        rows[~possible] = 0.0
        scale = _temperature(temperature)
        values: list[NDArray[np.float64]] = []
        for i in range(0, len(rows), BLOCK):
            block = rows[i : i + BLOCK]
            padded = np.pad(block, ((0, BLOCK - len(block)), (0, 0), (0, 0)))
            batch = Batch.of(
                jnp.asarray(padded), _block(known_NTW, i // BLOCK), self.description.scaler.end
            )
            logs = _log_prob(
                self.state.best, self.state.policy_constants, batch, scale, nets=self.nets
            )
            found, is_density = (np.asarray(each)[: len(block)] for each in logs)
            slopes = scaler.log_derivative(x_NTD[i : i + BLOCK])
            values.append(found + np.sum(slopes * is_density, axis=(1, 2)))
        log_p = np.concatenate(values)
        return np.where(possible & ~np.isnan(log_p), log_p, -np.inf)


def _accepted(
    block: Callable[[int], Array], number: int, least: int, most: int, words: str
) -> Array:
    """The first `number` samples of blocks 0, 1, .. that have `least` to `most` steps.

    Raises DataError where they are too rare.
    """
    found: list[Array] = []
    drawn = accepted = 0
    while accepted < number:
        if drawn >= MOST_DRAWN[0] + MOST_DRAWN[1] * number:
            raise DataError(
                f"{words}: {accepted:,} of {drawn:,} samples have one (a share of "
                f"{accepted / drawn:.2g}), and {number:,} are asked for. Ask for a "
                "wider range or fewer samples."
            )
        x_NTD = block(drawn // BLOCK)
        steps_N = lengths.of(x_NTD)
        found.append(x_NTD[(steps_N >= least) & (steps_N <= most)])
        drawn, accepted = drawn + BLOCK, accepted + len(found[-1])
    return np.concatenate(found)[:number]


def _block(known_NTW: NDArray[np.float32] | None, i: int) -> jax.Array | None:
    """The i-th BLOCK of sequences' known, filled up with zeros."""
    if known_NTW is None:
        return None
    block = known_NTW[i * BLOCK : (i + 1) * BLOCK]
    return jnp.asarray(np.pad(block, ((0, BLOCK - len(block)), (0, 0), (0, 0))))


def _temperature(value: float) -> jax.Array:
    if not 0 < value < np.inf:
        raise UsageError(f"temperature must be above 0 and finite, not {value!r}.")
    return jnp.array(value, jnp.float32)


@partial(jax.jit, static_argnames="nets")
def _log_prob(
    params: Params,
    constants: Params,
    batch: Batch,
    temperature: jax.Array,
    *,
    nets: Networks,
) -> tuple[jax.Array, jax.Array]:
    """log pi of each sequence [B], nats, and which values have a density [B, T, D]."""
    policy = bind(nets.policy, params, constants)
    log_p = log_prob_of_sequences(policy, batch, temperature)
    return log_p, policy.is_density(batch.x)
