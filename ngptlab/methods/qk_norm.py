"""The baseline with normed queries and keys, which bounds attention scores and allows larger learning rates.

Source: arXiv:2010.04245 and arXiv:2302.05442, in the gainless RMS form that modded-nanogpt and nanochat use.
"""

from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, NormRotate, PlainLogits, RMSNorm, SwiGLU

METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=NormRotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
