"""Triton kernels for CUDA: what the compiler makes of the same formulas moves several times the bytes.

Each has its plain formula in `nn.functions`, and tests that hold one against the other. A row is what one program works on at a
time; arithmetic is in float32. Constants are the fastest of a small grid on an H200 at width 768 and 50,304 tokens of
vocabulary in bfloat16 (docs/speed-log.md, 2026-11-27), where nothing else is said.
"""
