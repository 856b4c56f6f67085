"""The floor under a step: the time of its matrix products alone, and the FLOPs in them.

The products are those of training: for every weight matrix three (forward, gradient of the input, gradient of the weight),
for attention six in causal blocks. Each is timed at the shapes that the model uses, d_ff padded as in nn/matrices.py, by the
faster of the two libraries at hand. What the step takes beyond it is norms, softmax, loss, optimizer, memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.sizes import Size
from ngptlab.device import Device
from ngptlab.nn.fast.attention import _spans
from ngptlab.nn.fast.linear import HAS_ONEDNN
from ngptlab.nn.loss import CHUNK_VALUES

HEAD_TOKENS = 512
"""The head's products are timed on so many tokens at least, and scaled up: all logits at once would not fit a cache or a GPU."""

Kernel = Callable[[], object]


@dataclass(frozen=True)
class Product:
    """A weight [outputs, inputs] applied to tokens, `count` times in a step."""

    tokens: int
    inputs: int
    outputs: int
    count: float


def weight_products(size: Size) -> list[Product]:
    """Every weight of the model as its products see it."""
    dims, N = size.dims, size.tokens
    D, F = dims.d_model, dims.d_ff + -dims.d_ff % 16
    head = min(N, max(HEAD_TOKENS, CHUNK_VALUES["cuda" if size.cuda else "cpu"] // dims.vocab_size))
    if size.cuda:
        head = N // -(-N // head)  # there the loss has chunks of equal size
    return [
        Product(N, D, D, 4 * dims.num_layers),
        Product(N, D, F, 2 * dims.num_layers),
        Product(N, F, D, dims.num_layers),
        Product(head, D, dims.vocab_size, N / head),
    ]


def flops(size: Size) -> int:
    """Floating-point operations of a step's matrix products, as the mathematics needs them: no padding, causal half only."""
    dims, T = size.dims, size.context
    weights = dims.num_layers * (4 * dims.d_model**2 + 3 * dims.d_model * dims.d_ff)
    weights += dims.vocab_size * dims.d_model
    pairs = size.batch * T * (T + 1) // 2
    return 6 * weights * size.tokens + 12 * pairs * dims.d_model * dims.num_layers


def kernels(product: Product, device: Device) -> list[list[Kernel]]:
    """The three products of a weight, each in every way there is to compute it; results equal but for rounding."""
    N, I, O = product.tokens, product.inputs, product.outputs  # noqa: E741
    dtype, place = device.compute_dtype, device.place
    x_NI, w_OI, g_NO = (torch.randn(s, dtype=dtype, device=place) for s in ((N, I), (O, I), (N, O)))
    triple = ((x_NI, w_OI), (g_NO, w_OI.T), (g_NO.T, x_NI.T))
    return [_ways(a, b, torch.empty(len(a), len(b), dtype=dtype, device=place)) for a, b in triple]


class Roofline:
    """Operands of all products of one size, allocated once; a pass over them is timed as often as one likes."""

    def __init__(self, size: Size, device: Device) -> None:
        self._device, self._layers = device, size.dims.num_layers
        self._products = [(product.count, kernels(product, device)) for product in weight_products(size)]
        self._attention = _attention(size, device)
        self.seconds()  # a first pass warms caches and buffers

    def seconds(self) -> float:
        """Seconds of the products of one step."""
        total = self._layers * timed(self._attention, self._device)
        for count, triple in self._products:
            total += count * sum(min(timed(way, self._device) for way in ways) for ways in triple)
        return total


def timed(kernel: Kernel, device: Device, times: int = 3) -> float:
    """Median seconds of a call. On CUDA a reading covers ten calls, so that waiting for the last is a small part."""
    calls, readings = (10 if device.place.type == "cuda" else 1), []
    for _ in range(times):
        device.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            kernel()
        device.synchronize()
        readings.append((time.perf_counter() - start) / calls)
    return float(np.median(readings))


def matmul_rate(device: Device) -> float:
    """FLOP/s of a large square product, the best this machine does: best of several, for it is a limit."""
    n = 8192 if device.place.type == "cuda" else 1536
    a, b, c = (torch.randn(n, n, dtype=device.compute_dtype, device=device.place) for _ in range(3))
    return 2 * n**3 / min(timed(way, device, 1) for way in _ways(a, b, c) for _ in range(6))


def copy_bandwidth(device: Device) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    source = torch.ones(2**26, dtype=torch.float32, device=device.place)
    target = torch.empty_like(source).copy_(source)
    return 2 * source.nbytes / min(timed(lambda: target.copy_(source), device, 1) for _ in range(6))


def _ways(a: Tensor, b: Tensor, out: Tensor) -> list[Kernel]:
    """a b^T: by torch.mm, and by oneDNN as nn/fast/linear.py calls it."""
    ways: list[Kernel] = [lambda: torch.mm(a, b.T, out=out)]
    if HAS_ONEDNN and a.device.type == "cpu" and a.dtype == torch.float32:
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return ways


def _attention(size: Size, device: Device) -> Kernel:
    """The batched products of one layer, two forward and four backward, in the blocks of nn/fast/attention.py.

    On CUDA, torch's fused kernel, which has the softmax inside.
    """
    dims, T = size.dims, size.context
    if device.place.type == "cuda":
        return _fused_attention(size, device)
    shape = size.batch * dims.num_heads, T, dims.d_head
    q, k, v, do = (torch.randn(shape, dtype=device.compute_dtype, device=device.place) for _ in range(4))
    o, dq, dk, dv = (torch.zeros_like(q) for _ in range(4))
    largest = shape[0] * max((end - start) * end for start, end in _spans(T))
    kept, other = (torch.zeros(largest, dtype=q.dtype, device=q.device) for _ in range(2))

    def run() -> None:
        for start, end in _spans(T):
            rows, block = slice(start, end), (shape[0], end - start, end)
            p, dp = (buffer[: block[0] * block[1] * block[2]].view(block) for buffer in (kept, other))
            torch.bmm(q[:, rows], k[:, :end].mT, out=p)
            o[:, rows] = torch.bmm(p, v[:, :end])
            dv[:, :end].baddbmm_(p.mT, do[:, rows])
            torch.bmm(do[:, rows], v[:, :end].mT, out=dp)
            dq[:, rows] = torch.bmm(dp, k[:, :end])
            dk[:, :end].baddbmm_(dp.mT, q[:, rows])

    return run


def _fused_attention(size: Size, device: Device) -> Kernel:
    dims = size.dims
    shape = size.batch, dims.num_heads, size.context, dims.d_head
    q, k, v, do = (torch.randn(shape, dtype=device.compute_dtype, device=device.place) for _ in range(4))
    inputs = [x.requires_grad_() for x in (q, k, v)]

    def run() -> None:
        o = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.autograd.grad(o, inputs, do)

    return run
