"""Made runs, as those of other tests."""

from made_runs import make_run

__all__ = ["make_run"]
