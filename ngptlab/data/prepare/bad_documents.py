"""Documents that can't be used: the first ends the preparation, or each is left out and counted."""

from __future__ import annotations

from collections.abc import Callable

from ngptlab.errors import DataError

SHOWN = 10
ADVICE = "or go on without such documents: `ngptlab data prepare ... --bad-documents skip`"

Note = Callable[[str], None]
"""Called with a line for the user."""


class BadDocuments:
    """Counts the documents of a source that can't be used.

    Args:
        skip: whether to go on without them.
        count: how many an earlier process has counted.
        note: called with a line about each of the first `SHOWN`.
    """

    def __init__(self, *, skip: bool, count: int = 0, note: Note | None = None) -> None:
        self.count = count
        """Number of documents left out, those of an earlier process included."""
        self._skip, self._note, self._shown = skip, note, 0

    def add(self, fault: str) -> None:
        """Count a document. `fault` names it and says what is wrong.

        Raises:
            DataError: such documents are not to be left out.
        """
        if not self._skip:
            raise DataError(f"{fault}; {ADVICE}")
        self.count += 1
        self._shown += 1
        if self._note and self._shown <= SHOWN:
            self._note(f"left out: {fault}")
            if self._shown == SHOWN:
                self._note("more documents that are left out are counted and not shown")
