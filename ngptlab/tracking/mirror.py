"""From a run's files to a tracker, as the lines come."""

from __future__ import annotations

from collections.abc import Callable

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
    sink.finish(run.summary)
    return last
