"""The baseline with logits bounded softly, 15 tanh(z / 15).

Source: arXiv:2408.00118 (Gemma 2), with the bound of KellerJordan/modded-nanogpt, record 18.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, RMSNorm, Rotate, SoftCap, SwiGLU

METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=SoftCap(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
