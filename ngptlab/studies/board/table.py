"""A board as lines, for the terminal, the page and the markdown."""

from __future__ import annotations

from ngptlab.stats.words import count, rate
from ngptlab.studies.board.numbers import CONTEXTS, Board, Row
from ngptlab.studies.section import Cell, loss, number, word

NEVER = Cell("-", None)
"""Text where the baseline's loss was not reached, or where there is no such number."""
SHOWN = (
    "rank",
    "method",
    "final loss (nats)",
    "minus baseline, paired",
    "Welch",
    "verdict",
    "p, Holm",
    "seeds",
    "steps to baseline's loss",
    "tuning runs",
    "on an edge",
)
"""Columns that a terminal has room for."""


def lines(board: Board) -> list[dict[str, Cell]]:
    """One line for each method, each cell under its column."""
    return [_line(row) for row in board["rows"]]


def _line(row: Row) -> dict[str, Cell]:
    against, tuning, reached = row["against"], row["tuning"], row["to_baseline"]
    settings = tuning["settings"] if tuning else {}
    lr, decay = settings.get("optim.lr"), settings.get("optim.weight_decay")
    ratio, edges = row["step_time_ratio"], tuning["edges"] if tuning else []
    return {
        "rank": number(row["rank"]),
        "method": word(row["method"]),
        "final loss (nats)": loss(row["loss_nats"], row["ci95"]),
        "minus baseline, paired": loss(against["mean"], against["ci95"], sign=True)
        if against
        else number(None),
        "Welch": _half(against["welch_ci95"] if against else None),
        "verdict": word(row["verdict"] or row["state"]),
        "p, Holm": number(row["p_holm"], ".2g"),
        "seeds": number(len(row["seeds"])),
        "steps to baseline's loss": _cost(reached["step"] if reached else None),
        "tokens": _cost(reached["tokens"] if reached else None),
        "FLOPs": Cell(f"{reached['flops']:.3g}", reached["flops"]) if reached else NEVER,
        "seconds": Cell(f"{s:,.1f}", s) if reached and (s := reached["seconds"]) is not None else NEVER,
        "step time / baseline's (not interleaved: unsafe)": number(ratio, ".2f"),
        "parameters": Cell(count(row["params"]), row["params"]),
        f"loss at {CONTEXTS} contexts": loss(row["long_loss_nats"]),
        "learning rate": Cell(rate(lr), lr) if isinstance(lr, float) else number(None),
        "weight decay": number(decay, ".4g") if isinstance(decay, float) else number(None),
        "on an edge": word(", ".join(edges) or ("no" if tuning else "–")),
        "tuning runs": number(tuning["runs"] if tuning else None),
        "held fixed": word(" ".join(f"{path}={value}" for path, value in row["held"].items()) or "nothing"),
        "remark": word(row["reason"]),
    }


def _half(value: float | None) -> Cell:
    return number(None) if value is None else Cell(f"±\u00a0{value:.4f}", value)


def _cost(value: float | None) -> Cell:
    return NEVER if value is None else Cell(count(value), value)


def answer(board: Board, *, whole: bool = True) -> str:
    """Sentences that name the better, worse and undecided methods; where `whole`, also those not ranked."""
    said = []
    for verdict in ("better", "worse", "undecided"):
        names = [row["method"] for row in board["rows"] if row["verdict"] == verdict]
        if names:
            said.append(
                f"{verdict.capitalize()} than {board['baseline']}: {', '.join(names)}."
                if verdict != "undecided"
                else f"Undecided: {', '.join(names)}."
            )
    if not said:
        said.append(f"No method has been compared with {board['baseline']}.")
    if not whole:
        return " ".join(said)
    unranked = [f"{', '.join(names)} ({state})" for (state, _), names in not_ranked(board).items()]
    return " ".join([*said, *([f"Not ranked: {'; '.join(unranked)}."] if unranked else [])])


def not_ranked(board: Board) -> dict[tuple[str, str], list[str]]:
    """Methods without a rank, those of one state and reason together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in board["rows"]:
        if row["rank"] is None:
            found.setdefault((row["state"], row["reason"]), []).append(row["method"])
    return found


def rule(board: Board) -> str:
    """How the board was made, in sentences."""
    tuned = f"{len(board['lrs'])} learning rates x {len(board['decays'])} weight decays with seed 0"
    return (
        f"Each run has {board['steps']:,} steps and {board['tokens']:,} tokens. Each method was given {tuned}. Its best ran "
        f"again with up to {board['max_seeds']} fresh seeds from {board['first_seed']} on; only these are reported. ± is 95% "
        "over seeds (Student's t). Differences are paired by seed; Welch's interval beside them is not. Verdicts: paired t "
        f"test, p by Holm over all methods below {board['level']:g}. Costs are those to the baseline's mean final loss, between "
        "validations ('-': never reached); that is no end of a shorter run. Runs were not interleaved, so step times and "
        "seconds are not safe to compare."
    )


def markdown(board: Board) -> str:
    """The text of board.md: the rule, the table, the warnings."""
    table = lines(board)
    columns = list(table[0])
    text = [f"# Board: {board['recipe']}", "", answer(board), "", rule(board), ""]
    text += [_marked(columns), _marked(["---"] * len(columns))]
    text += [_marked([line[column].text for column in columns]) for line in table]
    if board["warnings"]:
        text += ["", *(f"- {warning}" for warning in board["warnings"])]
    return "\n".join(text) + "\n"


def _marked(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
