"""Several processes, one device each, over torch.distributed: NCCL between GPUs, gloo between CPUs and for decisions.

Gradients are summed by all-reduces of our own rather than by torch's DistributedDataParallel. DDP's sums hang on hooks within the
backward pass. A recorded CUDA graph runs no hooks, a compiled backward is cut at them, and accumulation must switch them off for
all micro-batches but the last. Here one sum follows the last backward pass, whatever that was, and what must be agreed on at a
step's boundary travels with it. Only with `device.shard on` are gradients summed in their owners, within the backward.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]

from ngptlab.config import DeviceConfig
from ngptlab.device import on_cuda
from ngptlab.errors import ConfigError, DivergedError, WorldError
from ngptlab.world.launched import Launched, launched
from ngptlab.world.meeting import first_line, store_of
from ngptlab.world.world import ALONE, World

T = TypeVar("T")
BUCKET_BYTES = 32 * 2**20
"""Gradients that are summed at once. While one sum is on its way, the next is put together."""
POLL_SECONDS = 0.2
"""Between two looks at whether something is made."""
OPENED = itertools.count()
"""Tells one group from the next in a process that trains several runs."""


def open_world(device: DeviceConfig, here: Launched | None = None) -> World:
    """The processes that torchrun started together, or this one alone; a context manager.

    Raises:
        ConfigError: there are fewer GPUs than processes on this machine, or somebody else uses torch.distributed.
        WorldError: the others can't be reached.
    """
    here = here or launched()
    return ALONE if here.size == 1 else Processes(here, device)


class Processes(World):
    """This process among others. Every method but `rows`, `share`, `once` and the properties must be called by all alike."""

    def __init__(self, here: Launched, device: DeviceConfig) -> None:
        self.rank, self.size, self.local_size = here.rank, here.size, here.local_size
        self._local_rank, self._seconds = here.local_rank, device.timeout
        if dist.is_initialized():
            raise ConfigError(
                "torch.distributed is in use in this process; a run in several processes sets it up itself, so leave that to it"
            )
        backend = "gloo"
        if on_cuda(device):
            if torch.cuda.device_count() < here.local_size:
                raise ConfigError(
                    f"{here.local_size} processes on this machine, and torch sees {torch.cuda.device_count()} CUDA devices; "
                    "start one a device (torchrun --nproc-per-node), or give --device.kind cpu"
                )
            torch.cuda.set_device(here.local_rank)
            backend = "cpu:gloo,cuda:nccl"
        store = self._store = PrefixStore(str(next(OPENED)), store_of(here, self._seconds))
        self._turns = 0
        with self._together():
            dist.init_process_group(
                backend,
                store=store,
                rank=here.rank,
                world_size=here.size,
                timeout=timedelta(seconds=self._seconds),
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error of one process others may be anywhere, and to take leave of them could take for ever.
        if error is None or isinstance(error, DivergedError):
            dist.destroy_process_group()

    def sum_gradients(self, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None) -> Tensor:
        parameters = list(parameters)
        told = loss.new_zeros(1 + signal.NSIG)
        told[0] = loss
        if stop is not None:
            told[1 + stop] = 1
        held = iter([p for p in parameters if p.grad is not None])
        waiting = buckets([told, *(p.grad for p in parameters if p.grad is not None)])
        under_way = []
        with self._together():
            for number, bucket in enumerate(waiting):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                sums = _apart(flat, bucket)
                # Gradients become views of their bucket at once, so that only one bucket of them is there twice.
                bucket.clear()
                for at, part in enumerate(sums):
                    if number == at == 0:
                        told = part
                    else:
                        next(held).grad = part
                under_way.append(dist.all_reduce(flat, async_op=True))
            for work in under_way:
                work.wait()
        return told

    def agreed_stop(self, told: Sequence[float], stop: int | None) -> int | None:
        return next((number for number, asked in enumerate(told[1:]) if asked), None)

    def any_stop(self, stop: int | None) -> int | None:
        number = torch.tensor(stop or 0)
        with self._together():
            dist.all_reduce(number, op=dist.ReduceOp.MAX)
        return int(number) or None

    def total(self, values: Tensor) -> Tensor:
        with self._together():
            dist.all_reduce(values)
        return values

    def ask(self, question: Callable[[], T], of: int = 0) -> T:
        asked = self.rank == of
        text = json.dumps(question()).encode() if asked else b""
        size = torch.tensor(len(text))
        with self._together():
            dist.broadcast(size, src=of)
            content = torch.zeros(int(size), dtype=torch.uint8)
            if asked:
                content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            dist.broadcast(content, src=of)
        answer: T = json.loads(content.numpy().tobytes())
        return answer

    def once(self, act: Callable[[], object]) -> None:
        if self.writes:
            act()

    def in_turn(self, make: Callable[[], T]) -> T:
        # The wait has no limit, because a large text takes longer than any two processes should wait for each other in a step.
        # Where the process that makes it ends, the launcher ends the others.
        self._turns += 1
        key = f"made/{self._turns}"
        made = [make()] if self._local_rank == 0 else []
        with self._together():
            if made:
                self._store.add(key, self.local_size)
            while self._store.add(key, 0) < self.size:
                time.sleep(POLL_SECONDS)
        return made[0] if made else make()

    def spread(self, tensors: Iterable[Tensor], of: int = 0) -> None:
        with self._together(), torch.no_grad():
            for tensor in tensors:
                # A tensor whose memory has another order than its axes would arrive in that order.
                sent = tensor.contiguous()
                dist.broadcast(sent, src=of)
                if sent is not tensor:
                    tensor.copy_(sent)

    def spread_parts(self, parts: Sequence[Sequence[Tensor]]) -> None:
        under_way: deque[tuple[list[Tensor], Tensor, dist.Work]] = deque()
        with self._together(), torch.no_grad():
            for number, part in enumerate(parts):
                for bucket in buckets(part):
                    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                    work = dist.broadcast(flat, src=number, async_op=True)
                    # Its own tensors are left alone, because autograd would take them for changed.
                    under_way.append(([] if number == self.rank else bucket, flat, work))
                    if len(under_way) > 1:  # a second one is on its way while the first is read, and no third
                        self._received(*under_way.popleft())
            for sent in under_way:
                self._received(*sent)

    def _received(self, bucket: list[Tensor], flat: Tensor, work: dist.Work) -> None:
        work.wait()
        if bucket:
            for tensor, values in zip(bucket, _apart(flat, bucket), strict=True):
                tensor.copy_(values)

    def sum_parts(self, parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        sums: list[Tensor] = []
        under_way: deque[dist.Work] = deque()
        with self._together(), torch.no_grad():
            for number, part in enumerate(parts):
                for bucket in buckets(part):
                    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                    under_way.append(dist.reduce(flat, dst=number, async_op=True))
                    if number == self.rank:
                        sums += _apart(flat, bucket)
                    if len(under_way) > 1:
                        under_way.popleft().wait()
            for work in under_way:
                work.wait()
        return sums

    def check_alike(self, when: str, facts: Mapping[str, int]) -> None:
        own = torch.tensor(list(facts.values()), dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with self._together():
            dist.all_gather(found, own)
        for rank, other in enumerate(found):
            for name, first, here in zip(facts, found[0].tolist(), other.tolist(), strict=True):
                if here != first:
                    raise WorldError(
                        f"{when}: {name} of process {rank} differs from that of process 0; all need the same files, versions "
                        "and kind of device"
                    )

    def meet(self) -> None:
        self.any_stop(None)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """What torch raises when another process is gone, as an error of ours."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            why = first_line(error)
            if "timed out" in why.lower() or "timeout" in why.lower():
                raise WorldError(
                    f"another process of this run didn't answer for {self._seconds:g} s (--device.timeout); what is saved stays, "
                    "and the same command goes on from there"
                ) from None
            raise WorldError(
                f"another process of this run ended ({why}); what is saved stays, and the same command goes on from there"
            ) from None


def _apart(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of one tensor that stand for those of which it was put together."""
    sizes = [tensor.numel() for tensor in like]
    return [part.view(t.shape) for part, t in zip(torch.split(flat, sizes), like, strict=True)]


def buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors in their order, some together up to `BUCKET_BYTES`; of one dtype each."""
    found: list[list[Tensor]] = []
    for tensor in tensors:
        last = found[-1] if found else []
        if (
            last
            and last[0].dtype == tensor.dtype
            and sum(t.nbytes for t in last) + tensor.nbytes <= BUCKET_BYTES
        ):
            last.append(tensor)
        else:
            found.append([tensor])
    return found
