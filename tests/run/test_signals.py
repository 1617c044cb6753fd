"""Signals: the first is noted and ends the process soon, the second ends it at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from seqgan_jax.run import signals

WAITS = """
import sys, threading, time
from seqgan_jax.run import signals
signals.GRACE = float(sys.argv[1])
with signals.listening("seqgan train --resume") as stop:
    print("ready", flush=True)
    if sys.argv[2] == "looks":
        while not stop:
            time.sleep(0.01)
        sys.exit(stop[0])
    threading.Lock().acquire() or time.sleep(100)
    time.sleep(100)
"""


def start(grace, kind):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(grace), kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_run_that_looks_sees_the_number(number):
    process = start(60, "looks")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == number
    assert "Traceback" not in said


def test_listening_ends_when_what_it_says_is_said(monkeypatch):
    said = []

    def slowly(text):
        time.sleep(0.3)
        said.append(text)

    monkeypatch.setattr(signals, "_say", slowly)
    with signals.listening("again") as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        while not stop:
            time.sleep(0.001)
    assert len(said) == 1  # a thread that still writes would abort an interpreter that ends
    assert not any(thread.daemon for thread in threading.enumerate() if "watch" in thread.name)


@pytest.mark.parametrize("number", signals.NUMBERS)
def test_a_run_that_does_not_look_ends_anyway_and_says_how_to_go_on(number):
    process = start(0.3, "sleeps")
    started = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert 0.3 <= time.monotonic() - started < 10
    assert process.returncode == 128 + number
    assert signal.Signals(number).name in said
    assert "Go on with: seqgan train --resume\n" in said
    assert "Traceback" not in said


def test_a_second_signal_ends_it_at_once():
    process = start(60, "sleeps")
    process.send_signal(signal.SIGTERM)
    assert "again to stop at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    assert said == ""


def test_the_end_shows_the_cursor_of_a_terminal_and_of_nothing_else(monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(signals.os, "_exit", ended.append)
    signals._end(143)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    signals._end(130)
    assert capsys.readouterr().out == "\x1b[?25h"
    assert ended == [143, 130]


def test_other_signals_are_not_ours():
    reader, writer = os.pipe()
    os.write(writer, bytes([signal.SIGCHLD, signal.SIGTERM]))
    assert signals._next(reader) == signal.SIGTERM
    os.write(writer, bytes([signal.SIGWINCH]))
    os.close(writer)
    assert signals._next(reader) == 0  # listening has ended
    os.close(reader)


def test_afterwards_the_handlers_are_as_before():
    before = [signal.getsignal(number) for number in signals.NUMBERS]
    with signals.listening("") as stop:
        assert [signal.getsignal(number) for number in signals.NUMBERS] != before
    assert stop == []
    assert [signal.getsignal(number) for number in signals.NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_the_end_comes_well_before_ten_seconds():
    assert 1 <= signals.GRACE <= 8
