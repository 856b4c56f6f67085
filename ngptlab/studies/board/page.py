"""A board on the page: which methods are better than the baseline, and how certain that is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.draw.style import for_page
from ngptlab.studies.board.figure import draw
from ngptlab.studies.board.files import write_board
from ngptlab.studies.board.numbers import Board
from ngptlab.studies.board.table import answer, lines, rule
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Study

OF_A_COMPARISON = False


def study(path: Path) -> list[Study]:
    """The section of a board.json."""
    board = read(path, Board)
    names = [row["method"] for row in board["rows"]]
    if board["baseline"] not in names or len(set(names)) < len(names):
        raise damaged(path, "it lacks its baseline, or has a method twice")
    table = lines(board)
    return [
        Study(
            kind="board",
            title=f"Board of {board['recipe']}",
            answer=answer(board),
            svg=for_page(partial(draw, board, narrow=True)),
            caption=rule(board),
            columns=tuple(table[0]),
            rows=[tuple(line.values()) for line in table],
            warnings=board["warnings"],
            files=[f"board.{ending}" for ending in ("csv", "json", "md", "png", "svg")],
            write=partial(write_board, board),
        )
    ]
