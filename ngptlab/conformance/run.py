"""All checks of one method, one after the other, up to the first that it fails."""

from __future__ import annotations

from collections.abc import Callable

from ngptlab.conformance.checks import CHECKS, Broken
from ngptlab.errors import LabError
from ngptlab.method_files.running import blamed
from ngptlab.nn.decoder import Parts
from ngptlab.terminal import one_line


def check(parts: Parts, name: str, tell: Callable[[str], None] = lambda line: None) -> list[str]:
    """Hold a method against every check; returns the names of those that it passed, which are all.

    Raises:
        Broken: it fails one; says which, what is wrong, and what to mend.
    """
    for what, each in CHECKS.items():
        try:
            each(parts)
        except Broken as error:
            raise Broken(f"{name} fails '{what}': {error}") from None
        except (LabError, MemoryError):
            raise
        except Exception as error:
            # A part may be called otherwise than its author thought, and torch then says so, far from the part's own lines.
            said = blamed(error) or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise Broken(
                one_line(
                    f"{name} fails '{what}': {said}; a part does not fit its seam, see docs/add_a_method.md"
                )
            ) from None
        tell(f"{name}: {what}")
    return list(CHECKS)
