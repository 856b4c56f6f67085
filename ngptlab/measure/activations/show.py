"""Activations of several runs as a table, a figure against depth, and a summary for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ngptlab.console import Console
from ngptlab.draw.panels import SMALL, Figure, after_steps, curve, depth_axis, legend, logarithmic, tiles
from ngptlab.draw.style import write
from ngptlab.listing import Listing
from ngptlab.stats.tables import Row, flat, write_table

Measured = Mapping[str, Mapping[str, Any]]
"""Label of a run -> the result of `measure.py`, with its step."""

PANELS = {
    "hidden_norm": "norm of the hidden state",
    "block_angle_degrees": "angle moved by the block (degrees)",
    "attn_angle_degrees": "angle moved by attention (degrees)",
    "mlp_angle_degrees": "angle moved by the MLP (degrees)",
    "attn_branch_norm": "norm of attention's output",
    "mlp_branch_norm": "norm of the MLP's output",
    "attn_update": "attention: |change| / |hidden state|",
    "mlp_update": "MLP: |change| / |hidden state|",
    "attn_entropy_nats": "entropy of attention (nats)",
}
"""Quantity -> its panel's title. The cosine of successive states is in the table; the angle says the same."""
LOGARITHMIC = {"hidden_norm", "attn_branch_norm", "mlp_branch_norm", "attn_update", "mlp_update"}
COLUMNS = 3


def write_activations(measured: Measured, out: Path) -> None:
    """Write activations as CSV and JSON, one row for each block and quantity, and the figure, into `out`."""
    write_table(
        out, "activations", [row for label, record in measured.items() for row in _rows(label, record)]
    )
    write(out, "activations", lambda: _figure(measured), style=SMALL)


def _rows(label: str, record: Mapping[str, Any]) -> list[Row]:
    """Rows of the table. The embeddings, which enter the first block, have no block of their own."""
    where = {"run": label, "step": record["step"]}
    rows = [{**where, "layer": None, "quantity": "hidden_norm", **flat(record["embedding_norm"])}]
    for block in record["blocks"]:
        spreads = [(quantity, spread) for quantity, spread in block.items() if quantity != "layer"]
        rows += [{**where, "layer": block["layer"], "quantity": q, **flat(spread)} for q, spread in spreads]
    return rows


def _figure(measured: Measured) -> Figure:
    figure, cells = tiles(len(PANELS), COLUMNS, _caption(measured))
    for axes, (quantity, title) in zip(cells, PANELS.items(), strict=True):
        for index, (label, record) in enumerate(measured.items()):
            layers = [block["layer"] for block in record["blocks"]]
            spreads = [block[quantity] for block in record["blocks"]]
            band = [s["q25"] for s in spreads], [s["q75"] for s in spreads]
            curve(axes, index, layers, [s["mean"] for s in spreads], band, label=label)
        axes.set_title(title)
        if quantity in LOGARITHMIC:
            logarithmic(axes, "y")
        depth_axis(axes, label=True)
    legend(figure)
    return figure


def _caption(measured: Measured) -> str:
    tokens = ", ".join(f"{count:,}" for count in sorted({record["tokens"] for record in measured.values()}))
    uniform = sorted({record["uniform_entropy_nats"] for record in measured.values()})
    return (
        f"Lines: mean over {tokens} positions of validation text; bands: from the 25th to the 75th percentile. Hidden states "
        "are those that leave the block; angles are between the states before and after; outputs are branches before they "
        "join the stream. Entropy is a mean over heads; equal weights would have "
        f"{', '.join(f'{entropy:.2f}' for entropy in uniform)} nats. {after_steps(measured)}"
    )


def print_activations(measured: Measured, console: Console) -> None:
    """Print the mean of each quantity in the first and in the last block, by run."""
    console.print("Activations: mean in the first and the last block")
    table = Listing()
    table.add_column("quantity", "text")
    for label in measured:
        table.add_column(label)
    for quantity, title in PANELS.items():
        ends = [
            (record["blocks"][0][quantity], record["blocks"][-1][quantity]) for record in measured.values()
        ]
        table.add_row(title, *(f"{first['mean']:.3g} to {last['mean']:.3g}" for first, last in ends))
    console.print(table)
