"""The one place that reads `torch.save` files: tensors, numbers and texts in dicts and lists, and records, never code.

torch reads such a file by an unpickler that makes tensors, arrays and containers only, and looks no name up. A trainer's
checkpoint often holds an object of a class of its own besides, as its model's config. Here such an object becomes a `Record`
of the same fields: its class is neither looked for nor imported. An object that can be made by a call only, or in a way of
its own, is refused and named. No option changes that.
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
# numpy's numbers. The function that makes them has had two paths in numpy.
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
"""Unknown names in a file; a whole pickled model has some dozens."""
SHOWN = 100
"""Characters of a stranger's text in a message."""


class Refused(Exception):
    """What a file asks for and does not get."""


class _Uncallable(type):
    """The class of classes that can't be called: what a pickle makes by calling is not made."""

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        raise Refused(f"{cls} would have to be called")

    def __repr__(cls) -> str:
        return shown(getattr(cls, "origin", ""))


class Record(metaclass=_Uncallable):
    """An object of an unknown class: what the file says it holds, and nothing that acts."""

    __slots__ = ("fields", "unnamed")
    origin: ClassVar[str] = ""
    """The class, by the name in the file."""
    fields: dict[str, Any]
    unnamed: tuple[Any, ...]
    """What its `__new__` would have been given, as for a named tuple."""

    def __new__(cls, *unnamed: Any) -> Self:
        """What a pickle's NEWOBJ asks for; nothing else can make one."""
        made = super().__new__(cls)
        made.fields, made.unnamed = {}, unnamed
        return made

    def __setstate__(self, state: Any) -> None:
        """What a pickle's BUILD asks for: fields, or a pair of those in `__dict__` and those in `__slots__`."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            if part is None:
                continue
            if type(part) is not dict or not all(type(name) is str for name in part):
                raise Refused(f"{type(self)} keeps its state in a way of its own")
            self.fields.update(part)


def read_pickled(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU; objects of unknown classes are `Record`s.

    Raises:
        CheckpointError: it can't be read, or asks for more than is made here, which the message names.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror or error})") from None
    try:
        # torch warns of what it then refuses, and the error says it better.
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
    except Exception as error:  # pickle's own errors too, of a module that nothing here imports
        raise CheckpointError(
            f"{path}: damaged, or holds more than tensors and plain values, none of which was made ({_reason(error)})"
        ) from None


def shown(value: object, most: int = SHOWN) -> str:
    """A stranger's value as a message may have it: at most so many characters, in one line, none of them for control."""
    if isinstance(value, str):
        text = value if value.isprintable() else ascii(value)[1:-1]
    elif isinstance(value, int) and abs(value) >= 10**SHOWN:
        text = "a very large number"
    elif value is None or isinstance(value, bool | int | float):
        text = repr(value)
    else:  # never its repr: of lists inside of lists it can be as long as it likes
        text = f"a {type(value)!r}" if isinstance(value, Record) else f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."


def _check_archive(file: BinaryIO) -> None:
    """torch.save never compresses; a file that is compressed may unpack to any size."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise Refused("its entries would have to be uncompressed, and torch.save compresses none")
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise Refused("it is a program of TorchScript, which would have to be run")
    file.seek(0)


def _unknown_names(file: BinaryIO) -> list[str]:
    """Classes and functions that the file names and torch does not make, by their full names."""
    with torch.serialization.safe_globals(ARRAYS):
        try:
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
        except ValueError:  # no archive, or one of TorchScript: torch's reader says what is wrong
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
    """What torch says of a file, less its colours, and less its advice to read the file in another way."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).rpartition("WeightsUnpickler error:")[2]
    said = [
        part for part in text.split("\n\n") if not part.startswith(("Weights only load failed", "Check the"))
    ]
    said = [
        part.partition("Please ")[0].replace(" or types allowlisted via `add_safe_globals`", "")
        for part in said
    ]
    return shown(" ".join(" ".join(said).split()) or type(error).__name__, 300)
