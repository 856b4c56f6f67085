"""What joins devices: bytes a second and latencies, with their sources. Imports no torch.

The figures are what NCCL reaches in a ring, by users of nccl-tests and by its authors there, not the makers' line rates.
"""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.errors import ConfigError
from ngptlab.gpus import gpus


@dataclass(frozen=True)
class Link:
    """What one device sends, and gets at the same time."""

    bytes_per_second: float
    latency: float
    """Seconds that the smallest sum takes."""


LATENCY = 50e-6
"""Of a small sum of 16 GPUs on two nodes: 46 to 48 microseconds (NVIDIA/nccl issue 1244). Taken for all links."""
NVLINK = {"NVIDIA H100 80GB HBM3": 370e9, "NVIDIA H200": 370e9}
"""NVLink 4: nccl-tests issue 212, without sums in the switch (with them 480)."""
NVLINK |= dict.fromkeys(("NVIDIA A100-SXM4-40GB", "NVIDIA A100-SXM4-80GB"), 232e9)
"""NVLink 3: nccl-tests issue 175."""
PCIE = 20e9
"""Devices without NVLink on PCIe 4 with 16 lanes, whose line rate is 32e9. Assumed."""
ETHERNET = 12.5e9
"""Of a node: the line rate of 100 Gb/s."""
BETWEEN = {"nvlink": 370e9, "ib": 46e9, "eth": ETHERNET}
"""Between nodes, for each device; Ethernet for all devices of a node together. InfiniBand: an adapter of 400 Gb/s for each
(nccl-tests issue 290). NVLink: nodes in one switch, as in racks of 72; assumed to be as fast as inside a node."""


@dataclass(frozen=True)
class Joined:
    """So many devices on so many nodes, all alike.

    Raises:
        ConfigError: the devices can't be divided among the nodes.
    """

    devices: int
    nodes: int
    inside: Link
    between: Link

    def __post_init__(self) -> None:
        if self.devices % self.nodes:
            raise ConfigError(
                f"--gpus {self.devices} can't be divided among --nodes {self.nodes}; --gpus counts those of all nodes"
            )

    def sum_seconds(self, size: float, pieces: int) -> float:
        """Until all have the sum of `size` bytes of each, added in so many pieces.

        A ring of n devices sends 2 (n - 1) / n of the bytes over each link. Nodes add what is theirs inside first. Then each
        device adds its part with those of its number on the other nodes. NCCL overlaps the two, so this is an upper bound.
        """
        local = self.devices // self.nodes
        inside = 2 * _around(local) * size / self.inside.bytes_per_second
        between = 2 * _around(self.nodes) * size / local / self.between.bytes_per_second
        return inside + between + pieces * self._latency()

    def spread_seconds(self, size: float, pieces: int) -> float:
        """Until all have `size` bytes, of which each had a part of its own: half of a sum, which gathers after it has added."""
        return (self.sum_seconds(size, 0) / 2) + pieces * self._latency()

    def _latency(self) -> float:
        local = self.devices // self.nodes
        return (local > 1) * self.inside.latency + (self.nodes > 1) * self.between.latency


def _around(number: int) -> float:
    return (number - 1) / number


def joined(gpu: str, devices: int, nodes: int, interconnect: str | None) -> Joined:
    """GPUs of a kind, named as for `gpus.gpu_speed`, by what usually joins them: of several kinds the slowest link.

    Raises:
        ConfigError: a link between nodes is given, and there is one node; or the devices can't be divided.
    """
    if nodes == 1 and interconnect not in (None, "nvlink"):
        raise ConfigError(
            f"--interconnect {interconnect} joins nodes, and there is one; give --nodes, or leave it out"
        )
    inside = min(NVLINK.get(known, PCIE) for known in gpus(gpu))
    between = BETWEEN[interconnect or "ib"] / (devices / nodes if interconnect == "eth" else 1)
    return Joined(
        devices,
        nodes,
        inside=Link(inside, LATENCY),
        between=Link(between, LATENCY),
    )
