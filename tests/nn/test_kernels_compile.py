"""Triton kernels are compiled for GPUs that aren't here."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from ngptlab.nn.fast.kernels import cross_entropy, launch, queries_keys, sphere
from ngptlab.nn.precision import NORM_FLOOR

FLOOR = NORM_FLOOR**2
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64"}


def type_of(argument: Tensor | int | float) -> str:
    if isinstance(argument, Tensor):
        return TYPES[argument.dtype]
    return "i32" if isinstance(argument, int) else "fp32"


def is_divided(argument: Tensor | int | float | None) -> bool:
    return isinstance(argument, int) and argument != 1 and argument % 16 == 0


class OnlyCompiled:
    """In place of a kernel: compiles for a GPU what it is called with, and launches nothing."""

    def __init__(self, kernel: Any, capability: int, seen: list[str]) -> None:
        self.kernel, self.capability, self.seen = kernel, capability, seen

    def __getitem__(self, grid: tuple[int, ...]) -> OnlyCompiled:
        assert all(size > 0 for size in grid)
        return self

    def __call__(self, *arguments: Tensor | int | float, num_warps: int, **constants: int) -> None:
        from triton import compile
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        # As a launch does it: a 1 is a constant, and what 16 divides is known to be so divided; so are addresses.
        names = self.kernel.arg_names
        given = dict(zip(names, arguments, strict=False))
        constants |= {
            name: 1 for name, value in given.items() if not isinstance(value, Tensor) and value == 1
        }
        types = {name: "constexpr" if name in constants else type_of(given[name]) for name in names}
        divided = [name for name in names if types[name].startswith("*") or is_divided(given.get(name))]
        source = ASTSource(
            self.kernel,
            types,
            {(names.index(name),): value for name, value in constants.items()},
            {(names.index(name),): [["tt.divisibility", 16]] for name in divided},
        )
        target = GPUTarget("cuda", self.capability, 32)
        assert compile(source, target=target, options={"num_warps": num_warps}).asm["cubin"]
        self.seen.append(self.kernel.__name__)


KERNELS = {
    launch: ["_column_sums"],
    sphere: ["_sphere_step", "_sphere_step_backward"],
    queries_keys: ["_forward", "_backward"],
    cross_entropy: ["_cross_entropy"],
}


def compile_kernels(capability: int, dtype: torch.dtype) -> list[str]:
    """All kernels, for a GPU, at the sizes of the 162M model or smaller; the names of those that were called."""
    seen: list[str] = []
    for module, names in KERNELS.items():
        for name in names:
            setattr(module, name, OnlyCompiled(getattr(module, name), capability, seen))
    for width in (768, 64):  # a row a program, and several
        h_ND, rate_D = torch.empty(16, width, dtype=dtype), torch.ones(width)
        sphere.sphere_step(h_ND, h_ND, rate_D, FLOOR)
        sphere.sphere_step_backward(h_ND, h_ND, h_ND, rate_D, FLOOR)
    q_BTHK, cos_T1K = torch.empty(2, 8, 12, 64, dtype=dtype), torch.empty(8, 1, 64)
    rest = cos_T1K, cos_T1K, torch.ones(12, 64)
    queries_keys.queries_keys(q_BTHK, q_BTHK, *rest, floor=FLOOR)
    queries_keys.queries_keys_backward(q_BTHK, q_BTHK, q_BTHK, q_BTHK, *rest, floor=FLOOR)
    cross_entropy.cross_entropy_in_place(torch.empty(2, 50304, dtype=dtype), torch.zeros(2).long())
    return seen


@pytest.mark.extra
@pytest.mark.skipif(launch.triton is None, reason="kernels are written in Triton")
@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings NVIDIA's assembler for Linux alone")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile(capability: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, for Triton compiles or interprets."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as elsewhere:
        seen = elsewhere.submit(compile_kernels, capability, dtype).result()
    assert set(seen) == {name for names in KERNELS.values() for name in names}
