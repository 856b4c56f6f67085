"""Which split a document is in: a rule of its content alone.

u is the first 8 bytes of the document's SHA-256, as a fraction of 2**64.

    u < val_share                            val
    u < val_share + long_share, long enough  long
    else                                     train

so adding documents moves no other between splits. In a small corpus this alone may leave a split empty; therefore the
document of smallest u is always val, that of largest u always train. Where there are documents enough for the shares,
the rule puts them there anyway.
"""

from __future__ import annotations

from ngptlab.config import Frozen
from ngptlab.errors import DataError


class Extremes(Frozen):
    """The distinct documents of smallest and of largest hash; a hash and its u are in the same order."""

    smallest: str
    """SHA-256 in hex."""
    largest: str
    """SHA-256 in hex."""
    smallest_tokens: int
    """Tokens of the document, without its end-of-text."""
    largest_tokens: int
    """Tokens of the document, without its end-of-text."""

    @classmethod
    def of(cls, digest: bytes, num_tokens: int) -> Extremes:
        """Those of one document."""
        return cls(
            smallest=digest.hex(), largest=digest.hex(), smallest_tokens=num_tokens, largest_tokens=num_tokens
        )

    @property
    def single(self) -> bool:
        """Whether there is one document only."""
        return self.smallest == self.largest

    def including(self, digest: bytes, num_tokens: int) -> Extremes:
        """Those of one document more."""
        name = digest.hex()
        changes: dict[str, object] = {}
        if name < self.smallest:
            changes |= {"smallest": name, "smallest_tokens": num_tokens}
        if name > self.largest:
            changes |= {"largest": name, "largest_tokens": num_tokens}
        return self.model_copy(update=changes) if changes else self


class SplitRule(Frozen):
    """The shares of the splits."""

    val_share: float
    """Share of documents kept for validation."""
    long_share: float
    """Share of documents, among those long enough, kept for the length evaluation."""
    long_min_tokens: int
    """Tokens from which a document is long enough."""
    held_out: str = ""
    """SHA-256, in hex, of the one document that is val where a text was cut in two (cut_document.py); the other is train."""

    def place(self, digest: bytes, num_tokens: int, extremes: Extremes | None = None) -> str:
        """The split of a document; without `extremes`, as if no split could be left empty."""
        if self.held_out:
            return "val" if digest.hex() == self.held_out else "train"
        if extremes and digest.hex() == extremes.smallest:
            return "val"
        if extremes and digest.hex() == extremes.largest:
            return "train"
        u = int.from_bytes(digest[:8], "big") / 2**64
        if u < self.val_share:
            return "val"
        return (
            "long" if u < self.val_share + self.long_share and num_tokens >= self.long_min_tokens else "train"
        )

    def fills(self, extremes: Extremes) -> bool:
        """Whether the shares alone put the extreme documents where they belong."""
        smallest, largest = bytes.fromhex(extremes.smallest), bytes.fromhex(extremes.largest)
        return (
            self.place(smallest, extremes.smallest_tokens) == "val"
            and self.place(largest, extremes.largest_tokens) == "train"
        )


def check_two_documents(found: Extremes | None, label: str) -> Extremes:
    """The extremes of a source that has documents for both splits.

    Raises:
        DataError: it has fewer than two different ones.
    """
    if not found:
        raise DataError(f"{label}: an empty corpus, no document in it has any text; give other text")
    if found.single:
        raise DataError(
            f"{label}: holds one document (exact copies count once), which is too short to be cut into training and validation, "
            "or is prepared over several machines, which cut none; give more text, or several files or lines"
        )
    return found
