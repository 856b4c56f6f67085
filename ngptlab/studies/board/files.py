"""A board as files and as a table: board.json holds all numbers; board.csv, board.md and the table have a line a method."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.console import Console
from ngptlab.disk import write_text
from ngptlab.stats.tables import as_text, writing
from ngptlab.studies.board.figure import draw
from ngptlab.studies.board.numbers import Board
from ngptlab.studies.board.table import SHOWN, answer, lines, markdown, not_ranked
from ngptlab.studies.files import plain_table, print_warnings, write
from ngptlab.terminal import printable

COLUMNS = (
    "rank",
    "method",
    "state",
    "verdict",
    "loss_nats",
    "ci95",
    "difference_nats",
    "difference_ci95",
    "welch_ci95",
    "pairs",
    "p_t",
    "p_holm",
    "seeds",
    "losses",
    "to_baseline_step",
    "to_baseline_tokens",
    "to_baseline_flops",
    "to_baseline_seconds",
    "step_time_ratio_unsafe",
    "params",
    "long_loss_nats",
    "lr",
    "weight_decay",
    "edges",
    "tuning_runs",
    "tuning_diverged",
    "search",
    "held",
    "reason",
)


def write_board(board: Board, out: Path) -> None:
    """Write board.json, .csv, .md, .png and .svg into `out`.

    Raises:
        ConfigError: `out` can't be written.
    """
    write(out, "board", numbers=board, table=as_csv(board), draw=partial(draw, board))
    with writing(out):
        write_text(out / "board.md", printable(markdown(board)))


def as_csv(board: Board) -> str:
    """One line for each method; lists are separated by blanks."""
    table = []
    for row in board["rows"]:
        line: dict[str, object] = {**row, "step_time_ratio_unsafe": row["step_time_ratio"]}
        line |= {
            key: " ".join(map(str, values))
            for key, values in (("seeds", row["seeds"]), ("losses", row["losses"]))
        }
        line["held"] = " ".join(f"{path}={value}" for path, value in row["held"].items())
        if against := row["against"]:
            line |= {"difference_nats": against["mean"], "difference_ci95": against["ci95"]}
            line |= {key: against[key] for key in ("welch_ci95", "pairs", "p_t")}
        if reached := row["to_baseline"]:
            line |= {f"to_baseline_{key}": value for key, value in reached.items()}
        if tuning := row["tuning"]:
            line |= {"tuning_runs": tuning["runs"], "tuning_diverged": tuning["diverged"]}
            line |= {"search": tuning["search"], "edges": " ".join(tuning["edges"])}
            line |= {path.rpartition(".")[2]: value for path, value in tuning["settings"].items()}
        table.append(line)
    return as_text(COLUMNS, table)


def print_board(board: Board, console: Console) -> None:
    """Print the table, a line for each method that is not ranked, then the warnings."""
    title = f"{board['recipe']}: ± 95% over seeds (Student's t), verdicts by Holm"
    table = plain_table(title, SHOWN, left=("method", "verdict", "on an edge"))
    for line in lines(board):
        if line["rank"].value is not None:
            table.add_row(*(line[column].text for column in SHOWN))
    console.print(table)
    for (state, reason), names in not_ranked(board).items():
        console.print(f"{', '.join(names)}: {state}{f', {reason}' if reason else ''}", markup=False)
    console.print(answer(board, whole=False), markup=False)
    print_warnings(board["warnings"], console)
