"""The run directory as a process has it that leaves all writing to another one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ngptlab.config import RunConfig
from ngptlab.errors import WorldError
from ngptlab.runs import Run


class Unwritten(Run):
    """Takes every record and keeps none. What stands in the directory is asked of the process that has it, so nothing is read.

    Raises:
        WorldError: whoever trained the run asks for its records.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path, self.config = path, config

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        yield

    @property
    def _elsewhere(self) -> WorldError:
        return WorldError(
            f"{self.path}: the first process has this run's records; read them in that of RANK 0"
        )

    @property
    def summary(self) -> NoReturn:
        raise self._elsewhere

    def content(self, stream: str) -> NoReturn:
        raise self._elsewhere

    def append(self, stream: str, record: dict[str, Any]) -> None:
        pass

    def replace(self, stream: str, records: Iterable[dict[str, Any]]) -> None:
        pass

    def rewind(self, sizes: Mapping[str, int]) -> None:
        pass

    def sync(self) -> None:
        pass

    def finish(self, status: str, **fields: Any) -> None:
        pass
