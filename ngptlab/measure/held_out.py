"""The texts of every evaluation while training: validation windows and long documents, the same for each method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngptlab.config import RunConfig
from ngptlab.data.batches import documents_of_windows, fixed_windows
from ngptlab.data.corpus import Corpus, long_document_tokens
from ngptlab.data.shards.given_folder import more_tokens
from ngptlab.data.shards.token_bytes import token_bytes
from ngptlab.errors import DataError
from ngptlab.measure.length.measure import long_documents


@dataclass(frozen=True)
class HeldOut:
    """The fixed texts of every evaluation."""

    inputs_NT: NDArray[np.int64]
    targets_NT: NDArray[np.int64]
    target_bytes: int
    """UTF-8 bytes of the targets' text."""
    of_document_NT: NDArray[np.int64]
    """The validation document of each target, by number."""
    documents_NT: NDArray[np.int64]
    """Long documents, one in each row."""


def hold_out(config: RunConfig, corpus: Corpus) -> HeldOut:
    """The validation windows and the long documents of a config.

    Raises:
        DataError: validation is shorter than a window or has no text in it; the tokenizer's file can't be read.
    """
    where: dict[str, Any] = {
        "context": config.train.context,
        "tokens": config.eval.val_tokens,
        "spread": config.eval.windows == "spread",
    }
    inputs_NT, targets_NT = fixed_windows(corpus.val, **where, remedy=more_tokens(config.data, "val"))
    of_document_NT = documents_of_windows(corpus.val, **where, end_of_text=corpus.end_of_text)
    target_bytes = token_bytes(config.data.tokenizer, corpus.manifest).of(inputs_NT, targets_NT)
    if not target_bytes:
        raise DataError(
            f"the {targets_NT.size} validation tokens that are measured stand for no text, so there are no bits per byte; "
            f"raise --eval.val-tokens, or give {more_tokens(config.data, 'val')}"
        )
    documents_NT = long_documents(
        corpus.long,
        end_of_text=corpus.end_of_text,
        tokens=long_document_tokens(config),
        limit=config.eval.length_documents,
    )
    return HeldOut(inputs_NT, targets_NT, target_bytes, of_document_NT, documents_NT)
