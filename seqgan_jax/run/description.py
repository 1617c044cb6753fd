"""What a trained model knows of its data.

Shapes: N sequences, M futures of each, T steps, D columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqgan_jax.core.baseline import SLOW
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.data import history, layout, lengths, writing
from seqgan_jax.data.arrays import as_array
from seqgan_jax.data.form import TABLES, Form
from seqgan_jax.data.known import Known
from seqgan_jax.data.layout import Scaler
from seqgan_jax.data.statics import Statics
from seqgan_jax.errors import DataError

MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Description:
    """What a trained model knows of its data; stored beside the weights."""

    names: tuple[str, ...]  # D columns
    length: int  # T
    source: str
    scaler: Scaler
    counts: tuple[int, int, int]  # sequences in the training, validation and held-out parts
    form: Form | None = None  # of the input; None of simulators
    windows: bool | None = None  # of longer series; None: not known, of simulators and old models
    statics: Statics | None = None  # of the columns that are constant in each sequence
    known: Known | None = None  # what is known of each step in advance; None where nothing is

    @property
    def numbers(self) -> int:
        """Of one sequence, T D."""
        return self.length * len(self.names)

    @property
    def is_table(self) -> bool:
        """The data came with columns: samples are written as a table, too."""
        return self.form is not None and (self.form.source in TABLES or self.form.layout != "rows")

    @property
    def written_form(self) -> Form:
        """The form in which samples are written as a table."""
        return self.form or writing.plain_form(self.names)

    def as_written(self, x_NTD: NDArray[np.float64]) -> NDArray[np.float64]:
        """Samples with the decimals of the data, whole numbers whole, all within their bounds."""
        if self.form is None:
            return x_NTD
        return writing.rounded(
            x_NTD, self.form, [self.scaler.holds(d) for d in range(len(self.names))]
        )

    def futures_as_written(self, x_NMTD: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of futures [N, M, T, D]."""
        return self.as_written(x_NMTD.reshape(-1, *x_NMTD.shape[2:])).reshape(x_NMTD.shape)

    def save_sequences(
        self,
        path: Path,
        x_NTD: NDArray[np.float64],
        starts_N: NDArray[Any] | None = None,
        with_gaps: bool = False,
    ) -> None:
        """Write samples in the form of the data; see `writing.save_sequences`."""
        x_NTD, ends = self.as_written(x_NTD), self.scaler.ends
        writing.save_sequences(path, x_NTD, self.names, self.form, starts_N, with_gaps, ends)

    @property
    def rates(self) -> tuple[float, ...]:
        """Of the moving means in the linear baseline of mixed columns."""
        level = self.known.level if self.known is not None else 0.0
        return (*SLOW, level) if level else SLOW

    @property
    def absent(self) -> tuple[bool, bool, Known | None]:
        """What a history may lack, its end and values, and what it must have beside them."""
        return self.scaler.ends, self.has_gaps, self.known

    @property
    def has_gaps(self) -> bool:
        """Whether the data miss values that were learned around."""
        return any(self.scaler.may_miss_D)

    def steps(self, x_NTD: NDArray[np.float64]) -> float:
        """Steps of a sequence with a value in any column, on average."""
        if not (self.has_gaps or self.scaler.ends):
            return self.length
        return float(np.count_nonzero(~np.isnan(x_NTD).all(axis=2)) / len(x_NTD))

    def checked(self, x: ArrayLike) -> NDArray[np.float64]:
        """Sequences as an array [N, T, D]; DataError where they are not of this shape."""
        length, features, form = self.length, len(self.names), self.form
        if form and hasattr(x, "iloc") and hasattr(x, "columns"):
            x = writing.from_frame(x, form, length, self.scaler.ends)
        ends, has_gaps = self.scaler.ends, self.has_gaps
        array = as_array(layout.one_array(x), may_miss=ends or has_gaps)
        if ends and array.shape[1] < length:
            array = lengths.padded(list(array), length)
        gone = np.isnan(array)
        if ends:
            gone &= lengths.there(array)[..., None]
        for d, may_miss in enumerate(self.scaler.may_miss_D):
            if not may_miss and d < array.shape[2] and gone[..., d].any():
                raise DataError(
                    f"x: column {self.names[d]!r} misses values, and never did in training. "
                    "Fill them in, or leave those sequences out."
                )
        if array.shape[1:] != (length, features):
            wanted = f"[N, {length}, {features}]" + (f" or [N, {length}]" if features == 1 else "")
            raise DataError(
                f"x has shape {list(np.shape(x))}, the model was fitted on {wanted}. "
                "Give sequences of that length and number of columns."
            )
        return array

    def check_length(self, steps: int, what: str) -> tuple[str, ...]:
        """Notes on sequences of so many steps; UsageError where they go on after their end."""
        if steps <= self.length or self.windows:
            return ()
        if self.windows is False:
            raise history.no_rows(what, self.length)
        return (
            f"it is not known whether the {self.length} steps of a sequence in training are a "
            "window of a longer one: later steps are drawn as if they were",
        )

    def to_json(self) -> dict[str, Any]:
        """What a training state depends on, as stored in config.json; the form is beside it."""
        more = {} if self.statics is None else {"statics": self.statics.to_json()}
        more |= {} if self.known is None else {"known": self.known.to_json()}
        return more | {
            "data": {
                "names": list(self.names),
                "length": self.length,
                "features": len(self.names),
                "source": self.source,
                "counts": list(self.counts),
            },
            "scaler": self.scaler.to_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Inverse of `to_json`; raises KeyError, TypeError or ValueError on anything else."""
        data = content["data"]
        if not isinstance(data["names"], list) or len(data["names"]) > MOST_COLUMNS:
            raise ValueError(f"names must be a list of at most {MOST_COLUMNS}")
        names = tuple(str(name) for name in data["names"])
        scaler = Scaler.from_json(content["scaler"])
        train, validation, held_out = (int(count) for count in data["counts"])
        length = int(data["length"])
        if length < 2 or length > 1_000_000:
            raise ValueError("the length is impossible")
        if len(names) != scaler.num_columns:
            raise ValueError("there are not as many names as columns")
        counts = (train, validation, held_out)
        form = None if content.get("form") is None else Form.from_json(content["form"])
        if form and tuple(column.name for column in form.columns) != names:
            raise ValueError("the form of the data has other columns")
        windows = content.get("windows")
        if windows is not None and type(windows) is not bool:
            raise ValueError("windows must be true, false or null")
        stored = content.get("statics")
        of_statics = None if stored is None else Statics.from_json(stored)
        if of_statics and max(of_statics.columns) >= len(names):
            raise ValueError("a static column is none")
        stored = content.get("known")
        of_known = None if stored is None else Known.from_json(stored)
        if of_known and of_known.cycles and (form is None or form.time is None):
            raise ValueError("a calendar is known, and there is no time index")
        source = str(data["source"])
        return cls(names, length, source, scaler, counts, form, windows, of_statics, of_known)

    @property
    def columns(self) -> Columns | None:
        """What the learned columns are, where some are not plain continuous."""
        scaler, known = self.scaler, self.known
        width = known.width if known is not None and known.in_choices else 0
        kinds, rates = scaler.inner_kinds, self.rates
        season = (0, 1.0) if known is None else (known.season, known.season_rate)
        stays = self.statics is not None and self.statics.stays
        how = scaler.ends, width, rates, season, stays, scaler.clocks
        return support.of(kinds, scaler.scaled, scaler.affine, *how)
