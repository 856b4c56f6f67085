"""nGPT with an s_qk that starts at 0.33 instead of 1: attention scores start at a ninth of nGPT's.

Source: arXiv:2410.01131, table 4, "s_qk,init = 0.33": 0.33% less loss. It is stored at d_model^-1/2 as before, so a step of
Adam moves the effective s_qk by 0.33 of nGPT's step.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
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
    qk=RotateNormScale(s_qk_init=0.33),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
