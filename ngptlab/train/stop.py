"""Ctrl-C and SIGTERM ask the loop to save and stop; a second Ctrl-C quits at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):
    """The run was stopped by a signal after saving. Not an error of anybody's."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}; saved")
        self.step = step
        self.exit_code = 128 + signal_number


class StopRequest:
    """Which signal asked for a stop; None while none did."""

    signal_number: int | None = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number


@contextmanager
def listen() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for a while. Outside the main thread signals are left alone."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # Handlers only set a flag: saving inside one could interrupt a save.
    before = {number: signal.signal(number, request._ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
