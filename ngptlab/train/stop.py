"""Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 ask the loop to save and stop; a second Ctrl-C quits at once.

A closed terminal sends SIGHUP, and Slurm sends what `--signal` names. A signal that is ignored (`nohup`) or handled otherwise
stays so. SIGINT and SIGTERM are caught all the same, because a script's shell makes its background processes ignore SIGINT.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """The run was stopped by a signal after saving. Not an error of anybody's."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; saved")
        self.signal_number, self.step = signal_number, step
        self.exit_code = 128 + signal_number


class Interrupted(KeyboardInterrupt):
    """A signal ended work that has nothing to save, as Ctrl-C does."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """Which signal asked for a stop; None while none did."""

    signal_number: int | None = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def listen() -> Iterator[StopRequest]:
    """Catch the signals of `STOPS` for a while. Outside the main thread signals are left alone."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # Handlers only set a flag: saving inside one could interrupt a save.
    with _handling([number for number in STOPS if _may_be_taken(number)], request._ask):
        yield request


@contextmanager
def interrupting() -> Iterator[None]:
    """Have the signals of `STOPS` raise `Interrupted` wherever nobody listens, so that a program says how it ended, and
    removes what it has half written. Python does so for SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handling([number for number in STOPS if signal.getsignal(number) is signal.SIG_DFL], _interrupt):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def _may_be_taken(number: int) -> bool:
    handler = signal.getsignal(number)
    ours = getattr(handler, "__func__", handler) in (_interrupt, StopRequest._ask)
    return number in (signal.SIGINT, signal.SIGTERM) or handler is signal.SIG_DFL or ours


@contextmanager
def _handling(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
