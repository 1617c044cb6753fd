"""SIGINT, SIGTERM, SIGHUP: the run ends at the next chunk border, or soon where that is far away.

Python runs a handler only when its main thread comes back from compiled code, and compiling takes
long. So a thread reads the wakeup descriptor, into which the interpreter writes at once.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
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
    os.set_blocking(writer, False)

    def watch() -> None:
        number = _next(reader, None)
        if number:
            stop.append(number)
            _say("stopping at the end of this chunk; again to stop at once")
            second = _next(reader, GRACE)
            if second is None:
                _say(
                    f"stopped by {signal.Signals(number).name} without waiting for the end of the "
                    f"chunk: what was saved last is good. Go on with: {again}"
                )
                _end(128 + number)
            elif second:
                _end(128 + second)
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


def _next(reader: int, seconds: float | None) -> int | None:
    """The next signal of ours, 0 where listening has ended, None where `seconds` have passed."""
    while select.select([reader], [], [], seconds)[0]:
        number = (os.read(reader, 1) or b"\0")[0]
        if not number or number in NUMBERS:
            return number
    return None


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _end(code: int) -> None:
    with suppress(OSError, ValueError):
        if sys.stdout.isatty():
            print("\x1b[?25h", end="")  # the cursor, which a progress bar hides
        sys.stdout.flush()
    os._exit(code)
