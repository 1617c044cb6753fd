"""SIGINT, SIGTERM, SIGHUP: the run ends at the next chunk border, or soon where that is far away.

Python runs a handler only when its main thread comes back from compiled code, and compiling takes
long. So a thread reads the wakeup descriptor, into which the interpreter writes at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# Windows knows no SIGHUP.
NUMBERS = tuple(n for n in signal.Signals if n.name in ("SIGINT", "SIGTERM", "SIGHUP"))
GRACE = 6.0  # seconds from a signal to the end, where no chunk ends before


@contextmanager
def listening(again: str) -> Iterator[list[int]]:
    """Catch the signals; the list fills with their numbers, and a run looks at it between chunks.

    First signal: a word on standard error; the process ends after `GRACE` seconds if it has not
    ended by itself, since its last checkpoint is good whatever it is doing. Second: at once. The
    exit code is 128 + number; `again` is the command that goes on. For the main thread only.
    """
    stop: list[int] = []
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows has it from Python 3.12 on
        os.set_blocking(writer, False)

    def watch() -> None:
        if number := _next(reader):
            stop.append(number)
            _say("stopping at the end of this chunk; again to stop at once")
            timer = threading.Timer(GRACE, _give_up, (number, again))
            timer.start()
            if second := _next(reader):
                _end(128 + second)
            timer.cancel()
            timer.join()
        os.close(reader)

    before = [signal.signal(number, lambda *_: None) for number in NUMBERS]
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in zip(NUMBERS, before, strict=True):
            signal.signal(number, handler)
        os.close(writer)
        # It may be writing: an interpreter that ends meanwhile aborts (exit code 134).
        watching.join(timeout=1.0)


def _next(reader: int) -> int:
    """The next signal of ours; 0 where listening has ended."""
    while (number := (os.read(reader, 1) or b"\0")[0]) and number not in NUMBERS:
        pass
    return number


def _give_up(number: int, again: str) -> None:
    _say(
        f"stopped by {signal.Signals(number).name} without waiting for the end of the chunk: what "
        f"was saved last is good. Go on with: {again}"
    )
    _end(128 + number)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _end(code: int) -> None:
    with suppress(OSError, ValueError):
        if sys.stdout.isatty():
            print("\x1b[?25h", end="")  # the cursor, which a progress bar hides
        sys.stdout.flush()
    os._exit(code)
