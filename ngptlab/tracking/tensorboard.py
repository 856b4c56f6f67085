"""TensorBoard: event files in the run's own folder `tensorboard/`, so `tensorboard --logdir` takes any folder of runs.

Written through tensorboard's own writer, which needs no torch.
"""

from __future__ import annotations

import json
import time
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from ngptlab.folders import own
from ngptlab.runs import Run
from ngptlab.tracking.names import Numbers, shown_name, tags


class TensorboardSink:
    """Event files. One more with each resume, as TensorBoard expects it."""

    def __init__(self, run: Run) -> None:
        self._folder = own(run.path / "tensorboard")
        self._last = self._in_the_files()
        self._writer = EventFileWriter(str(self._folder))
        if self._last < 0:
            config = run.config
            about = {"name": shown_name(run), "hash": config.hash, "group": config.name, "tags": tags(run)}
            self._text("config", {**about, **config.model_dump(mode="json")}, step=0)

    def _in_the_files(self) -> int:
        steps = (
            event.step
            for path in sorted(self._folder.glob("events.out.tfevents.*"))
            if path.is_file()  # a FIFO would block for ever
            for event in EventFileLoader(str(path)).Load()
            if any(value.tag not in ("config", "summary") for value in event.summary.value)
        )
        return max(steps, default=-1)

    def last_step(self) -> int:
        return self._last

    def log(self, step: int, numbers: Numbers) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._last = step

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, summary: dict[str, Any]) -> None:
        if summary:
            self._text("summary", summary, step=max(self._last, 0))
        self._writer.close()

    def _text(self, tag: str, value: dict[str, Any], *, step: int) -> None:
        """A page under TensorBoard's heading `text`, indented so that Markdown shows it as it is."""
        text = "\n".join("    " + line for line in json.dumps(value, indent=2).splitlines())
        plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        page = Summary.Value(tag=tag, metadata=plugin, tensor=tensor)
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[page])))
