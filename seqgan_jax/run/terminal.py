"""What a run says: a bar on a terminal or in a notebook, else lines, nothing with --quiet."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
BEAT_SECONDS = 10.0  # between two signs of life while compiling
NUMBERS = {
    "train_nll": "nll",
    "validation_nll": "validation",
    "dis_loss": "D loss",
    "dis_accuracy": "D accuracy",
    "reward": "reward",
}
# What fits into 80 columns beside a bar.
BAR_NUMBERS = {"validation_nll": "nll", "dis_accuracy": "D", "reward": "reward"}


class Display:
    """Progress of the phases: one bar where there is a place for one, else a line every 5 s."""

    def __init__(self, titles: dict[str, str], units: dict[str, str], quiet: bool) -> None:
        self._titles, self._units, self._quiet = titles, units, quiet
        self._console = Console(highlight=False)
        self._cell = NotebookBar() if self._console.is_jupyter and not quiet else None
        self._plain = quiet or not self._console.is_terminal
        self._bar = Progress(disable=True)
        self._last_line = 0.0
        self._started: tuple[float, int] | None = None
        self._compiled = threading.Event()

    @property
    def is_watched(self) -> bool:
        """Whether it is shown at a terminal or in a notebook."""
        return not self._plain or self._cell is not None

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._quiet:
            return
        text = printable_lines(text)  # paths and names are other people's
        if self._plain:
            print(text, flush=True)
        else:
            self._console.print(text, markup=False, soft_wrap=True)

    def compiling(self, phase: str) -> None:
        """Compilation begins: say so, and give signs of life until it ends."""
        self._compiled = threading.Event()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=self._plain,
        )
        title = self._titles[phase]
        if self._cell is not None:
            self._cell.show(f"{title}: compiling")
        self._bar.add_task(f"{title}: compiling", total=None, numbers="")
        self._bar.start()
        if self._plain and self._cell is None:
            self.say(f"{title}: compiling ...")
            threading.Thread(target=self._beat, args=(title, self._compiled), daemon=True).start()

    def _beat(self, title: str, over: threading.Event) -> None:
        started = time.monotonic()
        while not over.wait(BEAT_SECONDS):
            self.say(f"{title}: still compiling, {time.monotonic() - started:.0f} s so far")

    def compiled(self, phase: str, seconds: float) -> None:
        """Compilation ended."""
        self._compiled.set()
        self._started = None
        self._last_line = time.monotonic()
        self._update(description=self._titles[phase])
        self.say(f"{self._titles[phase]}: compiled in {seconds:.1f} s")

    def progress(self, phase: str, done: int, total: int, row: dict[str, Any]) -> None:
        """A chunk ended; `row` are the metrics of its last unit."""
        now = time.monotonic()
        self._update(completed=done, total=total, numbers=_numbers(row, BAR_NUMBERS, 2))
        where = f"{self._titles[phase]}: {self._units[phase]} {done}/{total}"
        if self._cell is not None:
            self._cell.show(f"{where}  {_numbers(row)}", done / total)
            return
        since, first = self._started = self._started or (now, done)
        if self._plain and (now - self._last_line >= LINE_SECONDS or done == total):
            self._last_line, left = now, ""
            if first < done < total:
                seconds = (total - done) * (now - since) / (done - first)
                left = f", at most {seconds:.0f} s left"
            self.say(f"{where}  {_numbers(row)}{left}")

    def phase_ended(self, phase: str, done: int, note: str, row: dict[str, Any]) -> None:
        """A phase is over: take the bar away and leave one line."""
        self.close()
        text = f"{self._titles[phase]}: done, {done} {self._units[phase]}{'s' * (done != 1)}"
        self.say(text + (f" ({note})" if note else "") + f"  {_numbers(row)}")

    def close(self) -> None:
        """Take the bar away and stop the signs of life."""
        self._compiled.set()
        self._bar.stop()
        if self._cell is not None:
            self._cell.close()

    def _update(self, **values: Any) -> None:
        for task in self._bar.task_ids:
            self._bar.update(task, **values)


class NotebookBar:
    """A bar under a cell of a notebook, as every notebook can show it."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str, share: float | None = None) -> None:
        """The bar at this share; without one, work whose end is not known."""
        import html

        from IPython.display import HTML, display

        value = "" if share is None else f' value="{share:.4f}"'
        shown = HTML(f"<progress{value}></progress> {html.escape(printable_lines(text))}")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)

    def close(self) -> None:
        """Take the bar away."""
        if self._handle is not None:
            from IPython.display import HTML

            self._handle.update(HTML(""))
            self._handle = None


def _numbers(row: dict[str, Any], names: dict[str, str] = NUMBERS, digits: int = 4) -> str:
    return "  ".join(f"{text} {row[n]:.{digits}f}" for n, text in names.items() if n in row)


@contextmanager
def stages(quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """On standard error, stage and share done: one bar, or a line each 5 s and new stage."""
    console = Console(stderr=True, quiet=quiet)
    columns = BarColumn(30), TextColumn("{task.description}")
    last, written = "", 0.0
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)

        def report(what: str, share: float) -> None:
            nonlocal last, written
            bar.update(task, description=what, completed=share)
            now = time.monotonic()
            if bar.disable and not quiet and (what != last or now - written >= LINE_SECONDS):
                last, written = what, now
                warn(f"{share:4.0%} {what}")

        yield report


def warn(text: str) -> None:
    """A line on standard error."""
    print(printable_lines(text), file=sys.stderr, flush=True)
