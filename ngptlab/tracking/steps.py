"""The streams of a run, put together by step: trackers take steps in order, each once, with all its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ngptlab.runs import Run
from ngptlab.streams import STREAMS
from ngptlab.tail import Tail

Step = tuple[int, dict[str, float]]


class Steps:
    """Finished steps of a run, as it is written."""

    def __init__(self, run: Run) -> None:
        self.run = run
        # Metrics come first: a line of theirs says that the other streams have all of the steps before it.
        self._tails = {stream: Tail(run.path / f"{stream}.jsonl") for stream in STREAMS}
        self._pending: dict[int, dict[str, float]] = {}
        self._newest = -1

    def new(self, *, after: int) -> Iterator[Step]:
        """Steps beyond `after` that are whole, in order.

        The newest step is whole when another follows, or when the run's summary says how it ended: before that, a
        validation may still come, and a killed run will do the step again.
        """
        over = bool(self.run.summary)
        for stream, tail in self._tails.items():
            while records := tail.read():
                for record in records:
                    self._take(stream, record, after)
        for step in sorted(self._pending):
            if step < self._newest or over:
                yield step, self._pending.pop(step)

    def _take(self, stream: str, record: dict[str, Any], after: int) -> None:
        step = record.get("step")
        if not isinstance(step, int):
            return
        if stream == "metrics":
            self._newest = max(self._newest, step)
        if step > after:
            self._pending.setdefault(step, {}).update(numbers(stream, record))


def numbers(stream: str, record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a line, by the names under which trackers group them: `train/loss_nats`, `val/loss_nats`.

    Losses of the parts of the validation text are none of them: a tracker would show a curve of one point for each.
    """
    if record.get("eval") == "parts":
        return {}
    group = {"metrics": "train", "evals": str(record.get("eval")), "scales": ""}.get(stream, stream)
    return dict(_leaves(group, {key: value for key, value in record.items() if key != "step"}))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}/{key}".lstrip("/"), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            label, rest = _labelled(inner, index)
            yield from _leaves(f"{path}/{label}", rest)
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, value


def _labelled(item: Any, index: int) -> tuple[str, Any]:
    """A bin of positions goes by its edges, a scale by its name, anything else by its place in the list."""
    if isinstance(item, dict) and {"from", "to"} <= item.keys():
        return f"{item['from']}-{item['to']}", {k: v for k, v in item.items() if k not in ("from", "to")}
    if isinstance(item, dict) and "name" in item:
        return str(item["name"]), {k: v for k, v in item.items() if k not in ("name", "layer")}
    return str(index), item
