"""How threads of one operation wait for each other. Imports no torch.

torch's operations on a CPU run on libgomp. A thread of it that waits for another one spins for some milliseconds before it
sleeps. A model of a few layers has a thousand such waits a step. Where another program wants the core, the spinning takes
just what the thread that is waited for needs: a step of the demo on two threads became ten times as slow as on one.
"""

from __future__ import annotations

import os
import sys

SPINS = "1000"
"""Turns of the waiting loop before a thread sleeps, some microseconds."""
TOLD_BY = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def sleep_soon() -> None:
    """Let threads that wait sleep soon, here and in processes started from here, unless the environment says how they wait.

    libgomp reads this once, when torch is imported; later it changes nothing here.
    """
    if not any(name in os.environ for name in TOLD_BY) and "torch" not in sys.modules:
        os.environ["GOMP_SPINCOUNT"] = SPINS
