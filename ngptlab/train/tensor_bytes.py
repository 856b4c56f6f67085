"""The bytes of a file of safetensors, piece by piece: those that the library's `save` gives at once, and so has in memory.

    8 bytes   the header's length, little-endian
    header    JSON {name: {dtype, shape, data_offsets: [from, to]}}, filled up with spaces to a multiple of 8
    tensors   one after the other, without gaps

The library's `save_file` needs no memory either, but it opens the file itself. Then an error has no number, so that a full disk
could not be told in the words of all others; the digest takes a second reading; and the tests that crash a save at each of its
calls see none of them. Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ngptlab.errors import CheckpointError

PIECE_BYTES = 1 << 20
"""So much is hashed and then written while it is in the processor's cache."""
ALIGNMENT = 8
NAMES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What the format calls a dtype. Tensors stand in this order, and those of one dtype in the order of their names."""
ORDER = {dtype: place for place, dtype in enumerate(NAMES)}


def num_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the file of these tensors.

    Raises:
        CheckpointError: as `pieces`.
    """
    return len(_header(tensors)) + sum(tensor.nbytes for tensor in tensors.values())


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The file's bytes. A tensor that is not in the CPU's memory is brought there when its turn comes, and then let go of.

    Raises:
        CheckpointError: a tensor's dtype is none of the format's.
    """
    yield _header(tensors)
    for name in _in_order(tensors):
        content = _bytes_of(tensors[name])
        for start in range(0, len(content), PIECE_BYTES):
            yield content[start : start + PIECE_BYTES]


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    for name, tensor in tensors.items():
        if tensor.dtype not in ORDER:
            raise CheckpointError(
                f"{name} is of {str(tensor.dtype).removeprefix('torch.')}, which a file of safetensors can't hold; keep it in "
                "another dtype"
            )
    return sorted(tensors, key=lambda name: (ORDER[tensors[name].dtype], name))


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries, end = {}, 0
    for name in _in_order(tensors):
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes in the order of its axes, without a copy where they lie so in the CPU's memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if sys.byteorder == "big":
        size = 4 if flat.dtype == torch.complex64 else flat.element_size()
        flat = flat.view(torch.uint8).view(-1, size).flip(1).reshape(-1)
    return flat.view(torch.uint8).numpy().data
