"""The baseline: pre-norm decoder with RMSNorm (no gain), RoPE, SwiGLU, untied head; AdamW with decay and warm-up.

Source: the GPT arm of alxndrTL/modded-nanogpt, which is also the baseline of arXiv:2410.01131 except for MLP width and gains.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU

METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
