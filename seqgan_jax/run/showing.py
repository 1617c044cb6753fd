"""The listener that shows a training on the terminal or in a notebook, and writes nothing."""

from typing import Any

from seqgan_jax.core.batch import TrainState
from seqgan_jax.run import health, loop
from seqgan_jax.run.estimate import Estimate
from seqgan_jax.run.terminal import Display, warn


class Shown(loop.Silent):
    """Says how far the phases are, what they will take, and where samples collapse."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self._collapsed = False
        self._last: dict[str, Any] = {}

    def compiling(self, phase: str) -> None:
        self.display.compiling(phase)

    def compiled(self, phase: str, seconds: float) -> None:
        self.display.compiled(phase, seconds)

    def estimated(self, phase: str, estimate: Estimate) -> None:
        self.display.say(f"{loop.TITLES[phase]}: {estimate}")

    def progress(self, phase: str, done: int, total: int, rows: list[loop.Row]) -> None:
        self._last = rows[-1]
        spread = rows[-1].get("spread")
        if spread is not None and (spread < health.COLLAPSED) != self._collapsed:
            self._collapsed = not self._collapsed
            if self._collapsed:
                warn(
                    f"warning: {loop.TITLES[phase]}, {loop.UNITS[phase]} {done}: samples "
                    f"differ from each other only {spread:.2f} times as much as the data do "
                    "(collapse). A larger --anchor or smaller --gen-adv-lr works against it."
                )
        self.display.progress(phase, done, total, rows[-1])

    def looked(self, row: loop.Row, note: str) -> None:  # noqa: ARG002
        self.display.say(note)

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:
        self.display.phase_ended(phase, loop.done(state)[phase], note, self._last)


def listener(verbose: bool | None) -> loop.Listener:
    """What `fit` shows; by default where somebody looks on."""
    display = Display(loop.TITLES, loop.UNITS, quiet=verbose is False)
    return Shown(display) if verbose or display.is_watched else loop.Silent()
