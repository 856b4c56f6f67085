"""What the processes of a run do together, and its form for a single process, which costs nothing.

A batch is divided by rows, weights are whole in every process. So a process needs the others in few places: the sum of the
gradients, evaluations, decisions that must be equal, and files, which the first process alone writes. Where updates are divided,
too, it needs the weights that others have updated; where weights are, those of each block while it runs (`device.shard`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class World:
    """A single process."""

    rank = 0
    size = 1
    local_size = 1
    """Processes on this machine, which share its memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the others."""

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes and tells; only writers and their null forms ask."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """This process's rows of every batch; `batch_size` is a multiple of the number of processes."""
        own = batch_size // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def share(self, pieces: Sequence[T]) -> Sequence[T]:
        """Those pieces of a common work that are this process's."""
        return pieces[self.rank :: self.size]

    def has_fewer(self, pieces: Sequence[T]) -> bool:
        """Whether `share` gives this process one piece less than others."""
        return len(self.share(pieces)) < -(-len(pieces) // self.size)

    def sum_gradients(self, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None) -> Tensor:
        """Replace each gradient by the sum over all processes. Returns a vector that begins with the sum of their losses.

        The rest of it, whatever it is, is for `agreed_stop`: `stop` is the signal by which this process was asked to stop.
        """
        return loss.unsqueeze(0)

    def agreed_stop(self, told: Sequence[float], stop: int | None) -> int | None:
        """The signal by which all stop after the update that gave `told`; the same in every process."""
        return stop

    def any_stop(self, stop: int | None) -> int | None:
        """A signal that any of the processes was asked to stop by, between updates."""
        return stop

    def total(self, values: Tensor) -> Tensor:
        """The sum of tensors of equal shape over all processes; may be written over `values`."""
        return values

    def ask(self, question: Callable[[], T], of: int = 0) -> T:
        """What the process number `of` answers, in every process. It must be what JSON holds."""
        return question()

    def once(self, act: Callable[[], object]) -> None:
        """Have the first process act. The others go on."""
        act()

    def in_turn(self, make: Callable[[], T]) -> T:
        """Have one process of each machine make something that the others then find made."""
        return make()

    def spread(self, tensors: Iterable[Tensor], of: int = 0) -> None:
        """Overwrite tensors by those of the process number `of`."""

    def spread_parts(self, parts: Sequence[Sequence[Tensor]]) -> None:
        """Overwrite the tensors of each part by those of the process of its number. Their kind of device is the run's."""

    def sum_parts(self, parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The sums over all processes of the tensors of this process's part. Each part is that of the process of its number."""
        return list(parts[self.rank])

    def check_alike(self, when: str, facts: Mapping[str, int]) -> None:
        """Hold numbers of 64 bits, each of which has a name, against those of the other processes.

        Raises:
            WorldError: one differs.
        """

    def meet(self) -> None:
        """Wait until every process is here."""


ALONE = World()
