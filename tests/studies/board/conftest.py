"""Boards of runs whose losses the test chose."""

from board_runs import rank

__all__ = ["rank"]
