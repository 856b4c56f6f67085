"""A source whose only document is cut into training and validation by position, as people do with one long text.

The end of a text is not like its beginning, so this is a worse validation than that by document. It is what there is of one text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ngptlab.data.text.formats import Document
from ngptlab.data.text.sources import Source

NAMES = ("the beginning", "the end")
LINE_END, BLANK = "\n", " "


class CutDocument:
    """Two documents in place of one: all but the last share of its characters, then the rest.

    It is cut after the last line that is whole by then, or else after a word.

    Args:
        whole: the source, whose other documents were left out or are copies.
        digest: SHA-256 of the document, in hex.
        share: of the text that is for validation.

    Raises:
        ValueError: the text is too short to be cut into two different ones.
    """

    num_parts = 1

    def __init__(self, whole: Source, digest: str, share: float) -> None:
        self._whole = whole
        text = _only(whole, digest)
        place = _place(text, share)
        self._texts = text[:place], text[place:]
        first, last = (piece.strip() for piece in self._texts)
        if not first or not last or first == last:
            raise ValueError("too short to be cut in two")
        self._read = 0

    @property
    def label(self) -> str:
        """See `Source`."""
        return self._whole.label

    @property
    def held_out(self) -> bytes:
        """SHA-256 of the text that is for validation."""
        return hashlib.sha256(self._texts[1].encode()).digest()

    @property
    def sentence(self) -> str:
        """What became of the text, for people."""
        first, last = map(len, self._texts)
        return (
            f"{self.label} is one document, so it is cut by position: the first {first:,} characters are trained on, "
            f"the last {last:,} ({last / (first + last):.1%}) are for validation"
        )

    def fingerprint(self) -> str:
        """See `Source`."""
        return self._whole.fingerprint()

    def read(self, part: int) -> Iterator[Document]:
        """See `Source`."""
        for number, (name, text) in enumerate(zip(NAMES, self._texts, strict=True), start=1):
            self._read = number
            yield Document(name, text)

    def share_read(self) -> float:
        """See `Source`."""
        return self._read / len(NAMES)


def _only(source: Source, digest: str) -> str:
    """The text of that digest: others may stand before it that the tokenizer can't encode."""
    for part in range(source.num_parts):
        for document in source.read(part):
            if not document.fault and hashlib.sha256(document.text.encode()).hexdigest() == digest:
                return document.text
    return ""


def _place(text: str, share: float) -> int:
    """Where to cut: at most so far from the end that the validation text is half as long again as asked for."""
    wanted = round((1 - share) * len(text))
    first = max(1, round((1 - 1.5 * share) * len(text)))
    for after in (LINE_END, BLANK):
        if (found := text.rfind(after, first, wanted)) >= 0:
            return found + 1
    return wanted
