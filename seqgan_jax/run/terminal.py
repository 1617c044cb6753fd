"""What a run says on the terminal: a bar there, plain lines elsewhere, nothing with --quiet."""

import sys
import threading
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from seqgan_jax.data.files import printable_lines

LINE_SECONDS = 5.0  # between two progress lines where there is no terminal
# What fits into 80 columns beside a bar.
BAR_NUMBERS = {"validation_nll": "nll", "dis_accuracy": "D", "reward": "reward"}
BEAT_SECONDS = 10.0  # between two signs of life while compiling


class Display:
    """Progress of the phases. With a terminal: one bar; otherwise one plain line every 5 s."""

    def __init__(self, titles: dict[str, str], units: dict[str, str], quiet: bool) -> None:
        self._titles, self._units, self._quiet = titles, units, quiet
        self._console = Console(highlight=False)
        self._is_terminal = self._console.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._last_line = 0.0
        self._started: tuple[float, int] | None = None
        self._compiled = threading.Event()

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._quiet:
            return
        text = printable_lines(text)  # paths and names are other people's
        if self._is_terminal:
            self._console.print(text, markup=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def compiling(self, phase: str) -> None:
        """Compilation begins: say so, and give signs of life until it ends."""
        self._compiled = threading.Event()
        if self._is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True)),
                BarColumn(bar_width=10),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(
                f"{self._titles[phase]}: compiling", total=None, numbers=""
            )
            self._bar.start()
        else:
            self.say(f"{self._titles[phase]}: compiling ...")
            threading.Thread(target=self._beat, args=(phase, self._compiled), daemon=True).start()

    def _beat(self, phase: str, over: threading.Event) -> None:
        started = time.monotonic()
        while not over.wait(BEAT_SECONDS):
            waited = time.monotonic() - started
            self.say(f"{self._titles[phase]}: still compiling, {waited:.0f} s so far")

    def compiled(self, phase: str, seconds: float) -> None:
        """Compilation ended."""
        self._compiled.set()
        self._started = None
        self._last_line = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, description=self._titles[phase])
        self.say(f"{self._titles[phase]}: compiled in {seconds:.1f} s")

    def progress(self, phase: str, done: int, total: int, row: dict[str, Any]) -> None:
        """A chunk ended; `row` are the metrics of its last unit."""
        now = time.monotonic()
        numbers = _numbers(row)
        if self._bar is not None:
            short = [f"{text} {row[name]:.2f}" for name, text in BAR_NUMBERS.items() if name in row]
            self._bar.update(self._task, completed=done, total=total, numbers="  ".join(short))
            return
        if self._started is None:
            self._started = (now, done)
        if now - self._last_line >= LINE_SECONDS or done == total:
            self._last_line = now
            since, first = self._started
            left = ""
            if done > first and done < total:
                seconds = (total - done) * (now - since) / (done - first)
                left = f", at most {seconds:.0f} s left"
            self.say(f"{self._titles[phase]}: {self._units[phase]} {done}/{total}  {numbers}{left}")

    def phase_ended(self, phase: str, done: int, note: str, row: dict[str, Any]) -> None:
        """A phase is over: take the bar away and leave one line."""
        self.close()
        text = f"{self._titles[phase]}: done, {done} {self._units[phase]}{'s' * (done != 1)}"
        text = text.replace("refreshs", "refreshes")
        self.say(text + (f" ({note})" if note else "") + f"  {_numbers(row)}")

    def close(self) -> None:
        """Take the bar away and stop the signs of life."""
        self._compiled.set()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _numbers(row: dict[str, Any]) -> str:
    names = {
        "train_nll": "nll",
        "validation_nll": "validation",
        "dis_loss": "D loss",
        "dis_accuracy": "D accuracy",
        "reward": "reward",
    }
    return "  ".join(f"{text} {row[name]:.4f}" for name, text in names.items() if name in row)


def warn(text: str) -> None:
    """A line on standard error."""
    print(printable_lines(text), file=sys.stderr, flush=True)
