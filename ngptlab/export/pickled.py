"""Read files of `torch.save`, here only: tensors, numbers and texts in dicts and lists, and records, but never code.

torch reads such a file by an unpickler that makes only tensors, arrays and containers, and imports no name. A trainer's
checkpoint often also holds an object of its own class, such as its model's config. Here such an object becomes a `Record` of
the same fields, and its class is not imported. An object that needs a call, or restores its state in a way of its own, is
refused and named. No option changes that.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn, Self

import numpy as np
import torch

from ngptlab.disk import open_regular
from ngptlab.errors import CheckpointError

# NVIDIA's checkpoints also hold the state of numpy's generator, a plain array of integers, and others' a loss that is one of
# numpy's numbers. numpy has had two paths for the functions that make these.
_reconstruct = np.empty(0).__reduce__()[0]
_scalar = np.float64().__reduce__()[0]
ARRAYS: list[Any] = [
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "uint32", "float32", "float64")),
]
MOST_CLASSES = 200
"""Most unknown names in a file; a whole pickled model has some dozens."""
SHOWN = 100
"""Most characters of a stranger's text in a message."""


class Refused(Exception):
    """Raised where a file asks for an object that is not made."""


class _Uncallable(type):
    """Metaclass of classes that can't be called, so that a pickle can make no object by a call."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise Refused(f"{cls} would have to be called")

    def __repr__(cls) -> str:
        return shown(getattr(cls, "origin", ""))


class Record(metaclass=_Uncallable):
    """An object of an unknown class: the fields in the file, and no behaviour."""

    __slots__ = ("fields", "unnamed")
    origin: ClassVar[str] = ""
    """Name of the class in the file."""
    fields: dict[str, Any]
    unnamed: tuple[Any, ...]
    """Arguments that its `__new__` would have had, as for a named tuple."""

    def __new__(cls, *unnamed: Any) -> Self:
        """Make a record for a pickle's NEWOBJ. Nothing else can make one."""
        made = super().__new__(cls)
        made.fields, made.unnamed = {}, unnamed
        return made

    def __setstate__(self, state: Any) -> None:
        """Take the state of a pickle's BUILD: fields, or a pair of those in `__dict__` and those in `__slots__`."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if part is None:
                continue
            if type(part) is not dict or not all(type(name) is str for name in part):
                raise Refused(f"{type(self)} keeps its state in a way of its own")
            self.fields.update(part)


def read_pickled(path: Path) -> Any:
    """The content of a `torch.save` file, on the CPU. Objects of unknown classes are `Record`s.

    Raises:
        CheckpointError: the file can't be read, or needs an object that is not made here. The message names it.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror or error})") from None
    try:
        # torch warns of names that it then refuses, and the error is clearer.
        with file, warnings.catch_warnings(action="ignore"):
            _check_archive(file)
            stand_ins = [(_stand_in(name), name) for name in _unknown_names(file)]
            with torch.serialization.safe_globals([*ARRAYS, *stand_ins]):
                return torch.load(file, map_location="cpu", weights_only=True)
    except Refused as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, plain values and records of them: {error}; nothing was. Save the state dict "
            "alone, as .safetensors or by torch.save"
        ) from None
    except Exception as error:  # also pickle's own errors, whose module is not imported here
        raise CheckpointError(
            f"{path}: damaged, or holds more than tensors and plain values, none of which was made ({_reason(error)})"
        ) from None


def shown(value: object, most: int = SHOWN) -> str:
    """A stranger's value for a message: in one line, of at most so many characters, without control characters."""
    if isinstance(value, str):
        text = value if value.isprintable() else ascii(value)[1:-1]
    elif isinstance(value, int) and abs(value) >= 10**SHOWN:
        text = "a very large number"
    elif value is None or isinstance(value, bool | int | float):
        text = repr(value)
    else:  # never its repr, because that of nested lists can have any length
        text = f"a {type(value)!r}" if isinstance(value, Record) else f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def _check_archive(file: BinaryIO) -> None:
    """Refuse a compressed file, which may unpack to any size. torch.save never compresses."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Refused("its entries would have to be uncompressed, and torch.save compresses none")
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise Refused("it is a program of TorchScript, which would have to be run")
    file.seek(0)


def _unknown_names(file: BinaryIO) -> list[str]:
    """Full names of classes and functions in the file that torch does not make."""
    with torch.serialization.safe_globals(ARRAYS):
        try:
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
        except ValueError:  # no archive, or one of TorchScript: torch's reader reports the error
            names = []
    if len(names) > MOST_CLASSES:
        raise Refused(f"{len(names)} unknown classes would have to be made, as {shown(names[0])}")
    file.seek(0)
    return names


def _stand_in(name: str) -> type[Record]:
    made = _Uncallable("Record", (Record,), {"__slots__": (), "origin": name})
    assert issubclass(made, Record)
    return made


def _reason(error: Exception) -> str:
    """torch's message on a file, without colours and without its advice to read the file in another way."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rpartition("WeightsUnpickler error:")[2]
    paragraphs = [
        part for part in text.split("\n\n") if not part.startswith(("Weights only load failed", "Check the"))
    ]
    paragraphs = [
        part.partition("Please ")[0].replace(" or types allowlisted via `add_safe_globals`", "")
        for part in paragraphs
    ]
    return shown(" ".join(" ".join(paragraphs).split()) or type(error).__name__, 300)
