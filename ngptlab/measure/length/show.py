"""The length evaluation as files and for the terminal: raw losses of one run, tables over several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngptlab.console import Console
from ngptlab.disk import replacing
from ngptlab.measure.length.figure import Measured, describe, draw
from ngptlab.stats.estimates import ci95, perplexity
from ngptlab.stats.tables import with_error, write_table


def write_raw(path: Path, losses_NT: NDArray[np.float64]) -> None:
    """Loss of every token of every document, in float32, as `losses_NT` of a compressed .npz.

    Read it with `numpy.load(path, allow_pickle=False)["losses_NT"]`.
    """
    with replacing(path) as file:
        np.savez_compressed(file, losses_NT=losses_NT.astype(np.float32))


def write_length(measured: Measured, out: Path) -> None:
    """Write length.csv and length.json, one row for each bin of a run, and the figure, into `out`."""
    rows = []
    for label, record in measured.items():
        for each, before in zip(record["bins"], record["up_to"], strict=True):
            rows.append(
                {
                    "run": label,
                    "step": record["step"],
                    **record.get("of", {}),
                    "documents": record["documents"],
                    "context": record["context"],
                    **each,
                    "up_to_loss_nats": before["loss_nats"],
                    "up_to_stderr_nats": before["stderr_nats"],
                    "up_to_perplexity": perplexity(before["loss_nats"]),
                }
            )
    write_table(out, "length", rows)
    draw(measured, out)


def print_length(label: str, record: Mapping[str, Any], console: Console) -> None:
    """Print a run's loss in its training context and in each octave after it."""
    how = describe(record)
    console.print(
        f"{label}  step {record['step']}  {record['documents']} documents{', ' + how if how else ''}; "
        "± 95% over them (Student's t), of this one run",
        markup=False,
    )
    for each in record["octaves"]:
        half = ci95(each["stderr_nats"], record["documents"]) if record["documents"] > 1 else None
        loss = with_error(f"{each['loss_nats']:.4f} nats", half)
        console.print(
            f"  {each['from']:>9,} to {each['to']:>9,}  {loss}",
            markup=False,
        )
