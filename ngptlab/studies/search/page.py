"""A search on the page: each method's best settings and its number of runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.config.method_name import stem
from ngptlab.draw.style import for_page
from ngptlab.stats.search import Search, in_words
from ngptlab.stats.search import read as read_search
from ngptlab.studies.search.figure import draw
from ngptlab.studies.search.files import write_search
from ngptlab.studies.section import Cell, Study, loss, number, word

OF_A_COMPARISON = False


def study(path: Path) -> list[Study]:
    """The section of a search.json."""
    search = read_search(path)
    edges = [
        f"{stem(method)}: {', '.join(found)}" for method in search.fixed if (found := search.edges(method))
    ]
    return [
        Study(
            kind="search",
            title=f"Search {search.search} ({search.recipe})",
            answer=" ".join(in_words(search)),
            svg=for_page(partial(draw, search, narrow=True)),
            caption=f"{search.how} A panel varies one field, with all others at the method's best.",
            columns=("method", "runs", *search.space, "loss (nats)", "seeds that chose", "on an edge"),
            rows=[_row(search, method) for method in search.fixed],
            warnings=[
                f"Best on the edge of what was tried, so the optimum may lie beyond: {e}." for e in edges
            ],
            files=["search.csv", "search.json", "search.png", "search.svg"],
            write=partial(write_search, search),
        )
    ]


def _row(search: Search, method: str) -> tuple[Cell, ...]:
    found = search.best(method)
    settings = found[0] if found else {}
    return (
        word(stem(method)),
        number(search.runs(method)),
        *(word(str(settings[path])) if path in settings else word("–") for path in search.space),
        loss(found[1] if found else None),
        word(", ".join(map(str, sorted(search.seeds)))),
        word(", ".join(search.edges(method)) or "none"),
    )
