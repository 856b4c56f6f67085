"""Tokens on disk: the `.bin` shards of llm.c and modded-nanogpt, so that anybody's existing ones can be read.

A shard is 256 little-endian int32 (magic, version, number of tokens, zeros), then the tokens, little-endian. Magic and
version say whether a token has 16 bits or 32 (`FORMATS`). An end-of-text token stands before every document.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import field_validator

from ngptlab import disk
from ngptlab.config import Frozen
from ngptlab.data.tokens.tokenizer import token_dtype
from ngptlab.errors import DataError


class Format(NamedTuple):
    """How a shard begins, and how wide its tokens are."""

    magic: int
    version: int
    token_bytes: int


FORMATS = (Format(20240520, 1, 2), Format(20240801, 7, 4))
"""The formats of llm.c, for GPT-2's tokens and for Llama 3's."""
EVALUATION_MAGIC = 20240522
"""Magic number of llm.c's evaluations, such as `hellaswag_val.bin`, which hold questions and endings, not text."""
HEADER_BYTES = 256 * 4


class Shard(Frozen):
    """The record of one file."""

    file: str
    """Name within its folder."""
    sha256: str
    """SHA-256 of the whole file, header included, in hex."""
    bytes: int
    """Size of the whole file."""
    tokens: int
    """Number of tokens."""
    max_token: int
    """The largest token."""

    @field_validator("file")
    @classmethod
    def _is_a_name(cls, file: str) -> str:
        """Refuse a path, because a stranger's manifest may name a file outside of its folder."""
        if Path(file).name != file or not file.isprintable():
            raise ValueError("no name of a file")
        return file


def shard_format(vocab_size: int) -> Format:
    """The format in which the tokens of a vocabulary are stored: 16 bits where they fit."""
    return next(form for form in FORMATS if form.token_bytes == token_dtype(vocab_size).itemsize)


def header(form: Format, tokens: int) -> bytes:
    """The header of a shard of so many tokens."""
    numbers = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    numbers[:3] = form.magic, form.version, tokens
    return numbers.tobytes()


def is_evaluation(path: Path) -> bool:
    """Whether a file is one of llm.c's evaluations; false where it can't be read."""
    try:
        with disk.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            numbers = np.frombuffer(file.read(HEADER_BYTES), dtype="<i4", count=4)
    except (OSError, ValueError):  # too short is no evaluation, either
        return False
    # One wrong bit turns a shard's magic number into this one. Such a damaged shard is known by its length, and not passed over.
    lengths = [HEADER_BYTES + form.token_bytes * int(numbers[2]) for form in FORMATS]
    return bool(numbers[0] == EVALUATION_MAGIC and numbers[3] > 0) and size not in lengths


def file_sha256(path: Path) -> str:
    """SHA-256 of a regular file, in hex."""
    with disk.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_format(path: Path, raw: bytes, size: int) -> Format:
    """The format of a file of `size` bytes that begins with `raw`.

    Raises:
        DataError: it is no shard, or its length is not what its header says.
    """
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path}: truncated, {size} bytes are less than a shard's header of {HEADER_BYTES}")
    magic, version, tokens = (int(value) for value in np.frombuffer(raw, dtype="<i4")[:3])
    form = next((form for form in FORMATS if form.magic == magic), None)
    if form is None:
        hint = " (that of llm.c's evaluations, which are no text)" if magic == EVALUATION_MAGIC else ""
        read = " or ".join(f"{form.magic} ({8 * form.token_bytes} bits a token)" for form in FORMATS)
        raise DataError(
            f"{path}: not a shard, wrong magic number {magic}{hint}; a .bin shard of tokens begins with {read}, "
            "and nanoGPT's .bin has no header"
        )
    if version != form.version:
        raise DataError(
            f"{path}: shard of version {version}, with magic number {magic} only version {form.version} can be read; "
            "make it again"
        )
    expected = HEADER_BYTES + form.token_bytes * tokens
    if size != expected:
        damage = "truncated" if size < expected else "longer than its header says"
        raise DataError(
            f"{path}: {damage}, {size} bytes where {tokens} tokens take {expected}; make or fetch it again"
        )
    return form
