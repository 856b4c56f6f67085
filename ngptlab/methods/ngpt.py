"""The normalized Transformer: every hidden state and every row of the weights lives on the unit sphere.

Source: arXiv:2410.01131, section 2.6; the seven steps are the seams, in order. RoPE comes before the unit norm and s_qk.
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
    qk=RotateNormScale(),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
