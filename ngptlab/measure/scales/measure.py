"""Learned scales: the effective values of every `nn.parts.Scale` of a model, whatever its method.

A model without scales has no such numbers. They are cheap enough to be logged while training (`scales.jsonl`).
"""

from __future__ import annotations

import torch

from ngptlab.measure.scales.numbers import LearnedScale
from ngptlab.measure.spread import spread
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.parts import Scale
from ngptlab.nn.roles import SCALES, ScaleKind, placed


@torch.no_grad()
def scales(model: Decoder) -> list[LearnedScale]:
    """Spread of each scale's effective values over its channels.

    The residual rates (alpha) enter a forward pass as absolute values, so their absolute values are measured.
    """
    found: list[LearnedScale] = []
    for name, module in model.named_modules():
        if isinstance(module, Scale):
            values = module.effective().double().cpu().numpy()
            kind = SCALES.get(name.rpartition(".")[2])
            layer, place = placed(name)
            found.append(
                {
                    "name": name,
                    "layer": layer,
                    "place": place,
                    "kind": kind,
                    **spread(abs(values) if kind is ScaleKind.RATE else values),
                    "negative": float((values < 0).mean()),
                }
            )
    return found
