"""Peaks, memory and its bandwidth of GPUs from the makers' data sheets, and a GPU by what people call it. Imports no torch."""

from __future__ import annotations

from ngptlab.errors import ConfigError, folded, near

PEAK_FLOPS = {
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA GeForce RTX 4090": 165e12,
}
"""Operations a second of dense bfloat16 products, by CUDA's name of the device.

Names are matched whole: slower siblings (H100 PCIe, H200 NVL) and slices of a device (MIG) begin with the same words.
"""
MEMORY_GB = {
    "NVIDIA H100 80GB HBM3": 80,
    "NVIDIA H200": 141,
    "NVIDIA A100-SXM4-40GB": 40,
    "NVIDIA A100-SXM4-80GB": 80,
    "NVIDIA A100-PCIE-40GB": 40,
    "NVIDIA A100 80GB PCIe": 80,
    "NVIDIA L40S": 48,
    "NVIDIA GeForce RTX 4090": 24,
}
"""Memory of each, in 10^9 bytes."""
MEMORY_BANDWIDTH = {
    "NVIDIA H100 80GB HBM3": 3.35e12,
    "NVIDIA H200": 4.8e12,
    "NVIDIA A100-SXM4-40GB": 1.555e12,
    "NVIDIA A100-SXM4-80GB": 2.039e12,
    "NVIDIA A100-PCIE-40GB": 1.555e12,
    "NVIDIA A100 80GB PCIe": 1.935e12,
    "NVIDIA L40S": 0.864e12,
    "NVIDIA GeForce RTX 4090": 1.008e12,
}
"""Bytes a second between each and its memory."""
MAKER = ("NVIDIA ", "GeForce ")
"""Words of a name that people leave out."""


def gpu_speed(name: str, share: float) -> float:
    """Operations a second at a share of a device's peak. `name` is CUDA's name of the device, or a part of it: H100, RTX4090.

    Raises:
        ConfigError: no device is known by that name, or several with different peaks are.
    """
    peaks = {PEAK_FLOPS[known] for known in gpus(name)}
    if len(peaks) != 1:
        short = [_short(known) for known in PEAK_FLOPS]
        close = near(name, short, cutoff=0.7)
        hint = f"did you mean {close!r}? Known are" if close else "give one of"
        raise ConfigError(f"--gpu {name}: {hint} {', '.join(short)}, or --flops-per-second")
    return peaks.pop() * share


def gpu_memory(name: str) -> int:
    """Bytes of memory of a GPU, named as for `gpu_speed`, which knows what is no GPU; of several sizes the smallest."""
    return min(MEMORY_GB[known] for known in gpus(name)) * 10**9


def gpu_bandwidth(name: str) -> float:
    """Bytes a second between a GPU and its memory, named as for `gpu_speed`; of several kinds the smallest."""
    return min(MEMORY_BANDWIDTH[known] for known in gpus(name))


def gpus(name: str) -> list[str]:
    """CUDA's names of the devices that people call so."""
    return [known for known in PEAK_FLOPS if folded(name) in folded(known)]


def _short(known: str) -> str:
    for word in MAKER:
        known = known.removeprefix(word)
    return known
