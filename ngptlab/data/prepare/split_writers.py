"""Writers of the splits: documents go in, shards and counts come out, and a state lets another process go on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ngptlab.config import Frozen
from ngptlab.data.shards.format import FORMATS, Format
from ngptlab.data.shards.manifest import SPLITS, Split
from ngptlab.data.shards.writer import ShardWriter, WriterState
from ngptlab.data.tokens.tokenizer import Tokens


class SplitState(Frozen):
    """How much of a split is on the disk."""

    writer: WriterState = WriterState()
    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0


class SplitWriters:
    """Writers of all splits of a folder. A context manager; shards and counts are complete after it.

    Shards in the folder that `states` doesn't list are deleted, so that none is left over from longer splits.

    Raises:
        DataError: a shard that `states` lists is missing, or isn't as it was written.
    """

    def __init__(self, folder: Path, states: Mapping[str, SplitState], *, form: Format = FORMATS[0]) -> None:
        self._writers = {
            name: _SplitWriter(folder, name, states.get(name) or SplitState(), form) for name in SPLITS
        }
        for writer in self._writers.values():  # only now: no writer has found damage in what `states` lists
            writer.delete_unlisted()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer.file)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, split: str, tokens: Tokens, text_bytes: int) -> None:
        """Append a document, its end-of-text first, to its split; `flush` writes it."""
        writer = self._writers[split]
        writer.pending.append(tokens)
        writer.documents += 1
        writer.tokens += len(tokens)
        writer.text_bytes += text_bytes

    def flush(self) -> None:
        """Write what was added: many documents at once, because a call costs more than a short document."""
        for writer in self._writers.values():
            if writer.pending:
                writer.file.write(np.concatenate(writer.pending))
                writer.pending.clear()

    def states(self) -> dict[str, SplitState]:
        """The state of each split. Everything that was flushed is on the disk when this returns."""
        return {name: writer.state() for name, writer in self._writers.items()}

    def splits(self) -> dict[str, Split]:
        """The records of the finished splits."""
        return {name: writer.split() for name, writer in self._writers.items()}

    @property
    def tokens(self) -> int:
        """Tokens of all splits."""
        return sum(writer.tokens for writer in self._writers.values())

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the text of all splits."""
        return sum(writer.text_bytes for writer in self._writers.values())


class _SplitWriter:
    def __init__(self, folder: Path, split: str, state: SplitState, form: Format) -> None:
        self.file = ShardWriter(folder, split, form=form, state=state.writer)
        listed = len(state.writer.shards) + (state.writer.tokens > 0)
        self._unlisted = sorted(folder.glob(f"{split}_{'[0-9]' * 6}.bin"))[listed:]
        self.documents, self.tokens, self.text_bytes = state.documents, state.tokens, state.text_bytes
        self.pending: list[Tokens] = []

    def delete_unlisted(self) -> None:
        """Delete the shards that were written after the state."""
        for path in self._unlisted:
            path.unlink()

    def state(self) -> SplitState:
        return SplitState(
            writer=self.file.state(),
            documents=self.documents,
            tokens=self.tokens,
            text_bytes=self.text_bytes,
        )

    def split(self) -> Split:
        shards = self.file.shards
        return Split(
            shards=tuple(shards),
            documents=self.documents,
            tokens=self.tokens,
            text_bytes=self.text_bytes,
            max_token=max((shard.max_token for shard in shards), default=0),
        )
