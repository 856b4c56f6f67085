"""Which split a document is in: a rule of its content alone.

u is the first 8 bytes of the document's SHA-256, as a fraction of 2**64.

    u < val_share                            val
    u < val_share + long_share, long enough  long
    else                                     train

So adding documents moves no other document between splits. In a small corpus the rule alone may leave a split empty.
Therefore the document of smallest u is always val, and the document of largest u always train. Where there are documents
enough, the rule alone puts them there.
"""

from __future__ import annotations

from ngptlab.config import Frozen
from ngptlab.errors import DataError


class Extremes(Frozen):
    """The documents of smallest and of largest hash. Hashes are in the same order as their u."""

    smallest: str
    """Smallest SHA-256 of a document, in hex."""
    largest: str
    """Largest SHA-256 of a document, in hex."""
    smallest_tokens: int
    """Tokens of the document of smallest hash, without its end-of-text."""
    largest_tokens: int
    """Tokens of the document of largest hash, without its end-of-text."""

    @classmethod
    def of(cls, digest: bytes, num_tokens: int) -> Extremes:
        """The extremes of a single document."""
        return cls(
            smallest=digest.hex(), largest=digest.hex(), smallest_tokens=num_tokens, largest_tokens=num_tokens
        )

    @property
    def single(self) -> bool:
        """Whether there is one document only."""
        return self.smallest == self.largest

    def including(self, digest: bytes, num_tokens: int) -> Extremes:
        """The extremes of these documents and one more."""
        name = digest.hex()
        changes: dict[str, object] = {}
        if name < self.smallest:
            changes |= {"smallest": name, "smallest_tokens": num_tokens}
        if name > self.largest:
            changes |= {"largest": name, "largest_tokens": num_tokens}
        return self.model_copy(update=changes) if changes else self


class SplitRule(Frozen):
    """The fractions of documents that go to each split."""

    val_share: float
    """Fraction of documents kept for validation."""
    long_share: float
    """Fraction of documents, among those long enough, kept for the length evaluation."""
    long_min_tokens: int
    """Fewest tokens of a document that is long enough."""
    held_out: str = ""
    """SHA-256, in hex, of the one document that is val where a text was cut in two (cut_document.py); the other is train."""

    def place(self, digest: bytes, num_tokens: int, extremes: Extremes | None = None) -> str:
        """The split of a document. Without `extremes`, the rule alone decides."""
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
        """Whether the rule alone puts the document of smallest hash into val and the document of largest hash into train."""
        smallest, largest = bytes.fromhex(extremes.smallest), bytes.fromhex(extremes.largest)
        return (
            self.place(smallest, extremes.smallest_tokens) == "val"
            and self.place(largest, extremes.largest_tokens) == "train"
        )


def check_two_documents(found: Extremes | None, label: str) -> Extremes:
    """The extremes of a source that has documents for both splits.

    Raises:
        DataError: it has fewer than two distinct documents.
    """
    if not found:
        raise DataError(f"{label}: an empty corpus, no document in it has any text; give other text")
    if found.single:
        raise DataError(
            f"{label}: holds one document (exact copies count once), which is too short to be cut into training and validation, "
            "or is prepared over several machines, which cut none; give more text, or several files or lines"
        )
    return found
