"""The normalized Transformer with Muon for the matrices of its blocks.

Source: arXiv:2410.01131 for the model; branches muon and ngpt-muon of alxndrTL/modded-nanogpt tried the pair. The update is
orthogonal before the constraint brings rows back to the sphere; AdamW keeps embedding, head and scales.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import MuonInBlocks
from ngptlab.nn.parts import (
    HeadWidthPower,
    NoNorm,
    RotateNormScale,
    ScaledLogits,
    ScaledSwiGLU,
    SphereStep,
    UnitWeights,
)

METHOD = Parts(
    norm=NoNorm(),
    after_step=UnitWeights(),
    residual=SphereStep(alpha_init=0.05),
    attn_scale=HeadWidthPower(0.5),
    qk=RotateNormScale(),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=MuonInBlocks(),
)
