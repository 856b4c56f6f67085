"""What every measurement shares: a description of the machine, medians with quartiles, tables, JSON.

Results are meant to be published, so the description is an allowlist: no host name, no path, no environment.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles: on a shared machine a mean tells of the worst neighbour, not of the code."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self:
        """The spread of some values, rounded to what a timing can be trusted with."""
        low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), [0.25, 0.5, 0.75])
        return cls(*(float(f"{value:.5g}") for value in (middle, low, high)))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}..{self.high:.3f})"


def ratios(seconds: Floats, baseline: int = 0) -> list[Spread]:
    """Each column over the baseline's, turn by turn: what slows a whole turn cancels. Shape [turns, columns]."""
    return [Spread.of(column) for column in (seconds / seconds[:, [baseline]]).T]


def describe() -> dict[str, str | int]:
    """The machine, without its name."""
    described: dict[str, str | int] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns in line: the first to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def write(path: Path, rows: Sequence[Any], **more: Mapping[str, Any] | Sequence[Any] | str) -> None:
    """Rows (dataclasses or mappings) beside the machine that they were measured on, as JSON."""
    plain = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else row for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": describe(), **more, "rows": plain}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
