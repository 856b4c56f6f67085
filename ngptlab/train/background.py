"""One piece of work at a time beside the training: a thread that writes a checkpoint while the next steps are made.

A thread, because what it does waits for the system and for sums over bytes. `write`, `fsync` and SHA-256 of more than 2 kB let
other threads have Python meanwhile (safetensors' `save` would not). A process would need the tensors once more, seconds to begin,
and a way for its errors; and one that outlives a killed training would write into a run that the next one holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class GivenUp(BaseException):
    """Ends the work where nobody waits for it any more. Never seen outside."""


class Background:
    """One piece of work at a time, done by a thread. An error that ends it is raised where its owner looks or waits next.

    As a context manager it ends with the work: when the block ends, nothing is under way. Where an error ends the block, that
    one is raised, and the work is done to its end all the same, as it would have been without a thread. Ctrl-C and what else is
    no `Exception` makes the work give up. Once more, and nobody waits for what it is doing at that moment.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._given_up = False

    def begin(self, work: Callable[[], object]) -> None:
        """Have a thread do `work`. Nothing else may be under way."""
        assert self._thread is None, "one at a time"
        thread = threading.Thread(target=self._do, args=(work,), name="ngptlab background")
        thread.start()
        self._thread = thread

    def look(self) -> None:
        """Raise the error of work that has ended with one. Waits for nothing."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is under way, for so many seconds at most; whether it has come to that.

        Raises:
            Exception: the error that the work has ended with.
        """
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                return False
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True

    def check_wanted(self) -> None:
        """To be called by the work, often: ends it where it is given up."""
        if self._given_up:
            raise GivenUp

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up = kind is not None and not issubclass(kind, Exception)
        try:
            self.wait()
        except Exception:
            if kind is None:
                raise
        except BaseException:  # Ctrl-C, once more
            self._given_up = True
            raise

    def _do(self, work: Callable[[], object]) -> None:
        try:
            work()
        except GivenUp:
            pass
        except BaseException as error:
            self._error = error
