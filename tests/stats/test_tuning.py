"""What a search found, what it was given, and what sits on an edge."""

from __future__ import annotations

from typing import Any

from ngptlab.stats.cells import CellRow
from ngptlab.studies.sweep.tuning import best, searched


def cell(method: str, power: int, settings: str, loss: float | None, **changes: Any) -> CellRow:
    fields: dict[str, Any] = {"param": "sp", "width": 32, "seed": 0, "status": "done"}
    name = f"{method}{power}{settings}{changes.get('seed', 0)}"
    return CellRow(
        method=method, lr=2.0**power, settings=settings, hash=name, final_loss_nats=loss, **(fields | changes)
    )


def grid(method: str = "a", shift: float = 0.0) -> list[CellRow]:
    """Lowest at 2^-8 with decay 1; three learning rates, three decays, two draws."""
    return [
        cell(
            method,
            power,
            f"optim.weight_decay={decay} optim.init={init}",
            2 + shift + 0.1 * abs(power + 8) + 0.1 * abs(decay - 1) + 0.1 * (init == "fan_in"),
        )
        for power in (-9, -8, -7)
        for decay in (0, 0.1, 1)
        for init in ("std:0.02", "fan_in")
    ]


def test_the_best_cell_its_budget_and_its_edges() -> None:
    (found,) = best(grid())
    assert (found.lr, found.settings) == (2**-8, "optim.weight_decay=1 optim.init=std:0.02")
    assert (found.runs, found.seeds, found.loss_nats) == (18, 1, 2.0)
    assert found.edges == ("optim.weight_decay",), "the learning rate is inside, and a draw has no order"
    said = searched(grid())
    assert said[0].startswith(
        "Best of 18 runs for a (sp, width 32): 2.0000 nats at lr 2^-8, optim.weight_decay=1"
    )
    assert (
        "on the edge of what was tried: optim.weight_decay" in said[0]
        and "train it again with others" in said[-1]
    )


def test_unequal_budgets_are_told() -> None:
    assert not any("not tuned alike" in line for line in searched([*grid("a"), *grid("b")]))
    assert any("not tuned alike" in line for line in searched([*grid("a"), *grid("b")[:-1]]))


def test_a_seed_that_diverged_rules_a_point_out_and_counts_as_a_run() -> None:
    table = [
        cell("a", -8, "", 1.0),
        cell("a", -8, "", None, seed=1, status="diverged"),
        cell("a", -9, "", 1.5),
        cell("a", -9, "", 1.7, seed=1),
        cell("a", -7, "", None, status="waiting"),
    ]
    (found,) = best(table)
    assert (found.lr, found.loss_nats, found.seeds, found.runs) == (2**-9, 1.6, 2, 4)
    assert best(table[:2]) == [] and searched([]) == []


def test_a_point_that_lacks_a_seed_is_not_the_best() -> None:
    """The seed that is there may be the lucky one."""
    table = [
        cell("a", -8, "", 1.0),
        cell("a", -8, "", None, seed=1, status="failed"),
        cell("a", -9, "", 1.5),
        cell("a", -9, "", 1.7, seed=1),
    ]
    (found,) = best(table)
    assert (found.lr, found.seeds) == (2**-9, 2)
    assert best(table[:2]) == []


def test_a_grid_is_not_cited_as_a_search() -> None:
    """Only the hash of a search.json can be linked; another hash would look as if it could."""
    assert not any(line.startswith("Search ") for line in searched(grid("a")))
