"""Ray, as far as the driver and the tasks ask of it, without processes: a call is made at once, a task is a function of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """What Ray's errors are."""


class Handle:
    """An actor's handle; what a call would refer to is its value."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._actor, name))


class Reference:
    """A task's, which refers to what it returns or raises, or to a function that says so later: None, it has not ended."""

    def __init__(self, value: Any) -> None:
        self._value = value

    @property
    def value(self) -> Any:
        return self._value() if callable(self._value) else self._value


class PretendedRay:
    """A cluster of one node. `body` stands for the task's function; it may return an exception, which is raised at the driver."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(
        self, body: Callable[[dict[str, Any]], Any], *, resources: dict[str, float] | None = None
    ) -> None:
        self.body = body
        self.options_given: list[dict[str, Any]] = []
        self.cancelled: list[Any] = []
        self.killed: list[Any] = []
        self._resources = resources or {"CPU": 4.0}

    def remote(self, function: Any) -> Any:
        return SimpleNamespace(options=self._options)

    def _options(self, **given: Any) -> Any:
        self.options_given.append(given)
        return SimpleNamespace(remote=lambda job, desk: Reference(self.body(job)))

    def wait(self, references: Sequence[Reference], **how: Any) -> tuple[list[Reference], list[Reference]]:
        ready = [each for each in references if each.value is not None]
        return ready, [each for each in references if each.value is None]

    def get(self, reference: Any) -> Any:
        if not isinstance(reference, Reference):
            return reference
        if isinstance(reference.value, Exception):
            raise reference.value
        return reference.value

    def cancel(self, reference: Any) -> None:
        self.cancelled.append(reference)

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self._resources}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return self._resources
