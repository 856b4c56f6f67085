"""Device, compute dtype, threads and determinism: the only place that asks for CUDA."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.config import DeviceConfig, TrainConfig
from ngptlab.errors import ConfigError
from ngptlab.gpus import PEAK_FLOPS
from ngptlab.sizes import host_bytes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

COMPUTE_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Fetched:
    """Numbers on their way from a device."""

    values: Tensor
    arrived: torch.cuda.Event | None

    def wait(self) -> list[float]:
        """The numbers, once the device has come to where they were asked for."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.tolist()


@dataclass(frozen=True)
class Device:
    """Where tensors live and what activations are computed in. Weights are float32 everywhere."""

    place: torch.device
    compute_dtype: torch.dtype
    compile: bool
    graphs: bool = True
    """Whether what is compiled is one launch on CUDA, a CUDA graph."""

    def synchronize(self) -> None:
        """Wait for queued work, so that a wall-clock reading means something."""
        if self.place.type == "cuda":
            torch.cuda.synchronize(self.place)

    @property
    def runs_ahead(self) -> bool:
        """Whether operations are queued: called now, done later."""
        return self.place.type == "cuda"

    @property
    def records(self) -> bool:
        """Whether a step becomes a CUDA graph here."""
        return self.place.type == "cuda" and self.compile and self.graphs

    def send(self, array: NDArray[np.int64]) -> Tensor:
        """An array on the device, without waiting for what is queued there."""
        values = torch.from_numpy(array)
        if not self.runs_ahead:
            return values.to(self.place)
        # A copy from memory that is not pinned would wait for the device.
        return values.pin_memory().to(self.place, non_blocking=True)

    def fetch(self, values_N: Tensor) -> Fetched:
        """Ask for numbers without waiting for what they come from, nor for what is queued after them."""
        if not self.runs_ahead:
            return Fetched(values_N, None)
        there_N = torch.empty_like(values_N, device="cpu", pin_memory=True)
        there_N.copy_(values_N, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        return Fetched(there_N, arrived)

    @property
    def peak_flops(self) -> float | None:
        """Most operations a second in the compute dtype, where known: CUDA devices of the table, in bfloat16."""
        if self.place.type != "cuda" or self.compute_dtype != torch.bfloat16:
            return None
        return PEAK_FLOPS.get(torch.cuda.get_device_name(self.place))


def on_cuda(config: DeviceConfig) -> bool:
    """Whether these settings mean a CUDA device here."""
    return config.kind != "cpu" and torch.cuda.is_available()


def compute_dtype(train: TrainConfig, *, on_cuda: bool) -> str:
    """Name of the dtype of activations: as set, or what `auto` means there."""
    if train.compute_dtype != "auto":
        return train.compute_dtype
    return "bfloat16" if on_cuda else "float32"


def open_device(config: DeviceConfig, train: TrainConfig) -> Device:
    """Turn settings into a device and set the process up for it.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if config.kind == "cuda" and not available:
        raise ConfigError("device.kind: given 'cuda', but torch sees no CUDA device; use 'cpu' or 'auto'")
    on_cuda = available and config.kind != "cpu"
    if config.threads:
        torch.set_num_threads(config.threads)
    if not on_cuda:
        keep_freed_memory()
    torch.use_deterministic_algorithms(not on_cuda)
    # Deterministic mode would also fill every new tensor with NaN: a pass over memory, of values that nothing reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return Device(
        place=torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu"),
        compute_dtype=COMPUTE_DTYPES[compute_dtype(train, on_cuda=on_cuda)],
        compile=config.compile == "on" or (config.compile == "auto" and on_cuda and config.shard != "on"),
        graphs=config.graphs == "auto",
    )


def memory_bytes(config: DeviceConfig) -> tuple[int, str]:
    """Bytes of memory where these settings compute, and a name for that place."""
    if on_cuda(config):
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory, "the GPU"
    return host_bytes(), "this machine"


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 2 GB, instead of giving it back to the kernel.

    By default every activation of more than a few MB is fresh memory in every step, and filling it costs a page fault for
    each 4 kB: up to a third of a step of nGPT on two cores. Elsewhere (musl, macOS) this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(
        M_MMAP_THRESHOLD, 2**25
    )  # the largest that glibc takes; above it a block is mapped for itself
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def quiet_profiler() -> None:
    """Keep the library behind torch.profiler from logging every start and stop to stderr; before its first use."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


RUNS_AT_ONCE = "NGPTLAB_RUNS_AT_ONCE"
"""Variable of the environment in which a study tells its workers how many runs it trains side by side, or `NOT_KNOWN`."""
NOT_KNOWN = "not known"
"""Where a cluster chooses what else a machine does meanwhile."""


def at_once() -> dict[str, str | int]:
    """{runs_at_once: N} for `env.json`, where a study trains several runs on this machine, or may do so."""
    told = os.environ.get(RUNS_AT_ONCE, "")
    if told == NOT_KNOWN:
        return {"runs_at_once": told}
    return {"runs_at_once": int(told)} if told.isdecimal() and int(told) > 1 else {}


def describe(device: Device) -> dict[str, str | int]:
    """What `env.json` says of the machine: an allowlist, so that no secret of the environment gets in."""
    on_cuda = device.place.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": device.place.type,
        "device_name": torch.cuda.get_device_name(device.place) if on_cuda else platform.machine(),
        "compute_dtype": str(device.compute_dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
