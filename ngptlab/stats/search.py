"""The result of a search over settings, as a file that a run's config links. It defines "tuned".

An arm is tuned where four things hold. Its config links a search by its hash. It has the settings that the search found best
for its method. All its other settings, such as the length of the runs, are those of the search. It reports other seeds than
those of the search. The hash covers the whole file, with every run's hash and loss, so that it stands for what was measured.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, ValidationError, model_validator

from ngptlab import disk
from ngptlab.config import Frozen, RunConfig, explain, flatten
from ngptlab.config.method_name import stem
from ngptlab.errors import DataError
from ngptlab.stats.estimates import mean
from ngptlab.stats.learning_rate import show_rate

SHIPPED = Path(__file__).parents[1] / "recipes" / "searches"
"""Folder of the searches that tuned the package's recipes."""
FOLDER = "searches"
"""Folder beside a study's runs, with the searches that tuned its arms."""
FLOOR_NATS = 0.005
"""Two runs of one config differ by this much between code versions and numbers of threads (docs/protocol.md)."""
NEVER_SAME = ("method", "seed", "data.seed", "optim.lr_grid")
"""Fields in which an arm may differ from the cells of its search, besides the searched ones."""

Value = Annotated[str | StrictInt | float | None, Field(union_mode="left_to_right")]
"""A whole number stays an int, because values are compared with a config's as texts: 100, not 100.0."""
Settings = dict[str, Value]


class Tried(Frozen):
    """A cell of a search."""

    hash: str
    method: str
    seed: int
    settings: Settings
    """The searched fields by path, and the values they had."""
    status: Literal["done", "diverged"]
    loss_nats: float | None


class Search(Frozen):
    """A search over one or more methods, with all other settings fixed."""

    search: str
    """The search's hash."""
    recipe: str
    how: str
    """The rule that chose what was tried, in a sentence."""
    space: dict[str, list[str]]
    """The values that could be tried, by field, as they were given."""
    fixed: dict[str, dict[str, str]]
    """Every field under the hash that was not searched, by method."""
    cells: list[Tried] = Field(alias="tried", min_length=1)

    @model_validator(mode="after")
    def _is_what_was_measured(self) -> Self:
        if self.search != (found := self.content_hash):
            raise ValueError(f"search {self.search}: its content has the hash {found}")
        return self

    @property
    def content_hash(self) -> str:
        """Eight hex digits over everything but the hash itself; the order of the runs does not matter."""
        held = self.model_dump(mode="json", exclude={"search"})
        held["cells"].sort(key=lambda cell: (cell["hash"], cell["method"]))
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def seeds(self) -> set[int]:
        """Seeds of the search, which chose the settings."""
        return {cell.seed for cell in self.cells}

    def runs(self, method: str) -> int:
        """Number of runs of a method, with those that diverged."""
        return sum(cell.method == method for cell in self.cells)

    def exhausted(self, method: str) -> bool:
        """Whether every combination of the values was tried for the method, so that no more runs are possible."""
        tried = {tuple(sorted(cell.settings.items())) for cell in self.cells if cell.method == method}
        fields = {path for settings in tried for path, _ in settings}
        return bool(tried) and len(tried) == math.prod(len(self.space[path]) for path in fields)

    def best(self, method: str) -> tuple[Settings, float] | None:
        """The settings with the lowest mean loss over all seeds, and that loss; None where no run ended."""
        points: dict[tuple[tuple[str, Value], ...], list[float]] = {}
        for cell in self.cells:
            if cell.method == method:
                loss = math.inf if cell.loss_nats is None else cell.loss_nats
                points.setdefault(tuple(sorted(cell.settings.items())), []).append(loss)
        whole = {point: mean(losses) for point, losses in points.items() if len(losses) == len(self.seeds)}
        if not whole or math.isinf(min(whole.values())):
            return None
        chosen = min(whole, key=lambda point: whole[point])
        return dict(chosen), whole[chosen]

    def edges(self, method: str) -> list[str]:
        """Fields whose best value is the lowest or highest number that was tried, if the loss still falls towards it.

        A lowest value of 0 is no edge, because nothing lies below it. Nor is a value an edge where the loss falls by less than
        `FLOOR_NATS` from the neighbouring value: the field then has no effect, as the initial scale of normalized rows.
        """
        found = self.best(method)
        return [
            path
            for path, value in (found[0] if found else {}).items()
            if self._on_edge(path, value, method) and self._falls(path, method)
        ]

    def _falls(self, path: str, method: str) -> bool:
        """Whether the loss at the neighbouring value, other settings at their best, is higher by `FLOOR_NATS` or unknown."""
        found = self.best(method)
        assert found is not None
        settings, lowest = found
        at = _number(settings[path])
        inside: dict[float, list[float]] = {}
        for cell in self.cells:
            number = _number(cell.settings.get(path))
            same_otherwise = {**cell.settings, path: settings[path]} == settings
            if cell.method == method and same_otherwise and number is not None and number != at:
                inside.setdefault(number, []).append(math.inf if cell.loss_nats is None else cell.loss_nats)
        if not inside or at is None:
            return True
        nearest = min(inside, key=lambda number: abs(number - at))
        return mean(inside[nearest]) - lowest >= FLOOR_NATS

    def _on_edge(self, path: str, value: Value, method: str) -> bool:
        tried = [_number(cell.settings.get(path)) for cell in self.cells if cell.method == method]
        numbers, number = sorted({n for n in tried if n is not None}), _number(value)
        if number is None or len(numbers) < 2:
            return False
        return number == numbers[-1] or (number == numbers[0] and number > 0)


def _number(value: Value) -> float | None:
    """The number in a value such as 0.1 or 'std:0.02'; None where there is none."""
    try:
        return float(value.removeprefix("std:") if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def made(**fields: Any) -> Search:
    """A search with its hash."""
    unnamed = Search.model_construct(search="", **fields)
    return Search(search=unnamed.content_hash, tried=fields.pop("cells"), **fields)


def fixed_of(config: RunConfig, space: Mapping[str, Any]) -> dict[str, str]:
    """Every field under the hash that was not searched, as text."""
    fields = flatten(config.science())
    return {path: str(value) for path, value in fields if path not in space and path not in NEVER_SAME}


def settings_of(config: RunConfig, space: Iterable[str]) -> Settings:
    """A config's values in the searched fields."""
    fields = dict(flatten(config))
    return {path: fields[path] for path in space}


def plain(search: Search) -> dict[str, object]:
    """The search as plain values for JSON, in the form that `read` takes."""
    return search.model_dump(mode="json", by_alias=True)


def read(path: Path) -> Search:
    """The search in a file.

    Raises:
        DataError: the file can't be read, or its content does not have the hash that it names.
    """
    try:
        return Search.model_validate(disk.read_json(path))
    except OSError as error:
        raise DataError(
            f"{path}: can't be read ({error.strerror}); give the search.json of a sweep"
        ) from None
    except ValidationError as error:
        raise DataError(f"{path}: no search ({explain(error)[:300]})") from None
    except ValueError as error:
        raise DataError(f"{path}: no search ({error})") from None


def find(config: RunConfig, study: Path | None = None) -> Search | None:
    """The search that a config links, from the package's recipes or a study's folder; None where it is in neither.

    Raises:
        DataError: the file is damaged.
    """
    name = f"{config.optim.search}.json"
    places = [SHIPPED / name, *([study / FOLDER / name] if study else [])]
    return next((read(path) for path in places if config.optim.search and path.is_file()), None)


def why_untuned(config: RunConfig, seeds: Iterable[int], search: Search | None) -> str | None:
    """Why an arm with this config, reporting these seeds, is not tuned, or why that is in doubt; None where it is tuned."""
    if not config.optim.search:
        named = ", though a grid of learning rates is named" if config.optim.lr_grid else ""
        return f"not tuned: no search is linked{named}"
    link = f"search {config.optim.search}"
    if search is None:
        return f"not tuned as far as can be seen: {link} is not beside the runs"
    best = search.best(config.method)
    if best is None:
        return f"not tuned: {link} has no result for it"
    if other := _differing(_texts(best[0]), _texts(settings_of(config, best[0]))):
        return f"not tuned: {link} found other settings best ({other})"
    if other := _differing(search.fixed.get(config.method, {}), fixed_of(config, best[0])):
        return f"not tuned here: {link} was made at other settings ({other})"
    if chosen_by := sorted(search.seeds & set(seeds)):
        return f"biased: seed {', '.join(map(str, chosen_by))} chose these settings in {link}"
    if edges := search.edges(config.method):
        return f"on the edge of what {link} tried, so the optimum may lie beyond: {', '.join(edges)}"
    return None


def searched_apart(a: tuple[str, Search | None], b: tuple[str, Search | None]) -> str | None:
    """How the searches of two methods differ, so that they were not tuned alike; None where they were, or are unknown."""
    (method, ours), (other, theirs) = a, b
    if ours is None or theirs is None:
        return None
    few, more = sorted(
        [(ours.runs(method), ours, method), (theirs.runs(other), theirs, other)], key=lambda x: x[0]
    )
    if few[0] < more[0] and not few[1].exhausted(few[2]):
        return f"{ours.runs(method)} and {theirs.runs(other)} runs"
    for path in sorted(set(ours.space) & set(theirs.space)):
        if set(ours.space[path]) != set(theirs.space[path]):
            return f"{path} among {', '.join(ours.space[path])} and among {', '.join(theirs.space[path])}"
    return None


def _texts(settings: Settings) -> dict[str, str]:
    return {path: str(value) for path, value in settings.items()}


def _differing(there: Mapping[str, str], here: Mapping[str, str], most: int = 3) -> str:
    paths = [path for path in {**there, **here} if there.get(path) != here.get(path)]
    shown = [f"{path} {there.get(path, 'none')}, here {here.get(path, 'none')}" for path in paths[:most]]
    return "; ".join([*shown, *(["..."] if len(paths) > most else [])])


def in_words(search: Search) -> list[str]:
    """A line for each method, then a warning if they had different numbers of runs, then how to cite the search."""
    lines = []
    for method in search.fixed:
        if found := search.best(method):
            values = ", ".join(f"{path} {_value_text(path, value)}" for path, value in found[0].items())
            edge = (
                f"; on the edge of what was tried: {', '.join(edges)}"
                if (edges := search.edges(method))
                else ""
            )
            lines.append(
                f"Best of {search.runs(method)} runs for {stem(method)}: {found[1]:.4f} nats at {values}{edge}"
            )
        else:
            lines.append(f"Nothing ended for {stem(method)}, in {search.runs(method)} runs")
    most = max(search.runs(method) for method in search.fixed)
    if any(search.runs(method) < most and not search.exhausted(method) for method in search.fixed):
        lines.append("The methods were not given equally many runs: they are not tuned alike.")
    seeds = ", ".join(map(str, sorted(search.seeds)))
    lines.append(
        f"Search {search.search}. The best losses are biased, because seed {seeds} chose them: report other seeds, as "
        "`ngptlab compare --tuned` does."
    )
    return lines


def _value_text(path: str, value: Value) -> str:
    return show_rate(value) if path == "optim.lr" and isinstance(value, float) else str(value)
