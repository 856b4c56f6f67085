"""The one place that reads `torch.save` files: tensors, numbers and texts in dicts and lists, never code.

torch reads such a file by an unpickler that makes tensors, arrays and containers only; whatever else a file asks for is
refused before it is made. There is no way around it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ngptlab.errors import CheckpointError

# NVIDIA's checkpoints also hold the state of numpy's generator, a plain array of integers. What makes arrays has had two
# paths in numpy.
_reconstruct = np.empty(0).__reduce__()[0]
ARRAYS: list[Any] = [
    (_reconstruct, "numpy._core.multiarray._reconstruct"),
    (_reconstruct, "numpy.core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    np.dtypes.UInt32DType,
]


def read_pickled(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU.

    Raises:
        CheckpointError: it can't be read, or holds anything but tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals(ARRAYS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's own errors too, of a module that nothing here imports
        reason = " ".join(str(error).split()).partition(" Please file an issue")[0][:300]
        raise CheckpointError(
            f"{path}: damaged, or holds more than tensors and plain values, none of which was made ({reason})"
        ) from None
