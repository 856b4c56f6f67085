"""The coordinate check's measurement: sizes and changes of activations over the first steps, width by width.

Source: arXiv:2203.03466, appendix D.1, and the package mup. Where learning rates transfer, training changes every activation
by a similar amount at every width. Models differ in width alone: depth, head width, batch and seed are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from ngptlab.config import Dims, Initial, OptimConfig, Section
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.optim.groups import make_optimizer
from ngptlab.param.apply import apply
from ngptlab.param.rules import Rules
from ngptlab.sizes import STATE, check_fits, host_bytes, model_parts
from ngptlab.studies.coord.numbers import FIRST_STEP, Point
from ngptlab.studies.coord.probes import KINDS, STREAM, Activations, activations, unit_stream

RulesAt = Callable[[Dims], Rules]


class CoordConfig(Section):
    """Models, widths and training of a coordinate check."""

    widths: tuple[PositiveInt, ...] = (64, 128, 256, 512)
    """d_model of the models, ascending; multiples of d_head."""
    steps: int = Field(default=10, ge=FIRST_STEP)
    seeds: int = Field(default=3, gt=0)
    """Draws of the initial weights at each width: seeds 0 .. seeds - 1."""
    lr: float = Field(default=2**-8, gt=0)
    """Constant learning rate at the base width. It is large, so that ten steps change activations visibly."""
    init: str = ""
    """As `optim.init`. Empty: the usual one, but with a zero unembedding at all widths where rules divide the hidden state.
    A random unembedding has first logits that shrink as m^-1/2 by design, which would hide the effect of training."""
    d_head: int = Field(default=16, gt=0)
    num_layers: int = Field(default=2, gt=0)
    vocab_size: int = Field(default=101, gt=1)
    batch_size: int = Field(default=4, gt=0)
    context: int = Field(default=32, gt=0)

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        ascending = len(self.widths) > 1 and all(a < b for a, b in pairwise(self.widths))
        if not ascending or any(width % self.d_head for width in self.widths):
            raise ValueError(
                f"widths {' '.join(map(str, self.widths))}: give two or more, ascending, each a multiple of the head width "
                f"{self.d_head}"
            )
        return self

    def dims(self, width: int) -> Dims:
        """The model's sizes at a width."""
        return Dims(
            vocab_size=self.vocab_size,
            num_layers=self.num_layers,
            num_heads=width // self.d_head,
            d_model=width,
        )


def measure(parts: Parts, rules_at: RulesAt, config: CoordConfig) -> Iterator[Point]:
    """Size and change of every kind at every width, seed and step, from step 0.

    All runs see the same batch of random tokens at each step. Gradients of successive steps then add up, which exposes wrong
    exponents. Training is in float32, with AdamW, without clipping, and with the method's constraint after each step.

    Raises:
        ConfigError: the machine has less memory than the widest model takes.
    """
    largest = config.dims(config.widths[-1])
    check_fits(
        model_parts(largest, values=STATE),
        host_bytes(),
        what="a training step of the widest model",
        where="this machine",
    )
    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(config.vocab_size, (config.batch_size, config.context + 1), generator=generator)
    for width in config.widths:
        for seed in range(config.seeds):
            yield from _run(parts, rules_at, config, tokens_BT, width, seed)


def _run(
    parts: Parts, rules_at: RulesAt, config: CoordConfig, tokens_BT: Tensor, width: int, seed: int
) -> Iterator[Point]:
    dims = config.dims(width)
    rules = rules_at(dims)
    model = Decoder(dims, parts)
    apply(model, rules, OptimConfig(init=config.init or _default_init(rules_at, config)))
    model.reset(seed)
    optimizer = make_optimizer(model, OptimConfig(lr=config.lr, weight_decay=parts.weight_decay), rules)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    first = activations(model, inputs_BT)
    gain = width**0.5 if unit_stream(first) else 1.0
    for step in range(config.steps + 1):
        if step:
            model.loss(inputs_BT, targets_BT).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            model.after_step()
            optimizer.zero_grad(set_to_none=True)
        now = activations(model, inputs_BT)
        for kind in filter(now.get, KINDS):  # only the kinds that this method has
            factor = gain if kind in STREAM else 1.0
            size, change = _mean_abs(now, kind), _mean_abs(now, kind, first)
            yield Point(width, seed, step, kind, factor * size, factor * change)


def _default_init(rules_at: RulesAt, config: CoordConfig) -> str:
    """The default of `init`, the same for all widths. No width decides alone, because the base width divides by 1."""
    divided = any(rules_at(config.dims(width)).hidden_divisor != 1 for width in config.widths)
    return "unembedding=zero" if divided else Initial().text


def _mean_abs(now: Activations, kind: str, before: Activations | None = None) -> float:
    values = now[kind] if before is None else [a - b for a, b in zip(now[kind], before[kind], strict=True)]
    return sum(value.abs().mean().item() for value in values) / len(values)
