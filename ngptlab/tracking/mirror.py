"""From a run's files to a tracker, as the lines come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from ngptlab.disk import locked
from ngptlab.errors import ConfigError
from ngptlab.runs import Run
from ngptlab.tracking.sink import Sink
from ngptlab.tracking.steps import Steps


def mirror(run: Run, sink: Sink, over: Callable[[], bool]) -> int:
    """Hand on every step that the tracker lacks until `over`, which may wait, says that no more lines come.

    Returns the tracker's last step.
    """
    steps, last = Steps(run), sink.last_step()
    ended = False
    while not ended:
        ended = over()  # asked before the files are read, so that the last look sees all
        for step, numbers in steps.new(after=last):
            sink.log(step, numbers)
            last = step
        sink.flush()
    # Digests of the run's files mean nothing in a tracker.
    sink.finish({name: value for name, value in run.summary.items() if name != "streams"})
    return last


@contextlib.contextmanager
def alone(run: Run, tracker: str, *, wait: bool) -> Iterator[None]:
    """Be the only mirror of a run to a tracker: two that ask it where to go on would both hand on the same steps.

    A slow tracker may still be at the end of a training when the next one, or the verb `track`, takes the run up.

    Args:
        wait: whether to wait for the other's end, which its own alarm bounds.

    Raises:
        ConfigError: another one is at it, and `wait` is not set.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.path / f".{tracker}.lock", wait=wait))
        except BlockingIOError:
            raise ConfigError(
                f"{run.path}: a training that ended is still handing it on to {tracker}, for ten minutes at most; "
                "give the same command again then"
            ) from None
        yield
