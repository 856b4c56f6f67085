"""nGPT with s_z stored at 1 instead of d_model^-1/2, so that it learns slower by a factor of d_model^1/2.

Source: arXiv:2410.01131, table 4, "s_z,scale = 1": 3.12% more loss. The effective s_z starts at 1 all the same. A step of
Adam moves it by lr * init / scale, which is lr instead of lr * d_model^1/2. nuGPT's rules store s_z at a number of their own:
under them this method is nGPT.
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
    logits=ScaledLogits(width_power=0.0),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
