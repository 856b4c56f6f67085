"""Progress of a board's methods, read from their run directories. Runs that are over are read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ngptlab import disk
from ngptlab.config.method_name import stem
from ngptlab.folders import own
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.outcome import Outcome, outcome
from ngptlab.stats.cells import CellRow
from ngptlab.stats.records import load_runs
from ngptlab.stats.search import FOLDER, Search, plain
from ngptlab.studies.board.numbers import Standing, State
from ngptlab.studies.board.plan import Arm, Terms, fresh, search_of
from ngptlab.studies.sweep.table import rows

UNSUCCESSFUL: tuple[State, ...] = ("diverged", "failed")


@dataclass(kw_only=True)
class Work:
    """The methods of a board while it is made, the baseline first."""

    terms: Terms
    out: Path
    arms: list[Arm]
    """The requested methods."""
    others: list[Arm] = field(default_factory=list)
    """Other methods, of which the ledger or the folder has runs."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why runs failed, by hash."""
    _rows: dict[str, CellRow] = field(default_factory=dict)
    _over: dict[str, Outcome] = field(default_factory=dict)
    _fresh: dict[str, list[Cell]] = field(default_factory=dict)
    _whole: dict[str, Standing] = field(default_factory=dict)

    @property
    def every(self) -> list[Arm]:
        """All methods on the board."""
        return [*self.arms, *self.others]

    def ended(self, cell: Cell) -> Outcome:
        """The outcome of a cell."""
        key = cell.config.hash
        if key not in self._over:
            end = outcome(cell, self.out, self.failures)
            if not end.over:
                return end
            self._over[key] = end
        return self._over[key]

    def unfinished(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that are not over."""
        return [cell for cell in cells if not self.ended(cell).over]

    def grid(self, arm: Arm) -> list[CellRow]:
        """The rows of a method's grid, one for each cell."""
        new = [cell for cell in arm.cells if cell.config.hash not in self._rows]
        found = {row.hash: row for row in rows(new, self.out, self.failures)}
        self._rows |= {key: row for key, row in found.items() if row.over}
        return [found.get(cell.config.hash) or self._rows[cell.config.hash] for cell in arm.cells]

    def search(self, arm: Arm) -> Search | None:
        """A method's grid as a search; None until all of it is over."""
        table = self.grid(arm)
        return search_of(arm, table, self.terms) if table and all(row.over for row in table) else None

    def fresh(self, arm: Arm) -> list[Cell]:
        """The runs that are reported of a method; none until it is tuned, or where all of its grid diverged."""
        if arm.method not in self._fresh:
            search = self.search(arm)
            if search is None:
                return []
            self._fresh[arm.method] = fresh(arm, search, self.terms) if search.best(arm.method) else []
        return self._fresh[arm.method]

    def standings(self) -> list[Standing]:
        """Progress of each method, in the order given. Versions of one file are named with their digests."""
        stems = [stem(arm.method) for arm in self.every]
        return [
            self._standing(arm, name if stems.count(name) == 1 else arm.method)
            for arm, name in zip(self.every, stems, strict=True)
        ]

    def _standing(self, arm: Arm, name: str) -> Standing:
        if arm.method in self._whole:
            return self._whole[arm.method]
        found = _standing(arm, name, self)
        if found.state == "ranked" and not found.reason:
            self._whole[arm.method] = found
        return found


def _standing(arm: Arm, name: str, work: Work) -> Standing:
    """Progress of one method."""
    standing = Standing(
        name=name,
        state="cannot run",
        reason=arm.refusal,
        held=dict(arm.held),
        tuned_alone=arm.tuned_alone,
        method=arm.method,
    )
    if arm.refusal:
        return standing
    ends = [work.ended(cell) for cell in arm.cells]
    if not all(end.over for end in ends):
        failed = _reasons(arm.cells, ends, "failed")
        over = f"{sum(end.over for end in ends)} of {len(ends)} runs of its grid are over"
        return replace(standing, state="failed" if failed else "not tuned yet", reason=failed or over)
    search = work.search(arm)
    if search is None:
        return replace(standing, state="failed", reason="a run of its grid is damaged")
    standing = replace(standing, search=search)
    if search.best(arm.method) is None:
        return replace(standing, state="diverged", reason=f"at all {len(ends)} settings that were tried")
    return _with_seeds(standing, search, work.fresh(arm), work)


def _with_seeds(standing: Standing, search: Search, cells: Sequence[Cell], work: Work) -> Standing:
    """Add the fresh seeds that are over. Where one seed of a method diverged, the others do not count."""
    disk.write_json(own(work.out / FOLDER) / f"{search.search}.json", plain(search))
    ends = [work.ended(cell) for cell in cells]
    done = [cell for cell, end in zip(cells, ends, strict=True) if end.status == "done"]
    records = load_runs([run_of(work.out, cell) for cell in done]) if done else []
    # A run that another study trained may link that study's search, but no number depends on the link.
    runs = [replace(run, config=cell.config, search=search) for run, cell in zip(records, done, strict=True)]
    standing = replace(standing, runs=runs)
    for state in UNSUCCESSFUL:
        if why := _reasons(cells, ends, state):
            return replace(standing, state=state, reason=why)
    missing = f"{len(done)} of {len(cells)} seeds are over" if len(done) < len(cells) else ""
    return replace(standing, state="ranked" if done else "no seeds yet", reason=missing)


def _reasons(cells: Sequence[Cell], ends: Sequence[Outcome], status: str) -> str:
    """Reasons of the cells that ended so, as '2 of 5 runs (cell: loss nan)'; '' where none did."""
    found = [(cell, end) for cell, end in zip(cells, ends, strict=True) if end.status == status]
    if not found:
        return ""
    cell, end = found[0]
    return f"{len(found)} of {len(cells)} runs ({cell.title}: {' '.join(end.reason.split())[:200]})"
