"""What becomes of a document that can't be used: it ends the preparation, or is left out and counted."""

from __future__ import annotations

from collections.abc import Callable

from ngptlab.errors import DataError

SHOWN = 10
ADVICE = "or go on without such documents: `ngptlab data prepare ... --bad-documents skip`"

Note = Callable[[str], None]
"""Called with a line for the user."""


class BadDocuments:
    """The documents of a source that can't be used, as they are met.

    Args:
        skip: whether to go on without them.
        note: is told of the first `SHOWN`.
    """

    def __init__(self, *, skip: bool, count: int = 0, note: Note | None = None) -> None:
        self.count = count
        """How many were met, those before this one was made included."""
        self._skip, self._note, self._shown = skip, note, 0

    def add(self, fault: str) -> None:
        """Meet one, of which `fault` says what it is and what is wrong.

        Raises:
            DataError: it isn't to be left out.
        """
        if not self._skip:
            raise DataError(f"{fault}; {ADVICE}")
        self.count += 1
        self._shown += 1
        if self._note and self._shown <= SHOWN:
            self._note(f"left out: {fault}")
            if self._shown == SHOWN:
                self._note("more documents that are left out are counted and not shown")
