"""Contents that may do harm where they are read. Each is made by code; none lies in the repository."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard

Payload = Callable[[Path, Path], None]
"""Puts itself in place of a file that is there; the second path is the marker that it makes where it is run."""


class Touch:
    """What makes the marker when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def content(make: Callable[[Path], bytes | str]) -> Payload:
    """A file of this content."""

    def put(path: Path, marker: Path) -> None:
        made = make(marker)
        path.write_bytes(made if isinstance(made, bytes) else made.encode())

    return put


def fixed(made: bytes | str) -> Payload:
    return content(lambda _: made)


def instead(make: Callable[[Path], object]) -> Payload:
    """Something that is no regular file."""

    def put(path: Path, _: Path) -> None:
        path.unlink()
        make(path)

    return put


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # its path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def in_a_circle(path: Path) -> None:
    other = path.with_name("other_link")
    path.symlink_to(other.name)
    other.symlink_to(path.name)


def sparse(path: Path, _: Path) -> None:
    """One line of a GB, which takes no room on the disk."""
    path.write_bytes(b"")
    os.truncate(path, 1 << 30)


def torch_file(marker: Path) -> bytes:
    made = io.BytesIO()
    torch.save({"model": Touch(marker)}, made)
    return made.getvalue()


def old_torch_file(marker: Path) -> bytes:
    made = io.BytesIO()
    torch.save({"model": Touch(marker)}, made, _use_new_zipfile_serialization=False)
    return made.getvalue()


def npy(marker: Path) -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([Touch(marker)], dtype=object), allow_pickle=True)
    return made.getvalue()


def npy_header(text: str) -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(raw)) + raw


def npz_bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100 << 20))
    return made.getvalue()


def tensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of this header."""
    raw = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


def alias_bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines) + "\n"


ANYWHERE: dict[str, Payload] = {
    "a FIFO": instead(os.mkfifo),
    "/dev/zero": instead(lambda path: path.symlink_to("/dev/zero")),
    "links in a circle": instead(in_a_circle),
    "a folder": instead(Path.mkdir),
    "a socket": instead(a_socket),
    "a pickle": content(lambda marker: pickle.dumps(Touch(marker), protocol=2)),
    "a text pickle": content(lambda marker: pickle.dumps(Touch(marker), protocol=0)),
    "a torch file": content(torch_file),
    "an old torch file": content(old_torch_file),
    "an npy of objects": content(npy),
    "a line of a GB": sparse,
    "lists in lists": fixed("[" * 100_000),
    "lists in lists, closed": fixed("[" * 900 + "]" * 900),
    "100,000 keys": fixed(json.dumps({f"k{n}": n for n in range(100_000)})),
    "a number of a million digits": fixed("9" * 1_000_000),
    "a gzip bomb": fixed(gzip.compress(bytes(100 << 20))),
    "a zip bomb": fixed(npz_bomb()),
    "a zstd bomb": fixed(zstandard.compress(bytes(1 << 30))),
    "a YAML tag": content(lambda marker: f"!!python/object/apply:os.system ['touch {marker}']\n"),
    "YAML's aliases": fixed(alias_bomb()),
    "a safetensors header of 2^63": fixed(tensors({}, length=2**63)),
    "a shape that overflows": fixed(tensors(tensor([2**32, 2**32], 0, 0))),
    "a script": fixed("<script>fetch('https://example.org')</script>\n"),
    "escape sequences": fixed("\x1b]0;owned\x07\x1b[2J\x9b31m\n"),
    "no UTF-8": fixed(bytes(range(256))),
    "nothing": fixed(b""),
    "null": fixed("null"),
    "not finite": fixed('{"step": NaN, "loss_nats": Infinity}\n'),
    "blank lines": fixed(b"\n" * 50_000),
}
"""What is put in place of a file of any kind."""
